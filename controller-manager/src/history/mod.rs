//! The history of a DaemonSet or StatefulSet: a ControllerRevision per template that it has had.
//!
//! ```text
//! revisions found --claim--> own --settle--> which one says what the spec says now? create it, or move it to the end of the line
//!                                       +--> the others; excess() says which of them the history has no room for
//! ```
//!
//! Upstream: `pkg/controller/history`, and `constructHistory` and `cleanupHistory` of `pkg/controller/daemon`.

mod apply;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};
use timonel_api::selector::LabelSelector;

use crate::claim::{Claim, claim};
use crate::{hash, owner};
pub(crate) use apply::RevisionControl;

/// The label that tells which revision a pod is of.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";

/// The longest name that leaves room for a dash and a hash.
const LONGEST_NAME: usize = 223;

/// One step on the history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Become the controller of an orphan.
    Adopt(Arc<ControllerRevision>),
    /// Let a revision go that the selector matches no longer.
    Release(Arc<ControllerRevision>),
    /// Remember a new template.
    Create(Box<ControllerRevision>),
    /// Move a revision that is the newest again to the end of the line: a rollback.
    Renumber(Arc<ControllerRevision>, i64),
    /// Forget a revision.
    Delete(Arc<ControllerRevision>),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    MatchesSelector,
    NoLongerMatchesSelector,
    NewTemplate { name: String },
    RolledBack { to: i64 },
    Duplicate,
    BeyondHistory,
}

/// What a revision keeps: the patch that brings its template back, as `kubectl rollout undo` sends it.
pub(crate) fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_else(|_| json!({}));
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// Reads the template back from a revision.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Returns the value of a revision's hash label.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(REVISION_LABEL));
    hash.map_or_else(|| owner::name(&revision.metadata), String::as_str)
}

/// Divides what was found into our own revisions, oldest first, and steps to adopt or release others.
pub(crate) fn claim_all(
    found: &[Arc<ControllerRevision>],
    uid: &str,
    selector: &LabelSelector,
    leaving: bool,
) -> (Vec<Arc<ControllerRevision>>, Vec<(Step, Because)>) {
    let (mut own, mut steps) = (Vec::new(), Vec::new());
    for revision in found {
        let matches = selector.matches_optional(revision.metadata.labels.as_ref());
        let one = Arc::clone(revision);
        match claim(&revision.metadata, uid, matches, leaving) {
            Claim::Own => own.push(one),
            Claim::Adopt => {
                own.push(Arc::clone(&one));
                steps.push((Step::Adopt(one), Because::MatchesSelector));
            }
            Claim::Release => steps.push((Step::Release(one), Because::NoLongerMatchesSelector)),
            Claim::Leave => {}
        }
    }
    own.sort_by_key(|revision| place(revision));
    (own, steps)
}

/// Where a revision stands in the line.
fn place(revision: &ControllerRevision) -> (i64, Option<Timestamp>, String) {
    let meta = &revision.metadata;
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    (revision.revision, created, owner::name(meta).to_owned())
}

/// What a new revision is made from.
pub(crate) struct Author<'a> {
    /// The object whose history it is.
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) owner: OwnerReference,
    pub(crate) template: &'a PodTemplateSpec,
    pub(crate) collisions: i32,
    /// The label that keeps the hash on the revision.
    pub(crate) hash_label: &'static str,
    /// Names of revisions that are not ours.
    pub(crate) taken: &'a [String],
}

/// The history in order.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The revision of the template as it is now; perhaps not created yet.
    pub(crate) current: Arc<ControllerRevision>,
    /// All others, oldest first.
    pub(crate) old: Vec<Arc<ControllerRevision>>,
    /// Other revisions of the same template.
    pub(crate) duplicates: Vec<Arc<ControllerRevision>>,
    pub(crate) steps: Vec<(Step, Because)>,
}

/// The name of the new revision is taken by something else: count up, and look again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Collision {
    pub(crate) name: String,
}

/// Finds the revision of the current template among our own (oldest first), or makes it.
///
/// # Errors
/// [`Collision`] when the name of the new revision is taken.
pub(crate) fn settle(own: &[Arc<ControllerRevision>], author: &Author<'_>) -> Result<Settled, Collision> {
    let data = data(author.template);
    let (mut same, old): (Vec<_>, Vec<_>) = own
        .iter()
        .cloned()
        .partition(|revision| revision.data.as_ref().is_some_and(|kept| kept.0 == data));
    let next = old.iter().map(|revision| revision.revision).max().unwrap_or(0) + 1;
    let Some(current) = same.pop() else {
        let revision = new_revision(author, data, next);
        let name = owner::name(&revision.metadata).to_owned();
        if author.taken.contains(&name) || own.iter().any(|other| owner::name(&other.metadata) == name) {
            return Err(Collision { name });
        }
        let step = (Step::Create(Box::new(revision.clone())), Because::NewTemplate { name });
        return Ok(Settled {
            current: Arc::new(revision),
            old,
            duplicates: Vec::new(),
            steps: vec![step],
        });
    };
    let mut steps = Vec::new();
    if current.revision < next {
        let step = Step::Renumber(Arc::clone(&current), next);
        steps.push((step, Because::RolledBack { to: next }));
    }
    Ok(Settled {
        current,
        old,
        duplicates: same,
        steps,
    })
}

fn new_revision(author: &Author<'_>, data: Value, revision: i64) -> ControllerRevision {
    let hash = hash::letters(&data.to_string(), author.collisions);
    let given = author.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    let mut labels: BTreeMap<String, String> = given.unwrap_or_default();
    labels.insert(author.hash_label.to_owned(), hash.clone());
    let mut prefix = owner::name(author.meta).to_owned();
    prefix.truncate(LONGEST_NAME);
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: author.meta.namespace.clone(),
            labels: Some(labels),
            annotations: author.meta.annotations.clone(),
            owner_references: Some(vec![author.owner.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision,
    }
}

/// Returns the revisions that the history has no room for: the oldest of those that are not `live`. A negative limit keeps all.
///
/// `live_count_too` tells whether live revisions take up room: a DaemonSet's do, a StatefulSet's do not.
pub(crate) fn excess(
    old: &[Arc<ControllerRevision>],
    live: &BTreeSet<&str>,
    name: impl Fn(&ControllerRevision) -> &str,
    limit: i32,
    live_count_too: bool,
) -> Vec<Arc<ControllerRevision>> {
    let Ok(limit) = usize::try_from(limit) else {
        return Vec::new();
    };
    let dead: Vec<_> = old.iter().filter(|revision| !live.contains(name(revision))).collect();
    let kept = if live_count_too { old.len() } else { dead.len() };
    dead.into_iter().take(kept.saturating_sub(limit)).cloned().collect()
}
