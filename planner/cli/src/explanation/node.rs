//! What a node is for and what it holds.

use super::{Explanation, before_and_after, substitutes, why};
use crate::failure::Failure;
use crate::render::figures::{self, per_hour, per_month};
use crate::render::{groups, table};
use stowage_models::plan::{ExistingNode, Launch, Plan};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};

/// Explains what a node is for.
///
/// # Errors
/// When the plan has no such node.
pub fn node(plan: &Plan, name: &str) -> Result<Explanation, Failure> {
    if let Some(launch) = plan.launches.iter().find(|launch| launch.slot == name) {
        return Ok(new_node(plan, launch));
    }
    if let Some(node) = plan.existing.iter().find(|node| node.name == name) {
        return Ok(existing_node(node));
    }
    let known =
        || plan.launches.iter().map(|launch| &launch.slot).chain(plan.existing.iter().map(|node| &node.name));
    let hint = match known().find(|known| known.contains(name)) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            "nodes to launch are named new-0001 upwards; `stowage show PLAN -o json` lists all".to_owned()
        }
    };
    Err(Failure::new(name, "the plan has no such node", hint))
}

fn new_node(plan: &Plan, launch: &Launch) -> Explanation {
    let kind = groups::Kind::of(launch);
    let carries = figures::pods(launch.pods.len() as u64);
    let mut told =
        Explanation::new(format!("node {}", launch.slot), format!("is launched for {carries}: {kind}"));
    let estimated = if launch.price_estimated { " (estimated)" } else { "" };
    let share = figures::fill(launch.price.0, plan.summary.launch_cost.0);
    told.fact(
        "price",
        format!(
            "{}{estimated}, {}, {share} of all launches",
            per_hour(launch.price),
            per_month(launch.price)
        ),
    );
    told.fact("holds", holds(&groups::used_by_launch(launch), &launch.allocatable));
    told.fact("DaemonSets", figures::resources(&launch.daemon_sets));
    if !launch.labels.is_empty() {
        let labels: Vec<String> = launch.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        told.fact("labels", labels.join(", "));
    }
    told.fact("why", why(plan));
    told.substitutes = substitutes(launch);
    told.pods = launch.pods.clone();
    told
}

fn existing_node(node: &ExistingNode) -> Explanation {
    let answer = match node.pods.len() as u64 {
        0 => "exists and gets no pod from this plan".to_owned(),
        count => format!("exists and gets {}", figures::pods(count)),
    };
    let mut told = Explanation::new(format!("node {}", node.name), answer);
    told.fact("is", table::describe(node));
    let price = node.price.map_or_else(|| "not in the catalogue".to_owned(), per_hour);
    told.fact("price", price);
    let used = groups::used_by_node(node);
    told.fact("fill", before_and_after(node, &used));
    told.fact("holds", holds(&used, &node.allocatable));
    told.pods = node.pods.clone();
    told
}

fn holds(used: &Resources, allocatable: &Resources) -> String {
    let amounts = [CPU, MEMORY, PODS].map(|name| format!("{name} {}", figures::of(name, used, allocatable)));
    amounts.join(", ")
}
