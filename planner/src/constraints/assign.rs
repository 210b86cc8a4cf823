//! Groups to domains, before the search: the constraints that the bound does not know.
//!
//! Pods are assigned one by one (or all of a group at once, where its pods do not mind each other) to the cheapest cell, that
//! is, combination of values of the topology keys in play, in which they could be bound then; groups whose affinity has no
//! target yet wait for the next round. What is assigned so can be bound in that order. The search then plans each share of a
//! group on the bins of its cell.

use super::domains::{Share, homogeneous};
use super::reasons;
use super::sim::{Sim, Values};
use crate::blocking::minimal_sets;
use crate::pack::Pattern;
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::units::UsdMicros;

/// Rounds in which what an affinity needs of its target is carried over, for chains of affinity.
const CHAIN_MAX: usize = 3;

/// A cell of a group: what it costs there, and how many pods it can hold.
#[derive(Clone, Debug)]
struct Cell {
    values: Vec<Option<String>>,
    price: f64,
    room: i64,
    /// Price of the cheapest node: zero for one that exists.
    node: Option<UsdMicros>,
}

/// A problem whose groups are assigned to domains, and where each of its groups is from.
pub(crate) struct Assigned<'a> {
    /// The problem to search.
    pub(crate) problem: Problem<'a>,
    /// Pods of the problem it was made of that one pod of each group stands for.
    pub(crate) from: Vec<Pattern>,
}

/// Topology keys by which a group has to be assigned to domains, in order; none if the bound's own split is enough.
fn keys_in_play(problem: &Problem<'_>) -> Vec<Vec<u32>> {
    let meanings = &problem.constraints.meanings;
    let hostname = meanings.key_number(labels::HOSTNAME);
    let mut keys: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); problem.groups.len()];
    // Selectors looked up within domains of a key, by constraints the bound does not know.
    let mut looked: BTreeSet<(u32, u32)> = BTreeSet::new();
    for (g, group) in problem.groups.iter().enumerate() {
        let terms = &group.wants.terms;
        let between = terms.affinity.iter().chain(&terms.anti).filter(|term| Some(term.key) != hostname);
        for term in between {
            keys[g].insert(term.key);
            looked.insert((term.selector, term.key));
        }
        for (at, spread) in terms.spreads.iter().enumerate() {
            if group.split == Some(at as u32) || Some(spread.term.key) == hostname {
                continue;
            }
            keys[g].insert(spread.term.key);
            looked.insert((spread.term.selector, spread.term.key));
        }
    }
    for (group, keys) in problem.groups.iter().zip(&mut keys) {
        let meant = looked.iter().filter(|(selector, _)| group.wants.terms.meant.has(*selector as usize));
        keys.extend(meant.map(|(_, key)| *key));
        // Its own split is settled already.
        for (key, _) in &group.cell {
            keys.remove(key);
        }
    }
    keys.into_iter().map(|keys| keys.into_iter().collect()).collect()
}

fn cells(problem: &Problem<'_>, g: usize, keys: &[u32]) -> Vec<Cell> {
    let group = &problem.groups[g];
    let mut by_signature: BTreeMap<u32, (f64, i64)> = BTreeMap::new();
    for offering in problem.offerings.iter().filter(|offering| problem.may_use(g, offering)) {
        let price = homogeneous(&group.request, group.cap, &offering.capacity, offering.price);
        let price = price + group.fines.on_new(offering.signature) as f64;
        let have = by_signature.entry(offering.signature).or_insert((f64::INFINITY, i64::MAX));
        *have = (have.0.min(price), have.1.min(offering.price));
    }
    let mut cells: BTreeMap<Vec<Option<String>>, Cell> = BTreeMap::new();
    let empty = |values: &Vec<Option<String>>| Cell {
        values: values.clone(),
        price: f64::INFINITY,
        room: 0,
        node: None,
    };
    for (signature, (price, node)) in by_signature {
        let value = |key: &u32| problem.value_of(signature as usize, *key).map(str::to_owned);
        let values: Vec<Option<String>> = keys.iter().map(value).collect();
        let cell = cells.entry(values.clone()).or_insert_with(|| empty(&values));
        (cell.price, cell.room) = (cell.price.min(price), i64::MAX);
        cell.node = cell.node.into_iter().chain([UsdMicros(node)]).min();
    }
    for bin in problem.existing.iter().filter(|bin| bin.cap(g as u32) > 0) {
        let value = |key: &u32| problem.value_on(bin.node, *key).map(str::to_owned);
        let values: Vec<Option<String>> = keys.iter().map(value).collect();
        let cell = cells.entry(values.clone()).or_insert_with(|| empty(&values));
        let fit = group.request.iter().zip(&bin.free).filter(|(w, _)| **w > 0).map(|(w, c)| c / w).min();
        cell.room = cell.room.saturating_add(fit.unwrap_or(0).min(bin.cap(g as u32)));
        cell.node = Some(UsdMicros::ZERO);
    }
    let mut cells: Vec<Cell> = cells.into_values().collect();
    // Where only existing nodes are, a pod costs nothing.
    cells.iter_mut().filter(|cell| !cell.price.is_finite()).for_each(|cell| cell.price = 0.0);
    cells.sort_by(|a, b| a.price.total_cmp(&b.price).then_with(|| a.values.cmp(&b.values)));
    cells
}

/// Assigns groups to domains where constraints need it; `None` if they do not. Pods without any domain are moved to
/// [`Problem::blocked`] of both problems.
pub(crate) fn assign<'a>(problem: &mut Problem<'a>) -> Option<Assigned<'a>> {
    let keys = keys_in_play(problem);
    let bundles = super::bundles::bundles(problem, &keys);
    if keys.iter().all(Vec::is_empty) && bundles.is_empty() {
        return None;
    }
    let mut all: Vec<Vec<Cell>> = keys
        .iter()
        .enumerate()
        .map(|(g, keys)| if keys.is_empty() { Vec::new() } else { cells(problem, g, keys) })
        .collect();
    let meanings = &problem.constraints.meanings;
    carry_over(problem, &keys, &mut all);
    let hostname = meanings.key_number(labels::HOSTNAME);
    let mut sim = Sim::new(&problem.groups, meanings, hostname, &|g, at| {
        let group = &problem.groups[g];
        let spread = &group.wants.terms.spreads[at];
        (group.split != Some(at as u32)).then(|| problem.domains(group, spread, true))
    });
    settle_running(problem, &mut sim);
    // What is fixed already, by the bound's own splits or because nobody asks, is there from the start.
    let mut order: Vec<usize> = (0..problem.groups.len()).collect();
    order.sort_by_key(|g| (std::cmp::Reverse(problem.groups[*g].priority), *g));
    let mut shares: Vec<BTreeMap<usize, i64>> = vec![BTreeMap::new(); problem.groups.len()];
    let mut left: Vec<i64> = problem.groups.iter().map(|group| group.demand).collect();
    let values: Vec<Vec<Values>> = (0..problem.groups.len())
        .map(|g| all[g].iter().map(|cell| values_of(problem, &mut sim, g, &keys[g], cell)).collect())
        .collect();
    loop {
        let before: i64 = left.iter().sum();
        for &g in &order {
            if keys[g].is_empty() {
                left[g] = 0;
                continue;
            }
            let bulk = !sim.depends_on_itself(g);
            while left[g] > 0 {
                let free = |at: &usize| all[g][*at].room > shares[g].get(at).copied().unwrap_or(0);
                let fits = |at: &usize| sim.check(g, &values[g][*at]).is_ok();
                // A group that stays together needs a cell for all of it, if there is one.
                let roomy = |at: &usize| all[g][*at].room >= left[g];
                let open: Vec<usize> = (0..all[g].len()).filter(free).filter(fits).collect();
                let Some(at) = open.iter().copied().find(roomy).or(open.first().copied()) else { break };
                let room = all[g][at].room.saturating_sub(shares[g].get(&at).copied().unwrap_or(0));
                let count = if bulk { left[g].min(room) } else { 1 };
                sim.bind(g, &values[g][at], count, &|_| true);
                *shares[g].entry(at).or_default() += count;
                left[g] -= count;
            }
        }
        if left.iter().sum::<i64>() == before {
            break;
        }
    }
    for g in 0..problem.groups.len() {
        if left[g] > 0 {
            let has_room = |at: &usize| all[g][*at].room > shares[g].get(at).copied().unwrap_or(0);
            let closed = (0..all[g].len())
                .filter(has_room)
                .filter_map(|at| Some((sim.all_violations(g, &values[g][at]), all[g][at].node?.0)));
            let blocked = reasons::blocked(problem, g, &minimal_sets(closed), left[g]);
            problem.blocked.push(blocked);
            problem.groups[g].demand -= left[g];
        }
    }
    let mut list = Vec::new();
    for (g, group) in problem.groups.iter().enumerate() {
        if keys[g].is_empty() {
            let bundled = bundles.iter().flat_map(|share| {
                share.bundle.iter().filter(|(h, _)| *h as usize == g).map(|(_, each)| each * share.demand)
            });
            let rest = group.demand - bundled.sum::<i64>();
            if rest > 0 || rest == group.demand {
                list.push(Share::new(g as u32, Vec::new(), rest));
            }
        }
        for (at, demand) in &shares[g] {
            let cell = keys[g].iter().copied().zip(all[g][*at].values.iter().cloned()).collect();
            list.push(Share::new(g as u32, cell, *demand));
        }
    }
    list.extend(bundles);
    let mut assigned = problem.clone();
    assigned.groups.iter_mut().for_each(|group| group.family = None);
    assigned.families.clear();
    assigned.share_out(&list);
    assigned.settle_rules();
    Some(Assigned { problem: assigned, from: list.iter().map(|share| share.members().collect()).collect() })
}

/// Values of all topology keys in a cell of a group; those it does not depend on stay open.
fn values_of(problem: &Problem<'_>, sim: &mut Sim, g: usize, keys: &[u32], cell: &Cell) -> Values {
    let mut values: Values = vec![None; problem.constraints.meanings.keys.len()];
    for (key, value) in keys.iter().zip(&cell.values) {
        values[*key as usize] = value.as_deref().map(|value| sim.value(value));
    }
    for (key, value) in &problem.groups[g].cell {
        values[*key as usize] = value.as_deref().map(|value| sim.value(value));
    }
    // Between hostnames everything is still possible: any other name will do.
    if let Some(hostname) = problem.constraints.meanings.key_number(labels::HOSTNAME) {
        values[hostname as usize] = None;
    }
    values
}

/// Puts the pods on existing nodes into a simulation.
pub(crate) fn settle_running(problem: &Problem<'_>, sim: &mut Sim) {
    let constraints = &problem.constraints;
    for (node, kinds) in constraints.bound.on_node.iter().enumerate() {
        let keys = 0..constraints.meanings.keys.len() as u32;
        let values: Values =
            keys.map(|key| problem.value_on(node, key).map(|value| sim.value(value))).collect();
        for (meant, count) in kinds {
            sim.running(meant, &values, count.all);
        }
    }
    for (selector, key, value) in &constraints.bound.repelled {
        sim.repels(*selector, *key, value, &problem.groups);
    }
}

/// Where a group can only follow its target to some domains, the target keeps to those, if it can.
fn carry_over(problem: &Problem<'_>, keys: &[Vec<u32>], cells: &mut [Vec<Cell>]) {
    for _ in 0..CHAIN_MAX {
        for (g, group) in problem.groups.iter().enumerate() {
            for term in &group.wants.terms.affinity {
                let Some(at) = keys[g].iter().position(|key| *key == term.key) else { continue };
                let mine: BTreeSet<Option<String>> =
                    cells[g].iter().map(|cell| cell.values[at].clone()).collect();
                let meant = |h: &usize| problem.groups[*h].wants.terms.meant.has(term.selector as usize);
                let targets: Vec<usize> = (0..problem.groups.len()).filter(meant).collect();
                let [target] = targets[..] else { continue };
                let Some(there) = keys[target].iter().position(|key| *key == term.key) else { continue };
                let kept: Vec<Cell> =
                    cells[target].iter().filter(|cell| mine.contains(&cell.values[there])).cloned().collect();
                if !kept.is_empty() {
                    cells[target] = kept;
                }
            }
        }
    }
}
