//! Catches a call to the API server on its way.

use super::LATER;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use std::sync::{Arc, Mutex};
use stowage_cluster::eventually;

/// When a call to the API server is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It does not arrive.
    Before,
    /// It is done, and its answer does not arrive.
    After,
}

/// What is caught: a method, a part of the path, and when.
type Bait = (Method, &'static str, When);

/// Catches the next write of a kind: it never returns, and the controller that made it is ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trap(Arc<Mutex<(Option<Bait>, bool)>>);

impl Trap {
    pub(crate) fn set(&self, method: Method, path: &'static str, when: When) {
        *self.0.lock().expect("the trap") = (Some((method, path, when)), false);
    }

    pub(crate) fn sprung(&self) -> bool {
        self.0.lock().expect("the trap").1
    }

    /// Waits until it is.
    pub(crate) async fn caught(&self, what: &str) {
        let caught = async || self.sprung().then_some(()).ok_or_else(String::new);
        eventually(what, LATER, caught).await.expect("it is caught");
    }

    /// Whether this call is the one, and when it is caught.
    fn catches(&self, request: &Request<Body>) -> Option<When> {
        let mut state = self.0.lock().expect("the trap");
        let (method, path, when) = state.0.clone()?;
        if request.method() != method || !request.uri().path().contains(path) {
            return None;
        }
        *state = (None, true);
        Some(when)
    }

    /// A client whose calls pass the trap.
    pub(crate) fn client(&self, inner: Client) -> Client {
        let trap = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (trap, inner) = (trap.clone(), inner.clone());
            async move {
                let caught = trap.catches(&request);
                if caught == Some(When::Before) {
                    std::future::pending::<()>().await;
                }
                let answer: Result<Response<Body>, kube::Error> = inner.send(request).await;
                if caught == Some(When::After) {
                    std::future::pending::<()>().await;
                }
                answer
            }
        });
        Client::new(service, "default")
    }
}
