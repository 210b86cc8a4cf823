//! Goal: machines that are not what would be launched today are marked so, with Karpenter's reasons, and no longer when that is over; what comes from
//! Karpenter, and changes that make no difference to a machine, drift nothing.

use crate::common::outcome::settled;
use crate::common::scene::{Scene, until};
use crate::common::{LATER, SOON, all_bound, create, pods};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use stowage_api::{Ec2NodeClass, NodeClaim};
use stowage_cluster::{Kubelet, NodeSpec, eventually};
use stowage_executor::{STAMP, Settings, Stamp};
use stowage_fake_cloud::Script;

/// Reasons for drift by claim, empty where there is none; and how many claims are stamped.
async fn drifts(scene: &Scene) -> (BTreeMap<String, String>, usize) {
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let list = || async { claims.list(&ListParams::default()).await.map_err(|error| error.to_string()) };
    let all = eventually("list of claims", SOON, list).await.expect("claims").items;
    let reason = |claim: &NodeClaim| {
        let conditions = claim.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        let drifted = conditions.into_iter().find(|one| one.type_ == "Drifted" && one.status == "True");
        drifted.map(|one| one.reason).unwrap_or_default()
    };
    let stamps =
        all.iter().filter(|one| one.annotations().get(STAMP).and_then(|text| Stamp::parse(text)).is_some());
    (all.iter().map(|claim| (claim.name_any(), reason(claim))).collect(), stamps.count())
}

async fn all_are(scene: &Scene, wanted: &str) -> Result<(), String> {
    let (found, _) = drifts(scene).await;
    if found.values().all(|reason| reason == wanted) { Ok(()) } else { Err(format!("{found:?}")) }
}

async fn class(scene: &Scene, change: Value) {
    let classes: Api<Ec2NodeClass> = Api::all(scene.client.clone());
    let change = Patch::Merge(json!({ "spec": change }));
    classes.patch("default", &PatchParams::default(), &change).await.expect("the class changes");
}

/// A node of so many cores that Karpenter launched, with its hashes, from an image that we would not choose.
pub(crate) async fn karpenters(scene: &Scene, kubelet: &Kubelet, name: &str, cores: u8) {
    let (node_name, provider) = (format!("{name}-node"), format!("aws:///us-east-1a/i-0{name}"));
    create(&scene.client, "nodeclaims", json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {
            "name": name, "labels": { "karpenter.sh/nodepool": "default" },
            "annotations": {
                "karpenter.sh/nodepool-hash": "1234567890", "karpenter.sh/nodepool-hash-version": "v3",
                "karpenter.k8s.aws/ec2nodeclass-hash": "987654321", "karpenter.k8s.aws/ec2nodeclass-hash-version": "v5",
            },
        },
        "spec": {
            "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
            "requirements": [], "expireAfter": "720h",
        },
    }))
    .await;
    let mut node = NodeSpec::new(&node_name).provider_id(&provider);
    for (key, value) in [
        ("karpenter.sh/nodepool", "default"),
        ("karpenter.sh/registered", "true"),
        ("karpenter.sh/initialized", "true"),
        ("karpenter.sh/capacity-type", "on-demand"),
        ("node.kubernetes.io/instance-type", "m6a.xlarge"),
        ("topology.kubernetes.io/zone", "us-east-1a"),
        ("kubernetes.io/arch", "amd64"),
    ] {
        node = node.label(key, value);
    }
    if cores > 0 {
        node = node.resource("cpu", cores.to_string()).resource("memory", "16Gi");
    }
    kubelet.add(node).await.expect("a node");
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": now });
    let status = json!({ "status": {
        "providerID": provider, "nodeName": node_name, "imageID": "ami-karpenters",
        "conditions": [condition("Launched"), condition("Registered"), condition("Initialized")],
    } });
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    claims.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_be_launched_today_drifts_and_nothing_else() {
    const PODS: usize = 12;
    let scene = Scene::start(Script::default()).await;
    let kubelet = Kubelet::start(scene.client.clone());
    karpenters(&scene, &kubelet, "karpenters", 0).await;
    let replica = scene.replica("one", Settings::default()).await;
    pods(&scene.client, "pod", PODS).await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, PODS)).await.expect("they are bound");
    let ready = || async {
        match settled(&scene.client, &scene.cloud).await {
            // Karpenter's machine is not of this cloud.
            Err(text) if text.starts_with("1 claims not ready, 0 nodes tainted") => Ok(()),
            other => other.map(drop),
        }
    };
    let _ = eventually("everything settled", Duration::from_secs(20), ready).await;

    // What makes no difference to a machine: everybody is looked at, and nobody drifts.
    scene.pool(json!({ "spec": { "weight": 7 } })).await;
    until("all stamped", async || {
        let (found, stamped) = drifts(&scene).await;
        if found.len() > 1 && stamped == found.len() {
            Ok(())
        } else {
            Err(format!("{stamped} of {found:?}"))
        }
    })
    .await;
    scene.pool(json!({ "spec": { "disruption": { "consolidateAfter": "1h" } } })).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    all_are(&scene, "").await.expect("nobody drifts");

    // A template that changes, and changes back.
    let label =
        |value: Value| json!({ "spec": { "template": { "metadata": { "labels": { "team": value } } } } });
    scene.pool(label(json!("a"))).await;
    until("all drift from the pool", || all_are(&scene, "NodePoolDrifted")).await;
    let snapshot = stowage_observe::record(&scene.client).await.expect("a recording").imported.snapshot;
    let says =
        |claim: &stowage_models::objects::NodeClaim| claim.conditions.iter().any(|one| one == "Drifted");
    assert!(snapshot.node_claims.iter().all(says), "plans find it");
    scene.pool(label(Value::Null)).await;
    until("nobody drifts any more", || all_are(&scene, "")).await;

    // Requirements, by labels that follow from the type.
    let require = |values: Value| {
        json!({ "spec": { "template": { "spec": { "requirements": [
            { "key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": values },
        ] } } } })
    };
    scene.pool(require(json!(["x"]))).await;
    until("all drift from requirements", || all_are(&scene, "RequirementsDrifted")).await;
    scene.pool(require(json!(["c", "m", "r"]))).await;
    until("nobody drifts any more", || all_are(&scene, "")).await;

    // The class: what it says, which image it selects, and what else it selects.
    class(&scene, json!({ "tags": { "team": "a" } })).await;
    until("all drift from the class", || all_are(&scene, "NodeClassDrift")).await;
    class(&scene, json!({ "tags": null })).await;
    until("nobody drifts any more", || all_are(&scene, "")).await;
    class(&scene, json!({ "amiFamily": "AL2023", "amiSelectorTerms": [{ "name": "al2-x86_64*" }] })).await;
    until("all drift from the class", || all_are(&scene, "NodeClassDrift")).await;
    class(&scene, json!({ "amiFamily": null, "amiSelectorTerms": [{ "alias": "al2@latest" }] })).await;
    until("all drift from the image", || all_are(&scene, "AMIDrift")).await;
    class(&scene, json!({ "amiSelectorTerms": [{ "alias": "al2023@latest" }] })).await;
    until("nobody drifts any more", || all_are(&scene, "")).await;
    let used: Vec<String> =
        scene.cloud.with(|world| world.machines().values().map(|machine| machine.subnet.clone()).collect());
    let other =
        ["subnet-0a", "subnet-0b", "subnet-0c"].into_iter().find(|id| !used.iter().any(|one| one == id));
    if let Some(other) = other {
        class(&scene, json!({ "subnetSelectorTerms": [{ "id": other }] })).await;
        // What others launched is not listed: its subnet is not known.
        until("all of ours drift from the subnet", async || {
            let (found, _) = drifts(&scene).await;
            let good = found.iter().all(|(name, reason)| (name == "karpenters") == (reason != "SubnetDrift"));
            if good { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    scene.seen();
    replica.task.abort();
}
