//! Removals that were decided on a while ago, judged against what is there now.

use super::allow::Guard;
use super::rules::{self, Subject};
use super::states;
use crate::filters::{World, realise};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::departure::DepartureReason;
use stowage_models::labels;
use stowage_models::objects::{Pod, PodRef};
use stowage_models::schedule;
use stowage_models::snapshot::Snapshot;

/// A node that a plan removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Node name.
    pub node: String,
    /// Why it goes.
    pub reason: NodeReason,
    /// It is to go whatever stands against it.
    pub forced: bool,
    /// When its machine is said to end by itself, in seconds since 1970.
    pub deadline: Option<i64>,
    /// Its pods go where they were planned to, or it stays: somebody has approved that. Otherwise any other place will do as well.
    pub exact: bool,
    /// Its own pods when it was planned.
    pub pods: Vec<LeavingPod>,
}

/// A pod that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingPod {
    /// The pod.
    pub pod: PodRef,
    /// Its uid; another is another pod.
    pub uid: String,
    /// The node its successor goes to; `None` if it has no place (only forced departures leave pods without one).
    pub to: Option<String>,
}

/// Why a node may not go now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The rule that keeps it (`docs/formulation.md` section 5.1); [`NodeReason::Worth`]: it need not go any more.
    pub reason: NodeReason,
    /// In a sentence.
    pub text: String,
}

fn obstacle(reason: NodeReason, text: String) -> Option<Obstacle> {
    Some(Obstacle { reason, text })
}

/// Judges whether nodes may still go, all of those before them in the list gone: the rules of sections 5.1 and 5.2 as they are now, and a
/// place, by kube-scheduler's own filters, for every pod that is on them, whether it was planned to move or has come since. A pod whose planned
/// place is taken may have another, unless its node's removal is [`exact`](Leaving::exact). One entry for each, in order; `None`: nothing
/// stands against it. Their own taint `karpenter.sh/disrupted` is no reason against them, nor is it asked again whether going pays.
#[must_use]
pub fn check_removals(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &ConsolidationPolicy,
    leaving: &[Leaving],
) -> Vec<Option<Obstacle>> {
    let names: BTreeSet<&str> = leaving.iter().map(|one| one.node.as_str()).collect();
    let mut now = snapshot.clone();
    for node in now.nodes.iter_mut().filter(|node| names.contains(node.name.as_str())) {
        node.taints.retain(|taint| taint.key != labels::TAINT_DISRUPTED);
    }
    for pool in &mut now.node_pools {
        // Shares of cost and disruption were weighed for the plan as a whole; half of it done, they say something else.
        pool.consolidation_policy.take_if(|policy| policy == "Balanced");
    }
    let guard = Guard::new(&now, policy);
    let (subjects, budgets) = rules::subjects(&now, catalog, policy, &guard);
    let mut out: BTreeMap<&str, i64> = BTreeMap::new();
    let mut found: Vec<Option<Obstacle>> = Vec::new();
    for one in leaving {
        let subject = subjects.iter().find(|subject| subject.node.name == one.node);
        let mut against = match subject {
            Some(subject) => stands_against(one, subject),
            None => obstacle(NodeReason::NotReady, "the node is gone".to_owned()),
        };
        if let (None, Some(subject)) = (&against, subject)
            && let Some(pool) = subject.pool
        {
            let count = out.entry(pool.name.as_str()).or_default();
            if !subject.is_forced() && *count + 1 > budgets.room(&pool.name, subject.removal(), 0) {
                let text = format!("the budgets of NodePool {} let no further node go now", pool.name);
                against = obstacle(NodeReason::Budget, text);
            } else {
                *count += 1;
            }
        }
        found.push(against);
    }
    place(&now, leaving, &subjects, &mut found);
    found
}

/// What the rules say of a node.
fn stands_against(one: &Leaving, subject: &Subject<'_>) -> Option<Obstacle> {
    if one.reason.is_departure() && subject.due.departure().is_none() {
        return obstacle(NodeReason::Worth, format!("it was {:?}, and is not any more", one.reason));
    }
    // What goes by force asks nobody any more, and a deadline cuts short what is waited for: neither is taken on anybody's word.
    if one.forced && !subject.due.is_forced() {
        return obstacle(NodeReason::Worth, "it is to go by force, and nothing forces it".to_owned());
    }
    let ends = subject.due.departure().filter(|due| due.reason == DepartureReason::Interrupted);
    let ends = ends.and_then(|due| due.deadline.as_deref()).and_then(schedule::instant);
    if one.deadline.is_some() && (ends.is_none() || (one.forced && one.deadline != ends)) {
        return obstacle(NodeReason::Worth, "its machine does not end when it says".to_owned());
    }
    let (reason, pod, budget) = subject.stays.clone()?;
    let of = match (pod, budget) {
        (Some(pod), Some(budget)) => format!(" (pod {pod}, PodDisruptionBudget {budget})"),
        (Some(pod), None) => format!(" (pod {pod})"),
        _ => String::new(),
    };
    obstacle(reason, format!("it has to stay: {reason:?}{of}"))
}

/// Finds out whether every pod of the nodes that may go has a place once they are gone.
fn place(now: &Snapshot, leaving: &[Leaving], subjects: &[Subject<'_>], found: &mut [Option<Obstacle>]) {
    let free = |at: &usize| found[*at].is_none();
    let going: Vec<usize> = (0..leaving.len()).filter(free).collect();
    let removed: BTreeSet<&str> = going.iter().map(|at| leaving[*at].node.as_str()).collect();
    let mut after = states::without(now, &removed, subjects);
    for node in &mut after.nodes {
        // A node is kept for its first pods for a moment; then it is open.
        node.taints.retain(|taint| taint.key != labels::TAINT_PLACING);
        // Nothing can go where nothing runs.
        node.unschedulable |= !node.ready || node.deleting;
    }
    let by_id: BTreeMap<PodRef, &Pod> = after.pods.iter().map(|pod| (pod.id(), pod)).collect();
    let places: BTreeMap<&str, usize> =
        after.nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let (mut assignments, mut of, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for at in going {
        let one = &leaving[at];
        let Some(subject) = subjects.iter().find(|subject| subject.node.name == one.node) else { continue };
        for pod in &subject.pods {
            let Some(waiting) = by_id.get(&pod.id()).copied() else { continue };
            let planned = one
                .pods
                .iter()
                .find(|other| other.pod == pod.id() && pod.uid.as_deref().is_none_or(|uid| uid == other.uid));
            match planned.map(|planned| planned.to.as_deref()) {
                None => others.push((at, waiting, format!("pod {} has come meanwhile", pod.id()))),
                Some(None) => {}
                Some(Some(to)) => match places.get(to) {
                    Some(place) => {
                        assignments.push((waiting, *place));
                        of.push(at);
                    }
                    None => {
                        let text = format!("node {to}, where pod {} was to go, is gone", pod.id());
                        if one.exact {
                            found[at] = obstacle(NodeReason::Pod, text);
                        } else {
                            others.push((at, waiting, text));
                        }
                    }
                },
            }
        }
    }
    let forced = |at: usize| {
        subjects.iter().any(|subject| subject.node.name == leaving[at].node && subject.is_forced())
    };
    let mut world = World::of(&after);
    for stuck in realise(&mut world, &assignments) {
        let (at, (pod, place)) = (of[stuck.assignment], assignments[stuck.assignment]);
        let (id, node) = (pod.id(), &after.nodes[place].name);
        let text = format!("pod {id} does not fit on node {node} any more: {}", stuck.rejection);
        if !leaving[at].exact {
            others.push((at, pod, text));
        } else if found[at].is_none() && !forced(at) {
            found[at] = obstacle(NodeReason::Pod, text);
        }
    }
    for (at, pod, text) in others {
        if found[at].is_some() || forced(at) {
            continue;
        }
        match (0..world.places.len()).find(|place| world.may_go(pod, *place).is_ok()) {
            Some(place) => world.places[place].bind(pod),
            None => {
                found[at] = obstacle(NodeReason::Pod, format!("{text}, and there is no other place for it"))
            }
        }
    }
}
