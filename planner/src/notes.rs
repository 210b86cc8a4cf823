//! What a reader should know about the snapshot: preferences, pods that are not looked at, foreign regions.

use crate::problem::Problem;
use crate::wishes;
use stowage_models::labels;
use stowage_models::objects::{Pod, PodPhase};

impl Problem<'_> {
    /// Notes NodeOverlays that count for nothing.
    pub(crate) fn note_overlays(&mut self) {
        let ignored = self.overlays.ignored();
        let notes = ignored.map(|(name, why)| format!("NodeOverlay {name} is ignored: {why}"));
        self.notes.extend(notes.collect::<Vec<_>>());
    }

    /// Notes preferences and NodePools that are not planned as written.
    pub(crate) fn note_preferences(&mut self) {
        let waiting = || self.snapshot.pods.iter().filter(|pod| pod.is_pending());
        let stated = waiting()
            .filter(|pod| !pod.spec.affinity.node_preferred.is_empty() || wishes::wishes_any(&pod.spec));
        let stated = stated.count();
        if stated > 0 && !self.prices_preferences {
            let why = if self.policy.consolidation.is_some() { "in consolidation" } else { "by policy" };
            self.notes.push(format!("preferences of {stated} pods have no price {why}"));
        }
        let reservations = self.snapshot.node_classes.iter().flat_map(|class| &class.capacity_reservations);
        let unknown: Vec<&str> =
            reservations.clone().filter(|one| one.available.is_none()).map(|one| one.id.as_str()).collect();
        if !unknown.is_empty() {
            self.notes.push(format!(
                "capacity reservations that do not say availableInstanceCount are not used: {}",
                unknown.join(", ")
            ));
        }
        if self.policy.consolidation.is_some() && reservations.count() > unknown.len() {
            self.notes.push("capacity reservations are not used in consolidation".to_owned());
        }
        for pool in &self.snapshot.node_pools {
            if pool.deleting {
                self.notes.push(format!("NodePool {} is being deleted and launches nothing", pool.name));
            }
            if let Some(why) = &pool.not_ready {
                self.notes.push(format!("NodePool {} is not ready and launches nothing: {why}", pool.name));
            }
            if pool.replicas.is_some() {
                self.notes
                    .push(format!("NodePool {} is static (replicas): it launches for no pod, and nodes it lacks are not planned for", pool.name));
            }
        }
    }

    /// Notes what is in the snapshot and plays no part in the plan, where a reader would think it does.
    pub(crate) fn note_surroundings(&mut self) {
        let waits = |pod: &&Pod| pod.phase == PodPhase::Pending && pod.node.is_none() && !pod.deleting;
        let waiting = || self.snapshot.pods.iter().filter(waits);
        let gated = waiting().filter(|pod| !pod.scheduling_gates.is_empty()).count();
        let foreign = waiting().filter(|pod| pod.spec.scheduler_name.is_some()).count();
        if gated + foreign > 0 {
            self.notes.push(format!(
                "waiting pods that are not looked at: {gated} with scheduling gates, {foreign} of another scheduler"
            ));
        }
        let nominated = waiting().filter(|pod| pod.nominated_node.is_some()).count();
        if nominated > 0 {
            self.notes.push(format!(
                "{nominated} waiting pods are nominated to nodes where others make room: they keep that room, and nothing is \
                 launched for them"
            ));
        }
        let region = &self.catalog.region;
        let elsewhere = self.snapshot.nodes.iter().filter(|node| {
            node.labels.get(labels::REGION).is_some_and(|have| have != region)
                || node.labels.get(labels::ZONE).is_some_and(|zone| !zone.starts_with(region.as_str()))
        });
        let elsewhere = elsewhere.count();
        if elsewhere > 0 {
            self.notes.push(format!(
                "{elsewhere} nodes are not in {region}, the region of the catalogue: types, zones and prices of the                  launches are those of {region}; pass --catalog with one of your region"
            ));
        }
        let in_flight =
            self.snapshot.node_claims.iter().filter(|claim| claim.node.is_none() && !claim.deleting);
        let in_flight = in_flight.count();
        if in_flight > 0 {
            self.notes.push(format!(
                "{in_flight} NodeClaims have no node yet: they count against limits, but the pods they were launched                  for are planned again"
            ));
        }
    }
}
