//! The openb trace as a running cluster: small made-up rows.

use stowage_bench::consolidation::openb::cluster;
use stowage_models::catalog::Catalog;
use stowage_models::quantity::CPU;

const GPU: &str = "nvidia.com/gpu";
const PODS_LIST: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n\
    a,6000,12288,0,0,,LS,Running,0,1,0\nb,6000,12288,1,1000,T4,LS,Running,0,1,0\nc,6000,12288,0,0,,LS,Failed,0,1,0\n\
    d,90000,1,0,0,,LS,Running,0,1,0\n";
const NODES_LIST: &str = "sn,cpu_milli,memory_mib,gpu,model\nn0,32000,131072,0,\nn1,16000,65536,1,T4\n";

/// Goal: nodes become types with at least what they have, pods that run are on them, and what has no room is counted.
#[test]
fn a_small_trace() {
    let catalog = Catalog::embedded();
    let (snapshot, left) = cluster(catalog, PODS_LIST, NODES_LIST).unwrap();
    assert_eq!(left, 1);
    let on: Vec<(&str, &str)> =
        snapshot.pods.iter().map(|pod| (pod.name.as_str(), pod.node.as_deref().unwrap())).collect();
    assert_eq!(on, [("a", "n0"), ("b", "n1")]);
    let of = |index: usize| &snapshot.nodes[index];
    assert!(of(0).capacity.get(CPU) >= 32_000 && of(0).capacity.get(GPU) == 0);
    assert_eq!(of(1).labels.get("karpenter.k8s.aws/instance-gpu-name").map(String::as_str), Some("t4"));
    assert!(cluster(catalog, "name\n", NODES_LIST).is_err());
}
