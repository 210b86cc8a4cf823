//! Folders of tiny snapshots, and the program that plans them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use stowage_bench::compose::{self, Composition};
use stowage_bench::fleet::part;
use stowage_bench::fleet::row::{Outcome, Row};
use tempfile::TempDir;

/// Pods of a tiny snapshot: few enough that a plan takes some milliseconds.
const PODS: usize = 5;

/// A gap that plans of [`PODS`] pods reach at once, and time enough: so no clock ends a search, and every run gives the
/// same.
pub(crate) const EFFORT: [&str; 4] = ["--gap", "0.25", "--time-limit", "60s"];

/// A folder of tiny snapshots, half of them in a folder of its own.
pub(crate) fn snapshots(count: u64) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("older")).expect("a folder");
    for seed in 1..=count {
        let name = if seed % 2 == 0 { format!("{seed}.json") } else { format!("older/{seed}.json.zst") };
        write_snapshot(&folder.path().join(name), seed);
    }
    folder
}

/// One of them.
pub(crate) fn write_snapshot(path: &Path, seed: u64) {
    let mut snapshot = Composition::named("small").expect("a composition").snapshot(seed);
    let pods = std::mem::take(&mut snapshot.pods);
    // Another place to begin for every seed, so that snapshots differ.
    let from = usize::try_from(seed).expect("small") % pods.len();
    snapshot.pods =
        pods.iter().cycle().skip(from).filter(|pod| pod.is_pending()).take(PODS).cloned().collect();
    snapshot.normalise();
    compose::write(&snapshot, path).expect("a snapshot");
}

/// `stowage-bench fleet`, with the usual effort unless told otherwise.
pub(crate) fn fleet(folder: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stowage-bench"));
    command.arg("fleet").arg(folder).arg("--out").arg(out).args(more);
    if !more.contains(&"--gap") {
        command.args(EFFORT);
    }
    command.env_remove("JOB_COMPLETION_INDEX");
    command
}

/// Runs a command to its end: its exit code and what it said on stderr.
pub(crate) fn said(mut command: Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().expect("stowage-bench runs");
    (status.code().expect("an exit code"), String::from_utf8(stderr).expect("UTF-8"))
}

/// `stowage-bench fleet merge`: its exit code, the merged rows without timings, and stdout with stderr.
pub(crate) fn merged(out: &Path) -> (i32, Vec<Row>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stowage-bench"));
    let Output { status, stdout, stderr } =
        command.args(["fleet", "merge"]).arg(out).output().expect("stowage-bench runs");
    let text = [stdout, stderr].map(|text| String::from_utf8(text).expect("UTF-8")).concat();
    let file = out.join("merged.jsonl");
    let lines = std::fs::read_to_string(&file).unwrap_or_default();
    let rows = lines.lines().map(|line| untimed(serde_json::from_str(line).expect("a row"))).collect();
    (status.code().expect("an exit code"), rows, text)
}

/// A row without what differs from run to run.
pub(crate) fn untimed(mut row: Row) -> Row {
    if let Outcome::Planned(figures) = &mut row.outcome {
        figures.wall_ms = 0;
    }
    row
}

/// The file of a share.
pub(crate) fn part_of(out: &Path, index: u32, of: u32) -> PathBuf {
    out.join(part::name(index, of))
}

/// Changes the lines of a file.
pub(crate) fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = std::fs::read_to_string(file).expect("a part");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(file, lines.join("\n") + "\n").expect("a part");
}

/// How often each path has a row.
pub(crate) fn counts(rows: &[Row]) -> BTreeMap<&str, usize> {
    rows.iter().fold(BTreeMap::new(), |mut counts, row| {
        *counts.entry(row.path.as_str()).or_default() += 1;
        counts
    })
}
