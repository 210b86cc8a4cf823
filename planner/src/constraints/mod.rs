//! Constraints between pods, on volumes and on host ports: what they mean, and how the planner keeps them.
//!
//! Relax towards the bound, restore towards the plan (`docs/formulation.md`). Static constraints decide which bins a group may
//! use; caps bound its copies on a node; a private spread splits it over domains; all that reaches the bound. The rest only
//! restricts the plan: groups are assigned to domains before the search, rules between groups hold while bins are filled, and
//! in the end every plan is replayed pod by pod; what cannot be bound is planned elsewhere or left out.

pub(crate) mod assign;
pub(crate) mod bound;
pub(crate) mod bundles;
pub(crate) mod domains;
pub(crate) mod nodes;
pub(crate) mod ports;
pub(crate) mod reasons;
pub(crate) mod restore;
pub(crate) mod selectors;
pub(crate) mod sim;
pub(crate) mod split;
pub(crate) mod volumes;
pub(crate) mod walk;

use bound::Bound;
use ports::{Port, host_ports};
use selectors::{Meanings, Terms};
use std::collections::BTreeSet;
use stowage_models::objects::{NodeSelectorTerm, Pod};
use stowage_models::quantity::Resources;
use stowage_models::snapshot::Snapshot;
use volumes::{ATTACHABLE, Storage, VolumeFault};

/// What a pod asks of other pods, volumes and ports. Equal pods have equal wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wants<'a> {
    /// Terms about other pods, and the selectors that mean the pod.
    pub(crate) terms: Terms,
    /// Host ports.
    pub(crate) ports: Vec<Port<'a>>,
    /// Alternatives of node selector terms, one list per volume that restricts the node.
    pub(crate) volumes: Vec<&'a [NodeSelectorTerm]>,
}

impl Wants<'_> {
    /// Whether where the pod may go depends on other pods, or where others may go depends on it.
    pub(crate) fn concern_pods(&self) -> bool {
        let Terms { affinity, anti, spreads, meant } = &self.terms;
        !affinity.is_empty()
            || !anti.is_empty()
            || !spreads.is_empty()
            || !self.ports.is_empty()
            || meant.0.iter().any(|word| *word != 0)
    }
}

/// Constraints of a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constraints<'a> {
    /// Selectors and topology keys.
    pub(crate) meanings: Meanings<'a>,
    /// What pods on nodes mean to those that wait.
    pub(crate) bound: Bound<'a>,
    /// Topology keys of the pods asked about so far: their values are domains.
    pub(crate) domain_keys: BTreeSet<&'a str>,
    /// Volumes, claims and classes.
    pub(crate) storage: Storage<'a>,
}

impl<'a> Constraints<'a> {
    /// Reads the terms of all pods.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Constraints<'a> {
        let mut meanings = Meanings::new(snapshot);
        let bound = Bound::new(snapshot, &mut meanings);
        Constraints { meanings, bound, domain_keys: BTreeSet::new(), storage: Storage::new(snapshot) }
    }

    /// What a pod that waits asks; volumes to attach are added to its request.
    ///
    /// # Errors
    /// [`VolumeFault`] when its volumes keep it from every node.
    pub(crate) fn wants(&mut self, pod: &'a Pod, request: &mut Resources) -> Result<Wants<'a>, VolumeFault> {
        let needs = self.storage.needs(pod)?;
        for (driver, count) in needs.attaches {
            request.set(&format!("{ATTACHABLE}{driver}"), count);
        }
        let terms = self.meanings.terms(pod);
        self.domain_keys.extend(terms.all().map(|term| self.meanings.keys[term.key as usize]));
        Ok(Wants { terms, ports: host_ports(&pod.spec), volumes: needs.terms })
    }
}
