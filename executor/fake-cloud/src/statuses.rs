//! Machines that are not well.

use crate::form::Form;
use crate::money::stamp;
use crate::world::{Answer, Refusal, World};
use crate::xml::{element, list, text};

/// What is wrong with a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ailment {
    /// The check of the machine itself fails.
    pub instance: bool,
    /// The check of its host fails.
    pub system: bool,
    /// An event that is scheduled: code, description, and when it starts, in milliseconds of the cloud.
    pub event: Option<(String, String, u64)>,
}

impl World {
    /// Makes a machine unwell from now on; one without an ailment is well.
    pub fn ail(&mut self, instance: &str, ailment: Ailment) {
        self.ailments.insert(instance.to_owned(), ailment);
    }

    pub(crate) fn describe_statuses(&mut self, form: &Form) -> Answer {
        let mut shown = Vec::new();
        // As EC2: running ones, unless all are asked for.
        for machine in self.machines.values().filter(|one| one.ended.is_none() && one.hidden == 0) {
            let ailment = self.ailments.get(&machine.id).cloned().unwrap_or_default();
            let word = |impaired: bool| if impaired { "impaired" } else { "ok" };
            let code = ailment.event.as_ref().map(|(code, ..)| code.clone());
            let passes = form.passes(&machine.tags, |filter| match filter {
                "instance-status.status" => Some(vec![word(ailment.instance).to_owned()]),
                "system-status.status" => Some(vec![word(ailment.system).to_owned()]),
                "event.code" => Some(code.clone().into_iter().collect()),
                _ => None,
            });
            if passes.map_err(|message| Refusal::new("InvalidParameterValue", message))? {
                shown.push((machine.id.clone(), machine.zone.clone(), ailment));
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let statuses = shown.iter().map(|(id, zone, ailment)| {
            let summary = |impaired: bool| {
                let (status, detail) = if impaired { ("impaired", "failed") } else { ("ok", "passed") };
                let details = list("details", [vec![text("name", "reachability"), text("status", detail)]]);
                vec![text("status", status), details]
            };
            let events = ailment.event.iter().map(|(code, description, at)| {
                vec![
                    text("code", code),
                    text("description", description),
                    text("notBefore", &stamp(self.clock(*at))),
                ]
            });
            vec![
                text("instanceId", id),
                text("availabilityZone", zone),
                list("eventsSet", events),
                element("instanceState", &[text("code", "16"), text("name", "running")]),
                element("systemStatus", &summary(ailment.system)),
                element("instanceStatus", &summary(ailment.instance)),
            ]
        });
        let mut answer = vec![list("instanceStatusSet", statuses)];
        answer.extend(next);
        Ok(answer)
    }
}
