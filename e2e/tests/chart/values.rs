//! Values: each is explained where it stands, and what the chart does not know is refused by name.

use e2e::helm::{Helm, chart};
use serde_json::Value;

use crate::read;

/// What is set, and the field that the refusal must name.
const REFUSED: [(&str, &str); 20] = [
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("image.digest=sha256:abc", "/image/digest"),
    ("image.tag=a b", "/image/tag"),
    ("image.tag=0", "/image/tag"),
    ("watchNamespaces={Shop}", "/watchNamespaces/0"),
    ("watchNamespaces={shop,shop}", "/watchNamespaces"),
    ("watchNamespace=shop", "'watchNamespace'"),
    ("replicaCount=2", "'replicaCount'"),
    ("controller.replicas=-1", "/controller/replicas"),
    ("controller.replicas=two", "/controller/replicas"),
    ("controller.resources.request.cpu=1", "'request'"),
    ("controller.extraArgs=--verbose", "/controller/extraArgs"),
    ("crds.install=maybe", "/crds/install"),
    ("signingKey.existingSecret=My_Key", "/signingKey/existingSecret"),
    ("networkPolicy.controller.apiServerPorts={0}", "/networkPolicy/controller/apiServerPorts/0"),
    ("monitoring.podMonitor.interval=often", "/monitoring/podMonitor/interval"),
    ("monitoring.prometheusRule.runbookBaseUrl=docs", "/monitoring/prometheusRule/runbookBaseUrl"),
    ("monitoring.prometheusRule.alerts.lagGrowing.severity=page", "/lagGrowing/severity"),
    ("monitoring.prometheusRule.alerts.transactionNearTimeout.ratio=70", "/transactionNearTimeout/ratio"),
    ("monitoring.prometheusRule.alerts.diskFull.enabled=true", "'diskFull'"),
];

#[test]
fn wrong_values_are_refused_with_the_name_of_the_field() {
    let (helm, chart) = (Helm::new().unwrap(), chart().display().to_string());
    for (set, field) in REFUSED {
        let said = helm.refusal(&["template", "onceward", &chart, "--set", set]).unwrap();
        assert!(said.contains("schema") && said.contains(field), "{set}: {said}");
    }
}

/// `--set` makes numbers of what looks like one, and so does YAML, as floats.
#[test]
fn a_tag_may_look_like_a_whole_number() {
    let (helm, folder) = (Helm::new().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, "image: {tag: 20261122}\n").unwrap();
    let file = file.display().to_string();
    for (set, image) in [(["--set", "image.tag=7"], "onceward:7"), (["--values", &file], "onceward:20261122")] {
        let rendered = helm.render(&set).unwrap();
        assert!(rendered.lines().any(|line| line.trim() == format!("image: {image}")), "{set:?}:\n{rendered}");
    }
    std::fs::write(&file, "image: {tag: 1.10}\n").unwrap();
    let chart = chart().display().to_string();
    let said = helm.refusal(&["template", "onceward", &chart, "--values", &file]).unwrap();
    assert!(said.contains("/image/tag"), "1.10 and 1.1 are the same to Helm: {said}");
}

#[test]
fn an_account_that_is_not_created_must_be_named() {
    let (helm, chart) = (Helm::new().unwrap(), chart().display().to_string());
    let set = "controller.serviceAccount.create=false";
    let said = helm.refusal(&["template", "onceward", &chart, "--set", set]).unwrap();
    assert!(said.contains("controller.serviceAccount.name must be set"), "{said}");
}

/// A line that sets something has a comment right above it, or above the line that it belongs to.
#[test]
fn every_value_is_explained() {
    let text = read(chart().join("values.yaml"));
    let (mut explained, mut silent, mut is_after_comment) = (0, Vec::new(), false);
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let is_comment = line.trim_start().starts_with('#');
        let sets = !is_comment && line.contains(':');
        // `image:` by itself is a heading; so is the value of an explained one, further in.
        let is_heading = sets && line.ends_with(':');
        let above = (0..i).rev().find(|at| indent(lines[*at]) < indent(line) && !lines[*at].trim().is_empty());
        let belongs = above.is_some_and(|at| at > 0 && lines[at - 1].trim_start().starts_with('#'));
        if sets && !is_heading {
            explained += 1;
            if !is_after_comment && !belongs {
                silent.push(format!("values.yaml:{}: {line}", i + 1));
            }
        }
        is_after_comment = is_comment;
    }
    assert!(explained > 60 && silent.is_empty(), "{explained} values; without a word:\n{}", silent.join("\n"));
}

/// Every object of the schema closes itself, but for those whose fields are Kubernetes' own.
#[test]
fn schema_knows_every_value_and_nothing_else() {
    let schema: Value = serde_json::from_str(&read(chart().join("values.schema.json"))).unwrap();
    let [values] = crate::parse(&read(chart().join("values.yaml"))).try_into().unwrap();
    let mut wrong = Vec::new();
    compare("", &schema, &values, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn compare(path: &str, schema: &Value, values: &Value, wrong: &mut Vec<String>) {
    let Some(known) = schema["properties"].as_object() else { return };
    if schema["additionalProperties"] != false {
        wrong.push(format!("{path} takes what it does not know"));
    }
    let set = values.as_object().cloned().unwrap_or_default();
    for (name, inner) in known {
        let path = format!("{path}/{name}");
        match set.get(name) {
            Some(value) => compare(&path, inner, value, wrong),
            // Helm's own, and a field of Kubernetes'.
            None if path == "/global" || path == "/controller/resources/claims" => {}
            None => wrong.push(format!("{path} has no default")),
        }
    }
    let unknown = set.keys().filter(|name| !known.contains_key(*name));
    wrong.extend(unknown.map(|name| format!("{path}/{name} is not in the schema")));
}
