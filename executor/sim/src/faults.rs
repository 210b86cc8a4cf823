//! What goes wrong, and how often.

/// Chances in a thousand, each drawn for every request or event it is about, until [`crate::Scenario::faults_end`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The process ends just before a write is carried out.
    pub crash_before: u32,
    /// The process ends just after a write was carried out.
    pub crash_after: u32,
    /// The write is carried out, and its answer never comes.
    pub reply_lost: u32,
    /// The write is carried out later, and answered then: up to 10 s, a call to the cloud up to 90 s.
    pub reply_late: u32,
    /// The request is refused for now.
    pub refused: u32,
    /// An offering has no capacity for 10 minutes.
    pub no_capacity: u32,
    /// The instance never becomes a node.
    pub never_registers: u32,
    /// An instance ends by itself while it starts.
    pub dies: u32,
    /// The instance is invisible to listings for up to four minutes.
    pub invisible: u32,
    /// The view of one kind is not brought up to date, for up to 20 s.
    pub stale: u32,
    /// The lease is lost for up to 30 s.
    pub lease_lost: u32,
}

impl Faults {
    /// All of them, often enough that most runs see each.
    #[must_use]
    pub fn all() -> Faults {
        Faults {
            crash_before: 15,
            crash_after: 15,
            reply_lost: 30,
            reply_late: 30,
            refused: 60,
            no_capacity: 120,
            never_registers: 40,
            dies: 30,
            invisible: 300,
            stale: 30,
            lease_lost: 2,
        }
    }

    /// Everything but loss of memory: what is counted in memory can be asserted.
    #[must_use]
    pub fn without_crashes() -> Faults {
        Faults { crash_before: 0, crash_after: 0, ..Faults::all() }
    }
}
