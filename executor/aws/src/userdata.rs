//! User data: how a machine becomes a node. Own user data of the node class come first, what makes it a node of this cluster comes last and wins.

use crate::errors::{Kind, Trouble};
use crate::images::Family;
use crate::settings::Settings;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use stowage_api::{Ec2NodeClassSpec, Kubelet};
use stowage_models::labels;
use stowage_models::objects::{Taint, TaintEffect};

const BOUNDARY: &str = "//";
/// EC2 takes this much, before encoding.
const MOST: usize = 16 * 1024;

/// What user data depend on.
pub(crate) struct Node<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) class: &'a Ec2NodeClassSpec,
    pub(crate) labels: BTreeMap<String, String>,
    /// Taints, without that of unregistered nodes.
    pub(crate) taints: Vec<Taint>,
}

impl Node<'_> {
    fn raid0(&self) -> bool {
        self.class.instance_store_policy.as_deref() == Some("RAID0")
    }

    fn kubelet(&self) -> Kubelet {
        self.class.kubelet.clone().unwrap_or_default()
    }

    /// Taints with that of unregistered nodes: nothing comes before the controller has seen the node.
    fn all_taints(&self) -> Vec<Taint> {
        let unregistered = Taint {
            key: labels::TAINT_UNREGISTERED.to_owned(),
            value: String::new(),
            effect: TaintEffect::NoExecute,
        };
        self.taints.iter().cloned().chain([unregistered]).collect()
    }

    fn label_list(&self) -> String {
        let all: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        all.join(",")
    }
}

fn effect(taint: &Taint) -> &'static str {
    match taint.effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    }
}

/// User data for a family.
pub(crate) fn user_data(family: Family, node: &Node<'_>) -> Result<String, Trouble> {
    let own = node.class.user_data.as_deref().unwrap_or_default();
    let text = match family {
        Family::Custom => own.to_owned(),
        Family::Al2023 => mime(own, "application/node.eks.aws", &node_config(node))?,
        Family::Al2 => mime(own, "text/x-shellscript; charset=\"us-ascii\"", &bootstrap(node))?,
        Family::Bottlerocket => bottlerocket(own, node)?,
    };
    if text.len() > MOST {
        let what =
            format!("user data have {} bytes, EC2 takes {MOST}\n  hint: shorten spec.userData", text.len());
        return Err(Trouble::new(Kind::Terminal, what));
    }
    Ok(text)
}

/// nodeadm's NodeConfig. JSON is YAML.
fn node_config(node: &Node<'_>) -> String {
    let settings = node.settings;
    let mut cluster = json!({
        "name": settings.cluster,
        "apiServerEndpoint": settings.endpoint,
        "certificateAuthority": settings.ca_bundle,
    });
    if let Some(cidr) = &settings.service_cidr {
        cluster["cidr"] = cidr.clone().into();
    }
    // The fields of the node class are those of the kubelet's configuration.
    let mut config = serde_json::to_value(node.kubelet()).unwrap_or_default();
    let taint = |taint: &Taint| {
        let mut value = json!({ "key": taint.key, "effect": effect(taint) });
        if !taint.value.is_empty() {
            value["value"] = taint.value.clone().into();
        }
        value
    };
    config["registerWithTaints"] = node.all_taints().iter().map(taint).collect();
    let flags: Vec<String> = (!node.labels.is_empty())
        .then(|| format!("--node-labels={}", node.label_list()))
        .into_iter()
        .collect();
    let mut spec = json!({ "cluster": cluster, "kubelet": { "config": config, "flags": flags } });
    if node.raid0() {
        spec["instance"] = json!({ "localStorage": { "strategy": "RAID0" } });
    }
    let document = json!({ "apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// The arguments of AL2's bootstrap script.
fn bootstrap(node: &Node<'_>) -> String {
    let (settings, kubelet) = (node.settings, node.kubelet());
    let mut arguments = vec![format!("--node-labels={}", node.label_list())];
    let taints: Vec<String> = node
        .all_taints()
        .iter()
        .map(|taint| format!("{}={}:{}", taint.key, taint.value, effect(taint)))
        .collect();
    arguments.push(format!("--register-with-taints={}", taints.join(",")));
    let join = |map: &BTreeMap<String, String>, sign: char| {
        let all: Vec<String> = map.iter().map(|(key, value)| format!("{key}{sign}{value}")).collect();
        all.join(",")
    };
    for (flag, map, sign) in [
        ("--eviction-hard", &kubelet.eviction_hard, '<'),
        ("--eviction-soft", &kubelet.eviction_soft, '<'),
        ("--eviction-soft-grace-period", &kubelet.eviction_soft_grace_period, '='),
        ("--kube-reserved", &kubelet.kube_reserved, '='),
        ("--system-reserved", &kubelet.system_reserved, '='),
    ] {
        arguments.extend(map.as_ref().map(|map| format!("{flag}={}", join(map, sign))));
    }
    for (flag, number) in [
        ("--eviction-max-pod-grace-period", kubelet.eviction_max_pod_grace_period),
        ("--image-gc-high-threshold", kubelet.image_gc_high_threshold_percent),
        ("--image-gc-low-threshold", kubelet.image_gc_low_threshold_percent),
        ("--max-pods", kubelet.max_pods),
        ("--pods-per-core", kubelet.pods_per_core),
    ] {
        arguments.extend(number.map(|number| format!("{flag}={number}")));
    }
    arguments.extend(kubelet.cpu_cfs_quota.map(|quota| format!("--cpu-cfs-quota={quota}")));
    let mut script = format!(
        "#!/bin/bash -xe\nexec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1\n\
         /etc/eks/bootstrap.sh {} --apiserver-endpoint {} --b64-cluster-ca {}",
        quoted(&settings.cluster),
        quoted(&settings.endpoint),
        quoted(&settings.ca_bundle)
    );
    if let Some(address) = kubelet.cluster_dns.as_deref().and_then(<[String]>::first) {
        let _ = write!(script, " --dns-cluster-ip {}", quoted(address));
    }
    if kubelet.max_pods.is_some() {
        script.push_str(" --use-max-pods false");
    }
    if node.raid0() {
        script.push_str(" --local-disks raid0");
    }
    let _ = writeln!(script, " --kubelet-extra-args {}", quoted(&arguments.join(" ")));
    script
}

/// A word for the shell, whatever it holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Own parts, then ours.
fn mime(own: &str, kind: &str, ours: &str) -> Result<String, Trouble> {
    let mut parts = own_parts(own)?;
    parts.push(format!("Content-Type: {kind}\n\n{}\n", ours.trim_end()));
    let mut text = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n");
    for part in parts {
        let _ = write!(text, "--{BOUNDARY}\n{part}");
    }
    let _ = writeln!(text, "--{BOUNDARY}--");
    Ok(text)
}

/// The parts of the node class's user data: those of a MIME document, a script, or a NodeConfig.
fn own_parts(own: &str) -> Result<Vec<String>, Trouble> {
    let text = own.replace("\r\n", "\n");
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Vec::new());
    }
    let upper = trimmed.get(..13).map(str::to_ascii_uppercase).unwrap_or_default();
    if upper == "MIME-VERSION:" || upper.starts_with("CONTENT-TYPE:") {
        let boundary = trimmed
            .lines()
            .take_while(|line| !line.starts_with("--"))
            .find_map(|line| line.split_once("boundary="))
            .map(|(_, rest)| rest.trim().trim_end_matches(';').trim_matches('"').to_owned())
            .filter(|boundary| !boundary.is_empty());
        let Some(boundary) = boundary else {
            let hint = "write Content-Type: multipart/mixed; boundary=\"BOUNDARY\"";
            let text = format!("spec.userData: a MIME document without a boundary\n  hint: {hint}");
            return Err(Trouble::new(Kind::Terminal, text));
        };
        let (open, close) = (format!("--{boundary}"), format!("--{boundary}--"));
        let mut parts = Vec::new();
        let mut part: Option<String> = None;
        for line in trimmed.lines() {
            if line == open || line == close {
                parts.extend(part.take());
                if line == open {
                    part = Some(String::new());
                } else {
                    break;
                }
            } else if let Some(part) = &mut part {
                part.push_str(line);
                part.push('\n');
            }
        }
        parts.extend(part);
        return Ok(parts);
    }
    let kind = if trimmed.starts_with("#!") {
        "text/x-shellscript; charset=\"us-ascii\""
    } else if trimmed.contains("NodeConfig") {
        "application/node.eks.aws"
    } else {
        let hint = "begin a script with #!, or write a MIME document or a NodeConfig";
        let text = format!("spec.userData: neither a script nor a document\n  hint: {hint}");
        return Err(Trouble::new(Kind::Terminal, text));
    };
    Ok(vec![format!("Content-Type: {kind}\n\n{trimmed}\n")])
}

/// Own settings with ours in them.
fn bottlerocket(own: &str, node: &Node<'_>) -> Result<String, Trouble> {
    let bad = |error: String| {
        Trouble::new(Kind::Terminal, format!("spec.userData: not TOML for Bottlerocket: {error}"))
    };
    let mut document: toml::Table = own.parse().map_err(|error: toml::de::Error| bad(error.to_string()))?;
    let settings = table(&mut document, "settings").map_err(&bad)?;
    if node.raid0() {
        let commands = table(settings, "bootstrap-commands").map_err(&bad)?;
        let mount = json!({
            "commands": [
                ["apiclient", "ephemeral-storage", "init"],
                ["apiclient", "ephemeral-storage", "bind", "--dirs", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods"],
            ],
            "mode": "always", "essential": true,
        });
        commands.insert("000-mount-instance-storage".to_owned(), value(&mount).map_err(&bad)?);
    }
    let kubernetes = table(settings, "kubernetes").map_err(&bad)?;
    let kubelet = node.kubelet();
    let mut set = json!({
        "cluster-name": node.settings.cluster,
        "api-server": node.settings.endpoint,
        "cluster-certificate": node.settings.ca_bundle,
    });
    if let Some(addresses) = &kubelet.cluster_dns {
        set["cluster-dns-ip"] = match &addresses[..] {
            [one] => one.clone().into(),
            several => several.to_vec().into(),
        };
    }
    for (key, number) in [
        ("max-pods", kubelet.max_pods),
        ("pods-per-core", kubelet.pods_per_core),
        ("eviction-max-pod-grace-period", kubelet.eviction_max_pod_grace_period),
    ] {
        if let Some(number) = number {
            set[key] = number.into();
        }
    }
    // Shares of the disk are texts there.
    for (key, number) in [
        ("image-gc-high-threshold-percent", kubelet.image_gc_high_threshold_percent),
        ("image-gc-low-threshold-percent", kubelet.image_gc_low_threshold_percent),
    ] {
        if let Some(number) = number {
            set[key] = number.to_string().into();
        }
    }
    if let Some(quota) = kubelet.cpu_cfs_quota {
        set["cpu-cfs-quota-enforced"] = quota.into();
    }
    for (key, map) in [
        ("eviction-hard", &kubelet.eviction_hard),
        ("eviction-soft", &kubelet.eviction_soft),
        ("eviction-soft-grace-period", &kubelet.eviction_soft_grace_period),
        ("kube-reserved", &kubelet.kube_reserved),
        ("system-reserved", &kubelet.system_reserved),
    ] {
        if let Some(map) = map {
            set[key] = json!(map);
        }
    }
    for (key, value_) in set.as_object().into_iter().flatten() {
        kubernetes.insert(key.clone(), value(value_).map_err(&bad)?);
    }
    let node_labels = table(kubernetes, "node-labels").map_err(&bad)?;
    for (key, label) in &node.labels {
        node_labels.insert(key.clone(), toml::Value::String(label.clone()));
    }
    let taints = table(kubernetes, "node-taints").map_err(&bad)?;
    for taint in node.all_taints() {
        let text = toml::Value::String(format!("{}:{}", taint.value, effect(&taint)));
        match taints.entry(taint.key.clone()).or_insert_with(|| toml::Value::Array(Vec::new())) {
            toml::Value::Array(list) if !list.contains(&text) => list.push(text),
            _ => {}
        }
    }
    toml::to_string(&document).map_err(|error| bad(error.to_string()))
}

fn table<'a>(inside: &'a mut toml::Table, key: &str) -> Result<&'a mut toml::Table, String> {
    let found = inside.entry(key.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    found.as_table_mut().ok_or_else(|| format!("`{key}` is not a table"))
}

fn value(value: &Value) -> Result<toml::Value, String> {
    toml::Value::try_from(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            endpoint: "https://api.example".to_owned(),
            ca_bundle: "Q0E=".to_owned(),
            service_cidr: Some("10.100.0.0/16".to_owned()),
            ..Settings::new("demo", "1.36")
        }
    }

    fn made(family: Family, class: &Ec2NodeClassSpec) -> Result<String, Trouble> {
        let settings = settings();
        let taint = Taint { key: "team".to_owned(), value: "a".to_owned(), effect: TaintEffect::NoSchedule };
        let labels = BTreeMap::from([("karpenter.sh/nodepool".to_owned(), "pool".to_owned())]);
        user_data(family, &Node { settings: &settings, class, labels, taints: vec![taint] })
    }

    fn class(own: &str) -> Ec2NodeClassSpec {
        Ec2NodeClassSpec {
            user_data: Some(own.to_owned()),
            kubelet: Some(Kubelet { max_pods: Some(58), ..Kubelet::default() }),
            instance_store_policy: Some("RAID0".to_owned()),
            ..Ec2NodeClassSpec::default()
        }
    }

    /// The last part of a MIME document.
    fn last_part(text: &str) -> String {
        let parts = own_parts(text).expect("a MIME document");
        let (_, body) = parts.last().expect("a part").split_once("\n\n").expect("a head and a body");
        body.to_owned()
    }

    #[test]
    fn al2023_gets_a_node_config_after_its_own_parts() {
        let text = made(Family::Al2023, &class("#!/bin/bash\necho hello")).expect("user data");
        assert_eq!(own_parts(&text).expect("parts").len(), 2, "{text}");
        assert!(text.find("echo hello") < text.find("NodeConfig"));
        let config: Value = serde_json::from_str(&last_part(&text)).expect("JSON, so YAML");
        assert_eq!(config["spec"]["cluster"]["name"], "demo");
        assert_eq!(config["spec"]["cluster"]["cidr"], "10.100.0.0/16");
        assert_eq!(config["spec"]["kubelet"]["config"]["maxPods"], 58);
        assert_eq!(config["spec"]["kubelet"]["flags"][0], "--node-labels=karpenter.sh/nodepool=pool");
        assert_eq!(config["spec"]["instance"]["localStorage"]["strategy"], "RAID0");
        let taints = config["spec"]["kubelet"]["config"]["registerWithTaints"].as_array().expect("taints");
        assert_eq!(taints.len(), 2);
        assert_eq!(taints[1], json!({ "key": "karpenter.sh/unregistered", "effect": "NoExecute" }));
    }

    #[test]
    fn parts_of_a_document_are_kept() {
        let own = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"XYZ\"\n\n--XYZ\nContent-Type: \
                   text/x-shellscript\n\n#!/bin/bash\necho one\n--XYZ\nContent-Type: application/node.eks.aws\n\nkind: \
                   NodeConfig\n--XYZ--\n";
        let text = made(Family::Al2023, &class(own)).expect("user data");
        let parts = own_parts(&text).expect("parts");
        assert_eq!(parts.len(), 3, "{text}");
        assert!(parts[0].ends_with("echo one\n"));
        assert!(made(Family::Al2023, &class("MIME-Version: 1.0\n\nno boundary")).is_err());
        assert!(made(Family::Al2023, &class("just some words")).is_err());
    }

    #[test]
    fn al2_is_bootstrapped_by_a_script_the_shell_understands() {
        let mut class = class("");
        class.user_data = None;
        let text = made(Family::Al2, &class).expect("user data");
        let script = last_part(&text);
        assert!(
            script.contains("/etc/eks/bootstrap.sh 'demo' --apiserver-endpoint 'https://api.example'"),
            "{script}"
        );
        assert!(
            script.contains("--register-with-taints=team=a:NoSchedule,karpenter.sh/unregistered=:NoExecute")
        );
        assert!(script.contains("--max-pods=58'") && script.contains("--use-max-pods false"));
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn bottlerocket_settings_are_merged() {
        let own = "[settings.kubernetes]\nmax-pods = 20\nlog-level = 3\n[settings.kubernetes.node-labels]\nown = \"yes\"\n\
                   [settings.kernel]\nlockdown = \"none\"\n";
        let text = made(Family::Bottlerocket, &class(own)).expect("user data");
        let document: toml::Table = text.parse().expect("TOML");
        let kubernetes = &document["settings"]["kubernetes"];
        assert_eq!(kubernetes["max-pods"].as_integer(), Some(58), "ours wins");
        assert_eq!(kubernetes["log-level"].as_integer(), Some(3));
        assert_eq!(kubernetes["cluster-name"].as_str(), Some("demo"));
        assert_eq!(kubernetes["node-labels"]["own"].as_str(), Some("yes"));
        assert_eq!(kubernetes["node-labels"]["karpenter.sh/nodepool"].as_str(), Some("pool"));
        assert_eq!(kubernetes["node-taints"]["team"][0].as_str(), Some("a:NoSchedule"));
        assert_eq!(kubernetes["node-taints"]["karpenter.sh/unregistered"][0].as_str(), Some(":NoExecute"));
        assert_eq!(document["settings"]["kernel"]["lockdown"].as_str(), Some("none"));
        assert!(made(Family::Bottlerocket, &class("settings = 3")).is_err());
        assert!(made(Family::Bottlerocket, &class("[")).is_err());
    }

    #[test]
    fn custom_user_data_are_left_alone_and_too_much_is_refused() {
        assert_eq!(made(Family::Custom, &class("anything")).expect("user data"), "anything");
        let error = made(Family::Custom, &class(&"x".repeat(MOST + 1))).expect_err("too much");
        assert!(error.text.contains("hint"), "{error}");
    }
}
