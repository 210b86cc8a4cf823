//! Whether the plan is one, of this snapshot and this catalogue, under a policy that makes sense.

use crate::finding::{Findings, code};
use std::collections::BTreeSet;
use stowage_models::catalog::Catalog;
use stowage_models::plan::{FORMAT_VERSION, KIND, Plan, Preferences};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// More slack than this is a mistake, not caution.
const SLACK_MAX: i64 = Ppm::ONE / 2;

/// Checks everything that says which plan this is.
pub(crate) fn check(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan, findings: &mut Findings) {
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(&plan.format_version) != major(FORMAT_VERSION) {
        let stated = &plan.format_version;
        findings.add(code::VERSION, format!("format version is {stated:?}, this is for {FORMAT_VERSION}"));
    }
    let (from, with) = (&plan.snapshot, &plan.catalog);
    let texts = [
        (code::KIND, "kind", &plan.kind, &KIND.to_owned()),
        (code::ID, "id", &plan.id, &plan.compute_id()),
        (code::STALE_SNAPSHOT, "snapshot digest", &from.digest, &snapshot.digest()),
        (code::SNAPSHOT_REF, "origin", &from.origin, &snapshot.origin),
        (code::STALE_CATALOG, "catalogue digest", &with.digest, &catalog.digest()),
        (code::CATALOG_REF, "region", &with.region, &catalog.region),
        (code::CATALOG_REF, "onDemandAsOf", &with.on_demand_as_of, &catalog.on_demand_as_of),
        (code::CATALOG_REF, "spotAsOf", &with.spot_as_of, &catalog.spot_as_of),
    ];
    for (code, what, stated, actual) in texts {
        findings.expect_eq(code, what, (stated, actual));
    }
    findings.expect_eq(code::SNAPSHOT_REF, "takenAt", (&from.taken_at, &snapshot.taken_at));
    if plan.policy.consolidation.is_some() && plan.policy.preferences == Some(Preferences::Respect) {
        findings.add(
            code::POLICY,
            "preferences have no price in consolidation, the policy respects them".to_owned(),
        );
    }
    let shares = [("slack", plan.policy.slack.0, SLACK_MAX), ("gap", plan.policy.gap.0, i64::MAX)];
    for (what, share, most) in shares.into_iter().filter(|(_, share, most)| !(0..=*most).contains(share)) {
        findings
            .add(code::POLICY, format!("{what} is {share} parts per million, which is not in 0 to {most}"));
    }
}

/// Whether the snapshot names every object once; plans refer to objects by name.
pub(crate) fn check_names(snapshot: &Snapshot, findings: &mut Findings) {
    let lists: [(&str, Vec<String>); 4] = [
        ("pod", snapshot.pods.iter().map(|pod| pod.id().0).collect()),
        ("node", snapshot.nodes.iter().map(|node| node.name.clone()).collect()),
        ("NodePool", snapshot.node_pools.iter().map(|pool| pool.name.clone()).collect()),
        ("EC2NodeClass", snapshot.node_classes.iter().map(|class| class.name.clone()).collect()),
    ];
    for (what, names) in lists {
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| !seen.insert(*name)) {
            findings
                .add(code::SNAPSHOT, format!("the snapshot has {what} {name} 2 times, names must be unique"));
        }
    }
}
