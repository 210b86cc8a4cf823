//! The nouns of Stowage. Every other crate depends on this one; it depends on no other and does no I/O.
//!
//! A [`snapshot::Snapshot`] is everything a planning run may know; a [`plan::Plan`] is everything it decided, with a
//! [`plan::Certificate`] that lets anybody re-check the claimed bound in integer arithmetic.
//!
//! # Units
//! CPU is integer millicores, every other resource an integer in its base unit (bytes, or a count). Money is integer
//! micro-dollars per hour ([`units::UsdMicros`]). Shares and gaps are integer parts per million. There is no `f64` here.

pub mod catalog;
pub mod consolidation;
pub mod departure;
pub mod digest;
pub mod labels;
mod node_class;
pub mod objects;
pub mod overlay;
pub mod plan;
pub mod pod;
pub mod quantity;
pub mod random;
pub mod schedule;
pub mod selector;
pub mod shared;
pub mod snapshot;
mod storage;
pub mod units;
pub mod whatif;
