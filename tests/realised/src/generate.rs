//! Random clusters whose pods have constraints of all kinds.

use stowage_models::labels;
use stowage_models::objects::{
    Container, Ec2NodeClass, Namespace, Node, NodePool, NodeSelectorTerm, Owner, Pod, PodAffinityTerm,
    PodPhase, PodSpec, PodVolume, StorageClass, TopologySpread, Volume, VolumeClaim,
};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

const MIB: i64 = 1 << 20;
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
const TIERS: [&str; 2] = ["front", "back"];
/// Kinds of constraints a workload may have; see [`Maker::constrain`].
const KINDS: usize = 12;

struct Maker {
    random: Random,
    space: String,
    apps: usize,
    ports: i64,
}

/// The cluster of a seed: 50 to 500 pods that wait, up to four nodes with pods on them, one NodePool.
#[must_use]
pub fn snapshot(seed: u64) -> Snapshot {
    let mut random = Random::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x0057_0057);
    let pods = 50 + random.index(451);
    let mut maker = Maker { random, space: format!("r{seed}"), apps: 0, ports: 8_000 };
    let mut snapshot = Snapshot {
        namespaces: vec![Namespace { name: maker.space.clone(), labels: Labels::new() }],
        node_pools: vec![pool()],
        node_classes: vec![Ec2NodeClass { name: "default".to_owned(), ..Ec2NodeClass::default() }],
        storage_classes: vec![class()],
        ..Snapshot::default()
    };
    for index in 0..maker.random.index(5) {
        let node = maker.node(index);
        snapshot.nodes.push(node);
    }
    while snapshot.pods.iter().filter(|pod| pod.node.is_none()).count() < pods {
        maker.workload(&mut snapshot);
    }
    snapshot.normalise();
    snapshot
}

fn pool() -> NodePool {
    let is_in = |key: &str, values: &[&str]| Requirement::new(key, Operator::In, values);
    NodePool {
        name: "general".to_owned(),
        node_class: "default".to_owned(),
        requirements: vec![
            is_in("karpenter.k8s.aws/instance-family", &["c6i", "m6i", "r6i"]),
            is_in("karpenter.k8s.aws/instance-size", &["large", "xlarge", "2xlarge", "4xlarge"]),
            is_in(labels::CAPACITY_TYPE, &["on-demand", "spot"]),
            is_in(labels::ZONE, &ZONES),
        ],
        ..NodePool::default()
    }
}

fn class() -> StorageClass {
    StorageClass {
        name: "gp3".to_owned(),
        provisioner: "ebs.csi.aws.com".to_owned(),
        wait_for_first_consumer: true,
        ..StorageClass::default()
    }
}

fn app(name: &str) -> LabelSelector {
    let match_labels = Labels::from([("app".to_owned(), name.to_owned())]);
    LabelSelector { match_labels, ..LabelSelector::default() }
}

fn term(key: &str, name: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(app(name)),
        topology_key: key.to_owned(),
        ..PodAffinityTerm::default()
    }
}

impl Maker {
    fn node(&mut self, index: usize) -> Node {
        let name = format!("{}-old-{index}", self.space);
        let zone = *self.random.pick(&ZONES);
        let set = [
            (labels::HOSTNAME, name.as_str()),
            (labels::ZONE, zone),
            (labels::INSTANCE_TYPE, "m6i.large"),
            (labels::CAPACITY_TYPE, "on-demand"),
            (labels::ARCH, "amd64"),
            (labels::OS, "linux"),
        ];
        let allocatable = Resources::from([(CPU, 1_930), (MEMORY, 7_000 * MIB), (PODS, 29)]);
        Node {
            labels: set.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            capacity: allocatable.clone(),
            allocatable,
            ready: true,
            name,
            ..Node::default()
        }
    }

    /// Equal pods, some of which may run already.
    fn workload(&mut self, snapshot: &mut Snapshot) {
        let name = format!("w{}", self.apps);
        let tier = *self.random.pick(&TIERS);
        self.apps += 1;
        let mut spec = PodSpec { containers: vec![self.container()], ..PodSpec::default() };
        let mut zone = None;
        for _ in 0..self.random.index(3) {
            self.constrain(&name, tier, &mut spec, &mut zone);
        }
        // Nodes are for few pods with ports, or that want to be alone.
        let most = if self.random.chance(20) { 60 } else { 20 };
        for index in 0..1 + self.random.index(most) {
            let mut pod = Pod {
                namespace: self.space.clone(),
                name: format!("{name}-{index}"),
                labels: [("app", name.as_str()), ("tier", tier)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: name.clone() }.into()),
                spec: spec.clone().into(),
                ..Pod::default()
            };
            if let Some(zone) = zone {
                volume(&mut pod, zone, snapshot);
            }
            snapshot.pods.push(pod);
        }
        if self.random.chance(30) && !snapshot.nodes.is_empty() {
            let node = self.random.pick(&snapshot.nodes).name.clone();
            let mut spec = PodSpec { containers: vec![Container::default()], ..PodSpec::default() };
            spec.containers[0].requests = Resources::from([(CPU, 100), (MEMORY, 128 * MIB)]);
            if self.random.chance(30) {
                let other = format!("w{}", self.random.index(self.apps + 2));
                spec.affinity.anti_required = vec![term(labels::HOSTNAME, &other)];
            }
            snapshot.pods.push(Pod {
                namespace: self.space.clone(),
                name: format!("{name}-running"),
                labels: Labels::from([("app".to_owned(), name)]).into(),
                phase: PodPhase::Running,
                node: Some(node),
                spec: spec.into(),
                ..Pod::default()
            });
        }
    }

    fn container(&mut self) -> Container {
        let cpu = *self.random.pick(&[100, 250, 500, 700, 1_000, 1_500]);
        let per_cpu = *self.random.pick(&[1, 2, 3, 5, 7]);
        let requests = Resources::from([(CPU, cpu), (MEMORY, cpu * per_cpu * MIB)]);
        Container { requests, ..Container::default() }
    }

    fn spread(&mut self, key: &str, selector: LabelSelector) -> TopologySpread {
        TopologySpread {
            max_skew: 1 + self.random.index(3) as i32,
            topology_key: key.to_owned(),
            hard: true,
            label_selector: Some(selector),
            min_domains: (key == labels::ZONE && self.random.chance(20)).then_some(3),
            honor_affinity: self.random.chance(80),
            honor_taints: self.random.chance(30),
            match_label_keys: Vec::new(),
        }
    }

    /// One more constraint of some kind.
    fn constrain(&mut self, name: &str, tier: &str, spec: &mut PodSpec, zone: &mut Option<&'static str>) {
        let other = format!("w{}", self.random.index(self.apps));
        let has_spread =
            |spec: &PodSpec, key: &str| spec.topology_spread.iter().any(|one| one.topology_key == key);
        match self.random.index(KINDS) {
            0 | 1 if !has_spread(spec, labels::ZONE) => {
                let spread = self.spread(labels::ZONE, app(name));
                spec.topology_spread.push(spread);
            }
            2 if !has_spread(spec, labels::HOSTNAME) => {
                let spread = self.spread(labels::HOSTNAME, app(name));
                spec.topology_spread.push(spread);
            }
            3 if !has_spread(spec, labels::ZONE) => {
                let match_labels = Labels::from([("tier".to_owned(), tier.to_owned())]);
                let selector = LabelSelector { match_labels, ..LabelSelector::default() };
                let mut spread = self.spread(labels::ZONE, selector);
                spread.max_skew += 20;
                spread.min_domains = None;
                spec.topology_spread.push(spread);
            }
            4 => spec.affinity.anti_required.push(term(labels::HOSTNAME, name)),
            5 => spec.affinity.anti_required.push(term(labels::HOSTNAME, &other)),
            6 if other != name => spec.affinity.anti_required.push(term(labels::ZONE, &other)),
            7 => spec.affinity.pod_required.push(term(labels::ZONE, &other)),
            8 => {
                self.ports += 1;
                let port = self.ports;
                spec.containers[0].host_ports = vec![format!("TCP/0.0.0.0/{port}")];
            }
            9 => {
                let zones = [*self.random.pick(&ZONES), *self.random.pick(&ZONES)];
                let mut zones = zones.to_vec();
                zones.sort_unstable();
                zones.dedup();
                let term = NodeSelectorTerm {
                    match_expressions: vec![Requirement::new(labels::ZONE, Operator::In, &zones)],
                    match_fields: Vec::new(),
                };
                spec.affinity.node_required = Some(vec![term]);
            }
            10 => {
                let value = (*self.random.pick(&["on-demand", "spot"])).to_owned();
                spec.node_selector.insert(labels::CAPACITY_TYPE.to_owned(), value);
            }
            11 => *zone = Some(*self.random.pick(&ZONES)),
            _ => {}
        }
    }
}

/// A claim of its own, bound to a volume in a zone.
fn volume(pod: &mut Pod, zone: &str, snapshot: &mut Snapshot) {
    let claim = format!("data-{}", pod.name);
    let name = format!("{}-{claim}", pod.namespace);
    let there = NodeSelectorTerm {
        match_expressions: vec![Requirement::new(labels::ZONE, Operator::In, &[zone])],
        match_fields: Vec::new(),
    };
    pod.spec.volumes = vec![PodVolume::Claim(claim.clone())];
    snapshot.volumes.push(Volume {
        name: name.clone(),
        driver: Some("ebs.csi.aws.com".to_owned()),
        node_affinity: Some(vec![there]),
    });
    snapshot.volume_claims.push(VolumeClaim {
        namespace: pod.namespace.clone(),
        name: claim,
        volume: Some(name),
        storage_class: Some("gp3".to_owned()),
        read_write_once_pod: false,
    });
}
