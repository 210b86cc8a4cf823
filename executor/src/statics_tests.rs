//! Goal: a static pool has as many nodes as it says, whatever the view shows late, and no more are launched or given back than that takes.

use super::*;
use crate::request::Intent;
use crate::step::step;
use crate::view::{Answer, Drain, Node, PlannedBatch};
use crate::{Settings, Time};
use stowage_models::objects::{Budget, PodRef};

/// A pool of so many replicas, and so many claims of it with nodes.
fn seen(replicas: i64, claims: usize) -> Observation {
    let mut seen = Observation { synced: true, leader: true, now: Time(1_000_000), ..Observation::default() };
    seen.statics.insert("base".to_owned(), replicas);
    for number in 0..claims {
        seen.claims.insert(format!("claim-{number}"), claim(number));
        let name = format!("node-{number}");
        let instance = Some(format!("i-{number}"));
        let labels = [(labels::NODEPOOL.to_owned(), "base".to_owned())].into();
        seen.nodes.insert(name.clone(), Node { name, instance, labels, ready: true, ..Node::default() });
    }
    seen
}

fn claim(number: usize) -> Claim {
    Claim {
        name: format!("claim-{number}"),
        pool: "base".to_owned(),
        ours: true,
        instance: Some(format!("i-{number}")),
        registered: Some(Time(0)),
        initialized: Some(Time(0)),
        ..Claim::default()
    }
}

fn auto() -> State {
    State::new(Settings { mode: Mode::Auto, ..Settings::default() })
}

fn given_back(requests: &[Request]) -> Vec<&str> {
    let name = |request: &'_ Request| match request {
        Request::DeleteClaim { claim, why: Reason::StaticScaleDown } => Some(claim.clone()),
        _ => None,
    };
    let names: Vec<String> = requests.iter().filter_map(name).collect();
    let all = ["claim-0", "claim-1", "claim-2", "claim-3", "claim-4"];
    all.into_iter().filter(|one| names.iter().any(|name| name == one)).collect()
}

#[test]
fn nodes_that_lack_are_planned_for_and_counted_once() {
    let mut state = auto();
    let mut seen = seen(3, 1);
    let mut launched = 0;
    let mut plans = 0;
    let mut late: Vec<(i64, Claim)> = Vec::new();
    // Claims show up one by one, long after they were asked for.
    for round in 0..200_i64 {
        seen.now = Time(1_000_000 + round * 500);
        for (_, claim) in late.extract_if(.., |(from, _)| *from <= round) {
            seen.claims.insert(claim.name.clone(), claim);
        }
        let (next, requests) = step(state, &seen);
        state = next;
        seen.answers.clear();
        for request in requests {
            match request {
                Request::Plan { ticket, removals: true, .. } => {
                    seen.answers.push(Answer::Planned(ticket, Box::default()));
                }
                Request::Plan { ticket, input, .. } => {
                    plans += 1;
                    let lack = input.statics.get("base").copied().unwrap_or(0);
                    let intent = |number: i64| Intent {
                        action: format!("launch/{round}-{number}"),
                        pool: "base".to_owned(),
                        ..Intent::default()
                    };
                    // A plan that is too generous is not followed.
                    let launches = (0..lack + 2).map(intent).collect();
                    let batch =
                        PlannedBatch { plan: format!("plan-{round}"), launches, ..PlannedBatch::default() };
                    seen.answers.push(Answer::Planned(ticket, Box::new(batch)));
                }
                Request::CreateClaim(draft) => {
                    launched += 1;
                    let claim = Claim { name: draft.name.clone(), instance: None, ..claim(9) };
                    late.push((round + 20 * launched, claim));
                }
                _ => {}
            }
        }
    }
    assert_eq!((launched, seen.claims.len()), (2, 3));
    assert!(plans <= 2, "{plans} plans");
    assert_eq!(missing(&state, &seen), BTreeMap::new());
}

#[test]
fn what_cannot_be_launched_is_tried_less_and_less() {
    let mut state = auto();
    let mut seen = seen(2, 0);
    let mut times = Vec::new();
    for round in 0..1_000_i64 {
        seen.now = Time(1_000_000 + round * 500);
        let (next, requests) = step(state, &seen);
        state = next;
        seen.answers.clear();
        for request in requests {
            if let Request::Plan { ticket, removals, .. } = request {
                if !removals {
                    times.push(round);
                }
                seen.answers.push(Answer::Planned(ticket, Box::default()));
            }
        }
    }
    let pauses: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((2..12).contains(&times.len()) && pauses.is_sorted(), "{times:?}");
}

#[test]
fn a_refusal_that_names_no_offering_is_not_asked_for_again_at_once() {
    let mut state = auto();
    let mut seen = seen(1, 0);
    let mut times = Vec::new();
    for round in 0..2_000_i64 {
        seen.now = Time(1_000_000 + round * 500);
        let (next, requests) = step(state, &seen);
        state = next;
        seen.answers.clear();
        for request in requests {
            match request {
                Request::Plan { ticket, removals, .. } => {
                    let action = format!("launch/{round}");
                    let intent = Intent { action, pool: "base".to_owned(), ..Intent::default() };
                    let plan = format!("plan-{round}");
                    let launches = if removals { Vec::new() } else { vec![intent] };
                    let batch = PlannedBatch { plan, launches, ..PlannedBatch::default() };
                    seen.answers.push(Answer::Planned(ticket, Box::new(batch)));
                }
                Request::CreateClaim(draft) => {
                    let starts = Claim { instance: None, registered: None, initialized: None, ..claim(9) };
                    let claim = Claim { name: draft.name.clone(), created: seen.now, ..starts };
                    seen.claims.insert(claim.name.clone(), claim);
                }
                Request::Launch { claim, .. } => {
                    times.push(round);
                    let why = crate::Failure::Capacity(Vec::new());
                    seen.answers.push(Answer::NotLaunched { claim, why });
                }
                Request::DeleteClaim { claim, .. } => drop(seen.claims.remove(&claim)),
                _ => {}
            }
        }
    }
    let pauses: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((2..12).contains(&times.len()) && pauses.is_sorted(), "{times:?}");
}

#[test]
fn the_emptiest_go_and_no_more_than_are_too_many() {
    let mut seen = seen(2, 4);
    // One has no machine yet; one has a pod of a DaemonSet only; one is protected; one has two pods.
    let young = seen.claims.get_mut("claim-3").expect("a claim");
    (young.instance, young.created) = (None, Time(999_000));
    seen.nodes.remove("node-3");
    let drain = |tier: u8, protected: bool| {
        Some(Drain { tier, protected: protected.then_some(Time(i64::MAX)), ..Drain::default() })
    };
    for (number, (node, tier, protected)) in
        [(0, 0, true), (1, 1, false), (2, 0, false), (2, 0, false)].into_iter().enumerate()
    {
        let pod = crate::Pod {
            node: Some(format!("node-{node}")),
            drain: drain(tier, protected),
            ..crate::Pod::default()
        };
        seen.pods.insert(PodRef(format!("default/pod-{number}")), pod);
    }
    let (state, requests) = step(auto(), &seen);
    assert_eq!(given_back(&requests), ["claim-1", "claim-3"]);
    // The view does not show it yet, and what is on nodes changes: it is enough that two were told.
    seen.now = Time(1_000_500);
    seen.pods.retain(|id, _| id.0 != "default/pod-2" && id.0 != "default/pod-3");
    let (state, requests) = step(state, &seen);
    assert_eq!(given_back(&requests), Vec::<&str>::new());
    for name in ["claim-1", "claim-3"] {
        seen.claims.get_mut(name).expect("a claim").deleting = true;
    }
    seen.now = Time(1_100_000);
    let (_, requests) = step(state, &seen);
    assert_eq!(given_back(&requests), Vec::<&str>::new());
    // Where plans are approved or only shown, nothing of this is done by itself: what lacks is planned for all the same.
    for mode in [Mode::Review, Mode::Shadow] {
        let settings = Settings { mode, ..Settings::default() };
        let mut many = self::seen(1, 3);
        let requests = step(State::new(settings.clone()), &many).1;
        assert!(requests.iter().all(|request| !request.is_write()), "{mode:?} {requests:?}");
        many.statics.insert("base".to_owned(), 5);
        let requests = step(State::new(settings.clone()), &many).1;
        assert!(requests.iter().all(|request| !request.is_write()), "{mode:?} {requests:?}");
        assert_eq!(missing(&State::new(settings), &many), [("base".to_owned(), 2)].into());
    }
}

#[test]
fn a_machine_that_starts_is_counted_once() {
    // It has joined, and has no provider id yet; or its claim does not know it yet, or not even that it has one.
    let joined: [fn(&mut Observation); 3] = [
        |seen| seen.nodes.get_mut("node-1").expect("it").instance = None,
        |seen| {
            let key = labels::TAINT_UNREGISTERED.to_owned();
            let taint = Taint { key, value: String::new(), effect: TaintEffect::NoExecute };
            seen.nodes.get_mut("node-1").expect("it").taints.push(taint);
            seen.claims.get_mut("claim-1").expect("it").instance = None;
        },
        |seen| seen.claims.get_mut("claim-1").expect("it").instance = None,
    ];
    for change in joined {
        let mut seen = seen(2, 2);
        change(&mut seen);
        let (state, requests) = step(auto(), &seen);
        assert_eq!(given_back(&requests), Vec::<&str>::new(), "{:?}", seen.nodes);
        assert_eq!(missing(&state, &seen), BTreeMap::new());
    }
    // A node of nobody's is one nevertheless, once nothing starts.
    let mut seen = seen(2, 3);
    seen.claims.remove("claim-0");
    assert_eq!(given_back(&step(auto(), &seen).1).len(), 1);
}

#[test]
fn what_is_taken_away_is_drained_and_lacks_from_then_on() {
    let mut seen = seen(2, 2);
    let notice = stowage_models::departure::Notices::parse("SpotInterruption@2026-11-22T04:02:00Z");
    seen.claims.get_mut("claim-1").expect("a claim").notices = notice;
    let (state, requests) = step(auto(), &seen);
    let taken = |request: &&Request| matches!(request, Request::DeleteClaim { why: Reason::Interrupted, .. });
    assert_eq!(requests.iter().filter(taken).count(), 1, "{requests:?}");
    // Its pods need not wait for anybody in review, unless they are to; and no plan is asked for, as none removes it.
    for (forced, count) in [(false, 1), (true, 0)] {
        let review = crate::Review { forced, ..crate::Review::default() };
        let mut state = State::new(Settings { mode: Mode::Review, review, ..Settings::default() });
        assert_eq!(crate::removal::look(&mut state, &seen, false), crate::removal::Look::No);
        let (_, requests) = step(state, &seen);
        assert_eq!(requests.iter().filter(taken).count(), count, "{requests:?}");
    }
    seen.claims.get_mut("claim-1").expect("a claim").deleting = true;
    assert_eq!(missing(&state, &seen), [("base".to_owned(), 1)].into());
}

#[test]
fn a_pool_that_lacks_nodes_is_one_that_launches_for_them_alone() {
    let pool = NodePool {
        name: "base".to_owned(),
        replicas: Some(3),
        taints: vec![Taint {
            key: "team".to_owned(),
            value: "a".to_owned(),
            effect: TaintEffect::NoSchedule,
        }],
        ..NodePool::default()
    };
    let written = pool.clone();
    let node = |name: &str| stowage_models::objects::Node {
        name: name.to_owned(),
        labels: [(labels::NODEPOOL.to_owned(), "base".to_owned())].into(),
        ..stowage_models::objects::Node::default()
    };
    let mut snapshot = Snapshot { node_pools: vec![pool], nodes: vec![node("a")], ..Snapshot::default() };
    expand(&mut snapshot, &[("base".to_owned(), 2), ("other".to_owned(), 1)].into());
    let pool = &snapshot.node_pools[0];
    assert_eq!((pool.replicas, pool.limits.0["nodes"]), (None, 3));
    assert_eq!(snapshot.pods.len(), 2);
    assert!(snapshot.pods.iter().all(|pod| pod.is_virtual() && pod.is_pending()));
    assert_eq!(
        *as_written(pool),
        NodePool { replicas: None, limits: pool.limits.clone(), ..written.clone() }
    );
    // A limit of the pool's own holds.
    let mut limited = written;
    limited.limits.0.insert("nodes".to_owned(), 1);
    let mut snapshot = Snapshot { node_pools: vec![limited], nodes: vec![node("a")], ..Snapshot::default() };
    expand(&mut snapshot, &[("base".to_owned(), 2)].into());
    assert_eq!(snapshot.node_pools[0].limits.0["nodes"], 1);
}

/// Claims that are given back because they have to go.
fn renewed(requests: &[Request]) -> Vec<(&'static str, Reason)> {
    let one = |request: &'_ Request| match request {
        Request::DeleteClaim { claim, why: why @ (Reason::Drifted | Reason::Expired) } => {
            Some((claim.clone(), *why))
        }
        _ => None,
    };
    let all: Vec<(String, Reason)> = requests.iter().filter_map(one).collect();
    let names = ["claim-0", "claim-1", "claim-2", "claim-3"];
    names.into_iter().filter_map(|name| Some((name, all.iter().find(|(one, _)| one == name)?.1))).collect()
}

fn drift(seen: &mut Observation, name: &str) {
    seen.claims.get_mut(name).expect("a claim").drifted = true;
}

#[test]
fn what_has_drifted_is_replaced_one_by_one_and_the_new_node_comes_first() {
    let base = |count: i64| BTreeMap::from([("base".to_owned(), count)]);
    let mut seen = seen(2, 2);
    drift(&mut seen, "claim-0");
    drift(&mut seen, "claim-1");
    let (state, requests) = step(auto(), &seen);
    assert_eq!((renewed(&requests), given_back(&requests)), (Vec::new(), Vec::new()));
    assert_eq!(missing(&state, &seen), base(1), "a tenth of them, rounded up");
    // It is there, but not ready.
    let more = self::seen(3, 3);
    seen.claims.insert("claim-2".to_owned(), Claim { initialized: None, ..claim(2) });
    let (state, requests) = step(state, &seen);
    assert_eq!((renewed(&requests), given_back(&requests)), (Vec::new(), Vec::new()));
    assert_eq!(missing(&state, &seen), BTreeMap::new());
    seen.claims.insert("claim-2".to_owned(), claim(2));
    seen.nodes.insert("node-2".to_owned(), more.nodes["node-2"].clone());
    let (state, requests) = step(state, &seen);
    assert_eq!(renewed(&requests), [("claim-0", Reason::Drifted)]);
    assert_eq!(given_back(&requests), Vec::<&str>::new(), "nobody goes because there is one more");
    // While it is drained, and the view is behind, nobody follows.
    seen.now = Time(1_000_500);
    let (state, requests) = step(state, &seen);
    assert_eq!((renewed(&requests), given_back(&requests)), (Vec::new(), Vec::new()));
    seen.claims.get_mut("claim-0").expect("it").deleting = true;
    let (state, requests) = step(state, &seen);
    assert_eq!((renewed(&requests), missing(&state, &seen)), (Vec::new(), BTreeMap::new()));
    seen.claims.remove("claim-0");
    seen.nodes.remove("node-0");
    let (state, _) = step(state, &seen);
    assert_eq!(missing(&state, &seen), base(1));
}

#[test]
fn what_expires_is_replaced_before_its_time_and_goes_when_it_has_come() {
    let life = |life: i64| {
        let mut seen = seen(2, 2);
        seen.claims.get_mut("claim-1").expect("it").life = Some(life);
        let (state, requests) = step(auto(), &seen);
        (renewed(&requests), missing(&state, &seen).get("base").copied().unwrap_or(0))
    };
    assert_eq!(life(1_200_000), (Vec::new(), 0));
    assert_eq!(life(1_100_000), (Vec::new(), 1), "within the last tenth of its life");
    assert_eq!(life(1_000_000).0, [("claim-1", Reason::Expired)]);
}

#[test]
fn budgets_marks_and_approvals_keep_what_need_not_go_now() {
    type Change = fn(&mut Observation);
    let budget = |seen: &mut Observation, nodes: &str, reason: &str| {
        let reasons = vec![reason.to_owned()];
        let budget = Budget { nodes: nodes.to_owned(), reasons, ..Budget::default() };
        seen.budgets.insert("base".to_owned(), vec![budget]);
    };
    let counts = |settings: Settings, change: &dyn Fn(&mut Observation)| {
        let mut seen = seen(2, 2);
        drift(&mut seen, "claim-0");
        drift(&mut seen, "claim-1");
        change(&mut seen);
        missing(&State::new(settings), &seen).get("base").copied().unwrap_or(0)
    };
    let auto = || Settings { mode: Mode::Auto, ..Settings::default() };
    assert_eq!(counts(auto(), &|seen| budget(seen, "0", "Drifted")), 0);
    assert_eq!(counts(auto(), &|seen| budget(seen, "2", "Drifted")), 2);
    assert_eq!(counts(auto(), &|seen| budget(seen, "many", "Drifted")), 0);
    let protect: Change = |seen| {
        for number in 0..2 {
            let drain = Some(Drain { protected: Some(Time(i64::MAX)), ..Drain::default() });
            let node = Some(format!("node-{number}"));
            seen.pods.insert(
                PodRef(format!("default/pod-{number}")),
                crate::Pod { node, drain, ..crate::Pod::default() },
            );
        }
    };
    assert_eq!(counts(auto(), &protect), 0);
    // In review: only where neither launches nor removals need approval.
    for (launches, removals, count) in
        [(true, true, 0), (true, false, 0), (false, true, 0), (false, false, 1)]
    {
        let review = crate::Review { launches, removals, ..crate::Review::default() };
        assert_eq!(counts(Settings { mode: Mode::Review, review, ..Settings::default() }, &|_| ()), count);
    }
    // By force it goes there, too, unless that needs approval.
    for (forced, count) in [(false, 1), (true, 0)] {
        let review = crate::Review { forced, ..crate::Review::default() };
        let mut seen = seen(2, 2);
        seen.claims.get_mut("claim-1").expect("it").life = Some(1_000_000);
        let state = State::new(Settings { mode: Mode::Review, review, ..Settings::default() });
        assert_eq!(renewed(&step(state, &seen).1).len(), count);
    }
}
