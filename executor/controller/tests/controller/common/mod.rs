//! What tests of the controller have in common.

pub(crate) mod machines;
pub(crate) mod outcome;
pub(crate) mod scene;
pub(crate) mod trap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use stowage_cluster::{Cluster, eventually};
use stowage_controller::{Options, logs};
use stowage_executor::Settings;
use stowage_fake_cloud::{Call, FakeCloud};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What takes moments.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// What takes a while on a busy machine.
pub(crate) const LATER: Duration = Duration::from_secs(240);

/// Control planes at a time: each is half a gigabyte, and what a test waits for must not wait for many others.
const TURNS: u32 = 2;

/// The turn of a control plane.
pub(crate) async fn alone() -> SemaphorePermit<'static> {
    turns(1).await
}

async fn turns(count: u32) -> SemaphorePermit<'static> {
    logs::start(logs::Format::Text, logs::LevelFilter::INFO);
    static TURN: Semaphore = Semaphore::const_new(TURNS as usize);
    TURN.acquire_many(count).await.expect("it is never closed")
}

/// The fake cloud as AWS.
pub(crate) fn aws_settings(cloud: &FakeCloud) -> stowage_aws::Settings {
    stowage_aws::Settings {
        endpoint: "https://api.example".to_owned(),
        region: Some("us-east-1".to_owned()),
        aws_endpoint: Some(cloud.endpoint()),
        fake_credentials: true,
        queue: Some("stowage".to_owned()),
        ..stowage_aws::Settings::new("demo", "1.36")
    }
}

pub(crate) fn options(settings: Settings) -> Options {
    Options { threads: 1, ..Options::new(settings) }
}

pub(crate) async fn create(client: &Client, plural: &str, object: Value) {
    let version = object["apiVersion"].as_str().expect("apiVersion").to_owned();
    let (group, version) = version.split_once('/').expect("a group");
    let kind = kube::core::GroupVersionKind::gvk(group, version, object["kind"].as_str().expect("kind"));
    let resource = kube::core::ApiResource::from_gvk_with_plural(&kind, plural);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let object = serde_json::from_value(object).expect("an object");
    // The API server refuses for some seconds while it gets to know a kind.
    let created = async || match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 429 => Err(status.message.clone()),
        other => Ok(other.map(drop)),
    };
    eventually(plural, SOON, created).await.expect(plural).expect(plural);
}

/// A node class that selects what the fake cloud has.
pub(crate) fn class() -> Value {
    json!({
        "role": "nodes", "amiSelectorTerms": [{ "alias": "al2023@latest" }],
        "subnetSelectorTerms": [{ "tags": { "karpenter.sh/discovery": "test" } }],
        "securityGroupSelectorTerms": [{ "tags": { "karpenter.sh/discovery": "test" } }],
    })
}

/// The subnet that a fleet names first.
pub(crate) fn first_subnet(call: &Call) -> &str {
    &call.parameters["LaunchTemplateConfigs.1.Overrides.1.SubnetId"]
}

pub(crate) async fn prepare(cluster: &Cluster, class: Value) {
    let client = cluster.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in stowage_api::definitions().expect("definitions") {
        let name = definition.name_any();
        definitions.create(&PostParams::default(), &definition).await.expect(&name);
        eventually(&name, SOON, || async {
            let found = definitions.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            let holds = conditions.iter().any(|one| one.type_ == "Established" && one.status == "True");
            holds.then_some(()).ok_or_else(String::new)
        })
        .await
        .expect("it is established");
    }
    create(&client, "ec2nodeclasses", json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": { "name": "default" }, "spec": class,
    }))
    .await;
    create(&client, "nodepools", json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default" },
        "spec": { "template": { "spec": {
            "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
            "requirements": [
                { "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"] },
                { "key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c", "m", "r"] },
                { "key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"] },
            ],
        } } },
    }))
    .await;
    cluster.create_namespace("test").await.expect("the namespace");
}

pub(crate) async fn pods(client: &Client, prefix: &str, count: usize) {
    let api: Api<Pod> = Api::namespaced(client.clone(), "test");
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..count {
        let (cpu, memory) = [("250m", "512Mi"), ("1", "1Gi"), ("500m", "4Gi"), ("2", "3Gi")][n % 4];
        let pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("{prefix}-{n:04}") },
            "spec": { "containers": [{
                "name": "main", "image": "example.com/image",
                "resources": { "requests": { "cpu": cpu, "memory": memory } },
            }] },
        }))
        .expect("a pod");
        let api = api.clone();
        tasks.spawn(async move { api.create(&PostParams::default(), &pod).await.expect("a pod").name_any() });
        if tasks.len() >= 16 {
            tasks.join_next().await;
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Everything is bound where the claims say.
pub(crate) async fn all_bound(client: &Client, count: usize) -> Result<(), String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "test");
    let pods = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let bound =
        pods.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())).count();
    (pods.len() == count && bound == count)
        .then_some(())
        .ok_or_else(|| format!("{bound} of {} bound", pods.len()))
}
