//! What upstream checks of volumes and claims, rule by rule.

use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::*;

fn words(check: impl FnOnce(&mut Vec<FieldError>)) -> Vec<String> {
    let mut errors = Vec::new();
    check(&mut errors);
    errors.iter().map(ToString::to_string).collect()
}

fn of_volume(spec: &Value) -> Vec<String> {
    words(|errors| volume::validate(spec, "pv", &Path::new("spec"), errors))
}

/// A good PersistentVolume's specification with other things in it; null takes a field away.
fn volume_with(change: Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/a"},
        "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"});
    let spec_map = spec.as_object_mut().unwrap();
    spec_map.extend(change.as_object().unwrap().clone());
    spec_map.retain(|_, value| !value.is_null());
    spec
}

fn source(kind: &str, source: Value) -> Value {
    volume_with(json!({"hostPath": null, kind: source}))
}

#[test]
fn a_persistent_volume_has_one_source_and_everything_around_it() {
    let affinity =
        json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}});
    let mut local = source("local", json!({"path": "/a"}));
    local["nodeAffinity"] = affinity;
    let table: Vec<(Value, Vec<&str>)> = vec![
        (volume_with(json!({})), vec![]),
        (local, vec![]),
        (
            volume_with(json!({"accessModes": null, "capacity": null, "hostPath": null})),
            vec![
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec.capacity: Unsupported value: null: supported values: \"storage\"",
                "spec: Required value: must specify a volume type",
            ],
        ),
        (
            volume_with(
                json!({"accessModes": ["ReadWriteOnce", "ReadWriteOncePod", "X"], "capacity": {"storage": "-1"}}),
            ),
            vec![
                "spec.accessModes: Unsupported value: \"X\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
            ],
        ),
        (
            volume_with(json!({"nfs": {"server": "s", "path": "/p"}, "cephfs": {}})),
            vec![
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
                "spec.cephFS: Forbidden: may not specify more than 1 volume type",
            ],
        ),
        (
            volume_with(
                json!({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle", "storageClassName": "A", "volumeMode": "Tape",
                "volumeAttributesClassName": ""}),
            ),
            vec![
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
                "spec.storageClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain",
                "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
                "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
                "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
            ],
        ),
        (
            source("hostPath", json!({"path": "/a/../b", "type": "Drawer"})),
            vec![
                "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.hostPath.type: Unsupported value: \"Drawer\": supported values: \"\", \"BlockDevice\"",
            ],
        ),
        (
            source("local", json!({"path": "/a"})),
            vec!["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (
            source("nfs", json!({"path": "a"})),
            vec![
                "spec.nfs.server: Required value",
                "spec.nfs.path: Invalid value: \"a\": must be an absolute path",
            ],
        ),
        (
            source("gcePersistentDisk", json!({"partition": 256})),
            vec![
                "spec.persistentDisk.pdName: Required value",
                "spec.persistentDisk.partition: Invalid value: 256: must be a number between 0 and 255, both inclusive",
            ],
        ),
        (
            source(
                "iscsi",
                json!({"iqn": "iqn.2001-04.com.example:disk", "targetPortal": "1.2.3.4:3260", "initiatorName": "eui.12", "lun": 300,
                    "chapAuthSession": true}),
            ),
            vec![
                "spec.iscsi.lun: Invalid value: 300: must be between 0 and 255, inclusive",
                "spec.iscsi.secretRef: Required value",
                "spec.iscsi.initiatorname: Invalid value: \"eui.12\": must be valid format",
            ],
        ),
        (
            source("fc", json!({"targetWWNs": ["a"], "wwids": ["b"]})),
            vec![
                "spec.fc.targetWWNs: Invalid value: [\"a\"]: targetWWNs and wwids can not be specified simultaneously",
                "spec.fc.lun: Required value: lun is required if targetWWNs is specified",
            ],
        ),
        (
            source("flexVolume", json!({"options": {"a.kubernetes.io/b": "c"}})),
            vec![
                "spec.flexVolume.driver: Required value",
                "spec.flexVolume.options[a.kubernetes.io/b]: Invalid value: \"a.kubernetes.io/b\": kubernetes.io and k8s.io namespaces are reserved",
            ],
        ),
        (
            source("azureFile", json!({"secretNamespace": ""})),
            vec![
                "spec.azureFile.secretName: Required value",
                "spec.azureFile.shareName: Required value",
                "spec.azureFile.secretNamespace: Required value",
            ],
        ),
        (
            source(
                "azureDisk",
                json!({"diskName": "d", "diskURI": "x", "kind": "Managed", "cachingMode": "No"}),
            ),
            vec![
                "spec.azureDisk.cachingMode: Unsupported value: \"No\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                "spec.azureDisk.diskURI: Unsupported value: \"x\": supported values: \"/subscriptions/{sub-id}",
            ],
        ),
        (
            source("csi", json!({"driver": "d.io", "nodePublishSecretRef": {"name": "A"}})),
            vec![
                "spec.csi.volumeHandle: Required value",
                "spec.csi.nodePublishSecretRef.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain",
                "spec.csi.nodePublishSecretRef.namespace: Required value",
            ],
        ),
        (
            source("rbd", json!({})),
            vec!["spec.rbd.monitors: Required value", "spec.rbd.image: Required value"],
        ),
        (
            source("flocker", json!({"datasetName": "a/b", "datasetUUID": "u"})),
            vec![
                "spec.flocker: Invalid value: \"resource\": datasetName and datasetUUID can not be specified simultaneously",
                "spec.flocker.datasetName: Invalid value: \"a/b\": must not contain '/'",
            ],
        ),
        (
            source("quobyte", json!({"registry": "a:1,b"})),
            vec![
                "spec.quobyte.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas",
                "spec.quobyte.volume: Required value",
            ],
        ),
    ];
    for (spec, expected) in table {
        let words = of_volume(&spec);
        assert_eq!(words.len(), expected.len(), "{spec}: {words:#?}");
        for (word, expected) in words.iter().zip(expected) {
            assert!(word.starts_with(expected), "{word}\nis not\n{expected}");
        }
    }
}

#[test]
fn what_a_volume_stands_for_does_not_change() {
    let changed = |new: Value, old: Value| {
        let object = |spec| json!({"spec": spec});
        words(|errors| volume::update(&object(new), &object(old), errors))
    };
    let csi = |change: Value| source("csi", change);
    let plain = json!({"driver": "d", "volumeHandle": "h"});
    let secret =
        json!({"driver": "d", "volumeHandle": "h", "controllerExpandSecretRef": {"name": "a", "namespace": "b"}});
    assert_eq!(changed(csi(secret.clone()), csi(plain.clone())), Vec::<String>::new());
    assert!(changed(csi(plain), csi(secret))[0].starts_with(
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    ));
    assert_eq!(
        changed(volume_with(json!({"volumeMode": "Block"})), volume_with(json!({}))),
        ["volumeMode: Invalid value: \"Block\": field is immutable"]
    );
    let on = |key: &str| {
        let term = json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
        volume_with(json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}))
    };
    assert_eq!(changed(on("a"), volume_with(json!({}))), Vec::<String>::new());
    assert_eq!(
        changed(on("kubernetes.io/os"), on("beta.kubernetes.io/os")),
        Vec::<String>::new()
    );
    assert!(changed(on("a"), on("b"))[0].ends_with("field is immutable, except for updating from beta label to GA"));
    assert!(changed(volume_with(json!({})), on("b"))[0].starts_with("nodeAffinity: Invalid value: "));
}

#[test]
fn a_volume_that_is_described_where_it_is_attached_is_a_drivers() {
    let good = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d", "volumeHandle": "h"}});
    let inline = |spec: &Value| words(|errors| volume::inline(spec, "", &Path::new("s"), errors));
    assert_eq!(inline(&good), Vec::<String>::new());
    let mut bad =
        volume_with(json!({"storageClassName": "a", "volumeMode": "Block", "persistentVolumeReclaimPolicy": "Delete"}));
    bad["claimRef"] = json!({"name": "c"});
    assert_eq!(
        inline(&bad),
        [
            "s.claimRef: Forbidden: may not be specified in the context of inline volumes",
            "s.capacity: Forbidden: may not be specified in the context of inline volumes",
            "s.csi: Required value: has to be specified in the context of inline volumes",
            "s.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
            "s.storageClassName: Forbidden: may not be specified in the context of inline volumes",
            "s.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
        ]
    );
}

/// A good claim with other things in its specification.
fn claim_with(change: Value) -> Value {
    let mut object = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": "2Gi"}}}});
    let spec = object["spec"].as_object_mut().unwrap();
    spec.extend(change.as_object().unwrap().clone());
    spec.retain(|_, value| !value.is_null());
    object
}

#[test]
fn a_claim_says_how_much_of_what() {
    let of_claim = |change| {
        let object = claim_with(change);
        words(|errors| claim::spec(&object["spec"], &Path::new("spec"), errors))
    };
    assert_eq!(of_claim(json!({})), Vec::<String>::new());
    assert_eq!(
        of_claim(json!({"accessModes": null, "resources": null})),
        [
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value"
        ]
    );
    assert_eq!(
        of_claim(json!({"resources": {"requests": {"storage": "0"}}})),
        ["spec.resources[storage]: Invalid value: \"0\": must be greater than zero"]
    );
    assert_eq!(
        of_claim(
            json!({"dataSource": {"kind": "Tape"}, "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "a"}})
        ),
        [
            "spec.dataSource.name: Required value",
            "spec.dataSource: Invalid value: \"Tape\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            "spec: Invalid value: \"spec.dataSource\": must match dataSourceRef",
        ]
    );
    let template = json!({"metadata": {"labels": {"a": "b"}, "name": "x"}, "spec": claim_with(json!({}))["spec"]});
    assert_eq!(
        words(|errors| claim::template(&template, &Path::new("t"), errors)),
        ["t.metadata.name: Forbidden: cannot be set"]
    );
}

#[test]
fn a_claim_that_is_bound_may_grow() {
    let changed = |new: &Value, old: &Value| words(|errors| claim::update(new, old, errors));
    let sized = |size: &str, phase: &str| {
        let mut object = claim_with(json!({"resources": {"requests": {"storage": size}}}));
        object["status"] = json!({"phase": phase, "capacity": {"storage": "1Gi"}});
        object
    };
    let fixed = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    assert_eq!(
        changed(&sized("3Gi", "Bound"), &sized("2Gi", "Bound")),
        Vec::<String>::new()
    );
    assert_eq!(
        changed(&sized("2048Mi", "Pending"), &sized("2Gi", "Pending")),
        Vec::<String>::new()
    );
    assert_eq!(changed(&sized("3Gi", "Pending"), &sized("2Gi", "Pending")), [fixed]);
    assert_eq!(
        changed(&sized("1536Mi", "Bound"), &sized("2Gi", "Bound")),
        Vec::<String>::new(),
        "back from what could not be had, but not below what is there"
    );
    assert_eq!(
        changed(&sized("1Gi", "Bound"), &sized("2Gi", "Bound")),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    let classed = |class: &str| claim_with(json!({"storageClassName": class}));
    assert_eq!(changed(&classed("late"), &claim_with(json!({}))), Vec::<String>::new());
    assert_eq!(changed(&classed("a"), &classed("b")), [fixed]);
    let bound = claim_with(json!({"volumeName": "v"}));
    assert_eq!(changed(&bound, &claim_with(json!({}))), Vec::<String>::new());
    assert_eq!(changed(&claim_with(json!({})), &bound), [fixed]);
    assert_eq!(
        changed(&claim_with(json!({"volumeMode": "Block"})), &claim_with(json!({})))[1],
        "volumeMode: Invalid value: \"Block\": field is immutable"
    );
}

#[test]
fn a_claims_status_speaks_of_storage() {
    let said = |status: Value| {
        let errors = claim::status(&json!({"status": status}));
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        said(json!({"capacity": {"storage": "1Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"}})),
        Vec::<String>::new()
    );
    assert_eq!(
        said(
            json!({"capacity": {"storage": "-1"}, "allocatedResources": {"cpu": "1"}, "allocatedResourceStatuses": {"storage": "Maybe"}})
        ),
        [
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            "status.allocatedResourceStatus: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        ]
    );
}

#[test]
fn files_of_a_pods_volumes_lead_down_and_not_into_each_other() {
    let of_pod = |volume: Value| {
        words(|errors| {
            let _ = one_source(&volume, Within::Pod("v"), &Path::new("v"), errors);
        })
    };
    assert_eq!(of_pod(json!({"name": "v", "emptyDir": {}})), Vec::<String>::new());
    assert_eq!(
        of_pod(
            json!({"configMap": {"name": "c", "defaultMode": 512, "items": [{"key": "", "path": "../a", "mode": -1}, {"key": "k", "path": "..a"}]}})
        ),
        [
            "v.configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "v.configMap.items[0].key: Required value",
            "v.configMap.items[0].path: Invalid value: \"../a\": must not contain '..'",
            "v.configMap.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
            "v.configMap.items[1].path: Invalid value: \"..a\": must not start with '..'",
        ]
    );
    let item = json!({"key": "k", "path": "p"});
    assert_eq!(
        of_pod(json!({"projected": {"sources": [
            {"secret": {"name": "s", "items": [item]}, "configMap": {"items": [item]}},
            {"serviceAccountToken": {"expirationSeconds": 10}},
            {"clusterTrustBundle": {"path": "p"}}]}})),
        [
            "v.projected.sources[0].configMap.name: Required value",
            "v.projected: Invalid value: \"\": conflicting duplicate paths",
            "v.projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
            "v.projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes",
            "v.projected.path: Required value",
            "v.projected.sources[2].clusterTrustBundle: Required value: either name or signerName must be specified",
            "v.projected: Invalid value: \"p\": conflicting duplicate paths",
        ]
    );
    assert_eq!(
        of_pod(json!({"downwardAPI": {"items": [{"path": "a"}]}})),
        ["v.downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"]
    );
    assert_eq!(
        of_pod(json!({"ephemeral": {}})),
        ["v.ephemeral.volumeClaimTemplate: Required value"]
    );
}
