//! What a kubelet says of a pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// The conditions of a pod whose containers are ready.
const READY: [&str; 2] = ["ContainersReady", "Ready"];

/// All containers run and are ready: the status to merge into a pod's own.
pub(crate) fn running(pod: &Pod, address: Ipv4Addr) -> Value {
    let now = Timestamp::now();
    let run = json!({ "running": { "startedAt": now } });
    let done = json!({ "terminated": { "exitCode": 0, "reason": "Completed", "finishedAt": now } });
    // A sidecar is an init container that goes on.
    let init = |one: &Container| {
        let sidecar = one.restart_policy.as_deref() == Some("Always");
        container(one, true, if sidecar { run.clone() } else { done.clone() })
    };
    let (containers, inits) = containers(pod);
    json!({ "status": {
        "phase": "Running",
        "startTime": now,
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "conditions": conditions(true, "", &["Initialized", "ContainersReady", "Ready"]),
        "initContainerStatuses": inits.iter().map(init).collect::<Vec<_>>(),
        "containerStatuses":
            containers.iter().map(|one| container(one, true, run.clone())).collect::<Vec<_>>(),
    }})
}

/// A pod that runs is ready: the status to merge into its own.
pub(crate) fn ready() -> Value {
    json!({ "status": { "conditions": conditions(true, "", &READY) } })
}

/// Whether a pod's status says what [`ready`] does.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let all = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    READY.iter().all(|kind| all.iter().any(|one| one.type_ == *kind && one.status == "True"))
}

/// All containers have ended with `code`: the status to merge into a pod's own.
pub(crate) fn ended(pod: &Pod, code: i32) -> Value {
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let state =
        json!({ "terminated": { "exitCode": code, "reason": reason, "finishedAt": Timestamp::now() } });
    let (containers, _) = containers(pod);
    let condition = if code == 0 { "PodCompleted" } else { "PodFailed" };
    json!({ "status": {
        "phase": phase,
        "conditions": conditions(false, condition, &READY),
        "containerStatuses":
            containers.iter().map(|one| container(one, false, state.clone())).collect::<Vec<_>>(),
    }})
}

fn containers(pod: &Pod) -> (&[Container], &[Container]) {
    let Some(spec) = &pod.spec else { return (&[], &[]) };
    (&spec.containers, spec.init_containers.as_deref().unwrap_or_default())
}

fn container(container: &Container, ready: bool, state: Value) -> Value {
    json!({
        "name": container.name, "image": container.image.as_deref().unwrap_or_default(), "imageID": "",
        "ready": ready, "started": ready, "restartCount": 0, "state": state,
    })
}

fn conditions(hold: bool, reason: &str, kinds: &[&str]) -> Vec<Value> {
    let (status, now) = (if hold { "True" } else { "False" }, Timestamp::now());
    kinds
        .iter()
        .map(|kind| json!({ "type": kind, "status": status, "reason": reason, "lastTransitionTime": now }))
        .collect()
}
