//! A pod's name resolution by its `dnsPolicy`.

use k8s_openapi::api::core::v1::Pod;

use super::NodeSettings;
use crate::runtime::DnsConfig;

/// Reads a `resolv.conf`.
pub fn parse(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            // The last line wins.
            Some("search" | "domain") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => dns.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    dns
}

/// Prints a `resolv.conf`.
pub fn render(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

/// Decides what goes into the pod's `resolv.conf`.
pub fn dns(pod: &Pod, settings: &NodeSettings) -> DnsConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let cluster = match spec.dns_policy.as_deref() {
        Some("ClusterFirstWithHostNet") => true,
        Some("Default" | "None") => false,
        _ => !host_network,
    };
    let none = spec.dns_policy.as_deref() == Some("None");
    let mut dns = if none {
        DnsConfig::default()
    } else if cluster && !settings.cluster_dns.is_empty() {
        let domain = &settings.cluster_domain;
        let mut searches = vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ];
        for search in &settings.host_dns.searches {
            if !searches.contains(search) {
                searches.push(search.clone());
            }
        }
        DnsConfig {
            servers: settings.cluster_dns.clone(),
            searches,
            options: vec!["ndots:5".to_owned()],
        }
    } else {
        settings.host_dns.clone()
    };
    if let Some(own) = &spec.dns_config {
        for (list, extra) in [(&mut dns.servers, &own.nameservers), (&mut dns.searches, &own.searches)] {
            for value in extra.iter().flatten() {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            let text = option
                .value
                .as_ref()
                .map_or_else(|| name.clone(), |value| format!("{name}:{value}"));
            dns.options.retain(|known| known.split(':').next() != Some(name));
            dns.options.push(text);
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_first_searches_the_namespace_then_the_cluster() {
        let settings = NodeSettings {
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            ..NodeSettings::default()
        };
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("demo".into());
        assert_eq!(
            render(&dns(&pod, &settings)),
            "search demo.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
    }
}
