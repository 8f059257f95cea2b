//! What a word on the command line means: `po`, `deploy/web`, `deployments.v1.apps`, `all`.
//!
//! The built-in table answers first, so that the usual commands need no discovery; what it does not know is asked of the server.

use serde_json::Value;
use timonel_api::resources::{self, ResourceInfo};

use crate::error::Failure;
use crate::session::{Call, Session};

/// A resource type, from the table or from discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) namespaced: bool,
}

impl Resource {
    /// `v1`, `apps/v1`
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pod`, `deployment.apps`: how kubectl names one object's type.
    pub(crate) fn singular_name(&self) -> String {
        let singular = if self.singular.is_empty() {
            self.kind.to_lowercase()
        } else {
            self.singular.clone()
        };
        if self.group.is_empty() {
            singular
        } else {
            format!("{singular}.{}", self.group)
        }
    }

    /// `pods`, `deployments.apps`
    pub(crate) fn plural_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The path of the collection.
    pub(crate) fn collection_path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    fn answers_to(&self, word: &str) -> bool {
        let (name, rest) = word.split_once('.').unwrap_or((word, ""));
        let named = self.plural == name
            || self.singular == name
            || self.kind.eq_ignore_ascii_case(name)
            || self.short_names.iter().any(|short| short == name);
        let grouped = rest.is_empty()
            || rest == self.group
            || rest == format!("{}.{}", self.version, self.group)
            || (self.group.is_empty() && rest == format!("{}.", self.version));
        named && grouped
    }
}

impl From<&ResourceInfo> for Resource {
    fn from(info: &ResourceInfo) -> Self {
        let owned = |list: &[&str]| list.iter().map(|&item| item.to_owned()).collect();
        Self {
            group: info.group.to_owned(),
            version: info.version.to_owned(),
            kind: info.kind.to_owned(),
            plural: info.plural.to_owned(),
            singular: info.singular.to_owned(),
            short_names: owned(info.short_names),
            categories: owned(info.categories),
            verbs: owned(info.verbs),
            namespaced: info.namespaced,
        }
    }
}

/// Finds the types that a word means: one, or all of a category.
pub(crate) async fn types(session: &Session, word: &str) -> Result<Vec<Resource>, Failure> {
    let lower = word.to_lowercase();
    let built_in: Vec<Resource> = resources::all().iter().map(Resource::from).collect();
    if let Some(found) = pick(&built_in, &lower) {
        return Ok(found);
    }
    pick(&discover(session).await?, &lower)
        .ok_or_else(|| Failure::usage(format!("the server doesn't have a resource type {word:?}")))
}

fn pick(known: &[Resource], word: &str) -> Option<Vec<Resource>> {
    // The core group comes first in the table, so that `events` means core/v1's.
    if let Some(found) = known.iter().find(|resource| resource.answers_to(word)) {
        return Some(vec![found.clone()]);
    }
    let category: Vec<Resource> = known
        .iter()
        .filter(|resource| resource.categories.iter().any(|c| c == word))
        .cloned()
        .collect();
    (!category.is_empty()).then_some(category)
}

/// Finds exactly one type.
pub(crate) async fn one(session: &Session, word: &str) -> Result<Resource, Failure> {
    let mut found = types(session, word).await?;
    match found.len() {
        1 => Ok(found.remove(0)),
        _ => Err(Failure::usage(format!(
            "{word:?} is a category of several resource types; name one"
        ))),
    }
}

/// Finds the type of an object by its apiVersion and kind.
pub(crate) async fn by_kind(session: &Session, api_version: &str, kind: &str) -> Result<Resource, Failure> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if let Some(info) = resources::by_kind(group, version, kind) {
        return Ok(info.into());
    }
    let found = discover(session)
        .await?
        .into_iter()
        .find(|r| r.group == group && r.version == version && r.kind == kind);
    found.ok_or_else(|| {
        Failure::usage(format!(
            "resource mapping not found for kind {kind:?} in version {api_version:?}: no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first"
        ))
    })
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Asks the server for everything that it serves.
pub(crate) async fn discover(session: &Session) -> Result<Vec<Resource>, Failure> {
    let mut all = Vec::new();
    for path in ["/api", "/apis"] {
        let answer = session
            .json(Call {
                accept: AGGREGATED,
                ..Call::get(path)
            })
            .await?;
        for group in array(&answer["items"]) {
            let group_name = group["metadata"]["name"].as_str().unwrap_or("");
            for version in array(&group["versions"]) {
                let version_name = version["version"].as_str().unwrap_or("");
                all.extend(
                    array(&version["resources"])
                        .iter()
                        .map(|r| discovered(group_name, version_name, r)),
                );
            }
        }
    }
    Ok(all)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn discovered(group: &str, version: &str, resource: &Value) -> Resource {
    let text = |field: &str| resource[field].as_str().unwrap_or("").to_owned();
    let texts = |field: &str| {
        array(&resource[field])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: resource["responseKind"]["kind"].as_str().unwrap_or("").to_owned(),
        plural: text("resource"),
        singular: text("singularResource"),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        verbs: texts("verbs"),
        namespaced: resource["scope"] == "Namespaced",
    }
}

/// What a command names: types, and objects of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    /// `None` means all objects of the type.
    pub(crate) name: Option<String>,
}

/// Reads `TYPE`, `TYPE NAME...`, `TYPE1,TYPE2`, `TYPE/NAME...`.
pub(crate) async fn targets(session: &Session, words: &[String]) -> Result<Vec<Target>, Failure> {
    let Some(first) = words.first() else {
        return Err(Failure::usage("You must specify the type of resource to get."));
    };
    let mut targets = Vec::new();
    if words.iter().any(|word| word.contains('/')) {
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                return Err(Failure::usage(format!(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'timonctl get resource/<resource_name>' instead of 'timonctl get resource resource/<resource_name>' ({word:?})"
                )));
            };
            if name.is_empty() || name.contains('/') {
                return Err(Failure::usage(format!(
                    "arguments in resource/name form may not have more than one slash: {word:?}"
                )));
            }
            targets.push(Target {
                resource: one(session, kind).await?,
                name: Some(name.to_owned()),
            });
        }
        return Ok(targets);
    }
    let mut kinds = Vec::new();
    for word in first.split(',').filter(|word| !word.is_empty()) {
        kinds.extend(types(session, word).await?);
    }
    for resource in kinds {
        if words.len() == 1 {
            targets.push(Target { resource, name: None });
        } else {
            targets.extend(words[1..].iter().map(|name| Target {
                resource: resource.clone(),
                name: Some(name.clone()),
            }));
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_kubectl_takes_them_for() {
        let known: Vec<Resource> = resources::all().iter().map(Resource::from).collect();
        let cases = [
            ("po", "pods"),
            ("pod", "pods"),
            ("deploy", "deployments.apps"),
            ("deployments.apps", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("rs", "replicasets.apps"),
            ("ev", "events"),
            ("events", "events"),
            ("no", "nodes"),
            ("cm", "configmaps"),
            ("sts", "statefulsets.apps"),
        ];
        for (word, expected) in cases {
            let found = pick(&known, word).unwrap_or_default();
            assert_eq!(
                found.first().map(Resource::plural_name).as_deref(),
                Some(expected),
                "{word}"
            );
        }
        assert!(pick(&known, "all").is_some_and(|all| all.len() > 5));
        assert_eq!(pick(&known, "nonsense"), None);
    }
}
