//! Successors of evicted pods, as the API server has them wait: an admission policy of the chart gives new pods a scheduling gate, of owners that
//! a ConfigMap names, until a time that it names. Where the policy is not installed, nobody waits, and nobody is led anywhere.

use crate::act::{Outcome, Ports, fine, gone, place_of};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use stowage_executor::{PlannedPod, SUCCESSOR_GATE, Time};

/// The ConfigMap that names owners, and the admission policy's binding that reads it.
const NAME: &str = "stowage-successors";

/// Whether it was said that successors are not led.
#[derive(Debug, Default)]
pub(crate) struct Said(AtomicBool);

/// Has new pods of owners wait, until a time. Without owners, nobody waits any more.
pub(crate) async fn expect(ports: &Ports, owners: &BTreeSet<String>, until: Time) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(ports.client.clone(), &ports.namespace);
    if owners.is_empty() {
        return fine(maps.delete(NAME, &DeleteParams::default()).await, 404);
    }
    if !is_installed(ports).await? {
        if !ports.said.0.swap(true, Ordering::Relaxed) {
            let hint = "it needs Kubernetes 1.36 and the chart of this version; consolidation.successors: none says that it is not wanted";
            tracing::warn!(
                hint,
                "no admission policy stowage-successors: successors of evicted pods go where there is room"
            );
        }
        return Ok(());
    }
    let until = Timestamp::from_millisecond(until.0).map_err(|error| error.to_string())?;
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let data: BTreeMap<&String, &String> = owners.iter().map(|owner| (owner, &until)).collect();
    // As a whole: who is not named any more is not expected.
    let patch = serde_json::from_value(json!([{ "op": "add", "path": "/data", "value": data }]));
    let patch = Patch::<()>::Json(patch.map_err(|error| error.to_string())?);
    match maps.patch(NAME, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let map = json!({ "metadata": { "name": NAME }, "data": data });
            let map = serde_json::from_value(map).map_err(|error| error.to_string())?;
            maps.create(&PostParams::default(), &map).await.map(drop).map_err(|error| error.to_string())
        }
        other => other.map(drop).map_err(|error| error.to_string()),
    }
}

/// Whether anybody would read who is expected. An API server without that kind has none.
async fn is_installed(ports: &Ports) -> Result<bool, String> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding");
    let resource = ApiResource::from_gvk_with_plural(&kind, "mutatingadmissionpolicybindings");
    let bindings: Api<DynamicObject> = Api::all_with(ports.client.clone(), &resource);
    match bindings.get_opt(NAME).await {
        Ok(found) => Ok(found.is_some()),
        // A chart of an earlier version gives no right to ask.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Lets go of a pod, if it is still the one that was seen: kube-scheduler looks at the nominated node first, and at all others if the pod does
/// not fit there.
pub(crate) async fn ungate(ports: &Ports, pod: &PlannedPod, node: Option<&str>) -> Outcome {
    let (namespace, name) = place_of(pod);
    let pods: Api<Pod> = Api::namespaced(ports.client.clone(), namespace);
    let params = PatchParams::default();
    if let Some(node) = node {
        let patch = json!({ "metadata": { "uid": pod.uid }, "status": { "nominatedNodeName": node } });
        if let Err(error) = gone(pods.patch_status(name, &params, &Patch::Merge(patch)).await) {
            // It must not wait for that.
            tracing::warn!(pod = pod.id.0, node, error, "a successor is not led to its place");
        }
    }
    let patch: Value = json!({
        "metadata": { "uid": pod.uid },
        "spec": { "schedulingGates": [{ "$patch": "delete", "name": SUCCESSOR_GATE }] },
    });
    gone(pods.patch(name, &params, &Patch::Strategic(patch)).await)
}
