//! Instance types, where they are offered, and spot prices.

use crate::form::Form;
use crate::money::{dollars, stamp};
use crate::script::at;
use crate::world::{Answer, Refusal, World};
use crate::xml::{element, list, text};
use std::collections::BTreeMap;
use stowage_models::catalog::{Arch, InstanceType};

fn invalid(message: String) -> Refusal {
    Refusal::new("InvalidParameterValue", message)
}

impl World {
    fn is_zone(&self, zone: &str) -> bool {
        self.script.zones.iter().any(|one| one.name == zone)
    }

    pub(crate) fn describe_types(&mut self, form: &Form) -> Answer {
        let names = form.list("InstanceType");
        if let Some(unknown) = names.iter().find(|name| self.catalog.get(name).is_none()) {
            let message = format!("The following supplied instance types do not exist: [{unknown}]");
            return Err(Refusal::new("InvalidInstanceType", message));
        }
        let mut shown = Vec::new();
        for one in &self.catalog.types {
            let passes = form.passes(&BTreeMap::new(), |filter| match filter {
                "instance-type" => Some(vec![one.name.clone()]),
                "processor-info.supported-architecture" => Some(vec![arch(one).to_owned()]),
                "supported-virtualization-type" => Some(vec!["hvm".to_owned()]),
                _ => None,
            });
            if passes.map_err(invalid)? && (names.is_empty() || names.contains(&one.name)) {
                shown.push(instance_type(one));
            }
        }
        // EC2's own largest page.
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("instanceTypeSet", shown)];
        answer.extend(next);
        Ok(answer)
    }

    pub(crate) fn describe_offerings(&mut self, form: &Form) -> Answer {
        let by = form.get("LocationType").unwrap_or("region").to_owned();
        let mut shown = Vec::new();
        for one in &self.catalog.types {
            let places: Vec<String> = match by.as_str() {
                "availability-zone" => one.zones.iter().map(|zone| zone.zone.clone()).collect(),
                "availability-zone-id" => one.zones.iter().map(|zone| zone.zone_id.clone()).collect(),
                _ => vec![self.script.region.clone()],
            };
            for place in places {
                if by == "availability-zone" && !self.is_zone(&place) {
                    continue;
                }
                let passes = form.passes(&BTreeMap::new(), |filter| match filter {
                    "instance-type" => Some(vec![one.name.clone()]),
                    "location" => Some(vec![place.clone()]),
                    _ => None,
                });
                if passes.map_err(invalid)? {
                    shown.push(vec![
                        text("instanceType", &one.name),
                        text("locationType", &by),
                        text("location", &place),
                    ]);
                }
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("instanceTypeOfferingSet", shown)];
        answer.extend(next);
        Ok(answer)
    }

    /// The price of now, and those it had since `StartTime`: of the script's steps.
    pub(crate) fn describe_spot_prices(&mut self, form: &Form) -> Answer {
        let (types, zone) = (form.list("InstanceType"), form.get("AvailabilityZone"));
        let since: i64 = form
            .get("StartTime")
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map_or(i64::MAX, |time| time.as_millisecond());
        let mut shown = Vec::new();
        for one in &self.catalog.types {
            if !types.is_empty() && !types.contains(&one.name) {
                continue;
            }
            for offer in one.zones.iter().filter(|offer| zone.is_none_or(|zone| zone == offer.zone)) {
                let Some(price) = self.price(&one.name, &offer.zone, "spot") else { continue };
                if !self.is_zone(&offer.zone) {
                    continue;
                }
                for (from, price) in self.history(&one.name, &offer.zone, price) {
                    // The price that holds is always shown; older ones if asked for.
                    if self.clock(from) >= since || from == self.changed(&one.name, &offer.zone) {
                        shown.push(vec![
                            text("availabilityZone", &offer.zone),
                            text("instanceType", &one.name),
                            text("productDescription", "Linux/UNIX"),
                            text("spotPrice", &dollars(price)),
                            text("timestamp", &stamp(self.clock(from))),
                        ]);
                    }
                }
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("spotPriceHistorySet", shown)];
        answer.extend(next);
        Ok(answer)
    }

    fn steps(&self, name: &str, zone: &str) -> Option<&[crate::script::Step]> {
        use crate::form::glob;
        let mut rules = self.script.pools.iter().filter(|rule| {
            glob(&rule.instance_type, name) && glob(&rule.zone, zone) && glob(&rule.capacity_type, "spot")
        });
        rules.find(|rule| at(&rule.price, self.now).is_some()).map(|rule| rule.price.as_slice())
    }

    /// When the price that holds began.
    fn changed(&self, name: &str, zone: &str) -> u64 {
        let steps = self.steps(name, zone).unwrap_or_default();
        steps.iter().rev().find(|step| step.at <= self.now).map_or(0, |step| step.at)
    }

    /// Prices with the time they began, newest first.
    fn history(&self, name: &str, zone: &str, now: i64) -> Vec<(u64, i64)> {
        let steps = self.steps(name, zone).unwrap_or_default();
        let past = steps.iter().rev().filter(|step| step.at <= self.now);
        let all: Vec<(u64, i64)> =
            past.map(|step| (step.at, i64::try_from(step.value).unwrap_or(i64::MAX))).collect();
        if all.is_empty() { vec![(0, now)] } else { all }
    }
}

fn arch(one: &InstanceType) -> &'static str {
    match one.arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "arm64",
    }
}

/// What of a type the catalogue knows, as EC2 spells it.
fn instance_type(one: &InstanceType) -> Vec<String> {
    let number = |value: u32| value.to_string();
    let mut classes = Vec::new();
    if one.on_demand.is_some() {
        classes.push(text("item", "on-demand"));
    }
    if one.zones.iter().any(|zone| zone.spot.is_some()) {
        classes.push(text("item", "spot"));
    }
    let maker = match one.cpu_manufacturer.as_str() {
        "intel" => "Intel",
        "amd" => "AMD",
        "aws" => "AWS",
        other => other,
    };
    let clock = one
        .clock_mhz
        .map(|mhz| text("sustainedClockSpeedInGhz", &format!("{}.{}", mhz / 1000, mhz % 1000 / 100)));
    let mut processor =
        vec![element("supportedArchitectures", &[text("item", arch(one))]), text("manufacturer", maker)];
    processor.extend(clock);
    let mut fields = vec![
        text("instanceType", &one.name),
        text("bareMetal", if one.hypervisor.is_none() { "true" } else { "false" }),
        element("supportedUsageClasses", &classes),
        element("processorInfo", &processor),
        element("vCpuInfo", &[text("defaultVCpus", &number(one.vcpus))]),
        element("memoryInfo", &[text("sizeInMiB", &number(one.memory_mib))]),
        element(
            "networkInfo",
            &[
                text("maximumNetworkInterfaces", &number(one.enis)),
                text("ipv4AddressesPerInterface", &number(one.ipv4_per_eni)),
                text("efaSupported", if one.efa > 0 { "true" } else { "false" }),
            ],
        ),
    ];
    fields.extend(one.hypervisor.as_deref().map(|hypervisor| text("hypervisor", hypervisor)));
    if let Some(gpu) = &one.gpu {
        let memory = element("memoryInfo", &[text("sizeInMiB", &number(gpu.memory_mib))]);
        let item = vec![
            text("name", &gpu.name),
            text("manufacturer", &gpu.manufacturer),
            text("count", &number(gpu.count)),
            memory,
        ];
        fields.push(element("gpuInfo", &[list("gpus", [item])]));
    }
    if let Some(disks) = one.local_storage {
        fields.push(element("instanceStorageInfo", &[text("totalSizeInGB", &number(disks.gb))]));
    }
    fields
}
