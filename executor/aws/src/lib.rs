//! EC2, SSM, SQS, Pricing and ARC behind the controller's port [`stowage_executor::Cloud`]. The only crate that links the AWS SDK.
//!
//! # A launch
//! [`Aws::prepare`] turns what a plan asks for into one request: images, subnets, security groups and user data are looked up, and
//! everything that was found is written into the request ([`Order`]), which is stored with the NodeClaim. [`Aws::launch`] sends that
//! request under the action's client token, now or after a crash, byte for byte the same, so there is at most one machine.
//! It holds the content of its launch templates too; a template that somebody has deleted is made again under the same name.
//!
//! # Launch templates
//! There is one for each distinct configuration, named by the hash of its content. What differs between nodes of a configuration
//! (tags, the taint of a slot) is not in it. Templates that nobody has used for a while are deleted ([`Aws::tidy`]).
//!
//! # Calls
//! Each has a deadline and waits for a token of our own bucket, which is smaller than EC2's ([`limits`]). The SDK repeats nothing;
//! reads are repeated here, writes by the executor. What comes back wrong is one of [`Kind`].

mod catalogue;
mod client;
mod errors;
mod images;
mod launch;
pub mod limits;
mod list;
pub mod messages;
mod network;
mod order;
mod prepare;
mod queue;
mod reservations;
mod settings;
mod shifts;
mod status;
mod template;
mod tidy;
mod userdata;

pub use catalogue::Refreshed;
pub use client::Aws;
pub use errors::{Kind, Trouble};
pub use order::{Config, Order, Override};
pub use settings::Settings;
pub use template::Template;
