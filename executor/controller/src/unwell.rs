//! Asks the cloud, every minute, which machines are not well: failing status checks are on no queue, and scheduled events might have been missed.
//!
//! What it says is noted like a message of the queue, and what is noted already is not noted again: which of the two came first does not
//! matter. A check that fails is believed when it does so twice in a row; a notice is never taken back.

use crate::interruption::Listener;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use stowage_executor::{Message, MessageKind};

/// How often it is asked.
pub(crate) const EVERY: Duration = Duration::from_secs(60);
/// A look of a process that does not act yet.
const IDLE: Duration = Duration::from_millis(500);
/// What is degraded without an answer.
const NAME: &str = "instance status";

/// Asks until it is dropped.
pub(crate) async fn watch(listener: Arc<Listener>, every: Duration) {
    let mut failing = BTreeSet::new();
    loop {
        if !listener.is_on() {
            // Whoever acted meanwhile has looked for itself.
            failing.clear();
            // It does not ask, so nothing of it is missing: what was said before holds no more.
            listener.degrade(NAME, Ok(()));
            tokio::time::sleep(IDLE).await;
            continue;
        }
        match listener.unwell().await {
            Ok(messages) => {
                listener.degrade(NAME, Ok(()));
                let (found, now) = believed(messages, &failing);
                failing = now;
                listener.note_all(found).await;
            }
            Err(error) => listener.degrade(NAME, Err(error)),
        }
        tokio::time::sleep(every).await;
    }
}

/// What is believed of an answer, and machines whose checks fail by it.
fn believed(messages: Vec<Message>, before: &BTreeSet<String>) -> (Vec<Message>, BTreeSet<String>) {
    let fails = |message: &Message| message.kind == MessageKind::StatusFailure;
    let failing = messages.iter().filter(|one| fails(one)).flat_map(|one| one.instances.clone()).collect();
    let again = |message: &Message| message.instances.iter().all(|one| before.contains(one));
    let found = messages.into_iter().filter(|one| !fails(one) || again(one)).collect();
    (found, failing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_once_is_no_reason_and_one_that_heals_begins_anew() {
        let says = |kind: MessageKind, instance: &str| Message {
            kind,
            instances: vec![instance.to_owned()],
            deadline: None,
            at: None,
        };
        let failure = |instance: &str| says(MessageKind::StatusFailure, instance);
        let (found, once) =
            believed(vec![failure("a"), says(MessageKind::ScheduledChange, "b")], &BTreeSet::new());
        assert_eq!(found, [says(MessageKind::ScheduledChange, "b")], "an event is AWS's own word");
        let (found, twice) = believed(vec![failure("a"), failure("c")], &once);
        assert_eq!(found, [failure("a")]);
        let (found, healed) = believed(vec![failure("c")], &twice);
        assert_eq!(found, [failure("c")]);
        assert_eq!(believed(vec![failure("a")], &healed).0, []);
    }
}
