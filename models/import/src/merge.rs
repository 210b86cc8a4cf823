//! Objects of one kind from all sources: identical duplicates become one, contradictions are refused.

use crate::ImportError;
use crate::cluster::PriorityClass;
use crate::storage::CsiNode;
use serde::Serialize;
use serde_json::Value;
use stowage_models::objects::{
    DaemonSet, Ec2NodeClass, Namespace, Node, NodeClaim, NodePool, Pod, PodDisruptionBudget, StorageClass,
    Volume, VolumeClaim,
};
use stowage_models::overlay::NodeOverlay;

/// What identifies an object within its kind.
pub(crate) trait Named {
    /// The kind as Kubernetes spells it, for messages.
    const KIND: &'static str;
    /// Namespace, empty for cluster-scoped kinds; and name.
    fn key(&self) -> (&str, &str);

    /// `default/web`, or `web` for cluster-scoped kinds.
    fn id(&self) -> String {
        let (namespace, name) = self.key();
        if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
    }
}

macro_rules! named {
    ($($type:ty, $kind:literal, |$object:ident| $namespace:expr;)*) => {
        $(impl Named for $type {
            const KIND: &'static str = $kind;
            fn key(&self) -> (&str, &str) {
                let $object = self;
                ($namespace, &$object.name)
            }
        })*
    };
}

named! {
    Pod, "Pod", |object| &object.namespace;
    DaemonSet, "DaemonSet", |object| &object.namespace;
    PodDisruptionBudget, "PodDisruptionBudget", |object| &object.namespace;
    VolumeClaim, "PersistentVolumeClaim", |object| &object.namespace;
    Volume, "PersistentVolume", |object| "";
    StorageClass, "StorageClass", |object| "";
    Namespace, "Namespace", |object| "";
    Node, "Node", |object| "";
    NodePool, "NodePool", |object| "";
    NodeOverlay, "NodeOverlay", |object| "";
    NodeClaim, "NodeClaim", |object| "";
    Ec2NodeClass, "EC2NodeClass", |object| "";
    PriorityClass, "PriorityClass", |object| "";
    CsiNode, "CSINode", |object| "";
}

/// Objects in the order they were read, each with the index of its source.
#[derive(Debug)]
pub(crate) struct Entries<T> {
    items: Vec<(T, usize)>,
    source: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Entries<T> {
        Entries { items: Vec::new(), source: 0 }
    }
}

impl<T> Entries<T> {
    pub(crate) fn set_source(&mut self, source: usize) {
        self.source = source;
    }

    pub(crate) fn push(&mut self, object: T) {
        self.items.push((object, self.source));
    }

    pub(crate) fn extend(&mut self, objects: Vec<T>) {
        let source = self.source;
        self.items.extend(objects.into_iter().map(|object| (object, source)));
    }

    /// All objects so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(object, _)| object)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The object pushed as number `index`.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.items.get_mut(index).map(|(object, _)| object)
    }
}

impl<T: Named + PartialEq + Serialize> Entries<T> {
    /// The objects sorted by namespace and name, each once. `names` are the sources by index.
    pub(crate) fn merge(mut self, names: &[String]) -> Result<Vec<T>, ImportError> {
        self.items.sort_by(|(a, _), (b, _)| a.key().cmp(&b.key()));
        for pair in self.items.windows(2) {
            let [(first, first_source), (second, second_source)] = pair else {
                continue;
            };
            if first.key() == second.key() && first != second {
                let name = |source: &usize| names.get(*source).map_or("input", String::as_str);
                return Err(contradiction(first, second, name(first_source), name(second_source)));
            }
        }
        self.items.dedup_by(|(a, _), (b, _)| a.key() == b.key());
        Ok(self.items.into_iter().map(|(object, _)| object).collect())
    }

    /// Like [`Entries::merge`], for sources in which every row is an object of its own: any duplicate is an error.
    pub(crate) fn merge_unique(self, name: &str) -> Result<Vec<T>, ImportError> {
        let n_read = self.len();
        let names: Vec<String> = self.items.iter().map(|(object, _)| object.id()).collect();
        let merged = self.merge(&[name.to_owned()])?;
        if merged.len() == n_read {
            return Ok(merged);
        }
        let mut seen = std::collections::BTreeSet::new();
        let twice = names.iter().find(|id| !seen.insert(id.as_str())).map_or("", String::as_str);
        let place = format!("{name}: {} {twice}", T::KIND);
        Err(ImportError::new(
            &place,
            "the name appears in two rows",
            "names must be unique; download the file again",
        ))
    }
}

fn contradiction<T: Named + Serialize>(first: &T, second: &T, source: &str, other: &str) -> ImportError {
    let files = if source == other { source.to_owned() } else { format!("{source} and {other}") };
    let field = match (serde_json::to_value(first), serde_json::to_value(second)) {
        (Ok(first), Ok(second)) => first_difference(&first, &second),
        _ => String::new(),
    };
    let place = format!("{files}: {} {}: {}", T::KIND, first.id(), field.trim_start_matches('.'));
    ImportError::new(
        place.trim_end_matches([':', ' ']),
        "the object appears twice with different content",
        "export every kind with one kubectl command, so that all is of one moment, or leave one of the copies out",
    )
}

/// Path of the first field in which two values differ, with a leading dot.
fn first_difference(first: &Value, second: &Value) -> String {
    match (first, second) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) if x != y => return format!(".{key}{}", first_difference(x, y)),
                    (Some(_), Some(_)) => {}
                    _ => return format!(".{key}"),
                }
            }
            String::new()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let unequal = a.iter().zip(b).enumerate().find(|(_, (x, y))| x != y);
            unequal.map_or_else(String::new, |(index, (x, y))| format!("[{index}]{}", first_difference(x, y)))
        }
        _ => String::new(),
    }
}
