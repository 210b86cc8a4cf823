//! Existing nodes as bins, and what NodePools have used of their limits.

use crate::constraints::nodes::cap_on;
use crate::constraints::volumes::{ATTACHABLE, UNLIMITED};
use crate::matching::{effective_request, selects, selects_any, tolerates_all};
use crate::problem::{ExistingBin, Limit, Problem, usable};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{DaemonSet, Node, NodePool, Pod, PodSpec, Taint};
use stowage_models::plan::STOCK;
use stowage_models::quantity::Resources;
use stowage_models::shared::Shared;
use stowage_models::snapshot::Snapshot;

/// Whether a DaemonSet puts a pod on a node with these labels and taints.
pub(crate) fn daemon_matches<'a>(
    daemon: &DaemonSet,
    label: &impl Fn(&str) -> Option<&'a str>,
    taints: &[stowage_models::objects::Taint],
    node_name: Option<&str>,
) -> bool {
    tolerates_all(&daemon.spec.tolerations, taints) && selects(&daemon.spec, label, node_name)
}

/// Taints that nodes get while they start and lose by themselves, as Karpenter knows them; the last is a prefix.
const EPHEMERAL: [&str; 5] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    labels::TAINT_UNREGISTERED,
    "readiness.k8s.io/",
];

/// The NodePool of a node that is still starting: it is one of the snapshot's, and nobody has called the node initialised yet.
fn starting<'s>(snapshot: &'s Snapshot, node: &Node) -> Option<&'s NodePool> {
    let initialized = node.labels.get(labels::INITIALIZED).is_some_and(|value| value == "true");
    let name = node.nodepool().filter(|_| !initialized)?;
    snapshot.node_pools.iter().find(|pool| pool.name == name)
}

/// The taints a node keeps: all of them, but for a node that is still starting those of its start.
pub(crate) fn lasting_taints<'n>(snapshot: &Snapshot, node: &'n Node) -> Cow<'n, [Taint]> {
    let Some(pool) = starting(snapshot, node) else { return Cow::Borrowed(&node.taints) };
    let goes = |taint: &&Taint| {
        EPHEMERAL.iter().any(|key| taint.key == *key || (key.ends_with('/') && taint.key.starts_with(key)))
            || pool.startup_taints.iter().any(|one| one.key == taint.key && one.effect == taint.effect)
    };
    Cow::Owned(node.taints.iter().filter(|taint| !goes(taint)).cloned().collect())
}

fn is_destination(snapshot: &Snapshot, node: &Node) -> bool {
    (node.ready || starting(snapshot, node).is_some())
        && !node.unschedulable
        && !node.deleting
        && node.taints.iter().all(|taint| taint.key != labels::TAINT_DISRUPTED)
        && !snapshot.is_interrupted(&node.name)
}

/// Sum of the requests of pods on each node that have not ended, by node name.
pub(crate) fn running_requests(snapshot: &Snapshot) -> BTreeMap<String, Resources> {
    let mut running: BTreeMap<&str, Resources> = BTreeMap::new();
    // Pods are sorted by name, so those of a Deployment, which share a spec, follow each other.
    let mut last: Option<(&Shared<PodSpec>, Resources)> = None;
    for pod in &snapshot.pods {
        if let Some(node) = pod.seat()
            && !pod.is_terminal()
        {
            let (_, request) = match last.take().filter(|(spec, _)| spec.is_same(&pod.spec)) {
                Some(known) => last.insert(known),
                None => last.insert((&pod.spec, effective_request(&pod.spec))),
            };
            running.entry(node).or_default().add(request);
        }
    }
    running.into_iter().map(|(node, sum)| (node.to_owned(), sum)).collect()
}

/// An existing node that pods may be bound to.
pub(crate) struct Destination<'a> {
    /// Index into the snapshot's nodes.
    pub(crate) node: usize,
    /// Taints that last.
    pub(crate) taints: Cow<'a, [Taint]>,
    /// What is free, in the order of [`Problem::resources`].
    pub(crate) free: Vec<i64>,
}

/// Existing nodes that pods may be bound to, with what is free on them.
pub(crate) fn destinations<'a>(problem: &Problem<'a>) -> Vec<Destination<'a>> {
    let snapshot = problem.snapshot;
    let running = problem.prepared.running(snapshot);
    let mut daemon_pods: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal() && pod.is_owned_by("DaemonSet")) {
        if let (Some(node), Some(owner)) = (pod.seat(), pod.owner.as_ref()) {
            daemon_pods.insert((node, &pod.namespace, &owner.name));
        }
    }
    let daemon_requests: Vec<Resources> =
        snapshot.daemon_sets.iter().map(|daemon| effective_request(&daemon.spec)).collect();
    let limited: Vec<&String> =
        problem.resources.iter().filter(|name| name.starts_with(ATTACHABLE)).collect();
    let mut pods_on: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !limited.is_empty() && !pod.is_terminal()) {
        if let Some(node) = pod.seat() {
            pods_on.entry(node).or_default().push(pod);
        }
    }
    let mut found = Vec::new();
    for (index, node) in snapshot.nodes.iter().enumerate().filter(|(_, node)| is_destination(snapshot, node))
    {
        let taints = lasting_taints(snapshot, node);
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let mut used = running.get(node.name.as_str()).cloned().unwrap_or_default();
        for (daemon, request) in snapshot.daemon_sets.iter().zip(&daemon_requests) {
            if !daemon_pods.contains(&(&node.name, &daemon.namespace, &daemon.name))
                && daemon_matches(daemon, &label, &taints, Some(&node.name))
            {
                used.add(request);
            }
        }
        let attached = if limited.is_empty() {
            BTreeMap::new()
        } else {
            problem.constraints.storage.attached(pods_on.get(node.name.as_str()).map_or(&[], Vec::as_slice))
        };
        let amount = |name: &String| match name.strip_prefix(ATTACHABLE) {
            Some(driver) => node.volume_limits.get(driver).map_or(UNLIMITED, |limit| {
                limit.saturating_sub(attached.get(driver).copied().unwrap_or(0)).clamp(0, UNLIMITED)
            }),
            None => (usable(name, node.allocatable.get(name), problem.policy) - used.get(name)).max(0),
        };
        let free: Vec<i64> = problem.resources.iter().map(amount).collect();
        found.push(Destination { node: index, taints, free });
    }
    found
}

/// What pods that wait can see of a node: the labels they ask for, its taints, and its name if any asks for names.
type Sight<'s> = (Vec<Option<&'s str>>, Vec<Taint>, Option<&'s str>);

/// Kinds of nodes that match the same groups, whatever room they have: nodes are many, kinds few.
struct Kinds<'s> {
    keys: BTreeSet<&'s str>,
    by_name: bool,
    numbers: BTreeMap<Sight<'s>, u32>,
    /// Groups that match, by kind.
    groups: Vec<Vec<u32>>,
}

impl<'s> Kinds<'s> {
    fn new(problem: &Problem<'s>) -> Kinds<'s> {
        let (mut keys, mut by_name) = (BTreeSet::new(), false);
        for group in &problem.groups {
            let spec = problem.spec(group);
            keys.extend(spec.node_selector.keys().map(String::as_str));
            let terms = spec.affinity.node_required.iter().flatten();
            for term in terms.chain(group.wants.volumes.iter().copied().flatten()) {
                keys.extend(term.match_expressions.iter().map(|one| one.key.as_str()));
                by_name |= !term.match_fields.is_empty();
            }
        }
        Kinds { keys, by_name, numbers: BTreeMap::new(), groups: Vec::new() }
    }

    /// The kind of a node with these taints.
    fn of(&mut self, problem: &Problem<'s>, node: &'s Node, taints: &[Taint]) -> u32 {
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let seen = self.keys.iter().map(|key| label(key)).collect();
        let sight = (seen, taints.to_vec(), self.by_name.then_some(node.name.as_str()));
        if let Some(number) = self.numbers.get(&sight) {
            return *number;
        }
        let matches = |g: &u32| {
            let group = &problem.groups[*g as usize];
            let spec = problem.spec(group);
            tolerates_all(&spec.tolerations, taints)
                && selects(spec, &label, Some(&node.name))
                && selects_any(&group.wants.volumes, &label, Some(&node.name))
        };
        let count = u32::try_from(problem.groups.len()).expect("groups fit 32 bits");
        let number = u32::try_from(self.groups.len()).expect("kinds fit 32 bits");
        self.groups.push((0..count).filter(matches).collect());
        self.numbers.insert(sight, number);
        number
    }
}

/// Existing nodes that can take at least one pod.
pub(crate) fn existing_bins(problem: &Problem<'_>) -> Vec<ExistingBin> {
    let constraints = &problem.constraints;
    let (meanings, bound) = (&constraints.meanings, &constraints.bound);
    let mut kinds = Kinds::new(problem);
    let mut bins = Vec::new();
    for Destination { node: index, taints, free } in destinations(problem) {
        let node = &problem.snapshot.nodes[index];
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let has_hostname = node.labels.contains_key(labels::HOSTNAME);
        let kind = kinds.of(problem, node, &taints);
        let takes = |g: &u32| {
            let group = &problem.groups[*g as usize];
            group.request.iter().zip(&free).all(|(w, c)| w <= c)
                && !bound.ports_taken(index, &group.wants)
                && !bound.keeps_away(meanings, &group.wants, &label)
        };
        let capped = kinds.groups[kind as usize].iter().copied().filter(takes).map(|g| {
            let cap = cap_on(meanings, bound, &problem.groups[g as usize].wants, index, has_hostname);
            (g, cap)
        });
        let (groups, caps): (Vec<u32>, Vec<i64>) = capped.filter(|(_, cap)| *cap > 0).unzip();
        if !groups.is_empty() {
            bins.push(ExistingBin { node: index, kind, free, groups, caps, held: Vec::new() });
        }
    }
    bins
}

/// Limit rows of all dynamic NodePools, sorted by pool and resource, then the stocks of capacity reservations, by id.
pub(crate) fn limits(snapshot: &Snapshot) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (index, pool) in snapshot.node_pools.iter().enumerate() {
        for (resource, limit) in &pool.limits.0 {
            let used = pool_usage(snapshot, &pool.name, resource);
            limits.push(Limit {
                pool: Some(index),
                resource: resource.clone(),
                remaining: limit.saturating_sub(used).max(0),
            });
        }
    }
    let mut stock: BTreeMap<&str, i64> = BTreeMap::new();
    for one in snapshot.node_classes.iter().flat_map(|class| &class.capacity_reservations) {
        let left = one.available.unwrap_or(0);
        stock.entry(&one.id).and_modify(|have| *have = left.min(*have)).or_insert(left);
    }
    // What is launched and has no node yet may not be known where the stock is counted.
    for claim in snapshot.node_claims.iter().filter(|claim| claim.node.is_none()) {
        let id = claim.labels.get(labels::CAPACITY_RESERVATION_ID);
        if let Some(left) = id.and_then(|id| stock.get_mut(id.as_str())) {
            *left -= 1;
        }
    }
    limits.extend(stock.into_iter().map(|(id, left)| Limit {
        pool: None,
        resource: format!("{STOCK}{id}"),
        remaining: left.max(0),
    }));
    limits
}

/// What nodes of a pool, and its NodeClaims that have no node yet, use of a limited resource.
pub(crate) fn pool_usage(snapshot: &Snapshot, pool: &str, resource: &str) -> i64 {
    let amount = |capacity: &Resources| {
        if resource == "nodes" { 1 } else { capacity.get(resource) }
    };
    let nodes =
        snapshot.nodes.iter().filter(|node| node.nodepool() == Some(pool)).map(|node| amount(&node.capacity));
    let claims = snapshot
        .node_claims
        .iter()
        .filter(|claim| claim.labels.get(labels::NODEPOOL).map(String::as_str) == Some(pool))
        .filter(|claim| {
            claim.node.as_ref().is_none_or(|name| snapshot.nodes.iter().all(|node| node.name != *name))
        })
        .map(|claim| amount(&claim.capacity));
    nodes.chain(claims).fold(0_i64, i64::saturating_add)
}
