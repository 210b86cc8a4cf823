//! What may still be done for a plan, and when it is enough.

use crate::engine::Run;
use crate::problem::Problem;
use crate::solve::Part;
use stowage_models::units::{Ppm, UsdMicros};

/// Work of the search per second of time limit: about a quarter of what two cores of 2026 do, so that work normally ends before the clock
/// does, and equal inputs give equal plans on every machine. Where nodes of many pods are built again (`large.rs`) it is five times that
/// and takes most of the time: there a slower machine that does not reach the gap before ends by the clock.
const WORK_PER_SECOND: u64 = 25_000_000;

/// What may still be done, and the figures of the parts that are not worked on.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// The gap that is enough.
    gap: Ppm,
    /// Work left.
    pub(crate) work: u64,
    /// Of the searches.
    pub(crate) seed: u64,
    /// Cost and bound of the other parts.
    pub(crate) others: (i64, f64),
    /// A plan that costs no more needs no more work.
    enough: Option<i64>,
    /// Nodes are removed as well. Then leaves are not solved over patterns: of two simulated days with it one node was removed within an
    /// hour of its launch, without it none.
    pub(crate) consolidates: bool,
}

impl Effort {
    /// All that the time limit is worth, before any part is worked on.
    pub(crate) fn new(problem: &Problem<'_>, run: &Run<'_>) -> Effort {
        let millis = u64::try_from(run.time.as_millis()).unwrap_or(u64::MAX);
        Effort {
            gap: problem.policy.gap,
            work: millis.saturating_mul(WORK_PER_SECOND) / 1000,
            seed: problem.snapshot.seed ^ problem.policy.seed.rotate_left(32) ^ 0x5704_A6E0,
            others: (0, 0.0),
            enough: run.enough,
            consolidates: problem.policy.consolidation.is_some(),
        }
    }

    /// Does something with so much of the work at most; what it leaves and the rest remain.
    pub(crate) fn within<T>(&mut self, most: u64, what: impl FnOnce(&mut Effort) -> T) -> T {
        let rest = self.work.saturating_sub(most);
        self.work -= rest;
        let outcome = what(self);
        self.work += rest;
        outcome
    }

    /// Cost in micro-dollars and bound in dollars per hour of these parts together.
    pub(crate) fn sum<'p, 'b: 'p>(parts: impl Iterator<Item = &'p Part<'b>>) -> (i64, f64) {
        parts.fold((0, 0.0), |(cost, bound), part| {
            (cost + part.packing.cost(part.core), bound + part.proof.bound())
        })
    }

    /// Whether these parts, which are all there are, need no more work.
    pub(crate) fn is_whole_done(&self, parts: &[Part<'_>]) -> bool {
        let (cost, bound) = Effort::sum(parts.iter());
        self.is_cheap(cost) || Ppm::gap(UsdMicros(cost), micros(bound)) <= self.gap
    }

    /// Whether a whole plan of this cost needs no more work, whatever its own bound.
    fn is_cheap(&self, cost: i64) -> bool {
        self.enough.is_some_and(|enough| cost <= enough)
    }

    /// Whether a part with these figures needs no more work: it is within the gap, or the whole is.
    pub(crate) fn is_done(&self, cost: i64, bound: f64) -> bool {
        let whole = Ppm::gap(UsdMicros(cost + self.others.0), micros(bound + self.others.1));
        self.is_cheap(cost + self.others.0) || Ppm::gap(UsdMicros(cost), micros(bound)).min(whole) <= self.gap
    }

    /// The bound in dollars per hour at which a part of this cost needs no more work.
    pub(crate) fn enough(&self, cost: i64) -> f64 {
        cost as f64 / (1e6 + self.gap.0 as f64) * (1.0 + 1e-9)
    }

    /// Tells the observer of these figures of a part, with those of the others added.
    pub(crate) fn note(&self, stage: &'static str, cost: i64, bound: f64, run: &mut Run<'_>) {
        run.note(stage, Some(cost + self.others.0), bound + self.others.1);
    }

    /// Tells the observer of all parts; `cost` stands for theirs, if given.
    pub(crate) fn tell(&self, parts: &[Part<'_>], cost: Option<i64>, stage: &'static str, run: &mut Run<'_>) {
        let (all, bound) = Effort::sum(parts.iter());
        run.note(stage, Some(cost.unwrap_or(all)), bound);
    }
}

/// Whole micro-dollars, rounded down.
pub(crate) fn micros(dollars: f64) -> UsdMicros {
    UsdMicros((dollars * 1e6) as i64)
}
