//! From floating-point multipliers to integers that prove a bound.
//!
//! The multipliers are scaled, rounded down and then *tried* in exact arithmetic; if rounding broke an inequality they are
//! shrunk by the violation and tried again. The bound is computed from the integers alone.

use crate::core::Core;
use crate::pricing::{Multipliers, PriceList};
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use stowage_models::plan::{
    Certificate, LimitMultiplier, MULTIPLIER_BITS, NodeVector, PROOF_BRANCHES_MAX, Row, unit_bits,
};
use stowage_models::units::UsdMicros;

/// Attempts to repair rounding; each shrinks by at least one part in 2^30, two are usual.
const ATTEMPTS_MAX: usize = 40;

/// Integer multipliers of a core.
struct Integers {
    pi: Vec<i64>,
    mu: Vec<i64>,
    /// By offer, `r` entries each.
    offers: Vec<Vec<i64>>,
    /// By spare.
    spares: Vec<Vec<i64>>,
    /// What each spare is worth at most, over 2^MULTIPLIER_BITS.
    spare_values: Vec<i64>,
}

/// A certificate for the core's demand, and the bound it proves.
///
/// `theta` of the list is divided out, so any multipliers may be given.
pub(crate) fn certify(
    problem: &Problem<'_>,
    core: &Core,
    multipliers: &Multipliers,
    list: &PriceList,
) -> (Certificate, UsdMicros) {
    let mut shrink = 1.0 / list.theta.max(1e-12);
    for _ in 0..ATTEMPTS_MAX {
        let integers = Integers::new(problem, core, multipliers, list, shrink);
        let worst = integers.worst_ratio(problem, core);
        if worst <= 1.0 {
            let bound = integers.bound(problem, core);
            return (integers.certificate(problem, core), bound);
        }
        shrink /= worst * (1.0 + 1e-9);
    }
    // Zero multipliers prove the bound zero, which is always true.
    let integers = Integers::new(problem, core, &Multipliers::zero(core), list, 0.0);
    (integers.certificate(problem, core), UsdMicros::ZERO)
}

impl Multipliers {
    /// All zero.
    pub(crate) fn zero(core: &Core) -> Multipliers {
        Multipliers { pi: vec![0.0; core.demand.len()], mu: vec![0.0; core.limits.len()] }
    }
}

impl Integers {
    fn new(
        problem: &Problem<'_>,
        core: &Core,
        multipliers: &Multipliers,
        list: &PriceList,
        shrink: f64,
    ) -> Integers {
        let one = 1e6 * f64::from(1_u32 << MULTIPLIER_BITS);
        let unit: Vec<f64> = core
            .resources
            .iter()
            .zip(&core.scale)
            .map(|(r, scale)| one * f64::from(1_u32 << unit_bits(&problem.resources[*r])) / scale)
            .collect();
        let vector = |y: &[f64]| y.iter().zip(&unit).map(|(y, unit)| (y * shrink * unit) as i64).collect();
        let mut integers = Integers {
            pi: multipliers.pi.iter().map(|pi| (pi * shrink * one) as i64).collect(),
            mu: multipliers
                .mu
                .iter()
                .zip(&problem.limits)
                .map(|(mu, limit)| (mu * one * f64::from(1_u32 << unit_bits(&limit.resource))) as i64)
                .collect(),
            offers: list.offers.iter().map(|priced| vector(&priced.y)).collect(),
            spares: list.spares.iter().map(|priced| vector(&priced.y)).collect(),
            spare_values: Vec::new(),
        };
        integers.spare_values = core
            .spares
            .iter()
            .zip(&integers.spares)
            .map(|(spare, y)| {
                let mut proof = Proof::new(&integers, problem, core, y, &spare.items);
                let fractional = integers.value(problem, core, &spare.capacity, &spare.items, y);
                let value = proof.maximum(&spare.capacity, 0).unwrap_or(fractional).min(fractional);
                i64::try_from((value + (1 << MULTIPLIER_BITS) - 1) >> MULTIPLIER_BITS).unwrap_or(i64::MAX)
            })
            .collect();
        integers
    }

    /// Upper bound on the value of a bin, times 2^(2 * MULTIPLIER_BITS).
    fn value(
        &self,
        problem: &Problem<'_>,
        core: &Core,
        capacity: &[i64],
        items: &[(u32, i64)],
        y: &[i64],
    ) -> i128 {
        let shift: Vec<u32> =
            core.resources.iter().map(|r| MULTIPLIER_BITS - unit_bits(&problem.resources[*r])).collect();
        let dot = |amounts: &[i64]| -> i128 {
            amounts
                .iter()
                .zip(y)
                .zip(&shift)
                .map(|((amount, y), shift)| (i128::from(*amount) * i128::from(*y)) << shift)
                .sum()
        };
        let mut total = dot(capacity);
        for (g, copies) in items {
            let g = *g as usize;
            let reduced = (i128::from(self.pi[g]) << MULTIPLIER_BITS) - dot(core.weight(g));
            if reduced > 0 {
                total += reduced * i128::from(*copies);
            }
        }
        total
    }

    fn limit_price(&self, problem: &Problem<'_>, row: usize, amount: i64) -> i128 {
        let shift = MULTIPLIER_BITS - unit_bits(&problem.limits[row].resource);
        (i128::from(self.mu[row]) * i128::from(amount)) << shift
    }

    /// Largest value per price over all offers, above one if the integers are not feasible.
    fn worst_ratio(&self, problem: &Problem<'_>, core: &Core) -> f64 {
        let mut worst = 0.0_f64;
        for (o, offer) in core.offers.iter().enumerate() {
            let value = self.value(problem, core, &offer.capacity, &offer.items, &self.offers[o]);
            let mut price = i128::from(offer.price) << (2 * MULTIPLIER_BITS);
            for (row, amount) in &offer.usage {
                price += self.limit_price(problem, *row, *amount);
            }
            if value > price
                && Proof::new(self, problem, core, &self.offers[o], &offer.items)
                    .maximum(&offer.capacity, price)
                    .is_none_or(|most| most > price)
            {
                worst = worst.max((value as f64 / price.max(1) as f64).max(1.0 + 1e-12));
            }
        }
        worst
    }

    /// The weak-duality bound, rounded up because prices are integers, never negative.
    fn bound(&self, problem: &Problem<'_>, core: &Core) -> UsdMicros {
        let mut total: i128 = self
            .pi
            .iter()
            .zip(&core.demand)
            .map(|(pi, pods)| (i128::from(*pi) * i128::from(*pods)) << MULTIPLIER_BITS)
            .sum();
        total -= self.spare_values.iter().map(|value| i128::from(*value) << MULTIPLIER_BITS).sum::<i128>();
        for (row, left) in problem.limits.iter().enumerate() {
            total -= self.limit_price(problem, row, left.remaining);
        }
        let one = 1_i128 << (2 * MULTIPLIER_BITS);
        UsdMicros(i64::try_from((total + one - 1).div_euclid(one).max(0)).unwrap_or(i64::MAX))
    }

    fn certificate(&self, problem: &Problem<'_>, core: &Core) -> Certificate {
        let mut vectors: BTreeMap<Vec<i64>, u32> = BTreeMap::new();
        let zero = vec![0_i64; core.r()];
        let choice: Vec<&Vec<i64>> =
            core.dominator.iter().map(|offer| offer.map_or(&zero, |o| &self.offers[o as usize])).collect();
        for vector in choice.iter().copied().chain(&self.spares) {
            vectors.insert(vector.clone(), 0);
        }
        for (index, slot) in vectors.values_mut().enumerate() {
            *slot = u32::try_from(index).expect("vectors fit 32 bits");
        }
        let mut rows: Vec<Row> = problem
            .groups
            .iter()
            .enumerate()
            .map(|(g, group)| Row {
                pod: group.pods.iter().map(|pod| problem.pod_ref(*pod)).min().expect("a group has pods"),
                pods: u64::try_from(core.demand[g]).expect("demand is not negative"),
                min_weight: group.min_weight,
                multiplier: self.pi[g],
            })
            .collect();
        rows.sort_by(|a, b| a.pod.cmp(&b.pod));
        let mut limits: Vec<LimitMultiplier> = self
            .mu
            .iter()
            .zip(&problem.limits)
            .filter(|(mu, _)| **mu > 0)
            .map(|(mu, limit)| LimitMultiplier {
                node_pool: problem.snapshot.node_pools[limit.pool].name.clone(),
                resource: limit.resource.clone(),
                multiplier: *mu,
            })
            .collect();
        limits.sort_by(|a, b| (&a.node_pool, &a.resource).cmp(&(&b.node_pool, &b.resource)));
        let node_vectors = core
            .spares
            .iter()
            .zip(self.spares.iter().zip(&self.spare_values))
            .map(|(spare, (y, value))| NodeVector {
                node: problem.snapshot.nodes[problem.existing[spare.bin].node].name.clone(),
                vector: vectors[y],
                value: *value,
            })
            .collect();
        Certificate {
            resources: core.resources.iter().map(|r| problem.resources[*r].clone()).collect(),
            rows,
            limits,
            offering_vectors: run_lengths(choice.iter().map(|vector| vectors[*vector])),
            vectors: vectors.into_keys().collect(),
            node_vectors,
        }
    }
}

/// A search over integer patterns of one bin, exact in 128-bit integers; the checker repeats it with its own code.
struct Proof<'a> {
    pi: &'a [i64],
    core: &'a Core,
    y: &'a [i64],
    shift: Vec<u32>,
    /// Groups by falling value per room, with copies at most and reduced value.
    order: Vec<(usize, i64, i128)>,
    branches: u32,
}

impl<'a> Proof<'a> {
    fn new(
        integers: &'a Integers,
        problem: &Problem<'_>,
        core: &'a Core,
        y: &'a [i64],
        items: &[(u32, i64)],
    ) -> Proof<'a> {
        let shift: Vec<u32> =
            core.resources.iter().map(|r| MULTIPLIER_BITS - unit_bits(&problem.resources[*r])).collect();
        let mut proof =
            Proof { pi: &integers.pi, core, y, shift, order: Vec::new(), branches: PROOF_BRANCHES_MAX };
        let mut order: Vec<(usize, i64, i128, i128)> = items
            .iter()
            .filter(|(g, _)| integers.pi[*g as usize] > 0)
            .map(|(g, copies)| {
                let room = proof.dot(core.weight(*g as usize)).max(1);
                let worth = i128::from(integers.pi[*g as usize]) << MULTIPLIER_BITS;
                (*g as usize, *copies, worth - proof.dot(core.weight(*g as usize)), room)
            })
            .collect();
        // pi_a / room_a > pi_b / room_b, cross-multiplied; the sort is stable, so ties stay in row order.
        order.sort_by(|a, b| (i128::from(integers.pi[b.0]) * a.3).cmp(&(i128::from(integers.pi[a.0]) * b.3)));
        proof.order = order.into_iter().map(|(g, copies, reduced, _)| (g, copies, reduced)).collect();
        proof
    }

    fn dot(&self, amounts: &[i64]) -> i128 {
        amounts
            .iter()
            .zip(self.y)
            .zip(&self.shift)
            .map(|((amount, y), shift)| (i128::from(*amount) * i128::from(*y)) << shift)
            .sum()
    }

    /// The value of the best pattern if above `threshold`, else `threshold`; `None` beyond the limit on branches.
    fn maximum(&mut self, capacity: &[i64], threshold: i128) -> Option<i128> {
        let mut best = threshold;
        self.branch(0, 0, capacity, &mut best).then_some(best)
    }

    fn branch(&mut self, depth: usize, value: i128, free: &[i64], best: &mut i128) -> bool {
        if self.branches == 0 {
            return false;
        }
        self.branches -= 1;
        *best = value.max(*best);
        let mut bound = value + self.dot(free);
        for (g, copies, reduced) in &self.order[depth..] {
            if *reduced > 0 {
                bound += reduced * i128::from(self.core.copies(*g, free).min(*copies));
            }
        }
        if depth == self.order.len() || bound <= *best {
            return true;
        }
        let (g, copies, _) = self.order[depth];
        let each = i128::from(self.pi[g]) << MULTIPLIER_BITS;
        for count in (0..=self.core.copies(g, free).min(copies)).rev() {
            let rest: Vec<i64> =
                free.iter().zip(self.core.weight(g)).map(|(free, weight)| free - weight * count).collect();
            if !self.branch(depth + 1, value + each * i128::from(count), &rest, best) {
                return false;
            }
        }
        true
    }
}

/// `3*12,4,7*2`: values with their run lengths.
fn run_lengths(values: impl Iterator<Item = u32>) -> String {
    let mut runs: Vec<(u32, usize)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((last, count)) if *last == value => *count += 1,
            _ => runs.push((value, 1)),
        }
    }
    let mut text = String::new();
    for (value, count) in runs {
        let comma = if text.is_empty() { "" } else { "," };
        let _ =
            if count == 1 { write!(text, "{comma}{value}") } else { write!(text, "{comma}{value}*{count}") };
    }
    text
}
