//! The problem a plan answers, derived from the snapshot with this crate's own code.

use crate::groups::{self, Group, Pending, PendingPods};
use crate::limits::{self, Limit};
use crate::matching::Rules;
use crate::nodes::{self, NodeBin};
use crate::offerings::{self, Kind, Offerings};
use crate::request::effective_request;
use crate::variants;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::objects::{Ec2NodeClass, NodePool, PodRef, PodSpec};
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
}

impl Pool<'_> {
    /// Whether its subnets reach the zone.
    pub(crate) fn allows_zone(&self, zone: &str) -> bool {
        self.class.zones.is_empty() || self.class.zones.iter().any(|one| one == zone)
    }
}

/// Everything a plan is judged against.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) axis: Axis,
    pub(crate) pending: PendingPods,
    /// In the order of their first pods.
    pub(crate) groups: Vec<Group<'a>>,
    /// Requests of the groups along the axis.
    pub(crate) needs: Vec<Vec<i64>>,
    /// Rule of each group.
    rules: Vec<usize>,
    /// Sorted by name.
    pub(crate) nodes: Vec<NodeBin<'a>>,
    /// All NodePools, sorted by name.
    pub(crate) pools: Vec<Pool<'a>>,
    pub(crate) offerings: Offerings<'a>,
}

impl<'a> Problem<'a> {
    /// Derives the problem. `slack` is in parts per million, 0 to all; `named` are further resources to carry along.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        slack: i64,
        named: &[String],
    ) -> Problem<'a> {
        let (pending, groups) = groups::collect(snapshot);
        let mut names: BTreeSet<String> = named.iter().cloned().collect();
        names.extend(groups.iter().flat_map(|group| group.request.0.keys().cloned()));
        names.extend(snapshot.daemon_sets.iter().flat_map(|set| effective_request(&set.spec).0.into_keys()));
        let axis = Axis { names: names.into_iter().collect() };
        let needs = groups.iter().map(|group| axis.project(&group.request)).collect();
        let daemons = snapshot.daemon_sets.iter().map(|set| &set.spec);
        let specs: Vec<&PodSpec> = groups.iter().map(|group| group.spec).chain(daemons).collect();
        let (book, mut rules) = Rules::new(&specs);
        let daemon_rules = rules.split_off(groups.len());
        let nodes = nodes::collect(snapshot, &axis, slack, &book, &daemon_rules);
        let pools = pools(snapshot, &groups);
        let labels: Vec<Labels> = catalog.types.iter().map(|instance| instance.labels()).collect();
        let offerings =
            offerings::enumerate(snapshot, catalog, (&axis, slack), (&book, &daemon_rules), &pools, &labels);
        Problem { snapshot, axis, pending, groups, needs, rules, nodes, pools, offerings }
    }

    /// Whether pods of the group match the node and one fits what is left, `free`.
    pub(crate) fn node_takes(&self, node: &NodeBin<'_>, free: &[i64], group: usize) -> bool {
        self.node_matches(node, group) && fits(&self.needs[group], free)
    }

    /// Whether the node takes pending pods and pods of the group match it.
    pub(crate) fn node_matches(&self, node: &NodeBin<'_>, group: usize) -> bool {
        node.eligible && node.matches[self.rules[group]]
    }

    /// Whether the group may use offerings of this kind.
    pub(crate) fn kind_takes(&self, kind: &Kind, group: usize) -> bool {
        self.kind_matches(kind, group)
            && kind.room.as_ref().is_some_and(|room| fits(&self.needs[group], room))
    }

    /// Whether pods of the group match offerings of this kind.
    pub(crate) fn kind_matches(&self, kind: &Kind, group: usize) -> bool {
        self.offerings.classes[kind.class].matches[self.rules[group]]
    }

    /// The group whose first pod this is.
    pub(crate) fn group_of_first(&self, pod: &PodRef) -> Option<usize> {
        match self.pending.get(pod) {
            Some(Pending::Group(group)) if self.groups[*group].first == *pod => Some(*group),
            _ => None,
        }
    }

    /// Whether anything at all, limits ignored, holds a pod of the group.
    pub(crate) fn is_placeable(&self, group: usize) -> bool {
        self.nodes.iter().any(|node| self.node_takes(node, &node.free, group))
            || self.offerings.kinds.iter().any(|kind| self.kind_takes(kind, group))
    }
}

fn pools<'a>(snapshot: &'a Snapshot, groups: &[Group<'a>]) -> Vec<Pool<'a>> {
    let mentions = variants::mentions(groups.iter().map(|group| group.spec));
    let by_name: BTreeMap<&str, &NodePool> =
        snapshot.node_pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    let class = |pool: &NodePool| snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let pool = |pool: &'a NodePool| Pool {
        pool,
        class: class(pool).cloned().unwrap_or_default(),
        variants: variants::variants(pool, &mentions),
        limits: limits::of_pool(snapshot, pool),
    };
    by_name.into_values().map(pool).collect()
}
