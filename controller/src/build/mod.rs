//! Objects from a manifest. Plain functions: the same in gives the same out.

mod configuration;
mod merge;
mod pod;

use api::pipeline::Pipeline;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

pub use self::configuration::{Configuration, configuration};
pub use self::pod::{Worker, pod};

use crate::names;

/// The Pipeline as the owner of what is made for it.
fn owner(pipeline: &Pipeline) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/{}", api::pipeline::GROUP, api::pipeline::VERSION),
        kind: "Pipeline".to_owned(),
        name: names::name(pipeline).to_owned(),
        uid: names::uid(pipeline).to_owned(),
        controller: Some(true),
        // The finalizer holds the Pipeline; this would take a right to its finalizers on some clusters.
        block_owner_deletion: None,
    }
}
