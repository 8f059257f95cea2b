//! Joining a cluster: from a server address and a bootstrap token to a kubeconfig of its own on disk.

use std::path::{Path, PathBuf};

use timonel_client::kubeconfig::{self, Credentials};

use super::bootstrap::{self, BootstrapError, Identity};

/// What a node that joins is told.
#[derive(Clone)]
pub struct Join {
    /// The API server's URL.
    pub server: String,
    /// What the server is verified by, PEM.
    pub ca_pem: String,
    /// The bootstrap token, `<id>.<secret>`.
    pub token: String,
    /// The node's name.
    pub node_name: String,
    /// Where the kubeconfig and certificates are kept: `<root>/pki` of the kubelet.
    pub dir: PathBuf,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join")
            .field("server", &self.server)
            .field("node_name", &self.node_name)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// The kubeconfig of a node that has joined.
pub fn kubeconfig_path(dir: &Path) -> PathBuf {
    dir.join("kubelet.kubeconfig")
}

/// Joins, or finds that it has joined already; answers the path of the node's kubeconfig.
///
/// # Errors
/// When no certificate can be had, or it cannot be kept.
pub async fn join(join: &Join) -> Result<PathBuf, BootstrapError> {
    let path = kubeconfig_path(&join.dir);
    if path.exists() {
        return Ok(path);
    }
    let credentials = Credentials::Token(join.token.clone());
    let client = kubeconfig::https(&join.server, &join.ca_pem, &credentials).await?;
    let identity = bootstrap::request(&client, &join.node_name, bootstrap::CLIENT_SIGNER, &[]).await?;
    let credentials = Credentials::Certificate {
        cert_pem: identity.cert_pem,
        key_pem: identity.key_pem,
    };
    let user = format!("system:node:{}", join.node_name);
    let document = kubeconfig::document("timonel", &join.server, &join.ca_pem, &user, &credentials);
    write_secret(&path, &format!("{document:#}\n")).await?;
    write_secret(&join.dir.join("ca.crt"), &join.ca_pem).await?;
    Ok(path)
}

/// Finds or requests the certificate of the node's HTTPS API.
///
/// # Errors
/// When no certificate can be had, or it cannot be kept.
pub async fn serving(
    client: &kube::Client,
    node: &str,
    names: &[String],
    dir: &Path,
) -> Result<Identity, BootstrapError> {
    let (cert, key) = (dir.join("kubelet-serving.crt"), dir.join("kubelet-serving.key"));
    if let (Ok(cert_pem), Ok(key_pem)) = (
        tokio::fs::read_to_string(&cert).await,
        tokio::fs::read_to_string(&key).await,
    ) {
        return Ok(Identity { cert_pem, key_pem });
    }
    let identity = bootstrap::request(client, node, bootstrap::SERVING_SIGNER, names).await?;
    write_secret(&key, &identity.key_pem).await?;
    write_secret(&cert, &identity.cert_pem).await?;
    Ok(identity)
}

/// Writes a file that only its owner may read, all at once.
async fn write_secret(path: &Path, text: &str) -> Result<(), BootstrapError> {
    let failed = |source| BootstrapError::File {
        act: "write",
        path: path.display().to_string(),
        source,
    };
    if let Some(dir) = path.parent() {
        tokio::fs::create_dir_all(dir).await.map_err(failed)?;
    }
    let temporary = path.with_extension("new");
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(&temporary).await.map_err(failed)?;
    tokio::io::AsyncWriteExt::write_all(&mut file, text.as_bytes())
        .await
        .map_err(failed)?;
    file.sync_all().await.map_err(failed)?;
    tokio::fs::rename(&temporary, path).await.map_err(failed)
}
