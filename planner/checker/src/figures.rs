//! The figures of the summary and of the search.

use crate::existing;
use crate::finding::{Findings, code};
use crate::ledger::Ledger;
use crate::problem::Problem;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Plan;
use stowage_models::units::{Ppm, UsdMicros};

/// Recomputes every figure of the summary from the lists of the plan, which are checked elsewhere.
pub(crate) fn check(
    problem: &Problem<'_>,
    catalog: &Catalog,
    plan: &Plan,
    ledger: &Ledger,
    findings: &mut Findings,
) {
    let summary = &plan.summary;
    let length = |lists: Vec<usize>| lists.into_iter().sum::<usize>() as i128;
    let launch_price = |estimated: bool| {
        let launches = plan
            .launches
            .iter()
            .filter(move |launch| launch.price_estimated || !estimated);
        launches.map(|launch| i128::from(launch.price.0)).sum::<i128>()
    };
    let node_prices: Vec<Option<UsdMicros>> = problem
        .nodes
        .iter()
        .map(|bin| existing::price(catalog, bin.node))
        .collect();
    let cost_before: i128 = node_prices
        .iter()
        .flatten()
        .map(|price| i128::from(price.0))
        .sum();
    let figures = [
        (
            "podsPending",
            summary.pods_pending.into(),
            problem.pending.len() as i128,
        ),
        (
            "podsOnExisting",
            summary.pods_on_existing.into(),
            length(plan.existing.iter().map(|node| node.pods.len()).collect()),
        ),
        (
            "podsOnNew",
            summary.pods_on_new.into(),
            length(plan.launches.iter().map(|one| one.pods.len()).collect()),
        ),
        (
            "podsUnplaced",
            summary.pods_unplaced.into(),
            length(plan.unplaced.iter().map(|entry| entry.pods.len()).collect()),
        ),
        (
            "groups",
            summary.groups.into(),
            ledger.placed.iter().filter(|pods| **pods > 0).count() as i128,
        ),
        (
            "offerings",
            summary.offerings.into(),
            problem.offerings.list.len() as i128,
        ),
        (
            "nodesBefore",
            summary.nodes_before.into(),
            problem.snapshot.nodes.len() as i128,
        ),
        (
            "nodesLaunched",
            summary.nodes_launched.into(),
            plan.launches.len() as i128,
        ),
        (
            "nodesUnpriced",
            summary.nodes_unpriced.into(),
            node_prices.iter().filter(|one| one.is_none()).count() as i128,
        ),
        ("costBefore", summary.cost_before.0.into(), cost_before),
        ("launchCost", summary.launch_cost.0.into(), launch_price(false)),
        (
            "estimatedCost",
            summary.estimated_cost.0.into(),
            launch_price(true),
        ),
    ];
    for (name, stated, actual) in figures {
        findings.expect_eq::<i128>(code::FIGURE, || format!("summary.{name}"), &stated, &actual);
    }
    let gap = Ppm::gap(summary.launch_cost, summary.launch_bound);
    findings.expect_eq(code::GAP, || "summary.gap".to_owned(), &summary.gap.0, &gap.0);
    let bounds = [Some(summary.launch_bound), summary.launch_bound_without_weights];
    for bound in bounds
        .into_iter()
        .flatten()
        .filter(|bound| *bound > summary.launch_cost)
    {
        // Cannot happen to a valid plan with a valid proof; said all the same, in case one of the two checks is wrong.
        let (bound, cost) = (bound.0, summary.launch_cost.0);
        findings.add(
            code::BOUND,
            format!("a bound of {bound} is above the cost of {cost} micro-dollars per hour"),
        );
    }
}

/// The search never lost ground and ended at the figures of the summary.
pub(crate) fn check_progress(plan: &Plan, findings: &mut Findings) {
    for (index, pair) in plan.progress.windows(2).enumerate() {
        if pair[1].cost > pair[0].cost || pair[1].bound < pair[0].bound {
            let message = format!(
                "entry {} is worse than the one before: {:?} after {:?}",
                index + 1,
                pair[1],
                pair[0]
            );
            findings.add(code::PROGRESS, message);
        }
    }
    if let Some(last) = plan.progress.last() {
        let last = (last.cost.0, last.bound.0);
        let end = (plan.summary.launch_cost.0, plan.summary.launch_bound.0);
        findings.expect_eq(
            code::PROGRESS,
            || "end of the search (cost, bound)".to_owned(),
            &last,
            &end,
        );
    }
}
