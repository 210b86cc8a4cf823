//! Everything that may be launched, and what is left on it for pods.

use super::{Offer, labels_of};
use std::collections::BTreeSet;
use stowage_checker::{effective_request, tolerates};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{NodePool, PodSpec, Taint};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

pub(super) fn admits(spec: &PodSpec, labels: &Labels, taints: &[Taint]) -> bool {
    let terms = spec.affinity.node_required.as_ref();
    spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && terms.is_none_or(|terms| {
            terms.iter().any(|term| {
                !term.match_expressions.is_empty()
                    && term.match_expressions.iter().all(|one| one.matches(labels))
            })
        })
        && taints.iter().all(|taint| tolerates(&spec.tolerations, taint))
}

pub(super) fn shrink(amounts: &Resources, slack: Ppm) -> Resources {
    let mut amounts = amounts.clone();
    for name in ["cpu", "memory"] {
        let exact = i128::from(amounts.get(name)) * i128::from(1_000_000 - slack.0) / 1_000_000;
        amounts.set(name, i64::try_from(exact).unwrap());
    }
    amounts
}

fn daemons(snapshot: &Snapshot, labels: &Labels, taints: &[Taint]) -> Resources {
    let mut total = Resources::default();
    for set in snapshot.daemon_sets.iter().filter(|set| admits(&set.spec, labels, taints)) {
        total.add(&effective_request(&set.spec));
    }
    total
}

/// Only for pools whose open keys are `In` requirements, or satisfied by what pods select.
fn variants(snapshot: &Snapshot, pool: &NodePool) -> Vec<Labels> {
    let mut variants = vec![Labels::new()];
    let open = pool.requirements.iter().filter(|one| !labels::OFFERING_KEYS.contains(&one.key.as_str()));
    for requirement in open.filter(|one| !pool.labels.contains_key(&one.key)) {
        let mut values: BTreeSet<String> = requirement.values.iter().cloned().collect();
        values.extend(
            snapshot.pods.iter().filter_map(|pod| pod.spec.node_selector.get(&requirement.key).cloned()),
        );
        let with = |set: &Labels, value: &String| {
            let mut set = set.clone();
            set.insert(requirement.key.clone(), value.clone());
            set
        };
        variants = variants.iter().flat_map(|set| values.iter().map(move |value| with(set, value))).collect();
    }
    variants
}

pub(super) fn offers<'a>(snapshot: &'a Snapshot, catalog: &'a Catalog, slack: Ppm) -> Vec<Offer<'a>> {
    let mut offers = Vec::new();
    for pool in snapshot.node_pools.iter().filter(|pool| pool.replicas.is_none() && !pool.deleting) {
        let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
        let class = class.cloned().unwrap_or_default();
        for instance in &catalog.types {
            for zone in &instance.zones {
                for capacity_type in ["on-demand", "spot"] {
                    for variant in variants(snapshot, pool) {
                        let Some(price) = instance.price(&zone.zone, capacity_type) else {
                            continue;
                        };
                        let mut set = instance.labels();
                        set.extend(labels_of(&[
                            (labels::ZONE, &zone.zone),
                            (labels::ZONE_ID, &zone.zone_id),
                            (labels::REGION, &catalog.region),
                            (labels::CAPACITY_TYPE, capacity_type),
                            (labels::NODEPOOL, &pool.name),
                            (labels::EC2_NODE_CLASS, &pool.node_class),
                        ]));
                        set.extend(variant.clone());
                        if !pool.requirements.iter().all(|one| one.matches(&set)) {
                            continue;
                        }
                        let allocatable = instance.allocatable(&snapshot.settings, &class);
                        let daemon_sets = daemons(snapshot, &set, &pool.taints);
                        let mut room = shrink(&allocatable, slack);
                        room.sub(&daemon_sets);
                        let room = room.0.values().all(|left| *left >= 0).then_some(room);
                        offers.push(Offer {
                            pool,
                            instance,
                            zone: zone.zone.clone(),
                            capacity_type,
                            variant,
                            price,
                            labels: set,
                            capacity: instance.capacity(&snapshot.settings, &class),
                            allocatable,
                            daemon_sets,
                            room,
                        });
                    }
                }
            }
        }
    }
    offers
}
