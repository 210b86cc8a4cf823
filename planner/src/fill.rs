//! Filling one bin pod by pod.
//!
//! The next pod is the one with the best value for the room it takes, where room in a scarce resource counts more:
//! `pi_g / sum_r y_r w_gr (C_r / free_r)`. With the multipliers of the fluid optimum all pods an offer should carry have
//! equal value for their size, so the scarcity term decides, and it keeps cpu and memory filling up together.

use crate::constraints::nodes::Tally;
use crate::core::{Core, Fined};
use crate::knapsack::{RESOURCES_MAX, RESOURCES_USUAL};
use crate::pack::{Guide, Pattern};

/// A pod that misses more than it is worth is still to be placed: last.
const WORTH_MIN: f64 = 1e-9;

/// Which bin is filled.
#[derive(Clone, Copy)]
pub(crate) enum BinRef {
    /// An offer.
    Offer(usize),
    /// An existing node.
    Spare(usize),
}

/// A candidate that may still be taken.
#[derive(Clone, Copy)]
struct Open {
    /// Position among the candidates.
    position: u32,
    /// Value of a pod in the choice.
    worth: f64,
    /// More copies at most.
    most: i64,
}

/// Pods without accelerators ask for as many resources at most. With a fixed number the innermost loop of all is free of loops of its own.
const RESOURCES_FEW: usize = 4;

/// Scratch space of the filling loop.
#[derive(Default)]
pub(crate) struct Filler {
    free: Vec<i64>,
    tally: Tally,
    /// Candidates that may still be taken: what does not fit now does not fit later.
    open: Vec<Open>,
    /// What a pod of each of them takes, one after the other.
    room: Vec<f64>,
    /// Counts of the last fill, parallel to the candidate list given.
    pub(crate) counts: Vec<i64>,
    /// Value of the last fill at the guide's multipliers.
    pub(crate) value: f64,
    /// Candidates since creation, as if all were looked at for each choice: the deterministic measure of work.
    pub(crate) work: u64,
}

impl Filler {
    /// Fills `bin` from `candidates` (group, available); starts from `start` counts parallel to it, if given.
    /// `bias` multiplies the value of each candidate in the choice (not in the result).
    pub(crate) fn fill(
        &mut self,
        core: &Core,
        guide: &Guide,
        bin: BinRef,
        candidates: &[(u32, i64)],
        bias: &[f64],
        start: Option<&[i64]>,
    ) {
        let r = core.r();
        let (capacity, y) = match bin {
            BinRef::Offer(o) => (&core.offers[o].capacity, &guide.y[o * r..][..r]),
            BinRef::Spare(s) => (&core.spares[s].capacity, &guide.spare_y[s * r..][..r]),
        };
        // Copies of a group that its own constraints allow here; none if it may not use the bin.
        let most = |g: u32| match bin {
            BinRef::Offer(o) if guide.takes(o, g) => core.cap[g as usize],
            BinRef::Offer(_) => 0,
            BinRef::Spare(s) => {
                let items = &core.spares[s].items;
                items.binary_search_by_key(&g, |(g, _)| *g).map_or(0, |at| items[at].1)
            }
        };
        let fines = match bin {
            BinRef::Offer(o) => &core.offers[o].fines,
            BinRef::Spare(s) => &core.spares[s].fines,
        };
        let is_spare = matches!(bin, BinRef::Spare(_));
        let held = match bin {
            BinRef::Offer(_) => &[][..],
            BinRef::Spare(s) => &core.spares[s].held,
        };
        core.rules.start(&mut self.tally, held);
        self.free.clear();
        self.free.extend_from_slice(capacity);
        self.counts.clear();
        self.counts.resize(candidates.len(), 0);
        self.value = 0.0;
        if let Some(start) = start {
            for (k, count) in start.iter().enumerate() {
                let (g, available) = candidates[k];
                let count = (*count).min(available).min(core.copies(g as usize, &self.free));
                let count = count.min(most(g)).min(core.rules.room(&self.tally, g));
                self.take(core, guide, fines, (k, g, count));
            }
        }
        self.open.clear();
        for (k, (g, available)) in candidates.iter().enumerate() {
            let worth = worth(guide, fines, *g);
            // What is there already takes nobody whom a place elsewhere costs less; elsewhere is a new node.
            let unwanted = is_spare && guide.fined && worth <= 0.0;
            let most = if unwanted { 0 } else { (*available).min(most(*g)) } - self.counts[k];
            if most > 0 {
                self.open.push(Open { position: k as u32, worth: at_least(guide, worth) * bias[k], most });
            }
        }
        let bin = (&capacity[..], y, fines);
        if r <= RESOURCES_FEW {
            self.grow::<RESOURCES_FEW>(core, guide, bin, candidates);
        } else if r <= RESOURCES_USUAL {
            self.grow::<RESOURCES_USUAL>(core, guide, bin, candidates);
        } else {
            self.grow::<RESOURCES_MAX>(core, guide, bin, candidates);
        }
    }

    /// Takes the best of the open candidates until none fits any more. Amounts are whole numbers below 2^53, so floating point has them
    /// exactly.
    fn grow<const R: usize>(
        &mut self,
        core: &Core,
        guide: &Guide,
        (capacity, y, fines): (&[i64], &[f64], &Fined),
        candidates: &[(u32, i64)],
    ) {
        let r = core.r();
        self.room.clear();
        for open in &self.open {
            let weights = core.weight(candidates[open.position as usize].0 as usize);
            self.room.extend(weights.iter().map(|weight| *weight as f64));
            self.room.resize(self.room.len() + R - r, 0.0);
        }
        let mut price = [0.0; R];
        let mut free = [0.0; R];
        loop {
            for k in 0..r {
                // Scarcity in [1, 20]: beyond that the last crumbs of a resource would decide everything.
                let scarcity = (capacity[k] as f64 / (self.free[k].max(1)) as f64).min(20.0);
                price[k] = y[k] * scarcity / core.scale[k];
                free[k] = self.free[k] as f64;
            }
            self.work += candidates.len() as u64;
            let copies = |open: &Open| core.rules.room(&self.tally, candidates[open.position as usize].0);
            let (best, kept) = best_open::<R>(&mut self.open, &mut self.room, &price, &free, copies);
            self.open.truncate(kept);
            let Some((at, available)) = best else { break };
            let k = self.open[at].position as usize;
            let g = candidates[k].0;
            // A third of what would fit at once: large groups fill fast, and the balance is still re-judged on the way.
            let copies = (core.copies(g as usize, &self.free).min(available) / 3).max(1);
            self.open[at].most -= copies;
            self.take(core, guide, fines, (k, g, copies));
        }
    }

    fn take(&mut self, core: &Core, guide: &Guide, fines: &Fined, (k, g, count): (usize, u32, i64)) {
        for (free, weight) in self.free.iter_mut().zip(core.weight(g as usize)) {
            *free -= weight * count;
        }
        self.counts[k] += count;
        core.rules.take(&mut self.tally, g, count);
        self.value += at_least(guide, worth(guide, fines, g)) * count as f64;
    }

    /// The last fill as a pattern.
    pub(crate) fn pattern(&self, candidates: &[(u32, i64)]) -> Pattern {
        let mut pattern: Pattern = candidates
            .iter()
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|((g, _), count)| (*g, *count))
            .collect();
        pattern.sort_unstable();
        pattern
    }
}

/// What a pod of `g` is worth in a bin with these fines, which may be less than nothing.
fn worth(guide: &Guide, fines: &Fined, g: u32) -> f64 {
    guide.pi[g as usize] - if guide.fined { fines.dollars(g) } else { 0.0 }
}

/// What it counts for, so that all pods are placed.
fn at_least(guide: &Guide, worth: f64) -> f64 {
    if guide.fined { worth.max(WORTH_MIN) } else { worth }
}

/// Of those that fit the one with the most value for the room it takes, with the copies it may have at most; moves all that fit to the
/// front and says how many they are. `room` has what they take, `R` amounts each, and `copies` how many more rules allow.
fn best_open<const R: usize>(
    open: &mut [Open],
    room: &mut [f64],
    price: &[f64; R],
    free: &[f64; R],
    copies: impl Fn(&Open) -> i64,
) -> (Option<(usize, i64)>, usize) {
    // Value per room is compared without a division: this is the innermost loop of all.
    let (mut value, mut taken) = (-1.0, 0.0);
    let mut best = None;
    let mut kept = 0;
    let (rooms, _) = room.as_chunks_mut::<R>();
    let count = open.len().min(rooms.len());
    let (open, rooms) = (&mut open[..count], &mut rooms[..count]);
    for at in 0..count {
        let (one, weights) = (open[at], rooms[at]);
        let mut fits = one.most > 0;
        let mut room = 0.0;
        for k in 0..R {
            fits &= weights[k] <= free[k];
            room += price[k] * weights[k];
        }
        if !fits {
            continue;
        }
        open[kept] = one;
        rooms[kept] = weights;
        let room = room.max(1e-12);
        if one.worth * taken > value * room {
            let copies = copies(&one);
            if copies > 0 {
                best = Some((kept, one.most.min(copies)));
                (value, taken) = (one.worth, room);
            }
        }
        kept += 1;
    }
    (best, kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::random::Random;

    /// Random candidates of `R` amounts: the best by division, first of those that are equal.
    fn agree<const R: usize>(random: &mut Random) {
        let amounts = |random: &mut Random, most: usize| [(); R].map(|()| random.index(most) as f64);
        let (price, free) = (amounts(random, 9).map(|price| price + 1.0), amounts(random, 40));
        let count = 1 + random.index(30);
        let mut open = Vec::new();
        let mut room = Vec::new();
        for position in 0..count as u32 {
            open.push(Open { position, worth: random.index(50) as f64, most: random.index(4) as i64 });
            room.extend(amounts(random, 12).map(|amount| amount + 1.0));
        }
        let allowed = |one: &Open| i64::from(one.position % 5);
        let needs = |at: usize| &room[at * R..][..R];
        let fits = |at: &usize| open[*at].most > 0 && needs(*at).iter().zip(&free).all(|(w, free)| w <= free);
        let fitting: Vec<u32> = (0..count).filter(fits).map(|at| at as u32).collect();
        let ratio = |at: &u32| {
            let room: f64 = needs(*at as usize).iter().zip(&price).map(|(w, price)| w * price).sum();
            open[*at as usize].worth / room
        };
        let mut best: Option<u32> = None;
        for at in fitting.iter().filter(|at| allowed(&open[**at as usize]) > 0) {
            if best.is_none_or(|best| ratio(at) > ratio(&best) * (1.0 + 1e-12)) {
                best = Some(*at);
            }
        }
        let expected = best.map(|at| (at, open[at as usize].most.min(allowed(&open[at as usize]))));
        let (found, kept) = best_open::<R>(&mut open, &mut room, &price, &free, allowed);
        assert_eq!(open[..kept].iter().map(|one| one.position).collect::<Vec<_>>(), fitting);
        assert_eq!(found.map(|(at, copies)| (open[at].position, copies)), expected);
    }

    #[test]
    fn the_best_of_what_fits_is_taken_whatever_the_number_of_resources() {
        let mut random = Random::new(5);
        for _ in 0..500 {
            agree::<RESOURCES_FEW>(&mut random);
            agree::<RESOURCES_USUAL>(&mut random);
            agree::<RESOURCES_MAX>(&mut random);
        }
    }
}
