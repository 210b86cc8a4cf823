//! The search for one problem: bound, first plan, improvement, certificate.

use crate::certificate::certify;
use crate::core::Core;
use crate::dive::dive;
use crate::fluid::{Fluid, FluidPoint};
use crate::master::{self, Master};
use crate::pack::{Filler, Guide, Packing, complete, fill_spares};
use crate::placement::Placement;
use crate::pricing::{Multipliers, PriceList, price_all};
use crate::problem::Problem;
use crate::search::Search;
use crate::tiny;
use crate::{Limits, Moment, Stop};
use std::time::Duration;
use stowage_models::plan::Certificate;
use stowage_models::units::{Ppm, UsdMicros};

/// Work between two looks at the clock and the gap: some ten milliseconds.
const WORK_PER_SLICE: u64 = 2_000_000;
/// Work per second of time limit: about a quarter of what two cores of 2026 do, so that the work budget normally ends the
/// search before the clock does and equal inputs give equal plans on every machine.
const WORK_PER_SECOND: u64 = 25_000_000;

/// A descent that finds nothing for this much work per node has seen what its neighbourhoods hold.
const STALL_WORK_PER_NODE: u64 = 150_000;
/// Work of one cycle of heating and cooling per node.
const CYCLE_WORK_PER_NODE: u64 = 400_000;
/// What a linear program gets even when time is up: a plan without any bound is worth little.
const MINIMUM_TIME: Duration = Duration::from_millis(50);
/// Work of the search before column generation in a small problem.
const SMALL_WORK: u64 = 5_000_000;
/// Iterations of column generation per second of time limit.
const ITERATIONS_PER_SECOND: f64 = 25.0;

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

/// Runs, watched and limited.
pub(crate) struct Run<'a> {
    limits: &'a Limits,
    started: Duration,
    /// Everything observed so far.
    pub(crate) timeline: Vec<Moment>,
    observer: &'a mut dyn FnMut(&Moment),
    /// Simplex iterations.
    pub(crate) iterations: u64,
    /// Solver faults survived.
    pub(crate) faults: Vec<String>,
}

impl<'a> Run<'a> {
    /// Starts the watch.
    pub(crate) fn new(limits: &'a Limits, observer: &'a mut dyn FnMut(&Moment)) -> Run<'a> {
        let started = (limits.clock)();
        Run { limits, started, timeline: Vec::new(), observer, iterations: 0, faults: Vec::new() }
    }

    /// Time since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        (self.limits.clock)().saturating_sub(self.started)
    }

    fn note(&mut self, stage: &'static str, cost: Option<i64>, bound: f64) {
        let moment = Moment {
            elapsed: self.elapsed(),
            stage,
            cost: cost.map(UsdMicros),
            bound: UsdMicros((bound * 1e6) as i64),
        };
        (self.observer)(&moment);
        self.timeline.push(moment);
    }

    fn stopped(&self) -> Option<Stop> {
        let cancelled =
            self.limits.cancel.as_ref().is_some_and(|flag| flag.load(std::sync::atomic::Ordering::Relaxed));
        if cancelled {
            Some(Stop::Cancelled)
        } else if self.elapsed() >= self.limits.time {
            Some(Stop::TimeLimit)
        } else {
            None
        }
    }
}

/// Plans a problem: tier by tier of NodePool weights where limits force it, then certifies the whole.
pub(crate) fn search(problem: &mut Problem<'_>, run: &mut Run<'_>) -> Found {
    let demand: Vec<i64> = problem.groups.iter().map(|group| group.pods.len() as i64).collect();
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, demand.clone(), &limits, true);
    let mut relaxed = relax(&core, run);
    let (packing, mut stop) = pack(problem, &core, &mut relaxed, run);
    let mut placement = Placement::new(&core, &packing);
    if packing.left_out() == 0 {
        let (certificate, bound) = certify(problem, &core, &relaxed.multipliers, &relaxed.list);
        return Found { placement, certificate, bound, undominated: core.offers.len(), stop };
    }
    let mut lowered = false;
    while problem.lower_weights(&placement.left) {
        lowered = true;
        let core = Core::new(problem, placement.left.clone(), &placement.limits, false);
        let mut relaxed = relax(&core, run);
        let (packing, stopped) = pack(problem, &core, &mut relaxed, run);
        stop = stopped;
        placement.merge(Placement::new(&core, &packing));
    }
    placement.insert_left(problem);
    placement.prefer_higher(problem);
    certify_placed(problem, placement, &demand, &limits, lowered, stop, run)
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
        let mut relaxed = relax(&core, run);
        let last = pass + 1 >= PASSES_MAX;
        if !last {
            let (packing, stopped) = pack(problem, &core, &mut relaxed, run);
            stop = stopped;
            // With weights lowered, a cheaper plan might leave room in a pool that has to be used up first.
            if !lowered && packing.left_out() == 0 && packing.cost(&core) < placement.cost(problem) {
                let left = std::mem::take(&mut placement.left);
                placement = Placement { left, ..Placement::new(&core, &packing) };
            }
            let before = placement.left.clone();
            placement.insert_left(problem);
            if placement.left != before {
                continue;
            }
        }
        let (certificate, bound) = certify(problem, &core, &relaxed.multipliers, &relaxed.list);
        run.note("placed pods", Some(placement.cost(problem)), relaxed.list.bound);
        return Found { placement, certificate, bound, undominated: core.offers.len(), stop };
    }
    unreachable!("the last pass returns")
}

/// The bound for the pods a given placement places; the placement stays as it is.
pub(crate) fn certify_fixed(problem: &Problem<'_>, placement: Placement, run: &mut Run<'_>) -> Found {
    let placed =
        problem.groups.iter().zip(&placement.left).map(|(group, left)| group.pods.len() as i64 - left);
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, placed.collect(), &limits, true);
    let relaxed = relax(&core, run);
    let (certificate, bound) = certify(problem, &core, &relaxed.multipliers, &relaxed.list);
    run.note("given", Some(placement.cost(problem)), relaxed.list.bound);
    Found { placement, certificate, bound, undominated: core.offers.len(), stop: Stop::WorkDone }
}

/// The bound if weights were not strict, over the same placed pods. Changes the problem's weights.
pub(crate) fn bound_without_weights(
    problem: &mut Problem<'_>,
    placement: &Placement,
    run: &mut Run<'_>,
) -> (Certificate, UsdMicros) {
    problem.groups.iter_mut().for_each(|group| group.min_weight = i32::MIN);
    let placed: Vec<i64> = problem
        .groups
        .iter()
        .zip(&placement.left)
        .map(|(group, left)| group.pods.len() as i64 - left)
        .collect();
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, placed, &limits, true);
    let relaxed = relax(&core, run);
    certify(problem, &core, &relaxed.multipliers, &relaxed.list)
}

/// A fluid optimum with the program it came from.
struct Relaxed<'c> {
    fluid: Fluid<'c>,
    multipliers: Multipliers,
    list: PriceList,
    point: Option<FluidPoint>,
}

fn relax<'c>(core: &'c Core, run: &mut Run<'_>) -> Relaxed<'c> {
    let mut fluid = Fluid::new(core);
    if core.demand.is_empty() {
        // HiGHS calls a program without rows an error.
        let multipliers = Multipliers::zero(core);
        let list = price_all(core, &multipliers);
        return Relaxed { fluid, multipliers, list, point: None };
    }
    let left = |run: &Run<'_>| run.limits.time.saturating_sub(run.elapsed()).max(MINIMUM_TIME).as_secs_f64();
    let (multipliers, list, point) = match fluid.solve(&|| left(run)) {
        Ok((point, list)) => (point.multipliers.clone(), list, Some(point)),
        Err(fault) => {
            run.faults.push(format!("fluid program: {fault}"));
            let multipliers = fluid.homogeneous_multipliers();
            let list = price_all(core, &multipliers);
            (multipliers, list, None)
        }
    };
    run.iterations += fluid.iterations();
    run.note("fluid", None, list.bound);
    Relaxed { fluid, multipliers, list, point }
}

/// Packs a core as well as time allows; may replace multipliers and prices by better ones.
fn pack(problem: &Problem<'_>, core: &Core, relaxed: &mut Relaxed<'_>, run: &mut Run<'_>) -> (Packing, Stop) {
    let mut packing = first_packing(core, relaxed, run);
    let pods: i64 = core.demand.iter().sum();
    let is_small = packing.nodes.len() <= master::NODES_MAX
        && pods <= master::PODS_PER_NODE_MAX * (packing.nodes.len() + core.spares.len()) as i64
        && relaxed.point.is_some();
    let gap = |packing: &Packing, list: &PriceList| {
        Ppm::gap(UsdMicros(packing.cost(core)), UsdMicros((list.bound * 1e6) as i64))
    };
    if is_small && gap(&packing, &relaxed.list) > problem.policy.gap && packing.left_out() == 0 {
        if let Some(exact) = tiny::solve(core) {
            packing = exact;
            run.note("exact", Some(packing.cost(core)), relaxed.list.bound);
            raise_bound(core, relaxed, &packing, run);
            return (packing, Stop::WorkDone);
        }
        let guide = Guide::new(core, &relaxed.multipliers, &relaxed.list);
        improve(problem, core, &guide, &relaxed.list, &mut packing, SMALL_WORK, run);
        generate(problem, core, relaxed, &mut packing, run);
    }
    let guide = Guide::new(core, &relaxed.multipliers, &relaxed.list);
    let millis = u64::try_from(run.limits.time.as_millis()).unwrap_or(u64::MAX);
    let budget = millis.saturating_mul(WORK_PER_SECOND) / 1000;
    // With pods left out the problem is planned again without them. Until then a cheaper plan is worth nothing if it uses
    // up a limit.
    let budget = if packing.left_out() > 0 { 0 } else { budget };
    let stop = improve(problem, core, &guide, &relaxed.list, &mut packing, budget, run);
    (packing, stop)
}

/// Column generation for the bound; returns the columns.
fn raise_bound<'c>(
    core: &'c Core,
    relaxed: &mut Relaxed<'_>,
    packing: &Packing,
    run: &mut Run<'_>,
) -> Master<'c> {
    let mut master = Master::new(core, packing);
    let seconds = run.limits.time.as_secs_f64();
    let iterations = (ITERATIONS_PER_SECOND * seconds).clamp(20.0, 1e6) as usize;
    let stop = || run.stopped().is_some();
    let bounded = master.run(&relaxed.multipliers, relaxed.list.bound, 1e-4, iterations, &stop);
    run.iterations += master.iterations();
    if let Some(bounded) = bounded {
        relaxed.multipliers = bounded.multipliers;
        relaxed.list = bounded.list;
        run.note("columns", Some(packing.cost(core)), relaxed.list.bound);
    }
    master
}

/// Column generation and the integer program over its columns.
fn generate(
    problem: &Problem<'_>,
    core: &Core,
    relaxed: &mut Relaxed<'_>,
    packing: &mut Packing,
    run: &mut Run<'_>,
) {
    let master = raise_bound(core, relaxed, packing, run);
    let cost = packing.cost(core);
    if Ppm::gap(UsdMicros(cost), UsdMicros((relaxed.list.bound * 1e6) as i64)) <= problem.policy.gap {
        return;
    }
    let room = cost as f64 / 1e6 - relaxed.list.bound;
    if let Some(better) = master
        .integer(&relaxed.multipliers, room, run.limits.time.as_secs_f64())
        .filter(|better| better.cost(core) < cost)
    {
        *packing = better;
        run.note("integer", Some(packing.cost(core)), relaxed.list.bound);
    }
}

fn first_packing(core: &Core, relaxed: &mut Relaxed<'_>, run: &mut Run<'_>) -> Packing {
    let guide = Guide::new(core, &relaxed.multipliers, &relaxed.list);
    let packing = match &relaxed.point {
        Some(point) => dive(core, &mut relaxed.fluid, point, &guide),
        None => greedy(core, &guide),
    };
    run.note("dive", Some(packing.cost(core)), relaxed.list.bound);
    packing
}

/// When the search is greedy and when it may lose a little: descend until nothing improves, then heat up and cool down
/// again and again from the best plan, until several such cycles find nothing.
#[derive(Default)]
struct Schedule {
    /// Work of the current cycle; before the first cycle, since the last improvement.
    work: u64,
    /// Work a cycle takes; zero before the first.
    cycle: u64,
    improved: bool,
    fruitless: u32,
}

/// Heat at the start of a cycle: a round may lose two per mille of what it takes apart.
const HEAT: f64 = 0.002;
/// Cycles without a better plan after which the search ends.
const FRUITLESS_MAX: u32 = 4;

impl Schedule {
    fn heat(&self) -> f64 {
        if self.cycle == 0 { 0.0 } else { HEAT * (1.0 - self.work as f64 / self.cycle as f64).max(0.0) }
    }

    fn is_over(&self) -> bool {
        self.fruitless >= FRUITLESS_MAX
    }

    /// Counts a slice of work; true if a cycle begins.
    fn advance(&mut self, work: u64, better: bool, nodes: u64) -> bool {
        self.improved |= better;
        self.work = if better && self.cycle == 0 { 0 } else { self.work + work };
        let length = if self.cycle == 0 { STALL_WORK_PER_NODE * nodes } else { self.cycle };
        if self.work < length {
            return false;
        }
        if self.cycle > 0 {
            self.fruitless = if self.improved { 0 } else { self.fruitless + 1 };
        }
        (self.work, self.improved, self.cycle) = (0, false, CYCLE_WORK_PER_NODE * nodes);
        true
    }
}

fn greedy(core: &Core, guide: &Guide) -> Packing {
    let mut packing = Packing::empty(core);
    let mut filler = Filler::default();
    fill_spares(core, guide, &mut packing, &mut filler);
    complete(core, guide, &mut packing, &guide.near, &vec![1.0; core.demand.len()], &mut filler);
    packing
}

fn improve(
    problem: &Problem<'_>,
    core: &Core,
    guide: &Guide,
    list: &PriceList,
    packing: &mut Packing,
    budget: u64,
    run: &mut Run<'_>,
) -> Stop {
    let seed = problem.snapshot.seed ^ problem.policy.seed.rotate_left(32) ^ 0x5704_A6E0;
    let mut search = Search::new(core, guide, std::mem::take(packing), seed);
    let mut schedule = Schedule::default();
    let stop = loop {
        let gap = Ppm::gap(UsdMicros(search.best_cost()), UsdMicros((list.bound * 1e6) as i64));
        if gap <= problem.policy.gap {
            break Stop::GapReached;
        }
        let nodes = (search.best_nodes() + core.spares.len() / 2) as u64;
        if search.work() >= budget || schedule.is_over() {
            break Stop::WorkDone;
        }
        if let Some(stop) = run.stopped() {
            break stop;
        }
        let better = search.run(WORK_PER_SLICE, schedule.heat());
        if better {
            run.note("search", Some(search.best_cost()), list.bound);
        }
        if schedule.advance(WORK_PER_SLICE, better, nodes.clamp(8, 400)) {
            search.restart();
        }
    };
    *packing = search.into_best();
    if packing.left_out() > 0 {
        // Right-sizing may have given back some of a limit.
        let bias = vec![1.0; core.demand.len()];
        complete(core, guide, packing, &guide.near, &bias, &mut Filler::default());
    }
    stop
}
