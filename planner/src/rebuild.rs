//! Better plans of parts where nodes hold many pods: take some nodes apart, solve the fluid program for their pods, and build along it again.
//!
//! The search (`search.rs`) packs what it takes apart by greed. Where a hundred pods share a node, what it misses is how many nodes of which
//! kind fit together, and that is what the fluid optimum of a handful of nodes tells; whole nodes of it are filled nearly without loss.

use crate::core::Core;
use crate::dive::{SIZE_BIASES, build};
use crate::fill::Filler;
use crate::fluid::Fluid;
use crate::hybrid::PODS_PER_NODE_MAX;
use crate::lp::Fault;
use crate::master::Column;
use crate::pack::{Guide, Packing, complete_within};
use crate::rng::unit;
use crate::search::{draw_by_loss, loss};
use crate::weave;
use stowage_models::random::Random;

/// Nodes drawn to be taken apart: at least so many, and up to so many more. Who is drawn twice counts once. Where nodes hold fewer pods than
/// [`PODS_PER_NODE_MAX`] there are as many times more, because so few pods leave little to choose.
const TAKEN_MIN: i64 = 4;
const TAKEN_SPREAD: i64 = 20;
/// Share of them that is drawn by what they waste; the others are drawn evenly.
const BY_LOSS: f64 = 0.6;
/// Ways to pack what is left after whole nodes; the cheapest is kept.
const COMPLETIONS: usize = 4;
/// A simplex iteration of a narrow program in units of work, per group.
const NARROW_ITERATION_WORK: u64 = 15;
/// How far what pods are worth differs between these ways.
const NOISE: f64 = 0.1;

/// Rounds on one packing.
pub(crate) struct Rebuilder<'a, 'f> {
    core: &'a Core,
    fluid: &'f mut Fluid<'a>,
    guide: &'f Guide,
    random: Random,
    filler: Filler,
    /// Simplex iterations of the program before the first round.
    before: u64,
    /// What was built, if that is asked for.
    built: Option<Vec<Column>>,
}

impl<'a, 'f> Rebuilder<'a, 'f> {
    /// Rounds along optima of `fluid`, drawn with `seed`.
    pub(crate) fn new(core: &'a Core, fluid: &'f mut Fluid<'a>, guide: &'f Guide, seed: u64) -> Self {
        let before = fluid.iterations();
        let (random, filler) = (Random::new(seed), Filler::default());
        Rebuilder { core, fluid, guide, random, filler, before, built: None }
    }

    /// Keeps the nodes that are built from now on, also those that are taken apart later.
    pub(crate) fn keep(&mut self) {
        self.built = Some(Vec::new());
    }

    /// What was built since then.
    pub(crate) fn into_built(self) -> Vec<Column> {
        self.built.unwrap_or_default()
    }

    /// Seconds that each of the next programs may take.
    pub(crate) fn set_time_limit(&mut self, seconds: f64) {
        self.fluid.set_time_limit(seconds);
    }

    /// Simplex iterations since the start.
    pub(crate) fn iterations(&self) -> u64 {
        self.fluid.iterations() - self.before
    }

    /// Work since the start: that of filling, and what its iterations count for, which are about narrow programs.
    pub(crate) fn work(&self) -> u64 {
        self.filler.work + self.iterations() * NARROW_ITERATION_WORK * self.core.demand.len() as u64
    }

    /// Builds some nodes of a packing that is whole again, and keeps what is dearer by `allowance` micro-dollars per hour at most.
    ///
    /// # Errors
    /// [`Fault`] of the solver; the packing then stays as it is.
    pub(crate) fn round(&mut self, packing: &mut Packing, allowance: i64) -> Result<(), Fault> {
        let core = self.core;
        let chosen = self.draw(packing);
        let mut trial = Packing {
            nodes: Vec::new(),
            spares: Vec::new(),
            left: vec![0; core.demand.len()],
            limits: packing.limits.clone(),
        };
        let mut offers = Vec::new();
        let mut before = 0;
        for (node, _) in packing.nodes.iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
            let usage = &core.offers[node.offer as usize].usage;
            usage.iter().for_each(|(row, amount)| trial.limits[*row] += amount);
            node.pattern.iter().for_each(|(g, count)| trial.left[*g as usize] += count);
            offers.push(node.offer);
            before += node.cost(core);
        }
        let size_bias = SIZE_BIASES[self.random.index(SIZE_BIASES.len())];
        let point = self.fluid.resolve(&trial.left, &trial.limits)?;
        build(core, self.fluid, point, (self.guide, size_bias), &mut trial, &mut self.filler)?;
        let built: i64 = trial.nodes.iter().map(|node| node.cost(core)).sum();
        let mut best = None;
        let mut budget = before - built + allowance;
        for k in 0..COMPLETIONS {
            let noise = if k == 0 { 0.0 } else { NOISE };
            if let Some((cost, completed)) = self.completed(&trial, &offers, noise, budget) {
                best = Some(completed);
                budget = cost - 1;
            }
        }
        if let Some(best) = best {
            if let Some(built) = &mut self.built {
                built.extend(weave::columns(&best));
            }
            let mut chosen = chosen.into_iter();
            packing.nodes.retain(|_| chosen.next() == Some(false));
            packing.nodes.extend(best.nodes);
            packing.limits = best.limits;
        }
        Ok(())
    }

    /// Which nodes are taken apart.
    fn draw(&mut self, packing: &Packing) -> Vec<bool> {
        let n = packing.nodes.len();
        let mut losses: Vec<f64> =
            packing.nodes.iter().map(|node| loss(self.core, self.guide, node)).collect();
        let pods = packing.launched();
        let taken = |nodes: i64| (nodes * pods.max(PODS_PER_NODE_MAX * n as i64) / pods.max(1)) as usize;
        let mut chosen = vec![false; n];
        for _ in 0..(taken(TAKEN_MIN) + self.random.index(taken(TAKEN_SPREAD))).min(n) {
            let k = if unit(&mut self.random) < BY_LOSS {
                draw_by_loss(&losses, &mut self.random)
            } else {
                self.random.index(n)
            };
            chosen[k] = true;
            losses[k] = 0.0;
        }
        chosen
    }

    /// A copy with what is left packed on these offers and some more, and what that costs; nothing if it is more than `budget`.
    fn completed(
        &mut self,
        trial: &Packing,
        offers: &[u32],
        noise: f64,
        budget: i64,
    ) -> Option<(i64, Packing)> {
        let core = self.core;
        let mut packing = trial.clone();
        let mut offers = offers.to_vec();
        self.guide.add_near(&mut offers, &mut self.random);
        let bias: Vec<f64> =
            core.demand.iter().map(|_| 1.0 + noise * (unit(&mut self.random) - 0.5)).collect();
        complete_within(core, self.guide, &mut packing, (&offers, &bias), budget, &mut self.filler);
        let cost: i64 = packing.nodes[trial.nodes.len()..].iter().map(|node| node.cost(core)).sum();
        (packing.left_out() == 0 && cost <= budget).then_some((cost, packing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing;
    use crate::dive::dive;

    /// What is special about a core.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        Plain,
        /// Offers of little memory count against a limit, by size; for two of three cores it binds.
        Limited,
        /// Two groups have at most three pods on a node.
        Capped,
        /// Existing nodes have some room.
        Shared,
    }

    /// Two thousand pods of a dozen shapes, and offers of six sizes with more or less memory.
    fn random_core(random: &mut Random, kind: Kind) -> Core {
        let weights: Vec<[i64; 2]> =
            (0..12).map(|_| [50 + random.index(400) as i64, 100 + random.index(1_500) as i64]).collect();
        let demand: Vec<i64> = (0..12).map(|_| 180 + random.index(100) as i64).collect();
        let cap = |g: usize| if kind == Kind::Capped && g < 2 { 3 } else { i64::MAX };
        let items = |capacity: [i64; 2]| -> Vec<(u32, i64)> {
            let fits = |[cpu, bytes]: &[i64; 2]| (capacity[0] / cpu).min(capacity[1] / bytes);
            weights.iter().enumerate().map(|(g, weight)| (g as u32, fits(weight).min(cap(g)))).collect()
        };
        let mut offers = Vec::new();
        for size in 1..=6 {
            for memory in [2_i64, 4, 8] {
                let capacity = [size * 4_000, size * memory * 4_096];
                let price = size * (100_000 + 15_000 * memory) + random.index(9_000) as i64;
                let mut offer = testing::offer(price, capacity, items(capacity));
                if kind == Kind::Limited && memory == 2 {
                    offer.usage = vec![(0, size)];
                }
                offers.push(offer);
            }
        }
        offers.sort_by_key(|offer| offer.price);
        let limits = if kind == Kind::Limited { vec![20] } else { Vec::new() };
        let mut core = testing::core(&weights, &demand, offers, limits);
        core.cap = (0..12).map(cap).collect();
        if kind == Kind::Shared {
            core.spares =
                (0..3).map(|bin| testing::spare(bin, [6_000, 20_000], items([6_000, 20_000]))).collect();
        }
        core
    }

    fn assert_whole(core: &Core, guide: &Guide, packing: &Packing) {
        let mut placed = vec![0; core.demand.len()];
        let mut limits = packing.limits.clone();
        for node in &packing.nodes {
            let offer = &core.offers[node.offer as usize];
            offer.usage.iter().for_each(|(row, amount)| limits[*row] += amount);
            for (k, capacity) in offer.capacity.iter().enumerate() {
                let load: i64 = node.pattern.iter().map(|(g, n)| core.weight(*g as usize)[k] * n).sum();
                assert!(load <= *capacity, "{node:?}");
            }
            assert!(node.pattern.iter().all(|(g, count)| *count <= core.cap[*g as usize]), "{node:?}");
            assert!(guide.least(node.pattern.iter().copied()) <= node.cost(core), "{node:?}");
        }
        let nodes = packing.nodes.iter().flat_map(|node| &node.pattern);
        nodes.chain(packing.spares.iter().flatten()).for_each(|(g, count)| placed[*g as usize] += count);
        assert_eq!(placed, core.demand);
        assert_eq!(limits, core.limits);
        assert!(packing.limits.iter().all(|left| *left >= 0));
    }

    #[test]
    fn rounds_keep_all_pods_caps_and_limits_and_cost_no_more_than_they_may() {
        let mut random = Random::new(11);
        for kind in [Kind::Plain, Kind::Limited, Kind::Capped, Kind::Shared] {
            let (mut gained, mut lost, mut binds) = (0, 0, false);
            for seed in 0..3 {
                let core = random_core(&mut random, kind);
                let mut fluid = Fluid::new(&core);
                let (point, list) = fluid.solve(&|| 60.0).expect("a small program");
                binds |= point.multipliers.mu.iter().any(|mu| *mu > 0.0);
                let guide = Guide::new(&core, &point.multipliers, &list);
                let (mut packing, built) = dive(&core, &fluid, (&point, &list), &guide, 0.0);
                assert_eq!(built, Ok(()));
                assert_whole(&core, &guide, &packing);
                assert_eq!(packing.spares.concat().is_empty(), kind != Kind::Shared);
                let spares = packing.spares.clone();
                let mut program =
                    Fluid::of_new_nodes(&core, &point.mixes, &guide.near, (&point.multipliers, &list));
                let mut rebuilder = Rebuilder::new(&core, &mut program, &guide, seed);
                rebuilder.keep();
                let first: Vec<Column> = weave::columns(&packing).collect();
                let mut cost = packing.cost(&core);
                for round in 0..60 {
                    let allowance = if round % 3 == 0 { cost / 200 } else { 0 };
                    rebuilder.round(&mut packing, allowance).expect("a small program");
                    assert_whole(&core, &guide, &packing);
                    assert_eq!(packing.spares, spares);
                    assert!(packing.cost(&core) <= cost + allowance);
                    gained += (cost - packing.cost(&core)).max(0);
                    lost += (packing.cost(&core) - cost).max(0);
                    cost = packing.cost(&core);
                }
                assert!(cost >= (list.bound * 1e6) as i64, "below the bound");
                let built = rebuilder.into_built();
                let known = |column: &Column| first.contains(column) || built.contains(column);
                assert!(weave::columns(&packing).all(|column| known(&column)), "a node was not kept");
            }
            assert_eq!(binds, kind == Kind::Limited);
            assert!(gained > 0, "no round of {kind:?} gained anything");
            assert!(lost > 0, "no round of {kind:?} used its allowance");
        }
    }
}
