//! `InterPodAffinity`: required pod affinity and anti-affinity, also that of pods that run already.

use super::{Place, Rejection, World, reject};
use crate::matching::selects;
use stowage_models::objects::{Pod, PodAffinityTerm};
use stowage_models::selector::Labels;

const PLUGIN: &str = "InterPodAffinity";

/// A term together with the pod that states it.
struct Term<'t> {
    term: &'t PodAffinityTerm,
    of: &'t Pod,
}

impl Term<'_> {
    /// Whether the term means `other`.
    fn means(&self, world: &World<'_>, other: &Pod) -> bool {
        self.means_namespace(world, &other.namespace) && self.selects(&other.labels)
    }

    /// Listed namespaces and selected ones add up; a term that says neither means its own pod's.
    fn means_namespace(&self, world: &World<'_>, namespace: &str) -> bool {
        let Term { term, of } = self;
        match &term.namespace_selector {
            None if term.namespaces.is_empty() => of.namespace == namespace,
            selector => {
                term.namespaces.iter().any(|listed| listed == namespace)
                    || selector
                        .as_ref()
                        .is_some_and(|selector| selects(selector, &world.namespace_labels(namespace)))
            }
        }
    }

    /// The selector, with the stating pod's own values of `matchLabelKeys` required and of `mismatchLabelKeys` excluded.
    fn selects(&self, labels: &Labels) -> bool {
        let own = |key: &String| self.of.labels.get(key);
        self.term.label_selector.as_ref().is_some_and(|selector| selects(selector, labels))
            && self
                .term
                .match_label_keys
                .iter()
                .all(|key| own(key).is_none_or(|own| labels.get(key) == Some(own)))
            && self
                .term
                .mismatch_label_keys
                .iter()
                .all(|key| own(key).is_none_or(|own| labels.get(key) != Some(own)))
    }
}

/// Whether two nodes are in the same domain of a key.
fn same_domain(key: &str, a: &Place<'_>, b: &Place<'_>) -> bool {
    a.labels.get(key).is_some_and(|domain| b.labels.get(key) == Some(domain))
}

/// Pod affinity, then the pod's own anti-affinity, then that of the pods that are there.
pub(super) fn inter_pod_affinity(world: &World<'_>, pod: &Pod, node: &Place<'_>) -> Result<(), Rejection> {
    if !satisfies_affinity(world, pod, node) {
        return reject(PLUGIN, "node(s) didn't match pod affinity rules");
    }
    for term in &pod.spec.affinity.anti_required {
        let term = Term { term, of: pod };
        let mut near = world.places.iter().filter(|place| same_domain(&term.term.topology_key, place, node));
        if near.any(|place| place.pods.iter().any(|other| term.means(world, other))) {
            return reject(PLUGIN, "node(s) didn't match pod anti-affinity rules");
        }
    }
    for place in &world.places {
        for other in &place.pods {
            for term in &other.spec.affinity.anti_required {
                let term = Term { term, of: other };
                if same_domain(&term.term.topology_key, place, node) && term.means(world, pod) {
                    return reject(PLUGIN, "node(s) didn't satisfy existing pods anti-affinity rules");
                }
            }
        }
    }
    Ok(())
}

/// For every term some pod that all terms mean is in the node's domain. The first of a series that means itself may go
/// anywhere, as long as no pod that all terms mean runs in any domain yet.
fn satisfies_affinity(world: &World<'_>, pod: &Pod, node: &Place<'_>) -> bool {
    let terms: Vec<Term<'_>> =
        pod.spec.affinity.pod_required.iter().map(|term| Term { term, of: pod }).collect();
    if terms.is_empty() {
        return true;
    }
    if terms.iter().any(|term| !node.labels.contains_key(&term.term.topology_key)) {
        return false;
    }
    let meant = |other: &Pod| terms.iter().all(|term| term.means(world, other));
    let with: Vec<&Place<'_>> =
        world.places.iter().filter(|place| place.pods.iter().any(|other| meant(other))).collect();
    let near = |term: &Term<'_>| with.iter().any(|place| same_domain(&term.term.topology_key, place, node));
    if terms.iter().all(near) {
        return true;
    }
    let in_a_domain =
        |place: &&Place<'_>| terms.iter().any(|term| place.labels.contains_key(&term.term.topology_key));
    !with.iter().any(in_a_domain) && meant(pod)
}
