//! Turns what people have into a [`Snapshot`]: Kubernetes lists, snapshot documents, traces. Pure: bytes in, value out.
//!
//! * [`import`] reads any mix of `kubectl get ... -o json|yaml` output and snapshot documents and merges them.
//! * [`read_plan`] reads a plan document, [`write_snapshot`] writes a snapshot document.
//! * [`export::list`] turns a snapshot back into Kubernetes objects.
//! * [`openb::convert`] turns the Alibaba GPU trace into a packing benchmark.
//!
//! # Memory
//! A JSON list is never held as a tree: its items stay slices of the input and are read one at a time into typed
//! structs, so the only thing that grows is the snapshot. YAML is first transcribed to JSON text, one document at a
//! time, and zstd input is first decompressed; both cost their text once more.
//!
//! # Trust
//! Input may be anything. Nothing here panics on it, recursion is bounded (JSON is skipped iteratively, YAML nesting,
//! aliases and nested lists have limits), and every refusal names the file, the object and the field.

mod affinity;
mod buffer;
mod cluster;
mod collect;
mod complete;
mod decode;
mod document;
mod error;
pub mod export;
mod export_karpenter;
mod export_pod;
mod karpenter;
mod list;
mod merge;
mod meta;
mod node;
pub mod openb;
mod overlay;
mod pod;
mod podspec;
mod printable;
mod quantities;
mod requirement;
mod storage;
mod volume;
mod write;
mod yaml;

pub use crate::buffer::{Buffer, Room, Unresolved};
pub use crate::write::{Encoding, write_snapshot};

use crate::collect::Collector;
use std::collections::BTreeMap;
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;

/// Bytes and the name to use for them in messages (a path, or `stdin`).
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Name.
    pub name: &'a str,
    /// Content: JSON or YAML text, or either compressed with zstd.
    pub bytes: &'a [u8],
}

/// A snapshot and what was found on the way.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The snapshot, normalised. Its `notes` say what had to be assumed or left out.
    pub snapshot: Snapshot,
    /// Objects read, by kind; a snapshot document counts as one `StowageSnapshot`.
    pub read: BTreeMap<String, usize>,
    /// Objects skipped because their kind does not matter, by kind (`Kind.group` where another group's kind has a
    /// name this crate reads).
    pub skipped: BTreeMap<String, usize>,
    /// CapacityBuffers and what became of them, by namespace and name. Their virtual pods are among those of the snapshot.
    pub buffers: Vec<Buffer>,
}

/// Why input was refused. The text names file, object and field and ends in a hint.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}\n  hint: {hint}")]
pub struct ImportError {
    /// File, then object and field where known: `pods.json: Pod default/web: spec.containers[0].resources.requests.cpu`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Reads and merges any mix of Kubernetes lists and snapshot documents (JSON, YAML, each optionally zstd).
///
/// The order of sources, documents and items does not matter. Objects that appear more than once with the same content
/// count once. Assumptions that complete a partial export (a default NodePool, DaemonSets derived from their pods) are
/// made only when Kubernetes objects, or nothing at all, were read: snapshot documents alone are complete as they are.
///
/// # Errors
/// [`ImportError`] at the first input that cannot be read, or when one object appears twice with different content.
pub fn import(sources: &[Source<'_>]) -> Result<Imported, ImportError> {
    let mut collector = Collector::default();
    for source in sources {
        collector.begin_source(source.name);
        list::read_source(*source, &mut collector)?;
    }
    collector.finish()
}

/// Reads a plan document (JSON or YAML, optionally zstd).
///
/// # Errors
/// [`ImportError`] when it is none (the message says what it is instead), or of another major format version.
pub fn read_plan(source: Source<'_>) -> Result<Plan, ImportError> {
    document::read_plan(source)
}
