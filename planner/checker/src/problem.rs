//! The problem a plan answers, derived from the snapshot with this crate's own code.

use crate::between::{self, Reach, Scene};
use crate::groups::{self, Group, Pending, Pods};
use crate::limits::{self, Limit};
use crate::matching::{Constraint, Rules};
use crate::nodes::{self, NodeBin};
use crate::offerings::{self, Kind, Offerings};
use crate::overlays::Overlaid;
use crate::request::effective_request;
use crate::splits::Split;
use crate::storage::Storage;
use crate::variants;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::labels::{CAPACITY_RESERVATION_ID, CAPACITY_RESERVATION_TYPE};
use stowage_models::objects::{CapacityReservation, Ec2NodeClass, NodePool, PodRef};
use stowage_models::plan::{MinValues, Plan, Preferences};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// The resources somebody asks for, sorted; amounts become vectors along it.
#[derive(Debug)]
pub(crate) struct Axis {
    pub(crate) names: Vec<String>,
}

impl Axis {
    /// Amounts in the order of the axis.
    pub(crate) fn project(&self, amounts: &Resources) -> Vec<i64> {
        self.names.iter().map(|name| amounts.get(name)).collect()
    }
}

/// `floor(x * (10^6 - slack) / 10^6)` for cpu and memory, `x` for the rest.
pub(crate) fn usable(name: &str, amount: i64, slack: i64) -> i128 {
    let whole = i128::from(Ppm::ONE);
    let amount = i128::from(amount);
    if name == CPU || name == MEMORY {
        (amount * (whole - i128::from(slack))).div_euclid(whole)
    } else {
        amount
    }
}

/// Whether one pod fits what is left.
pub(crate) fn fits(need: &[i64], room: &[i64]) -> bool {
    need.iter().zip(room).all(|(need, room)| need <= room)
}

/// A NodePool with what the plan needs of it.
#[derive(Debug)]
pub(crate) struct Pool<'a> {
    pub(crate) pool: &'a NodePool,
    /// Its EC2NodeClass; the default one if it names none that is known.
    pub(crate) class: Ec2NodeClass,
    /// Sorted.
    pub(crate) variants: Vec<Labels>,
    /// Sorted by resource.
    pub(crate) limits: Vec<Limit<'a>>,
    /// Capacity reservations it may launch into, with each variant; sorted by labels.
    pub(crate) reserved: Vec<Reserved<'a>>,
}

/// A capacity reservation of a pool and a variant.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    pub(crate) from: &'a CapacityReservation,
    /// Of the variant and of the reservation.
    pub(crate) labels: Labels,
}

impl Pool<'_> {
    /// The custom labels of a variant, or beyond the variants of a reservation.
    pub(crate) fn variant(&self, index: usize) -> &Labels {
        self.variants.get(index).unwrap_or_else(|| &self.reserved[index - self.variants.len()].labels)
    }

    /// Whether its subnets reach the zone.
    pub(crate) fn allows_zone(&self, zone: &str) -> bool {
        self.class.zones.is_empty() || self.class.zones.iter().any(|one| one == zone)
    }
}

/// What a policy makes count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Preferences have a price.
    pub(crate) preferences: bool,
    /// NodePools are used as far as they offer as many values as they ask for.
    pub(crate) min_values: bool,
    /// Capacity reservations are used.
    pub(crate) reserved: bool,
}

impl Asked {
    /// By the policy of a plan.
    pub(crate) fn of(plan: &Plan) -> Asked {
        Asked {
            preferences: plan.policy.preferences == Some(Preferences::Respect),
            min_values: plan.policy.min_values == Some(MinValues::Strict),
            reserved: plan.policy.consolidation.is_none(),
        }
    }
}

/// Everything a plan is judged against.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) region: &'a str,
    pub(crate) axis: Axis,
    pub(crate) pods: Pods<'a>,
    pub(crate) storage: Storage<'a>,
    /// Requests of the groups along the axis.
    pub(crate) needs: Vec<Vec<i64>>,
    /// Rule of each group.
    rules: Vec<usize>,
    /// Sorted by name.
    pub(crate) nodes: Vec<NodeBin<'a>>,
    /// All NodePools, sorted by name.
    pub(crate) pools: Vec<Pool<'a>>,
    /// What NodeOverlays say.
    pub(crate) overlaid: Overlaid<'a>,
    pub(crate) offerings: Offerings<'a>,
    /// Keys of domains, sorted: of constraints, and of preferences about other pods where they have a price.
    pub(crate) topology: Vec<&'a str>,
    /// Those of constraints.
    pub(crate) binding: BTreeSet<&'a str>,
    /// What counts.
    pub(crate) asked: Asked,
    /// Pairs of a class of offerings and a group of which one pod leaves too little to choose from, if that counts.
    pub(crate) short: BTreeSet<(usize, usize)>,
    /// What constraints between pods make of each group.
    pub(crate) reach: Vec<Reach>,
    /// Scopes of required anti-affinity of pods on nodes.
    pub(crate) bound_scopes: BTreeSet<usize>,
    /// For each group and wish of it the domains it would level, with the pods there that count.
    pub(crate) levels: Vec<Vec<BTreeMap<String, u64>>>,
}

impl<'a> Problem<'a> {
    /// Derives the problem. `slack` is in parts per million, 0 to all; `named` are further resources to carry along.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        slack: i64,
        named: &[String],
        asked: Asked,
    ) -> Problem<'a> {
        let Asked { preferences, min_values, reserved } = asked;
        let storage = Storage::new(snapshot);
        let mut pods = groups::collect(snapshot, &storage, preferences);
        let groups = &pods.groups;
        let mut names: BTreeSet<String> = named.iter().cloned().collect();
        names.extend(groups.iter().flat_map(|group| group.request.0.keys().cloned()));
        names.extend(snapshot.daemon_sets.iter().flat_map(|set| effective_request(&set.spec).0.into_keys()));
        let axis = Axis { names: names.into_iter().collect() };
        let needs = groups.iter().map(|group| axis.project(&group.request)).collect();
        let daemons = snapshot.daemon_sets.iter().map(|set| Constraint::new(&set.spec, Vec::new()));
        let own = groups.iter().map(|group| {
            let constraint = Constraint::new(group.spec, group.terms.clone());
            if preferences { constraint.with_preferences(group.spec) } else { constraint }
        });
        let constraints: Vec<Constraint<'a>> = own.chain(daemons).collect();
        let on_nodes = snapshot.pods.iter().filter(|pod| pod.seat().is_some() && !pod.is_terminal());
        let binding = between::topology(groups, on_nodes);
        let topology: BTreeSet<&str> = binding.iter().copied().chain(between::wished(groups)).collect();
        let topology: Vec<&str> = topology.into_iter().collect();
        let (book, mut rules) = Rules::new(&constraints, topology.clone());
        let daemon_rules = rules.split_off(groups.len());
        let overlaid = Overlaid::new(snapshot, catalog);
        let nodes = nodes::collect(snapshot, &axis, slack, (&book, &daemon_rules), &storage);
        let pools = pools(snapshot, groups, preferences, reserved);
        let labels: Vec<Labels> = catalog.types.iter().map(|instance| instance.labels()).collect();
        let offerings = offerings::enumerate(
            (snapshot, &overlaid),
            catalog,
            (&axis, slack),
            (&book, &daemon_rules),
            &pools,
            &labels,
        );
        let scene = Scene::new(&mut pods, &pools, &nodes, &offerings, &topology);
        let reach = (0..pods.groups.len()).map(|group| scene.reach(&pods, group, rules[group])).collect();
        let bound_scopes = scene.bound_scopes();
        let levels = |group: usize| {
            let wishes = pods.groups[group].wishes.iter();
            let owned =
                |domains: BTreeMap<&str, u64>| domains.into_iter().map(|(d, n)| (d.to_owned(), n)).collect();
            wishes.map(|wish| owned(scene.level_domains(&pods, wish, rules[group]))).collect()
        };
        let levels = (0..pods.groups.len()).map(levels).collect();
        let region = &catalog.region;
        let mut problem = Problem {
            snapshot,
            region,
            axis,
            pods,
            storage,
            needs,
            rules,
            nodes,
            pools,
            overlaid,
            offerings,
            topology,
            binding,
            asked,
            short: BTreeSet::new(),
            reach,
            bound_scopes,
            levels,
        };
        if min_values {
            problem.short = crate::min_values::short(&problem);
        }
        problem
    }

    /// Whether pods of the group match the node and one fits what is left, `free`.
    pub(crate) fn node_takes(&self, node: &NodeBin<'_>, free: &[i64], group: usize) -> bool {
        self.node_matches(node, group) && fits(&self.needs[group], free)
    }

    /// Whether the node takes pending pods and at least one of the group may be there.
    pub(crate) fn node_matches(&self, node: &NodeBin<'_>, group: usize) -> bool {
        self.node_cap(node, group) > 0
    }

    /// Pods of the group at most on the node, capacity aside.
    pub(crate) fn node_cap(&self, node: &NodeBin<'_>, group: usize) -> u64 {
        let reach = &self.reach[group];
        let inside = || reach.split.as_ref().is_none_or(|split| self.node_domain(node, split).is_some());
        if self.node_admits(node, group) && inside() { reach.node(node.index) } else { 0 }
    }

    /// The domain of a split that the node is in.
    pub(crate) fn node_domain(&self, node: &NodeBin<'_>, split: &Split) -> Option<usize> {
        let domain = node.node.labels.get(self.topology[split.key])?;
        split.domains.binary_search(domain).ok()
    }

    /// Whether the node takes pending pods and its labels and taints admit those of the group.
    pub(crate) fn node_admits(&self, node: &NodeBin<'_>, group: usize) -> bool {
        node.eligible && node.matches[self.rules[group]].holds()
    }

    /// Whether the group may use offerings of this kind.
    pub(crate) fn kind_takes(&self, kind: &Kind, group: usize) -> bool {
        self.kind_matches(kind, group)
            && kind.room.as_ref().is_some_and(|room| fits(&self.needs[group], room))
    }

    /// Whether at least one pod of the group may be on a node of this kind.
    pub(crate) fn kind_matches(&self, kind: &Kind, group: usize) -> bool {
        let reach = &self.reach[group];
        let inside = || reach.split.as_ref().is_none_or(|split| self.kind_domain(kind, split).is_some());
        self.kind_admits(kind, group)
            && reach.class(kind.class)
            && reach.cap > 0
            && inside()
            && !self.short.contains(&(kind.class, group))
    }

    /// Weights that a planned node of this kind leaves unmet for the group.
    pub(crate) fn kind_unmet(&self, kind: &Kind, group: usize) -> i64 {
        self.offerings.classes[kind.class].matches[self.rules[group]].unmet
    }

    /// Weights that an existing node leaves unmet for the group.
    pub(crate) fn node_unmet(&self, node: &NodeBin<'_>, group: usize) -> i64 {
        node.matches[self.rules[group]].unmet
    }

    /// Whether labels and taints of offerings of this kind admit pods of the group.
    pub(crate) fn kind_admits(&self, kind: &Kind, group: usize) -> bool {
        self.offerings.classes[kind.class].matches[self.rules[group]].holds()
    }

    /// The domain of a split that offerings of this kind are in.
    pub(crate) fn kind_domain(&self, kind: &Kind, split: &Split) -> Option<usize> {
        let domain = self.offerings.classes[kind.class].domains[split.key].as_ref()?;
        split.domains.binary_search(domain).ok()
    }

    /// The node of that name.
    pub(crate) fn node(&self, name: &str) -> Option<&NodeBin<'a>> {
        let found = self.nodes.binary_search_by(|bin| bin.node.name.as_str().cmp(name));
        found.ok().map(|index| &self.nodes[index])
    }

    /// Whether constraints between pods, on ports or on volumes, or minValues of a pool, may keep pods of the group out of anything.
    pub(crate) fn is_constrained(&self, group: usize) -> bool {
        self.reach[group].concerned
            || self.pods.groups[group].states_any()
            || self.short.iter().any(|(_, short)| *short == group)
    }

    /// The group whose first pod this is.
    pub(crate) fn group_of_first(&self, pod: &PodRef) -> Option<usize> {
        match self.pods.pending.get(pod) {
            Some(Pending::Group(group)) if self.pods.groups[*group].first == *pod => Some(*group),
            _ => None,
        }
    }

    /// Whether anything at all, limits ignored, holds a pod of the group.
    pub(crate) fn is_placeable(&self, group: usize) -> bool {
        self.nodes.iter().any(|node| self.node_takes(node, &node.free, group))
            || self.offerings.kinds.iter().any(|kind| self.kind_takes(kind, group))
    }
}

fn pools<'a>(
    snapshot: &'a Snapshot,
    groups: &[Group<'a>],
    preferences: bool,
    use_reserved: bool,
) -> Vec<Pool<'a>> {
    let mentions = variants::mentions(groups.iter().map(|group| group.spec), preferences);
    let asked = variants::asked(groups.iter().map(|group| group.spec));
    let mut topology = between::topology(groups, std::iter::empty());
    topology.extend(between::wished(groups));
    let by_name: BTreeMap<&str, &NodePool> =
        snapshot.node_pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    let class = |pool: &NodePool| snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let pool = |pool: &'a NodePool| {
        let variants = variants::variants(pool, &mentions, &asked, &topology);
        let open = class(pool).into_iter().flat_map(|class| &class.capacity_reservations);
        let open = open.filter(|one| use_reserved && one.available.unwrap_or(0) > 0);
        let mut reserved: Vec<Reserved<'a>> = Vec::new();
        for from in open {
            for variant in &variants {
                let mut labels = variant.clone();
                labels.insert(CAPACITY_RESERVATION_ID.to_owned(), from.id.clone());
                labels.insert(CAPACITY_RESERVATION_TYPE.to_owned(), from.reservation_type.clone());
                reserved.push(Reserved { from, labels });
            }
        }
        reserved.sort_by(|one, other| one.labels.cmp(&other.labels));
        reserved.dedup_by(|one, other| {
            (&one.labels, &one.from.zone, &one.from.instance_type)
                == (&other.labels, &other.from.zone, &other.from.instance_type)
        });
        let limits = limits::of_pool(snapshot, pool);
        Pool { pool, class: class(pool).cloned().unwrap_or_default(), variants, limits, reserved }
    };
    by_name.into_values().map(pool).collect()
}
