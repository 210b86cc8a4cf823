//! Parts of a cluster: pools, node classes, nodes, DaemonSets, workloads and the pods they make.

use super::sizes::{GIB, MIB};
use crate::manifests::Manifests;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{
    Affinity, DaemonSet, Ec2NodeClass, Node, NodeClaim, NodePool, NodeSelectorTerm, Owner, Pod, PodPhase,
    PodSpec, Taint, TaintEffect, Toleration,
};
use stowage_models::pod::Common;
use stowage_models::quantity::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{Labels, Operator, Requirement};

/// Zones of the composed clusters, with the zone ids of the catalogue.
pub(super) const ZONES: [(&str, &str); 3] =
    [("us-east-1a", "use1-az2"), ("us-east-1b", "use1-az4"), ("us-east-1c", "use1-az6")];

/// Priority of node agents (`system-node-critical`).
const SYSTEM_NODE_CRITICAL: i32 = 2_000_001_000;

/// Labels from pairs.
pub(super) fn label_map(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A toleration of `key=value` with effect NoSchedule; an empty value tolerates any.
pub(super) fn toleration(key: &str, value: &str) -> Toleration {
    Toleration {
        key: key.to_owned(),
        operator: if value.is_empty() { "Exists" } else { "Equal" }.to_owned(),
        value: value.to_owned(),
        effect: Some(TaintEffect::NoSchedule),
    }
}

/// A NoSchedule taint.
pub(super) fn taint(key: &str, value: &str) -> Taint {
    Taint { key: key.to_owned(), value: value.to_owned(), effect: TaintEffect::NoSchedule }
}

/// Required node affinity with these terms, alternatives of each other.
pub(super) fn node_affinity(terms: Vec<Vec<Requirement>>) -> Affinity {
    let term = |match_expressions| NodeSelectorTerm { match_expressions, match_fields: Vec::new() };
    Affinity { node_required: Some(terms.into_iter().map(term).collect()), ..Affinity::default() }
}

/// A NodePool of current c, m and r instances with these architectures and capacity types.
pub(super) fn pool(name: &str, arches: &[&str], capacity_types: &[&str]) -> NodePool {
    NodePool {
        name: name.to_owned(),
        requirements: vec![
            Requirement::new("karpenter.k8s.aws/instance-category", Operator::In, &["c", "m", "r"]),
            Requirement::new("karpenter.k8s.aws/instance-generation", Operator::Gt, &["2"]),
            Requirement::new(labels::ARCH, Operator::In, arches),
            Requirement::new(labels::OS, Operator::In, &["linux"]),
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, capacity_types),
        ],
        node_class: "default".to_owned(),
        expire_after: Some("720h".to_owned()),
        consolidation_policy: Some("WhenEmptyOrUnderutilized".to_owned()),
        consolidate_after: Some("1m".to_owned()),
        ..NodePool::default()
    }
}

/// The EC2NodeClass of all pools: three zones, a root volume of 100 GiB.
pub(super) fn node_class() -> Ec2NodeClass {
    Ec2NodeClass {
        name: "default".to_owned(),
        zones: ZONES.iter().map(|(zone, _)| (*zone).to_owned()).collect(),
        root_volume_bytes: Some(100 * GIB),
        ..Ec2NodeClass::default()
    }
}

/// The node agents of an EKS cluster with monitoring and logging.
pub(super) fn daemon_sets() -> Vec<DaemonSet> {
    let manifests = Manifests::embedded();
    let agents = manifests.set("node-agents").workloads.iter();
    let exporter = manifests.set("kube-prometheus").workload("node-exporter");
    agents
        .chain([exporter])
        .map(|manifest| DaemonSet {
            namespace: manifest.namespace.clone().expect("node agents name their namespace"),
            name: manifest.name.clone(),
            labels: label_map(&[("app", &manifest.name)]),
            spec: PodSpec { priority: SYSTEM_NODE_CRITICAL, ..manifest.spec() },
        })
        .collect()
}

/// Everything the pods of one workload share.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    /// Namespace.
    pub(super) namespace: String,
    /// Name.
    pub(super) name: String,
    /// Pod template.
    pub(super) spec: PodSpec,
}

impl Workload {
    /// A workload.
    pub(super) fn new(namespace: &str, name: &str, spec: PodSpec) -> Workload {
        Workload { namespace: namespace.to_owned(), name: name.to_owned(), spec }
    }
}

/// Characters of the part of a pod's name that is its own.
const SUFFIX: usize = 5;

/// Makes pods with names like those of a ReplicaSet or DaemonSet, never the same one twice.
#[derive(Debug)]
pub(super) struct PodMaker {
    rng: Random,
    /// Suffixes by namespace and prefix.
    taken: BTreeMap<(String, String), BTreeSet<[u8; SUFFIX]>>,
}

impl PodMaker {
    /// A maker that draws names from `rng`.
    pub(super) fn new(rng: Random) -> PodMaker {
        PodMaker { rng, taken: BTreeMap::new() }
    }

    fn name(&mut self, namespace: &str, prefix: &str) -> String {
        let taken = self.taken.entry((namespace.to_owned(), prefix.to_owned())).or_default();
        loop {
            let suffix = self.rng.suffix(SUFFIX);
            if taken.insert(suffix.as_bytes().try_into().expect("a suffix of this length")) {
                return format!("{prefix}-{suffix}");
            }
        }
    }

    /// A name for a ReplicaSet of the workload.
    pub(super) fn replica_set(&mut self, workload: &Workload) -> String {
        format!("{}-{}", workload.name, self.rng.suffix(8))
    }

    /// A pending pod of that ReplicaSet of the workload.
    pub(super) fn replica(&mut self, workload: &Workload, replica_set: &str) -> Pod {
        Pod {
            namespace: workload.namespace.clone(),
            name: self.name(&workload.namespace, replica_set),
            labels: label_map(&[("app", &workload.name)]).into(),
            owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: replica_set.to_owned() }.into()),
            spec: workload.spec.clone().into(),
            ..Pod::default()
        }
    }

    /// `count` pending pods of one ReplicaSet.
    pub(super) fn pending(&mut self, workload: &Workload, count: u64) -> Vec<Pod> {
        let replica_set = self.replica_set(workload);
        let mut common = Common::default();
        let mut replica = || {
            let mut pod = self.replica(workload, &replica_set);
            common.share(&mut pod);
            pod
        };
        (0..count).map(|_| replica()).collect()
    }

    /// A pod of the workload that runs on `node`.
    pub(super) fn running(&mut self, workload: &Workload, node: &str) -> Pod {
        let mut pod = self.pending(workload, 1).remove(0);
        pod.phase = PodPhase::Running;
        pod.node = Some(node.to_owned());
        pod
    }

    /// The DaemonSet's pod on `node`, pinned to it as the DaemonSet controller does.
    pub(super) fn agent(&mut self, daemon_set: &DaemonSet, node: &str) -> Pod {
        let mut spec = daemon_set.spec.clone();
        let pin = Requirement::new("metadata.name", Operator::In, &[node]);
        let term = NodeSelectorTerm { match_expressions: Vec::new(), match_fields: vec![pin] };
        spec.affinity.node_required = Some(vec![term]);
        Pod {
            namespace: daemon_set.namespace.clone(),
            name: self.name(&daemon_set.namespace, &daemon_set.name),
            labels: daemon_set.labels.clone().into(),
            owner: Some(Owner { kind: "DaemonSet".to_owned(), name: daemon_set.name.clone() }.into()),
            phase: PodPhase::Running,
            node: Some(node.to_owned()),
            spec: spec.into(),
            ..Pod::default()
        }
    }
}

/// Hardware of an instance type that composed clusters already run on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Type name.
    pub(super) name: &'static str,
    /// Architecture, as Kubernetes names it.
    pub(super) arch: &'static str,
    /// Virtual CPUs.
    pub(super) vcpus: i64,
    /// Hardware memory.
    pub(super) memory_mib: i64,
    /// Pods by ENI addresses.
    pub(super) pods: i64,
}

/// Machines of existing nodes (recorded DescribeInstanceTypes, 2026-08, as in the catalogue).
pub(super) const MACHINES: [Machine; 9] = [
    Machine { name: "t3.large", arch: "amd64", vcpus: 2, memory_mib: 8192, pods: 35 },
    Machine { name: "m5.xlarge", arch: "amd64", vcpus: 4, memory_mib: 16_384, pods: 58 },
    Machine { name: "m5.2xlarge", arch: "amd64", vcpus: 8, memory_mib: 32_768, pods: 58 },
    Machine { name: "m6i.xlarge", arch: "amd64", vcpus: 4, memory_mib: 16_384, pods: 58 },
    Machine { name: "m6i.2xlarge", arch: "amd64", vcpus: 8, memory_mib: 32_768, pods: 58 },
    Machine { name: "c6i.2xlarge", arch: "amd64", vcpus: 8, memory_mib: 16_384, pods: 58 },
    Machine { name: "r6i.xlarge", arch: "amd64", vcpus: 4, memory_mib: 32_768, pods: 58 },
    Machine { name: "m6g.xlarge", arch: "arm64", vcpus: 4, memory_mib: 16_384, pods: 58 },
    Machine { name: "m7g.2xlarge", arch: "arm64", vcpus: 8, memory_mib: 32_768, pods: 58 },
];

impl Machine {
    /// A machine by type name.
    pub(super) fn named(name: &str) -> Machine {
        *MACHINES.iter().find(|machine| machine.name == name).expect("a machine of the table")
    }

    /// Capacity as a kubelet reports it; 6.5 % of the memory stays with the hypervisor and the kernel, as on the
    /// t3.small of a recorded EKS 1.31 cluster (1,959,264 Ki of 2 Gi).
    fn capacity(&self) -> Resources {
        Resources::from([
            (CPU, self.vcpus * 1000),
            (MEMORY, self.memory_mib * 935 / 1000 * MIB),
            (PODS, self.pods),
            (EPHEMERAL_STORAGE, 100 * GIB),
        ])
    }

    /// Allocatable as EKS's AMIs configure it: 255 MiB + 11 MiB per pod, 100 MiB eviction threshold, 60m of the first
    /// core, 10m of the second, 5m of the next two and 2.5m of the rest; a tenth and a gibibyte of the disk.
    pub(super) fn allocatable(&self) -> Resources {
        let capacity = self.capacity();
        let reserved_cpu = 60
            + 10 * i64::from(self.vcpus > 1)
            + 5 * (self.vcpus - 2).clamp(0, 2)
            + (self.vcpus - 4).max(0) * 5 / 2;
        let reserved_memory = (255 + 11 * self.pods + 100) * MIB;
        Resources::from([
            (CPU, capacity.get(CPU) - reserved_cpu),
            (MEMORY, capacity.get(MEMORY) - reserved_memory),
            (PODS, self.pods),
            (EPHEMERAL_STORAGE, capacity.get(EPHEMERAL_STORAGE) / 10 * 9 - GIB),
        ])
    }
}

/// An existing node before it has pods.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    /// Host number, from which name and address follow.
    pub(super) number: u32,
    /// Machine.
    pub(super) machine: Machine,
    /// Index into [`ZONES`].
    pub(super) zone: usize,
    /// `spot` or `on-demand`.
    pub(super) capacity_type: &'static str,
    /// Its NodePool; `None` = a managed node group.
    pub(super) pool: Option<NodePool>,
}

impl NodePlan {
    fn provider_id(&self) -> String {
        format!("aws:///{}/i-{:017x}", ZONES[self.zone].0, 0x0a00_0000_0000_0000_u64 + u64::from(self.number))
    }

    /// The node, Ready, labelled as EKS and Karpenter label theirs.
    pub(super) fn node(&self) -> Node {
        let name = format!("ip-10-0-{}-{}.ec2.internal", self.number / 250, self.number % 250 + 4);
        let (zone, zone_id) = ZONES[self.zone];
        let mut node_labels = label_map(&[
            (labels::ARCH, self.machine.arch),
            (labels::OS, "linux"),
            (labels::HOSTNAME, &name),
            (labels::INSTANCE_TYPE, self.machine.name),
            (labels::REGION, "us-east-1"),
            (labels::ZONE, zone),
            (labels::ZONE_ID, zone_id),
        ]);
        match &self.pool {
            Some(pool) => node_labels.extend(self.managed_labels(pool)),
            None => node_labels.extend(label_map(&[
                ("eks.amazonaws.com/nodegroup", "system"),
                (labels::EKS_CAPACITY_TYPE, "ON_DEMAND"),
            ])),
        }
        Node {
            name,
            labels: node_labels,
            taints: self.pool.as_ref().map(|pool| pool.taints.clone()).unwrap_or_default(),
            provider_id: Some(self.provider_id()),
            created: Some("2026-08-30T08:00:00Z".to_owned()),
            capacity: self.machine.capacity(),
            allocatable: self.machine.allocatable(),
            ready: true,
            ..Node::default()
        }
    }

    fn managed_labels(&self, pool: &NodePool) -> Labels {
        let family = self.machine.name.split('.').next().unwrap_or_default();
        let size = self.machine.name.split('.').nth(1).unwrap_or_default();
        let mut own = label_map(&[
            (labels::NODEPOOL, &pool.name),
            (labels::CAPACITY_TYPE, self.capacity_type),
            (labels::REGISTERED, "true"),
            (labels::INITIALIZED, "true"),
            (labels::EC2_NODE_CLASS, &pool.node_class),
            ("karpenter.k8s.aws/instance-category", &family[..1]),
            ("karpenter.k8s.aws/instance-family", family),
            ("karpenter.k8s.aws/instance-generation", &family[1..2]),
            ("karpenter.k8s.aws/instance-size", size),
            ("karpenter.k8s.aws/instance-cpu", &self.machine.vcpus.to_string()),
            ("karpenter.k8s.aws/instance-memory", &self.machine.memory_mib.to_string()),
        ]);
        own.extend(pool.labels.clone());
        own
    }

    /// The NodeClaim of a managed node.
    pub(super) fn claim(&self) -> Option<NodeClaim> {
        let pool = self.pool.as_ref()?;
        let node = self.node();
        Some(NodeClaim {
            name: format!("{}-{:05}", pool.name, self.number),
            labels: node.labels,
            node: Some(node.name),
            provider_id: node.provider_id,
            capacity: node.capacity,
            allocatable: node.allocatable,
            taints: node.taints,
            conditions: ["Initialized", "Launched", "Ready", "Registered"].map(str::to_owned).to_vec(),
            ..NodeClaim::default()
        })
    }
}

/// What a pod of this template occupies, where only sums of containers matter (no init containers, no overhead).
pub(super) fn plain_requests(spec: &PodSpec) -> Resources {
    let mut sum = Resources::from([(PODS, 1)]);
    for container in &spec.containers {
        sum.add(&container.requests);
    }
    sum
}

/// Whether the template tolerates every taint of the node (composed taints are all NoSchedule with plain equality).
pub(super) fn tolerates(spec: &PodSpec, taints: &[Taint]) -> bool {
    taints.iter().all(|taint| {
        spec.tolerations.iter().any(|toleration| match toleration.operator.as_str() {
            "Exists" => toleration.key.is_empty() || toleration.key == taint.key,
            _ => toleration.key == taint.key && toleration.value == taint.value,
        })
    })
}
