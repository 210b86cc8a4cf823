//! Nodes that have to go whatever they cost (formulation, section 5.5), derived anew.

use std::collections::BTreeMap;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::departure::{self, Departure, DepartureReason};
use stowage_models::objects::{Node, NodeClaim};
use stowage_models::schedule;
use stowage_models::snapshot::Snapshot;

/// What the cluster says of a node's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    No,
    /// It would be repaired, if not so many were unhealthy.
    RepairBlocked,
    /// It has to go; and whether the wishes of its pods count for nothing.
    Goes(Departure, bool),
}

impl Due {
    /// That it has to go.
    pub(crate) fn departure(&self) -> Option<&Departure> {
        match self {
            Due::Goes(departure, _) => Some(departure),
            Due::No | Due::RepairBlocked => None,
        }
    }

    /// It goes whatever stands against it.
    pub(crate) fn is_forced(&self) -> bool {
        self.departure().is_some_and(|departure| departure.forced)
    }

    /// Marks of its pods and PodDisruptionBudgets do not keep it.
    pub(crate) fn overrules_pods(&self) -> bool {
        matches!(self, Due::Goes(_, true))
    }
}

/// Reads the cluster's word on each node.
pub(crate) struct Almanac<'a> {
    snapshot: &'a Snapshot,
    policy: &'a ConsolidationPolicy,
    now: Option<i64>,
    /// Nodes and unhealthy ones: of the cluster.
    cluster: (i64, i64),
    /// The same by NodePool, and of the nodes of none.
    pools: BTreeMap<Option<&'a str>, (i64, i64)>,
}

/// How many minutes a bad condition is borne; `None`: it is not bad.
fn borne(condition: &str, status: &str) -> Option<i64> {
    let repairs = departure::REPAIRS.iter();
    repairs.filter(|one| (one.0, one.1) == (condition, status)).map(|one| one.2).min()
}

fn count<'n>(nodes: impl Iterator<Item = &'n Node>) -> (i64, i64) {
    nodes.fold((0, 0), |(all, bad), node| {
        let ill = node.symptoms.iter().any(|one| borne(&one.condition, &one.status).is_some());
        (all + 1, bad + i64::from(ill))
    })
}

/// Whether `bad` of `all` are more than the percentage, rounded up to whole nodes.
fn too_many((all, bad): (i64, i64), percent: i64) -> bool {
    let whole = all * percent;
    bad > whole / 100 + i64::from(whole % 100 != 0)
}

impl<'a> Almanac<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, policy: &'a ConsolidationPolicy) -> Almanac<'a> {
        let now = snapshot.taken_at.as_deref().and_then(schedule::instant);
        let mut pools: BTreeMap<Option<&str>, (i64, i64)> = BTreeMap::new();
        for node in &snapshot.nodes {
            let (all, bad) = count(std::iter::once(node));
            let of_pool = pools.entry(node.nodepool()).or_default();
            *of_pool = (of_pool.0 + all, of_pool.1 + bad);
        }
        Almanac { snapshot, policy, now, cluster: count(snapshot.nodes.iter()), pools }
    }

    /// What is due of a node and its NodeClaim.
    pub(crate) fn due(&self, node: &Node, claim: Option<&NodeClaim>) -> Due {
        let goes = |reason, deadline, forced, overrules| {
            Due::Goes(Departure { reason, deadline, forced }, overrules)
        };
        let about = self.snapshot.notices.iter().filter(|one| one.node == node.name && one.is_final());
        let ends: Vec<Option<(i64, &String)>> = about
            .map(|one| one.deadline.as_ref().and_then(|text| Some((schedule::instant(text)?, text))))
            .collect();
        if !ends.is_empty() {
            let first = ends.into_iter().flatten().min().map(|(_, text)| text.clone());
            return goes(DepartureReason::Interrupted, first, true, true);
        }
        let ill = self.policy.repair && self.is_ill_for_long(node);
        let open = !too_many(self.cluster, departure::UNHEALTHY_CLUSTER_PERCENT)
            && self
                .pools
                .get(&node.nodepool())
                .is_none_or(|of_pool| !too_many(*of_pool, departure::UNHEALTHY_POOL_PERCENT));
        if ill && open {
            return goes(DepartureReason::Unhealthy, None, true, true);
        }
        if let Some((end, is_over)) = claim.and_then(|claim| self.end(claim)) {
            let deadline = Some(schedule::rfc3339(end));
            return goes(DepartureReason::Expired, deadline, is_over, is_over);
        }
        match claim {
            Some(claim) if claim.conditions.iter().any(|one| one == "Drifted") => {
                let grace = claim.termination_grace_period.as_ref();
                let patient = grace.and_then(|text| schedule::duration(text)).is_none();
                goes(DepartureReason::Drifted, None, false, !patient)
            }
            _ if ill => Due::RepairBlocked,
            _ => Due::No,
        }
    }

    fn is_ill_for_long(&self, node: &Node) -> bool {
        let Some(now) = self.now else { return false };
        for one in &node.symptoms {
            let Some(minutes) = borne(&one.condition, &one.status) else { continue };
            let since = one.since.as_deref().and_then(schedule::instant);
            if since.is_some_and(|since| now.saturating_sub(since) >= minutes * 60) {
                return true;
            }
        }
        false
    }

    /// When the claim expires, and whether that is over, if it is or is near.
    fn end(&self, claim: &NodeClaim) -> Option<(i64, bool)> {
        let now = self.now?;
        let life = schedule::duration(claim.expire_after.as_deref()?)?;
        let end = schedule::instant(claim.created.as_deref()?)?.saturating_add(life);
        let near = (life / 10).min(60 * i64::from(self.policy.expiry_lead_minutes));
        (now.saturating_add(near) >= end).then_some((end, now >= end))
    }
}
