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
#[derive(Clone)]
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

    /// The state after a wave; or the pods it evicts that cannot be bound where they are to go, even when its nodes are gone. Pods of nodes that
    /// go by force, and pods that wait already, may find their places later.
    pub(super) fn after(&self, wave: &Wave) -> Result<Way<'r, 'a>, BTreeSet<PodRef>> {
        let mut next = self.clone();
        let come: Vec<&String> =
            wave.launches.iter().filter_map(|slot| self.slots.get(slot.as_str())).collect();
        next.places.extend(come.iter().map(|name| (*name).clone()));
        next.places.retain(|place| !wave.removals.contains(place));
        let leavers: Vec<&Move> =
            wave.evictions.iter().filter_map(|pod| self.moved.get(pod).copied()).collect();
        let to = |one: &Move| self.slots.get(one.to.as_str()).cloned().unwrap_or_else(|| one.to.clone());
        next.due.extend(
            leavers.iter().map(|one| (self.moved[&one.pod], to(one))).map(|(one, to)| (&one.pod, to)),
        );
        let wanted: Vec<(&PodRef, String)> = next
            .due
            .iter()
            .filter(|(_, place)| next.places.contains(*place))
            .map(|(pod, place)| (*pod, place.clone()))
            .collect();
        let step = Step {
            come: come.iter().map(|name| name.as_str()).collect(),
            go: wave.removals.iter().map(String::as_str).collect(),
            leave: leavers.iter().map(|one| (&one.pod, one.from.as_str())).collect(),
            bind: wanted.iter().map(|(pod, place)| (*pod, place.as_str())).collect(),
        };
        let stuck = next.walk.step(&step);
        let leaves: BTreeSet<&PodRef> = leavers
            .iter()
            .filter(|one| !self.forced.contains(one.from.as_str()))
            .map(|one| &one.pod)
            .collect();
        let missing: BTreeSet<PodRef> =
            stuck.iter().map(|at| wanted[*at].0).filter(|pod| leaves.contains(pod)).cloned().collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        for (at, (pod, _)) in wanted.iter().enumerate() {
            if !stuck.contains(&at) {
                next.due.remove(pod);
            }
        }
        Ok(next)
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
