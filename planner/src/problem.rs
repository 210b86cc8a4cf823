//! From a snapshot to a problem: groups, offerings, existing nodes, limits (`docs/formulation.md` section 1).

use crate::PlanError;
use crate::matching::{effective_request, selects, term_matches, tolerates_all, unsupported};
use crate::offerings::{self, Offering};
use rayon::ThreadPool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{DaemonSet, Node, NodePool, Pod, PodPhase, PodRef, PodSpec};
use stowage_models::plan::Policy;
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// Pods planned at once at most: a hundred times the largest cluster Kubernetes supports, so that indices fit 32 bits.
pub(crate) const PODS_MAX: usize = 15_000_000;

/// Pods that are equal in everything the planner may look at.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Indices into the snapshot's pods, in `namespace/name` order.
    pub(crate) pods: Vec<u32>,
    /// Request, one entry per resource of the problem.
    pub(crate) request: Vec<i64>,
    /// Priority.
    pub(crate) priority: i32,
    /// The group may use NodePools of this weight or more.
    pub(crate) min_weight: i32,
}

/// What an existing node has left for pending pods.
#[derive(Clone, Debug)]
pub(crate) struct ExistingBin {
    /// Index into the snapshot's nodes.
    pub(crate) node: usize,
    /// Free amounts, one entry per resource.
    pub(crate) free: Vec<i64>,
    /// Groups that match and of which one pod fits, ascending.
    pub(crate) groups: Vec<u32>,
}

/// A limit row.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Index into the snapshot's NodePools.
    pub(crate) pool: usize,
    /// Limited resource.
    pub(crate) resource: String,
    /// Limit less what nodes and NodeClaims of the pool use already; zero if they use more.
    pub(crate) remaining: i64,
}

/// A pending pod that is not part of the problem, and why.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    /// Index into the snapshot's pods.
    pub(crate) pod: u32,
    /// The constraint, in the words of the API.
    pub(crate) constraint: String,
}

/// The problem. Everything is in input order (sorted), so equal snapshots give equal problems.
pub(crate) struct Problem<'a> {
    /// Where parallel work runs.
    pub(crate) pool: Arc<ThreadPool>,
    /// The snapshot.
    pub(crate) snapshot: &'a Snapshot,
    /// The catalogue.
    pub(crate) catalog: &'a Catalog,
    /// Policy.
    pub(crate) policy: &'a Policy,
    /// Resources in a fixed order: cpu, memory, pods, then the others any problem pod asks for, sorted.
    pub(crate) resources: Vec<String>,
    /// Groups, sorted by their first pod.
    pub(crate) groups: Vec<Group>,
    /// All offerings in canonical order.
    pub(crate) offerings: Vec<Offering>,
    /// Sets of groups by label class of offerings.
    pub(crate) classes: Vec<Bits>,
    /// Existing nodes that can take at least one pod.
    pub(crate) existing: Vec<ExistingBin>,
    /// Limits.
    pub(crate) limits: Vec<Limit>,
    /// Groups no bin can hold.
    pub(crate) no_fit: Vec<Group>,
    /// Pods with unsupported constraints.
    pub(crate) unsupported: Vec<LeftOut>,
    /// What a reader should know.
    pub(crate) notes: Vec<String>,
}

/// A set of small integers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bits(pub(crate) Vec<u64>);

impl Bits {
    /// The empty set over `n` values.
    pub(crate) fn new(n: usize) -> Bits {
        Bits(vec![0; n.div_ceil(64)])
    }

    /// Adds `i`.
    pub(crate) fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    /// Whether `i` is in the set.
    pub(crate) fn contains(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    /// Whether every member is in `other`.
    pub(crate) fn is_subset(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }

    /// Members, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(word, bits)| (0..64).filter(move |i| bits >> i & 1 == 1).map(move |i| word * 64 + i))
    }
}

/// What remains of an allocatable amount after the policy's slack.
pub(crate) fn usable(name: &str, amount: i64, policy: &Policy) -> i64 {
    if name != CPU && name != MEMORY {
        return amount;
    }
    let kept = i128::from(amount) * i128::from(Ppm::ONE - policy.slack.0) / i128::from(Ppm::ONE);
    i64::try_from(kept).unwrap_or(0)
}

/// The amounts of `resources` in the problem's order.
pub(crate) fn vector(names: &[String], resources: &Resources) -> Vec<i64> {
    names.iter().map(|name| resources.get(name)).collect()
}

impl<'a> Problem<'a> {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] beyond [`PODS_MAX`] pods.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        policy: &'a Policy,
        pool: Arc<ThreadPool>,
    ) -> Result<Problem<'a>, PlanError> {
        if snapshot.pods.len() > PODS_MAX {
            return Err(PlanError::TooLarge(format!("{} pods; at most {PODS_MAX}", snapshot.pods.len())));
        }
        let mut problem = Problem {
            pool,
            snapshot,
            catalog,
            policy,
            resources: Vec::new(),
            groups: Vec::new(),
            offerings: Vec::new(),
            classes: Vec::new(),
            existing: Vec::new(),
            limits: Vec::new(),
            no_fit: Vec::new(),
            unsupported: Vec::new(),
            notes: snapshot.notes.clone(),
        };
        problem.group_pods();
        problem.note_preferences();
        problem.note_surroundings();
        offerings::enumerate(&mut problem);
        problem.limits = limits(snapshot);
        problem.existing = existing_bins(&problem);
        problem.settle_weights();
        Ok(problem)
    }

    /// The spec of a group's pods (they are equal where it matters).
    pub(crate) fn spec(&self, group: &Group) -> &'a PodSpec {
        &self.snapshot.pods[group.pods[0] as usize].spec
    }

    /// `namespace/name` of a pod.
    pub(crate) fn pod_ref(&self, pod: u32) -> PodRef {
        self.snapshot.pods[pod as usize].id()
    }

    /// The NodePool of an offering.
    pub(crate) fn pool(&self, offering: &Offering) -> &'a NodePool {
        &self.snapshot.node_pools[offering.pool as usize]
    }

    /// Whether group `g` may use offering `o`: it matches, one pod fits, and the weight allows it.
    pub(crate) fn may_use(&self, g: usize, o: &Offering) -> bool {
        self.classes[o.class as usize].contains(g)
            && self.pool(o).weight >= self.groups[g].min_weight
            && self.groups[g].request.iter().zip(&o.capacity).all(|(w, c)| w <= c)
    }

    fn group_pods(&mut self) {
        let repelled = repelled_pods(self.snapshot);
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut by_key: BTreeMap<GroupKey<'a>, Vec<u32>> = BTreeMap::new();
        for (i, pod) in self.snapshot.pods.iter().enumerate() {
            let index = u32::try_from(i).expect("PODS_MAX fits 32 bits");
            if !pod.is_pending() {
                continue;
            }
            if let Some(constraint) = unsupported(&pod.spec).or_else(|| repelled.get(&index).cloned()) {
                self.unsupported.push(LeftOut { pod: index, constraint });
                continue;
            }
            let request = effective_request(&pod.spec);
            for name in request.0.keys() {
                if !names.contains(name) {
                    names.insert(name.clone());
                }
            }
            by_key.entry(GroupKey::new(request, &pod.spec)).or_default().push(index);
        }
        // A DaemonSet may ask for what no pending pod asks for, and make an offering useless by it.
        for daemon in &self.snapshot.daemon_sets {
            names.extend(effective_request(&daemon.spec).0.into_keys());
        }
        self.resources = [CPU, MEMORY, PODS].map(str::to_owned).to_vec();
        names.retain(|name| !self.resources.contains(name));
        self.resources.extend(names);
        self.groups = by_key
            .into_iter()
            .map(|(key, pods)| Group {
                request: vector(&self.resources, &key.request),
                priority: key.priority,
                min_weight: i32::MIN,
                pods,
            })
            .collect();
        // Snapshot pods are sorted, so the smallest index is the first in namespace/name order.
        self.groups.sort_by_key(|group| group.pods[0]);
    }

    fn note_preferences(&mut self) {
        let mut ignored = 0_usize;
        for pod in self.snapshot.pods.iter().filter(|pod| pod.is_pending()) {
            let affinity = &pod.spec.affinity;
            let soft = !affinity.node_preferred.is_empty()
                || !affinity.pod_preferred.is_empty()
                || !affinity.anti_preferred.is_empty()
                || pod.spec.topology_spread.iter().any(|spread| !spread.hard);
            ignored += usize::from(soft);
        }
        if ignored > 0 {
            self.notes.push(format!(
                "preferences (preferred affinity, ScheduleAnyway) of {ignored} pods are not part of the objective yet"
            ));
        }
        for pool in &self.snapshot.node_pools {
            if pool.requirements.iter().any(|requirement| requirement.min_values.is_some()) {
                self.notes.push(format!("NodePool {}: minValues is not enforced yet", pool.name));
            }
            if pool.deleting {
                self.notes.push(format!("NodePool {} is being deleted and launches nothing", pool.name));
            }
            if pool.replicas.is_some() {
                self.notes
                    .push(format!("NodePool {} is static (replicas) and launches nothing here", pool.name));
            }
        }
    }

    /// Notes what is in the snapshot and plays no part in the plan, where a reader would think it does.
    fn note_surroundings(&mut self) {
        let waits = |pod: &&Pod| pod.phase == PodPhase::Pending && pod.node.is_none() && !pod.deleting;
        let waiting = || self.snapshot.pods.iter().filter(waits);
        let gated = waiting().filter(|pod| !pod.scheduling_gates.is_empty()).count();
        let foreign = waiting().filter(|pod| pod.spec.scheduler_name.is_some()).count();
        if gated + foreign > 0 {
            self.notes.push(format!(
                "waiting pods that are not looked at: {gated} with scheduling gates, {foreign} of another scheduler"
            ));
        }
        let region = &self.catalog.region;
        let elsewhere = self.snapshot.nodes.iter().filter(|node| {
            node.labels.get(labels::REGION).is_some_and(|have| have != region)
                || node.labels.get(labels::ZONE).is_some_and(|zone| !zone.starts_with(region.as_str()))
        });
        let elsewhere = elsewhere.count();
        if elsewhere > 0 {
            self.notes.push(format!(
                "{elsewhere} nodes are not in {region}, the region of the catalogue: types, zones and prices of the                  launches are those of {region}; pass --catalog with one of your region"
            ));
        }
        let in_flight =
            self.snapshot.node_claims.iter().filter(|claim| claim.node.is_none() && !claim.deleting);
        let in_flight = in_flight.count();
        if in_flight > 0 {
            self.notes.push(format!(
                "{in_flight} NodeClaims have no node yet: they count against limits, but the pods they were launched                  for are planned again"
            ));
        }
    }

    /// Sets each group's `min_weight` to the highest weight that can hold it and moves groups nothing can hold aside.
    fn settle_weights(&mut self) {
        let pods = self.groups.len();
        let mut best: Vec<Option<i32>> = vec![None; pods];
        for offering in &self.offerings {
            let weight = self.pool(offering).weight;
            for g in self.classes[offering.class as usize].iter() {
                if best[g].is_none_or(|have| have < weight)
                    && self.groups[g].request.iter().zip(&offering.capacity).all(|(w, c)| w <= c)
                {
                    best[g] = Some(weight);
                }
            }
        }
        let mut on_existing = Bits::new(pods);
        self.existing.iter().flat_map(|bin| &bin.groups).for_each(|g| on_existing.insert(*g as usize));
        let mut keep = vec![true; pods];
        for g in 0..pods {
            self.groups[g].min_weight = best[g].unwrap_or(i32::MIN);
            keep[g] = best[g].is_some() || on_existing.contains(g);
        }
        self.drop_groups(&keep);
    }

    /// Opens the next lower NodePool weight to groups that have pods left; false if there is none for any of them.
    pub(crate) fn lower_weights(&mut self, left: &[i64]) -> bool {
        let mut lowered = false;
        for g in (0..self.groups.len()).filter(|g| left[*g] > 0) {
            let next = self
                .offerings
                .iter()
                .filter(|offering| self.pool(offering).weight < self.groups[g].min_weight)
                .filter(|offering| self.classes[offering.class as usize].contains(g))
                .filter(|offering| self.groups[g].request.iter().zip(&offering.capacity).all(|(w, c)| w <= c))
                .map(|offering| self.pool(offering).weight)
                .max();
            if let Some(weight) = next {
                self.groups[g].min_weight = weight;
                lowered = true;
            }
        }
        lowered
    }

    /// Opens to every group the NodePools a placement uses for it, whatever their weight.
    pub(crate) fn open_weights(&mut self, placement: &crate::placement::Placement) {
        for (offering, pattern) in &placement.launches {
            let weight = self.pool(&self.offerings[*offering]).weight;
            for (g, _) in pattern {
                let group = &mut self.groups[*g as usize];
                group.min_weight = group.min_weight.min(weight);
            }
        }
    }

    /// Whether NodePool weights keep some group from a pool it could use.
    pub(crate) fn weights_matter(&self) -> bool {
        self.offerings.iter().any(|offering| {
            let weight = self.pool(offering).weight;
            self.classes[offering.class as usize].iter().any(|g| {
                weight < self.groups[g].min_weight
                    && self.groups[g].request.iter().zip(&offering.capacity).all(|(w, c)| w <= c)
            })
        })
    }

    /// Moves groups with `keep[g] == false` to `no_fit` and renumbers the rest.
    fn drop_groups(&mut self, keep: &[bool]) {
        if keep.iter().all(|keep| *keep) {
            return;
        }
        let mut renumber = vec![u32::MAX; keep.len()];
        let mut next = 0;
        for (g, kept) in keep.iter().enumerate() {
            if *kept {
                renumber[g] = next;
                next += 1;
            }
        }
        let groups = std::mem::take(&mut self.groups);
        for (group, kept) in groups.into_iter().zip(keep) {
            if *kept { &mut self.groups } else { &mut self.no_fit }.push(group);
        }
        for class in &mut self.classes {
            let mut renumbered = Bits::new(next as usize);
            class.iter().filter(|g| keep[*g]).for_each(|g| renumbered.insert(renumber[g] as usize));
            *class = renumbered;
        }
        for bin in &mut self.existing {
            bin.groups.retain(|g| keep[*g as usize]);
            bin.groups.iter_mut().for_each(|g| *g = renumber[*g as usize]);
        }
    }
}

/// What makes two pods the same to the planner.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey<'a> {
    request: Resources,
    priority: i32,
    node_selector: &'a stowage_models::selector::Labels,
    node_required: &'a Option<Vec<stowage_models::objects::NodeSelectorTerm>>,
    tolerations: &'a [stowage_models::objects::Toleration],
}

impl<'a> GroupKey<'a> {
    fn new(request: Resources, spec: &'a PodSpec) -> GroupKey<'a> {
        GroupKey {
            request,
            priority: spec.priority,
            node_selector: &spec.node_selector,
            node_required: &spec.affinity.node_required,
            tolerations: &spec.tolerations,
        }
    }
}

/// Pending pods that another pod's required anti-affinity keeps away from somewhere, with the words for it.
///
/// A pod's own terms need no exception here: a pod that has such a term is unsupported by itself.
fn repelled_pods(snapshot: &Snapshot) -> BTreeMap<u32, String> {
    // Replicas share their terms; looking at distinct ones keeps this linear in pods.
    let mut terms = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
        for term in &pod.spec.affinity.anti_required {
            terms.entry((pod.namespace.as_str(), term)).or_insert(pod);
        }
    }
    let mut repelled = BTreeMap::new();
    for (i, pod) in snapshot.pods.iter().enumerate().filter(|(_, pod)| pod.is_pending()) {
        let source = terms
            .iter()
            .find(|((namespace, term), _)| term_matches(term, namespace, &pod.namespace, &pod.labels));
        if let Some(((_, term), source)) = source {
            let text = format!(
                "required anti-affinity of pod {} matches it, over {}",
                source.id(),
                term.topology_key
            );
            repelled.insert(u32::try_from(i).expect("PODS_MAX fits 32 bits"), text);
        }
    }
    repelled
}

/// Whether a DaemonSet puts a pod on a node with these labels and taints.
pub(crate) fn daemon_matches<'a>(
    daemon: &DaemonSet,
    label: &impl Fn(&str) -> Option<&'a str>,
    taints: &[stowage_models::objects::Taint],
    node_name: Option<&str>,
) -> bool {
    tolerates_all(&daemon.spec.tolerations, taints) && selects(&daemon.spec, label, node_name)
}

fn is_destination(node: &Node) -> bool {
    node.ready
        && !node.unschedulable
        && !node.deleting
        && node.taints.iter().all(|taint| taint.key != labels::TAINT_DISRUPTED)
}

/// Sum of the requests of pods on each node that have not ended, by node name.
pub(crate) fn running_requests(snapshot: &Snapshot) -> BTreeMap<&str, Resources> {
    let mut running: BTreeMap<&str, Resources> = BTreeMap::new();
    for pod in &snapshot.pods {
        if let Some(node) = pod.node.as_deref()
            && !pod.is_terminal()
        {
            running.entry(node).or_default().add(&effective_request(&pod.spec));
        }
    }
    running
}

fn existing_bins(problem: &Problem<'_>) -> Vec<ExistingBin> {
    let snapshot = problem.snapshot;
    let running = running_requests(snapshot);
    let mut daemon_pods: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal() && pod.is_owned_by("DaemonSet")) {
        if let (Some(node), Some(owner)) = (pod.node.as_deref(), pod.owner.as_ref()) {
            daemon_pods.insert((node, &pod.namespace, &owner.name));
        }
    }
    let daemon_requests: Vec<Resources> =
        snapshot.daemon_sets.iter().map(|daemon| effective_request(&daemon.spec)).collect();
    let mut bins = Vec::new();
    for (index, node) in snapshot.nodes.iter().enumerate().filter(|(_, node)| is_destination(node)) {
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let mut used = running.get(node.name.as_str()).cloned().unwrap_or_default();
        for (daemon, request) in snapshot.daemon_sets.iter().zip(&daemon_requests) {
            if !daemon_pods.contains(&(&node.name, &daemon.namespace, &daemon.name))
                && daemon_matches(daemon, &label, &node.taints, Some(&node.name))
            {
                used.add(request);
            }
        }
        let free: Vec<i64> = problem
            .resources
            .iter()
            .map(|name| (usable(name, node.allocatable.get(name), problem.policy) - used.get(name)).max(0))
            .collect();
        let groups: Vec<u32> = (0..problem.groups.len())
            .filter(|g| {
                let group = &problem.groups[*g];
                let spec = problem.spec(group);
                group.request.iter().zip(&free).all(|(w, c)| w <= c)
                    && tolerates_all(&spec.tolerations, &node.taints)
                    && selects(spec, &label, Some(&node.name))
            })
            .map(|g| u32::try_from(g).expect("groups fit 32 bits"))
            .collect();
        if !groups.is_empty() {
            bins.push(ExistingBin { node: index, free, groups });
        }
    }
    bins
}

/// Limit rows of all dynamic NodePools, sorted by pool and resource.
fn limits(snapshot: &Snapshot) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (index, pool) in snapshot.node_pools.iter().enumerate() {
        for (resource, limit) in &pool.limits.0 {
            let used = pool_usage(snapshot, &pool.name, resource);
            limits.push(Limit {
                pool: index,
                resource: resource.clone(),
                remaining: limit.saturating_sub(used).max(0),
            });
        }
    }
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
