//! The cluster's keys and certificates: made on the first start, read back on every later one.
//!
//! ```text
//! DIR/pki/ca.crt ca.key                       the cluster's own authority (10 years)
//!         apiserver.{crt,key}                 what the API server shows to clients
//!         apiserver-kubelet-client.{crt,key}  what it shows to kubelets
//!         sa.key sa.pub                       signs service-account tokens (ES256)
//!         encryption.key                      encrypts secrets at rest, newest line first
//!         {admin,scheduler,...}.{crt,key}     who the components are
//! DIR/{admin,scheduler,controller-manager,proxy}.kubeconfig
//! ```
//!
//! Leaf certificates live for a year and are issued anew when less than a third of that is left, at a start or while the server runs
//! ([`Pki::renew`]: connections made from then on show the new one, kubeconfigs are replaced), and at a start that finds other names
//! asked for, or another authority. Keys are never overwritten while they can still be read: a file that is there but
//! damaged is an error, because silently making a new authority would lock every node out.

mod encryption_keys;
mod files;
mod issue;
mod kubeconfig;
mod leaf;
mod tls;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use timonel_client::{Clock, Rng};

pub use encryption_keys::{EncryptionKey, KeyFile};
pub use files::FileError;
use files::Vault;
pub use issue::{IssueError, KeyAndCert};
use issue::{Issuing, LeafSpec, Usage};
use leaf::Leaf;

/// What the certificates must say.
#[derive(Clone, Debug)]
pub struct PkiConfig {
    /// DNS names under which clients reach the API server, besides `localhost` and the `kubernetes.default...` names.
    pub server_names: Vec<String>,
    /// Addresses under which clients reach it, besides loopback; the first address of the service range belongs here.
    pub server_ips: Vec<IpAddr>,
    /// The URL that the kubeconfigs name: `https://127.0.0.1:6443`.
    pub server_url: String,
    /// The cluster's DNS domain: `cluster.local`.
    pub cluster_domain: String,
}

impl Default for PkiConfig {
    fn default() -> Self {
        Self {
            server_names: Vec::new(),
            server_ips: vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))],
            server_url: "https://127.0.0.1:6443".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
        }
    }
}

impl PkiConfig {
    fn serving_names(&self) -> Vec<String> {
        let fixed = [
            "localhost".to_owned(),
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            format!("kubernetes.default.svc.{}", self.cluster_domain),
        ];
        let mut names = fixed.to_vec();
        names.extend(self.server_names.iter().cloned());
        names.sort();
        names.dedup();
        names
    }

    fn serving_ips(&self) -> Vec<IpAddr> {
        let mut ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        ips.extend(self.server_ips.iter().copied());
        ips.sort();
        ips.dedup();
        ips
    }
}

/// Why the cluster's keys could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("the key store failed")]
    File(#[from] FileError),
    /// A key or certificate is there but not usable.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("issuing a certificate failed")]
    Issue(#[from] IssueError),
    /// rustls refused the configuration.
    #[error("setting up TLS failed")]
    Tls(#[source] rustls::Error),
}

/// The cluster's keys and certificates.
#[derive(Clone, Debug)]
pub struct Pki {
    vault: Vault,
    config: PkiConfig,
    ca: KeyAndCert,
    serving: Arc<Leaf>,
    kubelet_client: Arc<Leaf>,
    admin: Arc<Leaf>,
    service_account_key: String,
    encryption_keys: Vec<EncryptionKey>,
}

/// The components' identities: file stem, common name.
const COMPONENTS: [(&str, &str); 3] = [
    ("scheduler", "system:kube-scheduler"),
    ("controller-manager", "system:kube-controller-manager"),
    ("proxy", "system:kube-proxy"),
];

impl Pki {
    /// Reads the keys under `dir`, making whatever is missing and renewing what is about to expire, and writes the kubeconfigs.
    ///
    /// *Errors:* a file that is there but damaged is never replaced.
    pub fn load_or_create(
        dir: &Path,
        config: &PkiConfig,
        clock: &Arc<dyn Clock>,
        rng: &Arc<dyn Rng>,
    ) -> Result<Self, PkiError> {
        Self::build(Vault::on_disk(dir)?, config, clock.as_ref(), rng.as_ref())
    }

    /// Makes keys that live in memory only, for tests and the simulation.
    pub fn in_memory(config: &PkiConfig, clock: &Arc<dyn Clock>, rng: &Arc<dyn Rng>) -> Result<Self, PkiError> {
        Self::build(Vault::in_memory(), config, clock.as_ref(), rng.as_ref())
    }

    fn build(vault: Vault, config: &PkiConfig, clock: &dyn Clock, rng: &dyn Rng) -> Result<Self, PkiError> {
        let issuing = Issuing { now: clock.now(), rng };
        let ca = load_authority(&vault, &issuing)?;
        let issued = Issued::load(&vault, config, &ca, &issuing)?;
        let service_account_key = match vault.read("pki/sa.key")? {
            Some(pem) => pem,
            None => {
                let key = issue::new_key()?;
                vault.write("pki/sa.key", &key.private_pem)?;
                key.private_pem
            }
        };
        vault.write("pki/sa.pub", &issue::public_pem(&service_account_key, "pki/sa.key")?)?;
        let encryption_keys = KeyFile::within(&vault).read_or_create(rng)?;
        Ok(Self {
            vault,
            config: config.clone(),
            serving: Arc::new(Leaf::new(issued.serving)?),
            kubelet_client: Arc::new(Leaf::new(issued.kubelet_client)?),
            admin: Arc::new(Leaf::new(issued.admin)?),
            ca,
            service_account_key,
            encryption_keys,
        })
    }

    /// Issues anew what has less than a third of its life left, and replaces the kubeconfigs that hold it. Whoever connects from now on
    /// sees the new certificates; connections that are open stay. Returns the common names of what was renewed of the server's own.
    pub fn renew(&self, clock: &dyn Clock, rng: &dyn Rng) -> Result<Vec<&'static str>, PkiError> {
        let issuing = Issuing { now: clock.now(), rng };
        let issued = Issued::load(&self.vault, &self.config, &self.ca, &issuing)?;
        let mut renewed = Vec::new();
        for (name, shown, issued) in [
            ("kube-apiserver", &self.serving, issued.serving),
            (
                "kube-apiserver-kubelet-client",
                &self.kubelet_client,
                issued.kubelet_client,
            ),
            ("kubernetes-admin", &self.admin, issued.admin),
        ] {
            if shown.replace(issued)? {
                renewed.push(name);
            }
        }
        Ok(renewed)
    }

    /// The authority's certificate in PEM: what goes into kubeconfigs, `kube-root-ca.crt` and `cluster-info`.
    pub fn ca_pem(&self) -> &str {
        &self.ca.cert_pem
    }

    /// The authority itself, for signers in the same process.
    pub fn ca(&self) -> &KeyAndCert {
        &self.ca
    }

    /// The authority's certificate in DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.ca.cert_der
    }

    /// Where the authority's certificate and key are, for the controller manager's `--cluster-signing-cert-file` and
    /// `--cluster-signing-key-file`; `None` for keys in memory.
    pub fn ca_files(&self) -> Option<(PathBuf, PathBuf)> {
        Some((self.vault.path("pki/ca.crt")?, self.vault.path("pki/ca.key")?))
    }

    /// The certificate that the API server shows to its clients.
    pub fn serving(&self) -> KeyAndCert {
        self.serving.current()
    }

    /// The certificate that the API server shows to kubelets.
    pub fn kubelet_client(&self) -> KeyAndCert {
        self.kubelet_client.current()
    }

    /// The administrator's certificate.
    pub fn admin(&self) -> KeyAndCert {
        self.admin.current()
    }

    /// Where a component's kubeconfig is: `admin`, `scheduler`, `controller-manager`, `proxy`; `None` for keys in memory.
    pub fn kubeconfig(&self, component: &str) -> Option<PathBuf> {
        self.vault.path(&format!("{component}.kubeconfig"))
    }

    /// Renders a kubeconfig for a server URL other than the configured one, with the administrator's identity.
    pub fn admin_kubeconfig_for(&self, server_url: &str) -> String {
        kubeconfig::with_certificate(server_url, &self.ca.cert_pem, "kubernetes-admin", &self.admin())
    }

    /// The key that signs service-account tokens, in PEM (PKCS#8, P-256).
    pub fn service_account_key(&self) -> &str {
        &self.service_account_key
    }

    /// The keys that encrypt values at rest; the first encrypts, all decrypt.
    pub fn encryption_keys(&self) -> &[EncryptionKey] {
        &self.encryption_keys
    }

    /// Issues a client certificate, for example for a node of a test.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
        clock: &Arc<dyn Clock>,
        rng: &Arc<dyn Rng>,
    ) -> Result<KeyAndCert, PkiError> {
        let spec = LeafSpec {
            common_name,
            organizations,
            usage: Usage::Client,
            names: Vec::new(),
            ips: Vec::new(),
        };
        let issuing = Issuing {
            now: clock.now(),
            rng: rng.as_ref(),
        };
        Ok(issuing.leaf(&self.ca, &spec)?)
    }
}

/// The leaf certificates that a start, or a renewal, has found or made.
struct Issued {
    serving: KeyAndCert,
    kubelet_client: KeyAndCert,
    admin: KeyAndCert,
}

impl Issued {
    fn load(vault: &Vault, config: &PkiConfig, ca: &KeyAndCert, issuing: &Issuing<'_>) -> Result<Self, PkiError> {
        let serving = load_leaf(
            vault,
            issuing,
            ca,
            "apiserver",
            &LeafSpec {
                common_name: "kube-apiserver",
                organizations: &[],
                usage: Usage::Server,
                names: config.serving_names(),
                ips: config.serving_ips(),
            },
        )?;
        let client = |stem: &str, common_name, organizations| {
            let spec = LeafSpec {
                common_name,
                organizations,
                usage: Usage::Client,
                names: Vec::new(),
                ips: Vec::new(),
            };
            load_leaf(vault, issuing, ca, stem, &spec)
        };
        let kubelet_client = client(
            "apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            &["kubeadm:cluster-admins"][..],
        )?;
        let kubeconfig = |stem: &str, common_name, organizations| -> Result<KeyAndCert, PkiError> {
            let identity = client(stem, common_name, organizations)?;
            let text = kubeconfig::with_certificate(&config.server_url, &ca.cert_pem, common_name, &identity);
            vault.write(&format!("{stem}.kubeconfig"), &text)?;
            Ok(identity)
        };
        let admin = kubeconfig("admin", "kubernetes-admin", &["system:masters"][..])?;
        for (stem, common_name) in COMPONENTS {
            kubeconfig(stem, common_name, &[])?;
        }
        Ok(Self {
            serving,
            kubelet_client,
            admin,
        })
    }
}

fn load_authority(vault: &Vault, issuing: &Issuing<'_>) -> Result<KeyAndCert, PkiError> {
    let (cert, key) = (vault.read("pki/ca.crt")?, vault.read("pki/ca.key")?);
    match (cert, key) {
        (Some(cert), Some(key)) => KeyAndCert::from_pem(cert, key).map_err(|error| PkiError::Damaged {
            file: "pki/ca.crt or pki/ca.key".to_owned(),
            reason: error.to_string(),
        }),
        (None, None) => {
            let ca = issuing.authority("kubernetes")?;
            vault.write("pki/ca.key", &ca.key_pem)?;
            vault.write("pki/ca.crt", &ca.cert_pem)?;
            Ok(ca)
        }
        (Some(_), None) => Err(PkiError::Damaged {
            file: "pki/ca.key".to_owned(),
            reason: "it is missing, though pki/ca.crt is there".to_owned(),
        }),
        // A crash between the two writes of the first start; nobody has seen a certificate of this key yet.
        (None, Some(_)) => {
            let ca = issuing.authority("kubernetes")?;
            vault.write("pki/ca.key", &ca.key_pem)?;
            vault.write("pki/ca.crt", &ca.cert_pem)?;
            Ok(ca)
        }
    }
}

fn load_leaf(
    vault: &Vault,
    issuing: &Issuing<'_>,
    ca: &KeyAndCert,
    stem: &str,
    spec: &LeafSpec<'_>,
) -> Result<KeyAndCert, PkiError> {
    let (cert_file, key_file) = (format!("pki/{stem}.crt"), format!("pki/{stem}.key"));
    if let (Some(cert), Some(key)) = (vault.read(&cert_file)?, vault.read(&key_file)?)
        && let Ok(leaf) = KeyAndCert::from_pem(cert, key)
        && issuing.is_fresh(&leaf, ca, spec)
    {
        return Ok(leaf);
    }
    let leaf = issuing.leaf(ca, spec)?;
    vault.write(&key_file, &leaf.key_pem)?;
    vault.write(&cert_file, &leaf.cert_pem)?;
    Ok(leaf)
}

#[cfg(test)]
mod tests;
