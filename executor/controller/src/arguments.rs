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
  --enable-zonal-shift      Launch nothing in zones that ARC shifts the cluster away from, and keep nodes there
                            [env: ENABLE_ZONAL_SHIFT; default: false]
  --cluster-arn ARN         ARN of the cluster, for that [env: CLUSTER_ARN]
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
        let mut arn = from("CLUSTER_ARN");
        let mut shifts =
            from("ENABLE_ZONAL_SHIFT").map_or(Ok(false), |value| switch("ENABLE_ZONAL_SHIFT", &value))?;
        while let Some(argument) = given.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            if matches!(name.as_str(), "-h" | "--help") {
                return Ok(None);
            }
            if name == "--enable-zonal-shift" {
                // A switch: what follows is the next argument.
                shifts = inline.map_or(Ok(true), |value| switch(&name, &value))?;
                continue;
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
                "--cluster-arn" => arn = Some(value),
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
        if shifts {
            settings.zonal_shift = Some(cluster_arn(arn.as_deref(), &settings.cluster)?);
        }
        if !settings.cluster.is_empty() {
            found.aws = Some(settings);
        }
        Ok(Some(found))
    }
}

/// Yes or no, as Karpenter's flags spell it.
fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{name}: {value} is neither true nor false\n  hint: use true or false")),
    }
}

/// The ARN of the cluster of that name. Nothing else asks EKS for anything, so it is not asked for that either; but the shifts of another cluster
/// would close the wrong zones.
fn cluster_arn(arn: Option<&str>, cluster: &str) -> Result<String, String> {
    let hint =
        "--cluster-arn ARN, or CLUSTER_ARN: `aws eks describe-cluster --name NAME --query cluster.arn`";
    let Some(arn) = arn.filter(|arn| !arn.is_empty()) else {
        return Err(format!("zonal shifts are asked for by the ARN of the cluster\n  hint: {hint}"));
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let is_it = matches!(parts[..], ["arn", _, "eks", _, _, resource]
        if resource.strip_prefix("cluster/").is_some_and(|name| !name.is_empty() && name == cluster));
    if is_it {
        Ok(arn.to_owned())
    } else {
        Err(format!("{arn} is not the ARN of cluster {cluster:?}\n  hint: {hint}"))
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
    fn zonal_shifts_are_asked_for_where_that_is_said_and_of_this_cluster() {
        const ARN: &str = "arn:aws:eks:us-east-1:111122223333:cluster/demo";
        let shifts = |text: &str, environment: &[(&str, &str)]| {
            let environment = [&[("CLUSTER_NAME", "demo"), ("CLUSTER_ARN", ARN)], environment].concat();
            parse(text, &environment).map(|found| found.expect("no help").aws.expect("a cloud").zonal_shift)
        };
        let on = Ok(Some(ARN.to_owned()));
        assert_eq!(shifts("", &[]), Ok(None), "an ARN alone asks for nothing");
        assert_eq!(shifts("", &[("ENABLE_ZONAL_SHIFT", "true")]), on);
        assert_eq!(shifts("", &[("ENABLE_ZONAL_SHIFT", "false")]), Ok(None));
        assert_eq!(shifts("--enable-zonal-shift --mode auto", &[]), on);
        assert_eq!(shifts("--enable-zonal-shift=true --mode auto", &[]), on);
        assert_eq!(shifts("--enable-zonal-shift=false", &[("ENABLE_ZONAL_SHIFT", "true")]), Ok(None));
        assert!(shifts("--enable-zonal-shift=perhaps", &[]).is_err());
        assert!(shifts("", &[("ENABLE_ZONAL_SHIFT", "yes")]).is_err());
        let other = |arn: &str| shifts(&format!("--enable-zonal-shift --cluster-arn {arn}"), &[]);
        assert_eq!(other("arn:aws-cn:eks:cn-north-1:1:cluster/demo").map(|arn| arn.is_some()), Ok(true));
        for wrong in [
            "arn:aws:eks:us-east-1:111122223333:cluster/other",
            "arn:aws:eks:us-east-1:111122223333:cluster/",
            "arn:aws:iam::111122223333:role/demo",
            "demo",
        ] {
            assert!(other(wrong).expect_err(wrong).contains("hint:"), "{wrong}");
        }
        let none = parse("--enable-zonal-shift", &[("CLUSTER_NAME", "demo")]);
        assert!(none.expect_err("no ARN").contains("--cluster-arn"));
        assert!(parse("--enable-zonal-shift", &[("CLUSTER_ARN", ARN)]).is_err(), "of no cluster");
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
