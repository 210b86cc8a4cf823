//! Tests of the custom resources.

mod cases;
mod cases_class;
mod fresh;
mod karpenter;
mod server;
