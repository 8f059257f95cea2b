use serde_json::{Value, json};

use super::*;
use crate::facts::{Scalar, Type, schema_for};

fn pod() -> &'static crate::facts::Schema {
    schema_for("", "v1", "Pod").unwrap()
}

fn yaml_value(text: &str) -> Value {
    yaml(text.as_bytes()).unwrap().value
}

#[test]
fn duplicates_are_found_with_their_paths_in_json() {
    let text = br#"{"spec":{"containers":[{"name":"a"},{"volumeMounts":[],"volumeMounts":[1]}]},"spec":{"x":1}}"#;
    let decoded = super::json(text).unwrap();
    assert_eq!(decoded.duplicates, ["spec.containers[1].volumeMounts", "spec"]);
    assert_eq!(decoded.value, json!({"spec": {"x": 1}}));
}

#[test]
fn duplicates_are_found_with_their_paths_in_yaml() {
    let text = "spec:\n  containers:\n  - name: a\n    volumeMounts: []\n    env: []\n    volumeMounts: [1]\n  - {a: 1, a: 2}\nmetadata: {labels: {x: a, x: b}}\n";
    let decoded = yaml(text.as_bytes()).unwrap();
    assert_eq!(
        decoded.duplicates,
        [
            "spec.containers[0].volumeMounts",
            "spec.containers[1].a",
            "metadata.labels.x"
        ]
    );
    assert_eq!(decoded.value["spec"]["containers"][0]["volumeMounts"], json!([1]));
}

#[test]
fn the_courses_manifest_is_found_out() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: nginx_pod}\nspec:\n  containers:\n  - name: nginx\n    image: nginx\n    pullPolicy: Always\n    volumeMount: []\n    volumeMount: []\n";
    let decoded = yaml(text.as_bytes()).unwrap();
    let unknown = unknown_fields(pod(), &decoded.value);
    assert_eq!(
        strict_error(&unknown, &decoded.duplicates).unwrap(),
        "strict decoding error: unknown field \"spec.containers[0].pullPolicy\", \
         unknown field \"spec.containers[0].volumeMount\", duplicate field \"spec.containers[0].volumeMount\""
    );
}

#[test]
fn case_matters() {
    let value = json!({"metadata": {"Name": "a"}, "spec": {"hostpid": true}, "Kind": "Pod"});
    assert_eq!(unknown_fields(pod(), &value).len(), 3);
}

/// Each line was given to kubectl 1.32 (`kubectl label --local -o json`), and this is what it made of it.
#[test]
fn scalars_mean_what_they_mean_to_kubectl() {
    for (text, value) in [
        ("yes", json!(true)),
        ("y", json!(true)),
        ("On", json!(true)),
        ("n", json!(false)),
        ("off", json!(false)),
        ("0777", json!(511)),
        ("0o17", json!(15)),
        ("0o8", json!("0o8")),
        ("08", json!(8)),
        ("018.5", json!(18.5)),
        ("1e3", json!(1000)),
        ("1e+3", json!(1000)),
        ("12e03", json!(12000)),
        ("1.5e10", json!(15_000_000_000_i64)),
        ("1_000", json!(1000)),
        ("1_000.5", json!(1000.5)),
        ("1__0", json!(10)),
        ("0x1F", json!(31)),
        ("0X1F", json!(31)),
        ("-0x10", json!(-16)),
        ("0b11", json!(3)),
        ("-0b11", json!(-3)),
        ("0b12", json!("0b12")),
        ("1.0", json!(1)),
        ("1.", json!(1)),
        ("~", json!(null)),
        ("NULL", json!(null)),
        ("'~'", json!("~")),
        ("\"yes\"", json!("yes")),
        ("2001-01-01", json!("2001-01-01")),
        ("1:30", json!("1:30")),
        (".5", json!(0.5)),
        ("+.5", json!(0.5)),
        ("._5", json!("._5")),
        ("+5", json!(5)),
        ("-0", json!(0)),
        ("!!str 5", json!("5")),
        ("!!float 3", json!(3)),
        ("!!binary aGVsbG8=", json!("hello")),
        ("!foo bar", json!("bar")),
        ("=", json!("=")),
        ("1.23456789012345678", json!(1.234_567_890_123_456_7)),
        ("0.0000001", json!(1e-7)),
        ("18446744073709551615", json!(u64::MAX)),
        ("99999999999999999999", json!(1e20)),
    ] {
        assert_eq!(yaml_value(&format!("a: {text}"))["a"], value, "{text}");
    }
}

#[test]
fn keys_become_strings_as_kubectl_makes_them() {
    assert_eq!(
        yaml_value("yes: 1\nn: 2\n12: 3\n1.5: 4\n'on': 5\n0x10: 6\n"),
        json!({"true": 1, "false": 2, "12": 3, "1.5": 4, "on": 5, "16": 6})
    );
    assert!(yaml(b"~: 1").is_err());
    assert!(yaml(b"[a]: 1").is_err());
}

#[test]
fn merge_keys_win_over_what_stands_before_them() {
    assert_eq!(
        yaml_value("b: &x {q: 1, r: 2}\nc: {<<: *x, q: 5}\nd: {q: 5, <<: *x}\ne: {<<: [*x, {r: 9, s: 4}]}\n"),
        json!({"b": {"q": 1, "r": 2}, "c": {"q": 5, "r": 2}, "d": {"q": 1, "r": 2}, "e": {"q": 1, "r": 2, "s": 4}})
    );
    assert!(yaml(b"<<: 3").is_err());
}

#[test]
fn alias_bombs_and_circles_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let last = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [last.as_str(); 10].join(", ")));
    }
    assert!(
        yaml(bomb.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("excessive aliasing")
    );
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), ["*a"; 100].join(", "));
    let error = yaml(text.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("excessive aliasing"),
        "few values may be much text: {error}"
    );
    let nested: String = (0..100).map(|at| format!("&n{at} [")).collect();
    let text = format!("{nested}{}{}", "0,".repeat(10_000), "]".repeat(100));
    let error = yaml(text.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("excessive aliasing"),
        "an anchor costs what it holds: {error}"
    );
    assert!(yaml(b"a: &a [*a]").is_err());
    assert!(yaml(b"a: *nothing").is_err());
}

#[test]
fn the_number_of_values_is_limited() {
    let many = format!("[{}0]", "{},".repeat(super::MAX_VALUES));
    let refused = Err(DecodeError::TooMany {
        limit: super::MAX_VALUES,
    });
    assert_eq!(super::json(many.as_bytes()), refused);
    assert_eq!(yaml(many.as_bytes()), refused);
}

#[test]
fn depth_and_size_are_limited_without_a_stack_overflow() {
    let deep = [b'['; 500_000];
    assert_eq!(super::json(&deep), Err(DecodeError::TooDeep { limit: MAX_DEPTH }));
    assert_eq!(yaml(&deep), Err(DecodeError::TooDeep { limit: MAX_DEPTH }));
    let maps = "{\"a\":".repeat(100_000);
    assert_eq!(
        super::json(maps.as_bytes()),
        Err(DecodeError::TooDeep { limit: MAX_DEPTH })
    );
    assert_eq!(yaml(maps.as_bytes()), Err(DecodeError::TooDeep { limit: MAX_DEPTH }));
    let large = vec![b' '; MAX_BYTES + 1];
    assert_eq!(super::json(&large), Err(DecodeError::TooLarge { limit: MAX_BYTES }));
    assert_eq!(yaml(&large), Err(DecodeError::TooLarge { limit: MAX_BYTES }));
}

#[test]
fn numbers_stay_exact() {
    let text = br#"[9223372036854775807, -9223372036854775808, 18446744073709551615, 0.1]"#;
    assert_eq!(
        super::json(text).unwrap().value.to_string(),
        "[9223372036854775807,-9223372036854775808,18446744073709551615,0.1]"
    );
}

#[test]
fn what_is_no_json_is_refused() {
    for text in ["", "{", "{} {}", "{\"a\":}", "nul", "{'a':1}", "[1,]", "1e999"] {
        assert!(
            matches!(super::json(text.as_bytes()), Err(DecodeError::Json(_))),
            "{text}"
        );
    }
    assert!(matches!(yaml(b"a: b: c"), Err(DecodeError::Yaml(_))));
    assert_eq!(yaml(b"\xff\xfe"), Err(DecodeError::Utf8));
}

#[test]
fn documents_are_split_where_kubectl_splits_them() {
    let text = "# only a comment\n---\na: 1\n--- # two\nb: |\n  x\n  --- no\n---\n---\n{\"c\": 3}\n";
    let values: Vec<Value> = yaml_documents(text.as_bytes())
        .unwrap()
        .into_iter()
        .map(|d| d.value)
        .collect();
    assert_eq!(values, [json!({"a": 1}), json!({"b": "x\n--- no\n"}), json!({"c": 3})]);
    assert!(yaml_documents(b"a: 1\n--- b: 2\n").is_err());
    assert_eq!(yaml_documents(b"").unwrap(), []);
}

#[test]
fn type_errors_read_as_gos() {
    let deployment = schema_for("apps", "v1", "Deployment").unwrap();
    for (value, message) in [
        (
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"metadata": {"labels": "x"}}),
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": true}]}}}}),
            "json: cannot unmarshal bool into Go struct field Container.spec.template.spec.containers.image of type string",
        ),
        (
            json!({"spec": {"replicas": 3.5}}),
            "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 3_000_000_000_i64}}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": []}),
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            json!([]),
            "json: cannot unmarshal array into Go value of type v1.Deployment",
        ),
        (
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": true}}}}),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "a lot"}}}]}}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"metadata": {"creationTimestamp": "now"}}),
            "parsing time \"now\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"now\" as \"2006\"",
        ),
    ] {
        assert_eq!(types(deployment, &value).unwrap_err().to_string(), message);
    }
    let secret = schema_for("", "v1", "Secret").unwrap();
    let error = types(secret, &json!({"data": {"a": "a-b="}})).unwrap_err();
    assert_eq!(error.to_string(), "illegal base64 data at input byte 1");
    types(
        secret,
        &json!({"data": {"a": "YWJj\n", "b": null}, "stringData": {"x": "y"}}),
    )
    .unwrap();
    types(
        deployment,
        &json!({"spec": null, "metadata": {"creationTimestamp": null}}),
    )
    .unwrap();
}

#[test]
fn every_spelling_of_a_quantity_is_accepted() {
    let quota = schema_for("", "v1", "ResourceQuota").unwrap();
    for text in [
        "1", "0.5", ".5", "5.", "-1", "+1", "100m", "1Ki", "1Ei", "1E", "1e3", "1E-3", "1n", "1u", "12e6", "m", ".",
    ] {
        types(quota, &json!({"spec": {"hard": {"a": text, "b": 5, "c": 0.5}}}))
            .unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    for text in ["", "1.1.1", "1 Gi", "1gi", "1KiB", "--1", "Ei"] {
        assert!(types(quota, &json!({"spec": {"hard": {"a": text}}})).is_err(), "{text}");
    }
}

#[test]
fn pruning_leaves_what_a_typed_decoding_would_keep() {
    let mut value = json!({
        "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": null, "labels": {"x": null}, "Unknown": 1,
            "managedFields": [{"fieldsV1": {"f:a": {}, "f:b": {}}}]},
        "spec": {"foo": 1, "containers": [{"name": "c", "command": null, "env": [null], "bar": {},
            "resources": {"limits": {"cpu": "1000m", "memory": 5}}}]},
        "status": null,
    });
    prune_with(pod(), &mut value, &|text| (text == "1000m").then(|| "1".to_owned()));
    assert_eq!(
        value,
        json!({
            "kind": "Pod",
            "metadata": {"name": "a", "labels": {"x": ""}, "managedFields": [{"fieldsV1": {"f:a": {}, "f:b": {}}}]},
            "spec": {"containers": [{"name": "c", "env": [{}], "resources": {"limits": {"cpu": "1", "memory": "5"}}}]},
        })
    );
    let mut again = value.clone();
    prune(pod(), &mut again);
    assert_eq!(again, value);
}

#[test]
fn pruning_drops_empty_lists_and_maps_as_omitempty_does() {
    let mut value = json!({
        "metadata": {"labels": {}, "annotations": {"a": ""}, "finalizers": [], "ownerReferences": [{"name": "a"}]},
        "spec": {"containers": [], "volumes": [], "nodeSelector": {}, "securityContext": {}, "imagePullSecrets": [{}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
    });
    prune(pod(), &mut value);
    assert_eq!(
        value,
        json!({
            "metadata": {"annotations": {"a": ""}, "ownerReferences": [{"name": "a"}]},
            "spec": {"containers": [], "securityContext": {}, "imagePullSecrets": [{}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
        })
    );
    // What Go writes in any case, too.
    let role = schema_for("rbac.authorization.k8s.io", "v1", "Role").unwrap();
    let mut value = json!({"rules": []});
    prune(role, &mut value);
    assert_eq!(value, json!({"rules": []}));
    let ingress = schema_for("networking.k8s.io", "v1", "Ingress").unwrap();
    let mut value = json!({"spec": {"rules": []}});
    prune(ingress, &mut value);
    assert_eq!(value, json!({"spec": {}}));
}

#[test]
fn json_in_schemas_of_crds_is_kept() {
    let crd = schema_for("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let mut value = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "properties": {"a": {"default": null, "enum": [null, 1], "items": {"type": "string"}, "x-kubernetes-int-or-string": true,
            "additionalProperties": true, "properties": {"b": {"nope": 1}}}}}}}]}});
    assert_eq!(
        unknown_fields(crd, &value),
        ["spec.versions[0].schema.openAPIV3Schema.properties.a.properties.b.nope"]
    );
    types(crd, &value).unwrap();
    prune(crd, &mut value);
    let a = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"];
    assert_eq!(a["enum"], json!([null, 1]));
    assert_eq!(a["items"], json!({"type": "string"}));
}

/// Upstream's own fixtures, every field of every type filled in; they lie beside the repository on development machines.
/// [`facts_agree_with_the_types_of_k8s_openapi`] does the like everywhere.
#[test]
fn upstreams_fixtures_have_no_unknown_field_and_no_wrong_type() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/kubernetes-1.36/api-fixtures");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return;
    };
    let mut checked = 0;
    let mut without_schema = Vec::new();
    for path in entries
        .map(|entry| entry.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
    {
        let decoded = super::json(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(decoded.duplicates, Vec::<String>::new());
        let api_version = decoded.value["apiVersion"].as_str().unwrap_or("v1");
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = decoded.value["kind"].as_str().unwrap_or_default();
        let Some(schema) = schema_for(group, version, kind) else {
            without_schema.push(path.file_stem().unwrap().to_string_lossy().into_owned());
            continue;
        };
        assert_eq!(
            unknown_fields(schema, &decoded.value),
            Vec::<String>::new(),
            "{}",
            path.display()
        );
        types(schema, &decoded.value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut pruned = decoded.value.clone();
        prune(schema, &mut pruned);
        assert_eq!(pruned, decoded.value, "{}", path.display());
        checked += 1;
    }
    without_schema.sort();
    println!("{checked} fixtures; not in OpenAPI: {without_schema:?}");
    assert!(checked > 60);
}

/// Fills in every field that a schema has.
fn example(ty: &Type, depth: usize) -> Value {
    match ty {
        Type::Ref(schema) if depth > 14 => panic!("{schema:?} nests too deeply"),
        Type::Ref(schema) => {
            let fields = schema.fields.iter();
            let mut value: Value = fields
                .map(|field| (field.name.to_owned(), example(&field.ty, depth + 1)))
                .collect();
            if let Some(kind) = schema.kinds.first() {
                value["apiVersion"] = format!("{}/{}", kind.group, kind.version)
                    .trim_start_matches('/')
                    .into();
                value["kind"] = kind.kind.into();
            }
            value
        }
        Type::List { item, .. } => json!([example(item, depth + 1)]),
        Type::Map { value, .. } => json!({"key": example(value, depth + 1)}),
        Type::RawObject => json!({"kept": 1}),
        Type::Any => json!(null),
        Type::Scalar(scalar) => match scalar {
            Scalar::String => json!("text"),
            Scalar::Bool => json!(true),
            Scalar::Int32 | Scalar::Int64 => json!(7),
            Scalar::Double => json!(1.5),
            Scalar::IntOrString => json!("50%"),
            Scalar::Quantity => json!("1500m"),
            Scalar::Time => json!("2026-01-02T03:04:05Z"),
            Scalar::MicroTime => json!("2026-01-02T03:04:05.000006Z"),
            Scalar::Bytes => json!("YWJj"),
        },
    }
}

#[test]
fn facts_agree_with_the_types_of_k8s_openapi() {
    fn check<T: k8s_openapi::Resource + serde::de::DeserializeOwned + serde::Serialize>() {
        let schema = schema_for(T::GROUP, T::VERSION, T::KIND).unwrap();
        let fields = schema.fields.iter();
        let mut value: Value = fields
            .map(|field| (field.name.to_owned(), example(&field.ty, 0)))
            .collect();
        value["apiVersion"] = T::API_VERSION.into();
        value["kind"] = T::KIND.into();
        assert_eq!(unknown_fields(schema, &value), Vec::<String>::new());
        types(schema, &value).unwrap();
        let typed: T = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{}: {e}", T::KIND));
        assert_eq!(serde_json::to_value(&typed).unwrap(), value, "{}", T::KIND);
    }
    use k8s_openapi::api::{
        admissionregistration, apps, autoscaling, batch, certificates, coordination, core, discovery, events,
        networking, policy, rbac, scheduling, storage,
    };
    check::<core::v1::Pod>();
    check::<core::v1::Node>();
    check::<core::v1::Service>();
    check::<core::v1::Secret>();
    check::<core::v1::ConfigMap>();
    check::<core::v1::Event>();
    check::<core::v1::Namespace>();
    check::<core::v1::PersistentVolume>();
    check::<core::v1::PersistentVolumeClaim>();
    check::<core::v1::ResourceQuota>();
    check::<core::v1::ServiceAccount>();
    check::<apps::v1::Deployment>();
    check::<apps::v1::ReplicaSet>();
    check::<apps::v1::StatefulSet>();
    check::<apps::v1::DaemonSet>();
    check::<apps::v1::ControllerRevision>();
    check::<batch::v1::Job>();
    check::<batch::v1::CronJob>();
    check::<certificates::v1::CertificateSigningRequest>();
    check::<coordination::v1::Lease>();
    check::<discovery::v1::EndpointSlice>();
    check::<events::v1::Event>();
    check::<networking::v1::Ingress>();
    check::<networking::v1::NetworkPolicy>();
    check::<policy::v1::PodDisruptionBudget>();
    check::<rbac::v1::ClusterRole>();
    check::<rbac::v1::RoleBinding>();
    check::<scheduling::v1::PriorityClass>();
    check::<storage::v1::StorageClass>();
    check::<storage::v1::CSIDriver>();
    check::<admissionregistration::v1::ValidatingWebhookConfiguration>();
    check::<autoscaling::v1::HorizontalPodAutoscaler>();
    check::<autoscaling::v2::HorizontalPodAutoscaler>();
}

#[test]
fn yaml_is_written_as_kubectl_writes_it() {
    let value = json!({
        "metadata": {"name": "a", "annotations": {}, "creationTimestamp": "2026-01-02T03:04:05Z", "finalizers": []},
        "data": {"plain": "x y", "yes": "yes", "octal": "0777", "e": "1e3", "empty": "", "star": "*", "json": "{\"a\":1}",
            "colon": "a: b", "lines": "one\n  two\n", "open": "one\ntwo", "path": "/a/b:c", "dash": "-c", "null": null,
            "tilde": "~", "time": "1:30", "quote": "it's", "bell": "\u{7}", "on": true, "n": 1.5, "hash": "a #b"},
        "list": [{"a": 1, "b": [[1, 2], []]}, "x", {"c": {"d": "e"}}],
    });
    expect_test::expect![[r#"
        data:
          bell: "\x07"
          colon: 'a: b'
          dash: -c
          e: "1e3"
          empty: ""
          hash: 'a #b'
          json: '{"a":1}'
          lines: |
            one
              two
          "n": 1.5
          "null": null
          octal: "0777"
          "on": true
          open: |-
            one
            two
          path: /a/b:c
          plain: x y
          quote: it's
          star: '*'
          tilde: "~"
          time: "1:30"
          "yes": "yes"
        list:
        - a: 1
          b:
          - - 1
            - 2
          - []
        - x
        - c:
            d: e
        metadata:
          annotations: {}
          creationTimestamp: "2026-01-02T03:04:05Z"
          finalizers: []
          name: a
    "#]]
    .assert_eq(&to_yaml(&value));
    assert_eq!(yaml_value(&to_yaml(&value)), value);
    assert_eq!(to_yaml(&json!({})), "{}\n");
    assert_eq!(to_yaml(&json!(null)), "null\n");
    assert_eq!(yaml_value(&to_yaml(&json!("1\n---"))), json!("1\n---"));
}

#[test]
fn numbers_are_read_to_the_last_bit() {
    let text = "[2.4806022633373632e122,0.1,-8.934330540458679e-272,9007199254740993]";
    let value = super::json(text.as_bytes()).unwrap().value;
    assert_eq!(
        value.to_string(),
        "[2.4806022633373632e+122,0.1,-8.934330540458679e-272,9007199254740993]"
    );
}

fn any_text() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    prop_oneof![
        "[ -~]{0,12}",
        "[-?:,\\[\\]{}#&*!|>'\"%@` \n\t0-9xob_.eE+a-z~=<]{0,10}",
        "(yes|no|on|off|y|n|null|~|<<|=|---|\\.\\.\\.|0o7|0x1|1_0|1e3|08|\\.5|\\+1|-|\\.inf)[ :\n]?",
        any::<String>(),
    ]
}

proptest::proptest! {
    #[test]
    fn what_was_written_reads_the_same(leaves in proptest::collection::vec((any_text(), any_text()), 0..6)) {
        let map: Value = leaves.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
        let list: Vec<Value> = leaves.iter().map(|(key, text)| json!([key, {text: key}])).collect();
        let value = json!({"map": map, "list": list});
        let text = to_yaml(&value);
        let back = yaml(text.as_bytes()).map(|d| d.value);
        proptest::prop_assert_eq!(back, Ok(value), "{}", text);
    }

    #[test]
    fn no_input_makes_a_decoder_panic(text in any_text(), bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
        for input in [text.as_bytes(), &bytes] {
            let _ = super::json(input);
            let _ = yaml(input);
            let _ = yaml_documents(input);
        }
    }
}
