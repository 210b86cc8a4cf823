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
use stowage_models::schedule::instant;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

fn slack(plan: &Plan) -> i64 {
    plan.policy.slack.0.clamp(0, Ppm::ONE)
}

/// The nodes that no rule keeps, but the want of another place for a pod of theirs may.
pub(crate) struct Movable<'a> {
    /// The first pod that nothing else can hold, if there is one, by node.
    pub(crate) stuck: BTreeMap<&'a str, Option<PodRef>>,
    /// Of these, nodes that have to go and do.
    pub(crate) departing: BTreeSet<&'a str>,
    /// Of these, nodes that may go or stay.
    pub(crate) free: BTreeSet<&'a str>,
}

/// Finds them.
pub(crate) fn movable<'a>(
    subjects: &'a [Subject<'a>],
    snapshot: &Snapshot,
    catalog: &Catalog,
    plan: &Plan,
) -> Movable<'a> {
    let names = |wanted: fn(&Subject<'_>) -> bool| -> BTreeSet<&'a str> {
        subjects.iter().filter(|s| wanted(s)).map(|s| s.node.name.as_str()).collect()
    };
    let mut found =
        Movable { stuck: BTreeMap::new(), departing: names(|s| s.departs()), free: names(|s| s.is_free()) };
    loop {
        let free = subjects.iter().filter(|subject| found.free.contains(subject.node.name.as_str()));
        let twins = with_twins(snapshot, subjects, &found.departing, free);
        let problem =
            Problem::new(&twins, catalog, slack(plan), &[], Asked { preferences: false, ..Asked::of(plan) });
        let homeless = |pod: &PodRef| match problem.pods.pending.get(pod) {
            Some(Pending::Group(group)) => !problem.is_placeable(*group),
            // Of nodes that have to go, pods with constraints are left out of the twins.
            None => false,
            Some(_) => true,
        };
        let mut is_done = true;
        for subject in subjects.iter().filter(|subject| subject.stays.is_none() && !subject.is_forced()) {
            let name = subject.node.name.as_str();
            if !found.free.contains(name) && !found.departing.contains(name) {
                continue;
            }
            let stuck = subject.pods.iter().map(|pod| pod.id()).filter(homeless).min();
            if stuck.is_some() {
                is_done = false;
                found.free.remove(name);
                found.departing.remove(name);
            }
            found.stuck.insert(name, stuck);
        }
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
    (subjects, movable): (&[Subject<'_>], &Movable<'_>),
    findings: &mut Findings,
) {
    let title = "certificate of consolidation";
    let certificate = &stated.certificate;
    let is_free = |subject: &&Subject<'_>| movable.free.contains(subject.node.name.as_str());
    let twins = with_twins(snapshot, subjects, &movable.departing, subjects.iter().filter(is_free));
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
    form.cases();
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
    let proved = prove(&proof, policy, subjects, movable);
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

/// The right side: what rows are worth, less what room is worth, plus for every node the least of keeping and removing it; that of
/// removing it, if it has to go.
fn prove(
    proof: &Proof<'_>,
    policy: &ConsolidationPolicy,
    subjects: &[Subject<'_>],
    movable: &Movable<'_>,
) -> Option<i128> {
    let worth: BTreeMap<usize, i128> =
        proof.items.iter().map(|item| (item.group, i128::from(item.multiplier))).collect();
    let now = proof.problem.snapshot.taken_at.as_deref().and_then(instant);
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
        let mut leaving = i128::from(policy.removal_rate().0);
        let weights = subject.pods.iter().map(|pod| pod_weight(policy, now, pod));
        leaving += weights.map(|weight| i128::from(policy.eviction_rate(weight).0)).sum::<i128>();
        if movable.departing.contains(subject.node.name.as_str()) {
            stays = leaving.checked_mul(one)?;
        } else if movable.free.contains(subject.node.name.as_str()) {
            for pod in &subject.pods {
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
