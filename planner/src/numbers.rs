//! The problem as numbers: what any other solver needs to attempt it.

use crate::core::{Core, usage};
use crate::offerings::CAPACITY_TYPES;
use crate::problem::Problem;
use crate::{PlanError, threads};
use std::collections::BTreeMap;
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodRef;
use stowage_models::plan::Policy;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// Pods that are equal in everything the planner may look at.
#[derive(Clone, Debug)]
pub struct NumbersGroup {
    /// The pods, sorted.
    pub pods: Vec<PodRef>,
    /// Request of one of them, by [`Numbers::resources`].
    pub request: Vec<i64>,
    /// Priority.
    pub priority: i32,
}

/// Something that may be launched any number of times.
#[derive(Clone, Debug)]
pub struct NumbersOffering {
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// `spot` or `on-demand`.
    pub capacity_type: String,
    /// Custom labels that the NodePool's requirements left open and the offering fixes.
    pub labels: Labels,
    /// Price per hour.
    pub price: UsdMicros,
    /// Allocatable less slack and DaemonSets, by [`Numbers::resources`].
    pub capacity: Vec<i64>,
    /// Index into [`Numbers::classes`].
    pub class: usize,
    /// What one launch uses up of each of [`Numbers::limits`].
    pub usage: Vec<i64>,
}

/// An existing node with room.
#[derive(Clone, Debug)]
pub struct NumbersNode {
    /// Name.
    pub name: String,
    /// What is left, by [`Numbers::resources`].
    pub free: Vec<i64>,
    /// Groups that may use it and of which one pod fits.
    pub groups: Vec<usize>,
}

/// What is left of a NodePool's limit.
#[derive(Clone, Debug)]
pub struct NumbersLimit {
    /// NodePool.
    pub node_pool: String,
    /// Limited resource (`nodes` for their number).
    pub resource: String,
    /// What is left of it.
    pub remaining: i64,
}

/// The problem as numbers. Pods with unsupported constraints and pods that fit nowhere are not part of it.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Names of the resources, the order of every vector.
    pub resources: Vec<String>,
    /// Groups.
    pub groups: Vec<NumbersGroup>,
    /// Sets of groups (indices, ascending) that may share an offering.
    pub classes: Vec<Vec<usize>>,
    /// Undominated offerings by rising price.
    pub offerings: Vec<NumbersOffering>,
    /// Existing nodes.
    pub nodes: Vec<NumbersNode>,
    /// Limits.
    pub limits: Vec<NumbersLimit>,
    /// Pending pods left out of the problem, with the constraint that is not planned for yet.
    pub unsupported: Vec<(PodRef, String)>,
    /// Pending pods that no bin can hold.
    pub no_fit: Vec<PodRef>,
}

/// Reads a snapshot as numbers: the same groups, offerings and existing nodes [`crate::plan`] would plan with, but every
/// NodePool open to every group: the order of weights is no number.
///
/// # Errors
/// [`PlanError`] when the input cannot be planned at all.
pub fn numbers(snapshot: &Snapshot, catalog: &Catalog, policy: &Policy) -> Result<Numbers, PlanError> {
    crate::check_policy(policy)?;
    let mut problem = Problem::new(snapshot, catalog, policy, threads(1)?)?;
    // Constraints between pods are no numbers.
    let plain: Vec<bool> = problem.groups.iter().map(|group| !group.wants.concern_pods()).collect();
    let mut concerned: Vec<(PodRef, String)> = Vec::new();
    for (group, _) in problem.groups.iter().zip(&plain).filter(|(_, plain)| !**plain) {
        let text = "constraints between pods, or on host ports".to_owned();
        concerned.extend(group.whole.iter().map(|pod| (problem.pod_ref(*pod), text.clone())));
    }
    concerned.extend(
        problem
            .blocked
            .iter()
            .flat_map(|out| out.whole.iter())
            .map(|pod| (problem.pod_ref(*pod), "constraints between pods, or on host ports".to_owned())),
    );
    concerned.sort();
    concerned.dedup();
    let no_fit = problem.no_fit.clone();
    problem.drop_groups(&plain);
    problem.no_fit = no_fit;
    problem.families.clear();
    problem.settle_rules();
    problem.groups.iter_mut().for_each(|group| group.min_weight = i32::MIN);
    let demand: Vec<i64> = problem.groups.iter().map(|group| group.demand).collect();
    let remaining: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
    let core = Core::new(&problem, demand, &remaining, true);
    let refs = |pods: &[u32]| pods.iter().map(|pod| problem.pod_ref(*pod)).collect::<Vec<_>>();
    let mut classes: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let mut offerings = Vec::with_capacity(core.offers.len());
    for offer in &core.offers {
        let groups: Vec<usize> = offer.items.iter().map(|(g, _)| *g as usize).collect();
        let next = classes.len();
        let class = *classes.entry(groups).or_insert(next);
        let source = &problem.offerings[offer.offering];
        let instance_type = &catalog.types[source.instance_type as usize];
        let mut used = vec![0; problem.limits.len()];
        usage(&problem, offer.offering).into_iter().for_each(|(row, amount)| used[row] = amount);
        offerings.push(NumbersOffering {
            node_pool: problem.pool(source).name.clone(),
            instance_type: instance_type.name.clone(),
            zone: instance_type.zones[source.zone as usize].zone.clone(),
            capacity_type: CAPACITY_TYPES[source.capacity_type as usize].to_owned(),
            labels: (*source.variant).clone(),
            price: UsdMicros(source.price),
            capacity: source.capacity.clone(),
            class,
            usage: used,
        });
    }
    let mut by_number: Vec<(Vec<usize>, usize)> = classes.into_iter().collect();
    by_number.sort_by_key(|(_, number)| *number);
    Ok(Numbers {
        resources: problem.resources.clone(),
        groups: problem
            .groups
            .iter()
            .map(|group| NumbersGroup {
                pods: refs(&group.whole),
                request: group.request.clone(),
                priority: group.priority,
            })
            .collect(),
        classes: by_number.into_iter().map(|(groups, _)| groups).collect(),
        offerings,
        nodes: problem
            .existing
            .iter()
            .map(|bin| NumbersNode {
                name: snapshot.nodes[bin.node].name.clone(),
                free: bin.free.clone(),
                groups: bin.groups.iter().map(|g| *g as usize).collect(),
            })
            .collect(),
        limits: problem
            .limits
            .iter()
            .map(|limit| NumbersLimit {
                node_pool: problem.limit_owner(limit),
                resource: limit.resource.clone(),
                remaining: limit.remaining,
            })
            .collect(),
        unsupported: problem
            .unsupported
            .iter()
            .chain(&problem.constrained)
            .map(|left| (problem.pod_ref(left.pod), left.constraint.clone()))
            .chain(concerned)
            .collect(),
        no_fit: problem.no_fit.iter().flat_map(|group| refs(&group.whole)).collect(),
    })
}
