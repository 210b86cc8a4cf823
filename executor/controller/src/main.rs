//! `stowage-controller`. In shadow mode it plans what waits and publishes plans, and changes nothing else, so it may run
//! beside Karpenter. It has no cloud yet, so other modes are refused.

use kube::{Client, Config};
use std::process::ExitCode;
use std::time::Duration;
use stowage_controller::{Controller, Lease, Options};
use stowage_executor::{Cloud, CloudError, Failure, Instance, Mode, Reason, Settings};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;

const HELP: &str = "\
Plans the pods of a cluster that wait, and publishes the plans: `kubectl get plans`.

Usage: stowage-controller [--mode shadow] [--namespace NAME]

  --mode MODE       shadow: plan, publish, change nothing else (the only mode so far)
  --namespace NAME  Where the lease is [default: kube-system]
  -h, --help        Print this

The cluster is that of KUBECONFIG, ~/.kube/config, or the pod's service account. The custom resources in charts/stowage-crd
must be installed.
";

/// How long a plan may take.
const PLAN_TIME: Duration = Duration::from_secs(2);
/// How long a request to the API server may take, watches aside.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The cloud of a controller that never launches.
struct NoCloud;

const NONE: &str = "this controller has no cloud";

impl Cloud for NoCloud {
    async fn launch(&self, _: &str, _: &str) -> Result<Instance, Failure> {
        Err(Failure::Later(NONE.to_owned()))
    }

    async fn terminate(&self, _: &str, _: Reason) -> Result<(), CloudError> {
        Err(CloudError(NONE.to_owned()))
    }

    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        Err(CloudError(NONE.to_owned()))
    }
}

/// The namespace of the lease; `None`: help was asked for.
fn arguments() -> Result<Option<String>, String> {
    let mut namespace = "kube-system".to_owned();
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        if matches!(name.as_str(), "-h" | "--help") {
            return Ok(None);
        }
        let hint = "see `stowage-controller --help`";
        let value =
            inline.or_else(|| given.next()).ok_or_else(|| format!("{name} needs a value\n  hint: {hint}"))?;
        match name.as_str() {
            "--mode" if value == "shadow" => {}
            "--mode" => return Err(format!("mode {value} is not there yet\n  hint: use --mode shadow")),
            "--namespace" => namespace = value,
            _ => return Err(format!("{name} is not an argument\n  hint: {hint}")),
        }
    }
    Ok(Some(namespace))
}

async fn run(namespace: &str) -> Result<(), String> {
    let hint = "does `kubectl get nodes` work?";
    let mut config = Config::infer().await.map_err(|error| format!("{error}\n  hint: {hint}"))?;
    // Repeating is the step machine's business.
    config.default_retry = false;
    config.connect_timeout = Some(TIMEOUT);
    let client = || Client::try_from(config.clone()).map_err(|error| error.to_string());
    let identity = format!("{}-{}", std::env::var("HOSTNAME").unwrap_or_default(), std::process::id());
    let lease = Lease::start(client()?, namespace, "stowage-controller", &identity);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = Options {
        settings: Settings { mode: Mode::Shadow, ..Settings::default() },
        policy: Policy::default(),
        catalog: Catalog::embedded().clone(),
        plan_time: PLAN_TIME,
        threads,
    };
    Controller::new(client()?, NoCloud, lease.leadership(), options).run().await;
    Ok(())
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let outcome = match arguments() {
        Ok(Some(namespace)) => run(&namespace).await,
        Ok(None) => {
            print!("{HELP}");
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
