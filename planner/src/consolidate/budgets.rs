//! How much disruption is allowed: disruption budgets of NodePools, PodDisruptionBudgets (`docs/formulation.md` section 5.2).

use std::collections::BTreeSet;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::labels;
use stowage_models::objects::{Budget, Node, NodePool, Pod, PodDisruptionBudget, PodPhase};
use stowage_models::schedule::{Cron, duration, instant};
use stowage_models::snapshot::Snapshot;

/// Karpenter's budget where a NodePool states none.
const DEFAULT_BUDGET: &str = "10%";

/// An amount in a budget: a number, or a percentage of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Number(i64),
    Percent(i64),
}

impl Amount {
    /// `None`: not an amount.
    fn parse(text: &str) -> Option<Amount> {
        let digits = |text: &str| -> Option<i64> {
            (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
        };
        match text.strip_suffix('%') {
            Some(number) => digits(number).map(Amount::Percent),
            None => digits(text).map(Amount::Number),
        }
    }

    /// Percentages round up.
    fn of(self, whole: i64) -> i64 {
        match self {
            Amount::Number(number) => number,
            Amount::Percent(percent) => {
                i64::try_from((i128::from(percent) * i128::from(whole) + 99) / 100).unwrap_or(i64::MAX)
            }
        }
    }
}

/// What a budget allows at the time of the snapshot.
#[derive(Clone, Debug)]
struct Allowed {
    /// Reasons it is about; empty: all.
    reasons: Vec<String>,
    /// `None`: nothing, because it cannot be read.
    amount: Option<Amount>,
}

/// Disruption budgets of all NodePools.
pub(crate) struct Ledger {
    /// By NodePool: budgets that are active.
    budgets: Vec<Vec<Allowed>>,
    /// By NodePool: nodes that count.
    nodes: Vec<i64>,
    /// By NodePool: of these, out of service already.
    away: Vec<i64>,
}

impl Ledger {
    /// Reads budgets and counts nodes. Those of the names given go by force: while they do they count as on their way out, not as
    /// away before.
    pub(crate) fn new(snapshot: &Snapshot, policy: &ConsolidationPolicy, forced: &BTreeSet<&str>) -> Ledger {
        let now = snapshot.taken_at.as_deref().and_then(instant);
        let of_pool = |pool: &NodePool| -> Vec<&Node> {
            snapshot.nodes.iter().filter(|node| node.nodepool() == Some(&pool.name)).collect()
        };
        let is_away = |node: &&&Node| {
            let is_disrupted = node.taints.iter().any(|taint| taint.key == labels::TAINT_DISRUPTED);
            (!node.ready || node.deleting || is_disrupted) && !forced.contains(node.name.as_str())
        };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Ledger {
            budgets: snapshot
                .node_pools
                .iter()
                .map(|pool| match &policy.budget {
                    Some(text) => vec![Allowed { reasons: Vec::new(), amount: Amount::parse(text) }],
                    None if pool.budgets.is_empty() => {
                        vec![Allowed { reasons: Vec::new(), amount: Amount::parse(DEFAULT_BUDGET) }]
                    }
                    None => pool.budgets.iter().filter_map(|budget| active(budget, now)).collect(),
                })
                .collect(),
            nodes: snapshot.node_pools.iter().map(|pool| count(of_pool(pool).len())).collect(),
            away: snapshot
                .node_pools
                .iter()
                .map(|pool| count(of_pool(pool).iter().filter(is_away).count()))
                .collect(),
        }
    }

    /// Nodes of a NodePool that may be on their way out at once where one of them goes for this reason, with `change` more
    /// nodes in the pool than the snapshot has (fewer, if negative). Not positive: none.
    pub(crate) fn allowed(&self, pool: usize, reason: NodeReason, change: i64) -> i64 {
        let name = format!("{reason:?}");
        let nodes = (self.nodes[pool] + change).max(0);
        let about = |one: &&Allowed| one.reasons.is_empty() || one.reasons.contains(&name);
        let least =
            self.budgets[pool].iter().filter(about).map(|one| one.amount.map_or(0, |a| a.of(nodes))).min();
        least.unwrap_or(i64::MAX).saturating_sub(self.away[pool])
    }
}

/// What the budget allows now; `None`: its window is closed, it allows everything.
fn active(budget: &Budget, now: Option<i64>) -> Option<Allowed> {
    let amount = Amount::parse(&budget.nodes);
    let allowed = |amount| Some(Allowed { reasons: budget.reasons.clone(), amount });
    match (&budget.schedule, &budget.duration) {
        (None, None) => allowed(amount),
        (Some(schedule), Some(length)) => match (Cron::parse(schedule), duration(length)) {
            (Some(cron), Some(seconds)) => {
                // Without a time nobody knows whether the window is open: the stricter reading.
                if now.is_none_or(|now| cron.is_open(now, seconds)) { allowed(amount) } else { None }
            }
            _ => allowed(None),
        },
        // Both or none: anything else is an error, and errors allow nothing.
        _ => allowed(None),
    }
}

/// PodDisruptionBudgets and what they allow.
pub(crate) struct Allowances<'a> {
    budgets: Vec<(&'a PodDisruptionBudget, i64)>,
}

impl<'a> Allowances<'a> {
    /// Reads them; none, if they are to be ignored.
    pub(crate) fn new(snapshot: &'a Snapshot, ignored: bool) -> Allowances<'a> {
        let budgets = snapshot.pod_disruption_budgets.iter().filter(|_| !ignored);
        Allowances { budgets: budgets.map(|budget| (budget, allowance(snapshot, budget))).collect() }
    }

    /// The budgets that cover a pod, by index.
    pub(crate) fn over(&self, pod: &Pod) -> impl Iterator<Item = usize> {
        let covers = |budget: &PodDisruptionBudget| {
            budget.namespace == pod.namespace
                && budget.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
        };
        (0..self.budgets.len()).filter(move |index| covers(self.budgets[*index].0))
    }

    /// How many pods a budget lets go at once.
    pub(crate) fn of(&self, budget: usize) -> i64 {
        self.budgets[budget].1
    }

    /// How many evictions of the pod count against a budget: none if it is not healthy and may always go.
    pub(crate) fn counts(&self, budget: usize, pod: &Pod) -> bool {
        pod.phase == PodPhase::Running || !self.budgets[budget].0.always_allow_unhealthy
    }

    /// The budget that lets the pod never go, and why.
    pub(crate) fn refusal(&self, pod: &Pod) -> Option<(String, String)> {
        let over: Vec<usize> = self.over(pod).collect();
        let name =
            |index: usize| format!("{}/{}", self.budgets[index].0.namespace, self.budgets[index].0.name);
        match over[..] {
            [] => None,
            [one] if self.budgets[one].1 > 0 || !self.counts(one, pod) => None,
            [one] => Some((name(one), format!("PodDisruptionBudget {} allows no disruption", name(one)))),
            [first, ..] => Some((
                name(first),
                format!("{} PodDisruptionBudgets cover it, which the eviction API refuses", over.len()),
            )),
        }
    }
}

/// Disruptions a budget allows: as its status says; without one, by Kubernetes' arithmetic over the pods it covers.
fn allowance(snapshot: &Snapshot, budget: &PodDisruptionBudget) -> i64 {
    if let Some(allowed) = budget.disruptions_allowed {
        return allowed.max(0);
    }
    let Some(selector) = &budget.selector else { return 0 };
    let covered = snapshot.pods.iter().filter(|pod| {
        !pod.is_terminal() && pod.namespace == budget.namespace && selector.matches(&pod.labels)
    });
    let (mut expected, mut healthy) = (0_i64, 0_i64);
    for pod in covered {
        expected += 1;
        healthy += i64::from(pod.phase == PodPhase::Running && !pod.deleting);
    }
    let desired = match (&budget.max_unavailable, &budget.min_available) {
        (Some(text), _) => Amount::parse(text).map(|amount| (expected - amount.of(expected)).max(0)),
        (None, Some(text)) => Amount::parse(text).map(|amount| amount.of(expected)),
        (None, None) => None,
    };
    desired.map_or(0, |desired| (healthy - desired).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::selector::LabelSelector;

    /// Nodes, reasons, schedule, duration.
    type Written<'a> = (&'a str, &'a [&'a str], Option<&'a str>, Option<&'a str>);

    fn pool(budgets: &[Written<'_>]) -> Snapshot {
        let budget = |(nodes, reasons, schedule, length): &Written<'_>| Budget {
            nodes: (*nodes).to_owned(),
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            schedule: schedule.map(str::to_owned),
            duration: length.map(str::to_owned),
        };
        let node = |index: usize| Node {
            name: format!("n{index:02}"),
            labels: [(labels::NODEPOOL.to_owned(), "general".to_owned())].into(),
            ready: index > 0,
            ..Node::default()
        };
        Snapshot {
            taken_at: Some("2026-08-31T12:00:00Z".to_owned()),
            node_pools: vec![NodePool {
                name: "general".to_owned(),
                budgets: budgets.iter().map(budget).collect(),
                ..NodePool::default()
            }],
            nodes: (0..25).map(node).collect(),
            ..Snapshot::default()
        }
    }

    fn allowed(budgets: &[Written<'_>], reason: NodeReason) -> i64 {
        let snapshot = pool(budgets);
        let ledger = Ledger::new(&snapshot, &ConsolidationPolicy::default(), &BTreeSet::new());
        ledger.allowed(0, reason, 0)
    }

    /// One of the 25 nodes is not ready, and counts as gone.
    #[test]
    fn budgets_of_nodepools() {
        let any = NodeReason::Empty;
        assert_eq!(allowed(&[], any), 2);
        assert_eq!(allowed(&[("10%", &[], None, None)], any), 2);
        assert_eq!(allowed(&[("5", &[], None, None), ("100%", &[], None, None)], any), 4);
        assert_eq!(allowed(&[("0", &["Drifted"], None, None)], any), i64::MAX - 1);
        assert_eq!(
            allowed(&[("0", &["Empty"], None, None), ("4", &[], None, None)], NodeReason::Underutilized),
            3
        );
        assert_eq!(allowed(&[("0", &[], Some("0 9 * * 1-5"), Some("8h"))], any), -1);
        assert_eq!(allowed(&[("0", &[], Some("0 9 * * 6"), Some("8h"))], any), i64::MAX - 1);
        for wrong in
            [("10%", Some("nonsense"), Some("8h")), ("10%", Some("@daily"), None), ("ten", None, None)]
        {
            assert!(allowed(&[(wrong.0, &[], wrong.1, wrong.2)], any) <= 0, "{wrong:?}");
        }
    }

    #[test]
    fn the_policys_budget_stands_for_all() {
        let snapshot = pool(&[("0", &[], None, None)]);
        let policy =
            ConsolidationPolicy { budget: Some("100%".to_owned()), ..ConsolidationPolicy::default() };
        let ledger = Ledger::new(&snapshot, &policy, &BTreeSet::new());
        assert_eq!(ledger.allowed(0, NodeReason::Empty, 0), 24);
        assert_eq!(ledger.allowed(0, NodeReason::Empty, -10), 14);
    }

    #[test]
    fn pod_disruption_budgets_without_a_status() {
        let labels = [("app".to_owned(), "web".to_owned())];
        let pod = |index: usize| Pod {
            namespace: "a".to_owned(),
            name: format!("web-{index}"),
            labels: labels.clone().into(),
            phase: if index == 0 { PodPhase::Pending } else { PodPhase::Running },
            ..Pod::default()
        };
        let snapshot = Snapshot { pods: (0..7).map(pod).collect(), ..Snapshot::default() };
        let budget = |min: Option<&str>, max: Option<&str>| PodDisruptionBudget {
            namespace: "a".to_owned(),
            selector: Some(LabelSelector { match_labels: labels.clone().into(), ..LabelSelector::default() }),
            min_available: min.map(str::to_owned),
            max_unavailable: max.map(str::to_owned),
            ..PodDisruptionBudget::default()
        };
        // Seven expected, six healthy.
        let cases = [
            (Some("50%"), None, 2),
            (Some("3"), None, 3),
            (Some("7"), None, 0),
            (None, Some("1"), 0),
            (None, Some("2"), 1),
            (None, Some("30%"), 2),
            (None, None, 0),
            (Some("most"), None, 0),
        ];
        for (min, max, want) in cases {
            assert_eq!(allowance(&snapshot, &budget(min, max)), want, "{min:?} {max:?}");
        }
        assert_eq!(
            allowance(&snapshot, &PodDisruptionBudget { selector: None, ..budget(Some("0"), None) }),
            0
        );
    }
}
