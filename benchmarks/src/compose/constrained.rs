//! `constrained-*`: every kind of constraint the planner supports, in quantity, on a fleet with free space.
//!
//! Pods wait beside a small fleet (that of `scaledown-*`, 40 % of its pods gone). Eight NodePools: `general` and `critical` of
//! that fleet; `reserved`, preferred by weight until its limit; `arm64`, `teams`, `gpu`, `storage` and `dense`, each with a
//! taint, a label or a custom requirement of its own. Half of the groups name one of them; the others choose among types,
//! zones and capacity types by node affinity with alternatives, or do not mind.

use super::mixed;
use super::parts::{
    PodMaker, Workload, label_map, node_affinity, node_class, plain_requests, pool, taint, toleration,
};
use super::scaledown::{self, Fleet};
use super::sizes::{self, GIB, MIB};
use stowage_models::labels;
use stowage_models::objects::{Affinity, Container, DaemonSet, Ec2NodeClass, NodePool, PodSpec};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;

const CATEGORY: &str = "karpenter.k8s.aws/instance-category";
const FAMILY: &str = "karpenter.k8s.aws/instance-family";
const GENERATION: &str = "karpenter.k8s.aws/instance-generation";
const INSTANCE_CPU: &str = "karpenter.k8s.aws/instance-cpu";
const NVME: &str = "karpenter.k8s.aws/instance-local-nvme";
const TEAM: &str = "example.com/team";
const GPU: &str = "nvidia.com/gpu";

/// How many pods wait, in how many groups, beside how large a fleet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pods: u64,
    groups: usize,
    fleet: Fleet,
}

/// `constrained-1k`.
pub(super) const PODS_1K: Amount = Amount { pods: 1_000, groups: 120, fleet: Fleet::new(20, 30) };
/// `constrained-10k`.
pub(super) const PODS_10K: Amount = Amount { pods: 10_000, groups: 240, fleet: Fleet::new(100, 60) };

/// Composes the snapshot.
pub(super) fn compose(seed: u64, amount: &Amount) -> Snapshot {
    let mut rng = Random::new(seed);
    let mut snapshot = scaledown::compose(rng.next_u64(), &amount.fleet);
    let mut maker = PodMaker::new(rng.fork());
    let workloads = workloads(&mut rng.fork(), amount.groups);
    let mut counts = rng.fork();
    let weights: Vec<u64> = workloads
        .iter()
        .map(|workload| {
            let replicas = sizes::replicas(&plain_requests(&workload.spec), &mut counts);
            // Machines with GPUs are few and dear.
            if workload.spec.containers[0].requests.get(GPU) > 0 { replicas.min(3) } else { replicas }
        })
        .collect();
    for (workload, count) in workloads.iter().zip(sizes::apportion(&weights, amount.pods)) {
        snapshot.pods.extend(maker.pending(workload, count));
    }
    snapshot.node_pools.extend(pools(amount.pods));
    snapshot.node_classes.push(dense_class());
    snapshot.daemon_sets.extend(agents());
    snapshot
}

/// The pools beside those of the fleet. Limits grow with the pods: `reserved` has room for about a tenth of them.
fn pools(pods: u64) -> Vec<NodePool> {
    let pods = i64::try_from(pods).expect("a number of pods");
    let mut reserved = pool("reserved", &["amd64"], &["on-demand"]);
    reserved.requirements.push(Requirement::new(FAMILY, Operator::In, &["c6i", "m6i", "r6i"]));
    reserved.requirements.push(Requirement::new(INSTANCE_CPU, Operator::Lte, &["32"]));
    reserved.weight = 50;
    reserved.limits = Resources::from([(CPU, pods * 64), (MEMORY, pods * 256 * MIB)]);
    let mut arm64 = pool("arm64", &["arm64"], &["on-demand", "spot"]);
    arm64.taints = vec![taint("arch", "arm64")];
    arm64.weight = 10;
    let mut teams = pool("teams", &["amd64", "arm64"], &["on-demand", "spot"]);
    teams.requirements.push(Requirement::new(TEAM, Operator::In, &["blue", "green", "red"]));
    teams.taints = vec![taint(TEAM, "")];
    let mut gpu = pool("gpu", &["amd64"], &["on-demand", "spot"]);
    gpu.requirements[0] = Requirement::new(CATEGORY, Operator::In, &["g"]);
    gpu.labels = label_map(&[("nvidia.com/gpu.present", "true")]);
    gpu.taints = vec![taint(GPU, "present")];
    gpu.limits = Resources::from([(GPU, (pods / 10).max(16)), ("nodes", (pods / 20).max(12))]);
    let mut storage = pool("storage", &["amd64", "arm64"], &["on-demand", "spot"]);
    storage.requirements.push(Requirement::new(NVME, Operator::Gt, &["200"]));
    storage.labels = label_map(&[("workload", "storage")]);
    storage.taints = vec![taint("workload", "storage")];
    let mut dense = pool("dense", &["amd64"], &["on-demand", "spot"]);
    dense.node_class = "dense".to_owned();
    dense.labels = label_map(&[("workload", "dense")]);
    dense.limits = Resources::from([("nodes", (pods / 10).max(12))]);
    vec![reserved, arm64, teams, gpu, storage, dense]
}

/// A node class whose kubelet takes at most 24 pods and reserves more than usual.
fn dense_class() -> Ec2NodeClass {
    Ec2NodeClass {
        name: "dense".to_owned(),
        max_pods: Some(24),
        kube_reserved: Resources::from([(CPU, 200), (MEMORY, GIB)]),
        eviction_memory: Some("5%".to_owned()),
        ..node_class()
    }
}

/// Agents that run on the nodes of one pool only: by label, by toleration, by custom label.
fn agents() -> Vec<DaemonSet> {
    let agent = |name: &str, cpu: i64, memory_mib: i64, spec: PodSpec| DaemonSet {
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        labels: label_map(&[("app", name)]),
        spec: PodSpec { containers: vec![container(cpu, memory_mib)], ..spec },
    };
    let select = |key: &str, value: &str| label_map(&[(key, value)]);
    vec![
        agent(
            "nvidia-device-plugin",
            50,
            100,
            PodSpec {
                node_selector: select("nvidia.com/gpu.present", "true"),
                tolerations: vec![toleration(GPU, "")],
                ..PodSpec::default()
            },
        ),
        agent(
            "local-volume-provisioner",
            100,
            128,
            PodSpec {
                node_selector: select("workload", "storage"),
                tolerations: vec![toleration("workload", "storage")],
                ..PodSpec::default()
            },
        ),
        agent(
            "team-auditor",
            150,
            256,
            PodSpec {
                affinity: node_affinity(vec![vec![Requirement::new(TEAM, Operator::Exists, &[])]]),
                tolerations: vec![toleration(TEAM, "")],
                ..PodSpec::default()
            },
        ),
    ]
}

fn container(cpu: i64, memory_mib: i64) -> Container {
    Container { requests: Resources::from([(CPU, cpu), (MEMORY, memory_mib * MIB)]), ..Container::default() }
}

/// Workloads of the kind of `mixed-*`, each with the constraint of its place among twenty.
fn workloads(rng: &mut Random, count: usize) -> Vec<Workload> {
    let mut made = mixed::workloads(rng, count);
    for (index, workload) in made.iter_mut().enumerate() {
        workload.name = format!("svc-{index:03}");
        constrain(&mut workload.spec, index);
    }
    made
}

fn constrain(spec: &mut PodSpec, index: usize) {
    let round = index / 20;
    // Those that name a pool say nothing else about the machine, except for a capacity type they may already name.
    let name = |spec: &mut PodSpec, selected: &[(&str, &str)], tolerated: Option<(&str, &str)>| {
        spec.node_selector.retain(|key, _| key == labels::CAPACITY_TYPE);
        spec.affinity = Affinity::default();
        spec.node_selector.extend(label_map(selected));
        spec.tolerations = tolerated.map(|(key, value)| toleration(key, value)).into_iter().collect();
    };
    match index % 20 {
        0 | 10 => name(spec, &[(TEAM, ["blue", "green", "red"][round % 3])], Some((TEAM, ""))),
        1 | 11 => name(spec, &[("tier", "critical")], Some(("tier", "critical"))),
        7 | 17 => name(spec, &[(labels::ARCH, "arm64")], Some(("arch", "arm64"))),
        5 => name(spec, &[("workload", "storage")], Some(("workload", "storage"))),
        15 => {
            name(spec, &[("workload", "dense")], None);
            spec.containers = vec![container([100, 150, 200][round % 3], [128, 192, 320][round % 3])];
        }
        6 => {
            name(spec, &[], Some((GPU, "")));
            spec.containers = vec![container(2_000, 8 * 1024)];
            spec.containers[0].requests.set(GPU, [1, 1, 2][round % 3]);
        }
        2 => spec.affinity = compute_or_disks(),
        12 => spec.affinity = recent_without_gpu(),
        4 => {
            let two = [["us-east-1a", "us-east-1b"], ["us-east-1b", "us-east-1c"]][round % 2];
            spec.affinity = node_affinity(vec![vec![Requirement::new(labels::ZONE, Operator::In, &two)]]);
        }
        14 => spec.affinity = not_of_one_maker_or_on_demand(),
        16 => spec.priority = 1_000 * i32::try_from(round % 3).expect("below three"),
        _ => {}
    }
}

/// Compute-optimised with 8 to 32 vCPU, or anything else with local disks.
fn compute_or_disks() -> Affinity {
    node_affinity(vec![
        vec![
            Requirement::new(CATEGORY, Operator::In, &["c"]),
            Requirement::new(INSTANCE_CPU, Operator::Gt, &["7"]),
            Requirement::new(INSTANCE_CPU, Operator::Lt, &["33"]),
        ],
        vec![
            Requirement::new(CATEGORY, Operator::NotIn, &["c"]),
            Requirement::new(NVME, Operator::Exists, &[]),
        ],
    ])
}

/// Of the fifth generation or later, without a GPU, of at least 8 vCPU.
fn recent_without_gpu() -> Affinity {
    node_affinity(vec![vec![
        Requirement::new(GENERATION, Operator::Gt, &["4"]),
        Requirement::new("karpenter.k8s.aws/instance-gpu-name", Operator::DoesNotExist, &[]),
        Requirement::new(INSTANCE_CPU, Operator::Gt, &["7"]),
    ]])
}

/// Not AMD, or else on demand in one zone.
fn not_of_one_maker_or_on_demand() -> Affinity {
    node_affinity(vec![
        vec![Requirement::new("karpenter.k8s.aws/instance-cpu-manufacturer", Operator::NotIn, &["amd"])],
        vec![
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand"]),
            Requirement::new(labels::ZONE, Operator::In, &["us-east-1a"]),
        ],
    ])
}
