//! Goal: the committed snapshots are what the generator makes now, and contain what they promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_bench::compose::{COMPOSITIONS, Composition, document};
use stowage_bench::trial;
use stowage_import::{Source, import};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{Node, PodPhase, PodSpec};
use stowage_models::plan::{Plan, Policy};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::snapshot::Snapshot;

fn committed(name: &str) -> Snapshot {
    let path = Composition::named(name).expect("a known name").path();
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&zstd::decode_all(file).expect("zstd")).expect("a snapshot")
}

fn composed(name: &str) -> Snapshot {
    let composition = Composition::named(name).expect("a known name");
    composition.snapshot(composition.seed)
}

fn accepted(snapshot: &Snapshot, policy: &Policy) -> Plan {
    trial::accepted(snapshot, Catalog::embedded(), policy, Duration::from_millis(500))
}

fn pending(snapshot: &Snapshot) -> Vec<&PodSpec> {
    snapshot.pods.iter().filter(|pod| pod.is_pending()).map(|pod| &*pod.spec).collect()
}

fn distinct(specs: &[&PodSpec]) -> usize {
    specs.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn committed_files_are_what_the_generator_makes() {
    for composition in COMPOSITIONS.iter().filter(|composition| composition.committed) {
        let file = std::fs::File::open(composition.path()).expect("committed");
        let have = zstd::decode_all(file).expect("zstd");
        let want = document(&composition.snapshot(composition.seed));
        assert!(
            have == want,
            "{} differs from what the generator makes; run `cargo run --release -p stowage-bench -- compose --all`",
            composition.path().display()
        );
    }
}

#[test]
fn composed_snapshots_say_so() {
    for composition in COMPOSITIONS.iter().filter(|composition| composition.committed) {
        let snapshot = committed(composition.name);
        let want = format!("composed, seed {}, from public manifests", composition.seed);
        assert!(snapshot.origin.starts_with(&want), "{}", snapshot.origin);
    }
}

#[test]
fn every_composition_is_deterministic_and_imports_unchanged() {
    // The largest say nothing that mixed-20k does not.
    for composition in
        COMPOSITIONS.iter().filter(|composition| !["mixed-100k", "mixed-1m"].contains(&composition.name))
    {
        let name = composition.name;
        let bytes = document(&composition.snapshot(composition.seed));
        assert!(document(&composition.snapshot(composition.seed)) == bytes, "{name} differs from itself");
        assert!(document(&composition.snapshot(composition.seed + 1)) != bytes, "{name} ignores its seed");
        let imported = import(&[Source { name, bytes: &bytes }]).expect("a snapshot document");
        assert!(document(&imported.snapshot) == bytes, "{name} changes on import");
    }
}

#[test]
fn names_are_used_once() {
    let names: BTreeSet<&str> = COMPOSITIONS.iter().map(|composition| composition.name).collect();
    assert_eq!(names.len(), COMPOSITIONS.len());
}

#[test]
fn small_has_every_feature() {
    let snapshot = committed("small");
    let pods = pending(&snapshot);
    assert!((40..100).contains(&pods.len()), "{} pods", pods.len());
    let some = |what: &str, test: &dyn Fn(&PodSpec) -> bool| {
        assert!(pods.iter().any(|spec| test(spec)), "no pending pod has {what}");
    };
    some("a node selector", &|spec| !spec.node_selector.is_empty());
    some("required affinity with alternatives", &|spec| {
        spec.affinity.node_required.as_ref().is_some_and(|terms| terms.len() > 1)
    });
    some("affinity to a node's name", &|spec| {
        spec.affinity.node_required.iter().flatten().any(|term| !term.match_fields.is_empty())
    });
    some("a toleration", &|spec| !spec.tolerations.is_empty());
    some("an init container", &|spec| spec.init_containers.iter().any(|container| !container.sidecar));
    some("a sidecar", &|spec| spec.init_containers.iter().any(|container| container.sidecar));
    some("overhead", &|spec| !spec.overhead.is_empty());
    some("pod-level requests", &|spec| !spec.pod_requests.is_empty());
    some("a priority", &|spec| spec.priority > 0);
    some("a hard spread, not planned for yet", &|spec| spec.topology_spread.iter().any(|spread| spread.hard));
    some("a volume, not planned for yet", &|spec| !spec.volumes.is_empty());
    for resource in ["nvidia.com/gpu", "ephemeral-storage"] {
        some(resource, &|spec| spec.containers.iter().any(|container| container.requests.get(resource) > 0));
    }
    let pools = &snapshot.node_pools;
    assert!(pools.iter().any(|pool| pool.weight > 0) && pools.iter().any(|pool| !pool.limits.is_empty()));
    assert!(pools.iter().any(|pool| !pool.startup_taints.is_empty()));
    assert!(snapshot.nodes.iter().any(|node| node.nodepool().is_none()), "no unmanaged node");
    assert!(
        snapshot.nodes.iter().any(|node| node.unschedulable) && snapshot.nodes.iter().any(|node| !node.ready)
    );
    assert!(snapshot.node_claims.iter().any(|claim| claim.node.is_none()), "no claim in flight");
    assert!(snapshot.daemon_sets.len() >= 5);
}

#[test]
fn web_1k_has_its_counts() {
    let snapshot = committed("web-1k");
    assert_eq!(pending(&snapshot).len(), 1_000);
    assert_eq!(snapshot.nodes.len(), 60);
    assert_eq!(snapshot.pods.iter().filter(|pod| pod.phase == PodPhase::Running).count(), 700);
    assert_eq!(snapshot.node_pools.len(), 4);
    assert_eq!(snapshot.nodes.iter().filter(|node| node.nodepool().is_none()).count(), 3);
}

#[test]
fn mixed_has_its_counts() {
    for (name, pods, groups) in [
        ("mixed-100", 100, 30),
        ("mixed-1k", 1_000, 100),
        ("mixed-5k", 5_000, 150),
        ("mixed-10k", 10_000, 200),
        ("mixed-10k-od", 10_000, 200),
        ("mixed-20k", 20_000, 200),
        ("mixed-100k", 100_000, 200),
    ] {
        let snapshot = composed(name);
        let specs = pending(&snapshot);
        assert_eq!((specs.len(), distinct(&specs)), (pods, groups), "{name}");
        let of_groups = |test: &dyn Fn(&PodSpec) -> bool| {
            let matching: Vec<&PodSpec> = specs.iter().copied().filter(|spec| test(spec)).collect();
            distinct(&matching)
        };
        let selects = |spec: &PodSpec, key: &str| spec.node_selector.contains_key(key);
        assert_eq!(
            of_groups(&|spec| selects(spec, "karpenter.sh/capacity-type")),
            groups / 10,
            "{name}: on-demand only"
        );
        let pinned = of_groups(&|spec| selects(spec, "topology.kubernetes.io/zone"));
        assert_eq!(pinned, (groups / 50).max(1), "{name}: zone-pinned");
        let amd64_only = of_groups(&|spec| {
            let in_affinity =
                spec.affinity.node_required.iter().flatten().flat_map(|term| &term.match_expressions);
            selects(spec, "kubernetes.io/arch") || in_affinity.into_iter().any(|r| r.values == ["amd64"])
        });
        assert_eq!(amd64_only, groups / 10 * 7, "{name}: 30 % of the groups run on arm64 too");
        assert!(snapshot.nodes.is_empty());
    }
}

#[test]
fn scaledown_fleets_are_complete_and_half_empty() {
    for (name, nodes) in [("scaledown-100", 100), ("scaledown-1k", 1_000)] {
        let snapshot = composed(name);
        assert_eq!((snapshot.nodes.len(), snapshot.node_claims.len()), (nodes, nodes), "{name}");
        assert!(snapshot.pods.iter().all(|pod| pod.phase == PodPhase::Running && pod.node.is_some()));
        let agents = snapshot.pods.iter().filter(|pod| pod.is_owned_by("DaemonSet")).count();
        let replicas = snapshot.pods.iter().filter(|pod| pod.is_owned_by("ReplicaSet")).count();
        assert_eq!(agents + replicas, snapshot.pods.len());
        assert!((8 * nodes..11 * nodes).contains(&replicas), "{name}: {replicas} replicas");

        let mut requested: BTreeMap<&str, Resources> = BTreeMap::new();
        for pod in &snapshot.pods {
            let of_node = requested.entry(pod.node.as_deref().expect("bound")).or_default();
            of_node.set(PODS, of_node.get(PODS) + 1);
            pod.spec.containers.iter().for_each(|container| of_node.add(&container.requests));
        }
        let sum = |resource: &str, of: &dyn Fn(&Node) -> i64| {
            let total: i64 = snapshot.nodes.iter().map(|node| node.allocatable.get(resource)).sum();
            snapshot.nodes.iter().map(of).sum::<i64>() * 100 / total
        };
        for node in &snapshot.nodes {
            assert!(requested[node.name.as_str()].fits(&node.allocatable), "{} holds too much", node.name);
        }
        for resource in [CPU, MEMORY] {
            let used = sum(resource, &|node| requested[node.name.as_str()].get(resource));
            assert!((40..70).contains(&used), "{name}: {used} % of {resource} is requested");
        }
        let share = |key: &str, value: &str| {
            let has = |node: &&Node| node.labels.get(key).is_some_and(|have| have == value);
            snapshot.nodes.iter().filter(has).count() * 100 / nodes
        };
        assert!((40..80).contains(&share(labels::CAPACITY_TYPE, "spot")), "{name}");
        assert!((15..50).contains(&share(labels::NODEPOOL, "critical")), "{name}");
        assert!((2..40).contains(&share(labels::ARCH, "arm64")), "{name}");
        let types: BTreeSet<_> =
            snapshot.nodes.iter().map(|node| &node.labels[labels::INSTANCE_TYPE]).collect();
        assert!(types.len() >= 15, "{name}: {} types", types.len());
    }
}

#[test]
fn scaledown_nodes_look_as_karpenter_leaves_them() {
    let snapshot = composed("scaledown-100");
    for node in &snapshot.nodes {
        for key in [
            labels::REGISTERED,
            labels::INITIALIZED,
            labels::NODEPOOL,
            labels::INSTANCE_TYPE,
            labels::ZONE,
            labels::CAPACITY_TYPE,
            labels::ARCH,
            labels::OS,
            labels::HOSTNAME,
            labels::EC2_NODE_CLASS,
        ] {
            assert!(node.labels.contains_key(key), "{} lacks {key}", node.name);
        }
        let claim = snapshot
            .node_claims
            .iter()
            .find(|claim| claim.node.as_ref() == Some(&node.name))
            .expect("every node has its NodeClaim");
        assert_eq!(claim.provider_id, node.provider_id);
        assert_eq!(claim.conditions, ["Consolidatable", "Initialized", "Launched", "Ready", "Registered"]);
        let price = Catalog::embedded()
            .get(&node.labels[labels::INSTANCE_TYPE])
            .and_then(|kind| kind.price(&node.labels[labels::ZONE], &node.labels[labels::CAPACITY_TYPE]));
        assert!(price.is_some(), "{} has no price today", node.name);
    }
    assert!(snapshot.pod_disruption_budgets.len() >= 3);
    let marked = snapshot.pods.iter().filter(|pod| pod.annotations.contains_key(labels::DO_NOT_DISRUPT));
    assert!((3..30).contains(&marked.count()));
}

#[test]
fn nothing_waits_in_a_scaledown_fleet() {
    for name in ["scaledown-30", "scaledown-100", "scaledown-1k"] {
        let plan = accepted(&composed(name), &Policy::default());
        assert!(plan.is_empty() && plan.unplaced.is_empty(), "{name}");
        assert_eq!((plan.summary.pods_pending, plan.summary.nodes_unpriced), (0, 0), "{name}");
    }
}

#[test]
fn small_mixed_snapshots_are_planned_in_full() {
    for name in ["mixed-100", "mixed-1k"] {
        let snapshot = composed(name);
        let plan = accepted(&snapshot, &Policy::default());
        assert_eq!(plan.summary.pods_on_new, pending(&snapshot).len() as u64, "{name}");
    }
}
