//! What the executor wants to know of an object.

use kube::core::DynamicObject;
use serde_json::Value;
use std::collections::BTreeSet;
use stowage_executor::{Claim, Drain, Node, PlannedPod, Pod, SLOT_TAINT, SUCCESSOR_GATE, Time};
use stowage_models::departure::{NOTICES, Notices};
use stowage_models::labels;
use stowage_models::objects::{PodPhase, Taint, TaintEffect};
use stowage_models::quantity::{Resources, parse_quantity};
use stowage_models::schedule;

/// Annotation: digest of the plan a claim is from.
pub const PLAN: &str = "stowage.dev/plan";
/// Annotation: the action of that plan.
pub const ACTION: &str = "stowage.dev/action";
/// Annotation: the slot.
pub const SLOT: &str = "stowage.dev/slot";
/// Annotation: the client token of the launch.
pub const TOKEN: &str = "stowage.dev/client-token";
/// Annotation: the launch request, byte for byte.
pub const BODY: &str = "stowage.dev/launch-request";
/// Annotation: the pods, as JSON.
pub const PODS: &str = "stowage.dev/pods";
/// Annotation: what was promised of the machine, as JSON ([`Promise`]).
pub const PROMISE: &str = "stowage.dev/promise";
/// Annotation: that the node is to go, as JSON (`stowage_executor::Removal`).
pub const REMOVAL: &str = "stowage.dev/removal";
/// Karpenter's finalizer.
const FINALIZER: &str = "karpenter.sh/termination";

/// What was promised of a machine: amounts of `stowage_models` by resource, so that nothing is rounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Capacity.
    pub capacity: Resources,
    /// Allocatable.
    pub allocatable: Resources,
}

impl Promise {
    /// As an annotation.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::json!({ "capacity": self.capacity, "allocatable": self.allocatable }).to_string()
    }

    fn parse(text: &str) -> Promise {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let read = |field: &str| serde_json::from_value(value[field].clone()).unwrap_or_default();
        Promise { capacity: read("capacity"), allocatable: read("allocatable") }
    }
}

/// The instance id of a provider id such as `aws:///us-east-1a/i-0123`.
#[must_use]
pub fn instance_id(provider_id: &str) -> Option<String> {
    let id = provider_id.rsplit('/').next().unwrap_or_default();
    (!id.is_empty() && provider_id.contains("://")).then(|| id.to_owned())
}

fn time(text: Option<&str>) -> Option<Time> {
    let stamp: jiff::Timestamp = text?.parse().ok()?;
    Some(Time(stamp.as_millisecond()))
}

fn taints(value: &Value) -> Vec<Taint> {
    let read = |taint: &Value| {
        let effect = match taint["effect"].as_str()? {
            "NoSchedule" => TaintEffect::NoSchedule,
            "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
            "NoExecute" => TaintEffect::NoExecute,
            _ => return None,
        };
        let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
        Some(Taint { key: text("key"), value: text("value"), effect })
    };
    value.as_array().into_iter().flatten().filter_map(read).collect()
}

fn resources(value: &Value) -> Resources {
    let mut resources = Resources::default();
    for (name, amount) in value.as_object().into_iter().flatten() {
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        if let Ok(amount) = parse_quantity(name, &text) {
            resources.set(name, amount);
        }
    }
    resources
}

/// When a condition became true.
fn since(data: &Value, kind: &str) -> Option<Time> {
    let conditions = data["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|one| one["type"] == kind && one["status"] == "True")?;
    time(found["lastTransitionTime"].as_str()).or(Some(Time(0)))
}

/// A NodeClaim.
#[must_use]
pub fn claim(object: &DynamicObject) -> Claim {
    let metadata = &object.metadata;
    let data = &object.data;
    let annotation =
        |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default();
    let promise = Promise::parse(&annotation(PROMISE));
    let pods: Vec<PlannedPod> = serde_json::from_str(&annotation(PODS)).unwrap_or_default();
    let labels = metadata.labels.clone().unwrap_or_default();
    let token = annotation(TOKEN);
    let body = annotation(BODY);
    Claim {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map_or(Time(0), |at| Time(at.0.as_millisecond())),
        pool: labels.get(labels::NODEPOOL).cloned().unwrap_or_default(),
        ours: !token.is_empty() && !body.is_empty(),
        plan: annotation(PLAN),
        slot: annotation(SLOT),
        token,
        body,
        pods,
        capacity: promise.capacity,
        allocatable: promise.allocatable,
        labels,
        taints: taints(&data["spec"]["taints"]),
        startup_taints: taints(&data["spec"]["startupTaints"]),
        instance: data["status"]["providerID"].as_str().and_then(instance_id),
        launched: since(data, "Launched"),
        registered: since(data, "Registered"),
        initialized: since(data, "Initialized"),
        deleting: metadata.deletion_timestamp.is_some(),
        deleted: metadata.deletion_timestamp.as_ref().map(|at| Time(at.0.as_millisecond())),
        grace: data["spec"]["terminationGracePeriod"].as_str().and_then(schedule::duration).map(|s| s * 1000),
        finalizer: metadata.finalizers.iter().flatten().any(|one| one == FINALIZER),
        drifted: since(data, "Drifted").is_some(),
        life: data["spec"]["expireAfter"]
            .as_str()
            .and_then(schedule::duration)
            .map(|s| s.saturating_mul(1000)),
        // One that cannot be read says nothing: the node stays.
        removal: serde_json::from_str(&annotation(REMOVAL)).ok(),
        notices: Notices::parse(&annotation(NOTICES)),
    }
}

/// A node.
#[must_use]
pub fn node(object: &DynamicObject) -> Node {
    let metadata = &object.metadata;
    let data = &object.data;
    Node {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        instance: data["spec"]["providerID"].as_str().and_then(instance_id),
        ready: since(data, "Ready").is_some(),
        labels: metadata.labels.clone().unwrap_or_default(),
        taints: taints(&data["spec"]["taints"]),
        capacity: resources(&data["status"]["capacity"]),
        allocatable: resources(&data["status"]["allocatable"]),
        finalizer: metadata.finalizers.iter().flatten().any(|one| one == FINALIZER),
        deleting: metadata.deletion_timestamp.is_some(),
    }
}

/// A pod.
#[must_use]
pub fn pod(object: &DynamicObject) -> Pod {
    let metadata = &object.metadata;
    let spec = &object.data["spec"];
    let owned_by = |kind: &str| {
        metadata.owner_references.iter().flatten().any(|one| one.controller == Some(true) && one.kind == kind)
    };
    let phase: PodPhase =
        serde_json::from_value(object.data["status"]["phase"].clone()).unwrap_or(PodPhase::Unknown);
    let node = spec["nodeName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let slots: BTreeSet<String> = spec["tolerations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["key"] == SLOT_TAINT)
        .filter_map(|one| one["value"].as_str().map(str::to_owned))
        .collect();
    let scheduler = spec["schedulerName"].as_str().unwrap_or("default-scheduler");
    Pod {
        uid: metadata.uid.clone().unwrap_or_default(),
        pending: phase == PodPhase::Pending
            && node.is_none()
            && object.data["status"]["nominatedNodeName"].as_str().unwrap_or_default().is_empty()
            && metadata.deletion_timestamp.is_none()
            && spec["schedulingGates"].as_array().is_none_or(Vec::is_empty)
            && scheduler == "default-scheduler"
            && !owned_by("DaemonSet")
            && !owned_by("Node"),
        is_virtual: false,
        gated: node.is_none()
            && spec["schedulingGates"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["name"] == SUCCESSOR_GATE)),
        owner: metadata
            .owner_references
            .iter()
            .flatten()
            .find(|one| one.controller == Some(true))
            .map(|one| one.uid.clone()),
        node,
        slots,
        drain: drain(object, phase),
    }
}

/// Priority from which on a pod is critical (`system-cluster-critical`).
const CRITICAL: i64 = 2_000_000_000;

/// What draining its node takes of a pod.
fn drain(object: &DynamicObject, phase: PodPhase) -> Option<Drain> {
    let metadata = &object.metadata;
    let spec = &object.data["spec"];
    let owned_by = |kind: &str| {
        metadata.owner_references.iter().flatten().any(|one| one.kind == kind && one.controller == Some(true))
    };
    let ended = matches!(phase, PodPhase::Succeeded | PodPhase::Failed);
    let tolerates = |one: &Value| {
        let key = one["key"].as_str().unwrap_or_default();
        let effect = one["effect"].as_str().unwrap_or_default();
        (key == labels::TAINT_DISRUPTED || (key.is_empty() && one["operator"] == "Exists"))
            && (effect.is_empty() || effect == "NoSchedule")
    };
    let stays = spec["tolerations"].as_array().is_some_and(|all| all.iter().any(tolerates));
    if ended || stays || owned_by("Node") || spec["nodeName"].as_str().unwrap_or_default().is_empty() {
        return None;
    }
    let critical = spec["priority"].as_i64().unwrap_or_default() >= CRITICAL;
    let annotation =
        |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    let mark = annotation(labels::DO_NOT_DISRUPT).or_else(|| annotation("karpenter.sh/do-not-evict"));
    let created = metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_millisecond());
    let protected = match mark {
        Some("true") => Some(Time(i64::MAX)),
        // For that long since the pod was created.
        Some(text) => {
            schedule::duration(text).map(|seconds| Time(created).plus(seconds.saturating_mul(1000)))
        }
        None => None,
    };
    Some(Drain {
        tier: 2 * u8::from(critical) + u8::from(owned_by("DaemonSet")),
        protected,
        going: metadata.deletion_timestamp.as_ref().map(|at| Time(at.0.as_millisecond())),
        grace: spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30).clamp(0, 1 << 40) * 1000,
    })
}
