//! Kubernetes lists: shapes of documents and meaning of fields.

use crate::{import_text, import_texts, list, node_pool, pod, requesting};
use stowage_models::objects::{Pod, PodPhase, PodVolume};
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;

fn only_pod(spec: &str) -> Pod {
    let mut pods = import_text(&pod("web", spec)).expect("valid pod").snapshot.pods;
    assert_eq!(pods.len(), 1);
    pods.remove(0)
}

fn snapshot(text: &str) -> Snapshot {
    import_text(text).unwrap_or_else(|error| panic!("{error}")).snapshot
}

/// Goal: every shape in which objects come gives the same pods.
#[test]
fn every_shape_of_document_is_read() {
    let (a, b) = (pod("a", &requesting("1")), pod("b", &requesting("\"250m\"")));
    let want = snapshot(&list(&[&a, &b])).pods;
    assert_eq!(want.len(), 2);
    assert_eq!(want[1].spec.containers[0].requests.get("cpu"), 250);
    let bare = |text: &str| text.replace(r#""apiVersion":"v1","kind":"Pod","#, "");
    for (shape, texts) in [
        ("two files", vec![a.clone(), b.clone()]),
        ("JSON documents in a row", vec![format!("{a}\n{b}\n")]),
        ("an array", vec![format!("[{a},{b}]")]),
        (
            "PodList, kind last",
            vec![format!(r#"{{"items":[{},{}],"apiVersion":"v1","kind":"PodList"}}"#, bare(&a), bare(&b))],
        ),
        ("a list in a list", vec![list(&[&list(&[&a]), &b])]),
        (
            "YAML stream",
            vec![format!("---\n{}\n---\n# nothing\n---\n{}\n...\n", yaml("a", "1"), yaml("b", "250m"))],
        ),
        ("byte order mark", vec![format!("\u{feff}{}", list(&[&a, &b]))]),
    ] {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let got = import_texts(&texts).unwrap_or_else(|error| panic!("{shape}: {error}"));
        assert_eq!(got.snapshot.pods, want, "{shape}");
        assert_eq!(got.read["Pod"], 2, "{shape}");
    }
}

fn yaml(name: &str, cpu: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: default\nspec:\n  containers:\n  - name: a\n    resources: {{requests: {{cpu: {cpu}}}}}"
    )
}

/// Goal: other kinds, and other projects' kinds of the same name, are skipped and counted.
#[test]
fn unknown_kinds_are_counted() {
    let got = import_text(&list(&[
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}"#,
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#,
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"}}"#,
        r#"{"apiVersion":"hypershift.openshift.io/v1","kind":"NodePool","metadata":{"name":"c"},"spec":7}"#,
        r#"{"apiVersion":"example.com/v1","kind":"AllowList","metadata":{"name":"d"}}"#,
    ]))
    .unwrap();
    let skipped: Vec<_> = got.skipped.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(skipped, [("AllowList", 1), ("NodePool.hypershift.openshift.io", 1), ("Secret", 2)]);
    assert_eq!(got.read.len(), 1);
}

/// Goal: requests as the API server and the scheduler see them.
#[test]
fn requests_are_defaulted_and_rounded() {
    let spec = only_pod(
        r#"{"resources":{"limits":{"memory":"1Gi","cpu":"4"}},"overhead":{"cpu":"10m"},"containers":[
            {"name":"a","resources":{"requests":{"cpu":"0.1m"},"limits":{"cpu":"2","nvidia.com/gpu":1}}},
            {"name":"b","resources":{"requests":{"cpu":0},"limits":{"cpu":1.5}}},
            {"name":"c"}],
         "initContainers":[{"name":"s","restartPolicy":"Always","resources":{"limits":{"cpu":"50m"}}},{"name":"i"}]}"#,
    )
    .spec;
    assert_eq!(
        spec.containers[0].requests,
        [("cpu", 1), ("nvidia.com/gpu", 1)].into(),
        "limits fill in per resource"
    );
    assert!(spec.containers[1].requests.is_empty(), "an explicit zero is a request");
    assert_eq!(spec.pod_requests, [("memory", 1 << 30)].into(), "pod limits where no container asks");
    assert_eq!(spec.overhead, [("cpu", 10)].into());
    assert!(spec.init_containers[0].sidecar && !spec.init_containers[1].sidecar);
    assert_eq!(spec.init_containers[0].requests, [("cpu", 50)].into());
    let huge = only_pod(r#"{"containers":[{"name":"a","resources":{"requests":{"memory":"1Ei"}}}]}"#).spec;
    assert_eq!(huge.containers[0].requests.get("memory"), 1 << 60);
}

/// Goal: a resize under way counts with the larger figure.
#[test]
fn allocated_resources_count() {
    let text = pod("web", &requesting("\"100m\"")).replace(
        r#","spec""#,
        r#","status":{"phase":"Running","containerStatuses":[{"name":"a","allocatedResources":{"cpu":"300m"}}]},"spec""#,
    );
    let got = &snapshot(&text).pods[0];
    assert_eq!((got.phase, got.spec.containers[0].requests.get("cpu")), (PodPhase::Running, 300));
}

/// Goal: restarts of all containers of a pod are known.
#[test]
fn restarts_are_counted() {
    let text = pod("web", &requesting("\"100m\"")).replace(
        r#","spec""#,
        r#","status":{"containerStatuses":[{"name":"a","restartCount":3},{"name":"b","restartCount":2},{"name":"c"}]},"spec""#,
    );
    let snapshot = snapshot(&text);
    assert_eq!((snapshot.pods[0].restarts, snapshot.format_version.as_str()), (5, "1.1"));
}

/// Goal: spellings become one, and a contradiction between an old and a new key is not lost.
#[test]
fn keys_get_their_modern_spelling() {
    let spec = only_pod(
        r#"{"containers":[],"schedulerName":"default-scheduler",
            "nodeSelector":{"beta.kubernetes.io/arch":"arm64","kubernetes.io/arch":"amd64","failure-domain.beta.kubernetes.io/zone":"z"},
            "affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
                {"matchExpressions":[{"key":"beta.kubernetes.io/os","operator":"In","values":["b","a","b"]}]},{}]}}},
            "tolerations":[{"key":"k","value":"v"},{"operator":"Exists","effect":""}],
            "topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"failure-domain.beta.kubernetes.io/zone","whenUnsatisfiable":"DoNotSchedule","nodeTaintsPolicy":"Honor","matchLabelKeys":["h"]}]}"#,
    )
    .spec;
    assert_eq!(spec.scheduler_name, None);
    let selector: Vec<_> = spec.node_selector.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(selector, [("kubernetes.io/arch", "amd64"), ("topology.kubernetes.io/zone", "z")]);
    let terms = spec.affinity.node_required.clone().unwrap();
    assert_eq!(
        terms[0].match_expressions,
        [
            Requirement::new("kubernetes.io/os", Operator::In, &["a", "b"]),
            Requirement::new("kubernetes.io/arch", Operator::In, &["arm64"]),
        ]
    );
    assert!(terms[1].match_expressions.is_empty(), "an empty term still matches nothing");
    assert_eq!(spec.tolerations[0].operator, "Equal");
    assert_eq!(spec.tolerations[1].effect, None);
    let spread = &spec.topology_spread[0];
    assert!(spread.hard && spread.honor_taints && spread.honor_affinity);
    assert_eq!(spread.topology_key, "topology.kubernetes.io/zone");
}

/// Goal: host ports, also those that host networking implies.
#[test]
fn host_ports() {
    let ports = r#""ports":[{"containerPort":80},{"containerPort":53,"hostPort":53,"protocol":"UDP","hostIP":"10.0.0.1"}]"#;
    let own = only_pod(&format!(r#"{{"containers":[{{"name":"a",{ports}}}]}}"#)).spec;
    assert_eq!(own.containers[0].host_ports, ["UDP/10.0.0.1/53"]);
    let host = only_pod(&format!(r#"{{"hostNetwork":true,"containers":[{{"name":"a",{ports}}}]}}"#)).spec;
    assert_eq!(host.containers[0].host_ports, ["TCP/0.0.0.0/80", "UDP/10.0.0.1/53"]);
}

/// Goal: volumes that bind a pod to a place are kept, in whatever order their fields come.
#[test]
fn volumes_that_matter() {
    let spec = only_pod(
        r#"{"containers":[],"resourceClaims":[{"name":"gpu"}],"volumes":[{"name":"x","configMap":{"name":"c"}},
            {"persistentVolumeClaim":{"claimName":"data"},"name":"d"},
            {"ephemeral":{"volumeClaimTemplate":{"spec":{"storageClassName":"gp3"}}},"name":"e"},
            {"name":"l","awsElasticBlockStore":{"volumeID":"v"}},{"name":"n","rbd":null}]}"#,
    )
    .spec;
    assert_eq!(
        spec.volumes,
        [
            PodVolume::Claim("data".into()),
            PodVolume::Ephemeral { name: "e".into(), storage_class: Some("gp3".into()) },
            PodVolume::Other("awsElasticBlockStore".into()),
            PodVolume::Other("resourceClaims".into()),
        ]
    );
}

/// Goal: priorities resolve through classes, wherever the class stands; an unknown one is noted.
#[test]
fn priority_classes_resolve() {
    let class = |name: &str, value: i32, default: bool| {
        format!(
            r#"{{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{{"name":"{name}"}},"value":{value},"globalDefault":{default}}}"#
        )
    };
    let got = snapshot(&list(&[
        &pod("high", r#"{"priorityClassName":"high"}"#),
        &pod("node", r#"{"priorityClassName":"system-node-critical"}"#),
        &pod("none", "{}"),
        &pod("said", r#"{"priority":7,"priorityClassName":"high"}"#),
        &pod("what", r#"{"priorityClassName":"lost"}"#),
        &class("high", 1000, false),
        &class("usual", 5, true),
    ]));
    let priorities: Vec<i32> = got.pods.iter().map(|pod| pod.spec.priority).collect();
    assert_eq!(priorities, [1000, 2_000_001_000, 5, 7, 0]);
    assert!(
        got.notes.iter().any(|note| note.contains("`lost`") && note.contains("Pod default/what")),
        "{:?}",
        got.notes
    );
}

/// Goal: a pool that Karpenter would not launch from says so; a manifest, which has no status yet, is ready.
#[test]
fn node_pools_that_are_not_ready() {
    let read = |status: &str| {
        let pool = format!(
            r#"{{"apiVersion":"karpenter.sh/v1","kind":"NodePool","metadata":{{"name":"p"}},"spec":{{"template":{{"spec":{{}}}}}}{status}}}"#
        );
        import_text(&list(&[&pool])).unwrap().snapshot.node_pools[0].not_ready.clone()
    };
    assert_eq!(read(""), None);
    assert_eq!(
        read(r#","status":{"conditions":[{"type":"Ready","status":"True","message":"","reason":"Ready"}]}"#),
        None
    );
    assert_eq!(
        read(r#","status":{"conditions":[{"type":"ValidationSucceeded","status":"True"},{"type":"Ready","status":"False","message":"NodeClass not found"}]}"#).as_deref(),
        Some("NodeClass not found")
    );
    assert_eq!(
        read(r#","status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"AwaitingReconciliation"}]}"#).as_deref(),
        Some("AwaitingReconciliation")
    );
}

/// Goal: a NodePool keeps what its author wrote, contradictions and zero limits included.
#[test]
fn node_pools_are_read_as_they_are() {
    let text = node_pool(
        r#"[{"key":"beta.kubernetes.io/arch","operator":"In","values":["arm64"]},{"key":"kubernetes.io/arch","operator":"NotIn","values":["arm64"]},{"key":"karpenter.k8s.aws/instance-cpu","operator":"Lte","values":["32"]}]"#,
    )
    .replace(r#""spec":{"template""#, r#""spec":{"weight":7,"limits":{"cpu":0},"disruption":{"budgets":[{"nodes":"lots"},{"nodes":5}]},"template""#);
    let pool = &snapshot(&text).node_pools[0];
    assert_eq!(pool.requirements.len(), 3);
    assert_eq!(pool.requirements[0], Requirement::new("kubernetes.io/arch", Operator::In, &["arm64"]));
    assert_eq!(pool.weight, 7);
    assert_eq!(pool.limits.0.get("cpu"), Some(&0), "a limit of zero is a limit");
    assert_eq!(pool.budgets[0].nodes, "lots");
    assert_eq!(pool.budgets[1].nodes, "5");
}

/// Goal: an empty cluster is a valid one.
#[test]
fn no_pods_is_fine() {
    let got = snapshot(r#"{"apiVersion":"v1","items":[],"kind":"List"}"#);
    assert!(got.pods.is_empty());
    assert_eq!(got.node_pools.len(), 1);
}
