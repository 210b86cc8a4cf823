//! Goal: `benchmarks/fleet/job.yaml` makes a real Job controller hand out every share, and every share once, also when a
//! pod dies in the middle. Method: the manifest goes to a real API server as it is, but for the number of shares and
//! the effort; this test is the kubelet, and runs for real what each pod says.

use super::support::{EFFORT, counts, fleet, merged, part_of, said, snapshots};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use stowage_bench::fleet::listing::Share;
use stowage_bench::fleet::part;
use stowage_cluster::{Cluster, Kubelet, NodeSpec};
use tempfile::TempDir;

/// The name in the manifest.
const NAME: &str = "stowage-fleet";

/// Snapshots, and the shares they are planned in.
const SNAPSHOTS: u64 = 12;
const SHARES: u32 = 3;

/// The index whose first pod dies.
const UNLUCKY: u32 = 1;

/// The Job controller waits 10 s before it replaces a pod that failed; the rest takes less.
const TIME: Duration = Duration::from_secs(120);

/// What a container ends with that the kernel killed.
const KILLED: i32 = 137;

#[tokio::test(flavor = "multi_thread")]
async fn an_indexed_job_plans_every_snapshot_once() {
    let cluster = Cluster::builder().controller_manager(true).start().await.expect("the cluster starts");
    let kubelet = Kubelet::start(cluster.client());
    kubelet.add(NodeSpec::new("node-a")).await.expect("a node");
    for namespace in ["good", "bad"] {
        cluster.create_namespace(namespace).await.expect("a namespace");
    }
    // Side by side: most of the time passes with waiting for the Job controller.
    tokio::join!(
        a_pod_dies_and_its_share_is_resumed(Stage::new(&cluster, &kubelet, "good")),
        a_bad_snapshot_fails_its_index_at_once(Stage::new(&cluster, &kubelet, "bad")),
    );
}

async fn a_pod_dies_and_its_share_is_resumed(stage: Stage<'_>) {
    let (job, ran) = stage.play("Complete", Some(UNLUCKY)).await;
    let status = job.status.expect("a status");
    let completed = status.completed_indexes.as_deref();
    assert_eq!((completed, status.succeeded, status.failed), (Some("0-2"), Some(3), Some(1)), "{ran:#?}");
    assert_eq!(indexes(&ran), [0, 1, 1, 2], "one pod per share, and one more for that which died");
    // The second pod of the unlucky index found what the first had done, and did the rest.
    let second = ran.iter().rfind(|run| run.index == UNLUCKY).expect("it ran");
    let share = part::read(&part_of(stage.out.path(), UNLUCKY, SHARES)).expect("a part").rows.len();
    let resumed = (1..share).any(|kept| second.text.contains(&format!("{kept} kept, {} done", share - kept)));
    assert!(resumed, "{share} in the share: {}", second.text);

    let (code, split, text) = merged(stage.out.path());
    assert_eq!((code, split.len() as u64), (0, SNAPSHOTS), "{text}");
    assert!(counts(&split).values().all(|count| *count == 1));
    let alone = tempfile::tempdir().expect("a folder");
    let (code, text) = said(fleet(stage.folder.path(), alone.path(), &[]));
    assert_eq!(code, 0, "{text}");
    assert_eq!(merged(alone.path()).1, split, "the Job's results are those of one machine");
}

async fn a_bad_snapshot_fails_its_index_at_once(stage: Stage<'_>) {
    let bad = "truncated.json";
    std::fs::write(stage.folder.path().join(bad), "{").expect("a file");
    let of = NonZeroU32::new(SHARES).expect("not zero");
    let whose = (0..SHARES).find(|&index| Share { index, of }.has(bad)).expect("every path is someone's");
    let (job, ran) = stage.play("Failed", None).await;
    let status = job.status.expect("a status");
    assert_eq!(status.failed_indexes, Some(whose.to_string()), "{ran:#?}");
    assert_eq!(indexes(&ran), [0, 1, 2], "trying again is of no use");
    let (code, rows, text) = merged(stage.out.path());
    assert_eq!((code, rows.len() as u64), (1, SNAPSHOTS + 1), "{text}");
    assert!(text.contains(&format!("| {bad} |")), "{text}");
}

/// Indexes of the pods, sorted.
fn indexes(ran: &[Ran]) -> Vec<u32> {
    let mut indexes: Vec<u32> = ran.iter().map(|run| run.index).collect();
    indexes.sort_unstable();
    indexes
}

/// A namespace, snapshots to plan and a folder for results.
struct Stage<'a> {
    client: Client,
    kubelet: &'a Kubelet,
    namespace: &'static str,
    folder: TempDir,
    out: TempDir,
}

impl<'a> Stage<'a> {
    fn new(cluster: &Cluster, kubelet: &'a Kubelet, namespace: &'static str) -> Stage<'a> {
        let out = tempfile::tempdir().expect("a folder");
        Stage { client: cluster.client(), kubelet, namespace, folder: snapshots(SNAPSHOTS), out }
    }

    /// Creates the Job and runs its pods until it has come to `end`. The first pod of index `dies` is killed.
    async fn play(&self, end: &str, dies: Option<u32>) -> (Job, Vec<Ran>) {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), self.namespace);
        let mut manifest = manifest();
        let apply = PatchParams::apply("test").validation_strict();
        let as_it_is = jobs.patch(NAME, &apply.clone().dry_run(), &Patch::Apply(&manifest)).await;
        as_it_is.expect("the API server accepts the manifest as it is");
        change(&mut manifest);
        jobs.patch(NAME, &apply, &Patch::Apply(&manifest)).await.expect("the Job is created");
        let mut ran: Vec<Ran> = Vec::new();
        let started = Instant::now();
        loop {
            for pod in self.running_pods().await {
                if ran.iter().any(|run| run.pod == pod.name_any()) {
                    continue;
                }
                let dies = dies.filter(|dies| !ran.iter().any(|run| run.index == *dies));
                let run = tokio::task::block_in_place(|| self.run(&pod, dies));
                self.kubelet.finish(&pod, run.code).await.expect("the pod ends");
                ran.push(run);
            }
            let job = jobs.get(NAME).await.expect("the Job");
            let has = |condition| has(&job, condition);
            if has(end) {
                return (job, ran);
            }
            let over = has("Complete") || has("Failed") || started.elapsed() > TIME;
            assert!(!over, "not {end} after {:?}: {:?}, {ran:#?}", started.elapsed(), job.status);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Binds the Job's new pods, as a scheduler would, and gives those that the kubelet has started.
    async fn running_pods(&self) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={NAME}"));
        let all = pods.list(&of_job).await.expect("pods").items;
        for pod in all.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none())) {
            let target = json!({ "apiVersion": "v1", "kind": "Node", "name": "node-a" });
            let binding = json!({ "metadata": { "name": pod.name_any() }, "target": target });
            let bound: Result<Value, _> =
                pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await;
            bound.expect("the pod is bound");
        }
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
        all.into_iter().filter(|pod| phase(pod).as_deref() == Some("Running")).collect()
    }

    /// Runs a pod's container to its end; one of the index that dies is killed when it has a result, and leaves half a
    /// line behind.
    fn run(&self, pod: &Pod, dies: Option<u32>) -> Ran {
        let spec = pod.spec.as_ref().expect("a spec");
        let [container] = spec.containers.as_slice() else { panic!("one container") };
        let environment = environment(pod, container);
        let told = environment.iter().find(|(name, _)| name == "JOB_COMPLETION_INDEX");
        let index: u32 = told.and_then(|(_, value)| value.parse().ok()).expect("Kubernetes tells the index");
        let [program, rest @ ..] = container.command.as_deref().unwrap_or_default() else {
            panic!("a command")
        };
        assert_eq!(program, "stowage-bench");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stowage-bench"));
        command.args(rest).envs(environment);
        for arg in container.args.iter().flatten() {
            let mount = container.volume_mounts.iter().flatten().find(|mount| mount.mount_path == *arg);
            match mount.map(|mount| mount.name.as_str()) {
                None => command.arg(arg),
                Some("snapshots") => command.arg(self.folder.path()),
                Some("results") => command.arg(self.out.path()),
                Some(other) => panic!("a volume nobody knows: {other}"),
            };
        }
        let (code, text) = if dies == Some(index) {
            kill_after_a_result(command, &part_of(self.out.path(), index, SHARES));
            (KILLED, "killed".to_owned())
        } else {
            said(command)
        };
        Ran { pod: pod.name_any(), index, code, text }
    }
}

/// The committed manifest.
fn manifest() -> Value {
    serde_saphyr::from_str(include_str!("../../../fleet/job.yaml")).expect("the manifest is YAML")
}

/// Other numbers of shares in the places that the manifest's comment names, and the usual effort of these tests.
fn change(manifest: &mut Value) {
    let spec = &mut manifest["spec"];
    let before = spec["completions"].clone();
    assert_eq!(before, spec["parallelism"]);
    spec["completions"] = json!(SHARES);
    spec["parallelism"] = json!(SHARES);
    let args = spec["template"]["spec"]["containers"][0]["args"].as_array_mut().expect("arguments");
    let after = |args: &[Value], flag: &str| 1 + args.iter().position(|arg| arg == flag).expect("the flag");
    let of = after(args, "--of");
    assert_eq!(args[of], before.to_string(), "--of and completions are the same number");
    args[of] = json!(SHARES.to_string());
    let limit = after(args, "--time-limit");
    args.splice(limit - 1..=limit, EFFORT.map(Value::from));
}

/// Whether the Job has come to this end.
fn has(job: &Job, condition: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == condition && one.status == "True")
}

/// A container that was run.
#[derive(Debug)]
struct Ran {
    pod: String,
    index: u32,
    code: i32,
    text: String,
}

/// The environment that a kubelet would give.
fn environment(pod: &Pod, container: &Container) -> Vec<(String, String)> {
    let value = |variable: &EnvVar| -> String {
        let source = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let Some(field) = source.map(|source| source.field_path.as_str()) else {
            return variable.value.clone().unwrap_or_default();
        };
        let key =
            |of: &str| field.strip_prefix(&format!("metadata.{of}['"))?.strip_suffix("']").map(str::to_owned);
        let found = match (key("annotations"), key("labels")) {
            (Some(key), _) => pod.annotations().get(&key),
            (None, Some(key)) => pod.labels().get(&key),
            (None, None) => panic!("a field nobody knows: {field}"),
        };
        found.unwrap_or_else(|| panic!("the pod has no {field}")).clone()
    };
    container.env.iter().flatten().map(|variable| (variable.name.clone(), value(variable))).collect()
}

/// A container killed by the kernel when it has written a result, and a file system that kept half of the last line.
fn kill_after_a_result(mut command: Command, part: &Path) {
    let mut child = command.stderr(Stdio::null()).spawn().expect("stowage-bench runs");
    let lines = || std::fs::read_to_string(part).map_or(0, |text| text.lines().count());
    // The header and two results: one of them will be whole.
    while lines() < 3 && child.try_wait().expect("a status").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let text = std::fs::read(part).expect("a part");
    std::fs::write(part, &text[..text.len() - 20]).expect("a part");
}
