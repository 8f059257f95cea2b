//! A pod that names its node goes there or nowhere.

use super::{About, ClusterEvent, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Debug)]
pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::NodeAdded
    }

    fn helps(&self, pod: &PodInfo, about: &About) -> bool {
        let wanted = pod.spec().and_then(|spec| spec.node_name.as_deref());
        !matches!(about, About::Node { new: Some(new), .. } if new.metadata.name.as_deref() != wanted)
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        let wanted = pod.spec()?.node_name.as_deref().filter(|name| !name.is_empty())?;
        Some(Box::new(Wanted(wanted)))
    }
}

struct Wanted<'a>(&'a str);

impl Prepared for Wanted<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.name == self.0 {
            return Ok(());
        }
        Err(Rejection::new(
            "NodeName",
            "node(s) didn't match the requested node name",
            false,
        ))
    }
}
