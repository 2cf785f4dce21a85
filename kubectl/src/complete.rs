//! What may come next on the command line, for `kubectl` itself: it runs `kubectl_complete-onceward`, which asks
//! `kubectl-onceward __complete WORDS...`, and reads candidates in the form of the library cobra.

use std::time::Duration;

use clap::{Arg, Command, ValueHint};
use kube::ResourceExt as _;

use crate::cli::Reach;
use crate::site::{Site, connect, now_ms};
use crate::terminal::Terminal;

/// Nobody waits longer for a word.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of cobra: no files are meant.
const NO_FILES: &str = ":4";
const FILES: &str = ":0";
/// Pipelines that are offered.
const MOST_NAMES: usize = 500;

/// What kind of word comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// One of these, each with what it means.
    Words(Vec<(String, String)>),
    /// The name of a Pipeline.
    Pipeline,
    /// A file, which the shell knows best.
    File,
}

/// What may come after these words; the last one is not finished yet. `command` is that of `kubectl onceward`.
pub fn next(command: &Command, words: &[String]) -> Next {
    let Some((last, before)) = words.split_last() else { return Next::Words(vec![]) };
    let (mut at, mut positionals, mut open): (&Command, usize, Option<&Arg>) = (command, 0, None);
    for word in before {
        if open.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            open = flag(command, at, word).filter(|arg| arg.get_action().takes_values() && !word.contains('='));
        } else if let Some(verb) = at.find_subcommand(word) {
            at = verb;
        } else {
            positionals += 1;
        }
    }
    if let Some(arg) = open {
        return value(arg, last);
    }
    if let Some((name, begun)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        let Some(arg) = flag(command, at, name) else { return Next::Words(vec![]) };
        return match value(arg, begun) {
            Next::Words(found) => {
                Next::Words(found.into_iter().map(|(word, what)| (format!("{name}={word}"), what)).collect())
            }
            other => other,
        };
    }
    if last.starts_with('-') {
        return Next::Words(flags(command, at, last));
    }
    if at.has_subcommands() {
        return Next::Words(verbs(at, last));
    }
    match at.get_positionals().nth(positionals).or_else(|| at.get_positionals().last().filter(|arg| repeats(arg))) {
        Some(arg) if arg.get_value_hint() == ValueHint::FilePath => Next::File,
        Some(arg) if *arg.get_id() == "name" => Next::Pipeline,
        _ => Next::Words(vec![]),
    }
}

fn repeats(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.max_values() > 1)
        || matches!(arg.get_action(), clap::ArgAction::Append)
}

/// A flag by any of its names: of the verb, or one for all verbs.
fn flag<'a>(command: &'a Command, verb: &'a Command, word: &str) -> Option<&'a Arg> {
    let bare = word.split('=').next().unwrap_or_default();
    let is_it = |arg: &&Arg| {
        arg.get_long().is_some_and(|long| bare.strip_prefix("--") == Some(long))
            || arg.get_short().is_some_and(|short| bare == format!("-{short}"))
    };
    verb.get_arguments().chain(command.get_arguments()).find(is_it)
}

fn flags(command: &Command, verb: &Command, begun: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = verb
        .get_arguments()
        .chain(command.get_arguments())
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg.get_help()))))
        .filter(|(word, _)| word.starts_with(begun))
        .collect();
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

fn verbs(command: &Command, begun: &str) -> Vec<(String, String)> {
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name().starts_with(begun));
    shown.map(|verb| (verb.get_name().to_owned(), help(verb.get_about()))).collect()
}

fn value(arg: &Arg, begun: &str) -> Next {
    if matches!(arg.get_value_hint(), ValueHint::FilePath | ValueHint::DirPath | ValueHint::AnyPath) {
        return Next::File;
    }
    let values = arg.get_possible_values().into_iter().filter(|value| value.get_name().starts_with(begun));
    Next::Words(values.map(|value| (value.get_name().to_owned(), help(value.get_help()))).collect())
}

fn help(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().replace('\t', " ")
}

/// `before`: what stood before these words. Says the candidates; of a cluster that does not answer none are said, and nothing else.
pub async fn execute(command: &Command, before: &Reach, words: &[String], terminal: &dyn Terminal) {
    let begun = words.last().map(String::as_str).unwrap_or_default();
    let (candidates, directive) = match next(command, words) {
        Next::Words(words) => (words, NO_FILES),
        Next::File => (vec![], FILES),
        Next::Pipeline => (names(&reach(command, before, words), begun, terminal).await, NO_FILES),
    };
    for (word, what) in candidates {
        let line = if what.is_empty() { word } else { format!("{word}\t{what}") };
        if terminal.say(&line).is_err() {
            return;
        }
    }
    let _ = terminal.say(directive);
}

async fn names(reach: &Reach, begun: &str, terminal: &dyn Terminal) -> Vec<(String, String)> {
    let asked = async {
        let (client, namespace) = connect(reach).await.ok()?;
        let site = Site { client, namespace, terminal, now_ms: &now_ms };
        let found = site.list("list Pipelines", &site.pipelines(), "").await.ok()?;
        let fits = found.iter().filter(|pipeline| pipeline.name_any().starts_with(begun)).take(MOST_NAMES);
        let phase = |status: &api::pipeline::PipelineStatus| status.phase.map(|phase| format!("{phase:?}"));
        Some(fits.map(|one| (one.name_any(), one.status.as_ref().and_then(phase).unwrap_or_default())).collect())
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_default()
}

/// Which cluster is meant, by the words so far.
fn reach(command: &Command, before: &Reach, words: &[String]) -> Reach {
    let told = |long: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(long))?;
        let short = arg.get_short().map(|short| format!("-{short}"));
        let (long, begun) = (format!("--{long}"), format!("--{long}="));
        words.iter().enumerate().find_map(|(index, word)| {
            let is_it = *word == long || short.as_ref() == Some(word);
            if is_it { words.get(index + 1).cloned() } else { word.strip_prefix(&begun).map(str::to_owned) }
        })
    };
    Reach {
        namespace: told("namespace").or_else(|| before.namespace.clone()),
        context: told("context").or_else(|| before.context.clone()),
        kubeconfig: told("kubeconfig").map(Into::into).or_else(|| before.kubeconfig.clone()),
        no_color: true,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Subcommand as _};

    use super::*;
    use crate::cli::Verb;

    fn command() -> Command {
        let mut command = Verb::augment_subcommands(Reach::augment_args(Command::new("kubectl onceward")));
        command.build();
        command
    }

    fn after(line: &str) -> Next {
        next(&command(), &line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn words(line: &str) -> Vec<String> {
        match after(line) {
            Next::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn verbs_flags_values_and_names_are_offered_where_they_belong() {
        assert_eq!(words("sus"), ["suspend"]);
        assert!(words("").contains(&"status".to_owned()));
        assert_eq!(words("-n shop stat"), ["status"], "a flag's value is no verb");
        assert_eq!(after("status "), Next::Pipeline);
        assert_eq!(after("status -n shop rev"), Next::Pipeline);
        assert_eq!(words("status revenue "), [] as [&str; 0]);
        assert_eq!(words("wait revenue --for s"), ["savepoint", "settled", "suspended"]);
        assert_eq!(words("wait revenue --for=s"), ["--for=savepoint", "--for=settled", "--for=suspended"]);
        assert_eq!(words("status --out"), ["--output"]);
        assert!(words("status --").contains(&"--context".to_owned()), "those for all verbs, too");
        assert_eq!(words("status -o j"), ["json"]);
        assert_eq!(after("report revenue --file "), Next::File);
        assert_eq!(after("status --kubeconfig "), Next::File);
    }

    #[test]
    fn the_cluster_is_the_one_that_the_words_name() {
        let words = ["status", "-n", "shop", "--context=far", ""].map(str::to_owned);
        let before = Reach { namespace: Some("other".to_owned()), kubeconfig: Some("k".into()), ..Reach::default() };
        let reach = reach(&command(), &before, &words);
        assert_eq!((reach.namespace.as_deref(), reach.context.as_deref()), (Some("shop"), Some("far")));
        assert_eq!(reach.kubeconfig, before.kubeconfig);
    }
}
