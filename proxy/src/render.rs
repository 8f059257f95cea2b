//! Rules as text for `nft`.
//!
//! Two maps carry the load: `services` says for address, protocol and port out of how many endpoints to pick (a chain per
//! number, shared by all services that have as many), and `endpoints` says for address, protocol, port and the number that was drawn who
//! it is. A kernel looks both up in constant time, and one more endpoint is one more element.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

use crate::plan::{Backend, Front, NodeFront, Pick, RuleSet, Unserved};

/// The table that is ours alone.
pub(crate) const TABLE: &str = "timonel";

/// The mark of connections whose source is replaced on the way out (the bit that upstream uses for packets).
const MASQUERADE: &str = "0x4000";

/// Elements per statement: keeps lines at a length that `nft` parses quickly.
const CHUNK: usize = 500;

/// Renders a transaction that replaces whatever the table holds.
pub fn render_all(rules: &RuleSet) -> String {
    let mut out = String::new();
    // Created first, so that deleting it never fails.
    let _ = write!(
        out,
        "table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  map endpoints {{ type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; }}
  map node_endpoints {{ type inet_proto . inet_service . mark : ipv4_addr . inet_service; }}
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node_ports {{ type inet_proto . inet_service : verdict; }}
  map unserved {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map unserved_node_ports {{ type inet_proto . inet_service : verdict; }}
  set cluster_ips {{ type ipv4_addr; }}
  set hairpins {{ type ipv4_addr . ipv4_addr; }}
  set own_pods {{ type ipv4_addr; flags interval; }}
  set cluster {{ type ipv4_addr; flags interval; }}
  chain refuse {{ meta l4proto tcp reject with tcp reset; reject; }}
  chain find_endpoint {{
    ip daddr . meta l4proto . th dport vmap @services
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node_ports
  }}
  chain find_unserved {{
    ip daddr . meta l4proto . th dport vmap @unserved
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @unserved_node_ports
    ip daddr @cluster_ips goto refuse
  }}
  chain nat_prerouting {{ type nat hook prerouting priority dstnat; jump find_endpoint; }}
  chain nat_output {{ type nat hook output priority -100; jump find_endpoint; }}
  chain nat_postrouting {{
    type nat hook postrouting priority srcnat
    ct status dnat meta mark set 0
    ct mark & {MASQUERADE} == {MASQUERADE} masquerade fully-random
    ip saddr . ip daddr @hairpins ct status dnat masquerade fully-random
    ip saddr @own_pods ip daddr != @cluster masquerade fully-random
  }}
  chain filter_input {{ type filter hook input priority filter; ct state new jump find_unserved; }}
  chain filter_forward {{ type filter hook forward priority filter; ct state new jump find_unserved; }}
  chain filter_output {{ type filter hook output priority filter; ct state new jump find_unserved; }}
}}
"
    );
    changes(&mut out, &RuleSet::default(), rules);
    out
}

/// Renders a transaction that turns `old`, which is loaded, into `new`; empty where they are the same.
pub fn render_changes(old: &RuleSet, new: &RuleSet) -> String {
    let mut out = String::new();
    changes(&mut out, old, new);
    out
}

fn changes(out: &mut String, old: &RuleSet, new: &RuleSet) {
    let known = chains(old);
    for chain in chains(new).difference(&known) {
        let _ = writeln!(out, "add chain ip {TABLE} {}", chain.name());
        let _ = writeln!(out, "flush chain ip {TABLE} {}", chain.name());
        for rule in chain.rules() {
            let _ = writeln!(out, "add rule ip {TABLE} {} {rule}", chain.name());
        }
    }
    let go = |kind: Kind| move |pick: &Pick| format!("goto {}", Chain { kind, pick: *pick }.name());
    map(out, "services", &old.services, &new.services, front, go(Kind::Service));
    map(
        out,
        "endpoints",
        &old.endpoints,
        &new.endpoints,
        |(f, at)| format!("{} . {at}", front(f)),
        backend,
    );
    map(
        out,
        "node_ports",
        &old.node_ports,
        &new.node_ports,
        node_front,
        go(Kind::NodePort),
    );
    map(
        out,
        "node_endpoints",
        &old.node_endpoints,
        &new.node_endpoints,
        |(f, at)| format!("{} . {at}", node_front(f)),
        backend,
    );
    map(out, "unserved", &old.unserved, &new.unserved, front, unserved);
    map(
        out,
        "unserved_node_ports",
        &old.unserved_node_ports,
        &new.unserved_node_ports,
        node_front,
        unserved,
    );
    set(out, "cluster_ips", &old.cluster_ips, &new.cluster_ips, |ip| {
        ip.to_string()
    });
    set(out, "hairpins", &old.hairpins, &new.hairpins, |ip| {
        format!("{ip} . {ip}")
    });
    set(out, "own_pods", &old.own_pods, &new.own_pods, net);
    set(out, "cluster", &old.cluster, &new.cluster, net);
}

fn net(net: &ipnet::Ipv4Net) -> String {
    if net.prefix_len() == 32 {
        net.addr().to_string()
    } else {
        net.trunc().to_string()
    }
}

/// What a chain of picks looks its endpoint up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Service,
    NodePort,
}

/// A chain that picks one out of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chain {
    kind: Kind,
    pick: Pick,
}

impl Chain {
    fn name(&self) -> String {
        let kind = if self.kind == Kind::Service { "service" } else { "node" };
        let sticky = if self.pick.sticky { "_sticky" } else { "" };
        let masquerade = if self.pick.masquerade { "_masq" } else { "" };
        format!("{kind}_{}{sticky}{masquerade}", self.pick.among)
    }

    fn rules(&self) -> Vec<String> {
        let among = self.pick.among;
        let draw = if self.pick.sticky {
            format!("jhash ip saddr mod {among}")
        } else {
            format!("numgen random mod {among}")
        };
        let (key, map) = match self.kind {
            Kind::Service => ("ip daddr . meta l4proto . th dport", "endpoints"),
            Kind::NodePort => ("meta l4proto . th dport", "node_endpoints"),
        };
        let mark = self
            .pick
            .masquerade
            .then(|| format!("ct mark set ct mark or {MASQUERADE}"));
        // The number goes through the packet's mark: nft 1.0.6 cannot add to a map whose key has a drawn number in it.
        let draw = format!("meta mark set {draw}");
        mark.into_iter()
            .chain([draw, format!("dnat ip to {key} . meta mark map @{map}")])
            .collect()
    }
}

fn chains(rules: &RuleSet) -> BTreeSet<Chain> {
    let services = rules.services.values().map(|&pick| Chain {
        kind: Kind::Service,
        pick,
    });
    let nodes = rules.node_ports.values().map(|&pick| Chain {
        kind: Kind::NodePort,
        pick,
    });
    services.chain(nodes).collect()
}

fn front(front: &Front) -> String {
    format!("{} . {} . {}", front.ip, front.protocol.as_str(), front.port)
}

fn node_front(front: &NodeFront) -> String {
    format!("{} . {}", front.protocol.as_str(), front.port)
}

fn backend(backend: &Backend) -> String {
    format!("{} . {}", backend.ip, backend.port)
}

fn unserved(how: &Unserved) -> String {
    match how {
        Unserved::Reject => "goto refuse".to_owned(),
        Unserved::Drop => "drop".to_owned(),
    }
}

fn map<K: Ord, V: PartialEq>(
    out: &mut String,
    name: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    key: impl Fn(&K) -> String,
    value: impl Fn(&V) -> String,
) {
    let gone = old
        .iter()
        .filter(|&(k, v)| new.get(k) != Some(v))
        .map(|(k, v)| format!("{} : {}", key(k), value(v)));
    elements(out, "delete", name, gone);
    let come = new
        .iter()
        .filter(|&(k, v)| old.get(k) != Some(v))
        .map(|(k, v)| format!("{} : {}", key(k), value(v)));
    elements(out, "add", name, come);
}

fn set<K: Ord>(out: &mut String, name: &str, old: &BTreeSet<K>, new: &BTreeSet<K>, key: impl Fn(&K) -> String) {
    elements(out, "delete", name, old.difference(new).map(&key));
    elements(out, "add", name, new.difference(old).map(&key));
}

fn elements(out: &mut String, verb: &str, name: &str, all: impl Iterator<Item = impl Display>) {
    let all: Vec<String> = all.map(|element| element.to_string()).collect();
    for chunk in all.chunks(CHUNK) {
        let _ = writeln!(out, "{verb} element ip {TABLE} {name} {{ {} }}", chunk.join(", "));
    }
}
