//! Pending pods and their groups (formulation, section 1.5).

use crate::request::effective_request;
use crate::unsupported::{self, Repulsion};
use std::collections::BTreeMap;
use stowage_models::objects::{NodeSelectorTerm, PodRef, PodSpec, Toleration};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// A class of pods that are equal to the planner.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    /// Its first pod by `namespace/name`.
    pub(crate) first: PodRef,
    /// The template of that pod, for its constraints.
    pub(crate) spec: &'a PodSpec,
    /// Effective request.
    pub(crate) request: Resources,
}

/// What a pending pod is to the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// A problem pod: index of its group.
    Group(usize),
    /// Left out for the constraint named.
    Unsupported(&'static str),
}

/// All pending pods by reference.
pub(crate) type PendingPods = BTreeMap<PodRef, Pending>;

/// What makes two pods equal. Lists compare as written: the order of tolerations or terms counts.
type Identity<'a> = (Resources, &'a Labels, Option<&'a Vec<NodeSelectorTerm>>, &'a Vec<Toleration>, i32);

/// Sorts the pending pods into groups, themselves in the order of their first pods.
pub(crate) fn collect(snapshot: &Snapshot) -> (PendingPods, Vec<Group<'_>>) {
    let repulsion = Repulsion::new(snapshot);
    // By reference, so that the first pod of a group is the first in that order whatever the snapshot's is.
    let pods: BTreeMap<PodRef, _> =
        snapshot.pods.iter().filter(|pod| pod.is_pending()).map(|pod| (pod.id(), pod)).collect();
    let mut index: BTreeMap<Identity<'_>, usize> = BTreeMap::new();
    let mut groups = Vec::new();
    let mut pending = PendingPods::new();
    for (id, pod) in pods {
        let spec = &pod.spec;
        if let Some(why) = unsupported::reason(pod, &repulsion) {
            pending.insert(id, Pending::Unsupported(why));
            continue;
        }
        let request = effective_request(spec);
        let required = spec.affinity.node_required.as_ref();
        let identity = (request, &spec.node_selector, required, &spec.tolerations, spec.priority);
        let group = *index.entry(identity).or_insert_with_key(|identity| {
            groups.push(Group { first: id.clone(), spec, request: identity.0.clone() });
            groups.len() - 1
        });
        pending.insert(id, Pending::Group(group));
    }
    (pending, groups)
}
