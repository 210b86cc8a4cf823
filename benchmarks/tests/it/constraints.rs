//! Goal: `constrained-*`, `spread-*` and `hostname-2k` hold the constraints they promise, in the promised shares, and the
//! planner plans for each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::trial;
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodSpec;
use stowage_models::plan::{Plan, Policy};
use stowage_models::quantity::{CPU, MEMORY};
use stowage_models::selector::Operator;
use stowage_models::snapshot::Snapshot;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOSTNAME: &str = "kubernetes.io/hostname";

fn composed(name: &str) -> Snapshot {
    let composition = Composition::named(name).expect("a known name");
    composition.snapshot(composition.seed)
}

fn accepted(snapshot: &Snapshot) -> Plan {
    trial::accepted(snapshot, Catalog::embedded(), &Policy::default(), Duration::from_millis(300))
}

/// Pending pods by workload, each with its template.
fn workloads(snapshot: &Snapshot) -> BTreeMap<&str, (&PodSpec, usize)> {
    let mut found: BTreeMap<&str, (&PodSpec, usize)> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| pod.is_pending()) {
        let entry = found.entry(&pod.labels["app"]).or_insert((&pod.spec, 0));
        assert_eq!(*entry.0, *pod.spec, "pods of {} differ", pod.labels["app"]);
        entry.1 += 1;
    }
    found
}

fn groups_with(snapshot: &Snapshot, test: impl Fn(&PodSpec) -> bool) -> usize {
    workloads(snapshot).values().filter(|(spec, _)| test(spec)).count()
}

/// Constraints between pods.
fn between_pods(spec: &PodSpec) -> bool {
    !spec.topology_spread.is_empty()
        || !spec.affinity.pod_required.is_empty()
        || !spec.affinity.anti_required.is_empty()
}

#[test]
fn constrained_has_every_supported_constraint() {
    for (name, pods, groups, nodes) in
        [("constrained-1k", 1_000, 120, 20), ("constrained-10k", 10_000, 240, 100)]
    {
        let snapshot = composed(name);
        assert_eq!(snapshot.pods.iter().filter(|pod| pod.is_pending()).count(), pods, "{name}");
        assert_eq!((workloads(&snapshot).len(), snapshot.nodes.len()), (groups, nodes), "{name}");
        let share = |what: &str, test: &dyn Fn(&PodSpec) -> bool| {
            let count = groups_with(&snapshot, test);
            assert!(count >= groups / 20, "{name}: {count} groups with {what}");
        };
        let selects = |spec: &PodSpec, key: &str| spec.node_selector.contains_key(key);
        let terms = |spec: &PodSpec| spec.affinity.node_required.clone().unwrap_or_default();
        let operator = |spec: &PodSpec, operator: Operator| {
            terms(spec).iter().flat_map(|term| &term.match_expressions).any(|r| r.operator == operator)
        };
        share("alternatives", &|spec| terms(spec).len() > 1);
        for wanted in [Operator::In, Operator::NotIn, Operator::Gt, Operator::Lt, Operator::Exists] {
            share(&format!("{wanted:?}"), &|spec| operator(spec, wanted));
        }
        share("DoesNotExist", &|spec| operator(spec, Operator::DoesNotExist));
        share("a custom label", &|spec| selects(spec, "example.com/team"));
        share("a label of a NodePool", &|spec| selects(spec, "workload") || selects(spec, "tier"));
        share("a capacity type", &|spec| selects(spec, "karpenter.sh/capacity-type"));
        share("a toleration", &|spec| !spec.tolerations.is_empty());
        share("a priority", &|spec| spec.priority != 0);
        share("a GPU", &|spec| spec.containers[0].requests.get("nvidia.com/gpu") > 0);
        assert_eq!(groups_with(&snapshot, between_pods), 0, "{name}: only what is supported");

        assert_eq!(snapshot.node_pools.len(), 8);
        let weights: BTreeSet<i32> = snapshot.node_pools.iter().map(|pool| pool.weight).collect();
        assert_eq!(weights, BTreeSet::from([0, 10, 50]));
        for resource in [CPU, MEMORY, "nodes", "nvidia.com/gpu"] {
            assert!(snapshot.node_pools.iter().any(|pool| pool.limits.get(resource) > 0), "{resource}");
        }
        assert!(snapshot.node_classes.iter().any(|class| class.max_pods == Some(24)));
        assert_eq!(snapshot.daemon_sets.len(), 8);
        let running = snapshot.pods.iter().filter(|pod| pod.node.is_some()).count();
        assert!(running > 8 * nodes, "{name}: {running} pods run");
    }
}

#[test]
fn constrained_is_planned_in_full() {
    let snapshot = composed("constrained-1k");
    let plan = accepted(&snapshot);
    assert_eq!((plan.summary.pods_pending, plan.summary.pods_unplaced), (1_000, 0));
    assert!(plan.summary.pods_on_existing > 50, "{} on existing nodes", plan.summary.pods_on_existing);
    let used: BTreeSet<&str> = plan.launches.iter().map(|launch| launch.node_pool.as_str()).collect();
    for pool in ["general", "critical", "reserved", "arm64", "teams", "gpu", "storage", "dense"] {
        assert!(used.contains(pool), "{pool} launches nothing");
    }
}

#[test]
fn spread_has_its_shares() {
    for (name, pods, groups) in [("spread-1k", 1_000, 100), ("spread-10k", 10_000, 200)] {
        let snapshot = composed(name);
        assert_eq!(snapshot.pods.iter().filter(|pod| pod.is_pending()).count(), pods, "{name}");
        let all = workloads(&snapshot);
        assert_eq!(all.len(), groups, "{name}");
        let over = |spec: &PodSpec, key: &str| {
            spec.topology_spread.iter().any(|s| s.hard && s.max_skew == 1 && s.topology_key == key)
        };
        assert_eq!(groups_with(&snapshot, |spec| over(spec, ZONE)), groups * 30 / 100, "{name}: over zones");
        // Whose selector is it: the group's own, or another's?
        let anti = |own: bool| {
            let meant = |app: &str, spec: &PodSpec| {
                spec.affinity.anti_required.iter().any(|term| {
                    assert_eq!(term.topology_key, HOSTNAME);
                    let selector = term.label_selector.as_ref().expect("a selector");
                    assert!(all.contains_key(selector.match_labels["app"].as_str()), "nobody is meant");
                    (selector.match_labels["app"] == app) == own
                })
            };
            all.iter().filter(|(app, (spec, _))| meant(app, spec)).count()
        };
        let hostname = groups_with(&snapshot, |spec| over(spec, HOSTNAME));
        assert_eq!(hostname + anti(true), groups / 10, "{name}: one pod a node");
        assert!(hostname > 0 && anti(true) > 0);
        assert_eq!(anti(false), groups / 20, "{name}: away from another group");
        let together =
            |spec: &PodSpec| spec.affinity.pod_required.iter().any(|term| term.topology_key == ZONE);
        assert_eq!(groups_with(&snapshot, together), groups / 20, "{name}: in one zone");
        let on_demand = |spec: &PodSpec| {
            spec.node_selector.get("karpenter.sh/capacity-type").is_some_and(|value| value == "on-demand")
        };
        assert_eq!(groups_with(&snapshot, on_demand), groups / 10, "{name}: on demand");
    }
}

/// The checker has bound every pod in turn, so placing all of them is all there is to ask for.
#[test]
fn constraints_between_pods_are_planned_in_full() {
    for name in ["spread-1k", "hostname-2k"] {
        let snapshot = composed(name);
        let plan = accepted(&snapshot);
        assert_eq!(plan.unplaced, Vec::new(), "{name}");
        assert_eq!(plan.summary.pods_on_new, plan.summary.pods_pending, "{name}");
        let split = plan.certificate.rows.iter().filter(|row| row.domain.is_some()).count();
        assert_eq!(split > 0, name == "spread-1k", "{name}: {split} rows of domains");
    }
}

#[test]
fn hostname_2k_is_karpenters_own_case() {
    let snapshot = composed("hostname-2k");
    let all = workloads(&snapshot);
    let (small, large) = (all["small-resource-app"], all["large-resource-app"]);
    assert_eq!((small.1, large.1), (1_000, 1_000));
    let requests = |spec: &PodSpec| {
        (spec.containers[0].requests.get(CPU), spec.containers[0].requests.get(MEMORY) >> 20)
    };
    assert_eq!((requests(small.0), requests(large.0)), ((900, 3_100), (3_500, 28_672)));
    assert_eq!(small.0.topology_spread[0].topology_key, HOSTNAME);
    assert!(small.0.topology_spread[0].hard && large.0.topology_spread.is_empty());
}
