//! Waiting for a lab to be of use: the server answers, the kubeconfig is written, the nodes are Ready.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::time::Instant;

use super::LabError;
use super::power;
use super::progress::Progress;
use super::state::{Home, Role, SERVER, State, write_private};

/// Waits for the server, writes the kubeconfig, introduces the nodes and waits until each that should be is Ready.
pub(crate) fn finish(home: &Home, state: &State, progress: &Progress, limit: Duration) -> Result<(), LabError> {
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    if state.machine(SERVER)?.running().is_none() {
        return Err(LabError::PoweredOff {
            name: SERVER.to_owned(),
        });
    }
    progress.step("waiting for the server");
    let mut last = None;
    let written = super::wait_until(left(), || match kubeconfig(home, state) {
        Ok(done) => done,
        Err(error) => {
            last = Some(error);
            false
        }
    });
    if !written {
        return Err(last.unwrap_or(LabError::Deadline {
            what: "the server to make its keys".to_owned(),
        }));
    }
    for (name, _) in state.machines.iter().filter(|(_, m)| m.role == Role::Node) {
        power::introduce(home, name)?;
    }
    runtime()?.block_on(async {
        let awaited: BTreeMap<&str, Timestamp> = state
            .machines
            .iter()
            .filter(|(_, m)| m.role == Role::Node && !m.frozen && !m.cut)
            .filter_map(|(name, m)| Some((name.as_str(), m.running()?.started_at()?)))
            .collect();
        wait_nodes(home, &awaited, progress, deadline).await
    })
}

/// Writes the administrator's kubeconfig with the address that the host uses; false until the server has made its own.
fn kubeconfig(home: &Home, state: &State) -> Result<bool, LabError> {
    let source = power::on_disk(home, SERVER, "/var/lib/timonel/server/admin.kubeconfig");
    let Ok(text) = fs::read_to_string(&source) else {
        return Ok(false);
    };
    let mut config: serde_json::Value = serde_saphyr::from_str(&text)
        .map_err(|error| LabError::io("parse", &source)(std::io::Error::other(error.to_string())))?;
    if let Some(server) = config.pointer_mut("/clusters/0/cluster/server") {
        *server = format!("https://127.0.0.1:{}", state.api_port).into();
    }
    let text = serde_saphyr::to_string(&config)
        .map_err(|error| LabError::io("render", &source)(std::io::Error::other(error.to_string())))?;
    write_private(&home.kubeconfig(), text.as_bytes())?;
    Ok(true)
}

fn runtime() -> Result<tokio::runtime::Runtime, LabError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LabError::System {
            act: "start the client",
            source,
        })
}

async fn client(home: &Home) -> Result<kube::Client, LabError> {
    timonel_client::kubeconfig::load(home.kubeconfig(), "timonel")
        .await
        .map_err(|source| LabError::Api {
            act: "connect to the API",
            source: source.into(),
        })
}

/// Waits until each node is Ready and has said that it lives since it was powered on: before, the API only remembers an earlier life.
async fn wait_nodes(
    home: &Home,
    awaited: &BTreeMap<&str, Timestamp>,
    progress: &Progress,
    deadline: Instant,
) -> Result<(), LabError> {
    let client = client(home).await?;
    let (nodes, leases): (Api<Node>, Api<Lease>) =
        (Api::all(client.clone()), Api::namespaced(client, "kube-node-lease"));
    let all = ListParams::default();
    let mut last = "the API server does not answer".to_owned();
    loop {
        let limit = Duration::from_secs(2);
        let lists = async { tokio::try_join!(nodes.list(&all), leases.list(&all)) };
        match tokio::time::timeout(limit, lists).await {
            Ok(Ok((nodes, leases))) => {
                let is_up = |name: &str, since: Timestamp| {
                    let named = |meta: &ObjectMeta| meta.name.as_deref() == Some(name);
                    nodes.items.iter().any(|node| named(&node.metadata) && is_ready(node))
                        && leases
                            .items
                            .iter()
                            .any(|lease| named(&lease.metadata) && renewed(lease) > Some(since))
                };
                let missing: Vec<&str> = awaited
                    .iter()
                    .filter(|(name, since)| !is_up(name, **since))
                    .map(|(name, _)| *name)
                    .collect();
                if missing.is_empty() {
                    return Ok(());
                }
                last = format!("not Ready yet: {}", missing.join(", "));
            }
            Ok(Err(error)) => last = timonel_client::chain(&error),
            Err(_) => {}
        }
        progress.step(format!("waiting for the nodes ({last})"));
        if Instant::now() >= deadline {
            return Err(LabError::Deadline {
                what: format!("the nodes; {last}"),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn renewed(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Deletes a Node object; one that is not there is fine.
pub(crate) fn delete_node(home: &Home, name: &str) -> Result<(), LabError> {
    runtime()?.block_on(async {
        let nodes: Api<Node> = Api::all(client(home).await?);
        let gone = tokio::time::timeout(Duration::from_secs(10), nodes.delete(name, &DeleteParams::default())).await;
        match gone {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Ok(Err(source)) => Err(LabError::Api {
                act: "delete the Node",
                source: source.into(),
            }),
            Err(_) => Err(LabError::Deadline {
                what: format!("the API server to delete Node {name}"),
            }),
        }
    })
}
