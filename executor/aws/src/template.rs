//! Launch templates: everything nodes of a configuration have in common.

use crate::images::Family;
use aws_sdk_ec2::types as ec2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stowage_api::{
    BlockDevice, ConnectionTracking, Ebs, Ec2NodeClassSpec, MetadataOptions, NetworkInterface,
};
use stowage_models::digest;

/// What a launch template holds. Its text decides its name, so its order is fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Template {
    /// Image.
    pub image: String,
    /// User data, not encoded.
    pub user_data: String,
    /// Instance profile.
    pub profile: String,
    /// Security groups.
    pub groups: Vec<String>,
    /// Volumes.
    pub volumes: Vec<BlockDevice>,
    /// The instance metadata service.
    pub metadata: Option<MetadataOptions>,
    /// Metrics each minute.
    pub monitoring: bool,
    /// Public addresses.
    pub public: Option<bool>,
    /// Network interfaces.
    pub interfaces: Vec<NetworkInterface>,
    /// IPv4 prefixes of the primary interface.
    pub prefixes: Option<i32>,
    /// How long connections without traffic are remembered.
    pub tracking: Option<ConnectionTracking>,
    /// Placement group, by id or name.
    pub placement: Option<(Option<String>, Option<String>)>,
    /// Tags of volumes and network interfaces.
    pub tags: BTreeMap<String, String>,
    /// The capacity reservation that is drawn on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<String>,
    /// Whether the reservation is a capacity block.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub block: bool,
}

/// A volume of gp3, encrypted, that goes with its instance.
fn volume(device: &str, size: &str) -> BlockDevice {
    BlockDevice {
        device_name: Some(device.to_owned()),
        ebs: Some(Ebs {
            volume_size: Some(size.to_owned()),
            volume_type: Some("gp3".to_owned()),
            encrypted: Some(true),
            delete_on_termination: Some(true),
            ..Ebs::default()
        }),
        root_volume: None,
    }
}

/// Karpenter's default volumes.
fn default_volumes(family: Family) -> Vec<BlockDevice> {
    match family {
        Family::Al2 | Family::Al2023 => vec![volume("/dev/xvda", "20Gi")],
        Family::Bottlerocket => vec![volume("/dev/xvda", "4Gi"), volume("/dev/xvdb", "20Gi")],
        Family::Custom => Vec::new(),
    }
}

/// A size in Gi, G, Ti or T as EC2's GiB, rounded up.
fn gib(size: &str) -> Option<i32> {
    let end = size.find(|character: char| !character.is_ascii_digit())?;
    let amount: i64 = size[..end].parse().ok()?;
    let bytes = match &size[end..] {
        "Gi" => amount.checked_mul(1 << 30)?,
        "G" => amount.checked_mul(1_000_000_000)?,
        "Ti" => amount.checked_mul(1 << 40)?,
        "T" => amount.checked_mul(1_000_000_000_000)?,
        _ => return None,
    };
    i32::try_from(bytes.checked_add((1 << 30) - 1)? >> 30).ok()
}

fn metadata(options: Option<&MetadataOptions>) -> MetadataOptions {
    let given = options.cloned();
    let of =
        |value: Option<&String>, default: &str| Some(value.cloned().unwrap_or_else(|| default.to_owned()));
    let given = given.as_ref();
    MetadataOptions {
        http_endpoint: of(given.and_then(|one| one.http_endpoint.as_ref()), "enabled"),
        http_protocol_ipv6: of(given.and_then(|one| one.http_protocol_ipv6.as_ref()), "disabled"),
        http_put_response_hop_limit: Some(given.and_then(|one| one.http_put_response_hop_limit).unwrap_or(1)),
        http_tokens: of(given.and_then(|one| one.http_tokens.as_ref()), "required"),
    }
}

impl Template {
    /// What a node class asks for. Image, user data, groups, profile and tags are found elsewhere.
    pub(crate) fn of(class: &Ec2NodeClassSpec, family: Family) -> Template {
        let placement = class.placement_group_selector.as_ref();
        Template {
            volumes: class.block_device_mappings.clone().unwrap_or_else(|| default_volumes(family)),
            metadata: Some(metadata(class.metadata_options.as_ref())),
            monitoring: class.detailed_monitoring.unwrap_or_default(),
            public: class.associate_public_ip_address,
            interfaces: class.network_interfaces.clone().unwrap_or_default(),
            prefixes: class.ip_prefix_count,
            tracking: class.connection_tracking.clone(),
            placement: placement.map(|group| (group.id.clone(), group.name.clone())),
            ..Template::default()
        }
    }

    /// Its name: the same for the same content.
    #[must_use]
    pub fn name(&self, cluster: &str) -> String {
        // A struct of strings and maps of strings always has a JSON form.
        let text = serde_json::to_string(self).unwrap_or_default();
        let digest = digest::of_bytes(text.as_bytes());
        // Names have at most 128 characters, those of EKS clusters 100 at most.
        format!("stowage/{cluster}/{}", digest::short(&digest, 19))
    }

    /// As the SDK wants it.
    pub(crate) fn data(&self) -> ec2::RequestLaunchTemplateData {
        let profile = ec2::LaunchTemplateIamInstanceProfileSpecificationRequest::builder();
        let profile = if self.profile.starts_with("arn:") {
            profile.arn(&self.profile)
        } else {
            profile.name(&self.profile)
        };
        let mut data = ec2::RequestLaunchTemplateData::builder()
            .image_id(&self.image)
            .iam_instance_profile(profile.build())
            .monitoring(ec2::LaunchTemplatesMonitoringRequest::builder().enabled(self.monitoring).build())
            .set_metadata_options(self.metadata.as_ref().map(metadata_request))
            .set_block_device_mappings(Some(self.volumes.iter().map(volume_request).collect()));
        if !self.user_data.is_empty() {
            data = data.user_data(STANDARD.encode(&self.user_data));
        }
        if let Some((id, name)) = &self.placement {
            let placement = ec2::LaunchTemplatePlacementRequest::builder();
            data = data.placement(placement.set_group_id(id.clone()).set_group_name(name.clone()).build());
        }
        if let Some(id) = &self.reservation {
            let target = ec2::CapacityReservationTarget::builder().capacity_reservation_id(id).build();
            let specification = ec2::LaunchTemplateCapacityReservationSpecificationRequest::builder()
                .capacity_reservation_target(target);
            data = data.capacity_reservation_specification(specification.build());
        }
        if self.block {
            let market = ec2::LaunchTemplateInstanceMarketOptionsRequest::builder();
            data = data.instance_market_options(market.market_type(ec2::MarketType::CapacityBlock).build());
        }
        let interfaces = self.interfaces_request();
        data = if interfaces.is_empty() {
            data.set_security_group_ids(Some(self.groups.clone()))
        } else {
            data.set_network_interfaces(Some(interfaces))
        };
        if !self.tags.is_empty() {
            for resource in [ec2::ResourceType::Volume, ec2::ResourceType::NetworkInterface] {
                let specification = ec2::LaunchTemplateTagSpecificationRequest::builder()
                    .resource_type(resource)
                    .set_tags(Some(tags(&self.tags)))
                    .build();
                data = data.tag_specifications(specification);
            }
        }
        data.build()
    }

    /// Interfaces, if anything about them is special; otherwise EC2 makes the usual one.
    fn interfaces_request(&self) -> Vec<ec2::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest> {
        let special = self.public.is_some() || self.prefixes.is_some() || self.tracking.is_some();
        let primary = NetworkInterface {
            device_index: 0,
            interface_type: "interface".to_owned(),
            network_card_index: 0,
        };
        let listed = match (&self.interfaces[..], special) {
            ([], false) => return Vec::new(),
            ([], true) => std::slice::from_ref(&primary),
            (listed, _) => listed,
        };
        let one = |interface: &NetworkInterface| {
            let first = interface.device_index == 0 && interface.network_card_index == 0;
            let tracking = self.tracking.as_ref().map(|tracking| {
                ec2::ConnectionTrackingSpecificationRequest::builder()
                    .set_tcp_established_timeout(tracking.tcp_established_timeout)
                    .set_udp_stream_timeout(tracking.udp_stream_timeout)
                    .set_udp_timeout(tracking.udp_timeout)
                    .build()
            });
            ec2::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
                .device_index(interface.device_index)
                .network_card_index(interface.network_card_index)
                .interface_type(&interface.interface_type)
                .set_groups(Some(self.groups.clone()))
                .set_associate_public_ip_address(self.public.filter(|_| first))
                .set_ipv4_prefix_count(self.prefixes.filter(|_| first))
                .set_connection_tracking_specification(tracking)
                .delete_on_termination(true)
                .build()
        };
        listed.iter().map(one).collect()
    }
}

/// Tags as the SDK wants them.
pub(crate) fn tags(tags: &BTreeMap<String, String>) -> Vec<ec2::Tag> {
    tags.iter().map(|(key, value)| ec2::Tag::builder().key(key).value(value).build()).collect()
}

fn metadata_request(options: &MetadataOptions) -> ec2::LaunchTemplateInstanceMetadataOptionsRequest {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let hops = options.http_put_response_hop_limit.and_then(|hops| i32::try_from(hops).ok());
    ec2::LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_endpoint(text(&options.http_endpoint).as_str().into())
        .http_protocol_ipv6(text(&options.http_protocol_ipv6).as_str().into())
        .http_tokens(text(&options.http_tokens).as_str().into())
        .set_http_put_response_hop_limit(hops)
        .build()
}

fn volume_request(volume: &BlockDevice) -> ec2::LaunchTemplateBlockDeviceMappingRequest {
    let ebs = volume.ebs.as_ref().map(|ebs| {
        let small = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok());
        ec2::LaunchTemplateEbsBlockDeviceRequest::builder()
            .set_delete_on_termination(ebs.delete_on_termination)
            .set_encrypted(ebs.encrypted)
            .set_iops(small(ebs.iops))
            .set_throughput(small(ebs.throughput))
            .set_kms_key_id(ebs.kms_key_id.clone())
            .set_snapshot_id(ebs.snapshot_id.clone())
            .set_volume_initialization_rate(ebs.volume_initialization_rate)
            .set_volume_size(ebs.volume_size.as_deref().and_then(gib))
            .set_volume_type(ebs.volume_type.as_deref().map(Into::into))
            .build()
    });
    ec2::LaunchTemplateBlockDeviceMappingRequest::builder()
        .set_device_name(volume.device_name.clone())
        .set_ebs(ebs)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_follows_the_content() {
        let class = Ec2NodeClassSpec::default();
        let one = Template::of(&class, Family::Al2023);
        assert_eq!(one.name("c"), Template::of(&class, Family::Al2023).name("c"));
        assert_ne!(one.name("c"), Template { image: "ami-2".to_owned(), ..one.clone() }.name("c"));
        assert_ne!(one.name("c"), one.name("d"));
        assert!(one.name(&"c".repeat(100)).len() <= 128);
        // What is stored is what comes back.
        let text = serde_json::to_string(&one).expect("JSON");
        assert_eq!(serde_json::from_str::<Template>(&text).expect("a template"), one);
    }

    #[test]
    fn defaults_are_karpenters() {
        let one = Template::of(&Ec2NodeClassSpec::default(), Family::Bottlerocket);
        let data = one.data();
        let sizes: Vec<Option<i32>> = data
            .block_device_mappings()
            .iter()
            .map(|one| one.ebs().and_then(|ebs| ebs.volume_size()))
            .collect();
        assert_eq!(sizes, [Some(4), Some(20)]);
        let options = data.metadata_options().expect("options");
        assert_eq!(
            (options.http_put_response_hop_limit(), options.http_tokens().map(|one| one.as_str())),
            (Some(1), Some("required"))
        );
        assert!(data.network_interfaces().is_empty());
    }

    #[test]
    fn sizes_are_rounded_up_to_gib() {
        for (size, expected) in [
            ("20Gi", Some(20)),
            ("1Ti", Some(1024)),
            ("100G", Some(94)),
            ("1T", Some(932)),
            ("5", None),
            ("xGi", None),
        ] {
            assert_eq!(gib(size), expected, "{size}");
        }
    }

    #[test]
    fn special_interfaces_carry_the_groups() {
        let class =
            Ec2NodeClassSpec { associate_public_ip_address: Some(false), ..Ec2NodeClassSpec::default() };
        let template = Template { groups: vec!["sg-1".to_owned()], ..Template::of(&class, Family::Al2023) };
        let data = template.data();
        assert!(data.security_group_ids().is_empty());
        assert_eq!(data.network_interfaces()[0].groups(), ["sg-1"]);
        assert_eq!(data.network_interfaces()[0].associate_public_ip_address(), Some(false));
    }
}
