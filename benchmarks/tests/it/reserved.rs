//! Goal: capacity that is reserved is used first, and never more of it than there is.

use std::collections::BTreeMap;
use std::time::Duration;
use stowage_bench::oracle::{Case, Problem};
use stowage_bench::trial::{self, is_optimal};
use stowage_checker::{check, code};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::CapacityReservation;
use stowage_models::plan::{Plan, Policy};
use stowage_models::random::Random;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

fn policy() -> Policy {
    Policy { gap: Ppm(0), ..Policy::default() }
}

fn accepted(snapshot: &Snapshot, catalog: &Catalog) -> Plan {
    trial::accepted(snapshot, catalog, &policy(), Duration::from_secs(1))
}

/// A tiny case whose class lists reservations of its machines.
fn reserved(seed: u64) -> Case {
    let mut case = Case::random(seed);
    let mut rng = Random::new(seed ^ 0x5EED);
    let mut list = Vec::new();
    for machine in &case.catalog.types {
        for zone in &machine.zones {
            if rng.chance(60) {
                list.push(CapacityReservation {
                    id: format!("cr-{}", list.len()),
                    instance_type: machine.name.clone(),
                    zone: zone.zone.clone(),
                    available: Some(rng.between(0, 2)),
                    reservation_type: "default".to_owned(),
                    ends: None,
                });
            }
        }
    }
    case.snapshot.node_classes[0].capacity_reservations = list;
    for pool in &mut case.snapshot.node_pools {
        let types = pool.requirements.iter_mut().filter(|one| one.key == labels::CAPACITY_TYPE);
        types.for_each(|one| one.values.push(labels::RESERVED.to_owned()));
    }
    case
}

/// Launches into each reservation.
fn used(plan: &Plan) -> BTreeMap<&str, i64> {
    let mut used = BTreeMap::new();
    for launch in plan.launches.iter().filter(|launch| launch.capacity_type == labels::RESERVED) {
        assert!(launch.list_price > Some(launch.price));
        *used.entry(launch.labels[labels::CAPACITY_RESERVATION_ID].as_str()).or_default() += 1;
    }
    used
}

#[test]
fn tiny_cases_use_what_is_reserved_as_well_as_can_be() {
    let (mut compared, mut met, mut drawn, mut exhausted) = (0, 0, 0, 0);
    for seed in 0..400 {
        let case = reserved(seed);
        let plan = accepted(&case.snapshot, &case.catalog);
        let used = used(&plan);
        for one in &case.snapshot.node_classes[0].capacity_reservations {
            let used = used.get(one.id.as_str()).copied().unwrap_or(0);
            assert!(used <= one.available.unwrap_or(0), "case {seed}: {used} of {one:?}");
            drawn += used;
            exhausted += u32::from(used > 0 && Some(used) == one.available);
        }
        let Some(optimum) = Problem::new(&case.snapshot, &case.catalog, &policy()).by_enumeration() else {
            continue;
        };
        if plan.summary.pods_unplaced > 0 {
            continue;
        }
        compared += 1;
        met += u32::from(is_optimal(&plan, optimum, seed));
    }
    assert!(
        compared > 250 && drawn > 100 && exhausted > 50,
        "{compared} compared, {drawn} drawn, {exhausted} full"
    );
    assert!(met * 10 >= compared * 9, "{met} of {compared} as cheap as can be");
}

#[test]
fn more_than_there_is_is_refused_and_claims_without_a_node_count() {
    let found = (0..400).map(reserved).find_map(|case| {
        let plan = accepted(&case.snapshot, &case.catalog);
        let id = used(&plan).into_iter().next().map(|(id, _)| id.to_owned());
        id.map(|id| (case, plan, id))
    });
    let (mut case, plan, id) = found.expect("some case uses a reservation");
    // A claim that has no node yet takes one.
    let before = used(&plan)[id.as_str()];
    let own = [(labels::CAPACITY_RESERVATION_ID.to_owned(), id.clone())];
    for at in 0..3 {
        case.snapshot.node_claims.push(stowage_models::objects::NodeClaim {
            name: format!("claim-{at}"),
            labels: own.iter().cloned().collect(),
            ..Default::default()
        });
    }
    case.snapshot.normalise();
    let after = accepted(&case.snapshot, &case.catalog);
    assert_eq!((before > 0, used(&after).get(id.as_str())), (true, None));
    // The plan made without them launches more than there is now.
    let mut stale = plan;
    stale.snapshot.digest = case.snapshot.digest();
    stale.id = stale.compute_id();
    let codes: Vec<&str> = check(&case.snapshot, &case.catalog, &stale).iter().map(|one| one.code).collect();
    assert!(codes.contains(&code::LIMIT), "{codes:?}");
}

#[test]
fn a_pool_may_ask_for_one_reservation() {
    let found =
        (0..400).map(reserved).find(|case| !used(&accepted(&case.snapshot, &case.catalog)).is_empty());
    let mut case = found.expect("some case uses a reservation");
    let id =
        used(&accepted(&case.snapshot, &case.catalog)).keys().next().map(|id| (*id).to_owned()).expect("one");
    for pool in &mut case.snapshot.node_pools {
        pool.requirements.push(Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::In, &[&id]));
    }
    let plan = accepted(&case.snapshot, &case.catalog);
    assert!(!plan.launches.is_empty());
    assert!(plan.launches.iter().all(|launch| launch.labels[labels::CAPACITY_RESERVATION_ID] == id));
}

/// A reservation has one type. That its offerings are too few to choose from says nothing of the others of the pool.
#[test]
fn a_pool_that_asks_for_several_types_still_has_its_ordinary_ones() {
    let (mut ordinary, mut splits) = (0, 0);
    for seed in 0..200 {
        let mut case = reserved(seed);
        for pool in &mut case.snapshot.node_pools {
            let mut asked = Requirement::new(labels::INSTANCE_TYPE, Operator::Exists, &[]);
            asked.min_values = Some(2);
            pool.requirements.push(asked);
        }
        let plan = accepted(&case.snapshot, &case.catalog);
        assert!(used(&plan).is_empty(), "case {seed}: a reservation has one type");
        ordinary += plan.launches.len();
        splits += usize::from(!case.snapshot.node_classes[0].capacity_reservations.is_empty());
    }
    assert!(ordinary > 100 && splits > 100, "{ordinary} launches, {splits} cases with reservations");
}
