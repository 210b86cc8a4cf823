//! Review: a plan waits until somebody approves it by its digest, and is then carried out as it is or not at all.
//!
//! What a plan relies on is looked at again and again while it waits, and once more in the step that begins it, so that between the look
//! and the first claim nothing else can happen here. Whether its launches are still right is asked of the referee
//! ([`Request::Verify`]); what came of it is written by [`Request::Judge`]. A process that ends while it begins a plan finds claims of a plan
//! that still waits: it goes on with the actions that have none. Tokens are the same, so nothing is launched twice.

use crate::accept::{self, draft};
use crate::approved::{self, ProposedWave};
use crate::removal::{self, Removal};
use crate::request::{Key, PlanInput, Request, Verb};
use crate::resume;
use crate::returns;
use crate::settings::Mode;
use crate::slots;
use crate::state::State;
use crate::statics;
use crate::time::Time;
use crate::view::{Observation, PlannedBatch, PlannedPod};
use std::collections::{BTreeMap, BTreeSet};

/// Plans that wait at most. There are several, so that a new pod does not void what is being reviewed; older ones are superseded.
const WAITING_MAX: usize = 5;

/// A plan that waits for approval, as the cluster has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Digest of the plan.
    pub plan: String,
    /// When its object was created.
    pub created: Time,
    /// When it may no longer be begun.
    pub expires: Time,
    /// Its status says that it waits. Without, nobody has looked at it yet.
    pub shown: bool,
    /// Its digest was approved.
    pub approved: bool,
    /// It was rejected.
    pub rejected: bool,
    /// What is wrong with the object itself: its digest is not that of its content, say.
    pub broken: Option<String>,
    /// Versions of the objects it relies on, by `Kind/name`, as in [`Observation::versions`].
    pub versions: BTreeMap<String, String>,
    /// Launches in their order.
    pub actions: Vec<ProposedAction>,
    /// What is done in order, where nodes are removed; each launch is in one of them then.
    pub waves: Vec<ProposedWave>,
    /// Nodes that static pools give back, once what takes their place is ready; there are no waves then.
    pub returns: Vec<Removal>,
}

impl Proposal {
    /// Launches and removals.
    #[must_use]
    pub fn count(&self) -> usize {
        self.actions.len() + approved::removals(self).count() + self.returns.len()
    }

    /// The name of the claim of an action.
    pub(crate) fn claim_of(&self, action: &ProposedAction) -> String {
        accept::name_of(&self.plan, &action.action, &action.pool)
    }
}

/// An action of a plan that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProposedAction {
    /// Name in the plan.
    pub action: String,
    /// NodePool.
    pub pool: String,
    /// Pods it is for and that wait; those that are still on nodes that go are with the removals of these.
    pub pods: Vec<PlannedPod>,
}

/// Why a plan is not carried out. In this order they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ground {
    /// The object is not what its digest says.
    Tampered,
    /// Somebody has rejected it.
    Rejected,
    /// It is too old.
    Expired,
    /// Another plan cares for its pods, or newer ones wait.
    Superseded,
    /// Something it relies on has changed.
    Stale,
    /// Its launches are not possible, or cost more.
    Infeasible,
}

impl Ground {
    /// For conditions and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Ground::Tampered => "Tampered",
            Ground::Rejected => "Rejected",
            Ground::Expired => "Expired",
            Ground::Superseded => "Superseded",
            Ground::Stale => "Stale",
            Ground::Infeasible => "Infeasible",
        }
    }
}

/// The first precondition of a plan that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Of which kind.
    pub ground: Ground,
    /// Which, in a sentence.
    pub text: String,
}

impl Unmet {
    /// A precondition.
    #[must_use]
    pub fn new(ground: Ground, text: String) -> Unmet {
        Unmet { ground, text }
    }
}

/// What becomes of a plan in review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right, and waits for approval.
    Proposed,
    /// It was approved and is carried out.
    Executing,
    /// It is not carried out.
    Refused(Unmet),
}

/// Does what is next for plans in review.
pub(crate) fn tend(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    state.begun.retain(|plan| seen.proposals.contains_key(plan));
    for (plan, proposal) in &seen.proposals {
        if is_begun(state, seen, plan) {
            let left = left(state, seen, proposal);
            let beginning = state.course.as_ref().is_some_and(|course| course.is_beginning(plan));
            if beginning || state.drafts.values().any(|(draft, _)| draft.plan == *plan) {
                // Its claims are being made. Until then it stays approved, for whoever follows a process that ends now.
            } else if left.is_empty() || state.begun.contains(plan) || !proposal.approved {
                judge(state, seen, plan, Verdict::Executing, requests);
            } else if !approved::waits(state, seen, proposal) {
                verify_all(state, seen, proposal, left, requests);
            }
        } else if is_judged(state, seen, plan) {
            // What was decided is being written, and stays decided.
        } else if let Some(unmet) = first_unmet(state, seen, proposal) {
            judge(state, seen, plan, Verdict::Refused(unmet), requests);
        } else if proposal.approved && waits(state, seen, proposal) {
            // Until it expires.
        } else if proposal.approved || !proposal.shown {
            verify_all(state, seen, proposal, left(state, seen, proposal), requests);
        }
    }
}

/// The referee has looked at actions of a plan.
pub(crate) fn verified(
    state: &mut State,
    seen: &Observation,
    plan: &str,
    outcome: &Result<Box<PlannedBatch>, Unmet>,
    requests: &mut Vec<Request>,
) {
    state.over(&Key { verb: Verb::Verify, object: plan.to_owned() });
    let acts = seen.synced && seen.leader && !state.settings.stop && state.settings.mode != Mode::Shadow;
    if acts && seen.executing.contains_key(plan) {
        resume::verified(state, seen, plan, outcome, requests);
        return;
    }
    let Some(proposal) = seen.proposals.get(plan).filter(|_| acts) else { return };
    let begun = is_begun(state, seen, plan);
    if !begun && is_judged(state, seen, plan) {
        return;
    }
    let unmet = if begun { None } else { first_unmet(state, seen, proposal) };
    match (unmet, outcome) {
        (Some(unmet), _) => judge(state, seen, plan, Verdict::Refused(unmet), requests),
        // What is left of it is not carried out.
        (None, Err(_)) if begun => judge(state, seen, plan, Verdict::Executing, requests),
        (None, Err(unmet)) => judge(state, seen, plan, Verdict::Refused(unmet.clone()), requests),
        (None, Ok(_)) if !proposal.approved => judge(state, seen, plan, Verdict::Proposed, requests),
        (None, Ok(_)) if waits(state, seen, proposal) => {}
        (None, Ok(batch)) if !proposal.waves.is_empty() => {
            let mut batch = batch.clone();
            batch.plan = plan.to_owned();
            approved::approve(&mut batch.waves);
            removal::begin(state, seen, &batch);
            state.begun.insert(plan.to_owned());
        }
        (None, Ok(batch)) => {
            let left: BTreeSet<String> = left(state, seen, proposal).into_iter().collect();
            for intent in batch.launches.iter().filter(|intent| left.contains(&intent.action)) {
                let mut draft = draft(state, plan, intent);
                draft.exact = true;
                state.drafts.insert(draft.name.clone(), (draft, seen.now));
            }
            state.begun.insert(plan.to_owned());
        }
    }
}

/// Has the referee look at actions of a plan. `beside`: removals that are under way beside them, so that their room is spoken for; `statics`:
/// nodes that launches are for, by static pool.
pub(crate) fn verify(
    state: &mut State,
    seen: &Observation,
    plan: &str,
    actions: Vec<String>,
    (beside, statics): (impl Fn(&Removal) -> bool, BTreeMap<String, i64>),
    requests: &mut Vec<Request>,
) {
    // One after the other: each takes room that the next must not count on.
    let key = Key { verb: Verb::Verify, object: plan.to_owned() };
    if state.is_beside(&key, seen.now) {
        return;
    }
    let others = removal::on_its_way(seen).filter(|(_, removal)| beside(removal));
    let (leaving, moving) = removal::spoken_for(seen, others);
    // What had no capacity a while ago was approved all the same.
    let input = PlanInput {
        in_flight: slots::in_flight(state, seen),
        smaller: state.lessons.smaller.clone(),
        statics,
        leaving,
        moving,
        ..PlanInput::default()
    };
    let request = Request::Verify { plan: plan.to_owned(), actions, input: Box::new(input) };
    state.ask(request, seen.now, requests);
}

/// The same of a plan that was not begun, or only in part. One that only launches takes no room of others.
fn verify_all(
    state: &mut State,
    seen: &Observation,
    proposal: &Proposal,
    actions: Vec<String>,
    requests: &mut Vec<Request>,
) {
    let plan = proposal.plan.as_str();
    let beside = |removal: &Removal| !proposal.waves.is_empty() && removal.plan != plan;
    verify(state, seen, plan, actions, (beside, returns::launched(seen, proposal)), requests);
}

fn judge(state: &mut State, seen: &Observation, plan: &str, verdict: Verdict, requests: &mut Vec<Request>) {
    if let (Verdict::Refused(unmet), Some(proposal)) = (&verdict, seen.proposals.get(plan))
        && unmet.ground != Ground::Rejected
    {
        // They are worth another plan.
        for pod in proposal.actions.iter().flat_map(|action| &action.pods) {
            state.again.remove(&pod.uid);
        }
        let pools = proposal.returns.iter().filter_map(|one| Some(&seen.claims.get(&one.claim)?.pool));
        for pool in pools.chain(proposal.actions.iter().map(|action| &action.pool)) {
            state.again.remove(&statics::key(pool));
        }
    }
    state.ask(Request::Judge { plan: plan.to_owned(), verdict }, seen.now, requests);
}

/// Whether a verdict is being written.
fn is_judged(state: &State, seen: &Observation, plan: &str) -> bool {
    state.is_under_way(&Key { verb: Verb::Judge, object: plan.to_owned() }, seen.now)
}

/// Whether a claim of the plan was asked for.
pub(crate) fn is_begun(state: &State, seen: &Observation, plan: &str) -> bool {
    state.begun.contains(plan)
        || approved::is_written(seen, plan)
        || seen.claims.values().any(|claim| claim.ours && claim.plan == plan)
        || state.drafts.values().any(|(draft, _)| draft.plan == plan)
}

/// Actions that have no claim.
fn left(state: &State, seen: &Observation, proposal: &Proposal) -> Vec<String> {
    let has_claim = |action: &&ProposedAction| {
        let name = proposal.claim_of(action);
        seen.claims.contains_key(&name) || state.drafts.contains_key(&name)
    };
    let launches = proposal.actions.iter().filter(|action| !has_claim(action));
    let mut left: Vec<String> = launches.map(|action| action.action.clone()).collect();
    left.extend(approved::left(seen, proposal));
    left
}

/// Whether launches of a pool of it are paused: it begins when they go on.
pub(crate) fn waits(state: &State, seen: &Observation, proposal: &Proposal) -> bool {
    proposal.actions.iter().any(|action| state.lessons.is_open(&action.pool, seen.now))
        || state.lessons.no_launching(seen.now).is_some()
        || approved::waits(state, seen, proposal)
}

/// The first precondition that does not hold.
fn first_unmet(state: &State, seen: &Observation, proposal: &Proposal) -> Option<Unmet> {
    unmet(state, seen, proposal, false)
}

/// The same of what is left of a plan that was begun.
pub(crate) fn unmet_of_rest(state: &State, seen: &Observation, rest: &Proposal) -> Option<Unmet> {
    unmet(state, seen, rest, true)
}

fn unmet(state: &State, seen: &Observation, proposal: &Proposal, begun: bool) -> Option<Unmet> {
    let not = |ground, text| Some(Unmet::new(ground, text));
    if let Some(broken) = &proposal.broken {
        return not(Ground::Tampered, broken.clone());
    }
    if proposal.rejected {
        return not(Ground::Rejected, "it was rejected".to_owned());
    }
    if proposal.expires <= seen.now {
        return not(
            Ground::Expired,
            if begun {
                "the rest of it was not begun before it expired"
            } else {
                "it was not begun before it expired"
            }
            .to_owned(),
        );
    }
    if let Some(by) = newer(seen, proposal) {
        return not(Ground::Superseded, by);
    }
    let changed =
        proposal.versions.iter().find(|(object, version)| seen.versions.get(*object) != Some(version));
    if let Some((object, _)) = changed {
        let how = if seen.versions.contains_key(object) { "has changed" } else { "is gone" };
        return not(Ground::Stale, format!("{object} {how} since it was planned"));
    }
    let cared_for = slots::cared_for(state, seen);
    for action in &proposal.actions {
        for planned in &action.pods {
            let (id, name) = (&planned.id, &action.action);
            if let Some(by) = cared_for.get(planned.uid.as_str()) {
                let text = format!("{name}: a machine for pod {id} is on the way, of plan {by}");
                return not(Ground::Superseded, text);
            }
            let why = match seen.pods.get(id) {
                None => "is gone",
                Some(pod) if pod.uid != planned.uid => "is another one by now",
                Some(pod) if !pod.pending => "does not wait any more",
                Some(_) => continue,
            };
            return not(Ground::Stale, format!("{name}: pod {id} {why}"));
        }
    }
    approved::unmet(seen, proposal, begun).or_else(|| returns::unmet(state, seen, proposal))
}

/// What newer plan takes the place of this one, if any does.
fn newer(seen: &Observation, proposal: &Proposal) -> Option<String> {
    let rank = |one: &Proposal| (one.created, one.plan.clone());
    let own = rank(proposal);
    let live =
        |one: &&Proposal| one.broken.is_none() && !one.rejected && one.expires > seen.now && rank(one) > own;
    let mut newer = seen.proposals.values().filter(live);
    let uids = |one: &Proposal| -> BTreeSet<String> {
        let waiting = one.actions.iter().flat_map(|action| &action.pods).map(|pod| &pod.uid);
        let leaving =
            approved::removals(one).flat_map(|one| one.pods.iter().map(|pod| &pod.uid).chain([&one.uid]));
        waiting.chain(leaving).cloned().chain(returns::concerns(one)).collect()
    };
    let pods = uids(proposal);
    if let Some(by) = newer.clone().find(|one| one.approved && !uids(one).is_disjoint(&pods)) {
        return Some(format!("the newer plan {} was approved for its pods", by.plan));
    }
    // Plans that only launch come with every burst of pods: they do not push out those that remove, nor these them.
    let alike = |one: &&Proposal| one.waves.is_empty() == proposal.waves.is_empty();
    let waiting = newer.by_ref().filter(alike).count();
    (!proposal.approved && waiting >= WAITING_MAX).then(|| format!("{waiting} newer plans wait"))
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
