//! Constraints that plans leave alone for now (formulation, section 1.4).

use crate::matching::selects;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{Pod, PodAffinityTerm};
use stowage_models::selector::LabelSelector;
use stowage_models::snapshot::Snapshot;

/// Required anti-affinity of all pods that run or wait, by the namespace it reaches. A pod that states one itself is
/// left out anyway, so there is no need to tell a pod's own terms from those of others.
#[derive(Debug, Default)]
pub(crate) struct Repulsion<'a> {
    by_namespace: BTreeMap<&'a str, BTreeSet<&'a LabelSelector>>,
    everywhere: BTreeSet<&'a LabelSelector>,
}

impl<'a> Repulsion<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Repulsion<'a> {
        let mut repulsion = Repulsion::default();
        for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
            for term in &pod.spec.affinity.anti_required {
                repulsion.add(&pod.namespace, term);
            }
        }
        repulsion
    }

    fn add(&mut self, own: &'a str, term: &'a PodAffinityTerm) {
        // No selector selects no pod.
        let Some(selector) = &term.label_selector else {
            return;
        };
        if term.namespace_selector.is_some() {
            self.everywhere.insert(selector);
            return;
        }
        let listed = term.namespaces.iter().map(String::as_str);
        let own = term.namespaces.is_empty().then_some(own);
        for namespace in listed.chain(own) {
            self.by_namespace.entry(namespace).or_default().insert(selector);
        }
    }

    fn hits(&self, pod: &Pod) -> bool {
        let here = self.by_namespace.get(pod.namespace.as_str());
        here.into_iter().flatten().chain(&self.everywhere).any(|selector| selects(selector, &pod.labels))
    }
}

/// The constraint for which a pending pod is left out, if it has one.
pub(crate) fn reason(pod: &Pod, repulsion: &Repulsion<'_>) -> Option<&'static str> {
    let spec = &pod.spec;
    let mut containers = spec.containers.iter().chain(&spec.init_containers);
    if spec.topology_spread.iter().any(|spread| spread.hard) {
        Some("a DoNotSchedule topology spread constraint")
    } else if !spec.affinity.pod_required.is_empty() {
        Some("required pod affinity")
    } else if !spec.affinity.anti_required.is_empty() {
        Some("required pod anti-affinity")
    } else if !spec.volumes.is_empty() {
        Some("a volume that may be bound to a place")
    } else if containers.any(|container| !container.host_ports.is_empty()) {
        Some("a host port")
    } else if repulsion.hits(pod) {
        Some("another pod's required anti-affinity")
    } else {
        None
    }
}
