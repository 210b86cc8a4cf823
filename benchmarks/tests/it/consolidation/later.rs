//! Goal: launches of a plan that removes nodes are judged once more before it is begun: on the cluster it was made for nothing stands against
//! them, what is unrelated or has ended changes nothing, and what makes one impossible, dearer or too many at once is a finding.

use super::{composed, planned, policy};
use std::collections::BTreeMap;
use stowage_checker::{check_waves, code};
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, Plan};
use stowage_models::quantity::CPU;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

fn scene() -> (Snapshot, Plan) {
    let snapshot = composed("scaledown-30");
    let plan = planned(&snapshot, &policy());
    let waves = &plan.consolidation.as_ref().expect("it consolidates").waves;
    assert!(!plan.launches.is_empty() && !waves.is_empty(), "{} launches", plan.launches.len());
    (snapshot, plan)
}

fn codes(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan) -> Vec<&'static str> {
    let placed = plan.existing.iter().filter(|node| !node.pods.is_empty());
    let existing: BTreeMap<String, Vec<PodRef>> =
        placed.map(|node| (node.name.clone(), node.pods.clone())).collect();
    let waves = &plan.consolidation.as_ref().expect("it consolidates").waves;
    let findings = check_waves(snapshot, catalog, &plan.policy, (&plan.launches, waves), &existing);
    findings.into_iter().map(|finding| finding.code).collect()
}

/// A pod that moves to a launch beside others.
fn mover(plan: &Plan) -> (usize, PodRef) {
    let moves = &plan.consolidation.as_ref().expect("it consolidates").moves;
    let of = |launch: &Launch| {
        let own = moves.iter().find(|one| one.to == launch.slot)?;
        (launch.pods.len() > 1).then(|| own.pod.clone())
    };
    let found = plan.launches.iter().enumerate().find_map(|(at, launch)| Some((at, of(launch)?)));
    found.expect("a launch that several pods move to")
}

#[test]
fn nothing_stands_against_what_was_just_planned_nor_because_of_what_is_unrelated() {
    let (snapshot, plan) = scene();
    let catalog = Catalog::embedded();
    assert_eq!(codes(&snapshot, catalog, &plan), Vec::<&str>::new());
    let mut later = snapshot.clone();
    later.taken_at = Some("2027-01-01T00:00:00Z".to_owned());
    // A pod that was to move has ended.
    let (_, ended) = mover(&plan);
    later.pods.retain(|pod| pod.id() != ended);
    // Another waits.
    let mut other = snapshot.pods[0].clone();
    (other.name, other.node, other.phase) = ("another".to_owned(), None, Default::default());
    later.pods.push(other);
    later.normalise();
    assert_eq!(codes(&later, catalog, &plan), Vec::<&str>::new());
}

#[test]
fn what_makes_a_launch_impossible_or_dearer_is_found() {
    let (snapshot, plan) = scene();
    let catalog = Catalog::embedded();
    let (at, pod) = mover(&plan);
    let kind = plan.launches[at].instance_type.clone();
    let mut dearer = catalog.clone();
    let mut gone = catalog.clone();
    gone.types.retain(|one| one.name != kind);
    for one in dearer.types.iter_mut().filter(|one| one.name == kind) {
        one.on_demand = one.on_demand.map(|price| UsdMicros(price.0 + 1));
        for zone in &mut one.zones {
            zone.spot.iter_mut().for_each(|price| price.usd.0 += 1);
        }
    }
    assert!(codes(&snapshot, &gone, &plan).contains(&code::OFFERING));
    assert!(codes(&snapshot, &dearer, &plan).contains(&code::PRICE));
    // A pod wants more than is left for it.
    let mut larger = snapshot.clone();
    let wants = larger.pods.iter_mut().find(|one| one.id() == pod).expect("it");
    wants.spec.containers[0].requests.set(CPU, 1_000_000);
    assert!(codes(&larger, catalog, &plan).contains(&code::CAPACITY));
    // It does not leave, and does not wait: the launch is not for it.
    let mut stays = plan.clone();
    for wave in &mut stays.consolidation.as_mut().expect("it consolidates").waves {
        wave.removals.clear();
        wave.evictions.clear();
    }
    assert!(codes(&snapshot, catalog, &stays).contains(&code::UNKNOWN_POD));
}

#[test]
fn limits_hold_in_every_wave_and_not_only_in_the_end() {
    let (mut snapshot, plan) = scene();
    let pool = plan.launches[0].node_pool.clone();
    let of_pool =
        |snapshot: &Snapshot| snapshot.nodes.iter().filter(|node| node.nodepool() == Some(&pool)).count();
    let nodes = i64::try_from(of_pool(&snapshot)).expect("few");
    let limit = |snapshot: &mut Snapshot, most: i64| {
        let own = snapshot.node_pools.iter_mut().find(|one| one.name == pool).expect("it");
        own.limits.set("nodes", most);
    };
    // As many as there are: in the end there are fewer, but what comes first is too many.
    limit(&mut snapshot, nodes);
    let mut first = plan.clone();
    let waves = &mut first.consolidation.as_mut().expect("it consolidates").waves;
    let slots: Vec<String> = waves.iter_mut().flat_map(|wave| std::mem::take(&mut wave.launches)).collect();
    waves[0].launches = slots;
    assert!(codes(&snapshot, Catalog::embedded(), &first).contains(&code::WAVE));
    let most = nodes + i64::try_from(plan.launches.len()).expect("few");
    limit(&mut snapshot, most);
    assert_eq!(codes(&snapshot, Catalog::embedded(), &first), Vec::<&str>::new());
}
