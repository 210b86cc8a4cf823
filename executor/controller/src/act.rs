//! Carries requests out against the API server and the cloud.

use crate::brake::{Brake, STOPPED};
use crate::buffers::Rooms;
use crate::conditions::{Step, conditions};
use crate::events::{About, Events, Weight};
use crate::lease::{LOST, Leadership, WRITE};
use crate::metrics::Metrics;
use crate::shifts::Shifts;
use crate::{objects, removing, review, successors, telling};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use stowage_executor::{
    Answer, Cloud, Draft, Failure, Listing, PlannedPod, Reason, Request, SLOT_TAINT, Time, class_hash,
};
use stowage_models::labels;
use stowage_observe::{KINDS, SLOT};

/// Access to a cluster and a cloud.
pub(crate) struct Ports {
    pub(crate) client: Client,
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) leadership: Leadership,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
    pub(crate) brake: Brake,
    pub(crate) rooms: Rooms,
    pub(crate) shifts: Shifts,
    /// Where the controller runs.
    pub(crate) namespace: String,
    pub(crate) said: successors::Said,
}

pub(crate) type Outcome = Result<(), String>;

/// Bytes of a refusal that a condition shows.
const MESSAGE_MAX: usize = 500;

/// A refusal as text; what is gone, or there already, is as it should be.
pub(crate) fn fine<T>(result: Result<T, kube::Error>, code: u16) -> Outcome {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == code => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn api(client: &Client, kind: &str) -> Result<Api<DynamicObject>, String> {
    let found = KINDS.iter().find(|one| one.kind == kind);
    found.map(|one| one.api(client)).ok_or_else(|| format!("{kind} is no kind that is looked at"))
}

impl Ports {
    /// With the brake off, and no plan yet.
    pub(crate) fn new(
        client: Client,
        cloud: Arc<dyn Cloud>,
        leadership: Leadership,
        metrics: Arc<Metrics>,
        events: Events,
        namespace: String,
    ) -> Ports {
        let (brake, rooms, said) = Default::default();
        let shifts = Shifts::new(cloud.shifts().is_some());
        Ports { client, cloud, leadership, metrics, events, brake, rooms, shifts, namespace, said }
    }

    /// Carries a request out, with the lease held and within its deadline. A stop refuses what has not begun and ends what has: whether it
    /// was done is seen later, as with any answer that is lost.
    pub(crate) async fn carry_out(&self, request: Request, now: Time) -> Option<Answer> {
        if !request.is_write() || request.finishes() {
            return self.act(request, now).await;
        }
        let key = request.key();
        tokio::select! {
            biased;
            () = self.brake.on() => key.map(|key| Answer::Failed(key, STOPPED.to_owned())),
            answer = self.act(request, now) => answer,
        }
    }

    async fn act(&self, request: Request, now: Time) -> Option<Answer> {
        let key = request.key();
        if request.is_write() && self.leadership.epoch().is_none() {
            return key.map(|key| Answer::Failed(key, LOST.to_owned()));
        }
        match request {
            Request::Launch { claim, token, body } => {
                let launched = self.while_held(self.timed("Create", self.cloud.launch(&token, &body))).await;
                Some(match launched {
                    Some(Ok(launched)) => Answer::Launched { claim, launched },
                    Some(Err(why)) => {
                        self.note_refusal(&claim, &why).await;
                        Answer::NotLaunched { claim, why }
                    }
                    None => Answer::Failed(key?, LOST.to_owned()),
                })
            }
            Request::CreateClaim(draft) => {
                let claim = draft.name.clone();
                let key = key?;
                let draft = match self.prepare(*draft).await {
                    Ok(draft) => draft,
                    Err(why) => return Some(Answer::NotPrepared { claim, why }),
                };
                Some(match self.leadership.write(self.create_claim(&draft)).await {
                    Ok(()) => Answer::Done(key),
                    Err(error) => Answer::Failed(key, error),
                })
            }
            Request::List => Some(match self.list(now).await {
                Ok(listing) => Answer::Listed(listing),
                Err(error) => Answer::Failed(key?, error),
            }),
            Request::Terminate { instance, why, empty, detached } => {
                let key = key?;
                if let Some(node) = empty
                    && let Err(error) = self.is_empty(&node, detached).await
                {
                    return Some(Answer::Failed(key, error));
                }
                let ended = self.while_held(self.timed("Delete", self.cloud.terminate(&instance, why))).await;
                Some(match ended {
                    Some(Ok(())) => Answer::Done(key),
                    Some(Err(error)) => Answer::Failed(key, error.0),
                    None => Answer::Failed(key, LOST.to_owned()),
                })
            }
            other => {
                let done = self.leadership.write(self.write(other)).await;
                let key = key?;
                Some(match done {
                    Ok(()) => Answer::Done(key),
                    Err(error) => Answer::Failed(key, error),
                })
            }
        }
    }

    /// Asks the API server itself for pods that are to leave a node, and for their volumes.
    async fn is_empty(&self, node: &str, detached: bool) -> Outcome {
        let pods = api(&self.client, "Pod")?;
        let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let found = tokio::time::timeout(WRITE, pods.list(&here)).await;
        let found = found.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        let left = found.items.iter().filter(|pod| {
            let drain = stowage_observe::pod(pod).drain;
            drain.is_some_and(|drain| drain.going.is_none())
        });
        match left.count() {
            0 if detached => removing::are_detached(self, node, &found.items).await,
            0 => Ok(()),
            count => Err(format!("{count} pods have come meanwhile")),
        }
    }

    /// What the cloud is asked for takes several calls and longer than a write: it ends with the lease, so that whoever holds it next
    /// meets no late call of ours. `None`: the lease was lost meanwhile.
    async fn while_held<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.leadership.lost() => None,
            outcome = call => Some(outcome),
        }
    }

    /// A call to the cloud, measured under Karpenter's name for it.
    async fn timed<T, E>(&self, method: &str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = Instant::now();
        let outcome = call.await;
        telling::call(&self.metrics, method, begun.elapsed(), outcome.is_ok());
        outcome
    }

    /// Has the cloud look up what a launch needs, and writes it into the draft.
    async fn prepare(&self, mut draft: Draft) -> Result<Draft, Failure> {
        let later = |error: String| Failure::Later(error);
        let classes = api(&self.client, "EC2NodeClass").map_err(later)?;
        let found = tokio::time::timeout(WRITE, classes.get_opt(&draft.intent.class)).await;
        let found = found.map_err(|_| Failure::Later("no answer in time".to_owned()))?;
        let class = found.map_err(|error| Failure::Later(error.to_string()))?;
        let class = class
            .ok_or_else(|| Failure::Never(format!("there is no EC2NodeClass {}", draft.intent.class)))?;
        draft.class_hash = class_hash(&class.data["spec"]);
        let class = serde_json::to_string(&class).map_err(|error| Failure::Never(error.to_string()))?;
        draft.body = self.cloud.prepare(&draft.body, &class).await?;
        Ok(draft)
    }

    async fn create_claim(&self, draft: &Draft) -> Outcome {
        let object = serde_json::from_value(objects::claim(draft)).map_err(|error| error.to_string())?;
        fine(api(&self.client, "NodeClaim")?.create(&PostParams::default(), &object).await, 409)
    }

    async fn write(&self, request: Request) -> Outcome {
        match request {
            Request::RecordLaunch { claim, instance } => {
                let provider = format!("aws:///{}/{}", instance.zone, instance.id);
                let fields = json!({ "providerID": provider, "imageID": instance.image });
                self.status(&claim, Step::Launched, fields).await?;
                let found = json!({ "metadata": { "labels": {
                    labels::INSTANCE_TYPE: instance.instance_type,
                    labels::ZONE: instance.zone,
                    labels::CAPACITY_TYPE: instance.capacity_type,
                } } });
                let claims = api(&self.client, "NodeClaim")?;
                fine(claims.patch(&claim, &PatchParams::default(), &Patch::Merge(found)).await, 404)
            }
            Request::Register { claim, node } => self.register(&claim, &node).await,
            Request::Initialize { claim, node } => {
                let label = json!({ "metadata": { "labels": { labels::INITIALIZED: "true" } } });
                let nodes = api(&self.client, "Node")?;
                fine(nodes.patch(&node, &PatchParams::default(), &Patch::Merge(label)).await, 404)?;
                self.status(&claim, Step::Initialized, json!({})).await
            }
            Request::Tolerate { pod, slot } => self.tolerate(&pod, &slot).await,
            Request::Bind { pod, node } => self.bind(&pod, &node).await,
            Request::OpenNode { node, slot } => {
                let of_slot = |taint: &Value| taint["key"] == SLOT_TAINT && taint["value"] == slot;
                self.change_taints(&node, &json!({}), of_slot, None).await.map(drop)
            }
            Request::Intend(removal) => removing::intend(self, &removal).await,
            Request::Leave { claim, plan, why } => removing::leave(self, &claim, &plan, why).await,
            Request::Keep { claim, node, plan, why } => {
                removing::keep(self, &claim, node.as_deref(), plan.as_deref(), &why).await
            }
            Request::Disrupt { node } => self.disrupt(&node).await,
            Request::Evict { pod } => self.evict(&pod).await,
            Request::DeletePod { pod, grace } => {
                let (namespace, name) = place_of(&pod);
                let preconditions = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
                let seconds = u32::try_from(grace / 1000).unwrap_or(0);
                let params = DeleteParams::default().grace_period(seconds).preconditions(preconditions);
                let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
                gone(pods.delete(name, &params).await)
            }
            Request::Expect { owners, until } => successors::expect(self, &owners, until).await,
            Request::Ungate { pod, node } => successors::ungate(self, &pod, node.as_deref()).await,
            Request::DeleteClaim { claim, why } => self.delete_claim(&claim, why).await,
            Request::DeleteNode { node, uid } => {
                let preconditions = Preconditions { uid: Some(uid), resource_version: None };
                let params = DeleteParams::default().preconditions(preconditions);
                fine(api(&self.client, "Node")?.delete(&node, &params).await, 404)
            }
            Request::ReleaseClaim { claim } => {
                let claims = api(&self.client, "NodeClaim")?;
                let Some(found) = claims.get_opt(&claim).await.map_err(|error| error.to_string())? else {
                    return Ok(());
                };
                let mut left = found.metadata.finalizers.clone().unwrap_or_default();
                left.retain(|one| one != objects::FINALIZER);
                let version = found.metadata.resource_version;
                let patch = json!({ "metadata": { "finalizers": left, "resourceVersion": version } });
                fine(claims.patch(&claim, &PatchParams::default(), &Patch::Merge(patch)).await, 404)
            }
            Request::Judge { plan, verdict } => review::judge(self, &plan, &verdict).await,
            Request::Plan { .. }
            | Request::Verify { .. }
            | Request::Recheck { .. }
            | Request::Show(_)
            | Request::CreateClaim(_)
            | Request::Launch { .. }
            | Request::List
            | Request::Terminate { .. } => Ok(()),
        }
    }

    /// Instances, and only then claims.
    async fn list(&self, now: Time) -> Result<Listing, String> {
        let instances = self.timed("List", self.cloud.list()).await.map_err(|error| error.0)?;
        let claims = api(&self.client, "NodeClaim")?.list_metadata(&ListParams::default()).await;
        let claims = claims.map_err(|error| error.to_string())?;
        Ok(Listing {
            begun: now,
            instances: instances.into_iter().map(|one| (one.id.clone(), one)).collect(),
            claims: claims.items.into_iter().filter_map(|one| one.metadata.name).collect(),
        })
    }

    /// Sets conditions and other fields of a claim's status, and tells what has changed. The version is checked: nobody's change is lost.
    async fn status(&self, claim: &str, step: Step<'_>, fields: Value) -> Outcome {
        let claims = api(&self.client, "NodeClaim")?;
        let Some(found) = claims.get_opt(claim).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let before = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let now = Timestamp::now().to_string();
        let (after, transitions) = conditions(&before, step, found.metadata.generation, &now);
        if after == before && fields.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(());
        }
        let mut status = fields;
        status["conditions"] = after.into();
        let version = found.metadata.resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
        fine(claims.patch_status(claim, &PatchParams::default(), &Patch::Merge(patch)).await, 404)?;
        let uid = found.metadata.uid.unwrap_or_default();
        for one in transitions {
            self.events.tell(About::claim(claim, &uid), Weight::Normal, one.kind, &one.note);
        }
        Ok(())
    }

    /// Writes why a claim has no machine yet. That it cannot be written is no trouble of the launch.
    async fn note_refusal(&self, claim: &str, why: &Failure) {
        let text = refusal(why);
        let text = telling::cut(&text, MESSAGE_MAX);
        if let Err(error) =
            self.leadership.write(self.status(claim, Step::NotLaunched(text), json!({}))).await
        {
            tracing::debug!(claim, error, "the refusal is not written into its status");
        }
    }

    async fn register(&self, claim: &str, node: &str) -> Outcome {
        let claims = api(&self.client, "NodeClaim")?;
        let Some(found) = claims.get_opt(claim).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let mut wanted = json!({ labels::REGISTERED: "true" });
        for (key, value) in found.metadata.labels.unwrap_or_default() {
            wanted[key] = value.into();
        }
        let change = json!({ "metadata": { "labels": wanted } });
        // The node is kept for its pods from the moment on at which it is open to pods at all.
        let slot = found.metadata.annotations.unwrap_or_default().remove(SLOT).unwrap_or_default();
        let keep =
            (!slot.is_empty()).then(|| json!({ "key": SLOT_TAINT, "value": slot, "effect": "NoSchedule" }));
        let unregistered = |taint: &Value| taint["key"] == labels::TAINT_UNREGISTERED;
        if !self.change_taints(node, &change, unregistered, keep).await? {
            let note =
                "Missing karpenter.sh/unregistered taint which prevents registration related race conditions";
            let about = About::claim(claim, &found.metadata.uid.unwrap_or_default());
            self.events.tell(about, Weight::Warning, "UnregisteredTaintMissing", note);
        }
        let name = json!({ "nodeName": node });
        self.status(claim, Step::Registered, name).await
    }

    /// Removes taints of a node, and only these, and changes it otherwise as told. If something was removed, another may come in its
    /// place. False if nothing was there to remove though the node was not registered yet.
    pub(crate) async fn change_taints(
        &self,
        node: &str,
        change: &Value,
        remove: impl Fn(&Value) -> bool,
        instead: Option<Value>,
    ) -> Result<bool, String> {
        let nodes = api(&self.client, "Node")?;
        let Some(found) = nodes.get_opt(node).await.map_err(|error| error.to_string())? else {
            return Ok(true);
        };
        let mut taints = found.data["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let before = taints.len();
        taints.retain(|taint| !remove(taint));
        let removed = taints.len() < before;
        let own = found.metadata.labels.as_ref();
        let registered = own.and_then(|all| all.get(labels::REGISTERED)).is_some_and(|value| value == "true");
        if let Some(instead) = instead
            && removed
            && taints.iter().all(|taint| taint["key"] != instead["key"])
        {
            taints.push(instead);
        }
        let mut patch = change.clone();
        patch["metadata"]["resourceVersion"] = found.metadata.resource_version.into();
        patch["spec"]["taints"] = if taints.is_empty() { Value::Null } else { taints.into() };
        fine(nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await, 404)?;
        // One that was registered already has lost the taint to an earlier attempt.
        Ok(removed || registered)
    }

    /// Appends a toleration, if the pod is still the one that was planned.
    async fn tolerate(&self, pod: &PlannedPod, slot: &str) -> Outcome {
        let (namespace, name) = place_of(pod);
        let toleration =
            json!({ "key": SLOT_TAINT, "operator": "Equal", "value": slot, "effect": "NoSchedule" });
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": pod.uid },
            { "op": "add", "path": "/spec/tolerations/-", "value": toleration },
        ]);
        let patch = serde_json::from_value(patch).map_err(|error| error.to_string())?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        fine(pods.patch(name, &PatchParams::default(), &Patch::<()>::Json(patch)).await, 404)
    }

    /// Binds a pod, if it is still the one that was planned and has no node.
    async fn bind(&self, pod: &PlannedPod, node: &str) -> Outcome {
        let (namespace, name) = place_of(pod);
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "name": name, "namespace": namespace, "uid": pod.uid },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        // Conflict: the scheduler was first, or it is another pod of that name.
        gone(pods.create_subresource::<Value, Value>("binding", name, &params, &binding).await)
    }

    /// Taints a node that goes, and takes it from load balancers. The version is checked: nobody's change is lost.
    async fn disrupt(&self, node: &str) -> Outcome {
        let nodes = api(&self.client, "Node")?;
        let Some(found) = nodes.get_opt(node).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let mut taints = found.data["spec"]["taints"].as_array().cloned().unwrap_or_default();
        if taints.iter().all(|taint| taint["key"] != labels::TAINT_DISRUPTED) {
            taints.push(json!({ "key": labels::TAINT_DISRUPTED, "effect": "NoSchedule" }));
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": found.metadata.resource_version,
                "labels": { "node.kubernetes.io/exclude-from-external-load-balancers": "karpenter" },
            },
            "spec": { "taints": taints },
        });
        fine(nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await, 404)
    }

    /// Evicts a pod. The subresource is called as it is: the client's own call would lose the uid.
    async fn evict(&self, pod: &PlannedPod) -> Outcome {
        let (namespace, name) = place_of(pod);
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": name, "namespace": namespace },
            "deleteOptions": { "preconditions": { "uid": pod.uid } },
        });
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        gone(pods.create_subresource::<Value, Value>("eviction", name, &params, &eviction).await)
    }

    async fn delete_claim(&self, claim: &str, why: Reason) -> Outcome {
        let claims = api(&self.client, "NodeClaim")?;
        let note = json!({ "metadata": { "annotations": { "stowage.dev/given-up": why.as_str() } } });
        match claims.patch(claim, &PatchParams::default(), &Patch::Merge(note)).await {
            Ok(found) => {
                let about = About::claim(claim, &found.metadata.uid.unwrap_or_default());
                let note = format!("NodeClaim {claim} event: {}", given_up(why));
                self.events.tell(about, Weight::Warning, why.as_str(), &note);
            }
            Err(error) => fine(Err::<(), _>(error), 404)?,
        }
        fine(claims.delete(claim, &DeleteParams::default()).await, 404)
    }
}

/// Namespace and name.
pub(crate) fn place_of(pod: &PlannedPod) -> (&str, &str) {
    pod.id.0.split_once('/').unwrap_or(("default", &pod.id.0))
}

/// It is gone, or another pod has its name by now.
pub(crate) fn gone<T>(result: Result<T, kube::Error>) -> Outcome {
    match result {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => fine(other, 404),
    }
}

/// Why a claim is given up, for people.
fn given_up(why: Reason) -> &'static str {
    match why {
        Reason::InsufficientCapacity => {
            "none of its offerings has capacity; its pods are planned again without them"
        }
        Reason::LaunchFailed => "its launch was refused; see its condition Launched",
        Reason::LaunchTimeout => "it was not launched in time; its pods are planned again",
        Reason::RegistrationTimeout => {
            "its node has not registered in time; its machine is ended, its pods are planned again"
        }
        Reason::InstanceGone => "its machine has ended",
        Reason::Interrupted => "its machine is taken away; its pods are planned again",
        Reason::ClaimDeleted => "it is being deleted",
        Reason::StaticScaleDown => "its static NodePool has more nodes than it says",
        Reason::Drifted => "it has drifted; another node of its static NodePool is ready",
        Reason::Expired => "its time has come; its static NodePool gets another node",
        Reason::Orphan => "nobody claims it",
    }
}

/// The cloud's refusal as text.
#[must_use]
pub(crate) fn refusal(why: &Failure) -> String {
    match why {
        Failure::Capacity(offerings) => format!("no capacity in {} offerings", offerings.len()),
        Failure::Later(text) | Failure::Never(text) => text.clone(),
    }
}
