//! Manifests into the lab, for machines without kubectl.

use crate::place::Place;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Whose fields they are, for server-side apply.
const MANAGER: &str = "stowage-lab";

/// Applies files, and prints what was applied.
pub(crate) fn files(place: &Place, files: &[PathBuf]) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot begin: {error}"))?;
    runtime.block_on(async {
        let client = place.client().await?;
        for file in files {
            let text = read(file)?;
            for applied in apply(&client, &file.display().to_string(), &text).await? {
                println!("{applied} applied");
            }
        }
        Ok(())
    })
}

fn read(file: &Path) -> Result<String, String> {
    let read = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let hint = "`.ci/lab apply tests/lab/manifests/sample.yaml` applies the sample";
    read.map_err(|error| format!("cannot read {}: {error}\n  hint: {hint}", file.display()))
}

/// The objects of a YAML stream; items of lists one by one, empty documents left out.
fn objects(origin: &str, text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let documents: Vec<Value> =
        serde_saphyr::from_str_multiple_with_options(text, options).map_err(|error| {
            let place = match error.location() {
                Some(location) => format!("{origin}: line {}, column {}", location.line(), location.column()),
                None => origin.to_owned(),
            };
            let message = error.to_string();
            let message = message.lines().next().unwrap_or("unreadable").trim_start_matches("error: ");
            format!("{place}: not valid YAML: {message}\n  hint: give manifests as for `kubectl apply -f`")
        })?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                if let Some(Value::Array(items)) = list.remove("items") {
                    objects.extend(items);
                }
            }
            other => objects.push(other),
        }
    }
    if objects.is_empty() {
        return Err(format!("{origin}: nothing in it\n  hint: give manifests as for `kubectl apply -f`"));
    }
    Ok(objects)
}

/// What an object says it is; the error names the first thing missing.
fn identity(object: &Value) -> Result<(GroupVersionKind, String), String> {
    let text = |pointer: &str, field: &str| {
        let value = object.pointer(pointer).and_then(Value::as_str).filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            format!("no {field}\n  hint: an object has apiVersion, kind and metadata.name, as for `kubectl apply -f`")
        })
    };
    let version = text("/apiVersion", "apiVersion")?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = text("/kind", "kind")?;
    Ok((GroupVersionKind::gvk(group, version, kind), text("/metadata/name", "metadata.name")?.to_owned()))
}

/// Applies all objects of a text, in its order, and gives their names. The text is read whole before anything is applied.
pub(crate) async fn apply(client: &Client, origin: &str, text: &str) -> Result<Vec<String>, String> {
    let mut known = Vec::new();
    for (n, object) in objects(origin, text)?.into_iter().enumerate() {
        let place = format!("{origin}: object {}", n + 1);
        let (kind, name) = identity(&object).map_err(|error| format!("{place}: {error}"))?;
        known.push((format!("{place} ({} {name})", kind.kind), kind, name, object));
    }
    let mut applied = Vec::new();
    for (place, kind, name, object) in known {
        let (resource, capabilities) = pinned_kind(client, &kind).await.map_err(|error| {
            let hint = "is its CustomResourceDefinition applied, and the version right?";
            format!("{place}: the cluster does not know it: {}\n  hint: {hint}", crate::told(&error))
        })?;
        let object: DynamicObject =
            serde_json::from_value(object).map_err(|error| format!("{place}: {error}"))?;
        let namespace = object.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(client.clone(), &namespace, &resource),
        };
        api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object))
            .await
            .map_err(|error| format!("{place}: {}", crate::told(&error)))?;
        let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
        applied.push(format!("{}{group}/{name}", kind.kind.to_lowercase()));
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart_and_empty_documents_left_out() {
        let text = "---\napiVersion: v1\nkind: List\nitems:\n- {kind: A}\n- {kind: B}\n---\n# nothing\n---\nkind: C\n";
        let kinds: Vec<Value> =
            objects("x", text).expect("objects").iter().map(|one| one["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }

    #[test]
    fn the_sample_and_the_node_pool_are_whole() {
        for text in [include_str!("../manifests/sample.yaml"), include_str!("../manifests/nodepool.yaml")] {
            for object in objects("x", text).expect("objects") {
                identity(&object).expect("it says what it is");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_place_and_hint() {
        for (text, part) in
            [("a: [", "line 1"), ("", "nothing in it"), ("# only a comment\n", "nothing in it")]
        {
            let error = objects("file.yaml", text).expect_err(text);
            assert!(
                error.contains("file.yaml") && error.contains(part) && error.contains("hint: "),
                "{error}"
            );
        }
        for (text, part) in [
            ("3", "no apiVersion"),
            ("{apiVersion: v1}", "no kind"),
            ("{apiVersion: v1, kind: Pod}", "no metadata.name"),
            ("{apiVersion: v1, kind: Pod, metadata: {name: ''}}", "no metadata.name"),
        ] {
            let object = objects("file.yaml", text).expect("YAML").remove(0);
            let error = identity(&object).expect_err(text);
            assert!(error.contains(part) && error.contains("hint: "), "{error}");
        }
    }
}
