//! The Pipeline of the notes: what people paste passes the lint, and what `helm test` runs comes to its end.

use std::process::Command;

use e2e::helm::{Helm, chart};
use e2e::site::binary;
use stage::cache::run;

use crate::{EVERYTHING, objects, only, parse, read};

fn notes(arguments: &[&str]) -> String {
    let chart = chart().display().to_string();
    let begin = ["install", "onceward", &chart, "--namespace", "onceward-system", "--dry-run=client"];
    let said = Helm::new().unwrap().run(&[begin.as_slice(), arguments].concat()).unwrap();
    said.split_once("\nNOTES:\n").expect("notes").1.to_owned()
}

#[test]
fn pipeline_of_the_notes_passes_the_lint() {
    let notes = notes(&[]);
    let pasted = notes.split_once("<<'END'\n").and_then(|(_, rest)| rest.split_once("\nEND\n")).expect("a block").0;
    assert_eq!(parse(pasted), parse(&read(chart().join("files/hello.yaml"))));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hello.yaml");
    std::fs::write(&file, pasted).unwrap();
    run(Command::new(binary().unwrap()).arg("lint").arg(&file), "build it").unwrap();
    assert!(notes.contains("watches every namespace") && !notes.contains("WARNING"), "{notes}");
}

#[test]
fn notes_name_the_watched_namespaces_and_warn_of_what_is_not_there() {
    let notes = notes(&[EVERYTHING.as_slice(), &["--set", "watchNamespaces={shop,billing}"]].concat());
    assert!(
        notes.contains("the namespaces shop, billing") && notes.contains("kubectl apply --namespace shop "),
        "{notes}"
    );
    assert!(notes.contains("WARNING: PodMonitors and PrometheusRules are asked for"), "{notes}");
}

/// The containers' own arguments, with the folders of this machine in place of the pod's.
#[test]
fn what_helm_test_runs_comes_to_its_end() {
    let all = objects(&[]);
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("hello.yaml");
    let stored = only(&all, "ConfigMap", "onceward-test")["data"]["hello.yaml"].as_str().unwrap();
    std::fs::write(&manifest, stored).unwrap();
    let spec = &only(&all, "Pod", "onceward-test")["spec"];
    for list in ["initContainers", "containers"] {
        let [container] = spec[list].as_array().unwrap().as_slice() else { panic!("one container each") };
        let mut command = Command::new(binary().unwrap());
        for argument in container["args"].as_array().unwrap() {
            command.arg(argument.as_str().unwrap().replace("/manifests/hello.yaml", &manifest.display().to_string()));
        }
        if list == "containers" {
            let state = folder.path().join("state");
            command.arg(format!("--set=checkpoint.storage.local.path={}", state.display()));
        }
        run(&mut command, "build it").unwrap();
    }
    assert!(folder.path().join("state").is_dir(), "nothing has run");
}
