//! How many volumes may be attached to an instance.

use super::InstanceType;

/// The CSI driver of EBS.
pub const EBS_DRIVER: &str = "ebs.csi.aws.com";

/// Attachments of a Nitro instance, which network interfaces and the root volume share with other volumes (EC2 User Guide,
/// *Amazon EBS volume limits*). Newer types have more, apart from their interfaces; the catalogue does not say which.
const NITRO_ATTACHMENTS: i64 = 28;

/// What the EBS CSI driver states for Xen instances.
const XEN_VOLUMES: i64 = 39;

impl InstanceType {
    /// Volumes of a CSI driver that a new node of this type may attach; `None`: no limit is known.
    ///
    /// For EBS on Nitro (and bare metal) it is what is left beside the root volume and *all* interfaces the VPC CNI may ever
    /// attach, at least one: no more than the driver will state in the node's CSINode, and never more than EC2 attaches.
    #[must_use]
    pub fn volume_limit(&self, driver: &str) -> Option<i64> {
        if driver != EBS_DRIVER {
            return None;
        }
        Some(match self.hypervisor.as_deref() {
            Some("xen") => XEN_VOLUMES,
            _ => (NITRO_ATTACHMENTS - 1 - i64::from(self.enis)).max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;
    use super::EBS_DRIVER;

    #[test]
    fn interfaces_and_the_root_volume_share_the_attachments_of_nitro() {
        let catalog = Catalog::embedded();
        let limit = |name: &str| catalog.get(name).unwrap().volume_limit(EBS_DRIVER);
        assert_eq!(limit("m5.large"), Some(28 - 1 - 3));
        assert_eq!(limit("m5.24xlarge"), Some(28 - 1 - 15));
        assert_eq!(catalog.get("m5.large").unwrap().volume_limit("efs.csi.aws.com"), None);
        assert!(catalog.types.iter().all(|one| one.volume_limit(EBS_DRIVER).is_some_and(|limit| limit > 0)));
    }
}
