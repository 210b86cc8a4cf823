//! Warm states: they make second batches quick, and a wrong one harms nothing but time.

use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::measure::Effort;
use stowage_bench::oracle::Case;
use stowage_bench::second::situation;
use stowage_bench::trial::by_clock;
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;
use stowage_planner::{Planned, Warm, plan_warm};

fn run(snapshot: &Snapshot, catalog: &Catalog, time: Duration, warm: &Warm) -> (Planned, Warm) {
    let limits = by_clock(time, 2);
    plan_warm(snapshot, catalog, &Policy::default(), &limits, warm, &mut |_| {}).expect("a plan")
}

fn bytes(plan: &Plan) -> Vec<u8> {
    serde_json::to_vec(plan).expect("JSON")
}

/// States of other clusters and other catalogues, and those that such states left: every plan is accepted, places as many pods
/// as a cold one, and is the same each time.
#[test]
fn a_state_of_another_cluster_costs_time_only() {
    let generous = Duration::from_secs(20);
    let other = Composition::named("mixed-100").expect("it is listed").snapshot(1);
    let (_, mut warm) = run(&other, Catalog::embedded(), generous, &Warm::default());
    let mut quick = 0;
    for case in (0..60).map(Case::random) {
        let (cold, _) = run(&case.snapshot, &case.catalog, generous, &Warm::default());
        for time in [generous, Duration::from_millis(30)] {
            let (planned, next) = run(&case.snapshot, &case.catalog, time, &warm);
            let findings = stowage_checker::check(&case.snapshot, &case.catalog, &planned.plan);
            assert_eq!(findings, Vec::new(), "case {}", case.snapshot.seed);
            let placed = |plan: &Plan| plan.summary.pods_pending - plan.summary.pods_unplaced;
            assert_eq!(placed(&planned.plan), placed(&cold.plan));
            if time == generous {
                let (again, _) = run(&case.snapshot, &case.catalog, time, &warm);
                assert!(bytes(&again.plan) == bytes(&planned.plan), "two runs differ");
                warm = next;
            } else {
                quick += usize::from(planned.report.simplex_iterations == 0);
            }
        }
    }
    assert!(quick >= 20, "only {quick} plans without a linear program");
}

/// Two hundred pods after ten thousand, in a time no linear program fits into.
#[test]
fn a_second_batch_needs_no_linear_program() {
    let effort = Effort { time: Duration::from_secs(20), gap: Ppm(20_000), threads: 2 };
    let (cluster, warm) = situation(3, 200, &effort).expect("a first plan");
    let (planned, _) = run(&cluster, Catalog::embedded(), Duration::from_millis(20), &warm);
    assert_eq!(stowage_checker::check(&cluster, Catalog::embedded(), &planned.plan), Vec::new());
    let summary = &planned.plan.summary;
    assert_eq!((summary.pods_unplaced, planned.report.simplex_iterations), (0, 0));
    assert!(summary.gap <= Ppm(400_000), "gap {}", summary.gap);
}
