//! What messages about machines change beside plans. That nodes have to go is the planner's (`docs/formulation.md` section 5.5).

use crate::claims::give_up;
use crate::request::{Reason, Request};
use crate::state::State;
use crate::view::{Claim, Observation};
use stowage_models::departure::NoticeKind;
use stowage_models::labels;

/// Capacity type of what can be taken back.
const SPOT: &str = "spot";

/// A spot machine that is taken back says that there is no more of its offering, for as long as a refused launch says it (Karpenter: three
/// minutes). Once for each machine, as far as is remembered.
pub(crate) fn learn(state: &mut State, seen: &Observation) {
    state.interrupted.retain(|name| seen.claims.contains_key(name));
    for claim in seen.claims.values().filter(|claim| claim.notices.has(NoticeKind::SpotInterruption)) {
        let label = |key: &str| claim.labels.get(key).filter(|value| !value.is_empty()).cloned();
        let spot = label(labels::CAPACITY_TYPE).is_some_and(|one| one == SPOT);
        if let (true, Some(instance_type), Some(zone)) =
            (spot, label(labels::INSTANCE_TYPE), label(labels::ZONE))
            && state.interrupted.insert(claim.name.clone())
        {
            state.miss(&(instance_type, zone, SPOT.to_owned()), seen.now);
        }
    }
}

/// A machine that is taken away before its node has registered carries no pod: its claim is given up, and its pods are planned again.
pub(crate) fn tend(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    if claim.notices.is_final() && claim.registered.is_none() && !claim.deleting {
        give_up(state, seen, &claim.name, Reason::Interrupted, requests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Mode, Settings};
    use crate::step::step;
    use crate::time::{MINUTE, Time};
    use stowage_models::departure::Notices;

    fn seen(now: i64, notices: &str, registered: bool) -> Observation {
        let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let claim = Claim {
            name: "claim".to_owned(),
            ours: true,
            instance: Some("i-1".to_owned()),
            registered: registered.then_some(Time(1)),
            initialized: registered.then_some(Time(1)),
            labels: [(labels::CAPACITY_TYPE, SPOT), (labels::INSTANCE_TYPE, "m5.large"), (labels::ZONE, "a")]
                .map(label)
                .into(),
            notices: Notices::parse(notices),
            ..Claim::default()
        };
        let claims = [(claim.name.clone(), claim)].into();
        Observation { now: Time(now), synced: true, leader: true, claims, ..Observation::default() }
    }

    fn auto() -> State {
        State::new(Settings { mode: Mode::Auto, ..Settings::default() })
    }

    #[test]
    fn an_interrupted_offering_is_left_out_for_a_while_and_once() {
        let missing = |state: &State, now: i64| state.stock.missing(Time(now)).len();
        let (state, _) = step(auto(), &seen(0, "RebalanceRecommendation", true));
        assert_eq!(missing(&state, 0), 0, "a recommendation says nothing of capacity");
        let (state, _) = step(state, &seen(0, "SpotInterruption", true));
        assert_eq!((missing(&state, 0), missing(&state, 3 * MINUTE)), (1, 0));
        let (state, _) = step(state, &seen(4 * MINUTE, "SpotInterruption", true));
        assert_eq!(missing(&state, 4 * MINUTE), 0, "the same machine says it once");
        let (state, _) = step(auto(), &seen(0, "StateChange", true));
        assert_eq!(missing(&state, 0), 0, "somebody ended it");
    }

    #[test]
    fn a_machine_that_goes_before_its_node_comes_is_given_up() {
        let given_up = |notices: &str, registered: bool| {
            let (_, requests) = step(auto(), &seen(0, notices, registered));
            requests.iter().any(|one| {
                matches!(one, Request::DeleteClaim { why: Reason::Interrupted, claim } if claim == "claim")
            })
        };
        assert!(given_up("SpotInterruption@2026-11-22T04:00:00Z", false));
        assert!(!given_up("SpotInterruption", true), "its node is the planner's business");
        assert!(!given_up("RebalanceRecommendation", false));
    }
}
