//! Goal: a fleet of snapshots is planned completely, once each, wherever and however often its shares run.

mod job;
mod merging;
mod restarting;
mod support;
