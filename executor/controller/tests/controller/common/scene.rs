//! A control plane with the chart's rights, a fake cloud, and controllers on them.

use super::machines::{Whims, boot, doubled};
use super::{SOON, TURNS, aws_settings, class, create, options, prepare, turns};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stowage_api::{NodePool, Plan, PlanPolicy};
use stowage_aws::Aws;
use stowage_cluster::{Cluster, Kubelet, eventually};
use stowage_controller::{Controller, Lease};
use stowage_executor::{Mode, Settings};
use stowage_fake_cloud::{Call, FakeCloud, Script};
use stowage_models::catalog::Catalog;
use tokio::sync::SemaphorePermit;
use tokio::task::JoinHandle;

/// Where the chart is installed.
pub(crate) const SPACE: &str = "stowage-system";
/// Who the controller is: it has the rights that the chart gives, and no others.
pub(crate) const USER: &str = "system:serviceaccount:stowage-system:stowage";
/// How often invariants are looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// What was seen along the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What must never be, and was.
    broken: BTreeSet<String>,
    /// Most cores of machines at once.
    pub(crate) cores_most: u64,
}

/// See the module.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) cloud: Arc<FakeCloud>,
    pub(crate) whims: Arc<Mutex<Whims>>,
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
    _turn: SemaphorePermit<'static>,
}

/// A controller with a lease of its own client.
pub(crate) struct Replica {
    pub(crate) task: JoinHandle<()>,
    pub(crate) lease: Lease,
}

impl Scene {
    pub(crate) async fn start(script: Script) -> Scene {
        Scene::start_with(script, turns(1).await).await
    }

    /// The same with no other control plane beside it, for what is measured by the clock.
    pub(crate) async fn start_alone(script: Script) -> Scene {
        Scene::start_with(script, turns(TURNS).await).await
    }

    async fn start_with(script: Script, turn: SemaphorePermit<'static>) -> Scene {
        let builder = Cluster::builder().controller_manager(true).scheduler(true).audit(true);
        let cluster = builder.start().await.expect("the cluster starts");
        prepare(&cluster, class()).await;
        cluster.create_namespace(SPACE).await.expect("the namespace");
        let charts: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts");
        cluster.install(&charts.join("stowage"), SPACE).await.expect("the chart installs");
        let cloud = Arc::new(FakeCloud::start(script).await.expect("a port"));
        let (whims, seen): (Arc<Mutex<Whims>>, Arc<Mutex<Seen>>) = Default::default();
        let booting = tokio::spawn(boot(cloud.clone(), Kubelet::start(cluster.client()), whims.clone()));
        let watching = tokio::spawn(watch(cloud.clone(), seen.clone()));
        let client = cluster.client();
        Scene { client, cluster, cloud, whims, seen, tasks: vec![booting, watching], _turn: turn }
    }

    /// Creates the cluster's PlanPolicy.
    pub(crate) async fn create_policy(&self, spec: Value) {
        let policy = json!({
            "apiVersion": "stowage.dev/v1alpha1", "kind": "PlanPolicy", "metadata": { "name": "default" }, "spec": spec,
        });
        create(&self.client, "planpolicies", policy).await;
    }

    /// Changes the cluster's PlanPolicy.
    pub(crate) async fn change_policy(&self, change: Value) -> PlanPolicy {
        let policies: Api<PlanPolicy> = Api::all(self.client.clone());
        let patch = Patch::Merge(change);
        policies.patch("default", &PatchParams::default(), &patch).await.expect("the policy changes")
    }

    /// Changes the NodePool.
    pub(crate) async fn pool(&self, change: Value) {
        let pools: Api<NodePool> = Api::all(self.client.clone());
        let patch = Patch::Merge(change);
        pools.patch("default", &PatchParams::default(), &patch).await.expect("the pool changes");
    }

    /// The pool has instances of these types only, on demand.
    pub(crate) async fn types(&self, names: &[&str]) {
        self.offers("on-demand", names).await;
    }

    /// The same, spot.
    pub(crate) async fn spot(&self, names: &[&str]) {
        self.offers("spot", names).await;
    }

    async fn offers(&self, capacity_type: &str, names: &[&str]) {
        let one_of = |key: &str, values: &[&str]| json!({ "key": key, "operator": "In", "values": values });
        let requirements = [
            one_of("karpenter.sh/capacity-type", &[capacity_type]),
            one_of("node.kubernetes.io/instance-type", names),
        ];
        self.pool(json!({ "spec": { "template": { "spec": { "requirements": requirements } } } })).await;
    }

    /// A controller in auto mode, as the chart's service account.
    pub(crate) async fn replica(&self, name: &str, settings: Settings) -> Replica {
        let lease = Lease::start(self.cluster.client_as(USER), SPACE, "stowage-controller", name);
        self.replica_through(lease, self.cluster.client_as(USER), settings).await
    }

    /// The same with this lease, and with this client for everything else.
    pub(crate) async fn replica_through(&self, lease: Lease, client: Client, settings: Settings) -> Replica {
        let controller = self.controller(&lease, client, settings).await;
        Replica { task: tokio::spawn(controller.run()), lease }
    }

    /// A controller that has not begun.
    pub(crate) async fn controller(&self, lease: &Lease, client: Client, settings: Settings) -> Controller {
        let aws = Aws::connect(aws_settings(&self.cloud), Catalog::embedded().clone()).await;
        let settings = Settings { mode: Mode::Auto, ..settings };
        Controller::new(client, Arc::new(aws), lease.leadership(), options(settings))
    }

    /// Calls of an action from some moment of the cloud on.
    pub(crate) fn calls(&self, action: &str, from: u64) -> Vec<Call> {
        let all = self.cloud.with(|world| world.calls().to_vec());
        all.into_iter().filter(|call| call.action == action && call.at >= from).collect()
    }

    /// Machines that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.cloud.with(|world| world.machines().values().filter(|one| one.ended.is_none()).count())
    }

    pub(crate) async fn plans(&self) -> Vec<Plan> {
        let plans: Api<Plan> = Api::all(self.client.clone());
        // The API server refuses for some seconds while it gets to know a kind.
        let list = || async { plans.list(&ListParams::default()).await.map_err(|error| error.to_string()) };
        eventually("list of plans", SOON, list).await.expect("plans").items
    }

    /// Reasons that plans show for leaving a pod out.
    pub(crate) async fn reasons(&self, pod: &str) -> Vec<String> {
        let left = self.plans().await.into_iter().filter_map(|plan| plan.status?.left_out).flatten();
        left.filter(|left| left.pod == format!("test/{pod}")).map(|left| left.reason).collect()
    }

    /// The node of a pod.
    pub(crate) async fn node_of(&self, pod: &str) -> Option<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "test");
        pods.get(pod).await.expect("the pod").spec?.node_name
    }

    /// What was seen along the way; nothing that must not be.
    pub(crate) fn seen(&self) -> Seen {
        let seen = self.seen.lock().expect("what was seen").clone();
        assert_eq!(seen.broken, BTreeSet::new());
        seen
    }

    /// How often each token was used for a fleet.
    pub(crate) fn fleets_by_token(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for call in self.calls("CreateFleet", 0) {
            *times.entry(call.parameters["ClientToken"].clone()).or_default() += 1;
        }
        times
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Looks at invariants along the way: no action and no claim has two machines.
async fn watch(cloud: Arc<FakeCloud>, seen: Arc<Mutex<Seen>>) {
    loop {
        let broken = doubled(&cloud);
        let cores = cloud.with(|world| {
            let live = world.machines().values().filter(|machine| machine.ended.is_none());
            let types = live.map(|machine| Catalog::embedded().get(&machine.instance_type));
            types.map(|kind| u64::from(kind.expect("a type of the catalogue").vcpus)).sum()
        });
        {
            let mut seen = seen.lock().expect("what was seen");
            seen.broken.extend(broken);
            seen.cores_most = seen.cores_most.max(cores);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits for something.
pub(crate) async fn until<F, Answer>(what: &str, look: F)
where
    F: FnMut() -> Answer,
    Answer: Future<Output = Result<(), String>>,
{
    eventually(what, 3 * SOON, look).await.unwrap_or_else(|error| panic!("{error}"));
}
