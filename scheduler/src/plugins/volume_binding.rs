//! A pod's claims: they must be there, their volumes must be reachable from the node, and what is not bound yet must find a volume
//! there or somebody who makes one.
//!
//! Upstream: `pkg/scheduler/framework/plugins/volumebinding`. Reserving and binding what was chosen is in `crate::volumes`. Absent: scores by
//! capacity (off by default upstream) and `CSIStorageCapacity`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm};
use timonel_api::storage;

use super::{ClusterEvent, Plugin, Prepared, Rejection};
use crate::pod_info::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::volumes::{Storage, claims_of};

const NAME: &str = "VolumeBinding";
const OUT_OF_REACH: &str = "node(s) didn't match PersistentVolume's node affinity";
const NOTHING_FITS: &str = "node(s) didn't find available persistent volumes to bind";
const VOLUME_IS_GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

#[derive(Debug)]
pub(super) struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes_on(&self, event: ClusterEvent) -> bool {
        use ClusterEvent::{ClaimChanged, ClassChanged, CsiNodeChanged, NodeAdded, NodeLabels, VolumeChanged};
        matches!(
            event,
            NodeAdded | NodeLabels | ClaimChanged | VolumeChanged | ClassChanged | CsiNodeChanged
        )
    }

    fn prepare<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Prepared + 'a>> {
        match Claims::of(pod, &snapshot.storage) {
            Ok(claims) if claims.bound.is_empty() && claims.late.is_empty() => None,
            Ok(claims) => Some(Box::new(claims)),
            Err(why) => Some(Box::new(Refused(why))),
        }
    }
}

/// No node can take the pod as things are.
struct Refused(String);

impl Prepared for Refused {
    fn refusal(&self) -> Option<Rejection> {
        Some(Rejection::new(NAME, self.0.clone(), false))
    }
}

/// The claims of a pod that could be scheduled.
struct Claims<'a> {
    storage: &'a Storage,
    bound: Vec<Arc<PersistentVolumeClaim>>,
    /// Not bound: they wait for their first consumer, which is this pod.
    late: Vec<Arc<PersistentVolumeClaim>>,
}

/// What is to be bound and made for a pod on a node.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Claims, each with the volume that it gets.
    pub bindings: Vec<(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>)>,
    /// Claims for which a volume is made.
    pub provisions: Vec<Arc<PersistentVolumeClaim>>,
}

impl<'a> Claims<'a> {
    fn of(pod: &PodInfo, storage: &'a Storage) -> Result<Self, String> {
        let mut claims = Self {
            storage,
            bound: Vec::new(),
            late: Vec::new(),
        };
        let mut immediate = false;
        for claim in claims_of(pod, storage)? {
            let waits = || {
                let class = storage.class(storage::class_of_claim(&claim));
                class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
            };
            if storage::is_fully_bound(&claim) {
                claims.bound.push(claim);
            } else if storage::volume_of(&claim).is_none() && waits() {
                claims.late.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        Ok(claims)
    }

    /// Says whether the volumes that are bound already can be reached from a node.
    fn check_bound(&self, labels: &BTreeMap<String, String>) -> Option<&'static str> {
        for claim in &self.bound {
            let Some(volume) = self.storage.volume(storage::volume_of(claim).unwrap_or_default()) else {
                return Some(VOLUME_IS_GONE);
            };
            if !storage::fits_node(volume, labels) {
                return Some(OUT_OF_REACH);
            }
        }
        None
    }

    /// Chooses a volume for each claim that has none, the smallest claims first, and finds out for which one can be made.
    fn choose(&self, node: &NodeInfo) -> Option<Choice> {
        let labels = labels_of(node);
        let selected = |claim: &PersistentVolumeClaim| {
            let annotations = claim.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get(storage::SELECTED_NODE)).cloned()
        };
        let mut choice = Choice::default();
        let mut wanting: Vec<&Arc<PersistentVolumeClaim>> = Vec::new();
        for claim in &self.late {
            match selected(claim) {
                Some(other) if other != node.name => return None,
                Some(_) => choice.provisions.push(Arc::clone(claim)),
                None => wanting.push(claim),
            }
        }
        wanting.sort_by_key(|claim| storage::requested(claim).nanos());
        let mut taken = BTreeSet::new();
        for claim in wanting {
            match storage::smallest(claim, self.storage.volumes.values(), &labels, &taken) {
                Some(volume) => {
                    taken.insert(volume.metadata.name.clone().unwrap_or_default());
                    choice.bindings.push((Arc::clone(claim), Arc::clone(volume)));
                }
                None => choice.provisions.push(Arc::clone(claim)),
            }
        }
        let can_be_made = |claim: &Arc<PersistentVolumeClaim>| self.can_be_made(claim, &labels);
        choice.provisions.iter().all(can_be_made).then_some(choice)
    }

    fn can_be_made(&self, claim: &PersistentVolumeClaim, labels: &BTreeMap<String, String>) -> bool {
        let Some(class) = self.storage.class(storage::class_of_claim(claim)) else {
            return false;
        };
        let provisioned = !class.provisioner.is_empty() && class.provisioner != storage::NO_PROVISIONER;
        provisioned && allows(class.allowed_topologies.as_deref().unwrap_or_default(), labels)
    }
}

fn labels_of(node: &NodeInfo) -> BTreeMap<String, String> {
    let labels = node.node.as_ref().and_then(|node| node.metadata.labels.clone());
    labels.unwrap_or_default()
}

/// Tells whether a class makes volumes for nodes with these labels; any term will do.
fn allows(topologies: &[TopologySelectorTerm], labels: &BTreeMap<String, String>) -> bool {
    let term = |term: &TopologySelectorTerm| {
        let mut wanted = term.match_label_expressions.iter().flatten();
        wanted.all(|wanted| {
            labels
                .get(&wanted.key)
                .is_some_and(|value| wanted.values.contains(value))
        })
    };
    topologies.is_empty() || topologies.iter().any(term)
}

impl Prepared for Claims<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mut reasons = Vec::new();
        reasons.extend(self.check_bound(&labels_of(node)).map(Cow::Borrowed));
        if !self.late.is_empty() && self.choose(node).is_none() {
            reasons.push(Cow::Borrowed(NOTHING_FITS));
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let mut rejection = Rejection::new(NAME, "", false);
        rejection.reasons = reasons.into();
        Err(rejection)
    }
}

/// Chooses what to bind and make for a pod on the node that was decided on; `None` where nothing is left to do.
pub(crate) fn choose(pod: &PodInfo, snapshot: &Snapshot, node: &str) -> Option<Choice> {
    let claims = Claims::of(pod, &snapshot.storage)
        .ok()
        .filter(|claims| !claims.late.is_empty())?;
    claims.choose(snapshot.nodes.get(node)?)
}
