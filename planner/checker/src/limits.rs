//! Limits and weights of NodePools, and what they leave out (formulation, section 1.6).

use crate::finding::{Findings, code};
use crate::ledger::Ledger;
use crate::min_values;
use crate::offerings::Kind;
use crate::problem::Problem;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use stowage_models::labels::CAPACITY_RESERVATION_ID;
use stowage_models::objects::NodePool;
use stowage_models::plan::{Plan, Row};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// The name under which a pool limits the number of its nodes.
const NODES: &str = "nodes";

/// A limit of a pool and what counts towards it before the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    pub(crate) resource: &'a str,
    pub(crate) limit: i64,
    /// Capacity of the pool's nodes and of its NodeClaims whose node the snapshot does not have.
    pub(crate) used: i128,
}

impl Limit<'_> {
    /// What launches may add. A pool that is over its limit already may add nothing.
    pub(crate) fn remaining(&self) -> i128 {
        (i128::from(self.limit) - self.used).max(0)
    }
}

/// What is left of a capacity reservation: the least of what the classes that list it say, less its NodeClaims that have no
/// node. `None` if nobody lists it.
pub(crate) fn stock(snapshot: &Snapshot, id: &str) -> Option<i128> {
    let listed = snapshot.node_classes.iter().flat_map(|class| &class.capacity_reservations);
    let left = listed.filter(|one| one.id == id).map(|one| i128::from(one.available.unwrap_or(0))).min()?;
    let own = |labels: &Labels| labels.get(CAPACITY_RESERVATION_ID).is_some_and(|of| of == id);
    let claims = snapshot.node_claims.iter().filter(|claim| claim.node.is_none() && own(&claim.labels));
    Some((left - claims.count() as i128).max(0))
}

/// The limits of a pool, sorted by resource. A limit of zero is a limit.
pub(crate) fn of_pool<'a>(snapshot: &Snapshot, pool: &'a NodePool) -> Vec<Limit<'a>> {
    let known = |name: &str| snapshot.nodes.iter().any(|node| node.name == name);
    let claims = snapshot.node_claims.iter().filter(|claim| {
        let owner = claim.labels.get(stowage_models::labels::NODEPOOL);
        !claim.node.as_deref().is_some_and(known) && owner == Some(&pool.name)
    });
    let nodes = snapshot.nodes.iter().filter(|node| node.nodepool() == Some(&pool.name));
    let counted: Vec<_> =
        nodes.map(|node| &node.capacity).chain(claims.map(|claim| &claim.capacity)).collect();
    let amount = |resource: &str| match resource {
        NODES => counted.len() as i128,
        _ => counted.iter().map(|capacity| i128::from(capacity.get(resource))).sum(),
    };
    pool.limits
        .0
        .iter()
        .map(|(resource, limit)| Limit { resource, limit: *limit, used: amount(resource) })
        .collect()
}

impl Problem<'_> {
    /// What one node of this kind adds to a limit on `resource`.
    pub(crate) fn counts(&self, kind: &Kind, resource: &str) -> i64 {
        if resource == NODES { 1 } else { self.offerings.facts[kind.facts].capacity.get(resource) }
    }

    /// Whether one more node of this kind fits the limits beside the launches of the plan.
    fn is_open(&self, kind: &Kind, ledger: &Ledger) -> bool {
        let limits = self.pools[kind.pool].limits.iter().zip(&ledger.launched[kind.pool]);
        limits
            .map(|(limit, launched)| {
                (limit, limit.used + launched + i128::from(self.counts(kind, limit.resource)))
            })
            .all(|(limit, with)| with <= i128::from(limit.limit))
    }
}

/// Limits hold: what was used and what the plan launches stay within them, in every pool that launches.
pub(crate) fn check_sums(problem: &Problem<'_>, ledger: &Ledger, findings: &mut Findings) {
    for (id, launched) in &ledger.from_stock {
        let stock = stock(problem.snapshot, id).unwrap_or(0);
        if *launched > stock {
            let message =
                format!("capacity reservation {id} has {stock} nodes left, {launched} are launched into it");
            findings.add(code::LIMIT, message);
        }
    }
    for (pool, launched) in problem.pools.iter().zip(&ledger.launched) {
        if !ledger.pools_with_launches.contains(pool.pool.name.as_str()) {
            continue;
        }
        for (limit, launched) in pool.limits.iter().zip(launched) {
            if limit.used + launched > i128::from(limit.limit) {
                findings.add(
                    code::LIMIT,
                    format!(
                        "NodePool {}: {} {} in use and {launched} launched exceed the limit of {}",
                        pool.pool.name, limit.used, limit.resource, limit.limit
                    ),
                );
            }
        }
    }
}

/// Pods left out for limits fit something in principle, and nothing that the plan leaves.
fn check_left_out(
    problem: &Problem<'_>,
    plan: &Plan,
    ledger: &Ledger,
    open: &[bool],
    findings: &mut Findings,
) {
    for (group, _) in ledger.limited.iter().enumerate().filter(|(_, count)| **count > 0) {
        let first = &problem.pods.groups[group].first;
        if !problem.is_placeable(group) {
            let message =
                format!("pods like {first} are left out for limits, but nothing would hold one anyway");
            findings.add(code::LIMITS_REASON, message);
            continue;
        }
        // Where constraints between pods play a role, room is not all it takes.
        if problem.reach[group].concerned || problem.pods.groups[group].exclusive {
            continue;
        }
        let mut not_maximal = |place: String| {
            findings.add(
                code::NOT_MAXIMAL,
                format!("pods like {first} are left out for limits, but {place} has room for 1 more"),
            );
        };
        for (node, free) in problem.nodes.iter().zip(&ledger.node_left) {
            if problem.node_takes(node, free, group) {
                not_maximal(format!("node {}", node.node.name));
            }
        }
        for (launch, left) in plan.launches.iter().zip(&ledger.launch_left) {
            // More pods may leave too little to choose from.
            if let Some((kind, left)) = left
                && !min_values::counts(problem, problem.offerings.kinds[*kind].pool)
                && problem.kind_matches(&problem.offerings.kinds[*kind], group)
                && crate::problem::fits(&problem.needs[group], left)
            {
                not_maximal(format!("slot {}", launch.slot));
            }
        }
        // A pool of any weight counts: where those above are exhausted, the group may use the next (and where they are
        // not, they have room themselves).
        let found = problem.offerings.kinds.iter().zip(open);
        if let Some((kind, _)) = found.into_iter().find(|(kind, open)| {
            **open && problem.kind_takes(kind, group) && !min_values::counts(problem, kind.pool)
        }) {
            let instance = &problem.offerings.facts[kind.facts].instance.name;
            not_maximal(format!("a new {instance} of NodePool {}", problem.pools[kind.pool].pool.name));
        }
    }
}

/// The minimal weight of a row is the highest weight of a pool the group may use, or a lower one below exhausted pools.
fn check_min_weight(
    problem: &Problem<'_>,
    group: usize,
    row: &Row,
    by_weight: &BTreeMap<Reverse<i32>, Vec<usize>>,
    open: &[bool],
) -> Result<(), String> {
    let kinds = &problem.offerings.kinds;
    let mut above = None;
    for (Reverse(weight), members) in by_weight {
        let inside = |kind: &Kind| match (&row.domain, &problem.reach[group].split) {
            (Some(domain), Some(split)) => {
                problem.kind_domain(kind, split).is_some_and(|at| split.domains[at] == *domain)
            }
            _ => true,
        };
        let takes = |kind: &&usize| problem.kind_takes(&kinds[**kind], group) && inside(&kinds[**kind]);
        let mut usable = members.iter().filter(takes).peekable();
        if usable.peek().is_none() {
            continue;
        }
        if row.min_weight == *weight {
            return Ok(());
        }
        if let Some(kind) = usable.find(|kind| open[**kind]) {
            let pool = &problem.pools[kinds[*kind].pool].pool.name;
            return Err(format!("NodePool {pool} of weight {weight} can still launch for it"));
        }
        above = Some(*weight);
    }
    match above {
        None if row.min_weight == i32::MIN => Ok(()),
        None => Err(format!("no NodePool can launch for it, which makes it {}", i32::MIN)),
        Some(weight) => Err(format!("no NodePool of that weight can launch for it; the lowest is {weight}")),
    }
}

/// Checks limits, weights and the pods left out for limits.
pub(crate) fn check(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger, findings: &mut Findings) {
    check_sums(problem, ledger, findings);
    let kinds = &problem.offerings.kinds;
    // A kind of which every offering is reserved is open as long as one of the reservations is.
    let mut stocked = vec![false; kinds.len()];
    for offering in &problem.offerings.list {
        let stocked = &mut stocked[offering.kind];
        *stocked = *stocked
            || offering.reservation(&problem.pools[kinds[offering.kind].pool]).is_none_or(|id| {
                let launched = ledger.from_stock.get(id).copied().unwrap_or(0);
                stock(problem.snapshot, id).unwrap_or(0) > launched
            });
    }
    let open: Vec<bool> =
        kinds.iter().zip(stocked).map(|(kind, stocked)| stocked && problem.is_open(kind, ledger)).collect();
    check_left_out(problem, plan, ledger, &open, findings);
    let mut by_weight: BTreeMap<Reverse<i32>, Vec<usize>> = BTreeMap::new();
    for (index, kind) in kinds.iter().enumerate() {
        by_weight.entry(Reverse(problem.pools[kind.pool].pool.weight)).or_default().push(index);
    }
    let mut min_weights = BTreeMap::new();
    for row in &plan.certificate.rows {
        // Rows that name no group are the certificate's matter.
        let Some(group) = problem.group_of_first(&row.pod) else {
            continue;
        };
        min_weights.insert((group, row.domain.as_deref()), row.min_weight);
        if let Err(why) = check_min_weight(problem, group, row, &by_weight, &open) {
            let weight = row.min_weight;
            findings.add(code::MIN_WEIGHT, format!("row {}: minimal weight is {weight}, but {why}", row.pod));
        }
    }
    let with_kind = ledger.launch_groups.iter().zip(&ledger.launch_kind);
    for (launch, (groups, kind)) in plan.launches.iter().zip(with_kind) {
        let pool = problem.pools.iter().find(|pool| pool.pool.name == launch.node_pool);
        let Some(weight) = pool.map(|pool| pool.pool.weight) else {
            continue;
        };
        for group in groups.keys() {
            let split = problem.reach[*group].split.as_ref();
            let domain = split.zip(*kind).and_then(|(split, kind)| {
                let domain = problem.kind_domain(&problem.offerings.kinds[kind], split)?;
                Some(split.domains[domain].as_str())
            });
            let min_weight = min_weights.get(&(*group, domain));
            let Some(min_weight) = min_weight.filter(|min_weight| **min_weight > weight) else {
                continue;
            };
            let first = &problem.pods.groups[*group].first;
            let (slot, pool) = (&launch.slot, &launch.node_pool);
            findings.add(
                code::WEIGHT,
                format!("slot {slot}: NodePool {pool} has weight {weight}, pods like {first} may use {min_weight} or more"),
            );
        }
    }
}
