//! What is lived.

/// One worker's life.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    pub(super) fate: Fate,
    /// In their order.
    pub(super) acts: Vec<(When, Act)>,
    /// What the real one has to tell for the life to be what it is called.
    pub(super) tells: &'static [&'static str],
    /// It has nothing to do, or is told at once to do no more: what is seen until its end is chance.
    pub(super) is_quick: bool,
}

/// What befalls it by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Nothing,
    /// SIGKILL between its third decision and the commit.
    Killed,
    /// Its manifest cannot be run.
    Refused,
    /// From its third commit on the target is away, until it was tried three times.
    Away,
}

/// When something is done to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Recovering,
    /// It runs and has decided this epoch, or a later one.
    Epoch(u64),
    /// It runs, has decided something itself and owes it.
    Owes,
    /// It runs and owes nothing.
    Settled,
    /// It has answered this request.
    Taken(&'static str),
    /// And has decided something since.
    Beyond(&'static str),
}

/// What is done to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// A checkpoint is asked for, with id `a`.
    Checkpoint,
    /// A savepoint is, with id `b`.
    Savepoint,
    /// With a token for another Pipeline.
    OfAnother,
    Stop,
    /// Another worker of the pipeline is started.
    Another,
}

fn life(name: &'static str, purpose: &'static str) -> Life {
    Life { name, purpose, fate: Fate::Nothing, acts: vec![], tells: &[], is_quick: false }
}

/// The one that takes over.
pub(super) fn another() -> Life {
    life("another", "run")
}

/// Lives of pipelines, one after another in one place each, and how many seconds of input that has.
pub(super) fn all() -> Vec<(&'static str, u64, Vec<Life>)> {
    let asked = vec![
        (When::Epoch(2), Act::OfAnother),
        (When::Epoch(2), Act::Checkpoint),
        (When::Taken("a"), Act::Savepoint),
        // Right behind a checkpoint there may be nothing to stop for.
        (When::Beyond("b"), Act::Stop),
    ];
    let again = vec![
        life("commits where there is no log", "commit"),
        Life { fate: Fate::Killed, ..life("is killed behind a decision", "run") },
        Life { tells: &["pendingCommits.epoch"], ..life("commits what that one owes", "commit") },
        Life { acts: vec![(When::Settled, Act::Stop)], ..life("goes on from there, and is told to stop", "run") },
        Life {
            acts: vec![(When::Recovering, Act::Stop)],
            is_quick: true,
            ..life("is told to stop before it runs", "run")
        },
        Life { acts: vec![(When::Owes, Act::Another)], ..life("is fenced", "run") },
    ];
    vec![
        (
            "a pipeline that is asked for checkpoints",
            60,
            vec![Life { acts: asked, tells: &["requested.taken"], ..life("is asked", "run") }],
        ),
        ("a pipeline that comes again and again", 60, again),
        (
            "a pipeline whose target is away for a while",
            5,
            vec![Life {
                fate: Fate::Away,
                tells: &["pendingCommits.lastError"],
                ..life("commits when it is back", "run")
            }],
        ),
        (
            "a pipeline that ends",
            4,
            vec![
                life("ends", "run"),
                Life { is_quick: true, ..life("comes behind the end", "run") },
                Life { is_quick: true, ..life("commits behind the end", "commit") },
            ],
        ),
        ("a manifest that is refused", 4, vec![Life { fate: Fate::Refused, ..life("is refused", "run") }]),
    ]
}
