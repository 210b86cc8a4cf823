//! `small`: a hand-made cluster in which every supported feature occurs at least once, and every reason to leave a pod out.
//!
//! It is written out rather than drawn, so that a reader of a plan can find each case here by the pod's name.

use super::parts::{
    Machine, NodePlan, PodMaker, Workload, daemon_sets, label_map, node_affinity, node_class, pool, taint,
    toleration,
};
use super::sizes::{GIB, MIB};
use crate::manifests::Manifests;
use stowage_models::labels;
use stowage_models::objects::{
    Affinity, Container, NodeClaim, NodePool, NodeSelectorTerm, Pod, PodAffinityTerm, PodDisruptionBudget,
    PodPhase, PodSpec, PodVolume, PreferredNodeTerm, StorageClass, TopologySpread, VolumeClaim,
};
use stowage_models::quantity::{CPU, EPHEMERAL_STORAGE, MEMORY, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

const CATEGORY: &str = "karpenter.k8s.aws/instance-category";
const INSTANCE_CPU: &str = "karpenter.k8s.aws/instance-cpu";
const GPU: &str = "nvidia.com/gpu";

/// Composes the snapshot.
pub(super) fn compose(seed: u64) -> Snapshot {
    let mut maker = PodMaker::new(Random::new(seed));
    let pools = pools();
    let mut pods = Vec::new();
    let pending = placeable().into_iter().chain(selective()).chain(left_out());
    for (name, count, spec) in pending {
        pods.extend(maker.pending(&Workload::new("demo", name, spec), count));
    }
    pods.extend(not_waiting(&mut maker));
    let mut snapshot = Snapshot {
        node_classes: vec![node_class()],
        daemon_sets: daemon_sets(),
        pod_disruption_budgets: vec![PodDisruptionBudget {
            namespace: "demo".to_owned(),
            name: "frontend".to_owned(),
            selector: Some(selector("frontend")),
            min_available: Some("80%".to_owned()),
            ..PodDisruptionBudget::default()
        }],
        volume_claims: vec![VolumeClaim {
            namespace: "demo".to_owned(),
            name: "orders-data".to_owned(),
            storage_class: Some("gp3".to_owned()),
            ..VolumeClaim::default()
        }],
        storage_classes: vec![StorageClass {
            name: "gp3".to_owned(),
            provisioner: "ebs.csi.aws.com".to_owned(),
            wait_for_first_consumer: true,
            is_default: true,
            ..StorageClass::default()
        }],
        ..Snapshot::default()
    };
    add_nodes(&mut snapshot, &mut pods, &pools, &mut maker);
    snapshot.node_pools = pools;
    snapshot.pods = pods;
    snapshot
}

/// Five pools: `general`; `teams`, whose custom label has two values; `batch` with taint, label and a limit; `preferred`
/// with a weight; `gpu`.
fn pools() -> Vec<NodePool> {
    let general = pool("general", &["amd64", "arm64"], &["on-demand", "spot"]);
    let mut teams = pool("teams", &["amd64"], &["on-demand", "spot"]);
    teams.requirements.push(Requirement::new("example.com/team", Operator::In, &["blue", "red"]));
    teams.taints = vec![taint("example.com/team", "")];
    let mut batch = pool("batch", &["amd64"], &["spot"]);
    batch.labels = label_map(&[("example.com/purpose", "batch")]);
    batch.taints = vec![taint("dedicated", "batch")];
    batch.limits = Resources::from([(CPU, 28_000), ("nodes", 3)]);
    let mut preferred = pool("preferred", &["amd64"], &["on-demand"]);
    preferred.requirements[0] = Requirement::new(CATEGORY, Operator::In, &["m"]);
    preferred.requirements.push(Requirement::new(INSTANCE_CPU, Operator::Lte, &["8"]));
    preferred.taints = vec![taint("example.com/preferred", "")];
    preferred.startup_taints = vec![taint("example.com/warming-up", "")];
    preferred.weight = 50;
    let mut gpu = pool("gpu", &["amd64"], &["on-demand", "spot"]);
    gpu.requirements[0] = Requirement::new(CATEGORY, Operator::In, &["g"]);
    gpu.taints = vec![taint(GPU, "")];
    vec![general, teams, batch, preferred, gpu]
}

/// A container.
fn container(cpu: i64, memory_mib: i64) -> Container {
    Container { requests: Resources::from([(CPU, cpu), (MEMORY, memory_mib * MIB)]), ..Container::default() }
}

/// A pod of one container.
fn single(cpu: i64, memory_mib: i64) -> PodSpec {
    PodSpec { containers: vec![container(cpu, memory_mib)], ..PodSpec::default() }
}

/// A pod of one container that also wants `amount` of `resource`.
fn with_resource(cpu: i64, memory_mib: i64, resource: &str, amount: i64) -> PodSpec {
    let mut spec = single(cpu, memory_mib);
    spec.containers[0].requests.set(resource, amount);
    spec
}

fn selector(app: &str) -> LabelSelector {
    LabelSelector { match_labels: label_map(&[("app", app)]), match_expressions: Vec::new() }
}

/// What a pod may request: everything the request formula looks at.
fn placeable() -> Vec<(&'static str, u64, PodSpec)> {
    let frontend = Manifests::embedded().set("online-boutique").workload("frontend").spec();
    let sidecar = Container { sidecar: true, ..container(100, 128) };
    vec![
        ("frontend", 6, frontend),
        // The init container is larger than what runs afterwards.
        ("migrate", 2, PodSpec { init_containers: vec![container(2000, 1024)], ..single(250, 512) }),
        // A sidecar runs beside the containers and beside the init container that follows it.
        ("mesh", 3, PodSpec { init_containers: vec![sidecar, container(700, 64)], ..single(500, 512) }),
        ("sandboxed", 2, PodSpec { overhead: container(250, 120).requests, ..single(500, 512) }),
        ("pod-level", 2, PodSpec { pod_requests: container(1000, 2048).requests, ..single(100, 128) }),
        ("scratch", 2, with_resource(500, 1024, EPHEMERAL_STORAGE, 30 * GIB)),
        ("no-requests", 2, PodSpec { containers: vec![Container::default()], ..PodSpec::default() }),
        ("urgent", 2, PodSpec { priority: 1_000_000, ..single(1000, 2048) }),
        ("prefers", 2, prefers()),
    ]
}

/// Preferences: a preferred node affinity and a soft spread, which a plan may ignore and says so.
fn prefers() -> PodSpec {
    let mut spec = single(400, 768);
    spec.affinity.node_preferred = vec![PreferredNodeTerm {
        weight: 50,
        preference: NodeSelectorTerm {
            match_expressions: vec![Requirement::new(labels::ARCH, Operator::In, &["arm64"])],
            match_fields: Vec::new(),
        },
    }];
    spec.topology_spread = vec![spread("prefers", false)];
    spec
}

fn spread(app: &str, hard: bool) -> TopologySpread {
    TopologySpread {
        max_skew: 1,
        topology_key: labels::ZONE.to_owned(),
        hard,
        label_selector: Some(selector(app)),
        honor_affinity: true,
        ..TopologySpread::default()
    }
}

/// Where a pod may run: selectors, every operator of node affinity, tolerations, custom labels, a GPU, a node's name.
fn selective() -> Vec<(&'static str, u64, PodSpec)> {
    let select = |spec: PodSpec, pairs: &[(&str, &str)]| PodSpec { node_selector: label_map(pairs), ..spec };
    let tolerate =
        |spec: PodSpec, key: &str, value: &str| PodSpec { tolerations: vec![toleration(key, value)], ..spec };
    let team = |name: &str| {
        select(tolerate(single(500, 1024), "example.com/team", ""), &[("example.com/team", name)])
    };
    vec![
        ("on-demand-only", 3, select(single(700, 1400), &[(labels::CAPACITY_TYPE, "on-demand")])),
        ("arm-only", 4, select(single(300, 600), &[(labels::ARCH, "arm64")])),
        ("zone-b", 2, select(single(800, 3000), &[(labels::ZONE, "us-east-1b")])),
        ("analytics", 3, PodSpec { affinity: analytics(), ..single(3000, 6000) }),
        ("ledger", 2, PodSpec { affinity: ledger(), ..single(900, 7000) }),
        ("pinned", 1, PodSpec { affinity: by_name("ip-10-0-0-31.ec2.internal"), ..single(200, 256) }),
        ("team-red", 2, team("red")),
        ("team-blue", 2, team("blue")),
        ("weighted", 3, tolerate(single(1500, 3000), "example.com/preferred", "")),
        ("gpu", 2, tolerate(with_resource(2000, 8192, GPU, 1), GPU, "")),
        // Of 28 cores four are in flight; 24 hold a node of 16 and one of 8, thus four pods of four cores beside the
        // node agents: the fifth is left out.
        (
            "batch",
            5,
            select(tolerate(single(4000, 8000), "dedicated", "batch"), &[("example.com/purpose", "batch")]),
        ),
    ]
}

/// Two alternative terms with In, Gt and Lt, and NotIn and Exists.
fn analytics() -> Affinity {
    node_affinity(vec![
        vec![
            Requirement::new(CATEGORY, Operator::In, &["c"]),
            Requirement::new(INSTANCE_CPU, Operator::Gt, &["3"]),
            Requirement::new(INSTANCE_CPU, Operator::Lt, &["33"]),
        ],
        vec![
            Requirement::new(CATEGORY, Operator::NotIn, &["c", "m"]),
            Requirement::new("karpenter.k8s.aws/instance-local-nvme", Operator::Exists, &[]),
        ],
    ])
}

/// One term with Gt and DoesNotExist.
fn ledger() -> Affinity {
    node_affinity(vec![vec![
        Requirement::new("karpenter.k8s.aws/instance-generation", Operator::Gt, &["5"]),
        Requirement::new("karpenter.k8s.aws/instance-gpu-name", Operator::DoesNotExist, &[]),
    ]])
}

/// Required affinity to one existing node.
fn by_name(node: &str) -> Affinity {
    let term = NodeSelectorTerm {
        match_expressions: Vec::new(),
        match_fields: vec![Requirement::new("metadata.name", Operator::In, &[node])],
    };
    Affinity { node_required: Some(vec![term]), ..Affinity::default() }
}

/// Pods no plan may place: too large, nowhere to go, or with a constraint that is not planned for yet.
fn left_out() -> Vec<(&'static str, u64, PodSpec)> {
    let mut host_port = single(100, 128);
    host_port.containers[0].host_ports = vec!["TCP/0.0.0.0/8080".to_owned()];
    let apart = PodAffinityTerm {
        label_selector: Some(selector("apart")),
        topology_key: labels::HOSTNAME.to_owned(),
        ..PodAffinityTerm::default()
    };
    let anti = Affinity { anti_required: vec![apart], ..Affinity::default() };
    let elsewhere = label_map(&[(labels::ZONE, "us-west-2a")]);
    vec![
        ("giant", 1, single(500_000, 1024)),
        ("wrong-region", 1, PodSpec { node_selector: elsewhere, ..single(100, 128) }),
        (
            "spread-hard",
            2,
            PodSpec { topology_spread: vec![spread("spread-hard", true)], ..single(100, 128) },
        ),
        ("apart", 2, PodSpec { affinity: anti, ..single(100, 128) }),
        (
            "orders",
            1,
            PodSpec { volumes: vec![PodVolume::Claim("orders-data".to_owned())], ..single(100, 128) },
        ),
        ("host-port", 1, host_port),
    ]
}

/// Pods that do not wait for a place: gated, another scheduler's, ended, being deleted.
fn not_waiting(maker: &mut PodMaker) -> Vec<Pod> {
    let mut make = |name: &str| maker.pending(&Workload::new("demo", name, single(500, 512)), 1).remove(0);
    let gated = Pod { scheduling_gates: vec!["example.com/quota".to_owned()], ..make("gated") };
    let mut other = make("other-scheduler");
    other.spec.scheduler_name = Some("volcano".to_owned());
    let ended = Pod {
        phase: PodPhase::Succeeded,
        node: Some("ip-10-0-0-31.ec2.internal".to_owned()),
        ..make("ended")
    };
    let deleting = Pod { deleting: true, ..make("deleting") };
    vec![gated, other, ended, deleting]
}

/// Five nodes. Managed: one with room that lacks a node agent still, one cordoned, one not ready. Unmanaged: two of a
/// managed node group. A sixth is in flight, known by its NodeClaim only, and counts towards the limits of `batch`.
fn add_nodes(snapshot: &mut Snapshot, pods: &mut Vec<Pod>, pools: &[NodePool], maker: &mut PodMaker) {
    let plan = |number, machine, zone, capacity_type, pool: Option<&NodePool>| NodePlan {
        number,
        machine: Machine::named(machine),
        zone,
        capacity_type,
        pool: pool.cloned(),
    };
    let plans = [
        plan(27, "m5.xlarge", 0, "spot", Some(&pools[0])),
        plan(38, "m6g.xlarge", 1, "on-demand", Some(&pools[0])),
        plan(49, "m5.xlarge", 2, "spot", Some(&pools[0])),
        plan(60, "t3.large", 0, "on-demand", None),
        plan(71, "t3.large", 1, "on-demand", None),
    ];
    let in_flight = plan(82, "m5.xlarge", 0, "spot", Some(&pools[2])).claim().expect("has a pool");
    snapshot.node_claims = plans.iter().filter_map(NodePlan::claim).collect();
    snapshot.node_claims.push(NodeClaim { node: None, conditions: vec!["Launched".to_owned()], ..in_flight });
    let dns = Workload::new("kube-system", "coredns", single(100, 70));
    let frontend = Workload::new("demo", "frontend", placeable().remove(0).2);
    for (index, plan) in plans.iter().enumerate() {
        let mut node = plan.node();
        // The newest node has no log agent yet; its room must be kept.
        let agents =
            snapshot.daemon_sets.iter().filter(|agent| index != 0 || agent.name != "aws-for-fluent-bit");
        pods.extend(agents.map(|agent| maker.agent(agent, &node.name)));
        let running = if index < 3 { &frontend } else { &dns };
        pods.extend((0..3).map(|_| maker.running(running, &node.name)));
        node.unschedulable = index == 1;
        node.ready = index != 2;
        snapshot.nodes.push(node);
    }
}
