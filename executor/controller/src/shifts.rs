//! Zonal shifts: zones that the cluster's traffic is moved away from, by people or by AWS. The cloud is asked for them while this process leads.
//!
//! Such a zone is closed to launches like one that the PlanPolicy takes out, and no node in it goes that need not ([`crate::closing`]). The cloud
//! names zones by their ids, which subnets of node classes translate: the status of each class has both ([`crate::classes`]), so that nothing
//! else is asked, and a zone in which no class has a subnet is none in which anything could be launched.

use crate::act::Ports;
use crate::closing::{self, Zones};
use crate::events::{About, Weight};
use crate::health::Health;
use crate::metrics::Family;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stowage_executor::{CloudError, Observation, Shift, Time};
use stowage_models::labels;
use stowage_observe::View;

/// How often the cloud is asked (Karpenter's).
pub(crate) const EVERY: Duration = Duration::from_secs(30);
/// How long the last answer holds while none comes. A zone must not open, and its nodes must not go, because of one call that fails: calls fail
/// most while a zone does. But nobody would notice the end of a shift either, and a zone that is closed for no reason is capacity that pods
/// wait for; by then people have seen that it does not work, and `unavailableZones` closes a zone without asking anybody.
const KEPT: Duration = Duration::from_secs(300);
/// How often it is looked at what has begun and ended.
const LOOK: Duration = Duration::from_millis(200);
/// What is degraded without an answer.
const NAME: &str = "zonal shifts";

const AVAILABLE: Family = Family {
    name: "stowage_zonal_shifts_available",
    help: "1 if the cloud says which zones are shifted away.",
};
const SHIFTED: Family =
    Family { name: "stowage_zone_shifted", help: "1 for each zone that the cluster is shifted away from." };

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Shifts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether the cloud is to be asked at all.
    wanted: bool,
    /// Whether it has been, since this process leads, whatever came of it.
    asked: bool,
    /// The last answer, and when it came.
    answer: Option<(Instant, Vec<Shift>)>,
    /// Names of zones by their ids, as long as this process lives: they never change.
    names: BTreeMap<String, String>,
}

impl Known {
    /// An answer, or none.
    fn hear(&mut self, outcome: &Result<Vec<Shift>, CloudError>, now: Instant) {
        self.asked = true;
        if let Ok(shifts) = outcome {
            self.answer = Some((now, shifts.clone()));
        }
    }

    /// What others see meanwhile they know better.
    fn forget(&mut self) {
        (self.asked, self.answer) = (false, None);
    }

    /// Ids of zones that are shifted away now.
    fn ids(&self, now: Instant, time: Time) -> BTreeSet<&str> {
        let held = self.answer.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) < KEPT);
        let shifts = held.into_iter().flat_map(|(_, shifts)| shifts);
        let lasting = shifts.filter(|one| one.ends.is_none_or(|end| end > time));
        lasting.map(|one| one.zone_id.as_str()).collect()
    }

    /// Learns the names of zones from the status of a node class.
    fn learn(&mut self, class: &Value) {
        for subnet in class["status"]["subnets"].as_array().into_iter().flatten() {
            if let (Some(zone), Some(id)) = (subnet["zone"].as_str(), subnet["zoneID"].as_str())
                && !id.is_empty()
            {
                self.names.insert(id.to_owned(), zone.to_owned());
            }
        }
    }

    /// Zones that are shifted away now, as far as the cluster has anything to do with them.
    fn zones(&self, now: Instant, time: Time) -> Zones {
        let named = |id: &str| Some((self.names.get(id)?.clone(), id.to_owned()));
        self.ids(now, time).into_iter().filter_map(named).collect()
    }
}

impl Shifts {
    pub(crate) fn new(wanted: bool) -> Shifts {
        Shifts(Mutex::new(Known { wanted, ..Known::default() }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Zones that the cluster is shifted away from now.
    ///
    /// # Errors
    /// If the cloud is to be asked and has not been: whoever has just begun to lead would launch into a zone that others had closed.
    pub(crate) fn zones(&self, view: &View) -> Result<Zones, String> {
        let (now, time) = (Instant::now(), Time(Timestamp::now().as_millisecond()));
        {
            let known = self.known();
            if known.wanted && !known.asked {
                return Err("it has not been asked yet which zones are shifted away".to_owned());
            }
            // Classes are read for names that nobody knows yet, and this is asked several times a second.
            if known.ids(now, time).iter().all(|id| known.names.contains_key(*id)) {
                return Ok(known.zones(now, time));
            }
        }
        let mut classes = Vec::new();
        view.each("ec2nodeclasses", |_, text| classes.extend(serde_json::from_str::<Value>(text)));
        let mut known = self.known();
        classes.iter().for_each(|class| known.learn(class));
        Ok(known.zones(now, time))
    }

    /// What of it the executor has to know.
    pub(crate) fn see(&self, view: &View, seen: &mut Observation) {
        if let Ok(zones) = self.zones(view) {
            mark(seen, &zones);
        }
    }
}

/// Pods that can go nowhere are worth another look when a zone closes or opens. And nodes of static pools, which no plan removes, are not
/// replaced there for what they have drifted from.
fn mark(seen: &mut Observation, zones: &Zones) {
    for name in zones.keys() {
        seen.inputs.push_str(&format!(" without {name}"));
    }
    let there = seen.nodes.values().filter(|node| closing::is_in(&node.labels, zones).is_some());
    let there: BTreeSet<&String> = there.filter_map(|node| node.instance.as_ref()).collect();
    for claim in seen.claims.values_mut() {
        claim.drifted &= !claim.instance.as_ref().is_some_and(|instance| there.contains(instance));
    }
}

/// Asks until it is dropped; returns if the cloud is not to be asked.
pub(crate) async fn watch(ports: Arc<Ports>, view: Arc<View>, health: Health, every: Duration) {
    let mut due = Instant::now();
    let (mut told, mut unknown) = (Zones::new(), BTreeSet::new());
    loop {
        let Some(asking) = ports.cloud.shifts() else { return };
        if ports.leadership.epoch().is_none() {
            ports.shifts.known().forget();
            health.degrade(NAME, None);
            (due, told) = (Instant::now(), Zones::new());
            tokio::time::sleep(LOOK).await;
            continue;
        }
        if Instant::now() >= due {
            due = Instant::now() + every;
            let outcome = asking.await;
            ports.shifts.known().hear(&outcome, Instant::now());
            ports.metrics.set(AVAILABLE, &[], if outcome.is_ok() { 1_000_000 } else { 0 });
            let error = outcome.err().map(|error| error.0);
            if health.degrade(NAME, error.as_deref()) {
                match error {
                    None => tracing::info!("the cloud says which zones are shifted away"),
                    Some(error) => tracing::warn!(error, "which zones are shifted away is not known"),
                }
            }
        }
        let zones = ports.shifts.zones(&view).unwrap_or_default();
        let shown = zones.keys().map(|zone| (vec![("zone", zone.as_str())], 1_000_000)).collect();
        ports.metrics.set_all(SHIFTED, shown);
        let news = nameless(&ports.shifts.known(), &unknown);
        for id in news {
            tracing::info!(zone = id, "shifted away, and no node class has a subnet there");
            unknown.insert(id);
        }
        // What is told to nobody is told later.
        if ports.events.is_acting() && view.freshness().is_good() && zones != told {
            tell(&ports, &view, &told, &zones);
            told = zones;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Ids of the last answer that nobody knows a name of, but for those said already.
fn nameless(known: &Known, said: &BTreeSet<String>) -> Vec<String> {
    let shifts = known.answer.iter().flat_map(|(_, shifts)| shifts).map(|one| &one.zone_id);
    shifts.filter(|id| !known.names.contains_key(*id) && !said.contains(*id)).cloned().collect()
}

/// Tells what has begun and what is over, to the NodePools it is about, under Karpenter's reasons.
fn tell(ports: &Ports, view: &View, before: &Zones, after: &Zones) {
    let object = |plural: &str, name: &str| {
        view.object(plural, name).and_then(|text| serde_json::from_str(&text).ok())
    };
    for name in view.names("nodepools") {
        let Some(pool): Option<Value> = object("nodepools", &name) else { continue };
        let class = pool["spec"]["template"]["spec"]["nodeClassRef"]["name"].as_str().unwrap_or_default();
        let class: Value = object("ec2nodeclasses", class).unwrap_or_default();
        let uid = pool["metadata"]["uid"].as_str().unwrap_or_default();
        let tell = |zone: (&String, &String), weight, reason, what: &str| {
            if is_about(&pool, &class, zone) {
                let note = format!("Zone {} ({}) {what}", zone.0, zone.1);
                ports.events.tell(About::pool(&name, uid), weight, reason, &note);
            }
        };
        for zone in after.iter().filter(|(zone, _)| !before.contains_key(*zone)) {
            let what = "is shifted away: nothing is launched there, and its nodes stay";
            tell(zone, Weight::Warning, "ZonalShiftActive", what);
        }
        for zone in before.iter().filter(|(zone, _)| !after.contains_key(*zone)) {
            let what = "is not known to be shifted away any more: it is open to launches again";
            tell(zone, Weight::Normal, "ZonalShiftCleared", what);
        }
    }
    let names = |zones: &Zones| zones.keys().cloned().collect::<Vec<_>>().join(", ");
    tracing::warn!(before = names(before), now = names(after), "zones that the cluster is shifted away from");
}

/// Whether a NodePool could launch in a zone: its class has a subnet there, and its requirements do not rule the zone out.
fn is_about(pool: &Value, class: &Value, (zone, id): (&String, &String)) -> bool {
    let subnets = class["status"]["subnets"].as_array();
    let has_subnet = subnets.into_iter().flatten().any(|subnet| subnet["zone"] == zone.as_str());
    let requirements = pool["spec"]["template"]["spec"]["requirements"].as_array();
    has_subnet
        && requirements.into_iter().flatten().all(|one| {
            let value = match one["key"].as_str().map(labels::normalise) {
                Some(labels::ZONE) => zone.as_str(),
                Some(labels::ZONE_ID) => id.as_str(),
                _ => return true,
            };
            let listed = one["values"].as_array().is_some_and(|all| all.iter().any(|each| each == value));
            match one["operator"].as_str() {
                Some("In") => listed,
                Some("NotIn") => !listed,
                _ => true,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use stowage_executor::{Claim, Node};

    fn shift(id: &str, ends: Option<i64>) -> Shift {
        Shift { zone_id: id.to_owned(), ends: ends.map(Time) }
    }

    fn class() -> Value {
        json!({ "status": { "subnets": [
            { "id": "subnet-1", "zone": "us-east-1a", "zoneID": "use1-az1" },
            { "id": "subnet-2", "zone": "us-east-1b", "zoneID": "use1-az2" },
            { "id": "subnet-3", "zone": "us-east-1c" },
            { "id": "subnet-4", "zone": "us-east-1d", "zoneID": "" },
        ] } })
    }

    fn zones(pairs: &[(&str, &str)]) -> Zones {
        pairs.iter().map(|(zone, id)| ((*zone).to_owned(), (*id).to_owned())).collect()
    }

    #[test]
    fn ids_get_the_names_that_subnets_have_and_those_of_elsewhere_none() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.hear(&Ok(vec![shift("use1-az2", None), shift("use1-az6", None), shift("", None)]), now);
        assert_eq!(known.zones(now, Time(0)), Zones::new(), "no class has been seen");
        known.learn(&class());
        assert_eq!(known.zones(now, Time(0)), zones(&[("us-east-1b", "use1-az2")]));
        assert_eq!(nameless(&known, &["".to_owned()].into()), ["use1-az6"]);
        // A class whose subnets cannot be looked up says none; what was learnt stays.
        known.learn(&json!({ "status": { "subnets": [] } }));
        known.learn(&json!({}));
        assert_eq!(known.zones(now, Time(0)).len(), 1);
    }

    #[test]
    fn an_answer_holds_for_a_while_when_no_other_comes_and_then_no_more() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.learn(&class());
        let refused = Err(CloudError("GetManagedResource: AccessDeniedException".to_owned()));
        known.hear(&refused, now);
        assert!(known.asked && known.zones(now, Time(0)).is_empty(), "nothing is known, and nothing waits");
        known.hear(&Ok(vec![shift("use1-az1", None)]), now);
        let away = zones(&[("us-east-1a", "use1-az1")]);
        let late = now + KEPT - Duration::from_secs(1);
        known.hear(&refused, late);
        assert_eq!(known.zones(late, Time(0)), away, "an error is no answer");
        assert_eq!(known.zones(now + KEPT, Time(0)), Zones::new());
        known.hear(&Ok(vec![shift("use1-az1", None)]), late);
        assert_eq!(known.zones(now + KEPT, Time(0)), away, "from the last answer on");
        known.hear(&Ok(Vec::new()), late);
        assert_eq!(known.zones(late, Time(0)), Zones::new(), "none is an answer");
        known.hear(&Ok(vec![shift("use1-az1", None)]), late);
        known.forget();
        assert!(!known.asked && known.zones(late, Time(0)).is_empty());
    }

    #[test]
    fn a_shift_ends_when_it_was_said_to_end_whoever_is_asked() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.learn(&class());
        known.hear(&Ok(vec![shift("use1-az1", Some(1_000)), shift("use1-az2", None)]), now);
        assert_eq!(known.zones(now, Time(999)).len(), 2);
        assert_eq!(known.zones(now, Time(1_000)), zones(&[("us-east-1b", "use1-az2")]));
    }

    #[test]
    fn pools_that_could_not_launch_there_are_not_told() {
        let pool = |requirements: Value| json!({ "spec": { "template": { "spec": { "requirements": requirements } } } });
        let one = |key: &str, operator: &str, values: &[&str]| {
            pool(json!([{ "key": key, "operator": operator, "values": values }]))
        };
        let away = zones(&[("us-east-1a", "use1-az1")]);
        let zone = away.iter().next().expect("a zone");
        for (pool, told) in [
            (json!({}), true),
            (one("karpenter.sh/capacity-type", "In", &["spot"]), true),
            (one(labels::ZONE, "In", &["us-east-1b", "us-east-1a"]), true),
            (one(labels::ZONE, "In", &["us-east-1b"]), false),
            (one(labels::ZONE, "NotIn", &["us-east-1a"]), false),
            (one(labels::ZONE, "Exists", &[]), true),
            (one(labels::ZONE_ID, "In", &["use1-az2"]), false),
            (one("failure-domain.beta.kubernetes.io/zone", "In", &["us-east-1b"]), false),
        ] {
            assert_eq!(is_about(&pool, &class(), zone), told, "{pool}");
        }
        let elsewhere = zones(&[("us-east-1e", "use1-az3")]);
        assert!(!is_about(&json!({}), &class(), elsewhere.iter().next().expect("a zone")), "no subnet");
    }

    #[test]
    fn pods_are_looked_at_again_and_drift_waits_where_a_zone_is_shifted_away() {
        let mut seen = Observation { inputs: "sha256:1".to_owned(), ..Observation::default() };
        for (name, zone) in [("a", "us-east-1a"), ("b", "us-east-1b")] {
            let labels = [(labels::ZONE.to_owned(), zone.to_owned())].into();
            let node = Node { instance: Some(format!("i-{name}")), labels, ..Node::default() };
            seen.nodes.insert(name.to_owned(), node);
            let claim = Claim { instance: Some(format!("i-{name}")), drifted: true, ..Claim::default() };
            seen.claims.insert(name.to_owned(), claim);
        }
        seen.claims.insert("starts".to_owned(), Claim { drifted: true, ..Claim::default() });
        let before = seen.clone();
        mark(&mut seen, &Zones::new());
        assert_eq!(seen, before);
        mark(&mut seen, &zones(&[("us-east-1a", "use1-az1")]));
        assert_ne!(seen.inputs, before.inputs);
        let drifted: Vec<bool> = seen.claims.values().map(|claim| claim.drifted).collect();
        assert_eq!(drifted, [false, true, true]);
    }
}
