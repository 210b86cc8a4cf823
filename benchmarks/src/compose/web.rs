//! `web-1k`: a web company's cluster at the moment a release scales out: 1,000 pods wait, 60 nodes run 700 pods.
//!
//! NodePools: `general` (amd64, spot and on-demand), `critical` (on-demand, tainted), `arm64` (tainted), `gpu`. Three nodes
//! belong to a managed node group, which hosts pods and is never touched; one node is cordoned.

use super::parts::{
    Machine, NodePlan, PodMaker, Workload, daemon_sets, label_map, node_class, plain_requests, pool, taint,
    tolerates, toleration,
};
use super::sizes::{self, GIB};
use crate::manifests::{Manifest, Manifests};
use stowage_models::labels;
use stowage_models::objects::{DaemonSet, Node, NodePool, Pod, PodSpec};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// Pods that wait.
const PENDING: u64 = 1_000;
/// Pods that run, node agents included.
const RUNNING: usize = 700;
/// The GPU resource.
const GPU: &str = "nvidia.com/gpu";

/// Composes the snapshot.
pub(super) fn compose(seed: u64) -> Snapshot {
    let mut rng = Random::new(seed);
    let mut maker = PodMaker::new(rng.fork());
    let workloads = workloads(&mut rng.fork());
    let mut counts = rng.fork();
    let weights: Vec<u64> = workloads
        .iter()
        .map(|workload| sizes::replicas(&plain_requests(&workload.spec), &mut counts))
        .collect();
    let mut pods: Vec<Pod> = workloads
        .iter()
        .zip(sizes::apportion(&weights, PENDING))
        .flat_map(|(workload, count)| maker.pending(workload, count))
        .collect();

    let pools = pools();
    let plans = node_plans(&pools, &mut rng.fork());
    let mut nodes: Vec<Node> = plans.iter().map(NodePlan::node).collect();
    let daemon_sets = daemon_sets();
    pods.extend(fill(&nodes, &daemon_sets, &workloads, &mut maker, &mut rng.fork()));
    nodes[7].unschedulable = true;
    Snapshot {
        node_claims: plans.iter().filter_map(NodePlan::claim).collect(),
        node_pools: pools,
        node_classes: vec![node_class()],
        nodes,
        pods,
        daemon_sets,
        ..Snapshot::default()
    }
}

/// The four pools.
fn pools() -> Vec<NodePool> {
    let mut general = pool("general", &["amd64"], &["on-demand", "spot"]);
    general.labels = label_map(&[("intent", "apps")]);
    general.limits = Resources::from([(CPU, 2_000_000), (MEMORY, 8_000 * GIB)]);
    let mut critical = pool("critical", &["amd64"], &["on-demand"]);
    critical.labels = label_map(&[("tier", "critical")]);
    critical.taints = vec![taint("tier", "critical")];
    let mut arm64 = pool("arm64", &["arm64"], &["on-demand", "spot"]);
    arm64.labels = label_map(&[("intent", "apps")]);
    arm64.taints = vec![taint("arch", "arm64")];
    let mut gpu = pool("gpu", &["amd64"], &["on-demand", "spot"]);
    gpu.requirements[0] = Requirement::new("karpenter.k8s.aws/instance-category", Operator::In, &["g"]);
    gpu.labels = label_map(&[("intent", "gpu-workloads"), ("nvidia.com/gpu.present", "true")]);
    gpu.taints = vec![taint(GPU, "present")];
    gpu.limits = Resources::from([(GPU, 64)]);
    vec![general, critical, arm64, gpu]
}

/// Workloads of the public sets that state no constraint beyond node selectors and tolerations, in the namespaces of a
/// company that runs production and staging. Where a manifest states no request (DeathStarBench), one is drawn.
fn workloads(rng: &mut Random) -> Vec<Workload> {
    let manifests = Manifests::embedded();
    let mut made = Vec::new();
    for (set, namespaces) in [
        ("online-boutique", &["shop", "shop-staging"][..]),
        ("kube-prometheus", &["monitoring"]),
        ("deathstarbench-hotel-reservation", &["hotel"]),
        ("deathstarbench-social-network", &["social"]),
        ("deathstarbench-media", &["media"]),
        ("karpenter-blueprints", &["platform"]),
    ] {
        let manifests = manifests.set(set).workloads.iter().filter(|manifest| usable(manifest));
        for (manifest, namespace) in
            manifests.flat_map(|m| namespaces.iter().map(move |namespace| (m, namespace)))
        {
            let taken = made.iter().filter(|other: &&Workload| {
                other.namespace == *namespace && other.name.starts_with(&manifest.name)
            });
            let name = match taken.count() {
                0 => manifest.name.clone(),
                earlier => format!("{}-{}", manifest.name, earlier + 1),
            };
            made.push(Workload::new(namespace, &name, template(manifest, namespace, rng)));
        }
    }
    made
}

/// Intents of the blueprints that the pools of this cluster serve.
const INTENTS: [&str; 2] = ["apps", "gpu-workloads"];

fn usable(manifest: &Manifest) -> bool {
    let selected = |key: &str| manifest.node_selector.get(key).map(String::as_str);
    manifest.kind != "DaemonSet"
        && manifest.omitted.is_empty()
        && selected("intent").is_none_or(|intent| INTENTS.contains(&intent))
        && selected(labels::NODEPOOL).is_none()
        && selected("workload-type").is_none()
        && !manifest
            .containers
            .iter()
            .any(|requests| requests.contains_key(GPU) && selected("intent").is_none())
}

/// The manifest's template as this cluster would run it: a request where there is none, the arm64 toleration for a
/// third of the pods that do not care, `tier: critical` for the money path, staging at low priority.
fn template(manifest: &Manifest, namespace: &str, rng: &mut Random) -> PodSpec {
    let mut spec = manifest.spec();
    if !manifest.has_requests() {
        spec.containers = vec![sizes::container(rng)];
    }
    let mut select = |key: &str, value: &str| spec.node_selector.insert(key.to_owned(), value.to_owned());
    if namespace == "shop" && ["checkoutservice", "paymentservice", "redis-cart"].contains(&&*manifest.name) {
        select("tier", "critical");
        select(labels::CAPACITY_TYPE, "on-demand");
        spec.tolerations.push(toleration("tier", "critical"));
        spec.priority = 10_000;
    } else if manifest.node_selector.get(labels::ARCH).is_some_and(|arch| arch == "arm64") || rng.chance(33) {
        spec.tolerations.push(toleration("arch", "arm64"));
    } else if rng.chance(8) {
        select(labels::CAPACITY_TYPE, "on-demand");
    } else if rng.chance(6) {
        select(labels::ZONE, "us-east-1b");
    }
    if namespace == "shop-staging" {
        spec.priority = -10;
    }
    spec
}

/// Sixty nodes: 44 general, 6 critical, 7 arm64, 3 of a managed node group.
fn node_plans(pools: &[NodePool], rng: &mut Random) -> Vec<NodePlan> {
    let general: [&str; 5] = ["m5.xlarge", "m5.2xlarge", "m6i.xlarge", "c6i.2xlarge", "r6i.xlarge"];
    let kinds: [(usize, &[&str], Option<&NodePool>); 4] = [
        (44, &general, Some(&pools[0])),
        (6, &["m6i.xlarge", "m6i.2xlarge"], Some(&pools[1])),
        (7, &["m6g.xlarge", "m7g.2xlarge"], Some(&pools[2])),
        (3, &["t3.large"], None),
    ];
    let mut plans = Vec::new();
    for (count, machines, pool) in kinds {
        for _ in 0..count {
            let spot = pool.is_some_and(|pool| pool.name != "critical") && rng.chance(70);
            plans.push(NodePlan {
                number: 17 + 11 * u32::try_from(plans.len()).expect("sixty nodes"),
                machine: Machine::named(rng.pick::<&str>(machines)),
                zone: plans.len() % 3,
                capacity_type: if spot { "spot" } else { "on-demand" },
                pool: pool.cloned(),
            });
        }
    }
    plans
}

/// Puts node agents and workload pods on the nodes, one round after the other, until [`RUNNING`] pods run. Every node
/// stops at its own share of cpu, between 40 % and 95 %, so that free space is spread as it is in real clusters.
fn fill(
    nodes: &[Node],
    daemon_sets: &[DaemonSet],
    workloads: &[Workload],
    maker: &mut PodMaker,
    rng: &mut Random,
) -> Vec<Pod> {
    let mut pods = Vec::new();
    let mut free: Vec<Resources> = Vec::new();
    for node in nodes {
        let mut left = node.allocatable.clone();
        left.set(CPU, left.get(CPU) * rng.between(40, 95) / 100);
        for daemon_set in daemon_sets.iter().filter(|agent| tolerates(&agent.spec, &node.taints)) {
            left.sub(&plain_requests(&daemon_set.spec));
            pods.push(maker.agent(daemon_set, &node.name));
        }
        free.push(left);
    }
    const ROUNDS_MAX: usize = 200;
    for _ in 0..ROUNDS_MAX {
        for (node, left) in nodes.iter().zip(&mut free) {
            let workload = rng.pick(workloads);
            let requests = plain_requests(&workload.spec);
            if pods.len() < RUNNING && runs_on(&workload.spec, node) && requests.fits(left) {
                left.sub(&requests);
                pods.push(maker.running(workload, &node.name));
            }
        }
    }
    assert_eq!(pods.len(), RUNNING, "the nodes have room for all running pods");
    pods
}

/// Whether the scheduler could have put a pod of this template there.
fn runs_on(spec: &PodSpec, node: &Node) -> bool {
    tolerates(spec, &node.taints)
        && spec.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
}
