//! `stowage plan`.

use super::exit_of;
use crate::args::{ConsolidationArgs, PlanArgs, PlanFormat, PreferencesArg};
use crate::failure::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::{self, Console};
use crate::progress::Progress;
use crate::render::{self, Subject};
use crate::style::Palette;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use stowage_import::Source;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::plan::{Policy, Preferences};
use stowage_models::snapshot::Snapshot;
use stowage_planner::{Limits, Planned};

/// Reads, plans, has the plan checked, and only then prints it.
///
/// # Errors
/// When input cannot be read, the referee refuses the plan, or output cannot be written.
pub fn run(args: &PlanArgs, console: &Console) -> Result<Exit, Failure> {
    let outputs: Vec<&Path> = args.target.out.as_deref().into_iter().chain(args.report.as_deref()).collect();
    let read: Vec<PathBuf> = args.inputs.iter().chain(&args.catalog).cloned().collect();
    input::keep_apart(&read, &outputs)?;
    let inputs = input::read_all(&args.inputs)?;
    let catalog = input::read_catalog(args.catalog.as_deref())?;
    let sources: Vec<Source<'_>> = inputs.iter().map(Input::source).collect();
    let snapshot = stowage_import::import(&sources)?.snapshot;
    let planned = make(args, &snapshot, &catalog)?;
    accept(&snapshot, &catalog, &planned)?;
    for fault in &planned.report.faults {
        console.remark(&format!("{} solver: {fault}", console.stderr.notable("note:")));
    }
    let subject = Subject { plan: &planned.plan, report: Some(&planned.report), checked: true };
    if let Some(path) = &args.report {
        let report = render::plan(&subject, PlanFormat::Html, Palette::PLAIN);
        output::write_file(path, report.as_bytes())?;
    }
    let palette = if args.target.out.is_some() { Palette::PLAIN } else { console.stdout };
    let text = render::plan(&subject, args.output, palette);
    console.deliver(text.as_bytes(), args.target.out.as_deref())?;
    Ok(exit_of(!planned.plan.is_empty(), args.detailed_exitcode))
}

fn make(args: &PlanArgs, snapshot: &Snapshot, catalog: &Catalog) -> Result<Planned, Failure> {
    let policy = Policy {
        slack: args.slack,
        gap: args.gap,
        seed: args.seed,
        preferences: Some(match args.preferences {
            PreferencesArg::Respect => Preferences::Respect,
            PreferencesArg::Ignore => Preferences::Ignore,
        }),
        consolidation: wanted(&args.consolidation),
    };
    let threads = args
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get), usize::from);
    let start = Instant::now();
    let limits = Limits {
        time: args.time_limit,
        threads,
        clock: Arc::new(move || start.elapsed()),
        cancel: Some(cancel_on_interrupt()),
    };
    let progress = Progress::start();
    let make =
        if policy.consolidation.is_some() { stowage_planner::consolidate } else { stowage_planner::plan };
    let planned = make(snapshot, catalog, &policy, &limits, &mut |moment| progress.show(moment));
    progress.finish();
    Ok(planned?)
}

/// What is to be done about nodes that exist.
fn wanted(args: &ConsolidationArgs) -> Option<ConsolidationPolicy> {
    args.consolidate.then(|| ConsolidationPolicy {
        horizon_minutes: args.horizon,
        eviction_cost: args.eviction_cost,
        removal_cost: args.removal_cost,
        savings_threshold: args.savings_threshold,
        payback_minutes: args.payback,
        ignore_pdbs: args.ignore_pdb,
        budget: args.budget.clone(),
        node_pools: args.only_nodepool.clone(),
    })
}

/// A flag that Ctrl-C sets: the search then ends with the best plan so far. A second Ctrl-C ends the program at once.
fn cancel_on_interrupt() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    // A handler that cannot be set leaves the system's own, which ends the program: nothing is lost but the comfort.
    let _ = ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    flag
}

/// No plan leaves unchecked.
fn accept(snapshot: &Snapshot, catalog: &Catalog, planned: &Planned) -> Result<(), Failure> {
    let findings = stowage_checker::check(snapshot, catalog, &planned.plan);
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused {
        place: "the new plan (nothing was written; please report this)".to_owned(),
        findings,
    })
}
