//! A cluster that changes step by step, as far as constraints between pods can see it: pods leave nodes, nodes come and go, pods are bound.

use super::restore::{Place, Replay, bind_all};
use super::sim::Values;
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_models::objects::PodRef;

/// What happens at once, by names. Pods that leave, leave first; then nodes come and go; then pods are bound.
#[derive(Debug, Default)]
pub(crate) struct Step<'s> {
    /// Nodes that are there from now on.
    pub(crate) come: Vec<&'s str>,
    /// Nodes that are not there any more.
    pub(crate) go: Vec<&'s str>,
    /// Pods that leave, with the nodes they are on.
    pub(crate) leave: Vec<(&'s PodRef, &'s str)>,
    /// Pods to bind, with nodes.
    pub(crate) bind: Vec<(&'s PodRef, &'s str)>,
}

/// What does not change on the way.
struct Known {
    nodes: BTreeMap<String, usize>,
    /// Position in [`Problem::existing`] by node.
    bins: BTreeMap<usize, usize>,
    places: Vec<((), (Place, Values))>,
    /// Groups (a split group has several) and numbers of the pods that wait.
    groups: BTreeMap<PodRef, Vec<(u32, u32)>>,
}

/// The cluster. The problem is about all nodes that are ever there, and all pods that ever move wait in it.
#[derive(Clone)]
pub(crate) struct Walk<'r, 'a> {
    replay: Replay<'r, 'a>,
    known: Arc<Known>,
    /// Nodes that are there, by domain of each spread constraint.
    there: BTreeMap<(u32, u32), i64>,
}

impl<'r, 'a> Walk<'r, 'a> {
    /// With all nodes but the absent ones.
    pub(crate) fn new(problem: &'r Problem<'a>, absent: &BTreeSet<&str>) -> Walk<'r, 'a> {
        let mut replay = Replay::new(problem);
        let nodes = problem.snapshot.nodes.iter().enumerate();
        let names = nodes.map(|(at, node)| (node.name.clone(), at)).collect();
        let places = (0..problem.snapshot.nodes.len())
            .map(|at| ((), (Place::Node(at), replay.values_on_node(at))))
            .collect();
        let bins = problem.existing.iter().enumerate().map(|(bin, one)| (one.node, bin)).collect();
        let mut groups: BTreeMap<PodRef, Vec<(u32, u32)>> = BTreeMap::new();
        for (g, group) in problem.groups.iter().enumerate() {
            for pod in group.whole.iter() {
                groups.entry(problem.pod_ref(*pod)).or_default().push((g as u32, *pod));
            }
        }
        let known = Arc::new(Known { nodes: names, bins, places, groups });
        let mut walk = Walk { replay, known, there: BTreeMap::new() };
        for at in 0..problem.snapshot.nodes.len() {
            walk.count_node(at, 1);
        }
        absent.iter().for_each(|name| walk.node(name, -1));
        walk
    }

    /// Counts a node among those that are there, once more or once less; returns domains that have none left, or their first.
    fn count_node(&mut self, at: usize, sign: i64) -> Vec<(u32, u32)> {
        let values = &self.known.places[at].1.1;
        let mut changed = Vec::new();
        for counter in 0..self.replay.sim.owners().len() as u32 {
            let Some(value) = values[self.replay.sim.key_of(counter) as usize] else { continue };
            if self.replay.counts_on_node[counter as usize][at] {
                let nodes = self.there.entry((counter, value)).or_default();
                *nodes += sign;
                if *nodes == i64::from(sign > 0) {
                    changed.push((counter, value));
                }
            }
        }
        changed
    }

    fn node(&mut self, name: &str, sign: i64) {
        let Some(at) = self.known.nodes.get(name).copied() else { return };
        for (counter, value) in self.count_node(at, sign) {
            self.replay.sim.set_domain(counter, value, sign > 0);
        }
    }

    /// The part of the pod's group that is for the node, and the pod's number.
    fn part(&self, pod: &PodRef, at: usize) -> Option<(u32, u32)> {
        let parts = self.known.groups.get(pod)?;
        let problem = self.replay.problem;
        let here = |(g, _): &&(u32, u32)| {
            let cell = &problem.groups[*g as usize].cell;
            cell.iter().all(|(key, domain)| problem.value_on(at, *key) == domain.as_deref())
        };
        parts.iter().find(here).or(parts.first()).copied()
    }

    /// Puts a pod on a node, or takes it away, whatever is asked for.
    pub(crate) fn put(&mut self, pod: &PodRef, node: &str, pods: i64) {
        let known = self.known.clone();
        let Some(at) = known.nodes.get(node).copied() else { return };
        if let Some((g, _)) = self.part(pod, at) {
            self.replay.bind(g, &known.places[at].1, pods);
        }
    }

    /// Takes a step; positions in [`Step::bind`] of the pods that cannot be bound, or only as long as others are not there yet.
    pub(crate) fn step(&mut self, step: &Step<'_>) -> BTreeSet<usize> {
        step.leave.iter().for_each(|(pod, node)| self.put(pod, node, -1));
        step.come.iter().for_each(|node| self.node(node, 1));
        step.go.iter().for_each(|node| self.node(node, -1));
        let known = self.known.clone();
        let (mut stuck, mut waiting, mut at_of) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
        for (position, (pod, node)) in step.bind.iter().enumerate() {
            let found = known.nodes.get(*node).and_then(|at| {
                let bin = &self.replay.problem.existing[*known.bins.get(at)?];
                let (g, pod) = self.part(pod, *at)?;
                (bin.cap(g) > 0).then_some((*at, g, pod))
            });
            match found {
                Some((at, g, pod)) => {
                    waiting.push((at, g, pod));
                    at_of.insert(pod, position);
                }
                None => {
                    stuck.insert(position);
                }
            }
        }
        stuck.extend(bind_all(&mut self.replay, &known.places, waiting).iter().map(|(_, _, pod)| at_of[pod]));
        stuck
    }
}
