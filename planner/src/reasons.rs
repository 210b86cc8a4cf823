//! Why pods are left out, in one sentence each: the tightest cause and what to do about it.

use crate::blocking::{in_the_way, minimal_sets};
use crate::core::usage;
use crate::extract::Dealer;
use crate::matching::{selects, selects_any, tolerates_all};
use crate::offerings::{CAPACITY_TYPES, Offering, label_of};
use crate::placement::Placement;
use crate::problem::{Group, Problem};
use std::collections::BTreeMap;
use stowage_models::objects::{Affinity, PodRef, PodSpec};
use stowage_models::plan::{Blocking, Unplaced, UnplacedReason};
use stowage_models::quantity::display_amount;
use stowage_models::selector::Labels;
use stowage_models::units::UsdMicros;

/// Everything about an entry but its pods.
type Cause = (UnplacedReason, String, String, Option<String>, Vec<Blocking>);

/// All pods left out: unsupported, without a fit, beyond limits (what the placement leaves, by group), or kept out by constraints. The dealer
/// has handed out the pods that are placed.
pub(crate) fn unplaced(problem: &Problem<'_>, placement: &Placement, dealer: &mut Dealer) -> Vec<Unplaced> {
    let (left, remaining) = (&placement.left, &placement.limits);
    let mut entries: BTreeMap<Cause, Vec<PodRef>> = BTreeMap::new();
    let singles = [
        (UnplacedReason::Unsupported, &problem.unsupported),
        (UnplacedReason::Constraint, &problem.constrained),
    ];
    for (reason, out) in
        singles.into_iter().flat_map(|(reason, list)| list.iter().map(move |out| (reason, out)))
    {
        let detail = out.constraint.clone();
        let constraint = field(problem, out.pod).to_owned();
        let blocking = vec![Blocking { constraint, detail, price_without: None }];
        let key = (reason, out.constraint.clone(), out.hint.clone(), None, blocking);
        entries.entry(key).or_default().push(problem.pod_ref(out.pod));
    }
    let type_labels = &problem.prepared.tables.labels;
    for group in &problem.no_fit {
        let pods = group.whole.iter().map(|pod| problem.pod_ref(*pod));
        let key = match problem.short_of(group) {
            Some(out) => (UnplacedReason::Constraint, out.message, out.hint, None, out.blocking),
            None => {
                let (message, hint, nearest) = no_fit(problem, group, type_labels);
                let blocking = in_the_way(problem, group, type_labels);
                (UnplacedReason::NoFit, message, hint, nearest, blocking)
            }
        };
        entries.entry(key).or_default().extend(pods);
    }
    for (g, left) in left.iter().enumerate().filter(|(_, left)| **left > 0) {
        let ((message, hint), blocking) = match limits_in_the_way(problem, g, remaining) {
            Some(closed) if closed.is_empty() => (room_again(), closed),
            Some(closed) => (limits(problem, g), closed),
            None => (limits(problem, g), in_the_way(problem, &problem.groups[g], type_labels)),
        };
        let pods = dealer.take(&problem.groups[g].whole, *left).iter().map(|pod| problem.pod_ref(*pod));
        let key = (UnplacedReason::Limits, message, hint, None, blocking);
        entries.entry(key).or_default().extend(pods);
    }
    for out in &problem.blocked {
        let pods = dealer.take(&out.whole, out.pods).iter().map(|pod| problem.pod_ref(*pod));
        let cause = (out.message.clone(), out.hint.clone(), None, out.blocking.clone());
        let key = (UnplacedReason::Constraint, cause.0, cause.1, cause.2, cause.3);
        entries.entry(key).or_default().extend(pods);
    }
    entries
        .into_iter()
        .map(|((reason, message, hint, nearest, blocking), mut pods)| {
            pods.sort();
            Unplaced { reason, message, hint, nearest, blocking, pods }
        })
        .collect()
}

/// What keeps a pod out that is not planned for: the field that cannot be read; else its volumes, nobody knows where it may run with them.
fn field<'a>(problem: &'a Problem<'_>, pod: u32) -> &'a str {
    let unreadable = problem.snapshot.pods[pod as usize].spec.unreadable.as_deref();
    unreadable.map_or("volumes", |text| text.split_once(": ").map_or(text, |(field, _)| field))
}

fn name(problem: &Problem<'_>, offering: &Offering) -> String {
    let instance_type = &problem.catalog.types[offering.instance_type as usize];
    format!(
        "{} {} {} ({})",
        instance_type.name,
        instance_type.zones[offering.zone as usize].zone,
        CAPACITY_TYPES[offering.capacity_type as usize],
        problem.pool(offering).name
    )
}

/// Message, hint and nearest offering for a group that no bin can hold.
fn no_fit(
    problem: &Problem<'_>,
    group: &Group<'_>,
    type_labels: &[Labels],
) -> (String, String, Option<String>) {
    if problem.offerings.is_empty() {
        let hint = "see the notes on NodePools, or add a NodePool".to_owned();
        return ("no NodePool can launch anything".to_owned(), hint, None);
    }
    let spec = problem.spec(group);
    let matching: Vec<&Offering> = problem
        .offerings
        .iter()
        .filter(|offering| {
            tolerates_all(&spec.tolerations, &problem.pool(offering).taints)
                && selects(spec, &|key: &str| label_of(problem, type_labels, offering, key), None)
                && selects_any(
                    &group.wants.volumes,
                    &|key: &str| label_of(problem, type_labels, offering, key),
                    None,
                )
        })
        .collect();
    // The nearest offering is the one that exceeds its tightest resource least.
    let nearest = matching.iter().map(|offering| (tightest(group, offering), *offering)).min_by(|a, b| {
        let ((_, x), (_, y)) = (a.0, b.0);
        x.total_cmp(&y).then_with(|| a.1.price.cmp(&b.1.price))
    });
    match nearest {
        Some(((r, _), offering)) => {
            let resource = &problem.resources[r];
            let message = format!(
                "requests {resource} {}; the nearest matching offering leaves {} after DaemonSets and slack",
                display_amount(resource, group.request[r]),
                display_amount(resource, offering.capacity[r])
            );
            let hint = format!("lower the request, or allow types with more {resource} in a NodePool");
            (message, hint, Some(name(problem, offering)))
        }
        None => {
            let (message, hint) = mismatch(problem, spec, type_labels);
            (message, hint, None)
        }
    }
}

/// The resource a pod of the group exceeds most on an offering, and by what ratio.
fn tightest(group: &Group<'_>, offering: &Offering) -> (usize, f64) {
    let mut worst = (0, 0.0);
    for (r, (w, c)) in group.request.iter().zip(&offering.capacity).enumerate() {
        let ratio = *w as f64 / (*c as f64).max(0.5);
        if *w > 0 && ratio > worst.1 {
            worst = (r, ratio);
        }
    }
    worst
}

/// The constraint no offering satisfies by itself, else the fact that no offering satisfies all of them.
fn mismatch(problem: &Problem<'_>, spec: &PodSpec, type_labels: &[Labels]) -> (String, String) {
    let any = |spec: &PodSpec| {
        problem
            .offerings
            .iter()
            .any(|offering| selects(spec, &|key: &str| label_of(problem, type_labels, offering, key), None))
    };
    for (key, value) in &spec.node_selector {
        let alone =
            PodSpec { node_selector: Labels::from([(key.clone(), value.clone())]), ..PodSpec::default() };
        if !any(&alone) {
            return (
                format!("spec.nodeSelector {key}={value}: no offering of any NodePool has this label"),
                format!("allow {key}={value} in a NodePool's requirements or template labels"),
            );
        }
    }
    let affinity = Affinity { node_required: spec.affinity.node_required.clone(), ..Affinity::default() };
    if !any(&PodSpec { affinity, ..PodSpec::default() }) {
        return (
            "spec.affinity.nodeAffinity: no offering of any NodePool satisfies a required term".to_owned(),
            "compare the terms with the NodePools' requirements".to_owned(),
        );
    }
    let tolerated: Vec<&str> = problem
        .snapshot
        .node_pools
        .iter()
        .filter(|pool| tolerates_all(&spec.tolerations, &pool.taints))
        .map(|pool| pool.name.as_str())
        .collect();
    if tolerated.is_empty() {
        return (
            "spec.tolerations: the taints of no NodePool are tolerated".to_owned(),
            "add a toleration to the pod, or a NodePool without taints".to_owned(),
        );
    }
    (
        format!(
            "no offering of the NodePools whose taints it tolerates ({}) satisfies its nodeSelector and node affinity \
             together",
            tolerated.join(", ")
        ),
        "compare the pod's constraints with those NodePools' requirements".to_owned(),
    )
}

/// Limits that keep every node from being launched for one more pod of a group: alternatives, each with the price of the cheapest
/// node that lifting it alone would allow, or the fewest that would together; none if there is room for a node. `None` if no offering
/// may hold the pod at all.
fn limits_in_the_way(problem: &Problem<'_>, g: usize, remaining: &[i64]) -> Option<Vec<Blocking>> {
    let may = problem.offerings.iter().enumerate().filter(|(_, one)| problem.can_hold(g, one));
    let closed: Vec<(Vec<usize>, i64)> = may
        .map(|(o, offering)| {
            let short = usage(problem, o).into_iter().filter(|(row, amount)| *amount > remaining[*row]);
            (short.map(|(row, _)| row).collect(), offering.price)
        })
        .collect();
    if closed.is_empty() {
        return None;
    }
    if closed.iter().any(|(short, _)| short.is_empty()) {
        return Some(Vec::new());
    }
    let say = |row: usize, price: Option<i64>| {
        let limit = &problem.limits[row];
        let (constraint, what) = match limit.pool {
            Some(pool) => {
                let pool = &problem.snapshot.node_pools[pool].name;
                (format!("NodePool {pool}: limits.{}", limit.resource), limit.resource.as_str())
            }
            None => (limit.resource.clone(), "nodes"),
        };
        let left = display_amount(what, remaining[row]);
        let everywhere = closed.iter().all(|(short, _)| short.contains(&row));
        let nodes = if everywhere { "every node for the pod takes" } else { "some nodes for the pod take" };
        let detail = format!("leaves {left}, and {nodes} more");
        Blocking { constraint, detail, price_without: price.map(UsdMicros) }
    };
    Some(minimal_sets(closed.clone()).into_iter().map(|(row, price)| say(row, price)).collect())
}

/// Why a pod is left out though limits have room in the end: it is bound to others by constraints, so it was not tried once more.
fn room_again() -> (String, String) {
    (
        "limits had no room for it until other pods were left out for their constraints".to_owned(),
        "plan again once those pods have a place or are gone".to_owned(),
    )
}

fn limits(problem: &Problem<'_>, g: usize) -> (String, String) {
    let mut pools: Vec<&str> = problem
        .offerings
        .iter()
        .filter(|offering| problem.may_use(g, offering))
        .map(|offering| problem.pool(offering).name.as_str())
        .collect();
    pools.dedup();
    if pools.is_empty() {
        return (
            "it fits existing nodes only, and they have no room left; no NodePool has an offering for it"
                .to_owned(),
            "add a NodePool that can take it".to_owned(),
        );
    }
    (
        format!("limits of NodePool {} leave no room to launch a node for it", pools.join(", ")),
        "raise spec.limits, or remove nodes of that pool".to_owned(),
    )
}
