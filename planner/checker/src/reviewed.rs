//! Launches that were decided on a while ago, judged against what is there now.

use crate::finding::{Finding, Findings, code};
use crate::problem::{Asked, Problem};
use crate::{binding, identity, launches, ledger, limits};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodRef;
use stowage_models::plan::{ExistingNode, Launch, Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

/// Findings that say nothing of whether launches are possible: other pods may wait by now, some of the launches may be there already, and
/// prices are judged by [`check_prices`].
const OF_NO_CONCERN: [&str; 6] = [
    code::MISSING_POD,
    code::SLOT,
    code::PRICE,
    code::ESTIMATED,
    code::ALTERNATE_PRICE,
    code::ALTERNATE_ORDER,
];

/// Judges whether launches of a plan are possible now, and cost no more than they say: each is an offering, carries pods that wait, match
/// and fit, within limits, and kube-scheduler can bind them (`docs/formulation.md` sections 1 and 2). `existing` are the places on nodes
/// that the same plan has for other pods; those that do not wait any more are left aside. Whether anything cheaper has come up is not
/// asked: that is what was approved.
#[must_use]
pub fn check_launches(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    launches: &[Launch],
    existing: &BTreeMap<String, Vec<PodRef>>,
) -> Vec<Finding> {
    let mut findings = Findings::default();
    identity::check_names(snapshot, &mut findings);
    if !findings.0.is_empty() {
        return findings.0;
    }
    let waiting: BTreeSet<PodRef> =
        snapshot.pods.iter().filter(|pod| pod.is_pending()).map(|pod| pod.id()).collect();
    let on = |(name, pods): (&String, &Vec<PodRef>)| ExistingNode {
        name: name.clone(),
        node_pool: None,
        instance_type: None,
        zone: None,
        capacity_type: None,
        price: None,
        allocatable: Default::default(),
        running: Default::default(),
        pods: pods.iter().filter(|pod| waiting.contains(*pod)).cloned().collect(),
        requested: Default::default(),
    };
    let plan = Plan {
        policy: policy.clone(),
        launches: launches.to_vec(),
        existing: existing.iter().map(on).collect(),
        ..Plan::default()
    };
    let slack = policy.slack.0.clamp(0, Ppm::ONE);
    let problem = Problem::new(snapshot, catalog, slack, &[], Asked::of(&plan));
    let mut ledger = ledger::read(&problem, &plan, &mut findings);
    launches::check(&problem, &plan, &mut ledger, &mut findings);
    findings.0.retain(|finding| !OF_NO_CONCERN.contains(&finding.code));
    binding::check_launches(&problem, &plan, &ledger, &mut findings);
    limits::check_sums(&problem, &ledger, &mut findings);
    check_prices(&problem, &plan, &mut findings);
    findings.0
}

/// Neither a launch nor an alternate costs more than the plan says.
fn check_prices(problem: &Problem<'_>, plan: &Plan, findings: &mut Findings) {
    for launch in &plan.launches {
        let own = (&launch.instance_type, &launch.zone, &launch.capacity_type, launch.price);
        let others = launch.alternates.iter();
        let others = others.map(|one| (&one.instance_type, &one.zone, &one.capacity_type, one.price));
        for (instance, zone, capacity, stated) in std::iter::once(own).chain(others) {
            let key = (
                launch.node_pool.as_str(),
                instance.as_str(),
                zone.as_str(),
                capacity.as_str(),
                &launch.labels,
            );
            let Some(found) = problem.offerings.find(&problem.pools, key) else { continue };
            let UsdMicros(price) = problem.offerings.list[found].price.usd;
            if price > stated.0 {
                let slot = &launch.slot;
                let message = format!(
                    "slot {slot}: {instance} {zone} {capacity} costs {price} micro-dollars an hour by now, the plan says {}",
                    stated.0
                );
                findings.add(code::PRICE, message);
            }
        }
    }
}
