//! What must hold after every event, and what must hold at rest.

use crate::cloud::Cloud;
use crate::world::Scenario;
use std::collections::BTreeMap;
use stowage_executor::{Claim, InstanceState, Node, Time};

/// A machine that nobody claims is ended by then. The clock starts when it can be seen: nobody can end what the cloud denies.
const LEAK: i64 = 5 * 60_000;

/// What is watched along the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Since when instances have no claim.
    unclaimed: BTreeMap<String, Time>,
}

impl Watch {
    pub(crate) fn look(
        &mut self,
        scenario: &Scenario,
        now: Time,
        claims: &BTreeMap<String, Claim>,
        cloud: &Cloud,
        broken: &mut Vec<String>,
    ) {
        for ((plan, action), launches) in &cloud.launches {
            if *launches > 1 {
                broken.push(format!("{}: {launches} instances for {action} of {plan}", now.0));
            }
        }
        if claims.len() > scenario.limit {
            broken.push(format!("{}: {} claims, limit {}", now.0, claims.len(), scenario.limit));
        }
        let live = cloud.instances.iter().filter(|(_, one)| one.instance.state != InstanceState::Ended);
        let mut unclaimed = BTreeMap::new();
        for (id, machine) in live {
            if !claims.contains_key(&machine.instance.claim) {
                let since = self.unclaimed.get(id).copied().unwrap_or(now).max(machine.visible);
                // While the process is kept down by faults nobody can act; that is what the end of faults is for.
                if now.0 >= scenario.faults_end && now.since(since.max(Time(scenario.faults_end))) > LEAK {
                    broken.push(format!("{}: instance {id} leaks since {}", now.0, since.0));
                }
                unclaimed.insert(id.clone(), since);
            }
        }
        self.unclaimed = unclaimed;
    }

    /// What must hold when nothing has gone wrong for long.
    pub(crate) fn at_rest(
        &self,
        claims: &BTreeMap<String, Claim>,
        nodes: &BTreeMap<String, Node>,
        cloud: &Cloud,
    ) -> Vec<String> {
        let mut broken = Vec::new();
        let live: BTreeMap<&String, _> =
            cloud.instances.iter().filter(|(_, one)| one.instance.state != InstanceState::Ended).collect();
        for (name, claim) in claims {
            let machine = claim.instance.as_ref().and_then(|instance| live.get(instance));
            if let Some(removal) = &claim.removal {
                broken.push(format!("claim {name} is still to go, since {}", removal.since.0));
            }
            if claim.deleting || claim.initialized.is_none() || machine.is_none() {
                let machine = claim.instance.as_ref().and_then(|id| cloud.instances.get(id));
                let state =
                    machine.map(|machine| (machine.instance.state, machine.instance.launched, machine.ended));
                broken.push(format!(
                    "claim {name} is not settled: {:?} {state:?}, created {}, launched {:?}, registered {:?}, \
                     initialized {:?}, deleting {}",
                    claim.instance, claim.created.0, claim.launched, claim.registered, claim.initialized, claim.deleting
                ));
            }
        }
        for (id, machine) in &live {
            if !claims.contains_key(&machine.instance.claim) {
                broken.push(format!("instance {id} has no claim"));
            }
        }
        for node in nodes.values() {
            if !node.instance.as_ref().is_some_and(|id| live.contains_key(id)) {
                broken.push(format!("node {} has no instance", node.name));
            }
            if !node.taints.is_empty() {
                broken.push(format!("node {} still has taints: {:?}", node.name, node.taints));
            }
        }
        broken
    }
}
