//! An object as it is kept: without what planning may not look at, which is most of it.

use crate::kinds::Kind;
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

/// Fields of containers that are kept; environment, arguments and images among others are not.
const CONTAINER: [&str; 4] = ["name", "resources", "ports", "restartPolicy"];
/// Fields of metadata that are dropped. Annotations are the importer's business, up to this size.
const METADATA: [&str; 2] = ["managedFields", "generateName"];
/// Annotations longer than this can hold nothing of interest.
const ANNOTATION: usize = 512;
/// Fields of a pod's status that are kept.
const POD_STATUS: [&str; 4] = ["phase", "nominatedNodeName", "conditions", "resources"];
/// Fields of conditions that are kept.
const CONDITION: [&str; 3] = ["type", "status", "reason"];
/// Fields of a pod's spec that say nothing of where it may run.
const POD_SPEC: [&str; 9] = [
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "imagePullSecrets",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "subdomain",
];
/// Kinds of volumes that are on every node.
const EVERYWHERE: [&str; 4] = ["configMap", "downwardAPI", "projected", "secret"];
/// Fields of a node's status that are kept.
const NODE_STATUS: [&str; 3] = ["capacity", "allocatable", "conditions"];

/// The object as JSON text.
pub(crate) fn text(kind: &Kind, object: &DynamicObject) -> String {
    let mut value = json!({ "apiVersion": kind.api_version(), "kind": kind.kind });
    value["metadata"] = serde_json::to_value(&object.metadata).unwrap_or_default();
    if let (Value::Object(into), Value::Object(data)) = (&mut value, &object.data) {
        for (key, inner) in data {
            into.entry(key).or_insert_with(|| inner.clone());
        }
    }
    // What people write on plans and policies is for the controller: it is shortened, not left out.
    if matches!(kind.kind, "Plan" | "PlanPolicy")
        && let Some(annotations) = value["metadata"]["annotations"].as_object_mut()
    {
        for text in annotations.values_mut() {
            let short = text.as_str().filter(|text| text.len() > ANNOTATION);
            let short: Option<String> = short.map(|text| text.chars().take(ANNOTATION / 4).collect());
            if let Some(short) = short {
                *text = short.into();
            }
        }
    }
    metadata(&mut value["metadata"]);
    match kind.kind {
        "Pod" => pod(&mut value),
        "Node" => keep(&mut value["status"], &NODE_STATUS),
        "DaemonSet" => {
            drop_field(&mut value, "status");
            metadata(&mut value["spec"]["template"]["metadata"]);
            pod(&mut value["spec"]["template"]);
        }
        "PodTemplate" => {
            metadata(&mut value["template"]["metadata"]);
            pod(&mut value["template"]);
        }
        "Deployment" | "StatefulSet" | "ReplicaSet" => {
            drop_field(&mut value, "status");
            keep(&mut value["spec"], &["replicas", "template"]);
            metadata(&mut value["spec"]["template"]["metadata"]);
            pod(&mut value["spec"]["template"]);
        }
        _ => {}
    }
    value.to_string()
}

fn metadata(value: &mut Value) {
    let Value::Object(object) = value else { return };
    for field in METADATA {
        object.remove(field);
    }
    if let Some(Value::Object(annotations)) = object.get_mut("annotations") {
        annotations.retain(|_, text| text.as_str().is_none_or(|text| text.len() <= ANNOTATION));
    }
}

fn pod(value: &mut Value) {
    keep(&mut value["status"], &POD_STATUS);
    for condition in value["status"]["conditions"].as_array_mut().into_iter().flatten() {
        keep(condition, &CONDITION);
    }
    if let Some(volumes) = value["spec"]["volumes"].as_array_mut() {
        volumes.retain(|volume| EVERYWHERE.iter().all(|kind| volume[*kind].is_null()));
    }
    POD_SPEC.iter().for_each(|field| drop_field(&mut value["spec"], field));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in value["spec"][list].as_array_mut().into_iter().flatten() {
            keep(container, &CONTAINER);
        }
    }
    // Indexing for writing makes what is not there.
    if let Value::Object(spec) = &mut value["spec"] {
        spec.retain(|_, inner| !inner.is_null());
    }
    drop_null(value, "status");
}

fn keep(value: &mut Value, fields: &[&str]) {
    if let Value::Object(object) = value {
        let kept: Map<String, Value> =
            fields.iter().filter_map(|field| object.remove_entry(*field)).collect();
        *object = kept;
    }
}

fn drop_field(value: &mut Value, field: &str) {
    if let Value::Object(object) = value {
        object.remove(field);
    }
}

fn drop_null(value: &mut Value, field: &str) {
    if value[field].is_null() {
        drop_field(value, field);
    }
}
