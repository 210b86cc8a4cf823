//! Goal: the control plane is real, the fake kubelet plays its part, and nothing is left behind. Run `.ci/kubernetes` first.

mod charts;
mod control_plane;
mod kubelet;
mod orphans;
mod support;
