//! Spot nodes replaced by spot nodes (formulation, section 5.6).

use super::rules::Subject;
use crate::finding::{Findings, code};
use crate::groups::Pending;
use crate::ledger::{Counts, demand, leave};
use crate::nodes::capacity_type;
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::Consolidation;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, Plan};

const SPOT: &str = "spot";

/// Each spot node that is removed for its cost and replaced by one spot node alone has `least` cheaper types to be replaced by.
/// `problem` derives the one of the cluster without the removed nodes.
pub(crate) fn check<'a>(
    (plan, stated, least): (&Plan, &Consolidation, u32),
    subjects: &[Subject<'_>],
    problem: impl FnOnce() -> Problem<'a>,
    findings: &mut Findings,
) {
    let pairs = if least == 0 { Vec::new() } else { pairs(plan, stated, subjects) };
    if pairs.is_empty() {
        return;
    }
    let problem = problem();
    for (subject, launch) in pairs {
        let price = subject.price.unwrap_or_default().0;
        let found = cheaper(&problem, launch, price);
        if found < least as usize {
            let (node, slot) = (&subject.node.name, &launch.slot);
            findings.add(
                code::FLEXIBILITY,
                format!("spot node {node} is replaced by {slot}: {found} types cost less, at least {least} have to"),
            );
        }
    }
}

/// Removed spot nodes with the one launch that takes its pods, if that is spot and takes no others.
fn pairs<'a>(
    plan: &'a Plan,
    stated: &Consolidation,
    subjects: &'a [Subject<'a>],
) -> Vec<(&'a Subject<'a>, &'a Launch)> {
    let mut pairs = Vec::new();
    for subject in subjects.iter().filter(|s| s.is_free() && capacity_type(s.node) == Some(SPOT)) {
        let own: BTreeMap<&PodRef, &str> = stated
            .moves
            .iter()
            .filter(|one| one.from == subject.node.name)
            .map(|one| (&one.pod, one.to.as_str()))
            .collect();
        let targets: BTreeSet<&str> = own.values().copied().collect();
        let mut taking = plan.launches.iter().filter(|launch| targets.contains(launch.slot.as_str()));
        let (Some(launch), None) = (taking.next(), taking.next()) else { continue };
        if launch.capacity_type == SPOT && launch.pods.iter().all(|pod| own.contains_key(pod)) {
            pairs.push((subject, launch));
        }
    }
    pairs
}

/// Instance types with a spot offering for less than `price`, of the launch's pool and labels, that its pods may use and fit.
fn cheaper(problem: &Problem<'_>, launch: &Launch, price: i64) -> usize {
    let mut counts = Counts::new();
    for pod in &launch.pods {
        match problem.pods.pending.get(pod) {
            Some(Pending::Group(group)) => *counts.entry(*group).or_default() += 1,
            _ => return 0,
        }
    }
    let demand = demand(problem, &counts);
    let mut types: BTreeSet<&str> = BTreeSet::new();
    for offering in &problem.offerings.list {
        let kind = &problem.offerings.kinds[offering.kind];
        let pool = &problem.pools[kind.pool];
        let is_like = offering.capacity_type == SPOT
            && offering.price.usd.0 < price
            && pool.pool.name == launch.node_pool
            && *pool.variant(offering.variant) == launch.labels;
        if is_like
            && counts.keys().all(|group| problem.kind_matches(kind, *group))
            && leave(problem, kind.room.as_deref(), &demand).is_ok()
        {
            types.insert(&problem.offerings.facts[kind.facts].instance.name);
        }
    }
    types.len()
}
