//! What unmet preferences cost (formulation, sections 1.7 and 1.10).

use crate::finding::{Findings, code};
use crate::ledger::{Counts, Ledger, count};
use crate::problem::Problem;
use stowage_models::plan::{
    PREFERENCE_GIB, PREFERENCE_MILLICORE, PREFERENCE_POD_MIN, PREFERENCE_WEIGHT_MAX, Plan,
};
use stowage_models::quantity::{CPU, MEMORY, Resources};

/// A fine at most, in micro-dollars per hour.
const FINE_MAX: i128 = 100_000_000_000;

impl Problem<'_> {
    /// What a pod of the group pays for unmet weights, in micro-dollars per hour.
    pub(crate) fn fine(&self, group: usize, unmet: i64) -> i64 {
        if unmet <= 0 {
            return 0;
        }
        share_of_worth(&self.pods.groups[group].request, unmet)
    }
}

/// That share of what a pod with this request is worth, in micro-dollars per hour.
pub(crate) fn share_of_worth(request: &Resources, weight: i64) -> i64 {
    let amount = |name: &str| i128::from(request.get(name));
    let memory = (amount(MEMORY) * i128::from(PREFERENCE_GIB)).div_euclid(1 << 30);
    let worth = (amount(CPU) * i128::from(PREFERENCE_MILLICORE) + memory).max(PREFERENCE_POD_MIN.into());
    let most = i128::from(PREFERENCE_WEIGHT_MAX);
    let fine = worth * i128::from(weight).min(most) / most;
    i64::try_from(fine.min(FINE_MAX)).unwrap_or(i64::MAX)
}

/// Recomputes the price of unmet preferences.
pub(crate) fn check(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger, findings: &mut Findings) {
    let fines = |counts: &Counts, unmet: &dyn Fn(usize) -> i64| -> i128 {
        let each = |(group, pods): (&usize, &u64)| {
            i128::from(problem.fine(*group, unmet(*group))) * i128::from(*pods)
        };
        counts.iter().map(each).sum()
    };
    let mut total = 0;
    for (counts, kind) in ledger.launch_groups.iter().zip(&ledger.launch_kind) {
        if let Some(kind) = kind.map(|kind| &problem.offerings.kinds[kind]) {
            total += fines(counts, &|group| problem.kind_unmet(kind, group));
        }
    }
    for stated in &plan.existing {
        if let Some(node) = problem.node(&stated.name) {
            total += fines(&count(problem, &stated.pods), &|group| problem.node_unmet(node, group));
        }
    }
    if problem.asked.preferences {
        total += crate::wishes::price(problem, plan, ledger);
    }
    let stated = i128::from(plan.summary.preference_cost.0);
    findings.expect_eq(code::FIGURE, "summary.preferenceCost", (&stated, &total));
}
