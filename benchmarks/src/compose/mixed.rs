//! `mixed-*`: many pods in few groups on an empty cluster, the canonical workload of the planner's speed and gap.
//!
//! One NodePool over all current c, m and r types of both architectures in three zones. 10 % of the groups insist on
//! on-demand, 30 % run on either architecture, 2 % are pinned to a zone (as pods with an EBS volume are). No zone spread.

use super::parts::{
    PodMaker, Workload, daemon_sets, node_affinity, node_class, plain_requests, pool, toleration,
};
use super::sizes;
use crate::manifests::Manifests;
use std::collections::BTreeSet;
use stowage_models::labels;
use stowage_models::objects::PodSpec;
use stowage_models::random::Random;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// What a `mixed` snapshot contains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pods: u64,
    groups: usize,
    capacity_types: &'static [&'static str],
    machines: Machines,
}

/// Which instance types the NodePool allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machines {
    /// c, m and r of generations above 2.
    Current,
    /// Of those, up to 16 vCPU: few pods fit a node, and the fractional bound is loose.
    UpTo16,
    /// All families, generations and sizes, burstable ones too.
    All,
}

const BOTH: &[&str] = &["on-demand", "spot"];

impl Mix {
    const fn new(pods: u64, groups: usize, capacity_types: &'static [&'static str]) -> Mix {
        Mix { pods, groups, capacity_types, machines: Machines::Current }
    }

    const fn on(self, machines: Machines) -> Mix {
        Mix { machines, ..self }
    }
}

/// `mixed-100`.
pub(super) const SPOT_100: Mix = Mix::new(100, 30, BOTH);
/// `mixed-1k`.
pub(super) const SPOT_1K: Mix = Mix::new(1_000, 100, BOTH);
/// `mixed-5k`.
pub(super) const SPOT_5K: Mix = Mix::new(5_000, 150, BOTH);
/// `mixed-10k`.
pub(super) const SPOT_10K: Mix = Mix::new(10_000, 200, BOTH);
/// `mixed-10k-od`.
pub(super) const ON_DEMAND_10K: Mix = Mix::new(10_000, 200, &["on-demand"]);
/// `mixed-20k`.
pub(super) const SPOT_20K: Mix = Mix::new(20_000, 200, BOTH);
/// `mixed-100k`.
pub(super) const SPOT_100K: Mix = Mix::new(100_000, 200, BOTH);
/// `mixed-1m`.
pub(super) const SPOT_1M: Mix = Mix::new(1_000_000, 500, BOTH);
/// `groups-500`.
pub(super) const GROUPS_500: Mix = Mix::new(10_000, 500, BOTH);
/// `groups-2k`.
pub(super) const GROUPS_2K: Mix = Mix::new(20_000, 2_000, BOTH);
/// `upto-16`.
pub(super) const UP_TO_16: Mix = SPOT_10K.on(Machines::UpTo16);
/// `all-types`.
pub(super) const ALL_TYPES: Mix = SPOT_10K.on(Machines::All);

/// Composes the snapshot. The same seed draws the same groups for every mix; one with fewer groups has the first of them.
pub(super) fn compose(seed: u64, mix: &Mix) -> Snapshot {
    let mut rng = Random::new(seed);
    let mut names = PodMaker::new(rng.fork());
    let workloads = workloads(&mut rng.fork(), mix.groups);
    let mut counts = rng.fork();
    let weights: Vec<u64> = workloads
        .iter()
        .map(|workload| sizes::replicas(&plain_requests(&workload.spec), &mut counts))
        .collect();
    let pods = workloads
        .iter()
        .zip(sizes::apportion(&weights, mix.pods))
        .flat_map(|(workload, count)| names.pending(workload, count))
        .collect();
    let mut general = pool("general", &["amd64", "arm64"], mix.capacity_types);
    match mix.machines {
        Machines::Current => {}
        Machines::UpTo16 => {
            general.requirements.push(Requirement::new(
                "karpenter.k8s.aws/instance-cpu",
                Operator::Lt,
                &["17"],
            ));
        }
        Machines::All => general.requirements.retain(|requirement| {
            !["karpenter.k8s.aws/instance-category", "karpenter.k8s.aws/instance-generation"]
                .contains(&requirement.key.as_str())
        }),
    }
    Snapshot {
        node_pools: vec![general],
        node_classes: vec![node_class()],
        daemon_sets: daemon_sets(),
        pods,
        ..Snapshot::default()
    }
}

/// `count` workloads no two of which the planner could treat alike. Shares are exact: decided by position, not by draw.
pub(super) fn workloads(rng: &mut Random, count: usize) -> Vec<Workload> {
    let mut seen = BTreeSet::new();
    let mut made = Vec::with_capacity(count);
    while made.len() < count {
        let index = made.len();
        let mut spec = template(rng);
        constrain(&mut spec, index, rng);
        let same =
            (plain_requests(&spec), &spec.node_selector, &spec.affinity, &spec.tolerations, spec.priority);
        if seen.insert(format!("{same:?}")) {
            made.push(Workload::new(&format!("team-{}", index % 12), &format!("app-{index:03}"), spec));
        }
    }
    made
}

/// A pod template: one in five is taken from a public manifest, the rest is drawn; one in eight has a second container.
fn template(rng: &mut Random) -> PodSpec {
    let mut spec = if rng.chance(20) { from_manifest(rng) } else { PodSpec::default() };
    if spec.containers.is_empty() {
        spec.containers.push(sizes::container(rng));
        if rng.chance(12) {
            spec.containers.push(sizes::container(rng));
        }
    }
    spec.priority = sizes::priority(rng);
    spec
}

/// Requests and init containers of a workload of Online Boutique, kube-prometheus or DeathStarBench.
fn from_manifest(rng: &mut Random) -> PodSpec {
    let names = ["online-boutique", "kube-prometheus", "deathstarbench-hotel-reservation"];
    let set = Manifests::embedded().set(rng.pick::<&str>(&names));
    let usable: Vec<_> = set
        .workloads
        .iter()
        .filter(|workload| workload.kind != "DaemonSet" && workload.has_requests())
        .collect();
    let spec = rng.pick(&usable).spec();
    PodSpec { containers: spec.containers, init_containers: spec.init_containers, ..PodSpec::default() }
}

/// Adds the constraints of the group at `index`: architecture, capacity type, zone, toleration.
fn constrain(spec: &mut PodSpec, index: usize, rng: &mut Random) {
    let mut select = |key: &str, value: &str| spec.node_selector.insert(key.to_owned(), value.to_owned());
    if index % 10 == 3 {
        select(labels::CAPACITY_TYPE, "on-demand");
    }
    if index % 50 == 17 {
        select(labels::ZONE, ["us-east-1a", "us-east-1b", "us-east-1c"][index / 50 % 3]);
    }
    // Of ten groups three run on both architectures; one of these says so, the others just do not mind.
    match index % 10 {
        0 | 1 => {}
        2 => spec.affinity = arch_in(&["amd64", "arm64"]),
        3 | 4 => spec.affinity = arch_in(&["amd64"]),
        _ => {
            select(labels::ARCH, "amd64");
        }
    }
    if rng.chance(5) {
        spec.tolerations.push(toleration("dedicated", "batch"));
    }
}

fn arch_in(arches: &[&str]) -> stowage_models::objects::Affinity {
    node_affinity(vec![vec![Requirement::new(labels::ARCH, Operator::In, arches)]])
}
