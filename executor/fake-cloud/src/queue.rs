//! SQS: at least once, in any order.

use crate::world::{Refusal, Reply, Then, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// By number, in the order they came.
    messages: BTreeMap<u64, Message>,
    /// From when on a message is shown, and its number.
    shown: BTreeSet<(u64, u64)>,
    sent: u64,
}

#[derive(Clone, Debug)]
struct Message {
    id: String,
    body: String,
    /// Not shown before.
    visible: u64,
    /// Handle of the last receipt: the number, and when.
    handle: String,
}

impl Queue {
    fn send(&mut self, id: String, body: String, visible: u64) {
        self.sent += 1;
        self.shown.insert((visible, self.sent));
        self.messages.insert(self.sent, Message { id, body, visible, handle: String::new() });
    }

    /// Deletes what the last receipt names; an older receipt names nothing.
    fn delete(&mut self, handle: &str) {
        let number = handle.split_once('#').and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number
            && let Some(message) = self.messages.get(&number).filter(|message| message.handle == handle)
        {
            self.shown.remove(&(message.visible, number));
            self.messages.remove(&number);
        }
    }
}

fn no_queue() -> Refusal {
    Refusal::new("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.")
}

/// The name at the end of a queue's URL.
fn name(request: &Value) -> &str {
    request["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default()
}

impl World {
    /// Puts a message into a queue.
    pub fn send(&mut self, queue: &str, body: String) {
        let id = self.id("message");
        let visible = self.now;
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.send(id, body, visible);
        }
    }

    /// Looks once more for a long poll that found nothing: no call of its own.
    pub(crate) fn poll(&mut self, now: u64, body: &str) -> Reply {
        self.advance(now);
        let request: Value = serde_json::from_str(body).unwrap_or_default();
        let answer = self.receive(&request).unwrap_or_else(|_| json!({}));
        Reply { status: 200, body: answer.to_string(), then: Then::Send }
    }

    /// Messages of a queue that were not deleted, those in flight included.
    #[must_use]
    pub fn messages(&self, queue: &str) -> usize {
        self.queues.get(queue).map_or(0, |queue| queue.messages.len())
    }

    pub(crate) fn sqs(&mut self, action: &str, request: &Value) -> Result<Value, Refusal> {
        match action {
            "GetQueueUrl" => {
                let name = request["QueueName"].as_str().unwrap_or_default();
                self.queues.get(name).ok_or_else(no_queue)?;
                Ok(json!({ "QueueUrl": format!("http://127.0.0.1/{}/{name}", self.script.account) }))
            }
            "SendMessage" => {
                let body = request["MessageBody"].as_str().unwrap_or_default().to_owned();
                self.queues.get(name(request)).ok_or_else(no_queue)?;
                self.send(name(request), body);
                Ok(json!({ "MessageId": format!("message-{}", self.ids) }))
            }
            "ReceiveMessage" => self.receive(request),
            "DeleteMessage" => {
                let handle = request["ReceiptHandle"].as_str().unwrap_or_default();
                let queue = self.queues.get_mut(name(request)).ok_or_else(no_queue)?;
                queue.delete(handle);
                Ok(json!({}))
            }
            "DeleteMessageBatch" => {
                let queue = self.queues.get_mut(name(request)).ok_or_else(no_queue)?;
                let mut done = Vec::new();
                for entry in request["Entries"].as_array().into_iter().flatten() {
                    let handle = entry["ReceiptHandle"].as_str().unwrap_or_default();
                    queue.delete(handle);
                    done.push(json!({ "Id": entry["Id"] }));
                }
                Ok(json!({ "Successful": done, "Failed": [] }))
            }
            other => Err(Refusal::new("InvalidAction", format!("SQS {other} is not known here"))),
        }
    }

    fn receive(&mut self, request: &Value) -> Result<Value, Refusal> {
        let now = self.now;
        let most = request["MaxNumberOfMessages"].as_u64().unwrap_or(1).min(10);
        let hide = 1000 * request["VisibilityTimeout"].as_u64().unwrap_or(30);
        let queue = self.queues.get_mut(name(request)).ok_or_else(no_queue)?;
        let mut shown = Vec::new();
        while (shown.len() as u64) < most {
            let Some((visible, number)) = queue.shown.first().copied().filter(|(visible, _)| *visible <= now)
            else {
                break;
            };
            queue.shown.remove(&(visible, number));
            let Some(message) = queue.messages.get_mut(&number) else { continue };
            message.visible = now + hide.max(1);
            message.handle = format!("{number}#{now}");
            queue.shown.insert((message.visible, number));
            shown.push(json!({
                "MessageId": message.id, "ReceiptHandle": message.handle, "Body": message.body,
            }));
        }
        Ok(if shown.is_empty() { json!({}) } else { json!({ "Messages": shown }) })
    }
}
