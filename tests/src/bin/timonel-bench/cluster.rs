//! The server that is measured, and what lies in it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

/// Where everything happens.
pub(crate) const NAMESPACE: &str = "bench";
/// No node has it, so that pods that are only stored cost nobody anything.
const NOWHERE: &str = "unschedulable:1";
/// How many pods are made at once before a measurement.
const FILLERS: usize = 64;

#[derive(Clone)]
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    padding: String,
}

impl Cluster {
    /// Makes an empty namespace. Without controllers its service account is made here, as admission asks for one.
    pub(crate) async fn prepare(kubeconfig: &Path, padding: usize) -> Result<Self> {
        let cluster = Self {
            kubeconfig: kubeconfig.to_owned(),
            padding: "x".repeat(padding),
        };
        let client = cluster.connect().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        drop(namespaces.create(&PostParams::default(), &namespace).await);
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
        drop(accounts.create(&PostParams::default(), &account).await);
        Self::pods(&client)
            .delete_collection(&at_once(), &ListParams::default())
            .await?;
        Ok(cluster)
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    pub(crate) fn pods(client: &kube::Client) -> Api<Pod> {
        Api::namespaced(client.clone(), NAMESPACE)
    }

    /// A pod of 2 to 3 KiB once it is stored, as an ordinary Deployment's are. One in a hundred is of the same group.
    pub(crate) fn pod(&self, name: &str, number: usize, image: Option<&str>) -> Result<Pod> {
        Ok(serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {"app": "bench", "group": (number % 100).to_string()},
                "annotations": {"padding": self.padding},
            },
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "main", "image": image.unwrap_or(NOWHERE), "command": ["sleep", "100000"],
                "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}}}]}}))?)
    }

    /// Makes the pods `o-0`, `o-1`, ... that a measurement reads or changes.
    pub(crate) async fn fill(&self, count: usize) -> Result<()> {
        let pods = Self::pods(&self.connect().await?);
        futures::stream::iter((0..count).map(Ok::<_, anyhow::Error>))
            .try_for_each_concurrent(FILLERS, |number| {
                let pods = pods.clone();
                async move {
                    let pod = self.pod(&format!("o-{number}"), number, None)?;
                    pods.create(&PostParams::default(), &pod).await?;
                    Ok(())
                }
            })
            .await
    }
}

/// Deletes without waiting for a node.
pub(crate) fn at_once() -> DeleteParams {
    DeleteParams::default().grace_period(0)
}
