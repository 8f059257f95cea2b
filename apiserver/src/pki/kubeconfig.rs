//! Renders kubeconfigs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::KeyAndCert;

/// Renders a kubeconfig whose user shows a client certificate. The text is JSON's subset of YAML where values come from outside.
pub(super) fn with_certificate(server_url: &str, ca_pem: &str, user: &str, identity: &KeyAndCert) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: timonel\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {ca}\n\
         users:\n\
         - name: {user}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {cert}\n\
         \x20   client-key-data: {key}\n\
         contexts:\n\
         - name: {context}\n\
         \x20 context:\n\
         \x20   cluster: timonel\n\
         \x20   user: {user}\n\
         current-context: {context}\n\
         preferences: {{}}\n",
        server = quoted(server_url),
        ca = STANDARD.encode(ca_pem),
        cert = STANDARD.encode(&identity.cert_pem),
        key = STANDARD.encode(&identity.key_pem),
        user = quoted(user),
        context = quoted(&format!("{user}@timonel")),
    )
}
