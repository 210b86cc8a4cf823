//! The joint plan and the baselines on one snapshot: cost at rest, pods moved, dollars per moved pod.

use super::baselines::{Rest, Strategy, fix_point};
use crate::trial::by_clock;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Consolidation, ConsolidationPolicy, NodeReason};
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// Runs with rising eviction cost until a plan moves few enough pods.
const HALVINGS: usize = 6;
/// Where the search for an eviction cost ends, micro-dollars per pod.
const EVICTION_COST_MAX: i64 = 5_000_000;

/// One contestant at rest. Costs are per hour.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Snapshot.
    pub snapshot: String,
    /// Who.
    pub contestant: String,
    /// Price of all nodes before.
    pub cost_before: UsdMicros,
    /// The same at rest.
    pub cost_after: UsdMicros,
    /// Evictions.
    pub pods_moved: u64,
    /// Nodes removed.
    pub nodes_removed: u64,
    /// Nodes launched.
    pub nodes_launched: u64,
    /// Saved per hour and pod moved.
    pub saved_per_move: UsdMicros,
    /// Proven: no plan rests below this; evictions count. Of joint plans only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<UsdMicros>,
    /// What one eviction cost in the plan's objective, once. Of joint plans only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_cost: Option<UsdMicros>,
    /// Wall time.
    pub millis: u64,
}

/// How hard each plan tries.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Time limit of a plan.
    pub time: Duration,
    /// Threads.
    pub threads: usize,
}

fn line(snapshot: &str, contestant: &str, rest: &Rest, millis: u64) -> Line {
    let moves = i64::try_from(rest.pods_moved.max(1)).unwrap_or(i64::MAX);
    Line {
        snapshot: snapshot.to_owned(),
        contestant: contestant.to_owned(),
        cost_before: UsdMicros(rest.cost_before),
        cost_after: UsdMicros(rest.cost_after),
        pods_moved: rest.pods_moved,
        nodes_removed: rest.nodes_removed,
        nodes_launched: rest.nodes_launched,
        saved_per_move: UsdMicros((rest.cost_before - rest.cost_after) / moves),
        bound: None,
        eviction_cost: None,
        millis,
    }
}

fn planned(
    snapshot: &Snapshot,
    eviction_cost: UsdMicros,
    effort: Effort,
) -> Result<(Plan, Consolidation, u64)> {
    let start = Instant::now();
    let limits = by_clock(effort.time, effort.threads);
    // The baselines do not ask how many spot types there are to choose from.
    let wanted = ConsolidationPolicy { eviction_cost, spot_types_min: 0, ..ConsolidationPolicy::default() };
    let policy = Policy { consolidation: Some(wanted), ..policy() };
    let planned = stowage_planner::consolidate(snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {})?;
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let findings = stowage_checker::check(snapshot, Catalog::embedded(), &planned.plan);
    ensure!(findings.is_empty(), "the referee refuses the plan: {findings:?}");
    let stated = planned.plan.consolidation.clone().context("the plan says nothing about consolidation")?;
    Ok((planned.plan, stated, millis))
}

/// Slack is zero: the baselines keep none.
fn policy() -> Policy {
    Policy { slack: stowage_models::units::Ppm(0), ..Policy::default() }
}

fn joint(snapshot: &str, contestant: &str, plan: &(Plan, Consolidation, u64), cost: UsdMicros) -> Line {
    let (plan, stated, millis) = plan;
    let rest = Rest {
        cost_before: stated.summary.cost_before.0,
        cost_after: stated.summary.cost_after.0,
        pods_moved: stated.summary.pods_moved,
        nodes_removed: stated.summary.nodes_removed,
        nodes_launched: plan.summary.nodes_launched,
        commands: 1,
        ..Rest::default()
    };
    Line {
        bound: Some(stated.summary.bound),
        eviction_cost: Some(cost),
        ..line(snapshot, contestant, &rest, *millis)
    }
}

/// All contestants on a snapshot.
///
/// # Errors
/// When the snapshot cannot be planned, or the referee refuses a plan.
pub fn contest(name: &str, snapshot: &Snapshot, effort: Effort) -> Result<Vec<Line>> {
    let default = ConsolidationPolicy::default().eviction_cost;
    let ours = planned(snapshot, default, effort)?;
    let nodes = &ours.1.nodes;
    let is_free = |reason: NodeReason| reason.is_removal() || reason == NodeReason::Worth;
    let may_go: BTreeSet<&str> =
        nodes.iter().filter(|one| is_free(one.reason)).map(|one| one.node.as_str()).collect();
    let prices: BTreeMap<&str, i64> =
        nodes.iter().filter_map(|one| Some((one.node.as_str(), one.price?.0))).collect();
    let mut lines = vec![joint(name, "joint plan", &ours, default)];
    for (strategy, contestant) in
        [(Strategy::Single, "one node at a time"), (Strategy::Prefix, "prefix, then one")]
    {
        let start = Instant::now();
        let rest = fix_point(snapshot, Catalog::embedded(), &policy(), &may_go, &prices, strategy)?;
        let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        lines.push(line(name, contestant, &rest, millis));
        if let Some((plan, cost)) = within(snapshot, rest.pods_moved, effort)? {
            lines.push(joint(name, &format!("joint plan, no more moves than {contestant}"), &plan, cost));
        }
    }
    Ok(lines)
}

type Found = ((Plan, Consolidation, u64), UsdMicros);

/// The cheapest plan found that moves at most so many pods: eviction costs are bisected (in proportions).
fn within(snapshot: &Snapshot, moves: u64, effort: Effort) -> Result<Option<Found>> {
    let mut low = ConsolidationPolicy::default().eviction_cost.0;
    let mut high = EVICTION_COST_MAX;
    let mut best: Option<Found> = None;
    for _ in 0..HALVINGS {
        // The integer next to the geometric mean.
        let middle = (low * high).isqrt();
        let plan = planned(snapshot, UsdMicros(middle), effort)?;
        if plan.1.summary.pods_moved > moves {
            low = middle;
            continue;
        }
        high = middle;
        let cheaper =
            best.as_ref().is_none_or(|((_, have, _), _)| plan.1.summary.cost_after < have.summary.cost_after);
        if cheaper {
            best = Some((plan, UsdMicros(middle)));
        }
    }
    Ok(best)
}

/// The lines as a table.
#[must_use]
pub fn markdown(lines: &[Line]) -> String {
    let mut text = "| snapshot | contestant | $/h before | $/h at rest | pods moved | saved, $/h per move | nodes gone | launched | $/h bound | s |\n\
                    |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for one in lines {
        let bound = one.bound.map_or_else(String::new, |bound| bound.to_string());
        let seconds = format!("{}.{:02}", one.millis / 1000, one.millis % 1000 / 10);
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {bound} | {seconds} |\n",
            one.snapshot,
            one.contestant,
            one.cost_before,
            one.cost_after,
            one.pods_moved,
            one.saved_per_move,
            one.nodes_removed,
            one.nodes_launched,
        ));
    }
    text
}
