//! Paths, queries, headers and methods.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::raw::{CONFIG_MAPS, Row};

fn query(name: &'static str, query: &str) -> Row {
    Row::get(name, &format!("{CONFIG_MAPS}?{query}")).code(400)
}

fn continued(name: &'static str, token: &str) -> Row {
    query(name, &format!("limit=1&continue={token}"))
}

pub(crate) fn forged(rv: Value, start: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": rv, "start": start}).to_string())
}

pub(crate) fn rows() -> Vec<Row> {
    [paths(), queries(), headers(), methods()].concat()
}

fn paths() -> Vec<Row> {
    let object = |name, path: &str| Row::get(name, &format!("{CONFIG_MAPS}/{path}")).code(404);
    vec![
        object("a path that leads up", "../../../../etc/passwd").codes(&[400, 404]),
        object("two dots for a name", ".."),
        object("dots that are escaped", "%2e%2e%2f%2e%2e"),
        object("a slash that is escaped", "a%2fb"),
        object("a NUL that is escaped", "a%00b"),
        object("a line break that is escaped", "a%0d%0aX-Injected:%20yes"),
        object("escapes that are none", "%zz%f"),
        object("bytes that are no text", "%ff%fe"),
        object("a name of 10,000 characters", &"a".repeat(10_000)),
        object("a hundred path segments", &"a/".repeat(100)),
        object("slashes upon slashes", &"/".repeat(1000)).codes(&[200, 404]),
        Row::get("a group that is none", "/apis/..%2f..%2f/v1/things").code(404),
        Row::get("a version that is none", "/api/v999/pods").code(404),
        Row::get("a file", "/etc/passwd").code(404),
        Row::get("a URL of 60 KB", &format!("/{}", "a".repeat(60_000))).codes(&[404, 414]),
        Row::get("a URL of 100 KB", &format!("/{}", "a".repeat(100_000))).codes(&[414, 431]),
        Row::get("a URL of a megabyte", &format!("/{}", "a".repeat(1 << 20)))
            .codes(&[414, 431])
            .or_closed(),
        Row::raw("a URL without end", "GET /")
            .then_forever(vec![b'a'; 4096])
            .codes(&[414, 431])
            .or_closed(),
        Row::get(
            "a node that leads elsewhere",
            "/api/v1/nodes/https:169.254.169.254:80/proxy/",
        )
        .code(404),
        Row::get(
            "a pod that leads elsewhere",
            "/api/v1/namespaces/default/pods/169.254.169.254:80/proxy/",
        )
        .code(404),
    ]
}

fn queries() -> Vec<Row> {
    vec![
        query("a label selector that is none", "labelSelector=%21%21%3D%3D%28"),
        query(
            "a label selector that never closes",
            &format!("labelSelector=a+in+%28{}", "b,".repeat(20_000)),
        ),
        query(
            "a label selector of 60 KB of brackets",
            &format!("labelSelector={}", "(".repeat(60_000)),
        ),
        query("a label of 60 KB", &format!("labelSelector={}", "a".repeat(60_000))),
        query(
            "a field selector of a field that is none",
            "fieldSelector=spec.secret%3Dx",
        ),
        query("a field selector that is noise", "fieldSelector=%3D%3D%3D,,%21"),
        query(
            "a field selector of 60 KB",
            &format!("fieldSelector={}", "a%3Db,".repeat(8_000)),
        ),
        continued("a continue token that is noise", "nonsense"),
        continued(
            "a continue token that is noise in base64",
            &URL_SAFE_NO_PAD.encode([0xff; 64]),
        ),
        continued(
            "a continue token of another version",
            &URL_SAFE_NO_PAD.encode(r#"{"v":"v9","rv":1,"start":"a"}"#),
        ),
        continued(
            "a continue token from before the beginning",
            &forged(json!(-7), "default/victim\0"),
        ),
        // There is no key of this name among config maps, and nothing else is looked at.
        continued(
            "a continue token that leads to another kind",
            &forged(json!(-1), "../../secrets/default/\0"),
        )
        .ok(),
        continued(
            "a continue token with a text for a number",
            &forged(json!("1"), "default/a\0"),
        ),
        continued(
            "a continue token nested 20,000 deep",
            &URL_SAFE_NO_PAD.encode("[".repeat(20_000)),
        ),
        query("a resourceVersion that is none", "resourceVersion=abc"),
        query("a resourceVersion below zero", "resourceVersion=-1"),
        query(
            "a resourceVersion beyond 64 bits",
            "resourceVersion=18446744073709551616",
        ),
        query("a watch from a version that is none", "watch=1&resourceVersion=abc"),
        query(
            "a watch from beyond 64 bits",
            "watch=1&resourceVersion=18446744073709551616",
        ),
        query("a limit beyond 64 bits", "limit=99999999999999999999"),
        query("a limit that is none", "limit=many"),
        query("a limit below zero, which is none", "limit=-1").ok(),
        query("a limit of all numbers", "limit=9223372036854775807").ok(),
        query("a watch for ever", "watch=1&timeoutSeconds=9223372036854775807").ok(),
        query("a watch for less than no time", "watch=1&timeoutSeconds=-1").ok(),
        query("a watch timeout that is none", "watch=1&timeoutSeconds=1e9"),
        query("a timeout that is none", "timeout=banana"),
        query("a version match that is none", "resourceVersionMatch=Perhaps").codes(&[400, 422]),
        query("initial events without a watch", "sendInitialEvents=true").codes(&[400, 422]),
        query("ten thousand parameters", &"a=b&".repeat(10_000)).ok(),
        Row::request(
            "a deletion in the far future",
            "DELETE",
            &format!("{CONFIG_MAPS}/nothing?gracePeriodSeconds=9223372036854775807"),
            "",
            "",
        )
        .code(404),
        Row::request(
            "a deletion by a policy that is none",
            "DELETE",
            &format!("{CONFIG_MAPS}/victim?propagationPolicy=Scorched"),
            "",
            "",
        )
        .codes(&[400, 422]),
        Row::request(
            "a deletion of another uid",
            "DELETE",
            &format!("{CONFIG_MAPS}/victim"),
            "Content-Type: application/json\r\n",
            r#"{"preconditions":{"uid":"other"}}"#,
        )
        .code(409),
    ]
}

fn headers() -> Vec<Row> {
    let flood: String = (0..10_000).map(|at| format!("X-H{at}: v\r\n")).collect();
    let some: String = (0..700).map(|at| format!("X-H{at}: v\r\n")).collect();
    let giant = format!("X-Giant: {}\r\n", "a".repeat(1 << 20));
    vec![
        Row::request("a flood of headers", "GET", "/api", &flood, "").code(431),
        Row::request("seven hundred headers", "GET", "/api", &some, "").code(431),
        Row::request("a header of a megabyte", "GET", "/api", &giant, "").code(431).or_closed(),
        Row::raw("headers without end", "GET /api HTTP/1.1\r\nHost: server\r\n")
            .then_forever(b"X-More: and more\r\n".repeat(100))
            .code(431)
            .or_closed(),
        Row::raw("a header name with a blank", "GET /api HTTP/1.1\r\nHost : server\r\n\r\n").or_closed(),
        Row::raw("a header that is folded", "GET /api HTTP/1.1\r\nHost: server\r\nX: a\r\n b\r\n\r\n").or_closed(),
        Row::raw("a header with a NUL", b"GET /api HTTP/1.1\r\nHost: server\r\nX: a\0b\r\n\r\n".to_vec()).or_closed(),
        Row::raw("two lengths that differ", "POST /api HTTP/1.1\r\nHost: server\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
            .or_closed(),
        Row::raw("a length below zero", "POST /api HTTP/1.1\r\nHost: server\r\nContent-Length: -5\r\n\r\n").or_closed(),
        Row::raw(
            "a length and chunks, to smuggle a second request",
            format!(
                "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nDELETE {CONFIG_MAPS}/victim HTTP/1.1\r\nHost: server\r\n\r\n"
            ),
        )
        .or_closed(),
        Row::raw(
            "a coding after chunked",
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: server\r\nTransfer-Encoding: chunked, identity\r\n\r\n"),
        )
        .or_closed(),
    ]
}

fn methods() -> Vec<Row> {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let upgraded = |name, path: &str| Row::raw(name, format!("GET {path} HTTP/1.1\r\nHost: server\r\n{upgrade}\r\n"));
    vec![
        Row::request("a method that is none", "FROB", CONFIG_MAPS, "", "").codes(&[400, 405]),
        Row::request("a method of 100 KB", &"A".repeat(100_000), CONFIG_MAPS, "", "")
            .codes(&[400, 405, 414, 431])
            .or_closed(),
        Row::request("TRACE", "TRACE", CONFIG_MAPS, "", "").codes(&[400, 405]),
        Row::raw("CONNECT", "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: server\r\n\r\n").codes(&[400, 403, 404, 405]),
        Row::raw(
            "a version of HTTP that is none",
            "GET /api HTTP/9.9\r\nHost: server\r\n\r\n",
        )
        .or_closed(),
        Row::raw("noise where HTTP should be", vec![0xfe; 1024]).or_closed(),
        Row::raw("HTTP/2 where HTTP/1.1 was settled", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").or_closed(),
        Row::request(
            "a deletion of what has no such verb",
            "DELETE",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            "",
            "",
        )
        .codes(&[404, 405]),
        Row::request("a write to a path that is no resource", "POST", "/version", "", "{}").codes(&[404, 405]),
        upgraded(
            "a WebSocket to a command in a pod that is none",
            "/api/v1/namespaces/default/pods/nothing/exec?command=sh",
        )
        .code(404),
        upgraded(
            "a WebSocket to a config map's log",
            "/api/v1/namespaces/default/configmaps/victim/log",
        )
        .code(404),
        Row::request(
            "a command without an upgrade",
            "POST",
            "/api/v1/namespaces/default/pods/nothing/exec?command=sh",
            "",
            "",
        )
        .codes(&[400, 404]),
    ]
}
