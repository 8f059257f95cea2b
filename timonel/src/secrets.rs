//! `timonel secrets`: rotates the keys that Secrets are encrypted with in the store.
//!
//! ```text
//! rotate     a new key goes before the others in DIR/pki/encryption.key; a running server takes it up and seals with it
//! reencrypt  every Secret is written again through the API, so that the newest key seals it
//! forget     a key that no Secret needs any more is taken out
//! ```
//!
//! Each step can be repeated, and can be cut short anywhere: until `forget` has asked the server, no key that any Secret needs goes away.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use timonel_apiserver::pki::KeyFile;
use timonel_client::OsRng;

/// What to do about the keys.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Adds a new key, which seals from now on; the older ones go on opening.
    Rotate(KeyArgs),
    /// Writes every Secret again, so that the newest key seals it.
    Reencrypt(ReencryptArgs),
    /// Takes out a key that no Secret needs any more.
    Forget {
        /// The key's name: `k1`.
        key: String,
        /// Where the keys and the server are.
        #[command(flatten)]
        place: ReencryptArgs,
    },
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The server's data directory.
    #[arg(long, default_value = "/var/lib/timonel/server")]
    pub data_dir: PathBuf,
}

/// Where the keys and the server are.
#[derive(Debug, Args)]
pub struct ReencryptArgs {
    /// The keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Credentials that may read and write all Secrets and read `/metrics`; the administrator's in the data directory by default.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

/// How many Secrets are read at a time.
const PAGE: u32 = 250;
/// How long the server may take to notice a new key, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);
/// How often a Secret that others are writing is tried.
const ATTEMPTS: usize = 20;

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Carries out a command.
pub(crate) fn run(command: SecretsCommand) -> anyhow::Result<()> {
    match command {
        SecretsCommand::Rotate(args) => {
            let id = KeyFile::of(&args.data_dir).rotate(&OsRng)?;
            say(&format!(
                "{id} seals from now on; a running server takes it up within seconds. Older keys are still needed until\n\
                 `timonel secrets reencrypt` is done."
            ))
        }
        SecretsCommand::Reencrypt(args) => crate::process::run(|_| reencrypt(args)),
        SecretsCommand::Forget { key, place } => crate::process::run(|_| forget(key, place)),
    }
}

async fn client(args: &ReencryptArgs) -> anyhow::Result<Client> {
    let own = || args.keys.data_dir.join("admin.kubeconfig");
    let path = args.kubeconfig.clone().unwrap_or_else(own);
    timonel_client::kubeconfig::load(&path, "timonel-secrets")
        .await
        .context("--kubeconfig")
}

/// What the server says of its keys.
#[derive(Debug, Default)]
struct Sealed {
    sealing: String,
    counts: BTreeMap<String, u64>,
}

impl Sealed {
    /// Reads `timonel_encryption_values{key="k2",seals="true"} 7` of `/metrics`.
    fn parse(metrics: &str) -> Self {
        let mut sealed = Self::default();
        for line in metrics.lines() {
            let parsed = line
                .strip_prefix("timonel_encryption_values{key=\"")
                .and_then(|rest| rest.split_once("\",seals=\""))
                .and_then(|(key, rest)| Some((key, rest.split_once("\"} ")?)));
            let Some((key, (seals, count))) = parsed else { continue };
            if seals == "true" {
                key.clone_into(&mut sealed.sealing);
            }
            sealed.counts.insert(key.to_owned(), count.trim().parse().unwrap_or(0));
        }
        sealed
    }

    async fn ask(client: &Client) -> anyhow::Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client
            .request_text(request)
            .await
            .context("ask the server for /metrics")?;
        let sealed = Self::parse(&text);
        if sealed.sealing.is_empty() {
            bail!("the server does not say which key seals; is it a Timonel of this version?");
        }
        Ok(sealed)
    }

    /// Those that do not lie under the key that seals.
    fn stale(&self) -> u64 {
        let others = self.counts.iter().filter(|(key, _)| **key != self.sealing);
        others.map(|(_, count)| count).sum()
    }
}

/// Waits until the server seals with the first key of the file, where there is a file to look at.
async fn until_taken_up(client: &Client, args: &KeyArgs) -> anyhow::Result<Sealed> {
    let wanted = KeyFile::of(&args.data_dir)
        .read()
        .ok()
        .and_then(|keys| Some(keys.first()?.id.clone()));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let sealed = Sealed::ask(client).await?;
        match &wanted {
            Some(wanted) if *wanted != sealed.sealing => {
                if tokio::time::Instant::now() > deadline {
                    bail!(
                        "the server still seals with {}, not with {wanted}; its log says why",
                        sealed.sealing
                    );
                }
            }
            _ => return Ok(sealed),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn reencrypt(args: ReencryptArgs) -> anyhow::Result<()> {
    let client = client(&args).await?;
    let before = until_taken_up(&client, &args.keys).await?;
    let secrets: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<Secret>(&()));
    let mut page = ListParams::default().limit(PAGE);
    let mut written = 0_u64;
    loop {
        let list = secrets.list(&page).await.context("list the Secrets")?;
        for secret in list.items {
            written += u64::from(rewrite(&client, secret).await?);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => break,
        }
    }
    let after = Sealed::ask(&client).await?;
    if after.sealing != before.sealing || after.stale() > 0 {
        bail!(
            "{written} Secrets were written, but {} are not sealed with {}; run this again",
            after.stale(),
            after.sealing
        );
    }
    say(&format!(
        "{written} Secrets are sealed with {}; no older key is needed any more",
        after.sealing
    ))?;
    for key in after.counts.keys().filter(|key| **key != after.sealing) {
        say(&format!("still known and not needed: {key}"))?;
    }
    Ok(())
}

/// Writes a Secret as it is. Says whether it was still there.
async fn rewrite(client: &Client, mut secret: DynamicObject) -> anyhow::Result<bool> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<Secret>(&()));
    secret.types = Some(kube::core::TypeMeta::resource::<Secret>());
    for _ in 0..ATTEMPTS {
        match api.replace(&name, &PostParams::default(), &secret).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
            // Somebody else wrote it, with the newest key for all we know; it is read again to be sure.
            Err(kube::Error::Api(status)) if status.code == 409 => match api.get_opt(&name).await? {
                Some(newer) => secret = newer,
                None => return Ok(false),
            },
            Err(error) => return Err(error).with_context(|| format!("write the Secret {namespace}/{name}")),
        }
    }
    bail!("the Secret {namespace}/{name} is being written all the time; run this again")
}

async fn forget(key: String, args: ReencryptArgs) -> anyhow::Result<()> {
    let client = client(&args).await?;
    let sealed = until_taken_up(&client, &args.keys).await?;
    match sealed.counts.get(&key) {
        Some(count) if *count > 0 => {
            bail!("{count} Secrets are still sealed with {key}: run `timonel secrets reencrypt` first");
        }
        _ => {}
    }
    KeyFile::of(&args.keys.data_dir).remove(&key)?;
    say(&format!("{key} is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_word_is_read_from_its_metrics() {
        let text = "# TYPE timonel_encryption_values gauge\n\
                    timonel_encryption_values{key=\"\",seals=\"false\"} 1\n\
                    timonel_encryption_values{key=\"k1\",seals=\"false\"} 3\n\
                    timonel_encryption_values{key=\"k2\",seals=\"true\"} 7\n";
        let sealed = Sealed::parse(text);
        assert_eq!((sealed.sealing.as_str(), sealed.stale()), ("k2", 4));
        assert_eq!(sealed.counts["k1"], 3);
    }
}
