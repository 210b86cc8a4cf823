//! The queue with messages about machines: SQS, long polls.

use crate::client::Aws;
use crate::errors::{Kind, Trouble};
use crate::limits::Class;
use crate::messages;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use std::time::Duration;
use stowage_executor::Letter;
use tokio::time::Instant;

/// How long a poll waits for the first message: SQS's longest.
const WAIT: i32 = 20;
/// Messages of a poll, and of a deletion: SQS's most.
const MOST: i32 = 10;
/// A message that was received and is not deleted comes again after this long, in seconds: noting it takes a few writes.
const HIDDEN: i32 = 20;

impl Aws {
    /// A few messages; none if there are none, after [`WAIT`] if `wait`. `None`: no queue is named.
    pub(crate) async fn letters(&self, wait: bool) -> Result<Option<Vec<Letter>>, Trouble> {
        let Some(name) = &self.settings.queue else { return Ok(None) };
        let url = self.queue_url(name).await?;
        let patience = if wait { WAIT } else { 0 };
        let end = Instant::now()
            + Duration::from_secs(u64::try_from(patience).unwrap_or_default())
            + self.settings.read_deadline;
        let request = self
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(MOST)
            .visibility_timeout(HIDDEN)
            .wait_time_seconds(patience);
        let answer = self.once("ReceiveMessage", Class::Queue, end, request.send()).await;
        let answer = answer.map_err(|trouble| self.lost(name, trouble))?;
        let letter = |message: &aws_sdk_sqs::types::Message| Letter {
            receipt: message.receipt_handle().unwrap_or_default().to_owned(),
            content: messages::parse(message.body().unwrap_or_default()),
        };
        Ok(Some(answer.messages().iter().map(letter).collect()))
    }

    /// Deletes messages by their receipts; how many are gone. Those that are not come again.
    pub(crate) async fn delete_letters(&self, receipts: Vec<String>) -> Result<usize, Trouble> {
        let Some(name) = &self.settings.queue else { return Ok(0) };
        let url = self.queue_url(name).await?;
        let mut gone = 0;
        for some in receipts.chunks(MOST as usize) {
            let entries: Vec<_> = some
                .iter()
                .enumerate()
                .filter_map(|(n, receipt)| {
                    let entry = DeleteMessageBatchRequestEntry::builder();
                    entry.id(n.to_string()).receipt_handle(receipt).build().ok()
                })
                .collect();
            let request = || {
                let request = self.sqs.delete_message_batch().queue_url(&url);
                request.set_entries(Some(entries.clone())).send()
            };
            let answer = self.read("DeleteMessageBatch", Class::Queue, request).await;
            gone += answer.map_err(|trouble| self.lost(name, trouble))?.successful().len();
        }
        Ok(gone)
    }

    /// The queue's address, looked up once.
    async fn queue_url(&self, name: &str) -> Result<String, Trouble> {
        if let Some(url) = self.caches().queue.clone() {
            return Ok(url);
        }
        let request = || self.sqs.get_queue_url().queue_name(name).send();
        let answer = self.read("GetQueueUrl", Class::Queue, request).await;
        let url =
            answer.map_err(|trouble| self.lost(name, trouble))?.queue_url().unwrap_or_default().to_owned();
        self.caches().queue = Some(url.clone());
        Ok(url)
    }

    /// A queue that is not there may be made anew, elsewhere.
    fn lost(&self, name: &str, mut trouble: Trouble) -> Trouble {
        if matches!(trouble.kind, Kind::NotFound | Kind::Denied) {
            self.caches().queue = None;
        }
        trouble.text = format!("queue {name}: {}", trouble.text);
        trouble
    }
}
