//! Which nodes may have a pod of the set.
//!
//! Upstream: `NodeShouldRunDaemonPod`.

use k8s_openapi::api::core::v1::{Node, PodSpec};
use timonel_api::pod::{find_untolerated, matches_node};

use crate::owner;

/// What a node is to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eligible {
    /// Should have a pod.
    Yes,
    /// Gets no new pod, but keeps the one it has: a taint came later that only keeps new pods away.
    KeepsOnly,
    /// Must not have a pod.
    No,
}

impl Eligible {
    /// Judges a node. `spec` is a pod's of the set, with the tolerations that all its pods have.
    pub(super) fn of(node: &Node, spec: &PodSpec) -> Self {
        let name = owner::name(&node.metadata);
        let labels = node.metadata.labels.as_ref();
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        let named = spec
            .node_name
            .as_deref()
            .is_none_or(|wanted| wanted.is_empty() || wanted == name);
        if !named || !matches_node(spec, name, &label) {
            return Self::No;
        }
        let taints = node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.as_deref())
            .unwrap_or_default();
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        if find_untolerated(taints, tolerations, &["NoExecute"]).is_some() {
            Self::No
        } else if find_untolerated(taints, tolerations, &["NoSchedule"]).is_some() {
            Self::KeepsOnly
        } else {
            Self::Yes
        }
    }
}
