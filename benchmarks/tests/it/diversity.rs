//! Spot nodes of several types and zones: as many as the share asks for, never dearer than need be, and the referee sees what is crowded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::trial::by_clock;
use stowage_checker::check;
use stowage_checker::code::{DIVERSITY, POLICY};
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::plan;

fn snapshot() -> Snapshot {
    let composition = Composition::named("mixed-1k").expect("it is composed");
    composition.snapshot(composition.seed)
}

fn planned(snapshot: &Snapshot, share: Option<Ppm>) -> Plan {
    let policy = Policy { spot_share_max: share, ..Policy::default() };
    let limits = by_clock(Duration::from_secs(3), 2);
    let found = plan(snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {}).expect("a plan").plan;
    assert_eq!(check(snapshot, Catalog::embedded(), &found), []);
    found
}

/// The largest share of a NodePool's spot vCPUs in one type and zone that has several nodes.
fn largest(plan: &Plan) -> Ppm {
    let mut pools: BTreeMap<&str, BTreeMap<(&str, &str), Vec<i64>>> = BTreeMap::new();
    for launch in plan.launches.iter().filter(|launch| launch.capacity_type == "spot") {
        let vcpus = Catalog::embedded().get(&launch.instance_type).expect("known").vcpus;
        let markets = pools.entry(&launch.node_pool).or_default();
        markets.entry((&launch.instance_type, &launch.zone)).or_default().push(i64::from(vcpus));
    }
    let shares = pools.values().flat_map(|markets| {
        let whole: i64 = markets.values().flatten().sum();
        let several = markets.values().filter(|nodes| nodes.len() > 1);
        several.map(move |nodes| Ppm(nodes.iter().sum::<i64>() * Ppm::ONE / whole)).collect::<Vec<_>>()
    });
    shares.max().unwrap_or_default()
}

#[test]
fn spot_is_spread_as_the_policy_asks() {
    let snapshot = snapshot();
    let free = planned(&snapshot, None);
    let (third, tenth) = (Ppm(300_000), Ppm(100_000));
    assert!(largest(&free) > third, "{:?}: nothing to do", largest(&free));
    let mut last = free.summary.total_cost();
    for share in [third, tenth] {
        let plan = planned(&snapshot, Some(share));
        assert!(largest(&plan) <= share, "{:?}", largest(&plan));
        assert!(plan.summary.total_cost() >= last, "{:?}", plan.summary);
        assert!(
            plan.notes.iter().any(|note| note.contains("spot launches are not the cheapest")),
            "{:?}",
            plan.notes
        );
        last = plan.summary.total_cost();
    }
    assert!(last < UsdMicros(free.summary.total_cost().0 * 2), "{last}");
}

#[test]
fn the_referee_sees_what_is_crowded() {
    let snapshot = snapshot();
    let mut plan = planned(&snapshot, None);
    plan.policy.spot_share_max = Some(Ppm(100_000));
    plan.id = plan.compute_id();
    let codes: BTreeSet<&str> =
        check(&snapshot, Catalog::embedded(), &plan).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, BTreeSet::from([DIVERSITY]));
    plan.policy.spot_share_max = Some(Ppm(0));
    plan.id = plan.compute_id();
    let findings = check(&snapshot, Catalog::embedded(), &plan);
    assert!(findings.iter().any(|finding| finding.code == POLICY), "{findings:?}");
}
