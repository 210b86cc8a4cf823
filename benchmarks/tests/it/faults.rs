//! Whatever the solver does, a plan comes out, it is right, and the fault is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::trial::by_work;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;
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
    plan_within(snapshot, threads, Policy::default().gap)
}

fn plan_within(snapshot: &Snapshot, threads: usize, gap: Ppm) -> Planned {
    let limits = by_work(Duration::from_millis(200), threads);
    let policy = Policy { gap, ..Policy::default() };
    stowage_planner::plan(snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {}).expect("a plan")
}

/// A gap that no plan of thousands of pods reaches: nodes are built again until the work is done.
const OUT_OF_REACH: Ppm = Ppm(100);

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

/// Programs of nodes that are built again are the last ones of a plan of many pods.
#[test]
fn a_fault_while_nodes_are_built_again_leaves_the_plan_and_is_told() {
    let snapshot = composed("mixed-5k");
    let (undisturbed, runs) = with(|_| None, || plan_within(&snapshot, 2, OUT_OF_REACH));
    assert_eq!(undisturbed.report.faults, Vec::<String>::new());
    assert!(
        undisturbed.report.timeline.iter().any(|moment| moment.stage == "rebuilt"),
        "nothing was built again"
    );
    for kind in [Injected::Status(13), Injected::NotANumber] {
        let script = move |run| (run == runs / 2).then_some(kind);
        let (planned, _) = with(script, || plan_within(&snapshot, 2, OUT_OF_REACH));
        assert_right(&snapshot, &planned, &format!("{kind:?}"));
        assert_eq!(planned.plan.summary.pods_unplaced, 0);
        let told = planned.report.faults.iter().any(|fault| fault.starts_with("building nodes again"));
        assert!(told, "{kind:?}: {:?}", planned.report.faults);
    }
}

#[test]
fn programs_in_circles_are_solved_all_the_same() {
    for name in ["mixed-100", "constrained-1k"] {
        let snapshot = composed(name);
        let (planned, _) = with(|_| Some(Injected::Circles), || plan(&snapshot, 2));
        assert_right(&snapshot, &planned, name);
        assert_eq!(planned.report.faults, Vec::<String>::new(), "{name}");
    }
}

/// Fifty runs while the machine is busy with other things, on one to three threads: the same bytes. Ten of a plan whose nodes are built
/// again, four of one that is woven after that.
#[test]
fn a_busy_machine_changes_no_byte() {
    same_bytes_when_busy("mixed-1k", Policy::default().gap, 50);
    same_bytes_when_busy("mixed-5k", OUT_OF_REACH, 10);
    same_bytes_when_busy("upto-16", OUT_OF_REACH, 4);
}

fn same_bytes_when_busy(name: &str, gap: Ppm, runs: usize) {
    let snapshot = composed(name);
    let bytes = |planned: &Planned| serde_json::to_vec(&planned.plan).expect("a document");
    let want = bytes(&plan_within(&snapshot, 2, gap));
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
    let different = (0..runs).filter(|run| bytes(&plan_within(&snapshot, 1 + run % 3, gap)) != want).count();
    done.store(true, Ordering::Relaxed);
    for other in others {
        other.join().expect("it ends");
    }
    assert_eq!(different, 0, "{name}: runs of {runs} that differ");
}
