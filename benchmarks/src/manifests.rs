//! Scheduling facts of public example manifests (`benchmarks/data/manifests.json`): the raw material of composition.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use stowage_models::objects::{Container, PodSpec, TaintEffect, Toleration};
use stowage_models::quantity::{Resources, parse_quantity};
use stowage_models::selector::Labels;

/// The data file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifests {
    /// What the file is.
    pub note: String,
    /// When the facts were taken.
    pub as_of: String,
    /// Sets, one per public source.
    pub sets: Vec<Set>,
}

/// Workloads of one source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Name of the set.
    pub set: String,
    /// Licence of the source.
    pub licence: String,
    /// Repository, commit and date.
    pub source: String,
    /// Workloads.
    pub workloads: Vec<Manifest>,
}

/// One workload as its manifest states it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `Deployment`, `DaemonSet`, `Job` and so on.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, if stated.
    pub namespace: Option<String>,
    /// Replicas, if stated.
    pub replicas: Option<u64>,
    /// Requests of its containers, as written.
    pub containers: Vec<BTreeMap<String, String>>,
    /// Requests of its init containers.
    #[serde(default)]
    pub init_containers: Vec<BTreeMap<String, String>>,
    /// Node selector.
    #[serde(default)]
    pub node_selector: Labels,
    /// Tolerations.
    #[serde(default)]
    pub tolerations: Vec<WrittenToleration>,
    /// Constraints of the manifest that the file leaves out.
    #[serde(default)]
    pub omitted: Vec<String>,
}

/// A toleration with the API's defaults not yet applied.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenToleration {
    /// Key.
    #[serde(default)]
    pub key: String,
    /// Operator.
    pub operator: String,
    /// Value.
    #[serde(default)]
    pub value: String,
    /// Effect.
    pub effect: Option<TaintEffect>,
}

impl Manifests {
    /// The data file of this crate.
    ///
    /// # Panics
    /// Never: a test parses it.
    pub fn embedded() -> &'static Manifests {
        static PARSED: OnceLock<Manifests> = OnceLock::new();
        PARSED.get_or_init(|| {
            serde_json::from_str(include_str!("../data/manifests.json")).expect("data/manifests.json parses")
        })
    }

    /// A set by name.
    ///
    /// # Panics
    /// If there is none: names are constants of this crate.
    #[must_use]
    pub fn set(&self, name: &str) -> &Set {
        self.sets.iter().find(|set| set.set == name).expect("a set of data/manifests.json")
    }
}

impl Set {
    /// A workload by name.
    ///
    /// # Panics
    /// If there is none: names are constants of this crate.
    #[must_use]
    pub fn workload(&self, name: &str) -> &Manifest {
        self.workloads.iter().find(|workload| workload.name == name).expect("a workload of the set")
    }
}

impl Manifest {
    /// The pod template.
    ///
    /// # Panics
    /// If a quantity does not parse; a test converts every workload.
    #[must_use]
    pub fn spec(&self) -> PodSpec {
        PodSpec {
            containers: self.containers.iter().map(container).collect(),
            init_containers: self.init_containers.iter().map(container).collect(),
            node_selector: self.node_selector.clone(),
            tolerations: self.tolerations.iter().map(WrittenToleration::normalised).collect(),
            ..PodSpec::default()
        }
    }

    /// Whether any container states a request.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        self.containers.iter().any(|requests| !requests.is_empty())
    }
}

impl WrittenToleration {
    fn normalised(&self) -> Toleration {
        Toleration {
            key: self.key.clone(),
            operator: self.operator.clone(),
            value: self.value.clone(),
            effect: self.effect,
        }
    }
}

fn container(written: &BTreeMap<String, String>) -> Container {
    let mut requests = Resources::default();
    for (name, text) in written {
        requests.set(name, parse_quantity(name, text).expect("a quantity of data/manifests.json"));
    }
    Container { requests, ..Container::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_converts_and_every_set_names_its_licence() {
        let manifests = Manifests::embedded();
        assert_eq!(manifests.sets.iter().map(|set| set.workloads.len()).sum::<usize>(), 150);
        for set in &manifests.sets {
            assert!(["Apache-2.0", "MIT-0"].contains(&set.licence.as_str()), "{}", set.licence);
            assert!(!set.source.is_empty());
            for workload in &set.workloads {
                assert_eq!(workload.spec().containers.len(), workload.containers.len());
            }
        }
    }
}
