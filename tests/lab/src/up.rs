//! Everything, in one process and its children: the control plane, the cloud, the machines' kubelets, the controller.

use crate::place::Place;
use crate::{Up, apply, machines};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use stowage_aws::Aws;
use stowage_cluster::{Cluster, Kubelet, eventually};
use stowage_controller::{Controller, Lease, Options, logs};
use stowage_executor::{Mode, Settings};
use stowage_fake_cloud::{FakeCloud, Script};
use stowage_models::catalog::Catalog;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long the API server may take to serve new kinds.
const KINDS: Duration = Duration::from_secs(60);
/// The cluster's name, in tags and user data.
const NAME: &str = "lab";

/// How the line begins that says so.
pub(crate) const READY: &str = "ready";

/// What is applied first: the kinds, as the chart installs them.
const DEFINITIONS: [(&str, &str); 5] = [
    ("NodePool", include_str!("../../../charts/stowage-crd/templates/karpenter.sh_nodepools.yaml")),
    ("NodeClaim", include_str!("../../../charts/stowage-crd/templates/karpenter.sh_nodeclaims.yaml")),
    (
        "EC2NodeClass",
        include_str!("../../../charts/stowage-crd/templates/karpenter.k8s.aws_ec2nodeclasses.yaml"),
    ),
    ("Plan", include_str!("../../../charts/stowage-crd/templates/stowage.dev_plans.yaml")),
    ("PlanPolicy", include_str!("../../../charts/stowage-crd/templates/stowage.dev_planpolicies.yaml")),
];
/// What nodes may be.
const NODE_POOL: &str = include_str!("../manifests/nodepool.yaml");

/// Runs a lab until it is asked to stop: by a signal, or over its socket. On the way out, of an error too, everything started ends and every
/// file is removed.
pub(crate) fn up(place: &Place, options: &Up) -> Result<(), String> {
    let mut claim = place.claim()?;
    let asked = claim.asked();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot begin: {error}"))?;
    let outcome = runtime.block_on(async {
        let stop = stopped(asked)?;
        live(place, options, stop).await
    });
    drop(runtime);
    drop(claim);
    // Whoever asked sees the connection close: at the end of this process, and not a moment before.
    std::mem::forget(outcome?);
    Ok(())
}

/// Waits until somebody wants an end; over the socket, with the connection.
fn stopped(
    mut asked: mpsc::UnboundedReceiver<UnixStream>,
) -> Result<impl Future<Output = Option<UnixStream>>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen to signals: {error}"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        let stream = tokio::select! {
            stream = asked.recv() => stream,
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
        };
        eprintln!("stopping");
        stream
    })
}

/// A lab's life.
async fn live<S>(place: &Place, options: &Up, stop: impl Future<Output = S>) -> Result<S, String> {
    let mut stop = std::pin::pin!(stop);
    let starting = start(place, options);
    let lab = tokio::select! {
        lab = starting => lab?,
        stop = &mut stop => return Ok(stop),
    };
    let (metrics, health) = (lab.controller.metrics(), lab.controller.health());
    let mut running = tokio::spawn(lab.controller.run());
    let address = SocketAddr::from(([127, 0, 0, 1], options.metrics_port));
    let (listens, listening) = tokio::sync::oneshot::channel();
    let ready = async {
        let address = listening.await.map_err(|_| "the controller does not listen".to_owned())?;
        let text = std::fs::read_to_string(lab.cluster.kubeconfig());
        place.write_kubeconfig(&text.map_err(|error| format!("cannot read the kubeconfig: {error}"))?)?;
        println!("fake EC2: {}", lab.cloud.endpoint());
        println!("metrics: http://{address}/metrics");
        println!("kubeconfig: {}", place.kubeconfig().display());
        println!("{READY}; now .ci/lab apply tests/lab/manifests/sample.yaml, .ci/lab status, .ci/lab down");
        std::future::pending::<Result<(), String>>().await
    };
    let serving = stowage_controller::serve(address, metrics, health, |address| {
        let _ = listens.send(address);
    });
    let outcome = tokio::select! {
        stop = &mut stop => Ok(stop),
        Err(error) = ready => Err(error),
        served = serving => {
            let why = served.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
            Err(format!("cannot listen on {address}: {why}\n  hint: --metrics-port takes another port; 0 finds one"))
        }
        _ = &mut running => Err("the controller ended by itself; above is what it said".to_owned()),
    };
    // Nothing of the lab is kept, so what is under way need not be waited for.
    running.abort();
    lab.booting.abort();
    drop(lab.lease);
    outcome
}

/// What lives until the end.
struct Lab {
    controller: Controller,
    lease: Lease,
    booting: tokio::task::JoinHandle<()>,
    cloud: Arc<FakeCloud>,
    cluster: Cluster,
}

/// Starts everything but the loop of the controller.
async fn start(place: &Place, options: &Up) -> Result<Lab, String> {
    logs::start(logs::Format::Text, logs::LevelFilter::INFO);
    // First what fails at once.
    let address = SocketAddr::from(([127, 0, 0, 1], options.cloud_port));
    let catalog = Catalog::embedded().clone();
    let cloud = FakeCloud::start_at(Script::default(), catalog.clone(), address).await;
    let cloud = Arc::new(cloud.map_err(|error| {
        format!("cannot listen on {address}: {error}\n  hint: --cloud-port takes another port; 0 finds one")
    })?);
    println!("starting a control plane (some 10 s); everything is in {}", place.directory().display());
    let builder = Cluster::builder().controller_manager(true).scheduler(true);
    let cluster = builder.start().await.map_err(|error| crate::told(&error))?;
    let client = cluster.client();
    for (kind, text) in DEFINITIONS {
        apply::apply(&client, &format!("definition of {kind}"), text).await?;
    }
    served(&client).await?;
    apply::apply(&client, "nodepool.yaml", NODE_POOL).await?;

    let booting = tokio::spawn(machines::boot(cloud.clone(), Kubelet::start(client.clone())));
    let version = stowage_controller::version(&client).await.map_err(|error| crate::told(&error))?;
    let aws = Aws::connect(
        stowage_aws::Settings {
            // Nobody ever connects: the machines are made up.
            endpoint: "https://lab.example".to_owned(),
            region: Some(Script::default().region),
            aws_endpoint: Some(cloud.endpoint()),
            fake_credentials: true,
            queue: Script::default().queues.into_iter().next(),
            ..stowage_aws::Settings::new(NAME, &version)
        },
        catalog,
    )
    .await;
    let aws = Arc::new(aws);
    for stale in &aws.refresh().await.stale {
        eprintln!("planning with {stale}");
    }
    let lease = Lease::start(cluster.client(), "kube-system", "stowage-controller", NAME);
    let options = Options::new(Settings { mode: Mode::Auto, ..Settings::default() });
    let controller = Controller::new(cluster.client(), aws, lease.leadership(), options);
    Ok(Lab { controller, lease, booting, cloud, cluster })
}

/// Waits until the API server serves all kinds.
async fn served(client: &Client) -> Result<(), String> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let all = || async {
        let found = definitions.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let waiting = found.iter().filter(|definition| {
            let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            !conditions.any(|one| one.type_ == "Established" && one.status == "True")
        });
        let waiting: Vec<String> = waiting.map(|definition| definition.name_any()).collect();
        if waiting.is_empty() { Ok(()) } else { Err(waiting.join(", ")) }
    };
    eventually("custom resources served", KINDS, all).await.map_err(|error| crate::told(&error))
}
