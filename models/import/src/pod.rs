//! Pods.

use crate::ImportError;
use crate::meta::{MIRROR_POD, Meta};
use crate::podspec::RawPodSpec;
use crate::quantities::{Quantities, nonzero};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use stowage_models::objects::{Owner, Pod, PodPhase};
use stowage_models::quantity::Resources;
use stowage_models::shared::Shared;

/// A `v1` Pod.
#[derive(Deserialize)]
pub(crate) struct RawPod {
    metadata: Meta,
    #[serde(default)]
    spec: RawPodSpec,
    status: Option<RawStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatus {
    phase: Option<String>,
    nominated_node_name: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    restart_count: Option<u32>,
    allocated_resources: Option<Quantities>,
    resources: Option<StatusResources>,
}

#[derive(Deserialize)]
struct StatusResources {
    requests: Option<Quantities>,
}

/// What a pod's or template's priority still depends on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PriorityFrom {
    /// Stated; nothing to resolve.
    Spec,
    /// A PriorityClass by name.
    Class(String),
    /// The cluster's global default class, if there is one.
    Default,
}

impl PriorityFrom {
    pub(crate) fn of(spec: &RawPodSpec) -> PriorityFrom {
        match (spec.priority, spec.priority_class_name.as_deref()) {
            (Some(_), _) => PriorityFrom::Spec,
            (None, None | Some("")) => PriorityFrom::Default,
            (None, Some(class)) => PriorityFrom::Class(class.to_owned()),
        }
    }
}

impl RawPod {
    pub(crate) fn convert(mut self) -> (Pod, PriorityFrom) {
        let status = self.status.unwrap_or_default();
        let priority = PriorityFrom::of(&self.spec);
        let node = self.spec.node_name.take().filter(|name| !name.is_empty());
        let gates = self.spec.scheduling_gates.take().unwrap_or_default();
        let owner = self.metadata.controller().or_else(|| {
            // Static pods of old kubelets carry only this mark; their controller is the node.
            self.metadata.annotation(MIRROR_POD)?;
            Some(Owner { kind: "Node".to_owned(), name: node.clone()? })
        });
        let statuses = status.container_statuses.iter().flatten();
        let restarts = statuses.fold(0_u32, |sum, one| sum.saturating_add(one.restart_count.unwrap_or(0)));
        let allocated = allocated(status.container_statuses, status.init_container_statuses);
        let pod = Pod {
            namespace: self.metadata.namespace(),
            annotations: self.metadata.kept_annotations(),
            deleting: self.metadata.is_deleting(),
            name: self.metadata.name,
            uid: self.metadata.uid,
            labels: self.metadata.labels.unwrap_or_default().into(),
            owner: owner.map(Shared::from),
            created: self.metadata.creation_timestamp,
            restarts,
            phase: phase(status.phase.as_deref()),
            node,
            nominated_node: status.nominated_node_name.filter(|name| !name.is_empty()),
            scheduling_gates: gates.into_iter().map(|gate| gate.name).collect(),
            spec: self.spec.convert(&allocated).into(),
        };
        (pod, priority)
    }
}

/// Fields that say where a pod may run.
const CONSTRAINTS: [&str; 4] = ["affinity", "nodeSelector", "tolerations", "topologySpreadConstraints"];

/// The pod without what it says about where it may run, for which it was refused with `error` and which is noted; none if it was refused
/// for something else, or is on a node already: then others depend on what it says. An API server takes no such pod, a file may hold one.
pub(crate) fn without_constraints(
    text: &str,
    place: &str,
    error: &ImportError,
) -> Option<(Pod, PriorityFrom)> {
    let field = error.place.strip_prefix(place)?.strip_prefix(": ")?;
    if !CONSTRAINTS.iter().any(|name| field.strip_prefix("spec.").is_some_and(|rest| rest.starts_with(name)))
    {
        return None;
    }
    let mut value: Value = serde_json::from_str(text).ok()?;
    let is_named = |name: Option<&Value>| name.and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if is_named(value.pointer("/status/nominatedNodeName")) || is_named(value.pointer("/spec/nodeName")) {
        return None;
    }
    let spec = value.get_mut("spec")?.as_object_mut()?;
    CONSTRAINTS.iter().for_each(|name| {
        spec.remove(*name);
    });
    let (mut pod, priority) = serde_json::from_value::<RawPod>(value).ok()?.convert();
    // It quotes the input.
    pod.spec.unreadable = Some(format!("{field}: {}", error.message).escape_debug().to_string());
    Some((pod, priority))
}

/// A pod that has no status yet (a manifest) waits like one the API server has just accepted.
fn phase(text: Option<&str>) -> PodPhase {
    match text {
        None | Some("" | "Pending") => PodPhase::Pending,
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        Some(_) => PodPhase::Unknown,
    }
}

/// What the kubelet has granted each container, by name: while a resize is under way the scheduler counts the largest
/// of spec, allocation and actual resources (KEP-1287).
fn allocated(
    containers: Option<Vec<ContainerStatus>>,
    init_containers: Option<Vec<ContainerStatus>>,
) -> BTreeMap<String, Resources> {
    let mut by_name = BTreeMap::new();
    for status in containers.into_iter().chain(init_containers).flatten() {
        let mut granted = nonzero(status.allocated_resources);
        granted.raise_to(&nonzero(status.resources.and_then(|resources| resources.requests)));
        if !granted.is_empty() {
            by_name.insert(status.name, granted);
        }
    }
    by_name
}
