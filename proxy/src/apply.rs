//! The node's kernel, as a port: the real one runs `nft` and `ip`.

use std::path::PathBuf;
use std::process::Stdio;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Why the kernel could not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataplaneError {
    /// A program could not be run.
    #[error("run {program}")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A program refused.
    #[error("{program} refused: {reason}")]
    Refused {
        /// Which.
        program: &'static str,
        /// Its words.
        reason: String,
    },
    /// A file could not be written.
    #[error("write {path}")]
    Write {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What the proxy does to a node.
#[async_trait]
pub trait Dataplane: Send + Sync + std::fmt::Debug + 'static {
    /// Loads an nftables script as one transaction.
    async fn load_rules(&self, script: &str) -> Result<(), DataplaneError>;

    /// Runs lines of `ip` commands; a line that fails does not keep the next from running where `force` is set.
    async fn ip(&self, lines: &str, force: bool) -> Result<(), DataplaneError>;

    /// Returns what an `ip` command prints.
    async fn ip_output(&self, arguments: &[&str]) -> Result<String, DataplaneError>;

    /// Writes a file, whole or not at all, where it differs; says whether it did.
    async fn write(&self, path: PathBuf, text: String) -> Result<bool, DataplaneError>;

    /// Says whether a file is there.
    async fn exists(&self, path: PathBuf) -> bool;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxDataplane;

impl LinuxDataplane {
    async fn feed(program: &'static str, arguments: &[&str], input: &str) -> Result<String, DataplaneError> {
        let failed = |source| DataplaneError::Run { program, source };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that refuses early closes its input; its own words are the better error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let reason = String::from_utf8_lossy(&output.stderr)
            .trim()
            .chars()
            .take(2000)
            .collect();
        Err(DataplaneError::Refused { program, reason })
    }
}

#[async_trait]
impl Dataplane for LinuxDataplane {
    async fn load_rules(&self, script: &str) -> Result<(), DataplaneError> {
        Self::feed("nft", &["-f", "-"], script).await.map(drop)
    }

    async fn ip(&self, lines: &str, force: bool) -> Result<(), DataplaneError> {
        let arguments: &[&str] = if force {
            &["-force", "-batch", "-"]
        } else {
            &["-batch", "-"]
        };
        match Self::feed("ip", arguments, lines).await {
            Err(DataplaneError::Refused { .. }) if force => Ok(()),
            other => other.map(drop),
        }
    }

    async fn ip_output(&self, arguments: &[&str]) -> Result<String, DataplaneError> {
        Self::feed("ip", arguments, "").await
    }

    async fn write(&self, path: PathBuf, text: String) -> Result<bool, DataplaneError> {
        let failed = |source| DataplaneError::Write {
            path: path.display().to_string(),
            source,
        };
        if tokio::fs::read_to_string(&path).await.is_ok_and(|old| old == text) {
            return Ok(false);
        }
        if path.starts_with("/proc") {
            tokio::fs::write(&path, text).await.map_err(failed)?;
            return Ok(true);
        }
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let new = path.with_extension("new");
        tokio::fs::write(&new, text).await.map_err(failed)?;
        tokio::fs::rename(&new, &path).await.map_err(failed)?;
        Ok(true)
    }

    async fn exists(&self, path: PathBuf) -> bool {
        tokio::fs::try_exists(path).await.unwrap_or(false)
    }
}
