//! The file of keys that seal what must not lie readable in the store: one key per line, `id hex`; the first one seals, all open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use timonel_client::Rng;

use super::PkiError;
use super::files::{FileError, Vault};

const FILE: &str = "pki/encryption.key";

/// A key that encrypts values at rest, and the short name by which a stored value says which key it needs.
#[derive(Clone)]
pub struct EncryptionKey {
    /// For example `k1`.
    pub id: String,
    /// AES-256.
    pub key: [u8; 32],
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptionKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The file itself. It is replaced whole or not at all, and one process changes it at a time: a key that went lost would take
/// with it whatever it has sealed.
#[derive(Clone, Debug)]
pub struct KeyFile(Vault);

impl KeyFile {
    /// The file of the server whose data lies in `dir`.
    pub fn of(dir: &Path) -> Self {
        Self(Vault::existing(dir))
    }

    pub(super) fn within(vault: &Vault) -> Self {
        Self(vault.clone())
    }

    /// Reads the keys.
    pub fn read(&self) -> Result<Vec<EncryptionKey>, PkiError> {
        let text = self.0.read(FILE)?.ok_or_else(|| damaged("it is missing"))?;
        parse(&text)
    }

    /// Reads the keys; where there is no file yet, makes one with a first key.
    pub(super) fn read_or_create(&self, rng: &dyn Rng) -> Result<Vec<EncryptionKey>, PkiError> {
        if self.0.read(FILE)?.is_none() {
            self.0.write(FILE, &line("k1", rng))?;
        }
        self.read()
    }

    /// Puts a new key before the others, and returns its name.
    pub fn rotate(&self, rng: &dyn Rng) -> Result<String, PkiError> {
        let _alone = self.lock()?;
        let keys = self.read()?;
        let last = keys
            .iter()
            .filter_map(|key| key.id.strip_prefix('k')?.parse::<u32>().ok());
        let id = format!("k{}", last.max().unwrap_or(0).saturating_add(1));
        self.0.write(FILE, &(line(&id, rng) + &render(&keys)))?;
        Ok(id)
    }

    /// Takes a key out. The first one stays: it seals.
    pub fn remove(&self, id: &str) -> Result<(), PkiError> {
        let _alone = self.lock()?;
        let mut keys = self.read()?;
        match keys.iter().position(|key| key.id == id) {
            None => return Err(damaged(&format!("it has no key {id:?}"))),
            Some(0) => return Err(damaged(&format!("{id:?} is the key that seals; rotate first"))),
            Some(at) => drop(keys.remove(at)),
        }
        Ok(self.0.write(FILE, &render(&keys))?)
    }

    /// Held until it is dropped; the system lets go of it when a process dies.
    fn lock(&self) -> Result<Option<File>, PkiError> {
        let Some(path) = self.0.path("pki/encryption.key.lock") else {
            return Ok(None);
        };
        let held = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file));
        match held {
            Ok(file) => Ok(Some(file)),
            Err(source) => Err(FileError::new("locking", path, source).into()),
        }
    }
}

fn damaged(reason: &str) -> PkiError {
    PkiError::Damaged {
        file: FILE.to_owned(),
        reason: reason.to_owned(),
    }
}

fn line(id: &str, rng: &dyn Rng) -> String {
    let hex: String = (0..4).map(|_| format!("{:016x}", rng.next_u64())).collect();
    format!("{id} {hex}\n")
}

fn render(keys: &[EncryptionKey]) -> String {
    let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    keys.iter()
        .map(|key| format!("{} {}\n", key.id, hex(&key.key)))
        .collect()
}

fn parse(text: &str) -> Result<Vec<EncryptionKey>, PkiError> {
    let mut keys: Vec<EncryptionKey> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (id, hex) = line.split_once(' ').ok_or_else(|| damaged("a line is not `id hex`"))?;
        let hex = hex.trim().as_bytes();
        let mut key = [0; 32];
        if hex.len() != 64 || id.is_empty() || id.contains(':') {
            return Err(damaged("a key is not 64 hexadecimal digits"));
        }
        for (byte, digits) in key.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or_else(|| damaged("a key is not 64 hexadecimal digits"))?;
        }
        if keys.iter().any(|known| known.id == id) {
            return Err(damaged(&format!("two keys are called {id:?}")));
        }
        keys.push(EncryptionKey { id: id.to_owned(), key });
    }
    if keys.is_empty() {
        return Err(damaged("it is empty"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use timonel_client::OsRng;

    use super::*;

    fn ids(file: &KeyFile) -> Vec<String> {
        file.read().unwrap().into_iter().map(|key| key.id).collect()
    }

    #[test]
    fn a_new_key_goes_first_and_an_old_one_can_be_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::within(&Vault::on_disk(dir.path()).unwrap());
        let first = file.read_or_create(&OsRng).unwrap()[0].key;
        assert_eq!(KeyFile::of(dir.path()).rotate(&OsRng).unwrap(), "k2");
        assert_eq!(ids(&file), ["k2", "k1"]);
        assert_eq!(file.read().unwrap()[1].key, first, "the old key is untouched");
        assert!(file.remove("k2").unwrap_err().to_string().contains("seals"));
        assert!(file.remove("k7").is_err());
        file.remove("k1").unwrap();
        assert_eq!(ids(&file), ["k2"]);
        assert_eq!(file.rotate(&OsRng).unwrap(), "k3", "a name is not used twice");
    }

    #[test]
    fn rotations_at_the_same_time_lose_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::within(&Vault::on_disk(dir.path()).unwrap());
        file.read_or_create(&OsRng).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| drop(file.rotate(&OsRng).unwrap())));
            }
        });
        assert_eq!(ids(&file).len(), 21);
    }

    #[test]
    fn two_keys_of_one_name_are_damage() {
        let line = format!("k1 {}\n", "a".repeat(64));
        assert_eq!(parse(&line).unwrap().len(), 1);
        assert!(parse(&line.repeat(2)).is_err());
    }
}
