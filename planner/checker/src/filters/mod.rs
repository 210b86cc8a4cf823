//! kube-scheduler's filters: may this pod go to this node now?
//!
//! One function per plug-in of Kubernetes 1.36's default profile, named after it, in the order the scheduler runs them.
//! Compared case by case with the real scheduler in `tests/`. What a snapshot does not record cannot be filtered on:
//! capacity of storage pools, dynamic resource allocation.

mod affinity;
mod index;
mod limits;
mod realise;
pub(crate) mod scope;
mod spread;
mod topology;
mod volumes;

pub use realise::{Stuck, realise, realise_in_any_order};

use crate::matching::{accepts, tolerates};
use crate::request::effective_request;
use crate::storage::Named;
use index::{Index, Profile};
use scope::{Known, Namespaces};
use std::collections::BTreeMap;
use std::sync::Arc;
use stowage_models::objects::{NodeSelectorTerm, Pod, PodSpec, Taint, TaintEffect, Toleration, VolumeClaim};
use stowage_models::quantity::{PODS, Resources};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// The plug-ins that filter, by the scheduler's names, in the order in which it runs them.
pub const FILTERS: [&str; 10] = [
    "NodeUnschedulable",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeBinding",
    "PodTopologySpread",
    "InterPodAffinity",
];

/// The taint that stands for `spec.unschedulable`.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A node and the pods on it.
#[derive(Clone, Debug, Default)]
pub struct Place<'a> {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// What pods may request.
    pub allocatable: Resources,
    /// Volumes at most, by CSI driver; no entry: no limit.
    pub volume_limits: BTreeMap<String, i64>,
    pods: Vec<&'a Pod>,
    used: BTreeMap<String, i128>,
}

impl<'a> Place<'a> {
    /// An empty node.
    #[must_use]
    pub fn new(name: &str, labels: Labels, taints: Vec<Taint>, allocatable: Resources) -> Place<'a> {
        Place { name: name.to_owned(), labels, taints, allocatable, ..Place::default() }
    }

    /// Binds a pod to it.
    pub fn bind(&mut self, pod: &'a Pod) {
        for (name, amount) in effective_request(&pod.spec).0 {
            *self.used.entry(name).or_default() += i128::from(amount);
        }
        self.pods.push(pod);
    }

    /// Takes a pod away, if it is there.
    pub(crate) fn release(&mut self, pod: &Pod) {
        let same = |other: &&Pod| other.name == pod.name && other.namespace == pod.namespace;
        let Some(at) = self.pods.iter().position(same) else { return };
        for (name, amount) in effective_request(&self.pods.remove(at).spec).0 {
            *self.used.entry(name).or_default() -= i128::from(amount);
        }
    }
}

/// A cluster as the scheduler's cache holds it.
#[derive(Clone, Debug, Default)]
pub struct World<'a> {
    /// Nodes.
    pub places: Vec<Place<'a>>,
    namespaces: Namespaces<'a>,
    named: Named<'a>,
    without: Option<&'static str>,
    /// What pods say of each other, if that was worked out before.
    known: Option<Arc<Known<'a>>>,
}

/// Why a pod may not go to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The plug-in that says so, by the scheduler's name for it.
    pub plugin: &'static str,
    /// In the scheduler's words where it has any.
    pub message: String,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.plugin, self.message)
    }
}

fn reject(plugin: &'static str, message: &str) -> Result<(), Rejection> {
    Err(Rejection { plugin, message: message.to_owned() })
}

impl<'a> World<'a> {
    /// The cluster of a snapshot with the pods bound to its nodes. Pods that ended hold nothing and are not there.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot) -> World<'a> {
        let mut world = World {
            places: Vec::with_capacity(snapshot.nodes.len()),
            namespaces: Namespaces::new(&snapshot.namespaces),
            named: Named::new(snapshot),
            without: None,
            known: None,
        };
        let mut index = BTreeMap::new();
        for node in &snapshot.nodes {
            index.insert(node.name.as_str(), world.places.len());
            let (labels, taints) = (node.labels.clone(), node.taints.clone());
            let place = Place::new(&node.name, labels, taints, node.allocatable.clone());
            let (unschedulable, volume_limits) = (node.unschedulable, node.volume_limits.clone());
            world.places.push(Place { unschedulable, volume_limits, ..place });
        }
        for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
            if let Some(place) = pod.seat().and_then(|name| index.get(name)) {
                world.places[*place].bind(pod);
            }
        }
        world
    }

    /// Works out what pods that are there, and these others, say of each other, for who binds pods many times.
    pub(crate) fn know(&mut self, others: impl Iterator<Item = &'a Pod>) {
        self.known = Some(Arc::new(index::known(self, others)));
    }

    /// Adds claims that are still to be made; one that is there already stays.
    pub(crate) fn add_claims(&mut self, claims: &'a [VolumeClaim]) {
        for claim in claims {
            self.named.claims.entry((&claim.namespace, &claim.name)).or_insert(claim);
        }
    }

    /// The same cluster, read as if the scheduler had no such plug-in (one of [`FILTERS`]): shows that tests would notice.
    #[must_use]
    pub fn without(self, plugin: &'static str) -> World<'a> {
        World { without: Some(plugin), ..self }
    }

    /// Whether `pod` may go to the node at `place`.
    ///
    /// # Errors
    /// The first rejection, in the order in which the scheduler runs its filters.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn may_go(&self, pod: &Pod, place: usize) -> Result<(), Rejection> {
        let (mut index, profiles) = Index::build(self, &[pod]);
        self.filter(pod, place, &mut index, &profiles[0])
    }

    /// [`World::may_go`] with what is known about the other pods.
    fn filter(
        &self,
        pod: &Pod,
        place: usize,
        index: &mut Index<'_>,
        profile: &Profile,
    ) -> Result<(), Rejection> {
        let node = &self.places[place];
        for name in FILTERS.into_iter().filter(|name| self.without != Some(*name)) {
            match name {
                "NodeUnschedulable" => node_unschedulable(&pod.spec, node),
                "TaintToleration" => taint_toleration(&pod.spec, node),
                "NodeAffinity" => node_affinity(&pod.spec, node),
                "NodePorts" => node_ports(&pod.spec, node),
                "NodeResourcesFit" => node_resources_fit(&pod.spec, node),
                "VolumeRestrictions" => volumes::volume_restrictions(self, pod),
                "NodeVolumeLimits" => limits::node_volume_limits(self, pod, node),
                "VolumeBinding" => volumes::volume_binding(self, pod, node),
                "PodTopologySpread" => spread::pod_topology_spread(index, profile, place),
                _ => affinity::inter_pod_affinity(index, profile, place),
            }?;
        }
        Ok(())
    }
}

fn node_unschedulable(spec: &PodSpec, node: &Place<'_>) -> Result<(), Rejection> {
    let taint =
        Taint { key: UNSCHEDULABLE.to_owned(), value: String::new(), effect: TaintEffect::NoSchedule };
    if node.unschedulable && !tolerates(&spec.tolerations, &taint) {
        return reject("NodeUnschedulable", "node(s) were unschedulable");
    }
    Ok(())
}

/// Whether all taints that keep pods away are tolerated.
fn tolerates_all(tolerations: &[Toleration], node: &Place<'_>) -> bool {
    let mut hard = node.taints.iter().filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
    hard.all(|taint| tolerates(tolerations, taint))
}

fn taint_toleration(spec: &PodSpec, node: &Place<'_>) -> Result<(), Rejection> {
    if tolerates_all(&spec.tolerations, node) {
        return Ok(());
    }
    reject("TaintToleration", "node(s) had untolerated taint(s)")
}

/// Whether a node selector term selects the node; an empty one selects nothing.
fn term_selects(term: &NodeSelectorTerm, node: &Place<'_>) -> bool {
    let field = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
    !(term.match_expressions.is_empty() && term.match_fields.is_empty())
        && term
            .match_expressions
            .iter()
            .all(|one| accepts(one, node.labels.get(&one.key).map(String::as_str)))
        && term.match_fields.iter().all(|one| accepts(one, field(&one.key)))
}

/// Whether node selector and required node affinity select the node.
fn is_selected(spec: &PodSpec, node: &Place<'_>) -> bool {
    spec.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && spec
            .affinity
            .node_required
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term_selects(term, node)))
}

fn node_affinity(spec: &PodSpec, node: &Place<'_>) -> Result<(), Rejection> {
    if is_selected(spec, node) {
        return Ok(());
    }
    reject("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
}

/// Host ports of a pod as (protocol, address, port).
pub(crate) fn host_ports(spec: &PodSpec) -> impl Iterator<Item = (&str, &str, &str)> {
    let sidecars = spec.init_containers.iter().filter(|container| container.sidecar);
    spec.containers.iter().chain(sidecars).flat_map(|container| &container.host_ports).filter_map(|text| {
        let (protocol, rest) = text.split_once('/')?;
        let (address, port) = rest.rsplit_once('/')?;
        Some((protocol, address, port))
    })
}

fn node_ports(spec: &PodSpec, node: &Place<'_>) -> Result<(), Rejection> {
    const EVERY: &str = "0.0.0.0";
    for (protocol, address, port) in host_ports(spec) {
        let taken = node.pods.iter().flat_map(|pod| host_ports(&pod.spec)).any(|(other, at, number)| {
            (other, number) == (protocol, port) && (at == address || at == EVERY || address == EVERY)
        });
        if taken {
            return reject("NodePorts", "node(s) didn't have free ports for the requested pod ports");
        }
    }
    Ok(())
}

fn node_resources_fit(spec: &PodSpec, node: &Place<'_>) -> Result<(), Rejection> {
    if node.pods.len() as i128 + 1 > i128::from(node.allocatable.get(PODS)) {
        return reject("NodeResourcesFit", "Too many pods");
    }
    for (name, amount) in effective_request(spec).0.iter().filter(|(name, _)| name.as_str() != PODS) {
        let used = node.used.get(name).copied().unwrap_or(0);
        // A node that runs more than it has still takes a pod that asks for nothing of it.
        if *amount > 0 && i128::from(*amount) > i128::from(node.allocatable.get(name)) - used {
            return reject("NodeResourcesFit", &format!("Insufficient {name}"));
        }
    }
    Ok(())
}
