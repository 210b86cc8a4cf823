//! The referee's view of an answer: cost, findings, and a bound proven for the pods it places.
//!
//! Two judges sit. The checker judges an answer as a plan for the snapshot without the constraints between pods (spread,
//! affinity among pods, volumes, host ports), which plans do not cover yet: dropping constraints only lowers the bound, so it
//! holds for the real problem too. kube-scheduler's filters then bind every pod where it is meant to go, all constraints
//! included ([`super::realised`]).

use super::realised::stuck;
use super::{Answer, Outcome, Task};
use crate::trial::by_clock;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_models::catalog::Catalog;
use stowage_models::objects::{Pod, PodPhase, PodRef};
use stowage_models::plan::Policy;
use stowage_models::quantity::MEMORY;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Foreign, ForeignLaunch};

/// What the checker found wrong, one entry per kind of finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The checker's code.
    pub code: String,
    /// How often.
    pub count: usize,
    /// The first of them.
    pub example: String,
}

/// A verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Price of the launches by the catalogue. Absent if the answer could not be read as a plan.
    pub cost: Option<UsdMicros>,
    /// No set of launches that places the same pods costs less. Absent if the answer could not be read as a plan.
    pub bound: Option<UsdMicros>,
    /// Pods placed.
    pub placed: usize,
    /// What is wrong with it; empty = the checker accepts it.
    pub findings: Vec<Finding>,
    /// Why nobody can judge it, if so.
    pub unjudged: Option<String>,
}

/// Time for the proof of a bound.
const PROOF_TIME: Duration = Duration::from_secs(20);

/// Judges an answer with slack 0: no peer keeps any.
#[must_use]
pub fn judge(snapshot: &Snapshot, catalog: &Catalog, task: Task, answer: &Answer) -> Verdict {
    if matches!(answer.outcome, Outcome::Failed | Outcome::Skipped) {
        return Verdict { unjudged: Some("there is no answer".to_owned()), ..Verdict::default() };
    }
    let mut given = provisioning(answer);
    if task == Task::Consolidate {
        let counted: BTreeSet<PodRef> =
            snapshot.pods.iter().filter(|pod| is_counted(pod)).map(Pod::id).collect();
        let launched = given.launches.iter_mut().map(|launch| &mut launch.pods);
        let all = launched.chain(given.existing.iter_mut().map(|(_, pods)| pods));
        all.for_each(|pods| pods.retain(|pod| counted.contains(pod)));
    }
    let stuck = match task {
        Task::Provision => stuck(snapshot, catalog, &given),
        Task::Consolidate => stuck(&unbound(snapshot, answer), catalog, &given),
    };
    let emptied;
    let (snapshot, foreign) = match task {
        Task::Provision => (snapshot, given),
        Task::Consolidate => match cluster(snapshot, given) {
            Ok(foreign) => {
                emptied = from_scratch(snapshot, catalog);
                (&emptied, foreign)
            }
            Err(why) => return Verdict { unjudged: Some(why), ..Verdict::default() },
        },
    };
    let policy = Policy { slack: Ppm(0), ..Policy::default() };
    let limits = by_clock(PROOF_TIME, 2);
    let placed = answer.placed();
    let unrelated = match without_relations(snapshot, catalog, &policy, &foreign) {
        Ok(unrelated) => unrelated,
        Err(why) => return Verdict { placed, unjudged: Some(why.to_string()), ..Verdict::default() },
    };
    match stowage_planner::adopt(&unrelated, catalog, &policy, &limits, &foreign) {
        Ok(adopted) => {
            let mut kinds: BTreeMap<&str, Finding> = BTreeMap::new();
            let findings = stowage_checker::check(&unrelated, catalog, &adopted.plan);
            let checked = findings.iter().map(|finding| (finding.code, &finding.message));
            for (code, message) in checked.chain(stuck.iter().map(|(plugin, message)| (*plugin, message))) {
                let kind = kinds.entry(code).or_insert_with(|| Finding {
                    code: code.to_owned(),
                    count: 0,
                    example: message.clone(),
                });
                kind.count += 1;
            }
            Verdict {
                cost: Some(adopted.plan.summary.launch_cost),
                bound: Some(adopted.plan.summary.launch_bound),
                placed,
                findings: kinds.into_values().collect(),
                unjudged: None,
            }
        }
        Err(why) => Verdict { placed, unjudged: Some(why.to_string()), ..Verdict::default() },
    }
}

fn provisioning(answer: &Answer) -> Foreign {
    let launches = answer.launches.iter().map(|launch| ForeignLaunch {
        node_pool: launch.node_pool.clone(),
        instance_type: launch.instance_type.clone(),
        zone: launch.zone.clone(),
        capacity_type: launch.capacity_type.clone(),
        labels: launch.labels.clone(),
        pods: launch.pods.clone(),
    });
    let existing = answer.existing.iter().map(|node| (node.node.clone(), node.pods.clone()));
    Foreign { launches: launches.collect(), existing: existing.collect() }
}

/// Whether consolidation counts this pod: it holds resources, and no DaemonSet or node brings it with itself.
#[must_use]
pub fn is_counted(pod: &Pod) -> bool {
    !pod.is_terminal() && !pod.is_owned_by("DaemonSet") && !pod.is_owned_by("Node")
}

/// The same pods with no nodes at all: what is left of a cluster is judged as if it were launched now, and the bound says
/// what no cluster for these pods can cost less than.
///
/// Nodes report about a per cent more memory than a careful catalogue promises. So that a node that stays may carry what it
/// carries, and the bound holds for it too, memory is promised as generously here as the most generous node shows
/// it; whether a pod really fits its node is for the filters to say ([`unbound`]).
#[must_use]
pub fn from_scratch(snapshot: &Snapshot, catalog: &Catalog) -> Snapshot {
    let mut fresh = snapshot.clone();
    fresh.settings.vm_memory_overhead = shown_overhead(snapshot, catalog);
    fresh.nodes.clear();
    fresh.node_claims.clear();
    fresh.pods.retain(is_counted);
    for pod in &mut fresh.pods {
        pod.node = None;
        pod.phase = PodPhase::Pending;
    }
    fresh
}

/// Steps in which the share of memory a hypervisor is assumed to take is lowered: a tenth of a per cent.
const OVERHEAD_STEP: i64 = 1_000;

/// The largest share of memory the hypervisor may take, not above the snapshot's setting, such that the catalogue promises
/// every node of a known type at least the memory it reports; zero if there is none.
fn shown_overhead(snapshot: &Snapshot, catalog: &Catalog) -> Ppm {
    let mut settings = snapshot.settings.clone();
    for node in &snapshot.nodes {
        let label = |key: &str| node.labels.get(key).map(String::as_str).unwrap_or_default();
        let Some(it) = catalog.get(label(stowage_models::labels::INSTANCE_TYPE)) else { continue };
        let pool = snapshot.node_pools.iter().find(|pool| Some(pool.name.as_str()) == node.nodepool());
        let class =
            snapshot.node_classes.iter().find(|class| pool.is_some_and(|p| p.node_class == class.name));
        let class = class.cloned().unwrap_or_default();
        let shown = node.allocatable.get(MEMORY);
        while settings.vm_memory_overhead.0 > 0 && it.allocatable(&settings, &class).get(MEMORY) < shown {
            settings.vm_memory_overhead = Ppm((settings.vm_memory_overhead.0 - OVERHEAD_STEP).max(0));
        }
    }
    settings.vm_memory_overhead
}

/// The cluster an answer to consolidation leaves, with the counted pods waiting for their places: nodes that stay, as they
/// are, with the pods they bring with themselves.
fn unbound(snapshot: &Snapshot, answer: &Answer) -> Snapshot {
    let mut cluster = snapshot.clone();
    let stays: BTreeSet<&str> = answer.existing.iter().map(|node| node.node.as_str()).collect();
    cluster.nodes.retain(|node| stays.contains(node.name.as_str()));
    cluster.pods.retain(|pod| !pod.is_terminal());
    for pod in cluster.pods.iter_mut().filter(|pod| is_counted(pod)) {
        pod.node = None;
        pod.phase = PodPhase::Pending;
    }
    cluster
}

/// The snapshot without what relates pods to each other or to volumes. Pods that are not placed and that plans do not cover
/// for such a reason are gone: nobody can say whether there was room for them.
fn without_relations(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    foreign: &Foreign,
) -> Result<Snapshot, stowage_planner::PlanError> {
    let launched = foreign.launches.iter().flat_map(|launch| &launch.pods);
    let placed: BTreeSet<&PodRef> =
        launched.chain(foreign.existing.iter().flat_map(|(_, pods)| pods)).collect();
    let unsupported = stowage_planner::numbers(snapshot, catalog, policy)?.unsupported;
    let gone: BTreeSet<&PodRef> =
        unsupported.iter().map(|(pod, _)| pod).filter(|pod| !placed.contains(pod)).collect();
    let mut unrelated = snapshot.clone();
    unrelated.pods.retain(|pod| !gone.contains(&pod.id()));
    for pod in &mut unrelated.pods {
        let spec = &mut *pod.spec;
        spec.topology_spread.clear();
        spec.volumes.clear();
        for terms in [&mut spec.affinity.pod_required, &mut spec.affinity.anti_required] {
            terms.clear();
        }
        spec.containers.iter_mut().chain(&mut spec.init_containers).for_each(|c| c.host_ports.clear());
    }
    Ok(unrelated)
}

/// A consolidated cluster as launches: the nodes that remain and those that were added.
fn cluster(snapshot: &Snapshot, mut foreign: Foreign) -> Result<Foreign, String> {
    for (name, pods) in std::mem::take(&mut foreign.existing) {
        let node = snapshot.nodes.iter().find(|node| node.name == name);
        let node = node.ok_or_else(|| format!("node {name} is not in the snapshot"))?;
        let label = |key: &str| node.labels.get(key).cloned().unwrap_or_default();
        foreign.launches.push(ForeignLaunch {
            node_pool: label(stowage_models::labels::NODEPOOL),
            instance_type: label(stowage_models::labels::INSTANCE_TYPE),
            zone: label(stowage_models::labels::ZONE),
            capacity_type: label(stowage_models::labels::CAPACITY_TYPE),
            labels: node.labels.clone(),
            pods,
        });
    }
    Ok(foreign)
}
