//! Existing nodes and what they have left (formulation, section 1.1).

use crate::filters::host_ports;
use crate::groups::Port;
use crate::matching::{Match, Rules};
use crate::problem::{Axis, usable};
use crate::request::{effective_request, sum};
use crate::storage::{ATTACHABLE, Storage, UNLIMITED};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{Node, NodePool, Pod, Taint};
use stowage_models::quantity::Resources;
use stowage_models::snapshot::Snapshot;

/// An existing node as a bin.
#[derive(Debug)]
pub(crate) struct NodeBin<'a> {
    /// Its position in the list of nodes.
    pub(crate) index: usize,
    /// The node.
    pub(crate) node: &'a Node,
    /// Pods on it that have not ended.
    pub(crate) pods: Vec<&'a Pod>,
    /// DaemonSets that match it and have no pod on it: positions in the snapshot's list.
    pub(crate) missing: Vec<usize>,
    /// Host ports of its pods, and of those DaemonSets.
    pub(crate) ports: BTreeSet<Port<'a>>,
    /// Sum of the requests of its pods that have not ended.
    pub(crate) running: Resources,
    /// What is left for pending pods, along the axis.
    pub(crate) free: Vec<i64>,
    /// It takes pending pods at all.
    pub(crate) eligible: bool,
    /// Which rules its labels and taints satisfy.
    pub(crate) matches: Vec<Match>,
}

/// Capacity type by label; EKS managed node groups have their own.
pub(crate) fn capacity_type(node: &Node) -> Option<&str> {
    let eks = |value: &String| match value.as_str() {
        "SPOT" => Some("spot"),
        "ON_DEMAND" => Some("on-demand"),
        _ => None,
    };
    let own = node.labels.get(labels::CAPACITY_TYPE).map(String::as_str);
    own.or_else(|| node.labels.get(labels::EKS_CAPACITY_TYPE).and_then(eks))
}

/// The NodePool of a managed node that is not initialised yet.
fn pool_of_start<'a>(snapshot: &'a Snapshot, node: &Node) -> Option<&'a NodePool> {
    if node.labels.get(labels::INITIALIZED).map(String::as_str) == Some("true") {
        return None;
    }
    snapshot.node_pools.iter().find(|pool| Some(pool.name.as_str()) == node.nodepool())
}

/// Whether a taint goes by itself when a node of the pool has started.
fn passes(taint: &Taint, pool: &NodePool) -> bool {
    let key = taint.key.as_str();
    let known = matches!(
        key,
        "node.kubernetes.io/not-ready"
            | "node.kubernetes.io/unreachable"
            | "node.cloudprovider.kubernetes.io/uninitialized"
            | labels::TAINT_UNREGISTERED
    );
    let startup = |one: &Taint| one.key == key && one.effect == taint.effect;
    known || key.starts_with("readiness.k8s.io/") || pool.startup_taints.iter().any(startup)
}

/// The taints that count on a node: those it has, without those of a start that is not over.
pub(crate) fn taints(snapshot: &Snapshot, node: &Node) -> Vec<Taint> {
    let pool = pool_of_start(snapshot, node);
    node.taints.iter().filter(|taint| pool.is_none_or(|pool| !passes(taint, pool))).cloned().collect()
}

fn is_eligible(snapshot: &Snapshot, node: &Node) -> bool {
    let up = node.ready || pool_of_start(snapshot, node).is_some();
    let disrupted = node.taints.iter().any(|taint| taint.key == labels::TAINT_DISRUPTED);
    let lost = snapshot.notices.iter().any(|notice| notice.is_final() && notice.node == node.name);
    up && !node.unschedulable && !node.deleting && !disrupted && !lost
}

/// All nodes, sorted by name. `daemon_rules` has the rule of each DaemonSet, in the snapshot's order.
pub(crate) fn collect<'a>(
    snapshot: &'a Snapshot,
    axis: &Axis,
    slack: i64,
    (rules, daemon_rules): (&Rules<'_>, &[usize]),
    storage: &Storage<'a>,
) -> Vec<NodeBin<'a>> {
    let mut running: BTreeMap<&str, Vec<&'a Pod>> = BTreeMap::new();
    let mut carried: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
        let Some(node) = pod.seat() else { continue };
        running.entry(node).or_default().push(pod);
        if let Some(owner) = pod.owner.as_ref().filter(|owner| owner.kind == "DaemonSet") {
            carried.insert((node, &pod.namespace, &owner.name));
        }
    }
    let daemon_requests: Vec<Resources> =
        snapshot.daemon_sets.iter().map(|set| effective_request(&set.spec)).collect();
    let bin = |(index, node): (usize, &'a Node)| {
        let values: Vec<_> = rules.keys.iter().map(|key| node.labels.get(*key).map(String::as_str)).collect();
        let matches = rules.evaluate(&values, Some(&node.name), &taints(snapshot, node));
        let pods = running.get(node.name.as_str()).cloned().unwrap_or_default();
        let requests: Vec<Resources> = pods.iter().map(|pod| effective_request(&pod.spec)).collect();
        let running = sum(&requests);
        let missing = snapshot.daemon_sets.iter().enumerate().filter(|(index, set)| {
            matches[daemon_rules[*index]].holds()
                && !carried.contains(&(node.name.as_str(), set.namespace.as_str(), set.name.as_str()))
        });
        let missing: Vec<usize> = missing.map(|(index, _)| index).collect();
        let taken = sum(missing.iter().map(|index| &daemon_requests[*index]).chain([&running]));
        let specs = pods.iter().map(|pod| &*pod.spec);
        let specs = specs.chain(missing.iter().map(|index| &snapshot.daemon_sets[*index].spec));
        let ports = specs.flat_map(host_ports).collect();
        let attached = storage.attached(pods.iter().copied());
        let left = |name: &String| {
            if let Some(driver) = name.strip_prefix(ATTACHABLE) {
                let limit = node.volume_limits.get(driver);
                let attached = attached.get(driver).copied().unwrap_or(0);
                return limit.map_or(UNLIMITED, |limit| limit.saturating_sub(attached).clamp(0, UNLIMITED));
            }
            let left = usable(name, node.allocatable.get(name), slack) - i128::from(taken.get(name));
            i64::try_from(left.max(0)).unwrap_or(i64::MAX)
        };
        let free = axis.names.iter().map(left).collect();
        let eligible = is_eligible(snapshot, node);
        NodeBin { index, node, pods, missing, ports, running, free, eligible, matches }
    };
    let by_name: BTreeMap<&str, &'a Node> =
        snapshot.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    by_name.into_values().enumerate().map(bin).collect()
}
