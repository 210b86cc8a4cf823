//! Nodes that go, step by step.

use super::*;
use crate::fixtures::{
    self, PLAN, claim, come, come_protected, leaver, node, nodes, on, said, word, write as intend,
};
use crate::step::step;
use crate::view::Answer;
use crate::{Offering, Settings};
use stowage_models::units::UsdMicros;

const START: i64 = 1_000_000;

fn settings() -> Settings {
    fixtures::settings(Mode::Auto)
}

/// Two nodes of ours, a pod on the first, which is to move to the second.
fn scene() -> Observation {
    let mut seen = nodes(Time(START), &["a", "b"]);
    come(&mut seen, "web", "a");
    seen
}

fn removal(to: Place) -> Removal {
    Removal { since: Time(START), ..fixtures::removal("a", vec![leaver("web", to)]) }
}

/// The same of the other node, which has no such pod.
fn other(to: Place) -> Removal {
    Removal { since: Time(START), ..fixtures::removal("b", vec![leaver("web", to)]) }
}

fn close(seen: &mut Observation) {
    fixtures::close(seen, "a");
}

fn play(state: &mut State, seen: &Observation) -> Vec<String> {
    said(state, seen, word)
}

fn verdict(seen: &mut Observation, verdict: Result<(), Hindrance>) {
    seen.answers = vec![Answer::Rechecked([("claim-a".to_owned(), verdict)].into())];
}

#[test]
fn a_node_is_looked_at_before_and_after_it_is_closed() {
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(on("b")));
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
    intend(&mut seen, removal(on("b")));
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
        intend(&mut seen, removal(on("b")));
        if closed {
            close(&mut seen);
        }
        come_protected(&mut seen, "job", "a");
        assert_eq!(
            play(&mut state, &seen),
            ["keep claim-a: pod default/job must not be disrupted"],
            "closed: {closed}"
        );
    }
    // By the referee, who knows more.
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(on("b")));
    play(&mut state, &seen);
    verdict(&mut seen, Err(Hindrance { waits: false, text: "no".to_owned() }));
    assert_eq!(play(&mut state, &seen), ["keep claim-a: no"]);
}

#[test]
fn what_waits_waits_and_not_for_ever() {
    let mut state = State::new(settings());
    let mut seen = scene();
    intend(&mut seen, removal(on("b")));
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
    verdict(&mut seen, Err(Hindrance { waits: true, text: "no budget".to_owned() }));
    assert_eq!(play(&mut state, &seen), Vec::<String>::new());
    seen.answers.clear();
    seen.now = seen.now.plus(crate::time::SETTLE);
    assert_eq!(play(&mut state, &seen), ["recheck 1"]);
    seen.now = Time(START + REMOVAL_MAX);
    assert_eq!(play(&mut state, &seen), ["keep claim-a: it could not go for too long"]);
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
    let stays = "keep claim-a: what was to take its place, claim-c, is not launched";
    let mut lost = seen.clone();
    lost.claims.get_mut("claim-c").expect("it").deleting = true;
    assert_eq!(play(&mut State::new(settings()), &lost), [stays]);
    lost.claims.remove("claim-c");
    assert_eq!(play(&mut State::new(settings()), &lost), [stays]);
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
        intend(&mut seen, removal(on("b")));
        if closed {
            close(&mut seen);
        }
        assert_eq!(play(&mut state, &seen), ["keep claim-a: everything is stopped"]);
        // But what is left is left, and waits.
        seen.claims.get_mut("claim-a").expect("it").deleting = true;
        assert_eq!(play(&mut State::new(Settings { stop: true, ..settings() }), &seen), Vec::<String>::new());
    }
}

#[test]
fn shadow_mode_opens_what_was_closed_and_begins_nothing() {
    let shadow = || State::new(Settings { mode: Mode::Shadow, ..settings() });
    let mut seen = scene();
    intend(&mut seen, removal(on("b")));
    close(&mut seen);
    assert_eq!(play(&mut shadow(), &seen), ["keep claim-a: nodes are not removed in shadow mode"]);
    // Nodes of others, and what is left already, are left alone.
    seen.claims.get_mut("claim-a").expect("it").ours = false;
    assert_eq!(play(&mut shadow(), &seen), Vec::<String>::new());
    let left = seen.claims.get_mut("claim-a").expect("it");
    (left.ours, left.deleting) = (true, true);
    assert_eq!(play(&mut shadow(), &seen), Vec::<String>::new());
}

#[test]
fn other_modes_and_settings_undo_too_and_a_closed_node_without_reason_is_opened() {
    for settings in
        [Settings { mode: Mode::Review, ..settings() }, Settings { remove_every: None, ..settings() }]
    {
        let mut seen = scene();
        intend(&mut seen, removal(on("b")));
        assert_eq!(play(&mut State::new(settings), &seen), ["keep claim-a: nodes are not removed any more"]);
    }
    let mut seen = scene();
    close(&mut seen);
    assert_eq!(play(&mut State::new(settings()), &seen), ["keep claim-a: it is not to go"]);
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
    come_protected(&mut seen, "job", "a");
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
    let name = accept::name_of(PLAN, "launch/new-0001", "default");
    let first = PlannedWave { launches: vec![intent()], removals: vec![removal(Place::Claim(name.clone()))] };
    let second = PlannedWave { launches: Vec::new(), removals: vec![other(on("c"))] };
    let batch = PlannedBatch { plan: PLAN.to_owned(), waves: vec![first, second], ..PlannedBatch::default() };
    let mut seen = scene();
    let mut state = State::new(settings());
    begin(&mut state, &seen, &batch);
    assert_eq!(play(&mut state, &seen), ["intend claim-a"]);
    seen.now = seen.now.plus(500);
    assert_eq!(play(&mut state, &seen), Vec::<String>::new(), "it is not seen yet");
    intend(&mut seen, removal(Place::Claim(name.clone())));
    assert_eq!(play(&mut state, &seen), ["create"]);
    let mut coming = claim(&name, "c");
    coming.plan = PLAN.to_owned();
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
    let name = accept::name_of(PLAN, "launch/new-0001", "default");
    let first = PlannedWave { launches: Vec::new(), removals: vec![removal(on("b"))] };
    let second = PlannedWave { launches: vec![intent()], removals: vec![other(Place::Claim(name))] };
    let plan = |forced: bool, approved: bool| {
        let mut waves = vec![first.clone(), second.clone()];
        for removal in waves.iter_mut().flat_map(|wave| &mut wave.removals) {
            (removal.forced, removal.approved) = (forced, approved);
        }
        PlannedBatch { plan: PLAN.to_owned(), waves, ..PlannedBatch::default() }
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
        assert_eq!(state.removing(), Some(PLAN));
        // Between its waves.
        seen.claims.remove("claim-a");
        seen.nodes.remove("a");
        state.settings = changed.clone();
        let mut said = play(&mut state, &seen);
        said.extend(play(&mut state, &seen));
        assert_eq!(said.iter().any(|one| one.starts_with("intend claim-b")), goes_on, "{said:?} {changed:?}");
        assert_eq!(state.removing().is_some(), goes_on);
    }
}

#[test]
fn only_what_goes_by_force_cuts_short_what_was_approved() {
    let plan = |plan: &str, approved: bool, forced: bool| {
        let removal = removal(on("b"));
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

/// A node that goes by force and one that does not, each for a machine of its own, in a plan whose mode changes to review once it is written.
#[test]
fn what_goes_by_force_has_its_replacement_though_the_rest_of_its_plan_may_not_go_on() {
    let name = |action: &str| accept::name_of(PLAN, action, "default");
    let launch = |action: &str| Intent { action: action.to_owned(), ..intent() };
    let forced = Removal {
        forced: true,
        reason: NodeReason::Interrupted,
        deadline: Some(Time(START + 120_000)),
        ..removal(Place::Claim(name("launch/one")))
    };
    let launches = vec![launch("launch/one"), launch("launch/two")];
    let wave = PlannedWave { launches, removals: vec![forced, other(Place::Claim(name("launch/two")))] };
    let batch = PlannedBatch { plan: PLAN.to_owned(), waves: vec![wave], ..PlannedBatch::default() };
    let (mut state, mut seen) = (State::new(settings()), scene());
    begin(&mut state, &seen, &batch);
    assert_eq!(play(&mut state, &seen), ["intend claim-a", "intend claim-b"]);
    for removal in &batch.waves[0].removals {
        intend(&mut seen, removal.clone());
    }
    state.settings.mode = Mode::Review;
    let said = play(&mut state, &seen);
    assert!(said.contains(&"keep claim-b: nodes are not removed any more".to_owned()), "{said:?}");
    let created: Vec<&String> = state.drafts.keys().collect();
    assert_eq!(created, [&name("launch/one")], "for the one that goes, and no other");
    // Until it is ready the node is closed and not left.
    let mut coming = claim(&name("launch/one"), "c");
    (coming.initialized, coming.registered) = (None, None);
    seen.claims.insert(coming.name.clone(), coming);
    close(&mut seen);
    seen.claims.get_mut("claim-b").expect("it").removal = None;
    let said = play(&mut state, &seen);
    assert!(!said.contains(&"leave claim-a".to_owned()), "{said:?}");
    // Where it would need approval, too, nothing of it follows.
    state.settings.review.forced = true;
    play(&mut state, &seen);
    assert_eq!(state.removing(), None);
}

/// What was approved is cut short by what goes by force: nobody leaves a node whose replacement is not there.
#[test]
fn what_is_cut_short_leaves_no_node_without_its_replacement() {
    let name = accept::name_of(PLAN, "launch/new-0001", "default");
    let approved = Removal { approved: true, ..removal(Place::Claim(name.clone())) };
    let wave = PlannedWave { launches: vec![intent()], removals: vec![approved.clone()] };
    let batch = PlannedBatch { plan: PLAN.to_owned(), waves: vec![wave], ..PlannedBatch::default() };
    let by_force = Removal { plan: "second".to_owned(), forced: true, ..other(on("a")) };
    let wave = PlannedWave { launches: Vec::new(), removals: vec![by_force] };
    let second = PlannedBatch { plan: "second".to_owned(), waves: vec![wave], ..PlannedBatch::default() };
    for launched in [false, true] {
        let (mut state, mut seen) = (State::new(settings()), scene());
        begin(&mut state, &seen, &batch);
        play(&mut state, &seen);
        intend(&mut seen, approved.clone());
        if launched {
            assert_eq!(play(&mut state, &seen), ["create"]);
            let mut coming = claim(&name, "c");
            (coming.initialized, coming.registered) = (None, None);
            seen.claims.insert(name.clone(), coming);
        }
        accept::accept(&mut state, &seen, &second, &mut Vec::new());
        assert_eq!(state.removing(), Some("second"));
        let said = play(&mut state, &seen);
        // Written and not launched for, it stays; launched for, it waits for that.
        let kept = said.iter().any(|one| one.starts_with("keep claim-a: what was to take its place"));
        assert_eq!(kept, !launched, "{said:?}");
        assert!(!said.iter().any(|one| one.ends_with(" a") || one == "leave claim-a"), "{said:?}");
    }
}

#[test]
fn room_is_spoken_for_where_pods_are_to_go() {
    let mut seen = scene();
    intend(&mut seen, removal(on("b")));
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
    assert!(!asks(&urgent, &mut state), "others may come in the same moment");
    assert!(state.hurries());
    urgent.now = urgent.now.plus(GATHER_IDLE);
    assert!(asks(&urgent, &mut state));
    // A plan that has nothing to say of it is not made again and again.
    urgent.answers = vec![Answer::Planned(1, Box::default())];
    urgent.now = urgent.now.plus(1_000);
    assert!(!asks(&urgent, &mut state));
    urgent.answers.clear();
    urgent.now = urgent.now.plus(URGENT);
    assert!(asks(&urgent, &mut state));
    // One that the last plan did not know does not wait, and waits like the first once it is known.
    urgent.answers = vec![Answer::Planned(2, Box::default())];
    urgent.now = urgent.now.plus(1_000);
    assert!(!asks(&urgent, &mut state));
    urgent.urgent.insert("b".to_owned());
    urgent.answers.clear();
    assert!(!asks(&urgent, &mut state));
    urgent.now = urgent.now.plus(GATHER_IDLE);
    assert!(asks(&urgent, &mut state));
    urgent.answers = vec![Answer::Planned(3, Box::default())];
    urgent.now = urgent.now.plus(1_000);
    assert!(!asks(&urgent, &mut state));
    urgent.answers.clear();
    urgent.now = urgent.now.plus(URGENT);
    assert!(asks(&urgent, &mut state));
    let mut state = State::new(Settings { stop: true, ..settings() });
    assert!(!asks(&urgent, &mut state));
}

/// Goal: notices that come one after the other are one plan, and the first of them does not wait for ever.
#[test]
fn nodes_that_go_by_force_in_the_same_moment_are_one_plan() {
    let all = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    // One more at each look.
    let asked_after = |count: usize| {
        let mut seen = nodes(Time(START), &all);
        let mut state = State::new(settings());
        for look in 0.. {
            seen.urgent = all.iter().take(count.min(look + 1)).map(|&name| name.to_owned()).collect();
            let (next, requests) = step(state, &seen);
            state = next;
            if requests.iter().any(|request| matches!(request, Request::Plan { .. })) {
                break;
            }
            seen.now = seen.now.plus(GATHER_IDLE / 2);
        }
        seen.now.since(Time(START))
    };
    assert_eq!(asked_after(1), GATHER_IDLE);
    assert_eq!(asked_after(3), 2 * GATHER_IDLE);
    assert_eq!(asked_after(10), GATHER_MAX);
}

/// Goal: a node that goes by force does not wait for a plan that knows nothing of it; what that was about is planned with the node.
#[test]
fn a_plan_that_is_being_made_is_given_up_for_a_node_that_goes_by_force() {
    let mut seen = scene();
    let mut state = State::new(settings());
    let mut ask = |seen: &Observation| {
        let (next, requests) = step(std::mem::take(&mut state), seen);
        state = next;
        let plan = requests.into_iter().find_map(|request| match request {
            Request::Plan { ticket, input, removals } => Some((ticket, input.urgent, removals)),
            _ => None,
        });
        (plan, state.presses(seen))
    };
    assert_eq!(ask(&seen), (None, false));
    seen.now = seen.now.plus(MINUTE);
    assert_eq!(ask(&seen), (Some((1, false, true)), false));
    // The second one has two minutes to live, and the plan is still being made.
    seen.urgent = ["a".to_owned()].into();
    assert_eq!(ask(&seen), (None, true));
    seen.answers = vec![Answer::GivenUp(1)];
    assert_eq!(ask(&seen), (None, false));
    seen.answers.clear();
    seen.now = seen.now.plus(GATHER_IDLE);
    assert_eq!(ask(&seen), (Some((2, true, true)), false), "at once, and in a hurry itself");
    // Whoever comes now is planned for right after it: it takes no time.
    seen.answers.clear();
    seen.urgent.insert("b".to_owned());
    assert_eq!(ask(&seen), (None, false));
    // What is known and has no answer gives nothing up.
    seen.answers = vec![Answer::Planned(2, Box::default())];
    assert_eq!(ask(&seen), (None, false));
    seen.now = seen.now.plus(GATHER_IDLE);
    seen.answers.clear();
    assert_eq!(ask(&seen), (Some((3, true, true)), false));
    seen.answers = vec![Answer::GivenUp(1)];
    assert_eq!(ask(&seen), (None, false), "an old ticket");
}
