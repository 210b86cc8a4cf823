//! Choices that move pods with constraints: the search knows nothing of these, the engine does.

use super::model::Model;
use super::{Job, Scene, states};
use crate::{Moment, PlanError, Planned, plan_until};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, Plan};

/// Plans in which nodes stay after all, at most.
const REFINEMENTS_MAX: usize = 6;

impl Job<'_> {
    /// The engine's plan without these nodes. Nodes stay after all whose pods have no place then, or get a launch that costs no less than
    /// they do, as long as that makes the whole no dearer.
    pub(super) fn refine(
        &self,
        scene: &Scene<'_>,
        model: &Model,
        removed: &mut BTreeSet<usize>,
        observer: &mut dyn FnMut(&Moment),
    ) -> Result<Planned, PlanError> {
        let mut without = |removed: &BTreeSet<usize>| {
            let after = states::without(self.snapshot, scene.verdicts, removed);
            let enough = scene.launches_enough(model, removed);
            plan_until(&after, self.catalog, self.policy, &self.rest(0.2), enough, observer)
        };
        let total = |removed: &BTreeSet<usize>, plan: &Plan| -> i64 {
            let nodes = model.removable.iter();
            let nodes = nodes.map(|one| if removed.contains(&one.node) { one.weighs() } else { one.price });
            nodes.sum::<i64>() + plan.summary.launch_cost.0
        };
        let home: BTreeMap<PodRef, usize> = removed
            .iter()
            .flat_map(|node| scene.verdicts[*node].moving.iter().map(move |pod| (pod, *node)))
            .map(|(pod, node)| (self.snapshot.pods[*pod as usize].id(), node))
            .collect();
        let mut best = without(removed)?;
        for _ in 0..REFINEMENTS_MAX {
            if self.elapsed() >= self.limits.time {
                break;
            }
            let homeless = self.without_place(removed, scene.verdicts, &best.plan);
            let mut back: BTreeSet<usize> = homeless.keys().copied().collect();
            if back.is_empty() {
                let launches = &best.plan.launches;
                back = launches.iter().filter_map(|one| self.replaced(scene, &home, removed, one)).collect();
            }
            if back.is_empty() {
                break;
            }
            let fewer: BTreeSet<usize> = removed.difference(&back).copied().collect();
            let next = without(&fewer)?;
            if homeless.is_empty() && total(&fewer, &next.plan) > total(removed, &best.plan) {
                break;
            }
            (*removed, best) = (fewer, next);
        }
        Ok(best)
    }

    /// The node that most pods of a launch come from, if it costs no more. `home` is where pods come from.
    fn replaced(
        &self,
        scene: &Scene<'_>,
        home: &BTreeMap<PodRef, usize>,
        removed: &BTreeSet<usize>,
        launch: &Launch,
    ) -> Option<usize> {
        let mut shared: BTreeMap<usize, usize> = BTreeMap::new();
        for node in launch.pods.iter().filter_map(|pod| home.get(pod)).filter(|node| removed.contains(node)) {
            *shared.entry(*node).or_default() += 1;
        }
        let may_stay =
            |node: &usize| scene.verdicts[*node].price.is_some_and(|price| price <= launch.price.0);
        let from = shared.into_iter().filter(|(node, _)| may_stay(node));
        from.map(|(node, pods)| (pods, std::cmp::Reverse(node))).max().map(|(_, node)| node.0)
    }
}
