//! Check of the configured nodes against the endpoints of the talosconfig. It sends no request: a run knows
//! more and reports it.

use std::net::IpAddr;

use cluster_client::talos::TalosAddresses;

/// Warns of endpoints that are not among `nodes`. Skips a single endpoint, which may be a load balancer, and
/// skips all if a node is given by name, which may have any address.
pub(super) fn lacking(nodes: &[String], places: &TalosAddresses) -> Vec<String> {
    let named: Option<Vec<IpAddr>> = nodes.iter().map(|node| node.parse().ok()).collect();
    let Some(named) = named.filter(|named| !named.is_empty() && places.addresses.len() > 1) else {
        return Vec::new();
    };
    let others = places.addresses.iter();
    let others = others.filter(|address| !address.is_loopback() && !named.contains(address));
    let warning = |address: &IpAddr| {
        format!(
            "{address} is an endpoint of the talosconfig and is not in talos.nodes: if it is a control \
             plane node and no shared address, add it, so that snapshots are taken of it too"
        )
    };
    others.map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(addresses: &[&str]) -> TalosAddresses {
        TalosAddresses {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ..TalosAddresses::default()
        }
    }

    #[test]
    fn an_endpoint_that_is_no_node_is_told_where_it_can_be_known() {
        let nodes = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let three = places(&["10.5.0.2", "10.5.0.3", "10.5.0.4"]);
        let told = lacking(&nodes(&["10.5.0.2", "10.5.0.4"]), &three);
        let [only] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert!(only.starts_with("10.5.0.3 is an endpoint"), "{only}");
        let none = Vec::<String>::new();
        assert_eq!(
            lacking(&nodes(&["10.5.0.2", "10.5.0.3", "10.5.0.4"]), &three),
            none
        );
        // The context's own nodes, a node name, and addresses that may be a load balancer or a tunnel.
        assert_eq!(lacking(&[], &three), none);
        assert_eq!(lacking(&nodes(&["10.5.0.2", "cp-2"]), &three), none);
        assert_eq!(lacking(&nodes(&["10.5.0.2"]), &places(&["10.5.0.1"])), none);
        assert_eq!(
            lacking(&nodes(&["10.5.0.2"]), &places(&["127.0.0.1", "10.5.0.2"])),
            none
        );
    }
}
