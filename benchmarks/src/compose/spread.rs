//! `spread-*` and `hostname-2k`: constraints between pods, which decide where a pod may go by where others are.
//!
//! Of a hundred groups of `spread-*`, 30 are spread over zones (DoNotSchedule, maxSkew 1), 10 are kept to one pod a node (half
//! by anti-affinity to themselves, half by spread over hostnames), 5 keep away from another group, 5 want all their pods in
//! one zone, and 10 run on demand only. `hostname-2k` is the workload of Karpenter's own performance test
//! `host_name_spreading_xl`, which may take it 35 minutes.

use super::mixed;
use super::parts::{PodMaker, Workload, daemon_sets, label_map, node_class, plain_requests, pool};
use super::sizes::{self, MIB};
use stowage_models::labels;
use stowage_models::objects::{Container, PodAffinityTerm, PodSpec, TopologySpread};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::random::Random;
use stowage_models::selector::LabelSelector;
use stowage_models::snapshot::Snapshot;

/// How many pods wait, in how many groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pods: u64,
    groups: usize,
}

/// `spread-1k`.
pub(super) const PODS_1K: Amount = Amount { pods: 1_000, groups: 100 };
/// `spread-10k`.
pub(super) const PODS_10K: Amount = Amount { pods: 10_000, groups: 200 };

/// Most replicas of a group that is kept to one pod a node, before shares of the total are taken: each needs a node.
const APART_REPLICAS_MAX: u64 = 8;

/// Composes a `spread` snapshot.
pub(super) fn compose(seed: u64, amount: &Amount) -> Snapshot {
    let mut rng = Random::new(seed);
    let mut maker = PodMaker::new(rng.fork());
    let mut workloads = mixed::workloads(&mut rng.fork(), amount.groups);
    let names: Vec<String> = workloads.iter().map(|workload| workload.name.clone()).collect();
    let mut counts = rng.fork();
    let mut weights = Vec::new();
    for (index, workload) in workloads.iter_mut().enumerate() {
        let replicas = sizes::replicas(&plain_requests(&workload.spec), &mut counts);
        // A namespace for all: selectors of pod affinity look no further.
        "spread".clone_into(&mut workload.namespace);
        // Between those that `mixed` pins to a zone there is no spread over zones.
        workload.spec.node_selector.remove(labels::ZONE);
        let spec = &mut workload.spec;
        let own = &names[index];
        weights.push(match index % 20 {
            0 | 1 | 5 | 10 | 11 | 15 => {
                spec.topology_spread = vec![spread(own, labels::ZONE)];
                replicas
            }
            2 => {
                spec.affinity.anti_required = vec![term(own, labels::HOSTNAME)];
                replicas.min(APART_REPLICAS_MAX)
            }
            12 => {
                spec.topology_spread = vec![spread(own, labels::HOSTNAME)];
                replicas.min(APART_REPLICAS_MAX)
            }
            4 => {
                spec.affinity.anti_required = vec![term(&names[(index + 2) % names.len()], labels::HOSTNAME)];
                replicas
            }
            14 => {
                spec.affinity.pod_required = vec![term(own, labels::ZONE)];
                replicas
            }
            _ => replicas,
        });
    }
    let pods = workloads
        .iter()
        .zip(sizes::apportion(&weights, amount.pods))
        .flat_map(|(workload, count)| maker.pending(workload, count))
        .collect();
    Snapshot {
        node_pools: vec![pool("general", &["amd64", "arm64"], &["on-demand", "spot"])],
        node_classes: vec![node_class()],
        daemon_sets: daemon_sets(),
        pods,
        ..Snapshot::default()
    }
}

/// The same without constraints between pods: what they cost.
pub(super) fn free(seed: u64, amount: &Amount) -> Snapshot {
    let mut snapshot = compose(seed, amount);
    for spec in snapshot.pods.iter_mut().map(|pod| &mut pod.spec) {
        spec.topology_spread.clear();
        spec.affinity.pod_required.clear();
        spec.affinity.anti_required.clear();
    }
    snapshot
}

/// Composes `hostname-2k`: 1,000 small pods spread over hostnames, 1,000 large ones.
pub(super) fn hostname(seed: u64) -> Snapshot {
    let mut maker = PodMaker::new(Random::new(seed));
    let mut workload = |name: &str, cpu: i64, memory_mib: i64, spread: Vec<TopologySpread>| {
        let requests = Resources::from([(CPU, cpu), (MEMORY, memory_mib * MIB)]);
        let containers = vec![Container { requests, ..Container::default() }];
        let spec = PodSpec { containers, topology_spread: spread, ..PodSpec::default() };
        maker.pending(&Workload::new("default", name, spec), 1_000)
    };
    let mut pods =
        workload("small-resource-app", 900, 3_100, vec![spread("small-resource-app", labels::HOSTNAME)]);
    pods.extend(workload("large-resource-app", 3_500, 28 * 1024, Vec::new()));
    Snapshot {
        node_pools: vec![pool("general", &["amd64", "arm64"], &["on-demand", "spot"])],
        node_classes: vec![node_class()],
        daemon_sets: daemon_sets(),
        pods,
        ..Snapshot::default()
    }
}

fn selector(app: &str) -> Option<LabelSelector> {
    Some(LabelSelector { match_labels: label_map(&[("app", app)]), match_expressions: Vec::new() })
}

fn spread(app: &str, key: &str) -> TopologySpread {
    TopologySpread {
        max_skew: 1,
        topology_key: key.to_owned(),
        hard: true,
        label_selector: selector(app),
        honor_affinity: true,
        ..TopologySpread::default()
    }
}

fn term(app: &str, key: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: selector(app),
        topology_key: key.to_owned(),
        ..PodAffinityTerm::default()
    }
}
