//! Composed snapshots, the benchmark table, the oracle that tells the planner's cost on tiny cases, and the peers.
//!
//! This crate and the command line are the only ones that may read a clock.

pub mod batches;
pub mod compare;
pub mod compose;
pub mod consolidation;
pub mod fleet;
pub mod instructions;
pub mod losses;
pub mod manifests;
pub mod measure;
pub mod oracle;
pub mod peers;
pub mod roadef;
pub mod second;
pub mod table;
pub mod targets;
pub mod trial;
