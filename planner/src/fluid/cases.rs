//! Mixes by cases: nodes of an offer that hold a large pod are mixed apart from those that do not (see [`crate::cases`]).

use super::{Active, Fluid, SIFT_OFFERS_PER_ROUND, SIFT_ROUNDS_MAX};
use crate::cases::{Tree, WHOLE, is_large, price_by_cases, share};
use crate::lp::{Columns, Fault, INFINITY, Simplex, Solution};
use crate::pricing::{Multipliers, PriceList, full_price};

/// Splitting ends after so many rounds in a row that raised the bound by less than a share of it.
pub(crate) const STALLED_ROUNDS: usize = 4;
/// That share.
const STALLED_GAIN: f64 = 1e-4;
/// Mixes are split where as many of their pods would find no room beside large ones, if all were alike.
const LOST_MIN: f64 = 0.01;

impl Fluid<'_> {
    /// Solves again and again, with mixes split that have parts of large pods and what they are worth too much for by cases, until nothing
    /// changes or so many rounds gain hardly anything: the multipliers of the best bound, if there is one, with the prices that prove it, and
    /// what ended it early. `stop` does, too; each program has `seconds_left`. Goes on where it ended before.
    pub(crate) fn split(
        &mut self,
        stalled_max: usize,
        stop: &dyn Fn() -> bool,
        seconds_left: &dyn Fn() -> f64,
    ) -> (Option<(Multipliers, PriceList)>, Result<(), Fault>) {
        let mut best: Option<(Multipliers, PriceList)> = None;
        let (mut least, mut stalled) = (0.0, 0);
        for _ in 0..SIFT_ROUNDS_MAX {
            self.program.set_time_limit(seconds_left());
            let (multipliers, list, has_changed) = match self.split_once() {
                Ok(round) => round,
                Err(fault) => return (best, Err(fault)),
            };
            if best.as_ref().is_none_or(|(_, best)| list.bound > best.bound) {
                best = Some((multipliers, list));
            }
            let bound = best.as_ref().map_or(0.0, |(_, list)| list.bound);
            stalled += 1;
            if bound > least * (1.0 + STALLED_GAIN) {
                (least, stalled) = (bound, 0);
            }
            self.is_split = !has_changed || stalled >= STALLED_ROUNDS;
            if self.is_split || stalled >= stalled_max || stop() {
                break;
            }
        }
        (best, Ok(()))
    }

    /// One round: multipliers, prices, and whether the program is another one now.
    fn split_once(&mut self) -> Result<(Multipliers, PriceList, bool), Fault> {
        let core = self.core;
        let mut solution = self.program.run(Simplex::Primal)?;
        if self.cap(&solution, false) > 0 {
            solution = self.program.run(Simplex::Dual)?;
        }
        let multipliers = self.multipliers(&solution);
        let (list, leaves) = price_by_cases(core, &multipliers, self.trees());
        let splits = self.split_mixes(&solution);
        let excess = |o: usize| list.offers[o].value / full_price(core, o, &multipliers);
        let new = leaves.into_iter().enumerate().filter_map(|(o, leaf)| Some((o, leaf?)));
        let new = new.filter(|(o, leaf)| !self.has_case(*o, *leaf));
        let mut new: Vec<(f64, usize, usize)> = new.map(|(o, leaf)| (excess(o), o, leaf)).collect();
        new.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        new.truncate(SIFT_OFFERS_PER_ROUND);
        new.iter().for_each(|(_, o, leaf)| self.activate_case(*o, *leaf));
        Ok((multipliers, list, splits > 0 || !new.is_empty()))
    }

    /// Whether there is hardly anything to gain from more cases.
    pub(crate) fn is_split(&self) -> bool {
        self.is_split
    }

    /// The cases of each offer.
    pub(crate) fn trees(&mut self) -> &mut [Tree] {
        self.trees.resize_with(self.core.offers.len(), Tree::default);
        &mut self.trees
    }

    /// Adds the mixes of a case of an offer, if they are not in.
    pub(crate) fn activate_case(&mut self, o: usize, leaf: usize) {
        if leaf == 0 {
            return self.activate(&[o]);
        }
        let offer = &self.core.offers[o];
        let case = self.trees[o].case(leaf).clone();
        let Some(rest) = case.rest(self.core, offer).filter(|_| self.cases.insert((o, leaf))) else { return };
        let row = self.program.add_rows(&vec![(-INFINITY, 0.0); self.core.r()]);
        let held = case.least.iter().map(|(g, count)| (*g as usize, *count as f64));
        let limits = self.rows.usage(self.core, offer);
        let room = rest.scaled(self.core).into_iter().enumerate().map(|(k, room)| (row + k, -room));
        let ranges = self.ranges.entries(offer.price);
        let fines = offer.fines.sum(&case.least) as f64 / 1e6;
        let mut columns = Columns::default();
        columns.push(offer.cost + fines, INFINITY, held.chain(limits).chain(room).chain(ranges));
        for (g, _) in &rest.items {
            columns.push(offer.fines.dollars(*g), INFINITY, self.core.item_entries(*g as usize, row));
        }
        let column_nodes = self.program.add_columns(&columns);
        self.active.push(Active {
            offer: o,
            leaf,
            is_retired: false,
            row,
            column_nodes,
            column_items: column_nodes + 1,
            items: rest.items,
        });
    }

    /// Whether mixes of a case are, or were, in the program.
    pub(crate) fn has_case(&self, o: usize, leaf: usize) -> bool {
        if leaf == 0 { self.is_active[o] } else { self.cases.contains(&(o, leaf)) }
    }

    /// Takes out the mixes of cases that are split. Returns how many.
    pub(crate) fn retire_split(&mut self) -> usize {
        let mut retired = 0;
        for active in &mut self.active {
            let is_split = self.trees.get(active.offer).is_some_and(|tree| tree.is_forked(active.leaf));
            if is_split && !std::mem::replace(&mut active.is_retired, true) {
                self.program.set_column(active.column_nodes, 0.0, 0.0);
                retired += 1;
            }
        }
        retired
    }

    /// Splits mixes that have parts of large pods a node, and takes out all that are split, here or where they were priced. Returns how many.
    fn split_mixes(&mut self, solution: &Solution) -> usize {
        let core = self.core;
        let mut forks = Vec::new();
        for active in self.active.iter().filter(|active| !active.is_retired) {
            let (offer, tree) = (&core.offers[active.offer], &self.trees[active.offer]);
            let nodes = solution.primal[active.column_nodes];
            if nodes <= 1e-6 || tree.is_forked(active.leaf) || !tree.may_grow() {
                continue;
            }
            let each = |k: usize| solution.primal[active.column_items + k] / nodes;
            let Some(rest) = tree.case(active.leaf).rest(core, offer) else { continue };
            let room = rest.scaled(core);
            let mut load = vec![0.0; core.r()];
            for (k, (g, _)) in active.items.iter().enumerate() {
                load.iter_mut().zip(core.scaled(*g as usize)).for_each(|(load, w)| *load += w * each(k));
            }
            let split = |(k, (g, _)): (usize, &(u32, i64))| {
                let (whole, part) = (each(k).floor(), each(k) - each(k).floor());
                let is_split = part > WHOLE && part < 1.0 - WHOLE && is_large(core, offer, *g);
                let lost = || lost(&room, &load, core.scaled(*g as usize), (whole, part));
                let most = tree.case(active.leaf).least(*g) + whole as i64;
                let worth = share(core, offer, *g as usize) * part.min(1.0 - part);
                is_split.then(lost).filter(|lost| *lost > LOST_MIN).map(|_| (worth, *g, most))
            };
            let splits = active.items.iter().enumerate().filter_map(split);
            if let Some((_, g, most)) = splits.max_by(|a, b| a.0.total_cmp(&b.0)) {
                forks.push((active.offer, active.leaf, g, most));
            }
        }
        for (o, leaf, g, most) in &forks {
            // The forks before may have been those of the same offer.
            if !self.trees[*o].may_grow() {
                continue;
            }
            for side in self.trees[*o].fork(*leaf, *g, *most) {
                self.activate_case(*o, side);
            }
        }
        self.retire_split()
    }
}

/// Which share of the pods beside a large one finds no room, if all of them are alike, where a `part` of nodes hold one more than `whole` of
/// it and the others `whole`: an estimate of what a mix of both is worth too much.
fn lost(room: &[f64], load: &[f64], large: &[f64], (whole, part): (f64, f64)) -> f64 {
    let find = |share: f64, count: f64| {
        let least = room.iter().zip(load).zip(large).map(|((room, load), large)| {
            let others = load - large * (whole + part);
            if others <= 1e-9 { f64::INFINITY } else { share * (room - large * count).max(0.0) / others }
        });
        least.fold(f64::INFINITY, f64::min)
    };
    1.0 - find(part, whole + 1.0) - find(1.0 - part, whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{core, offer};

    /// Sixty pods leave ten of sixteen cores and eight of sixty GiB on a node of their own: room for four pods of a core and two GiB. The
    /// other 760 need 47.5 nodes. Mixed, all fit 85.3 nodes, where those with memory to spare lend it to the others.
    #[test]
    fn nodes_lend_no_memory_to_those_with_a_large_pod() {
        let offers = vec![offer(1_000_000, [16, 60], vec![(0, 1), (1, 16)])];
        let core = core(&[[6, 52], [1, 2]], &[60, 1_000], offers, Vec::new());
        let mut fluid = Fluid::new(&core);
        let (_, mixed) = fluid.solve(&|| 60.0).expect("a small program");
        assert!((mixed.bound - 256.0 / 3.0).abs() < 1e-6, "{}", mixed.bound);
        let (_, list) = fluid.split(STALLED_ROUNDS, &|| false, &|| 60.0).0.expect("a small program");
        assert!((list.bound - 107.5).abs() < 1e-6, "{}", list.bound);
        assert_eq!(list.offers[0].cases.len(), 3);
        assert!(fluid.is_split() && fluid.active.iter().filter(|active| active.is_retired).count() == 1);
    }

    #[test]
    fn nothing_is_split_where_pods_beside_large_ones_find_room() {
        let offers = vec![offer(1_000_000, [16, 64], vec![(0, 1), (1, 16)])];
        let core = core(&[[6, 24], [1, 4]], &[60, 600], offers, Vec::new());
        let mut fluid = Fluid::new(&core);
        let (_, mixed) = fluid.solve(&|| 60.0).expect("a small program");
        let (_, list) = fluid.split(STALLED_ROUNDS, &|| false, &|| 60.0).0.expect("a small program");
        assert!((list.bound - mixed.bound).abs() < 1e-9 * mixed.bound);
        assert!(list.offers[0].cases.is_empty(), "{:?}", list.offers[0]);
    }
}
