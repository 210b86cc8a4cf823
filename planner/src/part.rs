//! From a branching tree to integers that prove the bound of a part (`docs/formulation.md` section 3.2).

use crate::blocks::Block;
use crate::branching::{Leaf, Node, Tree};
use crate::certificate::{Integers, Proof, dot, scaled_fine};
use crate::core::{Core, Fined};
use crate::problem::Problem;
use crate::rows::Decision;
use rayon::prelude::*;
use stowage_models::plan::{self, Fork, LimitMultiplier, MULTIPLIER_BITS, Part, Step};
use stowage_models::units::UsdMicros;

/// Attempts to repair rounding; each shrinks by what was violated, two are usual.
const ATTEMPTS_MAX: usize = 20;

/// A fork above a leaf, and on which side the leaf is.
#[derive(Clone, Copy)]
struct Above {
    from: i64,
    to: i64,
    most: i64,
    more: bool,
}

/// The part of the certificate for a tree, and the bound it proves in micro-dollars per hour. `row_of` has the row of each
/// group of the problem.
pub(crate) fn certify(problem: &Problem<'_>, block: &Block, tree: &Tree<'_>, row_of: &[u32]) -> (Part, i64) {
    let nodes = tree.nodes();
    // Preorder, without recursion: the first side goes on the stack last.
    let mut steps: Vec<(usize, Vec<Above>)> = Vec::new();
    let mut open: Vec<(usize, Vec<Above>)> = vec![(0, Vec::new())];
    while let Some((at, path)) = open.pop() {
        if let Node::Fork { from, to, most, sides } = &nodes[at] {
            for (side, more) in [(sides[1], true), (sides[0], false)] {
                let above = Above { from: *from, to: *to, most: *most, more };
                open.push((side, path.iter().copied().chain([above]).collect()));
            }
        }
        steps.push((at, path));
    }
    let step = |(at, path): &(usize, Vec<Above>)| match &nodes[*at] {
        Node::Fork { from, to, most, .. } => {
            let to = (*to != i64::MAX).then_some(UsdMicros(*to));
            let most = u32::try_from(*most).unwrap_or(u32::MAX);
            (Step::Fork(Fork { from: UsdMicros(*from), to, most }), i128::MAX)
        }
        Node::Leaf(leaf) => {
            let (leaf, total) = Exact::new(problem, &block.core, leaf, path);
            (Step::Leaf(leaf), total)
        }
    };
    let (mut steps, totals): (Vec<Step>, Vec<i128>) =
        problem.pool.install(|| steps.par_iter().map(step).unzip());
    let least = totals.into_iter().min().unwrap_or(0);
    let one = 1_i128 << (2 * MULTIPLIER_BITS);
    let bound = i64::try_from((least + one - 1).div_euclid(one).max(0)).unwrap_or(i64::MAX);
    let mut rows: Vec<u32> = block.groups.iter().map(|g| row_of[*g as usize]).collect();
    rows.sort_unstable();
    // The multipliers of the leaves follow the order of the rows.
    let mut order: Vec<usize> = (0..block.groups.len()).collect();
    order.sort_by_key(|g| row_of[block.groups[*g] as usize]);
    for step in &mut steps {
        if let Step::Leaf(leaf) = step {
            leaf.multipliers = order.iter().map(|g| leaf.multipliers[*g]).collect();
        }
    }
    (Part { rows, steps }, bound)
}

/// A leaf in integers.
struct Exact<'e> {
    problem: &'e Problem<'e>,
    core: &'e Core,
    integers: Integers,
    /// Multiplier of each fork above.
    forks: Vec<i64>,
    vectors: Vec<Vec<i64>>,
    /// By vector: the groups whose pods are worth more than the room they take, with how much more.
    gains: Vec<Vec<(u32, i128)>>,
    path: &'e [Above],
}

impl Exact<'_> {
    /// A leaf of the certificate and what it proves, over 2^(2 * MULTIPLIER_BITS).
    #[expect(clippy::new_ret_no_self, reason = "only the leaf is wanted; Self holds what computes it")]
    fn new(problem: &Problem<'_>, core: &Core, leaf: &Leaf, path: &[Above]) -> (plan::Leaf, i128) {
        let mut shrink = 1.0 / leaf.theta;
        for _ in 0..ATTEMPTS_MAX {
            let exact = Exact::rounded(problem, core, leaf, path, shrink);
            let worst = exact.worst_ratio();
            if worst <= 1.0 {
                return (exact.leaf(), exact.total());
            }
            shrink /= worst * (1.0 + 1e-9);
        }
        // Zero multipliers prove zero, which is always true.
        let exact = Exact::rounded(problem, core, leaf, path, 0.0);
        (exact.leaf(), exact.total())
    }

    fn rounded<'e>(
        problem: &'e Problem<'e>,
        core: &'e Core,
        leaf: &Leaf,
        path: &'e [Above],
        shrink: f64,
    ) -> Exact<'e> {
        let integers = Integers::plain(problem, &leaf.multipliers, shrink);
        let mut vectors: Vec<Vec<i64>> =
            leaf.vectors.iter().map(|y| Integers::vector(problem, core, y, shrink)).collect();
        vectors.sort_unstable();
        vectors.dedup();
        let one = 1e6 * f64::from(1_u32 << MULTIPLIER_BITS) * shrink;
        let mut forks = vec![0; path.len()];
        for (decision, dual) in leaf.decisions.iter().zip(&leaf.duals) {
            if let Some(at) = binding(path, decision, *dual > 0.0) {
                // Rounded to the side that lets offers cost more.
                forks[at] =
                    if *dual > 0.0 { (dual * one).floor() as i64 } else { (-dual * one).ceil() as i64 };
            }
        }
        let gain = |y: &Vec<i64>| -> Vec<(u32, i128)> {
            let gains = (0..core.demand.len()).map(|g| (g as u32, integers.reduced(core, g, y)));
            gains.filter(|(_, gain)| *gain > 0).collect()
        };
        let gains = vectors.iter().map(gain).collect();
        Exact { problem, core, integers, forks, vectors, gains, path }
    }

    /// Price of an offer with limits and forks, scaled.
    fn price(&self, o: usize) -> i128 {
        let offer = &self.core.offers[o];
        let mut price = i128::from(offer.price) << (2 * MULTIPLIER_BITS);
        for (row, amount) in &offer.usage {
            price += self.integers.limit_price(self.problem, *row, *amount);
        }
        for (above, multiplier) in self.path.iter().zip(&self.forks) {
            if (above.from..=above.to).contains(&offer.price) {
                let scaled = i128::from(*multiplier) << MULTIPLIER_BITS;
                price += if above.more { -scaled } else { scaled };
            }
        }
        price
    }

    /// The least value over the vectors, and which shows it.
    fn value(&self, capacity: &[i64], (items, fines): (&[(u32, i64)], &Fined)) -> (i128, usize) {
        let values = self.vectors.iter().zip(&self.gains).enumerate().map(|(k, (y, gains))| {
            let mut value = dot(self.core, y, capacity);
            for (g, gain) in gains {
                if let Ok(at) = items.binary_search_by_key(g, |(g, _)| *g) {
                    value += (gain - scaled_fine(fines, *g)).max(0) * i128::from(items[at].1);
                }
            }
            (value, k)
        });
        values.min().unwrap_or((i128::MAX, 0))
    }

    /// Above one if the integers are not feasible: by how much to shrink them.
    fn worst_ratio(&self) -> f64 {
        let mut worst = 0.0_f64;
        for (o, offer) in self.core.offers.iter().enumerate() {
            let price = self.price(o);
            let (value, k) = self.value(&offer.capacity, (&offer.items, &offer.fines));
            if value <= price {
                continue;
            }
            let mut proof =
                Proof::new(&self.integers, self.core, &self.vectors[k], (&offer.items, &offer.fines));
            if price < 0 || proof.maximum(&offer.capacity, price).is_none_or(|most| most > price) {
                let own = (i128::from(offer.price) << (2 * MULTIPLIER_BITS)) as f64;
                worst = worst.max(1.0 + (value - price) as f64 / own.max(1.0)).max(1.0 + 1e-12);
            }
        }
        worst
    }

    fn total(&self) -> i128 {
        let pi: Vec<i128> = self.integers.pi.iter().map(|pi| i128::from(*pi)).collect();
        let mut total: i128 = self.core.covered(&pi) << MULTIPLIER_BITS;
        for spare in &self.core.spares {
            total -= self.value(&spare.capacity, (&spare.items, &spare.fines)).0;
        }
        for (row, limit) in self.problem.limits.iter().enumerate() {
            total -= self.integers.limit_price(self.problem, row, limit.remaining);
        }
        for (above, multiplier) in self.path.iter().zip(&self.forks) {
            let count = if above.more { above.most + 1 } else { -above.most };
            total += (i128::from(*multiplier) * i128::from(count)) << MULTIPLIER_BITS;
        }
        total
    }

    fn leaf(&self) -> plan::Leaf {
        let limits = self.integers.mu.iter().zip(&self.problem.limits).filter(|(mu, _)| **mu > 0);
        let mut limits: Vec<LimitMultiplier> = limits
            .map(|(mu, limit)| LimitMultiplier {
                node_pool: self.problem.limit_owner(limit),
                resource: limit.resource.clone(),
                multiplier: *mu,
            })
            .collect();
        limits.sort_by(|a, b| (&a.node_pool, &a.resource).cmp(&(&b.node_pool, &b.resource)));
        plan::Leaf {
            multipliers: self.integers.pi.clone(),
            forks: self.forks.clone(),
            limits,
            vectors: self.vectors.clone(),
        }
    }
}

/// The fork above that states the binding side of a decision: the tightest, should several be about the same range.
fn binding(path: &[Above], decision: &Decision, more: bool) -> Option<usize> {
    path.iter().position(|above| {
        (above.from, above.to, above.more) == (decision.from, decision.to, more)
            && if more { above.most + 1 == decision.least } else { above.most == decision.most }
    })
}
