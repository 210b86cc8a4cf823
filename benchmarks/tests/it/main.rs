//! What planner, referee and comparison promise, over composed and random clusters.

mod algebra;
mod bindable;
mod buffers;
mod cases;
mod compare;
mod consolidation;
mod constraints;
mod diversity;
mod faults;
mod fleet;
mod known;
mod losses;
mod min_values;
mod oracle;
mod overlays;
mod planner;
mod preferences;
mod reserved;
mod reviewed;
mod roadef;
mod snapshots;
mod starting;
mod targets;
mod warm;
