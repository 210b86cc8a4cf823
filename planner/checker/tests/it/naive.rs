//! Constraints between pods, read as simply as can be: one namespace, selectors by label, zones and hostnames. Written without
//! a look at the referee's code.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{Node, PodAffinityTerm, PodSpec};
use stowage_models::selector::{LabelSelector, Labels};
use stowage_models::snapshot::Snapshot;

/// A node, by zone and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    zone: String,
    host: String,
}

impl Spot {
    pub(crate) fn of(node: &Node) -> Spot {
        Spot { zone: node.labels[labels::ZONE].clone(), host: node.name.clone() }
    }

    /// The launch of that number.
    pub(crate) fn new(zone: &str, launch: usize) -> Spot {
        Spot { zone: zone.to_owned(), host: format!("launch {launch}") }
    }

    fn domain(&self, key: &str) -> &str {
        if key == labels::HOSTNAME { &self.host } else { &self.zone }
    }

    /// Whether both are in one domain of the term.
    fn shares(&self, other: &Spot, term: &PodAffinityTerm) -> bool {
        self.domain(&term.topology_key) == other.domain(&term.topology_key)
    }
}

fn ports(spec: &PodSpec) -> BTreeSet<&String> {
    spec.containers.iter().flat_map(|one| &one.host_ports).collect()
}

fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    selector.is_some_and(|selector| selector.matches(labels))
}

fn states_any(spec: &PodSpec) -> bool {
    let terms = spec.affinity.pod_required.len() + spec.affinity.anti_required.len();
    terms + spec.topology_spread.len() > 0 || !ports(spec).is_empty()
}

/// Whether anything here looks at other pods.
pub(crate) fn any(snapshot: &Snapshot) -> bool {
    snapshot.pods.iter().any(|pod| states_any(&pod.spec))
}

/// What every selector of every constraint says of such a pod.
pub(crate) fn marks(snapshot: &Snapshot, labels: &Labels) -> Vec<bool> {
    let selectors = snapshot.pods.iter().flat_map(|pod| {
        let affinity = &pod.spec.affinity;
        let terms = affinity.pod_required.iter().chain(&affinity.anti_required);
        let selectors = terms.map(|term| term.label_selector.as_ref());
        selectors.chain(pod.spec.topology_spread.iter().map(|spread| spread.label_selector.as_ref()))
    });
    selectors.map(|selector| selects(selector, labels)).collect()
}

/// Whether constraints concern such a pod.
pub(crate) fn is_constrained(snapshot: &Snapshot, labels: &Labels, spec: &PodSpec) -> bool {
    states_any(spec) || marks(snapshot, labels).contains(&true)
}

fn means(term: &PodAffinityTerm, labels: &Labels) -> bool {
    selects(term.label_selector.as_ref(), labels)
}

/// Whether anti-affinity keeps a pod and one of the others apart.
pub(crate) fn repelled(
    others: &[(Spot, &Labels, &PodSpec)],
    (labels, spec): (&Labels, &PodSpec),
    spot: &Spot,
) -> bool {
    others.iter().any(|(at, marks, other)| {
        spec.affinity.anti_required.iter().any(|term| means(term, marks) && spot.shares(at, term))
            || other.affinity.anti_required.iter().any(|term| means(term, labels) && spot.shares(at, term))
    })
}

/// Whether a pod may go to a spot beside all others. `zones` are all there may ever be for it.
pub(crate) fn allows(
    others: &[(Spot, &Labels, &PodSpec)],
    zones: &BTreeSet<String>,
    (labels, spec): (&Labels, &PodSpec),
    spot: &Spot,
) -> bool {
    let own = ports(spec);
    let port_taken = others.iter().any(|(at, _, other)| at == spot && !own.is_disjoint(&ports(other)));
    let repelled = repelled(others, (labels, spec), spot);
    let all = |marks: &Labels| spec.affinity.pod_required.iter().all(|term| means(term, marks));
    let attracted = spec
        .affinity
        .pod_required
        .iter()
        .all(|term| others.iter().any(|(at, marks, _)| all(marks) && spot.shares(at, term)));
    let first = all(labels) && !others.iter().any(|(_, marks, _)| all(marks));
    let level = spec.topology_spread.iter().all(|spread| {
        let counted = |marks: &Labels| selects(spread.label_selector.as_ref(), marks);
        let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
        if spread.topology_key == labels::ZONE {
            counts.extend(zones.iter().map(|zone| (zone.as_str(), 0)));
        }
        for (at, ..) in others.iter().filter(|(_, marks, _)| counted(marks)) {
            *counts.entry(at.domain(&spread.topology_key)).or_default() += 1;
        }
        let least = if spread.topology_key == labels::ZONE { counts.values().min().copied() } else { None };
        let here = counts.get(spot.domain(&spread.topology_key)).copied().unwrap_or(0);
        here + i32::from(counted(labels)) - least.unwrap_or(0) <= spread.max_skew
    });
    !port_taken && !repelled && (attracted || first) && level
}
