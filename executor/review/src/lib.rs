//! Plans that people approve.
//!
//! A Plan in review holds what is to be carried out ([`Body`]) beside what people read. [`open`] believes none of it: the digest, which
//! an approval names, must be that of the spec, and actions, nodes and cost must be what the body says. Summary, bound and gap are the
//! publisher's words.
//!
//! `kubectl-stowage` lists, shows, approves and rejects plans, makes one of a plan file (`stowage plan -o json`), and explains why a pod waits
//! and why a node stays or goes.

mod body;
pub mod cluster;
mod explain;
mod file;
mod reads;
mod summary;
mod waves;

pub use body::{Body, Reads, digest, name, open, proposal, published};
pub use explain::explain;
pub use file::{FileError, read_file};
pub use summary::summary;
pub use waves::{Known, Leaving, Mover, Target, Wave, action as removal, waves};

/// On a Plan: the digest that is approved.
pub const APPROVED: &str = "stowage.dev/approved";
/// On a Plan: who approved it, for people; the API server's audit log is what proves it.
pub const APPROVED_BY: &str = "stowage.dev/approved-by";
/// On a Plan: it is not to be carried out; the value says why.
pub const REJECTED: &str = "stowage.dev/rejected";
