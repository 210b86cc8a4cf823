//! Nodes that go: a planner that finds some, and what carries removals out against the world as it is.

use crate::planner::{POOL, PROMISED, TYPE, offerings};
use crate::world::{View, World};
use std::collections::{BTreeMap, BTreeSet};
use stowage_executor::{
    Answer, Claim, Hindrance, Intent, Leaver, Node, Place, PlanInput, PlannedBatch, PlannedPod, PlannedWave,
    Pod, ProposedWave, Removal, Time, claim_name, client_token,
};
use stowage_models::consolidation::NodeReason;
use stowage_models::labels;
use stowage_models::objects::{PodRef, Taint, TaintEffect};
use stowage_models::quantity::{CPU, Resources};

/// Nodes that may be on their way out at once.
pub(crate) const BUDGET: usize = 3;
/// Pods are of so many applications; of each, one may be away at a time.
const APPS: usize = 5;

pub(crate) fn is_closed(node: &Node) -> bool {
    node.taints.iter().any(|taint| taint.key == labels::TAINT_DISRUPTED)
}

/// The application of a pod.
fn app(pod: &PodRef) -> usize {
    pod.0.bytes().map(usize::from).sum::<usize>() % APPS
}

/// A plan with removals: those that have to go, and then the least used nodes whose pods find room elsewhere; or, if `renew`, one node for
/// another just like it. Two waves where there is enough to do.
pub(crate) fn plan(
    id: String,
    (claims, nodes, pods): &View,
    input: &PlanInput,
    (urgent, renew, limit): (&BTreeMap<String, Time>, bool, usize),
    now: Time,
) -> PlannedBatch {
    let mut batch = PlannedBatch { plan: id.clone(), ..PlannedBatch::default() };
    let mut used: BTreeMap<String, i64> = BTreeMap::new();
    let moved: BTreeMap<&str, &String> = input.moving.iter().map(|one| (one.uid.as_str(), &one.to)).collect();
    for (pod, cpu) in pods.values() {
        if let Some(node) = moved.get(pod.uid.as_str()).copied().or(pod.node.as_ref()) {
            *used.entry(node.clone()).or_default() += cpu;
        }
    }
    let in_flight: BTreeSet<&String> = input.in_flight.iter().filter_map(|one| one.node.as_ref()).collect();
    let of_node = |node: &Node| {
        claims.values().find(|claim| {
            claim.instance.is_some() && claim.instance == node.instance && claim.initialized.is_some()
        })
    };
    let usable = |name: &String, node: &Node| {
        node.ready && node.taints.is_empty() && !in_flight.contains(name) && !input.leaving.contains(name)
    };
    let mut free: BTreeMap<String, i64> = nodes
        .iter()
        .filter(|(name, node)| usable(name, node) && !urgent.contains_key(*name))
        .map(|(name, node)| {
            (name.clone(), node.allocatable.get(CPU) - used.get(name.as_str()).copied().unwrap_or_default())
        })
        .collect();
    let mut order: Vec<(&String, &Claim)> = nodes
        .iter()
        .filter(|(name, node)| usable(name, node) || urgent.contains_key(*name))
        .filter_map(|(name, node)| Some((name, of_node(node).filter(|claim| !claim.deleting)?)))
        .filter(|(name, claim)| claim.removal.is_none() || urgent.contains_key(*name))
        .collect();
    order.sort_by_key(|(name, _)| {
        (!urgent.contains_key(*name), used.get(name.as_str()).copied().unwrap_or(0), *name)
    });
    let out = nodes.values().filter(|node| is_closed(node) || input.leaving.contains(&node.name)).count();
    let mut room = BUDGET.saturating_sub(out);
    let mut launches: Vec<(Intent, i64)> = Vec::new();
    let mut removals: Vec<Removal> = Vec::new();
    let may_launch = claims.len() + 1 < limit && !offerings(input).is_empty();
    for (name, claim) in order {
        let forced = urgent.contains_key(name);
        if forced && claim.removal.as_ref().is_some_and(|removal| removal.forced) {
            continue;
        }
        let own = pods.iter().filter(|(_, (pod, _))| pod.node.as_ref() == Some(name));
        let own: Vec<_> = own
            .filter(|(_, (pod, _))| pod.drain.as_ref().is_none_or(|drain| drain.going.is_none()))
            .collect();
        let protected = own.iter().any(|(_, (pod, _))| {
            pod.drain.as_ref().and_then(|drain| drain.protected).is_some_and(|until| until > now)
        });
        if !forced && (protected || room == 0) {
            continue;
        }
        let (mut left, mut places) = (free.clone(), Vec::new());
        left.remove(name);
        let mut new: Option<i64> = None;
        let mut stuck = false;
        for (id, (pod, cpu)) in &own {
            let found = left.iter_mut().find(|(_, room)| **room >= *cpu).filter(|_| !renew || forced);
            let to = if let Some((node, room)) = found {
                *room -= cpu;
                Some(Place::Node(node.clone()))
            } else if may_launch && new.unwrap_or(PROMISED) >= *cpu && (renew || forced) {
                new = Some(new.unwrap_or(PROMISED) - cpu);
                Some(Place::Claim(String::new()))
            } else {
                None
            };
            stuck |= to.is_none();
            places.push(Leaver { id: (*id).clone(), uid: pod.uid.clone(), owner: None, to });
        }
        if stuck && !forced {
            continue;
        }
        if new.is_some() {
            let action = format!("launch/new-{:04}", launches.len() + 1);
            let name = claim_name(POOL, &client_token(&id, &action));
            for pod in places.iter_mut().filter(|pod| pod.to == Some(Place::Claim(String::new()))) {
                pod.to = Some(Place::Claim(name.clone()));
            }
            launches.push((launch(action, input), 0));
        }
        let wave = 1 + u32::try_from(removals.len() / 2).unwrap_or(0);
        let needs: BTreeSet<String> = places
            .iter()
            .filter_map(|pod| match &pod.to {
                Some(Place::Claim(claim)) => Some(claim.clone()),
                _ => None,
            })
            .collect();
        removals.push(Removal {
            plan: id.clone(),
            action: format!("remove/{name}"),
            wave,
            claim: claim.name.clone(),
            node: name.clone(),
            uid: nodes[name].uid.clone(),
            reason: if forced { NodeReason::Interrupted } else { NodeReason::Underutilized },
            forced,
            approved: false,
            deadline: urgent.get(name).copied(),
            pods: places,
            needs: needs.into_iter().collect(),
            since: Time(0),
        });
        free = left;
        room = room.saturating_sub(1);
        if renew && !forced {
            break;
        }
    }
    let mut waves: Vec<PlannedWave> = Vec::new();
    for removal in removals {
        let at = usize::try_from(removal.wave).unwrap_or(1) - 1;
        waves.resize(waves.len().max(at + 1), PlannedWave::default());
        for need in &removal.needs {
            let of = |intent: &Intent| claim_name(POOL, &client_token(&id, &intent.action)) == *need;
            waves[at].launches.extend(launches.iter().filter(|(one, _)| of(one)).map(|(one, _)| one.clone()));
        }
        waves[at].removals.push(removal);
    }
    batch.waves = waves;
    batch
}

/// In review: what goes by force is a plan of its own, as others wait.
pub(crate) fn by_force_alone(batch: &mut PlannedBatch) {
    let all = || batch.waves.iter().flat_map(|wave| &wave.removals);
    if all().any(|removal| removal.forced) && all().any(|removal| !removal.forced) {
        for wave in &mut batch.waves {
            wave.removals.retain(|removal| removal.forced);
            let needs: BTreeSet<&String> = wave.removals.iter().flat_map(|removal| &removal.needs).collect();
            let of = |intent: &Intent| claim_name(POOL, &client_token(&batch.plan, &intent.action));
            wave.launches.retain(|intent| needs.contains(&of(intent)));
        }
        batch.waves.retain(|wave| !wave.removals.is_empty());
    }
}

/// A wave as it is approved.
pub(crate) fn proposed(wave: &PlannedWave) -> ProposedWave {
    ProposedWave {
        launches: wave.launches.iter().map(|launch| launch.action.clone()).collect(),
        removals: wave.removals.clone(),
    }
}

fn launch(action: String, input: &PlanInput) -> Intent {
    Intent {
        action,
        pool: POOL.to_owned(),
        class: "default".to_owned(),
        offerings: offerings(input),
        labels: [
            (labels::INSTANCE_TYPE.to_owned(), TYPE.to_owned()),
            (labels::EC2_NODE_CLASS.to_owned(), "default".to_owned()),
            (labels::NODEPOOL.to_owned(), POOL.to_owned()),
        ]
        .into(),
        allocatable: Resources::from([(CPU, PROMISED)]),
        capacity: Resources::from([(CPU, 4000)]),
        ..Intent::default()
    }
}

impl World {
    /// Why the first removal of a plan that something stands against may not be.
    pub(crate) fn against_any(&self, batch: &PlannedBatch) -> Option<String> {
        let removals = batch.waves.iter().flat_map(|wave| &wave.removals).filter(|one| !one.forced);
        removals.map(|removal| self.against(removal)).find_map(Result::err).map(|why| why.text)
    }

    /// In review only what was approved is written, and what goes by force.
    fn may_be_intended(&mut self, removal: &Removal) {
        let planned = |batch: &PlannedBatch| {
            let mut removals = batch.waves.iter().flat_map(|wave| &wave.removals);
            // The owners of pods are written with them.
            let places = |one: &Removal| -> Vec<_> {
                one.pods.iter().map(|pod| (pod.id.clone(), pod.uid.clone(), pod.to.clone())).collect()
            };
            removals.any(|one| {
                one.node == removal.node && places(one) == places(removal) && one.needs == removal.needs
            })
        };
        let approved = self.approved.get(&removal.plan).is_some_and(planned);
        if self.scenario.review && !(approved && (removal.approved || removal.forced)) {
            let (node, plan) = (&removal.node, &removal.plan);
            self.outcome
                .broken
                .push(format!("{}: {node} is to go by {plan}, which nobody approved", self.now.0));
        }
    }

    /// Writes that a node is to go.
    pub(crate) fn intend(&mut self, removal: &Removal) {
        self.may_be_intended(removal);
        if let Some(claim) = self.claims.get_mut(&removal.claim).filter(|claim| !claim.deleting) {
            let other = claim.removal.as_ref().is_some_and(|one| one.plan != removal.plan);
            if !other || removal.forced {
                claim.removal = Some(removal.clone());
            }
        }
        if removal.forced {
            self.cut_all(&removal.plan);
        }
    }

    /// The referee and the API server look at nodes that are to go.
    pub(crate) fn recheck(&self, removals: &[Removal]) -> Answer {
        let asked: BTreeSet<&String> = removals.iter().map(|one| &one.node).collect();
        let mut out =
            self.nodes.values().filter(|node| is_closed(node) && !asked.contains(&node.name)).count();
        let verdicts = removals.iter().map(|removal| {
            let verdict = self.against(removal).and_then(|()| {
                out += 1;
                let hindrance = Hindrance { waits: true, text: "the budget is used up".to_owned() };
                if out > BUDGET { Err(hindrance) } else { Ok(()) }
            });
            (removal.claim.clone(), verdict)
        });
        Answer::Rechecked(verdicts.collect())
    }

    /// Why a node must stay, whoever has come to it.
    pub(crate) fn must_stay(&self, removal: &Removal) -> Option<String> {
        if self.nodes.get(&removal.node).is_none_or(|node| node.uid != removal.uid) {
            return Some("the node is gone".to_owned());
        }
        let mut here = self.pods.iter().filter(|(_, (pod, _))| pod.node.as_ref() == Some(&removal.node));
        let protected = here.find(|(_, (pod, _))| {
            pod.drain.as_ref().and_then(|drain| drain.protected).is_some_and(|until| until > self.now)
        });
        protected.map(|(id, _)| format!("{} is protected", id.0))
    }

    fn against(&self, removal: &Removal) -> Result<(), Hindrance> {
        let no = |text: String| Err(Hindrance { waits: false, text });
        if let Some(why) = self.must_stay(removal) {
            return no(why);
        }
        for (id, (pod, _)) in
            self.pods.iter().filter(|(_, (pod, _))| pod.node.as_ref() == Some(&removal.node))
        {
            if removal.pods.iter().all(|one| one.uid != pod.uid) {
                return no(format!("{} has come", id.0));
            }
        }
        Ok(())
    }

    /// The claim is deleted, if its node is to go by this plan.
    pub(crate) fn leave(&mut self, name: &str, plan: &str) {
        let Some(claim) = self.claims.get(name).filter(|claim| !claim.deleting) else { return };
        let Some(removal) = claim.removal.clone().filter(|removal| removal.plan == plan) else { return };
        let node = self.nodes.get(&removal.node);
        if !removal.forced {
            let now = self.now.0;
            if node.is_some_and(|node| !is_closed(node)) {
                // What closed it was undone meanwhile.
                return;
            }
            let marked = |pod: &stowage_executor::Pod| {
                let until = pod.drain.as_ref().and_then(|drain| drain.protected);
                pod.node.as_ref() == Some(&removal.node) && until.is_some_and(|until| until > self.now)
            };
            let mut broken = Vec::new();
            if self.pods.values().any(|(pod, _)| marked(pod)) {
                broken.push(format!("{now}: {name} is left with a protected pod"));
            }
            for need in &removal.needs {
                // One whose machine ended by itself was ready before.
                let claim = self.claims.get(need);
                if claim.is_none_or(|claim| claim.initialized.is_none()) && !self.was_lost(need) {
                    broken.push(format!("{now}: {name} is left before {need} is ready"));
                }
            }
            self.outcome.broken.extend(broken);
            self.left += 1;
        }
        if let Some(claim) = self.claims.get_mut(name) {
            claim.deleting = true;
            claim.deleted.get_or_insert(self.now);
        }
        let leaving =
            |claim: &&Claim| claim.deleting && claim.removal.as_ref().is_some_and(|one| !one.forced);
        let out = self.claims.values().filter(leaving).count();
        if out > BUDGET {
            self.outcome.broken.push(format!("{}: {out} nodes leave at once", self.now.0));
        }
    }

    /// Whether the machine of a claim has ended by itself.
    fn was_lost(&self, claim: &str) -> bool {
        self.cloud.instances.values().any(|one| one.instance.claim == claim && one.ended.is_some())
    }

    /// A pod that is created now: it waits for somebody to let go of it if its owner is expected.
    pub(crate) fn fresh(&self, name: &PodRef, uid: String) -> Pod {
        let owner = format!("app-{}", app(name));
        let gated = self
            .expected
            .as_ref()
            .is_some_and(|(owners, until)| self.now < *until && owners.contains(&owner));
        Pod { uid, pending: !gated, gated, owner: Some(owner), ..Pod::default() }
    }

    /// Lets go of a pod.
    pub(crate) fn ungate(&mut self, pod: &PlannedPod, node: Option<&String>) {
        let found = self.pods.get_mut(&pod.id).filter(|(found, _)| found.uid == pod.uid && found.gated);
        if let Some((found, _)) = found {
            (found.gated, found.pending) = (false, true);
            self.nominated.extend(node.map(|node| (pod.uid.clone(), node.clone())));
        }
    }

    /// A node stays after all.
    pub(crate) fn keep(&mut self, name: &str, node: Option<&String>, plan: Option<&String>) {
        let Some(claim) = self.claims.get_mut(name).filter(|claim| !claim.deleting) else { return };
        if claim.removal.as_ref().map(|removal| &removal.plan) != plan {
            return;
        }
        claim.removal = None;
        if let Some(plan) = plan {
            self.cut(plan);
        }
        if let Some(node) = node.and_then(|node| self.nodes.get_mut(node)) {
            node.taints.retain(|taint| taint.key != labels::TAINT_DISRUPTED);
        }
        self.kept += 1;
    }

    pub(crate) fn close(&mut self, node: &str) {
        if self.scenario.removals && self.nodes.get(node).is_some_and(|node| !is_closed(node)) {
            self.closed.insert(node.to_owned(), self.now);
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.taints.retain(|taint| taint.key != labels::TAINT_DISRUPTED);
            node.taints.push(Taint {
                key: labels::TAINT_DISRUPTED.to_owned(),
                value: String::new(),
                effect: TaintEffect::NoSchedule,
            });
        }
    }

    /// Whether the disruption budget of a pod's application lets it go: all others of it run.
    pub(crate) fn lets_go(&self, pod: &PodRef) -> bool {
        !self.scenario.budgets
            || self
                .pods
                .iter()
                .all(|(id, (other, _))| id == pod || app(id) != app(pod) || other.node.is_some())
    }

    /// An eviction is carried out: none of what is protected, unless its machine is taken away.
    pub(crate) fn watch_eviction(&mut self, pod: &PlannedPod) {
        let Some((found, _)) = self.pods.get(&pod.id).filter(|(found, _)| found.uid == pod.uid) else {
            return;
        };
        let until = found.drain.as_ref().and_then(|drain| drain.protected);
        if until.is_some_and(|until| until > self.now) {
            self.outcome.broken.push(format!("{}: {} is protected and evicted", self.now.0, pod.id.0));
        }
    }
}
