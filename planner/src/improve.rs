//! The course of a search: descend until nothing improves, then heat up and cool down again and again.

use crate::Stop;
use crate::core::Core;
use crate::fill::Filler;
use crate::pack::{Guide, Packing, complete};
use crate::search::{HALVES_MIN, Search};

/// Work between two looks at the clock and the gap: some ten milliseconds.
const WORK_PER_SLICE: u64 = 2_000_000;
/// How often somebody looks within a search whose work is little.
const LOOKS_MIN: u64 = 16;
/// A descent that finds nothing for this much work per node has seen what its neighbourhoods hold.
const STALL_WORK_PER_NODE: u64 = 150_000;
/// What tells the seeds of two searches apart.
const OTHER_SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// Work of one cycle of heating and cooling per node.
const CYCLE_WORK_PER_NODE: u64 = 400_000;

/// The same beside branching, where there is less work in all.
const BESIDE_WORK_PER_NODE: u64 = 100_000;
/// Work beside one step of other work at most: some forty milliseconds.
const BESIDE_WORK_MAX: u64 = 4 * WORK_PER_SLICE;

/// When the search is greedy and when it may lose a little: descend until nothing improves, then heat up and cool down
/// again and again from the best plan, until several such cycles find nothing.
#[derive(Default)]
pub(crate) struct Schedule {
    /// Work of the current cycle; before the first cycle, since the last improvement.
    work: u64,
    /// Work a cycle takes; zero before the first.
    cycle: u64,
    improved: bool,
    fruitless: u32,
    only_descent: bool,
    /// Work of a cycle per node, if not the usual.
    per_node: Option<u64>,
    /// Work between two looks at the clock and the gap, if not the usual.
    slice: Option<u64>,
}

/// Heat at the start of a cycle: a round may lose two per mille of what it takes apart.
const HEAT: f64 = 0.002;
/// Cycles without a better plan after which the search ends.
const FRUITLESS_MAX: u32 = 4;

impl Schedule {
    /// Ends when the first descent finds nothing more.
    pub(crate) fn descent() -> Schedule {
        Schedule { only_descent: true, ..Schedule::default() }
    }

    /// Begins with heat, and cycles of this much work per node.
    fn cycles(nodes: u64) -> Schedule {
        let per_node = Some(BESIDE_WORK_PER_NODE);
        Schedule { cycle: BESIDE_WORK_PER_NODE * nodes, per_node, ..Schedule::default() }
    }

    /// Looks at the clock and the gap some times within this much work.
    pub(crate) fn looking_within(work: u64) -> Schedule {
        Schedule { slice: Some(WORK_PER_SLICE.min(work / LOOKS_MIN)), ..Schedule::default() }
    }

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
        } else if self.only_descent {
            self.fruitless = FRUITLESS_MAX;
        }
        (self.work, self.improved, self.cycle) =
            (0, false, self.per_node.unwrap_or(CYCLE_WORK_PER_NODE) * nodes);
        true
    }
}

/// Searches for a cheaper packing with `budget` units of work, until `watch` gives a reason to stop; it is asked after
/// every slice, with the best cost so far and whether that is new. Returns why it ended and the work done.
pub(crate) fn improve(
    core: &Core,
    guide: &Guide,
    packing: &mut Packing,
    seed: u64,
    budget: u64,
    mut schedule: Schedule,
    watch: &mut dyn FnMut(i64, bool) -> Option<Stop>,
) -> (Stop, u64) {
    let start = std::mem::take(packing);
    // Plans too small to be searched in halves are searched twice, side by side: where one search gets stuck, the other may not.
    let twice = start.nodes.len() < HALVES_MIN;
    let mut search = Search::new(core, guide, start.clone(), seed);
    let mut other = twice.then(|| Search::new(core, guide, start, seed ^ OTHER_SEED));
    let slice = schedule.slice.unwrap_or(WORK_PER_SLICE).min(budget).max(1);
    let mut better = false;
    let mut best = search.best_cost();
    let stop = loop {
        if let Some(stop) = watch(best, better) {
            break stop;
        }
        if search.work() >= budget || schedule.is_over() {
            break Stop::WorkDone;
        }
        let heat = schedule.heat();
        let improved = match &mut other {
            Some(other) => {
                let both = || rayon::join(|| search.run(slice, heat), || other.run(slice, heat));
                let (one, two) = core.pool.install(both);
                one || two
            }
            None => search.run(slice, heat),
        };
        let least = other.as_ref().map_or(i64::MAX, Search::best_cost).min(search.best_cost());
        better = least < best;
        best = least;
        if schedule.advance(slice, improved, nodes(core, search.best_nodes())) {
            search.restart();
            other.iter_mut().for_each(Search::restart);
        }
    };
    let work = search.work();
    *packing = match other.filter(|other| other.best_cost() < search.best_cost()) {
        Some(other) => other.into_best(),
        None => search.into_best(),
    };
    if packing.left_out() > 0 {
        // Right-sizing may have given back some of a limit.
        let bias = vec![1.0; core.demand.len()];
        complete(core, guide, packing, &guide.near, &bias, &mut Filler::default());
    }
    (stop, work)
}

/// A search beside other work, on a core that would be idle: it goes on a little whenever that does, so that what it finds does not depend
/// on how fast either is.
pub(crate) struct Beside<'a> {
    core: &'a Core,
    search: Search<'a>,
    schedule: Schedule,
}

impl<'a> Beside<'a> {
    /// Starts from a packing.
    pub(crate) fn new(core: &'a Core, guide: &'a Guide, packing: Packing, seed: u64) -> Beside<'a> {
        let schedule = Schedule::cycles(nodes(core, packing.nodes.len()));
        let search = Search::new(core, guide, packing, seed).single();
        Beside { core, search, schedule }
    }

    /// Does `other` on this thread, and meanwhile this much of the search in the pool, within reason, because nobody looks at the clock then.
    pub(crate) fn during<T>(&mut self, work: u64, other: impl FnOnce() -> T) -> T {
        let core = self.core;
        let work = work.min(BESIDE_WORK_MAX);
        core.side_by_side(|| self.run(work), other).1
    }

    fn run(&mut self, work: u64) {
        let better = self.search.run(work, self.schedule.heat());
        if self.schedule.advance(work, better, nodes(self.core, self.search.best_nodes())) {
            self.search.restart();
        }
    }

    /// Gives the better one of this packing and what was found; whether that is another.
    pub(crate) fn exchange(&mut self, packing: &mut Packing) -> bool {
        let better = self.search.best_cost() < packing.cost(self.core);
        if better {
            packing.clone_from(self.search.best());
        } else {
            self.search.adopt(packing);
        }
        better
    }
}

/// Nodes that count for how long a search may find nothing.
fn nodes(core: &Core, launched: usize) -> u64 {
    ((launched + core.spares.len() / 2) as u64).clamp(2, 400)
}
