//! Services, endpoints and ingresses.

use serde_json::Value;

use super::Related;
use super::page::Page;
use super::values::{format_labels, joined, list, number, or_none, or_unset, some, text};

/// So many endpoints are named, the rest is counted.
const NAMED_ENDPOINTS: usize = 3;

fn header(page: &mut Page, object: &Value) {
    page.field(0, "Name", text(object, "/metadata/name"));
    page.field(0, "Namespace", text(object, "/metadata/namespace"));
    page.labels("", "Labels", &object["metadata"]["labels"]);
    page.annotations("", &object["metadata"]["annotations"]);
}

pub(super) fn service(page: &mut Page, service: &Value, related: &Related) {
    header(page, service);
    page.field(0, "Selector", format_labels(&service["spec"]["selector"]));
    page.field(0, "Type", text(service, "/spec/type"));
    if let Some(policy) = some(service, "/spec/ipFamilyPolicy") {
        page.field(0, "IP Family Policy", policy);
    }
    page.field(
        0,
        "IP Families",
        or_none(&joined(list(service, "/spec/ipFamilies"), ",")),
    );
    page.field(0, "IP", text(service, "/spec/clusterIP"));
    page.field(0, "IPs", or_none(&joined(list(service, "/spec/clusterIPs"), ",")));
    let filled = |page: &mut Page, title: &str, value: &str| {
        if !value.is_empty() {
            page.field(0, title, value);
        }
    };
    filled(page, "External IPs", &joined(list(service, "/spec/externalIPs"), ","));
    filled(page, "Desired LoadBalancer IP", text(service, "/spec/loadBalancerIP"));
    filled(page, "External Name", text(service, "/spec/externalName"));
    filled(page, "LoadBalancer Ingress", &load_balancer(service));
    for port in list(service, "/spec/ports") {
        let (own, protocol) = (text(port, "/name"), text(port, "/protocol"));
        let name = if own.is_empty() { "<unset>" } else { own };
        page.field(0, "Port", format_args!("{name}\t{}/{protocol}", number(port, "/port")));
        let target = some(port, "/targetPort").unwrap_or_else(|| "0".to_owned());
        page.field(0, "TargetPort", format_args!("{target}/{protocol}"));
        if let Some(protocol) = some(port, "/appProtocol") {
            page.field(0, "AppProtocol", protocol);
        }
        if number(port, "/nodePort") != 0 {
            page.field(
                0,
                "NodePort",
                format_args!("{name}\t{}/{protocol}", number(port, "/nodePort")),
            );
        }
        page.field(0, "Endpoints", addresses(&related.slices, own));
    }
    page.field(0, "Session Affinity", text(service, "/spec/sessionAffinity"));
    filled(
        page,
        "External Traffic Policy",
        text(service, "/spec/externalTrafficPolicy"),
    );
    filled(
        page,
        "Internal Traffic Policy",
        text(service, "/spec/internalTrafficPolicy"),
    );
    if number(service, "/spec/healthCheckNodePort") != 0 {
        page.field(0, "HealthCheck NodePort", number(service, "/spec/healthCheckNodePort"));
    }
    let ranges = joined(list(service, "/spec/loadBalancerSourceRanges"), ",");
    filled(page, "LoadBalancer Source Ranges", &ranges);
    filled(page, "Traffic Distribution", text(service, "/spec/trafficDistribution"));
}

fn load_balancer(service: &Value) -> String {
    let places: Vec<String> = list(service, "/status/loadBalancer/ingress")
        .iter()
        .map(|place| match (text(place, "/ip"), some(place, "/ipMode")) {
            ("", _) => text(place, "/hostname").to_owned(),
            (ip, Some(mode)) => format!("{ip} ({mode})"),
            (ip, None) => ip.to_owned(),
        })
        .collect();
    places.join(", ")
}

/// The ready endpoints of a port: `10.0.0.1:80,10.0.0.2:80`.
fn addresses(slices: &[Value], port_name: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut found = Vec::new();
    for slice in slices {
        let ready = || {
            list(slice, "/endpoints")
                .iter()
                .filter(|endpoint| endpoint["conditions"]["ready"] != false)
                .map(|endpoint| text(endpoint, "/addresses/0"))
        };
        let ports = list(slice, "/ports");
        if ports.is_empty() {
            found.extend(ready().map(str::to_owned));
        }
        for port in ports.iter().filter(|port| text(port, "/name") == port_name) {
            let number = number(port, "/port");
            found.extend(ready().map(|address| {
                if address.contains(':') {
                    format!("[{address}]:{number}")
                } else {
                    format!("{address}:{number}")
                }
            }));
        }
    }
    let more = found.len().saturating_sub(NAMED_ENDPOINTS);
    found.truncate(NAMED_ENDPOINTS);
    let named = found.join(",");
    if more > 0 {
        format!("{named} + {more} more...")
    } else {
        named
    }
}

pub(super) fn endpoints(page: &mut Page, object: &Value) {
    header(page, object);
    page.line(0, "Subsets:");
    for subset in list(object, "/subsets") {
        for (title, field) in [("Addresses", "/addresses"), ("NotReadyAddresses", "/notReadyAddresses")] {
            let ips: Vec<&str> = list(subset, field).iter().map(|address| text(address, "/ip")).collect();
            page.field(1, title, or_none(&ips.join(",")));
        }
        let ports = list(subset, "/ports");
        if !ports.is_empty() {
            page.line(1, "Ports:");
            page.line(2, "Name\tPort\tProtocol");
            page.line(2, "----\t----\t--------");
            for port in ports {
                let name = text(port, "/name");
                page.line(
                    2,
                    format_args!(
                        "{}\t{}\t{}",
                        if name.is_empty() { "<unset>" } else { name },
                        number(port, "/port"),
                        text(port, "/protocol")
                    ),
                );
            }
        }
        page.line(0, "");
    }
}

pub(super) fn endpoint_slice(page: &mut Page, slice: &Value) {
    header(page, slice);
    page.field(0, "AddressType", text(slice, "/addressType"));
    let ports = list(slice, "/ports");
    if ports.is_empty() {
        page.line(0, "Ports: <unset>");
    } else {
        page.line(0, "Ports:");
        page.line(1, "Name\tPort\tProtocol");
        page.line(1, "----\t----\t--------");
        for port in ports {
            let name = some(port, "/name").filter(|name| !name.is_empty());
            page.line(
                1,
                format_args!(
                    "{}\t{}\t{}",
                    name.as_deref().unwrap_or("<unset>"),
                    or_unset(port, "/port"),
                    text(port, "/protocol")
                ),
            );
        }
    }
    let endpoints = list(slice, "/endpoints");
    page.line(
        0,
        if endpoints.is_empty() {
            "Endpoints: <none>"
        } else {
            "Endpoints:"
        },
    );
    for endpoint in endpoints {
        let addresses = joined(list(endpoint, "/addresses"), ", ");
        page.line(1, format_args!("- Addresses:\t{}", or_none(&addresses)));
        page.line(2, "Conditions:");
        page.field(3, "Ready", or_unset(endpoint, "/conditions/ready"));
        page.field(2, "Hostname", or_unset(endpoint, "/hostname"));
        if endpoint["targetRef"].is_object() {
            page.field(
                2,
                "TargetRef",
                format_args!(
                    "{}/{}",
                    text(endpoint, "/targetRef/kind"),
                    text(endpoint, "/targetRef/name")
                ),
            );
        }
        page.field(2, "NodeName", or_unset(endpoint, "/nodeName"));
        page.field(2, "Zone", or_unset(endpoint, "/zone"));
    }
}

pub(super) fn ingress(page: &mut Page, ingress: &Value, related: &Related) {
    page.field(0, "Name", text(ingress, "/metadata/name"));
    page.labels("", "Labels", &ingress["metadata"]["labels"]);
    page.field(0, "Namespace", text(ingress, "/metadata/namespace"));
    let mut addresses: Vec<&str> = list(ingress, "/status/loadBalancer/ingress")
        .iter()
        .map(|place| match text(place, "/ip") {
            "" => text(place, "/hostname"),
            ip => ip,
        })
        .collect();
    addresses.sort_unstable();
    page.field(0, "Address", addresses.join(","));
    let class = some(ingress, "/spec/ingressClassName");
    page.field(0, "Ingress Class", class.as_deref().unwrap_or("<none>"));
    let default = match ingress["spec"].get("defaultBackend") {
        Some(default) => backend(default, related),
        None => "<default>".to_owned(),
    };
    page.field(0, "Default backend", &default);
    let tls = list(ingress, "/spec/tls");
    if !tls.is_empty() {
        page.line(0, "TLS:");
        for entry in tls {
            let hosts = joined(list(entry, "/hosts"), ",");
            match text(entry, "/secretName") {
                "" => page.line(1, format_args!("SNI routes {hosts}")),
                secret => page.line(1, format_args!("{secret} terminates {hosts}")),
            }
        }
    }
    page.line(0, "Rules:");
    page.line(1, "Host\tPath\tBackends");
    page.line(1, "----\t----\t--------");
    let mut any = false;
    for rule in list(ingress, "/spec/rules")
        .iter()
        .filter(|rule| rule["http"].is_object())
    {
        any = true;
        let host = text(rule, "/host");
        page.line(1, format_args!("{}\t", if host.is_empty() { "*" } else { host }));
        for path in list(rule, "/http/paths") {
            let backend = backend(&path["backend"], related);
            page.line(2, format_args!("\t{} \t{backend}", text(path, "/path")));
        }
    }
    if !any {
        page.line(1, format_args!("*\t*\t{default}"));
    }
    page.annotations("", &ingress["metadata"]["annotations"]);
}

/// `web:80 (10.0.0.1:8080)`
fn backend(backend: &Value, related: &Related) -> String {
    if let Some(resource) = backend.get("resource") {
        let group = some(resource, "/apiGroup");
        return format!(
            "APIGroup: {}, Kind: {}, Name: {}",
            group.as_deref().unwrap_or("<none>"),
            text(resource, "/kind"),
            text(resource, "/name")
        );
    }
    let name = text(backend, "/service/name");
    let (number_wanted, name_wanted) = (
        number(backend, "/service/port/number"),
        text(backend, "/service/port/name"),
    );
    let port = if number_wanted != 0 {
        number_wanted.to_string()
    } else {
        name_wanted.to_owned()
    };
    let Some(service) = related
        .services
        .iter()
        .find(|service| text(service, "/metadata/name") == name)
    else {
        return format!("{name}:{port} (<error: services {name:?} not found>)");
    };
    let own = list(service, "/spec/ports").iter().find(|port| {
        (number_wanted != 0 && number(port, "/port") == number_wanted)
            || (!name_wanted.is_empty() && text(port, "/name") == name_wanted)
    });
    let slices: Vec<Value> = related
        .slices
        .iter()
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name)
        .cloned()
        .collect();
    format!(
        "{name}:{port} ({})",
        addresses(&slices, own.map_or("", |port| text(port, "/name")))
    )
}

pub(super) fn ingress_class(page: &mut Page, class: &Value) {
    page.field(0, "Name", text(class, "/metadata/name"));
    page.labels("", "Labels", &class["metadata"]["labels"]);
    page.annotations("", &class["metadata"]["annotations"]);
    page.field(0, "Controller", text(class, "/spec/controller"));
    let parameters = &class["spec"]["parameters"];
    if parameters.is_object() {
        page.line(0, "Parameters:");
        if let Some(group) = some(parameters, "/apiGroup") {
            page.field(1, "APIGroup", group);
        }
        page.field(1, "Kind", text(parameters, "/kind"));
        page.field(1, "Name", text(parameters, "/name"));
    }
}
