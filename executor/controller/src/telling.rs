//! What is told: in logs what is done and what fails, everything in numbers.

use crate::act::refusal;
use crate::brake::STOPPED;
use crate::lease::LOST;
use crate::metrics::{Family, Metrics};
use std::collections::BTreeMap;
use std::time::Duration;
use stowage_executor::{Answer, Failure, Observation, State, Time, Verb};
use stowage_models::consolidation::{Consolidation, NodeReason};
use stowage_models::labels;
use stowage_models::plan::Plan;

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help }
}

const BUILD: Family = family("karpenter_build_info", "Version of this program.");
const CALLS: Family = family("karpenter_cloudprovider_duration_seconds", "How long calls to the cloud take.");
const CALL_ERRORS: Family = family("karpenter_cloudprovider_errors_total", "Calls to the cloud that failed.");
const SYNCED: Family = family("karpenter_cluster_state_synced", "1 if the view is complete and fresh.");
const NODES: Family = family("karpenter_cluster_state_node_count", "Nodes of the cluster.");
const CREATED: Family = family("karpenter_nodeclaims_created_total", "Machines launched for NodeClaims.");
const TERMINATED: Family =
    family("karpenter_nodeclaims_terminated_total", "NodeClaims whose machine has ended.");
const DISRUPTED: Family = family("karpenter_nodeclaims_disrupted_total", "NodeClaims given up, by reason.");
const DECISIONS: Family =
    family("karpenter_voluntary_disruption_decisions_total", "Nodes that plans remove, by reason.");
const ELIGIBLE: Family = family(
    "karpenter_voluntary_disruption_eligible_nodes",
    "Nodes that may be removed, as of the last plan.",
);
const EVALUATION: Family = family(
    "karpenter_voluntary_disruption_decision_evaluation_duration_seconds",
    "How long plans with removals take.",
);
const FAILED_VALIDATIONS: Family = family(
    "karpenter_voluntary_disruption_failed_validations_total",
    "Nodes that were to go and were found to have to stay.",
);
const LEAVING: Family =
    family("stowage_nodes_leaving", "Nodes that are to go, by reason and how far they are.");
const QUEUE: Family = family("karpenter_scheduler_queue_depth", "Pods that wait for a place.");
const SCHEDULING: Family = family("karpenter_scheduler_scheduling_duration_seconds", "How long plans take.");
const UNSCHEDULABLE: Family =
    family("karpenter_scheduler_unschedulable_pods_count", "Pods the last plan left out.");
const USAGE: Family = family(
    "karpenter_nodepools_usage",
    "Capacity of nodes and machines in flight, by pool; CPU in cores, others in base units.",
);
const LEADER: Family = family("stowage_leader", "1 if this process acts.");
const STOP: Family = family("stowage_stopped", "1 if everything is stopped.");
const BREAKERS: Family = family(
    "stowage_breaker_open",
    "1 for pools that launch nothing for now: launches or registrations failed.",
);
const LAUNCHING: Family =
    family("stowage_launching_possible", "0 while the cloud refuses every launch for reasons of its own.");
const COST: Family = family("stowage_plan_cost_dollars", "Dollars an hour of what the last plan launches.");
const BOUND: Family = family("stowage_plan_bound_dollars", "Proven lower bound of that cost.");
const GAP: Family = family("stowage_plan_gap_ratio", "(cost - bound) / bound of the last plan.");
const PLANS: Family = family("stowage_plans_total", "Plans, by outcome.");
const LAUNCHES: Family = family("stowage_launches_total", "Answers to launches, by outcome.");
const MISSING: Family = family("stowage_offerings_missing_total", "Times an offering had no capacity.");
const CLAIMS: Family = family("stowage_nodeclaims", "NodeClaims by pool and how far they are.");

pub(crate) fn build(metrics: &Metrics) {
    let version = env!("CARGO_PKG_VERSION");
    metrics.set(BUILD, &[("version", version), ("goarch", std::env::consts::ARCH)], 1_000_000);
}

/// A call to the cloud.
pub(crate) fn call(metrics: &Metrics, method: &str, took: Duration, ok: bool) {
    let labels = [("controller", "stowage"), ("method", method), ("provider", "aws")];
    metrics.observe(CALLS, &labels, took);
    if !ok {
        metrics.count(CALL_ERRORS, &labels, 1);
    }
}

/// A plan that was made.
pub(crate) fn plan(metrics: &Metrics, plan: &Plan, took: Duration) {
    metrics.observe(SCHEDULING, &[("controller", "provisioner")], took);
    let summary = &plan.summary;
    metrics.set(COST, &[], summary.launch_cost.0);
    metrics.set(BOUND, &[], summary.launch_bound.0);
    metrics.set(GAP, &[], summary.gap.0);
    let left: usize = plan.unplaced.iter().map(|left| left.pods.len()).sum();
    let left = i64::try_from(left).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    metrics.set(UNSCHEDULABLE, &[("controller", "provisioner")], left);
}

/// A plan with removals, or without, that was made.
pub(crate) fn removals_planned(metrics: &Metrics, plan: &Consolidation, full: bool, took: Duration) {
    metrics.observe(EVALUATION, &[("consolidation_type", "joint")], took);
    let mut eligible = 0_i64;
    for node in &plan.nodes {
        eligible += i64::from(node.reason.is_removal() || node.reason == NodeReason::Worth);
        if node.reason.is_removal() {
            let reason = format!("{:?}", node.reason);
            metrics.count(DECISIONS, &[("decision", "delete"), ("reason", &reason)], 1);
        }
    }
    if full {
        metrics.set(ELIGIBLE, &[], eligible.saturating_mul(1_000_000));
    }
}

/// Whether everything is stopped.
pub(crate) fn stopped(metrics: &Metrics, stopped: bool) {
    metrics.set(STOP, &[], if stopped { 1_000_000 } else { 0 });
}

/// What launching has come to.
pub(crate) fn launching(metrics: &Metrics, state: &State, now: Time) {
    let open = state.open_breakers(now).into_iter().map(|pool| (vec![("nodepool", pool)], 1_000_000));
    metrics.set_all(BREAKERS, open.collect());
    metrics.set(LAUNCHING, &[], if state.no_launching(now).is_some() { 0 } else { 1_000_000 });
}

/// What is seen.
pub(crate) fn seen(metrics: &Metrics, seen: &Observation) {
    let yes = |holds: bool| if holds { 1_000_000 } else { 0 };
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    metrics.set(LEADER, &[], yes(seen.leader));
    metrics.set(SYNCED, &[], yes(seen.synced));
    metrics.set(NODES, &[], number(seen.nodes.len()));
    let waiting = seen.pods.values().filter(|pod| pod.pending && !pod.is_virtual).count();
    metrics.set(QUEUE, &[("controller", "provisioner")], number(waiting));
    let mut phases: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut usage: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for claim in seen.claims.values() {
        let phase = match claim {
            claim if claim.deleting => "Terminating",
            claim if claim.initialized.is_some() => "Initialized",
            claim if claim.registered.is_some() => "Registered",
            claim if claim.instance.is_some() => "Launched",
            _ => "Pending",
        };
        *phases.entry((&claim.pool, phase)).or_default() += 1;
        for (resource, amount) in &claim.capacity.0 {
            // CPU is in thousandths.
            let scale = if resource == "cpu" { 1000 } else { 1_000_000 };
            let sum = usage.entry((&claim.pool, resource)).or_default();
            *sum = sum.saturating_add(amount.saturating_mul(scale));
        }
    }
    let phases = phases
        .into_iter()
        .map(|((pool, phase), count)| (vec![("nodepool", pool), ("phase", phase)], number(count)));
    metrics.set_all(CLAIMS, phases.collect());
    let mut leaving: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for claim in seen.claims.values() {
        let Some(removal) = &claim.removal else { continue };
        let phase = if claim.deleting { "Draining" } else { "Intended" };
        *leaving.entry((format!("{:?}", removal.reason), phase)).or_default() += 1;
    }
    let leaving = leaving.iter().map(|((reason, phase), count)| {
        (vec![("reason", reason.as_str()), ("phase", *phase)], number(*count))
    });
    metrics.set_all(LEAVING, leaving.collect());
    let usage = usage
        .into_iter()
        .map(|((pool, resource), amount)| (vec![("nodepool", pool), ("resource_type", resource)], amount));
    metrics.set_all(USAGE, usage.collect());
}

/// What came of a request: counted, and logged with the plan it is of.
pub(crate) fn answer(metrics: &Metrics, answer: &Answer, seen: &Observation) {
    let plan_of = |claim: &str| seen.claims.get(claim).map(|one| one.plan.as_str()).unwrap_or_default();
    match answer {
        Answer::NotPlanned(_, error) => {
            metrics.count(PLANS, &[("outcome", "none")], 1);
            tracing::warn!(error, "no plan");
        }
        Answer::GivenUp(_) => {
            metrics.count(PLANS, &[("outcome", "given_up")], 1);
            tracing::info!("the plan that was being made is given up: nodes go by force");
        }
        Answer::Planned(_, batch) => {
            metrics.count(PLANS, &[("outcome", "planned")], 1);
            let pods: usize = batch.launches.iter().map(|launch| launch.pods.len()).sum();
            if !batch.waves.is_empty() {
                let removals: usize = batch.waves.iter().map(|wave| wave.removals.len()).sum();
                let (launches, waves) = (batch.actions() - removals, batch.waves.len());
                tracing::info!(plan = batch.plan, removals, launches, waves, "planned");
            }
            if !batch.launches.is_empty() {
                tracing::info!(plan = batch.plan, launches = batch.launches.len(), pods, "planned");
            }
        }
        Answer::Launched { claim, launched } => {
            metrics.count(LAUNCHES, &[("outcome", "launched")], 1);
            let instance = &launched.instance;
            let labels =
                [("zone", instance.zone.as_str()), ("capacity_type", instance.capacity_type.as_str())];
            metrics.count(CREATED, &labels, 1);
            missing(metrics, &launched.missing);
            tracing::info!(
                plan = plan_of(claim),
                claim,
                instance = instance.id,
                instance_type = instance.instance_type,
                zone = instance.zone,
                capacity_type = instance.capacity_type,
                "launched"
            );
        }
        Answer::NotPrepared { claim, why } => {
            refused(metrics, why);
            tracing::warn!(claim, error = refusal(why), "claim not created");
        }
        Answer::NotLaunched { claim, why } => {
            refused(metrics, why);
            tracing::warn!(plan = plan_of(claim), claim, error = refusal(why), "not launched");
        }
        // One word about the lease or a stop is enough, and said elsewhere.
        Answer::Failed(_, error) if error == LOST || error == STOPPED => {}
        Answer::Failed(key, error) => {
            let verb = format!("{:?}", key.verb);
            tracing::warn!(plan = plan_of(&key.object), verb, object = key.object, error, "request failed");
        }
        Answer::Done(key) => match key.verb {
            Verb::ReleaseClaim => {
                metrics.count(TERMINATED, &[], 1);
                tracing::info!(plan = plan_of(&key.object), claim = key.object, "released");
            }
            Verb::DeleteClaim => {
                metrics.count(DISRUPTED, &[], 1);
                tracing::info!(plan = plan_of(&key.object), claim = key.object, "given up");
            }
            Verb::Leave => {
                let claim = seen.claims.get(&key.object);
                let removal = claim.and_then(|claim| claim.removal.as_ref());
                let reason = removal.map(|removal| format!("{:?}", removal.reason)).unwrap_or_default();
                let pool = claim.map(|claim| claim.pool.as_str()).unwrap_or_default();
                let capacity = claim.and_then(|claim| claim.labels.get(labels::CAPACITY_TYPE));
                let capacity = capacity.map(String::as_str).unwrap_or_default();
                let named = [("reason", reason.as_str()), ("nodepool", pool), ("capacity_type", capacity)];
                metrics.count(DISRUPTED, &named, 1);
                let node = removal.map(|removal| removal.node.as_str()).unwrap_or_default();
                let plan = removal.map(|removal| removal.plan.as_str()).unwrap_or_default();
                tracing::info!(plan, claim = key.object, node, reason, "node goes");
            }
            Verb::Keep => metrics.count(FAILED_VALIDATIONS, &[], 1),
            Verb::Initialize => {
                tracing::info!(plan = plan_of(&key.object), claim = key.object, "initialized");
            }
            _ => {}
        },
        Answer::Rechecked(_) => {}
        Answer::Verified { plan, outcome } => {
            if let Err(unmet) = outcome {
                tracing::warn!(
                    plan,
                    ground = unmet.ground.as_str(),
                    error = unmet.text,
                    "a plan in review is not possible"
                );
            }
        }
        Answer::Listed(_) => {}
    }
}

fn refused(metrics: &Metrics, why: &Failure) {
    let outcome = match why {
        Failure::Capacity(offerings) => {
            missing(metrics, offerings);
            "no capacity"
        }
        Failure::Later(_) => "later",
        Failure::Never(_) => "never",
    };
    metrics.count(LAUNCHES, &[("outcome", outcome)], 1);
}

fn missing(metrics: &Metrics, offerings: &[(String, String, String)]) {
    for (_, zone, capacity_type) in offerings {
        metrics.count(MISSING, &[("zone", zone), ("capacity_type", capacity_type)], 1);
    }
}

/// At most so many bytes of a text, in whole characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!((cut("aé", 1), cut("aé", 2), cut("aé", 3), cut("", 5)), ("a", "a", "aé", ""));
    }
}
