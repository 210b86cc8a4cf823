//! Goal: on cases small enough to know the answer, the planner finds it.
//!
//! Method: 200 seeded cases of at most six pods and six offerings. The optimum is found by enumeration and by the
//! assignment model, which must agree; the planner's cost must equal it, and the checker must accept the plan.

use std::time::Duration;
use stowage_bench::oracle::{Case, Problem};
use stowage_bench::trial::{by_clock, is_optimal};
use stowage_models::plan::Policy;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::Limits;

const CASES: u64 = 200;

/// A clock for the planner, which reads none itself.
fn limits() -> Limits {
    by_clock(Duration::from_secs(10), 1)
}

/// The policy of the cases: the default slack, and no gap is small enough but zero.
fn policy() -> Policy {
    Policy { gap: Ppm(0), ..Policy::default() }
}

#[test]
fn model_and_enumeration_agree() {
    for seed in 0..CASES {
        let case = Case::random(seed);
        let problem = Problem::new(&case.snapshot, &case.catalog, &policy());
        assert_eq!(problem.by_model(), problem.by_enumeration(), "case {seed}: {problem:?}");
    }
}

#[test]
fn the_planner_finds_the_optimum() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for seed in 0..CASES {
        let case = Case::random(seed);
        let problem = Problem::new(&case.snapshot, &case.catalog, &policy());
        // A pod that only an existing node can hold may lose that place to another; who then stays is not a question of
        // cost, so such a case has no optimum to compare with.
        let Some(optimum) = problem.by_enumeration() else {
            continue;
        };
        compared += 1;
        let planned = stowage_planner::plan(&case.snapshot, &case.catalog, &policy(), &limits(), &mut |_| {})
            .unwrap_or_else(|error| panic!("case {seed}: {error}"));
        let findings = stowage_checker::check(&case.snapshot, &case.catalog, &planned.plan);
        assert!(findings.is_empty(), "case {seed}: the checker refuses the plan: {findings:#?}");
        let summary = &planned.plan.summary;
        let placed = summary.pods_on_existing + summary.pods_on_new;
        assert_eq!(placed, problem.pods.len() as u64, "case {seed}: pods placed");
        if !is_optimal(&planned.plan, optimum, seed) {
            wrong.push((seed, summary.launch_cost, optimum));
        }
    }
    assert!(compared * 100 >= CASES * 95, "only {compared} of {CASES} cases have an optimum to compare with");
    let costlier =
        |(seed, cost, optimum): &(u64, UsdMicros, UsdMicros)| format!("{seed}: {cost} for {optimum}");
    assert!(wrong.is_empty(), "not optimal: {}", wrong.iter().map(costlier).collect::<Vec<_>>().join(", "));
}
