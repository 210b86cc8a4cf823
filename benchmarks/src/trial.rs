//! What tests of plans share: limits, recorded snapshots, and plans that the checker has accepted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_checker::check;
use stowage_import::{Source, import};
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;
use stowage_planner::Limits;

/// Limits by work alone: the clock stands still, so load cannot change the plan.
#[must_use]
pub fn by_work(time: Duration, threads: usize) -> Limits {
    Limits { time, threads, clock: Arc::new(|| Duration::ZERO), cancel: None }
}

/// Limits by the wall clock, which starts now.
#[must_use]
pub fn by_clock(time: Duration, threads: usize) -> Limits {
    let start = Instant::now();
    Limits { time, threads, clock: Arc::new(move || start.elapsed()), cancel: None }
}

/// A snapshot of `benchmarks/snapshots`.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn recorded(name: &str) -> Snapshot {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots").join(format!("{name}.json.zst"));
    let bytes = std::fs::read(&path).expect("the snapshot is committed");
    import(&[Source { name, bytes: &bytes }]).expect("the snapshot is valid").snapshot
}

/// The plan for a snapshot, on two threads, by work alone, as much as fits `time`.
///
/// # Panics
/// If there is none, or the checker finds anything.
#[must_use]
pub fn accepted(snapshot: &Snapshot, catalog: &Catalog, policy: &Policy, time: Duration) -> Plan {
    let planned = stowage_planner::plan(snapshot, catalog, policy, &by_work(time, 2), &mut |_| {});
    let plan = planned.expect("a plan").plan;
    assert_eq!(check(snapshot, catalog, &plan), Vec::new(), "{}", snapshot.origin);
    plan
}

/// Whether a plan is as cheap as can be.
///
/// # Panics
/// If it is cheaper than that, or its bound is above it.
#[must_use]
pub fn is_optimal(plan: &Plan, optimum: UsdMicros, case: u64) -> bool {
    let (cost, bound) = (plan.summary.total_cost(), plan.summary.launch_bound);
    assert!(bound <= optimum, "case {case}: bound {bound} above {optimum}");
    assert!(cost >= optimum, "case {case}: {cost} below {optimum}");
    cost == optimum
}
