//! What follows from what a pod says.

use crate::objects::{Pod, PodPhase, PodRef};

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
