//! Waiting for what a control plane does in its own time.

use crate::error::Error;
use std::time::Duration;
use tokio::time::Instant;

/// How often [`eventually`] looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `look` until it gives `Ok`, at most for `timeout`. `Err` says how things stand, for the message of the error.
///
/// # Errors
/// [`Error::TimedOut`] with the last thing `look` said.
pub async fn eventually<T, F, Answer>(what: &str, timeout: Duration, mut look: F) -> Result<T, Error>
where
    F: FnMut() -> Answer,
    Answer: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= timeout => {
                return Err(Error::TimedOut { what: what.to_owned(), waited: timeout, last });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
