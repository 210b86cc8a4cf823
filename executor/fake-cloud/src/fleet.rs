//! CreateFleet, type `instant`.

use crate::form::Form;
use crate::instances::Machine;
use crate::templates::Template;
use crate::world::{Answer, Refusal, World};
use crate::xml::{element, list, text};
use std::cmp::Reverse;

/// Pools with room for this many instances are equally deep to the strategies that look at capacity.
const DEEP: u64 = 20;
/// Most overrides of a request (EC2's quota).
const OVERRIDES_MAX: usize = 300;

/// A combination of launch template and override.
#[derive(Clone, Debug)]
struct Choice {
    template: Template,
    specification: Form,
    instance_type: String,
    subnet: String,
    zone: String,
    /// As given, for the order; a number in text with decimals.
    priority: Option<u64>,
}

impl Choice {
    /// As answers show it.
    fn shown(&self) -> String {
        let specification = [
            text("launchTemplateId", &self.template.id),
            text("launchTemplateName", &self.template.name),
            text("version", self.specification.get("Version").unwrap_or("1")),
        ];
        let overrides = [
            text("instanceType", &self.instance_type),
            text("subnetId", &self.subnet),
            text("availabilityZone", &self.zone),
        ];
        element(
            "launchTemplateAndOverrides",
            &[element("launchTemplateSpecification", &specification), element("overrides", &overrides)],
        )
    }
}

/// Thousandths of a decimal number.
fn thousandths(decimal: &str) -> Option<u64> {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part.parse().ok()?)
}

impl World {
    pub(crate) fn create_fleet(&mut self, form: &Form) -> Answer {
        if form.get("Type") != Some("instant") {
            return Err(Refusal::new("InvalidParameterValue", "Only fleets of type instant are known here."));
        }
        let target = form.below("TargetCapacitySpecification");
        let asked = target.number("TotalTargetCapacity").unwrap_or(0);
        let capacity_type = target.get("DefaultTargetCapacityType").unwrap_or("on-demand").to_owned();
        let options = if capacity_type == "spot" { "SpotOptions" } else { "OnDemandOptions" };
        let strategy = form.below(options).get("AllocationStrategy").unwrap_or("lowest-price").to_owned();
        let mut choices = self.choices(form)?;
        self.order(&mut choices, &capacity_type, &strategy);
        let (mut errors, mut launched) = (Vec::new(), Vec::new());
        let mut missing = asked;
        for choice in &choices {
            if missing == 0 {
                break;
            }
            let mut ids = Vec::new();
            while missing > 0 {
                match self.launch(form, choice, &capacity_type) {
                    Ok(id) => {
                        ids.push(id);
                        missing -= 1;
                    }
                    Err(refusal) => {
                        errors.push(vec![
                            choice.shown(),
                            text("lifecycle", &capacity_type),
                            text("errorCode", &refusal.code),
                            text("errorMessage", &refusal.message),
                        ]);
                        break;
                    }
                }
            }
            if !ids.is_empty() {
                let ids: Vec<String> = ids.iter().map(|id| text("item", id)).collect();
                launched.push(vec![
                    choice.shown(),
                    text("lifecycle", &capacity_type),
                    element("instanceIds", &ids),
                    text("instanceType", &choice.instance_type),
                ]);
            }
        }
        let fleet = self.id("fleet");
        Ok(vec![text("fleetId", &fleet), list("errorSet", errors), list("fleetInstanceSet", launched)])
    }

    /// All combinations. What names a template that does not exist refuses the whole.
    fn choices(&mut self, form: &Form) -> Result<Vec<Choice>, Refusal> {
        let mut choices = Vec::new();
        for config in form.parts("LaunchTemplateConfigs") {
            let specification = config.below("LaunchTemplateSpecification");
            let template = self.template(&specification)?;
            for one in config.parts("Overrides") {
                let subnet = one.get("SubnetId").unwrap_or_default().to_owned();
                let found = self.script.subnets.iter().find(|known| known.id == subnet);
                let zone = found.map(|known| known.zone.clone()).ok_or_else(|| {
                    Refusal::new(
                        "InvalidSubnetID.NotFound",
                        format!("The subnet ID '{subnet}' does not exist"),
                    )
                })?;
                choices.push(Choice {
                    template: template.clone(),
                    specification: specification.clone(),
                    instance_type: one.get("InstanceType").unwrap_or_default().to_owned(),
                    subnet,
                    zone,
                    priority: one.get("Priority").and_then(thousandths),
                });
            }
        }
        if choices.is_empty() || choices.len() > OVERRIDES_MAX {
            let message = format!("{} overrides; between 1 and {OVERRIDES_MAX} are allowed", choices.len());
            return Err(Refusal::new("InvalidFleetConfig", message));
        }
        Ok(choices)
    }

    /// The order in which they are tried. Sorting keeps the order of what is equal.
    fn order(&self, choices: &mut [Choice], capacity_type: &str, strategy: &str) {
        let price = |choice: &Choice| {
            self.price(&choice.instance_type, &choice.zone, capacity_type).unwrap_or(i64::MAX)
        };
        let depth = |choice: &Choice| {
            self.free(&choice.instance_type, &choice.zone, capacity_type).unwrap_or(DEEP).min(DEEP)
        };
        let priority = |choice: &Choice| choice.priority.unwrap_or(u64::MAX);
        match strategy {
            "prioritized" => choices.sort_by_key(priority),
            // Capacity first, priorities as far as that allows: pools that are not about to be taken back count as equal.
            "capacity-optimized-prioritized" => {
                choices.sort_by_key(|choice| (Reverse(depth(choice)), priority(choice)))
            }
            "capacity-optimized" => choices.sort_by_key(|choice| Reverse(depth(choice))),
            "price-capacity-optimized" => {
                choices.sort_by_key(|choice| (Reverse(depth(choice)), price(choice)))
            }
            _ => choices.sort_by_key(price),
        }
    }

    fn launch(&mut self, form: &Form, choice: &Choice, capacity_type: &str) -> Result<String, Refusal> {
        let (instance_type, zone) = (&choice.instance_type, &choice.zone);
        let Some(price) = self.price(instance_type, zone, capacity_type) else {
            let message = format!(
                "Your requested instance type ({instance_type}) is not supported in your requested Availability Zone ({zone})."
            );
            return Err(Refusal::new("Unsupported", message));
        };
        if self.free(instance_type, zone, capacity_type) == Some(0) {
            return Err(if capacity_type == "spot" {
                Refusal::new(
                    "UnfulfillableCapacity",
                    "Unable to fulfill capacity due to your request configuration.",
                )
            } else {
                let message = format!(
                    "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone})."
                );
                Refusal::new("InsufficientInstanceCapacity", message)
            });
        }
        let target = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId";
        let reservation = choice.template.data.get(target).map(str::to_owned);
        if let Some(id) = &reservation {
            let known = self.script.reservations.iter().find(|one| one.id == *id);
            if known.is_none_or(|one| one.instance_type != *instance_type || one.zone != *zone) {
                let message =
                    format!("The capacity reservation {id} does not exist, or is for other instances.");
                return Err(Refusal::new("InvalidCapacityReservationId.NotFound", message));
            }
            if self.left_of(id) == 0 {
                let message = "The requested reservation does not have sufficient compatible and available capacity for this request.";
                return Err(Refusal::new("ReservationCapacityExceeded", message));
            }
        }
        if self.addresses(&choice.subnet) == 0 {
            let message = format!("There are not enough free addresses in subnet '{}'.", choice.subnet);
            return Err(Refusal::new("InsufficientFreeAddressesInSubnet", message));
        }
        let id = self.id("i");
        let mut tags = choice.template.data.tags("TagSpecification", "instance");
        tags.extend(form.tags("TagSpecification", "instance"));
        self.machines.insert(
            id.clone(),
            Machine {
                id: id.clone(),
                instance_type: instance_type.clone(),
                zone: zone.clone(),
                subnet: choice.subnet.clone(),
                capacity_type: capacity_type.to_owned(),
                price,
                template: choice.template.clone(),
                tags,
                reservation,
                token: form.get("ClientToken").unwrap_or_default().to_owned(),
                launched: self.now,
                ended: None,
                ends: None,
                hidden: self.script.invisible_reads,
            },
        );
        Ok(id)
    }
}
