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

/// What is caught: a method, a part of the path, a part of the body, and when.
#[derive(Clone, Debug)]
struct Bait {
    method: Method,
    path: &'static str,
    text: &'static str,
    when: When,
}

/// Catches the next write of a kind: it never returns, and the controller that made it is ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trap(Arc<Mutex<(Option<Bait>, bool)>>);

impl Trap {
    pub(crate) fn set(&self, method: Method, path: &'static str, when: When) {
        self.set_for(method, path, "", when);
    }

    /// The same for what has this text in it.
    pub(crate) fn set_for(&self, method: Method, path: &'static str, text: &'static str, when: When) {
        *self.0.lock().expect("the trap") = (Some(Bait { method, path, text, when }), false);
    }

    /// One was caught; if that is [`When::After`], it has been done by now.
    pub(crate) fn sprung(&self) -> bool {
        self.0.lock().expect("the trap").1
    }

    /// Waits until it is.
    pub(crate) async fn caught(&self, what: &str) {
        let caught = async || self.sprung().then_some(()).ok_or_else(String::new);
        eventually(what, LATER, caught).await.expect("it is caught");
    }

    /// Takes the bait if this call is the one.
    fn takes(&self, method: &Method, path: &str, body: &[u8]) -> Option<Bait> {
        let mut state = self.0.lock().expect("the trap");
        let has = |text: &str| text.is_empty() || String::from_utf8_lossy(body).contains(text);
        let bait =
            state.0.take_if(|bait| bait.method == method && path.contains(bait.path) && has(bait.text))?;
        state.1 = bait.when == When::Before;
        Some(bait)
    }

    /// What was sent has been answered: it was done, or the next one is caught.
    fn answered(&self, bait: Bait, done: bool) {
        let mut state = self.0.lock().expect("the trap");
        if done {
            state.1 = true;
        } else if state.0.is_none() {
            state.0 = Some(bait);
        }
    }

    /// A client whose calls pass the trap.
    pub(crate) fn client(&self, inner: Client) -> Client {
        let trap = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (trap, inner) = (trap.clone(), inner.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let caught = trap.takes(&head.method, head.uri.path(), &body);
                if caught.as_ref().is_some_and(|bait| bait.when == When::Before) {
                    std::future::pending::<()>().await;
                }
                let answer: Result<Response<Body>, kube::Error> =
                    inner.send(Request::from_parts(head, Body::from(body))).await;
                if let Some(bait) = caught {
                    let done = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
                    trap.answered(bait, done);
                    if done {
                        std::future::pending::<()>().await;
                    }
                }
                answer
            }
        });
        Client::new(service, "default")
    }
}
