//! The targets: transactions that are pre-committed, committed, aborted, or expire.

use checkpoint::commit::{Classification, CommitOutcome};
use checkpoint::coordinator;
use checkpoint::ids::{Attempt, Subtask};
use checkpoint::manifest::{Committable, Expiry};
use checkpoint::record::DecisionId;
use checkpoint::recovery::{self, AbortOutcome, Intent};

use crate::properties::V8;
use crate::steps::{Config, TICK_MS};
use crate::world::{Effect, Fate, Key, Phase, World};

impl World {
    /// With shared ids, opening one aborts what was left under it, whoever left it.
    pub(crate) fn open(&mut self, p: usize, w: usize) {
        self.processes[p].workers[w].is_open = true;
        let held: Vec<_> = self.targets.keys().copied().filter(|key| key.writer == w as u32).collect();
        for key in held {
            self.abort(key, Fate::Aborted);
        }
    }

    pub(crate) fn sweep(&mut self, config: &Config, p: usize) {
        self.abort_leftovers(config, self.processes[p].attempt);
    }

    fn abort_leftovers(&mut self, config: &Config, me: Attempt) {
        let is_swept = |key: &Key| if config.sweeps_all { key.attempt != me } else { key.attempt < me };
        let left: Vec<_> = self.targets.keys().copied().filter(is_swept).collect();
        for key in left {
            self.abort(key, Fate::Aborted);
        }
    }

    fn abort(&mut self, key: Key, fate: Fate) {
        if self.fate(key) == Some(Fate::Prepared) {
            if fate == Fate::Aborted {
                self.check_abort(key);
            }
            self.set(key, fate);
        }
    }

    pub(crate) fn set(&mut self, key: Key, fate: Fate) {
        if let Some(transaction) = self.targets.get_mut(&key) {
            transaction.fate = fate;
        }
    }

    pub(crate) fn carry_out(&mut self, config: &Config, p: usize, at: usize) {
        let effect = self.processes[p].effects.remove(at);
        match effect {
            Effect::Classify { index, key } => {
                let classification = match self.fate(key) {
                    Some(Fate::Prepared) => Classification::Prepared,
                    Some(Fate::Committed) => Classification::Committed,
                    Some(Fate::Aborted | Fate::AbortedByRewind | Fate::Expired) | None => Classification::Lost,
                };
                self.recovered(config, p, recovery::Event::Classified { index, classification });
            }
            Effect::Commit { decision, index, key } => {
                let outcome = self.commit(p, decision, key);
                self.recovered(config, p, recovery::Event::Committed { index, outcome });
                self.committed(config, p, coordinator::Event::Committed { decision, index, outcome });
            }
            Effect::Abort { index, key } => {
                let outcome = match self.fate(key) {
                    Some(Fate::Committed) => AbortOutcome::Committed,
                    _ => AbortOutcome::Aborted,
                };
                self.abort(key, Fate::AbortedByRewind);
                self.recovered(config, p, recovery::Event::Aborted { index, outcome });
            }
            Effect::Leftovers { before } => {
                self.abort_leftovers(config, before);
                self.recovered(config, p, recovery::Event::LeftoversAborted);
            }
            Effect::Delete(position) => {
                if let Some(entry) = self.log.slots.remove(&position).filter(|entry| entry.completed().is_none()) {
                    self.deleted.insert(position, entry);
                }
            }
        }
    }

    fn commit(&mut self, p: usize, decision: DecisionId, key: Key) -> CommitOutcome {
        match self.fate(key) {
            Some(Fate::Prepared) => {
                let is_first = !self.decisions.iter().any(|(at, entry)| {
                    entry.completed().is_some_and(|c| {
                        crate::world::id(*at, c) == decision
                            && crate::world::keys(c).any(|k| self.fate(k) == Some(Fate::Committed))
                    })
                });
                let process = &self.processes[p];
                let is_plain = matches!(process.intent, Intent::Run | Intent::CommitOnly | Intent::Supersede);
                if matches!(process.phase, Phase::Recovering(_)) && process.began_with_loss && is_first && is_plain {
                    self.broken |= V8;
                }
                self.check_commit(key);
                self.set(key, Fate::Committed);
                CommitOutcome::Committed
            }
            Some(Fate::Committed) => CommitOutcome::AlreadyCommitted,
            Some(Fate::Aborted | Fate::AbortedByRewind | Fate::Expired) | None => CommitOutcome::Lost,
        }
    }
}

pub(crate) fn committable(config: &Config, key: Key, clock: u8) -> Committable {
    let expiry = config.has_expiry.then(|| Expiry {
        start_ms: u64::from(clock) * TICK_MS,
        timeout_ms: 2 * TICK_MS,
        commit_budget_ms: TICK_MS,
    });
    Committable {
        sink: if config.sinks > 1 { format!("{}", key.writer) } else { String::new() },
        writer: Subtask(key.writer),
        attempt: key.attempt,
        epoch: key.epoch,
        rows: 1,
        expiry,
        handle: String::new(),
    }
}
