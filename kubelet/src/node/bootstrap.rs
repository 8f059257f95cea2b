//! Certificates by signing request: keys are made here and never leave the node.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use rcgen::{CertificateParams, DnType, KeyPair};

/// Between two looks at a request that has not been answered.
const POLL: Duration = Duration::from_millis(200);

/// Signer of certificates by which a kubelet proves itself to the API server.
pub const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of certificates by which a kubelet's API proves itself.
pub const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

/// Why no certificate could be had.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The key or the request could not be made.
    #[error("make a key and a signing request for {node}")]
    Request {
        /// For which node.
        node: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The API server could not be asked.
    #[error("ask the API server to sign a certificate for {node}")]
    Api {
        /// For which node.
        node: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody said no.
    #[error("the signing request {name} was denied: {message}")]
    Denied {
        /// Which request.
        name: String,
        /// In whose words.
        message: String,
    },
    /// A file could not be written or read.
    #[error("{act} {path}")]
    File {
        /// `write`, `read`.
        act: &'static str,
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A client could not be made.
    #[error("connect to the API server")]
    Connect(#[from] timonel_client::kubeconfig::KubeconfigError),
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// Certificate chain, PEM.
    pub cert_pem: String,
    /// Private key, PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Makes a key, asks `signer` for a certificate for `system:node:<node>`, and waits until it is there.
///
/// # Errors
/// When the API server cannot be asked, or the request is denied.
pub async fn request(
    client: &kube::Client,
    node: &str,
    signer: &str,
    names: &[String],
) -> Result<Identity, BootstrapError> {
    let failed = |source| BootstrapError::Request {
        node: node.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("system:node:{node}"));
    let pem = params
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(failed)?;
    let usage = if signer == SERVING_SIGNER {
        "server auth"
    } else {
        "client auth"
    };
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let wanted = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("csr-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), usage.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let api_failed = |source| BootstrapError::Api {
        node: node.to_owned(),
        source: Box::new(source),
    };
    let made = api.create(&PostParams::default(), &wanted).await.map_err(api_failed)?;
    let name = made.metadata.name.unwrap_or_default();
    loop {
        let status = api.get(&name).await.map_err(api_failed)?.status.unwrap_or_default();
        if let Some(ByteString(cert)) = status.certificate {
            return Ok(Identity {
                cert_pem: String::from_utf8_lossy(&cert).into_owned(),
                key_pem: key.serialize_pem(),
            });
        }
        let no = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == "Denied" || condition.type_ == "Failed");
        if let Some(no) = no {
            return Err(BootstrapError::Denied {
                name,
                message: no.message.clone().unwrap_or_default(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}
