//! `version`, `cluster-info`, `api-resources`, `api-versions`: what the server says of itself.

use std::io;

use clap::Args;
use serde_json::{Value, json};

use crate::error::Failure;
use crate::output::table::Layout;
use crate::output::{self, Format};
use crate::resolve::{self, Resource};
use crate::session::Session;

/// `version`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Version {
    /// Only timonctl's own version
    #[arg(long)]
    pub(crate) client: bool,
    /// yaml or json
    #[arg(short, long)]
    output: Option<Format>,
}

impl Version {
    /// Carries the command out; without a session it tells of the client only.
    pub(crate) async fn run(self, session: Option<&Session>) -> Result<(), Failure> {
        let client = format!("v{}", env!("CARGO_PKG_VERSION"));
        let server = match session {
            Some(session) => Some(session.get("/version").await),
            None => None,
        };
        if let Some(format) = &self.output {
            let mut all = json!({"clientVersion": {"gitVersion": client, "platform": concat!("linux/", "amd64")}});
            if let Some(Ok(server)) = &server {
                all["serverVersion"] = server.clone();
            }
            output::print(&mut io::stdout().lock(), format, &all)?;
        } else {
            println!("Client Version: {client}");
            if let Some(Ok(server)) = &server {
                println!("Server Version: {}", server["gitVersion"].as_str().unwrap_or("unknown"));
            }
        }
        server.transpose().map(|_| ())
    }
}

/// Tells where the control plane is.
pub(crate) async fn cluster_info(session: &Session) -> Result<(), Failure> {
    session.get("/version").await?;
    println!("Kubernetes control plane is running at {}", session.server);
    let services = session
        .get("/api/v1/namespaces/kube-system/services?labelSelector=kubernetes.io%2Fcluster-service%3Dtrue")
        .await?;
    for service in services["items"].as_array().map_or(&[][..], Vec::as_slice) {
        let name = service["metadata"]["name"].as_str().unwrap_or("");
        let shown = service["metadata"]["labels"]["kubernetes.io/name"]
            .as_str()
            .unwrap_or(name);
        let port = service["spec"]["ports"][0]["name"]
            .as_str()
            .map_or(String::new(), |port| format!(":{port}"));
        let path = format!("/api/v1/namespaces/kube-system/services/{name}{port}/proxy");
        println!("{shown} is running at {}{path}", session.server);
    }
    println!("\nTo further debug and diagnose cluster problems, use 'timonctl get events -A' and 'timonctl describe'.");
    Ok(())
}

/// `api-resources`' flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct ApiResources {
    /// Only those of this API group
    #[arg(long)]
    api_group: Option<String>,
    /// Only namespaced ones, or only the others
    #[arg(long)]
    namespaced: Option<bool>,
    /// Only those with all these verbs
    #[arg(long, value_delimiter = ',')]
    verbs: Vec<String>,
    /// Only those with all these categories
    #[arg(long, value_delimiter = ',')]
    categories: Vec<String>,
    /// wide or name
    #[arg(short, long)]
    output: Option<Format>,
    /// Leave the header out
    #[arg(long)]
    no_headers: bool,
    /// name or kind
    #[arg(long, value_parser = ["name", "kind"])]
    sort_by: Option<String>,
}

impl ApiResources {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut all = resolve::discover(session).await?;
        all.retain(|resource| {
            self.api_group.as_ref().is_none_or(|group| *group == resource.group)
                && self
                    .namespaced
                    .is_none_or(|namespaced| namespaced == resource.namespaced)
                && self.verbs.iter().all(|verb| resource.verbs.contains(verb))
                && self
                    .categories
                    .iter()
                    .all(|category| resource.categories.contains(category))
        });
        match self.sort_by.as_deref() {
            Some("kind") => all.sort_by(|a, b| a.kind.cmp(&b.kind)),
            Some(_) => all.sort_by(|a, b| a.plural.cmp(&b.plural)),
            None => all.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
        }
        if self.output == Some(Format::Name) {
            for resource in &all {
                println!("{}", resource.plural_name());
            }
            return Ok(());
        }
        let wide = self.output == Some(Format::Wide);
        let mut rows = Vec::new();
        if !self.no_headers {
            let mut header = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
            if wide {
                header.extend(["VERBS", "CATEGORIES"]);
            }
            rows.push(header.into_iter().map(str::to_owned).collect());
        }
        rows.extend(all.iter().map(|resource| row(resource, wide)));
        Layout::default().write(&mut io::stdout().lock(), &rows)?;
        Ok(())
    }
}

fn row(resource: &Resource, wide: bool) -> Vec<String> {
    let mut row = vec![
        resource.plural.clone(),
        resource.short_names.join(","),
        resource.api_version(),
        resource.namespaced.to_string(),
        resource.kind.clone(),
    ];
    if wide {
        row.push(resource.verbs.join(","));
        row.push(resource.categories.join(","));
    }
    row
}

/// Prints every group and version that is served.
pub(crate) async fn api_versions(session: &Session) -> Result<(), Failure> {
    let mut versions: Vec<String> = session.get("/api").await?["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    for group in session.get("/apis").await?["groups"].as_array().into_iter().flatten() {
        let served = group["versions"].as_array().into_iter().flatten();
        versions.extend(
            served
                .filter_map(|version| version["groupVersion"].as_str())
                .map(str::to_owned),
        );
    }
    versions.sort();
    for version in versions {
        println!("{version}");
    }
    Ok(())
}
