//! The Node authorizer: a kubelet may act on what is its own and read what its pods need
//! (<https://kubernetes.io/docs/reference/access-authn-authz/node/>).

use super::{Attributes, Decision, Rule, graph};
use crate::identity::UserInfo;
use crate::reader::ObjectReader;

/// The name of the node that a user is, if it is one.
pub(super) fn name_of(user: &UserInfo) -> Option<&str> {
    let name = user.username.strip_prefix("system:node:")?;
    user.is_in("system:nodes").then_some(name)
}

/// What every node may do and that needs no look at the graph.
pub(super) fn rules() -> Vec<Rule> {
    let table: [(&str, &[&str], &[&str]); 10] = [
        ("authentication.k8s.io", &["tokenreviews"], &["create"]),
        (
            "authorization.k8s.io",
            &["localsubjectaccessreviews", "subjectaccessreviews"],
            &["create"],
        ),
        ("", &["services"], &["get", "list", "watch"]),
        ("", &["endpoints"], &["get"]),
        ("", &["events"], &["create", "patch", "update"]),
        ("events.k8s.io", &["events"], &["create", "patch", "update"]),
        (
            "certificates.k8s.io",
            &["certificatesigningrequests"],
            &["create", "get", "list", "watch"],
        ),
        ("storage.k8s.io", &["csidrivers"], &["get", "list", "watch"]),
        ("node.k8s.io", &["runtimeclasses"], &["get", "list", "watch"]),
        (
            "certificates.k8s.io",
            &["clustertrustbundles"],
            &["get", "list", "watch"],
        ),
    ];
    let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
    table
        .into_iter()
        .map(|(group, resources, verbs)| Rule {
            verbs: owned(verbs),
            groups: owned(&[group]),
            resources: owned(resources),
            ..Rule::default()
        })
        .collect()
}

const NAMESPACE_OF_LEASES: &str = "kube-node-lease";

/// Decides for a node. A refusal is no opinion: RBAC may still allow.
pub(super) fn authorize(
    reader: &dyn ObjectReader,
    rules: &[Rule],
    node: &str,
    attributes: &Attributes<'_>,
) -> Decision {
    let verdict = match (attributes.api_group, attributes.resource) {
        _ if !attributes.resource_request => Err(String::new()),
        ("", "secrets") => read_object(attributes, node, graph::secret, reader),
        ("", "configmaps") => read_object(attributes, node, graph::config_map, reader),
        ("", "persistentvolumeclaims") if attributes.subresource == "status" => related_write(
            attributes,
            &["update", "patch"],
            || graph::claim(reader, node, attributes.namespace, attributes.name),
            node,
        ),
        ("", "persistentvolumeclaims") => get_object(attributes, node, || {
            graph::claim(reader, node, attributes.namespace, attributes.name)
        }),
        ("", "persistentvolumes") => get_object(attributes, node, || graph::volume(reader, node, attributes.name)),
        ("storage.k8s.io", "volumeattachments") => {
            get_object(attributes, node, || graph::attachment(reader, node, attributes.name))
        }
        ("resource.k8s.io", "resourceclaims") => get_object(attributes, node, || {
            graph::resource_claim(reader, node, attributes.namespace, attributes.name)
        }),
        ("resource.k8s.io", "resourceslices") => resource_slice(attributes, node),
        ("", "serviceaccounts") => service_account(attributes, node, reader),
        ("coordination.k8s.io", "leases") => lease(attributes, node),
        ("storage.k8s.io", "csinodes") => csi_node(attributes, node),
        ("", "nodes") => own_node(attributes, node),
        ("", "pods") => pods(attributes, node, reader),
        _ => Err(String::new()),
    };
    match verdict {
        Ok(()) => Decision::allow(""),
        Err(_) if rules.iter().any(|rule| rule.allows(attributes)) => Decision::allow(""),
        Err(reason) => Decision::no_opinion(reason),
    }
}

type Verdict = Result<(), String>;

fn no(reason: &str) -> Verdict {
    Err(reason.to_owned())
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn related(attributes: &Attributes<'_>, node: &str, found: impl FnOnce() -> bool) -> Verdict {
    if attributes.name.is_empty() {
        return no("No Object name found");
    }
    if found() { Ok(()) } else { Err(unrelated(node)) }
}

type Related = fn(&dyn ObjectReader, &str, &str, &str) -> bool;

/// Secrets and config maps: read by name (a list or watch selects one name).
fn read_object(attributes: &Attributes<'_>, node: &str, edge: Related, reader: &dyn ObjectReader) -> Verdict {
    if !["get", "list", "watch"].contains(&attributes.verb) {
        return no("can only read resources of this type");
    }
    if !attributes.subresource.is_empty() {
        return no("cannot read subresource");
    }
    if attributes.namespace.is_empty() {
        return no("can only read namespaced object of this type");
    }
    related(attributes, node, || {
        edge(reader, node, attributes.namespace, attributes.name)
    })
}

fn get_object(attributes: &Attributes<'_>, node: &str, found: impl FnOnce() -> bool) -> Verdict {
    if attributes.verb != "get" {
        return no("can only get individual resources of this type");
    }
    if !attributes.subresource.is_empty() {
        return no("cannot get subresource");
    }
    related(attributes, node, found)
}

fn related_write(attributes: &Attributes<'_>, verbs: &[&str], found: impl FnOnce() -> bool, node: &str) -> Verdict {
    if !verbs.contains(&attributes.verb) {
        return no("can only update resources of this type");
    }
    related(attributes, node, found)
}

fn service_account(attributes: &Attributes<'_>, node: &str, reader: &dyn ObjectReader) -> Verdict {
    let found = || graph::service_account(reader, node, attributes.namespace, attributes.name);
    if attributes.subresource != "token" {
        return get_object(attributes, node, found);
    }
    if attributes.verb != "create" {
        return no("can only create tokens for individual service accounts");
    }
    related(attributes, node, found)
}

fn lease(attributes: &Attributes<'_>, node: &str) -> Verdict {
    if !["get", "create", "update", "patch", "delete"].contains(&attributes.verb) {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if attributes.namespace != NAMESPACE_OF_LEASES {
        return Err(format!(
            "can only access leases in the {NAMESPACE_OF_LEASES:?} system namespace"
        ));
    }
    // A create's name is in the body; NodeRestriction looks at it there.
    if attributes.verb != "create" && attributes.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn csi_node(attributes: &Attributes<'_>, node: &str) -> Verdict {
    if !["get", "create", "update", "patch", "delete"].contains(&attributes.verb) {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !attributes.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if attributes.verb != "create" && attributes.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}

fn resource_slice(attributes: &Attributes<'_>, node: &str) -> Verdict {
    if !attributes.subresource.is_empty() {
        return no("cannot authorize ResourceSlice subresources");
    }
    match attributes.verb {
        // NodeRestriction limits a node to its own.
        "create" => Ok(()),
        "list" | "watch" | "deletecollection" if selects(attributes.field_selector, "spec.nodeName", node) => Ok(()),
        "list" | "watch" | "deletecollection" => {
            no("can only list/watch/deletecollection resourceslices with spec.nodeName field selector")
        }
        _ => Err(unrelated(node)),
    }
}

fn own_node(attributes: &Attributes<'_>, node: &str) -> Verdict {
    match (attributes.subresource, attributes.verb) {
        // NodeRestriction limits a node to its own Node object.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match attributes.name {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

fn pods(attributes: &Attributes<'_>, node: &str, reader: &dyn ObjectReader) -> Verdict {
    match (attributes.subresource, attributes.verb) {
        // NodeRestriction limits a node to mirror pods, and to pods bound to it.
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
        ("", "get") => related(attributes, node, || {
            graph::pod(reader, node, attributes.namespace, attributes.name)
        }),
        ("", "list" | "watch") if selects(attributes.field_selector, "spec.nodeName", node) => Ok(()),
        ("", "list" | "watch")
            if !attributes.name.is_empty() && graph::pod(reader, node, attributes.namespace, attributes.name) =>
        {
            Ok(())
        }
        ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
        _ => Err(String::new()),
    }
}

/// Says whether a field selector demands that `field` is `value`.
fn selects(selector: &str, field: &str, value: &str) -> bool {
    selector.split(',').any(|term| {
        term.split_once('=')
            .is_some_and(|(left, right)| left == field && right.strip_prefix('=').unwrap_or(right) == value)
    })
}
