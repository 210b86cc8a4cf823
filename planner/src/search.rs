//! Large-neighbourhood search: take a few nodes apart, those that waste most first, and pack their pods again.

use crate::core::Core;
use crate::fill::{BinRef, Filler};
use crate::pack::{Guide, PackedNode, Packing, Pattern, best_on_spare, right_size};
use crate::rng::unit;
use stowage_models::random::Random;

/// State of a search; one per worker.
pub(crate) struct Search<'a> {
    core: &'a Core,
    guide: &'a Guide,
    rng: Random,
    filler: Filler,
    /// The packing the search is at.
    packing: Packing,
    /// The best packing so far and its price.
    best: (i64, Packing),
    /// Share of the price of what is taken apart that a round may lose, on average, to get out of a local optimum.
    heat: f64,
    /// What each node wastes: its price less the value of its pods.
    loss: Vec<f64>,
    /// Existing nodes this search may refill, ascending.
    open: Vec<usize>,
    /// It keeps to one thread: it is itself one half of a search, or other work goes on beside it.
    single: bool,
}

/// Below this many nodes halves would be too small to exchange anything.
pub(crate) const HALVES_MIN: usize = 24;

/// What a round takes besides looking at candidates, in units of work.
const ROUND_WORK: u64 = 40;

impl<'a> Search<'a> {
    /// Starts from a packing.
    pub(crate) fn new(core: &'a Core, guide: &'a Guide, packing: Packing, seed: u64) -> Search<'a> {
        let loss = packing.nodes.iter().map(|node| loss(core, guide, node)).collect();
        let open = (0..packing.spares.len()).collect();
        let best = (packing.cost(core), packing.clone());
        Search {
            core,
            guide,
            rng: Random::new(seed),
            filler: Filler::default(),
            packing,
            best,
            heat: 0.0,
            loss,
            open,
            single: false,
        }
    }

    /// Keeps to one thread, for other work beside it.
    pub(crate) fn single(self) -> Search<'a> {
        Search { single: true, ..self }
    }

    /// Works off `work` units (candidates looked at), on two halves of the plan side by side; true if it got cheaper.
    ///
    /// The halves are drawn at random each time and the two streams of random numbers are fixed, so the result does not
    /// depend on how many threads there are.
    pub(crate) fn run(&mut self, work: u64, heat: f64) -> bool {
        self.heat = heat;
        if self.packing.nodes.len() < HALVES_MIN || self.single {
            self.work_off(work);
        } else {
            let mut other = self.split();
            let pool = self.core.pool.clone();
            pool.install(|| rayon::join(|| self.work_off(work / 2), || other.work_off(work / 2)));
            self.absorb(other);
        }
        let cost = self.packing.cost(self.core);
        let better = cost < self.best.0;
        if better {
            self.best = (cost, self.packing.clone());
        }
        better
    }

    /// Goes back to the best packing.
    pub(crate) fn restart(&mut self) {
        self.packing = self.best.1.clone();
        self.loss = self.packing.nodes.iter().map(|node| loss(self.core, self.guide, node)).collect();
    }

    /// Goes on from a packing that was found elsewhere, if it is better than all so far.
    pub(crate) fn adopt(&mut self, packing: &Packing) {
        let cost = packing.cost(self.core);
        if cost < self.best.0 {
            self.best = (cost, packing.clone());
            self.restart();
        }
    }

    /// The best packing so far.
    pub(crate) fn best(&self) -> &Packing {
        &self.best.1
    }

    /// Price of the best packing.
    pub(crate) fn best_cost(&self) -> i64 {
        self.best.0
    }

    /// Nodes of the best packing.
    pub(crate) fn best_nodes(&self) -> usize {
        self.best.1.nodes.len()
    }

    /// The best packing.
    pub(crate) fn into_best(self) -> Packing {
        self.best.1
    }

    /// Work units used so far.
    pub(crate) fn work(&self) -> u64 {
        self.filler.work
    }

    fn work_off(&mut self, work: u64) {
        let end = self.filler.work + work;
        // Drawing nodes and setting up a trial takes time too, in proportion to their number.
        let overhead = ROUND_WORK + (self.packing.nodes.len() + self.packing.left.len()) as u64 / 4;
        while self.filler.work < end {
            self.filler.work += overhead;
            self.round();
        }
    }

    /// Moves a random half of the nodes, existing ones included, to another search. Limits stay here: the other half
    /// may use no more of them than it already does.
    fn split(&mut self) -> Search<'a> {
        let n = self.packing.nodes.len();
        for i in (1..n).rev() {
            let j = self.rng.index(i + 1);
            self.packing.nodes.swap(i, j);
            self.loss.swap(i, j);
        }
        let parity = self.rng.index(2);
        let mut other = Search {
            core: self.core,
            guide: self.guide,
            rng: Random::new(self.rng.next_u64()),
            filler: Filler::default(),
            packing: Packing {
                nodes: self.packing.nodes.split_off(n / 2),
                spares: vec![Vec::new(); self.packing.spares.len()],
                left: vec![0; self.packing.left.len()],
                limits: vec![0; self.packing.limits.len()],
            },
            best: (i64::MAX, Packing::default()),
            heat: self.heat,
            loss: self.loss.split_off(n / 2),
            open: Vec::new(),
            single: true,
        };
        let (mine, theirs) = self.open.iter().partition(|s| *s % 2 == parity);
        self.open = mine;
        other.open = theirs;
        for s in &other.open {
            other.packing.spares[*s] = std::mem::take(&mut self.packing.spares[*s]);
        }
        other
    }

    /// Takes the other half back.
    fn absorb(&mut self, other: Search<'a>) {
        for s in other.open {
            self.packing.spares[s] = other.packing.spares[s].clone();
            self.open.push(s);
        }
        self.open.sort_unstable();
        self.packing.nodes.extend(other.packing.nodes);
        self.loss.extend(other.loss);
        for (mine, theirs) in self.packing.limits.iter_mut().zip(other.packing.limits) {
            *mine += theirs;
        }
        self.filler.work += other.filler.work;
    }

    fn draw(&mut self) -> Vec<usize> {
        let n = self.packing.nodes.len();
        // Now and then a wide neighbourhood: with few nodes, sizes fit together only if most of them may change.
        let spread = if unit(&mut self.rng) < 0.15 { 10 } else { 5 };
        let size = (2 + self.rng.index(spread)).min(n);
        let mut chosen = Vec::with_capacity(size);
        for _ in 0..4 * size {
            let i = if unit(&mut self.rng) < 0.6 {
                draw_by_loss(&self.loss, &mut self.rng)
            } else {
                self.rng.index(n)
            };
            if !chosen.contains(&i) {
                chosen.push(i);
            }
            if chosen.len() == size {
                break;
            }
        }
        chosen.sort_unstable();
        chosen
    }

    /// Up to four existing nodes, in random order, in most rounds.
    fn draw_spares(&mut self) -> Vec<usize> {
        let n = self.open.len();
        let mut chosen = Vec::new();
        if n > 0 && unit(&mut self.rng) < 0.8 {
            let most = if unit(&mut self.rng) < 0.2 { 16 } else { 4 };
            for _ in 0..=self.rng.index(most) {
                let s = self.open[self.rng.index(n)];
                if !chosen.contains(&s) {
                    chosen.push(s);
                }
            }
        }
        chosen
    }

    /// Fills the drawn existing nodes from what is taken apart.
    fn refill_spares(&mut self, trial: &mut Packing, chosen: &[usize], noise: f64) {
        for (k, s) in chosen.iter().enumerate() {
            let candidates = candidates(&trial.left);
            let pattern = if unit(&mut self.rng) < 0.2 {
                best_on_spare(self.core, self.guide, *s, &candidates, &mut self.filler)
            } else {
                let bias: Vec<f64> =
                    candidates.iter().map(|_| 1.0 + noise * (unit(&mut self.rng) - 0.5)).collect();
                self.filler.fill(self.core, self.guide, BinRef::Spare(*s), &candidates, &bias, None);
                self.filler.pattern(&candidates)
            };
            pattern.iter().for_each(|(g, count)| trial.left[*g as usize] -= count);
            trial.spares[k] = pattern;
        }
    }

    /// One round; true if the plan got cheaper.
    fn round(&mut self) -> bool {
        if self.packing.nodes.is_empty() {
            return false;
        }
        let chosen = self.draw();
        let chosen_spares = self.draw_spares();
        let mut trial = Packing {
            nodes: Vec::new(),
            spares: vec![Vec::new(); chosen_spares.len()],
            left: vec![0; self.core.demand.len()],
            limits: self.packing.limits.clone(),
        };
        let mut old_cost = 0;
        for i in &chosen {
            let node = &self.packing.nodes[*i];
            let offer = &self.core.offers[node.offer as usize];
            old_cost += node.cost(self.core);
            offer.usage.iter().for_each(|(row, amount)| trial.limits[*row] += amount);
            node.pattern.iter().for_each(|(g, count)| trial.left[*g as usize] += count);
        }
        for s in &chosen_spares {
            self.packing.spares[*s].iter().for_each(|(g, count)| trial.left[*g as usize] += count);
        }
        // What moves between existing nodes may miss more or less there.
        let missed = |s: usize, pattern: &Pattern| self.core.spares[s].fines.sum(pattern);
        let missed_before: i64 = chosen_spares.iter().map(|s| missed(*s, &self.packing.spares[*s])).sum();
        let mut offers: Vec<u32> = chosen.iter().map(|i| self.packing.nodes[*i].offer).collect();
        self.guide.add_near(&mut offers, &mut self.rng);
        let noise = 0.1 * unit(&mut self.rng);
        self.refill_spares(&mut trial, &chosen_spares, noise);
        let missed = |s: usize, pattern: &Pattern| self.core.spares[s].fines.sum(pattern);
        let missed_after: i64 =
            chosen_spares.iter().zip(&trial.spares).map(|(s, pattern)| missed(*s, pattern)).sum();
        let old_cost = old_cost + missed_before - missed_after;
        let mut budget = old_cost;
        if self.heat > 0.0 {
            // Metropolis: a loss is accepted with probability exp(-loss / (heat * price)).
            budget += (-(1.0 - unit(&mut self.rng)).ln() * self.heat * old_cost as f64) as i64;
        }
        if !self.repack(&mut trial, &offers, noise, budget) {
            return false;
        }
        let new_cost: i64 = trial.nodes.iter().map(|node| node.cost(self.core)).sum();
        if new_cost > budget || trial.left.iter().any(|left| *left > 0) {
            return false;
        }
        // At equal cost, what moved to existing nodes makes room on those that are paid for.
        let worth = |pattern: &Pattern| self.guide.worth(pattern.iter().copied());
        let free_before: f64 = chosen_spares.iter().map(|s| worth(&self.packing.spares[*s])).sum();
        let free_after: f64 = trial.spares.iter().map(worth).sum();
        if new_cost == old_cost && free_after < free_before - 1e-9 {
            return false;
        }
        self.packing.limits = trial.limits;
        for (s, pattern) in chosen_spares.into_iter().zip(trial.spares) {
            self.packing.spares[s] = pattern;
        }
        for i in chosen.iter().rev() {
            self.packing.nodes.swap_remove(*i);
            self.loss.swap_remove(*i);
        }
        for node in trial.nodes {
            self.loss.push(loss(self.core, self.guide, &node));
            self.packing.nodes.push(node);
        }
        new_cost < old_cost
    }

    /// Packs `trial.left` on new nodes; gives up when it costs more than `budget`.
    fn repack(&mut self, trial: &mut Packing, offers: &[u32], noise: f64, budget: i64) -> bool {
        let mut candidates = candidates(&trial.left);
        let mut bias: Vec<f64> =
            candidates.iter().map(|_| 1.0 + noise * (unit(&mut self.rng) - 0.5)).collect();
        let mut cost = 0;
        while !candidates.is_empty() {
            let mut best: Option<(f64, usize, Vec<i64>)> = None;
            let all = self.guide.worth(candidates.iter().copied());
            for (most, o) in self.guide.promising(offers.iter().copied(), all) {
                if best.as_ref().is_some_and(|(have, ..)| most <= *have) {
                    break;
                }
                if cost + self.core.offers[o].price > budget + self.core.offers[o].price / 2
                    || !trial.allows(self.core, o)
                {
                    continue;
                }
                self.filler.fill(self.core, self.guide, BinRef::Offer(o), &candidates, &bias, None);
                let ratio = self.guide.ratio(o, self.filler.value);
                if self.filler.value > 0.0 && best.as_ref().is_none_or(|(have, ..)| ratio > *have) {
                    best = Some((ratio, o, self.filler.counts.clone()));
                }
            }
            let Some((_, o, counts)) = best else { return false };
            let mut pattern: Vec<(u32, i64)> = candidates
                .iter()
                .zip(&counts)
                .filter(|(_, count)| **count > 0)
                .map(|((g, _), count)| (*g, *count))
                .collect();
            pattern.sort_unstable();
            let offer = right_size(self.core, self.guide, &pattern, trial, o);
            let node = PackedNode { offer: offer as u32, pattern };
            cost += node.cost(self.core);
            if cost > budget {
                return false;
            }
            trial.push(self.core, node);
            let mut kept = 0;
            for k in 0..candidates.len() {
                let left = candidates[k].1 - counts[k];
                if left > 0 {
                    candidates[kept] = (candidates[k].0, left);
                    bias[kept] = bias[k];
                    kept += 1;
                }
            }
            candidates.truncate(kept);
            bias.truncate(kept);
            if cost + self.guide.least(candidates.iter().copied()) > budget {
                return false;
            }
        }
        true
    }
}

fn candidates(left: &[i64]) -> Vec<(u32, i64)> {
    left.iter().enumerate().filter(|(_, left)| **left > 0).map(|(g, left)| (g as u32, *left)).collect()
}

/// One of some nodes, the more likely the more it wastes.
pub(crate) fn draw_by_loss(losses: &[f64], random: &mut Random) -> usize {
    let total: f64 = losses.iter().map(|loss| loss.max(1e-6)).sum();
    let mut at = unit(random) * total;
    let reached = |loss: &f64| {
        at -= loss.max(1e-6);
        at <= 0.0
    };
    losses.iter().position(reached).unwrap_or(losses.len() - 1)
}

/// What a node wastes: its price and what its pods miss less what they are worth, dollars per hour.
pub(crate) fn loss(core: &Core, guide: &Guide, node: &PackedNode) -> f64 {
    let missed = core.offers[node.offer as usize].fines.sum(&node.pattern) as f64 / 1e6;
    guide.price[node.offer as usize] + missed - guide.worth(node.pattern.iter().copied())
}
