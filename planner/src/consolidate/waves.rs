//! In which order: waves of launches, evictions and removals (`docs/formulation.md` section 5.4).
//!
//! A node that stays loses no pod, so what it carries only grows and is within its room at every moment if it is at the end.
//! What is left to see to are budgets of NodePools, PodDisruptionBudgets, and limits while old and new nodes overlap.

use super::budgets::{Allowances, Ledger};
use super::order::Way;
use super::rules::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Move, Wave};
use stowage_models::objects::PodRef;
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;

/// Everything the order depends on.
pub(super) struct Schedule<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) catalog: &'a Catalog,
    pub(super) verdicts: &'a [Verdict],
    pub(super) ledger: &'a Ledger,
    pub(super) allowances: &'a Allowances<'a>,
    pub(super) plan: &'a Plan,
    pub(super) moves: &'a [Move],
    /// Indices into the snapshot's nodes.
    pub(super) removed: &'a BTreeSet<usize>,
}

/// A pod to evict.
struct Leaver<'a> {
    pod: PodRef,
    /// Node or slot; `None`: nothing holds it.
    to: Option<&'a str>,
    /// PodDisruptionBudgets its eviction counts against.
    budgets: Vec<usize>,
}

/// How far things are.
#[derive(Clone)]
struct Progress<'a> {
    /// Slots not launched yet.
    waiting: BTreeMap<&'a str, (usize, Vec<i64>)>,
    /// By node to remove: pods still there.
    pods: BTreeMap<usize, Vec<Arc<Leaver<'a>>>>,
    /// By node to remove: the last of the slots its pods go to.
    slots: BTreeMap<usize, Option<&'a str>>,
    /// Nodes that lost pods already.
    draining: BTreeSet<usize>,
    /// By limit: what is left.
    left: Vec<i64>,
    /// By NodePool: nodes more than the snapshot has.
    change: Vec<i64>,
}

impl Schedule<'_> {
    /// The waves. If limits leave no order in which everything can happen, or the constraints of pods that `way` knows, or `stopped` says so,
    /// there are none: then the nodes whose pods are in the way of each other, if that is known.
    pub(super) fn waves(
        &self,
        mut way: Option<Way<'_, '_>>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Vec<Wave>, BTreeSet<usize>> {
        let impossible = || Err(BTreeSet::new());
        if self.removed.is_empty() {
            return Ok(Vec::new());
        }
        let mut progress = self.start();
        let mut waves = Vec::new();
        // What goes by force gives its part of the limits back before what takes its place is there.
        let waits_for_limits = self.removed.iter().any(|node| self.verdicts[*node].is_forced());
        let awaited = self.slots_of_waiting_pods();
        while !progress.pods.is_empty() {
            // Pods that cannot be bound where they are to go stay for a later wave, when others have moved.
            let mut held: BTreeSet<PodRef> = BTreeSet::new();
            let wave = loop {
                let mut trial = progress.clone();
                let mut wave = Wave::default();
                for slot in &awaited {
                    if self.affords(slot, &trial) {
                        self.launch(slot, &mut trial, &mut wave);
                    } else if !waits_for_limits {
                        return impossible();
                    }
                }
                self.fill(&mut trial, &mut wave, &held);
                if wave.evictions.is_empty() && wave.removals.is_empty() {
                    let holds = |pods: &Vec<Arc<Leaver<'_>>>| pods.iter().any(|one| held.contains(&one.pod));
                    return Err(progress
                        .pods
                        .iter()
                        .filter(|(_, pods)| holds(pods))
                        .map(|(node, _)| *node)
                        .collect());
                }
                wave.launches.sort();
                wave.evictions.sort();
                wave.removals.sort();
                match way.as_mut().map_or(Ok(()), |way| way.carry_out(&wave)) {
                    Err(_) if stopped() => return impossible(),
                    Err(stuck) => held.extend(stuck),
                    Ok(()) => {
                        progress = trial;
                        break wave;
                    }
                }
            };
            for name in &wave.removals {
                self.gone(name, &mut progress);
            }
            for slot in &wave.launches {
                let launch = self.plan.launches.iter().find(|launch| launch.slot == *slot);
                if let Some(pool) = launch.and_then(|launch| self.pool(&launch.node_pool)) {
                    progress.change[pool] += 1;
                }
            }
            waves.push(wave);
        }
        let mut last = Wave::default();
        for slot in progress.waiting.keys().copied().collect::<Vec<&str>>() {
            if !self.affords(slot, &progress) {
                return impossible();
            }
            self.launch(slot, &mut progress, &mut last);
        }
        if !last.launches.is_empty() {
            waves.push(last);
        }
        Ok(waves)
    }

    fn pool(&self, name: &str) -> Option<usize> {
        self.snapshot.node_pools.iter().position(|pool| pool.name == name)
    }

    fn start(&self) -> Progress<'_> {
        let moves: BTreeMap<&PodRef, &str> =
            self.moves.iter().map(|one| (&one.pod, one.to.as_str())).collect();
        let leaver = |index: &u32| {
            let pod = &self.snapshot.pods[*index as usize];
            let over = self.allowances.over(pod);
            let budgets = over.filter(|budget| self.allowances.counts(*budget, pod)).collect();
            let id = pod.id();
            Arc::new(Leaver { to: moves.get(&id).copied(), pod: id, budgets })
        };
        let of = |node: &usize| {
            let mut pods: Vec<Arc<Leaver<'_>>> = self.verdicts[*node].moving.iter().map(leaver).collect();
            pods.sort_by(|a, b| a.pod.cmp(&b.pod));
            (*node, pods)
        };
        let pods: BTreeMap<usize, Vec<Arc<Leaver<'_>>>> = self.removed.iter().map(of).collect();
        let launched: BTreeSet<&str> = self.plan.launches.iter().map(|launch| launch.slot.as_str()).collect();
        let last = |pods: &[Arc<Leaver<'_>>]| -> Option<&str> {
            let slots = pods.iter().filter_map(|one| moves.get(&one.pod).copied());
            slots.filter(|slot| launched.contains(slot)).max()
        };
        let slots = pods.iter().map(|(node, pods)| (*node, last(pods))).collect();
        Progress {
            slots,
            waiting: self
                .plan
                .launches
                .iter()
                .map(|launch| {
                    let pool = self.pool(&launch.node_pool).unwrap_or(0);
                    (launch.slot.as_str(), (pool, self.usage(pool, &launch.instance_type)))
                })
                .collect(),
            pods,
            draining: BTreeSet::new(),
            left: self.limits().map(|(pool, name, limit)| limit - self.used(pool, name)).collect(),
            change: vec![0; self.snapshot.node_pools.len()],
        }
    }

    /// All limits: NodePool, resource, amount.
    fn limits(&self) -> impl Iterator<Item = (usize, &str, i64)> {
        let pools = self.snapshot.node_pools.iter().enumerate();
        pools.flat_map(|(index, pool)| {
            pool.limits.0.iter().map(move |(name, limit)| (index, name.as_str(), *limit))
        })
    }

    fn used(&self, pool: usize, resource: &str) -> i64 {
        crate::existing::pool_usage(self.snapshot, &self.snapshot.node_pools[pool].name, resource)
    }

    /// What a node of the type counts against each limit.
    fn usage(&self, pool: usize, instance_type: &str) -> Vec<i64> {
        let owner = &self.snapshot.node_pools[pool];
        let kind = self.catalog.get(instance_type);
        let capacity = kind.map(|kind| crate::overlays::capacity(self.snapshot, self.catalog, owner, kind));
        let amount = |name: &str| {
            if name == "nodes" { 1 } else { capacity.as_ref().map_or(0, |capacity| capacity.get(name)) }
        };
        self.limits().map(|(of, name, _)| if of == pool { amount(name) } else { 0 }).collect()
    }

    fn slots_of_waiting_pods(&self) -> Vec<&str> {
        let moved: BTreeSet<&PodRef> = self.moves.iter().map(|one| &one.pod).collect();
        let serves = |pods: &[PodRef]| pods.iter().any(|pod| !moved.contains(pod));
        let launches = self.plan.launches.iter().filter(|launch| serves(&launch.pods));
        launches.map(|launch| launch.slot.as_str()).collect()
    }

    /// Whether the limits have room for a slot beside all that is there; true if it is launched, or is a node.
    fn affords(&self, slot: &str, progress: &Progress<'_>) -> bool {
        progress.waiting.get(slot).is_none_or(|(_, usage)| {
            usage.iter().zip(&progress.left).all(|(amount, left)| *amount == 0 || amount <= left)
        })
    }

    fn launch(&self, slot: &str, progress: &mut Progress<'_>, wave: &mut Wave) {
        if let Some((_, usage)) = progress.waiting.remove(slot) {
            progress.left.iter_mut().zip(&usage).for_each(|(left, amount)| *left -= amount);
            wave.launches.push(slot.to_owned());
        }
    }

    /// A removed node gives its part of the limits back.
    fn gone(&self, name: &str, progress: &mut Progress<'_>) {
        let Some((index, node)) = self.snapshot.nodes.iter().enumerate().find(|(_, node)| node.name == name)
        else {
            return;
        };
        let Some(pool) = self.verdicts[index].pool else { return };
        progress.change[pool] -= 1;
        for (left, (of, resource, _)) in progress.left.iter_mut().zip(self.limits()) {
            if of == pool {
                *left += if resource == "nodes" { 1 } else { node.capacity.get(resource) };
            }
        }
    }

    /// Puts as much into a wave as may happen at once: nodes that lost pods already, then those that have to go, the most pressing
    /// first, then those that need no launch, then the others by the slots their pods go to. Held pods stay, and with them nodes that lost
    /// none yet.
    fn fill(&self, progress: &mut Progress<'_>, wave: &mut Wave, held: &BTreeSet<PodRef>) {
        let mut order: Vec<usize> = progress.pods.keys().copied().collect();
        order.sort_by_key(|node| {
            let (one, is_fresh) = (&self.verdicts[*node], !progress.draining.contains(node));
            // Those that do not ask PodDisruptionBudgets first: the others have what they leave.
            (!one.leaving.insists, is_fresh, one.urgency(), progress.slots[node], *node)
        });
        let mut spent: BTreeMap<usize, i64> = BTreeMap::new();
        let mut open: BTreeSet<usize> = progress.draining.clone();
        for node in order {
            let verdict = &self.verdicts[node];
            let (is_draining, is_forced) = (progress.draining.contains(&node), verdict.is_forced());
            if !is_draining && !is_forced && !self.within_budgets(&open, node, progress) {
                continue;
            }
            let is_held = |pods: &Vec<Arc<Leaver<'_>>>| pods.iter().any(|one| held.contains(&one.pod));
            if !is_draining && progress.pods.get(&node).is_some_and(is_held) {
                continue;
            }
            let pods = progress.pods.remove(&node).unwrap_or_default();
            let is_empty = pods.is_empty();
            let mut rest = Vec::new();
            for one in pods {
                let has_leave =
                    |budget: &usize| spent.get(budget).copied().unwrap_or(0) < self.allowances.of(*budget);
                let within = verdict.leaving.insists || one.budgets.iter().all(has_leave);
                let affords = one.to.is_none_or(|to| self.affords(to, progress));
                if held.contains(&one.pod) || !within || !(affords || is_forced) {
                    rest.push(one);
                    continue;
                }
                if let Some(to) = one.to.filter(|_| affords) {
                    self.launch(to, progress, wave);
                }
                one.budgets.iter().for_each(|budget| *spent.entry(*budget).or_default() += 1);
                wave.evictions.push(one.pod.clone());
            }
            let untouched = !is_empty && !is_draining && rest.len() == verdict.moving.len();
            if !untouched {
                open.insert(node);
            }
            if rest.is_empty() {
                progress.draining.remove(&node);
                wave.removals.push(self.snapshot.nodes[node].name.clone());
            } else {
                if !untouched {
                    progress.draining.insert(node);
                }
                progress.pods.insert(node, rest);
            }
        }
    }

    /// Whether one more node may be on its way out beside those that are. Nobody asks those that go by force.
    fn within_budgets(&self, open: &BTreeSet<usize>, node: usize, progress: &Progress<'_>) -> bool {
        let Some(pool) = self.verdicts[node].pool else { return false };
        let of_pool = || open.iter().chain([&node]).filter(|one| self.verdicts[**one].pool == Some(pool));
        let count = i64::try_from(of_pool().count()).unwrap_or(i64::MAX);
        of_pool().filter(|one| !self.verdicts[**one].is_forced()).all(|one| {
            self.ledger.allowed(pool, self.verdicts[*one].removal(), progress.change[pool]) >= count
        })
    }
}
