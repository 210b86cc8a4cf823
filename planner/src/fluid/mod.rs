//! The fluid relaxation: fractional pods on fractional nodes, solved by sifting over offerings.
//!
//! ```text
//! min   sum_o c_o n_o + sum_go f_go x_go + sum_gk f_gk x_gk + sum_g M_g s_g       f: fines for unmet preferences
//! (cover)    sum_o x_go + sum_k x_gk + s_g >= d_g           each group g            [pi_g]
//! (capacity) sum_g w_gr x_go <= C_or n_o                     each offer o, resource r [y_or]
//! (spare)    sum_g w_gr x_gk <= sum_{i in k} F_ir            each class k of existing nodes
//! (limit)    sum_o usage_or n_o <= L_r                       each limit               [mu_r]
//! (copies)   x_go <= u_go n_o                                where it is violated     u: whole pods of g that fit
//! ```
//!
//! It is a relaxation of the pattern model, its optimum is a lower bound, and its duals price the patterns. Only the
//! offers that pricing finds too cheap enter the program (sifting): 40 to 90 of some hundreds.

pub(crate) mod cases;
mod start;

use crate::cases::Tree;
use crate::core::{Core, Fined};
use crate::lp::{Basis, Columns, Fault, INFINITY, Program, Simplex, Solution};
use crate::pricing::{Multipliers, PriceList, full_price, price_all};
use crate::rows::{Decision, Ranges, Rows};
use crate::solve::BRANCH_NODES_MAX;
use start::is_near;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Sifting ends when no offer is worth more than its price by this share: the bound then loses at most as much.
pub(crate) const SIFT_TOLERANCE: f64 = 1e-4;
/// Rounds of sifting at most; ten are typical, the limit only stops a cycle.
const SIFT_ROUNDS_MAX: usize = 60;
/// Offers added per round at most. Few, because a better price list often makes the others unnecessary.
const SIFT_OFFERS_PER_ROUND: usize = 40;
/// Leaving a pod out costs this many times the cheapest homogeneous price of the pod, times four per priority tier.
const LEAVE_OUT_FACTOR: f64 = 20.0;

/// An offer inside the program.
struct Active {
    offer: usize,
    /// Which of its cases; 0 is all of them together.
    leaf: usize,
    /// There may be no nodes any more.
    is_retired: bool,
    /// First of its capacity rows.
    row: usize,
    column_nodes: usize,
    /// First column of its items.
    column_items: usize,
    /// Groups that have a column, with the copies that fit.
    items: Vec<(u32, i64)>,
}

impl Active {
    /// Adds the row `x_go <= u_go n_o` of its item `k`; returns which it is.
    fn add_copies_row(&self, program: &mut Program, k: usize) -> usize {
        let entries = [(self.column_items + k, 1.0), (self.column_nodes, -(self.items[k].1 as f64))];
        program.add_row(-INFINITY, 0.0, &entries)
    }
}

/// The program and what is in it.
pub(crate) struct Fluid<'a> {
    core: &'a Core,
    program: Program,
    active: Vec<Active>,
    is_active: Vec<bool>,
    /// Offers and cases that are in.
    cases: BTreeSet<(usize, usize)>,
    /// The cases of each offer; none before they are asked for.
    trees: Vec<Tree>,
    /// There is hardly anything to gain from more of them.
    is_split: bool,
    /// Column of each group's slack is the group's index.
    rows: Rows,
    ranges: Ranges,
    /// The row of each `x_go <= u_go n_o` that is in, by position among the active and group.
    capped: BTreeMap<(usize, u32), usize>,
    /// See [`best_offers`].
    best: Vec<Option<(usize, f64)>>,
}

/// Duals of a program with decisions.
pub(crate) struct Decided {
    /// Of groups and limits.
    pub(crate) multipliers: Multipliers,
    /// Of each decision: positive where the least number binds, negative where the most does.
    pub(crate) duals: Vec<f64>,
    /// Capacity duals of offers with nodes.
    pub(crate) vectors: Vec<Vec<f64>>,
}

/// Existing nodes up to which each has rows of its own.
const SINGLE_SPARES_MAX: usize = 8;
/// Columns of classes of existing nodes that take the same groups, at most; beyond, nodes of a kind are one class, and that a pod may be
/// too large for what one of them has left is not seen. 1,561 nodes of a cluster of 5,000 took 29 s otherwise.
const FINE_COLUMNS_MAX: usize = 20_000;

/// A fluid optimum.
#[derive(Clone, Debug, Default)]
pub(crate) struct FluidPoint {
    /// Duals.
    pub(crate) multipliers: Multipliers,
    /// What the nodes of each offer carry together.
    pub(crate) mixes: Vec<Mix>,
}

/// Fractional nodes of one offer and the fractional pods on them.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// Index into [`Core::offers`].
    pub(crate) offer: usize,
    /// Number of nodes, positive.
    pub(crate) nodes: f64,
    /// Pods by group, positive.
    pub(crate) pods: Vec<(u32, f64)>,
}

/// `c_o * max_r w_gr / C_or`: price of one pod of `g` on nodes of offer `o` alone.
pub(crate) fn homogeneous(core: &Core, g: usize, offer: usize) -> f64 {
    let offer = &core.offers[offer];
    let shares = core.scaled(g).iter().zip(&offer.cap).filter(|(w, _)| **w > 0.0).map(|(w, c)| w / c);
    shares.fold(0.0, f64::max) * offer.cost
}

/// The offer where a pod costs least with nodes for its group alone, and what it costs there, by group.
pub(crate) fn best_offers(core: &Core) -> Vec<Option<(usize, f64)>> {
    let mut best: Vec<Option<(usize, f64)>> = vec![None; core.demand.len()];
    for (o, offer) in core.offers.iter().enumerate() {
        for (g, _) in &offer.items {
            let price = homogeneous(core, *g as usize, o) + offer.fines.dollars(*g);
            let slot = &mut best[*g as usize];
            if slot.is_none_or(|(_, have)| price < have) {
                *slot = Some((o, price));
            }
        }
    }
    best
}

impl<'a> Fluid<'a> {
    /// Sets up cover, spare and limit rows and the best offer of each group.
    pub(crate) fn new(core: &'a Core) -> Fluid<'a> {
        let mut fluid = Fluid::empty(core);
        let first: BTreeSet<usize> = fluid.best.iter().flatten().map(|(offer, _)| *offer).collect();
        fluid.activate(&first.into_iter().collect::<Vec<_>>());
        fluid.begin();
        fluid
    }

    /// Sets up cover, spare and limit rows and the given offers.
    pub(crate) fn with_offers(core: &'a Core, offers: &[usize]) -> Fluid<'a> {
        let mut fluid = Fluid::empty(core);
        fluid.activate(offers);
        fluid
    }

    /// Sets up cover and limit rows, the offers of `mixes` and those `near`, as if there were no existing nodes. At `prices` the pods of
    /// all columns are nearly worth their room.
    pub(crate) fn of_new_nodes(
        core: &'a Core,
        mixes: &[Mix],
        near: &[u32],
        prices: (&Multipliers, &PriceList),
    ) -> Fluid<'a> {
        let near = near.iter().map(|o| *o as usize);
        let offers: BTreeSet<usize> = mixes.iter().map(|mix| mix.offer).chain(near).collect();
        let mut fluid = Fluid::bare(core, best_offers(core));
        for o in offers {
            let near = core.offers[o].items.iter().filter(|(g, _)| is_near(core, prices, o, *g));
            fluid.activate_for(o, near.copied().collect());
        }
        fluid
    }

    fn empty(core: &'a Core) -> Fluid<'a> {
        let mut fluid = Fluid::bare(core, best_offers(core));
        fluid.add_spares(core.spares.len() <= SINGLE_SPARES_MAX);
        fluid
    }

    /// Without any node.
    fn bare(core: &'a Core, best: Vec<Option<(usize, f64)>>) -> Fluid<'a> {
        let mut program = Program::new();
        let rows = Rows::new(core, &mut program);
        let mut fluid = Fluid {
            core,
            program,
            active: Vec::new(),
            is_active: vec![false; core.offers.len()],
            cases: BTreeSet::new(),
            trees: Vec::new(),
            is_split: false,
            rows,
            ranges: Ranges::default(),
            capped: BTreeMap::new(),
            best,
        };
        fluid.add_slacks();
        fluid
    }

    fn add_slacks(&mut self) {
        let mut tiers: Vec<i32> = self.core.priority.clone();
        tiers.sort_unstable();
        tiers.dedup();
        let mut columns = Columns::default();
        for (g, best) in self.best.iter().enumerate() {
            let tier = tiers.binary_search(&self.core.priority[g]).unwrap_or(0).min(6);
            let price = best.map_or(1.0, |(_, price)| price.max(1e-6));
            let cost = LEAVE_OUT_FACTOR * price * 4_f64.powi(i32::try_from(tier).unwrap_or(0));
            columns.push(cost, INFINITY, [(g, 1.0)]);
        }
        self.program.add_columns(&columns);
    }

    /// Existing nodes that take the same groups, or are of a kind where that makes too many classes, are one bin with the sum of their
    /// room: a relaxation.
    fn add_spares(&mut self, single: bool) {
        let core = self.core;
        let mut classes: BTreeMap<(usize, Vec<u32>, &Fined), Vec<usize>> = BTreeMap::new();
        for (i, spare) in core.spares.iter().enumerate() {
            let groups = spare.items.iter().map(|(g, _)| *g).collect();
            classes.entry((if single { i } else { 0 }, groups, &spare.fines)).or_default().push(i);
        }
        if classes.keys().map(|(_, groups, _)| groups.len()).sum::<usize>() > FINE_COLUMNS_MAX {
            classes.clear();
            for (i, spare) in core.spares.iter().enumerate() {
                classes.entry((spare.kind as usize, Vec::new(), &spare.fines)).or_default().push(i);
            }
        }
        let r = core.r();
        for ((_, _, fines), spares) in classes {
            let room: Vec<(f64, f64)> =
                (0..r).map(|k| (-INFINITY, spares.iter().map(|i| core.spares[*i].cap[k]).sum())).collect();
            let row = self.program.add_rows(&room);
            let mut copies: BTreeMap<u32, i64> = BTreeMap::new();
            for (g, most) in spares.iter().flat_map(|i| &core.spares[*i].items) {
                *copies.entry(*g).or_default() += most;
            }
            let mut columns = Columns::default();
            for (g, copies) in copies {
                columns.push(fines.dollars(g), copies as f64, core.item_entries(g as usize, row));
            }
            self.program.add_columns(&columns);
        }
    }

    /// Takes the mixes of an offer out.
    pub(crate) fn retire(&mut self, offer: usize) {
        for active in self.active.iter_mut().filter(|active| active.offer == offer) {
            active.is_retired = true;
            self.program.set_column(active.column_nodes, 0.0, 0.0);
        }
    }

    /// Adds integer patterns as columns, beside whatever mixes there are.
    pub(crate) fn add_patterns(&mut self, patterns: &[(usize, crate::pack::Pattern)]) {
        let mut columns = Columns::default();
        for (o, pattern) in patterns {
            let offer = &self.core.offers[*o];
            let cover = pattern.iter().map(|(g, count)| (*g as usize, *count as f64));
            let cost = offer.cost + offer.fines.sum(pattern) as f64 / 1e6;
            columns.push(cost, INFINITY, cover.chain(self.rows.usage(self.core, offer)));
        }
        self.program.add_columns(&columns);
    }

    /// Seconds that each of the next solutions may take.
    pub(crate) fn set_time_limit(&mut self, seconds: f64) {
        self.program.set_time_limit(seconds);
    }

    /// Seconds that each of the next solutions may take.
    pub(crate) fn time_limit(&self) -> f64 {
        self.program.time_limit()
    }

    /// Multipliers and value of the program as it is.
    ///
    /// # Errors
    /// [`Fault`] of the solver.
    pub(crate) fn optimum(&mut self) -> Result<(Multipliers, f64), Fault> {
        let solution = self.program.run(Simplex::Primal)?;
        Ok((self.multipliers(&solution), solution.objective))
    }

    /// Adds the mixes of offers that are not in.
    pub(crate) fn activate(&mut self, offers: &[usize]) {
        offers.iter().for_each(|o| self.activate_for(*o, self.core.offers[*o].items.clone()));
    }

    /// Adds the mixes of an offer, of some of its items.
    fn activate_for(&mut self, o: usize, items: Vec<(u32, i64)>) {
        if std::mem::replace(&mut self.is_active[o], true) {
            return;
        }
        let r = self.core.r();
        let offer = &self.core.offers[o];
        let row = self.program.add_rows(&vec![(-INFINITY, 0.0); r]);
        let mut columns = Columns::default();
        let limits = self.rows.usage(self.core, offer);
        let capacity = offer.cap.iter().enumerate().map(|(k, c)| (row + k, -c));
        let ranges = self.ranges.entries(offer.price);
        columns.push(offer.cost, INFINITY, limits.chain(capacity).chain(ranges));
        for (g, _) in &items {
            columns.push(offer.fines.dollars(*g), INFINITY, self.core.item_entries(*g as usize, row));
        }
        let column_nodes = self.program.add_columns(&columns);
        let column_items = column_nodes + 1;
        let (leaf, is_retired) = (0, false);
        self.active.push(Active { offer: o, leaf, is_retired, row, column_nodes, column_items, items });
    }

    /// Multipliers without a program: each group at its cheapest homogeneous price. Divided by their `theta` they prove a
    /// bound too, if a weak one.
    pub(crate) fn homogeneous_multipliers(&self) -> Multipliers {
        let pi = self.best.iter().map(|best| best.map_or(0.0, |(_, price)| price)).collect();
        Multipliers { pi, mu: vec![0.0; self.core.limits.len()], surcharge: Vec::new() }
    }

    /// Solves by sifting and returns the optimum with the price list at its duals.
    ///
    /// # Errors
    /// [`Fault`] if the very first program fails; a later fault ends sifting with what there is. `seconds_left` is asked
    /// before each run of the solver.
    pub(crate) fn solve(&mut self, seconds_left: &dyn Fn() -> f64) -> Result<(FluidPoint, PriceList), Fault> {
        self.program.set_time_limit(seconds_left());
        let mut solution = self.program.run(Simplex::Primal)?;
        for _ in 0..SIFT_ROUNDS_MAX {
            let multipliers = self.multipliers(&solution);
            let list = price_all(self.core, &multipliers);
            let mut violated: Vec<(f64, usize)> = (0..self.core.offers.len())
                .filter(|o| !self.is_active[*o])
                .map(|o| (list.offers[o].value / full_price(self.core, o, &multipliers), o))
                .filter(|(ratio, _)| *ratio > 1.0 + SIFT_TOLERANCE)
                .collect();
            let mut capped = if self.core.has_caps() { self.cap(&solution, true) } else { 0 };
            // Of pods that take just over half a node a mix holds nearly two. Such rows change nearly nothing where many pods fit, so they
            // wait until the offers are there; in small batches until branching, whose plans are better without: 250 random ones with
            // constraints and preferences cost up to 14 % more with them.
            let wanted = self.core.has_many_pods() || self.nodes(&solution) > BRANCH_NODES_MAX as f64;
            if violated.is_empty() && capped == 0 && wanted {
                capped = self.cap(&solution, false);
            }
            if violated.is_empty() && capped == 0 {
                break;
            }
            violated.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            violated.truncate(SIFT_OFFERS_PER_ROUND);
            let offers: Vec<usize> = violated.into_iter().map(|(_, o)| o).collect();
            self.activate(&offers);
            self.program.set_time_limit(seconds_left());
            let simplex = if offers.is_empty() { Simplex::Dual } else { Simplex::Primal };
            match self.program.run(simplex) {
                Ok(better) => solution = better,
                Err(_) => break,
            }
        }
        let point = self.point(&solution);
        let list = price_all(self.core, &point.multipliers);
        Ok((point, list))
    }

    /// Solves again for other demands and what is left of limits, with the offers that are in (dual simplex from the last basis), and once more if groups with a cap
    /// of their own are above it.
    pub(crate) fn resolve(&mut self, demand: &[i64], limits: &[i64]) -> Result<FluidPoint, Fault> {
        for (limit, left) in limits.iter().enumerate() {
            let (row, most) = self.rows.limit(self.core, limit, *left);
            self.program.set_row(row, -INFINITY, most);
        }
        for (g, d) in demand.iter().enumerate() {
            self.program.set_row(g, self.core.fluid_demand(g, *d), INFINITY);
        }
        let mut solution = self.program.run(Simplex::Dual)?;
        if self.core.has_caps() && self.cap(&solution, true) > 0 {
            solution = self.program.run(Simplex::Dual)?;
        }
        Ok(self.point(&solution))
    }

    /// Solves with numbers of nodes in price ranges decided, continuing from `basis`. Offers that `price` finds worth more
    /// than they cost come in until there are none, and so do violated rows `x_go <= u_go n_o`.
    pub(crate) fn solve_at(
        &mut self,
        decisions: &[Decision],
        basis: Option<&Basis>,
        price: &mut dyn FnMut(&Decided) -> Vec<usize>,
    ) -> Result<(FluidPoint, Basis), Fault> {
        let core = self.core;
        let nodes = self.active.iter().map(|active| (core.offers[active.offer].price, active.column_nodes));
        let rows = self.ranges.decide(core, &mut self.program, decisions, nodes);
        if let Some(basis) = basis {
            self.program.set_basis(basis);
        }
        let mut simplex = Simplex::Dual;
        for _ in 0..SIFT_ROUNDS_MAX {
            let solution = self.program.run(simplex)?;
            let capped = self.cap(&solution, false);
            let decided = Decided {
                multipliers: self.multipliers(&solution),
                duals: rows.iter().map(|row| solution.dual[*row]).collect(),
                vectors: self.vectors(&solution),
            };
            let mut offers = price(&decided);
            offers.retain(|o| !self.is_active[*o]);
            if offers.is_empty() && capped == 0 {
                return Ok((self.point(&solution), self.program.basis()));
            }
            simplex = if offers.is_empty() { Simplex::Dual } else { Simplex::Primal };
            self.activate(&offers);
        }
        Err(Fault::Cycle)
    }

    /// Capacity duals of the offers with nodes: the vectors that price them exactly.
    fn vectors(&self, solution: &Solution) -> Vec<Vec<f64>> {
        let with_nodes = self.active.iter().filter(|active| solution.primal[active.column_nodes] > 1e-9);
        let mut vectors: Vec<Vec<f64>> = with_nodes
            .map(|active| (0..self.core.r()).map(|k| (-solution.dual[active.row + k]).max(0.0)).collect())
            .collect();
        vectors.dedup();
        vectors
    }

    /// Adds the rows `x_go <= u_go n_o` that the solution violates; returns how many.
    /// Only those of groups with a cap of their own, if `constrained`: the others are implied by capacity but for rounding to whole pods.
    fn cap(&mut self, solution: &Solution, constrained: bool) -> usize {
        let mut added = 0;
        for (at, active) in self.active.iter().enumerate() {
            let nodes = solution.primal[active.column_nodes];
            for (k, (g, copies)) in active.items.iter().enumerate() {
                let column = active.column_items + k;
                if (!constrained || self.core.cap[*g as usize] < i64::MAX)
                    && solution.primal[column] > nodes * *copies as f64 + 1e-6
                    && let Entry::Vacant(slot) = self.capped.entry((at, *g))
                {
                    slot.insert(active.add_copies_row(&mut self.program, k));
                    added += 1;
                }
            }
        }
        added
    }

    fn nodes(&self, solution: &Solution) -> f64 {
        self.active.iter().map(|active| solution.primal[active.column_nodes]).sum()
    }

    /// Simplex iterations so far.
    pub(crate) fn iterations(&self) -> u64 {
        self.program.iterations()
    }

    fn multipliers(&self, solution: &Solution) -> Multipliers {
        self.rows.multipliers(self.core, solution)
    }

    /// Of a program that is split it is of no use: what nodes of a case hold is not among the pods.
    fn point(&self, solution: &Solution) -> FluidPoint {
        let mut mixes = Vec::new();
        for active in &self.active {
            // Offers that came in before a run that failed are not in the solution of the run before.
            let nodes = solution.primal.get(active.column_nodes).copied().unwrap_or(0.0);
            if nodes <= 1e-9 {
                continue;
            }
            let pods: Vec<(u32, f64)> = active
                .items
                .iter()
                .enumerate()
                .map(|(k, (g, _))| (*g, solution.primal[active.column_items + k]))
                .filter(|(_, pods)| *pods > 1e-9)
                .collect();
            mixes.push(Mix { offer: active.offer, nodes, pods });
        }
        FluidPoint { multipliers: self.multipliers(solution), mixes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{core, offer};

    /// Two pods of eight cores and 64 GiB nearly fit a node of 16 cores and 128 GiB, so each needs one of its own, which has room for all
    /// others. A mix of 1.96 pods a node halves that.
    #[test]
    fn pods_of_just_over_half_a_node_need_one_each() {
        let offers = vec![
            offer(612_000, [15_700, 29], vec![(1, 7)]),
            offer(904_000, [15_700, 126], vec![(0, 1), (1, 15)]),
        ];
        let core = core(&[[8_000, 64], [1_000, 4]], &[83, 2_000], offers, Vec::new());
        let (point, list) = Fluid::new(&core).solve(&|| 60.0).expect("a small program");
        let large: f64 = point.mixes.iter().filter(|mix| mix.offer == 1).map(|mix| mix.nodes).sum();
        assert!(large > 83.0 - 1e-6, "{:?}", point.mixes);
        assert!(list.bound > 83.0 * 0.904 - 1e-6, "{}", list.bound);
    }
}
