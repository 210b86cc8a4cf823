//! Every CEL rule with an object that keeps it and one that breaks it.

use serde_json::{Value, json};

/// A rule, and two changes of a good object.
pub(crate) struct Case {
    pub(crate) kind: &'static str,
    /// Where the rule stands.
    pub(crate) path: &'static str,
    pub(crate) message: &'static str,
    /// Merged into the good object: breaks the rule.
    pub(crate) bad: Value,
    /// Merged into the good object: comes close and keeps it.
    pub(crate) good: Value,
    /// The rule is about updates.
    pub(crate) update: bool,
}

impl Case {
    pub(crate) fn new(
        kind: &'static str,
        path: &'static str,
        message: &'static str,
        bad: Value,
        good: Value,
    ) -> Case {
        Case { kind, path, message, bad, good, update: false }
    }

    fn on_update(mut self) -> Case {
        self.update = true;
        self
    }
}

pub(crate) fn class_ref() -> Value {
    json!({ "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" })
}

/// A good object.
pub(crate) fn base(kind: &str) -> Value {
    let digest = format!("sha256:{}", "0".repeat(64));
    let (version, spec) = match kind {
        "NodePool" => (
            "karpenter.sh/v1",
            json!({ "template": { "spec": { "nodeClassRef": class_ref(), "requirements": [] } } }),
        ),
        "NodeClaim" => ("karpenter.sh/v1", json!({ "nodeClassRef": class_ref(), "requirements": [] })),
        "CapacityBuffer" => ("autoscaling.x-k8s.io/v1beta1", json!({ "replicas": 1 })),
        "NodeOverlay" => ("karpenter.sh/v1alpha1", json!({ "requirements": [] })),
        "EC2NodeClass" => (
            "karpenter.k8s.aws/v1",
            json!({
                "role": "nodes",
                "amiSelectorTerms": [{ "alias": "al2023@latest" }],
                "subnetSelectorTerms": [{ "tags": { "a": "b" } }],
                "securityGroupSelectorTerms": [{ "tags": { "a": "b" } }],
            }),
        ),
        "Plan" => (
            "stowage.dev/v1alpha1",
            json!({
                "digest": digest, "plan": digest, "snapshot": digest, "mode": "shadow", "actions": [], "launchCostMicros": 5,
                "launchBoundMicros": 5, "nodes": "+0/-0", "monthly": "+$0", "gap": "0 %",
            }),
        ),
        _ => ("stowage.dev/v1alpha1", json!({})),
    };
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "case" }, "spec": spec })
}

/// An action of a plan, without the fields that only removals have.
fn action(kind: &str) -> Value {
    json!({
        "id": "one", "kind": kind, "nodePool": "default", "instanceType": "m6a.large", "zone": "us-east-1a",
        "capacityType": "on-demand", "priceMicros": 1, "alternates": 0, "pods": [],
    })
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = pools();
    cases.extend(requirements("NodePool"));
    cases.extend(requirements("NodeClaim"));
    cases.extend(class_refs("NodePool"));
    cases.extend(class_refs("NodeClaim"));
    cases.push(
        Case::new(
            "NodeClaim",
            "spec",
            "spec is immutable",
            json!({ "spec": { "terminationGracePeriod": "1h" } }),
            json!({ "metadata": { "labels": { "a": "b" } } }),
        )
        .on_update(),
    );
    cases.extend(overlays());
    cases.extend(buffers());
    cases.extend(crate::cases_class::classes());
    cases.extend(ours());
    cases
}

fn overlays() -> Vec<Case> {
    let one = |path, message, bad: Value, good: Value| {
        Case::new("NodeOverlay", path, message, json!({ "spec": bad }), json!({ "spec": good }))
    };
    let asks = |key: &str, operator: &str, values: &[&str]| json!({ "requirements": [{ "key": key, "operator": operator, "values": values }] });
    let family = "karpenter.k8s.aws/instance-family";
    let (keys, list) = ("spec.requirements.key", "spec.requirements");
    vec![
        one(
            "spec",
            "cannot set both 'price' and 'priceAdjustment'",
            json!({ "price": "0.1", "priceAdjustment": "+10%" }),
            json!({ "priceAdjustment": "-100%", "weight": 10000 }),
        ),
        one(
            "spec.capacity",
            "invalid resource restricted",
            json!({ "capacity": { "memory": "1Gi" } }),
            json!({ "capacity": { "example.com/device": 4, "hugepages-2Mi": "1Gi" } }),
        ),
        one(
            list,
            "requirements with operator 'NotIn' must have a value defined",
            asks(family, "NotIn", &[]),
            asks(family, "NotIn", &["t3"]),
        ),
        one(
            list,
            "requirements with operator 'In' must have a value defined",
            asks(family, "In", &[]),
            asks(family, "In", &["t3"]),
        ),
        one(
            list,
            "requirements operator 'Gt', 'Lt', 'Gte' or 'Lte' must have a single positive integer value",
            asks("karpenter.k8s.aws/instance-cpu", "Gte", &["-1"]),
            asks("karpenter.k8s.aws/instance-cpu", "Gte", &["4"]),
        ),
        one(
            keys,
            "label domain \"karpenter.sh\" is restricted",
            asks("karpenter.sh/initialized", "In", &["true"]),
            asks("karpenter.sh/nodepool", "In", &["default"]),
        ),
        one(
            keys,
            "label \"kubernetes.io/hostname\" is restricted",
            asks("kubernetes.io/hostname", "In", &["a"]),
            asks("kubernetes.io/os", "In", &["linux"]),
        ),
        one(
            keys,
            "label domain \"karpenter.k8s.aws\" is restricted",
            asks("karpenter.k8s.aws/capacity-reservation-id", "Exists", &[]),
            asks("karpenter.k8s.aws/ec2nodeclass", "Exists", &[]),
        ),
    ]
}

fn buffers() -> Vec<Case> {
    let one = |message, bad: Value, good: Value| {
        Case::new("CapacityBuffer", "spec", message, json!({ "spec": bad }), json!({ "spec": good }))
    };
    let (template, scalable) = (json!({ "name": "a" }), json!({ "kind": "Deployment", "name": "a" }));
    vec![
        one(
            "If podTemplateRef is set, replicas or limits must also be set",
            json!({ "podTemplateRef": template, "replicas": null }),
            json!({ "podTemplateRef": template, "replicas": null, "limits": { "cpu": 4 } }),
        ),
        one(
            "You must define either PodTemplateRef or ScalableRef, but not both",
            json!({ "podTemplateRef": template, "scalableRef": scalable }),
            json!({ "scalableRef": scalable, "percentage": 20 }),
        ),
    ]
}

fn ours() -> Vec<Case> {
    vec![
        Case::new(
            "Plan",
            "spec",
            "spec is immutable",
            json!({ "spec": { "gap": "1 %" } }),
            json!({ "metadata": { "labels": { "a": "b" } } }),
        )
        .on_update(),
        Case::new(
            "Plan",
            "spec",
            "a bound cannot be above the cost",
            json!({ "spec": { "launchBoundMicros": 6 } }),
            json!({ "spec": { "launchBoundMicros": 4 } }),
        ),
        Case::new(
            "Plan",
            "spec",
            "what is to be approved has a body and an end",
            json!({ "spec": { "mode": "review", "body": "AAAA" } }),
            json!({ "spec": { "mode": "review", "body": "AAAA", "expires": "2026-11-22T00:00:00Z" } }),
        ),
        Case::new(
            "Plan",
            "spec.actions",
            "a removal, and nothing else, names a node and a reason",
            json!({ "spec": { "actions": [action("Remove")] } }),
            json!({ "spec": { "actions": [action("Launch")] } }),
        ),
        Case::new(
            "PlanPolicy",
            "spec.consolidation",
            "horizon must be a minute at least",
            json!({ "spec": { "consolidation": { "horizon": "59s" } } }),
            json!({ "spec": { "consolidation": { "horizon": "1m" } } }),
        ),
        Case::new(
            "PlanPolicy",
            "spec.consolidation",
            "every must be five seconds at least",
            json!({ "spec": { "consolidation": { "every": "4s" } } }),
            json!({ "spec": { "consolidation": { "every": "5s" } } }),
        ),
        Case::new(
            "PlanPolicy",
            "spec.review",
            "aboveDollarsPerHour needs launches: approve",
            json!({ "spec": { "review": { "launches": "auto", "aboveDollarsPerHour": "2.50" } } }),
            json!({ "spec": { "review": { "aboveDollarsPerHour": "2.50" } } }),
        ),
        Case::new(
            "PlanPolicy",
            "spec.review",
            "expireAfter must be a minute at least",
            json!({ "spec": { "review": { "expireAfter": "59s" } } }),
            json!({ "spec": { "review": { "expireAfter": "1m" } } }),
        ),
        Case::new(
            "PlanPolicy",
            "spec",
            "batchIdleDuration cannot be longer than batchMaxDuration",
            json!({ "spec": { "batchIdleDuration": "11s" } }),
            json!({ "spec": { "batchIdleDuration": "10s" } }),
        ),
    ]
}

fn pools() -> Vec<Case> {
    let pool = |path, message, bad: Value, good: Value| {
        Case::new("NodePool", path, message, json!({ "spec": bad }), json!({ "spec": good }))
    };
    let labels = |bad: &str, good: &str| {
        let with = |key: &str| json!({ "template": { "metadata": { "labels": { key: "x" } } } });
        (with(bad), with(good))
    };
    let label = |message, (bad, good)| pool("spec.template.metadata.labels", message, bad, good);
    let budget = |budget: Value| json!({ "disruption": { "consolidateAfter": "1m", "budgets": [budget] } });
    let class = |class: Value| json!({ "template": { "spec": { "nodeClassRef": class } } });
    let (group, kind) = ("nodeClassRef.group is immutable", "nodeClassRef.kind is immutable");
    vec![
        pool(
            "spec",
            "Cannot transition NodePool between static (replicas set) and dynamic (replicas unset) provisioning modes",
            json!({ "replicas": 1 }),
            json!({ "limits": { "cpu": 5 } }),
        )
        .on_update(),
        pool(
            "spec",
            "only 'limits.nodes' is supported on static NodePools",
            json!({ "replicas": 1, "limits": { "cpu": "1" } }),
            json!({ "replicas": 1, "limits": { "nodes": "1" } }),
        ),
        pool(
            "spec",
            "'weight' is not supported on static NodePools",
            json!({ "replicas": 1, "weight": 1 }),
            json!({ "weight": 1 }),
        ),
        pool(
            "spec.disruption.budgets",
            "'schedule' must be set with 'duration'",
            budget(json!({ "nodes": "1", "schedule": "@daily" })),
            budget(json!({ "nodes": "1", "schedule": "0 9 * * 1-5", "duration": "8h" })),
        ),
        label("label domain \"karpenter.sh\" is restricted", labels("karpenter.sh/custom", "example.com/custom")),
        label("label \"karpenter.sh/nodepool\" is restricted", labels("karpenter.sh/nodepool", "nodepool")),
        label("label \"kubernetes.io/hostname\" is restricted", labels("kubernetes.io/hostname", "hostname")),
        label(
            "label domain \"karpenter.k8s.aws\" is restricted",
            labels("karpenter.k8s.aws/custom", "karpenter.k8s.aws/instance-family"),
        ),
        pool("spec.template.spec.nodeClassRef", group, class(json!({ "group": "x" })), class(json!({ "name": "x" })))
            .on_update(),
        pool("spec.template.spec.nodeClassRef", kind, class(json!({ "kind": "x" })), class(json!({ "name": "x" })))
            .on_update(),
    ]
}

/// Both kinds have requirements, a pool's inside of its template.
fn inside(kind: &str, spec: Value) -> Value {
    if kind == "NodePool" {
        json!({ "spec": { "template": { "spec": spec } } })
    } else {
        json!({ "spec": spec })
    }
}

fn paths(kind: &str) -> [&'static str; 5] {
    if kind == "NodePool" {
        [
            "spec.template.spec.requirements",
            "spec.template.spec.requirements.key",
            "spec.template.spec.nodeClassRef.group",
            "spec.template.spec.nodeClassRef.kind",
            "spec.template.spec.nodeClassRef.name",
        ]
    } else {
        [
            "spec.requirements",
            "spec.requirements.key",
            "spec.nodeClassRef.group",
            "spec.nodeClassRef.kind",
            "spec.nodeClassRef.name",
        ]
    }
}

fn requirements(kind: &'static str) -> Vec<Case> {
    let [list, item, ..] = paths(kind);
    let one = |requirement: Value| inside(kind, json!({ "requirements": [requirement] }));
    let key = |key: &str| one(json!({ "key": key, "operator": "Exists" }));
    let case = |path, message, bad, good| Case::new(kind, path, message, bad, good);
    let mut cases = vec![
        case(
            list,
            "requirements with operator 'In' must have a value defined",
            one(json!({ "key": "a", "operator": "In", "values": [] })),
            one(json!({ "key": "a", "operator": "In", "values": ["b"] })),
        ),
        case(
            list,
            "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value",
            one(json!({ "key": "a", "operator": "Gte", "values": ["1", "2"] })),
            one(json!({ "key": "a", "operator": "Gte", "values": ["1"] })),
        ),
        case(
            list,
            "requirements with 'minValues' must have at least that many values specified in the 'values' field",
            one(json!({ "key": "a", "operator": "In", "values": ["b"], "minValues": 2 })),
            one(json!({ "key": "a", "operator": "In", "values": ["b", "c"], "minValues": 2 })),
        ),
        case(
            item,
            "label domain \"karpenter.sh\" is restricted",
            key("karpenter.sh/custom"),
            key("karpenter.sh/capacity-type"),
        ),
        case(
            item,
            "label \"kubernetes.io/hostname\" is restricted",
            key("kubernetes.io/hostname"),
            key("kubernetes.io/arch"),
        ),
        case(
            item,
            "label domain \"karpenter.k8s.aws\" is restricted",
            key("karpenter.k8s.aws/custom"),
            key("karpenter.k8s.aws/instance-cpu"),
        ),
    ];
    if kind == "NodePool" {
        let restricted = "label \"karpenter.sh/nodepool\" is restricted";
        cases.push(case(item, restricted, key("karpenter.sh/nodepool"), key("nodepool")));
    }
    cases
}

fn class_refs(kind: &'static str) -> Vec<Case> {
    let [_, _, group, kind_path, name] = paths(kind);
    let with = |field: &str, value: &str| inside(kind, json!({ "nodeClassRef": { field: value } }));
    [
        (group, "group", "group may not be empty"),
        (kind_path, "kind", "kind may not be empty"),
        (name, "name", "name may not be empty"),
    ]
    .map(|(path, field, message)| Case::new(kind, path, message, with(field, ""), with(field, "x")))
    .into()
}
