//! Launches: real offerings, right prices, pods that match and fit.

use crate::alternates;
use crate::finding::{Findings, code};
use crate::ledger::{Counts, Ledger, by_name, demand, leave, same};
use crate::offerings::Offering;
use crate::problem::Problem;
use stowage_models::labels::RESERVED;
use stowage_models::plan::{Launch, Plan};
use stowage_models::units::UsdMicros;

/// Checks every launch and records what it uses.
pub(crate) fn check(problem: &Problem<'_>, plan: &Plan, ledger: &mut Ledger, findings: &mut Findings) {
    for (index, launch) in plan.launches.iter().enumerate() {
        let slot = format!("new-{:04}", index + 1);
        findings.expect_eq(code::SLOT, "slot of a launch", (&launch.slot, &slot));
        if launch.pods.is_empty() {
            findings.add(code::EMPTY_LAUNCH, format!("slot {slot} is launched for 0 pods"));
        }
        let counts = std::mem::take(&mut ledger.launch_groups[index]);
        let demand = demand(problem, &counts);
        let offering = find(problem, launch, findings);
        ledger.launch_kind.push(offering.map(|offering| problem.offerings.list[offering].kind));
        let left = offering.and_then(|offering| {
            let kind = problem.offerings.list[offering].kind;
            check_facts(problem, launch, (offering, &demand), findings);
            count_limits(problem, kind, ledger);
            let pool = &problem.pools[problem.offerings.kinds[kind].pool];
            if let Some(id) = problem.offerings.list[offering].reservation(pool) {
                *ledger.from_stock.entry(id.to_owned()).or_default() += 1;
            }
            check_fit(problem, launch, kind, (&counts, &demand), findings).map(|left| (kind, left))
        });
        let own = ledger.launch_kind[index];
        alternates::check((problem, &*ledger), launch, (own, &counts, &demand), findings);
        ledger.launch_left.push(left);
        ledger.launch_groups[index] = counts;
    }
}

/// The offering a launch names.
fn find(problem: &Problem<'_>, launch: &Launch, findings: &mut Findings) -> Option<usize> {
    let Launch { slot, node_pool, instance_type, zone, capacity_type, labels, .. } = launch;
    let key = (node_pool.as_str(), instance_type.as_str(), zone.as_str(), capacity_type.as_str(), labels);
    let found = problem.offerings.find(&problem.pools, key);
    if found.is_none() {
        let count = problem.offerings.list.len();
        findings.add(code::OFFERING, format!("slot {slot}: {key:?} is none of the {count} offerings"));
    }
    found
}

/// What the launch says of its offering and its pods.
fn check_facts(
    problem: &Problem<'_>,
    launch: &Launch,
    (offering, demand): (usize, &[i128]),
    findings: &mut Findings,
) {
    let slot = &launch.slot;
    let offering = &problem.offerings.list[offering];
    let kind = &problem.offerings.kinds[offering.kind];
    let price = (&launch.price, &offering.price.usd);
    findings.expect_eq(code::PRICE, &format!("slot {slot}: price"), price);
    let list_price = instance_list_price(problem, offering);
    findings.expect_eq(code::PRICE, &format!("slot {slot}: list price"), (&launch.list_price, &list_price));
    let estimated = (&launch.price_estimated, &offering.price.estimated);
    findings.expect_eq(code::ESTIMATED, &format!("slot {slot}: price is an estimate"), estimated);
    let allocatable = &problem.offerings.facts[kind.facts].allocatable;
    let daemon_sets = &problem.offerings.classes[kind.class].daemon_sets;
    let requested = &by_name(problem, demand);
    let amounts = [
        (code::ALLOCATABLE, &launch.allocatable, allocatable),
        (code::DAEMON_SETS, &launch.daemon_sets, daemon_sets),
        (code::REQUESTED, &launch.requested, requested),
    ];
    for (code, stated, actual) in amounts.into_iter().filter(|(_, stated, actual)| !same(stated, actual)) {
        findings.expect_eq(code, &format!("slot {slot}: {code}"), (stated, actual));
    }
}

/// What a reserved node costs on demand.
fn instance_list_price(problem: &Problem<'_>, offering: &Offering<'_>) -> Option<UsdMicros> {
    let facts = &problem.offerings.facts[problem.offerings.kinds[offering.kind].facts];
    facts.instance.on_demand.filter(|_| offering.capacity_type == RESERVED)
}

fn count_limits(problem: &Problem<'_>, kind: usize, ledger: &mut Ledger) {
    let kind = &problem.offerings.kinds[kind];
    let limits = problem.pools[kind.pool].limits.iter().zip(&mut ledger.launched[kind.pool]);
    for (limit, launched) in limits {
        *launched += i128::from(problem.counts(kind, limit.resource));
    }
}

/// Whether the pods match and fit; returns what they leave.
fn check_fit(
    problem: &Problem<'_>,
    launch: &Launch,
    kind: usize,
    (counts, demand): (&Counts, &[i128]),
    findings: &mut Findings,
) -> Option<Vec<i64>> {
    let kind = &problem.offerings.kinds[kind];
    let (slot, instance) = (&launch.slot, &launch.instance_type);
    for (group, count) in counts {
        let (first, cap) = (&problem.pods.groups[*group].first, problem.reach[*group].cap);
        if !problem.kind_admits(kind, *group) {
            findings.add(code::MATCH, format!("slot {slot}: {instance} does not match pods like {first}"));
        } else if !problem.kind_matches(kind, *group) {
            let message = format!("slot {slot}: constraints keep pods like {first} away from {instance}");
            findings.add(code::CONSTRAINT, message);
        } else if *count > cap {
            let message =
                format!("slot {slot}: {count} pods like {first}, their constraints allow {cap} per node");
            findings.add(code::CONSTRAINT, message);
        }
    }
    match leave(problem, kind.room.as_deref(), demand) {
        Ok(left) => Some(left),
        Err(why) => {
            findings.add(code::CAPACITY, format!("slot {slot}: {why}"));
            None
        }
    }
}
