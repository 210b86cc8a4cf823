//! Constraints between pods, on volumes and ports: right plans are accepted, and each family has plans that are wrong in just
//! that.

use crate::mutations;
use crate::support::*;
use std::collections::BTreeSet;
use stowage_checker::code::*;
use stowage_models::labels;
use stowage_models::objects::{
    NodeSelectorTerm, Pod, PodAffinityTerm, PodPhase, PodRef, PodVolume, StorageClass, TopologySpread,
    Volume, VolumeClaim,
};
use stowage_models::plan::{Launch, Plan, UnplacedReason};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

fn app(name: &str) -> LabelSelector {
    LabelSelector { match_labels: labels_of(&[("app", name)]), ..LabelSelector::default() }
}

fn term(key: &str, name: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(app(name)),
        topology_key: key.into(),
        ..PodAffinityTerm::default()
    }
}

fn spread(key: &str, name: &str, max_skew: i32) -> TopologySpread {
    TopologySpread {
        max_skew,
        topology_key: key.into(),
        hard: true,
        label_selector: Some(app(name)),
        honor_affinity: true,
        ..TopologySpread::default()
    }
}

/// Equal pods of one app.
fn set(name: &str, count: usize, change: impl Fn(&mut Pod)) -> Vec<Pod> {
    let one = |index: usize| {
        let mut one = pod(&format!("{name}-{index}"), 300, 500 * MIB);
        one.labels = labels_of(&[("app", name)]).into();
        change(&mut one);
        one
    };
    (0..count).map(one).collect()
}

fn running(mut pods: Vec<Pod>, node: &str) -> Vec<Pod> {
    for pod in &mut pods {
        pod.name = format!("running-{}", pod.name);
        pod.node = Some(node.to_owned());
        pod.phase = PodPhase::Running;
    }
    pods
}

/// One pool and what is given.
fn case(lists: Vec<Vec<Pod>>, nodes: &[&str]) -> Case {
    let mut snapshot = simple_snapshot();
    snapshot.pods = lists.into_iter().flatten().collect();
    snapshot.nodes = nodes.iter().map(|name| node(name, None)).collect();
    snapshot.normalise();
    accepted(Case::new(snapshot, Rule::Cpu))
}

fn accepted(case: Case) -> Case {
    assert_eq!(case.findings(), [], "{}", serde_json::to_string_pretty(&case.plan).unwrap());
    case
}

/// Damages an accepted plan, puts all figures right that follow, and compares the codes found.
fn broken(mut case: Case, want: &[&str], damage: impl FnOnce(&mut Plan)) {
    damage(&mut case.plan);
    restate(&mut case.plan);
    let codes = case.codes();
    assert!(want.iter().all(|code| codes.contains(code)), "{want:?} {:?}", case.findings());
    assert!(codes.iter().all(|code| want.contains(code)), "{want:?} {:?}", case.findings());
}

/// Moves a pod of an app from one launch to another, sums included.
fn swap(plan: &mut Plan, name: &str, from: usize, to: usize) {
    let named = |pod: &&PodRef| pod.0.contains(&format!("/{name}-"));
    let pod = plan.launches[from].pods.iter().find(named).unwrap().clone();
    let pods = |launch: &Launch| launch.pods.len() as i64;
    plan.launches[from].pods.retain(|one| *one != pod);
    plan.launches[to].pods.push(pod);
    plan.launches[to].pods.sort();
    for index in [from, to] {
        let launch = &mut plan.launches[index];
        let count = pods(launch);
        // All pods of these tests are of one size.
        launch.requested.set("cpu", 300 * count);
        launch.requested.set("memory", 500 * MIB * count);
        launch.requested.set("pods", count);
    }
}

/// The launches that carry pods of an app.
fn carrying(plan: &Plan, name: &str) -> Vec<usize> {
    let named = |pod: &PodRef| pod.0.contains(&format!("/{name}-"));
    (0..plan.launches.len()).filter(|index| plan.launches[*index].pods.iter().any(named)).collect()
}

#[test]
fn one_of_a_kind_per_node() {
    let alone = |pod: &mut Pod| pod.spec.affinity.anti_required = vec![term(labels::HOSTNAME, "web")];
    let port = |pod: &mut Pod| pod.spec.containers[0].host_ports = vec!["TCP/0.0.0.0/80".into()];
    let changes: [&dyn Fn(&mut Pod); 2] = [&alone, &port];
    for change in changes {
        let one = case(vec![set("web", 3, change)], &["old-1"]);
        let with = carrying(&one.plan, "web");
        assert_eq!(with.len(), 2, "one is on the node that exists");
        broken(one.clone(), &[CONSTRAINT, EMPTY_LAUNCH], |plan| swap(plan, "web", with[1], with[0]));
    }
}

#[test]
fn as_many_per_node_as_the_skew_by_hostname() {
    let even = |pod: &mut Pod| pod.spec.topology_spread = vec![spread(labels::HOSTNAME, "web", 2)];
    let one = case(vec![set("web", 5, even), set("other", 2, |_| ())], &[]);
    let with = carrying(&one.plan, "web");
    assert_eq!(with.len(), 3);
    broken(one, &[CONSTRAINT], |plan| swap(plan, "web", with[0], with[1]));
}

#[test]
fn running_pods_count_towards_caps() {
    let even = |pod: &mut Pod| pod.spec.topology_spread = vec![spread(labels::HOSTNAME, "web", 2)];
    let there = running(set("web", 2, |_| ()), "old-1");
    let one = case(vec![there, set("web", 2, even)], &["old-1", "old-2"]);
    assert_eq!(one.plan.existing[1].pods.len(), 2);
    broken(one, &[CONSTRAINT], |plan| {
        let pod = plan.existing[1].pods.remove(0);
        plan.existing[0].pods.push(pod);
        for (index, count) in [(0, 1), (1, 1)] {
            let requested = &mut plan.existing[index].requested;
            requested.set("cpu", 300 * count);
            requested.set("memory", 500 * MIB * count);
            requested.set("pods", count);
        }
    });
}

#[test]
fn running_pods_keep_others_away() {
    // The pods there repel web in the whole zone; new nodes in the other zone are fine.
    let repel = |pod: &mut Pod| pod.spec.affinity.anti_required = vec![term(labels::ZONE, "web")];
    let one = case(vec![running(set("quiet", 1, repel), "old-1"), set("web", 3, |_| ())], &["old-1"]);
    assert!(one.plan.existing[0].pods.is_empty());
    assert!(one.plan.launches.iter().all(|launch| launch.zone == "us-east-1b"));
    broken(one, &[CONSTRAINT], |plan| {
        let launch = plan.launches.remove(0);
        plan.existing[0].requested = launch.requested;
        plan.existing[0].pods = launch.pods;
        assert!(plan.launches.is_empty());
    });
}

#[test]
fn spread_over_zones() {
    let even = |pod: &mut Pod| pod.spec.topology_spread = vec![spread(labels::ZONE, "web", 1)];
    let one = case(vec![set("web", 6, even), set("other", 2, |_| ())], &[]);
    let rows: Vec<_> = one.plan.certificate.rows.iter().filter(|row| row.domain.is_some()).collect();
    assert_eq!(rows.iter().map(|row| row.pods).collect::<Vec<_>>(), [3, 3]);
    let launches = &one.plan.launches;
    let zone = |zone: &str| carrying(&one.plan, "web").into_iter().find(|one| launches[*one].zone == zone);
    let (a, b) = (zone("us-east-1a").unwrap(), zone("us-east-1b").unwrap());
    // A skew of two. The rows follow, so that only the constraint is broken.
    broken(one.clone(), &[CONSTRAINT], |plan| {
        swap(plan, "web", a, b);
        let rows = plan.certificate.rows.iter_mut().filter(|row| row.domain.is_some());
        rows.for_each(|row| row.pods = if row.domain.as_deref() == Some("us-east-1a") { 2 } else { 4 });
    });
    // Rows that do not say what the plan does.
    broken(one.clone(), &[CERT_ROWS, MIN_WEIGHT], |plan| {
        let row = plan.certificate.rows.iter_mut().find(|row| row.domain.is_some()).unwrap();
        row.domain = Some("us-east-1c".into());
    });
    broken(one.clone(), &[CERT_ROWS], |plan| {
        let row = plan.certificate.rows.iter_mut().find(|row| row.domain.is_some()).unwrap();
        row.domain = None;
    });
    // A group whose zones are worth different amounts counts what the cheapest way to split it is worth.
    let mut cheaper = one.clone();
    let row = cheaper.plan.certificate.rows.iter_mut().find(|row| row.domain.is_some()).unwrap();
    let less = 3 * (row.multiplier - row.multiplier / 2);
    row.multiplier /= 2;
    let before = (one.plan.summary.launch_bound.0 << 20) - less;
    cheaper.plan.summary.launch_bound.0 = before.div_euclid(1 << 20);
    restate(&mut cheaper.plan);
    let codes = cheaper.codes();
    let stated = cheaper.plan.summary.launch_bound.0;
    let found = [stated - 1, stated, stated + 1].into_iter().filter(|bound| {
        cheaper.plan.summary.launch_bound.0 = *bound;
        restate(&mut cheaper.plan);
        cheaper.codes().is_empty()
    });
    assert_eq!(found.count(), 1, "{codes:?}");
}

#[test]
fn alternates_stay_in_the_zone() {
    let even = |pod: &mut Pod| pod.spec.topology_spread = vec![spread(labels::ZONE, "web", 1)];
    let one = case(vec![set("web", 4, even)], &[]);
    let launch = one.plan.launches.iter().position(|launch| !launch.alternates.is_empty()).unwrap();
    broken(one.clone(), &[ALTERNATE_FIT], |plan| {
        let alternate = &mut plan.launches[launch].alternates[0];
        alternate.zone = if alternate.zone == "us-east-1a" { "us-east-1b" } else { "us-east-1a" }.into();
        let instance = one.catalog.get(&alternate.instance_type).unwrap();
        alternate.price = instance.price(&alternate.zone, &alternate.capacity_type).unwrap().usd;
        let alternate = alternate.clone();
        plan.launches[launch].alternates = vec![alternate];
    });
}

#[test]
fn affinity_and_anti_affinity_by_zone() {
    let near = |pod: &mut Pod| pod.spec.affinity.pod_required = vec![term(labels::ZONE, "db")];
    let far = |pod: &mut Pod| pod.spec.affinity.anti_required = vec![term(labels::ZONE, "db")];
    let one = case(vec![set("db", 2, |_| ()), set("far", 2, far), set("web", 2, near)], &[]);
    let zone = |name: &str| one.plan.launches[carrying(&one.plan, name)[0]].zone.clone();
    assert!(zone("db") == zone("web") && zone("db") != zone("far"));
    let (db, away) = (carrying(&one.plan, "db")[0], carrying(&one.plan, "far")[0]);
    broken(one.clone(), &[CONSTRAINT], |plan| swap(plan, "web", db, away));
    broken(one.clone(), &[CONSTRAINT], |plan| swap(plan, "far", away, db));
    broken(one, &[CONSTRAINT], |plan| swap(plan, "db", db, away));
}

#[test]
fn a_series_that_wants_to_be_together_may_begin_anywhere() {
    let together = |pod: &mut Pod| pod.spec.affinity.pod_required = vec![term(labels::ZONE, "web")];
    let one = case(vec![set("web", 20, together)], &[]);
    assert!(one.plan.launches.len() > 1 && one.plan.unplaced.is_empty());
    let nobody = |pod: &mut Pod| pod.spec.affinity.pod_required = vec![term(labels::ZONE, "nobody")];
    let one = case(vec![set("web", 2, nobody)], &[]);
    assert_eq!(one.plan.unplaced[0].reason, UnplacedReason::Constraint);
    broken(one, &[NO_FIT], |plan| plan.unplaced[0].reason = UnplacedReason::NoFit);
}

#[test]
fn a_reason_needs_a_constraint() {
    let mut one = Case::new(rich_snapshot(), Rule::Cpu);
    let entry = one.plan.unplaced.iter_mut().find(|entry| entry.reason == UnplacedReason::NoFit).unwrap();
    entry.reason = UnplacedReason::Constraint;
    assert!(one.codes().contains(CONSTRAINT_REASON));
}

fn claim(name: &str, class: &str, volume: Option<&str>) -> VolumeClaim {
    VolumeClaim {
        namespace: "shop".into(),
        name: name.into(),
        volume: volume.map(str::to_owned),
        storage_class: Some(class.into()),
        read_write_once_pod: false,
    }
}

fn class(name: &str, waits: bool) -> StorageClass {
    StorageClass {
        name: name.into(),
        provisioner: "ebs.csi.aws.com".into(),
        wait_for_first_consumer: waits,
        is_default: name == "gp3",
        allowed_topologies: Vec::new(),
    }
}

/// Pods with a claim each, all of them stuck or none.
fn with_claims(change: impl Fn(&mut Snapshot)) -> Snapshot {
    let mut snapshot = simple_snapshot();
    snapshot.pods = set("web", 2, |_| ());
    for pod in &mut snapshot.pods {
        pod.spec.volumes = vec![PodVolume::Claim(format!("data-{}", pod.name))];
        snapshot.volume_claims.push(claim(&format!("data-{}", pod.name), "gp3", None));
    }
    snapshot.storage_classes = vec![class("gp3", true), class("now", false)];
    change(&mut snapshot);
    snapshot.normalise();
    snapshot
}

/// A plan that leaves everything out for that reason.
fn nothing(snapshot: Snapshot, reason: UnplacedReason) -> Case {
    let mut none = snapshot.clone();
    none.pods.clear();
    let mut case = Case::new(none, Rule::Cpu);
    let pods: BTreeSet<PodRef> = snapshot.pods.iter().map(Pod::id).collect();
    case.plan.snapshot.digest = snapshot.digest();
    case.plan.unplaced = vec![stowage_models::plan::Unplaced {
        reason,
        message: "because".into(),
        hint: String::new(),
        nearest: None,
        blocking: Vec::new(),
        pods: pods.into_iter().collect(),
    }];
    case.snapshot = snapshot;
    restate(&mut case.plan);
    case
}

#[test]
fn claims_that_no_node_can_serve() {
    let changes: [&dyn Fn(&mut Snapshot); 6] = [
        &|snapshot| snapshot.volume_claims.clear(),
        &|snapshot| snapshot.storage_classes.clear(),
        &|snapshot| snapshot.volume_claims.iter_mut().for_each(|one| one.storage_class = Some("now".into())),
        &|snapshot| snapshot.volume_claims.iter_mut().for_each(|one| one.volume = Some("gone".into())),
        &|snapshot| snapshot.storage_classes[0].provisioner = "kubernetes.io/no-provisioner".into(),
        &|snapshot| {
            let mut users = set("user", 2, |_| ());
            for (user, claim) in users.iter_mut().zip(&mut snapshot.volume_claims) {
                claim.read_write_once_pod = true;
                user.spec.volumes = vec![PodVolume::Claim(claim.name.clone())];
                user.node = Some("somewhere".into());
                user.phase = PodPhase::Running;
            }
            snapshot.pods.extend(users);
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let pending = |case: &mut Case| {
            case.plan.unplaced[0].pods.retain(|pod| !pod.0.contains("/user-"));
            restate(&mut case.plan);
        };
        let mut right = nothing(with_claims(change), UnplacedReason::Constraint);
        pending(&mut right);
        assert_eq!(right.findings(), [], "{index}");
        for reason in [UnplacedReason::NoFit, UnplacedReason::Limits, UnplacedReason::Unsupported] {
            let mut wrong = nothing(with_claims(change), reason);
            pending(&mut wrong);
            assert!(wrong.codes().contains(CONSTRAINT_REASON), "{index} {reason:?}");
        }
    }
}

#[test]
fn volumes_choose_the_zone_and_count_on_the_node() {
    let there = NodeSelectorTerm {
        match_expressions: vec![Requirement::new(labels::ZONE, Operator::In, &["us-east-1b"])],
        match_fields: Vec::new(),
    };
    // The plan of pods without volumes, in the one zone or the other; then the volumes.
    let plan = |zone: &str| {
        let mut snapshot = with_claims(|_| ());
        for claim in &mut snapshot.volume_claims {
            let node_affinity = Some(vec![there.clone()]);
            let driver = Some("ebs.csi.aws.com".to_owned());
            snapshot.volumes.push(Volume { name: format!("pv-{}", claim.name), driver, node_affinity });
            claim.volume = Some(format!("pv-{}", claim.name));
        }
        let mut bare = snapshot.clone();
        for pod in &mut bare.pods {
            pod.spec.volumes.clear();
            pod.spec.node_selector = labels_of(&[(labels::ZONE, zone)]);
        }
        let mut case = Case::new(bare, Rule::Cpu);
        case.plan.snapshot.digest = snapshot.digest();
        case.snapshot = snapshot;
        for launch in &mut case.plan.launches {
            launch.requested.set("attachable-volumes-csi-ebs.csi.aws.com", launch.pods.len() as i64);
        }
        restate(&mut case.plan);
        case
    };
    accepted(plan("us-east-1b"));
    let mut wrong = plan("us-east-1a");
    assert!(wrong.codes().contains(MATCH), "{:?}", wrong.findings());
    // Attach limits of a node that exists: room for one of two.
    let mut full = plan("us-east-1b");
    let mut old = node("old-1", None);
    old.labels.insert(labels::ZONE.into(), "us-east-1b".into());
    old.volume_limits = [("ebs.csi.aws.com".to_owned(), 1)].into();
    full.snapshot.nodes = vec![old];
    full.plan.snapshot.digest = full.snapshot.digest();
    let launch = full.plan.launches.remove(0);
    let mut listed = Case::new(full.snapshot.clone(), Rule::Cpu).plan.existing.remove(0);
    listed.pods = launch.pods;
    listed.requested = launch.requested;
    listed.price = full.catalog.get("m5.large").unwrap().price("us-east-1b", "on-demand").map(|one| one.usd);
    full.plan.existing = vec![listed];
    restate(&mut full.plan);
    let codes = full.codes();
    assert!(codes.contains(CAPACITY), "{:?}", full.findings());
}

/// Goal: whatever constraints there are, a right plan is accepted and a damaged one is not.
#[test]
fn random_constraints() {
    let mut random = Random::new(11);
    let (mut placed, mut left, mut split, mut on_old) = (0, 0, 0, 0);
    for round in 0..150 {
        let snapshot = cluster(&mut random);
        let rule = if round % 2 == 0 { Rule::Cpu } else { Rule::Zero };
        let case = accepted(Case::new(snapshot, rule));
        placed += case.plan.summary.pods_on_new;
        on_old += case.plan.summary.pods_on_existing;
        left += case.plan.summary.pods_unplaced;
        split += u64::from(case.plan.certificate.rows.iter().any(|row| row.domain.is_some()));
        if round % 10 == 0 {
            let outcome = mutations::run(&case.snapshot, &case.catalog, &case.plan, (150, round, true));
            assert_eq!(outcome.holes, Vec::<String>::new());
            assert!(outcome.refused > 50);
        }
    }
    assert!(placed > 500 && on_old > 100 && left > 50 && split > 30, "{placed} {on_old} {left} {split}");
}

/// A few apps with random constraints, a few nodes, and pods of the same apps on them.
fn cluster(random: &mut Random) -> Snapshot {
    const APPS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut snapshot = simple_snapshot();
    snapshot.pods.clear();
    for index in 0..random.index(4) {
        let mut one = node(&format!("old-{index}"), None);
        if random.index(2) == 0 {
            one.labels.insert(labels::ZONE.into(), "us-east-1b".into());
        }
        snapshot.nodes.push(one);
    }
    for name in APPS {
        let mut specs = Vec::new();
        for _ in 0..random.index(3) {
            let key = if random.index(2) == 0 { labels::ZONE } else { labels::HOSTNAME };
            let other = APPS[random.index(APPS.len())];
            let skew = 1 + random.index(2) as i32;
            specs.push((random.index(6), key, other, skew));
        }
        // Of a size of their own: pods of two apps that change places are another plan, and say so in its sums.
        let cpu = 300 + 10 * name.bytes().map(i64::from).sum::<i64>() % 97;
        let constrain = |pod: &mut Pod| {
            pod.spec.containers[0].requests.set("cpu", cpu);
            for (kind, key, other, skew) in &specs {
                let spec = &mut pod.spec;
                match kind {
                    0 => spec.affinity.anti_required.push(term(key, other)),
                    1 => spec.affinity.pod_required.push(term(key, other)),
                    2 => spec.affinity.anti_required.push(term(labels::HOSTNAME, name)),
                    3 => spec.containers[0].host_ports = vec![format!("TCP/0.0.0.0/{}", 80 + skew)],
                    4 if spec.topology_spread.iter().all(|one| one.topology_key != *key) => {
                        spec.topology_spread.push(spread(key, name, *skew));
                    }
                    _ => spec.node_selector = labels_of(&[(labels::ZONE, "us-east-1a")]),
                }
            }
        };
        let count = 1 + random.index(8);
        snapshot.pods.extend(set(name, count, constrain));
        if !snapshot.nodes.is_empty() && random.index(2) == 0 {
            let node = snapshot.nodes[random.index(snapshot.nodes.len())].name.clone();
            let stay = |pod: &mut Pod| {
                if random_free(&specs) {
                    pod.spec.affinity.anti_required = vec![term(labels::ZONE, specs[0].2)];
                }
            };
            snapshot.pods.extend(running(set(name, 1, stay), &node));
        }
    }
    snapshot.normalise();
    snapshot
}

/// Whether pods of this kind that run repel others: as good as random.
fn random_free(specs: &[(usize, &str, &str, i32)]) -> bool {
    specs.first().is_some_and(|(kind, ..)| kind % 2 == 1)
}
