//! Binding pods one by one: what kube-scheduler's filters for spread and pod affinity would say, by counts instead of pods.
//!
//! Places are known by their values of topology keys alone, so the same code replays a finished plan node by node and assigns
//! groups to domains before there are any nodes.

use super::selectors::{Meanings, Term};
use crate::problem::{Bits, Group};
use std::collections::BTreeMap;

/// Values of topology keys, interned; one entry per key.
pub(crate) type Values = Vec<Option<u32>>;

/// Which constraint of a pod is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Required affinity.
    Affinity,
    /// A term of its own required anti-affinity, by position.
    Anti(usize),
    /// Required anti-affinity of another pod.
    Repelled,
    /// A hard spread constraint, by position among the hard ones.
    Spread(usize),
}

/// Pods of a spread constraint's selector by domain.
#[derive(Clone, Debug)]
struct Counter {
    key: u32,
    max_skew: i64,
    min_domains: i64,
    own: bool,
    counts: BTreeMap<u32, i64>,
}

/// What the terms of one group refer to.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Required affinity: the conjunction of its selectors, and its keys.
    affinity: Option<(u32, Vec<u32>)>,
    /// Required anti-affinity: (position of the term, conjunction, key).
    anti: Vec<(usize, u32, u32)>,
    /// Its own spread constraints, by position, with their counters.
    spreads: Vec<(usize, u32)>,
    /// Conjunctions that mean the group.
    meant: Vec<u32>,
    /// Counters that count the group.
    counted: Vec<u32>,
}

/// A cluster as far as terms can see it.
#[derive(Clone, Debug)]
pub(crate) struct Sim {
    facts: Vec<Facts>,
    counters: Vec<Counter>,
    owners: Vec<(usize, usize)>,
    /// Conjunctions of selectors.
    all_of: Vec<Vec<u32>>,
    /// Keys each conjunction is looked up by.
    keys: Vec<Vec<u32>>,
    present: BTreeMap<(u32, u32, u32), i64>,
    totals: BTreeMap<(u32, u32), i64>,
    stated: BTreeMap<(u32, u32, u32), i64>,
    /// Of that, what pods of a group that waits state, by its first pod.
    stated_by: BTreeMap<(u32, u32, u32, u32), i64>,
    /// First pods of the groups.
    firsts: Vec<u32>,
    values: BTreeMap<String, u32>,
}

impl Sim {
    /// An empty cluster for the given groups. Terms over `skipped` are left out, and spread constraints that `domains` has
    /// nothing for; it gives the domains of each other (group, position) with the pods that run and count there.
    pub(crate) fn new(
        groups: &[Group<'_>],
        meanings: &Meanings<'_>,
        skipped: Option<u32>,
        domains: &dyn Fn(usize, usize) -> Option<BTreeMap<String, i64>>,
    ) -> Sim {
        // Shares of one group have the same constraints.
        let mut numbers: BTreeMap<(u32, usize), u32> = BTreeMap::new();
        let mut sim = Sim {
            facts: vec![Facts::default(); groups.len()],
            counters: Vec::new(),
            owners: Vec::new(),
            all_of: Vec::new(),
            keys: Vec::new(),
            present: BTreeMap::new(),
            totals: BTreeMap::new(),
            stated: BTreeMap::new(),
            stated_by: BTreeMap::new(),
            firsts: groups.iter().map(|group| group.whole[0]).collect(),
            values: BTreeMap::new(),
        };
        for (g, group) in groups.iter().enumerate() {
            let terms = &group.wants.terms;
            if !terms.affinity.is_empty() {
                let mut selectors: Vec<u32> = terms.affinity.iter().map(|term| term.selector).collect();
                selectors.sort_unstable();
                selectors.dedup();
                let mut keys: Vec<u32> = terms.affinity.iter().map(|term| term.key).collect();
                keys.retain(|key| Some(*key) != skipped);
                keys.sort_unstable();
                keys.dedup();
                let number = sim.conjunction(selectors, &keys);
                sim.facts[g].affinity = (!keys.is_empty()).then_some((number, keys));
            }
            for (at, Term { selector, key }) in terms.anti.iter().enumerate() {
                if Some(*key) != skipped {
                    let number = sim.conjunction(vec![*selector], &[*key]);
                    sim.facts[g].anti.push((at, number, *key));
                }
            }
            for (at, spread) in terms.spreads.iter().enumerate() {
                if Some(spread.term.key) == skipped {
                    continue;
                }
                if let Some(number) = numbers.get(&(group.whole[0], at)) {
                    sim.facts[g].spreads.push((at, *number));
                    continue;
                }
                let Some(found) = domains(g, at) else { continue };
                let counts = found.into_iter().map(|(value, pods)| (sim.value(&value), pods)).collect();
                let number = sim.counters.len() as u32;
                numbers.insert((group.whole[0], at), number);
                sim.owners.push((g, at));
                sim.counters.push(Counter {
                    key: spread.term.key,
                    max_skew: spread.max_skew,
                    min_domains: spread.min_domains,
                    own: spread.own,
                    counts,
                });
                sim.facts[g].spreads.push((at, number));
                if !meanings.counts_none(spread.term.selector) {
                    for (h, other) in groups.iter().enumerate() {
                        if other.wants.terms.meant.has(spread.term.selector as usize) {
                            sim.facts[h].counted.push(number);
                        }
                    }
                }
            }
        }
        for (g, group) in groups.iter().enumerate() {
            sim.facts[g].meant = sim.meant(&group.wants.terms.meant);
        }
        sim
    }

    fn conjunction(&mut self, selectors: Vec<u32>, keys: &[u32]) -> u32 {
        let at = self.all_of.iter().position(|have| *have == selectors).unwrap_or_else(|| {
            self.all_of.push(selectors);
            self.keys.push(Vec::new());
            self.all_of.len() - 1
        });
        for key in keys {
            if !self.keys[at].contains(key) {
                self.keys[at].push(*key);
            }
        }
        at as u32
    }

    fn meant(&self, selectors: &Bits) -> Vec<u32> {
        let all = |one: &Vec<u32>| one.iter().all(|selector| selectors.has(*selector as usize));
        self.all_of.iter().enumerate().filter(|(_, one)| all(one)).map(|(at, _)| at as u32).collect()
    }

    /// The number of a value.
    pub(crate) fn value(&mut self, value: &str) -> u32 {
        if let Some(number) = self.values.get(value) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.values.insert(value.to_owned(), number);
        number
    }

    /// Pods on nodes that are there already, of which the given selectors mean each. Spread constraints know them already.
    pub(crate) fn running(&mut self, selectors: &Bits, values: &Values, pods: i64) {
        for number in self.meant(selectors) {
            self.count(number, values, pods);
        }
    }

    /// Anti-affinity that a pod on a node states against the pods of a selector.
    pub(crate) fn repels(&mut self, selector: u32, key: u32, value: &str, groups: &[Group<'_>]) {
        let number = self.conjunction(vec![selector], &[key]);
        let value = self.value(value);
        *self.stated.entry((number, key, value)).or_default() += 1;
        for (facts, group) in self.facts.iter_mut().zip(groups) {
            if group.wants.terms.meant.has(selector as usize) && !facts.meant.contains(&number) {
                facts.meant.push(number);
            }
        }
    }

    fn count(&mut self, number: u32, values: &Values, pods: i64) {
        for key in &self.keys[number as usize] {
            if let Some(value) = values[*key as usize] {
                *self.present.entry((number, *key, value)).or_default() += pods;
                *self.totals.entry((number, *key)).or_default() += pods;
            }
        }
    }

    /// Whether any term refers to the group or is stated by it.
    pub(crate) fn concerns(&self, g: usize) -> bool {
        let Facts { affinity, anti, spreads, meant, counted } = &self.facts[g];
        affinity.is_some()
            || !anti.is_empty()
            || !spreads.is_empty()
            || !meant.is_empty()
            || !counted.is_empty()
    }

    /// Whether the group has a hard spread constraint.
    pub(crate) fn is_spread(&self, g: usize) -> bool {
        !self.facts[g].spreads.is_empty()
    }

    /// Whether where the group's pods are changes what others of the group may do.
    pub(crate) fn depends_on_itself(&self, g: usize) -> bool {
        let facts = &self.facts[g];
        !facts.spreads.is_empty() || facts.anti.iter().any(|(_, number, _)| facts.meant.contains(number))
    }

    /// Binds `pods` pods of a group (or takes them away, if negative). `eligible` says whether the place counts for a spread
    /// constraint, by number.
    pub(crate) fn bind(&mut self, g: usize, values: &Values, pods: i64, eligible: &dyn Fn(u32) -> bool) {
        let facts = std::mem::take(&mut self.facts[g]);
        for number in &facts.meant {
            self.count(*number, values, pods);
        }
        for (_, number, key) in &facts.anti {
            if let Some(value) = values[*key as usize] {
                *self.stated.entry((*number, *key, value)).or_default() += pods;
                *self.stated_by.entry((self.firsts[g], *number, *key, value)).or_default() += pods;
            }
        }
        for number in &facts.counted {
            let counter = &mut self.counters[*number as usize];
            if let Some(value) = values[counter.key as usize].filter(|_| eligible(*number)) {
                *counter.counts.entry(value).or_default() += pods;
            }
        }
        self.facts[g] = facts;
    }

    /// Adds an empty place to the domains of a spread constraint.
    pub(crate) fn add_domain(&mut self, counter: u32, values: &Values) {
        let counter = &mut self.counters[counter as usize];
        if let Some(value) = values[counter.key as usize] {
            counter.counts.entry(value).or_default();
        }
    }

    /// The key of a spread constraint.
    pub(crate) fn key_of(&self, counter: u32) -> u32 {
        self.counters[counter as usize].key
    }

    /// Has a domain among those of a spread constraint, or has it not.
    pub(crate) fn set_domain(&mut self, counter: u32, value: u32, there: bool) {
        let counts = &mut self.counters[counter as usize].counts;
        if there {
            counts.entry(value).or_default();
        } else {
            counts.remove(&value);
        }
    }

    /// A group that states each spread constraint, with the constraint's position.
    pub(crate) fn owners(&self) -> &[(usize, usize)] {
        &self.owners
    }

    /// Whether one more pod of a group may be bound to a place now.
    pub(crate) fn check(&self, g: usize, values: &Values) -> Result<(), Violation> {
        let mut first = None;
        self.violations(g, values, &mut |violation| {
            first = Some(violation);
            false
        });
        first.map_or(Ok(()), Err)
    }

    /// Every constraint that keeps one more pod of a group from a place now.
    pub(crate) fn all_violations(&self, g: usize, values: &Values) -> Vec<Violation> {
        let mut found = Vec::new();
        self.violations(g, values, &mut |violation| {
            found.push(violation);
            true
        });
        found
    }

    /// The same, one by one, until `more` says that it is enough.
    fn violations(&self, g: usize, values: &Values, more: &mut dyn FnMut(Violation) -> bool) {
        let facts = &self.facts[g];
        let here = |table: &BTreeMap<(u32, u32, u32), i64>, number: u32, key: u32| {
            values[key as usize].map_or(0, |value| table.get(&(number, key, value)).copied().unwrap_or(0))
        };
        for (at, number) in &facts.spreads {
            let counter = &self.counters[*number as usize];
            let Some(value) = values[counter.key as usize] else {
                if more(Violation::Spread(*at)) {
                    continue;
                }
                return;
            };
            let few = (counter.counts.len() as i64) < counter.min_domains;
            let least = counter.counts.values().copied().min().unwrap_or(i64::from(i32::MAX));
            let least = if few { 0 } else { least };
            let there = counter.counts.get(&value).copied().unwrap_or(0);
            if there + i64::from(counter.own) - least > counter.max_skew && !more(Violation::Spread(*at)) {
                return;
            }
        }
        if let Some((number, keys)) = &facts.affinity {
            let outside = keys.iter().any(|key| values[*key as usize].is_none());
            let near = keys.iter().all(|key| here(&self.present, *number, *key) > 0);
            let first = || {
                let nowhere = |key: &u32| self.totals.get(&(*number, *key)).copied().unwrap_or(0) == 0;
                facts.meant.contains(number) && keys.iter().all(nowhere)
            };
            if (outside || (!near && !first())) && !more(Violation::Affinity) {
                return;
            }
        }
        let close = facts.anti.iter().filter(|(_, number, key)| here(&self.present, *number, *key) > 0);
        for (at, ..) in close {
            if !more(Violation::Anti(*at)) {
                return;
            }
        }
        // What pods of the group itself state keeps the next away as a term of its own.
        let by_others = |number: u32, key: u32| {
            let own = values[key as usize]
                .and_then(|value| self.stated_by.get(&(self.firsts[g], number, key, value)));
            here(&self.stated, number, key) > own.copied().unwrap_or(0)
        };
        let repelled = |number: &u32| self.keys[*number as usize].iter().any(|key| by_others(*number, *key));
        if facts.meant.iter().any(repelled) {
            more(Violation::Repelled);
        }
    }
}
