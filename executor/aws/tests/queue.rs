//! The real SDK against the fake cloud: the queue with messages about machines.

use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use stowage_aws::{Aws, Settings};
use stowage_executor::{Cloud as _, Letter, MessageKind};
use stowage_fake_cloud::{Effect, FakeCloud, Fault, Script};
use stowage_models::catalog::Catalog;

async fn start(script: Script, queue: Option<&str>) -> (FakeCloud, Aws) {
    let cloud = FakeCloud::start(script).await.expect("a port");
    let settings = Settings {
        region: Some("us-east-1".to_owned()),
        aws_endpoint: Some(cloud.endpoint()),
        fake_credentials: true,
        read_deadline: Duration::from_secs(3),
        queue: queue.map(str::to_owned),
        ..Settings::new("demo", "1.36")
    };
    let aws = Aws::connect(settings, Catalog::embedded().clone()).await;
    (cloud, aws)
}

fn event(kind: &str, detail: serde_json::Value) -> String {
    let time = jiff::Timestamp::now().to_string();
    json!({ "source": "aws.ec2", "detail-type": kind, "time": time, "detail": detail }).to_string()
}

fn interruption(n: usize) -> String {
    event("EC2 Spot Instance Interruption Warning", json!({ "instance-id": format!("i-{n:05}") }))
}

async fn letters(aws: &Aws, wait: bool) -> Vec<Letter> {
    aws.receive(wait).await.expect("an answer").expect("a queue")
}

#[tokio::test]
async fn a_message_comes_at_once_and_again_until_it_is_dismissed() {
    let (cloud, aws) = start(Script::default(), Some("stowage")).await;
    assert_eq!(letters(&aws, false).await, []);
    let begun = Instant::now();
    let poll = async { letters(&aws, true).await };
    let send = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cloud.with(|world| world.send("stowage", interruption(1)));
        Instant::now()
    };
    let (got, sent) = tokio::join!(poll, send);
    assert!(
        begun.elapsed() < Duration::from_secs(5) && sent.elapsed() < Duration::from_secs(2),
        "a long poll"
    );
    let message = got[0].content.as_ref().expect("a message");
    assert_eq!(
        (message.kind, &message.instances),
        (MessageKind::SpotInterruption, &vec!["i-00001".to_owned()])
    );
    assert_eq!(letters(&aws, false).await, [], "in flight, nobody else gets it");
    assert_eq!(cloud.with(|world| world.messages("stowage")), 1);
    assert_eq!(aws.dismiss(vec![got[0].receipt.clone()]).await, Ok(1));
    assert_eq!(cloud.with(|world| world.messages("stowage")), 0);
}

#[tokio::test]
async fn without_a_queue_nobody_listens_and_one_that_is_away_is_found_again() {
    let (cloud, aws) = start(Script::default(), None).await;
    assert_eq!(aws.receive(true).await, Ok(None));
    assert_eq!(cloud.with(|world| world.calls().len()), 0);
    let (_cloud, aws) = start(Script::default(), Some("other")).await;
    let error = aws.receive(true).await.expect_err("no such queue").0;
    assert!(error.starts_with("queue other: GetQueueUrl") && error.contains("QueueDoesNotExist"), "{error}");
    // Denied for a while: it is asked for its address again.
    let (cloud, aws) = start(Script::default(), Some("stowage")).await;
    let denied = Effect::Refuse { code: "AccessDenied".to_owned(), status: 403 };
    cloud.with(|world| {
        world.add_fault(Fault { times: 1, ..Fault::new("AmazonSQS.ReceiveMessage", denied) });
        world.send("stowage", interruption(1));
    });
    let error = aws.receive(false).await.expect_err("denied").0;
    assert!(error.contains("AccessDenied"), "{error}");
    assert_eq!(letters(&aws, false).await.len(), 1);
    assert_eq!(cloud.with(|world| world.count("AmazonSQS.GetQueueUrl")), 2);
    // An answer that never comes ends.
    cloud.with(|world| world.add_fault(Fault::new("AmazonSQS.ReceiveMessage", Effect::Hang)));
    let begun = Instant::now();
    assert!(aws.receive(false).await.is_err() && begun.elapsed() < Duration::from_secs(10));
}

/// 15,000 messages: duplicates, malformed ones, in no order. Each comes, and goes when it is dismissed.
#[tokio::test(flavor = "multi_thread")]
async fn fifteen_thousand_messages_are_received_and_dismissed() {
    const ALL: usize = 15_000;
    let (cloud, aws) = start(Script::default(), Some("stowage")).await;
    cloud.with(|world| {
        for n in 0..ALL {
            // 7919 is prime: every number once, in no order to speak of.
            let body = match n * 7919 % ALL {
                n if n % 10 == 0 => "{\"source\": 1".to_owned(),
                n if n % 3 == 0 => event(
                    "EC2 Instance Rebalance Recommendation",
                    json!({ "instance-id": format!("i-{n:05}") }),
                ),
                n => interruption(n % 2000),
            };
            world.send("stowage", body);
        }
    });
    let begun = Instant::now();
    let aws = std::sync::Arc::new(aws);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let aws = aws.clone();
        workers.spawn(async move {
            let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
            loop {
                let got = letters(&aws, false).await;
                if got.is_empty() {
                    return seen;
                }
                for one in &got {
                    let kind = one.content.as_ref().map_or("malformed", |message| message.kind.as_str());
                    *seen.entry(kind).or_default() += 1;
                }
                let receipts: Vec<String> = got.into_iter().map(|one| one.receipt).collect();
                let count = receipts.len();
                assert_eq!(aws.dismiss(receipts).await, Ok(count));
            }
        });
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    while let Some(done) = workers.join_next().await {
        done.expect("a worker").into_iter().for_each(|(kind, count)| *seen.entry(kind).or_default() += count);
    }
    eprintln!("{ALL} messages received and deleted in {:.2} s: {seen:?}", begun.elapsed().as_secs_f64());
    let rebalance = (0..ALL).filter(|n| n % 10 != 0 && n % 3 == 0).count();
    let wanted = [
        ("malformed", ALL / 10),
        ("rebalance_recommendation", rebalance),
        ("spot_interrupted", ALL - ALL / 10 - rebalance),
    ];
    assert_eq!(seen, wanted.into());
    assert_eq!(cloud.with(|world| world.messages("stowage")), 0);
}
