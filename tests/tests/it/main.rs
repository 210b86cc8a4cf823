//! Tests of the repository as a whole.

mod dependencies;
mod documents;
mod permissions;
mod tidy;
