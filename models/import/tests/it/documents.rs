//! Snapshot and plan documents.

use crate::{import_text, import_texts, list, pod};
use stowage_import::{Encoding, ImportError, Source, read_plan, write_snapshot};
use stowage_models::departure::{Notice, NoticeKind, Symptom};
use stowage_models::objects::{NodePool, Pod};
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

fn refused(text: &str) -> ImportError {
    import_text(text).expect_err("must be refused")
}

fn small() -> Snapshot {
    let mut snapshot = Snapshot {
        origin: "by hand".into(),
        seed: 7,
        taken_at: Some("2026-01-02T03:04:05Z".into()),
        ..Snapshot::default()
    };
    snapshot.pods.push(Pod { namespace: "default".into(), name: "web".into(), ..Pod::default() });
    snapshot.pods[0].spec.containers.push(Default::default());
    snapshot
}

/// Goal: a document by itself is complete: nothing is added, whatever it lacks.
#[test]
fn documents_are_taken_as_they_are() {
    let text = String::from_utf8(write_snapshot(&small(), Encoding::Json)).unwrap();
    let got = import_text(&text).unwrap();
    assert_eq!(got.snapshot, small());
    assert_eq!(got.read["StowageSnapshot"], 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value, serde_json::to_value(small()).unwrap(), "the line-broken form is the plain one");
    assert_eq!(text.lines().filter(|line| line.contains("\"web\"")).count(), 1);
}

/// Goal: a document and a list merge; then the usual assumptions are made.
#[test]
fn documents_and_lists_merge() {
    let document = String::from_utf8(write_snapshot(&small(), Encoding::Yaml)).unwrap();
    let got = import_texts(&[&list(&[&pod("b", "{}")]), &document]).unwrap().snapshot;
    assert_eq!(got.pods.len(), 2);
    assert_eq!((got.seed, got.origin.as_str()), (7, "by hand"));
    assert_eq!(got.node_pools[0].name, "stowage-default");
    let mut other = small();
    other.settings.vm_memory_overhead = Ppm(0);
    let other = String::from_utf8(write_snapshot(&other, Encoding::Json)).unwrap();
    let error = import_texts(&[&document, &other]).unwrap_err();
    assert_eq!(error.place, "a and b: StowageSnapshot: settings");
}

#[test]
fn format_versions() {
    let version = |version: &str| {
        String::from_utf8(write_snapshot(&small(), Encoding::Json)).unwrap().replace("\"1.0\"", version)
    };
    let newer = version("\"1.7\"").replace("\"seed\"", "\"sprouts\": [1], \"seed\"");
    assert_eq!(import_text(&newer).unwrap().snapshot, small(), "unknown fields of a newer minor are ignored");
    for (text, message) in
        [("\"2.0\"", "2.0 is newer"), ("\"0.9\"", "no longer read"), ("\"new\"", "`new` is no version")]
    {
        let error = refused(&version(text));
        assert_eq!(error.place, "a: StowageSnapshot: formatVersion");
        assert!(error.message.contains(message), "{error}");
    }
    let error = refused(r#"{"kind":"StowageSnapshot"}"#);
    assert!(error.message.contains("does not say its format version"), "{error}");
    assert!(refused(&version("\"2.0\"")).hint.contains("upgrade"));
}

#[test]
fn documents_are_validated() {
    let mut snapshot = small();
    snapshot.pods[0].spec.containers[0].requests = [("cpu", -5)].into();
    let written = |snapshot: &Snapshot| String::from_utf8(write_snapshot(snapshot, Encoding::Json)).unwrap();
    let error = refused(&written(&snapshot));
    assert_eq!(error.place, "a: StowageSnapshot: Pod default/web: spec.containers[0].requests.cpu");
    assert!(error.message.contains("-5"));
    let mut snapshot = small();
    snapshot.node_pools = vec![NodePool { name: "p".into(), ..NodePool::default() }; 2];
    let error = refused(&written(&snapshot));
    assert_eq!(error.place, "a: StowageSnapshot: NodePool p");
    assert!(error.message.contains("twice"));
    snapshot.node_pools = vec![NodePool::default()];
    assert!(refused(&written(&snapshot)).message.contains("name is empty"));
    let error =
        refused(r#"{"kind":"StowageSnapshot","formatVersion":"1.0","pods":[{"namespace":"n","name":7}]}"#);
    assert!(error.place.ends_with("StowageSnapshot: pods[0].name"), "{error}");
    assert!(!error.hint.contains("kubectl"), "{error}");
}

/// Goal: notices come with a document, and are refused where they say nothing.
#[test]
fn notices_are_read_and_validated() {
    let notice = |node: &str, deadline: Option<&str>| Notice {
        node: node.into(),
        kind: NoticeKind::SpotInterruption,
        deadline: deadline.map(str::to_owned),
    };
    let with = |notice: &Notice| {
        let snapshot = Snapshot { notices: vec![notice.clone()], ..small() };
        String::from_utf8(write_snapshot(&snapshot, Encoding::Json)).unwrap()
    };
    let good = notice("node", Some("2026-01-02T03:06:05Z"));
    assert_eq!(import_text(&with(&good)).unwrap().snapshot.notices, [good]);
    let error = refused(&with(&notice("node", Some("soon"))));
    assert_eq!(error.place, "a: StowageSnapshot: notices[0].deadline");
    assert!(
        error.message.contains("`soon` is no time") && error.hint.contains("2026-08-31T12:00:00Z"),
        "{error}"
    );
    assert_eq!(refused(&with(&notice("", None))).place, "a: StowageSnapshot: notices[0].node");
}

/// Goal: what lists say about nodes that have to go, and about data that ends with a node, is kept.
#[test]
fn lists_say_what_has_to_go() {
    let claim = r#"{"apiVersion":"karpenter.sh/v1","kind":"NodeClaim",
        "metadata":{"name":"c","creationTimestamp":"2026-08-01T00:00:00Z",
        "annotations":{"stowage.dev/notices":"SpotInterruption@2026-08-30T00:02:00Z,StateChange","other":"secret"}},
        "spec":{"expireAfter":"720h","terminationGracePeriod":"48h"},
        "status":{"nodeName":"n","conditions":[{"type":"Drifted","status":"True"},{"type":"Ready","status":"False"}]}}"#;
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"status":{"conditions":[
        {"type":"Ready","status":"Unknown","lastTransitionTime":"2026-08-30T00:00:00Z"},
        {"type":"KernelReady","status":"True"},{"type":"DiskPressure","status":"False"}]}}"#;
    let storage = |volume: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p","namespace":"d"}},
                "spec":{{"containers":[],"volumes":[{volume}]}},"status":{{"phase":"Running"}}}}"#
        )
    };
    let read = |volume: &str| import_text(&list(&[claim, node, &storage(volume)])).unwrap().snapshot;
    let snapshot = read(r#"{"name":"v","emptyDir":{}}"#);
    let claim = &snapshot.node_claims[0];
    assert_eq!(claim.conditions, ["Drifted"]);
    let said: Vec<_> = snapshot.notices.iter().map(|one| (one.kind, one.deadline.as_deref())).collect();
    let spot = (NoticeKind::SpotInterruption, Some("2026-08-30T00:02:00Z"));
    assert_eq!(said, [spot, (NoticeKind::StateChange, None)]);
    assert!(snapshot.is_interrupted("n") && snapshot.notices.iter().all(|one| one.node == "n"));
    let times =
        [&claim.created, &claim.expire_after, &claim.termination_grace_period].map(|text| text.as_deref());
    assert_eq!(times, [Some("2026-08-01T00:00:00Z"), Some("720h"), Some("48h")]);
    let symptom = Symptom {
        condition: "Ready".into(),
        status: "Unknown".into(),
        since: Some("2026-08-30T00:00:00Z".into()),
    };
    assert_eq!(snapshot.nodes[0].symptoms, [symptom]);
    assert!(snapshot.pods[0].spec.local_storage);
    let is_local = |volume: &str| read(volume).pods[0].spec.local_storage;
    assert!(is_local(r#"{"name":"v","hostPath":{"path":"/var"}}"#));
    assert!(!is_local(r#"{"name":"v","emptyDir":{"medium":"Memory"}}"#));
    assert!(!is_local(r#"{"name":"v","configMap":{"name":"c"}}"#));
}

/// Goal: plans read back in every form, and anything else says what it is.
#[test]
fn plans() {
    let plan = |bytes: &[u8]| read_plan(Source { name: "plan", bytes });
    let json = serde_json::to_vec(&Plan::default()).unwrap();
    let mut value = serde_json::to_value(Plan::default()).unwrap();
    value["kind"] = "StowagePlan".into();
    value["formatVersion"] = "1.0".into();
    let document = serde_json::to_vec_pretty(&value).unwrap();
    let got = plan(&document).unwrap();
    assert_eq!(plan(&zstd::stream::encode_all(&document[..], 3).unwrap()).unwrap(), got);
    assert_eq!(plan(serde_saphyr::to_string(&value).unwrap().as_bytes()).unwrap(), got);
    drop(json);
    let message = |text: &str| plan(text.as_bytes()).unwrap_err().to_string();
    let snapshot = String::from_utf8(write_snapshot(&small(), Encoding::Json)).unwrap();
    assert!(message(&snapshot).contains("this is a snapshot"));
    assert!(message(&list(&[])).contains("Kubernetes List"));
    assert!(message("{}").contains("no `kind`"));
    assert!(message("[]").contains("not a plan"));
    assert!(message("").contains("empty"));
    assert!(
        message(&String::from_utf8(document.clone()).unwrap().replace("\"1.0\"", "\"3.0\""))
            .contains("newer")
    );
    assert!(message(&format!("{0}{0}", String::from_utf8(document).unwrap())).contains("2 plans"));
}
