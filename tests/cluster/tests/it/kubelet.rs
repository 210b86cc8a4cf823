//! Goal: the fake kubelet does what it is told, and no more. An API server is enough for it: the pods are bound by hand.

use crate::support::{SOON, has, phase, pod, until};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::time::Duration;
use stowage_cluster::{Behaviour, Cluster, Error, Kubelet, NodeSpec, Program, eventually};

/// Long enough to see that nothing happens, short enough to wait for.
const A_WHILE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_pods_come_and_go_as_told() {
    let builder = Cluster::builder().argument(Program::ApiServer, "--v=2");
    let cluster = builder.start().await.expect("the cluster starts");
    let log = std::fs::read_to_string(cluster.log(Program::ApiServer)).expect("a log");
    assert!(log.contains("FLAG: --v=\"2\""), "the argument is not passed on");

    let client = cluster.client();
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let kubelet = Kubelet::builder()
        .behaviour(|pod| match pod.name_any().as_str() {
            "ends" => Behaviour::Exit { after: A_WHILE, code: 0 },
            _ => Behaviour::Run,
        })
        .termination(|pod| (pod.name_any() != "hangs").then_some(Duration::ZERO))
        .heartbeat(Duration::from_millis(100))
        .start(client.clone());
    let create = async |name: &str, node: &str| {
        let mut pod = pod(name, "100m", json!({}));
        pod.spec.as_mut().expect("a spec").node_name = Some(node.to_owned());
        pods.create(&PostParams::default(), &pod).await.expect(name);
    };

    // A pod may be bound to a node before there is one, and starts when there is.
    create("early", "node-a").await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(phase(&pods.get("early").await.expect("early")), "Pending");
    kubelet.add(NodeSpec::new("node-a").ready_after(A_WHILE)).await.expect("node-a");
    let ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    assert!(!ready(&nodes.get("node-a").await.expect("node-a")), "it needs a while");
    let gets_ready = async || {
        let node = nodes.get("node-a").await.map_err(|error| error.to_string())?;
        if ready(&node) { Ok(()) } else { Err(format!("{:?}", node.status)) }
    };
    eventually("ready node-a", SOON, gets_ready).await.expect("node-a becomes ready");
    let early = until(&pods, "early", |pod| has(pod, "Ready", "True")).await;
    let twice = kubelet.add(NodeSpec::new("node-a")).await.expect_err("node-a is there already");
    assert!(matches!(twice, Error::Api { .. }), "{twice:?}");

    // Each pod has an address of its own, and ends as told.
    create("ends", "node-a").await;
    let ends = until(&pods, "ends", |pod| phase(pod) == "Succeeded").await;
    let address = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    assert!(address(&ends).is_some() && address(&ends) != address(&early));
    create("hangs", "node-a").await;
    until(&pods, "hangs", |pod| phase(pod) == "Running").await;
    for name in ["hangs", "ends", "early"] {
        pods.delete(name, &DeleteParams::default()).await.expect(name);
    }
    let left = async || {
        let left = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
        if names == ["hangs"] { Ok(()) } else { Err(format!("{names:?}")) }
    };
    eventually("end of all pods but one", SOON, left).await.expect("the others go");

    // Heartbeats go on until the node falls silent; its pods are then nobody's.
    let renewed = async || -> Option<MicroTime> {
        leases.get("node-a").await.expect("a lease").spec.and_then(|spec| spec.renew_time)
    };
    let first = renewed().await.expect("a time");
    let later = async || if renewed().await > Some(first.clone()) { Ok(()) } else { Err(String::new()) };
    eventually("second heartbeat", SOON, later).await.expect("heartbeats");
    kubelet.silence("node-a");
    create("late", "node-a").await;
    // One heartbeat may be under way.
    tokio::time::sleep(A_WHILE).await;
    let last = renewed().await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(renewed().await, last, "a silent node sends no heartbeat");
    assert_eq!(phase(&pods.get("late").await.expect("late")), "Pending");

    kubelet.remove("node-a").await.expect("node-a can be removed");
    assert!(nodes.get_opt("node-a").await.expect("an answer").is_none());
    assert!(leases.get_opt("node-a").await.expect("an answer").is_none());
    kubelet.remove("node-a").await.expect("and again");
}

/// A report names the pod by its uid and no version of it, so it is never refused for what others write meanwhile: none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn reports_beside_other_writes_are_not_refused() {
    const WRITERS: usize = 16;
    const WRITES: usize = 20;
    let cluster = Cluster::builder().start().await.expect("the cluster starts");
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let mut pod = pod("busy", "100m", json!({}));
    pod.spec.as_mut().expect("a spec").node_name = Some("node-a".to_owned());
    let pod = pods.create(&PostParams::default(), &pod).await.expect("a pod");
    let status = |uid: Option<String>, kind: String, status: &str| {
        let condition =
            json!({ "type": kind, "status": status, "lastTransitionTime": jiff::Timestamp::now() });
        Patch::Strategic(json!({ "metadata": { "uid": uid }, "status": { "conditions": [condition] } }))
    };
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (pods, uid) = (pods.clone(), pod.uid());
        tasks.spawn(async move {
            for n in 0..WRITES {
                let said = if n % 2 == 0 { "False" } else { "True" };
                let patch = status(uid.clone(), format!("example.com/{writer}"), said);
                pods.patch_status("busy", &PatchParams::default(), &patch).await.expect("it is written");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("all are written");
    }
    let found = pods.get("busy").await.expect("the pod");
    assert!((0..WRITERS).all(|writer| has(&found, &format!("example.com/{writer}"), "True")), "{found:?}");

    // A report of an earlier pod of the name is not taken for one of this.
    let stale = status(Some("00000000-0000-0000-0000-000000000000".to_owned()), "Ready".to_owned(), "True");
    let refused = pods.patch_status("busy", &PatchParams::default(), &stale).await.expect_err("another pod");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 422), "{refused:?}");
}

/// As a real kubelet does, it says again what the node lifecycle controller wrote over when it took a living node for lost. What others say of a
/// node, what was told to end, and what a silent node had stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_over_is_reported_again() {
    const LIMIT: Duration = Duration::from_secs(30);
    let cluster = Cluster::builder().start().await.expect("the cluster starts");
    let client = cluster.client();
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let kubelet = Kubelet::builder()
        .termination(|pod| (pod.name_any() != "hangs").then_some(Duration::ZERO))
        .start(client.clone());
    for name in ["node-a", "node-b", "node-c"] {
        kubelet.add(NodeSpec::new(name)).await.expect(name);
    }
    kubelet.add(NodeSpec::new("node-d").never_ready()).await.expect("node-d");
    for (name, node) in [("runs", "node-a"), ("hangs", "node-a"), ("ended", "node-a"), ("lost", "node-b")] {
        let mut pod = pod(name, "100m", json!({}));
        pod.spec.as_mut().expect("a spec").node_name = Some(node.to_owned());
        pods.create(&PostParams::default(), &pod).await.expect(name);
        until(&pods, name, |pod| has(pod, "Ready", "True")).await;
    }
    pods.delete("hangs", &DeleteParams::default()).await.expect("it is told to end");
    kubelet.finish(&pods.get("ended").await.expect("ended"), 0).await.expect("it ends");
    kubelet.silence("node-b");

    let condition = |kind: &str, status: &str, reason: &str| {
        let now = jiff::Timestamp::now();
        let condition =
            json!({ "type": kind, "status": status, "reason": reason, "lastTransitionTime": now });
        Patch::Strategic(json!({ "status": { "conditions": [condition] } }))
    };
    let plain = PatchParams::default();
    let of = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready =
            conditions.and_then(|all| all.iter().find(|one| one.type_ == "Ready")).expect("a condition");
        (ready.status.clone(), ready.reason.clone().unwrap_or_default())
    };
    let becomes = async |name: &str, status: &str| {
        let look = async || {
            let found = of(&nodes.get(name).await.map_err(|error| error.to_string())?);
            if found.0 == status { Ok(()) } else { Err(format!("{found:?}")) }
        };
        eventually(&format!("{name} as it was"), LIMIT, look).await.expect("it is reported again");
    };
    // Twice: what was reported again may be written over again.
    for _ in 0..2 {
        for name in ["ended", "hangs", "lost", "runs"] {
            for kind in ["ContainersReady", "Ready"] {
                let change = condition(kind, "False", "");
                pods.patch_status(name, &plain, &change).await.expect("it is written over");
            }
        }
        let is_ready = |pod: &Pod| has(pod, "Ready", "True") && has(pod, "ContainersReady", "True");
        let look = async || {
            let pod = pods.get("runs").await.map_err(|error| error.to_string())?;
            if is_ready(&pod) { Ok(pod) } else { Err(format!("{:?}", pod.status)) }
        };
        let ready = eventually("ready pod", LIMIT, look).await.expect("it is reported again");

        for (node, reason) in [
            ("node-b", "NodeStatusUnknown"),
            ("node-c", "Test"),
            ("node-d", "NodeStatusUnknown"),
            ("node-a", "NodeStatusUnknown"),
        ] {
            let change = condition("Ready", "Unknown", reason);
            nodes.patch_status(node, &plain, &change).await.expect("it is written over");
        }
        becomes("node-a", "True").await;
        becomes("node-d", "False").await;

        tokio::time::sleep(A_WHILE).await;
        for name in ["ended", "hangs", "lost"] {
            let pod = pods.get(name).await.expect(name);
            assert!(has(&pod, "Ready", "False") && has(&pod, "ContainersReady", "False"), "{pod:?}");
        }
        for (name, reason) in [("node-b", "NodeStatusUnknown"), ("node-c", "Test")] {
            let found = of(&nodes.get(name).await.expect(name));
            assert_eq!(found, ("Unknown".to_owned(), reason.to_owned()), "{name}");
        }
        // Said once.
        let later = pods.get("runs").await.expect("the pod");
        assert_eq!(later.resource_version(), ready.resource_version());
    }
}
