//! The joint problem in numbers: groups of pods that wait or may move, nodes that may be removed, offers
//! (`docs/formulation.md` section 5.3).

use super::rules::{Kept, Verdict, pod_weight};
use super::states::with_twins;
use crate::PlanError;
use crate::core::Core;
use crate::problem::Problem;
use rayon::ThreadPool;
use std::collections::BTreeMap;
use std::sync::Arc;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::objects::PodRef;
use stowage_models::plan::Policy;
use stowage_models::schedule::instant;
use stowage_models::snapshot::Snapshot;

/// A node is to have served for this part of the horizon: before, what is missing counts against its removal.
const SETTLING_PART: i128 = 4;

/// A node that may be removed.
#[derive(Clone, Debug)]
pub(super) struct Removable {
    /// Index into the snapshot's nodes.
    pub(super) node: usize,
    /// Price, micro-dollars per hour.
    pub(super) price: i64,
    /// Its pods that would move, by group.
    pub(super) own: Vec<(u32, i64)>,
    /// What moving them and removing the node costs, micro-dollars per hour.
    pub(super) leaving: i64,
    /// What the choice adds to that, micro-dollars per hour, so that plans do not take back what one before them did for little: the price
    /// of the time that a node with pods has not yet served of a quarter of the horizon, spread over the horizon. The bound knows nothing
    /// of it.
    pub(super) regret: i64,
    /// Its room: index into [`Core::spares`], if it has room for any pod.
    pub(super) spare: Option<usize>,
}

impl Removable {
    /// Pods that would move.
    pub(super) fn pods(&self) -> i64 {
        self.own.iter().map(|(_, count)| count).sum()
    }

    /// What its removal has to be worth, micro-dollars per hour.
    pub(super) fn weighs(&self) -> i64 {
        self.leaving + self.regret
    }
}

/// The joint problem.
pub(super) struct Model {
    /// Pods by group, offers and existing nodes as spares. Weights are not strict here: the bound ignores them.
    pub(super) core: Core,
    /// The same where weights are strict, if that makes a difference; plans keep to it.
    pub(super) strict: Option<Core>,
    /// Sorted by node.
    pub(super) removable: Vec<Removable>,
    /// Price of nodes that stay in any case, micro-dollars per hour.
    pub(super) fixed: i64,
    /// What moving the pods of nodes that go in any case and removing these costs, micro-dollars per hour.
    pub(super) departing: i64,
    /// Price of all nodes, micro-dollars per hour.
    pub(super) whole: i64,
    /// Group of each pod that waits or may move.
    pub(super) group_of: BTreeMap<PodRef, u32>,
}

/// Marks nodes with pods that nothing else can hold; returns the snapshot with twins of what is left.
pub(super) fn settle(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    pool: &Arc<ThreadPool>,
    verdicts: &mut [Verdict],
) -> Result<Snapshot, PlanError> {
    loop {
        let twins = with_twins(snapshot, verdicts);
        let problem = Problem::new(&twins, catalog, policy, pool.clone())?;
        let homeless = problem
            .no_fit
            .iter()
            .flat_map(|group| group.whole.iter())
            .chain(problem.unsupported.iter().chain(&problem.constrained).map(|left| &left.pod));
        let homeless: std::collections::BTreeSet<PodRef> =
            homeless.map(|pod| problem.pod_ref(*pod)).collect();
        drop(problem);
        let mut changed = false;
        for verdict in verdicts.iter_mut().filter(|verdict| verdict.kept.is_none() && !verdict.is_forced()) {
            let ids = verdict.moving.iter().map(|pod| snapshot.pods[*pod as usize].id());
            if let Some(pod) = ids.filter(|id| homeless.contains(id)).min() {
                changed = true;
                let message = format!("pod {pod}: no other node and no offering holds it");
                verdict.kept = Some(Kept { reason: NodeReason::Pod, pod: Some(pod), budget: None, message });
            }
        }
        if !changed {
            return Ok(twins);
        }
    }
}

/// See [`Removable::regret`]. Nodes of unknown age have served.
fn regret(snapshot: &Snapshot, policy: &ConsolidationPolicy, node: usize, verdict: &Verdict) -> i64 {
    let time = |text: Option<&String>| text.and_then(|text| instant(text)).map(i128::from);
    let times = (time(snapshot.nodes[node].created.as_ref()), time(snapshot.taken_at.as_ref()));
    let (Some(created), Some(now), false) = (times.0, times.1, verdict.moving.is_empty()) else { return 0 };
    let horizon = i128::from(policy.horizon_minutes.max(1)) * 60;
    let missing = (horizon / SETTLING_PART - (now - created)).clamp(0, horizon / SETTLING_PART);
    i64::try_from(i128::from(verdict.price.unwrap_or(0)) * missing / horizon).unwrap_or(0)
}

impl Model {
    /// Reads the problem of the snapshot with twins.
    pub(super) fn new(
        snapshot: &Snapshot,
        problem: &mut Problem<'_>,
        policy: &ConsolidationPolicy,
        verdicts: &[Verdict],
    ) -> Model {
        let group_of: BTreeMap<PodRef, u32> = problem
            .groups
            .iter()
            .enumerate()
            .flat_map(|(g, group)| group.whole.iter().map(move |pod| (*pod, g)))
            .map(|(pod, g)| (problem.pod_ref(pod), u32::try_from(g).unwrap_or(u32::MAX)))
            .collect();
        let demand: Vec<i64> = problem.groups.iter().map(|group| group.whole.len() as i64).collect();
        let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
        let strict = problem.weights_matter().then(|| Core::new(problem, demand.clone(), &limits, true));
        problem.groups.iter_mut().for_each(|group| group.min_weight = i32::MIN);
        let core = Core::new(problem, demand, &limits, true);
        // The problem's snapshot lacks the nodes that go in any case.
        let name = |spare: &crate::core::Spare| {
            problem.snapshot.nodes[problem.existing[spare.bin].node].name.as_str()
        };
        let spare_of: BTreeMap<&str, usize> =
            core.spares.iter().enumerate().map(|(index, spare)| (name(spare), index)).collect();
        let now = snapshot.taken_at.as_deref().and_then(instant);
        let leaving = |verdict: &Verdict| -> i64 {
            let pods = verdict.moving.iter().map(|pod| &snapshot.pods[*pod as usize]);
            let weights = pods.map(|pod| pod_weight(policy, now, pod));
            policy.removal_rate().0 + weights.map(|weight| policy.eviction_rate(weight).0).sum::<i64>()
        };
        let removable = verdicts
            .iter()
            .enumerate()
            .filter(|(_, verdict)| verdict.is_free())
            .map(|(node, verdict)| {
                let mut own: BTreeMap<u32, i64> = BTreeMap::new();
                for pod in &verdict.moving {
                    let pod = &snapshot.pods[*pod as usize];
                    if let Some(group) = group_of.get(&pod.id()) {
                        *own.entry(*group).or_default() += 1;
                    }
                }
                Removable {
                    node,
                    price: verdict.price.unwrap_or(0),
                    own: own.into_iter().collect(),
                    leaving: leaving(verdict),
                    regret: regret(snapshot, policy, node, verdict),
                    spare: spare_of.get(snapshot.nodes[node].name.as_str()).copied(),
                }
            })
            .collect();
        let fixed = verdicts.iter().filter(|v| v.kept.is_some()).filter_map(|v| v.price).sum();
        let departing = verdicts.iter().filter(|verdict| verdict.departs()).map(leaving).sum();
        let whole = verdicts.iter().filter_map(|verdict| verdict.price).sum();
        Model { core, strict, removable, fixed, departing, whole, group_of }
    }

    /// The core plans keep to.
    pub(super) fn planning(&self) -> &Core {
        self.strict.as_ref().unwrap_or(&self.core)
    }
}
