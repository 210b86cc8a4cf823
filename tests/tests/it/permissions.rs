//! Goal: the IAM policy that is handed out allows every call to AWS that the code makes, and nothing beyond what these calls need. Method: the calls
//! are read off the source of `executor/aws`. (That AWS sees it the same way is for AWS to show: no account is reachable from tests.)

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Actions that no call names, and which call needs them.
const IMPLIED: [(&str, &str); 3] = [
    // A fleet of type instant runs instances, with the tags and the role its templates say.
    ("ec2:RunInstances", "ec2:CreateFleet"),
    ("ec2:CreateTags", "ec2:CreateFleet"),
    ("iam:PassRole", "ec2:CreateFleet"),
];

/// Clients, and what actions of their services begin with.
const CLIENTS: [(&str, &str); 5] =
    [("ec2", "ec2"), ("ssm", "ssm"), ("sqs", "sqs"), ("pricing", "pricing"), ("arc", "arc-zonal-shift")];

/// Calls that another action allows.
const NAMED: [(&str, &str); 1] = [("sqs:DeleteMessageBatch", "sqs:DeleteMessage")];

/// Actions of calls such as `self.ec2.create_fleet()`.
fn called() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(stowage_tests::root().join("executor/aws/src")).expect("the source") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
        let text: String = text.split_whitespace().collect();
        for (client, service) in CLIENTS {
            for rest in text.split(&format!("self.{client}.")).skip(1) {
                let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let words = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
                let call = format!("{service}:{}", words.collect::<String>());
                let named = NAMED.iter().find(|(name, _)| *name == call);
                found.insert(named.map_or(call, |(_, action)| (*action).to_owned()));
            }
        }
    }
    found
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        other => {
            other.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        }
    }
}

fn statements() -> Vec<Value> {
    let path = stowage_tests::root().join("charts/stowage/iam/policy.json");
    let policy: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the policy")).expect("JSON");
    policy["Statement"].as_array().expect("statements").clone()
}

#[test]
fn every_call_is_allowed_and_nothing_else() {
    let called = called();
    assert!(called.len() >= 12 && called.contains("ec2:CreateFleet"), "calls are found: {called:?}");
    let implied: BTreeMap<&str, &str> = IMPLIED.into();
    let allowed: BTreeSet<String> = statements().iter().flat_map(|one| strings(&one["Action"])).collect();
    let missing: Vec<_> = called.difference(&allowed).collect();
    assert!(missing.is_empty(), "called, and not in charts/stowage/iam/policy.json: {missing:?}");
    let needless = |action: &&String| match implied.get(action.as_str()) {
        Some(by) => !called.contains(*by),
        None => !called.contains(*action),
    };
    let needless: Vec<_> = allowed.iter().filter(needless).collect();
    assert!(needless.is_empty(), "allowed, and not called: {needless:?}");
}

#[test]
fn what_changes_something_is_fenced() {
    for one in statements() {
        let actions = strings(&one["Action"]);
        assert!(actions.iter().all(|action| !action.contains('*')), "{actions:?}");
        let reads =
            |action: &String| ["Describe", "Get"].iter().any(|word| action.contains(&format!(":{word}")));
        if actions.iter().all(reads) {
            continue;
        }
        assert!(strings(&one["Resource"]).iter().all(|resource| resource != "*"), "{one}");
        // What exists may be used; what is made, tagged or ended is this cluster's.
        let conditions = one["Condition"].to_string();
        let sid = one["Sid"].as_str().unwrap_or_default();
        let fenced = conditions.contains("stowage.dev/cluster") || conditions.contains("iam:PassedToService");
        assert!(
            fenced || ["LaunchFromWhatIsThere", "AskForSpot", "ListenToTheQueue"].contains(&sid),
            "{one}"
        );
    }
}
