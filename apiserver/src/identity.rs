//! Who is asking.

use std::collections::BTreeMap;

/// An authenticated user, as `authentication.k8s.io/v1` UserInfo spells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// For example `kubernetes-admin`, `system:node:node-1`, `system:serviceaccount:demo:default`.
    pub username: String,
    /// Empty where the authenticator knows none.
    pub uid: String,
    /// For example `system:masters`, `system:authenticated`.
    pub groups: Vec<String>,
    /// For example `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user in groups; `system:authenticated` is added.
    pub fn new(username: &str, groups: &[&str]) -> Self {
        let groups = groups
            .iter()
            .copied()
            .chain(["system:authenticated"])
            .map(str::to_owned)
            .collect();
        Self {
            username: username.to_owned(),
            groups,
            ..Self::default()
        }
    }

    /// A service account, in the groups that all of them and those of its namespace are in.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let own = format!("system:serviceaccounts:{namespace}");
        Self::new(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &own],
        )
    }

    /// The user of requests that carry no credentials.
    pub fn anonymous() -> Self {
        Self {
            username: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// Says whether the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
