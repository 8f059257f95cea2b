//! Lists: which state, which objects, which page.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use timonel_api::selector::FieldSelector;
use timonel_api::{FieldError, ObjectKey, Path, Revision};
use timonel_store::{Range, StoreError};

use super::options::{ListOptions, VersionMatch};
use super::{Registry, Target};
use crate::cache::{Filter, Object, Objects, Snapshot};
use crate::error::ApiError;

/// How long a list waits for a revision that has not happened yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// One page of a resource's objects.
#[derive(Clone, Debug)]
pub struct List {
    /// The state that it shows.
    pub revision: Revision,
    /// The objects, in key order.
    pub items: Vec<Arc<Object>>,
    /// With which the next page is asked for.
    pub continue_token: Option<String>,
    /// How many more there are, where that is cheap to know.
    pub remaining: Option<usize>,
}

/// Where a page starts.
struct Continue {
    /// `None` goes on in the newest state.
    revision: Option<Revision>,
    after: ObjectKey,
}

impl Continue {
    fn decode(token: &str) -> Result<Self, ApiError> {
        let wrong = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|error| wrong(&error.to_string()))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
        if value["v"] != "meta.k8s.io/v1" {
            return Err(wrong("server does not recognize this encoded version"));
        }
        let start = value["start"]
            .as_str()
            .ok_or_else(|| wrong("no start"))?
            .trim_end_matches('\0');
        let after = match start.split_once('/') {
            Some((namespace, name)) => ObjectKey::new(namespace, name),
            None => ObjectKey::cluster(start),
        };
        Ok(Self {
            revision: match value["rv"].as_i64() {
                Some(-1) => None,
                Some(revision) if revision > 0 => Some(Revision(revision.unsigned_abs())),
                _ => return Err(wrong("incorrect encoded start resourceVersion")),
            },
            after,
        })
    }

    fn encode(&self) -> String {
        let start = format!("{}\0", self.after);
        let revision = self.revision.map_or(json!(-1), |revision| json!(revision.0));
        URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
    }
}

/// Parses a `resourceVersion`.
pub(super) fn parse_revision(text: &str) -> Result<Revision, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "Invalid value: {text:?}: resourceVersion must be a decimal number"
        ))
    })
}

/// Checks the options that contradict each other, as upstream's `ValidateListOptions` does.
pub(super) fn check_options(options: &ListOptions, watch: bool) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let match_path = Path::new("resourceVersionMatch");
    let initial_path = Path::new("sendInitialEvents");
    if watch {
        match (options.initial_events, options.version_match) {
            (Some(_), Some(VersionMatch::NotOlderThan)) => {}
            (Some(_), _) => errors.push(FieldError::forbidden(
                &match_path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )),
            (None, Some(_)) => errors.push(FieldError::forbidden(
                &match_path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )),
            (None, None) => {}
        }
    } else {
        if options.initial_events.is_some() {
            errors.push(FieldError::forbidden(
                &initial_path,
                "sendInitialEvents is forbidden for list",
            ));
        }
        if let Some(version_match) = options.version_match {
            if options.resource_version.is_empty() {
                errors.push(FieldError::forbidden(
                    &match_path,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !options.continue_token.is_empty() {
                errors.push(FieldError::forbidden(
                    &match_path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if version_match == VersionMatch::Exact && options.resource_version == "0" {
                errors.push(FieldError::forbidden(
                    &match_path,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("ListOptions.meta.k8s.io", "", errors))
    }
}

impl Registry {
    /// Makes the filter that a request's selectors, namespace and name describe.
    pub(super) fn filter(&self, target: &Target, options: &ListOptions) -> Result<Filter, ApiError> {
        let mut known = vec!["metadata.name", "metadata.namespace"];
        let offered = target.slot.strategy.selectable_fields(&Value::Null);
        known.extend(offered.iter().map(|(name, _)| *name));
        let filter = Filter::in_namespace(Some(&target.namespace))
            .with_labels(&options.labels)?
            .with_fields(&options.fields, target.slot.info.kind, &known)?;
        Ok(if target.name.is_empty() {
            filter
        } else {
            filter.with_name(&target.name)
        })
    }

    /// Refuses what would have to leave out objects that cannot be read: it would be taken for whole.
    pub(super) fn require_readable(&self, target: &Target, options: &ListOptions) -> Result<(), ApiError> {
        let fields = FieldSelector::parse(&options.fields).ok();
        let named = fields
            .as_ref()
            .and_then(|fields| fields.required_value("metadata.name"));
        let key = ObjectKey::new(&target.namespace, named.unwrap_or(&target.name));
        match self.caches.unreadable_within(&target.slot, &key) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits, for a while, until the caches show `revision`.
    pub(super) async fn wait_not_older(&self, revision: Revision) -> Result<(), ApiError> {
        match tokio::time::timeout(FUTURE_WAIT, self.caches.wait_for(revision)).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::FutureRevision {
                asked: revision,
                current: self.caches.applied(),
            }),
        }
    }

    /// Lists a resource.
    pub async fn list(&self, target: &Target, options: &ListOptions) -> Result<List, ApiError> {
        check_options(options, false)?;
        let filter = self.filter(target, options)?;
        self.require_readable(target, options)?;
        let mut limit = options.limit;
        let (snapshot, after) = if options.continue_token.is_empty() {
            let requested = options.resource_version.as_str();
            let exact = options.version_match == Some(VersionMatch::Exact)
                || (options.version_match.is_none() && limit > 0 && !matches!(requested, "" | "0"));
            if requested == "0" {
                limit = 0;
            }
            if exact {
                let revision = parse_revision(requested)?;
                self.wait_not_older(revision).await?;
                let snapshot = self
                    .state_at(target, revision)
                    .await?
                    .ok_or_else(|| ApiError::gone("The resourceVersion for the provided list is too old."))?;
                (snapshot, None)
            } else {
                match requested {
                    "" => self.caches.catch_up().await?,
                    "0" => {}
                    other => self.wait_not_older(parse_revision(other)?).await?,
                }
                (target.slot.cache.snapshot(self.caches.applied()), None)
            }
        } else {
            if !matches!(options.resource_version.as_str(), "" | "0") {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let start = Continue::decode(&options.continue_token)?;
            let snapshot = match start.revision {
                None => target.slot.cache.snapshot(self.caches.applied()),
                Some(revision) => {
                    self.wait_not_older(revision).await?;
                    self.state_at(target, revision)
                        .await?
                        .ok_or_else(|| expired_continue(&start.after))?
                }
            };
            (snapshot, Some(start.after))
        };
        Ok(page(&filter, snapshot, after.as_ref(), limit))
    }

    /// The resource as it stood at a revision: from the remembered events, else from the store's history; `None` where neither reaches back.
    async fn state_at(&self, target: &Target, revision: Revision) -> Result<Option<Snapshot>, ApiError> {
        if let Ok(snapshot) = target.slot.cache.snapshot_at(revision) {
            return Ok(Some(snapshot));
        }
        let range = Range {
            prefix: target.slot.prefix().to_owned(),
            at: Some(revision),
            ..Range::default()
        };
        let entries = match self.caches.store().range(range).await {
            Ok(page) => page.entries,
            Err(StoreError::Compacted { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut objects = Objects::new();
        for entry in entries {
            match self.caches.unseal(&entry, &target.slot) {
                Ok(object) => drop(objects.insert(object.key.clone(), Arc::new(object))),
                Err(problem) => tracing::error!(key = %entry.key, %problem, "an object is left out"),
            }
        }
        Ok(Some(Snapshot { revision, objects }))
    }
}

fn page(filter: &Filter, snapshot: Snapshot, after: Option<&ObjectKey>, limit: usize) -> List {
    let mut selected = filter.select_after(&snapshot.objects, after).cloned();
    if limit == 0 {
        return List {
            revision: snapshot.revision,
            items: selected.collect(),
            continue_token: None,
            remaining: None,
        };
    }
    let items: Vec<_> = selected.by_ref().take(limit).collect();
    let more = selected.next().is_some();
    let remaining = (more && !filter.is_selective()).then(|| 1 + selected.count());
    let continue_token = items.last().filter(|_| more).map(|last| {
        Continue {
            revision: Some(snapshot.revision),
            after: last.key.clone(),
        }
        .encode()
    });
    List {
        revision: snapshot.revision,
        items,
        continue_token,
        remaining,
    }
}

fn expired_continue(after: &ObjectKey) -> ApiError {
    let token = Continue {
        revision: None,
        after: after.clone(),
    };
    ApiError::Expired {
        message: "The provided continue parameter is too old to display a consistent list result. You can start a new list \
                  without the continue parameter, or use the continue token in this response to retrieve the remainder of \
                  the results. Continuing with the provided token results in an inconsistent list - objects that were \
                  created, modified, or deleted between the time the first chunk was returned and now may show up in the \
                  list."
            .to_owned(),
        continue_token: Some(token.encode()),
    }
}
