//! Launches and their alternates: real offerings, right prices, pods that match and fit.

use crate::finding::{Findings, code};
use crate::ledger::{Counts, Ledger, by_name, demand, leave, same};
use crate::problem::Problem;
use stowage_models::plan::{ALTERNATES_MAX, Alternate, Launch, Plan};

/// Checks every launch and records what it uses.
pub(crate) fn check(problem: &Problem<'_>, plan: &Plan, ledger: &mut Ledger, findings: &mut Findings) {
    for (index, launch) in plan.launches.iter().enumerate() {
        let slot = format!("new-{:04}", index + 1);
        findings.expect_eq(
            code::SLOT,
            || format!("slot of launch {}", index + 1),
            &launch.slot,
            &slot,
        );
        if launch.pods.is_empty() {
            findings.add(
                code::EMPTY_LAUNCH,
                format!("slot {} is launched for 0 pods", launch.slot),
            );
        }
        let counts = std::mem::take(&mut ledger.launch_groups[index]);
        let demand = demand(problem, &counts);
        let requested = by_name(problem, &demand);
        if !same(&launch.requested, &requested) {
            findings.add(
                code::REQUESTED,
                disagree(&launch.slot, "requested", &launch.requested, &requested),
            );
        }
        let left = check_launch(problem, launch, &counts, &demand, ledger, findings);
        check_alternates(problem, launch, &counts, &demand, findings);
        ledger.launch_left.push(left);
        ledger.launch_groups[index] = counts;
    }
}

fn disagree(slot: &str, what: &str, stated: &impl std::fmt::Debug, actual: &impl std::fmt::Debug) -> String {
    format!("slot {slot}: {what} is {actual:?}, the plan says {stated:?}")
}

/// One launch; returns its kind and what its pods leave.
fn check_launch(
    problem: &Problem<'_>,
    launch: &Launch,
    counts: &Counts,
    demand: &[i128],
    ledger: &mut Ledger,
    findings: &mut Findings,
) -> Option<(usize, Vec<i64>)> {
    let offerings = &problem.offerings;
    let Launch {
        slot,
        node_pool,
        instance_type,
        zone,
        capacity_type,
        labels,
        ..
    } = launch;
    let Some(index) = offerings.find(
        &problem.pools,
        (node_pool, instance_type, zone, capacity_type, labels),
    ) else {
        let name = format!("{instance_type} {zone} {capacity_type} {labels:?} (NodePool {node_pool})");
        findings.add(
            code::OFFERING,
            format!(
                "slot {slot}: {name} is none of the {} offerings",
                offerings.list.len()
            ),
        );
        return None;
    };
    let offering = &offerings.list[index];
    let kind = &offerings.kinds[offering.kind];
    for (limit, launched) in problem.pools[kind.pool]
        .limits
        .iter()
        .zip(&mut ledger.launched[kind.pool])
    {
        *launched += i128::from(problem.counts(kind, limit.resource));
    }
    if launch.price != offering.price.usd {
        findings.add(
            code::PRICE,
            disagree(slot, "price", &launch.price, &offering.price.usd),
        );
    }
    if launch.price_estimated != offering.price.estimated {
        let message = disagree(
            slot,
            "price is an estimate",
            &launch.price_estimated,
            &offering.price.estimated,
        );
        findings.add(code::ESTIMATED, message);
    }
    let allocatable = &offerings.facts[kind.facts].allocatable;
    if !same(&launch.allocatable, allocatable) {
        findings.add(
            code::ALLOCATABLE,
            disagree(slot, "allocatable", &launch.allocatable, allocatable),
        );
    }
    let daemon_sets = &offerings.classes[kind.class].daemon_sets;
    if !same(&launch.daemon_sets, daemon_sets) {
        findings.add(
            code::DAEMON_SETS,
            disagree(slot, "DaemonSets", &launch.daemon_sets, daemon_sets),
        );
    }
    for group in counts.keys().filter(|group| !problem.kind_matches(kind, **group)) {
        let first = &problem.groups[*group].first;
        findings.add(
            code::MATCH,
            format!("slot {slot}: {instance_type} {zone} does not match pods like {first}"),
        );
    }
    let none = vec![0; problem.axis.names.len()];
    match leave(problem, kind.room.as_ref().unwrap_or(&none), demand) {
        Ok(left) => Some((offering.kind, left)),
        Err((resource, asked, room)) => {
            findings.add(
                code::CAPACITY,
                format!("slot {slot}: pods ask for {asked} {resource}, there is room for {room}"),
            );
            None
        }
    }
}

/// Alternates: other offerings of the pool and labels that hold the same pods, cheapest first.
fn check_alternates(
    problem: &Problem<'_>,
    launch: &Launch,
    counts: &Counts,
    demand: &[i128],
    findings: &mut Findings,
) {
    let slot = &launch.slot;
    let count = launch.alternates.len();
    if count > ALTERNATES_MAX {
        findings.add(
            code::ALTERNATE_COUNT,
            format!("slot {slot}: {count} alternates, at most {ALTERNATES_MAX}"),
        );
    }
    let rank = |one: &Alternate| {
        (
            one.price,
            one.instance_type.clone(),
            one.zone.clone(),
            one.capacity_type.clone(),
        )
    };
    for pair in launch
        .alternates
        .windows(2)
        .filter(|pair| rank(&pair[0]) >= rank(&pair[1]))
    {
        findings.add(
            code::ALTERNATE_ORDER,
            format!(
                "slot {slot}: alternate {:?} comes before {:?}",
                rank(&pair[0]),
                rank(&pair[1])
            ),
        );
    }
    for alternate in &launch.alternates {
        let Alternate {
            instance_type,
            zone,
            capacity_type,
            price,
        } = alternate;
        let name = format!("slot {slot}: alternate {instance_type} {zone} {capacity_type}");
        let is_launch = (instance_type, zone, capacity_type)
            == (&launch.instance_type, &launch.zone, &launch.capacity_type);
        let key = (
            launch.node_pool.as_str(),
            instance_type.as_str(),
            zone.as_str(),
            capacity_type.as_str(),
            &launch.labels,
        );
        let found = problem.offerings.find(&problem.pools, key).filter(|_| !is_launch);
        let Some(index) = found else {
            findings.add(
                code::ALTERNATE_OFFERING,
                format!("{name} is no other offering of {}", launch.node_pool),
            );
            continue;
        };
        let offering = &problem.offerings.list[index];
        findings.expect_eq(
            code::ALTERNATE_PRICE,
            || name.clone(),
            &price.0,
            &offering.price.usd.0,
        );
        let kind = &problem.offerings.kinds[offering.kind];
        if let Some(group) = counts.keys().find(|group| !problem.kind_matches(kind, **group)) {
            let first = &problem.groups[*group].first;
            findings.add(
                code::ALTERNATE_FIT,
                format!("{name} does not match pods like {first}"),
            );
        }
        let none = vec![0; demand.len()];
        if let Err((resource, asked, room)) = leave(problem, kind.room.as_ref().unwrap_or(&none), demand) {
            let message = format!("{name} has room for {room} {resource}, the pods ask for {asked}");
            findings.add(code::ALTERNATE_FIT, message);
        }
    }
}
