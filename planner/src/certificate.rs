//! From floating-point multipliers to integers that prove a bound.
//!
//! The multipliers are scaled, rounded down and then *tried* in exact arithmetic; if rounding broke an inequality they are
//! shrunk by the violation and tried again. The bound is computed from the integers alone.

use crate::blocks::Block;
use crate::branching::Tree;
use crate::cases::{Case, Step};
use crate::core::{Core, Fined, Offer, Spare};
use crate::part;
use crate::pricing::{Multipliers, PriceList, Priced};
use crate::problem::{Group, Problem};
use crate::tables::{Room, Tables};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::slice::Iter;
use stowage_models::objects::PodRef;
use stowage_models::plan::{
    CaseFork, Certificate, LimitMultiplier, MULTIPLIER_BITS, NodeVector, PROOF_BRANCHES_MAX, Row,
    TABLE_BRANCHES_MAX, unit_bits,
};
use stowage_models::units::UsdMicros;

/// Attempts to repair rounding; each shrinks by at least one part in 2^30, two are usual.
const ATTEMPTS_MAX: usize = 40;

/// Multipliers of many pods are lowered by this share beforehand. Offers with nodes are worth their price exactly, and rounding would leave
/// some a ten-millionth above it, which a search of their patterns tries in vain to disprove (groups-2k: 1.5 s).
const ROUNDING: f64 = 1e-6;

/// Branches for the values of all existing nodes together: the more there are, the less each of them matters.
const SPARE_BRANCHES: u32 = 300_000;
/// Branches of one of them at least.
const SPARE_BRANCHES_MIN: u32 = 200;

/// Branches that a proof by vectors gets before tables are tried.
const QUICK_BRANCHES: u32 = 2_000;

/// Integer multipliers of a core.
pub(crate) struct Integers {
    /// Value of one pod, by group.
    pub(crate) pi: Vec<i64>,
    /// By limit.
    pub(crate) mu: Vec<i64>,
    /// By offer, `r` entries each.
    offers: Vec<Vec<i64>>,
    /// Proofs by cases, by offer; empty where the vector is the proof.
    cases: Vec<Vec<Step<Vec<i64>>>>,
    /// By spare.
    spares: Vec<Vec<i64>>,
    /// What each spare is worth at most, over 2^MULTIPLIER_BITS; empty until [`Integers::value_spares`].
    spare_values: Vec<i64>,
}

/// What is proved about a block: multipliers with prices, or a tree.
pub(crate) enum BlockProof<'a> {
    /// Multipliers and all bins priced at them; `theta` of the list is divided out, so any may be given.
    Flat(Multipliers, PriceList),
    /// A branching tree.
    Tree(Box<Tree<'a>>),
}

impl BlockProof<'_> {
    /// The bound, in dollars per hour.
    pub(crate) fn bound(&self) -> f64 {
        match self {
            BlockProof::Flat(_, list) => list.bound,
            BlockProof::Tree(tree) => tree.worst().0.max(0.0),
        }
    }
}

/// A certificate for the core's demand, and the bound it proves. Blocks are those of the core, with their proofs.
pub(crate) fn certify(
    problem: &Problem<'_>,
    core: &Core,
    blocks: &[(&Block, &BlockProof<'_>)],
) -> (Certificate, UsdMicros) {
    let (multipliers, list) = flat(core, blocks);
    let (mut certificate, mut bound) = certify_flat(problem, core, &multipliers, &list);
    let row_of = row_of(problem);
    for (block, proof) in blocks {
        if let BlockProof::Tree(tree) = proof {
            let (part, proved) = part::certify(problem, block, tree, &row_of);
            certificate.parts.push(part);
            bound.0 = bound.0.saturating_add(proved);
        }
    }
    certificate.parts.sort_by(|a, b| a.rows.cmp(&b.rows));
    (certificate, bound)
}

/// Row of each group that has one.
fn row_of(problem: &Problem<'_>) -> Vec<u32> {
    let mut row_of = vec![0_u32; problem.groups.len()];
    let named = row_names(problem).into_iter().zip(0..).filter(|(_, g)| has_row(problem, *g));
    let mut order: Vec<((PodRef, Option<String>), usize)> = named.collect();
    order.sort();
    for (row, (_, g)) in order.into_iter().enumerate() {
        row_of[g] = u32::try_from(row).expect("rows fit 32 bits");
    }
    row_of
}

/// Multipliers of the blocks without a tree side by side. Those of the others are zero, which proves nothing about them.
fn flat(core: &Core, blocks: &[(&Block, &BlockProof<'_>)]) -> (Multipliers, PriceList) {
    let mut whole = Multipliers::zero(core);
    let nothing = Priced::by(0.0, vec![0.0; core.r()]);
    let mut list = PriceList {
        offers: vec![nothing.clone(); core.offers.len()],
        spares: vec![nothing; core.spares.len()],
        theta: 1.0,
        bound: 0.0,
    };
    for (block, proof) in blocks {
        let BlockProof::Flat(multipliers, prices) = proof else { continue };
        let theta = prices.theta.max(1e-12);
        for (g, pi) in block.groups.iter().zip(&multipliers.pi) {
            whole.pi[*g as usize] = pi / theta;
        }
        for (own, mu) in whole.mu.iter_mut().zip(&multipliers.mu) {
            *own = own.max(*mu);
        }
        for (o, priced) in block.offers.iter().zip(&prices.offers) {
            let mut priced = priced.divided(theta);
            let group = |g: u32| block.groups[g as usize];
            priced.cases = priced.cases.iter().map(|step| step.map(group, Vec::clone)).collect();
            list.offers[*o as usize] = priced;
        }
        for (s, priced) in block.spares.iter().zip(&prices.spares) {
            list.spares[*s as usize] = priced.divided(theta);
        }
    }
    (whole, list)
}

/// Whether a group is in the certificate: some pod of it is placed, or left out for limits.
fn has_row(problem: &Problem<'_>, g: usize) -> bool {
    match problem.groups[g].family {
        Some(family) => {
            problem.families[family as usize].rows.iter().any(|g| problem.groups[*g as usize].demand > 0)
        }
        None => problem.groups[g].demand > 0,
    }
}

/// What names the row of each group: its first pod, and its domain if it is one of a split group's.
pub(crate) fn row_names(problem: &Problem<'_>) -> Vec<(PodRef, Option<String>)> {
    let domain = |group: &Group<'_>| {
        let (family, cell) = (group.family?, group.cell.first()?);
        debug_assert!(problem.families[family as usize].domains.iter().any(|d| Some(d) == cell.1.as_ref()));
        cell.1.clone()
    };
    problem.groups.iter().map(|group| (problem.pod_ref(group.whole[0]), domain(group))).collect()
}

pub(crate) fn certify_flat(
    problem: &Problem<'_>,
    core: &Core,
    multipliers: &Multipliers,
    list: &PriceList,
) -> (Certificate, UsdMicros) {
    let mut shrink = 1.0 / list.theta.max(1e-12);
    if core.has_many_pods() {
        shrink *= 1.0 - ROUNDING;
    }
    for _ in 0..ATTEMPTS_MAX {
        let mut integers = Integers::new(problem, core, multipliers, list, shrink);
        let worst = integers.worst_ratio(problem, core);
        if worst <= 1.0 {
            integers.value_spares(core);
            let bound = integers.bound(problem, core);
            return (integers.certificate(problem, core), bound);
        }
        shrink /= worst * (1.0 + 1e-9);
    }
    // Zero multipliers prove the bound zero, which is always true.
    let mut integers = Integers::new(problem, core, &Multipliers::zero(core), list, 0.0);
    integers.value_spares(core);
    (integers.certificate(problem, core), UsdMicros::ZERO)
}

impl Multipliers {
    /// All zero.
    pub(crate) fn zero(core: &Core) -> Multipliers {
        Multipliers {
            pi: vec![0.0; core.demand.len()],
            mu: vec![0.0; core.limits.len()],
            surcharge: Vec::new(),
        }
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
        let mut integers = Integers::plain(problem, multipliers, shrink);
        integers.offers =
            list.offers.iter().map(|priced| Integers::vector(problem, core, &priced.y, shrink)).collect();
        let vector = |y: &Vec<f64>| Integers::vector(problem, core, y, shrink);
        let steps = |priced: &Priced| priced.cases.iter().map(|step| step.map(|g| g, vector)).collect();
        integers.cases = list.offers.iter().map(steps).collect();
        integers.spares =
            list.spares.iter().map(|priced| Integers::vector(problem, core, &priced.y, shrink)).collect();
        integers
    }

    /// What each spare is worth at most.
    fn value_spares(&mut self, core: &Core) {
        let branches = SPARE_BRANCHES / u32::try_from(core.spares.len().max(1)).unwrap_or(u32::MAX);
        let value = |(spare, y): (&Spare, &Vec<i64>)| {
            let mut proof = Proof::new(self, core, y, (&spare.items, &spare.fines));
            proof.branches = branches.clamp(SPARE_BRANCHES_MIN, PROOF_BRANCHES_MAX);
            let fractional = self.value(core, &spare.capacity, (&spare.items, &spare.fines), y);
            let value = proof.maximum(&spare.capacity, 0).unwrap_or(fractional).min(fractional);
            i64::try_from((value + (1 << MULTIPLIER_BITS) - 1) >> MULTIPLIER_BITS).unwrap_or(i64::MAX)
        };
        let values = || core.spares.par_iter().zip(&self.spares).map(value).collect();
        self.spare_values = core.pool.install(values);
    }

    /// Multipliers alone, times `shrink` and rounded down.
    pub(crate) fn plain(problem: &Problem<'_>, multipliers: &Multipliers, shrink: f64) -> Integers {
        let one = 1e6 * f64::from(1_u32 << MULTIPLIER_BITS) * shrink;
        let mu = multipliers.mu.iter().zip(&problem.limits);
        Integers {
            pi: multipliers.pi.iter().map(|pi| (pi * one) as i64).collect(),
            mu: mu
                .map(|(mu, limit)| (mu * one * f64::from(1_u32 << unit_bits(&limit.resource))) as i64)
                .collect(),
            offers: Vec::new(),
            cases: Vec::new(),
            spares: Vec::new(),
            spare_values: Vec::new(),
        }
    }

    /// A vector in integers, times `shrink` and rounded up: the room of a bin then counts for a little more, but the many pods that are
    /// worth their room exactly do not all count for a little more than it.
    pub(crate) fn vector(problem: &Problem<'_>, core: &Core, y: &[f64], shrink: f64) -> Vec<i64> {
        let one = 1e6 * f64::from(1_u32 << MULTIPLIER_BITS) * shrink;
        let units = core.resources.iter().zip(&core.scale);
        y.iter()
            .zip(units)
            .map(|(y, (r, scale))| {
                (y * one * f64::from(1_u32 << unit_bits(&problem.resources[*r])) / scale).ceil() as i64
            })
            .collect()
    }

    /// Upper bound on the value of a bin, times 2^(2 * MULTIPLIER_BITS).
    fn value(
        &self,
        core: &Core,
        capacity: &[i64],
        (items, fines): (&[(u32, i64)], &Fined),
        y: &[i64],
    ) -> i128 {
        let mut total = dot(core, y, capacity);
        for (g, copies) in items {
            let reduced = self.reduced(core, *g as usize, y) - scaled_fine(fines, *g);
            if reduced > 0 {
                total += reduced * i128::from(*copies);
            }
        }
        total
    }

    /// Upper bound on the value of an offer by cases, times 2^(2 * MULTIPLIER_BITS).
    fn value_by_cases(&self, core: &Core, offer: &Offer, steps: &[Step<Vec<i64>>]) -> i128 {
        let mut most = 0;
        let mut next = vec![Case::default()];
        for step in steps {
            let case = next.pop().unwrap_or_default();
            match step {
                Step::Fork { group, most } => {
                    next.extend([case.more(*group, *most), case.fewer(*group, *most)]);
                }
                Step::Leaf(y) => {
                    let Some(rest) = case.rest(core, offer) else { continue };
                    let worth = |g: u32| {
                        (i128::from(self.pi[g as usize]) << MULTIPLIER_BITS) - scaled_fine(&offer.fines, g)
                    };
                    let held: i128 = case.least.iter().map(|(g, n)| worth(*g) * i128::from(*n)).sum();
                    let value = self.value(core, &rest.room, (&rest.items, &offer.fines), y);
                    most = most.max(held + value);
                }
            }
        }
        most
    }

    /// What a pod of group `g` is worth above what it takes, times 2^(2 * MULTIPLIER_BITS).
    pub(crate) fn reduced(&self, core: &Core, g: usize, y: &[i64]) -> i128 {
        (i128::from(self.pi[g]) << MULTIPLIER_BITS) - dot(core, y, core.weight(g))
    }

    /// Price of an amount of a limited resource, times 2^(2 * MULTIPLIER_BITS).
    pub(crate) fn limit_price(&self, problem: &Problem<'_>, row: usize, amount: i64) -> i128 {
        let shift = MULTIPLIER_BITS - unit_bits(&problem.limits[row].resource);
        (i128::from(self.mu[row]) * i128::from(amount)) << shift
    }

    /// Largest value per price over all offers, above one if the integers are not feasible.
    fn worst_ratio(&self, problem: &Problem<'_>, core: &Core) -> f64 {
        let ratios = || (0..core.offers.len()).into_par_iter().map(|o| self.ratio(problem, core, o));
        core.pool.install(|| ratios().reduce(|| 0.0, f64::max))
    }

    /// Value per price of an offer if above one and nothing proves that no pattern is worth that much, else zero.
    fn ratio(&self, problem: &Problem<'_>, core: &Core, o: usize) -> f64 {
        let (offer, y) = (&core.offers[o], &self.offers[o]);
        let (capacity, takes) = (&offer.capacity, (&offer.items[..], &offer.fines));
        let mut price = i128::from(offer.price) << (2 * MULTIPLIER_BITS);
        for (row, amount) in &offer.usage {
            price += self.limit_price(problem, *row, *amount);
        }
        let ratio = |value: i128| (value as f64 / price.max(1) as f64).max(1.0 + 1e-12);
        if !self.cases[o].is_empty() {
            let value = self.value_by_cases(core, offer, &self.cases[o]);
            return if value <= price { 0.0 } else { ratio(value) };
        }
        let mut value = self.value(core, capacity, takes, y);
        if value <= price {
            return 0.0;
        }
        let searched = |branches: u32| {
            let mut proof = Proof::new(self, core, y, takes);
            proof.branches = branches;
            proof.maximum(capacity, price).is_some_and(|most| most <= price)
        };
        if searched(QUICK_BRANCHES) {
            return 0.0;
        }
        let room = Room { capacity, items: &offer.items, fines: &offer.fines };
        if let Some(tables) = Tables::new(core, room, &self.pi, y) {
            let threshold = i64::try_from(price >> MULTIPLIER_BITS).unwrap_or(i64::MAX);
            if tables.holds(threshold, TABLE_BRANCHES_MAX / 4) {
                return 0.0;
            }
            value = value.min(i128::from(tables.root()) << MULTIPLIER_BITS);
        }
        if searched(PROOF_BRANCHES_MAX) {
            return 0.0;
        }
        ratio(value)
    }

    /// The weak-duality bound, rounded up because prices are integers, never negative.
    fn bound(&self, problem: &Problem<'_>, core: &Core) -> UsdMicros {
        let pi: Vec<i128> = self.pi.iter().map(|pi| i128::from(*pi)).collect();
        let mut total: i128 = core.covered(&pi) << MULTIPLIER_BITS;
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
        let single = |o: usize| self.cases[o].is_empty().then_some(&self.offers[o]);
        let singles = core.dominator.iter().filter_map(|o| o.map_or(Some(&zero), |o| single(o as usize)));
        let leaf = |step: &Step<Vec<i64>>| if let Step::Leaf(y) = step { Some(y.clone()) } else { None };
        let leaves = self.cases.iter().flatten().filter_map(leaf);
        for vector in singles.chain(&self.spares).cloned().chain(leaves) {
            vectors.insert(vector, 0);
        }
        for (index, slot) in vectors.values_mut().enumerate() {
            *slot = u32::try_from(index).expect("vectors fit 32 bits");
        }
        let mut cases = Cases { vectors: &vectors, row_of: row_of(problem), forks: Vec::new() };
        let choice: Vec<u32> = (0..core.offers.len())
            .map(|o| single(o).map_or_else(|| cases.add(&mut self.cases[o].iter()), |y| vectors[y]))
            .collect();
        let choice = core.dominator.iter().map(|o| o.map_or_else(|| vectors[&zero], |o| choice[o as usize]));
        let (offering_vectors, cases) = (run_lengths(choice), cases.forks);
        let mut rows: Vec<Row> = row_names(problem)
            .into_iter()
            .zip(problem.groups.iter().enumerate())
            .filter(|(_, (g, _))| has_row(problem, *g))
            .map(|((pod, domain), (g, group))| Row {
                pod,
                domain,
                pods: u64::try_from(core.demand[g]).expect("demand is not negative"),
                min_weight: group.min_weight,
                multiplier: self.pi[g],
            })
            .collect();
        rows.sort_by(|a, b| (&a.pod, &a.domain).cmp(&(&b.pod, &b.domain)));
        let mut limits: Vec<LimitMultiplier> = self
            .mu
            .iter()
            .zip(&problem.limits)
            .filter(|(mu, _)| **mu > 0)
            .map(|(mu, limit)| LimitMultiplier {
                node_pool: problem.limit_owner(limit),
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
            cases,
            offering_vectors,
            vectors: vectors.into_keys().collect(),
            node_vectors,
            parts: Vec::new(),
        }
    }
}

/// Proofs by cases on their way into a certificate.
struct Cases<'a> {
    vectors: &'a BTreeMap<Vec<i64>, u32>,
    row_of: Vec<u32>,
    forks: Vec<CaseFork>,
}

impl Cases<'_> {
    /// Adds the forks of a proof that are not there yet, those below first; returns what refers to it.
    fn add(&mut self, steps: &mut Iter<'_, Step<Vec<i64>>>) -> u32 {
        match steps.next().expect("a proof by cases ends with leaves") {
            Step::Leaf(y) => self.vectors[y],
            Step::Fork { group, most } => {
                let (fewer, more) = (self.add(steps), self.add(steps));
                let (row, most) = (self.row_of[*group as usize], u32::try_from(*most).unwrap_or(u32::MAX));
                let fork = CaseFork { row, most, fewer, more };
                let at = self.forks.iter().position(|one| *one == fork).unwrap_or_else(|| {
                    self.forks.push(fork);
                    self.forks.len() - 1
                });
                u32::try_from(self.vectors.len() + at).expect("forks fit 32 bits")
            }
        }
    }
}

/// What unmet preferences of a pod cost, times 2^(2 * MULTIPLIER_BITS).
pub(crate) fn scaled_fine(fines: &Fined, g: u32) -> i128 {
    i128::from(fines.of(g)) << (2 * MULTIPLIER_BITS)
}

/// `sum_r y_r * amount_r`, times 2^(2 * MULTIPLIER_BITS).
pub(crate) fn dot(core: &Core, y: &[i64], amounts: &[i64]) -> i128 {
    let priced = amounts.iter().zip(y).zip(&core.shift);
    priced.map(|((amount, y), shift)| (i128::from(*amount) * i128::from(*y)) << shift).sum()
}

/// A group that may go into the bin of a proof.
struct Candidate {
    group: usize,
    /// Value of one pod here, times 2^MULTIPLIER_BITS.
    worth: i128,
    /// Copies at most.
    copies: i64,
    /// What one pod takes, times 2^(2 * MULTIPLIER_BITS).
    room: i128,
}

/// A search over integer patterns of one bin, exact in 128-bit integers; the checker repeats it with its own code.
pub(crate) struct Proof<'a> {
    core: &'a Core,
    y: &'a [i64],
    /// Groups by falling value per room.
    order: Vec<Candidate>,
    branches: u32,
}

impl<'a> Proof<'a> {
    /// Prepares a search of the patterns of one bin.
    pub(crate) fn new(
        integers: &'a Integers,
        core: &'a Core,
        y: &'a [i64],
        (items, fines): (&[(u32, i64)], &Fined),
    ) -> Proof<'a> {
        let mut proof = Proof { core, y, order: Vec::new(), branches: PROOF_BRANCHES_MAX };
        let mut order: Vec<Candidate> = items
            .iter()
            .map(|(g, copies)| {
                let worth =
                    i128::from(integers.pi[*g as usize]) - (scaled_fine(fines, *g) >> MULTIPLIER_BITS);
                (*g as usize, *copies, worth)
            })
            .filter(|(.., worth)| *worth > 0)
            .map(|(group, copies, worth)| {
                let room = proof.dot(core.weight(group));
                Candidate { group, copies, worth, room }
            })
            .collect();
        // pi_a / room_a > pi_b / room_b, cross-multiplied; the sort is stable, so ties stay in row order.
        let rank = |one: &Candidate, other: &Candidate| one.worth * other.room;
        order.sort_by(|a, b| rank(b, a).cmp(&rank(a, b)));
        proof.order = order;
        proof
    }

    fn dot(&self, amounts: &[i64]) -> i128 {
        dot(self.core, self.y, amounts)
    }

    /// The value of the best pattern if above `threshold`, else `threshold`; `None` beyond the limit on branches.
    pub(crate) fn maximum(&mut self, capacity: &[i64], threshold: i128) -> Option<i128> {
        let mut best = threshold;
        self.branch(0, 0, capacity, &mut best).then_some(best)
    }

    /// What the groups from `from` on may add to a bin with `free` room.
    fn rest(&self, from: usize, free: &[i64]) -> i128 {
        let mut room = self.dot(free);
        let mut total = 0_i128;
        for one in &self.order[from..] {
            let fit = i128::from(self.core.copies(one.group, free).min(one.copies));
            if fit == 0 {
                continue;
            }
            if one.room * fit > room {
                // Of the densest that is left, as much as the room is worth; all others have less for it.
                return (total + one.worth.saturating_mul(room) / one.room + 1) << MULTIPLIER_BITS;
            }
            room -= one.room * fit;
            total += one.worth * fit;
        }
        total << MULTIPLIER_BITS
    }

    fn branch(&mut self, depth: usize, value: i128, free: &[i64], best: &mut i128) -> bool {
        if self.branches == 0 {
            return false;
        }
        self.branches -= 1;
        *best = value.max(*best);
        for next in depth..self.order.len() {
            if value + self.rest(next, free) <= *best {
                return true;
            }
            let Candidate { group, copies, worth, .. } = self.order[next];
            let each = worth << MULTIPLIER_BITS;
            for count in (1..=self.core.copies(group, free).min(copies)).rev() {
                let weight = self.core.weight(group);
                let rest: Vec<i64> =
                    free.iter().zip(weight).map(|(free, weight)| free - weight * count).collect();
                if !self.branch(next + 1, value + each * i128::from(count), &rest, best) {
                    return false;
                }
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
