//! Draining: pods leave a node whose claim is being deleted, before its machine ends.
//!
//! Karpenter's order: first pods that are not critical, then their DaemonSets', then critical ones, then theirs. Pods are evicted, so
//! that disruption budgets hold; what `karpenter.sh/do-not-disrupt` protects is left alone. A claim with a termination grace
//! period has a deadline: what is left shortly before it is deleted, with the time that remains as its grace.

use crate::request::Request;
use crate::state::State;
use crate::time::{MIN_DRAIN, STUCK, Time};
use crate::view::{Claim, Drain, Node, Observation, PlannedPod};
use stowage_models::labels;

/// How a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Pods are there, or may be.
    No,
    /// Empty.
    Yes,
    /// Out of time, whatever there is.
    Late,
}

/// Does what is next for a node that must be emptied.
pub(crate) fn tend(
    state: &mut State,
    seen: &Observation,
    claim: &Claim,
    node: &Node,
    requests: &mut Vec<Request>,
) -> Drained {
    let deadline = claim.deleted.zip(claim.grace).map(|(at, grace)| at.plus(grace));
    if deadline.is_some_and(|deadline| deadline <= seen.now) {
        return Drained::Late;
    }
    if node.taints.iter().all(|taint| taint.key != labels::TAINT_DISRUPTED) {
        state.emptied.remove(&claim.name);
        state.ask(Request::Disrupt { node: node.name.clone() }, seen.now, requests);
        return Drained::No;
    }
    let here = seen.pods.iter().filter(|(_, pod)| pod.node.as_deref() == Some(&node.name));
    let left = here.filter_map(|(id, pod)| Some((id, pod, pod.drain.as_ref()?)));
    let left: Vec<_> = left.filter(|(_, _, drain)| !is_stuck(drain, seen.now)).collect();
    let Some(tier) = left.iter().map(|(_, _, drain)| drain.tier).min() else {
        // A pod may have been bound a moment before the taint, and not be seen yet.
        let since = *state.emptied.entry(claim.name.clone()).or_insert(seen.now);
        return if seen.now.since(since) >= MIN_DRAIN { Drained::Yes } else { Drained::No };
    };
    state.emptied.remove(&claim.name);
    for (id, pod, drain) in left {
        if drain.going.is_some() {
            continue;
        }
        let named = PlannedPod { id: id.clone(), uid: pod.uid.clone(), direct: false };
        let rest = deadline.map(|deadline| deadline.since(seen.now));
        match rest {
            // As long as it asks for, it can still have.
            Some(rest) if rest <= drain.grace => {
                state.ask(Request::DeletePod { pod: named, grace: rest }, seen.now, requests);
            }
            _ if drain.tier == tier && drain.protected.is_none_or(|until| until <= seen.now) => {
                state.ask(Request::Evict { pod: named }, seen.now, requests);
            }
            _ => {}
        }
    }
    Drained::No
}

/// Whether a pod should have ended long ago: its kubelet does not answer, and nobody waits for it.
fn is_stuck(drain: &Drain, now: Time) -> bool {
    drain.going.is_some_and(|end| now.since(end) >= STUCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Pod;
    use stowage_models::objects::{PodRef, Taint, TaintEffect};

    fn drain(tier: u8) -> Drain {
        Drain { tier, grace: 30_000, ..Drain::default() }
    }

    fn scene(pods: &[(&str, Drain)], tainted: bool) -> (Observation, Claim, Node) {
        let mut seen = Observation { now: Time(1_000_000), ..Observation::default() };
        for (name, drain) in pods {
            let pod = Pod {
                uid: (*name).to_owned(),
                node: Some("node".to_owned()),
                drain: Some(drain.clone()),
                ..Pod::default()
            };
            seen.pods.insert(PodRef(format!("default/{name}")), pod);
        }
        let key = labels::TAINT_DISRUPTED.to_owned();
        let taint = Taint { key, value: String::new(), effect: TaintEffect::NoSchedule };
        let taints = if tainted { vec![taint] } else { Vec::new() };
        let node = Node { name: "node".to_owned(), taints, ..Node::default() };
        let claim = Claim { name: "claim".to_owned(), deleted: Some(Time(900_000)), ..Claim::default() };
        (seen, claim, node)
    }

    fn asked(seen: &Observation, claim: &Claim, node: &Node) -> Vec<String> {
        let (mut state, mut requests) = (State::default(), Vec::new());
        assert_eq!(tend(&mut state, seen, claim, node, &mut requests), Drained::No);
        let name = |request| match request {
            Request::Evict { pod } => format!("evict {}", pod.uid),
            Request::DeletePod { pod, grace } => format!("delete {} {grace}", pod.uid),
            Request::Disrupt { .. } => "taint".to_owned(),
            other => format!("{other:?}"),
        };
        requests.into_iter().map(name).collect()
    }

    #[test]
    fn first_the_taint_then_tier_by_tier() {
        let pods = [("web", drain(0)), ("agent", drain(1)), ("dns", drain(2))];
        let (seen, claim, node) = scene(&pods, false);
        assert_eq!(asked(&seen, &claim, &node), ["taint"]);
        let (seen, claim, node) = scene(&pods, true);
        assert_eq!(asked(&seen, &claim, &node), ["evict web"]);
        let (seen, claim, node) = scene(&pods[1..], true);
        assert_eq!(asked(&seen, &claim, &node), ["evict agent"]);
        // One that is on its way holds up the next tier.
        let going = Drain { going: Some(Time(1_010_000)), ..drain(0) };
        let (seen, claim, node) = scene(&[("web", going), ("agent", drain(1))], true);
        assert_eq!(asked(&seen, &claim, &node), Vec::<String>::new());
        // But not for ever.
        let stuck = Drain { going: Some(Time(1_000_000 - STUCK)), ..drain(0) };
        let (seen, claim, node) = scene(&[("web", stuck), ("agent", drain(1))], true);
        assert_eq!(asked(&seen, &claim, &node), ["evict agent"]);
    }

    #[test]
    fn what_is_protected_stays_until_the_deadline_is_near() {
        let pods = [("job", Drain { protected: Some(Time(i64::MAX)), ..drain(0) }), ("agent", drain(1))];
        let (seen, mut claim, node) = scene(&pods, true);
        assert_eq!(asked(&seen, &claim, &node), Vec::<String>::new(), "for ever, without a grace period");
        claim.grace = Some(200_000);
        assert_eq!(asked(&seen, &claim, &node), Vec::<String>::new());
        claim.grace = Some(125_000);
        assert_eq!(asked(&seen, &claim, &node), ["delete agent 25000", "delete job 25000"]);
        claim.grace = Some(100_000);
        let (mut state, mut requests) = (State::default(), Vec::new());
        assert_eq!(tend(&mut state, &seen, &claim, &node, &mut requests), Drained::Late);
    }

    #[test]
    fn empty_is_believed_after_a_while() {
        let (mut seen, claim, node) = scene(&[], true);
        let (mut state, mut requests) = (State::default(), Vec::new());
        assert_eq!(tend(&mut state, &seen, &claim, &node, &mut requests), Drained::No);
        seen.now = seen.now.plus(MIN_DRAIN);
        assert_eq!(tend(&mut state, &seen, &claim, &node, &mut requests), Drained::Yes);
        assert_eq!(requests, []);
    }
}
