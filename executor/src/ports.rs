//! Ports: what carries requests out.

use crate::request::{Failure, Reason};
use crate::view::Instance;
use std::future::Future;

/// Why the cloud did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudError(pub String);

impl std::fmt::Display for CloudError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CloudError {}

/// A cloud. Every call has a deadline of its own, and may be repeated.
pub trait Cloud: Send + Sync + 'static {
    /// Launches one machine under a token, from a stored request. The same token gives the same machine.
    fn launch(&self, token: &str, body: &str) -> impl Future<Output = Result<Instance, Failure>> + Send;

    /// Ends a machine; one that is unknown has ended.
    fn terminate(&self, instance: &str, why: Reason) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// All machines of this cluster, every page.
    fn list(&self) -> impl Future<Output = Result<Vec<Instance>, CloudError>> + Send;
}
