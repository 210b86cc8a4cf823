//! Nodes that go, step by step.

use super::*;
use crate::step::step;
use crate::view::{Answer, Drain, Pod};
use crate::{Offering, Settings};
use stowage_models::objects::{Taint, TaintEffect};
use stowage_models::units::UsdMicros;

const START: i64 = 1_000_000;

fn settings() -> Settings {
    Settings { mode: Mode::Auto, ..Settings::default() }
}

fn node(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        instance: Some(format!("i-{name}")),
        ready: true,
        ..Node::default()
    }
}

fn claim(name: &str, node: &str) -> Claim {
    Claim {
        name: name.to_owned(),
        ours: true,
        finalizer: true,
        pool: "default".to_owned(),
        instance: Some(format!("i-{node}")),
        launched: Some(Time(0)),
        registered: Some(Time(0)),
        initialized: Some(Time(0)),
        ..Claim::default()
    }
}

/// Two nodes of ours, a pod on the first, which is to move to the second.
fn scene() -> Observation {
    let mut seen = Observation { now: Time(START), synced: true, leader: true, ..Observation::default() };
    for n in ["a", "b"] {
        seen.nodes.insert(n.to_owned(), node(n));
        seen.claims.insert(format!("claim-{n}"), claim(&format!("claim-{n}"), n));
    }
    let drain = Some(Drain { grace: 30_000, ..Drain::default() });
    let pod = Pod { uid: "uid-web".to_owned(), node: Some("a".to_owned()), drain, ..Pod::default() };
    seen.pods.insert(PodRef("default/web".to_owned()), pod);
    seen
}

fn removal(to: Place) -> Removal {
    let needs = match &to {
        Place::Claim(claim) => vec![claim.clone()],
        Place::Node(_) => Vec::new(),
    };
    let web =
        Leaver { id: PodRef("default/web".to_owned()), uid: "uid-web".to_owned(), owner: None, to: Some(to) };
    Removal {
        plan: "plan".to_owned(),
        action: "remove/a".to_owned(),
        wave: 1,
        claim: "claim-a".to_owned(),
        node: "a".to_owned(),
        uid: "uid-a".to_owned(),
        reason: NodeReason::Underutilized,
        forced: false,
        approved: false,
        deadline: None,
        pods: vec![web],
        needs,
        since: Time(START),
    }
}

fn close(seen: &mut Observation) {
    let key = labels::TAINT_DISRUPTED.to_owned();
    let taint = Taint { key, value: String::new(), effect: TaintEffect::NoSchedule };
    seen.nodes.get_mut("a").expect("it").taints.push(taint);
}

fn intend(seen: &mut Observation, removal: Removal) {
    seen.claims.get_mut("claim-a").expect("it").removal = Some(removal);
}

/// What is asked for about removals, in words.
fn words(requests: &[Request]) -> Vec<String> {
    let word = |request: &Request| match request {
        Request::Intend(removal) => Some(format!("intend {}", removal.claim)),
        Request::CreateClaim(_) => Some("create".to_owned()),
        Request::Recheck { removals, .. } => Some(format!("recheck {}", removals.len())),
        Request::Disrupt { node } => Some(format!("close {node}")),
        Request::Leave { claim, .. } => Some(format!("leave {claim}")),
        Request::Keep { claim, plan, .. } => Some(format!("keep {claim} {}", plan.is_some())),
        Request::Evict { pod } => Some(format!("evict {}", pod.uid)),
        _ => None,
    };
    requests.iter().filter_map(word).collect()
}

fn play(state: &mut State, seen: &Observation) -> Vec<String> {
    let (next, requests) = step(std::mem::take(state), seen);
    *state = next;
    words(&requests)
}

fn verdict(seen: &mut Observation, verdict: Result<(), Hindrance>) {
    seen.answers = vec![Answer::Rechecked([("claim-a".to_owned(), verdict)].into())];
}

#[test]
fn a_node_is_looked_at_before_and_after_it_is_closed() {
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(Place::Node("b".to_owned())));
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
    verdict(&mut seen, Ok(()));
    assert_eq!(play(&mut state, &seen), ["close a"]);
    seen.answers.clear();
    close(&mut seen);
    seen.now = seen.now.plus(500);
    assert_eq!(play(&mut state, &seen), Vec::<String>::new(), "a pod may have been on its way");
    seen.now = seen.now.plus(CLOSE);
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
    verdict(&mut seen, Ok(()));
    assert_eq!(play(&mut state, &seen), ["leave claim-a"]);
}

#[test]
fn a_verdict_from_before_it_was_closed_is_not_enough() {
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(Place::Node("b".to_owned())));
    play(&mut state, &seen);
    // Somebody else has closed it meanwhile; the answer is to a question asked before.
    close(&mut seen);
    verdict(&mut seen, Ok(()));
    assert!(play(&mut state, &seen).iter().all(|word| !word.starts_with("leave")));
}

#[test]
fn what_is_protected_lets_the_node_stay_at_any_moment() {
    for closed in [false, true] {
        let mut state = State::new(settings());
        let mut seen = scene();
        intend(&mut seen, removal(Place::Node("b".to_owned())));
        if closed {
            close(&mut seen);
        }
        let drain = Some(Drain { protected: Some(Time(i64::MAX)), ..Drain::default() });
        let pod = Pod { uid: "uid-job".to_owned(), node: Some("a".to_owned()), drain, ..Pod::default() };
        seen.pods.insert(PodRef("default/job".to_owned()), pod);
        assert_eq!(play(&mut state, &seen), ["keep claim-a true"], "closed: {closed}");
    }
    // By the referee, who knows more.
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(Place::Node("b".to_owned())));
    play(&mut state, &seen);
    verdict(&mut seen, Err(Hindrance { waits: false, text: "no".to_owned() }));
    assert_eq!(play(&mut state, &seen), ["keep claim-a true"]);
}

#[test]
fn what_waits_waits_and_not_for_ever() {
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(Place::Node("b".to_owned())));
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
    verdict(&mut seen, Err(Hindrance { waits: true, text: "no budget".to_owned() }));
    assert_eq!(play(&mut state, &seen), Vec::<String>::new());
    seen.answers.clear();
    seen.now = seen.now.plus(crate::time::SETTLE);
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
    seen.now = Time(START + REMOVAL_MAX);
    assert_eq!(play(&mut state, &seen), ["keep claim-a true"]);
}

#[test]
fn nothing_is_done_before_its_replacement_is_ready_and_a_lost_one_undoes_it() {
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(Place::Claim("claim-c".to_owned())));
    let mut coming = claim("claim-c", "c");
    (coming.initialized, coming.registered) = (None, None);
    seen.claims.insert("claim-c".to_owned(), coming.clone());
    assert_eq!(play(&mut state, &seen), Vec::<String>::new());
    let mut lost = seen.clone();
    lost.claims.get_mut("claim-c").expect("it").deleting = true;
    assert_eq!(play(&mut State::new(settings()), &lost), ["keep claim-a true"]);
    lost.claims.remove("claim-c");
    assert_eq!(play(&mut State::new(settings()), &lost), ["keep claim-a true"]);
    (coming.initialized, coming.registered) = (Some(Time(START)), Some(Time(START)));
    seen.claims.insert("claim-c".to_owned(), coming);
    assert_eq!(play(&mut state, &seen), Vec::<String>::new(), "its node is not there");
    seen.nodes.insert("c".to_owned(), node("c"));
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
}

#[test]
fn a_stop_opens_what_was_closed() {
    for closed in [false, true] {
        let mut state = State::new(Settings { stop: true, ..settings() });
        let mut seen = scene();
        intend(&mut seen, removal(Place::Node("b".to_owned())));
        if closed {
            close(&mut seen);
        }
        assert_eq!(play(&mut state, &seen), ["keep claim-a true"]);
        // But what is left is left, and waits.
        seen.claims.get_mut("claim-a").expect("it").deleting = true;
        assert_eq!(play(&mut State::new(Settings { stop: true, ..settings() }), &seen), Vec::<String>::new());
    }
}

#[test]
fn other_modes_and_settings_undo_too_and_a_closed_node_without_reason_is_opened() {
    for settings in
        [Settings { mode: Mode::Review, ..settings() }, Settings { remove_every: None, ..settings() }]
    {
        let mut seen = scene();
        intend(&mut seen, removal(Place::Node("b".to_owned())));
        assert_eq!(play(&mut State::new(settings), &seen), ["keep claim-a true"]);
    }
    let mut seen = scene();
    close(&mut seen);
    assert_eq!(play(&mut State::new(settings()), &seen), ["keep claim-a false"]);
    // One that somebody deletes is drained.
    seen.claims.get_mut("claim-a").expect("it").deleting = true;
    assert_eq!(play(&mut State::new(settings()), &seen), ["evict uid-web"]);
}

#[test]
fn what_goes_by_force_is_closed_at_once_and_waits_no_longer_than_there_is_time() {
    let mut seen = scene();
    let mut forced = removal(Place::Claim("claim-c".to_owned()));
    (forced.forced, forced.reason) = (true, NodeReason::Interrupted);
    forced.deadline = Some(Time(START + 120_000));
    let mut coming = claim("claim-c", "c");
    (coming.initialized, coming.registered) = (None, None);
    seen.claims.insert("claim-c".to_owned(), coming);
    intend(&mut seen, forced);
    // Even what is protected does not keep it.
    let drain = Some(Drain { protected: Some(Time(i64::MAX)), ..Drain::default() });
    let pod = Pod { uid: "uid-job".to_owned(), node: Some("a".to_owned()), drain, ..Pod::default() };
    seen.pods.insert(PodRef("default/job".to_owned()), pod);
    let mut state = State::new(settings());
    assert_eq!(play(&mut state, &seen), ["close a"]);
    close(&mut seen);
    assert_eq!(play(&mut state, &seen), Vec::<String>::new(), "its replacement may come in time");
    seen.now = Time(START + 120_000 - FORCED_LEAD);
    assert_eq!(play(&mut state, &seen), ["leave claim-a"]);
}

fn intent() -> Intent {
    let price = UsdMicros(1);
    let offering = Offering {
        instance_type: "m".to_owned(),
        zone: "a".to_owned(),
        capacity_type: "spot".to_owned(),
        price,
    };
    Intent {
        action: "launch/new-0001".to_owned(),
        pool: "default".to_owned(),
        offerings: vec![offering],
        ..Intent::default()
    }
}

#[test]
fn intent_is_written_before_anything_is_launched_and_waves_follow_one_another() {
    let name = accept::name_of("plan", "launch/new-0001", "default");
    let first = PlannedWave { launches: vec![intent()], removals: vec![removal(Place::Claim(name.clone()))] };
    let mut other = removal(Place::Node("c".to_owned()));
    (other.claim, other.node, other.uid) = ("claim-b".to_owned(), "b".to_owned(), "uid-b".to_owned());
    let second = PlannedWave { launches: Vec::new(), removals: vec![other] };
    let batch =
        PlannedBatch { plan: "plan".to_owned(), waves: vec![first, second], ..PlannedBatch::default() };
    let mut seen = scene();
    let mut state = State::new(settings());
    begin(&mut state, &seen, &batch);
    assert_eq!(play(&mut state, &seen), ["intend claim-a"]);
    seen.now = seen.now.plus(500);
    assert_eq!(play(&mut state, &seen), Vec::<String>::new(), "it is not seen yet");
    intend(&mut seen, removal(Place::Claim(name.clone())));
    assert_eq!(play(&mut state, &seen), ["create"]);
    let mut coming = claim(&name, "c");
    coming.plan = "plan".to_owned();
    seen.claims.insert(name.clone(), coming);
    seen.nodes.insert("c".to_owned(), node("c"));
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
    // While the first node is there the second wave waits.
    seen.claims.get_mut("claim-a").expect("it").deleting = true;
    assert!(!play(&mut state, &seen).contains(&"intend claim-b".to_owned()));
    seen.claims.remove("claim-a");
    seen.nodes.remove("a");
    let mut said = play(&mut state, &seen);
    said.extend(play(&mut state, &seen));
    assert!(said.contains(&"intend claim-b".to_owned()), "{said:?}");
    // If the first node stays after all, nothing follows.
    let mut seen = scene();
    let mut state = State::new(settings());
    begin(&mut state, &seen, &batch);
    play(&mut state, &seen);
    intend(&mut seen, removal(Place::Claim(name.clone())));
    play(&mut state, &seen);
    seen.claims.get_mut("claim-a").expect("it").removal = None;
    play(&mut state, &seen);
    assert_eq!(state.removing(), None);
}

#[test]
fn a_plan_goes_no_further_than_it_would_be_begun_as_things_are_set() {
    let name = accept::name_of("plan", "launch/new-0001", "default");
    let first = PlannedWave { launches: Vec::new(), removals: vec![removal(Place::Node("b".to_owned()))] };
    let mut other = removal(Place::Claim(name));
    (other.claim, other.node, other.uid) = ("claim-b".to_owned(), "b".to_owned(), "uid-b".to_owned());
    let second = PlannedWave { launches: vec![intent()], removals: vec![other] };
    let plan = |forced: bool, approved: bool| {
        let mut waves = vec![first.clone(), second.clone()];
        for removal in waves.iter_mut().flat_map(|wave| &mut wave.removals) {
            (removal.forced, removal.approved) = (forced, approved);
        }
        PlannedBatch { plan: "plan".to_owned(), waves, ..PlannedBatch::default() }
    };
    let review = Settings { mode: Mode::Review, ..settings() };
    let asking = crate::Review { forced: true, ..crate::Review::default() };
    let table = [
        (settings(), plan(false, false), true),
        (review.clone(), plan(false, false), false),
        (review.clone(), plan(false, true), true),
        (review.clone(), plan(true, false), true),
        (Settings { review: asking, ..review }, plan(true, false), false),
        (Settings { consolidate: false, ..settings() }, plan(false, false), false),
        (Settings { consolidate: false, ..settings() }, plan(false, true), true),
    ];
    for (changed, batch, goes_on) in table {
        let (mut state, mut seen) = (State::new(settings()), scene());
        begin(&mut state, &seen, &batch);
        play(&mut state, &seen);
        intend(&mut seen, batch.waves[0].removals[0].clone());
        play(&mut state, &seen);
        assert_eq!(state.removing(), Some("plan"));
        // Between its waves.
        seen.claims.remove("claim-a");
        seen.nodes.remove("a");
        state.settings = changed.clone();
        let mut said = play(&mut state, &seen);
        said.extend(play(&mut state, &seen));
        assert_eq!(said.contains(&"intend claim-b".to_owned()), goes_on, "{said:?} {changed:?}");
        assert_eq!(state.removing().is_some(), goes_on);
    }
}

#[test]
fn only_what_goes_by_force_cuts_short_what_was_approved() {
    let plan = |plan: &str, approved: bool, forced: bool| {
        let removal = removal(Place::Node("b".to_owned()));
        let removal = Removal { plan: plan.to_owned(), approved, forced, ..removal };
        let waves = vec![PlannedWave { launches: Vec::new(), removals: vec![removal] }];
        PlannedBatch { plan: plan.to_owned(), waves, ..PlannedBatch::default() }
    };
    for (approved, forced, under_way) in
        [(true, false, "first"), (true, true, "second"), (false, false, "second")]
    {
        let (mut state, seen) = (State::new(settings()), scene());
        begin(&mut state, &seen, &plan("first", approved, false));
        accept::accept(&mut state, &seen, &plan("second", false, forced), &mut Vec::new());
        assert_eq!(state.removing(), Some(under_way), "{approved} {forced}");
    }
}

#[test]
fn room_is_spoken_for_where_pods_are_to_go() {
    let mut seen = scene();
    intend(&mut seen, removal(Place::Node("b".to_owned())));
    let state = State::new(settings());
    let known = input(&state, &seen);
    assert_eq!(known.leaving, ["a".to_owned()].into());
    assert_eq!(known.moving.iter().map(|one| one.to.as_str()).collect::<Vec<_>>(), ["b"]);
    // Once it has gone, its successor is a pod like any other.
    seen.pods.clear();
    assert_eq!(input(&state, &seen).moving, []);
}

#[test]
fn nodes_are_looked_for_when_nothing_waits_and_at_once_when_one_has_to_go() {
    let asks = |seen: &Observation, state: &mut State| {
        let (next, requests) = step(std::mem::take(state), seen);
        *state = next;
        requests.iter().any(|request| matches!(request, Request::Plan { removals: true, .. }))
    };
    let mut seen = scene();
    let mut state = State::new(settings());
    assert!(!asks(&seen, &mut state), "not while everything starts");
    seen.now = seen.now.plus(MINUTE);
    assert!(asks(&seen, &mut state));
    let mut state = State::new(settings());
    let mut urgent = scene();
    urgent.urgent = ["a".to_owned()].into();
    assert!(asks(&urgent, &mut state));
    // A plan that has nothing to say of it is not made again and again.
    urgent.answers = vec![Answer::Planned(1, Box::default())];
    urgent.now = urgent.now.plus(1_000);
    assert!(!asks(&urgent, &mut state));
    urgent.answers.clear();
    urgent.now = urgent.now.plus(URGENT);
    assert!(asks(&urgent, &mut state));
    let mut state = State::new(Settings { stop: true, ..settings() });
    assert!(!asks(&urgent, &mut state));
}
