//! The fluid relaxation of the joint problem: fractions of nodes kept, fractions of pods on room and on offers.
//!
//! ```text
//! min   sum_i (p_i - e_i) k_i + sum_o c_o n_o + sum_g M_g s_g                (+ sum_i e_i)
//! (cover)  sum_i own_ig k_i + sum_c x_gc + sum_o x_go + s_g >= q_g       each group              [pi_g]
//! (room)   sum_g w_gr x_gc - sum_{i in c} F_ir k_i <= F_cr               each kind c of nodes    F_c: room of nodes that stay
//! (offer)  sum_g w_gr x_go <= C_or n_o                                   each offer
//! 0 <= k_i <= 1
//! ```
//!
//! `e_i` is what moving the pods of node `i` and removing it costs. The duals of (cover) price pods; every node and every
//! offer is then priced exactly ([`super::prove`]), so nothing here has to be believed.

use super::model::Model;
use crate::core::Core;
use crate::fluid::best_offers;
use crate::lp::{Columns, Fault, INFINITY, Program, Simplex, Solution};
use crate::pricing::{Multipliers, price_all};
use std::collections::BTreeMap;

/// Sifting ends when no offer is worth more than its price by this share.
const SIFT_TOLERANCE: f64 = 1e-5;
const SIFT_ROUNDS_MAX: usize = 60;
const SIFT_OFFERS_PER_ROUND: usize = 40;
const FIRST_OFFERS_MAX: usize = 24;
/// Rows of room by what fits on nodes, as long as their columns are no more than this; beyond, by kind alone.
const FINE_COLUMNS_MAX: usize = 60_000;
/// The first program may take this long whatever the clock says: without it nothing is known, neither what to remove nor what is left to
/// save. It takes 2 s at 5,000 nodes.
const FIRST_PROGRAM_SECONDS: f64 = 60.0;
/// Leaving a pod out costs this many times the price of the pod on its best offer, or this many dollars if it has none.
const LEAVE_OUT_FACTOR: f64 = 20.0;

/// What the relaxation says.
pub(super) struct Relaxed {
    /// Duals.
    pub(super) multipliers: Multipliers,
    /// Fraction of each removable node that stays.
    pub(super) kept: Vec<f64>,
    /// Simplex iterations.
    pub(super) iterations: u64,
}

/// Solves the relaxation.
///
/// # Errors
/// [`Fault`] if the very first program fails; a later fault ends sifting with what there is.
pub(super) fn solve(model: &Model, seconds_left: &dyn Fn() -> f64) -> Result<Relaxed, Fault> {
    let core = &model.core;
    let r = core.r();
    let mut program = Program::new();
    program.add_rows(&core.demand.iter().map(|d| (*d as f64, INFINITY)).collect::<Vec<_>>());
    add_slacks(&mut program, core);
    let class_of = add_room(&mut program, model);
    let first = program_columns(&mut program, model, &class_of);
    let mut active: Vec<bool> = vec![false; core.offers.len()];
    let mut offers = first_offers(core);
    let mut best: Option<Solution> = None;
    for _ in 0..SIFT_ROUNDS_MAX {
        for o in offers.drain(..) {
            active[o] = true;
            let offer = &core.offers[o];
            let row = program.add_rows(&vec![(-INFINITY, 0.0); r]);
            let mut columns = Columns::default();
            columns.push(offer.cost, INFINITY, offer.cap.iter().enumerate().map(|(k, c)| (row + k, -c)));
            for (g, _) in &offer.items {
                columns.push(0.0, INFINITY, core.item_entries(*g as usize, row));
            }
            program.add_columns(&columns);
        }
        let least = if best.is_none() { FIRST_PROGRAM_SECONDS } else { 0.0 };
        program.set_time_limit(seconds_left().max(least));
        // The first basis, of slacks, is dual feasible (nodes cheaper than leaving them aside); columns that come later find a primal
        // feasible one.
        let simplex = if best.is_none() { Simplex::Dual } else { Simplex::Primal };
        match program.run(simplex) {
            Ok(solution) => best = Some(solution),
            Err(fault) if best.is_none() => return Err(fault),
            Err(_) => break,
        }
        let multipliers = multipliers(core, best.as_ref().expect("just solved"));
        let list = price_all(core, &multipliers);
        let mut violated: Vec<(f64, usize)> = (0..core.offers.len())
            .filter(|o| !active[*o])
            .map(|o| (list.offers[o].value / core.offers[o].cost.max(1e-9), o))
            .filter(|(ratio, _)| *ratio > 1.0 + SIFT_TOLERANCE)
            .collect();
        if violated.is_empty() {
            break;
        }
        violated.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        violated.truncate(SIFT_OFFERS_PER_ROUND);
        offers.extend(violated.into_iter().map(|(_, o)| o));
    }
    let solution = best.ok_or(Fault::Cycle)?;
    Ok(Relaxed {
        multipliers: multipliers(core, &solution),
        kept: (0..model.removable.len()).map(|i| solution.primal[first + i]).collect(),
        iterations: program.iterations(),
    })
}

/// The offers that are cheapest for most groups alone. Each has a row a resource and a column a group: with all of them the first program
/// takes most of the time, and sifting finds the others.
fn first_offers(core: &Core) -> Vec<usize> {
    let mut groups: BTreeMap<usize, usize> = BTreeMap::new();
    for (offer, _) in best_offers(core).into_iter().flatten() {
        *groups.entry(offer).or_default() += 1;
    }
    let mut ranked: Vec<(std::cmp::Reverse<usize>, usize)> =
        groups.into_iter().map(|(offer, groups)| (std::cmp::Reverse(groups), offer)).collect();
    ranked.sort_unstable();
    ranked.truncate(FIRST_OFFERS_MAX);
    let mut offers: Vec<usize> = ranked.into_iter().map(|(_, offer)| offer).collect();
    offers.sort_unstable();
    offers
}

fn multipliers(core: &Core, solution: &Solution) -> Multipliers {
    let pi = solution.dual[..core.demand.len()].iter().map(|pi| pi.max(0.0)).collect();
    Multipliers { pi, mu: vec![0.0; core.limits.len()], surcharge: Vec::new() }
}

fn add_slacks(program: &mut Program, core: &Core) {
    let mut columns = Columns::default();
    for (g, best) in best_offers(core).iter().enumerate() {
        let price = best.map_or(1.0, |(_, price)| price.max(1e-6));
        columns.push(LEAVE_OUT_FACTOR * price, INFINITY, [(g, 1.0)]);
    }
    program.add_columns(&columns);
}

/// Room rows by kind of nodes, which match the same groups, and by the groups of which one pod fits; returns the first row of each spare's
/// class. Where that makes too many columns, nodes of a kind are one class: that a pod may be too large for what one of them has left is
/// not seen then.
fn add_room(program: &mut Program, model: &Model) -> Vec<usize> {
    let core = &model.core;
    let r = core.r();
    let mut may_go = vec![false; core.spares.len()];
    model.removable.iter().filter_map(|one| one.spare).for_each(|spare| may_go[spare] = true);
    let mut kinds: BTreeMap<(u32, Vec<u32>), Vec<usize>> = BTreeMap::new();
    for (i, spare) in core.spares.iter().enumerate() {
        kinds.entry((spare.kind, spare.items.iter().map(|(g, _)| *g).collect())).or_default().push(i);
    }
    if kinds.keys().map(|(_, groups)| groups.len()).sum::<usize>() > FINE_COLUMNS_MAX {
        kinds.clear();
        for (i, spare) in core.spares.iter().enumerate() {
            kinds.entry((spare.kind, Vec::new())).or_default().push(i);
        }
    }
    let mut row_of = vec![0; core.spares.len()];
    for spares in kinds.into_values() {
        let stays = || spares.iter().filter(|i| !may_go[**i]);
        let room: Vec<(f64, f64)> =
            (0..r).map(|k| (-INFINITY, stays().map(|i| core.spares[*i].cap[k]).sum())).collect();
        let row = program.add_rows(&room);
        let mut copies: BTreeMap<u32, i64> = BTreeMap::new();
        for (g, most) in spares.iter().flat_map(|i| &core.spares[*i].items) {
            *copies.entry(*g).or_default() += most;
        }
        let mut columns = Columns::default();
        for (g, copies) in copies {
            columns.push(0.0, copies as f64, core.item_entries(g as usize, row));
        }
        program.add_columns(&columns);
        spares.into_iter().for_each(|spare| row_of[spare] = row);
    }
    row_of
}

/// A column per removable node; returns the first.
fn program_columns(program: &mut Program, model: &Model, class_of: &[usize]) -> usize {
    let mut columns = Columns::default();
    for one in &model.removable {
        let own = one.own.iter().map(|(g, count)| (*g as usize, *count as f64));
        let room = one.spare.into_iter().flat_map(|spare| {
            model.core.spares[spare].cap.iter().enumerate().map(move |(k, cap)| (class_of[spare] + k, -cap))
        });
        let room = room.filter(|(_, cap)| *cap != 0.0);
        columns.push((one.price - one.leaving) as f64 / 1e6, 1.0, own.chain(room).collect::<Vec<_>>());
    }
    program.add_columns(&columns)
}
