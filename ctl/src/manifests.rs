//! Objects from files, folders and standard input.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Failure;
use crate::resolve::Resource;
use crate::session::Session;

/// One object and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) object: Value,
    pub(crate) source: String,
    /// Paths of keys that stood twice in one mapping; the last one counts in `object`.
    pub(crate) duplicates: Vec<String>,
}

impl Manifest {
    /// The object's apiVersion and kind.
    pub(crate) fn type_meta(&self) -> (&str, &str) {
        (
            self.object["apiVersion"].as_str().unwrap_or(""),
            self.object["kind"].as_str().unwrap_or(""),
        )
    }

    /// The object's name, empty where the server is to make one.
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or("")
    }

    /// The namespace that the object itself names.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"]
            .as_str()
            .filter(|namespace| !namespace.is_empty())
    }

    /// The namespace to put the object in; refuses where `--namespace` says otherwise.
    pub(crate) fn namespace_in(&self, session: &Session, resource: &Resource) -> Result<String, Failure> {
        match self.namespace() {
            Some(own) if resource.namespaced && session.namespace_given && own != session.namespace => {
                Err(Failure::usage(format!(
                    "the namespace from the provided object {own:?} does not match the namespace {:?}. You must pass '--namespace={own}' to perform this operation.",
                    session.namespace
                )))
            }
            Some(own) => Ok(own.to_owned()),
            None => Ok(session.namespace.clone()),
        }
    }

    /// The object's labels.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.object["metadata"]["labels"].as_object();
        let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        labels.into_iter().flatten().filter_map(pair).collect()
    }
}

/// Reads everything that `-f` names: `-`, files, and folders (`--recursive` for those below).
pub(crate) fn read(names: &[PathBuf], recursive: bool) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    for name in names {
        if name.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            parse(&text, "STDIN", &mut manifests)?;
            continue;
        }
        let shown = name.display();
        if !name.exists() {
            return Err(Failure::usage(format!(
                "the path {:?} does not exist",
                shown.to_string()
            )));
        }
        if name.is_dir() {
            for file in files_below(name, recursive)? {
                parse(
                    &std::fs::read_to_string(&file)?,
                    &file.display().to_string(),
                    &mut manifests,
                )?;
            }
        } else {
            let text = std::fs::read_to_string(name)
                .map_err(|error| Failure::usage(format!("error reading [{shown}]: {error}")))?;
            parse(&text, &shown.to_string(), &mut manifests)?;
        }
    }
    if manifests.is_empty() {
        return Err(Failure::usage("no objects passed"));
    }
    Ok(manifests)
}

fn files_below(folder: &Path, recursive: bool) -> Result<Vec<PathBuf>, Failure> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .collect();
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                files.extend(files_below(&entry, true)?);
            }
        } else if entry
            .extension()
            .is_some_and(|e| ["json", "yaml", "yml"].iter().any(|known| e == *known))
        {
            files.push(entry);
        }
    }
    Ok(files)
}

fn parse(text: &str, source: &str, manifests: &mut Vec<Manifest>) -> Result<(), Failure> {
    let documents = timonel_api::decode::yaml_documents(text.as_bytes())
        .map_err(|error| Failure::usage(format!("error parsing {source}: {error}")))?;
    for document in documents {
        let (object, duplicates) = (document.value, document.duplicates);
        if object.is_null() {
            continue;
        }
        if object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && object["items"].is_array() {
            if let Some(items) = object["items"].as_array() {
                manifests.extend(items.iter().map(|item| Manifest {
                    object: item.clone(),
                    source: source.to_owned(),
                    duplicates: duplicates.clone(),
                }));
            }
            continue;
        }
        for field in ["apiVersion", "kind"] {
            if object[field].as_str().is_none_or(str::is_empty) {
                return Err(Failure::usage(format!(
                    "error validating {source:?}: error validating data: {field} not set"
                )));
            }
        }
        manifests.push(Manifest {
            object,
            source: source.to_owned(),
            duplicates,
        });
    }
    Ok(())
}
