//! Finding images, and making and starting containers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use timonel_api::ObjectKey;

use super::{Shared, hooks};
use crate::pod::StartFailure;
use crate::pod::observed::ImageFailure;
use crate::runtime::ImageAuth;
use crate::spec::container::Parts;
use crate::spec::{References, container, env, sandbox};

/// An image's name with the registry and tag that Docker's habits imply; `None` if it is not a name.
pub(super) fn normalize(image: &str) -> Option<String> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match rest[slash..].find(':') {
        Some(at) => (&rest[..slash + at], Some(&rest[slash + at + 1..])),
        None => (rest, None),
    };
    let (registry, path) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
        Some(_) => ("docker.io", path.to_owned()),
        None => ("docker.io", format!("library/{path}")),
    };
    let part_ok = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && part.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
    };
    let tag_ok = |tag: &str| {
        !tag.is_empty() && tag.len() <= 128 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let digest_ok = |digest: &str| {
        digest
            .split_once(':')
            .is_some_and(|(kind, hex)| !kind.is_empty() && hex.len() >= 32)
    };
    if !path.split('/').all(part_ok) || tag.is_some_and(|tag| !tag_ok(tag)) || digest.is_some_and(|d| !digest_ok(d)) {
        return None;
    }
    Some(match (tag, digest) {
        (_, Some(digest)) => format!("{registry}/{path}@{digest}"),
        (Some(tag), None) => format!("{registry}/{path}:{tag}"),
        (None, None) => format!("{registry}/{path}:latest"),
    })
}

/// The policy that applies: what is said, or `Always` for `:latest` and `IfNotPresent` for the rest.
fn policy<'a>(container: &'a Container, name: &str) -> &'a str {
    match container.image_pull_policy.as_deref() {
        Some(said) if !said.is_empty() => said,
        _ if name.ends_with(":latest") => "Always",
        _ => "IfNotPresent",
    }
}

/// Finds or pulls the image; answers its reference.
pub(super) async fn image(shared: &Shared, pod: &Pod, container: &Container) -> Result<String, ImageFailure> {
    let wanted = container.image.as_deref().unwrap_or_default();
    let own = Some(container.name.as_str());
    let fail = |reason: &str, message: String| ImageFailure {
        reason: reason.to_owned(),
        message,
        at: shared.clock.now(),
    };
    let Some(name) = normalize(wanted) else {
        let message = format!(
            "Failed to apply default image tag {wanted:?}: couldn't parse image name {wanted:?}: invalid reference format"
        );
        shared.say(pod, own, true, "InspectFailed", message.clone());
        shared.say(pod, own, true, "Failed", "Error: InvalidImageName");
        return Err(fail("InvalidImageName", message));
    };
    let policy = policy(container, &name);
    let present = if policy == "Always" {
        None
    } else {
        let found = shared.runtime.image(&name).await;
        found.map_err(|error| {
            let message = format!("Failed to inspect image {wanted:?}: {error}");
            shared.say(pod, own, true, "InspectFailed", message.clone());
            fail("ImageInspectError", message)
        })?
    };
    if let Some(present) = present {
        let message = format!("Container image {wanted:?} already present on machine and can be accessed by the pod");
        shared.say(pod, own, false, "Pulled", message);
        return Ok(present.id);
    }
    if policy == "Never" {
        let message = format!("Container image {wanted:?} is not present with pull policy of Never");
        shared.say(pod, own, true, "ErrImageNeverPull", message.clone());
        shared.say(pod, own, true, "Failed", "Error: ErrImageNeverPull");
        return Err(fail("ErrImageNeverPull", message));
    }
    shared.say(pod, own, false, "Pulling", format!("Pulling image {wanted:?}"));
    let began = tokio::time::Instant::now();
    let auth = pull_secret(shared, pod, &name).await;
    match shared.runtime.pull_image(&name, auth.as_ref()).await {
        Ok(reference) => {
            let took = began.elapsed();
            let size = shared
                .runtime
                .image(&reference)
                .await
                .ok()
                .flatten()
                .map_or(0, |image| image.size);
            let took = format!("{}.{:03}s", took.as_secs(), took.subsec_millis());
            let message = format!(
                "Successfully pulled image {wanted:?} in {took} ({took} including waiting). Image size: {size} bytes."
            );
            shared.say(pod, own, false, "Pulled", message);
            Ok(reference)
        }
        Err(error) => {
            let message = format!("failed to pull image {wanted:?}: {error}");
            shared.say(
                pod,
                own,
                true,
                "Failed",
                format!("Failed to pull image {wanted:?}: {error}"),
            );
            shared.say(pod, own, true, "Failed", "Error: ErrImagePull");
            Err(fail("ErrImagePull", message))
        }
    }
}

/// Credentials for the image's registry from the pod's `imagePullSecrets`.
async fn pull_secret(shared: &Shared, pod: &Pod, image: &str) -> Option<ImageAuth> {
    let registry = image.split('/').next()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for wanted in pod.spec.as_ref()?.image_pull_secrets.iter().flatten() {
        let Ok(Some(secret)) = shared.objects.secret(namespace, &wanted.name).await else {
            continue;
        };
        if let Some(auth) = registry_auth(&secret, registry) {
            return Some(auth);
        }
    }
    None
}

fn registry_auth(secret: &Secret, registry: &str) -> Option<ImageAuth> {
    let data = secret.data.as_ref()?.get(".dockerconfigjson")?;
    let config: serde_json::Value = serde_json::from_slice(&data.0).ok()?;
    let auths = config.get("auths")?.as_object()?;
    let (server, entry) = auths.iter().find(|(server, _)| {
        let host = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        host == registry || (registry == "docker.io" && host == "index.docker.io")
    })?;
    let text = |field: &str| entry.get(field).and_then(|value| value.as_str()).map(str::to_owned);
    let (username, password) = match (text("username"), text("password"), text("auth")) {
        (Some(username), Some(password), _) => (username, password),
        (_, _, Some(auth)) => {
            use base64::Engine as _;
            let plain = base64::engine::general_purpose::STANDARD.decode(auth).ok()?;
            let plain = String::from_utf8(plain).ok()?;
            let (username, password) = plain.split_once(':')?;
            (username.to_owned(), password.to_owned())
        }
        _ => return None,
    };
    Some(ImageAuth {
        username,
        password,
        server: server.clone(),
    })
}

/// What to start.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) attempt: u32,
    pub(super) sandbox: String,
    pub(super) image: String,
}

/// Makes and starts a container, and runs its `postStart` hook.
pub(super) async fn start(shared: &Shared, start: &Start) -> Result<(), StartFailure> {
    let (pod, wanted) = (start.pod.as_ref(), &start.container);
    let own = Some(wanted.name.as_str());
    let fail = |reason: &str, message: String| StartFailure {
        attempt: start.attempt,
        reason: reason.to_owned(),
        message,
        at: shared.clock.now(),
    };
    let settings = Arc::clone(&shared.settings);
    let built = async {
        let references = references(shared, pod, wanted)
            .await
            .map_err(crate::spec::ConfigError)?;
        let ips = shared.pod_ips(pod);
        let env = env::environment(pod, wanted, &references, &settings, &ips)?;
        let mounts = shared.volumes.mounts(pod, wanted, start.attempt, &env).await?;
        let record = shared.runtime.image(&start.image).await.ok().flatten();
        container::container(
            Parts {
                pod,
                container: wanted,
                attempt: start.attempt,
                image: &start.image,
                record: record.as_ref(),
                env,
                mounts,
                memory: shared.memory_bytes,
            },
            &settings,
        )
    };
    let config = built.await.map_err(|error| {
        shared.say(pod, own, true, "Failed", format!("Error: {error}"));
        fail("CreateContainerConfigError", error.to_string())
    })?;
    let sandbox_attempt = 0;
    let sandbox = sandbox::sandbox(pod, sandbox_attempt, &settings);
    if !shared.config.hollow {
        let folder = std::path::Path::new(&sandbox.log_directory).join(&wanted.name);
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(|error| {
            fail(
                "CreateContainerError",
                format!("create log folder {}: {error}", folder.display()),
            )
        })?;
    }
    let id = shared
        .runtime
        .create_container(&start.sandbox, &config, &sandbox)
        .await
        .map_err(|error| {
            shared.say(pod, own, true, "Failed", format!("Error: {error}"));
            fail("CreateContainerError", error.to_string())
        })?;
    shared.say(pod, own, false, "Created", "Container created");
    shared.runtime.start_container(&id).await.map_err(|error| {
        shared.say(pod, own, true, "Failed", format!("Error: {error}"));
        fail("RunContainerError", error.to_string())
    })?;
    shared.say(pod, own, false, "Started", "Container started");
    let hook = wanted
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.post_start.as_ref());
    if let Some(hook) = hook {
        // Upstream gives postStart no limit; the API's own maximum for anything is an hour.
        let limit = Duration::from_secs(3600);
        if let Err(message) = hooks::run(shared, pod, wanted, &id, hook, limit).await {
            shared.say(
                pod,
                own,
                true,
                "FailedPostStartHook",
                format!("PostStartHook failed: {message}"),
            );
            shared.say(pod, own, false, "Killing", "FailedPostStartHook");
            let grace = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.termination_grace_period_seconds)
                .unwrap_or(30);
            let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
            let _ = shared.runtime.stop_container(&id, grace).await;
            return Err(fail("PostStartHookError", message));
        }
    }
    Ok(())
}

/// Reads what the container's environment refers to.
async fn references(shared: &Shared, pod: &Pod, container: &Container) -> Result<References, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for source in container.env_from.iter().flatten() {
        maps.extend(source.config_map_ref.iter().map(|wanted| wanted.name.clone()));
        secrets.extend(source.secret_ref.iter().map(|wanted| wanted.name.clone()));
    }
    for source in container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| variable.value_from.as_ref())
    {
        maps.extend(source.config_map_key_ref.iter().map(|wanted| wanted.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|wanted| wanted.name.clone()));
    }
    let mut references = References::default();
    for name in maps {
        let found = shared.objects.config_map(namespace, &name).await?;
        references.config_maps.insert(name, found);
    }
    for name in secrets {
        let found = shared.objects.secret(namespace, &name).await?;
        references.secrets.insert(name, found);
    }
    references.services = shared.services.list_in(namespace);
    if namespace != "default" {
        references
            .services
            .extend(shared.services.get(&ObjectKey::new("default", "kubernetes")));
    }
    Ok(references)
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn image_names_are_completed_as_docker_does() {
        for (image, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.35", "docker.io/library/busybox:1.35"),
            ("team/app:2", "docker.io/team/app:2"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("timonel.dev/demo:1.0", "timonel.dev/demo:1.0"),
        ] {
            assert_eq!(normalize(image).as_deref(), Some(full), "{image}");
        }
        for image in ["", "UPPER", "a b", "app:", "app:bad tag", "-x", "http://x/y:1"] {
            assert_eq!(normalize(image), None, "{image}");
        }
    }
}
