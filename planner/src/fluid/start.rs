//! Where programs begin: at a plan of one offer for each group, or at the optimum of the same program with more columns.

use super::Fluid;
use crate::core::Core;
use crate::lp::{Basis, Stands};
use crate::pricing::{Multipliers, PriceList};

/// A pod has a column in a narrow program if its room is worth at most this share more than the pod. Plans of whole nodes built along such
/// programs are as good, and a dual simplex iteration goes through a quarter of the columns with 2,000 groups, half with 200.
const NEAR: f64 = 0.1;

/// Whether a pod of group `g` is nearly worth its room on offer `o` at these prices.
pub(super) fn is_near(
    core: &Core,
    (multipliers, list): (&Multipliers, &PriceList),
    o: usize,
    g: u32,
) -> bool {
    let room = core.worth_of_room(g as usize, &list.offers[o].y);
    room + core.offers[o].fines.dollars(g) <= (1.0 + NEAR) * multipliers.pi[g as usize]
}

impl<'a> Fluid<'a> {
    /// Begins where all pods of a group are on the offer that is `best` for it, and each offer has as many nodes as that takes: a feasible
    /// basis, unless there are limits. From the slacks, the simplex method takes six times as long for 2,000 groups, to get that far.
    pub(super) fn begin(&mut self) {
        let core = self.core;
        let mut basis = Basis::slack(&self.program);
        for active in &self.active {
            let mut load = vec![0.0; core.r()];
            for (k, (g, _)) in active.items.iter().enumerate() {
                let g = *g as usize;
                if self.best[g].is_some_and(|(offer, _)| offer == active.offer) {
                    basis.set_column(active.column_items + k, Stands::Basic);
                    basis.set_row(g, Stands::Lower);
                    let pods = core.fluid_demand(g, core.demand[g]);
                    load.iter_mut().zip(core.scaled(g)).for_each(|(load, w)| *load += w * pods);
                }
            }
            // Of what there is no room for at all nothing is asked for either.
            let nodes =
                load.iter().zip(&core.offers[active.offer].cap).map(|(load, cap)| load / cap.max(1e-12));
            let most = nodes.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, nodes)| *nodes > 0.0);
            if let Some((scarce, _)) = most {
                basis.set_column(active.column_nodes, Stands::Basic);
                basis.set_row(active.row + scarce, Stands::Upper);
            }
        }
        for g in (0..self.best.len()).filter(|g| self.best[*g].is_none()) {
            basis.set_column(g, Stands::Basic);
            basis.set_row(g, Stands::Lower);
        }
        self.program.set_basis(&basis);
    }

    /// The same program at the same basis, without the columns of pods that are far from worth their room at `prices` and not in the basis.
    /// Existing nodes and counts of nodes in price ranges are left out: it is for problems and programs without any.
    pub(crate) fn narrowed(&self, prices: (&Multipliers, &PriceList)) -> Fluid<'a> {
        let core = self.core;
        debug_assert!(self.cases.is_empty(), "a program that is split has no narrow one");
        let whole = self.program.basis();
        let mut narrow = Fluid::bare(core, self.best.clone());
        let mut rows: Vec<usize> = (0..self.rows.count(core)).collect();
        let mut columns: Vec<usize> = (0..core.demand.len()).collect();
        let mut copies = Vec::new();
        for (at, active) in self.active.iter().enumerate() {
            rows.extend(active.row..active.row + core.r());
            columns.push(active.column_nodes);
            let mut items = Vec::new();
            for (column, item) in (active.column_items..).zip(&active.items) {
                let row = self.capped.get(&(at, item.0)).copied();
                // A row left out must have been slack, or the basis would be none.
                let is_kept = row.is_some_and(|row| !whole.is_basic_row(row))
                    || whole.is_basic_column(column)
                    || is_near(core, prices, active.offer, item.0);
                if is_kept {
                    copies.extend(row.map(|row| (at, items.len(), row)));
                    columns.push(column);
                    items.push(*item);
                }
            }
            narrow.activate_for(active.offer, items);
        }
        for (at, k, row) in copies {
            let own = &narrow.active[at];
            let added = own.add_copies_row(&mut narrow.program, k);
            narrow.capped.insert((at, own.items[k].0), added);
            rows.push(row);
        }
        narrow.program.set_basis(&whole.of(&columns, &rows));
        narrow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{core, offer};
    use crate::lp::Simplex;
    use crate::pricing::price_all;

    /// Groups from memory-heavy to cpu-heavy on three offers, none of which is good for all; of the first, a mix holds nearly two a node.
    fn example() -> Core {
        let mut weights: Vec<[i64; 2]> = (1..=12).map(|k| [k * 10, 800 >> (k / 2)]).collect();
        weights.insert(0, [8_000, 64_000]);
        let demand: Vec<i64> = (0..13).map(|k| if k == 0 { 83 } else { 3_000 + 70 * k }).collect();
        let offer = |price: i64, memory: i64| {
            let copies = |w: &[i64; 2]| (15_700 / w[0]).min(memory / w[1]);
            let items = (0..).zip(&weights).map(|(g, w)| (g, copies(w))).filter(|(_, copies)| *copies > 0);
            offer(price, [15_700, memory], items.collect())
        };
        let offers = vec![offer(612_000, 29_000), offer(700_000, 60_000), offer(904_000, 126_000)];
        core(&weights, &demand, offers, Vec::new())
    }

    #[test]
    fn the_first_basis_is_a_plan_and_changes_no_optimum() {
        let core = example();
        let (_, list) = Fluid::new(&core).solve(&|| 60.0).expect("a small program");
        let mut slack = Fluid::with_offers(&core, &[0, 1, 2]);
        let (_, same) = slack.solve(&|| 60.0).expect("a small program");
        assert!((list.bound - same.bound).abs() < 1e-6 * list.bound, "{} {}", list.bound, same.bound);
        let mut begun = Fluid::with_offers(&core, &[0, 1, 2]);
        begun.begin();
        let before = slack.iterations();
        begun.optimum().expect("a small program");
        assert!(begun.iterations() < before, "{} of {before}", begun.iterations());
    }

    #[test]
    fn a_narrow_program_stands_at_the_optimum_of_the_whole() {
        let core = example();
        let mut fluid = Fluid::new(&core);
        let (point, _) = fluid.solve(&|| 60.0).expect("a small program");
        let mut list = price_all(&core, &point.multipliers);
        // As if no pod were worth its room, so that only what is in the basis stays.
        list.offers.iter_mut().flat_map(|priced| &mut priced.y).for_each(|y| *y = 1e3);
        let mut narrow = fluid.narrowed((&point.multipliers, &list));
        assert!(!fluid.capped.is_empty(), "no row for whole copies");
        assert!(narrow.program.columns() < fluid.program.columns(), "{} columns", narrow.program.columns());
        let value =
            |fluid: &mut Fluid<'_>| fluid.program.run(Simplex::Dual).expect("a small program").objective;
        let whole = value(&mut fluid);
        assert!((value(&mut narrow) - whole).abs() < 1e-9 * whole);
        assert_eq!(narrow.iterations(), 0);
    }
}
