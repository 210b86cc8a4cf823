//! What is stored with a NodeClaim and sent to EC2, byte for byte the same each time.

use crate::template::Template;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stowage_executor::LaunchBody;

/// Format of what is stored. An older controller refuses a newer one.
pub(crate) const FORMAT: u32 = 1;

/// A type in a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Instance type.
    pub instance_type: String,
    /// Zone of the subnet.
    pub zone: String,
    /// Subnet.
    pub subnet: String,
    /// Place in the plan's order, from 0.
    pub priority: u16,
}

/// A launch template and the offerings it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Name of the template.
    pub name: String,
    /// Its content, to make it again if somebody deletes it.
    pub template: Template,
    /// Offerings.
    pub overrides: Vec<Override>,
}

/// A launch with everything looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Format.
    pub format: u32,
    /// What the plan asked for.
    pub launch: LaunchBody,
    /// `spot` or `on-demand`: a fleet has one.
    pub capacity_type: String,
    /// Templates with their offerings.
    pub configs: Vec<Config>,
    /// Tags of the instance.
    pub tags: BTreeMap<String, String>,
    /// `context` of the node class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

impl Order {
    /// Reads what is stored.
    ///
    /// # Errors
    /// If it is something else, or of a newer format.
    pub fn parse(text: &str) -> Result<Order, String> {
        let order: Order =
            serde_json::from_str(text).map_err(|error| format!("not an order to EC2: {error}"))?;
        if order.format > FORMAT {
            return Err(format!("an order of format {}; this controller knows {FORMAT}", order.format));
        }
        Ok(order)
    }

    /// The template of an offering.
    pub(crate) fn config(&self, instance_type: &str) -> Option<&Config> {
        let has = |config: &&Config| config.overrides.iter().any(|one| one.instance_type == instance_type);
        self.configs.iter().find(has)
    }
}
