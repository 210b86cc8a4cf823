//! Settings.

use std::time::Duration;

/// What the cloud must know of the cluster. The names are Karpenter's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `CLUSTER_NAME`: in tags and user data.
    pub cluster: String,
    /// `CLUSTER_ENDPOINT`: where nodes find the API server.
    pub endpoint: String,
    /// `CLUSTER_CA_BUNDLE`: certificate of the API server's authority, in base64.
    pub ca_bundle: String,
    /// Addresses of services, such as `10.100.0.0/16`; nodes with AL2023 ask for it.
    pub service_cidr: Option<String>,
    /// `INTERRUPTION_QUEUE`: name of the SQS queue to which EventBridge sends what happens to machines; without, nobody listens.
    pub queue: Option<String>,
    /// `CLUSTER_ARN` where `ENABLE_ZONAL_SHIFT`: the cluster whose zonal shifts are asked for; without, nobody asks.
    pub zonal_shift: Option<String>,
    /// Version of Kubernetes as `1.36`, for the paths of images.
    pub version: String,
    /// Region; without, the SDK finds it.
    pub region: Option<String>,
    /// Instead of AWS's own addresses: all services are asked there.
    pub aws_endpoint: Option<String>,
    /// Whether requests are signed with a made-up key, for a cloud that checks none. Otherwise the SDK looks where it always does:
    /// environment, files, web identity, pod identity, instance.
    pub fake_credentials: bool,
    /// A read takes no longer.
    pub read_deadline: Duration,
    /// A write takes no longer. Fleets of real EC2 take seconds.
    pub write_deadline: Duration,
    /// How long what was looked up is believed: images, security groups, subnets.
    pub cache: Duration,
    /// A launch template that was not used for this long is deleted.
    pub template_unused: Duration,
}

impl Settings {
    /// Settings for a cluster, everything else as usual.
    #[must_use]
    pub fn new(cluster: &str, version: &str) -> Settings {
        Settings {
            cluster: cluster.to_owned(),
            endpoint: String::new(),
            ca_bundle: String::new(),
            service_cidr: None,
            queue: None,
            zonal_shift: None,
            version: version.to_owned(),
            region: None,
            aws_endpoint: None,
            fake_credentials: false,
            read_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(30),
            cache: Duration::from_secs(60),
            template_unused: Duration::from_secs(3600),
        }
    }
}
