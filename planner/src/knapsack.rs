//! The bounded fractional knapsack in a few resources, which prices one bin.
//!
//! ```text
//! max  sum_j p_j a_j    s.t.  sum_j w_jr a_j <= C_r  (each r),   0 <= a_j <= u_j
//! ```
//!
//! Solved by a primal simplex with bounds whose basis is `R x R` (R = 3 to 6 here): a few microseconds for 200 items.
//! Its dual vector `y` gives the upper bound `sum_r y_r C_r + sum_j u_j max(0, p_j - y.w_j)`, which holds for *any*
//! `y >= 0`; numerical trouble can therefore loosen the bound but never falsify it.

/// Resources that pods of one problem may ask for at most, together; in practice seven.
pub(crate) const RESOURCES_MAX: usize = 64;
/// So many are usual: less to clear for each bin.
pub(crate) const RESOURCES_USUAL: usize = 12;

/// One item of a knapsack: profit, copies at most, and the index of its weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Index into the weight table.
    pub(crate) group: usize,
    /// Profit per copy.
    pub(crate) profit: f64,
    /// Copies at most.
    pub(crate) copies: f64,
}

/// Scratch space, reused between calls so that the inner loop allocates nothing.
#[derive(Default)]
pub(crate) struct Knapsack {
    /// Dual vector of the last solve, one entry per resource.
    pub(crate) y: Vec<f64>,
    /// Fractional copies of each item of the last solve.
    pub(crate) amount: Vec<f64>,
    at_upper: Vec<bool>,
    basic: Vec<bool>,
}

const EPS: f64 = 1e-11;

impl Knapsack {
    /// Solves for `items` with weights `w[group * r ..][..r]` and capacity `c`; returns the bound at the final `y`.
    pub(crate) fn solve(&mut self, items: &[Item], w: &[f64], c: &[f64]) -> f64 {
        match c.len() <= RESOURCES_USUAL {
            true => self.solve_in::<RESOURCES_USUAL>(items, w, c),
            false => self.solve_in::<RESOURCES_MAX>(items, w, c),
        }
    }

    fn solve_in<const R: usize>(&mut self, items: &[Item], w: &[f64], c: &[f64]) -> f64 {
        let r = c.len();
        self.reset(items.len(), r);
        // Column ids: item j is j, the slack of resource i is items.len() + i. The inverse is row-major.
        let mut basis = [0_usize; R];
        let mut inverse = [[0.0_f64; R]; R];
        let mut x = [0.0_f64; R];
        for k in 0..r {
            basis[k] = items.len() + k;
            inverse[k][k] = 1.0;
            x[k] = c[k];
        }
        let upper = |id: usize| items.get(id).map_or(f64::INFINITY, |item| item.copies);
        for _ in 0..60 + 20 * r {
            self.duals(items, &basis, &inverse);
            let Some((entering, rising)) = self.choose(items, w) else {
                break;
            };
            let mut direction = [0.0_f64; R];
            match items.get(entering) {
                Some(item) => {
                    let weights = &w[item.group * r..][..r];
                    for (k, slot) in direction.iter_mut().enumerate().take(r) {
                        *slot = weights.iter().zip(&inverse[k]).map(|(weight, entry)| weight * entry).sum();
                    }
                }
                None => (0..r).for_each(|k| direction[k] = inverse[k][entering - items.len()]),
            }
            let sign = if rising { 1.0 } else { -1.0 };
            let mut step = upper(entering);
            let mut leaving: Option<(usize, bool)> = None;
            for k in 0..r {
                let rate = sign * direction[k];
                let (room, to_upper) = if rate > EPS {
                    (x[k].max(0.0) / rate, false)
                } else if rate < -EPS {
                    ((upper(basis[k]) - x[k]).max(0.0) / -rate, true)
                } else {
                    continue;
                };
                if room < step {
                    step = room;
                    leaving = Some((k, to_upper));
                }
            }
            if !step.is_finite() {
                break;
            }
            (0..r).for_each(|k| x[k] -= sign * step * direction[k]);
            match leaving {
                None => self.at_upper[entering] = rising,
                Some((k, to_upper)) => {
                    self.basic[basis[k]] = false;
                    self.at_upper[basis[k]] = to_upper;
                    pivot(&mut inverse, &direction, k, r);
                    basis[k] = entering;
                    self.basic[entering] = true;
                    x[k] = if rising { step } else { upper(entering) - step };
                }
            }
        }
        for (j, item) in items.iter().enumerate() {
            self.amount[j] = if self.at_upper[j] && !self.basic[j] { item.copies } else { 0.0 };
        }
        for k in 0..r {
            if let Some(item) = items.get(basis[k]) {
                self.amount[basis[k]] = x[k].clamp(0.0, item.copies);
            }
        }
        self.duals(items, &basis, &inverse);
        // Only rounding can leave a negative entry here; the bound needs y >= 0.
        self.y.iter_mut().for_each(|y| *y = y.max(0.0));
        bound(items, w, c, &self.y)
    }

    fn reset(&mut self, items: usize, resources: usize) {
        self.amount.clear();
        self.amount.resize(items, 0.0);
        self.at_upper.clear();
        self.at_upper.resize(items + resources, false);
        self.basic.clear();
        self.basic.resize(items, false);
        self.basic.resize(items + resources, true);
        self.y.clear();
        self.y.resize(resources, 0.0);
    }

    fn duals<const R: usize>(&mut self, items: &[Item], basis: &[usize; R], inverse: &[[f64; R]; R]) {
        let r = self.y.len();
        self.y.fill(0.0);
        for k in 0..r {
            if let Some(item) = items.get(basis[k]) {
                for (y, entry) in self.y.iter_mut().zip(&inverse[k]) {
                    *y += item.profit * entry;
                }
            }
        }
    }

    /// The column whose move from its bound promises most, and whether it rises.
    fn choose(&self, items: &[Item], w: &[f64]) -> Option<(usize, bool)> {
        let r = self.y.len();
        let mut best = None;
        let mut best_gain = 1e-10;
        for (i, y) in self.y.iter().enumerate() {
            if !self.basic[items.len() + i] && *y < -1e-9 {
                // A slack has no natural size; any improving one goes first, which also ends cycles early.
                return Some((items.len() + i, true));
            }
        }
        for (j, item) in items.iter().enumerate() {
            if self.basic[j] || item.copies <= 0.0 {
                continue;
            }
            let weights = &w[item.group * r..][..r];
            let mut reduced = item.profit;
            for (y, weight) in self.y.iter().zip(weights) {
                reduced -= y * weight;
            }
            let gain = if self.at_upper[j] { -reduced } else { reduced } * item.copies;
            if gain > best_gain {
                best_gain = gain;
                best = Some((j, !self.at_upper[j]));
            }
        }
        best
    }
}

fn pivot<const R: usize>(inverse: &mut [[f64; R]; R], direction: &[f64; R], k: usize, r: usize) {
    let scale = 1.0 / direction[k];
    let pivot_row = inverse[k];
    for i in 0..r {
        inverse[k][i] = pivot_row[i] * scale;
    }
    let pivot_row = inverse[k];
    for (row, line) in inverse.iter_mut().enumerate().take(r) {
        if row != k {
            for i in 0..r {
                line[i] -= direction[row] * pivot_row[i];
            }
        }
    }
}

/// `sum_r y_r C_r + sum_j u_j max(0, p_j - y.w_j)`: an upper bound on the knapsack for any `y >= 0`.
pub(crate) fn bound(items: &[Item], w: &[f64], c: &[f64], y: &[f64]) -> f64 {
    let r = c.len();
    let mut total: f64 = y.iter().zip(c).map(|(y, c)| y * c).sum();
    for item in items {
        let weights = &w[item.group * r..][..r];
        let mut reduced = item.profit;
        for (y, weight) in y.iter().zip(weights) {
            reduced -= y * weight;
        }
        if reduced > 0.0 {
            total += reduced * item.copies;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More resources than are usual, all but two of which have room for all, change nothing.
    #[test]
    fn many_resources_are_as_few_where_only_few_are_scarce() {
        let items: Vec<Item> =
            (0..6).map(|group| Item { group, profit: 3.0 + group as f64, copies: 4.0 }).collect();
        let (few, many) = (2, RESOURCES_USUAL + 9);
        let weight = |group: usize, k: usize| if k < few { 1.0 + ((group + k) % 3) as f64 } else { 1.0 };
        let weights = |r: usize| -> Vec<f64> {
            (0..6).flat_map(|group| (0..r).map(move |k| weight(group, k))).collect()
        };
        let room = |r: usize| -> Vec<f64> { (0..r).map(|k| if k < few { 11.0 } else { 1_000.0 }).collect() };
        let mut knapsack = Knapsack::default();
        let short = knapsack.solve(&items, &weights(few), &room(few));
        let long = knapsack.solve(&items, &weights(many), &room(many));
        assert!(short > 0.0 && (short - long).abs() < 1e-9, "{short} {long}");
    }

    /// Tries every vertex: each subset of items at 0 or u with one fractional pair solved by brute force is heavy, so
    /// the reference here is a fine grid over y, which bounds from above; the primal value bounds from below.
    #[test]
    fn primal_and_dual_meet() {
        let mut state = 7_u64;
        let mut next = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut knapsack = Knapsack::default();
        for _ in 0..500 {
            let r = 1 + next(4) as usize;
            let n = 1 + next(30) as usize;
            let w: Vec<f64> = (0..n * r).map(|_| next(20) as f64 + 0.5).collect();
            let c: Vec<f64> = (0..r).map(|_| 20.0 + next(100) as f64).collect();
            let items: Vec<Item> = (0..n)
                .map(|group| Item { group, profit: next(50) as f64 + 1.0, copies: next(6) as f64 })
                .collect();
            let bound = knapsack.solve(&items, &w, &c);
            let value: f64 = items.iter().zip(&knapsack.amount).map(|(item, a)| item.profit * a).sum();
            for k in 0..r {
                let used: f64 =
                    items.iter().zip(&knapsack.amount).map(|(item, a)| w[item.group * r + k] * a).sum();
                assert!(used <= c[k] + 1e-6, "resource {k}: {used} of {}", c[k]);
            }
            assert!((bound - value).abs() < 1e-6 * bound.max(1.0), "bound {bound}, value {value}");
        }
    }
}
