//! The labels an instance type gives its nodes, as Karpenter computes them.
//!
//! Source: `computeRequirements` of `pkg/providers/instancetype/types.go` in karpenter-provider-aws v1.14.1
//! (2026-08-20). Not set, because the data does not state them: `instance-encryption-in-transit-supported`, and
//! `instance-ebs-bandwidth` where the catalogue has no maximum EBS bandwidth. A requirement on a label that is not
//! set excludes the type (`In`, `Gt`, ...), which is the safe side.

use super::InstanceType;
use crate::labels::{ARCH, INSTANCE_TYPE, OS};
use crate::selector::Labels;

/// Prefix of Karpenter's AWS labels.
const PREFIX: &str = "karpenter.k8s.aws/instance-";

/// Category and generation of a type name, as the pattern `(^[a-z]+)(\-[0-9]+tb)?([0-9]+).*\.` finds them:
/// `c7i-flex.large` is `c`, `7`; `u-6tb1.56xlarge` is `u`, `1`. `None` where it does not match (`mac-m4.metal`).
fn category_and_generation(name: &str) -> Option<(&str, &str)> {
    let family = &name[..name.rfind('.')?];
    let (category, rest) = split_while(family, |byte| byte.is_ascii_lowercase());
    let rest = without_terabytes(rest).unwrap_or(rest);
    let (generation, _) = split_while(rest, |byte| byte.is_ascii_digit());
    (!category.is_empty() && !generation.is_empty()).then_some((category, generation))
}

/// `rest` after a leading `-<digits>tb` that is followed by a digit, the optional middle group of the pattern.
fn without_terabytes(rest: &str) -> Option<&str> {
    let (digits, rest) = split_while(rest.strip_prefix('-')?, |byte| byte.is_ascii_digit());
    let rest = rest.strip_prefix("tb")?;
    (!digits.is_empty()).then_some(rest)
}

fn split_while(text: &str, test: fn(&u8) -> bool) -> (&str, &str) {
    text.split_at(text.as_bytes().iter().take_while(|byte| test(byte)).count())
}

impl InstanceType {
    /// Labels decided by the type alone (no zone, capacity type or region), OS included.
    ///
    /// Values are exactly Karpenter's, oddities too: bare metal has an *empty* hypervisor, a type whose clock EC2 does
    /// not state has clock speed `0`, and a type with a fraction of a GPU has GPU count `0`.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let mut labels = Labels::new();
        labels.insert(INSTANCE_TYPE.to_owned(), self.name.clone());
        labels.insert(ARCH.to_owned(), self.arch.as_str().to_owned());
        labels.insert(OS.to_owned(), "linux".to_owned());
        let mut set = |key: &str, value: String| labels.insert([PREFIX, key].concat(), value);

        if let Some((category, generation)) = category_and_generation(&self.name) {
            set("category", category.to_owned());
            set("generation", generation.to_owned());
        }
        let mut parts = self.name.split('.');
        let family = parts.next().unwrap_or_default();
        if let (Some(size), None) = (parts.next(), parts.next()) {
            set("family", family.to_owned());
            set("size", size.to_owned());
        }
        set("capability-flex", family.contains("-flex").to_string());
        set("cpu", self.vcpus.to_string());
        set("cpu-manufacturer", self.cpu_manufacturer.clone());
        set("cpu-sustained-clock-speed-mhz", self.clock_mhz.unwrap_or(0).to_string());
        set("memory", self.memory_mib.to_string());
        set("hypervisor", self.hypervisor.clone().unwrap_or_default());
        // Karpenter allows `dedicated` as well, on request; Stowage prices and launches shared tenancy.
        set("tenancy", "default".to_owned());
        if let Some(mbps) = self.network_mbps {
            set("network-bandwidth", mbps.to_string());
        }
        if let Some(mbps) = self.ebs_mbps {
            set("ebs-bandwidth", mbps.to_string());
        }
        if let Some(disks) = self.local_storage.filter(|disks| disks.nvme) {
            set("local-nvme", disks.gb.to_string());
        }
        if let Some(gpu) = &self.gpu {
            set("gpu-name", gpu.name.clone());
            set("gpu-manufacturer", gpu.manufacturer.clone());
            set("gpu-count", gpu.count.to_string());
            set("gpu-memory", gpu.memory_mib.to_string());
        }
        if let Some(neuron) = &self.neuron {
            set("accelerator-name", neuron.name.clone());
            set("accelerator-manufacturer", "aws".to_owned());
            set("accelerator-count", neuron.count.to_string());
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    /// Every `karpenter.k8s.aws/instance-*` label of a type, without the prefix, as `key=value` words.
    fn labels_of(name: &str) -> String {
        let labels = Catalog::embedded().get(name).expect("a well-known type").labels();
        let words: Vec<String> = labels
            .iter()
            .filter_map(|(key, value)| key.strip_prefix(PREFIX).map(|short| format!("{short}={value}")))
            .collect();
        words.join(" ")
    }

    // Values of Karpenter's reference page "Instance Types" (generated from its own code), plus the labels newer than
    // that page: accelerator names with a generation, capability-flex, clock speed, tenancy.
    #[test]
    fn well_known_types_have_karpenters_labels() {
        assert_eq!(
            labels_of("m5.large"),
            "capability-flex=false category=m cpu=2 cpu-manufacturer=intel cpu-sustained-clock-speed-mhz=3100 family=m5 \
             generation=5 hypervisor=nitro memory=8192 network-bandwidth=750 size=large tenancy=default"
        );
        assert_eq!(
            labels_of("c7g.4xlarge"),
            "capability-flex=false category=c cpu=16 cpu-manufacturer=aws cpu-sustained-clock-speed-mhz=2600 family=c7g \
             generation=7 hypervisor=nitro memory=32768 network-bandwidth=7500 size=4xlarge tenancy=default"
        );
        assert_eq!(
            labels_of("g5.12xlarge"),
            "capability-flex=false category=g cpu=48 cpu-manufacturer=amd cpu-sustained-clock-speed-mhz=3300 family=g5 \
             generation=5 gpu-count=4 gpu-manufacturer=nvidia gpu-memory=22888 gpu-name=a10g hypervisor=nitro \
             local-nvme=3800 memory=196608 network-bandwidth=40000 size=12xlarge tenancy=default"
        );
        assert_eq!(
            labels_of("inf2.xlarge"),
            "accelerator-count=1 accelerator-manufacturer=aws accelerator-name=inferentia2 capability-flex=false \
             category=inf cpu=4 cpu-manufacturer=amd cpu-sustained-clock-speed-mhz=3600 family=inf2 generation=2 \
             hypervisor=nitro memory=16384 network-bandwidth=2083 size=xlarge tenancy=default"
        );
        assert_eq!(
            labels_of("c7i-flex.large"),
            "capability-flex=true category=c cpu=2 cpu-manufacturer=intel cpu-sustained-clock-speed-mhz=3200 \
             family=c7i-flex generation=7 hypervisor=nitro memory=4096 network-bandwidth=390 size=large tenancy=default"
        );
    }

    #[test]
    fn every_label_key_is_one_the_planner_knows() {
        for kind in &Catalog::embedded().types {
            for key in kind.labels().keys() {
                assert!(crate::labels::OFFERING_KEYS.contains(&key.as_str()), "{}: {key}", kind.name);
            }
        }
    }

    #[test]
    fn category_and_generation_follow_karpenters_pattern() {
        for (name, want) in [
            ("m5.large", Some(("m", "5"))),
            ("is4gen.medium", Some(("is", "4"))),
            ("trn1n.32xlarge", Some(("trn", "1"))),
            ("p6-b200.48xlarge", Some(("p", "6"))),
            ("u-6tb1.56xlarge", Some(("u", "1"))),
            ("u7i-12tb.224xlarge", Some(("u", "7"))),
            ("x2iedn.metal", Some(("x", "2"))),
            ("u-24tb.metal", None),
            ("mac-m4.metal", None),
            ("m5", None),
            ("5m.large", None),
            ("", None),
        ] {
            assert_eq!(category_and_generation(name), want, "{name}");
        }
    }

    // Spot checks against Karpenter's generated bandwidth table (zz_generated.bandwidth.go), one per rule: a baseline
    // where the performance is "up to", the stated figure where it is fixed, nothing where EC2 is vague.
    #[test]
    fn network_bandwidth_is_karpenters() {
        let bandwidth = |name: &str| Catalog::embedded().get(name).expect("a well-known type").network_mbps;
        for (name, want) in [
            ("i8g.large", Some(1172)),
            ("c8gb.medium", Some(2083)),
            ("i4i.12xlarge", Some(28_120)),
            ("c8gb.16xlarge", Some(133_330)),
            ("c6in.32xlarge", Some(200_000)),
            ("g6e.48xlarge", Some(400_000)),
            ("p4d.24xlarge", Some(400_000)),
            ("trn1n.32xlarge", Some(1_600_000)),
            ("p6-b200.48xlarge", Some(3_200_000)),
            ("t2.micro", None),
            ("c4.large", None),
        ] {
            assert_eq!(bandwidth(name), want, "{name}");
        }
    }
}
