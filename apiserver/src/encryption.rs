//! Encryption at rest: what the store holds of secrets is AES-256-GCM ciphertext.
//!
//! A sealed value is `k8s:enc:aesgcm:v1:KEY-ID:` (upstream's own layout), a 96-bit nonce, and the ciphertext with its tag. The store's key
//! is authenticated with it, so that a value copied under another key does not open. Values without the prefix were written before
//! encryption was on, or belong to resources that are not sealed; they are passed through.
//!
//! To rotate: a new first line in `pki/encryption.key`, a restart, and every object that is rewritten uses the new key.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use timonel_client::Rng;

use crate::pki::EncryptionKey;

const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:";

/// Why a value could not be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncryptionError {
    /// There is no key to seal with, or it is not usable.
    #[error("no usable encryption key")]
    NoKey,
    /// The value names a key that is not there any more.
    #[error("{key} is encrypted with key {id:?}, which is not among the keys")]
    UnknownKey {
        /// Under which store key it lies.
        key: String,
        /// Which encryption key it needs.
        id: String,
    },
    /// The value was changed, cut short, or moved from another key.
    #[error("{key} does not decrypt: it is damaged, or was not written under this key")]
    Damaged {
        /// Under which store key it lies.
        key: String,
    },
}

struct Key {
    id: String,
    cipher: LessSafeKey,
}

/// Seals values on their way into the store and opens them on their way out.
pub struct Transformer {
    keys: Vec<Key>,
    sealed: BTreeSet<String>,
    rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Transformer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transformer")
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

impl Transformer {
    /// Seals the values of `resources` (`secrets`) with the first key; opens with any.
    pub fn new(keys: &[EncryptionKey], resources: &[&str], rng: Arc<dyn Rng>) -> Result<Self, EncryptionError> {
        let keys = keys
            .iter()
            .map(|key| {
                let cipher = UnboundKey::new(&AES_256_GCM, &key.key).map_err(|_| EncryptionError::NoKey)?;
                Ok(Key {
                    id: key.id.clone(),
                    cipher: LessSafeKey::new(cipher),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            keys,
            sealed: resources.iter().map(|resource| (*resource).to_owned()).collect(),
            rng,
        })
    }

    /// Says whether a resource's values are sealed.
    pub fn seals(&self, resource: &str) -> bool {
        self.sealed.contains(resource)
    }

    /// Makes the value that the store is to hold under `key`. Resources that are not sealed pass through.
    pub fn seal(&self, resource: &str, key: &str, plain: Bytes) -> Result<Bytes, EncryptionError> {
        if !self.seals(resource) {
            return Ok(plain);
        }
        let with = self.keys.first().ok_or(EncryptionError::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.rng.next_u64().to_be_bytes());
        nonce[8..].copy_from_slice(&self.rng.next_u64().to_be_bytes()[..4]);
        let mut text = plain.to_vec();
        with.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key.as_bytes()),
                &mut text,
            )
            .map_err(|_| EncryptionError::NoKey)?;
        let mut sealed = BytesMut::with_capacity(PREFIX.len() + with.id.len() + 1 + NONCE_LEN + text.len());
        for part in [PREFIX, with.id.as_bytes(), b":", &nonce, &text] {
            sealed.extend_from_slice(part);
        }
        Ok(sealed.freeze())
    }

    /// Makes the value that was sealed, from what the store holds under `key`.
    pub fn open(&self, key: &str, stored: Bytes) -> Result<Bytes, EncryptionError> {
        let Some(rest) = stored.strip_prefix(PREFIX) else {
            return Ok(stored);
        };
        let damaged = || EncryptionError::Damaged { key: key.to_owned() };
        let colon = rest.iter().position(|byte| *byte == b':').ok_or_else(damaged)?;
        let (id, body) = (&rest[..colon], &rest[colon + 1..]);
        let with = self
            .keys
            .iter()
            .find(|known| known.id.as_bytes() == id)
            .ok_or_else(|| EncryptionError::UnknownKey {
                key: key.to_owned(),
                id: String::from_utf8_lossy(id).into_owned(),
            })?;
        let (nonce, text) = body.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut text = text.to_vec();
        let length = with
            .cipher
            .open_in_place(nonce, Aad::from(key.as_bytes()), &mut text)
            .map_err(|_| damaged())?
            .len();
        text.truncate(length);
        Ok(Bytes::from(text))
    }
}

#[cfg(test)]
mod tests {
    use timonel_client::SeededRng;

    use super::*;

    const PATH: &str = "/registry/core/secrets/demo/s";

    fn key(id: &str, byte: u8) -> EncryptionKey {
        EncryptionKey {
            id: id.to_owned(),
            key: [byte; 32],
        }
    }

    fn transformer(keys: &[EncryptionKey]) -> Transformer {
        Transformer::new(keys, &["secrets"], Arc::new(SeededRng::new(1))).unwrap()
    }

    #[test]
    fn secrets_are_sealed_and_open_again_and_others_pass() {
        let transformer = transformer(&[key("k1", 1)]);
        let plain = Bytes::from_static(b"{\"data\":\"geheim\"}");
        let sealed = transformer.seal("secrets", PATH, plain.clone()).unwrap();
        assert!(sealed.starts_with(b"k8s:enc:aesgcm:v1:k1:"));
        assert!(!sealed.windows(6).any(|window| window == b"geheim"));
        assert_ne!(
            sealed,
            transformer.seal("secrets", PATH, plain.clone()).unwrap(),
            "nonces differ"
        );
        assert_eq!(transformer.open(PATH, sealed).unwrap(), plain);
        assert_eq!(transformer.seal("pods", PATH, plain.clone()).unwrap(), plain);
        assert_eq!(
            transformer.open(PATH, plain.clone()).unwrap(),
            plain,
            "written before encryption was on"
        );
    }

    #[test]
    fn damage_moves_and_cuts_are_noticed() {
        let transformer = transformer(&[key("k1", 1)]);
        let sealed = transformer.seal("secrets", PATH, Bytes::from_static(b"x")).unwrap();
        let damaged = |key: &str, bytes: Bytes| {
            assert!(matches!(
                transformer.open(key, bytes),
                Err(EncryptionError::Damaged { .. })
            ));
        };
        damaged("/registry/core/secrets/demo/other", sealed.clone());
        damaged(PATH, sealed.slice(..sealed.len() - 1));
        damaged(PATH, sealed.slice(..PREFIX.len() + 5));
        let mut flipped = sealed.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        damaged(PATH, flipped.into());
    }

    #[test]
    fn a_rotated_key_still_opens_and_a_removed_one_is_named() {
        let old = transformer(&[key("k1", 1)]);
        let sealed = old.seal("secrets", PATH, Bytes::from_static(b"x")).unwrap();
        let rotated = transformer(&[key("k2", 2), key("k1", 1)]);
        assert_eq!(rotated.open(PATH, sealed.clone()).unwrap(), "x");
        assert!(
            rotated
                .seal("secrets", PATH, Bytes::new())
                .unwrap()
                .starts_with(b"k8s:enc:aesgcm:v1:k2:")
        );
        let removed = transformer(&[key("k2", 2)]);
        assert!(matches!(removed.open(PATH, sealed), Err(EncryptionError::UnknownKey { id, .. }) if id == "k1"));
    }
}
