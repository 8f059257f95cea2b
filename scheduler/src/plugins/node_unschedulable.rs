//! A cordoned node takes only pods that tolerate it.

use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::tolerates;
use super::{About, ClusterEvent, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Debug)]
pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints)
    }

    fn helps(&self, _: &PodInfo, about: &About) -> bool {
        let About::Node { new: Some(new), .. } = about else {
            return true;
        };
        !new.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        (!tolerates(pod.tolerations(), &taint)).then(|| Box::new(Untolerated) as Box<dyn Prepared>)
    }
}

struct Untolerated;

impl Prepared for Untolerated {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.is_unschedulable() {
            return Err(Rejection::new("NodeUnschedulable", "node(s) were unschedulable", false));
        }
        Ok(())
    }
}
