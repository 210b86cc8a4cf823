//! Plans and proves the blocks of a core: a first plan of each, then better ones and better bounds where the gap is wide.

use crate::Stop;
use crate::blocks::Block;
use crate::branching::{Rise, Tree, Until};
use crate::certificate::BlockProof;
use crate::core::Core;
use crate::dive::{dive, follow};
use crate::effort::{Effort, micros};
use crate::engine::Run;
use crate::fill::Filler;
use crate::fluid::{Fluid, FluidPoint};
use crate::improve::{Beside, Schedule, improve};
use crate::large;
use crate::master::{self, Master};
use crate::pack::{Guide, Packing, complete, fill_spares};
use crate::pricing::{Multipliers, PriceList, price_all};
use crate::problem::Problem;
use crate::tiny;
use crate::vectors::price_list;
use std::time::Duration;
use stowage_models::units::{Ppm, UsdMicros};

/// Share of the work left that branching may use, out of ten.
const BRANCH_SHARE: u64 = 6;
/// What a linear program gets even when time is up: a plan without any bound is worth little.
pub(crate) const MINIMUM_TIME: Duration = Duration::from_millis(50);
/// The same where the bound is all that is asked for.
const BOUND_TIME: Duration = Duration::from_millis(1_000);
/// Iterations of column generation per second of time limit.
pub(crate) const ITERATIONS_PER_SECOND: f64 = 25.0;

/// Branching pays where the best plan has at most this many nodes; beyond, fractions of nodes are within the gap, and the fluid program is
/// held to whole copies from the start, by rows that branching adds itself.
pub(crate) const BRANCH_NODES_MAX: usize = 60;
/// Pods up to which the tree is about patterns from its root.
const SHARP_PODS_MAX: i64 = 14;
/// Pods up to which leaves of integer numbers of nodes are solved over patterns, and little is searched before branching and at
/// leaves: branching then finds better plans than the search does, at 100 pods and more it no longer does (20 seeds of each).
const PATTERN_PODS_MAX: i64 = 60;
/// Work of the search beside each fork: a third of what the last fork took, because a unit of it takes the solver less time, and no less
/// than this.
const BESIDE_WORK_MIN: u64 = 100_000;
const BESIDE_SHARE: u64 = 3;
/// What tells its seed from that of the search before.
const BESIDE_SEED: u64 = 0x5bd1_e995_0000_0001;
/// Leaves of a tree at most: what a plan document can reasonably carry.
const LEAVES_MAX: usize = 400;
/// A simplex iteration in units of work, per group.
const ITERATION_WORK: u64 = 30;
/// After this many new leaves the search goes down from the worst of them to integer numbers of nodes.
const PLUNGE_EVERY: usize = 12;
/// Plans made from a leaf are improved by search if within this share of the best.
const PROMISING: f64 = 0.04;
/// A run that may take no longer than this is content with the prices of an earlier run, if there are any.
const PROGRAM_TIME: Duration = Duration::from_millis(40);
/// Work of the search for a plan by the prices of an earlier run: two milliseconds.
const REMEMBERED_WORK: u64 = 100_000;
/// Work of the search before branching in small batches.
const FIRST_WORK: u64 = 200_000;
/// Share of the work that the search has before anything is done for the bound in consolidation, out of ten: what is left to save is
/// proven by the joint bound, not by that of the launches.
const SETTLE_SHARE: u64 = 8;
/// Work of the search that improves a plan made from a leaf.
const POLISH_WORK: u64 = 400_000;
/// The same in small batches, where there are more leaves to look at.
const BATCH_POLISH_WORK: u64 = 60_000;

/// A block with what is known about it.
pub(crate) struct Part<'b> {
    pub(crate) core: &'b Core,
    pub(crate) packing: Packing,
    pub(crate) proof: BlockProof<'b>,
    pub(crate) relaxed: Relaxed<'b>,
    /// The packing is known to be the cheapest.
    pub(crate) exact: bool,
}

/// What was found for a core.
pub(crate) struct Solved<'b> {
    /// The plan of the whole core.
    pub(crate) packing: Packing,
    /// Why the search ended.
    pub(crate) stop: Stop,
    proofs: Vec<BlockProof<'b>>,
}

impl<'b> Solved<'b> {
    /// The blocks with their proofs.
    pub(crate) fn proofs<'s>(&'s self, blocks: &'s [Block]) -> Vec<(&'s Block, &'s BlockProof<'b>)> {
        blocks.iter().zip(&self.proofs).collect()
    }
}

/// Plans and proves a core that was split into blocks.
pub(crate) fn blocks<'b>(
    problem: &Problem<'_>,
    core: &Core,
    blocks: &'b [Block],
    run: &mut Run<'_>,
) -> Solved<'b> {
    let mut parts: Vec<Part<'b>> = blocks.iter().map(|block| first(problem, &block.core, run)).collect();
    let mut effort = Effort::new(problem, run);
    effort.tell(&parts, None, "dive", run);
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|k| (parts[*k].core.pods(), *k));
    let mut stop = Stop::GapReached;
    // Pods left out for limits are planned for again by other means, and all others with them.
    let complete = parts.iter().all(|part| part.packing.left_out() == 0);
    for (position, k) in order.iter().copied().enumerate() {
        if !complete {
            stop = Stop::WorkDone;
            break;
        }
        if effort.is_whole_done(&parts) {
            break;
        }
        effort.others =
            Effort::sum(parts.iter().enumerate().filter(|(other, _)| *other != k).map(|(_, p)| p));
        // Each part has its share of the work by what there may be to gain; what it does not use is for those after it.
        let most = (effort.work as f64 * share(&parts, &order[position..])) as u64;
        let reason = effort.within(most, |effort| refine(&mut parts[k], effort, run));
        if reason != Stop::GapReached {
            stop = reason;
        }
    }
    if effort.is_whole_done(&parts) {
        stop = Stop::GapReached;
    }
    let mut packing = Packing::empty(core);
    for (block, part) in blocks.iter().zip(&parts) {
        run.warm.remember(problem, block, &part.relaxed.multipliers, &part.relaxed.list);
        block.merge(core, &part.packing, &mut packing);
    }
    Solved { packing, stop, proofs: parts.into_iter().map(|part| part.proof).collect() }
}

/// Of what these parts might cost less at most, how much the first of them might.
fn share(parts: &[Part<'_>], rest: &[usize]) -> f64 {
    let room =
        |k: &usize| (parts[*k].packing.cost(parts[*k].core) as f64 / 1e6 - parts[*k].proof.bound()).max(0.0);
    let all: f64 = rest.iter().map(room).sum();
    if all > 0.0 { room(&rest[0]) / all } else { 1.0 }
}

/// Bounds a core without a plan.
pub(crate) fn bounds<'b>(core: &Core, blocks: &'b [Block], run: &mut Run<'_>) -> Solved<'b> {
    let proofs = blocks.iter().map(|block| {
        let relaxed = relax(&block.core, run, BOUND_TIME);
        BlockProof::Flat(relaxed.multipliers, relaxed.list)
    });
    Solved { proofs: proofs.collect(), packing: Packing::empty(core), stop: Stop::WorkDone }
}

/// A fluid optimum with the program it came from.
pub(crate) struct Relaxed<'c> {
    /// The program; none where prices of an earlier run were enough.
    pub(crate) fluid: Option<Fluid<'c>>,
    pub(crate) multipliers: Multipliers,
    pub(crate) list: PriceList,
    pub(crate) point: Option<FluidPoint>,
}

fn relax<'c>(core: &'c Core, run: &mut Run<'_>, least: Duration) -> Relaxed<'c> {
    let mut fluid = Fluid::new(core);
    let (multipliers, list, point) = match fluid.solve(&|| run.solver_left(least)) {
        Ok((point, list)) => (point.multipliers.clone(), list, Some(point)),
        Err(fault) => {
            run.faults.push(format!("fluid program: {fault}"));
            let multipliers = fluid.homogeneous_multipliers();
            let list = price_all(core, &multipliers);
            (multipliers, list, None)
        }
    };
    run.iterations += fluid.iterations();
    Relaxed { fluid: Some(fluid), multipliers, list, point }
}

/// Bound and first plan of a block.
fn first<'b>(problem: &Problem<'_>, core: &'b Core, run: &mut Run<'_>) -> Part<'b> {
    if let Some(part) = remembered(problem, core, run) {
        return part;
    }
    let relaxed = relax(core, run, MINIMUM_TIME);
    let guide = Guide::new(core, &relaxed.multipliers, &relaxed.list);
    let packing = match (&relaxed.point, &relaxed.fluid) {
        (Some(point), Some(fluid)) => {
            let (packing, built) = dive(core, fluid, (point, &relaxed.list), &guide, 0.0);
            run.faults.extend(built.err().map(|fault| format!("first plan: {fault}")));
            packing
        }
        _ => greedy(core, &guide),
    };
    let proof = BlockProof::Flat(relaxed.multipliers.clone(), relaxed.list.clone());
    Part { core, packing, proof, relaxed, exact: false }
}

/// Bound and first plan of a block from the prices an earlier run left, without a linear program; `None` if they are not
/// within the gap the policy asks for, and there is time to do better.
fn remembered<'b>(problem: &Problem<'_>, core: &'b Core, run: &mut Run<'_>) -> Option<Part<'b>> {
    let older = run.older.filter(|older| !older.is_cold())?;
    let whole = older.multipliers(problem, core);
    let list = price_all(core, &whole);
    let guide = Guide::new(core, &whole, &list);
    let mut packing = greedy(core, &guide);
    if packing.left_out() > 0 {
        return None;
    }
    let hurry = run.limits.time <= PROGRAM_TIME;
    // In a hurry these prices have to do, so what is searched may as well be searched later, by the clock.
    if !hurry {
        let seed = problem.snapshot.seed ^ problem.policy.seed.rotate_left(32);
        let schedule = Schedule::descent();
        improve(core, &guide, &mut packing, seed, REMEMBERED_WORK, schedule, &mut |_, _| run.stopped());
    }
    // Who found room on existing nodes entirely would have found it without any multiplier (complementary slackness).
    let mut launched = vec![false; core.demand.len()];
    packing.nodes.iter().flat_map(|node| &node.pattern).for_each(|(g, _)| launched[*g as usize] = true);
    let mut multipliers = whole.clone();
    for (pi, launched) in multipliers.pi.iter_mut().zip(launched) {
        *pi = if launched { *pi } else { 0.0 };
    }
    let cost = UsdMicros(packing.cost(core));
    let priced = [(price_all(core, &multipliers), multipliers), (list, whole)];
    let (list, multipliers) = priced.into_iter().max_by(|a, b| a.0.bound.total_cmp(&b.0.bound))?;
    let near = Ppm::gap(cost, micros(list.bound)) <= problem.policy.gap;
    if !near && !hurry {
        return None;
    }
    run.note("remembered", Some(cost.0), list.bound);
    let relaxed = Relaxed { fluid: None, multipliers: multipliers.clone(), list: list.clone(), point: None };
    Some(Part { core, packing, proof: BlockProof::Flat(multipliers, list), relaxed, exact: false })
}

fn greedy(core: &Core, guide: &Guide) -> Packing {
    let mut packing = Packing::empty(core);
    let mut filler = Filler::default();
    fill_spares(core, guide, &mut packing, &mut filler);
    complete(core, guide, &mut packing, &guide.near, &vec![1.0; core.demand.len()], &mut filler);
    packing
}

/// Works on one block until its gap is closed or the effort is used up.
fn refine(part: &mut Part<'_>, effort: &mut Effort, run: &mut Run<'_>) -> Stop {
    let core = part.core;
    let done = |part: &Part<'_>, effort: &Effort| effort.is_done(part.packing.cost(core), part.proof.bound());
    if done(part, effort) {
        return Stop::GapReached;
    }
    let built = large::improve(part, effort, run);
    if done(part, effort) {
        return Stop::GapReached;
    }
    let is_small = part.packing.nodes.len() <= BRANCH_NODES_MAX && part.relaxed.point.is_some();
    if is_small {
        // Branching has a program of its own; for 10,000 pods either is megabytes.
        part.relaxed.fluid = None;
        if let Some(exact) = tiny::solve(core) {
            (part.packing, part.exact) = (exact, true);
            effort.note("exact", part.packing.cost(core), part.proof.bound(), run);
        } else {
            let guide = Guide::new(core, &part.relaxed.multipliers, &part.relaxed.list);
            let whole = effort.work;
            // In a small batch branching soon finds better plans than the search.
            let (first, schedule) = match effort.consolidates {
                true => (whole / 10 * SETTLE_SHARE, Schedule::default()),
                false if has_patterns(core, effort) => (FIRST_WORK.min(whole), Schedule::descent()),
                false => (whole, Schedule::descent()),
            };
            effort.within(first, |effort| search(part, &guide, schedule, effort, run));
        }
        if !done(part, effort) {
            branch(part, effort, run);
        }
        let bins = part.packing.nodes.len() + core.spares.len();
        if !done(part, effort) && core.pods() <= master::PODS_PER_NODE_MAX * bins as i64 {
            generate(part, effort, run);
        }
    }
    if !is_small && effort.consolidates {
        let guide = Guide::new(core, &part.relaxed.multipliers, &part.relaxed.list);
        let first = effort.work / 10 * SETTLE_SHARE;
        effort.within(first, |effort| search(part, &guide, Schedule::default(), effort, run));
    }
    if !is_small && !done(part, effort) {
        large::refine(part, built, effort, run);
    }
    if part.exact || done(part, effort) {
        return if done(part, effort) { Stop::GapReached } else { Stop::WorkDone };
    }
    let guide = match &part.proof {
        BlockProof::Tree(tree) => tree.leaf(tree.worst().1).map(|leaf| {
            let list = price_list(core, &leaf.multipliers, &leaf.vectors, leaf.bound);
            Guide::new(core, &leaf.multipliers, &list)
        }),
        BlockProof::Flat(multipliers, list) => Some(Guide::new(core, multipliers, list)),
    };
    match guide {
        Some(guide) => search(part, &guide, Schedule::looking_within(effort.work), effort, run),
        None => Stop::WorkDone,
    }
}

/// Improves the plan of a part by search.
pub(crate) fn search(
    part: &mut Part<'_>,
    guide: &Guide,
    schedule: Schedule,
    effort: &mut Effort,
    run: &mut Run<'_>,
) -> Stop {
    let bound = part.proof.bound();
    let at = *effort;
    let mut watch = |cost: i64, better: bool| {
        if better {
            at.note("search", cost, bound, run);
        }
        if at.is_done(cost, bound) { Some(Stop::GapReached) } else { run.stopped() }
    };
    let (stop, work) = improve(part.core, guide, &mut part.packing, at.seed, at.work, schedule, &mut watch);
    effort.work = effort.work.saturating_sub(work);
    stop
}

/// Whether leaves may be solved over patterns: a small batch and no existing nodes.
fn has_patterns(core: &Core, effort: &Effort) -> bool {
    !effort.consolidates && core.pods() <= PATTERN_PODS_MAX && core.spares.is_empty()
}

/// Solves a leaf over patterns.
fn sharpen(part: &mut Part<'_>, tree: &mut Tree<'_>, at: usize, effort: &Effort, run: &mut Run<'_>) -> bool {
    let core = part.core;
    let cost = part.packing.cost(core);
    let until = Until { bound: effort.enough(cost), stop: &|| run.stopped().is_some() };
    match tree.sharpen(at, &part.packing, until) {
        Ok(rose) => {
            effort.note("patterns", cost, tree.worst().0, run);
            rose
        }
        Err(fault) => {
            run.faults.push(format!("patterns: {fault}"));
            false
        }
    }
}

/// The cheapest combination of the patterns found, by a small integer program.
fn combine(part: &mut Part<'_>, tree: &mut Tree<'_>, effort: &Effort, run: &mut Run<'_>) {
    let core = part.core;
    let cost = part.packing.cost(core);
    let (bound, at) = tree.worst();
    let Some(mut multipliers) = tree.leaf(at).map(|leaf| leaf.multipliers.clone()) else { return };
    multipliers.surcharge.clear();
    let seconds = run.limits.time.as_secs_f64();
    let Some(patterns) = tree.patterns() else { return };
    let room = cost as f64 / 1e6 - bound;
    let seconds = run.solver_seconds((3.0 * seconds).min(seconds + 2.0));
    let better = patterns.integer(&multipliers, room, seconds);
    if let Some(better) = better.filter(|better| better.cost(core) < cost) {
        part.packing = better;
        effort.note("integer", part.packing.cost(core), bound, run);
    }
}

/// Raises the bound of a part by branching, and looks for better plans where numbers of nodes are integer.
fn branch<'b>(part: &mut Part<'b>, effort: &mut Effort, run: &mut Run<'_>) {
    let core = part.core;
    // The root of fewer pods has rows for whole copies that the fluid optimum had not, and costs no work.
    if effort.work == 0 && core.has_many_pods() {
        return;
    }
    let mut tree = match Tree::new(core, &part.relaxed.multipliers, &part.relaxed.list) {
        Ok(tree) => tree,
        Err(fault) => {
            run.faults.push(format!("branching: {fault}"));
            return;
        }
    };
    let mut iterations = tree.iterations();
    let mut rise = Rise::new(core, tree.worst().0);
    let has_patterns = has_patterns(core, effort);
    if core.pods() <= SHARP_PODS_MAX && has_patterns {
        sharpen(part, &mut tree, 0, effort, run);
        if !part.exact && !effort.is_done(part.packing.cost(core), tree.worst().0) {
            combine(part, &mut tree, effort, run);
        }
    }
    let keep = effort.work / 10 * (10 - BRANCH_SHARE);
    // The solver has one core, the search the other.
    let guide = Guide::new(core, &part.relaxed.multipliers, &part.relaxed.list);
    let mut beside = (!part.exact && !effort.consolidates)
        .then(|| Beside::new(core, &guide, part.packing.clone(), effort.seed ^ BESIDE_SEED));
    let mut used = BESIDE_WORK_MIN;
    let mut plunging = true;
    let mut next = 0;
    let mut plunged = 0;
    loop {
        let cost = part.packing.cost(core);
        let (bound, _) = tree.worst();
        if effort.is_done(cost, bound)
            || tree.leaves() >= LEAVES_MAX
            || effort.work <= keep
            || rise.is_over(tree.leaves(), bound, cost)
            || run.stopped().is_some()
        {
            break;
        }
        let until = Until { bound: effort.enough(cost), stop: &|| run.stopped().is_some() };
        let forked = match &mut beside {
            Some(beside) => {
                beside.during((used / BESIDE_SHARE).max(BESIDE_WORK_MIN), || tree.fork(next, until))
            }
            None => tree.fork(next, until),
        };
        let sides = match forked {
            Ok(Some(sides)) => sides,
            Ok(None) => {
                // Integer: nothing to decide there, as long as pods are mixed.
                if has_patterns && !tree.is_sharp(next) && sharpen(part, &mut tree, next, effort, run) {
                    continue;
                }
                // The next worst may still hold a better plan.
                match tree.open(cost as f64 / 1e6) {
                    Some(open) => (plunging, next) = (false, open),
                    None => break,
                }
                continue;
            }
            Err(fault) => {
                run.faults.push(format!("branching: {fault}"));
                (plunging, next) = (false, 0);
                continue;
            }
        };
        used = (tree.iterations() - iterations) * ITERATION_WORK * core.demand.len() as u64;
        iterations = tree.iterations();
        effort.work = effort.work.saturating_sub(used);
        for side in sides {
            if !part.exact {
                try_leaf(part, &tree, side, effort, run);
            }
        }
        let (bound, _) = tree.worst();
        if beside.as_mut().is_some_and(|beside| beside.exchange(&mut part.packing)) {
            effort.note("search", part.packing.cost(core), bound, run);
        }
        let worst = tree.open(f64::INFINITY).unwrap_or(0);
        effort.note("branching", part.packing.cost(core), bound, run);
        if !plunging && tree.leaves() >= plunged + PLUNGE_EVERY {
            plunging = true;
            next = worst;
        } else if plunging {
            // The side that promises less cost, unless the search has arrived or nothing better is below.
            let below = sides.into_iter().filter_map(|side| tree.leaf(side).map(|leaf| (leaf.bound, side)));
            let best = below.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let cost = part.packing.cost(core) as f64 / 1e6;
            match best {
                Some((bound, side))
                    if bound < cost && tree.leaf(side).is_some_and(|leaf| !leaf.is_integral()) =>
                {
                    next = side;
                }
                _ => (plunging, plunged, next) = (false, tree.leaves(), worst),
            }
        } else {
            next = worst;
        }
    }
    run.iterations += tree.iterations();
    if tree.worst().0 > part.proof.bound() {
        part.proof = BlockProof::Tree(Box::new(tree));
    }
}

/// Makes a plan from the fluid optimum of a leaf and keeps it if it is better.
fn try_leaf(part: &mut Part<'_>, tree: &Tree<'_>, at: usize, effort: &mut Effort, run: &mut Run<'_>) {
    let core = part.core;
    let Some(leaf) = tree.leaf(at) else { return };
    let best = part.packing.cost(core);
    if (leaf.bound * 1e6) as i64 >= best {
        return;
    }
    let list = price_list(core, &leaf.multipliers, &leaf.vectors, leaf.bound);
    let guide = Guide::new(core, &leaf.multipliers, &list);
    let mut packing = follow(core, &leaf.point, &guide);
    if packing.left_out() > 0 {
        return;
    }
    if packing.cost(core) as f64 <= best as f64 * (1.0 + PROMISING) {
        let budget =
            if has_patterns(core, effort) { BATCH_POLISH_WORK } else { POLISH_WORK }.min(effort.work);
        let schedule = Schedule::descent();
        let (_, used) =
            improve(core, &guide, &mut packing, effort.seed, budget, schedule, &mut |_, _| run.stopped());
        effort.work = effort.work.saturating_sub(used);
    }
    if packing.cost(core) < best && packing.left_out() == 0 {
        part.packing = packing;
        effort.note("leaf", part.packing.cost(core), tree.worst().0, run);
    }
}

/// Column generation on integer patterns, for the bound, and the integer program over the columns, for the plan.
fn generate(part: &mut Part<'_>, effort: &mut Effort, run: &mut Run<'_>) {
    let core = part.core;
    let mut master = Master::new(core, &part.packing);
    let seconds = run.time.as_secs_f64();
    let iterations = (ITERATIONS_PER_SECOND * seconds).clamp(20.0, 1e6) as usize;
    let stop = || run.stopped().is_some();
    let start = &part.relaxed.multipliers;
    let bounded = master.run(start, part.relaxed.list.bound, 1e-4, iterations, &stop);
    run.iterations += master.iterations();
    run.faults.extend(master.fault.take().map(|fault| format!("column generation: {fault}")));
    let Some(bounded) = bounded else { return };
    let cost = part.packing.cost(core);
    let room = cost as f64 / 1e6 - bounded.list.bound;
    let (multipliers, list) = (bounded.multipliers, bounded.list);
    let bound = list.bound;
    if bound > part.proof.bound() {
        part.proof = BlockProof::Flat(multipliers.clone(), list);
        effort.note("columns", cost, bound, run);
    }
    if part.exact || effort.is_done(cost, part.proof.bound()) {
        return;
    }
    // Its branches are counted; the clock is only to stop what got out of hand, not what a busy machine slows down.
    let whole = run.limits.time.as_secs_f64();
    let seconds = run.solver_seconds((3.0 * whole).min(whole + 2.0));
    let better = master.integer(&multipliers, room, seconds);
    if let Some(better) = better.filter(|better| better.cost(core) < cost) {
        part.packing = better;
        effort.note("integer", part.packing.cost(core), part.proof.bound(), run);
    }
}
