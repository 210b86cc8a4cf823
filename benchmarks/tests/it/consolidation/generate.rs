//! Small random clusters of every kind of trouble.

use stowage_models::catalog::Catalog;
use stowage_models::departure::{Notice, NoticeKind, Symptom};
use stowage_models::labels;
use stowage_models::objects::{
    Budget, Container, Node, NodeClaim, NodePool, NodeSelectorTerm, Owner, Pod, PodAffinityTerm,
    PodDisruptionBudget, PodPhase, PodVolume, TopologySpread, Volume, VolumeClaim,
};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// A small cluster of every kind of trouble.
pub(crate) fn random(seed: u64) -> Snapshot {
    let mut rng = Random::new(seed);
    let labelled = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let budgets = ["100%", "10%", "1", "0", "50%", "nonsense"];
    let pools = ["a", "b"].map(|name| NodePool {
        name: name.to_owned(),
        requirements: vec![Requirement::new(
            labels::INSTANCE_TYPE,
            Operator::In,
            &["m5.large", "m5.xlarge", "c5.2xlarge"],
        )],
        consolidation_policy: Some(
            ["WhenEmptyOrUnderutilized", "WhenEmpty", "Balanced"][rng.below(3) as usize].to_owned(),
        ),
        consolidate_after: Some(["0s", "0s", "1h", "Never"][rng.below(4) as usize].to_owned()),
        budgets: vec![Budget { nodes: budgets[rng.below(6) as usize].to_owned(), ..Budget::default() }],
        ..NodePool::default()
    });
    let mut snapshot = Snapshot {
        taken_at: Some("2026-08-31T12:00:00Z".to_owned()),
        origin: format!("random {seed}"),
        node_pools: pools.to_vec(),
        ..Snapshot::default()
    };
    for index in 0..3 + rng.below(6) {
        let kind = ["m5.large", "m5.xlarge", "c5.2xlarge", "unknown.large"]
            [rng.weighted(&[(0, 5), (1, 5), (2, 5), (3, 1)])];
        let real = Catalog::embedded().get(if kind == "unknown.large" { "m5.large" } else { kind }).unwrap();
        let name = format!("node-{index}");
        let mut own = real.labels();
        own.extend(labelled(&[
            (labels::INSTANCE_TYPE, kind),
            (labels::ZONE, ["us-east-1a", "us-east-1b"][rng.below(2) as usize]),
            (labels::CAPACITY_TYPE, ["on-demand", "spot"][rng.below(2) as usize]),
            (labels::HOSTNAME, &name),
        ]));
        if !rng.chance(10) {
            own.insert(labels::NODEPOOL.to_owned(), ["a", "b"][rng.below(2) as usize].to_owned());
        }
        let mark = if rng.chance(8) { labelled(&[(labels::DO_NOT_DISRUPT, "true")]) } else { Labels::new() };
        let class = stowage_models::objects::Ec2NodeClass::default();
        snapshot.nodes.push(Node {
            name: name.clone(),
            labels: own,
            annotations: mark,
            unschedulable: rng.chance(5),
            created: Some("2026-08-01T12:00:00Z".to_owned()),
            capacity: real.capacity(&snapshot.settings, &class),
            allocatable: real.allocatable(&snapshot.settings, &class),
            ready: !rng.chance(5),
            ..Node::default()
        });
        for number in 0..rng.below(6) {
            let app = ["x", "y", "z"][rng.below(3) as usize];
            let mut requests = stowage_models::quantity::Resources::default();
            requests.set("cpu", [100, 250, 900][rng.below(3) as usize]);
            requests.set("memory", [200, 900, 2_000][rng.below(3) as usize] << 20);
            let mut pod = Pod {
                namespace: "default".to_owned(),
                name: format!("{app}-{index}-{number}"),
                labels: labelled(&[("app", app)]).into(),
                owner: (!rng.chance(3))
                    .then(|| Owner { kind: "ReplicaSet".to_owned(), name: app.to_owned() }.into()),
                created: Some("2026-08-31T11:30:00Z".to_owned()).filter(|_| rng.chance(50)),
                phase: if rng.chance(10) { PodPhase::Pending } else { PodPhase::Running },
                node: Some(name.clone()),
                deleting: rng.chance(3),
                ..Pod::default()
            };
            pod.spec.containers = vec![Container { requests, ..Container::default() }];
            if rng.chance(4) {
                pod.annotations = labelled(&[(labels::DO_NOT_DISRUPT, "true")]);
            }
            if rng.chance(5) {
                pod.node = None;
                pod.phase = PodPhase::Pending;
            }
            snapshot.pods.push(pod);
        }
    }
    for (index, app) in ["x", "y", "z"].into_iter().enumerate() {
        if rng.chance(60) {
            let selector =
                LabelSelector { match_labels: labelled(&[("app", app)]), ..LabelSelector::default() };
            let budget = PodDisruptionBudget {
                namespace: "default".to_owned(),
                name: format!("{app}-{index}"),
                selector: Some(selector),
                min_available: Some(["1", "50%", "0", "90%"][rng.below(4) as usize].to_owned()),
                disruptions_allowed: [None, None, Some(0), Some(1)][rng.below(4) as usize],
                always_allow_unhealthy: rng.chance(30),
                ..PodDisruptionBudget::default()
            };
            snapshot.pod_disruption_budgets.push(budget.clone());
            if rng.chance(5) {
                snapshot
                    .pod_disruption_budgets
                    .push(PodDisruptionBudget { name: "second".to_owned(), ..budget });
            }
        }
    }
    snapshot.normalise();
    snapshot
}

/// Every managed node has a claim whose `consolidateAfter` has passed, so that nodes launched later differ from none of them.
pub(crate) fn with_claims(mut snapshot: Snapshot) -> Snapshot {
    for node in snapshot.nodes.iter().filter(|node| node.nodepool().is_some()) {
        snapshot.node_claims.push(NodeClaim {
            name: node.name.clone(),
            node: Some(node.name.clone()),
            labels: node.labels.clone(),
            conditions: vec!["Consolidatable".to_owned(), "Initialized".to_owned()],
            ..NodeClaim::default()
        });
    }
    snapshot.normalise();
    snapshot
}

/// Some nodes have to go: drifted, expired or about to, interrupted, unhealthy; some pods are tied to others, some pools have limits.
pub(crate) fn with_departures(mut snapshot: Snapshot, seed: u64) -> Snapshot {
    let mut rng = Random::new(seed ^ 0xdead);
    let text = |value: &str| Some(value.to_owned());
    for claim in &mut snapshot.node_claims {
        // Now is 2026-08-31T12:00:00Z.
        claim.created = text("2026-08-01T12:00:00Z");
        claim.expire_after = text(
            ["Never", "720h", "720h30m", "800h", "100h", "24h"]
                [rng.weighted(&[(0, 40), (1, 8), (2, 12), (3, 20), (4, 5), (5, 2)])],
        );
        if rng.chance(25) {
            claim.conditions.push("Drifted".to_owned());
        }
        if rng.chance(15) {
            claim.termination_grace_period = text("1h");
        }
        if rng.chance(3) {
            claim.deleting = true;
        }
    }
    for node in &mut snapshot.nodes {
        if rng.chance(8) {
            let kind =
                [NoticeKind::SpotInterruption, NoticeKind::RebalanceRecommendation, NoticeKind::StateChange]
                    [rng.below(3) as usize];
            let deadline = text("2026-08-31T12:02:00Z").filter(|_| kind == NoticeKind::SpotInterruption);
            snapshot.notices.push(Notice { node: node.name.clone(), kind, deadline });
        }
        if rng.chance(12) {
            let since = ["2026-08-31T11:00:00Z", "2026-08-31T11:45:00Z"][rng.below(2) as usize];
            let (condition, status) =
                [("Ready", "Unknown"), ("StorageReady", "False")][rng.below(2) as usize];
            node.ready &= condition != "Ready";
            node.symptoms = vec![Symptom {
                condition: condition.to_owned(),
                status: status.to_owned(),
                since: text(since),
            }];
        }
    }
    for pool in &mut snapshot.node_pools {
        if rng.chance(25) {
            let reason = ["Drifted", "Underutilized", "Empty"][rng.below(3) as usize];
            let nodes = ["0", "1", "50%"][rng.below(3) as usize].to_owned();
            pool.budgets.push(Budget { nodes, reasons: vec![reason.to_owned()], ..Budget::default() });
        }
        if rng.chance(30) {
            pool.limits.set("cpu", i64::try_from(rng.below(30)).unwrap() * 1_000);
        }
    }
    for pod in &mut snapshot.pods {
        if rng.chance(5) {
            pod.spec.topology_spread = vec![TopologySpread {
                topology_key: labels::ZONE.to_owned(),
                max_skew: 1,
                hard: true,
                label_selector: Some(LabelSelector {
                    match_labels: Labels::clone(&pod.labels),
                    ..LabelSelector::default()
                }),
                ..TopologySpread::default()
            }];
        }
        pod.spec.local_storage = rng.chance(10);
        if rng.chance(8) {
            let name = format!("{}-data", pod.name);
            let zone = ["us-east-1a", "us-east-1b"][rng.below(2) as usize];
            pod.spec.volumes = vec![PodVolume::Claim(name.clone())];
            let (mut claim, volume) = zonal(&name, &pod.namespace, zone);
            claim.read_write_once_pod = rng.chance(10);
            snapshot.volume_claims.push(claim);
            snapshot.volumes.push(volume);
        }
        if pod.node.is_none() && rng.chance(20) {
            pod.nominated_node = text("node-1");
        }
    }
    snapshot.normalise();
    snapshot
}

/// A bound claim and its volume, both of this name, in a zone.
pub(crate) fn zonal(name: &str, namespace: &str, zone: &str) -> (VolumeClaim, Volume) {
    let claim = VolumeClaim {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        volume: Some(name.to_owned()),
        ..VolumeClaim::default()
    };
    let term = NodeSelectorTerm {
        match_expressions: vec![Requirement::new(labels::ZONE, Operator::In, &[zone])],
        match_fields: Vec::new(),
    };
    let driver = Some("ebs.csi.aws.com".to_owned());
    (claim, Volume { name: name.to_owned(), driver, node_affinity: Some(vec![term]) })
}

/// Some apps' pods ask something of each other or of another app's: spread over zones or nodes, company, distance, a port of the host.
pub(crate) fn with_ties(mut snapshot: Snapshot, seed: u64) -> Snapshot {
    let mut rng = Random::new(seed ^ 0x71e5);
    let app = |name: &str| LabelSelector {
        match_labels: Labels::from([("app".to_owned(), name.to_owned())]),
        ..LabelSelector::default()
    };
    for name in ["x", "y", "z"] {
        let key = [labels::ZONE, labels::HOSTNAME][rng.below(2) as usize].to_owned();
        let about = if rng.chance(80) { name } else { ["x", "y", "z"][rng.below(3) as usize] };
        let term = PodAffinityTerm {
            label_selector: Some(app(about)),
            topology_key: key.clone(),
            ..PodAffinityTerm::default()
        };
        let spread = TopologySpread {
            topology_key: key,
            max_skew: 1 + rng.below(3) as i32,
            hard: true,
            honor_affinity: true,
            honor_taints: rng.chance(30),
            label_selector: Some(app(about)),
            ..TopologySpread::default()
        };
        let kind = rng.below(6);
        for pod in snapshot.pods.iter_mut().filter(|pod| pod.labels["app"] == *name) {
            match kind {
                0 | 1 => pod.spec.topology_spread = vec![spread.clone()],
                2 => pod.spec.affinity.anti_required = vec![term.clone()],
                3 => pod.spec.affinity.pod_required = vec![term.clone()],
                4 if rng.chance(50) => {
                    pod.spec.containers[0].host_ports = vec!["TCP/0.0.0.0/8080".to_owned()];
                }
                _ => {}
            }
        }
    }
    // One wave after the other, and room to move.
    for pool in &mut snapshot.node_pools {
        pool.budgets =
            vec![Budget { nodes: ["1", "2", "100%"][rng.below(3) as usize].to_owned(), ..Budget::default() }];
        (pool.consolidation_policy, pool.consolidate_after) = (None, Some("0s".to_owned()));
    }
    snapshot.pods.iter_mut().for_each(|pod| pod.annotations.clear());
    snapshot.pod_disruption_budgets.clear();
    snapshot
}
