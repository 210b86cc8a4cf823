//! What a plan decides about nodes that exist, put together for the report and for markdown: what leaves and what takes its place, what
//! stays and why, and in which order.

use std::collections::BTreeMap;
use stowage_models::consolidation::{Consolidation, NodeDecision, NodeReason};
use stowage_models::departure::{Departure, DepartureReason};
use stowage_models::plan::Plan;
use stowage_models::schedule::instant;
use stowage_models::units::UsdMicros;

/// A node that leaves.
#[derive(Clone, Debug)]
pub struct Leaver<'a> {
    /// What the plan says of it.
    pub decision: &'a NodeDecision,
    /// Its pods that move.
    pub pods: u64,
    /// Where they go, most pods first.
    pub to: Vec<(&'a str, u64)>,
    /// The wave it is removed in, from 1.
    pub wave: usize,
}

/// Nodes that share a reason.
#[derive(Clone, Debug)]
pub struct Shared<'a> {
    /// The reason.
    pub reason: NodeReason,
    /// The nodes, dearest first.
    pub nodes: Vec<&'a NodeDecision>,
    /// Price of those with a price, per hour.
    pub cost: UsdMicros,
}

/// The nodes that leave, wave by wave, dearest first.
#[must_use]
pub fn leavers(stated: &Consolidation) -> Vec<Leaver<'_>> {
    let mut to: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for one in &stated.moves {
        *to.entry(&one.from).or_default().entry(&one.to).or_default() += 1;
    }
    let waves: BTreeMap<&str, usize> = stated
        .waves
        .iter()
        .enumerate()
        .flat_map(|(index, wave)| wave.removals.iter().map(move |node| (node.as_str(), index + 1)))
        .collect();
    let leave = stated.nodes.iter().filter(|one| one.reason.is_removal());
    let mut leavers: Vec<Leaver<'_>> = leave
        .map(|decision| {
            let places = to.remove(decision.node.as_str()).unwrap_or_default();
            let mut to: Vec<(&str, u64)> = places.into_iter().collect();
            to.sort_by_key(|(_, pods)| std::cmp::Reverse(*pods));
            let wave = waves.get(decision.node.as_str()).copied().unwrap_or_default();
            Leaver { decision, pods: to.iter().map(|(_, pods)| pods).sum(), to, wave }
        })
        .collect();
    leavers.sort_by_key(|one| (one.wave, std::cmp::Reverse(one.decision.price)));
    leavers
}

/// All nodes by reason: those that leave first, then the dearest reason.
#[must_use]
pub fn by_reason(stated: &Consolidation) -> Vec<Shared<'_>> {
    let mut shared: BTreeMap<NodeReason, Vec<&NodeDecision>> = BTreeMap::new();
    for one in &stated.nodes {
        shared.entry(one.reason).or_default().push(one);
    }
    let mut sorted: Vec<Shared<'_>> = shared
        .into_iter()
        .map(|(reason, mut nodes)| {
            nodes.sort_by_key(|one| std::cmp::Reverse(one.price));
            let cost = nodes.iter().filter_map(|one| one.price).sum();
            Shared { reason, nodes, cost }
        })
        .collect();
    sorted.sort_by_key(|one| (!one.reason.is_removal(), std::cmp::Reverse(one.cost), one.reason));
    sorted
}

/// `12 to new-0001, 3 to ip-10-0-1-5, 9 to 4 more`.
#[must_use]
pub fn places(to: &[(&str, u64)], named_max: usize) -> String {
    let mut parts: Vec<String> =
        to.iter().take(named_max).map(|(place, pods)| format!("{pods} to {place}")).collect();
    let rest = to.get(named_max..).unwrap_or_default();
    if !rest.is_empty() {
        let pods: u64 = rest.iter().map(|(_, pods)| pods).sum();
        parts.push(format!("{pods} to {} more", rest.len()));
    }
    parts.join(", ")
}

/// That a node has to go, in a few words, with the time.
#[must_use]
pub fn due(departure: &Departure) -> String {
    let (word, forced) = match departure.reason {
        DepartureReason::Interrupted => ("its machine is taken away", ""),
        DepartureReason::Unhealthy => ("unhealthy", ""),
        DepartureReason::Expired if departure.forced => ("expired", ""),
        DepartureReason::Expired => ("expires", "soon"),
        DepartureReason::Drifted => ("drifted", ""),
    };
    match (&departure.deadline, departure.reason) {
        (Some(deadline), DepartureReason::Interrupted) => format!("{word} by {deadline}"),
        (Some(deadline), _) => format!("{word} at {deadline}"),
        (None, _) => format!("{word} {forced}").trim_end().to_owned(),
    }
}

/// What the plan says of a node, with what it has to go for.
#[must_use]
pub fn told(one: &NodeDecision) -> String {
    match &one.departure {
        Some(departure) if one.message.is_empty() => due(departure),
        Some(departure) => format!("{}; {}", one.message, due(departure)),
        None => one.message.clone(),
    }
}

/// Nodes that have to go whatever they cost, the most pressing first.
#[must_use]
pub fn departing(stated: &Consolidation) -> Vec<(&NodeDecision, &Departure)> {
    let nodes = stated.nodes.iter();
    let mut departing: Vec<(&NodeDecision, &Departure)> =
        nodes.filter_map(|one| Some((one, one.departure.as_ref()?))).collect();
    departing.sort_by_key(|(one, departure)| {
        let deadline = departure.deadline.as_deref().and_then(instant);
        (!departure.forced, departure.reason, deadline.is_none(), deadline, one.node.as_str())
    });
    departing
}

/// What the plan does about nodes that exist and are launched, as a headline; `None` without consolidation.
#[must_use]
pub fn headline(plan: &Plan) -> Option<String> {
    let summary = &plan.consolidation.as_ref()?.summary;
    if summary.nodes_removed == 0 {
        return None;
    }
    let removed = super::figures::nodes(summary.nodes_removed);
    let launched = match plan.summary.nodes_launched {
        0 => String::new(),
        count => format!(", launch {}", super::figures::thousands(count)),
    };
    let saved = summary.cost_before - summary.cost_after;
    let (word, amount) = if saved.0 < 0 { ("costs", UsdMicros(-saved.0)) } else { ("saves", saved) };
    Some(format!("Remove {removed}{launched}: {word} {} a month", super::figures::cents(amount.per_month())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_summed_up() {
        assert_eq!(places(&[("a", 3), ("b", 2), ("c", 1), ("d", 1)], 2), "3 to a, 2 to b, 2 to 2 more");
        assert_eq!(places(&[("a", 3)], 2), "3 to a");
        assert_eq!(places(&[], 2), "");
    }
}
