//! Tiny random cases: a catalogue of up to three machines, one or two NodePools, up to six pods.

use stowage_models::catalog::{Arch, Catalog, InstanceType, Price, ZoneOffer};
use stowage_models::labels;
use stowage_models::objects::{
    Container, DaemonSet, Ec2NodeClass, Node, NodePool, NodeSelectorTerm, Pod, PodSpec, PreferredNodeTerm,
    Taint, TaintEffect, Toleration,
};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::shared::Shared;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// Most pods of a case: enumeration meets the 203 partitions of six pods in microseconds.
pub const PODS_MAX: usize = 6;
/// Most offerings of a case.
pub const OFFERINGS_MAX: usize = 6;

const MIB: i64 = 1 << 20;
const TAINT: &str = "example.com/reserved";

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The cluster.
    pub snapshot: Snapshot,
    /// The machines.
    pub catalog: Catalog,
}

impl Case {
    /// The case of a seed.
    #[must_use]
    pub fn random(seed: u64) -> Case {
        let mut rng = Random::new(seed);
        loop {
            let catalog = catalog(&mut rng);
            let pools = pools(&mut rng);
            let offerings: usize = pools.iter().map(|pool| offered(&catalog, pool)).sum();
            if (1..=OFFERINGS_MAX).contains(&offerings) {
                return Case { snapshot: snapshot(pools, &mut rng, seed), catalog };
            }
        }
    }
}

impl Case {
    /// The case of a seed, with preferences: pods prefer zones, capacity types, architectures and pools, and taints that only
    /// ask to stay away are on pools and nodes.
    #[must_use]
    pub fn preferring(seed: u64) -> Case {
        let mut case = Case::random(seed);
        let mut rng = Random::new(seed ^ 0x00C0_FFEE);
        let soft = || Taint {
            key: TAINT.to_owned(),
            value: "soft".to_owned(),
            effect: TaintEffect::PreferNoSchedule,
        };
        let snapshot = &mut case.snapshot;
        for taints in snapshot.node_pools.iter_mut().map(|pool| &mut pool.taints) {
            taints.extend(rng.chance(30).then(soft));
        }
        for taints in snapshot.nodes.iter_mut().map(|node| &mut node.taints) {
            taints.extend(rng.chance(30).then(soft));
        }
        let mut kinds: Vec<(Shared<PodSpec>, Shared<PodSpec>)> = Vec::new();
        for pod in &mut snapshot.pods {
            // Pods that were equal mostly stay so.
            let known = kinds.iter().find(|(before, _)| *before == pod.spec && !rng.chance(15));
            if let Some((_, after)) = known {
                pod.spec = after.clone();
                continue;
            }
            let before = pod.spec.clone();
            for _ in 0..rng.below(3) {
                pod.spec.affinity.node_preferred.push(preferred(&mut rng));
            }
            if rng.chance(20) {
                pod.spec.tolerations.push(Toleration {
                    key: TAINT.to_owned(),
                    operator: "Equal".to_owned(),
                    value: "soft".to_owned(),
                    effect: Some(TaintEffect::PreferNoSchedule),
                });
            }
            kinds.push((before, pod.spec.clone()));
        }
        case
    }
}

fn preferred(rng: &mut Random) -> PreferredNodeTerm {
    let (key, value) = *rng.pick(&[
        (labels::ZONE, "us-east-1a"),
        (labels::ZONE, "us-east-1b"),
        (labels::CAPACITY_TYPE, "spot"),
        (labels::CAPACITY_TYPE, "on-demand"),
        (labels::ARCH, "arm64"),
        (labels::NODEPOOL, "special"),
        (labels::INSTANCE_TYPE, "m6.1xlarge"),
    ]);
    let operator = if rng.chance(80) { Operator::In } else { Operator::NotIn };
    PreferredNodeTerm {
        weight: *rng.pick(&[1, 10, 50, 100]),
        preference: NodeSelectorTerm {
            match_expressions: vec![Requirement::new(key, operator, &[value])],
            match_fields: Vec::new(),
        },
    }
}

/// How many offerings a pool has: every price of every machine it accepts.
fn offered(catalog: &Catalog, pool: &NodePool) -> usize {
    let accepts = |key: &str, value: &str| {
        pool.requirements.iter().filter(|requirement| requirement.key == key).all(|r| r.accepts(Some(value)))
    };
    let types = catalog.types.iter().filter(|machine| accepts(labels::ARCH, machine.arch.as_str()));
    types
        .map(|machine| {
            let spot = machine.zones.iter().filter(|_| accepts(labels::CAPACITY_TYPE, "spot"));
            let on_demand = accepts(labels::CAPACITY_TYPE, "on-demand") && machine.on_demand.is_some();
            spot.filter(|zone| zone.spot.is_some()).count() + machine.zones.len() * usize::from(on_demand)
        })
        .sum()
}

/// One to three machines whose price roughly follows their size, so that optima mix them.
fn catalog(rng: &mut Random) -> Catalog {
    let count = rng.between(1, 3);
    let types = (0..count).map(|index| machine(index, rng)).collect();
    Catalog { region: "us-east-1".to_owned(), types, ..Catalog::default() }
}

fn machine(index: i64, rng: &mut Random) -> InstanceType {
    let vcpus = *rng.pick(&[2_u32, 4, 8, 16]);
    let memory_mib = vcpus * *rng.pick(&[2048, 4096, 8192]);
    let on_demand =
        i64::from(vcpus) * rng.between(30_000, 40_000) + i64::from(memory_mib) * rng.between(3, 5);
    let zones = if rng.chance(25) { &["us-east-1a", "us-east-1b"][..] } else { &["us-east-1a"] };
    let arch = if rng.chance(25) { Arch::Arm64 } else { Arch::Amd64 };
    let zone = |(position, zone): (usize, &&str)| ZoneOffer {
        zone: (*zone).to_owned(),
        zone_id: format!("use1-az{}", position + 1),
        spot: rng
            .chance(60)
            .then(|| Price { usd: UsdMicros(on_demand * rng.between(30, 95) / 100), estimated: false }),
    };
    let zones = zones.iter().enumerate().map(zone).collect();
    InstanceType {
        name: format!("m{}.{}xlarge", index + 5, vcpus / 4 + 1),
        arch,
        cpu_manufacturer: if arch == Arch::Arm64 { "aws" } else { "intel" }.to_owned(),
        vcpus,
        memory_mib,
        hypervisor: Some("nitro".to_owned()),
        // A few machines run out of addresses before they run out of cores.
        enis: u32::try_from(rng.between(2, 4)).expect("small"),
        ipv4_per_eni: u32::try_from(if rng.chance(20) { 2 } else { rng.between(6, 15) }).expect("small"),
        on_demand: Some(UsdMicros(on_demand)),
        zones,
        ..InstanceType::default()
    }
}

/// A pool, and in a quarter of the cases a second one that comes first by weight or is tainted.
fn pools(rng: &mut Random) -> Vec<NodePool> {
    let capacity_types: &[&str] = if rng.chance(70) { &["on-demand", "spot"] } else { &["on-demand"] };
    let first = NodePool {
        name: "general".to_owned(),
        requirements: vec![Requirement::new(labels::CAPACITY_TYPE, Operator::In, capacity_types)],
        node_class: "default".to_owned(),
        ..NodePool::default()
    };
    if !rng.chance(25) {
        return vec![first];
    }
    let mut second = NodePool { name: "special".to_owned(), ..first.clone() };
    second.requirements.push(Requirement::new(labels::ARCH, Operator::In, &["amd64"]));
    if rng.chance(50) {
        second.weight = 10;
    }
    if rng.chance(60) {
        second.taints =
            vec![Taint { key: TAINT.to_owned(), value: "yes".to_owned(), effect: TaintEffect::NoSchedule }];
    }
    vec![first, second]
}

fn snapshot(pools: Vec<NodePool>, rng: &mut Random, seed: u64) -> Snapshot {
    // Mostly full: some of the pods will fit nowhere and drop out.
    let count = *rng.pick(&[1, 3, 4, 5, PODS_MAX, PODS_MAX, PODS_MAX]);
    let shapes: Vec<PodSpec> = (0..rng.between(1, 4)).map(|_| spec(rng)).collect();
    let pods = (0..count)
        .map(|index| Pod {
            namespace: "default".to_owned(),
            name: format!("pod-{index}"),
            spec: rng.pick(&shapes).clone().into(),
            ..Pod::default()
        })
        .collect();
    let mut snapshot = Snapshot {
        origin: format!("oracle case {seed}"),
        seed,
        node_pools: pools,
        node_classes: vec![Ec2NodeClass { name: "default".to_owned(), ..Ec2NodeClass::default() }],
        nodes: if rng.chance(30) { vec![node(rng)] } else { Vec::new() },
        pods,
        daemon_sets: if rng.chance(40) { vec![agent(rng)] } else { Vec::new() },
        ..Snapshot::default()
    };
    snapshot.normalise();
    snapshot
}

fn requests(cpu: i64, memory_mib: i64) -> Vec<Container> {
    vec![Container {
        requests: Resources::from([(CPU, cpu), (MEMORY, memory_mib * MIB)]),
        ..Container::default()
    }]
}

/// A pod that fits the smallest machine in most cases, with at most one selector and perhaps the toleration.
fn spec(rng: &mut Random) -> PodSpec {
    let cpu = *rng.pick(&[100, 250, 500, 700, 900, 1100, 1500, 2500, 3700]);
    let memory_mib = cpu * *rng.pick(&[1, 2, 3, 4, 7]);
    let selector = match rng.below(10) {
        0 => Some((labels::CAPACITY_TYPE, "on-demand")),
        1 => Some((labels::ARCH, *rng.pick(&["amd64", "arm64"]))),
        2 => Some((labels::ZONE, *rng.pick(&["us-east-1a", "us-east-1b"]))),
        _ => None,
    };
    let toleration = Toleration {
        key: TAINT.to_owned(),
        operator: "Equal".to_owned(),
        value: "yes".to_owned(),
        effect: Some(TaintEffect::NoSchedule),
    };
    PodSpec {
        containers: requests(cpu, memory_mib),
        node_selector: selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        tolerations: if rng.chance(40) { vec![toleration] } else { Vec::new() },
        ..PodSpec::default()
    }
}

/// A node agent that goes everywhere.
fn agent(rng: &mut Random) -> DaemonSet {
    let everywhere = Toleration { operator: "Exists".to_owned(), ..Toleration::default() };
    DaemonSet {
        namespace: "kube-system".to_owned(),
        name: "agent".to_owned(),
        spec: PodSpec {
            containers: requests(rng.between(5, 30) * 10, rng.between(2, 20) * 16),
            tolerations: vec![everywhere],
            ..PodSpec::default()
        },
        ..DaemonSet::default()
    }
}

/// An existing node of a managed node group with a little room.
fn node(rng: &mut Random) -> Node {
    let allocatable = Resources::from([
        (CPU, rng.between(5, 30) * 100),
        (MEMORY, rng.between(5, 60) * 100 * MIB),
        (PODS, rng.between(2, 8)),
    ]);
    let own = [(labels::ARCH, "amd64"), (labels::ZONE, "us-east-1a"), (labels::CAPACITY_TYPE, "on-demand")];
    Node {
        name: "existing".to_owned(),
        labels: own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Labels>(),
        capacity: allocatable.clone(),
        allocatable,
        ready: true,
        ..Node::default()
    }
}
