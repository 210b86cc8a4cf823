//! Approved plans that remove nodes, once they are begun: what is seen of them, and how they end.

use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use stowage_executor::{PlannedBatch, Proposal, Removal, Time};

/// A plan of which nothing is under way is over after this long, as the controller has it.
const OVER: i64 = 3 * 60_000;

/// A plan that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) proposal: Proposal,
    pub(crate) batch: PlannedBatch,
    /// When something of it was last under way.
    since: Time,
    /// Processes that have ended since.
    crashes: u32,
}

impl World {
    /// It is carried out from now on. One that only launches is over for whoever follows.
    pub(crate) fn begin(&mut self, plan: &str) {
        let Some((proposal, batch)) = self.proposals.remove(plan) else { return };
        if !proposal.waves.is_empty() {
            let (since, crashes) = (self.now, self.outcome.crashes);
            self.executing.insert(plan.to_owned(), Begun { proposal, batch, since, crashes });
        }
    }

    /// Plans that were begun, as they are seen.
    pub(crate) fn seen_executing(&self) -> BTreeMap<String, Proposal> {
        self.executing.iter().map(|(plan, begun)| (plan.clone(), begun.proposal.clone())).collect()
    }

    /// It is said why a plan is not carried out any further. It may be told to be begun a moment later.
    pub(crate) fn cut(&mut self, plan: &str) {
        self.said.insert(plan.to_owned());
    }

    /// The same of all others than this one.
    pub(crate) fn cut_all(&mut self, but: &str) {
        self.said.extend(self.executing.keys().filter(|plan| *plan != but).cloned());
    }

    /// What of a plan that was begun these actions are, as the referee has it: some of its nodes must not go any more.
    pub(crate) fn rest_of(&self, plan: &str, actions: &[String]) -> Option<Result<PlannedBatch, String>> {
        let begun = self.executing.get(plan)?;
        let mut batch = begun.batch.clone();
        for wave in &mut batch.waves {
            wave.launches.retain(|one| actions.contains(&one.action));
            wave.removals.retain(|one| actions.contains(&one.action));
        }
        batch.waves.retain(|wave| !wave.launches.is_empty() || !wave.removals.is_empty());
        let mut removals = batch.waves.iter().flat_map(|wave| &wave.removals);
        let why = removals.find_map(|one| self.must_stay(one));
        Some(why.map_or(Ok(batch), Err))
    }

    /// Ends plans of which nothing is under way, and says what became of them: done to the last node, or not, for a reason that was said.
    pub(crate) fn end_plans(&mut self) {
        let now = self.now;
        for (plan, begun) in &mut self.executing {
            let on_its_way = self.claims.values().any(|claim| {
                claim.removal.as_ref().is_some_and(|removal| removal.plan == *plan)
                    || (claim.plan == *plan && claim.initialized.is_none())
            });
            if on_its_way || self.now < self.down || self.state.goes_on(plan) {
                begun.since = now;
            }
        }
        let is_over = |begun: &Begun| now.since(begun.since) >= OVER;
        let over = self.executing.iter().filter(|(_, begun)| is_over(begun)).map(|(plan, _)| plan.clone());
        for plan in over.collect::<Vec<_>>() {
            let Some(begun) = self.executing.remove(&plan) else { continue };
            let removals = || begun.batch.waves.iter().flat_map(|wave| &wave.removals);
            let stay: BTreeSet<&str> =
                removals().filter(|one| self.is_there(one)).map(|one| one.node.as_str()).collect();
            let word = match (stay.is_empty(), begun.crashes < self.outcome.crashes) {
                (true, true) => "Completed after a crash",
                (true, false) => "Completed",
                (false, _) => "Failed",
            };
            *self.outcome.reviewed.entry(word).or_default() += 1;
            if !stay.is_empty() && !self.said.contains(&plan) {
                let what = format!("{}: {plan} ends, {stay:?} stay, and nothing says why", now.0);
                self.outcome.broken.push(what);
            }
        }
    }

    /// Plans that were begun and never end.
    pub(crate) fn unended(&self) -> impl Iterator<Item = String> {
        self.executing.keys().map(|plan| format!("{plan} was begun and never ends"))
    }

    /// Whether a node that was to go is there.
    fn is_there(&self, removal: &Removal) -> bool {
        let node = self.nodes.get(&removal.node).is_some_and(|node| node.uid == removal.uid);
        node && self.claims.contains_key(&removal.claim)
    }
}
