//! Consolidation beside plain baselines: the fix-points of the strategies that remove one node at a time, or a prefix of one sorted
//! list, the joint plan at the same number of moves, simulated days, and a trace as a running cluster.

pub mod apply;
pub mod baselines;
pub mod contest;
pub mod days;
pub mod openb;
