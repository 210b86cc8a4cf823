//! Reasons for which a node has to go whatever it costs: what the cluster says of it, and what a plan makes of that
//! (`docs/formulation.md` section 5.5).

use crate::schedule::{instant, rfc3339};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Annotation of a NodeClaim: what messages say of its machine ([`Notices`]). The messages themselves are deleted.
pub const NOTICES: &str = "stowage.dev/notices";

/// What a message about a machine says, in the kinds Karpenter tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoticeKind {
    /// EC2 takes the spot machine back, two minutes after the message.
    SpotInterruption,
    /// EC2 thinks that it may. Information only: as in Karpenter, no reason to leave.
    RebalanceRecommendation,
    /// AWS Health has scheduled a change (retirement, reboot) of the machine.
    ScheduledChange,
    /// The machine stops, or ends.
    StateChange,
    /// A status check of the machine or its host fails.
    InstanceStatus,
    /// The capacity reservation it runs in ends.
    CapacityReservation,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [NoticeKind; 6] = [
        NoticeKind::SpotInterruption,
        NoticeKind::RebalanceRecommendation,
        NoticeKind::ScheduledChange,
        NoticeKind::StateChange,
        NoticeKind::InstanceStatus,
        NoticeKind::CapacityReservation,
    ];

    /// As it is written in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::SpotInterruption => "SpotInterruption",
            NoticeKind::RebalanceRecommendation => "RebalanceRecommendation",
            NoticeKind::ScheduledChange => "ScheduledChange",
            NoticeKind::StateChange => "StateChange",
            NoticeKind::InstanceStatus => "InstanceStatus",
            NoticeKind::CapacityReservation => "CapacityReservation",
        }
    }

    /// Whether the machine has to be left. A recommendation is none.
    #[must_use]
    pub fn is_final(self) -> bool {
        self != NoticeKind::RebalanceRecommendation
    }
}

/// What messages say of one machine: of each kind the earliest time one states, in seconds since the Unix epoch. In whatever order and
/// however often messages come, the same is known in the end.
///
/// As text: `SpotInterruption@2026-11-22T04:00:00Z,StateChange`. Six kinds with their times are at most 280 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices(BTreeMap<NoticeKind, Option<i64>>);

impl Notices {
    /// Reads the text. What is not understood (a later version's kind) is left out; a time that is none counts as not stated.
    #[must_use]
    pub fn parse(text: &str) -> Notices {
        let mut notices = Notices::default();
        for part in text.split(',') {
            let (name, time) = part.split_once('@').map_or((part, None), |(name, time)| (name, Some(time)));
            if let Some(kind) = NoticeKind::ALL.into_iter().find(|kind| kind.as_str() == name.trim()) {
                notices.add(kind, time.and_then(instant));
            }
        }
        notices
    }

    /// Takes in a message; whether it says anything new.
    pub fn add(&mut self, kind: NoticeKind, deadline: Option<i64>) -> bool {
        let Some(known) = self.0.get_mut(&kind) else {
            self.0.insert(kind, deadline);
            return true;
        };
        let earliest = [*known, deadline].into_iter().flatten().min();
        std::mem::replace(known, earliest) != earliest
    }

    /// Takes in what somebody else knows; whether it says anything new.
    pub fn merge(&mut self, other: &Notices) -> bool {
        other.0.iter().fold(false, |news, (kind, deadline)| self.add(*kind, *deadline) || news)
    }

    /// Nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the machine has to be left.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.0.keys().any(|kind| kind.is_final())
    }

    /// Whether there is a message of this kind.
    #[must_use]
    pub fn has(&self, kind: NoticeKind) -> bool {
        self.0.contains_key(&kind)
    }

    /// As notices about a node, in the order of kinds.
    #[must_use]
    pub fn about(&self, node: &str) -> Vec<Notice> {
        let of = |(kind, deadline): (&NoticeKind, &Option<i64>)| Notice {
            node: node.to_owned(),
            kind: *kind,
            deadline: deadline.map(rfc3339),
        };
        self.0.iter().map(of).collect()
    }
}

impl std::fmt::Display for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (kind, deadline)) in self.0.iter().enumerate() {
            f.write_str(if n > 0 { "," } else { "" })?;
            f.write_str(kind.as_str())?;
            if let Some(deadline) = deadline {
                write!(f, "@{}", rfc3339(*deadline))?;
            }
        }
        Ok(())
    }
}

/// A message about a node's machine. Whoever listens to the queue writes them on the NodeClaim ([`NOTICES`]), where importers find them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Node name.
    pub node: String,
    /// What it says.
    pub kind: NoticeKind,
    /// When the machine goes, RFC 3339, if the message says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

impl Notice {
    /// Whether the node has to go.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.kind.is_final()
    }
}

/// A condition of a node that is as bad as one of [`REPAIRS`] says, whether or not for long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Symptom {
    /// Type of the condition.
    pub condition: String,
    /// `False` or `Unknown`, as written.
    pub status: String,
    /// `lastTransitionTime`, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Conditions that make a node unhealthy: type, status, and for how many minutes that is borne. Karpenter's AWS provider v1.14
/// (`RepairPolicies`).
pub const REPAIRS: [(&str, &str, i64); 7] = [
    ("Ready", "False", 30),
    ("Ready", "Unknown", 30),
    ("AcceleratedHardwareReady", "False", 10),
    ("StorageReady", "False", 30),
    ("NetworkingReady", "False", 30),
    ("KernelReady", "False", 30),
    ("ContainerRuntimeReady", "False", 30),
];

/// No node is repaired while more than this percentage of its NodePool (rounded up) is unhealthy: then it is not the nodes. As Karpenter.
pub const UNHEALTHY_POOL_PERCENT: i64 = 20;

/// No node is repaired while more than this percentage of all nodes (rounded up) is unhealthy.
pub const UNHEALTHY_CLUSTER_PERCENT: i64 = 45;

/// Why a node has to go, the most pressing reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DepartureReason {
    /// Its machine is taken away.
    Interrupted,
    /// It has been unhealthy for longer than is borne.
    Unhealthy,
    /// `expireAfter` has passed, or does so soon.
    Expired,
    /// It is not what its NodePool would launch today.
    Drifted,
}

/// That a node has to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    /// Why.
    pub reason: DepartureReason,
    /// Until when, RFC 3339, if there is such a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// It goes now, whatever budgets, PodDisruptionBudgets and marks say. Otherwise it goes as soon as they allow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = (NoticeKind, Option<i64>)> {
        (0..6_usize, prop::option::of(-100_000..5_000_000_000_i64))
            .prop_map(|(kind, time)| (NoticeKind::ALL[kind], time))
    }

    proptest! {
        /// In any order and as often as you like, the same is known; and what is written is what is read.
        #[test]
        fn order_and_repetition_do_not_matter(messages in prop::collection::vec(message(), 0..12), turn in 0..12_usize) {
            let gather = |all: &[(NoticeKind, Option<i64>)]| {
                let mut notices = Notices::default();
                for (kind, time) in all {
                    notices.add(*kind, *time);
                    prop_assert!(!notices.add(*kind, *time), "a repetition is no news");
                }
                Ok(notices)
            };
            let known = gather(&messages)?;
            let mut turned = messages.clone();
            turned.rotate_left(turn.min(messages.len()));
            turned.reverse();
            prop_assert_eq!(&gather(&turned)?, &known);
            prop_assert_eq!(&Notices::parse(&known.to_string()), &known);
            prop_assert!(known.to_string().len() <= 280);
            prop_assert_eq!(known.is_final(), known.about("a").iter().any(Notice::is_final));
            let mut both = known.clone();
            prop_assert!(!both.merge(&known));
        }

        /// Any text is read.
        #[test]
        fn any_text_is_read(text in "\\PC{0,60}") {
            let known = Notices::parse(&text);
            prop_assert_eq!(&Notices::parse(&known.to_string()), &known);
        }
    }

    #[test]
    fn names_are_those_of_documents() {
        for kind in NoticeKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
        }
        let text = "SpotInterruption@2026-11-22T04:00:00Z,Later@x,StateChange@soon";
        assert_eq!(Notices::parse(text).to_string(), "SpotInterruption@2026-11-22T04:00:00Z,StateChange");
    }
}
