//! Rules of the data path as switches that only the simulation turns: a rule whose absence nobody notices is not tested.

/// One necessary rule each; its comment is what breaks without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An input that delivered the barrier is not read until all have: its rows would be in the snapshot and, after a
    /// restore, be read again.
    AlignInputs,
    /// An acknowledgement lists the committables of failed epochs too: they would never be decided.
    ListUndecided,
}

/// Which rules hold: all, unless a test says otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    broken: Option<Rule>,
}

impl Rules {
    /// All but one, for the tests of the tests.
    #[doc(hidden)]
    pub fn without(rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
