//! Which nodes to remove: from the relaxation and from the cluster as it is, then local search over sets of nodes.
//!
//! A step takes the pods of a few nodes away (removes kept ones, takes launches back, keeps removed ones after all), fills the
//! room of what is left, buys the cheapest nodes for the rest, and stays only if all of that is cheaper, eviction costs
//! included. Steps are counted, so the result does not depend on the clock unless it runs out.

use super::model::Model;
use super::state::{State, add};
use crate::core::Core;
use crate::fluid::best_offers;
use crate::pack::Pattern;
use crate::pricing::{Multipliers, price_all};
use stowage_models::random::Random;

/// Offers the search buys from: those nearest to being worth their price.
const SHORTLIST: usize = 96;
/// Steps per node that may be removed, and at least.
const STEPS_PER_NODE: usize = 40;
const STEPS_MIN: usize = 4_000;
const STEPS_MAX: usize = 60_000;
/// The clock is looked at every so many steps.
const STEPS_PER_LOOK: usize = 64;
/// Launches that are weighed against keeping a node after all.
const UNDO_LAUNCHES: usize = 6;
/// Kept in a random choice: nodes whose pods are near in kind make better sets. Candidates drawn per partner.
const DRAWS: usize = 6;

/// What guides filling and buying.
struct Guide {
    pi: Vec<f64>,
    /// Offers by rising price per worth.
    offers: Vec<usize>,
    /// Weight of each (scaled) resource in how tight a place is.
    y: Vec<f64>,
    /// Groups from large to small.
    order: Vec<u32>,
}

impl Guide {
    fn new(core: &Core, multipliers: &Multipliers) -> Guide {
        let list = price_all(core, multipliers);
        let ratio = |o: usize| list.offers[o].value / core.offers[o].cost.max(1e-9);
        let mut ranked: Vec<usize> = (0..core.offers.len()).collect();
        ranked.sort_by(|a, b| ratio(*b).total_cmp(&ratio(*a)).then(a.cmp(b)));
        let mut offers: Vec<usize> = ranked.into_iter().take(SHORTLIST).collect();
        offers.extend(best_offers(core).into_iter().flatten().map(|(offer, _)| offer));
        offers.sort_unstable();
        offers.dedup();
        // Prices of resources at the optimum: the mean over the best offers.
        let mut y = vec![1e-6; core.r()];
        for o in &offers {
            y.iter_mut().zip(&list.offers[*o].y).for_each(|(sum, y)| *sum += y);
        }
        let mut order: Vec<u32> =
            (0..core.demand.len()).map(|g| u32::try_from(g).unwrap_or(u32::MAX)).collect();
        let size = |g: &u32| core.worth_of_room(*g as usize, &y);
        order.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
        Guide { pi: multipliers.pi.clone(), offers, y, order }
    }
}

/// The search.
pub(super) struct Search<'m> {
    guide: Guide,
    /// Nodes that may go, by removable node.
    open: Vec<bool>,
    rng: Random,
    stopped: &'m dyn Fn() -> bool,
}

impl<'m> Search<'m> {
    /// A search guided by these multipliers among the nodes that are open.
    pub(super) fn new(
        model: &Model,
        multipliers: &Multipliers,
        open: Vec<bool>,
        seed: u64,
        stopped: &'m dyn Fn() -> bool,
    ) -> Search<'m> {
        Search { guide: Guide::new(model.planning(), multipliers), open, rng: Random::new(seed), stopped }
    }

    /// The cluster as it is, with pods that wait placed.
    pub(super) fn as_is<'s>(&mut self, model: &'s Model) -> State<'s> {
        let mut state = State::new(model, self.guide.y.clone());
        self.place(&mut state);
        state.commit();
        state
    }

    /// The relaxation rounded, with pods placed.
    pub(super) fn rounded<'s>(&mut self, model: &'s Model, kept: &[f64]) -> State<'s> {
        let mut state = State::new(model, self.guide.y.clone());
        for (index, share) in kept.iter().enumerate() {
            if *share < 0.5 && self.open[index] {
                state.remove(index);
            }
        }
        self.place(&mut state);
        state.commit();
        state
    }

    /// Gives homeless pods places: room first, then purchases. Pods nothing holds stay homeless.
    fn place(&self, state: &mut State<'_>) {
        for g in &self.guide.order {
            while state.homeless[*g as usize] > 0
                && let Some((place, copies)) = state.tightest(*g, state.homeless[*g as usize])
            {
                state.put(place, *g, copies);
                state.homeless[*g as usize] -= copies;
            }
        }
        self.buy(state);
    }

    /// Launches nodes for homeless pods: the one that carries most worth per price, again and again, or the one that
    /// carries all of the rest where that is cheaper.
    fn buy(&self, state: &mut State<'_>) {
        let mut stuck = vec![false; state.homeless.len()];
        loop {
            let rest: Pattern = (0..state.homeless.len())
                .filter(|g| state.homeless[*g] > 0 && !stuck[*g])
                .map(|g| (u32::try_from(g).unwrap_or(u32::MAX), state.homeless[g]))
                .collect();
            if rest.is_empty() {
                return;
            }
            match self.choose(state, &rest) {
                Some((offer, load)) => state.launch(offer, load),
                None => rest.iter().for_each(|(g, _)| stuck[*g as usize] = true),
            }
        }
    }

    fn choose(&self, state: &State<'_>, rest: &Pattern) -> Option<(usize, Pattern)> {
        let core = state.core;
        let worth = |load: &Pattern| -> f64 {
            load.iter().map(|(g, count)| self.guide.pi[*g as usize].max(1e-9) * *count as f64).sum()
        };
        let whole = worth(rest);
        let mut best: Option<(f64, usize, Pattern)> = None;
        let mut all: Option<(i64, usize, Pattern)> = None;
        for o in &self.guide.offers {
            let offer = &core.offers[*o];
            if !state.affords(*o)
                || all.as_ref().is_some_and(|(price, ..)| offer.cost > 4.0 * *price as f64 / 1e6)
            {
                continue;
            }
            let load = self.fill(core, *o, rest);
            if load.is_empty() {
                continue;
            }
            let value = worth(&load);
            // What it costs to place all of the rest, if what this leaves can be placed at its worth.
            let score = (offer.cost + whole - value) - whole;
            let score = score / value.max(1e-12);
            if load == *rest && all.as_ref().is_none_or(|(price, ..)| offer.price < *price) {
                all = Some((offer.price, *o, load.clone()));
            }
            if best.as_ref().is_none_or(|(have, ..)| score < *have) {
                best = Some((score, *o, load));
            }
        }
        let (_, offer, load) = best?;
        if let Some((price, o, everything)) = all {
            let others = core.offers[offer].cost + (whole - worth(&load)) * 1.05;
            if price as f64 / 1e6 <= others {
                return Some((o, everything));
            }
        }
        Some((offer, load))
    }

    /// Fills an offer: pod by pod, most worth for the room it takes first, scarce resources counting more.
    fn fill(&self, core: &Core, o: usize, rest: &Pattern) -> Pattern {
        let offer = &core.offers[o];
        let r = core.r();
        let mut left: Vec<(u32, i64)> = rest
            .iter()
            .filter(|(g, _)| offer.items.binary_search_by_key(g, |(g, _)| *g).is_ok())
            .copied()
            .collect();
        let mut room = offer.capacity.clone();
        let mut load = Pattern::new();
        loop {
            left.retain(|(g, count)| {
                *count > 0 && core.weight(*g as usize).iter().zip(&room).all(|(w, c)| w <= c)
            });
            let density = |g: u32| -> f64 {
                let takes: f64 = (0..r)
                    .map(|k| {
                        let free = room[k] as f64 / core.scale[k];
                        core.w[g as usize * r + k]
                            * (self.guide.y[k] * offer.cap[k] / free.max(1e-9)).min(1e6)
                    })
                    .sum();
                self.guide.pi[g as usize].max(1e-9) / takes.max(1e-12)
            };
            let best = left.iter().enumerate().map(|(at, (g, _))| (density(*g), at));
            let Some((_, at)) = best.reduce(|a, b| if b.0 > a.0 { b } else { a }) else { return load };
            let (g, count) = left[at];
            let copies = core.copies(g as usize, &room).min(count);
            // A part at a time, so that the mix follows the scarcity.
            let step = copies.min((copies / 4).max(1));
            add(&mut load, g, step);
            left[at].1 -= step;
            room.iter_mut().zip(core.weight(g as usize)).for_each(|(room, w)| *room -= w * step);
        }
    }

    /// Improves a state until steps or time run out; returns the steps taken.
    pub(super) fn improve(&mut self, state: &mut State<'_>) -> usize {
        let nodes = state.kept.len();
        if nodes == 0 {
            return 0;
        }
        let steps = (nodes * STEPS_PER_NODE).clamp(STEPS_MIN, STEPS_MAX);
        // Every node alone first, those whose pods are worth least for their price before the others.
        let mut alone: Vec<(f64, usize)> =
            (0..nodes).filter(|at| self.open[*at]).map(|index| (self.worth(state, index), index)).collect();
        alone.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (_, index) in alone {
            if (self.stopped)() {
                return 0;
            }
            if state.kept[index] {
                self.attempt(state, |state| {
                    state.remove(index);
                    true
                });
            }
        }
        for step in 0..steps {
            if step % STEPS_PER_LOOK == 0 && (self.stopped)() {
                return step;
            }
            self.step(state);
        }
        self.undo_moves(state);
        steps
    }

    /// Looks once more at every node that goes, those with most pods first: where keeping it makes a launch superfluous and costs no
    /// more, its pods need not move.
    fn undo_moves(&self, state: &mut State<'_>) {
        let mut gone: Vec<usize> = (0..state.kept.len()).filter(|index| !state.kept[*index]).collect();
        gone.sort_by_key(|index| (std::cmp::Reverse(state.model.removable[*index].pods()), *index));
        for index in gone {
            if (self.stopped)() {
                return;
            }
            let own = &state.model.removable[index].own;
            let mut launches: Vec<(std::cmp::Reverse<usize>, usize)> = state
                .launches
                .iter()
                .enumerate()
                .filter_map(|(at, launched)| {
                    Some((std::cmp::Reverse(overlap(own, &launched.as_ref()?.load)), at))
                })
                .collect();
            launches.sort_unstable();
            for (_, at) in launches.into_iter().take(UNDO_LAUNCHES) {
                if !state.kept[index] && state.launches.get(at).is_some_and(Option::is_some) {
                    self.attempt(state, |state| {
                        state.dissolve(at);
                        state.reopen(index)
                    });
                }
            }
        }
    }

    /// Worth of a node's pods per price.
    fn worth(&self, state: &State<'_>, index: usize) -> f64 {
        let one = &state.model.removable[index];
        let pods: f64 = one.own.iter().map(|(g, count)| self.guide.pi[*g as usize] * *count as f64).sum();
        (pods + one.weighs() as f64 / 1e6) / (one.price as f64 / 1e6).max(1e-9)
    }

    fn step(&mut self, state: &mut State<'_>) {
        let (nodes, launches) = (state.kept.len(), state.launches.len());
        let size = 1 + self.rng.index(4);
        let mut chosen: Vec<usize> = vec![self.rng.index(nodes + launches)];
        while chosen.len() < size {
            // Of some draws the one most like the first: sets of like pods repack into each other.
            let draws: Vec<usize> = (0..DRAWS).map(|_| self.rng.index(nodes + launches)).collect();
            let likeness = |at: usize| overlap(pods_of(state, chosen[0]), pods_of(state, at));
            let best =
                draws.into_iter().map(|at| (likeness(at), at)).reduce(|a, b| if b.0 > a.0 { b } else { a });
            chosen.extend(best.map(|(_, at)| at).filter(|at| !chosen.contains(at)));
            if self.rng.index(8) == 0 {
                break;
            }
        }
        self.attempt(state, |state| {
            // Removals first: what they make homeless can go home to nodes that are kept after all.
            let of_nodes = chosen.iter().copied().filter(|at| *at < nodes && self.open[*at]);
            let (removed, kept): (Vec<usize>, Vec<usize>) = of_nodes.partition(|at| !state.kept[*at]);
            for at in chosen.iter().filter(|at| **at >= nodes) {
                state.dissolve(at - nodes);
            }
            kept.into_iter().for_each(|index| state.remove(index));
            removed.into_iter().all(|index| state.reopen(index))
        });
    }

    /// Makes a change, places what it leaves homeless, and keeps it if that is cheaper (or places pods that had no place), or as cheap with
    /// fewer moves.
    fn attempt(&self, state: &mut State<'_>, change: impl FnOnce(&mut State<'_>) -> bool) {
        let (cost, moves, homeless) = (state.cost, state.moves, state.homeless.clone());
        let before: i64 = homeless.iter().sum();
        let is_possible = change(state);
        if is_possible {
            self.place(state);
            for at in 0..state.launches.len() {
                if state.launches[at].as_ref().is_some_and(|launched| launched.load.is_empty()) {
                    state.dissolve(at);
                }
            }
        }
        let after: i64 = state.homeless.iter().sum();
        if is_possible && (after, state.cost, state.moves) < (before, cost, moves) {
            state.commit();
        } else {
            state.undo();
            state.cost = cost;
            state.moves = moves;
            state.homeless = homeless;
        }
    }
}

fn pods_of<'s>(state: &'s State<'_>, at: usize) -> &'s [(u32, i64)] {
    match at.checked_sub(state.kept.len()) {
        None => &state.model.removable[at].own,
        Some(launch) => state.launches[launch].as_ref().map_or(&[], |launched| &launched.load),
    }
}

fn overlap(one: &[(u32, i64)], other: &[(u32, i64)]) -> usize {
    one.iter().filter(|(g, _)| other.binary_search_by_key(g, |(g, _)| *g).is_ok()).count()
}
