//! Tests of the referee: plans that are right, and every way to get one wrong.

mod cases;
mod constraints;
mod findings;
mod mutations;
mod mutations_refused;
mod naive;
mod parts;
mod speed;
mod support;
