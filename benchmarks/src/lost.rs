//! The command line of `losses`.

use crate::{EffortArguments, load};
use anyhow::{Context as _, Result, bail};
use stowage_bench::losses::{losses, markdown};
use stowage_bench::trial::by_clock;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;

/// What to plan, and how much to print.
#[derive(Debug, clap::Args)]
pub(crate) struct LossesArguments {
    /// Snapshot.
    name: String,
    /// Another seed than the snapshot's own.
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes to list.
    #[arg(long, default_value_t = 10)]
    most: usize,
    #[command(flatten)]
    effort: EffortArguments,
}

/// Plans a snapshot and prints where its gap is.
pub(crate) fn print(arguments: &LossesArguments) -> Result<()> {
    let snapshot = load(&arguments.name, arguments.seed)?;
    let (catalog, effort) = (Catalog::embedded(), arguments.effort.effort());
    let policy = Policy { gap: effort.gap, ..Policy::default() };
    let limits = by_clock(effort.time, effort.threads);
    let plan = stowage_planner::plan(&snapshot, catalog, &policy, &limits, &mut |_| {})
        .with_context(|| format!("cannot plan {}", arguments.name))?
        .plan;
    if let Some(finding) = stowage_checker::check(&snapshot, catalog, &plan).first() {
        bail!("the checker refuses the plan: {}: {}", finding.code, finding.message);
    }
    print!("{}", markdown(&plan, &losses(&snapshot, catalog, &plan)?, arguments.most));
    Ok(())
}
