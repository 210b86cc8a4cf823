//! What pods on nodes keep pods that wait from: their ports, their anti-affinity, and their number in a domain.

use super::Wants;
use super::ports::{Port, clash, host_ports};
use super::selectors::{Meanings, Term};
use crate::existing::{daemon_matches, lasting_taints};
use crate::problem::Bits;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::snapshot::Snapshot;

/// Pods a selector means on a node: all of them, and those that are not being deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// All that have not ended.
    pub(crate) all: i64,
    /// Those that are not being deleted.
    pub(crate) staying: i64,
}

/// What pods on nodes mean to those that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound<'a> {
    /// Pods by the selectors that mean them, by node of the snapshot.
    pub(crate) on_node: Vec<BTreeMap<Bits, Count>>,
    /// Pods meant by (selector, key, value of the key).
    in_domain: BTreeMap<(u32, u32, &'a str), i64>,
    /// Where pods that a selector means may not go: (selector, key, value), stated by the anti-affinity of pods there.
    pub(crate) repelled: BTreeSet<(u32, u32, &'a str)>,
    /// Ports in use, by node; those of DaemonSets that have no pod there yet included.
    ports: Vec<Vec<Port<'a>>>,
}

impl<'a> Bound<'a> {
    /// Looks at every pod on a node that has not ended.
    pub(crate) fn new(snapshot: &'a Snapshot, meanings: &mut Meanings<'a>) -> Bound<'a> {
        let index: BTreeMap<&str, usize> =
            snapshot.nodes.iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
        let mut bound = Bound {
            on_node: vec![BTreeMap::new(); snapshot.nodes.len()],
            ports: vec![Vec::new(); snapshot.nodes.len()],
            ..Bound::default()
        };
        let mut daemons: BTreeSet<(usize, &str, &str)> = BTreeSet::new();
        for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
            let Some(at) = pod.seat().and_then(|name| index.get(name)).copied() else { continue };
            let labels = &snapshot.nodes[at].labels;
            bound.ports[at].extend(host_ports(&pod.spec));
            if let Some(owner) = pod.owner.as_ref().filter(|_| pod.is_owned_by("DaemonSet")) {
                daemons.insert((at, &pod.namespace, &owner.name));
            }
            let meant = meanings.meant(&pod.namespace, &pod.labels);
            if meant.0.iter().any(|word| *word != 0) {
                let count = bound.on_node[at].entry(meant.clone()).or_default();
                count.all += 1;
                count.staying += i64::from(!pod.deleting);
            }
            for selector in meant.iter() {
                let number = u32::try_from(selector).expect("selectors fit 32 bits");
                for (key, name) in meanings.keys.iter().enumerate() {
                    if let Some(value) = labels.get(*name) {
                        *bound.in_domain.entry((number, key as u32, value)).or_default() += 1;
                    }
                }
            }
            for term in &pod.spec.affinity.anti_required {
                let resolved = meanings.term(term, pod);
                if let Some(value) = labels.get(&term.topology_key) {
                    bound.repelled.insert((resolved.selector, resolved.key, value));
                }
            }
        }
        for (at, node) in snapshot.nodes.iter().enumerate() {
            let label = |key: &str| node.labels.get(key).map(String::as_str);
            let taints = lasting_taints(snapshot, node);
            for daemon in &snapshot.daemon_sets {
                if !daemons.contains(&(at, &daemon.namespace, &daemon.name))
                    && daemon_matches(daemon, &label, &taints, Some(&node.name))
                {
                    bound.ports[at].extend(host_ports(&daemon.spec));
                }
            }
        }
        bound
    }

    /// Selectors that anti-affinity of pods on nodes states over another key than this.
    pub(crate) fn repelled_beyond(&self, key: Option<u32>) -> impl Iterator<Item = u32> {
        self.repelled.iter().filter(move |one| Some(one.1) != key).map(|one| one.0)
    }

    /// Whether ports in use on a node keep a pod away.
    pub(crate) fn ports_taken(&self, node: usize, wants: &Wants<'_>) -> bool {
        !wants.ports.is_empty() && clash(&wants.ports, &self.ports[node])
    }

    /// Pods on a node that count for a selector.
    pub(crate) fn staying(&self, node: usize, selector: u32) -> i64 {
        let meant = self.on_node[node].iter().filter(|(meant, _)| meant.has(selector as usize));
        meant.map(|(_, count)| count.staying).sum()
    }

    /// Whether anti-affinity between a pod and pods on nodes keeps the pod from a node with these labels.
    pub(crate) fn keeps_away<'b>(
        &self,
        meanings: &Meanings<'_>,
        wants: &Wants<'_>,
        label: &impl Fn(&str) -> Option<&'b str>,
    ) -> bool {
        self.apart_from(meanings, wants, label).next().is_some() || self.repels(meanings, wants, label)
    }

    /// Positions of a pod's terms of required anti-affinity that mean pods on nodes in domains of these labels.
    pub(crate) fn apart_from<'b, 'm>(
        &'m self,
        meanings: &'m Meanings<'_>,
        wants: &'m Wants<'_>,
        label: &'m impl Fn(&str) -> Option<&'b str>,
    ) -> impl Iterator<Item = usize> + 'm {
        let there = move |term: &Term| {
            label(meanings.keys[term.key as usize])
                .is_some_and(|value| self.in_domain.contains_key(&(term.selector, term.key, value)))
        };
        let terms = wants.terms.anti.iter().enumerate();
        terms.filter(move |(_, term)| there(term)).map(|(at, _)| at)
    }

    /// Whether required anti-affinity of a pod on a node in a domain of these labels means a pod.
    pub(crate) fn repels<'b>(
        &self,
        meanings: &Meanings<'_>,
        wants: &Wants<'_>,
        label: &impl Fn(&str) -> Option<&'b str>,
    ) -> bool {
        self.repelled.iter().any(|(selector, key, value)| {
            wants.terms.meant.has(*selector as usize) && label(meanings.keys[*key as usize]) == Some(*value)
        })
    }
}

/// Host ports that DaemonSets take on every node with these labels and taints.
pub(crate) fn daemon_ports<'a, 'b>(
    snapshot: &'a Snapshot,
    label: &impl Fn(&str) -> Option<&'b str>,
    taints: &[stowage_models::objects::Taint],
) -> Vec<Port<'a>> {
    let daemons = snapshot.daemon_sets.iter().filter(|daemon| daemon_matches(daemon, label, taints, None));
    daemons.flat_map(|daemon| host_ports(&daemon.spec)).collect()
}
