//! `get`: tables from the server, other formats from the objects, and watches of both.

use std::io::{self, Write};

use clap::Args;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use serde_json::{Value, json};

use crate::args::{Files, Output, Selectors};
use crate::error::Failure;
use crate::manifests;
use crate::output::table::{Layout, Shown};
use crate::output::{self, Format};
use crate::resolve::{self, Resource, Target};
use crate::session::{Call, Session, TABLE, encode, query};

/// `get`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Get {
    /// TYPE, TYPE NAME..., TYPE/NAME..., TYPE1,TYPE2
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    selectors: Selectors,
    /// List across all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// After listing, watch for changes
    #[arg(short, long)]
    watch: bool,
    /// Watch for changes without listing first
    #[arg(long)]
    watch_only: bool,
    /// Print the kind of each watch event
    #[arg(long)]
    output_watch_events: bool,
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
    /// Show all labels as the last column
    #[arg(long)]
    show_labels: bool,
    /// Labels to show as columns
    #[arg(short = 'L', long, value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Keep managedFields in JSON and YAML
    #[arg(long)]
    show_managed_fields: bool,
    /// Put the type before each name
    #[arg(long)]
    show_kind: bool,
    /// A JSONPath to sort a list by
    #[arg(long)]
    sort_by: Option<String>,
    /// Treat missing objects as no error
    #[arg(long)]
    ignore_not_found: bool,
    /// How many objects to ask for at a time; 0 for all at once
    #[arg(long, default_value_t = 500)]
    chunk_size: u64,
    /// A URI to read as it is
    #[arg(long)]
    raw: Option<String>,
    /// The subresource to read: status, scale
    #[arg(long)]
    subresource: Option<String>,
}

impl Get {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if let Some(path) = &self.raw {
            let body = session.bytes(Call::get(path)).await?;
            io::stdout().write_all(&body)?;
            return Ok(());
        }
        let targets = self.targets(session).await?;
        if self.watch || self.watch_only {
            return self.watch(session, &targets).await;
        }
        let format = self.output.output.clone().unwrap_or_default();
        if format.is_table() && self.sort_by.is_none() {
            self.tables(session, &targets, format == Format::Wide).await
        } else {
            self.objects(session, &targets, &format).await
        }
    }

    async fn targets(&self, session: &Session) -> Result<Vec<Target>, Failure> {
        if self.files.filename.is_empty() {
            return resolve::targets(session, &self.targets).await;
        }
        let mut targets = Vec::new();
        for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
            let (api_version, kind) = manifest.type_meta();
            let resource = resolve::by_kind(session, api_version, kind).await?;
            targets.push(Target {
                resource,
                name: Some(manifest.name().to_owned()),
            });
        }
        Ok(targets)
    }

    fn path(&self, session: &Session, target: &Target, more: &[(&str, Option<&str>)]) -> String {
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        let mut path = session.collection(&target.resource, namespace);
        if let Some(name) = &target.name {
            path = format!("{path}/{}", encode(name));
        }
        if let Some(subresource) = &self.subresource {
            path = format!("{path}/{subresource}");
        }
        let mut pairs = vec![
            ("labelSelector", self.selectors.selector.as_deref()),
            ("fieldSelector", self.selectors.field_selector.as_deref()),
        ];
        pairs.extend_from_slice(more);
        path + &query(&pairs)
    }

    /// Reads all chunks of a list, or the one object.
    async fn read(&self, session: &Session, target: &Target, accept: &str) -> Result<Value, Failure> {
        let limit = (target.name.is_none() && self.chunk_size > 0).then(|| self.chunk_size.to_string());
        let path = self.path(session, target, &[("limit", limit.as_deref())]);
        let mut answer = session
            .json(Call {
                accept,
                ..Call::get(&path)
            })
            .await?;
        while let Some(token) = answer["metadata"]["continue"]
            .as_str()
            .filter(|token| !token.is_empty())
            .map(str::to_owned)
        {
            let path = self.path(
                session,
                target,
                &[("limit", limit.as_deref()), ("continue", Some(&token))],
            );
            let mut more = session
                .json(Call {
                    accept,
                    ..Call::get(&path)
                })
                .await?;
            for field in ["items", "rows"] {
                if let (Some(all), Some(next)) = (answer[field].as_array_mut(), more[field].as_array_mut()) {
                    all.append(next);
                }
            }
            answer["metadata"] = more["metadata"].take();
        }
        Ok(answer)
    }

    fn tolerated(&self, failure: Failure, failures: &mut Vec<Failure>) {
        if !(self.ignore_not_found && failure.reason() == "NotFound") {
            failures.push(failure);
        }
    }

    fn shown(&self, resource: &Resource, wide: bool, many: bool) -> Shown {
        Shown {
            wide,
            namespace: self.all_namespaces && resource.namespaced,
            labels: self.show_labels,
            label_columns: self.label_columns.clone(),
            prefix: (many || self.show_kind).then(|| resource.singular_name()),
            event: None,
        }
    }

    async fn tables(&self, session: &Session, targets: &[Target], wide: bool) -> Result<(), Failure> {
        let many_types = targets.iter().any(|target| target.resource != targets[0].resource);
        let (mut failures, mut printed) = (Vec::new(), false);
        let mut groups: Vec<(&Resource, Vec<Value>)> = Vec::new();
        for target in targets {
            match self.read(session, target, TABLE).await {
                Ok(table) => match groups.last_mut() {
                    Some((resource, tables)) if **resource == target.resource => tables.push(table),
                    _ => groups.push((&target.resource, vec![table])),
                },
                Err(failure) if many_types && target.name.is_none() && failure.code() == 405 => {}
                Err(failure) => self.tolerated(failure, &mut failures),
            }
        }
        let mut out = io::stdout().lock();
        for (resource, tables) in &groups {
            let shown = self.shown(resource, wide, many_types);
            let rows: Vec<Vec<String>> = tables.iter().flat_map(|table| shown.rows(table)).collect();
            if rows.is_empty() {
                continue;
            }
            if printed {
                writeln!(out)?;
            }
            printed = true;
            let mut lines = if self.no_headers {
                Vec::new()
            } else {
                vec![shown.header(&tables[0])]
            };
            lines.extend(rows);
            Layout::default().write(&mut out, &lines)?;
        }
        drop(out);
        if !printed && failures.is_empty() && !self.ignore_not_found {
            let namespaced = targets.iter().any(|target| target.resource.namespaced);
            if namespaced && !self.all_namespaces {
                eprintln!("No resources found in {} namespace.", session.namespace);
            } else {
                eprintln!("No resources found");
            }
        }
        Failure::all(failures)
    }

    async fn objects(&self, session: &Session, targets: &[Target], format: &Format) -> Result<(), Failure> {
        let (mut failures, mut all) = (Vec::new(), Vec::new());
        let single = targets.len() == 1 && targets[0].name.is_some();
        for target in targets {
            match self.read(session, target, crate::session::JSON).await {
                Ok(mut answer) if target.name.is_none() => {
                    if let Some(items) = answer["items"].as_array_mut() {
                        for item in items.iter_mut() {
                            with_type(item, &target.resource);
                        }
                        all.append(items);
                    }
                }
                Ok(answer) => all.push(answer),
                Err(failure) => self.tolerated(failure, &mut failures),
            }
        }
        if !self.show_managed_fields {
            for object in &mut all {
                output::strip_managed_fields(object);
            }
        }
        if let Some(path) = &self.sort_by {
            sort(&mut all, path)?;
        }
        let mut out = io::stdout().lock();
        if format.is_table() {
            return self.sorted_tables(session, targets, &all).await;
        }
        if single {
            if let Some(object) = all.first() {
                output::print(&mut out, format, object)?;
            }
        } else {
            let list = json!({"apiVersion": "v1", "items": all, "kind": "List", "metadata": {"resourceVersion": ""}});
            output::print(&mut out, format, &list)?;
        }
        drop(out);
        Failure::all(failures)
    }

    /// Prints tables in the order of the sorted objects.
    async fn sorted_tables(&self, session: &Session, targets: &[Target], sorted: &[Value]) -> Result<(), Failure> {
        let wide = self.output.output == Some(Format::Wide);
        for target in targets {
            let mut table = self.read(session, target, TABLE).await?;
            let place = |row: &Value| {
                let key = |metadata: &Value| (metadata["namespace"].clone(), metadata["name"].clone());
                let wanted = key(&row["object"]["metadata"]);
                sorted.iter().position(|object| key(&object["metadata"]) == wanted)
            };
            if let Some(rows) = table["rows"].as_array_mut() {
                rows.sort_by_key(place);
            }
            let shown = self.shown(&target.resource, wide, targets.len() > 1);
            let mut lines = if self.no_headers {
                Vec::new()
            } else {
                vec![shown.header(&table)]
            };
            lines.extend(shown.rows(&table));
            Layout::default().write(&mut io::stdout().lock(), &lines)?;
        }
        Ok(())
    }

    async fn watch(&self, session: &Session, targets: &[Target]) -> Result<(), Failure> {
        let [target] = targets else {
            return Err(Failure::usage("you may only specify a single resource type"));
        };
        let format = self.output.output.clone().unwrap_or_default();
        let mut shown = self.shown(&target.resource, format == Format::Wide, false);
        let (mut layout, mut header) = (Layout::default(), !self.no_headers);
        let accept = if format.is_table() { TABLE } else { crate::session::JSON };
        let listed = self.read(session, target, accept).await?;
        if !self.watch_only {
            self.event("ADDED", &listed, &format, &mut shown, &mut layout, &mut header)?;
        }
        let version = &listed["metadata"]["resourceVersion"];
        let one = target.name.as_ref().map(|name| format!("metadata.name={name}"));
        let selector = one.or_else(|| self.selectors.field_selector.clone());
        let collection = Target {
            resource: target.resource.clone(),
            name: None,
        };
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        let path = session.collection(&collection.resource, namespace)
            + &query(&[
                ("watch", Some("true")),
                ("resourceVersion", version.as_str()),
                ("labelSelector", self.selectors.selector.as_deref()),
                ("fieldSelector", selector.as_deref()),
            ]);
        let request = Request::get(&path)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut lines = Box::pin(session.client.request_stream(request).await?).lines();
        while let Some(line) = lines.try_next().await? {
            if line.trim().is_empty() {
                continue;
            }
            let mut event: Value = serde_json::from_str(&line)?;
            let kind = event["type"].as_str().unwrap_or("").to_owned();
            let object = event["object"].take();
            match kind.as_str() {
                "BOOKMARK" => {}
                "ERROR" => {
                    return Err(Failure::Server {
                        status: Box::new(object),
                        doing: None,
                    });
                }
                kind => self.event(kind, &object, &format, &mut shown, &mut layout, &mut header)?,
            }
        }
        Ok(())
    }

    fn event(
        &self,
        kind: &str,
        object: &Value,
        format: &Format,
        shown: &mut Shown,
        layout: &mut Layout,
        header: &mut bool,
    ) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        if format.is_table() {
            shown.event = self.output_watch_events.then(|| kind.to_owned());
            let mut lines = Vec::new();
            let rows = shown.rows(object);
            if std::mem::take(header) && !rows.is_empty() {
                lines.push(shown.header(object));
            } else if rows.is_empty() {
                *header = !self.no_headers;
            }
            lines.extend(rows);
            layout.write(&mut out, &lines)?;
        } else {
            for item in output::items(object) {
                let mut item = item.clone();
                if !self.show_managed_fields {
                    output::strip_managed_fields(&mut item);
                }
                let item = if self.output_watch_events {
                    json!({"type": kind, "object": item})
                } else {
                    item
                };
                if *format == Format::Yaml {
                    writeln!(out, "---")?;
                }
                output::print(&mut out, format, &item)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// List items carry no type of their own on the wire.
fn with_type(item: &mut Value, resource: &Resource) {
    if let Some(map) = item.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| json!(resource.api_version()));
        map.entry("kind").or_insert_with(|| json!(resource.kind));
    }
}

/// Sorts by the first value that a path finds: numbers as numbers, quantities by size, the rest as text.
fn sort(objects: &mut [Value], path: &str) -> Result<(), Failure> {
    let template = if path.starts_with('{') {
        path.to_owned()
    } else {
        format!("{{.{}}}", path.trim_start_matches('.'))
    };
    let parsed = timonel_api::jsonpath::Template::parse(&template)
        .map_err(|error| Failure::usage(format!("error parsing jsonpath {template}, {error}")))?;
    objects.sort_by_cached_key(|object| {
        let text = parsed.render(object).unwrap_or_default();
        let number = text.parse::<timonel_api::quantity::Quantity>().ok();
        (number.is_none(), number, text)
    });
    Ok(())
}
