//! `stowage-controller`. In shadow mode it plans what waits and publishes plans, and changes nothing else, so it may run beside Karpenter. In
//! auto mode it carries plans out on EC2.

mod arguments;

use arguments::Arguments;
use kube::{Client, Config};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use stowage_aws::Aws;
use stowage_controller::{Controller, Lease, Options, logs};
use stowage_executor::{Awaited, Cloud, CloudError, Failure, Instance, Launched, Reason, Settings};
use stowage_models::catalog::Catalog;
use tokio::signal::unix::{SignalKind, signal};

/// How long a request to the API server may take, watches aside.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often prices and offerings are looked up.
const REFRESH: Duration = Duration::from_secs(3600);

/// The cloud of a controller that never launches.
struct NoCloud;

const NONE: &str = "this controller has no cloud";

impl Cloud for NoCloud {
    fn launch<'a>(&'a self, _: &'a str, _: &'a str) -> Awaited<'a, Result<Launched, Failure>> {
        Box::pin(async move { Err(Failure::Later(NONE.to_owned())) })
    }

    fn terminate<'a>(&'a self, _: &'a str, _: Reason) -> Awaited<'a, Result<(), CloudError>> {
        Box::pin(async move { Err(CloudError(NONE.to_owned())) })
    }

    fn list(&self) -> Awaited<'_, Result<Vec<Instance>, CloudError>> {
        Box::pin(async move { Err(CloudError(NONE.to_owned())) })
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    logs::start(arguments.log_format, arguments.log_level);
    let hint = "does `kubectl get nodes` work?";
    let mut config = Config::infer().await.map_err(|error| format!("{error}\n  hint: {hint}"))?;
    // Repeating is the step machine's business.
    config.default_retry = false;
    config.connect_timeout = Some(TIMEOUT);
    let client = || Client::try_from(config.clone()).map_err(|error| error.to_string());
    let identity = format!("{}-{}", std::env::var("HOSTNAME").unwrap_or_default(), std::process::id());
    let settings = Settings { mode: arguments.mode, ..Settings::default() };
    let options = Options { namespace: arguments.namespace.clone(), ..Options::new(settings) };
    let address = arguments.listen;
    let lease = Lease::start(client()?, &arguments.namespace, "stowage-controller", &identity);
    if let Some(mut settings) = arguments.aws {
        let version = stowage_controller::version(&client()?).await;
        settings.version = version.map_err(|error| format!("{error}\n  hint: {hint}"))?;
        if settings.endpoint.is_empty() {
            settings.endpoint = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        }
        let cloud = Arc::new(Aws::connect(settings, Catalog::embedded().clone()).await);
        let refreshing = tokio::spawn(refresh(cloud.clone()));
        let controller = Controller::new(client()?, cloud, lease.leadership(), options);
        operate(controller, address).await?;
        refreshing.abort();
    } else {
        let controller = Controller::new(client()?, Arc::new(NoCloud), lease.leadership(), options);
        operate(controller, address).await?;
    }
    lease.release().await;
    Ok(())
}

/// Keeps prices and offerings fresh.
async fn refresh(cloud: Arc<Aws>) {
    loop {
        let outcome = cloud.refresh().await;
        for stale in &outcome.stale {
            tracing::warn!("planning with {stale}");
        }
        if outcome.unknown > 0 {
            tracing::info!("{} instance types are offered that this version does not know", outcome.unknown);
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// Runs a controller until the process is asked to stop.
async fn operate(controller: Controller, address: SocketAddr) -> Result<(), String> {
    let (metrics, health) = (controller.metrics(), controller.health());
    let listening =
        |address| tracing::info!("metrics and health: http://{address}/metrics, /healthz, /readyz");
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
    };
    tokio::select! {
        () = controller.run_until(stop) => Ok(()),
        served = stowage_controller::serve(address, metrics, health, listening) => {
            served.map_err(|error| format!("cannot listen on {address}: {error}\n  hint: --listen ADDRESS:PORT"))
        }
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(Some(arguments)) => run(arguments).await,
        Ok(None) => {
            print!("{}", arguments::HELP);
            Ok(())
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stowage-controller: {error}");
            ExitCode::FAILURE
        }
    }
}
