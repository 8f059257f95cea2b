//! The server under attack, and what an attacker knows of it.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use timonel_tests::{eventually, timonel};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::raw::{self, Row};

/// How long the server waits for a request, as it is told here; more than the three seconds for which it waits for the future.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// And for a client that does not read. Its other times are its defaults.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// Who a connection is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Who {
    /// `system:masters`, by certificate.
    #[default]
    Admin,
    /// Nobody.
    Stranger,
    /// The bearer of a certificate that signed itself.
    Impostor,
}

#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    folder: tempfile::TempDir,
    port: u16,
    child: Mutex<Child>,
    credentials: Credentials,
}

struct Credentials {
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn read_kubeconfig(path: &PathBuf) -> Credentials {
    let text = std::fs::read_to_string(path).expect("readable");
    let config: Value = serde_saphyr::from_str(&text).expect("YAML");
    let bytes = |value: &Value| {
        let text = value.as_str().expect("credentials are in the file itself");
        base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
    };
    let user = &config["users"][0]["user"];
    let mut roots = RootCertStore::empty();
    let ca = bytes(&config["clusters"][0]["cluster"]["certificate-authority-data"]);
    roots
        .add(CertificateDer::from_pem_slice(&ca).expect("PEM"))
        .expect("a root");
    Credentials {
        roots,
        chain: CertificateDer::pem_slice_iter(&bytes(&user["client-certificate-data"]))
            .collect::<Result<_, _>>()
            .expect("PEM"),
        key: PrivateKeyDer::from_pem_slice(&bytes(&user["client-key-data"])).expect("PEM"),
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("bound").port()
        };
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        let child = timonel()
            .command(&[
                "apiserver",
                "--data-dir",
                &folder.path().display().to_string(),
                "--bind-address",
                "127.0.0.1",
                "--secure-port",
                &port.to_string(),
                "--request-timeout",
                &seconds(REQUEST_TIMEOUT),
                "--stall-timeout",
                &seconds(STALL),
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let kubeconfig = folder.path().join("admin.kubeconfig");
        let explain = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let written = || kubeconfig.exists().then_some(()).ok_or("no kubeconfig yet".to_owned());
        eventually(
            "the server writes its kubeconfig",
            Duration::from_secs(30),
            written,
            explain,
        );
        let connected = || std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string());
        eventually("the server listens", Duration::from_secs(30), connected, explain);
        let credentials = read_kubeconfig(&kubeconfig);
        Self(Arc::new(Inner {
            folder,
            port,
            child: Mutex::new(child),
            credentials,
        }))
    }

    /// Makes what the rows aim at, and uses everything once, so that what grows later grew for no good reason.
    pub(crate) async fn prepare(&self) {
        let config_map = json!({"metadata": {"name": "victim"}, "data": {"key": "value"}});
        let deployment = json!({
            "metadata": {"name": "victim"},
            "spec": {
                "selector": {"matchLabels": {"app": "victim"}},
                "template": {
                    "metadata": {"labels": {"app": "victim"}},
                    "spec": {"containers": [{"name": "one", "image": "image:1"}]},
                },
            },
        });
        // Mallory may do everything and is still no system:masters.
        let binding = json!({
            "metadata": {"name": "mallory"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}],
        });
        for (path, body) in [
            (raw::CONFIG_MAPS, config_map),
            ("/apis/apps/v1/namespaces/default/deployments", deployment),
            ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding),
        ] {
            let row = Row::post("preparing", path, body.to_string()).code(201);
            assert_eq!(crate::meet(self, &row).await, None, "{}", self.log());
        }
        for path in ["/openapi/v2", "/openapi/v3/api/v1", "/apis", raw::CONFIG_MAPS] {
            assert_eq!(crate::meet(self, &Row::get("warming up", path).ok()).await, None);
        }
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.0.port))
            .await
            .expect("it accepts")
    }

    /// A TLS connection that has settled on a protocol.
    pub(crate) async fn tls(&self, who: Who, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let credentials = &self.0.credentials;
        let builder = ClientConfig::builder().with_root_certificates(credentials.roots.clone());
        let mut config = match who {
            Who::Stranger => builder.with_no_client_auth(),
            Who::Admin => builder
                .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
                .expect("credentials"),
            Who::Impostor => {
                let made = rcgen::generate_simple_self_signed(vec!["kubernetes-admin".to_owned()]).expect("made");
                let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
                builder
                    .with_client_auth_cert(vec![made.cert.der().clone()], key)
                    .expect("credentials")
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        TlsConnector::from(Arc::new(config))
            .connect(name, self.tcp().await)
            .await
    }

    /// What the process says when it has ended.
    pub(crate) fn dead(&self) -> Option<String> {
        let mut child = self.0.child.lock().expect("not poisoned");
        let status = child.try_wait().expect("its own child");
        status.map(|status| format!("the server has ended: {status}"))
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.0.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains("unable to authenticate"))
            .collect();
        lines.join("\n")
    }

    fn status(&self, field: &str) -> u64 {
        let pid = self.0.child.lock().expect("not poisoned").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0");
        line.split_whitespace()
            .next()
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0)
    }

    /// Resident memory that the server has allocated, in KiB. The program's own pages, which come as its code is first run, are no
    /// growth that anybody could cause twice.
    pub(crate) fn resident(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// The most there ever was, in KiB.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
