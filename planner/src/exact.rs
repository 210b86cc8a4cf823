//! Exact pricing of small shapes: is any *integer* pattern of a bin worth more than a threshold?
//!
//! Depth-first over the items by falling value per room; a branch is cut when what is fixed plus the knapsack bound of the
//! rest (by density at the given `y`) does not pass the threshold. For nodes that hold some ten pods this takes tens to thousands of
//! branches; for nodes that hold hundreds it runs into its limit, and the fractional bound must do.

use crate::knapsack::{Item, RESOURCES_MAX};

/// What a search for a valuable pattern ended with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Best {
    /// No pattern is worth more than the threshold.
    None,
    /// The most valuable pattern, above the threshold, as counts parallel to the items, and its value.
    Pattern(Vec<i64>, f64),
    /// The limit on branches was reached before the search could end; the best pattern so far, if any.
    Limit(Option<(Vec<i64>, f64)>),
}

/// What searches with the same items have in common, but for how many copies of each there may be.
pub(crate) struct Shape {
    /// Items by falling value per room. What follows is in this order, because it is walked through again and again.
    order: Vec<usize>,
    /// Requests, by resource.
    weights: Vec<f64>,
    /// What one copy takes of the room, priced.
    takes: Vec<f64>,
    /// Value per room.
    density: Vec<f64>,
}

impl Shape {
    /// Of items and what room is worth, by resource; those without a copy are left out.
    pub(crate) fn new(items: &[Item], w: &[f64], y: &[f64]) -> Shape {
        let r = y.len();
        let room = |item: &Item| -> f64 { w[item.group * r..][..r].iter().zip(y).map(|(w, y)| w * y).sum() };
        let density = |j: usize, room: f64| items[j].profit / room.max(1e-12);
        let rooms = (0..items.len()).filter(|j| items[*j].copies >= 1.0).map(|j| (j, room(&items[j])));
        let mut by_density: Vec<(f64, usize, f64)> =
            rooms.map(|(j, room)| (density(j, room), j, room)).collect();
        by_density.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let weights = by_density.iter().flat_map(|(_, j, _)| &w[items[*j].group * r..][..r]);
        Shape {
            weights: weights.copied().collect(),
            order: by_density.iter().map(|(_, j, _)| *j).collect(),
            takes: by_density.iter().map(|(.., room)| *room).collect(),
            density: by_density.iter().map(|(density, ..)| *density).collect(),
        }
    }
}

struct Search<'a> {
    items: &'a [Item],
    shape: &'a Shape,
    y: &'a [f64],
    counts: Vec<i64>,
    best: Option<(Vec<i64>, f64)>,
    threshold: f64,
    slack: f64,
    pruning: Pruning,
    branches: usize,
}

/// Tolerance of the room test: weights are scaled integers, sums of some hundreds of them are exact to about 1e-12.
const ROOM_EPS: f64 = 1e-9;

/// Searches for the best pattern worth more than `threshold`; `branches_max` limits the effort.
pub(crate) fn best_pattern(
    items: &[Item],
    w: &[f64],
    capacity: &[f64],
    y: &[f64],
    threshold: f64,
    branches_max: usize,
) -> Best {
    best_of_shape(&Shape::new(items, w, y), items, capacity, y, threshold, branches_max)
}

/// The same where the shape is known: `items` may have fewer copies than those it was made of.
pub(crate) fn best_of_shape(
    shape: &Shape,
    items: &[Item],
    capacity: &[f64],
    y: &[f64],
    threshold: f64,
    branches_max: usize,
) -> Best {
    search(shape, items, capacity, y, (threshold, 0.0, Pruning::Quick), branches_max)
}

/// The same up to a `slack`: no pattern is worth more than what is found (or `threshold`) plus that. Few branches, each of
/// which takes longer.
pub(crate) fn best_pattern_within(
    items: &[Item],
    w: &[f64],
    capacity: &[f64],
    y: &[f64],
    (threshold, slack): (f64, f64),
    branches_max: usize,
) -> Best {
    let shape = Shape::new(items, w, y);
    search(&shape, items, capacity, y, (threshold, slack, Pruning::Tight), branches_max)
}

/// What cuts a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pruning {
    /// The knapsack bound: right where it is asked often for little, as when an existing node is filled again.
    Quick,
    /// The densest first until the room is used up: right where a proof is wanted.
    Tight,
}

fn search(
    shape: &Shape,
    items: &[Item],
    capacity: &[f64],
    y: &[f64],
    (threshold, slack, pruning): (f64, f64, Pruning),
    branches_max: usize,
) -> Best {
    let mut search = Search {
        items,
        shape,
        y,
        counts: vec![0; items.len()],
        best: None,
        threshold,
        slack,
        pruning,
        branches: branches_max,
    };
    let mut free = capacity.to_vec();
    let done = search.branch(0, 0.0, &mut free);
    match (done, search.best) {
        (true, None) => Best::None,
        (true, Some((counts, value))) => Best::Pattern(counts, value),
        (false, best) => Best::Limit(best),
    }
}

impl Search<'_> {
    /// Copies of the item at a position that fit `free`.
    fn fit(&self, at: usize, free: &[f64]) -> f64 {
        let r = free.len();
        let weights = &self.shape.weights[at * r..][..r];
        // Most of what is asked about does not fit: that is known without a division.
        if weights.iter().zip(free).any(|(w, f)| *w > f + ROOM_EPS) {
            return 0.0;
        }
        let mut fit = self.items[self.shape.order[at]].copies;
        for (w, f) in weights.iter().zip(free) {
            if *w > 0.0 {
                fit = fit.min(((f + ROOM_EPS) / w).floor());
            }
        }
        fit.max(0.0)
    }

    fn profit(&self, at: usize) -> f64 {
        self.items[self.shape.order[at]].profit
    }

    /// What `free` room is worth.
    fn room(&self, free: &[f64]) -> f64 {
        self.y.iter().zip(free).map(|(y, f)| y * f.max(0.0)).sum()
    }

    /// What the items from `depth` on may add: the knapsack bound at `y`; or, where none of them is worth more than the room it
    /// takes, all the room at the value the densest has for it, which falls with depth.
    fn quick_bound(&self, depth: usize, room: f64, free: &[f64]) -> f64 {
        let densest = self.shape.density[depth];
        if densest <= 1.0 {
            return densest * room;
        }
        let mut total = room;
        for at in depth..self.shape.order.len() {
            let reduced = self.profit(at) - self.shape.takes[at];
            if reduced <= 0.0 {
                break;
            }
            total += reduced * self.fit(at, free);
        }
        total
    }

    /// What the items from `depth` on may add to a bin with `free` room, worth `room`: with all room priced at `y`, the densest first,
    /// as many as fit each alone, until the room is used up, the last of them in part.
    fn bound(&self, depth: usize, mut room: f64, free: &[f64]) -> f64 {
        if self.pruning == Pruning::Quick {
            return self.quick_bound(depth, room, free);
        }
        let mut total = 0.0;
        for at in depth..self.shape.order.len() {
            let fit = self.fit(at, free);
            if fit <= 0.0 {
                continue;
            }
            let takes = self.shape.takes[at] * fit;
            if takes > room {
                return total + self.shape.density[at] * room;
            }
            room -= takes;
            total += self.profit(at) * fit;
        }
        total
    }

    /// False if the limit was reached.
    fn branch(&mut self, depth: usize, value: f64, free: &mut [f64]) -> bool {
        if self.branches == 0 {
            return false;
        }
        self.branches -= 1;
        if value > self.threshold {
            self.threshold = value;
            self.best = Some((self.counts.clone(), value));
        }
        let r = free.len();
        let worth = self.room(free);
        for next in depth..self.shape.order.len() {
            if value + self.bound(next, worth, free) <= self.threshold + self.slack {
                return true;
            }
            let most = self.fit(next, free) as i64;
            if most == 0 {
                continue;
            }
            let j = self.shape.order[next];
            let weights = &self.shape.weights[next * r..][..r];
            let mut room = [0.0_f64; RESOURCES_MAX];
            let before = &mut room[..r];
            before.copy_from_slice(free);
            for count in (1..=most).rev() {
                for ((free, before), w) in free.iter_mut().zip(before.iter()).zip(weights) {
                    *free = before - w * count as f64;
                }
                self.counts[j] = count;
                let done = self.branch(next + 1, value + self.items[j].profit * count as f64, free);
                if !done {
                    self.counts[j] = 0;
                    free.copy_from_slice(before);
                    return false;
                }
            }
            self.counts[j] = 0;
            free.copy_from_slice(before);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knapsack::Knapsack;

    /// Brute force over all counts agrees.
    #[test]
    fn finds_the_optimum_of_small_knapsacks() {
        let mut rng = stowage_models::random::Random::new(3);
        let mut knapsack = Knapsack::default();
        for _ in 0..300 {
            let r = 1 + rng.index(3);
            let n = 1 + rng.index(4);
            let w: Vec<f64> = (0..n * r).map(|_| 1.0 + rng.index(9) as f64).collect();
            let c: Vec<f64> = (0..r).map(|_| 5.0 + rng.index(15) as f64).collect();
            let items: Vec<Item> = (0..n)
                .map(|group| Item { group, profit: 1.0 + rng.index(20) as f64, copies: rng.index(4) as f64 })
                .collect();
            knapsack.solve(&items, &w, &c);
            let mut want = 0.0_f64;
            for code in 0..4_usize.pow(u32::try_from(n).expect("small")) {
                let counts: Vec<f64> = (0..n).map(|j| (code / 4_usize.pow(j as u32) % 4) as f64).collect();
                let fits = (0..r).all(|k| (0..n).map(|j| w[j * r + k] * counts[j]).sum::<f64>() <= c[k])
                    && (0..n).all(|j| counts[j] <= items[j].copies);
                if fits {
                    want = want.max((0..n).map(|j| items[j].profit * counts[j]).sum());
                }
            }
            let got = match best_pattern(&items, &w, &c, &knapsack.y, 0.0, 100_000) {
                Best::None => 0.0,
                Best::Pattern(_, value) => value,
                Best::Limit(_) => panic!("limit on a tiny knapsack"),
            };
            assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
        }
    }
}
