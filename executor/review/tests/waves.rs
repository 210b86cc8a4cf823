//! Goal: a plan that removes nodes comes out of its spec as it was put in, people read what is carried out, and whoever changes one of the two is
//! found, also with a new digest; what is gone is named.

use std::collections::BTreeSet;
use stowage_api::PlanSpec;
use stowage_models::consolidation::{Consolidation, Move, NodeDecision, NodeReason, Wave as PlannedWave};
use stowage_models::departure::{Departure, DepartureReason};
use stowage_models::labels;
use stowage_models::objects::{Node, PodRef};
use stowage_models::plan::{Launch, Plan};
use stowage_models::units::UsdMicros;
use stowage_review::{Known, Reads, Target, digest, open, proposal, published, read_file, waves};

const UNTIL: &str = "2026-11-22T00:15:00Z";

fn pod(name: &str) -> PodRef {
    PodRef(format!("default/{name}"))
}

/// `a` and `b` go: pods of `a` to `c` and to a launch, the one of `b`, whose machine is taken away, nowhere.
fn plan() -> Plan {
    let launch = Launch {
        slot: "new-0001".to_owned(),
        node_pool: "general".to_owned(),
        instance_type: "m6a.large".to_owned(),
        zone: "us-east-1a".to_owned(),
        capacity_type: "on-demand".to_owned(),
        labels: Default::default(),
        price: UsdMicros(86_400),
        list_price: None,
        price_estimated: false,
        allocatable: Default::default(),
        daemon_sets: Default::default(),
        requested: Default::default(),
        pods: vec![pod("two")],
        alternates: Vec::new(),
    };
    let decided = |node: &str, reason: NodeReason, price: i64| NodeDecision {
        node: node.to_owned(),
        reason,
        pod: None,
        budget: None,
        departure: None,
        message: String::new(),
        price: Some(UsdMicros(price)),
    };
    let mut nodes = vec![
        decided("a", NodeReason::Underutilized, 200_000),
        decided("b", NodeReason::Interrupted, 100_000),
        decided("c", NodeReason::Worth, 100_000),
    ];
    nodes[1].departure = Some(Departure {
        reason: DepartureReason::Interrupted,
        deadline: Some("2026-11-22T00:02:00Z".to_owned()),
        forced: true,
    });
    let moved = |name: &str, to: &str| Move { pod: pod(name), from: "a".to_owned(), to: to.to_owned() };
    let wave = |launches: &[&str], evictions: &[&str], removals: &[&str]| PlannedWave {
        launches: launches.iter().map(|one| (*one).to_owned()).collect(),
        evictions: evictions.iter().map(|one| pod(one)).collect(),
        removals: removals.iter().map(|one| (*one).to_owned()).collect(),
    };
    let consolidation = Consolidation {
        nodes,
        moves: vec![moved("one", "c"), moved("two", "new-0001")],
        waves: vec![wave(&[], &["three"], &["b"]), wave(&["new-0001"], &["one", "two"], &["a"])],
        ..Consolidation::default()
    };
    let mut plan = Plan { launches: vec![launch], consolidation: Some(consolidation), ..Plan::default() };
    plan.snapshot.digest = stowage_models::digest::of_bytes(b"snapshot");
    plan.summary.launch_cost = UsdMicros(86_400);
    plan.kind = stowage_models::plan::KIND.to_owned();
    plan.format_version = stowage_models::plan::FORMAT_VERSION.to_owned();
    plan.id = plan.compute_id();
    plan
}

fn nodes() -> Vec<Node> {
    let node = |name: &str| Node {
        name: name.to_owned(),
        labels: [
            (labels::NODEPOOL.to_owned(), "general".to_owned()),
            (labels::INSTANCE_TYPE.to_owned(), "m6a.xlarge".to_owned()),
        ]
        .into(),
        ..Node::default()
    };
    ["a", "b", "c"].map(node).into()
}

fn known() -> Known {
    let on = |name: &str, node: &str| (pod(name), (format!("uid-{name}"), node.to_owned()));
    let claim = |node: &str| (node.to_owned(), (format!("uid-{node}"), format!("claim-{node}")));
    Known {
        pods: [on("one", "a"), on("two", "a"), on("three", "b")].into(),
        claims: ["a", "b", "c"].map(claim).into(),
        starting: BTreeSet::new(),
    }
}

fn good() -> PlanSpec {
    let uids = ["one", "two", "three"].map(|name| (pod(name), format!("uid-{name}")));
    let reads = Reads { pods: uids.into(), ..Reads::default() };
    let waves = waves(&plan(), &nodes(), &known()).expect("everything is there");
    proposal(&plan(), reads, waves, UNTIL).expect("it fits")
}

#[test]
fn what_was_put_in_comes_out_and_is_what_people_read() {
    let spec = good();
    let body = open(&spec).expect("it is as it was made");
    let removals: Vec<_> = body.waves.iter().flat_map(|wave| &wave.removals).collect();
    assert_eq!(removals.iter().map(|one| one.node.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((removals[0].forced, removals[0].pods[0].to.clone()), (true, None));
    assert_eq!(removals[0].deadline.as_deref(), Some("2026-11-22T00:02:00Z"));
    let to: Vec<_> = removals[1].pods.iter().filter_map(|pod| pod.to.clone()).collect();
    assert_eq!(to, [Target::Node("c".to_owned()), Target::Slot("new-0001".to_owned())]);
    let ids: Vec<(&str, Option<i32>)> = spec.actions.iter().map(|one| (one.id.as_str(), one.wave)).collect();
    assert_eq!(ids, [("remove/b", Some(1)), ("launch/new-0001", Some(2)), ("remove/a", Some(2))]);
    // 0.0864 - 0.3 dollars an hour, times 730.
    assert_eq!((spec.nodes.as_str(), spec.monthly.as_str(), body.change()), ("+1/-2", "-$155.92", -213_600));
    let summary = spec.summary.as_deref().expect("a summary");
    assert!(
        summary.contains("| 1 | b | m6a.xlarge |") && summary.contains("Interrupted, by force"),
        "{summary}"
    );
    assert!(summary.contains("| c (1), new-0001 (1) |") && summary.contains("nowhere (1)"), "{summary}");
    // What nobody approves says the same of actions.
    assert_eq!(published(&plan(), "auto", &body.waves).actions, spec.actions);
}

#[test]
fn a_new_digest_does_not_make_lies_true() {
    let sealed = |change: &dyn Fn(&mut PlanSpec)| {
        let mut spec = good();
        change(&mut spec);
        spec.digest = digest(&spec);
        open(&spec).expect_err("it lies")
    };
    assert!(sealed(&|spec| drop(spec.actions.remove(0))).contains("actions"));
    assert!(sealed(&|spec| spec.actions[0].node = Some("c".to_owned())).contains("actions"));
    assert!(sealed(&|spec| spec.actions[0].pods.clear()).contains("actions"));
    assert!(sealed(&|spec| spec.actions[0].wave = Some(2)).contains("actions"));
    assert!(sealed(&|spec| spec.actions[0].reason = Some("Empty".to_owned())).contains("actions"));
    assert!(sealed(&|spec| spec.nodes = "+1/-0".to_owned()).contains("figures"));
    assert!(sealed(&|spec| spec.monthly = "-$1000.00".to_owned()).contains("figures"));
    // A body that contradicts itself.
    let body = |change: &dyn Fn(&mut Vec<stowage_review::Wave>)| {
        let mut waves = waves(&plan(), &nodes(), &known()).expect("everything is there");
        change(&mut waves);
        let reads = open(&good()).expect("it is good").reads;
        open(&proposal(&plan(), reads, waves, UNTIL).expect("it fits")).expect_err("it is wrong")
    };
    assert!(body(&|waves| waves[1].launches.clear()).contains("not launched by then"));
    assert!(body(&|waves| drop(waves.remove(1))).contains("in no wave"));
    assert!(body(&|waves| waves[0].launches = vec!["new-0009".to_owned()]).contains("new-0009"));
    assert!(body(&|waves| waves[1].removals[0].node = "b".to_owned()).contains("twice"));
    assert!(body(&|waves| waves[0].removals[0].claim.clear()).contains("which node"));
    assert!(body(&|waves| waves[0].removals[0].reason = NodeReason::Worth).contains("no reason"));
    assert!(body(&|waves| waves[0].removals[0].pods[0].uid = "other".to_owned()).contains("which pod"));
    assert!(body(&|waves| waves[0].removals[0].price = UsdMicros(-1)).contains("which node"));
    assert!(
        body(&|waves| waves.iter_mut().for_each(|wave| wave.removals.clear())).contains("removes nothing")
    );
}

#[test]
fn what_is_gone_is_named_and_a_file_may_remove() {
    let without = |change: &dyn Fn(&mut Known)| {
        let mut known = known();
        change(&mut known);
        waves(&plan(), &nodes(), &known).expect_err("something is gone")
    };
    assert!(without(&|known| drop(known.pods.remove(&pod("one")))).contains("default/one is gone"));
    assert!(without(&|known| drop(known.claims.remove("b"))).contains("node b has no NodeClaim"));
    let elsewhere = ("uid-one".to_owned(), "c".to_owned());
    assert!(
        without(&|known| drop(known.pods.insert(pod("one"), elsewhere.clone()))).contains("on node c by now")
    );
    assert!(waves(&plan(), &nodes()[1..], &known()).expect_err("a node is gone").contains("node a is gone"));
    let plan = plan();
    let file = serde_json::to_vec(&plan).expect("JSON");
    assert_eq!(read_file(&file).map(|plan| plan.id), Ok(plan.id));
}
