//! Removals in a plan's spec.

use std::collections::BTreeMap;
use stowage_api::{Action, PlanSpec};
use stowage_models::labels;
use stowage_models::objects::Node;
use stowage_models::plan::Plan;
use stowage_models::units::UsdMicros;

/// The name of the action that removes a node.
#[must_use]
pub fn action(node: &str) -> String {
    format!("remove/{node}")
}

/// Adds what a plan removes to a spec that says what it launches: actions in the order of waves, nodes, and what it makes of the bill.
pub(crate) fn with_removals(mut spec: PlanSpec, plan: &Plan, nodes: &[Node]) -> PlanSpec {
    let Some(consolidation) = plan.consolidation.as_ref().filter(|one| !one.waves.is_empty()) else {
        return spec;
    };
    let mut waves: BTreeMap<String, i32> = BTreeMap::new();
    for (index, wave) in consolidation.waves.iter().enumerate() {
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        waves.extend(wave.launches.iter().map(|slot| (format!("launch/{slot}"), number)));
        waves.extend(wave.removals.iter().map(|node| (action(node), number)));
    }
    let by_name: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let gone = || consolidation.nodes.iter().filter(|one| one.reason.is_removal());
    for one in gone() {
        let label = |key: &str| {
            let node = by_name.get(one.node.as_str());
            node.and_then(|node| node.labels.get(key)).cloned().unwrap_or_default()
        };
        let moves = consolidation.moves.iter().filter(|moved| moved.from == one.node);
        spec.actions.push(Action {
            id: action(&one.node),
            kind: "Remove".to_owned(),
            node_pool: label(labels::NODEPOOL),
            instance_type: label(labels::INSTANCE_TYPE),
            zone: label(labels::ZONE),
            capacity_type: label(labels::CAPACITY_TYPE),
            price_micros: one.price.unwrap_or_default().0.max(0),
            pods: moves.map(|moved| moved.pod.0.clone()).collect(),
            node: Some(one.node.clone()),
            reason: Some(format!("{:?}", one.reason)),
            ..Action::default()
        });
    }
    for action in &mut spec.actions {
        action.wave = waves.get(&action.id).copied();
    }
    // Stable: launches come before removals.
    spec.actions.sort_by_key(|action| action.wave);
    let (added, removed) = (plan.launches.len(), gone().count());
    spec.nodes = format!("+{added}/-{removed}");
    let saved: UsdMicros = gone().filter_map(|one| one.price).sum();
    let change = spec.launch_cost_micros.saturating_sub(saved.0);
    let month = UsdMicros(change.saturating_abs()).per_month();
    let sign = if change < 0 { '-' } else { '+' };
    spec.monthly = format!("{sign}${}.{:02}", month.0 / 1_000_000, month.0 % 1_000_000 / 10_000);
    spec
}
