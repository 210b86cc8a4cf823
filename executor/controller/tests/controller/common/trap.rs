//! Catches a call to the API server on its way.

use super::LATER;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use std::sync::{Arc, Mutex};
use std::time::Instant;
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

#[derive(Debug, Default)]
struct State {
    bait: Option<Bait>,
    /// When what took the bait was sent.
    taken: Option<Instant>,
    sprung: bool,
}

/// Catches the next write of a kind: it never returns, and the controller that made it is ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trap(Arc<Mutex<State>>);

impl Trap {
    pub(crate) fn set(&self, method: Method, path: &'static str, when: When) {
        self.set_for(method, path, "", when);
    }

    /// The same for what has this text in it.
    pub(crate) fn set_for(&self, method: Method, path: &'static str, text: &'static str, when: When) {
        let bait = Some(Bait { method, path, text, when });
        *self.0.lock().expect("the trap") = State { bait, ..State::default() };
    }

    /// Catches nothing from now on.
    pub(crate) fn lift(&self) {
        self.0.lock().expect("the trap").bait = None;
    }

    /// One was caught; if that is [`When::After`], it has been done by now.
    pub(crate) fn sprung(&self) -> bool {
        self.0.lock().expect("the trap").sprung
    }

    /// When the one that was caught was sent.
    pub(crate) fn sent(&self) -> Option<Instant> {
        self.0.lock().expect("the trap").taken
    }

    /// Waits until it is.
    pub(crate) async fn caught(&self, what: &str) {
        let caught = async || self.sprung().then_some(()).ok_or_else(String::new);
        eventually(what, LATER, caught).await.expect("it is caught");
    }

    /// Takes the bait if this call is the one.
    fn takes(&self, method: &Method, path: &str, body: &[u8]) -> Option<(Bait, Instant)> {
        let mut state = self.0.lock().expect("the trap");
        let has = |text: &str| text.is_empty() || String::from_utf8_lossy(body).contains(text);
        let bait =
            state.bait.take_if(|bait| bait.method == method && path.contains(bait.path) && has(bait.text))?;
        let now = Instant::now();
        (state.taken, state.sprung) = (Some(now), bait.when == When::Before);
        Some((bait, now))
    }

    /// What was sent has been answered: it was done, or the next one is caught.
    fn answered(&self, (bait, sent): (Bait, Instant), done: bool) {
        let mut state = self.0.lock().expect("the trap");
        if state.taken != Some(sent) {
            // It was set anew meanwhile.
        } else if done {
            state.sprung = true;
        } else {
            *state = State { bait: Some(bait), ..State::default() };
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
                if caught.as_ref().is_some_and(|(bait, _)| bait.when == When::Before) {
                    std::future::pending::<()>().await;
                }
                let request = Request::from_parts(head, Body::from(body));
                let Some(caught) = caught else { return inner.send(request).await };
                // In a task of its own: whoever waits for it may give up, and what was sent is answered all the same.
                let sent = tokio::spawn(async move {
                    let answer: Result<Response<Body>, kube::Error> = inner.send(request).await;
                    let done = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
                    trap.answered(caught, done);
                    (answer, done)
                });
                let (answer, done) = sent.await.expect("it does not panic");
                if done {
                    std::future::pending::<()>().await;
                }
                answer
            }
        });
        Client::new(service, "default")
    }
}
