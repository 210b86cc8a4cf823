//! When nodes that could go are looked for, and what the planner must know of those on their way.

use super::{
    GATHER_IDLE, GATHER_MAX, Moving, Place, Removal, URGENT, URGENT_DOUBLINGS, acts, is_still_there,
};
use crate::claims::node_of;
use crate::request::PlanInput;
use crate::slots;
use crate::state::State;
use crate::time::MINUTE;
use crate::view::{Claim, Observation};
use std::collections::{BTreeMap, BTreeSet};

/// What the planner must know beside the snapshot.
pub(crate) fn input(state: &State, seen: &Observation) -> PlanInput {
    let (leaving, moving) = spoken_for(seen, on_its_way(seen));
    PlanInput {
        in_flight: slots::in_flight(state, seen),
        missing: state.stock.missing(seen.now),
        smaller: state.lessons.smaller.clone(),
        hopeless: state.lessons.hopeless(),
        statics: BTreeMap::new(),
        returns: BTreeMap::new(),
        leaving,
        moving,
        urgent: false,
    }
}

/// Claims whose nodes are to go.
pub(crate) fn on_its_way(seen: &Observation) -> impl Iterator<Item = (&Claim, &Removal)> {
    seen.claims.values().filter_map(|claim| Some((claim, claim.removal.as_ref()?)))
}

/// Nodes that are to go, and where their pods are to go.
pub(crate) fn spoken_for<'a>(
    seen: &'a Observation,
    removals: impl Iterator<Item = (&'a Claim, &'a Removal)>,
) -> (BTreeSet<String>, Vec<Moving>) {
    let (mut leaving, mut moving) = (BTreeSet::new(), Vec::new());
    // One that has to go by force meanwhile is planned anew, as if nothing were planned of it.
    let outlived = |claim: &Claim, removal: &Removal| {
        !removal.forced && (claim.notices.is_final() || seen.urgent.contains(&removal.node))
    };
    for (_, removal) in removals.filter(|(claim, removal)| !outlived(claim, removal)) {
        leaving.insert(removal.node.clone());
        for pod in removal.pods.iter().filter(|pod| is_still_there(seen, removal, pod)) {
            let to = match &pod.to {
                Some(Place::Node(node)) => node.clone(),
                Some(Place::Claim(name)) => {
                    let claim = seen.claims.get(name).and_then(|claim| claim.instance.as_deref());
                    let node = claim.and_then(|instance| node_of(seen, instance));
                    node.map_or_else(|| name.clone(), |node| node.name.clone())
                }
                None => continue,
            };
            moving.push(Moving { id: pod.id.clone(), uid: pod.uid.clone(), to });
        }
    }
    (leaving, moving)
}

/// Whether nodes that could go are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Not now.
    No,
    /// Not yet: those that go by force wait for others to come ([`is_gathering`]).
    Gathering,
    /// Now, and these go by force and are not on their way.
    Due(BTreeSet<String>),
}

/// Whether nodes that could go are looked for now. Pods that wait have precedence, unless that would go on for ever; nodes that go by
/// force have precedence over them.
pub(crate) fn look(state: &mut State, seen: &Observation, pods_wait: bool) -> Look {
    let Some(every) = state.settings.remove_every.filter(|_| acts(state)) else {
        state.gathered = None;
        return Look::No;
    };
    let due = *state.removals_due.get_or_insert(seen.now.plus(every));
    let urgent = urgent(seen);
    if urgent.is_empty() {
        state.urgent_asked = 0;
        state.urgent_known.clear();
        state.gathered = None;
    } else if is_now(state, seen, &urgent) {
        return Look::Due(urgent);
    }
    if is_gathering(state) {
        return Look::Gathering;
    }
    // What is approved goes on first.
    let busy = state.course.is_some()
        || !state.rests.is_empty()
        || on_its_way(seen).any(|(claim, _)| !claim.deleting);
    let late = seen.now.since(due) >= every;
    let is_due = !busy && seen.now >= due && (!pods_wait || late) && state.no_launching(seen.now).is_none();
    if is_due { Look::Due(urgent) } else { Look::No }
}

/// Whether these that go by force are planned for now.
fn is_now(state: &mut State, seen: &Observation, urgent: &BTreeSet<String>) -> bool {
    let now = seen.now;
    let new = urgent.difference(&state.urgent_known).count();
    state.gathered = match state.gathered {
        _ if new == 0 => None,
        Some((count, first, last)) if count == new => Some((new, first, last)),
        Some((_, first, _)) => Some((new, first, now)),
        None => Some((new, now, now)),
    };
    let pause = URGENT << state.urgent_asked.saturating_sub(1);
    is_free(state)
        && match state.gathered {
            // Those that came too late for the last plan do not wait as long as those it had no answer for.
            Some((_, first, last)) => now.since(last) >= GATHER_IDLE || now.since(first) >= GATHER_MAX,
            None => state.removals_asked.is_none_or(|asked| now.since(asked) >= pause),
        }
}

/// Whether nodes that go by force wait for others to come, and for nothing else: no other plan is begun meanwhile.
pub(crate) fn is_gathering(state: &State) -> bool {
    state.planning.is_none() && state.gathered.is_some() && is_free(state)
}

/// Whether no plan is just beginning.
fn is_free(state: &State) -> bool {
    state.course.as_ref().is_none_or(|course| course.launched)
}

/// Whether nodes go by force that are not on their way and that no plan knew, and they would be planned for at once.
pub(crate) fn is_pressing(state: &State, seen: &Observation) -> bool {
    acts(state) && is_free(state) && !urgent(seen).is_subset(&state.urgent_known)
}

/// Nodes that go by force and are not on their way.
fn urgent(seen: &Observation) -> BTreeSet<String> {
    let planned: BTreeSet<&String> = on_its_way(seen)
        .map(|(_, removal)| removal)
        .filter(|removal| removal.forced)
        .map(|removal| &removal.node)
        .collect();
    let ours = seen.claims.values().filter(|claim| claim.ours && !claim.deleting);
    let ours: BTreeSet<Option<&String>> = ours.map(|claim| claim.instance.as_ref()).collect();
    let leaves = |node: &String| ours.contains(&seen.nodes.get(node).and_then(|node| node.instance.as_ref()));
    // No plan removes nodes of static pools: they are drained by themselves.
    let noticed = seen
        .claims
        .values()
        .filter(|claim| claim.notices.is_final() && !seen.statics.contains_key(&claim.pool));
    let noticed =
        noticed.filter_map(|claim| node_of(seen, claim.instance.as_deref()?)).map(|node| &node.name);
    let all = seen.urgent.iter().chain(noticed);
    all.filter(|node| leaves(node) && !planned.contains(node)).cloned().collect()
}

/// Nodes that could go were asked for, and these go by force.
pub(crate) fn asked(state: &mut State, seen: &Observation, urgent: BTreeSet<String>) {
    let every = state.settings.remove_every.unwrap_or(MINUTE);
    state.removals_due = Some(seen.now.plus(every << state.setbacks));
    state.removals_asked = Some(seen.now);
    // A node that cannot be planned for must not keep pods waiting for ever. One that is new begins anew.
    let again = if urgent.is_subset(&state.urgent_known) { state.urgent_asked } else { 0 };
    state.urgent_asked = (again + 1).min(URGENT_DOUBLINGS);
    state.urgent_known = urgent;
    state.gathered = None;
}
