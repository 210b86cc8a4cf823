//! The life of a claim: launched, registered, initialised; or given up and given back.

use crate::drain::{self, Drained};
use crate::request::{Failure, Key, Reason, Request, Verb};
use crate::slots;
use crate::state::State;
use crate::statics;
use crate::time::{LAUNCH_TIMEOUT, VOLUMES_MAX};
use crate::view::{Claim, Instance, InstanceState, Node, Observation};
use stowage_models::labels;

/// Taints that come and go while a node starts (Karpenter's list); all others must be expected.
const EPHEMERAL: [&str; 4] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    labels::TAINT_UNREGISTERED,
];

/// Does what is next for a claim.
pub(crate) fn tend(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    if claim.deleting {
        give_back(state, seen, claim, requests);
    } else if claim.instance.is_none() {
        launch(state, seen, claim, requests);
    } else if claim.registered.is_none() {
        register(state, seen, claim, requests);
    } else if claim.initialized.is_none() {
        initialize(state, seen, claim, requests);
    }
}

/// Does what is next for a claim while everything is stopped: its machine, if there is one, becomes a node that any pod may use. Nothing
/// is launched, nothing is given up, no pod is touched.
pub(crate) fn finish(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    if claim.deleting {
        return;
    }
    if claim.instance.is_none() {
        if let Some(instance) = machine(state, claim) {
            let claim = claim.name.clone();
            state.ask(Request::RecordLaunch { claim, instance }, seen.now, requests);
        }
    } else if claim.registered.is_none() {
        join(state, seen, claim, requests);
    } else if claim.initialized.is_none() {
        initialize(state, seen, claim, requests);
    } else {
        slots::open(state, seen, claim, requests);
    }
}

/// The node of an instance. Nothing but the instance's id tells: names and addresses are used again.
pub(crate) fn node_of<'a>(seen: &'a Observation, instance: &str) -> Option<&'a Node> {
    if instance.is_empty() {
        return None;
    }
    seen.nodes.values().find(|node| node.instance.as_deref() == Some(instance))
}

/// The machine of a claim as far as anybody knows: recorded, answered, or found under its tag.
fn machine(state: &State, claim: &Claim) -> Option<Instance> {
    if let Some(instance) = state.launched.get(&claim.name) {
        return Some(instance.clone());
    }
    let listing = state.listing.as_ref()?;
    let mut tagged = listing.instances.values().filter(|one| one.ours && one.claim == claim.name);
    tagged.find(|one| one.state != InstanceState::Ended).cloned()
}

fn launch(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    let name = &claim.name;
    if let Some(instance) = machine(state, claim) {
        state.ask(Request::RecordLaunch { claim: name.clone(), instance }, seen.now, requests);
    } else if seen.now.since(claim.created) >= LAUNCH_TIMEOUT {
        give_up(state, seen, name, Reason::LaunchTimeout, requests);
    } else {
        let (token, body) = (claim.token.clone(), claim.body.clone());
        if state.ask(Request::Launch { claim: name.clone(), token, body }, seen.now, requests) {
            state.asked.insert(name.clone(), seen.now);
        }
    }
}

/// The cloud has refused a launch.
pub(crate) fn not_launched(
    state: &mut State,
    seen: &Observation,
    claim: &str,
    why: &Failure,
    requests: &mut Vec<Request>,
) {
    let key = Key { verb: Verb::Launch, object: claim.to_owned() };
    state.note_missing(why, seen.now);
    if let Some(claim) = seen.claims.get(claim) {
        state.lessons.not_launched(&claim.pool, why, seen.now);
    }
    match why {
        Failure::Later(_) => state.failed(key, seen.now),
        // What was refused stays refused: the pods are planned again, without what is missing.
        Failure::Capacity(_) | Failure::Never(_) => {
            state.failed(key, seen.now);
            let reason = if matches!(why, Failure::Capacity(_)) {
                Reason::InsufficientCapacity
            } else {
                Reason::LaunchFailed
            };
            if let Some(claim) = seen.claims.get(claim) {
                // What names no offering would be planned again just as it was: later, then.
                let nameless = matches!(why, Failure::Capacity(offerings) if offerings.is_empty());
                if reason == Reason::LaunchFailed || nameless {
                    claim.pods.iter().for_each(|pod| state.settle(&pod.uid, seen.now));
                    // Nodes of static pools are for no pod: their pool waits.
                    if seen.statics.contains_key(&claim.pool) {
                        state.settle(&statics::key(&claim.pool), seen.now);
                    }
                }
                // An earlier attempt may have succeeded with its answer lost; then the machine is known by its tag.
                if claim.instance.is_none() && seen.leader && seen.synced {
                    give_up(state, seen, &claim.name, reason, requests);
                }
            }
        }
    }
}

/// Registers the node of a claim, if there is one.
fn join(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) -> bool {
    let Some(node) = node_of(seen, claim.instance.as_deref().unwrap_or_default()) else { return false };
    let (claim, node) = (claim.name.clone(), node.name.clone());
    state.ask(Request::Register { claim, node }, seen.now, requests);
    true
}

fn register(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    if join(state, seen, claim, requests) {
        return;
    }
    let since = claim.launched.unwrap_or(claim.created);
    if seen.now.since(since) >= state.settings.registration_timeout
        && give_up(state, seen, &claim.name, Reason::RegistrationTimeout, requests)
    {
        state.lessons.registered(&claim.pool, false, seen.now);
    }
}

fn initialize(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    let instance = claim.instance.as_deref().unwrap_or_default();
    let Some(node) = node_of(seen, instance) else { return };
    let starting =
        |key: &str| EPHEMERAL.contains(&key) || claim.startup_taints.iter().any(|startup| startup.key == key);
    if !node.ready || node.taints.iter().any(|taint| starting(&taint.key)) {
        return;
    }
    if state.measured.insert(claim.name.clone()) {
        state.lessons.registered(&claim.pool, true, seen.now);
        let instance_type = node.labels.get(labels::INSTANCE_TYPE);
        let class = claim.labels.get(labels::EC2_NODE_CLASS).cloned().unwrap_or_default();
        // Only a node of the planned type says something about the promise.
        let planned = claim.labels.get(labels::INSTANCE_TYPE);
        if let Some(instance_type) = instance_type.filter(|one| planned == Some(*one))
            && !claim.allocatable.fits(&node.allocatable)
        {
            state.lessons.is_smaller(&class, instance_type, &node.allocatable, &claim.allocatable);
        }
    }
    // Devices appear when their plug-in has started.
    let missing =
        claim.allocatable.0.iter().any(|(name, amount)| *amount > 0 && node.allocatable.get(name) == 0);
    if !missing {
        let (claim, node) = (claim.name.clone(), node.name.clone());
        state.ask(Request::Initialize { claim, node }, seen.now, requests);
    }
}

/// Asks for the claim's deletion; whether it was asked for now.
pub(crate) fn give_up(
    state: &mut State,
    seen: &Observation,
    claim: &str,
    why: Reason,
    requests: &mut Vec<Request>,
) -> bool {
    // An answer may come while everything is stopped.
    !state.settings.stop
        && state.ask(Request::DeleteClaim { claim: claim.to_owned(), why }, seen.now, requests)
}

/// A claim that is being deleted: its machine ends first, then its node goes, then the claim.
fn give_back(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    if !claim.finalizer {
        return;
    }
    let known = claim.instance.clone().or_else(|| machine(state, claim).map(|instance| instance.id));
    let node = known.as_deref().and_then(|instance| node_of(seen, instance));
    if let Some(instance) = known {
        if !has_ended(state, seen, claim, &instance) {
            // A node that pods could come to is drained first.
            let node = node.filter(|_| claim.registered.is_some());
            let drained = node.map_or(Drained::Late, |node| drain::tend(state, seen, claim, node, requests));
            if drained == Drained::No {
                return;
            }
            let empty = node.filter(|_| drained == Drained::Yes).map(|node| node.name.clone());
            let why = Reason::ClaimDeleted;
            // What hangs on after this long is detached by force once the machine has ended.
            let since = state.emptied.get(&claim.name).copied();
            let detached = empty.is_some() && since.is_some_and(|since| seen.now.since(since) < VOLUMES_MAX);
            state.ask(Request::Terminate { instance, why, empty, detached }, seen.now, requests);
            return;
        }
        if let Some(node) = node {
            let (node, uid) = (node.name.clone(), node.uid.clone());
            state.ask(Request::DeleteNode { node, uid }, seen.now, requests);
            return;
        }
    } else if !never_launched(state, seen, claim) {
        return;
    }
    state.ask(Request::ReleaseClaim { claim: claim.name.clone() }, seen.now, requests);
}

/// The cloud says so; or it has not heard of it for long enough.
fn has_ended(state: &State, seen: &Observation, claim: &Claim, instance: &str) -> bool {
    let Some(listing) = &state.listing else { return false };
    match listing.instances.get(instance) {
        Some(found) => found.state == InstanceState::Ended,
        None => {
            let launched = claim.launched.or_else(|| state.launched.get(&claim.name).map(|one| one.launched));
            let launched = launched.unwrap_or(claim.created);
            seen.now.since(launched) >= crate::time::VISIBLE_AFTER
                && listing.begun.since(launched) >= crate::time::VISIBLE_AFTER
        }
    }
}

/// A listing begun after the last attempt has nothing under its tag. An instance that shows up later has no claim, and the
/// garbage collector ends it.
fn never_launched(state: &State, seen: &Observation, claim: &Claim) -> bool {
    let key = Key { verb: Verb::Launch, object: claim.name.clone() };
    let asked = state.asked.get(&claim.name).copied().unwrap_or(claim.created);
    !state.is_under_way(&key, seen.now) && state.listing.as_ref().is_some_and(|listing| listing.begun > asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::step;
    use crate::time::{AGAIN_MIN, Time};
    use crate::view::{Answer, Pod};
    use crate::{Mode, PlannedPod, Settings};
    use stowage_models::objects::PodRef;

    #[test]
    fn a_refusal_that_names_no_offering_is_not_planned_again_at_once() {
        // Such as an account's limit: the next plan would be the same, and be refused just as quickly.
        let settings = Settings { mode: Mode::Auto, ..Settings::default() };
        let pod = PlannedPod { id: PodRef("default/pod".to_owned()), uid: "uid".to_owned(), direct: false };
        let name = "claim".to_owned();
        let claim = Claim { name: name.clone(), ours: true, pods: vec![pod.clone()], ..Claim::default() };
        let mut seen = Observation { now: Time(1_000), synced: true, leader: true, ..Observation::default() };
        seen.pods.insert(pod.id, Pod { uid: pod.uid, pending: true, ..Pod::default() });
        seen.claims.insert(name.clone(), claim);
        seen.answers = vec![Answer::NotLaunched { claim: name.clone(), why: Failure::Capacity(Vec::new()) }];
        let (mut state, requests) = step(State::new(settings), &seen);
        let given_up =
            |request: &Request| matches!(request, Request::DeleteClaim { claim, .. } if *claim == name);
        assert!(requests.iter().any(given_up), "{requests:?}");
        seen.claims.clear();
        seen.answers.clear();
        let mut planned = None;
        for now in (1_000..2 * AGAIN_MIN).step_by(500) {
            seen.now = Time(now);
            let (next, requests) = step(state, &seen);
            state = next;
            if requests.iter().any(|request| matches!(request, Request::Plan { .. })) {
                planned = planned.or(Some(now));
            }
        }
        assert!(planned.is_some_and(|at| at >= AGAIN_MIN), "{planned:?}");
    }
    #[test]
    fn a_claim_goes_as_soon_as_its_machine_was_told_to_end() {
        let instance =
            Instance { id: "i-1".to_owned(), claim: "claim".to_owned(), ours: true, ..Instance::default() };
        let claim = Claim {
            name: "claim".to_owned(),
            ours: true,
            instance: Some(instance.id.clone()),
            deleting: true,
            finalizer: true,
            ..Claim::default()
        };
        let mut seen = Observation { now: Time(1_000), synced: true, leader: true, ..Observation::default() };
        seen.claims.insert(claim.name.clone(), claim);
        let listing =
            crate::Listing { instances: [(instance.id.clone(), instance)].into(), ..Default::default() };
        seen.answers = vec![Answer::Listed(listing)];
        let (state, requests) = step(State::new(Settings { mode: Mode::Auto, ..Settings::default() }), &seen);
        assert!(requests.iter().any(|request| matches!(request, Request::Terminate { .. })), "{requests:?}");
        // No list comes in between.
        seen.now = Time(1_500);
        seen.answers = vec![Answer::Done(Key { verb: Verb::Terminate, object: "i-1".to_owned() })];
        let (_, requests) = step(state, &seen);
        assert!(
            requests.iter().any(|request| matches!(request, Request::ReleaseClaim { .. })),
            "{requests:?}"
        );
    }

    #[test]
    fn volumes_are_waited_for_but_not_for_ever() {
        let id = "i-1".to_owned();
        let mut claim = Claim { name: "claim".to_owned(), ours: true, deleting: true, ..Claim::default() };
        (claim.finalizer, claim.instance, claim.registered) = (true, Some(id.clone()), Some(Time(0)));
        let mut seen = Observation { now: Time(1_000), synced: true, leader: true, ..Observation::default() };
        seen.claims.insert(claim.name.clone(), claim);
        let taint = stowage_models::objects::Taint {
            key: labels::TAINT_DISRUPTED.to_owned(),
            value: String::new(),
            effect: stowage_models::objects::TaintEffect::NoSchedule,
        };
        let node =
            Node { name: "node".to_owned(), instance: Some(id), taints: vec![taint], ..Node::default() };
        seen.nodes.insert(node.name.clone(), node);
        let mut state = State::new(Settings { mode: Mode::Auto, ..Settings::default() });
        // Of how long each answer says that a volume is attached still: whether the next attempt waits for it.
        let mut waits = Vec::new();
        for now in (1_000..VOLUMES_MAX + 120_000).step_by(500) {
            seen.now = Time(now);
            let (next, requests) = step(state, &seen);
            (state, seen.answers) = (next, Vec::new());
            for request in requests {
                if let Request::Terminate { detached, .. } = &request {
                    waits.push((now, *detached));
                    let key = request.key().expect("it has one");
                    seen.answers.push(Answer::Failed(key, "a volume is attached".to_owned()));
                }
            }
        }
        let (waiting, not): (Vec<_>, Vec<_>) = waits.into_iter().partition(|(_, waits)| *waits);
        assert!(waiting.len() > 3 && waiting.iter().all(|(at, _)| *at < 1_000 + VOLUMES_MAX), "{waiting:?}");
        assert!(!not.is_empty() && not.iter().all(|(at, _)| *at >= 1_000 + VOLUMES_MAX), "{not:?}");
    }
}
