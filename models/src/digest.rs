//! Content digests: SHA-256, because common signing tools verify it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// `sha256:` and 64 lower-case hex digits of `bytes`.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest of a value's compact JSON. Field order is declaration order and maps are sorted, so equal values have
/// equal digests.
///
/// # Panics
/// Never for the types of this crate: all their map keys are strings.
#[must_use]
pub fn of_json<T: Serialize>(value: &T) -> String {
    of_bytes(&serde_json::to_vec(value).expect("models serialise to JSON"))
}
