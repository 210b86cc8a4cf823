//! Tests of the catalogue that need more than one of its files.

mod allocatable;
mod convert;
mod property;
mod text;
