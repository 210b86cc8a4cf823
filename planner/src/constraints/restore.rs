//! The last word on a plan: every pod is bound as kube-scheduler would, one after the other, and what cannot be bound is put
//! elsewhere or left out.
//!
//! The search knows caps, rules between groups and assigned domains, so little is left to do here; but what leaves this module
//! can be bound in some order, whatever the search did.

use super::assign::settle_running;
use super::reasons;
use super::sim::{Sim, Values, Violation};
use crate::blocking::minimal_sets;
use crate::core::usage;
use crate::extract::Dealer;
use crate::pack::Pattern;
use crate::placement::{Placement, add, free, more_on, more_on_new, take};
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::PodRef;

/// Where pods are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bin {
    /// Position in [`Placement::existing`].
    Existing(usize),
    /// Position in [`Placement::launches`].
    Launch(usize),
}

/// A replay in progress.
#[derive(Clone)]
pub(super) struct Replay<'r, 'a> {
    pub(super) problem: &'r Problem<'a>,
    pub(super) sim: Sim,
    /// Whether pods on a new node of a signature count, by spread constraint.
    counts_on_new: BTreeMap<(u32, u32), bool>,
    /// The same for nodes of the snapshot.
    pub(super) counts_on_node: Vec<Vec<bool>>,
    launches: u32,
}

impl<'r, 'a> Replay<'r, 'a> {
    pub(super) fn new(problem: &'r Problem<'a>) -> Replay<'r, 'a> {
        let mut sim = Sim::new(&problem.groups, &problem.constraints.meanings, None, &|g, at| {
            let group = &problem.groups[g];
            Some(problem.domains(group, &group.wants.terms.spreads[at], false))
        });
        settle_running(problem, &mut sim);
        let counts_on_node = sim.owners().iter().map(|(g, at)| {
            let group = &problem.groups[*g];
            let spread = &group.wants.terms.spreads[*at];
            (0..problem.snapshot.nodes.len())
                .map(|node| problem.counts_on_node(group, spread, node))
                .collect()
        });
        let counts_on_node = counts_on_node.collect();
        Replay { problem, sim, counts_on_new: BTreeMap::new(), counts_on_node, launches: 0 }
    }

    fn counts_on_new(&mut self, counter: u32, signature: u32) -> bool {
        let problem = self.problem;
        let (g, at) = self.sim.owners()[counter as usize];
        *self.counts_on_new.entry((counter, signature)).or_insert_with(|| {
            let group = &problem.groups[g];
            problem.counts_on_new(group, &group.wants.terms.spreads[at], signature as usize)
        })
    }

    pub(super) fn values_on_node(&mut self, node: usize) -> Values {
        let keys = 0..self.problem.constraints.meanings.keys.len() as u32;
        keys.map(|key| self.problem.value_on(node, key).map(|value| self.sim.value(value))).collect()
    }

    /// Values of a new node, which from now on is there.
    fn launch(&mut self, signature: u32) -> Values {
        let hostname = self.problem.constraints.meanings.key_number(labels::HOSTNAME);
        let keys = 0..self.problem.constraints.meanings.keys.len() as u32;
        // No node of the snapshot has a name like this.
        let name = format!("new {}", self.launches);
        self.launches += 1;
        let values: Values = keys
            .map(|key| {
                let value = self.problem.value_of(signature as usize, key);
                let value = if Some(key) == hostname { Some(name.as_str()) } else { value };
                value.map(|value| self.sim.value(value))
            })
            .collect();
        for counter in 0..self.sim.owners().len() as u32 {
            if self.counts_on_new(counter, signature) {
                self.sim.add_domain(counter, &values);
            }
        }
        values
    }

    pub(super) fn bind(&mut self, g: u32, place: &(Place, Values), pods: i64) {
        let counters = 0..self.sim.owners().len() as u32;
        let counts: Vec<bool> = match place.0 {
            Place::Node(node) => {
                counters.map(|counter| self.counts_on_node[counter as usize][node]).collect()
            }
            Place::New(signature) => counters.map(|counter| self.counts_on_new(counter, signature)).collect(),
        };
        self.sim.bind(g as usize, &place.1, pods, &|counter| counts[counter as usize]);
    }

    /// Binds as many of `pods` pods as may be bound now.
    fn bind_most(&mut self, g: u32, place: &(Place, Values), pods: i64) -> i64 {
        let is_open = |replay: &Self| replay.sim.check(g as usize, &place.1).is_ok();
        if !self.sim.depends_on_itself(g as usize) {
            let bound = if is_open(self) { pods } else { 0 };
            self.bind(g, place, bound);
            return bound;
        }
        let mut bound = 0;
        while bound < pods && is_open(self) {
            self.bind(g, place, 1);
            bound += 1;
        }
        bound
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Node of the snapshot.
    Node(usize),
    /// New node of a signature.
    New(u32),
}

/// How often pods that cannot be bound are put elsewhere: where they go others may become too many.
const PASSES: usize = 3;

/// Makes a placement one that can be bound pod by pod. What cannot be placed moves to [`Problem::blocked`]; true if anything
/// changed.
pub(crate) fn restore(problem: &mut Problem<'_>, placement: &mut Placement) -> bool {
    if problem.groups.iter().all(|group| !group.wants.concern_pods()) {
        return false;
    }
    let mut changed = false;
    let mut out: BTreeMap<u32, i64> = BTreeMap::new();
    for pass in 0.. {
        let (mut taken, stuck) = replay(problem, placement, pass < PASSES);
        let trimmed = trim(problem, placement);
        for (g, pods) in trimmed {
            *taken.entry(g).or_default() += pods;
        }
        placement.drop_empty(problem);
        // What was put elsewhere changes the order, too.
        let any = stuck || taken.values().any(|pods| *pods > 0);
        taken.into_iter().for_each(|(g, pods)| *out.entry(g).or_default() += pods);
        if !any {
            break;
        }
        changed = true;
    }
    out.retain(|_, pods| *pods > 0);
    let found = in_the_way(problem, placement, out.keys().copied());
    for ((g, pods), violations) in out.into_iter().zip(found) {
        let blocked = reasons::blocked(problem, g as usize, &violations, pods);
        problem.blocked.push(blocked);
        problem.groups[g as usize].demand -= pods;
    }
    changed
}

/// What keeps groups from being bound to any more place, when all of a placement is bound.
fn in_the_way(
    problem: &Problem<'_>,
    placement: &Placement,
    groups: impl Iterator<Item = u32>,
) -> Vec<Vec<(Violation, Option<i64>)>> {
    let mut replay = Replay::new(problem);
    for (bin, pattern) in &placement.existing {
        let node = problem.existing[*bin].node;
        let place = (Place::Node(node), replay.values_on_node(node));
        pattern.iter().for_each(|(g, pods)| replay.bind(*g, &place, *pods));
    }
    for (offering, pattern) in &placement.launches {
        let signature = problem.offerings[*offering].signature;
        let place = (Place::New(signature), replay.launch(signature));
        pattern.iter().for_each(|(g, pods)| replay.bind(*g, &place, *pods));
    }
    let nothing = Pattern::new();
    let found = groups.map(|g| {
        let mut closed = Vec::new();
        for (at, bin) in problem.existing.iter().enumerate().filter(|(_, bin)| bin.cap(g) > 0) {
            let pattern = placement.existing.iter().find(|(other, _)| *other == at);
            let pattern = pattern.map_or(&nothing, |(_, pattern)| pattern);
            let mut room = free(problem, &bin.free, pattern);
            let request = &problem.groups[g as usize].request;
            if more_on(problem, bin, pattern, g) <= 0 || take(request, &mut room, 1) == 0 {
                continue;
            }
            let values = replay.values_on_node(bin.node);
            closed.push((replay.sim.all_violations(g as usize, &values), 0));
        }
        let mut cheapest: BTreeMap<u32, i64> = BTreeMap::new();
        for (o, offering) in problem.offerings.iter().enumerate() {
            let is_left = usage(problem, o).iter().all(|(row, amount)| *amount <= placement.limits[*row]);
            if is_left && problem.may_use(g as usize, offering) {
                let price = cheapest.entry(offering.signature).or_insert(offering.price);
                *price = offering.price.min(*price);
            }
        }
        for (signature, price) in cheapest {
            // A new node is a domain of its own while it is looked at.
            let before = replay.sim.clone();
            let values = replay.launch(signature);
            closed.push((replay.sim.all_violations(g as usize, &values), price));
            replay.sim = before;
        }
        minimal_sets(closed)
    });
    found.collect()
}

/// Binds all; takes out what cannot be bound, and puts it elsewhere if `again`. Returns what is nowhere, by group, and whether
/// anything could not be bound where it was.
fn replay(problem: &Problem<'_>, placement: &mut Placement, again: bool) -> (BTreeMap<u32, i64>, bool) {
    let mut replay = Replay::new(problem);
    placement.launches.sort();
    placement.existing.sort();
    let mut places: Vec<(Bin, (Place, Values))> = Vec::new();
    for (at, (bin, _)) in placement.existing.iter().enumerate() {
        let node = problem.existing[*bin].node;
        let values = replay.values_on_node(node);
        places.push((Bin::Existing(at), (Place::Node(node), values)));
    }
    for (at, (offering, _)) in placement.launches.iter().enumerate() {
        let signature = problem.offerings[*offering].signature;
        let values = replay.launch(signature);
        places.push((Bin::Launch(at), (Place::New(signature), values)));
    }
    // The order in which whoever reads the plan tries: node by node, pods by name.
    let mut dealer = Dealer::default();
    let mut waiting: Vec<(usize, u32, u32)> = Vec::new();
    for (at, (bin, _)) in places.iter().enumerate() {
        let mut here: Vec<(PodRef, u32, u32)> = Vec::new();
        for (g, count) in placement.pattern(*bin) {
            let pods = dealer.take(&problem.groups[*g as usize].whole, *count);
            if replay.sim.concerns(*g as usize) {
                here.extend(pods.iter().map(|pod| (problem.pod_ref(*pod), *g, *pod)));
            }
        }
        here.sort();
        waiting.extend(here.into_iter().map(|(_, g, pod)| (at, g, pod)));
    }
    let waiting = bind_all(&mut replay, &places, waiting);
    let stuck = !waiting.is_empty();
    let mut left: BTreeMap<u32, i64> = BTreeMap::new();
    for (at, g, _) in waiting {
        add(placement.pattern_mut(places[at].0), g, -1);
        *left.entry(g).or_default() += 1;
    }
    if again {
        // What could not be bound before others were may be bound now.
        while insert(problem, placement, &mut replay, &mut places, &mut left) {}
    }
    (left, stuck)
}

/// Binds pods (position in `places`, group, pod) where they are meant to go, in rounds; returns those that cannot be, or only as long as
/// others are not there yet.
pub(super) fn bind_all<B>(
    replay: &mut Replay<'_, '_>,
    places: &[(B, (Place, Values))],
    mut waiting: Vec<(usize, u32, u32)>,
) -> Vec<(usize, u32, u32)> {
    let mut bound = waiting.clone();
    let mut alike: BTreeMap<u32, usize> = BTreeMap::new();
    loop {
        let before = waiting.len();
        // Equal pods of one node are taken to fare alike within a round.
        let mut rejected: BTreeSet<(usize, usize)> = BTreeSet::new();
        waiting.retain(|(at, g, pod)| {
            let same = alike.get(pod).map(|same| (*at, *same));
            if same.is_some_and(|same| rejected.contains(&same)) {
                return true;
            }
            let is_rejected = replay.bind_most(*g, &places[*at].1, 1) == 0;
            if is_rejected {
                rejected.extend(same);
            }
            is_rejected
        });
        if alike.is_empty() {
            alike = equals(replay.problem, &waiting);
        }
        if waiting.is_empty() || waiting.len() == before {
            break;
        }
    }
    // Nobody tells the scheduler a good order, and what nothing holds back is bound at once: every pod must be within its spread's
    // skew among all others.
    let early: BTreeSet<(usize, u32, u32)> = waiting.iter().copied().collect();
    bound.retain(|one| !early.contains(one) && replay.sim.is_spread(one.1 as usize));
    for (at, g, pod) in bound.into_iter().rev() {
        replay.bind(g, &places[at].1, -1);
        if let Err(Violation::Spread(_)) = replay.sim.check(g as usize, &places[at].1.1) {
            waiting.push((at, g, pod));
        } else {
            replay.bind(g, &places[at].1, 1);
        }
    }
    waiting
}

/// Numbers of kinds of equal pods, by pod.
fn equals(problem: &Problem<'_>, waiting: &[(usize, u32, u32)]) -> BTreeMap<u32, usize> {
    let mut numbers = BTreeMap::new();
    let mut alike = BTreeMap::new();
    for (_, _, number) in waiting {
        let pod = &problem.snapshot.pods[*number as usize];
        // Claims of ephemeral volumes are named after the pod.
        let own = (!pod.spec.volumes.is_empty()).then_some(&pod.name);
        let next = numbers.len();
        alike.insert(*number, *numbers.entry((&pod.namespace, &pod.labels, &pod.spec, own)).or_insert(next));
    }
    alike
}

/// Puts pods that are nowhere where they can be bound; true if that was possible for any.
fn insert(
    problem: &Problem<'_>,
    placement: &mut Placement,
    replay: &mut Replay<'_, '_>,
    places: &mut Vec<(Bin, (Place, Values))>,
    left: &mut BTreeMap<u32, i64>,
) -> bool {
    let mut any = false;
    let known: BTreeSet<usize> = placement.existing.iter().map(|(bin, _)| *bin).collect();
    for bin in (0..problem.existing.len()).filter(|bin| !known.contains(bin)) {
        placement.existing.push((bin, Pattern::new()));
        let node = problem.existing[bin].node;
        let values = replay.values_on_node(node);
        places.push((Bin::Existing(placement.existing.len() - 1), (Place::Node(node), values)));
    }
    for (g, pods) in left.iter_mut().filter(|(_, pods)| **pods > 0) {
        let request = &problem.groups[*g as usize].request;
        for (bin, place) in places.iter() {
            let pattern = placement.pattern(*bin);
            let (may, capacity, more) = match bin {
                Bin::Existing(at) => {
                    let bin = &problem.existing[placement.existing[*at].0];
                    (bin.cap(*g) > 0, &bin.free, more_on(problem, bin, pattern, *g))
                }
                Bin::Launch(at) => {
                    let offering = &problem.offerings[placement.launches[*at].0];
                    (
                        problem.may_use(*g as usize, offering),
                        &offering.capacity,
                        more_on_new(problem, pattern, *g),
                    )
                }
            };
            if !may || more <= 0 {
                continue;
            }
            let mut room = free(problem, capacity, pattern);
            let count = take(request, &mut room, (*pods).min(more));
            let bound = replay.bind_most(*g, place, count);
            if bound > 0 {
                add(placement.pattern_mut(*bin), *g, bound);
                *pods -= bound;
                any = true;
            }
            if *pods == 0 {
                break;
            }
        }
        while *pods > 0 {
            let Some((offering, place, bound)) = launch_for(problem, placement, replay, *g, *pods) else {
                break;
            };
            for (row, amount) in usage(problem, offering) {
                placement.limits[row] -= amount;
            }
            placement.launches.push((offering, vec![(*g, bound)]));
            places.push((Bin::Launch(placement.launches.len() - 1), place));
            *pods -= bound;
            any = true;
        }
    }
    any
}

/// Binds pods of a group to a new node of the cheapest offering per pod they can be bound to.
fn launch_for(
    problem: &Problem<'_>,
    placement: &Placement,
    replay: &mut Replay<'_, '_>,
    g: u32,
    pods: i64,
) -> Option<(usize, (Place, Values), i64)> {
    let group = &problem.groups[g as usize];
    // By signature, because that is all the constraints can see.
    let mut best: BTreeMap<u32, (f64, usize, i64)> = BTreeMap::new();
    for (o, offering) in problem.offerings.iter().enumerate() {
        if !problem.may_use(g as usize, offering)
            || usage(problem, o).iter().any(|(row, amount)| *amount > placement.limits[*row])
        {
            continue;
        }
        let count = take(&group.request, &mut offering.capacity.clone(), pods.min(group.cap));
        let missed = group.fines.on_new(offering.signature);
        let each = offering.price as f64 / count.max(1) as f64 + missed as f64;
        let have = best.entry(offering.signature).or_insert((f64::INFINITY, o, 0));
        if count > 0 && each < have.0 {
            *have = (each, o, count);
        }
    }
    let mut order: Vec<(f64, usize, i64)> = best.into_values().filter(|(_, _, count)| *count > 0).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (_, offering, count) in order {
        let signature = problem.offerings[offering].signature;
        let before = replay.sim.clone();
        let place = (Place::New(signature), replay.launch(signature));
        let bound = replay.bind_most(g, &place, count);
        if bound > 0 {
            return Some((offering, place, bound));
        }
        replay.sim = before;
    }
    None
}

/// Takes out pods of split groups until each split is feasible again.
fn trim(problem: &Problem<'_>, placement: &mut Placement) -> BTreeMap<u32, i64> {
    let mut trimmed = BTreeMap::new();
    for family in problem.families.iter().filter(|family| family.split.fine.is_none()) {
        let placed: Vec<i64> = family.rows.iter().map(|g| placement.placed(*g)).collect();
        let total: i64 = placed.iter().sum();
        let most = family.split.most(total, &placed);
        let prices = vec![1.0; placed.len()];
        let Some(kept) = family.split.cheapest(most, &placed, &prices) else { continue };
        for ((g, placed), kept) in family.rows.iter().zip(placed).zip(kept) {
            if placed > kept {
                placement.remove(*g, placed - kept);
                trimmed.insert(*g, placed - kept);
            }
        }
    }
    trimmed
}

impl Placement {
    fn pattern(&self, bin: Bin) -> &Pattern {
        match bin {
            Bin::Existing(at) => &self.existing[at].1,
            Bin::Launch(at) => &self.launches[at].1,
        }
    }

    fn pattern_mut(&mut self, bin: Bin) -> &mut Pattern {
        match bin {
            Bin::Existing(at) => &mut self.existing[at].1,
            Bin::Launch(at) => &mut self.launches[at].1,
        }
    }

    /// Pods of a group that are placed.
    fn placed(&self, g: u32) -> i64 {
        let patterns = self.existing.iter().chain(&self.launches).map(|(_, pattern)| pattern);
        patterns.flatten().filter(|(other, _)| *other == g).map(|(_, count)| count).sum()
    }

    /// Takes out pods of a group, from the last launches first.
    fn remove(&mut self, g: u32, mut pods: i64) {
        let patterns = self.existing.iter_mut().chain(&mut self.launches).rev();
        for (_, pattern) in patterns {
            for (_, count) in pattern.iter_mut().filter(|(other, _)| *other == g) {
                let taken = pods.min(*count);
                *count -= taken;
                pods -= taken;
            }
        }
    }

    /// Drops groups without pods from patterns, and bins without groups; what those launches used of limits is free again.
    fn drop_empty(&mut self, problem: &Problem<'_>) {
        for (_, pattern) in self.existing.iter_mut().chain(&mut self.launches) {
            pattern.retain(|(_, count)| *count > 0);
        }
        self.existing.retain(|(_, pattern)| !pattern.is_empty());
        let limits = &mut self.limits;
        self.launches.retain(|(offering, pattern)| {
            if pattern.is_empty() {
                usage(problem, *offering).iter().for_each(|(row, amount)| limits[*row] += amount);
            }
            !pattern.is_empty()
        });
    }
}
