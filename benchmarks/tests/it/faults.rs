//! Whatever the solver does, a plan comes out, it is right, and the fault is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::trial::by_work;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_planner::Planned;
use stowage_planner::faults::{Injected, with};

const KINDS: [Injected; 5] = [
    Injected::Status(13),
    Injected::NotANumber,
    Injected::LostBasis,
    Injected::Circles,
    Injected::WrongOptimum,
];

fn composed(name: &str) -> Snapshot {
    let composition = Composition::named(name).expect("a composition");
    composition.snapshot(composition.seed)
}

/// A plan under a clock that stands still: only work ends the search.
fn plan(snapshot: &Snapshot, threads: usize) -> Planned {
    let limits = by_work(Duration::from_millis(200), threads);
    stowage_planner::plan(snapshot, Catalog::embedded(), &Policy::default(), &limits, &mut |_| {})
        .expect("a plan")
}

fn assert_right(snapshot: &Snapshot, planned: &Planned, case: &str) {
    let findings = stowage_checker::check(snapshot, Catalog::embedded(), &planned.plan);
    assert_eq!(findings, Vec::new(), "{case}");
}

#[test]
fn one_fault_anywhere_leaves_a_right_plan() {
    for name in ["mixed-100", "constrained-1k"] {
        let snapshot = composed(name);
        let (undisturbed, runs) = with(|_| None, || plan(&snapshot, 2));
        assert!(runs > 8, "{name}: {runs} runs of the solver are too few for a test of its faults");
        for kind in KINDS {
            // The first runs decide most; of the others a few.
            for at in [0, 1, runs / 2] {
                let script = move |run| (run == at).then_some(kind);
                let (planned, _) = with(script, || plan(&snapshot, 2));
                assert_right(&snapshot, &planned, &format!("{name}, {kind:?} at run {at} of {runs}"));
                let (placed, all) =
                    (planned.plan.summary.pods_unplaced, undisturbed.plan.summary.pods_unplaced);
                assert_eq!(placed, all, "{name}, {kind:?} at run {at}");
            }
        }
    }
}

#[test]
fn a_solver_that_never_works_leaves_a_plan_with_a_bound_and_says_so() {
    for name in ["mixed-100", "constrained-1k"] {
        let snapshot = composed(name);
        for kind in [Injected::Status(13), Injected::NotANumber] {
            let (planned, _) = with(move |_| Some(kind), || plan(&snapshot, 2));
            assert_right(&snapshot, &planned, &format!("{name}, always {kind:?}"));
            assert!(!planned.report.faults.is_empty(), "{name}: the fault is not in the report");
            let summary = &planned.plan.summary;
            assert!(summary.launch_bound.0 > 0 && summary.launch_bound <= summary.launch_cost);
        }
        let (planned, _) = with(|_| Some(Injected::WrongOptimum), || plan(&snapshot, 2));
        assert_right(&snapshot, &planned, &format!("{name}, always wrong"));
    }
}

/// Fifty runs while the machine is busy with other things, on one to three threads: the same bytes.
#[test]
fn a_busy_machine_changes_no_byte() {
    let snapshot = composed("mixed-1k");
    let bytes = |planned: &Planned| serde_json::to_vec(&planned.plan).expect("a document");
    let want = bytes(&plan(&snapshot, 2));
    let done = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let done = done.clone();
            std::thread::spawn(move || {
                let mut sum = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    // Bursts, so that the planner's threads are put off again and again.
                    for k in 0..200_000_u64 {
                        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(k));
                    }
                    std::thread::yield_now();
                }
                sum
            })
        })
        .collect();
    let different = (0..50).filter(|run| bytes(&plan(&snapshot, 1 + run % 3)) != want).count();
    done.store(true, Ordering::Relaxed);
    for other in others {
        other.join().expect("it ends");
    }
    assert_eq!(different, 0, "runs of 50 that differ");
}
