//! Carrying a plan out, as `docs/realisation.md` says: slot taints, tolerations, and direct binding where a pod's own
//! constraints look at taints.

use crate::stage::{PAUSE, Stage};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{Node, NodePool, Pod, PodPhase, Taint, TaintEffect};
use stowage_models::plan::{Launch, Plan};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// The key of the taint that keeps a planned node for its pods.
const PLACING: &str = "stowage.dev/placing";
/// Without any change for so long, nothing will change any more: the scheduler tries rejected pods again after 10 s at most.
const QUIET: Duration = Duration::from_secs(14);

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Pods the plan places.
    pub planned: usize,
    /// On their planned node.
    pub there: usize,
    /// On another.
    pub elsewhere: usize,
    /// On none.
    pub unbound: usize,
    /// Nodes of the plan.
    pub nodes: usize,
    /// More nodes that the unbound ones need, of the plan's largest type, by cpu and memory alone.
    pub extra: usize,
    /// From the first patch, or the first node, to the last pod bound.
    pub time: Duration,
    /// Pods that are not on their node, with where they are.
    pub wrong: Vec<String>,
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nodes are launched, and the scheduler does what it likes.
    Unsteered,
    /// As documented.
    Steered,
}

/// The snapshot in which what the scheduler finds a place for at once runs there. The cluster is there afterwards.
///
/// # Errors
/// If the API server refuses something.
pub async fn settle(stage: &Stage, snapshot: &Snapshot) -> Result<Snapshot> {
    stage.create(snapshot).await?;
    let space = &snapshot.namespaces[0].name;
    let decided = |pods: &BTreeMap<String, crate::stage::Seen>| {
        pods.values().all(|pod| pod.node.is_some() || pod.refused)
    };
    stage.settle(space, QUIET, decided).await?;
    // Pods that wait for others have had their chance when nothing moves for a while.
    let seen = stage.settle(space, Duration::from_secs(3), |_| false).await?;
    let mut settled = snapshot.clone();
    for pod in settled.pods.iter_mut().filter(|pod| pod.node.is_none()) {
        pod.node = seen.get(&pod.name).and_then(|seen| seen.node.clone());
        if pod.node.is_some() {
            pod.phase = PodPhase::Running;
        }
    }
    Ok(settled)
}

/// Carries out a plan for a settled snapshot, and clears the stage.
///
/// # Errors
/// If the API server refuses something.
pub async fn carry(stage: &Stage, snapshot: &Snapshot, plan: &Plan, way: Way) -> Result<Outcome> {
    let space = &snapshot.namespaces[0].name;
    let mut target: BTreeMap<String, String> = BTreeMap::new();
    let mut slots: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let short =
        |pod: &stowage_models::objects::PodRef| pod.0.rsplit('/').next().unwrap_or_default().to_owned();
    for launch in &plan.launches {
        let node = node_name(space, launch);
        for pod in &launch.pods {
            target.insert(short(pod), node.clone());
            slots.entry(node.clone()).or_default().insert(short(pod));
        }
    }
    for existing in &plan.existing {
        target.extend(existing.pods.iter().map(|pod| (short(pod), existing.name.clone())));
    }
    let nodes: Vec<Node> =
        plan.launches.iter().map(|launch| planned_node(snapshot, launch, way)).collect::<Result<_>>()?;
    let rooms: BTreeMap<String, Resources> =
        nodes.iter().map(|node| (node.name.clone(), node.allocatable.clone())).collect();
    let nodes = Snapshot { nodes, ..Snapshot::default() };
    let waiting: BTreeMap<&str, &Pod> = snapshot.pods.iter().map(|pod| (pod.name.as_str(), pod)).collect();
    let start = Instant::now();
    if way == Way::Steered {
        tolerate(stage, space, &slots).await?;
    }
    let pause = if way == Way::Steered { Duration::from_millis(50) } else { Duration::ZERO };
    stage.add_nodes(&nodes, pause).await?;
    if way == Way::Steered {
        bind(stage, space, &waiting, &slots).await?;
    }
    let mut last = Instant::now();
    let mut bound = 0;
    let seen = loop {
        let seen = stage.pods(space).await?;
        let now = target.keys().filter(|pod| seen.get(*pod).is_some_and(|pod| pod.node.is_some())).count();
        if now > bound {
            (bound, last) = (now, Instant::now());
        }
        if way == Way::Steered {
            let is_bound = |pod: &str| seen.get(pod).is_some_and(|pod| pod.node.is_some());
            let outside: Vec<Resources> = target
                .keys()
                .filter(|pod| !is_bound(pod))
                .filter_map(|pod| waiting.get(pod.as_str()))
                .map(|pod| request(pod))
                .collect();
            let done: Vec<String> = slots
                .iter()
                .filter(|(node, pods)| {
                    pods.iter().all(|pod| is_bound(pod)) && {
                        let mut room = rooms.get(*node).cloned().unwrap_or_default();
                        pods.iter()
                            .filter_map(|pod| waiting.get(pod.as_str()))
                            .for_each(|pod| room.sub(&request(pod)));
                        !outside.iter().any(|request| request.fits(&room))
                    }
                })
                .map(|(node, _)| node.clone())
                .collect();
            for node in done {
                slots.remove(&node);
                open(stage, snapshot, &node).await?;
            }
        }
        if bound == target.len() || last.elapsed() > QUIET {
            break seen;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut outcome = Outcome {
        planned: target.len(),
        nodes: plan.launches.len(),
        time: last - start,
        ..Outcome::default()
    };
    let mut left = Vec::new();
    for (pod, node) in &target {
        match seen.get(pod).and_then(|seen| seen.node.as_ref()) {
            Some(at) if at == node => outcome.there += 1,
            Some(at) => {
                outcome.elsewhere += 1;
                outcome.wrong.push(format!("{pod} is on {at}, planned on {node}"));
            }
            None => {
                outcome.unbound += 1;
                let why = seen.get(pod).map(|seen| seen.why.as_str()).unwrap_or_default();
                outcome.wrong.push(format!("{pod} is on no node, planned on {node}: {why}"));
                left.extend(snapshot.pods.iter().find(|one| one.name == *pod));
            }
        }
    }
    outcome.extra = extra(plan, &left);
    stage.clear(space).await?;
    Ok(outcome)
}

fn node_name(space: &str, launch: &Launch) -> String {
    format!("{space}-{}", launch.slot)
}

/// The node a launch becomes.
fn planned_node(snapshot: &Snapshot, launch: &Launch, way: Way) -> Result<Node> {
    let catalog = Catalog::embedded();
    let instance = catalog.get(&launch.instance_type).context("the type is of the catalogue")?;
    let pool: &NodePool =
        snapshot.node_pools.iter().find(|pool| pool.name == launch.node_pool).context("the pool exists")?;
    let zone =
        instance.zones.iter().find(|zone| zone.zone == launch.zone).context("the type is offered there")?;
    let name = node_name(&snapshot.namespaces[0].name, launch);
    let own = [
        (labels::HOSTNAME, name.as_str()),
        (labels::ZONE, &launch.zone),
        (labels::ZONE_ID, &zone.zone_id),
        (labels::REGION, &catalog.region),
        (labels::CAPACITY_TYPE, &launch.capacity_type),
        (labels::NODEPOOL, &launch.node_pool),
        (labels::REGISTERED, "true"),
        (labels::INITIALIZED, "true"),
        (labels::EC2_NODE_CLASS, &pool.node_class),
    ];
    let mut set: Labels = launch.labels.clone();
    set.extend(pool.labels.clone());
    set.extend(instance.labels());
    set.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut taints = pool.taints.clone();
    if way == Way::Steered {
        let (key, value) = (PLACING.to_owned(), launch.slot.clone());
        taints.push(Taint { key, value, effect: TaintEffect::NoSchedule });
    }
    Ok(Node {
        labels: set,
        taints,
        capacity: launch.allocatable.clone(),
        allocatable: launch.allocatable.clone(),
        ready: true,
        name,
        ..Node::default()
    })
}

/// Patches onto every planned pod the toleration of its slot, guarded by its uid.
async fn tolerate(stage: &Stage, space: &str, slots: &BTreeMap<String, BTreeSet<String>>) -> Result<()> {
    let seen = stage.pods(space).await?;
    for (node, pods) in slots {
        let slot = node.strip_prefix(&format!("{space}-")).unwrap_or(node);
        let toleration = json!({"key": PLACING, "operator": "Equal", "value": slot, "effect": "NoSchedule"});
        for pod in pods {
            let pod_seen = seen.get(pod).with_context(|| format!("pod {pod} is there"))?;
            let add = if pod_seen.tolerates {
                json!({"op": "add", "path": "/spec/tolerations/-", "value": toleration})
            } else {
                json!({"op": "add", "path": "/spec/tolerations", "value": [toleration]})
            };
            let patch = json!([{"op": "test", "path": "/metadata/uid", "value": pod_seen.uid}, add]);
            let path = format!("/api/v1/namespaces/{space}/pods/{pod}");
            let kind = "application/json-patch+json";
            stage.request(http::Method::PATCH, &path, kind, patch.to_string()).await?;
        }
    }
    Ok(())
}

/// What a pod takes on a node.
fn request(pod: &Pod) -> Resources {
    let mut request = stowage_checker::effective_request(&pod.spec);
    request.set(PODS, 1);
    request
}

/// Binds, while its node is kept for it, every pod with a spread constraint that does not count nodes it does not tolerate: the
/// scheduler would not count the nodes of other slots.
async fn bind(
    stage: &Stage,
    space: &str,
    waiting: &BTreeMap<&str, &Pod>,
    slots: &BTreeMap<String, BTreeSet<String>>,
) -> Result<()> {
    let seen = stage.pods(space).await?;
    for (node, pod) in slots.iter().flat_map(|(node, pods)| pods.iter().map(move |pod| (node, pod))) {
        let spec = waiting.get(pod.as_str()).map(|pod| &pod.spec);
        let looks_at_taints =
            spec.is_some_and(|spec| spec.topology_spread.iter().any(|one| one.hard && one.honor_taints));
        let Some(seen) = seen.get(pod).filter(|seen| seen.node.is_none()) else { continue };
        if looks_at_taints {
            let binding = json!({
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": pod, "namespace": space, "uid": seen.uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            });
            stage.bind(space, pod, &binding).await?;
        }
    }
    Ok(())
}

/// Takes the slot taint off a node: its own entry and no other.
async fn open(stage: &Stage, snapshot: &Snapshot, node: &str) -> Result<()> {
    // Nobody else changes taints here, and the slot taint is the last of the list; a controller compares resourceVersions.
    let at: usize = snapshot.node_pools.iter().map(|pool| pool.taints.len()).sum();
    let place = format!("/spec/taints/{at}");
    let patch = json!([
        {"op": "test", "path": format!("{place}/key"), "value": PLACING},
        {"op": "remove", "path": place},
    ]);
    let kind = "application/json-patch+json";
    let path = format!("/api/v1/nodes/{node}");
    stage.request(http::Method::PATCH, &path, kind, patch.to_string()).await.map(drop)
}

/// Nodes of the plan's largest type that unbound pods would need, first fit by falling cpu.
fn extra(plan: &Plan, left: &[&Pod]) -> usize {
    let largest = plan.launches.iter().map(|launch| &launch.allocatable).max_by_key(|all| all.get(CPU));
    let Some(largest) = largest else { return left.len() };
    let mut needs: Vec<(i64, i64)> = left
        .iter()
        .map(|pod| stowage_checker::effective_request(&pod.spec))
        .map(|request| (request.get(CPU), request.get(MEMORY)))
        .collect();
    needs.sort_unstable_by(|one, other| other.cmp(one));
    let mut nodes: Vec<(i64, i64)> = Vec::new();
    for (cpu, memory) in needs {
        match nodes.iter_mut().find(|node| node.0 >= cpu && node.1 >= memory) {
            Some(node) => *node = (node.0 - cpu, node.1 - memory),
            None => nodes.push((largest.get(CPU) - cpu, largest.get(MEMORY) - memory)),
        }
    }
    nodes.len()
}

/// One seed, start to end: settles the cluster, plans with this slack, carries the plan out.
///
/// # Errors
/// If the API server refuses something, or the checker the plan.
pub async fn realise(stage: &Stage, snapshot: &Snapshot, slack: Ppm, way: Way) -> Result<Outcome> {
    let settled = settle(stage, snapshot).await?;
    let plan = match crate::plan(&settled, slack) {
        Ok(plan) => plan,
        Err(why) => {
            stage.clear(&snapshot.namespaces[0].name).await?;
            return Err(why);
        }
    };
    let outcome = carry(stage, &settled, &plan, way).await?;
    ensure!(outcome.there + outcome.elsewhere + outcome.unbound == outcome.planned, "a pod is lost");
    Ok(outcome)
}
