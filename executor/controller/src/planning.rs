//! Plans for pods that wait and nodes that static pools lack.

use crate::act::Ports;
use crate::classes::Classes;
use crate::intents;
use crate::policy;
use crate::publish;
use crate::review::{self, Proposals};
use crate::run::{Options, snapshot_now};
use crate::telling;
use crate::waves;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use stowage_executor::{PlanInput, PlannedBatch, Time, planning_view};
use stowage_observe::View;
use stowage_planner::{Limits, plan};
use stowage_review::Body;

/// An error if a plan has been given up meanwhile: it is worse than it could be.
pub(crate) fn still_wanted(limits: &Limits) -> Result<(), String> {
    match &limits.cancel {
        Some(given_up) if given_up.load(Ordering::Relaxed) => Err("it was given up".to_owned()),
        _ => Ok(()),
    }
}

/// Plans what waits, has the referee check it, and publishes it.
pub(crate) async fn plan_now(
    ports: &Ports,
    view: &View,
    classes: &Classes,
    proposals: &Mutex<Proposals>,
    (options, limits): (Arc<Options>, Limits),
    input: PlanInput,
) -> Result<PlannedBatch, String> {
    // What is read first can only be older than what is planned: a change in between is found when the plan is to be carried out.
    let (facts, versions) = (view.facts(), view.versions());
    let snapshot = snapshot_now(ports, view, classes, &options)?;
    let (returns, lacking) = (input.returns.clone(), input.statics.clone());
    let settings = options.settings.clone();
    let live = ports.cloud.catalog();
    let in_flight: BTreeSet<String> =
        input.in_flight.iter().filter(|one| one.node.is_none()).map(|one| one.claim.clone()).collect();
    let work = move || -> Result<_, String> {
        let catalog = live.as_deref().unwrap_or(&options.catalog);
        let view = planning_view(&snapshot, catalog, &input);
        let planned = plan(&view.snapshot, &view.catalog, &options.policy, &limits, &mut |_| {})
            .map_err(|error| error.to_string())?;
        still_wanted(&limits)?;
        let findings = stowage_checker::check(&view.snapshot, &view.catalog, &planned.plan);
        if let Some(finding) = findings.first() {
            return Err(format!("the referee refuses the plan: {finding:?}"));
        }
        Ok((planned.plan, view))
    };
    let begun = Instant::now();
    let (plan, view) = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())??;
    telling::plan(&ports.metrics, &plan, begun.elapsed());
    let mut batch = intents::batch(&plan, &view);
    let waves = waves::returned(&plan, &view, &facts, (&returns, &lacking));
    let of_waves = waves.iter().flat_map(|wave| &wave.removals);
    batch.returns = of_waves.map(|one| one.claim.clone()).collect();
    // Told once each, whether or not an equal plan waits already.
    let tell = || {
        if !returns.is_empty() {
            // No pod was looked at.
            return;
        }
        ports.rooms.planned(&plan, &view.snapshot, &view.left_out);
        ports.events.planned(&plan, &view.snapshot, &view.left_out, &in_flight);
    };
    let unpublished = |error: String| format!("the plan is not published: {error}");
    let now = Timestamp::now();
    let spec = if settings.needs_approval(&batch) {
        let reads = review::reads(&plan, &batch.launches, &waves, &versions);
        let launches = plan.launches.clone();
        let wanted = Body { launches, waves: waves.clone(), reads: reads.clone(), ..Body::default() };
        if proposals.lock().unwrap_or_else(PoisonError::into_inner).has(&wanted, Time(now.as_millisecond())) {
            // It waits already.
            tell();
            return Ok(batch);
        }
        let expires = now + SignedDuration::from_millis(settings.review.expire_after);
        stowage_review::proposal(&plan, reads, waves, &expires.to_string()).map_err(unpublished)?
    } else {
        stowage_review::published(&plan, policy::word(settings.mode), &[])
    };
    batch.plan.clone_from(&spec.digest);
    if !plan.launches.is_empty() || !plan.unplaced.is_empty() || !batch.returns.is_empty() {
        publish::publish(&ports.client, &ports.leadership, &plan, spec, &view.left_out)
            .await
            .map_err(unpublished)?;
    }
    tell();
    Ok(batch)
}
