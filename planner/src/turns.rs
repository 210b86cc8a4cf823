//! Plan and bound of a part with many nodes that hold few pods each: in turns or side by side, each with the columns that the other has found
//! before.
//!
//! Weaving a plan is mostly the simplex method, on one core, and so is splitting mixes into cases. Nothing is exchanged while both run, so what they
//! find does not depend on which is faster.

use crate::certificate::BlockProof;
use crate::core::Core;
use crate::effort::Effort;
use crate::engine::{Run, Watch};
use crate::fluid::Fluid;
use crate::fluid::cases::STALLED_ROUNDS;
use crate::hybrid::{Allowed, Tightener};
use crate::lp::Fault;
use crate::master::Column;
use crate::pack::Packing;
use crate::pricing::{Multipliers, PriceList};
use crate::solve::{MINIMUM_TIME, Part};
use crate::weave::{self, End, Weaver};
use std::time::Duration;

/// Cells of tables per second of time limit: about a sixth of what two cores fill.
const TABLE_CELLS_PER_SECOND: f64 = 75_000_000.0;
/// What is left of the time is divided by this for the bound, and for columns.
const SHARE: u32 = 2;
/// Rounds of splitting that gain hardly anything, before plan and bound are worked on side by side: what is gained soon is there soon.
const QUICK_STALLED: usize = 2;
/// Nothing is woven yet with the columns there are.
const NOT_WOVEN: (Duration, End) = (Duration::ZERO, End::Sketch);

/// A part that is worked on.
pub(crate) struct Turns<'a, 'f> {
    weaving: Option<Weaving<'a>>,
    bounding: Option<Bounding<'a, 'f>>,
}

/// Plans made of patterns.
struct Weaving<'a> {
    weaver: Weaver<'a>,
    /// The longest time that the plan was woven for with the columns there are, and how; nothing once the bound has found more of them.
    woven: (Duration, End),
}

/// The bound, where fractional mixes are worth too much.
struct Bounding<'a, 'f> {
    core: &'a Core,
    /// The program, until it begins.
    fluid: Option<&'f mut Fluid<'a>>,
    /// Multipliers to start from, and the bound that they prove.
    start: (Multipliers, f64),
    tightener: Option<Tightener<'a, 'f>>,
    /// Simplex iterations that are counted already.
    counted: u64,
}

/// What came of some work on the bound.
#[derive(Default)]
struct Found<'a> {
    /// A better bound.
    proof: Option<BlockProof<'a>>,
    /// Whether there are more columns.
    has_columns: bool,
    iterations: u64,
    faults: Vec<String>,
}

/// Splits mixes into cases until so many rounds gain hardly anything, or, after any of them, half of what is left of the time is gone.
pub(crate) fn split(
    fluid: &mut Fluid<'_>,
    stalled_max: usize,
    watch: Watch<'_>,
) -> (Option<(Multipliers, PriceList)>, Result<(), Fault>) {
    let until = watch.elapsed() + watch.time.saturating_sub(watch.elapsed()) / SHARE;
    let stop = || watch.stopped().is_some() || watch.elapsed() >= until;
    fluid.split(stalled_max, &stop, &|| watch.solver_left(MINIMUM_TIME))
}

impl<'a, 'f> Turns<'a, 'f> {
    /// With plans by `weaver`, if they are to be woven, and a bound from a fluid program with its multipliers and the bound these prove.
    pub(crate) fn new(
        core: &'a Core,
        weaver: Option<Weaver<'a>>,
        bound: Option<(&'f mut Fluid<'a>, (Multipliers, f64))>,
    ) -> Turns<'a, 'f> {
        let bounding = bound.map(|(fluid, start)| {
            let counted = fluid.iterations();
            Bounding { core, fluid: Some(fluid), start, tightener: None, counted }
        });
        Turns { weaving: weaver.map(|weaver| Weaving { weaver, woven: NOT_WOVEN }), bounding }
    }

    /// Splits mixes into cases as long as that gains something.
    pub(crate) fn split(&mut self, part: &mut Part<'a>, effort: &Effort, run: &mut Run<'_>) {
        let Some(bounding) = &mut self.bounding else { return };
        let Some(fluid) = bounding.fluid.take() else { return };
        let mut found = Found::default();
        bounding.split(fluid, QUICK_STALLED, run.watch(), &mut found);
        bounding.fluid = Some(fluid);
        run.iterations += found.iterations;
        run.faults.extend(found.faults);
        if let Some(proof) = found.proof {
            part.proof = proof;
            effort.note("cases", part.packing.cost(part.core), part.proof.bound(), run);
        }
    }

    /// Makes a plan as if there were so much time, works so many iterations on the bound, or both side by side.
    pub(crate) fn take(
        &mut self,
        part: &mut Part<'a>,
        (plan, bound): (Option<(Duration, End)>, Option<usize>),
        effort: &Effort,
        run: &mut Run<'_>,
    ) {
        let (core, watch) = (part.core, run.watch());
        let (cost, proved) = (part.packing.cost(core), part.proof.bound());
        let packed: Vec<Column> = weave::columns(&part.packing).collect();
        let known = self.weaving.iter().flat_map(|weaving| weaving.weaver.known());
        let for_bound: Vec<Column> = packed.iter().chain(known).cloned().collect();
        let known = self.bounding.iter().flat_map(Bounding::columns);
        let for_plan: Vec<Column> = packed.iter().chain(known).cloned().collect();
        let allowed = bound.map(|iterations| Allowed {
            iterations,
            rounds: if self.weaving.is_some() {
                0
            } else {
                weave::rounds(core, core.offers.len(), run.time / 2)
            },
            cells: (TABLE_CELLS_PER_SECOND * run.time.as_secs_f64()) as u64,
        });
        let plan = plan.zip(self.weaving.as_mut()).filter(|(how, weaving)| *how > weaving.woven);
        let bound = allowed.zip(self.bounding.as_mut());
        let weave = plan.map(|(how, weaving)| move || weaving.weave(for_plan, (proved, how), watch));
        let (found, woven) = match (bound, weave) {
            (Some((allowed, bounding)), Some(weave)) => {
                let tighten = || bounding.tighten(for_bound, allowed, watch, &mut |_| {});
                let (found, woven) = core.side_by_side(tighten, weave);
                (found, Some(woven))
            }
            (Some((allowed, bounding)), None) => {
                let mut tell = |bound: f64| effort.note("patterns", cost, bound, run);
                (bounding.tighten(for_bound, allowed, watch, &mut tell), None)
            }
            (None, weave) => (Found::default(), weave.map(|weave| weave())),
        };
        run.iterations += found.iterations;
        run.faults.extend(found.faults);
        if let Some(proof) = found.proof {
            part.proof = proof;
        }
        if let Some(weaving) = self.weaving.as_mut().filter(|_| found.has_columns) {
            weaving.woven = NOT_WOVEN;
        }
        let Some((woven, iterations)) = woven else { return };
        run.iterations += iterations;
        match woven {
            Ok(packing) if packing.left_out() == 0 && packing.cost(core) < cost => part.packing = packing,
            Ok(_) => {}
            Err(fault) => run.faults.push(format!("weaving: {fault}")),
        }
        effort.note("woven", part.packing.cost(core), part.proof.bound(), run);
    }
}

impl Weaving<'_> {
    /// A plan, and the simplex iterations it took.
    fn weave(
        &mut self,
        columns: Vec<Column>,
        (bound, how): (f64, (Duration, End)),
        watch: Watch<'_>,
    ) -> (Result<Packing, Fault>, u64) {
        self.woven = how;
        // Half of what remains of the time is for columns, the other half for the plan along them and for the search after it.
        let until = watch.elapsed() + watch.time.saturating_sub(watch.elapsed()) / SHARE;
        let stop = || watch.stopped().is_some();
        let late = || stop() || watch.elapsed() >= until;
        let before = self.weaver.iterations();
        self.weaver.add(columns.into_iter());
        self.weaver.set_time_limit(watch.solver_left(MINIMUM_TIME));
        let woven = self.weaver.weave(bound, how, (&late, &stop));
        (woven, self.weaver.iterations() - before)
    }
}

impl<'a, 'f> Bounding<'a, 'f> {
    fn columns(&self) -> impl Iterator<Item = &Column> {
        self.tightener.iter().flat_map(|tightener| tightener.columns())
    }

    /// Looks for a better bound; `tell` is told of those on the way.
    fn tighten(
        &mut self,
        columns: Vec<Column>,
        allowed: Allowed,
        watch: Watch<'_>,
        tell: &mut dyn FnMut(f64),
    ) -> Found<'a> {
        let mut found = Found::default();
        if let Some(fluid) = self.fluid.take() {
            self.begin(fluid, watch, &mut found);
            found.proof.iter().for_each(|proof| tell(proof.bound()));
        }
        let Some(tightener) = &mut self.tightener else { return found };
        // On a machine so busy that the clock decides, the plan and the search need most of the time.
        let until = watch.elapsed() + watch.time.saturating_sub(watch.elapsed()) / SHARE;
        let mut watching = |better: Option<f64>| {
            better.into_iter().for_each(&mut *tell);
            watch.stopped().is_some() || watch.elapsed() >= until
        };
        tightener.set_time_limit(watch.solver_left(MINIMUM_TIME));
        tightener.add(columns.into_iter());
        let known = tightener.columns().len();
        let (better, outcome) = tightener.run(allowed, &mut watching);
        found.has_columns = tightener.columns().len() > known;
        found.iterations += tightener.simplex_iterations() - self.counted;
        self.counted = tightener.simplex_iterations();
        found.faults.extend(outcome.err().map(|fault| format!("patterns: {fault}")));
        if let Some(better) = better {
            found.proof = Some(BlockProof::Flat(better.multipliers, better.list));
        }
        found
    }

    fn split(&mut self, fluid: &mut Fluid<'a>, stalled_max: usize, watch: Watch<'_>, found: &mut Found<'a>) {
        let (better, outcome) = split(fluid, stalled_max, watch);
        found.iterations += fluid.iterations() - self.counted;
        self.counted = fluid.iterations();
        found.faults.extend(outcome.err().map(|fault| format!("cases: {fault}")));
        if let Some((multipliers, list)) = better.filter(|(_, list)| list.bound > self.start.1) {
            self.start = (multipliers.clone(), list.bound);
            found.proof = Some(BlockProof::Flat(multipliers, list));
        }
    }

    /// Splits mixes into cases, if there is more to gain from that, and goes over to patterns.
    fn begin(&mut self, fluid: &'f mut Fluid<'a>, watch: Watch<'_>, found: &mut Found<'a>) {
        if !fluid.is_split() {
            self.split(fluid, STALLED_ROUNDS, watch, found);
        }
        fluid.set_time_limit(watch.solver_left(MINIMUM_TIME));
        match Tightener::new(self.core, fluid, self.start.clone()) {
            Ok(tightener) => self.tightener = Some(tightener),
            Err(fault) => found.faults.push(format!("patterns: {fault}")),
        }
    }
}
