//! Credentials that are none.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::raw::{CONFIG_MAPS, Row};
use crate::server::Who;

fn token(header: serde_json::Value, claims: serde_json::Value, signature: &str) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// A request that is nothing but its credentials.
fn bearing(name: &'static str, token: &str) -> Row {
    let header = format!("Authorization: Bearer {token}\r\n");
    Row::request(name, "GET", CONFIG_MAPS, &header, "").by(Who::Stranger)
}

pub(crate) fn rows() -> Vec<Row> {
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": "system:serviceaccount:kube-system:default",
        "aud": ["https://kubernetes.default.svc.cluster.local"],
        "exp": 4_102_444_800_u64,
    });
    let rs256 = json!({"alg": "RS256", "typ": "JWT", "kid": "forged"});
    let signature = URL_SAFE_NO_PAD.encode([7; 256]);
    vec![
        bearing("a token that is noise", "nonsense").code(401),
        bearing("a token of dots", &".".repeat(1000)).code(401),
        bearing(
            "a token without a signature",
            &token(json!({"alg": "none"}), claims.clone(), ""),
        )
        .code(401),
        bearing(
            "a token that says None",
            &token(json!({"alg": "NoNe"}), claims.clone(), ""),
        )
        .code(401),
        bearing(
            "a token signed by a stranger",
            &token(rs256, claims.clone(), &signature),
        )
        .code(401),
        bearing(
            "a token signed with a public key as if it were a secret",
            &token(json!({"alg": "HS256", "kid": "forged"}), claims, &signature),
        )
        .code(401),
        bearing(
            "a token that is deep inside",
            &format!(
                "{}.{}.x",
                URL_SAFE_NO_PAD.encode("[".repeat(50_000)),
                URL_SAFE_NO_PAD.encode("{}")
            ),
        )
        .code(401),
        bearing("a token of 200 KB", &"a".repeat(200 << 10)).code(401),
        bearing("a token of a megabyte", &"a".repeat(1 << 20))
            .code(431)
            .or_closed(),
        bearing("a bootstrap token that nobody gave", "abcdef.0123456789abcdef").code(401),
        Row::raw(
            "a token that is not text",
            [b"GET /api HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer \xff\xfe\r\n\r\n".as_slice()].concat(),
        )
        .by(Who::Stranger)
        .codes(&[400, 401, 403]),
        Row::request(
            "a password",
            "GET",
            CONFIG_MAPS,
            "Authorization: Basic YWRtaW46YWRtaW4=\r\n",
            "",
        )
        .by(Who::Stranger)
        .codes(&[401, 403]),
        Row::request("nobody at all", "GET", CONFIG_MAPS, "", "")
            .by(Who::Stranger)
            .code(403),
        Row::request(
            "nobody who would be somebody",
            "GET",
            CONFIG_MAPS,
            "Impersonate-User: admin\r\nImpersonate-Group: system:masters\r\n",
            "",
        )
        .by(Who::Stranger)
        .code(403),
        Row::request(
            "a group without a user",
            "GET",
            CONFIG_MAPS,
            "Impersonate-Group: system:masters\r\n",
            "",
        )
        .codes(&[400, 403, 500]),
        Row::request(
            "a name among the proxy's headers",
            "GET",
            CONFIG_MAPS,
            "X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n",
            "",
        )
        .by(Who::Stranger)
        .code(403),
        Row::get("a certificate that signed itself", CONFIG_MAPS)
            .by(Who::Impostor)
            .code(401),
    ]
}
