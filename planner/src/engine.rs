//! The search for one problem: bound, first plan, improvement, certificate.

use crate::certificate::certify;
use crate::core::{Core, usage};
use crate::dive::dive;
use crate::fluid::{Fluid, FluidPoint};
use crate::master::{self, Master};
use crate::pack::{Filler, Guide, Packing, Pattern, complete, fill_spares};
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
/// Work per second of time limit: about a third of what two cores of 2026 do, so that the work budget normally ends the
/// search before the clock does and equal inputs give equal plans on every machine.
const WORK_PER_SECOND: u64 = 40_000_000;

/// A search that finds nothing for this much work per node has seen what its neighbourhoods hold.
const STALL_WORK_PER_NODE: u64 = 800_000;
/// Work of the search before column generation in a small problem.
const SMALL_WORK: u64 = 10_000_000;
/// Iterations of column generation per second of time limit.
const ITERATIONS_PER_SECOND: f64 = 40.0;

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
        Run {
            limits,
            started,
            timeline: Vec::new(),
            observer,
            iterations: 0,
            faults: Vec::new(),
        }
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
        let cancelled = self
            .limits
            .cancel
            .as_ref()
            .is_some_and(|flag| flag.load(std::sync::atomic::Ordering::Relaxed));
        if cancelled {
            Some(Stop::Cancelled)
        } else if self.elapsed() >= self.limits.time {
            Some(Stop::TimeLimit)
        } else {
            None
        }
    }
}

/// Pods on bins, in the problem's own terms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    /// (index into [`Problem::offerings`], pods by group).
    pub(crate) launches: Vec<(usize, Pattern)>,
    /// (index into [`Problem::existing`], pods by group).
    pub(crate) existing: Vec<(usize, Pattern)>,
    /// Pods left out because of limits, by group.
    pub(crate) left: Vec<i64>,
    /// What is left of each limit.
    pub(crate) limits: Vec<i64>,
}

/// Plans a problem: tier by tier of NodePool weights where limits force it, then certifies the whole.
pub(crate) fn search(problem: &mut Problem<'_>, run: &mut Run<'_>) -> Found {
    let demand: Vec<i64> = problem
        .groups
        .iter()
        .map(|group| group.pods.len() as i64)
        .collect();
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, demand.clone(), &limits, true);
    let mut relaxed = relax(&core, run);
    let (packing, mut stop) = pack(problem, &core, &mut relaxed, run);
    let mut placement = Placement::new(&core, &packing);
    if packing.left_out() == 0 {
        let (certificate, bound) = certify(problem, &core, &relaxed.multipliers, &relaxed.list);
        return Found {
            placement,
            certificate,
            bound,
            undominated: core.offers.len(),
            stop,
        };
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
        let placed: Vec<i64> = demand
            .iter()
            .zip(&placement.left)
            .map(|(all, left)| all - left)
            .collect();
        let core = Core::new(problem, placed, limits, true);
        let mut relaxed = relax(&core, run);
        let last = pass + 1 >= PASSES_MAX;
        if !last {
            let (packing, stopped) = pack(problem, &core, &mut relaxed, run);
            stop = stopped;
            // With weights lowered, a cheaper plan might leave room in a pool that has to be used up first.
            if !lowered && packing.left_out() == 0 && packing.cost(&core) < placement.cost(problem) {
                let left = std::mem::take(&mut placement.left);
                placement = Placement {
                    left,
                    ..Placement::new(&core, &packing)
                };
            }
            let before = placement.left.clone();
            placement.insert_left(problem);
            if placement.left != before {
                continue;
            }
        }
        let (certificate, bound) = certify(problem, &core, &relaxed.multipliers, &relaxed.list);
        run.note("placed pods", Some(placement.cost(problem)), relaxed.list.bound);
        return Found {
            placement,
            certificate,
            bound,
            undominated: core.offers.len(),
            stop,
        };
    }
    unreachable!("the last pass returns")
}

/// The bound if weights were not strict, over the same placed pods. Changes the problem's weights.
pub(crate) fn bound_without_weights(
    problem: &mut Problem<'_>,
    placement: &Placement,
    run: &mut Run<'_>,
) -> (Certificate, UsdMicros) {
    problem
        .groups
        .iter_mut()
        .for_each(|group| group.min_weight = i32::MIN);
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
    let (multipliers, list, point) = match fluid.solve() {
        Ok((point, list)) => (point.multipliers.clone(), list, Some(point)),
        Err(fault) => {
            run.faults.push(format!("fluid program: {fault}"));
            let zero = Multipliers::zero(core);
            let list = price_all(core, &zero);
            (zero, list, None)
        }
    };
    run.iterations += fluid.iterations();
    run.note("fluid", None, list.bound);
    Relaxed {
        fluid,
        multipliers,
        list,
        point,
    }
}

/// Packs a core as well as time allows; may replace multipliers and prices by better ones.
fn pack(problem: &Problem<'_>, core: &Core, relaxed: &mut Relaxed<'_>, run: &mut Run<'_>) -> (Packing, Stop) {
    let mut packing = first_packing(core, relaxed, run);
    let pods: i64 = core.demand.iter().sum();
    let is_small = packing.nodes.len() <= master::NODES_MAX
        && pods <= master::PODS_PER_NODE_MAX * (packing.nodes.len() + core.spares.len()) as i64
        && relaxed.point.is_some();
    let gap = |packing: &Packing, list: &PriceList| {
        Ppm::gap(
            UsdMicros(packing.cost(core)),
            UsdMicros((list.bound * 1e6) as i64),
        )
    };
    if is_small && gap(&packing, &relaxed.list) > problem.policy.gap && packing.left_out() == 0 {
        let guide = Guide::new(core, &relaxed.multipliers, &relaxed.list);
        improve(
            problem,
            core,
            &guide,
            &relaxed.list,
            &mut packing,
            SMALL_WORK,
            run,
        );
        generate(problem, core, relaxed, &mut packing, run);
    }
    let guide = Guide::new(core, &relaxed.multipliers, &relaxed.list);
    let millis = u64::try_from(run.limits.time.as_millis()).unwrap_or(u64::MAX);
    let budget = millis.saturating_mul(WORK_PER_SECOND) / 1000;
    // With pods left out the problem is planned again without them, and this plan is only a start.
    let budget = if packing.left_out() > 0 {
        SMALL_WORK
    } else {
        budget
    };
    let stop = improve(problem, core, &guide, &relaxed.list, &mut packing, budget, run);
    (packing, stop)
}

/// Column generation and the integer program over its columns; the exact program for a handful of pods.
fn generate(
    problem: &Problem<'_>,
    core: &Core,
    relaxed: &mut Relaxed<'_>,
    packing: &mut Packing,
    run: &mut Run<'_>,
) {
    if let Some(exact) = tiny::solve(core)
        && exact.cost(core) <= packing.cost(core)
    {
        *packing = exact;
        run.note("exact", Some(packing.cost(core)), relaxed.list.bound);
    }
    let mut master = Master::new(core, packing);
    let seconds = run.limits.time.as_secs_f64();
    let iterations = (ITERATIONS_PER_SECOND * seconds).clamp(20.0, 1e6) as usize;
    let bounded = master.run(
        &relaxed.multipliers,
        relaxed.list.bound,
        1e-4,
        iterations,
        &|| run.stopped().is_some(),
    );
    run.iterations += master.iterations();
    if let Some(bounded) = bounded {
        relaxed.multipliers = bounded.multipliers;
        relaxed.list = bounded.list;
        run.note("columns", Some(packing.cost(core)), relaxed.list.bound);
    }
    let cost = packing.cost(core);
    if Ppm::gap(UsdMicros(cost), UsdMicros((relaxed.list.bound * 1e6) as i64)) <= problem.policy.gap {
        return;
    }
    let room = cost as f64 / 1e6 - relaxed.list.bound;
    if let Some(better) = master
        .integer(&relaxed.multipliers, room, seconds)
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

impl Placement {
    fn new(core: &Core, packing: &Packing) -> Placement {
        Placement {
            launches: packing
                .nodes
                .iter()
                .map(|node| (core.offers[node.offer as usize].offering, node.pattern.clone()))
                .collect(),
            existing: packing
                .spares
                .iter()
                .enumerate()
                .filter(|(_, pattern)| !pattern.is_empty())
                .map(|(s, pattern)| (core.spares[s].bin, pattern.clone()))
                .collect(),
            left: packing.left.clone(),
            limits: packing.limits.clone(),
        }
    }

    /// Adds the launches of a later tier, which placed part of what was left.
    fn merge(&mut self, later: Placement) {
        self.launches.extend(later.launches);
        self.left = later.left;
        self.limits = later.limits;
    }

    /// Price of the launches.
    pub(crate) fn cost(&self, problem: &Problem<'_>) -> i64 {
        self.launches
            .iter()
            .map(|(offering, _)| problem.offerings[*offering].price)
            .sum()
    }

    /// Puts pods that are left wherever there is room after all, higher priorities first: the plan is maximal.
    fn insert_left(&mut self, problem: &Problem<'_>) {
        let mut order: Vec<usize> = (0..self.left.len()).filter(|g| self.left[*g] > 0).collect();
        order.sort_by_key(|g| (std::cmp::Reverse(problem.groups[*g].priority), *g));
        let mut free_launches: Vec<Vec<i64>> = self
            .launches
            .iter()
            .map(|(o, p)| free(problem, &problem.offerings[*o].capacity, p))
            .collect();
        let mut free_existing: Vec<Vec<i64>> = problem.existing.iter().map(|bin| bin.free.clone()).collect();
        for (bin, pattern) in &self.existing {
            free_existing[*bin] = free(problem, &problem.existing[*bin].free, pattern);
        }
        for g in order {
            let request = &problem.groups[g].request;
            let group = u32::try_from(g).expect("groups fit 32 bits");
            for (bin, room) in free_existing.iter_mut().enumerate() {
                if problem.existing[bin].groups.binary_search(&group).is_ok() {
                    let count = take(request, room, self.left[g]);
                    if count > 0 {
                        self.left[g] -= count;
                        match self.existing.iter_mut().find(|(b, _)| *b == bin) {
                            Some((_, pattern)) => add(pattern, group, count),
                            None => self.existing.push((bin, vec![(group, count)])),
                        }
                    }
                }
            }
            for ((offering, pattern), room) in self.launches.iter_mut().zip(&mut free_launches) {
                if problem.may_use(g, &problem.offerings[*offering]) {
                    let count = take(request, room, self.left[g]);
                    if count > 0 {
                        self.left[g] -= count;
                        add(pattern, group, count);
                    }
                }
            }
            while self.left[g] > 0
                && let Some(offering) = self.cheapest_within_limits(problem, g)
            {
                let mut room = problem.offerings[offering].capacity.clone();
                let count = take(request, &mut room, self.left[g]);
                self.left[g] -= count;
                for (row, amount) in usage(problem, offering) {
                    self.limits[row] -= amount;
                }
                self.launches.push((offering, vec![(group, count)]));
                free_launches.push(room);
            }
        }
    }

    /// The cheapest offering that takes a pod of group `g` within what is left of the limits.
    fn cheapest_within_limits(&self, problem: &Problem<'_>, g: usize) -> Option<usize> {
        (0..problem.offerings.len())
            .filter(|o| problem.may_use(g, &problem.offerings[*o]))
            .filter(|o| {
                usage(problem, *o)
                    .iter()
                    .all(|(row, amount)| *amount <= self.limits[*row])
            })
            .min_by_key(|o| (problem.offerings[*o].price, *o))
    }
}

fn free(problem: &Problem<'_>, capacity: &[i64], pattern: &Pattern) -> Vec<i64> {
    let mut room = capacity.to_vec();
    for (g, count) in pattern {
        room.iter_mut()
            .zip(&problem.groups[*g as usize].request)
            .for_each(|(room, w)| *room -= w * count);
    }
    room
}

/// Takes as many of `left` pods as fit `room`.
fn take(request: &[i64], room: &mut [i64], left: i64) -> i64 {
    let fit = request
        .iter()
        .zip(room.iter())
        .filter(|(w, _)| **w > 0)
        .map(|(w, c)| c / w)
        .min()
        .unwrap_or(0);
    let count = fit.min(left).max(0);
    room.iter_mut()
        .zip(request)
        .for_each(|(room, w)| *room -= w * count);
    count
}

fn add(pattern: &mut Pattern, group: u32, count: i64) {
    match pattern.binary_search_by_key(&group, |(g, _)| *g) {
        Ok(at) => pattern[at].1 += count,
        Err(at) => pattern.insert(at, (group, count)),
    }
}

fn greedy(core: &Core, guide: &Guide) -> Packing {
    let mut packing = Packing::empty(core);
    let mut filler = Filler::default();
    fill_spares(core, guide, &mut packing, &mut filler);
    complete(
        core,
        guide,
        &mut packing,
        &guide.near,
        &vec![1.0; core.demand.len()],
        &mut filler,
    );
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
    let (mut done, mut improved_at) = (0_u64, 0_u64);
    let stop = loop {
        let cost = search.packing.cost(core);
        let gap = Ppm::gap(UsdMicros(cost), UsdMicros((list.bound * 1e6) as i64));
        if gap <= problem.policy.gap {
            break Stop::GapReached;
        }
        if done >= budget {
            break Stop::WorkDone;
        }
        if let Some(stop) = run.stopped() {
            break stop;
        }
        if search.run(WORK_PER_SLICE) {
            run.note("search", Some(search.packing.cost(core)), list.bound);
            improved_at = search.work();
        }
        done = search.work();
        let nodes = search.packing.nodes.len() as u64;
        if done - improved_at > STALL_WORK_PER_NODE * nodes.clamp(8, 400) {
            break Stop::WorkDone;
        }
    };

    *packing = search.packing;
    if packing.left_out() > 0 {
        // Right-sizing may have given back some of a limit.
        let bias = vec![1.0; core.demand.len()];
        complete(core, guide, packing, &guide.near, &bias, &mut Filler::default());
    }
    stop
}
