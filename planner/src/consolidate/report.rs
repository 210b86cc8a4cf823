//! What a consolidation says of itself.

use super::Job;
use super::model::Model;
use super::rules::{Verdict, pod_weight};
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::{ConsolidationSummary, Move, NodeDecision, NodeReason, WEIGHT_ONE};
use stowage_models::plan::{Plan, SnapshotRef};
use stowage_models::schedule::instant;
use stowage_models::units::{Ppm, UsdMicros};

impl Job<'_> {
    /// Pods by group that the plan has to place: all that may move, and those that wait and are not left out.
    pub(super) fn demand(&self, problem: &Problem<'_>, model: &Model, plan: &Plan) -> Vec<i64> {
        let mut demand: Vec<i64> = problem.groups.iter().map(|group| group.whole.len() as i64).collect();
        for pod in plan.unplaced.iter().flat_map(|entry| &entry.pods) {
            if let Some(group) = model.group_of.get(pod) {
                demand[*group as usize] -= 1;
            }
        }
        demand
    }

    pub(super) fn summary(
        &self,
        plan: &Plan,
        verdicts: &[Verdict],
        removed: &BTreeSet<usize>,
        moves: &[Move],
        bound: i64,
    ) -> ConsolidationSummary {
        let before: i64 = verdicts.iter().filter_map(|verdict| verdict.price).sum();
        let gone: i64 = removed.iter().filter_map(|node| verdicts[*node].price).sum();
        let nodes = removed.len() as i64;
        let (mut once, mut rate) = (self.wanted.removal_cost.0 * nodes, self.wanted.removal_rate().0 * nodes);
        let now = self.snapshot.taken_at.as_deref().and_then(instant);
        for pod in removed.iter().flat_map(|node| &verdicts[*node].moving) {
            let weight = pod_weight(self.wanted, now, &self.snapshot.pods[*pod as usize]);
            let cost = i128::from(self.wanted.eviction_cost.0) * i128::from(weight) / i128::from(WEIGHT_ONE);
            once += i64::try_from(cost).unwrap_or(i64::MAX);
            rate += self.wanted.eviction_rate(weight).0;
        }
        let after = before - gone + plan.summary.launch_cost.0;
        let bound = bound.min(after + rate);
        let left = after + rate - bound;
        ConsolidationSummary {
            cost_before: UsdMicros(before),
            cost_after: UsdMicros(after),
            nodes_removed: removed.len() as u64,
            pods_moved: moves.len() as u64,
            disruption_cost: UsdMicros(once),
            disruption_rate: UsdMicros(rate),
            cost_fixed: UsdMicros(verdicts.iter().filter(|v| v.kept.is_some()).filter_map(|v| v.price).sum()),
            bound: UsdMicros(bound),
            left: UsdMicros(left),
            left_share: Ppm::gap(UsdMicros(before + left), UsdMicros(before)),
        }
    }

    pub(super) fn decisions(
        &self,
        verdicts: &[Verdict],
        removed: &BTreeSet<usize>,
        model: &Model,
        pi: &[f64],
    ) -> Vec<NodeDecision> {
        let mut worth: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        for one in &model.removable {
            let own: f64 = one.own.iter().map(|(g, count)| pi[*g as usize] * *count as f64).sum();
            worth.insert(one.node, ((own * 1e6) as i64, one.leaving));
        }
        let decide = |(index, verdict): (usize, &Verdict)| {
            let node = self.snapshot.nodes[index].name.clone();
            let price = verdict.price.map(UsdMicros);
            match &verdict.kept {
                Some(kept) => NodeDecision {
                    node,
                    reason: kept.reason,
                    pod: kept.pod.clone(),
                    budget: kept.budget.clone(),
                    departure: verdict.departure().cloned(),
                    message: kept.message.clone(),
                    price,
                },
                None => {
                    let is_gone = removed.contains(&index);
                    let reason = if is_gone { verdict.removal() } else { NodeReason::Worth };
                    let (pods, leaving) = worth.get(&index).copied().unwrap_or((0, 0));
                    let message = if is_gone {
                        format!("{} pods move", verdict.moving.len())
                    } else {
                        format!(
                            "its {} pods would cost {} an hour elsewhere, moving them {} an hour over the horizon",
                            verdict.moving.len(),
                            UsdMicros(pods),
                            UsdMicros(leaving)
                        )
                    };
                    let departure = verdict.departure().cloned();
                    NodeDecision { node, reason, pod: None, budget: None, departure, message, price }
                }
            }
        };
        verdicts.iter().enumerate().map(decide).collect()
    }

    /// The plan was made for the cluster without the removed nodes; what it says about the cluster before is made true.
    pub(super) fn finish(&self, plan: &mut Plan, verdicts: &[Verdict]) {
        plan.snapshot = SnapshotRef {
            digest: self.snapshot.digest(),
            taken_at: self.snapshot.taken_at.clone(),
            origin: self.snapshot.origin.clone(),
        };
        plan.summary.nodes_before = self.snapshot.nodes.len() as u64;
        plan.summary.cost_before = UsdMicros(verdicts.iter().filter_map(|verdict| verdict.price).sum());
        plan.summary.nodes_unpriced =
            verdicts.iter().filter(|verdict| verdict.price.is_none()).count() as u64;
    }
}
