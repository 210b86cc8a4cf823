//! Shared by the tests.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use std::time::Duration;
use stowage_cluster::eventually;

/// For whatever a control plane should do at once, on a machine that does a lot beside.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Whether a process runs; one that has ended and waits to be asked about does not.
pub(crate) fn is_alive(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // `123 (name) S ...`: the state follows the name, which may hold anything.
    let state = status.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    state.flatten().is_some_and(|state| state != 'Z')
}

/// A pod that asks for `cpu`.
pub(crate) fn pod(name: &str, cpu: &str, labels: Value) -> Pod {
    let container = json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": cpu } } });
    let pod =
        json!({ "metadata": { "name": name, "labels": labels }, "spec": { "containers": [container] } });
    serde_json::from_value(pod).expect("a pod")
}

/// Waits until a pod is as wanted.
pub(crate) async fn until(pods: &Api<Pod>, name: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
    let look = async || {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        if wanted(&pod) { Ok(pod) } else { Err(format!("{:?}", pod.status)) }
    };
    eventually(&format!("pod {name} as wanted"), SOON, look).await.expect("the pod gets there")
}

/// Its node; empty if not bound.
pub(crate) fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Its phase.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether it has a condition with this status.
pub(crate) fn has(pod: &Pod, kind: &str, status: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == kind && one.status == status))
}
