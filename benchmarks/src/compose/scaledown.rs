//! `scaledown-*`: a fleet that grew with its pods and then lost 40 % of them, the moment consolidation is for.
//!
//! The fleet is the outcome of a history rather than a draw of nodes: over two weeks batches of pods arrive, take the
//! first nodes with room, and the rest gets new nodes of the cheapest kind that holds it at the spot prices of that day.
//! So types, sizes, zones and capacity types are mixed as they are where an autoscaler has run for a while, and nodes are
//! as full as first fit leaves them. Then the pods to go are drawn evenly. Nothing waits: a plan for it is empty.

use super::mixed;
use super::parts::{
    Machine, NodePlan, PodMaker, Workload, ZONES, daemon_sets, label_map, node_class, plain_requests, pool,
    taint, tolerates, toleration,
};
use super::sizes;
use std::collections::BTreeMap;
use stowage_models::catalog::{Catalog, InstanceType};
use stowage_models::labels;
use stowage_models::objects::{
    Budget, DaemonSet, Namespace, Node, NodeClaim, NodePool, Pod, PodDisruptionBudget, PodPhase, PodSpec,
    TopologySpread,
};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// How large the fleet is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    nodes: usize,
    workloads: usize,
}

impl Fleet {
    /// So many nodes, grown by the pods of so many workloads.
    pub(super) const fn new(nodes: usize, workloads: usize) -> Fleet {
        Fleet { nodes, workloads }
    }
}

/// `scaledown-30`.
pub(super) const NODES_30: Fleet = Fleet::new(30, 30);
/// `scaledown-100`.
pub(super) const NODES_100: Fleet = Fleet::new(100, 60);
/// `scaledown-1k`.
pub(super) const NODES_1K: Fleet = Fleet::new(1_000, 240);
/// `scaledown-5k`.
pub(super) const NODES_5K: Fleet = Fleet::new(5_000, 600);

/// Of a hundred pods so many are gone at the end.
const GONE_PERCENT: usize = 40;
/// Length of the history; the snapshot is taken at its end.
const HISTORY_MINUTES: usize = 14 * 24 * 60;
/// First day of the history, in August 2026.
const FIRST_DAY: usize = 17;

/// Families the autoscaler chose from, with the on-demand price of a vCPU in micro-dollars an hour at that time (us-east-1,
/// 2026-07). Written here and not read from the catalogue: what was paid then does not change with its prices.
const FAMILIES: [(&str, i64); 12] = [
    ("c5", 42_500),
    ("c6a", 38_250),
    ("c6i", 42_500),
    ("c7g", 36_250),
    ("m5", 48_000),
    ("m6a", 43_200),
    ("m6i", 48_000),
    ("m7g", 40_800),
    ("r5", 63_000),
    ("r6a", 56_700),
    ("r6i", 63_000),
    ("r7g", 53_550),
];
const SIZES: [&str; 3] = ["xlarge", "2xlarge", "4xlarge"];

/// Amounts of cpu, memory and pods: all that these pods request.
type Amounts = [i64; 3];

fn amounts(resources: &Resources) -> Amounts {
    [resources.get(CPU), resources.get(MEMORY), resources.get(PODS)]
}

fn plus(left: Amounts, right: Amounts) -> Amounts {
    std::array::from_fn(|index| left[index] + right[index])
}

fn fits(request: Amounts, room: Amounts) -> bool {
    (0..3).all(|index| request[index] <= room[index])
}

/// Composes the snapshot.
pub(super) fn compose(seed: u64, fleet: &Fleet) -> Snapshot {
    let mut rng = Random::new(seed);
    let mut maker = PodMaker::new(rng.fork());
    let pools = pools();
    let daemon_sets = daemon_sets();
    let market = Market::new(&pools, &daemon_sets);
    let workloads = workloads(&mut rng.fork(), fleet.workloads, &market);
    let history = grow(fleet, market, &workloads, &mut rng.fork());
    let mut pods = replicas(&history, &workloads, &mut maker, &mut rng.fork());
    let budgets = disruption_budgets(&workloads, &pods);
    for launched in &history.nodes {
        for agent in daemon_sets.iter().filter(|agent| tolerates(&agent.spec, &launched.node.taints)) {
            let created = Some(launched.created.clone());
            pods.push(Pod { created, ..maker.agent(agent, &launched.node.name) });
        }
    }
    let mut namespaces: Vec<String> = pods.iter().map(|pod| pod.namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    Snapshot {
        node_claims: history.nodes.iter().map(Launched::claim).collect(),
        node_pools: pools,
        node_classes: vec![node_class()],
        nodes: history.nodes.into_iter().map(|launched| launched.node).collect(),
        pods,
        daemon_sets,
        pod_disruption_budgets: budgets,
        namespaces: namespaces
            .into_iter()
            .map(|name| Namespace { labels: label_map(&[("kubernetes.io/metadata.name", &name)]), name })
            .collect(),
        ..Snapshot::default()
    }
}

/// Pods by domain: of zones, of hostnames.
type Domains = [BTreeMap<String, i32>; 2];

/// The same where three apps in five are spread: by zone, or (one in five) by hostname, with the skew they have, so that every constraint
/// holds now.
pub(super) fn tied(seed: u64, fleet: &Fleet) -> Snapshot {
    let mut snapshot = compose(seed, fleet);
    let labels_of: BTreeMap<&str, &Labels> =
        snapshot.nodes.iter().map(|node| (node.name.as_str(), &node.labels)).collect();
    // By app and key: pods by domain.
    let mut counts: BTreeMap<String, Domains> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.is_owned_by("DaemonSet")) {
        let (Some(app), Some(node)) = (pod.labels.get("app"), pod.node.as_deref()) else { continue };
        let found = counts.entry(app.clone()).or_default();
        for (by_domain, key) in found.iter_mut().zip([labels::ZONE, labels::HOSTNAME]) {
            *by_domain.entry(labels_of[node][key].clone()).or_default() += 1;
        }
    }
    let spread_of = |index: usize, app: &String, [zones, hosts]: &Domains| {
        let most = |by_domain: &BTreeMap<String, i32>| by_domain.values().copied().max().unwrap_or(0);
        let least = if zones.len() < ZONES.len() { 0 } else { zones.values().copied().min().unwrap_or(0) };
        let (key, skew) = match index % 5 {
            0 | 2 => (labels::ZONE, most(zones) - least),
            4 => (labels::HOSTNAME, most(hosts)),
            _ => return None,
        };
        let spread = TopologySpread {
            max_skew: skew.max(1),
            topology_key: key.to_owned(),
            hard: true,
            label_selector: Some(LabelSelector {
                match_labels: label_map(&[("app", app)]),
                match_expressions: Vec::new(),
            }),
            honor_affinity: true,
            ..TopologySpread::default()
        };
        Some((app.clone(), spread))
    };
    let spreads: BTreeMap<String, TopologySpread> = counts
        .iter()
        .enumerate()
        .filter_map(|(index, (app, domains))| spread_of(index, app, domains))
        .collect();
    for pod in snapshot.pods.iter_mut().filter(|pod| !pod.is_owned_by("DaemonSet")) {
        pod.spec.topology_spread.extend(pod.labels.get("app").and_then(|app| spreads.get(app)).cloned());
    }
    snapshot
}

/// `general` (both architectures, spot and on-demand) and `critical` (amd64, on-demand, tainted), both of 4 to 16 vCPU:
/// people keep nodes small enough to lose one and large enough for its node agents.
fn pools() -> Vec<NodePool> {
    let sized = |mut pool: NodePool| {
        pool.requirements.push(Requirement::new("karpenter.k8s.aws/instance-cpu", Operator::Gt, &["3"]));
        pool.requirements.push(Requirement::new("karpenter.k8s.aws/instance-cpu", Operator::Lt, &["17"]));
        pool.budgets = vec![Budget { nodes: "10%".to_owned(), ..Budget::default() }];
        pool
    };
    let general = sized(pool("general", &["amd64", "arm64"], &["on-demand", "spot"]));
    let mut critical = sized(pool("critical", &["amd64"], &["on-demand"]));
    critical.labels = label_map(&[("tier", "critical")]);
    critical.taints = vec![taint("tier", "critical")];
    vec![general, critical]
}

/// Workloads of the kind of `mixed-*` of which some node holds eight pods, as it is where nodes were sized for their pods;
/// one in five is critical.
fn workloads(rng: &mut Random, count: usize, market: &Market) -> Vec<Workload> {
    const PODS_OF_A_NODE_MIN: i64 = 8;
    let mut made = mixed::workloads(rng, count + count / 2);
    for (index, workload) in made.iter_mut().enumerate() {
        if index % 5 == 1 {
            workload.spec.node_selector.insert("tier".to_owned(), "critical".to_owned());
            workload.spec.tolerations.push(toleration("tier", "critical"));
            workload.spec.priority = 10_000;
        }
    }
    let small = |workload: &Workload| {
        let eight = amounts(&plain_requests(&workload.spec)).map(|amount| amount * PODS_OF_A_NODE_MIN);
        market.offers.iter().any(|offer| offer.holds(workload) && fits(eight, offer.room))
    };
    made.retain(small);
    made.truncate(count);
    assert_eq!(made.len(), count, "half more than needed is enough");
    made
}

/// A kind of node the autoscaler could buy.
#[derive(Clone, Debug)]
struct Offer {
    plan: NodePlan,
    /// The node such a plan makes, for its labels and taints.
    node: Node,
    /// Room beside the node agents.
    room: Amounts,
    on_demand: i64,
    /// Today's price; `None` = not to be had.
    price: Option<i64>,
}

impl Offer {
    fn holds(&self, workload: &Workload) -> bool {
        runs_on(&workload.spec, &self.node) && fits(amounts(&plain_requests(&workload.spec)), self.room)
    }
}

/// Everything on offer, at prices that change from day to day.
#[derive(Debug)]
struct Market {
    offers: Vec<Offer>,
}

impl Market {
    fn new(pools: &[NodePool], daemon_sets: &[DaemonSet]) -> Market {
        let catalog = Catalog::embedded();
        let mut offers = Vec::new();
        for (family, vcpu_price) in FAMILIES {
            for size in SIZES {
                let kind = catalog.get(&format!("{family}.{size}")).expect("a current instance type");
                for (pool, zone) in
                    pools.iter().flat_map(|pool| (0..ZONES.len()).map(move |zone| (pool, zone)))
                {
                    for capacity_type in ["on-demand", "spot"] {
                        let plan = NodePlan {
                            number: 0,
                            machine: machine(kind),
                            zone,
                            capacity_type,
                            pool: Some(pool.clone()),
                        };
                        let node = plan.node();
                        if !pool.requirements.iter().all(|requirement| requirement.matches(&node.labels)) {
                            continue;
                        }
                        let mut room = node.allocatable.clone();
                        for agent in daemon_sets.iter().filter(|agent| tolerates(&agent.spec, &node.taints)) {
                            room.sub(&plain_requests(&agent.spec));
                        }
                        let on_demand = vcpu_price * i64::from(kind.vcpus);
                        offers.push(Offer { plan, node, room: amounts(&room), on_demand, price: None });
                    }
                }
            }
        }
        Market { offers }
    }

    /// Prices of a new day: spot costs 25 to 60 % of on-demand, and is sold out for one offer in four.
    fn open(&mut self, rng: &mut Random) {
        for offer in &mut self.offers {
            offer.price = match offer.plan.capacity_type {
                "spot" if rng.chance(25) => None,
                "spot" => Some(offer.on_demand * rng.between(25, 60) / 100),
                _ => Some(offer.on_demand),
            };
        }
    }
}

/// The hardware of a type; only facts that never change for it.
fn machine(kind: &'static InstanceType) -> Machine {
    Machine {
        name: &kind.name,
        arch: kind.arch.as_str(),
        vcpus: i64::from(kind.vcpus),
        memory_mib: i64::from(kind.memory_mib),
        pods: i64::from(kind.enis) * (i64::from(kind.ipv4_per_eni) - 1) + 2,
    }
}

/// Whether the scheduler could put a pod of this template on the node.
fn runs_on(spec: &PodSpec, node: &Node) -> bool {
    let affine = spec.affinity.node_required.as_ref().is_none_or(|terms| {
        terms.iter().any(|term| term.match_expressions.iter().all(|r| r.matches(&node.labels)))
    });
    affine
        && tolerates(spec, &node.taints)
        && spec.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
}

/// A node of the fleet.
#[derive(Debug)]
struct Launched {
    plan: NodePlan,
    node: Node,
    created: String,
    /// Which offer it was bought as.
    offer: usize,
    room: Amounts,
}

impl Launched {
    /// Its NodeClaim; `Consolidatable` since the minute of `consolidateAfter` has passed.
    fn claim(&self) -> NodeClaim {
        let mut claim = self.plan.claim().expect("the fleet belongs to NodePools");
        claim.conditions.push("Consolidatable".to_owned());
        claim.conditions.sort();
        claim
    }
}

/// What came of the arrivals.
#[derive(Debug)]
struct History {
    nodes: Vec<Launched>,
    /// Workload, node and time of every pod, in order of arrival.
    pods: Vec<(usize, usize, String)>,
}

/// RFC 3339 time of a minute of the history.
fn time(minute: usize) -> String {
    // The history starts at noon.
    let minute = minute + 12 * 60;
    format!("2026-08-{:02}T{:02}:{:02}:00Z", FIRST_DAY + minute / 1440, minute / 60 % 24, minute % 60)
}

/// Lets batches arrive until the fleet has its size.
fn grow(fleet: &Fleet, mut market: Market, workloads: &[Workload], rng: &mut Random) -> History {
    let requests: Vec<Amounts> = workloads.iter().map(|w| amounts(&plain_requests(&w.spec))).collect();
    let weights: Vec<(usize, u64)> = workloads
        .iter()
        .enumerate()
        .map(|(index, workload)| (index, sizes::replicas(&plain_requests(&workload.spec), rng)))
        .collect();
    let allowed: Vec<Vec<bool>> = workloads
        .iter()
        .map(|workload| market.offers.iter().map(|offer| offer.holds(workload)).collect())
        .collect();
    let mut history = History { nodes: Vec::new(), pods: Vec::new() };
    let mut day = None;
    while history.nodes.len() < fleet.nodes {
        let minute = HISTORY_MINUTES * history.nodes.len() / fleet.nodes;
        if day != Some(minute / 1440) {
            day = Some(minute / 1440);
            market.open(rng);
        }
        let mut waiting = Vec::new();
        for workload in batch(&weights, rng) {
            let first = history
                .nodes
                .iter_mut()
                .position(|node| allowed[workload][node.offer] && fits(requests[workload], node.room));
            match first {
                Some(node) => history.bind(workload, requests[workload], node, &time(minute)),
                None => waiting.push(workload),
            }
        }
        for (offer, workloads) in purchases(waiting, &market, &requests, &allowed) {
            if history.nodes.len() == fleet.nodes {
                break;
            }
            let node = history.launch(&market.offers[offer], offer, time(minute));
            for workload in workloads {
                history.bind(workload, requests[workload], node, &time(minute));
            }
        }
    }
    history
}

/// Pods that arrive together, by workload: one to three workloads scale out by a few replicas each.
fn batch(weights: &[(usize, u64)], rng: &mut Random) -> Vec<usize> {
    const REPLICAS: [(usize, u64); 7] = [(1, 20), (2, 22), (3, 18), (5, 16), (8, 12), (12, 8), (20, 4)];
    let mut arriving = Vec::new();
    for _ in 0..rng.between(1, 3) {
        let workload = rng.weighted(weights);
        arriving.extend(std::iter::repeat_n(workload, rng.weighted(&REPLICAS)));
    }
    arriving
}

/// Nodes to buy for the pods that wait, each with its pods: the largest first, each into the first purchase that some
/// offer can still hold with it, and for every purchase the cheapest such offer.
fn purchases(
    mut waiting: Vec<usize>,
    market: &Market,
    requests: &[Amounts],
    allowed: &[Vec<bool>],
) -> Vec<(usize, Vec<usize>)> {
    struct Purchase {
        pods: Vec<usize>,
        sum: Amounts,
        offers: Vec<usize>,
    }
    waiting.sort_by_key(|workload| (std::cmp::Reverse(requests[*workload]), *workload));
    let on_sale: Vec<usize> =
        (0..market.offers.len()).filter(|offer| market.offers[*offer].price.is_some()).collect();
    let mut open: Vec<Purchase> = Vec::new();
    for workload in waiting {
        let with = |purchase: &Purchase| -> Vec<usize> {
            let sum = plus(purchase.sum, requests[workload]);
            let holds = |offer: &usize| allowed[workload][*offer] && fits(sum, market.offers[*offer].room);
            purchase.offers.iter().copied().filter(holds).collect()
        };
        let mut candidates = open.iter().map(&with);
        let (index, offers) = match candidates.by_ref().enumerate().find(|(_, offers)| !offers.is_empty()) {
            Some(found) => found,
            None => {
                let fresh = Purchase { pods: Vec::new(), sum: [0; 3], offers: on_sale.clone() };
                let offers = with(&fresh);
                open.push(fresh);
                (open.len() - 1, offers)
            }
        };
        let purchase = &mut open[index];
        purchase.pods.push(workload);
        purchase.sum = plus(purchase.sum, requests[workload]);
        purchase.offers = offers;
    }
    open.into_iter()
        .map(|purchase| {
            let cheapest = purchase.offers.into_iter().min_by_key(|offer| market.offers[*offer].price);
            (cheapest.expect("on-demand is never sold out"), purchase.pods)
        })
        .collect()
}

impl History {
    /// Adds a node and returns its index.
    fn launch(&mut self, offer: &Offer, index: usize, created: String) -> usize {
        let number = u32::try_from(self.nodes.len()).expect("a fleet of thousands");
        let plan = NodePlan { number, ..offer.plan.clone() };
        let node = Node { created: Some(created.clone()), ..plan.node() };
        self.nodes.push(Launched { plan, node, created, offer: index, room: offer.room });
        self.nodes.len() - 1
    }

    fn bind(&mut self, workload: usize, request: Amounts, node: usize, at: &str) {
        let room = &mut self.nodes[node].room;
        *room = std::array::from_fn(|index| room[index] - request[index]);
        self.pods.push((workload, node, at.to_owned()));
    }
}

/// The pods that are left, running; one in a hundred must not be disrupted.
fn replicas(history: &History, workloads: &[Workload], maker: &mut PodMaker, rng: &mut Random) -> Vec<Pod> {
    let sets: Vec<String> = workloads.iter().map(|workload| maker.replica_set(workload)).collect();
    let mut kept: Vec<usize> = (0..history.pods.len()).collect();
    for _ in 0..history.pods.len() * GONE_PERCENT / 100 {
        let last = kept.len() as u64;
        kept.swap_remove(usize::try_from(rng.below(last)).expect("an index fits"));
    }
    kept.sort_unstable();
    kept.into_iter()
        .map(|index| {
            let (workload, node, created) = &history.pods[index];
            let mut pod = maker.replica(&workloads[*workload], &sets[*workload]);
            pod.phase = PodPhase::Running;
            pod.node = Some(history.nodes[*node].node.name.clone());
            pod.created = Some(created.clone());
            if rng.chance(1) {
                pod.annotations = label_map(&[(labels::DO_NOT_DISRUPT, "true")]);
            }
            pod
        })
        .collect()
}

/// A budget for every sixth workload with at least three pods: `minAvailable` 80 %, `maxUnavailable` 1 and, once in a
/// while, one that allows nothing.
fn disruption_budgets(workloads: &[Workload], pods: &[Pod]) -> Vec<PodDisruptionBudget> {
    let mut made = Vec::new();
    for (index, workload) in workloads.iter().enumerate().filter(|(index, _)| index % 6 == 2) {
        let labels = label_map(&[("app", &workload.name)]);
        let of_it = |pod: &&Pod| pod.namespace == workload.namespace && *pod.labels == labels;
        let count = i64::try_from(pods.iter().filter(of_it).count()).expect("a number of pods");
        if count < 3 {
            continue;
        }
        let (min_available, max_unavailable, allowed) = match index / 6 % 10 {
            0 | 2 | 5 | 8 => (Some("80%"), None, count - (count * 80 + 99) / 100),
            4 => (None, Some("0"), 0),
            _ => (None, Some("1"), 1),
        };
        made.push(PodDisruptionBudget {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            selector: Some(LabelSelector { match_labels: labels, match_expressions: Vec::new() }),
            min_available: min_available.map(str::to_owned),
            max_unavailable: max_unavailable.map(str::to_owned),
            disruptions_allowed: Some(allowed),
            ..PodDisruptionBudget::default()
        });
    }
    made
}
