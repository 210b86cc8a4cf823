//! A deterministic simulator for the executor: virtual clock, API server, cloud, planner, scheduler and kubelets in memory,
//! with faults, all of it from one seed.
//!
//! [`run`] drives the executor's own `step` through a [`Scenario`] and checks the invariants after every event. A failure
//! names the seed; the same seed gives the same run, event for event ([`Outcome::log`]).

mod cloud;
mod faults;
mod invariants;
mod planner;
mod plans;
mod removals;
mod requests;
mod world;

pub use faults::Faults;
pub use world::{Outcome, Scenario, run};
