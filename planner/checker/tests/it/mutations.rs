//! Random damage to plans. Self-contained, so that tests of other crates may include this file by path.
//!
//! A mutation must be refused if it changes what the plan decides or claims ([`claims`]). One that leaves all of that and
//! is accepted is harmless: another proof of the same bound, another note, a missing alternate, two equal pods swapped.

use serde_json::Value;
use std::collections::BTreeMap;
use stowage_checker::check;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Plan;
use stowage_models::random::Random;
use stowage_models::snapshot::Snapshot;

/// What became of the mutations of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Refused, as they should be.
    pub(crate) refused: usize,
    /// No longer a plan document.
    pub(crate) unreadable: usize,
    /// The same plan after all.
    pub(crate) unchanged: usize,
    /// Accepted, with the same decisions, prices and bounds.
    pub(crate) harmless: usize,
    /// Accepted with other claims: a hole in the referee. What was done to the plan.
    pub(crate) holes: Vec<String>,
}

/// Applies `rounds` random mutations, each to the plan as given. With `restamp`, the id is recomputed afterwards.
pub(crate) fn run(
    snapshot: &Snapshot,
    catalog: &Catalog,
    plan: &Plan,
    (rounds, seed, restamp): (usize, u64, bool),
) -> Outcome {
    let original = serde_json::to_value(plan).expect("a plan is JSON");
    let original_claims = claims(snapshot, plan);
    let mut random = Random::new(seed);
    let mut outcome = Outcome::default();
    for _ in 0..rounds {
        let mut mutant = original.clone();
        let what = mutate(&mut mutant, catalog, &mut random);
        let Ok(mut mutant) = serde_json::from_value::<Plan>(mutant) else {
            outcome.unreadable += 1;
            continue;
        };
        if restamp {
            mutant.id = mutant.compute_id();
        }
        if mutant == *plan {
            outcome.unchanged += 1;
        } else if !check(snapshot, catalog, &mutant).is_empty() {
            outcome.refused += 1;
        } else if restamp && claims(snapshot, &mutant) == original_claims {
            outcome.harmless += 1;
        } else {
            outcome.holes.push(what);
        }
    }
    outcome
}

/// What must not change unnoticed: launches but for their alternates, where pods are or why they are nowhere, existing
/// nodes, and every figure. Which of two equal pods is where is no claim: either way is a right plan.
fn claims(snapshot: &Snapshot, plan: &Plan) -> Value {
    let class = |pod: &Value| {
        let spec =
            snapshot.pods.iter().find(|one| Some(one.id().0.as_str()) == pod.as_str()).map(|one| &one.spec);
        spec.map_or_else(|| pod.to_string(), |spec| serde_json::to_string(spec).expect("specs are JSON"))
    };
    let mut launches = plan.launches.clone();
    launches.iter_mut().for_each(|launch| launch.alternates.clear());
    let claims = (launches, &plan.existing, &plan.summary);
    let mut claims = serde_json::to_value(claims).expect("plans are JSON");
    for path in pointers(&claims, &|value| value.get("pods").is_some_and(Value::is_array)) {
        let Some(Value::Array(pods)) = claims.pointer_mut(&path).and_then(|place| place.get_mut("pods"))
        else {
            continue;
        };
        let mut classes: Vec<String> = pods.iter().map(class).collect();
        classes.sort();
        *pods = classes.into_iter().map(Value::from).collect();
    }
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    for (entry, pod) in plan.unplaced.iter().flat_map(|entry| entry.pods.iter().map(move |pod| (entry, pod)))
    {
        let class = class(&Value::from(pod.0.as_str()));
        *left_out.entry(format!("{:?} {class}", entry.reason)).or_default() += 1;
    }
    strip_zeros(&mut claims);
    Value::from(vec![claims, serde_json::to_value(left_out).expect("a map is JSON")])
}

/// An amount of zero in a map is no amount.
fn strip_zeros(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strip_zeros),
        Value::Object(fields) => {
            fields.retain(|_, field| {
                field.as_i64() != Some(0) && field.as_object().is_none_or(|map| !map.is_empty())
            });
            fields.values_mut().for_each(strip_zeros);
        }
        _ => {}
    }
}

/// Damages a plan document once; says how.
pub(crate) fn mutate(plan: &mut Value, catalog: &Catalog, random: &mut Random) -> String {
    match random.index(10) {
        0..=2 => change_leaf(plan, random),
        3 | 4 => change_pods(plan, random),
        5 => change_launch(plan, catalog, random),
        6 | 7 => change_proof(plan, random),
        8 => change_list(plan, random),
        _ => drop_field(plan, random),
    }
}

/// JSON pointers of all values below `value` that satisfy `wanted`.
fn pointers(value: &Value, wanted: &dyn Fn(&Value) -> bool) -> Vec<String> {
    fn walk(value: &Value, path: &str, wanted: &dyn Fn(&Value) -> bool, found: &mut Vec<String>) {
        if wanted(value) {
            found.push(path.to_owned());
        }
        let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
        match value {
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, item)| walk(item, &format!("{path}/{index}"), wanted, found));
            }
            Value::Object(fields) => {
                fields
                    .iter()
                    .for_each(|(key, field)| walk(field, &format!("{path}/{}", escape(key)), wanted, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", wanted, &mut found);
    found
}

/// One of the values that satisfy `wanted`, with its pointer.
fn pick<'v>(
    plan: &'v mut Value,
    random: &mut Random,
    wanted: &dyn Fn(&Value) -> bool,
) -> Option<(String, &'v mut Value)> {
    let mut found = pointers(plan, wanted);
    if found.is_empty() {
        return None;
    }
    let path = found.swap_remove(random.index(found.len()));
    plan.pointer_mut(&path).map(|value| (path, value))
}

/// Flips a digit, replaces a number by an extreme one, or flips a truth.
fn change_leaf(plan: &mut Value, random: &mut Random) -> String {
    let has_digit = |value: &Value| match value {
        Value::Number(_) | Value::Bool(_) => true,
        Value::String(text) => text.bytes().any(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    let Some((path, value)) = pick(plan, random, &has_digit) else {
        return "nothing".into();
    };
    let before = value.clone();
    *value = match value {
        Value::Bool(truth) => Value::Bool(!*truth),
        Value::String(text) => Value::String(flip_digit(text, random)),
        ref number => match random.index(8) {
            0 => [0, -1, i64::MAX, i64::MIN, i64::from(i32::MIN), 1 << 53][random.index(6)].into(),
            1 => number.as_i64().and_then(|one| one.checked_neg()).unwrap_or(1).into(),
            _ => serde_json::from_str(&flip_digit(&number.to_string(), random)).unwrap_or(Value::Null),
        },
    };
    format!("{path}: {before} -> {value}")
}

fn flip_digit(text: &str, random: &mut Random) -> String {
    let digits: Vec<usize> =
        text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()).map(|(at, _)| at).collect();
    let Some(at) = digits.get(random.index(digits.len().max(1))) else {
        return text.to_owned();
    };
    let mut bytes = text.as_bytes().to_vec();
    bytes[*at] = b'0' + (bytes[*at] - b'0' + 1 + random.index(9) as u8) % 10;
    String::from_utf8(bytes).expect("a digit for a digit")
}

/// Swaps, moves, duplicates or drops pods between launches, existing nodes and entries of those left out.
fn change_pods(plan: &mut Value, random: &mut Random) -> String {
    let mut lists = Vec::new();
    for part in ["launches", "existing", "unplaced"] {
        let count = plan[part].as_array().map_or(0, Vec::len);
        lists.extend((0..count).map(|index| format!("/{part}/{index}")));
    }
    if lists.is_empty() {
        return "nothing".into();
    }
    let (from, to) = (lists[random.index(lists.len())].clone(), lists[random.index(lists.len())].clone());
    let take = |plan: &mut Value, place: &str, at: usize| -> Option<Value> {
        let pods = plan.pointer_mut(place)?.get_mut("pods")?.as_array_mut()?;
        (!pods.is_empty()).then(|| pods.remove(at % pods.len()))
    };
    let put = |plan: &mut Value, place: &str, pod: Value| {
        let Some(Value::Object(fields)) = plan.pointer_mut(place) else {
            return;
        };
        let Some(pods) = fields.entry("pods").or_insert_with(|| Value::Array(Vec::new())).as_array_mut()
        else {
            return;
        };
        pods.push(pod);
        pods.sort_by_key(ToString::to_string);
    };
    let at = random.index(1000);
    let Some(pod) = take(plan, &from, at) else {
        return "nothing".into();
    };
    match random.index(4) {
        0 => format!("dropped {pod} from {from}"),
        1 => {
            let what = format!("moved {pod} from {from} to {to}");
            put(plan, &to, pod);
            what
        }
        2 => {
            let what = format!("{pod} of {from} also in {to}");
            put(plan, &from, pod.clone());
            put(plan, &to, pod);
            what
        }
        _ => {
            let other = take(plan, &to, random.index(1000));
            let what = format!("swapped {pod} of {from} and {other:?} of {to}");
            put(plan, &to, pod);
            other.into_iter().for_each(|other| put(plan, &from, other));
            what
        }
    }
}

/// Changes type, zone, capacity type or price of a launch or an alternate to another the catalogue knows.
fn change_launch(plan: &mut Value, catalog: &Catalog, random: &mut Random) -> String {
    let is_node = |value: &Value| value.get("instanceType").is_some_and(Value::is_string);
    let Some((path, node)) = pick(plan, random, &is_node) else {
        return "nothing".into();
    };
    let instance = &catalog.types[random.index(catalog.types.len())];
    let before = node.clone();
    match random.index(5) {
        0 => node["instanceType"] = instance.name.clone().into(),
        1 => {
            let zone = instance.zones.get(random.index(instance.zones.len().max(1)));
            node["zone"] = zone.map_or_else(String::new, |zone| zone.zone.clone()).into();
        }
        2 => {
            let spot = node["capacityType"] == "spot";
            node["capacityType"] = if spot { "on-demand" } else { "spot" }.into();
        }
        3 => node["price"] = instance.on_demand.map_or(0, |price| price.0).into(),
        _ => {
            // All of it, so that the offering is a real one at its right price.
            node["instanceType"] = instance.name.clone().into();
            if let (Some(zone), Some(price)) = (instance.zones.first(), instance.on_demand) {
                node["zone"] = zone.zone.clone().into();
                node["capacityType"] = "on-demand".into();
                node["price"] = price.0.into();
            }
        }
    }
    format!("{path}: {before} -> {node}")
}

/// Changes a multiplier, a vector, an index, or a bound (with its copies) by a little or by much.
fn change_proof(plan: &mut Value, random: &mut Random) -> String {
    let step = [1, -1, 2, -7, 1 << 20, -(1 << 20), 1 << 30][random.index(7)];
    let add = |value: &mut Value| {
        let changed = value.as_i64().unwrap_or(0).saturating_add(step);
        *value = changed.into();
    };
    if random.index(4) == 0 {
        let name = if random.index(2) == 0 { "launchBound" } else { "launchBoundWithoutWeights" };
        if let Some(Value::Object(summary)) = plan.get_mut("summary") {
            summary.entry(name).and_modify(add);
        }
        if let Some(bound) =
            plan.get_mut("progress").and_then(|list| list.as_array_mut()?.last_mut()?.get_mut("bound"))
        {
            add(bound);
        }
        return format!("{name} by {step}");
    }
    let which = if random.index(3) == 0 { "certificateWithoutWeights" } else { "certificate" };
    let Some(proof) = plan.get_mut(which).filter(|proof| proof.is_object()) else {
        return "nothing".into();
    };
    if random.index(4) == 0 {
        let text = proof["offeringVectors"].as_str().unwrap_or_default().to_owned();
        let text = if random.index(2) == 0 { flip_digit(&text, random) } else { swap_runs(&text, random) };
        let what = format!("{which}: offeringVectors -> {text}");
        proof["offeringVectors"] = text.into();
        return what;
    }
    match pick(proof, random, &Value::is_i64) {
        Some((path, value)) => {
            add(value);
            format!("{which}{path} by {step}")
        }
        None => "nothing".into(),
    }
}

fn swap_runs(text: &str, random: &mut Random) -> String {
    let mut runs: Vec<&str> = text.split(',').collect();
    let (one, other) = (random.index(runs.len()), random.index(runs.len()));
    runs.swap(one, other);
    runs.join(",")
}

/// Deletes, duplicates or swaps elements of a list.
fn change_list(plan: &mut Value, random: &mut Random) -> String {
    let filled = |value: &Value| value.as_array().is_some_and(|items| !items.is_empty());
    let Some((path, Value::Array(items))) = pick(plan, random, &filled) else {
        return "nothing".into();
    };
    let (one, other) = (random.index(items.len()), random.index(items.len()));
    match random.index(3) {
        0 => drop(items.remove(one)),
        1 => items.insert(other, items[one].clone()),
        _ => items.swap(one, other),
    }
    format!("{path}: element {one} (and {other}) deleted, doubled or swapped")
}

/// Deletes a field, or gives it the value of another one.
fn drop_field(plan: &mut Value, random: &mut Random) -> String {
    let filled = |value: &Value| value.as_object().is_some_and(|fields| !fields.is_empty());
    let Some((path, Value::Object(fields))) = pick(plan, random, &filled) else {
        return "nothing".into();
    };
    let keys: Vec<String> = fields.keys().cloned().collect();
    let (one, other) = (&keys[random.index(keys.len())], &keys[random.index(keys.len())]);
    let value = fields.remove(one);
    if random.index(2) == 0 {
        fields.extend(value.map(|value| (other.clone(), value)));
    }
    format!("{path}: field {one} dropped or moved to {other}")
}
