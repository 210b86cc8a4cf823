//! Goal: whatever constraints pods state, what the planner places can be bound pod by pod, and what it leaves out has a reason.
//!
//! `STOWAGE_BINDABLE_CASES` and `STOWAGE_BINDABLE_SEED` make it look at others, `STOWAGE_BINDABLE_OUT` keeps refused cases in a folder.
//!
//! Random small clusters with constraints of every kind, also senseless ones. The checker replays each plan with kube-scheduler's
//! filters and proves the bound again.

mod blocking;
mod generate;

use generate::{GIB, snapshot, text, wishful};
use std::time::Duration;
use stowage_bench::trial;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{
    Affinity, Container, Pod, PodAffinityTerm, PodSpec, PodVolume, PreferredPodTerm, TopologySpread,
};
use stowage_models::plan::{Plan, Policy, Preferences, UnplacedReason};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::selector::LabelSelector;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Foreign, adopt};

/// A plan by little work.
pub(crate) fn planned(snapshot: &Snapshot) -> Plan {
    let limits = trial::by_work(Duration::from_millis(100), 1);
    let policy = Policy::default();
    stowage_planner::plan(snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {}).expect("a plan").plan
}

/// What somebody else's plan would cost: the launches and pods of `plan`, with preferences priced.
fn repriced(snapshot: &Snapshot, plan: &Plan) -> Plan {
    let limits = trial::by_work(Duration::from_millis(100), 1);
    let adopted = adopt(snapshot, Catalog::embedded(), &Policy::default(), &limits, &Foreign::of(plan));
    adopted.expect("the planner's own placement").plan
}

/// What pods prefer about others is priced, and the plan is hardly ever dearer for it, all told, than the one that ignores it.
#[test]
fn preferences_about_other_pods_are_priced_and_worth_it() {
    let (mut unmet, mut better, mut stated, mut worse) = (0, 0, 0, Vec::new());
    for seed in 1..=250 {
        let snapshot = wishful(seed);
        let of = |preferences: Preferences| {
            let policy = Policy { gap: Ppm(0), preferences: Some(preferences), ..Policy::default() };
            trial::accepted(&snapshot, Catalog::embedded(), &policy, Duration::from_millis(100))
        };
        let (plan, ignored) = (of(Preferences::Respect), of(Preferences::Ignore));
        stated += u32::from(plan.policy.preferences == Some(Preferences::Respect));
        assert_eq!(ignored.summary.preference_cost, UsdMicros::ZERO, "seed {seed}");
        assert!(plan.summary.pods_unplaced <= ignored.summary.pods_unplaced, "seed {seed}");
        // Where pods are left out, what the others prefer is priced, but not looked for.
        if ignored.summary.pods_unplaced == 0 {
            let ours = plan.summary.total_cost();
            let theirs = repriced(&snapshot, &ignored).summary.total_cost();
            better += u32::from(ours < theirs);
            // Several plans share the time of one.
            if ours.0 * 50 > theirs.0 * 51 {
                worse.push(format!("seed {seed}: {ours} with, {theirs} without"));
            }
        }
        unmet += u32::from(plan.summary.preference_cost > UsdMicros::ZERO);
    }
    println!("{stated} with preferences, {unmet} leave some unmet, {better} cheaper than without");
    assert_eq!(worse, Vec::<String>::new());
    assert!(stated > 150 && unmet > 20 && better > 15, "{stated} {unmet} {better}");
}

/// ScheduleAnyway over zones is met where it costs less than what it is worth.
#[test]
fn what_is_not_met_is_paid_for_and_a_lie_about_it_is_found() {
    let anyway = |key: &str| TopologySpread {
        max_skew: 1,
        topology_key: key.to_owned(),
        label_selector: near("web", "").label_selector,
        honor_affinity: true,
        ..TopologySpread::default()
    };
    let beside = |app: &str, key: &str| PreferredPodTerm { weight: 100, term: near(app, key) };
    let affinity = Affinity { anti_preferred: vec![beside("db", labels::HOSTNAME)], ..Affinity::default() };
    let snapshot = waiting(&[
        ("web", PodSpec { topology_spread: vec![anyway(labels::ZONE)], ..PodSpec::default() }),
        ("db", PodSpec { affinity, ..PodSpec::default() }),
        (
            "cache",
            PodSpec {
                affinity: Affinity {
                    pod_preferred: vec![beside("web", labels::ZONE)],
                    ..Affinity::default()
                },
                ..PodSpec::default()
            },
        ),
    ]);
    let plan = planned(&snapshot);
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &plan), Vec::new());
    assert!(
        plan.summary.preference_cost > UsdMicros::ZERO,
        "three nodes for three small pods cost more than they are worth"
    );
    // Somebody lies about it.
    let mut lie = plan.clone();
    lie.summary.preference_cost = UsdMicros::ZERO;
    lie.id = lie.compute_id();
    let findings = stowage_checker::check(&snapshot, Catalog::embedded(), &lie);
    assert!(findings.iter().any(|finding| finding.message.contains("preferenceCost")), "{findings:?}");
}

#[test]
fn random_constraints_are_kept_or_named() {
    let count: u64 = std::env::var("STOWAGE_BINDABLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let first: u64 = std::env::var("STOWAGE_BINDABLE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (mut pending, mut placed, mut refused) = (0, 0, Vec::new());
    for seed in first..first + count {
        let snapshot = snapshot(seed);
        let plan = planned(&snapshot);
        let findings = stowage_checker::check(&snapshot, Catalog::embedded(), &plan);
        if let Some(finding) = findings.first() {
            if let Ok(folder) = std::env::var("STOWAGE_BINDABLE_OUT") {
                let path = std::path::Path::new(&folder).join(format!("{seed}.json"));
                let text = serde_json::to_string_pretty(&(&snapshot, &plan)).expect("JSON");
                std::fs::write(path, text).expect("the folder takes files");
            }
            refused.push(format!(
                "seed {seed}: {} findings, first {}: {}",
                findings.len(),
                finding.code,
                finding.message
            ));
        }
        pending += plan.summary.pods_pending;
        placed += plan.summary.pods_on_existing + plan.summary.pods_on_new;
        for left in &plan.unplaced {
            assert!(!left.message.is_empty() && !left.hint.is_empty(), "seed {seed}: {left:?}");
            // Where only existing nodes would do, and they are full of others, nothing of the pod's own is in the way.
            // So it is where others were taken out after the limits had been used up.
            let words = ["existing nodes only", "until other pods were left out"];
            let full =
                left.reason == UnplacedReason::Limits && words.iter().any(|one| left.message.contains(one));
            assert!(full || !left.blocking.is_empty(), "seed {seed}: {left:?}");
        }
    }
    println!("{placed} of {pending} pods placed");
    assert!(refused.is_empty(), "{} of {count} plans refused:\n{}", refused.len(), refused.join("\n"));
    // Leaving all out would be easy. Some ask for what nobody can have.
    assert!(placed * 10 >= pending * 6, "{placed} of {pending} pods placed");
}

/// A cluster without nodes and with one workload per entry; each pod asks for little.
fn waiting(workloads: &[(&str, PodSpec)]) -> Snapshot {
    let mut snapshot = snapshot(1);
    snapshot.nodes.clear();
    snapshot.pods.clear();
    snapshot.node_pools[0].limits = Resources::default();
    for (app, spec) in workloads {
        for replica in 0..3 {
            let mut spec = spec.clone();
            spec.containers = vec![Container {
                requests: Resources::from([(CPU, 100), (MEMORY, GIB / 4)]),
                ..Container::default()
            }];
            snapshot.pods.push(Pod {
                namespace: "one".to_owned(),
                name: format!("{app}-{replica}"),
                labels: text(&[("app", app)]).into(),
                spec: spec.into(),
                ..Pod::default()
            });
        }
    }
    snapshot.normalise();
    snapshot
}

fn near(app: &str, key: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: text(&[("app", app)]),
            match_expressions: Vec::new(),
        }),
        topology_key: key.to_owned(),
        ..PodAffinityTerm::default()
    }
}

#[test]
fn senseless_constraints_get_a_reason_and_the_rest_is_planned() {
    let affinity = |app: &str, key: &str| PodSpec {
        affinity: Affinity { pod_required: vec![near(app, key)], ..Affinity::default() },
        ..PodSpec::default()
    };
    let over_nothing = PodSpec {
        topology_spread: vec![TopologySpread {
            max_skew: 1,
            topology_key: "example.com/nowhere".to_owned(),
            hard: true,
            label_selector: near("nowhere", "").label_selector,
            honor_affinity: true,
            ..TopologySpread::default()
        }],
        ..PodSpec::default()
    };
    let contradiction = PodSpec {
        affinity: Affinity {
            pod_required: vec![near("plain", labels::ZONE)],
            anti_required: vec![near("plain", labels::ZONE)],
            ..Affinity::default()
        },
        ..PodSpec::default()
    };
    let claim =
        |name: &str| PodSpec { volumes: vec![PodVolume::Claim(name.to_owned())], ..PodSpec::default() };
    let snapshot = waiting(&[
        ("plain", PodSpec::default()),
        ("nowhere", over_nothing),
        ("torn", contradiction),
        ("hen", affinity("egg", labels::ZONE)),
        ("egg", affinity("hen", labels::ZONE)),
        ("lonely", affinity("nobody", labels::ZONE)),
        ("missing", claim("missing")),
        ("immediate", claim("immediate")),
    ]);
    let plan = planned(&snapshot);
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &plan), Vec::new());
    assert_eq!((plan.summary.pods_on_new, plan.summary.pods_unplaced), (3, 21), "{:?}", plan.unplaced);
    for (app, constraint) in [
        ("nowhere", "topologySpreadConstraints[0]"),
        ("torn", "affinity"),
        ("hen", "affinity.podAffinity"),
        ("egg", "affinity.podAffinity"),
        ("lonely", "affinity.podAffinity"),
        ("missing", "volumes"),
        ("immediate", "volumes"),
    ] {
        let entry = plan.unplaced.iter().find(|entry| entry.pods.iter().any(|pod| pod.0.contains(app)));
        let entry = entry.expect("left out");
        assert_eq!(entry.reason, UnplacedReason::Constraint, "{app}: {entry:?}");
        assert!(entry.blocking[0].constraint.starts_with(constraint), "{app}: {entry:?}");
    }
}

#[test]
fn pods_that_must_share_a_node_do() {
    let together = |app: &str| PodSpec {
        affinity: Affinity { pod_required: vec![near(app, labels::HOSTNAME)], ..Affinity::default() },
        ..PodSpec::default()
    };
    let snapshot = waiting(&[
        ("plain", PodSpec::default()),
        ("self", together("self")),
        ("cache", PodSpec::default()),
        ("web", together("cache")),
    ]);
    let plan = planned(&snapshot);
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &plan), Vec::new());
    assert_eq!(plan.unplaced, Vec::new());
    let nodes_with =
        |app: &str| plan.launches.iter().filter(|l| l.pods.iter().any(|p| p.0.contains(app))).count();
    assert_eq!(nodes_with("one/self"), 1);
}
