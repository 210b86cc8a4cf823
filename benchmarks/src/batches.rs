//! Small batches: a few pods drawn from the mixed composition, planned cold with the full catalogue.
//!
//! What a controller plans most often is not ten thousand pods but the handful that arrived since the last time. Each batch
//! is a random subset of the pods of `mixed-10k` of its seed, so sizes and constraints are those of that composition.

use crate::compose::Composition;
use crate::measure::Effort;
use crate::table::quantile;
use crate::trial::by_clock;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::random::Random;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::Planned;

/// Composition the pods are drawn from.
const SOURCE: &str = "mixed-10k";

/// Batch sizes unless told otherwise.
pub const SIZES: [usize; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// When the gap is looked at beside the end: what a cold small batch may take.
pub const SOON: Duration = Duration::from_millis(50);

/// One batch, planned and checked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Pods.
    pub pods: usize,
    /// Seed of composition and draw.
    pub seed: u64,
    /// Groups of equal pods.
    pub groups: u64,
    /// Nodes to launch.
    pub nodes: u64,
    /// Cost of the launches.
    pub cost: UsdMicros,
    /// Proven bound.
    pub bound: UsdMicros,
    /// Proven gap.
    pub gap: Ppm,
    /// Gap proven within [`SOON`]; nothing if there was no plan by then.
    pub gap_soon: Option<Ppm>,
    /// The whole call in microseconds: the fastest of several runs, which all do the same.
    pub micros: u64,
    /// When the gap asked for was reached, in microseconds of that run.
    pub reached_micros: Option<u64>,
    /// Simplex iterations.
    pub iterations: u64,
    /// The checker's findings; empty = accepted.
    pub findings: Vec<String>,
}

/// `count` pods of `snapshot`, drawn without putting back; everything else stays.
#[must_use]
pub fn subset(snapshot: &Snapshot, count: usize, seed: u64) -> Snapshot {
    let mut rng = Random::new(seed ^ 0x0ba7_c4e5);
    let mut pods = snapshot.pods.clone();
    let count = count.min(pods.len());
    for k in 0..count {
        let left = (pods.len() - k) as u64;
        let other = k + usize::try_from(rng.below(left)).expect("an index fits");
        pods.swap(k, other);
    }
    pods.truncate(count);
    let mut drawn = Snapshot { pods, ..snapshot.clone() };
    drawn.normalise();
    drawn
}

/// Plans every size for the seeds `1..=seeds`, `runs` times each.
///
/// # Errors
/// If there is no plan at all for a batch.
pub fn sweep(
    sizes: &[usize],
    seeds: u64,
    effort: &Effort,
    runs: usize,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Batch>> {
    let composition = Composition::named(SOURCE)?;
    let mut batches = Vec::new();
    for seed in 1..=seeds {
        progress(&format!("seed {seed} of {seeds}"));
        let whole = composition.snapshot(seed);
        for size in sizes {
            batches.push(batch(&subset(&whole, *size, seed), effort, runs)?);
        }
    }
    Ok(batches)
}

fn batch(snapshot: &Snapshot, effort: &Effort, runs: usize) -> Result<Batch> {
    let catalog = Catalog::embedded();
    let policy = Policy { gap: effort.gap, ..Policy::default() };
    let mut fastest: Option<(Duration, Planned)> = None;
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        let limits = by_clock(effort.time, effort.threads);
        let planned = stowage_planner::plan(snapshot, catalog, &policy, &limits, &mut |_| {})
            .with_context(|| format!("cannot plan {} pods of seed {}", snapshot.pods.len(), snapshot.seed))?;
        let wall = start.elapsed();
        if fastest.as_ref().is_none_or(|(least, _)| wall < *least) {
            fastest = Some((wall, planned));
        }
    }
    let (wall, planned) = fastest.context("no run")?;
    let (summary, report) = (&planned.plan.summary, &planned.report);
    let gap_at = |moment: &stowage_planner::Moment| moment.cost.map(|cost| Ppm::gap(cost, moment.bound));
    let soon = report.timeline.iter().filter(|moment| moment.elapsed <= SOON).filter_map(gap_at).next_back();
    let reached = report.timeline.iter().find(|moment| gap_at(moment).is_some_and(|gap| gap <= effort.gap));
    let findings = stowage_checker::check(snapshot, catalog, &planned.plan);
    Ok(Batch {
        pods: snapshot.pods.len(),
        seed: snapshot.seed,
        groups: summary.groups,
        nodes: summary.nodes_launched,
        cost: summary.launch_cost,
        bound: summary.launch_bound,
        gap: summary.gap,
        gap_soon: soon,
        micros: micros(wall),
        reached_micros: reached.map(|moment| micros(moment.elapsed)),
        iterations: report.simplex_iterations,
        findings: findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect(),
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A line per size: median and 99th percentile (the worst, below a hundred batches) of times and gaps.
#[must_use]
pub fn markdown(batches: &[Batch], gap: Ppm) -> String {
    let mut text = format!(
        "| pods | batches | groups | nodes | gap at {} ms: median | p99 | gap at the end: median | p99 | ms to {gap}: median | p99 | whole call ms: median | p99 | refused |\n|{}\n",
        SOON.as_millis(),
        "---|".repeat(13)
    );
    let mut sizes: Vec<usize> = batches.iter().map(|batch| batch.pods).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let of: Vec<&Batch> = batches.iter().filter(|batch| batch.pods == size).collect();
        let both = |value: &dyn Fn(&Batch) -> Option<u64>, show: &dyn Fn(u64) -> String| {
            let values: Vec<Option<u64>> = of.iter().map(|batch| value(batch)).collect();
            let show = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), show);
            format!("{} | {}", show(quantile(values.clone(), 50)), show(quantile(values, 99)))
        };
        let number = |value: u64| value.to_string();
        let share = |ppm: u64| Ppm(i64::try_from(ppm).unwrap_or(i64::MAX)).to_string();
        let ppm = |gap: Ppm| u64::try_from(gap.0).ok();
        let median = |value: &dyn Fn(&Batch) -> u64| {
            quantile(of.iter().map(|batch| Some(value(batch))).collect(), 50).map_or(String::new(), number)
        };
        let _ = writeln!(
            text,
            "| {size} | {} | {} | {} | {} | {} | {} | {} | {} |",
            of.len(),
            median(&|batch| batch.groups),
            median(&|batch| batch.nodes),
            both(&|batch| batch.gap_soon.and_then(ppm), &share),
            both(&|batch| ppm(batch.gap), &share),
            both(&|batch| batch.reached_micros, &millis),
            both(&|batch| Some(batch.micros), &millis),
            of.iter().filter(|batch| !batch.findings.is_empty()).count(),
        );
    }
    text
}

/// Microseconds as milliseconds with one decimal, rounded up.
fn millis(micros: u64) -> String {
    let tenths = micros.div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_drawn_by_seed_without_repetition() {
        let whole = Composition::named("mixed-1k").expect("it is listed").snapshot(1);
        let drawn = subset(&whole, 20, 7);
        let mut ids: Vec<_> = drawn.pods.iter().map(stowage_models::objects::Pod::id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20);
        assert_eq!(drawn, subset(&whole, 20, 7));
        assert_ne!(drawn.pods, subset(&whole, 20, 8).pods);
        assert_eq!(subset(&whole, 5_000, 7).pods.len(), whole.pods.len());
    }

    #[test]
    fn the_table_has_a_line_per_size() {
        let one = Batch {
            pods: 5,
            seed: 1,
            groups: 4,
            nodes: 2,
            cost: UsdMicros(101),
            bound: UsdMicros(100),
            gap: Ppm(10_000),
            gap_soon: None,
            micros: 1_234,
            reached_micros: Some(150),
            iterations: 3,
            findings: Vec::new(),
        };
        let text = markdown(&[one.clone(), one], Ppm(5_000));
        let line = "| 5 | 2 | 4 | 2 | - | - | 1.00 % | 1.00 % | 0.2 | 0.2 | 1.3 | 1.3 | 0 |";
        assert_eq!(text.lines().nth(2), Some(line));
    }
}
