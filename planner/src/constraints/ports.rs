//! Host ports: a node has each of them once.

use stowage_models::objects::PodSpec;

/// A host port as (protocol, address, port).
pub(crate) type Port<'a> = (&'a str, &'a str, &'a str);

/// Stands for every address of the node.
const EVERY: &str = "0.0.0.0";

/// Host ports of a pod while it runs, sorted; those of init containers that end do not count.
pub(crate) fn host_ports(spec: &PodSpec) -> Vec<Port<'_>> {
    let sidecars = spec.init_containers.iter().filter(|container| container.sidecar);
    let mut ports: Vec<Port<'_>> = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.host_ports)
        .filter_map(|text| {
            let (protocol, rest) = text.split_once('/')?;
            let (address, port) = rest.rsplit_once('/')?;
            Some((protocol, address, port))
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Whether pods with these ports cannot share a node.
pub(crate) fn clash(a: &[Port<'_>], b: &[Port<'_>]) -> bool {
    a.iter().any(|(protocol, address, port)| {
        b.iter().any(|(other, at, number)| {
            (protocol, port) == (other, number) && (address == at || *address == EVERY || *at == EVERY)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_clash_by_protocol_and_address() {
        let every = [("TCP", "0.0.0.0", "80")];
        let one = [("TCP", "10.0.0.1", "80")];
        assert!(clash(&every, &one) && clash(&one, &one));
        assert!(!clash(&one, &[("TCP", "10.0.0.2", "80")]));
        assert!(!clash(&every, &[("UDP", "0.0.0.0", "80")]));
    }
}
