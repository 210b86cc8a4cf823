//! The embedded file, and the conversion it comes from.

use crate::catalog::{Arch, Catalog, EMBEDDED_TEXT, Price, convert};
use crate::units::UsdMicros;

#[test]
fn the_embedded_catalogue_is_canonical_and_complete() {
    let catalog = Catalog::embedded();
    assert!(catalog.to_text() == EMBEDDED_TEXT, "the embedded file is not what `to_text` writes");
    assert_eq!(catalog.digest(), crate::digest::of_bytes(EMBEDDED_TEXT.as_bytes()));
    assert_eq!(catalog.digest(), catalog.clone().digest());
    assert_eq!((catalog.region.as_str(), catalog.types.len()), ("us-east-1", 1345));
    assert!(EMBEDDED_TEXT.len() <= 300_000);
    for kind in &catalog.types {
        assert!(kind.on_demand.is_some() && !kind.zones.is_empty(), "{}", kind.name);
    }
    assert!(catalog.get("mac2.metal").is_none() && catalog.get("").is_none());
    let m5 = catalog.get("m5.large").expect("m5.large");
    assert_eq!(m5.zone("us-east-1d").map(|offer| offer.zone_id.as_str()), Some("use1-az1"));
    assert_eq!(m5.price("us-east-1b", "spot"), Some(Price { usd: UsdMicros(41_500), estimated: false }));
    // Launched after the recording of spot prices: $0.08479 less the advisor's 60 %.
    let flex = catalog.get("c7i-flex.large").expect("c7i-flex.large");
    assert_eq!(flex.price("us-east-1a", "spot"), Some(Price { usd: UsdMicros(33_916), estimated: true }));
    assert_eq!(catalog.get("u-6tb1.56xlarge").and_then(|kind| kind.price("us-east-1a", "spot")), None);
}

/// The recorded data beside the workspace, if it is there.
fn recorded_data() -> Option<Vec<u8>> {
    let data =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ec2-us-east-1.json")).ok();
    if data.is_none() {
        println!("skipped: the recorded EC2 data is not beside this workspace");
    }
    data
}

#[test]
fn the_embedded_catalogue_is_fresh() {
    let Some(bytes) = recorded_data() else { return };
    let fresh = convert::from_ec2_json(&bytes).expect("the recorded data converts").to_text();
    let stale = fresh.lines().zip(EMBEDDED_TEXT.lines()).find(|(fresh, embedded)| fresh != embedded);
    assert_eq!(stale, None, "convert the recorded data again and replace models/data/ec2-us-east-1.catalog");
    assert!(fresh == EMBEDDED_TEXT);
    // The data states the ENI limit of each type by itself; ours is computed from ENIs and addresses.
    let data: serde_json::Value = serde_json::from_slice(&bytes).expect("the recorded data is JSON");
    let (settings, class) = (crate::snapshot::Settings::default(), crate::objects::Ec2NodeClass::default());
    for raw in data["instance_types"].as_array().expect("types") {
        if let Some(kind) = raw["name"].as_str().and_then(|name| Catalog::embedded().get(name)) {
            assert_eq!(
                Some(kind.capacity(&settings, &class).get("pods")),
                raw["max_pods_eks_file"].as_i64(),
                "{}",
                kind.name
            );
        }
    }
}

/// A recording of one type in two zones; `prices` are its usage classes, prices and advice.
fn recorded(prices: &str) -> String {
    format!(
        r#"{{"source": {{"types": "test"}}, "region": "r", "zone_names": {{"ra": "r-az1", "rb": "r-az2"}},
        "as_of": {{"types": "2026-08-02", "on_demand": "2026-07-20", "spot_by_zone": "2024-02-01",
        "spot_advisor": "2025-06-28"}},
        "instance_types": [{{"name": "m5.large", "arch": ["i386", "x86_64"], "cpu_manufacturer": "Intel", "clock_ghz": 3.1,
        "vcpus": 2, "memory_mib": 8192, "gpus": [], "accelerators": [], "network": {{"max_enis_default_card": 3,
        "network_cards": 1, "ipv4_per_eni": 10, "performance": "Up to 10 Gigabit", "baseline_gbps": 0.75, "efa": false}},
        "pod_eni_branch_interfaces": 9, "local_storage_gb": 0, "local_nvme": null, "ebs": {{"maximum_mbps": 4750}},
        "hypervisor": "nitro", "zones": ["rb", "ra"], "zone_ids": ["r-az1", "r-az2"], {prices}}}]}}"#
    )
}

fn spot_of(prices: &str) -> [Option<(i64, bool)>; 2] {
    let catalog = convert::from_ec2_json(recorded(prices).as_bytes()).expect("the sample converts");
    let kind = &catalog.types[0];
    ["ra", "rb"].map(|zone| kind.price(zone, "spot").map(|price| (price.usd.0, price.estimated)))
}

#[test]
fn spot_prices_are_recorded_or_estimated_in_this_order() {
    let both = r#""usage_classes": ["on-demand", "spot"], "on_demand_usd_hour": 0.0416, "#;
    let advised = r#""spot_advisor": {"avg_savings_pct": 33}"#;
    let spot =
        |recorded: &str, rest: &str| spot_of(&format!("{both}\"spot_usd_hour_by_zone\": {recorded}, {rest}"));
    assert_eq!(spot(r#"{"ra": 1e-4, "rb": 0.0000015}"#, advised), [Some((100, false)), Some((2, false))]);
    assert_eq!(spot(r#"{"ra": 0.01, "rz": 0.02}"#, advised), [Some((10_000, false)), Some((20_000, true))]);
    assert_eq!(spot("null", advised), [Some((27_872, true)); 2]);
    assert_eq!(spot("null", r#""spot_advisor": {"avg_savings_pct": 0}"#), [None; 2]);
    assert_eq!(spot("{}", r#""spot_advisor": null"#), [None; 2]);
    let no_spot = r#""usage_classes": ["on-demand"], "on_demand_usd_hour": 1, "spot_usd_hour_by_zone": {"ra": 1},
        "spot_advisor": null"#;
    assert_eq!(spot_of(no_spot), [None; 2]);
    let not_sold = r#""usage_classes": ["spot"], "on_demand_usd_hour": null, "spot_usd_hour_by_zone": null,
        "spot_advisor": {"avg_savings_pct": 50}"#;
    assert_eq!(spot_of(not_sold), [None; 2]);
}

#[test]
fn bad_recorded_data_is_refused_with_the_place() {
    let good = recorded(
        r#""usage_classes": ["spot"], "on_demand_usd_hour": 0.1, "spot_usd_hour_by_zone": null, "spot_advisor": null"#,
    );
    let kind = &convert::from_ec2_json(good.as_bytes()).expect("the sample converts").types[0];
    assert_eq!((kind.arch, kind.ebs_mbps, kind.clock_mhz), (Arch::Amd64, Some(4750), Some(3100)));
    for (from, to, want) in [
        ("0.1,", "-0.1,", "EC2 data, type `m5.large`, field `on_demand_usd_hour`: `-0.1` is not a price"),
        ("0.1,", "\"cheap\",", "the EC2 data cannot be read"),
        ("0.1,", "1e300,", "EC2 data, type `m5.large`, field `on_demand_usd_hour`"),
        (
            "Up to 10 Gigabit",
            "10 Parsec",
            "EC2 data, type `m5.large`, field `network`: performance `10 Parsec`",
        ),
        (
            "\"zone_names\"",
            "\"ignored\"",
            "EC2 data: zone `ra` matches 2 zone ids by the types offered there",
        ),
        ("m5.large", "m5 large", "catalogue line"),
        ("[\"i386\", \"x86_64\"]", "[\"arm64_mac\"]", "the catalogue has no instance types"),
        ("]}", "]", "the EC2 data cannot be read"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = convert::from_ec2_json(good.replacen(from, to, 1).as_bytes()).expect_err(to).to_string();
        assert!(error.starts_with(want), "{to}: {error}");
    }
}
