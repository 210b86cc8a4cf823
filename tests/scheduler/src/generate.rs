//! Random cases. Every constraint the filters know occurs, alone and in combination, and about half of the nodes fit.
//!
//! Cases share one API server, so nothing of one may matter to another: topology keys, namespaces and names carry the
//! case's name, and nodes of other cases lack its keys.

use crate::Case;
use stowage_models::objects::{
    Affinity, Container, Namespace, Node, NodeSelectorTerm, Owner, Pod, PodAffinityTerm, PodPhase, PodSpec,
    PodVolume, StorageClass, Taint, TaintEffect, Toleration, TopologySpread, Volume, VolumeClaim,
};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

const MIB: i64 = 1 << 20;

/// Label keys of pods that selectors ask about, and those that only `matchLabelKeys` may name: the API server refuses a
/// key in both.
const APPS: [&str; 3] = ["web", "db", "cache"];
const TIERS: [&str; 2] = ["front", "back"];
const REVISIONS: [&str; 2] = ["r1", "r2"];

/// The CSI driver of every volume.
const DRIVER: &str = "disk.example.com";
/// Claims that several pods of a namespace name.
const SHARED: usize = 3;

struct Maker {
    random: Random,
    name: String,
}

/// The case of a seed.
#[must_use]
pub fn case(seed: u64) -> Case {
    let name = format!("c{seed}");
    let mut maker =
        Maker { random: Random::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D)), name: name.clone() };
    Case { name, snapshot: maker.snapshot() }
}

impl Maker {
    /// The key of a label of this case's nodes.
    fn key(&self, kind: &str) -> String {
        format!("{kind}.{}/at", self.name)
    }

    fn named(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for space in ["a", "b"] {
            let mut labels = Labels::new();
            labels.insert("team".to_owned(), (*self.random.pick(&["red", "blue"])).to_owned());
            labels.insert("of".to_owned(), self.name.clone());
            snapshot.namespaces.push(Namespace { name: self.named(space), labels });
        }
        let nodes = 2 + self.random.index(4);
        for index in 0..nodes {
            let node = self.node(index);
            snapshot.nodes.push(node);
        }
        self.storage(&mut snapshot);
        let running = self.random.index(9);
        for index in 0..running {
            let node = self.random.pick(&snapshot.nodes).name.clone();
            let mut pod = self.pod(&format!("running-{index}"), true);
            pod.node = Some(node);
            pod.phase = PodPhase::Running;
            if self.random.chance(30) {
                self.shared(&mut pod, &mut snapshot);
            }
            snapshot.pods.push(pod);
        }
        let mut pod = self.pod("waiting", false);
        self.volumes(&mut pod, &mut snapshot);
        if self.random.chance(15) {
            self.shared(&mut pod, &mut snapshot);
        }
        // The scheduler says where a pod goes, not where else it might have gone; of one node it says yes or no.
        if self.random.chance(50) {
            let node = self.random.pick(&snapshot.nodes).name.clone();
            let there = Requirement::new("metadata.name", Operator::In, &[&node]);
            let terms =
                pod.spec.affinity.node_required.get_or_insert_with(|| vec![NodeSelectorTerm::default()]);
            terms.iter_mut().for_each(|term| term.match_fields = vec![there.clone()]);
        }
        snapshot.pods.push(pod);
        snapshot.normalise();
        snapshot
    }

    fn node(&mut self, index: usize) -> Node {
        let name = self.named(&format!("node-{index}"));
        let mut labels = Labels::from([("kubernetes.io/hostname".to_owned(), name.clone())]);
        labels.insert(self.key("host"), name.clone());
        labels.insert(self.key("of"), self.name.clone());
        // Now and then a key is missing, which matters to spread and affinity.
        for (kind, values) in [("zone", &["z1", "z2", "z3"][..]), ("rack", &["k1", "k2"])] {
            if self.random.chance(90) {
                labels.insert(self.key(kind), (*self.random.pick(values)).to_owned());
            }
        }
        if self.random.chance(70) {
            labels.insert(self.key("size"), self.random.index(10).to_string());
        }
        let mut taints = Vec::new();
        for key in ["dedicated", "special"] {
            if self.random.chance(15) {
                let effects =
                    [TaintEffect::NoSchedule, TaintEffect::NoExecute, TaintEffect::PreferNoSchedule];
                let value = (*self.random.pick(&["x", "y", ""])).to_owned();
                taints.push(Taint { key: key.to_owned(), value, effect: *self.random.pick(&effects) });
            }
        }
        taints.sort();
        let mut allocatable = Resources::from([
            (CPU, 1500 + 1000 * self.random.index(6) as i64),
            (MEMORY, (2048 + 1024 * self.random.index(6) as i64) * MIB),
            (PODS, 3 + self.random.index(10) as i64),
        ]);
        if self.random.chance(25) {
            allocatable.set("example.com/gpu", 1 + self.random.index(3) as i64);
        }
        if self.random.chance(20) {
            allocatable.set("hugepages-2Mi", 64 * MIB);
        }
        Node {
            name,
            labels,
            taints,
            // What the driver attaches to it at most.
            volume_limits: (self.random.chance(40))
                .then(|| (DRIVER.to_owned(), 1 + self.random.index(3) as i64))
                .into_iter()
                .collect(),
            unschedulable: self.random.chance(6),
            capacity: allocatable.clone(),
            allocatable,
            ready: true,
            ..Node::default()
        }
    }

    fn pod(&mut self, name: &str, running: bool) -> Pod {
        let mut labels = Labels::from([("app".to_owned(), (*self.random.pick(&APPS)).to_owned())]);
        if self.random.chance(60) {
            labels.insert("tier".to_owned(), (*self.random.pick(&TIERS)).to_owned());
        }
        if self.random.chance(60) {
            labels.insert("rev".to_owned(), (*self.random.pick(&REVISIONS)).to_owned());
        }
        let spec = self.spec(running);
        let space = if self.random.chance(70) { "a" } else { "b" };
        Pod {
            namespace: self.named(space),
            name: self.named(name),
            labels: labels.into(),
            owner: running.then(|| Owner { kind: "ReplicaSet".to_owned(), name: self.named("set") }.into()),
            spec: spec.into(),
            ..Pod::default()
        }
    }

    /// Running pods keep to what matters to others: requests, ports, anti-affinity.
    fn spec(&mut self, running: bool) -> PodSpec {
        let mut spec = PodSpec { containers: vec![self.container()], ..PodSpec::default() };
        if self.random.chance(20) {
            spec.containers.push(self.container());
        }
        while self.random.chance(25) {
            let sidecar = self.random.chance(50);
            let mut container = self.container();
            container.sidecar = sidecar;
            if !sidecar {
                container.host_ports.clear();
            }
            spec.init_containers.push(container);
        }
        // The API server refuses a pod that asks for one port twice.
        let mut seen = std::collections::BTreeSet::new();
        for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
            container.host_ports.retain(|port| seen.insert(port.clone()));
        }
        let mut affinity = Affinity::default();
        if running {
            while self.random.chance(25) {
                affinity.anti_required.push(self.pod_term());
            }
            spec.affinity = affinity;
            return spec;
        }
        // Other cases' nodes are there, too.
        spec.node_selector.insert(self.key("of"), self.name.clone());
        if self.random.chance(20) {
            let values = ["z1", "z2", "z3"];
            spec.node_selector.insert(self.key("zone"), (*self.random.pick(&values)).to_owned());
        }
        if self.random.chance(35) {
            let terms = 1 + self.random.index(2);
            affinity.node_required = Some((0..terms).map(|_| self.node_term()).collect());
        }
        while self.random.chance(22) {
            affinity.pod_required.push(self.pod_term());
        }
        while self.random.chance(30) {
            affinity.anti_required.push(self.pod_term());
        }
        for kind in ["zone", "host", "rack"] {
            if self.random.chance(35) {
                let spread = self.spread(kind);
                spec.topology_spread.push(spread);
            }
        }
        while self.random.chance(40) {
            let toleration = self.toleration();
            spec.tolerations.push(toleration);
        }
        spec.affinity = affinity;
        spec
    }

    fn container(&mut self) -> Container {
        let mut requests = Resources::default();
        if self.random.chance(80) {
            requests.set(CPU, 100 + 100 * self.random.index(12) as i64);
        }
        if self.random.chance(80) {
            requests.set(MEMORY, (64 + 128 * self.random.index(10) as i64) * MIB);
        }
        if self.random.chance(6) {
            requests.set("example.com/gpu", 1);
        }
        let ports = [("TCP", 80), ("TCP", 80), ("UDP", 80)];
        let mut host_ports = Vec::new();
        if self.random.chance(25) {
            let (protocol, port) = self.random.pick(&ports);
            let ip = *self.random.pick(&["0.0.0.0", "127.0.0.1", "10.1.1.1"]);
            host_ports.push(format!("{protocol}/{ip}/{port}"));
        }
        Container { requests, sidecar: false, host_ports }
    }

    fn node_term(&mut self) -> NodeSelectorTerm {
        let mut term = NodeSelectorTerm::default();
        let count = self.random.index(3);
        for _ in 0..count {
            let requirement = self.node_requirement();
            term.match_expressions.push(requirement);
        }
        if self.random.chance(20) {
            let operator = if self.random.chance(50) { Operator::In } else { Operator::NotIn };
            let number = self.random.index(4);
            let name = self.named(&format!("node-{number}"));
            term.match_fields.push(Requirement::new("metadata.name", operator, &[&name]));
        }
        term
    }

    fn node_requirement(&mut self) -> Requirement {
        let zones = ["z1", "z2", "z3"];
        let zone = *self.random.pick(&zones);
        let other = *self.random.pick(&zones);
        let number = self.random.index(10).to_string();
        let (zone_key, size) = (self.key("zone"), self.key("size"));
        match self.random.index(7) {
            0 if zone < other => Requirement::new(&zone_key, Operator::In, &[zone, other]),
            0 | 1 => Requirement::new(&zone_key, Operator::In, &[zone]),
            2 => Requirement::new(&zone_key, Operator::NotIn, &[zone]),
            3 => Requirement::new(&size, Operator::Exists, &[]),
            4 => Requirement::new(&size, Operator::DoesNotExist, &[]),
            5 => Requirement::new(&size, Operator::Gt, &[&number]),
            _ => Requirement::new(&size, Operator::Lt, &[&number]),
        }
    }

    fn selector(&mut self) -> LabelSelector {
        let mut selector = LabelSelector::default();
        if self.random.chance(70) {
            selector.match_labels.insert("app".to_owned(), (*self.random.pick(&APPS)).to_owned());
        }
        if self.random.chance(30) {
            let requirement = match self.random.index(4) {
                0 => Requirement::new("tier", Operator::In, &["back"]),
                1 => Requirement::new("tier", Operator::NotIn, &["front"]),
                2 => Requirement::new("tier", Operator::Exists, &[]),
                _ => Requirement::new("tier", Operator::DoesNotExist, &[]),
            };
            selector.match_expressions.push(requirement);
        }
        selector
    }

    fn pod_term(&mut self) -> PodAffinityTerm {
        let kind = *self.random.pick(&["zone", "host", "rack"]);
        let mut term = PodAffinityTerm {
            label_selector: self.random.chance(95).then(|| self.selector()),
            topology_key: self.key(kind),
            ..PodAffinityTerm::default()
        };
        match self.random.index(6) {
            0 => term.namespaces = vec![self.named("a"), self.named("b")],
            1 => term.namespaces = vec![self.named("b")],
            2 => {
                // Only this case's namespaces: an empty selector would mean those of all the others as well, which is
                // harmless, because their nodes lack the key.
                let mut selector = LabelSelector::default();
                if self.random.chance(60) {
                    selector
                        .match_labels
                        .insert("team".to_owned(), (*self.random.pick(&["red", "blue"])).to_owned());
                }
                term.namespace_selector = Some(selector);
            }
            _ => {}
        }
        if term.label_selector.is_some() {
            match self.random.index(8) {
                0 => term.match_label_keys.push("rev".to_owned()),
                1 => term.mismatch_label_keys.push("rev".to_owned()),
                _ => {}
            }
        }
        term
    }

    fn spread(&mut self, kind: &str) -> TopologySpread {
        let hard = self.random.chance(85);
        let label_selector = self.random.chance(95).then(|| self.selector());
        TopologySpread {
            max_skew: 1 + self.random.index(2) as i32,
            topology_key: self.key(kind),
            hard,
            min_domains: (hard && self.random.chance(25)).then(|| 1 + self.random.index(4) as i32),
            honor_affinity: self.random.chance(70),
            honor_taints: self.random.chance(40),
            match_label_keys: if label_selector.is_some() && self.random.chance(15) {
                vec!["rev".to_owned()]
            } else {
                Vec::new()
            },
            label_selector,
        }
    }

    fn toleration(&mut self) -> Toleration {
        let exists = self.random.chance(50);
        let effects = [
            None,
            Some(TaintEffect::NoSchedule),
            Some(TaintEffect::NoExecute),
            Some(TaintEffect::PreferNoSchedule),
        ];
        let key =
            if exists && self.random.chance(10) { "" } else { *self.random.pick(&["dedicated", "special"]) };
        Toleration {
            key: key.to_owned(),
            operator: if exists { "Exists" } else { "Equal" }.to_owned(),
            value: if exists { String::new() } else { (*self.random.pick(&["x", "y", ""])).to_owned() },
            effect: *self.random.pick(&effects),
        }
    }

    /// Classes: one for each way a claim may wait.
    fn storage(&mut self, snapshot: &mut Snapshot) {
        let zone = (*self.random.pick(&["z1", "z2", "z3"])).to_owned();
        let there = NodeSelectorTerm {
            match_expressions: vec![Requirement::new(&self.key("zone"), Operator::In, &[&zone])],
            match_fields: Vec::new(),
        };
        let class =
            |name: String, waits: bool, allowed: Vec<NodeSelectorTerm>, provisioner: &str| StorageClass {
                name,
                provisioner: provisioner.to_owned(),
                wait_for_first_consumer: waits,
                is_default: false,
                allowed_topologies: allowed,
            };
        snapshot.storage_classes = vec![
            class(self.named("waits"), true, Vec::new(), DRIVER),
            class(self.named("zonal"), true, vec![there], DRIVER),
            class(self.named("immediate"), false, Vec::new(), DRIVER),
            class(self.named("by-hand"), true, Vec::new(), "kubernetes.io/no-provisioner"),
        ];
    }

    /// A claim of some kind for the pod that waits, now and then two.
    fn volumes(&mut self, pod: &mut Pod, snapshot: &mut Snapshot) {
        let mut index = 0;
        while self.random.chance(18) {
            index += 1;
            let name = self.named(&format!("claim-{index}"));
            pod.spec.volumes.push(PodVolume::Claim(name.clone()));
            let mut claim = VolumeClaim {
                namespace: pod.namespace.clone(),
                name: name.clone(),
                // Of a bound claim the class does not matter.
                storage_class: Some(self.named("waits")),
                ..VolumeClaim::default()
            };
            match self.random.index(10) {
                // No such claim.
                0 => continue,
                1..=5 => {
                    let volume = self.volume(&name);
                    claim.volume = Some(volume.name.clone());
                    snapshot.volumes.push(volume);
                }
                _ => {
                    claim.storage_class = {
                        let class = *self.random.pick(&["waits", "zonal", "zonal", "immediate", "by-hand"]);
                        Some(self.named(class))
                    }
                }
            }
            snapshot.volume_claims.push(claim);
        }
    }

    /// One or two claims of the pod's namespace that others may use, too, if they are not for one pod alone.
    fn shared(&mut self, pod: &mut Pod, snapshot: &mut Snapshot) {
        for _ in 0..1 + self.random.index(2) {
            let claim = format!("{}-shared-{}", pod.namespace, self.random.index(SHARED));
            let volume = PodVolume::Claim(claim.clone());
            if pod.spec.volumes.contains(&volume) {
                continue;
            }
            pod.spec.volumes.push(volume);
            if snapshot.volume_claims.iter().any(|one| one.name == claim) {
                continue;
            }
            // Nothing says where it is, so that pods of any node may use it.
            let volume = Volume { node_affinity: None, ..self.volume(&claim) };
            snapshot.volume_claims.push(VolumeClaim {
                namespace: pod.namespace.clone(),
                name: claim,
                volume: Some(volume.name.clone()),
                storage_class: Some(self.named("waits")),
                read_write_once_pod: self.random.chance(30),
            });
            snapshot.volumes.push(volume);
        }
    }

    fn volume(&mut self, claim: &str) -> Volume {
        let terms = 1 + self.random.index(2);
        let node_affinity = self.random.chance(85).then(|| {
            (0..terms)
                .map(|_| NodeSelectorTerm {
                    match_expressions: vec![self.node_requirement()],
                    match_fields: Vec::new(),
                })
                .collect()
        });
        Volume { name: format!("{claim}-volume"), driver: Some(DRIVER.to_owned()), node_affinity }
    }
}
