//! Budgets of NodePools and of pods (formulation, section 5.2), derived anew.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::labels;
use stowage_models::objects::{Budget, Pod, PodDisruptionBudget, PodPhase};
use stowage_models::schedule::{self, Cron};
use stowage_models::snapshot::Snapshot;

/// `n` or `p%` of a whole, percentages rounded up; `None`: neither.
fn share(text: &str, whole: i64) -> Option<i64> {
    let (digits, percent) = text.strip_suffix('%').map_or((text, false), |digits| (digits, true));
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    if !percent {
        return Some(number);
    }
    let product = i128::from(number) * i128::from(whole);
    Some(i64::try_from(product.div_euclid(100) + i128::from(product.rem_euclid(100) > 0)).unwrap_or(i64::MAX))
}

/// A NodePool's budgets that are in force.
struct PoolBudgets {
    in_force: Vec<(Vec<String>, Option<String>)>,
    nodes: i64,
    away: i64,
}

/// Budgets of all NodePools.
pub(crate) struct Budgets(BTreeMap<String, PoolBudgets>);

impl Budgets {
    /// `forced` are nodes that go whatever budgets say: they count while they leave, not before.
    pub(crate) fn new(snapshot: &Snapshot, policy: &ConsolidationPolicy, forced: &BTreeSet<&str>) -> Budgets {
        let now = snapshot.taken_at.as_deref().and_then(schedule::instant);
        let mut pools = BTreeMap::new();
        for pool in &snapshot.node_pools {
            let in_force = match (&policy.budget, pool.budgets.is_empty()) {
                (Some(text), _) => vec![(Vec::new(), Some(text.clone()))],
                (None, true) => vec![(Vec::new(), Some("10%".to_owned()))],
                (None, false) => pool.budgets.iter().filter_map(|budget| in_force(budget, now)).collect(),
            };
            let (mut nodes, mut away) = (0, 0);
            for node in snapshot.nodes.iter().filter(|node| node.nodepool() == Some(&pool.name)) {
                let disrupted = node.taints.iter().any(|taint| taint.key == labels::TAINT_DISRUPTED);
                nodes += 1;
                let out = disrupted || node.deleting || !node.ready;
                away += i64::from(out && !forced.contains(node.name.as_str()));
            }
            pools.insert(pool.name.clone(), PoolBudgets { in_force, nodes, away });
        }
        Budgets(pools)
    }

    /// Nodes of the pool that may be leaving at once where one leaves for the reason, with so many nodes more than now.
    pub(crate) fn room(&self, pool: &str, reason: NodeReason, more: i64) -> i64 {
        let Some(pool) = self.0.get(pool) else { return 0 };
        let whole = (pool.nodes + more).max(0);
        let word = format!("{reason:?}");
        let mut least = i64::MAX;
        for (reasons, text) in &pool.in_force {
            if reasons.is_empty() || reasons.contains(&word) {
                least = least.min(text.as_ref().and_then(|text| share(text, whole)).unwrap_or(0));
            }
        }
        least.saturating_sub(pool.away)
    }
}

/// Reasons and amount (`None`: unreadable, so nothing) of a budget whose window is open, or may be.
fn in_force(budget: &Budget, now: Option<i64>) -> Option<(Vec<String>, Option<String>)> {
    let stated = (budget.reasons.clone(), Some(budget.nodes.clone()));
    let broken = (budget.reasons.clone(), None);
    match (budget.schedule.as_deref(), budget.duration.as_deref()) {
        (None, None) => Some(stated),
        (Some(cron), Some(length)) => {
            let (Some(cron), Some(length)) = (Cron::parse(cron), schedule::duration(length)) else {
                return Some(broken);
            };
            match now {
                Some(now) if !cron.is_open(now, length) => None,
                _ => Some(stated),
            }
        }
        _ => Some(broken),
    }
}

/// PodDisruptionBudgets.
pub(crate) struct Guard<'a> {
    budgets: Vec<(&'a PodDisruptionBudget, i64)>,
}

impl<'a> Guard<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, policy: &ConsolidationPolicy) -> Guard<'a> {
        let mut budgets = Vec::new();
        if !policy.ignore_pdbs {
            for budget in &snapshot.pod_disruption_budgets {
                budgets.push((budget, disruptions(snapshot, budget)));
            }
        }
        Guard { budgets }
    }

    /// Budgets that cover the pod.
    fn covering(&self, pod: &Pod) -> Vec<usize> {
        let covers = |index: &usize| {
            let budget = self.budgets[*index].0;
            let selected = budget.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels));
            selected && budget.namespace == pod.namespace
        };
        (0..self.budgets.len()).filter(covers).collect()
    }

    /// The budget an eviction of the pod draws on.
    pub(crate) fn draws_on(&self, pod: &Pod) -> Option<usize> {
        let exempt =
            |index: usize| self.budgets[index].0.always_allow_unhealthy && pod.phase != PodPhase::Running;
        self.covering(pod).into_iter().find(|index| !exempt(*index))
    }

    /// What a budget allows at once, and its name.
    pub(crate) fn allows(&self, index: usize) -> (i64, String) {
        let (budget, allowed) = self.budgets[index];
        (allowed, format!("{}/{}", budget.namespace, budget.name))
    }

    /// The budget that never lets the pod go.
    pub(crate) fn forbidding(&self, pod: &Pod) -> Option<String> {
        let covering = self.covering(pod);
        let first = *covering.first()?;
        let (allowed, name) = self.allows(first);
        let open = covering.len() == 1 && (allowed > 0 || self.draws_on(pod).is_none());
        (!open).then_some(name)
    }
}

fn disruptions(snapshot: &Snapshot, budget: &PodDisruptionBudget) -> i64 {
    if let Some(stated) = budget.disruptions_allowed {
        return stated.max(0);
    }
    let covered: Vec<&Pod> = snapshot
        .pods
        .iter()
        .filter(|pod| pod.namespace == budget.namespace && !pod.is_terminal())
        .filter(|pod| budget.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels)))
        .collect();
    let whole = i64::try_from(covered.len()).unwrap_or(i64::MAX);
    let up = covered.iter().filter(|pod| pod.phase == PodPhase::Running && !pod.deleting).count();
    let needed = if let Some(text) = &budget.max_unavailable {
        share(text, whole).map(|most| (whole - most).max(0))
    } else {
        budget.min_available.as_ref().and_then(|text| share(text, whole))
    };
    needed.map_or(0, |needed| (i64::try_from(up).unwrap_or(i64::MAX) - needed).max(0))
}
