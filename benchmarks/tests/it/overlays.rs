//! Goal: NodeOverlays change prices and capacity of offerings and nodes, in plans and for the referee, and nothing else does.

use std::time::Duration;
use stowage_bench::oracle::{Case, Problem};
use stowage_bench::trial::{self, is_optimal};
use stowage_checker::{check, code};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::overlay::{NodeOverlay, PriceChange};
use stowage_models::plan::{Plan, Policy};
use stowage_models::quantity::Resources;
use stowage_models::random::Random;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

const DEVICE: &str = "example.com/device";

fn policy() -> Policy {
    Policy { gap: Ppm(0), ..Policy::default() }
}

fn accepted(snapshot: &Snapshot, catalog: &Catalog) -> Plan {
    trial::accepted(snapshot, catalog, &policy(), Duration::from_secs(1))
}

fn asks(key: &str, operator: Operator, values: &[&str]) -> Requirement {
    Requirement::new(key, operator, values)
}

/// A plan as if it were for this snapshot.
fn told_of(plan: &Plan, snapshot: &Snapshot) -> Plan {
    let mut told = plan.clone();
    told.snapshot.digest = snapshot.digest();
    told.id = told.compute_id();
    told
}

fn codes(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan) -> Vec<&'static str> {
    check(snapshot, catalog, &told_of(plan, snapshot)).iter().map(|one| one.code).collect()
}

fn change(rng: &mut Random) -> PriceChange {
    match rng.below(4) {
        0 => PriceChange::To(UsdMicros(rng.between(0, 400_000))),
        1 => PriceChange::Percent(-100_000_000),
        2 => PriceChange::By(rng.between(-60_000, 120_000)),
        _ => PriceChange::Percent(rng.between(-99_000_000, 80_000_000)),
    }
}

/// Rounding as it is written in the formulation.
fn changed(price: i64, change: PriceChange) -> i64 {
    match change {
        PriceChange::To(to) => to.0,
        PriceChange::By(by) => (price + by).max(0),
        PriceChange::Percent(by) => {
            let hundredth_millionths = i128::from(price) * i128::from(100_000_000 + by);
            let whole = hundredth_millionths / 100_000_000;
            let rest = hundredth_millionths % 100_000_000;
            i64::try_from(whole).expect("a price") + i64::from(rest >= 50_000_000)
        }
    }
}

/// Overlays about one type and capacity type each, of different weights; and the catalogue that says the same without any.
fn priced(seed: u64) -> (Case, Catalog) {
    let mut case = Case::random(seed);
    let mut rng = Random::new(seed ^ 0x0E71A);
    let mut edited = case.catalog.clone();
    let names: Vec<String> = case.catalog.types.iter().map(|kind| kind.name.clone()).collect();
    let mut done = Vec::new();
    for weight in (1..=rng.between(1, 5)).rev() {
        let (name, capacity_type) = (rng.pick(&names).clone(), *rng.pick(&["spot", "on-demand"]));
        let price = change(&mut rng);
        case.snapshot.node_overlays.push(NodeOverlay {
            name: format!("overlay-{}", rng.below(1_000_000_000)),
            weight: i32::try_from(weight).expect("small"),
            requirements: vec![
                asks(labels::INSTANCE_TYPE, Operator::In, &[&name]),
                asks(labels::CAPACITY_TYPE, Operator::In, &[capacity_type]),
            ],
            price: Some(price),
            ..NodeOverlay::default()
        });
        if done.contains(&(name.clone(), capacity_type)) {
            continue;
        }
        done.push((name.clone(), capacity_type));
        let kind = edited.types.iter_mut().find(|kind| kind.name == name).expect("it is one of them");
        if capacity_type == "spot" {
            for spot in kind.zones.iter_mut().filter_map(|zone| zone.spot.as_mut()) {
                spot.usd = UsdMicros(changed(spot.usd.0, price));
            }
        } else if let Some(usd) = &mut kind.on_demand {
            *usd = UsdMicros(changed(usd.0, price));
        }
    }
    case.snapshot.normalise();
    (case, edited)
}

#[test]
fn plans_are_as_cheap_as_with_a_catalogue_of_these_prices() {
    let (mut compared, mut met, mut differ, mut refused) = (0, 0, 0, 0);
    for seed in 0..300 {
        let (case, edited) = priced(seed);
        let plan = accepted(&case.snapshot, &case.catalog);
        let mut bare = case.snapshot.clone();
        bare.node_overlays.clear();
        bare.normalise();
        // Existing nodes have the prices of the overlays, too.
        let plain = accepted(&bare, &edited);
        assert_eq!(plan.summary.cost_before, plain.summary.cost_before, "case {seed}");
        let without = accepted(&bare, &case.catalog);
        if without.launches.iter().map(|one| one.price).sum::<UsdMicros>() != plan.summary.launch_cost {
            differ += 1;
            // What was planned without a look at the overlays has other prices than the referee derives, if it launches what they are about.
            refused += u32::from(codes(&case.snapshot, &case.catalog, &without).contains(&code::PRICE));
        }
        if plan.summary.pods_unplaced > 0 {
            continue;
        }
        let Some(optimum) = Problem::new(&bare, &edited, &policy()).by_enumeration() else { continue };
        compared += 1;
        met += u32::from(is_optimal(&plan, optimum, seed));
    }
    assert!(compared > 180 && differ > 80, "{compared} compared, {differ} differ");
    assert!(met * 10 >= compared * 9, "{met} of {compared} as cheap as can be");
    assert!(refused * 4 >= differ * 3, "{refused} of {differ} refused");
}

/// Overlays about anything, of few weights, so that many are in conflict.
fn wild(seed: u64) -> Case {
    let mut case = Case::random(seed);
    let mut rng = Random::new(seed ^ 0x0B5E55ED);
    for pool in &mut case.snapshot.node_pools {
        if rng.chance(40) {
            pool.requirements.push(asks("example.com/team", Operator::In, &["a", "b"]));
        }
    }
    for number in 0..rng.between(1, 6) {
        let any = [
            asks(labels::INSTANCE_TYPE, Operator::In, &["m5.1xlarge", "m6.2xlarge", "m7.1xlarge"]),
            asks(labels::INSTANCE_TYPE, Operator::NotIn, &["m5.2xlarge"]),
            asks("karpenter.k8s.aws/instance-cpu", Operator::Gt, &["2"]),
            asks(labels::ARCH, Operator::In, &["arm64"]),
            asks(labels::ZONE, Operator::In, &["us-east-1b"]),
            asks("topology.k8s.aws/zone-id", Operator::NotIn, &["use1-az1"]),
            asks(labels::REGION, Operator::In, &["us-east-1"]),
            asks(labels::CAPACITY_TYPE, Operator::In, &["spot"]),
            asks(labels::NODEPOOL, Operator::In, &["general"]),
            asks("example.com/team", Operator::DoesNotExist, &[]),
            asks("example.com/team", Operator::In, &["b"]),
            asks("karpenter.k8s.aws/instance-gpu-name", Operator::Exists, &[]),
        ];
        let requirements = (0..rng.below(3)).map(|_| rng.pick(&any).clone()).collect();
        let amount = rng.between(0, 4);
        case.snapshot.node_overlays.push(NodeOverlay {
            name: format!("overlay-{number}"),
            weight: i32::try_from(rng.below(3)).expect("small"),
            requirements,
            price: rng.chance(60).then(|| change(&mut rng)),
            capacity: if rng.chance(60) {
                Resources([(DEVICE.to_owned(), amount)].into())
            } else {
                Resources::default()
            },
            unreadable: rng.chance(10).then(|| "spec.price: no".to_owned()),
        });
    }
    for pod in &mut case.snapshot.pods {
        if rng.chance(40) {
            pod.spec.containers[0].requests.set(DEVICE, rng.between(1, 2));
        }
    }
    for pool in &mut case.snapshot.node_pools {
        if rng.chance(30) {
            pool.limits.set(DEVICE, rng.between(0, 5));
        }
    }
    case.snapshot.normalise();
    case
}

#[test]
fn planner_and_referee_read_the_same_overlays() {
    let (mut ignored, mut with_device, mut free) = (0, 0, 0);
    for seed in 0..600 {
        let case = wild(seed);
        let plan = accepted(&case.snapshot, &case.catalog);
        ignored += plan.notes.iter().filter(|note| note.starts_with("NodeOverlay")).count();
        with_device += plan.launches.iter().filter(|launch| launch.requested.get(DEVICE) > 0).count();
        free += plan.launches.iter().filter(|launch| launch.price == UsdMicros::ZERO).count();
    }
    assert!(ignored > 200 && with_device > 100 && free > 10, "{ignored} ignored, {with_device}, {free} free");
}

/// A case with launches, and its first.
fn launching() -> Case {
    let found = (0..100).map(Case::random).find(|case| {
        let plan = accepted(&case.snapshot, &case.catalog);
        plan.launches.len() == 1 && plan.summary.pods_unplaced == 0 && case.snapshot.node_pools.len() == 1
    });
    found.expect("a case that launches one node")
}

fn overlay(name: &str, weight: i32) -> NodeOverlay {
    NodeOverlay { name: name.to_owned(), weight, ..NodeOverlay::default() }
}

#[test]
fn devices_that_only_an_overlay_knows_are_planned_with() {
    let mut case = launching();
    case.snapshot.pods[0].spec.containers[0].requests.set(DEVICE, 1);
    let pod = case.snapshot.pods[0].id();
    let left = accepted(&case.snapshot, &case.catalog);
    assert!(left.unplaced.iter().any(|entry| entry.pods.contains(&pod)), "nobody has the device");
    let bare = case.snapshot.clone();
    let mut device = overlay("device", 0);
    device.capacity.set(DEVICE, 3);
    case.snapshot.node_overlays.push(device);
    case.snapshot.normalise();
    let plan = accepted(&case.snapshot, &case.catalog);
    let launch = plan.launches.iter().find(|launch| launch.pods.contains(&pod)).expect("it is launched for");
    assert_eq!((launch.allocatable.get(DEVICE), launch.requested.get(DEVICE)), (3, 1));
    // Without the overlay the referee takes neither the room nor what is promised.
    let found = codes(&bare, &case.catalog, &plan);
    assert!(found.contains(&code::ALLOCATABLE) && found.contains(&code::CAPACITY), "{found:?}");
    // A limit on it counts what overlays say of the node.
    case.snapshot.node_pools[0].limits.set(DEVICE, 2);
    let limited = accepted(&case.snapshot, &case.catalog);
    assert!(limited.unplaced.iter().any(|entry| entry.pods.contains(&pod)), "the node has three");
    assert!(codes(&case.snapshot, &case.catalog, &plan).contains(&code::LIMIT));
}

#[test]
fn of_two_overlays_the_heavier_counts_and_of_equals_the_first_by_name() {
    let mut case = launching();
    let costs = |overlays: &[NodeOverlay], case: &mut Case| {
        case.snapshot.node_overlays = overlays.to_vec();
        case.snapshot.normalise();
        let plan = accepted(&case.snapshot, &case.catalog);
        let notes: Vec<String> =
            plan.notes.into_iter().filter(|note| note.starts_with("NodeOverlay")).collect();
        (plan.launches[0].price.0, notes)
    };
    let to = |name: &str, weight, price| NodeOverlay {
        price: Some(PriceChange::To(UsdMicros(price))),
        ..overlay(name, weight)
    };
    assert_eq!(costs(&[to("a", 1, 11), to("b", 2, 22)], &mut case), (22, Vec::new()));
    let (price, notes) = costs(&[to("b", 2, 22), to("a", 2, 11), to("c", 1, 33)], &mut case);
    assert_eq!(price, 11);
    assert!(notes.len() == 1 && notes[0].contains("NodeOverlay b is ignored: conflict"), "{notes:?}");
    // Equal weights are no conflict where no node can be meant by both, nor where they state different things.
    let (spot, on_demand) = (["spot"], ["on-demand"]);
    let about = |mut overlay: NodeOverlay, values: &[&str]| {
        overlay.requirements.push(asks(labels::CAPACITY_TYPE, Operator::In, values));
        overlay
    };
    let mut devices = overlay("c", 2);
    devices.capacity.set(DEVICE, 1);
    let all = [about(to("a", 2, 11), &spot), about(to("b", 2, 11), &on_demand), devices.clone()];
    assert_eq!(costs(&all, &mut case), (11, Vec::new()));
    // Amounts are of a type, wherever it is.
    let mut more = about(overlay("d", 2), &spot);
    more.capacity.set(DEVICE, 2);
    let notes = costs(&[about(devices, &on_demand), more], &mut case).1;
    assert!(notes.len() == 1 && notes[0].contains("NodeOverlay d is ignored: conflict"), "{notes:?}");
    // What cannot be read counts for nothing, whatever its weight.
    let broken = NodeOverlay { unreadable: Some("spec.price: no".to_owned()), ..to("a", 9, 1) };
    let (price, notes) = costs(&[broken, to("b", 1, 22)], &mut case);
    assert_eq!((price, notes), (22, vec!["NodeOverlay a is ignored: spec.price: no".to_owned()]));
}
