//! CapacityBuffers: how much room they come to, and what stands for it.

use crate::{import_text, list};
use serde_json::{Value, json};
use stowage_import::{Buffer, Encoding, Imported, Room, Source, import, write_snapshot};
use stowage_models::objects::Pod;

fn buffer(spec: Value) -> String {
    json!({
        "apiVersion": "autoscaling.x-k8s.io/v1beta1", "kind": "CapacityBuffer",
        "metadata": { "name": "spare", "namespace": "shop", "uid": "buffer-uid" }, "spec": spec,
    })
    .to_string()
}

fn pod_spec() -> Value {
    json!({
        "nodeSelector": { "disk": "fast" },
        "containers": [{ "name": "a", "resources": { "requests": { "cpu": "500m", "memory": "1Gi" } } }],
        "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
        "priorityClassName": "nobody-knows-it",
    })
}

fn template(spec: Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "PodTemplate",
        "metadata": { "name": "shape", "namespace": "shop", "generation": 3 },
        "template": { "metadata": { "labels": { "app": "web" } }, "spec": spec },
    })
    .to_string()
}

fn deployment(replicas: u32) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "replicas": replicas, "template": { "spec": pod_spec() } },
    })
    .to_string()
}

fn read(texts: &[&str]) -> (Buffer, Vec<Pod>, Imported) {
    let imported = import_text(&list(texts)).expect("it imports");
    assert_eq!(imported.buffers.len(), 1);
    let pods = imported.snapshot.pods.iter().filter(|pod| pod.is_virtual()).cloned().collect();
    (imported.buffers[0].clone(), pods, imported)
}

fn room(texts: &[&str]) -> Room {
    read(texts).0.outcome.expect("it comes to something")
}

#[test]
fn a_buffer_is_pods_of_its_shape_that_wait_and_matter_least() {
    let spec = json!({ "podTemplateRef": { "name": "shape" }, "replicas": 2 });
    let (found, pods, imported) = read(&[&buffer(spec), &template(pod_spec())]);
    assert_eq!(
        found.outcome,
        Ok(Room { replicas: 2, limited: false, template: Some(("shape".to_owned(), Some(3))) })
    );
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["capacity-buffer-spare-1", "capacity-buffer-spare-2"]);
    let pod = &pods[0];
    assert!(pod.is_pending() && pod.spec.priority == i32::MIN && pod.spec.volumes.is_empty());
    assert_eq!(pod.spec.node_selector["disk"], "fast");
    assert_eq!(pod.annotations["karpenter.sh/capacity-buffer-name"], "spare");
    // Nobody must rely on them.
    assert!(!pod.labels.contains_key("app"));
    let uids: std::collections::BTreeSet<_> = pods.iter().map(|pod| pod.uid.clone()).collect();
    assert!(
        uids.len() == 2
            && uids.iter().all(|uid| uid.as_ref().is_some_and(|uid| uid.starts_with("buffer-uid-")))
    );
    assert_eq!(found.pods.len(), 2);
    // They are part of the document, and stay what they are.
    let bytes = write_snapshot(&imported.snapshot, Encoding::Json);
    let again = import(&[Source { name: "s", bytes: &bytes }]).expect("it reads").snapshot;
    assert_eq!(again, imported.snapshot);
    // Another shape is other pods.
    let other = json!({ "containers": [{ "name": "a", "resources": { "requests": { "cpu": "600m" } } }] });
    let spec = json!({ "podTemplateRef": { "name": "shape" }, "replicas": 2 });
    let changed = read(&[&buffer(spec), &template(other)]).1;
    assert_ne!(changed[0].uid, pods[0].uid);
}

#[test]
fn replicas_shares_and_limits_are_karpenters() {
    let of = |more: Value| {
        let mut spec = json!({ "scalableRef": { "apiGroup": "apps", "kind": "Deployment", "name": "web" } });
        spec.as_object_mut().expect("a spec").extend(more.as_object().expect("a spec").clone());
        let room = room(&[&buffer(spec), &deployment(7)]);
        (room.replicas, room.limited)
    };
    assert_eq!(of(json!({ "percentage": 20 })), (2, false), "rounded up");
    assert_eq!(of(json!({ "percentage": 1 })), (1, false), "at least one");
    assert_eq!(of(json!({ "percentage": 0 })), (0, false));
    assert_eq!(of(json!({ "percentage": 20, "replicas": 5 })), (5, false), "the larger");
    assert_eq!(of(json!({ "replicas": 5, "limits": { "cpu": "1900m" } })), (3, true));
    assert_eq!(of(json!({ "limits": { "cpu": "10", "memory": "4Gi" } })), (4, false), "as many as fit");
    assert_eq!(of(json!({ "replicas": 2, "limits": { "example.com/device": 0 } })), (2, false));
    assert_eq!(of(json!({})), (0, false));
}

#[test]
fn a_buffer_without_a_shape_keeps_no_room_and_says_why() {
    let scalable = |kind: &str, group: &str| json!({ "scalableRef": { "apiGroup": group, "kind": kind, "name": "web" }, "replicas": 1 });
    for (spec, reason, word) in [
        (json!({ "podTemplateRef": { "name": "gone" }, "replicas": 1 }), "PodTemplateNotFound", "gone"),
        (scalable("StatefulSet", "apps"), "ScalableRefNotFound", "StatefulSet web"),
        (scalable("Rollout", "argoproj.io"), "ResolutionFailed", "Rollout"),
        (json!({ "replicas": 1 }), "ResolutionFailed", "Neither"),
        (
            json!({ "podTemplateRef": { "name": "shape" }, "replicas": 1, "provisioningStrategy": "x/y" }),
            "ResolutionFailed",
            "x/y",
        ),
        (
            json!({ "podTemplateRef": { "name": "shape" }, "replicas": 2_000_000_000 }),
            "ResolutionFailed",
            "at most",
        ),
        (
            json!({ "podTemplateRef": { "name": "shape" }, "limits": { "cpu": "much" } }),
            "ResolutionFailed",
            "spec.limits.cpu",
        ),
    ] {
        let (found, pods, imported) = read(&[&buffer(spec.clone()), &template(pod_spec())]);
        let why = found.outcome.expect_err("it comes to nothing");
        assert_eq!((why.reason, why.message.contains(word)), (reason, true), "{spec}: {}", why.message);
        assert!(pods.is_empty());
        let noted = |note: &String| note.starts_with("CapacityBuffer shop/spare keeps no room: ");
        assert!(imported.snapshot.notes.iter().any(noted));
    }
    // A shape that cannot be read is a word on the buffer, not the end of everything.
    let broken =
        template(json!({ "containers": [{ "name": "a", "resources": { "requests": { "cpu": "much" } } }] }));
    let spec = json!({ "podTemplateRef": { "name": "shape" }, "replicas": 1 });
    let why = read(&[&buffer(spec.clone()), &broken]).0.outcome.expect_err("it cannot be read");
    assert!(why.message.contains("PodTemplate shape cannot be read"), "{}", why.message);
    // A real pod of that name is a pod.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "capacity-buffer-spare-1", "namespace": "shop" },
        "spec": { "containers": [] },
    });
    let (_, pods, imported) = read(&[&pod.to_string(), &buffer(spec), &template(pod_spec())]);
    assert_eq!((pods.len(), imported.snapshot.pods.len()), (0, 1));
}

#[test]
fn what_a_shape_asks_of_its_like_is_asked_of_the_pods_of_the_buffer() {
    let mut spec = pod_spec();
    let own = json!({ "matchLabels": { "app": "web" } });
    let other = json!({ "matchLabels": { "app": "db" } });
    let term =
        |selector: &Value| json!({ "labelSelector": selector, "topologyKey": "kubernetes.io/hostname" });
    spec["affinity"] = json!({
        "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term(&own)] },
        "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term(&own), term(&other)] },
    });
    let spread = |when: &str| {
        json!({
            "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when,
            "labelSelector": own,
        })
    };
    spec["topologySpreadConstraints"] = json!([spread("DoNotSchedule"), spread("ScheduleAnyway")]);
    let ask = json!({ "podTemplateRef": { "name": "shape" }, "replicas": 1 });
    let pods = read(&[&buffer(ask), &template(spec)]).1;
    let spec = &pods[0].spec;
    let each_other = |selector: Option<&stowage_models::selector::LabelSelector>| {
        selector.is_some_and(|one| one.matches(&pods[0].labels))
    };
    // Real ones are kept away from, and so are those of the buffer.
    let repels: Vec<bool> =
        spec.affinity.anti_required.iter().map(|one| each_other(one.label_selector.as_ref())).collect();
    assert_eq!(repels, [false, true]);
    let spreads: Vec<bool> =
        spec.topology_spread.iter().map(|one| each_other(one.label_selector.as_ref())).collect();
    assert_eq!(spreads, [false, true]);
    // The first of its kind may be anywhere; what others are for, it needs, too.
    assert_eq!(spec.affinity.pod_required.len(), 1);
}
