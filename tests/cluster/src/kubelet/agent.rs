//! The working part of the fake kubelet, shared by its tasks.

use super::node::{self, NodeSpec};
use super::{Behaviour, KubeletBuilder, pod};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Requests under way at once.
const REQUESTS_MAX: usize = 32;

/// Where leases of nodes live.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The exit code of a program that SIGTERM ended.
const TERMINATED: i32 = 143;

/// The first address of pods, 10.128.0.0: half of 10.0.0.0/8, far from services.
const ADDRESSES: u32 = 0x0a80_0000;

/// How often a refused report is repeated, and after which pause: two minutes of an API server that restarts. A real kubelet never gives up.
const REPEATS_MAX: usize = 600;
const REPEAT_AFTER: Duration = Duration::from_millis(200);

/// How far a pod is, so that no event is acted on twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Bound,
    Deleted,
}

/// See the module.
pub(super) struct Agent {
    pub(super) client: Client,
    settings: KubeletBuilder,
    /// Nodes that are alive, by name.
    nodes: Mutex<BTreeMap<String, NodeSpec>>,
    /// Pods of these nodes that were seen, by uid.
    pods: Mutex<BTreeMap<String, Stage>>,
    /// Pods that were started; each gets an address of its own.
    started: AtomicU32,
    requests: Semaphore,
    /// Everything under way. Tasks hold the agent, so it is theirs to keep alive and [`Agent::stop`]'s to end.
    tasks: Mutex<JoinSet<()>>,
}

impl Agent {
    pub(super) fn start(client: Client, settings: KubeletBuilder) -> Arc<Agent> {
        let agent = Arc::new(Agent {
            client,
            settings,
            nodes: Mutex::default(),
            pods: Mutex::default(),
            started: AtomicU32::new(1),
            requests: Semaphore::new(REQUESTS_MAX),
            tasks: Mutex::default(),
        });
        agent.spawn(Agent::send_heartbeats);
        agent.spawn(Agent::watch_nodes);
        agent.spawn(Agent::watch_pods);
        agent
    }

    /// Ends all tasks.
    pub(super) fn stop(&self) {
        lock(&self.tasks).abort_all();
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, NodeSpec>> {
        lock(&self.nodes)
    }

    pub(super) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), LEASE_NAMESPACE)
    }

    fn spawn<Work>(self: &Arc<Agent>, work: impl FnOnce(Arc<Agent>) -> Work)
    where
        Work: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = lock(&self.tasks);
        // Those that are done need no room.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work(self.clone()));
    }

    /// Sends a heartbeat; the first creates the lease.
    pub(super) async fn renew(&self, node: &NodeSpec) -> Result<(), kube::Error> {
        let apply = PatchParams::apply("fake-kubelet").force();
        self.leases().patch(&node.name, &apply, &Patch::Apply(node.lease())).await.map(drop)
    }

    async fn send_heartbeats(self: Arc<Agent>) {
        let mut ticks = tokio::time::interval(self.settings.heartbeat);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let nodes: Vec<NodeSpec> = self.nodes().values().cloned().collect();
            let renew = |node: NodeSpec| {
                let agent = &self;
                async move {
                    // A heartbeat that was lost is made up for by the next.
                    let alive = agent.nodes().contains_key(&node.name);
                    if alive && let Err(error) = agent.renew(&node).await {
                        eprintln!("fake kubelet: no heartbeat of {}: {error}", node.name);
                    }
                }
            };
            futures::stream::iter(nodes).for_each_concurrent(REQUESTS_MAX, renew).await;
        }
    }

    /// Reports a node's status as it is known here; of one that is not alive, nothing. With a version of the object, only that is changed.
    async fn report_node(&self, name: &str, version: Option<&str>) -> Result<(), kube::Error> {
        let Some(mut status) = self.nodes().get(name).map(NodeSpec::status) else { return Ok(()) };
        if let Some(version) = version {
            status["metadata"] = json!({ "resourceVersion": version });
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.map(drop)
    }

    /// From now on a node is ready; reports it.
    pub(super) async fn report_ready(&self, name: &str) -> Result<(), kube::Error> {
        if let Some(node) = self.nodes().get_mut(name) {
            node.is_ready = true;
        }
        self.report_node(name, None).await
    }

    /// Reports a node as ready after a while, if it is still alive then.
    pub(super) fn ready_later(self: &Arc<Agent>, name: String, delay: Duration) {
        self.spawn(move |agent| async move {
            tokio::time::sleep(delay).await;
            let what = format!("report the node {name} as ready");
            agent.insist(&what, || agent.report_ready(&name)).await;
        });
    }

    /// Reports nodes again that were taken for lost and are not.
    async fn watch_nodes(self: Arc<Agent>) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut events = watcher(nodes, watcher::Config::default()).default_backoff().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Apply(node) | Event::InitApply(node))) => {
                    if node::is_taken_for_lost(&node) && self.nodes().contains_key(&node.name_any()) {
                        self.spawn(move |agent| async move { agent.repeat_node(&node).await });
                    }
                }
                Ok(Some(Event::Delete(_) | Event::Init | Event::InitDone)) => {}
                // The watcher starts again by itself, after a pause.
                Err(error) => eprintln!("fake kubelet: watching nodes: {error}"),
                Ok(None) => return,
            }
        }
    }

    /// A node that has changed meanwhile is left to the event that says so.
    async fn repeat_node(&self, node: &Node) {
        let (name, version) = (node.name_any(), node.resource_version());
        let again = || async { gone(self.report_node(&name, version.as_deref()).await) };
        self.insist("report a node again", again).await;
    }

    async fn watch_pods(self: Arc<Agent>) {
        let bound = watcher::Config::default().fields("spec.nodeName!=");
        let pods: Api<Pod> = Api::all(self.client.clone());
        let mut events = watcher(pods, bound).default_backoff().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => self.attend(&pod),
                Ok(Some(Event::Delete(pod))) => {
                    lock(&self.pods).remove(&pod.uid().unwrap_or_default());
                }
                Ok(Some(Event::Init | Event::InitDone)) => {}
                // The watcher starts again by itself, after a pause.
                Err(error) => eprintln!("fake kubelet: watching pods: {error}"),
                Ok(None) => return,
            }
        }
    }

    /// Does what is due for a pod as it now is: the next event of the same kind finds it done.
    pub(super) fn attend(self: &Arc<Agent>, pod: &Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        if !self.nodes().contains_key(node) {
            return;
        }
        let deleted = pod.metadata.deletion_timestamp.is_some();
        let stage = if deleted { Stage::Deleted } else { Stage::Bound };
        let before = lock(&self.pods).get(&pod.uid().unwrap_or_default()).copied();
        if !deleted && before == Some(Stage::Bound) && phase(pod) == "Running" && !pod::is_ready(pod) {
            let pod = pod.clone();
            self.spawn(move |agent| async move { agent.repeat(&pod).await });
            return;
        }
        if before.is_some_and(|before| before >= stage) || (!deleted && phase(pod) != "Pending") {
            return;
        }
        lock(&self.pods).insert(pod.uid().unwrap_or_default(), stage);
        let pod = pod.clone();
        self.spawn(move |agent| async move {
            if deleted { agent.end(&pod).await } else { agent.run(&pod).await }
        });
    }

    /// From bound to running, and on if the pod ends by itself.
    async fn run(&self, pod: &Pod) {
        let behaviour = (self.settings.behave)(pod);
        if behaviour == Behaviour::Stuck {
            return;
        }
        let address = Ipv4Addr::from_bits(ADDRESSES + self.started.fetch_add(1, Ordering::Relaxed));
        let running = pod::running(pod, address);
        self.insist("report a pod as running", || self.report(pod, &running)).await;
        if let Behaviour::Exit { after, code } = behaviour {
            tokio::time::sleep(after).await;
            let ended = pod::ended(pod, code);
            self.insist("report a pod as ended", || self.report(pod, &ended)).await;
        }
    }

    /// Reports a pod as ready again that was, and that others have written over: the node lifecycle controller does when it takes a node for lost. A
    /// pod that has changed meanwhile, for example has ended, is left to the event that says so.
    async fn repeat(&self, pod: &Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let mut status = pod::ready();
        status["metadata"] = json!({ "resourceVersion": pod.resource_version() });
        let again = || async {
            // A node that fell silent says nothing more.
            let alive = self.nodes().contains_key(node);
            if alive { gone(self.report(pod, &status).await) } else { Ok(()) }
        };
        self.insist("report a pod as ready again", again).await;
    }

    /// From deleted to gone: as the kubelet does, the containers' end is reported before the object is removed.
    async fn end(&self, pod: &Pod) {
        let Some(delay) = (self.settings.terminate)(pod) else { return };
        tokio::time::sleep(delay).await;
        if !["Succeeded", "Failed"].contains(&phase(pod)) {
            let ended = pod::ended(pod, TERMINATED);
            self.insist("report a pod as ended", || self.report(pod, &ended)).await;
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let name = pod.name_any();
        self.insist("remove a pod", || async { gone(pods.delete(&name, &now).await) }).await;
    }

    /// Merges a status into a pod's own. The uid makes sure that it is not a later pod of the same name.
    pub(super) async fn report(&self, pod: &Pod, status: &Value) -> Result<(), kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let mut patch = status.clone();
        patch["metadata"]["uid"] = json!(pod.uid());
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
    }

    /// Repeats a request until it is done or there is nothing to do it to. Giving up is said on stderr: a test that
    /// waits for it will fail, and its reader will want to know.
    ///
    /// A conflict is no end: but for those that repeat what was said, reports name no version of the object, so each is applied to what is there
    /// by then, and what is refused nevertheless is still to be reported.
    async fn insist<Answer>(&self, what: &str, request: impl Fn() -> Answer)
    where
        Answer: Future<Output = Result<(), kube::Error>>,
    {
        let mut last = None;
        for _ in 0..REPEATS_MAX {
            let answer = {
                let _turn = self.requests.acquire().await;
                request().await
            };
            match answer {
                Ok(()) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        let error = last.map_or_else(String::new, |error| error.to_string());
        eprintln!("fake kubelet: gave up to {what}: {error}");
    }
}

fn phase(pod: &Pod) -> &str {
    // The API server sets it on creation.
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// The answer to a deletion, or to what is for one version of an object; what is gone or was replaced is fine.
pub(super) fn gone<T>(answer: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

/// A lock; a panic of another holder has left the data as whole as any other moment would.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
