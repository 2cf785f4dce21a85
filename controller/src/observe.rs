//! What one decision is made from.

use std::collections::{BTreeMap, BTreeSet};

use api::pipeline::Pipeline;
use api::report::Words;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};

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
    /// Milliseconds since 1970.
    pub now_ms: u64,
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
