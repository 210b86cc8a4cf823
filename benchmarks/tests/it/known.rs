//! Goal: the optimum of `known-*` is one. The proof of `compose::known` is repeated here in integers, from the catalogue and
//! the pods of the snapshot alone, and what the planner finds is held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_bench::compose::known::{Known, Size, known};
use stowage_bench::compose::{COMPOSITIONS, Composition};
use stowage_bench::trial::by_work;
use stowage_models::catalog::Catalog;
use stowage_models::objects::{Pod, PodSpec};
use stowage_models::plan::Policy;
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::snapshot::Snapshot;

const MIB: i64 = 1 << 20;

fn compositions() -> Vec<Composition> {
    COMPOSITIONS.iter().filter(|composition| composition.name.starts_with("known-")).copied().collect()
}

/// cpu in millicores and memory in bytes of a template; the templates of these snapshots have nothing else.
fn requests(spec: &PodSpec) -> (i64, i64) {
    assert!(spec.init_containers.is_empty() && spec.overhead.is_empty() && spec.pod_requests.is_empty());
    let sum = |name: &str| spec.containers.iter().map(|container| container.requests.get(name)).sum();
    (sum(CPU), sum(MEMORY))
}

/// What a node of this type leaves for pods without slack: allocatable less every DaemonSet (nothing keeps one away).
fn room(snapshot: &Snapshot, instance_type: &str) -> Resources {
    let kind = Catalog::embedded().get(instance_type).expect("a type of the catalogue");
    let mut room = kind.allocatable(&snapshot.settings, &snapshot.node_classes[0]);
    for daemon_set in &snapshot.daemon_sets {
        let (cpu, memory) = requests(&daemon_set.spec);
        room.sub(&Resources::from([(CPU, cpu), (MEMORY, memory), ("pods", 1)]));
    }
    room
}

/// Every offering of the one NodePool as (type, zone, capacity type, price).
fn offerings(snapshot: &Snapshot) -> Vec<(&'static str, &'static str, &'static str, i64)> {
    let [pool] = &snapshot.node_pools[..] else { panic!("one NodePool") };
    assert!(pool.labels.is_empty() && pool.taints.is_empty() && pool.limits.is_empty());
    let mut all = Vec::new();
    for kind in &Catalog::embedded().types {
        for (zone, capacity_type) in kind.zones.iter().flat_map(|zone| [(zone, "on-demand"), (zone, "spot")])
        {
            let Some(price) = kind.price(&zone.zone, capacity_type) else { continue };
            let mut labels = kind.labels();
            labels.insert("karpenter.sh/capacity-type".to_owned(), capacity_type.to_owned());
            labels.insert("topology.kubernetes.io/zone".to_owned(), zone.zone.clone());
            // Zones the node class has no subnet in stay: the proof is no weaker for more offerings.
            if pool.requirements.iter().all(|requirement| requirement.matches(&labels)) {
                all.push((kind.name.as_str(), zone.zone.as_str(), capacity_type, price.usd.0));
            }
        }
    }
    all
}

/// Repeats the proof.
fn prove(known: &Known, in_zones: &BTreeSet<&str>) {
    let (snapshot, worth) = (&known.snapshot, known.worth);
    assert!(snapshot.nodes.is_empty() && snapshot.pods.iter().all(Pod::is_pending));
    assert!(worth.cpu >= 0 && worth.memory >= 0 && worth.divisor > 0);
    assert!(worth.cpu > 0 || worth.memory > 0);

    // No offering costs less than what it holds is worth. Memory is rounded up to whole mebibytes: no weaker either.
    let offerings = offerings(snapshot);
    assert!(offerings.len() > 500, "{} offerings", offerings.len());
    for (name, zone, capacity_type, price) in offerings.iter().filter(|(_, zone, ..)| in_zones.contains(zone))
    {
        let room = room(snapshot, name);
        let most = worth.of(room.get(CPU).max(0), (room.get(MEMORY).max(0) + MIB - 1) / MIB);
        assert!(most <= worth.divisor * i128::from(*price), "{name} {zone} {capacity_type} costs too little");
    }

    // All pods together are worth the optimum, exactly: so no nodes that hold them cost less.
    let mut worth_of_pods = 0;
    let mut by_name: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for pod in &snapshot.pods {
        let (cpu, memory) = requests(&pod.spec);
        assert!(cpu > 0 && memory > 0 && memory % MIB == 0, "{}", pod.name);
        worth_of_pods += worth.of(cpu, memory / MIB);
        by_name.insert(pod.id().0, (cpu, memory));
    }
    assert_eq!(worth_of_pods, worth.divisor * i128::from(known.optimum.0));

    // And these nodes hold them for that price: each pod once, each node no more than full.
    let mut paid = 0;
    for node in &known.nodes {
        let offering = (node.instance_type.as_str(), node.zone.as_str(), node.capacity_type, node.price.0);
        assert!(offerings.contains(&offering) && in_zones.contains(node.zone.as_str()), "{offering:?}");
        paid += node.price.0;
        let room = room(snapshot, &node.instance_type);
        let of_node = node.pods.iter().map(|pod| by_name.remove(pod).expect("a pod that is placed once"));
        let (cpu, memory) = of_node.fold((0, 0), |sum, pod| (sum.0 + pod.0, sum.1 + pod.1));
        assert!(cpu <= room.get(CPU) && memory <= room.get(MEMORY), "{offering:?} is too small");
        assert!(node.pods.len() as i64 <= room.get("pods"));
    }
    assert!(by_name.is_empty(), "{} pods are nowhere", by_name.len());
    assert_eq!(paid, known.optimum.0);
}

fn size(pods: usize, cuts: usize, pods_of_a_node: (usize, usize)) -> Size {
    Size { pods, cuts, pods_of_a_node }
}

#[test]
fn the_optimum_is_one() {
    let zones = BTreeSet::from(["us-east-1a", "us-east-1b", "us-east-1c"]);
    for seed in 0..20 {
        for size in [size(50, 60, (3, 8)), size(500, 60, (3, 8)), size(500, 4, (5, 5))] {
            prove(&known(seed, &size), &zones);
        }
    }
    prove(&known(5, &size(5_000, 60, (3, 8))), &zones);
}

#[test]
fn a_wrong_optimum_would_be_noticed() {
    let zones = BTreeSet::from(["us-east-1a", "us-east-1b", "us-east-1c"]);
    let good = known(5, &size(50, 60, (3, 8)));
    let refused = |change: &dyn Fn(&mut Known)| {
        let mut bad = good.clone();
        change(&mut bad);
        std::panic::catch_unwind(|| prove(&bad, &zones)).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|bad| bad.optimum.0 += 1));
    assert!(refused(&|bad| bad.worth.cpu += 1));
    assert!(refused(&|bad| bad.worth.divisor += 1));
    assert!(refused(&|bad| bad.nodes[0].price.0 -= 1));
    assert!(refused(&|bad| bad.nodes.swap_remove(0).pods.clear()));
    assert!(refused(&|bad| bad.nodes[0].pods.clear()));
    assert!(refused(&|bad| bad.snapshot.pods[0].spec.containers[0].requests.set(CPU, 1)));
}

#[test]
fn compositions_state_their_optimum() {
    let all = compositions();
    assert_eq!(all.len(), 6);
    for (composition, pods) in all.iter().zip([50, 500, 5_000, 50, 500, 5_000]) {
        assert_eq!(composition.snapshot(composition.seed).pods.len(), pods, "{}", composition.name);
        assert_eq!(composition.slack.0, 0);
        let optimum = composition.optimum(composition.seed).expect("it is known");
        assert!(optimum.0 > 1_000 * pods as i64, "{}: {optimum}", composition.name);
    }
    let other = Composition::named("mixed-1k").expect("a known name");
    assert_eq!((other.slack, other.optimum(3)), (Policy::default().slack, None));
}

#[test]
fn the_planner_stays_on_its_side_of_the_optimum() {
    for composition in compositions().iter().filter(|composition| !composition.name.contains("5k")) {
        let snapshot = composition.snapshot(composition.seed);
        let optimum = composition.optimum(composition.seed).expect("it is known");
        let policy = Policy { slack: composition.slack, ..Policy::default() };
        let limits = by_work(Duration::from_millis(500), 2);
        let planned = stowage_planner::plan(&snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {})
            .expect("a plan");
        let summary = &planned.plan.summary;
        assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &planned.plan), Vec::new());
        assert_eq!(summary.pods_on_new, snapshot.pods.len() as u64);
        assert!(
            summary.launch_cost >= optimum,
            "{}: {} below the optimum",
            composition.name,
            summary.launch_cost
        );
        assert!(summary.launch_bound <= optimum, "{}: bound {}", composition.name, summary.launch_bound);
        assert!(
            summary.launch_cost.0 <= optimum.0 * 11 / 10,
            "{}: {}",
            composition.name,
            summary.launch_cost
        );
    }
}
