//! Who may share a node: caps of single groups, and rules between groups.
//!
//! Every constraint over hostnames and every host port says the same kind of thing: *while a subject is on the node, there are
//! at most so many of the pods it counts*. Anti-affinity counts the pods its selector means, at most one if the subject is one
//! of them and none otherwise; a spread constraint at most `maxSkew`, because an empty node may always be added; a host port
//! at most one of those that clash. Patterns that keep a rule keep it when pods are taken away.

use super::Wants;
use super::bound::Bound;
use super::ports::clash;
use super::selectors::Meanings;
use crate::pack::Pattern;
use crate::problem::{Bits, Group};
use std::collections::BTreeSet;
use stowage_models::labels;

/// While a subject is on a node, it carries at most `cap` of the counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    subjects: Bits,
    counted: Bits,
    cap: i64,
    /// The selector whose pods on existing nodes count, too.
    selector: Option<u32>,
}

/// Rules between groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    list: Vec<Rule>,
    /// Rules each group has a part in.
    of: Vec<Vec<u32>>,
}

/// Subjects and counted pods of a bin, by rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    subjects: Vec<i64>,
    counted: Vec<i64>,
}

impl Rules {
    /// The rules between the given groups. Those about one group alone are its cap and not listed.
    pub(crate) fn new(groups: &[Group<'_>], meanings: &Meanings<'_>) -> Rules {
        let mut list = Vec::new();
        let mut add =
            |subjects: Vec<usize>, counted: &dyn Fn(&Group<'_>) -> bool, cap: i64, selector: Option<u32>| {
                let counted: Vec<usize> = (0..groups.len()).filter(|g| counted(&groups[*g])).collect();
                let alone = subjects.len() == 1 && counted == subjects;
                if subjects.is_empty() || counted.is_empty() || alone {
                    return;
                }
                let bits = |members: &[usize]| {
                    let mut bits = Bits::new(groups.len());
                    members.iter().for_each(|g| bits.insert(*g));
                    bits
                };
                list.push(Rule { subjects: bits(&subjects), counted: bits(&counted), cap, selector });
            };
        let mut anti = BTreeSet::new();
        let mut spread = BTreeSet::new();
        let mut ports = BTreeSet::new();
        if let Some(hostname) = meanings.key_number(labels::HOSTNAME) {
            for group in groups {
                let terms = &group.wants.terms;
                anti.extend(terms.anti.iter().filter(|term| term.key == hostname).map(|term| term.selector));
                let over = terms.spreads.iter().filter(|spread| spread.term.key == hostname);
                spread.extend(over.map(|spread| (spread.term.selector, spread.max_skew)));
            }
            for selector in anti {
                let states = |g: &usize| {
                    groups[*g].wants.terms.anti.iter().any(|t| (t.selector, t.key) == (selector, hostname))
                };
                let meant = |group: &Group<'_>| group.wants.terms.meant.has(selector as usize);
                let (inside, outside) = (0..groups.len()).filter(states).partition(|g| meant(&groups[*g]));
                add(inside, &meant, 1, None);
                add(outside, &meant, 0, None);
            }
            for (selector, cap) in spread {
                let states = |g: &usize| {
                    groups[*g]
                        .wants
                        .terms
                        .spreads
                        .iter()
                        .any(|s| (s.term.selector, s.term.key, s.max_skew) == (selector, hostname, cap))
                };
                let meant = |group: &Group<'_>| {
                    group.wants.terms.meant.has(selector as usize) && !meanings.counts_none(selector)
                };
                add((0..groups.len()).filter(states).collect(), &meant, cap, Some(selector));
            }
        }
        ports.extend(groups.iter().map(|group| &group.wants.ports).filter(|ports| !ports.is_empty()));
        for own in ports {
            let states = |g: &usize| groups[*g].wants.ports == *own;
            add((0..groups.len()).filter(states).collect(), &|group| clash(&group.wants.ports, own), 1, None);
        }
        let mut of = vec![Vec::new(); groups.len()];
        for (number, rule) in list.iter().enumerate() {
            for (g, rules) in of.iter_mut().enumerate() {
                if rule.subjects.contains(g) || rule.counted.contains(g) {
                    rules.push(number as u32);
                }
            }
        }
        Rules { list, of }
    }

    /// The same rules about other numbers of groups: `new[i]` is the old number of group `i`.
    pub(crate) fn renumbered(&self, new: &[u32]) -> Rules {
        let pick = |bits: &Bits| {
            let mut picked = Bits::new(new.len());
            new.iter()
                .enumerate()
                .filter(|(_, g)| bits.contains(**g as usize))
                .for_each(|(i, _)| picked.insert(i));
            picked
        };
        let list = self.list.iter().map(|rule| Rule {
            subjects: pick(&rule.subjects),
            counted: pick(&rule.counted),
            ..rule.clone()
        });
        let of = new.iter().map(|g| self.of[*g as usize].clone()).collect();
        Rules { list: list.collect(), of }
    }

    /// Whether a group has a part in any rule.
    pub(crate) fn concern(&self, g: u32) -> bool {
        self.of.get(g as usize).is_some_and(|rules| !rules.is_empty())
    }

    /// What counts on an existing node before any pod is placed there; empty without rules.
    pub(crate) fn held(&self, bound: &Bound<'_>, node: usize) -> Vec<i64> {
        self.list
            .iter()
            .map(|rule| rule.selector.map_or(0, |selector| bound.staying(node, selector)))
            .collect()
    }

    /// The tally of a bin that holds `held` already; an empty one for a new node.
    pub(crate) fn start(&self, tally: &mut Tally, held: &[i64]) {
        tally.subjects.clear();
        tally.subjects.resize(self.list.len(), 0);
        tally.counted.clear();
        tally.counted.extend_from_slice(held);
        tally.counted.resize(self.list.len(), 0);
    }

    /// Adds pods to a tally.
    pub(crate) fn take(&self, tally: &mut Tally, g: u32, count: i64) {
        if self.list.is_empty() {
            return;
        }
        for rule in &self.of[g as usize] {
            let at = *rule as usize;
            tally.subjects[at] += if self.list[at].subjects.contains(g as usize) { count } else { 0 };
            tally.counted[at] += if self.list[at].counted.contains(g as usize) { count } else { 0 };
        }
    }

    /// How many more pods of `g` a bin with this tally may take.
    pub(crate) fn room(&self, tally: &Tally, g: u32) -> i64 {
        if self.list.is_empty() {
            return i64::MAX;
        }
        let mut room = i64::MAX;
        for rule in &self.of[g as usize] {
            let at = *rule as usize;
            let one = &self.list[at];
            let (subject, counted) = (one.subjects.contains(g as usize), one.counted.contains(g as usize));
            let free = one.cap - tally.counted[at];
            if counted && (subject || tally.subjects[at] > 0) {
                room = room.min(free.max(0));
            } else if subject && free < 0 {
                room = 0;
            }
        }
        room
    }

    /// The largest part of a pattern, in its order, that keeps all rules on a bin that holds `held`.
    pub(crate) fn kept(&self, pattern: &[(u32, i64)], held: &[i64]) -> Pattern {
        let mut tally = Tally::default();
        self.start(&mut tally, held);
        let mut kept = Pattern::new();
        for (g, count) in pattern {
            let count = (*count).min(self.room(&tally, *g));
            if count > 0 {
                self.take(&mut tally, *g, count);
                kept.push((*g, count));
            }
        }
        kept
    }

    /// Whether a pattern keeps all rules on a bin that holds `held`.
    pub(crate) fn allow(&self, pattern: &[(u32, i64)], held: &[i64]) -> bool {
        self.list.is_empty()
            || pattern.iter().all(|(g, _)| !self.concern(*g))
            || self.kept(pattern, held) == pattern
    }

    /// How many pods of `g` may join `pattern` on a bin that holds `held`.
    pub(crate) fn more(&self, pattern: &[(u32, i64)], held: &[i64], g: u32) -> i64 {
        if !self.concern(g) {
            return i64::MAX;
        }
        let mut tally = Tally::default();
        self.start(&mut tally, held);
        pattern.iter().for_each(|(other, count)| self.take(&mut tally, *other, *count));
        self.room(&tally, g)
    }
}

/// How many pods of a group one node may carry because of the group's own constraints (`docs/formulation.md`, caps).
pub(crate) fn own_cap(meanings: &Meanings<'_>, wants: &Wants<'_>) -> i64 {
    let mut cap = if wants.ports.is_empty() { i64::MAX } else { 1 };
    let Some(hostname) = meanings.key_number(labels::HOSTNAME) else { return cap };
    let terms = &wants.terms;
    if terms.anti.iter().any(|term| term.key == hostname && terms.meant.has(term.selector as usize)) {
        cap = 1;
    }
    for spread in own_hostname_spreads(meanings, wants, hostname) {
        cap = cap.min(spread.max_skew.max(0));
    }
    cap
}

fn own_hostname_spreads<'w>(
    meanings: &'w Meanings<'_>,
    wants: &'w Wants<'_>,
    hostname: u32,
) -> impl Iterator<Item = &'w super::selectors::Spread> {
    wants.terms.spreads.iter().filter(move |spread| {
        spread.term.key == hostname && spread.own && !meanings.counts_none(spread.term.selector)
    })
}

/// The cap on an existing node: less what the constraints count there already. Nodes without a hostname are in no domain.
pub(crate) fn cap_on(
    meanings: &Meanings<'_>,
    bound: &Bound<'_>,
    wants: &Wants<'_>,
    node: usize,
    has_hostname: bool,
) -> i64 {
    let Some(hostname) = meanings.key_number(labels::HOSTNAME).filter(|_| has_hostname) else {
        return if wants.ports.is_empty() { i64::MAX } else { 1 };
    };
    let mut cap = own_cap(meanings, wants);
    for spread in own_hostname_spreads(meanings, wants, hostname) {
        cap = cap.min((spread.max_skew - bound.staying(node, spread.term.selector)).max(0));
    }
    cap
}
