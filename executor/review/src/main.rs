//! `kubectl stowage`: plans in review.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::process::ExitCode;
use stowage_review::cluster::{self, Failure};

const HELP: &str = "\
Looks at the plans of a cluster, approves and rejects them, and applies plan files; says why a pod waits, and why a node stays or goes.

Usage: kubectl stowage list
       kubectl stowage show PLAN
       kubectl stowage approve PLAN --digest DIGEST [--by NAME]
       kubectl stowage reject PLAN [--reason TEXT]
       kubectl stowage explain NAMESPACE/POD | NODE
       kubectl stowage apply FILE [--expire-after 15m] [--approve] [--by NAME]

  PLAN is the name of a Plan object, FILE a plan as `stowage plan -o json` writes it.

  --digest DIGEST      What is approved: the digest that `show` prints (12 digits of it are enough)
  --by NAME            Who approves, for people [default: USER]
  --reason TEXT        Why it is rejected
  --expire-after TIME  How long a plan file may be approved and begun, such as 30m or 2h
  --approve            Approve what is applied at once
  --kubeconfig FILE    Use this kubeconfig [default: KUBECONFIG, ~/.kube/config]
  --context NAME       Use this context of it
  -h, --help           Print this

Exit codes: 0 done, 1 error, 3 the plan is not the one named (stale), 4 refused by the cluster.
";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    words: Vec<String>,
    digest: Option<String>,
    by: Option<String>,
    reason: Option<String>,
    expire_after: Option<String>,
    approve: bool,
    kubeconfig: Option<String>,
    context: Option<String>,
}

impl Arguments {
    /// Reads what comes after the program's name; `None`: help was asked for.
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Arguments>, Failure> {
        let hint = "see `kubectl stowage --help`";
        let mut found = Arguments::default();
        while let Some(argument) = given.next() {
            if !argument.starts_with('-') {
                found.words.push(argument);
                continue;
            }
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            match name.as_str() {
                "-h" | "--help" => return Ok(None),
                "--approve" => {
                    found.approve = true;
                    continue;
                }
                _ => {}
            }
            let place = match name.as_str() {
                "--digest" => &mut found.digest,
                "--by" => &mut found.by,
                "--reason" => &mut found.reason,
                "--expire-after" => &mut found.expire_after,
                "--kubeconfig" => &mut found.kubeconfig,
                "--context" => &mut found.context,
                _ => return Err(Failure::new(format!("{name} is not an argument\n  hint: {hint}"))),
            };
            let value = inline.or_else(|| given.next());
            *place =
                Some(value.ok_or_else(|| Failure::new(format!("{name} needs a value\n  hint: {hint}")))?);
        }
        Ok(Some(found))
    }
}

async fn client(arguments: &Arguments) -> Result<Client, Failure> {
    let failed = |error: String| {
        let hint = "name a kubeconfig with --kubeconfig; does `kubectl get plans` work?";
        Failure::new(format!("{error}\n  hint: {hint}"))
    };
    let config = match (&arguments.kubeconfig, &arguments.context) {
        (None, None) => Config::infer().await.map_err(|error| failed(error.to_string()))?,
        (file, context) => {
            let read = match file {
                Some(file) => Kubeconfig::read_from(file),
                None => Kubeconfig::read(),
            };
            let read = read.map_err(|error| failed(error.to_string()))?;
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            let config = Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(|error| failed(error.to_string()))?
        }
    };
    Client::try_from(config).map_err(|error| failed(error.to_string()))
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    let by = || arguments.by.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let usage = || Failure::new("what is to be done?\n  hint: see `kubectl stowage --help`");
    let client = async || client(&arguments).await;
    match words[..] {
        ["list"] => print(&cluster::list(&client().await?).await?),
        ["show", plan] => print(&cluster::show(&client().await?, plan).await?),
        ["explain", what] => print(&stowage_review::explain(&client().await?, what).await?),
        ["approve", plan] => {
            let hint = "the one that `kubectl stowage show` prints for what you have read";
            let digest = arguments.digest.as_deref();
            let digest = digest.ok_or_else(|| Failure::new(format!("--digest is needed\n  hint: {hint}")))?;
            print(&cluster::approve(&client().await?, plan, digest, &by()).await?);
        }
        ["reject", plan] => {
            let reason = arguments.reason.as_deref().unwrap_or("rejected");
            print(&cluster::reject(&client().await?, plan, reason).await?);
        }
        ["apply", file] => {
            let bytes = std::fs::read(file).map_err(|error| Failure::new(format!("{file}: {error}")))?;
            let after = arguments.expire_after.as_deref().unwrap_or("15m");
            let seconds =
                stowage_models::schedule::duration(after).filter(|seconds| (60..=604_800).contains(seconds));
            let seconds = seconds.ok_or_else(|| {
                Failure::new(format!("--expire-after {after}: from 1m to 168h are possible"))
            })?;
            let plan = stowage_review::read_file(&bytes)
                .map_err(|error| Failure::new(format!("{file}: {error}")))?;
            let approve = arguments.approve.then(by);
            print(&cluster::apply(&client().await?, &plan, seconds, approve.as_deref()).await?);
        }
        _ => return Err(usage()),
    }
    Ok(())
}

/// Text of others reaches a terminal without what controls it.
/// Without what could steer a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|one| !one.is_control() || *one == '\n').collect()
}

fn print(text: &str) {
    print!("{}", plain(text));
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => run(arguments).await,
        Ok(None) => {
            print!("{HELP}");
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kubectl-stowage: {}", plain(&failure.text));
            ExitCode::from(failure.code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Arguments>, Failure> {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read_and_what_is_wrong_is_said_with_a_hint() {
        let approve = parse("approve plan-1 --digest sha256:1 --by=me").expect("arguments").expect("no help");
        assert_eq!(approve.words, ["approve", "plan-1"]);
        assert_eq!((approve.digest.as_deref(), approve.by.as_deref()), (Some("sha256:1"), Some("me")));
        assert!(parse("apply plan.json --approve").expect("arguments").expect("no help").approve);
        assert_eq!(parse("list -h"), Ok(None));
        for text in ["--nonsense x", "approve plan-1 --digest"] {
            assert!(parse(text).expect_err(text).text.contains("hint:"), "{text}");
        }
    }
}
