//! Ports: what carries requests out.

use crate::request::{Failure, Reason};
use crate::view::Instance;
use std::collections::BTreeMap;
use std::future::Future;
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

/// A cloud. Every call has a deadline of its own, and may be repeated.
pub trait Cloud: Send + Sync + 'static {
    /// What a launch request must say beside what the plan asks for: what is looked up is looked up now, so that the same can be sent
    /// again later. `class` is the node class as JSON. What comes back is stored with the claim; nothing is changed yet.
    fn prepare(&self, body: &str, class: &str) -> impl Future<Output = Result<String, Failure>> + Send {
        let (body, _) = (body.to_owned(), class);
        async move { Ok(body) }
    }

    /// Launches one machine under a token, from a stored request. The same token gives the same machine.
    fn launch(&self, token: &str, body: &str) -> impl Future<Output = Result<Launched, Failure>> + Send;

    /// Ends a machine; one that is unknown has ended.
    fn terminate(&self, instance: &str, why: Reason) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// All machines of this cluster, every page.
    fn list(&self) -> impl Future<Output = Result<Vec<Instance>, CloudError>> + Send;

    /// What a node class (JSON) selects, as the status of its object: JSON whose conditions have no times yet. `None` if this cloud
    /// has nothing to say.
    fn class_status(&self, class: &str) -> impl Future<Output = Result<Option<String>, CloudError>> + Send {
        let _ = class;
        async { Ok(None) }
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

    /// Removes what was made for launches and is not used any more.
    fn tidy(&self) -> impl Future<Output = Result<(), CloudError>> + Send {
        async { Ok(()) }
    }
}

impl<C: Cloud> Cloud for Arc<C> {
    async fn prepare(&self, body: &str, class: &str) -> Result<String, Failure> {
        (**self).prepare(body, class).await
    }

    async fn launch(&self, token: &str, body: &str) -> Result<Launched, Failure> {
        (**self).launch(token, body).await
    }

    async fn terminate(&self, instance: &str, why: Reason) -> Result<(), CloudError> {
        (**self).terminate(instance, why).await
    }

    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        (**self).list().await
    }

    async fn class_status(&self, class: &str) -> Result<Option<String>, CloudError> {
        (**self).class_status(class).await
    }

    fn catalog(&self) -> Option<Arc<Catalog>> {
        (**self).catalog()
    }

    fn reserved(&self) -> BTreeMap<String, i64> {
        (**self).reserved()
    }

    async fn tidy(&self) -> Result<(), CloudError> {
        (**self).tidy().await
    }
}
