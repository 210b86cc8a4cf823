//! Approved plans that remove nodes, after the process that carried them out has ended: what is left of them goes on under the same approval.
//!
//! What was written on claims goes on by itself ([`crate::removal`]). What was not, nobody but the plan's object knows of: it is looked at as it was
//! before the plan was begun, and then carried out wave by wave like the rest. In one respect it is judged as a plan that is under way: pods
//! that have come to its nodes since, mostly successors of those that have left others, move with the rest if the referee has a place for
//! them. A plan that this process has cut short stays so.

use crate::approved::{self, ProposedWave, removals};
use crate::removal::{Course, PlannedWave, Removal};
use crate::request::Request;
use crate::review::{self, Proposal, Unmet, Verdict};
use crate::state::State;
use crate::view::{Observation, PlannedBatch};
use std::collections::{BTreeMap, BTreeSet};

/// What is left of a plan that was begun by somebody else, and of which nothing is carried out here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Waves with nodes that are there, with these, and with launches that have no claim.
    proposal: Proposal,
    /// Actions that somebody has to see to: launches without a claim, and removals that are not written, or were before what they need was
    /// launched.
    left: Vec<String>,
}

/// Looks at what is left of plans; whoever asks later in the step asks what is found here.
pub(crate) fn look(state: &mut State, seen: &Observation) {
    let there = |plan: &String| seen.executing.contains_key(plan) || seen.proposals.contains_key(plan);
    state.cut.retain(there);
    let open = seen.executing.iter().filter(|(_, proposal)| is_open(state, proposal));
    let rests = open.map(|(plan, proposal)| (plan.clone(), rest(seen, proposal)));
    state.rests = rests.filter(|(_, rest)| !rest.left.is_empty()).collect();
}

/// Does what is next for plans that were begun and of which nobody carries out the rest.
pub(crate) fn tend(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    for (plan, rest) in std::mem::take(&mut state.rests) {
        if let Some(unmet) = review::unmet_of_rest(state, seen, &rest.proposal) {
            refuse(state, seen, &plan, unmet, requests);
            continue;
        }
        if !review::waits(state, seen, &rest.proposal) {
            // What is written and goes on by itself speaks for room; what is asked about does not.
            let beside = |removal: &Removal| removal.plan != plan || !rest.left.contains(&removal.action);
            review::verify(state, seen, &plan, rest.left.clone(), (beside, BTreeMap::new()), requests);
        }
        state.rests.insert(plan, rest);
    }
}

/// Whether what takes a node's place is still to be launched: its wave is being written, or was by a process that has ended, and is gone on
/// with.
pub(crate) fn is_intended(state: &State, seen: &Observation, removal: &Removal) -> bool {
    state.course.as_ref().is_some_and(|course| course.has_intended(removal))
        || seen.executing.get(&removal.plan).is_some_and(|proposal| is_open(state, proposal))
}

impl State {
    /// Whether further waves of a plan with removals are to come, as the last step found.
    #[must_use]
    pub fn goes_on(&self, plan: &str) -> bool {
        self.removing() == Some(plan) || self.rests.contains_key(plan)
    }
}

/// It was begun by somebody else, and nothing of it is carried out here.
fn is_open(state: &State, proposal: &Proposal) -> bool {
    let plan = proposal.plan.as_str();
    !proposal.waves.is_empty() && state.removing() != Some(plan) && !state.cut.contains(plan)
}

/// Whether a node is there that is to go and does not go yet.
fn is_there(seen: &Observation, removal: &Removal) -> bool {
    seen.claims.get(&removal.claim).is_some_and(|claim| claim.ours && !claim.deleting)
}

/// Whether that is written on its claim.
fn is_written(seen: &Observation, removal: &Removal) -> bool {
    let written = seen.claims.get(&removal.claim).and_then(|claim| claim.removal.as_ref());
    written.is_some_and(|written| written.plan == removal.plan)
}

/// What of a plan is not done.
fn rest(seen: &Observation, proposal: &Proposal) -> Rest {
    let (mut waves, mut left) = (Vec::new(), Vec::new());
    let missing = proposal.actions.iter().filter(|one| !seen.claims.contains_key(&proposal.claim_of(one)));
    let missing: BTreeSet<&str> = missing.map(|action| action.action.as_str()).collect();
    let mut launches: BTreeSet<&str> = BTreeSet::new();
    for wave in &proposal.waves {
        let removals: Vec<Removal> =
            wave.removals.iter().filter(|removal| is_there(seen, removal)).cloned().collect();
        if removals.is_empty() {
            continue;
        }
        let own = wave.launches.iter().filter(|launch| missing.contains(launch.as_str()));
        launches.extend(own.clone().map(String::as_str));
        let own: Vec<String> = own.cloned().collect();
        let unwritten = removals.iter().filter(|removal| !is_written(seen, removal) || !own.is_empty());
        left.extend(unwritten.map(|removal| removal.action.clone()));
        left.extend(own.iter().cloned());
        waves.push(ProposedWave { launches: own, removals });
    }
    let gone: BTreeSet<String> = removals(proposal)
        .filter(|removal| !is_there(seen, removal))
        .map(|removal| format!("Node/{}", removal.node))
        .collect();
    let actions = proposal.actions.iter().filter(|action| launches.contains(action.action.as_str()));
    let versions = proposal.versions.iter().filter(|(object, _)| !gone.contains(*object));
    let proposal = Proposal {
        actions: actions.cloned().collect(),
        versions: versions.map(|(object, version)| (object.clone(), version.clone())).collect(),
        waves,
        ..proposal.clone()
    };
    Rest { proposal, left }
}

/// It is not carried out any further, and says why.
fn refuse(state: &mut State, seen: &Observation, plan: &str, unmet: Unmet, requests: &mut Vec<Request>) {
    state.cut.insert(plan.to_owned());
    let verdict = Verdict::Refused(unmet);
    state.ask(Request::Judge { plan: plan.to_owned(), verdict }, seen.now, requests);
}

/// The referee has looked at the rest of a plan.
pub(crate) fn verified(
    state: &mut State,
    seen: &Observation,
    plan: &str,
    outcome: &Result<Box<PlannedBatch>, Unmet>,
    requests: &mut Vec<Request>,
) {
    let Some(proposal) = seen.executing.get(plan).filter(|proposal| is_open(state, proposal)) else { return };
    let rest = rest(seen, proposal).proposal;
    match (review::unmet_of_rest(state, seen, &rest), outcome) {
        (Some(unmet), _) => refuse(state, seen, plan, unmet, requests),
        (None, Err(unmet)) => refuse(state, seen, plan, unmet.clone(), requests),
        (None, Ok(_)) if review::waits(state, seen, &rest) => {}
        (None, Ok(batch)) => {
            let intents = || batch.waves.iter().flat_map(|wave| &wave.launches);
            let planned = |wave: &ProposedWave| PlannedWave {
                launches: intents().filter(|one| wave.launches.contains(&one.action)).cloned().collect(),
                removals: wave.removals.clone(),
            };
            let mut waves: Vec<PlannedWave> = rest.waves.iter().map(planned).collect();
            approved::approve(&mut waves);
            state.course = Some(Course::new(plan.to_owned(), waves, seen.now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept;
    use crate::fixtures::{self, PLAN, agreed, come, leaver, nodes, on, said, word};
    use crate::removal::Place;
    use crate::review::ProposedAction;
    use crate::settings::Mode;
    use crate::time::{MINUTE, Time};
    use crate::view::Answer;

    const POOL: &str = "NodePool/default";

    fn removal(node: &str, wave: u32) -> Removal {
        Removal { wave, ..fixtures::removal(node, vec![leaver(node, on("c"))]) }
    }

    /// Three nodes with a pod each, of a plan that removes `a` and then `b`; `a` is gone.
    fn scene() -> Observation {
        let mut seen = nodes(Time(100_000), &["b", "c"]);
        for node in ["b", "c"] {
            seen.versions.insert(format!("Node/{node}"), format!("uid-{node}"));
            come(&mut seen, node, node);
        }
        seen.versions.insert(POOL.to_owned(), "uid@1".to_owned());
        let versions = ["a", "b", "c"].map(|n| (format!("Node/{n}"), format!("uid-{n}")));
        let wave =
            |node: &str, wave| ProposedWave { launches: Vec::new(), removals: vec![removal(node, wave)] };
        let proposal = Proposal {
            plan: PLAN.to_owned(),
            created: Time(50_000),
            expires: Time(100_000 + 10 * MINUTE),
            approved: true,
            versions: versions.into_iter().chain([(POOL.to_owned(), "uid@1".to_owned())]).collect(),
            waves: vec![wave("a", 1), wave("b", 2)],
            ..Proposal::default()
        };
        seen.executing.insert(PLAN.to_owned(), proposal);
        seen
    }

    fn write(seen: &mut Observation, node: &str, deleting: bool) {
        let written = Removal { approved: true, since: seen.now, ..removal(node, 2) };
        let claim = seen.claims.entry(format!("claim-{node}")).or_default();
        (claim.name, claim.ours, claim.deleting) = (format!("claim-{node}"), true, deleting);
        claim.removal = Some(written);
    }

    fn verified() -> Answer {
        agreed(vec![PlannedWave { launches: Vec::new(), removals: vec![removal("b", 1)] }])
    }

    fn state() -> State {
        fixtures::state(Mode::Review)
    }

    /// What is asked for about the plan, in words; what becomes of nodes that are written is told elsewhere.
    fn play(state: &mut State, seen: &Observation) -> Vec<String> {
        said(state, seen, |request| match request {
            Request::Verify { input, .. } => Some(format!("{} beside {:?}", word(request)?, input.leaving)),
            Request::Recheck { .. } | Request::Leave { .. } | Request::Evict { .. } => None,
            _ => word(request),
        })
    }

    #[test]
    fn waves_that_were_not_begun_are_looked_at_and_carried_out() {
        let (mut state, mut seen) = (state(), scene());
        // A successor has come to a node of a later wave meanwhile: it moves, too, if the referee finds it a place.
        come(&mut seen, "successor", "b");
        assert_eq!(play(&mut state, &seen), ["verify remove/b beside {}"]);
        assert!(state.goes_on(PLAN));
        seen.answers = vec![verified()];
        play(&mut state, &seen);
        seen.answers.clear();
        assert_eq!(state.removing(), Some(PLAN));
        write(&mut seen, "b", false);
        assert_eq!(play(&mut state, &seen), Vec::<String>::new());
        // It goes, and that is all of it.
        write(&mut seen, "b", true);
        play(&mut state, &seen);
        seen.claims.remove("claim-b");
        seen.nodes.remove("b");
        assert_eq!(play(&mut state, &seen), Vec::<String>::new());
        assert!(!state.goes_on(PLAN));
    }

    #[test]
    fn they_are_written_as_approved_while_the_wave_before_still_goes() {
        let (mut state, mut seen) = (state(), scene());
        write(&mut seen, "a", true);
        assert_eq!(play(&mut state, &seen), ["verify remove/b beside {\"a\"}"]);
        seen.answers = vec![verified()];
        assert_eq!(play(&mut state, &seen), ["intend claim-b, approved"]);
    }

    #[test]
    fn what_does_not_hold_any_more_is_named_once_and_nothing_follows() {
        type Change = fn(&mut Observation);
        let table: [(Change, &str); 4] = [
            (
                |seen| seen.now = Time(100_000 + 10 * MINUTE),
                "Expired: the rest of it was not begun before it expired",
            ),
            (
                |seen| drop(seen.versions.insert(POOL.to_owned(), "uid@2".to_owned())),
                "Stale: NodePool/default has changed since it was planned",
            ),
            (
                |seen| seen.nodes.get_mut("b").expect("b").uid = "other".to_owned(),
                "Stale: remove/b: node b is gone, or another one by now",
            ),
            (
                |seen| {
                    let newer = Proposal {
                        plan: "sha256:b".to_owned(),
                        created: Time(60_000),
                        shown: true,
                        ..seen.executing[PLAN].clone()
                    };
                    seen.proposals.insert(newer.plan.clone(), newer);
                },
                "Superseded: the newer plan sha256:b was approved for its pods",
            ),
        ];
        for (change, words) in table {
            let (mut state, mut seen) = (state(), scene());
            change(&mut seen);
            let said = play(&mut state, &seen);
            assert!(said.contains(&words.to_owned()), "{words}: {said:?}");
            assert!(!state.goes_on(PLAN));
            seen.now = seen.now.plus(MINUTE / 2);
            let again = play(&mut state, &seen);
            assert!(
                !again.contains(&words.to_owned())
                    && !again.iter().any(|one| one.contains("remove/b beside"))
            );
        }
        // Nor if the referee has something against it.
        let (mut state, mut seen) = (state(), scene());
        play(&mut state, &seen);
        let unmet = Unmet::new(crate::Ground::Infeasible, "no room".to_owned());
        seen.answers = vec![Answer::Verified { plan: PLAN.to_owned(), outcome: Err(unmet) }];
        assert_eq!(play(&mut state, &seen), ["Infeasible: no room"]);
        assert_eq!(state.removing(), None);
    }

    #[test]
    fn what_was_written_before_its_launch_waits_for_it_and_no_other_plan_is_made() {
        let (mut state, mut seen) = (state(), scene());
        write(&mut seen, "b", false);
        let claim = accept::name_of(PLAN, "launch/new-0001", "default");
        let of_wave = |removal: &mut Removal| removal.needs = vec![claim.clone()];
        let proposal = seen.executing.get_mut(PLAN).expect("it");
        let action = "launch/new-0001".to_owned();
        proposal.actions.push(ProposedAction {
            action: action.clone(),
            pool: "default".to_owned(),
            pods: Vec::new(),
        });
        proposal.waves[1].launches.push(action);
        let place = Some(Place::Claim(claim.clone()));
        of_wave(&mut proposal.waves[1].removals[0]);
        proposal.waves[1].removals[0].pods[0].to.clone_from(&place);
        let written = seen.claims.get_mut("claim-b").and_then(|claim| claim.removal.as_mut()).expect("it");
        of_wave(written);
        written.pods[0].to = place;
        for _ in 0..200 {
            let said = play(&mut state, &seen);
            let fine = |one: &String| one == "verify remove/b launch/new-0001 beside {}";
            assert!(said.iter().all(fine), "{said:?}");
            seen.now = seen.now.plus(500);
        }
        // Nobody goes on with it: it stays.
        seen.executing.clear();
        let said = play(&mut state, &seen);
        assert!(
            said.iter().any(|one| one.starts_with("keep claim-b: what was to take its place")),
            "{said:?}"
        );
    }

    #[test]
    fn a_plan_that_was_cut_short_here_stays_so() {
        let (mut state, mut seen) = (state(), scene());
        play(&mut state, &seen);
        seen.answers = vec![verified()];
        play(&mut state, &seen);
        seen.answers.clear();
        state.settings.stop = true;
        play(&mut state, &seen);
        state.settings.stop = false;
        let said = play(&mut state, &seen);
        assert!(said.iter().all(|one| !one.contains("remove/b beside")), "{said:?}");
    }
}
