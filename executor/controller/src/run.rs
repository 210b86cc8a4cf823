//! The loop.

use crate::act::Ports;
use crate::classes::Classes;
use crate::closing;
use crate::consolidating;
use crate::drift;
use crate::events::Events;
use crate::health::Health;
use crate::interruption::Listener;
use crate::kept::Kept;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::planning::plan_now;
use crate::plans::{Plans, Progress};
use crate::policy;
use crate::pools;
use crate::publish;
use crate::removing;
use crate::review::{self, Proposals};
use crate::savings;
use crate::shifts;
use crate::tasks::{AbortOnDrop, Permits};
use crate::telling;
use crate::unwell;
use jiff::Timestamp;
use kube::Client;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stowage_executor::{
    Answer, Awaited, Cloud, Key, Mode, Request, Settings, State, Time, Verb, Verdict, step,
};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_observe::View;
use stowage_planner::Limits;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Steps are at least this far apart, so that a burst of changes is one step.
const PAUSE: Duration = Duration::from_millis(100);
/// A plan of nodes that go by force takes this long at most: they have two minutes, and machines take one to boot.
const URGENT_TIME: Duration = Duration::from_millis(300);
/// A step is due after this long in any case: time-outs have to be noticed.
const TICK: Duration = Duration::from_millis(500);
/// How long a stopped controller waits for what is under way; Kubernetes gives it 30 s.
const FAREWELL: Duration = Duration::from_secs(20);
/// How often node classes, and plans that are over, are looked at.
const CLASSES_EVERY: Duration = Duration::from_secs(60);
/// How often what launches leave behind is removed.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// How the controller works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings of the executor.
    pub settings: Settings,
    /// Policy of plans.
    pub policy: Policy,
    /// Which nodes go, and when ([`Settings::remove_every`]).
    pub consolidation: ConsolidationPolicy,
    /// Types and prices, if the cloud does not say.
    pub catalog: Catalog,
    /// Zones nothing is launched in.
    pub unavailable_zones: BTreeSet<String>,
    /// Budget of a plan.
    pub plan_time: Duration,
    /// How often the cloud is asked which machines are not well.
    pub status_every: Duration,
    /// How often it is asked which zones the cluster is shifted away from.
    pub shifts_every: Duration,
    /// Threads of the planner.
    pub threads: usize,
    /// Namespace in which the controller runs.
    pub namespace: String,
}

impl Options {
    /// With these settings, the built-in catalogue, a plan of two seconds at most and the processor's threads.
    #[must_use]
    pub fn new(settings: Settings) -> Options {
        Options {
            settings,
            policy: Policy::default(),
            consolidation: ConsolidationPolicy::default(),
            catalog: Catalog::embedded().clone(),
            unavailable_zones: BTreeSet::new(),
            plan_time: Duration::from_secs(2),
            status_every: unwell::EVERY,
            shifts_every: shifts::EVERY,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            namespace: "stowage-system".to_owned(),
        }
    }

    /// Limits of a plan that is made now, until it is given up.
    pub(crate) fn limits(&self, urgent: bool, given_up: Arc<AtomicBool>) -> Limits {
        let begun = Instant::now();
        let clock = Arc::new(move || begun.elapsed());
        let time = if urgent { self.plan_time.min(URGENT_TIME) } else { self.plan_time };
        Limits { time, threads: self.threads, clock, cancel: Some(given_up) }
    }
}

/// The controller.
pub struct Controller {
    ports: Arc<Ports>,
    view: Arc<View>,
    options: Arc<Options>,
    classes: Arc<Classes>,
    plans: Arc<Mutex<Plans>>,
    proposals: Arc<Mutex<Proposals>>,
    /// Why nodes stay, as far as it was told.
    kept: Arc<Kept>,
    told: mpsc::UnboundedSender<Progress>,
    telling: JoinHandle<()>,
    metrics: Arc<Metrics>,
    health: Health,
    epoch: Time,
    begun: Instant,
}

impl Controller {
    /// A controller that has not begun.
    #[must_use]
    pub fn new(
        client: Client,
        cloud: Arc<dyn Cloud>,
        leadership: Leadership,
        options: Options,
    ) -> Controller {
        let view = Arc::new(View::start(&client));
        let metrics = Arc::new(Metrics::default());
        telling::build(&metrics);
        let events = Events::start(client.clone(), leadership.clone(), metrics.clone());
        let (told, progress) = mpsc::unbounded_channel();
        let telling = tokio::spawn(publish::write_progress(client.clone(), leadership.clone(), progress));
        Controller {
            health: Health::new(view.clone()),
            metrics: metrics.clone(),
            ports: Arc::new(Ports::new(
                client,
                cloud,
                leadership,
                metrics,
                events,
                options.namespace.clone(),
            )),
            view,
            options: Arc::new(options),
            classes: Arc::default(),
            plans: Arc::default(),
            proposals: Arc::default(),
            kept: Arc::default(),
            told,
            telling,
            epoch: Time(Timestamp::now().as_millisecond()),
            begun: Instant::now(),
        }
    }

    /// Wall-clock time read once, carried on by the monotonic clock: it never jumps.
    fn now(&self) -> Time {
        self.epoch.plus(i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Its numbers.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Whether it is well.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Runs until the future is dropped.
    pub async fn run(self) {
        self.run_until(std::future::pending()).await;
    }

    /// Runs until `stop`; then nothing new is begun, and what is under way is waited for, up to a deadline. All of it could be lost without
    /// harm; what is not lost is not done twice.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) {
        self.work(Box::pin(stop)).await;
    }

    // Boxed, so that it is compiled here and not once more with every program that runs it.
    fn work<'a>(self, stop: Awaited<'a, ()>) -> Awaited<'a, ()> {
        Box::pin(self.rounds(stop))
    }

    async fn rounds(self, mut stop: Awaited<'_, ()>) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let permits = Permits::new();
        let mut state = State::new(self.options.settings.clone());
        let mut answers = Vec::new();
        let (mut led, mut stopped) = (false, false);
        let (mut force, mut nominated, mut undrained) = (None, BTreeSet::new(), BTreeSet::new());
        let (mut planning_mode, mut given_up): (_, Arc<AtomicBool>) = (None, Arc::default());
        let mut plans_due = Instant::now() + CLASSES_EVERY;
        // Not while everything starts.
        let mut savings_due = Instant::now() + CLASSES_EVERY;
        let (mut inputs, mut drift) = (String::new(), drift::Watch::new());
        let (mut pools_due, mut pools): (_, Option<JoinHandle<()>>) = (Instant::now(), None);
        let braking = self.ports.clone();
        let braking = AbortOnDrop(tokio::spawn(async move { braking.brake.watch(&braking.client).await }));
        let listener = Listener::new(self.ports.clone(), self.view.clone(), self.health.clone());
        let listening = AbortOnDrop(tokio::spawn(listener.clone().run()));
        let asking = AbortOnDrop(tokio::spawn(unwell::watch(listener.clone(), self.options.status_every)));
        let shifting = shifts::watch(
            self.ports.clone(),
            self.view.clone(),
            self.health.clone(),
            self.options.shifts_every,
        );
        let shifting = AbortOnDrop(tokio::spawn(shifting));
        let (mut classes_due, mut tidy_due) = (Instant::now(), Instant::now() + TIDY_EVERY);
        loop {
            tokio::select! {
                () = self.view.changed() => {}
                answer = receiver.recv() => answers.extend(answer),
                () = tokio::time::sleep(if state.hurries() { PAUSE } else { TICK }) => {}
                () = &mut stop => {
                    drop((self.told, braking, listening, asking, shifting));
                    let under_way = async {
                        permits.all().await;
                        // It ends when nobody tells any more.
                        let _ = self.telling.await;
                    };
                    if tokio::time::timeout(FAREWELL, under_way).await.is_err() {
                        tracing::warn!("stopped with requests under way; whoever follows finds them");
                    }
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
            while let Ok(answer) = receiver.try_recv() {
                answers.push(answer);
            }
            let freshness = self.view.freshness();
            let mut seen = self.view.facts();
            seen.now = self.now();
            self.ports.shifts.see(&self.view, &mut seen);
            seen.synced = freshness.is_good();
            seen.leader = self.ports.leadership.epoch().is_some();
            if led != seen.leader {
                led = seen.leader;
                tracing::info!(leader = led, "leadership");
            }
            let writes = seen.leader && seen.synced && self.options.settings.mode != Mode::Shadow;
            let plans_are_due = seen.leader && seen.synced && Instant::now() >= plans_due;
            let options = self.in_force(&mut force, writes, plans_are_due);
            let shadow = options.settings.mode == Mode::Shadow;
            state.settings.clone_from(&options.settings);
            self.ports.brake.see(options.settings.stop);
            // Either knows it first.
            state.settings.stop = self.ports.brake.is_on();
            telling::stopped(&self.metrics, state.settings.stop);
            if stopped != state.settings.stop {
                stopped = state.settings.stop;
                tracing::warn!(stopped, "stop");
            }
            self.ports.events.set_acting(!shadow && seen.leader);
            listener.set(!shadow && seen.leader && seen.synced);
            seen.answers = std::mem::take(&mut answers);
            for answer in &mut seen.answers {
                // What was published as one mode's is not carried out, or shown, as the other's.
                if let Answer::Planned(ticket, _) = answer
                    && planning_mode != Some((options.settings.mode, options.settings.review))
                {
                    *answer = Answer::NotPlanned(*ticket, "the mode has changed meanwhile".to_owned());
                }
            }
            for answer in &seen.answers {
                if let Answer::Planned(_, batch) = answer
                    && !shadow
                    && batch.actions() > 0
                    && !options.settings.needs_approval(batch)
                {
                    self.plans().published(&batch.plan, batch.actions(), Instant::now());
                }
                telling::answer(&self.metrics, answer, &seen);
            }
            drift.listed(&seen.answers);
            lock(&self.proposals).look(&self.view, &mut seen);
            self.health.round(seen.synced);
            let (next, requests) = step(state, &seen);
            if next.presses(&seen) {
                given_up.store(true, Ordering::Relaxed);
            }
            telling::seen(&self.metrics, &seen);
            telling::launching(&self.metrics, &next, seen.now);
            state = next;
            for request in requests {
                if matches!(request, Request::Plan { .. }) {
                    planning_mode = Some((options.settings.mode, options.settings.review));
                    given_up = Arc::default();
                }
                if let Request::Judge { plan, verdict: Verdict::Executing } = &request {
                    let all = seen.proposals.get(plan).map_or(0, |one| one.count());
                    self.plans().published(plan, all, Instant::now());
                }
                self.start(request, &options, &sender, (&permits, &given_up));
            }
            // Where nodes go, the plans of that say it.
            let goes = !shadow && options.settings.remove_every.is_some();
            if seen.leader && seen.synced && Instant::now() >= savings_due && !seen.nodes.is_empty() && !goes
            {
                savings_due = Instant::now() + savings::EVERY;
                let (view, ports, options) = (self.view.clone(), self.ports.clone(), options.clone());
                let kept = self.kept.clone();
                tokio::spawn(async move {
                    if let Err(error) = savings::look(&view, options, &ports, &kept).await {
                        tracing::warn!(error, "what could be saved is not known");
                    }
                });
            }
            if plans_are_due && !stopped {
                plans_due = Instant::now() + CLASSES_EVERY;
                self.tidy_plans(&seen);
            }
            if !shadow && seen.leader && seen.synced {
                self.progress(&seen, &state);
                self.ports.events.nominate(&seen, &mut nominated);
                self.ports.events.undrained(&seen, &mut undrained);
                if inputs != seen.inputs {
                    inputs.clone_from(&seen.inputs);
                    classes_due = Instant::now();
                    drift.hurry();
                }
                if !stopped && self.classes.unready().is_some() {
                    drift.tend(&self.ports, &self.view, &options);
                }
                if !stopped && Instant::now() >= classes_due && self.classes.begin() {
                    classes_due = Instant::now() + CLASSES_EVERY;
                    let (classes, ports, view) =
                        (self.classes.clone(), self.ports.clone(), self.view.clone());
                    tokio::spawn(async move { classes.look(&ports, &view).await });
                }
                if !stopped
                    && Instant::now() >= pools_due
                    && pools.as_ref().is_none_or(JoinHandle::is_finished)
                {
                    pools_due = Instant::now() + pools::EVERY;
                    let (ports, view, counts) = (self.ports.clone(), self.view.clone(), pools::counts(&seen));
                    let options = options.clone();
                    let look = async move { pools::look(&ports, &view, &options.catalog, &counts).await };
                    pools = Some(tokio::spawn(look));
                }
                if !stopped && Instant::now() >= tidy_due {
                    tidy_due = Instant::now() + TIDY_EVERY;
                    let ports = self.ports.clone();
                    tokio::spawn(async move {
                        if let Err(error) = ports.cloud.tidy().await {
                            tracing::warn!(%error, "unused launch templates are not removed");
                        }
                    });
                }
            }
        }
    }

    /// Starts a task for a request.
    fn start(
        &self,
        request: Request,
        options: &Arc<Options>,
        sender: &mpsc::UnboundedSender<Answer>,
        (permits, given_up): (&Permits, &Arc<AtomicBool>),
    ) {
        let (ports, sender, now) = (self.ports.clone(), sender.clone(), self.now());
        let permits = permits.of(&request);
        if let Request::Recheck { removals, input } = request {
            let (view, options, classes) = (self.view.clone(), options.clone(), self.classes.clone());
            tokio::spawn(async move {
                let answer = removing::recheck(&ports, &view, &classes, options, removals, *input).await;
                let _ = sender.send(answer);
            });
            return;
        }
        if let Request::Plan { ticket, input, removals } = request {
            let (view, options, classes) = (self.view.clone(), options.clone(), self.classes.clone());
            let (proposals, kept) = (self.proposals.clone(), self.kept.clone());
            let limits = options.limits(input.urgent, given_up.clone());
            let given_up = given_up.clone();
            tokio::spawn(async move {
                let planned = if removals {
                    let known = (&*classes, &*kept, &*proposals);
                    consolidating::plan_now(&ports, &view, known, (options, limits), *input).await
                } else {
                    plan_now(&ports, &view, &classes, &proposals, (options, limits), *input).await
                };
                let answer = match planned {
                    Ok(batch) => Answer::Planned(ticket, Box::new(batch)),
                    Err(_) if given_up.load(Ordering::Relaxed) => Answer::GivenUp(ticket),
                    Err(error) => Answer::NotPlanned(ticket, error),
                };
                // The loop has ended if nobody listens.
                let _ = sender.send(answer);
            });
            return;
        }
        if let Request::Verify { plan, actions, input } = request {
            let Some(body) = lock(&self.proposals).body(&plan) else {
                // It was deleted a moment ago. Without an answer the plan's next version would wait for a deadline.
                let gone = "its plan is gone".to_owned();
                let _ = sender.send(Answer::Failed(Key { verb: Verb::Verify, object: plan }, gone));
                return;
            };
            let (view, options, classes) = (self.view.clone(), options.clone(), self.classes.clone());
            tokio::spawn(async move {
                let what = (plan.clone(), body, actions);
                let answer = match review::verify(&ports, &view, &classes, options, what, *input).await {
                    Ok(outcome) => Answer::Verified { plan, outcome },
                    Err(error) => Answer::Failed(Key { verb: Verb::Verify, object: plan }, error),
                };
                let _ = sender.send(answer);
            });
            return;
        }
        tokio::spawn(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            if let Some(answer) = ports.carry_out(request, now).await {
                let _ = sender.send(answer);
            }
        });
    }

    /// Writes how far plans are, when it has changed.
    fn progress(&self, seen: &stowage_executor::Observation, state: &State) {
        for one in self.plans().look(seen, |plan| state.goes_on(plan), Instant::now()) {
            // Who writes it lives as long as this does.
            let _ = self.told.send(one);
        }
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        lock(&self.plans)
    }

    /// Supersedes and forgets plans.
    fn tidy_plans(&self, seen: &stowage_executor::Observation) {
        let (client, leadership) = (self.ports.client.clone(), self.ports.leadership.clone());
        let ready = seen.claims.values().filter(|claim| claim.ours && claim.initialized.is_some());
        let known = publish::Known {
            under_way: self.plans().under_way(),
            ready: ready.map(|claim| claim.plan.clone()).collect(),
        };
        tokio::spawn(async move {
            match tokio::time::timeout(CLASSES_EVERY, publish::tidy(&client, &leadership, &known)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error, "old plans are not tidied"),
                Err(_) => tracing::warn!("old plans are not tidied in time"),
            }
        });
    }

    /// What is in force now, by the cluster's PlanPolicy; what is wrong with it is logged once, and said in its status as soon as that is ours
    /// to write, and `again` in case it was not written.
    fn in_force(&self, force: &mut Option<Force>, writes: bool, again: bool) -> Arc<Options> {
        let object = self.view.object("planpolicies", policy::NAME);
        if force.as_ref().is_none_or(|known| known.object != object) {
            let (options, outcome) = policy::in_force(&self.options, object.as_deref());
            // Our own words in its status are a change of the object, too.
            let said = force.as_ref().is_some_and(|known| known.outcome == outcome);
            if let (Err(why), false) = (&outcome, said) {
                tracing::error!(planpolicy = policy::NAME, error = why, "the policy is not in force");
            }
            let (options, degraded) = (Arc::new(options), Vec::new());
            *force = Some(Force { object, options, outcome, degraded, told: false });
        }
        let Some(known) = force else { return self.options.clone() };
        let degraded = self.health.degraded();
        if writes
            && (!known.told || again || known.degraded != degraded)
            && let Some(object) = known.object.clone()
        {
            known.told = true;
            known.degraded.clone_from(&degraded);
            let (ports, outcome) = (self.ports.clone(), known.outcome.clone());
            tokio::spawn(async move { policy::tell(&ports, &object, &outcome, &degraded).await });
        }
        known.options.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is in force, and of which object.
struct Force {
    object: Option<String>,
    options: Arc<Options>,
    /// Whether it is, or why not.
    outcome: Result<(), String>,
    /// What does not work though the rest does, as its status says.
    degraded: Vec<String>,
    /// Whether its status was to say so, though that may have failed.
    told: bool,
}

/// The cluster as it is, for planning: without pools that cannot launch, with what is left of reservations.
pub(crate) fn snapshot_now(
    ports: &Ports,
    view: &View,
    classes: &Classes,
    options: &Options,
) -> Result<Snapshot, String> {
    snapshot_with(ports, view, classes, options, Unready::Go)
}

/// NodePools whose node class is not ready, and which launch nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    /// Are left out.
    Go,
    /// Stay, for the nodes they have.
    Stay,
}

/// The same with or without NodePools whose node class is not ready.
pub(crate) fn snapshot_with(
    ports: &Ports,
    view: &View,
    classes: &Classes,
    options: &Options,
    what: Unready,
) -> Result<Snapshot, String> {
    let mut snapshot = view.snapshot().map_err(|error| error.to_string())?;
    if view.count("nodepools") == 0 {
        return Err("the cluster has no NodePool".to_owned());
    }
    // The same cluster at another time is another snapshot, so no two plans have the same id, nor two launches the same token.
    snapshot.taken_at = Some(Timestamp::now().to_string());
    if options.settings.mode != Mode::Shadow {
        // What a class that is not ready would launch cannot be launched.
        let Some(unready) = classes.unready() else {
            return Err("the node classes have not been looked at yet".to_owned());
        };
        if what == Unready::Go {
            snapshot.node_pools.retain(|pool| !unready.contains(&pool.node_class));
        }
        // What pools say of themselves is our own word, and may be older than what was just found.
        for pool in &mut snapshot.node_pools {
            let lacks = unready.contains(&pool.node_class);
            pool.not_ready = lacks.then(|| "its node class is not ready".to_owned());
        }
        if snapshot.node_pools.is_empty() {
            return Err("no NodePool has a node class that is ready".to_owned());
        }
    }
    // The status of a class says which reservations there are, not what is left of them.
    let reserved = ports.cloud.reserved();
    for one in snapshot.node_classes.iter_mut().flat_map(|class| &mut class.capacity_reservations) {
        one.available = reserved.get(&one.id).copied().or(one.available);
    }
    let shifted = ports.shifts.zones(view)?;
    closing::close(&mut snapshot, &options.unavailable_zones, &shifted, Timestamp::now());
    Ok(snapshot)
}
