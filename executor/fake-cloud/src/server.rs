//! HTTP around the cloud.

use crate::script::Script;
use crate::world::{Reply, Service, Then, World};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stowage_models::catalog::Catalog;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How often a long poll looks.
const POLL: Duration = Duration::from_millis(50);

/// The cloud, shared by all connections.
#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    begun: Instant,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A cloud that listens on loopback until it is dropped.
#[derive(Debug)]
pub struct FakeCloud {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl FakeCloud {
    /// Starts one on a free port, with the types and prices of the embedded catalogue.
    ///
    /// # Errors
    /// If no port of 127.0.0.1 can be listened on.
    pub async fn start(script: Script) -> std::io::Result<FakeCloud> {
        FakeCloud::start_at(script, Catalog::embedded().clone(), SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one with these types and prices, there.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start_at(
        script: Script,
        catalog: Catalog,
        address: SocketAddr,
    ) -> std::io::Result<FakeCloud> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let epoch = jiff::Timestamp::now().as_millisecond();
        let shared =
            Arc::new(Shared { world: Mutex::new(World::new(script, catalog, epoch)), begun: Instant::now() });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(FakeCloud { shared, address, task })
    }

    /// Where the SDK is to be sent.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks at the cloud, or changes it, as it is now.
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.shared.world();
        world.advance(self.shared.now());
        look(&mut world)
    }

    /// Milliseconds since its start.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.shared.now()
    }
}

impl Drop for FakeCloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the task that accepted them.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, shared.clone()));
    // A connection that ends early is the caller's business, or a fault of the script.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let target =
        request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = request.uri().path().to_owned();
    let (service, kind) = match &target {
        Some(_) => (Service::Json, "application/x-amz-json-1.1"),
        None if path.len() > 1 => (Service::Rest, "application/json"),
        None => (Service::Ec2, "text/xml;charset=UTF-8"),
    };
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let (body, target) = match service {
        Service::Rest => (path, "GetManagedResource".to_owned()),
        _ => (String::from_utf8_lossy(&body).into_owned(), target.unwrap_or_default()),
    };
    let mut reply = shared.world().call(shared.now(), service, &target, &body);
    if target == "AmazonSQS.ReceiveMessage" {
        let value: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let wait = Duration::from_secs(value["WaitTimeSeconds"].as_u64().unwrap_or(0));
        let begun = Instant::now();
        while reply.body == "{}" && reply.then == Then::Send && begun.elapsed() < wait {
            tokio::time::sleep(POLL).await;
            reply = shared.world().poll(shared.now(), &body);
        }
    }
    send(reply, kind).await
}

async fn send(reply: Reply, kind: &str) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let mut body = reply.body.into_bytes();
    let whole = body.len();
    match reply.then {
        Then::Send => {}
        Then::SendAfter(by) => tokio::time::sleep(Duration::from_millis(by)).await,
        Then::Close => return Err(std::io::Error::other("a fault of the script")),
        Then::Hang => std::future::pending().await,
        Then::SendHalf => body.truncate(body.len() / 2),
    }
    let response = Response::builder().status(reply.status).header("content-type", kind);
    // Of a cut answer too: whoever reads notices that the connection ends too early.
    let response = response.header("content-length", whole);
    response.body(Full::new(Bytes::from(body))).map_err(std::io::Error::other)
}
