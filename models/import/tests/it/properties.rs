//! Properties: order does not matter, documents round-trip, arbitrary bytes never panic.

use crate::{Source, import};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use stowage_import::{Encoding, openb, read_plan, write_snapshot};
use stowage_models::objects::{
    Affinity, Container, DaemonSet, Ec2NodeClass, Namespace, Node, NodePool, NodeSelectorTerm, Owner, Pod,
    PodAffinityTerm, PodPhase, PodSpec, PodVolume, PreferredNodeTerm, Taint, TaintEffect, Toleration,
    TopologySpread,
};
use stowage_models::quantity::Resources;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::{Settings, Snapshot};
use stowage_models::units::Ppm;

/// Text that YAML could take for something else, and any other text.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z][a-z0-9./-]{0,12}",
        2 => proptest::sample::select(vec![
            "true", "null", "~", "yes", "on", "1", "1e3", "0x10", "0777", "1.10", "-", "- a", "a: b", "#c", "", " ", "'", "\"",
            "2026-01-02T03:04:05Z", "2026-01-02", "12:30:45", "1_000", ".inf", "NaN", "<<", "=", "&a", "*a", "!t", "|", ">", "%", "@", "`",
            "a\nb", "a\n", "\n", "\t", "a #b", "[a", "{a", "\u{feff}", "\u{85}", "\u{2028}", "\0", "é", "😀", "---", "...", "?",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// A name or part of a label, which must not hold control characters.
fn name() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace(char::is_control, ""))
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(name(), name(), 0..4)
}

fn resources() -> impl Strategy<Value = Resources> {
    btree_map(text(), 0..=i64::MAX, 0..3).prop_map(Resources)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    use Operator::{DoesNotExist, Exists, Gt, Gte, In, Lt, Lte, NotIn};
    let operator = proptest::sample::select(vec![In, NotIn, Exists, DoesNotExist, Gt, Lt, Gte, Lte]);
    (text(), operator, vec(text(), 0..3), option::of(any::<u32>()))
        .prop_map(|(key, operator, values, min_values)| Requirement { key, operator, values, min_values })
}

fn term() -> impl Strategy<Value = NodeSelectorTerm> {
    (vec(requirement(), 0..2), vec(requirement(), 0..2))
        .prop_map(|(match_expressions, match_fields)| NodeSelectorTerm { match_expressions, match_fields })
}

fn pod_term() -> impl Strategy<Value = PodAffinityTerm> {
    let selector = (labels(), vec(requirement(), 0..2))
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions });
    (option::of(selector), vec(text(), 0..2), text()).prop_map(
        |(label_selector, namespaces, topology_key)| PodAffinityTerm {
            label_selector,
            namespaces,
            topology_key,
            ..PodAffinityTerm::default()
        },
    )
}

fn effect() -> impl Strategy<Value = TaintEffect> {
    proptest::sample::select(vec![
        TaintEffect::NoSchedule,
        TaintEffect::PreferNoSchedule,
        TaintEffect::NoExecute,
    ])
}

fn container() -> impl Strategy<Value = Container> {
    (resources(), any::<bool>(), vec(text(), 0..2)).prop_map(|(requests, sidecar, host_ports)| Container {
        requests,
        sidecar,
        host_ports,
    })
}

fn spec() -> impl Strategy<Value = PodSpec> {
    let affinity = (option::of(vec(term(), 0..2)), option::of((any::<i32>(), term())), vec(pod_term(), 0..2))
        .prop_map(|(node_required, preferred, anti_required)| Affinity {
            node_required,
            node_preferred: preferred
                .into_iter()
                .map(|(weight, preference)| PreferredNodeTerm { weight, preference })
                .collect(),
            anti_required,
            ..Affinity::default()
        });
    let toleration = (text(), text(), text(), option::of(effect()))
        .prop_map(|(key, operator, value, effect)| Toleration { key, operator, value, effect });
    let spread = (any::<i32>(), text(), any::<bool>()).prop_map(|(max_skew, topology_key, hard)| {
        TopologySpread { max_skew, topology_key, hard, ..TopologySpread::default() }
    });
    let volume = prop_oneof![
        text().prop_map(PodVolume::Claim),
        (text(), option::of(text()))
            .prop_map(|(name, storage_class)| PodVolume::Ephemeral { name, storage_class }),
        text().prop_map(PodVolume::Other),
    ];
    (
        vec(container(), 0..3),
        vec(container(), 0..2),
        resources(),
        labels(),
        affinity,
        vec(toleration, 0..2),
        vec(spread, 0..2),
        vec(volume, 0..2),
        any::<i32>(),
        option::of(text()),
    )
        .prop_map(
            |(
                containers,
                init,
                pod_requests,
                node_selector,
                affinity,
                tolerations,
                spread,
                volumes,
                priority,
                scheduler,
            )| {
                PodSpec {
                    containers,
                    init_containers: init,
                    pod_requests,
                    node_selector,
                    affinity,
                    tolerations,
                    topology_spread: spread,
                    volumes,
                    priority,
                    scheduler_name: scheduler,
                    ..PodSpec::default()
                }
            },
        )
}

fn pods() -> impl Strategy<Value = Vec<Pod>> {
    let owner = (text(), text()).prop_map(|(kind, name)| Owner { kind, name });
    let phase = proptest::sample::select(vec![
        PodPhase::Pending,
        PodPhase::Running,
        PodPhase::Failed,
        PodPhase::Unknown,
    ]);
    let body =
        (labels(), option::of(owner), phase, option::of(text()), any::<bool>(), vec(text(), 0..2), spec());
    btree_map((name(), name().prop_filter("a name", |name| !name.is_empty())), body, 0..4).prop_map(|pods| {
        let pods = pods.into_iter();
        pods.map(|((namespace, name), (labels, owner, phase, node, deleting, scheduling_gates, spec))| Pod {
            namespace,
            name,
            labels: labels.into(),
            owner: owner.map(Owner::into),
            phase,
            node,
            deleting,
            scheduling_gates,
            spec: spec.into(),
            ..Pod::default()
        })
        .collect()
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let taint = (text(), text(), effect()).prop_map(|(key, value, effect)| Taint { key, value, effect });
    let others = (
        name().prop_filter("a name", |name| !name.is_empty()),
        labels(),
        resources(),
        vec(taint, 0..2),
        vec(requirement(), 0..3),
        spec(),
    );
    (any::<u64>(), option::of(text()), text(), vec(text(), 0..3), 0..1_000_000_i64, pods(), others).prop_map(
        |(
            seed,
            taken_at,
            origin,
            notes,
            overhead,
            pods,
            (name, labels, resources, taints, requirements, spec),
        )| {
            let mut snapshot = Snapshot {
                seed,
                taken_at,
                origin,
                notes,
                settings: Settings { vm_memory_overhead: Ppm(overhead), ..Settings::default() },
                pods,
                ..Snapshot::default()
            };
            snapshot.nodes.push(Node {
                name: name.clone(),
                labels: labels.clone(),
                taints: taints.clone(),
                capacity: resources.clone(),
                ..Node::default()
            });
            snapshot.node_pools.push(NodePool {
                name: name.clone(),
                requirements,
                taints,
                limits: resources.clone(),
                ..NodePool::default()
            });
            snapshot.node_classes.push(Ec2NodeClass {
                name: name.clone(),
                kube_reserved: resources,
                ..Ec2NodeClass::default()
            });
            snapshot.daemon_sets.push(DaemonSet {
                namespace: name.clone(),
                name: name.clone(),
                spec,
                ..DaemonSet::default()
            });
            snapshot.namespaces.push(Namespace { name, labels });
            snapshot.normalise();
            snapshot
        },
    )
}

fn fixture_items() -> Vec<serde_json::Value> {
    let list: serde_json::Value =
        serde_json::from_slice(include_bytes!("../fixtures/eks-small.json")).unwrap();
    list["items"].as_array().unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_round_trip(snapshot in snapshot()) {
        for encoding in [Encoding::Json, Encoding::JsonZstd, Encoding::Yaml] {
            let bytes = write_snapshot(&snapshot, encoding);
            let got = import(&[Source { name: "s", bytes: &bytes }]);
            let got = got.map_err(|error| TestCaseError::fail(format!("{encoding:?}: {error}\n{}", String::from_utf8_lossy(&bytes))))?;
            prop_assert_eq!(&got.snapshot, &snapshot, "{:?}\n{}", encoding, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn order_does_not_matter(items in Just(fixture_items()).prop_shuffle(), split in 0..17_usize) {
        let straight = serde_json::json!({"kind": "List", "items": fixture_items()}).to_string();
        let straight = import(&[Source { name: "s", bytes: straight.as_bytes() }]).unwrap();
        let (first, second) = items.split_at(split.min(items.len()));
        let first = serde_json::json!({"kind": "List", "items": first}).to_string();
        let second = serde_json::json!({"items": second, "kind": "List"}).to_string();
        let shuffled = import(&[Source { name: "a", bytes: first.as_bytes() }, Source { name: "b", bytes: second.as_bytes() }]).unwrap();
        prop_assert_eq!(straight.snapshot, shuffled.snapshot);
        prop_assert_eq!(straight.read, shuffled.read);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400), start in proptest::sample::select(vec!["", "{", "[", "---\n", "a: ", "\u{28}", "name,"])) {
        let bytes = [start.as_bytes(), &bytes[..]].concat();
        let source = Source { name: "s", bytes: &bytes };
        let _ = import(&[source]);
        let _ = read_plan(source);
        let _ = openb::convert(source, Some(source));
        let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat();
        let _ = import(&[Source { name: "s", bytes: &zstd }]);
    }

    #[test]
    fn damaged_lists_never_panic(position in any::<proptest::sample::Index>(), byte in any::<u8>(), yaml in any::<bool>()) {
        let fixture: &[u8] = if yaml { include_bytes!("../fixtures/eks-small.yaml") } else { include_bytes!("../fixtures/eks-small.json") };
        let mut bytes = fixture.to_vec();
        let index = position.index(bytes.len());
        bytes[index] = byte;
        if let Err(error) = import(&[Source { name: "s", bytes: &bytes }]) {
            prop_assert!(error.place.starts_with('s') && !error.hint.is_empty());
        }
        bytes.truncate(index);
        let _ = import(&[Source { name: "s", bytes: &bytes }]);
    }
}
