//! Tables that price a bin: exact along one or two resources, with the others priced by a vector.
//!
//! ```text
//! T_k(a, c) = max  sum_{h >= k} (pi_h - sum_{r not d, f} y_r w_hr) n_h
//!             s.t. sum_h w_hd n_h <= a,   sum_h floor(w_hf / u) n_h <= c,   0 <= n_h <= u_h integer
//! ```
//!
//! A pattern of the room `C` is worth at most `sum_{r not d, f} y_r C_r + T_0(C_d, floor(C_f / u))` for any `y >= 0`: rounding what pods take
//! of `f` down only adds patterns, and the rest is weak duality. `d` is a resource of few units (accelerators), where fractions of
//! pods are worth most; `f` is cpu or memory. With `T_k` for every `k` the same bounds each branch of a search over patterns, which is why
//! thousands of branches do where the knapsack bound needs millions. How units and resources are chosen is in the formulation
//! (section 3), because the checker chooses alike with its own code.

use crate::certificate::{dot, scaled_fine};
use crate::core::{Core, Fined};
use stowage_models::plan::{MULTIPLIER_BITS, TABLE_CELLS_MAX, TABLE_DEPTH_MAX, TABLE_SIZE_MAX};

/// Tables of a bin at most: the first resources with a price are the fine ones.
const TABLES_MAX: usize = 2;

/// Tables have as many times fewer cells than a proof may have: a bin that is dominated may have finer ones.
const SIZE_RESERVE: usize = 5;

/// What a bin offers: its room, the groups it takes with the copies that fit at most, and what their unmet preferences cost.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    /// Exact capacity by resource.
    pub(crate) capacity: &'a [i64],
    /// Groups with copies.
    pub(crate) items: &'a [(u32, i64)],
    /// Fines.
    pub(crate) fines: &'a Fined,
}

/// A group that may go into the bin.
struct Candidate {
    group: usize,
    copies: i64,
    /// Value of one pod here, micro-dollars times 2^MULTIPLIER_BITS.
    worth: i64,
}

/// One table, a layer for each candidate and one more.
struct Table {
    discrete: Option<usize>,
    fine: usize,
    /// Amount of the fine resource in one cell.
    unit: i64,
    /// Cells along the fine resource.
    width: usize,
    /// Cells of a layer.
    layer: usize,
    /// The vector without the two resources.
    y: Vec<i64>,
    /// Start of each candidate's layer in `cells`.
    layers: Vec<usize>,
    /// Values, micro-dollars times 2^MULTIPLIER_BITS.
    cells: Vec<i64>,
}

/// The tables of a bin at a vector.
pub(crate) struct Tables<'a> {
    core: &'a Core,
    capacity: &'a [i64],
    order: Vec<Candidate>,
    tables: Vec<Table>,
}

/// What pricing a bin with tables found.
pub(crate) struct Priced {
    /// No pattern is worth more, micro-dollars times 2^MULTIPLIER_BITS.
    pub(crate) upper: i64,
    /// What the best pattern found is worth, or the threshold.
    pub(crate) best: i64,
    /// The best pattern found above the threshold, as (group, count).
    pub(crate) pattern: Option<Vec<(u32, i64)>>,
    /// The vector that shows it, over scaled units.
    pub(crate) y: Vec<f64>,
    /// Cells filled.
    pub(crate) cells: u64,
}

/// Branches per search when bins are priced: a fraction of what a proof may take.
const BRANCHES: u32 = 20_000;
/// Tables of fewer cells are cheap enough to look for a better vector.
const TUNED_CELLS_MAX: usize = 200_000;
/// Steps of that search, for each of two prices.
const TUNING_STEPS: usize = 6;
/// Its first step, as a share of the price.
const TUNING_STEP: f64 = 0.1;
/// Halvings between what is known to be worth that much and what is proved, where a search was cut off.
const HALVINGS: usize = 4;

/// The best pattern of a bin worth more than a threshold, up to a slack, and what none is worth more than; `None` where tables cannot
/// price it.
pub(crate) fn price(
    core: &Core,
    room: Room<'_>,
    pi: &[i64],
    mut y: Vec<f64>,
    (threshold, slack): (i64, i64),
) -> Option<Priced> {
    let mut tables = Tables::new(core, room, pi, &scaled_vector(core, &y))?;
    let mut cells = tables.cells();
    let (mut done, mut best, mut pattern) = tables.best(threshold, slack, BRANCHES);
    if !done && tables.cells() <= TUNED_CELLS_MAX {
        cells += tune(core, &tables, &mut y) + tables.cells();
        tables = Tables::new(core, room, pi, &scaled_vector(core, &y))?;
        let again = tables.best(best, slack, BRANCHES);
        (done, best, pattern) = (again.0, again.1, again.2.or(pattern));
    }
    let root = tables.root();
    let mut upper = if done { best.saturating_add(slack).min(root) } else { root };
    let mut lower = best.saturating_add(slack);
    for _ in 0..HALVINGS {
        if done || lower >= upper {
            break;
        }
        let middle = lower + (upper - lower) / 2;
        if tables.holds(middle, BRANCHES) {
            upper = middle;
        } else {
            lower = middle;
        }
    }
    Some(Priced { upper, best, pattern, y, cells: cells as u64 })
}

/// Looks for prices of the fine resources that make the other's table less loose. Returns the cells filled.
fn tune(core: &Core, tables: &Tables<'_>, y: &mut [f64]) -> usize {
    let fine: Vec<usize> = tables.tables.iter().map(|table| table.fine).collect();
    let [one, other] = fine[..] else { return 0 };
    let mut cells = 0;
    for (exact, priced) in [(one, other), (other, one)] {
        let discrete = tables.tables[0].discrete;
        let mut loose = |y: &[f64]| -> Option<i64> {
            let y = scaled_vector(core, y);
            let table = tables.table(discrete, exact, &y)?;
            cells += table.cells.len();
            up(dot(core, &table.y, tables.capacity))?
                .checked_add(*table.cells.get(table.layers[0]..)?.get(table.layer - 1)?)
        };
        let mut tried = y.to_vec();
        let Some(mut least) = loose(&tried) else { continue };
        let mut step = TUNING_STEP;
        for _ in 0..TUNING_STEPS {
            tried[priced] = y[priced] * (1.0 + step);
            match loose(&tried) {
                Some(value) if value < least => (least, y[priced]) = (value, tried[priced]),
                _ => step *= -0.5,
            }
        }
    }
    cells
}

/// Dollars per hour in the integers of certificates, rounded down.
pub(crate) fn scaled(dollars: f64) -> i64 {
    (dollars * 1e6 * f64::from(1_u32 << MULTIPLIER_BITS)) as i64
}

/// A vector over scaled units in the integers of certificates, rounded down.
pub(crate) fn scaled_vector(core: &Core, y: &[f64]) -> Vec<i64> {
    let units = core.scale.iter().zip(&core.shift);
    let one = 1e6 * f64::from(1_u32 << MULTIPLIER_BITS);
    y.iter()
        .zip(units)
        .map(|(y, (scale, shift))| (y * one * f64::from(1_u32 << (MULTIPLIER_BITS - shift)) / scale) as i64)
        .collect()
}

/// Micro-dollars times 2^(2 * MULTIPLIER_BITS) to 2^MULTIPLIER_BITS, rounded up; `None` beyond 64 bits.
fn up(scaled: i128) -> Option<i64> {
    i64::try_from((scaled + (1 << MULTIPLIER_BITS) - 1) >> MULTIPLIER_BITS).ok()
}

/// The least unit of the chain with which a capacity has fewer than [`TABLE_CELLS_MAX`] cells: 1, 2, 4 and so on for bytes, 1, 5, 10, 50
/// and so on for the rest. Each divides the next, so that a smaller bin has a table no looser.
fn unit_of(capacity: i64, is_bytes: bool) -> i64 {
    let mut unit = 1_i64;
    for step in 0.. {
        if capacity / unit < TABLE_CELLS_MAX {
            break;
        }
        unit *= if is_bytes || step % 2 == 1 { 2 } else { 5 };
    }
    unit
}

impl<'a> Tables<'a> {
    /// Tables at `pi` and `y` in the integers of certificates; `None` if a value is beyond 64 bits, nothing has a price, or
    /// they would be too large.
    pub(crate) fn new(core: &'a Core, room: Room<'a>, pi: &[i64], y: &[i64]) -> Option<Tables<'a>> {
        let capacity = room.capacity;
        let mut order: Vec<(i64, Candidate)> = Vec::new();
        for (g, copies) in room.items {
            let group = *g as usize;
            let fine = i64::try_from(scaled_fine(room.fines, *g) >> MULTIPLIER_BITS).ok()?;
            let worth = pi[group].checked_sub(fine)?;
            if worth > 0 {
                order.push((pi[group], Candidate { group, copies: *copies, worth }));
            }
        }
        // By multiplier alone, so that the order is the same in all bins; the sort is stable.
        order.sort_by_key(|(pi, _)| std::cmp::Reverse(*pi));
        let order: Vec<Candidate> = order.into_iter().map(|(_, one)| one).collect();
        let discrete = (0..core.r()).find(|r| {
            (1..=TABLE_DEPTH_MAX).contains(&capacity[*r])
                && order.iter().any(|one| core.weight(one.group)[*r] > 0)
        });
        let fine = (0..core.r()).filter(|r| y[*r] > 0 && Some(*r) != discrete).take(TABLES_MAX);
        let mut tables = Tables { core, capacity, order, tables: Vec::new() };
        for fine in fine.collect::<Vec<usize>>() {
            let table = tables.table(discrete, fine, y)?;
            tables.tables.push(table);
        }
        (!tables.tables.is_empty()).then_some(tables)
    }

    fn table(&self, discrete: Option<usize>, fine: usize, y: &[i64]) -> Option<Table> {
        let unit = unit_of(self.capacity[fine], self.core.shift[fine] == 0);
        let width = usize::try_from(self.capacity[fine] / unit).ok()? + 1;
        let depth = usize::try_from(discrete.map_or(0, |d| self.capacity[d])).ok()? + 1;
        if (self.order.len() + 1) * depth * width > TABLE_SIZE_MAX / SIZE_RESERVE {
            return None;
        }
        let mut y = y.to_vec();
        y[fine] = 0;
        discrete.iter().for_each(|d| y[*d] = 0);
        let mut layer = vec![0_i64; depth * width];
        let mut cells = layer.clone();
        let mut layers = vec![0; self.order.len() + 1];
        let mut scratch = vec![0_i64; width];
        for (k, one) in self.order.iter().enumerate().rev() {
            let weight = self.core.weight(one.group);
            let profit = up((i128::from(one.worth) << MULTIPLIER_BITS) - dot(self.core, &y, weight))?;
            if profit <= 0 {
                layers[k] = layers[k + 1];
                continue;
            }
            profit.checked_mul(one.copies)?.checked_add(layer[depth * width - 1])?;
            let takes = (
                usize::try_from(discrete.map_or(0, |d| weight[d])).ok()?,
                usize::try_from(weight[fine] / unit).ok()?,
            );
            add(&mut layer, (depth, width), takes, (profit, one.copies), &mut scratch);
            layers[k] = cells.len();
            cells.extend_from_slice(&layer);
        }
        Some(Table { discrete, fine, unit, width, layer: depth * width, y, layers, cells })
    }

    /// What the candidates from `k` on may add to a bin with `free` room.
    fn rest(&self, k: usize, free: &[i64], enough: i64) -> i64 {
        let mut least = i64::MAX;
        for table in &self.tables {
            let row = table.discrete.map_or(0, |d| free[d] as usize);
            let cell = table.layers[k] + row * table.width + (free[table.fine] / table.unit) as usize;
            let priced = up(dot(self.core, &table.y, free)).unwrap_or(i64::MAX);
            least = least.min(priced.saturating_add(table.cells[cell]));
            if least <= enough {
                break;
            }
        }
        least
    }

    /// What no pattern is worth more than, without a search.
    pub(crate) fn root(&self) -> i64 {
        self.rest(0, self.capacity, i64::MIN)
    }

    /// Whether no pattern is worth more than `threshold`, shown within so many branches.
    pub(crate) fn holds(&self, threshold: i64, branches: u32) -> bool {
        let mut search = Search::new(self, threshold, 0, branches);
        search.branch(0, 0, self.capacity) && search.found.is_none()
    }

    /// Searches for the best pattern worth more than `threshold`, up to a `slack`: whether the search ended within so many branches, the
    /// worth of the best (or the threshold), and it.
    fn best(&self, threshold: i64, slack: i64, branches: u32) -> (bool, i64, Option<Vec<(u32, i64)>>) {
        let mut search = Search::new(self, threshold, slack, branches);
        let done = search.branch(0, 0, self.capacity);
        let group = |k: usize| u32::try_from(self.order[k].group).unwrap_or(u32::MAX);
        let pattern = search.found.map(|counts| {
            let used = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
            let mut pattern: Vec<(u32, i64)> = used.map(|(k, count)| (group(k), count)).collect();
            pattern.sort_unstable();
            pattern
        });
        (done, search.best, pattern)
    }

    fn cells(&self) -> usize {
        self.tables.iter().map(|table| table.cells.len()).sum()
    }
}

/// Adds up to so many copies of a group to a layer: in place where the layer holds no more of them, else in lots of 1, 2, 4 and so on.
fn add(
    layer: &mut [i64],
    (depth, width): (usize, usize),
    (down, along): (usize, usize),
    (profit, copies): (i64, i64),
    scratch: &mut [i64],
) {
    let fit = |capacity: usize, takes: usize| (capacity - 1).checked_div(takes).unwrap_or(usize::MAX);
    let most = fit(depth, down).min(fit(width, along));
    let copies = usize::try_from(copies).unwrap_or(usize::MAX);
    if copies >= most && most < usize::MAX {
        for row in down..depth {
            for cell in along..width {
                let with = layer[(row - down) * width + cell - along] + profit;
                let slot = &mut layer[row * width + cell];
                *slot = with.max(*slot);
            }
        }
        return;
    }
    let mut left = copies.min(most);
    let mut lot = 1;
    while left > 0 {
        let of = lot.min(left);
        (left, lot) = (left - of, lot * 2);
        let worth = profit * of as i64;
        // From the last row back, each from a row that this lot is not in yet.
        for row in (down * of..depth).rev() {
            let source = (row - down * of) * width;
            scratch.copy_from_slice(&layer[source..source + width]);
            let target = &mut layer[row * width + along * of..(row + 1) * width];
            for (slot, before) in target.iter_mut().zip(scratch.iter()) {
                *slot = (before + worth).max(*slot);
            }
        }
    }
}

/// A search over patterns, depth first, bounded by tables.
struct Search<'t> {
    tables: &'t Tables<'t>,
    best: i64,
    slack: i64,
    branches: u32,
    counts: Vec<i64>,
    found: Option<Vec<i64>>,
}

impl<'t> Search<'t> {
    fn new(tables: &'t Tables<'_>, threshold: i64, slack: i64, branches: u32) -> Search<'t> {
        let counts = vec![0; tables.order.len()];
        Search { tables, best: threshold, slack, branches, counts, found: None }
    }

    /// False if the limit was reached.
    fn branch(&mut self, from: usize, value: i64, free: &[i64]) -> bool {
        if self.branches == 0 {
            return false;
        }
        self.branches -= 1;
        if value > self.best {
            self.best = value;
            self.found = Some(self.counts.clone());
        }
        let tables = self.tables;
        for (k, one) in tables.order.iter().enumerate().skip(from) {
            let enough = self.best.saturating_add(self.slack).saturating_sub(value);
            if tables.rest(k, free, enough) <= enough {
                return true;
            }
            let weight = tables.core.weight(one.group);
            let most = tables.core.copies(one.group, free).min(one.copies);
            for count in (1..=most).rev() {
                let rest: Vec<i64> =
                    free.iter().zip(weight).map(|(free, weight)| free - weight * count).collect();
                self.counts[k] = count;
                let done = self.branch(k + 1, value.saturating_add(one.worth.saturating_mul(count)), &rest);
                if !done {
                    self.counts[k] = 0;
                    return false;
                }
            }
            self.counts[k] = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraints::nodes::Rules;
    use std::sync::Arc;
    use stowage_models::random::Random;

    /// Four groups along accelerators, millicores and bytes.
    fn core_of(weights: Vec<i64>) -> Core {
        let groups = weights.len() / 3;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        Core {
            pool: Arc::new(pool),
            resources: vec![0, 1, 2],
            scale: vec![1.0; 3],
            shift: vec![MULTIPLIER_BITS, MULTIPLIER_BITS, 0],
            w: weights.iter().map(|w| *w as f64).collect(),
            weights,
            demand: vec![9; groups],
            wanted: vec![9; groups],
            cap: vec![i64::MAX; groups],
            families: Vec::new(),
            rules: Rules::default(),
            priority: vec![0; groups],
            offers: Vec::new(),
            spares: Vec::new(),
            limits: Vec::new(),
            dominator: Vec::new(),
        }
    }

    /// Tables are never below the best pattern, searches that end find it, and pricing says so up to its slack, whatever the
    /// vector; with cells of one unit and of many.
    #[test]
    fn tables_agree_with_enumeration() {
        let mut random = Random::new(41);
        let mut below = move |n: u64| random.below(n) as i64;
        let none = Fined::default();
        let mut tried = 0;
        for case in 0..400 {
            let large = [1, 1 + 900 * below(2), 1 << (20 * below(2))];
            let ranges = [5, 12, 9];
            let mut amounts =
                |least: i64| -> Vec<i64> { (0..3).map(|r| (least + below(ranges[r])) * large[r]).collect() };
            let capacity = amounts(3);
            let mut weights: Vec<i64> = (0..4).flat_map(|_| amounts(0)).collect();
            weights.chunks_mut(3).for_each(|w| w[1] = w[1].max(large[1] - 1).max(1));
            let core = core_of(weights);
            let items: Vec<(u32, i64)> = (0..4).map(|g| (g, 1 + below(4))).collect();
            let pi: Vec<i64> = (0..4).map(|_| below(12) << 20).collect();
            let dollars: Vec<f64> = (0..3)
                .map(|r| below(4) as f64 * 4e-6 / large[r] as f64 + if r == 1 { 1e-7 } else { 0.0 })
                .collect();
            let y = scaled_vector(&core, &dollars);
            let mut best = 0;
            for code in 0..625_i64 {
                let counts: Vec<i64> = (0..4).map(|k| code / 5_i64.pow(k) % 5).collect();
                let load =
                    |r: usize| -> i64 { counts.iter().enumerate().map(|(g, n)| core.weight(g)[r] * n).sum() };
                if counts.iter().zip(&items).all(|(n, (_, most))| n <= most)
                    && (0..3).all(|r| load(r) <= capacity[r])
                {
                    best = best.max(counts.iter().zip(&pi).map(|(n, pi)| n * pi).sum());
                }
            }
            let room = Room { capacity: &capacity, items: &items, fines: &none };
            // Where millicores are what is counted, nothing else may have a price.
            let Some(tables) = Tables::new(&core, room, &pi, &y) else { continue };
            tried += 1;
            assert!(tables.root() >= best, "case {case}: {} below {best}", tables.root());
            assert!(tables.holds(best, 10_000), "case {case}: {best} is not proved");
            assert!(best == 0 || !tables.holds(best - 1, 10_000), "case {case}: less than {best} is proved");
            let (done, found, pattern) = tables.best(0, 0, 10_000);
            assert!(done && found == best, "case {case}: {found} instead of {best}");
            let worth: i64 = pattern.iter().flatten().map(|(g, n)| pi[*g as usize] * n).sum();
            assert_eq!(worth, best, "case {case}");
            let priced = price(&core, room, &pi, dollars, (0, 1 << 18)).expect("tables");
            assert!((best..=best + (1 << 18)).contains(&priced.upper), "case {case}: {}", priced.upper);
        }
        assert!(tried > 300, "{tried}");
    }
}
