//! Clients, and how every call is made.

use crate::errors::{Kind, Trouble};
use crate::images::ImageKey;
use crate::limits::{Class, Limits};
use crate::network::{Network, NetworkKey};
use crate::reservations::Reserved;
use crate::settings::Settings;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_ec2::error::SdkError;
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stowage_models::catalog::Catalog;
use tokio::time::Instant;

/// Attempts of a read.
const ATTEMPTS: u32 = 3;
/// Pause before its second; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// What was looked up, with the time.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    pub(crate) images: BTreeMap<ImageKey, (Instant, String)>,
    pub(crate) networks: BTreeMap<NetworkKey, (Instant, Network)>,
    /// Capacity reservations by selector terms.
    pub(crate) reservations: BTreeMap<String, (Instant, Vec<Reserved>)>,
    /// Launch templates known to exist, and when they were last used.
    pub(crate) templates: BTreeMap<String, Instant>,
    /// Addresses promised to machines that EC2 does not count yet, by subnet: when.
    pub(crate) promised: BTreeMap<String, Vec<Instant>>,
    /// Subnets that had no address, and when that was said.
    pub(crate) dry: BTreeMap<String, Instant>,
    /// Address of the queue with messages about machines.
    pub(crate) queue: Option<String>,
}

/// AWS.
#[derive(Debug)]
pub struct Aws {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) pricing: aws_sdk_pricing::Client,
    pub(crate) arc: aws_sdk_arczonalshift::Client,
    pub(crate) settings: Settings,
    limits: Limits,
    caches: Mutex<Caches>,
    pub(crate) catalog: Mutex<Arc<Catalog>>,
}

impl Aws {
    /// Clients for these settings. Nothing is called yet, but for credentials and region, which the SDK may look up.
    /// `catalog` is what is planned with until [`Aws::refresh`] knows better.
    pub async fn connect(settings: Settings, catalog: Catalog) -> Aws {
        // One library of ciphers in the process: ring, as the Kubernetes client has it.
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::disabled());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &settings.aws_endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if settings.fake_credentials {
            loader = loader.credentials_provider(Credentials::new("fake", "fake", None, None, "fake"));
        }
        let config = loader.load().await;
        // The price list has few addresses, and this one knows all regions.
        let region = if settings.aws_endpoint.is_some() { config.region().cloned() } else { None };
        let pricing = aws_sdk_pricing::config::Builder::from(&config)
            .region(region.unwrap_or_else(|| Region::new("us-east-1")))
            .build();
        Aws {
            ec2: aws_sdk_ec2::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            pricing: aws_sdk_pricing::Client::from_conf(pricing),
            arc: aws_sdk_arczonalshift::Client::new(&config),
            settings,
            limits: Limits::default(),
            caches: Mutex::default(),
            catalog: Mutex::new(Arc::new(catalog)),
        }
    }

    /// Never held over a call.
    pub(crate) fn caches(&self) -> MutexGuard<'_, Caches> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that changes nothing: up to three attempts within the deadline.
    pub(crate) async fn read<T, E, F>(
        &self,
        call: &'static str,
        class: Class,
        ask: impl Fn() -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let end = Instant::now() + self.settings.read_deadline;
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            let trouble = match self.once(call, class, end, ask()).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let again = matches!(trouble.kind, Kind::Throttled | Kind::Transient);
            if !again || attempt == ATTEMPTS || Instant::now() + pause >= end {
                return Err(trouble);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// A call that changes something: once. The executor repeats it.
    pub(crate) async fn write<T, E>(
        &self,
        call: &'static str,
        class: Class,
        ask: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.once(call, class, Instant::now() + self.settings.write_deadline, ask).await
    }

    pub(crate) async fn once<T, E>(
        &self,
        call: &'static str,
        class: Class,
        end: Instant,
        ask: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let bucket = self.limits.of(class);
        let left = end.saturating_duration_since(Instant::now());
        let Some(wait) = bucket.take(left / 2) else {
            let text = format!("{call}: not sent, more calls wait than EC2 allows in time");
            return Err(Trouble::new(Kind::Throttled, text));
        };
        tokio::time::sleep(wait).await;
        let answer = tokio::time::timeout_at(end, ask).await;
        let outcome = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Trouble::of(call, &error)),
            Err(_) => Err(Trouble::new(Kind::Transient, format!("{call}: no answer in time"))),
        };
        if outcome.as_ref().is_err_and(|trouble| trouble.kind == Kind::Throttled) {
            bucket.drain();
        }
        outcome
    }
}
