//! Garbage collection both ways: machines that nobody claims, claims whose machine is gone.

use crate::claims::{give_up, node_of};
use crate::request::{Reason, Request};
use crate::state::State;
use crate::time::{ORPHAN_AFTER, VISIBLE_AFTER};
use crate::view::{InstanceState, Listing, Observation};

/// Listings in a row that must not have an instance before it counts as gone.
const UNSEEN: u32 = 2;

/// Counts how often in a row the instances of claims were not listed.
pub(crate) fn compare(state: &mut State, seen: &Observation, listing: &Listing) {
    let mut unseen = std::mem::take(&mut state.unseen);
    let claimed: Vec<&String> = seen.claims.values().filter_map(|claim| claim.instance.as_ref()).collect();
    unseen.retain(|instance, _| claimed.contains(&instance) && !listing.instances.contains_key(instance));
    for instance in claimed {
        if !listing.instances.contains_key(instance) {
            *unseen.entry(instance.clone()).or_default() += 1;
        }
    }
    state.unseen = unseen;
}

/// Ends what nobody claims, and gives up claims whose machine is gone.
pub(crate) fn collect(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    let Some(listing) = state.listing.clone() else { return };
    for instance in listing.instances.values() {
        // Three proofs: it bears our tags; no claim of that name was there after it had been listed, nor is one known
        // here; and it is old enough for its claim to have been seen.
        let claimed = listing.claims.contains(&instance.claim)
            || seen.claims.contains_key(&instance.claim)
            || state.drafts.contains_key(&instance.claim);
        let old = listing.begun.since(instance.launched) >= ORPHAN_AFTER;
        if instance.ours && !claimed && old && instance.state != InstanceState::Ended {
            let (instance, why) = (instance.id.clone(), Reason::Orphan);
            state.ask(Request::Terminate { instance, why, empty: None, detached: false }, seen.now, requests);
        }
    }
    for node in seen.nodes.values() {
        // A Node object that came after its claim had gone. The id says which machine it was, and the cloud that it ended.
        let Some(instance) = node.instance.as_ref().and_then(|id| listing.instances.get(id)) else {
            continue;
        };
        let claimed = seen.claims.values().any(|claim| claim.instance.as_ref() == Some(&instance.id));
        if instance.ours && instance.state == InstanceState::Ended && !claimed {
            let (node, uid) = (node.name.clone(), node.uid.clone());
            state.ask(Request::DeleteNode { node, uid }, seen.now, requests);
        }
    }
    for claim in seen.claims.values().filter(|claim| claim.ours && !claim.deleting) {
        let Some(instance) = &claim.instance else { continue };
        let ended = match listing.instances.get(instance) {
            Some(found) => found.state == InstanceState::Ended,
            None => {
                let launched = claim.launched.unwrap_or(claim.created);
                let unseen = state.unseen.get(instance).copied().unwrap_or_default();
                let ready = node_of(seen, instance).is_some_and(|node| node.ready);
                unseen >= UNSEEN && seen.now.since(launched) >= VISIBLE_AFTER && !ready
            }
        };
        if ended {
            give_up(state, seen, &claim.name, Reason::InstanceGone, requests);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Key, Verb};
    use crate::settings::{Mode, Settings};
    use crate::step::step;
    use crate::time::{MINUTE, Time};
    use crate::view::{Answer, Claim, Instance, Node};

    /// A claim whose machine has a node, and what a listing shows of the machine.
    fn seen(now: i64, ready: bool, listed: Option<Option<InstanceState>>) -> Observation {
        let claim = Claim {
            name: "claim".to_owned(),
            ours: true,
            instance: Some("i-1".to_owned()),
            launched: Some(Time(0)),
            registered: Some(Time(1)),
            initialized: Some(Time(2)),
            ..Claim::default()
        };
        let node =
            Node { name: "node".to_owned(), instance: Some("i-1".to_owned()), ready, ..Node::default() };
        let answers = listed.map(|state| {
            let instance = state.map(|state| Instance {
                id: "i-1".to_owned(),
                claim: "claim".to_owned(),
                ours: true,
                state,
                ..Instance::default()
            });
            let instances = instance.into_iter().map(|one| (one.id.clone(), one)).collect();
            Answer::Listed(Listing { begun: Time(now), instances, claims: ["claim".to_owned()].into() })
        });
        Observation {
            now: Time(now),
            synced: true,
            leader: true,
            claims: [(claim.name.clone(), claim)].into(),
            nodes: [(node.name.clone(), node)].into(),
            answers: answers.into_iter().collect(),
            ..Observation::default()
        }
    }

    fn given_up(requests: &[Request]) -> bool {
        requests.iter().any(|one| matches!(one, Request::DeleteClaim { why: Reason::InstanceGone, .. }))
    }

    fn auto() -> State {
        State::new(Settings { mode: Mode::Auto, ..Settings::default() })
    }

    /// A machine that ended and no message said so: the listing does, and its claim is given up at once.
    #[test]
    fn a_machine_that_ended_without_a_word_is_found_by_the_listing() {
        let (state, requests) = step(auto(), &seen(10 * MINUTE, true, None));
        assert!(requests.contains(&Request::List) && !given_up(&requests));
        let (state, requests) = step(state, &seen(10 * MINUTE, true, Some(Some(InstanceState::Running))));
        assert!(!given_up(&requests));
        assert!(!state.is_under_way(&Key { verb: Verb::List, object: String::new() }, Time(12 * MINUTE)));
        let (state, requests) = step(state, &seen(12 * MINUTE, true, None));
        assert!(requests.contains(&Request::List), "it is asked every two minutes");
        let (_, requests) = step(state, &seen(12 * MINUTE, true, Some(Some(InstanceState::Ended))));
        assert!(given_up(&requests), "whatever its node says");
    }

    /// One that is not listed at all has to be missed twice, and its node must not be well: EC2's lists are late at times.
    #[test]
    fn a_machine_that_is_not_listed_is_missed_twice_first() {
        let absent = |ready| {
            let (state, first) = step(auto(), &seen(10 * MINUTE, ready, Some(None)));
            let (_, second) = step(state, &seen(12 * MINUTE, ready, Some(None)));
            (given_up(&first), given_up(&second))
        };
        assert_eq!(absent(false), (false, true));
        assert_eq!(absent(true), (false, false), "a node that is ready has a machine");
    }
}
