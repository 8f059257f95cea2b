//! `create token`: a service account's token, by the TokenRequest subresource.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::args::{Output, duration};
use crate::error::Failure;
use crate::output::{self, Format};
use crate::session::{Call, Session, encode};

/// `create token`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Token {
    /// The service account
    name: String,
    /// For whom the token is; may be repeated
    #[arg(long)]
    audience: Vec<String>,
    /// How long it is to be valid; 0 leaves that to the server
    #[arg(long, default_value = "0s", value_parser = duration)]
    duration: Duration,
    /// The kind of the object that the token ends with: Pod, Secret or Node
    #[arg(long, requires = "bound_object_name", value_parser = ["Pod", "Secret", "Node"])]
    bound_object_kind: Option<String>,
    /// Its name
    #[arg(long, requires = "bound_object_kind")]
    bound_object_name: Option<String>,
    /// Its uid
    #[arg(long, requires = "bound_object_kind")]
    bound_object_uid: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Token {
    /// Carries the command out.
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut spec = json!({});
        if !self.audience.is_empty() {
            spec["audiences"] = json!(self.audience);
        }
        if !self.duration.is_zero() {
            spec["expirationSeconds"] = json!(self.duration.as_secs());
        }
        if let (Some(kind), Some(name)) = (&self.bound_object_kind, &self.bound_object_name) {
            spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": kind, "name": name});
            if let Some(uid) = &self.bound_object_uid {
                spec["boundObjectRef"]["uid"] = json!(uid);
            }
        }
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}/token",
            session.namespace,
            encode(&self.name)
        );
        let sent = session.json(Call::with_json(Method::POST, &path, &request)).await;
        let answer: Value = sent.map_err(|failure| match &failure {
            Failure::Server { status, .. } => Failure::usage(format!(
                "failed to create token: {}",
                status["message"].as_str().unwrap_or("unknown")
            )),
            _ => failure,
        })?;
        match &self.output.output {
            None | Some(Format::Table | Format::Wide) => {
                let token = answer["status"]["token"].as_str().unwrap_or("");
                if token.is_empty() {
                    return Err(Failure::usage("failed to create token: no token in server response"));
                }
                println!("{token}");
                Ok(())
            }
            Some(format) => output::print(&mut std::io::stdout().lock(), format, &answer),
        }
    }
}
