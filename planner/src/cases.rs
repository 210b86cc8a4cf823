//! Bins priced by cases: how many of some large pods they hold, each case with a vector of its own.
//!
//! A knapsack vector prices a bin as if its nodes could lend each other room: where six of ten nodes hold a pod that needs nearly all
//! their memory, the memory of the other four counts for the pods beside it. In fact a node holds one of them or none. With one it has
//! little memory left, with none it has plenty, and what a core is worth differs. So for a group `h` and a number `k`
//!
//! ```text
//! max over patterns  <=  max( best with at most k of h,  best with at least k + 1 of h )
//! ```
//!
//! and each side is bounded by a vector of its own, for the room that is left beside what it holds at least. Sides are split again
//! (formulation, section 3).

use crate::core::{Core, Offer};
use crate::fluid::SIFT_TOLERANCE;
use crate::knapsack::{Item, Knapsack};
use crate::pricing::{Multipliers, PriceList, Priced, full_price, items, listed, price_bin};
use rayon::prelude::*;

/// Groups of which a pod takes this share of some resource of a bin are large there.
const LARGE: f64 = 0.25;
/// Leaves of a tree at most: pricing and proof are as many times the work.
const LEAVES_MAX: usize = 16;
/// What is nearer to a whole number of pods than this is not split.
pub(crate) const WHOLE: f64 = 0.02;

/// At least, or at most, so many pods of some groups in a bin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    /// At least: positive numbers, by group.
    pub(crate) least: Vec<(u32, i64)>,
    /// At most, by group; of other groups as many as fit.
    most: Vec<(u32, i64)>,
}

/// A bin beside what it holds at least.
pub(crate) struct Rest {
    /// Exact room left.
    pub(crate) room: Vec<i64>,
    /// More pods at most, by group, positive.
    pub(crate) items: Vec<(u32, i64)>,
}

impl Rest {
    /// The room in scaled units.
    pub(crate) fn scaled(&self, core: &Core) -> Vec<f64> {
        self.room.iter().zip(&core.scale).map(|(room, scale)| *room as f64 / scale).collect()
    }
}

fn set(list: &[(u32, i64)], g: u32, count: i64) -> Vec<(u32, i64)> {
    let mut list = list.to_vec();
    match list.binary_search_by_key(&g, |(g, _)| *g) {
        Ok(at) => list[at].1 = count,
        Err(at) => list.insert(at, (g, count)),
    }
    list
}

fn get(list: &[(u32, i64)], g: u32) -> Option<i64> {
    list.binary_search_by_key(&g, |(g, _)| *g).ok().map(|at| list[at].1)
}

impl Case {
    /// With at most so many pods of a group.
    pub(crate) fn fewer(&self, g: u32, most: i64) -> Case {
        Case { least: self.least.clone(), most: set(&self.most, g, most) }
    }

    /// With more than so many.
    pub(crate) fn more(&self, g: u32, most: i64) -> Case {
        Case { least: set(&self.least, g, most + 1), most: self.most.clone() }
    }

    /// Pods of a group at least.
    pub(crate) fn least(&self, g: u32) -> i64 {
        get(&self.least, g).unwrap_or(0)
    }

    /// What an offer has beside what it holds at least; nothing if that does not fit.
    pub(crate) fn rest(&self, core: &Core, offer: &Offer) -> Option<Rest> {
        let mut room = offer.capacity.clone();
        for (g, count) in &self.least {
            room.iter_mut().zip(core.weight(*g as usize)).for_each(|(room, weight)| *room -= weight * count);
        }
        if room.iter().any(|room| *room < 0) {
            return None;
        }
        let more = |(g, copies): &(u32, i64)| {
            let most = get(&self.most, *g).unwrap_or(i64::MAX).min(*copies);
            let more = (most - self.least(*g)).min(core.copies(*g as usize, &room));
            (*g, more)
        };
        let items = offer.items.iter().map(more).filter(|(_, more)| *more > 0).collect();
        Some(Rest { room, items })
    }
}

/// A node of a tree.
#[derive(Clone, Debug)]
struct Node {
    case: Case,
    fork: Option<Fork>,
}

#[derive(Clone, Copy, Debug)]
struct Fork {
    group: u32,
    most: i64,
    fewer: usize,
    more: usize,
}

/// A step of a proof by cases, each fork before its side with fewer pods and that before the side with more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step<Y> {
    /// At most so many pods of a group, or more.
    Fork { group: u32, most: i64 },
    /// Priced by this vector.
    Leaf(Y),
}

impl<Y> Step<Y> {
    /// With another kind of vector, and groups by other numbers.
    pub(crate) fn map<Z>(&self, group_of: impl Fn(u32) -> u32, vector: impl Fn(&Y) -> Z) -> Step<Z> {
        match self {
            Step::Fork { group, most } => Step::Fork { group: group_of(*group), most: *most },
            Step::Leaf(y) => Step::Leaf(vector(y)),
        }
    }
}

/// The cases of an offer.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: vec![Node { case: Case::default(), fork: None }] }
    }
}

/// A leaf, priced.
struct Leaf {
    /// Which node it is.
    at: usize,
    /// No pattern is worth more; less than nothing if there is none.
    value: f64,
    /// The vector that shows it.
    y: Vec<f64>,
    /// Group to be split here, and how many of its pods at most on one side.
    split: Option<(u32, i64)>,
}

/// An offer priced by its cases.
pub(crate) struct ByCases {
    /// With a proof by cases if there is more than one.
    pub(crate) priced: Priced,
    /// The case that is worth more than the price.
    pub(crate) leaf: Option<usize>,
}

impl Tree {
    /// Whether another fork is allowed.
    pub(crate) fn may_grow(&self) -> bool {
        self.nodes.len() < 2 * LEAVES_MAX - 1
    }

    /// Whether a node has a fork below it.
    pub(crate) fn is_forked(&self, at: usize) -> bool {
        self.nodes[at].fork.is_some()
    }

    /// The case of a node.
    pub(crate) fn case(&self, at: usize) -> &Case {
        &self.nodes[at].case
    }

    /// Splits a leaf: at most so many pods of a group, or more. Returns the two new leaves.
    pub(crate) fn fork(&mut self, at: usize, group: u32, most: i64) -> [usize; 2] {
        let case = &self.nodes[at].case;
        let (fewer, more) = (case.fewer(group, most), case.more(group, most));
        let first = self.nodes.len();
        self.nodes[at].fork = Some(Fork { group, most, fewer: first, more: first + 1 });
        self.nodes.extend([fewer, more].map(|case| Node { case, fork: None }));
        [first, first + 1]
    }

    /// The cases of an offer priced, after splitting those that are worth more than it costs for fractions of large pods.
    pub(crate) fn price(
        &mut self,
        core: &Core,
        o: usize,
        multipliers: &Multipliers,
        knapsack: &mut Knapsack,
    ) -> ByCases {
        let enough = full_price(core, o, multipliers) * (1.0 + SIFT_TOLERANCE);
        let leaves = self.priced(core, o, multipliers, enough, knapsack);
        let worst = leaves.iter().max_by(|a, b| a.value.total_cmp(&b.value));
        let mut priced =
            worst.map_or_else(Priced::default, |leaf| Priced::by(leaf.value.max(0.0), leaf.y.clone()));
        if self.nodes.len() > 1 {
            priced.cases = self.steps(&leaves);
        }
        ByCases { priced, leaf: worst.filter(|leaf| leaf.value > enough).map(|leaf| leaf.at) }
    }

    /// All leaves priced, after splitting those that are worth more than `enough` for fractions of large pods.
    fn priced(
        &mut self,
        core: &Core,
        o: usize,
        multipliers: &Multipliers,
        enough: f64,
        knapsack: &mut Knapsack,
    ) -> Vec<Leaf> {
        let leaves = (0..self.nodes.len()).filter(|at| !self.is_forked(*at));
        let mut leaves: Vec<Leaf> =
            leaves.map(|at| self.price_leaf(core, o, multipliers, at, knapsack)).collect();
        while self.may_grow() {
            let worst = (0..leaves.len()).filter(|k| leaves[*k].value > enough);
            let worst = worst.max_by(|a, b| leaves[*a].value.total_cmp(&leaves[*b].value));
            let Some((worst, (group, most))) = worst.and_then(|k| Some((k, leaves[k].split?))) else { break };
            let split = self.fork(leaves[worst].at, group, most);
            leaves.remove(worst);
            leaves.extend(split.map(|at| self.price_leaf(core, o, multipliers, at, knapsack)));
        }
        leaves
    }

    fn price_leaf(
        &self,
        core: &Core,
        o: usize,
        multipliers: &Multipliers,
        at: usize,
        knapsack: &mut Knapsack,
    ) -> Leaf {
        let (offer, case) = (&core.offers[o], self.case(at));
        let Some(rest) = case.rest(core, offer) else {
            return Leaf { at, value: f64::NEG_INFINITY, y: vec![0.0; core.r()], split: None };
        };
        let worth = |g: u32| multipliers.pi[g as usize] - offer.fines.dollars(g);
        let held: f64 = case.least.iter().map(|(g, count)| worth(*g) * *count as f64).sum();
        let items = items(&rest.items, &offer.fines, &multipliers.pi);
        let value = held + knapsack.solve(&items, &core.w, &rest.scaled(core));
        let split = |(item, amount): (&Item, &f64)| {
            let part = amount - amount.floor();
            let share = share(core, offer, item.group);
            let is_split = share >= LARGE && part > WHOLE && part < 1.0 - WHOLE;
            let least = case.least(item.group as u32);
            is_split.then_some((share * part.min(1.0 - part), item.group as u32, least + *amount as i64))
        };
        let split = items.iter().zip(&knapsack.amount).filter_map(split).max_by(|a, b| a.0.total_cmp(&b.0));
        Leaf { at, value, y: knapsack.y.clone(), split: split.map(|(_, g, most)| (g, most)) }
    }

    /// The proof that these leaves make.
    fn steps(&self, leaves: &[Leaf]) -> Vec<Step<Vec<f64>>> {
        let mut steps = Vec::with_capacity(self.nodes.len());
        let mut next = vec![0];
        while let Some(at) = next.pop() {
            match &self.nodes[at].fork {
                Some(fork) => {
                    steps.push(Step::Fork { group: fork.group, most: fork.most });
                    next.extend([fork.more, fork.fewer]);
                }
                None => {
                    let leaf = leaves.iter().find(|leaf| leaf.at == at).expect("all leaves are priced");
                    steps.push(Step::Leaf(leaf.y.clone()));
                }
            }
        }
        steps
    }
}

/// All bins priced, offers by cases, and for each offer the case that is worth more than it costs.
pub(crate) fn price_by_cases(
    core: &Core,
    multipliers: &Multipliers,
    trees: &mut [Tree],
) -> (PriceList, Vec<Option<usize>>) {
    let (offers, spares) = core.pool.install(|| {
        let offers = trees.par_iter_mut().enumerate();
        let offers: Vec<ByCases> = offers
            .map_init(Knapsack::default, |knapsack, (o, tree)| tree.price(core, o, multipliers, knapsack))
            .collect();
        let spares: Vec<Priced> = core
            .spares
            .par_iter()
            .map_init(Knapsack::default, |knapsack, spare| {
                price_bin(core, (&spare.items, &spare.fines), &spare.cap, &multipliers.pi, knapsack)
            })
            .collect();
        (offers, spares)
    });
    let (offers, leaves) = offers.into_iter().map(|one| (one.priced, one.leaf)).unzip();
    (listed(core, multipliers, offers, spares), leaves)
}

/// The largest share of a resource of an offer that a pod of a group takes.
pub(crate) fn share(core: &Core, offer: &Offer, g: usize) -> f64 {
    let shares = core.scaled(g).iter().zip(&offer.cap).filter(|(w, _)| **w > 0.0).map(|(w, cap)| w / cap);
    shares.fold(0.0, f64::max)
}

/// Whether a pod of a group takes much of an offer.
pub(crate) fn is_large(core: &Core, offer: &Offer, g: u32) -> bool {
    share(core, offer, g as usize) >= LARGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing;
    use stowage_models::random::Random;

    /// The most that whole pods beside each other are worth.
    fn best(core: &Core, pi: &[f64], from: usize, room: &[i64]) -> f64 {
        let Some((g, copies)) = core.offers[0].items.get(from) else { return 0.0 };
        let weight = core.weight(*g as usize);
        let mut most = f64::NEG_INFINITY;
        for count in 0..=*copies {
            let left: Vec<i64> =
                room.iter().zip(weight).map(|(room, weight)| room - weight * count).collect();
            if left.iter().any(|left| *left < 0) {
                break;
            }
            most = most.max(pi[*g as usize] * count as f64 + best(core, pi, from + 1, &left));
        }
        most
    }

    #[test]
    fn no_pattern_is_worth_more_than_its_case_and_cases_prove_more_than_one_vector() {
        let mut random = Random::new(3);
        let (mut tighter, mut forks) = (0, 0);
        for _ in 0..400 {
            let weights: Vec<[i64; 2]> =
                (0..5).map(|_| [random.between(0, 60), random.between(1, 60)]).collect();
            let copies = |w: &[i64; 2]| (100_i64.checked_div(w[0]).unwrap_or(9)).min(100 / w[1]).min(4);
            let items: Vec<(u32, i64)> = (0..).zip(&weights).map(|(g, w)| (g, copies(w))).collect();
            let offer = testing::offer(1_000_000, [100, 100], items.clone());
            let core = testing::core(&weights, &[4; 5], vec![offer], Vec::new());
            let pi: Vec<f64> = (0..5).map(|_| random.between(0, 50) as f64 / 100.0).collect();
            let multipliers = Multipliers { pi: pi.clone(), ..Multipliers::default() };
            let mut knapsack = Knapsack::default();
            let plain =
                price_bin(&core, (&items, &core.offers[0].fines), &core.offers[0].cap, &pi, &mut knapsack);
            let mut tree = Tree::default();
            let ByCases { priced, leaf } = tree.price(&core, 0, &multipliers, &mut knapsack);
            let most = best(&core, &pi, 0, &[100, 100]);
            assert!(priced.value >= most - 1e-9, "{} for {most}", priced.value);
            assert!(priced.value <= plain.value + 1e-9, "{} above {}", priced.value, plain.value);
            assert_eq!(leaf.is_some(), priced.value > 1.0 + SIFT_TOLERANCE);
            let leaves = priced.cases.iter().filter(|step| matches!(step, Step::Leaf(_))).count();
            assert!(
                leaves <= LEAVES_MAX && (priced.cases.is_empty() || priced.cases.len() == 2 * leaves - 1)
            );
            tighter += u32::from(priced.value < plain.value - 1e-6);
            forks += priced.cases.len() - leaves;
        }
        assert!(tighter > 100 && forks > 200, "{tighter} tighter, {forks} forks");
    }
}
