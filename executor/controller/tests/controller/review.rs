//! Goal: in review nothing is launched but what was approved by its digest, exactly and in time; the controller cannot approve; what was
//! tampered with, is stale, superseded or expired is refused, with the first precondition that does not hold; what is unrelated voids nothing.

use crate::common::scene::{Scene, USER, until};
use crate::common::{LATER, all_bound, pods};
use crate::telling::told;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_api::{NodeClaim, Plan};
use stowage_cluster::eventually;
use stowage_executor::{Review, Settings};
use stowage_fake_cloud::Script;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_planner::Limits;
use stowage_review::{APPROVED, cluster};

/// Somebody who may approve.
pub(crate) const JANE: &str = "jane";

/// A cluster in review, and a controller.
async fn in_review(review: Review) -> (Scene, crate::common::scene::Replica) {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.large", "m6a.xlarge"]).await;
    scene.create_policy(json!({ "mode": "review" })).await;
    approver(&scene).await;
    let replica = scene.replica("one", Settings { review, ..Settings::default() }).await;
    (scene, replica)
}

/// Lets somebody approve.
pub(crate) async fn approver(scene: &Scene) {
    let bindings: Api<ClusterRoleBinding> = Api::all(scene.client.clone());
    let binding = json!({
        "metadata": { "name": "jane-approves" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "stowage-approver" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": JANE }],
    });
    let binding = serde_json::from_value(binding).expect("a binding");
    bindings.create(&PostParams::default(), &binding).await.expect("the binding");
}

pub(crate) fn phase(plan: &Plan) -> &str {
    plan.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Why a plan is not carried out.
pub(crate) fn why(plan: &Plan) -> (String, String) {
    let conditions = plan.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    let one = conditions.into_iter().find(|one| one.type_ == "Executable").unwrap_or_default();
    (one.reason, one.message)
}

/// A plan that waits and launches for pods that are as asked for.
async fn proposed(scene: &Scene, wanted: impl Fn(&BTreeSet<&str>) -> bool) -> Plan {
    let found = async || {
        let plans = scene.plans().await;
        let pods = |plan: &&Plan| {
            let pods = plan.spec.actions.iter().flat_map(|action| &action.pods);
            wanted(&pods.map(String::as_str).collect())
        };
        let found = plans.iter().filter(|plan| phase(plan) == "Proposed").find(pods);
        found.cloned().ok_or_else(|| format!("none of {} plans", plans.len()))
    };
    eventually("a plan is proposed", LATER, found).await.expect("a plan")
}

/// Waits until a plan is in a phase.
pub(crate) async fn becomes(scene: &Scene, name: &str, wanted: &str) -> Plan {
    let api: Api<Plan> = Api::all(scene.client.clone());
    let look = async || {
        let plan = api.get(name).await.map_err(|error| error.to_string())?;
        if phase(&plan) == wanted { Ok(plan) } else { Err(format!("{}: {:?}", phase(&plan), why(&plan))) }
    };
    eventually(&format!("{name} is {wanted}"), LATER, look).await.expect("it is")
}

async fn annotate(client: &Client, name: &str, digest: &str) -> Result<(), String> {
    let api: Api<Plan> = Api::all(client.clone());
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { APPROVED: digest } } }));
    api.patch(name, &PatchParams::default(), &patch).await.map(drop).map_err(|error| error.to_string())
}

/// Claims are the actions of that plan: types, zones and pods.
async fn claims_are(scene: &Scene, plan: &Plan) -> Result<(), String> {
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let claims = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let of_plan =
        claims.iter().filter(|one| one.annotations().get("stowage.dev/plan") == Some(&plan.spec.digest));
    let found: BTreeSet<(String, BTreeSet<String>)> = of_plan
        .map(|claim| {
            let pods: Vec<Value> =
                serde_json::from_str(&claim.annotations()["stowage.dev/pods"]).expect("pods");
            let pods = pods.iter().map(|pod| pod["id"].as_str().expect("an id").to_owned()).collect();
            (claim.labels()["node.kubernetes.io/instance-type"].clone(), pods)
        })
        .collect();
    let wanted = plan.spec.actions.iter();
    let wanted: BTreeSet<_> =
        wanted.map(|one| (one.instance_type.clone(), one.pods.iter().cloned().collect())).collect();
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_approved_is_launched() {
    let (scene, replica) = in_review(Review::default()).await;
    let jane = scene.cluster.client_as(JANE);
    pods(&scene.client, "first", 8).await;
    let first = proposed(&scene, |pods| pods.len() == 8).await;
    let (name, digest) = (first.name_any(), first.spec.digest.clone());
    let shown = cluster::show(&jane, &name).await.expect("it is shown");
    assert!(
        shown.contains(&digest) && shown.contains("### +$") && shown.contains("test/first-0007"),
        "{shown}"
    );

    // The controller cannot approve, nobody can approve something else, and what nobody approves is not launched.
    let api_server = async |client: &Client, digest: &str, word: &str| {
        until(word, async || match annotate(client, &name, digest).await {
            Err(error) if error.contains(word) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    api_server(&scene.cluster.client_as(USER), &digest, "may approve plans").await;
    api_server(&jane, &format!("sha256:{}", "0".repeat(64)), "names another digest").await;
    let other = cluster::approve(&jane, &name, &"0".repeat(64), "jane").await.expect_err("another digest");
    assert_eq!(other.code, 3, "{}", other.text);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.calls("CreateFleet", 0).len(), 0);

    // What changes meanwhile and has nothing to do with it: another pod, which is in a newer plan.
    pods(&scene.client, "second", 1).await;
    let newer = proposed(&scene, |pods| pods.len() == 9).await;
    assert_eq!(phase(&becomes(&scene, &name, "Proposed").await), "Proposed", "both wait");

    // Tampered: the same object again, for another machine.
    let plans: Api<Plan> = Api::all(scene.client.clone());
    plans.delete(&newer.name_any(), &DeleteParams::default()).await.expect("it goes");
    let mut lie = Plan::new(&newer.name_any(), newer.spec.clone());
    lie.spec.actions[0].instance_type = "m6a.48xlarge".to_owned();
    lie.metadata.annotations = Some([(APPROVED.to_owned(), newer.spec.digest.clone())].into());
    until("it is gone", async || {
        plans.create(&PostParams::default(), &lie).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let refused = becomes(&scene, &newer.name_any(), "Refused").await;
    assert_eq!(why(&refused).0, "Tampered", "{:?}", why(&refused));
    assert_eq!(scene.calls("CreateFleet", 0).len(), 0);

    // Approved: exactly that.
    cluster::approve(&jane, &name, &digest, "Jane").await.expect("it is approved");
    let done = becomes(&scene, &name, "Completed").await;
    let status = done.status.clone().unwrap_or_default();
    assert_eq!((status.approved.as_deref(), status.approved_by.as_deref()), (Some(&*digest), Some("Jane")));
    claims_are(&scene, &first).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(scene.live(), first.spec.actions.len());
    let tokens = scene.fleets_by_token();
    assert_eq!(tokens.len(), first.spec.actions.len(), "{tokens:?}");
    let twice = cluster::approve(&jane, &name, &digest, "Jane").await.expect_err("it is over");
    assert_eq!(twice.code, 3);

    // Stale: a pod of the plan goes before it is approved.
    pods(&scene.client, "third", 12).await;
    let of_third = |pods: &BTreeSet<&str>| pods.iter().any(|pod| pod.starts_with("test/third"));
    let third = proposed(&scene, of_third).await;
    let mut named = third.spec.actions.iter().flat_map(|action| &action.pods);
    let gone = named.find(|pod| pod.starts_with("test/third")).expect("a pod").clone();
    let before = scene.calls("CreateFleet", 0).len();
    let all: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    all.delete(gone.trim_start_matches("test/"), &DeleteParams::default().grace_period(0))
        .await
        .expect("it goes");
    let refused = becomes(&scene, &third.name_any(), "Refused").await;
    let (reason, message) = why(&refused);
    assert!(reason == "Stale" && message.contains(&format!("{gone} is gone")), "{reason}: {message}");
    assert_eq!(
        cluster::approve(&jane, &third.name_any(), &third.spec.digest, "Jane").await.expect_err("over").code,
        3
    );
    assert_eq!(scene.calls("CreateFleet", 0).len(), before);

    // And its NodePool changes.
    let fourth = proposed(&scene, |pods| of_third(pods) && !pods.contains(gone.as_str())).await;
    scene.pool(json!({ "spec": { "template": { "metadata": { "labels": { "team": "blue" } } } } })).await;
    let refused = becomes(&scene, &fourth.name_any(), "Refused").await;
    assert_eq!(
        why(&refused),
        ("Stale".to_owned(), "NodePool/default has changed since it was planned".to_owned())
    );

    // A plan file, made elsewhere.
    let recorded = stowage_observe::record(&scene.client).await.expect("a recording").imported.snapshot;
    let begun = Instant::now();
    let clock: Arc<dyn Fn() -> Duration + Send + Sync> = Arc::new(move || begun.elapsed());
    let limits = Limits { time: Duration::from_secs(2), threads: 1, clock, cancel: None };
    let catalog = Catalog::embedded();
    let planned = stowage_planner::plan(&recorded, catalog, &Policy::default(), &limits, &mut |_| {});
    let file = serde_json::to_vec(&planned.expect("a plan").plan).expect("JSON");
    let mut changed: Value = serde_json::from_slice(&file).expect("JSON");
    changed["launches"][0]["instanceType"] = "m6a.48xlarge".into();
    let error = stowage_review::read_file(changed.to_string().as_bytes()).expect_err("it was changed");
    assert!(error.text.contains("was changed"), "{error}");
    let plan = stowage_review::read_file(&file).expect("a plan");
    let applied = cluster::apply(&jane, &plan, 600, Some("Jane")).await.expect("it is applied");
    let name = applied.split_whitespace().next().expect("a name").to_owned();
    let done = becomes(&scene, &name, "Completed").await;
    claims_are(&scene, &done).await.unwrap_or_else(|error| panic!("{error}"));
    eventually("all pods bound", LATER, || all_bound(&scene.client, 8 + 1 + 11))
        .await
        .expect("they are bound");
    let phases: BTreeMap<String, usize> =
        scene.plans().await.iter().fold(BTreeMap::new(), |mut all, plan| {
            *all.entry(phase(plan).to_owned()).or_default() += 1;
            all
        });
    println!("{phases:?}");
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let refused = ours.filter(|one| one["responseStatus"]["code"].as_u64() == Some(403));
    let refused: Vec<_> = refused.filter(|one| one["objectRef"]["resource"] != "plans").collect();
    assert!(refused.is_empty(), "{refused:?}");
    scene.seen();
    replica.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_not_begun_and_a_stop_holds_what_was_approved() {
    let (scene, replica) = in_review(Review { expire_after: 20_000, ..Review::default() }).await;
    let jane = scene.cluster.client_as(JANE);
    pods(&scene.client, "first", 4).await;
    let first = proposed(&scene, |pods| pods.len() == 4).await;
    let refused = becomes(&scene, &first.name_any(), "Refused").await;
    assert_eq!(why(&refused).0, "Expired", "{:?}", why(&refused));
    // Too late.
    assert_eq!(
        cluster::approve(&jane, &first.name_any(), &first.spec.digest, "Jane").await.expect_err("over").code,
        3
    );
    annotate(&jane, &first.name_any(), &first.spec.digest).await.expect("an annotation");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.calls("CreateFleet", 0).len(), 0);
    assert_eq!(phase(&becomes(&scene, &first.name_any(), "Refused").await), "Refused");

    // It is planned again. What is approved while everything is stopped is begun when it goes on, if it is not too old by then.
    let policy = async |spec: Value| drop(scene.change_policy(json!({ "spec": spec })).await);
    policy(json!({ "review": { "expireAfter": "10m" } })).await;
    let lasting = async || {
        let plans = scene.plans().await;
        let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(120)).to_string();
        let lasts =
            |plan: &&Plan| phase(plan) == "Proposed" && plan.spec.expires.as_deref() > Some(soon.as_str());
        plans.iter().find(lasts).cloned().ok_or_else(|| format!("{} plans", plans.len()))
    };
    let second = eventually("a plan that lasts", LATER, lasting).await.expect("a plan");
    assert_ne!(second.spec.digest, first.spec.digest);
    policy(json!({ "stop": true })).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster::approve(&jane, &second.name_any(), &second.spec.digest, "Jane").await.expect("it is approved");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.calls("CreateFleet", 0).len(), 0);
    policy(json!({ "stop": false })).await;
    becomes(&scene, &second.name_any(), "Completed").await;
    claims_are(&scene, &second).await.unwrap_or_else(|error| panic!("{error}"));

    // What costs little needs no approval, if the policy says so.
    policy(json!({ "review": { "aboveDollarsPerHour": "100" } })).await;
    pods(&scene.client, "second", 8).await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, 12)).await.expect("they are bound");
    scene.seen();
    replica.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nothing_is_told_so_although_an_equal_plan_waits() {
    let (scene, replica) = in_review(Review::default()).await;
    pods(&scene.client, "first", 4).await;
    let first = proposed(&scene, |pods| pods.len() == 4).await;
    // More than one if they were not one batch.
    let names =
        async || -> BTreeSet<String> { scene.plans().await.iter().map(|plan| plan.name_any()).collect() };
    let before = names().await;
    let container =
        json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "1000" } } });
    let huge = json!({ "metadata": { "name": "huge" }, "spec": { "containers": [container] } });
    let huge = serde_json::from_value(huge).expect("a pod");
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    api.create(&PostParams::default(), &huge).await.expect("a pod");
    let failed = async || {
        let told = told(&scene, "Pod", "huge").await;
        told.into_iter().filter(|(reason, _)| reason == "FailedScheduling").collect::<Vec<_>>()
    };
    until("it is told", async || match failed().await {
        notes if notes.is_empty() => Err("nobody has told it".to_owned()),
        _ => Ok(()),
    })
    .await;
    let notes = failed().await;
    assert!(notes.len() == 1 && notes[0].1.starts_with("Failed to schedule pod, "), "{notes:?}");
    // What is launched for the others is as before, so there is nothing new to read: no other plan says it.
    assert_eq!(names().await, before);
    assert_eq!(scene.reasons("huge").await, Vec::<String>::new());
    assert_eq!(phase(&becomes(&scene, &first.name_any(), "Proposed").await), "Proposed");
    scene.seen();
    replica.task.abort();
}
