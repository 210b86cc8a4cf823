//! Goal: pods that come in the place of evicted ones run where the plan wanted these; where the API server has no policy for that, they go
//! where there is room and everything else is as before; and wherever the controller ends, no pod waits for it for ever.

use crate::common::LATER;
use crate::common::outcome::all_ready;
use crate::common::scene::{SPACE, Scene, USER, until};
use crate::common::trap::{Trap, When};
use crate::shrinking::{
    WANTED, at_a_time, at_first_none_goes, done_to_pods, follow, set_consolidation, shrinks, too_large,
};
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stowage_api::NodeClaim;
use stowage_cluster::eventually;
use stowage_executor::{Place, Removal, SUCCESSOR_GATE, Settings};

/// What was seen along the way.
#[derive(Default)]
struct Watched {
    /// Application and node of pods, by uid.
    pods: BTreeMap<String, (String, String)>,
    /// Uids of pods, by name.
    uids: BTreeMap<String, String>,
    /// Where pods that leave were to go, by uid.
    places: BTreeMap<String, Place>,
    /// Nodes of claims.
    nodes: BTreeMap<String, String>,
    /// Pods that wait for somebody to let go of them, since when, and the longest that one did.
    gated: BTreeMap<String, Instant>,
    longest: Duration,
    /// Pods that have waited so at some time.
    were: BTreeSet<String>,
}

fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.into_iter().flatten().any(|gate| gate.name == SUCCESSOR_GATE)
}

impl Watched {
    fn look_at_pods(&mut self, found: &[Pod]) {
        let now = Instant::now();
        let gated: BTreeSet<String> =
            found.iter().filter(|pod| is_gated(pod)).filter_map(|pod| pod.metadata.uid.clone()).collect();
        for uid in &gated {
            let since = *self.gated.entry(uid.clone()).or_insert(now);
            self.longest = self.longest.max(now.duration_since(since));
        }
        self.gated.retain(|uid, _| gated.contains(uid));
        self.were.extend(gated);
        for pod in found {
            let app = pod.labels().get("app").cloned().unwrap_or_default();
            self.uids.insert(pod.name_any(), pod.metadata.uid.clone().unwrap_or_default());
            if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
                self.pods.insert(pod.metadata.uid.clone().unwrap_or_default(), (app, node));
            }
        }
    }

    fn look_at_claims(&mut self, found: &[NodeClaim]) {
        for claim in found {
            let node = claim.status.as_ref().and_then(|status| status.node_name.clone());
            self.nodes.extend(node.map(|node| (claim.name_any(), node)));
            let Some(text) = claim.annotations().get("stowage.dev/removal") else { continue };
            let Ok(removal) = serde_json::from_str::<Removal>(text) else { continue };
            let places = removal.pods.into_iter().filter_map(|pod| Some((pod.uid, pod.to?)));
            self.places.extend(places);
        }
    }

    /// Successors that had to wait, and how many of them run where a pod of their application that has left was to go. `gated`: who had to
    /// wait; `now`: pods there are.
    fn led(&self, gated: &BTreeSet<String>, now: &BTreeSet<String>) -> (usize, usize) {
        let mut free: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (uid, place) in self.places.iter().filter(|(uid, _)| !now.contains(*uid)) {
            let Some((app, _)) = self.pods.get(uid) else { continue };
            let node = match place {
                Place::Node(node) => node,
                Place::Claim(claim) => self.nodes.get(claim).unwrap_or(claim),
            };
            *free.entry((app, node)).or_default() += 1;
        }
        let new: Vec<_> = self.pods.iter().filter(|(uid, _)| gated.contains(*uid)).collect();
        let mut led = 0;
        for (_, (app, node)) in &new {
            if let Some(places) = free.get_mut(&(app.as_str(), node.as_str())).filter(|places| **places > 0) {
                *places -= 1;
                led += 1;
            }
        }
        (led, new.len())
    }
}

fn watch(client: &Client) -> (Arc<Mutex<Watched>>, tokio::task::JoinHandle<()>) {
    let watched: Arc<Mutex<Watched>> = Arc::default();
    let (into, client) = (watched.clone(), client.clone());
    let task = tokio::spawn(async move {
        let pods: Api<Pod> = Api::namespaced(client.clone(), "test");
        let claims: Api<NodeClaim> = Api::all(client);
        loop {
            // A list that failed says nothing.
            if let Ok(found) = claims.list(&ListParams::default()).await {
                into.lock().expect("what was seen").look_at_claims(&found.items);
            }
            if let Ok(found) = pods.list(&ListParams::default()).await {
                into.lock().expect("what was seen").look_at_pods(&found.items);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    (watched, task)
}

async fn uids(pods: &Api<Pod>) -> BTreeSet<String> {
    let found = pods.list(&ListParams::default()).await.expect("pods").items;
    found.into_iter().filter_map(|pod| pod.metadata.uid).collect()
}

/// Whether it is said that anybody is expected.
async fn said(scene: &Scene) -> bool {
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), SPACE);
    maps.get_opt("stowage-successors").await.expect("an answer").is_some()
}

/// Names of pods that the controller has let go of.
fn let_go(scene: &Scene) -> BTreeSet<String> {
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let patches = ours.filter(|one| {
        let object = &one["objectRef"];
        one["verb"] == "patch" && object["resource"] == "pods" && object["subresource"].is_null()
    });
    patches.filter_map(|one: &Value| Some(one["objectRef"]["name"].as_str()?.to_owned())).collect()
}

/// What a cluster that shrinks came to.
#[derive(Debug)]
struct Outcome {
    /// Successors that run where they were planned to, those that had to wait until they were let go, and all.
    led: usize,
    gated: usize,
    successors: usize,
    /// Successors that were seen to wait, and how long at most.
    waited: usize,
    longest: Duration,
    /// Plans that remove nodes, and of these those that were cut short.
    plans: usize,
    failed: usize,
}

async fn shrink(installed: bool) -> Outcome {
    let (scene, pods) = at_first_none_goes().await;
    if !installed {
        let kind =
            GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding");
        let kind = ApiResource::from_gvk_with_plural(&kind, "mutatingadmissionpolicybindings");
        let bindings: Api<DynamicObject> = Api::all_with(scene.client.clone(), &kind);
        bindings.delete("stowage-successors", &DeleteParams::default()).await.expect("it is there");
    }
    let replica = scene.replica("one", Settings::default()).await;
    too_large(&scene, &pods).await;
    let before = uids(&pods).await;
    let (watched, watching) = watch(&scene.client);
    set_consolidation(&scene, "auto").await;
    shrinks(&scene, &pods).await;
    until("nobody is expected any more", async || {
        if said(&scene).await { Err("they are".to_owned()) } else { Ok(()) }
    })
    .await;
    watching.abort();
    let found = pods.list(&ListParams::default()).await.expect("pods").items;
    assert_eq!(found.iter().filter(|pod| is_gated(pod)).count(), 0, "nobody waits");
    let now = uids(&pods).await;
    let mut watched = std::mem::take(&mut *watched.lock().expect("what was seen"));
    watched.look_at_pods(&found);
    // Who waited for less than a glance is not seen to; what the API server was asked is known.
    let mut gated: BTreeSet<String> =
        let_go(&scene).iter().filter_map(|name| watched.uids.get(name).cloned()).collect();
    gated.extend(watched.were.iter().cloned());
    gated.retain(|uid| !before.contains(uid));
    let (led, gated) = watched.led(&gated, &now);
    let successors = watched.pods.keys().filter(|uid| !before.contains(*uid)).count();
    let plans = scene.plans().await;
    let removing: Vec<_> =
        plans.iter().filter(|plan| plan.spec.actions.iter().any(|action| action.kind == "Remove")).collect();
    let phase = |wanted: &str| {
        let of = |plan: &&&stowage_api::Plan| {
            plan.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(wanted)
        };
        removing.iter().filter(of).count()
    };
    let (_, deleted) = done_to_pods(&scene);
    assert_eq!(deleted, Vec::<String>::new());
    scene.seen();
    replica.task.abort();
    Outcome {
        led,
        gated,
        successors,
        waited: watched.were.len(),
        longest: watched.longest,
        plans: removing.len(),
        failed: phase("Failed"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn successors_run_where_they_were_planned_to() {
    let (with, without) = tokio::join!(shrink(true), shrink(false));
    eprintln!("led: {with:?}\nleft alone: {without:?}");
    // One that came before the API server had read whom to expect did not wait, and may be where another was to be.
    let astray = with.successors - with.gated;
    assert!(with.gated > 0 && with.led + astray >= with.gated, "{with:?}");
    assert!(with.plans > 0 && (with.failed == 0 || astray > 0), "{with:?}");
    // What the gate says of itself is over after 30 s: they are let go of, and do not sit it out.
    assert!(with.longest < Duration::from_secs(25), "{with:?}");
    assert_eq!(without.waited, 0, "{without:?}");
    // Left alone, they go where there is room, which may be where the plan wanted them: nothing more is known of that cluster, nor how many
    // go there, because that depends on where its scheduler put them.
    assert!(without.plans > 0, "{without:?}");
}

/// Kills the controller while it leads successors; whoever follows lets go of them.
#[tokio::test(flavor = "multi_thread")]
async fn no_pod_waits_for_a_controller_that_has_ended() {
    let (scene, pods) = at_first_none_goes().await;
    let mut replica = scene.replica("one", Settings::default()).await;
    too_large(&scene, &pods).await;
    replica.task.abort();
    at_a_time(&scene, "1").await;
    set_consolidation(&scene, "auto").await;
    let trap = Trap::default();
    let waiting = async || -> usize {
        let found = pods.list(&ListParams::default()).await.expect("pods").items;
        found.iter().filter(|pod| is_gated(pod)).count()
    };
    for (method, path, when) in [
        (Method::POST, "/eviction", When::After),
        // Where it is to run is said, or not, and the gate is still there.
        (Method::PATCH, "/pods/", When::Before),
        (Method::PATCH, "/pods/", When::After),
        (Method::PATCH, "/configmaps/", When::After),
        (Method::DELETE, "/configmaps/", When::Before),
    ] {
        trap.set(method.clone(), path, when);
        replica = follow(&scene, replica.lease, &trap).await;
        let caught = async || {
            let live = scene.live();
            if trap.sprung() || live <= WANTED.div_ceil(2) {
                Ok(live)
            } else {
                Err(format!("{live} machines"))
            }
        };
        eventually(path, LATER, caught).await.expect("it is caught");
        replica.task.abort();
        // Its successor has come by now.
        tokio::time::sleep(Duration::from_secs(2)).await;
        eprintln!("killed {when:?} {method} {path} ({}): {} wait", trap.sprung(), waiting().await);
        replica = follow(&scene, replica.lease, &Trap::default()).await;
        until("nobody waits", async || match waiting().await {
            0 => all_ready(&pods, WANTED).await,
            count => Err(format!("{count} wait")),
        })
        .await;
        replica.task.abort();
    }
    replica = follow(&scene, replica.lease, &Trap::default()).await;
    shrinks(&scene, &pods).await;
    assert_eq!(waiting().await, 0);
    // Nominations are the scheduler's again: pods that run have none left that a plan would wait for.
    let found = pods.list(&ListParams::default()).await.expect("pods").items;
    let bound = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    assert_eq!(found.iter().filter(bound).count(), WANTED);
    let audit = scene.cluster.audit().expect("the audit log");
    let waited = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let waited =
        waited.filter(|one: &&Value| one["verb"] == "patch" && one["objectRef"]["resource"] == "pods");
    assert!(waited.count() > 0, "it has let go of some");
    scene.seen();
    replica.task.abort();
}
