//! Leadership: a Lease in the cluster, held by a client of its own, and believed by a monotonic clock only.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long a lease is valid. kube-controller-manager has 15 s; a write may take 10 s of it, and a busy API server several for a renewal.
const DURATION: Duration = Duration::from_secs(20);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(2);
/// A renewal takes no longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// A write that starts now is over by then; its deadline, with something to spare.
pub(crate) const WRITE: Duration = Duration::from_secs(10);

/// What is said of what is not done for want of the lease.
pub(crate) const LOST: &str = "the lease is lost";
/// A lease that is given up early is noticed within this time.
const GLANCE: Duration = Duration::from_millis(200);

/// What the holder knows: its epoch, and until when it may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    epoch: i32,
    until: Option<Instant>,
}

/// Whether this process leads. Cheap to ask, and asked before every write.
#[derive(Clone, Debug, Default)]
pub struct Leadership(Arc<Mutex<Held>>);

impl Leadership {
    /// The epoch, if the lease is held and will be for as long as a write may take.
    #[must_use]
    pub fn epoch(&self) -> Option<i32> {
        let held = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = held.until?;
        (Instant::now() + WRITE <= until).then_some(held.epoch)
    }

    /// Makes one write: only while the lease is held, and over before it runs out.
    ///
    /// # Errors
    /// [`LOST`] without the lease; else why it is not known to be written.
    pub(crate) async fn write<T, E: ToString>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        if self.epoch().is_none() {
            return Err(LOST.to_owned());
        }
        match tokio::time::timeout(WRITE, call).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Returns when the lease has run out or is given up; at once if it is not held. Whatever was begun under it must have ended by then.
    pub(crate) async fn lost(&self) {
        loop {
            let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).until;
            match until {
                Some(until) if Instant::now() < until => {
                    tokio::time::sleep_until((until.min(Instant::now() + GLANCE)).into()).await;
                }
                _ => return,
            }
        }
    }

    fn set(&self, epoch: i32, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Held { epoch, until };
    }
}

/// Takes and keeps a lease while it lives.
#[derive(Debug)]
pub struct Lease {
    api: Api<LeaseObject>,
    name: String,
    identity: String,
    leadership: Leadership,
    task: JoinHandle<()>,
}

impl Lease {
    /// Begins to try. `client` is best one of its own, so that nothing else can keep renewals waiting.
    #[must_use]
    pub fn start(client: Client, namespace: &str, name: &str, identity: &str) -> Lease {
        let leadership = Leadership::default();
        let api: Api<LeaseObject> = Api::namespaced(client, namespace);
        let keeper = Keeper {
            api: api.clone(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            leadership: leadership.clone(),
            seen: None,
        };
        let (name, identity) = (name.to_owned(), identity.to_owned());
        Lease { api, name, identity, leadership, task: tokio::spawn(keeper.run()) }
    }

    /// Gives it up, so that another need not wait until it has run out.
    pub async fn release(self) {
        self.task.abort();
        self.leadership.set(0, None);
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = Some(String::new());
                // The version is part of the object: what another holds by now stays.
                conflict(self.api.replace(&self.name, &PostParams::default(), &lease).await)?;
            }
            Ok::<(), kube::Error>(())
        };
        // It runs out by itself.
        let _ = tokio::time::timeout(DEADLINE, released).await;
    }

    /// To ask whether this process leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
        self.leadership.set(0, None);
    }
}

struct Keeper {
    api: Api<LeaseObject>,
    name: String,
    identity: String,
    leadership: Leadership,
    /// The version of another's lease, and when it was first seen: it has run out when it stays the same for its
    /// duration by this clock. Clocks of others are not believed.
    seen: Option<(String, Instant)>,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let begun = Instant::now();
            // What was granted counts from before the request.
            match tokio::time::timeout(DEADLINE, self.renew()).await {
                Ok(Ok(Some(epoch))) => self.leadership.set(epoch, Some(begun + DURATION)),
                Ok(Ok(None)) => self.leadership.set(0, None),
                // Not renewed: what is held runs out by itself.
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    /// Takes or renews; the epoch if it is held now.
    async fn renew(&mut self) -> Result<Option<i32>, kube::Error> {
        let now = || Some(MicroTime(Timestamp::now()));
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let spec = LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: now(),
                renew_time: now(),
                lease_transitions: Some(1),
                ..LeaseSpec::default()
            };
            let lease = LeaseObject { metadata, spec: Some(spec) };
            return Ok(conflict(self.api.create(&PostParams::default(), &lease).await)?.map(|_| 1));
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let mut epoch = spec.lease_transitions.unwrap_or_default();
        if holder != self.identity {
            let since = match &self.seen {
                Some((seen, since)) if *seen == version => *since,
                _ => {
                    self.seen = Some((version, Instant::now()));
                    Instant::now()
                }
            };
            if !holder.is_empty() && since.elapsed() < DURATION {
                return Ok(None);
            }
            epoch += 1;
            spec.acquire_time = now();
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_transitions = Some(epoch);
        spec.renew_time = now();
        // The version is part of the object: whoever was faster wins.
        let replaced = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        Ok(conflict(replaced)?.map(|_| epoch))
    }
}

/// `None` if somebody else was faster.
fn conflict<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}
