//! Existing nodes: all of them, with their facts, and pods that match and fit.

use crate::finding::{Findings, code};
use crate::ledger::{Ledger, by_name, count, demand, leave, same};
use crate::nodes::{NodeBin, capacity_type};
use crate::overlays::Overlaid;
use crate::problem::Problem;
use std::collections::BTreeSet;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::Node;
use stowage_models::plan::{ExistingNode, Plan};
use stowage_models::units::UsdMicros;

/// The price of an existing node, if the catalogue knows it.
pub(crate) fn price(overlaid: &Overlaid<'_>, catalog: &Catalog, node: &Node) -> Option<UsdMicros> {
    let instance = catalog.get(node.labels.get(labels::INSTANCE_TYPE)?)?;
    let list = instance.price(node.labels.get(labels::ZONE)?, capacity_type(node)?)?;
    Some(overlaid.price(|key| node.labels.get(key).map(String::as_str), list).usd)
}

/// Checks the list of existing nodes and records what the plan leaves of each.
pub(crate) fn check(
    problem: &Problem<'_>,
    catalog: &Catalog,
    plan: &Plan,
    ledger: &mut Ledger,
    findings: &mut Findings,
) {
    for pair in plan.existing.windows(2).filter(|pair| pair[0].name >= pair[1].name) {
        findings.add(code::ORDER, format!("existing: node {} comes before {}", pair[0].name, pair[1].name));
    }
    let listed: BTreeSet<&str> = plan.existing.iter().map(|node| node.name.as_str()).collect();
    for bin in problem.nodes.iter().filter(|bin| !listed.contains(bin.node.name.as_str())) {
        findings.add(code::NODE_LIST, format!("node {} exists and is in the plan 0 times", bin.node.name));
    }
    for stated in &plan.existing {
        let Ok(index) = problem.nodes.binary_search_by(|bin| bin.node.name.as_str().cmp(&stated.name)) else {
            findings.add(code::NODE_LIST, format!("node {} is in the plan and does not exist", stated.name));
            continue;
        };
        let bin = &problem.nodes[index];
        check_facts((&problem.overlaid, catalog), bin, stated, findings);
        check_pods(problem, bin, stated, &mut ledger.node_left[index], findings);
    }
}

fn check_facts(
    (overlaid, catalog): (&Overlaid<'_>, &Catalog),
    bin: &NodeBin<'_>,
    stated: &ExistingNode,
    findings: &mut Findings,
) {
    let node = bin.node;
    let label = |key: &str| node.labels.get(key).cloned();
    let facts = [
        ("NodePool", &stated.node_pool, label(labels::NODEPOOL)),
        ("instance type", &stated.instance_type, label(labels::INSTANCE_TYPE)),
        ("zone", &stated.zone, label(labels::ZONE)),
        ("capacity type", &stated.capacity_type, capacity_type(node).map(str::to_owned)),
    ];
    for (what, stated, actual) in facts {
        findings.expect_eq(code::NODE_FACTS, &format!("{what} of node {}", node.name), (stated, &actual));
    }
    let price = price(overlaid, catalog, node);
    findings.expect_eq(code::NODE_FACTS, &format!("price of node {}", node.name), (&stated.price, &price));
    let amounts =
        [("allocatable", &stated.allocatable, &node.allocatable), ("running", &stated.running, &bin.running)];
    for (what, stated, actual) in amounts.into_iter().filter(|(_, stated, actual)| !same(stated, actual)) {
        findings.expect_eq(code::NODE_FACTS, &format!("{what} of node {}", node.name), (stated, actual));
    }
}

fn check_pods(
    problem: &Problem<'_>,
    bin: &NodeBin<'_>,
    stated: &ExistingNode,
    left: &mut Vec<i64>,
    findings: &mut Findings,
) {
    let name = &stated.name;
    let counts = count(problem, &stated.pods);
    let demand = demand(problem, &counts);
    let requested = by_name(problem, &demand);
    if !same(&stated.requested, &requested) {
        findings.expect_eq(
            code::REQUESTED,
            &format!("requested on node {name}"),
            (&stated.requested, &requested),
        );
    }
    if !bin.eligible && !stated.pods.is_empty() {
        let number = stated.pods.len();
        findings.add(code::NODE_CLOSED, format!("node {name} takes 0 pods, the plan puts {number} there"));
    } else if let Some(group) = counts.keys().find(|group| !problem.node_admits(bin, **group)) {
        let first = &problem.pods.groups[*group].first;
        findings.add(code::MATCH, format!("node {name} does not match pods like {first}"));
    } else {
        for (group, count) in &counts {
            let cap = problem.node_cap(bin, *group);
            if *count > cap {
                let first = &problem.pods.groups[*group].first;
                let message =
                    format!("node {name}: {count} pods like {first}, their constraints allow {cap} there");
                findings.add(code::CONSTRAINT, message);
            }
        }
    }
    match leave(problem, Some(left), &demand) {
        Ok(rest) => *left = rest,
        Err(why) => findings.add(code::CAPACITY, format!("node {name}: {why}")),
    }
}
