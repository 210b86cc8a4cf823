//! Instances.

use crate::form::Form;
use crate::money::stamp;
use crate::script::NoticeKind;
use crate::templates::Template;
use crate::world::{Answer, Refusal, World};
use crate::xml::{element, list, tags, text};
use serde_json::json;
use std::collections::BTreeMap;

/// From the notice to the end of a spot instance.
const NOTICE: u64 = 120_000;
/// From the request until an instance has ended.
const SHUTDOWN: u64 = 2_000;
/// How long ended instances are shown.
const REMEMBERED: u64 = 3_600_000;

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Id.
    pub id: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Subnet.
    pub subnet: String,
    /// `spot` or `on-demand`.
    pub capacity_type: String,
    /// Price when it was launched, micro-dollars an hour.
    pub price: i64,
    /// Launch template as it was.
    pub template: Template,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The capacity reservation it runs in.
    pub reservation: Option<String>,
    /// Client token of the fleet.
    pub token: String,
    /// When it was launched.
    pub launched: u64,
    /// When it was asked to end, or was ended.
    pub ended: Option<u64>,
    /// When it is going to be taken back.
    pub ends: Option<u64>,
    /// Reads that do not show it yet.
    pub(crate) hidden: u32,
}

impl Machine {
    fn state(&self, now: u64, pending: u64) -> (&'static str, &'static str) {
        match self.ended {
            Some(ended) if now >= ended + SHUTDOWN => ("48", "terminated"),
            Some(_) => ("32", "shutting-down"),
            None if now < self.launched + pending => ("0", "pending"),
            None => ("16", "running"),
        }
    }
}

fn state((code, name): (&str, &str), element_name: &str) -> String {
    element(element_name, &[text("code", code), text("name", name)])
}

impl World {
    /// Machines whose kubelet would register by now.
    pub fn booted(&mut self, now: u64) -> Vec<Machine> {
        self.advance(now);
        let boot = self.script.boot;
        let up = self.machines.values().filter(|one| one.ended.is_none() && now >= one.launched + boot);
        up.cloned().collect()
    }

    /// Lets time pass: notices, and what they announce.
    pub fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        let due: Vec<_> = self
            .script
            .notices
            .iter()
            .skip(self.noticed)
            .take_while(|one| one.at <= self.now)
            .cloned()
            .collect();
        self.noticed += due.len();
        for notice in due {
            let ids: Vec<String> = self
                .machines
                .values()
                .filter(|one| one.ended.is_none() && one.ends.is_none())
                .filter(|one| notice.kind == NoticeKind::StateChange || one.capacity_type == "spot")
                .map(|one| one.id.clone())
                .collect();
            for id in ids {
                if self.rng.per_mille(notice.permille) {
                    self.notify(&id, notice.kind, notice.queue.as_deref());
                }
            }
        }
        // Capacity that is gone is taken back.
        let queue = self.script.queues.first().cloned();
        let spot = self
            .machines
            .values()
            .filter(|one| one.capacity_type == "spot" && one.ended.is_none() && one.ends.is_none());
        let running: Vec<(String, String, String)> =
            spot.map(|one| (one.id.clone(), one.instance_type.clone(), one.zone.clone())).collect();
        for (id, instance_type, zone) in running {
            if self.excess(&instance_type, &zone, "spot") {
                self.notify(&id, NoticeKind::SpotInterruption, queue.as_deref());
            }
        }
        for machine in self.machines.values_mut() {
            if let Some(ends) = machine.ends.filter(|ends| *ends <= self.now) {
                machine.ended.get_or_insert(ends);
            }
        }
    }

    fn notify(&mut self, id: &str, kind: NoticeKind, queue: Option<&str>) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(id) else { return };
        let (detail_type, detail) = match kind {
            NoticeKind::SpotInterruption => {
                machine.ends = Some(now + NOTICE);
                (
                    "EC2 Spot Instance Interruption Warning",
                    json!({ "instance-id": id, "instance-action": "terminate" }),
                )
            }
            NoticeKind::Rebalance => ("EC2 Instance Rebalance Recommendation", json!({ "instance-id": id })),
            NoticeKind::StateChange => {
                machine.ended = Some(now);
                (
                    "EC2 Instance State-change Notification",
                    json!({ "instance-id": id, "state": "shutting-down" }),
                )
            }
        };
        let zone = machine.zone.clone();
        let event = self.id("event");
        let (time, region, account) =
            (stamp(self.clock(now)), self.script.region.clone(), self.script.account.clone());
        // The shape of EventBridge.
        let message = json!({
            "version": "0", "id": event, "detail-type": detail_type, "source": "aws.ec2", "account": account,
            "time": time, "region": region, "resources": [format!("arn:aws:ec2:{zone}:instance/{id}")], "detail": detail,
        });
        if let Some(queue) = queue {
            self.send(queue, message.to_string());
        }
    }

    pub(crate) fn describe_instances(&mut self, form: &Form) -> Answer {
        let (now, pending) = (self.now, self.script.pending);
        let wanted = form.list("InstanceId");
        let first = form.get("NextToken").is_none_or(str::is_empty);
        let mut shown = Vec::new();
        let mut found = Vec::new();
        for machine in self.machines.values_mut() {
            if machine.hidden > 0 {
                // A read is a list from its first page to its last.
                machine.hidden -= u32::from(first);
                continue;
            }
            if machine.ended.is_some_and(|ended| now >= ended + REMEMBERED) {
                continue;
            }
            found.push(machine.id.clone());
            let name = machine.state(now, pending).1;
            let passes = form.passes(&machine.tags, |filter| match filter {
                "instance-state-name" => Some(vec![name.to_owned()]),
                "instance-id" => Some(vec![machine.id.clone()]),
                "instance-type" => Some(vec![machine.instance_type.clone()]),
                "availability-zone" => Some(vec![machine.zone.clone()]),
                _ => None,
            });
            let asked = wanted.is_empty() || wanted.contains(&machine.id);
            if passes.map_err(|message| Refusal::new("InvalidParameterValue", message))? && asked {
                shown.push(machine.clone());
            }
        }
        if let Some(missing) = wanted.iter().find(|id| !found.contains(id)) {
            return Err(not_found(missing));
        }
        let (shown, next) = self.page(form, shown)?;
        let reservations = shown.iter().map(|machine| {
            let groups = machine.template.data.list("SecurityGroupId");
            let mut fields = vec![
                text("instanceId", &machine.id),
                text("imageId", machine.template.data.get("ImageId").unwrap_or_default()),
                state(machine.state(now, pending), "instanceState"),
                text("instanceType", &machine.instance_type),
                text("launchTime", &stamp(self.clock(machine.launched))),
                element("placement", &[text("availabilityZone", &machine.zone), text("tenancy", "default")]),
                text("subnetId", &machine.subnet),
                list("groupSet", groups.iter().map(|id| vec![text("groupId", id)])),
                text("privateDnsName", &format!("ip-{}.ec2.internal", &machine.id[2..])),
                tags(&machine.tags),
            ];
            if machine.capacity_type == "spot" {
                fields.push(text("instanceLifecycle", "spot"));
            }
            fields.extend(machine.reservation.iter().map(|id| text("capacityReservationId", id)));
            vec![
                text("reservationId", &format!("r-{}", &machine.id[2..])),
                text("ownerId", &self.script.account),
                list("instancesSet", [fields]),
            ]
        });
        let mut answer = vec![list("reservationSet", reservations)];
        answer.extend(next);
        Ok(answer)
    }

    /// What is left of a reservation; nothing if there is no such.
    pub(crate) fn left_of(&self, id: &str) -> u32 {
        let total = self.script.reservations.iter().find(|one| one.id == id).map_or(0, |one| one.total);
        let uses = |machine: &&Machine| machine.ended.is_none() && machine.reservation.as_deref() == Some(id);
        total.saturating_sub(u32::try_from(self.machines.values().filter(uses).count()).unwrap_or(u32::MAX))
    }

    pub(crate) fn describe_reservations(&mut self, form: &Form) -> Answer {
        let ids = form.list("CapacityReservationId");
        let mut shown = Vec::new();
        for one in &self.script.reservations {
            let passes = form.passes(&one.tags, |filter| match filter {
                "state" => Some(vec!["active".to_owned()]),
                "owner-id" => Some(vec![self.script.account.clone()]),
                "instance-match-criteria" => Some(vec!["targeted".to_owned()]),
                "instance-type" => Some(vec![one.instance_type.clone()]),
                "availability-zone" => Some(vec![one.zone.clone()]),
                _ => None,
            });
            if passes.map_err(|message| Refusal::new("InvalidParameterValue", message))?
                && (ids.is_empty() || ids.contains(&one.id))
            {
                shown.push(vec![
                    text("capacityReservationId", &one.id),
                    text("ownerId", &self.script.account),
                    text("instanceType", &one.instance_type),
                    text("availabilityZone", &one.zone),
                    text("tenancy", "default"),
                    text("totalInstanceCount", &one.total.to_string()),
                    text("availableInstanceCount", &self.left_of(&one.id).to_string()),
                    text("state", "active"),
                    text("endDateType", "unlimited"),
                    text("instanceMatchCriteria", "targeted"),
                    text("reservationType", "default"),
                    tags(&one.tags),
                ]);
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("capacityReservationSet", shown)];
        answer.extend(next);
        Ok(answer)
    }

    pub(crate) fn terminate(&mut self, form: &Form) -> Answer {
        let ids = form.list("InstanceId");
        // All or nothing, as EC2 does it; and what is not visible yet does not exist.
        if let Some(id) = ids.iter().find(|id| self.machines.get(*id).is_none_or(|one| one.hidden > 0)) {
            return Err(not_found(id));
        }
        let (now, pending) = (self.now, self.script.pending);
        let mut changes = Vec::new();
        for id in ids {
            let Some(machine) = self.machines.get_mut(&id) else { continue };
            let before = machine.state(now, pending);
            machine.ended.get_or_insert(now);
            let after = machine.state(now, pending);
            changes.push(vec![
                text("instanceId", &id),
                state(after, "currentState"),
                state(before, "previousState"),
            ]);
        }
        Ok(vec![list("instancesSet", changes)])
    }

    pub(crate) fn create_tags(&mut self, form: &Form) -> Answer {
        let ids = form.list("ResourceId");
        if let Some(id) = ids.iter().find(|id| self.machines.get(*id).is_none_or(|one| one.hidden > 0)) {
            return Err(not_found(id));
        }
        for tag in form.parts("Tag") {
            let (key, value) = (tag.get("Key").unwrap_or_default(), tag.get("Value").unwrap_or_default());
            for id in &ids {
                if let Some(machine) = self.machines.get_mut(id) {
                    machine.tags.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        Ok(vec![text("return", "true")])
    }
}

fn not_found(id: &str) -> Refusal {
    Refusal::new("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
}
