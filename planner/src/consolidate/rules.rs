//! Which nodes may be removed at all, and what keeps the others (`docs/formulation.md` section 5.1).

use super::budgets::{Allowances, Ledger};
use super::departures::{Leaving, departures};
use crate::extract::capacity_type;
use crate::overlays::Overlays;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason, WEIGHT_ONE};
use stowage_models::departure::{Departure, DepartureReason};
use stowage_models::labels;
use stowage_models::objects::{Node, NodeClaim, NodePool, Pod, PodAffinityTerm, PodRef, PodVolume};
use stowage_models::schedule::{duration, instant};
use stowage_models::selector::LabelSelector;
use stowage_models::snapshot::Snapshot;

/// The annotation ReplicaSets rank their pods by.
const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What the rules say of one node.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// What keeps it; `None`: it may be removed.
    pub(crate) kept: Option<Kept>,
    /// Price, if the catalogue knows it, micro-dollars per hour.
    pub(crate) price: Option<i64>,
    /// Pods that have to move if it goes: indices into the snapshot's pods, ascending.
    pub(crate) moving: Vec<u32>,
    /// Index of its NodePool, if it is managed.
    pub(crate) pool: Option<usize>,
    /// Whether it has to go.
    pub(super) leaving: Leaving,
    /// Where its pods may go depends on where others are.
    pub(super) tied: bool,
}

impl Verdict {
    /// Why it would be removed.
    pub(crate) fn removal(&self) -> NodeReason {
        match &self.leaving.departure {
            Some(departure) => departure.reason.into(),
            None if self.moving.is_empty() => NodeReason::Empty,
            None => NodeReason::Underutilized,
        }
    }

    /// That it has to go, whether or not it does.
    pub(super) fn departure(&self) -> Option<&Departure> {
        self.leaving.departure.as_ref()
    }

    /// Whether it has to go, and does.
    pub(super) fn departs(&self) -> bool {
        self.kept.is_none() && self.leaving.departure.is_some()
    }

    /// Whether it goes whatever stands against it.
    pub(super) fn is_forced(&self) -> bool {
        self.kept.is_none() && self.departure().is_some_and(|departure| departure.forced)
    }

    /// Sorts what goes: forced first, then what has to go, each by reason and deadline, then what goes for its cost.
    pub(super) fn urgency(&self) -> (u8, Option<DepartureReason>, bool, Option<i64>) {
        let Some(departure) = self.departure() else { return (2, None, true, None) };
        let deadline = departure.deadline.as_deref().and_then(instant);
        (u8::from(!departure.forced), Some(departure.reason), deadline.is_none(), deadline)
    }

    /// Whether it may go, or stay, as is cheaper.
    pub(super) fn is_free(&self) -> bool {
        self.kept.is_none() && self.leaving.departure.is_none()
    }
}

/// Why a node stays.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) reason: NodeReason,
    pub(crate) pod: Option<PodRef>,
    pub(crate) budget: Option<String>,
    pub(crate) message: String,
}

impl Kept {
    pub(super) fn new(reason: NodeReason, message: impl Into<String>) -> Kept {
        Kept { reason, pod: None, budget: None, message: message.into() }
    }
}

/// Eviction cost of a pod over [`WEIGHT_ONE`] at a time, if that is known.
pub(crate) fn pod_weight(policy: &ConsolidationPolicy, now: Option<i64>, pod: &Pod) -> i64 {
    let cost = pod.annotations.get(POD_DELETION_COST).and_then(|text| text.parse().ok());
    let created = pod.created.as_deref().and_then(instant);
    let age = now.zip(created).map(|(now, created)| now.saturating_sub(created));
    policy.weight(cost.unwrap_or(0), pod.spec.priority, age, pod.restarts)
}

/// Whether `karpenter.sh/do-not-disrupt` holds: `true`, or a duration since creation that has not passed (or cannot be told).
fn do_not_disrupt(value: Option<&String>, created: Option<&String>, now: Option<i64>) -> Option<String> {
    let value = value?;
    let holds = match duration(value) {
        Some(seconds) => match (created.and_then(|text| instant(text)), now) {
            (Some(created), Some(now)) => now < created.saturating_add(seconds),
            _ => true,
        },
        None => value == "true",
    };
    holds.then(|| format!("{}: {value}", labels::DO_NOT_DISRUPT))
}

/// Everything the rules look at, indexed.
struct Facts<'a> {
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
    overlays: Overlays<'a>,
    policy: &'a ConsolidationPolicy,
    now: Option<i64>,
    /// Pods that have not ended, by node.
    pods: BTreeMap<&'a str, Vec<u32>>,
    claims: BTreeMap<&'a str, &'a NodeClaim>,
    nominated: BTreeMap<&'a str, PodRef>,
    ties: Ties<'a>,
    allowances: Allowances<'a>,
}

/// What the rules say of every node, in the snapshot's order; and the budgets, in which nodes that go by force are not away yet.
pub(crate) fn assess(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &ConsolidationPolicy,
) -> (Vec<Verdict>, Ledger) {
    let mut pods: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut nominated = BTreeMap::new();
    for (index, pod) in snapshot.pods.iter().enumerate().filter(|(_, pod)| !pod.is_terminal()) {
        if let Some(node) = pod.node.as_deref() {
            pods.entry(node).or_default().push(u32::try_from(index).unwrap_or(u32::MAX));
        } else if let Some(node) = pod.nominated_node.as_deref() {
            nominated.entry(node).or_insert_with(|| pod.id());
        }
    }
    let facts = Facts {
        snapshot,
        catalog,
        overlays: Overlays::new(snapshot, catalog),
        policy,
        now: snapshot.taken_at.as_deref().and_then(instant),
        pods,
        claims: snapshot
            .node_claims
            .iter()
            .filter_map(|claim| claim.node.as_deref().map(|node| (node, claim)))
            .collect(),
        nominated,
        ties: Ties::new(snapshot),
        allowances: Allowances::new(snapshot, policy.ignore_pdbs),
    };
    let leaving = departures(snapshot, policy);
    let nodes = snapshot.nodes.iter().zip(leaving);
    let mut verdicts: Vec<Verdict> = nodes.map(|(node, leaving)| facts.verdict(node, leaving)).collect();
    facts.balance(&mut verdicts);
    let nodes = snapshot.nodes.iter().zip(&verdicts);
    let forced = nodes.filter(|(_, verdict)| verdict.is_forced()).map(|(node, _)| node.name.as_str());
    let ledger = Ledger::new(snapshot, policy, &forced.collect());
    for (node, verdict) in snapshot.nodes.iter().zip(&mut verdicts) {
        if verdict.kept.is_none() && !verdict.is_forced() {
            verdict.kept = facts.blocked(node, verdict, &ledger);
        }
    }
    (verdicts, ledger)
}

impl<'a> Facts<'a> {
    fn on(&self, node: &Node) -> impl Iterator<Item = (u32, &'a Pod)> {
        let list = self.pods.get(node.name.as_str()).map_or(&[][..], Vec::as_slice);
        list.iter().map(|index| (*index, &self.snapshot.pods[*index as usize]))
    }

    fn verdict(&self, node: &Node, leaving: Leaving) -> Verdict {
        let pool =
            node.nodepool().and_then(|name| self.snapshot.node_pools.iter().position(|p| p.name == name));
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let price = label(labels::INSTANCE_TYPE)
            .and_then(|name| self.catalog.get(name))
            .and_then(|kind| kind.price(label(labels::ZONE)?, &capacity_type(node)?))
            .map(|list| self.overlays.node_price(node, list).usd.0);
        let moving: Vec<u32> = self.on(node).filter(|(_, pod)| moves(pod)).map(|(index, _)| index).collect();
        let tied = moving.iter().any(|pod| self.ties.bind(&self.snapshot.pods[*pod as usize]));
        let mut verdict = Verdict { kept: None, price, moving, pool, leaving, tied };
        verdict.kept = self.node_rules(node, &verdict);
        verdict
    }

    /// The rules about the node itself.
    fn node_rules(&self, node: &Node, verdict: &Verdict) -> Option<Kept> {
        let claim = self.claims.get(node.name.as_str());
        let Some(pool) = verdict.pool.map(|pool| &self.snapshot.node_pools[pool]) else {
            return Some(Kept::new(NodeReason::Unmanaged, "no NodePool of the snapshot manages it"));
        };
        if pool.replicas.is_some() {
            return Some(Kept::new(
                NodeReason::Unmanaged,
                format!("NodePool {} is static (replicas)", pool.name),
            ));
        }
        if claim.is_none() && !self.snapshot.node_claims.is_empty() {
            return Some(Kept::new(NodeReason::Unmanaged, "it has no NodeClaim"));
        }
        if !self.policy.node_pools.is_empty() && !self.policy.node_pools.contains(&pool.name) {
            return Some(Kept::new(NodeReason::OutOfScope, "the policy is about other NodePools"));
        }
        let leaves = verdict.departure();
        let not_ready = match leaving_already(node, claim.copied()) {
            None if leaves.is_some_and(|departure| departure.forced) => return None,
            None if verdict.leaving.blocked => {
                let message = "it is unhealthy, but so many nodes are that replacing them would not help";
                return Some(Kept::new(NodeReason::RepairBlocked, message));
            }
            None => not_ready(node, claim.copied()),
            already => already,
        };
        if let Some(why) = not_ready {
            return Some(Kept::new(NodeReason::NotReady, why));
        }
        let mark = node.annotations.get(labels::DO_NOT_DISRUPT);
        if let Some(why) = do_not_disrupt(mark, node.created.as_ref(), self.now) {
            return Some(Kept::new(NodeReason::DoNotDisrupt, why));
        }
        if let Some(pod) = self.nominated.get(node.name.as_str()) {
            let message = format!("pod {pod} is nominated to it");
            return Some(Kept { pod: Some(pod.clone()), ..Kept::new(NodeReason::Nominated, message) });
        }
        if leaves.is_some() {
            // The other rules are about what is worth its cost.
            return None;
        }
        self.worth_rules(node, pool, claim.copied(), verdict)
    }

    /// The rules about a node that may stay.
    fn worth_rules(
        &self,
        node: &Node,
        pool: &NodePool,
        claim: Option<&NodeClaim>,
        verdict: &Verdict,
    ) -> Option<Kept> {
        if verdict.price.is_none() {
            return Some(Kept::new(
                NodeReason::Unpriced,
                "the catalogue has no price for its type, zone and capacity type",
            ));
        }
        if pool.consolidation_policy.as_deref() == Some("WhenEmpty") && !verdict.moving.is_empty() {
            let message = format!("NodePool {} removes empty nodes only (WhenEmpty)", pool.name);
            return Some(Kept::new(NodeReason::Policy, message));
        }
        if pool.consolidate_after.as_deref() == Some("Never") {
            return Some(Kept::new(
                NodeReason::Policy,
                format!("NodePool {}: consolidateAfter: Never", pool.name),
            ));
        }
        let least = i64::from(self.policy.min_node_age_minutes) * 60;
        let created = node.created.as_deref().and_then(instant);
        if !verdict.moving.is_empty()
            && let (Some(created), Some(now)) = (created, self.now)
            && now < created.saturating_add(least)
        {
            let minutes = self.policy.min_node_age_minutes;
            return Some(Kept::new(NodeReason::Young, format!("it is less than {minutes} minutes old")));
        }
        (!self.is_settled(node, pool, claim)).then(|| {
            let after = pool.consolidate_after.as_deref().unwrap_or_default();
            Kept::new(
                NodeReason::Young,
                format!("consolidateAfter {after} of NodePool {} has not passed", pool.name),
            )
        })
    }

    /// Whether `consolidateAfter` has passed since a pod came last.
    fn is_settled(&self, node: &Node, pool: &NodePool, claim: Option<&NodeClaim>) -> bool {
        let after = match pool.consolidate_after.as_deref() {
            None => return true,
            Some(text) => duration(text),
        };
        if after == Some(0)
            || claim.is_some_and(|claim| claim.conditions.iter().any(|one| one == "Consolidatable"))
        {
            return true;
        }
        let times = self.on(node).filter(|(_, pod)| moves(pod)).map(|(_, pod)| pod.created.as_deref());
        let times: Option<Vec<i64>> =
            times.chain([node.created.as_deref()]).map(|time| time.and_then(instant)).collect();
        match (after, self.now, times.and_then(|times| times.into_iter().max())) {
            (Some(after), Some(now), Some(last)) => last.saturating_add(after) <= now,
            _ => false,
        }
    }

    /// `Balanced`: a node may go if its share of the pool's cost is at least half its share of the pool's disruption.
    fn balance(&self, verdicts: &mut [Verdict]) {
        for (index, pool) in self.snapshot.node_pools.iter().enumerate() {
            if pool.consolidation_policy.as_deref() != Some("Balanced") {
                continue;
            }
            let disruption = |verdict: &Verdict| -> i128 {
                let pods = verdict.moving.iter().map(|pod| &self.snapshot.pods[*pod as usize]);
                let pods = pods.map(|pod| pod_weight(self.policy, self.now, pod));
                i128::from(WEIGHT_ONE) + pods.map(i128::from).sum::<i128>()
            };
            let of_pool = || verdicts.iter().filter(|v| v.pool == Some(index));
            let price: i128 = of_pool().filter_map(|verdict| verdict.price).map(i128::from).sum();
            let whole: i128 = of_pool().map(disruption).sum();
            for verdict in verdicts.iter_mut().filter(|v| v.pool == Some(index) && v.is_free()) {
                let own = i128::from(verdict.price.unwrap_or(0));
                if 2 * own * whole < disruption(verdict) * price {
                    let message = "its share of the NodePool's cost is below half its share of the disruption (Balanced)";
                    verdict.kept = Some(Kept::new(NodeReason::Policy, message));
                }
            }
        }
    }

    /// The rules about its pods, and the NodePool's budgets.
    fn blocked(&self, node: &Node, verdict: &Verdict, ledger: &Ledger) -> Option<Kept> {
        let mut first: Option<(bool, PodRef, Kept)> = None;
        for (_, pod) in self.on(node) {
            if let Some(kept) = self.pod_rules(pod, verdict.leaving.insists) {
                let key = (kept.reason == NodeReason::PodDisruptionBudget, pod.id());
                if first.as_ref().is_none_or(|(late, id, _)| key < (*late, id.clone())) {
                    first = Some((key.0, key.1.clone(), Kept { pod: Some(key.1), ..kept }));
                }
            }
        }
        if let Some((_, _, kept)) = first {
            return Some(kept);
        }
        let pool = verdict.pool?;
        let name = &self.snapshot.node_pools[pool].name;
        let forbids = ledger.allowed(pool, verdict.removal(), 0) <= 0;
        forbids.then(|| {
            Kept::new(NodeReason::Budget, format!("the disruption budgets of NodePool {name} allow none now"))
        })
    }

    /// What keeps one pod where it is. On a node whose draining ends after a time, marks and PodDisruptionBudgets do not.
    fn pod_rules(&self, pod: &Pod, insists: bool) -> Option<Kept> {
        let id = pod.id();
        let mark = pod.annotations.get(labels::DO_NOT_DISRUPT).filter(|_| !insists);
        if let Some(why) = do_not_disrupt(mark, pod.created.as_ref(), self.now) {
            return Some(Kept::new(NodeReason::Pod, format!("pod {id}: {why}")));
        }
        if !moves(pod) {
            return None;
        }
        if pod.owner.is_none() {
            return Some(Kept::new(
                NodeReason::Pod,
                format!("pod {id} has no controller that would start it again"),
            ));
        }
        if let Some(scheduler) = &pod.spec.scheduler_name {
            return Some(Kept::new(NodeReason::Pod, format!("pod {id} is placed by scheduler {scheduler}")));
        }
        if self.policy.keep_local_storage && pod.spec.local_storage {
            let message = format!("pod {id} has local storage, which would end with it");
            return Some(Kept::new(NodeReason::Pod, message));
        }
        if let Some(why) = self.ties.of(pod) {
            return Some(Kept::new(NodeReason::Pod, format!("pod {id} {why}")));
        }
        self.allowances.refusal(pod).filter(|_| !insists).map(|(budget, why)| Kept {
            budget: Some(budget),
            ..Kept::new(NodeReason::PodDisruptionBudget, format!("pod {id}: {why}"))
        })
    }
}

/// Whether a pod that has not ended has to go somewhere else when its node goes.
pub(crate) fn moves(pod: &Pod) -> bool {
    !pod.deleting && !pod.is_owned_by("DaemonSet") && !pod.is_owned_by("Node")
}

fn is_tainted(node: &Node, key: &str) -> bool {
    node.taints.iter().any(|taint| taint.key == key)
}

fn leaving_already(node: &Node, claim: Option<&NodeClaim>) -> Option<&'static str> {
    let is_deleted = node.deleting || claim.is_some_and(|claim| claim.deleting);
    (is_deleted || is_tainted(node, labels::TAINT_DISRUPTED)).then_some("it is leaving already")
}

fn not_ready(node: &Node, claim: Option<&NodeClaim>) -> Option<&'static str> {
    if !node.ready {
        Some("it is not ready")
    } else if node.unschedulable {
        Some("it is cordoned")
    } else if is_tainted(node, labels::TAINT_UNREGISTERED)
        || claim
            .is_some_and(|c| !c.conditions.is_empty() && c.conditions.iter().all(|one| one != "Initialized"))
    {
        Some("it is not initialised")
    } else {
        None
    }
}

/// What pods that stay ask of others. The scheduler looks at it when they start, and never again: whoever they need may not move away.
struct Ties<'a> {
    /// Required affinity of pods that it does not mean themselves.
    needed: BTreeSet<(&'a str, &'a PodAffinityTerm)>,
    /// Spread constraints: namespace, key, skew, selector.
    spreads: BTreeSet<(&'a str, &'a str, i32, &'a LabelSelector)>,
    /// Required anti-affinity: whoever it means goes where the scheduler lets it.
    away: BTreeSet<(&'a str, &'a PodAffinityTerm)>,
}

fn spreads_of(pod: &Pod) -> impl Iterator<Item = (&str, &str, i32, &LabelSelector)> {
    let hard = pod.spec.topology_spread.iter().filter(|spread| spread.hard);
    hard.filter_map(|one| {
        Some((pod.namespace.as_str(), one.topology_key.as_str(), one.max_skew, one.label_selector.as_ref()?))
    })
}

impl<'a> Ties<'a> {
    fn new(snapshot: &'a Snapshot) -> Ties<'a> {
        let mut ties = Ties { needed: BTreeSet::new(), spreads: BTreeSet::new(), away: BTreeSet::new() };
        for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
            let affinity = &pod.spec.affinity;
            // One that means itself has company wherever it is.
            let others = affinity.pod_required.iter().filter(|term| !reaches(term, &pod.namespace, pod));
            ties.needed.extend(others.map(|term| (pod.namespace.as_str(), term)));
            ties.away.extend(affinity.anti_required.iter().map(|term| (pod.namespace.as_str(), term)));
            ties.spreads.extend(spreads_of(pod));
        }
        ties
    }

    /// What keeps the pod where it is, in a few words.
    fn of(&self, pod: &Pod) -> Option<&'static str> {
        let counts = |one: &&(&str, &str, i32, &LabelSelector)| {
            one.0 == pod.namespace && one.3.matches(&pod.labels) && spreads_of(pod).all(|own| own != **one)
        };
        if pod.spec.volumes.iter().any(|volume| matches!(volume, PodVolume::Other(_))) {
            Some("has a volume of a kind that is not planned for")
        } else if self.needed.iter().any(|(namespace, term)| reaches(term, namespace, pod)) {
            Some("is one that another pod's required affinity asks for")
        } else if self.spreads.iter().any(|one| counts(&one)) {
            Some("is counted by another pod's spread constraint, and has no such constraint itself")
        } else {
            None
        }
    }

    /// Whether where the pod may go depends on where others are, ports of the host included.
    fn bind(&self, pod: &Pod) -> bool {
        let spec = &pod.spec;
        let mut containers = spec.containers.iter().chain(&spec.init_containers);
        spec.topology_spread.iter().any(|spread| spread.hard)
            || !spec.affinity.pod_required.is_empty()
            || !spec.affinity.anti_required.is_empty()
            || containers.any(|container| !container.host_ports.is_empty())
            || self.away.iter().any(|(namespace, term)| reaches(term, namespace, pod))
    }
}

/// Whether a term of a pod in `namespace` may mean `pod`. A namespace selector counts as matching.
fn reaches(term: &PodAffinityTerm, namespace: &str, pod: &Pod) -> bool {
    let there = if term.namespace_selector.is_some() {
        true
    } else if term.namespaces.is_empty() {
        namespace == pod.namespace
    } else {
        term.namespaces.contains(&pod.namespace)
    };
    there && term.label_selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
}
