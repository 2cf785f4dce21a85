//! What one decision is made from.

use std::collections::{BTreeMap, BTreeSet};

use api::pipeline::Pipeline;
use api::report::Words;
use k8s_openapi::api::core::v1::{ConfigMap, Node, NodeStatus, Pod, PodSpec};

/// A Pipeline and its world, read before the decision. Pods and configurations are those that it owns by uid.
#[derive(Clone, Debug)]
pub struct Observed {
    pub pipeline: Pipeline,
    pub pods: Vec<Pod>,
    pub config_maps: Vec<ConfigMap>,
    /// By name of the pod: what its worker answers now.
    pub reports: BTreeMap<String, Words>,
    /// Nodes that the cluster has lost sight of.
    pub lost_nodes: BTreeSet<String>,
    /// By name of the pod: what hinders one that has not started for a while, as its kubelet tells.
    pub obstacles: BTreeMap<String, String>,
    /// What the API server said when it refused the last pod for something that asking again does not mend: a quota, a policy.
    pub denied: Option<String>,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// Leaves of a pod what decisions look at: caches hold no more, whatever people put into templates.
pub fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.spec = pod.spec.take().map(|spec| PodSpec { node_name: spec.node_name, ..PodSpec::default() });
}

/// Of a configuration only that it is there.
pub fn slim_config_map(config_map: &mut ConfigMap) {
    let metadata = std::mem::take(&mut config_map.metadata);
    *config_map = ConfigMap { metadata, ..ConfigMap::default() };
    config_map.metadata.managed_fields = None;
}

/// Of a node how it is.
pub fn slim_node(node: &mut Node) {
    node.metadata.managed_fields = None;
    node.spec = None;
    let conditions = node.status.take().and_then(|status| status.conditions);
    node.status = Some(NodeStatus { conditions, ..NodeStatus::default() });
}

/// What the controller was told when it was started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of workers whose manifest names none.
    pub image: String,
    pub service_account: String,
    /// Public half of the key that requests to workers are signed with; without one nothing is asked of them.
    pub controller_key: Option<String>,
}
