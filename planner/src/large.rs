//! Parts with many nodes: nodes built again, plans woven from patterns and the bound that patterns prove, each with the columns of the
//! others.

use crate::certificate::BlockProof;
use crate::core::{Core, MANY_PODS};
use crate::dive::{SIZE_BIASES, dive};
use crate::effort::Effort;
use crate::engine::Run;
use crate::fluid::cases::STALLED_ROUNDS;
use crate::fluid::{Fluid, FluidPoint, Mix};
use crate::hybrid;
use crate::improve::{Beside, Schedule};
use crate::master::Column;
use crate::pack::Guide;
use crate::rebuild::Rebuilder;
use crate::solve::{ITERATIONS_PER_SECOND, MINIMUM_TIME, Part, search};
use crate::turns::{self, Turns};
use crate::weave::{End, Weaver};
use std::time::Duration;

/// Plans woven from patterns are sketched as if these were the time limit, and made with care for the whole of it.
const SKETCHES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// The first plan woven from what was built again, as if this were the time limit: few rounds of columns, but with care.
const SOON: Duration = Duration::from_millis(100);
/// Iterations for the bound between the first plans and the next: what brings most of the best patterns.
const FIRST_ITERATIONS: usize = 12;
/// Per cent of the time after which no further plan is woven: the search gains more from the rest.
const AGAIN_UNTIL: u32 = 60;
/// Where nodes hold many pods on average, the bound is worth the time if mixes of few pods a node are at least this share of its price.
const SMALL_SHARE: f64 = 0.1;
/// Share of the work, out of ten, that the search has first there: often it is enough.
const SEARCH_FIRST: u64 = 4;

/// Where nodes hold more pods than this on average, but not so many that nothing is woven, some are built again first. Where they hold two
/// or three, a sketch of as much time is far better (openb on demand after 1 s: 1.0 for 2.9 %).
const REBUILD_PODS_PER_NODE: i64 = 8;
/// Share of the work, out of a hundred, that this has. Its nodes are columns that would take many rounds to find; more of them make the
/// plans woven after it hardly better, and later.
const REBUILD_FIRST: u64 = 7;
/// Units of work on nodes built again for each unit of the search, whose place they take: they gain more, and fill most of the time limit on
/// two cores of 2026.
const REBUILD_WORK: u64 = 8;
/// Offers that nodes are built of again besides those of the fluid optimum, the best value for money first: with all that are in the fluid
/// program it takes twice as long to solve, and the plans are no better.
const REBUILD_OFFERS: usize = 20;
/// What the first round is taken to be, for the search beside it.
const FIRST_ROUND_WORK: u64 = 1_000_000;
/// The search beside a round has the work of the round before divided by this: then neither waits for the other.
const BESIDE_SHARE: u64 = 2;
/// Rounds without a better plan after which there is hardly more to gain (with 300, seven seeds of mixed-10k are at 0.53 for 0.49 % after 10 s).
const FRUITLESS_MAX: u32 = 1_000;
/// Rounds go on from plans that cost up to the best divided by this more than the best (record-to-record travel: G. Dueck, J. Comput. Phys.
/// 104, 1993). On average it gains nothing, but where plans get stuck: the worst of twenty seeds of mixed-10k after 1 s is at 0.87 for 1.26 %.
const ALLOWANCE: i64 = 1_250;
/// What tells its seeds from those of other searches.
const REBUILD_SEED: u64 = 0x7e2c_a1d5_0000_0007;

/// Makes better plans where nodes hold many pods: the first plan again in other ways, then nodes of the best one. Where plans are woven
/// after that, only for a while; then it returns what was built.
pub(crate) fn improve(part: &mut Part<'_>, effort: &mut Effort, run: &mut Run<'_>) -> Vec<Column> {
    let (pods, nodes) = (part.packing.launched(), part.packing.nodes.len() as i64);
    if pods < MANY_PODS || pods <= REBUILD_PODS_PER_NODE * nodes || part.packing.left_out() > 0 {
        return Vec::new();
    }
    dive_again(part, effort, run);
    if pods > hybrid::PODS_PER_NODE_MAX * nodes {
        split(part, effort, run);
        return rebuild(part, false, effort, run);
    }
    // Nothing is woven beside existing nodes.
    let keep = part.core.spares.is_empty();
    let first = effort.work / 100 * REBUILD_FIRST;
    effort.within(first, |effort| rebuild(part, keep, effort, run))
}

/// Makes the first plan of a part again in other ways.
fn dive_again(part: &mut Part<'_>, effort: &Effort, run: &mut Run<'_>) {
    let core = part.core;
    let (Some(fluid), Some(point)) = (&mut part.relaxed.fluid, &part.relaxed.point) else { return };
    let guide = Guide::new(core, &part.relaxed.multipliers, &part.relaxed.list);
    for size_bias in SIZE_BIASES.into_iter().skip(1) {
        if effort.is_done(part.packing.cost(core), part.proof.bound()) || run.stopped().is_some() {
            break;
        }
        fluid.set_time_limit(run.solver_left(MINIMUM_TIME));
        let (packing, built) = dive(core, fluid, (point, &part.relaxed.list), &guide, size_bias);
        run.faults.extend(built.err().map(|fault| format!("another plan: {fault}")));
        if packing.left_out() == 0 && packing.cost(core) < part.packing.cost(core) {
            part.packing = packing;
            effort.note("dive", part.packing.cost(core), part.proof.bound(), run);
        }
    }
}

/// Raises the bound where nodes of a mix would lend each other room beside large pods.
fn split(part: &mut Part<'_>, effort: &Effort, run: &mut Run<'_>) {
    let Some(fluid) = &mut part.relaxed.fluid else { return };
    if effort.is_done(part.packing.cost(part.core), part.proof.bound()) {
        return;
    }
    let before = fluid.iterations();
    let (better, outcome) = turns::split(fluid, STALLED_ROUNDS, run.watch());
    run.iterations += fluid.iterations() - before;
    run.faults.extend(outcome.err().map(|fault| format!("cases: {fault}")));
    if let Some((multipliers, list)) = better.filter(|(_, list)| list.bound > part.proof.bound()) {
        part.proof = BlockProof::Flat(multipliers, list);
        effort.note("cases", part.packing.cost(part.core), part.proof.bound(), run);
    }
}

/// Builds some nodes of a plan again, and others, and so on. The search goes on beside it. Returns what it built if it is to `keep` that.
fn rebuild(part: &mut Part<'_>, keep: bool, effort: &mut Effort, run: &mut Run<'_>) -> Vec<Column> {
    let core = part.core;
    // Who goes on from remembered prices wants no linear program.
    let Some(point) = &part.relaxed.point else { return Vec::new() };
    let guide = Guide::new(core, &part.relaxed.multipliers, &part.relaxed.list);
    let near = &guide.near[..guide.near.len().min(REBUILD_OFFERS)];
    let mut fluid = Fluid::of_new_nodes(core, &point.mixes, near, (&point.multipliers, &part.relaxed.list));
    let mut rebuilder = Rebuilder::new(core, &mut fluid, &guide, effort.seed ^ REBUILD_SEED);
    if keep {
        rebuilder.keep();
    }
    let mut beside =
        Beside::new(core, &guide, part.packing.clone(), effort.seed ^ REBUILD_SEED.rotate_left(1));
    let mut left = REBUILD_WORK * effort.work;
    let mut round = FIRST_ROUND_WORK;
    let mut working = part.packing.clone();
    let mut counted = 0;
    let mut fruitless = 0;
    while left > 0
        && fruitless < FRUITLESS_MAX
        && !effort.is_done(part.packing.cost(core), part.proof.bound())
        && run.stopped().is_none()
    {
        let before = part.packing.cost(core);
        let allowance = (before + before / ALLOWANCE - working.cost(core)).max(0);
        rebuilder.set_time_limit(run.solver_left(MINIMUM_TIME));
        let built = beside.during(round / BESIDE_SHARE, || rebuilder.round(&mut working, allowance));
        if working.cost(core) < before {
            part.packing.clone_from(&working);
        }
        if beside.exchange(&mut part.packing) {
            working.clone_from(&part.packing);
        }
        if let Err(fault) = built {
            run.faults.push(format!("building nodes again: {fault}"));
            break;
        }
        let work = rebuilder.work();
        round = work - std::mem::replace(&mut counted, work);
        left = left.saturating_sub(round);
        fruitless += 1;
        if part.packing.cost(core) < before {
            fruitless = 0;
            effort.note("rebuilt", part.packing.cost(core), part.proof.bound(), run);
        }
    }
    run.iterations += rebuilder.iterations();
    effort.work = left / REBUILD_WORK;
    rebuilder.into_built()
}

/// Works on a part until its gap is closed or there is nothing more to do here.
///
/// Plans and bound take turns, the cheapest first, and each starts from the columns of the other: a plan after a few rounds of columns is
/// soon there for whoever watches or stops early, and the best patterns that the bound is about are what the cheap columns lack. Where
/// nodes were `built` again, their columns are a better beginning than any sketch.
pub(crate) fn refine(part: &mut Part<'_>, built: Vec<Column>, effort: &mut Effort, run: &mut Run<'_>) {
    let core = part.core;
    let pods = core.pods();
    let few = |bins: usize| pods <= hybrid::PODS_PER_NODE_MAX * bins as i64 && part.relaxed.point.is_some();
    let weaves = few(part.packing.nodes.len()) && core.spares.is_empty() && part.packing.left_out() == 0;
    let mut tightens = few(part.packing.nodes.len() + core.spares.len());
    if !tightens && part.relaxed.point.as_ref().is_some_and(|point| small_share(core, point) >= SMALL_SHARE) {
        tightens = true;
        let guide = Guide::new(core, &part.relaxed.multipliers, &part.relaxed.list);
        let first = effort.work / 10 * SEARCH_FIRST;
        effort.within(first, |effort| search(part, &guide, Schedule::default(), effort, run));
    }
    let (start, list) = (part.relaxed.multipliers.clone(), part.relaxed.list.clone());
    let Some(mut fluid) = part.relaxed.fluid.take() else { return };
    let whole = run.time;
    let iterations = (ITERATIONS_PER_SECOND * whole.as_secs_f64()).clamp(20.0, 1e6) as usize;
    let sketches = SKETCHES.map(|time| Turn::Weave(time.min(whole), End::Sketch));
    let sketches = sketches.into_iter().filter(|_| built.is_empty());
    let soon = if built.is_empty() { whole } else { SOON.min(whole) };
    let then = [
        Turn::Split,
        Turn::Both(soon, 0),
        Turn::Tighten(FIRST_ITERATIONS.min(iterations)),
        Turn::Both(whole, iterations),
        Turn::WeaveAgain,
    ];
    let mut weaver = weaves.then(|| Weaver::new(core, &start, &list));
    weaver.iter_mut().for_each(|weaver| weaver.add(built.iter().cloned()));
    let proved = match &part.proof {
        BlockProof::Flat(multipliers, list) => (multipliers.clone(), list.bound),
        BlockProof::Tree(_) => (start, part.proof.bound()),
    };
    let mut turns = Turns::new(core, weaver, tightens.then_some((&mut fluid, proved)));
    for turn in sketches.chain(then) {
        if effort.is_done(part.packing.cost(core), part.proof.bound()) || run.stopped().is_some() {
            break;
        }
        let (plan, bound) = match turn {
            Turn::Split => {
                turns.split(part, effort, run);
                continue;
            }
            Turn::Weave(time, end) => (Some((time, end)), None),
            Turn::Tighten(iterations) => (None, Some(iterations)),
            Turn::Both(time, iterations) => (Some((time, End::Careful)), Some(iterations)),
            Turn::WeaveAgain if run.elapsed() > whole * AGAIN_UNTIL / 100 => continue,
            Turn::WeaveAgain => (Some((whole, End::Careful)), None),
        };
        turns.take(part, (plan, bound), effort, run);
    }
    drop(turns);
    part.relaxed.fluid = Some(fluid);
}

/// What mixes of few pods a node cost, as a share of the fluid optimum.
fn small_share(core: &Core, point: &FluidPoint) -> f64 {
    let cost = |mix: &&Mix| mix.nodes * core.offers[mix.offer].cost;
    let is_small = |mix: &&Mix| {
        let pods: f64 = mix.pods.iter().map(|(_, pods)| pods).sum();
        pods <= hybrid::PODS_PER_NODE_MAX as f64 * mix.nodes
    };
    let all: f64 = point.mixes.iter().map(|mix| cost(&mix)).sum();
    point.mixes.iter().filter(is_small).map(|mix| cost(&mix)).sum::<f64>() / all.max(1e-9)
}

/// What is done next.
enum Turn {
    /// A plan, as if that were the time limit.
    Weave(Duration, End),
    /// The bound by cases, as long as that gains something.
    Split,
    /// So many iterations for the bound.
    Tighten(usize),
    /// A plan with care, as if that were the time limit, and beside it so many iterations for the bound, after splitting more mixes
    /// into cases.
    Both(Duration, usize),
    /// A plan with all columns, if that leaves time for the search.
    WeaveAgain,
}
