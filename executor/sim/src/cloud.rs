//! A cloud that keeps its word about tokens, and little else.

use std::collections::BTreeMap;
use stowage_executor::{Failure, Instance, InstanceState, LaunchBody, Launched, Time};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cloud {
    /// By id.
    pub(crate) instances: BTreeMap<String, Machine>,
    /// Instance and body of each token.
    tokens: BTreeMap<String, (String, String)>,
    /// Offerings without capacity, and until when.
    dry: BTreeMap<(String, String, String), Time>,
    /// How often each (plan, action) got an instance.
    pub(crate) launches: BTreeMap<(String, String), u32>,
}

/// An instance and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) instance: Instance,
    pub(crate) visible: Time,
    pub(crate) body: LaunchBody,
    /// When it ended.
    pub(crate) ended: Option<Time>,
}

impl Cloud {
    pub(crate) fn dry_up(&mut self, offering: (String, String, String), until: Time) {
        self.dry.insert(offering, until);
    }

    /// Launches, or answers as before.
    pub(crate) fn launch(
        &mut self,
        token: &str,
        text: &str,
        now: Time,
        visible: Time,
    ) -> Result<Launched, Failure> {
        if let Some((id, body)) = self.tokens.get(token) {
            if body != text {
                return Err(Failure::Never("IdempotentParameterMismatch".to_owned()));
            }
            let instance = self.instances[id].instance.clone();
            return Ok(Launched { instance, missing: Vec::new() });
        }
        let body = LaunchBody::parse(text).map_err(Failure::Never)?;
        let mut missing = Vec::new();
        for offering in &body.offerings {
            let key = (offering.instance_type.clone(), offering.zone.clone(), offering.capacity_type.clone());
            if self.dry.get(&key).is_some_and(|until| now < *until) {
                missing.push(key);
                continue;
            }
            let id = format!("i-{:06}", self.instances.len() + 1);
            let instance = Instance {
                id: id.clone(),
                claim: body.claim.clone(),
                ours: true,
                state: InstanceState::Pending,
                launched: now,
                instance_type: offering.instance_type.clone(),
                zone: offering.zone.clone(),
                capacity_type: offering.capacity_type.clone(),
                image: "ami-1".to_owned(),
                ..Instance::default()
            };
            *self.launches.entry((body.plan.clone(), body.action.clone())).or_default() += 1;
            self.tokens.insert(token.to_owned(), (id.clone(), text.to_owned()));
            let machine = Machine { instance: instance.clone(), visible, body, ended: None };
            self.instances.insert(id, machine);
            return Ok(Launched { instance, missing });
        }
        Err(Failure::Capacity(missing))
    }

    pub(crate) fn end(&mut self, id: &str, now: Time) {
        if let Some(machine) = self.instances.get_mut(id) {
            machine.instance.state = InstanceState::Ended;
            machine.ended.get_or_insert(now);
        }
    }

    /// What a listing shows: new instances not at once, ended ones for an hour.
    pub(crate) fn list(&self, now: Time) -> BTreeMap<String, Instance> {
        let shown = self.instances.iter().filter(|(_, machine)| {
            now >= machine.visible && machine.ended.is_none_or(|ended| now.since(ended) < 3_600_000)
        });
        shown.map(|(id, machine)| (id.clone(), machine.instance.clone())).collect()
    }
}
