//! Nodes that stay, and why: told as Karpenter's event `Unconsolidatable`, when it is news and not all at once.

use crate::events::{About, Events, Weight};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use stowage_models::consolidation::{NodeDecision, NodeReason};

/// The same is told again after this long: events are kept for an hour.
const AGAIN: Duration = Duration::from_secs(1800);
/// Nodes told of in one look: half of what events may be at once. The others follow in the next.
const MOST: usize = 50;

/// What was told, by node, and when.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<BTreeMap<String, (String, Instant)>>);

/// Whether it was looked at and stays.
pub(crate) fn stays(decision: &NodeDecision) -> bool {
    !decision.reason.is_removal()
        && !matches!(decision.reason, NodeReason::Unmanaged | NodeReason::OutOfScope)
}

/// In a sentence.
pub(crate) fn sentence(decision: &NodeDecision) -> String {
    if decision.message.is_empty() { format!("{:?}", decision.reason) } else { decision.message.clone() }
}

impl Kept {
    /// Tells why nodes stay. `versions` has their uids, as a view gives them.
    pub(crate) fn tell(&self, events: &Events, versions: &BTreeMap<String, String>, nodes: &[NodeDecision]) {
        for (node, why) in self.due(nodes, Instant::now()) {
            if let Some(uid) = versions.get(&format!("Node/{node}")) {
                events.tell(About::node(&node, uid), Weight::Normal, "Unconsolidatable", &why);
            }
        }
    }

    fn due(&self, nodes: &[NodeDecision], now: Instant) -> Vec<(String, String)> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|name, _| nodes.iter().any(|one| one.node == *name));
        let news = nodes.iter().filter(|one| stays(one)).filter_map(|one| {
            let why = sentence(one);
            let known = told.get(&one.node);
            let old = known
                .is_some_and(|(before, at)| *before == why && now.saturating_duration_since(*at) < AGAIN);
            (!old).then(|| (one.node.clone(), why))
        });
        let news: Vec<(String, String)> = news.take(MOST).collect();
        for (node, why) in &news {
            told.insert(node.clone(), (why.clone(), now));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(node: usize, reason: NodeReason, message: &str) -> NodeDecision {
        let (node, message) = (format!("node-{node:03}"), message.to_owned());
        NodeDecision { node, reason, pod: None, budget: None, departure: None, message, price: None }
    }

    #[test]
    fn news_is_told_a_few_at_a_time_and_again_after_a_while() {
        let (kept, now) = (Kept::default(), Instant::now());
        let mut nodes: Vec<_> = (0..60).map(|n| decision(n, NodeReason::Worth, "cheapest")).collect();
        nodes.push(decision(60, NodeReason::Empty, "removed"));
        nodes.push(decision(61, NodeReason::Unmanaged, "of no pool"));
        let told = |nodes: &[NodeDecision], at| kept.due(nodes, at).len();
        assert_eq!((told(&nodes, now), told(&nodes, now), told(&nodes, now)), (MOST, 10, 0));
        nodes[3] = decision(3, NodeReason::Pod, "");
        assert_eq!(kept.due(&nodes, now), [("node-003".to_owned(), "Pod".to_owned())]);
        assert_eq!(told(&nodes, now + AGAIN), MOST);
        assert_eq!(told(&nodes[..1], now), 0);
        assert_eq!(kept.0.lock().expect("what was told").len(), 1, "what is gone is forgotten");
    }
}
