//! What it costs when a pod does not get the node it prefers (`docs/formulation.md` section 1.7).
//!
//! Preferred node affinity and PreferNoSchedule taints are about a pod and a node alone, so they are part of the model: a pod
//! of a group in a bin is worth its multiplier less the *fine* of the group there.

use crate::existing::lasting_taints;
use crate::matching::{term_selects, tolerates};
use crate::offerings::Signature;
use crate::problem::{Group, Problem};
use crate::wishes;
use std::sync::Arc;
use stowage_models::objects::{PodSpec, Taint, TaintEffect};
use stowage_models::plan::{
    PREFERENCE_GIB, PREFERENCE_MILLICORE, PREFERENCE_POD_MIN, PREFERENCE_TAINT_WEIGHT, PREFERENCE_WEIGHT_MAX,
    Policy, Preferences,
};
use stowage_models::quantity::{CPU, MEMORY};
use stowage_models::snapshot::Snapshot;

/// Fines of a group, in micro-dollars per hour and pod. Both lists are empty if there are none anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fines {
    by_signature: Vec<i64>,
    by_node: Vec<i64>,
}

impl Fines {
    /// On a planned node of this signature.
    pub(crate) fn on_new(&self, signature: u32) -> i64 {
        self.by_signature.get(signature as usize).copied().unwrap_or(0)
    }

    /// On an existing node, by its index in the snapshot.
    pub(crate) fn on_node(&self, node: usize) -> i64 {
        self.by_node.get(node).copied().unwrap_or(0)
    }

    /// Of pods that must share a node, so many of each.
    pub(crate) fn of_bundle<'f>(members: impl Iterator<Item = (&'f Fines, i64)>) -> Fines {
        let mut sum = Fines::default();
        for (fines, each) in members {
            for (own, more) in
                [(&mut sum.by_signature, &fines.by_signature), (&mut sum.by_node, &fines.by_node)]
            {
                own.resize(own.len().max(more.len()), 0);
                own.iter_mut()
                    .zip(more)
                    .for_each(|(own, more)| *own = own.saturating_add(more.saturating_mul(each)));
            }
        }
        sum
    }
}

/// Whether preferences have a price: the policy respects them, and there are any. Consolidation does not know them.
pub(crate) fn have_prices(snapshot: &Snapshot, policy: &Policy) -> bool {
    let soft = |taints: &[Taint]| taints.iter().any(|taint| taint.effect == TaintEffect::PreferNoSchedule);
    policy.preferences == Some(Preferences::Respect)
        && policy.consolidation.is_none()
        && (wishes::are_stated(snapshot)
            || snapshot
                .pods
                .iter()
                .any(|pod| pod.is_pending() && !pod.spec.affinity.node_preferred.is_empty())
            || snapshot.node_pools.iter().any(|pool| soft(&pool.taints))
            || snapshot.nodes.iter().any(|node| soft(&node.taints)))
}

/// Sum of the weights that a node with these labels, taints and name leaves unmet.
fn unmet<'l>(
    spec: &PodSpec,
    label: &impl Fn(&str) -> Option<&'l str>,
    taints: &[Taint],
    name: Option<&str>,
) -> i64 {
    let stated = spec.affinity.node_preferred.iter().filter(|one| {
        let empty = one.preference.match_expressions.is_empty() && one.preference.match_fields.is_empty();
        !empty && !term_selects(&one.preference, label, name)
    });
    let taints = taints.iter().filter(|taint| {
        taint.effect == TaintEffect::PreferNoSchedule && !tolerates(&spec.tolerations, taint)
    });
    stated.map(|one| i64::from(one.weight.max(0))).sum::<i64>()
        + PREFERENCE_TAINT_WEIGHT.saturating_mul(taints.count() as i64)
}

/// What a pod of a group is worth where preferences have a price, in micro-dollars per hour.
pub(crate) fn worth(problem: &Problem<'_>, group: &Group<'_>) -> i128 {
    let amount = |resource: &str| {
        let at = problem.resources.iter().position(|name| name == resource);
        i128::from(at.map_or(0, |at| group.request[at]))
    };
    let worth = amount(CPU) * i128::from(PREFERENCE_MILLICORE)
        + ((amount(MEMORY) * i128::from(PREFERENCE_GIB)) >> 30);
    worth.max(i128::from(PREFERENCE_POD_MIN))
}

/// What unmet weights cost a pod that is worth so much, in micro-dollars per hour.
pub(crate) fn share_of_worth(worth: i128, unmet: i64) -> i64 {
    let price = worth * i128::from(unmet.min(PREFERENCE_WEIGHT_MAX)) / i128::from(PREFERENCE_WEIGHT_MAX);
    // A pod dearer than this fits no node.
    i64::try_from(price).unwrap_or(FINE_MAX).min(FINE_MAX)
}

impl Problem<'_> {
    /// Sets the fines of all groups. Offerings and groups are there.
    pub(crate) fn settle_preferences(&mut self) {
        if !self.prices_preferences {
            return;
        }
        let fines: Vec<Fines> = self.groups.iter().map(|group| self.fines(group)).collect();
        self.groups.iter_mut().zip(fines).for_each(|(group, fines)| group.fines = Arc::new(fines));
    }

    fn fines(&self, group: &Group<'_>) -> Fines {
        let spec = self.spec(group);
        let worth = worth(self, group);
        let price = |unmet: i64| share_of_worth(worth, unmet);
        let on_signature = |signature: &Signature| {
            let label = |key: &str| {
                let at = self.label_keys.binary_search_by(|have| have.as_str().cmp(key)).ok()?;
                signature.values[at].as_deref()
            };
            let taints = &self.snapshot.node_pools[signature.pool as usize].taints;
            price(unmet(spec, &label, taints, None))
        };
        let on_node = |node: &stowage_models::objects::Node| {
            let label = |key: &str| node.labels.get(key).map(String::as_str);
            price(unmet(spec, &label, &lasting_taints(self.snapshot, node), Some(&node.name)))
        };
        let fines = Fines {
            by_signature: self.signatures.iter().map(on_signature).collect(),
            by_node: self.snapshot.nodes.iter().map(on_node).collect(),
        };
        if fines.by_signature.iter().chain(&fines.by_node).all(|fine| *fine == 0) {
            return Fines::default();
        }
        fines
    }
}

/// A fine at most, in micro-dollars per hour: a hundred thousand dollars. Sums over all pods of a problem stay within 64 bits.
const FINE_MAX: i64 = 100_000_000_000;
