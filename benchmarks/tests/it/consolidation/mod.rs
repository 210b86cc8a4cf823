//! Consolidation: cheaper than one node at a time, never against a rule, at rest afterwards; and the referee sees what is wrong.

mod departures;
mod generate;
mod later;
mod leaving;
mod openb;
mod spot;
mod ties;
mod weights;

use generate::{random, with_claims};
use std::collections::BTreeSet;
use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::consolidation::apply;
use stowage_bench::consolidation::contest::{self, contest};
use stowage_bench::consolidation::days::{self, Keeper};
use stowage_bench::trial::by_clock;
use stowage_checker::code::*;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::objects::{Container, Owner, Pod, PodDisruptionBudget, PodPhase};
use stowage_models::plan::{Plan, Policy};
use stowage_models::random::Random;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Limits, consolidate};

fn composed(name: &str) -> Snapshot {
    let composition = Composition::named(name).unwrap();
    composition.snapshot(composition.seed)
}

fn policy() -> Policy {
    // Without a least age, so that plans could undo each other if they wanted to.
    let wanted = ConsolidationPolicy { min_node_age_minutes: 0, ..ConsolidationPolicy::default() };
    Policy { slack: Ppm(0), consolidation: Some(wanted), ..Policy::default() }
}

fn limits(seconds: u64, threads: usize) -> Limits {
    by_clock(Duration::from_secs(seconds), threads)
}

/// Plans with time enough for the counted work, and has the plan checked.
fn planned(snapshot: &Snapshot, policy: &Policy) -> Plan {
    let planned = consolidate(snapshot, Catalog::embedded(), policy, &limits(120, 2), &mut |_| {}).unwrap();
    let findings = stowage_checker::check(snapshot, Catalog::embedded(), &planned.plan);
    assert_eq!(findings, [], "{:?}", snapshot.origin);
    planned.plan
}

/// The cluster after a plan.
fn applied(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    apply::applied(snapshot, Catalog::embedded(), plan)
}

#[test]
fn scaled_down_clusters_get_far_cheaper() {
    // Karpenter's consolidation at rest on the same snapshots (benchmarks/results).
    for (name, karpenter) in [("scaledown-30", 2_336_100), ("scaledown-100", 13_690_000)] {
        let plan = planned(&composed(name), &policy());
        let summary = &plan.consolidation.as_ref().unwrap().summary;
        assert!(summary.cost_after.0 < karpenter, "{name}: {summary:?}");
        assert!(summary.left_share <= Ppm(50_000), "{name}: {summary:?}");
    }
}

#[test]
fn the_same_plan_whatever_the_threads() {
    let snapshot = composed("scaledown-30");
    let make = |threads| {
        consolidate(&snapshot, Catalog::embedded(), &policy(), &limits(120, threads), &mut |_| {})
            .unwrap()
            .plan
            .id
    };
    assert_eq!(make(1), make(2));
}

#[test]
fn planning_again_saves_at_most_what_was_left() {
    let snapshot = composed("scaledown-30");
    let first = planned(&snapshot, &policy());
    let again = planned(&applied(&snapshot, &first), &policy());
    let (left, summary) =
        (first.consolidation.as_ref().unwrap().summary.left, &again.consolidation.as_ref().unwrap().summary);
    let saved = summary.cost_before - summary.cost_after - summary.disruption_rate;
    assert!(saved <= left, "{saved} of {left}");
}

/// What no plan may do, asserted without the referee.
fn assert_harmless(snapshot: &Snapshot, plan: &Plan) {
    let stated = plan.consolidation.as_ref().unwrap();
    let seed = &snapshot.origin;
    for one in stated.nodes.iter().filter(|one| one.reason.is_removal()) {
        let node = snapshot.nodes.iter().find(|node| node.name == one.node).unwrap();
        assert!(node.ready && !node.unschedulable && node.annotations.is_empty(), "{seed}: {one:?}");
        let pool =
            snapshot.node_pools.iter().find(|pool| Some(pool.name.as_str()) == node.nodepool()).unwrap();
        assert!(!matches!(pool.budgets[0].nodes.as_str(), "0" | "nonsense"), "{seed}: {one:?}");
        assert_ne!(pool.consolidate_after.as_deref(), Some("Never"), "{seed}: {one:?}");
        for pod in snapshot.pods.iter().filter(|pod| pod.node.as_ref() == Some(&node.name)) {
            assert!(pod.annotations.is_empty() && (pod.owner.is_some() || pod.deleting), "{seed}: {pod:?}");
            assert!(
                pod.deleting || pool.consolidation_policy.as_deref() != Some("WhenEmpty"),
                "{seed}: {pod:?}"
            );
            let over = snapshot
                .pod_disruption_budgets
                .iter()
                .filter(|budget| budget.selector.as_ref().unwrap().matches(&pod.labels) && !pod.deleting);
            let over: Vec<_> = over.collect();
            let may_go = |budget: &PodDisruptionBudget| {
                budget.disruptions_allowed != Some(0)
                    || budget.always_allow_unhealthy && pod.phase == PodPhase::Pending
            };
            assert!(over.len() <= 1 && over.iter().all(|budget| may_go(budget)), "{seed}: {pod:?}");
        }
    }
    for wave in &stated.waves {
        for pool in snapshot.node_pools.iter().filter(|pool| pool.budgets[0].nodes == "1") {
            let from: BTreeSet<&String> = stated
                .moves
                .iter()
                .filter(|one| wave.evictions.contains(&one.pod))
                .map(|one| &one.from)
                .chain(&wave.removals)
                .filter(|name| {
                    let node = snapshot.nodes.iter().find(|node| node.name == **name).unwrap();
                    node.nodepool() == Some(&pool.name)
                })
                .collect();
            assert!(from.len() <= 1, "{seed}: {wave:?}");
        }
    }
}

/// The nodes that a rule keeps.
fn fixed(plan: &Plan) -> BTreeSet<String> {
    let nodes = &plan.consolidation.as_ref().unwrap().nodes;
    let fixed = nodes.iter().filter(|one| !one.reason.is_removal() && one.reason != NodeReason::Worth);
    fixed.map(|one| one.node.clone()).collect()
}

/// Goal: no plan evicts a protected pod or exceeds a budget, and every plan ends at rest. `STOWAGE_CASES` asks for more.
#[test]
fn random_clusters_are_never_harmed_and_come_to_rest() {
    let cases = std::env::var("STOWAGE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let (mut removed, mut at_rest, mut compared) = (0, 0, 0);
    for seed in 0..cases {
        let snapshot = random(seed);
        let plan = planned(&snapshot, &policy());
        assert_harmless(&snapshot, &plan);
        let stated = plan.consolidation.as_ref().unwrap();
        removed += stated.summary.nodes_removed;
        let waits = snapshot.pods.iter().any(Pod::is_pending);
        if stated.summary.nodes_removed == 0 || waits {
            continue;
        }
        let after = applied(&snapshot, &plan);
        let again = planned(&after, &policy());
        let second = &again.consolidation.as_ref().unwrap().summary;
        let saved = second.cost_before - second.cost_after - second.disruption_rate;
        // Fewer nodes of a pool, or pods that run elsewhere, may open budgets that kept a node before.
        if fixed(&plan).is_subset(&fixed(&again)) {
            assert!(saved <= stated.summary.left, "{}: saves {saved} more", snapshot.origin);
            compared += 1;
        }
        at_rest += u64::from(second.nodes_removed == 0);
    }
    assert!(
        removed > 0 && at_rest > 0 && compared > 0,
        "{removed} removed, {at_rest} at rest, {compared} compared"
    );
}

/// Some pods end, others come.
fn change(snapshot: &mut Snapshot, rng: &mut Random, round: u64) {
    let leaves: Vec<bool> = snapshot.pods.iter().map(|_| rng.chance(35)).collect();
    let mut leaves = leaves.into_iter();
    snapshot.pods.retain(|_| !leaves.next().unwrap_or(false));
    for number in 0..rng.below(4) {
        let mut requests = stowage_models::quantity::Resources::default();
        requests.set("cpu", [100, 400, 1_500][rng.below(3) as usize]);
        requests.set("memory", [300, 1_500, 3_000][rng.below(3) as usize] << 20);
        let mut pod = Pod {
            namespace: "default".to_owned(),
            name: format!("new-{round}-{number}"),
            labels: Labels::from([("app".to_owned(), "new".to_owned())]).into(),
            owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: "new".to_owned() }.into()),
            ..Pod::default()
        };
        pod.spec.containers = vec![Container { requests, ..Container::default() }];
        snapshot.pods.push(pod);
    }
    snapshot.normalise();
}

/// Goal: without a change of input, each plan saves, the next is empty unless the first opened a rule that kept a node, and none removes
/// what one before it launched.
/// `STOWAGE_CASES` asks for more.
#[test]
fn plans_in_a_row_come_to_rest_and_undo_nothing() {
    let cases = std::env::var("STOWAGE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let (mut plans, mut restless, mut undone) = (0, Vec::new(), Vec::new());
    for seed in 0..cases {
        let mut rng = Random::new(seed ^ 0x5eed);
        let mut snapshot = with_claims(random(10_000 + seed));
        for round in 0..4 {
            let mut launched: BTreeSet<String> = BTreeSet::new();
            let mut kept: BTreeSet<String> = BTreeSet::new();
            for again in 0.. {
                let plan = planned(&snapshot, &policy());
                let stated = plan.consolidation.as_ref().unwrap();
                let summary = &stated.summary;
                plans += 1;
                let gone = stated.nodes.iter().filter(|one| one.reason.is_removal());
                undone.extend(
                    gone.filter(|one| launched.contains(&one.node))
                        .map(|one| (seed, round, one.node.clone())),
                );
                launched.extend(plan.launches.iter().map(|launch| apply::node_name(&plan, &launch.slot)));
                let waits = plan.summary.pods_pending > summary.pods_moved;
                snapshot = applied(&snapshot, &plan);
                if summary.nodes_removed == 0 {
                    if plan.launches.is_empty() {
                        break;
                    }
                    continue;
                }
                assert!(waits || summary.cost_after + summary.disruption_rate < summary.cost_before);
                // A plan may open a rule for another node: fewer nodes share a budget, shares of `Balanced` shift.
                let was_kept = std::mem::replace(&mut kept, fixed(&plan));
                if again > 0 && was_kept.is_subset(&kept) {
                    restless.push((seed, round, summary.cost_before, summary.cost_after));
                }
                assert!(again < 5, "{seed} {round}: no rest");
            }
            change(&mut snapshot, &mut rng, round);
        }
    }
    assert!(plans > 5 * cases, "{plans} plans");
    assert_eq!(undone, [], "undone, of {plans} plans");
    assert_eq!(restless, [], "of {plans} plans");
}

/// Goal: at no more moves than the baselines, cheaper than they are.
#[test]
fn cheaper_than_the_baselines_at_no_more_moves() {
    let effort = contest::Effort { time: Duration::from_secs(20), threads: 2 };
    let lines = contest("scaledown-30", &composed("scaledown-30"), effort).unwrap();
    for baseline in ["one node at a time", "prefix, then one"] {
        let of = |name: &str| lines.iter().find(|line| line.contestant == name).unwrap();
        let theirs = of(baseline);
        let ours = of(&format!("joint plan, no more moves than {baseline}"));
        assert!(theirs.cost_after < theirs.cost_before && theirs.pods_moved > 0, "{theirs:?}");
        assert!(ours.pods_moved <= theirs.pods_moved, "{ours:?} {theirs:?}");
        assert!(ours.cost_after < theirs.cost_after, "{ours:?} {theirs:?}");
    }
    let best = lines.iter().find(|line| line.contestant == "joint plan").unwrap();
    assert!(
        lines.iter().all(|line| best.bound.unwrap() <= line.cost_after),
        "the bound holds for all: {lines:?}"
    );
}

/// Goal: nothing is launched for less than an hour, or to be removed by the next plan that does something with no pod having come or gone
/// since; and consolidation pays.
#[test]
fn two_days_cost_less_with_joint_plans() {
    let joint = days::live(2, 1, Keeper::Joint).unwrap();
    let lazy = days::live(2, 1, Keeper::WhenEmpty).unwrap();
    assert_eq!((joint.pods, joint.dollars_bound), (lazy.pods, lazy.dollars_bound), "the same pods came");
    assert!(joint.moved > 0 && joint.removed > 0, "{joint:?}");
    assert_eq!((joint.removed_young, joint.undone), (0, 0), "{joint:?}");
    assert!(joint.dollars < lazy.dollars && joint.dollars_bound < joint.dollars, "{joint:?} {lazy:?}");
}

/// A clock that says the time is over at once still gives a plan, and a proof.
#[test]
fn a_clock_that_is_too_short_gives_a_plan_nevertheless() {
    let snapshot = composed("scaledown-100");
    let plan =
        consolidate(&snapshot, Catalog::embedded(), &policy(), &limits(0, 2), &mut |_| {}).unwrap().plan;
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &plan), []);
    let summary = &plan.consolidation.as_ref().unwrap().summary;
    assert!(summary.nodes_removed > 0 && summary.left_share < Ppm(200_000), "{summary:?}");
}

/// A plan with one thing changed, and what the referee says.
fn refused(snapshot: &Snapshot, plan: &Plan, damage: impl FnOnce(&mut Plan)) -> BTreeSet<&'static str> {
    let mut plan = plan.clone();
    damage(&mut plan);
    plan.id = plan.compute_id();
    stowage_checker::check(snapshot, Catalog::embedded(), &plan)
        .into_iter()
        .map(|finding| finding.code)
        .collect()
}

#[test]
fn the_referee_sees_every_lie() {
    let snapshot = composed("scaledown-30");
    let plan = planned(&snapshot, &policy());
    let look = |damage: fn(&mut Plan)| refused(&snapshot, &plan, damage);
    fn stated(plan: &mut Plan) -> &mut stowage_models::consolidation::Consolidation {
        plan.consolidation.as_mut().unwrap()
    }
    assert_eq!(look(|_| ()), BTreeSet::new());
    assert_eq!(look(|plan| plan.consolidation = None), BTreeSet::from([CONSOLIDATION]));
    assert!(look(|plan| stated(plan).summary.bound.0 += 1).contains(BOUND));
    assert!(look(|plan| stated(plan).summary.cost_after.0 -= 1).contains(FIGURE));
    assert!(look(|plan| stated(plan).moves[0].to = "nowhere".to_owned()).contains(MOVE));
    assert!(look(|plan| drop(stated(plan).moves.pop())).contains(MOVE));
    assert!(look(|plan| drop(stated(plan).waves.pop())).contains(WAVE));
    assert!(look(|plan| stated(plan).waves.swap(0, 5)).contains(WAVE));
    let all_at_once = look(|plan| {
        let waves = std::mem::take(&mut stated(plan).waves);
        let mut one = stowage_models::consolidation::Wave::default();
        for wave in waves {
            one.launches.extend(wave.launches);
            one.evictions.extend(wave.evictions);
            one.removals.extend(wave.removals);
        }
        one.launches.sort();
        one.evictions.sort();
        one.removals.sort();
        stated(plan).waves = vec![one];
    });
    assert_eq!(all_at_once, BTreeSet::from([WAVE]));
    let kept = look(|plan| {
        let one = stated(plan).nodes.iter_mut().find(|one| one.reason == NodeReason::Underutilized);
        one.unwrap().reason = NodeReason::Worth;
    });
    assert!(kept.contains(MOVE) || kept.contains(NODE_LIST), "{kept:?}");
    let unexplained = look(|plan| {
        let one = stated(plan).nodes.iter_mut().find(|one| !one.reason.is_removal()).unwrap();
        one.reason = NodeReason::Young;
    });
    assert!(unexplained.contains(DECISION), "{unexplained:?}");
    let protected = look(|plan| {
        let fixed = [NodeReason::Pod, NodeReason::PodDisruptionBudget];
        let one = stated(plan).nodes.iter_mut().find(|one| fixed.contains(&one.reason)).unwrap();
        one.reason = NodeReason::Underutilized;
    });
    assert!(protected.contains(PROTECTED), "{protected:?}");
    let greedy = look(|plan| plan.policy.consolidation.as_mut().unwrap().savings_threshold = Ppm(900_000));
    assert_eq!(greedy, BTreeSet::from([THRESHOLD]));
    let dear = refused(&snapshot, &plan, |plan| {
        plan.policy.consolidation.as_mut().unwrap().eviction_cost = UsdMicros(6_000);
    });
    assert!(dear.contains(FIGURE));
}

#[test]
fn nodes_are_left_alone_until_they_are_old_enough() {
    let mut snapshot = composed("scaledown-30");
    snapshot.nodes.iter_mut().for_each(|node| node.created = snapshot.taken_at.clone());
    let of = |minutes| {
        let wanted = ConsolidationPolicy { min_node_age_minutes: minutes, ..ConsolidationPolicy::default() };
        let plan = planned(&snapshot, &Policy { consolidation: Some(wanted), ..policy() });
        plan.consolidation.unwrap()
    };
    assert!(of(0).summary.nodes_removed > 0);
    let kept = of(1);
    assert_eq!(kept.summary.nodes_removed, 0);
    assert!(kept.nodes.iter().any(|one| one.reason == NodeReason::Young), "{:?}", kept.nodes);
}

#[test]
fn nonsense_is_refused_with_words() {
    let snapshot = composed("scaledown-30");
    let wrong = |change: fn(&mut ConsolidationPolicy)| {
        let mut wanted = ConsolidationPolicy::default();
        change(&mut wanted);
        let policy = Policy { consolidation: Some(wanted), ..policy() };
        let planned = consolidate(&snapshot, Catalog::embedded(), &policy, &limits(1, 1), &mut |_| {});
        planned.map(|_| ()).unwrap_err().to_string()
    };
    assert!(wrong(|wanted| wanted.horizon_minutes = 0).contains("horizon"));
    assert!(wrong(|wanted| wanted.eviction_cost = UsdMicros(-1)).contains("not negative"));
    assert!(wrong(|wanted| wanted.age_weight = Ppm(10_000_001)).contains("between 0 and 10"));
    assert!(wrong(|wanted| wanted.restart_weight = Ppm(-1)).contains("between 0 and 10"));
    let unknown = wrong(|wanted| wanted.node_pools = vec!["genral".to_owned()]);
    assert!(unknown.contains("genral") && unknown.contains("critical, general"), "{unknown}");
}
