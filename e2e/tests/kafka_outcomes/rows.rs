//! The table: situation, answer to `EndTxn`(commit), what became of it. The same on every version of the broker.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version};
use runtime::connectors::kafka::client::Code;
use runtime::connectors::kafka::outcome::{
    AbortAnswer, CommitAnswer, Outcome, PreparedTransaction, fence, is_open, leftovers,
};

use super::facts::{configuration_is_that_in_force, features_are_those_decided_on, offsets_are_those_of_the_log};
use super::stage::{BRIEF, LONG, PATIENT, Stage, until};

const SHORT: std::time::Duration = std::time::Duration::from_secs(1);

type Row = fn(&Stage) -> Result<()>;

/// Every row on its own topic and id; all of them are run, and all failures told.
const ROWS: [(&str, Row); 19] = [
    ("open", open),
    ("committed before", committed_before),
    ("aborted by its timeout", aborted_by_timeout),
    ("id taken over after the commit", taken_over_after_commit),
    ("id taken over before the commit", taken_over_before_commit),
    ("aborted by EndTxn", aborted_by_request),
    ("initialised only", initialised_only),
    ("unknown id", unknown_id),
    ("older epoch", other_epoch),
    ("held up by an earlier transaction", held_up),
    ("records deleted", records_deleted),
    ("topic made again", topic_made_again),
    ("another cluster", another_cluster),
    ("several partitions", several_partitions),
    ("aborts are proven", aborts_are_proven),
    ("leftovers", leftovers_are_found_and_fenced),
    ("features", features_are_those_decided_on),
    ("offsets", offsets_are_those_of_the_log),
    ("configuration", configuration_is_that_in_force),
];

fn table(version: Version) -> Result<()> {
    let stage = Stage::new(version, &Options::default())?;
    let failed = ROWS.iter().filter_map(|(name, row)| {
        let failure = row(&stage).with_context(|| format!("{version:?}: {name}")).err()?;
        Some(format!("{failure:#}"))
    });
    let failed: Vec<_> = failed.collect();
    ensure!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), ROWS.len(), failed.join("\n"));
    stage.judge.assert_nothing_is_open(&[])
}

#[test]
fn outcomes_are_told_on_the_newest_broker() -> Result<()> {
    table(Version::Newest)
}

#[test]
fn outcomes_are_told_where_transactions_are_of_the_old_version() -> Result<()> {
    table(Version::NewestWithOldTransactions)
}

#[test]
fn outcomes_are_told_on_kafka_3() -> Result<()> {
    table(Version::V3)
}

fn is(code: Code, wanted: Code) -> Result<()> {
    ensure!(code == wanted, "EndTxn was answered with {code}, not {wanted}");
    Ok(())
}

fn became(stage: &Stage, prepared: &PreparedTransaction, wanted: &Outcome) -> Result<()> {
    let outcome = stage.classified(prepared)?;
    ensure!(outcome == *wanted, "{outcome:?}, not {wanted:?}");
    Ok(())
}

fn is_unknown(stage: &Stage, prepared: &PreparedTransaction, reason: &str) -> Result<()> {
    let outcome = stage.classified(prepared)?;
    ensure!(matches!(&outcome, Outcome::Unknown(told) if told.contains(reason)), "{outcome:?}, not unknown: {reason}");
    Ok(())
}

fn sees(stage: &Stage, topic: &str, count: usize) -> Result<()> {
    until(|| stage.visible(topic), |seen| *seen == count).map(drop)
}

fn open(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("open")?;
    became(stage, &prepared, &Outcome::Open)?;
    sees(stage, "open", 0)?;
    is(stage.end(&prepared, true)?, Code::NONE)?;
    became(stage, &prepared, &Outcome::Committed)?;
    sees(stage, "open", 3)
}

fn committed_before(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("before")?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    is(stage.end(&prepared, true)?, Code::NONE)?;
    is(stage.end(&prepared, false)?, Code::INVALID_TXN_STATE)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    sees(stage, "before", 3)
}

fn aborted_by_timeout(stage: &Stage) -> Result<()> {
    let prepared = stage.prepare("timeout", "timeout", 1, SHORT)?;
    stage.until_state("timeout", "CompleteAbort")?;
    is(stage.end(&prepared, true)?, Code::PRODUCER_FENCED)?;
    became(stage, &prepared, &Outcome::Aborted)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Lost);
    sees(stage, "timeout", 0)
}

fn taken_over_after_commit(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("taken-after")?;
    is(stage.end(&prepared, true)?, Code::NONE)?;
    stage.until_state("taken-after", "CompleteCommit")?;
    stage.wait(stage.client.init_producer("taken-after", 60_000))?;
    is(stage.end(&prepared, true)?, Code::PRODUCER_FENCED)?;
    became(stage, &prepared, &Outcome::Committed)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::AlreadyCommitted);
    // And while the next one is open under the same id.
    let next = stage.prepare("taken-after", "taken-after", 0, LONG)?;
    is(stage.end(&prepared, true)?, Code::PRODUCER_FENCED)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::AlreadyCommitted);
    became(stage, &next, &Outcome::Open)?;
    ensure!(stage.abort(&next)? == AbortAnswer::Aborted);
    sees(stage, "taken-after", 3)
}

fn taken_over_before_commit(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("taken-before")?;
    let leftover = stage.wait(stage.client.describe_transaction("taken-before"))?.context("known")?;
    stage.wait(fence(&stage.client, &leftover, &PATIENT))?;
    is(stage.end(&prepared, true)?, Code::PRODUCER_FENCED)?;
    became(stage, &prepared, &Outcome::Aborted)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Lost);
    sees(stage, "taken-before", 0)
}

fn aborted_by_request(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("abort")?;
    is(stage.end(&prepared, false)?, Code::NONE)?;
    is(stage.end(&prepared, true)?, Code::INVALID_TXN_STATE)?;
    became(stage, &prepared, &Outcome::Aborted)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Lost);
    sees(stage, "abort", 0)
}

fn initialised_only(stage: &Stage) -> Result<()> {
    let mut prepared = stage.alone("init")?;
    is(stage.end(&prepared, false)?, Code::NONE)?;
    stage.until_state("init", "CompleteAbort")?;
    let producer = stage.wait(stage.client.init_producer("init-only", 60_000))?;
    "init-only".clone_into(&mut prepared.transactional_id);
    (prepared.producer_id, prepared.producer_epoch) = (producer.id, producer.epoch);
    prepared.witnesses.clear();
    is(stage.end(&prepared, true)?, Code::INVALID_TXN_STATE)?;
    is_unknown(stage, &prepared, "no place where its records lie")?;
    ensure!(matches!(stage.commit(&prepared)?, CommitAnswer::Unknown(_)));
    Ok(())
}

fn unknown_id(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("known")?;
    let renamed = PreparedTransaction { transactional_id: "nobody".to_owned(), ..prepared.clone() };
    is(stage.end(&renamed, true)?, Code::INVALID_PRODUCER_ID_MAPPING)?;
    // As after the coordinator lost it: open on the partition, and nobody there to end it.
    is_unknown(stage, &renamed, "it hangs")?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    // By now the log alone tells.
    became(stage, &renamed, &Outcome::Committed)?;
    ensure!(stage.commit(&renamed)? == CommitAnswer::AlreadyCommitted);
    let other = PreparedTransaction { producer_id: prepared.producer_id + 1_000, ..prepared };
    is(stage.end(&other, true)?, Code::INVALID_PRODUCER_ID_MAPPING)?;
    is_unknown(stage, &other, "are records of producer")
}

fn other_epoch(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("epoch")?;
    let later = PreparedTransaction { producer_epoch: prepared.producer_epoch + 1, ..prepared.clone() };
    is(stage.end(&later, true)?, Code::PRODUCER_FENCED)?;
    became(stage, &prepared, &Outcome::Open)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    sees(stage, "epoch", 3)
}

fn held_up(stage: &Stage) -> Result<()> {
    let earlier = stage.alone("held")?;
    let [committed, aborted, open] =
        ["held-committed", "held-aborted", "held-open"].map(|id| stage.prepare(id, "held", 0, LONG));
    let (committed, aborted, open) = (committed?, aborted?, open?);
    is(stage.end(&committed, true)?, Code::NONE)?;
    is(stage.end(&aborted, false)?, Code::NONE)?;
    // Nobody sees any of them yet, and still each can be told from its own facts.
    became(stage, &committed, &Outcome::Committed)?;
    became(stage, &aborted, &Outcome::Aborted)?;
    became(stage, &open, &Outcome::Open)?;
    became(stage, &earlier, &Outcome::Open)?;
    sees(stage, "held", 0)?;
    ensure!(stage.judge.ends("held")?.first().is_some_and(|ends| ends.stable == 0 && ends.end == 14));
    ensure!(stage.commit(&open)? == CommitAnswer::Committed);
    ensure!(stage.abort(&earlier)? == AbortAnswer::Aborted);
    sees(stage, "held", 6)
}

fn records_deleted(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("deleted")?;
    let witness = prepared.witnesses.first().context("one partition")?.clone();
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    sees(stage, "deleted", 3)?;
    stage.judge.delete_records("deleted", 0, witness.first_offset + 1)?;
    became(stage, &prepared, &Outcome::Committed)?;
    stage.judge.delete_records("deleted", 0, witness.last_offset + 1)?;
    is_unknown(stage, &prepared, "deleted-0 offsets 0 to 2")?;
    // The coordinator remembers, and where no log tells, its word is enough.
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    Ok(())
}

fn topic_made_again(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("again")?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    sees(stage, "again", 3)?;
    stage.judge.delete("again")?;
    until(|| Ok(stage.judge.topic("again").is_err()), |is_gone| *is_gone)?;
    is_unknown(stage, &prepared, "the topic was deleted")?;
    let second = stage.prepare("again-2", "again", 1, LONG)?;
    ensure!(stage.commit(&second)? == CommitAnswer::Committed);
    is_unknown(stage, &prepared, "the topic was deleted, or made again")
}

fn another_cluster(stage: &Stage) -> Result<()> {
    let prepared = stage.alone("cluster")?;
    let foreign = PreparedTransaction { cluster_id: "elsewhere".to_owned(), ..prepared.clone() };
    for refused in
        [stage.commit(&foreign).map(drop), stage.abort(&foreign).map(drop), stage.classified(&foreign).map(drop)]
    {
        let refused = refused.err().context("it must be refused")?.to_string();
        ensure!(refused.contains("cluster `elsewhere`"), "{refused}");
    }
    became(stage, &prepared, &Outcome::Open)?;
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    Ok(())
}

fn several_partitions(stage: &Stage) -> Result<()> {
    let prepared = stage.prepare("several", "several", 6, LONG)?;
    ensure!(prepared.witnesses.len() == 6 && prepared.record_count == 18);
    became(stage, &prepared, &Outcome::Open)?;
    // One witness is enough, and the next is asked where one has nothing to say.
    ensure!(stage.commit(&prepared)? == CommitAnswer::Committed);
    sees(stage, "several", 18)?;
    for partition in 0..5 {
        stage.judge.delete_records("several", partition, 3)?;
    }
    became(stage, &prepared, &Outcome::Committed)?;
    stage.judge.delete_records("several", 5, 3)?;
    is_unknown(stage, &prepared, "several-5")
}

fn aborts_are_proven(stage: &Stage) -> Result<()> {
    let (open, committed) = (stage.alone("abort-open")?, stage.alone("abort-committed")?);
    ensure!(stage.abort(&open)? == AbortAnswer::Aborted);
    ensure!(stage.abort(&open)? == AbortAnswer::Aborted, "again is the same");
    ensure!(stage.commit(&committed)? == CommitAnswer::Committed);
    ensure!(stage.abort(&committed)? == AbortAnswer::Committed, "what is committed is not taken back");
    let expired = stage.prepare("abort-expired", "abort-expired", 1, SHORT)?;
    stage.until_state("abort-expired", "CompleteAbort")?;
    ensure!(stage.abort(&expired)? == AbortAnswer::Aborted);
    sees(stage, "abort-open", 0)?;
    sees(stage, "abort-committed", 3)
}

fn leftovers_are_found_and_fenced(stage: &Stage) -> Result<()> {
    let (first, second) = (stage.prepare("left/1", "left-1", 1, LONG)?, stage.prepare("left/2", "left-2", 1, LONG)?);
    ensure!(stage.commit(&second)? == CommitAnswer::Committed);
    stage.prepare("right/1", "right-1", 1, LONG)?;
    let ids = ["left/1", "right/1", "never/1"].map(str::to_owned);
    let found = stage.wait(leftovers(&stage.client, "left/", &ids, &BRIEF))?;
    let names: Vec<_> = found.iter().map(|found| found.transactional_id.as_str()).collect();
    ensure!(names == ["left/1", "left/2", "right/1"], "{names:?}");
    let open: Vec<_> = found.iter().filter(|found| is_open(found)).collect();
    ensure!(open.len() == 2 && open.iter().all(|found| found.partitions.len() == 1), "{open:?}");
    for leftover in open {
        stage.wait(fence(&stage.client, leftover, &PATIENT))?;
        // At once, and not some time after.
        let now = stage.wait(stage.client.describe_transaction(&leftover.transactional_id))?.context("known")?;
        ensure!(!is_open(&now), "{now:?}");
    }
    became(stage, &first, &Outcome::Aborted)?;
    became(stage, &second, &Outcome::Committed)
}
