//! Assumptions about partial exports, each with a note.

use crate::{import_text, list, pod};
use stowage_models::labels;
use stowage_models::selector::Operator;
use stowage_models::snapshot::Snapshot;

fn note<'s>(snapshot: &'s Snapshot, part: &str) -> Option<&'s str> {
    snapshot.notes.iter().find(|note| note.contains(part)).map(String::as_str)
}

fn daemon_pod(name: &str, node: &str, phase: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"kube-system","labels":{{"app":"cni","controller-revision-hash":"x"}},
            "ownerReferences":[{{"kind":"DaemonSet","name":"cni","controller":true}}]}},
            "spec":{{"nodeName":"{node}","containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{name}"}}}}}}],
            "affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{{"matchFields":[{{"key":"metadata.name","operator":"In","values":["{node}"]}}]}}]}}}}}}}},
            "status":{{"phase":"{phase}"}}}}"#
    )
}

/// Goal: without DaemonSets they are derived from pods, free of their pod's node; a failed pod is the worse witness.
#[test]
fn daemon_sets_are_derived() {
    let got = import_text(&list(&[&daemon_pod("30m", "n2", "Running"), &daemon_pod("20m", "n1", "Failed")]))
        .unwrap();
    let [set] = &got.snapshot.daemon_sets[..] else { panic!("{:?}", got.snapshot.daemon_sets) };
    assert_eq!((set.namespace.as_str(), set.name.as_str()), ("kube-system", "cni"));
    assert_eq!(set.spec.affinity.node_required, None);
    assert_eq!(set.spec.containers[0].requests.get("cpu"), 30);
    assert_eq!(set.labels.keys().collect::<Vec<_>>(), ["app"]);
    assert!(
        note(&got.snapshot, "1 derived from one pod each (kube-system/cni)").is_some(),
        "{:?}",
        got.snapshot.notes
    );
    let real = r#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"other","namespace":"x"},"spec":{"template":{"spec":{"containers":[]}}}}"#;
    let got = import_text(&list(&[&daemon_pod("30m", "n2", "Running"), real])).unwrap();
    assert_eq!(got.snapshot.daemon_sets.len(), 1, "real DaemonSets switch the guess off");
    assert!(note(&got.snapshot, "derived").is_none());
}

/// Goal: the stand-in pool uses the zones of the nodes, and its note says how to pass real pools.
#[test]
fn default_pool() {
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","labels":{"failure-domain.beta.kubernetes.io/zone":"eu-west-1b"}}}"#;
    for (text, zones) in
        [(list(&[]), &["us-east-1a", "us-east-1b", "us-east-1c"][..]), (list(&[node]), &["eu-west-1b"][..])]
    {
        let got = import_text(&text).unwrap().snapshot;
        let [pool] = &got.node_pools[..] else { panic!() };
        assert_eq!(pool.name, "stowage-default");
        let zone = pool.requirements.iter().find(|requirement| requirement.key == labels::ZONE).unwrap();
        assert_eq!(
            (zone.operator, &zone.values[..]),
            (Operator::In, &zones.iter().map(|z| (*z).to_owned()).collect::<Vec<_>>()[..])
        );
        let note = note(&got, "`stowage-default`").unwrap();
        assert!(note.contains("kubectl get nodepools") && note.contains(zones[0]), "{note}");
    }
}

/// Goal: what is missing is said once, briefly.
#[test]
fn missing_parts_are_noted() {
    let pool = r#"{"apiVersion":"karpenter.sh/v1","kind":"NodePool","metadata":{"name":"p"},"spec":{"template":{"spec":{"nodeClassRef":{"name":"default"}}}}}"#;
    let bound = r#"{"nodeName":"n1","volumes":[{"name":"d","persistentVolumeClaim":{"claimName":"data"}}]}"#;
    let got = import_text(&list(&[pool, &pod("a", bound)])).unwrap().snapshot;
    for part in [
        "No nodes in the input, though 1 pods",
        "No DaemonSets",
        "EC2NodeClass default",
        "PersistentVolumeClaim default/data",
    ] {
        assert!(note(&got, part).is_some(), "{part}: {:?}", got.notes);
    }
    assert!(note(&got, "stowage-default").is_none());
}
