//! The figures of the summary and of the search.

use crate::existing;
use crate::finding::{Findings, code};
use crate::ledger::Ledger;
use crate::preferences;
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
    let Plan { summary, launches, existing, unplaced, .. } = plan;
    let pods = |lists: &mut dyn Iterator<Item = usize>| lists.sum();
    let counts: [(&str, u64, usize); 9] = [
        ("podsPending", summary.pods_pending, problem.pods.pending.len()),
        ("podsOnExisting", summary.pods_on_existing, pods(&mut existing.iter().map(|node| node.pods.len()))),
        ("podsOnNew", summary.pods_on_new, pods(&mut launches.iter().map(|launch| launch.pods.len()))),
        ("podsUnplaced", summary.pods_unplaced, pods(&mut unplaced.iter().map(|entry| entry.pods.len()))),
        ("groups", summary.groups, ledger.placed.iter().filter(|pods| **pods > 0).count()),
        ("offerings", summary.offerings, problem.offerings.list.len()),
        ("nodesBefore", summary.nodes_before, problem.snapshot.nodes.len()),
        ("nodesLaunched", summary.nodes_launched, launches.len()),
        ("nodesUnpriced", summary.nodes_unpriced, prices(problem, catalog).filter(Option::is_none).count()),
    ];
    for (name, stated, actual) in counts {
        findings.expect_eq(
            code::FIGURE,
            &format!("summary.{name}"),
            (&u128::from(stated), &(actual as u128)),
        );
    }
    preferences::check(problem, plan, ledger, findings);
    check_money(problem, catalog, plan, findings);
}

/// Costs, and what the bound says about them.
fn check_money(problem: &Problem<'_>, catalog: &Catalog, plan: &Plan, findings: &mut Findings) {
    let Plan { summary, launches, .. } = plan;
    let sum =
        |prices: &mut dyn Iterator<Item = UsdMicros>| prices.map(|price| i128::from(price.0)).sum::<i128>();
    let estimated = launches.iter().filter(|launch| launch.price_estimated);
    let costs = [
        ("costBefore", summary.cost_before, sum(&mut prices(problem, catalog).flatten())),
        ("launchCost", summary.launch_cost, sum(&mut launches.iter().map(|launch| launch.price))),
        ("estimatedCost", summary.estimated_cost, sum(&mut estimated.map(|launch| launch.price))),
    ];
    for (name, stated, actual) in costs {
        findings.expect_eq(code::FIGURE, &format!("summary.{name}"), (&i128::from(stated.0), &actual));
    }
    let gap = Ppm::gap(summary.total_cost(), summary.launch_bound);
    findings.expect_eq(code::GAP, "summary.gap", (&summary.gap.0, &gap.0));
    let bounds = [Some(summary.launch_bound), summary.launch_bound_without_weights];
    for bound in bounds.into_iter().flatten().filter(|bound| *bound > summary.total_cost()) {
        // Cannot happen to a valid plan with a valid proof; said all the same, in case one of the two checks is wrong.
        let (bound, cost) = (bound.0, summary.total_cost().0);
        let message = format!("a bound of {bound} is above the cost of {cost} micro-dollars per hour");
        findings.add(code::BOUND, message);
    }
}

/// Prices of the existing nodes.
fn prices<'p>(problem: &'p Problem<'_>, catalog: &'p Catalog) -> impl Iterator<Item = Option<UsdMicros>> {
    problem.nodes.iter().map(|bin| existing::price(&problem.overlaid, catalog, bin.node))
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
        let end = (plan.summary.total_cost().0, plan.summary.launch_bound.0);
        findings.expect_eq(code::PROGRESS, "end of the search (cost, bound)", (&last, &end));
    }
}
