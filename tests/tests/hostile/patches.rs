//! Patches and applies.

use serde_json::{Value, json};

use crate::raw::Row;

const CONFIG_MAP: &str = "/api/v1/namespaces/default/configmaps/victim";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/victim";

fn operations(operation: Value, times: usize) -> String {
    Value::Array(vec![operation; times]).to_string()
}

/// Copies that double what is there.
fn doubling() -> String {
    let copies = (0..64).map(|at| json!({"op": "copy", "from": "/data", "path": format!("/data/{at}")}));
    Value::Array(copies.collect()).to_string()
}

/// Ten thousand removals at the head of a long list.
fn shifting() -> String {
    let add = json!({"op": "add", "path": "/list", "value": vec![0; 1_000_000]});
    let removals = vec![json!({"op": "remove", "path": "/list/0"}); 9_999];
    Value::Array([vec![add], removals].concat()).to_string()
}

fn strategic(name: &'static str, spec: Value) -> Row {
    Row::patch(
        name,
        "strategic-merge-patch+json",
        DEPLOYMENT,
        json!({"spec": {"template": {"spec": spec}}}).to_string(),
    )
}

fn applied(data: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"victim"{data}}}}}"#)
}

fn apply(name: &'static str, query: &str, body: String) -> Row {
    Row::patch(name, "apply-patch+yaml", &format!("{CONFIG_MAP}?{query}"), body)
}

pub(crate) fn rows() -> Vec<Row> {
    [json_patches(), merges(), applies()].concat()
}

fn json_patches() -> Vec<Row> {
    let json = |name, body: String| Row::patch(name, "json-patch+json", CONFIG_MAP, body);
    vec![
        json(
            "ten thousand and one operations",
            operations(json!({"op": "test", "path": ""}), 10_001),
        )
        .code(413),
        json("copies that double", doubling()).code(422),
        json("removals that shift a long list", shifting()).code(413),
        json(
            "a path 100,000 deep",
            operations(json!({"op": "add", "path": "/a".repeat(100_000), "value": 1}), 1),
        )
        .code(422),
        json(
            "a value 100,000 deep",
            format!(r#"[{{"op":"add","path":"/data","value":{}"#, "[".repeat(100_000)),
        ),
        json(
            "an operation that is none",
            operations(json!({"op": "frobnicate", "path": "/data"}), 1),
        )
        .code(422),
        json(
            "a path that is none",
            operations(json!({"op": "add", "path": "data", "value": 1}), 1),
        )
        .code(422),
        json(
            "an index beyond all memory",
            operations(
                json!({"op": "add", "path": "/metadata/finalizers/99999999999999999999", "value": "a"}),
                1,
            ),
        )
        .code(422),
        json(
            "a move into itself",
            operations(json!({"op": "move", "from": "/metadata", "path": "/metadata/a"}), 1),
        )
        .code(422),
        json(
            "the whole replaced by a number",
            operations(json!({"op": "replace", "path": "", "value": 1}), 1),
        )
        .code(422),
        json(
            "another uid",
            operations(json!({"op": "replace", "path": "/metadata/uid", "value": "x"}), 1),
        )
        .codes(&[409, 422]),
        json(
            "another name",
            operations(json!({"op": "replace", "path": "/metadata/name", "value": ".."}), 1),
        )
        .codes(&[400, 422]),
        json("no patch at all", "{}".to_owned()),
    ]
}

fn merges() -> Vec<Row> {
    let merge = |name, body: String| Row::patch(name, "merge-patch+json", CONFIG_MAP, body);
    vec![
        merge("a merge patch 100,000 deep", "{\"a\":".repeat(100_000)),
        merge("a merge patch that is a list", "[1]".to_owned()).codes(&[400, 422]),
        merge("a kind that is another", r#"{"kind":"Secret"}"#.to_owned()).codes(&[400, 422]),
        merge(
            "a resourceVersion that is none",
            r#"{"metadata":{"resourceVersion":"x"}}"#.to_owned(),
        )
        .codes(&[400, 409, 422]),
        strategic(
            "a directive that is none",
            json!({"containers": [{"name": "one", "$patch": "frobnicate"}]}),
        )
        .codes(&[400, 422]),
        strategic("a directive that is a number", json!({"$patch": 7})).codes(&[400, 422]),
        strategic(
            "an order that is no list",
            json!({"$setElementOrder/containers": "nonsense"}),
        ),
        strategic(
            "an order that contradicts",
            json!({"$setElementOrder/containers": [{"name": "two"}], "containers": [{"name": "one", "image": "b"}]}),
        )
        .codes(&[400, 422]),
        strategic(
            "an order of a field that is none",
            json!({"$setElementOrder/": [], "$retainKeys": {"a": 1}}),
        )
        .codes(&[400, 422]),
        strategic("keys to retain that are no list", json!({"$retainKeys": "all"})),
        strategic("items without their merge key", json!({"containers": [{"image": "b"}]})).codes(&[400, 422]),
        strategic("a list where a map should be", json!({"containers": {"name": "one"}})).codes(&[400, 422]),
        Row::patch(
            "a patch of a kind that is none",
            "frobnicate-patch+json",
            CONFIG_MAP,
            "{}",
        )
        .code(415),
        Row::patch(
            "a patch of what is not there",
            "merge-patch+json",
            "/api/v1/namespaces/default/configmaps/nothing",
            "{}",
        )
        .code(404),
    ]
}

fn applies() -> Vec<Row> {
    let labels: String = (0..10_000).map(|at| format!("\"l{at}\":\"{at:>070}\",")).collect();
    let fields = r#","managedFields":[{"manager":"a","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{}}}]"#;
    vec![
        apply("an apply by nobody", "", applied("")).codes(&[400, 422]),
        apply("an apply with forged managedFields", "fieldManager=a", applied(fields)),
        apply(
            "an apply of 10,000 labels that are too long",
            "fieldManager=a",
            applied(&format!(",\"labels\":{{{labels}\"a\":\"b\"}}")),
        )
        .code(422),
        apply(
            "an apply of two megabytes",
            "fieldManager=a",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "victim"}, "data": {"a": "x".repeat(2 << 20)}})
                .to_string(),
        )
        .codes(&[413, 422]),
        apply("an apply by a manager without measure", &format!("fieldManager={}", "a".repeat(1000)), applied("")).codes(&[400, 422]),
        apply("an apply of an alias bomb", "fieldManager=a", crate::requests::billion_laughs()),
        apply("an apply 100,000 deep", "fieldManager=a", "[".repeat(100_000)),
        apply("an apply under another name", "fieldManager=a", applied("").replace("victim", "other")),
        Row::patch(
            "an apply of one item twice",
            "apply-patch+yaml",
            &format!("{DEPLOYMENT}?fieldManager=a"),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "victim"},
                "spec": {"template": {"spec": {"containers": [{"name": "one"}, {"name": "one"}]}}},
            })
            .to_string(),
        )
        .codes(&[400, 422, 500]),
    ]
}
