//! `stowage check`.

use super::question::changed;
use crate::args::CheckArgs;
use crate::failure::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::Console;
use crate::render::figures;
use std::path::PathBuf;
use stowage_import::Source;

/// Judges a plan against its snapshot and says so in a line.
///
/// # Errors
/// When input cannot be read, and with the findings when the plan is stale or refused.
pub fn run(args: &CheckArgs, console: &Console) -> Result<Exit, Failure> {
    let (snapshot_paths, plan_path) = split(args)?;
    // Read together, so that stdin named twice is noticed.
    let mut inputs = input::read_all(&[snapshot_paths, vec![plan_path]].concat())?;
    let plan_input = inputs.pop().expect("the plan was read last");
    let catalog = input::read_catalog(args.catalog.as_deref())?;
    let plan = stowage_import::read_plan(plan_input.source())?;
    let sources: Vec<Source<'_>> = inputs.iter().map(Input::source).collect();
    let snapshot = stowage_import::import(&sources)?.snapshot;
    let (snapshot, catalog) = changed(&plan.what_if, &snapshot, &catalog);
    let findings = stowage_checker::check(&snapshot, &catalog, &plan);
    if !findings.is_empty() {
        return Err(Failure::Refused { place: plan_input.name, findings });
    }
    let summary = &plan.summary;
    let (cost, bound) = (figures::per_hour(summary.launch_cost), figures::per_hour(summary.launch_bound));
    let accepted = console.stdout.good("accepted");
    let id = figures::short_digest(&plan.id);
    // Where nodes go as well, what is proven is about the whole cluster, not about the launches alone.
    let figures = match &plan.consolidation {
        Some(stated) => {
            let (after, least) = (stated.summary.cost_after, stated.summary.bound);
            let (after, least) = (figures::per_hour(after), figures::per_hour(least));
            format!(
                "cluster {after}  bound {least} with moves  at most {} left to save",
                stated.summary.left_share
            )
        }
        None => format!("cost {cost}  bound {bound}  gap {}", summary.gap),
    };
    console.print(&format!("{accepted}  plan {id}  {figures}\n"))?;
    Ok(Exit::Ok)
}

/// Snapshot files and the plan.
fn split(args: &CheckArgs) -> Result<(Vec<PathBuf>, PathBuf), Failure> {
    if let Some(plan) = &args.plan {
        return Ok((args.files.clone(), plan.clone()));
    }
    match args.files.split_last() {
        Some((plan, snapshot)) if !snapshot.is_empty() => Ok((snapshot.to_vec(), plan.clone())),
        _ => Err(Failure::new(
            "arguments",
            "a snapshot and a plan are needed",
            "stowage check SNAPSHOT... PLAN",
        )),
    }
}
