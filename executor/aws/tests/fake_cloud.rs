//! The real SDK against the fake cloud: launches, and what goes wrong with them.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use stowage_aws::{Aws, Settings};
use stowage_executor::{
    Cloud as _, Failure, InstanceState, LaunchBody, MessageKind, Offering, Reason, SLOT_TAINT, client_token,
};
use stowage_fake_cloud::{
    Ailment, Effect, FakeCloud, Fault, PoolRule, Reservation, Script, Step, ZonalShift,
};
use stowage_models::catalog::Catalog;
use stowage_models::objects::{Taint, TaintEffect};
use stowage_models::units::UsdMicros;

async fn start(script: Script) -> (FakeCloud, Aws) {
    let cloud = FakeCloud::start(script).await.expect("a port");
    let aws = Aws::connect(settings(&cloud), Catalog::embedded().clone()).await;
    (cloud, aws)
}

fn settings(cloud: &FakeCloud) -> Settings {
    Settings {
        endpoint: "https://api.example".to_owned(),
        region: Some("us-east-1".to_owned()),
        aws_endpoint: Some(cloud.endpoint()),
        fake_credentials: true,
        read_deadline: Duration::from_secs(3),
        write_deadline: Duration::from_secs(2),
        ..Settings::new("demo", "1.36")
    }
}

fn offering(name: &str, zone: &str, capacity_type: &str) -> Offering {
    Offering {
        instance_type: name.to_owned(),
        zone: zone.to_owned(),
        capacity_type: capacity_type.to_owned(),
        price: UsdMicros(1),
    }
}

/// A request of a plan: m5.large in zone a, else m5.xlarge in zone b.
fn body(claim: &str, capacity_type: &str) -> String {
    let slot = Taint { key: SLOT_TAINT.to_owned(), value: claim.to_owned(), effect: TaintEffect::NoSchedule };
    let launch = LaunchBody {
        claim: claim.to_owned(),
        plan: "sha256:1".to_owned(),
        action: "launch/1".to_owned(),
        pool: "pool".to_owned(),
        class: "default".to_owned(),
        offerings: vec![
            offering("m5.large", "us-east-1a", capacity_type),
            offering("m5.xlarge", "us-east-1b", capacity_type),
        ],
        labels: [("karpenter.sh/nodepool".to_owned(), "pool".to_owned())].into(),
        taints: vec![slot],
    };
    serde_json::to_string(&launch).expect("JSON")
}

fn class() -> Value {
    json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": { "name": "default" },
        "spec": {
            "role": "nodes", "amiSelectorTerms": [{ "alias": "al2023@latest" }], "tags": { "team": "a" },
            "subnetSelectorTerms": [{ "tags": { "karpenter.sh/discovery": "test" } }],
            "securityGroupSelectorTerms": [{ "name": "nodes" }],
        },
    })
}

async fn prepared(aws: &Aws, claim: &str, capacity_type: &str) -> String {
    aws.prepare(&body(claim, capacity_type), &class().to_string()).await.expect("an order")
}

#[tokio::test]
async fn a_launch_is_what_was_planned_and_is_found_again() {
    let (cloud, aws) = start(Script::default()).await;
    let order = prepared(&aws, "one", "on-demand").await;
    let launched = aws.launch("token-1", &order).await.expect("a machine");
    let machine = cloud.with(|world| world.machines()[&launched.instance.id].clone());
    assert_eq!((machine.instance_type.as_str(), machine.zone.as_str()), ("m5.large", "us-east-1a"));
    assert_eq!(machine.template.field("ImageId"), Some("ami-00000000000000001"));
    assert_eq!(machine.template.field("SecurityGroupId.1"), Some("sg-01"));
    assert_eq!(machine.template.field("IamInstanceProfile.Name"), Some("nodes"));
    assert_eq!(machine.template.field("MetadataOptions.HttpTokens"), Some("required"));
    assert_eq!(machine.template.field("BlockDeviceMapping.1.Ebs.VolumeSize"), Some("20"));
    let user_data = machine.template.user_data().expect("user data");
    assert!(user_data.contains("\"name\": \"demo\"") && !user_data.contains(SLOT_TAINT), "{user_data}");
    for (key, value) in [
        ("karpenter.sh/nodeclaim", "one"),
        ("karpenter.sh/nodepool", "pool"),
        ("kubernetes.io/cluster/demo", "owned"),
        ("stowage.dev/cluster", "demo"),
        ("stowage.dev/plan", "sha256:1"),
        ("team", "a"),
    ] {
        assert_eq!(machine.tags.get(key).map(String::as_str), Some(value), "{key}");
    }
    // A listing says what the launch said, and where the machine was put.
    let listed = aws.list().await.expect("a list");
    assert_eq!(listed.len(), 1);
    let (mut here, there) = (listed[0].clone(), launched.instance);
    assert!(here.launched.since(there.launched).abs() < 5000);
    here.launched = there.launched;
    here.state = there.state;
    let placed = here.placed.take().expect("where it was put");
    assert_eq!((placed.subnet, placed.reservation), (machine.subnet.clone(), None));
    assert_eq!(placed.groups, ["sg-01".to_owned()].into());
    assert_eq!(here, there);
    // Sent again it is the same machine; ended it is ended.
    assert_eq!(aws.launch("token-1", &order).await.expect("a machine").instance.id, there.id);
    aws.terminate(&there.id, Reason::ClaimDeleted).await.expect("it ends");
    aws.terminate("i-0123456789abcdef0", Reason::Orphan).await.expect("what is unknown has ended");
    assert_eq!(aws.list().await.expect("a list")[0].state, InstanceState::Ended);
    assert_eq!(cloud.with(|world| world.machines().len()), 1);
}

#[tokio::test]
async fn nodes_of_a_configuration_share_a_template_and_unused_ones_go() {
    let (cloud, first) = start(Script::default()).await;
    for n in 0..5 {
        let order = prepared(&first, &format!("claim-{n}"), "on-demand").await;
        first.launch(&format!("token-{n}"), &order).await.expect("a machine");
    }
    assert_eq!(cloud.with(|world| (world.machines().len(), world.templates().len())), (5, 1));
    // Another process finds it there.
    let aws = Aws::connect(settings(&cloud), Catalog::embedded().clone()).await;
    let order = prepared(&aws, "claim-5", "on-demand").await;
    aws.launch("token-5", &order).await.expect("a machine");
    assert_eq!(cloud.with(|world| world.templates().len()), 1);
    aws.tidy().await.expect("it is tidied");
    assert_eq!(cloud.with(|world| world.templates().len()), 1, "it is in use");
    let impatient = Settings { template_unused: Duration::ZERO, ..settings(&cloud) };
    let other = Aws::connect(impatient, Catalog::embedded().clone()).await;
    other.tidy().await.expect("it is tidied");
    assert_eq!(cloud.with(|world| world.templates().len()), 0);
    // One that was deleted meanwhile is made again, and the stored request stays the same.
    let again = aws.launch("token-6", &order).await.expect("a machine");
    assert!(cloud.with(|world| world.machines().contains_key(&again.instance.id)));
    assert_eq!(cloud.with(|world| world.templates().len()), 1);
}

#[tokio::test]
async fn missing_capacity_is_told_offering_by_offering() {
    let pools = vec![PoolRule::capacity("m5.large", "us-east-1a", "on-demand", 0)];
    let (cloud, aws) = start(Script { pools, ..Script::default() }).await;
    let order = prepared(&aws, "one", "on-demand").await;
    let launched = aws.launch("token", &order).await.expect("a substitute");
    assert_eq!(launched.instance.instance_type, "m5.xlarge");
    let large = ("m5.large".to_owned(), "us-east-1a".to_owned(), "on-demand".to_owned());
    assert_eq!(launched.missing, std::slice::from_ref(&large));
    let xlarge = ("m5.xlarge".to_owned(), "us-east-1b".to_owned(), "spot".to_owned());
    cloud.with(|world| world.add_fault(Fault::new("CreateFleet", Effect::throttle()).times(1)));
    let order = prepared(&aws, "two", "spot").await;
    assert!(
        matches!(aws.launch("spot", &order).await, Err(Failure::Later(_))),
        "throttled says nothing of capacity"
    );
    assert_eq!(aws.launch("spot", &order).await.expect("a machine").instance.capacity_type, "spot");
    drop((cloud, xlarge));
    let pools = vec![PoolRule::capacity("*", "*", "*", 0)];
    let (_cloud, aws) = start(Script { pools, ..Script::default() }).await;
    let order = prepared(&aws, "one", "on-demand").await;
    let Err(Failure::Capacity(missing)) = aws.launch("token", &order).await else { panic!("there is none") };
    assert_eq!((missing.len(), &missing[0]), (2, &large));
}

#[tokio::test]
async fn a_lost_answer_and_a_stored_request_make_one_machine() {
    let faults = vec![
        Fault::new("CreateFleet", Effect::LoseReply).times(1),
        Fault::new("CreateFleet", Effect::Truncate).after(1).times(1),
        Fault::new("CreateFleet", Effect::HangAfter).after(2).times(1),
        Fault::new("CreateFleet", Effect::Drop).after(3).times(1),
    ];
    let (cloud, aws) = start(Script { faults, ..Script::default() }).await;
    let order = prepared(&aws, "one", "on-demand").await;
    let token = client_token("sha256:1", "launch/1");
    for _ in 0..4 {
        assert!(matches!(aws.launch(&token, &order).await, Err(Failure::Later(_))));
    }
    // Meanwhile everything has changed: image, subnets, our process. The stored request has not.
    let other = Aws::connect(settings(&cloud), Catalog::embedded().clone()).await;
    cloud.with(|world| world.add_fault(Fault::new("AmazonSSM.GetParameter", Effect::throttle())));
    let launched = other.launch(&token, &order).await.expect("the machine");
    assert_eq!(
        cloud.with(|world| world.machines().keys().cloned().collect::<Vec<_>>()),
        [launched.instance.id]
    );
    // Another body under the token is refused, and not repeated.
    let mut changed: Value = serde_json::from_str(&order).expect("JSON");
    changed["tags"]["more"] = "x".into();
    assert!(matches!(other.launch(&token, &changed.to_string()).await, Err(Failure::Never(_))));
    assert!(matches!(other.launch(&token, "nonsense").await, Err(Failure::Never(_))));
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let (cloud, aws) = start(Script::default()).await;
    let failed = async |change: &dyn Fn(&mut Value)| {
        let mut class = class();
        change(&mut class["spec"]);
        aws.prepare(&body("one", "on-demand"), &class.to_string()).await.expect_err("a failure")
    };
    for (change, kind, word) in [
        (
            &(|spec: &mut Value| spec["subnetSelectorTerms"] = json!([{ "id": "subnet-none" }]))
                as &dyn Fn(&mut Value),
            "later",
            "no subnet",
        ),
        (
            &|spec: &mut Value| spec["securityGroupSelectorTerms"] = json!([{ "name": "none" }]),
            "later",
            "no security group",
        ),
        (
            &|spec: &mut Value| spec["amiSelectorTerms"] = json!([{ "alias": "al2023@v1" }]),
            "later",
            "ParameterNotFound",
        ),
        (
            &|spec: &mut Value| spec["amiFamily"] = json!("Windows2022"),
            "never",
            "Windows2022".to_lowercase().leak(),
        ),
        (&|spec: &mut Value| spec["userData"] = json!("some words"), "never", "spec.userData"),
    ] {
        let (found, text) = match failed(change).await {
            Failure::Later(text) => ("later", text),
            Failure::Never(text) => ("never", text),
            Failure::Capacity(_) => ("capacity", String::new()),
        };
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(word) && text.contains("EC2NodeClass default"), "{text}");
    }
    // Denied is not a lack of capacity, and is told.
    let denied = Effect::Refuse { code: "UnauthorizedOperation".to_owned(), status: 403 };
    cloud.with(|world| world.add_fault(Fault::new("CreateFleet", denied)));
    let order = prepared(&aws, "one", "on-demand").await;
    let Err(Failure::Later(text)) = aws.launch("token", &order).await else { panic!("denied") };
    assert!(text.contains("UnauthorizedOperation"), "{text}");
}

#[tokio::test]
async fn images_come_by_name_and_tags_too_and_the_newest_wins() {
    let mut script = Script::default();
    let mut newer = script.images[0].clone();
    (newer.id, newer.name, newer.created) =
        ("ami-newer".to_owned(), "mine-2".to_owned(), "2026-11-05T00:00:00.000Z".to_owned());
    let mut foreign = newer.clone();
    (foreign.id, foreign.owner, foreign.created) =
        ("ami-foreign".to_owned(), "999999999999".to_owned(), "2026-11-09T00:00:00.000Z".to_owned());
    script.images.extend([newer, foreign]);
    script.page = 1;
    let (_cloud, aws) = start(script).await;
    for (terms, expected) in [
        (json!([{ "tags": { "karpenter.sh/discovery": "test" } }]), "ami-newer"),
        (json!([{ "tags": { "karpenter.sh/discovery": "*" }, "owner": "999999999999" }]), "ami-foreign"),
        (json!([{ "name": "al2-*" }]), "ami-00000000000000003"),
        (json!([{ "id": "ami-00000000000000005" }, { "name": "al2-*" }]), "ami-00000000000000003"),
        (
            json!([{ "ssmParameter": "/aws/service/bottlerocket/aws-k8s-1.36/x86_64/latest/image_id" }]),
            "ami-00000000000000005",
        ),
    ] {
        let mut class = class();
        class["spec"]["amiSelectorTerms"] = terms.clone();
        class["spec"]["amiFamily"] = "Custom".into();
        let order = aws.order(&body("one", "on-demand"), &class.to_string()).await.expect("an order");
        assert_eq!(order.configs[0].template.image, expected, "{terms}");
    }
}

#[tokio::test]
async fn subnets_with_room_are_chosen_and_full_ones_avoided() {
    let mut script = Script::default();
    let mut second = script.subnets[0].clone();
    (second.id, second.free) = ("subnet-0z".to_owned(), 3);
    script.subnets[0].free = 2;
    script.subnets.push(second);
    let (cloud, aws) = start(script).await;
    // Orders that are not sent yet count: three addresses, then two and two left, then one each.
    let mut chosen = Vec::new();
    for n in 0..5 {
        let order =
            aws.order(&body(&format!("c{n}"), "on-demand"), &class().to_string()).await.expect("an order");
        chosen.push(order.configs[0].overrides[0].subnet.clone());
    }
    assert_eq!(chosen.iter().filter(|one| *one == "subnet-0z").count(), 3, "{chosen:?}");
    let full = aws.order(&body("c5", "on-demand"), &class().to_string()).await;
    let Err(Failure::Capacity(missing)) = full else { panic!("no address is left: {full:?}") };
    assert_eq!(missing[0].1, "us-east-1a");
    drop(cloud);
}

#[tokio::test]
async fn lists_have_pages_and_new_instances_come_late() {
    let (cloud, aws) = start(Script { page: 2, invisible_reads: 1, ..Script::default() }).await;
    for n in 0..5 {
        let order = prepared(&aws, &format!("c{n}"), "on-demand").await;
        aws.launch(&format!("t{n}"), &order).await.expect("a machine");
    }
    assert_eq!(aws.list().await.expect("a list").len(), 0);
    let faults = [
        Fault::new("DescribeInstances", Effect::throttle()).times(1),
        Fault::new("DescribeInstances", Effect::Drop).after(2).times(1),
    ];
    for fault in faults {
        cloud.with(|world| world.add_fault(fault));
    }
    assert_eq!(aws.list().await.expect("reads are repeated").len(), 5);
    cloud.with(|world| world.add_fault(Fault::new("DescribeInstances", Effect::Hang)));
    let begun = std::time::Instant::now();
    assert!(aws.list().await.is_err(), "a call that hangs ends");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn prices_are_those_of_now_and_what_fails_stays() {
    let price = |value| vec![Step { at: 0, value }];
    let pools = vec![
        PoolRule {
            price: price(12_345),
            capacity: Vec::new(),
            ..PoolRule::capacity("m5.large", "us-east-1a", "spot", 0)
        },
        PoolRule {
            price: price(77_000),
            capacity: Vec::new(),
            ..PoolRule::capacity("m5.large", "*", "on-demand", 0)
        },
    ];
    let (cloud, aws) = start(Script { pools, ..Script::default() }).await;
    let before = aws.catalog();
    let outcome = aws.refresh().await;
    assert_eq!(outcome, stowage_aws::Refreshed::default());
    let after = aws.catalog();
    let kind = after.get("m5.large").expect("a type");
    assert_eq!(kind.price("us-east-1a", "spot").map(|price| price.usd.0), Some(12_345));
    assert_eq!(kind.on_demand.map(|price| price.0), Some(77_000));
    assert_eq!(kind.zones.len(), 3, "the zones of this cloud");
    assert!(after.spot_as_of > before.spot_as_of);
    cloud.with(|world| world.add_fault(Fault::new("DescribeSpotPriceHistory", Effect::throttle())));
    let outcome = aws.refresh().await;
    assert_eq!(outcome.stale.len(), 1, "{outcome:?}");
    assert!(outcome.stale[0].contains(&after.spot_as_of), "the age is shown: {outcome:?}");
    assert_eq!(aws.catalog().get("m5.large"), after.get("m5.large"));
}

#[tokio::test]
async fn a_node_class_shows_what_it_selects() {
    let (_cloud, aws) = start(Script::default()).await;
    let text = aws.class_status(&class().to_string()).await.expect("a status").expect("something to say");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["subnets"].as_array().map(Vec::len), Some(3));
    assert_eq!(status["amis"][1]["requirements"][0]["values"][0], "arm64");
    assert!(status["conditions"].as_array().expect("conditions").iter().all(|one| one["status"] == "True"));
    let mut class = class();
    class["spec"]["subnetSelectorTerms"] = json!([{ "id": "subnet-none" }]);
    let text = aws.class_status(&class.to_string()).await.expect("a status").expect("something to say");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    let of = |kind: &str| {
        let all = status["conditions"].as_array().expect("conditions");
        all.iter().find(|one| one["type"] == kind).map(|one| one["status"].clone()).expect("a condition")
    };
    assert_eq!(
        (of("SubnetsReady"), of("AMIsReady"), of("Ready")),
        ("False".into(), "True".into(), "False".into())
    );
}

#[tokio::test]
async fn what_is_reserved_is_drawn_on_until_it_is_used_up() {
    let reservation = |id: &str, team: &str| Reservation {
        id: id.to_owned(),
        instance_type: "m5.large".to_owned(),
        zone: "us-east-1a".to_owned(),
        total: 1,
        tags: [("team".to_owned(), team.to_owned())].into(),
    };
    let reservations = vec![reservation("cr-0a", "a"), reservation("cr-0b", "b")];
    let (cloud, aws) = start(Script { reservations, ..Script::default() }).await;
    let mut class = class();
    class["spec"]["capacityReservationSelectorTerms"] = json!([{ "tags": { "team": "a" } }]);
    assert_eq!(aws.reserved().len(), 0, "nobody has asked yet");
    let text = aws.class_status(&class.to_string()).await.expect("a status").expect("something to say");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["capacityReservations"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["capacityReservations"][0]["id"], "cr-0a");
    let conditions = status["conditions"].as_array().expect("conditions");
    assert!(
        conditions.iter().any(|one| one["type"] == "CapacityReservationsReady" && one["status"] == "True")
    );
    assert_eq!(aws.reserved(), [("cr-0a".to_owned(), 1)].into());

    let order = async |claim: &str| {
        let mut launch = LaunchBody::parse(&body(claim, "reserved")).expect("a body");
        launch.offerings.truncate(1);
        launch.labels.insert("karpenter.k8s.aws/capacity-reservation-id".to_owned(), "cr-0a".to_owned());
        let text = serde_json::to_string(&launch).expect("JSON");
        aws.prepare(&text, &class.to_string()).await.expect("an order")
    };
    let launched = aws.launch("token-1", &order("one").await).await.expect("a machine").instance;
    assert_eq!(launched.capacity_type, "reserved");
    let machine = cloud.with(|world| world.machines()[&launched.id].clone());
    assert_eq!(machine.reservation.as_deref(), Some("cr-0a"));
    assert_eq!(aws.list().await.expect("a list")[0].capacity_type, "reserved");
    assert_eq!(aws.reserved(), [("cr-0a".to_owned(), 0)].into(), "known before EC2 is asked again");

    let missing = aws.launch("token-2", &order("two").await).await.expect_err("it is used up");
    let reserved = ("m5.large".to_owned(), "us-east-1a".to_owned(), "reserved".to_owned());
    assert_eq!(missing, Failure::Capacity(vec![reserved]));
    // A node that is not reserved has nothing to do with it.
    let other = aws.launch("token-3", &prepared(&aws, "three", "on-demand").await).await.expect("a machine");
    assert_eq!(other.instance.capacity_type, "on-demand");
}

#[tokio::test]
async fn machines_that_are_not_well_are_named_once_with_their_times_page_by_page() {
    let (cloud, aws) = start(Script { page: 1, ..Script::default() }).await;
    assert_eq!(aws.unwell().await, Ok(Vec::new()), "no machine, no page");
    let mut ids = Vec::new();
    for n in 0..5 {
        let order = prepared(&aws, &format!("claim-{n}"), "on-demand").await;
        let launched = aws.launch(&format!("token-{n}"), &order).await.expect("a machine");
        ids.push(launched.instance.id);
    }
    assert_eq!(aws.unwell().await, Ok(Vec::new()), "all are well");
    let soon = 3_600_000;
    cloud.with(|world| {
        let event = |text: &str| Some(("instance-retirement".to_owned(), text.to_owned(), soon));
        world.ail(&ids[0], Ailment { instance: true, system: true, event: None });
        world.ail(&ids[1], Ailment { system: true, ..Ailment::default() });
        world.ail(&ids[2], Ailment { event: event("The instance is to be retired"), ..Ailment::default() });
        world.ail(&ids[3], Ailment { event: event("[Completed] It was retired"), ..Ailment::default() });
    });
    let found = aws.unwell().await.expect("an answer");
    let start = cloud.with(|world| world.clock(soon)) / 1000;
    let said: BTreeSet<_> = found.iter().map(|one| (one.kind, one.instances.clone(), one.deadline)).collect();
    let wanted = [
        (MessageKind::ScheduledChange, vec![ids[2].clone()], Some(start)),
        (MessageKind::StatusFailure, vec![ids[0].clone()], None),
        (MessageKind::StatusFailure, vec![ids[1].clone()], None),
    ];
    assert_eq!((found.len(), said), (3, wanted.into()));
    // Refused: an error, and no answer that could be taken for one.
    let denied = Effect::Refuse { code: "UnauthorizedOperation".to_owned(), status: 403 };
    cloud.with(|world| world.add_fault(Fault::new("DescribeInstanceStatus", denied)));
    assert!(aws.unwell().await.is_err_and(|error| error.0.contains("UnauthorizedOperation")));
}

#[tokio::test]
async fn shifts_of_the_cluster_are_asked_for_if_that_is_wanted() {
    let cluster = |name: &str| Some(format!("arn:aws:eks:us-east-1:111122223333:cluster/{name}"));
    let shifts = vec![
        ZonalShift { until: 3_600_000, ..ZonalShift::away_from("use1-az1") },
        ZonalShift { autoshift: true, ..ZonalShift::away_from("use1-az2") },
        ZonalShift { outdone: true, ..ZonalShift::away_from("use1-az4") },
        ZonalShift { from: 3_600_000, ..ZonalShift::away_from("use1-az5") },
    ];
    let cloud = FakeCloud::start(Script { shifts, ..Script::default() }).await.expect("a port");
    let aws = async |arn: Option<String>| {
        let settings = Settings { zonal_shift: arn, ..settings(&cloud) };
        Aws::connect(settings, Catalog::embedded().clone()).await
    };
    assert!(aws(None).await.shifts().is_none(), "it is not wanted");
    assert_eq!(cloud.with(|world| world.count("GetManagedResource")), 0);
    let demo = aws(cluster("demo")).await;
    let ask = async || demo.shifts().expect("it is wanted").await;
    let found = ask().await.expect("shifts");
    let zones: Vec<(&str, bool)> =
        found.iter().map(|one| (one.zone_id.as_str(), one.ends.is_some())).collect();
    assert_eq!(zones, [("use1-az1", true), ("use1-az2", false)]);
    let ends = found[0].ends.expect("an end").0;
    assert_eq!(ends, cloud.with(|world| world.clock(3_600_000)) / 1000 * 1000, "to the second");
    cloud.with(|world| world.set_shifts(Vec::new()));
    assert_eq!(ask().await, Ok(Vec::new()));
    // What ARC does not know, refuses, and does not get done.
    let other = aws(cluster("other")).await;
    let error = other.shifts().expect("it is wanted").await.expect_err("it is not managed").0;
    assert!(error.contains("not a managed resource") && error.contains("hint: "), "{error}");
    let refuse = |code: &str, status| Effect::Refuse { code: code.to_owned(), status };
    let fault = |effect, times| {
        cloud.with(|world| world.add_fault(Fault::new("GetManagedResource", effect).times(times)))
    };
    fault(refuse("AccessDeniedException", 403), 1);
    let error = ask().await.expect_err("denied").0;
    assert!(error.contains("AccessDeniedException") && !error.contains("hint: "), "{error}");
    fault(refuse("ThrottlingException", 429), 2);
    assert_eq!(ask().await, Ok(Vec::new()), "it is asked again");
    fault(refuse("InternalServerException", 500), 9);
    assert!(ask().await.expect_err("three times").0.contains("InternalServerException"));
}
