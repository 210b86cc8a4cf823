//! `PodSpec` of the API to [`PodSpec`] of the model; shared by pods and DaemonSet templates.

use crate::affinity::{RawAffinity, node_selector};
use crate::quantities::{Quantities, nonzero};
use crate::requirement::RawSelector;
use crate::volume::{RawVolume, any_local, placed};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use stowage_models::labels::normalise;
use stowage_models::objects::{Container, PodSpec, PodVolume, TaintEffect, Toleration, TopologySpread};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;

/// Kubernetes' own scheduler.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// The scheduling part of a pod's or a template's spec.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawPodSpec {
    containers: Option<Vec<RawContainer>>,
    init_containers: Option<Vec<RawContainer>>,
    resources: Option<RawResources>,
    overhead: Option<Quantities>,
    node_selector: Option<Labels>,
    affinity: Option<RawAffinity>,
    tolerations: Option<Vec<RawToleration>>,
    topology_spread_constraints: Option<Vec<RawSpread>>,
    volumes: Option<Vec<RawVolume>>,
    host_network: Option<bool>,
    scheduler_name: Option<String>,
    resource_claims: Option<Vec<IgnoredAny>>,
    pub(crate) priority: Option<i32>,
    pub(crate) priority_class_name: Option<String>,
    pub(crate) node_name: Option<String>,
    pub(crate) scheduling_gates: Option<Vec<Gate>>,
}

/// A scheduling gate.
#[derive(Deserialize)]
pub(crate) struct Gate {
    pub(crate) name: String,
}

#[derive(Default, Deserialize)]
struct RawResources {
    requests: Option<Quantities>,
    limits: Option<Quantities>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    #[serde(default)]
    name: String,
    resources: Option<RawResources>,
    restart_policy: Option<String>,
    ports: Option<Vec<RawPort>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    container_port: Option<u16>,
    host_port: Option<u16>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
struct RawToleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<RawEffect>,
}

/// The API spells "every effect" as an empty string, too.
#[derive(Clone, Copy, Deserialize)]
enum RawEffect {
    #[serde(rename = "")]
    Every,
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpread {
    max_skew: i32,
    topology_key: String,
    when_unsatisfiable: Option<String>,
    label_selector: Option<RawSelector>,
    min_domains: Option<i32>,
    node_affinity_policy: Option<String>,
    node_taints_policy: Option<String>,
    match_label_keys: Option<Vec<String>>,
}

impl RawPodSpec {
    /// The model's spec, priority as far as it is stated. `allocated` holds, by container name, what the kubelet has
    /// granted a running container (in-place resize): the scheduler counts the larger of it and the request.
    pub(crate) fn convert(self, allocated: &BTreeMap<String, Resources>) -> PodSpec {
        let host_network = self.host_network.unwrap_or(false);
        let list = |containers: Option<Vec<RawContainer>>, init: bool| -> Vec<Container> {
            let containers = containers.unwrap_or_default().into_iter();
            containers.map(|container| container.convert(init, host_network, allocated)).collect()
        };
        let containers = list(self.containers, false);
        let init_containers = list(self.init_containers, true);
        let pod_requests = pod_requests(self.resources, containers.iter().chain(&init_containers));
        let mut affinity = self.affinity.unwrap_or_default().convert();
        let node_selector = node_selector(self.node_selector, &mut affinity);
        let local_storage = any_local(self.volumes.as_deref());
        let mut volumes = placed(self.volumes);
        if self.resource_claims.is_some_and(|claims| !claims.is_empty()) {
            // Dynamic resource allocation binds a pod to devices of a node. The model has no word for it; kept as a
            // volume kind it is left out of planning as unsupported, never placed wrongly.
            volumes.push(PodVolume::Other("resourceClaims".to_owned()));
        }
        let tolerations =
            self.tolerations.unwrap_or_default().into_iter().map(RawToleration::convert).collect();
        let spread = self.topology_spread_constraints.unwrap_or_default().into_iter().map(RawSpread::convert);
        PodSpec {
            containers,
            init_containers,
            pod_requests,
            overhead: nonzero(self.overhead),
            node_selector,
            affinity,
            tolerations,
            topology_spread: spread.collect(),
            volumes,
            local_storage,
            priority: self.priority.unwrap_or(0),
            scheduler_name: self.scheduler_name.filter(|name| !name.is_empty() && name != DEFAULT_SCHEDULER),
            unreadable: None,
        }
    }
}

impl RawResources {
    /// A limit stands in for an absent request, resource by resource, as the API server's defaulting has it.
    fn defaulted_requests(self) -> Quantities {
        let mut requests = self.requests.unwrap_or_default();
        for (name, limit) in self.limits.unwrap_or_default().0 {
            requests.0.entry(name).or_insert(limit);
        }
        requests
    }
}

/// Pod-level requests. A pod-level limit stands in for an absent one only where no container requests the resource;
/// otherwise the containers' sum is the request (the API server's defaulting, KEP-2837).
fn pod_requests<'c>(raw: Option<RawResources>, containers: impl Iterator<Item = &'c Container>) -> Resources {
    let raw = raw.unwrap_or_default();
    let mut requests = raw.requests.unwrap_or_default();
    let mut in_containers = Resources::default();
    for container in containers {
        in_containers.add(&container.requests);
    }
    for (name, limit) in raw.limits.unwrap_or_default().0 {
        if in_containers.get(&name) == 0 {
            requests.0.entry(name).or_insert(limit);
        }
    }
    requests.stated()
}

impl RawContainer {
    fn convert(self, init: bool, host_network: bool, allocated: &BTreeMap<String, Resources>) -> Container {
        let mut requests = self.resources.unwrap_or_default().defaulted_requests().nonzero();
        if let Some(granted) = allocated.get(&self.name) {
            requests.raise_to(granted);
        }
        let sidecar = init && self.restart_policy.as_deref() == Some("Always");
        // Init containers run one after the other before the pod's ports matter; the scheduler looks at sidecars only.
        let ports = self.ports.filter(|_| !init || sidecar).unwrap_or_default();
        let mut host_ports: Vec<String> =
            ports.iter().filter_map(|port| port.host_port(host_network)).collect();
        host_ports.sort();
        host_ports.dedup();
        Container { requests, sidecar, host_ports }
    }
}

impl RawPort {
    fn host_port(&self, host_network: bool) -> Option<String> {
        let stated = self.host_port.filter(|port| *port != 0);
        let port = if host_network { stated.or(self.container_port) } else { stated }?;
        let protocol = self.protocol.as_deref().filter(|text| !text.is_empty()).unwrap_or("TCP");
        let ip = self.host_ip.as_deref().filter(|text| !text.is_empty()).unwrap_or("0.0.0.0");
        Some(format!("{protocol}/{ip}/{port}"))
    }
}

impl RawToleration {
    fn convert(self) -> Toleration {
        let effect = match self.effect {
            None | Some(RawEffect::Every) => None,
            Some(RawEffect::NoSchedule) => Some(TaintEffect::NoSchedule),
            Some(RawEffect::PreferNoSchedule) => Some(TaintEffect::PreferNoSchedule),
            Some(RawEffect::NoExecute) => Some(TaintEffect::NoExecute),
        };
        Toleration {
            key: self.key.unwrap_or_default(),
            operator: self
                .operator
                .filter(|operator| !operator.is_empty())
                .unwrap_or_else(|| "Equal".to_owned()),
            value: self.value.unwrap_or_default(),
            effect,
        }
    }
}

impl RawSpread {
    fn convert(self) -> TopologySpread {
        TopologySpread {
            max_skew: self.max_skew,
            topology_key: normalise(&self.topology_key).to_owned(),
            hard: self.when_unsatisfiable.as_deref() != Some("ScheduleAnyway"),
            label_selector: self.label_selector.map(Into::into),
            min_domains: self.min_domains,
            honor_affinity: self.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: self.node_taints_policy.as_deref() == Some("Honor"),
            match_label_keys: self.match_label_keys.unwrap_or_default(),
        }
    }
}
