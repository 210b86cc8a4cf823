//! Goal: what a NodePool's `minValues` ask for is there, and costs little more than it must.

use std::collections::BTreeSet;
use std::time::Duration;
use stowage_bench::oracle::{Case, Problem};
use stowage_bench::trial::{self, is_optimal, recorded};
use stowage_checker::{check, code};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::plan::{Launch, MinValues, Plan, Policy, UnplacedReason};
use stowage_models::random::Random;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

const FAMILY: &str = "karpenter.k8s.aws/instance-family";

fn accepted(snapshot: &Snapshot, catalog: &Catalog, policy: &Policy) -> Plan {
    trial::accepted(snapshot, catalog, policy, Duration::from_secs(1))
}

fn at_least(key: &str, values: u32) -> Requirement {
    Requirement { min_values: Some(values), ..Requirement::new(key, Operator::Exists, &[]) }
}

/// Instance types a launch may end up on.
fn types(launch: &Launch) -> BTreeSet<&str> {
    let others = launch.alternates.iter().map(|one| one.instance_type.as_str());
    others.chain([launch.instance_type.as_str()]).collect()
}

#[test]
fn tiny_cases_keep_to_it_and_cost_what_they_must() {
    let (mut compared, mut met, mut dearer) = (0, 0, 0);
    for seed in 0..400 {
        let mut case = Case::random(seed);
        let mut rng = Random::new(seed ^ 0xA11);
        for pool in &mut case.snapshot.node_pools {
            if rng.chance(70) {
                let key = *rng.pick(&[labels::INSTANCE_TYPE, labels::ZONE, labels::CAPACITY_TYPE]);
                pool.requirements.push(at_least(key, 2));
            }
        }
        let policy = Policy { gap: Ppm(0), ..Policy::default() };
        let problem = Problem::new(&case.snapshot, &case.catalog, &policy);
        let plan = accepted(&case.snapshot, &case.catalog, &policy);
        let Some(optimum) = problem.by_enumeration() else { continue };
        let placed = plan.summary.pods_on_existing + plan.summary.pods_on_new;
        assert_eq!(placed, problem.pods.len() as u64, "case {seed}: pods placed");
        compared += 1;
        met += u32::from(is_optimal(&plan, optimum, seed));
        let free = Policy { min_values: Some(MinValues::BestEffort), ..policy };
        let free = Problem::new(&case.snapshot, &case.catalog, &free).by_enumeration();
        dearer += u32::from(free.is_some_and(|free| free < optimum));
    }
    assert!(compared > 200 && dearer > 5, "{compared} compared, {dearer} cost more for it");
    assert!(met * 10 >= compared * 8, "{met} of {compared} as cheap as can be");
}

#[test]
fn launches_of_a_recorded_snapshot_have_enough_to_choose_from() {
    let mut snapshot = recorded("web-1k");
    for pool in &mut snapshot.node_pools {
        pool.requirements.push(at_least(labels::INSTANCE_TYPE, 30));
        pool.requirements.push(at_least(FAMILY, 5));
    }
    let before = accepted(&recorded("web-1k"), Catalog::embedded(), &Policy::default());
    let plan = accepted(&snapshot, Catalog::embedded(), &Policy::default());
    assert_eq!(plan.policy.min_values, Some(MinValues::Strict));
    assert!(plan.launches.iter().all(|launch| types(launch).len() >= 30));
    assert_eq!(plan.summary.pods_unplaced, before.summary.pods_unplaced);
    assert!(
        before.launches.iter().any(|launch| types(launch).len() < 30) && before.policy.min_values.is_none()
    );
    // Without one of its alternates too many, a launch is refused.
    let mut short = plan;
    short.launches[0].alternates.truncate(10);
    short.id = short.compute_id();
    let codes: Vec<&str> = check(&snapshot, Catalog::embedded(), &short).iter().map(|one| one.code).collect();
    assert!(codes.contains(&code::MIN_VALUES), "{codes:?}");
}

#[test]
fn a_pod_that_only_min_values_keep_out_is_told_so() {
    let mut snapshot = recorded("web-1k");
    let family = |values| at_least(FAMILY, values);
    snapshot.nodes.clear();
    snapshot.node_claims.clear();
    snapshot.pods.retain(|pod| pod.is_pending());
    snapshot.pods.truncate(1);
    snapshot.pods[0].spec = stowage_models::objects::PodSpec {
        containers: snapshot.pods[0].spec.containers.clone(),
        ..Default::default()
    }
    .into();
    snapshot.pods[0].spec.node_selector.insert(FAMILY.to_owned(), "m7i".to_owned());
    for pool in &mut snapshot.node_pools {
        pool.requirements = vec![family(2)];
        pool.limits = Default::default();
    }
    let plan = accepted(&snapshot, Catalog::embedded(), &Policy::default());
    let [out] = &plan.unplaced[..] else { panic!("{:?}", plan.unplaced) };
    assert_eq!(out.reason, UnplacedReason::Constraint);
    assert!(out.blocking.iter().all(|one| one.constraint.contains("requirements[0].minValues")), "{out:?}");
    assert!(out.blocking.iter().all(|one| one.price_without > Some(UsdMicros::ZERO)), "{out:?}");
    let effort = Policy { min_values: Some(MinValues::BestEffort), ..Policy::default() };
    let plan = accepted(&snapshot, Catalog::embedded(), &effort);
    assert_eq!((plan.unplaced.len(), plan.launches.len()), (0, 1));
    assert!(plan.notes.iter().any(|note| note.contains("minValues")), "{:?}", plan.notes);
}
