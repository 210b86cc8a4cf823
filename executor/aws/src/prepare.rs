//! From what a plan asks for to a request to EC2.

use crate::client::Aws;
use crate::images::family;
use crate::network::nothing;
use crate::order::{Config, FORMAT, Order, Override};
use crate::template::Template;
use crate::userdata::{Node, user_data};
use std::collections::BTreeMap;
use stowage_api::Ec2NodeClass;
use stowage_executor::{Failure, LaunchBody, Offering, SLOT_TAINT};
use stowage_models::labels;

/// Instances carry it: the cluster whose Stowage launched them.
pub(crate) const TAG_CLUSTER: &str = "stowage.dev/cluster";
/// Instances carry it: their claim. Karpenter's.
pub(crate) const TAG_CLAIM: &str = "karpenter.sh/nodeclaim";
/// EC2 takes this many overrides.
const OVERRIDES_MAX: usize = 300;

impl Aws {
    /// Looks up images, subnets and security groups, makes user data, and writes all of it into the request.
    ///
    /// # Errors
    /// [`Failure::Capacity`] if no subnet of the planned zone has an address, [`Failure::Later`] if something cannot be looked up,
    /// [`Failure::Never`] if the node class cannot be launched.
    pub async fn order(&self, body: &str, class: &str) -> Result<Order, Failure> {
        let launch = LaunchBody::parse(body).map_err(Failure::Never)?;
        let class: Ec2NodeClass = serde_json::from_str(class)
            .map_err(|error| Failure::Never(format!("EC2NodeClass {}: {error}", launch.class)))?;
        let spec = &class.spec;
        let named = |failure: Failure| match failure {
            Failure::Later(text) => Failure::Later(format!("EC2NodeClass {}: {text}", launch.class)),
            Failure::Never(text) => Failure::Never(format!("EC2NodeClass {}: {text}", launch.class)),
            other => other,
        };
        if spec.cpu_options.is_some() {
            let text = "spec.cpuOptions cannot be set yet\n  hint: remove it, or launch such nodes otherwise";
            return Err(named(Failure::Never(text.to_owned())));
        }
        let planned = launch.offerings.first().ok_or_else(|| Failure::Never("no offering".to_owned()))?;
        let family = family(spec).map_err(|trouble| named(trouble.failure()))?;
        let network = self.network(spec).await.map_err(|trouble| named(trouble.failure()))?;
        if network.groups.is_empty() {
            return Err(named(nothing("security group").failure()));
        }
        if network.subnets.is_empty() {
            return Err(named(nothing("subnet").failure()));
        }
        let subnets = self.roomiest(&network);
        let Some(first) = subnets.get(&planned.zone) else {
            // The planned zone has no address: what was planned cannot be, so it is planned again without it.
            return Err(Failure::Capacity(vec![triple(planned)]));
        };
        let first = first.clone();
        let profile = spec
            .instance_profile
            .clone()
            .or_else(|| class.status.as_ref()?.instance_profile.clone())
            .or_else(|| spec.role.clone())
            .unwrap_or_default();
        let mut base = Template::of(spec, family);
        base.groups = network.groups.iter().map(|(id, _)| id.clone()).collect();
        base.profile = profile;
        base.tags = self.shared_tags(&launch, spec.tags.as_ref());
        if planned.capacity_type == labels::RESERVED {
            let Some(id) = launch.labels.get(labels::CAPACITY_RESERVATION_ID) else {
                return Err(Failure::Never("a reserved offering without the reservation's id".to_owned()));
            };
            base.reservation = Some(id.clone());
            let kind = launch.labels.get(labels::CAPACITY_RESERVATION_TYPE).map(String::as_str);
            base.block = kind == Some("capacity-block");
        }
        let catalog = self.catalog();
        let mut configs: Vec<Config> = Vec::new();
        // One fleet, one capacity type: that of the plan. Others are for the next plan.
        let same = launch.offerings.iter().filter(|one| one.capacity_type == planned.capacity_type);
        for (n, offering) in same.take(OVERRIDES_MAX).enumerate() {
            let Some(subnet) = subnets.get(&offering.zone) else { continue };
            let Some(kind) = catalog.get(&offering.instance_type) else {
                let text = format!("instance type {} is not in the catalogue", offering.instance_type);
                return Err(Failure::Never(text));
            };
            let image = match self.image(spec, kind).await {
                Ok(image) => image,
                // A substitute that has no image is left out; the planned type must have one.
                Err(trouble) if n == 0 => return Err(named(trouble.failure())),
                Err(_) => continue,
            };
            let node = Node {
                settings: &self.settings,
                class: spec,
                labels: node_labels(&launch),
                taints: launch.taints.iter().filter(|taint| taint.key != SLOT_TAINT).cloned().collect(),
            };
            let user_data = user_data(family, &node).map_err(|trouble| named(trouble.failure()))?;
            let template = Template { image, user_data, ..base.clone() };
            let name = template.name(&self.settings.cluster);
            let one = Override {
                instance_type: offering.instance_type.clone(),
                zone: offering.zone.clone(),
                subnet: subnet.clone(),
                priority: u16::try_from(n).unwrap_or(u16::MAX),
            };
            match configs.iter_mut().find(|config| config.name == name) {
                Some(config) => config.overrides.push(one),
                None => configs.push(Config { name, template, overrides: vec![one] }),
            }
        }
        self.promise(&first);
        let mut tags = self.shared_tags(&launch, spec.tags.as_ref());
        tags.extend([
            (TAG_CLAIM.to_owned(), launch.claim.clone()),
            ("Name".to_owned(), format!("{}/{}", launch.pool, launch.claim)),
            ("stowage.dev/plan".to_owned(), launch.plan.clone()),
            ("stowage.dev/action".to_owned(), launch.action.clone()),
        ]);
        let capacity_type = planned.capacity_type.clone();
        Ok(Order { format: FORMAT, launch, capacity_type, configs, tags, context: spec.context.clone() })
    }

    /// Tags that nodes of a pool share: the user's, then Karpenter's and ours.
    fn shared_tags(
        &self,
        launch: &LaunchBody,
        own: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let cluster = &self.settings.cluster;
        let mut tags = own.cloned().unwrap_or_default();
        tags.extend([
            (labels::NODEPOOL.to_owned(), launch.pool.clone()),
            (labels::EC2_NODE_CLASS.to_owned(), launch.class.clone()),
            ("eks:eks-cluster-name".to_owned(), cluster.clone()),
            (format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned()),
            (TAG_CLUSTER.to_owned(), cluster.clone()),
        ]);
        tags
    }
}

/// An offering without its price.
pub(crate) fn triple(offering: &Offering) -> (String, String, String) {
    (offering.instance_type.clone(), offering.zone.clone(), offering.capacity_type.clone())
}

/// Labels the kubelet registers with: those that hold whatever substitute EC2 chooses, and that a kubelet may set. The others come with
/// registration, from the claim.
fn node_labels(launch: &LaunchBody) -> BTreeMap<String, String> {
    let may = |key: &str| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let reserved = |suffix: &str| domain == suffix || domain.ends_with(&format!(".{suffix}"));
        let allowed = reserved("kubelet.kubernetes.io") || reserved("node.kubernetes.io");
        allowed || !(reserved("kubernetes.io") || reserved("k8s.io"))
    };
    let follows = |key: &str| key == labels::CAPACITY_TYPE || !labels::OFFERING_KEYS.contains(&key);
    let kept = launch.labels.iter().filter(|(key, _)| may(key) && follows(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_sets_only_what_it_may_and_what_holds_for_substitutes() {
        let all = [
            "team",
            "node.kubernetes.io/team",
            "kubernetes.io/hostname",
            "x.k8s.io/y",
            "karpenter.sh/nodepool",
            labels::ZONE,
            labels::INSTANCE_TYPE,
            labels::CAPACITY_TYPE,
        ];
        let launch = LaunchBody {
            claim: String::new(),
            plan: String::new(),
            action: String::new(),
            pool: String::new(),
            class: String::new(),
            offerings: Vec::new(),
            labels: all.iter().map(|key| ((*key).to_owned(), "v".to_owned())).collect(),
            taints: Vec::new(),
        };
        let kept: Vec<String> = node_labels(&launch).into_keys().collect();
        assert_eq!(
            kept,
            ["karpenter.sh/capacity-type", "karpenter.sh/nodepool", "node.kubernetes.io/team", "team"]
        );
    }
}
