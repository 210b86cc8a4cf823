//! Goal: the controller's chart installs, gives the rights the controller uses and no others, and its admission policies let it change
//! of pods and nodes what it must and nothing else. Shown on the real API server, as the chart's service account.

use crate::support::{SOON, pod};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::path::Path;
use stowage_cluster::{Cluster, eventually};

const SPACE: &str = "stowage-system";
const USER: &str = "system:serviceaccount:stowage-system:stowage";
/// The gate of successors.
const GATE: &str = "stowage.dev/successor";

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
    successors(&client).await;
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
        ("patch", "", "pods", "status", true),
        ("get", "admissionregistration.k8s.io", "mutatingadmissionpolicybindings", "", false),
        ("create", "admissionregistration.k8s.io", "mutatingadmissionpolicies", "", false),
        ("create", "", "configmaps", "", false),
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
        (add("/spec/activeDeadlineSeconds", 1.into()), "no deadlines"),
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

/// Pods of an owner that is expected wait; the controller lets go of them, after it has said where they are to run, and changes nothing else.
async fn successors(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "test");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), SPACE);
    let map =
        |until: &str| json!({ "metadata": { "name": "stowage-successors" }, "data": { "uid-web": until } });
    let map = |until: &str| serde_json::from_value(map(until)).expect("a ConfigMap");
    maps.create(&PostParams::default(), &map("2999-01-01T00:00:00Z")).await.expect("it is created");
    let owned = |name: &str, uid: &str| -> Pod {
        let mut pod = pod(name, "100m", json!({ "app": "web" }));
        let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true }]);
        pod.metadata.owner_references = serde_json::from_value(owner).expect("an owner");
        pod
    };
    let gates = async |name: &str, uid: &str| -> Vec<String> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let made = pods.create(&dry, &owned(name, uid)).await.expect("a pod");
        let gates = made.spec.and_then(|spec| spec.scheduling_gates).unwrap_or_default();
        gates.into_iter().map(|gate| gate.name).collect()
    };
    let waits = async |name: &str, uid: &str, wanted: bool| {
        let look = async || {
            let found = gates(name, uid).await;
            if found == if wanted { vec![GATE.to_owned()] } else { Vec::new() } {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        };
        eventually(&format!("{name} of {uid} waits: {wanted}"), SOON, look).await.expect("as told");
    };
    waits("web-1", "uid-web", true).await;
    waits("web-1", "uid-other", false).await;
    pods.create(&PostParams::default(), &owned("web-1", "uid-web")).await.expect("it waits");
    let path = "/api/v1/namespaces/test/pods/web-1";
    let merge = "application/merge-patch+json";
    let nominate = json!({ "status": { "nominatedNodeName": "node-1" } });
    let refused = [
        (json!({ "status": { "phase": "Failed" } }), "nothing else in the status"),
        (
            json!({ "status": { "nominatedNodeName": "node-1", "message": "x" } }),
            "nothing else in the status",
        ),
    ];
    for (body, words) in refused {
        let refused = patch(client, &format!("{path}/status"), merge, &body).await;
        assert!(refused.as_ref().is_err_and(|error| error.contains(words)), "{refused:?}");
    }
    let pin = json!({ "spec": { "nodeSelector": { "kubernetes.io/hostname": "node-1" } } });
    let refused = patch(client, path, merge, &pin).await;
    assert!(refused.as_ref().is_err_and(|error| error.contains("nothing else of where")), "{refused:?}");
    let said = patch(client, &format!("{path}/status"), merge, &nominate).await.expect("where it is to run");
    assert_eq!(said["status"]["nominatedNodeName"], "node-1");
    let off = json!({ "spec": { "schedulingGates": [{ "$patch": "delete", "name": GATE }] } });
    let free =
        patch(client, path, "application/strategic-merge-patch+json", &off).await.expect("it is let go of");
    assert!(free["spec"]["schedulingGates"].as_array().is_none_or(Vec::is_empty), "{free}");
    let refused = patch(
        client,
        &format!("{path}/status"),
        merge,
        &json!({ "status": { "nominatedNodeName": "node-2" } }),
    )
    .await;
    assert!(refused.as_ref().is_err_and(|error| error.contains("with its gate only")), "{refused:?}");
    // Gates of others are theirs.
    let mut other = pod("held", "100m", json!({}));
    let gate = json!([{ "name": "example.com/quota" }]);
    other.spec.as_mut().expect("a spec").scheduling_gates = serde_json::from_value(gate).expect("a gate");
    pods.create(&PostParams::default(), &other).await.expect("a pod");
    let off = json!([{ "op": "remove", "path": "/spec/schedulingGates" }]);
    let refused =
        patch(client, "/api/v1/namespaces/test/pods/held", "application/json-patch+json", &off).await;
    assert!(refused.as_ref().is_err_and(|error| error.contains("no gates off but its own")), "{refused:?}");
    // Nobody has said it again in time: nobody waits, whether or not the controller is there.
    maps.replace("stowage-successors", &PostParams::default(), &map("2026-01-01T00:00:00Z"))
        .await
        .expect("it was");
    waits("web-2", "uid-web", false).await;
    maps.replace("stowage-successors", &PostParams::default(), &map("2999-01-01T00:00:00Z"))
        .await
        .expect("it is");
    waits("web-2", "uid-web", true).await;
    maps.delete("stowage-successors", &DeleteParams::default()).await.expect("it is over");
    waits("web-2", "uid-web", false).await;
}
