//! Dashboards: every expression parses and names metrics that exist; panels say what they show.

use std::collections::BTreeSet;

use e2e::helm::chart;
use e2e::promtool::Promtool;
use e2e::served::documented;
use serde_json::{Value, json};

use crate::{EVERYTHING, family, kind, metric_names, name, objects, read};

const NAMES: [&str; 2] = ["controller", "pipelines"];

fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(chart().join(format!("files/dashboards/{name}.json")))).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// As Grafana replaces its variables.
fn replaced(expression: &str) -> String {
    let variables =
        [("$__rate_interval", "5m"), ("$__range", "1h"), ("$namespace", "shop|billing"), ("$pipeline", ".+")];
    variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[test]
fn expressions_parse() {
    let mut rules = Vec::new();
    for name in NAMES {
        for (i, expression) in expressions(&dashboard(name)).into_iter().enumerate() {
            let expression = replaced(expression);
            assert!(!expression.contains('$'), "{expression}");
            rules.push(json!({"record": format!("{name}:{i}"), "expr": expression}));
        }
    }
    assert!(rules.len() > 40, "{} expressions", rules.len());
    let folder = tempfile::tempdir().unwrap();
    let groups = json!({"groups": [{"name": "dashboards", "rules": rules}]});
    std::fs::write(folder.path().join("rules.yaml"), groups.to_string()).unwrap();
    let said = Promtool::new().unwrap().run(folder.path(), &["check", "rules", "rules.yaml"]).unwrap();
    assert!(said.contains(&format!("SUCCESS: {} rules found", rules.len())), "{said}");
}

#[test]
fn metrics_of_dashboards_exist() {
    let known = documented().unwrap();
    for name in NAMES {
        let dashboard = dashboard(name);
        let variables = dashboard["templating"].to_string();
        let used: BTreeSet<_> =
            expressions(&dashboard).into_iter().chain([variables.as_str()]).flat_map(metric_names).collect();
        let unknown: Vec<_> =
            used.iter().filter(|name| !known.contains(**name) && !known.contains(family(name))).collect();
        assert!(used.len() > 5 && unknown.is_empty(), "{name}: {unknown:?}");
    }
}

#[test]
fn panels_say_what_they_show_and_do_not_overlap() {
    for name in NAMES {
        let dashboard = dashboard(name);
        let (mut taken, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
            let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24);
            for x in at("x")..at("x") + at("w") {
                assert!((at("y")..at("y") + at("h")).all(|y| taken.insert((x, y))), "{}", panel["title"]);
            }
        }
        for panel in panels(&dashboard) {
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{}", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
        }
    }
}

#[test]
fn each_dashboard_is_a_labelled_map() {
    let all = objects(&EVERYTHING);
    for wanted in NAMES {
        let called = format!("onceward-dashboard-{wanted}");
        let map = all.iter().find(|object| kind(object) == "ConfigMap" && name(object) == called).unwrap();
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let text = map["data"][format!("onceward-{wanted}.json")].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), dashboard(wanted));
    }
}
