//! Puts pods in groups, and groups somewhere: first fit on nodes that exist, then on launches.

use super::offers::{admits, shrink};
use super::{Group, Maker, Offer};
use crate::naive;
use stowage_checker::effective_request;
use stowage_models::objects::{DaemonSet, Node, NodePool, Pod, PodRef};
use stowage_models::plan::UnplacedReason;
use stowage_models::quantity::{CPU, Resources};
use stowage_models::selector::Labels;
use stowage_models::units::Ppm;

impl Maker<'_> {
    pub(super) fn sort_pods(&mut self) {
        let mut pods: Vec<&Pod> = self.snapshot.pods.iter().filter(|pod| pod.is_pending()).collect();
        pods.sort_by_key(|pod| pod.id());
        for pod in pods {
            let spec = &*pod.spec;
            if !spec.volumes.is_empty() {
                self.unsupported.push(pod.id());
                continue;
            }
            let marks = |labels: &Labels| naive::marks(self.snapshot, labels);
            let same = |group: &&mut Group| group.spec == *spec && marks(&group.labels) == marks(&pod.labels);
            match self.groups.iter_mut().find(same) {
                Some(group) => group.pods.push(pod.id()),
                None => self.groups.push(Group {
                    labels: Labels::clone(&pod.labels),
                    spec: spec.clone(),
                    request: effective_request(spec),
                    pods: vec![pod.id()],
                    placed: 0,
                    weight: None,
                }),
            }
        }
    }

    pub(super) fn measure_nodes(&mut self, slack: Ppm) {
        for node in self.snapshot.nodes.iter().filter(|node| node.ready && !node.unschedulable) {
            let mut free = shrink(&node.allocatable, slack);
            for pod in self.snapshot.pods.iter().filter(|pod| pod.node.as_deref() == Some(&node.name)) {
                free.sub(&effective_request(&pod.spec));
            }
            let carried = |set: &DaemonSet| {
                self.snapshot.pods.iter().any(|pod| {
                    pod.node.as_deref() == Some(&node.name)
                        && pod.owner.as_ref().is_some_and(|owner| owner.name == set.name)
                })
            };
            for set in self.snapshot.daemon_sets.iter().filter(|set| !carried(set)) {
                free.sub(&effective_request(&set.spec));
            }
            self.start.insert(&node.name, free.clone());
            self.free.insert(&node.name, free);
        }
    }

    pub(super) fn offer_takes(&self, offer: &Offer<'_>, group: usize) -> bool {
        let group = &self.groups[group];
        admits(&group.spec, &offer.labels, &offer.pool.taints)
            && offer.room.as_ref().is_some_and(|room| group.request.fits(room))
    }

    pub(super) fn node_takes(&self, node: &Node, free: &Resources, group: usize) -> bool {
        let group = &self.groups[group];
        admits(&group.spec, &node.labels, &node.taints) && group.request.fits(free)
    }

    pub(super) fn used(&self, pool: &NodePool, resource: &str) -> i64 {
        let amount = |capacity: &Resources| {
            if resource == "nodes" { 1 } else { capacity.get(resource) }
        };
        let nodes = self.snapshot.nodes.iter().filter(|node| node.nodepool() == Some(&pool.name));
        nodes.map(|node| amount(&node.capacity)).sum()
    }

    fn fits_limits(&self, offer: &Offer<'_>) -> bool {
        let amount = |offer: &Offer<'_>, resource: &str| {
            if resource == "nodes" { 1 } else { offer.capacity.get(resource) }
        };
        offer.pool.limits.0.iter().all(|(resource, limit)| {
            let launched = self.launches.iter().map(|(index, ..)| &self.offers[*index]);
            let launched = launched.filter(|other| other.pool.name == offer.pool.name);
            let launched: i64 = launched.map(|other| amount(other, resource)).sum();
            self.used(offer.pool, resource) + launched + amount(offer, resource) <= *limit
        })
    }

    pub(super) fn place(&mut self) {
        for group in 0..self.groups.len() {
            for pod in self.groups[group].pods.clone() {
                if self.place_one(group, &pod) {
                    continue;
                }
                if naive::is_constrained(self.snapshot, &self.groups[group].labels, &self.groups[group].spec)
                {
                    self.left_out.entry(UnplacedReason::Constraint).or_default().push(pod);
                } else {
                    let fits = self.offers.iter().any(|offer| self.offer_takes(offer, group))
                        || self.snapshot.nodes.iter().any(|node| {
                            self.start
                                .get(node.name.as_str())
                                .is_some_and(|free| self.node_takes(node, free, group))
                        });
                    let reason = if fits { UnplacedReason::Limits } else { UnplacedReason::NoFit };
                    self.limited.extend(fits.then_some(group));
                    self.left_out.entry(reason).or_default().push(pod);
                }
            }
        }
    }

    fn place_one(&mut self, group: usize, pod: &PodRef) -> bool {
        let request = self.groups[group].request.clone();
        for node in &self.snapshot.nodes {
            let Some(free) = self.free.get(node.name.as_str()) else {
                continue;
            };
            if self.node_takes(node, free, group) && self.allows(group, naive::Spot::of(node)) {
                self.free.get_mut(node.name.as_str()).unwrap().sub(&request);
                self.on_node.entry(&node.name).or_default().push((group, pod.clone()));
                self.groups[group].placed += 1;
                return true;
            }
        }
        let mut weights: Vec<i32> = self.snapshot.node_pools.iter().map(|pool| pool.weight).collect();
        weights.sort_by_key(|weight| std::cmp::Reverse(*weight));
        for weight in weights {
            let open = (0..self.launches.len()).find(|index| {
                let offer = &self.offers[self.launches[*index].0];
                offer.pool.weight == weight
                    && self.offer_takes(offer, group)
                    && request.fits(&self.launches[*index].1)
                    && self.allows(group, naive::Spot::new(&offer.zone, *index))
            });
            let fresh = || {
                let usable = (0..self.offers.len()).filter(|index| {
                    let offer = &self.offers[*index];
                    offer.pool.weight == weight
                        && self.offer_takes(offer, group)
                        && self.fits_limits(offer)
                        && self.allows(group, naive::Spot::new(&offer.zone, self.launches.len()))
                });
                usable.min_by_key(|index| {
                    let offer = &self.offers[*index];
                    (offer.price.usd.0 * 1_000_000 / offer.room.as_ref().unwrap().get(CPU), *index)
                })
            };
            let index = match open {
                Some(index) => index,
                None => match fresh() {
                    Some(offer) => {
                        self.launches.push((offer, self.offers[offer].room.clone().unwrap(), Vec::new()));
                        self.launches.len() - 1
                    }
                    None => continue,
                },
            };
            self.launches[index].1.sub(&request);
            self.launches[index].2.push((group, pod.clone()));
            let group = &mut self.groups[group];
            group.placed += 1;
            group.weight = Some(group.weight.map_or(weight, |least| least.min(weight)));
            return true;
        }
        false
    }
}
