//! Goal: the controller's chart installs, gives the rights the controller uses and no others, and its admission policies let it change
//! of pods and nodes what it must and nothing else. Shown on the real API server, as the chart's service account.

use crate::support::{SOON, pod};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::path::Path;
use stowage_cluster::{Cluster, eventually};

const SPACE: &str = "stowage-system";
const USER: &str = "system:serviceaccount:stowage-system:stowage";

async fn send(client: &Client, request: http::Request<Vec<u8>>) -> Result<Value, String> {
    client.request::<Value>(request).await.map_err(|error| error.to_string())
}

/// As the controller.
async fn patch(client: &Client, path: &str, content: &str, body: &Value) -> Result<Value, String> {
    let request = http::Request::patch(path).header("content-type", content).header("impersonate-user", USER);
    send(client, request.body(body.to_string().into_bytes()).expect("a request")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_gives_the_rights_that_are_used() {
    let cluster = Cluster::builder().start().await.expect("the cluster starts");
    let client = cluster.client();
    cluster.create_namespace(SPACE).await.expect("the namespace");
    cluster.create_namespace("test").await.expect("the namespace");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/stowage");
    cluster.install(&chart, SPACE).await.expect("it installs");
    rights(&client).await;
    pods(&client).await;
    nodes(&client).await;
}

/// What role-based access control lets the controller do.
async fn rights(client: &Client) {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let table = [
        ("list", "", "pods", "", true),
        ("watch", "storage.k8s.io", "storageclasses", "", true),
        ("list", "storage.k8s.io", "volumeattachments", "", true),
        ("delete", "storage.k8s.io", "volumeattachments", "", false),
        ("patch", "", "pods", "", true),
        ("patch", "", "nodes", "", true),
        ("delete", "", "nodes", "", true),
        ("create", "karpenter.sh", "nodeclaims", "", true),
        ("patch", "karpenter.sh", "nodeclaims", "status", true),
        ("patch", "karpenter.sh", "nodepools", "status", true),
        ("watch", "karpenter.sh", "nodeoverlays", "", true),
        ("watch", "autoscaling.x-k8s.io", "capacitybuffers", "", true),
        ("patch", "autoscaling.x-k8s.io", "capacitybuffers", "status", true),
        ("list", "apps", "deployments", "", true),
        ("patch", "apps", "deployments", "", false),
        ("list", "", "podtemplates", "", true),
        ("patch", "karpenter.sh", "nodeoverlays", "status", true),
        ("patch", "karpenter.sh", "nodeoverlays", "", false),
        ("create", "stowage.dev", "plans", "", true),
        ("patch", "stowage.dev", "plans", "status", true),
        ("approve", "stowage.dev", "plans", "", false),
        ("delete", "", "pods", "", true),
        ("create", "", "pods", "eviction", true),
        ("create", "", "pods", "binding", true),
        ("deletecollection", "", "pods", "", false),
        ("update", "", "pods", "", false),
        ("create", "", "pods", "", false),
        ("create", "", "pods", "exec", false),
        ("patch", "karpenter.sh", "nodepools", "", false),
        ("get", "", "secrets", "", false),
        ("list", "", "configmaps", "", false),
        ("create", "rbac.authorization.k8s.io", "clusterroles", "", false),
        ("get", "coordination.k8s.io", "leases", "", false),
        ("impersonate", "", "users", "", false),
    ];
    for (verb, group, resource, subresource, wanted) in table {
        let review = json!({ "metadata": {}, "spec": { "user": USER, "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": "test",
        } } });
        let review = serde_json::from_value(review).expect("a review");
        let look = async || {
            let found =
                reviews.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
            let allowed = found.status.is_some_and(|status| status.allowed);
            if allowed == wanted { Ok(()) } else { Err(format!("allowed: {allowed}")) }
        };
        eventually(&format!("{verb} {group}/{resource}/{subresource}: {wanted}"), SOON, look)
            .await
            .expect("as in the table");
    }
}

/// What the admission policy lets the controller change of a pod.
async fn pods(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "test");
    pods.create(&PostParams::default(), &pod("waits", "100m", json!({ "app": "web" }))).await.expect("a pod");
    let path = "/api/v1/namespaces/test/pods/waits";
    let add = |path: &str, value: Value| json!([{ "op": "add", "path": path, "value": value }]);
    let toleration = |key: &str, operator: &str, value: &str| {
        let mut toleration = json!({ "key": key, "operator": operator, "effect": "NoSchedule" });
        if !value.is_empty() {
            toleration["value"] = value.into();
        }
        add("/spec/tolerations/-", toleration)
    };
    let refused = [
        (add("/metadata/labels/app", "other".into()), "no metadata"),
        (add("/metadata/annotations", json!({ "a": "b" })), "no metadata"),
        (add("/spec/containers/0/image", "other".into()), "no image"),
        (add("/spec/activeDeadlineSeconds", 1.into()), "neither deadlines"),
        (toleration("stowage.dev/placing", "Exists", ""), "its slots only"),
        (toleration("dedicated", "Equal", "gpu"), "its slots only"),
    ];
    for (body, words) in refused {
        // A policy is in force a moment after it was created. A dry run, so that what gets through before is not there afterwards.
        let look =
            async || match patch(client, &format!("{path}?dryRun=All"), "application/json-patch+json", &body)
                .await
            {
                Err(error) if error.contains(words) => Ok(()),
                other => Err(format!("{other:?}")),
            };
        eventually(&format!("{body}: {words}"), SOON, look).await.expect("refused");
    }
    let look = async || {
        let request = http::Request::delete(format!("{path}?dryRun=All")).header("impersonate-user", USER);
        match send(client, request.body(Vec::new()).expect("a request")).await {
            Err(error) if error.contains("of nodes that go only") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually("a pod that waits is not deleted", SOON, look).await.expect("refused");
    let slot = toleration("stowage.dev/placing", "Equal", "new-0001");
    patch(client, path, "application/json-patch+json", &slot).await.expect("the toleration of a slot");
    // Others are not concerned.
    let label = json!({ "metadata": { "labels": { "app": "other" } } });
    let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
    send(client, request.body(label.to_string().into_bytes()).expect("a request"))
        .await
        .expect("another user");
}

/// Which nodes it lets the controller change.
async fn nodes(client: &Client) {
    let node = |name: &str, labels: Value, taints: Value| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels }, "spec": { "taints": taints } });
    let joining = json!([{ "key": "karpenter.sh/unregistered", "effect": "NoExecute" }]);
    for object in [
        node("managed", json!({ "karpenter.sh/nodepool": "general" }), json!([])),
        node("joining", json!({}), joining),
        node("foreign", json!({}), json!([])),
    ] {
        let request = http::Request::post("/api/v1/nodes").header("content-type", "application/json");
        send(client, request.body(object.to_string().into_bytes()).expect("a request"))
            .await
            .expect("a node");
    }
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let change = async |name: &str| {
        patch(client, &format!("/api/v1/nodes/{name}"), "application/merge-patch+json", &label).await
    };
    change("managed").await.expect("a node of a NodePool");
    change("joining").await.expect("a node that joins");
    let look = async || match change("foreign").await {
        Err(error) if error.contains("nodes of NodePools only") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("a node of nobody's NodePool", SOON, look).await.expect("refused");
    let request = http::Request::delete("/api/v1/nodes/foreign").header("impersonate-user", USER);
    let deleted = send(client, request.body(Vec::new()).expect("a request")).await;
    assert!(deleted.is_err_and(|error| error.contains("nodes of NodePools only")));
}
