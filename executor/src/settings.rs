//! What an operator may set.

use crate::time::{CAPACITY_PAUSE, REGISTRATION_TIMEOUT, SECOND, SLOT_TIMEOUT};

/// What the controller may do by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Plans, and changes nothing.
    #[default]
    Shadow,
    /// Plans and acts.
    Auto,
}

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Mode.
    pub mode: Mode,
    /// A batch ends when no pod has come for this long, in milliseconds.
    pub batch_idle: i64,
    /// A batch ends after this long in any case, in milliseconds.
    pub batch_max: i64,
    /// Nodes carry a taint, and planned pods the toleration, so that the plan is what happens.
    pub steer: bool,
    /// A machine that has not registered after this long is given back, in milliseconds.
    pub registration_timeout: i64,
    /// A ready node is kept for its pods this long, in milliseconds.
    pub slot_timeout: i64,
    /// An offering without capacity is left out this long the first time, in milliseconds; it doubles each further time.
    pub capacity_pause: i64,
    /// Nothing is begun and nothing ends; machines that were launched before become nodes that any pod may use
    /// ([`crate::Request::finishes`]).
    pub stop: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Shadow,
            batch_idle: SECOND,
            batch_max: 10 * SECOND,
            steer: true,
            registration_timeout: REGISTRATION_TIMEOUT,
            slot_timeout: SLOT_TIMEOUT,
            capacity_pause: CAPACITY_PAUSE,
            stop: false,
        }
    }
}
