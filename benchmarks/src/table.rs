//! The benchmark table: every snapshot planned in a process of its own, checked, and printed as markdown and JSON lines.

use crate::compose::{COMPOSITIONS, Composition};
use crate::measure::{Effort, GAPS, Measurement};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use stowage_models::catalog::Catalog;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// Where the openb traces are looked for if `STOWAGE_OPENB` does not say: beside the repository, because their licence
/// keeps them out of it.
const OPENB_DEFAULT: &str = "../shared/data/research/openb";

/// A snapshot to measure.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A composed snapshot with its own seed (read from the repository if committed) or another (made on the fly).
    Composed {
        /// Which.
        composition: Composition,
        /// Another seed than its own.
        seed: Option<u64>,
    },
    /// An openb pod list.
    Openb {
        /// Name in the table.
        name: &'static str,
        /// File of the pod list.
        file: PathBuf,
        /// The NodePool launches on demand only.
        on_demand: bool,
    },
}

/// The openb pod lists of the table.
const OPENB: [(&str, &str); 2] =
    [("openb-default", "openb_pod_list_default.csv"), ("openb-cpu250", "openb_pod_list_cpu250.csv")];
/// The same on demand only.
const OPENB_ON_DEMAND: [(&str, &str); 2] =
    [("openb-default-od", "openb_pod_list_default.csv"), ("openb-cpu250-od", "openb_pod_list_cpu250.csv")];

impl Subject {
    /// Name in the table.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Subject::Composed { composition, .. } => composition.name,
            Subject::Openb { name, .. } => name,
        }
    }

    /// The subject of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Subject> {
        for (list, on_demand) in [(OPENB, false), (OPENB_ON_DEMAND, true)] {
            if let Some((name, file)) = list.iter().find(|(known, _)| *known == name) {
                return Ok(Subject::Openb { name, file: openb_folder().join(file), on_demand });
            }
        }
        let composition = Composition::named(name)
            .with_context(|| format!("the openb lists are {} and {}", OPENB[0].0, OPENB[1].0))?;
        Ok(Subject::Composed { composition, seed: None })
    }

    /// What the table measures unless told otherwise: the committed snapshots and openb.
    #[must_use]
    pub fn usual() -> Vec<Subject> {
        let committed = COMPOSITIONS.iter().filter(|composition| composition.committed);
        let composed =
            committed.map(|composition| Subject::Composed { composition: *composition, seed: None });
        let openb = OPENB.iter().map(|(name, file)| Subject::Openb {
            name,
            file: openb_folder().join(file),
            on_demand: false,
        });
        composed.chain(openb).collect()
    }

    /// Why it cannot be measured here, if so.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        match self {
            Subject::Openb { file, .. } if !file.exists() => Some(format!(
                "skipped: no {} (licence: research only, not in this repository; set STOWAGE_OPENB to its folder)",
                file.display()
            )),
            _ => None,
        }
    }
}

/// The openb trace as a running cluster (`openb-running`), or why there is none here.
///
/// # Errors
/// When the trace is there and cannot be read.
pub fn openb_running() -> Result<std::result::Result<Snapshot, String>> {
    let folder = openb_folder();
    let read = |file: &str| {
        let file = folder.join(file);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    if !folder.exists() {
        let folder = folder.display();
        return Ok(Err(format!(
            "no {folder} (licence: research only, not in this repository; set STOWAGE_OPENB to its folder)"
        )));
    }
    let (pods, nodes) = (read(OPENB[0].1)?, read("openb_node_list_all_node.csv")?);
    let (snapshot, _) = crate::consolidation::openb::cluster(Catalog::embedded(), &pods, &nodes)?;
    Ok(Ok(snapshot))
}

fn openb_folder() -> PathBuf {
    std::env::var_os("STOWAGE_OPENB")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(OPENB_DEFAULT), PathBuf::from)
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// A measured run.
    Measured(Box<Measurement>),
    /// Why there is none.
    Without {
        /// Name of the snapshot.
        snapshot: String,
        /// The reason.
        reason: String,
    },
}

impl Row {
    /// The measurement, if there is one.
    #[must_use]
    pub fn measured(&self) -> Option<&Measurement> {
        match self {
            Row::Measured(measured) => Some(measured),
            Row::Without { .. } => None,
        }
    }
}

/// Measures each subject in a child process, so that the resident set is that of one run.
pub fn rows(subjects: &[Subject], effort: &Effort, mut progress: impl FnMut(&str)) -> Vec<Row> {
    let mut rows = Vec::new();
    for subject in subjects {
        progress(subject.name());
        let without = |reason| Row::Without { snapshot: subject.name().to_owned(), reason };
        rows.push(match subject.missing() {
            Some(reason) => without(reason),
            None => match in_child(subject, effort) {
                Ok(measurement) => Row::Measured(Box::new(measurement)),
                Err(error) => without(format!("failed: {error:#}")),
            },
        });
    }
    rows
}

fn in_child(subject: &Subject, effort: &Effort) -> Result<Measurement> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["measure", subject.name()]);
    command.arg("--time-limit").arg(format!("{}ms", effort.time.as_millis()));
    command.arg("--gap").arg(format!("{}.{:06}", effort.gap.0 / Ppm::ONE, effort.gap.0 % Ppm::ONE));
    command.arg("--threads").arg(effort.threads.to_string());
    if let Subject::Composed { seed: Some(seed), .. } = subject {
        command.arg("--seed").arg(seed.to_string());
    }
    let output = command.stderr(Stdio::piped()).output().context("cannot start the child process")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ({})", stderr.lines().collect::<Vec<_>>().join(" / "), output.status);
    }
    serde_json::from_slice(&output.stdout).context("the child process did not print a measurement")
}

/// The table as markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let gaps: Vec<String> = GAPS.iter().map(|gap| format!("s to {}", percent(*gap))).collect();
    let heads = [
        "snapshot",
        "pods",
        "groups",
        "offerings (undominated)",
        "cost $/h",
        "bound $/h",
        "gap",
        "first plan s",
        &gaps[0],
        &gaps[1],
        &gaps[2],
        "wall s",
        "RSS MiB",
        "checked",
        "stopped by",
    ];
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let _ = match row {
            Row::Measured(measured) => writeln!(text, "| {} |", cells(measured).join(" | ")),
            Row::Without { snapshot, reason } => {
                let rest = "| ".repeat(heads.len() - 2);
                writeln!(text, "| {snapshot} | {} {rest}|", reason.replace('|', "/"))
            }
        };
    }
    text
}

fn cells(measured: &Measurement) -> Vec<String> {
    let pods = match measured.pods_unplaced {
        0 => measured.pods.to_string(),
        unplaced => format!("{} ({unplaced} left out)", measured.pods),
    };
    let mut cells = vec![
        measured.snapshot.clone(),
        pods,
        measured.groups.to_string(),
        format!("{} ({})", measured.offerings, measured.offerings_undominated),
        dollars(measured.cost.0),
        dollars(measured.bound.0),
        measured.gap.to_string(),
        seconds(measured.first_plan_ms),
    ];
    cells.extend(measured.gap_ms.iter().map(|ms| seconds(*ms)));
    cells.extend([
        seconds(Some(measured.wall_ms)),
        measured.rss_mib.to_string(),
        match measured.findings.len() {
            0 => "yes".to_owned(),
            count => format!("NO ({count} findings)"),
        },
        measured.stop.clone(),
    ]);
    cells
}

/// Median and 99th percentile (the largest below a hundred runs) of the runs with other seeds.
#[must_use]
pub fn spread(rows: &[Row]) -> String {
    let runs: Vec<&Measurement> = rows.iter().filter_map(Row::measured).collect();
    let failed = rows.len() - runs.len();
    let refused = runs.iter().filter(|run| !run.findings.is_empty()).count();
    let mut text = format!(
        "| over {} seeds ({failed} failed, {refused} refused by the checker) | median | p99 |\n|---|---|---|\n",
        rows.len()
    );
    let mut line = |what: &str, values: Vec<Option<u64>>, show: &dyn Fn(Option<u64>) -> String| {
        let (median, p99) = (quantile(values.clone(), 50), quantile(values, 99));
        let _ = writeln!(text, "| {what} | {} | {} |", show(median), show(p99));
    };
    let gap = |value: Option<u64>| {
        value.map_or_else(|| "-".to_owned(), |ppm| Ppm(i64::try_from(ppm).unwrap_or(i64::MAX)).to_string())
    };
    line("gap", runs.iter().map(|run| u64::try_from(run.gap.0).ok()).collect(), &gap);
    line("first plan s", runs.iter().map(|run| run.first_plan_ms).collect(), &seconds);
    for (index, target) in GAPS.iter().enumerate() {
        let times = runs.iter().map(|run| run.gap_ms[index]).collect();
        line(&format!("s to {}", percent(*target)), times, &seconds);
    }
    line("wall s", runs.iter().map(|run| Some(run.wall_ms)).collect(), &seconds);
    let plain = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    line("RSS MiB", runs.iter().map(|run| Some(run.rss_mib)).collect(), &plain);
    text
}

/// The value that `percent` of a hundred do not exceed (nearest rank); a run that never got there counts as the worst.
pub(crate) fn quantile(mut values: Vec<Option<u64>>, percent: usize) -> Option<u64> {
    values.sort_by_key(|value| value.unwrap_or(u64::MAX));
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().flatten()
}

/// Micro-dollars as dollars with two decimals.
pub(crate) fn dollars(micros: i64) -> String {
    let cents = (micros + 5_000).div_euclid(10_000);
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Milliseconds as seconds with two decimals, rounded up; a dash for never.
pub(crate) fn seconds(millis: Option<u64>) -> String {
    let Some(millis) = millis else {
        return "-".to_owned();
    };
    let hundredths = millis.div_ceil(10);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Parts per million as a short percentage: `1.5 %`.
fn percent(ppm: i64) -> String {
    match ppm % 10_000 {
        0 => format!("{} %", ppm / 10_000),
        rest => format!("{}.{} %", ppm / 10_000, rest / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!((dollars(105_470_000), percent(15_000)), ("105.47".to_owned(), "1.5 %".to_owned()));
        assert_eq!((seconds(Some(1_234)), seconds(None)), ("1.24".to_owned(), "-".to_owned()));
    }

    #[test]
    fn a_run_that_never_got_there_is_the_worst() {
        assert_eq!(quantile(vec![Some(3), None, Some(1)], 50), Some(3));
        assert_eq!(quantile(vec![Some(3), None, Some(1)], 99), None);
    }

    #[test]
    fn a_missing_trace_is_a_row_that_says_so() {
        let file = PathBuf::from("/nonexistent/openb.csv");
        let subject = Subject::Openb { name: "openb-default", file, on_demand: false };
        let effort = Effort { time: std::time::Duration::from_secs(1), gap: Ppm(10_000), threads: 1 };
        let rows = rows(&[subject], &effort, |_| {});
        let text = markdown(&rows);
        assert!(text.lines().nth(2).is_some_and(|line| line.contains("skipped: no /nonexistent")), "{text}");
        let bars = |line: &str| line.matches('|').count();
        assert!(text.lines().all(|line| bars(line) == 16), "{text}");
    }
}
