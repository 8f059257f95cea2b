//! Namespaces, service accounts, limit ranges, endpoints.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{Path, names};

use super::super::cells::{age, name};
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, default, default_text, each, ensure, entries, int, list, set, text, within};
use super::super::warnings as odd;

/// `namespaces`.
pub(crate) struct Namespaces;

impl Strategy for Namespaces {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let own = text(at(object, "metadata"), "name").to_owned();
        if !own.is_empty()
            && let Some(labels) = ensure(object, "metadata").and_then(|metadata| ensure(metadata, "labels"))
        {
            set(labels, "kubernetes.io/metadata.name", own);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        if let Some(spec) = ensure(object, "spec") {
            let finalizers = list(spec, "finalizers");
            if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
                let mut finalizers = finalizers.to_vec();
                finalizers.push(json!("kubernetes"));
                set(spec, "finalizers", finalizers);
            }
        }
        if let Some(status) = ensure(object, "status") {
            set(status, "phase", "Active");
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        // Finalizers change only through the finalize subresource.
        let finalizers = at(at(old, "spec"), "finalizers").clone();
        if let Some(spec) = ensure(new, "spec") {
            set(spec, "finalizers", finalizers);
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::label(name, prefix)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.phase", text(at(object, "status"), "phase").to_owned())]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Status"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            json!(text(at(object, "status"), "phase")),
            age(object, now),
        ]
    }
}

/// `serviceaccounts`.
pub(crate) struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Secrets"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), json!(list(object, "secrets").len()), age(object, now)]
    }
}

/// `limitranges`.
pub(crate) struct LimitRanges;

impl Strategy for LimitRanges {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            each(spec, "limits", |item| {
                if text(item, "type") != "Container" {
                    return;
                }
                let max: Vec<(String, Value)> = entries(item, "max").map(|(k, v)| (k.to_owned(), v.clone())).collect();
                let fill = |item: &mut Value, field: &str, from: &[(String, Value)]| {
                    if !from.is_empty()
                        && let Some(map) = ensure(item, field)
                    {
                        for (key, value) in from {
                            default(map, key, value.clone());
                        }
                    }
                };
                fill(item, "default", &max);
                let limits: Vec<(String, Value)> = entries(item, "default")
                    .map(|(k, v)| (k.to_owned(), v.clone()))
                    .collect();
                fill(item, "defaultRequest", &limits);
                let min: Vec<(String, Value)> = entries(item, "min").map(|(k, v)| (k.to_owned(), v.clone())).collect();
                fill(item, "defaultRequest", &min);
            });
        });
    }
}

/// `endpoints`.
pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        each(object, "subsets", |subset| {
            each(subset, "ports", |port| default_text(port, "protocol", "TCP"))
        });
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        // What the controller writes came from pods and needs no second look.
        if text(
            at(at(object, "metadata"), "labels"),
            "endpoints.kubernetes.io/managed-by",
        ) == "endpoint-controller"
        {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (index, subset) in list(object, "subsets").iter().enumerate() {
            for field in ["addresses", "notReadyAddresses"] {
                let path = Path::new("subsets").index(index).child(field);
                for (index, address) in list(subset, field).iter().enumerate() {
                    warnings.extend(odd::ip(text(address, "ip"), &path.index(index).child("ip")));
                }
            }
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Endpoints"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut all = Vec::new();
        for subset in list(object, "subsets") {
            for address in list(subset, "addresses") {
                let ip = text(address, "ip");
                if list(subset, "ports").is_empty() {
                    all.push(ip.to_owned());
                }
                all.extend(
                    list(subset, "ports")
                        .iter()
                        .map(|port| format!("{ip}:{}", int(port, "port").unwrap_or(0))),
                );
            }
        }
        let shown = match all.len() {
            0 => "<none>".to_owned(),
            1..=3 => all.join(","),
            more => format!("{} + {} more...", all[..3].join(","), more - 3),
        };
        vec![name(object), json!(shown), age(object, now)]
    }
}
