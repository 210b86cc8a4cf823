//! Composed snapshots, the benchmark table, and the oracle that tells the planner's cost on tiny cases.
//!
//! This crate and the command line are the only ones that may read a clock.

pub mod compose;
pub mod manifests;
pub mod measure;
pub mod oracle;
pub mod prng;
pub mod table;
