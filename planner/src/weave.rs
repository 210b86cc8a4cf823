//! A plan along patterns, for many nodes that hold few pods each.
//!
//! Whole nodes cut from fluid mixes waste two or three per cent there: no rounding of a mix fills the last node core. Patterns do not
//! need rounding, only their numbers do. So columns are generated for the sake of the plan: in each round, for each group, the best
//! patterns with one of its pods on the offers nearest to their price, so that every row gets new columns and not only the rows that the
//! best patterns of all happen to touch. Then the program over the columns is followed, whole columns first ([`Master::dive`]). Nothing
//! is proven here: a search that ends early finds a worse pattern, no wrong one.

use crate::core::Core;
use crate::exact::{Best, Shape, best_of_shape};
use crate::knapsack::{Item, Knapsack};
use crate::lp::{Basis, Fault};
use crate::master::{Bin, Column, Find, Master, pattern_of, worth};
use crate::pack::{Guide, Packing};
use crate::pricing::{Multipliers, PriceList, full_price, items};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Searches for columns per second of time limit: about a quarter of it.
const SEARCHES_PER_SECOND: f64 = 12_000.0;
/// Offers worth this share of their price are near enough to be looked at.
pub(crate) const NEAR: f64 = 0.97;
/// Rounds, at least and at most.
const ROUNDS_MIN: f64 = 3.0;
const ROUNDS_MAX: f64 = 60.0;
/// Columns are enough when the program over them is this near to the bound.
const NEAR_ENOUGH: f64 = 5e-4;
/// Rounds end when so many together gained less than this share.
const STALLED_ROUNDS: usize = 5;
const STALLED_GAIN: f64 = 2e-4;
/// Offers that each group looks at: the nearest to their price of those that take it.
const OFFERS: usize = 12;
/// Branches per search. Fewer find patterns so much worse that twice as many rounds do not make up for it.
const BRANCHES: usize = 400;
/// Share of the fluid optimum's multipliers in those of the first round: the duals of few columns swing.
const SMOOTHING: f64 = 0.3;
/// A pattern may be worth this share less than its price where it is searched for; what counts is its worth at the program's duals.
const SLACK: f64 = 0.01;
/// Patterns per group and round.
const PER_GROUP: usize = 2;
/// Patterns per round.
const PER_ROUND: usize = 300;

/// Rounds of columns in so much time.
pub(crate) fn rounds(core: &Core, near: usize, time: Duration) -> usize {
    let searches = core.demand.len() * near.min(OFFERS);
    (SEARCHES_PER_SECOND * time.as_secs_f64() / searches.max(1) as f64).clamp(ROUNDS_MIN, ROUNDS_MAX) as usize
}

/// Multipliers of one of so many rounds: the program's `own`, and less and less of the `start`.
pub(crate) fn smoothed(own: &Multipliers, start: &Multipliers, round: usize, rounds: usize) -> Multipliers {
    own.mix(start, SMOOTHING * (1.0 - round as f64 / rounds as f64))
}

/// The columns of a packing.
pub(crate) fn columns(packing: &Packing) -> impl Iterator<Item = Column> + '_ {
    packing.nodes.iter().map(|node| (Bin::Offer(node.offer), node.pattern.clone()))
}

/// How a plan is woven to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// With the columns there are.
    Sketch,
    /// With columns that are looked for where those there are do not fit what is left.
    Careful,
}

/// A program over columns that grows from plan to plan, for a core without existing nodes.
pub(crate) struct Weaver<'a> {
    core: &'a Core,
    start: Multipliers,
    guide: Guide,
    master: Master<'a>,
    /// All columns of the program.
    known: BTreeSet<Column>,
    /// Rounds of columns so far.
    rounds: usize,
    /// Where the program stood before the last plan.
    basis: Option<Basis>,
}

impl<'a> Weaver<'a> {
    /// Without columns, guided by the fluid optimum.
    pub(crate) fn new(core: &'a Core, start: &Multipliers, list: &PriceList) -> Weaver<'a> {
        let guide = Guide::new(core, start, list);
        let master = Master::of(core, Vec::new());
        Weaver { core, start: start.clone(), guide, master, known: BTreeSet::new(), rounds: 0, basis: None }
    }

    /// All columns so far.
    pub(crate) fn known(&self) -> &BTreeSet<Column> {
        &self.known
    }

    /// Adds columns that are not there yet.
    pub(crate) fn add(&mut self, columns: impl Iterator<Item = Column>) {
        let new: Vec<Column> = columns.filter(|column| self.known.insert(column.clone())).collect();
        self.master.add(new);
    }

    /// Simplex iterations so far.
    pub(crate) fn iterations(&self) -> u64 {
        self.master.iterations()
    }

    /// Seconds that each of the next programs may take.
    pub(crate) fn set_time_limit(&mut self, seconds: f64) {
        self.master.set_time_limit(seconds);
    }

    /// A plan along the columns and along those that improve on them, as many rounds in all as fit `time`. Columns are looked for until
    /// `late`, or until the program is worth hardly more than `bound`, and the plan is cut short by `stop`. A sketch is soon
    /// done and wastes a little.
    pub(crate) fn weave(
        &mut self,
        bound: f64,
        (time, end): (Duration, End),
        (late, stop): (&dyn Fn() -> bool, &dyn Fn() -> bool),
    ) -> Result<Packing, Fault> {
        let core = self.core;
        let rounds = rounds(core, self.guide.near.len(), time);
        if let Some(basis) = self.basis.take() {
            self.master.renew(&basis);
        }
        let (mut least, mut stalled) = (f64::INFINITY, 0);
        for round in self.rounds..rounds {
            let (own, objective) = self.master.optimum()?;
            if objective < least * (1.0 - STALLED_GAIN) {
                (least, stalled) = (objective, 0);
            }
            stalled += 1;
            if objective <= bound * (1.0 + NEAR_ENOUGH) || stalled > STALLED_ROUNDS || late() {
                break;
            }
            let smoothed = smoothed(&own, &self.start, round, rounds);
            let mut new = seeded(core, &smoothed, &own, &self.guide.near, &self.known, None);
            if new.is_empty() {
                new = seeded(core, &own, &own, &self.guide.near, &self.known, None);
            }
            self.rounds += 1;
            if new.is_empty() {
                break;
            }
            self.known.extend(new.iter().cloned());
            self.master.add(new);
        }
        self.master.optimum()?;
        self.basis = Some(self.master.basis());
        let find = |own: &Multipliers, left: &[i64]| {
            seeded(core, own, own, &self.guide.near, &self.known, Some(left))
        };
        let find: Option<&Find<'_>> = if end == End::Careful { Some(&find) } else { None };
        let packing = self.master.dive(&self.guide, find, stop);
        let found = self.master.columns().filter(|column| !self.known.contains(column)).cloned();
        let found: Vec<Column> = found.collect();
        self.known.extend(found);
        packing
    }
}

/// An offer as it is searched.
struct Searched {
    offer: u32,
    items: Vec<Item>,
    shape: Shape,
    y: Vec<f64>,
    /// Price at the multipliers of the search, and at the program's.
    price: f64,
    own_price: f64,
}

/// Patterns found at `multipliers` that improve the program whose duals are `own`: for each group the best few with one of its pods.
pub(crate) fn seeded(
    core: &Core,
    multipliers: &Multipliers,
    own: &Multipliers,
    near: &[u32],
    have: &BTreeSet<Column>,
    left: Option<&[i64]>,
) -> Vec<Column> {
    let prepare = |knapsack: &mut Knapsack, offer: &u32| {
        let o = *offer as usize;
        let mut items = items(&core.offers[o].items, &core.offers[o].fines, &multipliers.pi);
        if let Some(left) = left {
            items.iter_mut().for_each(|item| item.copies = item.copies.min(left[item.group] as f64));
        }
        knapsack.solve(&items, &core.w, &core.offers[o].cap);
        let (price, own_price) = (full_price(core, o, multipliers), full_price(core, o, own));
        let shape = Shape::new(&items, &core.w, &knapsack.y);
        Searched { offer: *offer, items, shape, y: knapsack.y.clone(), price, own_price }
    };
    let all = || {
        let bins: Vec<Searched> = near.par_iter().map_init(Knapsack::default, prepare).collect();
        let groups = (0..core.demand.len()).into_par_iter().filter(|g| left.unwrap_or(&core.demand)[*g] > 0);
        groups.flat_map_iter(|g| of_group(core, g, &bins, own)).collect::<Vec<_>>()
    };
    let found: BTreeMap<Column, f64> = core.pool.install(all).into_iter().collect();
    let mut new: Vec<(Column, f64)> =
        found.into_iter().filter(|(column, _)| !have.contains(column)).collect();
    new.sort_by(|a, b| b.1.total_cmp(&a.1));
    new.truncate(PER_ROUND);
    new.into_iter().map(|(column, _)| column).collect()
}

/// The best few patterns with a pod of group `g` that improve the program, each with its worth per price.
fn of_group(core: &Core, g: usize, bins: &[Searched], own: &Multipliers) -> Vec<(Column, f64)> {
    let mut found: Vec<(Column, f64)> = Vec::new();
    let weights = core.scaled(g);
    let takes = bins
        .iter()
        .filter_map(|bin| Some((bin, bin.items.binary_search_by_key(&g, |item| item.group).ok()?)));
    for (bin, at) in takes.take(OFFERS) {
        let mut rest = bin.items.clone();
        rest[at].copies -= 1.0;
        let cap = &core.offers[bin.offer as usize].cap;
        let room: Vec<f64> = cap.iter().zip(weights).map(|(cap, w)| cap - w).collect();
        let threshold = (bin.price - rest[at].profit).max(0.0) * (1.0 - SLACK);
        let best = best_of_shape(&bin.shape, &rest, &room, &bin.y, threshold, BRANCHES);
        let (Best::Pattern(mut counts, _) | Best::Limit(Some((mut counts, _)))) = best else { continue };
        counts[at] += 1;
        let column = (Bin::Offer(bin.offer), core.rules.kept(&pattern_of(&rest, &counts), &[]));
        let worth = worth(core, column.0, &column.1, &own.pi);
        if worth > bin.own_price + 1e-7 {
            found.push((column, worth / bin.own_price.max(1e-6)));
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found.truncate(PER_GROUP);
    found
}
