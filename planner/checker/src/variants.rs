//! Values for labels that a NodePool's requirements leave open (formulation, section 1.3).

use crate::matching::accepts;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{NodePool, PodSpec};
use stowage_models::selector::{Labels, Operator, Requirement};

/// Variants per NodePool at most. Two open keys with seven values each fit; more would multiply the offerings for
/// clusters nobody has shown.
pub const VARIANTS_MAX: usize = 64;

/// Keys that every planned node has and no requirement may set, beside [`labels::OFFERING_KEYS`].
const FIXED_KEYS: [&str; 5] =
    [labels::NODEPOOL, labels::REGISTERED, labels::INITIALIZED, labels::EC2_NODE_CLASS, labels::HOSTNAME];

/// Label values that pods name, by key.
pub(crate) type Mentions<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Requirements of pods, by key.
pub(crate) type Asked = BTreeMap<String, Vec<Requirement>>;

/// What the given templates name in node selectors and `In` requirements of required node affinity, and of preferred if
/// that counts.
pub(crate) fn mentions<'a>(specs: impl IntoIterator<Item = &'a PodSpec>, preferences: bool) -> Mentions<'a> {
    let mut mentions = Mentions::new();
    for spec in specs {
        for (key, value) in &spec.node_selector {
            mentions.entry(key).or_default().insert(value);
        }
        let preferred = spec.affinity.node_preferred.iter().filter(|_| preferences);
        let preferred = preferred.map(|one| &one.preference);
        let terms = spec.affinity.node_required.iter().flatten().chain(preferred);
        for one in terms.flat_map(|term| &term.match_expressions).filter(|one| one.operator == Operator::In) {
            mentions.entry(&one.key).or_default().extend(one.values.iter().map(String::as_str));
        }
    }
    mentions
}

/// What the given templates require of a key, in node selectors and required node affinity, each requirement once.
pub(crate) fn asked<'a>(specs: impl IntoIterator<Item = &'a PodSpec>) -> Asked {
    let mut asked = Asked::new();
    let mut ask = |one: Requirement| {
        let list = asked.entry(one.key.clone()).or_default();
        if !list.contains(&one) {
            list.push(one);
        }
    };
    for spec in specs {
        spec.node_selector.iter().for_each(|(key, value)| ask(Requirement::new(key, Operator::In, &[value])));
        let terms = spec.affinity.node_required.iter().flatten();
        terms.flat_map(|term| &term.match_expressions).for_each(|one| ask(one.clone()));
    }
    asked
}

/// The requirement keys of a pool whose value a plan has to choose, sorted.
pub(crate) fn custom_keys(pool: &NodePool) -> BTreeSet<&str> {
    let is_open = |key: &str| {
        !labels::OFFERING_KEYS.contains(&key) && !FIXED_KEYS.contains(&key) && !pool.labels.contains_key(key)
    };
    pool.requirements.iter().map(|one| one.key.as_str()).filter(|key| is_open(key)).collect()
}

/// The variants of a pool, sorted. `topology` are the keys that constraints between pods name. No open key: one empty variant. A key without any candidate: none.
pub(crate) fn variants(
    pool: &NodePool,
    mentions: &Mentions<'_>,
    asked: &Asked,
    topology: &BTreeSet<&str>,
) -> Vec<Labels> {
    let nobody = BTreeSet::new();
    let listed = |key: &str| {
        let listed = pool.requirements.iter().filter(|one| one.key == key && one.operator == Operator::In);
        listed.flat_map(|one| one.values.iter().map(String::as_str)).collect::<Vec<_>>()
    };
    let axes: Vec<(&str, Vec<Option<String>>)> = custom_keys(pool)
        .into_iter()
        .map(|key| {
            let mut mentioned = mentions.get(key).unwrap_or(&nobody).clone();
            // Pods that are spread over the values of a key, or kept together by them, tell them all apart.
            if topology.contains(key) {
                mentioned.extend(listed(key));
            }
            let asked = asked.get(key).map_or(&[][..], Vec::as_slice);
            (key, candidates(pool, key, &mentioned, asked))
        })
        .collect();
    if axes.iter().any(|(_, candidates)| candidates.is_empty()) {
        return Vec::new();
    }
    // An odometer, the last key fastest: the full product may be far too long to write down.
    let mut wheels = vec![0; axes.len()];
    let mut variants = Vec::new();
    while variants.len() < VARIANTS_MAX {
        let chosen = axes.iter().zip(&wheels).map(|((key, candidates), wheel)| (*key, &candidates[*wheel]));
        let set =
            chosen.filter_map(|(key, value)| value.as_ref().map(|value| (key.to_owned(), value.clone())));
        variants.push(set.collect::<Labels>());
        let Some(turn) = (0..axes.len()).rev().find(|key| wheels[*key] + 1 < axes[*key].1.len()) else {
            break;
        };
        wheels[turn] += 1;
        wheels[turn + 1..].fill(0);
    }
    variants.sort();
    variants
}

/// The values a key may take, absent first. See the formulation for why these suffice.
fn candidates(
    pool: &NodePool,
    key: &str,
    mentioned: &BTreeSet<&str>,
    asked: &[Requirement],
) -> Vec<Option<String>> {
    let requirements: Vec<&Requirement> = pool.requirements.iter().filter(|one| one.key == key).collect();
    let allowed = |value: Option<&str>| requirements.iter().all(|one| accepts(one, value));
    let listed = requirements.iter().filter(|one| one.operator == Operator::In).flat_map(|one| &one.values);
    let mut values: BTreeSet<String> = listed.cloned().collect();
    values.extend(mentioned.iter().map(|value| (*value).to_owned()));
    values.retain(|value| allowed(Some(value)));
    if values.is_empty() {
        values.extend(invented(&requirements).into_iter().filter(|value| allowed(Some(value))));
    }
    let first_unmentioned = values.iter().find(|value| !mentioned.contains(value.as_str())).cloned();
    values.retain(|value| mentioned.contains(value.as_str()) || Some(value) == first_unmentioned.as_ref());
    let absent = allowed(None).then_some(None);
    let mut all: BTreeSet<Option<String>> = absent.into_iter().chain(values.into_iter().map(Some)).collect();
    // What a value is good for: positions of the requirements it satisfies.
    let good_for = |value: Option<&str>| -> BTreeSet<usize> {
        (0..asked.len()).filter(|at| accepts(&asked[*at], value)).collect()
    };
    for value in representatives(requirements.iter().copied().chain(asked)) {
        let good = good_for(Some(&value));
        if allowed(Some(&value)) && !all.iter().any(|have| good.is_subset(&good_for(have.as_deref()))) {
            all.insert(Some(value));
        }
    }
    all.into_iter().collect()
}

/// One value at least of every kind that the given requirements can tell apart: what they name, the integers beside it,
/// and a word that none names.
fn representatives<'r>(requirements: impl Iterator<Item = &'r Requirement>) -> BTreeSet<String> {
    let mut values = BTreeSet::from(["stowage".to_owned()]);
    for named in requirements.flat_map(|one| &one.values) {
        match named.parse::<i64>() {
            Ok(number) => {
                let near = number.saturating_sub(1)..=number.saturating_add(1);
                values.extend(near.map(|number| number.to_string()));
            }
            Err(_) => _ = values.insert(named.clone()),
        }
    }
    values
}

/// A value that satisfies the first comparison, or any value at all. None if the comparison has no such integer.
fn invented(requirements: &[&Requirement]) -> Option<String> {
    let step = |operator| match operator {
        Operator::Gt => Some(1),
        Operator::Gte | Operator::Lte => Some(0),
        Operator::Lt => Some(-1),
        _ => None,
    };
    let Some((requirement, step)) =
        requirements.iter().find_map(|one| step(one.operator).map(|step| (one, step)))
    else {
        return Some("stowage".to_owned());
    };
    let bound = requirement.values.first()?.parse::<i64>().ok()?;
    bound.checked_add(step).map(|value| value.to_string())
}
