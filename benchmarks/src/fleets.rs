//! The command line of `fleet`.

use crate::{duration, share as portion};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stowage_bench::fleet::listing::{Listing, Share};
use stowage_bench::fleet::row::{Row, Settings};
use stowage_bench::fleet::run::{Options, Progress, run};
use stowage_bench::fleet::{merge, part, summary};
use stowage_models::units::Ppm;

/// The index of an Indexed Job's pod, as Kubernetes tells it.
const INDEX: &str = "JOB_COMPLETION_INDEX";

/// Printed below the help.
const EXIT_CODES: &str = "\
Exit codes:
  0    every snapshot has a plan that the checker accepts
  1    every snapshot has a result, and some have no such plan: the results say why
  2    not everything could be done (or merged); what was done is kept
  130  interrupted (SIGINT or SIGTERM); what was under way was finished, and is kept";

/// Everything has a result and some are bad.
const FAILURES: u8 = 1;
/// Something stood in the way.
const UNDONE: u8 = 2;
/// As shells report SIGINT.
const INTERRUPTED: u8 = 130;

/// Either a run or a merge.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXIT_CODES)]
pub(crate) struct FleetArguments {
    #[command(subcommand)]
    command: Option<FleetCommand>,
    #[command(flatten)]
    run: Option<RunArguments>,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Put the parts of all shares together and print a summary.
    #[command(after_help = EXIT_CODES)]
    Merge {
        /// Folders with parts, or parts.
        #[arg(required = true, value_name = "OUT")]
        parts: Vec<PathBuf>,
        /// File for all results, sorted by path [default: merged.jsonl in the first folder].
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// What to plan.
#[derive(Debug, Args)]
struct RunArguments {
    /// Folder of snapshots: all .json, .yaml and .yml files below it, plain or with .zst.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Folder for results.
    #[arg(long)]
    out: PathBuf,
    /// Wall-clock budget of each plan, e.g. `500ms` or `5s`.
    #[arg(long, default_value = "5s", value_parser = duration)]
    time_limit: Duration,
    /// Stop at this gap; `0.01` is 1 %.
    #[arg(long, default_value = "0.01", value_parser = portion)]
    gap: Ppm,
    /// Snapshots planned at once, one thread each [default: the processors there are].
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Plan one of several shares, from 0 [default: the environment variable JOB_COMPLETION_INDEX].
    #[arg(long, requires = "of", value_name = "I")]
    index: Option<u32>,
    /// Number of shares.
    #[arg(long, value_name = "N")]
    of: Option<NonZeroU32>,
    /// Plan everything again, whatever results there are.
    #[arg(long)]
    no_resume: bool,
}

/// Runs the command and reports on stderr, the summary of a merge aside.
pub(crate) fn fleet(arguments: FleetArguments) -> ExitCode {
    let outcome = match (arguments.command, arguments.run) {
        (Some(FleetCommand::Merge { parts, to }), _) => merged(&parts, to.as_deref()),
        (None, Some(run)) => planned(&run),
        (None, None) => Err(anyhow::anyhow!("name a folder of snapshots, or `merge`")),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(UNDONE)
    })
}

/// Plans a share.
fn planned(arguments: &RunArguments) -> Result<ExitCode> {
    let index = std::env::var(INDEX).ok();
    let share = share(arguments.index, arguments.of, index.as_deref())?;
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => {
            std::thread::available_parallelism().context("cannot count the processors; pass --threads")?
        }
    };
    let options = Options {
        settings: Settings::new(arguments.time_limit, arguments.gap),
        threads,
        resume: !arguments.no_resume,
    };
    let stop = stop_on_signals()?;
    let listing = Listing::of(&arguments.folder, share)?;
    eprintln!(
        "share {} of {}: {} of {} snapshots, {threads} at once",
        share.index,
        share.of,
        listing.paths.len(),
        listing.snapshots
    );
    let progress = run(&arguments.folder, &listing, &arguments.out, &options, &stop)?;
    let Progress { kept, done, failed, .. } = progress;
    let part = arguments.out.join(part::name(share.index, share.of.get()));
    eprintln!("{kept} kept, {done} done now, {failed} of them failed: {}", part.display());
    Ok(if !progress.is_complete() && stop.load(Ordering::Relaxed) {
        eprintln!("interrupted; the same command goes on from here");
        ExitCode::from(INTERRUPTED)
    } else if failed > 0 {
        ExitCode::from(FAILURES)
    } else {
        ExitCode::SUCCESS
    })
}

/// The share asked for, or the one that Kubernetes says.
fn share(index: Option<u32>, of: Option<NonZeroU32>, job_index: Option<&str>) -> Result<Share> {
    let Some(of) = of else {
        if let Some(job_index) = job_index {
            bail!("{INDEX} is {job_index}, but not of how many: pass --of with the Job's completions");
        }
        return Ok(Share::ALL);
    };
    let index = match (index, job_index) {
        (Some(index), _) => index,
        (None, Some(text)) => text.parse().with_context(|| format!("{INDEX} is `{text}`, no number"))?,
        (None, None) => bail!("--of {of} says how many shares, but not which: pass --index or set {INDEX}"),
    };
    if index >= of.get() {
        bail!("there is no share {index} of {of}: they count from 0 to {}", of.get() - 1);
    }
    Ok(Share { index, of })
}

/// A flag that the first SIGINT or SIGTERM sets. The second ends the process at once; results are safe then, too.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the flag is not yet set when the first signal asks.
        flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .context("cannot listen for signals")?;
    }
    Ok(stop)
}

/// Merges parts, writes the results and prints the summary.
fn merged(parts: &[PathBuf], to: Option<&Path>) -> Result<ExitCode> {
    let rows = merge::merge(parts)?;
    let first = parts.first().filter(|place| place.is_dir());
    let to = match (to, first) {
        (Some(to), _) => to.to_path_buf(),
        (None, Some(folder)) => folder.join("merged.jsonl"),
        (None, None) => bail!("pass --to: the first place is a part, not a folder to write to"),
    };
    merge::write(&rows, &to)?;
    print!("{}", summary::markdown(&rows));
    eprintln!("{} results in {}", rows.len(), to.display());
    Ok(if rows.iter().all(Row::is_good) { ExitCode::SUCCESS } else { ExitCode::from(FAILURES) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_asked_for_or_told_by_the_job() {
        let of = NonZeroU32::new(3);
        let is = |share: Result<Share>| share.map(|share| (share.index, share.of.get())).ok();
        assert_eq!(is(share(None, None, None)), Some((0, 1)));
        assert_eq!(is(share(None, of, Some("2"))), Some((2, 3)));
        assert_eq!(is(share(Some(1), of, Some("2"))), Some((1, 3)));
        for wrong in [share(None, of, None), share(Some(3), of, None), share(None, of, Some("x"))] {
            assert!(wrong.is_err());
        }
        let forgotten = share(None, None, Some("2")).expect_err("of how many?").to_string();
        assert!(forgotten.contains("--of"), "{forgotten}");
    }
}
