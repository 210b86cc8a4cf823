//! Pods that must share a node: required affinity over hostnames.
//!
//! A group that means itself goes on one node as a whole; a group that means one other group is dealt out over that group's
//! pods. What goes together is a *bundle*, planned as if it were one pod with the sum of the requests. Only the plan knows
//! bundles; the bound is about single pods. Longer chains, and affinity to several groups at once, are not bundled: such pods
//! go where the search happens to make them fit, or are left out.

use super::domains::Share;
use super::selectors::Terms;
use crate::pack::Pattern;
use crate::preferences::Fines;
use crate::problem::{Group, Problem};
use std::collections::BTreeSet;
use std::sync::Arc;
use stowage_models::labels;

/// The bundles of a problem. Groups that are assigned to domains by `keys` are not bundled.
pub(crate) fn bundles(problem: &Problem<'_>, keys: &[Vec<u32>]) -> Vec<Share> {
    let Some(hostname) = problem.constraints.meanings.key_number(labels::HOSTNAME) else {
        return Vec::new();
    };
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut bundles = Vec::new();
    for (g, group) in problem.groups.iter().enumerate() {
        let Terms { affinity, .. } = &group.wants.terms;
        if !affinity.iter().any(|term| term.key == hostname) {
            continue;
        }
        let meant = |other: &Group<'_>| {
            affinity.iter().all(|term| other.wants.terms.meant.has(term.selector as usize))
        };
        let targets: Vec<usize> = (0..problem.groups.len()).filter(|h| meant(&problem.groups[*h])).collect();
        let free = |h: usize| keys[h].is_empty() && problem.groups[h].family.is_none() && !used.contains(&h);
        let [target] = targets[..] else { continue };
        let with_own = problem.groups[target].wants.terms.affinity.iter().any(|term| term.key == hostname);
        // Where such a pod runs already, the group has to go there.
        let runs = problem
            .constraints
            .bound
            .on_node
            .iter()
            .flatten()
            .any(|(meant, _)| affinity.iter().all(|term| meant.has(term.selector as usize)));
        if runs || !free(g) || !free(target) || (target != g && with_own) || group.demand == 0 {
            continue;
        }
        let mut add = |bundle: Pattern, demand: i64| {
            if demand > 0 && fits(problem, &bundle) {
                bundles.push(Share { bundle, ..Share::new(target as u32, Vec::new(), demand) });
            }
        };
        if target == g {
            add(vec![(g as u32, group.demand)], 1);
        } else {
            let hosts = problem.groups[target].demand.min(group.demand);
            if hosts == 0 {
                continue;
            }
            let (each, more) = (group.demand / hosts, group.demand % hosts);
            for (each, demand) in [(each + 1, more), (each, hosts - more)] {
                let mut bundle = vec![(target as u32, 1), (g as u32, each)];
                bundle.sort_unstable();
                add(bundle, demand);
            }
        }
        used.extend([g, target]);
    }
    bundles
}

/// Whether some new or existing node can hold a bundle.
fn fits(problem: &Problem<'_>, bundle: &Pattern) -> bool {
    let holds = |capacity: &[i64]| {
        capacity.iter().enumerate().all(|(r, room)| {
            let sum = bundle
                .iter()
                .map(|(h, each)| i128::from(problem.groups[*h as usize].request[r]) * i128::from(*each));
            sum.sum::<i128>() <= i128::from(*room)
        })
    };
    if bundle.iter().any(|(h, each)| problem.groups[*h as usize].cap < *each) {
        return false;
    }
    let all = |offering: &&crate::offerings::Offering| {
        bundle.iter().all(|(h, _)| problem.may_use(*h as usize, offering))
    };
    problem.offerings.iter().filter(all).any(|offering| holds(&offering.capacity))
        || problem
            .existing
            .iter()
            .any(|bin| bundle.iter().all(|(h, each)| bin.cap(*h) >= *each) && holds(&bin.free))
}

/// Makes a group one of bundles.
pub(crate) fn bundle(group: &mut Group<'_>, groups: &[Group<'_>], bundle: &Pattern) {
    let mut wants = (*group.wants).clone();
    group.request.iter_mut().for_each(|amount| *amount = 0);
    group.cap = i64::MAX;
    for (h, each) in bundle {
        let member = &groups[*h as usize];
        for (sum, amount) in group.request.iter_mut().zip(&member.request) {
            *sum = sum.saturating_add(amount.saturating_mul(*each));
        }
        group.cap = group.cap.min(member.cap / each);
        let Terms { anti, spreads, meant, .. } = &member.wants.terms;
        wants.terms.anti.extend(anti.iter().copied());
        wants.terms.spreads.extend(spreads.iter().cloned());
        for (own, other) in wants.terms.meant.0.iter_mut().zip(&meant.0) {
            *own |= other;
        }
        group.min_weight = group.min_weight.min(member.min_weight);
        group.priority = group.priority.max(member.priority);
    }
    group.wants = Arc::new(wants);
    group.fines =
        Arc::new(Fines::of_bundle(bundle.iter().map(|(h, each)| (&*groups[*h as usize].fines, *each))));
}
