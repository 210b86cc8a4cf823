//! CapacityBuffers in a view: the pods that stand for their room, and what the buffers refer to.

use crate::record::{import, list_of};
use kube::core::DynamicObject;
use std::sync::Arc;
use stowage_import::Buffer;
use stowage_models::objects::PodRef;

/// Plural of the kind.
pub(crate) const PLURAL: &str = "capacitybuffers";

/// What a buffer refers to: kind and name, in its own namespace.
pub(crate) type Reference = (String, String);

/// What a buffer refers to, if anything.
pub(crate) fn reference(buffer: &DynamicObject) -> Option<Reference> {
    let spec = &buffer.data["spec"];
    let name = |of: &str| spec[of]["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    if let Some(name) = name("podTemplateRef") {
        return Some(("PodTemplate".to_owned(), name));
    }
    Some((spec["scalableRef"]["kind"].as_str()?.to_owned(), name("scalableRef")?))
}

/// Buffers as they were when they last changed, so that no step reads them again.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Versions of all that they were resolved from.
    versions: String,
    buffers: Arc<Vec<Buffer>>,
}

impl Resolved {
    /// The buffers of these texts, which are theirs and of what they refer to. Where they cannot be read, nobody knows of any: planning with
    /// a snapshot says why.
    pub(crate) fn of(&mut self, versions: String, texts: &[&str]) -> Arc<Vec<Buffer>> {
        if versions != self.versions {
            let read = import("the cluster", &list_of(texts.iter().copied()));
            let buffers = read.map(|imported| imported.buffers).unwrap_or_default();
            *self = Resolved { versions, buffers: Arc::new(buffers) };
        }
        self.buffers.clone()
    }

    /// What was resolved last.
    pub(crate) fn last(&self) -> Arc<Vec<Buffer>> {
        self.buffers.clone()
    }
}

/// The virtual pods of buffers with their uids.
pub(crate) fn pods(buffers: &[Buffer]) -> impl Iterator<Item = (&PodRef, &str)> {
    buffers.iter().flat_map(|buffer| &buffer.pods).filter_map(|(id, uid)| Some((id, uid.as_deref()?)))
}
