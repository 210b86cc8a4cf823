//! Events, with the reasons that Karpenter's users know: few, once, and never in the way of anything else.

use crate::lease::{Leadership, WRITE};
use crate::metrics::{Family, Metrics};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stowage_executor::{Observation, PlannedPod};
use stowage_models::digest;
use stowage_models::objects::PodRef;
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;
use tokio::sync::mpsc;

/// The same is not told again for this long (Karpenter's, which has 2 to 5 minutes).
const AGAIN: Duration = Duration::from_secs(300);
/// What was told longer ago is forgotten when there is so much: more than the buckets let through in that time.
const REMEMBERED_MAX: usize = 10_000;
/// A node that is not empty after this long, in milliseconds, is worth an event.
const PATIENCE: i64 = 30_000;
/// Events that wait to be written; more are not told.
const WAITING_MAX: usize = 512;
/// Length that the API server takes.
const NOTE_MAX: usize = 1024;
/// Events of normal type a second, and at once. Karpenter lets 5 a second and 10 at once nominate pods.
const NORMAL: (u64, u64) = (10, 100);
/// Warnings have a bucket of their own: they are what one looks for.
const WARNING: (u64, u64) = (10, 200);

const TOLD: Family =
    Family { name: "stowage_events_total", help: "Events, by reason and what became of them." };

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    Normal,
    Warning,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct About {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    uid: String,
}

impl About {
    pub(crate) fn pod(id: &PodRef, uid: &str) -> About {
        let (namespace, name) = id.0.split_once('/').unwrap_or(("default", &id.0));
        About {
            kind: "Pod",
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    pub(crate) fn claim(name: &str, uid: &str) -> About {
        About { kind: "NodeClaim", namespace: None, name: name.to_owned(), uid: uid.to_owned() }
    }

    pub(crate) fn node(name: &str, uid: &str) -> About {
        About { kind: "Node", namespace: None, name: name.to_owned(), uid: uid.to_owned() }
    }

    pub(crate) fn pool(name: &str, uid: &str) -> About {
        About { kind: "NodePool", namespace: None, name: name.to_owned(), uid: uid.to_owned() }
    }

    pub(crate) fn plan(name: &str, uid: &str) -> About {
        About { kind: "Plan", namespace: None, name: name.to_owned(), uid: uid.to_owned() }
    }

    fn reference(self) -> ObjectReference {
        let version = match self.kind {
            "Pod" | "Node" => "v1",
            "Plan" => "stowage.dev/v1alpha1",
            _ => "karpenter.sh/v1",
        };
        ObjectReference {
            api_version: Some(version.to_owned()),
            kind: Some(self.kind.to_owned()),
            namespace: self.namespace,
            name: Some(self.name),
            uid: Some(self.uid).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        }
    }
}

/// A bucket in thousandths of events.
#[derive(Debug)]
struct Bucket {
    level: u64,
    at: Instant,
    rate: u64,
    burst: u64,
}

impl Bucket {
    fn new((rate, burst): (u64, u64), now: Instant) -> Bucket {
        Bucket { level: burst * 1000, at: now, rate, burst: burst * 1000 }
    }

    fn take(&mut self, now: Instant) -> bool {
        // Events a second are thousandths of an event a millisecond.
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            self.level = self.level.saturating_add(passed.saturating_mul(self.rate)).min(self.burst);
            self.at = now;
        }
        let enough = self.level >= 1000;
        self.level -= if enough { 1000 } else { 0 };
        enough
    }
}

/// What is told, and what is not.
#[derive(Debug)]
struct Filter {
    told: BTreeMap<(About, &'static str, String), Instant>,
    normal: Bucket,
    warning: Bucket,
}

impl Filter {
    fn new(now: Instant) -> Filter {
        Filter { told: BTreeMap::new(), normal: Bucket::new(NORMAL, now), warning: Bucket::new(WARNING, now) }
    }

    /// Whether it is told: `Err` with what is counted if not.
    fn pass(
        &mut self,
        about: &About,
        weight: Weight,
        reason: &'static str,
        note: &str,
        now: Instant,
    ) -> Result<(), &'static str> {
        let key = (about.clone(), reason, note.to_owned());
        if self.told.get(&key).is_some_and(|at| now.saturating_duration_since(*at) < AGAIN) {
            return Err("repeated");
        }
        if self.told.len() >= REMEMBERED_MAX {
            self.told.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        }
        let bucket = if weight == Weight::Normal { &mut self.normal } else { &mut self.warning };
        if !bucket.take(now) {
            return Err("too many");
        }
        self.told.insert(key, now);
        Ok(())
    }
}

/// One for each note: what is told again of an object under the same reason and action within minutes becomes one event that was seen several
/// times, with the note it had first. A pod that waits for another reason by now would be shown with the old one. No more than 128 characters are
/// taken.
fn action(reason: &str, note: &str) -> String {
    let digest = digest::of_bytes(note.as_bytes());
    format!("{reason}/{}", digest::short(&digest, 16))
}

/// Where events are told. In shadow mode nothing is.
pub(crate) struct Events {
    filter: Mutex<Filter>,
    sender: mpsc::Sender<(ObjectReference, Event)>,
    acting: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Begins to write them, one after the other, in a task that ends with this value.
    pub(crate) fn start(client: Client, leadership: Leadership, metrics: Arc<Metrics>) -> Events {
        let (sender, mut receiver) = mpsc::channel::<(ObjectReference, Event)>(WAITING_MAX);
        let reporter = Reporter { controller: "stowage".to_owned(), instance: None };
        let recorder = Recorder::new(client, reporter);
        tokio::spawn(async move {
            while let Some((reference, event)) = receiver.recv().await {
                if leadership.epoch().is_none() {
                    continue;
                }
                // An event that is lost is no loss; the object says the same.
                match tokio::time::timeout(WRITE, recorder.publish(&event, &reference)).await {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(error)) => tracing::debug!(reason = event.reason, %error, "event not written"),
                }
            }
        });
        let filter = Mutex::new(Filter::new(Instant::now()));
        Events { filter, sender, acting: AtomicBool::new(false), metrics }
    }

    /// Whether anything is told at all.
    pub(crate) fn set_acting(&self, acting: bool) {
        self.acting.store(acting, Ordering::Relaxed);
    }

    /// Whether anything is.
    pub(crate) fn is_acting(&self) -> bool {
        self.acting.load(Ordering::Relaxed)
    }

    /// Tells something, unless it was told lately or there is too much to tell.
    pub(crate) fn tell(&self, about: About, weight: Weight, reason: &'static str, note: &str) {
        if !self.is_acting() {
            return;
        }
        let note = crate::telling::cut(note, NOTE_MAX).to_owned();
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = filter.pass(&about, weight, reason, &note, Instant::now());
        drop(filter);
        let outcome = passed.err().unwrap_or_else(|| {
            let event = Event {
                type_: if weight == Weight::Normal { EventType::Normal } else { EventType::Warning },
                reason: reason.to_owned(),
                action: action(reason, &note),
                note: Some(note),
                secondary: None,
            };
            self.sender.try_send((about.reference(), event)).map_or("too many", |()| "told")
        });
        self.metrics.count(TOLD, &[("reason", reason), ("outcome", outcome)], 1);
    }

    /// Claims that were not there before: their pods know where they will be.
    pub(crate) fn nominate(&self, seen: &Observation, known: &mut BTreeSet<String>) {
        known.retain(|name| seen.claims.contains_key(name));
        for claim in seen.claims.values().filter(|claim| claim.ours && !claim.deleting) {
            if !known.insert(claim.name.clone()) {
                continue;
            }
            let waits = |pod: &&PlannedPod| {
                seen.pods.get(&pod.id).is_some_and(|one| one.uid == pod.uid && one.pending && !one.is_virtual)
            };
            for pod in claim.pods.iter().filter(waits) {
                let note = format!("Pod should schedule on: nodeclaim/{}", claim.name);
                self.tell(About::pod(&pod.id, &pod.uid), Weight::Normal, "Nominated", &note);
            }
        }
    }

    /// Claims that are being deleted and whose pods do not go: they wait, and for what. Told once.
    pub(crate) fn undrained(&self, seen: &Observation, known: &mut BTreeSet<String>) {
        known.retain(|name| seen.claims.contains_key(name));
        for claim in seen.claims.values().filter(|one| one.ours && one.deleting && one.initialized.is_some())
        {
            let long = claim.deleted.is_some_and(|at| seen.now.since(at) >= PATIENCE);
            if !long || !known.insert(claim.name.clone()) {
                continue;
            }
            let node =
                seen.nodes.values().find(|node| node.instance.is_some() && node.instance == claim.instance);
            let Some(node) = node else { continue };
            let pods = seen
                .pods
                .values()
                .filter(|pod| pod.drain.is_some() && pod.node.as_deref() == Some(&node.name));
            let pods = pods.count();
            if pods > 0 {
                let note = format!("Failed to drain node, {pods} pods are waiting to be evicted");
                self.tell(About::claim(&claim.name, &claim.uid), Weight::Warning, "FailedDraining", &note);
            }
        }
    }

    /// Pods that a plan puts on what is there, and pods it leaves out.
    pub(crate) fn planned(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        left_out: &[(PodRef, String)],
        in_flight: &BTreeSet<String>,
    ) {
        let uids: BTreeMap<PodRef, &str> =
            snapshot.pods.iter().filter_map(|pod| Some((pod.id(), pod.uid.as_deref()?))).collect();
        let unplaced =
            plan.unplaced.iter().flat_map(|left| left.pods.iter().map(move |pod| (pod, &left.message)));
        let nobody: BTreeSet<PodRef> =
            snapshot.pods.iter().filter(|pod| pod.is_virtual()).map(|pod| pod.id()).collect();
        for (pod, why) in unplaced.chain(left_out.iter().map(|(pod, why)| (pod, why))) {
            if nobody.contains(pod) {
                continue;
            }
            let note = format!("Failed to schedule pod, {why}");
            let uid = uids.get(pod).copied().unwrap_or_default();
            self.tell(About::pod(pod, uid), Weight::Warning, "FailedScheduling", &note);
        }
        for node in &plan.existing {
            let kind = if in_flight.contains(&node.name) { "nodeclaim" } else { "node" };
            for pod in node.pods.iter().filter(|pod| !nobody.contains(*pod)) {
                let note = format!("Pod should schedule on: {kind}/{}", node.name);
                let uid = uids.get(pod).copied().unwrap_or_default();
                self.tell(About::pod(pod, uid), Weight::Normal, "Nominated", &note);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_note_is_an_event_of_its_own() {
        let young = action("Unconsolidatable", "it is not initialized");
        assert_eq!(
            young,
            action("Unconsolidatable", "it is not initialized"),
            "the same is one event, seen again"
        );
        assert_ne!(young, action("Unconsolidatable", "the cluster is shifted away from its zone us-east-1a"));
        for action in
            [young, action("Unconsolidatable", ""), action("Unconsolidatable", &"long ".repeat(500))]
        {
            assert!(action.starts_with("Unconsolidatable/") && action.len() <= 128, "{action}");
        }
    }

    #[test]
    fn the_same_is_told_once_and_not_too_much_at_all() {
        let now = Instant::now();
        let mut filter = Filter::new(now);
        let pod = |n: u64| About::pod(&PodRef(format!("default/pod-{n}")), "uid");
        let mut told = |about: About, weight, note: &str, at| filter.pass(&about, weight, "Reason", note, at);
        assert_eq!(told(pod(0), Weight::Warning, "a", now), Ok(()));
        assert_eq!(told(pod(0), Weight::Warning, "a", now + AGAIN / 2), Err("repeated"));
        assert_eq!(told(pod(0), Weight::Warning, "b", now), Ok(()), "another reason is news");
        assert_eq!(told(pod(0), Weight::Warning, "a", now + AGAIN), Ok(()));
        let later = now + AGAIN;
        let many = (1..=1000).filter(|n| told(pod(*n), Weight::Normal, "a", later).is_ok()).count();
        assert_eq!(many as u64, NORMAL.1);
        assert_eq!(told(pod(2000), Weight::Warning, "a", later), Ok(()), "warnings have their own bucket");
        let after = later + Duration::from_secs(1);
        let more = (3000..4000).filter(|n| told(pod(*n), Weight::Normal, "a", after).is_ok()).count();
        assert_eq!(more as u64, NORMAL.0);
    }
}
