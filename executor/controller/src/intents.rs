//! From a plan to what the executor carries out.

use std::collections::{BTreeMap, BTreeSet};
use stowage_executor::{Intent, Offering, PlannedBatch, PlannedPod, PlanningView, as_written, pool_hash};
use stowage_models::catalog::InstanceType;
use stowage_models::labels;
use stowage_models::objects::{NodePool, Pod, PodRef, PodVolume};
use stowage_models::plan::{Launch, Plan};
use stowage_models::snapshot::Snapshot;
use stowage_planner::Overlays;

/// The launches of a plan with everything they need, and the pods that need none.
pub(crate) fn batch(plan: &Plan, view: &PlanningView) -> PlannedBatch {
    let uids: BTreeMap<PodRef, &str> =
        view.snapshot.pods.iter().filter_map(|pod| pod.uid.as_deref().map(|uid| (pod.id(), uid))).collect();
    let direct = direct(&view.snapshot);
    let planned = |pods: &mut dyn Iterator<Item = &PodRef>| -> Vec<PlannedPod> {
        let with_uid = |id: &PodRef| {
            let uid = (*uids.get(id)?).to_owned();
            Some(PlannedPod { id: id.clone(), uid, direct: direct.contains(id) })
        };
        pods.filter_map(with_uid).collect()
    };
    let on_existing = plan.existing.iter().flat_map(|node| &node.pods);
    let settled = planned(&mut on_existing.chain(plan.unplaced.iter().flat_map(|left| &left.pods)));
    let overlays = Overlays::new(&view.snapshot, &view.catalog);
    let launches = plan
        .launches
        .iter()
        .filter_map(|launch| {
            let pool = view.snapshot.node_pools.iter().find(|pool| pool.name == launch.node_pool)?;
            // What its static pool is for plans alone is not what nodes are like.
            Some(intent(launch, &as_written(pool), (view, &overlays), planned(&mut launch.pods.iter())))
        })
        .collect();
    PlannedBatch { plan: plan.id.clone(), launches, settled, ..PlannedBatch::default() }
}

/// The name of the action that carries a launch out.
pub(crate) fn action(launch: &Launch) -> String {
    format!("launch/{}", launch.slot)
}

/// Pods that the executor binds itself: those with a spread constraint that counts only nodes whose taints they tolerate, but for
/// those with a claim that is not bound yet, because only the scheduler binds volumes.
fn direct(snapshot: &Snapshot) -> BTreeSet<PodRef> {
    let waits = |pod: &&Pod| {
        pod.spec.volumes.iter().any(|volume| match volume {
            PodVolume::Claim(name) => !snapshot.volume_claims.iter().any(|claim| {
                claim.namespace == pod.namespace && claim.name == *name && claim.volume.is_some()
            }),
            PodVolume::Ephemeral { .. } => true,
            _ => false,
        })
    };
    let looks_at_taints =
        |pod: &&Pod| pod.spec.topology_spread.iter().any(|spread| spread.hard && spread.honor_taints);
    snapshot.pods.iter().filter(looks_at_taints).filter(|pod| !waits(pod)).map(Pod::id).collect()
}

fn intent(
    launch: &Launch,
    pool: &NodePool,
    (view, overlays): (&PlanningView, &Overlays<'_>),
    pods: Vec<PlannedPod>,
) -> Intent {
    let mut offerings = vec![Offering {
        instance_type: launch.instance_type.clone(),
        zone: launch.zone.clone(),
        capacity_type: launch.capacity_type.clone(),
        price: launch.price,
    }];
    offerings.extend(launch.alternates.iter().map(|alternate| Offering {
        instance_type: alternate.instance_type.clone(),
        zone: alternate.zone.clone(),
        capacity_type: alternate.capacity_type.clone(),
        price: alternate.price,
    }));
    let class = view.snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let class = class.cloned().unwrap_or_default();
    let found = view.catalog.get(&launch.instance_type);
    let mut node_labels = pool.labels.clone();
    node_labels.extend(launch.labels.clone());
    node_labels.extend([
        (labels::NODEPOOL.to_owned(), pool.name.clone()),
        (labels::EC2_NODE_CLASS.to_owned(), pool.node_class.clone()),
        (labels::INSTANCE_TYPE.to_owned(), launch.instance_type.clone()),
        (labels::ZONE.to_owned(), launch.zone.clone()),
        (labels::CAPACITY_TYPE.to_owned(), launch.capacity_type.clone()),
        (labels::OS.to_owned(), "linux".to_owned()),
    ]);
    node_labels.extend(found.map(|one| (labels::ARCH.to_owned(), one.arch.as_str().to_owned())));
    let mut requests = launch.requested.clone();
    requests.add(&launch.daemon_sets);
    let (price_overlay, capacity_overlay) = overlays.change(launch, pool, &view.catalog);
    let capacity =
        |one: &InstanceType| overlays.applied(one.capacity(&view.snapshot.settings, &class), pool, one);
    Intent {
        action: action(launch),
        pool: pool.name.clone(),
        class: pool.node_class.clone(),
        offerings,
        pods,
        labels: node_labels,
        taints: pool.taints.clone(),
        startup_taints: pool.startup_taints.clone(),
        requests,
        capacity: found.map(capacity).unwrap_or_default(),
        allocatable: launch.allocatable.clone(),
        expire_after: pool.expire_after.clone(),
        termination_grace_period: pool.termination_grace_period.clone(),
        price_overlay,
        capacity_overlay,
        pool_hash: pool_hash(pool),
    }
}
