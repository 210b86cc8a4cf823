//! Whether the controller is well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stowage_observe::View;

/// A view that is stale for longer will not heal by itself: the process is better started anew.
const STALE_MAX: Duration = Duration::from_secs(300);
/// The loop goes round several times a second.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Since when things are as they are.
#[derive(Clone, Copy, Debug)]
struct Since {
    /// Last round of the loop.
    round: Instant,
    /// When the view was last complete and fresh; its start counts.
    fresh: Instant,
}

/// Whether the controller is well. Cheap to ask.
#[derive(Clone)]
pub struct Health {
    view: Arc<View>,
    since: Arc<Mutex<Since>>,
    /// What does not work though the rest does, and why.
    degraded: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Health {
    pub(crate) fn new(view: Arc<View>) -> Health {
        let now = Instant::now();
        let since = Arc::new(Mutex::new(Since { round: now, fresh: now }));
        Health { view, since, degraded: Arc::default() }
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop went round.
    pub(crate) fn round(&self, fresh: bool) {
        let mut since = self.since();
        since.round = Instant::now();
        if fresh {
            since.fresh = since.round;
        }
    }

    /// Something does not work, or does again (`None`); whether that is news.
    pub(crate) fn degrade(&self, what: &'static str, why: Option<&str>) -> bool {
        let mut degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => degraded.insert(what, why.to_owned()).is_none_or(|before| before != why),
            None => degraded.remove(what).is_some(),
        }
    }

    /// What does not work though the rest does: a line each. No reason to start anew.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        degraded.iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }

    /// For a liveness probe.
    ///
    /// # Errors
    /// What is wrong, if only a new start can heal it: the loop stands still, or the view stays stale.
    pub fn alive(&self) -> Result<(), String> {
        let since = *self.since();
        if since.round.elapsed() > ROUND_MAX {
            return Err(format!("the loop stands still for {} s", since.round.elapsed().as_secs()));
        }
        if since.fresh.elapsed() > STALE_MAX {
            let missing = self.view.freshness().missing.join("; ");
            return Err(format!("the view is stale for {} s: {missing}", since.fresh.elapsed().as_secs()));
        }
        Ok(())
    }

    /// For a readiness probe.
    ///
    /// # Errors
    /// What is missing of the view.
    pub fn ready(&self) -> Result<(), String> {
        self.alive()?;
        let freshness = self.view.freshness();
        if freshness.is_good() { Ok(()) } else { Err(freshness.missing.join("; ")) }
    }
}
