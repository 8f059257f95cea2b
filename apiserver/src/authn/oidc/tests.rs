use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::json;
use timonel_client::{Clock, OsRng, Rng, SystemClock};

use super::*;
use crate::pki::{Pki, PkiConfig};

/// An issuer on loopback, with a certificate of its own authority.
struct Issuer {
    url: String,
    ca_pem: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
}

fn signer(id: &str) -> (EncodingKey, Value) {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let raw = pair.public_key_raw().to_vec();
    let part = |at: usize| URL_SAFE_NO_PAD.encode(&raw[at..at + 32]);
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": part(1), "y": part(33)});
    (EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(), jwk)
}

impl Issuer {
    async fn start() -> Self {
        let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(OsRng));
        let pki = Pki::in_memory(&PkiConfig::default(), &clock, &rng).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let keys: Arc<Mutex<Vec<Value>>> = Arc::default();
        let asked: Arc<AtomicUsize> = Arc::default();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(pki.server_config().unwrap()));
        let (issuer, served, counted) = (url.clone(), keys.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let (issuer, served, counted) = (issuer.clone(), served.clone(), counted.clone());
                let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let body = if request.uri().path() == "/keys" {
                        counted.fetch_add(1, Ordering::SeqCst);
                        json!({"keys": *served.lock().unwrap()})
                    } else {
                        json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")})
                    };
                    let body = Full::new(bytes::Bytes::from(body.to_string()));
                    async { Ok::<_, std::convert::Infallible>(Response::new(body)) }
                });
                let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                tokio::spawn(async move { builder.serve_connection(TokioIo::new(stream), answer).await.is_ok() });
            }
        });
        Self {
            url,
            ca_pem: pki.ca_pem().to_owned(),
            keys,
            asked,
        }
    }

    fn config(&self) -> OidcConfig {
        OidcConfig {
            issuer_url: self.url.clone(),
            client_id: "timonel".to_owned(),
            ca_pem: Some(self.ca_pem.clone()),
            signing_algs: vec!["RS256".to_owned(), "ES256".to_owned()],
            ..OidcConfig::default()
        }
    }

    fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": ["other", "timonel"], "sub": "jane", "exp": 2_000_000_000})
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn token(key: &EncodingKey, id: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(id.to_owned());
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

#[tokio::test]
async fn tokens_of_the_issuer_are_users_and_others_are_left_to_others() {
    let issuer = Issuer::start().await;
    let (key, jwk) = signer("a");
    issuer.keys.lock().unwrap().push(jwk);
    let oidc = Oidc::new(issuer.config()).unwrap();
    let jane = token(&key, "a", &issuer.claims());
    let user = oidc.authenticate(&jane, now()).await.unwrap().unwrap();
    assert_eq!(user.username, format!("{}#jane", issuer.url));
    let (stranger, _) = signer("a");
    let forged = token(&stranger, "a", &issuer.claims());
    let error = oidc.authenticate(&forged, now()).await.unwrap_err();
    assert_eq!(
        error,
        TokenError::Oidc("failed to verify id token signature".to_owned())
    );
    let elsewhere = token(&key, "a", &json!({"iss": "https://other.example", "sub": "x"}));
    assert_eq!(oidc.authenticate(&elsewhere, now()).await, Ok(None));
    assert_eq!(oidc.authenticate("nonsense", now()).await, Ok(None));
    let hmac = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &issuer.claims(),
        &EncodingKey::from_secret(b"x"),
    );
    assert!(matches!(
        oidc.authenticate(&hmac.unwrap(), now()).await,
        Err(TokenError::Oidc(_))
    ));
}

/// A key of any kind that signs ID tokens, as PEM, and how the issuer publishes it.
fn published(pair: &KeyPair, id: &str) -> Value {
    let mut jwk = crate::authn::signing::Verifying::all(&pair.public_key_pem()).unwrap()[0]
        .jwk
        .clone();
    // An RSA key may sign with any of the RSA algorithms unless it says which.
    jwk.as_object_mut().unwrap().remove("alg");
    jwk["kid"] = json!(id);
    jwk
}

#[tokio::test]
async fn every_algorithm_that_the_flags_name_is_verified_and_no_other() {
    let issuer = Issuer::start().await;
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let set = [(&rsa, "rsa"), (&p256, "p256"), (&p384, "p384")];
    issuer
        .keys
        .lock()
        .unwrap()
        .extend(set.map(|(pair, id)| published(pair, id)));
    let of_rsa = || EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap();
    let of_curve = |pair: &KeyPair| EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let all = [
        ("RS256", "rsa", of_rsa()),
        ("RS384", "rsa", of_rsa()),
        ("RS512", "rsa", of_rsa()),
        ("PS256", "rsa", of_rsa()),
        ("PS384", "rsa", of_rsa()),
        ("PS512", "rsa", of_rsa()),
        ("ES256", "p256", of_curve(&p256)),
        ("ES384", "p384", of_curve(&p384)),
    ];
    let names: Vec<String> = all.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let with = |algorithms: Vec<String>| {
        Oidc::new(OidcConfig {
            signing_algs: algorithms,
            ..issuer.config()
        })
        .unwrap()
    };
    let (every, default) = (with(names.clone()), with(Vec::new()));
    for (name, id, key) in &all {
        for kid in [Some((*id).to_owned()), None] {
            let mut header = Header::new(algorithm(name).unwrap());
            header.kid = kid;
            let token = jsonwebtoken::encode(&header, &issuer.claims(), key).unwrap();
            let user = every.authenticate(&token, now()).await.unwrap().unwrap();
            assert_eq!(user.username, format!("{}#jane", issuer.url), "{name}");
            // Without the flag it is RS256 alone.
            let answer = default.authenticate(&token, now()).await;
            match *name {
                "RS256" => assert!(matches!(answer, Ok(Some(_)))),
                _ => assert_eq!(
                    answer,
                    Err(TokenError::Oidc(format!("unexpected signature algorithm {name}")))
                ),
            }
        }
    }
    // Signed by the right issuer with the wrong kind of key for its name.
    let mut crossed = Header::new(Algorithm::ES256);
    crossed.kid = Some("p384".to_owned());
    let token = jsonwebtoken::encode(&crossed, &issuer.claims(), &of_curve(&p256)).unwrap();
    assert!(every.authenticate(&token, now()).await.is_err());
}

#[tokio::test]
async fn a_new_key_is_fetched_and_the_issuer_is_not_bothered_by_unknown_ones() {
    let issuer = Issuer::start().await;
    let ((old, old_jwk), (new, new_jwk)) = (signer("old"), signer("new"));
    issuer.keys.lock().unwrap().push(old_jwk);
    let oidc = Oidc::new(issuer.config()).unwrap();
    let (first, second) = (
        token(&old, "old", &issuer.claims()),
        token(&new, "new", &issuer.claims()),
    );
    assert!(oidc.authenticate(&first, now()).await.is_ok());
    for _ in 0..5 {
        assert!(oidc.authenticate(&second, now()).await.is_err());
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    *issuer.keys.lock().unwrap() = vec![new_jwk];
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    tokio::time::resume();
    assert!(oidc.authenticate(&second, now()).await.unwrap().is_some());
    assert!(
        oidc.authenticate(&first, now()).await.is_err(),
        "a key that was withdrawn"
    );
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn settings_that_do_not_work_are_named_by_their_flags() {
    let refused = |change: fn(&mut OidcConfig)| {
        let mut config = OidcConfig {
            issuer_url: "https://issuer.example".to_owned(),
            client_id: "c".to_owned(),
            ..OidcConfig::default()
        };
        change(&mut config);
        Oidc::new(config)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert_eq!(
        refused(|c| c.issuer_url = "http://x".to_owned()),
        "--oidc-issuer-url: URL scheme must be https"
    );
    assert!(refused(|c| c.client_id.clear()).starts_with("--oidc-client-id: "));
    assert!(refused(|c| c.signing_algs = vec!["none".to_owned()]).starts_with("--oidc-signing-algs: \"none\""));
    assert!(refused(|c| c.ca_pem = Some(String::new())).starts_with("--oidc-ca-file: "));
}

#[test]
fn claims_mean_what_upstream_makes_of_them() {
    let config = OidcConfig {
        issuer_url: "https://i".to_owned(),
        client_id: "c".to_owned(),
        username_claim: "email".to_owned(),
        groups_claim: "roles".to_owned(),
        groups_prefix: "oidc:".to_owned(),
        required_claims: [("hd".to_owned(), "example.com".to_owned())].into(),
        ..OidcConfig::default()
    };
    let base =
        json!({"aud": "c", "exp": 2e9, "email": "j@example.com", "hd": "example.com", "roles": ["dev"], "jti": "7"});
    let with = |config: &OidcConfig, change: Value| {
        let mut claims = base.as_object().unwrap().clone();
        claims.extend(change.as_object().unwrap().clone());
        claims.retain(|_, value| !value.is_null());
        claims::user(config, &claims, now())
    };
    let user = with(&config, json!({})).unwrap();
    assert_eq!(
        (user.username.as_str(), user.groups),
        ("j@example.com", vec!["oidc:dev".to_owned()])
    );
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=7"]);
    assert_eq!(with(&config, json!({"roles": "one"})).unwrap().groups, ["oidc:one"]);
    assert!(with(&config, json!({"roles": null})).unwrap().groups.is_empty());
    assert!(with(&config, json!({"email_verified": true})).is_ok());
    let refused = [
        (json!({"email_verified": false}), "email not verified"),
        (
            json!({"email_verified": "true"}),
            "parse 'email_verified' claim: it is no boolean",
        ),
        (json!({"email": ""}), "username cannot be empty"),
        (
            json!({"email": null}),
            "parse username claims \"email\": claim not present",
        ),
        (json!({"aud": ["d"]}), "expected audience \"c\" got [\"d\"]"),
        (
            json!({"exp": 1_789_999_999}),
            "token is expired (Token Expiry: 1789999999)",
        ),
        (json!({"exp": null}), "token is expired (Token Expiry: 0)"),
        (
            json!({"roles": [1]}),
            "parse groups claim \"roles\": it is no list of strings",
        ),
        (json!({"hd": null}), "required claim hd not present in ID token"),
        (
            json!({"hd": "x"}),
            "required claim hd value does not match. Got = \"x\", want = example.com",
        ),
    ];
    for (change, reason) in refused {
        assert_eq!(with(&config, change).unwrap_err(), reason);
    }
    assert!(with(&config, json!({"nbf": 1_790_000_299})).is_ok());
    assert!(with(&config, json!({"nbf": 1_790_000_301})).is_err());
    let named = |claim: &str, prefix: &str| {
        let config = OidcConfig {
            username_claim: claim.to_owned(),
            username_prefix: prefix.to_owned(),
            ..config.clone()
        };
        with(&config, json!({"sub": "jane"})).unwrap().username
    };
    assert_eq!(named("sub", ""), "https://i#jane");
    assert_eq!(named("sub", "-"), "jane");
    assert_eq!(named("sub", "oidc:"), "oidc:jane");
    assert_eq!(named("email", "oidc:"), "oidc:j@example.com");
}
