use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use timonel_client::OsRng;

use super::*;
use crate::authz::Authorizer;
use crate::authz::fake::FakeReader;
use crate::pki::PkiConfig;

#[derive(Debug)]
struct Hand(Mutex<Timestamp>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct World {
    clock: Arc<Hand>,
    rng: Arc<dyn Rng>,
    pki: Pki,
    reader: Arc<FakeReader>,
    authenticator: Authenticator,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(Hand(Mutex::new(Timestamp::from_second(1_790_000_000).unwrap())));
        let rng: Arc<dyn Rng> = Arc::new(OsRng);
        let port: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let pki = Pki::in_memory(&PkiConfig::default(), &port, &rng).unwrap();
        let reader = FakeReader::new()
            .with(
                "serviceaccounts",
                json!({"metadata": {"namespace": "demo", "name": "bot", "uid": "sa-1"}}),
            )
            .with(
                "pods",
                json!({"metadata": {"namespace": "demo", "name": "web", "uid": "pod-1"},
                       "spec": {"serviceAccountName": "bot", "nodeName": "n1"}}),
            )
            .with("nodes", json!({"metadata": {"name": "n1", "uid": "node-1"}}));
        let reader = Arc::new(reader);
        let authenticator = Authenticator::new(
            AuthnConfig::default(),
            &pki,
            Arc::clone(&reader) as Arc<dyn ObjectReader>,
            port,
            Arc::clone(&rng),
        )
        .unwrap();
        Self {
            clock,
            rng,
            pki,
            reader,
            authenticator,
        }
    }

    /// The same server started again with other keys.
    fn restarted(&mut self, signing: Option<&str>, verifying: &[&str]) -> Result<(), String> {
        let file = |text: &&str| KeyFile {
            file: "given.pem".to_owned(),
            text: (*text).to_owned(),
        };
        let config = AuthnConfig {
            signing_key: signing.as_ref().map(file),
            verifying_keys: verifying.iter().map(file).collect(),
            ..AuthnConfig::default()
        };
        let reader = Arc::clone(&self.reader) as Arc<dyn ObjectReader>;
        self.authenticator = Authenticator::new(config, &self.pki, reader, self.port(), Arc::clone(&self.rng))
            .map_err(|error| timonel_client::chain(&error))?;
        Ok(())
    }

    fn pass(&self, seconds: i64) {
        *self.clock.0.lock().unwrap() += SignedDuration::from_secs(seconds);
    }

    fn port(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    async fn with_token(&self, token: &str) -> Result<UserInfo, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.authenticator.authenticate(&headers, None).await
    }

    fn issue(&self, spec: Value) -> Result<String, ApiError> {
        let (answer, _) = self.authenticator.token_request("demo", "bot", json!({"spec": spec}))?;
        Ok(answer["status"]["token"].as_str().unwrap().to_owned())
    }
}

fn pod_ref() -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "pod-1"})
}

#[tokio::test]
async fn a_client_certificate_names_its_user_and_groups() {
    let world = World::new();
    let cert = world
        .pki
        .issue_client("system:node:n1", &["system:nodes"], &world.port(), &world.rng)
        .unwrap();
    let peer = [cert.cert_der];
    let ask = || world.authenticator.authenticate(&HeaderMap::new(), Some(&peer)).now();
    let user = ask().unwrap();
    assert_eq!(user.username, "system:node:n1");
    assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
    assert_eq!(ask().unwrap(), user, "the second time it is known");
    world.pass(366 * 86_400);
    assert_eq!(ask(), Err(ApiError::Unauthorized), "expired");
}

#[tokio::test]
async fn certificates_of_strangers_and_serving_certificates_are_refused() {
    let (world, other) = (World::new(), World::new());
    let cert = other
        .pki
        .issue_client("kubernetes-admin", &["system:masters"], &other.port(), &other.rng)
        .unwrap();
    for peer in [cert.cert_der, world.pki.serving().cert_der.clone()] {
        let answer = world.authenticator.authenticate(&HeaderMap::new(), Some(&[peer])).await;
        assert_eq!(answer, Err(ApiError::Unauthorized));
    }
}

#[tokio::test]
async fn nobody_is_anonymous_and_nonsense_is_unauthorized() {
    let world = World::new();
    let nobody = world.authenticator.authenticate(&HeaderMap::new(), None).await.unwrap();
    assert_eq!(nobody, UserInfo::anonymous());
    assert_eq!(world.with_token("nonsense").await, Err(ApiError::Unauthorized));
    assert_eq!(world.with_token("a.b.c").await, Err(ApiError::Unauthorized));
}

#[tokio::test]
async fn a_service_account_token_lives_as_long_as_its_account_and_pod() {
    let world = World::new();
    let token = world
        .issue(json!({"expirationSeconds": 600, "boundObjectRef": pod_ref()}))
        .unwrap();
    let user = world.with_token(&token).await.unwrap();
    assert_eq!(user.username, "system:serviceaccount:demo:bot");
    assert_eq!(user.uid, "sa-1");
    assert_eq!(
        user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:demo",
            "system:authenticated"
        ]
    );
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["node-1"]);

    let pod = world.reader.get("pods", "demo", "web").unwrap();
    let mut reborn = (*pod).clone();
    reborn["metadata"]["uid"] = "pod-2".into();
    world.reader.put("pods", reborn);
    assert_eq!(
        world.with_token(&token).await,
        Err(ApiError::Unauthorized),
        "another pod of that name"
    );
    world.reader.put("pods", (*pod).clone());
    assert!(world.with_token(&token).await.is_ok());
    world.reader.remove("serviceaccounts", "demo", "bot");
    assert_eq!(
        world.with_token(&token).await,
        Err(ApiError::Unauthorized),
        "no account"
    );
}

#[tokio::test]
async fn a_token_bound_to_a_secret_or_a_node_dies_with_it() {
    let world = World::new();
    let secret = json!({"metadata": {"namespace": "demo", "name": "s", "uid": "secret-1"}});
    world.reader.put("secrets", secret);
    let bound = |kind: &str, name: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name}});
    let to_secret = world.issue(bound("Secret", "s")).unwrap();
    let to_node = world.issue(bound("Node", "n1")).unwrap();
    let of_secret = world.with_token(&to_secret).await.unwrap();
    assert!(!of_secret.extra.contains_key("authentication.kubernetes.io/node-name"));
    let on_node = world.with_token(&to_node).await.unwrap();
    assert_eq!(on_node.extra["authentication.kubernetes.io/node-name"], ["n1"]);
    assert_eq!(on_node.extra["authentication.kubernetes.io/node-uid"], ["node-1"]);
    let other = json!({"metadata": {"namespace": "demo", "name": "s", "uid": "secret-2"}});
    world.reader.put("secrets", other);
    assert!(
        world.with_token(&to_secret).await.is_err(),
        "another Secret of that name"
    );
    world
        .reader
        .put("nodes", json!({"metadata": {"name": "n1", "uid": "node-2"}}));
    assert!(world.with_token(&to_node).await.is_err(), "another node of that name");
}

#[tokio::test]
async fn a_service_account_token_expires_and_is_not_forged() {
    let (world, other) = (World::new(), World::new());
    let token = world.issue(json!({"expirationSeconds": 600})).unwrap();
    assert!(world.with_token(&token).await.is_ok());
    assert_eq!(
        world.with_token(&other.issue(json!({})).unwrap()).await,
        Err(ApiError::Unauthorized),
        "another key"
    );
    let elsewhere = world.issue(json!({"audiences": ["vault"]})).unwrap();
    assert_eq!(
        world.with_token(&elsewhere).await,
        Err(ApiError::Unauthorized),
        "another audience"
    );
    world.pass(600 + 61);
    assert_eq!(world.with_token(&token).await, Err(ApiError::Unauthorized), "expired");
}

#[test]
fn token_requests_are_checked_as_upstream_does() {
    let world = World::new();
    let refusal = |spec| world.issue(spec).unwrap_err().to_string();
    assert!(refusal(json!({"expirationSeconds": 599})).contains("may not specify a duration less than 10 minutes"));
    assert!(
        refusal(json!({"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "x"}}))
            .starts_with("cannot bind token to object of type")
    );
    assert_eq!(
        refusal(json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "gone"}})),
        "pods \"gone\" not found"
    );
    let stale = json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "pod-0"});
    assert!(refusal(json!({"boundObjectRef": stale})).contains("does not match the UID in record"));
    let other = world.authenticator.token_request("demo", "nobody", json!({"spec": {}}));
    assert_eq!(other.unwrap_err().to_string(), "serviceaccounts \"nobody\" not found");
    let long =
        world
            .authenticator
            .token_request("demo", "bot", json!({"spec": {"expirationSeconds": 4_000_000_000_i64}}));
    assert_eq!(long.unwrap().0["spec"]["expirationSeconds"], 365 * 24 * 3600);
}

fn bootstrap_secret(changes: Value) -> Value {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let mut data = json!({
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
    });
    for (key, value) in changes.as_object().unwrap() {
        data[key] = value.clone();
    }
    let data: serde_json::Map<String, Value> = data
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), encode(value.as_str().unwrap()).into()))
        .collect();
    json!({"metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
           "type": "bootstrap.kubernetes.io/token", "data": data})
}

#[tokio::test]
async fn bootstrap_tokens_are_read_from_their_secrets() {
    let world = World::new();
    const TOKEN: &str = "abcdef.0123456789abcdef";
    assert!(world.with_token(TOKEN).await.is_err());
    world.reader.put(
        "secrets",
        bootstrap_secret(json!({"expiration": "2126-01-01T00:00:00Z"})),
    );
    let user = world.with_token(TOKEN).await.unwrap();
    assert_eq!(user.username, "system:bootstrap:abcdef");
    assert_eq!(
        user.groups,
        [
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:default-node-token",
            "system:authenticated"
        ]
    );
    assert!(world.with_token("abcdef.0123456789abcdee").await.is_err());
    for change in [
        json!({"expiration": "2020-01-01T00:00:00Z"}),
        json!({"expiration": "soon"}),
        json!({"usage-bootstrap-authentication": "false"}),
        json!({"auth-extra-groups": "system:masters"}),
        json!({"token-id": "zzzzzz"}),
    ] {
        world.reader.put("secrets", bootstrap_secret(change.clone()));
        assert!(world.with_token(TOKEN).await.is_err(), "{change}");
    }
}

#[tokio::test]
async fn token_reviews_answer_with_the_user_or_the_reason() {
    let world = World::new();
    let token = world.issue(json!({"audiences": ["vault"]})).unwrap();
    let ask = |spec| token_review(&world.authenticator, json!({"spec": spec}));
    let good = ask(json!({"token": token, "audiences": ["vault", "other"]}))
        .await
        .unwrap();
    assert_eq!(good["status"]["user"]["username"], "system:serviceaccount:demo:bot");
    assert_eq!(good["status"]["audiences"], json!(["vault"]));
    let bad = ask(json!({"token": token})).await.unwrap();
    assert_eq!(bad["status"]["authenticated"], false);
    assert!(ask(json!({})).await.is_err());
    let own = self_subject_review(&UserInfo::new("jane", &["dev"]), json!({}));
    assert_eq!(
        own["status"]["userInfo"],
        json!({"username": "jane", "groups": ["dev", "system:authenticated"]})
    );
}

#[test]
fn the_published_key_verifies_the_tokens() {
    let world = World::new();
    let token = world.issue(json!({})).unwrap();
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(world.authenticator.jwks()).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.validate_exp = false;
    rules.validate_aud = false;
    assert!(jsonwebtoken::decode::<Value>(&token, &key, &rules).is_ok());
    assert_eq!(
        world.authenticator.openid_configuration()["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
}

#[tokio::test]
async fn keys_are_changed_while_the_tokens_of_the_old_ones_live() {
    let mut world = World::new();
    let own = world.pki.service_account_key().to_owned();
    let pair = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
    let p384 = pair(&rcgen::PKCS_ECDSA_P384_SHA384);
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let algorithm = |token: &str| jsonwebtoken::decode_header(token).unwrap().alg;
    let count = |world: &World| world.authenticator.jwks()["keys"].as_array().unwrap().len();
    let first = world.issue(json!({})).unwrap();
    assert_eq!(count(&world), 1);

    // The new key is known before it signs.
    world.restarted(None, &[&p384.public_key_pem()]).unwrap();
    assert_eq!(
        algorithm(&world.issue(json!({})).unwrap()),
        jsonwebtoken::Algorithm::ES256
    );
    assert_eq!(count(&world), 2);
    // It signs, and the old one is still known, as a private key that stands twice.
    world.restarted(Some(&p384.serialize_pem()), &[&own, &own]).unwrap();
    let second = world.issue(json!({})).unwrap();
    assert_eq!(algorithm(&second), jsonwebtoken::Algorithm::ES384);
    assert!(world.with_token(&first).await.is_ok() && world.with_token(&second).await.is_ok());
    assert_eq!(count(&world), 2);
    // Two in one file.
    let both = format!("{own}{}", p384.public_key_pem());
    world.restarted(Some(&rsa.serialize_pem()), &[&both]).unwrap();
    let third = world.issue(json!({})).unwrap();
    assert_eq!(algorithm(&third), jsonwebtoken::Algorithm::RS256);
    for token in [&first, &second, &third] {
        assert!(world.with_token(token).await.is_ok());
    }
    let published = world.authenticator.openid_configuration();
    assert_eq!(
        published["id_token_signing_alg_values_supported"],
        json!(["ES256", "ES384", "RS256"])
    );
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(world.authenticator.jwks()).unwrap();
    for token in [first.as_str(), &second, &third] {
        let header = jsonwebtoken::decode_header(token).unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
        let mut rules = jsonwebtoken::Validation::new(header.alg);
        (rules.validate_exp, rules.validate_aud) = (false, false);
        assert!(jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok());
    }
    // The old one is withdrawn.
    world
        .restarted(Some(&rsa.serialize_pem()), &[&p384.public_key_pem()])
        .unwrap();
    assert_eq!(world.with_token(&first).await, Err(ApiError::Unauthorized));
    assert!(world.with_token(&second).await.is_ok());
}

#[test]
fn a_key_file_that_holds_no_key_is_named() {
    let mut world = World::new();
    let refused = world.restarted(None, &["nothing"]).unwrap_err();
    assert!(
        refused.contains("given.pem") && refused.contains("no RSA or ECDSA key"),
        "{refused}"
    );
    let public = rcgen::KeyPair::generate().unwrap().public_key_pem();
    let refused = world.restarted(Some(&public), &[]).unwrap_err();
    assert!(
        refused.contains("given.pem") && refused.contains("no private key"),
        "{refused}"
    );
    let edwards = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .unwrap()
        .serialize_pem();
    assert!(world.restarted(Some(&edwards), &[]).is_err());
}

#[test]
fn impersonation_needs_the_verb_and_takes_on_groups() {
    let reader = FakeReader::new()
        .with(
            "clusterroles.rbac.authorization.k8s.io",
            json!({"metadata": {"name": "support"}, "rules": [
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"]},
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
                {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"]}]}),
        )
        .with(
            "clusterrolebindings.rbac.authorization.k8s.io",
            json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "support"},
                   "subjects": [{"kind": "User", "name": "help"}]}),
        );
    let authorizer = Authorizer::new(Arc::new(reader));
    let act = |headers: &[(&'static str, &str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        impersonation::apply(&map, UserInfo::new("help", &[]), &authorizer)
    };
    assert_eq!(act(&[]).unwrap().username, "help");
    let jane = act(&[("impersonate-user", "jane"), ("impersonate-extra-scopes", "view")]).unwrap();
    assert_eq!(
        (jane.username.as_str(), &jane.groups[..]),
        ("jane", &["system:authenticated".to_owned()][..])
    );
    assert_eq!(jane.extra["scopes"], ["view"]);
    let bot = act(&[("impersonate-user", "system:serviceaccount:demo:bot")]).unwrap();
    assert!(bot.is_in("system:serviceaccounts:demo"));
    assert_eq!(
        act(&[("impersonate-user", "joe")]).unwrap_err().to_string(),
        r#"users "joe" is forbidden: User "help" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );
    assert!(act(&[("impersonate-user", "jane"), ("impersonate-group", "system:masters")]).is_err());
    assert!(act(&[("impersonate-user", "jane"), ("impersonate-extra-other", "x")]).is_err());
    assert!(matches!(
        act(&[("impersonate-group", "dev")]),
        Err(ApiError::Internal(_))
    ));
}

trait Now: std::future::Future + Sized {
    /// Runs a future that never waits.
    fn now(self) -> Self::Output {
        futures::FutureExt::now_or_never(self).unwrap()
    }
}

impl<F: std::future::Future> Now for F {}
