//! Thousands of recorded snapshots, planned on one machine or on many, with progress that survives a kill.
//!
//! A folder of snapshots ([`listing`]) is split into shares by the hash of each path. A process plans one share
//! ([`run`]): one snapshot per thread, one line per snapshot appended to the share's file ([`part`]). Started again it
//! reads that file and does what is missing. [`merge`] puts the parts together, after a look whether every
//! snapshot is there exactly once, and [`summary`] says what came out. `docs/fleet.md` tells how to run it as a Kubernetes
//! Indexed Job.

pub mod listing;
pub mod merge;
pub mod part;
pub mod row;
pub mod run;
pub mod summary;
