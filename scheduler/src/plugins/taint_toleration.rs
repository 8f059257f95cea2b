//! Taints keep pods away that do not tolerate them, and prefer to keep away those that would rather not be there.

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

use super::{About, ClusterEvent, Detail, Plugin, Prepared, Rejection, normalize};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Debug)]
pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints)
    }

    fn helps(&self, pod: &PodInfo, about: &About) -> bool {
        let About::Node { old, new: Some(new) } = about else {
            return true;
        };
        let kept_off = |node: &Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
            untolerated(taints.unwrap_or_default(), pod.tolerations()).is_some()
        };
        old.as_deref().is_none_or(kept_off) && !kept_off(new)
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        Some(Box::new(Tolerations(pod.tolerations())))
    }
}

/// Tells whether one of the tolerations covers a taint.
pub(super) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations
        .iter()
        .any(|toleration| timonel_api::pod::tolerates(toleration, taint))
}

/// The first taint that keeps a pod with these tolerations away.
fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    timonel_api::pod::find_untolerated(taints, tolerations, &["NoSchedule", "NoExecute"])
}

struct Tolerations<'a>(&'a [Toleration]);

impl Prepared for Tolerations<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        match untolerated(node.taints(), self.0) {
            None => Ok(()),
            Some(taint) => Err(Rejection {
                detail: Some(Box::new(Detail::Text(format!(
                    "{{{}: {}}}",
                    taint.key,
                    taint.value.as_deref().unwrap_or_default()
                )))),
                // Upstream names the taint no longer since 1.34.
                ..Rejection::new("TaintToleration", "node(s) had untolerated taint(s)", false)
            }),
        }
    }

    fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let count = |node: &&NodeInfo| {
            let soft = node.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
            i64::try_from(soft.filter(|taint| !tolerates(self.0, taint)).count()).unwrap_or(i64::MAX)
        };
        let mut scores: Vec<i64> = feasible.iter().map(count).collect();
        normalize(&mut scores, true);
        scores
    }
}
