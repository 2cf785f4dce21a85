//! What befalls controllers and their requests: nothing, one death, or whatever a seed has in store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stage::inprocess::{Fate, Fates, Request, RuntimeClock, WatchFate};

use crate::dice::Dice;

/// Where one controller dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    /// The how-manieth changing request of the run, from 1.
    pub(crate) at: u64,
    /// It was carried out.
    pub(crate) is_after: bool,
    /// The next one begins with lists of before.
    pub(crate) is_stale: bool,
}

/// What is in store.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Nothing,
    Death(Death),
    Seed(Seed),
}

/// Faults by chance, until there were enough of them.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) controllers: usize,
    /// One of so many requests is struck.
    pub(crate) one_in: u64,
    pub(crate) faults: u64,
    /// Which kinds there are.
    pub(crate) fates: Vec<&'static str>,
    pub(crate) dice: Dice,
}

pub(crate) const FATES: [&str; 14] = [
    "refused 409",
    "refused 410",
    "refused 429",
    "refused 500",
    "refused 504",
    "denied 409",
    "denied 504",
    "unsent",
    "unheard",
    "dead before",
    "dead after",
    "late watch",
    "broken watch",
    "forgetful watch",
];

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let controllers = if dice.below(3) == 0 { 2 } else { 1 };
        let fates = FATES.into_iter().filter(|_| dice.below(2) == 0).collect();
        let (one_in, faults) = (2 + dice.below(12), 1 + dice.below(16));
        Self { controllers, one_in, faults, fates, dice }
    }
}

/// What a life may cost, whatever befalls one Pipeline. A controller that wants more hears nothing any more: it writes in circles.
pub(crate) const MOST_REQUESTS: u64 = 1_500;

/// Shared by all controllers of a run.
pub(crate) struct Trouble {
    plan: Plan,
    state: Mutex<State>,
}

/// A changing request.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) at_ms: u64,
    pub(crate) name: String,
    pub(crate) what: String,
}

#[derive(Default)]
struct State {
    requests: u64,
    writes: Vec<Write>,
    asked: u64,
    dead: VecDeque<(u64, u32)>,
    struck: BTreeMap<&'static str, u64>,
    dice: Option<Dice>,
    left: u64,
}

impl Trouble {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let mut state = State::default();
        if let Plan::Seed(seed) = &plan {
            state.dice = Some(seed.dice.clone());
            state.left = seed.faults;
        }
        Arc::new(Self { plan, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn controllers(&self) -> usize {
        match &self.plan {
            Plan::Seed(seed) => seed.controllers,
            Plan::Nothing | Plan::Death(_) => 1,
        }
    }

    /// Changing requests so far.
    pub(crate) fn writes(&self) -> u64 {
        self.state().writes.len() as u64
    }

    /// Those from this one on.
    pub(crate) fn writes_since(&self, first: u64) -> Vec<Write> {
        self.state().writes.iter().skip(first as usize).cloned().collect()
    }

    /// How often workers were asked.
    pub(crate) fn asked(&self) -> u64 {
        self.state().asked
    }

    pub(crate) fn requests(&self) -> u64 {
        self.state().requests
    }

    /// How often which fault has struck.
    pub(crate) fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.state().struck.clone()
    }

    /// A controller that has died, and after how many looks the next one starts.
    pub(crate) fn next_death(&self) -> Option<(u64, u32)> {
        self.state().dead.pop_front()
    }

    pub(crate) fn told(&self) -> String {
        let state = self.state();
        let writes = state.writes.iter().map(|write| format!("{} {}", write.at_ms % 10_000_000, write.what));
        format!("{:?}: {:?}\n{}", self.plan, state.struck, writes.collect::<Vec<_>>().join("\n"))
    }

    /// Whether a worker's answer is lost on its way.
    pub(crate) fn swallows_report(&self) -> bool {
        self.state().asked += 1;
        self.strikes(&["lost report"]).is_some()
    }

    /// One of these kinds, if it is one's turn and there are still some to come.
    fn strikes(&self, kinds: &[&'static str]) -> Option<&'static str> {
        let Plan::Seed(seed) = &self.plan else { return None };
        let mut state = self.state();
        let there: Vec<_> = kinds.iter().filter(|kind| **kind == "lost report" || seed.fates.contains(kind)).collect();
        if state.left == 0 || there.is_empty() {
            return None;
        }
        let dice = state.dice.as_mut()?;
        if dice.below(seed.one_in) != 0 {
            return None;
        }
        let kind = **there.get(dice.below(there.len() as u64) as usize)?;
        state.left -= 1;
        *state.struck.entry(kind).or_default() += 1;
        Some(kind)
    }

    fn roll(&self, below: u64) -> u64 {
        self.state().dice.as_mut().map_or(0, |dice| dice.below(below))
    }

    fn fate(&self, number: u64, at_ms: u64, request: &Request) -> Fate {
        let is_write = request.verb.is_write();
        let nth = {
            let mut state = self.state();
            state.requests += 1;
            if is_write {
                let named = request.body["metadata"]["name"].as_str().unwrap_or_default();
                let name = if request.name.is_empty() { named } else { &request.name };
                let (verb, kind, part) = (request.verb, request.kind.plural, &request.subresource);
                let what = format!("{number}: {verb:?} {kind} {name} {part}");
                state.writes.push(Write { at_ms, name: name.to_owned(), what });
            }
            if state.requests > MOST_REQUESTS && !matches!(self.plan, Plan::Nothing) {
                return Fate::DeadBefore;
            }
            state.writes.len() as u64
        };
        let fate = match &self.plan {
            Plan::Death(death) if is_write && nth == death.at => {
                *self.state().struck.entry("death").or_default() += 1;
                if death.is_after { Fate::DeadAfter } else { Fate::DeadBefore }
            }
            Plan::Nothing | Plan::Death(_) => Fate::Answered,
            Plan::Seed(_) if is_write => match self.strikes(&FATES[..11]) {
                Some("refused 409") => Fate::Refused(409),
                Some("refused 410") => Fate::Refused(410),
                Some("refused 429") => Fate::Refused(429),
                Some("refused 500") => Fate::Refused(500),
                Some("refused 504") => Fate::Refused(504),
                Some("denied 409") => Fate::Denied(409),
                Some("denied 504") => Fate::Denied(504),
                Some("unsent") => Fate::Unsent,
                Some("unheard") => Fate::Unheard,
                Some("dead before") => Fate::DeadBefore,
                Some("dead after") => Fate::DeadAfter,
                _ => Fate::Answered,
            },
            Plan::Seed(_) => {
                match self.strikes(&["refused 410", "refused 429", "refused 500", "refused 504", "unheard"]) {
                    Some("refused 410") => Fate::Refused(410),
                    Some("refused 429") => Fate::Refused(429),
                    Some("refused 500") => Fate::Refused(500),
                    Some("refused 504") => Fate::Refused(504),
                    Some(_) => Fate::Unheard,
                    None => Fate::Answered,
                }
            }
        };
        if matches!(fate, Fate::DeadBefore | Fate::DeadAfter) {
            let delay = self.roll(100) as u32;
            self.state().dead.push_back((number, delay));
        }
        fate
    }

    fn watch_fate(&self) -> WatchFate {
        match self.strikes(&FATES[11..]) {
            Some("late watch") => WatchFate { lag_ms: 100 + self.roll(10_000), ..WatchFate::default() },
            Some("broken watch") => WatchFate { breaks_after: Some(self.roll(8) as u32), ..WatchFate::default() },
            Some("forgetful watch") => WatchFate { forgets: 1 + self.roll(5) as u32, ..WatchFate::default() },
            _ => WatchFate::default(),
        }
    }
}

/// The line of one controller to the server.
pub(crate) struct Line {
    trouble: Arc<Trouble>,
    number: u64,
    clock: RuntimeClock,
    is_dead: AtomicBool,
    /// How old what it first lists is, in revisions.
    age: u64,
}

impl Line {
    pub(crate) fn new(trouble: Arc<Trouble>, number: u64, clock: RuntimeClock) -> Self {
        let age = match &trouble.plan {
            Plan::Nothing => 0,
            Plan::Death(death) => {
                if death.is_stale && number > 0 {
                    6
                } else {
                    0
                }
            }
            Plan::Seed(_) => {
                if number > 0 {
                    trouble.roll(20)
                } else {
                    0
                }
            }
        };
        Self { trouble, number, clock, is_dead: AtomicBool::new(false), age }
    }
}

impl Fates for Line {
    fn of(&self, request: &Request) -> Fate {
        if self.is_dead.load(Ordering::Relaxed) {
            return Fate::DeadBefore;
        }
        let fate = self.trouble.fate(self.number, self.clock.now_ms(), request);
        self.is_dead.store(matches!(fate, Fate::DeadBefore | Fate::DeadAfter), Ordering::Relaxed);
        fate
    }

    fn of_watch(&self, _request: &Request) -> WatchFate {
        let fate = self.trouble.watch_fate();
        // What a stale server does not know yet it hears of later.
        let lag_ms = if self.age > 0 { fate.lag_ms.max(5_000) } else { fate.lag_ms };
        WatchFate { lag_ms, ..fate }
    }

    fn age_of_list(&self, request: &Request) -> u64 {
        // Of watchers, which ask for pages: what the loop looks up before it acts is always of now.
        if request.query.contains_key("limit") { self.age } else { 0 }
    }
}
