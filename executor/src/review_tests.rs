//! Plans in review: what they rely on, and what becomes of them.

use super::*;
use crate::request::Intent;
use crate::settings::Settings;
use crate::step::step;
use crate::view::{Answer, Claim, Pod};
use stowage_models::objects::PodRef;

const POOL: &str = "NodePool/default";

fn pod(n: u8) -> PlannedPod {
    PlannedPod { id: PodRef(format!("default/pod-{n}")), uid: format!("uid-{n}"), direct: false }
}

/// Two actions of a pod each, approved, with everything as it was planned.
fn scene() -> (Observation, String) {
    let plan = format!("sha256:{:064}", 1);
    let action = |n: u8| ProposedAction {
        action: format!("launch/{n}"),
        pool: "default".to_owned(),
        pods: vec![pod(n)],
    };
    let mut seen = Observation { now: Time(100_000), synced: true, leader: true, ..Observation::default() };
    for n in 1..=2 {
        let PlannedPod { id, uid, .. } = pod(n);
        seen.pods.insert(id, Pod { uid, pending: true, ..Pod::default() });
    }
    seen.versions.insert(POOL.to_owned(), "uid@1".to_owned());
    let proposal = Proposal {
        plan: plan.clone(),
        created: Time(90_000),
        expires: Time(200_000),
        shown: true,
        approved: true,
        versions: seen.versions.clone(),
        actions: vec![action(1), action(2)],
        ..Proposal::default()
    };
    seen.proposals.insert(plan.clone(), proposal);
    (seen, plan)
}

fn verified(seen: &Observation, plan: &str) -> Answer {
    let intent = |one: &ProposedAction| Intent {
        action: one.action.clone(),
        pool: one.pool.clone(),
        pods: one.pods.clone(),
        ..Intent::default()
    };
    let launches = seen.proposals[plan].actions.iter().map(intent).collect();
    let batch = PlannedBatch { plan: plan.to_owned(), launches, ..PlannedBatch::default() };
    Answer::Verified { plan: plan.to_owned(), outcome: Ok(Box::new(batch)) }
}

fn state() -> State {
    State::new(Settings { mode: Mode::Review, ..Settings::default() })
}

fn of_review(requests: Vec<Request>) -> Vec<Request> {
    let mut found = requests;
    found.retain(|one| {
        matches!(one, Request::Verify { .. } | Request::Judge { .. } | Request::CreateClaim(_))
    });
    found
}

/// What becomes of the plan when the referee agrees at a moment at which that has changed.
fn verdict(change: impl Fn(&mut Observation, &mut Proposal)) -> (Option<Verdict>, usize) {
    let (mut seen, plan) = scene();
    let (state, requests) = step(state(), &seen);
    assert!(matches!(&of_review(requests)[..], [Request::Verify { actions, .. }] if actions.len() == 2));
    seen.answers = vec![verified(&seen, &plan)];
    let mut proposal = seen.proposals[&plan].clone();
    change(&mut seen, &mut proposal);
    seen.proposals.insert(plan.clone(), proposal);
    let (_, requests) = step(state, &seen);
    let requests = of_review(requests);
    let created = requests.iter().filter(|one| matches!(one, Request::CreateClaim(_))).count();
    let verdict = requests.into_iter().find_map(|one| match one {
        Request::Judge { plan: judged, verdict } if judged == plan => Some(verdict),
        _ => None,
    });
    (verdict, created)
}

#[test]
fn what_was_approved_is_carried_out_if_everything_still_holds() {
    // It stays approved until its claims are there: whoever follows makes those that are missing.
    assert_eq!(verdict(|_, _| ()), (None, 2));
    // Other pods, other pools, other plans that wait: no concern of it.
    let unrelated = |seen: &mut Observation, proposal: &mut Proposal| {
        seen.pods.insert(PodRef("default/x".to_owned()), Pod { pending: true, ..Pod::default() });
        seen.versions.insert("NodePool/other".to_owned(), "uid@9".to_owned());
        let newer =
            Proposal { plan: "n".to_owned(), created: Time(99_000), approved: false, ..proposal.clone() };
        seen.proposals.insert("n".to_owned(), newer);
    };
    assert_eq!(verdict(unrelated), (None, 2));
}

#[test]
fn the_first_precondition_that_does_not_hold_is_named_and_nothing_is_created() {
    type Change = fn(&mut Observation, &mut Proposal);
    // Each change is beside all that follow it in the order they are looked at: the first is named.
    let table: [(Change, Ground, &str); 9] = [
        (|_, one| one.broken = Some("its digest is another".to_owned()), Ground::Tampered, "digest"),
        (|_, one| one.rejected = true, Ground::Rejected, "rejected"),
        (|_, one| one.expires = Time(100_000), Ground::Expired, "expired"),
        (
            |seen, one| {
                let newer = Proposal { plan: "n".to_owned(), created: Time(99_000), ..one.clone() };
                seen.proposals.insert("n".to_owned(), newer);
            },
            Ground::Superseded,
            "newer plan n",
        ),
        (|seen, _| drop(seen.versions.insert(POOL.to_owned(), "uid@2".to_owned())), Ground::Stale, "changed"),
        (|seen, _| drop(seen.versions.remove(POOL)), Ground::Stale, "gone"),
        (
            |seen, _| {
                let claim =
                    Claim { ours: true, plan: "o".to_owned(), pods: vec![pod(2)], ..Claim::default() };
                seen.claims.insert("o".to_owned(), claim);
            },
            Ground::Superseded,
            "of plan o",
        ),
        (
            |seen, _| {
                if let Some(pod) = seen.pods.get_mut(&pod(2).id) {
                    pod.uid = "other".to_owned();
                }
            },
            Ground::Stale,
            "launch/2: pod default/pod-2 is another one",
        ),
        (
            |seen, _| {
                if let Some(pod) = seen.pods.get_mut(&pod(1).id) {
                    pod.pending = false;
                }
            },
            Ground::Stale,
            "launch/1: pod default/pod-1 does not wait",
        ),
    ];
    for (change, ground, words) in table {
        let (verdict, created) = verdict(change);
        let Some(Verdict::Refused(unmet)) = verdict else { panic!("{words}: {verdict:?}") };
        assert_eq!((unmet.ground, created), (ground, 0), "{}", unmet.text);
        assert!(unmet.text.contains(words), "{}", unmet.text);
    }
    let (verdict, _) = verdict(|seen, one| {
        one.expires = Time(0);
        seen.pods.clear();
    });
    assert!(matches!(verdict, Some(Verdict::Refused(unmet)) if unmet.ground == Ground::Expired));
}

#[test]
fn nothing_begins_that_was_not_approved_or_while_launches_are_paused() {
    assert_eq!(verdict(|_, one| (one.approved, one.shown) = (false, false)), (Some(Verdict::Proposed), 0));
    let (mut seen, plan) = scene();
    let mut state = state();
    for _ in 0..3 {
        state.lessons.not_launched("x", &crate::Failure::Later("denied".to_owned()), seen.now);
    }
    let (state, requests) = step(state, &seen);
    assert_eq!(of_review(requests), []);
    // A stop, too.
    let mut stopped = state.clone();
    stopped.settings.stop = true;
    seen.answers = vec![verified(&seen, &plan)];
    assert_eq!(of_review(step(stopped, &seen).1), []);
    seen.answers.clear();
    seen.now = seen.now.plus(crate::time::TROUBLE);
    seen.proposals.get_mut(&plan).expect("it").expires = seen.now.plus(1);
    assert!(matches!(&of_review(step(state, &seen).1)[..], [Request::Verify { .. }]));
}

#[test]
fn a_process_that_ended_on_the_way_goes_on_with_the_rest() {
    let (mut seen, plan) = scene();
    let name = accept::name_of(&plan, "launch/1", "default");
    let claim =
        Claim { name: name.clone(), ours: true, plan: plan.clone(), pods: vec![pod(1)], ..Claim::default() };
    seen.claims.insert(name, claim);
    let (mut state, requests) = step(state(), &seen);
    let asked = of_review(requests);
    assert!(matches!(&asked[..], [Request::Verify { actions, .. }] if actions == &["launch/2"]), "{asked:?}");
    seen.answers = vec![verified(&seen, &plan)];
    let requests;
    (state, requests) = step(state, &seen);
    let created = of_review(requests).into_iter().filter_map(|one| match one {
        Request::CreateClaim(draft) => Some(draft.intent.action),
        _ => None,
    });
    assert_eq!(created.collect::<Vec<_>>(), ["launch/2"]);
    // One of its pods goes before its claim is there: it is not created for the others.
    seen.answers = vec![Answer::Failed(
        Key { verb: Verb::CreateClaim, object: accept::name_of(&plan, "launch/2", "default") },
        "refused".to_owned(),
    )];
    seen.pods.remove(&pod(2).id);
    let (state, _) = step(state, &seen);
    seen.answers.clear();
    seen.now = seen.now.plus(5_000);
    let (_, requests) = step(state, &seen);
    assert!(!requests.iter().any(|one| matches!(one, Request::CreateClaim(_))), "{requests:?}");
}
