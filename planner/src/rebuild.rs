//! Better plans of parts where nodes hold many pods: take some nodes apart, solve the fluid program for their pods, and build along it again.
//!
//! The search (`search.rs`) packs what it takes apart by greed. Where a hundred pods share a node, what it misses is how many nodes of which
//! kind fit together, and that is what the fluid optimum of a handful of nodes tells; whole nodes of it are filled nearly without loss.

use crate::core::Core;
use crate::dive::build;
use crate::fluid::Fluid;
use crate::pack::{Filler, Guide, Packing, complete};
use crate::rng::unit;
use crate::search::loss;
use stowage_models::random::Random;

/// Nodes taken apart: at least so many, and up to so many more.
const TAKEN_MIN: usize = 4;
const TAKEN_SPREAD: usize = 20;
/// Share of them that is drawn by what they waste; the others are drawn evenly.
const BY_LOSS: f64 = 0.6;
/// What large pods are worth more while whole nodes are filled; one is drawn.
const SIZE_BIASES: [f64; 4] = [0.0, 0.1, 0.5, 2.0];
/// Ways to pack what is left after whole nodes; the cheapest is kept.
const COMPLETIONS: usize = 4;
/// How far what pods are worth differs between these ways.
const NOISE: f64 = 0.1;
/// Offers tried there beside those of the nodes taken apart.
const OFFERS_DRAWN: usize = 12;

/// Rounds on one packing.
pub(crate) struct Rebuilder<'a, 'f> {
    core: &'a Core,
    fluid: &'f mut Fluid<'a>,
    guide: &'f Guide,
    random: Random,
    filler: Filler,
    before: u64,
}

impl<'a, 'f> Rebuilder<'a, 'f> {
    /// Rounds along optima of `fluid`, drawn with `seed`.
    pub(crate) fn new(core: &'a Core, fluid: &'f mut Fluid<'a>, guide: &'f Guide, seed: u64) -> Self {
        let before = fluid.iterations();
        Rebuilder { core, fluid, guide, random: Random::new(seed), filler: Filler::default(), before }
    }

    /// Simplex iterations since the start.
    pub(crate) fn iterations(&self) -> u64 {
        self.fluid.iterations() - self.before
    }

    /// Candidates looked at since the start.
    pub(crate) fn looks(&self) -> u64 {
        self.filler.work
    }

    /// Builds some nodes of `packing` again. The packing this gives, if it is no dearer and whole.
    pub(crate) fn round(&mut self, packing: &Packing) -> Option<Packing> {
        let chosen = self.draw(packing);
        let mut trial = Packing { nodes: Vec::new(), ..packing.clone() };
        let mut offers = Vec::new();
        for (node, chosen) in packing.nodes.iter().zip(chosen) {
            if !chosen {
                trial.nodes.push(node.clone());
                continue;
            }
            let usage = &self.core.offers[node.offer as usize].usage;
            usage.iter().for_each(|(row, amount)| trial.limits[*row] += amount);
            node.pattern.iter().for_each(|(g, count)| trial.left[*g as usize] += count);
            offers.push(node.offer);
        }
        let size_bias = SIZE_BIASES[self.random.index(SIZE_BIASES.len())];
        let point = self.fluid.resolve(&trial.left).ok();
        build(self.core, self.fluid, point, (self.guide, size_bias), &mut trial, &mut self.filler);
        let core = self.core;
        let best = (0..COMPLETIONS)
            .filter_map(|k| self.completed(&trial, &offers, if k == 0 { 0.0 } else { NOISE }))
            .min_by_key(|packing| packing.cost(core));
        best.filter(|best| best.cost(core) <= packing.cost(core))
    }

    /// Which nodes are taken apart.
    fn draw(&mut self, packing: &Packing) -> Vec<bool> {
        let n = packing.nodes.len();
        let mut losses: Vec<f64> =
            packing.nodes.iter().map(|node| loss(self.core, self.guide, node).max(1e-6)).collect();
        let mut chosen = vec![false; n];
        for _ in 0..(TAKEN_MIN + self.random.index(TAKEN_SPREAD)).min(n) {
            let k = if unit(&mut self.random) < BY_LOSS {
                let mut at = unit(&mut self.random) * losses.iter().sum::<f64>();
                let reached = |loss: &f64| {
                    at -= loss;
                    at <= 0.0
                };
                losses.iter().position(reached).unwrap_or(n - 1)
            } else {
                self.random.index(n)
            };
            chosen[k] = true;
            losses[k] = 0.0;
        }
        chosen
    }

    /// A copy with what is left packed on these offers and some more; nothing if that leaves pods out.
    fn completed(&mut self, trial: &Packing, offers: &[u32], noise: f64) -> Option<Packing> {
        let mut packing = trial.clone();
        let mut offers = offers.to_vec();
        let near = &self.guide.near;
        for _ in 0..OFFERS_DRAWN {
            // Squaring prefers the front of the list, where the best value for money stands.
            let at = unit(&mut self.random);
            offers.push(near[(at * at * near.len() as f64) as usize]);
        }
        offers.sort_unstable();
        offers.dedup();
        let bias: Vec<f64> =
            self.core.demand.iter().map(|_| 1.0 + noise * (unit(&mut self.random) - 0.5)).collect();
        complete(self.core, self.guide, &mut packing, &offers, &bias, &mut self.filler);
        (packing.left_out() == 0).then_some(packing)
    }
}
