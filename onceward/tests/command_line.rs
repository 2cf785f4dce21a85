//! The binary as people call it. (Its being here also makes `cargo test` build the binary that `e2e` drives.)
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn onceward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onceward")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_are_on_standard_output_and_good() {
    for arguments in
        [&["--help"][..], &["--version"], &["run", "--help"], &["demo", "--help"], &["kubectl", "status", "--help"]]
    {
        let output = onceward(arguments);
        assert!(output.status.success(), "{arguments:?}");
        assert!(text(&output.stdout).contains("onceward"), "{arguments:?}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run"],
        &["run", "f", "--grace", "soon"],
        &["demo", "--records", "-1"],
        &["kubectl"],
        &["kubectl", "wait", "revenue", "--for=rain"],
    ] {
        assert_eq!(onceward(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn every_crash_point_is_listed_with_its_meaning() {
    let output = onceward(&["crashpoints", "--output", "json"]);
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), runtime::crashpoint::STEPS.len());
    for line in lines.lines() {
        let step: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(step["name"].is_string() && step["meaning"].is_string(), "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onceward"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before it can have written everything, or anything.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_reader_that_goes_away_makes_no_bad_answer_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "apiVersion: onceward.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec: {}\n")
        .unwrap();
    let bad = file.to_str().unwrap();
    for (arguments, code) in [
        (&["lint", bad, "--output", "json"][..], 1),
        (&["lint", bad, bad, "--output", "json"], 1),
        (&["run", bad, "--output", "json"], 2),
        (&["demo", "--records", "1000", "--kills", "0"], 1),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onceward"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn completion_knows_every_shell_and_is_a_script_that_it_takes() {
    for shell in ["bash", "zsh", "fish"] {
        let output = onceward(&["completion", shell]);
        let printed = text(&output.stdout);
        assert!(output.status.success() && printed.contains("checkpoints") && printed.contains("savepoint"), "{shell}");
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("onceward");
        std::fs::write(&script, &output.stdout).unwrap();
        match Command::new(shell).arg("-n").arg(&script).output() {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {}", text(&checked.stderr)),
            Err(_) => println!("SKIPPED: there is no {shell} to try it in"),
        }
    }
}

#[test]
fn a_refused_manifest_names_place_field_and_fix_and_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let manifest = "apiVersion: onceward.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  sorces: []\n";
    std::fs::write(&file, manifest).unwrap();
    let path = file.to_str().unwrap();
    let output = onceward(&["run", path]);
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    assert!(errors.contains(&format!("error: {path}:5:3: spec.sorces: ")), "{errors}");
    assert!(errors.contains("sources"), "the nearest name is missing: {errors}");
    assert_eq!(onceward(&["lint", path]).status.code(), Some(1), "lint tells faults by exit code 1");
}

const DOUBTFUL: &str = "apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {name: p}
spec:
  sources:
  - name: orders
    generator: {rows: 010}
    columns: [{name: country, type: VARCHAR, generate: {choice: [DE, NO]}}]
  - {name: unread, files: {path: x}, columns: [{name: a, type: INT}]}
  sinks:
  - {name: copy, input: orders, files: {path: out/}}
  checkpoint: {storage: {local: {path: state}}}
";

#[test]
fn what_yaml_1_1_reads_otherwise_and_what_nothing_reads_is_warned_of_and_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, DOUBTFUL).unwrap();
    let path = file.to_str().unwrap();
    let output = onceward(&["lint", path]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    for line in [
        "7:23: spec.sources[0].generator.rows: `010` is the number 8 to readers of YAML 1.1, kubectl among them; write 10",
        "8:70: spec.sources[0].columns[0].generate.choice[1]: `NO` is false to readers of YAML 1.1, kubectl among them; \
         write \"NO\", in quotes",
        "9:5: spec.sources[1]: no sink gets anything from `unread`",
    ] {
        assert!(said.contains(&format!("warning: {path}:{line}")), "{line} is missing in\n{said}");
    }
    let json = text(&onceward(&["lint", path, "--output", "json"]).stdout);
    let severities =
        json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["severity"].clone());
    assert_eq!(severities.collect::<Vec<_>>(), ["warning"; 3]);
}

#[test]
fn colours_are_for_terminals_only_and_never_against_the_environments_wish() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, DOUBTFUL).unwrap();
    let plain = onceward(&["lint", file.to_str().unwrap()]);
    assert!(!plain.stdout.contains(&0x1b) && !plain.stderr.contains(&0x1b), "escapes into a pipe");
    // `script` gives a terminal; not every machine has it.
    let on_terminal = |environment: &str| {
        let command = format!("env {environment} {} lint {}", env!("CARGO_BIN_EXE_onceward"), file.display());
        Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().ok()
    };
    let Some(coloured) = on_terminal("TERM=xterm").filter(|output| output.status.success()) else {
        println!("SKIPPED: there is no `script`");
        return;
    };
    assert!(text(&coloured.stdout).contains("\x1b[1;33m"), "no colours on a terminal: {}", text(&coloured.stdout));
    for environment in ["NO_COLOR=1", "TERM=dumb"] {
        let output = text(&on_terminal(environment).unwrap().stdout);
        assert!(output.contains("warning:") && !output.contains("\x1b[1"), "{environment}: {output}");
    }
}

#[test]
fn what_the_planner_refuses_is_told_with_the_line_of_the_query() {
    let folder = tempfile::tempdir().unwrap();
    let written = onceward::workload::Workload { records: 10, ..Default::default() }.write(folder.path()).unwrap();
    let manifest = std::fs::read_to_string(&written.manifest).unwrap().replace("SUM(cents)", "SUM(cent)");
    std::fs::write(&written.manifest, manifest).unwrap();
    let path = written.manifest.to_str().unwrap();
    let output = onceward(&["lint", path]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("spec.transforms[0].sql") && errors.contains("cents"), "{errors}");
}

#[test]
fn explain_shows_the_exchange_and_its_key_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let written = onceward::workload::Workload { records: 10, ..Default::default() }.write(folder.path()).unwrap();
    let output = onceward(&["run", written.manifest.to_str().unwrap(), "--explain", "--set", "parallelism=3"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let graph = text(&output.stdout);
    assert!(graph.contains("customer") && graph.contains("parallelism 3"), "{graph}");
    assert!(!written.state.exists() && !written.windows.exists());
}

#[test]
fn every_example_is_accepted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let output = onceward(&["lint", path.to_str().unwrap()]);
            assert!(output.status.success(), "{}: {}", path.display(), text(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen >= 3, "examples were not found");
}

#[test]
fn an_unreadable_manifest_is_refused_and_a_missing_store_is_empty() {
    assert_eq!(onceward(&["run", "/nowhere/p.yaml"]).status.code(), Some(2));
    assert_eq!(onceward(&["lint", "/nowhere/p.yaml"]).status.code(), Some(1));
    let folder = tempfile::tempdir().unwrap();
    let output = onceward(&["checkpoints", folder.path().to_str().unwrap()]);
    assert!(output.status.success() && text(&output.stdout).contains("no checkpoints"));
}

#[test]
fn an_armed_step_that_does_not_exist_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_onceward"))
        .args(["run", "p.yaml"])
        .env("ONCEWARD_CRASHPOINT", "no.such_step=kill")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no.such_step"));
}

/// A connection that logs in, in a manifest beside which there are no secrets.
const KAFKA: &str = "\
apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {name: copy}
spec:
  connections:
  - name: main
    kafka:
      bootstrapServers: [\"broker:9093\"]
      tls: {ca: {secret: ca, key: ca.crt}}
      sasl: {mechanism: SCRAM-SHA-512, username: {secret: user, key: name}, password: {secret: user, key: password}}
  sources:
  - name: orders
    kafka: {connection: main, topics: [orders], until: Latest}
    columns: [{name: id, type: BIGINT}]
  sinks:
  - {name: out, input: orders, kafka: {connection: main, topic: copies, key: [id]}}
  checkpoint: {storage: {local: {path: state}}}
";

/// What a run of [`KAFKA`] says with these secrets (path below `place` and value) and arguments; it is refused.
fn refused_run(place: &str, secrets: &[(&str, &str)], arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, KAFKA).unwrap();
    for (path, value) in secrets {
        let path = folder.path().join(place).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_onceward"))
        .current_dir(folder.path())
        .env("ONCEWARD_LOG", "trace")
        .args(["run", file.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(!folder.path().join("state").exists(), "nothing was claimed");
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_missing_secret_is_told_by_field_path_and_fix() {
    let said = refused_run("secrets", &[("ca/ca.crt", "pem"), ("user/name", "u")], &[]);
    assert!(said.contains("spec.connections[0].kafka.sasl.password: "), "{said}");
    assert!(
        said.contains(
            "/secrets/user/password is missing; put the value there, or name the folder of secrets with --secrets-dir"
        ),
        "{said}"
    );
}

#[test]
fn secrets_are_found_beside_the_manifest_or_where_told_and_never_printed() {
    const CANARY: &str = "hunter2-canary";
    let secrets = [("ca/ca.crt", CANARY), ("user/name", CANARY), ("user/password", CANARY)];
    for (place, arguments) in [("secrets", &[][..]), ("elsewhere", &["--secrets-dir", "elsewhere"])] {
        let said = refused_run(place, &secrets, arguments);
        assert!(!said.contains("is missing") && !said.contains(CANARY), "{said}");
    }
    assert!(refused_run("secrets", &secrets, &["--secrets-dir", "elsewhere"]).contains("is missing"));
}

#[test]
fn a_key_that_is_no_column_is_a_fault_of_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, KAFKA.replace("key: [id]", "key: [ident]")).unwrap();
    let output = onceward(&["lint", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(":16:24: spec.sinks[0].input: sink `out`: key: there is no column `ident`"), "{said}");
}

/// A pipeline that has never run, with a sink whose cluster nobody needs for that.
fn never_run() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let plain = KAFKA.lines().filter(|line| !line.contains("tls:") && !line.contains("sasl:"));
    std::fs::write(&file, plain.collect::<Vec<_>>().join("\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

#[test]
fn tools_for_transactions_say_plainly_that_a_pipeline_has_never_run() {
    let (folder, file) = never_run();
    for (arguments, says) in [
        (&["transactions", "list"][..], "no open transactions: this pipeline has never run"),
        (&["transactions", "abort", "--all"], "nothing is open: this pipeline has never run"),
        (&["transactions", "commit", "--all"], "no decided transaction waits"),
        (&["commit"], "nothing to settle"),
    ] {
        let output = onceward(&[arguments, &[file.as_str()]].concat());
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(said.contains(says) && !said.contains('\x1b'), "{arguments:?}: {said}");
    }
    assert!(!folder.path().join("state/0").exists(), "looking claims nothing");
}

#[test]
fn tools_for_transactions_refuse_what_they_cannot_read_with_2() {
    let (_folder, file) = never_run();
    let bad = ["--set", "sinks.out.input=nowhere"];
    for verb in [&["commit"][..], &["transactions", "list"], &["transactions", "abort", "--all"]] {
        assert_eq!(onceward(&[verb, &["/nowhere/p.yaml"]].concat()).status.code(), Some(2), "{verb:?}");
        let output = onceward(&[verb, &[file.as_str()], &bad].concat());
        assert_eq!(output.status.code(), Some(2), "{verb:?}");
        assert!(text(&output.stderr).contains("nowhere"), "{verb:?}: {}", text(&output.stderr));
    }
    let abort = ["transactions", "abort", &file, "x", "--force"];
    assert_eq!(onceward(&abort).status.code(), Some(2), "force needs a reason");
}

#[test]
fn help_and_completion_know_the_tools_for_transactions() {
    for (command, words) in [
        (&["help", "commit"][..], ["--timeout", "Exit codes:", "3  fenced"]),
        (&["help", "transactions", "list"], ["--prefix", "Exit codes:", "-o, --output"]),
        (&["help", "transactions", "abort"], ["--force", "--reason <TEXT>", "lost for ever"]),
    ] {
        let help = text(&onceward(command).stdout);
        assert!(words.iter().all(|word| help.contains(word)), "{words:?} in {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&onceward(&["completion", shell]).stdout);
        assert!(script.contains("transactions") && script.contains("describe"), "{shell}");
    }
}

/// The binary under the name that kubectl looks for, without a cluster.
fn plugin(folder: &Path, arguments: &[&str]) -> Output {
    let plugin = folder.join("kubectl-onceward");
    if !plugin.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_onceward"), &plugin).unwrap();
    }
    Command::new(plugin)
        .args(arguments)
        .stdin(Stdio::null())
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .env_remove("KUBERNETES_SERVICE_HOST")
        .output()
        .unwrap()
}

#[test]
fn under_the_name_of_the_plugin_it_is_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let output = plugin(folder.path(), &["--help"]);
    let help = text(&output.stdout);
    assert!(output.status.success() && help.contains("kubectl onceward") && help.contains("savepoint"), "{help}");
    assert!(!help.contains("crashpoints"), "{help}");
    assert_eq!(plugin(folder.path(), &["run", "p.yaml"]).status.code(), Some(2));
    for (arguments, code) in
        [(&["status"][..], 3), (&["status", "-A", "--no-color"], 3), (&["savepoint", "revenue"], 1)]
    {
        let output = plugin(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1 && said.contains("kubeconfig"), "{said}");
    }
    let output = onceward(&["kubectl", "--kubeconfig", "/nowhere/config", "status"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn the_plugin_lints_as_the_binary_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, DOUBTFUL).unwrap();
    let path = file.to_str().unwrap();
    let (plugin, binary) = (plugin(folder.path(), &["lint", path]), onceward(&["lint", path]));
    assert_eq!((plugin.status.code(), text(&plugin.stderr)), (binary.status.code(), text(&binary.stderr)));
    std::fs::write(&file, "kind: Pipeline\n").unwrap();
    assert_eq!(onceward(&["kubectl", "lint", path]).status.code(), Some(1));
}

#[test]
fn kubectl_completes_the_plugin_by_its_own_protocol() {
    let folder = tempfile::tempdir().unwrap();
    for (words, expected) in [
        (&["sav"][..], "savepoint\tTake a checkpoint now that is kept for ever, and print its handle\n:4\n"),
        (&["wait", "revenue", "--for", "fin"], "finished\tEvery source has come to its end\n:4\n"),
        (&["lint", ""], ":0\n"),
        // No cluster: nothing to offer, and no error.
        (&["status", "re"], ":4\n"),
    ] {
        let output = plugin(folder.path(), &[&["__complete"], words].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), expected, "{words:?}");
    }
}

/// What kubectl runs: the script hands over.
#[test]
fn the_script_for_completion_hands_over_to_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    plugin(folder.path(), &["--version"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubectl/kubectl_complete-onceward");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh").arg(script).args(["res"]).env("PATH", path).output().unwrap();
    let offered = text(&output.stdout);
    assert!(offered.starts_with("resume\t") && offered.contains("\nrestart\t"), "{offered}");
}
