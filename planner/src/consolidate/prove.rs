//! The bound of the joint problem, from integer multipliers (`docs/formulation.md` section 5.3).

use super::model::Model;
use crate::certificate::certify_flat;
use crate::core::Core;
use crate::pricing::{Multipliers, price_all};
use crate::problem::Problem;
use std::collections::BTreeMap;
use stowage_models::plan::{Certificate, MULTIPLIER_BITS};
use stowage_models::snapshot::Snapshot;

/// A certificate for the given demand and what it proves: no plan costs less, nodes that stay and one-off costs included, in
/// micro-dollars per hour.
pub(super) fn prove(
    snapshot: &Snapshot,
    problem: &Problem<'_>,
    model: &Model,
    demand: Vec<i64>,
    multipliers: &Multipliers,
) -> (Certificate, i64) {
    let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(problem, demand, &limits, true);
    let list = price_all(&core, multipliers);
    let (certificate, _) = certify_flat(problem, &core, multipliers, &list);
    let bound = bound(snapshot, problem, model, &core, &certificate);
    (certificate, bound)
}

/// `sum_g pi_g q_g - sum_fixed V_i + sum_removable min(p_i - own_i - V_i, e_i) + sum_fixed p_i + sum_departing e_i`, rounded up, where
/// `own_i` is the worth of a node's own pods and `V_i` that of its room.
fn bound(
    snapshot: &Snapshot,
    problem: &Problem<'_>,
    model: &Model,
    core: &Core,
    certificate: &Certificate,
) -> i64 {
    let multiplier: BTreeMap<&str, i64> =
        certificate.rows.iter().map(|row| (row.pod.0.as_str(), row.multiplier)).collect();
    let pi: Vec<i128> = problem
        .groups
        .iter()
        .map(|group| {
            let first = group.whole.iter().map(|pod| problem.pod_ref(*pod)).min();
            i128::from(first.and_then(|pod| multiplier.get(pod.0.as_str()).copied()).unwrap_or(0))
        })
        .collect();
    let mut total: i128 = pi.iter().zip(&core.demand).map(|(pi, pods)| pi * i128::from(*pods)).sum();
    let mut room: BTreeMap<&str, i128> =
        certificate.node_vectors.iter().map(|one| (one.node.as_str(), i128::from(one.value))).collect();
    for one in &model.removable {
        let value = room.remove(snapshot.nodes[one.node].name.as_str()).unwrap_or(0);
        let own: i128 = one.own.iter().map(|(g, count)| pi[*g as usize] * i128::from(*count)).sum();
        let stays = (i128::from(one.price) << MULTIPLIER_BITS) - own - value;
        total += stays.min(i128::from(one.leaving) << MULTIPLIER_BITS);
    }
    total -= room.values().sum::<i128>();
    let one = 1_i128 << MULTIPLIER_BITS;
    let up = (total + one - 1).div_euclid(one) + i128::from(model.fixed) + i128::from(model.departing);
    i64::try_from(up.max(0)).unwrap_or(i64::MAX)
}
