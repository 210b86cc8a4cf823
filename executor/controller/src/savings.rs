//! What consolidation would save now, where nodes are not removed: planned every few minutes, told in metrics and events, and not carried out.

use crate::act::Ports;
use crate::kept::Kept;
use crate::metrics::{Family, Metrics};
use crate::run::Options;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_executor::Mode;
use stowage_models::consolidation::{Consolidation, ConsolidationSummary};
use stowage_models::plan::Policy;
use stowage_observe::View;
use stowage_planner::{Limits, consolidate};

/// How often it is looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(300);
/// What a look may take.
const TIME: Duration = Duration::from_secs(5);

const SAVINGS: Family = Family {
    name: "stowage_potential_savings_dollars",
    help: "Dollars an hour that the consolidation planned last would save, eviction costs taken off.",
};
const MOST: Family = Family {
    name: "stowage_potential_savings_bound_dollars",
    help: "Proven: no consolidation under the policy in force saves more dollars an hour.",
};

/// Dollars an hour (micro-dollars) that a plan saves, and that any could save at most.
fn savings(summary: &ConsolidationSummary) -> (i64, i64) {
    let before = summary.cost_before.0;
    let after = summary.cost_after.0.saturating_add(summary.disruption_rate.0);
    (before.saturating_sub(after).max(0), before.saturating_sub(summary.bound.0).max(0))
}

/// Plans a consolidation of what is seen and tells what it would save and why nodes stay; a plan the referee refuses is not believed.
pub(crate) async fn look(
    view: &View,
    options: Arc<Options>,
    ports: &Ports,
    kept: &Kept,
) -> Result<(), String> {
    let (live, versions) = (ports.cloud.catalog(), view.versions());
    let mut snapshot = view.snapshot().map_err(|error| error.to_string())?;
    // Pods that wait are planned elsewhere; what they cost is no loss.
    snapshot.pods.retain(|pod| !pod.is_pending() || pod.is_virtual());
    let mode = options.settings.mode;
    let work = move || -> Result<Consolidation, String> {
        let begun = Instant::now();
        let limits =
            Limits { time: TIME, threads: 1, clock: Arc::new(move || begun.elapsed()), cancel: None };
        let policy = Policy { consolidation: Some(options.consolidation.clone()), ..options.policy.clone() };
        let catalog = live.as_deref().unwrap_or(&options.catalog);
        let planned = consolidate(&snapshot, catalog, &policy, &limits, &mut |_| {});
        let plan = planned.map_err(|error| error.to_string())?.plan;
        let findings = stowage_checker::check(&snapshot, catalog, &plan);
        match (findings.first(), plan.consolidation) {
            (Some(finding), _) => Err(format!("the referee refuses the plan: {finding:?}")),
            (None, Some(consolidation)) => Ok(consolidation),
            (None, None) => Err("the plan says nothing of consolidation".to_owned()),
        }
    };
    let consolidation = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())??;
    kept.tell(&ports.events, &versions, &consolidation.nodes);
    let summary = consolidation.summary;
    let (saved, most) = tell(&ports.metrics, &summary);
    let shadow = mode == Mode::Shadow;
    let (nodes, pods) = (summary.nodes_removed, summary.pods_moved);
    tracing::info!(shadow, nodes, pods, micro_dollars_an_hour = saved, at_most = most, "could be saved");
    Ok(())
}

/// Tells what a plan would save, and what any could at most.
pub(crate) fn tell(metrics: &Metrics, summary: &ConsolidationSummary) -> (i64, i64) {
    let (saved, most) = savings(summary);
    metrics.set(SAVINGS, &[], saved);
    metrics.set(MOST, &[], most);
    (saved, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::units::UsdMicros;

    #[test]
    fn savings_are_what_is_left_after_evictions() {
        let summary = |before, after, rate, bound| ConsolidationSummary {
            cost_before: UsdMicros(before),
            cost_after: UsdMicros(after),
            disruption_rate: UsdMicros(rate),
            bound: UsdMicros(bound),
            ..ConsolidationSummary::default()
        };
        assert_eq!(savings(&summary(100, 60, 5, 50)), (35, 50));
        assert_eq!(savings(&summary(100, 100, 0, 100)), (0, 0));
    }
}
