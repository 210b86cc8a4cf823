//! A cloud for tests and the lab: an HTTP server on loopback that the real AWS SDK talks to.
//!
//! It speaks EC2 (query protocol, XML), SSM, SQS and Pricing (JSON), ARC (REST), as far as Stowage asks: see [`World::call`] for the
//! actions. What AWS does at its worst it does on demand. Offerings have capacity and price over time; new instances stay
//! invisible for some reads; lists come in pages; calls are throttled by EC2's own token buckets; fleets come with errors beside
//! instances; replies are slow, never come, or are lost after the deed is done; spot instances are taken back after a notice in
//! the queue. All of that is a [`Script`]: data, seeded. Every call is written down ([`Call`]), so that a test can ask what was done.
//!
//! [`World`] is the cloud: a pure state machine to which time is an argument. [`FakeCloud`] puts HTTP around it.
//!
//! It is no cloud for production, checks no signature, and knows one account and region.

mod bucket;
mod fleet;
mod form;
mod instances;
mod json;
mod money;
mod network;
mod queue;
mod script;
mod server;
mod shifts;
mod statuses;
mod templates;
mod types;
mod world;
mod xml;

pub use instances::Machine;
pub use script::{
    Effect, Fault, Image, Limits, Notice, NoticeKind, PoolRule, Reservation, Script, SecurityGroup, Step,
    Subnet, ZonalShift, Zone,
};
pub use server::FakeCloud;
pub use statuses::Ailment;
pub use templates::Template;
pub use world::{Call, Reply, Service, Then, World};
