//! Random small clusters with constraints of every kind, also senseless ones.

use stowage_models::labels;
use stowage_models::objects::{
    Affinity, Container, Ec2NodeClass, Node, NodePool, NodeSelectorTerm, Pod, PodAffinityTerm, PodPhase,
    PodSpec, PodVolume, PreferredPodTerm, StorageClass, TopologySpread, Volume, VolumeClaim,
};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::shared::Shared;
use stowage_models::snapshot::Snapshot;

/// Bytes.
pub(crate) const GIB: i64 = 1 << 30;
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
const APPS: [&str; 5] = ["web", "db", "cache", "queue", "batch"];
const KEYS: [&str; 4] = [labels::ZONE, labels::HOSTNAME, labels::CAPACITY_TYPE, "example.com/rack"];

pub(crate) fn text(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn below(rng: &mut Random, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}

pub(crate) fn chance(rng: &mut Random, percent: usize) -> bool {
    below(rng, 100) < percent
}

fn selector(rng: &mut Random, own: &str) -> Option<LabelSelector> {
    if chance(rng, 3) {
        return None;
    }
    let app = if chance(rng, 65) { own } else { APPS[below(rng, APPS.len())] };
    let mut selector = LabelSelector { match_labels: text(&[("app", app)]), match_expressions: Vec::new() };
    if chance(rng, 8) {
        selector.match_labels.clear();
        selector.match_expressions.push(Requirement::new("app", Operator::In, &[app, APPS[below(rng, 5)]]));
    }
    Some(selector)
}

fn key(rng: &mut Random) -> String {
    let weights = [0, 0, 0, 0, 0, 1, 1, 1, 2, 3];
    KEYS[weights[below(rng, weights.len())]].to_owned()
}

fn term(rng: &mut Random, own: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: selector(rng, own),
        topology_key: key(rng),
        ..PodAffinityTerm::default()
    }
}

fn spread(rng: &mut Random, own: &str) -> TopologySpread {
    TopologySpread {
        max_skew: 1 + below(rng, 3) as i32,
        topology_key: key(rng),
        hard: !chance(rng, 10),
        label_selector: selector(rng, own),
        min_domains: chance(rng, 15).then(|| 1 + below(rng, 4) as i32),
        honor_affinity: !chance(rng, 20),
        honor_taints: chance(rng, 20),
        match_label_keys: if chance(rng, 10) { vec!["revision".to_owned()] } else { Vec::new() },
    }
}

fn requests(rng: &mut Random) -> Resources {
    let cpu = [100, 250, 500, 1_000, 3_500][below(rng, 5)];
    Resources::from([(CPU, cpu), (MEMORY, GIB * [1, 1, 2, 4, 14][below(rng, 5)] / 2)])
}

fn spec(rng: &mut Random, own: &str) -> PodSpec {
    let mut container = Container { requests: requests(rng), ..Container::default() };
    let mut affinity = Affinity::default();
    let mut topology_spread = Vec::new();
    let mut node_selector = Labels::new();
    let mut volumes = Vec::new();
    match below(rng, 10) {
        0..=2 => topology_spread.push(spread(rng, own)),
        3 => topology_spread.extend([spread(rng, own), spread(rng, own)]),
        4 | 5 => affinity.anti_required.push(term(rng, own)),
        6 | 7 => affinity.pod_required.push(term(rng, own)),
        _ => {}
    }
    if chance(rng, 10) {
        affinity.anti_required.push(term(rng, own));
    }
    if chance(rng, 10) {
        topology_spread.push(spread(rng, own));
    }
    if chance(rng, 10) {
        container.host_ports.push(format!("TCP/0.0.0.0/{}", 8_000 + below(rng, 2)));
    }
    if chance(rng, 10) {
        node_selector.insert(labels::ZONE.to_owned(), ZONES[below(rng, 3)].to_owned());
    }
    if chance(rng, 12) {
        volumes
            .push(PodVolume::Claim(["bound", "waiting", "immediate", "missing"][below(rng, 4)].to_owned()));
    }
    PodSpec {
        containers: vec![container],
        affinity,
        topology_spread,
        node_selector,
        volumes,
        ..PodSpec::default()
    }
}

fn existing(rng: &mut Random, at: usize) -> Node {
    let zone = ZONES[below(rng, 3)];
    let name = format!("node-{at}");
    let room = Resources::from([(CPU, 3_900), (MEMORY, 14 * GIB), (PODS, 20)]);
    let mut node = Node {
        labels: text(&[
            (labels::ZONE, zone),
            (labels::HOSTNAME, &name),
            (labels::INSTANCE_TYPE, "m5.xlarge"),
            (labels::CAPACITY_TYPE, "on-demand"),
            (labels::ARCH, "amd64"),
            (labels::OS, "linux"),
        ]),
        name,
        capacity: room.clone(),
        allocatable: room,
        ready: true,
        ..Node::default()
    };
    if chance(rng, 50) {
        node.labels.insert("example.com/rack".to_owned(), ["r1", "r2"][below(rng, 2)].to_owned());
    }
    node
}

/// A cluster of up to four nodes with pods, and up to eight workloads that wait.
pub(crate) fn snapshot(seed: u64) -> Snapshot {
    let rng = &mut Random::new(seed);
    let mut pool = NodePool {
        name: "general".to_owned(),
        requirements: vec![
            Requirement::new("karpenter.k8s.aws/instance-family", Operator::In, &["c5", "m5", "r5"]),
            Requirement::new(labels::ARCH, Operator::In, &["amd64"]),
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand", "spot"]),
        ],
        node_class: "default".to_owned(),
        ..NodePool::default()
    };
    if chance(rng, 30) {
        pool.requirements.push(Requirement::new("example.com/rack", Operator::In, &["r1", "r2"]));
    }
    if chance(rng, 10) {
        pool.limits = Resources::from([(CPU, 16_000)]);
    }
    let nodes: Vec<Node> = (0..below(rng, 5)).map(|at| existing(rng, at)).collect();
    let mut pods = Vec::new();
    for workload in 0..1 + below(rng, 8) {
        let app = APPS[below(rng, APPS.len())];
        let spec = spec(rng, app);
        for replica in 0..1 + below(rng, 12) {
            let mut pod = Pod {
                namespace: ["one", "two"][usize::from(workload == 3)].to_owned(),
                name: format!("w{workload}-{replica:02}"),
                labels: text(&[("app", app), ("revision", ["a", "b"][usize::from(workload % 4 == 1)])])
                    .into(),
                spec: spec.clone().into(),
                ..Pod::default()
            };
            if !nodes.is_empty() && chance(rng, 20) {
                pod.node = Some(nodes[below(rng, nodes.len())].name.clone());
                pod.phase = PodPhase::Running;
                pod.deleting = chance(rng, 15);
                // What runs here is small: nodes are not to be overfull.
                pod.spec.containers[0].requests = Resources::from([(CPU, 50), (MEMORY, GIB / 16)]);
            }
            pods.push(pod);
        }
    }
    let in_zone = |zone: &str| NodeSelectorTerm {
        match_expressions: vec![Requirement::new(labels::ZONE, Operator::In, &[zone])],
        match_fields: Vec::new(),
    };
    let class = |name: &str, wait: bool| StorageClass {
        name: name.to_owned(),
        provisioner: "ebs.csi.aws.com".to_owned(),
        wait_for_first_consumer: wait,
        is_default: false,
        allowed_topologies: vec![in_zone(ZONES[0]), in_zone(ZONES[1])],
    };
    let claim = |name: &str, volume: Option<&str>, class: &str| VolumeClaim {
        namespace: "one".to_owned(),
        name: name.to_owned(),
        volume: volume.map(str::to_owned),
        storage_class: Some(class.to_owned()),
        read_write_once_pod: false,
    };
    let mut snapshot = Snapshot {
        node_pools: vec![pool],
        node_classes: vec![Ec2NodeClass {
            name: "default".to_owned(),
            zones: ZONES.map(str::to_owned).to_vec(),
            ..Ec2NodeClass::default()
        }],
        nodes,
        pods,
        storage_classes: vec![class("wait", true), class("now", false)],
        volume_claims: vec![
            claim("bound", Some("pv"), "wait"),
            claim("waiting", None, "wait"),
            claim("immediate", None, "now"),
        ],
        volumes: vec![Volume {
            name: "pv".to_owned(),
            driver: Some("ebs.csi.aws.com".to_owned()),
            node_affinity: Some(vec![in_zone(ZONES[2])]),
        }],
        seed,
        ..Snapshot::default()
    };
    snapshot.normalise();
    snapshot
}

/// The same cluster where most constraints between pods that wait are preferences.
pub(crate) fn wishful(seed: u64) -> Snapshot {
    let mut snapshot = snapshot(seed);
    let mut known: Vec<(Shared<PodSpec>, Shared<PodSpec>)> = Vec::new();
    let rng = &mut Random::new(seed ^ 0x501f);
    for pod in snapshot.pods.iter_mut().filter(|pod| pod.node.is_none()) {
        // Pods that are equal stay so.
        if let Some((_, after)) = known.iter().find(|(before, _)| *before == pod.spec) {
            pod.spec = after.clone();
            continue;
        }
        let before = pod.spec.clone();
        let Affinity { pod_required, pod_preferred, anti_required, anti_preferred, .. } =
            &mut pod.spec.affinity;
        for (hard, soft) in [(pod_required, pod_preferred), (anti_required, anti_preferred)] {
            for term in std::mem::take(hard) {
                if chance(rng, 80) {
                    soft.push(PreferredPodTerm { weight: below(rng, 101) as i32, term });
                } else {
                    hard.push(term);
                }
            }
        }
        for spread in &mut pod.spec.topology_spread {
            spread.hard &= !chance(rng, 80);
            spread.min_domains = spread.min_domains.filter(|_| spread.hard);
        }
        known.push((before, pod.spec.clone()));
    }
    snapshot.normalise();
    snapshot
}
