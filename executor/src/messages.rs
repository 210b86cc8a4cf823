//! Messages of the cloud about machines, as the port brings them.

use crate::time::Time;
use stowage_models::departure::NoticeKind;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// A spot machine is taken back.
    SpotInterruption,
    /// A spot machine may be taken back.
    RebalanceRecommendation,
    /// A machine is to be retired or rebooted.
    ScheduledChange,
    /// A machine stops, or has.
    Stopping,
    /// A machine ends, or has.
    Terminating,
    /// A status check fails.
    StatusFailure,
    /// The capacity reservation of a machine ends.
    ReservationInterruption,
    /// Nothing that matters here.
    Other,
}

impl MessageKind {
    /// Karpenter's name for it in its metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKind::SpotInterruption => "spot_interrupted",
            MessageKind::RebalanceRecommendation => "rebalance_recommendation",
            MessageKind::ScheduledChange => "scheduled_change",
            MessageKind::Stopping => "instance_stopped",
            MessageKind::Terminating => "instance_terminated",
            MessageKind::StatusFailure => "instance_status_failure",
            MessageKind::ReservationInterruption => "capacity_reservation_interrupted",
            MessageKind::Other => "no_op",
        }
    }

    /// Reason of the event that tells it, Karpenter's.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        Some(match self {
            MessageKind::SpotInterruption => "SpotInterrupted",
            MessageKind::RebalanceRecommendation => "SpotRebalanceRecommendation",
            MessageKind::ScheduledChange | MessageKind::StatusFailure => "InstanceUnhealthy",
            MessageKind::Stopping => "InstanceStopping",
            MessageKind::Terminating => "InstanceTerminating",
            MessageKind::ReservationInterruption => "CapacityReservationInstanceInterrupted",
            MessageKind::Other => return None,
        })
    }

    /// What is noted of it.
    #[must_use]
    pub fn notice(self) -> Option<NoticeKind> {
        Some(match self {
            MessageKind::SpotInterruption => NoticeKind::SpotInterruption,
            MessageKind::RebalanceRecommendation => NoticeKind::RebalanceRecommendation,
            MessageKind::ScheduledChange => NoticeKind::ScheduledChange,
            MessageKind::Stopping | MessageKind::Terminating => NoticeKind::StateChange,
            MessageKind::StatusFailure => NoticeKind::InstanceStatus,
            MessageKind::ReservationInterruption => NoticeKind::CapacityReservation,
            MessageKind::Other => return None,
        })
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub kind: MessageKind,
    /// Of which machines.
    pub instances: Vec<String>,
    /// When they go, in seconds since the Unix epoch, if it says so.
    pub deadline: Option<i64>,
    /// When it happened, if it says so.
    pub at: Option<Time>,
}

/// A message as it was received. It comes again unless it is dismissed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What dismisses it.
    pub receipt: String,
    /// What it says, or why it cannot be read, with an excerpt.
    pub content: Result<Message, String>,
}
