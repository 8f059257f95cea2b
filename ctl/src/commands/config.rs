//! `config`: looking at and changing kubeconfig files. No server is asked.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::args::Connection;
use crate::error::Failure;
use crate::output::{self, Format, table::Layout};

/// `config`'s verbs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Config {
    /// Show the merged kubeconfig
    View(View),
    /// List the contexts
    GetContexts(GetContexts),
    /// Tell the current context
    CurrentContext,
    /// Choose the current context
    #[command(visible_alias = "use")]
    UseContext {
        /// The context
        name: String,
    },
    /// Change or make a context; --namespace, --cluster and --user say what it holds
    SetContext(SetContext),
    /// List the clusters
    GetClusters,
    /// List the users
    GetUsers,
    /// Delete a context
    DeleteContext {
        /// The context
        name: String,
    },
}

/// `config view`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct View {
    /// Only what the current context uses
    #[arg(long)]
    minify: bool,
    /// Show certificates, keys and tokens
    #[arg(long)]
    raw: bool,
    /// Put the contents of files in place of their names
    #[arg(long)]
    flatten: bool,
    /// Output format: yaml, json, jsonpath=...
    #[arg(short, long, default_value = "yaml")]
    output: Format,
}

/// `config get-contexts`' flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetContexts {
    /// Only these
    names: Vec<String>,
    /// No header
    #[arg(long)]
    no_headers: bool,
    /// name, or the table
    #[arg(short, long)]
    output: Option<Format>,
}

/// `config set-context`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct SetContext {
    /// The context
    name: Option<String>,
    /// The current context
    #[arg(long)]
    current: bool,
    /// The user that the context acts as
    #[arg(long = "user", id = "context_user")]
    user: Option<String>,
}

const LISTS: [(&str, &str); 3] = [("clusters", "cluster"), ("contexts", "context"), ("users", "user")];

/// The kubeconfig files in force, in the order in which they count, each with its contents.
struct Kubeconfigs(Vec<(PathBuf, Value)>);

impl Kubeconfigs {
    fn read(flags: &Connection) -> Result<Self, Failure> {
        let paths = match (&flags.kubeconfig, std::env::var_os("KUBECONFIG")) {
            (Some(path), _) => vec![path.clone()],
            (None, Some(list)) if !list.is_empty() => std::env::split_paths(&list).collect(),
            _ => vec![PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".kube/config")],
        };
        let mut files = Vec::new();
        for path in paths {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
            };
            let mut value = json!({});
            if !text.trim().is_empty() {
                value = timonel_api::decode::yaml(text.as_bytes())
                    .map_err(|error| {
                        Failure::usage(format!(
                            "error loading config file {:?}: {error}",
                            path.display().to_string()
                        ))
                    })?
                    .value;
            }
            files.push((path, value));
        }
        Ok(Self(files))
    }

    /// All files as one: the first that says something counts.
    fn merged(&self) -> Value {
        let mut all = json!({"apiVersion": "v1", "kind": "Config", "current-context": ""});
        for (list, _) in LISTS {
            let mut entries: Vec<Value> = Vec::new();
            for entry in self
                .0
                .iter()
                .flat_map(|(_, file)| file[list].as_array().into_iter().flatten())
            {
                if !entries.iter().any(|known| known["name"] == entry["name"]) {
                    entries.push(entry.clone());
                }
            }
            entries.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
            all[list] = if entries.is_empty() {
                Value::Null
            } else {
                json!(entries)
            };
        }
        let mut current = self.0.iter().filter_map(|(_, file)| file["current-context"].as_str());
        all["current-context"] = json!(current.find(|name| !name.is_empty()).unwrap_or(""));
        all
    }

    /// The file that holds an entry, or the first.
    fn index_of(&self, holds: impl Fn(&Value) -> bool) -> usize {
        self.0.iter().position(|(_, file)| holds(file)).unwrap_or(0)
    }

    /// Writes a file whole: into a new one beside it, which then takes its place.
    fn save(&self, index: usize) -> Result<(), Failure> {
        let (path, value) = &self.0[index];
        let mut value = value.clone();
        value["apiVersion"] = json!("v1");
        value["kind"] = json!("Config");
        let text = output::yaml(&value)?;
        write_whole(path, &text).map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A link stays a link: what it leads to is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut name = path.clone().into_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let moved = written.and_then(|()| std::fs::rename(&new, &path));
    if moved.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    moved
}

fn named<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    config[list].as_array()?.iter().find(|entry| entry["name"] == name)
}

impl Config {
    /// Carries the command out.
    pub(crate) fn run(self, flags: &Connection) -> Result<(), Failure> {
        let mut files = Kubeconfigs::read(flags)?;
        let config = files.merged();
        match self {
            Self::View(view) => view.run(config, flags),
            Self::GetContexts(get) => get.run(&config),
            Self::CurrentContext => match config["current-context"].as_str() {
                Some(name) if !name.is_empty() => {
                    println!("{name}");
                    Ok(())
                }
                _ => Err(Failure::usage("current-context is not set")),
            },
            Self::UseContext { name } => {
                if named(&config, "contexts", &name).is_none() {
                    return Err(Failure::usage(format!("no context exists with the name: {name:?}")));
                }
                let index = files.index_of(|file| file["current-context"].as_str().is_some_and(|c| !c.is_empty()));
                files.0[index].1["current-context"] = json!(name);
                files.save(index)?;
                println!("Switched to context {name:?}.");
                Ok(())
            }
            Self::SetContext(set) => set.run(&mut files, &config, flags),
            Self::GetClusters => {
                names(&config, "clusters");
                Ok(())
            }
            Self::GetUsers => {
                names(&config, "users");
                Ok(())
            }
            Self::DeleteContext { name } => {
                if named(&config, "contexts", &name).is_none() {
                    return Err(Failure::usage(format!(
                        "cannot delete context {name}, not in {}",
                        files.0[0].0.display()
                    )));
                }
                let index = files.index_of(|file| named(file, "contexts", &name).is_some());
                if config["current-context"] == name.as_str() {
                    eprintln!(
                        "warning: this removed your active context, use \"timonctl config use-context\" to select a different one"
                    );
                }
                if let Some(contexts) = files.0[index].1["contexts"].as_array_mut() {
                    contexts.retain(|entry| entry["name"] != name.as_str());
                }
                files.save(index)?;
                println!("deleted context {name} from {}", files.0[index].0.display());
                Ok(())
            }
        }
    }
}

fn names(config: &Value, list: &str) {
    println!("NAME");
    for entry in config[list].as_array().into_iter().flatten() {
        println!("{}", entry["name"].as_str().unwrap_or(""));
    }
}

impl View {
    fn run(self, mut config: Value, flags: &Connection) -> Result<(), Failure> {
        if let Some(context) = &flags.context {
            config["current-context"] = json!(context);
        }
        if self.minify {
            let current = config["current-context"].as_str().unwrap_or("").to_owned();
            let Some(context) = named(&config, "contexts", &current).cloned() else {
                return Err(Failure::usage("cannot locate context \"\": no current context is set"));
            };
            for (list, field) in LISTS {
                let wanted = match field {
                    "context" => json!(current),
                    field => context["context"][field].clone(),
                };
                if let Some(entries) = config[list].as_array_mut() {
                    entries.retain(|entry| entry["name"] == wanted);
                }
            }
        }
        if self.flatten {
            flatten(&mut config)?;
        }
        if !self.raw {
            redact(&mut config);
        }
        let format = if self.output.is_table() {
            Format::Yaml
        } else {
            self.output
        };
        output::print(&mut io::stdout().lock(), &format, &config)
    }
}

const SECRET: [(&str, &str, &str); 5] = [
    ("clusters", "certificate-authority-data", "DATA+OMITTED"),
    ("users", "client-certificate-data", "DATA+OMITTED"),
    ("users", "client-key-data", "DATA+OMITTED"),
    ("users", "token", "REDACTED"),
    ("users", "password", "REDACTED"),
];

fn redact(config: &mut Value) {
    for (list, field, instead) in SECRET {
        let inner = &list[..list.len() - 1];
        for entry in config[list].as_array_mut().into_iter().flatten() {
            if entry[inner][field].as_str().is_some_and(|text| !text.is_empty()) {
                entry[inner][field] = json!(instead);
            }
        }
    }
}

fn flatten(config: &mut Value) -> Result<(), Failure> {
    use base64::Engine as _;
    for (list, field) in [
        ("clusters", "certificate-authority"),
        ("users", "client-certificate"),
        ("users", "client-key"),
    ] {
        let inner = &list[..list.len() - 1];
        for entry in config[list].as_array_mut().into_iter().flatten() {
            let Some(path) = entry[inner][field].as_str().map(str::to_owned) else {
                continue;
            };
            let bytes = std::fs::read(&path).map_err(|error| Failure::usage(format!("open {path}: {error}")))?;
            let data = base64::engine::general_purpose::STANDARD.encode(bytes);
            entry[inner][format!("{field}-data")] = json!(data);
            if let Some(map) = entry[inner].as_object_mut() {
                map.remove(field);
            }
        }
    }
    Ok(())
}

impl GetContexts {
    fn run(self, config: &Value) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for name in &self.names {
            if named(config, "contexts", name).is_none() {
                failures.push(Failure::usage(format!("context {name} not found")));
            }
        }
        let contexts: Vec<&Value> = config["contexts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| self.names.is_empty() || self.names.iter().any(|name| entry["name"] == name.as_str()))
            .collect();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        if self.output == Some(Format::Name) {
            for context in contexts {
                println!("{}", text(&context["name"]));
            }
            return Failure::all(failures);
        }
        let mut rows = Vec::new();
        if !self.no_headers {
            rows.push(
                ["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]
                    .map(str::to_owned)
                    .to_vec(),
            );
        }
        for entry in contexts {
            let current = if entry["name"] == config["current-context"] {
                "*"
            } else {
                ""
            };
            let context = &entry["context"];
            rows.push(vec![
                current.to_owned(),
                text(&entry["name"]),
                text(&context["cluster"]),
                text(&context["user"]),
                text(&context["namespace"]),
            ]);
        }
        Layout::default().write(&mut io::stdout().lock(), &rows)?;
        Failure::all(failures)
    }
}

impl SetContext {
    fn run(&self, files: &mut Kubeconfigs, config: &Value, flags: &Connection) -> Result<(), Failure> {
        let name = match (&self.name, self.current) {
            (Some(_), true) => return Err(Failure::usage("you cannot specify both a context name and --current")),
            (Some(name), false) => name.clone(),
            (None, true) => match config["current-context"].as_str() {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => return Err(Failure::usage("no current context is set")),
            },
            (None, false) => return Err(Failure::usage("you must specify a non-empty context name or --current")),
        };
        let index = files.index_of(|file| named(file, "contexts", &name).is_some());
        let file = &mut files.0[index].1;
        if !file["contexts"].is_array() {
            file["contexts"] = json!([]);
        }
        let existed = named(file, "contexts", &name).is_some();
        if let Some(contexts) = file["contexts"].as_array_mut() {
            if !existed {
                contexts.push(json!({"name": name, "context": {"cluster": "", "user": ""}}));
            }
            for entry in contexts.iter_mut().filter(|entry| entry["name"] == name.as_str()) {
                for (field, value) in [
                    ("namespace", &flags.namespace),
                    ("cluster", &flags.cluster),
                    ("user", &self.user),
                ] {
                    if let Some(value) = value {
                        entry["context"][field] = json!(value);
                    }
                }
            }
        }
        files.save(index)?;
        println!("Context {name:?} {}.", if existed { "modified" } else { "created" });
        Ok(())
    }
}
