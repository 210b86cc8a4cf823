//! The cloud without HTTP: what it promises, call by call.

use stowage_fake_cloud::{
    Effect, Fault, Limits, Notice, NoticeKind, PoolRule, Reply, Script, Service, Step, Then, World,
};
use stowage_models::catalog::Catalog;

fn world(script: Script) -> World {
    World::new(script, Catalog::embedded().clone(), 1_793_000_000_000)
}

fn ec2(world: &mut World, now: u64, body: &str) -> Reply {
    world.call(now, Service::Ec2, "", body)
}

fn json(world: &mut World, now: u64, target: &str, body: &str) -> serde_json::Value {
    serde_json::from_str(&world.call(now, Service::Json, target, body).body).expect("JSON")
}

fn with_template(script: Script) -> World {
    let mut world = world(script);
    let made = ec2(
        &mut world,
        0,
        "Action=CreateLaunchTemplate&LaunchTemplateName=abc&LaunchTemplateData.ImageId=ami-1",
    );
    assert_eq!(made.status, 200, "{}", made.body);
    world
}

/// A fleet of `count` with overrides of type and subnet in order of preference.
fn fleet(token: &str, capacity_type: &str, strategy: &str, count: u32, overrides: &[(&str, &str)]) -> String {
    let options = if capacity_type == "spot" { "SpotOptions" } else { "OnDemandOptions" };
    let mut body = format!(
        "Action=CreateFleet&Type=instant&ClientToken={token}&{options}.AllocationStrategy={strategy}\
         &TargetCapacitySpecification.TotalTargetCapacity={count}\
         &TargetCapacitySpecification.DefaultTargetCapacityType={capacity_type}\
         &LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName=abc\
         &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=claim&TagSpecification.1.Tag.1.Value=one"
    );
    for (n, (instance_type, subnet)) in overrides.iter().enumerate() {
        let prefix = format!("&LaunchTemplateConfigs.1.Overrides.{}", n + 1);
        body.push_str(&format!(
            "{prefix}.InstanceType={instance_type}{prefix}.SubnetId={subnet}{prefix}.Priority={n}.0"
        ));
    }
    body
}

/// Texts of elements of a name.
fn all(body: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    body.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(str::to_owned).collect()
}

const ON_DEMAND: [(&str, &str); 2] = [("m5.large", "subnet-0a"), ("m5.xlarge", "subnet-0b")];

#[test]
fn a_token_launches_once_and_only_what_it_launched() {
    let mut world = with_template(Script::default());
    let first = ec2(&mut world, 1, &fleet("t", "on-demand", "prioritized", 1, &ON_DEMAND));
    let again = ec2(&mut world, 2, &fleet("t", "on-demand", "prioritized", 1, &ON_DEMAND));
    assert_eq!(all(&first.body, "fleetId"), all(&again.body, "fleetId"));
    assert_eq!(world.machines().len(), 1);
    let other = ec2(&mut world, 3, &fleet("t", "on-demand", "prioritized", 2, &ON_DEMAND));
    assert_eq!(
        (other.status, all(&other.body, "Code")),
        (400, vec!["IdempotentParameterMismatch".to_owned()])
    );
    ec2(&mut world, 4, &fleet("u", "on-demand", "prioritized", 1, &ON_DEMAND));
    assert_eq!(world.machines().len(), 2);
    let machine = world.machines().values().next().expect("a machine");
    assert_eq!((machine.instance_type.as_str(), machine.zone.as_str()), ("m5.large", "us-east-1a"));
    assert_eq!(machine.tags["claim"], "one");
}

#[test]
fn what_is_missing_is_reported_beside_what_was_launched() {
    let pools = vec![
        PoolRule::capacity("m5.large", "us-east-1a", "on-demand", 0),
        PoolRule::capacity("m5.xlarge", "us-east-1b", "on-demand", 1),
    ];
    let mut world = with_template(Script { pools, ..Script::default() });
    let partial = ec2(&mut world, 1, &fleet("a", "on-demand", "prioritized", 2, &ON_DEMAND));
    assert_eq!(
        all(&partial.body, "errorCode"),
        ["InsufficientInstanceCapacity", "InsufficientInstanceCapacity"]
    );
    assert_eq!(world.machines().len(), 1, "one of two");
    let none = ec2(&mut world, 2, &fleet("b", "on-demand", "prioritized", 1, &ON_DEMAND));
    assert_eq!((none.status, all(&none.body, "instanceIds").len()), (200, 0), "no instance and no exception");
    let unsupported = fleet("c", "on-demand", "prioritized", 1, &[("zz.large", "subnet-0a")]);
    assert_eq!(all(&ec2(&mut world, 3, &unsupported).body, "errorCode"), ["Unsupported"]);
}

#[test]
fn strategies_order_as_ec2_says() {
    let pools = vec![
        PoolRule::capacity("m5.large", "us-east-1a", "spot", 2),
        PoolRule {
            price: vec![Step { at: 0, value: 5 }],
            capacity: Vec::new(),
            ..PoolRule::capacity("m5.xlarge", "*", "spot", 0)
        },
    ];
    let launched = |strategy: &str| {
        let mut world = with_template(Script { pools: pools.clone(), ..Script::default() });
        ec2(&mut world, 1, &fleet("a", "spot", strategy, 1, &ON_DEMAND));
        world.machines().values().next().map(|one| (one.instance_type.clone(), one.price)).expect("a machine")
    };
    assert_eq!(launched("lowest-price"), ("m5.xlarge".to_owned(), 5));
    assert_eq!(launched("prioritized").0, "m5.large");
    assert_eq!(launched("capacity-optimized-prioritized").0, "m5.xlarge", "the deep pool");
    assert_eq!(launched("price-capacity-optimized").0, "m5.xlarge");
}

#[test]
fn addresses_of_a_subnet_run_out() {
    let mut script = Script::default();
    script.subnets[0].free = 1;
    let mut world = with_template(script);
    let body = fleet("a", "on-demand", "prioritized", 2, &[("m5.large", "subnet-0a")]);
    assert_eq!(all(&ec2(&mut world, 1, &body).body, "errorCode"), ["InsufficientFreeAddressesInSubnet"]);
    let subnets = ec2(&mut world, 2, "Action=DescribeSubnets");
    assert_eq!(all(&subnets.body, "availableIpAddressCount"), ["0", "4091", "4091"]);
}

#[test]
fn a_new_instance_is_invisible_for_some_reads() {
    let mut world = with_template(Script { invisible_reads: 2, page: 1, ..Script::default() });
    ec2(&mut world, 1, &fleet("a", "on-demand", "prioritized", 2, &ON_DEMAND));
    let id = world.machines().keys().next().expect("a machine").clone();
    let read = "Action=DescribeInstances&Filter.1.Name=tag%3Aclaim&Filter.1.Value.1=one";
    let ended = ec2(&mut world, 2, &format!("Action=TerminateInstances&InstanceId.1={id}"));
    assert_eq!(all(&ended.body, "Code"), ["InvalidInstanceID.NotFound"]);
    for _ in 0..2 {
        assert_eq!(all(&ec2(&mut world, 3, read).body, "instanceId").len(), 0);
    }
    let page = ec2(&mut world, 4, read);
    assert_eq!(
        (all(&page.body, "instanceId").len(), all(&page.body, "nextToken")),
        (1, vec!["1".to_owned()])
    );
    let page = ec2(&mut world, 4, &format!("{read}&NextToken=1"));
    assert_eq!((all(&page.body, "instanceId").len(), all(&page.body, "nextToken").len()), (1, 0));
    assert_eq!(all(&ec2(&mut world, 4, &format!("{read}&NextToken=x")).body, "Code"), ["InvalidNextToken"]);
    // Life of an instance.
    assert_eq!(all(&ec2(&mut world, 50, read).body, "name"), ["pending"]);
    assert_eq!(all(&ec2(&mut world, 500, read).body, "name"), ["running"]);
    ec2(&mut world, 1000, &format!("Action=TerminateInstances&InstanceId.1={id}"));
    assert!(
        all(&ec2(&mut world, 1001, &format!("Action=DescribeInstances&InstanceId.1={id}")).body, "name")
            .contains(&"shutting-down".to_owned())
    );
    assert!(
        all(&ec2(&mut world, 9000, &format!("Action=DescribeInstances&InstanceId.1={id}")).body, "name")
            .contains(&"terminated".to_owned())
    );
    let much_later = ec2(&mut world, 9_000_000, &format!("Action=DescribeInstances&InstanceId.1={id}"));
    assert_eq!(all(&much_later.body, "Code"), ["InvalidInstanceID.NotFound"]);
}

#[test]
fn buckets_are_ec2s() {
    let mut world = world(Script::default());
    let refused = |world: &mut World, now, count: usize, body: &str| {
        (0..count).filter(|_| ec2(world, now, body).status == 503).count()
    };
    assert_eq!(refused(&mut world, 0, 110, "Action=DescribeSubnets"), 10);
    assert_eq!(refused(&mut world, 1000, 30, "Action=DescribeSubnets"), 10);
    let write = "Action=DeleteLaunchTemplate&LaunchTemplateName=nothing";
    assert_eq!(refused(&mut world, 1000, 60, write), 10);
    assert_eq!(refused(&mut world, 2000, 6, write), 1);
    let mut free = self::world(Script { limits: Limits::Off, ..Script::default() });
    assert_eq!(refused(&mut free, 0, 1000, "Action=DescribeSubnets"), 0);
}

#[test]
fn faults_strike_as_the_script_says_and_are_written_down() {
    let faults = vec![
        Fault::new("CreateFleet", Effect::LoseReply).after(1).times(1),
        Fault::new("Describe*", Effect::throttle()).times(2),
        Fault::new("TerminateInstances", Effect::Drop),
    ];
    let mut world = with_template(Script { faults, ..Script::default() });
    let ok = ec2(&mut world, 1, &fleet("a", "on-demand", "prioritized", 1, &ON_DEMAND));
    let lost = ec2(&mut world, 1, &fleet("b", "on-demand", "prioritized", 1, &ON_DEMAND));
    assert_eq!(
        (ok.then, lost.then, world.machines().len()),
        (Then::Send, Then::Close, 2),
        "done, and not told"
    );
    let codes: Vec<u16> = (0..3).map(|n| ec2(&mut world, 2 + n, "Action=DescribeSubnets").status).collect();
    assert_eq!(codes, [503, 503, 200]);
    let id = world.machines().keys().next().expect("a machine").clone();
    let dropped = ec2(&mut world, 9, &format!("Action=TerminateInstances&InstanceId.1={id}"));
    assert_eq!((dropped.then, world.machines()[&id].ended), (Then::Close, None), "not done");
    let faults = world.calls().iter().filter(|call| call.fault.is_some()).count();
    assert_eq!((faults, world.count("CreateFleet"), world.calls().len()), (4, 2, 7));
    // A script is data.
    let text = serde_json::to_string(&Script::default()).expect("JSON");
    assert_eq!(serde_json::from_str::<Script>(&text).expect("a script"), Script::default());
    assert!(serde_json::from_str::<Script>(r#"{"faultz":[]}"#).is_err());
}

#[test]
fn the_same_script_gives_the_same_cloud() {
    let run = || {
        let mut fault = Fault::new("CreateFleet", Effect::throttle());
        fault.permille = 500;
        let mut world = with_template(Script { seed: 7, faults: vec![fault], ..Script::default() });
        for n in 0..20 {
            ec2(&mut world, n, &fleet(&format!("t{n}"), "on-demand", "prioritized", 1, &ON_DEMAND));
        }
        (world.machines().clone(), world.calls().to_vec())
    };
    let (machines, calls) = run();
    assert_eq!((machines.clone(), calls), run());
    assert!(machines.len() > 2 && machines.len() < 18, "{}", machines.len());
}

#[test]
fn spot_instances_get_a_notice_and_end_two_minutes_later() {
    let capacity = vec![Step { at: 0, value: 2 }, Step { at: 1000, value: 1 }];
    let pools = vec![PoolRule { capacity, ..PoolRule::capacity("m5.large", "*", "spot", 0) }];
    let notices = vec![Notice {
        at: 5000,
        kind: NoticeKind::Rebalance,
        permille: 1000,
        queue: Some("stowage".to_owned()),
    }];
    let mut world = with_template(Script { pools, notices, ..Script::default() });
    ec2(&mut world, 1, &fleet("a", "spot", "prioritized", 2, &[("m5.large", "subnet-0a")]));
    world.advance(1000);
    assert_eq!(world.machines().values().filter(|one| one.ends == Some(121_000)).count(), 1);
    world.advance(5000);
    let got = json(
        &mut world,
        5000,
        "AmazonSQS.ReceiveMessage",
        r#"{"QueueUrl":"http://x/1/stowage","MaxNumberOfMessages":10}"#,
    );
    let messages = got["Messages"].as_array().expect("messages");
    let kinds: Vec<String> = messages
        .iter()
        .map(|one| {
            serde_json::from_str::<serde_json::Value>(one["Body"].as_str().expect("a body")).expect("JSON")
        })
        .map(|event| event["detail-type"].as_str().expect("a kind").to_owned())
        .collect();
    assert_eq!(kinds, ["EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation"]);
    // In flight, then seen again unless deleted.
    let get = r#"{"QueueUrl":"http://x/1/stowage","MaxNumberOfMessages":1}"#;
    assert_eq!(json(&mut world, 6000, "AmazonSQS.ReceiveMessage", get), serde_json::json!({}));
    let again = json(&mut world, 40_000, "AmazonSQS.ReceiveMessage", get);
    let handle = again["Messages"][0]["ReceiptHandle"].as_str().expect("a handle");
    let delete = serde_json::json!({ "QueueUrl": "http://x/1/stowage", "ReceiptHandle": handle }).to_string();
    json(&mut world, 40_001, "AmazonSQS.DeleteMessage", &delete);
    assert_eq!(world.messages("stowage"), 1);
    world.advance(121_000);
    assert_eq!(world.machines().values().filter(|one| one.ended.is_some()).count(), 1);
}

#[test]
fn recorded_capacity_becomes_steps() {
    let rule = PoolRule::capacity("*", "*", "spot", 9).recorded(300_000, &[0, 0, 3, 3, 1]);
    let steps: Vec<(u64, u64)> = rule.capacity.iter().map(|step| (step.at, step.value)).collect();
    assert_eq!(steps, [(0, 0), (600_000, 3), (1_200_000, 1)]);
    // The recordings of spot capacity have this shape.
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/research/spot-availability/availability__16-node__aws-08-27-2023__us-east-2b_v100_1.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: the recorded spot availability is not there");
        return;
    };
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let gap = 1000 * value["metadata"]["gap_seconds"].as_u64().expect("a gap");
    let counts: Vec<u64> =
        value["data"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_u64).collect();
    let rule = PoolRule::capacity("p3.2xlarge", "*", "spot", 0).recorded(gap, &counts);
    assert!(rule.capacity.len() > 10 && rule.capacity.iter().all(|step| step.value <= 16));
}

#[test]
fn parameters_and_prices_are_there() {
    let mut world = world(Script::default());
    let name = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id";
    let found = json(&mut world, 0, "AmazonSSM.GetParameter", &format!(r#"{{"Name":"{name}"}}"#));
    assert_eq!(found["Parameter"]["Value"], "ami-00000000000000001");
    let missing = json(&mut world, 0, "AmazonSSM.GetParameter", r#"{"Name":"nothing"}"#);
    assert_eq!(missing["__type"], "ParameterNotFound");
    let page = json(&mut world, 0, "AWSPriceListService.GetProducts", r#"{"ServiceCode":"AmazonEC2"}"#);
    assert_eq!(
        (page["PriceList"].as_array().expect("a list").len(), &page["NextToken"]),
        (100, &"100".into())
    );
    let spot = ec2(&mut world, 0, "Action=DescribeSpotPriceHistory&InstanceType.1=m5.large");
    let price =
        Catalog::embedded().get("m5.large").and_then(|one| one.price("us-east-1a", "spot")).expect("a price");
    assert_eq!(all(&spot.body, "spotPrice")[0], format!("0.{:06}", price.usd.0));
    assert_eq!(all(&spot.body, "spotPrice").len(), 3, "one for each zone");
    let bad = ec2(&mut world, 0, "Action=Nonsense");
    assert_eq!(all(&bad.body, "Code"), ["InvalidAction"]);
}
