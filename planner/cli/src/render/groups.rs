//! Launches that are the same thing several times.

use std::collections::BTreeMap;
use stowage_models::plan::{ExistingNode, Launch};
use stowage_models::quantity::Resources;
use stowage_models::units::UsdMicros;

/// What makes launches the same for a reader.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
}

impl Kind {
    /// The kind of a launch.
    #[must_use]
    pub fn of(launch: &Launch) -> Kind {
        Kind {
            node_pool: launch.node_pool.clone(),
            instance_type: launch.instance_type.clone(),
            zone: launch.zone.clone(),
            capacity_type: launch.capacity_type.clone(),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Kind { node_pool, instance_type, zone, capacity_type } = self;
        write!(f, "{instance_type} {zone} {capacity_type} ({node_pool})")
    }
}

/// Launches of one kind, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub nodes: u64,
    /// Price of one per hour.
    pub price: UsdMicros,
    /// Price of all per hour.
    pub cost: UsdMicros,
    /// Some of the price is estimated.
    pub estimated: bool,
    /// Planned pods, DaemonSets not counted.
    pub pods: u64,
    /// Requests of the pods and DaemonSets.
    pub used: Resources,
    /// Allocatable.
    pub allocatable: Resources,
}

/// Groups launches by kind, sorted by kind.
#[must_use]
pub fn by_kind(launches: &[Launch]) -> BTreeMap<Kind, Group> {
    let mut groups: BTreeMap<Kind, Group> = BTreeMap::new();
    for launch in launches {
        let group = groups.entry(Kind::of(launch)).or_default();
        group.nodes += 1;
        group.price = launch.price;
        group.cost += launch.price;
        group.estimated |= launch.price_estimated;
        group.pods += launch.pods.len() as u64;
        group.used.add(&launch.daemon_sets);
        group.used.add(&launch.requested);
        group.allocatable.add(&launch.allocatable);
    }
    groups
}

/// The same, the most expensive first: that is what a reader should see if the rest is cut.
#[must_use]
pub fn dearest_first(launches: &[Launch]) -> Vec<(Kind, Group)> {
    let mut groups: Vec<_> = by_kind(launches).into_iter().collect();
    groups.sort_by(|a, b| b.1.cost.cmp(&a.1.cost).then_with(|| a.0.cmp(&b.0)));
    groups
}

/// Existing nodes that get pods, most pods first.
#[must_use]
pub fn receiving(existing: &[ExistingNode]) -> Vec<&ExistingNode> {
    let mut nodes: Vec<_> = existing.iter().filter(|node| !node.pods.is_empty()).collect();
    nodes.sort_by(|a, b| b.pods.len().cmp(&a.pods.len()).then_with(|| a.name.cmp(&b.name)));
    nodes
}

/// Requests on a node with everything the plan puts there.
#[must_use]
pub fn used_by_launch(launch: &Launch) -> Resources {
    let mut used = launch.daemon_sets.clone();
    used.add(&launch.requested);
    used
}

/// Requests on an existing node, with what the plan adds.
#[must_use]
pub fn used_by_node(node: &ExistingNode) -> Resources {
    let mut used = node.running.clone();
    used.add(&node.requested);
    used
}
