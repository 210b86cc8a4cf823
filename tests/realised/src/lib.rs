//! Plans on a real kube-scheduler.
//!
//! A random cluster with constraints of all kinds ([`generate`]) is created on a real control plane; what kube-scheduler finds
//! a place for there is taken as running. For the rest a plan is made and carried out ([`carry`]) as `docs/realisation.md`
//! says, or left to the scheduler, for comparison.

pub mod carry;
pub mod generate;
pub mod stage;

use anyhow::{Context as _, Result, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// A plan for the pods of a snapshot that wait, accepted by the checker.
///
/// # Errors
/// If there is no plan, or the checker refuses it.
pub fn plan(snapshot: &Snapshot, slack: Ppm) -> Result<Plan> {
    let start = Instant::now();
    let limits = stowage_planner::Limits {
        time: Duration::from_secs(10),
        threads: 2,
        clock: Arc::new(move || start.elapsed()),
        cancel: None,
    };
    let policy = Policy { slack, ..Policy::default() };
    let catalog = Catalog::embedded();
    let planned =
        stowage_planner::plan(snapshot, catalog, &policy, &limits, &mut |_| ()).context("planning")?;
    let findings = stowage_checker::check(snapshot, catalog, &planned.plan);
    ensure!(findings.is_empty(), "the checker refuses the plan: {findings:?}");
    Ok(planned.plan)
}
