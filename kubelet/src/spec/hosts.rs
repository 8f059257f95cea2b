//! The pod's `/etc/hosts`, and its host name.

use k8s_openapi::api::core::v1::Pod;

/// The longest host name that Linux takes.
const LONGEST: usize = 63;

/// The pod's host name, and its domain if it has one.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut host = spec.hostname.filter(|name| !name.is_empty()).unwrap_or(name);
    if host.len() > LONGEST {
        host.truncate(LONGEST);
        host = host.trim_end_matches(['-', '.']).to_owned();
    }
    let domain = spec
        .subdomain
        .filter(|sub| !sub.is_empty())
        .map(|sub| format!("{sub}.{namespace}.svc.{cluster_domain}"));
    (host, domain)
}

/// Prints `/etc/hosts` for a pod with a network of its own.
pub fn render(pod: &Pod, ips: &[String], host: &str, domain: Option<&str>) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        match domain {
            Some(domain) => text.push_str(&format!("{ip}\t{host}.{domain}\t{host}\n")),
            None => text.push_str(&format!("{ip}\t{host}\n")),
        }
    }
    text.push_str(&aliases(pod));
    text
}

/// Prints `/etc/hosts` for a pod on the node's network.
pub fn render_of_node(pod: &Pod, node: &str) -> String {
    format!(
        "# Kubernetes-managed hosts file (host network).\n{node}{}",
        aliases(pod)
    )
}

fn aliases(pod: &Pod) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let entries = spec.host_aliases.unwrap_or_default();
    if entries.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in entries {
        let names = alias.hostnames.unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}
