//! The bound on what any plan under the policy costs (formulation, section 5.3), in 128-bit integers.

use super::rules::{Subject, pod_weight};
use super::states::with_twins;
use crate::certificate::{Item, Proof};
use crate::finding::{Findings, code};
use crate::form::Form;
use crate::groups::Pending;
use crate::problem::{Asked, Problem};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Consolidation, ConsolidationPolicy};
use stowage_models::objects::PodRef;
use stowage_models::plan::{MULTIPLIER_BITS, Plan, unit_bits};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

fn slack(plan: &Plan) -> i64 {
    plan.policy.slack.0.clamp(0, Ppm::ONE)
}

/// The nodes no rule keeps, with the first pod that nothing else can hold, if there is one.
pub(crate) fn movable<'a>(
    subjects: &'a [Subject<'a>],
    snapshot: &Snapshot,
    catalog: &Catalog,
    plan: &Plan,
) -> BTreeMap<&'a str, Option<PodRef>> {
    let mut found: BTreeMap<&str, Option<PodRef>> = BTreeMap::new();
    loop {
        let free = |subject: &&Subject<'_>| {
            let stuck = found.get(subject.node.name.as_str()).is_some_and(Option::is_some);
            subject.stays.is_none() && !stuck
        };
        let twins = with_twins(snapshot, subjects.iter().filter(free));
        let problem =
            Problem::new(&twins, catalog, slack(plan), &[], Asked { preferences: false, ..Asked::of(plan) });
        let homeless = |pod: &PodRef| match problem.pods.pending.get(pod) {
            Some(Pending::Group(group)) => !problem.is_placeable(*group),
            _ => true,
        };
        let mut changed = Vec::new();
        for subject in subjects.iter().filter(free) {
            let stuck = subject.pods.iter().map(|pod| pod.id()).filter(homeless).min();
            changed.push((subject.node.name.as_str(), stuck));
        }
        let is_done = changed.iter().all(|(_, stuck)| stuck.is_none());
        found.extend(changed);
        if is_done {
            return found;
        }
    }
}

/// Checks certificate and bound.
pub(crate) fn check(
    snapshot: &Snapshot,
    catalog: &Catalog,
    (plan, policy, stated): (&Plan, &ConsolidationPolicy, &Consolidation),
    (subjects, movable): (&[Subject<'_>], &BTreeMap<&str, Option<PodRef>>),
    findings: &mut Findings,
) {
    let title = "certificate of consolidation";
    let certificate = &stated.certificate;
    let free: BTreeSet<&str> =
        movable.iter().filter(|(_, stuck)| stuck.is_none()).map(|(node, _)| *node).collect();
    let is_free = |subject: &&Subject<'_>| free.contains(subject.node.name.as_str());
    let twins = with_twins(snapshot, subjects.iter().filter(is_free));
    let problem = Problem::new(
        &twins,
        catalog,
        slack(plan),
        &certificate.resources,
        Asked { preferences: false, ..Asked::of(plan) },
    );
    let before = findings.0.len();
    if !certificate.parts.is_empty() || !certificate.limits.is_empty() {
        findings.add(code::CERT_PARTS, format!("{title}: it has parts or limits, which it may not"));
    }
    let items = items(&problem, plan, stated, findings);
    let mut form = Form { problem: &problem, certificate, title, findings };
    form.vectors();
    let of_offering = form.offering_vectors();
    form.node_vectors(&items);
    form.usage(&of_offering);
    if findings.0.len() > before {
        return;
    }
    let coordinate = |name: &String| {
        let place = problem.axis.names.binary_search(name).ok()?;
        Some((place, MULTIPLIER_BITS - unit_bits(name)))
    };
    let Some(coordinates) = certificate.resources.iter().map(coordinate).collect() else { return };
    let proof = Proof { problem: &problem, certificate, limits: &[], coordinates, items };
    for verdict in [proof.offerings(&of_offering), proof.nodes()] {
        match verdict {
            Some(Ok(())) => {}
            Some(Err(message)) => return findings.add(code::CERT_VALUE, format!("{title}: {message}")),
            None => {
                return findings.add(code::CERT_RANGE, format!("{title}: its terms need more than 128 bits"));
            }
        }
    }
    let proved = prove(&proof, policy, subjects, &free);
    let cost = stated.summary.cost_after.0.saturating_add(stated.summary.disruption_rate.0);
    let says = i128::from(stated.summary.bound.0);
    match proved {
        None => findings.add(code::CERT_RANGE, format!("{title}: its terms need more than 128 bits")),
        // A bound above the cost would mean an error in one of the two; the lower of the two is stated.
        Some(proved) if says == proved.min(i128::from(cost)) => {}
        Some(proved) => findings.add(
            code::BOUND,
            format!("{title}: the multipliers prove {proved} micro-dollars per hour, the plan says {says}"),
        ),
    }
}

/// The rows: groups of the pods that may move or wait. A group may be missing; it then counts for nothing.
fn items(problem: &Problem<'_>, plan: &Plan, stated: &Consolidation, findings: &mut Findings) -> Vec<Item> {
    let mut pods = vec![0_u64; problem.pods.groups.len()];
    for pending in problem.pods.pending.values() {
        if let Pending::Group(group) = pending {
            pods[*group] += 1;
        }
    }
    for pod in plan.unplaced.iter().flat_map(|entry| &entry.pods) {
        if let Some(Pending::Group(group)) = problem.pods.pending.get(pod) {
            pods[*group] = pods[*group].saturating_sub(1);
        }
    }
    let mut items = Vec::new();
    let mut last: Option<&PodRef> = None;
    for row in &stated.certificate.rows {
        let group = problem.group_of_first(&row.pod);
        let is_next = last.is_none_or(|last| *last < row.pod);
        last = Some(&row.pod);
        match group {
            Some(group)
                if is_next
                    && row.multiplier >= 0
                    && row.pods == pods[group]
                    && row.domain.is_none()
                    && row.min_weight == i32::MIN =>
            {
                items.push(Item {
                    group,
                    domain: None,
                    pods: row.pods,
                    multiplier: row.multiplier,
                    min_weight: row.min_weight,
                });
            }
            _ => {
                let wanted = group.map(|group| pods[group]);
                let message = format!(
                    "certificate of consolidation: row {} for {} pods, multiplier {}: there are {wanted:?}",
                    row.pod, row.pods, row.multiplier
                );
                findings.add(code::CERT_ROWS, message);
            }
        }
    }
    items
}

/// The right side: what rows are worth, less what room is worth, plus for every node the least of keeping and removing it.
fn prove(
    proof: &Proof<'_>,
    policy: &ConsolidationPolicy,
    subjects: &[Subject<'_>],
    free: &BTreeSet<&str>,
) -> Option<i128> {
    let worth: BTreeMap<usize, i128> =
        proof.items.iter().map(|item| (item.group, i128::from(item.multiplier))).collect();
    let mut total = 0_i128;
    for item in &proof.items {
        total = total.checked_add(i128::from(item.multiplier).checked_mul(i128::from(item.pods))?)?;
    }
    let mut room: BTreeMap<&str, i128> =
        proof.certificate.node_vectors.iter().map(|one| (one.node.as_str(), i128::from(one.value))).collect();
    let one = 1_i128 << MULTIPLIER_BITS;
    for subject in subjects {
        let price = i128::from(subject.price.unwrap_or_default().0).checked_mul(one)?;
        let value = room.remove(subject.node.name.as_str()).unwrap_or(0);
        let mut stays = price.checked_sub(value)?;
        if free.contains(subject.node.name.as_str()) {
            let mut leaving = i128::from(policy.removal_rate().0);
            for pod in &subject.pods {
                leaving += i128::from(policy.eviction_rate(pod_weight(pod)).0);
                if let Some(Pending::Group(group)) = proof.problem.pods.pending.get(&pod.id()) {
                    stays = stays.checked_sub(worth.get(group).copied().unwrap_or(0))?;
                }
            }
            stays = stays.min(leaving.checked_mul(one)?);
        }
        total = total.checked_add(stays)?;
    }
    Some((total.checked_add(one - 1)?).div_euclid(one).max(0))
}
