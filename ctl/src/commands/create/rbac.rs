//! Generators of roles and their bindings.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, Made};
use crate::error::Failure;
use crate::resolve;
use crate::session::Session;

const GROUP: &str = "rbac.authorization.k8s.io";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
/// Verbs that some resource knows.
const VERBS: [&str; 14] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "use",
    "bind",
    "approve",
    "sign",
    "escalate",
    "impersonate",
];

/// What a role permits.
#[derive(Clone, Debug, Args)]
struct Permission {
    /// Verb; may be repeated
    #[arg(long, value_delimiter = ',')]
    verb: Vec<String>,
    /// RESOURCE, RESOURCE.GROUP or RESOURCE/SUBRESOURCE; may be repeated
    #[arg(long, value_delimiter = ',')]
    resource: Vec<String>,
    /// Only the objects of this name; may be repeated
    #[arg(long)]
    resource_name: Vec<String>,
}

/// `create role`
#[derive(Clone, Debug, Args)]
pub(crate) struct Role {
    name: String,
    #[command(flatten)]
    permission: Permission,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `create clusterrole`
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterRole {
    name: String,
    #[command(flatten)]
    permission: Permission,
    /// Path that is no resource's, for example /healthz; may be repeated
    #[arg(long = "non-resource-url", value_delimiter = ',')]
    non_resource_url: Vec<String>,
    /// Labels of the cluster roles to gather the rules of
    #[arg(long, value_delimiter = ',')]
    aggregation_rule: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Permission {
    fn verbs(&self) -> Vec<String> {
        if self.verb.iter().any(|verb| verb == "*") {
            return vec!["*".to_owned()];
        }
        let mut verbs: Vec<String> = Vec::new();
        for verb in &self.verb {
            if !verbs.contains(verb) {
                verbs.push(verb.clone());
            }
        }
        verbs
    }

    /// A rule for each API group, in the groups' order.
    async fn rules(&self, session: &Session) -> Result<Vec<Value>, Failure> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for word in &self.resource {
            let (name, subresource) = word
                .split_once('/')
                .map_or((word.as_str(), None), |(a, b)| (a, Some(b)));
            let (group, mut plural) = if name == "*" {
                (String::new(), "*".to_owned())
            } else {
                let found = resolve::one(session, name).await?;
                (found.group, found.plural)
            };
            if let Some(subresource) = subresource {
                plural = format!("{plural}/{subresource}");
            }
            let resources = groups.entry(group).or_default();
            if !resources.contains(&plural) {
                resources.push(plural);
            }
        }
        let verbs = self.verbs();
        for verb in verbs
            .iter()
            .filter(|v| v.as_str() != "*" && !VERBS.contains(&v.as_str()))
        {
            eprintln!("Warning: '{verb}' is not a standard resource verb");
        }
        Ok(groups
            .into_iter()
            .map(|(group, resources)| {
                let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
                if !self.resource_name.is_empty() {
                    rule["resourceNames"] = json!(self.resource_name);
                }
                rule
            })
            .collect())
    }
}

impl Role {
    pub(super) async fn make(&self, session: &Session) -> Result<Made, Failure> {
        if self.permission.verb.is_empty() {
            return Err(Failure::usage("at least one verb must be specified"));
        }
        if self.permission.resource.is_empty() {
            return Err(Failure::usage("at least one resource must be specified"));
        }
        let rules = self.permission.rules(session).await?;
        Ok(Made::plain(
            json!({"apiVersion": API_VERSION, "kind": "Role", "metadata": {"name": self.name}, "rules": rules}),
        ))
    }
}

impl ClusterRole {
    pub(super) async fn make(&self, session: &Session) -> Result<Made, Failure> {
        let mut object =
            json!({"apiVersion": API_VERSION, "kind": "ClusterRole", "metadata": {"name": self.name}, "rules": null});
        if !self.aggregation_rule.is_empty() {
            if !self.permission.verb.is_empty()
                || !self.non_resource_url.is_empty()
                || !self.permission.resource.is_empty()
            {
                return Err(Failure::usage(
                    "aggregation rule must be specified without verbs, non-resource-urls or resources",
                ));
            }
            let mut labels = serde_json::Map::new();
            for pair in &self.aggregation_rule {
                let Some((key, value)) = pair.split_once('=') else {
                    return Err(Failure::usage(format!(
                        "invalid aggregation rule {pair:?}, expected key=value"
                    )));
                };
                labels.insert(key.to_owned(), json!(value));
            }
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            return Ok(Made::plain(object));
        }
        if self.permission.verb.is_empty() {
            return Err(Failure::usage("at least one verb must be specified"));
        }
        if self.permission.resource.is_empty() && self.non_resource_url.is_empty() {
            return Err(Failure::usage("one of resource or nonResourceURL must be specified"));
        }
        let mut rules = self.permission.rules(session).await?;
        if !self.non_resource_url.is_empty() {
            rules.push(json!({"nonResourceURLs": self.non_resource_url, "verbs": self.permission.verbs()}));
        }
        object["rules"] = json!(rules);
        Ok(Made::plain(object))
    }
}

/// Whom a binding is for.
#[derive(Clone, Debug, Args)]
struct Subjects {
    /// User; may be repeated
    #[arg(long = "user", id = "subject_user")]
    users: Vec<String>,
    /// Group; may be repeated
    #[arg(long = "group")]
    groups: Vec<String>,
    /// Service account as NAMESPACE:NAME; may be repeated
    #[arg(long = "serviceaccount")]
    service_accounts: Vec<String>,
}

impl Subjects {
    fn read(&self) -> Result<Vec<Value>, Failure> {
        let mut subjects = Vec::new();
        for (kind, names) in [("User", &self.users), ("Group", &self.groups)] {
            subjects.extend(
                names
                    .iter()
                    .map(|name| json!({"apiGroup": GROUP, "kind": kind, "name": name})),
            );
        }
        for text in &self.service_accounts {
            let Some((namespace, name)) = text.split_once(':').filter(|(a, b)| !a.is_empty() && !b.is_empty()) else {
                return Err(Failure::usage("serviceaccount must be <namespace>:<name>"));
            };
            subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
        }
        Ok(subjects)
    }
}

/// `create rolebinding`
#[derive(Clone, Debug, Args)]
pub(crate) struct RoleBinding {
    name: String,
    /// The role
    #[arg(long, required_unless_present = "clusterrole", conflicts_with = "clusterrole")]
    role: Option<String>,
    /// The cluster role
    #[arg(long)]
    clusterrole: Option<String>,
    #[command(flatten)]
    subjects: Subjects,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `create clusterrolebinding`
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterRoleBinding {
    name: String,
    /// The cluster role
    #[arg(long)]
    clusterrole: String,
    #[command(flatten)]
    subjects: Subjects,
    #[command(flatten)]
    pub(super) common: Common,
}

fn binding(kind: &str, name: &str, role_kind: &str, role: &str, subjects: &[Value]) -> Value {
    let mut object = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role}});
    if !subjects.is_empty() {
        object["subjects"] = json!(subjects);
    }
    object
}

impl RoleBinding {
    pub(super) fn make(&self) -> Result<Made, Failure> {
        let (kind, role) = match (&self.role, &self.clusterrole) {
            (Some(role), _) => ("Role", role.as_str()),
            (None, role) => ("ClusterRole", role.as_deref().unwrap_or("")),
        };
        let object = binding("RoleBinding", &self.name, kind, role, &self.subjects.read()?);
        Ok(Made::new(object, "failed to create rolebinding:"))
    }
}

impl ClusterRoleBinding {
    pub(super) fn make(&self) -> Result<Made, Failure> {
        let object = binding(
            "ClusterRoleBinding",
            &self.name,
            "ClusterRole",
            &self.clusterrole,
            &self.subjects.read()?,
        );
        Ok(Made::new(object, "failed to create clusterrolebinding:"))
    }
}
