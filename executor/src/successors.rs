//! Successors: pods that come in the place of those evicted from nodes that go are led to where the plan put these.
//!
//! While such nodes are drained, the API server gives new pods of the evicted pods' owners a scheduling gate: of the owners that
//! [`Request::Expect`] names, and only until a time that it names. Each is let go of in the first step that sees it ([`Request::Ungate`]), with
//! the planned node as its nominated one: kube-scheduler looks at that node first, and at all others if the pod does not fit there. Nothing
//! that is remembered here is needed for that, so whoever leads lets go of gates that another process has left behind.

use crate::claims::node_of;
use crate::removal::{self, Leaver, Place, Removal};
use crate::request::{Key, Request, Verb};
use crate::settings::Mode;
use crate::state::State;
use crate::time::{SECOND, Time};
use crate::view::{Claim, Observation, PlannedPod, Pod};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::PodRef;

/// Name of the scheduling gate of successors.
pub const SUCCESSOR_GATE: &str = "stowage.dev/successor";
/// New pods get the gate for so long after the last word of a process: nobody may be there to let go of them.
const EXPECTED: i64 = 30 * SECOND;
/// Who is expected is said again so long before that.
const RENEWED: i64 = 15 * SECOND;
/// Owners that are expected at most: with a time each they are 300 kB, of the 1 MiB that an object may have.
const OWNERS_MAX: usize = 5_000;

/// What is remembered of successors. It may be lost: then some go where there is room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Successors {
    /// Who was said to be expected, and until when.
    said: Option<(BTreeSet<String>, Time)>,
    /// Successors, by the uid of the pod whose place they take.
    took: BTreeMap<String, String>,
}

impl Successors {
    /// Who is expected may not have been written.
    pub(crate) fn unsaid(&mut self) {
        self.said = None;
    }
}

/// A removal as it is written now: with the owners of its pods, by which their successors are known.
pub(crate) fn written(seen: &Observation, removal: &Removal) -> Removal {
    let mut removal = Removal { since: seen.now, ..removal.clone() };
    for pod in &mut removal.pods {
        let found = seen.pods.get(&pod.id).filter(|found| found.uid == pod.uid);
        pod.owner = found.and_then(|found| found.owner.clone());
    }
    removal
}

/// Lets go of successors that are there, and says who is expected.
pub(crate) fn tend(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    let settings = &state.settings;
    let leads = settings.successors && settings.mode != Mode::Shadow && !settings.stop;
    let leaving: Vec<(&Claim, &Removal)> = removal::on_its_way(seen).collect();
    let known: BTreeSet<&str> =
        leaving.iter().flat_map(|(_, removal)| &removal.pods).map(|pod| pod.uid.as_str()).collect();
    state.successors.took.retain(|uid, _| known.contains(uid.as_str()));
    let gated: Vec<(&PodRef, &Pod)> = seen.pods.iter().filter(|(_, pod)| pod.gated).collect();
    for (id, pod) in gated {
        // One that is being let go of takes nobody's place any more.
        if state.is_under_way(&Key { verb: Verb::Ungate, object: pod.uid.clone() }, seen.now) {
            continue;
        }
        let node = if leads { place(state, seen, &leaving, id, pod) } else { None };
        let pod = PlannedPod { id: id.clone(), uid: pod.uid.clone(), direct: false };
        state.ask(Request::Ungate { pod, node }, seen.now, requests);
    }
    let owners = if leads { expected(state, &leaving) } else { BTreeSet::new() };
    let due = match &state.successors.said {
        None => !owners.is_empty(),
        Some((said, until)) => {
            *said != owners || (!owners.is_empty() && until.since(seen.now) <= EXPECTED - RENEWED)
        }
    };
    let until = seen.now.plus(EXPECTED);
    if due && state.ask(Request::Expect { owners: owners.clone(), until }, seen.now, requests) {
        state.successors.said = (!owners.is_empty()).then_some((owners, until));
    }
}

/// Owners of pods that are about to be evicted, or were and have no successor yet.
fn expected(state: &State, leaving: &[(&Claim, &Removal)]) -> BTreeSet<String> {
    let closed = leaving.iter().filter(|(claim, _)| claim.deleting || state.closed.contains_key(&claim.name));
    let pods = closed.flat_map(|(_, removal)| &removal.pods).filter(|pod| pod.to.is_some());
    let left = pods.filter(|pod| !state.successors.took.contains_key(&pod.uid));
    left.filter_map(|pod| pod.owner.clone()).take(OWNERS_MAX).collect()
}

/// The node where a successor is to run: that of a pod of its owner that has left, or is about to end, and has no other successor. One of
/// the same name is meant first: its volumes are where that pod was to go.
fn place(
    state: &mut State,
    seen: &Observation,
    leaving: &[(&Claim, &Removal)],
    id: &PodRef,
    pod: &Pod,
) -> Option<String> {
    let owner = pod.owner.as_ref()?;
    let took = &state.successors.took;
    let free = |leaver: &Leaver| took.get(&leaver.uid).is_none_or(|successor| *successor == pod.uid);
    let all =
        leaving.iter().flat_map(|(_, removal)| removal.pods.iter().map(move |leaver| (*removal, leaver)));
    let of_owner = all.filter(|(removal, leaver)| {
        leaver.owner.as_ref() == Some(owner) && free(leaver) && has_left(seen, removal, leaver)
    });
    let rank = |leaver: &Leaver| {
        let own = took.get(&leaver.uid) == Some(&pod.uid);
        (!own, leaver.id != *id, leaver.to.is_none(), leaver.id.clone())
    };
    let (_, leaver) = of_owner.min_by_key(|(_, leaver)| rank(leaver))?;
    state.successors.took.insert(leaver.uid.clone(), pod.uid.clone());
    let node = match leaver.to.as_ref()? {
        Place::Node(name) => seen.nodes.get(name),
        Place::Claim(name) => {
            seen.claims.get(name).and_then(|claim| node_of(seen, claim.instance.as_deref()?))
        }
    };
    let open = |taint: &stowage_models::objects::Taint| taint.key != labels::TAINT_DISRUPTED;
    node.filter(|node| node.ready && !node.deleting && node.taints.iter().all(open))
        .map(|node| node.name.clone())
}

/// The pod is not on its node any more, or is being deleted: what its owner makes instead is its successor.
fn has_left(seen: &Observation, removal: &Removal, leaver: &Leaver) -> bool {
    let ends = |pod: &Pod| pod.drain.as_ref().is_some_and(|drain| drain.going.is_some());
    !removal::is_still_there(seen, removal, leaver) || seen.pods.get(&leaver.id).is_some_and(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, close, id, leaver, nodes, on, pod_on, removal, said, state};
    use crate::settings::Settings;
    use crate::view::Answer;

    const NOW: Time = Time(100_000);

    /// Node `a` is drained: of its pods `one` and `two`, both of the owner `web`, the first was to go to `b` and the second to `c`.
    fn scene() -> Observation {
        let mut seen = nodes(NOW, &["a", "b", "c"]);
        close(&mut seen, "a");
        for name in ["one", "two"] {
            seen.pods.insert(id(name), Pod { owner: Some("web".to_owned()), ..pod_on(name, "a") });
        }
        let pods = vec![leaver("one", on("b")), leaver("two", Place::Claim("claim-c".to_owned()))];
        let removal = written(&seen, &removal("a", pods));
        assert!(removal.since == NOW && removal.pods.iter().all(|pod| pod.owner.as_deref() == Some("web")));
        fixtures::write(&mut seen, removal);
        let leaving = seen.claims.get_mut("claim-a").expect("it");
        (leaving.deleting, leaving.deleted) = (true, Some(NOW));
        seen
    }

    fn end(seen: &mut Observation, name: &str) {
        let pod = seen.pods.get_mut(&id(name)).expect("a pod");
        pod.drain.as_mut().expect("it is drained").going = Some(NOW.plus(1_000));
    }

    fn come(seen: &mut Observation, name: &str, owner: &str) {
        let (uid, owner) = (format!("uid-{name}"), Some(owner.to_owned()));
        seen.pods.insert(id(name), Pod { uid, owner, gated: true, ..Pod::default() });
    }

    /// What is asked for about successors, in words.
    fn play(state: &mut State, seen: &Observation) -> Vec<String> {
        said(state, seen, |request| match request {
            Request::Expect { owners, until } => {
                let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
                Some(format!("expect [{}] for {} s", owners.join(" "), until.since(seen.now) / SECOND))
            }
            Request::Ungate { pod, node } => {
                Some(format!("{} -> {}", pod.uid, node.as_deref().unwrap_or("anywhere")))
            }
            _ => None,
        })
    }

    #[test]
    fn each_takes_the_place_of_one_that_has_left() {
        let (mut state, mut seen) = (state(Mode::Auto), scene());
        assert_eq!(play(&mut state, &seen), ["expect [web] for 30 s"]);
        // Nobody has left yet: it is one more of them, and nobody's successor. So is one of another owner.
        come(&mut seen, "more", "web");
        come(&mut seen, "other", "job");
        assert_eq!(play(&mut state, &seen), ["uid-more -> anywhere", "uid-other -> anywhere"]);
        end(&mut seen, "one");
        come(&mut seen, "three", "web");
        assert_eq!(play(&mut state, &seen), ["uid-three -> b"]);
        end(&mut seen, "two");
        come(&mut seen, "four", "web");
        assert_eq!(play(&mut state, &seen), ["uid-four -> c"]);
        // All have a successor: nobody is expected any more, and what comes is one more of them.
        seen.answers = vec![Answer::Done(Key { verb: Verb::Expect, object: String::new() })];
        come(&mut seen, "five", "web");
        assert_eq!(play(&mut state, &seen), ["uid-five -> anywhere", "expect [] for 30 s"]);
    }

    #[test]
    fn one_of_the_same_name_takes_its_own_place_and_keeps_it() {
        let (mut state, mut seen) = (state(Mode::Auto), scene());
        end(&mut seen, "one");
        seen.pods.remove(&id("two"));
        come(&mut seen, "two", "web");
        seen.pods.get_mut(&id("two")).expect("it").uid = "uid-new".to_owned();
        assert_eq!(play(&mut state, &seen)[0], "uid-new -> c");
        // That was not written; it is the same the next time.
        let key = Key { verb: Verb::Ungate, object: "uid-new".to_owned() };
        seen.answers = vec![Answer::Failed(key, "no".to_owned())];
        play(&mut state, &seen);
        seen.answers.clear();
        seen.now = NOW.plus(2 * SECOND);
        assert_eq!(play(&mut state, &seen), ["uid-new -> c"]);
    }

    #[test]
    fn a_place_that_is_gone_is_none() {
        let (mut state, mut seen) = (state(Mode::Auto), scene());
        seen.nodes.get_mut("b").expect("b").ready = false;
        end(&mut seen, "one");
        come(&mut seen, "three", "web");
        assert_eq!(play(&mut state, &seen)[0], "uid-three -> anywhere");
    }

    #[test]
    fn gates_that_were_left_behind_are_let_go_of_whatever_is_set() {
        let mut seen = scene();
        come(&mut seen, "three", "web");
        seen.claims.get_mut("claim-a").expect("it").removal = None;
        for mode in [Mode::Auto, Mode::Review, Mode::Shadow] {
            for (stop, successors) in [(false, true), (false, false), (true, true)] {
                let settings = Settings { mode, stop, successors, ..Settings::default() };
                assert_eq!(play(&mut State::new(settings), &seen), ["uid-three -> anywhere"], "{mode:?}");
            }
        }
        // Whoever does not lead, or does not see all, leaves it to others.
        seen.leader = false;
        assert_eq!(play(&mut state(Mode::Auto), &seen), Vec::<String>::new());
    }

    #[test]
    fn who_is_expected_is_said_again_and_taken_back() {
        let (mut state, mut seen) = (state(Mode::Auto), scene());
        let said = |state: &mut State, seen: &mut Observation, after: i64| {
            (seen.now, seen.answers) = (seen.now.plus(after), Vec::new());
            let said = play(state, seen);
            seen.answers = vec![Answer::Done(Key { verb: Verb::Expect, object: String::new() })];
            let none = play(state, seen);
            assert_eq!(none, Vec::<String>::new());
            said
        };
        assert_eq!(said(&mut state, &mut seen, 0), ["expect [web] for 30 s"]);
        assert_eq!(said(&mut state, &mut seen, 14 * SECOND), Vec::<String>::new());
        assert_eq!(said(&mut state, &mut seen, SECOND), ["expect [web] for 30 s"]);
        // Switched off: at once.
        state.settings.successors = false;
        assert_eq!(said(&mut state, &mut seen, 0), ["expect [] for 30 s"]);
        state.settings.successors = true;
        assert_eq!(said(&mut state, &mut seen, 0), ["expect [web] for 30 s"]);
        // The node is gone.
        seen.claims.remove("claim-a");
        assert_eq!(said(&mut state, &mut seen, 0), ["expect [] for 30 s"]);
    }
}
