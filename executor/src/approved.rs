//! Removals in review: what they rely on, and when an approved plan of them may begin.
//!
//! What is begun is carried out by [`crate::removal`], as in auto mode, and is looked at again wave by wave. Here is what must hold before
//! anything of it is begun: the nodes, their claims and who is on them are what people have read.

use crate::removal::{self, PlannedWave, Removal};
use crate::review::{Ground, Proposal, Unmet};
use crate::state::State;
use crate::view::{Observation, Pod};
use std::collections::BTreeSet;
use stowage_models::objects::PodRef;

/// What may be done at once, of a plan that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProposedWave {
    /// Names of its launches.
    pub launches: Vec<String>,
    /// Its removals.
    pub removals: Vec<Removal>,
}

/// Removals of a plan, in order.
pub(crate) fn removals(proposal: &Proposal) -> impl Iterator<Item = &Removal> {
    proposal.waves.iter().flat_map(|wave| &wave.removals)
}

/// The first precondition of removals that does not hold. `begun`: who has come to a node since moves with the others.
pub(crate) fn unmet(seen: &Observation, proposal: &Proposal, begun: bool) -> Option<Unmet> {
    let stale = |text: String| Some(Unmet::new(Ground::Stale, text));
    for one in removals(proposal).chain(&proposal.returns) {
        let (action, name) = (&one.action, &one.claim);
        let Some(claim) = seen.claims.get(name) else {
            return stale(format!("{action}: NodeClaim {name} is gone"));
        };
        if !claim.ours {
            let text =
                format!("{action}: NodeClaim {name} was not made by this controller, which leaves it alone");
            return Some(Unmet::new(Ground::Infeasible, text));
        }
        if claim.deleting {
            return stale(format!("{action}: NodeClaim {name} is being deleted already"));
        }
        if let Some(other) = claim.removal.as_ref().filter(|other| other.plan != proposal.plan) {
            return Some(Unmet::new(
                Ground::Superseded,
                format!("{action}: it is to go by plan {} already", other.plan),
            ));
        }
        let Some(node) = seen.nodes.get(&one.node).filter(|node| node.uid == one.uid) else {
            return stale(format!("{action}: node {} is gone, or another one by now", one.node));
        };
        // What is read is a node, what is deleted a claim: of another machine's nobody has read.
        if claim.instance.is_none() || claim.instance != node.instance {
            return stale(format!("{action}: NodeClaim {name} is not that of node {}", one.node));
        }
        // Nodes of static pools are drained with whatever is on them: no pod of theirs was read of.
        if let Some(pod) = newcomer(seen, one).filter(|_| !begun && !proposal.waves.is_empty()) {
            return stale(format!("{action}: pod {pod} has come to the node since it was planned"));
        }
    }
    pointless(seen, proposal)
        .and_then(|launch| stale(format!("{launch}: every pod that was to move there is gone")))
}

/// A pod that would be evicted and that nobody has read of.
fn newcomer<'a>(seen: &'a Observation, one: &Removal) -> Option<&'a PodRef> {
    let known: BTreeSet<&str> = one.pods.iter().map(|pod| pod.uid.as_str()).collect();
    // Pods of DaemonSets end with their node.
    let evicted =
        |pod: &Pod| pod.drain.as_ref().is_some_and(|drain| drain.going.is_none() && drain.tier % 2 == 0);
    let here = seen.pods.iter().filter(|(_, pod)| pod.node.as_ref() == Some(&one.node) && evicted(pod));
    let mut strange = here.filter(|(_, pod)| !known.contains(pod.uid.as_str()));
    strange.next().map(|(id, _)| id)
}

/// A launch that nothing waits for any more.
fn pointless<'a>(seen: &Observation, proposal: &'a Proposal) -> Option<&'a str> {
    let there: BTreeSet<&str> = seen.pods.values().map(|pod| pod.uid.as_str()).collect();
    let wanted: BTreeSet<&str> = removals(proposal)
        .flat_map(|one| &one.pods)
        .filter(|pod| there.contains(pod.uid.as_str()))
        .filter_map(|pod| match &pod.to {
            Some(removal::Place::Claim(claim)) => Some(claim.as_str()),
            _ => None,
        })
        .collect();
    let idle = |action: &&crate::review::ProposedAction| {
        action.pods.is_empty() && !wanted.contains(proposal.claim_of(action).as_str())
    };
    proposal.actions.iter().filter(|_| !proposal.waves.is_empty()).find(idle).map(|one| one.action.as_str())
}

/// Whether a plan with removals has to wait: nodes do not go now, or others are on their way out, and what these leave is not known yet.
pub(crate) fn waits(state: &State, seen: &Observation, proposal: &Proposal) -> bool {
    let own = |removal: &Removal| removal.plan == proposal.plan;
    !proposal.waves.is_empty()
        && (!removal::acts(state)
            || state.removing().is_some_and(|plan| plan != proposal.plan)
            || removal::on_its_way(seen).any(|(_, removal)| !own(removal)))
}

/// What of a plan was written on claims already.
pub(crate) fn is_written(seen: &Observation, plan: &str) -> bool {
    removal::on_its_way(seen).any(|(claim, removal)| claim.ours && removal.plan == plan)
}

/// Names of removals that were not written, of claims that are there.
pub(crate) fn left(seen: &Observation, proposal: &Proposal) -> Vec<String> {
    let stays = |one: &&Removal| {
        seen.claims.get(&one.claim).is_some_and(|claim| claim.removal.is_none() && !claim.deleting)
    };
    removals(proposal).filter(stays).map(|one| one.action.clone()).collect()
}

/// The waves of a plan that was approved.
pub(crate) fn approve(waves: &mut [PlannedWave]) {
    for removal in waves.iter_mut().flat_map(|wave| &mut wave.removals) {
        removal.approved = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::name_of;
    use crate::fixtures::{self, PLAN, agreed, id, leaver, node, nodes, on, pod_on, said, word, write};
    use crate::removal::Place;
    use crate::request::Intent;
    use crate::review::ProposedAction;
    use crate::settings::{Mode, Review, Settings};
    use crate::time::Time;
    use crate::view::{Answer, Claim, Drain, PlannedBatch, PlannedPod};

    /// Two nodes, `a` and `b`, of which `a` goes: one pod of it to `b`, one to a machine that is launched for it and for a pod that waits.
    fn scene() -> Observation {
        let mut seen = nodes(Time(100_000), &["a", "b"]);
        fixtures::come(&mut seen, "one", "a");
        fixtures::come(&mut seen, "two", "a");
        seen.pods.insert(id("new"), Pod { uid: "uid-new".to_owned(), pending: true, ..Pod::default() });
        seen.proposals.insert(PLAN.to_owned(), proposal());
        seen
    }

    fn waiting() -> PlannedPod {
        PlannedPod { id: id("new"), uid: "uid-new".to_owned(), direct: false }
    }

    fn removal() -> Removal {
        let launched = name_of(PLAN, "launch/new-0001", "default");
        fixtures::removal("a", vec![leaver("one", on("b")), leaver("two", Place::Claim(launched))])
    }

    fn proposal() -> Proposal {
        let action = ProposedAction {
            action: "launch/new-0001".to_owned(),
            pool: "default".to_owned(),
            pods: vec![waiting()],
        };
        Proposal {
            plan: PLAN.to_owned(),
            created: Time(90_000),
            expires: Time(400_000),
            shown: true,
            approved: true,
            actions: vec![action],
            waves: vec![ProposedWave {
                launches: vec!["launch/new-0001".to_owned()],
                removals: vec![removal()],
            }],
            ..Proposal::default()
        }
    }

    fn verified() -> Answer {
        let intent = Intent {
            action: "launch/new-0001".to_owned(),
            pool: "default".to_owned(),
            pods: vec![waiting()],
            ..Intent::default()
        };
        agreed(vec![PlannedWave { launches: vec![intent], removals: vec![removal()] }])
    }

    fn state() -> State {
        fixtures::state(Mode::Review)
    }

    fn play(state: &mut State, seen: &Observation) -> Vec<String> {
        said(state, seen, word)
    }

    fn intend(seen: &mut Observation, approved: bool) {
        write(seen, Removal { approved, since: seen.now, ..removal() });
    }

    #[test]
    fn what_was_approved_goes_as_in_auto_mode_and_nothing_else_does() {
        let (mut state, mut seen) = (state(), scene());
        assert_eq!(play(&mut state, &seen), ["verify launch/new-0001 remove/a"]);
        seen.answers = vec![verified()];
        assert_eq!(play(&mut state, &seen), ["intend claim-a, approved"]);
        seen.answers.clear();
        assert_eq!(
            play(&mut state, &seen),
            Vec::<String>::new(),
            "it is begun when its first wave is written"
        );
        intend(&mut seen, true);
        assert_eq!(play(&mut state, &seen), ["create"]);
        let name = name_of(PLAN, "launch/new-0001", "default");
        let mut coming = Claim { name: name.clone(), ours: true, plan: PLAN.to_owned(), ..Claim::default() };
        seen.claims.insert(name.clone(), coming.clone());
        assert_eq!(play(&mut state, &seen), ["executing"]);
        // Ready: it is looked at like any other.
        seen.proposals.clear();
        let ready = Some(seen.now);
        (coming.instance, coming.initialized, coming.registered) = (Some("i-c".to_owned()), ready, ready);
        seen.claims.insert(name, coming);
        seen.nodes.insert("c".to_owned(), node("c"));
        assert_eq!(play(&mut state, &seen), ["recheck 1"]);
        // What nobody has approved is let go of in review, unless removals need no approval.
        intend(&mut seen, false);
        assert_eq!(
            play(&mut State::new(state.settings.clone()), &seen),
            ["keep claim-a: nodes are not removed any more"]
        );
        let review = Review { removals: false, ..Review::default() };
        let unasked = Settings { mode: Mode::Review, review, ..Settings::default() };
        assert_eq!(play(&mut State::new(unasked), &seen), ["recheck 1"]);
        // Nor is anything begun that was not approved.
        let mut seen = scene();
        seen.proposals.get_mut(PLAN).expect("it").approved = false;
        assert_eq!(play(&mut self::state(), &seen), Vec::<String>::new());
        seen.answers = vec![verified()];
        assert_eq!(play(&mut self::state(), &seen), ["proposed"]);
    }

    #[test]
    fn what_was_approved_goes_though_consolidation_is_off_and_a_stop_holds_it() {
        let mut seen = scene();
        intend(&mut seen, true);
        seen.proposals.clear();
        let mut needless = removal();
        (needless.needs, needless.approved, needless.since) = (Vec::new(), true, seen.now);
        write(&mut seen, needless);
        let off = Settings { consolidate: false, ..state().settings };
        assert_eq!(play(&mut State::new(off.clone()), &seen), ["recheck 1"]);
        let stopped = Settings { stop: true, ..off };
        assert_eq!(play(&mut State::new(stopped), &seen), ["keep claim-a: everything is stopped"]);
        // Stopped before anything was written: it may begin when that is over.
        let (mut state, mut seen) = (state(), scene());
        play(&mut state, &seen);
        seen.answers = vec![verified()];
        play(&mut state, &seen);
        seen.answers.clear();
        state.settings.stop = true;
        assert_eq!(play(&mut state, &seen), Vec::<String>::new());
        state.settings.stop = false;
        assert_eq!(play(&mut state, &seen), ["verify launch/new-0001 remove/a"]);
    }

    #[test]
    fn the_first_precondition_of_a_removal_that_does_not_hold_is_named() {
        type Change = fn(&mut Observation);
        let gone = |seen: &mut Observation, name: &str| drop(seen.pods.remove(&id(name)));
        let come = |seen: &mut Observation, tier: u8| {
            let drain = Some(Drain { tier, ..Drain::default() });
            seen.pods.insert(id("x"), Pod { drain, ..pod_on("x", "a") });
        };
        let table: [(Change, &str); 10] = [
            (|seen| drop(seen.claims.remove("claim-a")), "Stale: remove/a: NodeClaim claim-a is gone"),
            (
                |seen| seen.claims.get_mut("claim-a").expect("it").ours = false,
                "Infeasible: remove/a: NodeClaim claim-a was not made by this controller, which leaves it alone",
            ),
            (
                |seen| seen.claims.get_mut("claim-a").expect("it").deleting = true,
                "Stale: remove/a: NodeClaim claim-a is being deleted already",
            ),
            (
                |seen| {
                    let other = Removal { plan: "other".to_owned(), ..removal() };
                    seen.claims.get_mut("claim-a").expect("it").removal = Some(other);
                },
                "Superseded: remove/a: it is to go by plan other already",
            ),
            (
                |seen| seen.nodes.get_mut("a").expect("it").uid = "other".to_owned(),
                "Stale: remove/a: node a is gone, or another one by now",
            ),
            (|seen| drop(seen.nodes.remove("a")), "Stale: remove/a: node a is gone, or another one by now"),
            (
                |seen| seen.claims.get_mut("claim-a").expect("it").instance = Some("i-b".to_owned()),
                "Stale: remove/a: NodeClaim claim-a is not that of node a",
            ),
            (
                |seen| {
                    seen.claims.get_mut("claim-a").expect("it").instance = None;
                    seen.nodes.get_mut("a").expect("it").instance = None;
                },
                "Stale: remove/a: NodeClaim claim-a is not that of node a",
            ),
            (|seen| drop(seen.pods.remove(&id("new"))), "Stale: launch/new-0001: pod default/new is gone"),
            (
                |seen| fixtures::come(seen, "x", "a"),
                "Stale: remove/a: pod default/x has come to the node since it was planned",
            ),
        ];
        for (change, words) in table {
            let mut seen = scene();
            change(&mut seen);
            let said = play(&mut state(), &seen);
            assert!(said.contains(&words.to_owned()), "{words}: {said:?}");
            assert!(
                said.iter().all(|one| !one.starts_with("verify") && !one.starts_with("intend")),
                "{said:?}"
            );
        }
        // A pod of a DaemonSet has come, and one that was to move has ended: no concern of it.
        let mut seen = scene();
        come(&mut seen, 1);
        gone(&mut seen, "two");
        assert_eq!(play(&mut state(), &seen), ["verify launch/new-0001 remove/a"]);
        // A launch for nobody is one.
        let alone = seen.proposals.get_mut(PLAN).expect("it");
        alone.actions[0].pods.clear();
        assert_eq!(
            play(&mut state(), &seen),
            ["Stale: launch/new-0001: every pod that was to move there is gone"]
        );
    }

    #[test]
    fn it_waits_while_others_are_on_their_way_and_two_of_a_node_exclude_each_other() {
        let mut seen = scene();
        let other = Removal {
            plan: "other".to_owned(),
            claim: "claim-b".to_owned(),
            node: "b".to_owned(),
            ..removal()
        };
        let other =
            Removal { uid: "uid-b".to_owned(), forced: true, since: seen.now, needs: Vec::new(), ..other };
        seen.claims.get_mut("claim-b").expect("it").removal = Some(other);
        let said = play(&mut state(), &seen);
        assert!(said.iter().all(|one| !one.starts_with("verify")), "{said:?}");
        // Its turn comes.
        seen.claims.get_mut("claim-b").expect("it").removal = None;
        assert_eq!(play(&mut state(), &seen), ["verify launch/new-0001 remove/a"]);
        let newer = Proposal {
            plan: "sha256:b".to_owned(),
            created: Time(95_000),
            actions: Vec::new(),
            ..proposal()
        };
        seen.proposals.insert(newer.plan.clone(), newer);
        let said = play(&mut state(), &seen);
        assert!(
            said.contains(&"Superseded: the newer plan sha256:b was approved for its pods".to_owned()),
            "{said:?}"
        );
    }

    #[test]
    fn a_process_that_ended_while_it_was_written_goes_on() {
        let mut seen = scene();
        intend(&mut seen, true);
        let mut state = state();
        let said = play(&mut state, &seen);
        // Its launch is not there: the node waits for whoever follows, or stays.
        assert!(said.contains(&"verify launch/new-0001".to_owned()), "{said:?}");
    }

    #[test]
    fn what_needs_approval_is_decided_for_a_plan_as_a_whole() {
        let settings = |launches: bool, removals: bool, forced: bool| Settings {
            mode: Mode::Review,
            review: Review { launches, removals, forced, ..Review::default() },
            ..Settings::default()
        };
        let intent = || Intent { action: "launch/new-0001".to_owned(), ..Intent::default() };
        let plan = |launches: usize, removals: &[bool]| {
            let removals = removals.iter().map(|forced| Removal { forced: *forced, ..removal() });
            let wave = PlannedWave { launches: vec![intent(); launches], removals: removals.collect() };
            PlannedBatch { waves: vec![wave], ..PlannedBatch::default() }
        };
        let launching = PlannedBatch { launches: vec![intent()], ..PlannedBatch::default() };
        for (rules, batch, waits) in [
            ((true, true, false), &launching, true),
            ((false, true, false), &launching, false),
            ((false, true, false), &plan(0, &[false]), true),
            ((false, true, false), &plan(1, &[false]), true),
            ((true, false, false), &plan(0, &[false]), false),
            ((true, false, false), &plan(1, &[false]), true),
            ((false, false, false), &plan(1, &[false]), false),
            // By force: not held up, with what takes its place; but for others in the same plan, or if the rules say so.
            ((true, true, false), &plan(1, &[true]), false),
            ((true, true, false), &plan(1, &[true, false]), true),
            ((true, true, true), &plan(1, &[true]), true),
            ((true, true, true), &PlannedBatch::default(), false),
        ] {
            let (launches, removals, forced) = rules;
            let settings = settings(launches, removals, forced);
            assert_eq!(settings.needs_approval(batch), waits, "{rules:?}");
            let auto = Settings { mode: Mode::Auto, ..settings };
            assert!(!auto.needs_approval(batch));
        }
    }
}
