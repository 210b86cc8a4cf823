//! Somebody else's placement as a plan, so that one referee judges all.

use crate::engine::{self, Run};
use crate::offerings::CAPACITY_TYPES;
use crate::placement::Placement;
use crate::problem::Problem;
use crate::{Limits, PlanError, Planned, Report, check_policy, extract, threads};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Plan, Policy};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// A launch somebody else decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignLaunch {
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// `spot` or `on-demand`.
    pub capacity_type: String,
    /// Custom labels beyond the NodePool's own. Every one that an offering of the pool leaves open must be there; others
    /// are ignored.
    pub labels: Labels,
    /// The pods it is for.
    pub pods: Vec<PodRef>,
}

/// A placement somebody else decided on. Pending pods that are nowhere in it are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Launches.
    pub launches: Vec<ForeignLaunch>,
    /// Pending pods on existing nodes, by node name.
    pub existing: Vec<(String, Vec<PodRef>)>,
}

impl Foreign {
    /// The placement of a plan, for another question than the one it was made for.
    #[must_use]
    pub fn of(plan: &Plan) -> Foreign {
        let launches = plan.launches.iter().map(|launch| ForeignLaunch {
            node_pool: launch.node_pool.clone(),
            instance_type: launch.instance_type.clone(),
            zone: launch.zone.clone(),
            capacity_type: launch.capacity_type.clone(),
            labels: launch.labels.clone(),
            pods: launch.pods.clone(),
        });
        let existing = plan.existing.iter().map(|node| (node.name.clone(), node.pods.clone()));
        Foreign { launches: launches.collect(), existing: existing.collect() }
    }
}

/// Why a placement is no plan. A placement that breaks a constraint *is* one: the checker says what it breaks.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The input cannot be planned at all.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A launch that no NodePool offers.
    #[error("launch {index} ({offering}): no NodePool of the snapshot offers it with these labels")]
    Offering {
        /// Position in [`Foreign::launches`].
        index: usize,
        /// What was asked for.
        offering: String,
    },
    /// A pod that does not wait for a place, or is not known.
    #[error("pod {0} does not wait for a place in this snapshot")]
    Pod(PodRef),
    /// A pod placed twice.
    #[error("pod {0} is placed twice")]
    Twice(PodRef),
    /// A pod with a constraint that the planner and the checker do not know yet, so that nobody can judge its place.
    #[error(
        "pod {pod} has a constraint that is not planned for yet, so its place cannot be judged: {constraint}"
    )]
    Unsupported {
        /// The pod.
        pod: PodRef,
        /// The constraint.
        constraint: String,
    },
    /// A node that is not there or takes no pods.
    #[error("existing node {0} is not in the snapshot or has no room for any pending pod")]
    Node(String),
}

/// Makes a plan of a placement, with the bound proven for the pods it places. Pods of a group are equal, so the plan may
/// name another one of the same group in a place.
///
/// # Errors
/// [`AdoptError`] when the placement names what is not there.
pub fn adopt(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    limits: &Limits,
    foreign: &Foreign,
) -> Result<Planned, AdoptError> {
    check_policy(policy)?;
    let mut observer = |_: &crate::Moment| {};
    let mut run = Run::new(limits, &mut observer);
    let mut problem = Problem::new(snapshot, catalog, policy, threads(limits.threads)?)?;
    let placement = place(&mut problem, foreign)?;
    problem.open_weights(&placement);
    let mut found = engine::certify_fixed(&problem, placement, &mut run);
    problem.diversify(&mut found.placement);
    let mut plan = extract::plan(&problem, &found, &run.timeline);
    if problem.weights_matter() {
        let (certificate, bound) = engine::bound_without_weights(&mut problem, &found.placement, &mut run);
        plan.summary.launch_bound_without_weights = Some(bound);
        plan.certificate_without_weights = Some(certificate);
    }
    plan.id = plan.compute_id();
    let elapsed = run.elapsed();
    let report = Report {
        timeline: run.timeline,
        stop: found.stop,
        elapsed,
        offerings_undominated: found.undominated,
        simplex_iterations: run.iterations,
        faults: run.faults,
    };
    Ok(Planned { plan, report })
}

/// Reads a placement in the problem's terms.
pub(crate) fn place(whole: &mut Problem<'_>, foreign: &Foreign) -> Result<Placement, AdoptError> {
    let problem = &*whole;
    let mut reader = Reader::new(problem);
    let mut placement = Placement::default();
    for (index, launch) in foreign.launches.iter().enumerate() {
        let offering = find_offering(problem, launch).ok_or_else(|| AdoptError::Offering {
            index,
            offering: format!(
                "{} {} {} {}",
                launch.node_pool, launch.instance_type, launch.zone, launch.capacity_type
            ),
        })?;
        let signature = problem.offerings[offering].signature as usize;
        let value = |key: u32| problem.value_of(signature, key);
        placement.launches.push((offering, reader.pattern(&launch.pods, &value)?));
    }
    for (name, pods) in &foreign.existing {
        if pods.is_empty() {
            continue;
        }
        let bin = problem.existing.iter().position(|bin| problem.snapshot.nodes[bin.node].name == *name);
        let bin = bin.ok_or_else(|| AdoptError::Node(name.clone()))?;
        let value = |key: u32| problem.value_on(problem.existing[bin].node, key);
        placement.existing.push((bin, reader.pattern(pods, &value)?));
    }
    let placed = std::mem::take(&mut reader.placed);
    placement.left =
        problem.groups.iter().zip(&placed).map(|(group, placed)| group.demand - placed).collect();
    // A split group is taken as it was split, and what is nowhere in it is left.
    let families = problem.families.clone();
    for family in &families {
        let (first, rows) = (family.rows[0] as usize, &family.rows);
        let all = whole.groups[first].whole.clone();
        let total: i64 = rows.iter().map(|g| placed[*g as usize]).sum();
        for g in rows.iter().map(|g| *g as usize) {
            (whole.groups[g].demand, placement.left[g]) = (placed[g], 0);
        }
        placement.left[first] = all.len() as i64 - total;
        whole.groups[first].demand += placement.left[first];
        whole.blocked.retain(|blocked| blocked.whole != all);
    }
    let problem = &*whole;
    placement.limits = problem.limits.iter().map(|limit| limit.remaining).collect();
    for (offering, _) in &placement.launches {
        for (row, amount) in crate::core::usage(problem, *offering) {
            placement.limits[row] = placement.limits[row].saturating_sub(amount);
        }
    }
    Ok(placement)
}

fn find_offering(problem: &Problem<'_>, launch: &ForeignLaunch) -> Option<usize> {
    problem.offerings.iter().position(|offering| {
        let instance_type = &problem.catalog.types[offering.instance_type as usize];
        instance_type.name == launch.instance_type
            && problem.pool(offering).name == launch.node_pool
            && instance_type.zones[offering.zone as usize].zone == launch.zone
            && CAPACITY_TYPES[offering.capacity_type as usize] == launch.capacity_type
            && offering.variant.iter().all(|(key, value)| launch.labels.get(key) == Some(value))
    })
}

/// Turns names of pods into numbers of groups, each pod once.
struct Reader<'p> {
    problem: &'p Problem<'p>,
    /// The groups a pod may be of: one, or one a domain.
    groups_of: BTreeMap<PodRef, Vec<usize>>,
    unsupported: BTreeMap<PodRef, &'p str>,
    seen: BTreeSet<PodRef>,
    placed: Vec<i64>,
}

impl<'p> Reader<'p> {
    fn new(problem: &'p Problem<'_>) -> Reader<'p> {
        let mut groups_of: BTreeMap<PodRef, Vec<usize>> = BTreeMap::new();
        for (g, group) in problem.groups.iter().enumerate() {
            for pod in group.whole.iter() {
                groups_of.entry(problem.pod_ref(*pod)).or_default().push(g);
            }
        }
        Reader {
            problem,
            groups_of,
            unsupported: problem
                .unsupported
                .iter()
                .chain(&problem.constrained)
                .map(|left| (problem.pod_ref(left.pod), left.constraint.as_str()))
                .collect(),
            seen: BTreeSet::new(),
            placed: vec![0; problem.groups.len()],
        }
    }

    /// Counts by group of pods on a bin with the given values of topology keys.
    fn pattern<'v>(
        &mut self,
        pods: &[PodRef],
        value: &dyn Fn(u32) -> Option<&'v str>,
    ) -> Result<crate::pack::Pattern, AdoptError> {
        let mut counts: BTreeMap<u32, i64> = BTreeMap::new();
        for pod in pods {
            let Some(groups) = self.groups_of.get(pod) else {
                return Err(match self.unsupported.get(pod) {
                    Some(constraint) => {
                        AdoptError::Unsupported { pod: pod.clone(), constraint: (*constraint).to_owned() }
                    }
                    None => AdoptError::Pod(pod.clone()),
                });
            };
            if !self.seen.insert(pod.clone()) {
                return Err(AdoptError::Twice(pod.clone()));
            }
            let here = |g: &&usize| {
                let cell = &self.problem.groups[**g].cell;
                cell.iter().all(|(key, domain)| value(*key) == domain.as_deref())
            };
            // On a bin in no domain it is of any: the checker says what is wrong with it.
            let g = groups.iter().find(here).copied().unwrap_or(groups[0]);
            self.placed[g] += 1;
            *counts.entry(u32::try_from(g).expect("groups fit 32 bits")).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }
}
