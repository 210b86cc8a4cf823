//! A choice of nodes to keep, with every pod that waits or moves in a place; changes can be taken back.
//!
//! Pods of a group are equal, so places hold numbers of pods by group. A node that stays keeps its own pods: only what comes
//! in beside them is recorded.

use super::model::Model;
use crate::core::Core;
use crate::pack::Pattern;
use std::collections::BTreeSet;

/// A node to launch.
#[derive(Clone, Debug)]
pub(super) struct Launched {
    /// Index into [`Core::offers`].
    pub(super) offer: usize,
    pub(super) load: Pattern,
    pub(super) room: Vec<i64>,
}

/// Where pods are put. Launches come first: of places that leave as little, the first is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Index into [`State::launches`].
    Launch(usize),
    /// Index into [`Core::spares`].
    Spare(usize),
}

/// A number that is ordered as a float is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64);

impl Rank {
    fn of(value: f64) -> Rank {
        let bits = value.to_bits();
        Rank(if value.is_sign_negative() { !bits } else { bits | 1 << 63 })
    }

    fn value(self) -> f64 {
        f64::from_bits(if self.0 >> 63 == 1 { self.0 & !(1 << 63) } else { !self.0 })
    }
}

/// Places that take pods by weighted room: who looks for the tightest need not look at all of them.
#[derive(Default)]
struct Shelf {
    by_room: BTreeSet<(Rank, Place)>,
    spares: Vec<Option<Rank>>,
    launches: Vec<Option<Rank>>,
}

impl Shelf {
    /// A place has so much room, or is not there.
    fn set(&mut self, place: Place, room: Option<Rank>) {
        let (list, at) = match place {
            Place::Spare(at) => (&mut self.spares, at),
            Place::Launch(at) => (&mut self.launches, at),
        };
        if list.len() <= at {
            list.resize(at + 1, None);
        }
        let before = std::mem::replace(&mut list[at], room);
        if before != room {
            before.map(|room| self.by_room.remove(&(room, place)));
            room.map(|room| self.by_room.insert((room, place)));
        }
    }
}

/// What a change overwrote.
enum Undo {
    Kept(usize),
    Spare(usize, Pattern, Vec<i64>),
    Launch(usize, Option<Launched>),
    Pushed,
}

/// The choice.
pub(super) struct State<'m> {
    pub(super) model: &'m Model,
    pub(super) core: &'m Core,
    /// By removable node.
    pub(super) kept: Vec<bool>,
    /// Removable node of each spare.
    owner: Vec<Option<usize>>,
    /// What comes in, by spare.
    pub(super) load: Vec<Pattern>,
    /// What is free, by spare.
    room: Vec<Vec<i64>>,
    /// Nodes to launch; `None`: taken back.
    pub(super) launches: Vec<Option<Launched>>,
    /// What is left of each limit.
    limits: Vec<i64>,
    /// Pods without a place, by group.
    pub(super) homeless: Vec<i64>,
    /// Micro-dollars per hour: nodes kept, nodes launched, leaving costs.
    pub(super) cost: i64,
    /// Pods that move.
    pub(super) moves: i64,
    journal: Vec<Undo>,
    /// Weight of each scaled resource in how tight a place is.
    y: Vec<f64>,
    shelf: Shelf,
}

/// Adds to a pattern.
pub(super) fn add(pattern: &mut Pattern, group: u32, count: i64) {
    match pattern.binary_search_by_key(&group, |(g, _)| *g) {
        Ok(at) => {
            pattern[at].1 += count;
            if pattern[at].1 == 0 {
                pattern.remove(at);
            }
        }
        Err(at) => pattern.insert(at, (group, count)),
    }
}

impl<'m> State<'m> {
    /// Everything stays; pods that wait have no place yet. `y`: weight of each scaled resource in how tight a place is.
    pub(super) fn new(model: &'m Model, y: Vec<f64>) -> State<'m> {
        let core = model.planning();
        let mut homeless = core.demand.clone();
        let mut owner = vec![None; core.spares.len()];
        let mut cost = 0;
        for (index, one) in model.removable.iter().enumerate() {
            one.own.iter().for_each(|(g, count)| homeless[*g as usize] -= count);
            cost += one.price;
            if let Some(spare) = one.spare {
                owner[spare] = Some(index);
            }
        }
        let mut state = State {
            model,
            core,
            kept: vec![true; model.removable.len()],
            owner,
            load: vec![Vec::new(); core.spares.len()],
            room: core.spares.iter().map(|spare| spare.capacity.clone()).collect(),
            launches: Vec::new(),
            limits: core.limits.clone(),
            homeless,
            cost,
            moves: 0,
            journal: Vec::new(),
            y,
            shelf: Shelf::default(),
        };
        (0..core.spares.len()).for_each(|spare| state.shelve(Place::Spare(spare)));
        state
    }

    /// Notes a place's room where it is looked for.
    fn shelve(&mut self, place: Place) {
        let room = match place {
            Place::Spare(at) if self.is_open(at) && !self.core.spares[at].items.is_empty() => {
                Some(&self.room[at])
            }
            Place::Spare(_) => None,
            Place::Launch(at) => self.launches.get(at).and_then(|launched| Some(&launched.as_ref()?.room)),
        };
        let free = |room: &Vec<i64>| -> f64 {
            room.iter().zip(&self.core.scale).zip(&self.y).map(|((c, scale), y)| *c as f64 / scale * y).sum()
        };
        let rank = room.map(|room| Rank::of(free(room)));
        self.shelf.set(place, rank);
    }

    fn shelve_node(&mut self, index: usize) {
        if let Some(spare) = self.model.removable[index].spare {
            self.shelve(Place::Spare(spare));
        }
    }

    /// Makes everything since the last call final.
    pub(super) fn commit(&mut self) {
        self.journal.clear();
        while self.launches.last().is_some_and(Option::is_none) {
            self.launches.pop();
        }
    }

    /// Takes everything since the last [`State::commit`] back; cost, moves and homeless pods are the caller's to restore.
    pub(super) fn undo(&mut self) {
        while let Some(step) = self.journal.pop() {
            match step {
                Undo::Kept(index) => {
                    self.kept[index] = !self.kept[index];
                    self.shelve_node(index);
                }
                Undo::Spare(spare, load, room) => {
                    self.load[spare] = load;
                    self.room[spare] = room;
                    self.shelve(Place::Spare(spare));
                }
                Undo::Launch(index, before) => {
                    self.count_limits(index, 1);
                    self.launches[index] = before;
                    self.count_limits(index, -1);
                    self.shelve(Place::Launch(index));
                }
                Undo::Pushed => {
                    let last = self.launches.len() - 1;
                    self.count_limits(last, 1);
                    self.launches.pop();
                    self.shelve(Place::Launch(last));
                }
            }
        }
    }

    fn count_limits(&mut self, launch: usize, sign: i64) {
        if let Some(launched) = &self.launches[launch] {
            for (row, amount) in &self.core.offers[launched.offer].usage {
                self.limits[*row] += sign * amount;
            }
        }
    }

    /// Whether the spare takes pods: its node stays.
    pub(super) fn is_open(&self, spare: usize) -> bool {
        self.owner[spare].is_none_or(|index| self.kept[index])
    }

    /// Removes a node; its pods and those that came in lose their places.
    pub(super) fn remove(&mut self, index: usize) {
        let one = &self.model.removable[index];
        self.kept[index] = false;
        self.journal.push(Undo::Kept(index));
        self.cost += one.weighs() - one.price;
        self.moves += one.pods();
        one.own.iter().for_each(|(g, count)| self.homeless[*g as usize] += count);
        if let Some(spare) = one.spare {
            self.empty(spare);
            self.shelve(Place::Spare(spare));
        }
    }

    /// Takes out what came in.
    pub(super) fn empty(&mut self, spare: usize) {
        if self.load[spare].is_empty() {
            return;
        }
        let load = std::mem::take(&mut self.load[spare]);
        let room = std::mem::replace(&mut self.room[spare], self.core.spares[spare].capacity.clone());
        load.iter().for_each(|(g, count)| self.homeless[*g as usize] += count);
        self.journal.push(Undo::Spare(spare, load, room));
        self.shelve(Place::Spare(spare));
    }

    /// Takes a launch back; its pods lose their places.
    pub(super) fn dissolve(&mut self, index: usize) {
        self.count_limits(index, 1);
        if let Some(launched) = self.launches[index].take() {
            self.cost -= self.core.offers[launched.offer].price;
            launched.load.iter().for_each(|(g, count)| self.homeless[*g as usize] += count);
            self.journal.push(Undo::Launch(index, Some(launched)));
            self.shelve(Place::Launch(index));
        }
    }

    /// Keeps a node after all: its pods come home, from among those without a place, then from launches, then from other
    /// nodes. False if some cannot be found.
    pub(super) fn reopen(&mut self, index: usize) -> bool {
        let one = &self.model.removable[index];
        self.kept[index] = true;
        self.journal.push(Undo::Kept(index));
        self.shelve_node(index);
        self.cost += one.price - one.weighs();
        self.moves -= one.pods();
        for (g, count) in &one.own {
            let mut missing = *count;
            let waiting = self.homeless[*g as usize].min(missing);
            self.homeless[*g as usize] -= waiting;
            missing -= waiting;
            for at in 0..self.launches.len() {
                if missing > 0 {
                    missing -= self.take(Place::Launch(at), *g, missing);
                }
            }
            for spare in 0..self.load.len() {
                if missing > 0 {
                    missing -= self.take(Place::Spare(spare), *g, missing);
                }
            }
            if missing > 0 {
                return false;
            }
        }
        true
    }

    /// Takes up to `count` pods of a group out of a place, and returns how many.
    fn take(&mut self, place: Place, group: u32, count: i64) -> i64 {
        let load = match place {
            Place::Spare(spare) => &self.load[spare],
            Place::Launch(at) => match &self.launches[at] {
                Some(launched) => &launched.load,
                None => return 0,
            },
        };
        let Ok(at) = load.binary_search_by_key(&group, |(g, _)| *g) else { return 0 };
        let count = count.min(load[at].1);
        self.put(place, group, -count);
        count
    }

    /// Puts pods of a group in a place (takes them out, if negative); homeless pods are the caller's to count.
    pub(super) fn put(&mut self, place: Place, group: u32, count: i64) {
        let weight = self.core.weight(group as usize);
        let (load, room) = match place {
            Place::Spare(spare) => {
                self.journal.push(Undo::Spare(spare, self.load[spare].clone(), self.room[spare].clone()));
                (&mut self.load[spare], &mut self.room[spare])
            }
            Place::Launch(at) => {
                let before = self.launches[at].clone();
                self.journal.push(Undo::Launch(at, before));
                let Some(launched) = &mut self.launches[at] else { return };
                (&mut launched.load, &mut launched.room)
            }
        };
        add(load, group, count);
        room.iter_mut().zip(weight).for_each(|(room, weight)| *room -= weight * count);
        self.shelve(place);
    }

    /// Launches a node with these pods, which must be homeless and fit.
    pub(super) fn launch(&mut self, offer: usize, load: Pattern) {
        let mut room = self.core.offers[offer].capacity.clone();
        for (g, count) in &load {
            self.homeless[*g as usize] -= count;
            room.iter_mut()
                .zip(self.core.weight(*g as usize))
                .for_each(|(room, weight)| *room -= weight * count);
        }
        self.cost += self.core.offers[offer].price;
        self.launches.push(Some(Launched { offer, load, room }));
        self.journal.push(Undo::Pushed);
        let last = self.launches.len() - 1;
        self.count_limits(last, -1);
        self.shelve(Place::Launch(last));
    }

    /// Whether the limits allow one more of the offer.
    pub(super) fn affords(&self, offer: usize) -> bool {
        self.core.offers[offer].usage.iter().all(|(row, amount)| self.limits[*row] >= *amount)
    }

    /// The place with room for a pod of the group in which least would be left, by weighted room; and how many fit there.
    pub(super) fn tightest(&self, group: u32, count: i64) -> Option<(Place, i64)> {
        let g = group as usize;
        let weight = self.core.weight(g);
        let each = self.core.worth_of_room(g, &self.y);
        let mut best: Option<(f64, Place, i64)> = None;
        // Where one pod fits there is as much room as it takes, but for rounding.
        let least = Rank::of(each * (1.0 - 1e-9));
        for (free, place) in self.shelf.by_room.range((least, Place::Launch(0))..) {
            let free = free.value();
            // No place from here on is left with less, however many fit.
            if best.as_ref().is_some_and(|(left, ..)| free - each * count as f64 > *left) {
                break;
            }
            let (room, items) = match place {
                Place::Launch(at) => match &self.launches[*at] {
                    Some(launched) => (&launched.room, &self.core.offers[launched.offer].items),
                    None => continue,
                },
                Place::Spare(at) => (&self.room[*at], &self.core.spares[*at].items),
            };
            let fits = room.iter().zip(weight).all(|(room, weight)| weight <= room);
            if !fits || items.binary_search_by_key(&group, |(g, _)| *g).is_err() {
                continue;
            }
            let copies =
                weight.iter().zip(room).filter(|(w, _)| **w > 0).map(|(w, c)| c / w).min().unwrap_or(0);
            let copies = copies.min(count);
            let left = free - each * copies as f64;
            let is_better =
                |(have, other, _): &(f64, Place, i64)| left < *have || (left == *have && place < other);
            if copies > 0 && best.as_ref().is_none_or(is_better) {
                best = Some((left, *place, copies));
            }
        }
        best.map(|(_, place, copies)| (place, copies))
    }
}
