//! Removals of a plan: wave by wave, as they are carried out and as people read them.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stowage_api::Action;
use stowage_models::consolidation::{Consolidation, NodeReason};
use stowage_models::labels;
use stowage_models::objects::{Node, PodRef};
use stowage_models::plan::{Launch, Plan};
use stowage_models::units::UsdMicros;

/// What may be done at once, after all waves before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// Slots to launch.
    pub launches: Vec<String>,
    /// Nodes to remove.
    pub removals: Vec<Leaving>,
}

/// A node that goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaving {
    /// Node.
    pub node: String,
    /// The node's uid.
    pub uid: String,
    /// Its NodeClaim.
    pub claim: String,
    /// Why it goes.
    pub reason: NodeReason,
    /// It goes whatever stands against it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// When its machine ends by itself (RFC 3339), if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
    /// Price per hour; zero if it is not known.
    pub price: UsdMicros,
    /// Its pods, sorted.
    pub pods: Vec<Mover>,
}

/// A pod of a node that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mover {
    /// The pod.
    pub pod: PodRef,
    /// Its uid: another is another pod.
    pub uid: String,
    /// Where its successor is to run; nowhere if the plan has no place for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
}

/// Where a pod is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A node that is there.
    Node(String),
    /// A launch of the plan.
    Slot(String),
    /// The node of a NodeClaim that was launched before.
    Claim(String),
}

impl Target {
    /// For people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Target::Node(name) | Target::Slot(name) | Target::Claim(name) => name,
        }
    }
}

/// What a plan names, as it is in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Uids and nodes of pods that are on nodes.
    pub pods: BTreeMap<PodRef, (String, String)>,
    /// Uids and NodeClaims of nodes, by node.
    pub claims: BTreeMap<String, (String, String)>,
    /// NodeClaims of machines that have no node yet.
    pub starting: BTreeSet<String>,
}

/// Micro-dollars per hour of a node at most: a million dollars.
const PRICE_MAX: i64 = 1_000_000_000_000;

/// The name of the action that removes a node.
#[must_use]
pub fn action(node: &str) -> String {
    format!("remove/{node}")
}

/// The consolidation of a plan that removes nodes.
pub(crate) fn of(plan: &Plan) -> Option<&Consolidation> {
    plan.consolidation.as_ref().filter(|one| !one.waves.is_empty())
}

/// The waves of a plan with everything they need; none if it removes nothing. `nodes` are those that were planned with.
///
/// # Errors
/// What the plan names and is not there.
pub fn waves(plan: &Plan, nodes: &[Node], known: &Known) -> Result<Vec<Wave>, String> {
    let Some(consolidation) = of(plan) else { return Ok(Vec::new()) };
    let slots: BTreeSet<&str> = plan.launches.iter().map(|launch| launch.slot.as_str()).collect();
    let target = |to: &String| match to {
        to if slots.contains(to.as_str()) => Target::Slot(to.clone()),
        to if known.starting.contains(to) => Target::Claim(to.clone()),
        to => Target::Node(to.clone()),
    };
    let from: BTreeMap<&PodRef, &String> =
        consolidation.moves.iter().map(|one| (&one.pod, &one.from)).collect();
    let to: BTreeMap<&PodRef, &String> = consolidation.moves.iter().map(|one| (&one.pod, &one.to)).collect();
    let mut movers: BTreeMap<&str, Vec<Mover>> = BTreeMap::new();
    // Those that are left out leave, too.
    let evicted: BTreeSet<&PodRef> = consolidation.waves.iter().flat_map(|wave| &wave.evictions).collect();
    for pod in evicted {
        let (uid, node) = known.pods.get(pod).ok_or_else(|| format!("pod {pod} is gone, or on no node"))?;
        if from.get(pod).is_some_and(|from| *from != node) {
            return Err(format!("pod {pod} is on node {node} by now"));
        }
        let mover = Mover { pod: pod.clone(), uid: uid.clone(), to: to.get(pod).map(|to| target(to)) };
        movers.entry(node).or_default().push(mover);
    }
    let by_name: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let decided: BTreeMap<&str, _> = consolidation.nodes.iter().map(|one| (one.node.as_str(), one)).collect();
    let mut leaving = |name: &String| -> Result<Leaving, String> {
        let one =
            decided.get(name.as_str()).ok_or_else(|| format!("node {name} is removed and not decided on"))?;
        let node = by_name.get(name.as_str()).ok_or_else(|| format!("node {name} is gone"))?;
        let (uid, claim) = known.claims.get(name).ok_or_else(|| format!("node {name} has no NodeClaim"))?;
        let label = |key: &str| node.labels.get(key).cloned().unwrap_or_default();
        let departure = one.departure.as_ref();
        // Only what is taken away ends by itself; what has expired is ours to end.
        let taken = departure.filter(|_| one.reason == NodeReason::Interrupted);
        Ok(Leaving {
            node: name.clone(),
            uid: uid.clone(),
            claim: claim.clone(),
            reason: one.reason,
            forced: departure.is_some_and(|one| one.forced),
            deadline: taken.and_then(|one| one.deadline.clone()),
            node_pool: label(labels::NODEPOOL),
            instance_type: label(labels::INSTANCE_TYPE),
            zone: label(labels::ZONE),
            capacity_type: label(labels::CAPACITY_TYPE),
            price: UsdMicros(one.price.unwrap_or_default().0.max(0)),
            pods: movers.remove(name.as_str()).unwrap_or_default(),
        })
    };
    let mut waves = Vec::new();
    for wave in &consolidation.waves {
        let removals: Result<Vec<Leaving>, String> = wave.removals.iter().map(&mut leaving).collect();
        waves.push(Wave { launches: wave.launches.clone(), removals: removals? });
    }
    match movers.into_iter().next() {
        Some((node, _)) => Err(format!("pods leave node {node}, which the plan does not remove")),
        None => Ok(waves),
    }
}

/// Actions in the order of waves, launches before removals; those of the launches are given.
pub(crate) fn actions(mut actions: Vec<Action>, waves: &[Wave]) -> Vec<Action> {
    let mut numbers: BTreeMap<String, i32> = BTreeMap::new();
    for (index, wave) in waves.iter().enumerate() {
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        numbers.extend(wave.launches.iter().map(|slot| (format!("launch/{slot}"), number)));
        numbers.extend(wave.removals.iter().map(|one| (action(&one.node), number)));
    }
    actions.extend(waves.iter().flat_map(|wave| &wave.removals).map(|one| Action {
        id: action(&one.node),
        kind: "Remove".to_owned(),
        node_pool: one.node_pool.clone(),
        instance_type: one.instance_type.clone(),
        zone: one.zone.clone(),
        capacity_type: one.capacity_type.clone(),
        price_micros: one.price.0,
        pods: one.pods.iter().map(|pod| pod.pod.0.clone()).collect(),
        node: Some(one.node.clone()),
        reason: Some(format!("{:?}", one.reason)),
        ..Action::default()
    }));
    for action in &mut actions {
        action.wave = numbers.get(&action.id).copied();
    }
    // Stable: launches come before removals.
    actions.sort_by_key(|action| action.wave);
    actions
}

/// What is wrong with waves by themselves: each launch and each node is in one of them, and pods go where something is.
pub(crate) fn wrong(waves: &[Wave], launches: &[Launch], uids: &BTreeMap<PodRef, String>) -> Option<String> {
    if waves.is_empty() {
        return None;
    }
    let slots: BTreeSet<&str> = launches.iter().map(|launch| launch.slot.as_str()).collect();
    let (mut launched, mut removed, mut moved) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for wave in waves {
        if let Some(slot) = wave
            .launches
            .iter()
            .find(|slot| !slots.contains(slot.as_str()) || !launched.insert(slot.as_str()))
        {
            return Some(format!("wave of launch {slot}, which there is not, or twice"));
        }
        for one in &wave.removals {
            let priced = (0..=PRICE_MAX).contains(&one.price.0);
            if !removed.insert(&one.node) || one.uid.is_empty() || one.claim.is_empty() || !priced {
                return Some(format!("it does not say which node {} is, or removes it twice", one.node));
            }
            if !one.reason.is_removal() {
                return Some(format!("node {} has no reason to go", one.node));
            }
            for pod in &one.pods {
                let uid = uids.get(&pod.pod);
                if !moved.insert(&pod.pod) || pod.uid.is_empty() || uid.is_some_and(|uid| *uid != pod.uid) {
                    return Some(format!("it does not say which pod {} is, or moves it twice", pod.pod));
                }
                if let Some(Target::Slot(slot)) = &pod.to
                    && !launched.contains(slot.as_str())
                {
                    return Some(format!("pod {} moves to {slot}, which is not launched by then", pod.pod));
                }
            }
        }
    }
    let late = launches.iter().find(|launch| !launched.contains(launch.slot.as_str()));
    if removed.is_empty() {
        return Some("it has waves and removes nothing".to_owned());
    }
    late.map(|launch| format!("launch {} is in no wave", launch.slot))
}

/// Price per hour of the nodes that go.
pub(crate) fn saved(waves: &[Wave]) -> i64 {
    let prices = waves.iter().flat_map(|wave| &wave.removals).map(|one| one.price.0);
    prices.fold(0, i64::saturating_add)
}

/// How many nodes go.
pub(crate) fn count(waves: &[Wave]) -> usize {
    waves.iter().map(|wave| wave.removals.len()).sum()
}
