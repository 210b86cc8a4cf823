//! `minValues` of NodePool requirements: a launch must be able to end up on nodes of at least so many different values
//! (`docs/formulation.md` section 1.9).
//!
//! What a launch may end up on depends on what it carries. A group of which not even one pod leaves enough to choose from may not
//! use the pool at all, and so the bound knows; the rest is repaired: what carries too much is split.

use crate::core::usage;
use crate::extract::Substitutes;
use crate::offerings::{Offering, label_of};
use crate::pack::Pattern;
use crate::placement::{Placement, add};
use crate::problem::{Bits, Blocked, Group, Problem};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::NodePool;
use stowage_models::plan::{ALTERNATES_MAX, Blocking, MinValues, Plan, Policy};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// Whether the policy has something to say: some NodePool asks for several values of a key.
pub(crate) fn matter(snapshot: &Snapshot) -> bool {
    snapshot.node_pools.iter().any(|pool| demands(pool).next().is_some())
}

/// Whether NodePools that cannot offer enough values are not used.
pub(crate) fn are_strict(snapshot: &Snapshot, policy: &Policy) -> bool {
    policy.min_values == Some(MinValues::Strict) && matter(snapshot)
}

/// Requirements of a pool that ask for several values: position, key, how many.
fn demands(pool: &NodePool) -> impl Iterator<Item = (usize, &str, usize)> {
    pool.requirements.iter().enumerate().filter_map(|(at, one)| {
        let least = one.min_values.filter(|least| *least > 1)?;
        Some((at, one.key.as_str(), least as usize))
    })
}

/// What is known about the pools that ask for several values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    /// By pool and variant.
    pools: BTreeMap<(u32, Labels), Choice>,
}

/// The offerings of a pool and variant that may stand in for each other.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// Position of the requirement, and how many values it asks for.
    demands: Vec<(usize, usize)>,
    /// Offerings, and the number of their value of each of these keys; `u32::MAX` if they have none.
    offerings: Vec<(u32, Vec<u32>)>,
    /// Groups of which one pod leaves too little to choose from, by first pod, with the demands not met.
    short: BTreeMap<u32, Vec<usize>>,
}

impl Choice {
    /// Positions in `demands` of those that a choice of offerings does not meet.
    fn unmet(&self, may: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut seen: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); self.demands.len()];
        for (offering, values) in &self.offerings {
            if may(*offering as usize) {
                for (seen, value) in seen.iter_mut().zip(values).filter(|(_, value)| **value != u32::MAX) {
                    seen.insert(*value);
                }
            }
        }
        (0..self.demands.len()).filter(|at| seen[*at].len() < self.demands[*at].1).collect()
    }
}

impl Choices {
    fn of(&self, offering: &Offering) -> Option<&Choice> {
        if self.pools.is_empty() {
            return None;
        }
        self.pools.get(&(offering.pool, (*offering.variant).clone()))
    }
}

impl Problem<'_> {
    /// Reads what pools ask for, and, where that is strict, keeps groups out of pools that cannot offer them enough. Groups and
    /// offerings are there, existing nodes are not looked at.
    pub(crate) fn settle_min_values(&mut self) {
        if !matter(self.snapshot) {
            return;
        }
        let tables = self.prepared.tables.clone();
        let mut pools: BTreeMap<(u32, Labels), Choice> = BTreeMap::new();
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for (o, offering) in self.offerings.iter().enumerate() {
            let pool = self.pool(offering);
            let mut asked = demands(pool).peekable();
            if asked.peek().is_none() {
                continue;
            }
            let choice = pools.entry((offering.pool, (*offering.variant).clone())).or_default();
            choice.demands = demands(pool).map(|(at, _, least)| (at, least)).collect();
            let mut values = Vec::new();
            for (_, key, _) in asked {
                let next = u32::try_from(numbers.len()).expect("values fit 32 bits");
                values.push(match label_of(self, &tables.labels, offering, key) {
                    Some(value) => *numbers.entry(value.to_owned()).or_insert(next),
                    None => u32::MAX,
                });
            }
            choice.offerings.push((u32::try_from(o).expect("offerings fit 32 bits"), values));
        }
        if self.min_values_strict {
            for choice in pools.values_mut() {
                for g in 0..self.groups.len() {
                    let takes = |o: usize| self.can_hold(g, &self.offerings[o]);
                    let any = choice.offerings.iter().any(|(o, _)| takes(*o as usize));
                    let unmet = if any { choice.unmet(takes) } else { Vec::new() };
                    if !unmet.is_empty() {
                        choice.short.insert(self.groups[g].whole[0], unmet);
                    }
                }
            }
            self.close_to_short(&pools);
        }
        self.choices = std::sync::Arc::new(Choices { pools });
    }

    /// Takes groups out of the classes of offerings that do not leave them enough to choose from.
    fn close_to_short(&mut self, pools: &BTreeMap<(u32, Labels), Choice>) {
        let mut memo: BTreeMap<(u32, Vec<u32>), u32> = BTreeMap::new();
        for choice in pools.values().filter(|choice| !choice.short.is_empty()) {
            let short: Vec<u32> = choice.short.keys().copied().collect();
            let is_short: Vec<bool> =
                self.groups.iter().map(|group| choice.short.contains_key(&group.whole[0])).collect();
            for (o, _) in &choice.offerings {
                let offering = &mut self.offerings[*o as usize];
                let key = (offering.class, short.clone());
                let classes = &mut self.classes;
                let class = *memo.entry(key).or_insert_with(|| {
                    let mut left = Bits::new(self.groups.len());
                    let old = &classes[offering.class as usize];
                    old.iter().filter(|g| !is_short[*g]).for_each(|g| left.insert(g));
                    classes.push(left);
                    u32::try_from(classes.len() - 1).expect("classes fit 32 bits")
                });
                offering.class = class;
                // Offerings of one signature are of one pool and reservation, or of none: they are short of the same.
                self.signatures[offering.signature as usize].class = class;
            }
        }
    }

    /// Whether a launch of this offering with this load may end up on as many different nodes as its pool asks for.
    fn is_covered(&self, limits: &[i64], offering: usize, pattern: &Pattern) -> bool {
        let Some(choice) = self.choices.of(&self.offerings[offering]) else { return true };
        let others = Substitutes::new(self, limits, (offering, pattern));
        choice.unmet(|o| o == offering || others.may(o)).is_empty()
    }

    /// Whether some NodePool asks for several values.
    pub(crate) fn has_min_values(&self) -> bool {
        !self.choices.pools.is_empty()
    }

    /// Notes on launches that may end up on fewer different nodes than their pool asks for.
    pub(crate) fn note_uncovered(&self, placement: &Placement) -> Vec<String> {
        let mut short: BTreeMap<&str, usize> = BTreeMap::new();
        // Where they are strict, what is not covered is no part of a plan.
        let counts = self.has_min_values() && !self.min_values_strict;
        for (offering, pattern) in placement.launches.iter().filter(|_| counts) {
            if !self.is_covered(&placement.limits, *offering, pattern) {
                *short.entry(&self.pool(&self.offerings[*offering]).name).or_default() += 1;
            }
        }
        let note = |(pool, launches): (&str, usize)| {
            format!(
                "NodePool {pool}: {launches} launches have fewer values to choose from than its minValues ask for"
            )
        };
        short.into_iter().map(note).collect()
    }

    /// Alternates of a launch, from its substitutes by rising price: the cheapest, and beyond those whoever adds a value that
    /// the pool asks for.
    pub(crate) fn choose_alternates(&self, offering: usize, substitutes: &[usize]) -> Vec<usize> {
        let mut picked: Vec<usize> = substitutes.iter().copied().take(ALTERNATES_MAX).collect();
        let Some(choice) = self.choices.of(&self.offerings[offering]) else { return picked };
        let values: BTreeMap<u32, &Vec<u32>> =
            choice.offerings.iter().map(|(o, values)| (*o, values)).collect();
        let mut seen: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); choice.demands.len()];
        let mut see = |o: usize, always: bool| -> bool {
            let Some(values) = values.get(&(o as u32)) else { return false };
            let mut new = false;
            for ((seen, value), (_, least)) in seen.iter().zip(*values).zip(&choice.demands) {
                new |= *value != u32::MAX && seen.len() < *least && !seen.contains(value);
            }
            if always || new {
                for (seen, value) in seen.iter_mut().zip(*values).filter(|(_, value)| **value != u32::MAX) {
                    seen.insert(*value);
                }
            }
            new
        };
        let _ = see(offering, true);
        for o in &picked {
            let _ = see(*o, true);
        }
        for o in substitutes.iter().skip(ALTERNATES_MAX) {
            if see(*o, false) {
                picked.push(*o);
            }
        }
        picked
    }

    /// Splits launches that carry more than what their pool asks for allows; true if anything changed. Pods for which limits
    /// leave no node are left.
    pub(crate) fn split_uncovered(&self, placement: &mut Placement) -> bool {
        if !self.min_values_strict {
            return false;
        }
        let mut changed = false;
        let mut at = 0;
        while at < placement.launches.len() {
            let (offering, pattern) = placement.launches[at].clone();
            if self.is_covered(&placement.limits, offering, &pattern) {
                at += 1;
                continue;
            }
            changed = true;
            placement.launches.remove(at);
            usage(self, offering).into_iter().for_each(|(row, amount)| placement.limits[row] += amount);
            let mut rest = pattern;
            while let Some((own, part)) = self.part_of(placement, offering, &rest) {
                usage(self, own).into_iter().for_each(|(row, amount)| placement.limits[row] -= amount);
                part.iter().for_each(|(g, count)| add(&mut rest, *g, -count));
                rest.retain(|(_, count)| *count > 0);
                placement.launches.push((own, part));
            }
            rest.iter().for_each(|(g, count)| placement.left[*g as usize] += count);
        }
        changed
    }

    /// The largest share of a pattern that some offering in place of `offering` may carry, and the cheapest such offering.
    fn part_of(&self, placement: &Placement, offering: usize, rest: &Pattern) -> Option<(usize, Pattern)> {
        let choice = self.choices.of(&self.offerings[offering])?;
        let single = |g: u32| vec![(g, 1)];
        let scaled = |share: i64| -> Pattern {
            rest.iter()
                .map(|(g, count)| (*g, count * share / SHARES))
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        let shares = (1..=SHARES).rev().map(scaled).filter(|part| !part.is_empty());
        for part in shares.chain(rest.iter().map(|(g, _)| single(*g))) {
            let others = Substitutes::new(self, &placement.limits, (offering, &part));
            let mut fits: Vec<usize> = choice
                .offerings
                .iter()
                .map(|(o, _)| *o as usize)
                .filter(|o| {
                    (*o == offering || others.may(*o))
                        && usage(self, *o).iter().all(|(row, amount)| *amount <= placement.limits[*row])
                })
                .collect();
            fits.sort_by_key(|o| (self.offerings[*o].price, *o));
            for o in fits {
                let mut after = placement.limits.clone();
                usage(self, o).into_iter().for_each(|(row, amount)| after[row] -= amount);
                if self.is_covered(&after, o, &part) {
                    return Some((o, part));
                }
            }
        }
        None
    }

    /// What keeps a group out that only `minValues` keep out: the fewest requirements of one pool, or all single ones.
    pub(crate) fn short_of(&self, group: &Group<'_>) -> Option<Blocked> {
        let mut sets: Vec<(u32, Vec<usize>, Option<UsdMicros>)> = Vec::new();
        for ((pool, _), choice) in &self.choices.pools {
            let Some(unmet) = choice.short.get(&group.whole[0]) else { continue };
            let fits = choice
                .offerings
                .iter()
                .map(|(o, _)| &self.offerings[*o as usize])
                .filter(|offering| group.request.iter().zip(&offering.capacity).all(|(w, c)| w <= c));
            let price = fits.map(|offering| UsdMicros(offering.price)).min();
            let unmet = unmet.iter().map(|at| choice.demands[*at].0).collect();
            sets.push((*pool, unmet, price));
        }
        let fewest = sets.iter().map(|(_, unmet, _)| unmet.len()).min()?;
        let mut blocking: BTreeMap<(u32, usize), Option<UsdMicros>> = BTreeMap::new();
        for (pool, unmet, price) in sets.iter().filter(|(_, unmet, _)| unmet.len() == fewest) {
            for at in unmet {
                let price = if fewest == 1 { *price } else { None };
                let slot = blocking.entry((*pool, *at)).or_insert(price);
                *slot = (*slot).into_iter().chain(price).min();
            }
            if fewest > 1 {
                break;
            }
        }
        let blocking: Vec<Blocking> = blocking
            .into_iter()
            .map(|((pool, at), price_without)| {
                let pool = &self.snapshot.node_pools[pool as usize];
                let asked = &pool.requirements[at];
                Blocking {
                    constraint: format!("NodePool {}: requirements[{at}].minValues", pool.name),
                    detail: format!(
                        "asks for {} values of {}, and fewer hold the pod",
                        asked.min_values.unwrap_or(0),
                        asked.key
                    ),
                    price_without,
                }
            })
            .collect();
        Some(Blocked {
            whole: group.whole.clone(),
            pods: group.demand,
            message: format!("{} {}", blocking[0].constraint, blocking[0].detail),
            hint: HINT.to_owned(),
            blocking,
        })
    }
}

impl Problem<'_> {
    /// Takes out what [`Problem::split_uncovered`] could not help; true if anything was.
    pub(crate) fn drop_uncovered(&mut self, placement: &mut Placement) -> bool {
        let mut at = 0;
        let mut out: BTreeMap<u32, (i64, usize)> = BTreeMap::new();
        while at < placement.launches.len() {
            let (offering, pattern) = placement.launches[at].clone();
            if self.is_covered(&placement.limits, offering, &pattern) {
                at += 1;
                continue;
            }
            placement.launches.remove(at);
            usage(self, offering).into_iter().for_each(|(row, amount)| placement.limits[row] += amount);
            for (g, count) in pattern {
                out.entry(g).or_insert((0, offering)).0 += count;
            }
        }
        let any = !out.is_empty();
        for (g, (pods, offering)) in out {
            let pool = self.pool(&self.offerings[offering]);
            let constraint = format!("NodePool {}: minValues", pool.name);
            let detail = "fewer values hold the pod in the domains it is bound to".to_owned();
            self.blocked.push(Blocked {
                whole: self.groups[g as usize].whole.clone(),
                pods,
                message: format!("{constraint}: {detail}"),
                hint: HINT.to_owned(),
                blocking: vec![Blocking {
                    constraint,
                    detail,
                    price_without: Some(UsdMicros(self.offerings[offering].price)),
                }],
            });
            self.groups[g as usize].demand -= pods;
        }
        any
    }
}

/// What to do about a pool that cannot offer enough.
const HINT: &str = "lower minValues, allow more types in the NodePool, or plan with --min-values best-effort";

/// Steps in which a pattern is tried smaller.
const SHARES: i64 = 16;

/// Whether every launch of a plan has, with its alternates, as many values as its pool asks for.
pub(crate) fn is_met(snapshot: &Snapshot, catalog: &stowage_models::catalog::Catalog, plan: &Plan) -> bool {
    use stowage_models::labels::{CAPACITY_TYPE, ZONE, ZONE_ID};
    if !are_strict(snapshot, &plan.policy) {
        return true;
    }
    plan.launches.iter().all(|launch| {
        let pool = snapshot.node_pools.iter().find(|pool| pool.name == launch.node_pool);
        pool.is_none_or(|pool| {
            demands(pool).all(|(_, key, least)| {
                let others = launch.alternates.iter().map(|a| (&a.instance_type, &a.zone, &a.capacity_type));
                let own = (&launch.instance_type, &launch.zone, &launch.capacity_type);
                let value = |(name, zone, capacity_type): (&String, &String, &String)| match key {
                    ZONE_ID => {
                        let mut zones = catalog.get(name)?.zones.iter();
                        zones.find(|one| one.zone == *zone).map(|one| one.zone_id.clone())
                    }
                    ZONE => Some(zone.clone()),
                    CAPACITY_TYPE => Some(capacity_type.clone()),
                    _ => catalog.get(name)?.labels().get(key).cloned(),
                };
                others.chain([own]).filter_map(value).collect::<BTreeSet<_>>().len() >= least
            })
        })
    })
}
