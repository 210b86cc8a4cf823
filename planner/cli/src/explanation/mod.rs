//! Why a pod is where it is and what a node is for, told from the plan file; with the snapshot also in exact shares.

mod node;
mod pod;

pub use node::node;
pub use pod::pod;

use crate::render::figures::{self, per_month};
use serde::Serialize;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Alternate, ExistingNode, Launch, Plan};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::units::UsdMicros;

/// A named sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// One or two words.
    pub name: &'static str,
    /// The sentence.
    pub text: String,
}

/// Something that could be launched instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Substitute {
    /// Type, zone and capacity type, and its price.
    #[serde(flatten)]
    pub alternate: Alternate,
    /// Price less that of the planned node.
    pub dearer_by: UsdMicros,
}

/// An explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Always `StowageExplanation`.
    pub kind: &'static str,
    /// Format of this document.
    pub format_version: &'static str,
    /// What is explained.
    pub subject: String,
    /// The answer in a sentence.
    pub answer: String,
    /// The pod's part of the price of its node, if it costs anything.
    pub price_share: Option<UsdMicros>,
    /// What supports the answer.
    pub facts: Vec<Fact>,
    /// Substitutes for a node to launch, cheapest first.
    pub substitutes: Vec<Substitute>,
    /// Pods the plan puts on the node explained.
    pub pods: Vec<PodRef>,
}

impl Explanation {
    fn new(subject: String, answer: String) -> Explanation {
        Explanation {
            kind: "StowageExplanation",
            format_version: "1.0",
            subject,
            answer,
            price_share: None,
            facts: Vec::new(),
            substitutes: Vec::new(),
            pods: Vec::new(),
        }
    }

    fn fact(&mut self, name: &'static str, text: String) {
        self.facts.push(Fact { name, text });
    }
}

fn why(plan: &Plan) -> String {
    let left = figures::left_to_save(plan);
    format!(
        "the cheapest plan found; no other one saves more than {} in all (gap {})",
        per_month(left),
        plan.summary.gap
    )
}

fn substitutes(launch: &Launch) -> Vec<Substitute> {
    let dearer = |alternate: &Alternate| alternate.price - launch.price;
    launch
        .alternates
        .iter()
        .map(|one| Substitute { alternate: one.clone(), dearer_by: dearer(one) })
        .collect()
}

fn before_and_after(node: &ExistingNode, used: &Resources) -> String {
    let full = |resource| {
        let of = node.allocatable.get(resource);
        let before = figures::whole_per_cent(figures::fill(node.running.get(resource), of));
        format!(
            "{} → {}",
            before.trim_end_matches(" %"),
            figures::whole_per_cent(figures::fill(used.get(resource), of))
        )
    };
    format!("cpu {}, memory {}", full(CPU), full(MEMORY))
}
