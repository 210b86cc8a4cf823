//! Points in time, and how long things may take.

use serde::{Deserialize, Serialize};

/// Milliseconds since an origin that never moves while a process lives and is the same for all of them: the Unix epoch, read
/// once and carried on by a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// Milliseconds since `earlier`; negative if that is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, milliseconds: i64) -> Time {
        Time(self.0.saturating_add(milliseconds))
    }
}

pub(crate) const SECOND: i64 = 1000;
pub(crate) const MINUTE: i64 = 60 * SECOND;

/// A machine that is not launched by then never will be (Karpenter's launch timeout).
pub(crate) const LAUNCH_TIMEOUT: i64 = 5 * MINUTE;
/// A machine that has not registered by then is given back (Karpenter's registration timeout).
pub(crate) const REGISTRATION_TIMEOUT: i64 = 15 * MINUTE;
/// EC2 may deny for this long that an instance exists: its API is eventually consistent.
pub(crate) const VISIBLE_AFTER: i64 = 5 * MINUTE;
/// A machine nobody claims is left alone this long (Karpenter's): its claim may be on the way.
pub(crate) const ORPHAN_AFTER: i64 = 30 * SECOND;
/// A ready node waits this long for its pods, then it is opened to all. kube-scheduler binds about 50 pods a second and a node
/// holds at most some hundred; the rest is for its back-off of up to 10 s and for watches.
pub(crate) const SLOT_TIMEOUT: i64 = 2 * MINUTE;
/// How long an offering without capacity is left out after the first time (Karpenter's 3 minutes).
pub(crate) const CAPACITY_PAUSE: i64 = 3 * MINUTE;
/// Every request has an answer by then, or is repeated.
pub(crate) const DEADLINE: i64 = 60 * SECOND;
/// After success, how long the view may take to show it before the request is repeated.
pub(crate) const SETTLE: i64 = 5 * SECOND;
/// First pause after a refused request; it doubles.
pub(crate) const PAUSE_MIN: i64 = SECOND;
/// Longest pause.
pub(crate) const PAUSE_MAX: i64 = MINUTE;
/// How often machines are listed: often while something is unclear.
pub(crate) const LIST_SOON: i64 = 10 * SECOND;
/// How often machines are listed otherwise (Karpenter's).
pub(crate) const LIST_EVERY: i64 = 2 * MINUTE;
/// A pod that a plan left out, or put on a node that exists, is planned again after this long (Karpenter's); it doubles.
pub(crate) const AGAIN_MIN: i64 = 10 * SECOND;
/// Longest such pause.
pub(crate) const AGAIN_MAX: i64 = 5 * MINUTE;
/// A node that is drained stays for this long after the last of its pods was seen (Karpenter's).
/// Room that buffers keep is looked at again so long after pods have come or gone, at most.
pub(crate) const ROOM_AGAIN: i64 = 30 * SECOND;
pub(crate) const MIN_DRAIN: i64 = 5 * SECOND;
/// A pod that should have ended this long ago is not waited for (Karpenter's).
pub(crate) const STUCK: i64 = MINUTE;
/// Volumes of drained pods are waited for this long before a machine ends: kube-controller-manager detaches them by force after it.
pub(crate) const VOLUMES_MAX: i64 = 6 * MINUTE;
/// How long failures to launch say that launching is impossible: they are repeated after a minute at most.
pub(crate) const TROUBLE: i64 = 2 * MINUTE;
/// How long a breaker stays open.
pub(crate) const BREAKER: i64 = 10 * MINUTE;
