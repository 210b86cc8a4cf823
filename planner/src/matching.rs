//! May a pod go on a node? Exactly kube-scheduler's reading (`docs/formulation.md` section 1).

use stowage_models::objects::{NodeSelectorTerm, PodSpec, PodVolume, Taint, TaintEffect, Toleration};
use stowage_models::quantity::{PODS, Resources};

/// The effective request of a pod, `pods: 1` included (KEP-753 and pod-level resources).
pub(crate) fn effective_request(spec: &PodSpec) -> Resources {
    let mut running = Resources::default();
    let mut peak = Resources::default();
    for init in &spec.init_containers {
        if init.sidecar {
            running.add(&init.requests);
        } else {
            // While this init container runs, the sidecars started before it run too.
            let mut moment = running.clone();
            moment.add(&init.requests);
            peak.raise_to(&moment);
        }
    }
    for container in &spec.containers {
        running.add(&container.requests);
    }
    running.raise_to(&peak);
    for (name, amount) in &spec.pod_requests.0 {
        running.set(name, *amount);
    }
    running.add(&spec.overhead);
    running.set(PODS, 1);
    running
}

/// Whether one of `tolerations` tolerates `taint`.
pub(crate) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.is_none_or(|effect| effect == taint.effect);
        let exists = toleration.operator == "Exists";
        let key = toleration.key == taint.key || (toleration.key.is_empty() && exists);
        let value = exists || (toleration.operator == "Equal" && toleration.value == taint.value);
        effect && key && value
    })
}

/// Whether every taint that keeps pods away is tolerated.
pub(crate) fn tolerates_all(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    taints
        .iter()
        .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule)
        .all(|taint| tolerates(tolerations, taint))
}

/// Whether node selector and required node affinity accept a node, given its labels as a lookup and its name.
pub(crate) fn selects<'a>(
    spec: &PodSpec,
    label: &impl Fn(&str) -> Option<&'a str>,
    node_name: Option<&str>,
) -> bool {
    if !spec.node_selector.iter().all(|(key, value)| label(key) == Some(value)) {
        return false;
    }
    spec.affinity
        .node_required
        .as_ref()
        .is_none_or(|terms| terms.iter().any(|term| term_selects(term, label, node_name)))
}

/// Whether a term accepts a node; one without any requirement accepts none.
pub(crate) fn term_selects<'a>(
    term: &NodeSelectorTerm,
    label: &impl Fn(&str) -> Option<&'a str>,
    node_name: Option<&str>,
) -> bool {
    let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
    !empty
        && term.match_expressions.iter().all(|requirement| requirement.accepts(label(&requirement.key)))
        && term
            .match_fields
            .iter()
            .all(|requirement| requirement.key == "metadata.name" && requirement.accepts(node_name))
}

/// Whether every list of alternatives has one that accepts a node.
pub(crate) fn selects_any<'a>(
    lists: &[&[NodeSelectorTerm]],
    label: &impl Fn(&str) -> Option<&'a str>,
    node_name: Option<&str>,
) -> bool {
    lists.iter().all(|terms| terms.iter().any(|term| term_selects(term, label, node_name)))
}

/// The first constraint of `spec` that cannot be read, or that this version does not plan for, in the words of the API.
pub(crate) fn unsupported(spec: &PodSpec) -> Option<String> {
    let volume = || {
        spec.volumes.iter().find_map(|volume| match volume {
            PodVolume::Other(kind) => Some(format!("spec.volumes: {kind}")),
            _ => None,
        })
    };
    spec.unreadable.clone().or_else(volume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::objects::Container;

    fn container(cpu: i64, sidecar: bool) -> Container {
        Container { requests: Resources::from([("cpu", cpu)]), sidecar, host_ports: Vec::new() }
    }

    #[test]
    fn init_containers_count_with_the_sidecars_before_them() {
        let spec = PodSpec {
            init_containers: vec![container(100, true), container(500, false), container(50, true)],
            containers: vec![container(200, false)],
            overhead: Resources::from([("cpu", 10)]),
            ..PodSpec::default()
        };
        // Running: 100 + 50 + 200 = 350; while the init container runs: 100 + 500 = 600. Then overhead.
        assert_eq!(effective_request(&spec).get("cpu"), 610);
    }

    #[test]
    fn pod_level_requests_replace_the_sum() {
        let spec = PodSpec {
            containers: vec![container(200, false)],
            pod_requests: Resources::from([("cpu", 1000)]),
            ..PodSpec::default()
        };
        assert_eq!(effective_request(&spec).get("cpu"), 1000);
        assert_eq!(effective_request(&spec).get("pods"), 1);
    }
}
