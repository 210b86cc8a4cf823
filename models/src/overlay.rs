//! NodeOverlays (`karpenter.sh/v1alpha1`): what people know of nodes and prices and the cloud does not say.
//!
//! What a set of overlays makes of offerings and nodes is section 1.12 of `docs/formulation.md`; planner and checker each work it out.

use crate::catalog::scaled;
use crate::quantity::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Resources};
use crate::selector::Requirement;
use crate::units::UsdMicros;
use serde::{Deserialize, Serialize};

/// A NodeOverlay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeOverlay {
    /// Name.
    pub name: String,
    /// Of several overlays about one thing, the one of the highest weight counts; 0 if unset.
    #[serde(default, skip_serializing_if = "crate::objects::is_default")]
    pub weight: i32,
    /// Which nodes it is about: those whose labels satisfy all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<Requirement>,
    /// What it makes of the price; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceChange>,
    /// Extended resources that the nodes have, whatever the catalogue says of these.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub capacity: Resources,
    /// What of it nobody can read, as field and fault. Such an overlay counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// What an overlay makes of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PriceChange {
    /// It is this (`price`).
    To(UsdMicros),
    /// So many micro-dollars per hour more, or less (`priceAdjustment: "-0.5"`).
    By(i64),
    /// So many millionths of a per cent more, or less (`priceAdjustment: "-15%"` is -15,000,000).
    Percent(i64),
}

/// A hundred per cent, in the unit of [`PriceChange::Percent`].
pub const PERCENT_WHOLE: i64 = 100_000_000;

/// The dearest an overlay can make a node: a million dollars an hour. What is dearer is a slip, and sums must stay far from the
/// 64-bit range.
pub const PRICE_MAX: UsdMicros = UsdMicros(1_000_000_000_000);

/// Resources an overlay may not state: what Karpenter computes of every node.
pub const RESTRICTED: [&str; 4] = [CPU, MEMORY, EPHEMERAL_STORAGE, PODS];

impl PriceChange {
    /// Reads `spec.price`: dollars per hour, such as `0.0416`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn price(text: &str) -> Result<PriceChange, String> {
        amount(text, PRICE_MAX.0).map(|price| PriceChange::To(UsdMicros(price)))
    }

    /// Reads `spec.priceAdjustment`: `+0.5`, `-0.5` (dollars per hour), `+10%`, `-15%`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn adjustment(text: &str) -> Result<PriceChange, String> {
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(format!("`{text}` has no sign; write +0.5, -0.5, +10% or -10%")),
        };
        match rest.strip_suffix('%') {
            None => Ok(PriceChange::By(sign * amount(rest, PRICE_MAX.0)?)),
            Some(share) => {
                let share = amount(share, PRICE_MAX.0)?;
                if sign < 0 && share > PERCENT_WHOLE {
                    return Err(format!("`{text}` is more than all of a price"));
                }
                Ok(PriceChange::Percent(sign * share))
            }
        }
    }

    /// Whether it is in the range that can be worked with.
    #[must_use]
    pub fn is_in_range(self) -> bool {
        let (PriceChange::To(UsdMicros(amount)) | PriceChange::By(amount) | PriceChange::Percent(amount)) =
            self;
        let least = match self {
            PriceChange::To(_) => 0,
            PriceChange::By(_) => -PRICE_MAX.0,
            PriceChange::Percent(_) => -PERCENT_WHOLE,
        };
        (least..=PRICE_MAX.0).contains(&amount)
    }
}

/// A decimal number with at most six decimals that count, in millionths.
fn amount(text: &str, most: i64) -> Result<i64, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount = scaled(text, 6).filter(|_| plain);
    amount
        .filter(|amount| *amount <= most)
        .ok_or_else(|| format!("`{text}` is no decimal number from 0 to {}", most / 1_000_000))
}

impl NodeOverlay {
    /// Whether its requirements are met by these labels.
    #[must_use]
    pub fn selects<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.accepts(label(&requirement.key)))
    }

    /// The resource it states and must not, if any.
    #[must_use]
    pub fn restricted(&self) -> Option<&str> {
        self.capacity.0.keys().map(String::as_str).find(|name| RESTRICTED.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_adjustments_are_read_as_karpenter_reads_them() {
        for (text, want) in
            [("0.0416", 41_600), ("12", 12_000_000), ("0.0000005", 1), ("1000000", PRICE_MAX.0)]
        {
            assert_eq!(PriceChange::price(text), Ok(PriceChange::To(UsdMicros(want))), "{text}");
        }
        for (text, want) in [
            ("+0.5", PriceChange::By(500_000)),
            ("-.25", PriceChange::By(-250_000)),
            ("+10%", PriceChange::Percent(10_000_000)),
            ("-15.5%", PriceChange::Percent(-15_500_000)),
            ("-100%", PriceChange::Percent(-PERCENT_WHOLE)),
            ("+250%", PriceChange::Percent(250_000_000)),
        ] {
            assert_eq!(PriceChange::adjustment(text), Ok(want), "{text}");
            assert!(want.is_in_range());
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in
            ["", "-1", "1e3", "one", "1.2.3", ".", "1000000.1", "99999999999999999999999999999999999999999"]
        {
            assert!(PriceChange::price(text).is_err(), "{text}");
        }
        for text in ["", "0.5", "10%", "+", "-%", "-100.5%", "+1e3", "--1", "+99999999999%", "€1"] {
            assert!(PriceChange::adjustment(text).is_err(), "{text}");
        }
        assert!(!PriceChange::To(UsdMicros(-1)).is_in_range() && !PriceChange::By(i64::MIN).is_in_range());
    }
}
