//! Encryption at rest: what the store holds of secrets is AES-256-GCM ciphertext.
//!
//! A sealed value is `k8s:enc:aesgcm:v1:KEY-ID:` (upstream's own layout), a 96-bit nonce, and the ciphertext with its tag. The store's key
//! is authenticated with it, so that a value copied under another key does not open. Values without the prefix were written before
//! encryption was on, or belong to resources that are not sealed; they are passed through.
//!
//! To rotate, a new key goes before the others in `pki/encryption.key` (`timonel secrets rotate`). [`reload`] takes it up while the
//! server runs, whatever is written from then on is sealed with it, and [`ledger`] knows which values still need an older one.

pub mod ledger;
mod reload;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use timonel_client::Rng;

use crate::pki::EncryptionKey;
pub(crate) use reload::follow;

const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:";

/// Why a value could not be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncryptionError {
    /// There is no key to seal with, or it is not usable.
    #[error("no usable encryption key")]
    NoKey,
    /// Another key bears a name that is in use.
    #[error("the encryption key {id:?} is another one than before; a new key needs a new name")]
    Reused {
        /// The name.
        id: String,
    },
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
    source: EncryptionKey,
    cipher: LessSafeKey,
}

impl Key {
    fn new(source: &EncryptionKey) -> Result<Arc<Self>, EncryptionError> {
        let cipher = UnboundKey::new(&AES_256_GCM, &source.key).map_err(|_| EncryptionError::NoKey)?;
        Ok(Arc::new(Self {
            source: source.clone(),
            cipher: LessSafeKey::new(cipher),
        }))
    }
}

/// The name of the key that a stored value is sealed with; `None` where it is not sealed.
pub fn key_of(stored: &[u8]) -> Option<&str> {
    let rest = stored.strip_prefix(PREFIX)?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    std::str::from_utf8(&rest[..colon]).ok()
}

/// Seals values on their way into the store and opens them on their way out.
pub struct Transformer {
    keys: ArcSwap<Vec<Arc<Key>>>,
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
        Ok(Self {
            keys: ArcSwap::from_pointee(keys.iter().map(Key::new).collect::<Result<_, _>>()?),
            sealed: resources.iter().map(|resource| (*resource).to_owned()).collect(),
            rng,
        })
    }

    /// Seals with the first of `keys` from now on. Keys that are not among them any more go on opening until the end of the process, so that
    /// a hasty removal loses nothing yet.
    ///
    /// *Errors:* nothing changes where there is no key, or where a name now stands for another key.
    pub fn adopt(&self, keys: &[EncryptionKey]) -> Result<(), EncryptionError> {
        let known = self.keys.load();
        let mut adopted = Vec::with_capacity(keys.len());
        for key in keys {
            match known.iter().find(|known| known.source.id == key.id) {
                Some(known) if known.source.key == key.key => adopted.push(Arc::clone(known)),
                Some(_) => return Err(EncryptionError::Reused { id: key.id.clone() }),
                None => adopted.push(Key::new(key)?),
            }
        }
        if adopted.is_empty() {
            return Err(EncryptionError::NoKey);
        }
        let dropped = known
            .iter()
            .filter(|key| keys.iter().all(|kept| kept.id != key.source.id));
        adopted.extend(dropped.cloned());
        self.keys.store(Arc::new(adopted));
        Ok(())
    }

    /// The name of the key that seals.
    pub fn sealing_key(&self) -> Option<String> {
        self.keys.load().first().map(|key| key.source.id.clone())
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
        let keys = self.keys.load();
        let with = keys.first().ok_or(EncryptionError::NoKey)?;
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
        let mut sealed = BytesMut::with_capacity(PREFIX.len() + with.source.id.len() + 1 + NONCE_LEN + text.len());
        for part in [PREFIX, with.source.id.as_bytes(), b":", &nonce, &text] {
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
        let keys = self.keys.load();
        let with = keys
            .iter()
            .find(|known| known.source.id.as_bytes() == id)
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
        assert_eq!(key_of(&sealed), Some("k1"));
        let removed = transformer(&[key("k2", 2)]);
        assert!(matches!(removed.open(PATH, sealed), Err(EncryptionError::UnknownKey { id, .. }) if id == "k1"));
    }
    #[test]
    fn a_key_that_comes_while_running_seals_and_the_old_ones_go_on_opening() {
        let running = transformer(&[key("k1", 1)]);
        let sealed = running.seal("secrets", PATH, Bytes::from_static(b"x")).unwrap();
        running.adopt(&[key("k2", 2)]).unwrap();
        assert_eq!(running.sealing_key().as_deref(), Some("k2"));
        assert_eq!(
            running.open(PATH, sealed).unwrap(),
            "x",
            "though k1 is gone from the file"
        );
        let refused = running.adopt(&[key("k3", 3), key("k2", 9)]);
        assert_eq!(refused, Err(EncryptionError::Reused { id: "k2".to_owned() }));
        assert_eq!(running.adopt(&[]), Err(EncryptionError::NoKey));
        assert_eq!(
            running.sealing_key().as_deref(),
            Some("k2"),
            "a refusal changes nothing"
        );
    }
}
