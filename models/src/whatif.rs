//! What if: a question changed without editing its input.
//!
//! A [`WhatIf`] turns a snapshot and a catalogue into others; what is planned then is true of those. A plan states the [`WhatIf`] it
//! answers and the digests of the changed input, so it is stale for the cluster as it is: nobody can carry it out by mistake.

use crate::catalog::Catalog;
use crate::labels;
use crate::selector::{Operator, Requirement};
use crate::snapshot::Snapshot;
use crate::units::{Ppm, UsdMicros};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Capacity types that have prices in a catalogue.
const PRICED: [&str; 2] = ["on-demand", "spot"];

/// Changes to a question. Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WhatIf {
    /// Instance types that no NodePool launches: names, or beginnings of names followed by `*`. Nodes that exist keep theirs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_types: BTreeSet<String>,
    /// Factors on the prices of a capacity type (`spot`, `on-demand`), for nodes that exist as well as for launches.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub price_factors: BTreeMap<String, Ppm>,
    /// Values that NodePools allow besides, by label key: listed by `In`, no longer refused by `NotIn`; zones also by node classes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allow: BTreeMap<String, BTreeSet<String>>,
    /// Values that no NodePool launches any more, by label key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forbid: BTreeMap<String, BTreeSet<String>>,
}

impl WhatIf {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == WhatIf::default()
    }

    /// Both changes together. Of two factors on one capacity type, the product.
    #[must_use]
    pub fn and(&self, other: &WhatIf) -> WhatIf {
        let mut both = self.clone();
        both.exclude_types.extend(other.exclude_types.iter().cloned());
        for (capacity_type, factor) in &other.price_factors {
            let have = both.price_factors.entry(capacity_type.clone()).or_insert(Ppm(Ppm::ONE));
            *have = Ppm(scaled(have.0, *factor));
        }
        for (of, with) in [(&mut both.allow, &other.allow), (&mut both.forbid, &other.forbid)] {
            for (key, values) in with {
                of.entry(key.clone()).or_default().extend(values.iter().cloned());
            }
        }
        both
    }

    /// What does not mean anything for this catalogue, in a sentence that says what would; `None`: all of it does.
    #[must_use]
    pub fn nonsense(&self, catalog: &Catalog) -> Option<String> {
        let unknown = |pattern: &&String| !catalog.types.iter().any(|kind| is_match(pattern, &kind.name));
        if let Some(pattern) = self.exclude_types.iter().find(unknown) {
            let family = pattern.split('.').next().unwrap_or_default();
            let near: Vec<&str> = catalog
                .types
                .iter()
                .map(|kind| kind.name.as_str())
                .filter(|name| name.starts_with(family))
                .collect();
            let hint = match near.as_slice() {
                [] => "name a type, or the beginning of names as in `t3.*`".to_owned(),
                [first, ..] => format!("there is {first}, for example, or `{family}.*` for all of them"),
            };
            return Some(format!(
                "the catalogue of {} has no instance type {pattern}; {hint}",
                catalog.region
            ));
        }
        let unpriced = self.price_factors.keys().find(|name| !PRICED.contains(&name.as_str()));
        unpriced
            .map(|name| format!("there are no prices of capacity type {name}; there are on-demand and spot"))
    }

    /// The snapshot and the catalogue as they would be.
    #[must_use]
    pub fn apply(&self, snapshot: &Snapshot, catalog: &Catalog) -> (Snapshot, Catalog) {
        (self.snapshot(snapshot, catalog), self.catalog(catalog))
    }

    fn catalog(&self, catalog: &Catalog) -> Catalog {
        let mut changed = catalog.clone();
        let factor =
            |capacity_type: &str| self.price_factors.get(capacity_type).copied().unwrap_or(Ppm(Ppm::ONE));
        for kind in &mut changed.types {
            if let Some(price) = &mut kind.on_demand {
                *price = UsdMicros(scaled(price.0, factor("on-demand")));
            }
            for price in kind.zones.iter_mut().filter_map(|offer| offer.spot.as_mut()) {
                price.usd = UsdMicros(scaled(price.usd.0, factor("spot")));
            }
        }
        changed
    }

    fn snapshot(&self, snapshot: &Snapshot, catalog: &Catalog) -> Snapshot {
        let mut changed = snapshot.clone();
        for class in changed.node_classes.iter_mut().filter(|class| !class.zones.is_empty()) {
            class.zones.extend(self.allow.get(labels::ZONE).into_iter().flatten().cloned());
            class.zones.sort();
            class.zones.dedup();
        }
        let excluded: Vec<&str> = catalog
            .types
            .iter()
            .map(|kind| kind.name.as_str())
            .filter(|name| self.exclude_types.iter().any(|pattern| is_match(pattern, name)))
            .collect();
        for pool in &mut changed.node_pools {
            for requirement in &mut pool.requirements {
                let Some(values) = self.allow.get(&requirement.key) else { continue };
                match requirement.operator {
                    Operator::In => {
                        let more = values.iter().filter(|value| !requirement.values.contains(value));
                        let more: Vec<String> = more.cloned().collect();
                        requirement.values.extend(more);
                    }
                    Operator::NotIn => requirement.values.retain(|value| !values.contains(value)),
                    _ => {}
                }
            }
            if !excluded.is_empty() {
                pool.requirements.push(Requirement::new(labels::INSTANCE_TYPE, Operator::NotIn, &excluded));
            }
            for (key, values) in &self.forbid {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                pool.requirements.push(Requirement::new(key, Operator::NotIn, &values));
            }
        }
        changed
    }

    /// The changes in words, one each.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut words = Vec::new();
        if !self.exclude_types.is_empty() {
            words.push(format!("without {}", list(&self.exclude_types)));
        }
        for (capacity_type, factor) in &self.price_factors {
            words.push(format!("{capacity_type} prices times {}", factor_text(*factor)));
        }
        words.extend(self.allow.iter().map(|(key, values)| format!("{key} {} allowed", list(values))));
        words.extend(self.forbid.iter().map(|(key, values)| format!("{key} {} not allowed", list(values))));
        words
    }
}

/// `1.3` of 1,300,000 parts per million.
fn factor_text(factor: Ppm) -> String {
    let text = format!("{}.{:06}", factor.0 / Ppm::ONE, factor.0 % Ppm::ONE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whether a name is the pattern, or begins as a pattern with a final `*` says.
fn is_match(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// `amount * factor`, rounded half up; ends at the 64-bit range.
fn scaled(amount: i64, factor: Ppm) -> i64 {
    let product = i128::from(amount) * i128::from(factor.0) + i128::from(Ppm::ONE / 2);
    i64::try_from(product.div_euclid(i128::from(Ppm::ONE))).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Ec2NodeClass, NodePool};

    fn set(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn cluster() -> Snapshot {
        Snapshot {
            node_classes: vec![
                Ec2NodeClass { zones: vec!["us-east-1b".to_owned()], ..Ec2NodeClass::default() },
                Ec2NodeClass::default(),
            ],
            node_pools: vec![NodePool {
                requirements: vec![
                    Requirement::new(labels::ARCH, Operator::In, &["amd64"]),
                    Requirement::new(labels::CAPACITY_TYPE, Operator::NotIn, &["spot"]),
                ],
                ..NodePool::default()
            }],
            ..Snapshot::default()
        }
    }

    #[test]
    fn nothing_changes_nothing() {
        let catalog = Catalog::embedded();
        assert_eq!(WhatIf::default().apply(&cluster(), catalog), (cluster(), catalog.clone()));
        assert!(WhatIf::default().is_empty() && WhatIf::default().describe().is_empty());
    }

    #[test]
    fn prices_are_scaled_where_they_are_asked_to_be() {
        let catalog = Catalog::embedded();
        let factors = BTreeMap::from([("spot".to_owned(), Ppm(1_300_000))]);
        let (_, dearer) = WhatIf { price_factors: factors, ..WhatIf::default() }.apply(&cluster(), catalog);
        let price = |catalog: &Catalog, capacity| {
            catalog.get("m5.large").unwrap().price("us-east-1a", capacity).unwrap().usd.0
        };
        assert_eq!(price(&dearer, "on-demand"), price(catalog, "on-demand"));
        assert_eq!(price(&dearer, "spot"), (price(catalog, "spot") * 13 + 5) / 10);
        assert_ne!(dearer.digest(), catalog.digest());
    }

    #[test]
    fn what_pools_allow_changes() {
        let catalog = Catalog::embedded();
        let whatif = WhatIf {
            exclude_types: set(&["m5.large", "t3*"]),
            allow: BTreeMap::from([
                (labels::ARCH.to_owned(), set(&["arm64"])),
                (labels::CAPACITY_TYPE.to_owned(), set(&["spot"])),
                (labels::ZONE.to_owned(), set(&["us-east-1a"])),
            ]),
            forbid: BTreeMap::from([(labels::ZONE.to_owned(), set(&["us-east-1f"]))]),
            ..WhatIf::default()
        };
        let (changed, _) = whatif.apply(&cluster(), catalog);
        let accepts = |key: &str, value: &str| {
            let all = &changed.node_pools[0].requirements;
            all.iter().filter(|one| one.key == key).all(|one| one.accepts(Some(value)))
        };
        assert!(accepts(labels::ARCH, "arm64") && accepts(labels::ARCH, "amd64"));
        assert!(accepts(labels::CAPACITY_TYPE, "spot"));
        assert!(!accepts(labels::INSTANCE_TYPE, "m5.large") && !accepts(labels::INSTANCE_TYPE, "t3a.large"));
        assert!(accepts(labels::INSTANCE_TYPE, "m5.xlarge") && !accepts(labels::ZONE, "us-east-1f"));
        assert_eq!(changed.node_classes[0].zones, ["us-east-1a", "us-east-1b"]);
        assert_eq!(changed.node_classes[1].zones, Vec::<String>::new(), "every zone is allowed already");
    }

    #[test]
    fn two_changes_are_both_made() {
        let one = WhatIf {
            exclude_types: set(&["m5.large"]),
            price_factors: BTreeMap::from([("spot".to_owned(), Ppm(1_500_000))]),
            ..WhatIf::default()
        };
        let other = WhatIf {
            exclude_types: set(&["c5.large"]),
            price_factors: BTreeMap::from([("spot".to_owned(), Ppm(2_000_000))]),
            ..WhatIf::default()
        };
        let both = one.and(&other);
        assert_eq!(both.exclude_types, set(&["c5.large", "m5.large"]));
        assert_eq!(both.price_factors["spot"], Ppm(3_000_000));
        assert_eq!(both.describe(), ["without c5.large, m5.large", "spot prices times 3"]);
    }

    #[test]
    fn nonsense_is_named() {
        let catalog = Catalog::embedded();
        let typo = WhatIf { exclude_types: set(&["m5.lrge"]), ..WhatIf::default() };
        let said = typo.nonsense(catalog).unwrap();
        assert!(said.contains("m5.lrge") && said.contains("m5."), "{said}");
        let factors = BTreeMap::from([("sopt".to_owned(), Ppm(1))]);
        let typo = WhatIf { price_factors: factors, ..WhatIf::default() };
        assert!(typo.nonsense(catalog).unwrap().contains("on-demand and spot"));
        assert_eq!(WhatIf { exclude_types: set(&["t3.*"]), ..WhatIf::default() }.nonsense(catalog), None);
    }
}
