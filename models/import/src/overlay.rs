//! NodeOverlays (`karpenter.sh/v1alpha1`), and back.
//!
//! An overlay that cannot be read does not make the cluster unreadable: it counts for nothing, and says why.

use crate::export::{meta, put};
use crate::export_karpenter::requirement;
use crate::meta::Meta;
use crate::quantities::IntOrString;
use crate::requirement::RawRequirement;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use stowage_models::overlay::{NodeOverlay, PERCENT_WHOLE, PriceChange};
use stowage_models::quantity::{Resources, parse_quantity};
use stowage_models::selector::Labels;

/// A NodeOverlay.
#[derive(Deserialize)]
pub(crate) struct RawNodeOverlay {
    metadata: Meta,
    #[serde(default)]
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    requirements: Option<Vec<RawRequirement>>,
    price: Option<String>,
    price_adjustment: Option<String>,
    capacity: Option<BTreeMap<String, IntOrString>>,
    weight: Option<i32>,
}

impl RawNodeOverlay {
    pub(crate) fn convert(self) -> NodeOverlay {
        let mut overlay = NodeOverlay {
            name: self.metadata.name,
            weight: self.spec.weight.unwrap_or(0),
            ..NodeOverlay::default()
        };
        overlay.unreadable = self.spec.fill(&mut overlay).err();
        overlay
    }
}

impl RawSpec {
    fn fill(self, overlay: &mut NodeOverlay) -> Result<(), String> {
        for (index, raw) in self.requirements.unwrap_or_default().into_iter().enumerate() {
            let read = raw.of_overlay();
            overlay
                .requirements
                .push(read.map_err(|why| format!("spec.requirements[{index}]: {}", printable(&why)))?);
        }
        overlay.price = match (&self.price, &self.price_adjustment) {
            (Some(_), Some(_)) => {
                return Err("spec: cannot set both 'price' and 'priceAdjustment'".to_owned());
            }
            (Some(text), None) => {
                let read = PriceChange::price(text);
                Some(read.map_err(|why| format!("spec.price: {}", printable(&why)))?)
            }
            (None, Some(text)) => {
                let read = PriceChange::adjustment(text);
                Some(read.map_err(|why| format!("spec.priceAdjustment: {}", printable(&why)))?)
            }
            (None, None) => None,
        };
        let mut capacity = Resources::default();
        for (name, amount) in self.capacity.unwrap_or_default() {
            let place = format!("spec.capacity.{}", printable(&name));
            let amount = parse_quantity(&name, &amount.0)
                .map_err(|why| format!("{place}: {}", printable(&why.to_string())))?;
            if amount < 0 {
                return Err(format!("{place}: the amount is {amount}; it must be zero or more"));
            }
            // As stated: that there are none of a resource is something else than nothing said.
            capacity.0.insert(name, amount);
        }
        overlay.capacity = capacity;
        match overlay.restricted() {
            Some(name) => Err(format!("spec.capacity: invalid resource restricted ({name})")),
            None => Ok(()),
        }
    }
}

/// Text that a terminal can be trusted with.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// Millionths as a decimal number without needless zeros.
fn decimal(millionths: i64) -> String {
    let amount = millionths.unsigned_abs();
    let text = format!("{}.{:06}", amount / 1_000_000, amount % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The object again. What nobody could read is lost: the way back is for what counts.
pub(crate) fn node_overlay(overlay: &NodeOverlay) -> Value {
    let mut spec = Map::new();
    spec.insert("requirements".to_owned(), overlay.requirements.iter().map(requirement).collect());
    let sign = |amount: i64| if amount < 0 { '-' } else { '+' };
    match overlay.price {
        Some(PriceChange::To(price)) => drop(spec.insert("price".to_owned(), json!(decimal(price.0)))),
        Some(PriceChange::By(by)) => {
            drop(spec.insert("priceAdjustment".to_owned(), json!(format!("{}{}", sign(by), decimal(by)))));
        }
        Some(PriceChange::Percent(by)) => {
            // The API takes two digits before the point, or all of it.
            let share = if by == -PERCENT_WHOLE { "100".to_owned() } else { decimal(by) };
            drop(spec.insert("priceAdjustment".to_owned(), json!(format!("{}{share}%", sign(by)))));
        }
        None => {}
    }
    let capacity: Map<String, Value> =
        overlay.capacity.0.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect();
    put(&mut spec, "capacity", Value::Object(capacity));
    if overlay.weight != 0 {
        spec.insert("weight".to_owned(), json!(overlay.weight));
    }
    let none = Labels::new();
    json!({
        "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay",
        "metadata": meta(None, &overlay.name, &none, &none, false), "spec": spec,
    })
}
