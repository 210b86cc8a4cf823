//! The referee's view of an answer: cost, findings, and a bound proven for the pods it places.

use super::{Answer, Outcome, Task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodPhase;
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
    match stowage_planner::adopt(snapshot, catalog, &policy, &limits, &foreign) {
        Ok(adopted) => {
            let mut kinds: BTreeMap<&str, Finding> = BTreeMap::new();
            let findings = stowage_checker::check(snapshot, catalog, &adopted.plan);
            for finding in &findings {
                let kind = kinds.entry(finding.code).or_insert_with(|| Finding {
                    code: finding.code.to_owned(),
                    count: 0,
                    example: finding.message.clone(),
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
