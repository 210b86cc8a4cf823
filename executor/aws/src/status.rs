//! What EC2 says of machines that are not well: status checks that fail, and events it has scheduled. The first are on no queue.

use crate::client::Aws;
use crate::errors::Trouble;
use crate::limits::Class;
use aws_sdk_ec2::types as ec2;
use std::collections::BTreeSet;
use stowage_executor::{Message, MessageKind};

/// Machines of a page: EC2's most.
const PAGE: i32 = 1000;
/// What is asked for: filters and their values. A machine that is well is in no answer, so an account of any size is a few pages.
const ASKED: [(&str, &[&str]); 3] = [
    ("instance-status.status", &["impaired"]),
    ("system-status.status", &["impaired"]),
    (
        "event.code",
        &["instance-reboot", "instance-retirement", "instance-stop", "system-maintenance", "system-reboot"],
    ),
];
/// What the description of an event that is over begins with.
const OVER: [&str; 2] = ["[Completed]", "[Canceled]"];

impl Aws {
    /// Machines of the account whose status checks fail, and those with scheduled events, with their times; each once.
    pub(crate) async fn unwell(&self) -> Result<Vec<Message>, Trouble> {
        let mut found: BTreeSet<(MessageKind, String, Option<i64>)> = BTreeSet::new();
        for (name, values) in ASKED {
            let filter = ec2::Filter::builder().name(name);
            let filter = values.iter().fold(filter, |filter, value| filter.values(*value)).build();
            let mut next: Option<String> = None;
            loop {
                let page = self
                    .read("DescribeInstanceStatus", Class::Read, || {
                        let request = self.ec2.describe_instance_status();
                        let request = request.filters(filter.clone()).max_results(PAGE);
                        request.set_next_token(next.clone()).send()
                    })
                    .await?;
                found.extend(page.instance_statuses().iter().flat_map(said));
                next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
                if next.is_none() {
                    break;
                }
            }
        }
        let message =
            |(kind, instance, deadline)| Message { kind, instances: vec![instance], deadline, at: None };
        Ok(found.into_iter().map(message).collect())
    }
}

/// What a machine's status says: kind, machine, time.
fn said(status: &ec2::InstanceStatus) -> Vec<(MessageKind, String, Option<i64>)> {
    let Some(id) = status.instance_id() else { return Vec::new() };
    let impaired = |summary: Option<&ec2::InstanceStatusSummary>| {
        summary.and_then(|one| one.status()) == Some(&ec2::SummaryStatus::Impaired)
    };
    let mut found = Vec::new();
    if impaired(status.instance_status()) || impaired(status.system_status()) {
        found.push((MessageKind::StatusFailure, id.to_owned(), None));
    }
    for event in status.events() {
        let description = event.description().unwrap_or_default();
        if OVER.iter().any(|word| description.starts_with(word)) {
            continue;
        }
        let start = event.not_before().map(aws_sdk_ec2::primitives::DateTime::secs);
        found.push((MessageKind::ScheduledChange, id.to_owned(), start));
    }
    found
}
