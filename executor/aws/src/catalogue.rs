//! Prices and offerings as they are now; what cannot be had stays as it was last known, at worst as it was compiled in.

use crate::client::Aws;
use crate::errors::Trouble;
use crate::limits::Class;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types as ec2;
use aws_sdk_pricing::types::{Filter, FilterType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_models::catalog::{Catalog, Price, ZoneOffer};
use stowage_models::units::UsdMicros;

/// What could not be refreshed, with the reason, and what EC2 offers that the catalogue does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// What stays as it was, and why.
    pub stale: Vec<String>,
    /// Types offered that the catalogue does not know: not planned with.
    pub unknown: usize,
}

impl Aws {
    /// Types and prices as they are known.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Asks for zones, offerings and prices. Each that fails stays as it was; the dates in the catalogue tell.
    pub async fn refresh(&self) -> Refreshed {
        let mut catalog = (*self.catalog()).clone();
        let mut outcome = Refreshed::default();
        let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        match self.offerings().await {
            Ok((zones, offered)) => {
                outcome.unknown = offered.keys().filter(|name| catalog.get(name).is_none()).count();
                offer(&mut catalog, &zones, &offered);
                catalog.types_as_of.clone_from(&today);
            }
            Err(trouble) => outcome.stale.push(format!("offerings of {}: {trouble}", catalog.types_as_of)),
        }
        match self.on_demand_prices(&catalog.region).await {
            Ok(prices) => {
                for kind in &mut catalog.types {
                    kind.on_demand = prices.get(&kind.name).copied().or(kind.on_demand);
                }
                catalog.on_demand_as_of.clone_from(&today);
            }
            Err(trouble) => {
                outcome.stale.push(format!("on-demand prices of {}: {trouble}", catalog.on_demand_as_of));
            }
        }
        match self.spot_prices().await {
            Ok(prices) => {
                for kind in &mut catalog.types {
                    for zone in &mut kind.zones {
                        if let Some(usd) = prices.get(&(kind.name.clone(), zone.zone.clone())) {
                            zone.spot = Some(Price { usd: *usd, estimated: false });
                        }
                    }
                }
                catalog.spot_as_of.clone_from(&today);
            }
            Err(trouble) => outcome.stale.push(format!("spot prices of {}: {trouble}", catalog.spot_as_of)),
        }
        *self.catalog.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(catalog);
        outcome
    }

    /// Zone ids by name, and the zones of each type.
    async fn offerings(
        &self,
    ) -> Result<(BTreeMap<String, String>, BTreeMap<String, BTreeSet<String>>), Trouble> {
        let answer = self
            .read("DescribeAvailabilityZones", Class::Read, || {
                let kind = ec2::Filter::builder().name("zone-type").values("availability-zone").build();
                self.ec2.describe_availability_zones().filters(kind).send()
            })
            .await?;
        let zones: BTreeMap<String, String> = answer
            .availability_zones()
            .iter()
            .filter_map(|zone| Some((zone.zone_name()?.to_owned(), zone.zone_id()?.to_owned())))
            .collect();
        let mut offered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .read("DescribeInstanceTypeOfferings", Class::Read, || {
                    let request = self.ec2.describe_instance_type_offerings();
                    let request = request.location_type(ec2::LocationType::AvailabilityZone);
                    request.max_results(1000).set_next_token(next.clone()).send()
                })
                .await?;
            for one in page.instance_type_offerings() {
                if let (Some(name), Some(zone)) = (one.instance_type(), one.location()) {
                    offered.entry(name.as_str().to_owned()).or_default().insert(zone.to_owned());
                }
            }
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok((zones, offered));
            }
        }
    }

    /// Spot prices of now by type and zone. EC2 answers with the one that holds at the time that is asked for.
    async fn spot_prices(&self) -> Result<BTreeMap<(String, String), UsdMicros>, Trouble> {
        let now = DateTime::from_millis(jiff::Timestamp::now().as_millisecond());
        let mut prices: BTreeMap<(String, String), (DateTime, UsdMicros)> = BTreeMap::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .read("DescribeSpotPriceHistory", Class::Read, || {
                    let request = self.ec2.describe_spot_price_history().start_time(now);
                    let request = request.product_descriptions("Linux/UNIX").max_results(1000);
                    request.set_next_token(next.clone()).send()
                })
                .await?;
            for one in page.spot_price_history() {
                let found = (one.instance_type(), one.availability_zone(), one.timestamp());
                let price = one.spot_price().and_then(micros);
                let ((Some(name), Some(zone), Some(at)), Some(price)) = (found, price) else { continue };
                let key = (name.as_str().to_owned(), zone.to_owned());
                // The newest counts.
                if prices.get(&key).is_none_or(|(known, _)| known < at) {
                    prices.insert(key, (*at, price));
                }
            }
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(prices.into_iter().map(|(key, (_, price))| (key, price)).collect());
            }
        }
    }

    /// On-demand prices of Linux on shared hardware.
    async fn on_demand_prices(&self, region: &str) -> Result<BTreeMap<String, UsdMicros>, Trouble> {
        let filter = |field: &str, value: &str| {
            let filter = Filter::builder().r#type(FilterType::TermMatch).field(field).value(value).build();
            // All three are set.
            filter.ok()
        };
        let filters: Vec<Filter> = [
            ("regionCode", region),
            ("serviceCode", "AmazonEC2"),
            ("operatingSystem", "Linux"),
            ("tenancy", "Shared"),
            ("preInstalledSw", "NA"),
            ("capacitystatus", "Used"),
            ("marketoption", "OnDemand"),
        ]
        .into_iter()
        .filter_map(|(field, value)| filter(field, value))
        .collect();
        let mut prices = BTreeMap::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .read("GetProducts", Class::Other, || {
                    let request = self.pricing.get_products().service_code("AmazonEC2");
                    let request = request.set_filters(Some(filters.clone())).max_results(100);
                    request.set_next_token(next.clone()).send()
                })
                .await?;
            prices.extend(page.price_list().iter().filter_map(|text| product(text)));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(prices);
            }
        }
    }
}

/// Zones of types as they are offered. A zone that is new has no spot price until one is known.
fn offer(
    catalog: &mut Catalog,
    zones: &BTreeMap<String, String>,
    offered: &BTreeMap<String, BTreeSet<String>>,
) {
    for kind in &mut catalog.types {
        let here = offered.get(&kind.name);
        kind.zones.retain(|zone| here.is_some_and(|here| here.contains(&zone.zone)));
        for zone in here.into_iter().flatten() {
            if kind.zone(zone).is_none() {
                let zone_id = zones.get(zone).cloned().unwrap_or_default();
                kind.zones.push(ZoneOffer { zone: zone.clone(), zone_id, spot: None });
            }
        }
        for zone in &mut kind.zones {
            if let Some(id) = zones.get(&zone.zone) {
                zone.zone_id.clone_from(id);
            }
        }
        kind.zones.sort_by(|a, b| a.zone.cmp(&b.zone));
    }
}

/// An entry of the price list: its type and price an hour.
fn product(text: &str) -> Option<(String, UsdMicros)> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let name = value["product"]["attributes"]["instanceType"].as_str()?;
    let terms = value["terms"]["OnDemand"].as_object()?;
    let dimensions = terms.values().filter_map(|term| term["priceDimensions"].as_object());
    let hourly = dimensions.flat_map(|all| all.values()).filter(|one| one["unit"] == "Hrs");
    let price = hourly.filter_map(|one| micros(one["pricePerUnit"]["USD"].as_str()?)).max()?;
    // Some entries of the list are zero: reservations of capacity and the like.
    (price.0 > 0).then(|| (name.to_owned(), price))
}

/// Dollars in text as micro-dollars, rounded half up.
fn micros(dollars: &str) -> Option<UsdMicros> {
    let (whole, part) = dollars.split_once('.').unwrap_or((dollars, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    let six: String = part.chars().chain("000000".chars()).take(6).collect();
    let up = part.as_bytes().get(6).is_some_and(|digit| *digit >= b'5');
    let micros = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(six.parse().ok()?)?;
    Some(UsdMicros(micros.checked_add(i64::from(up))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_micro_dollars() {
        for (text, expected) in [
            ("0.0960000000", Some(96_000)),
            ("1", Some(1_000_000)),
            ("0.0000005", Some(1)),
            ("0.0000004", Some(0)),
            ("12.3456789", Some(12_345_679)),
            ("-1", None),
            ("", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(micros(text).map(|micros| micros.0), expected, "{text}");
        }
    }

    #[test]
    fn zones_follow_what_is_offered() {
        let mut catalog = Catalog::embedded().clone();
        let zones = BTreeMap::from([
            ("us-east-1a".to_owned(), "use1-az9".to_owned()),
            ("us-east-1z".to_owned(), "use1-az8".to_owned()),
        ]);
        let here: BTreeSet<String> = zones.keys().cloned().collect();
        offer(&mut catalog, &zones, &BTreeMap::from([("m5.large".to_owned(), here)]));
        let kind = catalog.get("m5.large").expect("a type");
        let ids: Vec<(&str, &str)> =
            kind.zones.iter().map(|zone| (zone.zone.as_str(), zone.zone_id.as_str())).collect();
        assert_eq!(ids, [("us-east-1a", "use1-az9"), ("us-east-1z", "use1-az8")]);
        assert!(kind.zones[0].spot.is_some() && kind.zones[1].spot.is_none());
        assert!(catalog.get("m5.xlarge").expect("a type").zones.is_empty());
        // What comes out can be written and read.
        assert_eq!(Catalog::parse(&catalog.to_text()).expect("a catalogue").types.len(), catalog.types.len());
    }
}
