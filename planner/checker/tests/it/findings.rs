//! Right plans are accepted; every finding has a plan that is wrong in just that.

use crate::support::*;
use std::collections::BTreeSet;
use stowage_checker::code::{self, *};
use stowage_models::labels;
use stowage_models::objects::{PodPhase, PodRef, Toleration};
use stowage_models::plan::{LimitMultiplier, NodeVector, Plan, Unplaced, UnplacedReason};
use stowage_models::quantity::Resources;
use stowage_models::units::{Ppm, UsdMicros};

pub(crate) fn simple() -> Case {
    Case::new(simple_snapshot(), Rule::Cpu)
}

pub(crate) fn rich() -> Case {
    Case::new(rich_snapshot(), Rule::Cpu)
}

#[test]
fn right_plans_are_accepted() {
    for rule in [Rule::Cpu, Rule::Zero] {
        for snapshot in [simple_snapshot(), rich_snapshot()] {
            let case = Case::new(snapshot, rule);
            assert_eq!(case.findings(), [], "{}", serde_json::to_string_pretty(&case.plan).unwrap());
            assert!(rule == Rule::Zero || case.plan.summary.launch_bound.0 > 0);
        }
    }
}

/// Goal: the tests below break something that is there.
#[test]
fn the_rich_plan_has_everything() {
    let plan = rich().plan;
    let pools: BTreeSet<&str> = plan.launches.iter().map(|launch| launch.node_pool.as_str()).collect();
    assert_eq!(pools, BTreeSet::from(["first", "general", "gold"]));
    let reasons: BTreeSet<UnplacedReason> = plan.unplaced.iter().map(|entry| entry.reason).collect();
    assert_eq!(reasons.len(), 3);
    let launched: BTreeSet<_> = plan.launches.iter().map(|launch| &launch.labels).collect();
    assert!(launched.len() >= 4, "several variants: {launched:?} {:?}", plan.unplaced);
    assert!(plan.existing.iter().any(|node| !node.pods.is_empty()));
    assert!(plan.launches.iter().any(|launch| launch.price_estimated || !launch.alternates.is_empty()));
    assert_eq!(plan.certificate.vectors.len(), 2);
    assert!(!plan.certificate.node_vectors.is_empty() && !plan.certificate.limits.is_empty());
    let weights: BTreeSet<i32> = plan.certificate.rows.iter().map(|row| row.min_weight).collect();
    assert!(weights.len() >= 3, "{weights:?}");
}

#[test]
fn an_empty_cluster_has_an_empty_plan() {
    let mut snapshot = simple_snapshot();
    snapshot.pods.clear();
    let case = Case::new(snapshot, Rule::Cpu);
    assert_eq!(case.findings(), []);
    assert!(case.plan.is_empty());
}

/// Breaks a plan and compares what is found (after a fresh id) with `wanted`.
#[track_caller]
pub(crate) fn expect(mut case: Case, wanted: &[&'static str], damage: impl FnOnce(&mut Plan)) {
    damage(&mut case.plan);
    let found = case.codes();
    assert_eq!(found, wanted.iter().copied().collect(), "{:#?}", case.findings());
}

/// As [`expect`], with the figures of the summary adapted to the damage.
#[track_caller]
fn expect_restated(case: Case, wanted: &[&'static str], damage: impl FnOnce(&mut Plan)) {
    expect(case, wanted, |plan| {
        damage(plan);
        restate(plan);
    });
}

#[test]
fn identity() {
    let mut case = simple();
    case.plan.id = "sha256:0".into();
    assert_eq!(case.findings().len(), 1);
    assert_eq!(case.findings()[0].code, ID);
    expect(simple(), &[KIND], |plan| plan.kind = "Plan".into());
    expect(simple(), &[VERSION], |plan| plan.format_version = "2.0".into());
    expect(simple(), &[], |plan| plan.format_version = "1.7".into());
    expect(simple(), &[STALE_SNAPSHOT], |plan| plan.snapshot.digest.push('0'));
    expect(simple(), &[SNAPSHOT_REF], |plan| plan.snapshot.taken_at = None);
    expect(simple(), &[SNAPSHOT_REF], |plan| plan.snapshot.origin.clear());
    expect(simple(), &[STALE_CATALOG], |plan| plan.catalog.digest.clear());
    expect(simple(), &[CATALOG_REF], |plan| plan.catalog.region = "eu-west-1".into());
    expect(simple(), &[CATALOG_REF], |plan| plan.catalog.on_demand_as_of.clear());
    expect(simple(), &[CATALOG_REF], |plan| plan.catalog.spot_as_of.clear());
    expect(simple(), &[POLICY], |plan| plan.policy.gap = Ppm(-1));
    for slack in [-1, 500_001, i64::MIN, i64::MAX] {
        let mut case = simple();
        case.plan.policy.slack = Ppm(slack);
        assert!(case.codes().contains(POLICY));
    }
}

#[test]
fn another_snapshot_or_catalogue_is_stale() {
    let mut case = simple();
    case.snapshot.seed += 1;
    assert_eq!(case.codes(), BTreeSet::from([STALE_SNAPSHOT]));
    let mut case = simple();
    case.catalog.advisor_as_of = "2001-01-01".into();
    assert_eq!(case.codes(), BTreeSet::from([STALE_CATALOG]));
}

#[test]
fn a_snapshot_that_repeats_a_name_cannot_be_judged() {
    let mut case = simple();
    case.snapshot.pods.push(pod("web-0", 1, 1));
    case.plan.snapshot.digest = case.snapshot.digest();
    assert_eq!(case.codes(), BTreeSet::from([SNAPSHOT]));
}

#[test]
fn every_pod_once() {
    // `restate` would hide the missing pod from the summary, which is right: it has its own finding.
    let mut gone = PodRef::default();
    expect_restated(simple(), &[MISSING_POD, REQUESTED, FIGURE, CERT_ROWS], |plan| {
        gone = plan.launches[0].pods.remove(0);
    });
    expect_restated(
        simple(),
        &[DUPLICATE_POD, ORDER, REQUESTED, FIGURE, CERT_ROWS, CAPACITY, ALTERNATE_FIT],
        |plan| {
            let pod = plan.launches[0].pods[0].clone();
            plan.launches[0].pods.insert(0, pod);
        },
    );
    expect_restated(simple(), &[UNKNOWN_POD, FIGURE], |plan| {
        plan.launches[0].pods.push(PodRef("shop/zebra".into()));
    });
    expect_restated(rich(), &[UNKNOWN_POD, FIGURE], |plan| {
        plan.existing[1].pods.push(PodRef("shop/running-0".into()));
        plan.existing[1].pods.sort();
    });
    expect(simple(), &[ORDER], |plan| {
        let launch = plan.launches.iter_mut().find(|launch| launch.pods.len() > 1).unwrap();
        launch.pods.reverse();
    });
    expect(simple(), &[SLOT], |plan| plan.launches[1].slot = "new-2".into());
    expect(rich(), &[UNPLACED_EMPTY], |plan| {
        let empty = Unplaced { pods: Vec::new(), ..plan.unplaced[0].clone() };
        plan.unplaced.push(empty);
    });
}

#[test]
fn launches_are_real_offerings() {
    for damage in [
        |plan: &mut Plan| plan.launches[0].node_pool = "other".into(),
        |plan: &mut Plan| plan.launches[0].instance_type = "m5.tiny".into(),
        |plan: &mut Plan| plan.launches[0].zone = "us-east-1f".into(),
        |plan: &mut Plan| plan.launches[0].capacity_type = "reserved".into(),
        |plan: &mut Plan| plan.launches[0].labels = labels_of(&[("a", "b")]),
    ] {
        let mut case = simple();
        damage(&mut case.plan);
        // The alternates are those of the launch that was.
        case.plan.launches[0].alternates.clear();
        assert_eq!(case.codes(), BTreeSet::from([OFFERING]));
    }
    expect_restated(simple(), &[PRICE], |plan| plan.launches[0].price.0 += 1);
    expect_restated(simple(), &[ESTIMATED], |plan| plan.launches[0].price_estimated ^= true);
    expect(simple(), &[ALLOCATABLE], |plan| plan.launches[0].allocatable.set("memory", 1));
    expect(simple(), &[DAEMON_SETS], |plan| plan.launches[0].daemon_sets.set("cpu", 51));
    expect(simple(), &[REQUESTED], |plan| plan.launches[0].requested.set("pods", 9));
    expect(rich(), &[REQUESTED], |plan| plan.existing[1].requested.set("pods", 9));
    // An amount of zero is no amount.
    expect(simple(), &[], |plan| {
        let _ = plan.launches[0].requested.0.insert("x".into(), 0);
    });
    expect_restated(simple(), &[EMPTY_LAUNCH], |plan| {
        let mut empty = plan.launches[0].clone();
        (empty.pods, empty.requested) = (Vec::new(), Resources::default());
        empty.slot = format!("new-{:04}", plan.launches.len() + 1);
        plan.launches.push(empty);
    });
}

/// Moves the first pod of one launch to another, sums adapted.
fn move_pod(plan: &mut Plan, from: usize, to: usize) {
    let pod = plan.launches[from].pods.remove(0);
    let count = i64::try_from(plan.launches[from].pods.len()).unwrap() + 1;
    let mut moved = plan.launches[from].requested.clone();
    moved.0.values_mut().for_each(|amount| *amount /= count);
    plan.launches[from].requested.sub(&moved);
    plan.launches[to].requested.add(&moved);
    plan.launches[to].pods.push(pod);
    plan.launches[to].pods.sort();
    plan.launches[to].alternates.clear();
}

#[test]
fn pods_match_and_fit() {
    // Half of every node is not enough.
    expect(simple(), &[CAPACITY, ALTERNATE_FIT], |plan| plan.policy.slack = Ppm(500_000));
    // A pod that selects example.com/gold in a pool that does not have it.
    let mut case = rich();
    let gold = case.plan.launches.iter().position(|launch| launch.node_pool == "gold").unwrap();
    let general = case.plan.launches.iter().position(|launch| launch.node_pool == "general").unwrap();
    move_pod(&mut case.plan, gold, general);
    let codes = case.codes();
    assert!(codes.contains(MATCH) && codes.contains(WEIGHT), "{codes:?}");
    // One pod more than a closed node takes.
    expect_restated(rich(), &[NODE_CLOSED], |plan| {
        let pods = std::mem::take(&mut plan.existing[1].pods);
        plan.existing[2].pods = pods;
        plan.existing[2].requested = std::mem::take(&mut plan.existing[1].requested);
    })
}

#[test]
fn alternates_hold_the_same_pods() {
    let cheap = |case: &mut Case| {
        let with = case.plan.launches.iter().position(|launch| launch.alternates.len() > 2);
        with.expect("a launch with alternates")
    };
    let damage = |wanted: &[&'static str], damage: &dyn Fn(&mut Plan, usize)| {
        let mut case = simple();
        let launch = cheap(&mut case);
        damage(&mut case.plan, launch);
        assert_eq!(case.codes(), wanted.iter().copied().collect(), "{:#?}", case.findings());
    };
    damage(&[], &|plan, launch| drop(plan.launches[launch].alternates.remove(1)));
    damage(&[ALTERNATE_ORDER], &|plan, launch| plan.launches[launch].alternates.swap(0, 1));
    damage(&[ALTERNATE_ORDER], &|plan, launch| {
        let twice = plan.launches[launch].alternates[0].clone();
        plan.launches[launch].alternates.insert(0, twice);
    });
    damage(&[ALTERNATE_OFFERING], &|plan, launch| {
        plan.launches[launch].alternates[0].zone = "us-east-1z".into();
    });
    damage(&[ALTERNATE_OFFERING], &|plan, launch| {
        let launch = &mut plan.launches[launch];
        launch.alternates.truncate(1);
        launch.alternates[0].instance_type = launch.instance_type.clone();
        launch.alternates[0].zone = launch.zone.clone();
        launch.alternates[0].capacity_type = launch.capacity_type.clone();
        launch.alternates[0].price = launch.price;
    });
    damage(&[ALTERNATE_PRICE], &|plan, launch| {
        plan.launches[launch].alternates.last_mut().unwrap().price.0 += 1;
    });
    // c5.large has 4 GiB, too little for a cache.
    let mut case = simple();
    let cache = case.plan.launches.iter().position(|launch| launch.pods[0].0 == "shop/cache-0").unwrap();
    let price = case.catalog.get("c5.large").unwrap().price("us-east-1a", "spot").unwrap().usd;
    let mut alternate = case.plan.launches[cache].alternates[0].clone();
    (alternate.instance_type, alternate.zone) = ("c5.large".into(), "us-east-1a".into());
    (alternate.capacity_type, alternate.price) = ("spot".into(), price);
    case.plan.launches[cache].alternates = vec![alternate];
    assert_eq!(case.codes(), BTreeSet::from([ALTERNATE_FIT]));
    // Sixteen offerings there are not in the small catalogue, so this one needs wrong alternates to be too long.
    let mut case = simple();
    case.plan.launches[0].alternates = vec![case.plan.launches[0].alternates[0].clone(); 16];
    assert_eq!(case.codes(), BTreeSet::from([ALTERNATE_COUNT, ALTERNATE_ORDER]));
}

#[test]
fn existing_nodes_are_listed_with_their_facts() {
    expect(rich(), &[NODE_LIST, FIGURE], |plan| {
        plan.existing.remove(2);
        restate(plan);
    });
    expect(rich(), &[NODE_LIST, ORDER], |plan| plan.existing[2].name = "a".into());
    expect(rich(), &[ORDER], |plan| plan.existing.swap(0, 1));
    for damage in [
        |plan: &mut Plan| plan.existing[0].node_pool = None,
        |plan: &mut Plan| plan.existing[0].instance_type = None,
        |plan: &mut Plan| plan.existing[0].zone = Some("x".into()),
        |plan: &mut Plan| plan.existing[0].capacity_type = Some("spot".into()),
        |plan: &mut Plan| plan.existing[0].allocatable.set("cpu", 1),
        |plan: &mut Plan| plan.existing[0].running.set("cpu", 1),
    ] {
        expect(rich(), &[NODE_FACTS], damage);
    }
    expect(rich(), &[NODE_FACTS], |plan| plan.existing[0].price = None);
}

#[test]
fn limits_hold() {
    // The same plan under a limit that is one unit too tight; its multipliers pay for the old one.
    let mut case = rich();
    let pool = case.snapshot.node_pools.iter_mut().find(|pool| pool.name == "first").unwrap();
    pool.limits.set("nodes", 2);
    case.plan.snapshot.digest = case.snapshot.digest();
    let codes = case.codes();
    assert!(codes.contains(LIMIT), "{codes:?}");
}

/// Goal: a pool that is over its limits before the plan is no reason to refuse a plan that launches nothing there, and no
/// multiplier turns its debt into a bound.
#[test]
fn a_pool_over_its_limit_launches_nothing() {
    let mut snapshot = rich_snapshot();
    let pool = snapshot.node_pools.iter_mut().find(|pool| pool.name == "first").unwrap();
    pool.limits.0.insert("nodes".into(), 0);
    let mut case = Case::new(snapshot, Rule::Cpu);
    assert_eq!(case.findings(), []);
    let limits = &mut case.plan.certificate.limits;
    let debt = limits.iter_mut().find(|limit| limit.resource == "nodes").unwrap();
    debt.multiplier = i64::MAX;
    // The multiplier is as good as any other, and the bound is what it was.
    assert_eq!(case.codes(), BTreeSet::new());
}

#[test]
fn weights_are_strict() {
    // `flexible` tolerates the taint of `first`, so a row that lets it use `general` needs a reason.
    expect(simple(), &[MIN_WEIGHT, WEIGHT, BOUND], |plan| {
        plan.certificate.rows[0].min_weight = 1;
        // Nothing of weight 1 exists, so the row no longer counts anywhere; the bound is the same.
        plan.summary.launch_bound.0 -= 1;
        restate(plan);
    });
    let mut case = rich();
    assert_eq!(
        (case.plan.certificate.rows[0].pod.0.as_str(), case.plan.certificate.rows[0].min_weight),
        ("shop/auric-0", 5)
    );
    // No pool of weight 0 has the label it selects.
    case.plan.certificate.rows[0].min_weight = 0;
    let codes = case.codes();
    assert!(codes.contains(MIN_WEIGHT), "{codes:?}");
}

fn reason(plan: &mut Plan, reason: UnplacedReason) -> &mut Unplaced {
    plan.unplaced.iter_mut().find(|entry| entry.reason == reason).unwrap()
}

#[test]
fn reasons_are_true() {
    use UnplacedReason::{Limits, NoFit, Unsupported};
    expect(rich(), &[UNSUPPORTED], |plan| reason(plan, Unsupported).reason = NoFit);
    expect(rich(), &[UNSUPPORTED], |plan| reason(plan, NoFit).reason = Unsupported);
    expect(rich(), &[LIMITS_REASON, CERT_ROWS], |plan| reason(plan, NoFit).reason = Limits);
    // The rows of groups left out altogether go, too.
    let mut case = rich();
    reason(&mut case.plan, Limits).reason = NoFit;
    assert!(case.codes().contains(NO_FIT));
    let mut case = rich();
    let port = reason(&mut case.plan, Unsupported).pods.remove(0);
    case.plan.existing[1].pods.push(port);
    case.plan.existing[1].pods.sort();
    assert!(case.codes().contains(UNSUPPORTED_PLACED));
    // A pod that was placed and is now left out for limits has its old place free.
    let mut case = simple();
    let launch = case.plan.launches.iter_mut().find(|launch| launch.pods.len() > 1).unwrap();
    let pod = launch.pods.remove(0);
    let entry = Unplaced {
        reason: Limits,
        message: String::new(),
        hint: String::new(),
        nearest: None,
        blocking: Vec::new(),
        pods: vec![pod],
    };
    case.plan.unplaced.push(entry);
    assert!(case.codes().contains(NOT_MAXIMAL));
}

#[test]
fn figures_are_recomputed() {
    for damage in [
        |plan: &mut Plan| plan.summary.pods_pending += 1,
        |plan: &mut Plan| plan.summary.pods_on_existing += 1,
        |plan: &mut Plan| plan.summary.pods_on_new += 1,
        |plan: &mut Plan| plan.summary.pods_unplaced += 1,
        |plan: &mut Plan| plan.summary.groups += 1,
        |plan: &mut Plan| plan.summary.offerings = u64::MAX,
        |plan: &mut Plan| plan.summary.nodes_before += 1,
        |plan: &mut Plan| plan.summary.nodes_launched += 1,
        |plan: &mut Plan| plan.summary.nodes_unpriced += 1,
        |plan: &mut Plan| plan.summary.cost_before.0 += 1,
        |plan: &mut Plan| plan.summary.estimated_cost.0 += 1,
    ] {
        expect(rich(), &[FIGURE], damage);
    }
    expect(rich(), &[FIGURE, GAP, PROGRESS], |plan| plan.summary.launch_cost.0 += 1);
    expect(rich(), &[GAP], |plan| plan.summary.gap.0 += 1);
    expect(rich(), &[PROGRESS], |plan| plan.progress[0].cost = UsdMicros(0));
    expect(rich(), &[PROGRESS], |plan| plan.progress[0].bound = UsdMicros(i64::MAX));
    expect(rich(), &[PROGRESS], |plan| drop(plan.progress.pop()));
    expect(rich(), &[], |plan| plan.progress.clear());
}

#[test]
fn the_bound_is_proved() {
    for change in [-1, 1] {
        expect_restated(simple(), &[BOUND], |plan| plan.summary.launch_bound.0 += change);
        expect_restated(rich(), &[BOUND], |plan| {
            plan.summary.launch_bound_without_weights.as_mut().unwrap().0 += change;
        });
    }
    // A bound above the cost cannot be proved, whatever it is.
    expect_restated(simple(), &[BOUND], |plan| plan.summary.launch_bound = UsdMicros(i64::MAX));
    expect(rich(), &[CERT_WEIGHTS], |plan| plan.certificate_without_weights = None);
    expect(rich(), &[CERT_WEIGHTS], |plan| plan.summary.launch_bound_without_weights = None);
    expect(simple(), &[CERT_VALUE], |plan| {
        plan.certificate.rows[0].multiplier *= 3;
    });
    // A node no hardware has, at a price no money has.
    let mut snapshot = rich_snapshot();
    snapshot.nodes[1].allocatable.set("cpu", i64::MAX);
    expect(Case::new(snapshot, Rule::Cpu), &[CERT_RANGE], |plan| {
        for certificate in [&mut plan.certificate, plan.certificate_without_weights.as_mut().unwrap()] {
            certificate.vectors.push(vec![i64::MAX, 0]);
            let node = certificate.node_vectors.iter_mut().find(|one| one.node == "old-2");
            node.unwrap().vector = 2;
        }
    });
}

#[test]
fn rows_are_the_groups() {
    expect(simple(), &[CERT_ROWS], |plan| drop(plan.certificate.rows.pop()));
    expect(simple(), &[CERT_ROWS], |plan| plan.certificate.rows.swap(0, 1));
    expect(simple(), &[CERT_ROWS], |plan| plan.certificate.rows[0].pods += 1);
    expect(simple(), &[CERT_ROWS], |plan| plan.certificate.rows[0].pod = PodRef("shop/cache-1".into()));
    expect(rich(), &[CERT_ROWS], |plan| {
        plan.certificate_without_weights.as_mut().unwrap().rows[0].min_weight = 0;
    });
    expect(simple(), &[CERT_MULTIPLIER], |plan| plan.certificate.rows[0].multiplier = -1);
    expect(rich(), &[CERT_MULTIPLIER], |plan| plan.certificate.limits[0].multiplier = 0);
    expect(rich(), &[CERT_LIMITS], |plan| plan.certificate.limits.swap(0, 1));
    expect(simple(), &[CERT_LIMITS], |plan| {
        let (node_pool, resource) = ("general".into(), "cpu".into());
        plan.certificate.limits.push(LimitMultiplier { node_pool, resource, multiplier: 1 });
    });
}

#[test]
fn vectors_are_well_formed() {
    expect(simple(), &[CERT_VECTORS], |plan| plan.certificate.vectors.push(vec![7, 7]));
    expect(simple(), &[CERT_VECTORS], |plan| plan.certificate.vectors[0].push(0));
    expect(simple(), &[CERT_VECTORS], |plan| plan.certificate.vectors[0][1] = -1);
    expect(simple(), &[CERT_VECTORS], |plan| {
        plan.certificate.vectors[1] = plan.certificate.vectors[0].clone()
    });
    expect(simple(), &[CERT_VECTORS], |plan| plan.certificate.resources[1] = "cpu".into());
    let wrong = [
        "",
        "0",
        "0*x",
        "+0*32",
        "-1",
        "0*0",
        "9*32",
        "0*18446744073709551615",
        "0*99999999999999999999",
        ",",
    ];
    for text in wrong.iter().map(ToString::to_string).chain(["0,".repeat(33), "0*33".into(), "0*31".into()]) {
        let mut case = simple();
        assert_eq!(case.plan.summary.offerings, 16);
        case.plan.certificate.offering_vectors = text;
        assert!(case.codes().contains(CERT_OFFERINGS));
    }
    expect(rich(), &[CERT_NODES], |plan| plan.certificate.node_vectors[0].vector = 9);
    expect(rich(), &[CERT_NODES], |plan| drop(plan.certificate.node_vectors.pop()));
    expect(rich(), &[CERT_NODES], |plan| {
        let twice = plan.certificate.node_vectors[0].clone();
        plan.certificate.node_vectors.insert(0, twice);
    });
    for name in ["zz-nowhere", "shut"] {
        expect(rich(), &[CERT_NODES], |plan| {
            let node = NodeVector { node: name.into(), vector: 0, value: i64::MAX };
            plan.certificate.node_vectors.push(node);
        });
    }
}

/// Goal: what holds for whole pods only is a proof, too, and what does not hold is none.
#[test]
fn integer_patterns_prove_more() {
    // Cpu at `permille` of the price at which the best offering is just worth its price, as if it could be filled up.
    let at = |permille: i64| {
        let mut case = simple();
        let certificate = &mut case.plan.certificate;
        certificate.rows.iter_mut().for_each(|row| row.multiplier = row.multiplier * permille / 1000);
        let entries = certificate.vectors.iter_mut().flatten();
        entries.for_each(|entry| *entry = *entry * permille / 1000);
        let total: i64 =
            certificate.rows.iter().map(|row| row.multiplier * i64::try_from(row.pods).unwrap()).sum();
        case.plan.summary.launch_bound = UsdMicros((total + (1 << 20) - 1) >> 20);
        restate(&mut case.plan);
        case
    };
    let before = simple().plan.summary.launch_bound;
    let mut better = at(1005);
    assert!(better.plan.summary.launch_bound > before);
    assert_eq!(better.codes(), BTreeSet::new());
    assert_eq!(at(1300).codes(), BTreeSet::from([CERT_VALUE]));
    // A node is worth what whole pods in it are worth, and no less.
    let by_node = |change: fn(i64) -> i64| {
        let mut case = rich();
        let node = &mut case.plan.certificate.node_vectors[0];
        node.value = change(node.value);
        case.codes()
    };
    assert!(!by_node(|value| value - 1).contains(CERT_VALUE));
    assert!(by_node(|_| 0).contains(CERT_VALUE));
    assert!(by_node(|_| i64::MIN).contains(CERT_VALUE));
}

/// Goal: a code nobody tests is a code nobody needs.
#[test]
fn every_code_is_tested() {
    let text = concat!(
        include_str!("constraints.rs"),
        include_str!("findings.rs"),
        include_str!("parts.rs"),
        include_str!("../../../../benchmarks/tests/it/consolidation/mod.rs"),
        include_str!("../../../../benchmarks/tests/it/consolidation/spot.rs"),
        include_str!("../../../../benchmarks/tests/it/diversity.rs"),
        include_str!("../../../../benchmarks/tests/it/min_values.rs")
    );
    let source = include_str!("../../src/finding.rs");
    for code in code::ALL {
        let line = source.lines().find(|line| line.contains(&format!("= \"{code}\";"))).expect("a constant");
        let name = line.trim().split(' ').next().unwrap();
        assert!(
            text.contains(&format!("[{name}"))
                || text.contains(&format!(" {name}"))
                || text.contains(&format!("({name})"))
                || text.contains(&format!("code::{name})")),
            "{name}"
        );
    }
}

/// Goal: texts for people are not judged.
#[test]
fn texts_are_free() {
    expect(rich(), &[], |plan| {
        plan.notes = vec!["anything".into()];
        plan.planner = "other".into();
        for entry in &mut plan.unplaced {
            (entry.message, entry.hint, entry.nearest) = (String::new(), "?".into(), Some("-".into()));
        }
    });
}

/// Goal: an unschedulable node, a deleted one and one about to be disrupted take no pods, and a pod that ended holds nothing.
#[test]
fn what_closes_a_node() {
    let mut snapshot = rich_snapshot();
    let index = snapshot.nodes.iter().position(|node| node.name == "old-2").unwrap();
    let right = Case::new(snapshot.clone(), Rule::Cpu);
    assert!(!right.plan.existing[index].pods.is_empty());
    for close in [
        |node: &mut stowage_models::objects::Node| node.ready = false,
        |node: &mut stowage_models::objects::Node| node.deleting = true,
        |node: &mut stowage_models::objects::Node| {
            let effect = stowage_models::objects::TaintEffect::PreferNoSchedule;
            let key = labels::TAINT_DISRUPTED.into();
            node.taints.push(stowage_models::objects::Taint { key, value: String::new(), effect });
        },
    ] {
        let mut case = right.clone();
        close(&mut case.snapshot.nodes[index]);
        case.plan.snapshot.digest = case.snapshot.digest();
        assert!(case.codes().contains(NODE_CLOSED));
    }
    let mut ended = pod("ended-0", 1900, GIB);
    (ended.node, ended.phase) = (Some("old-2".into()), PodPhase::Succeeded);
    snapshot.pods.push(ended);
    snapshot.normalise();
    let mut case = right;
    case.snapshot = snapshot;
    case.plan.snapshot.digest = case.snapshot.digest();
    assert_eq!(case.codes(), BTreeSet::new());
    // Running instead of ended, it leaves no room.
    let ended = case.snapshot.pods.iter_mut().find(|pod| pod.name == "ended-0").unwrap();
    (ended.phase, ended.spec.tolerations) = (PodPhase::Running, vec![Toleration::default()]);
    case.plan.snapshot.digest = case.snapshot.digest();
    let codes = case.codes();
    assert!(codes.contains(CAPACITY) && codes.contains(NODE_FACTS), "{codes:?}");
}
