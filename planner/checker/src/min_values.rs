//! `minValues` of NodePool requirements (formulation, section 1.9).

use crate::finding::{Findings, code};
use crate::problem::{Problem, fits};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::NodePool;
use stowage_models::plan::Launch;

/// Keys of which a pool asks for more than one value, and how many.
fn asked(pool: &NodePool) -> Vec<(&str, usize)> {
    let several = pool.requirements.iter().filter_map(|one| {
        let least = usize::try_from(one.min_values?).unwrap_or(usize::MAX);
        (least > 1).then_some((one.key.as_str(), least))
    });
    several.collect()
}

/// Whether the pool asks for several values and that counts.
pub(crate) fn counts(problem: &Problem<'_>, pool: usize) -> bool {
    problem.asked.min_values && !asked(problem.pools[pool].pool).is_empty()
}

/// Alternates a launch may list beyond the usual number.
pub(crate) fn extra(problem: &Problem<'_>, launch: &Launch) -> usize {
    let pool = problem.pools.iter().find(|pool| pool.pool.name == launch.node_pool);
    pool.map_or(0, |pool| asked(pool.pool).iter().map(|(_, least)| least).sum())
}

/// Pairs of a class of offerings and a group of which one pod leaves too little to choose from: the offerings of the same pool
/// and variant that the group matches, and one pod fits, have too few values of some key.
pub(crate) fn short(problem: &Problem<'_>) -> BTreeSet<(usize, usize)> {
    let offerings = &problem.offerings;
    let mut alike: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (index, offering) in offerings.list.iter().enumerate() {
        let pool = offerings.kinds[offering.kind].pool;
        if counts(problem, pool) {
            alike.entry((pool, offering.variant)).or_default().push(index);
        }
    }
    let mut short = BTreeSet::new();
    for ((pool, _), members) in alike {
        let asked = asked(problem.pools[pool].pool);
        let values: Vec<Vec<Option<String>>> = members
            .iter()
            .map(|index| {
                let set = offerings.labels(problem.region, &problem.pools, &offerings.list[*index]);
                asked.iter().map(|(key, _)| set.get(*key).cloned()).collect()
            })
            .collect();
        for group in 0..problem.pods.groups.len() {
            let mut seen: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); asked.len()];
            for (index, values) in members.iter().zip(&values) {
                let kind = &offerings.kinds[offerings.list[*index].kind];
                let may = problem.kind_admits(kind, group)
                    && problem.reach[group].class(kind.class)
                    && kind.room.as_ref().is_some_and(|room| fits(&problem.needs[group], room));
                if may {
                    for (seen, value) in seen.iter_mut().zip(values) {
                        seen.extend(value.as_deref());
                    }
                }
            }
            if seen.iter().zip(&asked).any(|(seen, (_, least))| seen.len() < *least) {
                let classes = members.iter().map(|index| offerings.kinds[offerings.list[*index].kind].class);
                short.extend(classes.map(|class| (class, group)));
            }
        }
    }
    short
}

/// A launch and its alternates, which are judged elsewhere, have as many values as the pool asks for.
pub(crate) fn check(problem: &Problem<'_>, launch: &Launch, findings: &mut Findings) {
    let Some(pool) = problem.pools.iter().position(|pool| pool.pool.name == launch.node_pool) else { return };
    if !counts(problem, pool) {
        return;
    }
    let own = (&launch.instance_type, &launch.zone, &launch.capacity_type);
    let others = launch.alternates.iter().map(|one| (&one.instance_type, &one.zone, &one.capacity_type));
    let sets: Vec<_> = others
        .chain([own])
        .filter_map(|(instance, zone, capacity_type)| {
            let key = (launch.node_pool.as_str(), &**instance, &**zone, &**capacity_type, &launch.labels);
            let offering = problem.offerings.find(&problem.pools, key)?;
            let offering = &problem.offerings.list[offering];
            Some(problem.offerings.labels(problem.region, &problem.pools, offering))
        })
        .collect();
    for (key, least) in asked(problem.pools[pool].pool) {
        let values: BTreeSet<&String> = sets.iter().filter_map(|set| set.get(key)).collect();
        if values.len() < least {
            let (slot, found) = (&launch.slot, values.len());
            let message = format!(
                "slot {slot}: {found} values of {key}, NodePool {} asks for {least}",
                launch.node_pool
            );
            findings.add(code::MIN_VALUES, message);
        }
    }
}
