//! The keys of service-account tokens: one that signs, and all that verify, so that keys can be changed while tokens of the old ones live.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A key that verifies tokens.
pub(super) struct Verifying {
    /// What a token's `kid` says: the digest of the key, as upstream makes it.
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    /// As it is published.
    pub(super) jwk: Value,
}

/// The key that signs tokens.
pub(super) struct Signing {
    pub(super) key: EncodingKey,
    pub(super) public: Verifying,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Verifying {
    /// Reads a `SubjectPublicKeyInfo`. RSA signs with RS256, P-256 with ES256, P-384 with ES384, as upstream.
    fn from_spki(der: &[u8]) -> Result<Self, String> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| error.to_string())?;
        let id = encode(&Sha256::digest(der));
        let (algorithm, jwk) = match info.parsed().map_err(|error| error.to_string())? {
            PublicKey::RSA(rsa) => {
                let plain = |bytes: &[u8]| {
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    encode(bytes.get(zeros..).unwrap_or_default())
                };
                let (n, e) = (plain(rsa.modulus), plain(rsa.exponent));
                let jwk = json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": e});
                (Algorithm::RS256, jwk)
            }
            // An uncompressed point: 4, x, y.
            PublicKey::EC(point) => {
                let Some((4, coordinates)) = point.data().split_first() else {
                    return Err("the key is no uncompressed point of a curve".to_owned());
                };
                let (algorithm, name, curve) = match coordinates.len() {
                    64 => (Algorithm::ES256, "ES256", "P-256"),
                    96 => (Algorithm::ES384, "ES384", "P-384"),
                    _ => return Err("the key's curve is neither P-256 nor P-384".to_owned()),
                };
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                let (x, y) = (encode(x), encode(y));
                let jwk = json!({"use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": name, "x": x, "y": y});
                (algorithm, jwk)
            }
            _ => return Err("the key is neither RSA nor ECDSA".to_owned()),
        };
        let parsed = serde_json::from_value(jwk.clone()).map_err(|error| error.to_string())?;
        Ok(Self {
            id,
            algorithm,
            key: DecodingKey::from_jwk(&parsed).map_err(|error| error.to_string())?,
            jwk,
        })
    }

    /// Reads every key of a file, public ones and those of private ones.
    pub(super) fn all(text: &str) -> Result<Vec<Self>, String> {
        let mut found = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let (kind, der) = section.map_err(|error| error.to_string())?;
            match kind {
                SectionKind::PublicKey => found.push(Self::from_spki(&der)?),
                SectionKind::PrivateKey => found.push(of_private(&pkcs8(der))?),
                SectionKind::RsaPrivateKey => found.push(of_private(&pkcs1(der))?),
                SectionKind::EcPrivateKey => found.push(of_private(&sec1(der))?),
                // Such as the parameters that openssl writes before a key.
                _ => {}
            }
        }
        if found.is_empty() {
            return Err("there is no RSA or ECDSA key in it".to_owned());
        }
        Ok(found)
    }
}

type PrivateKey = rustls_pki_types::PrivateKeyDer<'static>;

fn pkcs8(der: Vec<u8>) -> PrivateKey {
    rustls_pki_types::PrivatePkcs8KeyDer::from(der).into()
}

fn pkcs1(der: Vec<u8>) -> PrivateKey {
    rustls_pki_types::PrivatePkcs1KeyDer::from(der).into()
}

fn sec1(der: Vec<u8>) -> PrivateKey {
    rustls_pki_types::PrivateSec1KeyDer::from(der).into()
}

fn of_private(key: &PrivateKey) -> Result<Verifying, String> {
    let pair = KeyPair::try_from(key).map_err(|error| error.to_string())?;
    Verifying::from_spki(&pair.subject_public_key_info())
}

impl Signing {
    /// Reads the first private key of a file.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let key = PrivateKey::from_pem_slice(text.as_bytes()).map_err(|error| format!("no private key: {error}"))?;
        let public = of_private(&key)?;
        let key = match public.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(text.as_bytes()),
            _ => {
                // Whichever form the file has, this one is PKCS #8.
                let pair = KeyPair::try_from(&key).map_err(|error| error.to_string())?;
                EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes())
            }
        };
        Ok(Self {
            key: key.map_err(|error| error.to_string())?,
            public,
        })
    }
}
