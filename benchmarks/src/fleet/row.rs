//! One snapshot's result: a line of a part.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use stowage_models::plan::Policy;
use stowage_models::units::{Ppm, UsdMicros};

/// What besides snapshot and catalogue decides on a result. Results of other settings are not resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Version of the program.
    pub version: String,
    /// Wall-clock budget of each plan, milliseconds. It also sizes the search.
    pub time_limit_ms: u64,
    /// The rest.
    pub policy: Policy,
}

impl Settings {
    /// The default policy, but for the gap at which to stop.
    #[must_use]
    pub fn new(time_limit: Duration, gap: Ppm) -> Settings {
        Settings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time_limit_ms: millis(time_limit),
            policy: Policy { gap, ..Policy::default() },
        }
    }

    /// The budget of each plan.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        Duration::from_millis(self.time_limit_ms)
    }
}

/// The result of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Path from the folder of snapshots, with `/`.
    pub path: String,
    /// Digest of the file's bytes; absent if it could not be read. A restart compares this one: unlike the snapshot's,
    /// it is known without importing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Digest of the catalogue.
    pub catalog: String,
    /// See there.
    pub settings: Settings,
    /// What came out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A plan, accepted by the checker if `findings` is zero.
    Planned(Box<Figures>),
    /// No plan: what is wrong with the file, or where the planner panicked.
    Failed(String),
}

/// The figures of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Digest of the snapshot.
    pub snapshot: String,
    /// Id of the plan, which is its digest.
    pub plan: String,
    /// Pods that wait for a place.
    pub pods: u64,
    /// Of these, left out.
    pub pods_unplaced: u64,
    /// Nodes before.
    pub nodes: u64,
    /// Nodes to launch.
    pub launches: u64,
    /// Their price per hour.
    pub cost: UsdMicros,
    /// Proven: nothing cheaper places these pods.
    pub bound: UsdMicros,
    /// Gap between the two.
    pub gap: Ppm,
    /// What the checker found wrong with the plan: none, or the plan is refused.
    pub findings: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_finding: Option<String>,
    /// Why the search ended.
    pub stop: String,
    /// Planning, milliseconds of wall clock. The only figure that differs from run to run, unless the clock ended the
    /// search.
    pub wall_ms: u64,
}

impl Row {
    /// Whether there is a plan that the checker accepts.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(&self.outcome, Outcome::Planned(figures) if figures.findings == 0)
    }

    /// As a line, without its end.
    ///
    /// # Panics
    /// Never: all keys are strings.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("a row serialises to JSON")
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
