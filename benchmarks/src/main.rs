//! `stowage-bench`: composes snapshots and measures the planner on them.

mod compared;
mod counted;
mod fleets;
mod lost;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stowage_bench::batches;
use stowage_bench::compose::{self, COMPOSITIONS, Composition};
use stowage_bench::consolidation::contest;
use stowage_bench::consolidation::days;
use stowage_bench::measure::{Effort, measure};
use stowage_bench::oracle::{Case, Problem};
use stowage_bench::peers::input::{self, Allowance};
use stowage_bench::peers::{Peer, Task, ours};
use stowage_bench::roadef;
use stowage_bench::second;
use stowage_bench::table::{self, Row, Subject};
use stowage_bench::targets;
use stowage_import::Source;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::plan::Policy;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// Composes snapshots and measures the planner on them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write composed snapshots.
    Compose(ComposeArguments),
    /// Plan snapshots, each in its own process, check the plans and print a table.
    Table(TableArguments),
    /// Print the exact optimum of random tiny cases.
    Oracle {
        /// Number of cases.
        #[arg(long, default_value_t = 200)]
        cases: u64,
    },
    /// Plan small batches of pods cold, check the plans and print a table by batch size.
    Batches(BatchArguments),
    /// Plan pods that arrive after a large plan was carried out, cold and warm; print a table.
    Second {
        /// Pods that arrive.
        #[arg(long, default_value_t = second::PODS)]
        pods: usize,
        /// Seeds 1 to N.
        #[arg(long, default_value_t = 3)]
        seeds: u64,
        #[command(flatten)]
        effort: EffortArguments,
        /// Also write the runs as JSON lines.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Plan a snapshot and print which of its nodes carry the gap.
    Losses(lost::LossesArguments),
    /// Count the instructions of kernels with valgrind; print a table
    Instructions(counted::InstructionsArguments),
    /// Measure every target of the engine and write table and figure.
    Targets(TargetArguments),
    /// Run Stowage and its peers on the same snapshots; write tables and figures.
    Compare(CompareArguments),
    /// Write tables and figures again from the rows of an earlier comparison.
    Report {
        /// The JSON lines file of the comparison.
        rows: PathBuf,
    },
    /// Consolidate snapshots jointly and by plain baselines, also with no more moves than these; print a table
    Consolidation {
        /// Snapshots [default: scaledown-30, scaledown-100, scaledown-1k].
        names: Vec<String>,
        /// Time limit of each plan, e.g. `10s`.
        #[arg(long, default_value = "10s", value_parser = duration)]
        time_limit: Duration,
        /// Threads of the planner.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Also write the lines as JSON lines.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Live simulated days of arrivals and departures, with joint plans and beside them plain strategies; print a table
    Days {
        /// Days, at most 30.
        #[arg(default_value_t = 30)]
        days: u64,
        /// Seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Plan a folder of snapshots, or one share of it, with results that survive a kill (see docs/fleet.md).
    Fleet(fleets::FleetArguments),
    /// Answer as a peer (what a comparison starts).
    #[command(hide = true)]
    Answer {
        /// Variant of Stowage.
        peer: String,
        /// Snapshot.
        name: String,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Without types that have no spot price.
        #[arg(long)]
        priced: bool,
    },
    /// Write the question a peer is asked about a snapshot (see benchmarks/peers/README.md).
    Question {
        /// Name of the snapshot.
        name: String,
        /// File to write; standard output unless given.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Ask for consolidation of the running cluster instead of places for pending pods.
        #[arg(long)]
        consolidate: bool,
    },
    /// Convert instances of the ROADEF/EURO challenge 2012 (machine reassignment) in the folder STOWAGE_ROADEF.
    Roadef {
        /// Instance, such as a1_1 [default: list all with what is known of them].
        #[arg(requires = "out")]
        name: Option<String>,
        /// File for its snapshot; compressed if it ends in `.zst`.
        #[arg(long, requires = "name")]
        out: Option<PathBuf>,
    },
    /// Plan one snapshot and print the measurement as JSON (what the table starts).
    #[command(hide = true)]
    Measure {
        /// Name.
        name: String,
        /// Another seed than the snapshot's own.
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        effort: EffortArguments,
    },
}

/// What to compose, and where to.
#[derive(Debug, clap::Args)]
struct ComposeArguments {
    /// Name of the snapshot, such as mixed-10k; a name that does not exist is answered with all that do.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// File to write; compressed if it ends in `.zst`.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    out: Option<PathBuf>,
    /// Another seed than the snapshot's own.
    #[arg(long, conflicts_with = "all")]
    seed: Option<u64>,
    /// Write every committed snapshot where it belongs.
    #[arg(long)]
    all: bool,
}

/// What to measure, and where to print.
#[derive(Debug, clap::Args)]
struct TableArguments {
    /// Snapshots: composed ones, openb-default, openb-cpu250 [default: the committed ones and both of openb].
    names: Vec<String>,
    #[command(flatten)]
    effort: EffortArguments,
    /// Instead of a table of snapshots: mixed-10k with the seeds 1 to N, and their median and 99th percentile.
    #[arg(long, value_name = "N", conflicts_with = "names")]
    seeds: Option<u64>,
    /// Also write the measurements as JSON lines.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What to measure of the targets, and where to write.
#[derive(Debug, clap::Args)]
struct TargetArguments {
    /// Cases, such as mixed-10k, batches or second [default: all].
    names: Vec<String>,
    /// Seeds of each composed case.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Threads of the planner.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Folder for targets.md and targets.svg [default: print only].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Which batches to plan.
#[derive(Debug, clap::Args)]
struct BatchArguments {
    /// Numbers of pods.
    #[arg(long, value_delimiter = ',', default_values_t = batches::SIZES)]
    sizes: Vec<usize>,
    /// Batches of each size, with the seeds 1 to N.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Times each batch is planned; the fastest counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Wall-clock budget of each run, e.g. `500ms` or `10s`.
    #[arg(long, default_value = "1s", value_parser = duration)]
    time_limit: Duration,
    /// Stop at this gap; `0.01` is 1 %.
    #[arg(long, default_value = "0.005", value_parser = share)]
    gap: Ppm,
    /// Threads of the planner.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Also write the batches as JSON lines.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What to compare, and where to write.
#[derive(Debug, clap::Args)]
struct CompareArguments {
    /// Snapshots [default: all the comparison knows].
    names: Vec<String>,
    /// Peers [default: all].
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Seconds each peer may think about a snapshot.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds a peer may take to consolidate.
    #[arg(long, default_value_t = 600)]
    consolidation_seconds: u64,
    /// Keep the rows that today's file holds already, but for those of the same snapshot and peer.
    #[arg(long)]
    keep: bool,
    /// Threads of each peer.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Runs of what varies from run to run (Karpenter's consolidation); the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Folder for rows, tables, figures and history.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

/// How hard to try.
#[derive(Clone, Copy, Debug, clap::Args)]
struct EffortArguments {
    /// Wall-clock budget of each run, e.g. `500ms` or `10s`.
    #[arg(long, default_value = "10s", value_parser = duration)]
    time_limit: Duration,
    /// Stop at this gap; `0.01` is 1 %.
    #[arg(long, default_value = "0.01", value_parser = share)]
    gap: Ppm,
    /// Threads of the planner.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl EffortArguments {
    fn effort(self) -> Effort {
        Effort { time: self.time_limit, gap: self.gap, threads: self.threads }
    }
}

/// `500ms`, `10s` or plain seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1_000),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no duration such as 500ms or 10s"))?;
    Ok(Duration::from_millis(number.saturating_mul(unit)))
}

/// A share such as `0.015` in parts per million, without passing through a float.
fn share(text: &str) -> Result<Ppm, String> {
    let wrong = || format!("`{text}` is no share such as 0.01");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 6 {
        return Err(format!("`{text}` is finer than one part per million"));
    }
    let digits = format!("{whole}{fraction:0<6}");
    let ppm: u32 = digits.parse().map_err(|_| wrong())?;
    Ok(Ppm(i64::from(ppm)))
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Fleet(arguments) => return Ok(fleets::fleet(arguments)),
        Command::Compose(arguments) => compose(&arguments),
        Command::Table(arguments) => table(&arguments),
        Command::Second { pods, seeds, effort, out } => {
            let all = second::sweep(pods, seeds, &effort.effort(), second::RUNS)?;
            print!("{}", second::markdown(&all));
            write_lines(out.as_deref(), &all)?;
            refused_by_checker(second::refused(&all))
        }
        Command::Targets(arguments) => measure_targets(&arguments),
        Command::Batches(arguments) => small_batches(&arguments),
        Command::Instructions(arguments) => counted::print(&arguments),
        Command::Losses(arguments) => lost::print(&arguments),
        Command::Oracle { cases } => oracle(cases),
        Command::Compare(arguments) => compared::compare(&arguments),
        Command::Report { rows } => compared::report(&rows),
        Command::Answer { peer, name, threads, priced } => {
            let snapshot = load(&name, None)?;
            let catalog = if priced { stowage_bench::compare::priced() } else { Catalog::embedded().clone() };
            let answer = ours::solve(
                Peer::named(&peer)?,
                &snapshot,
                &catalog,
                stowage_bench::compare::task(&snapshot),
                threads,
            )?;
            println!("{}", serde_json::to_string(&answer)?);
            Ok(())
        }
        Command::Consolidation { names, time_limit, threads, out } => {
            consolidation(&names, contest::Effort { time: time_limit, threads }, out.as_deref())
        }
        Command::Days { days, seed } => {
            let live = |(name, keeper)| Ok((name, days::live(days, seed, keeper)?));
            let lives = days::KEEPERS.into_iter().map(live).collect::<Result<Vec<_>>>()?;
            print!("{}", days::markdown(&lives));
            Ok(())
        }
        Command::Question { name, out, consolidate } => question(&name, out.as_deref(), consolidate),
        Command::Roadef { name, out } => roadef(name.as_deref().zip(out.as_deref())),
        Command::Measure { name, seed, effort } => {
            let start = Instant::now();
            let snapshot = load(&name, seed)?;
            let label = seed.map_or_else(|| name.clone(), |seed| format!("{name} seed {seed}"));
            let measurement = measure(&label, &snapshot, &effort.effort(), start.elapsed())?;
            println!("{}", serde_json::to_string(&measurement)?);
            Ok(())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Prints how the joint plan and the baselines consolidate, snapshot by snapshot.
fn consolidation(names: &[String], effort: contest::Effort, out: Option<&Path>) -> Result<()> {
    let usual = ["scaledown-30", "scaledown-100", "scaledown-1k"].map(str::to_owned);
    let names = if names.is_empty() { &usual[..] } else { names };
    let mut lines = Vec::new();
    for name in names {
        eprintln!("consolidating {name}");
        let snapshot = match name.as_str() {
            "openb-running" => match table::openb_running()? {
                Ok(snapshot) => snapshot,
                Err(why) => {
                    eprintln!("{name}: skipped: {why}");
                    continue;
                }
            },
            _ => load(name, None)?,
        };
        lines.extend(contest::contest(name, &snapshot, effort)?);
    }
    print!("{}", contest::markdown(&lines));
    write_lines(out, &lines)
}

/// Writes a question for a peer.
fn question(name: &str, out: Option<&Path>, consolidate: bool) -> Result<()> {
    let snapshot = load(name, None)?;
    let task = if consolidate { Task::Consolidate } else { Task::Provision };
    let allowance = Allowance { seconds: 60, threads: 2 };
    let question = input::question(name, &snapshot, Catalog::embedded(), task, allowance)?.to_string();
    match out {
        Some(out) => std::fs::write(out, question).with_context(|| format!("cannot write {}", out.display())),
        None => {
            println!("{question}");
            Ok(())
        }
    }
}

/// Composes one snapshot, or all committed ones.
fn compose(arguments: &ComposeArguments) -> Result<()> {
    if arguments.all {
        for composition in COMPOSITIONS.iter().filter(|composition| composition.committed) {
            compose::write(&composition.snapshot(composition.seed), &composition.path())?;
            println!("{}", composition.path().display());
        }
        return Ok(());
    }
    let (Some(name), Some(out)) = (&arguments.name, &arguments.out) else {
        bail!("name a snapshot and a file, or pass --all");
    };
    let composition = Composition::named(name)?;
    compose::write(&composition.snapshot(arguments.seed.unwrap_or(composition.seed)), out)
}

/// The snapshot of a table row: read as a user's would be, or composed.
fn load(name: &str, seed: Option<u64>) -> Result<Snapshot> {
    let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let imported = match Subject::named(name)? {
        Subject::Composed { composition, .. } if seed.is_some() || !composition.committed => {
            return Ok(composition.snapshot(seed.unwrap_or(composition.seed)));
        }
        Subject::Composed { composition, .. } => {
            stowage_import::import(&[Source { name, bytes: &read(&composition.path())? }])?
        }
        Subject::Openb { file, on_demand, .. } => {
            let mut imported = stowage_import::openb::convert(Source { name, bytes: &read(&file)? }, None)?;
            if on_demand {
                let only = Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand"]);
                for pool in &mut imported.snapshot.node_pools {
                    pool.requirements.push(only.clone());
                }
            }
            imported
        }
    };
    Ok(imported.snapshot)
}

/// Prints the table; fails if any plan was refused or any run failed.
fn table(arguments: &TableArguments) -> Result<()> {
    let subjects = match arguments.seeds {
        Some(seeds) => {
            let composition = Composition::named("mixed-10k")?;
            (1..=seeds).map(|seed| Subject::Composed { composition, seed: Some(seed) }).collect()
        }
        None if arguments.names.is_empty() => Subject::usual(),
        None => arguments.names.iter().map(|name| Subject::named(name)).collect::<Result<_>>()?,
    };
    let rows = table::rows(&subjects, &arguments.effort.effort(), |name| eprintln!("planning {name}"));
    print!("{}", table::markdown(&rows));
    if arguments.seeds.is_some() {
        print!("\n{}", table::spread(&rows));
    }
    write_lines(arguments.out.as_deref(), &rows)?;
    let bad = |row: &&Row| match row {
        Row::Measured(measured) => !measured.findings.is_empty(),
        Row::Without { reason, .. } => reason.starts_with("failed"),
    };
    match rows.iter().filter(bad).count() {
        0 => Ok(()),
        count => bail!("{count} of {} runs failed or were refused by the checker", rows.len()),
    }
}

/// The one-minute load average; a question mark where `/proc` does not tell.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// Measures the targets; prints the table, and writes it with the figure if a folder is named.
fn measure_targets(arguments: &TargetArguments) -> Result<()> {
    let TargetArguments { names, seeds, threads, out } = arguments;
    if let Some(out) = out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    }
    let load_before = load_average();
    let measured = targets::measure(names, *seeds, *threads, |name| eprintln!("planning {name}"))?;
    let mut text = targets::markdown(&measured);
    let mut refused = targets::refused(&measured);
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
    if is_wanted("batches") {
        let effort = Effort { time: Duration::from_secs(1), gap: targets::SMALL_GAP, threads: *threads };
        let planned =
            batches::sweep(&batches::SIZES, *seeds, &effort, 3, |what| eprintln!("batches, {what}"))?;
        text += "\n";
        text += &targets::small_verdict(&planned);
        text += "\n";
        text += &batches::markdown(&planned, targets::SMALL_GAP);
        refused += planned.iter().filter(|batch| !batch.findings.is_empty()).count();
    }
    if is_wanted("second") {
        eprintln!("second batches");
        let effort = Effort { time: targets::SECOND_TIME, gap: Ppm(10_000), threads: *threads };
        let all = second::sweep(second::PODS, *seeds, &effort, second::RUNS)?;
        text += "\n";
        text += &targets::second_verdict(&all);
        text += "\n";
        text += &second::markdown(&all);
        refused += second::refused(&all);
    }
    print!("{text}");
    let Some(out) = out else { return refused_by_checker(refused) };
    let load = format!(
        "Load of the machine (processes that want to run, one-minute average): {load_before} before, {} after.\n\n",
        load_average()
    );
    let write = |name: &str, content: &str| {
        let file = out.join(name);
        std::fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    };
    write("targets.md", &format!("{}{load}{text}", targets::HEADER))?;
    write("targets.svg", &targets::figure(&measured)?)?;
    refused_by_checker(refused)
}

/// Fails if any plan was refused.
fn refused_by_checker(count: usize) -> Result<()> {
    match count {
        0 => Ok(()),
        count => bail!("{count} plans were refused by the checker"),
    }
}

/// Prints how small batches are planned; fails if any plan was refused.
fn small_batches(arguments: &BatchArguments) -> Result<()> {
    let BatchArguments { sizes, seeds, runs, gap, .. } = arguments;
    let effort = Effort { time: arguments.time_limit, gap: *gap, threads: arguments.threads };
    let planned = batches::sweep(sizes, *seeds, &effort, *runs, |what| eprintln!("{what}"))?;
    print!("{}", batches::markdown(&planned, *gap));
    write_lines(arguments.out.as_deref(), &planned)?;
    refused_by_checker(planned.iter().filter(|batch| !batch.findings.is_empty()).count())
}

/// Writes rows as JSON lines, if a file is named.
fn write_lines<T: serde::Serialize>(out: Option<&Path>, rows: &[T]) -> Result<()> {
    let Some(out) = out else { return Ok(()) };
    let lines = rows.iter().map(serde_json::to_string).collect::<serde_json::Result<Vec<_>>>()?;
    std::fs::write(out, lines.join("\n") + "\n").with_context(|| format!("cannot write {}", out.display()))
}

/// Prints the optimum of each case by enumeration and by the model.
fn oracle(cases: u64) -> Result<()> {
    println!("| case | pods | offerings | by enumeration $/h | by model $/h |\n|---|---|---|---|---|");
    for seed in 0..cases {
        let case = Case::random(seed);
        let problem = Problem::new(&case.snapshot, &case.catalog, &Policy::default());
        let show = |cost: Option<stowage_models::units::UsdMicros>| {
            cost.map_or_else(|| "infeasible".to_owned(), |cost| cost.to_string())
        };
        let (exact, model) = (problem.by_enumeration(), problem.by_model());
        let (pods, offerings) = (problem.pods.len(), problem.offerings.len());
        println!("| {seed} | {pods} | {offerings} | {} | {} |", show(exact), show(model));
        if exact != model {
            bail!("case {seed}: enumeration and model disagree");
        }
    }
    Ok(())
}

/// Converts an instance, or lists all; says so if there are none, which is no failure: they cannot be in the repository.
fn roadef(one: Option<(&str, &Path)>) -> Result<()> {
    let folder = match roadef::folder() {
        Ok(folder) => folder,
        Err(reason) if one.is_none() => {
            println!("skipped: {reason}");
            return Ok(());
        }
        Err(reason) => return Err(reason),
    };
    if let Some((name, out)) = one {
        let converted = roadef::read(&folder, name)?;
        converted.not_expressed.iter().for_each(|sentence| eprintln!("note: {sentence}"));
        return compose::write(&converted.snapshot, out);
    }
    println!("| instance | machines | processes | lower bound of its own objective |\n|---|---|---|---|");
    for name in roadef::names(&folder)? {
        let converted = roadef::read(&folder, &name)?;
        let (nodes, pods) = (converted.snapshot.nodes.len(), converted.snapshot.pods.len());
        let bound = converted.lower_bound.map_or_else(|| "-".to_owned(), |bound| bound.to_string());
        println!("| {name} | {nodes} | {pods} | {bound} |");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_durations_parse() {
        assert_eq!(share("0.015"), Ok(Ppm(15_000)));
        assert_eq!(share("1"), Ok(Ppm(1_000_000)));
        assert!(share("-0.1").is_err() && share("0.0000001").is_err() && share("x").is_err());
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert!(duration("soon").is_err());
    }
}
