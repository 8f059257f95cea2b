//! RBAC: which rules a user has through bindings, compiled per stored version.
//!
//! A decision lists the cluster's bindings and those of one namespace (`Arc` clones), checks that they are the ones already
//! compiled, and looks the user and its groups up in hash maps. Nothing is parsed unless something changed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::{Attributes, Decision, Rule};
use crate::identity::UserInfo;
use crate::reader::ObjectReader;

const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const ROLES: &str = "roles.rbac.authorization.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
/// Compiled entries kept before starting over: far above what a cluster of thousands of namespaces uses at once.
const KEPT: usize = 20_000;

/// A role as bindings name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoleRef {
    /// Empty for a ClusterRole.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// One subject of one binding.
#[derive(Debug)]
pub(super) struct Grant {
    binding: String,
    role: RoleRef,
    subject: String,
}

impl Grant {
    /// As upstream's `allowed by` reasons.
    fn describe(&self, namespace: &str) -> String {
        let role = if self.role.namespace.is_empty() {
            format!("ClusterRole {:?}", self.role.name)
        } else {
            format!("Role {:?}", self.role.name)
        };
        if namespace.is_empty() {
            format!("ClusterRoleBinding {:?} of {role} to {}", self.binding, self.subject)
        } else {
            format!(
                "RoleBinding {:?} of {role} to {}",
                format!("{}/{namespace}", self.binding),
                self.subject
            )
        }
    }
}

/// The bindings of one namespace, or the cluster's.
#[derive(Debug, Default)]
struct Compiled {
    source: Vec<Arc<Value>>,
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

impl Compiled {
    fn new(source: Vec<Arc<Value>>, namespace: &str) -> Self {
        let mut compiled = Self::default();
        for binding in &source {
            let role = RoleRef {
                namespace: if binding["roleRef"]["kind"] == "Role" {
                    namespace.to_owned()
                } else {
                    String::new()
                },
                name: text(&binding["roleRef"]["name"]).to_owned(),
            };
            for subject in binding["subjects"].as_array().into_iter().flatten() {
                let name = text(&subject["name"]);
                let (map, key, described) = match text(&subject["kind"]) {
                    "User" => (&mut compiled.users, name.to_owned(), format!("User {name:?}")),
                    "Group" => (&mut compiled.groups, name.to_owned(), format!("Group {name:?}")),
                    "ServiceAccount" => {
                        let home = match text(&subject["namespace"]) {
                            "" => namespace,
                            home => home,
                        };
                        if home.is_empty() {
                            continue;
                        }
                        let user = format!("system:serviceaccount:{home}:{name}");
                        (
                            &mut compiled.users,
                            user,
                            format!("ServiceAccount {:?}", format!("{name}/{home}")),
                        )
                    }
                    _ => continue,
                };
                map.entry(key).or_default().push(Grant {
                    binding: text(&binding["metadata"]["name"]).to_owned(),
                    role: role.clone(),
                    subject: described,
                });
            }
        }
        compiled.source = source;
        compiled
    }

    fn is_of(&self, source: &[Arc<Value>]) -> bool {
        self.source.len() == source.len() && self.source.iter().zip(source).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    fn grants<'a>(&'a self, user: &'a UserInfo) -> impl Iterator<Item = &'a Grant> {
        let own = self.users.get(&user.username).into_iter().flatten();
        own.chain(user.groups.iter().filter_map(|group| self.groups.get(group)).flatten())
    }
}

/// A role's rules, and the stored version that they were read from.
type CompiledRole = (Arc<Value>, Arc<Vec<Rule>>);

pub(super) struct Rbac {
    reader: Arc<dyn ObjectReader>,
    bindings: RwLock<HashMap<String, Arc<Compiled>>>,
    roles: RwLock<HashMap<RoleRef, CompiledRole>>,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Rbac {
    pub(super) fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self {
            reader,
            bindings: RwLock::default(),
            roles: RwLock::default(),
        }
    }

    /// The bindings of `namespace`, or the cluster's where it is empty.
    fn bindings(&self, namespace: &str) -> Arc<Compiled> {
        let source = if namespace.is_empty() {
            self.reader.list(CLUSTER_BINDINGS, None)
        } else {
            self.reader.list(BINDINGS, Some(namespace))
        };
        let known = self.bindings.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = known.get(namespace).filter(|compiled| compiled.is_of(&source)) {
            return Arc::clone(compiled);
        }
        drop(known);
        let compiled = Arc::new(Compiled::new(source, namespace));
        let mut known = self.bindings.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(namespace.to_owned(), Arc::clone(&compiled));
        compiled
    }

    /// The rules of a role; `None` where it does not exist.
    pub(super) fn role(&self, role: &RoleRef) -> Option<Arc<Vec<Rule>>> {
        let resource = if role.namespace.is_empty() {
            CLUSTER_ROLES
        } else {
            ROLES
        };
        let stored = self.reader.get(resource, &role.namespace, &role.name)?;
        let known = self.roles.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rules)) = known.get(role).filter(|(source, _)| Arc::ptr_eq(source, &stored)) {
            return Some(Arc::clone(rules));
        }
        drop(known);
        let rules = Arc::new(Rule::all_of(&stored));
        let mut known = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(role.clone(), (stored, Arc::clone(&rules)));
        Some(rules)
    }

    /// Visits every rule that the user has in `namespace` (the cluster's always included) until `visit` answers true. Returns the words
    /// for roles that are bound but do not exist.
    pub(super) fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        visit: &mut dyn FnMut(&Grant, &str, &Rule) -> bool,
    ) -> Vec<String> {
        let mut missing = Vec::new();
        let scopes = if namespace.is_empty() {
            &[""][..]
        } else {
            &["", namespace]
        };
        for scope in scopes {
            let bindings = self.bindings(scope);
            for grant in bindings.grants(user) {
                match self.role(&grant.role) {
                    Some(rules) => {
                        if rules.iter().any(|rule| visit(grant, scope, rule)) {
                            return missing;
                        }
                    }
                    None if grant.role.namespace.is_empty() => missing.push(format!(
                        "clusterrole.rbac.authorization.k8s.io {:?} not found",
                        grant.role.name
                    )),
                    None => missing.push(format!(
                        "role.rbac.authorization.k8s.io {:?} not found",
                        grant.role.name
                    )),
                }
            }
        }
        missing
    }

    pub(super) fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let mut allowed = None;
        let missing = self.visit(attributes.user, attributes.namespace, &mut |grant, scope, rule| {
            let matches = rule.allows(attributes);
            if matches {
                allowed = Some(format!("RBAC: allowed by {}", grant.describe(scope)));
            }
            matches
        });
        match allowed {
            Some(reason) => Decision::allow(reason),
            None if missing.is_empty() => Decision::no_opinion(""),
            None if missing.len() == 1 => Decision::no_opinion(format!("RBAC: {}", missing[0])),
            None => Decision::no_opinion(format!("RBAC: [{}]", missing.join(", "))),
        }
    }
}
