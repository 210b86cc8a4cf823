//! Documents and lists: what each document is, its items one at a time, and which kind is read into what.

use crate::buffer::{self, SHAPES};
use crate::collect::Collector;
use crate::error::{EXPORT_HINT, typed};
use crate::{ImportError, Source, cluster, decode, document, karpenter, node, overlay, pod, storage};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Lists in lists do not occur in kubectl's output; a few levels cost nothing, many would exhaust the stack.
const LIST_DEPTH_MAX: usize = 4;

/// What tells documents and items apart. Everything else is skipped unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    pub(crate) api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<HeadMeta<'a>>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct HeadMeta<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
}

/// Reads every document of a source into the collector.
pub(crate) fn read_source(source: Source<'_>, collector: &mut Collector) -> Result<(), ImportError> {
    decode::each_document(source, |document| {
        let at = At { file: source.name, index: None, list: None, depth: 0 };
        read_document(document, &at, collector)
    })
}

/// Where a document stands: in a file, or as an item of a list.
struct At<'a> {
    file: &'a str,
    /// Position in the list.
    index: Option<usize>,
    /// `apiVersion` and `kind` that a typed list (`PodList`) implies for its items.
    list: Option<(Cow<'a, str>, Cow<'a, str>)>,
    depth: usize,
}

impl At<'_> {
    fn place(&self) -> String {
        match self.index {
            Some(index) => format!("{}: items[{index}]", self.file),
            None => self.file.to_owned(),
        }
    }
}

fn read_document(document: &RawValue, at: &At<'_>, collector: &mut Collector) -> Result<(), ImportError> {
    let text = document.get();
    if text.starts_with('[') && at.depth == 0 {
        return read_items(document, None, at, collector);
    }
    if !text.starts_with('{') {
        return Err(ImportError::new(
            &at.place(),
            format!("found {}, not an object", describe(text)),
            EXPORT_HINT,
        ));
    }
    let head: Head<'_> = typed(text, &at.place(), "object")?;
    match head.kind.as_deref() {
        Some(stowage_models::snapshot::KIND) => document::read_snapshot(text, at.file, collector),
        Some(stowage_models::plan::KIND) => Err(ImportError::new(
            &at.place(),
            "this is a plan document (kind StowagePlan), not a snapshot or a Kubernetes list",
            "give the snapshot the plan was made from",
        )),
        Some(kind) => match (kind.strip_suffix("List"), head.items) {
            (Some(item_kind), Some(items)) => {
                let implied = (!item_kind.is_empty())
                    .then(|| (head.api_version.clone().unwrap_or_default(), item_kind.to_owned().into()));
                read_items(items, implied, at, collector)
            }
            // A list that was printed without any items.
            (Some(""), None) => Ok(()),
            _ => read_object(text, &head, kind, at, collector),
        },
        None => match (&at.list, head.items) {
            (Some((_, kind)), _) => read_object(text, &head, kind, at, collector),
            (None, Some(items)) => read_items(items, None, at, collector),
            (None, None) => Err(ImportError::new(
                &at.place(),
                "the object has no `kind`",
                format!("it is neither a Kubernetes object nor a Stowage document; {EXPORT_HINT}"),
            )),
        },
    }
}

fn describe(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "plain text",
        Some(b'[') => "a list",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

fn read_items<'a>(
    items: &'a RawValue,
    list: Option<(Cow<'a, str>, Cow<'a, str>)>,
    at: &At<'a>,
    collector: &mut Collector,
) -> Result<(), ImportError> {
    if at.depth >= LIST_DEPTH_MAX {
        let message = format!("lists are nested more than {LIST_DEPTH_MAX} deep");
        return Err(ImportError::new(&at.place(), message, EXPORT_HINT));
    }
    // Slices of the input, 16 bytes each: no item is parsed before its turn.
    let slices: Vec<&RawValue> = typed(items.get(), &format!("{}: items", at.place()), "list")?;
    for (index, item) in slices.into_iter().enumerate() {
        let at = At { file: at.file, index: Some(index), list: list.clone(), depth: at.depth + 1 };
        read_document(item, &at, collector)?;
    }
    Ok(())
}

/// The API group of the kinds that are read.
fn group_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod" | "Node" | "Namespace" | "PersistentVolumeClaim" | "PersistentVolume" => "",
        "DaemonSet" => "apps",
        "PodDisruptionBudget" => "policy",
        "StorageClass" | "CSINode" => "storage.k8s.io",
        "PriorityClass" => "scheduling.k8s.io",
        "NodePool" | "NodeClaim" | "NodeOverlay" => "karpenter.sh",
        "EC2NodeClass" => "karpenter.k8s.aws",
        "CapacityBuffer" => "autoscaling.x-k8s.io",
        _ => return None,
    })
}

fn read_object(
    text: &str,
    head: &Head<'_>,
    kind: &str,
    at: &At<'_>,
    collector: &mut Collector,
) -> Result<(), ImportError> {
    let implied = at.list.as_ref().map(|(api_version, _)| api_version);
    let api_version = head.api_version.as_ref().or(implied).map_or("", |text| text.as_ref());
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match group_of(kind) {
        None => {
            keep_shape(text, head, kind, group, collector);
            collector.skip(kind.to_owned());
            return Ok(());
        }
        // Other projects have a NodePool, too. Without any apiVersion the kind alone decides.
        Some(expected) if expected != group && !api_version.is_empty() => {
            collector.skip(format!("{kind}.{group}"));
            return Ok(());
        }
        Some(_) => {}
    }
    let place = object_place(head, kind, at)?;
    dispatch(text, kind, &place, collector)?;
    collector.count(kind);
    Ok(())
}

/// Keeps what a CapacityBuffer may refer to. Unless one does, it matters to nobody, and is counted as skipped.
fn keep_shape(text: &str, head: &Head<'_>, kind: &str, group: &str, collector: &mut Collector) {
    let expected = if kind == SHAPES[0] { "" } else { "apps" };
    if !SHAPES.contains(&kind) || group != expected {
        return;
    }
    let metadata = head.metadata.as_ref();
    let namespace =
        metadata.and_then(|metadata| metadata.namespace.as_deref()).filter(|text| !text.is_empty());
    let name = metadata.and_then(|metadata| metadata.name.as_deref()).unwrap_or_default();
    let key = (kind.to_owned(), namespace.unwrap_or("default").to_owned(), name.to_owned());
    collector.shapes.insert(key, text.to_owned());
}

/// `pods.json: Pod default/web`.
fn object_place(head: &Head<'_>, kind: &str, at: &At<'_>) -> Result<String, ImportError> {
    let metadata = head.metadata.as_ref();
    let name = metadata.and_then(|metadata| metadata.name.as_deref()).unwrap_or("");
    if name.is_empty() {
        return Err(ImportError::new(
            &format!("{} ({kind}): metadata.name", at.place()),
            "the object has no name",
            "every object of a cluster has one; give the export unchanged",
        ));
    }
    let namespaced = matches!(
        kind,
        "Pod" | "DaemonSet" | "PodDisruptionBudget" | "PersistentVolumeClaim" | "CapacityBuffer"
    );
    let namespace =
        metadata.and_then(|metadata| metadata.namespace.as_deref()).filter(|text| !text.is_empty());
    Ok(if namespaced {
        format!("{}: {kind} {}/{name}", at.file, namespace.unwrap_or("default"))
    } else {
        format!("{}: {kind} {name}", at.file)
    })
}

fn dispatch(text: &str, kind: &str, place: &str, into: &mut Collector) -> Result<(), ImportError> {
    fn read<T: DeserializeOwned>(text: &str, place: &str, kind: &str) -> Result<T, ImportError> {
        typed(text, place, kind)
    }
    match kind {
        "Pod" => {
            let (pod, priority) = match read::<pod::RawPod>(text, place, kind) {
                Ok(pod) => pod.convert(),
                Err(error) => pod::without_constraints(text, place, &error).ok_or(error)?,
            };
            into.push_pod(pod, priority);
        }
        "DaemonSet" => {
            let (daemon_set, priority) = read::<cluster::RawDaemonSet>(text, place, kind)?.convert();
            into.push_daemon_set(daemon_set, priority);
        }
        "Node" => into.lists.nodes.push(read::<node::RawNode>(text, place, kind)?.convert()),
        "NodePool" => {
            into.lists.node_pools.push(read::<karpenter::RawNodePool>(text, place, kind)?.convert())
        }
        "NodeClaim" => {
            let (claim, notices) = read::<karpenter::RawNodeClaim>(text, place, kind)?.convert();
            into.lists.node_claims.push(claim);
            into.push_notices(notices);
        }
        "CapacityBuffer" => into.buffers.push(read::<buffer::RawBuffer>(text, place, kind)?),
        "NodeOverlay" => {
            into.lists.node_overlays.push(read::<overlay::RawNodeOverlay>(text, place, kind)?.convert())
        }
        "EC2NodeClass" => {
            into.lists.node_classes.push(read::<karpenter::RawNodeClass>(text, place, kind)?.convert())
        }
        "PodDisruptionBudget" => {
            into.lists.pod_disruption_budgets.push(read::<cluster::RawBudget>(text, place, kind)?.convert());
        }
        "PersistentVolumeClaim" => {
            into.lists.volume_claims.push(read::<storage::RawClaim>(text, place, kind)?.convert());
        }
        "PersistentVolume" => {
            into.lists.volumes.push(read::<storage::RawVolume>(text, place, kind)?.convert())
        }
        "StorageClass" => {
            into.lists.storage_classes.push(read::<storage::RawStorageClass>(text, place, kind)?.convert());
        }
        "CSINode" => into.lists.csi_nodes.push(read::<storage::RawCsiNode>(text, place, kind)?.convert()),
        "Namespace" => {
            into.lists.namespaces.push(read::<cluster::RawNamespace>(text, place, kind)?.convert())
        }
        _ => {
            into.lists.priority_classes.push(read::<cluster::RawPriorityClass>(text, place, kind)?.convert())
        }
    }
    Ok(())
}
