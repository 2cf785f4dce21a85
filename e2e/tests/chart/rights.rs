//! What controller and workers may do, to the last verb, and how their pods are confined.

use std::collections::BTreeSet;

use e2e::helm::granted;
use serde_json::Value;

use crate::rendered::{CASES, values_of};
use crate::{kind, name, objects, only};

fn expected(resources: &[(&str, &str)]) -> BTreeSet<String> {
    let of = |(resource, verbs): &(&str, &str)| {
        verbs.split(' ').map(|verb| format!("{resource} {verb}")).collect::<Vec<_>>()
    };
    resources.iter().flat_map(of).collect()
}

/// That each is used, and no other one is asked for, is tested where the controller runs: e2e/tests/controller.
const OF_A_NAMESPACE: [(&str, &str); 5] = [
    ("onceward.dev/pipelines", "get list watch patch"),
    ("onceward.dev/pipelines/status", "update"),
    ("/pods", "list watch create delete"),
    ("/configmaps", "list watch create delete"),
    ("events.k8s.io/events", "create patch list"),
];

#[test]
fn controller_may_do_what_it_must_and_no_more() {
    let all = objects(&[]);
    let role = only(&all, "ClusterRole", "onceward-system-onceward-controller");
    let mut cluster = OF_A_NAMESPACE.to_vec();
    cluster.push(("/nodes", "list watch"));
    assert_eq!(granted(role), expected(&cluster));
    let lease = only(&all, "Role", "onceward-controller-lease");
    assert_eq!(granted(lease), expected(&[("coordination.k8s.io/leases", "create get update")]));
    let named: Vec<_> = lease["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["verbs"] != serde_json::json!(["create"]))
        .collect();
    assert!(named.iter().all(|rule| rule["resourceNames"] == serde_json::json!(["onceward-controller"])), "{lease}");
}

#[test]
fn with_namespaces_the_controller_has_a_role_in_each_and_none_in_the_cluster() {
    let all = objects(&["--values", &values_of("two-namespaces")]);
    let roles: Vec<_> =
        all.iter().filter(|object| kind(object) == "Role" && name(object) == "onceward-controller").collect();
    let namespaces: Vec<_> = roles.iter().map(|role| role["metadata"]["namespace"].as_str().unwrap()).collect();
    assert_eq!(namespaces, ["billing", "shop"]);
    assert!(roles.iter().all(|role| granted(role) == expected(&OF_A_NAMESPACE)));
    assert!(!all.iter().any(|object| kind(object) == "ClusterRoleBinding"));
}

#[test]
fn nobody_but_people_may_read_or_write_secrets() {
    for case in CASES {
        for role in objects(&["--values", &values_of(case)]).iter().filter(|object| kind(object).ends_with("Role")) {
            let granted = granted(role);
            assert!(!granted.iter().any(|right| right.contains("secrets") || right.contains('*')), "{case}: {role}");
        }
    }
}

#[test]
fn viewers_view_and_editors_edit_pipelines() {
    let all = objects(&[]);
    let labels = |role: &Value| {
        let labels = role["metadata"]["labels"].as_object().unwrap().clone();
        let to = |label: &String| label.strip_prefix("rbac.authorization.k8s.io/aggregate-to-").map(str::to_owned);
        labels.keys().filter_map(to).collect::<Vec<_>>()
    };
    let view = only(&all, "ClusterRole", "onceward-system-onceward-view");
    assert_eq!(labels(view), ["admin", "edit", "view"]);
    assert!(granted(view).iter().all(|right| [" get", " list", " watch"].iter().any(|verb| right.ends_with(verb))));
    let edit = only(&all, "ClusterRole", "onceward-system-onceward-edit");
    assert_eq!(labels(edit), ["admin", "edit"]);
    assert!(!granted(edit).iter().any(|right| right.contains("/status")), "status is the controller's");
}

/// Pod Security `restricted`, and no more of the file system than a folder for temporary files.
#[test]
fn pods_are_confined() {
    let mut seen = 0;
    for case in CASES {
        for object in objects(&["--values", &values_of(case)]) {
            let spec = match kind(&object) {
                "Deployment" => &object["spec"]["template"]["spec"],
                "Pod" => &object["spec"],
                _ => continue,
            };
            let pod = &spec["securityContext"];
            assert!(pod["runAsNonRoot"] == true && pod["seccompProfile"]["type"] == "RuntimeDefault", "{pod}");
            let containers = ["containers", "initContainers"].into_iter().filter_map(|list| spec[list].as_array());
            for container in containers.flatten() {
                let security = &container["securityContext"];
                assert!(security["allowPrivilegeEscalation"] == false && security["readOnlyRootFilesystem"] == true);
                assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
                assert!(container["resources"]["limits"]["memory"].is_string());
                seen += 1;
            }
            for field in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec[field].is_null());
            }
            assert_eq!(spec["automountServiceAccountToken"], kind(&object) == "Deployment");
        }
    }
    assert_eq!(seen, 3 * CASES.len(), "the controller and both containers of the test, each time");
}

#[test]
fn workers_get_an_account_without_token_or_roles() {
    let all = objects(&["--values", &values_of("two-namespaces")]);
    let workers: Vec<_> =
        all.iter().filter(|object| kind(object) == "ServiceAccount" && name(object) == "onceward-worker").collect();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|account| account["automountServiceAccountToken"] == false));
    for binding in all.iter().filter(|object| kind(object).ends_with("Binding")) {
        assert!(!binding["subjects"].to_string().contains("onceward-worker"), "{binding}");
    }
    let deployment = only(&all, "Deployment", "onceward-controller");
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(arguments.contains("--worker-service-account=onceward-worker"), "{arguments}");
    assert!(arguments.contains("--watch-namespaces=billing,shop"), "{arguments}");
}
