//! What all processes of a simulation share: randomness, time, faults, objects, and a trace of what happened.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use checkpoint::paths::{self, ObjectName};

use crate::kinds::{Counts, Fault, Seen};
use crate::mutants::{Mutant, State};
use crate::oracle::Oracle;

/// A row as it leaves: all columns as numbers.
pub(crate) type Row = Vec<i64>;

pub(crate) struct World {
    inner: Mutex<Inner>,
    verbose: bool,
    mutant: Option<Mutant>,
}

pub(crate) struct Inner {
    random: u64,
    now: Duration,
    /// Chance of each fault in ten thousand; empty while the world heals.
    weather: BTreeMap<Fault, u64>,
    /// Until when a fault that lasts goes on.
    spells: BTreeMap<Fault, Duration>,
    pub(crate) counts: Counts,
    trace: DefaultHasher,
    pub(crate) objects: BTreeMap<String, Bytes>,
    late: Vec<(Duration, String, Bytes)>,
    /// The object that was changed behind everybody's back, as it was.
    damaged: Option<(String, Bytes)>,
    pub(crate) oracle: Oracle,
    /// What was deployed last.
    pub(crate) deployed: State,
    violations: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, verbose: bool, mutant: Option<Mutant>) -> Self {
        let inner = Inner {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6f6e_6365,
            now: Duration::ZERO,
            weather: BTreeMap::new(),
            spells: BTreeMap::new(),
            counts: Counts::default(),
            trace: DefaultHasher::new(),
            objects: BTreeMap::new(),
            late: Vec::new(),
            damaged: None,
            oracle: Oracle::default(),
            deployed: State::default(),
            violations: Vec::new(),
        };
        Self { inner: Mutex::new(inner), verbose, mutant }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this mistake is planted.
    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn mutant(&self) -> Option<Mutant> {
        self.mutant
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.lock().below(bound)
    }

    pub(crate) fn set_weather(&self, weather: BTreeMap<Fault, u64>) {
        let mut inner = self.lock();
        inner.weather = weather;
        inner.spells.clear();
    }

    /// Whether this fault happens now; counted when it does.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let mut inner = self.lock();
        let chance = inner.weather.get(&fault).copied().unwrap_or(0);
        let strikes = chance > 0 && inner.below(10_000) < chance;
        drop(inner);
        if strikes {
            self.inflict(fault);
        }
        strikes
    }

    /// As [`World::strikes`], for a fault that then lasts for a while.
    pub(crate) fn lasts(&self, fault: Fault) -> bool {
        let inner = self.lock();
        let goes_on = inner.spells.get(&fault).is_some_and(|until| inner.now < *until);
        drop(inner);
        if goes_on || !self.strikes(fault) {
            return goes_on;
        }
        let mut inner = self.lock();
        let until = inner.now + Duration::from_millis(inner.below(2_000));
        inner.spells.insert(fault, until);
        true
    }

    pub(crate) fn inflict(&self, fault: Fault) {
        *self.lock().counts.faults.entry(fault).or_default() += 1;
        self.note(&format!("fault {fault:?}"));
    }

    pub(crate) fn see(&self, seen: Seen) {
        *self.lock().counts.seen.entry(seen).or_default() += 1;
    }

    /// Adds to the trace: two runs of a seed must note the same things in the same order.
    pub(crate) fn note(&self, what: &str) {
        let mut inner = self.lock();
        what.hash(&mut inner.trace);
        if self.verbose {
            println!("{:>8.3} {what}", inner.now.as_secs_f64());
        }
    }

    pub(crate) fn violation(&self, what: String) {
        self.note(&what);
        self.lock().violations.push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.lock().trace.finish()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Time passes; writes that were on their way arrive, whoever sent them.
    pub(crate) fn pass(&self, time: Duration) {
        let due: Vec<_> = {
            let mut inner = self.lock();
            inner.now += time;
            let now = inner.now;
            let (due, late) = std::mem::take(&mut inner.late).into_iter().partition(|(at, ..)| *at <= now);
            inner.late = late;
            due
        };
        for (_, name, body) in due {
            self.note(&format!("late write of {name}"));
            self.create(&name, &body);
        }
    }

    pub(crate) fn send_late(&self, name: &str, body: &Bytes) {
        let mut inner = self.lock();
        let at = inner.now + Duration::from_millis(inner.below(3_000));
        inner.late.push((at, name.to_owned(), body.clone()));
    }

    /// Creates if absent; records are judged as they enter the log.
    pub(crate) fn create(&self, name: &str, body: &Bytes) -> bool {
        let parsed = match paths::parse(name) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.violation(format!("a name that is none: {error}"));
                None
            }
        };
        // The probe would refuse such a store before anything is claimed.
        let is_overwritten = self.is(Mutant::Overwrite) && !name.starts_with("probe/");
        if self.lock().objects.contains_key(name) && !is_overwritten {
            return false;
        }
        match parsed {
            Some(ObjectName::Record(_, at)) => self.judge_record(name, at, body),
            Some(ObjectName::Part(..)) => self.see(Seen::PartStored),
            Some(ObjectName::Claim(..) | ObjectName::Manifest(..)) | None => {}
        }
        self.note(&format!("created {name}"));
        self.lock().objects.insert(name.to_owned(), body.clone());
        true
    }

    pub(crate) fn read(&self, name: &str) -> Option<Bytes> {
        self.lock().objects.get(name).cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<String> {
        self.lock().objects.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub(crate) fn delete(&self, name: &str) {
        self.note(&format!("deleted {name}"));
        self.lock().objects.remove(name);
    }

    /// Changes one bit of an object that the newest decision consists of; does nothing while another one is changed.
    pub(crate) fn damage(&self) {
        let candidates = self.objects_of_newest();
        if candidates.is_empty() || self.is_damaged() {
            return;
        }
        let name = candidates[self.below(candidates.len() as u64) as usize].clone();
        let Some(body) = self.read(&name) else { return };
        let altered = self.flip(&body);
        self.note(&format!("damaged {name}"));
        self.inflict(Fault::Damage);
        let mut inner = self.lock();
        inner.objects.insert(name.clone(), altered);
        inner.damaged = Some((name, body));
    }

    /// Whether a changed object is still there.
    pub(crate) fn is_damaged(&self) -> bool {
        let inner = self.lock();
        inner.damaged.as_ref().is_some_and(|(name, _)| inner.objects.contains_key(name))
    }

    pub(crate) fn is_damaged_object(&self, name: &str) -> bool {
        self.lock().damaged.as_ref().is_some_and(|(damaged, _)| damaged == name)
    }

    /// Somebody finds a copy of the changed object.
    pub(crate) fn repair(&self) {
        let mut inner = self.lock();
        if let Some((name, body)) = inner.damaged.take()
            && inner.objects.contains_key(&name)
        {
            inner.objects.insert(name, body);
        }
        drop(inner);
        self.note("repaired");
    }

    /// The same bytes but for one bit.
    pub(crate) fn flip(&self, body: &Bytes) -> Bytes {
        let mut altered = body.to_vec();
        if !altered.is_empty() {
            let bit = self.below(altered.len() as u64 * 8) as usize;
            altered[bit / 8] ^= 1 << (bit % 8);
        }
        altered.into()
    }
}

impl Inner {
    /// splitmix64 (Steele, Lea, Flood, 2014), reduced by multiplication.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}
