//! What follows from what a pod says.

use crate::objects::{Owner, Pod, PodPhase, PodRef, PodSpec};
use crate::selector::Labels;
use crate::shared::Interner;
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};

/// What pods have in common, stored once: of a million pods of some hundred workloads that is more than four fifths of their memory.
#[derive(Debug, Default)]
pub struct Common {
    specs: Interner<PodSpec>,
    labels: Interner<Labels>,
    owners: Interner<Owner>,
}

impl Common {
    /// Makes a pod share what it has in common with those before.
    pub fn share(&mut self, pod: &mut Pod) {
        self.specs.share(&mut pod.spec);
        self.labels.share(&mut pod.labels);
        pod.owner.iter_mut().for_each(|owner| self.owners.share(owner));
    }
}

/// Reads pods one by one, so that what they have in common is never there more than once.
pub(crate) fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pod>, D::Error> {
    struct Pods;

    impl<'de> Visitor<'de> for Pods {
        type Value = Vec<Pod>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a list of pods")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Pod>, A::Error> {
            let (mut pods, mut common) = (Vec::new(), Common::default());
            while let Some(mut pod) = list.next_element::<Pod>()? {
                common.share(&mut pod);
                pods.push(pod);
            }
            Ok(pods)
        }
    }

    deserializer.deserialize_seq(Pods)
}

impl Pod {
    /// `namespace/name`.
    #[must_use]
    pub fn id(&self) -> PodRef {
        PodRef(format!("{}/{}", self.namespace, self.name))
    }

    /// Holds no resources any more: Succeeded or Failed.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// The node whose room it takes: the one it is bound to or, as kube-scheduler counts, the one that was nominated for it when
    /// others were preempted there.
    #[must_use]
    pub fn seat(&self) -> Option<&str> {
        let nominated = self.nominated_node.as_deref();
        self.node.as_deref().or(nominated.filter(|_| self.phase == PodPhase::Pending && !self.deleting))
    }

    /// Waits for a place: Pending, not bound, nominated, being deleted or gated, for the default scheduler, not of a DaemonSet or
    /// node.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.phase == PodPhase::Pending
            && self.seat().is_none()
            && !self.deleting
            && self.scheduling_gates.is_empty()
            && self.spec.scheduler_name.is_none()
            && !self.is_owned_by("DaemonSet")
            && !self.is_owned_by("Node")
    }

    /// Nobody runs it: it stands for room that a CapacityBuffer keeps free.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.annotations.get(crate::labels::BUFFER_POD).is_some_and(|value| value == "true")
    }

    /// Whether the controlling owner has this kind.
    #[must_use]
    pub fn is_owned_by(&self, kind: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.kind == kind)
    }
}
