//! Consolidation beside plain baselines: the fix-points of the strategies that remove one node at a time, or a prefix of one sorted
//! list, the joint plan at the same number of moves, and simulated days.

pub mod apply;
pub mod baselines;
pub mod contest;
pub mod days;
