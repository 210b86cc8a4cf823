//! Goal: preferences about nodes cost what the formulation says, and the plan weighs them against prices as well as anybody can.

use std::time::Duration;
use stowage_bench::oracle::{Case, Problem};
use stowage_bench::trial::{self, is_optimal, recorded};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{NodeSelectorTerm, Pod, PreferredNodeTerm, Taint, TaintEffect};
use stowage_models::plan::{Plan, Policy, Preferences};
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

fn policy(preferences: Option<Preferences>) -> Policy {
    Policy { gap: Ppm(0), preferences, ..Policy::default() }
}

fn accepted(snapshot: &Snapshot, catalog: &Catalog, policy: &Policy) -> Plan {
    trial::accepted(snapshot, catalog, policy, Duration::from_secs(2))
}

/// Six pods at most: trying everything gives the least price of nodes and unmet preferences together.
#[test]
fn the_planner_finds_the_optimum() {
    let (mut compared, mut paid, mut moved) = (0, 0, 0);
    for seed in 0..300 {
        let case = Case::preferring(seed);
        let wanted = policy(Some(Preferences::Respect));
        let Some(optimum) = Problem::new(&case.snapshot, &case.catalog, &wanted).by_enumeration() else {
            continue;
        };
        let plan = accepted(&case.snapshot, &case.catalog, &wanted);
        let summary = &plan.summary;
        assert!(is_optimal(&plan, optimum, seed), "case {seed}: {} for {optimum}", summary.total_cost());
        compared += 1;
        paid += u32::from(summary.preference_cost > UsdMicros::ZERO);
        let ignored = accepted(&case.snapshot, &case.catalog, &policy(Some(Preferences::Ignore)));
        assert_eq!(ignored.summary.preference_cost, UsdMicros::ZERO, "case {seed}");
        assert!(
            ignored.summary.launch_cost <= summary.launch_cost,
            "case {seed}: ignoring them cannot cost more"
        );
        moved += u32::from(ignored.launches != plan.launches);
    }
    assert!(compared > 270 && paid > 100 && moved > 20, "{compared} compared, {paid} paid, {moved} moved");
}

/// Preferences of all kinds in a recorded snapshot: the bound holds for price and preferences together and is near.
#[test]
fn a_recorded_snapshot_with_preferences_is_planned_within_the_gap() {
    let mut snapshot = recorded("web-1k");
    let term = |key: &str, value: &str, weight| PreferredNodeTerm {
        weight,
        preference: NodeSelectorTerm {
            match_expressions: vec![Requirement::new(key, Operator::In, &[value])],
            match_fields: Vec::new(),
        },
    };
    let mut apps: Vec<String> =
        snapshot.pods.iter().filter_map(|pod| pod.labels.get("app").cloned()).collect();
    apps.sort();
    apps.dedup();
    for pod in snapshot.pods.iter_mut().filter(|pod| pod.is_pending()) {
        let app = apps.iter().position(|app| Some(app) == pod.labels.get("app")).unwrap_or(0);
        pod.spec.affinity.node_preferred = match app % 4 {
            0 => vec![term(labels::ZONE, "us-east-1b", 100)],
            1 => vec![term(labels::CAPACITY_TYPE, "on-demand", 50), term(labels::ZONE, "us-east-1a", 10)],
            2 => vec![term(labels::ARCH, "arm64", 80)],
            _ => Vec::new(),
        };
    }
    let taint = Taint { key: "soft".to_owned(), value: String::new(), effect: TaintEffect::PreferNoSchedule };
    snapshot.node_pools[0].taints.push(taint);
    snapshot.normalise();
    let wanted = Policy { gap: Ppm(10_000), ..Policy::default() };
    let plan = accepted(&snapshot, Catalog::embedded(), &wanted);
    let ignored = Policy { preferences: None, ..wanted };
    let without = accepted(&snapshot, Catalog::embedded(), &ignored);
    assert!(plan.summary.preference_cost > UsdMicros::ZERO);
    let (gap, before) = (plan.summary.gap, without.summary.gap);
    assert!(gap.0 <= before.0 + 20_000, "gap {gap}, without preferences {before}");
    // A tenth of each pod at most per preference: nothing here may cost twice as much.
    assert!(plan.summary.launch_cost.0 < 2 * without.summary.launch_cost.0);
}

/// Two places cost nearly the same: the preference decides. One costs far more: it does not.
#[test]
fn preferences_decide_between_places_that_cost_nearly_the_same() {
    let mut snapshot = recorded("web-1k");
    for pod in snapshot.pods.iter_mut().filter(|pod| pod.is_pending()) {
        let expression = Requirement::new(labels::ZONE, Operator::In, &["us-east-1c"]);
        pod.spec.affinity.node_preferred = vec![PreferredNodeTerm {
            weight: 100,
            preference: NodeSelectorTerm { match_expressions: vec![expression], match_fields: Vec::new() },
        }];
        pod.spec.node_selector.insert(labels::CAPACITY_TYPE.to_owned(), "on-demand".to_owned());
    }
    snapshot.node_pools.iter_mut().for_each(|pool| pool.requirements.retain(|one| one.key != labels::ZONE));
    let plan = accepted(&snapshot, Catalog::embedded(), &Policy::default());
    let pods = |preferred: bool| -> usize {
        let there = plan.launches.iter().filter(|one| (one.zone == "us-east-1c") == preferred);
        there.map(|launch| launch.pods.len()).sum()
    };
    assert!(pods(true) >= 9 * pods(false), "{} of {} pods", pods(true), pods(true) + pods(false));
    // On-demand prices are those of the region: but for pods bound to a zone, the preferred one is as cheap as any.
    let bound =
        |pod: &Pod, zone: &str| pod.spec.node_selector.get(labels::ZONE).is_some_and(|own| own == zone);
    for launch in plan.launches.iter().filter(|launch| launch.zone != "us-east-1c") {
        let mut bound = snapshot.pods.iter().filter(|pod| bound(pod, &launch.zone));
        let has_reason = bound.any(|pod| launch.pods.contains(&pod.id()));
        assert!(has_reason, "{} is in {} for no pod that has to be there", launch.slot, launch.zone);
    }
}

/// What has no preference is planned, and written, as ever.
#[test]
fn plans_without_preferences_do_not_mention_them() {
    let mut snapshot = recorded("small");
    snapshot.pods.iter_mut().for_each(|pod| pod.spec.affinity.node_preferred.clear());
    snapshot.pods.iter_mut().for_each(|pod| pod.spec.topology_spread.retain(|spread| spread.hard));
    let plan = accepted(&snapshot, Catalog::embedded(), &Policy::default());
    let text = serde_json::to_string(&plan).expect("JSON");
    assert!(plan.policy.preferences.is_none() && !text.contains("preference"), "{text}");
}
