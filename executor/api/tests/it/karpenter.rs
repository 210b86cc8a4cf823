//! Goal: our definitions of Karpenter's resources are Karpenter's. Method: its own files, where they are at hand (in the
//! cache of Go modules, or where `STOWAGE_KARPENTER_CRDS` says), must be equal up to descriptions and the order of rules.

use serde_json::Value;
use std::path::PathBuf;

/// The module whose files are compared.
const MODULE: &str = "go/pkg/mod/github.com/aws/karpenter-provider-aws@v1.14.1/pkg/apis/crds";

fn directory() -> Option<PathBuf> {
    let named = std::env::var_os("STOWAGE_KARPENTER_CRDS").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(MODULE));
    named.or(home).filter(|path| path.is_dir())
}

/// Removes what does not count.
fn plain(value: &mut Value, names_of_fields: bool) {
    match value {
        Value::Object(object) => {
            if !names_of_fields {
                object.remove("description");
                object.remove("annotations");
                if let Some(Value::Array(rules)) = object.get_mut("x-kubernetes-validations") {
                    rules.sort_by_key(ToString::to_string);
                }
            }
            for (key, inner) in object {
                plain(inner, key == "properties" && !names_of_fields);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| plain(inner, false)),
        Value::String(text) => {
            // One label stands twice in Karpenter's list.
            let label = "\"karpenter.k8s.aws/capacity-reservation-interruptible\", ";
            *text = text.replace(&format!("{label}{label}"), label);
        }
        _ => {}
    }
}

/// The first place where two values differ.
fn difference(left: &Value, right: &Value, place: &str) -> Option<String> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            keys.into_iter().find_map(|key| {
                let null = &Value::Null;
                let (left, right) = (left.get(key).unwrap_or(null), right.get(key).unwrap_or(null));
                difference(left, right, &format!("{place}.{key}"))
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            pairs.into_iter().find_map(|(n, (left, right))| difference(left, right, &format!("{place}[{n}]")))
        }
        _ => (left != right).then(|| format!("{place}: ours {left}, Karpenter's {right}")),
    }
}

#[test]
fn definitions_are_karpenters() {
    let Some(directory) = directory() else {
        eprintln!("skipped: no files of Karpenter 1.14.1 (set STOWAGE_KARPENTER_CRDS to their directory)");
        return;
    };
    for definition in stowage_api::definitions().expect("the definitions") {
        if definition.spec.group == "stowage.dev" {
            continue;
        }
        let name = stowage_api::file_name(&definition);
        let read = |text: &str| -> Value {
            let mut value = serde_saphyr::from_str(text).expect("YAML");
            plain(&mut value, false);
            value
        };
        let ours = read(&stowage_api::render(&definition).expect("it renders"));
        let theirs = read(&std::fs::read_to_string(directory.join(&name)).expect("the file"));
        assert_eq!(difference(&ours, &theirs, &name), None);
    }
}
