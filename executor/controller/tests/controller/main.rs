//! The controller on a real control plane; the cloud is a fake one.

mod buffers;
mod capacity;
mod common;
mod direct;
mod drain;
mod drift;
mod fencing;
mod fit;
mod interruption;
mod kills;
mod launch;
mod limits;
mod overlays;
mod policy;
mod remove;
mod remove_kills;
mod reserved;
mod restart;
mod review;
mod shadow;
mod spot;
mod statics;
mod stop;
mod telling;
mod throttling;
mod zones;
