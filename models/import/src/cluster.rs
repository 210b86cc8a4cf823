//! DaemonSets, PodDisruptionBudgets, PriorityClasses and Namespaces.

use crate::meta::Meta;
use crate::pod::PriorityFrom;
use crate::podspec::RawPodSpec;
use crate::quantities::IntOrString;
use crate::requirement::RawSelector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stowage_models::objects::{DaemonSet, Namespace, PodDisruptionBudget, PodSpec};
use stowage_models::selector::Labels;

/// An `apps/v1` DaemonSet.
#[derive(Deserialize)]
pub(crate) struct RawDaemonSet {
    metadata: Meta,
    spec: RawDaemonSetSpec,
}

#[derive(Deserialize)]
struct RawDaemonSetSpec {
    template: RawTemplate,
}

/// The template of pods.
#[derive(Deserialize)]
pub(crate) struct RawTemplate {
    metadata: Option<TemplateMeta>,
    #[serde(default)]
    spec: RawPodSpec,
}

#[derive(Deserialize)]
struct TemplateMeta {
    labels: Option<Labels>,
}

impl RawTemplate {
    /// Labels and spec of its pods, priority as far as it is stated.
    pub(crate) fn convert(self) -> (Labels, PodSpec) {
        let labels = self.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        (labels, self.spec.convert(&BTreeMap::new()))
    }
}

impl RawDaemonSet {
    pub(crate) fn convert(self) -> (DaemonSet, PriorityFrom) {
        let template = self.spec.template;
        let priority = PriorityFrom::of(&template.spec);
        let (labels, spec) = template.convert();
        let daemon_set =
            DaemonSet { namespace: self.metadata.namespace(), name: self.metadata.name, labels, spec };
        (daemon_set, priority)
    }
}

/// A `policy/v1` PodDisruptionBudget.
#[derive(Deserialize)]
pub(crate) struct RawBudget {
    metadata: Meta,
    spec: Option<RawBudgetSpec>,
    status: Option<RawBudgetStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBudgetSpec {
    selector: Option<RawSelector>,
    min_available: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
    unhealthy_pod_eviction_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBudgetStatus {
    disruptions_allowed: Option<i64>,
}

impl RawBudget {
    pub(crate) fn convert(self) -> PodDisruptionBudget {
        let spec = self.spec.unwrap_or_default();
        PodDisruptionBudget {
            namespace: self.metadata.namespace(),
            name: self.metadata.name,
            selector: spec.selector.map(Into::into),
            min_available: spec.min_available.map(|value| value.0),
            max_unavailable: spec.max_unavailable.map(|value| value.0),
            always_allow_unhealthy: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"),
            disruptions_allowed: self.status.and_then(|status| status.disruptions_allowed),
        }
    }
}

/// A PriorityClass, as the API writes it. It does not enter the snapshot: pods carry the resolved priority.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawPriorityClass {
    metadata: Meta,
    value: i32,
    global_default: Option<bool>,
}

/// A PriorityClass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PriorityClass {
    pub(crate) name: String,
    pub(crate) value: i32,
    pub(crate) global_default: bool,
}

impl RawPriorityClass {
    pub(crate) fn convert(self) -> PriorityClass {
        PriorityClass {
            name: self.metadata.name,
            value: self.value,
            global_default: self.global_default.unwrap_or(false),
        }
    }
}

/// A Namespace.
#[derive(Deserialize)]
pub(crate) struct RawNamespace {
    metadata: Meta,
}

impl RawNamespace {
    pub(crate) fn convert(self) -> Namespace {
        Namespace { name: self.metadata.name, labels: self.metadata.labels.unwrap_or_default() }
    }
}
