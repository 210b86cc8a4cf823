//! Sees a cluster.
//!
//! [`record`] lists everything once and makes a snapshot of it, for planning elsewhere. [`View`] keeps up with the cluster and
//! gives snapshots from a view that is complete and not stale, and what `stowage_executor::step` wants to know. Both read
//! only, and both go through `stowage-import`, so that a cluster seen live and the output of kubectl mean the same.

mod buffers;
mod facts;
mod kinds;
mod prune;
mod record;
mod view;

pub use facts::{
    ACTION, BODY, PLAN, PODS, PROMISE, Promise, REMOVAL, SLOT, TOKEN, claim, instance_id, node, pod,
};
pub use kinds::{KINDS, Kind};
pub use record::{Recorded, record};
pub use stowage_import::{Buffer, Room, Unresolved};
pub use view::{Freshness, View};

/// Why a cluster cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{kind}: {cause}\n  hint: {hint}")]
    Api {
        /// Plural of the kind.
        kind: &'static str,
        /// What it said.
        cause: Box<kube::Error>,
        /// What to do.
        hint: &'static str,
    },
    /// An object cannot be read.
    #[error(transparent)]
    Import(#[from] stowage_import::ImportError),
    /// The view is not complete, or stale.
    #[error("{0}")]
    NotSynced(String),
}
