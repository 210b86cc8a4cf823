//! `stowage-record`: a snapshot of a live cluster, read-only.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use stowage_import::{Encoding, write_snapshot};

const HELP: &str = "\
Records a cluster as a snapshot, for `stowage plan`. Only reads: get and list of pods, nodes, namespaces, volumes and their
claims, DaemonSets, disruption budgets, storage and priority classes, NodePools, NodeClaims and EC2NodeClasses.

Usage: stowage-record [--kubeconfig FILE] [--context NAME] [--out FILE]

  --kubeconfig FILE  Use this kubeconfig [default: KUBECONFIG, ~/.kube/config, or the pod's service account]
  --context NAME     Use this context of it
  --out FILE         Write to FILE instead of stdout; a name that ends in .zst is compressed
  -h, --help         Print this

Environment variables, arguments, images, secrets and most annotations are not recorded.
";

/// Arguments.
#[derive(Default)]
struct Arguments {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    out: Option<PathBuf>,
    help: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let (name, mut inline) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        let mut value = || {
            let value = inline.take().or_else(|| given.next());
            value.ok_or_else(|| format!("{name} needs a value\n  hint: see `stowage-record --help`"))
        };
        match name.as_str() {
            "--kubeconfig" => arguments.kubeconfig = Some(value()?.into()),
            "--context" => arguments.context = Some(value()?),
            "--out" => arguments.out = Some(value()?.into()),
            "-h" | "--help" => arguments.help = true,
            _ => return Err(format!("{name} is not an argument\n  hint: see `stowage-record --help`")),
        }
    }
    Ok(arguments)
}

async fn client(arguments: &Arguments) -> Result<Client, String> {
    let options = KubeConfigOptions { context: arguments.context.clone(), ..KubeConfigOptions::default() };
    let hint = "name a kubeconfig with --kubeconfig; does `kubectl get nodes` work?";
    let config = match (&arguments.kubeconfig, &arguments.context) {
        (None, None) => Config::infer().await.map_err(|error| format!("{error}\n  hint: {hint}"))?,
        (file, _) => {
            let read = match file {
                Some(file) => Kubeconfig::read_from(file),
                None => Kubeconfig::read(),
            };
            let read = read.map_err(|error| format!("{error}\n  hint: {hint}"))?;
            let config = Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(|error| format!("{error}\n  hint: {hint}"))?
        }
    };
    Client::try_from(config).map_err(|error| error.to_string())
}

async fn run(arguments: &Arguments) -> Result<(), String> {
    let client = client(arguments).await?;
    let recorded = stowage_observe::record(&client).await.map_err(|error| error.to_string())?;
    let mut snapshot = recorded.imported.snapshot;
    snapshot.taken_at = Some(jiff::Timestamp::now().to_string());
    snapshot.origin = "recorded".to_owned();
    for kind in &recorded.absent {
        eprintln!("note: the cluster has no {kind}");
    }
    match &arguments.out {
        Some(path) => {
            let compressed = path.extension().is_some_and(|extension| extension == "zst");
            let bytes =
                write_snapshot(&snapshot, if compressed { Encoding::JsonZstd } else { Encoding::Json });
            std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        None => std::io::stdout()
            .write_all(&write_snapshot(&snapshot, Encoding::Json))
            .map_err(|error| format!("stdout: {error}"))?,
    }
    let (nodes, pods) = (snapshot.nodes.len(), snapshot.pods.len());
    let waiting = snapshot.pods.iter().filter(|pod| pod.is_pending()).count();
    eprintln!("recorded {nodes} nodes and {pods} pods, of which {waiting} wait");
    Ok(())
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let outcome = match arguments() {
        Ok(arguments) if arguments.help => {
            print!("{HELP}");
            Ok(())
        }
        Ok(arguments) => run(&arguments).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stowage-record: {error}");
            ExitCode::FAILURE
        }
    }
}
