//! Better plans of parts where nodes hold many pods: take some nodes apart, solve the fluid program for their pods, and build along it again.
//!
//! The search (`search.rs`) packs what it takes apart by greed. Where a hundred pods share a node, what it misses is how many nodes of which
//! kind fit together, and that is what the fluid optimum of a handful of nodes tells; whole nodes of it are filled nearly without loss.

use crate::core::Core;
use crate::dive::{SIZE_BIASES, build};
use crate::fluid::Fluid;
use crate::pack::{Filler, Guide, Packing, complete_within};
use crate::rng::unit;
use crate::search::{draw_by_loss, loss};
use crate::solve::ITERATION_WORK;
use stowage_models::random::Random;

/// Nodes taken apart: at least so many, and up to so many more.
const TAKEN_MIN: usize = 4;
const TAKEN_SPREAD: usize = 20;
/// Share of them that is drawn by what they waste; the others are drawn evenly.
const BY_LOSS: f64 = 0.6;
/// Ways to pack what is left after whole nodes; the cheapest is kept.
const COMPLETIONS: usize = 4;
/// How far what pods are worth differs between these ways.
const NOISE: f64 = 0.1;

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

    /// Work since the start: candidates looked at, and what its iterations count for.
    pub(crate) fn work(&self) -> u64 {
        self.filler.work + self.iterations() * ITERATION_WORK * self.core.demand.len() as u64
    }

    /// Builds some nodes of a packing that is whole again, and keeps what is no dearer.
    pub(crate) fn round(&mut self, packing: &mut Packing) {
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
        let point = self.fluid.resolve(&trial.left).ok();
        build(core, self.fluid, point, (self.guide, size_bias), &mut trial, &mut self.filler);
        let built: i64 = trial.nodes.iter().map(|node| node.cost(core)).sum();
        let mut best = None;
        let mut budget = before - built;
        for k in 0..COMPLETIONS {
            let noise = if k == 0 { 0.0 } else { NOISE };
            if let Some((cost, completed)) = self.completed(&trial, &offers, noise, budget) {
                best = Some(completed);
                budget = cost - 1;
            }
        }
        if let Some(best) = best {
            let mut chosen = chosen.into_iter();
            packing.nodes.retain(|_| chosen.next() == Some(false));
            packing.nodes.extend(best.nodes);
            packing.limits = best.limits;
        }
    }

    /// Which nodes are taken apart.
    fn draw(&mut self, packing: &Packing) -> Vec<bool> {
        let n = packing.nodes.len();
        let mut losses: Vec<f64> =
            packing.nodes.iter().map(|node| loss(self.core, self.guide, node)).collect();
        let mut chosen = vec![false; n];
        for _ in 0..(TAKEN_MIN + self.random.index(TAKEN_SPREAD)).min(n) {
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
