//! The controller: observe, plan, check, step, act.
//!
//! [`Controller::run`] is one loop: it hands what a [`stowage_observe::View`] sees, and the answers that have come, to
//! `stowage_executor::step`, and starts a task for each request. A slow request holds up nothing but itself. The cloud is
//! behind `stowage_executor::Cloud`.

mod act;
mod brake;
mod buffers;
mod classes;
mod closing;
mod conditions;
mod consolidating;
mod drift;
mod events;
mod health;
mod intents;
mod interruption;
mod kept;
mod lease;
pub mod logs;
mod metrics;
mod objects;
mod overlays;
mod planning;
mod plans;
mod policy;
mod pools;
mod publish;
mod removing;
mod review;
mod run;
mod savings;
mod serve;
mod shifts;
mod successors;
mod tasks;
mod telling;
mod unwell;
mod waves;

pub use health::Health;
pub use lease::{Leadership, Lease};
pub use metrics::{Family, Metrics};
pub use run::{Controller, Options};
pub use serve::serve;

/// The API server's version, such as `1.36`.
///
/// # Errors
/// If it does not say.
pub async fn version(client: &kube::Client) -> Result<String, kube::Error> {
    let version = client.apiserver_version().await?;
    let minor: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    Ok(format!("{}.{minor}", version.major))
}
