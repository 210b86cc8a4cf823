//! A placement carried out by kube-scheduler's filters: does every pod get where it is meant to go?

use std::collections::BTreeMap;
use stowage_checker::filters::{Place, World, realise};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{NodePool, Pod};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_planner::{Foreign, ForeignLaunch};

/// Pods that no order of binding gets to their node, with the plug-in that rejects them and its words. Launches nobody
/// offers and pods nobody knows are passed over: whoever reads the placement as a plan refuses them.
#[must_use]
pub fn stuck(snapshot: &Snapshot, catalog: &Catalog, foreign: &Foreign) -> Vec<(&'static str, String)> {
    let mut world = World::of(snapshot);
    let existing = world.places.len();
    world.places.extend(
        foreign
            .launches
            .iter()
            .enumerate()
            .map(|(index, launch)| launched(snapshot, catalog, index, launch).unwrap_or_default()),
    );
    let agents = agents(snapshot, &world, existing);
    for (place, agent) in &agents {
        world.places[*place].bind(agent);
    }
    let pods: BTreeMap<_, &Pod> = snapshot.pods.iter().map(|pod| (pod.id(), pod)).collect();
    let mut assignments = Vec::new();
    for (name, refs) in &foreign.existing {
        if let Some(place) = world.places[..existing].iter().position(|place| place.name == *name) {
            assignments.extend(refs.iter().filter_map(|pod| Some((*pods.get(pod)?, place))));
        }
    }
    for (index, launch) in foreign.launches.iter().enumerate() {
        assignments.extend(launch.pods.iter().filter_map(|pod| Some((*pods.get(pod)?, existing + index))));
    }
    realise(&mut world, &assignments)
        .into_iter()
        .map(|stuck| {
            let (pod, place) = assignments[stuck.assignment];
            let place = &world.places[place].name;
            (
                stuck.rejection.plugin,
                format!("pod {} cannot be bound to {place}: {}", pod.id(), stuck.rejection),
            )
        })
        .collect()
}

/// The node a launch becomes; `None` if type, zone or NodePool are not known.
fn launched<'a>(
    snapshot: &Snapshot,
    catalog: &Catalog,
    index: usize,
    launch: &ForeignLaunch,
) -> Option<Place<'a>> {
    let pool: &NodePool = snapshot.node_pools.iter().find(|pool| pool.name == launch.node_pool)?;
    let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let class = class.cloned().unwrap_or_default();
    let it = catalog.get(&launch.instance_type)?;
    let zone = it.zone(&launch.zone)?;
    let name = format!("launch-{index}");
    let mut all: Labels = launch.labels.clone();
    all.extend(pool.labels.clone());
    all.extend(it.labels());
    let fixed = [
        (labels::ZONE, zone.zone.as_str()),
        (labels::ZONE_ID, &zone.zone_id),
        (labels::REGION, &catalog.region),
        (labels::CAPACITY_TYPE, &launch.capacity_type),
        (labels::NODEPOOL, &pool.name),
        (labels::EC2_NODE_CLASS, &pool.node_class),
        (labels::HOSTNAME, &name),
        (labels::REGISTERED, "true"),
        (labels::INITIALIZED, "true"),
    ];
    all.extend(fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    Some(Place::new(&name, all, pool.taints.clone(), it.allocatable(&snapshot.settings, &class)))
}

/// The DaemonSet pods of the launched nodes.
fn agents(snapshot: &Snapshot, world: &World<'_>, existing: usize) -> Vec<(usize, Pod)> {
    let mut agents = Vec::new();
    for place in existing..world.places.len() {
        for set in &snapshot.daemon_sets {
            let agent = Pod {
                namespace: set.namespace.clone(),
                name: format!("{}-{place}", set.name),
                labels: set.labels.clone().into(),
                spec: set.spec.clone().into(),
                ..Pod::default()
            };
            if world.may_go(&agent, place).is_ok() {
                agents.push((place, agent));
            }
        }
    }
    agents
}
