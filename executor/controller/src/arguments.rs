//! The command line of `stowage-controller`.

use std::net::SocketAddr;
use stowage_aws::Settings;
use stowage_controller::logs;
use stowage_executor::Mode;

pub(crate) const HELP: &str = "\
Plans the pods of a cluster that wait, publishes the plans (`kubectl get plans`), and carries them out on EC2 if told so.

Usage: stowage-controller [--mode shadow|review|auto] [--namespace NAME] [--cluster-name NAME ...]

  --mode MODE               shadow: plan, publish, change nothing else
                            review: launch what was approved (`kubectl stowage approve`)
                            auto: launch what was planned [default: shadow]
  --namespace NAME          Where the lease is [default: kube-system]
  --log-format FORMAT       text or json [default: text]
  --log-level LEVEL         error, warn, info or debug [env: LOG_LEVEL; default: info]
  --listen ADDRESS          Where /metrics, /healthz and /readyz are [default: 0.0.0.0:8080]
  -h, --help                Print this

With review and auto; with shadow, types and prices are then those of EC2 instead of the built-in ones:
  --cluster-name NAME       Name of the cluster, in tags and user data [env: CLUSTER_NAME]
  --cluster-endpoint URL    Where nodes find the API server [env: CLUSTER_ENDPOINT; default: where we find it]
  --cluster-ca-bundle TEXT  Certificate of its authority, in base64 [env: CLUSTER_CA_BUNDLE]
  --service-cidr CIDR       Addresses of services, for AL2023 [env: CLUSTER_SERVICE_CIDR]
  --interruption-queue NAME SQS queue with what EventBridge says of machines [env: INTERRUPTION_QUEUE; default: none]
  --region REGION           Region [default: where the AWS SDK finds it, AWS_REGION first]
  --aws-endpoint URL        Asked instead of AWS, for tests and labs; what is sent there is signed with a made-up key

The cluster is that of KUBECONFIG, ~/.kube/config, or the pod's service account; credentials for AWS are found as its SDK does. The
custom resources in charts/stowage-crd must be installed.
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Mode.
    pub(crate) mode: Mode,
    /// Namespace of the lease.
    pub(crate) namespace: String,
    /// Where metrics and health are.
    pub(crate) listen: SocketAddr,
    /// How logs look, and what is in them.
    pub(crate) log_format: logs::Format,
    pub(crate) log_level: logs::LevelFilter,
    /// EC2; in shadow mode it is asked for types and prices only.
    pub(crate) aws: Option<Settings>,
}

impl Arguments {
    /// Reads the arguments after the program's name; `None`: help was asked for.
    ///
    /// # Errors
    /// A text that ends in a hint.
    pub(crate) fn parse(
        mut given: impl Iterator<Item = String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Arguments>, String> {
        let hint = "see `stowage-controller --help`";
        let mut found = Arguments {
            mode: Mode::Shadow,
            namespace: "kube-system".to_owned(),
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            log_format: logs::Format::Text,
            log_level: logs::LevelFilter::INFO,
            aws: None,
        };
        let from = |name: &str| environment(name).filter(|value| !value.is_empty());
        let level = |name: &str| {
            let hint = "use error, warn, info or debug, with --log-level or LOG_LEVEL";
            logs::level(name).ok_or_else(|| format!("there is no log level {name}\n  hint: {hint}"))
        };
        if let Some(name) = from("LOG_LEVEL") {
            found.log_level = level(&name)?;
        }
        let mut settings = Settings::new(&from("CLUSTER_NAME").unwrap_or_default(), "");
        settings.endpoint = from("CLUSTER_ENDPOINT").unwrap_or_default();
        settings.ca_bundle = from("CLUSTER_CA_BUNDLE").unwrap_or_default();
        settings.service_cidr = from("CLUSTER_SERVICE_CIDR");
        settings.queue = from("INTERRUPTION_QUEUE");
        while let Some(argument) = given.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            if matches!(name.as_str(), "-h" | "--help") {
                return Ok(None);
            }
            let value = inline
                .or_else(|| given.next())
                .ok_or_else(|| format!("{name} needs a value\n  hint: {hint}"))?;
            match name.as_str() {
                "--mode" if value == "shadow" => found.mode = Mode::Shadow,
                "--mode" if value == "review" => found.mode = Mode::Review,
                "--mode" if value == "auto" => found.mode = Mode::Auto,
                "--mode" => {
                    return Err(format!("there is no mode {value}\n  hint: use shadow, review or auto"));
                }
                "--namespace" => found.namespace = value,
                "--listen" => {
                    let wrong = |error| format!("--listen {value}: {error}\n  hint: such as 127.0.0.1:8080");
                    found.listen = value.parse().map_err(wrong)?;
                }
                "--log-format" => {
                    let format = logs::Format::parse(&value);
                    found.log_format = format
                        .ok_or_else(|| format!("there is no log format {value}\n  hint: use text or json"))?;
                }
                "--log-level" => found.log_level = level(&value)?,
                "--cluster-name" => settings.cluster = value,
                "--cluster-endpoint" => settings.endpoint = value,
                "--cluster-ca-bundle" => settings.ca_bundle = value,
                "--service-cidr" => settings.service_cidr = Some(value),
                "--interruption-queue" => settings.queue = Some(value).filter(|name| !name.is_empty()),
                "--region" => settings.region = Some(value),
                "--aws-endpoint" => {
                    settings.fake_credentials = true;
                    settings.aws_endpoint = Some(value);
                }
                _ => return Err(format!("{name} is not an argument\n  hint: {hint}")),
            }
        }
        if found.mode != Mode::Shadow && settings.cluster.is_empty() {
            let text = "a mode that launches needs the name of the cluster\n  hint: --cluster-name NAME, or CLUSTER_NAME";
            return Err(text.to_owned());
        }
        if !settings.cluster.is_empty() {
            found.aws = Some(settings);
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Option<Arguments>, String> {
        let value = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Arguments::parse(text.split_whitespace().map(str::to_owned), value)
    }

    #[test]
    fn shadow_needs_nothing_and_auto_a_cluster() {
        let shadow = parse("", &[]).expect("arguments").expect("no help");
        assert_eq!((shadow.mode, shadow.aws), (Mode::Shadow, None));
        assert_eq!(parse("--mode auto -h", &[]), Ok(None));
        assert!(parse("--mode auto", &[]).expect_err("no name").contains("--cluster-name"));
        assert!(parse("--mode auto", &[("CLUSTER_NAME", "")]).is_err());
        let queue = |text: &str, environment: &[(&str, &str)]| {
            let environment = [&[("CLUSTER_NAME", "demo")], environment].concat();
            parse(text, &environment).expect("arguments").expect("no help").aws.expect("a cloud").queue
        };
        assert_eq!(queue("", &[]), None);
        assert_eq!(queue("", &[("INTERRUPTION_QUEUE", "a")]).as_deref(), Some("a"));
        assert_eq!(queue("--interruption-queue b", &[("INTERRUPTION_QUEUE", "a")]).as_deref(), Some("b"));
        let auto = parse("--mode=auto --region eu-west-1", &[("CLUSTER_NAME", "demo")]);
        let aws = auto.expect("arguments").expect("no help").aws.expect("a cloud");
        assert_eq!(
            (aws.cluster.as_str(), aws.region.as_deref(), aws.fake_credentials),
            ("demo", Some("eu-west-1"), false)
        );
        let shadow = parse("", &[("CLUSTER_NAME", "demo")]).expect("arguments").expect("no help");
        assert_eq!((shadow.mode, shadow.aws.is_some()), (Mode::Shadow, true));
        let lab = parse("--mode auto --cluster-name a --aws-endpoint http://127.0.0.1:1", &[]);
        assert!(lab.expect("arguments").expect("no help").aws.expect("a cloud").fake_credentials);
    }

    #[test]
    fn what_is_wrong_is_said_with_a_hint() {
        for text in [
            "--mode",
            "--mode manual",
            "--mode review",
            "--nonsense x",
            "--log-format xml",
            "--log-level loud",
            "--namespace",
            "--listen here",
        ] {
            assert!(parse(text, &[]).expect_err(text).contains("hint:"), "{text}");
        }
    }
}
