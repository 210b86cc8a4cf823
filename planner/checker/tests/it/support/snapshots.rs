//! Snapshots made by hand, small enough to read.

use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{
    Container, DaemonSet, Ec2NodeClass, Node, NodePool, Owner, Pod, PodPhase, PodSpec, PodVolume, Taint,
    TaintEffect, Toleration,
};
use stowage_models::quantity::Resources;
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

pub(crate) const MIB: i64 = 1 << 20;
pub(crate) const GIB: i64 = 1 << 30;

/// Four types of the embedded catalogue in two zones: small enough to read.
pub(crate) fn small_catalog() -> Catalog {
    let mut catalog = Catalog::embedded().clone();
    catalog
        .types
        .retain(|one| ["c5.large", "m5.large", "m5.xlarge", "r5.large"].contains(&one.name.as_str()));
    for one in &mut catalog.types {
        one.zones.retain(|zone| zone.zone == "us-east-1a" || zone.zone == "us-east-1b");
    }
    catalog
}

pub(crate) fn labels_of(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn container(cpu: i64, memory: i64) -> Container {
    Container { requests: Resources::from([("cpu", cpu), ("memory", memory)]), ..Container::default() }
}

pub(crate) fn pod(name: &str, cpu: i64, memory: i64) -> Pod {
    let spec = PodSpec { containers: vec![container(cpu, memory)], ..PodSpec::default() };
    Pod { namespace: "shop".into(), name: name.into(), spec: spec.into(), ..Pod::default() }
}

pub(crate) fn pool(name: &str, weight: i32) -> NodePool {
    NodePool { name: name.into(), weight, node_class: "default".into(), ..NodePool::default() }
}

pub(crate) fn node(name: &str, pool: Option<&str>) -> Node {
    let mut node = Node { name: name.into(), ready: true, ..Node::default() };
    node.labels = labels_of(&[
        (labels::HOSTNAME, name),
        (labels::INSTANCE_TYPE, "m5.large"),
        (labels::ZONE, "us-east-1a"),
        (labels::CAPACITY_TYPE, "on-demand"),
    ]);
    node.labels.extend(pool.map(|pool| (labels::NODEPOOL.to_owned(), pool.to_owned())));
    node.capacity = Resources::from([("cpu", 2000), ("memory", 8 * GIB), ("pods", 29)]);
    node.allocatable = Resources::from([("cpu", 1930), ("memory", 7 * GIB), ("pods", 29)]);
    node
}

pub(crate) fn daemon_set(name: &str, cpu: i64) -> DaemonSet {
    let spec = PodSpec { containers: vec![container(cpu, 64 * MIB)], ..PodSpec::default() };
    DaemonSet { namespace: "kube-system".into(), name: name.into(), spec, ..DaemonSet::default() }
}

/// One pool, one DaemonSet, two groups.
pub(crate) fn simple_snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        taken_at: Some("2026-08-20T10:00:00Z".into()),
        origin: "made by hand".into(),
        node_pools: vec![pool("general", 0)],
        node_classes: vec![Ec2NodeClass { name: "default".into(), ..Ec2NodeClass::default() }],
        daemon_sets: vec![daemon_set("logs", 50)],
        ..Snapshot::default()
    };
    for index in 0..5 {
        snapshot.pods.push(pod(&format!("web-{index}"), 700, 900 * MIB));
    }
    for index in 0..3 {
        snapshot.pods.push(pod(&format!("cache-{index}"), 300, 4 * GIB));
    }
    snapshot.normalise();
    snapshot
}

/// Two weights, limits, taints, open labels, existing nodes with and without room, and pods left out for each reason.
pub(crate) fn rich_snapshot() -> Snapshot {
    let mut snapshot = simple_snapshot();
    let mut first = pool("first", 10);
    first.limits = Resources::from([("cpu", 14_000), ("nodes", 4)]);
    first.taints = vec![Taint { key: "team".into(), value: "a".into(), effect: TaintEffect::NoSchedule }];
    first.requirements = vec![Requirement::new("example.com/team", Operator::In, &["a", "b"])];
    let mut gold = pool("gold", 5);
    gold.limits = Resources::from([("memory", 16 * GIB)]);
    gold.requirements = vec![
        Requirement::new("example.com/gold", Operator::Exists, &[]),
        Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand"]),
    ];
    snapshot.node_pools.extend([first, gold]);
    snapshot.nodes.extend([node("old-1", Some("first")), node("old-2", None), node("shut", None)]);
    snapshot.nodes[2].unschedulable = true;
    let toleration = Toleration { key: "team".into(), operator: "Exists".into(), ..Toleration::default() };
    for index in 0..9 {
        let mut one = pod(&format!("team-{index}"), 800, GIB);
        one.spec.tolerations = vec![toleration.clone()];
        let team = if index % 2 == 0 { "a" } else { "b" };
        one.spec.node_selector = labels_of(&[("example.com/team", team)]);
        snapshot.pods.push(one);
    }
    for index in 0..4 {
        let mut one = pod(&format!("auric-{index}"), 1500, 6 * GIB);
        one.spec.node_selector = labels_of(&[("example.com/gold", "yes")]);
        snapshot.pods.push(one);
    }
    let mut flexible = pod("flexible-0", 1000, GIB);
    flexible.spec.tolerations = vec![toleration];
    let mut picky = pod("picky-0", 100, GIB);
    picky.spec.node_selector = labels_of(&[(labels::ARCH, "s390x")]);
    let mut port = pod("port-0", 100, GIB);
    port.spec.volumes = vec![PodVolume::Other("awsElasticBlockStore".into())];
    snapshot.pods.extend([flexible, picky, port]);
    let mut running = pod("running-0", 400, GIB);
    running.node = Some("old-1".into());
    running.phase = PodPhase::Running;
    let mut logs = pod("logs-x", 50, 64 * MIB);
    logs.namespace = "kube-system".into();
    logs.node = Some("old-1".into());
    logs.owner = Some(Owner { kind: "DaemonSet".into(), name: "logs".into() }.into());
    snapshot.pods.extend([running, logs]);
    snapshot.normalise();
    snapshot
}
