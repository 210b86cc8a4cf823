//! Size: a list of 100 MB, and 10,000 pods as kubectl prints them.

use crate::{Source, import};
use std::fmt::Write as _;
use std::time::Instant;

/// A pod with the ballast of a real one: managed fields, environment, status.
fn push_pod(text: &mut String, index: usize) {
    let ballast = "x".repeat(120);
    let _ = write!(
        text,
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"annotations":{{"note":"{ballast}"}},"creationTimestamp":"2026-01-02T09:20:00Z","labels":{{"app":"web-{}","pod-template-hash":"6d4cf"}},"managedFields":["#,
        index % 100
    );
    for field in 0..40 {
        let _ = write!(
            text,
            r#"{{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:labels":{{".":{{}},"f:app":{{}}}}}},"f:spec":{{"k:{{\"name\":\"c{field}\"}}":{{}}}}}},"manager":"m"}},"#
        );
    }
    let _ = write!(
        text,
        r#"{{}}],"name":"web-{index:06}","namespace":"default","ownerReferences":[{{"apiVersion":"apps/v1","controller":true,"kind":"ReplicaSet","name":"web-6d4cf","uid":"u"}}],"uid":"u-{index}"}},"spec":{{"containers":[{{"env":[{{"name":"A","value":"{ballast}"}}],"image":"i","name":"web","resources":{{"limits":{{"memory":"512Mi"}},"requests":{{"cpu":"{}m"}}}}}}],"priority":0,"tolerations":[{{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300}}]}},"status":{{"conditions":[{{"message":"{ballast}","reason":"Unschedulable","status":"False","type":"PodScheduled"}}],"phase":"Pending"}}}}"#,
        100 + index % 900
    );
}

/// A list of at least so many bytes and pods, `kind` last as kubectl prints it; and its number of pods.
fn list_of(n_bytes: usize, n_pods_min: usize) -> (String, usize) {
    let mut text = String::with_capacity(n_bytes.max(n_pods_min * 8_000) + 16_384);
    text.push_str("{\"apiVersion\":\"v1\",\"items\":[\n");
    let mut n_pods = 0;
    while text.len() < n_bytes || n_pods < n_pods_min {
        if n_pods > 0 {
            text.push_str(",\n");
        }
        push_pod(&mut text, n_pods);
        n_pods += 1;
    }
    text.push_str("\n],\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"\"}}\n");
    (text, n_pods)
}

/// Resident memory in MB: now, and the peak of the process. Zero where the system does not say.
fn resident_mb(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Imports the list, prints what it took, and returns the seconds.
fn measure(name: &str, (text, n_pods): (String, usize)) -> f64 {
    let before = resident_mb("VmRSS");
    let start = Instant::now();
    let got = import(&[Source { name, bytes: text.as_bytes() }]).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(got.snapshot.pods.len(), n_pods);
    let (mb, peak) = (text.len() / 1_000_000, resident_mb("VmHWM"));
    println!("{name}: {mb} MB, {n_pods} pods in {seconds:.2} s; resident {before} MB before, {peak} MB peak");
    seconds
}

/// Goal: 100 MB import in seconds, and need little more than their bytes.
#[test]
fn a_hundred_megabytes() {
    let seconds = measure("100 MB", list_of(100_000_000, 0));
    // Unoptimised builds are several times slower.
    let limit = if cfg!(debug_assertions) { 120.0 } else { 10.0 };
    assert!(seconds < limit, "{seconds:.1} s");
}

/// Goal: a large cluster takes about a second.
#[test]
fn ten_thousand_pods() {
    assert!(measure("10,000 pods", list_of(0, 10_000)) < 60.0);
}

/// Goal: a large cluster as YAML still imports; the parser's counters grow with the text.
#[test]
fn yaml_of_many_objects() {
    let n_pods = 20_000;
    let mut text = "apiVersion: v1\nitems:\n".to_owned();
    for index in 0..n_pods {
        let _ = write!(
            text,
            "- apiVersion: v1\n  kind: Pod\n  metadata:\n    labels:\n      app: web\n      tier: front\n    name: web-{index}\n    namespace: default\n  spec:\n    containers:\n    - image: i\n      name: web\n      resources:\n        requests:\n          cpu: 100m\n          memory: 1Gi\n    priority: 0\n  status:\n    phase: Pending\n"
        );
    }
    text.push_str("kind: List\nmetadata: {}\n");
    let start = Instant::now();
    let got = import(&[Source { name: "big", bytes: text.as_bytes() }]).unwrap();
    assert_eq!(got.snapshot.pods.len(), n_pods);
    println!("YAML: {n_pods} pods, {} MB in {:.2} s", text.len() / 1_000_000, start.elapsed().as_secs_f64());
}
