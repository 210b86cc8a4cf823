//! The checker's reading of a pod beside kube-scheduler's own.
//!
//! A [`Case`] is a handful of nodes, the pods on them, and one pod that waits, with constraints of every kind
//! ([`generate`]). The real scheduler decides ([`real`]); [`verdict`] says what the checker expects. A disagreement is
//! made smaller until nothing more can be taken away ([`shrink`]) and belongs into `cases/`, where it is tried first ever
//! after.

pub mod generate;
pub mod real;
pub mod shrink;

use std::collections::BTreeMap;
use stowage_checker::filters::World;
use stowage_models::snapshot::Snapshot;

/// A small cluster with one pod that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Name, unique in a run: keys, namespaces and objects of the cluster carry it.
    pub name: String,
    /// The cluster.
    pub snapshot: Snapshot,
}

/// What a scheduler does with the pod that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It chooses this node.
    Node(String),
    /// It finds none; in its words.
    Nowhere(String),
}

/// For every node what the checker says of the pod that waits: nothing, or why it may not go there.
///
/// # Panics
/// If not exactly one pod waits.
#[must_use]
pub fn verdict(case: &Case) -> BTreeMap<String, Option<String>> {
    read(case, World::of(&case.snapshot))
}

fn read(case: &Case, world: World<'_>) -> BTreeMap<String, Option<String>> {
    let mut waiting = case.snapshot.pods.iter().filter(|pod| pod.node.is_none());
    let (Some(pod), None) = (waiting.next(), waiting.next()) else {
        panic!("case {}: exactly one pod must wait", case.name);
    };
    let of = |(index, place): (usize, &stowage_checker::filters::Place<'_>)| {
        (place.name.clone(), world.may_go(pod, index).err().map(|why| why.to_string()))
    };
    world.places.iter().enumerate().map(of).collect()
}

/// What the checker and the scheduler disagree about, in words; `None` if they agree.
#[must_use]
pub fn disagreement(case: &Case, decision: &Decision) -> Option<String> {
    compare(&verdict(case), decision)
}

/// Whether the checker would disagree if it did not know one of the scheduler's plug-ins.
#[must_use]
pub fn notices(case: &Case, decision: &Decision, plugin: &'static str) -> bool {
    compare(&read(case, World::of(&case.snapshot).without(plugin)), decision).is_some()
}

fn compare(verdict: &BTreeMap<String, Option<String>>, decision: &Decision) -> Option<String> {
    match decision {
        Decision::Node(node) => match verdict.get(node) {
            Some(None) => None,
            Some(Some(why)) => Some(format!("the scheduler chose {node}, the checker rejects it: {why}")),
            None => Some(format!("the scheduler chose {node}, which is not of this case")),
        },
        Decision::Nowhere(words) => {
            let open: Vec<&String> =
                verdict.iter().filter(|(_, why)| why.is_none()).map(|(node, _)| node).collect();
            (!open.is_empty()).then(|| format!("the checker allows {open:?}, the scheduler says: {words}"))
        }
    }
}
