//! On the way from wave to wave, every pod that is evicted finds its place open: what its constraints towards others say depends on where
//! these are by then (`docs/formulation.md` section 5.4).

use super::rules::{Verdict, moves};
use super::states::waiting;
use crate::PlanError;
use crate::constraints::restore::unbindable;
use crate::problem::Problem;
use rayon::ThreadPool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Move, Wave};
use stowage_models::labels;
use stowage_models::objects::{Node, PodPhase, PodRef};
use stowage_models::plan::{Launch, Plan};
use stowage_models::snapshot::Snapshot;

/// What is planned.
pub(super) struct Way<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) catalog: &'a Catalog,
    pub(super) pool: &'a Arc<ThreadPool>,
    pub(super) verdicts: &'a [Verdict],
    pub(super) plan: &'a Plan,
    pub(super) moves: &'a [Move],
    pub(super) waves: &'a [Wave],
}

impl Way<'_> {
    /// Whether after each wave every pod it evicts can be bound where it is meant to go. After the last that is so of any plan; pods of
    /// nodes that go by force, and pods that wait already, may do so until then.
    pub(super) fn is_open(&self) -> Result<bool, PlanError> {
        let forced: BTreeSet<&str> = self
            .snapshot
            .nodes
            .iter()
            .zip(self.verdicts)
            .filter(|(_, verdict)| verdict.is_forced())
            .map(|(node, _)| node.name.as_str())
            .collect();
        let moved: BTreeMap<&PodRef, &Move> = self.moves.iter().map(|one| (&one.pod, one)).collect();
        // Pods that wait already: they start as soon as their place is there.
        let slots: BTreeMap<&str, String> =
            self.plan.launches.iter().map(|launch| (launch.slot.as_str(), name(launch))).collect();
        let name = |place: &'_ str| slots.get(place).cloned().unwrap_or_else(|| place.to_owned());
        let new = self.plan.launches.iter().map(|launch| (launch.slot.as_str(), &launch.pods));
        let nodes = self.plan.existing.iter().map(|node| (node.name.as_str(), &node.pods));
        let placed =
            new.chain(nodes).flat_map(|(place, pods)| pods.iter().map(move |pod| (pod, name(place))));
        let mut due: BTreeMap<&PodRef, String> = placed.filter(|(pod, _)| !moved.contains_key(pod)).collect();
        let mut bound: BTreeMap<&PodRef, String> = BTreeMap::new();
        let mut evicted: BTreeSet<&PodRef> = BTreeSet::new();
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        let mut launched: BTreeSet<&str> = BTreeSet::new();
        let rest = self.waves.len().saturating_sub(1);
        for wave in &self.waves[..rest] {
            gone.extend(wave.removals.iter().map(String::as_str));
            launched.extend(wave.launches.iter().map(String::as_str));
            evicted.extend(&wave.evictions);
            let leavers = wave.evictions.iter().filter_map(|pod| moved.get(pod));
            due.extend(leavers.map(|one| (&one.pod, name(&one.to))));
            let now = self.state(&gone, &launched, &bound, &evicted);
            let is_there = |place: &str| now.nodes.iter().any(|node| node.name == place);
            let wanted: Vec<(PodRef, &str)> = due
                .iter()
                .filter(|(_, place)| is_there(place))
                .map(|(pod, place)| ((*pod).clone(), place.as_str()))
                .collect();
            let problem = Problem::new(&now, self.catalog, &self.plan.policy, self.pool.clone())?;
            let stuck = unbindable(&problem, &wanted);
            let has_to = |pod: &PodRef| {
                wave.evictions.binary_search(pod).is_ok()
                    && moved.get(pod).is_some_and(|one| !forced.contains(one.from.as_str()))
            };
            if stuck.iter().any(|at| has_to(&wanted[*at].0)) {
                return Ok(false);
            }
            let free = wanted.iter().enumerate().filter(|(at, _)| !stuck.contains(at));
            let free: Vec<PodRef> = free.map(|(_, (pod, _))| pod.clone()).collect();
            bound.extend(free.iter().filter_map(|pod| due.remove_entry(pod)));
        }
        Ok(true)
    }

    /// The cluster when these nodes are gone and these slots are nodes, and pods that were evicted are bound or wait.
    fn state(
        &self,
        gone: &BTreeSet<&str>,
        launched: &BTreeSet<&str>,
        bound: &BTreeMap<&PodRef, String>,
        evicted: &BTreeSet<&PodRef>,
    ) -> Snapshot {
        let mut now = self.snapshot.clone();
        for (node, verdict) in now.nodes.iter_mut().zip(self.verdicts) {
            node.unschedulable |= verdict.departure().is_some();
        }
        now.nodes.retain(|node| !gone.contains(node.name.as_str()));
        now.node_claims.retain(|claim| claim.node.as_deref().is_none_or(|node| !gone.contains(node)));
        let slots = self.plan.launches.iter().filter(|launch| launched.contains(launch.slot.as_str()));
        now.nodes.extend(slots.map(|launch| self.node(launch)));
        let ends = |node: &Option<String>| node.as_deref().is_some_and(|node| gone.contains(node));
        now.pods.retain(|pod| !ends(&pod.node) || (!pod.is_terminal() && moves(pod)));
        for pod in &mut now.pods {
            let id = pod.id();
            if let Some(place) = bound.get(&id) {
                (pod.node, pod.phase) = (Some(place.clone()), PodPhase::Running);
                pod.nominated_node = None;
            } else if evicted.contains(&id) || ends(&pod.node) {
                *pod = waiting(pod);
            }
        }
        now.normalise();
        now
    }

    /// The node a launch becomes.
    fn node(&self, launch: &Launch) -> Node {
        let kind = self.catalog.get(&launch.instance_type);
        let pool = self.snapshot.node_pools.iter().find(|pool| pool.name == launch.node_pool);
        let mut labels = pool.map(|pool| pool.labels.clone()).unwrap_or_default();
        labels.extend(launch.labels.clone());
        labels.extend(kind.map(|kind| kind.labels()).unwrap_or_default());
        let zone = kind.and_then(|kind| kind.zones.iter().find(|zone| zone.zone == launch.zone));
        let class = pool.map(|pool| pool.node_class.as_str()).unwrap_or_default();
        let own_name = name(launch);
        let own = [
            (labels::ZONE, launch.zone.as_str()),
            (labels::ZONE_ID, zone.map(|zone| zone.zone_id.as_str()).unwrap_or_default()),
            (labels::REGION, self.catalog.region.as_str()),
            (labels::CAPACITY_TYPE, launch.capacity_type.as_str()),
            (labels::NODEPOOL, launch.node_pool.as_str()),
            (labels::EC2_NODE_CLASS, class),
            (labels::HOSTNAME, own_name.as_str()),
            (labels::REGISTERED, "true"),
            (labels::INITIALIZED, "true"),
        ];
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
        Node {
            name: own_name,
            labels,
            taints: pool.map(|pool| pool.taints.clone()).unwrap_or_default(),
            capacity: kind
                .map(|kind| kind.capacity(&self.snapshot.settings, &self.class(class)))
                .unwrap_or_default(),
            allocatable: launch.allocatable.clone(),
            ready: true,
            ..Node::default()
        }
    }

    fn class(&self, name: &str) -> stowage_models::objects::Ec2NodeClass {
        let found = self.snapshot.node_classes.iter().find(|class| class.name == name);
        found.cloned().unwrap_or_default()
    }
}

/// The name of the node a launch becomes: no node that exists is called so, a slash is in no node's name.
fn name(launch: &Launch) -> String {
    format!("planned/{}", launch.slot)
}
