//! A line of the comparison: one peer on one snapshot.

use crate::peers::judge::{Finding, Verdict};
use crate::peers::{Answer, Outcome, Peer, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stowage_models::units::UsdMicros;

/// An answer with its verdict.
pub struct Run {
    /// The answer.
    pub answer: Answer,
    /// The verdict.
    pub verdict: Verdict,
}

/// What is kept of a peer's runs on a snapshot. Costs are micro-dollars per hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Date of the run, `YYYY-MM-DD`; of rows written before it was kept, the file's.
    #[serde(default)]
    pub date: String,
    /// Commit that ran.
    #[serde(default)]
    pub commit: String,
    /// Snapshot.
    pub snapshot: String,
    /// Its digest.
    pub snapshot_digest: String,
    /// Digest of the catalogue: rows of different catalogues are never compared.
    pub catalog_digest: String,
    /// Task.
    pub task: Task,
    /// Pods the task is about.
    pub pods: usize,
    /// Seconds the peer was allowed; a built-in one keeps to its own.
    pub allowed: u64,
    /// Peer.
    pub peer: String,
    /// Its version.
    pub version: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, if it did not end well.
    pub message: String,
    /// Seconds of each run, of deciding alone.
    pub seconds: Vec<f64>,
    /// Cost by the catalogue, of the median run.
    pub cost: Option<UsdMicros>,
    /// Proven by the referee: no launches for the same pods cost less.
    pub bound: Option<UsdMicros>,
    /// What the peer itself claims as bound.
    pub claimed_bound: Option<UsdMicros>,
    /// The optimum, where the construction of the snapshot proves it.
    pub optimum: Option<UsdMicros>,
    /// Pods placed.
    pub placed: usize,
    /// Nodes launched (of a consolidation: nodes that remain).
    pub nodes: usize,
    /// What the checker found.
    pub findings: Vec<Finding>,
    /// Why the answer cannot be judged, if so.
    pub unjudged: Option<String>,
    /// The peer's own figures, of the median run.
    pub details: Value,
}

impl Row {
    /// A snapshot that is not here.
    #[must_use]
    pub fn missing(snapshot: &str, why: &str) -> Row {
        Row {
            date: String::new(),
            commit: String::new(),
            snapshot: snapshot.to_owned(),
            snapshot_digest: String::new(),
            catalog_digest: String::new(),
            task: Task::Provision,
            pods: 0,
            allowed: 0,
            peer: String::new(),
            version: String::new(),
            outcome: Outcome::Skipped,
            message: why.to_owned(),
            seconds: Vec::new(),
            cost: None,
            bound: None,
            claimed_bound: None,
            optimum: None,
            placed: 0,
            nodes: 0,
            findings: Vec::new(),
            unjudged: None,
            details: Value::Null,
        }
    }

    /// The median run by cost; the others leave their seconds and what a figure needs of them.
    ///
    /// # Panics
    /// If there is no run.
    #[must_use]
    pub fn new(
        snapshot: &str,
        task: Task,
        peer: Peer,
        (pods, allowed): (usize, u64),
        optimum: Option<UsdMicros>,
        mut runs: Vec<Run>,
    ) -> Row {
        runs.sort_by_key(|run| run.verdict.cost.unwrap_or(UsdMicros(i64::MAX)));
        let seconds: Vec<f64> = runs.iter().map(|run| run.answer.seconds).collect();
        let points: Vec<Value> = runs.iter().map(point).collect();
        let middle = (runs.len() - 1) / 2;
        let Run { answer, verdict } = runs.swap_remove(middle);
        let mut details = answer.details.clone();
        if let (true, Value::Object(details)) = (points.len() > 1, &mut details) {
            details.insert("runs".to_owned(), Value::Array(points));
        }
        // A node Stowage places nothing on remains, too.
        let nodes = match task {
            Task::Provision => answer.launches.len(),
            Task::Consolidate => answer.launches.len() + answer.existing.len(),
        };
        let launched = !matches!(answer.outcome, Outcome::Failed | Outcome::Skipped);
        Row {
            date: String::new(),
            commit: String::new(),
            snapshot: snapshot.to_owned(),
            task,
            pods,
            allowed,
            peer: peer.name().to_owned(),
            // Where nobody could judge it, the peer's own sum of prices is all there is.
            cost: verdict.cost.or_else(|| (launched && task == Task::Provision).then(|| answer.cost())),
            bound: verdict.bound,
            claimed_bound: answer.bound,
            optimum,
            placed: verdict.placed,
            nodes,
            findings: verdict.findings,
            unjudged: verdict.unjudged.filter(|_| launched),
            details,
            seconds,
            snapshot_digest: answer.snapshot_digest,
            catalog_digest: answer.catalog_digest,
            version: answer.version,
            outcome: answer.outcome,
            message: answer.message,
        }
    }

    /// The peer.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        Peer::named(&self.peer).ok()
    }

    /// Median of the seconds.
    #[must_use]
    pub fn median_seconds(&self) -> Option<f64> {
        if matches!(self.outcome, Outcome::Failed | Outcome::Skipped) {
            return None;
        }
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().checked_sub(1)? / 2).copied()
    }

    /// A bound the referee vouches for: its own proof, or that of a plan of ours which it accepted.
    #[must_use]
    pub fn vouched_bound(&self) -> Option<UsdMicros> {
        let clean = self.details["findings"].as_array().is_some_and(Vec::is_empty);
        // Slack makes the problem harder, so a bound with slack says nothing about the one without.
        let ours = self.peer().is_some_and(Peer::is_ours) && self.details["slackPpm"] == 0 && clean;
        let claimed = if ours { self.claimed_bound } else { None };
        self.bound.max(claimed)
    }
}

/// What a figure needs of one of several runs.
fn point(run: &Run) -> Value {
    let details = &run.answer.details;
    json!({
        "seconds": run.answer.seconds, "cost": run.verdict.cost.map(|cost| cost.0),
        "podsMoved": details["podsMoved"], "podMoves": details["podMoves"], "commands": details["commands"],
    })
}

/// The best lower bound the referee vouches for on what `row` does: of all rows that place as many pods of its snapshot.
#[must_use]
pub fn best_bound(row: &Row, rows: &[Row]) -> Option<UsdMicros> {
    let alike = rows.iter().filter(|other| other.snapshot == row.snapshot && other.placed == row.placed);
    let optimum = row.optimum.filter(|_| row.placed == row.pods);
    optimum.or(alike.filter_map(Row::vouched_bound).max())
}
