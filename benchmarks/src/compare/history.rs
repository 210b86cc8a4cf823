//! What earlier runs said, so that a later one can say "better" or "worse".
//!
//! Machines differ and are noisy, so times are kept as ratios to Karpenter's in the same run, and costs as distances to the
//! best bound. Rows of another snapshot or catalogue (by digest) are never compared.

use super::report::{find, ratio, snapshots};
use super::row::{Row, best_bound};
use crate::peers::Peer;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;

/// One snapshot in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Date of the run.
    pub date: String,
    /// Commit of the run.
    pub commit: String,
    /// Snapshot.
    pub snapshot: String,
    /// Its digest.
    pub snapshot_digest: String,
    /// Digest of the catalogue.
    pub catalog_digest: String,
    /// Pods Stowage placed.
    pub placed: usize,
    /// Stowage's cost over the best bound.
    pub over_bound: Option<f64>,
    /// Stowage's seconds.
    pub seconds: Option<f64>,
    /// Karpenter's seconds over Stowage's.
    pub faster: Option<f64>,
    /// Karpenter's cost over Stowage's.
    pub dearer: Option<f64>,
}

/// The entries of a run. Rows kept from an earlier one stay entries of that one.
#[must_use]
pub fn entries(rows: &[Row]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for snapshot in snapshots(rows) {
        let Some(ours) = find(rows, snapshot, Peer::Stowage).filter(|row| row.cost.is_some()) else {
            continue;
        };
        let theirs = find(rows, snapshot, Peer::Karpenter).filter(|theirs| theirs.placed == ours.placed);
        let over = ratio(ours.cost, best_bound(ours, rows));
        entries.push(Entry {
            date: ours.date.clone(),
            commit: ours.commit.clone(),
            snapshot: snapshot.to_owned(),
            snapshot_digest: ours.snapshot_digest.clone(),
            catalog_digest: ours.catalog_digest.clone(),
            placed: ours.placed,
            over_bound: over.map(|over| over - 1.0),
            seconds: ours.median_seconds(),
            faster: theirs.and_then(Row::median_seconds).zip(ours.median_seconds()).map(|(a, b)| a / b),
            dearer: theirs.and_then(|theirs| ratio(theirs.cost, ours.cost)),
        });
    }
    entries
}

/// Reads the history; none yet is an empty one.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{} line {}: not an entry of the history", path.display(), number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

/// Writes the history with this run's entries in place of those of the same date and commit.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, history: &[Entry], new: &[Entry]) -> Result<()> {
    let replaced = |old: &&Entry| {
        !new.iter()
            .any(|new| (&new.date, &new.commit, &new.snapshot) == (&old.date, &old.commit, &old.snapshot))
    };
    let mut text = String::new();
    for entry in history.iter().filter(replaced).chain(new) {
        text.push_str(&serde_json::to_string(entry)?);
        text.push('\n');
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Changes smaller than this are noise of the machine.
const NOISE: f64 = 0.15;

/// What changed since the last run on the same input, as a markdown table; empty if nothing compares.
#[must_use]
pub fn changes(history: &[Entry], new: &[Entry]) -> String {
    let mut text = String::new();
    for entry in new {
        let before = history.iter().rev().find(|old| {
            (&old.snapshot, &old.snapshot_digest, &old.catalog_digest)
                == (&entry.snapshot, &entry.snapshot_digest, &entry.catalog_digest)
                && (&old.date, &old.commit) != (&entry.date, &entry.commit)
        });
        let Some(before) = before else { continue };
        let cost = match (before.over_bound, entry.over_bound) {
            (Some(old), Some(new)) => verdict((1.0 + new) / (1.0 + old), 0.0005, "dearer", "cheaper"),
            _ => "-".to_owned(),
        };
        // Relative to Karpenter's time in the same run, which cancels the machine.
        let time = match (before.faster, entry.faster) {
            (Some(old), Some(new)) if new > 0.0 => verdict(old / new, NOISE, "slower", "faster"),
            _ => "-".to_owned(),
        };
        let _ = writeln!(text, "| {} | {} | {cost} | {time} |", entry.snapshot, before.date);
    }
    if text.is_empty() {
        return text;
    }
    format!("| snapshot | since | cost | time beside Karpenter's |\n|---|---|---|---|\n{text}")
}

fn verdict(ratio: f64, noise: f64, worse: &str, better: &str) -> String {
    if ratio > 1.0 + noise {
        format!("worse: {ratio:.3} x ({worse})")
    } else if ratio < 1.0 / (1.0 + noise) {
        format!("better: {ratio:.3} x ({better})")
    } else {
        format!("same ({ratio:.3} x)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(date: &str, digest: &str, over: f64, faster: f64) -> Entry {
        Entry {
            date: date.to_owned(),
            commit: date.to_owned(),
            snapshot: "small".to_owned(),
            snapshot_digest: digest.to_owned(),
            catalog_digest: "c".to_owned(),
            placed: 1,
            over_bound: Some(over),
            seconds: Some(1.0),
            faster: Some(faster),
            dearer: None,
        }
    }

    #[test]
    fn better_and_worse_are_said_and_other_inputs_are_not_compared() {
        let old = [entry("2026-01-01", "a", 0.010, 20.0)];
        let text = changes(&old, &[entry("2026-01-02", "a", 0.005, 10.0)]);
        assert!(
            text.contains("better: 0.995 x (cheaper)") && text.contains("worse: 2.000 x (slower)"),
            "{text}"
        );
        assert!(changes(&old, &[entry("2026-01-02", "b", 0.005, 10.0)]).is_empty());
        assert!(changes(&old, &[entry("2026-01-02", "a", 0.010, 19.0)]).contains("same"));
    }
}
