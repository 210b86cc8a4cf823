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
/// Weight of the best multipliers so far in the mixture that prices the bins.
const SMOOTHING: f64 = 0.7;
/// Rounds of cheap columns end when this many gained less than the share.
const STALLED_ROUNDS: usize = 3;
const STALLED_GAIN: f64 = 3e-4;
/// Iterations end when as many found no better bound, and gained less than that.
const STALLED_MAX: usize = 12;
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
    value: f64,
    y: Vec<f64>,
    /// The best pattern, if it is worth more than the price.
    pattern: Option<Pattern>,
    mode: Mode,
    /// Cells of tables filled for it.
    cells: u64,
}

/// How much may be tried.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    /// Iterations of column generation.
    pub(crate) iterations: usize,
    /// Rounds of cheap columns before.
    pub(crate) rounds: usize,
    /// Cells of tables.
    pub(crate) cells: u64,
}

/// A bound better than `at_least` dollars per hour, if one is found within what is allowed and before `watch`, which is told of better
/// bounds, says that it is enough. Starts from the given columns and adds those it finds. A fault of the solver ends it and is left in
/// `faulty`.
pub(crate) fn tighten(
    core: &Core,
    fluid: &mut Fluid<'_>,
    (start, at_least): (&Multipliers, f64),
    columns: &mut BTreeSet<Column>,
    allowed: Allowed,
    watch: &mut dyn FnMut(Option<f64>) -> bool,
    faulty: &mut Option<Fault>,
) -> Option<Bounded> {
    // Whoever dived with the program left it at the demand of the last round.
    if let Err(fault) = fluid.resolve(&core.demand) {
        *faulty = Some(fault);
        return None;
    }
    let mut modes = vec![Mode::Open; core.offers.len()];
    let first = price(core, start, &modes, NEAR);
    take_modes(&mut modes, &first);
    for (o, answer) in first.iter().enumerate() {
        if matches!(answer.mode, Mode::Small | Mode::Tabled) {
            fluid.retire(o);
        }
    }
    let mut cells = 0;
    for (o, answer) in first.iter().enumerate() {
        columns.extend(answer.pattern.clone().map(|pattern| (Bin::Offer(o as u32), pattern)));
    }
    let known: Vec<(usize, Pattern)> = columns.iter().filter_map(of_offer).collect();
    fluid.add_patterns(&known);
    if let Err(fault) = enrich(core, fluid, start, &first, columns, allowed.rounds, watch) {
        *faulty = Some(fault);
        return None;
    }
    let mut best: Option<Bounded> = None;
    let mut best_bound = at_least;
    let mut alpha = SMOOTHING;
    let (mut least, mut stalled) = (f64::INFINITY, 0);
    for _ in 0..allowed.iterations.min(ITERATIONS_MAX) {
        let (own, objective) = match fluid.optimum() {
            Ok(optimum) => optimum,
            Err(fault) => {
                *faulty = Some(fault);
                break;
            }
        };
        let centre = best.as_ref().map_or(start, |bounded| &bounded.multipliers);
        let multipliers = own.mix(centre, alpha);
        let answers = price(core, &multipliers, &modes, 1.0);
        for (o, answer) in answers.iter().enumerate() {
            if modes[o] == Mode::Open && matches!(answer.mode, Mode::Small | Mode::Tabled) {
                fluid.retire(o);
            }
        }
        take_modes(&mut modes, &answers);
        cells += answers.iter().map(|answer| answer.cells).sum::<u64>();
        let bounded = bounded(core, &multipliers, &answers);
        if bounded.list.bound > best_bound {
            best_bound = bounded.list.bound;
            watch(Some(best_bound));
            best = Some(bounded);
            alpha = SMOOTHING;
            stalled = 0;
        }
        if objective < least * (1.0 - STALLED_GAIN) {
            (least, stalled) = (objective, 0);
        }
        stalled += 1;
        if best_bound >= objective * (1.0 - 1e-4)
            || watch(None)
            || cells >= allowed.cells
            || stalled > STALLED_MAX
        {
            break;
        }
        let mut new: Vec<(f64, usize, Option<Pattern>)> = Vec::new();
        for (o, answer) in answers.into_iter().enumerate() {
            let price = full_price(core, o, &own);
            match answer.pattern {
                Some(pattern) => {
                    let worth: f64 = pattern.iter().map(|(g, n)| own.pi[*g as usize] * *n as f64).sum();
                    let worth = worth - core.offers[o].fines.sum(&pattern) as f64 / 1e6;
                    if worth > price * (1.0 + 1e-7) {
                        new.push((worth / price, o, Some(pattern)));
                    }
                }
                None if answer.mode == Mode::Large
                    && !fluid.is_active(o)
                    && answer.value > full_price(core, o, &multipliers) * (1.0 + 1e-6) =>
                {
                    new.push((answer.value / price, o, None));
                }
                None => {}
            }
        }
        if new.is_empty() {
            if alpha == 0.0 {
                break;
            }
            alpha = if alpha < 0.15 { 0.0 } else { alpha * 0.5 };
            continue;
        }
        new.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        new.truncate(ADDED_MAX);
        let large: Vec<usize> = new.iter().filter(|(.., p)| p.is_none()).map(|(_, o, _)| *o).collect();
        fluid.activate(&large);
        let patterns: Vec<(usize, Pattern)> =
            new.into_iter().filter_map(|(_, o, pattern)| Some((o, pattern?))).collect();
        fluid.add_patterns(&patterns);
        columns.extend(patterns.into_iter().map(|(o, pattern)| (Bin::Offer(o as u32), pattern)));
    }
    best
}

/// Cheap columns first, some for every group ([`weave::seeded`]): best patterns of whole shapes come a dozen at a time, and the duals of
/// few columns have them chase each other.
fn enrich(
    core: &Core,
    fluid: &mut Fluid<'_>,
    start: &Multipliers,
    first: &[Answer],
    columns: &mut BTreeSet<Column>,
    rounds: usize,
    watch: &mut dyn FnMut(Option<f64>) -> bool,
) -> Result<(), Fault> {
    let ratio = |o: &u32| first[*o as usize].value / full_price(core, *o as usize, start);
    let mut near: Vec<u32> = (0..core.offers.len() as u32).filter(|o| ratio(o) >= weave::NEAR).collect();
    near.sort_by(|a, b| ratio(b).total_cmp(&ratio(a)).then(a.cmp(b)));
    let (mut least, mut stalled) = (f64::INFINITY, 0);
    for round in 0..rounds {
        let (own, objective) = fluid.optimum()?;
        stalled = if objective > least * (1.0 - STALLED_GAIN) { stalled + 1 } else { 0 };
        least = least.min(objective);
        let alpha = 0.5 * (1.0 - round as f64 / rounds as f64);
        let have = columns.iter().collect();
        let new = weave::seeded(core, &own.mix(start, alpha), &own, &near, &have);
        if new.is_empty() || stalled >= STALLED_ROUNDS || watch(None) {
            break;
        }
        let patterns: Vec<(usize, Pattern)> = new.iter().filter_map(of_offer).collect();
        fluid.add_patterns(&patterns);
        columns.extend(new);
    }
    Ok(())
}

fn of_offer((bin, pattern): &Column) -> Option<(usize, Pattern)> {
    match bin {
        Bin::Offer(o) => Some((*o as usize, pattern.clone())),
        Bin::Spare(_) => None,
    }
}

fn take_modes(modes: &mut [Mode], answers: &[Answer]) {
    for (mode, answer) in modes.iter_mut().zip(answers) {
        *mode = answer.mode;
    }
}

/// Prices every offer at `multipliers`; those worth more than `near` times their price are searched for patterns, unless they
/// are known to be large. The result does not depend on the number of threads.
fn price(core: &Core, multipliers: &Multipliers, modes: &[Mode], near: f64) -> Vec<Answer> {
    let pi: Vec<i64> = multipliers.pi.iter().map(|pi| scaled(*pi)).collect();
    let one = |knapsack: &mut Knapsack, o: usize| {
        let offer = &core.offers[o];
        let items = items(&offer.items, &offer.fines, &multipliers.pi);
        let value = knapsack.solve(&items, &core.w, &offer.cap);
        let y = knapsack.y.clone();
        let threshold = near * full_price(core, o, multipliers);
        if modes[o] == Mode::Large || value <= threshold * (1.0 + 1e-9) {
            return Answer { value, y, pattern: None, mode: modes[o], cells: 0 };
        }
        if modes[o] != Mode::Tabled {
            match best_pattern(&items, &core.w, &offer.cap, &y, threshold, BRANCHES_MAX) {
                Best::None => {
                    return Answer { value: threshold, y, pattern: None, mode: Mode::Small, cells: 0 };
                }
                Best::Pattern(counts, value) => {
                    let pattern = Some(pattern_of(&items, &counts));
                    return Answer { value, y, pattern, mode: Mode::Small, cells: 0 };
                }
                Best::Limit(_) => {}
            }
        }
        let room = Room { capacity: &offer.capacity, items: &offer.items, fines: &offer.fines };
        let (least, slack) = (scaled(threshold), scaled(TABLE_SLACK * offer.cost));
        let Some(found) = tables::price(core, room, &pi, y.clone(), (least, slack)) else {
            return Answer { value, y, pattern: None, mode: Mode::Large, cells: 0 };
        };
        // In dollars per hour, and a little more, because the certificate rounds what it states.
        let upper = found.upper as f64 / scaled(1.0) as f64 * (1.0 + ROUNDING);
        let (pattern, cells) = (found.pattern, found.cells);
        if modes[o] == Mode::Open && found.upper as f64 > found.best as f64 * (1.0 + LOOSE) {
            return Answer { value, y, pattern: None, mode: Mode::Large, cells };
        }
        let y = found.y;
        Answer { value: value.min(upper), y, pattern, mode: Mode::Tabled, cells }
    };
    let all = || (0..core.offers.len()).into_par_iter().map_init(Knapsack::default, one).collect();
    core.pool.install(all)
}

/// The bound at `multipliers` and its proof, both scaled so that no bin is worth more than its price.
fn bounded(core: &Core, multipliers: &Multipliers, answers: &[Answer]) -> Bounded {
    let ratios = answers.iter().enumerate().map(|(o, a)| a.value / full_price(core, o, multipliers));
    let theta = ratios.fold(1.0, f64::max);
    let mut knapsack = Knapsack::default();
    let mut spare_value = 0.0;
    let spares = core.spares.iter().map(|spare| {
        let value = knapsack.solve(&items(&spare.items, &spare.fines, &multipliers.pi), &core.w, &spare.cap);
        spare_value += value;
        Priced { value: value / theta, y: knapsack.y.iter().map(|y| y / theta).collect() }
    });
    let spares = spares.collect();
    let offers = answers
        .iter()
        .map(|a| Priced { value: a.value / theta, y: a.y.iter().map(|y| y / theta).collect() })
        .collect();
    let covered: f64 = core.covered(&multipliers.pi);
    let limits: f64 = multipliers.mu.iter().zip(&core.limits).map(|(mu, left)| mu * *left as f64).sum();
    let bound = (covered - spare_value) / theta - limits;
    let pi = multipliers.pi.iter().map(|pi| pi / theta).collect();
    Bounded {
        multipliers: Multipliers { pi, mu: multipliers.mu.clone(), surcharge: Vec::new() },
        list: PriceList { offers, spares, theta: 1.0, bound },
    }
}
