//! Tasks of the loop.

use std::sync::Arc;
use stowage_executor::Request;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Requests under way at once, those about pods left aside; together below the API server's default limits for one client.
const REQUESTS_MAX: usize = 32;
/// Requests about pods under way at once. There are thousands of them, for machines that take a minute to come: a launch does not queue behind
/// them.
const POD_REQUESTS_MAX: usize = 32;

/// A task that ends with this.
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What bounds requests under way.
pub(crate) struct Permits {
    pods: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Permits {
    /// All of them.
    pub(crate) fn new() -> Permits {
        Permits {
            pods: Arc::new(Semaphore::new(POD_REQUESTS_MAX)),
            others: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// Those that a request takes one of.
    pub(crate) fn of(&self, request: &Request) -> Arc<Semaphore> {
        match request {
            Request::Tolerate { .. }
            | Request::Ungate { .. }
            | Request::Bind { .. }
            | Request::Evict { .. }
            | Request::DeletePod { .. } => self.pods.clone(),
            _ => self.others.clone(),
        }
    }

    /// Waits until nothing is under way.
    pub(crate) async fn all(&self) {
        let most = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let _ = self.others.acquire_many(most(REQUESTS_MAX)).await;
        let _ = self.pods.acquire_many(most(POD_REQUESTS_MAX)).await;
    }
}
