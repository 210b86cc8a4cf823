//! The controller on a real control plane; the cloud is a fake one.

mod capacity;
mod common;
mod fencing;
mod fit;
mod kills;
mod launch;
mod limits;
mod numbers;
mod policy;
mod restart;
mod shadow;
mod telling;
mod throttling;
