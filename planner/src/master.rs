//! Column generation on integer patterns, for problems of few nodes, where the fluid relaxation is loose.
//!
//! ```text
//! min   sum_o price_o x_oa + sum_g M_g s_g
//! (cover)  sum a_g x_oa + sum b_g y_ib + s_g >= d_g      [pi_g]
//! (limit)  sum usage_or x_oa <= L_r                      [mu_r]
//! (one)    sum_b y_ib <= 1        each existing node     [sigma_i]
//! ```
//!
//! Columns are priced exactly where the search for the best pattern stays small (`exact.rs`), else by the fractional bound.
//! The best bound seen, by Farley's scaling of the duals of any iteration, is kept with its multipliers. The columns found
//! then make a small integer program, whose answer is one more packing to choose from.

use crate::core::Core;
use crate::exact::{Best, best_pattern};
use crate::fill::{BinRef, Filler};
use crate::knapsack::{Item, Knapsack};
use crate::lp::{Basis, Columns, Fault, INFINITY, Program, Simplex, Solution};
use crate::pack::{Guide, PackedNode, Packing, Pattern, complete, right_size};
use crate::pricing::{Multipliers, PriceList, Priced, full_price, items};
use crate::rows::PatternRows;
use rayon::prelude::*;

/// Column generation runs up to this many pods per bin: beyond, exact pricing runs into its limit and proves nothing new.
pub(crate) const PODS_PER_NODE_MAX: i64 = 12;
/// Iterations at most. Problems of this size converge in 20 to 80.
const ITERATIONS_MAX: usize = 150;
/// Weight of the best multipliers so far in the mixture that prices the bins.
const SMOOTHING: f64 = 0.8;
/// Columns added per iteration at most.
const COLUMNS_PER_ITERATION: usize = 150;
/// Branches per knapsack while pricing. A shape that needs more is priced by its fractional bound.
const BRANCHES_MAX: usize = 3_000;
/// Columns of the integer program at most: what HiGHS searches in some tenths of a second.
const MIP_COLUMNS_MAX: usize = 250;
/// Branch limit of the integer program over the columns found.
const MIP_BRANCHES_MAX: i32 = 10;

/// Where no column is whole, those this near to it are taken as if they were.
const NEARLY: f64 = 0.75;
/// A node that carries what is left of a column must be worth this share of its price.
const WORTHWHILE: f64 = 0.97;
/// Columns that are tried so at a time, and nodes launched so before the program is solved again.
const TRIMS_TRIED: usize = 8;
const TRIMS_MAX: usize = 3;

/// Which bin a column fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bin {
    /// A new node: index into [`Core::offers`].
    Offer(u32),
    /// An existing one: index into [`Core::spares`].
    Spare(u32),
}

/// A pattern of a bin.
pub(crate) type Column = (Bin, Pattern);

/// Columns at some multipliers for what is left of each group.
pub(crate) type Find<'f> = dyn Fn(&Multipliers, &[i64]) -> Vec<Column> + 'f;

/// The best bound of a run, with the multipliers that prove it (already divided by their `theta`).
#[derive(Clone)]
pub(crate) struct Bounded {
    /// Multipliers.
    pub(crate) multipliers: Multipliers,
    /// Prices of all bins at them, `theta` at most one.
    pub(crate) list: PriceList,
}

/// A column generation in progress.
pub(crate) struct Master<'a> {
    core: &'a Core,
    program: Program,
    columns: Vec<(Bin, Pattern)>,
    first_column: usize,
    rows: PatternRows,
    /// What ended the last run early.
    pub(crate) fault: Option<Fault>,
}

/// Exact value (or upper bound) and pattern of each bin at some multipliers.
struct Answer {
    bin: Bin,
    value: f64,
    y: Vec<f64>,
    pattern: Option<Pattern>,
}

impl<'a> Master<'a> {
    /// Starts from the columns of a packing.
    pub(crate) fn new(core: &'a Core, packing: &Packing) -> Master<'a> {
        let mut program = Program::new();
        let rows = PatternRows::new(core, &mut program);
        let first_column = core.demand.len();
        let mut master = Master { core, program, columns: Vec::new(), first_column, rows, fault: None };
        let nodes = packing.nodes.iter().map(|node| (Bin::Offer(node.offer), node.pattern.clone()));
        let spares = packing.spares.iter().enumerate().filter(|(_, pattern)| !pattern.is_empty());
        let spares = spares.map(|(s, pattern)| (Bin::Spare(s as u32), pattern.clone()));
        let start: Vec<(Bin, Pattern)> = nodes.chain(spares).collect();
        master.add(start);
        master
    }

    /// With the given columns.
    pub(crate) fn of(core: &'a Core, columns: Vec<(Bin, Pattern)>) -> Master<'a> {
        let mut master = Master::new(core, &Packing::empty(core));
        master.add(columns);
        master
    }

    /// Adds columns.
    pub(crate) fn add(&mut self, patterns: Vec<Column>) {
        let mut columns = Columns::default();
        for (bin, pattern) in &patterns {
            let cover = pattern.iter().map(|(g, count)| (*g as usize, *count as f64));
            match bin {
                Bin::Offer(o) => {
                    let offer = &self.core.offers[*o as usize];
                    let cost = offer.cost + offer.fines.sum(pattern) as f64 / 1e6;
                    columns.push(cost, INFINITY, cover.chain(self.rows.shared.usage(self.core, offer)));
                }
                Bin::Spare(s) => {
                    let cost = self.core.spares[*s as usize].fines.sum(pattern) as f64 / 1e6;
                    columns.push(cost, INFINITY, cover.chain([(self.rows.spare(*s as usize), 1.0)]));
                }
            }
        }
        self.program.add_columns(&columns);
        self.columns.extend(patterns);
    }

    /// Generates columns until the bound is within `tolerance` of the program's value, for `iterations` at most, or until
    /// `stop` says so; returns the best bound better than `at_least` dollars per hour, if one was found.
    ///
    /// Bins are priced at a mixture of the program's duals and the best multipliers so far (Wentges smoothing): the
    /// program's own duals swing wildly until it has hundreds of columns, and so would the columns.
    pub(crate) fn run(
        &mut self,
        start: &Multipliers,
        at_least: f64,
        tolerance: f64,
        iterations: usize,
        stop: &dyn Fn() -> bool,
    ) -> Option<Bounded> {
        let mut best: Option<Bounded> = None;
        let mut best_bound = at_least;
        let mut alpha = SMOOTHING;
        for _ in 0..iterations.min(ITERATIONS_MAX) {
            let solution = match self.program.run(Simplex::Primal) {
                Ok(solution) => solution,
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            };
            let own = self.rows.shared.multipliers(self.core, &solution);
            let sigma = self.rows.sigma(self.core, &solution);
            let centre = best.as_ref().map_or(start, |bounded| &bounded.multipliers);
            let multipliers = own.mix(centre, alpha);
            let answers = self.price(&multipliers);
            let theta = answers.iter().filter_map(|answer| match answer.bin {
                Bin::Offer(o) => Some(answer.value / full_price(self.core, o as usize, &multipliers)),
                Bin::Spare(_) => None,
            });
            let theta = theta.fold(1e-9, f64::max).max(1.0);
            let bound = self.bound(&multipliers, &answers, theta);
            if bound > best_bound {
                best_bound = bound;
                best = Some(self.bounded(&multipliers, &answers, theta, bound));
            }
            if best_bound >= solution.objective * (1.0 - tolerance) || stop() {
                break;
            }
            let new = self.improving(answers, &own, &sigma);
            if new.is_empty() {
                if alpha == 0.0 {
                    break;
                }
                // Nothing improves at the program's own duals: trust them more.
                alpha = (alpha - 0.3_f64).max(0.0);
                continue;
            }
            self.add(new);
        }
        best
    }

    /// The patterns with negative reduced cost at the program's duals, the best per price of bin first.
    fn improving(&self, answers: Vec<Answer>, own: &Multipliers, sigma: &[f64]) -> Vec<(Bin, Pattern)> {
        let mut new: Vec<(f64, Bin, Pattern)> = answers
            .into_iter()
            .filter_map(|answer| {
                let pattern = answer.pattern?;
                let value = worth(self.core, answer.bin, &pattern, &own.pi);
                let price = match answer.bin {
                    Bin::Offer(o) => full_price(self.core, o as usize, own),
                    Bin::Spare(s) => sigma[s as usize],
                };
                (value > price + 1e-7).then_some((value / price.max(1e-6), answer.bin, pattern))
            })
            .filter(|(_, bin, pattern)| !self.columns.iter().any(|(b, p)| b == bin && p == pattern))
            .collect();
        new.sort_by(|a, b| b.0.total_cmp(&a.0));
        new.truncate(COLUMNS_PER_ITERATION);
        new.into_iter().map(|(_, bin, pattern)| (bin, pattern)).collect()
    }

    /// All columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter()
    }

    /// Simplex iterations so far.
    pub(crate) fn iterations(&self) -> u64 {
        self.program.iterations()
    }

    /// The best pattern of each bin.
    fn price(&self, multipliers: &Multipliers) -> Vec<Answer> {
        let core = self.core;
        let offers = (0..core.offers.len()).map(|o| Bin::Offer(o as u32));
        let spares = (0..core.spares.len()).map(|s| Bin::Spare(s as u32));
        let bins: Vec<Bin> = offers.chain(spares).collect();
        let price = || {
            bins.into_par_iter()
                .map_init(Knapsack::default, |knapsack, bin| {
                    let (list, fines, cap, threshold, held) = match bin {
                        Bin::Offer(o) => {
                            let offer = &core.offers[o as usize];
                            let price = full_price(core, o as usize, multipliers);
                            (&offer.items, &offer.fines, &offer.cap, price, &[][..])
                        }
                        Bin::Spare(s) => {
                            let spare = &core.spares[s as usize];
                            (&spare.items, &spare.fines, &spare.cap, 0.0, &spare.held[..])
                        }
                    };
                    let items = items(list, fines, &multipliers.pi);
                    let value = knapsack.solve(&items, &core.w, cap);
                    let y = knapsack.y.clone();
                    if value <= threshold * (1.0 + 1e-9) {
                        return Answer { bin, value, y, pattern: None };
                    }
                    match best_pattern(&items, &core.w, cap, &y, threshold, BRANCHES_MAX) {
                        Best::None => Answer { bin, value: threshold, y, pattern: None },
                        Best::Pattern(counts, value) => {
                            let pattern = core.rules.kept(&pattern_of(&items, &counts), held);
                            Answer { bin, value, y, pattern: Some(pattern) }
                        }
                        Best::Limit(found) => {
                            let kept = |counts: Vec<i64>| core.rules.kept(&pattern_of(&items, &counts), held);
                            Answer { bin, value, y, pattern: found.map(|(counts, _)| kept(counts)) }
                        }
                    }
                })
                .collect()
        };
        core.pool.install(price)
    }

    fn bound(&self, multipliers: &Multipliers, answers: &[Answer], theta: f64) -> f64 {
        let covered: f64 = self.core.covered(&multipliers.pi);
        let spare: f64 = answers
            .iter()
            .filter(|answer| matches!(answer.bin, Bin::Spare(_)))
            .map(|answer| answer.value)
            .sum();
        let limits: f64 =
            multipliers.mu.iter().zip(&self.core.limits).map(|(mu, left)| mu * *left as f64).sum();
        (covered - spare) / theta - limits
    }

    fn bounded(&self, multipliers: &Multipliers, answers: &[Answer], theta: f64, bound: f64) -> Bounded {
        let pi = multipliers.pi.iter().map(|pi| pi / theta).collect();
        let priced =
            |answer: &Answer| Priced::by(answer.value / theta, answer.y.iter().map(|y| y / theta).collect());
        let (offers, spares) = answers.split_at(self.core.offers.len());
        let list = PriceList {
            offers: offers.iter().map(priced).collect(),
            spares: spares.iter().map(priced).collect(),
            theta: 1.0,
            bound,
        };
        Bounded { multipliers: Multipliers { pi, mu: multipliers.mu.clone(), surcharge: Vec::new() }, list }
    }

    /// The best integer combination of the columns found, as a packing; `None` if HiGHS found none or it does not cover.
    ///
    /// A column whose reduced cost at proven multipliers exceeds `room` (best cost less bound) cannot be part of a better
    /// plan; of the rest the [`MIP_COLUMNS_MAX`] most promising are kept.
    pub(crate) fn integer(self, proven: &Multipliers, room: f64, seconds_max: f64) -> Option<Packing> {
        let reduced = |(bin, pattern): &(Bin, Pattern)| -> f64 {
            let value = worth(self.core, *bin, pattern, &proven.pi);
            match bin {
                Bin::Offer(o) => full_price(self.core, *o as usize, proven) - value,
                Bin::Spare(_) => -value,
            }
        };
        let mut kept: Vec<(f64, usize)> = self.columns.iter().map(&reduced).zip(0..).collect();
        kept.retain(|(reduced, _)| *reduced <= room + 1e-9);
        kept.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        kept.truncate(MIP_COLUMNS_MAX);
        let mut small =
            Master::of(self.core, kept.into_iter().map(|(_, k)| self.columns[k].clone()).collect());
        small.program.make_integer(MIP_BRANCHES_MAX, seconds_max);
        let solution = small.program.run_integer().ok()?;
        small.packing(&solution)
    }

    /// Where the program stands.
    pub(crate) fn basis(&self) -> Basis {
        self.program.basis()
    }

    /// Asks for all pods again, after a dive asked for ever fewer, and goes back to where the program stood.
    pub(crate) fn renew(&mut self, basis: &Basis) {
        for (g, demand) in self.core.demand.iter().enumerate() {
            self.program.set_row(g, self.core.fluid_demand(g, *demand), INFINITY);
        }
        self.program.set_basis(basis);
    }

    /// Seconds that each of the next solutions may take.
    pub(crate) fn set_time_limit(&mut self, seconds: f64) {
        self.program.set_time_limit(seconds);
    }

    /// Multipliers and value of the program as it is.
    ///
    /// # Errors
    /// [`Fault`] of the solver.
    pub(crate) fn optimum(&mut self) -> Result<(Multipliers, f64), Fault> {
        let solution = self.program.run(Simplex::Primal)?;
        Ok((self.rows.shared.multipliers(self.core, &solution), solution.objective))
    }

    /// A plan along the columns: whole columns of the optimum are taken, and the program is solved again for what is left, until the columns
    /// have nothing that is nearly whole. Then `find`, if there is one, looks for more columns at
    /// the program's duals, for what is left, and where these have nothing whole either, columns are taken with as much of them as is left
    /// and filled up. The rest is packed by value per price. For cores without existing nodes. `stop` ends it early, with more left to
    /// pack so.
    pub(crate) fn dive(
        &mut self,
        guide: &Guide,
        find: Option<&Find<'_>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Packing, Fault> {
        let core = self.core;
        let mut packing = Packing::empty(core);
        let mut filler = Filler::default();
        let mut solution = self.program.run(Simplex::Primal)?;
        let (mut trims, mut looked) = (false, false);
        while packing.left_out() > 0 && !stop() {
            let amount = |k: usize| solution.primal[self.first_column + k];
            let mut used: Vec<usize> = (0..self.columns.len()).filter(|k| amount(*k) > 1e-6).collect();
            let mut built = 0;
            for k in &used {
                for _ in 0..(amount(*k) + 1e-6).floor() as usize {
                    built += usize::from(self.build(*k, guide, &mut packing));
                }
            }
            if built == 0 {
                used.sort_by(|a, b| amount(*b).total_cmp(&amount(*a)).then(a.cmp(b)));
                let nearly = used.iter().take_while(|k| amount(**k) >= NEARLY).count().max(1);
                for k in used.iter().take(nearly) {
                    built += usize::from(self.build(*k, guide, &mut packing));
                }
            }
            if built == 0 && trims {
                for k in used.iter().take(TRIMS_TRIED) {
                    built += usize::from(self.build_trimmed(*k, guide, &mut filler, &mut packing));
                    if built == TRIMS_MAX {
                        break;
                    }
                }
            }
            if built == 0 {
                let Some(find) = find.filter(|_| !looked) else { break };
                (trims, looked) = (true, true);
                let own = self.rows.shared.multipliers(core, &solution);
                self.add(find(&own, &packing.left));
                solution = self.program.run(Simplex::Primal)?;
                continue;
            }
            looked = false;
            for (g, left) in packing.left.iter().enumerate() {
                self.program.set_row(g, core.fluid_demand(g, *left), INFINITY);
            }
            solution = self.program.run(Simplex::Dual)?;
        }
        let bias = vec![1.0; core.demand.len()];
        complete(core, guide, &mut packing, &guide.near, &bias, &mut filler);
        Ok(packing)
    }

    /// Launches a node with what is left of the pattern of a column and what else fits, if that is worth its price.
    fn build_trimmed(
        &self,
        column: usize,
        guide: &Guide,
        filler: &mut Filler,
        packing: &mut Packing,
    ) -> bool {
        let (Bin::Offer(offer), pattern) = &self.columns[column] else { return false };
        let offer = *offer as usize;
        if !packing.allows(self.core, offer) {
            return false;
        }
        let items = self.core.offers[offer].items.iter();
        let candidates: Vec<(u32, i64)> =
            items.map(|(g, _)| (*g, packing.left[*g as usize])).filter(|(_, left)| *left > 0).collect();
        let own = |g: u32| pattern.binary_search_by_key(&g, |(g, _)| *g).map_or(0, |at| pattern[at].1);
        let start: Vec<i64> = candidates.iter().map(|(g, left)| own(*g).min(*left)).collect();
        let bias = vec![1.0; candidates.len()];
        filler.fill(self.core, guide, BinRef::Offer(offer), &candidates, &bias, Some(&start));
        let pattern = filler.pattern(&candidates);
        if pattern.is_empty() || filler.value < WORTHWHILE * guide.price[offer] {
            return false;
        }
        let offer = right_size(self.core, guide, &pattern, packing, offer);
        packing.push(self.core, PackedNode { offer: offer as u32, pattern });
        true
    }

    /// Launches a node with the pattern of a column, if all its pods are left and limits allow it.
    fn build(&self, column: usize, guide: &Guide, packing: &mut Packing) -> bool {
        let (Bin::Offer(offer), pattern) = &self.columns[column] else { return false };
        let offer = *offer as usize;
        if pattern.iter().any(|(g, count)| packing.left[*g as usize] < *count)
            || !packing.allows(self.core, offer)
        {
            return false;
        }
        let offer = right_size(self.core, guide, pattern, packing, offer);
        packing.push(self.core, PackedNode { offer: offer as u32, pattern: pattern.clone() });
        true
    }

    /// Reads an integer point; anything it gets wrong makes it `None`.
    fn packing(&self, solution: &Solution) -> Option<Packing> {
        let mut packing = Packing::empty(self.core);
        for (k, (bin, pattern)) in self.columns.iter().enumerate() {
            let copies = solution.primal[self.first_column + k].round() as usize;
            for _ in 0..copies {
                // A cover may carry more than is left; what is too much is dropped.
                let trimmed: Pattern = pattern
                    .iter()
                    .map(|(g, count)| (*g, (*count).min(packing.left[*g as usize])))
                    .filter(|(_, count)| *count > 0)
                    .collect();
                match bin {
                    _ if trimmed.is_empty() => {}
                    Bin::Offer(o) => {
                        if !packing.allows(self.core, *o as usize) {
                            return None;
                        }
                        packing.push(self.core, PackedNode { offer: *o, pattern: trimmed });
                    }
                    Bin::Spare(s) => {
                        if !packing.spares[*s as usize].is_empty() {
                            return None;
                        }
                        trimmed.iter().for_each(|(g, count)| packing.left[*g as usize] -= count);
                        packing.spares[*s as usize] = trimmed;
                    }
                }
            }
        }
        (packing.left_out() == 0).then_some(packing)
    }
}

/// Value of a pattern in a bin, dollars per hour.
pub(crate) fn worth(core: &Core, bin: Bin, pattern: &Pattern, pi: &[f64]) -> f64 {
    let fines = match bin {
        Bin::Offer(o) => &core.offers[o as usize].fines,
        Bin::Spare(s) => &core.spares[s as usize].fines,
    };
    let value: f64 = pattern.iter().map(|(g, count)| pi[*g as usize] * *count as f64).sum();
    value - fines.sum(pattern) as f64 / 1e6
}

pub(crate) fn pattern_of(items: &[Item], counts: &[i64]) -> Pattern {
    items
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(item, count)| (item.group as u32, *count))
        .collect()
}
