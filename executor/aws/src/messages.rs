//! What EventBridge says of machines, in the shapes that AWS documents: a pure parser.
//!
//! EC2: spot interruption warnings, rebalance recommendations, state changes, interruptions of capacity reservations. AWS Health: scheduled
//! changes. Whatever else a rule sends here says nothing; what is no event, or an event without what its kind must have, is malformed.

use jiff::Timestamp;
use serde_json::Value;
use stowage_executor::{Message, MessageKind, Time};

/// From the warning to the end of a spot machine, in seconds (EC2's two minutes).
const WARNING: i64 = 120;
/// Characters of a malformed message that are shown.
const EXCERPT: usize = 200;
/// Longest id that is taken for one.
const ID_MAX: usize = 32;

/// Reads the body of a message.
///
/// # Errors
/// What is wrong with it, and an excerpt.
pub fn parse(body: &str) -> Result<Message, String> {
    read(body).map_err(|wrong| {
        let cut: String = body.chars().take(EXCERPT).collect();
        let more = if cut.len() < body.len() { " ..." } else { "" };
        format!("{wrong}: {cut:?}{more}")
    })
}

fn read(body: &str) -> Result<Message, String> {
    let event: Value = serde_json::from_str(body).map_err(|error| format!("no JSON ({error})"))?;
    let text = |field: &str| event[field].as_str();
    let source = text("source").ok_or("an event without source")?;
    let kind = text("detail-type").ok_or("an event without detail-type")?;
    let at: Option<Timestamp> = text("time").and_then(|time| time.parse().ok());
    let detail = &event["detail"];
    let seconds = at.map(Timestamp::as_second);
    let (kind, deadline) = match (source, kind) {
        ("aws.ec2", "EC2 Spot Instance Interruption Warning") => {
            (MessageKind::SpotInterruption, seconds.map(|at| at.saturating_add(WARNING)))
        }
        ("aws.ec2", "EC2 Instance Rebalance Recommendation") => (MessageKind::RebalanceRecommendation, None),
        ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning") => {
            let end = detail["instance-termination-time"].as_str().and_then(|time| time.parse().ok());
            (MessageKind::ReservationInterruption, end.map(Timestamp::as_second))
        }
        ("aws.ec2", "EC2 Instance State-change Notification") => {
            let state = detail["state"].as_str().ok_or("a state change without state")?;
            match state.to_ascii_lowercase().as_str() {
                // The machine is going already.
                "stopping" | "stopped" => (MessageKind::Stopping, seconds),
                "shutting-down" | "terminated" => (MessageKind::Terminating, seconds),
                _ => (MessageKind::Other, None),
            }
        }
        ("aws.health", "AWS Health Event") => health(detail),
        _ => (MessageKind::Other, None),
    };
    let instances = match kind {
        MessageKind::Other => Vec::new(),
        MessageKind::ScheduledChange => {
            let entities = detail["affectedEntities"].as_array().into_iter().flatten();
            entities.filter_map(|one| id(&one["entityValue"])).collect()
        }
        _ => vec![id(&detail["instance-id"]).ok_or("an event without the id of an instance")?],
    };
    Ok(Message { kind, instances, deadline, at: at.map(|at| Time(at.as_millisecond())) })
}

/// A scheduled change of machines that is not over, and when it begins.
fn health(detail: &Value) -> (MessageKind, Option<i64>) {
    let is = |field: &str, wanted: &str| {
        detail[field].as_str().is_some_and(|one| one.eq_ignore_ascii_case(wanted))
    };
    if !is("service", "EC2") || !is("eventTypeCategory", "scheduledChange") || is("statusCode", "closed") {
        return (MessageKind::Other, None);
    }
    // `Sat, 05 Jun 2021 15:10:09 GMT`, or RFC 3339.
    let time = detail["startTime"].as_str().and_then(|text| {
        let mail = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
        mail.or_else(|| text.parse().ok())
    });
    (MessageKind::ScheduledChange, time.map(Timestamp::as_second))
}

/// The id of an instance; volumes and others have other prefixes.
fn id(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let rest = text.strip_prefix("i-")?;
    let good =
        !rest.is_empty() && text.len() <= ID_MAX && rest.bytes().all(|one| one.is_ascii_alphanumeric());
    good.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: i64 = 1_795_320_000;

    fn event(source: &str, kind: &str, detail: Value) -> Value {
        json!({
            "version": "0", "id": "1", "detail-type": kind, "source": source, "account": "111122223333",
            "time": "2026-11-22T04:00:00Z", "region": "us-east-1", "resources": [], "detail": detail,
        })
    }

    fn read(event: &Value) -> (MessageKind, Vec<String>, Option<i64>) {
        let message = parse(&event.to_string()).expect("a message");
        assert_eq!(message.at, Some(Time(NOW * 1000)));
        (message.kind, message.instances, message.deadline)
    }

    #[test]
    fn the_documented_shapes() {
        let one = || vec!["i-0123456789abcdef0".to_owned()];
        let of = |kind: &str, detail: Value| read(&event("aws.ec2", kind, detail));
        let id = "i-0123456789abcdef0";
        assert_eq!(
            of(
                "EC2 Spot Instance Interruption Warning",
                json!({ "instance-id": id, "instance-action": "terminate" })
            ),
            (MessageKind::SpotInterruption, one(), Some(NOW + 120))
        );
        assert_eq!(
            of("EC2 Instance Rebalance Recommendation", json!({ "instance-id": id })),
            (MessageKind::RebalanceRecommendation, one(), None)
        );
        for (state, kind) in [
            ("stopping", MessageKind::Stopping),
            ("stopped", MessageKind::Stopping),
            ("shutting-down", MessageKind::Terminating),
            ("TERMINATED", MessageKind::Terminating),
        ] {
            let read =
                of("EC2 Instance State-change Notification", json!({ "instance-id": id, "state": state }));
            assert_eq!(read, (kind, one(), Some(NOW)), "{state}");
        }
        let running =
            of("EC2 Instance State-change Notification", json!({ "instance-id": id, "state": "running" }));
        assert_eq!(running, (MessageKind::Other, Vec::new(), None));
        let reservation = json!({
            "instance-id": id, "instance-action": "terminate", "instance-termination-time": "2026-11-22T04:02:00Z",
        });
        assert_eq!(
            of("EC2 Capacity Reservation Instance Interruption Warning", reservation),
            (MessageKind::ReservationInterruption, one(), Some(NOW + 120))
        );
        let health = |service: &str, category: &str, status: &str| {
            read(&event(
                "aws.health",
                "AWS Health Event",
                json!({
                    "service": service, "eventTypeCategory": category, "statusCode": status,
                    "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
                    "startTime": "Sun, 22 Nov 2026 06:00:00 GMT",
                    "affectedEntities": [{ "entityValue": id }, { "entityValue": "vol-1" }, { "entityValue": "i-2" }],
                }),
            ))
        };
        let both = vec![id.to_owned(), "i-2".to_owned()];
        assert_eq!(
            health("EC2", "scheduledChange", "open"),
            (MessageKind::ScheduledChange, both, Some(NOW + 7200))
        );
        for (service, category, status) in [
            ("RDS", "scheduledChange", "open"),
            ("EC2", "issue", "open"),
            ("EC2", "scheduledChange", "closed"),
        ] {
            assert_eq!(health(service, category, status).0, MessageKind::Other);
        }
        assert_eq!(of("EC2 Something New", json!({})).0, MessageKind::Other);
    }

    #[test]
    fn what_is_malformed_is_said_with_an_excerpt() {
        let warning = "EC2 Spot Instance Interruption Warning";
        for (body, wanted) in [
            ("", "no JSON"),
            ("nonsense", "nonsense"),
            ("[1]", "without source"),
            (r#"{"source":"aws.ec2"}"#, "without detail-type"),
            (&event("aws.ec2", warning, json!({})).to_string(), "without the id"),
            (&event("aws.ec2", warning, json!({ "instance-id": "vol-1" })).to_string(), "without the id"),
            (
                &event("aws.ec2", "EC2 Instance State-change Notification", json!({})).to_string(),
                "without state",
            ),
        ] {
            let error = parse(body).expect_err(body);
            assert!(error.contains(wanted), "{error}");
        }
        let long = parse(&"ü".repeat(5000)).expect_err("no JSON");
        assert!(long.len() < 1000 && long.ends_with(" ..."), "{long}");
        assert!(
            !parse("\u{1b}[31m\n").expect_err("no JSON").contains(['\u{1b}', '\n']),
            "nothing that a terminal obeys"
        );
    }

    /// JSON of the shapes above, with anything anywhere.
    fn almost() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,5}".prop_map(Value::from),
            Just(json!("i-0123")),
            Just(json!("scheduledChange")),
            Just(json!("EC2")),
            Just(json!("9999-12-31T23:59:59Z")),
        ];
        let inner = prop::collection::btree_map(
            prop::sample::select(vec![
                "instance-id",
                "state",
                "service",
                "eventTypeCategory",
                "startTime",
                "affectedEntities",
                "instance-termination-time",
            ]),
            prop_oneof![leaf.clone(), prop::collection::vec(leaf.clone(), 0..3).prop_map(Value::from)],
            0..6,
        );
        let names = prop::sample::select(vec![
            "EC2 Spot Instance Interruption Warning",
            "EC2 Instance Rebalance Recommendation",
            "EC2 Capacity Reservation Instance Interruption Warning",
            "EC2 Instance State-change Notification",
            "AWS Health Event",
            "x",
        ]);
        let times = prop::sample::select(vec![
            "2026-11-22T04:00:00Z",
            "9999-12-30T22:00:00Z",
            "-009999-01-02T00:00:00Z",
            "x",
        ]);
        (prop::sample::select(vec!["aws.ec2", "aws.health"]), names, inner, times).prop_map(|(source, name, detail, time)| {
            json!({ "source": source, "detail-type": name, "time": time, "detail": detail })
        })
    }

    proptest! {
        /// Any bytes are read or refused, never worse.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes);
            let refused = parse(&text).expect_err("no event");
            prop_assert!(refused.len() < 4000);
        }

        /// So is what looks like an event, and what is read names machines unless it says nothing.
        #[test]
        fn almost_events(event in almost()) {
            if let Ok(message) = parse(&event.to_string()) {
                let silent = matches!(message.kind, MessageKind::Other | MessageKind::ScheduledChange);
                prop_assert!(silent || message.instances == ["i-0123"]);
                prop_assert!(message.instances.iter().all(|id| id.starts_with("i-")));
            }
        }
    }
}
