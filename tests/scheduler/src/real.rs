//! The real scheduler's decision.

use crate::{Case, Decision};
use anyhow::{Context as _, Result, bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use stowage_cluster::Cluster;
use stowage_cluster::objects::{collection, prepared};
use stowage_import::export::objects;

/// Requests under way at once: enough to keep two cores busy.
const AT_ONCE: usize = 24;
/// How long the scheduler may take for a batch.
const DECIDES_WITHIN: Duration = Duration::from_secs(90);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// An API server with the real scheduler and nothing else: no controller interferes, no kubelet is needed.
pub struct Arena {
    cluster: Cluster,
    client: Client,
}

impl Arena {
    /// Starts it.
    ///
    /// # Errors
    /// If the cluster does not start.
    pub async fn start() -> Result<Arena> {
        let cluster = Cluster::builder().scheduler(true).start().await?;
        let client = cluster.client();
        Ok(Arena { cluster, client })
    }

    /// What the scheduler decides for each case, by name. Cases must have different names. All their objects are gone
    /// afterwards.
    ///
    /// # Errors
    /// If the API server refuses an object, or the scheduler does not decide in time.
    pub async fn decide(&self, cases: &[Case]) -> Result<BTreeMap<String, Decision>> {
        // What a pod needs must be in the scheduler's cache before the pod is.
        let mut stages: [Vec<Value>; 3] = Default::default();
        for case in cases {
            for object in objects(&case.snapshot) {
                let claim_of = |volume: &str| {
                    Some((format!("{}-a", case.name), volume.strip_suffix("-volume")?.to_owned()))
                };
                stages[stage(&object)].push(prepared(object, claim_of));
            }
        }
        for stage in &stages[..2] {
            self.create_all(stage).await?;
        }
        self.settle().await;
        self.create_all(&stages[2]).await?;
        let decisions = self.decisions(cases).await;
        for stage in stages.iter().rev() {
            self.delete_all(stage).await?;
        }
        decisions
    }

    /// The scheduler's informers have no word for "caught up"; its cache is behind the API server by milliseconds.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(700)).await;
    }

    async fn create_all(&self, objects: &[Value]) -> Result<()> {
        stream::iter(objects.iter().map(|object| self.request(http::Method::POST, object)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    /// Namespaces stay: without a controller nobody finishes their deletion.
    async fn delete_all(&self, objects: &[Value]) -> Result<()> {
        let gone = objects.iter().filter(|object| object["kind"] != "Namespace");
        stream::iter(gone.map(|object| self.request(http::Method::DELETE, object)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    async fn request(&self, method: http::Method, object: &Value) -> Result<()> {
        let collection = collection(object).map_err(anyhow::Error::msg)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let (path, body) = if method == http::Method::POST {
            (collection, object.to_string())
        } else {
            (format!("{collection}/{name}"), json!({"gracePeriodSeconds": 0}).to_string())
        };
        let request = http::Request::builder()
            .method(method.clone())
            .uri(&path)
            .header("content-type", "application/json")
            .body(body.into_bytes())?;
        let answer = self.client.request::<Value>(request).await;
        match answer {
            Err(kube::Error::Api(status)) if method == http::Method::POST && status.code == 409 => {
                // A namespace of an earlier attempt with the same case.
                ensure!(object["kind"] == "Namespace", "{path}: {status}");
                Ok(())
            }
            answer => answer.map(drop).with_context(|| format!("{method} {path}: {object}")),
        }
    }

    /// Waits until every waiting pod is bound, reserved, or found unschedulable.
    async fn decisions(&self, cases: &[Case]) -> Result<BTreeMap<String, Decision>> {
        let start = Instant::now();
        let pods: Api<Pod> = Api::all(self.client.clone());
        let claims: Api<PersistentVolumeClaim> = Api::all(self.client.clone());
        loop {
            let all = pods.list(&ListParams::default()).await?.items;
            let claims = claims.list(&ListParams::default()).await?.items;
            let mut decided = BTreeMap::new();
            for case in cases {
                let waiting = case.snapshot.pods.iter().find(|pod| pod.node.is_none());
                let waiting = waiting.context("no pod waits")?;
                let is_it = |pod: &&Pod| {
                    pod.metadata.name.as_ref() == Some(&waiting.name)
                        && pod.metadata.namespace.as_ref() == Some(&waiting.namespace)
                };
                if let Some(decision) = all.iter().find(is_it).and_then(|pod| decision(pod, &claims)) {
                    decided.insert(case.name.clone(), decision);
                }
            }
            if decided.len() == cases.len() {
                return Ok(decided);
            }
            if start.elapsed() > DECIDES_WITHIN {
                let missing: Vec<&str> = cases
                    .iter()
                    .map(|case| case.name.as_str())
                    .filter(|name| !decided.contains_key(*name))
                    .collect();
                bail!(
                    "the scheduler did not decide in time: {missing:?}; see {}",
                    self.cluster.directory().display()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Pods that wait come last, after everything they may depend on.
fn stage(object: &Value) -> usize {
    match object["kind"].as_str() {
        Some("Pod") if object["spec"]["nodeName"].is_null() => 2,
        Some("Pod" | "PersistentVolumeClaim") => 1,
        _ => 0,
    }
}

/// The decision a pod's state shows, if any yet.
fn decision(pod: &Pod, claims: &[PersistentVolumeClaim]) -> Option<Decision> {
    if let Some(node) = pod.spec.as_ref()?.node_name.clone() {
        return Some(Decision::Node(node));
    }
    // A pod whose claim is still to be provisioned is reserved for a node until that is done; nobody does it here.
    let names: Vec<&str> = pod
        .spec
        .as_ref()?
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
        .collect();
    let reserved = claims
        .iter()
        .filter(|claim| claim.metadata.namespace == pod.metadata.namespace)
        .filter(|claim| claim.metadata.name.as_deref().is_some_and(|name| names.contains(&name)))
        .find_map(|claim| claim.metadata.annotations.as_ref()?.get("volume.kubernetes.io/selected-node"));
    if let Some(node) = reserved {
        return Some(Decision::Node(node.clone()));
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    (scheduled.status == "False").then(|| Decision::Nowhere(scheduled.message.clone().unwrap_or_default()))
}
