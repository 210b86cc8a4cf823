//! The port: machines, all of them.

use crate::client::Aws;
use crate::errors::{Kind, Trouble};
use crate::limits::Class;
use crate::network::Network;
use crate::prepare::{TAG_CLAIM, TAG_CLUSTER};
use crate::reservations::Reserved;
use aws_sdk_ec2::types as ec2;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use stowage_api::Ec2NodeClass;
use stowage_executor::{
    Awaited, Cloud, CloudError, Failure, Instance, InstanceState, Launched, Letter, Message, Placed, Reason,
    Shift, Time,
};
use stowage_models::catalog::Catalog;
use stowage_models::labels;

/// Instances of a page.
const PAGE: i32 = 1000;

impl Cloud for Aws {
    fn prepare<'a>(&'a self, body: &'a str, class: &'a str) -> Awaited<'a, Result<String, Failure>> {
        Box::pin(async move {
            let order = self.order(body, class).await?;
            serde_json::to_string(&order).map_err(|error| Failure::Never(error.to_string()))
        })
    }

    fn launch<'a>(&'a self, token: &'a str, body: &'a str) -> Awaited<'a, Result<Launched, Failure>> {
        Box::pin(async move { self.send_order(token, body).await })
    }

    fn terminate<'a>(&'a self, instance: &'a str, _: Reason) -> Awaited<'a, Result<(), CloudError>> {
        Box::pin(async move {
            let request = self.ec2.terminate_instances().instance_ids(instance).send();
            match self.write("TerminateInstances", Class::Terminate, request).await {
                Ok(_) => Ok(()),
                // Long gone, or not visible yet; if it shows up, it is asked for again.
                Err(trouble) if trouble.kind == Kind::NotFound => Ok(()),
                Err(trouble) => Err(trouble.into()),
            }
        })
    }

    fn list(&self) -> Awaited<'_, Result<Vec<Instance>, CloudError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            let mut next: Option<String> = None;
            loop {
                let page = self
                    .read("DescribeInstances", Class::Read, || {
                        let name = format!("tag:{TAG_CLUSTER}");
                        let ours = ec2::Filter::builder().name(name).values(&self.settings.cluster).build();
                        let request = self.ec2.describe_instances().filters(ours).max_results(PAGE);
                        request.set_next_token(next.clone()).send()
                    })
                    .await?;
                let instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
                found.extend(instances.filter_map(instance));
                next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
                if next.is_none() {
                    return Ok(found);
                }
            }
        })
    }

    fn class_status<'a>(&'a self, class: &'a str) -> Awaited<'a, Result<Option<String>, CloudError>> {
        Box::pin(async move {
            let class: Ec2NodeClass = serde_json::from_str(class)
                .map_err(|error| CloudError(format!("not a node class: {error}")))?;
            let network = self.network(&class.spec).await;
            let images = self.images(&class.spec).await;
            let mut status = status(&network, &images);
            if class.spec.capacity_reservation_selector_terms.as_ref().is_some_and(|terms| !terms.is_empty())
            {
                add_reservations(&mut status, &self.reservations(&class.spec).await);
            }
            Ok(Some(status.to_string()))
        })
    }

    fn image<'a>(
        &'a self,
        class: &'a str,
        instance_type: &'a str,
    ) -> Awaited<'a, Result<Option<String>, CloudError>> {
        Box::pin(async move {
            let class: Ec2NodeClass = serde_json::from_str(class)
                .map_err(|error| CloudError(format!("not a node class: {error}")))?;
            match self.catalog().get(instance_type) {
                Some(kind) => Ok(Some(Aws::image(self, &class.spec, kind).await?)),
                None => Ok(None),
            }
        })
    }

    fn reserved(&self) -> BTreeMap<String, i64> {
        self.available()
    }

    fn catalog(&self) -> Option<Arc<Catalog>> {
        Some(Aws::catalog(self))
    }

    fn receive(&self, wait: bool) -> Awaited<'_, Result<Option<Vec<Letter>>, CloudError>> {
        Box::pin(async move { Ok(self.letters(wait).await?) })
    }

    fn unwell(&self) -> Awaited<'_, Result<Vec<Message>, CloudError>> {
        Box::pin(async move { Ok(Aws::unwell(self).await?) })
    }

    fn shifts(&self) -> Option<Awaited<'_, Result<Vec<Shift>, CloudError>>> {
        let cluster = self.settings.zonal_shift.as_deref()?;
        Some(Box::pin(async move { Ok(self.shifts_of(cluster).await?) }))
    }

    fn dismiss(&self, receipts: Vec<String>) -> Awaited<'_, Result<usize, CloudError>> {
        Box::pin(async move { Ok(self.delete_letters(receipts).await?) })
    }

    fn tidy(&self) -> Awaited<'_, Result<(), CloudError>> {
        Box::pin(async move { Ok(self.delete_unused_templates().await.map(drop)?) })
    }
}

/// An image with the architectures it is for.
type Images = Vec<(String, &'static str)>;

impl Aws {
    /// Images for the usual type of each architecture; one is enough.
    async fn images(&self, class: &stowage_api::Ec2NodeClassSpec) -> Result<Images, Trouble> {
        crate::images::family(class)?;
        let catalog = self.catalog();
        let (mut images, mut trouble) = (Images::new(), None);
        for (name, arch) in [("m5.large", "amd64"), ("m6g.large", "arm64")] {
            let Some(kind) = catalog.get(name) else { continue };
            match self.image(class, kind).await {
                Ok(image) => images.push((image, arch)),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        match trouble {
            Some(error) if images.is_empty() => Err(error),
            _ => Ok(images),
        }
    }
}

fn condition(kind: &str, trouble: Option<String>) -> serde_json::Value {
    json!({
        "type": kind, "status": if trouble.is_none() { "True" } else { "False" },
        "reason": if trouble.is_none() { kind } else { "NotFound" }, "message": trouble.unwrap_or_default(),
    })
}

/// What the status of a node class says; conditions without times.
fn status(network: &Result<Network, Trouble>, images: &Result<Images, Trouble>) -> serde_json::Value {
    let found = network.clone().unwrap_or_default();
    let lacks = |empty: bool, what: &str| match network {
        Err(trouble) => Some(trouble.text.clone()),
        Ok(_) if empty => Some(format!("no {what} is selected")),
        Ok(_) => None,
    };
    let subnets = lacks(found.subnets.is_empty(), "subnet");
    let groups = lacks(found.groups.is_empty(), "security group");
    let no_image = images.as_ref().err().map(|trouble| trouble.text.clone());
    let all: Vec<String> = [&subnets, &groups, &no_image].into_iter().flatten().cloned().collect();
    let ready = (!all.is_empty()).then(|| all.join("; "));
    let images = images.clone().unwrap_or_default();
    json!({
        "subnets": found.subnets.iter().map(|one| {
            json!({ "id": one.id, "zone": one.zone, "zoneID": one.zone_id })
        }).collect::<Vec<_>>(),
        "securityGroups": found.groups.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect::<Vec<_>>(),
        "amis": images.iter().map(|(id, arch)| json!({
            "id": id,
            "requirements": [{ "key": "kubernetes.io/arch", "operator": "In", "values": [arch] }],
        })).collect::<Vec<_>>(),
        "conditions": [
            condition("SubnetsReady", subnets),
            condition("SecurityGroupsReady", groups),
            condition("AMIsReady", no_image),
            condition("Ready", ready),
        ],
    })
}

/// Capacity reservations, with a condition of their own: without them the class can still launch what is not reserved.
fn add_reservations(status: &mut serde_json::Value, found: &Result<Vec<Reserved>, Trouble>) {
    let trouble = found.as_ref().err().map(|trouble| trouble.text.clone());
    if let Ok(found) = found {
        status["capacityReservations"] = found.iter().map(|one| json!(one.shown)).collect();
    }
    let kind = "CapacityReservationsReady";
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.push(condition(kind, trouble));
    }
}

fn instance(found: &ec2::Instance) -> Option<Instance> {
    let tag = |key: &str| {
        let tag = found.tags().iter().find(|tag| tag.key() == Some(key));
        tag.and_then(|tag| tag.value()).unwrap_or_default().to_owned()
    };
    let state = match found.state().and_then(|state| state.name()) {
        Some(ec2::InstanceStateName::Pending) => InstanceState::Pending,
        Some(ec2::InstanceStateName::ShuttingDown | ec2::InstanceStateName::Terminated) => {
            InstanceState::Ended
        }
        // One that was stopped can be started again and still costs: it is there until it is terminated.
        _ => InstanceState::Running,
    };
    let launched = found.launch_time().and_then(|time| time.to_millis().ok()).unwrap_or_default();
    let spot = found.instance_lifecycle() == Some(&ec2::InstanceLifecycleType::Spot);
    Some(Instance {
        id: found.instance_id()?.to_owned(),
        claim: tag(TAG_CLAIM),
        // Filtered by the tag of this cluster's Stowage; without a claim's name it is none of its.
        ours: !tag(TAG_CLAIM).is_empty() && !tag(TAG_CLUSTER).is_empty(),
        state,
        launched: Time(launched),
        instance_type: found.instance_type().map(|one| one.as_str().to_owned()).unwrap_or_default(),
        zone: found.placement().and_then(|place| place.availability_zone()).unwrap_or_default().to_owned(),
        capacity_type: match found.capacity_reservation_id() {
            Some(_) => labels::RESERVED,
            None if spot => "spot",
            None => "on-demand",
        }
        .to_owned(),
        image: found.image_id().unwrap_or_default().to_owned(),
        placed: Some(Box::new(Placed {
            subnet: found.subnet_id().unwrap_or_default().to_owned(),
            groups: found
                .security_groups()
                .iter()
                .filter_map(|one| one.group_id())
                .map(str::to_owned)
                .collect(),
            reservation: found.capacity_reservation_id().map(str::to_owned),
        })),
    })
}
