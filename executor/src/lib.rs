//! Carries plans out: `step(state, observation) -> (state, requests)`, a pure function.
//!
//! Ports act on the [`Request`]s and bring [`Answer`]s with the next [`Observation`]. Nothing here waits, calls or reads a
//! clock, so the whole of it runs in a simulator.
//!
//! # What survives a crash
//! [`State`] may be lost at any moment. Whatever must not be forgotten is written to the API server first: a NodeClaim
//! carries its plan, action, slot, pods, client token and the launch request byte for byte ([`Draft`]) before anything is
//! launched. Whoever finds it resends that request under that token, and the cloud answers with the machine it launched
//! the first time. So there is at most one machine for an action, ever.
//!
//! A node that a plan removes has that written on its NodeClaim ([`Removal`]) before anything is done about it, with the claims of the
//! machines that must be ready first. Whoever finds it goes on, or lets the node stay.
//!
//! # No choices
//! What to launch, and for which pods, is the plan's. What is decided here is only when to repeat, when to give up, and what
//! to tell the planner: offerings without capacity ([`PlanInput::missing`]), machines smaller than promised
//! ([`PlanInput::smaller`]), pods that did not fit twice ([`PlanInput::hopeless`]).

mod accept;
mod approved;
mod batch;
mod claims;
mod drain;
mod drift;
#[cfg(test)]
mod fixtures;
mod garbage;
mod lessons;
mod messages;
mod notices;
mod overlay;
mod ports;
mod removal;
mod renewals;
mod request;
mod resume;
mod returns;
mod review;
mod settings;
mod slots;
mod state;
mod statics;
mod step;
mod stock;
mod successors;
mod time;
mod view;

pub use accept::SLOT_TAINT;
pub use approved::ProposedWave;
pub use drift::{
    ClassFacts, DriftInput, DriftReason, DriftVerdict, STAMP, Stamp, class_hash, judge_drift, pool_hash,
};
pub use messages::{Letter, Message, MessageKind};
pub use overlay::{PlanningView, planning_view};
pub use ports::{Awaited, Cloud, CloudError, Launched, Shift};
pub use removal::{Hindrance, Leaver, Moving, Place, PlannedWave, Removal};
pub use request::{
    Draft, Failure, InFlight, Intent, Key, LaunchBody, PlanInput, Reason, Request, Verb, claim_name,
    client_token,
};
pub use review::{Ground, Proposal, ProposedAction, Unmet, Verdict};
pub use settings::{Mode, Review, Settings};
pub use state::State;
pub use statics::{STATIC_POOL, as_written, stand_in};
pub use step::step;
pub use stock::Stock;
pub use successors::SUCCESSOR_GATE;
pub use time::Time;
pub use view::{
    Answer, Claim, Drain, Instance, InstanceState, Listing, Node, Observation, Offering, Placed,
    PlannedBatch, PlannedPod, Pod,
};
