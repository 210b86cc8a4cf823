//! Which nodes may be removed (formulation, sections 5.1 and 5.2), derived anew.

use super::allow::{Budgets, Guard};
use super::due::{Almanac, Due};
use crate::existing::price;
use crate::overlays::Overlaid;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason, WEIGHT_ONE};
use stowage_models::labels;
use stowage_models::objects::{Node, NodeClaim, NodePool, Pod, PodAffinityTerm, PodRef, PodVolume};
use stowage_models::schedule;
use stowage_models::selector::LabelSelector;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// A node as consolidation sees it.
pub(crate) struct Subject<'a> {
    pub(crate) node: &'a Node,
    pub(crate) pool: Option<&'a NodePool>,
    pub(crate) price: Option<UsdMicros>,
    /// Pods that go elsewhere if the node goes.
    pub(crate) pods: Vec<&'a Pod>,
    /// Why it has to stay: reason, pod, budget.
    pub(crate) stays: Stay,
    /// Whether it has to go.
    pub(crate) due: Due,
}

impl Subject<'_> {
    /// It has to go, and nothing keeps it.
    pub(crate) fn departs(&self) -> bool {
        self.stays.is_none() && self.due.departure().is_some()
    }

    /// It goes whatever stands against it.
    pub(crate) fn is_forced(&self) -> bool {
        self.stays.is_none() && self.due.is_forced()
    }

    /// It may go or stay.
    pub(crate) fn is_free(&self) -> bool {
        self.stays.is_none() && self.due.departure().is_none()
    }

    pub(crate) fn removal(&self) -> NodeReason {
        if let Some(departure) = self.due.departure() {
            return departure.reason.into();
        }
        if self.pods.is_empty() { NodeReason::Empty } else { NodeReason::Underutilized }
    }
}

/// What moving the pod weighs now.
pub(crate) fn pod_weight(policy: &ConsolidationPolicy, now: Option<i64>, pod: &Pod) -> i64 {
    let stated = pod.annotations.get("controller.kubernetes.io/pod-deletion-cost");
    let cost = stated.and_then(|text| text.parse().ok()).unwrap_or(0);
    let age = match (now, pod.created.as_deref().and_then(schedule::instant)) {
        (Some(now), Some(created)) => now.checked_sub(created),
        _ => None,
    };
    policy.weight(cost, pod.spec.priority, age, pod.restarts)
}

/// Pods of DaemonSets and of the node itself end with it; pods on their way out do so anyway.
pub(crate) fn relocates(pod: &Pod) -> bool {
    let kind = pod.owner.as_ref().map(|owner| owner.kind.as_str());
    !pod.is_terminal() && !pod.deleting && kind != Some("DaemonSet") && kind != Some("Node")
}

/// Whether the mark forbids disruption: `true`, or a duration from creation that is not known to be over.
fn forbids(mark: Option<&String>, created: Option<&String>, now: Option<i64>) -> bool {
    let Some(mark) = mark else { return false };
    if mark == "true" {
        return true;
    }
    let Some(seconds) = schedule::duration(mark) else { return false };
    let until = created.and_then(|time| schedule::instant(time)).map(|time| time.saturating_add(seconds));
    !matches!((until, now), (Some(until), Some(now)) if now >= until)
}

/// All nodes, sorted by name, and the budgets.
pub(crate) fn subjects<'a>(
    snapshot: &'a Snapshot,
    catalog: &Catalog,
    policy: &ConsolidationPolicy,
    guard: &Guard<'_>,
) -> (Vec<Subject<'a>>, Budgets) {
    let mut aboard: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
        if let Some(node) = &pod.node {
            aboard.entry(node).or_default().push(pod);
        }
    }
    let none = Vec::new();
    let overlaid = Overlaid::new(snapshot, catalog);
    let almanac = Almanac::new(snapshot, policy);
    // Whoever reads the last of several NodeClaims of a node, and the first of several nominees, reads these.
    let claims: BTreeMap<&str, &NodeClaim> = snapshot
        .node_claims
        .iter()
        .filter_map(|claim| claim.node.as_deref().map(|node| (node, claim)))
        .collect();
    let mut nominees: BTreeMap<&str, &Pod> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal() && pod.node.is_none()) {
        if let Some(node) = &pod.nominated_node {
            nominees.entry(node).or_insert(pod);
        }
    }
    let view = View {
        snapshot,
        nominees,
        policy,
        now: snapshot.taken_at.as_deref().and_then(schedule::instant),
        bonds: Bonds::new(snapshot),
    };
    let mut subjects: Vec<Subject<'a>> = snapshot
        .nodes
        .iter()
        .map(|node| {
            let here = aboard.get(node.name.as_str()).unwrap_or(&none);
            let pool =
                node.nodepool().and_then(|name| snapshot.node_pools.iter().find(|pool| pool.name == name));
            let claim = claims.get(node.name.as_str()).copied();
            let mut subject = Subject {
                node,
                due: almanac.due(node, claim),
                pool,
                price: price(&overlaid, catalog, node),
                pods: here.iter().copied().filter(|pod| relocates(pod)).collect(),
                stays: None,
            };
            subject.stays = view.node(&subject, claim);
            subject
        })
        .collect();
    balance(snapshot, policy, &mut subjects);
    let forced = subjects.iter().filter(|s| s.is_forced()).map(|s| s.node.name.as_str()).collect();
    let budgets = Budgets::new(snapshot, policy, &forced);
    for subject in subjects.iter_mut().filter(|subject| subject.stays.is_none() && !subject.is_forced()) {
        let here = aboard.get(subject.node.name.as_str()).unwrap_or(&none);
        subject.stays = view.pods(here, guard, subject.due.overrules_pods()).or_else(|| {
            let pool = &subject.pool?.name;
            (budgets.room(pool, subject.removal(), 0) < 1).then_some((NodeReason::Budget, None, None))
        });
    }
    subjects.sort_by(|a, b| a.node.name.cmp(&b.node.name));
    (subjects, budgets)
}

/// Reason, pod and budget for which a node stays.
type Stay = Option<(NodeReason, Option<PodRef>, Option<String>)>;

struct View<'a> {
    snapshot: &'a Snapshot,
    /// The first pod nominated to each node.
    nominees: BTreeMap<&'a str, &'a Pod>,
    policy: &'a ConsolidationPolicy,
    now: Option<i64>,
    bonds: Bonds<'a>,
}

impl View<'_> {
    fn node(&self, subject: &Subject<'_>, claim: Option<&NodeClaim>) -> Stay {
        let node = subject.node;
        let plain = |reason| Some((reason, None, None));
        let pool = match subject.pool {
            Some(pool) if pool.replicas.is_none() => pool,
            _ => return plain(NodeReason::Unmanaged),
        };
        if claim.is_none() && !self.snapshot.node_claims.is_empty() {
            return plain(NodeReason::Unmanaged);
        }
        if !self.policy.node_pools.is_empty() && self.policy.node_pools.iter().all(|name| *name != pool.name)
        {
            return plain(NodeReason::OutOfScope);
        }
        let is_ending = is_ending(node, claim);
        if !is_ending && subject.due.is_forced() {
            return None;
        }
        if !is_ending && subject.due == Due::RepairBlocked {
            return plain(NodeReason::RepairBlocked);
        }
        if is_ending || !in_service(node, claim) {
            return plain(NodeReason::NotReady);
        }
        if forbids(node.annotations.get(labels::DO_NOT_DISRUPT), node.created.as_ref(), self.now) {
            return plain(NodeReason::DoNotDisrupt);
        }
        if let Some(pod) = self.nominees.get(node.name.as_str()) {
            return Some((NodeReason::Nominated, Some(pod.id()), None));
        }
        if subject.due.departure().is_some() {
            return None;
        }
        if subject.price.is_none() {
            return plain(NodeReason::Unpriced);
        }
        let only_empty =
            pool.consolidation_policy.as_deref() == Some("WhenEmpty") && !subject.pods.is_empty();
        if only_empty || pool.consolidate_after.as_deref() == Some("Never") {
            return plain(NodeReason::Policy);
        }
        let age = |born: i64| Some(self.now?.saturating_sub(born));
        let age = node.created.as_deref().and_then(schedule::instant).and_then(age);
        let least = i64::from(self.policy.min_node_age_minutes) * 60;
        let too_new = !subject.pods.is_empty() && age.is_some_and(|age| age < least);
        if too_new || self.is_young(subject, pool, claim) { plain(NodeReason::Young) } else { None }
    }

    fn is_young(&self, subject: &Subject<'_>, pool: &NodePool, claim: Option<&NodeClaim>) -> bool {
        let Some(text) = &pool.consolidate_after else { return false };
        let marked = claim.is_some_and(|claim| claim.conditions.iter().any(|one| one == "Consolidatable"));
        let wait = match schedule::duration(text) {
            _ if marked => return false,
            Some(0) => return false,
            Some(wait) => wait,
            None => return true,
        };
        let Some(now) = self.now else { return true };
        let born = subject.pods.iter().map(|pod| &pod.created).chain([&subject.node.created]);
        // Whatever has no time may be new.
        born.into_iter().any(|time| {
            time.as_deref().and_then(schedule::instant).is_none_or(|time| time.saturating_add(wait) > now)
        })
    }

    fn pods(&self, here: &[&Pod], guard: &Guard<'_>, overruled: bool) -> Stay {
        let mut ordered: Vec<(PodRef, &Pod)> = here.iter().map(|pod| (pod.id(), *pod)).collect();
        ordered.sort_by(|a, b| a.0.cmp(&b.0));
        let pinned = |pod: &Pod| {
            let mark = pod.annotations.get(labels::DO_NOT_DISRUPT);
            !overruled && forbids(mark, pod.created.as_ref(), self.now)
                || relocates(pod)
                    && (pod.owner.is_none()
                        || pod.spec.scheduler_name.is_some()
                        || self.policy.keep_local_storage && pod.spec.local_storage
                        || self.bonds.tie(pod))
        };
        if let Some((id, _)) = ordered.iter().find(|(_, pod)| pinned(pod)) {
            return Some((NodeReason::Pod, Some(id.clone()), None));
        }
        ordered.iter().filter(|(_, pod)| relocates(pod) && !overruled).find_map(|(id, pod)| {
            guard.forbidding(pod).map(|name| (NodeReason::PodDisruptionBudget, Some(id.clone()), Some(name)))
        })
    }
}

/// It is on its way out already.
fn is_ending(node: &Node, claim: Option<&NodeClaim>) -> bool {
    let marked = node.taints.iter().any(|taint| taint.key == labels::TAINT_DISRUPTED);
    marked || node.deleting || claim.is_some_and(|claim| claim.deleting)
}

fn in_service(node: &Node, claim: Option<&NodeClaim>) -> bool {
    let initialised = claim.is_none_or(|claim| {
        claim.conditions.is_empty() || claim.conditions.contains(&"Initialized".to_owned())
    });
    let unknown = node.taints.iter().any(|taint| taint.key == labels::TAINT_UNREGISTERED);
    node.ready && !node.unschedulable && initialised && !unknown
}

/// Nodes of `Balanced` pools whose share of the cost is below half their share of the disruption stay.
fn balance(snapshot: &Snapshot, policy: &ConsolidationPolicy, subjects: &mut [Subject<'_>]) {
    let now = snapshot.taken_at.as_deref().and_then(schedule::instant);
    let upheaval = |subject: &Subject<'_>| -> i128 {
        let weights = subject.pods.iter().map(|pod| i128::from(pod_weight(policy, now, pod)));
        weights.sum::<i128>() + i128::from(WEIGHT_ONE)
    };
    for pool in &snapshot.node_pools {
        if pool.consolidation_policy.as_deref() != Some("Balanced") {
            continue;
        }
        let (mut cost, mut all) = (0_i128, 0_i128);
        for subject in subjects.iter().filter(|s| s.pool.is_some_and(|own| own.name == pool.name)) {
            cost += i128::from(subject.price.unwrap_or_default().0);
            all += upheaval(subject);
        }
        for subject in subjects.iter_mut().filter(|s| s.pool.is_some_and(|own| own.name == pool.name)) {
            let own = i128::from(subject.price.unwrap_or_default().0);
            if subject.is_free() && 2 * own * all < upheaval(subject) * cost {
                subject.stays = Some((NodeReason::Policy, None, None));
            }
        }
    }
}

/// Pods that others, once started, go on relying on: nobody looks at their constraints again, so these stay where they are.
struct Bonds<'a> {
    /// By namespace (`None`: all) the selectors of required affinity, but for pods that are what they ask for.
    company: BTreeSet<(Option<&'a str>, &'a LabelSelector)>,
    /// Namespace, selector, key and skew of DoNotSchedule spreads.
    level: BTreeSet<(&'a str, &'a LabelSelector, &'a str, i32)>,
}

/// Where a term looks: namespaces (`None`: any), with its selector.
fn looks<'a>(pod: &'a Pod, term: &'a PodAffinityTerm) -> Vec<(Option<&'a str>, &'a LabelSelector)> {
    let Some(selector) = &term.label_selector else { return Vec::new() };
    if term.namespace_selector.is_some() {
        return vec![(None, selector)];
    }
    if term.namespaces.is_empty() {
        return vec![(Some(pod.namespace.as_str()), selector)];
    }
    term.namespaces.iter().map(|name| (Some(name.as_str()), selector)).collect()
}

fn sees(pod: &Pod, (namespace, selector): &(Option<&str>, &LabelSelector)) -> bool {
    namespace.is_none_or(|name| name == pod.namespace) && selector.matches(&pod.labels)
}

fn levels(pod: &Pod) -> BTreeSet<(&str, &LabelSelector, &str, i32)> {
    let mut own = BTreeSet::new();
    for spread in pod.spec.topology_spread.iter().filter(|spread| spread.hard) {
        if let Some(selector) = &spread.label_selector {
            own.insert((pod.namespace.as_str(), selector, spread.topology_key.as_str(), spread.max_skew));
        }
    }
    own
}

impl<'a> Bonds<'a> {
    fn new(snapshot: &'a Snapshot) -> Bonds<'a> {
        let (mut company, mut level) = (BTreeSet::new(), BTreeSet::new());
        for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
            for term in &pod.spec.affinity.pod_required {
                let places = looks(pod, term);
                if !places.iter().any(|place| sees(pod, place)) {
                    company.extend(places);
                }
            }
            level.extend(levels(pod));
        }
        Bonds { company, level }
    }

    fn tie(&self, pod: &Pod) -> bool {
        let unknown = pod.spec.volumes.iter().any(|volume| matches!(volume, PodVolume::Other(_)));
        let own = levels(pod);
        unknown
            || self.company.iter().any(|place| sees(pod, place))
            || self.level.iter().any(|one| sees(pod, &(Some(one.0), one.1)) && !own.contains(one))
    }
}
