//! Nodes of static NodePools in review: which to give back is proposed, with what takes their place, and done once that is approved.
//!
//! What is approved is not carried out wave by wave: it is what [`crate::statics`] and [`crate::renewals`] do by themselves where nothing
//! needs approval, for these nodes and no others. The plan's object is all that says so, and it outlives the process.

use crate::renewals;
use crate::request::Reason;
use crate::review::{self, Ground, Proposal, Unmet};
use crate::settings::Mode;
use crate::state::State;
use crate::statics;
use crate::time::{MINUTE, Time};
use crate::view::{Claim, Observation};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::NodeReason;

/// What was approved and begun and could not be done so long after the plan's time is not done any more.
const RETURN_MAX: i64 = 20 * MINUTE;

impl Proposal {
    /// Whether nodes that it gives back, and that are there still, stay after all.
    #[must_use]
    pub fn has_lapsed(&self, now: Time) -> bool {
        now.since(self.expires) >= RETURN_MAX
    }
}

/// Plans that were approved and begun.
fn in_force<'a>(state: &'a State, seen: &'a Observation) -> impl Iterator<Item = &'a Proposal> {
    let gives = |one: &&Proposal| !one.returns.is_empty() && one.approved && !one.rejected;
    let begun = seen.proposals.values().filter(gives);
    let begun = begun.filter(|one| review::is_begun(state, seen, &one.plan));
    seen.executing.values().filter(gives).chain(begun).filter(|one| !one.has_lapsed(seen.now))
}

/// Claims whose nodes somebody has approved to be given back.
pub(crate) fn approved<'a>(state: &'a State, seen: &'a Observation) -> BTreeSet<&'a str> {
    in_force(state, seen).flat_map(|one| &one.returns).map(|one| one.claim.as_str()).collect()
}

/// Nodes to propose, by claim, with the reason; and the nodes that static pools lack once what replaces these is counted.
pub(crate) fn proposed(
    state: &State,
    seen: &Observation,
    mut missing: BTreeMap<String, i64>,
) -> (BTreeMap<String, i64>, BTreeMap<String, NodeReason>) {
    let mut returns = BTreeMap::new();
    let review = &state.settings.review;
    // What pools lack and may need no approval does not wait for what does.
    let lack_waits = review.launches && review.above.is_none();
    if state.settings.mode != Mode::Review || (!missing.is_empty() && !lack_waits) {
        return (missing, returns);
    }
    for (pool, replicas) in &seen.statics {
        let due = renewals::proposed(state, seen, pool);
        if due.is_empty() && state.settings.review.removals {
            let surplus = statics::surplus(state, seen, pool, *replicas);
            returns.extend(surplus.into_iter().map(|claim| (claim.name.clone(), idle(seen, claim))));
        }
        let places = statics::lacking(state, seen, pool, *replicas, statics::count(due.len()));
        if places > 0 {
            missing.insert(pool.clone(), places);
        }
        returns.extend(due.into_iter().map(|one| {
            let reason = if one.why == Reason::Expired { NodeReason::Expired } else { NodeReason::Drifted };
            (one.claim.name.clone(), reason)
        }));
    }
    (missing, returns)
}

/// A node that is one too many is in nobody's way: it says whether pods have to move.
fn idle(seen: &Observation, claim: &Claim) -> NodeReason {
    if statics::has_pods(seen, claim) { NodeReason::Underutilized } else { NodeReason::Empty }
}

/// The first precondition of what a plan does to static pools that does not hold: they lack what is launched for them, and nodes that go have
/// to, or are too many.
pub(crate) fn unmet(state: &State, seen: &Observation, proposal: &Proposal) -> Option<Unmet> {
    let stale = |text: String| Some(Unmet::new(Ground::Stale, text));
    let mut replaced: BTreeMap<&str, i64> = BTreeMap::new();
    let mut surplus: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &proposal.returns {
        let Some(claim) = seen.claims.get(&one.claim) else { continue };
        let Some(replicas) = seen.statics.get(&claim.pool) else {
            return stale(format!("{}: NodePool {} is not static any more", one.action, claim.pool));
        };
        if one.reason.is_departure() {
            if renewals::due(seen, claim).is_none() {
                return stale(format!("{}: its node need not go any more", one.action));
            }
            *replaced.entry(&claim.pool).or_default() += 1;
            continue;
        }
        let count = surplus.entry(&claim.pool).or_default();
        *count += 1;
        if *count > statics::surplus(state, seen, &claim.pool, *replicas).len() {
            return stale(format!("{}: NodePool {} has not so many nodes too many", one.action, claim.pool));
        }
    }
    let mut launched: BTreeMap<&str, i64> = BTreeMap::new();
    for action in proposal.actions.iter().filter(|action| is_for_pool(proposal, action)) {
        let pool = action.pool.as_str();
        let count = launched.entry(pool).or_default();
        *count += 1;
        let Some(replicas) = seen.statics.get(pool) else {
            return stale(format!("{}: NodePool {pool} is not static any more", action.action));
        };
        let instead = replaced.get(pool).copied().unwrap_or(0);
        if *count > statics::lacking(state, seen, pool, *replicas, instead) {
            return stale(format!("{}: NodePool {pool} does not lack so many nodes", action.action));
        }
    }
    None
}

/// Whether a launch is for a static pool and for no pod.
pub(crate) fn is_for_pool(proposal: &Proposal, action: &review::ProposedAction) -> bool {
    action.pods.is_empty() && proposal.waves.is_empty()
}

/// What stands for static pools and nodes of them among the pods and nodes that plans are about.
pub(crate) fn concerns(proposal: &Proposal) -> impl Iterator<Item = String> {
    let pools = proposal.actions.iter().filter(|action| is_for_pool(proposal, action));
    let nodes = proposal.returns.iter().map(|one| one.uid.clone());
    pools.map(|action| statics::key(&action.pool)).chain(nodes)
}

/// Nodes that launches of a plan are for, by static pool: what stands for them in plans has numbers, so those that are there count, too.
pub(crate) fn launched(seen: &Observation, proposal: &Proposal) -> BTreeMap<String, i64> {
    let mut launched = BTreeMap::new();
    let own = proposal.actions.iter().filter(|action| seen.statics.contains_key(&action.pool));
    for action in own {
        *launched.entry(action.pool.clone()).or_insert(0) += 1;
    }
    launched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::name_of;
    use crate::fixtures::{self, PLAN, claim, node, nodes, removal, said, word};
    use crate::removal::Removal;
    use crate::request::{Intent, Request};
    use crate::review::ProposedAction;
    use crate::settings::{Review, Settings};
    use crate::view::{Answer, PlannedBatch};

    const LAUNCH: &str = "launch/new-0001";

    /// A static pool of two nodes, `a` and `b`, of which `a` has drifted.
    fn scene() -> Observation {
        let mut seen = nodes(Time(1_000_000), &["a", "b"]);
        seen.statics.insert("default".to_owned(), 2);
        seen.claims.get_mut("claim-a").expect("it").drifted = true;
        seen
    }

    fn gives(node: &str, reason: NodeReason) -> Removal {
        Removal { reason, ..removal(node, Vec::new()) }
    }

    /// It was approved that `a` is replaced.
    fn proposal() -> Proposal {
        let (action, pool) = (LAUNCH.to_owned(), "default".to_owned());
        Proposal {
            plan: PLAN.to_owned(),
            created: Time(900_000),
            expires: Time(2_000_000),
            shown: true,
            approved: true,
            actions: vec![ProposedAction { action, pool, pods: Vec::new() }],
            returns: vec![gives("a", NodeReason::Drifted)],
            ..Proposal::default()
        }
    }

    fn with(proposal: Proposal) -> Observation {
        let mut seen = scene();
        seen.proposals.insert(PLAN.to_owned(), proposal);
        seen
    }

    fn state() -> State {
        fixtures::state(Mode::Review)
    }

    fn play(state: &mut State, seen: &Observation) -> Vec<String> {
        said(state, seen, |request| match request {
            Request::Verify { input, .. } => Some(format!("{} for {:?}", word(request)?, input.statics)),
            Request::DeleteClaim { claim, why } => Some(format!("delete {claim}: {}", why.as_str())),
            _ => word(request),
        })
    }

    fn wanted(state: &State, seen: &Observation) -> (i64, Vec<(String, NodeReason)>) {
        let (missing, returns) = statics::wanted(state, seen);
        (missing.values().sum(), returns.into_iter().collect())
    }

    #[test]
    fn what_has_drifted_is_proposed_and_replaced_once_that_is_approved() {
        let (mut state, mut seen) = (state(), with(proposal()));
        assert_eq!(wanted(&state, &scene()), (1, vec![("claim-a".to_owned(), NodeReason::Drifted)]));
        assert_eq!(play(&mut state, &seen), ["verify launch/new-0001 for {\"default\": 1}"]);
        let pool = "default".to_owned();
        let launches = vec![Intent { action: LAUNCH.to_owned(), pool, ..Intent::default() }];
        let batch = PlannedBatch { plan: PLAN.to_owned(), launches, ..PlannedBatch::default() };
        seen.answers = vec![Answer::Verified { plan: PLAN.to_owned(), outcome: Ok(Box::new(batch)) }];
        assert_eq!(play(&mut state, &seen), ["create"]);
        seen.answers.clear();
        assert_eq!(wanted(&state, &seen), (0, Vec::new()), "nothing more is asked for");
        let name = name_of(PLAN, LAUNCH, "default");
        let mut coming = claim(&name, "c");
        (coming.plan, coming.created) = (PLAN.to_owned(), seen.now);
        (coming.instance, coming.initialized, coming.registered) = (None, None, None);
        seen.claims.insert(name.clone(), coming);
        assert_eq!(play(&mut state, &seen), ["executing"]);
        // Whoever follows knows it from the plan. Nothing goes before the new node is ready.
        let begun = seen.proposals.remove(PLAN).expect("it");
        seen.executing.insert(PLAN.to_owned(), begun);
        let mut state = self::state();
        assert_eq!(play(&mut state, &seen), Vec::<String>::new());
        assert_eq!(wanted(&state, &seen), (0, Vec::new()));
        seen.claims.insert(name.clone(), Claim { plan: PLAN.to_owned(), ..claim(&name, "c") });
        seen.nodes.insert("c".to_owned(), node("c"));
        assert_eq!(play(&mut state, &seen), ["delete claim-a: Drifted"]);
        // Had nobody approved it, it would stay.
        seen.executing.clear();
        assert_eq!(play(&mut self::state(), &seen), Vec::<String>::new());
    }

    #[test]
    fn the_first_thing_that_is_not_so_any_more_is_named_and_nothing_is_done() {
        type Change = fn(&mut Observation);
        let table: [(Change, &str); 5] = [
            (
                |seen| seen.claims.get_mut("claim-a").expect("it").drifted = false,
                "Stale: remove/a: its node need not go any more",
            ),
            (
                |seen| drop(seen.claims.insert("claim-c".to_owned(), claim("claim-c", "c"))),
                "Stale: launch/new-0001: NodePool default does not lack so many nodes",
            ),
            (
                |seen| seen.nodes.get_mut("a").expect("it").uid = "other".to_owned(),
                "Stale: remove/a: node a is gone, or another one by now",
            ),
            (|seen| seen.statics.clear(), "Stale: remove/a: NodePool default is not static any more"),
            (
                |seen| {
                    let newer = Proposal { plan: "n".to_owned(), created: Time(950_000), ..proposal() };
                    seen.proposals.insert("n".to_owned(), newer);
                },
                "Superseded: the newer plan n was approved for its pods",
            ),
        ];
        for (change, words) in table {
            let mut seen = with(proposal());
            change(&mut seen);
            let said = play(&mut state(), &seen);
            assert!(said.contains(&words.to_owned()), "{words}: {said:?}");
            assert!(said.iter().all(|one| !one.starts_with("delete") && one != "create"), "{said:?}");
        }
    }

    #[test]
    fn what_is_too_much_goes_once_approved_and_nobody_else_in_its_place() {
        let mut seen = scene();
        seen.claims.get_mut("claim-a").expect("it").drifted = false;
        seen.statics.insert("default".to_owned(), 1);
        fixtures::come(&mut seen, "web", "b");
        assert_eq!(wanted(&state(), &seen), (0, vec![("claim-a".to_owned(), NodeReason::Empty)]));
        assert_eq!(play(&mut state(), &seen), Vec::<String>::new());
        // Somebody has approved that the other goes, which is not the emptiest any more.
        let returns = vec![gives("b", NodeReason::Empty)];
        let mut approved = Proposal { actions: Vec::new(), returns, ..proposal() };
        seen.proposals.insert(PLAN.to_owned(), approved.clone());
        let mut state = state();
        assert_eq!(play(&mut state, &seen), ["verify  for {}"]);
        let batch = PlannedBatch { plan: PLAN.to_owned(), ..PlannedBatch::default() };
        seen.answers = vec![Answer::Verified { plan: PLAN.to_owned(), outcome: Ok(Box::new(batch)) }];
        assert_eq!(play(&mut state, &seen), ["delete claim-b: StaticScaleDown", "executing"]);
        assert_eq!(wanted(&state, &seen), (0, Vec::new()));
        // What could not go for long stays.
        seen.answers.clear();
        seen.proposals.clear();
        approved.expires = seen.now.plus(-RETURN_MAX);
        seen.executing.insert(PLAN.to_owned(), approved);
        assert_eq!(play(&mut self::state(), &seen), Vec::<String>::new());
    }

    #[test]
    fn what_pools_lack_waits_for_approval_only_where_launches_do() {
        let of = |launches: bool, removals: bool, above: Option<i64>| {
            let above = above.map(stowage_models::units::UsdMicros);
            let review = Review { launches, removals, above, ..Review::default() };
            let mut seen = scene();
            seen.statics.insert("default".to_owned(), 3);
            let (lack, returns) =
                wanted(&State::new(Settings { review, ..fixtures::settings(Mode::Review) }), &seen);
            (lack, returns.len())
        };
        assert_eq!(of(true, true, None), (2, 1), "all in one plan");
        assert_eq!(of(false, true, None), (1, 0), "first what need not be asked for");
        assert_eq!(of(true, true, Some(1)), (1, 0), "or may need not be");
        assert_eq!(of(false, false, None), (2, 0), "nothing is asked for");
    }

    /// However often it was looked at in vain: what is wanted now is something else.
    #[test]
    fn a_change_is_looked_at_at_once() {
        let (mut state, mut seen) = (state(), scene());
        seen.claims.get_mut("claim-a").expect("it").drifted = false;
        let asked = |state: &mut State, seen: &mut Observation| {
            let mut returns = Vec::new();
            for _ in 0..6 {
                said(state, seen, |request| {
                    if let Request::Plan { input, removals: false, .. } = request {
                        returns.extend(input.returns.keys().cloned());
                    }
                    None
                });
                seen.now = seen.now.plus(500);
            }
            returns
        };
        assert_eq!(asked(&mut state, &mut seen), Vec::<String>::new());
        (0..8).for_each(|_| state.settle(&statics::key("default"), seen.now));
        assert_eq!(asked(&mut state, &mut seen), Vec::<String>::new());
        seen.statics.insert("default".to_owned(), 1);
        assert_eq!(asked(&mut state, &mut seen), ["claim-a"]);
    }

    /// Pods that wait are planned for without nodes to give back, because a plan waits as a whole; and however many come, and whatever nodes
    /// else are looked at, these have their turn.
    #[test]
    fn pods_and_what_goes_wait_for_each_other_once() {
        let asked = |pods: bool| {
            let review = Review { launches: false, ..Review::default() };
            let remove_every = Some(2_000);
            let settings = Settings { review, remove_every, ..fixtures::settings(Mode::Review) };
            let (mut state, mut seen) = (State::new(settings), scene());
            let mut inputs = Vec::new();
            for round in 0..60 {
                if pods {
                    let pod =
                        crate::Pod { uid: format!("uid-{round}"), pending: true, ..crate::Pod::default() };
                    seen.pods.insert(fixtures::id(&format!("new-{round}")), pod);
                }
                let mut answers = Vec::new();
                said(&mut state, &seen, |request| {
                    if let Request::Plan { ticket, input, removals } = request {
                        answers.push(Answer::Planned(*ticket, Box::default()));
                        if !removals {
                            inputs.push((input.statics.len(), input.returns.len()));
                        }
                    }
                    None
                });
                seen.answers = answers;
                seen.now = seen.now.plus(1_000);
            }
            inputs
        };
        let quiet = asked(false);
        assert_eq!(quiet, [(1, 1); 3], "again after a pause, and after a longer one");
        let busy = asked(true);
        let turns: Vec<usize> =
            busy.iter().enumerate().filter(|(_, (_, gives))| *gives > 0).map(|(turn, _)| turn).collect();
        assert_eq!(turns.first(), Some(&1), "{busy:?}");
        assert!(turns.len() > 1 && busy.len() > 2 * turns.len(), "{busy:?}");
    }
}
