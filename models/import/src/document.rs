//! Stowage's own documents: snapshots and plans.

use crate::collect::Collector;
use crate::error::typed;
use crate::merge::Named;
use crate::{ImportError, Source, decode};
use serde::Deserialize;
use std::collections::BTreeSet;
use stowage_models::departure::Notice;
use stowage_models::objects::{Container, DaemonSet, PodSpec};
use stowage_models::overlay::{NodeOverlay, PriceChange};
use stowage_models::plan::{self, Plan};
use stowage_models::quantity::Resources;
use stowage_models::schedule::instant;
use stowage_models::snapshot::{self, Snapshot};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    format_version: Option<String>,
}

/// Adds a snapshot document to the collector, after checking what its type cannot express.
pub(crate) fn read_snapshot(json: &str, file: &str, collector: &mut Collector) -> Result<(), ImportError> {
    let place = format!("{file}: {}", snapshot::KIND);
    let version: Version = typed(json, &place, "snapshot")?;
    check_version(version.format_version.as_deref(), snapshot::FORMAT_VERSION, &place)?;
    let snapshot: Snapshot = typed(json, &place, "snapshot").map_err(document_hint)?;
    validate(&snapshot, &place)?;
    collector.push_snapshot(snapshot, file)
}

/// Reads a plan document.
pub(crate) fn read_plan(source: Source<'_>) -> Result<Plan, ImportError> {
    let mut plans = Vec::new();
    decode::each_document(source, |document| {
        plans.push(plan_of(document.get(), source.name)?);
        Ok(())
    })?;
    match (plans.pop(), plans.len()) {
        (Some(plan), 0) => Ok(plan),
        (last, others) => Err(ImportError::new(
            source.name,
            format!("found {} plans where one is expected", others + usize::from(last.is_some())),
            "give one plan per file",
        )),
    }
}

fn plan_of(json: &str, file: &str) -> Result<Plan, ImportError> {
    let hint = "give the file that planning wrote with -o json or -o yaml";
    if !json.starts_with('{') {
        return Err(ImportError::new(file, "this is not a plan document", hint));
    }
    let version: Version = typed(json, file, "plan")?;
    match version.kind.as_deref() {
        Some(plan::KIND) => {}
        Some(snapshot::KIND) => {
            return Err(ImportError::new(
                file,
                "this is a snapshot (kind StowageSnapshot), not a plan",
                hint,
            ));
        }
        Some(kind) => {
            return Err(ImportError::new(file, format!("this is a Kubernetes {kind}, not a plan"), hint));
        }
        None => {
            return Err(ImportError::new(file, "the document has no `kind`; a plan has StowagePlan", hint));
        }
    }
    let place = format!("{file}: {}", plan::KIND);
    check_version(version.format_version.as_deref(), plan::FORMAT_VERSION, &place)?;
    typed(json, &place, "plan").map_err(document_hint)
}

/// Kubernetes cannot explain our documents.
fn document_hint(mut error: ImportError) -> ImportError {
    "documents are meant to be written by stowage; undo the edit at this field or write the document again"
        .clone_into(&mut error.hint);
    error
}

/// Accepts every minor of the supported major: readers ignore fields they do not know.
fn check_version(found: Option<&str>, supported: &str, place: &str) -> Result<(), ImportError> {
    let place = format!("{place}: formatVersion");
    let hint = format!("this version of stowage reads formatVersion {supported} and other 1.x");
    let Some(found) = found else {
        return Err(ImportError::new(&place, "the document does not say its format version", hint));
    };
    let major_minor = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    match (major_minor(found), major_minor(supported)) {
        (Some((major, _)), Some((known, _))) if major == known => Ok(()),
        (Some((major, _)), Some((known, _))) if major > known => Err(ImportError::new(
            &place,
            format!("format version {found} is newer than this program"),
            format!("upgrade stowage; {hint}"),
        )),
        (Some(_), _) => {
            Err(ImportError::new(&place, format!("format version {found} is no longer read"), hint))
        }
        (None, _) => {
            Err(ImportError::new(&place, format!("`{found}` is no version; expected e.g. {supported}"), hint))
        }
    }
}

/// Amounts are not negative, names are not empty, and no object appears twice.
fn validate(snapshot: &Snapshot, place: &str) -> Result<(), ImportError> {
    let mut check = Check { place };
    check.names(&snapshot.node_pools)?;
    check.names(&snapshot.node_classes)?;
    check.names(&snapshot.node_overlays)?;
    check.names(&snapshot.node_claims)?;
    check.names(&snapshot.nodes)?;
    check.names(&snapshot.pods)?;
    check.names(&snapshot.daemon_sets)?;
    check.names(&snapshot.pod_disruption_budgets)?;
    check.names(&snapshot.volume_claims)?;
    check.names(&snapshot.volumes)?;
    check.names(&snapshot.storage_classes)?;
    check.names(&snapshot.namespaces)?;
    for pool in &snapshot.node_pools {
        check.amounts(pool, "limits", &pool.limits)?;
    }
    for class in &snapshot.node_classes {
        check.amounts(class, "kubeReserved", &class.kube_reserved)?;
        check.amounts(class, "systemReserved", &class.system_reserved)?;
        let root_volume =
            Resources(class.root_volume_bytes.map(|size| ("bytes".to_owned(), size)).into_iter().collect());
        check.amounts(class, "rootVolumeBytes", &root_volume)?;
    }
    for overlay in &snapshot.node_overlays {
        check.amounts(overlay, "capacity", &overlay.capacity)?;
        check.price(overlay)?;
    }
    for claim in &snapshot.node_claims {
        check.amounts(claim, "capacity", &claim.capacity)?;
        check.amounts(claim, "allocatable", &claim.allocatable)?;
    }
    for node in &snapshot.nodes {
        check.amounts(node, "capacity", &node.capacity)?;
        check.amounts(node, "allocatable", &node.allocatable)?;
    }
    for pod in &snapshot.pods {
        check.spec(pod, &pod.spec)?;
    }
    for set in &snapshot.daemon_sets {
        check.spec(set, &set.spec)?;
        if set.spec.unreadable.is_some() {
            return Err(ImportError::new(
                &format!("{place}: {} {}: spec.unreadable", DaemonSet::KIND, set.id()),
                "only a pod that waits may say so: what a DaemonSet takes of every node must be known",
                "correct the DaemonSet or leave it out",
            ));
        }
    }
    for (index, notice) in snapshot.notices.iter().enumerate() {
        check.notice(index, notice)?;
    }
    Ok(())
}

struct Check<'a> {
    place: &'a str,
}

impl Check<'_> {
    fn names<T: Named>(&mut self, objects: &[T]) -> Result<(), ImportError> {
        let mut seen = BTreeSet::new();
        for (index, object) in objects.iter().enumerate() {
            let (_, name) = object.key();
            let (place, message) = if name.is_empty() {
                (format!("{}: {} number {index}: name", self.place, T::KIND), "the name is empty")
            } else if seen.insert(object.key()) {
                continue;
            } else {
                (
                    format!("{}: {} {}", self.place, T::KIND, object.id()),
                    "the object appears twice in one snapshot",
                )
            };
            return Err(ImportError::new(
                &place,
                message,
                "keep one object of each kind, namespace and name",
            ));
        }
        Ok(())
    }

    fn notice(&self, index: usize, notice: &Notice) -> Result<(), ImportError> {
        let wrong = |field: &str, message: String, hint: &str| {
            Err(ImportError::new(&format!("{}: notices[{index}].{field}", self.place), message, hint))
        };
        if notice.node.is_empty() {
            return wrong("node", "the name is empty".to_owned(), "name the node the notice is about");
        }
        match &notice.deadline {
            Some(text) if instant(text).is_none() => wrong(
                "deadline",
                format!("`{text}` is no time"),
                "write it as 2026-08-31T12:00:00Z, or leave it out",
            ),
            _ => Ok(()),
        }
    }

    fn price(&self, overlay: &NodeOverlay) -> Result<(), ImportError> {
        if overlay.price.is_none_or(PriceChange::is_in_range) {
            return Ok(());
        }
        let place = format!("{}: {} {}: price", self.place, NodeOverlay::KIND, overlay.name);
        let hint = "undo the edit at this field or write the document again";
        Err(ImportError::new(&place, "the price is out of range", hint))
    }

    fn amounts<T: Named>(&mut self, object: &T, field: &str, amounts: &Resources) -> Result<(), ImportError> {
        match amounts.0.iter().find(|(_, amount)| **amount < 0) {
            None => Ok(()),
            Some((name, amount)) => Err(ImportError::new(
                &format!("{}: {} {}: {field}.{name}", self.place, T::KIND, object.id()),
                format!("the amount is {amount}; it must be zero or more"),
                "undo the edit at this field or write the document again",
            )),
        }
    }

    fn spec<T: Named>(&mut self, object: &T, spec: &PodSpec) -> Result<(), ImportError> {
        let mut containers = |field: &str, list: &[Container]| -> Result<(), ImportError> {
            for (index, container) in list.iter().enumerate() {
                self.amounts(object, &format!("spec.{field}[{index}].requests"), &container.requests)?;
            }
            Ok(())
        };
        containers("containers", &spec.containers)?;
        containers("initContainers", &spec.init_containers)?;
        self.amounts(object, "spec.podRequests", &spec.pod_requests)?;
        self.amounts(object, "spec.overhead", &spec.overhead)
    }
}
