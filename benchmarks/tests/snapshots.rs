//! Goal: the committed snapshots are what the generator makes now, and contain what they promise.

use std::collections::BTreeSet;
use stowage_bench::compose::{COMPOSITIONS, Composition, document};
use stowage_models::objects::{PodPhase, PodSpec};
use stowage_models::snapshot::Snapshot;

fn committed(name: &str) -> Snapshot {
    let path = Composition::named(name).expect("a known name").path();
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&zstd::decode_all(file).expect("zstd")).expect("a snapshot")
}

fn pending(snapshot: &Snapshot) -> Vec<&PodSpec> {
    snapshot.pods.iter().filter(|pod| pod.is_pending()).map(|pod| &pod.spec).collect()
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
    for (name, pods) in [("mixed-10k", 10_000), ("mixed-10k-od", 10_000), ("mixed-100k", 100_000)] {
        let composition = Composition::named(name).expect("a known name");
        let snapshot =
            if composition.committed { committed(name) } else { composition.snapshot(composition.seed) };
        let specs = pending(&snapshot);
        assert_eq!((specs.len(), distinct(&specs)), (pods, 200), "{name}");
        let of_groups = |test: &dyn Fn(&PodSpec) -> bool| {
            let matching: Vec<&PodSpec> = specs.iter().copied().filter(|spec| test(spec)).collect();
            distinct(&matching)
        };
        let selects = |spec: &PodSpec, key: &str| spec.node_selector.contains_key(key);
        assert_eq!(
            of_groups(&|spec| selects(spec, "karpenter.sh/capacity-type")),
            20,
            "{name}: on-demand only"
        );
        assert_eq!(of_groups(&|spec| selects(spec, "topology.kubernetes.io/zone")), 4, "{name}: zone-pinned");
        let amd64_only = of_groups(&|spec| {
            let in_affinity =
                spec.affinity.node_required.iter().flatten().flat_map(|term| &term.match_expressions);
            selects(spec, "kubernetes.io/arch") || in_affinity.into_iter().any(|r| r.values == ["amd64"])
        });
        assert_eq!(amd64_only, 140, "{name}: 30 % of the groups run on arm64 too");
        assert!(snapshot.nodes.is_empty());
    }
}
