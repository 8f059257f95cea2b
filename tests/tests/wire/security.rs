//! Keys that are rotated, what is logged, and people from elsewhere.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use timonel_apiserver::pki::{Pki, PkiConfig};
use timonel_client::{Clock, OsRng, Rng, SystemClock};
use timonel_tests::{Tool, eventually, timonel};

use crate::server::Server;

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("writable");
    path.display().to_string()
}

fn secret(tool: &Tool, name: &str) -> String {
    tool.run(&["get", "secret", name, "-o", "jsonpath={.data.word}"])
}

/// The values under each key, as the server counts them.
fn counts(server: &Server) -> Vec<String> {
    let metrics = server.kubectl.run(&["get", "--raw", "/metrics"]);
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("timonel_encryption_values{"));
    lines.map(str::to_owned).collect()
}

#[test]
fn encryption_keys_are_rotated_and_no_secret_is_lost() {
    let mut server = Server::start();
    let dir = server.folder().display().to_string();
    let keys = || std::fs::read_to_string(Path::new(&dir).join("pki/encryption.key")).expect("the keys");
    let secrets = |args: &[&str]| {
        let mut all = vec!["secrets"];
        all.extend(args);
        all.extend(["--data-dir", dir.as_str()]);
        timonel().try_run(&all)
    };
    for name in ["one", "two", "three"] {
        let word = format!("--from-literal=word={name}-geheim");
        server.kubectl.run(&["create", "secret", "generic", name, &word]);
    }
    let first = secret(&server.kubectl, "one");
    assert!(!server.on_disk(b"one-geheim") && !server.on_disk(first.as_bytes()));

    // Killed between the two steps: both keys are there, everything opens.
    secrets(&["rotate"]).expect("a new key");
    assert!(keys().starts_with("k2 ") && keys().contains("\nk1 "));
    assert!(
        secrets(&["forget", "k1"])
            .expect_err("k1 is needed")
            .contains("3 Secrets are still sealed with k1")
    );
    server.kill();
    server.restart();
    assert_eq!(secret(&server.kubectl, "one"), first);

    // While it runs.
    let said = secrets(&["reencrypt"]).expect("every Secret is written again");
    assert!(said.contains("3 Secrets are sealed with k2"), "{said}");
    secrets(&["forget", "k1"]).expect("nothing needs k1");
    assert!(!keys().contains("k1"));
    server.kill();
    server.restart();
    assert_eq!(secret(&server.kubectl, "one"), first);
    assert_eq!(
        counts(&server),
        [r#"timonel_encryption_values{key="k2",seals="true"} 3"#]
    );

    // Upstream's way to write them again, with a key that a running server takes up.
    secrets(&["rotate"]).expect("a new key");
    eventually(
        "the server takes up k3",
        Duration::from_secs(30),
        || match counts(&server) {
            lines if lines.iter().any(|line| line.contains(r#"key="k3",seals="true""#)) => Ok(()),
            lines => Err(format!("{lines:?}")),
        },
        String::new,
    );
    let all = server.kubectl.run(&["get", "secrets", "-A", "-o", "json"]);
    server.kubectl.run_with(&["replace", "-f", "-"], &all);
    let zero = r#"timonel_encryption_values{key="k3",seals="true"} 3"#;
    assert_eq!(counts(&server), [zero]);

    // A key that is gone although Secrets need it: they say so, and all else is served.
    let kept = keys();
    let old: String = kept
        .lines()
        .filter(|line| line.starts_with("k2 "))
        .map(|line| format!("{line}\n"))
        .collect();
    server.kill();
    write(Path::new(&dir), "pki/encryption.key", &old);
    server.restart();
    let refused = server.kubectl.refused(&["get", "secret", "one"], "");
    assert!(
        refused.contains(r#"encrypted with key "k3", which is not among the keys"#),
        "{refused}"
    );
    assert!(
        server
            .kubectl
            .refused(&["get", "secrets", "-A"], "")
            .contains("(3 objects in all)")
    );
    server
        .kubectl
        .run(&["create", "configmap", "fine", "--from-literal=a=b"]);
    server.kill();
    write(Path::new(&dir), "pki/encryption.key", &kept);
    server.restart();
    assert_eq!(secret(&server.timonctl, "one"), first);
}

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:apiserver"]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: Metadata, verbs: [create], resources: [{group: "", resources: [pods]}], namespaces: [strict]}
- {level: RequestResponse, omitManagedFields: true, resources: [{group: "", resources: [configmaps]}], namespaces: [default]}
- {level: None}
"#;

#[test]
fn the_audit_log_says_who_did_what() {
    let server = Server::prepared("redb", |folder| {
        let policy = write(folder, "policy.yaml", POLICY);
        let log = folder.join("logs/audit.log").display().to_string();
        ["--audit-policy-file", &policy, "--audit-log-path", &log]
            .map(str::to_owned)
            .to_vec()
    });
    server
        .kubectl
        .run(&["create", "secret", "generic", "s", "--from-literal=word=geheim"]);
    server.timonctl.run(&["create", "configmap", "c", "--from-literal=a=b"]);
    let jane = ["--as=jane", "--as-group=dev"];
    server.kubectl.refused(&["get", "configmap", "c", jane[0], jane[1]], "");
    server.kubectl.run(&["get", "pods"]);
    server.kubectl.run(&["create", "namespace", "strict"]);
    let levels = ["enforce=baseline", "audit=restricted"].map(|level| format!("pod-security.kubernetes.io/{level}"));
    server
        .kubectl
        .run(&["label", "namespace", "strict", &levels[0], &levels[1]]);
    // Its own, for nobody knows when the default one is there.
    server
        .kubectl
        .run(&["create", "serviceaccount", "walker", "-n", "strict"]);
    let account = r#"--overrides={"spec":{"serviceAccountName":"walker"}}"#;
    server
        .kubectl
        .run(&["run", "p", "-n", "strict", "--image=image:1", account]);
    let [impostor, _] = server.with_token("impostor", "nonsense");
    impostor.refused(&["get", "configmaps"], "");

    let events = || -> Vec<Value> {
        let text = std::fs::read_to_string(server.folder().join("logs/audit.log")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    };
    let find = |what: &str, matches: &dyn Fn(&Value) -> bool| {
        let look = || events().iter().any(matches).then_some(()).ok_or("not yet".to_owned());
        eventually(what, Duration::from_secs(10), look, || format!("{:#?}", events()));
        events().into_iter().find(|event| matches(event)).expect("just seen")
    };
    let created = find("the Secret's creation", &|event| {
        event["objectRef"]["resource"] == "secrets" && event["verb"] == "create"
    });
    assert_eq!(
        (&created["level"], &created["stage"]),
        (&json!("Metadata"), &json!("ResponseComplete"))
    );
    assert_eq!(
        (&created["objectRef"]["name"], &created["responseStatus"]["code"]),
        (&json!("s"), &json!(201))
    );
    assert_eq!(created["user"]["username"], "kubernetes-admin");
    assert_eq!(created["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    assert!(
        created["userAgent"]
            .as_str()
            .is_some_and(|agent| agent.starts_with("kubectl"))
    );
    let map = find("the ConfigMap's creation", &|event| {
        event["objectRef"]["resource"] == "configmaps" && event["verb"] == "create"
    });
    assert_eq!(map["requestObject"]["data"], json!({"a": "b"}));
    assert_eq!(map["responseObject"]["metadata"]["name"], "c");
    assert!(map["responseObject"]["metadata"].get("managedFields").is_none());
    let refused = find("what jane may not do", &|event| event["responseStatus"]["code"] == 403);
    assert_eq!(refused["impersonatedUser"]["username"], "jane");
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    let pod = find("the pod's creation", &|event| {
        event["objectRef"]["resource"] == "pods" && event["objectRef"]["namespace"] == "strict"
    });
    let note = |name: &str| pod["annotations"][format!("pod-security.kubernetes.io/{name}")].clone();
    assert_eq!(note("enforce-policy"), "baseline:latest");
    let violations = note("audit-violations");
    let words = "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false";
    assert!(
        violations.as_str().is_some_and(|text| text.starts_with(words)),
        "{violations}"
    );
    assert_eq!(pod["annotations"]["authorization.k8s.io/decision"], "allow");
    let text = std::fs::read_to_string(server.folder().join("logs/audit.log")).expect("the log");
    let elsewhere =
        |event: &Value| event["objectRef"]["resource"] == "pods" && event["objectRef"]["namespace"] != "strict";
    assert!(
        !text.contains("Z2VoZWlt") && !events().iter().any(elsewhere),
        "neither words of Secrets nor what is not asked for"
    );
    let metrics = server.kubectl.run(&["get", "--raw", "/metrics"]);
    assert!(
        metrics.contains("apiserver_audit_error_total{plugin=\"log\"} 0"),
        "{metrics}"
    );
}

#[test]
fn users_of_a_token_file_are_let_in() {
    let server = Server::prepared("redb", |folder| {
        let tokens = write(folder, "tokens.csv", "s3cret,jane,u-1,\"dev,ops\"\n");
        vec!["--token-auth-file".to_owned(), tokens]
    });
    for tool in server.with_token("jane", "s3cret") {
        let user: Value = serde_json::from_str(&tool.run(&["auth", "whoami", "-o", "json"])).expect("JSON");
        let user = &user["status"]["userInfo"];
        assert_eq!((&user["username"], &user["uid"]), (&json!("jane"), &json!("u-1")));
        assert_eq!(user["groups"], json!(["dev", "ops", "system:authenticated"]));
        assert!(
            tool.refused(&["get", "nodes"], "")
                .contains(r#"User "jane" cannot list resource "nodes""#)
        );
    }
    let [stranger, _] = server.with_token("stranger", "s3cret2");
    stranger.refused(&["get", "nodes"], "");
}

/// An OpenID Connect issuer on loopback: its URL, what it is verified by, and what it signs with.
fn issuer() -> (String, String, EncodingKey) {
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(OsRng));
    let pki = Pki::in_memory(&PkiConfig::default(), &clock, &rng).expect("keys");
    let key = EncodingKey::from_ec_pem(pki.service_account_key().as_bytes()).expect("a key");
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public key");
    jwk.common.key_id = Some("1".to_owned());
    let mut tls = pki.server_config().expect("TLS");
    tls.alpn_protocols.clear();
    let tls = Arc::new(tls);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string();
    let keys = json!({ "keys": [jwk] }).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(connection) = rustls::ServerConnection::new(Arc::clone(&tls)) else {
                return;
            };
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut head = Vec::new();
            let mut piece = [0; 1024];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            let body = if head.starts_with(b"GET /keys ") {
                &keys
            } else {
                &discovery
            };
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all((head + body).as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (url, pki.ca_pem().to_owned(), key)
}

#[test]
fn tokens_of_an_openid_connect_issuer_are_users() {
    let (url, ca_pem, key) = issuer();
    let server = Server::prepared("redb", |folder| {
        let ca = write(folder, "issuer.crt", &ca_pem);
        let flags = [
            ("issuer-url", url.as_str()),
            ("client-id", "timonel"),
            ("ca-file", &ca),
            ("signing-algs", "ES256"),
            ("username-claim", "email"),
            ("username-prefix", "oidc:"),
            ("groups-claim", "groups"),
            ("groups-prefix", "oidc:"),
            ("required-claim", "hd=example.com"),
        ];
        flags
            .iter()
            .map(|(name, value)| format!("--oidc-{name}={value}"))
            .collect()
    });
    let token = |change: Value| {
        let mut claims = json!({
            "iss": url, "aud": "timonel", "exp": SystemClock.now().as_second() + 3600, "hd": "example.com",
            "email": "jane@example.com", "email_verified": true, "groups": ["dev"],
        });
        for (name, value) in change.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("1".to_owned());
        jsonwebtoken::encode(&header, &claims, &key).expect("a token")
    };
    server.kubectl.run(&[
        "create",
        "clusterrolebinding",
        "devs",
        "--clusterrole=view",
        "--group=oidc:dev",
    ]);
    for tool in server.with_token("jane", &token(json!({}))) {
        let user: Value = serde_json::from_str(&tool.run(&["auth", "whoami", "-o", "json"])).expect("JSON");
        assert_eq!(user["status"]["userInfo"]["username"], "oidc:jane@example.com");
        assert_eq!(
            user["status"]["userInfo"]["groups"],
            json!(["oidc:dev", "system:authenticated"])
        );
        tool.run(&["get", "configmaps"]);
        tool.refused(&["create", "configmap", "c", "--from-literal=a=b"], "");
    }
    let bad = [
        json!({"email_verified": false}),
        json!({"aud": "somebody-else"}),
        json!({"hd": "example.org"}),
        json!({"exp": SystemClock.now().as_second() - 1}),
    ];
    for change in bad {
        let [refused, _] = server.with_token("refused", &token(change.clone()));
        refused.refused(&["get", "configmaps"], "");
    }
}

#[test]
fn others_can_verify_service_account_tokens_and_a_bound_one_dies_with_its_secret() {
    let server = Server::prepared("redb", |_| {
        [
            "--service-account-issuer=https://issuer.example",
            "--api-audiences=https://issuer.example,more",
        ]
        .map(str::to_owned)
        .to_vec()
    });
    let read =
        |path: &str| -> Value { serde_json::from_str(&server.kubectl.run(&["get", "--raw", path])).expect("JSON") };
    let discovery = read("/.well-known/openid-configuration");
    assert_eq!(discovery["issuer"], "https://issuer.example");
    let jwks_uri = discovery["jwks_uri"].as_str().expect("a URL");
    assert!(
        jwks_uri.starts_with("https://127.0.0.1:") && jwks_uri.ends_with("/openid/v1/jwks"),
        "{jwks_uri}"
    );
    server.kubectl.run(&["create", "serviceaccount", "bot"]);
    server
        .kubectl
        .run(&["create", "secret", "generic", "held", "--from-literal=a=b"]);
    let bound = ["--bound-object-kind=Secret", "--bound-object-name=held"];
    let token = server.kubectl.run(&["create", "token", "bot", bound[0], bound[1]]);
    let token = token.trim();

    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(read("/openid/v1/jwks")).expect("keys");
    let id = jsonwebtoken::decode_header(token)
        .expect("a header")
        .kid
        .expect("a key's name");
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&id).expect("published")).expect("a key");
    let mut rules = jsonwebtoken::Validation::new(Algorithm::ES256);
    rules.set_audience(&["https://issuer.example"]);
    rules.set_issuer(&["https://issuer.example"]);
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules)
        .expect("a token that verifies")
        .claims;
    assert_eq!(claims["kubernetes.io"]["secret"]["name"], "held");
    assert_eq!(claims["aud"], json!(["https://issuer.example", "more"]));

    let [bot, _] = server.with_token("bot", token);
    let user: Value = serde_json::from_str(&bot.run(&["auth", "whoami", "-o", "json"])).expect("JSON");
    assert_eq!(
        user["status"]["userInfo"]["username"],
        "system:serviceaccount:default:bot"
    );
    server.kubectl.run(&["delete", "secret", "held"]);
    bot.refused(&["auth", "whoami"], "");
}

#[test]
fn metrics_read_as_prometheus_and_upstream_have_them() {
    let server = Server::start();
    server.kubectl.run(&["create", "configmap", "c", "--from-literal=a=b"]);
    let mut watch = server
        .kubectl
        .command(&["get", "configmaps", "--watch"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("kubectl starts");
    let text = || server.kubectl.run(&["get", "--raw", "/metrics"]);
    let running = |text: &str| {
        text.lines().any(|line| {
            line.starts_with("apiserver_longrunning_requests{")
                && line.contains(r#"resource="configmaps""#)
                && line.ends_with("} 1")
        })
    };
    eventually(
        "the watch is counted while it runs",
        Duration::from_secs(20),
        || {
            if running(&text()) {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        },
        text,
    );
    watch.kill().expect("it can be killed");
    watch.wait().expect("it has ended");
    eventually(
        "and not when it has ended",
        Duration::from_secs(20),
        || {
            if running(&text()) {
                Err("not yet".to_owned())
            } else {
                Ok(())
            }
        },
        text,
    );

    let text = text();
    let mut families = Vec::new();
    let mut kind = "";
    let mut below = 0.0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a sentence");
            assert!(!help.is_empty() && !families.contains(&name), "{line}");
            families.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, what) = rest.split_once(' ').expect("a kind");
            assert_eq!(families.last(), Some(&name), "{line}");
            kind = what;
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let value: f64 = value.parse().expect("a number");
            let name = series.split('{').next().unwrap_or_default();
            let base = match kind {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end)),
                _ => Some(name),
            };
            assert_eq!(base, families.last().copied(), "{line}");
            if name.ends_with("_bucket") {
                below = if line.contains(r#"le="0.005""#) { 0.0 } else { below };
                assert!(value >= below, "buckets only grow: {line}");
                below = value;
            }
        }
    }
    let created = r#"apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1"} 1"#;
    assert!(text.lines().any(|line| line == created), "{text}");
    for name in [
        "apiserver_request_duration_seconds",
        "apiserver_current_inflight_requests",
        "apiserver_storage_objects",
        "authentication_attempts",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(families.contains(&name), "{name} is missing");
    }
}
