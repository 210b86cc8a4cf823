//! The stop of the whole cluster: everything that changes anything is refused, or ended where it is under way, but for what
//! [`stowage_executor::Request::finishes`].
//!
//! The view of the cluster says when the PlanPolicy asks for it, within moments; and it is asked for by a call of its own, which needs
//! neither the watch nor the loop.

use crate::policy;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::watch;

/// What is said of what is not done.
pub(crate) const STOPPED: &str = "everything is stopped";
/// How often the policy is asked for; a stop is to work within five seconds.
const EVERY: Duration = Duration::from_secs(2);
/// A look takes no longer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Who asks for the stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    /// The policy as the view has it, or what the controller was started with.
    seen: bool,
    /// The policy as a call of its own found it last.
    called: bool,
}

/// The stop; cheap to ask.
#[derive(Debug, Default)]
pub(crate) struct Brake(watch::Sender<Asked>);

impl Brake {
    /// The view says so.
    pub(crate) fn see(&self, stop: bool) {
        self.set(|asked| &mut asked.seen, stop);
    }

    /// Whether everything is stopped.
    pub(crate) fn is_on(&self) -> bool {
        let asked = *self.0.borrow();
        asked.seen || asked.called
    }

    /// Returns when everything is stopped; at once if it is.
    pub(crate) async fn on(&self) {
        let mut asked = self.0.subscribe();
        // The sender lives as long as this does.
        let _ = asked.wait_for(|asked| asked.seen || asked.called).await;
    }

    fn set(&self, which: impl Fn(&mut Asked) -> &mut bool, stop: bool) {
        self.0.send_if_modified(|asked| std::mem::replace(which(asked), stop) != stop);
    }

    /// Looks at the policy again and again. What cannot be found out stays as it was.
    pub(crate) async fn watch(&self, client: &Client) {
        let kind = GroupVersionKind::gvk("stowage.dev", "v1alpha1", "PlanPolicy");
        let api: Api<DynamicObject> =
            Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "planpolicies"));
        loop {
            match tokio::time::timeout(DEADLINE, api.get_opt(policy::NAME)).await {
                Ok(Ok(found)) => {
                    let stop = found.is_some_and(|found| {
                        policy::asks_for_stop(&serde_json::to_value(found).unwrap_or(Value::Null))
                    });
                    self.set(|asked| &mut asked.called, stop);
                }
                Ok(Err(error)) => tracing::debug!(%error, "the policy is not known"),
                Err(_) => tracing::debug!("the policy is not known in time"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_must_let_go() {
        let brake = Brake::default();
        assert!(!brake.is_on());
        brake.see(true);
        brake.set(|asked| &mut asked.called, true);
        brake.see(false);
        assert!(brake.is_on(), "one of them has not said so");
        brake.on().await;
        brake.set(|asked| &mut asked.called, false);
        assert!(!brake.is_on());
        let waits = tokio::time::timeout(Duration::from_millis(50), brake.on()).await;
        assert!(waits.is_err(), "it is not on");
    }
}
