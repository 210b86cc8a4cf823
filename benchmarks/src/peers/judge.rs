//! The referee's view of an answer: cost, findings, and a bound proven for the pods it places.
//!
//! Two judges sit. The checker judges an answer as a plan for the snapshot without the constraints between pods (spread,
//! affinity among pods, volumes, host ports), which plans do not cover yet: dropping constraints only lowers the bound, so it
//! holds for the real problem too. kube-scheduler's filters then bind every pod where it is meant to go, all constraints
//! included ([`super::realised`]).

use super::realised::stuck;
use super::{Answer, Outcome, Task};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::objects::{PodPhase, PodRef};
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Foreign, ForeignLaunch, Limits};

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
    let emptied;
    let (snapshot, foreign) = match task {
        Task::Provision => (snapshot, provisioning(answer)),
        Task::Consolidate => match cluster(snapshot, answer) {
            Ok(foreign) => {
                emptied = from_scratch(snapshot);
                (&emptied, foreign)
            }
            Err(why) => return Verdict { unjudged: Some(why), ..Verdict::default() },
        },
    };
    let policy = Policy { slack: Ppm(0), ..Policy::default() };
    let start = Instant::now();
    let limits =
        Limits { time: PROOF_TIME, threads: 2, clock: Arc::new(move || start.elapsed()), cancel: None };
    let placed = answer.placed();
    let unrelated = match without_relations(snapshot, catalog, &policy, &foreign) {
        Ok(unrelated) => unrelated,
        Err(why) => return Verdict { placed, unjudged: Some(why.to_string()), ..Verdict::default() },
    };
    match stowage_planner::adopt(&unrelated, catalog, &policy, &limits, &foreign) {
        Ok(adopted) => {
            let mut kinds: BTreeMap<&str, Finding> = BTreeMap::new();
            let findings = stowage_checker::check(&unrelated, catalog, &adopted.plan);
            let stuck = stuck(snapshot, catalog, &foreign);
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

/// The same pods with no nodes at all: what is left of a cluster is judged as if it were launched now, and the bound says
/// what no cluster for these pods can cost less than.
#[must_use]
pub fn from_scratch(snapshot: &Snapshot) -> Snapshot {
    let mut fresh = snapshot.clone();
    fresh.nodes.clear();
    fresh.node_claims.clear();
    fresh.pods.retain(|pod| !pod.is_terminal() && !pod.is_owned_by("DaemonSet") && !pod.is_owned_by("Node"));
    for pod in &mut fresh.pods {
        pod.node = None;
        pod.phase = PodPhase::Pending;
    }
    fresh
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
        let spec = &mut pod.spec;
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
fn cluster(snapshot: &Snapshot, answer: &Answer) -> Result<Foreign, String> {
    let mut foreign = provisioning(answer);
    let waiting: std::collections::BTreeSet<_> =
        from_scratch(snapshot).pods.iter().map(stowage_models::objects::Pod::id).collect();
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
    for launch in &mut foreign.launches {
        launch.pods.retain(|pod| waiting.contains(pod));
    }
    Ok(foreign)
}
