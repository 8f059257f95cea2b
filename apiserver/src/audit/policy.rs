//! Which requests are logged, and how much of them: `audit.k8s.io/v1` Policy. The first rule that matches decides.

use serde::{Deserialize, Serialize};
use timonel_api::{FieldError, Path};

use crate::authz::Attributes;

/// How much of a request is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when.
    Metadata,
    /// The request's object too.
    Request,
    /// The response's object too.
    RequestResponse,
}

impl Level {
    /// As the policy spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// Where in its life a request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It has come, and somebody stands behind it.
    RequestReceived,
    /// The head of a long answer goes out.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The server failed over it.
    Panic,
}

/// Why a policy is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not YAML, or has fields that a policy does not have.
    #[error("the audit policy cannot be read: {0}")]
    Decode(String),
    /// It is something else.
    #[error("the audit policy is {found:?}; `audit.k8s.io/v1`, kind `Policy` is understood")]
    Kind {
        /// apiVersion and kind.
        found: String,
    },
    /// Upstream refuses it too.
    #[error("the audit policy has no rules")]
    Empty,
    /// Rules contradict themselves.
    #[error("the audit policy is invalid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
}

/// What is logged of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

/// An audit policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    api_version: String,
    kind: String,
    /// Names and labels of the file; not looked at.
    #[serde(rename = "metadata")]
    _metadata: serde_json::Value,
    rules: Vec<Rule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

fn level(text: &str) -> Option<Level> {
    [Level::None, Level::Metadata, Level::Request, Level::RequestResponse]
        .into_iter()
        .find(|level| level.name() == text)
}

fn stage(text: &str) -> Option<Stage> {
    Some(match text {
        "RequestReceived" => Stage::RequestReceived,
        "ResponseStarted" => Stage::ResponseStarted,
        "ResponseComplete" => Stage::ResponseComplete,
        "Panic" => Stage::Panic,
        _ => return None,
    })
}

impl Policy {
    /// Reads a policy, YAML or JSON.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let decoded = timonel_api::decode::yaml(text).map_err(|error| PolicyError::Decode(error.to_string()))?;
        if let Some(twice) = decoded.duplicates.first() {
            return Err(PolicyError::Decode(format!("{twice} is there twice")));
        }
        let policy: Self =
            serde_json::from_value(decoded.value).map_err(|error| PolicyError::Decode(error.to_string()))?;
        if (policy.api_version.as_str(), policy.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            let found = format!("{}, {}", policy.api_version, policy.kind);
            return Err(PolicyError::Kind { found });
        }
        let errors = policy.validate();
        if !errors.is_empty() {
            return Err(PolicyError::Invalid(errors));
        }
        if policy.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        Ok(policy)
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        stages(&self.omit_stages, &Path::new("omitStages"), &mut errors);
        for (at, rule) in self.rules.iter().enumerate() {
            rule.validate(&Path::new("rules").index(at), &mut errors);
        }
        errors
    }

    /// Decides how much of a request is logged. `user` is `None` where nobody could be found behind it.
    pub(super) fn decide(&self, request: &Attributes<'_>, known: bool) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(request, known));
        let own = rule.map_or(&[][..], |rule| &rule.omit_stages);
        Verdict {
            level: rule.and_then(|rule| level(&rule.level)).unwrap_or_default(),
            omit_stages: self
                .omit_stages
                .iter()
                .chain(own)
                .filter_map(|text| stage(text))
                .collect(),
            omit_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

fn stages(given: &[String], path: &Path, errors: &mut Vec<FieldError>) {
    for (at, text) in given.iter().enumerate() {
        if stage(text).is_none() {
            errors.push(FieldError::invalid(
                &path.index(at),
                text.as_str(),
                "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
            ));
        }
    }
}

impl Rule {
    fn validate(&self, path: &Path, errors: &mut Vec<FieldError>) {
        if self.level.is_empty() {
            errors.push(FieldError::required(&path.child("level"), ""));
        } else if level(&self.level).is_none() {
            errors.push(FieldError::not_supported(
                &path.child("level"),
                self.level.as_str(),
                &["Metadata", "None", "Request", "RequestResponse"],
            ));
        }
        let urls = path.child("nonResourceURLs");
        for (at, url) in self.non_resource_urls.iter().enumerate() {
            if url == "*" {
                continue;
            }
            if !url.starts_with('/') {
                let wrong = "non-resource URL rules must begin with a '/' character";
                errors.push(FieldError::invalid(&urls.index(at), url.as_str(), wrong));
            }
            let mut before_last = url.chars();
            before_last.next_back();
            if before_last.as_str().contains('*') {
                let wrong = "non-resource URL wildcards '*' must be the final character of the rule";
                errors.push(FieldError::invalid(&urls.index(at), url.as_str(), wrong));
            }
        }
        for (at, group) in self.resources.iter().enumerate() {
            if !group.resource_names.is_empty() && group.resources.is_empty() {
                let names = path.child("resources").index(at).child("resourceNames");
                let wrong = "using resourceNames requires at least one resource";
                errors.push(FieldError::invalid(&names, group.resource_names.join(","), wrong));
            }
        }
        stages(&self.omit_stages, &path.child("omitStages"), errors);
        let about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if about_resources && !self.non_resource_urls.is_empty() {
            let wrong = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&urls, self.non_resource_urls.join(","), wrong));
        }
    }

    fn matches(&self, request: &Attributes<'_>, known: bool) -> bool {
        let has = |list: &[String], text: &str| list.iter().any(|one| one == text);
        let is_user = || known && has(&self.users, &request.user.username);
        if !self.users.is_empty() && !is_user() {
            return false;
        }
        let in_group = || known && request.user.groups.iter().any(|group| has(&self.user_groups, group));
        if !self.user_groups.is_empty() && !in_group() {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, request.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return request.resource_request
                && (self.namespaces.is_empty() || has(&self.namespaces, request.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|group| group.matches(request)));
        }
        if !self.non_resource_urls.is_empty() {
            let path = request.path;
            return !request.resource_request
                && self.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => path == url,
                });
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, request: &Attributes<'_>) -> bool {
        if self.group != request.api_group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.iter().any(|name| name == request.name) {
            return false;
        }
        let (resource, subresource) = (request.resource, request.subresource);
        self.resources.iter().any(|wanted| match wanted.split_once('/') {
            None => wanted == "*" || (wanted == resource && subresource.is_empty()),
            Some(("*", sub)) if sub != "*" => !subresource.is_empty() && sub == subresource,
            Some((of, "*")) => of == resource,
            Some((of, sub)) => of == resource && sub == subresource,
        })
    }
}
