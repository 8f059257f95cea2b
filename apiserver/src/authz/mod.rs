//! Who may do what: `system:masters`, then the Node authorizer, then RBAC. The first that allows decides; nothing else denies.
//!
//! ```text
//! Attributes --> system:masters? --> node.rs (the graph of what a node's pods refer to) --> rbac.rs (roles and bindings) --> Decision
//!                                        \______________ ObjectReader (watch caches) ______________/
//! ```
//!
//! Decisions are synchronous and read only caches. Roles and bindings are compiled once per stored version: an entry is reused for as
//! long as the cache hands out the very same `Arc`.

mod escalation;
mod graph;
mod node;
mod rbac;
mod reviews;
mod rules;

use std::sync::Arc;

pub use reviews::review;
pub(crate) use rules::Rule;

use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::reader::ObjectReader;

/// What is asked for, as upstream's `authorizer.Attributes`. Fields that do not apply are empty.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, `create`, ... for resources; the lower-case HTTP method for paths.
    pub verb: &'a str,
    /// Empty for cluster-scoped resources and for requests across all namespaces.
    pub namespace: &'a str,
    /// Empty for the core group.
    pub api_group: &'a str,
    /// `v1`
    pub api_version: &'a str,
    /// `pods`
    pub resource: &'a str,
    /// `log`
    pub subresource: &'a str,
    /// The object; for lists and watches the name that a `metadata.name=` field selector asks for.
    pub name: &'a str,
    /// The field selector of a list, watch or deletecollection, as it came; the Node authorizer wants `spec.nodeName=NODE` on pods.
    pub field_selector: &'a str,
    /// The URL's path.
    pub path: &'a str,
    /// Whether this is about a resource or about a bare path.
    pub resource_request: bool,
}

impl<'a> Attributes<'a> {
    /// A question about a resource; the remaining fields are empty.
    pub fn resource(user: &'a UserInfo, verb: &'a str, api_group: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            namespace: "",
            api_group,
            api_version: "",
            resource,
            subresource: "",
            name: "",
            field_selector: "",
            path: "",
            resource_request: true,
        }
    }

    /// What a request asks for.
    pub fn of(info: &'a crate::http::RequestInfo, user: &'a UserInfo) -> Self {
        Self {
            user,
            verb: info.verb,
            namespace: &info.namespace,
            api_group: &info.group,
            api_version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            name: &info.name,
            field_selector: info.query.get("fieldSelector"),
            path: &info.path,
            resource_request: info.is_resource,
        }
    }

    /// A question about a path that is no resource.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self {
            path,
            resource_request: false,
            ..Self::resource(user, verb, "", "")
        }
    }

    /// Narrows the question to a namespace.
    #[must_use]
    pub fn within(self, namespace: &'a str) -> Self {
        Self { namespace, ..self }
    }

    /// Narrows the question to an object.
    #[must_use]
    pub fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    /// Asks about a subresource.
    #[must_use]
    pub fn with_subresource(self, subresource: &'a str) -> Self {
        Self { subresource, ..self }
    }

    /// Upstream's sentence for a request that is not allowed.
    pub fn denial(&self) -> String {
        let user = &self.user.username;
        if !self.resource_request {
            return format!("User {user:?} cannot {} path {:?}", self.verb, self.path);
        }
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let scope = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "User {user:?} cannot {} resource {resource:?} in API group {:?} {scope}",
            self.verb, self.api_group
        )
    }

    fn group_resource(&self) -> String {
        match self.api_group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why; often empty where it may not.
    pub reason: String,
}

impl Decision {
    fn allow(reason: impl Into<String>) -> Self {
        Self {
            allowed: true,
            reason: reason.into(),
        }
    }

    fn no_opinion(reason: impl Into<String>) -> Self {
        Self {
            allowed: false,
            reason: reason.into(),
        }
    }
}

/// Decides.
pub struct Authorizer {
    reader: Arc<dyn ObjectReader>,
    rbac: rbac::Rbac,
    node_rules: Vec<Rule>,
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").finish_non_exhaustive()
    }
}

/// Paths that everybody may get, as upstream's `--authorization-always-allow-paths`.
const ALWAYS_ALLOWED: [&str; 3] = ["/healthz", "/readyz", "/livez"];

impl Authorizer {
    /// Makes an authorizer over the watch caches.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self {
            rbac: rbac::Rbac::new(Arc::clone(&reader)),
            reader,
            node_rules: node::rules(),
        }
    }

    /// Decides whether a request may be carried out. Until the caches are filled only `system:masters` may do anything.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in("system:masters") {
            return Decision::allow("");
        }
        if !attributes.resource_request && ALWAYS_ALLOWED.contains(&attributes.path) {
            return Decision::allow("");
        }
        if !self.reader.ready() {
            return Decision::no_opinion("the server's caches are not filled yet");
        }
        let mut reasons = Vec::new();
        if let Some(node) = node::name_of(attributes.user) {
            let decision = node::authorize(self.reader.as_ref(), &self.node_rules, node, attributes);
            if decision.allowed {
                return decision;
            }
            reasons.push(decision.reason);
        }
        let decision = self.rbac.authorize(attributes);
        if decision.allowed {
            return decision;
        }
        reasons.push(decision.reason);
        reasons.retain(|reason| !reason.is_empty());
        Decision::no_opinion(reasons.join("\n"))
    }

    /// Decides, and turns a refusal into the error that answers the request.
    pub fn require(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        let decision = self.authorize(attributes);
        if decision.allowed {
            return Ok(());
        }
        Err(Self::forbidden(attributes, &decision))
    }

    /// The error that answers a request that was not allowed, in upstream's words.
    pub fn forbidden(attributes: &Attributes<'_>, decision: &Decision) -> ApiError {
        let mut message = attributes.denial();
        if !decision.reason.is_empty() {
            message.push_str(": ");
            message.push_str(&decision.reason);
        }
        let resource = if attributes.resource_request {
            attributes.group_resource()
        } else {
            String::new()
        };
        ApiError::forbidden(resource, attributes.name, message)
    }
}

/// The name of the node that a user is, if it is one: `system:node:NAME` in the group `system:nodes`.
pub fn node_name(user: &UserInfo) -> Option<&str> {
    node::name_of(user)
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
