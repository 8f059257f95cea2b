use serde_json::{Value, json};
use timonel_api::FieldError;

use super::super::super::strategy::{Context, Strategy};
use super::CustomResourceDefinitions;
use crate::identity::UserInfo;

fn said(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// A definition as it is after a POST.
fn made(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "crons.example.com"}, "spec": spec});
    let user = UserInfo::default();
    let context = Context {
        now: jiff::Timestamp::UNIX_EPOCH,
        user: &user,
    };
    CustomResourceDefinitions.default(&mut object);
    CustomResourceDefinitions.prepare_create(&mut object, &context);
    object
}

fn version(name: &str, storage: bool, schema: &Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

fn spec(versions: Value) -> Value {
    json!({"group": "example.com", "scope": "Namespaced", "versions": versions, "names": {"plural": "crons", "kind": "Cron"}})
}

#[test]
fn a_definition_is_named_after_what_it_defines() {
    let good = made(spec(json!([version("v1", true, &json!({"type": "object"}))])));
    assert_eq!(good["spec"]["names"]["listKind"], "CronList");
    assert_eq!(good["spec"]["names"]["singular"], "cron");
    assert_eq!(good["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(
        good["status"],
        json!({"acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]})
    );
    assert_eq!(CustomResourceDefinitions.validate(&good), []);
    let mut bad = good;
    bad["spec"]["group"] = json!("example");
    bad["spec"]["versions"] = json!([{"name": "v1", "storage": false}]);
    bad["spec"]["names"]["listKind"] = json!("Cron");
    bad["spec"]["names"]["plural"] = json!("");
    bad["spec"]["conversion"] = json!({"strategy": "None", "webhook": {"clientConfig": {}}});
    assert_eq!(
        said(&CustomResourceDefinitions.validate(&bad)),
        [
            "metadata.name: Invalid value: \"crons.example.com\": must be spec.names.plural+\".\"+spec.group",
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            "spec.versions: Invalid value: [{\"name\":\"v1\",\"storage\":false}]: must have exactly one version marked as storage version",
            "spec.names.plural: Required value",
            "spec.names.listKind: Invalid value: \"Cron\": kind and listKind may not be the same",
            "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
        ]
    );
}

#[test]
fn errors_speak_of_a_schema_where_it_is_shared() {
    let typeless = json!({"type": "object", "properties": {"spec": {}}});
    let one = made(spec(json!([version("v1", true, &typeless)])));
    assert_eq!(
        said(&CustomResourceDefinitions.validate(&one)),
        [
            "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"
        ]
    );
    let two = made(spec(json!([
        version("v1", true, &json!({"type": "object"})),
        version("v2", false, &typeless)
    ])));
    assert_eq!(
        said(&CustomResourceDefinitions.validate(&two)),
        [
            "spec.versions[1].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"
        ]
    );
}

#[test]
fn versions_have_columns_scales_and_selectable_fields() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string", "format": "paint"}}}}});
    let mut v1 = version("v1", true, &schema);
    v1["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    let good = made(spec(json!([v1])));
    assert_eq!(CustomResourceDefinitions.validate(&good), []);
    assert_eq!(
        CustomResourceDefinitions.warnings(&good),
        ["unrecognized format \"paint\""]
    );
    assert_eq!(
        CustomResourceDefinitions.update_warnings(&good, &good),
        Vec::<String>::new()
    );
    v1["selectableFields"] = json!([{"jsonPath": ".spec.size"}, {"jsonPath": ".spec"}, {}]);
    v1["additionalPrinterColumns"] = json!([{"type": "file", "format": "x", "jsonPath": "spec"}]);
    v1["subresources"] = json!({"scale": {"specReplicasPath": ".status.n", "labelSelectorPath": "x"}});
    v1["deprecationWarning"] = json!("old");
    assert_eq!(
        said(&CustomResourceDefinitions.validate(&made(spec(json!([v1]))))),
        [
            "spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions",
            "spec.subresources.scale.specReplicasPath: Invalid value: \".status.n\": should be a json path under .spec",
            "spec.subresources.scale.statusReplicasPath: Required value",
            "spec.subresources.scale.labelSelectorPath: Invalid value: \"x\": must be a simple json path starting with .",
            "spec.additionalPrinterColumns[0].name: Required value",
            "spec.additionalPrinterColumns[0].type: Invalid value: \"file\": must be one of boolean,date,integer,number,string",
            "spec.additionalPrinterColumns[0].format: Invalid value: \"x\": must be one of byte,date,date-time,double,float,int32,int64,password",
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.size\": is an invalid path: does not refer to a valid field",
            "spec.selectableFields[1].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            "spec.selectableFields[2].jsonPath: Required value",
        ]
    );
}

#[test]
fn what_is_stored_in_a_version_keeps_it() {
    let schema = json!({"type": "object"});
    let old = made(spec(json!([version("v1", true, &schema)])));
    let mut new = old.clone();
    new["spec"]["versions"] = json!([version("v2", true, &schema)]);
    let user = UserInfo::default();
    let context = Context {
        now: jiff::Timestamp::UNIX_EPOCH,
        user: &user,
    };
    CustomResourceDefinitions.prepare_update(&mut new, &old, &context);
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(
        said(&CustomResourceDefinitions.validate_update(&new, &old)),
        [
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"
        ]
    );
    let mut moved = old.clone();
    moved["spec"]["names"]["kind"] = json!("Timer");
    moved["spec"]["scope"] = json!("Cluster");
    assert_eq!(CustomResourceDefinitions.validate_update(&moved, &old), []);
    let mut established = old;
    established["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    assert_eq!(
        said(&CustomResourceDefinitions.validate_update(&moved, &established)),
        [
            "spec.scope: Invalid value: \"Cluster\": field is immutable",
            "spec.names.kind: Invalid value: \"Timer\": field is immutable",
        ]
    );
}

#[test]
fn the_communitys_groups_need_its_approval() {
    let mut object = made(spec(json!([version("v1", true, &json!({"type": "object"}))])));
    object["spec"]["group"] = json!("x.k8s.io");
    object["metadata"]["name"] = json!("crons.x.k8s.io");
    let words = said(&CustomResourceDefinitions.validate(&object));
    assert_eq!(
        words,
        [
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
        ]
    );
    for fine in ["unapproved, a test", "https://github.com/kubernetes/kubernetes/pull/1"] {
        object["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": fine});
        assert_eq!(CustomResourceDefinitions.validate(&object), []);
    }
    object["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "trust me"});
    object["spec"]["preserveUnknownFields"] = json!(true);
    assert_eq!(CustomResourceDefinitions.validate(&object).len(), 2);
}
