//! What goes out as Kubernetes objects comes back as the same snapshot.

use proptest::prelude::*;
use std::path::Path;
use stowage_import::{Source, export, import};
use stowage_models::departure::{Notice, NoticeKind, Symptom};
use stowage_models::objects::*;
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// Exports and reads back; what no API object states is carried over, because it cannot come back.
fn round_trip(snapshot: &Snapshot) -> Snapshot {
    let text = export::list(snapshot).to_string();
    let mut back = import(&[Source { name: "list.json", bytes: text.as_bytes() }]).unwrap().snapshot;
    back.taken_at.clone_from(&snapshot.taken_at);
    back.origin.clone_from(&snapshot.origin);
    back.notes.clone_from(&snapshot.notes);
    back.seed = snapshot.seed;
    back.settings = snapshot.settings.clone();
    back
}

#[test]
fn recorded_snapshots_come_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in [
        "benchmarks/snapshots/small.json.zst",
        "benchmarks/snapshots/web-1k.json.zst",
        "models/import/tests/fixtures/eks-small.json",
    ] {
        let bytes = std::fs::read(root.join(file)).unwrap();
        let snapshot = import(&[Source { name: file, bytes: &bytes }]).unwrap().snapshot;
        let back = round_trip(&snapshot);
        assert!(back == snapshot, "{file} comes back different");
    }
}

/// Names that are valid keys and values everywhere.
fn name() -> impl Strategy<Value = String> {
    "[a-z]{1,4}"
}

fn label_map() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map(name(), name(), 0..3)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let set = (name(), proptest::collection::btree_set(name(), 1..3), any::<bool>()).prop_map(
        |(key, values, among)| {
            let operator = if among { Operator::In } else { Operator::NotIn };
            Requirement { key, operator, values: values.into_iter().collect(), min_values: None }
        },
    );
    let presence = (name(), any::<bool>()).prop_map(|(key, there)| {
        Requirement::new(&key, if there { Operator::Exists } else { Operator::DoesNotExist }, &[])
    });
    prop_oneof![set, presence]
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    (label_map(), proptest::collection::vec(requirement(), 0..2))
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
}

fn resources() -> impl Strategy<Value = Resources> {
    (1_i64..9_000, 1_i64..1 << 40, 0_i64..4).prop_map(|(cpu, memory, gpus)| {
        let mut all = Resources::from([(CPU, cpu), (MEMORY, memory)]);
        if gpus > 0 {
            all.set("nvidia.com/gpu", gpus);
        }
        all
    })
}

fn pod_term() -> impl Strategy<Value = PodAffinityTerm> {
    (
        proptest::option::of(selector()),
        proptest::collection::btree_set(name(), 0..2),
        proptest::option::of(selector()),
        name(),
        proptest::collection::vec(name(), 0..2),
        proptest::collection::vec(name(), 0..2),
    )
        .prop_map(
            |(label_selector, namespaces, namespace_selector, topology_key, matching, mismatching)| {
                PodAffinityTerm {
                    label_selector,
                    namespaces: namespaces.into_iter().collect(),
                    namespace_selector,
                    topology_key,
                    match_label_keys: matching,
                    mismatch_label_keys: mismatching,
                }
            },
        )
}

fn spread() -> impl Strategy<Value = TopologySpread> {
    (1_i32..4, name(), any::<[bool; 3]>(), proptest::option::of(selector()), proptest::option::of(1_i32..4))
        .prop_map(|(max_skew, topology_key, [hard, affinity, taints], label_selector, min_domains)| {
            TopologySpread {
                max_skew,
                topology_key,
                hard,
                label_selector,
                min_domains,
                honor_affinity: affinity,
                honor_taints: taints,
                match_label_keys: Vec::new(),
            }
        })
}

fn affinity() -> impl Strategy<Value = Affinity> {
    let node_term = || {
        proptest::collection::vec(requirement(), 0..3)
            .prop_map(|match_expressions| NodeSelectorTerm { match_expressions, match_fields: Vec::new() })
    };
    let pod_terms = || proptest::collection::vec(pod_term(), 0..2);
    let preferred = || {
        proptest::collection::vec((1_i32..100, pod_term()), 0..2).prop_map(|terms| {
            terms.into_iter().map(|(weight, term)| PreferredPodTerm { weight, term }).collect()
        })
    };
    (
        proptest::option::of(proptest::collection::vec(node_term(), 0..3)),
        proptest::collection::vec((1_i32..100, node_term()), 0..2),
        pod_terms(),
        preferred(),
        pod_terms(),
        preferred(),
    )
        .prop_map(
            |(node_required, preferred, pod_required, pod_preferred, anti_required, anti_preferred)| {
                Affinity {
                    node_required,
                    node_preferred: preferred
                        .into_iter()
                        .map(|(weight, preference)| PreferredNodeTerm { weight, preference })
                        .collect(),
                    pod_required,
                    pod_preferred,
                    anti_required,
                    anti_preferred,
                }
            },
        )
}

fn pod_spec() -> impl Strategy<Value = PodSpec> {
    let container = || {
        (resources(), any::<bool>(), proptest::option::of(1_u16..9000)).prop_map(
            |(requests, sidecar, port)| {
                let host_ports = port.map(|port| format!("TCP/0.0.0.0/{port}")).into_iter().collect();
                Container { requests, sidecar, host_ports }
            },
        )
    };
    let volumes = prop_oneof![
        name().prop_map(PodVolume::Claim),
        (name(), proptest::option::of(name()))
            .prop_map(|(name, storage_class)| PodVolume::Ephemeral { name, storage_class }),
    ];
    (
        proptest::collection::vec(container(), 1..3),
        proptest::collection::vec(container(), 0..2),
        label_map(),
        affinity(),
        proptest::collection::vec(spread(), 0..2),
        proptest::collection::vec(volumes, 0..2),
        -5_i32..5,
    )
        .prop_map(
            |(containers, init_containers, node_selector, affinity, topology_spread, volumes, priority)| {
                let plain = |container: Container| Container { sidecar: false, ..container };
                let init = |container: Container| Container {
                    host_ports: if container.sidecar { container.host_ports } else { Vec::new() },
                    ..container
                };
                PodSpec {
                    containers: containers.into_iter().map(plain).collect(),
                    init_containers: init_containers.into_iter().map(init).collect(),
                    overhead: Resources::from([(CPU, 10)]),
                    node_selector,
                    affinity,
                    tolerations: vec![Toleration {
                        key: "team".to_owned(),
                        operator: "Exists".to_owned(),
                        value: String::new(),
                        effect: Some(TaintEffect::NoExecute),
                    }],
                    topology_spread,
                    local_storage: volumes.is_empty(),
                    volumes,
                    priority,
                    ..PodSpec::default()
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_pod_comes_back(spec in pod_spec(), labels in label_map(), bound in proptest::option::of(name())) {
        let pod = Pod {
            namespace: "space".to_owned(),
            name: "pod".to_owned(),
            labels: labels.into(),
            owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: "set".to_owned() }.into()),
            phase: if bound.is_some() { PodPhase::Running } else { PodPhase::Pending },
            node: bound,
            spec: spec.into(),
            ..Pod::default()
        };
        let pools = vec![NodePool { name: "pool".to_owned(), ..NodePool::default() }];
        let snapshot = Snapshot { pods: vec![pod], node_pools: pools, ..Snapshot::default() };
        prop_assert_eq!(round_trip(&snapshot), snapshot);
    }
}

#[test]
fn every_other_kind_comes_back() {
    let none = Labels::new();
    let labels = Labels::from([("karpenter.sh/nodepool".to_owned(), "pool".to_owned())]);
    let taint = Taint { key: "a".to_owned(), value: "b".to_owned(), effect: TaintEffect::PreferNoSchedule };
    let term = NodeSelectorTerm {
        match_expressions: vec![Requirement::new(
            "topology.kubernetes.io/zone",
            Operator::In,
            &["us-east-1a"],
        )],
        match_fields: Vec::new(),
    };
    let text = |text: &str| Some(text.to_owned());
    let mut snapshot = Snapshot {
        node_pools: vec![NodePool {
            name: "pool".to_owned(),
            labels: labels.clone(),
            requirements: vec![Requirement {
                min_values: Some(2),
                ..Requirement::new("karpenter.k8s.aws/instance-cpu", Operator::Gt, &["3"])
            }],
            taints: vec![taint.clone()],
            startup_taints: vec![taint.clone()],
            node_class: "class".to_owned(),
            limits: Resources::from([(CPU, 1_500), ("nodes", 7)]),
            weight: 9,
            expire_after: text("720h"),
            termination_grace_period: text("1h"),
            consolidation_policy: text("WhenEmpty"),
            consolidate_after: text("30s"),
            budgets: vec![Budget {
                nodes: "3".to_owned(),
                reasons: vec!["Drifted".to_owned()],
                schedule: text("@daily"),
                duration: text("1h"),
            }],
            deleting: true,
            ..NodePool::default()
        }],
        node_classes: vec![Ec2NodeClass {
            name: "class".to_owned(),
            zones: vec!["us-east-1a".to_owned()],
            max_pods: Some(50),
            pods_per_core: Some(4),
            kube_reserved: Resources::from([(CPU, 100)]),
            system_reserved: Resources::from([(MEMORY, 1 << 20)]),
            eviction_memory: text("5%"),
            root_volume_bytes: Some(50 << 30),
            instance_store_raid0: true,
            capacity_reservations: vec![CapacityReservation {
                id: "cr-0123".to_owned(),
                instance_type: "m5.large".to_owned(),
                zone: "us-east-1a".to_owned(),
                available: Some(3),
                reservation_type: "capacity-block".to_owned(),
                ends: text("2026-12-01T11:30:00Z"),
            }],
        }],
        node_claims: vec![NodeClaim {
            name: "claim".to_owned(),
            labels: labels.clone(),
            node: text("node"),
            provider_id: text("aws:///us-east-1a/i-1"),
            capacity: Resources::from([(CPU, 2_000)]),
            allocatable: Resources::from([(CPU, 1_900)]),
            taints: vec![taint.clone()],
            conditions: vec!["Initialized".to_owned(), "Launched".to_owned()],
            created: text("2026-08-31T11:00:00Z"),
            expire_after: text("720h"),
            termination_grace_period: text("48h"),
            deleting: true,
        }],
        nodes: vec![Node {
            name: "node".to_owned(),
            labels,
            taints: vec![taint],
            unschedulable: true,
            provider_id: text("aws:///us-east-1a/i-1"),
            created: text("2026-08-31T12:00:00Z"),
            capacity: Resources::from([(CPU, 2_000)]),
            allocatable: Resources::from([(CPU, 1_900)]),
            volume_limits: [("ebs.csi.aws.com".to_owned(), 24)].into(),
            ready: true,
            symptoms: vec![Symptom {
                condition: "StorageReady".to_owned(),
                status: "False".to_owned(),
                since: text("2026-08-31T12:30:00Z"),
            }],
            deleting: true,
            annotations: none,
        }],
        daemon_sets: vec![DaemonSet {
            namespace: "kube-system".to_owned(),
            name: "agent".to_owned(),
            labels: Labels::from([("app".to_owned(), "agent".to_owned())]),
            spec: PodSpec { containers: vec![Container::default()], ..PodSpec::default() },
        }],
        pod_disruption_budgets: vec![PodDisruptionBudget {
            namespace: "space".to_owned(),
            name: "budget".to_owned(),
            selector: Some(LabelSelector::default()),
            max_unavailable: text("25%"),
            min_available: None,
            always_allow_unhealthy: true,
            disruptions_allowed: Some(0),
        }],
        volume_claims: vec![VolumeClaim {
            namespace: "space".to_owned(),
            name: "data".to_owned(),
            volume: text("volume"),
            storage_class: text(""),
            read_write_once_pod: true,
        }],
        volumes: vec![Volume {
            name: "volume".to_owned(),
            driver: text("ebs.csi.aws.com"),
            node_affinity: Some(vec![term.clone()]),
        }],
        storage_classes: vec![StorageClass {
            name: "gp3".to_owned(),
            provisioner: "ebs.csi.aws.com".to_owned(),
            wait_for_first_consumer: true,
            is_default: true,
            allowed_topologies: vec![term],
        }],
        namespaces: vec![Namespace { name: "space".to_owned(), labels: Labels::new() }],
        notices: vec![Notice {
            node: "node".to_owned(),
            kind: NoticeKind::SpotInterruption,
            deadline: text("2026-08-31T12:02:00Z"),
        }],
        ..Snapshot::default()
    };
    snapshot.normalise();
    assert_eq!(round_trip(&snapshot), snapshot);
}
