//! Machines of the fake cloud, and the kubelets in them.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stowage_cluster::{Kubelet, NodeSpec};
use stowage_fake_cloud::{FakeCloud, Machine};
use stowage_models::catalog::Catalog;

/// What is wrong with machines that boot from now on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whims {
    /// Instances whose kubelet never registers.
    pub(crate) dead: BTreeSet<String>,
    /// The first one that is none of these never registers, either. Known before it boots: nobody has to be quicker than it is.
    pub(crate) dead_after: Option<BTreeSet<String>>,
    /// Thousandths of the catalogue's allocatable that a node turns out to have, by resource.
    pub(crate) permille: BTreeMap<String, i64>,
}

/// What a machine's user data tell its kubelet: labels and taints to register with.
fn registration(machine: &Machine) -> (BTreeMap<String, String>, Vec<Value>) {
    let user_data = machine.template.user_data().expect("user data");
    let from = user_data.find('{').expect("a NodeConfig");
    let to = user_data.rfind('}').expect("a NodeConfig");
    let config: Value = serde_json::from_str(&user_data[from..=to]).expect("a NodeConfig");
    let kubelet = &config["spec"]["kubelet"];
    let labels = kubelet["flags"][0].as_str().expect("labels").trim_start_matches("--node-labels=");
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    (labels, kubelet["config"]["registerWithTaints"].as_array().expect("taints").clone())
}

pub(crate) fn node_name(machine: &Machine) -> String {
    format!("ip-{}", &machine.id[2..])
}

/// Machines boot: their kubelets register as their user data say. But for whims. Ended machines fall silent.
pub(crate) async fn boot(cloud: Arc<FakeCloud>, kubelet: Kubelet, whims: Arc<Mutex<Whims>>) {
    let mut up = BTreeSet::new();
    loop {
        let now = cloud.now();
        for machine in cloud.with(|world| world.booted(now)) {
            let whims = {
                let mut whims = whims.lock().expect("the whims");
                if whims.dead_after.take_if(|known| !known.contains(&machine.id)).is_some() {
                    whims.dead.insert(machine.id.clone());
                }
                whims.clone()
            };
            if whims.dead.contains(&machine.id) || !up.insert(machine.id.clone()) {
                continue;
            }
            let (labels, taints) = registration(&machine);
            let kind = Catalog::embedded().get(&machine.instance_type).expect("a type of the catalogue");
            let mut node = NodeSpec::new(node_name(&machine))
                .provider_id(format!("aws:///{}/{}", machine.zone, machine.id))
                .ready_after(Duration::from_millis(500))
                // What the kubelet and the cloud's node controller say by themselves.
                .label("node.kubernetes.io/instance-type", &machine.instance_type)
                .label("topology.kubernetes.io/zone", &machine.zone);
            for (key, value) in labels {
                node = node.label(key, value);
            }
            for taint in taints {
                let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
                node = node.taint(&text("key"), &text("value"), &text("effect"));
            }
            for (name, amount) in &kind.allocatable(&Default::default(), &Default::default()).0 {
                let amount = amount * whims.permille.get(name).unwrap_or(&1000) / 1000;
                let text = if name == "cpu" { format!("{amount}m") } else { amount.to_string() };
                node = node.resource(name, text);
            }
            // A kubelet tries again when the API server is away.
            while let Err(error) = kubelet.add(node.clone()).await {
                eprintln!("{} does not register: {error}", machine.id);
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = kubelet.remove(&node_name(&machine)).await;
            }
        }
        for machine in cloud.with(|world| world.machines().clone()).into_values() {
            if machine.ended.is_some() && up.contains(&machine.id) {
                kubelet.silence(&node_name(&machine));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What must hold at every moment: no action and no claim has two machines. Those that have.
pub(crate) fn doubled(cloud: &FakeCloud) -> Vec<String> {
    let mut once = BTreeSet::new();
    cloud.with(|world| {
        let of = world.machines().values().flat_map(|one| [&one.token, &one.tags["karpenter.sh/nodeclaim"]]);
        of.filter(|of| !once.insert((*of).clone())).map(|of| format!("two machines for {of}")).collect()
    })
}

/// The same, as an assertion.
pub(crate) fn one_each(cloud: &FakeCloud) {
    assert_eq!(doubled(cloud), Vec::<String>::new());
}
