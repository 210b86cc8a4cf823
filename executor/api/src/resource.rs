//! What makes a type a custom resource: identity, name in the API, printer columns.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// A column of `kubectl get`: name, type, JSON path, and whether only `-o wide` shows it.
pub(crate) type Column = (&'static str, &'static str, &'static str, bool);

/// Names of a kind.
pub(crate) struct Names {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) category: &'static str,
}

/// Puts a definition together. `scale`: paths of replicas in spec and status.
pub(crate) fn definition(
    names: &Names,
    columns: &[Column],
    scale: Option<(&str, &str)>,
    spec: Value,
    status: Value,
    requires_spec: bool,
) -> Result<CustomResourceDefinition, serde_json::Error> {
    let columns: Vec<Value> = columns
        .iter()
        .map(|(name, kind, path, wide)| {
            let mut column = json!({ "name": name, "type": kind, "jsonPath": path });
            if *wide {
                column["priority"] = json!(1);
            }
            column
        })
        .collect();
    let mut subresources = json!({ "status": {} });
    if let Some((spec, status)) = scale {
        subresources["scale"] = json!({ "specReplicasPath": spec, "statusReplicasPath": status });
    }
    let mut schema = json!({
        "type": "object",
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": status,
        },
    });
    if requires_spec {
        schema["required"] = json!(["spec"]);
    }
    let kind = names.kind;
    let mut words = json!({
        "kind": kind,
        "listKind": format!("{kind}List"),
        "plural": names.plural,
        "singular": kind.to_lowercase(),
        "categories": [names.category],
    });
    if !names.short.is_empty() {
        words["shortNames"] = json!(names.short);
    }
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", names.plural, names.group) },
        "spec": {
            "group": names.group,
            "names": words,
            "scope": "Cluster",
            "versions": [{
                "name": names.version,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": schema },
                "subresources": subresources,
            }],
        },
    }))
}

/// Declares a cluster-scoped custom resource of `$spec` and `$status`.
macro_rules! resource {
    ($(#[$doc:meta])* $name:ident, $spec:ty, $status:ty, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// API group and version.
            #[serde(default = "api_version")]
            pub api_version: String,
            /// Kind.
            #[serde(default = "kind")]
            pub kind: String,
            /// Metadata.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            pub spec: $spec,
            /// What is.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<$status>,
        }

        fn api_version() -> String {
            concat!($group, "/", $version).to_owned()
        }

        fn kind() -> String {
            $kind.to_owned()
        }

        impl $name {
            /// An object of this name.
            #[must_use]
            pub fn new(name: &str, spec: $spec) -> $name {
                let metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                    name: Some(name.to_owned()),
                    ..Default::default()
                };
                $name { api_version: api_version(), kind: kind(), metadata, spec, status: None }
            }
        }

        impl kube_core::Resource for $name {
            type DynamicType = ();
            type Scope = kube_core::ClusterResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use resource;
