//! What Helm makes of the chart under several values, compared with stored text; `UPDATE=1` writes it anew.

use e2e::helm::{Helm, chart};

use crate::{here, read, root};

/// Names of `golden/<case>.values.yaml` and `golden/<case>.yaml`.
pub(crate) const CASES: [&str; 7] =
    ["defaults", "one-namespace", "two-namespaces", "everything", "existing-secret", "without-crd", "short-windows"];

pub(crate) fn values_of(case: &str) -> String {
    here().join("golden").join(format!("{case}.values.yaml")).display().to_string()
}

/// What stands elsewhere, or differs every time, is named instead.
fn masked(rendered: &str) -> String {
    let mut text = String::new();
    let mut documents = rendered.split("---\n# Source: ").skip(1).peekable();
    assert!(documents.peek().is_some(), "nothing is rendered");
    for document in documents {
        text += "---\n# Source: ";
        if document.starts_with("onceward/templates/crd.yaml") {
            text += "onceward/templates/crd.yaml\n# crds/pipelines.yaml\n";
            continue;
        }
        let (document, is_cut) = match document.find(".json: |\n") {
            Some(at) => (&document[..at + ".json: |\n".len()], true),
            None => (document, false),
        };
        for line in document.lines() {
            match line.split_once("ed25519.pem: ") {
                Some((begin, _)) => text.extend([begin, "ed25519.pem: <made>\n"]),
                None => text.extend([line.trim_end(), "\n"]),
            }
        }
        text += if is_cut { "    <files/dashboards>\n" } else { "" };
    }
    text
}

#[test]
fn rendered_objects_are_those_that_are_stored() {
    let helm = Helm::new().unwrap();
    for case in CASES {
        let rendered = masked(&helm.render(&["--values", &values_of(case)]).unwrap());
        let path = here().join("golden").join(format!("{case}.yaml"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = rendered.lines().zip(stored.lines()).find(|(now, before)| now != before);
        assert!(rendered == stored, "{case}: UPDATE=1 writes it anew; the first difference: {differs:?}");
    }
}

#[test]
fn helm_finds_nothing_to_say_of_the_chart() {
    let helm = Helm::new().unwrap();
    let chart = chart().display().to_string();
    for case in CASES {
        let said = helm.run(&["lint", "--strict", "--values", &values_of(case), &chart]).unwrap();
        assert!(said.contains("0 chart(s) failed"), "{case}: {said}");
    }
}

#[test]
fn definition_in_the_chart_is_the_generated_one_and_is_kept() {
    let mut made = crate::objects(&[]);
    made.retain(|object| crate::kind(object) == "CustomResourceDefinition");
    let [made] = made.as_mut_slice() else { panic!("not one definition") };
    let metadata = made["metadata"].as_object_mut().unwrap();
    assert_eq!(metadata.remove("annotations").unwrap()["helm.sh/resource-policy"], "keep");
    assert!(metadata.remove("labels").is_some());
    let [generated] = crate::parse(&read(root().join("crds/pipelines.yaml"))).try_into().unwrap();
    assert!(*made == generated, "the chart makes another definition than crds/ has");
}

/// The definition is a link to crds/ in the repository, and must be a file in a package.
#[test]
fn packaged_chart_makes_the_same_objects() {
    let (helm, folder) = (Helm::new().unwrap(), tempfile::tempdir().unwrap());
    let place = folder.path().display().to_string();
    helm.run(&["package", &chart().display().to_string(), "--destination", &place]).unwrap();
    let package = format!("{place}/onceward-0.1.0.tgz");
    let rendered = helm.run(&["template", "onceward", &package, "--namespace", "onceward-system"]).unwrap();
    let objects = crate::parse(&rendered);
    assert!(objects.iter().any(|object| crate::kind(object) == "CustomResourceDefinition"));
    let stored = std::fs::read_to_string(here().join("golden/defaults.yaml")).unwrap();
    assert!(masked(&rendered) == stored, "the package makes other objects than the folder");
}
