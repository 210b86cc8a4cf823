//! Peers: what users would pick instead, run on the same snapshots and judged by the same referee.
//!
//! The protocol is `benchmarks/peers/README.md`: [`input`] writes the question, [`Answer`] is what comes back,
//! [`judge`] turns it into a plan and has it checked.

pub mod input;
pub mod judge;
pub mod ours;
pub mod plain;
pub mod process;
pub mod realised;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stowage_models::objects::PodRef;
use stowage_models::selector::Labels;
use stowage_models::units::UsdMicros;

/// The format of questions.
pub const INPUT_FORMAT: &str = "stowage-peer-input/1";
/// The format of answers.
pub const ANSWER_FORMAT: &str = "stowage-peer-answer/1";

/// Something that plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Stowage as it is by default, without slack, so that nobody fills nodes fuller than it.
    Stowage,
    /// Stowage exactly as it is by default: 1 % of every node stays free.
    StowageSlack,
    /// Stowage without slack, told to search for ten seconds for the smallest gap.
    StowageTenSeconds,
    /// Karpenter's scheduler, or its consolidation.
    Karpenter,
    /// OR-tools CP-SAT on the naive model.
    CpSat,
    /// HiGHS on the naive model.
    Highs,
    /// SCIP on the naive model.
    Scip,
    /// First-fit decreasing into growing nodes.
    FirstFitDecreasing,
    /// Best fit by price.
    BestFitByPrice,
    /// The cheapest node per unit of what is left, again and again.
    Greedy,
}

impl Peer {
    /// All of them, in the order of tables.
    pub const ALL: [Peer; 10] = [
        Peer::Stowage,
        Peer::StowageSlack,
        Peer::StowageTenSeconds,
        Peer::Karpenter,
        Peer::CpSat,
        Peer::Highs,
        Peer::Scip,
        Peer::FirstFitDecreasing,
        Peer::BestFitByPrice,
        Peer::Greedy,
    ];

    /// Name in tables and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Peer::Stowage => "stowage",
            Peer::StowageSlack => "stowage-slack",
            Peer::StowageTenSeconds => "stowage-10s",
            Peer::Karpenter => "karpenter",
            Peer::CpSat => "cp-sat",
            Peer::Highs => "highs",
            Peer::Scip => "scip",
            Peer::FirstFitDecreasing => "first-fit-decreasing",
            Peer::BestFitByPrice => "best-fit-by-price",
            Peer::Greedy => "greedy",
        }
    }

    /// The peer of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Peer> {
        let Some(peer) = Peer::ALL.into_iter().find(|peer| peer.name() == name) else {
            let names: Vec<&str> = Peer::ALL.into_iter().map(Peer::name).collect();
            bail!("no peer is named `{name}`; there are {}", names.join(", "));
        };
        Ok(peer)
    }

    /// Whether it is Stowage itself.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Peer::Stowage | Peer::StowageSlack | Peer::StowageTenSeconds)
    }

    /// Whether it consolidates a running cluster at all.
    #[must_use]
    pub fn consolidates(self) -> bool {
        self == Peer::Karpenter || self.is_ours()
    }
}

/// What a peer is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Place the pending pods.
    Provision,
    /// Make a running cluster cheaper until nothing more is found.
    Consolidate,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The answer is what the peer wanted to say.
    Complete,
    /// Time ran out; the answer is the best so far.
    Timeout,
    /// No answer: see the message.
    Failed,
    /// Not attempted: see the message.
    Skipped,
}

/// A node to launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerLaunch {
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
    /// Custom labels.
    #[serde(default)]
    pub labels: Labels,
    /// Price per hour.
    pub price: UsdMicros,
    /// The pods it is for.
    pub pods: Vec<PodRef>,
}

/// Pods on a node that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerNode {
    /// Node name.
    pub node: String,
    /// Pods placed there.
    pub pods: Vec<PodRef>,
}

/// A pod left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerUnplaced {
    /// The pod.
    pub pod: PodRef,
    /// Why, in the peer's words.
    pub reason: String,
}

/// What a peer answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// [`ANSWER_FORMAT`].
    pub format: String,
    /// Name.
    pub peer: String,
    /// Version.
    pub version: String,
    /// Copied from the question.
    pub snapshot_digest: String,
    /// Copied from the question.
    pub catalog_digest: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, if it did not end well.
    #[serde(default)]
    pub message: String,
    /// Time of deciding alone.
    #[serde(default)]
    pub seconds: f64,
    /// Nodes to launch.
    #[serde(default)]
    pub launches: Vec<AnswerLaunch>,
    /// Pods on existing nodes.
    #[serde(default)]
    pub existing: Vec<AnswerNode>,
    /// Nodes removed.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Pods left out.
    #[serde(default)]
    pub unplaced: Vec<AnswerUnplaced>,
    /// A lower bound the peer claims.
    #[serde(default)]
    pub bound: Option<UsdMicros>,
    /// Figures of its own.
    #[serde(default)]
    pub details: Value,
}

impl Answer {
    /// An empty answer of a peer to a question about these digests.
    #[must_use]
    pub fn new(peer: Peer, version: &str, (snapshot, catalog): (&str, &str)) -> Answer {
        Answer {
            format: ANSWER_FORMAT.to_owned(),
            peer: peer.name().to_owned(),
            version: version.to_owned(),
            snapshot_digest: snapshot.to_owned(),
            catalog_digest: catalog.to_owned(),
            outcome: Outcome::Complete,
            message: String::new(),
            seconds: 0.0,
            launches: Vec::new(),
            existing: Vec::new(),
            removed: Vec::new(),
            unplaced: Vec::new(),
            bound: None,
            details: Value::Null,
        }
    }

    /// An answer that says why there is none.
    #[must_use]
    pub fn without(peer: Peer, digests: (&str, &str), outcome: Outcome, message: String) -> Answer {
        Answer { outcome, message, ..Answer::new(peer, "", digests) }
    }

    /// Price of the launches.
    #[must_use]
    pub fn cost(&self) -> UsdMicros {
        self.launches.iter().map(|launch| launch.price).sum()
    }

    /// Pods with a place.
    #[must_use]
    pub fn placed(&self) -> usize {
        let launched: usize = self.launches.iter().map(|launch| launch.pods.len()).sum();
        launched + self.existing.iter().map(|node| node.pods.len()).sum::<usize>()
    }
}
