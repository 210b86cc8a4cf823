//! The openb trace: small made-up rows, and the real files where they are present.

use crate::Source;
use std::path::PathBuf;
use stowage_import::openb::convert;
use stowage_models::selector::{Operator, Requirement};

const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase\n\
    pod-a,12000,16384,1,1000,,LS,Running\n\
    pod-b,6000,12288,1,460,V100M16|V100M32,BE,Failed\n\
    pod-c,100,1,1,1000,P100,BE,Failed\n\
    pod-d,100,1,2,1000,T4|A10,BE,Failed\n\
    pod-e,100,1,0,0,,BE,Failed\n";

fn source<'a>(name: &'a str, text: &'a str) -> Source<'a> {
    Source { name, bytes: text.as_bytes() }
}

fn gpu_names(names: &[&str]) -> Vec<Requirement> {
    vec![Requirement::new("karpenter.k8s.aws/instance-gpu-name", Operator::In, names)]
}

/// Goal: rows become pending pods; shares round up; models constrain where EC2 has them.
#[test]
fn rows_become_pods() {
    let got = convert(source("pods.csv", PODS), None).unwrap().snapshot;
    assert!(got.pods.iter().all(|pod| pod.is_pending() && pod.namespace == "openb"));
    let constraint = |index: usize| -> Option<Vec<Requirement>> {
        got.pods[index].spec.affinity.node_required.as_ref().map(|terms| terms[0].match_expressions.clone())
    };
    assert_eq!(constraint(0), None);
    assert_eq!(constraint(1), Some(gpu_names(&["v100"])));
    assert_eq!(constraint(2), None);
    assert_eq!(constraint(3), Some(gpu_names(&["t4"])));
    let requests = &got.pods[1].spec.containers[0].requests;
    assert_eq!(*requests, [("cpu", 6000), ("memory", 12288 << 20), ("nvidia.com/gpu", 1)].into());
    assert_eq!(got.node_pools[0].name, "openb");
    let has =
        |part: &str| assert!(got.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", got.notes);
    has("1 pods ask for a share");
    has("1 pods ask for GPU P100");
    assert!(got.origin.contains("every row a pending pod"));
}

/// Goal: nodes of the trace exist, and give a meaning to models that EC2 lacks.
#[test]
fn nodes_are_optional() {
    let nodes = "sn,cpu_milli,memory_mib,gpu,model\nnode-a,64000,262144,2,P100\nnode-b,64000,1,0,\n";
    let got = convert(source("pods.csv", PODS), Some(source("nodes.csv", nodes))).unwrap();
    assert_eq!(got.read["openb node"], 2);
    let got = got.snapshot;
    assert_eq!(got.nodes[0].allocatable.get("nvidia.com/gpu"), 2);
    let terms = got.pods[2].spec.affinity.node_required.as_ref().unwrap();
    assert_eq!(terms[0].match_expressions, gpu_names(&["p100"]));
}

#[test]
fn bad_rows_say_where() {
    let message = |text: &str| convert(source("pods.csv", text), None).unwrap_err().to_string();
    assert!(message("").starts_with("pods.csv: line 1: name: the column is missing"));
    assert!(message("name,cpu_milli\n").starts_with("pods.csv: line 1: memory_mib: "));
    let row =
        |row: &str| message(&format!("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nok,1,1,0,0\n{row}\n"));
    assert!(
        row("a,-5,1,0,0").starts_with("pods.csv: line 3: cpu_milli: `-5` is not"),
        "{}",
        row("a,-5,1,0,0")
    );
    assert!(
        row("a,1,9223372036854775807,0,0")
            .contains("line 3: memory_mib: 9223372036854775807 MiB is too large")
    );
    assert!(row(",1,1,0,0").contains("line 3: name: the name is empty"));
    assert!(row("a,1").contains("line 3: the row has 2 columns, the header 5"), "{}", row("a,1"));
    assert!(row("ok,1,1,0,0").starts_with("pods.csv: Pod openb/ok: the name appears in two rows"));
    assert!(row("ok,2,1,0,0").starts_with("pods.csv: Pod openb/ok"));
    let broken = convert(
        Source { name: "p", bytes: b"name,cpu_milli,memory_mib,num_gpu,gpu_milli\n\xff,1,1,0,0\n" },
        None,
    );
    assert!(broken.unwrap_err().to_string().contains("not UTF-8"));
}

/// Goal: the published files convert completely.
#[test]
fn real_files() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/research/openb");
    for (file, n_pods, n_shared) in
        [("default", 8152, 3078), ("cpu250", 9420, 3078), ("multigpu20", 8324, 3078)]
    {
        let path = root.join(format!("openb_pod_list_{file}.csv"));
        let Ok(bytes) = std::fs::read(&path) else {
            println!("skipped: {file}: the openb trace is not present");
            continue;
        };
        let got =
            convert(Source { name: file, bytes: &bytes }, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(got.snapshot.pods.len(), n_pods, "{file}");
        let shared = got.snapshot.notes.iter().find(|note| note.contains("share of a GPU")).unwrap();
        assert!(shared.starts_with(&n_shared.to_string()), "{file}: {shared}");
    }
    let Ok(nodes) = std::fs::read(root.join("openb_node_list_all_node.csv")) else {
        return;
    };
    let got = convert(source("pods.csv", PODS), Some(Source { name: "nodes", bytes: &nodes })).unwrap();
    assert_eq!(got.snapshot.nodes.len(), 1523);
}
