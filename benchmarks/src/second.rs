//! The second batch: some pods that arrive after a large plan was carried out, planned cold and from the warm state it left.

use crate::batches::subset;
use crate::compose::Composition;
use crate::consolidation::apply::applied;
use crate::measure::{Effort, cpu_time};
use crate::table::quantile;
use crate::trial::by_clock;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodPhase;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Planned, Warm, plan_warm};

/// Pods that arrive, unless told otherwise.
pub const PODS: usize = 200;

/// Times each batch is planned; the fastest counts, and processor time on average.
pub const RUNS: usize = 20;

/// Composition of the first batch.
const SOURCE: &str = "mixed-10k";

/// A second batch, planned cold and warm.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    /// Seed of composition and draw.
    pub seed: u64,
    /// Pods that arrive.
    pub pods: usize,
    /// Nodes there by then.
    pub nodes: usize,
    /// Planned cold.
    pub cold: Outcome,
    /// Planned warm.
    pub warm: Outcome,
}

/// How one plan came out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The whole call in microseconds: the fastest of several runs, which all do the same.
    pub micros: u64,
    /// Processor time of a run on average, in microseconds: what the wall clock would say on an idle core at most.
    pub cpu_micros: u64,
    /// Nodes to launch.
    pub launched: u64,
    /// Their cost.
    pub cost: UsdMicros,
    /// Proven bound.
    pub bound: UsdMicros,
    /// Proven gap.
    pub gap: Ppm,
    /// Simplex iterations.
    pub iterations: u64,
    /// The checker's findings; empty = accepted.
    pub findings: Vec<String>,
}

/// The cluster after the first plan with `count` pods more, which are copies of pods of the first batch.
///
/// # Errors
/// If the first batch has no plan.
pub fn situation(seed: u64, count: usize, effort: &Effort) -> Result<(Snapshot, Warm)> {
    let first = Composition::named(SOURCE)?.snapshot(seed);
    let (planned, warm) = run(&first, effort, &Warm::default())?;
    let mut cluster = applied(&first, Catalog::embedded(), &planned.plan);
    for mut pod in subset(&first, count, seed).pods {
        pod.name.push_str("-later");
        pod.node = None;
        pod.phase = PodPhase::Pending;
        cluster.pods.push(pod);
    }
    cluster.normalise();
    Ok((cluster, warm))
}

fn run(snapshot: &Snapshot, effort: &Effort, warm: &Warm) -> Result<(Planned, Warm)> {
    let policy = Policy { gap: effort.gap, ..Policy::default() };
    let limits = by_clock(effort.time, effort.threads);
    plan_warm(snapshot, Catalog::embedded(), &policy, &limits, warm, &mut |_| {})
        .with_context(|| format!("cannot plan seed {}", snapshot.seed))
}

fn outcome(snapshot: &Snapshot, effort: &Effort, warm: &Warm, runs: usize) -> Result<Outcome> {
    let mut fastest: Option<(Duration, Planned)> = None;
    let before = cpu_time();
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        let (planned, _) = run(snapshot, effort, warm)?;
        let wall = start.elapsed();
        if fastest.as_ref().is_none_or(|(least, _)| wall < *least) {
            fastest = Some((wall, planned));
        }
    }
    let cpu = cpu_time().saturating_sub(before) / u32::try_from(runs.max(1))?;
    let (wall, planned) = fastest.context("no run")?;
    let findings = stowage_checker::check(snapshot, Catalog::embedded(), &planned.plan);
    let summary = &planned.plan.summary;
    Ok(Outcome {
        micros: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
        cpu_micros: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX),
        launched: summary.nodes_launched,
        cost: summary.launch_cost,
        bound: summary.launch_bound,
        gap: summary.gap,
        iterations: planned.report.simplex_iterations,
        findings: findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect(),
    })
}

/// Plans second batches of `count` pods for the seeds `1..=seeds`.
///
/// # Errors
/// If there is no plan at all for one.
pub fn sweep(count: usize, seeds: u64, effort: &Effort, runs: usize) -> Result<Vec<Second>> {
    (1..=seeds)
        .map(|seed| {
            let (cluster, warm) = situation(seed, count, effort)?;
            Ok(Second {
                seed,
                pods: count,
                nodes: cluster.nodes.len(),
                cold: outcome(&cluster, effort, &Warm::default(), runs)?,
                warm: outcome(&cluster, effort, &warm, runs)?,
            })
        })
        .collect()
}

/// Plans that the checker refused.
#[must_use]
pub fn refused(all: &[Second]) -> usize {
    all.iter().flat_map(|one| [&one.cold, &one.warm]).filter(|one| !one.findings.is_empty()).count()
}

/// Cold and warm side by side.
#[must_use]
pub fn markdown(all: &[Second]) -> String {
    let mut text = "| second batch | runs | ms: median | worst | CPU ms: median | worst | cost $/h: median | gap: median | worst | simplex iterations: median | refused |\n|---|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for is_warm in [false, true] {
        let name = if is_warm { "warm" } else { "cold" };
        let pick = |second: &'_ Second| if is_warm { second.warm.clone() } else { second.cold.clone() };
        let of = |value: &dyn Fn(&Outcome) -> i64, percent: usize| -> i64 {
            let values = all.iter().map(|second| u64::try_from(value(&pick(second))).ok()).collect();
            quantile(values, percent).and_then(|value| i64::try_from(value).ok()).unwrap_or(i64::MAX)
        };
        let micros = |one: &Outcome| i64::try_from(one.micros).unwrap_or(i64::MAX);
        let cpu = |one: &Outcome| i64::try_from(one.cpu_micros).unwrap_or(i64::MAX);
        let ms = |micros: i64| format!("{}.{}", micros / 1_000, micros % 1_000 / 100);
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            all.len(),
            ms(of(&micros, 50)),
            ms(of(&micros, 100)),
            ms(of(&cpu, 50)),
            ms(of(&cpu, 100)),
            UsdMicros(of(&|one| one.cost.0, 50)),
            Ppm(of(&|one| one.gap.0, 50)),
            Ppm(of(&|one| one.gap.0, 100)),
            of(&|one| i64::try_from(one.iterations).unwrap_or(i64::MAX), 50),
            all.iter().filter(|second| !pick(second).findings.is_empty()).count(),
        );
    }
    text
}
