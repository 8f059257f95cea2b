//! Generators of config maps and secrets, from files, folders, literal values and environment files.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Common, Made};
use crate::error::Failure;

/// Where keys and values come from.
#[derive(Clone, Debug, Args)]
struct Sources {
    /// FILE, FOLDER or KEY=FILE; may be repeated
    #[arg(long)]
    from_file: Vec<String>,
    /// KEY=VALUE; may be repeated
    #[arg(long)]
    from_literal: Vec<String>,
    /// File with KEY=VALUE lines; may be repeated
    #[arg(long)]
    from_env_file: Vec<PathBuf>,
}

impl Sources {
    /// Reads all values; `owner` is for example `ConfigMap "web"`.
    fn read(&self, owner: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        if !self.from_env_file.is_empty() && (!self.from_file.is_empty() || !self.from_literal.is_empty()) {
            return Err(Failure::usage(
                "from-env-file cannot be combined with from-file or from-literal",
            ));
        }
        let mut found = Vec::new();
        for source in &self.from_file {
            files(source, &mut found)?;
        }
        for literal in &self.from_literal {
            let Some((key, value)) = literal.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(Failure::usage(format!(
                    "invalid literal source {literal}, expected key=value"
                )));
            };
            found.push((key.to_owned(), literal_value(value).as_bytes().to_vec()));
        }
        for file in &self.from_env_file {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("error reading {}: {error}", file.display())))?;
            env_file(&text, &mut found)?;
        }
        for (index, (key, _)) in found.iter().enumerate() {
            let valid = key.len() <= 253
                && key != "."
                && !key.starts_with("..")
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            if !valid {
                return Err(Failure::usage(format!(
                    "{key:?} is not a valid key name for a {owner}: a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                )));
            }
            if found[..index].iter().any(|(other, _)| other == key) {
                return Err(Failure::usage(format!(
                    "cannot add key {key:?}, another key by that name already exists in Data for {owner}"
                )));
            }
        }
        Ok(found)
    }
}

/// A literal's value may stand in quotes.
fn literal_value(value: &str) -> &str {
    for quote in ['"', '\''] {
        if value.len() >= 2 && value.starts_with(quote) && value.ends_with(quote) {
            return &value[1..value.len() - 1];
        }
    }
    value
}

fn files(source: &str, found: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| Failure::usage(format!("error reading {}: {error}", path.display())))
    };
    if let Some((key, path)) = source.split_once('=') {
        if key.is_empty() || path.is_empty() || path.contains('=') {
            return Err(Failure::usage(format!(
                "key names or file paths cannot be missing or contain '=': {source:?}"
            )));
        }
        if Path::new(path).is_dir() {
            return Err(Failure::usage(format!(
                "cannot give a key name for a directory path: {source}"
            )));
        }
        found.push((key.to_owned(), read(Path::new(path))?));
        return Ok(());
    }
    let path = Path::new(source);
    let key = |path: &Path| {
        path.file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    if !path.is_dir() {
        found.push((key(path), read(path)?));
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .collect();
    entries.sort();
    for entry in entries.iter().filter(|entry| entry.is_file()) {
        found.push((key(entry), read(entry)?));
    }
    Ok(())
}

/// Reads `KEY=VALUE` lines; a key alone takes its value from our own environment, where it is set.
fn env_file(text: &str, found: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((key, value)) => found.push((key.to_owned(), value.as_bytes().to_vec())),
            None => {
                if let Ok(value) = std::env::var(line) {
                    found.push((line.to_owned(), value.into_bytes()));
                }
            }
        }
    }
    Ok(())
}

/// `create configmap`
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigMap {
    name: String,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    pub(super) common: Common,
}

impl ConfigMap {
    pub(super) fn make(&self) -> Result<Made, Failure> {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}});
        for (key, bytes) in self.sources.read(&format!("ConfigMap {:?}", self.name))? {
            let (field, value) = match String::from_utf8(bytes) {
                Ok(text) => ("data", text),
                Err(error) => ("binaryData", BASE64.encode(error.as_bytes())),
            };
            object[field][key] = json!(value);
        }
        Ok(Made::new(object, "failed to create configmap:"))
    }
}

/// `create secret`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Secret {
    /// Create a secret from files, folders or literal values
    Generic(Generic),
    /// Create a TLS secret
    Tls(Tls),
    /// Create a secret for a container registry
    DockerRegistry(DockerRegistry),
}

/// `create secret generic`
#[derive(Clone, Debug, Args)]
pub(crate) struct Generic {
    name: String,
    #[command(flatten)]
    sources: Sources,
    /// The secret's type
    #[arg(long = "type")]
    kind: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// `create secret tls`
#[derive(Clone, Debug, Args)]
pub(crate) struct Tls {
    name: String,
    /// File of the certificate, in PEM
    #[arg(long)]
    cert: PathBuf,
    /// File of its private key, in PEM
    #[arg(long)]
    key: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// `create secret docker-registry`
#[derive(Clone, Debug, Args)]
pub(crate) struct DockerRegistry {
    name: String,
    /// The registry
    #[arg(long, default_value = "https://index.docker.io/v1/")]
    docker_server: String,
    /// The user
    #[arg(long)]
    docker_username: Option<String>,
    /// The password
    #[arg(long)]
    docker_password: Option<String>,
    /// The user's address
    #[arg(long)]
    docker_email: Option<String>,
    /// A config.json that docker wrote; may stand as KEY=FILE
    #[arg(long)]
    from_file: Vec<String>,
    #[command(flatten)]
    common: Common,
}

impl Secret {
    pub(super) fn make(&self) -> Result<(Made, Common), Failure> {
        let (name, kind, data, common) = match self {
            Self::Generic(secret) => {
                let data = secret.sources.read(&format!("Secret {:?}", secret.name))?;
                (&secret.name, secret.kind.as_deref(), data, &secret.common)
            }
            Self::Tls(secret) => {
                let pem = |path: &Path, what: &str| {
                    let bytes = std::fs::read(path)
                        .map_err(|error| Failure::usage(format!("open {}: {error}", path.display())))?;
                    if !String::from_utf8_lossy(&bytes).contains("-----BEGIN ") {
                        return Err(Failure::usage(format!(
                            "tls: failed to find any PEM data in {what} input"
                        )));
                    }
                    Ok(bytes)
                };
                let data = vec![
                    ("tls.crt".to_owned(), pem(&secret.cert, "certificate")?),
                    ("tls.key".to_owned(), pem(&secret.key, "key")?),
                ];
                (&secret.name, Some("kubernetes.io/tls"), data, &secret.common)
            }
            Self::DockerRegistry(secret) => {
                let data = secret.data()?;
                (
                    &secret.name,
                    Some("kubernetes.io/dockerconfigjson"),
                    data,
                    &secret.common,
                )
            }
        };
        let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        if !data.is_empty() {
            let data: Map<String, Value> = data
                .into_iter()
                .map(|(key, value)| (key, json!(BASE64.encode(value))))
                .collect();
            object["data"] = Value::Object(data);
        }
        if let Some(kind) = kind {
            object["type"] = json!(kind);
        }
        Ok((Made::new(object, "failed to create secret"), common.clone()))
    }
}

impl DockerRegistry {
    fn data(&self) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        const KEY: &str = ".dockerconfigjson";
        if let [file] = self.from_file.as_slice() {
            let mut found = Vec::new();
            files(file, &mut found)?;
            found.truncate(1);
            return Ok(found.into_iter().map(|(_, bytes)| (KEY.to_owned(), bytes)).collect());
        }
        let (Some(user), Some(password)) = (&self.docker_username, &self.docker_password) else {
            return Err(Failure::usage(
                "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
            ));
        };
        // Written in the order that kubectl has, so that both make the same secret.
        let text = |text: &str| json!(text).to_string();
        let email = self
            .docker_email
            .as_deref()
            .map_or_else(String::new, |email| format!("\"email\":{},", text(email)));
        let auth = BASE64.encode(format!("{user}:{password}"));
        let config = format!(
            "{{\"auths\":{{{}:{{\"username\":{},\"password\":{},{email}\"auth\":{}}}}}}}",
            text(&self.docker_server),
            text(user),
            text(password),
            text(&auth)
        );
        Ok(vec![(KEY.to_owned(), config.into_bytes())])
    }
}
