//! Which nodes have to go whatever they cost: interrupted, unhealthy, expired, drifted (`docs/formulation.md` section 5.5).

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::departure::{
    Departure, DepartureReason, REPAIRS, UNHEALTHY_CLUSTER_PERCENT, UNHEALTHY_POOL_PERCENT,
};
use stowage_models::objects::{Node, NodeClaim};
use stowage_models::schedule::{duration, instant, rfc3339};
use stowage_models::snapshot::Snapshot;

/// The least part of a node's life that it is kept for before expiry moves it: nine tenths.
const LEAD_DIVISOR: i64 = 10;

/// What is known of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving {
    /// That it has to go.
    pub(super) departure: Option<Departure>,
    /// Marks and PodDisruptionBudgets of its pods do not keep it: it is forced, or its draining ends after a time.
    pub(super) insists: bool,
    /// It is unhealthy, but too many are.
    pub(super) blocked: bool,
}

/// What is known of every node, in the snapshot's order.
pub(super) fn departures(snapshot: &Snapshot, policy: &ConsolidationPolicy) -> Vec<Leaving> {
    let now = snapshot.taken_at.as_deref().and_then(instant);
    let claims: BTreeMap<&str, &NodeClaim> = snapshot
        .node_claims
        .iter()
        .filter_map(|claim| claim.node.as_deref().map(|node| (node, claim)))
        .collect();
    // The earliest deadline of the notices about a node; `None` if none has one.
    let mut notices: BTreeMap<&str, Option<(i64, &String)>> = BTreeMap::new();
    for notice in snapshot.notices.iter().filter(|notice| notice.is_final()) {
        let deadline = notice.deadline.as_ref().and_then(|text| instant(text).map(|seconds| (seconds, text)));
        let known = notices.entry(&notice.node).or_default();
        *known = [*known, deadline].into_iter().flatten().min();
    }
    let blocked = blocked_pools(snapshot);
    let of = |node: &Node| {
        let claim = claims.get(node.name.as_str()).copied();
        if let Some(deadline) = notices.get(node.name.as_str()) {
            return forced(DepartureReason::Interrupted, deadline.map(|(_, text)| text.clone()));
        }
        let is_sick = policy.repair && is_unhealthy(node, now);
        let is_blocked = is_sick && blocked.as_ref().is_none_or(|pools| pools.contains(&node.nodepool()));
        if is_sick && !is_blocked {
            return forced(DepartureReason::Unhealthy, None);
        }
        let mut leaving = claim.map(|claim| of_claim(claim, policy, now)).unwrap_or_default();
        leaving.blocked = is_blocked && leaving.departure.is_none();
        leaving
    };
    snapshot.nodes.iter().map(of).collect()
}

fn forced(reason: DepartureReason, deadline: Option<String>) -> Leaving {
    Leaving { departure: Some(Departure { reason, deadline, forced: true }), insists: true, blocked: false }
}

/// Expiry and drift.
fn of_claim(claim: &NodeClaim, policy: &ConsolidationPolicy, now: Option<i64>) -> Leaving {
    let created = claim.created.as_deref().and_then(instant);
    let lifetime = claim.expire_after.as_deref().and_then(duration);
    if let (Some(now), Some(created), Some(lifetime)) = (now, created, lifetime) {
        let end = created.saturating_add(lifetime);
        let lead = (i64::from(policy.expiry_lead_minutes) * 60).min(lifetime / LEAD_DIVISOR);
        if now >= end {
            return forced(DepartureReason::Expired, Some(rfc3339(end)));
        }
        if now >= end - lead {
            let reason = DepartureReason::Expired;
            let departure = Departure { reason, deadline: Some(rfc3339(end)), forced: false };
            return Leaving { departure: Some(departure), ..Leaving::default() };
        }
    }
    if claim.conditions.iter().any(|condition| condition == "Drifted") {
        let departure = Departure { reason: DepartureReason::Drifted, deadline: None, forced: false };
        // As in Karpenter, a node whose draining ends after a time may drift whatever its pods ask for.
        let insists = claim.termination_grace_period.as_deref().and_then(duration).is_some();
        return Leaving { departure: Some(departure), insists, blocked: false };
    }
    Leaving::default()
}

/// Whether a condition has been bad for longer than is borne. One that is not known to have been is not.
fn is_unhealthy(node: &Node, now: Option<i64>) -> bool {
    let Some(now) = now else { return false };
    node.symptoms.iter().any(|symptom| {
        let since = symptom.since.as_deref().and_then(instant);
        let borne = REPAIRS
            .iter()
            .filter(|(kind, status, _)| *kind == symptom.condition && *status == symptom.status)
            .map(|(_, _, minutes)| minutes * 60)
            .min();
        matches!((since, borne), (Some(since), Some(borne)) if now >= since.saturating_add(borne))
    })
}

/// Whether a condition is bad, for however long.
fn is_sick(node: &Node) -> bool {
    let is_bad = |kind: &str, status: &str| REPAIRS.iter().any(|one| one.0 == kind && one.1 == status);
    node.symptoms.iter().any(|symptom| is_bad(&symptom.condition, &symptom.status))
}

/// NodePools in which no node is repaired; `None`: in none at all.
fn blocked_pools(snapshot: &Snapshot) -> Option<BTreeSet<Option<&str>>> {
    let mut pools: BTreeMap<Option<&str>, (i64, i64)> = BTreeMap::new();
    for node in &snapshot.nodes {
        let (all, sick) = pools.entry(node.nodepool()).or_default();
        *all += 1;
        *sick += i64::from(is_sick(node));
    }
    let exceeds = |(all, sick): (i64, i64), percent: i64| sick > (all * percent + 99) / 100;
    let whole = pools.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if exceeds(whole, UNHEALTHY_CLUSTER_PERCENT) {
        return None;
    }
    let blocked = pools.into_iter().filter(|(_, counts)| exceeds(*counts, UNHEALTHY_POOL_PERCENT));
    Some(blocked.map(|(pool, _)| pool).collect())
}
