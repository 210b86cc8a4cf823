//! Branching on numbers of nodes, for problems of few nodes, where fractions of nodes make the fluid bound too low.
//!
//! A leaf of the tree is the fluid program with some decisions `least <= (nodes priced from..=to) <= most`; its duals,
//! divided by what they exceed prices by, bound every plan that decides so. A fork takes a price range whose number of
//! nodes is fractional and makes it at most `k` on one side, at least `k + 1` on the other. The bound of the tree is the
//! least of its leaves. Offers are sorted by price, so "how many nodes of this price or more" is the first question whose
//! answer the bound needs, and ranges open at the top are preferred.
//!
//! A leaf whose numbers of nodes are integer may still be too cheap, because its pods are mixed. It is *sharpened*: solved again
//! over patterns (`patterns.rs`), as are the sides of its forks from then on. Where a handful of pods wait, the root is.

use crate::core::Core;
use crate::fluid::{Decided, Fluid, FluidPoint};
use crate::knapsack::Knapsack;
use crate::lp::{Basis, Fault};
use crate::pack::Packing;
use crate::patterns::{PatternProgram, Solved};
use crate::pricing::{Multipliers, PriceList, full_price};
use crate::rows::Decision;
use crate::vectors::{Shared, price_shared};

/// Offers that enter the program per round of sifting at most.
const OFFERS_PER_ROUND: usize = 10;
/// Offers whose pods are worth this share of their price at the fluid optimum are in the program from the start.
const NEAR: f64 = 0.999;
/// Offers worth no more than their price plus this share of it stay outside; the bound is divided by it.
const SIFT_TOLERANCE: f64 = 1e-6;
/// Numbers of nodes this near to an integer count as one.
const INTEGRAL: f64 = 1e-3;
/// Where there are many pods, branching ends when this many more leaves have not closed [`RISE_SHARE`] of the gap: they take memory and time
/// for nothing then.
const RISE_LEAVES: usize = 48;
/// Share of the gap, see [`RISE_LEAVES`].
const RISE_SHARE: f64 = 0.01;

/// When a leaf need not be solved further.
#[derive(Clone, Copy)]
pub(crate) struct Until<'s> {
    /// A bound that is enough, in dollars per hour.
    pub(crate) bound: f64,
    /// Whether the run is to stop.
    pub(crate) stop: &'s dyn Fn() -> bool,
}

/// A price range whose number of nodes is fractional.
#[derive(Clone, Copy, Debug)]
struct Fractional {
    from: i64,
    to: i64,
    nodes: f64,
}

/// An end of the tree.
pub(crate) struct Leaf {
    /// What is decided, one entry per price range.
    pub(crate) decisions: Vec<Decision>,
    /// Dual of each decision: positive where the least number binds, negative where the most does.
    pub(crate) duals: Vec<f64>,
    /// Duals of groups and limits, with the surcharge of the decisions on each offer.
    pub(crate) multipliers: Multipliers,
    /// Vectors that price all bins.
    pub(crate) vectors: Vec<Vec<f64>>,
    /// Largest value per price; all multipliers divided by it are feasible.
    pub(crate) theta: f64,
    /// Dollars per hour no plan below costs less than.
    pub(crate) bound: f64,
    /// The fluid optimum.
    pub(crate) point: FluidPoint,
    /// It was solved over patterns.
    sharp: bool,
    fractional: Vec<Fractional>,
    basis: Option<Basis>,
}

impl Leaf {
    fn new(core: &Core, decisions: Vec<Decision>, solved: Solved) -> Leaf {
        let fractional = fractional(core, &solved.point);
        let Solved { multipliers, duals, vectors, theta, bound, point, basis } = solved;
        let basis = (!fractional.is_empty()).then_some(basis);
        let sharp = false;
        Leaf { decisions, duals, multipliers, vectors, theta, bound, point, sharp, fractional, basis }
    }

    /// Whether all numbers of nodes are integer.
    pub(crate) fn is_integral(&self) -> bool {
        self.fractional.is_empty()
    }
}

/// A node of the tree.
pub(crate) enum Node {
    /// An end.
    Leaf(Box<Leaf>),
    /// A fork: nodes priced `from..=to` number at most `most` on the first side, more on the second.
    Fork {
        /// Lowest price.
        from: i64,
        /// Highest price.
        to: i64,
        /// Nodes at most on the first side.
        most: i64,
        /// Indices of the two sides.
        sides: [usize; 2],
    },
}

/// A tree in growth.
pub(crate) struct Tree<'a> {
    core: &'a Core,
    /// Mixes of pods: what leaves solve first.
    fluid: Fluid<'a>,
    /// Patterns, as far as the best of them can be found: what leaves are sharpened by.
    patterns: Option<PatternProgram<'a>>,
    knapsack: Knapsack,
    nodes: Vec<Node>,
}

impl<'a> Tree<'a> {
    /// A tree of one leaf without decisions.
    ///
    /// # Errors
    /// [`Fault`] if the solver gives no answer.
    pub(crate) fn new(
        core: &'a Core,
        multipliers: &Multipliers,
        list: &PriceList,
    ) -> Result<Tree<'a>, Fault> {
        let near = |o: &usize| list.offers[*o].value >= NEAR * list.theta * full_price(core, *o, multipliers);
        let offers: Vec<usize> = (0..core.offers.len()).filter(near).collect();
        let fluid = Fluid::with_offers(core, &offers);
        let mut tree = Tree { core, fluid, patterns: None, knapsack: Knapsack::default(), nodes: Vec::new() };
        let root = tree.solve(Vec::new(), None)?;
        tree.nodes.push(Node::Leaf(Box::new(root)));
        Ok(tree)
    }

    /// Solves a leaf again over patterns, those of `packing` first; whether its bound rose.
    ///
    /// # Errors
    /// [`Fault`] if the solver gives no answer. The leaf then stays as it is.
    pub(crate) fn sharpen(&mut self, at: usize, packing: &Packing, until: Until<'_>) -> Result<bool, Fault> {
        let Some(Node::Leaf(leaf)) = self.nodes.get_mut(at) else { return Ok(false) };
        if std::mem::replace(&mut leaf.sharp, true) {
            return Ok(false);
        }
        let patterns = self.patterns.get_or_insert_with(|| PatternProgram::new(self.core, packing));
        let start = (leaf.multipliers.clone(), leaf.duals.clone());
        let solved = patterns.solve_at(&leaf.decisions, None, Some(start), until)?;
        if solved.bound <= leaf.bound {
            return Ok(false);
        }
        let sharp = Leaf::new(self.core, std::mem::take(&mut leaf.decisions), solved);
        **leaf = Leaf { sharp: true, ..sharp };
        Ok(true)
    }

    /// The patterns found so far, if any leaf was sharpened.
    pub(crate) fn patterns(&mut self) -> Option<&mut PatternProgram<'a>> {
        self.patterns.as_mut()
    }

    /// All nodes, the root first.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The leaf at an index.
    pub(crate) fn leaf(&self, at: usize) -> Option<&Leaf> {
        match self.nodes.get(at) {
            Some(Node::Leaf(leaf)) => Some(leaf),
            _ => None,
        }
    }

    /// Simplex iterations so far: the measure of work.
    pub(crate) fn iterations(&self) -> u64 {
        self.fluid.iterations() + self.patterns.as_ref().map_or(0, PatternProgram::iterations)
    }

    /// Ends of the tree.
    pub(crate) fn leaves(&self) -> usize {
        self.nodes.len().div_ceil(2)
    }

    /// The bound: the least of all leaves, and which that is.
    pub(crate) fn worst(&self) -> (f64, usize) {
        let leaves = self.nodes.iter().enumerate().filter_map(|(at, node)| match node {
            Node::Leaf(leaf) => Some((leaf.bound, at)),
            Node::Fork { .. } => None,
        });
        leaves.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).expect("a tree has a leaf")
    }

    /// Whether the leaf at an index was solved over patterns.
    pub(crate) fn is_sharp(&self, at: usize) -> bool {
        self.leaf(at).is_some_and(|leaf| leaf.sharp)
    }

    /// The leaf with the least bound below `cost` whose numbers of nodes are not all integer.
    pub(crate) fn open(&self, cost: f64) -> Option<usize> {
        let leaves = self.nodes.iter().enumerate().filter_map(|(at, node)| match node {
            Node::Leaf(leaf) if !leaf.is_integral() && leaf.bound < cost => Some((leaf.bound, at)),
            _ => None,
        });
        leaves.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, at)| at)
    }

    /// Forks a leaf; the indices of the two new ones, none if its numbers of nodes are integer.
    ///
    /// # Errors
    /// [`Fault`] if the solver fails. The leaf then stays as it is and is not forked again.
    pub(crate) fn fork(&mut self, at: usize, until: Until<'_>) -> Result<Option<[usize; 2]>, Fault> {
        let Node::Leaf(leaf) = &mut self.nodes[at] else { return Ok(None) };
        let Some(choice) = choose(&leaf.fractional) else { return Ok(None) };
        let basis = leaf.basis.take();
        let most = choice.nodes.floor() as i64;
        let (decisions, sharp) = (leaf.decisions.clone(), leaf.sharp);
        let less = with(&decisions, Decision { from: choice.from, to: choice.to, least: 0, most });
        let more =
            with(&decisions, Decision { from: choice.from, to: choice.to, least: most + 1, most: i64::MAX });
        let sides = self
            .side(less, &basis, sharp, until)
            .and_then(|less| Ok((less, self.side(more, &basis, sharp, until)?)));
        let (less, more) = match sides {
            Ok(sides) => sides,
            Err(fault) => {
                if let Node::Leaf(leaf) = &mut self.nodes[at] {
                    leaf.fractional.clear();
                }
                return Err(fault);
            }
        };
        let first = self.nodes.len();
        self.nodes.push(Node::Leaf(Box::new(less)));
        self.nodes.push(Node::Leaf(Box::new(more)));
        let sides = [first, first + 1];
        self.nodes[at] = Node::Fork { from: choice.from, to: choice.to, most, sides };
        Ok(Some(sides))
    }

    /// A side of a fork: over patterns if the leaf forked was.
    fn side(
        &mut self,
        decisions: Vec<Decision>,
        basis: &Option<Basis>,
        sharp: bool,
        until: Until<'_>,
    ) -> Result<Leaf, Fault> {
        match &mut self.patterns {
            Some(patterns) if sharp => {
                let solved = patterns.solve_at(&decisions, basis.as_ref(), None, until)?;
                Ok(Leaf { sharp, ..Leaf::new(self.core, decisions, solved) })
            }
            _ => self.solve(decisions, basis.as_ref()),
        }
    }

    fn solve(&mut self, decisions: Vec<Decision>, basis: Option<&Basis>) -> Result<Leaf, Fault> {
        let (core, knapsack) = (self.core, &mut self.knapsack);
        let mut last: Option<(Multipliers, Vec<f64>, Shared, f64)> = None;
        let mut price = |decided: &Decided| -> Vec<usize> {
            let mut multipliers = decided.multipliers.clone();
            multipliers.surcharge = surcharge(core, &decisions, &decided.duals);
            let shared = price_shared(core, &multipliers, &decided.vectors, knapsack);
            let ratios = shared.values.iter().enumerate().map(|(o, value)| {
                let cost = core.offers[o].cost;
                ((value - full_price(core, o, &multipliers)) / cost + 1.0, o)
            });
            let mut violated: Vec<(f64, usize)> =
                ratios.filter(|(ratio, _)| *ratio > 1.0 + SIFT_TOLERANCE).collect();
            violated.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let theta = violated.first().map_or(1.0 + SIFT_TOLERANCE, |(ratio, _)| *ratio);
            violated.truncate(OFFERS_PER_ROUND);
            last = Some((multipliers, decided.duals.clone(), shared, theta));
            violated.into_iter().map(|(_, o)| o).collect()
        };
        let (point, basis) = self.fluid.solve_at(&decisions, basis, &mut price)?;
        let (multipliers, duals, shared, theta) = last.ok_or(Fault::Cycle)?;
        let bound = bound(core, &decisions, &duals, &multipliers, &shared) / theta;
        let vectors = shared.vectors.into_iter().map(|vector| vector.y).collect();
        Ok(Leaf::new(core, decisions, Solved { multipliers, duals, vectors, theta, bound, point, basis }))
    }
}

/// How the bound of a tree rises: where there are many pods, branching that closes nothing is ended.
pub(crate) struct Rise {
    is_watched: bool,
    /// Leaves and bound at the last look.
    last: (usize, f64),
}

impl Rise {
    /// Starts from the bound of the root.
    pub(crate) fn new(core: &Core, bound: f64) -> Rise {
        Rise { is_watched: core.has_many_pods(), last: (1, bound) }
    }

    /// Whether to stop, with so many leaves, this bound in dollars and the best cost in micro-dollars per hour.
    pub(crate) fn is_over(&mut self, leaves: usize, bound: f64, cost: i64) -> bool {
        let (before, start) = self.last;
        if !self.is_watched || leaves < before + RISE_LEAVES {
            return false;
        }
        self.last = (leaves, bound);
        bound - start < RISE_SHARE * (cost as f64 / 1e6 - start)
    }
}

/// What each offer costs more because of the decisions.
pub(crate) fn surcharge(core: &Core, decisions: &[Decision], duals: &[f64]) -> Vec<f64> {
    let of = |price: i64| {
        decisions.iter().zip(duals).filter(|(one, _)| one.counts(price)).map(|(_, dual)| -dual).sum()
    };
    core.offers.iter().map(|offer| of(offer.price)).collect()
}

pub(crate) fn bound(
    core: &Core,
    decisions: &[Decision],
    duals: &[f64],
    multipliers: &Multipliers,
    shared: &Shared,
) -> f64 {
    let covered: f64 = core.covered(&multipliers.pi);
    let limits: f64 = multipliers.mu.iter().zip(&core.limits).map(|(mu, left)| mu * *left as f64).sum();
    let decided = decisions.iter().zip(duals).map(|(one, dual)| match one.most {
        _ if *dual > 0.0 => dual * one.least as f64,
        i64::MAX => 0.0,
        most => dual * most as f64,
    });
    covered - shared.spares - limits + decided.sum::<f64>()
}

/// The decisions with one more; a range decided before gets narrower.
fn with(decisions: &[Decision], new: Decision) -> Vec<Decision> {
    let mut decisions = decisions.to_vec();
    match decisions.iter_mut().find(|one| (one.from, one.to) == (new.from, new.to)) {
        Some(one) => {
            one.least = one.least.max(new.least);
            one.most = one.most.min(new.most);
        }
        None => decisions.push(new),
    }
    decisions
}

/// All price ranges between prices with nodes whose number of nodes is fractional.
fn fractional(core: &Core, point: &FluidPoint) -> Vec<Fractional> {
    let mut by_price: Vec<(i64, f64)> = Vec::new();
    let mut mixes: Vec<(i64, f64)> =
        point.mixes.iter().map(|mix| (core.offers[mix.offer].price, mix.nodes)).collect();
    mixes.sort_by_key(|(price, _)| *price);
    for (price, nodes) in mixes {
        match by_price.last_mut() {
            Some((same, sum)) if *same == price => *sum += nodes,
            _ => by_price.push((price, nodes)),
        }
    }
    let mut found = Vec::new();
    for low in 0..by_price.len() {
        let mut nodes = 0.0;
        for high in low..by_price.len() {
            nodes += by_price[high].1;
            if (nodes - nodes.round()).abs() > INTEGRAL {
                let to = if high + 1 == by_price.len() { i64::MAX } else { by_price[high].0 };
                found.push(Fractional { from: by_price[low].0, to, nodes });
            }
        }
    }
    found
}

/// Open at the top before closed; there, far from an integer and dear.
fn choose(fractional: &[Fractional]) -> Option<Fractional> {
    let score = |one: &Fractional| {
        let far = (one.nodes - one.nodes.round()).abs();
        (one.to == i64::MAX, far * (one.from as f64).sqrt())
    };
    fractional.iter().copied().max_by(|a, b| {
        let (a, b) = (score(a), score(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branching_of_many_pods_ends_when_leaves_close_nothing() {
        let cost = 110_000_000;
        let mut rise = Rise { is_watched: true, last: (1, 100.0) };
        assert!(!rise.is_over(RISE_LEAVES, 100.0, cost), "too few leaves to tell");
        assert!(!rise.is_over(1 + RISE_LEAVES, 100.11, cost), "a hundredth of the gap was closed");
        assert!(!rise.is_over(2 * RISE_LEAVES, 100.11, cost), "too few leaves since");
        assert!(rise.is_over(1 + 2 * RISE_LEAVES, 100.19, cost), "less than a hundredth of what is left");
        let mut small = Rise { is_watched: false, last: (1, 100.0) };
        assert!(!small.is_over(10 * RISE_LEAVES, 100.0, cost), "small batches go on");
    }
}
