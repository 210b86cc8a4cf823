//! Goal: what age and restarts of pods weigh counts in choice, figures and proof alike, and in none of them unless it is asked for.

use super::{composed, planned, policy, refused};
use stowage_checker::code::{FIGURE, POLICY};
use stowage_models::consolidation::ConsolidationSummary;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// Every pod has run for five days, and was started again four times.
fn scene() -> Snapshot {
    let mut snapshot = composed("scaledown-30");
    snapshot.taken_at = Some("2026-08-31T12:00:00Z".to_owned());
    for pod in &mut snapshot.pods {
        pod.created = Some("2026-08-26T12:00:00Z".to_owned());
        pod.restarts = 4;
    }
    snapshot.normalise();
    assert_eq!(snapshot.format_version, "1.1");
    snapshot
}

fn weighing(snapshot: &Snapshot, age: i64, restart: i64) -> Plan {
    let mut asked: Policy = policy();
    let wanted = asked.consolidation.as_mut().unwrap();
    (wanted.age_weight, wanted.restart_weight) = (Ppm(age), Ppm(restart));
    planned(snapshot, &asked)
}

fn summary(plan: &Plan) -> &ConsolidationSummary {
    &plan.consolidation.as_ref().unwrap().summary
}

#[test]
fn old_pods_move_less_and_restless_ones_for_nothing() {
    let snapshot = scene();
    let plain = weighing(&snapshot, 0, 0);
    let once = |plan: &Plan, weight: i64| {
        let summary = summary(plan);
        let (pods, nodes) = (summary.pods_moved as i64, summary.nodes_removed as i64);
        // A few weigh a little more, for their priority.
        let more = summary.disruption_cost.0 - (pods * weight * 5_000 + nodes * 10_000);
        assert!((0..=pods).contains(&more), "{summary:?}");
        pods
    };
    let moved = once(&plain, 1);
    // 1 + 5 * 1.8 is the most that a pod weighs.
    let aged = weighing(&snapshot, 1_800_000, 0);
    assert!(once(&aged, 10) < moved && moved > 0);
    // 1 + 9 - 4 * 3 is less than nothing.
    let restless = weighing(&snapshot, 1_800_000, 3_000_000);
    assert!(once(&restless, 0) > once(&aged, 10));
    assert!(
        summary(&restless).bound <= summary(&plain).bound && summary(&plain).bound <= summary(&aged).bound
    );
}

#[test]
fn the_referee_weighs_for_itself() {
    let snapshot = scene();
    let plan = weighing(&snapshot, 500_000, 100_000);
    let with = |age: i64, restart: i64| {
        refused(&snapshot, &plan, |plan| {
            let wanted = plan.policy.consolidation.as_mut().unwrap();
            (wanted.age_weight, wanted.restart_weight) = (Ppm(age), Ppm(restart));
        })
    };
    assert!(with(500_000, 100_000).is_empty());
    assert!(with(400_000, 100_000).contains(FIGURE));
    assert!(with(500_000, 200_000).contains(FIGURE));
    assert!(with(-1, 0).contains(POLICY) && with(0, 10_000_001).contains(POLICY));
}
