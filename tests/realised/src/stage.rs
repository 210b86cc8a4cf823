//! The API server and the scheduler a plan is carried out on.

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use stowage_cluster::objects::{collection, prepared};
use stowage_cluster::{Cluster, Program};
use stowage_import::export::objects;
use stowage_models::snapshot::Snapshot;

/// Requests under way at once.
const AT_ONCE: usize = 24;
/// How often the pods are looked at.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// An API server with the real scheduler.
pub struct Stage {
    cluster: Cluster,
    client: Client,
}

/// A pod as the API server has it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) uid: String,
    pub(crate) node: Option<String>,
    /// The scheduler said it finds no place.
    pub(crate) refused: bool,
    /// In its words.
    pub(crate) why: String,
    pub(crate) tolerates: bool,
}

impl Stage {
    /// Starts it. The scheduler's client may ask more often than by default (50 times a second), because this is not about
    /// its speed.
    ///
    /// # Errors
    /// If the cluster does not start.
    pub async fn start() -> Result<Stage> {
        let builder = Cluster::builder()
            .scheduler(true)
            .argument(Program::Scheduler, "--kube-api-qps=400")
            .argument(Program::Scheduler, "--kube-api-burst=800");
        let cluster = builder.start().await?;
        let client = cluster.client();
        Ok(Stage { cluster, client })
    }

    /// Where the logs are.
    #[must_use]
    pub fn directory(&self) -> String {
        self.cluster.directory().display().to_string()
    }

    /// Creates a cluster, its pods that wait last.
    pub(crate) async fn create(&self, snapshot: &Snapshot) -> Result<()> {
        let mut stages: [Vec<Value>; 3] = Default::default();
        for object in objects(snapshot) {
            let stage = match object["kind"].as_str().unwrap_or_default() {
                // It outlives the case before: a namespace is not deleted at once.
                "Namespace" if self.has(&object).await => continue,
                "Namespace" | "Node" | "CSINode" | "StorageClass" | "PersistentVolume" => 0,
                "PersistentVolumeClaim" => 1,
                "Pod" => 2,
                // Not served here, and of no interest to the scheduler.
                _ => continue,
            };
            stages[stage].push(prepared(object, |name| claim_of(snapshot, name)));
        }
        let (bound, waiting): (Vec<Value>, Vec<Value>) =
            std::mem::take(&mut stages[2]).into_iter().partition(|pod| !pod["spec"]["nodeName"].is_null());
        for list in [&stages[0], &stages[1], &bound] {
            self.create_all(list).await?;
        }
        // What a pod needs must be in the scheduler's cache before the pod is; there is no word for "caught up".
        tokio::time::sleep(Duration::from_millis(700)).await;
        self.create_all(&waiting).await
    }

    async fn has(&self, object: &Value) -> bool {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.get(&format!("/api/v1/namespaces/{name}")).await.is_ok()
    }

    async fn create_all(&self, objects: &[Value]) -> Result<()> {
        let create = |object: &Value| {
            let (path, body) = (collection(object).map_err(anyhow::Error::msg), object.to_string());
            async move { self.request(http::Method::POST, &path?, "application/json", body).await.map(drop) }
        };
        stream::iter(objects.iter().map(create))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    /// Creates nodes one after the other.
    pub(crate) async fn add_nodes(&self, nodes: &Snapshot, pause: Duration) -> Result<()> {
        for object in objects(nodes) {
            self.create_all(&[object]).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// All that a case has left on the API server goes, but its namespace.
    pub(crate) async fn clear(&self, space: &str) -> Result<()> {
        let lists = [
            format!("/api/v1/namespaces/{space}/pods"),
            format!("/api/v1/namespaces/{space}/persistentvolumeclaims"),
            "/api/v1/persistentvolumes".to_owned(),
            "/api/v1/nodes".to_owned(),
            "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        ];
        for list in lists {
            // Nobody here ends pods gracefully, nor takes finalizers off what a pod used.
            let named = self.get(&list).await?;
            let strip = json!({"metadata": {"finalizers": null}}).to_string();
            let gone = json!({"gracePeriodSeconds": 0}).to_string();
            let end = |name: String| {
                let (path, strip, gone) = (format!("{list}/{name}"), strip.clone(), gone.clone());
                async move {
                    self.request(http::Method::PATCH, &path, "application/merge-patch+json", strip).await?;
                    self.request(http::Method::DELETE, &path, "application/json", gone).await.map(drop)
                }
            };
            let names = named["items"].as_array().cloned().unwrap_or_default();
            let names = names.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned));
            stream::iter(names.map(end)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        }
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.request(http::Method::GET, path, "application/json", String::new()).await
    }

    pub(crate) async fn request(
        &self,
        method: http::Method,
        path: &str,
        content: &str,
        body: String,
    ) -> Result<Value> {
        let request = http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header("content-type", content)
            .body(body.clone().into_bytes())?;
        let answer = self.client.request::<Value>(request).await;
        answer.with_context(|| format!("{method} {path}: {body}"))
    }

    /// Binds a pod; a pod the scheduler has bound meanwhile is bound.
    pub(crate) async fn bind(&self, space: &str, pod: &str, binding: &Value) -> Result<()> {
        let path = format!("/api/v1/namespaces/{space}/pods/{pod}/binding");
        match self.request(http::Method::POST, &path, "application/json", binding.to_string()).await {
            Ok(_) => Ok(()),
            Err(why) => match why.downcast_ref::<kube::Error>() {
                Some(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                _ => Err(why),
            },
        }
    }

    /// The pods of a namespace by name.
    pub(crate) async fn pods(&self, space: &str) -> Result<BTreeMap<String, Seen>> {
        let list = self.get(&format!("/api/v1/namespaces/{space}/pods")).await?;
        let items = list["items"].as_array().context("a list of pods")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let refusal =
                conditions.iter().find(|one| one["type"] == "PodScheduled" && one["status"] == "False");
            let seen = Seen {
                uid: text(&pod["metadata"]["uid"]),
                node: pod["spec"]["nodeName"].as_str().map(str::to_owned),
                refused: refusal.is_some(),
                why: refusal.map(|one| text(&one["message"])).unwrap_or_default(),
                tolerates: pod["spec"]["tolerations"].is_array(),
            };
            (text(&pod["metadata"]["name"]), seen)
        };
        Ok(items.iter().map(seen).collect())
    }

    /// Waits until `done`, or until nothing changed for `quiet`.
    pub(crate) async fn settle(
        &self,
        space: &str,
        quiet: Duration,
        done: impl Fn(&BTreeMap<String, Seen>) -> bool,
    ) -> Result<BTreeMap<String, Seen>> {
        let (mut since, mut before) = (Instant::now(), None);
        loop {
            let pods = self.pods(space).await?;
            let now: Vec<Option<String>> = pods.values().map(|pod| pod.node.clone()).collect();
            if before.as_ref() != Some(&now) {
                (since, before) = (Instant::now(), Some(now));
            }
            if done(&pods) || since.elapsed() > quiet {
                return Ok(pods);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The claim that is bound to a volume.
fn claim_of(snapshot: &Snapshot, volume: &str) -> Option<(String, String)> {
    let claim = snapshot.volume_claims.iter().find(|claim| claim.volume.as_deref() == Some(volume))?;
    Some((claim.namespace.clone(), claim.name.clone()))
}
