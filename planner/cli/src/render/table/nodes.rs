//! What would be launched, and what goes to nodes that exist.

use super::tinted;
use crate::render::figures::{self, per_hour, pods};
use crate::render::grid::{self, Column};
use crate::render::groups::{self, Group, Kind};
use crate::style::Palette;
use stowage_models::labels;
use stowage_models::plan::{ExistingNode, Plan};
use stowage_models::quantity::{CPU, MEMORY};
use stowage_models::units::UsdMicros;

/// Kinds of launches listed at most; the rest is summed up. A plan of 10,000 pods has about a dozen kinds.
const KINDS_MAX: usize = 30;

/// Existing nodes listed at most: placements there cost nothing, so a few tell the story.
const NODES_MAX: usize = 10;

const LAUNCH_COLUMNS: [Column; 11] = [
    Column::fixed(""),
    Column::figure("nodes"),
    Column::text("type"),
    Column::text("zone"),
    Column::fixed("capacity"),
    Column::text("nodepool"),
    Column::figure("$/h each"),
    Column::figure("$/h"),
    Column::figure("pods"),
    Column::figure("cpu"),
    Column::figure("memory"),
];

fn launch_row((kind, group): &(Kind, Group)) -> Vec<String> {
    let estimated = if group.estimated { "~" } else { "" };
    let full =
        |name| figures::whole_per_cent(figures::fill(group.used.get(name), group.allocatable.get(name)));
    vec![
        "+".to_owned(),
        figures::thousands(group.nodes),
        kind.instance_type.clone(),
        kind.zone.clone(),
        kind.capacity_type.clone(),
        kind.node_pool.clone(),
        format!("{estimated}{}", bare(group.price)),
        format!("{estimated}{}", bare(group.cost)),
        figures::thousands(group.pods),
        full(CPU),
        full(MEMORY),
    ]
}

/// Nodes to launch, by kind.
pub(super) fn launches(plan: &Plan, palette: Palette) -> String {
    if plan.launches.is_empty() {
        return String::new();
    }
    let groups = groups::dearest_first(&plan.launches);
    let rows: Vec<Vec<String>> = groups.iter().take(KINDS_MAX).map(launch_row).collect();
    let mut text =
        format!("{}\n", palette.strong(&format!("Launch {}", figures::nodes(plan.summary.nodes_launched))));
    text.push_str(&tinted(&grid::lay_out(&LAUNCH_COLUMNS, &rows, 2, palette), '+', |line| {
        palette.good(line)
    }));
    if groups.len() > KINDS_MAX {
        let rest: UsdMicros = groups[KINDS_MAX..].iter().map(|(_, group)| group.cost).sum();
        let kinds = figures::count((groups.len() - KINDS_MAX) as u64, "more kind", "more kinds");
        text.push_str(&format!("    ... {kinds}, {} together (-o json lists all)\n", per_hour(rest)));
    }
    if groups.iter().any(|(_, group)| group.estimated) {
        text.push_str(&palette.faint("    ~ estimated spot price"));
        text.push('\n');
    }
    text
}

/// A price without its dollar sign, for columns whose heading has it.
fn bare(price: UsdMicros) -> String {
    price.to_string().replace('$', "")
}

/// Pods on nodes that exist.
pub(super) fn placements(plan: &Plan, palette: Palette) -> String {
    let nodes = groups::receiving(&plan.existing);
    if nodes.is_empty() {
        return String::new();
    }
    let columns = [
        Column::fixed(""),
        Column::text("node"),
        Column::text("type"),
        Column::text("zone"),
        Column::figure("pods"),
        Column::figure("cpu"),
        Column::figure("memory"),
    ];
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .take(NODES_MAX)
        .map(|node| {
            let used = groups::used_by_node(node);
            let full = |name| {
                let of = node.allocatable.get(name);
                let before = figures::whole_per_cent(figures::fill(node.running.get(name), of));
                let after = figures::whole_per_cent(figures::fill(used.get(name), of));
                format!("{} → {after}", before.trim_end_matches(" %"))
            };
            vec![
                "~".to_owned(),
                node.name.clone(),
                node.instance_type.clone().unwrap_or_default(),
                node.zone.clone().unwrap_or_default(),
                format!("+{}", node.pods.len()),
                full(CPU),
                full(MEMORY),
            ]
        })
        .collect();
    let title = format!(
        "Place {} on {} that exist",
        pods(plan.summary.pods_on_existing),
        figures::nodes(nodes.len() as u64)
    );
    let mut text = format!("{}\n", palette.strong(&title));
    text.push_str(&tinted(&grid::lay_out(&columns, &rows, 2, palette), '~', |line| palette.notable(line)));
    if nodes.len() > NODES_MAX {
        let rest: usize = nodes[NODES_MAX..].iter().map(|node| node.pods.len()).sum();
        let more = (nodes.len() - NODES_MAX) as u64;
        text.push_str(&format!(
            "    ... {} on {} (-o json lists all)\n",
            pods(rest as u64),
            figures::count(more, "more node", "more nodes")
        ));
    }
    text
}

/// Zone, type and capacity of a node in one line, as far as they are known.
#[must_use]
pub fn describe(node: &ExistingNode) -> String {
    let known = [&node.instance_type, &node.zone, &node.capacity_type, &node.node_pool];
    let parts: Vec<&str> = known.iter().filter_map(|part| part.as_deref()).collect();
    if parts.is_empty() { format!("no {} label", labels::INSTANCE_TYPE) } else { parts.join(" ") }
}
