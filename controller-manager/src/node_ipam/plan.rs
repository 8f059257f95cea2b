//! Decides which network each node gets: the lowest that is free.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use timonel_client::runner::Plan;

/// The cluster's network, how large a node's part is, and all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) cluster: IpNet,
    pub(crate) mask: u8,
    pub(crate) nodes: Vec<Arc<Node>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Assign { node: Arc<Node>, network: IpNet },
    Exhausted { node: Arc<Node> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    HasNone,
    NoneLeft,
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let network = |node: &Node| node.spec.as_ref()?.pod_cidr.as_ref()?.parse::<IpNet>().ok();
    let mut taken: BTreeSet<IpNet> = observed.nodes.iter().filter_map(|node| network(node)).collect();
    for node in &observed.nodes {
        if network(node).is_some() || node.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let free = observed.cluster.subnets(observed.mask).ok().and_then(|mut subnets| {
            subnets.find(|subnet| {
                !taken
                    .iter()
                    .any(|other| other.contains(subnet) || subnet.contains(other))
            })
        });
        let node = Arc::clone(node);
        match free {
            Some(network) => {
                taken.insert(network);
                plan.act(Action::Assign { node, network }, Because::HasNone);
            }
            None => {
                plan.act(Action::Exhausted { node }, Because::NoneLeft);
                plan.look_again(Duration::from_secs(60));
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, cidr: Option<&str>) -> Arc<Node> {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        node.spec.get_or_insert_default().pod_cidr = cidr.map(str::to_owned);
        Arc::new(node)
    }

    #[test]
    fn every_node_gets_the_lowest_free_network() {
        let mut observed = Observed {
            cluster: "10.244.0.0/16".parse().unwrap(),
            mask: 24,
            nodes: vec![node("a", None), node("b", Some("10.244.0.0/24")), node("c", None)],
        };
        let apply = |seen: &mut Observed, action: &Action| {
            let Action::Assign { node: chosen, network } = action else {
                panic!("exhausted")
            };
            for node in &mut seen.nodes {
                if node.metadata.name == chosen.metadata.name {
                    Arc::make_mut(node).spec.get_or_insert_default().pod_cidr = Some(network.to_string());
                }
            }
        };
        timonel_client::law::settles(&mut observed, |seen| plan(seen).actions, apply).unwrap();
        let given: Vec<_> = observed
            .nodes
            .iter()
            .map(|node| node.spec.clone().unwrap().pod_cidr.unwrap())
            .collect();
        assert_eq!(given, ["10.244.1.0/24", "10.244.0.0/24", "10.244.2.0/24"]);
    }
}
