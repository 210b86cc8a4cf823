//! Packing pods into bins under the guidance of multipliers.
//!
//! Bins are filled pod by pod (`fill.rs`); which offer comes next is decided by what its filling is worth for its price.

use crate::core::Core;
use crate::exact::{Best, best_pattern};
use crate::fill::{BinRef, Filler};
use crate::knapsack::Item;
use crate::pricing::{Multipliers, PriceList, full_price};
use crate::problem::Bits;
use crate::rng::unit;
use stowage_models::random::Random;

/// Pods by group: (group, count), sorted by group, counts positive.
pub(crate) type Pattern = Vec<(u32, i64)>;

/// A node to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedNode {
    /// Index into [`Core::offers`].
    pub(crate) offer: u32,
    /// What it carries.
    pub(crate) pattern: Pattern,
}

impl PackedNode {
    /// Its price and that of what its pods miss there, micro-dollars per hour.
    pub(crate) fn cost(&self, core: &Core) -> i64 {
        let offer = &core.offers[self.offer as usize];
        offer.price + offer.fines.sum(&self.pattern)
    }
}

/// A complete answer: what goes where, and what is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    /// New nodes.
    pub(crate) nodes: Vec<PackedNode>,
    /// What each existing node takes, by spare.
    pub(crate) spares: Vec<Pattern>,
    /// Pods not placed, by group.
    pub(crate) left: Vec<i64>,
    /// What is left of each limit.
    pub(crate) limits: Vec<i64>,
}

impl Packing {
    /// Nothing placed yet.
    pub(crate) fn empty(core: &Core) -> Packing {
        Packing {
            nodes: Vec::new(),
            spares: vec![Vec::new(); core.spares.len()],
            left: core.demand.clone(),
            limits: core.limits.clone(),
        }
    }

    /// Price of the new nodes and of the unmet preferences that bounds know, micro-dollars per hour.
    pub(crate) fn cost(&self, core: &Core) -> i64 {
        let nodes: i64 = self.nodes.iter().map(|node| node.cost(core)).sum::<i64>() + core.split_fines();
        if !core.has_fines() {
            return nodes;
        }
        let spares = core.spares.iter().zip(&self.spares);
        nodes + spares.map(|(spare, pattern)| spare.fines.sum(pattern)).sum::<i64>()
    }

    /// Pods not placed.
    pub(crate) fn left_out(&self) -> i64 {
        self.left.iter().sum()
    }

    /// Pods on new nodes.
    pub(crate) fn launched(&self) -> i64 {
        self.nodes.iter().flat_map(|node| &node.pattern).map(|(_, count)| count).sum()
    }

    /// Adds a node; its pods leave `left`, its usage the limits.
    pub(crate) fn push(&mut self, core: &Core, node: PackedNode) {
        for (g, count) in &node.pattern {
            self.left[*g as usize] -= count;
        }
        for (row, amount) in &core.offers[node.offer as usize].usage {
            self.limits[*row] -= amount;
        }
        self.nodes.push(node);
    }

    /// Whether limits leave room for one more node of this offer.
    pub(crate) fn allows(&self, core: &Core, offer: usize) -> bool {
        core.offers[offer].usage.iter().all(|(row, amount)| *amount <= self.limits[*row])
    }
}

/// Multipliers and what was derived from them, ready for the inner loops.
pub(crate) struct Guide {
    /// Value of a pod by group.
    pub(crate) pi: Vec<f64>,
    /// `y_or / C_or` folded into per-offer vectors, `offers x r`.
    pub(crate) y: Vec<f64>,
    /// The same of existing nodes.
    pub(crate) spare_y: Vec<f64>,
    /// Groups each offer takes.
    takes: Vec<Bits>,
    /// Preferences have a price somewhere.
    pub(crate) fined: bool,
    /// Price of each offer including its share of limits.
    pub(crate) price: Vec<f64>,
    /// What the best pattern of each offer is worth, at most.
    most: Vec<f64>,
    /// What pods cost at least for each dollar that they are worth, micro-dollars; zero where that is not known.
    floor: f64,
    /// Offers whose best pattern is worth nearly their price, best first.
    pub(crate) near: Vec<u32>,
}

/// Offers worth less than this share of their price are left to the right-sizing step.
const NEAR: f64 = 0.93;
/// ... but for this many, which are kept in any case.
const NEAR_MIN: usize = 12;
/// Offers tried for the pods of nodes taken apart, beside those of these nodes.
const NEAR_DRAWN: usize = 12;
/// What rounding may add to a value per price, as a share.
const RATIO_EPS: f64 = 1e-6;
/// What pods cost at least for each dollar that they are worth at feasible multipliers, micro-dollars; less what rounding may take.
const FLOOR: f64 = 1e6 * (1.0 - RATIO_EPS);

impl Guide {
    /// Prepares packing by `multipliers`, with the price list computed at them.
    pub(crate) fn new(core: &Core, multipliers: &Multipliers, list: &PriceList) -> Guide {
        let price: Vec<f64> = (0..core.offers.len()).map(|o| full_price(core, o, multipliers)).collect();
        let ratios = list.offers.iter().zip(&price).map(|(priced, price)| ratio(priced.value, *price));
        let mut near: Vec<(f64, u32)> = ratios.zip(0..).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let enough = near.iter().take_while(|(ratio, _)| *ratio >= NEAR * list.theta).count();
        near.truncate(enough.max(NEAR_MIN));
        let takes = core
            .offers
            .iter()
            .map(|offer| {
                let mut bits = Bits::new(core.demand.len());
                offer.items.iter().for_each(|(g, _)| bits.insert(*g as usize));
                bits
            })
            .collect();
        let floor = |y: f64| y.max(1e-9);
        Guide {
            pi: multipliers.pi.clone(),
            y: list.offers.iter().flat_map(|priced| priced.y.iter().map(|y| floor(*y))).collect(),
            spare_y: list.spares.iter().flat_map(|priced| priced.y.iter().map(|y| floor(*y))).collect(),
            takes,
            fined: core.has_fines(),
            price,
            most: list.offers.iter().map(|priced| priced.value).collect(),
            floor: if core.limits.is_empty() && multipliers.surcharge.is_empty() {
                FLOOR / list.theta.max(1.0)
            } else {
                0.0
            },
            near: near.into_iter().map(|(_, o)| o).collect(),
        }
    }

    /// Value of pods by group.
    pub(crate) fn worth(&self, pods: impl Iterator<Item = (u32, i64)>) -> f64 {
        pods.map(|(g, count)| self.pi[g as usize] * count as f64).sum()
    }

    /// What these pods cost on new nodes at least, micro-dollars per hour.
    pub(crate) fn least(&self, pods: impl Iterator<Item = (u32, i64)>) -> i64 {
        (self.floor * self.worth(pods)) as i64
    }

    /// How much value per price each of these offers can have at most when pods worth `all` are packed: the most promising first.
    pub(crate) fn promising(&self, offers: impl Iterator<Item = u32>, all: f64) -> Vec<(f64, usize)> {
        let most = |o: usize| (self.ratio(o, self.most[o].min(all)) * (1.0 + RATIO_EPS), o);
        let mut offers: Vec<(f64, usize)> = offers.map(|o| most(o as usize)).collect();
        offers.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        offers
    }

    /// Value per price of a node of offer `o` whose pods are worth `value`.
    pub(crate) fn ratio(&self, o: usize, value: f64) -> f64 {
        ratio(value, self.price[o])
    }

    /// Adds some offers to those of nodes taken apart, to pack their pods on; each once, ascending.
    pub(crate) fn add_near(&self, offers: &mut Vec<u32>, random: &mut Random) {
        for _ in 0..NEAR_DRAWN {
            // Squaring prefers the front of the list, where the best value for money stands.
            let at = unit(random);
            offers.push(self.near[(at * at * self.near.len() as f64) as usize]);
        }
        offers.sort_unstable();
        offers.dedup();
    }

    /// Whether offer `o` takes group `g`.
    pub(crate) fn takes(&self, o: usize, g: u32) -> bool {
        self.takes[o].contains(g as usize)
    }
}

/// Decisions of a leaf may leave a price of nothing.
fn ratio(value: f64, price: f64) -> f64 {
    value / price.max(1e-9)
}

/// The cheapest offer, limits priced in, that holds `pattern` within `limits`; ties go to the first in canonical price order.
pub(crate) fn right_size(
    core: &Core,
    guide: &Guide,
    pattern: &Pattern,
    packing: &Packing,
    from: usize,
) -> usize {
    let r = core.r();
    let mut load = vec![0_i64; r];
    for (g, count) in pattern {
        for (sum, weight) in load.iter_mut().zip(core.weight(*g as usize)) {
            *sum += weight * count;
        }
    }
    let holds = |o: &usize| {
        let offer = &core.offers[*o];
        load.iter().zip(&offer.capacity).all(|(l, c)| l <= c)
            && pattern.iter().all(|(g, _)| guide.takes(*o, *g))
            && packing.allows(core, *o)
    };
    if core.limits.is_empty() && guide.fined {
        let cost = |o: &usize| core.offers[*o].price + core.offers[*o].fines.sum(pattern);
        return (0..core.offers.len()).filter(holds).min_by_key(|o| (cost(o), *o)).unwrap_or(from);
    }
    if core.limits.is_empty() {
        // Offers are sorted by price, so the first that holds the pattern is the cheapest.
        return (0..from).find(holds).unwrap_or(from);
    }
    // Where a limit is scarce, what an offer uses of it has a price too.
    (0..core.offers.len())
        .filter(holds)
        .map(|o| (guide.price[o] + core.offers[o].fines.sum(pattern) as f64 / 1e6, o))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        .map(|(_, o)| o)
        .unwrap_or(from)
}

/// Branches spent on the best filling of one existing node: room there is free, so it pays to look closely.
const SPARE_BRANCHES: usize = 400;

/// Fills existing nodes in order with what is worth most there.
pub(crate) fn fill_spares(core: &Core, guide: &Guide, packing: &mut Packing, filler: &mut Filler) {
    for s in 0..core.spares.len() {
        let candidates: Vec<(u32, i64)> = core.spares[s]
            .items
            .iter()
            .map(|(g, _)| (*g, packing.left[*g as usize]))
            .filter(|(_, left)| *left > 0)
            .collect();
        if candidates.is_empty() {
            continue;
        }
        let pattern = best_on_spare(core, guide, s, &candidates, filler);
        pattern.iter().for_each(|(g, count)| packing.left[*g as usize] -= count);
        packing.spares[s] = pattern;
    }
}

/// The most valuable pattern of `candidates` on existing node `s`: by greed, then by branching from there.
pub(crate) fn best_on_spare(
    core: &Core,
    guide: &Guide,
    s: usize,
    candidates: &[(u32, i64)],
    filler: &mut Filler,
) -> Pattern {
    let bias = vec![1.0; candidates.len()];
    filler.fill(core, guide, BinRef::Spare(s), candidates, &bias, None);
    let spare = &core.spares[s];
    let most = |g: u32| spare.items.binary_search_by_key(&g, |(g, _)| *g).map_or(0, |at| spare.items[at].1);
    let items: Vec<Item> = candidates
        .iter()
        .filter(|(g, _)| spare.items.binary_search_by_key(g, |(g, _)| *g).is_ok())
        .map(|(g, available)| Item {
            group: *g as usize,
            profit: guide.pi[*g as usize] - spare.fines.dollars(*g),
            copies: core.copies(*g as usize, &spare.capacity).min(*available).min(most(*g)) as f64,
        })
        .collect();
    let y = &guide.spare_y[s * core.r()..][..core.r()];
    match best_pattern(&items, &core.w, &spare.cap, y, filler.value + 1e-9, SPARE_BRANCHES) {
        Best::Pattern(counts, _) | Best::Limit(Some((counts, _))) => {
            let found = items.iter().zip(counts).filter(|(_, count)| *count > 0);
            let found: Pattern = found.map(|(item, count)| (item.group as u32, count)).collect();
            // The branching knows no rules between groups; where they matter, the greedy filling stands.
            if core.rules.allow(&found, &spare.held) { found } else { filler.pattern(candidates) }
        }
        Best::None | Best::Limit(None) => filler.pattern(candidates),
    }
}

/// Where more nodes than this can be filled alike, several are at a time, each time this share of them: filling nodes one by one takes longer
/// than all the rest where there are thousands, and what is off is mended by those that follow.
pub(crate) const ALIKE_SHARE: usize = 32;
/// Candidate looks per node while completing a plan: 300 offers at 200 groups.
const FILL_LOOKS: usize = 60_000;

/// Places what is left on new nodes, each time taking the (offer, fill) with the most value per price.
///
/// `offers` are the candidates; when none of them takes what is left, all offers are tried, and when limits allow none
/// either, the rest stays left.
pub(crate) fn complete(
    core: &Core,
    guide: &Guide,
    packing: &mut Packing,
    offers: &[u32],
    bias: &[f64],
    filler: &mut Filler,
) {
    complete_within(core, guide, packing, (offers, bias), i64::MAX, filler);
}

/// The same, but gives up once it is clear that new nodes will cost more than `budget`, micro-dollars per hour.
pub(crate) fn complete_within(
    core: &Core,
    guide: &Guide,
    packing: &mut Packing,
    (offers, bias): (&[u32], &[f64]),
    mut budget: i64,
    filler: &mut Filler,
) {
    let mut candidates: Vec<(u32, i64)> = Vec::new();
    let mut biases: Vec<f64> = Vec::new();
    loop {
        candidates.clear();
        candidates.extend(
            packing.left.iter().enumerate().filter(|(_, left)| **left > 0).map(|(g, left)| (g as u32, *left)),
        );
        if candidates.is_empty() || guide.least(candidates.iter().copied()) > budget {
            return;
        }
        // With thousands of distinct groups each look at an offer is dear, and the most promising are looked at first.
        let looks = (FILL_LOOKS / candidates.len()).max(8);
        biases.clear();
        biases.extend(candidates.iter().map(|(g, _)| bias[*g as usize]));
        let pods = (&candidates[..], &biases[..]);
        let best =
            best_fill(core, guide, packing, (offers.iter().copied(), looks), pods, filler).or_else(|| {
                let all = 0..u32::try_from(core.offers.len()).expect("offers fit 32 bits");
                best_fill(core, guide, packing, (all, usize::MAX), pods, filler)
            });
        let Some((offer, pattern)) = best else { return };
        let offer = right_size(core, guide, &pattern, packing, offer);
        let alike = times(packing, &pattern) / ALIKE_SHARE;
        let node = PackedNode { offer: offer as u32, pattern };
        let cost = node.cost(core);
        packing.push(core, node.clone());
        budget -= cost;
        for _ in 1..alike {
            if packing.allows(core, offer) {
                packing.push(core, node.clone());
                budget -= cost;
            }
        }
    }
}

/// How many nodes could be filled like this with what is left.
pub(crate) fn times(packing: &Packing, pattern: &Pattern) -> usize {
    let times = pattern.iter().map(|(g, count)| packing.left[*g as usize] / count).min();
    usize::try_from(times.unwrap_or(0)).unwrap_or(usize::MAX)
}

/// The offer and the filling of it with the most value per price, of so many offers as are looked at most.
fn best_fill(
    core: &Core,
    guide: &Guide,
    packing: &Packing,
    (offers, mut looks): (impl Iterator<Item = u32>, usize),
    (candidates, biases): (&[(u32, i64)], &[f64]),
    filler: &mut Filler,
) -> Option<(usize, Pattern)> {
    let mut best: Option<(f64, usize, Pattern)> = None;
    let offers = guide.promising(offers, guide.worth(candidates.iter().copied()));
    for (most, o) in offers {
        if looks == 0 || best.as_ref().is_some_and(|(have, ..)| most <= *have) {
            break;
        }
        if !packing.allows(core, o) {
            continue;
        }
        looks -= 1;
        filler.fill(core, guide, BinRef::Offer(o), candidates, biases, None);
        if filler.counts.iter().all(|count| *count == 0) {
            continue;
        }
        let ratio = guide.ratio(o, filler.value);
        if best.as_ref().is_none_or(|(have, ..)| ratio > *have) {
            best = Some((ratio, o, filler.pattern(candidates)));
        }
    }
    best.map(|(_, o, pattern)| (o, pattern))
}
