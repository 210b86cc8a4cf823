//! Where a pod goes and what it costs there.

use super::{Explanation, before_and_after, substitutes, why};
use crate::failure::Failure;
use crate::render::figures::{self, per_hour, per_month};
use crate::render::{groups, table};
use stowage_checker::effective_request as request;
use stowage_models::objects::{PodRef, PodSpec};
use stowage_models::plan::{ExistingNode, Launch, Plan, Unplaced};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// Nodes named at most under "also room on"; the question is whether there is another place, not all of them.
const ROOM_MAX: usize = 5;

/// Explains where a pod goes.
///
/// # Errors
/// When the plan does not mention it.
pub fn pod(plan: &Plan, snapshot: Option<&Snapshot>, name: &str) -> Result<Explanation, Failure> {
    let reference = PodRef(name.to_owned());
    let spec = snapshot.and_then(|snapshot| spec_of(snapshot, name));
    let holds = |pods: &[PodRef]| pods.contains(&reference);
    let mut told = if let Some(launch) = plan.launches.iter().find(|launch| holds(&launch.pods)) {
        on_new(plan, launch, name, spec)
    } else if let Some(node) = plan.existing.iter().find(|node| holds(&node.pods)) {
        on_existing(node, name)
    } else if let Some(entry) = plan.unplaced.iter().find(|entry| holds(&entry.pods)) {
        left_out(entry, name)
    } else {
        return Err(unknown_pod(name));
    };
    if let Some(spec) = spec {
        let request = request(spec);
        told.fact("requests", figures::resources(&request));
        told.fact("also room on", also_room(plan, &request, &reference));
    }
    if let Some(worth) = worth(plan, snapshot, &reference, spec) {
        told.fact("in the proof", format!("one pod of this kind is worth {} at the margin", per_hour(worth)));
    }
    Ok(told)
}

fn unknown_pod(name: &str) -> Failure {
    let hint = if name.contains('/') {
        "the plan knows pods that wait for a place; a pod that runs, is gated or owned by a DaemonSet is not planned"
    } else {
        "write it as NAMESPACE/NAME"
    };
    Failure::new(name, "the plan mentions no such pod", hint)
}

fn on_new(plan: &Plan, launch: &Launch, name: &str, spec: Option<&PodSpec>) -> Explanation {
    let kind = groups::Kind::of(launch);
    let mut told =
        Explanation::new(format!("pod {name}"), format!("goes to {}, to be launched: {kind}", launch.slot));
    let used = groups::used_by_launch(launch);
    let full = |resource| {
        figures::whole_per_cent(figures::fill(used.get(resource), launch.allocatable.get(resource)))
    };
    let others = figures::count(launch.pods.len().saturating_sub(1) as u64, "other pod", "other pods");
    told.fact(
        "node",
        format!("{}, with {others}; cpu {}, memory {}", per_hour(launch.price), full(CPU), full(MEMORY)),
    );
    let (share, how) = price_share(launch, spec);
    told.price_share = Some(share);
    told.fact("price share", format!("{} or {}, {how}", per_hour(share), per_month(share)));
    told.fact("why here", why(plan));
    told.substitutes = substitutes(launch);
    told
}

/// The pod's part of the node's price: by requests when they are known, else an even share.
fn price_share(launch: &Launch, spec: Option<&PodSpec>) -> (UsdMicros, &'static str) {
    let pods = i128::try_from(launch.pods.len().max(1)).unwrap_or(i128::MAX);
    let price = i128::from(launch.price.0);
    let Some(request) = spec.map(request) else {
        return (
            UsdMicros(i64::try_from(price / pods).unwrap_or(i64::MAX)),
            "an even share (--snapshot: by requests)",
        );
    };
    // Half of the price goes by cpu, half by memory; a resource nobody on the node requests goes evenly.
    let half = |resource| {
        let all = i128::from(launch.requested.get(resource));
        if all == 0 { price / (2 * pods) } else { price * i128::from(request.get(resource)) / (2 * all) }
    };
    (
        UsdMicros(i64::try_from(half(CPU) + half(MEMORY)).unwrap_or(i64::MAX)),
        "half by cpu, half by memory requests",
    )
}

fn on_existing(node: &ExistingNode, name: &str) -> Explanation {
    let mut told = Explanation::new(format!("pod {name}"), format!("goes to {}, which exists", node.name));
    told.price_share = Some(UsdMicros::ZERO);
    let used = groups::used_by_node(node);
    told.fact("node", format!("{}; {}", table::describe(node), before_and_after(node, &used)));
    told.fact("price share", "$0: the node is there and paid for".to_owned());
    told.fact("why here", "it has room, and a pod placed here needs no launch".to_owned());
    told
}

fn left_out(entry: &Unplaced, name: &str) -> Explanation {
    let reason = table::reason_name(entry.reason);
    let mut told = Explanation::new(format!("pod {name}"), format!("is left out ({reason})"));
    told.fact("because", entry.message.clone());
    if let Some(nearest) = &entry.nearest {
        told.fact("nearest", nearest.clone());
    }
    for one in &entry.blocking {
        told.fact("in the way", table::in_the_way(one));
    }
    if !entry.hint.is_empty() {
        told.fact("hint", entry.hint.clone());
    }
    let others = entry.pods.len().saturating_sub(1) as u64;
    if others > 0 {
        told.fact("also left out", format!("{} for the same reason", figures::count(others, "pod", "pods")));
    }
    told
}

/// Nodes of the plan with room for one more pod of this size.
fn also_room(plan: &Plan, request: &Resources, pod: &PodRef) -> String {
    let fits = |allocatable: &Resources, used: Resources| {
        let mut free = allocatable.clone();
        free.sub(&used);
        request.fits(&free)
    };
    let existing = plan
        .existing
        .iter()
        .filter(|node| !node.pods.contains(pod) && fits(&node.allocatable, groups::used_by_node(node)))
        .map(|node| node.name.as_str());
    let new = plan
        .launches
        .iter()
        .filter(|launch| {
            !launch.pods.contains(pod) && fits(&launch.allocatable, groups::used_by_launch(launch))
        })
        .map(|launch| launch.slot.as_str());
    let names: Vec<&str> = existing.chain(new).collect();
    if names.is_empty() {
        return "no other node of this plan".to_owned();
    }
    let more = names.len().saturating_sub(ROOM_MAX);
    let shown = names[..names.len() - more].join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{shown}{more} (by size; constraints and slack not considered)")
}

/// What the certificate values one pod of the group at, in whole micro-dollars, if the group is known.
fn worth(
    plan: &Plan,
    snapshot: Option<&Snapshot>,
    pod: &PodRef,
    spec: Option<&PodSpec>,
) -> Option<UsdMicros> {
    let is_equal = |row: &PodRef| {
        let other = snapshot.and_then(|snapshot| spec_of(snapshot, &row.0));
        matches!((spec, other), (Some(spec), Some(other)) if same_group(spec, other))
    };
    let rows = &plan.certificate.rows;
    let row =
        rows.iter().find(|row| row.pod == *pod).or_else(|| rows.iter().find(|row| is_equal(&row.pod)))?;
    Some(UsdMicros(row.multiplier >> stowage_models::plan::MULTIPLIER_BITS))
}

/// Equal in all the planner may look at.
fn same_group(a: &PodSpec, b: &PodSpec) -> bool {
    request(a) == request(b)
        && a.node_selector == b.node_selector
        && a.affinity.node_required == b.affinity.node_required
        && a.tolerations == b.tolerations
        && a.priority == b.priority
}

fn spec_of<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a PodSpec> {
    snapshot.pods.iter().find(|pod| pod.id().0 == name).map(|pod| &*pod.spec)
}
