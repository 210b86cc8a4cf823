//! Tables and properties of drift.

use super::*;
use crate::view::Placed;

fn pool() -> NodePool {
    let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    NodePool {
        name: "pool".to_owned(),
        labels: [("team", "a")].map(label).into(),
        taints: vec![Taint { key: "t".to_owned(), value: String::new(), effect: TaintEffect::NoSchedule }],
        requirements: vec![
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["spot", "on-demand"]),
            Requirement::new("karpenter.k8s.aws/instance-category", Operator::In, &["c", "m"]),
        ],
        node_class: "class".to_owned(),
        expire_after: Some("720h".to_owned()),
        ..NodePool::default()
    }
}

fn spec() -> Value {
    json!({
        "amiSelectorTerms": [{ "alias": "al2023@latest" }], "role": "nodes", "tags": { "team": "a" },
        "subnetSelectorTerms": [{ "id": "subnet-1" }], "securityGroupSelectorTerms": [{ "id": "sg-1" }],
        "blockDeviceMappings": [
            { "deviceName": "/dev/xvda", "ebs": { "volumeSize": "20Gi" } },
            { "deviceName": "/dev/xvdb", "ebs": { "volumeSize": "40Gi" } },
        ],
        "metadataOptions": {
            "httpEndpoint": "enabled", "httpProtocolIPv6": "disabled", "httpPutResponseHopLimit": 1, "httpTokens": "required",
        },
    })
}

fn ids(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|id| (*id).to_owned()).collect()
}

fn facts() -> ClassFacts {
    ClassFacts {
        hash: class_hash(&spec()),
        subnets: Some(ids(&["subnet-1", "subnet-2"])),
        groups: Some(ids(&["sg-1", "sg-2"])),
        reservations: Some(ids(&["cr-1"])),
    }
}

fn placed() -> Placed {
    Placed {
        subnet: "subnet-1".to_owned(),
        groups: ids(&["sg-1", "sg-2"]),
        reservation: Some("cr-1".to_owned()),
    }
}

fn machine(placed: Placed) -> Instance {
    Instance { placed: Some(Box::new(placed)), ..Instance::default() }
}

fn node_labels(capacity_type: &str) -> Labels {
    let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    [
        (labels::INSTANCE_TYPE, "m5.large"),
        (labels::ZONE, "us-east-1a"),
        (labels::CAPACITY_TYPE, capacity_type),
    ]
    .map(label)
    .into()
}

fn stamped() -> String {
    Stamp { pool: pool_hash(&pool()), class: class_hash(&spec()), ..Stamp::default() }.to_string()
}

/// What a change is made to.
struct Case {
    pool: NodePool,
    facts: ClassFacts,
    machine: Placed,
    own: Labels,
}

/// The reason for a claim of ours, launched as things were before the change.
fn reason(change: impl FnOnce(&mut Case)) -> Option<String> {
    let mut case = Case { pool: pool(), facts: facts(), machine: placed(), own: node_labels("spot") };
    change(&mut case);
    let (Case { pool, facts, machine: place, own }, stamp) = (case, stamped());
    let machine = machine(place);
    let input = DriftInput {
        pool: Some(&pool),
        class: Some(&facts),
        image: Some("ami-1"),
        labels: own,
        own_image: Some("ami-1"),
        machine: Some(&machine),
        stamp: Some(&stamp),
        ours: true,
        drifted: None,
    };
    let verdict = judge_drift(&input, Catalog::embedded()).expect("a verdict");
    assert_eq!(verdict.stamp, None, "its stamp is good");
    verdict.drifted.map(|(reason, _)| reason)
}

#[test]
fn each_change_has_its_reason() {
    assert_eq!(reason(|_| {}), None);
    let some = |text: &str| Some(text.to_owned());
    // Static fields of the pool.
    assert_eq!(reason(|case| drop(case.pool.labels.remove("team"))), some("NodePoolDrifted"));
    assert_eq!(reason(|case| case.pool.taints.clear()), some("NodePoolDrifted"));
    assert_eq!(reason(|case| case.pool.startup_taints = case.pool.taints.clone()), some("NodePoolDrifted"));
    assert_eq!(reason(|case| case.pool.expire_after = some("Never")), some("NodePoolDrifted"));
    assert_eq!(reason(|case| case.pool.termination_grace_period = some("1h")), some("NodePoolDrifted"));
    assert_eq!(reason(|case| case.pool.node_class = "other".to_owned()), some("NodePoolDrifted"));
    // What changes no node: another spelling, budgets, weight, limits.
    assert_eq!(reason(|case| case.pool.expire_after = some("719h60m0s")), None);
    assert_eq!(reason(|case| case.pool.weight = 7), None);
    assert_eq!(reason(|case| case.pool.limits = [("cpu", 1)].into()), None);
    assert_eq!(reason(|case| case.pool.consolidate_after = some("1h")), None);
    // Requirements against labels: written, derived from the type, custom, and those that nobody may have written.
    let require = |key: &'static str, operator: Operator, values: &'static [&'static str]| {
        reason(|case| case.pool.requirements.push(Requirement::new(key, operator, values)))
    };
    assert_eq!(require(labels::CAPACITY_TYPE, Operator::In, &["on-demand"]), some("RequirementsDrifted"));
    assert_eq!(require(labels::CAPACITY_TYPE, Operator::NotIn, &["on-demand"]), None);
    assert_eq!(require("karpenter.k8s.aws/instance-cpu", Operator::Gt, &["2"]), some("RequirementsDrifted"));
    assert_eq!(require("karpenter.k8s.aws/instance-cpu", Operator::Lte, &["2"]), None);
    assert_eq!(
        require("karpenter.k8s.aws/instance-gpu-count", Operator::Exists, &[]),
        some("RequirementsDrifted")
    );
    assert_eq!(require("karpenter.k8s.aws/instance-gpu-count", Operator::DoesNotExist, &[]), None);
    assert_eq!(require("custom", Operator::Exists, &[]), some("RequirementsDrifted"));
    assert_eq!(require("custom", Operator::NotIn, &["a"]), None);
    assert_eq!(require(labels::ZONE_ID, Operator::In, &["use1-az1"]), None, "nobody wrote it");
    assert_eq!(
        require("karpenter.k8s.aws/instance-encryption-in-transit-supported", Operator::In, &["true"]),
        None,
        "the catalogue does not know"
    );
    let unknown = |case: &mut Case| {
        case.own.insert(labels::INSTANCE_TYPE.to_owned(), "new9.large".to_owned());
    };
    assert_eq!(reason(unknown), None, "a type that the catalogue does not know");
    // The class and what it selects.
    assert_eq!(reason(|case| case.facts.hash = "other".to_owned()), some("NodeClassDrift"));
    assert_eq!(reason(|case| case.facts.subnets = Some(ids(&["subnet-2"]))), some("SubnetDrift"));
    assert_eq!(reason(|case| case.facts.subnets = None), None, "not known");
    assert_eq!(reason(|case| case.machine.subnet.clear()), None, "not known");
    assert_eq!(reason(|case| case.facts.groups = Some(ids(&["sg-1"]))), some("SecurityGroupDrift"));
    assert_eq!(reason(|case| case.facts.groups = None), None);
    assert_eq!(reason(|case| case.facts.reservations = Some(ids(&[]))), None, "it is a spot machine");
    let gone = |case: &mut Case| {
        case.pool.requirements.clear();
        case.facts.reservations = Some(ids(&["cr-2"]));
        case.own = node_labels(labels::RESERVED);
    };
    assert_eq!(reason(gone), some("CapacityReservationDrift"));
}

#[test]
fn images_drift_by_what_would_be_launched() {
    let (pool, facts, stamp) = (pool(), facts(), stamped());
    let drifted = |image: Option<&str>, own: Option<&str>| {
        let input = DriftInput {
            pool: Some(&pool),
            class: Some(&facts),
            image,
            own_image: own,
            labels: node_labels("spot"),
            stamp: Some(&stamp),
            ours: true,
            ..DriftInput::default()
        };
        judge_drift(&input, Catalog::embedded()).expect("a verdict").drifted.map(|(reason, _)| reason)
    };
    assert_eq!(drifted(Some("ami-2"), Some("ami-1")).as_deref(), Some("AMIDrift"));
    assert_eq!(drifted(Some("ami-1"), Some("ami-1")), None);
    assert_eq!(
        (drifted(None, Some("ami-1")), drifted(Some("ami-2"), None), drifted(Some("ami-2"), Some(""))),
        (None, None, None)
    );
}

/// What a pass writes, and the verdict of the next.
fn twice<'a>(input: &DriftInput<'a>) -> (Option<String>, Option<DriftVerdict>) {
    let first = judge_drift(input, Catalog::embedded());
    let Some(stamp) = first.as_ref().and_then(|verdict| verdict.stamp.clone()) else { return (None, first) };
    let stamp = stamp.to_string();
    let again = judge_drift(&DriftInput { stamp: Some(&stamp), ..input.clone() }, Catalog::embedded());
    assert_eq!(
        first.map(|verdict| verdict.drifted),
        again.as_ref().map(|verdict| verdict.drifted.clone()),
        "what was said when it was stamped is said again"
    );
    (Some(stamp), again)
}

/// Migration from Karpenter, and an upgrade of Stowage: nothing drifts, whatever hashes are on the claim, and later changes do.
#[test]
fn neither_migration_nor_upgrade_drifts_anything() {
    let (pool, facts, machine) = (pool(), facts(), machine(placed()));
    let old = "v0 pool=sha256:1 class=sha256:2";
    for (stamp, ours) in [
        (None, false),
        (Some("sha256:1"), false),
        (Some(old), true),
        (Some(""), true),
        (Some("v1"), true),
        (Some("v1 pool= class="), true),
        (Some("v10 pool=a class=b"), true),
    ] {
        // Karpenter had chosen another image than we would.
        let input = DriftInput {
            pool: Some(&pool),
            class: Some(&facts),
            image: Some("ami-ours"),
            own_image: Some(if ours { "ami-ours" } else { "ami-karpenters" }),
            labels: node_labels("on-demand"),
            machine: Some(&machine),
            stamp,
            ours,
            drifted: None,
        };
        let (stamp, verdict) = twice(&input);
        let stamp = stamp.expect("it is stamped");
        assert_eq!(verdict.expect("a verdict").drifted, None, "{stamp:?}");
        let later = |image: Option<&str>, change: fn(&mut NodePool)| {
            let mut pool = pool.clone();
            change(&mut pool);
            let input = DriftInput { pool: Some(&pool), image, stamp: Some(&stamp), ..input.clone() };
            judge_drift(&input, Catalog::embedded()).expect("a verdict").drifted.map(|(reason, _)| reason)
        };
        assert_eq!(later(Some("ami-ours"), |_| {}), None);
        assert_eq!(later(Some("ami-new"), |_| {}).as_deref(), Some("AMIDrift"));
        assert_eq!(later(Some("ami-ours"), |pool| pool.taints.clear()).as_deref(), Some("NodePoolDrifted"));
    }
}

/// What had drifted before nobody could tell stays so; what cannot be known is not said.
#[test]
fn what_had_drifted_stays_so_and_what_is_unknown_is_not_said() {
    let (pool, facts) = (pool(), facts());
    let whole = DriftInput {
        pool: Some(&pool),
        class: Some(&facts),
        image: Some("ami-1"),
        labels: node_labels("spot"),
        ..DriftInput::default()
    };
    let (stamp, verdict) = twice(&DriftInput { drifted: Some("SubnetDrift"), ..whole.clone() });
    assert_eq!(stamp.as_deref(), Some("v1 before=SubnetDrift"));
    assert_eq!(verdict.and_then(|one| one.drifted).map(|(reason, _)| reason).as_deref(), Some("SubnetDrift"));
    let judge = |input: DriftInput<'_>| judge_drift(&input, Catalog::embedded());
    assert_eq!(judge(DriftInput { pool: None, ..whole.clone() }), None);
    assert_eq!(judge(DriftInput { class: None, ..whole.clone() }), None);
    assert_eq!(judge(DriftInput { image: None, ..whole }), None, "of others, until the image is known");
}

/// The digests of version v1 for fixed objects. If this fails, raise [`VERSION`]: otherwise an upgrade would drift every node.
#[test]
fn digests_are_those_of_their_version() {
    assert_eq!(
        (VERSION, &*pool_hash(&pool()), &*class_hash(&spec())),
        (
            "v1",
            "sha256:59d8b7d73c1c3e87c83d73cb07a921a6276f8b8746cd27687befbdea6b124bbb",
            "sha256:7d693fdaa8592f841d203cd52342903ce479317a6ba3f0d766a03292ee7188e1"
        )
    );
}

#[test]
fn a_class_is_the_same_however_it_is_written() {
    let same = |change: fn(&mut Value)| {
        let mut other = spec();
        change(&mut other);
        class_hash(&other) == class_hash(&spec())
    };
    assert!(same(|_| {}));
    assert!(
        same(|spec| drop(spec.as_object_mut().expect("a spec").remove("metadataOptions"))),
        "its defaults"
    );
    assert!(same(|spec| spec["blockDeviceMappings"].as_array_mut().expect("volumes").reverse()));
    assert!(same(|spec| spec["kubelet"] = json!({ "maxPods": null, "kubeReserved": {} })));
    assert!(
        same(|spec| spec["subnetSelectorTerms"] = json!([])),
        "selectors are compared by what they select"
    );
    assert!(same(|spec| spec["fieldOfALaterVersion"] = json!("default")));
    assert!(!same(|spec| spec["userData"] = json!("x")));
    assert!(!same(|spec| spec["tags"] = json!({ "team": "b" })));
    assert!(!same(|spec| spec["metadataOptions"]["httpTokens"] = json!("optional")));
    assert!(!same(|spec| spec["blockDeviceMappings"][0]["ebs"]["volumeSize"] = json!("21Gi")));
    assert!(!same(|spec| spec["kubelet"] = json!({ "maxPods": 50 })));
}

#[test]
fn a_status_counts_if_it_is_good_and_of_this_spec() {
    let class = |generation: i64, status: &str| {
        let condition = |kind: &str| json!({ "type": kind, "status": status, "observedGeneration": 2 });
        json!({
            "metadata": { "generation": generation },
            "spec": { "capacityReservationSelectorTerms": [{ "id": "cr-1" }] },
            "status": {
                "subnets": [{ "id": "subnet-1", "zone": "a" }], "securityGroups": [{ "id": "sg-1" }],
                "capacityReservations": [{ "id": "cr-1" }],
                "conditions": [
                    condition("SubnetsReady"), condition("SecurityGroupsReady"), condition("CapacityReservationsReady"),
                ],
            },
        })
    };
    let known = ClassFacts::of(&class(2, "True"));
    assert_eq!(known.subnets, Some(ids(&["subnet-1"])));
    assert_eq!((known.groups, known.reservations), (Some(ids(&["sg-1"])), Some(ids(&["cr-1"]))));
    for class in
        [class(3, "True"), class(2, "False"), json!({ "spec": { "capacityReservationSelectorTerms": [{}] } })]
    {
        let unknown = ClassFacts::of(&class);
        assert_eq!((unknown.subnets, unknown.groups, unknown.reservations), (None, None, None));
    }
    assert_eq!(ClassFacts::of(&json!({})).reservations, Some(BTreeSet::new()), "none is selected");
}
