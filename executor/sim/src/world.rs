//! The world and its clock.

use crate::cloud::Cloud;
use crate::faults::Faults;
use crate::invariants::Watch;
use crate::plans::Begun;
use std::collections::{BTreeMap, BTreeSet};
use stowage_executor::{
    Answer, Claim, Drain, InstanceState, Mode, Node, Observation, PlannedBatch, Pod, Proposal, Review,
    SLOT_TAINT, Settings, State, Time, step,
};
use stowage_models::labels;
use stowage_models::objects::{PodRef, Taint, TaintEffect};
use stowage_models::quantity::{CPU, Resources};
use stowage_models::random::Random;

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Seed of everything.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Until when, in milliseconds.
    pub faults_end: i64,
    /// How long it is played in all.
    pub end: i64,
    /// Pods that come, in bursts, before the faults end.
    pub pods: u32,
    /// Most nodes of the pool.
    pub limit: usize,
    /// What nodes really have, in millicores; they promise 3,900.
    pub real: i64,
    /// Largest pod, in millicores.
    pub largest: i64,
    /// Nodes are kept for their pods.
    pub steer: bool,
    /// Claims with ready nodes that somebody deletes, before the faults end.
    pub deleted: u32,
    /// Plans wait for approval, for five minutes; somebody looks at them, and approves two of three.
    pub review: bool,
    /// Nodes are removed: looked for every 20 seconds.
    pub removals: bool,
    /// Applications have disruption budgets.
    pub budgets: bool,
    /// Some pods must not be disrupted for ten minutes.
    pub protected: bool,
    /// Nodes whose machines are taken away, two minutes after a notice.
    pub notices: u32,
    /// Times that somebody stops everything, for up to five minutes each, before the faults end.
    pub stops: u32,
}

impl Scenario {
    /// Forty pods, half an hour of faults, two hours in all.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Scenario {
        Scenario {
            seed,
            faults,
            faults_end: 30 * 60_000,
            end: 120 * 60_000,
            pods: 40,
            limit: 60,
            real: 3900,
            largest: 2000,
            steer: true,
            deleted: 0,
            review: false,
            removals: false,
            budgets: false,
            protected: false,
            notices: 0,
            stops: 0,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Broken invariants, first ones first; empty: none.
    pub broken: Vec<String>,
    /// Everything that was asked for and what came of it.
    pub log: Vec<String>,
    /// Instances launched.
    pub instances: usize,
    /// Process restarts.
    pub crashes: u32,
    /// Plans by what became of them in review.
    pub reviewed: BTreeMap<&'static str, u32>,
    /// Nodes that went because a plan said so, and nodes that were to go and stayed.
    pub left_and_kept: (u32, u32),
    /// Pods without a node at the end.
    pub unbound: Vec<PodRef>,
    /// Launches that were for each pod.
    pub launches_for: BTreeMap<PodRef, u32>,
}

/// What the process sees of claims, nodes and pods.
pub(crate) type View = (BTreeMap<String, Claim>, BTreeMap<String, Node>, BTreeMap<PodRef, (Pod, i64)>);

/// Everything there is.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) rng: Random,
    pub(crate) now: Time,
    pub(crate) state: State,
    pub(crate) claims: BTreeMap<String, Claim>,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) pods: BTreeMap<PodRef, (Pod, i64)>,
    pub(crate) cloud: Cloud,
    /// What the process sees of claims, nodes, pods, and until when each is stale.
    view: View,
    stale: [Time; 3],
    /// When the last request, and the last write, was made.
    last_request: Time,
    pub(crate) last_write: Time,
    /// Down until then.
    pub(crate) down: Time,
    /// Not the leader until then.
    follower: Time,
    /// Everything is stopped until then.
    stopped: Time,
    /// Answers that come at a time.
    pub(crate) answers: BTreeMap<(Time, u64), Answer>,
    /// Plans in review, and what each would launch.
    pub(crate) proposals: BTreeMap<String, (Proposal, PlannedBatch)>,
    /// Plans that were approved and begun and remove nodes.
    pub(crate) executing: BTreeMap<String, Begun>,
    /// Plans of which it was said why they are not carried out to their end.
    pub(crate) said: BTreeSet<String>,
    /// Plans that were approved, and what they launch; they are carried out as they are.
    pub(crate) approved: BTreeMap<String, PlannedBatch>,
    /// Things that happen at a time.
    pub(crate) events: BTreeMap<(Time, u64), Event>,
    /// Nodes whose machines are taken away, and when.
    pub(crate) urgent: BTreeMap<String, Time>,
    pub(crate) left: u32,
    pub(crate) kept: u32,
    /// Owners whose new pods wait, and until when they do.
    pub(crate) expected: Option<(BTreeSet<String>, Time)>,
    /// Nodes that the scheduler looks at first, by uid.
    pub(crate) nominated: BTreeMap<String, String>,
    /// When nodes were closed: the scheduler may not have seen it for a moment.
    pub(crate) closed: BTreeMap<String, Time>,
    pub(crate) number: u64,
    pub(crate) outcome: Outcome,
    watch: Watch,
}

/// Something that happens by itself.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A pod is created.
    Pod(PodRef, i64),
    /// A pod is deleted.
    Gone(PodRef),
    /// An instance becomes a node.
    Joins(String),
    /// A node becomes ready.
    Ready(String),
    /// An instance ends by itself.
    Dies(String),
    /// Somebody looks at a plan.
    Looked(String),
    /// Somebody stops everything for a while.
    Stopped,
    /// Somebody deletes a claim with a ready node, if there is one.
    Deleted,
    /// A machine is to be taken away in two minutes, if there is one with a ready node.
    Noticed,
    /// A request is carried out late.
    Late(Box<stowage_executor::Request>),
}

/// Length of a tick.
const TICK: i64 = 500;
/// Length of a tick while nothing happens.
const LONG_TICK: i64 = 5000;
/// How long the scheduler may not know that a node was closed.
const UNNOTICED: i64 = 1500;
/// How long a plan may be approved.
pub(crate) const REVIEW: i64 = 5 * 60_000;
/// Nothing is written for this long before the end.
pub(crate) const REST: i64 = 10 * 60_000;
const UNREGISTERED: Taint_ = (labels::TAINT_UNREGISTERED, TaintEffect::NoExecute);
const NOT_READY: Taint_ = ("node.kubernetes.io/not-ready", TaintEffect::NoSchedule);
type Taint_ = (&'static str, TaintEffect);

fn taint((key, effect): Taint_) -> Taint {
    Taint { key: key.to_owned(), value: String::new(), effect }
}

fn settings(scenario: &Scenario) -> Settings {
    let mode = if scenario.review { Mode::Review } else { Mode::Auto };
    let review = Review { expire_after: REVIEW, ..Review::default() };
    let remove_every = scenario.removals.then_some(20_000);
    Settings { mode, review, steer: scenario.steer, remove_every, ..Settings::default() }
}

/// Until when a pod that is bound now must not be disrupted.
pub(crate) fn marked(scenario: &Scenario, pod: &PodRef, now: Time) -> Option<Time> {
    (scenario.protected && pod.0.ends_with('3')).then(|| now.plus(600_000))
}

/// Plays a scenario.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let mut world = World {
        scenario: *scenario,
        rng: Random::new(scenario.seed),
        now: Time(0),
        state: State::new(settings(scenario)),
        claims: BTreeMap::new(),
        nodes: BTreeMap::new(),
        pods: BTreeMap::new(),
        cloud: Cloud::default(),
        view: Default::default(),
        stale: [Time(0); 3],
        last_request: Time(0),
        last_write: Time(0),
        down: Time(0),
        follower: Time(0),
        stopped: Time(0),
        answers: BTreeMap::new(),
        proposals: BTreeMap::new(),
        executing: BTreeMap::new(),
        said: BTreeSet::new(),
        approved: BTreeMap::new(),
        events: BTreeMap::new(),
        urgent: BTreeMap::new(),
        left: 0,
        kept: 0,
        expected: None,
        nominated: BTreeMap::new(),
        closed: BTreeMap::new(),
        number: 0,
        outcome: Outcome::default(),
        watch: Watch::default(),
    };
    world.cast();
    while world.now.0 < scenario.end && world.outcome.broken.is_empty() {
        world.tick();
    }
    world.finish()
}

impl World {
    /// Draws what comes when.
    fn cast(&mut self) {
        let bursts = self.rng.between(1, 5);
        let times: Vec<i64> =
            (0..bursts).map(|_| self.rng.between(0, self.scenario.faults_end * 2 / 3)).collect();
        for n in 0..self.scenario.pods {
            let burst = usize::try_from(self.rng.between(0, bursts - 1)).unwrap_or(0);
            let at = Time(times[burst] + self.rng.between(0, 3000));
            let cpu = self.rng.between(100, self.scenario.largest);
            let pod = PodRef(format!("default/pod-{n:04}"));
            if self.rng.per_mille(100) {
                let gone = at.plus(self.rng.between(0, 600_000));
                self.at(gone, Event::Gone(pod.clone()));
            }
            self.at(at, Event::Pod(pod, cpu));
        }
        for _ in 0..self.scenario.stops {
            let at = Time(self.rng.between(0, self.scenario.faults_end));
            self.at(at, Event::Stopped);
        }
        for _ in 0..self.scenario.notices {
            let at = Time(self.rng.between(0, self.scenario.faults_end));
            self.at(at, Event::Noticed);
        }
        for _ in 0..self.scenario.deleted {
            let at = Time(self.rng.between(0, self.scenario.faults_end));
            self.at(at, Event::Deleted);
        }
    }

    pub(crate) fn at(&mut self, time: Time, event: Event) {
        self.number += 1;
        self.events.insert((time, self.number), event);
    }

    pub(crate) fn answer(&mut self, time: Time, answer: Answer) {
        self.number += 1;
        self.answers.insert((time, self.number), answer);
    }

    pub(crate) fn faulty(&self) -> bool {
        self.now.0 < self.scenario.faults_end
    }

    pub(crate) fn fault(&mut self, per_mille: u32) -> bool {
        self.faulty() && self.rng.per_mille(per_mille)
    }

    fn tick(&mut self) {
        let next = self.events.keys().chain(self.answers.keys()).map(|(at, _)| *at).chain([self.down]);
        let soon = next.filter(|at| *at > self.now).min().is_some_and(|at| at.since(self.now) < LONG_TICK);
        let busy = soon
            || self.now.since(self.last_request) < LONG_TICK
            || self.now < self.stale.into_iter().max().unwrap_or_default();
        self.now = self.now.plus(if busy { TICK } else { LONG_TICK });
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let event = entry.remove();
            self.happen(event);
        }
        self.schedule();
        self.look();
        if self.now >= self.down {
            self.act();
        }
        self.end_plans();
        self.watch.look(&self.scenario, self.now, &self.claims, &self.cloud, &mut self.outcome.broken);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Pod(name, cpu) => {
                let pod = self.fresh(&name, format!("uid-{}", name.0));
                self.pods.insert(name, (pod, cpu));
            }
            Event::Gone(name) => drop(self.pods.remove(&name)),
            Event::Joins(id) => self.join(&id),
            Event::Ready(name) => {
                let lives = |node: &Node| {
                    let machine = node.instance.as_ref().and_then(|id| self.cloud.instances.get(id));
                    machine.is_some_and(|machine| machine.instance.state != InstanceState::Ended)
                };
                if let Some(node) = self.nodes.get_mut(&name).filter(|node| lives(node)) {
                    node.ready = true;
                    node.taints.retain(|taint| taint.key != NOT_READY.0);
                }
            }
            Event::Dies(id) => {
                self.cloud.end(&id, self.now);
                // Its node stays behind, not ready.
                for node in self.nodes.values_mut().filter(|node| node.instance.as_deref() == Some(&id)) {
                    node.ready = false;
                    node.taints.push(taint(NOT_READY));
                }
                self.evict_from(&id);
            }
            Event::Deleted => {
                let ready = self.claims.values_mut().filter(|claim| claim.initialized.is_some());
                let mut ready = ready.filter(|claim| !claim.deleting);
                if let Some(claim) = ready.next() {
                    claim.deleting = true;
                    claim.deleted = Some(self.now);
                }
            }
            Event::Noticed => {
                let machines = self.cloud.instances.values();
                let of = |node: &&Node| {
                    machines.clone().any(|one| {
                        Some(&one.instance.id) == node.instance.as_ref()
                            && one.instance.state == InstanceState::Running
                    })
                };
                let known = |node: &&Node| node.ready && !self.urgent.contains_key(&node.name) && of(node);
                let found = self.nodes.values().find(known);
                if let Some((name, id)) = found.map(|node| (node.name.clone(), node.instance.clone())) {
                    let end = self.now.plus(120_000);
                    self.urgent.insert(name, end);
                    self.at(end, Event::Dies(id.unwrap_or_default()));
                }
            }
            Event::Stopped => {
                let end = self.now.plus(self.rng.between(20_000, 300_000));
                self.stopped = end.min(Time(self.scenario.faults_end));
            }
            Event::Looked(plan) => {
                // Rarely, somebody else has had their hands on it.
                let (yes, tampered) = (!self.rng.per_mille(333), self.faulty() && self.rng.per_mille(50));
                if let Some((proposal, batch)) = self.proposals.get_mut(&plan) {
                    if tampered {
                        proposal.broken = Some("its digest is another".to_owned());
                    }
                    (proposal.approved, proposal.rejected) = (yes, !yes);
                    if yes && !tampered {
                        self.approved.insert(plan, batch.clone());
                    }
                }
            }
            Event::Late(request) => self.carry_out(&request, true),
        }
    }

    fn join(&mut self, id: &str) {
        let Some(machine) = self.cloud.instances.get_mut(id) else { return };
        if machine.instance.state == InstanceState::Ended {
            return;
        }
        machine.instance.state = InstanceState::Running;
        let name = format!("ip-{id}");
        let mut taints = machine.body.taints.clone();
        taints.extend([taint(UNREGISTERED), taint(NOT_READY)]);
        let node = Node {
            name: name.clone(),
            uid: format!("uid-{name}"),
            instance: Some(id.to_owned()),
            labels: machine.body.labels.clone(),
            taints,
            allocatable: Resources::from([(CPU, self.scenario.real)]),
            ..Node::default()
        };
        self.nodes.insert(name.clone(), node);
        let ready = self.now.plus(self.rng.between(1000, 20_000));
        self.at(ready, Event::Ready(name));
    }

    /// The node of an instance is gone: its pods are created anew, as a ReplicaSet does.
    pub(crate) fn evict_from(&mut self, id: &str) {
        let names: BTreeSet<String> = self
            .nodes
            .values()
            .filter(|node| node.instance.as_deref() == Some(id))
            .map(|node| node.name.clone())
            .collect();
        let number = self.number;
        let there = self
            .pods
            .iter()
            .filter(|(_, (pod, _))| pod.node.as_ref().is_some_and(|node| names.contains(node)));
        let there: Vec<PodRef> = there.map(|(name, _)| name.clone()).collect();
        for name in there {
            let fresh = self.fresh(&name, format!("uid-{}-{number}", name.0));
            self.pods.entry(name).and_modify(|(pod, _)| *pod = fresh);
        }
    }

    /// The pod goes, and another comes, as a ReplicaSet does it.
    pub(crate) fn evict(&mut self, name: &PodRef, uid: &str) {
        self.number += 1;
        let number = self.number;
        let fresh = self.fresh(name, format!("uid-{}-{number}", name.0));
        if let Some((pod, _)) =
            self.pods.get_mut(name).filter(|(pod, _)| pod.uid == uid && pod.node.is_some())
        {
            *pod = fresh;
        }
    }

    /// What kube-scheduler does.
    fn schedule(&mut self) {
        if !self.pods.values().any(|(pod, _)| pod.pending) {
            return;
        }
        let mut free: BTreeMap<String, i64> =
            self.nodes.iter().map(|(name, node)| (name.clone(), node.allocatable.get(CPU))).collect();
        for (pod, cpu) in self.pods.values() {
            if let Some(room) = pod.node.as_ref().and_then(|node| free.get_mut(node)) {
                *room -= cpu;
            }
        }
        let now = self.now;
        self.closed.retain(|_, at| now.since(*at) < UNNOTICED);
        // Now and then the scheduler has not noticed yet that a node was closed.
        let blind = !self.closed.is_empty() && self.rng.per_mille(500);
        let unnoticed = if blind { self.closed.clone() } else { BTreeMap::new() };
        for (name, (pod, cpu)) in self.pods.iter_mut().filter(|(_, (pod, _))| pod.pending) {
            // Once only: a failed attempt forgets it.
            let first = self.nominated.remove(&pod.uid).and_then(|node| self.nodes.get(&node));
            let fits = first.into_iter().chain(self.nodes.values()).find(|node| {
                let tolerated = |taint: &Taint| {
                    (taint.key == SLOT_TAINT && pod.slots.contains(&taint.value))
                        || (taint.key == labels::TAINT_DISRUPTED && unnoticed.contains_key(&node.name))
                };
                node.ready && node.taints.iter().all(tolerated) && free[&node.name] >= *cpu
            });
            if let Some(node) = fits {
                pod.pending = false;
                pod.node = Some(node.name.clone());
                pod.drain = Some(Drain {
                    grace: 30_000,
                    protected: marked(&self.scenario, name, now),
                    ..Drain::default()
                });
                free.entry(node.name.clone()).and_modify(|room| *room -= *cpu);
            }
        }
    }

    /// Brings the view up to date, unless it is stale.
    fn look(&mut self) {
        for kind in 0..self.stale.len() {
            // A process begins with a list of everything.
            if self.now >= self.down.plus(LONG_TICK) && self.fault(self.scenario.faults.stale) {
                self.stale[kind] = self.now.plus(self.rng.between(500, 20_000));
            }
        }
        let fresh = self.stale.map(|until| self.now >= until);
        if fresh[0] {
            self.view.0.clone_from(&self.claims);
        }
        if fresh[1] {
            self.view.1.clone_from(&self.nodes);
        }
        if fresh[2] {
            self.view.2.clone_from(&self.pods);
        }
        if self.fault(self.scenario.faults.lease_lost) {
            self.follower = self.now.plus(self.rng.between(1000, 30_000));
        }
    }

    fn act(&mut self) {
        let mut answers = Vec::new();
        while let Some(entry) = self.answers.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            answers.push(entry.remove());
        }
        let seen = Observation {
            statics: BTreeMap::new(),
            budgets: BTreeMap::new(),
            now: self.now,
            synced: true,
            leader: self.now >= self.follower,
            inputs: "same".to_owned(),
            urgent: self.urgent.keys().cloned().collect(),
            executing: self.seen_executing(),
            proposals: self.proposals.iter().map(|(plan, (one, _))| (plan.clone(), one.clone())).collect(),
            versions: BTreeMap::new(),
            claims: self.view.0.clone(),
            nodes: self.view.1.clone(),
            pods: self.view.2.iter().map(|(name, (pod, _))| (name.clone(), pod.clone())).collect(),
            answers,
        };
        let stop = self.now < self.stopped;
        self.state.settings.stop = stop;
        if stop {
            self.cut_all("");
        }
        let (state, requests) = step(std::mem::take(&mut self.state), &seen);
        self.state = state;
        for request in requests {
            self.last_request = self.now;
            if !seen.leader && request.is_write() {
                self.outcome.broken.push(format!("{}: a follower asks for {request:?}", self.now.0));
            }
            if stop && request.is_write() {
                let what = format!("{} stopped: {:?}", self.now.0, request.key());
                if request.finishes() {
                    self.outcome.log.push(what);
                } else {
                    self.outcome.broken.push(what);
                }
            }
            if !self.request(&request) {
                self.crash();
                return;
            }
        }
    }

    /// The process ends and comes back with nothing but a full view.
    fn crash(&mut self) {
        self.outcome.crashes += 1;
        self.outcome.log.push(format!("{} crash", self.now.0));
        self.state = State::new(settings(&self.scenario));
        self.answers.clear();
        // Whoever comes next waits until the lease has run out.
        self.down = self.now.plus(self.rng.between(15_000, 30_000));
        self.stale = [self.down; 3];
    }

    /// What the planner is given.
    pub(crate) fn seen_by_planner(&self) -> &View {
        &self.view
    }

    fn finish(mut self) -> Outcome {
        self.outcome.left_and_kept = (self.left, self.kept);
        self.outcome.instances = self.cloud.instances.len();
        self.outcome.unbound =
            self.pods.iter().filter(|(_, (pod, _))| pod.pending).map(|(name, _)| name.clone()).collect();
        if self.outcome.broken.is_empty() {
            let gated = self.pods.iter().filter(|(_, (pod, _))| pod.gated).map(|(name, _)| name.0.as_str());
            let gated: Vec<&str> = gated.collect();
            if !gated.is_empty() {
                self.outcome.broken.push(format!("nobody lets go of {}", gated.join(", ")));
            }
            let rest = self.watch.at_rest(&self.claims, &self.nodes, &self.cloud);
            if self.now.since(self.last_write) < REST {
                self.outcome.broken.push(format!("{}: not at rest", self.last_write.0));
            }
            self.outcome.broken.extend(rest);
            self.outcome.broken.extend(self.unended().collect::<Vec<_>>());
        }
        self.outcome
    }
}
