//! How long a large plan takes to judge. Run with `cargo test --release -- --ignored --nocapture speed`.

use crate::support::*;
use std::time::Instant;
use stowage_checker::check;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::plan::Plan;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// 10,000 pods in 200 groups, two pools over the whole catalogue.
fn large() -> (Snapshot, Plan) {
    let mut snapshot = simple_snapshot();
    snapshot.pods.clear();
    let mut arm = pool("arm", 0);
    arm.requirements = vec![Requirement::new(labels::ARCH, Operator::In, &["arm64"])];
    snapshot.node_pools.push(arm);
    for group in 0..200_i64 {
        for index in 0..50 {
            let mut one = pod(
                &format!("app-{group:03}-{index:02}"),
                100 + 37 * group,
                (128 + 61 * (group * 7 % 200)) * MIB,
            );
            match group % 5 {
                0 => one.spec.node_selector = labels_of(&[(labels::ARCH, "amd64")]),
                1 => {
                    one.spec.node_selector =
                        labels_of(&[(labels::ZONE, ["us-east-1a", "us-east-1b"][group as usize % 2])])
                }
                2 => one.spec.node_selector = labels_of(&[("karpenter.k8s.aws/instance-category", "m")]),
                _ => {}
            }
            snapshot.pods.push(one);
        }
    }
    snapshot.normalise();
    let plan = make_plan(&snapshot, Catalog::embedded(), Rule::Cpu);
    (snapshot, plan)
}

#[test]
#[ignore = "the naive maker takes its time; a measurement, not a test"]
fn speed() {
    let (snapshot, mut plan) = large();
    let offerings = plan.summary.offerings;
    let measure = |what: &str, plan: &Plan| {
        let start = Instant::now();
        let findings = check(&snapshot, Catalog::embedded(), plan);
        let taken = start.elapsed();
        println!(
            "{what}: {offerings} offerings, {} launches, {} findings, {taken:?}",
            plan.launches.len(),
            findings.len()
        );
        findings
    };
    assert_eq!(measure("first (reads the catalogue's digest)", &plan), []);
    assert_eq!(measure("one vector per capacity type", &plan), []);
    // A vector of its own for every offering: as good a proof as before, if each is a little lower.
    let base = plan.certificate.vectors.clone();
    let runs: Vec<usize> =
        plan.certificate.offering_vectors.split(',').map(|run| usize::from(run == "1")).collect();
    plan.certificate.resources.extend(["pods".into(), "ephemeral-storage".into(), "nvidia.com/gpu".into()]);
    plan.certificate.vectors = (runs.iter().enumerate())
        .map(|(index, run)| vec![base[*run][0] - index as i64 % 1000, 0, 0, 0, index as i64])
        .collect();
    plan.certificate.offering_vectors =
        (0..runs.len()).map(|index| index.to_string()).collect::<Vec<_>>().join(",");
    plan.id = plan.compute_id();
    measure("a vector for every offering", &plan);
}
