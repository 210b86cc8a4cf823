//! From a plan to claims.

use crate::removal;
use crate::request::{Draft, Intent, LaunchBody, Request, claim_name, client_token};
use crate::settings::Mode;
use crate::slots;
use crate::state::State;
use crate::statics;
use crate::view::{Observation, PlannedBatch, PlannedPod};
use std::collections::BTreeSet;
use stowage_models::labels;
use stowage_models::objects::{Taint, TaintEffect};

/// Key of the taint that keeps a node for its pods.
pub const SLOT_TAINT: &str = labels::TAINT_PLACING;

/// Turns launches whose preconditions still hold into claims.
pub(crate) fn accept(
    state: &mut State,
    seen: &Observation,
    batch: &PlannedBatch,
    requests: &mut Vec<Request>,
) {
    for pod in &batch.settled {
        state.settle(&pod.uid, seen.now);
    }
    if state.settings.mode == Mode::Shadow {
        for pod in batch.launches.iter().flat_map(|launch| &launch.pods) {
            state.settle(&pod.uid, seen.now);
        }
        look_again(state, seen);
        requests.push(Request::Show(Box::new(batch.clone())));
        return;
    }
    // Not the leader, or blind: whoever is will plan for itself.
    if !seen.synced || !seen.leader || state.settings.stop {
        return;
    }
    if state.settings.needs_approval(batch) {
        // It waits, with its reason to be looked at. Pods are planned again meanwhile, in case something has changed: at once, where nodes
        // that go are all that needs approval.
        if state.settings.launches_need_approval(batch.cost()) {
            let launches = batch.waves.iter().flat_map(|wave| &wave.launches).chain(&batch.launches);
            launches.flat_map(|one| &one.pods).for_each(|pod| state.settle(&pod.uid, seen.now));
        }
        if batch.waves.is_empty() {
            look_again(state, seen);
        }
        return;
    }
    if !batch.waves.is_empty() {
        if !removal::has_to_wait(state, batch) {
            removal::begin(state, seen, batch);
        }
        return;
    }
    let covered = slots::covered(state, seen);
    for intent in &batch.launches {
        if state.lessons.is_open(&intent.pool, seen.now) {
            intent.pods.iter().for_each(|pod| state.settle(&pod.uid, seen.now));
            continue;
        }
        let is_static = seen.statics.contains_key(&intent.pool);
        if is_static && !statics::missing(state, seen).contains_key(&intent.pool) {
            continue;
        }
        let pods: Vec<PlannedPod> =
            intent.pods.iter().filter(|pod| waits(seen, pod, &covered)).cloned().collect();
        if pods.is_empty() && !is_static {
            continue;
        }
        let draft = draft(state, &batch.plan, &Intent { pods, ..intent.clone() });
        if !seen.claims.contains_key(&draft.name) {
            state.drafts.insert(draft.name.clone(), (draft, seen.now));
        }
    }
    look_again(state, seen);
}

/// What static pools that were looked at lack or have to give back still is worth a plan again after a while.
fn look_again(state: &mut State, seen: &Observation) {
    let (missing, returns) = statics::wanted(state, seen);
    let going: BTreeSet<&str> =
        returns.keys().filter_map(|claim| Some(seen.claims.get(claim)?.pool.as_str())).collect();
    let looked_at = std::mem::take(&mut state.looked_at);
    for pool in seen.statics.keys() {
        if missing.contains_key(pool) || going.contains(pool.as_str()) {
            if looked_at.contains(pool) {
                state.settle(&statics::key(pool), seen.now);
            }
        } else if !statics::are_coming(state, seen, pool) {
            // While one is on its way it may be refused as the last one was.
            state.again.remove(&statics::key(pool));
        }
    }
}

/// The pod is the one that was planned, and still waits.
fn waits(seen: &Observation, planned: &PlannedPod, covered: &BTreeSet<String>) -> bool {
    let pod = seen.pods.get(&planned.id);
    pod.is_some_and(|pod| pod.uid == planned.uid && pod.pending) && !covered.contains(&planned.uid)
}

/// The name of the claim of an action.
pub(crate) fn name_of(plan: &str, action: &str, pool: &str) -> String {
    claim_name(pool, &client_token(plan, action))
}

/// What a launch becomes.
pub(crate) fn draft(state: &State, plan: &str, intent: &Intent) -> Draft {
    let token = client_token(plan, &intent.action);
    let name = claim_name(&intent.pool, &token);
    let slot = if state.settings.steer { token[..16].to_owned() } else { String::new() };
    let mut taints = intent.taints.clone();
    if !slot.is_empty() {
        let key = SLOT_TAINT.to_owned();
        taints.push(Taint { key, value: slot.clone(), effect: TaintEffect::NoSchedule });
    }
    taints.extend(intent.startup_taints.iter().cloned());
    let body = LaunchBody {
        claim: name.clone(),
        plan: plan.to_owned(),
        action: intent.action.clone(),
        pool: intent.pool.clone(),
        class: intent.class.clone(),
        offerings: intent.offerings.clone(),
        labels: intent.labels.clone(),
        taints,
    };
    // A struct of strings and maps of strings always has a JSON form.
    let body = serde_json::to_string(&body).unwrap_or_default();
    let class_hash = String::new();
    Draft { name, plan: plan.to_owned(), intent: intent.clone(), slot, token, body, exact: false, class_hash }
}
