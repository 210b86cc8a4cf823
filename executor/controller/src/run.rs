//! The loop.

use crate::act::Ports;
use crate::intents;
use crate::lease::Leadership;
use crate::publish;
use jiff::Timestamp;
use kube::Client;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_executor::{
    Answer, Cloud, Mode, PlanInput, PlannedBatch, Request, Settings, State, Time, planning_view, step,
};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_observe::View;
use stowage_planner::{Limits, plan};
use tokio::sync::{Semaphore, mpsc};

/// Steps are at least this far apart, so that a burst of changes is one step.
const PAUSE: Duration = Duration::from_millis(100);
/// A step is due after this long in any case: time-outs have to be noticed.
const TICK: Duration = Duration::from_millis(500);
/// Requests under way at once; below the API server's default limits for one client.
const REQUESTS_MAX: usize = 64;

/// How the controller works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings of the executor.
    pub settings: Settings,
    /// Policy of plans.
    pub policy: Policy,
    /// Types and prices.
    pub catalog: Catalog,
    /// Budget of a plan.
    pub plan_time: Duration,
    /// Threads of the planner.
    pub threads: usize,
}

/// The controller.
pub struct Controller<C> {
    ports: Arc<Ports<C>>,
    view: Arc<View>,
    options: Arc<Options>,
    epoch: Time,
    begun: Instant,
}

impl<C: Cloud> Controller<C> {
    /// A controller that has not begun.
    #[must_use]
    pub fn new(client: Client, cloud: C, leadership: Leadership, options: Options) -> Controller<C> {
        let view = Arc::new(View::start(&client));
        Controller {
            ports: Arc::new(Ports { client, cloud, leadership }),
            view,
            options: Arc::new(options),
            epoch: Time(Timestamp::now().as_millisecond()),
            begun: Instant::now(),
        }
    }

    /// Wall-clock time read once, carried on by the monotonic clock: it never jumps.
    fn now(&self) -> Time {
        self.epoch.plus(i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Runs until the future is dropped.
    pub async fn run(self) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
        let mut state = State::new(self.options.settings.clone());
        let mut answers = Vec::new();
        let mut plans: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            tokio::select! {
                () = self.view.changed() => {}
                answer = receiver.recv() => answers.extend(answer),
                () = tokio::time::sleep(TICK) => {}
            }
            tokio::time::sleep(PAUSE).await;
            while let Ok(answer) = receiver.try_recv() {
                answers.push(answer);
            }
            let freshness = self.view.freshness();
            let mut seen = self.view.facts();
            seen.now = self.now();
            seen.synced = freshness.is_good();
            let shadow = self.options.settings.mode == Mode::Shadow;
            seen.leader = shadow || self.ports.leadership.epoch().is_some();
            seen.answers = std::mem::take(&mut answers);
            for answer in &seen.answers {
                tell(answer);
            }
            let (next, requests) = step(state, &seen);
            state = next;
            for request in requests {
                self.start(request, &sender, &permits);
            }
            if !shadow && seen.leader {
                self.progress(&seen, &mut plans);
            }
        }
    }

    /// Starts a task for a request.
    fn start(&self, request: Request, sender: &mpsc::UnboundedSender<Answer>, permits: &Arc<Semaphore>) {
        let (ports, sender, permits, now) = (self.ports.clone(), sender.clone(), permits.clone(), self.now());
        if let Request::Plan { ticket, input } = request {
            let (view, options) = (self.view.clone(), self.options.clone());
            tokio::spawn(async move {
                let answer = match plan_now(&ports.client, &view, options, *input).await {
                    Ok(batch) => Answer::Planned(ticket, Box::new(batch)),
                    Err(error) => Answer::NotPlanned(ticket, error),
                };
                // The loop has ended if nobody listens.
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
    fn progress(&self, seen: &stowage_executor::Observation, plans: &mut BTreeMap<String, usize>) {
        let mut done: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for claim in seen.claims.values().filter(|claim| claim.ours) {
            let (ready, all) = done.entry(&claim.plan).or_default();
            *ready += usize::from(claim.initialized.is_some());
            *all += 1;
        }
        plans.retain(|plan, _| done.contains_key(plan.as_str()));
        for (plan, (ready, all)) in done {
            if plans.insert(plan.to_owned(), ready) != Some(ready) {
                let (client, plan) = (self.ports.client.clone(), plan.to_owned());
                tokio::spawn(async move {
                    if let Err(error) = publish::progress(&client, &plan, ready, all).await {
                        eprintln!("plan={plan} progress is not written: {error}");
                    }
                });
            }
        }
    }
}

/// Failures are told; what succeeds is in the objects.
fn tell(answer: &Answer) {
    match answer {
        Answer::NotPlanned(_, error) => eprintln!("no plan: {error}"),
        Answer::NotLaunched { claim, why } => {
            eprintln!("claim={claim} not launched: {}", crate::act::refusal(why))
        }
        Answer::Failed(key, error) => eprintln!("{:?} {}: {error}", key.verb, key.object),
        Answer::Planned(_, batch) if !batch.launches.is_empty() => {
            eprintln!("plan={} launches={}", batch.plan, batch.launches.len());
        }
        _ => {}
    }
}

/// Plans what waits, has the referee check it, and publishes it.
async fn plan_now(
    client: &Client,
    view: &View,
    options: Arc<Options>,
    input: PlanInput,
) -> Result<PlannedBatch, String> {
    let mut snapshot = view.snapshot().map_err(|error| error.to_string())?;
    if view.count("nodepools") == 0 {
        return Err("the cluster has no NodePool".to_owned());
    }
    // The same cluster at another time is another snapshot, so no two plans have the same id, nor two launches the same token.
    snapshot.taken_at = Some(Timestamp::now().to_string());
    let mode = if options.settings.mode == Mode::Shadow { "shadow" } else { "auto" };
    let work = move || -> Result<_, String> {
        let view = planning_view(&snapshot, &options.catalog, &input);
        let begun = Instant::now();
        let limits = Limits {
            time: options.plan_time,
            threads: options.threads,
            clock: Arc::new(move || begun.elapsed()),
            cancel: None,
        };
        let planned = plan(&view.snapshot, &view.catalog, &options.policy, &limits, &mut |_| {})
            .map_err(|error| error.to_string())?;
        let findings = stowage_checker::check(&view.snapshot, &view.catalog, &planned.plan);
        if let Some(finding) = findings.first() {
            return Err(format!("the referee refuses the plan: {finding:?}"));
        }
        Ok((planned.plan, view))
    };
    let (plan, view) = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())??;
    if !plan.launches.is_empty() || !plan.unplaced.is_empty() {
        publish::publish(client, &plan, mode, &view.left_out)
            .await
            .map_err(|error| format!("the plan is not published: {error}"))?;
    }
    Ok(intents::batch(&plan, &view))
}
