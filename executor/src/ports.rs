//! Ports: what carries requests out.

use crate::messages::{Letter, Message};
use crate::request::{Failure, Reason};
use crate::time::Time;
use crate::view::Instance;
use std::collections::BTreeMap;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use stowage_models::catalog::Catalog;

/// Why the cloud did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudError(pub String);

impl std::fmt::Display for CloudError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CloudError {}

/// A machine that was launched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launched {
    /// The machine.
    pub instance: Instance,
    /// Offerings (type, zone, capacity type) before it in the plan's order that had no capacity.
    pub missing: Vec<(String, String, String)>,
}

/// A zone that the cloud has moved the cluster's traffic away from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shift {
    /// Id of the zone: the same in all accounts, unlike its name.
    pub zone_id: String,
    /// When it ends by itself, if it does.
    pub ends: Option<Time>,
}

/// An answer that has to be waited for.
pub type Awaited<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A cloud. Every call has a deadline of its own, and may be repeated.
pub trait Cloud: Send + Sync + 'static {
    /// What a launch request must say beside what the plan asks for: what is looked up is looked up now, so that the same can be sent
    /// again later. `class` is the node class as JSON. What comes back is stored with the claim; nothing is changed yet.
    fn prepare<'a>(&'a self, body: &'a str, class: &'a str) -> Awaited<'a, Result<String, Failure>> {
        let _ = class;
        Box::pin(future::ready(Ok(body.to_owned())))
    }

    /// Launches one machine under a token, from a stored request. The same token gives the same machine.
    fn launch<'a>(&'a self, token: &'a str, body: &'a str) -> Awaited<'a, Result<Launched, Failure>>;

    /// Ends a machine; one that is unknown has ended.
    fn terminate<'a>(&'a self, instance: &'a str, why: Reason) -> Awaited<'a, Result<(), CloudError>>;

    /// All machines of this cluster, every page.
    fn list(&self) -> Awaited<'_, Result<Vec<Instance>, CloudError>>;

    /// What a node class (JSON) selects, as the status of its object: JSON whose conditions have no times yet. `None` if this cloud
    /// has nothing to say.
    fn class_status<'a>(&'a self, class: &'a str) -> Awaited<'a, Result<Option<String>, CloudError>> {
        let _ = class;
        Box::pin(future::ready(Ok(None)))
    }

    /// The image that would be launched today for a node class (JSON) and an instance type; `None` if this cloud has nothing to say.
    fn image<'a>(
        &'a self,
        class: &'a str,
        instance_type: &'a str,
    ) -> Awaited<'a, Result<Option<String>, CloudError>> {
        let _ = (class, instance_type);
        Box::pin(future::ready(Ok(None)))
    }

    /// Types and prices as the cloud has them now; `None` if it does not say.
    fn catalog(&self) -> Option<Arc<Catalog>> {
        None
    }

    /// Instances that may still be launched into capacity reservations, by id, as far as is known: those that node classes select
    /// ([`Cloud::class_status`]).
    fn reserved(&self) -> BTreeMap<String, i64> {
        BTreeMap::new()
    }

    /// Messages about machines: a few, which come again later unless they are dismissed. With `wait` it takes as long as the queue lets one
    /// wait for the first. `None`: there is no queue.
    fn receive(&self, wait: bool) -> Awaited<'_, Result<Option<Vec<Letter>>, CloudError>> {
        let _ = wait;
        Box::pin(future::ready(Ok(None)))
    }

    /// What the cloud says of machines that are not well when it is asked: those whose status checks fail, and those with scheduled events.
    /// Machines of others may be among them.
    fn unwell(&self) -> Awaited<'_, Result<Vec<Message>, CloudError>> {
        Box::pin(future::ready(Ok(Vec::new())))
    }

    /// Zones that the cluster is shifted away from now, when the cloud is asked. `None`: it is not to be asked.
    fn shifts(&self) -> Option<Awaited<'_, Result<Vec<Shift>, CloudError>>> {
        None
    }

    /// Dismisses messages by their receipts; how many are gone.
    fn dismiss(&self, receipts: Vec<String>) -> Awaited<'_, Result<usize, CloudError>> {
        let _ = receipts;
        Box::pin(future::ready(Ok(0)))
    }

    /// Removes what was made for launches and is not used any more.
    fn tidy(&self) -> Awaited<'_, Result<(), CloudError>> {
        Box::pin(future::ready(Ok(())))
    }
}
