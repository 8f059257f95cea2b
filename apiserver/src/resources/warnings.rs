//! Warnings that several kinds share: resources and node labels that are deprecated, addresses in forms that will not be accepted for ever.

use std::net::IpAddr;

use serde_json::Value;
use timonel_api::resources::ResourceInfo;
use timonel_api::{Path, names};

use super::ip::sloppy;
use super::value::{list, text};

/// What every request about a deprecated resource is told.
pub(crate) fn deprecated_resource(resource: &ResourceInfo) -> Option<&'static str> {
    match (resource.group, resource.plural) {
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        _ => None,
    }
}

/// What to use instead of a node label.
pub(crate) fn node_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => "deprecated since v1.22; use Taints and Tolerations instead",
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// Warns of deprecated labels in a `NodeSelectorTerm`.
pub(crate) fn node_selector_term(term: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        let (path, key) = (path.child("matchExpressions").index(index), text(expression, "key"));
        if let Some(words) = node_label(key) {
            warnings.push(format!("{}: {key} is {words}", path.child("key")));
        }
        for (index, value) in list(expression, "values").iter().filter_map(Value::as_str).enumerate() {
            for wrong in names::label_value(value) {
                warnings.push(format!(
                    "{}: {value} is invalid, {wrong}",
                    path.child("values").index(index)
                ));
            }
        }
    }
}

/// Warns of a name that cannot become a pod's host name as it is.
pub(crate) fn pod_name_prefix(object: &Value, warnings: &mut Vec<String>) {
    let wrong = names::label(text(&object["metadata"], "name"), false);
    if !wrong.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

/// An address as it should be written, and whether `text` is a form that will be refused one day.
fn standard(text: &str) -> Option<(IpAddr, bool)> {
    let address = sloppy(text)?;
    let mapped = match address {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    match mapped {
        Some(address) => Some((address.into(), true)),
        None => Some((address, text.parse::<IpAddr>().is_err())),
    }
}

/// Warns of an address in an unusual form. What is no address at all is validation's to say.
pub(crate) fn ip(value: &str, path: &Path) -> Option<String> {
    let (address, refused_one_day) = standard(value)?;
    if refused_one_day {
        return Some(format!(
            "{path}: non-standard IP address \"{value}\" will be considered invalid in a future Kubernetes release: use \"{address}\""
        ));
    }
    (address.is_ipv6() && address.to_string() != value)
        .then(|| format!("{path}: IPv6 address \"{value}\" should be in RFC 5952 canonical format (\"{address}\")"))
}

/// Warns of a range in an unusual form, or that names an address inside of itself.
pub(crate) fn cidr(value: &str, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some((address, bits)) = value.split_once('/') else {
        return warnings;
    };
    let (Some((address, refused_one_day)), Ok(bits)) = (standard(address), bits.parse::<u8>()) else {
        return warnings;
    };
    let Ok(net) = ipnet::IpNet::new(address, bits) else {
        return warnings;
    };
    let whole = net.trunc();
    if net.addr() != whole.addr() {
        warnings.push(format!(
            "{path}: CIDR value \"{value}\" is ambiguous in this context (should be \"{whole}\" or \"{address}/{}\"?)",
            net.max_prefix_len()
        ));
    }
    if refused_one_day {
        warnings.push(format!(
            "{path}: non-standard CIDR value \"{value}\" will be considered invalid in a future Kubernetes release: use \"{whole}\""
        ));
    } else if address.is_ipv6() && net.to_string() != value {
        warnings.push(format!(
            "{path}: IPv6 CIDR value \"{value}\" should be in RFC 5952 canonical format (\"{net}\")"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_odd_forms_are_warned_of() {
        let path = Path::new("ip");
        let warned = |text: &str| ip(text, &path).unwrap_or_default();
        assert_eq!(warned("10.0.0.1"), "");
        assert_eq!(warned("2001:db8::1"), "");
        assert_eq!(warned("nonsense"), "");
        let odd = |text: &str, better: &str| {
            format!(
                "ip: non-standard IP address {text:?} will be considered invalid in a future Kubernetes release: use {better:?}"
            )
        };
        assert_eq!(warned("010.0.00.1"), odd("010.0.00.1", "10.0.0.1"));
        assert_eq!(warned("::ffff:10.0.0.1"), odd("::ffff:10.0.0.1", "10.0.0.1"));
        assert_eq!(
            warned("2001:DB8:0::1"),
            "ip: IPv6 address \"2001:DB8:0::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")"
        );
    }

    #[test]
    fn ranges_that_name_an_address_are_ambiguous() {
        let path = Path::new("cidr");
        assert_eq!(cidr("10.0.0.0/8", &path), Vec::<String>::new());
        assert_eq!(
            cidr("10.1.2.3/8", &path),
            [
                "cidr: CIDR value \"10.1.2.3/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.2.3/32\"?)"
            ]
        );
    }
}
