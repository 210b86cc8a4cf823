//! Maps of quantities, parsed where they stand so that a bad one is reported with its field path.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use stowage_models::quantity::{Resources, parse_quantity};

/// Amounts by resource name, zeros kept: an explicit zero request is not defaulted from a limit, and a limit of zero is
/// not the same as no limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quantities(pub(crate) BTreeMap<String, i64>);

impl Quantities {
    /// For amounts where absent means zero: requests, capacity.
    pub(crate) fn nonzero(self) -> Resources {
        Resources(self.0.into_iter().filter(|(_, amount)| *amount != 0).collect())
    }

    /// For amounts where absent means "not stated": limits of a NodePool, reservations, pod-level requests.
    pub(crate) fn stated(self) -> Resources {
        Resources(self.0)
    }
}

/// `Option<Quantities>` is how the API spells them; absent is empty.
pub(crate) fn nonzero(quantities: Option<Quantities>) -> Resources {
    quantities.unwrap_or_default().nonzero()
}

/// See [`Quantities::stated`].
pub(crate) fn stated(quantities: Option<Quantities>) -> Resources {
    quantities.unwrap_or_default().stated()
}

impl<'de> serde::Deserialize<'de> for Quantities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantities, D::Error> {
        deserializer.deserialize_map(MapVisitor)
    }
}

struct MapVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = Quantities;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from resource names to quantities")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Quantities, A::Error> {
        let mut amounts = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            let amount = entries.next_value_seed(QuantitySeed(&name))?;
            amounts.insert(name, amount);
        }
        Ok(Quantities(amounts))
    }
}

/// A quantity of the named resource: text, or the bare number that the API also accepts.
pub(crate) struct QuantitySeed<'n>(pub(crate) &'n str);

impl<'de> DeserializeSeed<'de> for QuantitySeed<'_> {
    type Value = i64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for QuantitySeed<'_> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity such as 500m, 2 or 1.5Gi")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<i64, E> {
        parse_quantity(self.0, text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<i64, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<i64, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<i64, E> {
        // The shortest text that reads back as the same number is what the author wrote.
        self.visit_str(&value.to_string())
    }
}

/// One quantity in bytes, for fields such as `volumeSize`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes(pub(crate) i64);

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        QuantitySeed(stowage_models::quantity::MEMORY).deserialize(deserializer).map(Bytes)
    }
}

/// An `IntOrString` of the API, as written.
#[derive(Clone, Debug)]
pub(crate) struct IntOrString(pub(crate) String);

impl<'de> serde::Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IntOrString, D::Error> {
        struct AsWritten;
        impl Visitor<'_> for AsWritten {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString(text.to_owned()))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<IntOrString, E> {
                Ok(IntOrString(value.to_string()))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<IntOrString, E> {
                Ok(IntOrString(value.to_string()))
            }
        }
        deserializer.deserialize_any(AsWritten)
    }
}

/// A NodePool weight: zero or more, and an integer; the message says so in these words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight(pub(crate) i32);

impl<'de> serde::Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Weight, D::Error> {
        let weight = i32::deserialize(deserializer)?;
        if weight < 0 {
            return Err(D::Error::custom(format!("weight is {weight}; it must be an integer from 1 to 100")));
        }
        Ok(Weight(weight))
    }
}
