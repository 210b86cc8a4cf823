//! Images: by alias or parameter through SSM, by id, name, tags and owner through EC2.

use crate::client::Aws;
use crate::errors::{Kind, Trouble};
use crate::limits::Class;
use crate::network::nothing;
use aws_sdk_ec2::types::Filter;
use std::fmt;
use stowage_api::{AmiTerm, Ec2NodeClassSpec};
use stowage_models::catalog::{Arch, InstanceType};
use tokio::time::Instant;

/// Terms, architecture and variant as text.
pub(crate) type ImageKey = String;

/// Families of images: what their user data looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Amazon Linux 2: a shell script.
    Al2,
    /// Amazon Linux 2023: a NodeConfig of nodeadm.
    Al2023,
    /// Bottlerocket: TOML.
    Bottlerocket,
    /// User data are taken as they are.
    Custom,
}

/// What an image is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Standard,
    Nvidia,
    Neuron,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::Standard => "standard",
            Variant::Nvidia => "nvidia",
            Variant::Neuron => "neuron",
        })
    }
}

fn variant(kind: &InstanceType) -> Variant {
    if kind.gpu.as_ref().is_some_and(|gpu| gpu.manufacturer == "nvidia") {
        Variant::Nvidia
    } else if kind.neuron.is_some() {
        Variant::Neuron
    } else {
        Variant::Standard
    }
}

/// EC2's name of an architecture.
fn arch(kind: &InstanceType) -> &'static str {
    match kind.arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "arm64",
    }
}

fn alias(class: &Ec2NodeClassSpec) -> Option<(&str, &str)> {
    class.ami_selector_terms.iter().find_map(|term| term.alias.as_deref()?.split_once('@'))
}

/// The family of a node class: of `amiFamily`, else of the alias.
pub(crate) fn family(class: &Ec2NodeClassSpec) -> Result<Family, Trouble> {
    let name = class.ami_family.as_deref().or(alias(class).map(|(family, _)| family)).unwrap_or_default();
    match name.to_lowercase().as_str() {
        "al2" => Ok(Family::Al2),
        "al2023" => Ok(Family::Al2023),
        "bottlerocket" => Ok(Family::Bottlerocket),
        "custom" => Ok(Family::Custom),
        other => {
            let text = format!(
                "nodes of image family `{other}` cannot be launched\n  hint: use AL2023, AL2, Bottlerocket or Custom"
            );
            Err(Trouble::new(Kind::Terminal, text))
        }
    }
}

/// Paths under which SSM has the image of an alias: EKS's and Bottlerocket's public parameters. Versions are as in Karpenter's aliases, `v20260801`
/// and `v1.20.0`.
fn parameter(alias: (&str, &str), version: &str, arch: &str, variant: Variant) -> Option<String> {
    let (family, release) = alias;
    let latest = release == "latest";
    match family {
        "al2023" => {
            let release = if latest {
                "recommended".to_owned()
            } else {
                format!("amazon-eks-node-al2023-{arch}-{variant}-{version}-{release}")
            };
            let base = format!("/aws/service/eks/optimized-ami/{version}/amazon-linux-2023");
            Some(format!("{base}/{arch}/{variant}/{release}/image_id"))
        }
        "al2" => {
            let suffix = match (variant, arch) {
                (Variant::Standard, "arm64") => "-arm64",
                (Variant::Standard, _) => "",
                _ => "-gpu",
            };
            let release = if latest {
                "recommended".to_owned()
            } else {
                format!("amazon-eks{suffix}-node-{version}-{release}")
            };
            Some(format!(
                "/aws/service/eks/optimized-ami/{version}/amazon-linux-2{suffix}/{release}/image_id"
            ))
        }
        "bottlerocket" => {
            let suffix = if variant == Variant::Nvidia { "-nvidia" } else { "" };
            let release = release.trim_start_matches('v');
            Some(format!("/aws/service/bottlerocket/aws-k8s-{version}{suffix}/{arch}/{release}/image_id"))
        }
        _ => None,
    }
}

impl Aws {
    /// The image for an instance type.
    pub(crate) async fn image(
        &self,
        class: &Ec2NodeClassSpec,
        kind: &InstanceType,
    ) -> Result<String, Trouble> {
        let terms = serde_json::to_string(&class.ami_selector_terms).unwrap_or_default();
        let key = format!("{terms} {} {}", arch(kind), variant(kind));
        let known = self.caches().images.get(&key).cloned();
        if let Some((at, image)) = known
            && at.elapsed() < self.settings.cache
        {
            return Ok(image);
        }
        let image = match alias(class) {
            Some(alias) => {
                let path = parameter(alias, &self.settings.version, arch(kind), variant(kind));
                let path = path.ok_or_else(|| nothing("image: no alias of this family is known"))?;
                self.parameter(&path).await?
            }
            None => self.newest(&class.ami_selector_terms, arch(kind)).await?,
        };
        self.caches().images.insert(key, (Instant::now(), image.clone()));
        Ok(image)
    }

    async fn parameter(&self, path: &str) -> Result<String, Trouble> {
        let answer = self
            .read("GetParameter", Class::Other, || self.ssm.get_parameter().name(path).send())
            .await
            .map_err(|trouble| Trouble { text: format!("{} ({path})", trouble.text), ..trouble })?;
        let value = answer.parameter().and_then(|parameter| parameter.value());
        value.map(str::to_owned).ok_or_else(|| nothing(&format!("image: {path} is empty")))
    }

    /// The newest of what the terms select; of equally old ones the first by name and id, so that it is always the same.
    async fn newest(&self, terms: &[AmiTerm], arch: &str) -> Result<String, Trouble> {
        let mut found: Vec<(String, String, String)> = Vec::new();
        for term in terms {
            let id = match &term.ssm_parameter {
                Some(path) => Some(self.parameter(path).await?),
                None => term.id.clone(),
            };
            let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
            let mut filters = vec![filter("architecture", arch), filter("state", "available")];
            filters.extend(term.name.as_deref().map(|name| filter("name", name)));
            for (key, value) in term.tags.iter().flatten() {
                filters.push(if value == "*" {
                    filter("tag-key", key)
                } else {
                    filter(&format!("tag:{key}"), value)
                });
            }
            // Names and tags can be anybody's; without an owner only our own images and Amazon's count.
            let owners = match (&term.owner, &id) {
                (Some(owner), _) => Some(vec![owner.clone()]),
                (None, Some(_)) => None,
                (None, None) => Some(vec!["self".to_owned(), "amazon".to_owned()]),
            };
            let mut next = None;
            loop {
                let page = self
                    .read("DescribeImages", Class::Read, || {
                        let request = self.ec2.describe_images().set_filters(Some(filters.clone()));
                        let request = request.set_image_ids(id.clone().map(|id| vec![id]));
                        request.set_owners(owners.clone()).set_next_token(next.clone()).send()
                    })
                    .await?;
                found.extend(page.images().iter().filter_map(|image| {
                    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
                    Some((text(image.creation_date()), text(image.name()), image.image_id()?.to_owned()))
                }));
                next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
                if next.is_none() {
                    break;
                }
            }
        }
        // ISO dates of one form sort as text.
        found.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let newest = found.into_iter().next();
        newest.map(|(_, _, id)| id).ok_or_else(|| nothing(&format!("image for {arch}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_become_paths_of_public_parameters() {
        let path = |alias, arch, variant| parameter(alias, "1.36", arch, variant).expect("a path");
        for (found, expected) in [
            (
                path(("al2023", "latest"), "x86_64", Variant::Standard),
                "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id",
            ),
            (
                path(("al2023", "v20260801"), "arm64", Variant::Nvidia),
                "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/arm64/nvidia/amazon-eks-node-al2023-arm64-nvidia-1.36-v20260801/image_id",
            ),
            (
                path(("al2", "latest"), "arm64", Variant::Standard),
                "/aws/service/eks/optimized-ami/1.36/amazon-linux-2-arm64/recommended/image_id",
            ),
            (
                path(("bottlerocket", "v1.20.0"), "x86_64", Variant::Standard),
                "/aws/service/bottlerocket/aws-k8s-1.36/x86_64/1.20.0/image_id",
            ),
        ] {
            assert_eq!(found, expected);
        }
        assert_eq!(parameter(("windows2022", "latest"), "1.36", "x86_64", Variant::Standard), None);
    }
}
