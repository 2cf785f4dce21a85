//! All crash points, in the order in which a run meets them.

/// A place in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    /// What has happened when the step is hit, in one line.
    pub meaning: &'static str,
}

const fn step(name: &'static str, meaning: &'static str) -> Step {
    Step { name, meaning }
}

/// Every name that [`super::hit`] may be called with.
pub static STEPS: &[Step] = &[
    step("store.temporary_written", "an object's bytes are in its temporary file, not synced"),
    step("store.temporary_synced", "the temporary file is synced, the object has no name yet"),
    step("store.linked", "the object has its name, the folder is not synced"),
    step("store.created", "the object is durable, nobody has been told"),
    step("claim.listed", "the attempts are listed, nothing is written"),
    step("claim.created", "the claim is in the log, earlier attempts are not sealed"),
    step("claim.before_seal", "the next thing is one seal"),
    step("claim.sealed", "one seal is in the log, its second listing is to come"),
    step("claim.finished", "all earlier attempts are sealed, the newest decision is known"),
    step("recovery.classified", "the target was asked about every committable, none is touched"),
    step("recovery.before_commit", "the next thing is the commit of one decided committable"),
    step("recovery.committed", "one decided committable is committed, not noted"),
    step("recovery.before_take_back", "the next thing is to abort one decided committable, for a rewind or by force"),
    step("recovery.taken_back", "one decided committable is aborted, for a rewind or by force, not noted"),
    step("recovery.before_abort", "all decided work is committed, leftovers are still there"),
    step("kafka.before_fence", "the next thing is to abort one transaction of an earlier attempt"),
    step("recovery.aborted", "leftovers of earlier attempts of one sink are gone"),
    step("recovery.before_append", "the next thing is a record that recovery appends"),
    step("recovery.appended", "a record of recovery is in the log"),
    step("recovery.before_deploy", "recovery is done, no task is built"),
    step("worker.restored", "one task has its state back"),
    step("coordinator.deployed", "all tasks are restored, none may have read more than its first batch"),
    step("worker.first_record", "one source has given its first batch to its chain"),
    step("worker.batch_read", "one source has given a batch to its chain; `:*=pause:40ms` slows a run down"),
    step("coordinator.barrier_sent", "sources were told to emit the barrier"),
    step("worker.barrier_emitted", "one source has passed the barrier on"),
    step("worker.aligned", "one subtask has the barrier from all its inputs"),
    step("worker.snapshotted", "one subtask has sealed its state, nothing is written"),
    step("worker.part_uploaded", "one part of state is durable"),
    step("sink.hidden_created", "a hidden file exists, empty"),
    step("sink.written", "rows are in the hidden file, not flushed"),
    step("sink.flushed", "the hidden file is flushed, not synced"),
    step("sink.synced", "the hidden file and its folder are synced, not told to anyone"),
    step("kafka.before_init", "the next thing is the initialisation of one transactional id"),
    step("kafka.initialised", "one transactional id is initialised, nothing is written under it"),
    step("kafka.flushed", "every record of one transaction is acknowledged, its producer is not looked up"),
    step("kafka.described", "one transaction can be committed by whoever is told of it, nobody is"),
    step("worker.pre_committed", "one subtask's committables are durable"),
    step("worker.before_ack", "state and committables of one subtask are durable, not acknowledged"),
    step("worker.acked", "one subtask has acknowledged"),
    step("coordinator.acknowledged", "one acknowledgement is taken in"),
    step("coordinator.all_acknowledged", "every task has acknowledged, no manifest is written"),
    step("coordinator.manifest_written", "the manifest's own object is durable, nothing is decided"),
    step("coordinator.before_decide", "the next thing is the decision"),
    step("coordinator.decided", "the decision is in the log, nobody has been told"),
    step("coordinator.before_commit", "the next thing is the commit of one committable"),
    step("committer.before_rename", "the hidden file of a decided committable still has its hidden name"),
    step("committer.renamed", "the file is visible, its folder is not synced"),
    step("committer.folder_synced", "the file is visible and durable"),
    step("kafka.before_end", "the next thing is EndTxn for one decided transaction"),
    step("kafka.ended", "EndTxn of one decided transaction was sent, its answer is not read"),
    step("coordinator.committed", "one committable is committed, not noted"),
    step("coordinator.all_committed", "every committable of the epoch is committed"),
    step("coordinator.settled", "the log says that the epoch's commits are done"),
    step("coordinator.before_retention", "an older checkpoint is about to be deleted"),
    step("coordinator.retention_begun", "one object of an older checkpoint is deleted, others remain"),
    step("committer.before_abort", "a leftover of an earlier attempt is about to be removed"),
    step("committer.aborted", "a leftover of an earlier attempt is removed"),
    step("coordinator.stopping", "a stop was asked for, the last checkpoint is to come"),
    step("coordinator.before_release", "everything is committed, the attempt is not released"),
    step("coordinator.released", "the attempt is released"),
];
