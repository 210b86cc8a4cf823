//! Goal: scheduler, controllers, API server and fake kubelet together do what a cluster does. One cluster for nearly
//! all of it, because starting one is what takes time.

use crate::support::{SOON, has, is_alive, node_of, phase, pod, until};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, EvictParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use std::time::Duration;
use stowage_cluster::{Behaviour, Cluster, Kubelet, NodeSpec, Program, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_works_and_is_gone_after_drop() {
    let builder = Cluster::builder().controller_manager(true).scheduler(true);
    let cluster = builder.start().await.expect("the cluster starts");
    let client = cluster.client();
    let kubelet = Kubelet::builder()
        .behaviour(|pod| match pod.labels().get("behaviour").map(String::as_str) {
            Some("fails") => Behaviour::Exit { after: Duration::ZERO, code: 3 },
            Some("stuck") => Behaviour::Stuck,
            _ => Behaviour::Run,
        })
        .start(client.clone());
    let node = |name: &str| NodeSpec::new(name).resource("cpu", "2").resource("memory", "4Gi");
    kubelet.add(node("node-a").label("team", "a").allocatable("cpu", "1900m")).await.expect("node-a");
    kubelet.add(node("node-b").taint("dedicated", "b", "NoSchedule")).await.expect("node-b");
    kubelet.add(node("node-c").never_ready()).await.expect("node-c");
    cluster.create_namespace("test").await.expect("the namespace");

    // They share nothing but the cluster.
    tokio::join!(scheduling(client.clone(), &kubelet), disruption(client.clone()), nodes(client.clone()));

    let (directory, processes) = (cluster.directory().to_path_buf(), cluster.process_ids());
    assert_eq!(processes.len(), 4);
    assert!(processes.iter().all(|id| is_alive(*id)) && directory.exists());
    drop(cluster);
    assert!(!processes.iter().any(|id| is_alive(*id)), "programs outlive the cluster");
    assert!(!directory.exists(), "{} is left behind", directory.display());
}

/// Pods go where they may, become what their behaviour says, and end.
async fn scheduling(client: Client, kubelet: &Kubelet) {
    let pods: Api<Pod> = Api::namespaced(client, "test");
    let create = async |name: &str, cpu: &str, behaviour: &str| {
        let pod = pod(name, cpu, json!({ "behaviour": behaviour }));
        pods.create(&PostParams::default(), &pod).await.expect(name);
    };
    create("runs", "500m", "runs").await;
    create("fails", "100m", "fails").await;
    create("stuck", "100m", "stuck").await;
    create("too-large", "1950m", "runs").await;

    let runs = until(&pods, "runs", |pod| has(pod, "Ready", "True")).await;
    // node-b is tainted and node-c not ready; allocatable, not capacity, is what counts.
    assert_eq!(node_of(&runs), "node-a");
    assert_eq!(phase(&runs), "Running");
    let told = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref())?;
        conditions.iter().find(|one| one.type_ == "PodScheduled" && one.status == "False")?.message.clone()
    };
    // The scheduler thinks again when node-a has become ready, and only then can cpu be what is missing.
    let too_large =
        until(&pods, "too-large", |pod| told(pod).is_some_and(|why| why.contains("Insufficient cpu")));
    let message = told(&too_large.await).unwrap_or_default();
    assert!(message.starts_with("0/3 nodes are available: 1 Insufficient cpu"), "{message}");

    let fails = until(&pods, "fails", |pod| phase(pod) == "Failed").await;
    let statuses = fails.status.and_then(|status| status.container_statuses).unwrap_or_default();
    let ended =
        statuses.iter().find_map(|one| one.state.as_ref()?.terminated.as_ref()).map(|one| one.exit_code);
    assert_eq!(ended, Some(3));
    kubelet.finish(&runs, 0).await.expect("the pod can be ended");
    until(&pods, "runs", |pod| phase(pod) == "Succeeded").await;
    let stuck = until(&pods, "stuck", |pod| node_of(pod) == "node-a").await;
    assert_eq!(phase(&stuck), "Pending");

    // Deleting a bound pod needs a kubelet to let go of it.
    for name in ["stuck", "runs"] {
        pods.delete(name, &DeleteParams::default()).await.expect("the pod can be deleted");
        let gone = async || match pods.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually(&format!("end of the pod {name}"), SOON, gone).await.expect("the pod goes");
    }
}

/// The disruption controller counts, and the API server refuses to evict below the budget.
async fn disruption(client: Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "test");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client, "test");
    let budget = json!({
        "metadata": { "name": "web" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } },
    });
    let budget = serde_json::from_value(budget).expect("a budget");
    budgets.create(&PostParams::default(), &budget).await.expect("the budget");
    for name in ["web-1", "web-2"] {
        let pod = pod(name, "100m", json!({ "app": "web" }));
        pods.create(&PostParams::default(), &pod).await.expect(name);
    }
    let one_to_spare = async || {
        let status = budgets.get("web").await.map_err(|error| error.to_string())?.status;
        match status {
            Some(status) if status.disruptions_allowed == Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually("budget that allows one disruption", SOON, one_to_spare).await.expect("the budget is counted");
    let evict = async |name: &'static str| pods.evict(name, &EvictParams::default()).await;
    evict("web-1").await.expect("the first eviction is within the budget");
    match evict("web-2").await {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 429, "{status:?}");
            assert!(status.message.contains("disruption budget"), "{status:?}");
        }
        other => panic!("the second eviction must be refused, not {other:?}"),
    }
}

/// Nodes are what the specification says, and controllers treat them as real ones.
async fn nodes(client: Client) {
    let nodes: Api<Node> = Api::all(client);
    let taints = |node: &Node| -> Vec<String> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        taints.into_iter().map(|taint| taint.key).collect()
    };
    let ready = async || {
        let node = nodes.get("node-a").await.map_err(|error| error.to_string())?;
        if taints(&node).is_empty() { Ok(node) } else { Err(format!("{:?}", taints(&node))) }
    };
    let node = eventually("node-a without taints", SOON, ready).await.expect("node-a becomes ready");
    assert_eq!(node.labels().get("team").map(String::as_str), Some("a"));
    let status = node.status.expect("a status");
    let amount = |list: Option<std::collections::BTreeMap<String, _>>, name: &str| {
        list.and_then(|mut list| list.remove(name)).map(|quantity: Quantity| quantity.0)
    };
    assert_eq!(amount(status.capacity, "cpu").as_deref(), Some("2"));
    assert_eq!(amount(status.allocatable.clone(), "cpu").as_deref(), Some("1900m"));
    assert_eq!(amount(status.allocatable, "pods").as_deref(), Some("110"));
    let never = nodes.get("node-c").await.expect("node-c is registered");
    assert!(taints(&never).contains(&"node.kubernetes.io/not-ready".to_owned()), "{:?}", taints(&never));
}

/// The node lifecycle controller takes a node without heartbeats for lost, and its pods for not ready. That is not for ever. A cluster of its own: here
/// nodes are lost within seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_taken_for_lost_is_back_with_its_pods() {
    let grace = "--node-monitor-grace-period=5s";
    let builder = Cluster::builder().controller_manager(true).argument(Program::ControllerManager, grace);
    let cluster = builder.start().await.expect("the cluster starts");
    let nodes: Api<Node> = Api::all(cluster.client());
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let kubelet = Kubelet::builder().heartbeat(Duration::from_secs(3600)).start(cluster.client());
    kubelet.add(NodeSpec::new("node-a")).await.expect("node-a");
    let mut pod = pod("runs", "100m", json!({}));
    pod.spec.as_mut().expect("a spec").node_name = Some("node-a".to_owned());
    let pod = pods.create(&PostParams::default(), &pod).await.expect("a pod");
    until(&pods, "runs", |pod| has(pod, "Ready", "True")).await;

    // It goes to and fro from now on: whoever looks now and then may see neither.
    let watch = WatchParams::default().timeout(120);
    let since = pod.resource_version().expect("a version");
    let mut seen = pods.watch(&watch, &since).await.expect("a watch").boxed();
    let mut states = Vec::new();
    while states != ["True", "False", "True"] {
        let event = seen.try_next().await.expect("events").expect("it is ready again");
        if let WatchEvent::Modified(pod) = event {
            let state = ["True", "False"].into_iter().find(|status| has(&pod, "Ready", status));
            states.extend(state.filter(|state| states.last() != Some(state)));
        }
    }
    let look = async || {
        let node = nodes.get("node-a").await.map_err(|error| error.to_string())?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        if ready { Ok(()) } else { Err(format!("{conditions:?}")) }
    };
    eventually("ready node", SOON, look).await.expect("it is reported again");
}
