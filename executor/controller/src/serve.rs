//! `/metrics`, `/healthz`, `/readyz`.

use crate::health::Health;
use crate::metrics::Metrics;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once; more wait.
const CONNECTIONS_MAX: usize = 32;
/// A connection is closed after this long.
const CONNECTION: Duration = Duration::from_secs(30);

/// Serves until the future is dropped. Gives the address it listens on to `listening` first.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    health: Health,
    listening: impl FnOnce(SocketAddr),
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    listening(listener.local_addr()?);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (metrics, health) = (metrics.clone(), health.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &metrics, &health);
                std::future::ready(answer)
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // What becomes of a connection is its caller's business.
            let _ = tokio::time::timeout(CONNECTION, connection).await;
            drop(permit);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    metrics: &Metrics,
    health: &Health,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (status, text) = match request.uri().path() {
        "/metrics" => (200, metrics.render()),
        "/healthz" => state(health.alive(), &[]),
        "/readyz" => state(health.ready(), &health.degraded()),
        _ => (404, "try /metrics, /healthz or /readyz\n".to_owned()),
    };
    let response = Response::builder().status(status).header("content-type", "text/plain; version=0.0.4");
    response.body(Full::new(Bytes::from(text)))
}

/// What is degraded is said beside, and is no reason to be left out.
fn state(trouble: Result<(), String>, degraded: &[String]) -> (u16, String) {
    match trouble {
        Ok(()) => {
            let lines = degraded.iter().map(|line| format!("degraded: {line}\n"));
            (200, ["ok\n".to_owned()].into_iter().chain(lines).collect())
        }
        Err(trouble) => (503, format!("{trouble}\n")),
    }
}
