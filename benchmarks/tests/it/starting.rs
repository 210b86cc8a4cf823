//! Goal: pods wait for a node that is starting instead of getting another one, and for no other node.

use std::time::Duration;
use stowage_bench::oracle::Case;
use stowage_bench::trial::by_work;
use stowage_checker::check;
use stowage_models::labels;
use stowage_models::objects::{Container, Node, NodePool, Pod, PodPhase, PodSpec, Taint, TaintEffect};
use stowage_models::plan::{Plan, Policy};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

const STARTUP: &str = "example.com/agent-not-ready";

/// One pod and one node that has room for it, of the pool `general`.
fn cluster(node: Node) -> Snapshot {
    let startup = Taint { key: STARTUP.to_owned(), value: "true".to_owned(), effect: TaintEffect::NoExecute };
    let mut snapshot = Snapshot {
        node_pools: vec![NodePool {
            name: "general".to_owned(),
            startup_taints: vec![startup],
            ..NodePool::default()
        }],
        nodes: vec![node],
        pods: vec![Pod {
            namespace: "default".to_owned(),
            name: "waits".to_owned(),
            phase: PodPhase::Pending,
            spec: PodSpec {
                containers: vec![Container {
                    requests: Resources::from([(CPU, 100), (MEMORY, 1 << 26)]),
                    ..Container::default()
                }],
                // A port makes the referee bind it pod by pod, with kube-scheduler's own filters.
                ..PodSpec::default()
            }
            .into(),
            ..Pod::default()
        }],
        ..Snapshot::default()
    };
    snapshot.normalise();
    snapshot
}

fn node(pool: Option<&str>, initialized: bool, ready: bool, taints: &[(&str, TaintEffect)]) -> Node {
    let room = Resources::from([(CPU, 2000), (MEMORY, 1 << 32), (PODS, 10)]);
    let mut own = Labels::from([(labels::HOSTNAME.to_owned(), "one".to_owned())]);
    own.extend(pool.map(|pool| (labels::NODEPOOL.to_owned(), pool.to_owned())));
    own.extend(initialized.then(|| (labels::INITIALIZED.to_owned(), "true".to_owned())));
    Node {
        name: "one".to_owned(),
        labels: own,
        taints: taints
            .iter()
            .map(|(key, effect)| Taint { key: (*key).to_owned(), value: String::new(), effect: *effect })
            .collect(),
        capacity: room.clone(),
        allocatable: room,
        ready,
        ..Node::default()
    }
}

fn plan(snapshot: &Snapshot) -> Plan {
    let catalog = Case::random(1).catalog;
    let limits = by_work(Duration::from_secs(1), 1);
    let planned = stowage_planner::plan(snapshot, &catalog, &Policy::default(), &limits, &mut |_| {});
    let plan = planned.expect("a plan").plan;
    assert_eq!(check(snapshot, &catalog, &plan), Vec::new());
    plan
}

/// Whether the pod waits for the node: as it is, and with a host port.
fn waits_for(node: &Node) -> bool {
    let mut snapshot = cluster(node.clone());
    let one = plan(&snapshot);
    snapshot.pods[0].spec.containers[0].host_ports = vec!["TCP/0.0.0.0/8080".to_owned()];
    let other = plan(&snapshot);
    assert_eq!(one.summary.pods_on_existing, other.summary.pods_on_existing);
    assert_eq!(one.summary.pods_on_existing + one.summary.pods_on_new, 1);
    one.summary.pods_on_existing == 1
}

#[test]
fn taints_of_a_start_do_not_count_while_it_lasts() {
    use TaintEffect::{NoExecute, NoSchedule};
    let of_a_start = [
        ("node.kubernetes.io/not-ready", NoSchedule),
        ("node.kubernetes.io/not-ready", NoExecute),
        ("node.kubernetes.io/unreachable", NoSchedule),
        ("node.cloudprovider.kubernetes.io/uninitialized", NoSchedule),
        (labels::TAINT_UNREGISTERED, NoExecute),
        ("readiness.k8s.io/network", NoSchedule),
        (STARTUP, NoExecute),
    ];
    for taint in of_a_start {
        for ready in [false, true] {
            assert!(waits_for(&node(Some("general"), false, ready, &[taint])), "{taint:?}, ready: {ready}");
        }
        // Once it is initialised, or if nobody here manages it, the taint means what it says.
        assert!(!waits_for(&node(Some("general"), true, true, &[taint])), "{taint:?}, initialised");
        assert!(!waits_for(&node(None, false, true, &[taint])), "{taint:?}, of no pool");
        assert!(!waits_for(&node(Some("gone"), false, true, &[taint])), "{taint:?}, of a pool that is gone");
    }
    assert!(waits_for(&node(Some("general"), false, false, &of_a_start)), "all at once");
}

#[test]
fn other_taints_and_other_ends_count() {
    use TaintEffect::{NoExecute, NoSchedule};
    for taint in
        [("example.com/dedicated", NoSchedule), (STARTUP, NoSchedule), (labels::TAINT_DISRUPTED, NoSchedule)]
    {
        assert!(!waits_for(&node(Some("general"), false, true, &[taint])), "{taint:?}");
    }
    assert!(!waits_for(&node(Some("general"), true, false, &[])), "not ready any more");
    assert!(!waits_for(&node(None, false, false, &[])), "not ready, of no pool");
    let cordoned =
        Node { unschedulable: true, ..node(Some("general"), false, false, &[(STARTUP, NoExecute)]) };
    assert!(!waits_for(&cordoned), "cordoned");
    let leaving = Node { deleting: true, ..node(Some("general"), false, false, &[(STARTUP, NoExecute)]) };
    assert!(!waits_for(&leaving), "being deleted");
}
