//! Makes the volume that a claim asks for, or says why that cannot be.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, NFSVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::ObjectMeta;
use timonel_api::storage::{self, LOCAL_PATH, NFS};

use crate::owner;

/// Upstream's external provisioners keep their volumes with this until what lies behind them is gone.
pub(super) const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// The name of the node that has the folder: labels of nodes may change.
pub(super) const NODE: &str = "timonel.dev/node";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Returns the name of the volume that a claim gets.
pub(super) fn name_for(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", owner::uid(&claim.metadata))
}

/// Makes the volume. `node` is the one that the scheduler chose.
///
/// # Errors
/// In words for people, when the claim or its class asks for something that the provisioner cannot do.
pub(super) fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: Option<&Node>,
) -> Result<PersistentVolume, String> {
    let spec = claim.spec.as_ref().ok_or("the claim has no spec")?;
    if spec.selector.is_some() {
        return Err("claim.Spec.Selector is not supported".to_owned());
    }
    let attributes = spec.volume_attributes_class_name.as_deref();
    if attributes.is_some_and(|class| !class.is_empty()) {
        return Err("a volumeAttributesClassName is not supported".to_owned());
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("block volumes are not supported, only folders".to_owned());
    }
    let name = name_for(claim);
    let mut volume = PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            annotations: Some([(storage::PROVISIONED_BY.to_owned(), class.provisioner.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes.clone(),
            capacity: spec.resources.as_ref().and_then(|resources| resources.requests.clone()),
            claim_ref: Some(ObjectReference {
                resource_version: None,
                ..timonel_client::events::reference_to(claim)
            }),
            mount_options: class.mount_options.clone(),
            persistent_volume_reclaim_policy: Some(class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned())),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    };
    let parameters = class.parameters.clone().unwrap_or_default();
    match class.provisioner.as_str() {
        LOCAL_PATH => local_path(&mut volume, claim, &parameters, node)?,
        NFS => nfs(&mut volume, &parameters)?,
        other => return Err(format!("{other} is not one of ours")),
    }
    Ok(volume)
}

fn local_path(
    volume: &mut PersistentVolume,
    claim: &PersistentVolumeClaim,
    parameters: &BTreeMap<String, String>,
    node: Option<&Node>,
) -> Result<(), String> {
    let mut modes = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
    if modes.any(|mode| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod")) {
        return Err("only support ReadWriteOnce and ReadWriteOncePod access modes".to_owned());
    }
    if let Some(name) = parameters.keys().next() {
        return Err(format!("invalid parameter \"{name}\": {LOCAL_PATH} takes none"));
    }
    let node = node.ok_or(
        "configuration error, no node was specified: the class must have volumeBindingMode WaitForFirstConsumer",
    )?;
    let node_name = owner::name(&node.metadata);
    let labels = node.metadata.labels.as_ref();
    let host = labels
        .and_then(|labels| labels.get(HOSTNAME))
        .filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| format!("node \"{node_name}\" has no label {HOSTNAME}"))?;
    let name = owner::name(&volume.metadata).to_owned();
    if let Some(spec) = &mut volume.spec {
        spec.host_path = Some(HostPathVolumeSource {
            path: storage::local_path_folder(&name, owner::namespace(&claim.metadata), owner::name(&claim.metadata)),
            type_: Some("DirectoryOrCreate".to_owned()),
        });
        spec.node_affinity = Some(only_on(host));
    }
    if spec_deletes(volume) {
        volume.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    }
    let annotations = volume.metadata.annotations.get_or_insert_default();
    annotations.insert(NODE.to_owned(), node_name.to_owned());
    Ok(())
}

fn only_on(host: &str) -> VolumeNodeAffinity {
    let requirement = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![host.to_owned()]),
    };
    VolumeNodeAffinity {
        required: Some(NodeSelector {
            node_selector_terms: vec![NodeSelectorTerm {
                match_expressions: Some(vec![requirement]),
                match_fields: None,
            }],
        }),
    }
}

fn nfs(volume: &mut PersistentVolume, parameters: &BTreeMap<String, String>) -> Result<(), String> {
    for name in parameters.keys() {
        if !matches!(name.as_str(), "server" | "share") {
            return Err(format!("invalid parameter \"{name}\" in storage class"));
        }
    }
    let parameter = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    let (server, share) = (parameter("server"), parameter("share"));
    if server.is_empty() {
        return Err("server is a required parameter".to_owned());
    }
    if share.is_empty() {
        return Err("share is a required parameter".to_owned());
    }
    if !share.starts_with('/') || share.split('/').any(|part| part == "..") {
        return Err(format!("share \"{share}\" must be an absolute path without '..'"));
    }
    let folder = format!("{}/{}", share.trim_end_matches('/'), owner::name(&volume.metadata));
    if let Some(spec) = &mut volume.spec {
        spec.nfs = Some(NFSVolumeSource {
            server: server.to_owned(),
            path: folder,
            read_only: None,
        });
    }
    Ok(())
}

/// Tells whether a volume goes with its claim.
pub(super) fn spec_deletes(volume: &PersistentVolume) -> bool {
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy == Some("Delete")
}
