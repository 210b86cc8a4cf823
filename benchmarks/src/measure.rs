//! One run of the planner, measured: what a child process does for the table.

use crate::trial::by_clock;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Moment, Report};

/// Gaps whose times the table shows, in parts per million.
pub const GAPS: [i64; 3] = [30_000, 15_000, 10_000];

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Wall-clock budget.
    pub time: Duration,
    /// Stop at this gap.
    pub gap: Ppm,
    /// Threads.
    pub threads: usize,
}

/// A measured run. Times are milliseconds of wall clock since the planner was called.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// Name of the snapshot.
    pub snapshot: String,
    /// Seed of a composed snapshot.
    pub seed: u64,
    /// Pending pods.
    pub pods: u64,
    /// Of these, left out.
    pub pods_unplaced: u64,
    /// Groups of equal pods.
    pub groups: u64,
    /// Offerings of all NodePools.
    pub offerings: u64,
    /// Offerings left after dominance.
    pub offerings_undominated: u64,
    /// Nodes to launch.
    pub nodes: u64,
    /// Cost of the launches per hour.
    pub cost: UsdMicros,
    /// Proven bound.
    pub bound: UsdMicros,
    /// Proven gap.
    pub gap: Ppm,
    /// When there was a plan at all.
    pub first_plan_ms: Option<u64>,
    /// When the gap was at most each of [`GAPS`].
    pub gap_ms: Vec<Option<u64>>,
    /// The whole call.
    pub wall_ms: u64,
    /// Reading and importing the snapshot, before the call.
    pub load_ms: u64,
    /// Largest resident set of the process once planned, MiB, rounded up; 0 where `/proc` does not tell.
    pub rss_mib: u64,
    /// What it was before planning: program, snapshot and catalogue.
    pub rss_before_mib: u64,
    /// The checker's findings; empty = accepted.
    pub findings: Vec<String>,
    /// Time the checker took.
    pub check_ms: u64,
    /// Why the search ended.
    pub stop: String,
    /// Solver faults survived.
    pub faults: Vec<String>,
    /// Simplex iterations.
    pub simplex_iterations: u64,
    /// Cost and bound over time.
    pub timeline: Vec<Point>,
}

/// A step of a run: what its gap-over-time curve is drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Milliseconds since the planner was called.
    pub ms: u64,
    /// Stage of the search.
    pub stage: String,
    /// Cost of the best plan so far, if there is one.
    pub cost: Option<UsdMicros>,
    /// Best bound so far.
    pub bound: UsdMicros,
}

/// The moments at which cost or bound changed.
fn timeline(report: &Report) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for moment in &report.timeline {
        if points.last().is_none_or(|last| (last.cost, last.bound) != (moment.cost, moment.bound)) {
            let (stage, ms) = (moment.stage.to_owned(), millis(moment.elapsed));
            points.push(Point { ms, stage, cost: moment.cost, bound: moment.bound });
        }
    }
    points
}

/// Plans `snapshot` with the embedded catalogue, checks the plan and measures both.
///
/// # Errors
/// If there is no plan at all.
pub fn measure(name: &str, snapshot: &Snapshot, effort: &Effort, load: Duration) -> Result<Measurement> {
    let catalog = Catalog::embedded();
    let policy = Policy { gap: effort.gap, ..Policy::default() };
    let rss_before_mib = rss_peak_mib();
    let start = Instant::now();
    let limits = by_clock(effort.time, effort.threads);
    let planned = stowage_planner::plan(snapshot, catalog, &policy, &limits, &mut |_| {})
        .with_context(|| format!("cannot plan {name}"))?;
    let wall = start.elapsed();
    let rss_mib = rss_peak_mib();
    let start = Instant::now();
    let findings = stowage_checker::check(snapshot, catalog, &planned.plan);
    let check = start.elapsed();
    let (summary, report) = (&planned.plan.summary, &planned.report);
    Ok(Measurement {
        snapshot: name.to_owned(),
        seed: snapshot.seed,
        pods: summary.pods_pending,
        pods_unplaced: summary.pods_unplaced,
        groups: summary.groups,
        offerings: summary.offerings,
        offerings_undominated: report.offerings_undominated as u64,
        nodes: summary.nodes_launched,
        cost: summary.launch_cost,
        bound: summary.launch_bound,
        gap: summary.gap,
        first_plan_ms: first(report, |moment| moment.cost.is_some()),
        gap_ms: GAPS.iter().map(|gap| first(report, |moment| reached(moment, *gap))).collect(),
        wall_ms: millis(wall),
        load_ms: millis(load),
        rss_mib,
        rss_before_mib,
        findings: findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect(),
        check_ms: millis(check),
        stop: format!("{:?}", report.stop),
        faults: report.faults.clone(),
        simplex_iterations: report.simplex_iterations,
        timeline: timeline(report),
    })
}

fn reached(moment: &Moment, gap: i64) -> bool {
    moment.cost.is_some_and(|cost| Ppm::gap(cost, moment.bound).0 <= gap)
}

fn first(report: &Report, test: impl Fn(&Moment) -> bool) -> Option<u64> {
    report.timeline.iter().find(|moment| test(moment)).map(|moment| millis(moment.elapsed))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Processor time of this process and all of its threads so far, to a hundredth of a second. Linux only; elsewhere zero.
#[must_use]
pub fn cpu_time() -> Duration {
    /// Linux counts in these everywhere, whatever the kernel's own clock.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the name, in brackets; user and system time are the 14th and 15th.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).into_iter().flatten();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// Peak resident set of this process in MiB, rounded up. Linux only; elsewhere 0.
#[must_use]
pub fn rss_peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0).div_ceil(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_tells_when_a_gap_was_reached() {
        let moment = |ms, cost, bound| Moment {
            elapsed: Duration::from_millis(ms),
            stage: "test",
            cost,
            bound: UsdMicros(bound),
        };
        let report = Report {
            timeline: vec![
                moment(5, None, 900_000),
                moment(9, Some(UsdMicros(1_000_000)), 900_000),
                moment(20, Some(UsdMicros(1_000_000)), 990_000),
            ],
            stop: stowage_planner::Stop::GapReached,
            elapsed: Duration::from_millis(21),
            offerings_undominated: 0,
            simplex_iterations: 0,
            faults: Vec::new(),
        };
        assert_eq!(first(&report, |moment| moment.cost.is_some()), Some(9));
        assert_eq!(first(&report, |moment| reached(moment, 15_000)), Some(20));
        assert_eq!(first(&report, |moment| reached(moment, 10_000)), None);
    }
}
