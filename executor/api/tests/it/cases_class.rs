//! The rules of an EC2NodeClass.

use crate::cases::Case;
use serde_json::{Value, json};

/// A case whose changes are changes of the spec.
fn class(path: &'static str, message: &'static str, bad: Value, good: Value) -> Case {
    Case::new("EC2NodeClass", path, message, json!({ "spec": bad }), json!({ "spec": good }))
}

pub(crate) fn classes() -> Vec<Case> {
    let mut cases = spec();
    cases.extend(images());
    cases.extend(volumes());
    cases.extend(selectors());
    cases.extend(network());
    cases.extend(tags());
    cases.extend(kubelet());
    cases
}

fn spec() -> Vec<Case> {
    let family = |alias: &str, family: &str| json!({ "amiFamily": family, "amiSelectorTerms": [{ "alias": format!("{alias}@latest") }] });
    let mut cases: Vec<Case> = [
        ("al2", "AL2", "if set, amiFamily must be 'AL2' or 'Custom' when using an AL2 alias"),
        ("al2023", "AL2023", "if set, amiFamily must be 'AL2023' or 'Custom' when using an AL2023 alias"),
        (
            "bottlerocket",
            "Bottlerocket",
            "if set, amiFamily must be 'Bottlerocket' or 'Custom' when using a Bottlerocket alias",
        ),
        (
            "windows2019",
            "Windows2019",
            "if set, amiFamily must be 'Windows2019' or 'Custom' when using a Windows2019 alias",
        ),
        (
            "windows2022",
            "Windows2022",
            "if set, amiFamily must be 'Windows2022' or 'Custom' when using a Windows2022 alias",
        ),
        (
            "windows2025",
            "Windows2025",
            "if set, amiFamily must be 'Windows2025' or 'Custom' when using a Windows2025 alias",
        ),
    ]
    .into_iter()
    .map(|(alias, name, message)| {
        let other = if name == "AL2" { "AL2023" } else { "AL2" };
        class("spec", message, family(alias, other), family(alias, name))
    })
    .collect();
    cases.push(class(
        "spec",
        "must specify exactly one of ['role', 'instanceProfile']",
        json!({ "instanceProfile": "x" }),
        json!({ "instanceProfile": "x", "role": null }),
    ));
    cases.push(class(
        "spec",
        "must specify amiFamily if amiSelectorTerms does not contain an alias",
        json!({ "amiSelectorTerms": [{ "id": "ami-1" }] }),
        json!({ "amiSelectorTerms": [{ "id": "ami-1" }], "amiFamily": "Custom" }),
    ));
    cases.push(class("spec.role", "role cannot be empty", json!({ "role": "" }), json!({ "role": "x" })));
    cases.push(class(
        "spec.instanceProfile",
        "instanceProfile cannot be empty",
        json!({ "role": null, "instanceProfile": "" }),
        json!({ "role": null, "instanceProfile": "x" }),
    ));
    cases
}

fn images() -> Vec<Case> {
    let terms = |terms: Value| json!({ "amiFamily": "Custom", "amiSelectorTerms": terms });
    let alias = |alias: &str| json!({ "amiSelectorTerms": [{ "alias": alias }] });
    let (list, item) = ("spec.amiSelectorTerms", "spec.amiSelectorTerms.alias");
    vec![
        class(
            list,
            "expected at least one, got none, ['tags', 'id', 'name', 'alias', 'ssmParameter']",
            terms(json!([{}])),
            terms(json!([{ "ssmParameter": "x" }])),
        ),
        class(
            list,
            "'id' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms",
            terms(json!([{ "id": "ami-1", "name": "x" }])),
            terms(json!([{ "id": "ami-1" }, { "name": "x" }])),
        ),
        class(
            list,
            "'alias' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms",
            terms(json!([{ "alias": "al2@latest", "name": "x" }])),
            terms(json!([{ "alias": "al2@latest" }])),
        ),
        class(
            list,
            "'alias' is mutually exclusive, cannot be set with a combination of other amiSelectorTerms",
            terms(json!([{ "alias": "al2@latest" }, { "name": "x" }])),
            terms(json!([{ "alias": "al2@latest" }])),
        ),
        class(
            item,
            "'alias' is improperly formatted, must match the format 'family@version'",
            alias("al2023@"),
            alias("al2023@v20240807"),
        ),
        class(
            item,
            "family is not supported, must be one of the following: 'al2', 'al2023', 'bottlerocket', 'windows2019', \
             'windows2022', 'windows2025'",
            alias("ubuntu@latest"),
            alias("bottlerocket@v1.20.4"),
        ),
        class(
            item,
            "windows families may only specify version 'latest'",
            alias("windows2022@v1"),
            alias("windows2022@latest"),
        ),
        class(
            "spec.amiSelectorTerms.tags",
            "empty tag keys or values aren't supported",
            terms(json!([{ "tags": { "a": "" } }])),
            terms(json!([{ "tags": { "a": "*" } }])),
        ),
    ]
}

fn volumes() -> Vec<Case> {
    let devices = |devices: Value| json!({ "blockDeviceMappings": devices });
    let ebs = |ebs: Value| devices(json!([{ "deviceName": "/dev/xvda", "ebs": ebs }]));
    let root = json!({ "rootVolume": true, "ebs": { "volumeSize": "20Gi" } });
    vec![
        class(
            "spec.blockDeviceMappings",
            "must have only one blockDeviceMappings with rootVolume",
            devices(json!([root, root])),
            devices(json!([root, { "ebs": { "volumeSize": "1Ti" } }])),
        ),
        class(
            "spec.blockDeviceMappings.ebs",
            "snapshotID or volumeSize must be defined",
            ebs(json!({ "encrypted": true })),
            ebs(json!({ "snapshotID": "snap-1" })),
        ),
        class(
            "spec.blockDeviceMappings.ebs",
            "snapshotID must be set when volumeInitializationRate is set",
            ebs(json!({ "volumeSize": "20Gi", "volumeInitializationRate": 100 })),
            ebs(json!({ "snapshotID": "snap-1", "volumeInitializationRate": 100 })),
        ),
    ]
}

fn selectors() -> Vec<Case> {
    let reservations = |term: Value| json!({ "capacityReservationSelectorTerms": [term] });
    let groups = |term: Value| json!({ "securityGroupSelectorTerms": [term] });
    let subnets = |term: Value| json!({ "subnetSelectorTerms": [term] });
    let placement = |selector: Value| json!({ "placementGroupSelector": selector });
    let empty = "empty tag keys or values aren't supported";
    let (bad, good) = (json!({ "tags": { "": "a" } }), json!({ "tags": { "a": "b" } }));
    let id = json!({ "id": "cr-1", "instanceMatchCriteria": "open" });
    vec![
        class(
            "spec.capacityReservationSelectorTerms",
            "expected at least one, got none, ['tags', 'id', 'instanceMatchCriteria']",
            reservations(json!({ "ownerID": "123456789012" })),
            reservations(json!({ "ownerID": "123456789012", "instanceMatchCriteria": "open" })),
        ),
        class(
            "spec.capacityReservationSelectorTerms",
            "'id' is mutually exclusive, cannot be set along with other fields in a capacity reservation selector term",
            reservations(id),
            reservations(json!({ "id": "cr-1" })),
        ),
        class(
            "spec.capacityReservationSelectorTerms.tags",
            empty,
            reservations(bad.clone()),
            reservations(good.clone()),
        ),
        class(
            "spec.securityGroupSelectorTerms",
            "securityGroupSelectorTerms cannot be empty",
            json!({ "securityGroupSelectorTerms": [] }),
            groups(json!({ "id": "sg-1" })),
        ),
        class(
            "spec.securityGroupSelectorTerms",
            "expected at least one, got none, ['tags', 'id', 'name']",
            groups(json!({})),
            groups(json!({ "name": "x" })),
        ),
        class(
            "spec.securityGroupSelectorTerms",
            "'id' is mutually exclusive, cannot be set with a combination of other fields in a security group selector term",
            groups(json!({ "id": "sg-1", "tags": { "a": "b" } })),
            groups(json!({ "id": "sg-1" })),
        ),
        class(
            "spec.securityGroupSelectorTerms",
            "'name' is mutually exclusive, cannot be set with a combination of other fields in a security group selector term",
            groups(json!({ "name": "x", "tags": { "a": "b" } })),
            groups(json!({ "name": "x" })),
        ),
        class("spec.securityGroupSelectorTerms.tags", empty, groups(bad.clone()), groups(good.clone())),
        class(
            "spec.subnetSelectorTerms",
            "subnetSelectorTerms cannot be empty",
            json!({ "subnetSelectorTerms": [] }),
            subnets(json!({ "id": "subnet-1" })),
        ),
        class(
            "spec.subnetSelectorTerms",
            "expected at least one, got none, ['tags', 'id']",
            subnets(json!({})),
            subnets(json!({ "id": "subnet-1" })),
        ),
        class(
            "spec.subnetSelectorTerms",
            "'id' is mutually exclusive, cannot be set with a combination of other fields in a subnet selector term",
            subnets(json!({ "id": "subnet-1", "tags": { "a": "b" } })),
            subnets(json!({ "tags": { "a": "b" } })),
        ),
        class("spec.subnetSelectorTerms.tags", empty, subnets(bad), subnets(good)),
        class(
            "spec.placementGroupSelector",
            "expected at least one, got none, ['name', 'id']",
            placement(json!({})),
            placement(json!({ "name": "x" })),
        ),
        class(
            "spec.placementGroupSelector",
            "'name' and 'id' are mutually exclusive",
            placement(json!({ "name": "x", "id": "pg-1" })),
            placement(json!({ "id": "pg-1" })),
        ),
    ]
}

fn network() -> Vec<Case> {
    let interface = |card: i32, device: i32, kind: &str| json!({ "networkCardIndex": card, "deviceIndex": device, "interfaceType": kind });
    let (first, efa) = (interface(0, 0, "interface"), interface(1, 1, "efa-only"));
    vec![
        class(
            "spec.networkInterfaces",
            "networkInterfaces must include a primary interface with interfaceType='interface'",
            json!({ "networkInterfaces": [efa] }),
            json!({ "networkInterfaces": [first, efa] }),
        ),
        class(
            "spec.networkInterfaces",
            "networkInterfaces must not have duplicate networkCardIndex and deviceIndex pairs, and can have at most one \
             efa device per network card",
            json!({ "networkInterfaces": [first, first] }),
            json!({ "networkInterfaces": [] }),
        ),
        class(
            "spec.connectionTracking",
            "at least one of tcpEstablishedTimeout, udpStreamTimeout, or udpTimeout must be set",
            json!({ "connectionTracking": {} }),
            json!({ "connectionTracking": { "udpTimeout": 30 } }),
        ),
    ]
}

fn tags() -> Vec<Case> {
    [
        ("", "empty tag keys aren't supported"),
        ("eks:eks-cluster-name", "tag contains a restricted tag matching eks:eks-cluster-name"),
        ("kubernetes.io/cluster/x", "tag contains a restricted tag matching kubernetes.io/cluster/"),
        ("karpenter.sh/nodepool", "tag contains a restricted tag matching karpenter.sh/nodepool"),
        ("karpenter.sh/nodeclaim", "tag contains a restricted tag matching karpenter.sh/nodeclaim"),
        (
            "karpenter.k8s.aws/ec2nodeclass",
            "tag contains a restricted tag matching karpenter.k8s.aws/ec2nodeclass",
        ),
    ]
    .map(|(tag, message)| {
        class("spec.tags", message, json!({ "tags": { tag: "x" } }), json!({ "tags": { "team": "x" } }))
    })
    .into()
}

fn kubelet() -> Vec<Case> {
    let kubelet = |kubelet: Value| json!({ "kubelet": kubelet });
    let signals = "['memory.available','nodefs.available','nodefs.inodesFree','imagefs.available','imagefs.inodesFree','pid.available']";
    let leak = |text: String| -> &'static str { text.leak() };
    let keys = |field: &str| leak(format!("valid keys for {field} are {signals}"));
    let reserved =
        |field: &str| leak(format!("valid keys for {field} are ['cpu','memory','ephemeral-storage','pid']"));
    let negative = |field: &str| leak(format!("{field} value cannot be a negative resource quantity"));
    let soft = |signal: &str, grace: &str| {
        kubelet(json!({ "evictionSoft": { signal: "5%" }, "evictionSoftGracePeriod": { grace: "1m" } }))
    };
    let memory = "memory.available";
    let (hard_path, soft_path) = ("spec.kubelet.evictionHard", "spec.kubelet.evictionSoft");
    vec![
        class(
            "spec.kubelet",
            "imageGCHighThresholdPercent must be greater than imageGCLowThresholdPercent",
            kubelet(json!({ "imageGCHighThresholdPercent": 50, "imageGCLowThresholdPercent": 50 })),
            kubelet(json!({ "imageGCHighThresholdPercent": 51, "imageGCLowThresholdPercent": 50 })),
        ),
        class(
            "spec.kubelet",
            "evictionSoft OwnerKey does not have a matching evictionSoftGracePeriod",
            soft(memory, "pid.available"),
            soft(memory, memory),
        ),
        class(
            "spec.kubelet",
            "evictionSoftGracePeriod OwnerKey does not have a matching evictionSoft",
            soft("pid.available", memory),
            soft(memory, memory),
        ),
        class(
            hard_path,
            keys("evictionHard"),
            kubelet(json!({ "evictionHard": { "disk": "5%" } })),
            kubelet(json!({ "evictionHard": { memory: "100Mi" } })),
        ),
        class(soft_path, keys("evictionSoft"), soft("disk", "disk"), soft(memory, memory)),
        class(
            "spec.kubelet.evictionSoftGracePeriod",
            keys("evictionSoftGracePeriod"),
            soft("disk", "disk"),
            soft(memory, memory),
        ),
        class(
            "spec.kubelet.kubeReserved",
            reserved("kubeReserved"),
            kubelet(json!({ "kubeReserved": { "gpu": "1" } })),
            kubelet(json!({ "kubeReserved": { "cpu": "100m" } })),
        ),
        class(
            "spec.kubelet.kubeReserved",
            negative("kubeReserved"),
            kubelet(json!({ "kubeReserved": { "cpu": "-1" } })),
            kubelet(json!({ "kubeReserved": { "cpu": "1" } })),
        ),
        class(
            "spec.kubelet.systemReserved",
            reserved("systemReserved"),
            kubelet(json!({ "systemReserved": { "gpu": "1" } })),
            kubelet(json!({ "systemReserved": { "memory": "1Gi" } })),
        ),
        class(
            "spec.kubelet.systemReserved",
            negative("systemReserved"),
            kubelet(json!({ "systemReserved": { "cpu": "-1" } })),
            kubelet(json!({ "systemReserved": { "cpu": "1" } })),
        ),
    ]
}
