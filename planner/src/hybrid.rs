//! Integer patterns of small shapes beside the fluid mixes of large ones.
//!
//! ```text
//! min   sum_{o large} c_o n_o + sum_{o small, a} c_o z_oa
//! (cover)    sum_{o large} x_go + sum_{o small, a} a_g z_oa + ... >= d_g     each group g
//! ```
//!
//! with the rows of the fluid program for large shapes, existing nodes and limits. Where few pods fit a node, a fractional
//! mix is worth visibly more than any pattern, and the fluid bound is loose by as much; where many fit, the best pattern
//! cannot be found, but the mix is worth hardly more. So each shape is priced in the way that suits it: a shape is *small*
//! if the search for its best pattern ends within its limit. No plan is lost, because every pattern of a large shape is a
//! mix, and the patterns of small ones are generated until none is missing that would matter; the bound is taken at any
//! multipliers on the way, scaled by what the best bin is worth for its price.

use crate::cases::{ByCases, Tree};
use crate::core::Core;
use crate::exact::{Best, best_pattern};
use crate::fluid::Fluid;
use crate::knapsack::Knapsack;
use crate::lp::Fault;
use crate::master::{Bin, Bounded, Column, pattern_of};
use crate::pack::Pattern;
use crate::pricing::{Multipliers, PriceList, Priced, full_price, items};
use crate::tables::{self, Room, scaled};
use crate::weave;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Worth trying up to this many pods per node on average: beyond, a mix is worth hardly more than a pattern.
pub(crate) const PODS_PER_NODE_MAX: i64 = 40;
/// Iterations at most; where it converges, it does so in some tens.
const ITERATIONS_MAX: usize = 200;
/// Branches per search for the best pattern of a shape by the knapsack bound. A shape that needs more gets tables.
const BRANCHES_MAX: usize = 20_000;
/// Share of the price up to which such a search looks for better patterns.
const TABLE_SLACK: f64 = 1e-4;
/// Shapes worth less than this share of their price at the fluid optimum are not looked at before they matter.
const NEAR: f64 = 0.99;
/// Share by which values from tables count as more: what rounding may add to them when they are proved.
const ROUNDING: f64 = 1e-8;
/// A shape whose tables leave more open than this share counts as large: the multipliers would only run where it is loosest.
const LOOSE: f64 = 3e-3;
/// Weight of the best multipliers so far in the mixture that prices the bins: at first, at least and at most.
const SMOOTHING: f64 = 0.7;
const SMOOTHING_MIN: f64 = 0.3;
const SMOOTHING_MAX: f64 = 0.96;
/// What the way from the best multipliers to the program's own is multiplied by where the bound got better, and where not.
const LENGTHEN: f64 = 1.5;
const SHORTEN: f64 = 0.6;
/// Rounds of cheap columns end when this many gained less than the share.
const STALLED_ROUNDS: usize = 3;
const STALLED_GAIN: f64 = 3e-4;
/// Iterations end when as many found no better bound, and gained less than that.
const STALLED_MAX: usize = 12;
/// A better bound is one by more than this share.
const STALLED_BOUND: f64 = 2e-5;
/// Patterns and mixes added per iteration at most.
const ADDED_MAX: usize = 60;

/// How a shape is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not looked at yet.
    Open,
    /// By integer patterns.
    Small,
    /// By integer patterns, searched with tables.
    Tabled,
    /// By fractional mixes.
    Large,
}

/// What pricing found out about an offer.
struct Answer {
    /// No pattern is worth more.
    priced: Priced,
    /// The best pattern, if it is worth more than the price.
    pattern: Option<Pattern>,
    /// The case that is worth more than the price, if it is priced so.
    leaf: Option<usize>,
    mode: Mode,
    /// Cells of tables filled for it.
    cells: u64,
}

impl Answer {
    /// By patterns.
    fn small(value: f64, y: Vec<f64>, pattern: Option<Pattern>, mode: Mode) -> Answer {
        Answer { priced: Priced::by(value, y), pattern, leaf: None, mode, cells: 0 }
    }
}

/// What improves the program.
enum New {
    /// A pattern.
    Pattern(Pattern),
    /// Mixes of a case.
    Case(usize),
}

/// How much may be tried.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    /// Iterations of column generation.
    pub(crate) iterations: usize,
    /// Rounds of cheap columns before, where there are no columns of plans yet.
    pub(crate) rounds: usize,
    /// Cells of tables, in all.
    pub(crate) cells: u64,
}

/// Column generation for the bound, which goes on where it stopped.
pub(crate) struct Tightener<'a, 'f> {
    core: &'a Core,
    fluid: &'f mut Fluid<'a>,
    start: Multipliers,
    /// What came of the first pricing, at `start`.
    first: Vec<Answer>,
    modes: Vec<Mode>,
    columns: BTreeSet<Column>,
    best: Option<Bounded>,
    best_bound: f64,
    /// Weight of the best multipliers.
    alpha: f64,
    cells: u64,
    enriched: bool,
    over: bool,
}

impl<'a, 'f> Tightener<'a, 'f> {
    /// Starts from the fluid program, its multipliers and the bound these prove.
    ///
    /// # Errors
    /// [`Fault`] of the solver.
    pub(crate) fn new(
        core: &'a Core,
        fluid: &'f mut Fluid<'a>,
        (start, at_least): (Multipliers, f64),
    ) -> Result<Tightener<'a, 'f>, Fault> {
        // Whoever dived with the program left it at the demand of the last round.
        fluid.resolve(&core.demand, &core.limits)?;
        let mut modes = vec![Mode::Open; core.offers.len()];
        let first = price(core, &start, (&modes, fluid.trees()), NEAR);
        retire(fluid, &mut modes, &first);
        let patterns = first.iter().enumerate().filter_map(|(o, answer)| Some((o, answer.pattern.clone()?)));
        let columns: BTreeSet<Column> =
            patterns.map(|(o, pattern)| (Bin::Offer(o as u32), pattern)).collect();
        fluid.add_patterns(&columns.iter().filter_map(of_offer).collect::<Vec<_>>());
        Ok(Tightener {
            core,
            fluid,
            start,
            first,
            modes,
            columns,
            best: None,
            best_bound: at_least,
            alpha: SMOOTHING,
            cells: 0,
            enriched: false,
            over: false,
        })
    }

    /// Adds columns that are not there yet.
    pub(crate) fn add(&mut self, columns: impl Iterator<Item = Column>) {
        let new: Vec<Column> = columns.filter(|column| self.columns.insert(column.clone())).collect();
        self.fluid.add_patterns(&new.iter().filter_map(of_offer).collect::<Vec<_>>());
    }

    /// All columns so far.
    pub(crate) fn columns(&self) -> &BTreeSet<Column> {
        &self.columns
    }

    /// Simplex iterations of the program so far.
    pub(crate) fn simplex_iterations(&self) -> u64 {
        self.fluid.iterations()
    }

    /// Seconds that each of the next programs may take.
    pub(crate) fn set_time_limit(&mut self, seconds: f64) {
        self.fluid.set_time_limit(seconds);
    }

    /// Looks for a better bound within what is allowed and before `watch`, which is told of better bounds, says that it is enough; the
    /// best one since the last call, if there is one.
    ///
    /// # Errors
    /// [`Fault`] of the solver, which ends it for good.
    pub(crate) fn run(
        &mut self,
        allowed: Allowed,
        watch: &mut dyn FnMut(Option<f64>) -> bool,
    ) -> (Option<Bounded>, Result<(), Fault>) {
        let before = self.best_bound;
        let outcome = if self.over { Ok(()) } else { self.iterate(allowed, watch) };
        self.over |= outcome.is_err();
        let better = self.best.as_ref().filter(|_| self.best_bound > before);
        (better.cloned(), outcome)
    }

    fn iterate(&mut self, allowed: Allowed, watch: &mut dyn FnMut(Option<f64>) -> bool) -> Result<(), Fault> {
        let core = self.core;
        if !std::mem::replace(&mut self.enriched, true) {
            self.enrich(allowed.rounds, watch)?;
        }
        let (mut least, mut stalled) = (f64::INFINITY, 0);
        for _ in 0..allowed.iterations.min(ITERATIONS_MAX) {
            let (own, objective) = self.fluid.optimum()?;
            if objective < least * (1.0 - STALLED_GAIN) {
                (least, stalled) = (objective, 0);
            }
            stalled += 1;
            let mut new: Vec<(f64, usize, New)> = Vec::new();
            // Where nothing improves the program at the mixture, its own duals are tried.
            for own_only in [false, true] {
                let centre = self.best.as_ref().map_or(&self.start, |bounded| &bounded.multipliers);
                let multipliers = if own_only { own.clone() } else { own.mix(centre, self.alpha) };
                let answers = price(core, &multipliers, (&self.modes, self.fluid.trees()), 1.0);
                self.cells += answers.iter().map(|answer| answer.cells).sum::<u64>();
                retire(self.fluid, &mut self.modes, &answers);
                let bounded = bounded(core, &multipliers, &answers);
                if bounded.list.bound > self.best_bound {
                    if bounded.list.bound > self.best_bound * (1.0 + STALLED_BOUND) {
                        stalled = 0;
                    }
                    self.best_bound = bounded.list.bound;
                    watch(Some(self.best_bound));
                    self.best = Some(bounded);
                    self.alpha = (1.0 - (1.0 - self.alpha) * LENGTHEN).max(SMOOTHING_MIN);
                } else if !own_only {
                    self.alpha = 1.0 - (1.0 - self.alpha) * SHORTEN;
                }
                new.extend(improving(core, self.fluid, &own, answers));
                if !new.is_empty() {
                    break;
                }
            }
            self.over |= self.best_bound >= objective * (1.0 - 1e-4)
                || self.cells >= allowed.cells
                || stalled > STALLED_MAX
                || (new.is_empty() && self.alpha > SMOOTHING_MAX);
            if watch(None) || self.over {
                break;
            }
            self.alpha = self.alpha.min(SMOOTHING_MAX);
            new.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            new.truncate(ADDED_MAX);
            let mut patterns = Vec::new();
            for (_, o, one) in new {
                match one {
                    New::Pattern(pattern) => patterns.push((Bin::Offer(o as u32), pattern)),
                    New::Case(leaf) => self.fluid.activate_case(o, leaf),
                }
            }
            self.add(patterns.into_iter());
        }
        Ok(())
    }

    /// Cheap columns first, some for every group ([`weave::seeded`]): best patterns of whole shapes come a dozen at a time, and the duals
    /// of few columns have them chase each other.
    fn enrich(&mut self, rounds: usize, watch: &mut dyn FnMut(Option<f64>) -> bool) -> Result<(), Fault> {
        let (core, start) = (self.core, self.start.clone());
        let ratio = |o: &u32| self.first[*o as usize].priced.value / full_price(core, *o as usize, &start);
        let mut near: Vec<u32> = (0..core.offers.len() as u32).filter(|o| ratio(o) >= weave::NEAR).collect();
        near.sort_by(|a, b| ratio(b).total_cmp(&ratio(a)).then(a.cmp(b)));
        let (mut least, mut stalled) = (f64::INFINITY, 0);
        for round in 0..rounds {
            let (own, objective) = self.fluid.optimum()?;
            stalled = if objective > least * (1.0 - STALLED_GAIN) { stalled + 1 } else { 0 };
            least = least.min(objective);
            let smoothed = weave::smoothed(&own, &start, round, rounds);
            let new = weave::seeded(core, &smoothed, &own, &near, &self.columns, None);
            if new.is_empty() || stalled >= STALLED_ROUNDS || watch(None) {
                break;
            }
            self.add(new.into_iter());
        }
        Ok(())
    }
}

/// What improves the program: patterns, and mixes of shapes that are priced so, each with its worth per price.
fn improving(
    core: &Core,
    fluid: &Fluid<'_>,
    own: &Multipliers,
    answers: Vec<Answer>,
) -> Vec<(f64, usize, New)> {
    let mut new = Vec::new();
    for (o, answer) in answers.into_iter().enumerate() {
        let price = full_price(core, o, own);
        match answer.pattern {
            Some(pattern) => {
                let worth: f64 = pattern.iter().map(|(g, n)| own.pi[*g as usize] * *n as f64).sum();
                let worth = worth - core.offers[o].fines.sum(&pattern) as f64 / 1e6;
                if worth > price * (1.0 + 1e-7) {
                    new.push((worth / price, o, New::Pattern(pattern)));
                }
            }
            None => {
                let leaf = answer.leaf.filter(|leaf| !fluid.has_case(o, *leaf));
                new.extend(leaf.map(|leaf| (answer.priced.value / price, o, New::Case(leaf))));
            }
        }
    }
    new
}

/// Takes over how shapes are priced: what is priced by patterns has no mixes.
fn retire(fluid: &mut Fluid<'_>, modes: &mut [Mode], answers: &[Answer]) {
    for (o, answer) in answers.iter().enumerate() {
        if modes[o] == Mode::Open && matches!(answer.mode, Mode::Small | Mode::Tabled) {
            fluid.retire(o);
        }
        modes[o] = answer.mode;
    }
    fluid.retire_split();
}

fn of_offer((bin, pattern): &Column) -> Option<(usize, Pattern)> {
    match bin {
        Bin::Offer(o) => Some((*o as usize, pattern.clone())),
        Bin::Spare(_) => None,
    }
}

/// Prices every offer at `multipliers`; those worth more than `near` times their price are searched for patterns, unless they
/// are known to be large and priced by cases. The result does not depend on the number of threads.
fn price(
    core: &Core,
    multipliers: &Multipliers,
    (modes, trees): (&[Mode], &mut [Tree]),
    near: f64,
) -> Vec<Answer> {
    let pi: Vec<i64> = multipliers.pi.iter().map(|pi| scaled(*pi)).collect();
    let large = |knapsack: &mut Knapsack, o: usize, tree: &mut Tree, cells: u64| {
        let ByCases { priced, leaf } = tree.price(core, o, multipliers, knapsack);
        Answer { priced, pattern: None, leaf, mode: Mode::Large, cells }
    };
    let one = |knapsack: &mut Knapsack, (o, tree): (usize, &mut Tree)| {
        let offer = &core.offers[o];
        let items = items(&offer.items, &offer.fines, &multipliers.pi);
        let value = knapsack.solve(&items, &core.w, &offer.cap);
        let y = knapsack.y.clone();
        let threshold = near * full_price(core, o, multipliers);
        if value <= threshold * (1.0 + 1e-9) {
            return Answer::small(value, y, None, modes[o]);
        }
        if modes[o] == Mode::Large {
            return large(knapsack, o, tree, 0);
        }
        if modes[o] != Mode::Tabled {
            match best_pattern(&items, &core.w, &offer.cap, &y, threshold, BRANCHES_MAX) {
                Best::None => {
                    return Answer::small(threshold, y, None, Mode::Small);
                }
                Best::Pattern(counts, value) => {
                    let pattern = Some(pattern_of(&items, &counts));
                    return Answer::small(value, y, pattern, Mode::Small);
                }
                Best::Limit(_) => {}
            }
        }
        let room = Room { capacity: &offer.capacity, items: &offer.items, fines: &offer.fines };
        let (least, slack) = (scaled(threshold), scaled(TABLE_SLACK * offer.cost));
        let Some(found) = tables::price(core, room, &pi, y.clone(), (least, slack)) else {
            return large(knapsack, o, tree, 0);
        };
        // In dollars per hour, and a little more, because the certificate rounds what it states.
        let upper = found.upper as f64 / scaled(1.0) as f64 * (1.0 + ROUNDING);
        let (pattern, cells) = (found.pattern, found.cells);
        if modes[o] == Mode::Open && found.upper as f64 > found.best as f64 * (1.0 + LOOSE) {
            return large(knapsack, o, tree, cells);
        }
        let y = found.y;
        Answer { cells, ..Answer::small(value.min(upper), y, pattern, Mode::Tabled) }
    };
    let all = || trees.par_iter_mut().enumerate().map_init(Knapsack::default, one).collect();
    core.pool.install(all)
}

/// The bound at `multipliers` and its proof, both scaled so that no bin is worth more than its price.
fn bounded(core: &Core, multipliers: &Multipliers, answers: &[Answer]) -> Bounded {
    let ratios = answers.iter().enumerate().map(|(o, a)| a.priced.value / full_price(core, o, multipliers));
    let theta = ratios.fold(1.0, f64::max);
    let mut knapsack = Knapsack::default();
    let mut spare_value = 0.0;
    let spares = core.spares.iter().map(|spare| {
        let value = knapsack.solve(&items(&spare.items, &spare.fines, &multipliers.pi), &core.w, &spare.cap);
        spare_value += value;
        Priced::by(value, knapsack.y.clone()).divided(theta)
    });
    let spares = spares.collect();
    let offers = answers.iter().map(|a| a.priced.divided(theta)).collect();
    let covered: f64 = core.covered(&multipliers.pi);
    let limits: f64 = multipliers.mu.iter().zip(&core.limits).map(|(mu, left)| mu * *left as f64).sum();
    let bound = (covered - spare_value) / theta - limits;
    let pi = multipliers.pi.iter().map(|pi| pi / theta).collect();
    Bounded {
        multipliers: Multipliers { pi, mu: multipliers.mu.clone(), surcharge: Vec::new() },
        list: PriceList { offers, spares, theta: 1.0, bound },
    }
}
