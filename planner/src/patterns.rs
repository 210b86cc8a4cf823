//! The pattern program under decisions on numbers of nodes: what a leaf of the branching tree solves where few pods wait.
//!
//! ```text
//! min   sum_oa c_o x_oa + fines
//! (cover)  sum a_g x_oa + sum b_g y_ib >= d_g                        [pi_g]
//! (limit)  sum usage_or x_oa <= L_r                                  [mu_r]
//! (one)    sum_b y_ib <= 1                 each existing node        [sigma_i]
//! (range)  least <= sum_{o priced from..=to} x_oa <= most            [lambda]
//! ```
//!
//! Columns are generated. An offer is priced by integer patterns while the search for the best of them ends within its limit;
//! one for which it does not is priced by fractional patterns from then on, which are worth a little more and so only lower
//! the bound. Existing nodes always are, because certificates value them so. The bound is taken at any multipliers on the way,
//! divided by what the best bin is worth for its price.

use crate::branching::{Until, bound, surcharge};
use crate::core::Core;
use crate::exact::{Best, best_pattern_within};
use crate::fluid::{FluidPoint, Mix};
use crate::knapsack::Knapsack;
use crate::lp::{Basis, Columns, Fault, INFINITY, Program, Simplex, Solution};
use crate::master::{Bin, Master, pattern_of};
use crate::pack::{Packing, Pattern};
use crate::pricing::{Multipliers, full_price, items};
use crate::rows::{Decision, PatternRows, Ranges};
use crate::vectors::{Shared, Vector};
use std::collections::BTreeSet;

/// Weight of the best multipliers so far in the mixture that prices the bins.
const SMOOTHING: f64 = 0.7;
/// Rounds of generation per leaf at most.
const ROUNDS_MAX: usize = 80;
/// Columns added per round at most.
const COLUMNS_PER_ROUND: usize = 40;
/// Branches per search for the best pattern of an offer.
const BRANCHES_MAX: usize = 1_500;
/// The search may leave this share of an offer's price undecided; the bound loses as much.
const UNDECIDED: f64 = 3e-4;
/// A leaf ends when its bound is this near to the value of its program, as a share.
const CONVERGED: f64 = 4e-4;
/// Bins worth no more than their price plus this share are not looked at.
const EXCESS: f64 = 1e-9;

/// A pattern in the program.
struct Column {
    bin: Bin,
    /// Pods by group; integers if it is a pattern that a node could carry.
    pods: Vec<(u32, f64)>,
    integer: bool,
    /// Its column in the program.
    at: usize,
}

/// A candidate for a column.
struct Candidate {
    bin: Bin,
    pods: Vec<(u32, f64)>,
    integer: bool,
}

/// What a leaf came to.
pub(crate) struct Solved {
    /// Duals of groups and limits, with the surcharge of the decisions on each offer.
    pub(crate) multipliers: Multipliers,
    /// Dual of each decision: positive where the least number binds, negative where the most does.
    pub(crate) duals: Vec<f64>,
    /// Vectors that price all bins.
    pub(crate) vectors: Vec<Vec<f64>>,
    /// Largest value per price; all multipliers divided by it are feasible.
    pub(crate) theta: f64,
    /// Dollars per hour no plan below costs less than.
    pub(crate) bound: f64,
    /// Nodes and pods at the optimum of the program.
    pub(crate) point: FluidPoint,
    /// Where the program stood.
    pub(crate) basis: Basis,
}

/// The program, with all columns found so far.
pub(crate) struct PatternProgram<'a> {
    core: &'a Core,
    program: Program,
    columns: Vec<Column>,
    known: BTreeSet<(Bin, Pattern)>,
    rows: PatternRows,
    ranges: Ranges,
    /// Offers priced by fractional patterns.
    fractional: Vec<bool>,
    knapsack: Knapsack,
}

/// All bins priced.
struct Prices {
    shared: Shared,
    theta: f64,
    candidates: Vec<Candidate>,
    /// Offers for which the search reached its limit.
    limited: Vec<usize>,
}

/// Duals of a solution.
#[derive(Clone)]
struct Duals {
    multipliers: Multipliers,
    sigma: Vec<f64>,
    ranges: Vec<f64>,
}

impl Duals {
    fn mix(&self, centre: &Duals, alpha: f64) -> Duals {
        let mix = |own: &[f64], other: &[f64]| -> Vec<f64> {
            own.iter().zip(other).map(|(own, other)| alpha * other + (1.0 - alpha) * own).collect()
        };
        Duals {
            multipliers: self.multipliers.mix(&centre.multipliers, alpha),
            sigma: self.sigma.clone(),
            ranges: mix(&self.ranges, &centre.ranges),
        }
    }
}

impl<'a> PatternProgram<'a> {
    /// A program with the patterns of a packing.
    pub(crate) fn new(core: &'a Core, packing: &Packing) -> PatternProgram<'a> {
        let mut program = Program::new();
        let rows = PatternRows::new(core, &mut program);
        let mut patterns = PatternProgram {
            core,
            program,
            columns: Vec::new(),
            known: BTreeSet::new(),
            rows,
            ranges: Ranges::default(),
            fractional: vec![false; core.offers.len()],
            knapsack: Knapsack::default(),
        };
        patterns.add_packing(packing);
        patterns
    }

    /// Adds the patterns of a packing.
    pub(crate) fn add_packing(&mut self, packing: &Packing) {
        let whole = |pattern: &Pattern| pattern.iter().map(|(g, count)| (*g, *count as f64)).collect();
        let nodes = packing.nodes.iter().map(|node| Candidate {
            bin: Bin::Offer(node.offer),
            pods: whole(&node.pattern),
            integer: true,
        });
        let spares = packing.spares.iter().enumerate().filter(|(_, pattern)| !pattern.is_empty());
        let spares = spares.map(|(s, pattern)| Candidate {
            bin: Bin::Spare(s as u32),
            pods: whole(pattern),
            integer: true,
        });
        self.add(nodes.chain(spares).collect());
    }

    /// The best integer combination of the patterns found, as a packing: see [`Master::integer`].
    pub(crate) fn integer(&self, proven: &Multipliers, room: f64, seconds_max: f64) -> Option<Packing> {
        let columns = self.columns.iter().filter(|column| column.integer && !column.pods.is_empty());
        let pattern = |column: &Column| column.pods.iter().map(|(g, count)| (*g, *count as i64)).collect();
        let columns = columns.map(|column| (column.bin, pattern(column)));
        Master::of(self.core, columns.collect()).integer(proven, room, seconds_max)
    }

    /// Simplex iterations so far.
    pub(crate) fn iterations(&self) -> u64 {
        self.program.iterations()
    }

    fn add(&mut self, candidates: Vec<Candidate>) -> usize {
        let mut columns = Columns::default();
        let first = self.program_columns();
        for candidate in candidates {
            if candidate.integer {
                let pattern = candidate.pods.iter().map(|(g, count)| (*g, *count as i64)).collect();
                if !self.known.insert((candidate.bin, pattern)) {
                    continue;
                }
            }
            let cover = candidate.pods.iter().map(|(g, count)| (*g as usize, *count));
            match candidate.bin {
                Bin::Offer(o) => {
                    let offer = &self.core.offers[o as usize];
                    let limits = self.rows.shared.usage(self.core, offer);
                    let ranges = self.ranges.entries(offer.price);
                    let fines: f64 =
                        candidate.pods.iter().map(|(g, count)| offer.fines.dollars(*g) * count).sum();
                    columns.push(offer.cost + fines, INFINITY, cover.chain(limits).chain(ranges));
                }
                Bin::Spare(s) => {
                    let fines = &self.core.spares[s as usize].fines;
                    let fines: f64 = candidate.pods.iter().map(|(g, count)| fines.dollars(*g) * count).sum();
                    columns.push(fines, INFINITY, cover.chain([(self.rows.spare(s as usize), 1.0)]));
                }
            }
            let Candidate { bin, pods, integer } = candidate;
            self.columns.push(Column { bin, pods, integer, at: first + columns.len() - 1 });
        }
        self.program.add_columns(&columns);
        columns.len()
    }

    fn program_columns(&self) -> usize {
        self.program.columns()
    }

    /// Solves with the given decisions, continuing from `basis`, until the bound is near the program's value or `until`
    /// says that it is enough.
    ///
    /// # Errors
    /// [`Fault`] if the solver fails before there is any bound.
    pub(crate) fn solve_at(
        &mut self,
        decisions: &[Decision],
        basis: Option<&Basis>,
        start: Option<(Multipliers, Vec<f64>)>,
        until: Until<'_>,
    ) -> Result<Solved, Fault> {
        let core = self.core;
        let nodes = self.columns.iter().filter_map(|column| match column.bin {
            Bin::Offer(o) => Some((core.offers[o as usize].price, column.at)),
            Bin::Spare(_) => None,
        });
        let rows = self.ranges.decide(core, &mut self.program, decisions, nodes);
        if let Some(basis) = basis {
            self.program.set_basis(basis);
        }
        let start = start.map(|(multipliers, ranges)| Duals { multipliers, sigma: Vec::new(), ranges });
        let mut best: Option<(Duals, Shared, f64, f64)> = None;
        let mut simplex = if basis.is_some() { Simplex::Dual } else { Simplex::Primal };
        let mut alpha = if basis.is_some() { 0.35 } else { SMOOTHING };
        let mut seeds: Vec<Vec<f64>> = Vec::new();
        let mut last = None;
        for _ in 0..ROUNDS_MAX {
            let solution = match self.program.run(simplex) {
                Ok(solution) => solution,
                Err(fault) if best.is_none() => return Err(fault),
                Err(_) => break,
            };
            simplex = Simplex::Primal;
            let own = self.duals(&solution, &rows);
            let centre = best.as_ref().map(|(centre, ..)| centre).or(start.as_ref());
            let mut at = centre.map_or_else(|| own.clone(), |centre| own.mix(centre, alpha));
            at.multipliers.surcharge = surcharge(self.core, decisions, &at.ranges);
            let prices = self.price(&at.multipliers, &seeds);
            let Prices { shared, theta, candidates, limited } = prices;
            seeds = shared.vectors.iter().map(|vector| vector.y.clone()).collect();
            let value = bound(self.core, decisions, &at.ranges, &at.multipliers, &shared) / theta;
            if best.as_ref().is_none_or(|(.., have)| value > *have) {
                best = Some((at, shared, theta, value));
            }
            let have = best.as_ref().map_or(0.0, |(.., have)| *have);
            let objective = solution.objective;
            let mut new = self.improving(candidates, &own, decisions);
            // Patterns first; fractions of an offer only when no pattern improves any more.
            if new.iter().any(|candidate| candidate.integer) {
                new.retain(|candidate| candidate.integer || self.is_fractional(candidate.bin));
            } else {
                limited.into_iter().for_each(|o| self.fractional[o] = true);
            }
            last = Some(solution);
            if have >= until.bound || have >= objective * (1.0 - CONVERGED) || (until.stop)() {
                break;
            }
            if self.add(new) == 0 {
                if alpha == 0.0 {
                    break;
                }
                // Nothing improves at the program's own duals: trust them more.
                alpha = (alpha - 0.35_f64).max(0.0);
            }
        }
        let (duals, shared, theta, bound) = best.ok_or(Fault::Cycle)?;
        let point = last.map_or_else(FluidPoint::default, |solution| self.point(&solution, &duals));
        Ok(Solved {
            multipliers: duals.multipliers,
            duals: duals.ranges,
            vectors: shared.vectors.into_iter().map(|vector| vector.y).collect(),
            theta,
            bound,
            point,
            basis: self.program.basis(),
        })
    }

    fn duals(&self, solution: &Solution, rows: &[usize]) -> Duals {
        Duals {
            multipliers: self.rows.shared.multipliers(self.core, solution),
            sigma: self.rows.sigma(self.core, solution),
            ranges: rows.iter().map(|row| solution.dual[*row]).collect(),
        }
    }

    /// Prices all bins; `seeds` are vectors likely to serve.
    fn price(&mut self, multipliers: &Multipliers, seeds: &[Vec<f64>]) -> Prices {
        let core = self.core;
        let pi = &multipliers.pi;
        let mut vectors: Vec<Vector> = seeds.iter().map(|y| Vector::new(core, pi, y.clone())).collect();
        let mut used = vec![false; vectors.len()];
        let mut values = Vec::with_capacity(core.offers.len());
        let mut candidates = Vec::new();
        let mut limited = Vec::new();
        let mut theta = 1.0_f64;
        let mut last = 0;
        for (o, offer) in core.offers.iter().enumerate() {
            let price = full_price(core, o, multipliers);
            let excess = EXCESS * offer.cost;
            let mut value = f64::INFINITY;
            for k in std::iter::once(last).chain(0..vectors.len()).filter(|k| *k < vectors.len()) {
                let worth = vectors[k].worth(&offer.cap, &offer.items, &offer.fines);
                if worth < value {
                    (value, last) = (worth, k);
                }
                if value <= price + excess {
                    break;
                }
            }
            if value > price + excess {
                let list = items(&offer.items, &offer.fines, pi);
                let exact = self.knapsack.solve(&list, &core.w, &offer.cap);
                if exact < value {
                    value = exact;
                    last = vectors.len();
                    vectors.push(Vector::new(core, pi, self.knapsack.y.clone()));
                    used.push(false);
                }
                if value > price + excess {
                    let slack = UNDECIDED * offer.cost;
                    let bin = Bin::Offer(o as u32);
                    let whole = |counts: &[i64]| {
                        let kept = core.rules.kept(&pattern_of(&list, counts), &[]);
                        let pods = kept.into_iter().map(|(g, count)| (g, count as f64)).collect();
                        Candidate { bin, pods, integer: true }
                    };
                    let found = if self.fractional[o] {
                        Best::Limit(None)
                    } else {
                        let y = &self.knapsack.y;
                        best_pattern_within(&list, &core.w, &offer.cap, y, (price, slack), BRANCHES_MAX)
                    };
                    match found {
                        Best::None => value = value.min(price + slack),
                        Best::Pattern(counts, most) => {
                            candidates.push(whole(&counts));
                            value = value.min(most + slack);
                        }
                        Best::Limit(found) => {
                            if let Some((counts, _)) = &found {
                                candidates.push(whole(counts));
                            }
                            limited.push(o);
                            candidates.push(self.fraction(bin, &list));
                        }
                    }
                }
            }
            used[last] = true;
            theta = theta.max((value - price) / offer.cost + 1.0);
            values.push(value);
        }
        let mut spares = 0.0;
        for (s, spare) in core.spares.iter().enumerate() {
            let list = items(&spare.items, &spare.fines, pi);
            spares += self.knapsack.solve(&list, &core.w, &spare.cap);
            vectors.push(Vector::new(core, pi, self.knapsack.y.clone()));
            used.push(true);
            candidates.push(self.fraction(Bin::Spare(s as u32), &list));
        }
        let mut keep = used.into_iter();
        vectors.retain(|_| keep.next().unwrap_or(false));
        Prices { shared: Shared { vectors, values, spares }, theta, candidates, limited }
    }

    /// Whether a bin is priced by fractional patterns.
    fn is_fractional(&self, bin: Bin) -> bool {
        match bin {
            Bin::Offer(o) => self.fractional[o as usize],
            Bin::Spare(_) => true,
        }
    }

    /// The fractional pattern the knapsack was solved by last.
    fn fraction(&self, bin: Bin, list: &[crate::knapsack::Item]) -> Candidate {
        let pods = list.iter().zip(&self.knapsack.amount).filter(|(_, amount)| **amount > 1e-9);
        let pods = pods.map(|(item, amount)| (item.group as u32, *amount)).collect();
        Candidate { bin, pods, integer: false }
    }

    /// The candidates with negative reduced cost at the program's duals, the best first.
    fn improving(&self, candidates: Vec<Candidate>, own: &Duals, decisions: &[Decision]) -> Vec<Candidate> {
        let surcharge = surcharge(self.core, decisions, &own.ranges);
        let mut multipliers = own.multipliers.clone();
        multipliers.surcharge = surcharge;
        let mut new: Vec<(f64, Candidate)> = candidates
            .into_iter()
            .filter_map(|candidate| {
                let (fines, price) = match candidate.bin {
                    Bin::Offer(o) => {
                        let o = o as usize;
                        (&self.core.offers[o].fines, full_price(self.core, o, &multipliers))
                    }
                    Bin::Spare(s) => (&self.core.spares[s as usize].fines, own.sigma[s as usize]),
                };
                let each =
                    |(g, count): &(u32, f64)| (multipliers.pi[*g as usize] - fines.dollars(*g)) * count;
                let value: f64 = candidate.pods.iter().map(each).sum();
                (value > price + 1e-7).then_some((value - price, candidate))
            })
            .collect();
        new.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.bin.cmp(&b.1.bin)));
        new.truncate(COLUMNS_PER_ROUND);
        new.into_iter().map(|(_, candidate)| candidate).collect()
    }

    fn point(&self, solution: &Solution, duals: &Duals) -> FluidPoint {
        let mut mixes: Vec<Mix> = Vec::new();
        for column in &self.columns {
            let Bin::Offer(o) = column.bin else { continue };
            let nodes = solution.primal.get(column.at).copied().unwrap_or(0.0);
            if nodes <= 1e-9 {
                continue;
            }
            let at = mixes.iter().position(|mix| mix.offer == o as usize).unwrap_or_else(|| {
                mixes.push(Mix { offer: o as usize, nodes: 0.0, pods: Vec::new() });
                mixes.len() - 1
            });
            mixes[at].nodes += nodes;
            for (g, count) in &column.pods {
                let pods = &mut mixes[at].pods;
                match pods.binary_search_by_key(g, |(g, _)| *g) {
                    Ok(k) => pods[k].1 += count * nodes,
                    Err(k) => pods.insert(k, (*g, count * nodes)),
                }
            }
        }
        mixes.sort_by_key(|mix| mix.offer);
        FluidPoint { multipliers: duals.multipliers.clone(), mixes }
    }
}
