//! What goes where, in the problem's own terms, and the last repairs: no room unused, no priority turned upside down.

use crate::core::{Core, usage};
use crate::pack::{Packing, Pattern};
use crate::problem::{ExistingBin, Problem};

/// Pods on bins, in the problem's own terms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    /// (index into [`Problem::offerings`], pods by group).
    pub(crate) launches: Vec<(usize, Pattern)>,
    /// (index into [`Problem::existing`], pods by group).
    pub(crate) existing: Vec<(usize, Pattern)>,
    /// Pods left out because of limits, by group.
    pub(crate) left: Vec<i64>,
    /// What is left of each limit.
    pub(crate) limits: Vec<i64>,
}

impl Placement {
    pub(crate) fn new(core: &Core, packing: &Packing) -> Placement {
        Placement {
            launches: packing
                .nodes
                .iter()
                .map(|node| (core.offers[node.offer as usize].offering, node.pattern.clone()))
                .collect(),
            existing: packing
                .spares
                .iter()
                .enumerate()
                .filter(|(_, pattern)| !pattern.is_empty())
                .map(|(s, pattern)| (core.spares[s].bin, pattern.clone()))
                .collect(),
            left: packing.left.clone(),
            limits: packing.limits.clone(),
        }
    }

    /// Adds the launches of a later tier, which placed part of what was left.
    pub(crate) fn merge(&mut self, later: Placement) {
        self.launches.extend(later.launches);
        self.left = later.left;
        self.limits = later.limits;
    }

    /// Price of the launches.
    pub(crate) fn price(&self, problem: &Problem<'_>) -> i64 {
        self.launches.iter().map(|(offering, _)| problem.offerings[*offering].price).sum()
    }

    /// Price of the launches and of the unmet preferences that bounds know.
    pub(crate) fn cost(&self, problem: &Problem<'_>) -> i64 {
        let fines = problem.families.iter().filter(|family| family.split.fine.is_some()).map(|family| {
            let placed = family.rows.iter().map(|g| {
                problem.groups[*g as usize].demand - self.left.get(*g as usize).copied().unwrap_or(0)
            });
            family.split.fines(&placed.collect::<Vec<i64>>())
        });
        self.price(problem) + self.missed(problem) + fines.sum::<i64>()
    }

    /// Price of unmet preferences about nodes.
    pub(crate) fn missed(&self, problem: &Problem<'_>) -> i64 {
        if !problem.prices_preferences {
            return 0;
        }
        let fines = |g: u32| &problem.groups[g as usize].fines;
        let launches = self.launches.iter().flat_map(|(offering, pattern)| {
            let signature = problem.offerings[*offering].signature;
            pattern.iter().map(move |(g, count)| fines(*g).on_new(signature) * count)
        });
        let existing = self.existing.iter().flat_map(|(bin, pattern)| {
            let node = problem.existing[*bin].node;
            pattern.iter().map(move |(g, count)| fines(*g).on_node(node) * count)
        });
        launches.chain(existing).sum()
    }

    /// Puts pods that are left wherever there is room after all, higher priorities first: the plan is maximal.
    pub(crate) fn insert_left(&mut self, problem: &Problem<'_>) {
        self.insert(problem, &|_| true);
    }

    /// The same for groups that no constraint between pods is about, after others were taken out.
    pub(crate) fn insert_plain(&mut self, problem: &Problem<'_>) {
        self.insert(problem, &|g| !problem.groups[g].wants.concern_pods());
    }

    fn insert(&mut self, problem: &Problem<'_>, wanted: &dyn Fn(usize) -> bool) {
        let mut order: Vec<usize> =
            (0..self.left.len()).filter(|g| self.left[*g] > 0 && wanted(*g)).collect();
        order.sort_by_key(|g| (std::cmp::Reverse(problem.groups[*g].priority), *g));
        let mut free_launches: Vec<Vec<i64>> =
            self.launches.iter().map(|(o, p)| free(problem, &problem.offerings[*o].capacity, p)).collect();
        let mut free_existing: Vec<Vec<i64>> = problem.existing.iter().map(|bin| bin.free.clone()).collect();
        for (bin, pattern) in &self.existing {
            free_existing[*bin] = free(problem, &problem.existing[*bin].free, pattern);
        }
        for g in order {
            let request = &problem.groups[g].request;
            let group = u32::try_from(g).expect("groups fit 32 bits");
            for (bin, room) in free_existing.iter_mut().enumerate() {
                if problem.existing[bin].groups.binary_search(&group).is_ok() {
                    let there = self.existing.iter().find(|(b, _)| *b == bin);
                    let there = there.map_or(&[][..], |(_, pattern)| pattern);
                    let most = more_on(problem, &problem.existing[bin], there, group);
                    let count = take(request, room, self.left[g].min(most));
                    if count > 0 {
                        self.left[g] -= count;
                        match self.existing.iter_mut().find(|(b, _)| *b == bin) {
                            Some((_, pattern)) => add(pattern, group, count),
                            None => self.existing.push((bin, vec![(group, count)])),
                        }
                    }
                }
            }
            for ((offering, pattern), room) in self.launches.iter_mut().zip(&mut free_launches) {
                if problem.may_use(g, &problem.offerings[*offering]) {
                    let count = take(request, room, self.left[g].min(more_on_new(problem, pattern, group)));
                    if count > 0 {
                        self.left[g] -= count;
                        add(pattern, group, count);
                    }
                }
            }
            while self.left[g] > 0
                && let Some(offering) = self.cheapest_within_limits(problem, g)
            {
                let mut room = problem.offerings[offering].capacity.clone();
                let count = take(request, &mut room, self.left[g].min(problem.groups[g].cap));
                if count == 0 {
                    break;
                }
                self.left[g] -= count;
                for (row, amount) in usage(problem, offering) {
                    self.limits[row] -= amount;
                }
                self.launches.push((offering, vec![(group, count)]));
                free_launches.push(room);
            }
        }
    }

    /// Trades placed pods of lower priority for pods left out, until no pod is left out for a lower one.
    ///
    /// Each trade raises the priorities placed, so there are at most as many as pods; what a trade frees is used at once.
    pub(crate) fn prefer_higher(&mut self, problem: &Problem<'_>) {
        let mut order: Vec<usize> = (0..self.left.len()).collect();
        order.sort_by_key(|g| (std::cmp::Reverse(problem.groups[*g].priority), *g));
        for g in order {
            while self.left[g] > 0 && self.trade(problem, g) {}
        }
        self.insert_left(problem);
    }

    /// Makes room for one pod of group `g` on the first bin where pods of lower priority hold enough of it.
    fn trade(&mut self, problem: &Problem<'_>, g: usize) -> bool {
        let group = u32::try_from(g).expect("groups fit 32 bits");
        for at in 0..self.existing.len() + self.launches.len() {
            let (may, capacity, pattern) = match at.checked_sub(self.existing.len()) {
                None => {
                    let (bin, pattern) = &self.existing[at];
                    let bin = &problem.existing[*bin];
                    (bin.groups.binary_search(&group).is_ok(), &bin.free, pattern)
                }
                Some(at) => {
                    let (offering, pattern) = &self.launches[at];
                    let offering = &problem.offerings[*offering];
                    (problem.may_use(g, offering), &offering.capacity, pattern)
                }
            };
            if !may {
                continue;
            }
            let Some(evicted) = lowest_that_make_room(problem, g, free(problem, capacity, pattern), pattern)
            else {
                continue;
            };
            let mut rest = pattern.clone();
            evicted.iter().for_each(|(lower, count)| add(&mut rest, *lower, -count));
            rest.retain(|(_, count)| *count > 0);
            let more = match at.checked_sub(self.existing.len()) {
                None => more_on(problem, &problem.existing[self.existing[at].0], &rest, group),
                Some(_) => more_on_new(problem, &rest, group),
            };
            if more < 1 {
                continue;
            }
            let pattern = match at.checked_sub(self.existing.len()) {
                None => &mut self.existing[at].1,
                Some(at) => &mut self.launches[at].1,
            };
            for (lower, count) in evicted {
                add(pattern, lower, -count);
                self.left[lower as usize] += count;
            }
            pattern.retain(|(_, count)| *count > 0);
            add(pattern, group, 1);
            self.left[g] -= 1;
            return true;
        }
        false
    }

    /// The cheapest offering that takes a pod of group `g` within what is left of the limits.
    fn cheapest_within_limits(&self, problem: &Problem<'_>, g: usize) -> Option<usize> {
        (0..problem.offerings.len())
            .filter(|o| problem.may_use(g, &problem.offerings[*o]))
            .filter(|o| usage(problem, *o).iter().all(|(row, amount)| *amount <= self.limits[*row]))
            .min_by_key(|o| {
                let offering = &problem.offerings[*o];
                (offering.price + problem.groups[g].fines.on_new(offering.signature), *o)
            })
    }
}

/// Pods of lower priority than group `g`, the lowest first, whose going lets one pod of `g` fit; `None` if not even all do.
fn lowest_that_make_room(
    problem: &Problem<'_>,
    g: usize,
    mut room: Vec<i64>,
    pattern: &Pattern,
) -> Option<Pattern> {
    let request = &problem.groups[g].request;
    let fits = |room: &[i64]| request.iter().zip(room).all(|(w, c)| w <= c);
    let mut lower: Vec<(u32, i64)> = pattern
        .iter()
        .copied()
        .filter(|(other, _)| problem.groups[*other as usize].priority < problem.groups[g].priority)
        .collect();
    lower.sort_by_key(|(other, _)| (problem.groups[*other as usize].priority, *other));
    let mut evicted = Pattern::new();
    for (other, count) in lower {
        for _ in 0..count {
            if fits(&room) {
                return Some(evicted);
            }
            room.iter_mut().zip(&problem.groups[other as usize].request).for_each(|(room, w)| *room += w);
            add(&mut evicted, other, 1);
        }
    }
    fits(&room).then_some(evicted)
}

/// How many pods of a group constraints let join those on an existing node.
pub(crate) fn more_on(problem: &Problem<'_>, bin: &ExistingBin, pattern: &[(u32, i64)], group: u32) -> i64 {
    let own = pattern.iter().find(|(g, _)| *g == group).map_or(0, |(_, count)| *count);
    (bin.cap(group) - own).max(0).min(problem.rules.more(pattern, &bin.held, group))
}

/// How many pods of a group constraints let join those on a new node.
pub(crate) fn more_on_new(problem: &Problem<'_>, pattern: &[(u32, i64)], group: u32) -> i64 {
    let own = pattern.iter().find(|(g, _)| *g == group).map_or(0, |(_, count)| *count);
    (problem.groups[group as usize].cap - own).max(0).min(problem.rules.more(pattern, &[], group))
}

pub(crate) fn free(problem: &Problem<'_>, capacity: &[i64], pattern: &Pattern) -> Vec<i64> {
    let mut room = capacity.to_vec();
    for (g, count) in pattern {
        room.iter_mut().zip(&problem.groups[*g as usize].request).for_each(|(room, w)| *room -= w * count);
    }
    room
}

/// Takes as many of `left` pods as fit `room`.
pub(crate) fn take(request: &[i64], room: &mut [i64], left: i64) -> i64 {
    let fit = request.iter().zip(room.iter()).filter(|(w, _)| **w > 0).map(|(w, c)| c / w).min().unwrap_or(0);
    let count = fit.min(left).max(0);
    room.iter_mut().zip(request).for_each(|(room, w)| *room -= w * count);
    count
}

pub(crate) fn add(pattern: &mut Pattern, group: u32, count: i64) {
    match pattern.binary_search_by_key(&group, |(g, _)| *g) {
        Ok(at) => pattern[at].1 += count,
        Err(at) => pattern.insert(at, (group, count)),
    }
}
