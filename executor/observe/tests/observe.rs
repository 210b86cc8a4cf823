//! Goal: a cluster seen live means what kubectl's output of it means. Method: a real API server; the same plan from a recording,
//! from a view and from plain lists.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_cluster::{Cluster, Kubelet, NodeSpec, eventually};
use stowage_import::Source;
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_observe::{KINDS, View, record};
use stowage_planner::{Limits, plan};

const SOON: Duration = Duration::from_secs(60);

async fn create(client: &Client, object: Value) {
    let kind = KINDS.iter().find(|kind| object["kind"] == kind.kind).expect("a kind");
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => {
            let gvk = kube::core::GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
            Api::namespaced_with(client.clone(), namespace, &kube::core::ApiResource::from_gvk(&gvk))
        }
        None => kind.api(client),
    };
    let what = object.to_string();
    let object = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object).await.expect(&what);
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": name, "namespace": "test", "labels": { "app": "web" }, "annotations": { "secret": "s3cret" },
        },
        "spec": {
            "containers": [{
                "name": "main", "image": "example.com/image", "args": ["--token", "s3cret"],
                "env": [{ "name": "TOKEN", "value": "s3cret" }],
                "ports": [{ "containerPort": 80 }],
                "resources": { "requests": { "cpu": cpu, "memory": "1Gi" } },
            }],
            "nodeSelector": { "kubernetes.io/arch": "amd64" },
        },
    })
}

/// What `kubectl get ... -A -o json` prints, as far as it matters: the raw answers of the API server.
async fn kubectl(client: &Client) -> Snapshot {
    let mut items = Vec::new();
    for kind in &KINDS {
        for object in kind.api(client).list(&ListParams::default()).await.expect(kind.plural).items {
            let mut value = serde_json::to_value(&object).expect("JSON");
            value["apiVersion"] = kind.api_version().into();
            value["kind"] = kind.kind.into();
            items.push(value);
        }
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    stowage_import::import(&[Source { name: "kubectl", bytes: list.as_bytes() }])
        .expect("it imports")
        .snapshot
}

fn planned(snapshot: &Snapshot) -> Plan {
    let begin = Instant::now();
    let limits = Limits {
        time: Duration::from_secs(20),
        threads: 1,
        clock: Arc::new(move || begin.elapsed()),
        cancel: None,
    };
    let plan =
        plan(snapshot, Catalog::embedded(), &Policy::default(), &limits, &mut |_| {}).expect("a plan").plan;
    assert_eq!(stowage_checker::check(snapshot, Catalog::embedded(), &plan), Vec::new());
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_cluster_is_seen_as_kubectl_prints_it() {
    let cluster = Cluster::builder().controller_manager(true).start().await.expect("the cluster starts");
    let client = cluster.client();

    // Without the custom resources there is something to record, too.
    let bare = record(&client).await.expect("a recording");
    assert_eq!(bare.absent, ["nodepools", "nodeclaims", "ec2nodeclasses", "nodeoverlays", "capacitybuffers"]);
    assert!(bare.imported.snapshot.namespaces.iter().any(|namespace| namespace.name == "kube-system"));

    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in stowage_api::definitions().expect("definitions") {
        definitions.create(&PostParams::default(), &definition).await.expect("a definition");
    }
    // A view that starts before the kinds are served becomes complete when they are.
    let view = View::start(&client);
    let synced = || async {
        let freshness = view.freshness();
        freshness.is_good().then_some(()).ok_or_else(|| freshness.missing.join("; "))
    };
    eventually("complete view", SOON, synced).await.expect("the view");

    cluster.create_namespace("test").await.expect("the namespace");
    create(
        &client,
        json!({
            "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": { "name": "default" },
            "spec": {
                "role": "nodes", "amiSelectorTerms": [{ "alias": "al2023@latest" }],
                "subnetSelectorTerms": [{ "id": "subnet-1" }], "securityGroupSelectorTerms": [{ "id": "sg-1" }],
            },
        }),
    )
    .await;
    create(
        &client,
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default" },
            "spec": {
                "limits": { "cpu": "100" },
                "template": { "spec": {
                    "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
                    "requirements": [
                        { "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"] },
                        { "key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m5", "c5"] },
                    ],
                } },
            },
        }),
    )
    .await;
    let kubelet = Kubelet::start(client.clone());
    let node = NodeSpec::new("node-a").resource("cpu", "4").resource("memory", "16Gi");
    kubelet.add(node.provider_id("aws:///us-east-1a/i-1")).await.expect("a node");
    for n in 0..30 {
        create(&client, pod(&format!("pod-{n:02}"), "1500m")).await;
    }

    // Heartbeats do not count, everything else does.
    let seen = || async {
        let (plain, live) = (kubectl(&client).await, view.snapshot().map_err(|error| error.to_string())?);
        if plain == live { Ok((plain, live)) } else { Err(format!("{plain:#?}\n{live:#?}")) }
    };
    let (plain, live) = eventually("the same snapshot", SOON, seen).await.expect("view and kubectl agree");
    let recorded = record(&client).await.expect("a recording").imported.snapshot;
    assert_eq!(recorded, plain);
    let plan = planned(&recorded);
    assert!(!plan.launches.is_empty() && plan.unplaced.is_empty());
    assert_eq!(plan.id, planned(&plain).id);
    assert_eq!(plan.id, planned(&live).id);
    let text = serde_json::to_string(&recorded).expect("JSON");
    assert!(!text.contains("s3cret"), "a secret is recorded");

    // The binary writes the same.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_stowage-record"))
        .args(["--kubeconfig".as_ref(), cluster.kubeconfig().as_os_str()])
        .output()
        .expect("stowage-record runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let source = Source { name: "stdout", bytes: &output.stdout };
    let written = stowage_import::import(&[source]).expect("it imports").snapshot;
    assert_eq!(Snapshot { taken_at: None, origin: String::new(), ..written }, recorded);

    facts(&client, &view).await;
}

/// What the executor is told follows the cluster.
async fn facts(client: &Client, view: &View) {
    let before = view.facts();
    assert!(before.claims.is_empty());
    assert_eq!(before.nodes["node-a"].instance.as_deref(), Some("i-1"));
    assert_eq!(before.pods.values().filter(|pod| pod.pending).count(), 30);
    let api: Api<Pod> = Api::namespaced(client.clone(), "test");
    api.delete("pod-00", &DeleteParams::default()).await.expect("it is deleted");
    let gone =
        || async { (view.facts().pods.len() == before.pods.len() - 1).then_some(()).ok_or_else(String::new) };
    eventually("one pod less", SOON, gone).await.expect("the view follows");
    let pools = KINDS.iter().find(|kind| kind.kind == "NodePool").expect("pools").api(client);
    let patch = kube::api::Patch::Merge(json!({ "spec": { "weight": 7 } }));
    pools.patch("default", &kube::api::PatchParams::default(), &patch).await.expect("it is changed");
    let other = || async { (view.facts().inputs != before.inputs).then_some(()).ok_or_else(String::new) };
    eventually("other inputs", SOON, other).await.expect("the view follows");
}

#[tokio::test]
async fn bad_arguments_and_kubeconfigs_are_told() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_stowage-record"))
            .args(arguments)
            .output()
            .expect("stowage-record runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in [&["--nonsense"][..], &["--kubeconfig", "/does/not/exist"], &["--context"]] {
        let (code, error) = run(arguments);
        assert_eq!(code, Some(1));
        assert!(error.contains("hint:"), "{error}");
    }
}
