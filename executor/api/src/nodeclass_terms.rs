//! Selector terms, volumes and interfaces of an EC2NodeClass.

use crate::schema::{Rule, rules, set};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Tags to select by; `*` as a value means any.
type Tags = BTreeMap<String, String>;

fn tags(schema: &mut Schema) {
    set(schema, json!({ "maxProperties": 20 }));
    rules(schema, &[("self.all(k, k != '' && self[k] != '')", "empty tag keys or values aren't supported")]);
}

/// Selects images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AmiTerm {
    /// An image of EKS as `family@version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = alias)]
    pub alias: Option<String>,
    /// By id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "ami-[0-9a-z]+"))]
    pub id: Option<String>,
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// By owner: an account, `self`, `amazon` or `aws-marketplace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// By a parameter of SSM that holds the id.
    #[serde(rename = "ssmParameter", skip_serializing_if = "Option::is_none")]
    pub ssm_parameter: Option<String>,
    /// By tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tags)]
    pub tags: Option<Tags>,
}

fn alias(schema: &mut Schema) {
    set(schema, json!({ "maxLength": 30 }));
    rules(
        schema,
        &[
            (
                "self.matches('^[a-zA-Z0-9]+@.+$')",
                "'alias' is improperly formatted, must match the format 'family@version'",
            ),
            (
                "self.split('@')[0] in ['al2','al2023','bottlerocket','windows2019','windows2022','windows2025']",
                "family is not supported, must be one of the following: 'al2', 'al2023', 'bottlerocket', \
                 'windows2019', 'windows2022', 'windows2025'",
            ),
            (
                "self.split('@')[0] in ['windows2019','windows2022','windows2025'] ? self.split('@')[1] == 'latest' : true",
                "windows families may only specify version 'latest'",
            ),
        ],
    );
}

pub(crate) fn ami_terms(schema: &mut Schema) {
    set(schema, json!({ "minItems": 1, "maxItems": 30 }));
    rules(
        schema,
        &[
            (
                "self.all(x, has(x.tags) || has(x.id) || has(x.name) || has(x.alias) || has(x.ssmParameter))",
                "expected at least one, got none, ['tags', 'id', 'name', 'alias', 'ssmParameter']",
            ),
            (
                "!self.exists(x, has(x.id) && (has(x.alias) || has(x.tags) || has(x.name) || has(x.owner)))",
                "'id' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms",
            ),
            (
                "!self.exists(x, has(x.alias) && (has(x.id) || has(x.tags) || has(x.name) || has(x.owner)))",
                "'alias' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms",
            ),
            (
                "!(self.exists(x, has(x.alias)) && self.size() != 1)",
                "'alias' is mutually exclusive, cannot be set with a combination of other amiSelectorTerms",
            ),
        ],
    );
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockDevice {
    /// Device name, for example `/dev/xvda`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// The EBS volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebs: Option<Ebs>,
    /// It carries the kubelet's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_volume: Option<bool>,
}

pub(crate) fn block_devices(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 50 }));
    rules(
        schema,
        &[(
            "self.filter(x, has(x.rootVolume)?x.rootVolume==true:false).size() <= 1",
            "must have only one blockDeviceMappings with rootVolume",
        )],
    );
}

/// An EBS volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = ebs_rules)]
pub struct Ebs {
    /// It goes with the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
    /// It is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Operations per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<i64>,
    /// Key to encrypt with.
    #[serde(rename = "kmsKeyID", skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Snapshot to start from.
    #[serde(rename = "snapshotID", skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// MiB per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i64>,
    /// MiB per second at which a snapshot is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 300))]
    pub volume_initialization_rate: Option<i32>,
    /// Size in Gi, G, Ti or T.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = VOLUME_SIZE))]
    pub volume_size: Option<String>,
    /// Type of volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = volume_type)]
    pub volume_type: Option<String>,
}

const VOLUME_SIZE: &str = "^((?:[1-9][0-9]{0,3}|[1-4][0-9]{4}|[5][0-8][0-9]{3}|59000)Gi|(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|[6][0-3][0-9]{3}|64000)G|([1-9]||[1-5][0-7]|58)Ti|([1-9]||[1-5][0-9]|6[0-3]|64)T)$";

fn ebs_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            ("has(self.snapshotID) || has(self.volumeSize)", "snapshotID or volumeSize must be defined"),
            (
                "!has(self.volumeInitializationRate) || (has(self.snapshotID) && self.snapshotID != '')",
                "snapshotID must be set when volumeInitializationRate is set",
            ),
        ],
    );
}

fn volume_type(schema: &mut Schema) {
    set(schema, json!({ "enum": ["standard", "io1", "io2", "gp2", "sc1", "st1", "gp3"] }));
}

/// Selects capacity reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReservationTerm {
    /// By id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^cr-[0-9a-z]+$"))]
    pub id: Option<String>,
    /// By which instances they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = match_criteria)]
    pub instance_match_criteria: Option<String>,
    /// By account.
    #[serde(rename = "ownerID", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9]{12}$"))]
    pub owner_id: Option<String>,
    /// By tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tags)]
    pub tags: Option<Tags>,
}

pub(crate) fn match_criteria(schema: &mut Schema) {
    set(schema, json!({ "enum": ["open", "targeted"] }));
}

pub(crate) fn reservation_terms(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 30 }));
    rules(
        schema,
        &[
            (
                "self.all(x, has(x.tags) || has(x.id) || has(x.instanceMatchCriteria))",
                "expected at least one, got none, ['tags', 'id', 'instanceMatchCriteria']",
            ),
            (
                "!self.all(x, has(x.id) && (has(x.tags) || has(x.ownerID) || has(x.instanceMatchCriteria)))",
                "'id' is mutually exclusive, cannot be set along with other fields in a capacity reservation selector term",
            ),
        ],
    );
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// Its place on the card.
    #[schemars(range(min = 0))]
    pub device_index: i32,
    /// Ordinary, or for the fabric alone.
    #[schemars(transform = interface_type)]
    pub interface_type: String,
    /// Its card.
    #[schemars(range(min = 0))]
    pub network_card_index: i32,
}

fn interface_type(schema: &mut Schema) {
    set(schema, json!({ "enum": ["interface", "efa-only"] }));
}

pub(crate) fn network_interfaces(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 150 }));
    rules(
        schema,
        &[
            (
                "self.size() == 0 || self.exists(x, x.deviceIndex == 0 && x.networkCardIndex == 0 && x.interfaceType == \
                 'interface')",
                "networkInterfaces must include a primary interface with interfaceType='interface'",
            ),
            (
                "self.all(x, self.filter(y, x.networkCardIndex == y.networkCardIndex && x.deviceIndex == \
                 y.deviceIndex).size() == 1 && (x.interfaceType != 'efa-only' || self.filter(y, x.networkCardIndex == \
                 y.networkCardIndex && y.interfaceType == 'efa-only').size() == 1))",
                "networkInterfaces must not have duplicate networkCardIndex and deviceIndex pairs, and can have at most \
                 one efa device per network card",
            ),
        ],
    );
}

/// Selects a placement group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = placement_rules)]
pub struct PlacementGroup {
    /// By id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^pg-[0-9a-z]+$"))]
    pub id: Option<String>,
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minLength" = 1))]
    pub name: Option<String>,
}

fn placement_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            ("has(self.name) || has(self.id)", "expected at least one, got none, ['name', 'id']"),
            ("!(has(self.name) && has(self.id))", "'name' and 'id' are mutually exclusive"),
        ],
    );
}

/// Selects security groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityGroupTerm {
    /// By id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "sg-[0-9a-z]+"))]
    pub id: Option<String>,
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// By tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tags)]
    pub tags: Option<Tags>,
}

pub(crate) fn security_group_terms(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 30 }));
    let terms: [Rule; 4] = [
        ("self.size() != 0", "securityGroupSelectorTerms cannot be empty"),
        (
            "self.all(x, has(x.tags) || has(x.id) || has(x.name))",
            "expected at least one, got none, ['tags', 'id', 'name']",
        ),
        (
            "!self.all(x, has(x.id) && (has(x.tags) || has(x.name)))",
            "'id' is mutually exclusive, cannot be set with a combination of other fields in a security group selector term",
        ),
        (
            "!self.all(x, has(x.name) && (has(x.tags) || has(x.id)))",
            "'name' is mutually exclusive, cannot be set with a combination of other fields in a security group selector term",
        ),
    ];
    rules(schema, &terms);
}

/// Selects subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubnetTerm {
    /// By id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "subnet-[0-9a-z]+"))]
    pub id: Option<String>,
    /// By tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tags)]
    pub tags: Option<Tags>,
}

pub(crate) fn subnet_terms(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 30 }));
    rules(
        schema,
        &[
            ("self.size() != 0", "subnetSelectorTerms cannot be empty"),
            ("self.all(x, has(x.tags) || has(x.id))", "expected at least one, got none, ['tags', 'id']"),
            (
                "!self.all(x, has(x.id) && has(x.tags))",
                "'id' is mutually exclusive, cannot be set with a combination of other fields in a subnet selector term",
            ),
        ],
    );
}
