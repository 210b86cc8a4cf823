//! What is remembered between steps. All of it may be lost.

use crate::batch::Window;
use crate::lessons::Lessons;
use crate::removal::Course;
use crate::request::{Draft, Key, Request};
use crate::resume::Rest;
use crate::settings::Settings;
use crate::stock::Stock;
use crate::successors::Successors;
use crate::time::{DEADLINE, PAUSE_MAX, PAUSE_MIN, SETTLE, Time};
use crate::view::{Instance, Listing};
use std::collections::{BTreeMap, BTreeSet};

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flight {
    /// Not repeated before.
    until: Time,
    /// Failures in a row.
    failures: u32,
}

/// When a pod is worth planning again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Again {
    pub(crate) at: Time,
    pub(crate) pause: i64,
}

/// What is remembered between steps. All of it may be lost: see the [crate].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Settings.
    pub settings: Settings,
    pub(crate) window: Window,
    pub(crate) stock: Stock,
    pub(crate) lessons: Lessons,
    /// Ticket of the plan that is being made.
    pub(crate) planning: Option<u64>,
    pub(crate) tickets: u64,
    /// Claims asked for that the view does not show yet.
    pub(crate) drafts: BTreeMap<String, (Draft, Time)>,
    /// Machines the cloud has answered with, by claim.
    pub(crate) launched: BTreeMap<String, Instance>,
    /// When the launch of a claim was last asked for.
    pub(crate) asked: BTreeMap<String, Time>,
    /// Claims whose slot is over.
    pub(crate) slots_over: BTreeSet<String>,
    /// Claims whose node was looked at for lessons.
    pub(crate) measured: BTreeSet<String>,
    /// Claims being deleted whose node was seen empty, and since when.
    pub(crate) emptied: BTreeMap<String, Time>,
    pub(crate) listing: Option<Listing>,
    pub(crate) listed: Option<Time>,
    /// The plan with removals that is carried out, and how far it is.
    pub(crate) course: Option<Course>,
    /// When nodes that could go are looked for next.
    pub(crate) removals_due: Option<Time>,
    /// When they were looked for last.
    pub(crate) removals_asked: Option<Time>,
    /// Plans in a row that were asked for, and left a node that has to go by force without one.
    pub(crate) urgent_asked: u32,
    /// Nodes that the last plan for those that go by force knew.
    pub(crate) urgent_known: BTreeSet<String>,
    /// Nodes that go by force and that the last plan did not know: how many, since when, and since when so many.
    pub(crate) gathered: Option<(usize, Time, Time)>,
    /// The plan that is being made knows of nodes that go by force.
    pub(crate) pressing: bool,
    /// Plans whose removals were last looked at, by claim.
    pub(crate) looked: BTreeMap<String, String>,
    /// Removals in a row that came to nothing.
    pub(crate) setbacks: u32,
    /// Nodes that are to go and were seen tainted, by claim, and since when.
    pub(crate) closed: BTreeMap<String, Time>,
    /// Pods that come for those evicted.
    pub(crate) successors: Successors,
    /// Plans in review that were begun, by digest.
    pub(crate) begun: BTreeSet<String>,
    /// Plans with removals that were begun and are not carried out any further.
    pub(crate) cut: BTreeSet<String>,
    /// What is left of plans that another process has begun, by digest.
    pub(crate) rests: BTreeMap<String, Rest>,
    /// Instances of claims that the last listing did not have, and how many listings in a row.
    pub(crate) unseen: BTreeMap<String, u32>,
    /// By uid.
    pub(crate) again: BTreeMap<String, Again>,
    /// Claims whose interruption was taken as a word on their offering.
    pub(crate) interrupted: BTreeSet<String>,
    pub(crate) inputs: String,
    /// Pods on nodes, and nodes, when room of buffers was last looked at.
    pub(crate) load: (usize, usize),
    /// Nodes that static pools are to have, and claims of those that they are to give back, when that was last looked at.
    pub(crate) wished: BTreeMap<String, (i64, BTreeSet<String>)>,
    /// Static pools that the plan which is being made is about.
    pub(crate) looked_at: BTreeSet<String>,
    /// What static pools give back had to wait for the last plan, because that was for pods.
    pub(crate) put_off: bool,
    flights: BTreeMap<Key, Flight>,
}

impl State {
    /// Nothing known yet.
    #[must_use]
    pub fn new(settings: Settings) -> State {
        State { settings, ..State::default() }
    }

    /// Pools that launch nothing for now, because launches or registrations failed.
    #[must_use]
    pub fn open_breakers(&self, now: Time) -> Vec<&str> {
        self.lessons.open(now)
    }

    /// Why nothing can be launched at all: what the cloud said last, again and again. No plan in review is begun then.
    #[must_use]
    pub fn no_launching(&self, now: Time) -> Option<&str> {
        self.lessons.no_launching(now)
    }

    /// Asks, unless the same is under way or failed a moment ago.
    pub(crate) fn ask(&mut self, request: Request, now: Time, requests: &mut Vec<Request>) -> bool {
        let Some(key) = request.key() else {
            requests.push(request);
            return true;
        };
        let failures = match self.flights.get(&key) {
            Some(flight) if now < flight.until => return false,
            Some(flight) => flight.failures,
            None => 0,
        };
        self.flights.insert(key, Flight { until: now.plus(DEADLINE), failures });
        requests.push(request);
        true
    }

    /// It was carried out; the view will show it.
    pub(crate) fn done(&mut self, key: Key, now: Time) {
        self.flights.insert(key, Flight { until: now.plus(SETTLE), failures: 0 });
    }

    /// It was carried out, and may be asked for again at once.
    pub(crate) fn over(&mut self, key: &Key) {
        self.flights.remove(key);
    }

    /// It was not carried out: once more after a pause that doubles.
    pub(crate) fn failed(&mut self, key: Key, now: Time) {
        let failures = self.flights.get(&key).map_or(0, |flight| flight.failures);
        let pause = (PAUSE_MIN << failures.min(16)).min(PAUSE_MAX);
        self.flights.insert(key, Flight { until: now.plus(pause), failures: failures + 1 });
    }

    /// Whether a request of this key is under way or pausing.
    pub(crate) fn is_under_way(&self, key: &Key, now: Time) -> bool {
        self.flights.get(key).is_some_and(|flight| now < flight.until)
    }

    /// Whether a request of this kind about something else is under way or pausing.
    pub(crate) fn is_beside(&self, key: &Key, now: Time) -> bool {
        self.flights
            .iter()
            .any(|(other, flight)| other.verb == key.verb && other != key && now < flight.until)
    }

    /// Forgets requests that are long over, so that memory stays bounded.
    pub(crate) fn forget(&mut self, now: Time) {
        self.flights.retain(|_, flight| now.since(flight.until) < DEADLINE);
        self.stock.decay(now);
    }
}

impl State {
    /// A request that may take until then.
    pub(crate) fn hold(&mut self, key: &Key, until: Time) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.until = until;
        }
    }
}
