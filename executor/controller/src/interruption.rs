//! Listens to what the cloud says of machines, and notes it on their NodeClaims, where plans find it and whoever follows this process, too.
//!
//! A message is dismissed only after what it says was written; until then it comes again. So nothing is lost with a process, and repetition
//! and order do not matter: a claim's notices only grow ([`Notices`]).

use crate::act::Ports;
use crate::events::{About, Weight};
use crate::health::Health;
use crate::lease::WRITE;
use crate::metrics::Family;
use crate::telling::cut;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stowage_executor::{Letter, Message, MessageKind};
use stowage_models::departure::{NOTICES, NoticeKind, Notices};
use stowage_observe::{KINDS, View, instance_id};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// Workers. One waits for messages; the others help while the queue gives full hands: a poll brings at most ten, and a zone that is taken
/// back brings thousands.
const WORKERS: usize = 12;
/// Messages that a full hand has.
const FULL: usize = 10;
/// Notes written at once; with other requests still below what the API server lets one client do.
const WRITES: usize = 16;
/// Attempts to write a note when others change the claim meanwhile.
const TRIES: usize = 5;
/// Pause of a listener that must not listen.
const IDLE: Duration = Duration::from_millis(200);
/// Pauses after a refusal of the queue.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A message about a machine that nobody claims is kept this long, in milliseconds, while machines are being launched: the claim
/// may be about to say that it is its own.
const UNCLAIMED: i64 = 120_000;
/// Machines whose notes are remembered; more are looked up again.
const REMEMBERED: usize = 20_000;
/// Malformed messages that are logged in a minute; all are counted.
const LOGGED: u32 = 10;
/// What is degraded without the queue.
const QUEUE: &str = "interruption queue";

const RECEIVED: Family =
    Family { name: "karpenter_interruption_received_messages_total", help: "Messages received, by type." };
const DELETED: Family = Family {
    name: "karpenter_interruption_deleted_messages_total",
    help: "Messages deleted from the queue.",
};
const DURATION: Family = Family {
    name: "karpenter_interruption_message_queue_duration_seconds",
    help: "From the event to the end of its message's handling.",
};
const MALFORMED: Family = Family {
    name: "stowage_interruption_malformed_messages_total",
    help: "Messages that could not be read.",
};
const NOTED: Family =
    Family { name: "stowage_interruption_notices_total", help: "Notices written on NodeClaims, by type." };
const FAILED: Family = Family {
    name: "stowage_interruption_failures_total",
    help: "Notices not written; their messages come again.",
};
const AVAILABLE: Family =
    Family { name: "stowage_interruption_queue_available", help: "1 if the interruption queue answers." };

/// What was written of a machine, one writer at a time.
type Slot = Arc<tokio::sync::Mutex<Notices>>;

/// See the module.
pub(crate) struct Listener {
    ports: Arc<Ports>,
    view: Arc<View>,
    health: Health,
    /// Whether this process acts.
    on: AtomicBool,
    busy: Notify,
    writes: Semaphore,
    /// By instance.
    noted: Mutex<BTreeMap<String, Slot>>,
    /// Malformed messages logged since then.
    logged: Mutex<(Instant, u32)>,
}

/// A claim as far as messages go.
#[derive(Clone, Debug)]
struct Claim {
    name: String,
    uid: String,
    deleting: bool,
    notices: Notices,
}

impl Listener {
    pub(crate) fn new(ports: Arc<Ports>, view: Arc<View>, health: Health) -> Arc<Listener> {
        Arc::new(Listener {
            ports,
            view,
            health,
            on: AtomicBool::new(false),
            busy: Notify::new(),
            writes: Semaphore::new(WRITES),
            noted: Mutex::default(),
            logged: Mutex::new((Instant::now(), 0)),
        })
    }

    /// Whether to listen: only who acts does, for others' messages would be lost. A stop does not deafen: notices are facts.
    pub(crate) fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Whether it listens.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// What the cloud says when it is asked.
    pub(crate) async fn unwell(&self) -> Result<Vec<Message>, String> {
        self.ports.cloud.unwell().await.map_err(|error| error.0)
    }

    /// Notes what the cloud says of machines of ours, but for what is noted already. What cannot be written now is said again.
    pub(crate) async fn note_all(&self, messages: Vec<Message>) {
        let (claims, _) = self.claims(messages.iter());
        for message in messages.iter().filter(|_| self.is_on()) {
            let Some(kind) = message.kind.notice() else { continue };
            for instance in &message.instances {
                let Some(claim) = claims.get(instance).filter(|claim| !claim.deleting) else { continue };
                let noted = self.note(instance, claim, (kind, message.deadline)).await;
                self.told(instance, claim, message.kind, noted);
            }
        }
    }

    /// Something answers, or why not.
    pub(crate) fn degrade(&self, what: &'static str, outcome: Result<(), String>) {
        if self.health.degrade(what, outcome.as_ref().err().map(String::as_str)) {
            match outcome {
                Ok(()) => tracing::info!(what, "it answers"),
                Err(error) => tracing::warn!(what, error, "it does not answer"),
            }
        }
    }

    /// Listens until it is dropped; returns if there is no queue.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut helpers = JoinSet::new();
        for _ in 1..WORKERS {
            helpers.spawn(self.clone().help());
        }
        let mut pause = PAUSE_MIN;
        loop {
            if !self.on.load(Ordering::Relaxed) {
                tokio::time::sleep(IDLE).await;
                continue;
            }
            match self.ports.cloud.receive(true).await {
                Ok(None) => return,
                Ok(Some(letters)) => {
                    pause = PAUSE_MIN;
                    self.answers(Ok(()));
                    if letters.len() >= FULL {
                        self.busy.notify_waiters();
                    }
                    self.clone().handle(letters).await;
                }
                Err(error) => {
                    self.answers(Err(error.0));
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Helps while there is much to do.
    async fn help(self: Arc<Self>) {
        loop {
            self.busy.notified().await;
            while self.on.load(Ordering::Relaxed) {
                let Ok(Some(letters)) = self.ports.cloud.receive(false).await else { break };
                let full = letters.len() >= FULL;
                self.clone().handle(letters).await;
                if !full {
                    break;
                }
            }
        }
    }

    /// The queue answers, or why not: degraded, not broken. Nodes still go when their instances are seen to have ended.
    fn answers(&self, outcome: Result<(), String>) {
        self.ports.metrics.set(AVAILABLE, &[], if outcome.is_ok() { 1_000_000 } else { 0 });
        if self.health.degrade(QUEUE, outcome.as_ref().err().map(String::as_str)) {
            match outcome {
                Ok(()) => tracing::info!("the interruption queue answers"),
                Err(error) => tracing::warn!(error, "interruptions are not heard of"),
            }
        }
    }

    async fn handle(self: Arc<Self>, letters: Vec<Letter>) {
        // Received by one that does not act any more: they come again, to who does.
        if letters.is_empty() || !self.on.load(Ordering::Relaxed) {
            return;
        }
        let read = letters.iter().filter_map(|letter| letter.content.as_ref().ok());
        let (claims, launching) = self.claims(read);
        let metrics = &self.ports.metrics;
        let mut kept = vec![false; letters.len()];
        let mut notes = JoinSet::new();
        for (n, letter) in letters.iter().enumerate() {
            let message = match &letter.content {
                Ok(message) => message,
                Err(wrong) => {
                    metrics.count(MALFORMED, &[], 1);
                    self.complain(wrong);
                    continue;
                }
            };
            metrics.count(RECEIVED, &[("message_type", message.kind.as_str())], 1);
            let Some(kind) = message.kind.notice() else { continue };
            for instance in &message.instances {
                match claims.get(instance) {
                    Some(claim) if claim.deleting => {}
                    Some(claim) => {
                        let (listener, instance, claim) = (self.clone(), instance.clone(), claim.clone());
                        let (what, deadline) = (message.kind, message.deadline);
                        notes.spawn(async move {
                            let noted = listener.note(&instance, &claim, (kind, deadline)).await;
                            (n, listener.told(&instance, &claim, what, noted))
                        });
                    }
                    None => kept[n] |= launching && kind.is_final() && is_young(message),
                }
            }
        }
        while let Some(done) = notes.join_next().await {
            match done {
                Ok((_, true)) => {}
                Ok((n, false)) => kept[n] = true,
                // A note that panicked is not written; which one is not known.
                Err(_) => kept.fill(true),
            }
        }
        let now = Timestamp::now().as_millisecond();
        for message in letters.iter().filter_map(|letter| letter.content.as_ref().ok()) {
            if let Some(at) = message.at {
                let took = u64::try_from(now.saturating_sub(at.0)).unwrap_or(0);
                metrics.observe(DURATION, &[], Duration::from_millis(took));
            }
        }
        let over = letters.into_iter().zip(kept).filter(|(_, kept)| !kept);
        let receipts: Vec<String> = over.map(|(letter, _)| letter.receipt).collect();
        if receipts.is_empty() {
            return;
        }
        match self.ports.cloud.dismiss(receipts).await {
            Ok(gone) => metrics.count(DELETED, &[], gone as u64),
            Err(error) => tracing::debug!(error = error.0, "messages not deleted: they come again"),
        }
    }

    /// Claims of the machines that messages are about, and whether a claim is about to get a machine.
    fn claims<'a>(&self, read: impl Iterator<Item = &'a Message>) -> (BTreeMap<String, Claim>, bool) {
        let about: BTreeSet<&String> = read.flat_map(|message| &message.instances).collect();
        let (mut found, mut launching) = (BTreeMap::new(), false);
        self.view.each_claim(|claim| match &claim.instance {
            Some(instance) if about.contains(instance) => {
                let (name, uid, notices) = (claim.name.clone(), claim.uid.clone(), claim.notices.clone());
                found.insert(instance.clone(), Claim { name, uid, deleting: claim.deleting, notices });
            }
            None if !claim.deleting => launching = true,
            _ => {}
        });
        (found, launching)
    }

    /// Writes it on the claim, unless it says so already; whether it was news.
    async fn note(
        &self,
        instance: &str,
        claim: &Claim,
        (kind, deadline): (NoticeKind, Option<i64>),
    ) -> Result<bool, String> {
        let slot = self.slot(instance, &claim.notices);
        let mut known = slot.lock().await;
        let mut wanted = known.clone();
        wanted.merge(&claim.notices);
        if !wanted.add(kind, deadline) {
            return Ok(false);
        }
        let _permit = self.writes.acquire().await.map_err(|error| error.to_string())?;
        let claims = claims(&self.ports.client)?;
        for _ in 0..TRIES {
            let found = tokio::time::timeout(WRITE, claims.get_opt(&claim.name)).await;
            let found =
                found.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
            let Some(found) = found else { return Ok(false) };
            let own = found.data["status"]["providerID"].as_str().and_then(instance_id);
            if own.as_deref() != Some(instance) {
                return Ok(false);
            }
            let annotations = found.metadata.annotations.unwrap_or_default();
            let mut all = annotations.get(NOTICES).map(|text| Notices::parse(text)).unwrap_or_default();
            if !all.merge(&wanted) {
                *known = all;
                return Ok(false);
            }
            // The version is checked: nobody's note is lost.
            let change = json!({ "metadata": {
                "annotations": { NOTICES: all.to_string() }, "resourceVersion": found.metadata.resource_version,
            } });
            let (params, change) = (PatchParams::default(), Patch::Merge(change));
            let write = async {
                match claims.patch_metadata(&claim.name, &params, &change).await {
                    Ok(_) => Ok(Some(true)),
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(false)),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                    Err(error) => Err(error),
                }
            };
            if let Some(news) = self.ports.leadership.write(write).await? {
                *known = all;
                return Ok(news);
            }
        }
        Err("others change it all the time".to_owned())
    }

    fn slot(&self, instance: &str, notices: &Notices) -> Slot {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= REMEMBERED {
            // What somebody writes in is his; the rest is in the claims.
            noted.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let fresh = || Arc::new(tokio::sync::Mutex::new(notices.clone()));
        noted.entry(instance.to_owned()).or_insert_with(fresh).clone()
    }

    /// Tells what came of a note; whether its message is done with.
    fn told(&self, instance: &str, claim: &Claim, kind: MessageKind, noted: Result<bool, String>) -> bool {
        match noted {
            Ok(false) => true,
            Ok(true) => {
                self.ports.metrics.count(NOTED, &[("message_type", kind.as_str())], 1);
                tracing::info!(claim = claim.name, instance, kind = kind.as_str(), "interruption noted");
                if let Some(reason) = kind.reason() {
                    let weight = if kind == MessageKind::RebalanceRecommendation {
                        Weight::Normal
                    } else {
                        Weight::Warning
                    };
                    let about = About::claim(&claim.name, &claim.uid);
                    self.ports.events.tell(about, weight, reason, said(kind));
                    if let Some((node, uid)) = self.view.node_of(instance) {
                        self.ports.events.tell(About::node(&node, &uid), weight, reason, said(kind));
                    }
                }
                true
            }
            Err(error) => {
                self.ports.metrics.count(FAILED, &[], 1);
                tracing::warn!(claim = claim.name, instance, error, "interruption not noted yet");
                false
            }
        }
    }

    fn complain(&self, wrong: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.0.elapsed() > Duration::from_secs(60) {
            *logged = (Instant::now(), 0);
        }
        logged.1 += 1;
        if logged.1 <= LOGGED {
            tracing::warn!(error = cut(wrong, 1000), "a message of the interruption queue is malformed");
        }
    }
}

fn claims(client: &kube::Client) -> Result<Api<DynamicObject>, String> {
    let kind = KINDS.iter().find(|one| one.kind == "NodeClaim");
    kind.map(|one| one.api(client)).ok_or_else(|| "NodeClaims are not looked at".to_owned())
}

/// Whether its machine's claim may not have heard of it yet.
fn is_young(message: &Message) -> bool {
    let now = Timestamp::now().as_millisecond();
    message.at.is_some_and(|at| now.saturating_sub(at.0) < UNCLAIMED)
}

/// For people.
fn said(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::SpotInterruption => "EC2 takes the spot instance back two minutes after its warning",
        MessageKind::RebalanceRecommendation => "EC2 thinks that it may take the spot instance back",
        MessageKind::ScheduledChange => "AWS has scheduled a change of the instance",
        MessageKind::Stopping => "The instance is stopping",
        MessageKind::Terminating => "The instance is terminating",
        MessageKind::StatusFailure => "A status check of the instance fails",
        MessageKind::ReservationInterruption => "The capacity reservation of the instance is taken back",
        MessageKind::Other => "Nothing",
    }
}
