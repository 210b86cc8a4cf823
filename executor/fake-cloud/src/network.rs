//! Subnets, security groups, images, zones.

use crate::form::Form;
use crate::world::{Answer, Refusal, World};
use crate::xml::{list, tags, text};

fn invalid(message: String) -> Refusal {
    Refusal::new("InvalidParameterValue", message)
}

impl World {
    /// Addresses of a subnet that are free now.
    pub(crate) fn addresses(&self, subnet: &str) -> u32 {
        let all = self.script.subnets.iter().find(|one| one.id == subnet).map_or(0, |one| one.free);
        let used = self.machines.values().filter(|one| one.subnet == subnet && one.ended.is_none()).count();
        all.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    fn zone_id(&self, zone: &str) -> &str {
        self.script.zones.iter().find(|one| one.name == zone).map_or("", |one| &one.id)
    }

    pub(crate) fn describe_subnets(&mut self, form: &Form) -> Answer {
        let ids = form.list("SubnetId");
        let mut shown = Vec::new();
        for subnet in &self.script.subnets {
            let passes = form.passes(&subnet.tags, |filter| match filter {
                "subnet-id" => Some(vec![subnet.id.clone()]),
                "availability-zone" => Some(vec![subnet.zone.clone()]),
                "state" => Some(vec!["available".to_owned()]),
                _ => None,
            });
            if passes.map_err(invalid)? && (ids.is_empty() || ids.contains(&subnet.id)) {
                shown.push(vec![
                    text("subnetId", &subnet.id),
                    text("state", "available"),
                    text("vpcId", "vpc-01"),
                    text("availabilityZone", &subnet.zone),
                    text("availabilityZoneId", self.zone_id(&subnet.zone)),
                    text("availableIpAddressCount", &self.addresses(&subnet.id).to_string()),
                    tags(&subnet.tags),
                ]);
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("subnetSet", shown)];
        answer.extend(next);
        Ok(answer)
    }

    pub(crate) fn describe_security_groups(&mut self, form: &Form) -> Answer {
        let ids = form.list("GroupId");
        let mut shown = Vec::new();
        for group in &self.script.security_groups {
            let passes = form.passes(&group.tags, |filter| match filter {
                "group-id" => Some(vec![group.id.clone()]),
                "group-name" => Some(vec![group.name.clone()]),
                _ => None,
            });
            if passes.map_err(invalid)? && (ids.is_empty() || ids.contains(&group.id)) {
                shown.push(vec![
                    text("groupId", &group.id),
                    text("groupName", &group.name),
                    text("vpcId", "vpc-01"),
                    tags(&group.tags),
                ]);
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("securityGroupInfo", shown)];
        answer.extend(next);
        Ok(answer)
    }

    pub(crate) fn describe_images(&mut self, form: &Form) -> Answer {
        let (ids, owners) = (form.list("ImageId"), form.list("Owner"));
        let mut shown = Vec::new();
        for image in &self.script.images {
            let passes = form.passes(&image.tags, |filter| match filter {
                "image-id" => Some(vec![image.id.clone()]),
                "name" => Some(vec![image.name.clone()]),
                "architecture" => Some(vec![image.arch.clone()]),
                "state" => Some(vec!["available".to_owned()]),
                _ => None,
            });
            let asked = ids.is_empty() || ids.contains(&image.id);
            if passes.map_err(invalid)? && asked && (owners.is_empty() || owners.contains(&image.owner)) {
                shown.push(vec![
                    text("imageId", &image.id),
                    text("imageState", "available"),
                    text("imageOwnerId", &image.owner),
                    text("creationDate", &image.created),
                    text("architecture", &image.arch),
                    text("name", &image.name),
                    tags(&image.tags),
                ]);
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("imagesSet", shown)];
        answer.extend(next);
        Ok(answer)
    }

    pub(crate) fn describe_zones(&mut self, form: &Form) -> Answer {
        let mut shown = Vec::new();
        for zone in &self.script.zones {
            let passes = form.passes(&Default::default(), |filter| match filter {
                "zone-name" => Some(vec![zone.name.clone()]),
                "zone-id" => Some(vec![zone.id.clone()]),
                "state" => Some(vec!["available".to_owned()]),
                "zone-type" => Some(vec!["availability-zone".to_owned()]),
                _ => None,
            });
            if passes.map_err(invalid)? {
                shown.push(vec![
                    text("zoneName", &zone.name),
                    text("zoneId", &zone.id),
                    text("zoneState", "available"),
                    text("zoneType", "availability-zone"),
                    text("regionName", &self.script.region),
                    text("optInStatus", "opt-in-not-required"),
                ]);
            }
        }
        Ok(vec![list("availabilityZoneInfo", shown)])
    }
}
