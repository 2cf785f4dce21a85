//! Alerts under promtool: each fires and each stays quiet, as `alerts/<name>.yaml` says; each has a runbook.
//!
//! A case: `series` (a value each minute, in promtool's notation), `at` which time, and what `fires` by then, by labels
//! and summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use e2e::promtool::Promtool;
use e2e::served::documented;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::monitoring::{PrometheusRule, Rule};
use crate::rendered::values_of;
use crate::{EVERYTHING, family, here, kind, metric_names, objects, read, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    series: BTreeMap<String, String>,
    at: String,
    fires: Vec<Fired>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fired {
    labels: BTreeMap<String, String>,
    summary: String,
}

fn rules(arguments: &[&str]) -> Vec<Rule> {
    let rule = objects(arguments).into_iter().find(|object| kind(object) == "PrometheusRule").unwrap();
    let rule: PrometheusRule = serde_json::from_value(rule).unwrap();
    rule.spec.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn cases(alert: &str) -> Vec<Case> {
    serde_yaml_ng::from_str(&read(here().join("alerts").join(format!("{alert}.yaml")))).unwrap()
}

/// The rules as promtool reads them. `only_summary`: so that a test need not repeat the other annotations.
fn file(rules: &[Rule], only_summary: bool) -> String {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| {
            let kept = rule.annotations.iter().filter(|(name, _)| !only_summary || *name == "summary");
            let annotations: BTreeMap<_, _> = kept.collect();
            json!({"alert": rule.alert, "expr": rule.expr, "for": rule.holds, "labels": rule.labels, "annotations": annotations})
        })
        .collect();
    json!({"groups": [{"name": "onceward", "rules": rules}]}).to_string()
}

fn test_of(rule: &Rule, case: &Case) -> Value {
    let series: Vec<_> =
        case.series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let fires = case.fires.iter().map(|fired| {
        let labels: BTreeMap<_, _> = fired.labels.iter().chain(&rule.labels).collect();
        json!({"exp_labels": labels, "exp_annotations": {"summary": fired.summary}})
    });
    let expected = json!([{"alertname": rule.alert, "eval_time": case.at, "exp_alerts": fires.collect::<Vec<_>>()}]);
    json!({"name": format!("{}: {}", rule.alert, case.name), "interval": "1m", "input_series": series, "alert_rule_test": expected})
}

fn judged(promtool: &Promtool, rules: &[Rule], tests: &[Value]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.yaml"), file(rules, true))?;
    let all = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests});
    std::fs::write(folder.path().join("tests.yaml"), all.to_string())?;
    promtool.run(folder.path(), &["test", "rules", "tests.yaml"])
}

#[test]
fn each_alert_fires_and_each_stays_quiet() {
    let (promtool, rules) = (Promtool::new().unwrap(), rules(&EVERYTHING));
    let mut tests = Vec::new();
    for rule in &rules {
        let cases = cases(&rule.alert);
        let firing = cases.iter().filter(|case| !case.fires.is_empty()).count();
        assert!(firing >= 2 && cases.len() - firing >= 2, "{}: two cases of each kind at least", rule.alert);
        tests.extend(cases.iter().map(|case| test_of(rule, case)));
    }
    judged(&promtool, &rules, &tests).unwrap();
}

/// The judge itself: each case, turned around, must fail.
#[test]
fn cases_that_are_turned_around_are_noticed() {
    let (promtool, rules) = (Promtool::new().unwrap(), rules(&EVERYTHING));
    let mut noticed = 0;
    for rule in &rules {
        for mut case in cases(&rule.alert) {
            if case.fires.is_empty() {
                case.fires.push(Fired { labels: BTreeMap::new(), summary: String::new() });
            } else {
                case.fires.clear();
            }
            assert!(judged(&promtool, &rules, &[test_of(rule, &case)]).is_err(), "{}: {}", rule.alert, case.name);
            noticed += 1;
        }
    }
    assert!(noticed >= 48, "{noticed} cases");
}

#[test]
fn promtool_accepts_the_rules_whatever_their_values() {
    let promtool = Promtool::new().unwrap();
    for arguments in [EVERYTHING, ["--values", &values_of("short-windows")]] {
        let (folder, rules) = (tempfile::tempdir().unwrap(), rules(&arguments));
        std::fs::write(folder.path().join("rules.yaml"), file(&rules, false)).unwrap();
        let said = promtool.run(folder.path(), &["check", "rules", "rules.yaml"]).unwrap();
        assert!(said.contains(&format!("SUCCESS: {} rules found", rules.len())), "{said}");
    }
}

#[test]
fn alert_that_is_turned_off_is_not_there() {
    let off = "monitoring.prometheusRule.alerts.lagGrowing.enabled=false";
    let (all, fewer) = (rules(&EVERYTHING), rules(&[EVERYTHING.as_slice(), &["--set", off]].concat()));
    assert_eq!(all.len(), fewer.len() + 1);
    assert!(!fewer.iter().any(|rule| rule.alert == "OncewardLagGrowing"));
}

#[test]
fn alerts_say_what_happens_and_name_metrics_that_exist() {
    let known = documented().unwrap();
    for rule in rules(&EVERYTHING) {
        for annotation in ["summary", "description", "runbook_url"] {
            assert!(
                rule.annotations.get(annotation).is_some_and(|text| text.len() > 20),
                "{}: {annotation}",
                rule.alert
            );
        }
        assert!(["critical", "warning"].contains(&rule.labels["severity"].as_str()), "{}", rule.alert);
        for name in metric_names(&rule.expr) {
            assert!(known.contains(name) || known.contains(family(name)), "{}: {name}", rule.alert);
        }
    }
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    const PARTS: [&str; 4] = ["## Meaning", "## Impact", "## Diagnosis", "## Remedy"];
    let base = "https://docs.example.org/runbooks";
    let set = format!("monitoring.prometheusRule.runbookBaseUrl={base}/");
    let rules = rules(&[EVERYTHING.as_slice(), &["--set", &set]].concat());
    let mut led_to = BTreeSet::new();
    for rule in &rules {
        let page = rule.annotations["runbook_url"].strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).unwrap();
        let text = read(root().join("docs/runbooks").join(page));
        assert!(text.starts_with(&format!("# {}\n", rule.alert)), "{page}");
        let places: Vec<_> = PARTS.iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{page}: {PARTS:?}");
        let diagnosis = text.split("## Diagnosis").nth(1).and_then(|rest| rest.split("## Remedy").next()).unwrap();
        assert!(diagnosis.contains("```"), "{page}: a diagnosis has commands");
        led_to.insert(page.to_owned());
    }
    let pages = std::fs::read_dir(root().join("docs/runbooks")).unwrap();
    let pages: BTreeSet<_> = pages.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(pages, led_to);
}

/// Without Prometheus' templates, whose place nobody knows before.
fn plain(text: &str) -> String {
    let text = text.replace("{{ $labels.namespace }}/{{ $labels.pipeline }}", "NAMESPACE/NAME");
    let mut parts = text.split("{{");
    let begin = parts.next().unwrap_or_default().to_owned();
    parts.fold(begin, |text, part| text + "…" + part.split_once("}}").map_or("", |(_, rest)| rest))
}

/// `docs/alerts.md`, from the chart's default values; `UPDATE=1` writes it.
#[test]
fn the_table_of_alerts_is_the_chart_s() {
    let mut table = String::from(
        "# Alerts\n\nThe chart's rules with its default values (`monitoring.prometheusRule.enabled`). \
         `monitoring.prometheusRule.alerts` has a part for each, which turns it off (`enabled`), makes it wait longer (`for`), \
         and sets its severity and bounds. This page is made from the chart.\n\n\
         | alert, and its runbook | severity | for | when |\n|---|---|---|---|\n",
    );
    for rule in rules(&EVERYTHING) {
        let (name, severity, holds) = (&rule.alert, &rule.labels["severity"], &rule.holds);
        let words = format!("{}. {}", rule.annotations["summary"], rule.annotations["description"]);
        let when = plain(&words.split_whitespace().collect::<Vec<_>>().join(" "));
        let _ = writeln!(table, "| [{name}](runbooks/{name}.md) | {severity} | {holds} | {when} |");
    }
    let page = root().join("docs/alerts.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&page, &table).unwrap();
    }
    assert_eq!(read(page), table, "run with UPDATE=1");
}
