//! Stowage itself, answering as a peer does.

use super::{Answer, AnswerLaunch, AnswerNode, AnswerUnplaced, Peer};
use crate::measure::rss_peak_mib;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
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
pub fn solve(peer: Peer, snapshot: &Snapshot, catalog: &Catalog, threads: usize) -> Result<Answer> {
    let variant = variant(peer).with_context(|| format!("{} is not Stowage", peer.name()))?;
    let start = Instant::now();
    let limits =
        Limits { time: variant.time, threads, clock: Arc::new(move || start.elapsed()), cancel: None };
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
