//! Names and labels that reports and tables print must not be able to steer a terminal.

use crate::ImportError;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// Refuses control characters in names and labels; no API server lets them in.
///
/// # Errors
/// The first object that has one, and where.
pub(crate) fn check(snapshot: &Snapshot, sources: &[String]) -> Result<(), ImportError> {
    let check = |kind: &str, namespace: &str, name: &str, labels: &Labels| {
        let text = |text: &str| text.chars().any(char::is_control);
        let field = if text(namespace) {
            "metadata.namespace"
        } else if text(name) {
            "metadata.name"
        } else if labels.iter().any(|(key, value)| text(key) || text(value)) {
            "metadata.labels"
        } else {
            return Ok(());
        };
        let place = format!("{} ({kind} {}): {field}", sources.join(", "), name.escape_debug());
        Err(ImportError::new(
            &place,
            "a control character",
            "no object of a cluster has such a name or label; was the file edited?",
        ))
    };
    let none = Labels::new();
    for pod in &snapshot.pods {
        check("Pod", &pod.namespace, &pod.name, &pod.labels)?;
        if pod.spec.unreadable.as_deref().is_some_and(|why| why.chars().any(char::is_control)) {
            let place = format!("{} (Pod {}): spec.unreadable", sources.join(", "), pod.id());
            return Err(ImportError::new(&place, "a control character", "was the file edited?"));
        }
    }
    for node in &snapshot.nodes {
        check("Node", "", &node.name, &node.labels)?;
    }
    for pool in &snapshot.node_pools {
        check("NodePool", "", &pool.name, &pool.labels)?;
    }
    for claim in &snapshot.node_claims {
        check("NodeClaim", "", &claim.name, &claim.labels)?;
    }
    for class in &snapshot.node_classes {
        check("EC2NodeClass", "", &class.name, &none)?;
    }
    for overlay in &snapshot.node_overlays {
        check("NodeOverlay", "", &overlay.name, &none)?;
        check("NodeOverlay", "", overlay.unreadable.as_deref().unwrap_or_default(), &none)?;
    }
    for set in &snapshot.daemon_sets {
        check("DaemonSet", &set.namespace, &set.name, &set.labels)?;
    }
    for budget in &snapshot.pod_disruption_budgets {
        check("PodDisruptionBudget", &budget.namespace, &budget.name, &none)?;
    }
    for notice in &snapshot.notices {
        check("notice", "", &notice.node, &none)?;
        check("notice", "", notice.deadline.as_deref().unwrap_or_default(), &none)?;
    }
    Ok(())
}
