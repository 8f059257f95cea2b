//! The table of every built-in resource that is served: names, verbs, subresources.
//!
//! Served is what Kubernetes 1.36 serves in its v1 form, autoscaling/v2, and metrics.k8s.io/v1beta1. Other betas and alphas are not
//! served.

#[path = "facts/generated/resources.rs"]
mod generated;

/// One resource, as discovery describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Empty for the core group.
    pub group: &'static str,
    /// `v1`
    pub version: &'static str,
    /// `Pod`
    pub kind: &'static str,
    /// `pods`
    pub plural: &'static str,
    /// `pod`
    pub singular: &'static str,
    /// `po`
    pub short_names: &'static [&'static str],
    /// `all`
    pub categories: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// In discovery's spelling: `create`, `deletecollection`, ...
    pub verbs: &'static [&'static str],
    /// `status`, `scale`, `log`, ...
    pub subresources: &'static [SubresourceInfo],
    /// Whether its objects are stored; false for reviews and bindings, which are only created, and for ComponentStatus.
    pub storage: bool,
}

/// A subresource of a [`ResourceInfo`].
#[derive(Debug, PartialEq, Eq)]
pub struct SubresourceInfo {
    /// `status`
    pub name: &'static str,
    /// What is sent and answered: the resource's own kind, `Scale`, `Eviction`, ...
    pub kind: &'static str,
    /// The kind's group, which may be another than the resource's.
    pub group: &'static str,
    /// The kind's version.
    pub version: &'static str,
    /// In discovery's spelling.
    pub verbs: &'static [&'static str],
}

impl ResourceInfo {
    /// As errors and RBAC write it: `pods`, `deployments.apps`.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// As objects write it: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Finds a subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&'static SubresourceInfo> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether discovery offers a verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The shape of its objects.
    pub fn schema(&self) -> Option<&'static crate::facts::Schema> {
        crate::facts::schema_for(self.group, self.version, self.kind)
    }
}

/// `metrics.k8s.io`, which the server answers from what it measures; upstream leaves it to an aggregated server, metrics-server.
static METRICS: [ResourceInfo; 2] = [
    metrics("NodeMetrics", "nodes", false),
    metrics("PodMetrics", "pods", true),
];

const fn metrics(kind: &'static str, plural: &'static str, namespaced: bool) -> ResourceInfo {
    ResourceInfo {
        group: "metrics.k8s.io",
        version: "v1beta1",
        kind,
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced,
        verbs: &["get", "list"],
        subresources: &[],
        storage: false,
    }
}

/// Every resource that discovery tells of: the built-in ones, and those that are made for each answer from measurements.
pub fn served() -> impl Iterator<Item = &'static ResourceInfo> {
    all().iter().chain(&METRICS)
}

/// Every built-in resource, the core group first, then the groups in upstream's order of priority.
pub fn all() -> &'static [ResourceInfo] {
    generated::RESOURCES
}

/// Finds a resource by its path segment.
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static ResourceInfo> {
    served().find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// Finds a resource by its kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static ResourceInfo> {
    all()
        .iter()
        .find(|r| r.kind == kind && r.group == group && r.version == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_found_by_plural_and_by_kind() {
        let deployments = by_plural("apps", "v1", "deployments").unwrap();
        assert_eq!(deployments.group_resource(), "deployments.apps");
        assert_eq!(deployments.api_version(), "apps/v1");
        assert_eq!(deployments.subresource("scale").unwrap().group, "autoscaling");
        assert_eq!(by_kind("", "v1", "Pod").unwrap().group_resource(), "pods");
        assert!(by_plural("apps", "v1beta1", "deployments").is_none());
        assert_eq!(
            by_kind("autoscaling", "v2", "HorizontalPodAutoscaler")
                .unwrap()
                .short_names,
            ["hpa"]
        );
    }

    #[test]
    fn reviews_are_not_stored() {
        for (group, kind) in [
            ("authorization.k8s.io", "SubjectAccessReview"),
            ("authentication.k8s.io", "TokenReview"),
            ("", "Binding"),
        ] {
            assert!(!by_kind(group, "v1", kind).unwrap().storage, "{kind}");
        }
        assert!(all().iter().filter(|r| r.storage).all(|r| r.has_verb("watch")));
    }
}
