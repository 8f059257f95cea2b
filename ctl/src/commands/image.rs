//! `image load`: an archive of images goes to every node.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::Failure;
use crate::session::{Session, encode};

/// `image`'s verbs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Put archives of images (OCI, or of `docker save`) on the nodes
    Load {
        /// the archives
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only on this node; may be given several times
        #[arg(long = "node")]
        nodes: Vec<String>,
    },
}

impl Image {
    /// Sends every archive to every node, through the API server.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Verb::Load { files, nodes } = self.verb;
        let nodes = if nodes.is_empty() {
            all_nodes(session).await?
        } else {
            nodes
        };
        if nodes.is_empty() {
            return Err(Failure::usage("there is no node to load images on"));
        }
        let mut failures = Vec::new();
        for file in &files {
            for node in &nodes {
                let path = format!("/api/v1/nodes/{}/proxy/images/load", encode(node));
                match session.upload(&path, file).await {
                    Ok(()) => println!("{} loaded on {node}", file.display()),
                    Err(failure) => {
                        failures.push(failure.doing(format!("error when loading {} on {node}", file.display())))
                    }
                }
            }
        }
        Failure::all(failures)
    }
}

async fn all_nodes(session: &Session) -> Result<Vec<String>, Failure> {
    let list = session.get("/api/v1/nodes").await?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items
        .filter_map(|node| node["metadata"]["name"].as_str())
        .map(str::to_owned)
        .collect())
}
