//! Stowage itself, answering as a peer does.

use super::judge::is_counted;
use super::{Answer, AnswerLaunch, AnswerNode, AnswerUnplaced, Peer, Task};
use crate::measure::rss_peak_mib;
use crate::trial::by_clock;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Plan, Policy, Summary};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Limits, Report};

/// How a variant of Stowage is told to plan.
struct Variant {
    policy: Policy,
    time: Duration,
}

/// The time limit of `stowage plan` unless told otherwise.
const DEFAULT_TIME: Duration = Duration::from_secs(1);

/// Consolidation gets at least this: a minute would pass before the first node is drained.
const CONSOLIDATION_TIME: Duration = Duration::from_secs(5);

fn variant(peer: Peer) -> Option<Variant> {
    let default = Policy::default();
    match peer {
        Peer::Stowage => Some(Variant { policy: Policy { slack: Ppm(0), ..default }, time: DEFAULT_TIME }),
        Peer::StowageSlack => Some(Variant { policy: default, time: DEFAULT_TIME }),
        Peer::StowageTenSeconds => Some(Variant {
            policy: Policy { slack: Ppm(0), gap: Ppm(0), ..default },
            time: Duration::from_secs(10),
        }),
        _ => None,
    }
}

/// Plans as the variant says, checks the plan, and answers. The time is that of the whole call of the planner: reading
/// the problem, planning, proving.
///
/// # Errors
/// If the snapshot cannot be planned at all, or the peer is not a variant of Stowage.
pub fn solve(
    peer: Peer,
    snapshot: &Snapshot,
    catalog: &Catalog,
    task: Task,
    threads: usize,
) -> Result<Answer> {
    let variant = variant(peer).with_context(|| format!("{} is not Stowage", peer.name()))?;
    let start = Instant::now();
    let time = if task == Task::Consolidate { variant.time.max(CONSOLIDATION_TIME) } else { variant.time };
    let limits = by_clock(time, threads);
    if task == Task::Consolidate {
        return consolidate(peer, snapshot, catalog, &variant.policy, &limits);
    }
    let planned = stowage_planner::plan(snapshot, catalog, &variant.policy, &limits, &mut |_| {})
        .context("cannot plan the snapshot")?;
    let seconds = start.elapsed().as_secs_f64();
    let rss = rss_peak_mib();
    let start = Instant::now();
    let findings = stowage_checker::check(snapshot, catalog, &planned.plan);
    let digests = (planned.plan.snapshot.digest.as_str(), planned.plan.catalog.digest.as_str());
    let mut answer = Answer::new(peer, env!("CARGO_PKG_VERSION"), digests);
    answer.seconds = seconds;
    answer.bound = Some(planned.plan.summary.launch_bound);
    answer.details = json!({
        "gapPpm": planned.plan.summary.gap.0,
        "groups": planned.plan.summary.groups,
        "slackPpm": variant.policy.slack.0,
        "stop": format!("{:?}", planned.report.stop),
        "rssMib": rss,
        "checkSeconds": start.elapsed().as_secs_f64(),
        "findings": findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect::<Vec<_>>(),
        "timeline": timeline(&planned.report, &planned.plan.summary),
    });
    fill(&mut answer, planned.plan);
    Ok(answer)
}

/// Seconds, cost and bound of every step, as one descent of cost and one ascent of bound. What was found for another
/// problem on the way (before pods were left out, or without weights) is no better than the end.
fn timeline(report: &Report, summary: &Summary) -> Vec<serde_json::Value> {
    let mut cost: Option<UsdMicros> = None;
    let mut bound = UsdMicros::ZERO;
    let mut steps = Vec::new();
    for moment in &report.timeline {
        let found = moment.cost.map(|found| found.max(summary.launch_cost));
        cost = match (cost, found) {
            (Some(before), Some(found)) => Some(before.min(found)),
            (before, found) => before.or(found),
        };
        bound = bound.max(moment.bound.min(summary.launch_bound));
        steps.push(json!([moment.elapsed.as_secs_f64(), cost.map(|cost| cost.0), bound.0]));
    }
    steps.push(json!([report.elapsed.as_secs_f64(), summary.launch_cost.0, summary.launch_bound.0]));
    steps
}

fn fill(answer: &mut Answer, plan: Plan) {
    answer.launches = plan
        .launches
        .into_iter()
        .map(|launch| AnswerLaunch {
            node_pool: launch.node_pool,
            instance_type: launch.instance_type,
            zone: launch.zone,
            capacity_type: launch.capacity_type,
            labels: launch.labels,
            price: launch.price,
            pods: launch.pods,
        })
        .collect();
    let used = plan.existing.into_iter().filter(|node| !node.pods.is_empty());
    answer.existing = used.map(|node| AnswerNode { node: node.name, pods: node.pods }).collect();
    for entry in plan.unplaced {
        let reason = entry.message;
        answer
            .unplaced
            .extend(entry.pods.into_iter().map(|pod| AnswerUnplaced { pod, reason: reason.clone() }));
    }
}

/// Consolidates, checks the plan, and answers with the cluster at rest.
fn consolidate(
    peer: Peer,
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    limits: &Limits,
) -> Result<Answer> {
    let policy = Policy { consolidation: Some(ConsolidationPolicy::default()), ..policy.clone() };
    let start = Instant::now();
    let planned = stowage_planner::consolidate(snapshot, catalog, &policy, limits, &mut |_| {})
        .context("cannot consolidate the snapshot")?;
    let seconds = start.elapsed().as_secs_f64();
    let rss = rss_peak_mib();
    let start = Instant::now();
    let findings = stowage_checker::check(snapshot, catalog, &planned.plan);
    let check_seconds = start.elapsed().as_secs_f64();
    let digests = (planned.plan.snapshot.digest.as_str(), planned.plan.catalog.digest.as_str());
    let mut answer = Answer::new(peer, env!("CARGO_PKG_VERSION"), digests);
    answer.seconds = seconds;
    let plan = planned.plan;
    let stated = plan.consolidation.as_ref().context("the plan says nothing about consolidation")?;
    let figures = &stated.summary;
    // The bound is about this policy: protected nodes stay, and moves have a price. It says nothing about other clusters.
    answer.details = json!({
        "costBefore": figures.cost_before.0,
        "costAfter": figures.cost_after.0,
        "commands": stated.waves.len(),
        "podsMoved": figures.pods_moved,
        "podMoves": figures.pods_moved,
        "nodesRemoved": figures.nodes_removed,
        "nodesLaunched": plan.launches.len(),
        "costFixed": figures.cost_fixed.0,
        "disruptionRate": figures.disruption_rate.0,
        "policyBound": figures.bound.0,
        "leftPpm": figures.left_share.0,
        "slackPpm": policy.slack.0,
        "rssMib": rss,
        "checkSeconds": check_seconds,
        "findings": findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect::<Vec<_>>(),
        "faults": planned.report.faults,
    });
    answer.removed =
        stated.nodes.iter().filter(|one| one.reason.is_removal()).map(|one| one.node.clone()).collect();
    let gone: BTreeSet<&String> = answer.removed.iter().collect();
    let mut pods: BTreeMap<String, Vec<PodRef>> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| is_counted(pod)) {
        if let Some(node) = pod.node.as_ref().filter(|node| !gone.contains(node)) {
            pods.entry(node.clone()).or_default().push(pod.id());
        }
    }
    for node in &plan.existing {
        pods.entry(node.name.clone()).or_default().extend(node.pods.iter().cloned());
    }
    fill(&mut answer, plan);
    answer.existing = pods
        .into_iter()
        .map(|(node, mut pods)| {
            pods.sort();
            AnswerNode { node, pods }
        })
        .collect();
    Ok(answer)
}
