//! Goal: the losses of its nodes add up to a plan's gap.

use std::time::Duration;
use stowage_bench::losses::{losses, markdown};
use stowage_bench::trial::{accepted, recorded};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;

#[test]
fn losses_of_nodes_add_up_to_the_gap() {
    let snapshot = recorded("mixed-10k");
    let plan = accepted(&snapshot, Catalog::embedded(), &Policy::default(), Duration::from_millis(300));
    let all = losses(&snapshot, Catalog::embedded(), &plan).expect("a flat proof");
    assert_eq!(all.len(), plan.launches.len());
    let total: i64 = all.iter().map(|one| one.lost.0).sum();
    let apart = plan.summary.launch_cost.0 - plan.summary.launch_bound.0;
    // Each node's worth is rounded down, the bound up.
    assert!((total - apart).unsigned_abs() <= all.len() as u64 + 1, "{total} lost, {apart} apart");
    assert!(all.windows(2).all(|pair| pair[0].lost >= pair[1].lost));
    let text = markdown(&plan, &all, 5);
    assert!(text.contains(&format!("5 of {} nodes", all.len())) && text.lines().count() == 9, "{text}");
}

#[test]
fn a_bound_that_branching_proves_is_not_told_by_node() {
    let snapshot = recorded("small");
    let plan = accepted(&snapshot, Catalog::embedded(), &Policy::default(), Duration::from_secs(1));
    assert!(losses(&snapshot, Catalog::embedded(), &plan).is_err());
}
