//! Micro-dollars as AWS writes them.

/// Dollars with six decimals.
pub(crate) fn dollars(micros: i64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Milliseconds since the Unix epoch as EC2 writes them.
pub(crate) fn stamp(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
