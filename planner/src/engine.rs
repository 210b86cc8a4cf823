//! The search for one problem: its parts one by one, tiers of weights where limits force it, and the certificate.

use crate::blocks;
use crate::certificate::certify;
use crate::constraints::assign::{Assigned, assign};
use crate::constraints::restore::restore;
use crate::core::Core;
use crate::pack::{Packing, Pattern};
use crate::placement::{self, Placement};
use crate::problem::Problem;
use crate::solve;
use crate::warm::Warm;
use crate::{Limits, Moment, Stop};
use std::time::Duration;
use stowage_models::plan::Certificate;
use stowage_models::units::UsdMicros;

/// What a search found.
pub(crate) struct Found {
    /// What goes where.
    pub(crate) placement: Placement,
    /// Proof.
    pub(crate) certificate: Certificate,
    /// What it proves.
    pub(crate) bound: UsdMicros,
    /// Offerings left after dominance.
    pub(crate) undominated: usize,
    /// Why the search ended.
    pub(crate) stop: Stop,
}

/// Certifying and writing a plan takes up to so many hundredths of the time that preparing the problem took: all go by pods and nodes (200
/// pods beside 10,000 that run: 4 of 8 ms; 10,000 pods: 11 of 24 ms; a million: 0.8 of 1 s).
const WRITING_SHARE: u32 = 75;

/// The watch of a run.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    limits: &'a Limits,
    /// Time the run may take.
    pub(crate) time: Duration,
    /// How much of it is for what comes after the search.
    writing: Duration,
    started: Duration,
}

impl Watch<'_> {
    /// Time since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        (self.limits.clock)().saturating_sub(self.started)
    }

    /// Time left to search.
    fn left(&self) -> Duration {
        self.time.saturating_sub(self.elapsed() + self.writing)
    }

    /// Seconds that the solver may take by its own clock, which is the wall's: no end to them where the run's clock stands still, or a
    /// busy machine would give another plan.
    fn solver_seconds(&self, seconds: f64) -> f64 {
        if self.elapsed().is_zero() { f64::INFINITY } else { seconds }
    }

    /// Seconds that the solver may take before the time is up, and at least so much even then.
    pub(crate) fn solver_left(&self, least: Duration) -> f64 {
        self.solver_seconds(self.left().max(least).as_secs_f64())
    }

    /// Whether the caller or the clock stops the run.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        let cancelled =
            self.limits.cancel.as_ref().is_some_and(|flag| flag.load(std::sync::atomic::Ordering::Relaxed));
        if cancelled {
            Some(Stop::Cancelled)
        } else if self.left().is_zero() {
            Some(Stop::TimeLimit)
        } else {
            None
        }
    }
}

/// Runs, watched and limited.
pub(crate) struct Run<'a> {
    /// What the caller allows.
    pub(crate) limits: &'a Limits,
    /// Time it may take, at most what the limits say.
    pub(crate) time: Duration,
    /// How much of it is for what comes after the search: certificate, document, digest.
    writing: Duration,
    started: Duration,
    /// Everything observed so far.
    pub(crate) timeline: Vec<Moment>,
    observer: &'a mut dyn FnMut(&Moment),
    /// Simplex iterations.
    pub(crate) iterations: u64,
    /// Solver faults survived.
    pub(crate) faults: Vec<String>,
    /// A plan whose launches cost no more needs no more work, micro-dollars per hour.
    pub(crate) enough: Option<i64>,
    /// What an earlier run left.
    pub(crate) older: Option<&'a Warm>,
    /// What this one leaves.
    pub(crate) warm: Warm,
}

impl<'a> Run<'a> {
    /// Starts the watch.
    pub(crate) fn new(limits: &'a Limits, observer: &'a mut dyn FnMut(&Moment)) -> Run<'a> {
        let started = (limits.clock)();
        Run {
            limits,
            time: limits.time,
            writing: Duration::ZERO,
            started,
            timeline: Vec::new(),
            observer,
            iterations: 0,
            faults: Vec::new(),
            enough: None,
            older: None,
            warm: Warm::default(),
        }
    }

    /// Time since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.watch().elapsed()
    }

    /// The watch, for work beside other work.
    pub(crate) fn watch(&self) -> Watch<'a> {
        Watch { limits: self.limits, time: self.time, writing: self.writing, started: self.started }
    }

    /// The problem is prepared: what is to be found has to be written in time, too.
    pub(crate) fn prepared(&mut self) {
        self.writing = self.elapsed() * WRITING_SHARE / 100;
    }

    /// See [`Watch::solver_seconds`].
    pub(crate) fn solver_seconds(&self, seconds: f64) -> f64 {
        self.watch().solver_seconds(seconds)
    }

    /// See [`Watch::solver_left`].
    pub(crate) fn solver_left(&self, least: Duration) -> f64 {
        self.watch().solver_left(least)
    }

    /// Tells the observer of an improvement, in the figures of the whole plan.
    pub(crate) fn note(&mut self, stage: &'static str, cost: Option<i64>, bound: f64) {
        let moment = Moment {
            elapsed: self.elapsed(),
            stage,
            cost: cost.map(UsdMicros),
            bound: UsdMicros((bound * 1e6) as i64),
        };
        (self.observer)(&moment);
        self.timeline.push(moment);
    }

    /// Whether the caller or the clock stops the run.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.watch().stopped()
    }
}

/// Plans a problem with all its constraints: assigns groups to domains where the bound does not, searches, replays the plan
/// pod by pod, and certifies what is placed.
pub(crate) fn plan(problem: &mut Problem<'_>, run: &mut Run<'_>) -> Found {
    let found = plan_between(problem, run);
    cover(problem, found, run)
}

/// Splits launches that leave too little to choose from for `minValues` of their pool.
fn cover(problem: &mut Problem<'_>, mut found: Found, run: &mut Run<'_>) -> Found {
    if !problem.split_uncovered(&mut found.placement) {
        return found;
    }
    for _ in 0..PASSES_MAX {
        if !restore(problem, &mut found.placement) || !problem.split_uncovered(&mut found.placement) {
            break;
        }
    }
    while problem.drop_uncovered(&mut found.placement) {
        restore(problem, &mut found.placement);
    }
    let stop = found.stop;
    Found { stop, ..certify_fixed(problem, found.placement, run) }
}

fn plan_between(problem: &mut Problem<'_>, run: &mut Run<'_>) -> Found {
    let Some(assigned) = assign(problem) else {
        let mut found = search(problem, run);
        if restore(problem, &mut found.placement) {
            found = certify_restored(problem, found, run);
        }
        return found;
    };
    // The bound is that of the problem before the assignment. It comes first, because it needs its time.
    let demand: Vec<i64> = problem.groups.iter().map(|group| group.demand).collect();
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, demand.clone(), &limits, true);
    let (certificate, bound) = bound_only(problem, &core, run);
    let Assigned { problem: mut searched, from } = assigned;
    let mut found = search(&mut searched, run);
    found.placement = translate(problem, &searched, &from, &found.placement);
    let mut lowered = false;
    for (group, from) in searched.groups.iter().zip(&from) {
        for (g, _) in from {
            let whole = &mut problem.groups[*g as usize];
            lowered |= group.min_weight < whole.min_weight;
            whole.min_weight = whole.min_weight.min(group.min_weight);
        }
    }
    let changed = restore(problem, &mut found.placement);
    if changed || lowered || found.placement.left.iter().any(|left| *left > 0) {
        return certify_restored(problem, found, run);
    }
    run.note("constraints", Some(found.placement.cost(problem)), bound.0 as f64 / 1e6);
    Found { certificate, bound, undominated: core.offers.len(), ..found }
}

/// A placement in the terms of the problem whose groups were assigned to domains.
fn translate(
    problem: &Problem<'_>,
    searched: &Problem<'_>,
    from: &[Pattern],
    placement: &Placement,
) -> Placement {
    let pattern = |pattern: &Pattern| {
        let mut whole = Pattern::new();
        for (g, count) in pattern {
            from[*g as usize].iter().for_each(|(g, each)| placement::add(&mut whole, *g, each * count));
        }
        whole
    };
    let bin_of = |bin: usize| {
        let node = searched.existing[bin].node;
        problem.existing.iter().position(|bin| bin.node == node).expect("a share uses no other nodes")
    };
    let mut left = vec![0; problem.groups.len()];
    for (pods, from) in placement.left.iter().zip(from) {
        from.iter().for_each(|(g, each)| left[*g as usize] += pods * each);
    }
    Placement {
        launches: placement.launches.iter().map(|(o, on)| (*o, pattern(on))).collect(),
        existing: placement.existing.iter().map(|(bin, on)| (bin_of(*bin), pattern(on))).collect(),
        left,
        limits: placement.limits.clone(),
    }
}

/// The bound for what is left of a plan from which pods had to be taken. Their room is free for pods that limits kept out.
fn certify_restored(problem: &mut Problem<'_>, mut found: Found, run: &mut Run<'_>) -> Found {
    for _ in 0..PASSES_MAX {
        found.placement.insert_plain(problem);
        // Another order of nodes is another order of binding.
        if !restore(problem, &mut found.placement) {
            break;
        }
    }
    let stop = found.stop;
    Found { stop, ..certify_fixed(problem, found.placement, run) }
}

/// Plans a problem: tier by tier of NodePool weights where limits force it, then certifies the whole.
pub(crate) fn search(problem: &mut Problem<'_>, run: &mut Run<'_>) -> Found {
    let demand: Vec<i64> = problem.groups.iter().map(|group| group.demand).collect();
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, demand.clone(), &limits, true);
    let (packing, stop, (certificate, bound)) = solve_and_certify(problem, &core, run);
    let placement = Placement::new(&core, &packing);
    // What follows is about parts of the plan.
    run.enough = None;
    if packing.left_out() == 0 {
        return Found { placement, certificate, bound, undominated: core.offers.len(), stop };
    }
    lower(problem, placement, stop, &demand, &limits, run)
}

/// Plans a core part by part; all that draw on a limit together, should their plans exceed it otherwise.
fn solve_and_certify(
    problem: &Problem<'_>,
    core: &Core,
    run: &mut Run<'_>,
) -> (Packing, Stop, (Certificate, UsdMicros)) {
    for strict in [false, true] {
        let blocks = blocks::split(core, strict);
        let solved = solve::blocks(problem, core, &blocks, run);
        if strict || solved.packing.limits.iter().all(|left| *left >= 0) {
            let proved = certify(problem, core, &solved.proofs(&blocks));
            return (solved.packing, solved.stop, proved);
        }
    }
    unreachable!("the strict pass returns")
}

/// Limits leave pods out: opens lower weights to them, tier by tier, and certifies what is placed in the end.
fn lower(
    problem: &mut Problem<'_>,
    mut placement: Placement,
    mut stop: Stop,
    demand: &[i64],
    limits: &[i64],
    run: &mut Run<'_>,
) -> Found {
    let mut lowered = false;
    while problem.lower_weights(&placement.left) {
        lowered = true;
        let core = Core::new(problem, placement.left.clone(), &placement.limits, false);
        let (packing, stopped, _) = solve_and_certify(problem, &core, run);
        stop = stopped;
        placement.merge(Placement::new(&core, &packing));
    }
    placement.insert_left(problem);
    placement.prefer_higher(problem);
    certify_placed(problem, placement, demand, limits, lowered, stop, run)
}

/// Passes over what is placed at most: each may make room for a pod that was left, which changes the problem certified.
const PASSES_MAX: usize = 4;

/// The bound is about the pods that are placed, with the weights that turned out to be open to them. Planning those pods
/// again, now without the others, may also find them a cheaper place.
fn certify_placed(
    problem: &Problem<'_>,
    mut placement: Placement,
    demand: &[i64],
    limits: &[i64],
    lowered: bool,
    mut stop: Stop,
    run: &mut Run<'_>,
) -> Found {
    for pass in 0.. {
        let placed: Vec<i64> = demand.iter().zip(&placement.left).map(|(all, left)| all - left).collect();
        let core = Core::new(problem, placed, limits, true);
        let last = pass + 1 >= PASSES_MAX;
        let (certificate, bound) = if last {
            bound_only(problem, &core, run)
        } else {
            let (packing, stopped, proved) = solve_and_certify(problem, &core, run);
            stop = stopped;
            // With weights lowered, a cheaper plan might leave room in a pool that has to be used up first.
            let cheaper = packing.cost(&core) < placement.cost(problem);
            if !lowered && packing.left_out() == 0 && cheaper {
                let left = std::mem::take(&mut placement.left);
                placement = Placement { left, ..Placement::new(&core, &packing) };
            }
            proved
        };
        if !last {
            let before = placement.left.clone();
            placement.insert_left(problem);
            if placement.left != before {
                continue;
            }
        }
        run.note("placed pods", Some(placement.cost(problem)), bound.0 as f64 / 1e6);
        return Found { placement, certificate, bound, undominated: core.offers.len(), stop };
    }
    unreachable!("the last pass returns")
}

/// The bound for the pods a given placement places; the placement stays as it is.
pub(crate) fn certify_fixed(problem: &Problem<'_>, placement: Placement, run: &mut Run<'_>) -> Found {
    let placed = problem.groups.iter().zip(&placement.left).map(|(group, left)| group.demand - left);
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, placed.collect(), &limits, true);
    let (certificate, bound) = bound_only(problem, &core, run);
    run.note("placed pods", Some(placement.cost(problem)), bound.0 as f64 / 1e6);
    Found { placement, certificate, bound, undominated: core.offers.len(), stop: Stop::WorkDone }
}

/// The bound if weights were not strict, over the same placed pods. Changes the problem's weights.
pub(crate) fn bound_without_weights(
    problem: &mut Problem<'_>,
    placement: &Placement,
    run: &mut Run<'_>,
) -> (Certificate, UsdMicros) {
    problem.groups.iter_mut().for_each(|group| group.min_weight = i32::MIN);
    let placed: Vec<i64> =
        problem.groups.iter().zip(&placement.left).map(|(group, left)| group.demand - left).collect();
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, placed, &limits, true);
    bound_only(problem, &core, run)
}

fn bound_only(problem: &Problem<'_>, core: &Core, run: &mut Run<'_>) -> (Certificate, UsdMicros) {
    let blocks = blocks::split(core, false);
    let solved = solve::bounds(core, &blocks, run);
    certify(problem, core, &solved.proofs(&blocks))
}

#[cfg(test)]
mod tests {
    use super::Run;
    use crate::{Limits, Stop};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[test]
    fn what_was_long_to_prepare_has_time_to_be_written() {
        let now = Arc::new(AtomicU64::new(0));
        let watch = now.clone();
        let limits = Limits {
            time: Duration::from_millis(20),
            threads: 1,
            clock: Arc::new(move || Duration::from_millis(watch.load(Ordering::Relaxed))),
            cancel: None,
        };
        let mut observer = |_: &crate::Moment| {};
        let mut run = Run::new(&limits, &mut observer);
        now.store(8, Ordering::Relaxed);
        run.prepared();
        now.store(13, Ordering::Relaxed);
        assert_eq!(run.stopped(), None);
        assert_eq!(run.solver_left(Duration::ZERO), 0.001);
        now.store(14, Ordering::Relaxed);
        assert_eq!(run.stopped(), Some(Stop::TimeLimit));
        assert_eq!(run.solver_left(Duration::from_millis(3)), 0.003);
    }
}
