//! Where the plan puts each pending pod, and what that leaves.

use crate::finding::{Findings, code};
use crate::groups::Pending;
use crate::problem::Problem;
use crate::splits::Split;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::PodRef;
use stowage_models::plan::{Plan, UnplacedReason};
use stowage_models::quantity::Resources;

/// Numbers of pods by group.
pub(crate) type Counts = BTreeMap<usize, u64>;

/// Sums over the plan. Filled by the checks in turn.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Pods placed, by group.
    pub(crate) placed: Vec<u64>,
    /// Pods left out for limits, by group.
    pub(crate) limited: Vec<u64>,
    /// Pods of each launch.
    pub(crate) launch_groups: Vec<Counts>,
    /// Kind of each launch, if it is an offering.
    pub(crate) launch_kind: Vec<Option<usize>>,
    /// Kind of each launch and what its pods leave; `None` where it is wrong.
    pub(crate) launch_left: Vec<Option<(usize, Vec<i64>)>>,
    /// What the plan leaves of each existing node.
    pub(crate) node_left: Vec<Vec<i64>>,
    /// Capacity launched by pool and limit.
    pub(crate) launched: Vec<Vec<i128>>,
    /// Launches into each capacity reservation, by id.
    pub(crate) from_stock: BTreeMap<String, i128>,
    /// Names of pools that launch.
    pub(crate) pools_with_launches: BTreeSet<String>,
}

impl Ledger {
    /// Whether pods of the group state a constraint on other pods, or one of a pod that is placed or runs means them.
    pub(crate) fn is_watched(&self, problem: &Problem<'_>, group: usize) -> bool {
        let groups = &problem.pods.groups;
        let means = problem.pods.watch.means(groups[group].class);
        let placed = groups.iter().zip(&self.placed).filter(|(_, placed)| **placed > 0).map(|(one, _)| one);
        groups[group].scopes().next().is_some()
            || placed.flat_map(|one| one.scopes()).any(|scope| means[scope])
            || problem.bound_scopes.iter().any(|scope| means[*scope])
    }
}

/// Reads the plan and checks that every pending pod is in it once, no other pod is, and reasons are not made up.
pub(crate) fn read(problem: &Problem<'_>, plan: &Plan, findings: &mut Findings) -> Ledger {
    let mut ledger = Ledger {
        placed: vec![0; problem.pods.groups.len()],
        limited: vec![0; problem.pods.groups.len()],
        node_left: problem.nodes.iter().map(|node| node.free.clone()).collect(),
        launched: problem.pools.iter().map(|pool| vec![0; pool.limits.len()]).collect(),
        ..Ledger::default()
    };
    let mut seen = BTreeSet::new();
    for launch in &plan.launches {
        let place = format!("slot {}", launch.slot);
        let counts = place_pods(problem, &place, &launch.pods, &mut seen, &mut ledger, findings);
        ledger.launch_groups.push(counts);
        ledger.pools_with_launches.insert(launch.node_pool.clone());
    }
    for node in &plan.existing {
        let place = format!("node {}", node.name);
        place_pods(problem, &place, &node.pods, &mut seen, &mut ledger, findings);
    }
    for entry in &plan.unplaced {
        if entry.pods.is_empty() {
            findings.add(code::UNPLACED_EMPTY, format!("an entry for {:?} names 0 pods", entry.reason));
        }
        read_list(problem, "unplaced", &entry.pods, &mut seen, findings);
        for pod in &entry.pods {
            leave_out(problem, pod, entry.reason, &mut ledger, findings);
        }
    }
    for pod in problem.pods.pending.keys().filter(|pod| !seen.contains(pod)) {
        findings.add(code::MISSING_POD, format!("pod {pod} waits for a place and is in the plan 0 times"));
    }
    check_no_fit(problem, plan, findings);
    ledger
}

/// Checks one list of pods: sorted, pending, not seen before.
fn read_list<'p>(
    problem: &Problem<'_>,
    place: &str,
    pods: &'p [PodRef],
    seen: &mut BTreeSet<&'p PodRef>,
    findings: &mut Findings,
) {
    for pair in pods.windows(2).filter(|pair| pair[0] >= pair[1]) {
        findings.add(code::ORDER, format!("{place}: pod {} comes before {}", pair[0], pair[1]));
    }
    for pod in pods {
        if !seen.insert(pod) {
            findings.add(
                code::DUPLICATE_POD,
                format!("pod {pod} is in the plan twice, the second time in {place}"),
            );
        }
        if !problem.pods.pending.contains_key(pod) {
            findings.add(code::UNKNOWN_POD, format!("{place}: pod {pod} does not wait for a place"));
        }
    }
}

fn place_pods<'p>(
    problem: &Problem<'_>,
    place: &str,
    pods: &'p [PodRef],
    seen: &mut BTreeSet<&'p PodRef>,
    ledger: &mut Ledger,
    findings: &mut Findings,
) -> Counts {
    read_list(problem, place, pods, seen, findings);
    for pod in pods {
        match problem.pods.pending.get(pod) {
            Some(Pending::Group(group)) => ledger.placed[*group] += 1,
            Some(Pending::Unsupported(why)) => {
                findings
                    .add(code::UNSUPPORTED_PLACED, format!("{place}: pod {pod} is placed in spite of {why}"));
            }
            Some(Pending::Stuck(why)) => {
                findings.add(code::CONSTRAINT, format!("{place}: pod {pod} cannot be bound anywhere: {why}"));
            }
            None => {}
        }
    }
    count(problem, pods)
}

/// Pods by group; those of no group are reported elsewhere.
pub(crate) fn count(problem: &Problem<'_>, pods: &[PodRef]) -> Counts {
    let mut counts = Counts::new();
    for pod in pods {
        if let Some(Pending::Group(group)) = problem.pods.pending.get(pod) {
            *counts.entry(*group).or_default() += 1;
        }
    }
    counts
}

fn leave_out(
    problem: &Problem<'_>,
    pod: &PodRef,
    reason: UnplacedReason,
    ledger: &mut Ledger,
    findings: &mut Findings,
) {
    match (problem.pods.pending.get(pod), reason) {
        (Some(Pending::Stuck(why)), reason) if reason != UnplacedReason::Constraint => {
            findings.add(
                code::CONSTRAINT_REASON,
                format!("pod {pod} is left out for {reason:?}, but it is for its volumes: {why}"),
            );
        }
        (Some(Pending::Group(group)), UnplacedReason::Constraint) if !problem.is_constrained(*group) => {
            findings.add(
                code::CONSTRAINT_REASON,
                format!("pod {pod} is left out for constraints between pods or on volumes and has 0"),
            );
        }
        // Constraints a planner does not know are a reason to leave a pod alone, as long as it has any.
        (Some(Pending::Group(group)), UnplacedReason::Unsupported) if !problem.is_constrained(*group) => {
            findings.add(
                code::UNSUPPORTED,
                format!("pod {pod} is left out as Unsupported and has 0 such constraints"),
            );
        }
        (Some(Pending::Unsupported(why)), reason) if reason != UnplacedReason::Unsupported => {
            findings
                .add(code::UNSUPPORTED, format!("pod {pod} is left out for {reason:?}, but it is for {why}"));
        }
        (Some(Pending::Group(group)), UnplacedReason::Limits) => ledger.limited[*group] += 1,
        _ => {}
    }
}

/// Groups left out as `NoFit` fit no bin, limits ignored.
fn check_no_fit(problem: &Problem<'_>, plan: &Plan, findings: &mut Findings) {
    let entries = plan.unplaced.iter().filter(|entry| entry.reason == UnplacedReason::NoFit);
    let groups: BTreeSet<usize> = entries.flat_map(|entry| count(problem, &entry.pods).into_keys()).collect();
    for group in groups.into_iter().filter(|group| problem.is_placeable(*group)) {
        let first = &problem.pods.groups[group].first;
        findings.add(
            code::NO_FIT,
            format!("pods like {first} are left out as NoFit, but at least 1 bin holds one"),
        );
    }
}

/// Pods of each split group by domain; those in no domain are reported elsewhere.
pub(crate) fn by_domain(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger) -> Vec<Vec<u64>> {
    let splits = || problem.reach.iter().map(|reach| reach.split.as_ref());
    let mut pods: Vec<Vec<u64>> =
        splits().map(|split| vec![0; split.map_or(0, |split| split.domains.len())]).collect();
    let mut add = |counts: &Counts, domain: &dyn Fn(&Split) -> Option<usize>| {
        for (group, count) in counts {
            let split = problem.reach[*group].split.as_ref();
            if let Some(domain) = split.and_then(domain) {
                pods[*group][domain] += count;
            }
        }
    };
    for (counts, kind) in ledger.launch_groups.iter().zip(&ledger.launch_kind) {
        if let Some(kind) = kind {
            add(counts, &|split| problem.kind_domain(&problem.offerings.kinds[*kind], split));
        }
    }
    for stated in &plan.existing {
        if let Some(bin) = problem.node(&stated.name) {
            add(&count(problem, &stated.pods), &|split| problem.node_domain(bin, split));
        }
    }
    pods
}

/// What pods ask for together, along the axis.
pub(crate) fn demand(problem: &Problem<'_>, counts: &Counts) -> Vec<i128> {
    let mut total = vec![0; problem.axis.names.len()];
    for (group, count) in counts {
        for (sum, need) in total.iter_mut().zip(&problem.needs[*group]) {
            *sum += i128::from(*need) * i128::from(*count);
        }
    }
    total
}

/// A demand by resource name.
pub(crate) fn by_name(problem: &Problem<'_>, demand: &[i128]) -> Resources {
    let named = problem.axis.names.iter().zip(demand).filter(|(_, amount)| **amount != 0);
    Resources(
        named.map(|(name, amount)| (name.clone(), i64::try_from(*amount).unwrap_or(i64::MAX))).collect(),
    )
}

/// What a demand leaves of a room (`None`: there is none), or the first resource that falls short.
pub(crate) fn leave(
    problem: &Problem<'_>,
    room: Option<&[i64]>,
    demand: &[i128],
) -> Result<Vec<i64>, String> {
    let mut left = Vec::with_capacity(demand.len());
    for (index, (name, demand)) in problem.axis.names.iter().zip(demand).enumerate() {
        let room = room.map_or(0, |room| room[index]);
        let rest = i64::try_from(i128::from(room) - demand).ok().filter(|rest| *rest >= 0);
        left.push(rest.ok_or_else(|| format!("pods ask for {demand} {name}, there is room for {room}"))?);
    }
    Ok(left)
}

/// Equal amounts; an absent one is zero.
pub(crate) fn same(one: &Resources, other: &Resources) -> bool {
    let set = |amounts: &'_ Resources| -> Vec<(String, i64)> {
        amounts
            .0
            .iter()
            .filter(|(_, amount)| **amount != 0)
            .map(|(name, amount)| (name.clone(), *amount))
            .collect()
    };
    one == other || set(one) == set(other)
}
