//! The custom resources of a cluster with Stowage, as Rust types, and their definitions, generated from these types.
//!
//! NodePool, NodeClaim, NodeOverlay, EC2NodeClass and CapacityBuffer are Karpenter's (1.14): the same fields, defaults, limits, CEL rules, messages and
//! printer columns, so that its manifests apply unchanged and its tools read our objects. Plan and PlanPolicy are ours.
//!
//! The definitions are rendered into `charts/stowage-crd/templates` by `cargo run --release -p stowage-api`; a test keeps them
//! fresh. The types are apart from `stowage-models` because they bring the Kubernetes types and a schema generator, which
//! planning needs nothing of.

mod buffer;
mod common;
mod nodeclaim;
mod nodeclass;
mod nodeclass_terms;
mod nodeoverlay;
mod nodepool;
mod plan;
mod policy;
mod resource;
mod schema;

pub use buffer::{
    CapacityBufferSpec, CapacityBufferStatus, ScalableRef, TemplateRef, capacity_buffer_definition,
};
pub use common::{Condition, NodeClassRef, Quantity, Requirement, ResourceList, Taint};
pub use nodeclaim::{ClaimResources, NodeClaim, NodeClaimSpec, NodeClaimStatus, node_claim_definition};
pub use nodeclass::{
    Ami, AmiRequirement, CapacityReservation, ConnectionTracking, CpuOptions, Ec2NodeClass, Ec2NodeClassSpec,
    Ec2NodeClassStatus, Kubelet, MetadataOptions, SecurityGroup, Subnet, node_class_definition,
};
pub use nodeclass_terms::{
    AmiTerm, BlockDevice, Ebs, NetworkInterface, PlacementGroup, ReservationTerm, SecurityGroupTerm,
    SubnetTerm,
};
pub use nodeoverlay::{
    NodeOverlay, NodeOverlaySpec, NodeOverlayStatus, OverlayRequirement, node_overlay_definition,
};
pub use nodepool::{
    Budget, Disruption, NodePool, NodePoolSpec, NodePoolStatus, Template, TemplateMetadata, TemplateSpec,
    node_pool_definition,
};
pub use plan::{Action, KeptNode, LeftOut, Plan, PlanSpec, PlanStatus, plan_definition};
pub use policy::{
    ConsolidationRules, PlanPolicy, PlanPolicySpec, PlanPolicyStatus, ReviewRules, plan_policy_definition,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// All definitions, sorted by name.
///
/// # Errors
/// Never, as far as the tests know: the schemas are constants.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    Ok(vec![
        capacity_buffer_definition()?,
        node_class_definition()?,
        node_claim_definition()?,
        node_overlay_definition()?,
        node_pool_definition()?,
        plan_policy_definition()?,
        plan_definition()?,
    ])
}

const HEADER: &str = "# Rendered from the types in executor/api; to change it, change them and run
# `cargo run --release -p stowage-api`.
";

/// A definition as a file of a Helm chart: YAML that Helm copies as it is.
///
/// # Errors
/// If the definition cannot be written as YAML, or holds what Helm would take for a template.
pub fn render(definition: &CustomResourceDefinition) -> Result<String, String> {
    let mut value = serde_json::to_value(definition).map_err(|error| error.to_string())?;
    whole_numbers(&mut value);
    let yaml = serde_saphyr::to_string(&value).map_err(|error| error.to_string())?;
    if yaml.contains("{{") {
        return Err("the definition holds {{, which Helm would expand".to_owned());
    }
    Ok(format!("{HEADER}---\n{}\n", yaml.trim_end()))
}

/// Bounds are floats in the API's own type; people write `1`, not `1.0`.
#[expect(clippy::cast_possible_truncation, reason = "bounds of the schemas are small whole numbers")]
fn whole_numbers(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0) {
                *value = serde_json::Value::from(float as i64);
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        serde_json::Value::Object(object) => object.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// The name of a definition's file: group, then plural.
#[must_use]
pub fn file_name(definition: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural)
}
