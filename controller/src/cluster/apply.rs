//! Steps as requests. An unknown outcome is not asked again here: the next look finds what is there.

use api::pipeline::{Pipeline, PipelineStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::json;

use super::{Error, is_code};
use crate::decide::Step;
use crate::names::{self, FINALIZER, MANAGER};

const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

/// Takes one step.
pub(super) async fn take(client: &Client, pipeline: &Pipeline, step: &Step) -> Result<(), Error> {
    let namespace = names::namespace(pipeline);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match step {
        Step::AddFinalizer => finalizers(client, pipeline, true).await,
        Step::RemoveFinalizer => finalizers(client, pipeline, false).await,
        Step::ApplyConfigMap(object) => create(&config_maps, pipeline, object.as_ref()).await,
        Step::CreatePod(object) => create(&pods, pipeline, object.as_ref()).await,
        Step::DeletePod { name, uid, at_once } => delete(&pods, name, uid, *at_once).await,
        Step::DeleteConfigMap { name, uid } => delete(&config_maps, name, uid, false).await,
        // Not the API server's.
        Step::Ask { .. } => Ok(()),
    }
}

/// Makes an object. One of that name that is ours already is the same one: names hold hashes of what is in them.
async fn create<K>(api: &Api<K>, pipeline: &Pipeline, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    let what = format!("{} {}", K::kind(&()), object.name_any());
    let options = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&options, object).await {
        Ok(_) => Ok(()),
        Err(error) if is_code(&error, CONFLICT) => {
            // Read by a list, for which there is a right anyway.
            let named = ListParams::default().fields(&format!("metadata.name={}", object.name_any()));
            let found = api.list(&named).await.map_err(Error::request(&what))?.items;
            match found.into_iter().find(|found| found.name_any() == object.name_any()) {
                Some(found) if found.owner_references().iter().any(|owner| owner.uid == names::uid(pipeline)) => Ok(()),
                Some(_) => Err(Error::Foreign { what }),
                None => Err(Error::Outdated { what }),
            }
        }
        Err(error) => Err(Error::request(what)(error)),
    }
}

async fn delete<K>(api: &Api<K>, name: &str, uid: &str, at_once: bool) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    let options = DeleteParams {
        grace_period_seconds: at_once.then_some(0),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(name, &options).await {
        Ok(_) => Ok(()),
        // Gone, or another one of that name by now: either is as good.
        Err(error) if is_code(&error, NOT_FOUND) || is_code(&error, CONFLICT) => Ok(()),
        Err(error) => Err(Error::request(format!("{} {name}", K::kind(&())))(error)),
    }
}

/// Of the very version that was read, so that nobody else's is lost.
async fn finalizers(client: &Client, pipeline: &Pipeline, held: bool) -> Result<(), Error> {
    let name = names::name(pipeline);
    let mut finalizers: Vec<String> = pipeline.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    if held {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({ "metadata": { "resourceVersion": pipeline.resource_version(), "finalizers": finalizers } });
    let api: Api<Pipeline> = Api::namespaced(client.clone(), names::namespace(pipeline));
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_code(&error, NOT_FOUND) => Ok(()),
        Err(error) if is_code(&error, CONFLICT) => Err(Error::Outdated { what: format!("Pipeline {name}") }),
        Err(error) => Err(Error::request(format!("finalizer of Pipeline {name}"))(error)),
    }
}

/// Replaces the status of the very version that was read; the version that it has then.
pub(super) async fn write_status(
    client: &Client,
    pipeline: &Pipeline,
    status: &PipelineStatus,
) -> Result<Pipeline, Error> {
    let name = names::name(pipeline);
    let mut object = pipeline.clone();
    object.status = Some(status.clone());
    let api: Api<Pipeline> = Api::namespaced(client.clone(), names::namespace(pipeline));
    let options = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.replace_status(name, &options, &object).await {
        Ok(written) => Ok(written),
        Err(error) if is_code(&error, CONFLICT) || is_code(&error, NOT_FOUND) => {
            Err(Error::Outdated { what: format!("Pipeline {name}") })
        }
        Err(error) => Err(Error::request(format!("status of Pipeline {name}"))(error)),
    }
}
