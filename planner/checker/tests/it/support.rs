//! A naive maker of small plans that are right, bound and all. Written without a look at the referee's code.

mod between;

use crate::naive;
use std::collections::{BTreeMap, BTreeSet};
use stowage_checker::{Finding, check, effective_request, tolerates};
use stowage_models::catalog::{Catalog, InstanceType, Price};
use stowage_models::labels;
use stowage_models::objects::{
    Container, DaemonSet, Ec2NodeClass, Node, NodePool, Owner, Pod, PodPhase, PodRef, PodSpec, PodVolume,
    Taint, TaintEffect, Toleration,
};
use stowage_models::plan::*;
use stowage_models::quantity::{CPU, Resources};
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

pub(crate) const MIB: i64 = 1 << 20;
pub(crate) const GIB: i64 = 1 << 30;

/// A snapshot, a catalogue and a plan for them.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) snapshot: Snapshot,
    pub(crate) catalog: Catalog,
    pub(crate) plan: Plan,
}

impl Case {
    pub(crate) fn new(snapshot: Snapshot, rule: Rule) -> Case {
        let catalog = small_catalog();
        let plan = make_plan(&snapshot, &catalog, rule);
        Case { snapshot, catalog, plan }
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        check(&self.snapshot, &self.catalog, &self.plan)
    }

    /// The codes found after the plan got a fresh id.
    pub(crate) fn codes(&mut self) -> BTreeSet<&'static str> {
        self.plan.id = self.plan.compute_id();
        self.findings().into_iter().map(|finding| finding.code).collect()
    }
}

/// Four types of the embedded catalogue in two zones: small enough to read.
pub(crate) fn small_catalog() -> Catalog {
    let mut catalog = Catalog::embedded().clone();
    catalog
        .types
        .retain(|one| ["c5.large", "m5.large", "m5.xlarge", "r5.large"].contains(&one.name.as_str()));
    for one in &mut catalog.types {
        one.zones.retain(|zone| zone.zone == "us-east-1a" || zone.zone == "us-east-1b");
    }
    catalog
}

pub(crate) fn labels_of(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn container(cpu: i64, memory: i64) -> Container {
    Container { requests: Resources::from([("cpu", cpu), ("memory", memory)]), ..Container::default() }
}

pub(crate) fn pod(name: &str, cpu: i64, memory: i64) -> Pod {
    let spec = PodSpec { containers: vec![container(cpu, memory)], ..PodSpec::default() };
    Pod { namespace: "shop".into(), name: name.into(), spec, ..Pod::default() }
}

pub(crate) fn pool(name: &str, weight: i32) -> NodePool {
    NodePool { name: name.into(), weight, node_class: "default".into(), ..NodePool::default() }
}

pub(crate) fn node(name: &str, pool: Option<&str>) -> Node {
    let mut node = Node { name: name.into(), ready: true, ..Node::default() };
    node.labels = labels_of(&[
        (labels::HOSTNAME, name),
        (labels::INSTANCE_TYPE, "m5.large"),
        (labels::ZONE, "us-east-1a"),
        (labels::CAPACITY_TYPE, "on-demand"),
    ]);
    node.labels.extend(pool.map(|pool| (labels::NODEPOOL.to_owned(), pool.to_owned())));
    node.capacity = Resources::from([("cpu", 2000), ("memory", 8 * GIB), ("pods", 29)]);
    node.allocatable = Resources::from([("cpu", 1930), ("memory", 7 * GIB), ("pods", 29)]);
    node
}

pub(crate) fn daemon_set(name: &str, cpu: i64) -> DaemonSet {
    let spec = PodSpec { containers: vec![container(cpu, 64 * MIB)], ..PodSpec::default() };
    DaemonSet { namespace: "kube-system".into(), name: name.into(), spec, ..DaemonSet::default() }
}

/// One pool, one DaemonSet, two groups.
pub(crate) fn simple_snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        taken_at: Some("2026-08-20T10:00:00Z".into()),
        origin: "made by hand".into(),
        node_pools: vec![pool("general", 0)],
        node_classes: vec![Ec2NodeClass { name: "default".into(), ..Ec2NodeClass::default() }],
        daemon_sets: vec![daemon_set("logs", 50)],
        ..Snapshot::default()
    };
    for index in 0..5 {
        snapshot.pods.push(pod(&format!("web-{index}"), 700, 900 * MIB));
    }
    for index in 0..3 {
        snapshot.pods.push(pod(&format!("cache-{index}"), 300, 4 * GIB));
    }
    snapshot.normalise();
    snapshot
}

/// Two weights, limits, taints, open labels, existing nodes with and without room, and pods left out for each reason.
pub(crate) fn rich_snapshot() -> Snapshot {
    let mut snapshot = simple_snapshot();
    let mut first = pool("first", 10);
    first.limits = Resources::from([("cpu", 14_000), ("nodes", 4)]);
    first.taints = vec![Taint { key: "team".into(), value: "a".into(), effect: TaintEffect::NoSchedule }];
    first.requirements = vec![Requirement::new("example.com/team", Operator::In, &["a", "b"])];
    let mut gold = pool("gold", 5);
    gold.limits = Resources::from([("memory", 16 * GIB)]);
    gold.requirements = vec![
        Requirement::new("example.com/gold", Operator::Exists, &[]),
        Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand"]),
    ];
    snapshot.node_pools.extend([first, gold]);
    snapshot.nodes.extend([node("old-1", Some("first")), node("old-2", None), node("shut", None)]);
    snapshot.nodes[2].unschedulable = true;
    let toleration = Toleration { key: "team".into(), operator: "Exists".into(), ..Toleration::default() };
    for index in 0..9 {
        let mut one = pod(&format!("team-{index}"), 800, GIB);
        one.spec.tolerations = vec![toleration.clone()];
        let team = if index % 2 == 0 { "a" } else { "b" };
        one.spec.node_selector = labels_of(&[("example.com/team", team)]);
        snapshot.pods.push(one);
    }
    for index in 0..4 {
        let mut one = pod(&format!("auric-{index}"), 1500, 6 * GIB);
        one.spec.node_selector = labels_of(&[("example.com/gold", "yes")]);
        snapshot.pods.push(one);
    }
    let mut flexible = pod("flexible-0", 1000, GIB);
    flexible.spec.tolerations = vec![toleration];
    let mut picky = pod("picky-0", 100, GIB);
    picky.spec.node_selector = labels_of(&[(labels::ARCH, "s390x")]);
    let mut port = pod("port-0", 100, GIB);
    port.spec.volumes = vec![PodVolume::Other("awsElasticBlockStore".into())];
    snapshot.pods.extend([flexible, picky, port]);
    let mut running = pod("running-0", 400, GIB);
    running.node = Some("old-1".into());
    running.phase = PodPhase::Running;
    let mut logs = pod("logs-x", 50, 64 * MIB);
    logs.namespace = "kube-system".into();
    logs.node = Some("old-1".into());
    logs.owner = Some(Owner { kind: "DaemonSet".into(), name: "logs".into() });
    snapshot.pods.extend([running, logs]);
    snapshot.normalise();
    snapshot
}

/// How the maker proves its bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A price of cpu that no offering beats, and pods at that price.
    Cpu,
    /// No price of resources; every pod worth the cheapest node over all it could hold.
    Zero,
}

struct Offer<'a> {
    pool: &'a NodePool,
    instance: &'a InstanceType,
    zone: String,
    capacity_type: &'static str,
    variant: Labels,
    price: Price,
    labels: Labels,
    capacity: Resources,
    allocatable: Resources,
    daemon_sets: Resources,
    /// What is left; `None` if DaemonSets do not fit.
    room: Option<Resources>,
}

struct Group {
    labels: Labels,
    spec: PodSpec,
    request: Resources,
    pods: Vec<PodRef>,
    placed: u64,
    /// Lowest weight of a pool one of its pods went to.
    weight: Option<i32>,
}

fn admits(spec: &PodSpec, labels: &Labels, taints: &[Taint]) -> bool {
    let terms = spec.affinity.node_required.as_ref();
    spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && terms.is_none_or(|terms| {
            terms.iter().any(|term| {
                !term.match_expressions.is_empty()
                    && term.match_expressions.iter().all(|one| one.matches(labels))
            })
        })
        && taints.iter().all(|taint| tolerates(&spec.tolerations, taint))
}

fn shrink(amounts: &Resources, slack: Ppm) -> Resources {
    let mut amounts = amounts.clone();
    for name in ["cpu", "memory"] {
        let exact = i128::from(amounts.get(name)) * i128::from(1_000_000 - slack.0) / 1_000_000;
        amounts.set(name, i64::try_from(exact).unwrap());
    }
    amounts
}

fn daemons(snapshot: &Snapshot, labels: &Labels, taints: &[Taint]) -> Resources {
    let mut total = Resources::default();
    for set in snapshot.daemon_sets.iter().filter(|set| admits(&set.spec, labels, taints)) {
        total.add(&effective_request(&set.spec));
    }
    total
}

/// Only for pools whose open keys are `In` requirements, or satisfied by what pods select.
fn variants(snapshot: &Snapshot, pool: &NodePool) -> Vec<Labels> {
    let mut variants = vec![Labels::new()];
    let open = pool.requirements.iter().filter(|one| !labels::OFFERING_KEYS.contains(&one.key.as_str()));
    for requirement in open.filter(|one| !pool.labels.contains_key(&one.key)) {
        let mut values: BTreeSet<String> = requirement.values.iter().cloned().collect();
        values.extend(
            snapshot.pods.iter().filter_map(|pod| pod.spec.node_selector.get(&requirement.key).cloned()),
        );
        let with = |set: &Labels, value: &String| {
            let mut set = set.clone();
            set.insert(requirement.key.clone(), value.clone());
            set
        };
        variants = variants.iter().flat_map(|set| values.iter().map(move |value| with(set, value))).collect();
    }
    variants
}

fn offers<'a>(snapshot: &'a Snapshot, catalog: &'a Catalog, slack: Ppm) -> Vec<Offer<'a>> {
    let mut offers = Vec::new();
    for pool in snapshot.node_pools.iter().filter(|pool| pool.replicas.is_none() && !pool.deleting) {
        let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
        let class = class.cloned().unwrap_or_default();
        for instance in &catalog.types {
            for zone in &instance.zones {
                for capacity_type in ["on-demand", "spot"] {
                    for variant in variants(snapshot, pool) {
                        let Some(price) = instance.price(&zone.zone, capacity_type) else {
                            continue;
                        };
                        let mut set = instance.labels();
                        set.extend(labels_of(&[
                            (labels::ZONE, &zone.zone),
                            (labels::ZONE_ID, &zone.zone_id),
                            (labels::REGION, &catalog.region),
                            (labels::CAPACITY_TYPE, capacity_type),
                            (labels::NODEPOOL, &pool.name),
                            (labels::EC2_NODE_CLASS, &pool.node_class),
                        ]));
                        set.extend(variant.clone());
                        if !pool.requirements.iter().all(|one| one.matches(&set)) {
                            continue;
                        }
                        let allocatable = instance.allocatable(&snapshot.settings, &class);
                        let daemon_sets = daemons(snapshot, &set, &pool.taints);
                        let mut room = shrink(&allocatable, slack);
                        room.sub(&daemon_sets);
                        let room = room.0.values().all(|left| *left >= 0).then_some(room);
                        offers.push(Offer {
                            pool,
                            instance,
                            zone: zone.zone.clone(),
                            capacity_type,
                            variant,
                            price,
                            labels: set,
                            capacity: instance.capacity(&snapshot.settings, &class),
                            allocatable,
                            daemon_sets,
                            room,
                        });
                    }
                }
            }
        }
    }
    offers
}

/// Pods with their groups.
type Placed = Vec<(usize, PodRef)>;

struct Maker<'a> {
    snapshot: &'a Snapshot,
    offers: Vec<Offer<'a>>,
    groups: Vec<Group>,
    unsupported: Vec<PodRef>,
    /// By node: what it has left, `None` if it takes nothing.
    free: BTreeMap<&'a str, Resources>,
    start: BTreeMap<&'a str, Resources>,
    on_node: BTreeMap<&'a str, Placed>,
    launches: Vec<(usize, Resources, Placed)>,
    left_out: BTreeMap<UnplacedReason, Vec<PodRef>>,
    limited: BTreeSet<usize>,
}

/// A right plan for a small problem.
pub(crate) fn make_plan(snapshot: &Snapshot, catalog: &Catalog, rule: Rule) -> Plan {
    // The maker does not look at preferences.
    let policy = Policy { preferences: None, ..Policy::default() };
    let mut maker = Maker {
        snapshot,
        offers: offers(snapshot, catalog, policy.slack),
        groups: Vec::new(),
        unsupported: Vec::new(),
        free: BTreeMap::new(),
        start: BTreeMap::new(),
        on_node: BTreeMap::new(),
        launches: Vec::new(),
        left_out: BTreeMap::new(),
        limited: BTreeSet::new(),
    };
    maker.sort_pods();
    maker.measure_nodes(policy.slack);
    maker.place();
    maker.write(catalog, policy, rule)
}

impl Maker<'_> {
    fn sort_pods(&mut self) {
        let mut pods: Vec<&Pod> = self.snapshot.pods.iter().filter(|pod| pod.is_pending()).collect();
        pods.sort_by_key(|pod| pod.id());
        for pod in pods {
            let spec = &pod.spec;
            if !spec.volumes.is_empty() {
                self.unsupported.push(pod.id());
                continue;
            }
            let marks = |labels: &Labels| naive::marks(self.snapshot, labels);
            let same = |group: &&mut Group| group.spec == *spec && marks(&group.labels) == marks(&pod.labels);
            match self.groups.iter_mut().find(same) {
                Some(group) => group.pods.push(pod.id()),
                None => self.groups.push(Group {
                    labels: pod.labels.clone(),
                    spec: spec.clone(),
                    request: effective_request(spec),
                    pods: vec![pod.id()],
                    placed: 0,
                    weight: None,
                }),
            }
        }
    }

    fn measure_nodes(&mut self, slack: Ppm) {
        for node in self.snapshot.nodes.iter().filter(|node| node.ready && !node.unschedulable) {
            let mut free = shrink(&node.allocatable, slack);
            for pod in self.snapshot.pods.iter().filter(|pod| pod.node.as_deref() == Some(&node.name)) {
                free.sub(&effective_request(&pod.spec));
            }
            let carried = |set: &DaemonSet| {
                self.snapshot.pods.iter().any(|pod| {
                    pod.node.as_deref() == Some(&node.name)
                        && pod.owner.as_ref().is_some_and(|owner| owner.name == set.name)
                })
            };
            for set in self.snapshot.daemon_sets.iter().filter(|set| !carried(set)) {
                free.sub(&effective_request(&set.spec));
            }
            self.start.insert(&node.name, free.clone());
            self.free.insert(&node.name, free);
        }
    }

    fn offer_takes(&self, offer: &Offer<'_>, group: usize) -> bool {
        let group = &self.groups[group];
        admits(&group.spec, &offer.labels, &offer.pool.taints)
            && offer.room.as_ref().is_some_and(|room| group.request.fits(room))
    }

    fn node_takes(&self, node: &Node, free: &Resources, group: usize) -> bool {
        let group = &self.groups[group];
        admits(&group.spec, &node.labels, &node.taints) && group.request.fits(free)
    }

    fn used(&self, pool: &NodePool, resource: &str) -> i64 {
        let amount = |capacity: &Resources| {
            if resource == "nodes" { 1 } else { capacity.get(resource) }
        };
        let nodes = self.snapshot.nodes.iter().filter(|node| node.nodepool() == Some(&pool.name));
        nodes.map(|node| amount(&node.capacity)).sum()
    }

    fn fits_limits(&self, offer: &Offer<'_>) -> bool {
        let amount = |offer: &Offer<'_>, resource: &str| {
            if resource == "nodes" { 1 } else { offer.capacity.get(resource) }
        };
        offer.pool.limits.0.iter().all(|(resource, limit)| {
            let launched = self.launches.iter().map(|(index, ..)| &self.offers[*index]);
            let launched = launched.filter(|other| other.pool.name == offer.pool.name);
            let launched: i64 = launched.map(|other| amount(other, resource)).sum();
            self.used(offer.pool, resource) + launched + amount(offer, resource) <= *limit
        })
    }

    fn place(&mut self) {
        for group in 0..self.groups.len() {
            for pod in self.groups[group].pods.clone() {
                if self.place_one(group, &pod) {
                    continue;
                }
                if naive::is_constrained(self.snapshot, &self.groups[group].labels, &self.groups[group].spec)
                {
                    self.left_out.entry(UnplacedReason::Constraint).or_default().push(pod);
                } else {
                    let fits = self.offers.iter().any(|offer| self.offer_takes(offer, group))
                        || self.snapshot.nodes.iter().any(|node| {
                            self.start
                                .get(node.name.as_str())
                                .is_some_and(|free| self.node_takes(node, free, group))
                        });
                    let reason = if fits { UnplacedReason::Limits } else { UnplacedReason::NoFit };
                    self.limited.extend(fits.then_some(group));
                    self.left_out.entry(reason).or_default().push(pod);
                }
            }
        }
    }

    fn place_one(&mut self, group: usize, pod: &PodRef) -> bool {
        let request = self.groups[group].request.clone();
        for node in &self.snapshot.nodes {
            let Some(free) = self.free.get(node.name.as_str()) else {
                continue;
            };
            if self.node_takes(node, free, group) && self.allows(group, naive::Spot::of(node)) {
                self.free.get_mut(node.name.as_str()).unwrap().sub(&request);
                self.on_node.entry(&node.name).or_default().push((group, pod.clone()));
                self.groups[group].placed += 1;
                return true;
            }
        }
        let mut weights: Vec<i32> = self.snapshot.node_pools.iter().map(|pool| pool.weight).collect();
        weights.sort_by_key(|weight| std::cmp::Reverse(*weight));
        for weight in weights {
            let open = (0..self.launches.len()).find(|index| {
                let offer = &self.offers[self.launches[*index].0];
                offer.pool.weight == weight
                    && self.offer_takes(offer, group)
                    && request.fits(&self.launches[*index].1)
                    && self.allows(group, naive::Spot::new(&offer.zone, *index))
            });
            let fresh = || {
                let usable = (0..self.offers.len()).filter(|index| {
                    let offer = &self.offers[*index];
                    offer.pool.weight == weight
                        && self.offer_takes(offer, group)
                        && self.fits_limits(offer)
                        && self.allows(group, naive::Spot::new(&offer.zone, self.launches.len()))
                });
                usable.min_by_key(|index| {
                    let offer = &self.offers[*index];
                    (offer.price.usd.0 * 1_000_000 / offer.room.as_ref().unwrap().get(CPU), *index)
                })
            };
            let index = match open {
                Some(index) => index,
                None => match fresh() {
                    Some(offer) => {
                        self.launches.push((offer, self.offers[offer].room.clone().unwrap(), Vec::new()));
                        self.launches.len() - 1
                    }
                    None => continue,
                },
            };
            self.launches[index].1.sub(&request);
            self.launches[index].2.push((group, pod.clone()));
            let group = &mut self.groups[group];
            group.placed += 1;
            group.weight = Some(group.weight.map_or(weight, |least| least.min(weight)));
            return true;
        }
        false
    }

    fn requested(&self, pods: &[(usize, PodRef)]) -> Resources {
        let mut total = Resources::default();
        for (group, _) in pods {
            total.add(&self.groups[*group].request);
        }
        total
    }

    fn alternates(&self, chosen: usize, requested: &Resources, groups: &BTreeSet<usize>) -> Vec<Alternate> {
        let launch = &self.offers[chosen];
        let constrained = naive::any(self.snapshot);
        let holds = |offer: &Offer<'_>| {
            (!constrained || offer.zone == launch.zone)
                && groups.iter().all(|group| self.offer_takes(offer, *group))
                && offer.room.as_ref().is_some_and(|room| requested.fits(room))
        };
        let others =
            self.offers.iter().enumerate().filter(|(index, _)| *index != chosen).map(|(_, offer)| offer);
        let mut alternates: Vec<Alternate> = others
            .filter(|offer| {
                offer.pool.name == launch.pool.name && offer.variant == launch.variant && holds(offer)
            })
            .map(|offer| Alternate {
                instance_type: offer.instance.name.clone(),
                zone: offer.zone.clone(),
                capacity_type: offer.capacity_type.into(),
                price: offer.price.usd,
            })
            .collect();
        let key = |one: &Alternate| {
            (one.price, one.instance_type.clone(), one.zone.clone(), one.capacity_type.clone())
        };
        alternates.sort_by_key(key);
        alternates.truncate(ALTERNATES_MAX);
        alternates
    }

    fn launch(&self, index: usize) -> Launch {
        let (chosen, _, pods) = &self.launches[index];
        let offer = &self.offers[*chosen];
        let requested = self.requested(pods);
        let groups = pods.iter().map(|(group, _)| *group).collect();
        let mut names: Vec<PodRef> = pods.iter().map(|(_, pod)| pod.clone()).collect();
        names.sort();
        Launch {
            slot: format!("new-{:04}", index + 1),
            node_pool: offer.pool.name.clone(),
            instance_type: offer.instance.name.clone(),
            zone: offer.zone.clone(),
            capacity_type: offer.capacity_type.into(),
            labels: offer.variant.clone(),
            price: offer.price.usd,
            list_price: None,
            price_estimated: offer.price.estimated,
            allocatable: offer.allocatable.clone(),
            daemon_sets: offer.daemon_sets.clone(),
            alternates: self.alternates(*chosen, &requested, &groups),
            requested,
            pods: names,
        }
    }

    fn existing(&self, catalog: &Catalog, node: &Node) -> ExistingNode {
        let label = |key: &str| node.labels.get(key).cloned();
        let mut running = Resources::default();
        for pod in self.snapshot.pods.iter().filter(|pod| pod.node.as_deref() == Some(&node.name)) {
            running.add(&effective_request(&pod.spec));
        }
        let pods = self.on_node.get(node.name.as_str()).cloned().unwrap_or_default();
        let mut names: Vec<PodRef> = pods.iter().map(|(_, pod)| pod.clone()).collect();
        names.sort();
        let price = catalog.get(&label(labels::INSTANCE_TYPE).unwrap()).unwrap();
        ExistingNode {
            name: node.name.clone(),
            node_pool: label(labels::NODEPOOL),
            instance_type: label(labels::INSTANCE_TYPE),
            zone: label(labels::ZONE),
            capacity_type: label(labels::CAPACITY_TYPE),
            price: price.price(&label(labels::ZONE).unwrap(), "on-demand").map(|price| price.usd),
            allocatable: node.allocatable.clone(),
            running,
            requested: self.requested(&pods),
            pods: names,
        }
    }

    /// The certificate and its bound, both by the rule.
    fn prove(&self, rule: Rule, weighted: bool) -> (Certificate, i64) {
        let mut rows = self.rows(weighted);
        let holding = || self.offers.iter().filter(|offer| offer.room.is_some());
        let per_cpu = |offers: Vec<&Offer<'_>>| {
            let price =
                |offer: &&Offer<'_>| (offer.price.usd.0 << 20) / offer.room.as_ref().unwrap().get(CPU);
            offers.iter().map(price).min().unwrap_or(0)
        };
        let any = per_cpu(holding().collect());
        let on_demand = per_cpu(holding().filter(|offer| offer.capacity_type == "on-demand").collect());
        let copies = |request: &Resources, room: &Resources, placed: u64| {
            let each = request.0.iter().map(|(name, need)| room.get(name) / need);
            each.min().unwrap_or(0).min(i64::try_from(placed).unwrap())
        };
        let most: i64 = holding()
            .map(|offer| {
                let copies = |(group, row): &(usize, Row)| {
                    copies(&self.groups[*group].request, offer.room.as_ref().unwrap(), row.pods)
                };
                rows.iter().map(copies).sum()
            })
            .max()
            .unwrap_or(0);
        let least = holding().map(|offer| offer.price.usd.0).min().unwrap_or(0);
        let mut certificate =
            Certificate { resources: vec!["cpu".into(), "memory".into()], ..Certificate::default() };
        for (group, row) in &mut rows {
            row.multiplier = match rule {
                Rule::Cpu => any * self.groups[*group].request.get(CPU),
                Rule::Zero => (least << 20) / most.max(1),
            };
        }
        let second = rule == Rule::Cpu && on_demand > any;
        certificate.vectors = match rule {
            Rule::Cpu => vec![vec![any, 0], vec![on_demand, 0]],
            Rule::Zero => vec![vec![0, 0]],
        };
        certificate.vectors.truncate(if second { 2 } else { 1 });
        // One run per offering or more: both spellings are allowed.
        let index = |offer: &Offer<'_>| {
            if second && offer.capacity_type == "on-demand" { "1" } else { "0*1" }
        };
        certificate.offering_vectors = self.offers.iter().map(index).collect::<Vec<_>>().join(",");
        let mut total: i128 =
            rows.iter().map(|(_, row)| i128::from(row.multiplier) * i128::from(row.pods)).sum();
        for node in &self.snapshot.nodes {
            let Some(free) = self.start.get(node.name.as_str()) else {
                continue;
            };
            let takes = |group: usize| self.node_takes(node, free, group);
            let items: Vec<_> = rows.iter().filter(|(group, row)| row.pods > 0 && takes(*group)).collect();
            let zero = |(group, row): &&(usize, Row)| {
                i128::from(row.multiplier) * i128::from(copies(&self.groups[*group].request, free, row.pods))
            };
            let zero: i128 = items.iter().map(zero).sum();
            let by_cpu = i128::from(any) * i128::from(free.get(CPU));
            if items.is_empty() {
                continue;
            }
            let value = if rule == Rule::Cpu { by_cpu } else { zero };
            let (node, value) = (node.name.clone(), i64::try_from(value).unwrap_or(i64::MAX));
            certificate.node_vectors.push(NodeVector { node, vector: 0, value });
            total -= i128::from(value);
        }
        for pool in &self.snapshot.node_pools {
            for (resource, limit) in &pool.limits.0 {
                let node_pool = pool.name.clone();
                certificate.limits.push(LimitMultiplier {
                    node_pool,
                    resource: resource.clone(),
                    multiplier: 9,
                });
                let unit = 1_i128 << unit_bits(resource);
                let left = i128::from((limit - self.used(pool, resource)).max(0));
                // Whole units in these tests, so that nothing is lost.
                assert_eq!(left % unit, 0, "limits of test pools are whole units");
                total -= 9 * left / unit;
            }
        }
        certificate.rows = rows.into_iter().map(|(_, row)| row).collect();
        let bound = (total + (1 << 20) - 1).div_euclid(1 << 20).max(0);
        (certificate, i64::try_from(bound).unwrap())
    }

    fn unplaced(&self) -> Vec<Unplaced> {
        let mut reasons = self.left_out.clone();
        if !self.unsupported.is_empty() {
            reasons.insert(UnplacedReason::Unsupported, self.unsupported.clone());
        }
        let entry = |(reason, mut pods): (UnplacedReason, Vec<PodRef>)| {
            pods.sort();
            Unplaced {
                reason,
                message: "because".into(),
                hint: String::new(),
                nearest: None,
                blocking: Vec::new(),
                pods,
            }
        };
        reasons.into_iter().map(entry).collect()
    }

    fn write(&self, catalog: &Catalog, policy: Policy, rule: Rule) -> Plan {
        let (certificate, bound) = self.prove(rule, true);
        let weights: BTreeSet<i32> = self.snapshot.node_pools.iter().map(|pool| pool.weight).collect();
        let without = (weights.len() > 1).then(|| self.prove(rule, false));
        let mut plan = Plan {
            kind: KIND.into(),
            format_version: FORMAT_VERSION.into(),
            planner: "naive".into(),
            snapshot: SnapshotRef {
                digest: self.snapshot.digest(),
                taken_at: self.snapshot.taken_at.clone(),
                origin: self.snapshot.origin.clone(),
            },
            catalog: CatalogRef {
                digest: catalog.digest(),
                region: catalog.region.clone(),
                on_demand_as_of: catalog.on_demand_as_of.clone(),
                spot_as_of: catalog.spot_as_of.clone(),
            },
            policy,
            launches: (0..self.launches.len()).map(|index| self.launch(index)).collect(),
            existing: self.snapshot.nodes.iter().map(|node| self.existing(catalog, node)).collect(),
            unplaced: self.unplaced(),
            certificate,
            ..Plan::default()
        };
        plan.summary.groups = self.groups.iter().filter(|group| group.placed > 0).count() as u64;
        plan.summary.offerings = self.offers.len() as u64;
        plan.summary.launch_bound = UsdMicros(bound);
        plan.summary.launch_bound_without_weights = without.as_ref().map(|(_, bound)| UsdMicros(*bound));
        plan.certificate_without_weights = without.map(|(certificate, _)| certificate);
        restate(&mut plan);
        plan
    }
}

/// Recomputes the figures that follow from the lists of the plan, and the id.
pub(crate) fn restate(plan: &mut Plan) {
    let summary = &mut plan.summary;
    summary.pods_on_existing = plan.existing.iter().map(|node| node.pods.len() as u64).sum();
    summary.pods_on_new = plan.launches.iter().map(|launch| launch.pods.len() as u64).sum();
    summary.pods_unplaced = plan.unplaced.iter().map(|entry| entry.pods.len() as u64).sum();
    summary.pods_pending = summary.pods_on_existing + summary.pods_on_new + summary.pods_unplaced;
    summary.nodes_before = plan.existing.len() as u64;
    summary.nodes_launched = plan.launches.len() as u64;
    summary.nodes_unpriced = plan.existing.iter().filter(|node| node.price.is_none()).count() as u64;
    summary.cost_before = plan.existing.iter().filter_map(|node| node.price).sum();
    summary.launch_cost = plan.launches.iter().map(|launch| launch.price).sum();
    let estimated = plan.launches.iter().filter(|launch| launch.price_estimated);
    summary.estimated_cost = estimated.map(|launch| launch.price).sum();
    summary.gap = Ppm::gap(summary.launch_cost, summary.launch_bound);
    let point = |cost, bound| Progress { stage: "naive".into(), cost, bound };
    let start = point(UsdMicros(summary.launch_cost.0.saturating_add(1)), UsdMicros::ZERO);
    plan.progress = vec![start, point(summary.launch_cost, summary.launch_bound)];
    plan.id = plan.compute_id();
}
