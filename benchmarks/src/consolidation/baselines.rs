//! Consolidation as others do it, in plain Rust: a set of nodes may go if their pods, largest first, each fit on the first node that
//! stays or all together on one new node that is cheaper than the set. What differs is which sets are tried.
//!
//! Kinder than the real thing: every replacement may be spot, nothing fails, and commands follow each other at once.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::objects::{PodPhase, PodRef};
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_planner::{Foreign, ForeignLaunch, Numbers, PlanError, numbers};

/// Which sets of nodes are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One node at a time, those with fewest pods first.
    Single,
    /// The longest prefix of the nodes by rising number of pods that can go at once, found by bisection; then one at a time.
    Prefix,
}

/// Nodes of a prefix at most, as Karpenter's multi-node consolidation has it.
const PREFIX_MAX: usize = 100;

/// Where a strategy ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Price of all nodes with a price before, micro-dollars per hour.
    pub cost_before: i64,
    /// The same at rest.
    pub cost_after: i64,
    /// Evictions; a pod that moves twice counts twice.
    pub pods_moved: u64,
    /// Nodes removed, those launched on the way included.
    pub nodes_removed: u64,
    /// Nodes launched.
    pub nodes_launched: u64,
    /// Commands.
    pub commands: u64,
    /// Nodes of the snapshot that are gone.
    pub gone: Vec<String>,
    /// Where their pods are.
    pub places: Foreign,
}

/// A node, its movable pods by group, and what is left of it.
#[derive(Clone, Debug)]
struct Host {
    price: i64,
    free: Vec<i64>,
    pods: Vec<i64>,
    groups: BTreeSet<usize>,
    may_go: bool,
    is_there: bool,
    /// Name of a node of the snapshot.
    name: Option<String>,
    /// Offering of a launch.
    offering: Option<usize>,
    /// Its movable pods in the snapshot, by group.
    own: Vec<Vec<PodRef>>,
}

/// Runs a strategy until it finds nothing any more. `may_go` are the nodes whose pods may all move, `prices` those of the nodes that have
/// one.
///
/// # Errors
/// [`PlanError`] when the snapshot cannot be read as numbers.
pub fn fix_point(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    may_go: &BTreeSet<&str>,
    prices: &BTreeMap<&str, i64>,
    strategy: Strategy,
) -> Result<Rest, PlanError> {
    let mut cluster = Cluster::new(snapshot, catalog, policy, may_go, prices)?;
    let before = cluster.cost();
    while cluster.round(strategy) {}
    let (gone, places) = cluster.places();
    Ok(Rest { cost_before: before, cost_after: cluster.cost(), gone, places, ..cluster.rest })
}

struct Cluster {
    numbers: Numbers,
    hosts: Vec<Host>,
    /// Groups from large to small.
    order: Vec<usize>,
    rest: Rest,
}

impl Cluster {
    fn new(
        snapshot: &Snapshot,
        catalog: &Catalog,
        policy: &Policy,
        may_go: &BTreeSet<&str>,
        prices: &BTreeMap<&str, i64>,
    ) -> Result<Cluster, PlanError> {
        // With every pod that may move waiting, nodes show the room they have without them.
        let mut loose = snapshot.clone();
        loose.pods.retain(|pod| !pod.is_pending());
        let mut home: BTreeMap<String, &str> = BTreeMap::new();
        for (pod, was) in loose.pods.iter_mut().zip(snapshot.pods.iter().filter(|pod| !pod.is_pending())) {
            let Some(node) = was.node.as_deref().filter(|node| may_go.contains(node)) else { continue };
            let stays =
                pod.is_terminal() || pod.deleting || pod.is_owned_by("DaemonSet") || pod.is_owned_by("Node");
            if !stays {
                home.insert(pod.id().0, node);
                pod.node = None;
                pod.phase = PodPhase::Pending;
            }
        }
        let numbers = numbers(&loose, catalog, policy)?;
        let count = numbers.groups.len();
        let index: BTreeMap<&str, usize> =
            snapshot.nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let mut hosts: Vec<Host> = snapshot
            .nodes
            .iter()
            .map(|node| Host {
                price: prices.get(node.name.as_str()).copied().unwrap_or(0),
                free: vec![0; numbers.resources.len()],
                pods: vec![0; count],
                groups: BTreeSet::new(),
                may_go: may_go.contains(node.name.as_str()),
                is_there: true,
                name: Some(node.name.clone()),
                offering: None,
                own: vec![Vec::new(); count],
            })
            .collect();
        for node in &numbers.nodes {
            if let Some(at) = index.get(node.name.as_str()) {
                hosts[*at].free.clone_from(&node.free);
                hosts[*at].groups = node.groups.iter().copied().collect();
            }
        }
        for (g, group) in numbers.groups.iter().enumerate() {
            for (at, pod) in group.pods.iter().filter_map(|pod| Some((index.get(home.get(&pod.0)?)?, pod))) {
                hosts[*at].pods[g] += 1;
                hosts[*at].own[g].push(pod.clone());
                hosts[*at].free.iter_mut().zip(&group.request).for_each(|(free, takes)| *free -= takes);
            }
        }
        let at = |name: &str| numbers.resources.iter().position(|resource| resource == name);
        let (cpu, memory) = (at("cpu"), at("memory"));
        let size = |g: usize| {
            let of = |at: Option<usize>| at.map_or(0, |at| numbers.groups[g].request[at]);
            (std::cmp::Reverse(of(cpu)), std::cmp::Reverse(of(memory)), g)
        };
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|g| size(*g));
        Ok(Cluster { numbers, hosts, order, rest: Rest::default() })
    }

    /// Nodes of the snapshot that are gone, and where their pods are: pods of a group are as good as each other.
    fn places(&self) -> (Vec<String>, Foreign) {
        let gone: Vec<&Host> =
            self.hosts.iter().filter(|host| !host.is_there && host.name.is_some()).collect();
        let count = self.numbers.groups.len();
        let mut loose: Vec<Vec<PodRef>> =
            (0..count).map(|g| gone.iter().flat_map(|host| host.own[g].iter().cloned()).collect()).collect();
        let mut places = Foreign::default();
        for host in self.hosts.iter().filter(|host| host.is_there) {
            let mut came = Vec::new();
            for (g, loose) in loose.iter_mut().enumerate() {
                let more = usize::try_from(host.pods[g]).unwrap_or(0).saturating_sub(host.own[g].len());
                came.extend(loose.drain(..more.min(loose.len())));
            }
            match (&host.name, host.offering) {
                (Some(name), _) if !came.is_empty() => places.existing.push((name.clone(), came)),
                (None, Some(o)) => {
                    let offering = &self.numbers.offerings[o];
                    places.launches.push(ForeignLaunch {
                        node_pool: offering.node_pool.clone(),
                        instance_type: offering.instance_type.clone(),
                        zone: offering.zone.clone(),
                        capacity_type: offering.capacity_type.clone(),
                        labels: offering.labels.clone(),
                        pods: came,
                    });
                }
                _ => {}
            }
        }
        (gone.iter().filter_map(|host| host.name.clone()).collect(), places)
    }

    fn cost(&self) -> i64 {
        self.hosts.iter().filter(|host| host.is_there).map(|host| host.price).sum()
    }

    /// Nodes that may go, those with fewest pods first.
    fn candidates(&self) -> Vec<usize> {
        let mut all: Vec<usize> =
            (0..self.hosts.len()).filter(|at| self.hosts[*at].is_there && self.hosts[*at].may_go).collect();
        all.sort_by_key(|at| (self.hosts[*at].pods.iter().sum::<i64>(), *at));
        all
    }

    /// One command; false if there is none.
    fn round(&mut self, strategy: Strategy) -> bool {
        let candidates = self.candidates();
        if strategy == Strategy::Prefix
            && let Some(command) = self.prefix(&candidates)
        {
            self.carry_out(command);
            return true;
        }
        match candidates.iter().find_map(|at| self.simulate(&[*at])) {
            Some(command) => {
                self.carry_out(command);
                true
            }
            None => false,
        }
    }

    /// The longest prefix of at least two nodes that bisection finds.
    fn prefix(&self, candidates: &[usize]) -> Option<Command> {
        let (mut low, mut high) = (2, candidates.len().min(PREFIX_MAX));
        let mut best = None;
        while low <= high {
            let middle = usize::midpoint(low, high);
            match self.simulate(&candidates[..middle]) {
                Some(command) => {
                    best = Some(command);
                    low = middle + 1;
                }
                None => high = middle - 1,
            }
        }
        best
    }

    /// Where the pods of a set would go, if the set may go.
    fn simulate(&self, set: &[usize]) -> Option<Command> {
        let mut free: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        let mut moves: Vec<(usize, usize, i64)> = Vec::new();
        let mut rest = vec![0; self.numbers.groups.len()];
        for g in &self.order {
            let mut count: i64 = set.iter().map(|at| self.hosts[*at].pods[*g]).sum();
            let request = &self.numbers.groups[*g].request;
            for (at, host) in self.hosts.iter().enumerate() {
                if count == 0 {
                    break;
                }
                if !host.is_there || set.contains(&at) || !host.groups.contains(g) {
                    continue;
                }
                let room = free.get(&at).unwrap_or(&host.free);
                let copies = copies(request, room).min(count);
                if copies > 0 {
                    let room = free.entry(at).or_insert_with(|| host.free.clone());
                    room.iter_mut().zip(request).for_each(|(room, takes)| *room -= takes * copies);
                    moves.push((at, *g, copies));
                    count -= copies;
                }
            }
            rest[*g] = count;
        }
        let saved: i64 = set.iter().map(|at| self.hosts[*at].price).sum();
        let mut launch = None;
        if rest.iter().any(|count| *count > 0) {
            let numbers = &self.numbers;
            let holds = |offering: &stowage_planner::NumbersOffering| {
                let class = &numbers.classes[offering.class];
                let fits = |k: usize, capacity: i64| {
                    let takes: i64 =
                        rest.iter().zip(&numbers.groups).map(|(n, group)| n * group.request[k]).sum();
                    takes <= capacity
                };
                offering.capacity.iter().enumerate().all(|(k, capacity)| fits(k, *capacity))
                    && rest.iter().enumerate().all(|(g, n)| *n == 0 || class.binary_search(&g).is_ok())
            };
            // Offerings are sorted by price.
            let (o, offering) = numbers.offerings.iter().enumerate().find(|(_, one)| holds(one))?;
            if offering.price.0 >= saved {
                return None;
            }
            launch = Some((o, rest));
        }
        Some(Command { set: set.to_vec(), moves, launch })
    }

    fn carry_out(&mut self, command: Command) {
        self.rest.commands += 1;
        self.rest.nodes_removed += command.set.len() as u64;
        for at in &command.set {
            let moved: i64 = self.hosts[*at].pods.iter().sum();
            self.rest.pods_moved += u64::try_from(moved).unwrap_or(0);
            self.hosts[*at].is_there = false;
        }
        for (at, g, copies) in command.moves {
            let request = &self.numbers.groups[g].request;
            let host = &mut self.hosts[at];
            host.pods[g] += copies;
            host.free.iter_mut().zip(request).for_each(|(free, takes)| *free -= takes * copies);
        }
        if let Some((o, pods)) = command.launch {
            let offering = &self.numbers.offerings[o];
            let mut free = offering.capacity.clone();
            for (count, group) in pods.iter().zip(&self.numbers.groups) {
                free.iter_mut().zip(&group.request).for_each(|(free, takes)| *free -= takes * count);
            }
            self.rest.nodes_launched += 1;
            let groups = self.numbers.classes[offering.class].iter().copied().collect();
            let price = offering.price.0;
            self.hosts.push(Host {
                price,
                free,
                pods,
                groups,
                may_go: true,
                is_there: true,
                name: None,
                offering: Some(o),
                own: vec![Vec::new(); self.numbers.groups.len()],
            });
        }
    }
}

/// A set of nodes that goes, where its pods go, and what is launched for the others.
struct Command {
    set: Vec<usize>,
    moves: Vec<(usize, usize, i64)>,
    launch: Option<(usize, Vec<i64>)>,
}

/// Copies of a request that fit.
fn copies(request: &[i64], room: &[i64]) -> i64 {
    let each = request.iter().zip(room).filter(|(takes, _)| **takes > 0).map(|(takes, room)| room / takes);
    each.min().unwrap_or(0).max(0)
}
