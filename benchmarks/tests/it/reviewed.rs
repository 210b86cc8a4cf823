//! Goal: launches that were approved a while ago are judged against what is there now: possible ones pass whatever else has changed, and every
//! change that makes one impossible or dearer is a finding.

use std::collections::BTreeMap;
use std::time::Duration;
use stowage_bench::trial::{self, recorded};
use stowage_checker::{check, check_launches, code};
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Plan, Policy};
use stowage_models::quantity::Resources;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

fn planned() -> (Snapshot, Plan) {
    let snapshot = recorded("small");
    let limits = trial::by_work(Duration::from_millis(300), 1);
    let plan =
        stowage_planner::plan(&snapshot, Catalog::embedded(), &Policy::default(), &limits, &mut |_| {});
    let plan = plan.expect("a plan").plan;
    assert!(plan.launches.len() > 1, "{} launches", plan.launches.len());
    assert_eq!(check(&snapshot, Catalog::embedded(), &plan), Vec::new());
    (snapshot, plan)
}

fn codes(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan) -> Vec<&'static str> {
    let placed = plan.existing.iter().filter(|node| !node.pods.is_empty());
    let existing: BTreeMap<String, Vec<PodRef>> =
        placed.map(|node| (node.name.clone(), node.pods.clone())).collect();
    let findings = check_launches(snapshot, catalog, &plan.policy, &plan.launches, &existing);
    findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn what_is_unrelated_changes_nothing() {
    let (snapshot, plan) = planned();
    let catalog = Catalog::embedded();
    assert_eq!(codes(&snapshot, catalog, &plan), Vec::<&str>::new());
    // Another pod waits; time has passed; pods that go on existing nodes are there, or gone.
    let mut later = snapshot.clone();
    let mut other = snapshot.pods.iter().find(|pod| pod.is_pending()).expect("one waits").clone();
    other.name = "another".to_owned();
    other.uid = Some("another".to_owned());
    later.pods.push(other);
    later.taken_at = Some("2027-01-01T00:00:00Z".to_owned());
    later.normalise();
    assert_eq!(codes(&later, catalog, &plan), Vec::<&str>::new());
    // Part of the launches, as after a restart.
    let mut rest = plan.clone();
    rest.launches.remove(0);
    assert_eq!(codes(&later, catalog, &rest), Vec::<&str>::new());
    // What is cheaper now is no reason against it.
    let mut cheaper = catalog.clone();
    for one in &mut cheaper.types {
        one.on_demand = one.on_demand.map(|price| UsdMicros(price.0 - 1));
    }
    assert_eq!(codes(&snapshot, &cheaper, &plan), Vec::<&str>::new());
}

#[test]
fn what_makes_a_launch_impossible_is_found() {
    let (snapshot, plan) = planned();
    let catalog = Catalog::embedded();
    let launch = &plan.launches[0];
    let with = |change: &dyn Fn(&mut Snapshot)| {
        let mut later = snapshot.clone();
        change(&mut later);
        later.normalise();
        codes(&later, catalog, &plan)
    };
    let pod = launch.pods[0].clone();
    assert!(with(&|later| later.pods.retain(|one| one.id() != pod)).contains(&code::UNKNOWN_POD));
    assert!(with(&|later| later.node_pools.clear()).contains(&code::OFFERING));
    let larger = |later: &mut Snapshot| {
        let found = later.pods.iter_mut().find(|one| one.id() == pod).expect("it is there");
        found.spec.containers[0].requests.set("cpu", 10_000_000);
    };
    assert!(with(&larger).contains(&code::CAPACITY));
    let limited = |later: &mut Snapshot| {
        let of_it = later.node_pools.iter_mut().filter(|pool| pool.name == launch.node_pool);
        of_it.for_each(|pool| pool.limits = Resources::from([("cpu", 1)]));
    };
    assert!(with(&limited).contains(&code::LIMIT));
    let labels = |later: &mut Snapshot| {
        let found = later.pods.iter_mut().find(|one| one.id() == pod).expect("it is there");
        found.spec.node_selector = [("nobody".to_owned(), "has-it".to_owned())].into();
    };
    assert!(!with(&labels).is_empty());
    // Dearer than approved, by the least there is.
    let mut cheap = plan.clone();
    cheap.launches[0].price.0 -= 1;
    assert_eq!(codes(&snapshot, catalog, &cheap), [code::PRICE]);
    if let Some(alternate) = cheap.launches.iter_mut().find_map(|launch| launch.alternates.first_mut()) {
        alternate.price.0 -= 1;
        assert_eq!(codes(&snapshot, catalog, &cheap), [code::PRICE, code::PRICE]);
    }
}
