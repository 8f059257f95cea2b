//! Nobody grants what they do not hold: the checks on writing roles and bindings
//! (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>).

use serde_json::Value;

use super::rbac::RoleRef;
use super::{Attributes, Authorizer, Rule};
use crate::error::ApiError;
use crate::identity::UserInfo;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Authorizer {
    /// Checks the write of a role, cluster role, role binding or cluster role binding. Other resources pass.
    ///
    /// A role's writer holds every rule in it or may `escalate` it; a binding's writer holds every rule of the role or may `bind` it.
    /// An update that grants nothing new passes.
    pub fn check_escalation(
        &self,
        user: &UserInfo,
        resource: &str,
        namespace: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        if user.is_in("system:masters") {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let group_resource = format!("{resource}.{GROUP}");
        let refused = |message: String| Err(ApiError::forbidden(&group_resource, name, message));
        match resource {
            "roles" | "clusterroles" => {
                let unchanged = old.is_some_and(|old| {
                    old["rules"] == object["rules"] && old["aggregationRule"] == object["aggregationRule"]
                });
                let asks = Attributes::resource(user, "escalate", GROUP, resource)
                    .within(namespace)
                    .named(name);
                if unchanged || self.authorize(&asks).allowed {
                    return Ok(());
                }
                // Whoever writes an aggregation rule decides about rules that nobody sees yet.
                let aggregates = !object["aggregationRule"].is_null()
                    && old.is_none_or(|old| old["aggregationRule"] != object["aggregationRule"]);
                let mut wanted = Rule::all_of(object);
                if aggregates {
                    wanted = everything();
                }
                match self.uncovered(user, namespace, &wanted) {
                    None => Ok(()),
                    Some(_) if aggregates => {
                        refused("must have cluster-admin privileges to use an aggregationRule".to_owned())
                    }
                    Some(message) => refused(message),
                }
            }
            "rolebindings" | "clusterrolebindings" => {
                let unchanged =
                    old.is_some_and(|old| old["roleRef"] == object["roleRef"] && old["subjects"] == object["subjects"]);
                let cluster_role = object["roleRef"]["kind"] == "ClusterRole";
                let role = RoleRef {
                    namespace: if cluster_role {
                        String::new()
                    } else {
                        namespace.to_owned()
                    },
                    name: object["roleRef"]["name"].as_str().unwrap_or_default().to_owned(),
                };
                let (plural, kind) = if cluster_role {
                    ("clusterroles", "clusterrole")
                } else {
                    ("roles", "role")
                };
                let asks = Attributes::resource(user, "bind", GROUP, plural)
                    .within(namespace)
                    .named(&role.name);
                if unchanged || self.authorize(&asks).allowed {
                    return Ok(());
                }
                let Some(rules) = self.rbac.role(&role) else {
                    return Err(ApiError::not_found(format!("{kind}.{GROUP}"), role.name));
                };
                match self.uncovered(user, namespace, &rules) {
                    None => Ok(()),
                    Some(message) => refused(message),
                }
            }
            _ => Ok(()),
        }
    }

    /// What the user lacks of `wanted`, in upstream's words.
    fn uncovered(&self, user: &UserInfo, namespace: &str, wanted: &[Rule]) -> Option<String> {
        let mut held = Vec::new();
        let missing_roles = self.rbac.visit(user, namespace, &mut |_, _, rule| {
            held.push(rule.clone());
            false
        });
        let mut lacking: Vec<Rule> = wanted
            .iter()
            .flat_map(Rule::atoms)
            .filter(|atom| !held.iter().any(|rule| rule.covers(atom)))
            .collect();
        lacking.sort();
        lacking.dedup();
        if lacking.is_empty() {
            return None;
        }
        let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
        let mut message = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            user.username,
            groups.join(" "),
            compact(lacking)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        );
        if !missing_roles.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", missing_roles.join(", ")));
        }
        Some(message)
    }
}

pub(super) fn everything() -> Vec<Rule> {
    let all = || vec!["*".to_owned()];
    vec![
        Rule {
            verbs: all(),
            groups: all(),
            resources: all(),
            ..Rule::default()
        },
        Rule {
            verbs: all(),
            urls: all(),
            ..Rule::default()
        },
    ]
}

/// Joins atoms that differ only in their verb, as upstream does before printing them.
fn compact(atoms: Vec<Rule>) -> Vec<Rule> {
    let mut joined: Vec<Rule> = Vec::new();
    for mut atom in atoms {
        let same = joined.iter_mut().find(|rule| {
            rule.groups == atom.groups
                && rule.resources == atom.resources
                && rule.names == atom.names
                && rule.urls == atom.urls
        });
        match same {
            Some(rule) => rule.verbs.append(&mut atom.verbs),
            None => joined.push(atom),
        }
    }
    joined.sort_by_key(ToString::to_string);
    joined
}
