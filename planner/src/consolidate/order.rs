//! On the way from wave to wave, every pod that is evicted finds its place open: what its constraints towards others say depends on where
//! these are by then (`docs/formulation.md` section 5.4).

use super::rules::Verdict;
use super::states::waiting;
use crate::constraints::walk::{Step, Walk};
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Move, Wave};
use stowage_models::labels;
use stowage_models::objects::{Node, PodRef};
use stowage_models::plan::{Launch, Plan};
use stowage_models::snapshot::Snapshot;

/// What is planned.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) catalog: &'a Catalog,
    pub(super) verdicts: &'a [Verdict],
    pub(super) plan: &'a Plan,
    pub(super) moves: &'a [Move],
}

/// How far it is carried out.
pub(super) struct Way<'r, 'a> {
    walk: Walk<'r, 'a>,
    moved: BTreeMap<&'r PodRef, &'r Move>,
    /// Names of the nodes that launches become, by slot.
    slots: BTreeMap<&'r str, String>,
    /// Nodes that go by force: whether there is a place for their pods is not asked.
    forced: BTreeSet<&'r str>,
    /// Pods without a place yet: evicted, or waiting from the start.
    due: BTreeMap<&'r PodRef, String>,
    /// Places that are there.
    places: BTreeSet<String>,
}

impl<'r, 'a> Way<'r, 'a> {
    /// Nothing is done yet. `problem` is that of [`Route::whole`].
    pub(super) fn new(route: Route<'r>, problem: &'r Problem<'a>) -> Way<'r, 'a> {
        let plan = route.plan;
        let moved: BTreeMap<&PodRef, &Move> = route.moves.iter().map(|one| (&one.pod, one)).collect();
        let slots: BTreeMap<&str, String> =
            plan.launches.iter().map(|launch| (launch.slot.as_str(), name(launch))).collect();
        let new = plan.launches.iter().map(|launch| (name(launch), &launch.pods));
        let nodes = plan.existing.iter().map(|node| (node.name.clone(), &node.pods));
        let placed =
            new.chain(nodes).flat_map(|(place, pods)| pods.iter().map(move |pod| (pod, place.clone())));
        let due = placed.filter(|(pod, _)| !moved.contains_key(pod)).collect();
        let mut walk = Walk::new(problem, &slots.values().map(String::as_str).collect());
        route.moves.iter().for_each(|one| walk.put(&one.pod, &one.from, 1));
        let nodes = route.snapshot.nodes.iter().zip(route.verdicts);
        let forced =
            nodes.filter(|(_, verdict)| verdict.is_forced()).map(|(node, _)| node.name.as_str()).collect();
        let places = route.snapshot.nodes.iter().map(|node| node.name.clone()).collect();
        Way { walk, moved, slots, forced, due, places }
    }

    /// Carries a wave out; or changes nothing and says which of the pods it evicts cannot be bound where they are to go, even when its nodes
    /// are gone. Pods of nodes that go by force, and pods that wait already, may find their places later.
    pub(super) fn carry_out(&mut self, wave: &Wave) -> Result<(), BTreeSet<PodRef>> {
        let come: Vec<&str> = wave
            .launches
            .iter()
            .filter_map(|slot| self.slots.get(slot.as_str()))
            .map(String::as_str)
            .collect();
        let go: BTreeSet<&str> = wave.removals.iter().map(String::as_str).collect();
        let leavers: Vec<&Move> =
            wave.evictions.iter().filter_map(|pod| self.moved.get(pod).copied()).collect();
        let to = |one: &Move| self.slots.get(one.to.as_str()).cloned().unwrap_or_else(|| one.to.clone());
        let fresh: Vec<(&'r PodRef, String)> =
            leavers.iter().map(|one| (&self.moved[&one.pod].pod, to(one))).collect();
        let is_there =
            |place: &str| (self.places.contains(place) || come.contains(&place)) && !go.contains(place);
        let due = self.due.iter().map(|(pod, place)| (*pod, place.as_str()));
        let due = due.chain(fresh.iter().map(|(pod, place)| (*pod, place.as_str())));
        let mut wanted: Vec<(&'r PodRef, &str)> = due.filter(|(_, place)| is_there(place)).collect();
        wanted.sort_unstable();
        let step = Step {
            come: come.clone(),
            go: go.iter().copied().collect(),
            leave: leavers.iter().map(|one| (&one.pod, one.from.as_str())).collect(),
            bind: wanted.clone(),
        };
        let stuck = self.walk.step(&step);
        let leaves: BTreeSet<&PodRef> = leavers
            .iter()
            .filter(|one| !self.forced.contains(one.from.as_str()))
            .map(|one| &one.pod)
            .collect();
        let missing: BTreeSet<PodRef> =
            stuck.iter().map(|at| wanted[*at].0).filter(|pod| leaves.contains(pod)).cloned().collect();
        if !missing.is_empty() {
            self.walk.back();
            return Err(missing);
        }
        let bound = wanted.iter().enumerate().filter(|(at, _)| !stuck.contains(at));
        let bound: BTreeSet<&PodRef> = bound.map(|(_, (pod, _))| *pod).collect();
        self.places.extend(come.iter().map(|name| (*name).to_owned()));
        self.places.retain(|place| !go.contains(place.as_str()));
        self.due.retain(|pod, _| !bound.contains(pod));
        self.due.extend(fresh.into_iter().filter(|(pod, _)| !bound.contains(pod)));
        Ok(())
    }
}

impl Route<'_> {
    /// The cluster with every node that is ever there, where every pod waits that ever gets a place.
    pub(super) fn whole(&self) -> Snapshot {
        let mut whole = self.snapshot.clone();
        let moved: BTreeSet<&PodRef> = self.moves.iter().map(|one| &one.pod).collect();
        for (node, verdict) in whole.nodes.iter_mut().zip(self.verdicts) {
            node.unschedulable |= verdict.departure().is_some();
        }
        whole.nodes.extend(self.plan.launches.iter().map(|launch| self.node(launch)));
        for pod in &mut whole.pods {
            if moved.contains(&pod.id()) {
                *pod = waiting(pod);
            }
        }
        whole.normalise();
        whole
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
                .zip(pool)
                .map(|(kind, pool)| crate::overlays::capacity(self.snapshot, self.catalog, pool, kind))
                .unwrap_or_default(),
            allocatable: launch.allocatable.clone(),
            ready: true,
            ..Node::default()
        }
    }
}

/// The name of the node a launch becomes: no node that exists is called so, a slash is in no node's name.
fn name(launch: &Launch) -> String {
    format!("planned/{}", launch.slot)
}
