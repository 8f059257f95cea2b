//! [`Runtime`] over the Container Runtime Interface: containerd's unix socket.
//!
//! containerd 1.6 has no event stream, so the kubelet lists once a second; to keep that cheap, what cannot change any more
//! (the addresses of a ready sandbox, the details of a container whose state is the same) is asked for only once.

mod connect;
mod convert;
pub(crate) mod probe;

/// The generated client of the CRI subset.
#[expect(
    unreachable_pub,
    clippy::all,
    reason = "generated code; proto/cri.proto documents it"
)]
pub(crate) mod wire {
    tonic::include_proto!("runtime.v1");
}

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tonic::transport::Channel;

use self::convert::{failed, no_sooner_than};
use self::wire::image_service_client::ImageServiceClient;
use self::wire::runtime_service_client::RuntimeServiceClient;
use crate::runtime::{
    AttachRequest, Condition, ContainerConfig, ContainerRecord, ContainerStats, ExecRequest, ExecResult, GroupUsage,
    ImageAuth, ImageRecord, NetworkProbe, ProbeOutcome, Runtime, RuntimeError, RuntimeVersion, SandboxConfig,
    SandboxRecord, SandboxState,
};

/// How long an ordinary request may take; upstream's `--runtime-request-timeout`.
const REQUEST: Duration = Duration::from_secs(120);
/// Making a sandbox includes the pod's network.
const RUN_SANDBOX: Duration = Duration::from_secs(240);
/// A pull may move gigabytes.
const PULL: Duration = Duration::from_secs(3600);

/// containerd (or any CRI runtime) behind a unix socket.
#[derive(Debug)]
pub struct CriRuntime {
    channel: Channel,
    prober: probe::NetworkProber,
    sandboxes: Mutex<BTreeMap<String, Vec<String>>>,
    containers: Mutex<BTreeMap<String, (i32, ContainerRecord)>>,
}

impl CriRuntime {
    /// Points at a socket such as `/run/containerd/containerd.sock`. Connects when first used, and again when the runtime was restarted.
    ///
    /// # Errors
    /// When the HTTP client for probes cannot be set up.
    pub fn new(socket: &Path) -> Result<Self, RuntimeError> {
        Ok(Self {
            channel: connect::lazy(socket),
            prober: probe::NetworkProber::new()?,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
        })
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    async fn sandbox_ips(&self, id: &str) -> Result<Vec<String>, RuntimeError> {
        if let Some(known) = lock(&self.sandboxes).get(id) {
            return Ok(known.clone());
        }
        let answer = self
            .runtime()
            .pod_sandbox_status(timed(
                wire::PodSandboxStatusRequest {
                    pod_sandbox_id: id.to_owned(),
                    verbose: false,
                },
                REQUEST,
            ))
            .await
            .map_err(failed)?
            .into_inner();
        let ips = convert::ips(answer.status.and_then(|s| s.network));
        lock(&self.sandboxes).insert(id.to_owned(), ips.clone());
        Ok(ips)
    }

    async fn container_record(&self, listed: wire::Container) -> Result<Option<ContainerRecord>, RuntimeError> {
        if let Some((state, known)) = lock(&self.containers).get(&listed.id)
            && *state == listed.state
        {
            return Ok(Some(known.clone()));
        }
        let answer = self
            .runtime()
            .container_status(timed(
                wire::ContainerStatusRequest {
                    container_id: listed.id.clone(),
                    verbose: false,
                },
                REQUEST,
            ))
            .await;
        let status = match answer.map_err(failed) {
            Ok(answer) => answer.into_inner().status,
            Err(RuntimeError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(status) = status else { return Ok(None) };
        let (state, id) = (status.state, status.id.clone());
        let record = convert::container(status, listed.pod_sandbox_id);
        lock(&self.containers).insert(id, (state, record.clone()));
        Ok(Some(record))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timed<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

#[async_trait]
impl Runtime for CriRuntime {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        let answer = self
            .runtime()
            .version(timed(wire::VersionRequest { version: "v1".into() }, REQUEST))
            .await
            .map_err(failed)?
            .into_inner();
        Ok(RuntimeVersion {
            name: answer.runtime_name,
            version: answer.runtime_version,
        })
    }

    async fn status(&self) -> Result<Vec<Condition>, RuntimeError> {
        let answer = self
            .runtime()
            .status(timed(wire::StatusRequest { verbose: false }, REQUEST))
            .await
            .map_err(failed)?
            .into_inner();
        Ok(answer
            .status
            .unwrap_or_default()
            .conditions
            .into_iter()
            .map(|c| Condition {
                kind: c.r#type,
                status: c.status,
                reason: c.reason,
                message: c.message,
            })
            .collect())
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        let request = wire::RunPodSandboxRequest {
            config: Some(convert::sandbox_config(config)),
            runtime_handler: String::new(),
        };
        let answer = self.runtime().run_pod_sandbox(timed(request, RUN_SANDBOX)).await;
        Ok(answer.map_err(failed)?.into_inner().pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = wire::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        gone_is_fine(self.runtime().stop_pod_sandbox(timed(request, RUN_SANDBOX)).await)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = wire::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        gone_is_fine(self.runtime().remove_pod_sandbox(timed(request, REQUEST)).await)
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxRecord>, RuntimeError> {
        let listed = self
            .runtime()
            .list_pod_sandbox(timed(wire::ListPodSandboxRequest { filter: None }, REQUEST))
            .await
            .map_err(failed)?
            .into_inner()
            .items;
        let mut records = Vec::with_capacity(listed.len());
        for item in listed {
            let ready = item.state == wire::PodSandboxState::SandboxReady as i32;
            let ips = if !ready {
                Vec::new()
            } else {
                match self.sandbox_ips(&item.id).await {
                    Ok(ips) => ips,
                    Err(RuntimeError::NotFound(_)) => continue,
                    Err(error) => return Err(error),
                }
            };
            let metadata = item.metadata.unwrap_or_default();
            records.push(SandboxRecord {
                id: item.id,
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                attempt: metadata.attempt,
                state: if ready {
                    SandboxState::Ready
                } else {
                    SandboxState::NotReady
                },
                created_at: no_sooner_than(item.created_at),
                ips,
                labels: item.labels.into_iter().collect(),
                annotations: item.annotations.into_iter().collect(),
            });
        }
        lock(&self.sandboxes).retain(|id, _| records.iter().any(|r| r.id == *id && r.state == SandboxState::Ready));
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox: &SandboxConfig,
    ) -> Result<String, RuntimeError> {
        let request = wire::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(convert::container_config(config)),
            sandbox_config: Some(convert::sandbox_config(sandbox)),
        };
        let answer = self.runtime().create_container(timed(request, REQUEST)).await;
        Ok(answer.map_err(failed)?.into_inner().container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = wire::StartContainerRequest {
            container_id: id.to_owned(),
        };
        self.runtime()
            .start_container(timed(request, REQUEST))
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let request = wire::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: i64::try_from(grace.as_secs()).unwrap_or(i64::MAX),
        };
        gone_is_fine(self.runtime().stop_container(timed(request, grace + REQUEST)).await)
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = wire::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        gone_is_fine(self.runtime().remove_container(timed(request, REQUEST)).await)
    }

    async fn list_containers(&self) -> Result<Vec<ContainerRecord>, RuntimeError> {
        let listed = self
            .runtime()
            .list_containers(timed(wire::ListContainersRequest { filter: None }, REQUEST))
            .await
            .map_err(failed)?
            .into_inner()
            .containers;
        let mut records = Vec::with_capacity(listed.len());
        for item in listed {
            if let Some(record) = self.container_record(item).await? {
                records.push(record);
            }
        }
        lock(&self.containers).retain(|id, _| records.iter().any(|r| r.id == *id));
        records.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(records)
    }

    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let request = wire::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        self.runtime()
            .reopen_container_log(timed(request, REQUEST))
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn container_stats(&self) -> Result<Vec<ContainerStats>, RuntimeError> {
        let answer = self
            .runtime()
            .list_container_stats(timed(wire::ListContainerStatsRequest { filter: None }, REQUEST))
            .await
            .map_err(failed)?
            .into_inner();
        let mut stats: Vec<_> = answer.stats.into_iter().filter_map(convert::stats).collect();
        stats.sort_by(|a: &ContainerStats, b| a.id.cmp(&b.id));
        Ok(stats)
    }

    async fn group_usage(&self, groups: &[String], now: Timestamp) -> BTreeMap<String, GroupUsage> {
        // The runtime knows its containers only; pods and the machine are the kernel's to account for.
        let groups = groups.to_vec();
        let read = move || {
            let files = crate::stats::cgroup::Files::default();
            let used = groups.into_iter().filter_map(|group| {
                let usage = files.read(&group, now)?;
                Some((group, usage))
            });
            used.collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecResult, RuntimeError> {
        // CRI counts whole seconds: rounded up, so that a limit below one does not become none.
        let whole = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let seconds = i64::try_from(whole).unwrap_or(i64::MAX);
        let request = wire::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: seconds,
        };
        let limit = if timeout.is_zero() {
            PULL
        } else {
            timeout + Duration::from_secs(10)
        };
        let answer = self
            .runtime()
            .exec_sync(timed(request, limit))
            .await
            .map_err(failed)?
            .into_inner();
        Ok(ExecResult {
            exit_code: answer.exit_code,
            stdout: answer.stdout,
            stderr: answer.stderr,
        })
    }

    async fn exec(&self, request: &ExecRequest) -> Result<String, RuntimeError> {
        let request = wire::ExecRequest {
            container_id: request.container_id.clone(),
            cmd: request.command.clone(),
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let answer = self.runtime().exec(timed(request, REQUEST)).await;
        Ok(answer.map_err(failed)?.into_inner().url)
    }

    async fn attach(&self, request: &AttachRequest) -> Result<String, RuntimeError> {
        let request = wire::AttachRequest {
            container_id: request.container_id.clone(),
            stdin: request.stdin,
            tty: request.tty,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let answer = self.runtime().attach(timed(request, REQUEST)).await;
        Ok(answer.map_err(failed)?.into_inner().url)
    }

    async fn port_forward(&self, sandbox_id: &str, ports: &[u16]) -> Result<String, RuntimeError> {
        let request = wire::PortForwardRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            port: ports.iter().copied().map(i32::from).collect(),
        };
        let answer = self.runtime().port_forward(timed(request, REQUEST)).await;
        Ok(answer.map_err(failed)?.into_inner().url)
    }

    async fn probe_network(&self, _container_id: &str, probe: &NetworkProbe, timeout: Duration) -> ProbeOutcome {
        self.prober.probe(probe, timeout).await
    }

    async fn list_images(&self) -> Result<Vec<ImageRecord>, RuntimeError> {
        let answer = self
            .images()
            .list_images(timed(wire::ListImagesRequest { filter: None }, REQUEST))
            .await
            .map_err(failed)?
            .into_inner();
        let mut images: Vec<_> = answer.images.into_iter().map(convert::image).collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(images)
    }

    async fn image(&self, image: &str) -> Result<Option<ImageRecord>, RuntimeError> {
        let request = wire::ImageStatusRequest {
            image: Some(convert::image_spec(image)),
            verbose: false,
        };
        let answer = self.images().image_status(timed(request, REQUEST)).await;
        match answer.map_err(failed) {
            Ok(answer) => Ok(answer.into_inner().image.map(convert::image)),
            Err(RuntimeError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pull_image(&self, image: &str, auth: Option<&ImageAuth>) -> Result<String, RuntimeError> {
        let request = wire::PullImageRequest {
            image: Some(convert::image_spec(image)),
            auth: auth.map(|auth| wire::AuthConfig {
                username: auth.username.clone(),
                password: auth.password.clone(),
                server_address: auth.server.clone(),
                ..wire::AuthConfig::default()
            }),
            sandbox_config: None,
        };
        let answer = self.images().pull_image(timed(request, PULL)).await;
        Ok(answer.map_err(failed)?.into_inner().image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        let request = wire::RemoveImageRequest {
            image: Some(convert::image_spec(image)),
        };
        gone_is_fine(self.images().remove_image(timed(request, REQUEST)).await)
    }
}

fn gone_is_fine<T>(answer: Result<T, tonic::Status>) -> Result<(), RuntimeError> {
    match answer.map_err(failed) {
        Ok(_) | Err(RuntimeError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// CRI counts nanoseconds since 1970; 0 means "never".
pub(crate) fn timestamp(nanos: i64) -> Option<Timestamp> {
    (nanos != 0)
        .then(|| Timestamp::from_nanosecond(i128::from(nanos)).ok())
        .flatten()
}
