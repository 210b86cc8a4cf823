//! `karpenter.k8s.aws/v1` EC2NodeClass, as Karpenter 1.14 defines it.

use crate::common::{Condition, conditions};
use crate::nodeclass_terms::{
    AmiTerm, BlockDevice, NetworkInterface, PlacementGroup, ReservationTerm, SecurityGroupTerm, SubnetTerm,
    ami_terms, block_devices, network_interfaces, reservation_terms, security_group_terms, subnet_terms,
};
use crate::resource::{Column, Names, definition, resource};
use crate::schema::{QUANTITY, Rule, at, rules, set, structural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

resource!(
    /// What machines on EC2 look like.
    Ec2NodeClass, Ec2NodeClassSpec, Ec2NodeClassStatus, "karpenter.k8s.aws", "v1", "EC2NodeClass", "ec2nodeclasses"
);

/// What machines look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_rules)]
pub struct Ec2NodeClassSpec {
    /// Decides the form of user data and the default block devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = ami_family)]
    pub ami_family: Option<String>,
    /// Images, by any of these terms.
    #[schemars(transform = ami_terms)]
    pub ami_selector_terms: Vec<AmiTerm>,
    /// Whether instances get public addresses.
    #[serde(rename = "associatePublicIPAddress", skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    /// Volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = block_devices)]
    pub block_device_mappings: Option<Vec<BlockDevice>>,
    /// Capacity reservations, by any of these terms.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = reservation_terms)]
    pub capacity_reservation_selector_terms: Option<Vec<ReservationTerm>>,
    /// How long connections without traffic are remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_tracking: Option<ConnectionTracking>,
    /// Reserved in the API of EC2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Options of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_options: Option<CpuOptions>,
    /// Metrics each minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detailed_monitoring: Option<bool>,
    /// Instance profile; instead of `role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = instance_profile)]
    pub instance_profile: Option<String>,
    /// What to do with disks of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = store_policy)]
    pub instance_store_policy: Option<String>,
    /// IPv4 prefixes of the primary interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ip_prefix_count: Option<i32>,
    /// Settings of the kubelet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<Kubelet>,
    /// The instance metadata service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = metadata_options)]
    pub metadata_options: Option<MetadataOptions>,
    /// Network interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = network_interfaces)]
    pub network_interfaces: Option<Vec<NetworkInterface>>,
    /// Placement group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_group_selector: Option<PlacementGroup>,
    /// IAM role of the nodes; instead of `instanceProfile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = role)]
    pub role: Option<String>,
    /// Security groups, by any of these terms.
    #[schemars(transform = security_group_terms)]
    pub security_group_selector_terms: Vec<SecurityGroupTerm>,
    /// Subnets, by any of these terms.
    #[schemars(transform = subnet_terms)]
    pub subnet_selector_terms: Vec<SubnetTerm>,
    /// Tags of everything that is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tag_rules)]
    pub tags: Option<BTreeMap<String, String>>,
    /// User data, in the form of the image family; what a node needs is merged into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

/// Image families that have aliases, with the family's name in `amiFamily`.
const FAMILIES: [(&str, &str); 6] = [
    ("al2", "AL2"),
    ("al2023", "AL2023"),
    ("bottlerocket", "Bottlerocket"),
    ("windows2019", "Windows2019"),
    ("windows2022", "Windows2022"),
    ("windows2025", "Windows2025"),
];

fn spec_rules(schema: &mut Schema) {
    rules(
        schema,
        &[(
            "(has(self.role) && !has(self.instanceProfile)) || (!has(self.role) && has(self.instanceProfile))",
            "must specify exactly one of ['role', 'instanceProfile']",
        )],
    );
    for (alias, family) in FAMILIES {
        let rule = format!(
            "!has(self.amiFamily) || (self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == \
             '{alias}') ? (self.amiFamily == 'Custom' || self.amiFamily == '{family}') : true)"
        );
        let message = format!(
            "if set, amiFamily must be '{family}' or 'Custom' when using {} {family} alias",
            if family.starts_with('A') { "an" } else { "a" }
        );
        crate::common::rule_of(schema, &rule, &message);
    }
    rules(
        schema,
        &[(
            "self.amiSelectorTerms.exists(x, has(x.alias)) ? true : has(self.amiFamily)",
            "must specify amiFamily if amiSelectorTerms does not contain an alias",
        )],
    );
}

fn ami_family(schema: &mut Schema) {
    let families = ["AL2", "AL2023", "Bottlerocket", "Custom", "Windows2019", "Windows2022", "Windows2025"];
    set(schema, json!({ "enum": families }));
}

fn instance_profile(schema: &mut Schema) {
    rules(schema, &[("self != ''", "instanceProfile cannot be empty")]);
}

fn role(schema: &mut Schema) {
    rules(schema, &[("self != ''", "role cannot be empty")]);
}

fn store_policy(schema: &mut Schema) {
    set(schema, json!({ "enum": ["RAID0"] }));
}

fn tag_rules(schema: &mut Schema) {
    let restricted: [Rule; 6] = [
        ("self.all(k, k != '')", "empty tag keys aren't supported"),
        (
            "self.all(k, k !='eks:eks-cluster-name')",
            "tag contains a restricted tag matching eks:eks-cluster-name",
        ),
        (
            "self.all(k, !k.startsWith('kubernetes.io/cluster') )",
            "tag contains a restricted tag matching kubernetes.io/cluster/",
        ),
        (
            "self.all(k, k != 'karpenter.sh/nodepool')",
            "tag contains a restricted tag matching karpenter.sh/nodepool",
        ),
        (
            "self.all(k, k !='karpenter.sh/nodeclaim')",
            "tag contains a restricted tag matching karpenter.sh/nodeclaim",
        ),
        (
            "self.all(k, k !='karpenter.k8s.aws/ec2nodeclass')",
            "tag contains a restricted tag matching karpenter.k8s.aws/ec2nodeclass",
        ),
    ];
    rules(schema, &restricted);
}

/// How long connections without traffic are remembered, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = tracking_rules)]
pub struct ConnectionTracking {
    /// Established TCP connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 432_000))]
    pub tcp_established_timeout: Option<i32>,
    /// UDP streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 180))]
    pub udp_stream_timeout: Option<i32>,
    /// Single UDP requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 30, max = 60))]
    pub udp_timeout: Option<i32>,
}

fn tracking_rules(schema: &mut Schema) {
    rules(
        schema,
        &[(
            "has(self.tcpEstablishedTimeout) || has(self.udpStreamTimeout) || has(self.udpTimeout)",
            "at least one of tcpEstablishedTimeout, udpStreamTimeout, or udpTimeout must be set",
        )],
    );
}

/// Options of the processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuOptions {
    /// Virtual machines inside of instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = switch)]
    pub nested_virtualization: Option<String>,
}

fn switch(schema: &mut Schema) {
    set(schema, json!({ "enum": ["enabled", "disabled"] }));
}

/// The instance metadata service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataOptions {
    /// Whether it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = switch, extend("default" = "enabled"))]
    pub http_endpoint: Option<String>,
    /// Whether it answers over IPv6.
    #[serde(rename = "httpProtocolIPv6", skip_serializing_if = "Option::is_none")]
    #[schemars(transform = switch, extend("default" = "disabled"))]
    pub http_protocol_ipv6: Option<String>,
    /// How many hops its answers may travel; 1 keeps pods away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64), extend("default" = 1))]
    pub http_put_response_hop_limit: Option<i64>,
    /// Whether a session token is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tokens, extend("default" = "required"))]
    pub http_tokens: Option<String>,
}

fn tokens(schema: &mut Schema) {
    set(schema, json!({ "enum": ["required", "optional"] }));
}

fn metadata_options(schema: &mut Schema) {
    let defaults = json!({
        "httpEndpoint": "enabled", "httpProtocolIPv6": "disabled", "httpPutResponseHopLimit": 1, "httpTokens": "required",
    });
    set(schema, json!({ "default": defaults }));
}

/// Settings of the kubelet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubelet_rules)]
pub struct Kubelet {
    /// Addresses of the cluster's DNS servers.
    #[serde(rename = "clusterDNS", skip_serializing_if = "Option::is_none")]
    pub cluster_dns: Option<Vec<String>>,
    /// Whether limits of CPU are enforced by quota.
    #[serde(rename = "cpuCFSQuota", skip_serializing_if = "Option::is_none")]
    pub cpu_cfs_quota: Option<bool>,
    /// Thresholds at which pods are evicted at once, by signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = hard_signals)]
    pub eviction_hard: Option<BTreeMap<String, String>>,
    /// Most seconds of grace a pod gets that is evicted for a soft threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_max_pod_grace_period: Option<i32>,
    /// Thresholds at which pods are evicted after a while, by signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = soft_signals)]
    pub eviction_soft: Option<BTreeMap<String, String>>,
    /// These whiles, by signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = grace_signals)]
    pub eviction_soft_grace_period: Option<BTreeMap<String, String>>,
    /// Images are removed above this share of the disk.
    #[serde(rename = "imageGCHighThresholdPercent", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub image_gc_high_threshold_percent: Option<i32>,
    /// Images are removed down to this share of the disk.
    #[serde(rename = "imageGCLowThresholdPercent", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub image_gc_low_threshold_percent: Option<i32>,
    /// Reserved for the components of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = kube_reserved)]
    pub kube_reserved: Option<BTreeMap<String, String>>,
    /// Most pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_pods: Option<i32>,
    /// Most pods for each core.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pods_per_core: Option<i32>,
    /// Reserved for the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = system_reserved)]
    pub system_reserved: Option<BTreeMap<String, String>>,
}

fn kubelet_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            (
                "has(self.imageGCHighThresholdPercent) && has(self.imageGCLowThresholdPercent) ?  \
                 self.imageGCHighThresholdPercent > self.imageGCLowThresholdPercent  : true",
                "imageGCHighThresholdPercent must be greater than imageGCLowThresholdPercent",
            ),
            (
                "has(self.evictionSoft) ? self.evictionSoft.all(e, (e in self.evictionSoftGracePeriod)):true",
                "evictionSoft OwnerKey does not have a matching evictionSoftGracePeriod",
            ),
            (
                "has(self.evictionSoftGracePeriod) ? self.evictionSoftGracePeriod.all(e, (e in self.evictionSoft)):true",
                "evictionSoftGracePeriod OwnerKey does not have a matching evictionSoft",
            ),
        ],
    );
}

const SIGNALS: &str = "['memory.available','nodefs.available','nodefs.inodesFree','imagefs.available','imagefs.inodesFree','pid.available']";

fn signals(schema: &mut Schema, field: &str) {
    let message = format!("valid keys for {field} are {SIGNALS}");
    crate::common::rule_of(schema, &format!("self.all(x, x in {SIGNALS})"), &message);
}

/// A share in percent or a quantity.
fn threshold(schema: &mut Schema) {
    let quantity = QUANTITY.trim_start_matches('^').trim_end_matches('$');
    let pattern = format!(r"^((\d{{1,2}}(\.\d{{1,2}})?|100(\.0{{1,2}})?)%||{quantity})$");
    at(schema, &["additionalProperties"], |value| set(value, json!({ "pattern": pattern })));
}

fn hard_signals(schema: &mut Schema) {
    threshold(schema);
    signals(schema, "evictionHard");
}

fn soft_signals(schema: &mut Schema) {
    threshold(schema);
    signals(schema, "evictionSoft");
}

fn grace_signals(schema: &mut Schema) {
    signals(schema, "evictionSoftGracePeriod");
}

fn reserved(schema: &mut Schema, field: &str) {
    at(schema, &["additionalProperties"], |value| set(value, json!({ "pattern": QUANTITY })));
    let keys = "self.all(x, x=='cpu' || x=='memory' || x=='ephemeral-storage' || x=='pid')";
    let message = format!("valid keys for {field} are ['cpu','memory','ephemeral-storage','pid']");
    crate::common::rule_of(schema, keys, &message);
    let message = format!("{field} value cannot be a negative resource quantity");
    crate::common::rule_of(schema, "self.all(x, !self[x].startsWith('-'))", &message);
}

fn kube_reserved(schema: &mut Schema) {
    reserved(schema, "kubeReserved");
}

fn system_reserved(schema: &mut Schema) {
    reserved(schema, "systemReserved");
}

/// What the terms select today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ec2NodeClassStatus {
    /// Images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amis: Option<Vec<Ami>>,
    /// Capacity reservations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_reservations: Option<Vec<CapacityReservation>>,
    /// Conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = conditions)]
    pub conditions: Option<Vec<Condition>>,
    /// Instance profile of the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    /// Security groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<SecurityGroup>>,
    /// Subnets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Vec<Subnet>>,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ami {
    /// Its owner has marked it as outdated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<bool>,
    /// Id.
    pub id: String,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which instances can run it.
    pub requirements: Vec<AmiRequirement>,
}

/// A requirement of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AmiRequirement {
    /// Label key.
    pub key: String,
    /// Operator.
    pub operator: String,
    /// Values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = crate::common::atomic_list)]
    pub values: Option<Vec<String>>,
}

/// A capacity reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityReservation {
    /// Zone.
    pub availability_zone: String,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub end_time: Option<String>,
    /// Id.
    #[schemars(extend("pattern" = "^cr-[0-9a-z]+$"))]
    pub id: String,
    /// Which instances it takes.
    #[schemars(transform = crate::nodeclass_terms::match_criteria)]
    pub instance_match_criteria: String,
    /// Instance type.
    pub instance_type: String,
    /// Whether its owner may take it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interruptible: Option<bool>,
    /// Account.
    #[serde(rename = "ownerID")]
    #[schemars(extend("pattern" = "^[0-9]{12}$"))]
    pub owner_id: String,
    /// Kind of reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = reservation_type)]
    pub reservation_type: Option<String>,
    /// Whether it is about to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = reservation_state)]
    pub state: Option<String>,
}

fn reservation_type(schema: &mut Schema) {
    set(schema, json!({ "default": "default", "enum": ["default", "capacity-block"] }));
}

fn reservation_state(schema: &mut Schema) {
    set(schema, json!({ "default": "active", "enum": ["active", "expiring"] }));
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityGroup {
    /// Id.
    pub id: String,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Zone.
    pub zone: String,
    /// Id of the zone, the same in all accounts.
    #[serde(rename = "zoneID", skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<String>,
}

const COLUMNS: [Column; 3] = [
    ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", false),
    ("Age", "date", ".metadata.creationTimestamp", false),
    ("Role", "string", ".spec.role", true),
];

/// The definition of [`Ec2NodeClass`].
///
/// # Errors
/// Never, as far as the tests know: the schema is a constant.
pub fn node_class_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = Names {
        group: "karpenter.k8s.aws",
        version: "v1",
        kind: "EC2NodeClass",
        plural: "ec2nodeclasses",
        short: &["ec2nc", "ec2ncs"],
        category: "karpenter",
    };
    let (spec, status) = (structural::<Ec2NodeClassSpec>(), structural::<Ec2NodeClassStatus>());
    definition(&names, &COLUMNS, None, spec, status, false)
}
