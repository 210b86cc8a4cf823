//! One machine under a token.

use crate::client::Aws;
use crate::errors::{Kind, Trouble, kind};
use crate::limits::Class;
use crate::order::{Config, Order};
use crate::prepare::TAG_CLUSTER;
use crate::template::tags;
use aws_sdk_ec2::operation::create_fleet::CreateFleetOutput;
use aws_sdk_ec2::types as ec2;
use std::collections::{BTreeMap, BTreeSet};
use stowage_executor::{Failure, Instance, InstanceState, Launched, Time};
use stowage_models::labels;
use tokio::time::Instant;

/// Type, zone, capacity type.
type Triple = (String, String, String);

impl Aws {
    /// Sends a stored request under its token.
    pub(crate) async fn send_order(&self, token: &str, text: &str) -> Result<Launched, Failure> {
        let order = Order::parse(text).map_err(Failure::Never)?;
        for config in &order.configs {
            self.ensure(config).await.map_err(Trouble::failure)?;
        }
        let answer = match self.fleet(token, &order).await {
            // Somebody has deleted a template, or EC2 does not show it yet. It is made again, and if that finds it there, it will be
            // visible at the next attempt.
            Err(trouble) if is_template_missing(&trouble.code) => {
                for config in &order.configs {
                    self.caches().templates.remove(&config.name);
                    self.ensure(config).await.map_err(Trouble::failure)?;
                }
                self.fleet(token, &order).await
            }
            answer => answer,
        };
        self.outcome(&order, &answer.map_err(Trouble::failure)?)
    }

    /// Makes a launch template, unless it is there.
    async fn ensure(&self, config: &Config) -> Result<(), Trouble> {
        if let Some(used) = self.caches().templates.get_mut(&config.name) {
            *used = Instant::now();
            return Ok(());
        }
        let mut own = config.template.tags.clone();
        own.insert(TAG_CLUSTER.to_owned(), self.settings.cluster.clone());
        let specification = ec2::TagSpecification::builder()
            .resource_type(ec2::ResourceType::LaunchTemplate)
            .set_tags(Some(tags(&own)))
            .build();
        let request = self
            .ec2
            .create_launch_template()
            .launch_template_name(&config.name)
            .launch_template_data(config.template.data())
            .tag_specifications(specification)
            .send();
        match self.write("CreateLaunchTemplate", Class::Write, request).await {
            Ok(_) => {}
            // The name is the hash of the content.
            Err(trouble) if trouble.kind == Kind::Exists => {}
            Err(trouble) => return Err(trouble),
        }
        self.caches().templates.insert(config.name.clone(), Instant::now());
        Ok(())
    }

    async fn fleet(&self, token: &str, order: &Order) -> Result<CreateFleetOutput, Trouble> {
        let configs = order.configs.iter().map(|config| {
            let specification = ec2::FleetLaunchTemplateSpecificationRequest::builder()
                .launch_template_name(&config.name)
                // A template has one version; were it changed by hand, the change would not be ours.
                .version("1")
                .build();
            let overrides = config.overrides.iter().map(|one| {
                ec2::FleetLaunchTemplateOverridesRequest::builder()
                    .instance_type(one.instance_type.as_str().into())
                    .subnet_id(&one.subnet)
                    // The SDK's type; small whole numbers are exact in it.
                    .priority(one.priority.into())
                    .build()
            });
            ec2::FleetLaunchTemplateConfigRequest::builder()
                .launch_template_specification(specification)
                .set_overrides(Some(overrides.collect()))
                .build()
        });
        // What is reserved is launched as on demand, into the reservation its template names; but for capacity blocks.
        let block = order.configs.iter().any(|config| config.template.block);
        let capacity_type = match order.capacity_type.as_str() {
            labels::RESERVED if block => "capacity-block",
            labels::RESERVED => "on-demand",
            other => other,
        };
        let target = ec2::TargetCapacitySpecificationRequest::builder()
            .total_target_capacity(1)
            .default_target_capacity_type(capacity_type.into())
            .build();
        let tagged = |resource| {
            ec2::TagSpecification::builder().resource_type(resource).set_tags(Some(tags(&order.tags))).build()
        };
        let mut request = self
            .ec2
            .create_fleet()
            .client_token(token)
            .r#type(ec2::FleetType::Instant)
            .set_launch_template_configs(Some(configs.collect()))
            .target_capacity_specification(target)
            .tag_specifications(tagged(ec2::ResourceType::Fleet))
            .tag_specifications(tagged(ec2::ResourceType::Instance))
            .set_context(order.context.clone());
        // The plan's order decides, as far as EC2 lets it: on demand it does, for spot after capacity.
        request = if order.capacity_type == "spot" {
            let strategy = ec2::SpotAllocationStrategy::CapacityOptimizedPrioritized;
            request.spot_options(ec2::SpotOptionsRequest::builder().allocation_strategy(strategy).build())
        } else {
            let strategy = ec2::FleetOnDemandAllocationStrategy::Prioritized;
            request.on_demand_options(
                ec2::OnDemandOptionsRequest::builder().allocation_strategy(strategy).build(),
            )
        };
        self.write("CreateFleet", Class::Write, request.send()).await
    }

    /// What a fleet came to. There may be errors beside an instance, and neither instance nor exception.
    fn outcome(&self, order: &Order, answer: &CreateFleetOutput) -> Result<Launched, Failure> {
        let zones: BTreeMap<&str, &str> = order
            .configs
            .iter()
            .flat_map(|config| &config.overrides)
            .map(|one| (one.subnet.as_str(), one.zone.as_str()))
            .collect();
        let (mut missing, mut full, mut other) = (BTreeSet::<Triple>::new(), BTreeSet::new(), Vec::new());
        for error in answer.errors() {
            let code = error.error_code().unwrap_or_default();
            let place = error.launch_template_and_overrides().and_then(|one| one.overrides());
            let name = place.and_then(|one| one.instance_type()).map(|one| one.as_str().to_owned());
            let subnet = place.and_then(|one| one.subnet_id());
            let zone = subnet.and_then(|id| zones.get(id)).copied();
            // Only what is said of a capacity is one: throttling of a fleet, say, must not empty a pool.
            match (kind(code, None), name, zone, subnet) {
                (Kind::Capacity, Some(name), Some(zone), _) => {
                    missing.insert((name, zone.to_owned(), order.capacity_type.clone()));
                }
                (Kind::Addresses, _, _, Some(subnet)) => {
                    full.insert(subnet.to_owned());
                }
                _ => other.push(format!("{code}: {}", error.error_message().unwrap_or_default())),
            }
        }
        self.dry_up(&full);
        for instances in answer.instances() {
            let Some(id) = instances.instance_ids().first() else { continue };
            let place = instances.launch_template_and_overrides().and_then(|one| one.overrides());
            let subnet = place.and_then(|one| one.subnet_id()).unwrap_or_default();
            let name = instances.instance_type().map(|one| one.as_str().to_owned()).unwrap_or_default();
            let zone = zones.get(subnet).map_or_else(
                || place.and_then(|one| one.availability_zone()).unwrap_or_default().to_owned(),
                |zone| (*zone).to_owned(),
            );
            let image = order.config(&name).map(|config| config.template.image.clone()).unwrap_or_default();
            let instance = Instance {
                id: id.clone(),
                claim: order.launch.claim.clone(),
                ours: true,
                state: InstanceState::Pending,
                launched: Time(jiff::Timestamp::now().as_millisecond()),
                instance_type: name,
                zone,
                capacity_type: order.capacity_type.clone(),
                image,
                ..Instance::default()
            };
            order
                .configs
                .iter()
                .find_map(|one| one.template.reservation.as_deref())
                .inspect(|id| self.drawn(id));
            return Ok(Launched { instance, missing: missing.into_iter().collect() });
        }
        // The token will give the same answer for ever, so none of this is worth repeating: it is planned again, under another.
        if missing.is_empty() && full.is_empty() {
            let why = if other.is_empty() { "the fleet is empty".to_owned() } else { other.join("; ") };
            return Err(Failure::Never(format!("CreateFleet: {why}")));
        }
        Err(Failure::Capacity(missing.into_iter().collect()))
    }
}

fn is_template_missing(code: &str) -> bool {
    code.starts_with("InvalidLaunchTemplate") && kind(code, None) == Kind::NotFound
}
