//! The planner: `plan(snapshot, catalog, policy, limits) -> Planned`, a pure function of values.
//!
//! It reads no clock, no environment and no network, and logs nothing. What it found out beside the plan leaves in the
//! [`Report`].

mod adopt;
mod blocking;
mod blocks;
mod branching;
mod cases;
mod certificate;
mod consolidate;
mod constraints;
mod core;
mod dive;
mod diversity;
mod effort;
mod engine;
mod exact;
mod existing;
mod extract;
#[doc(hidden)]
pub mod faults;
mod fill;
mod fluid;
mod hybrid;
mod improve;
#[doc(hidden)]
pub mod kernels;
mod knapsack;
mod large;
mod lp;
mod master;
mod matching;
mod min_values;
mod notes;
mod numbers;
mod offerings;
mod open;
mod overlays;
mod pack;
mod part;
mod patterns;
mod placement;
mod preferences;
mod pricing;
mod problem;
mod reasons;
mod rebuild;
mod rng;
mod rows;
mod search;
mod solve;
mod tables;
mod tiny;
mod turns;
mod vectors;
mod warm;
mod weave;
mod wishes;

pub use crate::adopt::{AdoptError, Foreign, ForeignLaunch, adopt};
pub use crate::consolidate::consolidate;
pub use crate::numbers::{Numbers, NumbersGroup, NumbersLimit, NumbersNode, NumbersOffering, numbers};
pub use crate::overlays::Overlays;
pub use crate::warm::Warm;

use crate::engine::Run;
use crate::problem::Problem;
use crate::warm::Prepared;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

/// How long a run may take, on what, and who may stop it. Limits never change what is *valid*, only how good it gets.
#[derive(Clone)]
pub struct Limits {
    /// Wall-clock budget, writing the plan included as far as that can be foreseen. The search counts work, sized so that
    /// it normally ends well before this; the clock is the safety stop (and then the only thing that can make two runs
    /// differ, which the report says).
    pub time: Duration,
    /// Threads for pricing and search. The plan does not depend on it.
    pub threads: usize,
    /// Time since some fixed origin; injected, because the planner reads no clock.
    pub clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Set to stop early with the best plan so far.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// A moment of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since the run began.
    pub elapsed: Duration,
    /// Stage, in a word or two.
    pub stage: &'static str,
    /// Price of the best set of launches so far (`None`: no plan yet).
    pub cost: Option<UsdMicros>,
    /// Best bound so far.
    pub bound: UsdMicros,
}

/// Why the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The proven gap reached `Policy::gap`.
    GapReached,
    /// The work budget was used up, or the search found nothing better for a long time.
    WorkDone,
    /// The clock ran out first.
    TimeLimit,
    /// `Limits::cancel` was set.
    Cancelled,
}

/// What is worth knowing about a run and is not part of the plan, because it differs from run to run.
#[derive(Clone, Debug)]
pub struct Report {
    /// How cost and bound converged.
    pub timeline: Vec<Moment>,
    /// Why it ended.
    pub stop: Stop,
    /// Wall time of the whole run.
    pub elapsed: Duration,
    /// Offerings left after dominance.
    pub offerings_undominated: usize,
    /// Simplex iterations of all linear programs.
    pub simplex_iterations: u64,
    /// Solver faults that were survived (wrong status, NaN, overrun), one sentence each.
    pub faults: Vec<String>,
}

/// A plan and the report on how it was found.
#[derive(Clone, Debug)]
#[must_use]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The report.
    pub report: Report,
}

/// Why there is no plan at all. Pods that cannot be placed are not an error: they are in the plan, with the reason.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The policy is out of range.
    #[error("policy: {0}")]
    Policy(String),
    /// The operating system gave no threads.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// The snapshot is larger than any cluster (limits in `problem.rs`).
    #[error("snapshot: {0}")]
    TooLarge(String),
    /// Nodes go by force, and the limits of NodePools have no room for what would take their place, in any order.
    #[error(
        "snapshot: limits of NodePools leave no order in which the nodes that go by force (interrupted, unhealthy, \
         expired) can be replaced"
    )]
    NoOrder,
}

/// Plans the pending pods of `snapshot`.
///
/// `observer` is called whenever cost or bound improves, on the calling thread.
///
/// # Errors
/// [`PlanError`] when the input cannot be planned at all.
pub fn plan(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    limits: &Limits,
    observer: &mut dyn FnMut(&Moment),
) -> Result<Planned, PlanError> {
    plan_warm(snapshot, catalog, policy, limits, &Warm::default(), observer).map(|(planned, _)| planned)
}

/// Plans the pending pods of `snapshot` with what an earlier run left, and leaves the same for the next.
///
/// The same input and the same warm state give the same plan. A state that does not fit the snapshot costs time, nothing else.
///
/// # Errors
/// [`PlanError`] when the input cannot be planned at all.
pub fn plan_warm(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    limits: &Limits,
    warm: &Warm,
    observer: &mut dyn FnMut(&Moment),
) -> Result<(Planned, Warm), PlanError> {
    let mut run = Run::new(limits, observer);
    run.older = Some(warm);
    plan_run(snapshot, catalog, policy, warm, run)
}

/// Plans the pending pods of `snapshot` until the launches cost no more than `enough`, micro-dollars per hour, or the gap is reached.
pub(crate) fn plan_until(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    limits: &Limits,
    enough: i64,
    observer: &mut dyn FnMut(&Moment),
) -> Result<Planned, PlanError> {
    let mut run = Run::new(limits, observer);
    run.enough = Some(enough);
    plan_run(snapshot, catalog, policy, &Warm::default(), run).map(|(planned, _)| planned)
}

fn plan_run(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    warm: &Warm,
    run: Run<'_>,
) -> Result<(Planned, Warm), PlanError> {
    check_policy(policy)?;
    let prepared = warm.prepare(catalog);
    let beside = prepared.clone();
    std::thread::scope(|scope| {
        if run.limits.threads > 1 {
            // Together they take as long as the rest of a small batch: what runs on nodes is needed once groups and offerings
            // are known, the digest when the plan's document is written.
            scope.spawn(|| {
                beside.running(snapshot);
                beside.digest(snapshot);
            });
        }
        plan_prepared(snapshot, catalog, policy, prepared, run)
    })
}

fn plan_prepared(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    prepared: Prepared,
    mut run: Run<'_>,
) -> Result<(Planned, Warm), PlanError> {
    let threads = threads(run.limits.threads)?;
    run.warm = Warm::of(&prepared);
    let mut problem = Problem::prepared(snapshot, catalog, policy, threads, prepared)?;
    run.prepared();
    let mut found = wishes::grant::plan(&mut problem, &mut run);
    problem.diversify(&mut found.placement);
    let mut plan = extract::plan(&problem, &found, &run.timeline);
    if problem.weights_matter() {
        let (certificate, bound) = engine::bound_without_weights(&mut problem, &found.placement, &mut run);
        plan.summary.launch_bound_without_weights = Some(bound);
        plan.certificate_without_weights = Some(certificate);
    }
    plan.id = plan.compute_id();
    let elapsed = run.elapsed();
    let report = Report {
        timeline: run.timeline,
        stop: found.stop,
        elapsed,
        offerings_undominated: found.undominated,
        simplex_iterations: run.iterations,
        faults: run.faults,
    };
    let mut warm = run.warm;
    if let Some(older) = run.older {
        warm.inherit(older);
    }
    Ok((Planned { plan, report }, warm))
}

/// Whether the policy is in range.
fn check_policy(policy: &Policy) -> Result<(), PlanError> {
    if !(0..=SLACK_MAX).contains(&policy.slack.0) {
        return Err(PlanError::Policy(format!("slack {} is not between 0 and 50 %", policy.slack)));
    }
    if policy.gap.0 < 0 {
        return Err(PlanError::Policy(format!("gap {} is negative", policy.gap)));
    }
    if let Some(share) = policy.spot_share_max.filter(|share| !(1..=Ppm::ONE).contains(&share.0)) {
        return Err(PlanError::Policy(format!("spot share {share} is not above 0 and at most 100 %")));
    }
    Ok(())
}

/// The threads of one run, at most [`THREADS_MAX`].
fn threads(wanted: usize) -> Result<Arc<rayon::ThreadPool>, PlanError> {
    let threads = wanted.clamp(1, THREADS_MAX);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map(Arc::new).map_err(|error| PlanError::Threads { threads, reason: error.to_string() })
}

/// Pricing splits into some hundreds of bins; more threads than this would only wait.
const THREADS_MAX: usize = 64;
/// Half of every node is as much slack as anybody can mean.
const SLACK_MAX: i64 = 500_000;
