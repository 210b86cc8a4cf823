//! Goal: in review no node goes but by a plan that was approved by its digest: exactly its nodes, and only pods that it moves; what is stale is
//! refused with what has changed; a plan file that removes nodes goes the same way; and a machine that is taken away is left without asking.

use crate::common::LATER;
use crate::common::outcome::all_ready;
use crate::common::scene::{Scene, until};
use crate::common::trap::{Trap, When};
use crate::review::{JANE, approver, becomes, phase, why};
use crate::shrinking::{
    APPS, REPLICAS, WANTED, at_a_time, at_rest, done_to_pods, follow, in_review, is_closed, nodes, scale,
    set_consolidation, too_large,
};
use http::Method;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_api::{NodeClaim, Plan};
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::plan::Policy;
use stowage_planner::{Limits, consolidate};
use stowage_review::cluster;

fn removed(plan: &Plan) -> BTreeSet<String> {
    plan.spec.actions.iter().filter_map(|action| action.node.clone()).collect()
}

fn moved(plan: &Plan) -> BTreeSet<String> {
    let removals = plan.spec.actions.iter().filter(|action| action.kind == "Remove");
    removals.flat_map(|action| action.pods.clone()).collect()
}

/// A plan that waits and removes nodes with pods on them.
async fn proposed(scene: &Scene, not: &BTreeSet<String>) -> Plan {
    let found = async || {
        let plans = scene.plans().await;
        let waits = |plan: &&Plan| {
            phase(plan) == "Proposed" && !moved(plan).is_empty() && !not.contains(&plan.name_any())
        };
        plans.iter().find(waits).cloned().ok_or_else(|| format!("none of {} plans", plans.len()))
    };
    eventually("a plan is proposed", LATER, found).await.expect("a plan")
}

async fn names(scene: &Scene) -> BTreeSet<String> {
    nodes(scene).await.iter().map(|node| node.name_any()).collect()
}

/// Nothing was done: no node is closed, no claim is to go, nobody was evicted.
async fn untouched(scene: &Scene) {
    assert_eq!(nodes(scene).await.iter().filter(|node| is_closed(node)).count(), 0);
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let claims = claims.list(&ListParams::default()).await.expect("claims").items;
    assert!(claims.iter().all(|claim| !claim.annotations().contains_key("stowage.dev/removal")));
    assert_eq!(done_to_pods(scene), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_approved_nodes_go() {
    let (scene, pods) = in_review().await;
    approver(&scene).await;
    let jane = scene.cluster.client_as(JANE);
    let replica = scene.replica("one", Settings::default()).await;
    too_large(&scene, &pods).await;
    set_consolidation(&scene, "auto").await;

    // It waits, says what it does, and nothing is done; nor is the same proposed again and again.
    let first = proposed(&scene, &BTreeSet::new()).await;
    let shown = cluster::show(&jane, &first.name_any()).await.expect("it is shown");
    let one = removed(&first).into_iter().next().expect("a node");
    assert!(shown.contains("nodes go") && shown.contains(&format!("wave 1: remove/{one}")), "{shown}");
    assert!(shown.contains("| 1 |") && shown.contains(" -> "), "{shown}");
    tokio::time::sleep(Duration::from_secs(11)).await;
    untouched(&scene).await;
    let waiting: Vec<Plan> =
        scene.plans().await.into_iter().filter(|plan| phase(plan) == "Proposed").collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");

    // Stale: a pod has come to a node that was to go.
    let stranger = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stranger" },
        "spec": { "nodeName": one, "terminationGracePeriodSeconds": 0, "containers": [{ "name": "main", "image": "none" }] },
    });
    let stranger = serde_json::from_value(stranger).expect("a pod");
    pods.create(&PostParams::default(), &stranger).await.expect("it comes");
    let refused = becomes(&scene, &first.name_any(), "Refused").await;
    let wanted = format!("remove/{one}: pod test/stranger has come to the node since it was planned");
    assert_eq!(why(&refused), ("Stale".to_owned(), wanted));
    pods.delete("stranger", &DeleteParams::default().grace_period(0)).await.expect("it goes");
    untouched(&scene).await;

    // Approved: these nodes, and no others.
    let mut over: BTreeSet<String> = [first.name_any()].into();
    let before = names(&scene).await;
    let second = loop {
        let plan = proposed(&scene, &over).await;
        let name = plan.name_any();
        over.insert(name.clone());
        if let Err(error) = cluster::approve(&jane, &name, &plan.spec.digest, "Jane").await {
            eprintln!("{name}: {}", error.text);
            continue;
        }
        let ended = async || {
            let plans = scene.plans().await;
            let own = plans.into_iter().find(|one| one.name_any() == name).ok_or("it is gone")?;
            if ["Completed", "Refused", "Superseded"].contains(&phase(&own)) {
                Ok(own)
            } else {
                Err(format!("{}: {:?}", phase(&own), why(&own)))
            }
        };
        let ended = eventually("it is over", LATER, ended).await.expect("it is over");
        if phase(&ended) == "Completed" {
            break plan;
        }
        // It was planned with the stranger in it: nothing of it is done.
        eprintln!("{name}: {:?}", why(&ended));
        untouched(&scene).await;
    };
    eventually("at rest", LATER, || at_rest(&scene)).await.expect("it comes to rest");
    let after = names(&scene).await;
    let gone: BTreeSet<String> = before.difference(&after).cloned().collect();
    assert_eq!(gone, removed(&second));
    let (evicted, deleted) = done_to_pods(&scene);
    let evicted: BTreeSet<String> = evicted.into_iter().collect();
    // Successors may have to move twice; of those that were there, all that were read of and no others.
    assert!(moved(&second).is_subset(&evicted), "{evicted:?} {:?}", moved(&second));
    assert_eq!(deleted, Vec::<String>::new());
    eventually("ready", LATER, || all_ready(&pods, WANTED)).await.expect("they are ready");

    // A plan file.
    scale(&scene, REPLICAS * 3 / 10).await;
    let left = APPS * (REPLICAS * 3 / 10);
    eventually("fewer", LATER, || all_ready(&pods, left)).await.expect("they are fewer");
    set_consolidation(&scene, "off").await;
    let mut recorded = stowage_observe::record(&scene.client).await.expect("a recording").imported.snapshot;
    recorded.taken_at = Some(jiff::Timestamp::now().to_string());
    recorded.node_pools.iter_mut().for_each(|pool| pool.not_ready = None);
    let begun = Instant::now();
    let clock: Arc<dyn Fn() -> Duration + Send + Sync> = Arc::new(move || begun.elapsed());
    let limits = Limits { time: Duration::from_secs(2), threads: 1, clock, cancel: None };
    let wanted = ConsolidationPolicy { min_node_age_minutes: 0, ..ConsolidationPolicy::default() };
    let policy = Policy { consolidation: Some(wanted), ..Policy::default() };
    let planned = consolidate(&recorded, Catalog::embedded(), &policy, &limits, &mut |_| {});
    let file = serde_json::to_vec(&planned.expect("a plan").plan).expect("JSON");
    let plan = stowage_review::read_file(&file).expect("a plan that removes");
    let (before, evicted) = (names(&scene).await, done_to_pods(&scene).0.len());
    let applied = cluster::apply(&jane, &plan, 600, Some("Jane")).await.expect("it is applied");
    let name = applied.split_whitespace().next().expect("a name").to_owned();
    let done = becomes(&scene, &name, "Completed").await;
    eventually("at rest", LATER, || at_rest(&scene)).await.expect("it comes to rest");
    let after = names(&scene).await;
    assert_eq!(before.difference(&after).cloned().collect::<BTreeSet<_>>(), removed(&done));
    assert!(!removed(&done).is_empty());
    let (all, deleted) = done_to_pods(&scene);
    let since: BTreeSet<String> = all.into_iter().skip(evicted).collect();
    assert!(moved(&done).is_subset(&since), "{since:?} {:?}", moved(&done));
    assert_eq!(deleted, Vec::<String>::new());
    eventually("ready", LATER, || all_ready(&pods, left)).await.expect("they are ready");

    // A machine is taken away: nobody is asked.
    let instance = scene.cloud.with(|world| {
        let mut live = world.machines().values().filter(|one| one.ended.is_none());
        live.next().expect("a machine").id.clone()
    });
    let detail = json!({ "instance-id": instance, "instance-action": "terminate" });
    let event = json!({
        "source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning",
        "time": jiff::Timestamp::now().to_string(), "detail": detail,
    });
    scene.cloud.with(|world| world.send("stowage", event.to_string()));
    until("its machine ends", async || {
        let ended = scene.cloud.with(|world| world.machines()[&instance].ended.is_some());
        let at_rest = at_rest(&scene).await?;
        all_ready(&pods, left).await?;
        if ended { Ok(()) } else { Err(format!("{at_rest} machines")) }
    })
    .await;
    let plans = scene.plans().await;
    let node = format!("ip-{}", &instance[2..]);
    let by = plans.iter().find(|plan| removed(plan).contains(&node) && plan.spec.body.is_none());
    assert!(by.is_some(), "it is a plan that needs no approval");
    scene.seen();
    replica.task.abort();
}

/// The controller ends between the waves of an approved plan, and again while the next is written: the rest goes on under the same approval.
#[tokio::test(flavor = "multi_thread")]
async fn an_approved_plan_goes_on_after_the_controller_has_ended() {
    let (scene, pods) = in_review().await;
    approver(&scene).await;
    let jane = scene.cluster.client_as(JANE);
    let mut replica = scene.replica("one", Settings::default()).await;
    too_large(&scene, &pods).await;
    replica.task.abort();
    // One node after the other.
    at_a_time(&scene, "1").await;
    set_consolidation(&scene, "auto").await;
    let trap = Trap::default();
    replica = follow(&scene, replica.lease, &trap).await;
    let plan = proposed(&scene, &BTreeSet::new()).await;
    let (name, wanted) = (plan.name_any(), removed(&plan));
    assert!(wanted.len() >= 3, "one wave for each of {wanted:?}");
    let before = names(&scene).await;
    // The first wave is done: its node is gone.
    trap.set(Method::DELETE, "/nodes/", When::After);
    cluster::approve(&jane, &name, &plan.spec.digest, "Jane").await.expect("it is approved");
    for (method, path, when) in [
        // The next wave is written, or not; or its node is being drained.
        (Method::PATCH, "/nodeclaims/", When::Before),
        (Method::PATCH, "/nodeclaims/", When::After),
        (Method::POST, "/eviction", When::After),
    ] {
        trap.caught("it is caught").await;
        replica.task.abort();
        eprintln!("{} of {} nodes are gone", before.difference(&names(&scene).await).count(), wanted.len());
        trap.set(method, path, when);
        replica = follow(&scene, replica.lease, &trap).await;
    }
    trap.caught("it is caught").await;
    replica.task.abort();
    replica = follow(&scene, replica.lease, &trap).await;
    let done = becomes(&scene, &name, "Completed").await;
    let status = done.status.expect("a status");
    assert_eq!(status.actions, Some(format!("{0}/{0}", plan.spec.actions.len())));
    eventually("at rest", LATER, || at_rest(&scene)).await.expect("it comes to rest");
    let after = names(&scene).await;
    assert_eq!(before.difference(&after).cloned().collect::<BTreeSet<_>>(), wanted);
    // By that approval alone: no other plan was carried out.
    for other in scene.plans().await.iter().filter(|one| one.name_any() != name && !removed(one).is_empty()) {
        // One that has no phase was created a moment ago, or just when its controller ended.
        assert!(["", "Proposed", "Superseded", "Refused"].contains(&phase(other)), "{other:?}");
    }
    let (evicted, deleted) = done_to_pods(&scene);
    assert_eq!(evicted.iter().collect::<BTreeSet<_>>().len(), evicted.len(), "each is evicted once");
    assert_eq!(deleted, Vec::<String>::new());
    eventually("ready", LATER, || all_ready(&pods, WANTED)).await.expect("they are ready");
    scene.seen();
    replica.task.abort();
}
