//! Nodes of static NodePools that have to go: replaced one for one, the new node first.
//!
//! No plan removes nodes of static pools, because their number is given. One that has drifted, or whose time is about to come, makes its pool
//! have one more than it says, as far as its budgets allow that many to be on their way out; once as many are ready as it says without it, it
//! is given back and drained. One whose time has come goes at once, as any expired node does. What the pool's limit on nodes has no room for
//! is not launched, and then what has drifted stays.

use crate::accept::SLOT_TAINT;
use crate::claims::node_of;
use crate::request::Reason;
use crate::returns;
use crate::settings::Mode;
use crate::state::State;
use crate::statics;
use crate::time::{MINUTE, Time};
use crate::view::{Claim, Observation};
use stowage_models::objects::Budget;
use stowage_models::schedule::{self, Cron};

/// A node is replaced so long before its time comes, and no more than a tenth of its life, as others are.
const LEAD_MAX: i64 = 60 * MINUTE;

/// A node of a static pool that has to go.
pub(crate) struct Due<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) why: Reason,
    /// Its time has come: it waits for nothing.
    pub(crate) forced: bool,
}

/// Why a node has to go, if it does.
pub(crate) fn due<'a>(seen: &Observation, claim: &'a Claim) -> Option<Due<'a>> {
    if !claim.ours || claim.deleting || claim.initialized.is_none() {
        return None;
    }
    let expires = claim.life.map(|life| (claim.created.plus(life), (life / 10).min(LEAD_MAX)));
    let is_near = expires.is_some_and(|(end, lead)| end.since(seen.now) <= lead);
    let forced = expires.is_some_and(|(end, _)| end <= seen.now);
    let why = match (is_near, claim.drifted) {
        (true, _) => Reason::Expired,
        (false, true) => Reason::Drifted,
        (false, false) => return None,
    };
    // What asks not to be disturbed keeps a node that need not go now, as in plans.
    let kept = !forced && claim.grace.is_none() && statics::has_protected_pods(seen, claim);
    (!kept).then_some(Due { claim, why, forced })
}

/// Nodes of a pool that have to go; those whose time has come first, then the oldest. First those that may, as things are set or because
/// somebody has approved it, then the others.
fn all<'a>(state: &State, seen: &'a Observation, pool: &str) -> (Vec<Due<'a>>, Vec<Due<'a>>) {
    let settings = &state.settings;
    let review = settings.mode == Mode::Review;
    let may_force = settings.mode == Mode::Auto || (review && !settings.review.forced);
    // In review it goes by itself only where nothing of it needs approval.
    let may = settings.mode == Mode::Auto
        || (review && !settings.review.removals && !settings.launches_need_approval(UNKNOWN));
    let own = seen.claims.values().filter(|claim| claim.pool == pool);
    let mut all: Vec<Due<'_>> = own.filter_map(|claim| due(seen, claim)).collect();
    all.sort_by_key(|one| (!one.forced, one.claim.created, &one.claim.name));
    let approved = returns::approved(state, seen);
    all.into_iter().partition(|one| {
        (if one.forced { may_force } else { may }) || approved.contains(one.claim.name.as_str())
    })
}

/// Nodes that have to go, need approval for that and have none, as many as may be on their way out beside those that go already.
pub(crate) fn proposed<'a>(state: &State, seen: &'a Observation, pool: &str) -> Vec<Due<'a>> {
    let (may, mut others) = all(state, seen, pool);
    within_budgets(seen, pool, &mut others, statics::count(may.iter().filter(|one| !one.forced).count()));
    others
}

/// How many these are.
pub(crate) fn count(state: &State, seen: &Observation, pool: &str) -> i64 {
    statics::count(all(state, seen, pool).0.len())
}

/// Of these, those that the pool's budgets let be on their way out now.
fn of_pool<'a>(state: &State, seen: &'a Observation, pool: &str) -> Vec<Due<'a>> {
    let mut all = all(state, seen, pool).0;
    within_budgets(seen, pool, &mut all, 0);
    all
}

/// Leaves those that the pool's budgets let be on their way out now, beside so many others.
fn within_budgets(seen: &Observation, pool: &str, all: &mut Vec<Due<'_>>, beside: i64) {
    let own = || seen.claims.values().filter(|claim| claim.pool == pool);
    let nodes = i64::try_from(own().count()).unwrap_or(i64::MAX);
    let away =
        own().filter(|claim| claim.deleting || (claim.initialized.is_some() && !is_ready(seen, claim)));
    let away = i64::try_from(away.count()).unwrap_or(i64::MAX);
    let budgets = seen.budgets.get(pool).map_or(&[][..], Vec::as_slice);
    let mut chosen = beside;
    all.retain(|one| {
        let goes = one.forced || chosen < room(budgets, one.why, nodes, seen.now).saturating_sub(away);
        chosen += i64::from(goes && !one.forced);
        goes
    });
}

/// Whatever it costs.
pub(crate) const UNKNOWN: stowage_models::units::UsdMicros = stowage_models::units::UsdMicros(i64::MAX);

/// Nodes that a pool has beyond those it says, while others are replaced.
pub(crate) fn extra(state: &State, seen: &Observation, pool: &str) -> i64 {
    statics::count(of_pool(state, seen, pool).len())
}

/// Those that may be given back now: as many as are open to pods beyond what the pool says, and those whose time has come.
pub(crate) fn replaced<'a>(state: &State, seen: &'a Observation, pool: &str, replicas: i64) -> Vec<Due<'a>> {
    let open = |claim: &Claim| {
        let node = claim.instance.as_deref().and_then(|instance| node_of(seen, instance));
        // While it is kept for the pods that stand for it in plans, nobody could start there.
        let kept = node.is_some_and(|node| node.taints.iter().any(|taint| taint.key == SLOT_TAINT));
        is_ready(seen, claim) && !kept
    };
    let there = seen.claims.values().filter(|claim| claim.pool == pool && !claim.deleting);
    let there = i64::try_from(there.filter(|claim| open(claim)).count()).unwrap_or(i64::MAX);
    let mut spare = there.saturating_sub(replicas);
    let mut due = of_pool(state, seen, pool);
    due.retain(|one| {
        let goes = one.forced || spare > 0;
        spare -= i64::from(goes && open(one.claim));
        goes
    });
    due
}

fn is_ready(seen: &Observation, claim: &Claim) -> bool {
    let node = claim.instance.as_deref().and_then(|instance| node_of(seen, instance));
    claim.initialized.is_some() && node.is_some_and(|node| node.ready && !node.deleting)
}

/// How many of a pool's nodes its budgets allow to be on their way out for a reason; a tenth where it has none (formulation, section 5.2).
fn room(budgets: &[Budget], why: Reason, nodes: i64, now: Time) -> i64 {
    if budgets.is_empty() {
        return share("10%", nodes).unwrap_or(0);
    }
    let concerned = |budget: &&Budget| {
        budget.reasons.is_empty() || budget.reasons.iter().any(|reason| reason == why.as_str())
    };
    let allowed = |budget: &Budget| match (budget.schedule.as_deref(), budget.duration.as_deref()) {
        (None, None) => Some(share(&budget.nodes, nodes).unwrap_or(0)),
        (Some(cron), Some(length)) => match (Cron::parse(cron), schedule::duration(length)) {
            (Some(cron), Some(length)) => {
                cron.is_open(now.0.div_euclid(1000), length).then(|| share(&budget.nodes, nodes).unwrap_or(0))
            }
            // What cannot be read allows nothing.
            _ => Some(0),
        },
        _ => Some(0),
    };
    budgets.iter().filter(concerned).filter_map(allowed).min().unwrap_or(i64::MAX)
}

/// A number, or a percentage, rounded up.
fn share(text: &str, whole: i64) -> Option<i64> {
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: i64 = percent.parse().ok().filter(|percent| (0..=100).contains(percent))?;
            Some((percent.saturating_mul(whole) + 99) / 100)
        }
        None => text.parse().ok().filter(|count| *count >= 0),
    }
}
