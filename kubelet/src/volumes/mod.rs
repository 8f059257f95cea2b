//! A pod's volumes on this node: set up, kept current, mounted into containers, taken down.
//!
//! ```text
//! <root>/pods/<uid>/volumes/kubernetes.io~<plugin>/<name>      one folder per volume
//!                  /volume-subpaths/<volume>/<container>/<n>   bind mounts of sub-paths
//!                  /containers/<container>/<attempt>           termination message
//!                  /etc-hosts
//! ```
//!
//! A claim's volume is a folder of the node itself (`hostPath`, `local`), also where the claim is made for the pod (`ephemeral`).
//!
//! What is deliberately absent yet: CSI, NFS, iSCSI and image volumes; they answer an explicit error.

pub mod atomic;
pub mod local_path;
pub mod objects;
mod payload;
mod subpath;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, Pod, Volume};
use timonel_api::quantity::Quantity;
use timonel_api::storage;
use timonel_client::Clock;

use crate::runtime::Mount;
use crate::spec::expansion::expand;
use crate::spec::{ConfigError, NodeSettings};
use objects::{Objects, TokenCache};

/// What went wrong with one volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
pub struct VolumeError {
    /// Which volume.
    pub volume: String,
    /// Why, in upstream's words where it has any.
    pub message: String,
}

/// Sets volumes up and takes them down.
#[derive(Debug)]
pub struct Volumes {
    root: PathBuf,
    hollow: bool,
    objects: Arc<dyn Objects>,
    tokens: TokenCache,
}

/// A volume whose files are rendered from the API.
pub(crate) type Payload = BTreeMap<String, (Vec<u8>, u32)>;

impl Volumes {
    /// Works below `root` (`/var/lib/kubelet`). A hollow node looks its references up but writes nothing.
    pub fn new(root: PathBuf, hollow: bool, objects: Arc<dyn Objects>, clock: Arc<dyn Clock>) -> Self {
        Self {
            root,
            hollow,
            tokens: TokenCache::new(clock),
            objects,
        }
    }

    /// The folder of a pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    fn volume_dir(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod_dir(uid)
            .join("volumes")
            .join(format!("kubernetes.io~{plugin}"))
            .join(name)
    }

    /// Sets every volume up, or brings its content up to date.
    ///
    /// # Errors
    /// The first volume that cannot be had.
    pub async fn set_up(&self, pod: &Pod, settings: &NodeSettings) -> Result<(), VolumeError> {
        let Some(spec) = &pod.spec else { return Ok(()) };
        let group = spec.security_context.as_ref().and_then(|context| context.fs_group);
        for volume in spec.volumes.iter().flatten() {
            self.set_up_one(pod, volume, group, settings)
                .await
                .map_err(|message| VolumeError {
                    volume: volume.name.clone(),
                    message,
                })?;
        }
        Ok(())
    }

    async fn set_up_one(
        &self,
        pod: &Pod,
        volume: &Volume,
        group: Option<i64>,
        settings: &NodeSettings,
    ) -> Result<(), String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(source) = &volume.empty_dir {
            if self.hollow {
                return Ok(());
            }
            let dir = self.volume_dir(uid, "empty-dir", &volume.name);
            let memory = source.medium.as_deref() == Some("Memory");
            let size = source.size_limit.as_ref().map(|wire| Quantity::lenient(wire).value());
            return blocking(move || tree::empty_dir(&dir, memory, size, group)).await;
        }
        if let Some(source) = &volume.host_path {
            if self.hollow {
                return Ok(());
            }
            let source = source.clone();
            return blocking(move || tree::host_path(&source)).await;
        }
        if let Some(claim) = storage::claim_behind(pod, volume) {
            let path = self.claim(pod, volume, &claim).await?;
            if self.hollow {
                return Ok(());
            }
            return blocking(move || {
                if local_path::is_below_root(&path) {
                    return local_path::make(&path);
                }
                tree::host_path(&HostPathVolumeSource {
                    path,
                    type_: Some("DirectoryOrCreate".to_owned()),
                })
            })
            .await;
        }
        let Some(plugin) = payload::plugin(volume) else {
            return Err("this kind of volume is not implemented by Timonel's kubelet".to_owned());
        };
        let files = payload::render(pod, volume, self.objects.as_ref(), &self.tokens, settings).await?;
        if self.hollow {
            return Ok(());
        }
        let dir = self.volume_dir(uid, plugin, &volume.name);
        blocking(move || atomic::write(&dir, &files, group).map_err(|error| error.to_string())).await
    }

    /// The path of a claim's volume on this node.
    async fn claim(&self, pod: &Pod, source: &Volume, name: &str) -> Result<String, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claim = self.objects.claim(namespace, name).await?;
        let claim = claim.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
        if source.ephemeral.is_some() && !storage::is_made_for(&claim, pod) {
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            return Err(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{pod_name} (pod is not owner)"
            ));
        }
        let bound = storage::volume_of(&claim).map(str::to_owned);
        let bound = bound.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" is not bound"))?;
        let volume = self.objects.volume(&bound).await?;
        let volume = volume.ok_or_else(|| format!("persistentvolume \"{bound}\" not found"))?;
        // Two claims may name one volume; it is only one of theirs.
        if !storage::refers_to(&volume, &claim) {
            return Err(format!(
                "found PV object {bound} with mismatching claimRef: it is not bound to {namespace}/{name}"
            ));
        }
        let spec = volume.spec.unwrap_or_default();
        let path = spec
            .host_path
            .map(|source| source.path)
            .or(spec.local.map(|source| source.path));
        path.ok_or_else(|| {
            format!("persistentvolume \"{bound}\" is neither hostPath nor local, which is all that is implemented")
        })
    }

    /// The mounts of a container.
    ///
    /// # Errors
    /// When a mount names no volume, or its sub-path leads out of it.
    pub async fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        env: &[(String, String)],
    ) -> Result<Vec<Mount>, ConfigError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let spec = pod.spec.clone().unwrap_or_default();
        let known: BTreeMap<String, String> = env.iter().cloned().collect();
        let mut mounts = Vec::new();
        for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
            let missing = || {
                ConfigError(format!(
                    "cannot find volume {:?} to mount into container {:?}",
                    wanted.name, container.name
                ))
            };
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == wanted.name);
            let volume = volume.ok_or_else(missing)?;
            let mut path = self.source(pod, volume).await.map_err(ConfigError)?;
            let sub = match (&wanted.sub_path_expr, &wanted.sub_path) {
                (Some(text), _) if !text.is_empty() => Some(expand(text, &known)),
                (_, Some(text)) if !text.is_empty() => Some(text.clone()),
                _ => None,
            };
            if let Some(sub) = sub
                && !self.hollow
            {
                let target = self
                    .pod_dir(uid)
                    .join("volume-subpaths")
                    .join(&wanted.name)
                    .join(&container.name)
                    .join(index.to_string());
                let volume = path.clone();
                let create = volume_is_writable(volume_kind(
                    spec.volumes.iter().flatten().find(|v| v.name == wanted.name),
                ));
                let prepared = blocking(move || subpath::bind(&volume, &sub, &target, create)).await;
                path = prepared.map_err(|error| {
                    ConfigError(format!(
                        "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                        wanted.name, container.name
                    ))
                })?;
            }
            mounts.push(Mount {
                container_path: wanted.mount_path.clone(),
                host_path: path.to_string_lossy().into_owned(),
                readonly: wanted.read_only == Some(true)
                    || payload::plugin(volume).is_some()
                    || volume
                        .persistent_volume_claim
                        .as_ref()
                        .is_some_and(|claim| claim.read_only == Some(true)),
                propagation: wanted.mount_propagation.clone().unwrap_or_else(|| "None".to_owned()),
            });
        }
        let own = |path: &str| {
            container
                .volume_mounts
                .iter()
                .flatten()
                .any(|mount| mount.mount_path == path)
        };
        if !self.hollow {
            if !own("/etc/hosts") {
                mounts.push(Mount {
                    container_path: "/etc/hosts".to_owned(),
                    host_path: self.pod_dir(uid).join("etc-hosts").to_string_lossy().into_owned(),
                    readonly: false,
                    propagation: "None".to_owned(),
                });
            }
            let inside = container
                .termination_message_path
                .clone()
                .unwrap_or_else(|| "/dev/termination-log".to_owned());
            let log = self.termination_log(uid, &container.name, attempt);
            let made = log.clone();
            blocking(move || tree::touch(&made)).await.map_err(ConfigError)?;
            mounts.push(Mount {
                container_path: inside,
                host_path: log.to_string_lossy().into_owned(),
                readonly: false,
                propagation: "None".to_owned(),
            });
        }
        Ok(mounts)
    }

    async fn source(&self, pod: &Pod, volume: &Volume) -> Result<PathBuf, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(source) = &volume.host_path {
            return Ok(PathBuf::from(&source.path));
        }
        if let Some(claim) = storage::claim_behind(pod, volume) {
            return self.claim(pod, volume, &claim).await.map(PathBuf::from);
        }
        let plugin = if volume.empty_dir.is_some() {
            Some("empty-dir")
        } else {
            payload::plugin(volume)
        };
        let plugin = plugin.ok_or("this kind of volume is not implemented by Timonel's kubelet")?;
        Ok(self.volume_dir(uid, plugin, &volume.name))
    }

    /// Where a container leaves its last words.
    pub fn termination_log(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod_dir(uid)
            .join("containers")
            .join(container)
            .join(attempt.to_string())
    }

    /// Writes the pod's `/etc/hosts`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn write_hosts(&self, uid: &str, text: String) -> Result<(), String> {
        if self.hollow {
            return Ok(());
        }
        let path = self.pod_dir(uid).join("etc-hosts");
        blocking(move || {
            // In place: a rename would leave running containers with the old file.
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
                .and_then(|()| std::fs::write(&path, text))
                .map_err(|error| format!("write {}: {error}", path.display()))
        })
        .await
    }

    /// Removes everything of a pod, unmounting first.
    ///
    /// # Errors
    /// When something is still mounted or cannot be removed.
    pub async fn tear_down(&self, uid: &str) -> Result<(), String> {
        if self.hollow || uid.is_empty() {
            return Ok(());
        }
        let dir = self.pod_dir(uid);
        blocking(move || tree::remove(&dir)).await
    }

    /// Uids of pods that have a folder here.
    pub async fn pods_on_disk(&self) -> Vec<String> {
        if self.hollow {
            return Vec::new();
        }
        let dir = self.root.join("pods");
        let listed = blocking(move || {
            let entries = std::fs::read_dir(dir).map_err(|error| error.to_string())?;
            Ok(entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect())
        })
        .await;
        listed.unwrap_or_default()
    }
}

fn volume_kind(volume: Option<&Volume>) -> Option<&'static str> {
    volume.and_then(payload::plugin)
}

/// A sub-path that does not exist is made, unless the volume's content comes from the API.
fn volume_is_writable(plugin: Option<&'static str>) -> bool {
    plugin.is_none()
}

/// Does file work off the executor's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(error.to_string()),
    }
}
