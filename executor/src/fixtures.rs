//! Scenes that tests of removals share: nodes of ours with pods on them, removals of these, and what a step says of them in words.

use crate::removal::{Leaver, Place, PlannedWave, Removal};
use crate::request::Request;
use crate::review::Verdict;
use crate::settings::{Mode, Settings};
use crate::state::State;
use crate::step::step;
use crate::time::Time;
use crate::view::{Answer, Claim, Drain, Node, Observation, PlannedBatch, Pod};
use stowage_models::consolidation::NodeReason;
use stowage_models::labels;
use stowage_models::objects::{PodRef, Taint, TaintEffect};

pub(crate) const PLAN: &str = "sha256:a";

pub(crate) fn id(name: &str) -> PodRef {
    PodRef(format!("default/{name}"))
}

pub(crate) fn settings(mode: Mode) -> Settings {
    Settings { mode, ..Settings::default() }
}

pub(crate) fn state(mode: Mode) -> State {
    State::new(settings(mode))
}

pub(crate) fn node(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        instance: Some(format!("i-{name}")),
        ready: true,
        ..Node::default()
    }
}

/// A claim whose node is there for long.
pub(crate) fn claim(name: &str, node: &str) -> Claim {
    let since = Some(Time(0));
    Claim {
        name: name.to_owned(),
        ours: true,
        finalizer: true,
        pool: "default".to_owned(),
        instance: Some(format!("i-{node}")),
        launched: since,
        registered: since,
        initialized: since,
        ..Claim::default()
    }
}

/// What whoever leads sees of nodes with claims of ours, `claim-` and their names.
pub(crate) fn nodes(now: Time, names: &[&str]) -> Observation {
    let mut seen = Observation { now, synced: true, leader: true, ..Observation::default() };
    for name in names {
        seen.nodes.insert((*name).to_owned(), node(name));
        let claim = claim(&format!("claim-{name}"), name);
        seen.claims.insert(claim.name.clone(), claim);
    }
    seen
}

/// A pod on a node.
pub(crate) fn pod_on(name: &str, node: &str) -> Pod {
    let drain = Some(Drain { grace: 1_000, ..Drain::default() });
    Pod { uid: format!("uid-{name}"), node: Some(node.to_owned()), drain, ..Pod::default() }
}

/// It comes.
pub(crate) fn come(seen: &mut Observation, name: &str, node: &str) {
    seen.pods.insert(id(name), pod_on(name, node));
}

/// One that must not be disrupted.
pub(crate) fn come_protected(seen: &mut Observation, name: &str, node: &str) {
    let drain = Some(Drain { protected: Some(Time(i64::MAX)), ..Drain::default() });
    seen.pods.insert(id(name), Pod { drain, ..pod_on(name, node) });
}

pub(crate) fn leaver(name: &str, to: Place) -> Leaver {
    Leaver { id: id(name), uid: format!("uid-{name}"), owner: None, to: Some(to) }
}

pub(crate) fn on(node: &str) -> Place {
    Place::Node(node.to_owned())
}

/// The removal of a node for its cost, with what its pods need.
pub(crate) fn removal(node: &str, pods: Vec<Leaver>) -> Removal {
    let launched = |pod: &Leaver| match &pod.to {
        Some(Place::Claim(claim)) => Some(claim.clone()),
        _ => None,
    };
    Removal {
        plan: PLAN.to_owned(),
        action: format!("remove/{node}"),
        wave: 1,
        claim: format!("claim-{node}"),
        node: node.to_owned(),
        uid: format!("uid-{node}"),
        reason: NodeReason::Underutilized,
        forced: false,
        approved: false,
        deadline: None,
        needs: pods.iter().filter_map(launched).collect(),
        pods,
        since: Time(0),
    }
}

/// It is written on its claim.
pub(crate) fn write(seen: &mut Observation, removal: Removal) {
    let claim = seen.claims.get_mut(&removal.claim).expect("its claim");
    claim.removal = Some(removal);
}

pub(crate) fn close(seen: &mut Observation, node: &str) {
    let key = labels::TAINT_DISRUPTED.to_owned();
    let taint = Taint { key, value: String::new(), effect: TaintEffect::NoSchedule };
    seen.nodes.get_mut(node).expect("a node").taints.push(taint);
}

/// The referee agrees with these waves.
pub(crate) fn agreed(waves: Vec<PlannedWave>) -> Answer {
    let batch = PlannedBatch { plan: PLAN.to_owned(), waves, ..PlannedBatch::default() };
    Answer::Verified { plan: PLAN.to_owned(), outcome: Ok(Box::new(batch)) }
}

/// A step, and what is asked for, of what has words.
pub(crate) fn said(
    state: &mut State,
    seen: &Observation,
    word: impl FnMut(&Request) -> Option<String>,
) -> Vec<String> {
    let (next, requests) = step(std::mem::take(state), seen);
    *state = next;
    requests.iter().filter_map(word).collect()
}

/// What is asked for about plans and nodes that go.
pub(crate) fn word(request: &Request) -> Option<String> {
    Some(match request {
        Request::Plan { removals: true, .. } => "plan".to_owned(),
        Request::Verify { actions, .. } => format!("verify {}", actions.join(" ")),
        Request::Judge { verdict: Verdict::Proposed, .. } => "proposed".to_owned(),
        Request::Judge { verdict: Verdict::Executing, .. } => "executing".to_owned(),
        Request::Judge { verdict: Verdict::Refused(unmet), .. } => {
            format!("{}: {}", unmet.ground.as_str(), unmet.text)
        }
        Request::Intend(removal) if removal.approved => format!("intend {}, approved", removal.claim),
        Request::Intend(removal) => format!("intend {}", removal.claim),
        Request::CreateClaim(_) => "create".to_owned(),
        Request::Recheck { removals, .. } => format!("recheck {}", removals.len()),
        Request::Disrupt { node } => format!("close {node}"),
        Request::Leave { claim, .. } => format!("leave {claim}"),
        Request::Keep { claim, why, .. } => format!("keep {claim}: {why}"),
        Request::Evict { pod } => format!("evict {}", pod.uid),
        _ => return None,
    })
}
