//! The engine's targets, measured: one line per case with what was asked for, what came out, and whether that is enough.
//!
//! Each run is a process of its own with ten seconds to think, so that one run shows the gap at every time. A case is met
//! if its worst run is; the worst of few seeds stands for the 99th percentile.

use crate::batches::Batch;
use crate::compare::figures::gap_curves;
use crate::measure::{Effort, Measurement};
use crate::second::Second;
use crate::table::{Row, Subject, dollars, quantile, rows};
use anyhow::{Result, bail};
use std::fmt::Write as _;
use std::time::Duration;
use stowage_models::units::Ppm;

/// What stands above the table in its file.
pub const HEADER: &str = "# Targets of the engine\n\n\
`stowage-bench targets --out benchmarks/results` on 2 cores; `--seeds N` for more seeds. Gaps are proven and every plan is \
checked; median and worst over the seeds. RSS is that of the whole process, snapshot included.\n\n\
![Gap over time](targets.svg)\n\n";

/// Times at which the gap is shown, in milliseconds.
pub const TIMES: [u64; 5] = [100, 300, 1_000, 3_000, 10_000];

/// What a case is asked for: a gap within some milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Gap at most.
    pub gap: Ppm,
    /// After so many milliseconds.
    pub ms: u64,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The snapshot.
    pub subject: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// What is asked for.
    pub goals: &'static [Goal],
    /// Resident memory at most, in MiB.
    pub rss_mib: Option<u64>,
    /// Whether other seeds make other snapshots.
    pub seeded: bool,
}

/// One per cent within so many milliseconds.
const fn one_per_cent(ms: u64) -> Goal {
    Goal { gap: Ppm(10_000), ms }
}

const SECOND: &[Goal] = &[one_per_cent(1_000)];
const TWO_SECONDS: &[Goal] = &[one_per_cent(2_000)];
const THREE_SECONDS: &[Goal] = &[one_per_cent(3_000)];
const FIVE_SECONDS: &[Goal] = &[one_per_cent(5_000)];
const TEN_SECONDS: &[Goal] = &[one_per_cent(10_000)];

const fn case(subject: &'static str, about: &'static str, goals: &'static [Goal]) -> Case {
    Case { subject, about, goals, rss_mib: None, seeded: true }
}

/// All cases.
pub const CASES: [Case; 12] = [
    Case {
        rss_mib: Some(64),
        ..case(
            "mixed-10k",
            "10,000 pods, 200 groups, spot and on-demand",
            &[one_per_cent(1_000), Goal { gap: Ppm(3_000), ms: 10_000 }],
        )
    },
    case("mixed-10k-od", "the same, on-demand only", SECOND),
    Case { seeded: false, ..case("openb-default", "8,152 pods of a trace, spot and on-demand", SECOND) },
    Case { seeded: false, ..case("openb-default-od", "the same, on-demand only", SECOND) },
    Case { seeded: false, ..case("openb-cpu250", "10,094 pods of a trace, spot and on-demand", SECOND) },
    Case { seeded: false, ..case("openb-cpu250-od", "the same, on-demand only", SECOND) },
    case("mixed-100k", "100,000 pods, 200 groups", SECOND),
    Case { rss_mib: Some(512), ..case("mixed-1m", "1,000,000 pods, 500 groups", TEN_SECONDS) },
    case("groups-500", "10,000 pods, 500 groups", TWO_SECONDS),
    case("groups-2k", "20,000 pods, 2,000 groups", FIVE_SECONDS),
    case("upto-16", "10,000 pods, types of up to 16 vCPU", THREE_SECONDS),
    case("all-types", "10,000 pods, all types, burstable ones too", THREE_SECONDS),
];

/// What is measured beside the cases.
pub const EXTRAS: [&str; 2] = ["batches", "second"];

/// How the cases are run: as long as any goal asks for, and on to a gap nobody asks for.
#[must_use]
pub fn effort(threads: usize) -> Effort {
    Effort { time: Duration::from_millis(TIMES[TIMES.len() - 1]), gap: Ppm(2_000), threads }
}

/// A case with its runs.
pub struct Measured {
    /// The case.
    pub case: Case,
    /// A run per seed.
    pub runs: Vec<Row>,
}

/// Runs the named cases, or all, with as many seeds each.
///
/// # Errors
/// If a case or snapshot is not known.
pub fn measure(
    names: &[String],
    seeds: u64,
    threads: usize,
    progress: impl Fn(&str),
) -> Result<Vec<Measured>> {
    let known =
        |name: &String| EXTRAS.contains(&name.as_str()) || CASES.iter().any(|case| case.subject == *name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = CASES.iter().map(|case| case.subject).chain(EXTRAS).collect();
        bail!("there is no case {name}; there are {}", all.join(", "));
    }
    let cases = CASES.iter().filter(|case| names.is_empty() || names.iter().any(|name| name == case.subject));
    cases
        .map(|case| {
            let subjects = match Subject::named(case.subject)? {
                Subject::Composed { composition, .. } if case.seeded => (0..seeds)
                    .map(|k| Subject::Composed { composition, seed: Some(composition.seed + k) })
                    .collect(),
                subject => vec![subject],
            };
            Ok(Measured { case: *case, runs: rows(&subjects, &effort(threads), &progress) })
        })
        .collect()
}

/// The gap proven after so many milliseconds; nothing if there was no plan.
#[must_use]
pub fn gap_at(run: &Measurement, ms: u64) -> Option<Ppm> {
    if run.wall_ms <= ms {
        return Some(run.gap);
    }
    let before = run.timeline.iter().filter(|point| point.ms <= ms);
    before.filter_map(|point| point.cost.map(|cost| Ppm::gap(cost, point.bound))).next_back()
}

fn runs(measured: &Measured) -> Vec<&Measurement> {
    measured.runs.iter().filter_map(Row::measured).collect()
}

/// Plans that the checker refused.
#[must_use]
pub fn refused(measured: &[Measured]) -> usize {
    measured.iter().flat_map(runs).filter(|run| !run.findings.is_empty()).count()
}

/// Whether every goal is met by every run; in words.
fn verdict(measured: &Measured) -> String {
    let runs = runs(measured);
    if runs.len() < measured.runs.len() || runs.is_empty() {
        let reason = measured.runs.iter().find_map(|row| match row {
            Row::Without { reason, .. } => Some(reason.replace('|', "/")),
            Row::Measured(_) => None,
        });
        return reason.unwrap_or_else(|| "no run".to_owned());
    }
    let reached =
        |goal: &Goal| runs.iter().all(|run| gap_at(run, goal.ms).is_some_and(|gap| gap <= goal.gap));
    let goal = |goal: &Goal| {
        let met = if reached(goal) { "met" } else { "**missed**" };
        format!("{} in {} s: {met}", goal.gap, tenths(goal.ms))
    };
    let mut words: Vec<String> = measured.case.goals.iter().map(goal).collect();
    if let Some(most) = measured.case.rss_mib {
        let met = if runs.iter().all(|run| run.rss_mib <= most) { "met" } else { "**missed**" };
        words.push(format!("{most} MiB: {met}"));
    }
    if runs.iter().any(|run| !run.findings.is_empty()) {
        words.push("**REFUSED by the checker**".to_owned());
    }
    words.join("; ")
}

fn tenths(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

/// The table.
#[must_use]
pub fn markdown(all: &[Measured]) -> String {
    let times: Vec<String> = TIMES.iter().map(|ms| format!("{} s", tenths(*ms))).collect();
    let mut text = format!(
        "| case | runs | cost $/h | bound $/h | gap at {}: median / worst | simplex iterations | RSS MiB (before) | target |\n|{}\n",
        times.join(" | "),
        "---|".repeat(7 + TIMES.len())
    );
    for measured in all {
        let runs = runs(measured);
        let middle = |values: Vec<u64>| quantile(values.into_iter().map(Some).collect(), 50);
        let of = |value: &dyn Fn(&Measurement) -> u64| middle(runs.iter().map(|run| value(run)).collect());
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let money = |value: Option<u64>| {
            value.map_or_else(|| "-".to_owned(), |value| dollars(i64::try_from(value).unwrap_or(i64::MAX)))
        };
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        let gaps = TIMES.iter().map(|ms| {
            let gaps: Vec<Option<u64>> =
                runs.iter().map(|run| gap_at(run, *ms).map(|gap| unsigned(gap.0))).collect();
            let show = |gap: Option<u64>| {
                gap.map_or_else(
                    || "-".to_owned(),
                    |gap| Ppm(i64::try_from(gap).unwrap_or(i64::MAX)).to_string(),
                )
            };
            format!("{} / {}", show(quantile(gaps.clone(), 50)), show(quantile(gaps, 100)))
        });
        let rss = runs.iter().map(|run| run.rss_mib).max();
        let before = runs.iter().map(|run| run.rss_before_mib).max();
        let _ = writeln!(
            text,
            "| {}: {} | {} | {} | {} | {} | {} | {} ({}) | {} |",
            measured.case.subject,
            measured.case.about,
            runs.len(),
            money(of(&|run| unsigned(run.cost.0))),
            money(of(&|run| unsigned(run.bound.0))),
            gaps.collect::<Vec<_>>().join(" | "),
            number(of(&|run| run.simplex_iterations)),
            number(rss),
            number(before),
            verdict(measured),
        );
    }
    text
}

/// What a small batch is asked for: this gap within [`crate::batches::SOON`], up to so many pods.
pub const SMALL_GAP: Ppm = Ppm(5_000);
/// See [`SMALL_GAP`].
pub const SMALL_PODS: usize = 50;

/// How many of the small batches are as good as asked for.
#[must_use]
pub fn small_verdict(batches: &[Batch]) -> String {
    let small: Vec<&Batch> = batches.iter().filter(|batch| batch.pods <= SMALL_PODS).collect();
    let soon = u64::try_from(crate::batches::SOON.as_micros()).unwrap_or(u64::MAX);
    let good = small.iter().filter(|batch| batch.gap <= SMALL_GAP && batch.micros <= soon).count();
    let met = if good * 100 >= small.len() * 99 { "met" } else { "**missed**" };
    format!(
        "Batches of up to {SMALL_PODS} pods, cold, {SMALL_GAP} within {} ms for the whole call: {good} of {} batches; {met}.\n",
        crate::batches::SOON.as_millis(),
        small.len()
    )
}

/// What a second batch may take.
pub const SECOND_TIME: Duration = Duration::from_millis(20);

/// How many second batches were planned warm in time, all of the call counted.
#[must_use]
pub fn second_verdict(all: &[Second]) -> String {
    let most = u64::try_from(SECOND_TIME.as_micros()).unwrap_or(u64::MAX);
    let quick = all.iter().filter(|second| second.warm.micros <= most).count();
    let without = all.iter().filter(|second| second.warm.iterations == 0).count();
    let met = if quick == all.len() { "met" } else { "**missed**" };
    format!(
        "A second batch with a time limit of {} ms, from a warm state: {quick} of {} whole calls within it ({met}), {without} without a linear program.\n",
        SECOND_TIME.as_millis(),
        all.len()
    )
}

/// The gap over time of the first run of each case, as SVG.
///
/// # Errors
/// If it cannot be drawn.
pub fn figure(all: &[Measured]) -> Result<String> {
    let curve = |measured: &Measured| {
        let run = *runs(measured).first()?;
        let points = run.timeline.iter().filter_map(|point| {
            let gap = Ppm::gap(point.cost?, point.bound);
            let per_cent = gap.0 as f64 / 10_000.0;
            (gap != Ppm::UNBOUNDED).then_some(((point.ms as f64 / 1_000.0).max(0.001), per_cent))
        });
        Some((measured.case.subject.to_owned(), points.collect::<Vec<_>>()))
    };
    let curves: Vec<(String, Vec<(f64, f64)>)> = all.iter().filter_map(curve).collect();
    let under =
        "proven gap in per cent against seconds of wall clock, one run of each case; both axes logarithmic";
    gap_curves("Gap over time", under, &curves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Point;
    use stowage_models::units::UsdMicros;

    fn run(wall_ms: u64) -> Measurement {
        let point = |ms, cost, bound| Point {
            ms,
            stage: "test".to_owned(),
            cost: Some(UsdMicros(cost)),
            bound: UsdMicros(bound),
        };
        serde_json::from_value(serde_json::json!({
            "snapshot": "mixed-10k", "seed": 3, "pods": 1, "podsUnplaced": 0, "groups": 1, "offerings": 1,
            "offeringsUndominated": 1, "nodes": 1, "cost": 101, "bound": 100, "gap": 10_000,
            "firstPlanMs": 5, "gapMs": [5, null, 900], "wallMs": wall_ms, "loadMs": 1, "rssMib": 70, "rssBeforeMib": 30,
            "findings": [], "checkMs": 1, "stop": "GapReached", "faults": [], "simplexIterations": 7,
            "timeline": [point(50, 110, 100), point(900, 101, 100)],
        }))
        .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_gap_at_a_time_is_that_of_the_last_step_before() {
        let run = run(2_000);
        assert_eq!(gap_at(&run, 10), None);
        assert_eq!(gap_at(&run, 100), Some(Ppm(100_000)));
        assert_eq!(gap_at(&run, 1_000), Some(Ppm(10_000)));
        assert_eq!(gap_at(&run, 3_000), Some(Ppm(10_000)));
    }

    #[test]
    fn what_is_missed_says_so() {
        let measured = Measured { case: CASES[0], runs: vec![Row::Measured(Box::new(run(2_000)))] };
        let words = verdict(&measured);
        assert_eq!(words, "1.00 % in 1.0 s: met; 0.30 % in 10.0 s: **missed**; 64 MiB: **missed**");
        let text = markdown(&[measured]);
        let bars = |line: &str| line.matches('|').count();
        assert!(
            text.lines().all(|line| bars(line) == bars(text.lines().next().unwrap_or_default())),
            "{text}"
        );
    }
}
