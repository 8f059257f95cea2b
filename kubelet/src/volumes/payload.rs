//! Files that come from the API: configMap, secret, downwardAPI and projected volumes, as pure as reading them allows.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};

use super::Payload;
use super::objects::{Objects, TokenCache};
use crate::spec::{NodeSettings, fields};

/// Mode of files when nothing is said.
const DEFAULT_MODE: i32 = 0o644;

/// The plugin's name in folder names, for volumes whose files come from the API.
pub(super) fn plugin(volume: &Volume) -> Option<&'static str> {
    if volume.config_map.is_some() {
        Some("configmap")
    } else if volume.secret.is_some() {
        Some("secret")
    } else if volume.downward_api.is_some() {
        Some("downward-api")
    } else if volume.projected.is_some() {
        Some("projected")
    } else {
        None
    }
}

fn mode(value: Option<i32>) -> u32 {
    u32::try_from(value.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o7777
}

/// Renders a volume's files.
pub(super) async fn render(
    pod: &Pod,
    volume: &Volume,
    objects: &dyn Objects,
    tokens: &TokenCache,
    settings: &NodeSettings,
) -> Result<Payload, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut files = Payload::new();
    if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let data = config_map(objects, namespace, &source.name, optional).await?;
        pick(
            &mut files,
            &data,
            source.items.as_deref(),
            source.default_mode,
            optional,
        )?;
    } else if let Some(source) = &volume.secret {
        let optional = source.optional == Some(true);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let data = secret(objects, namespace, name, optional).await?;
        pick(
            &mut files,
            &data,
            source.items.as_deref(),
            source.default_mode,
            optional,
        )?;
    } else if let Some(source) = &volume.downward_api {
        downward(&mut files, pod, source.items.as_deref(), source.default_mode, settings)?;
    } else if let Some(source) = &volume.projected {
        let default = source.default_mode;
        for part in source.sources.iter().flatten() {
            if let Some(wanted) = &part.config_map {
                let optional = wanted.optional == Some(true);
                let data = config_map(objects, namespace, &wanted.name, optional).await?;
                pick(&mut files, &data, wanted.items.as_deref(), default, optional)?;
            } else if let Some(wanted) = &part.secret {
                let optional = wanted.optional == Some(true);
                let data = secret(objects, namespace, &wanted.name, optional).await?;
                pick(&mut files, &data, wanted.items.as_deref(), default, optional)?;
            } else if let Some(wanted) = &part.downward_api {
                downward(&mut files, pod, wanted.items.as_deref(), default, settings)?;
            } else if let Some(wanted) = &part.service_account_token {
                let seconds = wanted.expiration_seconds.unwrap_or(3600);
                let token = tokens.token(objects, pod, wanted.audience.as_deref(), seconds).await?;
                // The service account's group or user must be able to read it: 0600 unless an fsGroup opens it.
                files.insert(wanted.path.clone(), (token.into_bytes(), mode(default)));
            } else {
                return Err("this kind of projected source is not implemented by Timonel's kubelet".to_owned());
            }
        }
    }
    Ok(files)
}

type Data = BTreeMap<String, Vec<u8>>;

async fn config_map(objects: &dyn Objects, namespace: &str, name: &str, optional: bool) -> Result<Data, String> {
    let Some(map) = objects.config_map(namespace, name).await? else {
        return if optional {
            Ok(Data::new())
        } else {
            Err(format!("configmap \"{name}\" not found"))
        };
    };
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map
        .binary_data
        .iter()
        .flatten()
        .map(|(key, ByteString(value))| (key.clone(), value.clone()));
    Ok(text.chain(binary).collect())
}

async fn secret(objects: &dyn Objects, namespace: &str, name: &str, optional: bool) -> Result<Data, String> {
    let Some(secret) = objects.secret(namespace, name).await? else {
        return if optional {
            Ok(Data::new())
        } else {
            Err(format!("secret \"{name}\" not found"))
        };
    };
    let data = secret.data.iter().flatten();
    Ok(data
        .map(|(key, ByteString(value))| (key.clone(), value.clone()))
        .collect())
}

fn pick(
    files: &mut Payload,
    data: &Data,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
) -> Result<(), String> {
    match items.filter(|items| !items.is_empty()) {
        None => files.extend(
            data.iter()
                .map(|(key, value)| (key.clone(), (value.clone(), mode(default)))),
        ),
        Some(items) => {
            for item in items {
                match data.get(&item.key) {
                    Some(value) => {
                        files.insert(item.path.clone(), (value.clone(), mode(item.mode.or(default))));
                    }
                    None if optional => {}
                    None => return Err(format!("references non-existent config key: {}", item.key)),
                }
            }
        }
    }
    Ok(())
}

fn downward(
    files: &mut Payload,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    default: Option<i32>,
    settings: &NodeSettings,
) -> Result<(), String> {
    for item in items.unwrap_or_default() {
        let text = if let Some(selector) = &item.field_ref {
            fields::field(pod, &selector.field_path, settings, &[])
        } else if let Some(selector) = &item.resource_field_ref {
            fields::resource(
                pod,
                selector.container_name.as_deref().unwrap_or_default(),
                selector,
                settings,
            )
        } else {
            continue;
        };
        let text = text.map_err(|error| error.to_string())?;
        files.insert(item.path.clone(), (text.into_bytes(), mode(item.mode.or(default))));
    }
    Ok(())
}
