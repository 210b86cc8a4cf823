//! Objects as an API server without controllers wants them.

use serde_json::{Value, json};

/// The path of the collection an object is created in.
///
/// # Errors
/// With the kind, if it is none that a snapshot's export has and the API server serves.
pub fn collection(object: &Value) -> Result<String, String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    Ok(match kind {
        "Namespace" => "/api/v1/namespaces".to_owned(),
        "Node" => "/api/v1/nodes".to_owned(),
        "CSINode" => "/apis/storage.k8s.io/v1/csinodes".to_owned(),
        "PersistentVolume" => "/api/v1/persistentvolumes".to_owned(),
        "StorageClass" => "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        "PersistentVolumeClaim" => format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"),
        "Pod" => format!("/api/v1/namespaces/{namespace}/pods"),
        other => return Err(format!("no objects of kind {other:?} are created here")),
    })
}

/// What an API server and a scheduler want beyond what a snapshot holds: the marks of the controllers that bind volumes
/// (none runs here), and no status of pods, which the API server sets itself; nodes bring theirs.
///
/// `claim_of` names the claim (namespace, name) of a volume, if one is bound to it.
pub fn prepared(mut object: Value, claim_of: impl Fn(&str) -> Option<(String, String)>) -> Value {
    match object["kind"].as_str() {
        Some("PersistentVolumeClaim") if !object["spec"]["volumeName"].is_null() => {
            object["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
        }
        Some("PersistentVolume") => {
            if let Some((namespace, name)) = claim_of(object["metadata"]["name"].as_str().unwrap_or_default())
            {
                object["spec"]["claimRef"] =
                    json!({"kind": "PersistentVolumeClaim", "name": name, "namespace": namespace});
            }
        }
        Some("Pod") => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove("status");
            }
        }
        _ => {}
    }
    object
}
