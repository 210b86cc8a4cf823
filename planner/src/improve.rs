//! The course of a search: descend until nothing improves, then heat up and cool down again and again.

use crate::Stop;
use crate::core::Core;
use crate::pack::{Filler, Guide, Packing, complete};
use crate::search::Search;

/// Work between two looks at the clock and the gap: some ten milliseconds.
const WORK_PER_SLICE: u64 = 2_000_000;
/// A descent that finds nothing for this much work per node has seen what its neighbourhoods hold.
const STALL_WORK_PER_NODE: u64 = 150_000;
/// Work of one cycle of heating and cooling per node.
const CYCLE_WORK_PER_NODE: u64 = 400_000;

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
        (self.work, self.improved, self.cycle) = (0, false, CYCLE_WORK_PER_NODE * nodes);
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
    let mut search = Search::new(core, guide, std::mem::take(packing), seed);
    let slice = WORK_PER_SLICE.min(budget.max(1));
    let mut better = false;
    let stop = loop {
        if let Some(stop) = watch(search.best_cost(), better) {
            break stop;
        }
        if search.work() >= budget || schedule.is_over() {
            break Stop::WorkDone;
        }
        let nodes = (search.best_nodes() + core.spares.len() / 2) as u64;
        better = search.run(slice, schedule.heat());
        if schedule.advance(slice, better, nodes.clamp(2, 400)) {
            search.restart();
        }
    };
    let work = search.work();
    *packing = search.into_best();
    if packing.left_out() > 0 {
        // Right-sizing may have given back some of a limit.
        let bias = vec![1.0; core.demand.len()];
        complete(core, guide, packing, &guide.near, &bias, &mut Filler::default());
    }
    (stop, work)
}
