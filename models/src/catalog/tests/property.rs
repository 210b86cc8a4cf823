//! Round trips and careless edits, generated.

use super::text::SMALL;
use crate::catalog::{Arch, Catalog, Gpu, InstanceType, LocalStorage, Neuron, Price, ZoneOffer};
use crate::units::UsdMicros;
use proptest::prelude::*;

fn word() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?"
}

fn spot() -> impl Strategy<Value = Option<Price>> {
    proptest::option::of((0..=1_000_000_000_000_i64, any::<bool>()))
        .prop_map(|spot| spot.map(|(usd, estimated)| Price { usd: UsdMicros(usd), estimated }))
}

/// Types with any values; zones are a subset of three, each with one id in the whole catalogue.
fn instance_type() -> impl Strategy<Value = InstanceType> {
    let processor = (
        any::<bool>(),
        word(),
        any::<Option<u32>>(),
        1..=u32::MAX,
        1..=u32::MAX,
        proptest::option::of(word()),
    );
    let network =
        (any::<u32>(), any::<u32>(), any::<Option<u32>>(), any::<Option<u32>>(), any::<u32>(), any::<u32>());
    let disks = any::<Option<(u32, bool)>>();
    let gpu = proptest::option::of((word(), word(), any::<u32>(), any::<u32>()));
    let neuron = proptest::option::of((word(), any::<u32>(), any::<u32>()));
    let on_demand = proptest::option::of(0..=1_000_000_000_000_i64);
    let zones = proptest::collection::btree_map(0..3_usize, spot(), 0..=3);
    (word(), processor, network, disks, gpu, neuron, on_demand, zones).prop_map(
        |(name, processor, network, disks, gpu, neuron, on_demand, zones)| InstanceType {
            name,
            arch: if processor.0 { Arch::Arm64 } else { Arch::Amd64 },
            cpu_manufacturer: processor.1,
            clock_mhz: processor.2,
            vcpus: processor.3,
            memory_mib: processor.4,
            hypervisor: processor.5,
            enis: network.0,
            ipv4_per_eni: network.1,
            network_mbps: network.2,
            ebs_mbps: network.3,
            efa: network.4,
            branch_enis: network.5,
            local_storage: disks.map(|(gb, nvme)| LocalStorage { gb, nvme }),
            gpu: gpu.map(|(name, manufacturer, count, memory_mib)| Gpu {
                name,
                manufacturer,
                count,
                memory_mib,
            }),
            neuron: neuron.map(|(name, count, cores_each)| Neuron { name, count, cores_each }),
            on_demand: on_demand.map(UsdMicros),
            zones: zones
                .into_iter()
                .map(|(zone, spot)| ZoneOffer {
                    zone: format!("zone-{zone}"),
                    zone_id: format!("id-{zone}"),
                    spot,
                })
                .collect(),
        },
    )
}

fn catalog() -> impl Strategy<Value = Catalog> {
    let date = (0..=9999_u32, 1..=12_u32, 1..=31_u32)
        .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"));
    let types = proptest::collection::vec(instance_type(), 1..6);
    let sources = proptest::collection::vec("[!-~]([ -~]{0,20}[!-~])?", 0..3);
    (word(), date.clone(), date, sources, types).prop_map(|(region, first, second, sources, mut types)| {
        types.sort_by(|a, b| a.name.cmp(&b.name));
        types.dedup_by(|a, b| a.name == b.name);
        Catalog {
            region,
            types_as_of: first,
            on_demand_as_of: second,
            spot_as_of: String::new(),
            advisor_as_of: String::new(),
            sources,
            types,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(catalog in catalog()) {
        let text = catalog.to_text();
        let read = Catalog::parse(&text);
        prop_assert_eq!(read.as_ref().map_err(ToString::to_string), Ok(&catalog));
        prop_assert_eq!(read.map(|read| read.to_text()).unwrap_or_default(), text);
    }

    // Any single edit of a catalogue is accepted or refused with a hint, and what it gives can be used.
    #[test]
    fn edits_never_panic(at in 0..SMALL.len(), len in 0..12_usize, new in "[\t\n -~é]{0,6}") {
        let mut text = SMALL.to_owned();
        text.replace_range(at..(at + len).min(SMALL.len()), &new);
        match Catalog::parse(&text) {
            Ok(catalog) => for kind in &catalog.types {
                let _ = kind.labels();
                let class = crate::objects::Ec2NodeClass::default();
                let _ = kind.allocatable(&crate::snapshot::Settings::default(), &class);
            },
            Err(error) => prop_assert!(error.to_string().contains("hint: "), "{}", error),
        }
    }
}
