//! Content digests: SHA-256, because common signing tools verify it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{BufWriter, Write};

/// `sha256:` and 64 lower-case hex digits of `bytes`.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    text_of(Sha256::new_with_prefix(bytes))
}

/// The first hex digits of a digest: enough to tell it from others by.
#[must_use]
pub fn short(digest: &str, digits: usize) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..digits).unwrap_or(hex)
}

fn text_of(hash: Sha256) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash.finalize() {
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
    let mut writer = BufWriter::with_capacity(BUFFER, Hashed(Sha256::new()));
    serde_json::to_writer(&mut writer, value).expect("models serialise to JSON");
    text_of(writer.into_inner().map_err(|_| ()).expect("hashing does not fail").0)
}

/// Bytes hashed at a time: the document itself is never there as a whole, for a snapshot of a million pods is hundreds of MiB long.
const BUFFER: usize = 1 << 16;

struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_digest_is_its_first_digits() {
        let digest = of_bytes(b"");
        assert_eq!(short(&digest, 12), "e3b0c44298fc");
        assert_eq!(short(&digest, 64), &digest[7..]);
        assert_eq!(short("e3b0c44298fc", 4), "e3b0");
        // Digests of people's files may be no digests.
        assert_eq!(short("sha256:a", 12), "a");
        assert_eq!(short("sha256:ä", 1), "ä");
    }
}
