//! Removal: nodes go, wave by wave, each once what is to take its place is ready, and only if it still may.
//!
//! What happens to a node is read off its NodeClaim and its Node at every step:
//!
//! ```text
//! intended (annotation) -> replacements ready -> rechecked -> closed (taint) -> rechecked -> left (claim deleted) -> drained
//!         \_______________________ kept (opened, annotation gone) ________________________/
//! ```
//!
//! A pod may have been bound between the first recheck and the taint; the second one finds it, and the node stays. From the deletion of the
//! claim on it is drained like any other ([`crate::drain`]). What waves are still to come is remembered in [`Course`] only: if that is lost
//! they are planned anew. Nodes that go by force (their machines are taken away) are closed at once, ask nobody, and wait for what takes their
//! place only as long as there is time.

use crate::accept::{self, draft};
use crate::claims::node_of;
use crate::request::{Intent, Key, Request, Verb};
use crate::resume;
use crate::settings::Mode;
use crate::slots;
use crate::state::State;
use crate::successors;
use crate::time::{MINUTE, SECOND, Time};
use crate::view::{Claim, Node, Observation, PlannedBatch, PlannedPod};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::NodeReason;
use stowage_models::labels;
use stowage_models::objects::PodRef;

/// A node that was to go and could not by then stays.
const REMOVAL_MAX: i64 = 20 * MINUTE;
/// A wave that takes longer is the last one carried out.
const WAVE_MAX: i64 = 15 * MINUTE;
/// What a wave intends is written by then, or nothing of it is done.
const INTEND_MAX: i64 = 2 * MINUTE;
/// What was bound to a node a moment before its taint is seen by then.
const CLOSE: i64 = 2 * SECOND;
/// A node that goes by force is drained from so long before its end on: pods have 30 s to end, and their successors have to start.
const FORCED_LEAD: i64 = 75 * SECOND;
/// A node that goes by force and has no end is drained after this long, whether or not anything is ready to take its place.
const FORCED_WAIT: i64 = 2 * MINUTE;
/// Nodes that go by force are planned this long apart at least: a plan may have no answer, and pods wait meanwhile.
const URGENT: i64 = 5 * SECOND;
/// Notices of one event come over some tenths of a second: a plan waits for the next one this long, and for all of them no longer than that. One
/// plan for all is cheaper, and sooner than two in a row.
const GATHER_IDLE: i64 = 200;
const GATHER_MAX: i64 = 600;
/// Doublings of that pause while plans have no answer.
const URGENT_DOUBLINGS: u32 = 5;
/// Doublings of the pause after removals that came to nothing.
const SETBACKS_MAX: u32 = 4;

/// Where a pod of a node that goes is to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// A node that is there.
    Node(String),
    /// The node of a NodeClaim that is launched for it.
    Claim(String),
}

/// A pod of a node that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaver {
    /// `namespace/name`.
    pub id: PodRef,
    /// The uid it had when it was planned; another is another pod.
    pub uid: String,
    /// The uid of what made it, if that is known: it makes the successor, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where its successor is to run; `None`: nowhere, and it leaves all the same (by force only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Place>,
}

/// That a node goes: an action of a plan, written on its NodeClaim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// Digest of the plan.
    pub plan: String,
    /// Name of the action.
    pub action: String,
    /// Wave of the plan, from 1.
    pub wave: u32,
    /// NodeClaim.
    pub claim: String,
    /// Node.
    pub node: String,
    /// The node's uid.
    pub uid: String,
    /// Why.
    pub reason: NodeReason,
    /// It goes whatever stands against it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// Somebody has approved it: it goes in review, too, and whether or not nodes go for their cost otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// When its machine ends by itself, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Its pods.
    pub pods: Vec<Leaver>,
    /// NodeClaims whose nodes must be ready first.
    pub needs: Vec<String>,
    /// When it was written.
    pub since: Time,
}

/// What may be done at once, after all waves before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedWave {
    /// Launches.
    pub launches: Vec<Intent>,
    /// Removals; when they were written is filled in when they are.
    pub removals: Vec<Removal>,
}

/// A pod on its way from a node that goes, for the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// The pod.
    pub id: PodRef,
    /// Its uid.
    pub uid: String,
    /// The node, or the claim of a node that is not there yet.
    pub to: String,
}

/// Why a node may not go now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    /// It may go by and by: budgets are used up for the moment.
    pub waits: bool,
    /// In a sentence.
    pub text: String,
}

impl State {
    /// The plan with removals that is carried out.
    #[must_use]
    pub fn removing(&self) -> Option<&str> {
        self.course.as_ref().map(|course| course.plan.as_str())
    }
}

/// A plan with removals was made.
pub(crate) fn begin(state: &mut State, seen: &Observation, batch: &PlannedBatch) {
    if !acts(state) {
        return;
    }
    let (plan, waves) = (batch.plan.clone(), batch.waves.clone());
    if state.removing() != Some(plan.as_str()) {
        abandon(state);
    }
    // One that is under way has no further waves: what it has begun goes on.
    state.course = Some(Course::new(plan, waves, seen.now));
}

/// Whether somebody has approved what is under way, and nothing of this plan goes by force: it would cut short what was approved.
pub(crate) fn has_to_wait(state: &State, batch: &PlannedBatch) -> bool {
    let mut removals = batch.waves.iter().flat_map(|wave| &wave.removals);
    state.course.as_ref().is_some_and(Course::is_approved) && !removals.any(|removal| removal.forced)
}

/// What is carried out has no further waves. What was approved and not begun for sure may begin later.
fn abandon(state: &mut State) {
    if let Some(course) = state.course.take() {
        if course.is_beginning(&course.plan) {
            state.begun.remove(&course.plan);
        }
        state.cut.insert(course.plan);
    }
}

/// Whether nodes go at all.
pub(crate) fn acts(state: &State) -> bool {
    let settings = &state.settings;
    settings.mode != Mode::Shadow && settings.remove_every.is_some() && !settings.stop
}

/// Whether one that does not go by force still may, as things are set now: in review it was approved, or needs no approval; and it has to go,
/// or nodes go for their cost.
fn is_meant(state: &State, removal: &Removal) -> bool {
    let settings = &state.settings;
    let unasked = settings.mode == Mode::Auto || !settings.review.removals;
    acts(state) && (removal.approved || (unasked && (settings.consolidate || removal.reason.is_departure())))
}

/// Whether a plan may go on as things are set now: they may have changed since it was made.
fn may_go_on(state: &State, course: &Course) -> bool {
    let asks = state.settings.need_approval(&[], &course.waves) && !course.is_approved();
    let of_wave = course.wave().into_iter().flat_map(|wave| &wave.removals);
    !asks && of_wave.filter(|removal| !removal.forced).all(|removal| is_meant(state, removal))
}

/// What of the plan is next: the wave under way is written on its claims, then launched; when its nodes are gone, the next follows.
pub(crate) fn proceed(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    let Some(mut course) = state.course.take() else { return };
    if !acts(state) || !may_go_on(state, &course) {
        // What goes by force goes in any mode: its pods must not be without what was to take its place.
        let plan = course.plan.clone();
        let forced = course.forced().filter(|course| acts(state) && may_go_on(state, course));
        let Some(forced) = forced else {
            state.cut.insert(plan);
            return;
        };
        course = forced;
    }
    let no_launching = state.no_launching(seen.now).is_some();
    let onward = match course.launched {
        true => !no_launching && await_end(state, seen, &mut course),
        false if no_launching => write_forced(state, seen, &mut course, requests),
        false => write(state, seen, &mut course, requests),
    };
    if onward {
        state.course = Some(course);
    } else {
        state.cut.insert(course.plan);
    }
}

/// Where nothing can be launched: of the wave, only what goes by force is written, so that its pods leave before its machine ends. Nothing
/// follows.
fn write_forced(
    state: &mut State,
    seen: &Observation,
    course: &mut Course,
    requests: &mut Vec<Request>,
) -> bool {
    let Some(wave) = course.waves.get(course.at) else { return false };
    let forced = wave.removals.iter().filter(|removal| removal.forced);
    let unwritten: Vec<&Removal> = forced
        .filter(|removal| {
            let claim = seen.claims.get(&removal.claim).filter(|claim| claim.ours && !claim.deleting);
            claim.is_some_and(|claim| claim.removal.as_ref().is_none_or(|other| !other.forced))
        })
        .collect();
    for removal in &unwritten {
        let removal = successors::written(seen, removal);
        state.ask(Request::Intend(Box::new(removal)), seen.now, requests);
    }
    !unwritten.is_empty() && seen.now.since(course.since) < INTEND_MAX
}

/// Writes the removals of the wave and then asks for its launches; false if that cannot be.
fn write(state: &mut State, seen: &Observation, course: &mut Course, requests: &mut Vec<Request>) -> bool {
    let Some(wave) = course.waves.get(course.at) else { return false };
    let mut written = true;
    for removal in &wave.removals {
        let own = seen.claims.get(&removal.claim).filter(|claim| claim.ours);
        // It is left already: somebody else has begun this wave.
        if own.is_some_and(|claim| {
            claim.deleting && claim.removal.as_ref().is_some_and(|one| one.plan == removal.plan)
        }) {
            continue;
        }
        let Some(claim) = own.filter(|claim| !claim.deleting) else {
            // Its machine is going already; the others still need what takes their place.
            if removal.forced {
                continue;
            }
            return false;
        };
        match &claim.removal {
            Some(other) if other.plan == removal.plan => {}
            // Another plan's; one that goes by force has precedence.
            Some(other) if other.forced || !removal.forced => return false,
            _ => {
                written = false;
                let removal = successors::written(seen, removal);
                state.ask(Request::Intend(Box::new(removal)), seen.now, requests);
            }
        }
    }
    if !written {
        return seen.now.since(course.since) < INTEND_MAX;
    }
    let places: BTreeSet<&String> = course
        .waves
        .iter()
        .flat_map(|wave| &wave.removals)
        .flat_map(|removal| &removal.pods)
        .filter_map(|pod| match &pod.to {
            Some(Place::Claim(claim)) => Some(claim),
            _ => None,
        })
        .collect();
    if wave.launches.iter().any(|launch| state.lessons.is_open(&launch.pool, seen.now)) {
        return false;
    }
    let covered: BTreeSet<String> = slots::covered(state, seen);
    for intent in &wave.launches {
        let waits = |pod: &&PlannedPod| {
            let found = seen.pods.get(&pod.id);
            found.is_some_and(|found| found.uid == pod.uid && found.pending) && !covered.contains(&pod.uid)
        };
        let pods: Vec<PlannedPod> = intent.pods.iter().filter(waits).cloned().collect();
        let name = accept::name_of(&course.plan, &intent.action, &intent.pool);
        if (pods.is_empty() && !places.contains(&name)) || seen.claims.contains_key(&name) {
            continue;
        }
        let draft = draft(state, &course.plan, &Intent { pods, ..intent.clone() });
        state.drafts.insert(name, (draft, seen.now));
    }
    (course.launched, course.since) = (true, seen.now);
    true
}

/// Waits until the nodes of the wave are gone; false if no further wave is to follow.
fn await_end(state: &State, seen: &Observation, course: &mut Course) -> bool {
    let Some(wave) = course.waves.get(course.at) else { return false };
    let claims = wave.removals.iter().map(|removal| seen.claims.get(&removal.claim));
    let left: Vec<&Claim> = claims.flatten().collect();
    // One that stays after all, or a launch that came to nothing, ends it.
    if left.iter().any(|claim| !claim.deleting && claim.removal.is_none())
        || wave.removals.iter().flat_map(|removal| &removal.needs).any(|need| is_lost(state, seen, need))
        || seen.now.since(course.since) >= WAVE_MAX
    {
        return false;
    }
    if left.is_empty() {
        (course.at, course.since, course.launched) = (course.at + 1, seen.now, false);
    }
    course.at < course.waves.len()
}

/// Whether a claim that is needed is not there, nor will be.
fn is_lost(state: &State, seen: &Observation, need: &str) -> bool {
    seen.claims.get(need).map_or(!state.drafts.contains_key(need), |claim| claim.deleting)
}

/// Whether the node of a claim is ready for any pods: while it is kept for others, those that move could not start there.
fn is_ready(seen: &Observation, need: &str) -> bool {
    let Some(claim) = seen.claims.get(need).filter(|claim| claim.initialized.is_some()) else { return false };
    let is_open = |node: &Node| node.taints.iter().all(|taint| taint.key != accept::SLOT_TAINT);
    node_of(seen, claim.instance.as_deref().unwrap_or_default())
        .is_some_and(|node| node.ready && !node.deleting && is_open(node))
}

/// Does what is next for nodes that are to go.
pub(crate) fn tend(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    let mut due = Vec::new();
    for claim in seen.claims.values().filter(|claim| claim.ours && !claim.deleting) {
        let node = node_of(seen, claim.instance.as_deref().unwrap_or_default());
        match &claim.removal {
            Some(removal) => due.extend(next(state, seen, claim, node, removal, requests)),
            // Nothing says why it is closed: what closed it was undone meanwhile.
            None if node.is_some_and(is_closed) && claim.initialized.is_some() => {
                keep(state, seen, claim, node, "it is not to go".to_owned(), requests);
            }
            None => {}
        }
    }
    state.closed.retain(|name, _| seen.claims.get(name).is_some_and(|claim| claim.removal.is_some()));
    if due.is_empty() {
        return;
    }
    let asked: BTreeSet<&str> = due.iter().map(|removal: &Removal| removal.claim.as_str()).collect();
    let mut input = input(state, seen);
    let on_its_way = on_its_way(seen).filter(|(claim, _)| !asked.contains(claim.name.as_str()));
    (input.leaving, input.moving) = spoken_for(seen, on_its_way);
    let looked = due.iter().map(|removal| (removal.claim.clone(), removal.plan.clone())).collect();
    if state.ask(Request::Recheck { removals: due, input: Box::new(input) }, seen.now, requests) {
        state.looked = looked;
    }
}

/// While everything is stopped, or nothing is done any more: what was not left yet stays.
pub(crate) fn undo(state: &mut State, seen: &Observation, why: &str, requests: &mut Vec<Request>) {
    abandon(state);
    for claim in seen.claims.values().filter(|claim| claim.ours && !claim.deleting) {
        let node = node_of(seen, claim.instance.as_deref().unwrap_or_default());
        // A taint that was under way may come after what it was for has gone.
        let closed_for_nothing = claim.initialized.is_some() && node.is_some_and(is_closed);
        if claim.removal.is_some() || closed_for_nothing {
            keep(state, seen, claim, node, why.to_owned(), requests);
        }
    }
}

fn is_closed(node: &Node) -> bool {
    node.taints.iter().any(|taint| taint.key == labels::TAINT_DISRUPTED)
}

/// What is next for one; the removal if it is to be looked at once more.
fn next(
    state: &mut State,
    seen: &Observation,
    claim: &Claim,
    node: Option<&Node>,
    removal: &Removal,
    requests: &mut Vec<Request>,
) -> Option<Removal> {
    if let Some(why) = against(state, seen, node, removal) {
        keep(state, seen, claim, node, why, requests);
        return None;
    }
    let Some(node) = node else {
        // Nothing to close and nothing to drain.
        leave(state, seen, removal, requests);
        return None;
    };
    // While its wave is being written, nothing of it is launched yet, and nothing lost.
    let intended = resume::is_intended(state, seen, removal);
    let gives_up = |need: &str| removal.forced && !intended && is_lost(state, seen, need);
    let ready = removal.needs.iter().all(|need| is_ready(seen, need) || gives_up(need));
    let closed = is_closed(node);
    if closed {
        state.closed.entry(claim.name.clone()).or_insert(seen.now);
    }
    if removal.forced {
        let late = removal.deadline.is_some_and(|end| end.since(seen.now) <= FORCED_LEAD);
        let alone = removal.deadline.is_none() && seen.now.since(removal.since) >= FORCED_WAIT;
        if !closed {
            state.ask(Request::Disrupt { node: node.name.clone() }, seen.now, requests);
        } else if ready || late || alone {
            leave(state, seen, removal, requests);
        }
        return None;
    }
    let settled = state.closed.get(&claim.name).is_none_or(|since| seen.now.since(*since) >= CLOSE);
    let under_way = [Verb::Leave, Verb::Keep]
        .into_iter()
        .any(|verb| state.is_under_way(&Key { verb, object: claim.name.clone() }, seen.now))
        || (!closed && state.is_under_way(&Key { verb: Verb::Disrupt, object: node.name.clone() }, seen.now));
    (ready && settled && !under_way).then(|| removal.clone())
}

/// Why a node stays after all, as far as that can be seen here.
fn against(state: &State, seen: &Observation, node: Option<&Node>, removal: &Removal) -> Option<String> {
    if removal.forced {
        return None;
    }
    if !is_meant(state, removal) {
        return Some("nodes are not removed any more".to_owned());
    }
    if let Some(why) = state.no_launching(seen.now) {
        return Some(format!("nothing can be launched now: {why}"));
    }
    if seen.now.since(removal.since) >= REMOVAL_MAX {
        return Some("it could not go for too long".to_owned());
    }
    let Some(node) = node.filter(|node| node.uid == removal.uid) else {
        return Some("its node is another".to_owned());
    };
    let intended = resume::is_intended(state, seen, removal);
    if let Some(lost) = removal.needs.iter().find(|need| !intended && is_lost(state, seen, need)) {
        return Some(format!("what was to take its place, {lost}, is not launched"));
    }
    let gone = |pod: &&Leaver| match &pod.to {
        Some(Place::Node(name)) => {
            seen.nodes.get(name).is_none_or(|node| node.deleting || is_closed(node))
                && is_still_there(seen, removal, pod)
        }
        _ => false,
    };
    if let Some(pod) = removal.pods.iter().find(gone) {
        return Some(format!("the node that pod {} was to go to takes it no more", pod.id.0));
    }
    if !removal.reason.is_departure()
        && let Some(pod) = protected(seen, &node.name)
    {
        return Some(format!("pod {} must not be disrupted", pod.0));
    }
    None
}

/// Whether the pod is on its node still.
pub(crate) fn is_still_there(seen: &Observation, removal: &Removal, pod: &Leaver) -> bool {
    let found = seen.pods.get(&pod.id).filter(|found| found.uid == pod.uid);
    found.is_some_and(|found| found.node.as_ref() == Some(&removal.node))
}

/// A pod on the node that must not be disrupted.
fn protected<'a>(seen: &'a Observation, node: &str) -> Option<&'a PodRef> {
    let here = seen.pods.iter().filter(|(_, pod)| pod.node.as_deref() == Some(node));
    let mut marked = here.filter(|(_, pod)| {
        let until =
            pod.drain.as_ref().filter(|drain| drain.going.is_none()).and_then(|drain| drain.protected);
        until.is_some_and(|until| until > seen.now)
    });
    marked.next().map(|(id, _)| id)
}

fn keep(
    state: &mut State,
    seen: &Observation,
    claim: &Claim,
    node: Option<&Node>,
    why: String,
    requests: &mut Vec<Request>,
) {
    let node = node.map(|node| node.name.clone());
    let plan = claim.removal.as_ref().map(|removal| removal.plan.clone());
    let judged = plan.is_some();
    let request = Request::Keep { claim: claim.name.clone(), node, plan, why };
    if state.ask(request, seen.now, requests) && judged {
        state.setbacks = (state.setbacks + 1).min(SETBACKS_MAX);
    }
}

fn leave(state: &mut State, seen: &Observation, removal: &Removal, requests: &mut Vec<Request>) {
    let (claim, plan) = (removal.claim.clone(), removal.plan.clone());
    state.ask(Request::Leave { claim, plan, why: removal.reason }, seen.now, requests);
}

/// The referee and the API server have looked at nodes that are to go.
pub(crate) fn rechecked(
    state: &mut State,
    seen: &Observation,
    verdicts: &BTreeMap<String, Result<(), Hindrance>>,
    requests: &mut Vec<Request>,
) {
    let key = Key { verb: Verb::Recheck, object: String::new() };
    if verdicts.values().all(Result::is_ok) {
        state.over(&key);
    } else {
        // A moment later again: what waits, waits for others.
        state.done(key, seen.now);
    }
    if !seen.synced || !seen.leader || !acts(state) {
        return;
    }
    for (name, verdict) in verdicts {
        let Some(claim) = seen.claims.get(name).filter(|claim| claim.ours && !claim.deleting) else {
            continue;
        };
        // What goes by force asks nobody; and a verdict is about the plan that asked for it.
        let Some(removal) = claim.removal.as_ref().filter(|removal| !removal.forced) else { continue };
        if state.looked.get(name).is_some_and(|plan| *plan != removal.plan) {
            continue;
        }
        let node = node_of(seen, claim.instance.as_deref().unwrap_or_default());
        let ready = removal.needs.iter().all(|need| is_ready(seen, need));
        match verdict {
            Ok(()) if !ready => {}
            // Looked at in the step that acts: nothing lies between.
            Ok(()) => {
                let (Some(node), None) = (node, against(state, seen, node, removal)) else { continue };
                match state.closed.get(name) {
                    Some(since) if is_closed(node) && seen.now.since(*since) >= CLOSE => {
                        leave(state, seen, removal, requests);
                        state.setbacks = 0;
                    }
                    _ if is_closed(node) => {}
                    _ => drop(state.ask(Request::Disrupt { node: node.name.clone() }, seen.now, requests)),
                }
            }
            Err(hindrance) if hindrance.waits => {}
            Err(hindrance) => keep(state, seen, claim, node, hindrance.text.clone(), requests),
        }
    }
}

mod course;
mod looking;

pub(crate) use course::Course;
pub(crate) use looking::{Look, asked, input, is_gathering, is_pressing, look, on_its_way, spoken_for};

#[cfg(test)]
mod tests;
