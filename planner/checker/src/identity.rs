//! Whether the plan is one, of this snapshot and this catalogue, under a policy that makes sense.

use crate::finding::{Findings, code};
use std::collections::BTreeSet;
use stowage_models::catalog::Catalog;
use stowage_models::plan::{FORMAT_VERSION, KIND, Plan};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// More slack than this is a mistake, not caution.
const SLACK_MAX: i64 = Ppm::ONE / 2;

/// Checks everything that says which plan this is.
pub(crate) fn check(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan, findings: &mut Findings) {
    findings.expect_eq(code::KIND, || "kind".to_owned(), &plan.kind.as_str(), &KIND);
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(&plan.format_version) != major(FORMAT_VERSION) {
        let message = format!(
            "format version is {:?}, this is for {FORMAT_VERSION}",
            plan.format_version
        );
        findings.add(code::VERSION, message);
    }
    findings.expect_eq(code::ID, || "id".to_owned(), &plan.id, &plan.compute_id());
    let what = |what: &'static str| move || what.to_owned();
    findings.expect_eq(
        code::STALE_SNAPSHOT,
        what("snapshot digest"),
        &plan.snapshot.digest,
        &snapshot.digest(),
    );
    findings.expect_eq(
        code::SNAPSHOT_REF,
        what("takenAt"),
        &plan.snapshot.taken_at,
        &snapshot.taken_at,
    );
    findings.expect_eq(
        code::SNAPSHOT_REF,
        what("origin"),
        &plan.snapshot.origin,
        &snapshot.origin,
    );
    findings.expect_eq(
        code::STALE_CATALOG,
        what("catalogue digest"),
        &plan.catalog.digest,
        &catalog.digest(),
    );
    findings.expect_eq(
        code::CATALOG_REF,
        what("region"),
        &plan.catalog.region,
        &catalog.region,
    );
    let on_demand = &catalog.on_demand_as_of;
    findings.expect_eq(
        code::CATALOG_REF,
        what("onDemandAsOf"),
        &plan.catalog.on_demand_as_of,
        on_demand,
    );
    findings.expect_eq(
        code::CATALOG_REF,
        what("spotAsOf"),
        &plan.catalog.spot_as_of,
        &catalog.spot_as_of,
    );
    if !(0..=SLACK_MAX).contains(&plan.policy.slack.0) {
        let slack = plan.policy.slack.0;
        findings.add(
            code::POLICY,
            format!("slack is {slack} parts per million, which is not in 0 to {SLACK_MAX}"),
        );
    }
    if plan.policy.gap.0 < 0 {
        findings.add(
            code::POLICY,
            format!(
                "the gap asked for is {} parts per million, below 0",
                plan.policy.gap.0
            ),
        );
    }
}

/// Whether the snapshot names every object once; plans refer to objects by name.
pub(crate) fn check_names(snapshot: &Snapshot, findings: &mut Findings) {
    let lists: [(&str, Vec<String>); 4] = [
        ("pod", snapshot.pods.iter().map(|pod| pod.id().0).collect()),
        (
            "node",
            snapshot.nodes.iter().map(|node| node.name.clone()).collect(),
        ),
        (
            "NodePool",
            snapshot.node_pools.iter().map(|pool| pool.name.clone()).collect(),
        ),
        (
            "EC2NodeClass",
            snapshot
                .node_classes
                .iter()
                .map(|class| class.name.clone())
                .collect(),
        ),
    ];
    for (what, names) in lists {
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| !seen.insert(*name)) {
            findings.add(
                code::SNAPSHOT,
                format!("the snapshot has {what} {name} 2 times, names must be unique"),
            );
        }
    }
}
