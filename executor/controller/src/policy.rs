//! The cluster's PlanPolicy: what is in force.

use crate::act::Ports;
use crate::consolidating;
use crate::run::Options;
use crate::telling::cut;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use stowage_api::{PlanPolicy, PlanPolicySpec};
use stowage_executor::Mode;
use stowage_models::schedule;
use stowage_models::units::{Ppm, UsdMicros};

/// The one that counts.
pub(crate) const NAME: &str = "default";
/// A plan may take no longer, in seconds: pods wait for it.
const LIMIT_MAX: i64 = 60;

/// Modes by name.
const MODES: [(&str, Mode); 3] = [("shadow", Mode::Shadow), ("review", Mode::Review), ("auto", Mode::Auto)];

/// The name of a mode.
pub(crate) fn word(mode: Mode) -> &'static str {
    MODES.iter().find(|(_, one)| *one == mode).map_or("", |(word, _)| word)
}

/// An amount such as `2.50`, exactly.
pub(crate) fn dollars(text: &str) -> Option<UsdMicros> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) || text.ends_with('.') {
        return None;
    }
    let micros: i64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros).map(UsdMicros)
}

/// On the policy: stops everything, whatever its spec says; unless the value is `false`.
const STOP: &str = "stowage.dev/stop";

/// Whether a PlanPolicy asks for everything to stop. Nothing else of it needs to be right for that.
pub(crate) fn asks_for_stop(policy: &Value) -> bool {
    let noted = policy["metadata"]["annotations"][STOP].as_str();
    policy["spec"]["stop"] == true || noted.is_some_and(|value| value != "false")
}

/// What the PlanPolicy makes of the options the controller was started with, and what cannot be honoured.
pub(crate) fn in_force(started: &Options, object: Option<&str>) -> (Options, Result<(), String>) {
    let Some(text) = object else { return (started.clone(), Ok(())) };
    let mut options = started.clone();
    let outcome = match serde_json::from_str::<PlanPolicy>(text) {
        Ok(found) => apply(&mut options, &found.spec),
        Err(error) => Err(format!("it cannot be read: {error}")),
    };
    if outcome.is_err() {
        // Half of a policy is none: nothing is done until somebody has mended it.
        options = started.clone();
        options.settings.mode = Mode::Shadow;
    }
    options.settings.stop |= serde_json::from_str(text).is_ok_and(|policy| asks_for_stop(&policy));
    (options, outcome)
}

fn apply(options: &mut Options, spec: &PlanPolicySpec) -> Result<(), String> {
    let seconds = |field: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => schedule::duration(text)
            .map(Some)
            .ok_or_else(|| format!("spec.{field}: {text} is no duration; such as 10s or 1m30s")),
    };
    let settings = &mut options.settings;
    if let Some(text) = spec.mode.as_deref() {
        let found = MODES.iter().find(|(word, _)| *word == text);
        let (_, mode) =
            found.ok_or_else(|| format!("spec.mode: there is no mode {text}; use shadow, review or auto"))?;
        if *mode > settings.mode {
            let started = word(settings.mode);
            return Err(format!(
                "spec.mode: {text} is more than --mode {started}, with which the controller was started"
            ));
        }
        settings.mode = *mode;
    }
    if let Some(rules) = &spec.review {
        settings.review.launches = rules.launches.as_deref() != Some("auto");
        settings.review.removals = rules.removals.as_deref() != Some("auto");
        settings.review.forced = rules.forced_removals.as_deref() == Some("approve");
        if let Some(text) = &rules.above_dollars_per_hour {
            let wrong = || format!("spec.review.aboveDollarsPerHour: {text} is no amount; such as \"2.50\"");
            settings.review.above = Some(dollars(text).ok_or_else(wrong)?);
        }
        if let Some(after) = seconds("review.expireAfter", &rules.expire_after)? {
            settings.review.expire_after = after.saturating_mul(1000);
        }
    }
    if let Some(rules) = &spec.consolidation {
        consolidating::apply(options, rules)?;
    }
    let settings = &mut options.settings;
    settings.stop = spec.stop.unwrap_or(settings.stop);
    settings.steer = spec.steer_pods.unwrap_or(settings.steer);
    if let Some(idle) = seconds("batchIdleDuration", &spec.batch_idle_duration)? {
        settings.batch_idle = idle.saturating_mul(1000);
    }
    if let Some(most) = seconds("batchMaxDuration", &spec.batch_max_duration)? {
        settings.batch_max = most.saturating_mul(1000);
    }
    if let Some(limit) = seconds("timeLimit", &spec.time_limit)? {
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(format!("spec.timeLimit: {limit} s; between 1 s and {LIMIT_MAX} s are possible"));
        }
        options.plan_time = Duration::from_secs(limit.unsigned_abs());
    }
    if let Some(zones) = &spec.unavailable_zones {
        options.unavailable_zones = zones.iter().cloned().collect();
    }
    options.policy.gap = spec.gap_ppm.map_or(options.policy.gap, Ppm);
    options.policy.slack = spec.slack_ppm.map_or(options.policy.slack, Ppm);
    options.policy.spot_share_max = spec.spot_share_max_ppm.map(Ppm).or(options.policy.spot_share_max);
    Ok(())
}

/// Bytes of what is degraded that a condition shows.
const MESSAGE_MAX: usize = 1000;

/// Writes into the policy's status whether it is in force, and what does not work though the rest does.
pub(crate) async fn tell(ports: &Ports, object: &str, outcome: &Result<(), String>, degraded: &[String]) {
    let old: Value = serde_json::from_str(object).unwrap_or_default();
    let (status, reason, message) = match outcome {
        Ok(()) => ("True", "InForce", ""),
        Err(why) => ("False", "Refused", why.as_str()),
    };
    let before = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let stopped = match asks_for_stop(&old) {
        true => (
            "True",
            "Asked",
            "nothing is launched and nothing ends; machines launched before still become nodes",
        ),
        false => ("False", "NotAsked", ""),
    };
    let lacks = degraded.join("; ");
    let degraded = match degraded {
        [] => ("False", "AllWorks", ""),
        _ => ("True", "Degraded", cut(&lacks, MESSAGE_MAX)),
    };
    let generation = &old["metadata"]["generation"];
    let mut changed = false;
    let mut condition = |kind: &str, (status, reason, message): (&str, &str, &str)| {
        let before = before.iter().find(|one| one["type"] == kind);
        changed |= !before.is_some_and(|one| {
            one["status"] == status && one["message"] == message && one["observedGeneration"] == *generation
        });
        let since = before.filter(|one| one["status"] == status).map(|one| one["lastTransitionTime"].clone());
        json!({
            "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation,
            "lastTransitionTime": since.unwrap_or_else(|| Timestamp::now().to_string().into()),
        })
    };
    let conditions = [
        condition("Ready", (status, reason, message)),
        condition("Stopped", stopped),
        condition("Degraded", degraded),
    ];
    if !changed {
        return;
    }
    let api: Api<PlanPolicy> = Api::all(ports.client.clone());
    let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    let params = PatchParams::default();
    if let Err(error) = ports.leadership.write(api.patch_status(NAME, &params, &patch)).await {
        tracing::warn!(planpolicy = NAME, error, "its status is not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_executor::Settings;
    use stowage_models::catalog::Catalog;
    use stowage_models::plan::Policy;

    fn started(mode: Mode) -> Options {
        let catalog = Catalog { types: Vec::new(), ..Catalog::embedded().clone() };
        Options { catalog, threads: 1, ..Options::new(Settings { mode, ..Settings::default() }) }
    }

    /// The API server fills in what the definition says.
    #[test]
    fn what_is_left_out_is_what_the_controller_is_started_with() {
        let definitions = stowage_api::definitions().expect("definitions");
        let ours = definitions.iter().find(|one| one.spec.names.kind == "PlanPolicy").expect("PlanPolicy");
        let schema = serde_json::to_value(&ours.spec.versions[0].schema).expect("a schema");
        let fields =
            schema["openAPIV3Schema"]["properties"]["spec"]["properties"].as_object().expect("fields");
        let defaults = fields.iter().filter(|(_, field)| !field["default"].is_null());
        let defaults: Vec<_> =
            defaults.map(|(name, field)| (name.clone(), field["default"].clone())).collect();
        assert!(defaults.len() >= 6, "{defaults:?}");
        let auto = started(Mode::Auto);
        let (options, outcome) =
            in_force(&auto, Some(&policy(Value::Object(defaults.into_iter().collect()))));
        assert_eq!(outcome, Ok(()));
        assert_eq!(
            (options.settings, options.policy, options.plan_time),
            (auto.settings, auto.policy, auto.plan_time)
        );
    }

    fn policy(spec: Value) -> String {
        let kind = json!({ "apiVersion": "stowage.dev/v1alpha1", "kind": "PlanPolicy", "metadata": { "name": NAME } });
        let mut object = kind;
        object["spec"] = spec;
        object.to_string()
    }

    #[test]
    fn what_is_said_counts_and_the_rest_stays() {
        let auto = started(Mode::Auto);
        let (options, outcome) = in_force(&auto, None);
        assert_eq!((options.settings, outcome), (auto.settings.clone(), Ok(())));
        let spec = json!({ "gapPpm": 5, "slackPpm": 7, "batchIdleDuration": "3s", "batchMaxDuration": "1m", "timeLimit": "9s",
            "steerPods": false });
        let (options, outcome) = in_force(&auto, Some(&policy(spec)));
        assert_eq!(outcome, Ok(()));
        assert_eq!((options.policy.gap, options.policy.slack), (Ppm(5), Ppm(7)));
        assert_eq!((options.settings.batch_idle, options.settings.batch_max), (3_000, 60_000));
        assert_eq!((options.plan_time, options.settings.steer), (Duration::from_secs(9), false));
        assert_eq!(options.settings.mode, Mode::Auto);
        let (options, _) = in_force(&auto, Some(&policy(json!({ "mode": "shadow", "stop": true }))));
        assert_eq!((options.settings.mode, options.settings.stop), (Mode::Shadow, true));
    }

    #[test]
    fn what_needs_approval_is_as_the_policy_says() {
        let rules = |review: Value| {
            let (options, outcome) =
                in_force(&started(Mode::Auto), Some(&policy(json!({ "mode": "review", "review": review }))));
            assert_eq!(outcome, Ok(()));
            options.settings
        };
        let all = rules(json!({}));
        assert!(all.launches_need_approval(UsdMicros(1)) && all.review.expire_after == 900_000);
        assert!(!rules(json!({ "launches": "auto" })).launches_need_approval(UsdMicros(i64::MAX)));
        let dear = rules(json!({ "aboveDollarsPerHour": "2.5", "expireAfter": "1h" }));
        assert!(
            dear.launches_need_approval(UsdMicros(2_500_001))
                && !dear.launches_need_approval(UsdMicros(2_500_000))
        );
        assert_eq!(dear.review.expire_after, 3_600_000);
        let (options, _) = in_force(&started(Mode::Auto), Some(&policy(json!({ "mode": "auto" }))));
        assert!(!options.settings.launches_need_approval(UsdMicros(i64::MAX)), "nothing does in auto");
        for (text, amount) in [
            ("0", Some(0)),
            ("12.000001", Some(12_000_001)),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("-1", None),
            ("99999999999999", None),
        ] {
            assert_eq!(dollars(text), amount.map(UsdMicros), "{text}");
        }
    }

    #[test]
    fn a_stop_needs_nothing_else_to_be_right() {
        let noted = |value: &str, spec: Value| {
            let mut object: Value = serde_json::from_str(&policy(spec)).expect("an object");
            object["metadata"]["annotations"] = json!({ STOP: value });
            in_force(&started(Mode::Auto), Some(&object.to_string())).0.settings.stop
        };
        assert!(
            noted("true", json!({})) && noted("", json!({})) && noted("incident 7", json!({ "stop": false }))
        );
        assert!(!noted("false", json!({})) && noted("false", json!({ "stop": true })));
        assert!(
            noted("true", json!({ "gapPpm": "x" })) && noted("false", json!({ "gapPpm": "x", "stop": true }))
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_said_and_nothing_is_launched() {
        for (mode, spec, word) in [
            (Mode::Shadow, json!({ "mode": "auto" }), "--mode shadow"),
            (Mode::Shadow, json!({ "mode": "review" }), "--mode shadow"),
            (Mode::Review, json!({ "mode": "auto" }), "--mode review"),
            (Mode::Auto, json!({ "review": { "aboveDollarsPerHour": "2,5" } }), "aboveDollarsPerHour"),
            (Mode::Auto, json!({ "batchIdleDuration": "soon" }), "batchIdleDuration"),
            (Mode::Auto, json!({ "timeLimit": "2h", "gapPpm": 1 }), "timeLimit"),
            (Mode::Auto, json!({ "gapPpm": "x" }), "cannot be read"),
        ] {
            let (options, outcome) = in_force(&started(mode), Some(&policy(spec)));
            assert!(outcome.is_err_and(|text| text.contains(word)), "{word}");
            assert_eq!(
                (options.settings.mode, options.policy.gap),
                (Mode::Shadow, Policy::default().gap),
                "{word}"
            );
        }
    }
}
