//! Machines of the fake cloud boot: kubelets register as their user data say.

use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use stowage_cluster::{Kubelet, NodeSpec};
use stowage_fake_cloud::{FakeCloud, Machine};
use stowage_models::catalog::Catalog;

/// How often the cloud is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// From registering until ready.
const READY: Duration = Duration::from_millis(500);

/// The name under which a machine's kubelet registers.
fn node_name(machine: &Machine) -> String {
    format!("ip-{}", machine.id.trim_start_matches("i-"))
}

/// The node that a machine's kubelet registers, from its user data (a nodeadm NodeConfig, which AL2023 reads), from what the cloud knows of it,
/// and with the allocatable of the catalogue.
fn node(machine: &Machine) -> Result<NodeSpec, String> {
    let user_data = machine.template.user_data().unwrap_or_default();
    let config = user_data
        .find('{')
        .zip(user_data.rfind('}'))
        .and_then(|(from, to)| serde_json::from_str::<Value>(user_data.get(from..=to)?).ok())
        .ok_or("its user data are no NodeConfig\n  hint: the lab boots images of the alias al2023 only")?;
    let kind = Catalog::embedded()
        .get(&machine.instance_type)
        .ok_or_else(|| format!("the type {} is not in the catalogue", machine.instance_type))?;
    let kubelet = &config["spec"]["kubelet"];
    let flags = kubelet["flags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let labels =
        flags.filter_map(|flag| flag.strip_prefix("--node-labels=")).flat_map(|text| text.split(','));
    let mut node = NodeSpec::new(node_name(machine))
        .provider_id(format!("aws:///{}/{}", machine.zone, machine.id))
        .ready_after(READY)
        // What the kubelet and the cloud's node controller say by themselves.
        .label("node.kubernetes.io/instance-type", &machine.instance_type)
        .label(
            "topology.kubernetes.io/region",
            machine.zone.trim_end_matches(|c: char| c.is_ascii_lowercase()),
        )
        .label("topology.kubernetes.io/zone", &machine.zone);
    for (key, value) in labels.filter_map(|label| label.split_once('=')) {
        node = node.label(key, value);
    }
    for taint in kubelet["config"]["registerWithTaints"].as_array().into_iter().flatten() {
        let text = |field: &str| taint[field].as_str().unwrap_or_default();
        node = node.taint(text("key"), text("value"), text("effect"));
    }
    for (name, amount) in &kind.allocatable(&Default::default(), &Default::default()).0 {
        node = node.resource(name, if name == "cpu" { format!("{amount}m") } else { amount.to_string() });
    }
    Ok(node)
}

/// Machines boot, and ended ones fall silent, until the future is dropped. One that cannot register is told of once; the controller gives it
/// back when its registration times out.
pub(crate) async fn boot(cloud: Arc<FakeCloud>, kubelet: Kubelet) {
    let (mut seen, mut silent) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let now = cloud.now();
        for machine in cloud.with(|world| world.booted(now)) {
            if !seen.insert(machine.id.clone()) {
                continue;
            }
            let registered = match node(&machine) {
                Ok(node) => kubelet.add(node).await.map_err(|error| crate::told(&error)),
                Err(error) => Err(error),
            };
            match registered {
                Ok(()) => println!(
                    "{} joins: {} in {}, {}",
                    node_name(&machine),
                    machine.instance_type,
                    machine.zone,
                    machine.capacity_type
                ),
                Err(error) => eprintln!("{} does not join: {error}", machine.id),
            }
        }
        let ended = cloud.with(|world| {
            let ended = world.machines().values().filter(|machine| machine.ended.is_some());
            ended.filter(|machine| seen.contains(&machine.id)).cloned().collect::<Vec<_>>()
        });
        for machine in ended {
            if silent.insert(machine.id.clone()) {
                kubelet.silence(&node_name(&machine));
                println!("{} is gone", node_name(&machine));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
