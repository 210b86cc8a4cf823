//! Capacity and allocatable beside Karpenter's own figures and real nodes.

use crate::catalog::allocatable::{GIB, MIB, eviction_signal};
use crate::catalog::{Catalog, InstanceType};
use crate::objects::Ec2NodeClass;
use crate::quantity::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Resources, parse_quantity};
use crate::snapshot::Settings;
use crate::units::Ppm;

fn kind(name: &str) -> &'static InstanceType {
    Catalog::embedded().get(name).expect("a well-known type")
}

/// Allocatable with default settings: `cpu` in millicores, `memory` in MiB, the rest in whole units but storage.
fn allocatable(name: &str) -> String {
    let resources = kind(name).allocatable(&Settings::default(), &Ec2NodeClass::default());
    let words: Vec<String> = resources
        .0
        .iter()
        .filter(|(name, _)| *name != EPHEMERAL_STORAGE)
        .map(|(name, amount)| format!("{name}={}", if name == MEMORY { amount / MIB } else { *amount }))
        .collect();
    words.join(" ")
}

// The figures of Karpenter's reference page "Instance Types", which its own code generates, for these types or
// others with the same vCPU, memory and ENIs; p4d by hand; pod-eni of u7in and neuroncore are newer than the page.
// The types with arm64, one vCPU, an odd memory size and eight ENIs are there for their arithmetic.
#[test]
fn well_known_types_have_karpenters_allocatable() {
    for (name, want) in [
        ("m5.large", "cpu=1930 memory=6903 pods=29 vpc.amazonaws.com/pod-eni=9"),
        ("a1.medium", "cpu=940 memory=1392 pods=8 vpc.amazonaws.com/pod-eni=10"),
        ("m2.2xlarge", "cpu=3920 memory=30740 pods=118"),
        ("c7g.4xlarge", "cpu=15890 memory=27322 pods=234 vpc.amazonaws.com/pod-eni=54"),
        ("r5.metal", "cpu=95690 memory=718987 pods=737 vpc.amazonaws.com/pod-eni=120"),
        ("u-6tb1.56xlarge", "cpu=223370 memory=5811134 pods=737"),
        (
            "u7in-16tb.224xlarge",
            "cpu=893690 memory=15514235 pods=394 vpc.amazonaws.com/efa=2 vpc.amazonaws.com/pod-eni=106",
        ),
        ("c7i-flex.large", "cpu=1930 memory=3114 pods=29 vpc.amazonaws.com/pod-eni=3"),
        (
            "inf1.24xlarge",
            "aws.amazon.com/neuron=16 aws.amazon.com/neuroncore=64 cpu=95690 memory=177976 pods=321 \
             vpc.amazonaws.com/efa=1 vpc.amazonaws.com/pod-eni=111",
        ),
        (
            "inf2.xlarge",
            "aws.amazon.com/neuron=1 aws.amazon.com/neuroncore=2 cpu=3920 memory=14162 pods=58 \
             vpc.amazonaws.com/pod-eni=18",
        ),
        (
            "g5.12xlarge",
            "cpu=47810 memory=173400 nvidia.com/gpu=4 pods=737 vpc.amazonaws.com/efa=1 \
             vpc.amazonaws.com/pod-eni=107",
        ),
        (
            "p4d.24xlarge",
            "cpu=95690 memory=1082712 nvidia.com/gpu=8 pods=737 vpc.amazonaws.com/efa=4 \
             vpc.amazonaws.com/pod-eni=62",
        ),
    ] {
        assert_eq!(allocatable(name), want, "{name}");
    }
    let storage = kind("m5.large").allocatable(&Settings::default(), &Ec2NodeClass::default());
    assert_eq!(storage.get(EPHEMERAL_STORAGE), 17 * GIB);
}

// Two real EKS nodes (t3.small, recorded 2026-01-02): capacity cpu 2, memory 1959264Ki, pods 11; allocatable cpu
// 1930m, memory 1471840Ki, pods 11. CPU and pods are equal. Our memory is 19,808 KiB (19.3 MiB, 1.3 %) less, all of
// it from capacity: Karpenter assumes that the hypervisor keeps 154 MiB of 2048, the real one keeps 134.7 MiB; what
// kubelet and eviction take (476 MiB) is the same. Storage is 68 MiB more: the real file system holds 19.93 GiB.
#[test]
fn a_real_node_has_at_least_our_memory() {
    let (settings, class) = (Settings::default(), Ec2NodeClass::default());
    let (capacity, ours) =
        (kind("t3.small").capacity(&settings, &class), kind("t3.small").allocatable(&settings, &class));
    assert_eq!((ours.get(CPU), ours.get(PODS)), (1930, 11));
    let real = 1_471_840 << 10;
    assert!(ours.get(MEMORY) <= real);
    assert_eq!(real - ours.get(MEMORY), 19_808 << 10);
    assert_eq!((1_959_264 << 10) - capacity.get(MEMORY), 19_808 << 10);
    assert_eq!(ours.get(EPHEMERAL_STORAGE) - 18_181_869_946, 71_741_062);
}

// The same against the recording itself, where it lies beside the workspace.
#[test]
fn recorded_nodes_agree() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/eks-small-cluster-dump.json");
    let Ok(bytes) = std::fs::read(path) else {
        println!("skipped: the recorded EKS cluster is not beside this workspace");
        return;
    };
    let dump: serde_json::Value = serde_json::from_slice(&bytes).expect("the recording is JSON");
    let nodes = dump["nodes"].as_array().expect("the recording has nodes");
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        let name = node["instance_type"].as_str().expect("a type");
        let ours = kind(name).allocatable(&Settings::default(), &Ec2NodeClass::default());
        let real = |resource: &str| {
            let text = node["allocatable"][resource].as_str().expect("a quantity");
            parse_quantity(resource, text).expect("a quantity")
        };
        assert_eq!((ours.get(CPU), ours.get(PODS)), (real(CPU), real(PODS)));
        assert!(ours.get(MEMORY) <= real(MEMORY));
    }
}

#[test]
fn prefix_delegation_gives_ekss_recommended_pods() {
    let settings = Settings { prefix_delegation: true, ..Settings::default() };
    let pods = |name: &str, class: &Ec2NodeClass| kind(name).capacity(&settings, class).get(PODS);
    let class = Ec2NodeClass::default();
    // t3.nano addresses 2 x 1 prefix of 16; t2 is not Nitro; 32 vCPU are many, 16 are few.
    for (name, want) in [
        ("t3.nano", 34),
        ("m5.large", 110),
        ("m5.4xlarge", 110),
        ("m5.8xlarge", 250),
        ("t2.large", 35),
        ("m5.metal", 250),
    ] {
        assert_eq!(pods(name, &class), want, "{name}");
    }
    assert_eq!(pods("m5.large", &Ec2NodeClass { max_pods: Some(58), ..class.clone() }), 58);
    // AL2023 reserves memory for the pods ENIs address one by one, whatever the limit.
    let memory = |settings: &Settings| kind("m5.large").allocatable(settings, &class).get(MEMORY);
    assert_eq!(memory(&settings), memory(&Settings::default()));
}

#[test]
fn the_node_class_overrides_the_computed_values() {
    let settings = Settings { reserved_enis: 1, vm_memory_overhead: Ppm(0), ..Settings::default() };
    let class = Ec2NodeClass {
        pods_per_core: Some(5),
        kube_reserved: Resources::from([(CPU, 200), ("pid", 1000)]),
        system_reserved: Resources::from([(CPU, 100), (MEMORY, 256 * MIB)]),
        eviction_memory: Some("5%".to_owned()),
        root_volume_bytes: Some(100 * GIB),
        instance_store_raid0: true,
        ..Ec2NodeClass::default()
    };
    let ours = kind("m5.large").allocatable(&settings, &class);
    assert_eq!(ours.get(CPU), 1700);
    assert_eq!(ours.get(PODS), 10);
    // 8192 MiB - (255 + 11 x 29) - 256 - 5 % of 8192 MiB, rounded up to a byte.
    assert_eq!(ours.get(MEMORY), (8192 - 574 - 256) * MIB - (8192 * MIB).div_euclid(20) - 1);
    assert_eq!(ours.get(EPHEMERAL_STORAGE), 89 * GIB);
    assert_eq!(ours.get("pid"), 0);
    assert_eq!(kind("m5d.large").capacity(&settings, &class).get(EPHEMERAL_STORAGE), 75_000_000_000);
    // One of three ENIs is reserved: 2 x 9 + 2.
    assert_eq!(kind("m5.large").capacity(&settings, &Ec2NodeClass::default()).get(PODS), 20);
    let none = Settings { reserved_enis: 3, ..Settings::default() };
    assert_eq!(kind("m5.large").capacity(&none, &Ec2NodeClass::default()).get(PODS), 0);
}

#[test]
fn eviction_signals_are_quantities_or_shares() {
    for (signal, want) in [
        ("200Mi", Some(200 * MIB)),
        ("10%", Some(100)),
        ("0.05%", Some(1)),
        ("100%", Some(0)),
        ("0%", Some(0)),
        ("ten", None),
        ("%", None),
        ("-5%", None),
    ] {
        assert_eq!(eviction_signal(1000, signal), want, "{signal}");
    }
}

// Settings and classes come from users; whatever they say, amounts stay defined and at least zero.
#[test]
fn extreme_settings_neither_panic_nor_go_negative() {
    let extremes = [i64::MIN, -1, 0, 1, i64::MAX];
    let huge = InstanceType {
        vcpus: u32::MAX,
        memory_mib: u32::MAX,
        enis: u32::MAX,
        ipv4_per_eni: u32::MAX,
        ..kind("p4d.24xlarge").clone()
    };
    for kind in [kind("m5.large"), &huge, &InstanceType::default()] {
        for value in extremes {
            let settings =
                Settings { vm_memory_overhead: Ppm(value), prefix_delegation: value < 1, reserved_enis: 2 };
            let reserved = Resources::from([(CPU, value), (MEMORY, value), ("odd", value)]);
            let class = Ec2NodeClass {
                max_pods: Some(value),
                pods_per_core: Some(value),
                kube_reserved: reserved.clone(),
                system_reserved: reserved,
                eviction_memory: Some("999999999%".to_owned()),
                root_volume_bytes: Some(value),
                ..Ec2NodeClass::default()
            };
            for class in [class, Ec2NodeClass::default()] {
                assert!(kind.allocatable(&settings, &class).0.values().all(|amount| *amount >= 0));
            }
        }
    }
}
