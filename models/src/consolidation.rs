//! What a plan says about nodes that exist: which are removed, where their pods go, in which order, and what is left to save
//! (`docs/formulation.md` section 5).

use crate::departure::{Departure, DepartureReason};
use crate::objects::{PodRef, is_default};
use crate::plan::Certificate;
use crate::units::{Ppm, UsdMicros};
use serde::{Deserialize, Serialize};

/// One unit of [`ConsolidationPolicy::weight`]: Karpenter's eviction cost 1.
pub const WEIGHT_ONE: i64 = 1 << 27;

/// What the operator wants of consolidation. Part of the plan: the checker judges against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsolidationPolicy {
    /// How long a cluster is expected to stay as planned: one-off costs are spread over it. Default a day.
    pub horizon_minutes: u32,
    /// What moving a pod of eviction cost 1 costs, once, in micro-dollars (not per hour). Default half a cent.
    pub eviction_cost: UsdMicros,
    /// What removing a node costs, once, in micro-dollars: while it drains both it and its successor are paid for, for
    /// minutes. Default one cent.
    pub removal_cost: UsdMicros,
    /// Nodes are removed only if what that saves, less the one-off costs, is at least this share of today's cost. Default 1 %.
    pub savings_threshold: Ppm,
    /// Nodes are removed only if the savings pay the one-off costs back within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payback_minutes: Option<u32>,
    /// What if there were no PodDisruptionBudgets?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_pdbs: bool,
    /// Stands for the budgets of all NodePools: a number or a percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Only nodes of these NodePools may be removed; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_pools: Vec<String>,
    /// Nodes with own pods are removed only when they are known to be this old, or their age is not known. Default an hour; zero, and
    /// absent: no such rule.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_node_age_minutes: u32,
    /// So long before a node expires (but no more than a tenth of its life) it is to go, within budgets and with its replacement first.
    /// Default an hour; zero, and absent: only at its end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expiry_lead_minutes: u32,
    /// Unhealthy nodes are replaced. Default no, as Karpenter's feature gate `NodeRepair`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repair: bool,
    /// Pods with local storage (emptyDir not in memory, hostPath) stay, and with them their nodes. Default no, as Karpenter: they move, and
    /// what is stored ends with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_local_storage: bool,
    /// One spot node is replaced by another for its cost only where at least so many instance types would do, each for less than the old node
    /// costs: otherwise the cheapest type is soon taken away, and the next. Default 15, as Karpenter; zero, and absent: no such rule.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spot_types_min: u32,
    /// What a pod's eviction cost gains by each day since its creation, where 1 is the eviction cost of a pod of ordinary priority. Default
    /// zero, as Karpenter.
    #[serde(default, skip_serializing_if = "is_default")]
    pub age_weight: Ppm,
    /// What a pod's eviction cost loses by each restart of its containers: who starts again by itself loses little. Default zero, as Karpenter.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart_weight: Ppm,
}

impl Default for ConsolidationPolicy {
    fn default() -> ConsolidationPolicy {
        ConsolidationPolicy {
            horizon_minutes: 24 * 60,
            eviction_cost: UsdMicros(5_000),
            removal_cost: UsdMicros(10_000),
            savings_threshold: Ppm(10_000),
            payback_minutes: None,
            ignore_pdbs: false,
            budget: None,
            node_pools: Vec::new(),
            min_node_age_minutes: 60,
            expiry_lead_minutes: 60,
            repair: false,
            keep_local_storage: false,
            spot_types_min: 15,
            age_weight: Ppm(0),
            restart_weight: Ppm(0),
        }
    }
}

/// Age and restart weights are at most so much: the most that a pod weighs.
const WEIGHT_MOST: Ppm = Ppm(10 * Ppm::ONE);

impl ConsolidationPolicy {
    /// Whether the figures are in range: a horizon of a minute at least, costs not negative, weights between 0 and 10.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let weights = [self.age_weight, self.restart_weight];
        self.horizon_minutes > 0
            && self.eviction_cost.0 >= 0
            && self.removal_cost.0 >= 0
            && weights.iter().all(|weight| (Ppm(0)..=WEIGHT_MOST).contains(weight))
    }

    /// A one-off cost times `weight / WEIGHT_ONE`, spread over the horizon: micro-dollars per hour, rounded down.
    #[must_use]
    pub fn per_hour(&self, cost: UsdMicros, weight: i64) -> UsdMicros {
        let minutes = i128::from(self.horizon_minutes.max(1)) * i128::from(WEIGHT_ONE);
        let rate = (i128::from(cost.0) * 60).saturating_mul(i128::from(weight)) / minutes;
        UsdMicros(i64::try_from(rate).unwrap_or(if rate < 0 { i64::MIN } else { i64::MAX }))
    }

    /// What keeping a pod where it is saves, per hour.
    #[must_use]
    pub fn eviction_rate(&self, weight: i64) -> UsdMicros {
        self.per_hour(self.eviction_cost, weight)
    }

    /// Eviction cost of a pod over [`WEIGHT_ONE`]: Karpenter's `1 + deletion cost / 2^27 + priority / 2^25`, and what age and restarts add and
    /// take, at least 0 and at most 10 (Karpenter's least is -10; it is never negative here, as it counts in a node's sum). `age`: seconds, if
    /// known; a day's fraction counts as such, rounded down.
    #[must_use]
    pub fn weight(&self, deletion_cost: i32, priority: i32, age: Option<i64>, restarts: u32) -> i64 {
        let times = |weight: Ppm, times: i128, of: i128| {
            (i128::from(weight.0) * i128::from(WEIGHT_ONE)).saturating_mul(times)
                / (of * i128::from(Ppm::ONE))
        };
        let aged = times(self.age_weight, i128::from(age.unwrap_or(0).max(0)), 24 * 3_600);
        let restarted = times(self.restart_weight, i128::from(restarts), 1);
        let stated = i128::from(WEIGHT_ONE) + i128::from(deletion_cost) + 4 * i128::from(priority);
        let most = 10 * i128::from(WEIGHT_ONE);
        i64::try_from((stated + aged - restarted).clamp(0, most)).unwrap_or(0)
    }

    /// What keeping a node saves beside its pods, per hour.
    #[must_use]
    pub fn removal_rate(&self) -> UsdMicros {
        self.per_hour(self.removal_cost, WEIGHT_ONE)
    }
}

/// Why a node stays, or goes. Of those that hold, the first in this order (but for the last two, which say what was decided).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeReason {
    /// No NodePool of the snapshot manages it dynamically, or it has no NodeClaim while others have.
    Unmanaged,
    /// The policy is about other NodePools.
    OutOfScope,
    /// Not ready, cordoned, leaving already, or not initialised.
    NotReady,
    /// It is unhealthy, but so many are that replacing them would not help.
    RepairBlocked,
    /// `karpenter.sh/do-not-disrupt` on the node.
    DoNotDisrupt,
    /// A waiting pod is nominated to it.
    Nominated,
    /// The catalogue has no price for it.
    Unpriced,
    /// The NodePool consolidates empty nodes only and this one is not, or never.
    Policy,
    /// `consolidateAfter`, or the policy's least age, has not passed.
    Young,
    /// A pod on it may not move: see [`NodeDecision::pod`].
    Pod,
    /// A PodDisruptionBudget lets a pod on it not go: see [`NodeDecision::budget`].
    PodDisruptionBudget,
    /// The NodePool's disruption budgets allow none now.
    Budget,
    /// It has to go, but limits of NodePools and budgets leave no order in which all such nodes can: a later plan sees to it.
    Deferred,
    /// It may be removed, and staying is part of the cheapest plan found.
    Worth,
    /// It is removed, and had no pods to move.
    Empty,
    /// It is removed, and its pods move.
    Underutilized,
    /// It is removed as its machine is taken away.
    Interrupted,
    /// It is removed as it is unhealthy.
    Unhealthy,
    /// It is removed as `expireAfter` has passed, or does so soon.
    Expired,
    /// It is removed as it is not what its NodePool would launch today.
    Drifted,
}

impl NodeReason {
    /// Whether the node is removed.
    #[must_use]
    pub fn is_removal(self) -> bool {
        matches!(self, NodeReason::Empty | NodeReason::Underutilized) || self.is_departure()
    }

    /// Whether the node is removed for another reason than cost.
    #[must_use]
    pub fn is_departure(self) -> bool {
        use NodeReason::{Drifted, Expired, Interrupted, Unhealthy};
        matches!(self, Interrupted | Unhealthy | Expired | Drifted)
    }
}

impl From<DepartureReason> for NodeReason {
    fn from(reason: DepartureReason) -> NodeReason {
        match reason {
            DepartureReason::Interrupted => NodeReason::Interrupted,
            DepartureReason::Unhealthy => NodeReason::Unhealthy,
            DepartureReason::Expired => NodeReason::Expired,
            DepartureReason::Drifted => NodeReason::Drifted,
        }
    }
}

/// What happens to a node that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDecision {
    /// Node name.
    pub node: String,
    /// Why it stays or goes.
    pub reason: NodeReason,
    /// The pod that keeps it, if one does: the first in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// `namespace/name` of the PodDisruptionBudget that keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// That it has to go, if it does, whether or not something keeps it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub departure: Option<Departure>,
    /// One sentence for people; not judged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Price per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<UsdMicros>,
}

/// A pod that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// The pod.
    pub pod: PodRef,
    /// The node it leaves.
    pub from: String,
    /// The node or slot it goes to.
    pub to: String,
}

/// What may happen at once, after all waves before it are done. Within a wave, launches are ready before evictions begin (but pods of
/// nodes that go whatever stands against it do not wait), and nodes are removed once their pods are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Slots to launch, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launches: Vec<String>,
    /// Pods to evict, sorted; each goes where [`Consolidation::moves`] says, or nowhere if the plan leaves it out. Their nodes take no new pods from here on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evictions: Vec<PodRef>,
    /// Nodes to remove, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removals: Vec<String>,
}

/// The figures of consolidation. Every one is recomputed by the checker. Costs are per hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsolidationSummary {
    /// Price of all nodes with a price, before.
    pub cost_before: UsdMicros,
    /// The same afterwards, launches included.
    pub cost_after: UsdMicros,
    /// Nodes removed.
    pub nodes_removed: u64,
    /// Pods moved.
    pub pods_moved: u64,
    /// One-off costs of the plan in micro-dollars (not per hour): evictions and removals, before spreading.
    pub disruption_cost: UsdMicros,
    /// One-off costs spread over the horizon.
    pub disruption_rate: UsdMicros,
    /// Price of nodes that may not be removed.
    pub cost_fixed: UsdMicros,
    /// Proven: under this policy no plan brings `costAfter + disruptionRate` below this.
    pub bound: UsdMicros,
    /// At most this is left to save: `costAfter + disruptionRate - bound`.
    pub left: UsdMicros,
    /// `left` as a share of `costBefore`, rounded up.
    pub left_share: Ppm,
}

/// What is decided about the nodes that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consolidation {
    /// Figures.
    pub summary: ConsolidationSummary,
    /// All nodes of the snapshot, sorted by name.
    pub nodes: Vec<NodeDecision>,
    /// Pods that move, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
    /// In order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// Proof of the bound.
    pub certificate: Certificate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_karpenters() {
        let policy = ConsolidationPolicy::default();
        let weight = |deletion_cost, priority| policy.weight(deletion_cost, priority, Some(86_400), 7);
        assert_eq!(weight(0, 0), WEIGHT_ONE);
        assert_eq!(weight(i32::MAX, 0), 10 * WEIGHT_ONE);
        assert_eq!(weight(i32::MIN, 0), 0);
        assert_eq!(weight(0, 1 << 25), 2 * WEIGHT_ONE);
        assert_eq!(weight(0, i32::MAX), 10 * WEIGHT_ONE);
    }

    #[test]
    fn age_adds_to_weights_and_restarts_take_from_them() {
        let policy = ConsolidationPolicy {
            age_weight: Ppm(500_000),
            restart_weight: Ppm(250_000),
            ..ConsolidationPolicy::default()
        };
        assert_eq!(policy.weight(0, 0, Some(2 * 86_400), 0), 2 * WEIGHT_ONE);
        assert_eq!(policy.weight(0, 0, Some(12 * 3_600), 0), WEIGHT_ONE * 5 / 4);
        assert_eq!(policy.weight(0, 0, Some(-5), 2), WEIGHT_ONE / 2, "created in the future: no age");
        assert_eq!(policy.weight(0, 0, None, 9), 0);
        assert_eq!(policy.weight(0, 0, Some(i64::from(u32::MAX)), 0), 10 * WEIGHT_ONE);
    }

    /// Goal: a policy out of range, as a foreign plan may carry one, gives a figure and no panic.
    #[test]
    fn figures_out_of_range_saturate() {
        let policy = ConsolidationPolicy {
            eviction_cost: UsdMicros(i64::MAX),
            age_weight: Ppm(i64::MAX),
            restart_weight: Ppm(i64::MIN),
            ..ConsolidationPolicy::default()
        };
        assert_eq!(policy.weight(i32::MAX, i32::MAX, Some(i64::MAX), u32::MAX), 10 * WEIGHT_ONE);
        assert_eq!(policy.eviction_rate(i64::MAX), UsdMicros(i64::MAX));
        assert_eq!(policy.eviction_rate(i64::MIN), UsdMicros(i64::MIN));
    }

    #[test]
    fn one_off_costs_are_spread_over_the_horizon() {
        let policy = ConsolidationPolicy { horizon_minutes: 120, ..ConsolidationPolicy::default() };
        assert_eq!(policy.per_hour(UsdMicros(1_000), WEIGHT_ONE), UsdMicros(500));
        assert_eq!(policy.per_hour(UsdMicros(1_000), WEIGHT_ONE / 2), UsdMicros(250));
    }
}
