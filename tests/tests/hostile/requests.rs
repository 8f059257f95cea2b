//! Bodies.

use std::io::Write;

use serde_json::json;

use crate::raw::{CONFIG_MAPS, Row};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

/// Nine levels of ten aliases each: a billion strings.
pub(crate) fn billion_laughs() -> String {
    let mut text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: laughs}\na0: &a0 [lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

/// One large text, named a thousand times.
fn large_alias() -> String {
    let aliases: String = (0..1000).map(|at| format!("  k{at}: *a\n")).collect();
    format!(
        "metadata: {{name: large}}\nfirst: &a {}\ndata:\n{aliases}",
        "x".repeat(1 << 20)
    )
}

/// Each anchor names all that the next one names.
fn anchors_in_anchors() -> String {
    let anchors: String = (0..100).map(|at| format!("&n{at} [")).collect();
    format!("data: {anchors}{}{}", "0,".repeat(50_000), "]".repeat(100))
}

/// Each map merges the one before it twice.
fn merge_keys() -> String {
    let mut text = "m0: &m0 {a: 1, b: 2}\n".to_owned();
    for level in 1..40 {
        let before = level - 1;
        text.push_str(&format!(
            "m{level}: &m{level} {{<<: [*m{before}, *m{before}], k{level}: *m{before}}}\n"
        ));
    }
    text
}

fn deep_blocks() -> String {
    (0..2000).map(|level| format!("{}a:\n", " ".repeat(level))).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

fn named(name: &str) -> String {
    json!({"metadata": {"name": name}}).to_string()
}

fn pod_asking(cpu: &str) -> String {
    json!({
        "metadata": {"name": "greedy"},
        "spec": {"containers": [{"name": "one", "image": "image:1", "resources": {"requests": {"cpu": cpu}}}]},
    })
    .to_string()
}

fn managed(entry: serde_json::Value) -> String {
    json!({"metadata": {"name": "forged", "managedFields": [entry]}}).to_string()
}

pub(crate) fn rows() -> Vec<Row> {
    [json_and_yaml(), values(), encodings()].concat()
}

fn json_and_yaml() -> Vec<Row> {
    let deep = 100_000;
    vec![
        Row::post("JSON lists 100,000 deep", CONFIG_MAPS, "[".repeat(deep)),
        Row::post("JSON objects 100,000 deep", CONFIG_MAPS, "{\"a\":".repeat(deep)),
        Row::post(
            "JSON that nests and closes again",
            CONFIG_MAPS,
            format!("{{\"metadata\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
        ),
        Row::yaml("YAML lists 100,000 deep", CONFIG_MAPS, "[".repeat(deep)),
        Row::yaml("YAML maps 100,000 deep", CONFIG_MAPS, "{a: ".repeat(deep)),
        Row::yaml("YAML blocks 2,000 deep", CONFIG_MAPS, deep_blocks()),
        Row::yaml("YAML items in items", CONFIG_MAPS, "- ".repeat(deep)),
        Row::yaml("a YAML alias bomb", CONFIG_MAPS, billion_laughs()),
        Row::yaml("a large YAML alias", CONFIG_MAPS, large_alias()),
        Row::yaml("YAML merge keys that double", CONFIG_MAPS, merge_keys()),
        Row::yaml("YAML anchors in anchors", CONFIG_MAPS, anchors_in_anchors()),
        Row::post(
            "a list of very many objects",
            CONFIG_MAPS,
            format!("[{}0]", "{\"\":0},".repeat(380_000)),
        ),
        Row::yaml("a YAML alias of itself", CONFIG_MAPS, "a: &a [*a]"),
        Row::yaml("YAML anchors without end", CONFIG_MAPS, "&a ".repeat(deep)),
        Row::yaml("YAML with a key that is a map", CONFIG_MAPS, "? {a: b}\n: c\n"),
        Row::post("half a JSON document", CONFIG_MAPS, r#"{"metadata": {"name": "#),
        Row::post(
            "two JSON documents",
            CONFIG_MAPS,
            r#"{"metadata":{"name":"a"}}{"metadata":{"name":"b"}}"#,
        ),
        Row::post("JSON that is no object", CONFIG_MAPS, "null"),
        Row::post(
            "a long JSON list",
            CONFIG_MAPS,
            format!("[{}0]", "0,".repeat(1_400_000)),
        ),
        Row::post(
            "a hundred thousand unknown fields",
            &format!("{CONFIG_MAPS}?fieldValidation=Strict"),
            format!(
                "{{{}\"metadata\":{{\"name\":\"a\"}}}}",
                (0..deep).map(|at| format!("\"f{at}\":0,")).collect::<String>()
            ),
        ),
        Row::post(
            "a key twice",
            &format!("{CONFIG_MAPS}?fieldValidation=Strict"),
            r#"{"metadata":{"name":"twice","name":"again"}}"#,
        ),
    ]
}

fn values() -> Vec<Row> {
    let forged = |fields: serde_json::Value| {
        managed(json!({
            "manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
        }))
    };
    vec![
        Row::post(
            "a number out of range",
            SERVICES,
            r#"{"metadata":{"name":"a"},"spec":{"ports":[{"port":1e400}]}}"#,
        ),
        Row::post(
            "a port of twenty digits",
            SERVICES,
            r#"{"metadata":{"name":"a"},"spec":{"ports":[{"port":99999999999999999999}]}}"#,
        ),
        Row::post("a name with a NUL", CONFIG_MAPS, r#"{"metadata":{"name":"a\u0000b"}}"#).code(422),
        Row::post("a name that leads up", CONFIG_MAPS, named("..")).code(422),
        Row::post("a name that is a path", CONFIG_MAPS, named("../../etc/passwd")).code(422),
        Row::post("a name of a megabyte", CONFIG_MAPS, named(&"a".repeat(1 << 20))).code(422),
        Row::post(
            "half a surrogate pair",
            CONFIG_MAPS,
            r#"{"metadata":{"name":"\ud800"}}"#,
        )
        .codes(&[400, 422]),
        Row::post(
            "a namespace that is another's",
            CONFIG_MAPS,
            r#"{"metadata":{"name":"a","namespace":"kube-system"}}"#,
        ),
        Row::post("a quantity of a billion digits", PODS, pod_asking("1e999999999")).codes(&[400, 403, 422]),
        Row::post("a quantity of nearly nothing", PODS, pod_asking("1e-999999999")).codes(&[400, 403, 422]),
        Row::post("a quantity below zero", PODS, pod_asking("-5")).codes(&[400, 403, 422]),
        Row::post("a quantity of a megabyte", PODS, pod_asking(&"9".repeat(1 << 20))).codes(&[400, 403, 413, 422]),
        Row::post(
            "a quota that is no number",
            QUOTAS,
            r#"{"metadata":{"name":"q"},"spec":{"hard":{"pods":"many"}}}"#,
        ),
        Row::post(
            "annotations without measure",
            CONFIG_MAPS,
            json!({"metadata": {"name": "a", "annotations": {"a": "x".repeat(300 << 10)}}}).to_string(),
        )
        .code(422),
        Row::post(
            "two megabytes of data",
            CONFIG_MAPS,
            json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(2 << 20)}}).to_string(),
        )
        .codes(&[413, 422]),
        Row::post(
            "thirty thousand keys that are none",
            CONFIG_MAPS,
            format!(
                "{{\"metadata\":{{\"name\":\"a\"}},\"data\":{{{}\"k\":\"v\"}}}}",
                (0..30_000).map(|at| format!("\"/{at}\":\"\",")).collect::<String>()
            ),
        )
        .code(422),
        Row::post(
            "an owner that is nobody",
            CONFIG_MAPS,
            r#"{"metadata":{"name":"a","ownerReferences":[{"apiVersion":"","kind":"","name":"","uid":""}]}}"#,
        )
        .code(422),
        Row::post(
            "managed fields that are no fields",
            CONFIG_MAPS,
            forged(json!("nonsense")),
        )
        .codes(&[400, 422]),
        Row::post(
            "a time that is none",
            CONFIG_MAPS,
            r#"{"metadata":{"name":"a","creationTimestamp":"yesterday"}}"#,
        ),
        Row::post(
            "a list of the wrong kind",
            CONFIG_MAPS,
            r#"{"kind":"PodList","apiVersion":"v1","items":[]}"#,
        ),
        Row::post(
            "a token for a thousand years",
            "/api/v1/namespaces/default/serviceaccounts/nobody/token",
            r#"{"spec":{"expirationSeconds":9223372036854775807}}"#,
        )
        .codes(&[400, 404, 422]),
        Row::post(
            "a job for ever",
            "/apis/batch/v1/namespaces/default/cronjobs",
            r#"{"metadata":{"name":"a"},"spec":{"schedule":"99 99 99 99 99","jobTemplate":{}}}"#,
        )
        .code(422),
    ]
}

fn encodings() -> Vec<Row> {
    let json_type = "Content-Type: application/json\r\n";
    vec![
        Row::request(
            "a body that is compressed",
            "POST",
            CONFIG_MAPS,
            &format!("{json_type}Content-Encoding: gzip\r\n"),
            gzip(&named("compressed")),
        )
        .codes(&[400, 415]),
        Row::request(
            "a gzip bomb",
            "POST",
            CONFIG_MAPS,
            &format!("{json_type}Content-Encoding: gzip\r\n"),
            gzip(&" ".repeat(64 << 20)),
        )
        .codes(&[400, 415]),
        Row::request("a page of HTML", "POST", CONFIG_MAPS, "Content-Type: text/html\r\n", "<html/>").code(415),
        Row::request("a type without measure", "POST", CONFIG_MAPS, &format!("Content-Type: {}\r\n", "a/".repeat(9999)), "{}").code(415),
        Row::request("an answer in a form that is none", "GET", CONFIG_MAPS, "Accept: image/png\r\n", "").code(406),
        Row::request("ten thousand accepted forms", "GET", CONFIG_MAPS, &format!("Accept: {}\r\n", "a/b;q=0,".repeat(10_000)), "").code(406),
        Row::post("text that is not UTF-8", CONFIG_MAPS, b"{\"metadata\":{\"name\":\"\xff\xfe\"}}".to_vec()),
        Row::yaml("YAML that is not UTF-8", CONFIG_MAPS, b"metadata: {name: \xff\xfe}".to_vec()),
        Row::request(
            "protobuf that is noise",
            "POST",
            CONFIG_MAPS,
            "Content-Type: application/vnd.kubernetes.protobuf\r\n",
            [b"k8s\0".as_slice(), &[0xff; 4096]].concat(),
        ),
        Row::request(
            "protobuf with a length beyond its end",
            "POST",
            CONFIG_MAPS,
            "Content-Type: application/vnd.kubernetes.protobuf\r\n",
            b"k8s\0\x0a\xff\xff\xff\xff\x0f\x0a\x02v1".to_vec(),
        ),
        Row::request(
            "protobuf without its four letters",
            "POST",
            CONFIG_MAPS,
            "Content-Type: application/vnd.kubernetes.protobuf\r\n",
            [0x0a; 64].to_vec(),
        ),
        Row::request(
            "protobuf nested without end",
            "POST",
            CONFIG_MAPS,
            "Content-Type: application/vnd.kubernetes.protobuf\r\n",
            [b"k8s\0".as_slice(), &b"\x12\x7f".repeat(50_000)].concat(),
        ),
        Row::post("a body one byte too large", CONFIG_MAPS, vec![b' '; (3 << 20) + 1]).code(413),
        Row::raw(
            "a body without end",
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\n{json_type}Transfer-Encoding: chunked\r\n\r\n"),
        )
        .then_forever([b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat())
        .code(413),
        Row::raw(
            "a body that is announced as endless",
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\n{json_type}Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n"),
        )
        .code(413),
        Row::raw(
            "a chunk larger than all memory",
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\n{json_type}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n"),
        )
        .or_closed(),
        Row::raw(
            "a chunk with an extension without end",
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\n{json_type}Transfer-Encoding: chunked\r\n\r\n1;"),
        )
        .then_forever(vec![b'x'; 4096])
        .or_closed(),
        Row::raw(
            "trailers without end",
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\n{json_type}Transfer-Encoding: chunked\r\n\r\n0\r\n"),
        )
        .then_forever(b"x: y\r\n".repeat(1000))
        .codes(&[400, 431])
        .or_closed(),
    ]
}
