//! A plan carried out on its snapshot, as if every launch came up and every pod went where the plan says.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::digest;
use stowage_models::labels;
use stowage_models::objects::{Node, NodeClaim, PodPhase};
use stowage_models::plan::{Launch, Plan};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// The name a launch's node gets: slots are named anew in every plan, nodes are not.
#[must_use]
pub fn node_name(plan: &Plan, slot: &str) -> String {
    format!("{slot}-{}", digest::short(&plan.id, 8))
}

/// The cluster after the plan: launches are nodes, nodes that go are gone, pods are where the plan puts them and run.
///
/// Launches of types or NodePools that nobody knows are passed over, as the referee refuses such plans.
#[must_use]
pub fn applied(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan) -> Snapshot {
    let nodes = plan.consolidation.iter().flat_map(|stated| &stated.nodes);
    let gone: BTreeSet<&str> =
        nodes.filter(|one| one.reason.is_removal()).map(|one| one.node.as_str()).collect();
    let mut places: BTreeMap<&str, String> = BTreeMap::new();
    for launch in &plan.launches {
        let name = node_name(plan, &launch.slot);
        places.extend(launch.pods.iter().map(|pod| (pod.0.as_str(), name.clone())));
    }
    for node in &plan.existing {
        places.extend(node.pods.iter().map(|pod| (pod.0.as_str(), node.name.clone())));
    }
    let mut after = snapshot.clone();
    after.nodes.retain(|node| !gone.contains(node.name.as_str()));
    after.node_claims.retain(|claim| claim.node.as_deref().is_none_or(|node| !gone.contains(node)));
    for pod in &mut after.pods {
        if let Some(place) = places.get(pod.id().0.as_str()) {
            pod.node = Some(place.clone());
            pod.nominated_node = None;
            pod.phase = PodPhase::Running;
        }
    }
    after.pods.retain(|pod| pod.node.as_deref().is_none_or(|node| !gone.contains(node)));
    for launch in &plan.launches {
        let name = node_name(plan, &launch.slot);
        if let Some((node, claim)) = launched(snapshot, catalog, launch, &name) {
            after.nodes.push(node);
            after.node_claims.push(claim);
        }
    }
    after.normalise();
    after
}

fn launched(
    snapshot: &Snapshot,
    catalog: &Catalog,
    launch: &Launch,
    name: &str,
) -> Option<(Node, NodeClaim)> {
    let kind = catalog.get(&launch.instance_type)?;
    let pool = snapshot.node_pools.iter().find(|pool| pool.name == launch.node_pool)?;
    let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let class = class.cloned().unwrap_or_default();
    let mut own: Labels = kind.labels();
    own.extend(pool.labels.clone());
    own.extend(launch.labels.clone());
    let zone_id = kind.zone(&launch.zone).map(|offer| offer.zone_id.clone()).unwrap_or_default();
    for (key, value) in [
        (labels::ZONE, launch.zone.as_str()),
        (labels::ZONE_ID, &zone_id),
        (labels::CAPACITY_TYPE, &launch.capacity_type),
        (labels::NODEPOOL, &launch.node_pool),
        (labels::HOSTNAME, name),
    ] {
        own.insert(key.to_owned(), value.to_owned());
    }
    let conditions = ["Consolidatable", "Initialized", "Launched", "Registered"].map(str::to_owned).to_vec();
    let claim = NodeClaim {
        name: name.to_owned(),
        labels: own.clone(),
        node: Some(name.to_owned()),
        conditions,
        ..NodeClaim::default()
    };
    let node = Node {
        name: name.to_owned(),
        labels: own,
        taints: pool.taints.clone(),
        capacity: kind.capacity(&snapshot.settings, &class),
        allocatable: launch.allocatable.clone(),
        created: snapshot.taken_at.clone(),
        ready: true,
        ..Node::default()
    };
    Some((node, claim))
}
