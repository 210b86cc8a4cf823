//! The rows that all programs have: covers of groups, limits of NodePools, existing nodes used once, and nodes counted in price
//! ranges.

use crate::core::{Core, Offer};
use crate::lp::{Columns, INFINITY, Program, Solution};
use crate::pricing::Multipliers;

/// Missing a decided number of nodes by one costs this many times the dearest offer.
const UNDECIDED_FACTOR: f64 = 20.0;

/// What a limit's row is divided by: what is left of it, so that its right-hand side is one.
fn scale(core: &Core, limit: usize) -> f64 {
    (core.limits[limit] as f64).max(1e-3)
}

/// Where the rows of covers and limits are. Covers come first: row `g` is group `g`.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    limit: usize,
}

impl Rows {
    /// Adds rows `sum of pods >= demand` and `sum of usage <= limit` to an empty program.
    pub(crate) fn new(core: &Core, program: &mut Program) -> Rows {
        let cover = core.demand.iter().enumerate();
        let cover: Vec<(f64, f64)> = cover.map(|(g, d)| (core.fluid_demand(g, *d), INFINITY)).collect();
        program.add_rows(&cover);
        Rows { limit: program.add_rows(&vec![(-INFINITY, 1.0); core.limits.len()]) }
    }

    /// How many rows these are.
    pub(crate) fn count(self, core: &Core) -> usize {
        self.limit + core.limits.len()
    }

    /// The row of a limit, and what it is at most when so much of the limit is left.
    pub(crate) fn limit(self, core: &Core, limit: usize, left: i64) -> (usize, f64) {
        (self.limit + limit, left as f64 / scale(core, limit))
    }

    /// What one node of an offer takes of the limits.
    pub(crate) fn usage<'a>(
        self,
        core: &'a Core,
        offer: &'a Offer,
    ) -> impl Iterator<Item = (usize, f64)> + 'a {
        offer
            .usage
            .iter()
            .map(move |(limit, amount)| (self.limit + limit, *amount as f64 / scale(core, *limit)))
    }

    /// Duals of groups and limits, none below zero.
    pub(crate) fn multipliers(self, core: &Core, solution: &Solution) -> Multipliers {
        let pi = solution.dual[..core.demand.len()].iter().map(|pi| pi.max(0.0)).collect();
        let mu = |limit: usize| (-solution.dual[self.limit + limit]).max(0.0) / scale(core, limit);
        Multipliers { pi, mu: (0..core.limits.len()).map(mu).collect(), surcharge: Vec::new() }
    }
}

/// The rows of a program whose columns are patterns of bins.
#[derive(Clone, Copy)]
pub(crate) struct PatternRows {
    /// Covers and limits.
    pub(crate) shared: Rows,
    spare: usize,
}

impl PatternRows {
    /// Adds covers, limits, a row `sum of patterns <= 1` for each existing node, and a column for each group that covers one
    /// pod at the price of the dearest offer: more than any pod need cost, since each fits a node of its own.
    pub(crate) fn new(core: &Core, program: &mut Program) -> PatternRows {
        let shared = Rows::new(core, program);
        let spare = program.add_rows(&vec![(-INFINITY, 1.0); core.spares.len()]);
        let dearest = core.offers.iter().map(|offer| offer.cost).fold(1.0, f64::max);
        let mut slacks = Columns::default();
        (0..core.demand.len()).for_each(|g| slacks.push(dearest, INFINITY, [(g, 1.0)]));
        program.add_columns(&slacks);
        PatternRows { shared, spare }
    }

    /// The row of an existing node.
    pub(crate) fn spare(self, spare: usize) -> usize {
        self.spare + spare
    }

    /// Duals of existing nodes, none below zero.
    pub(crate) fn sigma(self, core: &Core, solution: &Solution) -> Vec<f64> {
        solution.dual[self.spare..][..core.spares.len()].iter().map(|dual| (-dual).max(0.0)).collect()
    }
}

/// How many nodes of offers in a price range (micro-dollars, both ends in it) there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Lowest price.
    pub(crate) from: i64,
    /// Highest price.
    pub(crate) to: i64,
    /// Nodes at least.
    pub(crate) least: i64,
    /// Nodes at most.
    pub(crate) most: i64,
}

impl Decision {
    /// Whether nodes of this price count.
    pub(crate) fn counts(&self, price: i64) -> bool {
        (self.from..=self.to).contains(&price)
    }
}

/// Nodes of offers priced `from..=to` are counted by a row.
struct Range {
    from: i64,
    to: i64,
    row: usize,
}

/// Price ranges whose number of nodes has a row.
#[derive(Default)]
pub(crate) struct Ranges(Vec<Range>);

impl Ranges {
    /// Entries of a column for one node of this price.
    pub(crate) fn entries(&self, price: i64) -> impl Iterator<Item = (usize, f64)> {
        let inside = self.0.iter().filter(move |range| (range.from..=range.to).contains(&price));
        inside.map(|range| (range.row, 1.0))
    }

    /// Holds the program to these decisions and no others; returns the row of each. `nodes` are the columns that count nodes,
    /// with the price of one.
    pub(crate) fn decide(
        &mut self,
        core: &Core,
        program: &mut Program,
        decisions: &[Decision],
        nodes: impl Iterator<Item = (i64, usize)> + Clone,
    ) -> Vec<usize> {
        self.0.iter().for_each(|range| program.set_row(range.row, -INFINITY, INFINITY));
        let decide = |decision: &Decision| {
            let row = self.row(core, program, decision, nodes.clone());
            let lower = if decision.least <= 0 { -INFINITY } else { decision.least as f64 };
            let upper = if decision.most == i64::MAX { INFINITY } else { decision.most as f64 };
            program.set_row(row, lower, upper);
            row
        };
        decisions.iter().map(decide).collect()
    }

    fn row(
        &mut self,
        core: &Core,
        program: &mut Program,
        decision: &Decision,
        nodes: impl Iterator<Item = (i64, usize)>,
    ) -> usize {
        let Decision { from, to, .. } = *decision;
        if let Some(range) = self.0.iter().find(|range| (range.from, range.to) == (from, to)) {
            return range.row;
        }
        let inside = nodes.filter(|(price, _)| decision.counts(*price));
        let entries: Vec<(usize, f64)> = inside.map(|(_, column)| (column, 1.0)).collect();
        let row = program.add_row(-INFINITY, INFINITY, &entries);
        // What no column can do is done by a penalty, so that every decision has a solution.
        let dearest = core.offers.iter().map(|offer| offer.cost).fold(0.0, f64::max);
        let mut slacks = Columns::default();
        slacks.push(UNDECIDED_FACTOR * dearest, INFINITY, [(row, 1.0)]);
        slacks.push(UNDECIDED_FACTOR * dearest, INFINITY, [(row, -1.0)]);
        program.add_columns(&slacks);
        self.0.push(Range { from, to, row });
        row
    }
}
