//! One step: answers first, then everything that is seen, then what to ask for.

use crate::removal::Look;
use crate::request::{Failure, Key, Request, Verb};
use crate::settings::Mode;
use crate::state::State;
use crate::time::{AGAIN_MAX, AGAIN_MIN, DEADLINE, LIST_EVERY, LIST_SOON, ROOM_AGAIN, Time};
use crate::view::{Answer, InstanceState, Observation};
use crate::{accept, claims, garbage, notices, removal, resume, review, slots, statics, successors};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::NodeReason;

/// A plan that takes longer than this is given up; the planner's own budget is far below.
const PLANNING_MAX: i64 = 5 * DEADLINE;

/// One step.
#[must_use]
pub fn step(mut state: State, seen: &Observation) -> (State, Vec<Request>) {
    let mut requests = Vec::new();
    let now = seen.now;
    if seen.inputs != state.inputs {
        state.inputs.clone_from(&seen.inputs);
        state.again.clear();
    }
    for answer in &seen.answers {
        take(&mut state, answer, seen, &mut requests);
    }
    state.forget(now);
    if !seen.synced || !seen.leader {
        return (state, requests);
    }
    forget_what_is_gone(&mut state, seen);
    resume::look(&mut state, seen);
    notices::learn(&mut state, seen);
    successors::tend(&mut state, seen, &mut requests);
    if state.settings.stop {
        stopped(&mut state, seen, &mut requests);
        return (state, requests);
    }
    if state.settings.mode != Mode::Shadow {
        removal::proceed(&mut state, seen, &mut requests);
        create(&mut state, seen, &mut requests);
        for claim in seen.claims.values().filter(|claim| claim.ours) {
            claims::tend(&mut state, seen, claim, &mut requests);
            notices::tend(&mut state, seen, claim, &mut requests);
            slots::tend(&mut state, seen, claim, &mut requests);
        }
        statics::trim(&mut state, seen, &mut requests);
        removal::tend(&mut state, seen, &mut requests);
        garbage::collect(&mut state, seen, &mut requests);
        list(&mut state, seen, &mut requests);
        resume::tend(&mut state, seen, &mut requests);
        review::tend(&mut state, seen, &mut requests);
    } else {
        // Nodes that were closed before the mode changed are open to pods again.
        removal::undo(&mut state, seen, "nodes are not removed in shadow mode", &mut requests);
    }
    plan(&mut state, seen, &mut requests);
    (state, requests)
}

/// What is done while everything is stopped.
fn stopped(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    // Pods that wait are a batch of their own when it goes on.
    state.window.close();
    if state.settings.mode == Mode::Shadow {
        return;
    }
    for claim in seen.claims.values().filter(|claim| claim.ours) {
        claims::finish(state, seen, claim, requests);
    }
    removal::undo(state, seen, "everything is stopped", requests);
    // Reads only; a launch that was under way may have succeeded.
    list(state, seen, requests);
}

/// Takes an answer in.
fn take(state: &mut State, answer: &Answer, seen: &Observation, requests: &mut Vec<Request>) {
    let now = seen.now;
    let key = |verb, object: &str| Key { verb, object: object.to_owned() };
    match answer {
        Answer::Planned(ticket, batch) => {
            if state.planning.take_if(|planning| planning == ticket).is_some() {
                state.over(&key(Verb::Plan, ""));
                accept::accept(state, seen, batch, requests);
            }
        }
        Answer::Rechecked(verdicts) => removal::rechecked(state, seen, verdicts, requests),
        Answer::Verified { plan, outcome } => review::verified(state, seen, plan, outcome, requests),
        Answer::NotPlanned(ticket, _) => {
            if state.planning.take_if(|planning| planning == ticket).is_some() {
                state.failed(key(Verb::Plan, ""), now);
            }
        }
        Answer::GivenUp(ticket) => {
            if state.planning.take_if(|planning| planning == ticket).is_some() {
                state.over(&key(Verb::Plan, ""));
            }
        }
        Answer::Launched { claim, launched } => {
            state.over(&key(Verb::Launch, claim));
            let instance = &launched.instance;
            launched.missing.iter().for_each(|offering| state.miss(offering, now));
            let offering =
                (instance.instance_type.clone(), instance.zone.clone(), instance.capacity_type.clone());
            state.stock.hit(&offering);
            let pool = seen.claims.get(claim).map(|claim| claim.pool.clone());
            state.lessons.launched(pool.as_deref(), now);
            if let Some(pool) = &pool {
                state.again.remove(&statics::key(pool));
            }
            state.launched.insert(claim.clone(), launched.instance.clone());
        }
        Answer::NotPrepared { claim, why } => not_prepared(state, claim, why, now),
        Answer::NotLaunched { claim, why } => claims::not_launched(state, seen, claim, why, requests),
        Answer::Listed(listing) => {
            state.over(&key(Verb::List, ""));
            state.listed = Some(now);
            garbage::compare(state, seen, listing);
            state.listing = Some(listing.clone());
        }
        Answer::Done(done) => {
            if done.verb == Verb::Terminate {
                state.has_been_ended(&done.object);
            }
            match done.verb {
                // Somebody else may be expected a moment later.
                Verb::Expect => state.over(done),
                _ => state.done(done.clone(), now),
            }
        }
        Answer::Failed(failed, _) => {
            if failed.verb == Verb::Expect {
                state.successors.unsaid();
            }
            state.failed(failed.clone(), now);
        }
    }
}

/// A claim that was not created. What can never be is not asked for again: its pods are planned anew.
fn not_prepared(state: &mut State, claim: &str, why: &Failure, now: Time) {
    let key = Key { verb: Verb::CreateClaim, object: claim.to_owned() };
    state.note_missing(why, now);
    if let Some((draft, _)) = state.drafts.get(claim) {
        state.lessons.not_launched(&draft.intent.pool, why, now);
    }
    if matches!(why, Failure::Later(_)) {
        state.failed(key, now);
        return;
    }
    state.over(&key);
    if let Some((draft, _)) = state.drafts.remove(claim)
        && matches!(why, Failure::Never(_))
    {
        draft.intent.pods.iter().for_each(|pod| state.settle(&pod.uid, now));
    }
}

fn forget_what_is_gone(state: &mut State, seen: &Observation) {
    // A draft is over when its claim is seen. One that never shows up is dropped when no request for it can be under way
    // any more, and its pods are planned again: until then it counts, against limits too.
    state
        .drafts
        .retain(|name, (_, since)| !seen.claims.contains_key(name) && seen.now.since(*since) < 2 * DEADLINE);
    let known = |name: &String| seen.claims.contains_key(name) || state.drafts.contains_key(name);
    state.launched.retain(|name, _| known(name));
    state.asked.retain(|name, _| known(name));
    state.slots_over.retain(known);
    state.measured.retain(known);
    state.emptied.retain(|name, _| known(name));
    let exists =
        |uid: &str| statics::is_key(uid) || seen.pods.values().any(|pod| pod.uid == uid && pod.pending);
    if state.again.len() > seen.pods.len() {
        state.again.retain(|uid, _| exists(uid));
    }
    state.lessons.retain(|uid, pod| seen.pods.get(pod).is_some_and(|pod| pod.uid == uid));
}

/// Claims are created first: what is launched for them is written in them.
fn create(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    let now = seen.now;
    // Of what was approved, each is for all of its pods or not done. The view may have caught up since it was begun.
    let waits = |pod: &crate::view::PlannedPod| {
        seen.pods.get(&pod.id).is_some_and(|found| found.uid == pod.uid && found.pending)
    };
    let under_way = |name: &str| Key { verb: Verb::CreateClaim, object: name.to_owned() };
    let gone: Vec<String> = state
        .drafts
        .values()
        .filter(|(draft, _)| draft.exact && !draft.intent.pods.iter().all(waits))
        .filter(|(draft, _)| !state.is_under_way(&under_way(&draft.name), now))
        .map(|(draft, _)| draft.name.clone())
        .collect();
    gone.iter().for_each(|name| drop(state.drafts.remove(name)));
    let asked = state.drafts.values().filter(|(_, since)| now.since(*since) < DEADLINE);
    let drafts: Vec<_> = asked.map(|(draft, _)| draft.clone()).collect();
    for draft in drafts {
        state.ask(Request::CreateClaim(Box::new(draft)), now, requests);
    }
}

/// Lists machines: often while something is unclear.
fn list(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    let unclear =
        seen.claims.values().any(|claim| claim.ours && (claim.deleting || claim.instance.is_none()));
    let every = if unclear { LIST_SOON } else { LIST_EVERY };
    if state.listed.is_none_or(|listed| seen.now.since(listed) >= every) {
        state.ask(Request::List, seen.now, requests);
    }
}

/// When pods have come or gone, room that was free may be taken: it is looked at again.
fn look_at_room(state: &mut State, seen: &Observation) {
    let bound = seen.pods.values().filter(|pod| pod.node.is_some()).count();
    let load = (bound, seen.nodes.len());
    if std::mem::replace(&mut state.load, load) == load {
        return;
    }
    let soon = seen.now.plus(ROOM_AGAIN);
    for pod in seen.pods.values().filter(|pod| pod.is_virtual) {
        if let Some(again) = state.again.get_mut(&pod.uid) {
            again.at = again.at.min(soon);
            again.pause = AGAIN_MIN;
        }
    }
}

/// A static pool of which something else is wanted than before is looked at at once, however often it was looked at in vain. That it lacks nodes
/// is no change: launches that are refused again and again wait their time.
fn look_at_pools(state: &mut State, seen: &Observation, returns: &BTreeMap<String, NodeReason>) {
    let of_pool = |pool: &String| {
        let own = returns.keys().filter(|name| seen.claims.get(*name).is_some_and(|one| one.pool == *pool));
        own.cloned().collect()
    };
    let wished: BTreeMap<String, (i64, BTreeSet<String>)> =
        seen.statics.iter().map(|(pool, replicas)| (pool.clone(), (*replicas, of_pool(pool)))).collect();
    for (pool, (replicas, going)) in &wished {
        let before = state.wished.get(pool);
        let is_new = |(many, names): &(i64, BTreeSet<String>)| many != replicas || !going.is_subset(names);
        if before.is_some_and(is_new) {
            state.again.remove(&statics::key(pool));
        }
    }
    state.wished = wished;
}

/// Asks for a plan when a batch is complete. One plan is made at a time: the next sees what this one launches.
fn plan(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    look_at_room(state, seen);
    let covered = slots::covered(state, seen);
    let (missing, returns) = statics::wanted(state, seen);
    look_at_pools(state, seen, &returns);
    let pools = returns.keys().filter_map(|claim| Some(&seen.claims.get(claim)?.pool));
    let pools: BTreeSet<&String> = missing.keys().chain(pools).collect();
    let worth = |uid: &str| state.again.get(uid).is_none_or(|again| again.at <= seen.now);
    let lacking = pools.into_iter().map(|pool| statics::key(pool)).filter(|key| worth(key));
    let waiting: BTreeSet<String> = seen
        .pods
        .values()
        .filter(|pod| pod.pending && !covered.contains(pod.uid.as_str()))
        .filter(|pod| !state.lessons.is_hopeless(&pod.uid))
        .filter(|pod| worth(&pod.uid))
        .map(|pod| pod.uid.clone())
        .chain(lacking)
        .collect();
    let (idle, max) = (state.settings.batch_idle, state.settings.batch_max);
    if state.planning.is_some()
        && !state.is_under_way(&Key { verb: Verb::Plan, object: String::new() }, seen.now)
    {
        // No answer in time: its ticket is worth nothing any more.
        state.planning = None;
    }
    if state.planning.is_some() {
        return;
    }
    let forced = match removal::look(state, seen, !waiting.is_empty()) {
        Look::Gathering => return,
        Look::No => None,
        Look::Due(forced) => Some(forced),
    };
    let removals = forced.is_some();
    // Pods that wait and nodes that go are one plan; where no node goes, the pods are planned by themselves, right after.
    if !removals && !state.window.look(&waiting, seen.now, idle, max) {
        return;
    }
    let mut input = Box::new(removal::input(state, seen));
    let pods_wait = waiting.iter().any(|uid| !statics::is_key(uid));
    let gives = !returns.is_empty() && waiting.iter().any(|uid| statics::is_key(uid));
    // Pods that wait do not wait for the approval of what static pools give back, nor this for an end of pods that come: they take turns.
    let for_pods = !removals && pods_wait && !(gives && state.put_off);
    if for_pods {
        input.statics = statics::missing(state, seen);
    } else if !removals {
        (input.statics, input.returns) = (missing, returns);
    }
    let given = input.returns.keys().filter_map(|claim| Some(&seen.claims.get(claim)?.pool));
    let looked_at = input.statics.keys().chain(given).cloned().collect();
    input.urgent = forced.as_ref().is_some_and(|forced| !forced.is_empty());
    let (ticket, urgent) = (state.tickets + 1, input.urgent);
    if state.ask(Request::Plan { ticket, input, removals }, seen.now, requests) {
        if let Some(forced) = forced {
            removal::asked(state, seen, forced);
        } else {
            state.put_off = for_pods && gives;
        }
        // Pods whose turn was not now are planned for right after.
        if for_pods || !pods_wait {
            state.window.close();
        }
        state.hold(&Key { verb: Verb::Plan, object: String::new() }, seen.now.plus(PLANNING_MAX));
        state.looked_at = looked_at;
        state.tickets = ticket;
        (state.planning, state.pressing) = (Some(ticket), urgent);
    }
}

impl State {
    /// Whether the plan that is being made is in the way of nodes that go by force: they have seconds, and it knows nothing of them. What is
    /// then given up ([`Answer::GivenUp`]) is planned with them.
    #[must_use]
    pub fn presses(&self, seen: &Observation) -> bool {
        self.planning.is_some() && !self.pressing && removal::is_pressing(self, seen)
    }

    /// Whether a step is due in a moment even if nothing changes.
    #[must_use]
    pub fn hurries(&self) -> bool {
        removal::is_gathering(self)
    }

    /// A pod was looked at and needs no launch: not again for a while, and each time for longer.
    pub(crate) fn settle(&mut self, uid: &str, now: Time) {
        let pause = self.again.get(uid).map_or(AGAIN_MIN, |again| (2 * again.pause).min(AGAIN_MAX));
        self.again.insert(uid.to_owned(), crate::state::Again { at: now.plus(pause), pause });
    }

    /// The cloud has taken the order to end a machine: it will not come back, and the next list need not be waited for.
    fn has_been_ended(&mut self, instance: &str) {
        let listed = self.listing.as_mut().and_then(|listing| listing.instances.get_mut(instance));
        if let Some(listed) = listed {
            listed.state = InstanceState::Ended;
        }
    }

    /// The cloud had none of it.
    pub(crate) fn miss(&mut self, offering: &(String, String, String), now: Time) {
        self.stock.miss(offering.clone(), self.settings.capacity_pause, now);
    }

    /// What the cloud said it has none of.
    pub(crate) fn note_missing(&mut self, why: &Failure, now: Time) {
        if let Failure::Capacity(offerings) = why {
            for offering in offerings {
                self.miss(offering, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{PlannedBatch, PlannedPod, Pod};
    use crate::{Mode, Settings};
    use stowage_models::objects::PodRef;

    /// When plans are asked for, if every plan finds room for a virtual pod; pods are bound at these times.
    fn planned(bound_at: &[i64], until: i64) -> Vec<i64> {
        let id = PodRef("default/room".to_owned());
        let pod = PlannedPod { id: id.clone(), uid: "uid-room".to_owned(), direct: false };
        let mut seen = Observation { synced: true, leader: true, ..Observation::default() };
        seen.pods.insert(id, Pod { uid: pod.uid.clone(), pending: true, is_virtual: true, ..Pod::default() });
        let mut state = State::new(Settings { mode: Mode::Auto, ..Settings::default() });
        let mut times = Vec::new();
        for now in (0..until).step_by(500) {
            seen.now = Time(now);
            if bound_at.contains(&now) {
                let node = Some("node".to_owned());
                seen.pods.insert(PodRef(format!("default/pod-{now}")), Pod { node, ..Pod::default() });
            }
            let (next, requests) = step(state, &seen);
            state = next;
            seen.answers.clear();
            for request in requests {
                if let Request::Plan { ticket, removals, .. } = request {
                    if removals {
                        seen.answers.push(Answer::Planned(ticket, Box::default()));
                        continue;
                    }
                    times.push(now);
                    let settled = vec![pod.clone()];
                    let batch = PlannedBatch { plan: "plan".to_owned(), settled, ..PlannedBatch::default() };
                    seen.answers.push(Answer::Planned(ticket, Box::new(batch)));
                }
            }
        }
        times
    }

    #[test]
    fn room_is_looked_at_soon_after_pods_have_come() {
        let quiet = planned(&[], 400_000);
        let pauses: Vec<i64> = quiet.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "less and less: {quiet:?}");
        let last = *quiet.last().expect("it was looked at");
        assert!(pauses.last() > Some(&(2 * ROOM_AGAIN)), "{quiet:?}");
        // A pod that comes may have taken the room.
        let busy = planned(&[last + 5_000], 500_000);
        let after = busy.iter().find(|at| **at > last).expect("it is looked at again");
        assert!(after - (last + 5_000) <= ROOM_AGAIN + 2_000, "{busy:?}");
    }
}
