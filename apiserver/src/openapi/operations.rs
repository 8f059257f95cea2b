//! One operation: its id, parameters, bodies and responses, in v3's spelling or v2's.

use serde_json::{Map, Value, json};

use super::paths::{Dialect, Paths};

/// The names that many operations share.
pub(super) mod names {
    pub(in super::super) const API_RESOURCE_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
    pub(in super::super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    pub(in super::super) const PATCH_BODY: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
    pub(in super::super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
    pub(in super::super) const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

    pub(in super::super) const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
    pub(in super::super) const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
    pub(in super::super) const DELETE: &[&str] = &[
        "dryRun",
        "gracePeriodSeconds",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "orphanDependents",
        "propagationPolicy",
    ];
    pub(in super::super) const DELETE_COLLECTION: &[&str] = &[
        "continue",
        "dryRun",
        "fieldSelector",
        "gracePeriodSeconds",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "labelSelector",
        "limit",
        "orphanDependents",
        "propagationPolicy",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "shardSelector",
        "timeoutSeconds",
    ];
    pub(in super::super) const LIST: &[&str] = &[
        "allowWatchBookmarks",
        "continue",
        "fieldSelector",
        "labelSelector",
        "limit",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "shardSelector",
        "timeoutSeconds",
        "watch",
    ];
    pub(in super::super) const LOG: &[&str] = &[
        "container",
        "follow",
        "insecureSkipTLSVerifyBackend",
        "limitBytes",
        "previous",
        "sinceSeconds",
        "stream",
        "tailLines",
        "timestamps",
    ];
    pub(in super::super) const LOG_TYPES: &[&str] = &[
        "text/plain",
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/cbor",
    ];

    /// The query parameters of subresources that connect to somewhere else.
    pub(in super::super) fn connect(subresource: &str) -> Option<&'static [&'static str]> {
        Some(match subresource {
            "exec" => &["command", "container", "stderr", "stdin", "stdout", "tty"],
            "attach" => &["container", "stderr", "stdin", "stdout", "tty"],
            "portforward" => &["ports"],
            "proxy" => &["path"],
            _ => return None,
        })
    }
}

/// Query parameters by name; their types follow from their names.
pub(super) fn parameters(names: &[&str], dialect: Dialect) -> Vec<Value> {
    names.iter().map(|name| parameter(name, "query", dialect)).collect()
}

/// A parameter that is part of the path.
pub(super) fn path_parameter(name: &str, dialect: Dialect) -> Value {
    let mut parameter = parameter(name, "path", dialect);
    parameter["required"] = true.into();
    parameter
}

fn parameter(name: &str, place: &str, dialect: Dialect) -> Value {
    let kind = match name {
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" | "limitBytes" | "sinceSeconds" | "tailLines" | "ports" => {
            "integer"
        }
        "allowWatchBookmarks"
        | "watch"
        | "sendInitialEvents"
        | "force"
        | "orphanDependents"
        | "follow"
        | "previous"
        | "timestamps"
        | "insecureSkipTLSVerifyBackend"
        | "stdin"
        | "stdout"
        | "stderr"
        | "tty"
        | "ignoreStoreReadErrorWithClusterBreakingPotential" => "boolean",
        _ => "string",
    };
    match dialect {
        Dialect::V3 => json!({"name": name, "in": place, "schema": {"type": kind, "uniqueItems": true}}),
        Dialect::V2 => json!({"name": name, "in": place, "type": kind, "uniqueItems": true}),
    }
}

/// An operation in the making.
pub(super) struct Operation {
    dialect: Dialect,
    id: String,
    tag: String,
    kind: Option<Value>,
    action: &'static str,
    parameters: Vec<Value>,
    body: Option<(Vec<&'static str>, String, bool)>,
    codes: &'static [&'static str],
    answer: Option<String>,
    types: Vec<&'static str>,
    consumes: bool,
}

const TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
];

impl Operation {
    pub(super) fn new(paths: &Paths, id: String, kind: Option<(&str, &str, &str)>, action: &'static str) -> Self {
        Self {
            dialect: paths.dialect,
            id,
            tag: paths.version.tag(),
            kind: kind.map(|(group, version, kind)| json!({"group": group, "version": version, "kind": kind})),
            action,
            parameters: Vec::new(),
            body: None,
            codes: &["200"],
            answer: None,
            types: TYPES.to_vec(),
            consumes: true,
        }
    }

    pub(super) fn with(mut self, names: &[&str]) -> Self {
        self.parameters = parameters(names, self.dialect);
        self
    }

    pub(super) fn body(mut self, schema: &str, required: bool) -> Self {
        self.body = Some((vec!["*/*"], schema.to_owned(), required));
        self
    }

    pub(super) fn patch_body(mut self) -> Self {
        let types = vec![
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
            "application/apply-patch+cbor",
        ];
        self.body = Some((types, names::PATCH_BODY.to_owned(), true));
        self
    }

    pub(super) fn answers(mut self, codes: &'static [&'static str], schema: &str) -> Self {
        self.codes = codes;
        self.answer = Some(schema.to_owned());
        self
    }

    pub(super) fn answers_text(mut self, types: &[&'static str]) -> Self {
        self.types = types.to_vec();
        self
    }

    pub(super) fn streams(mut self) -> Self {
        let more = [
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch",
            "application/cbor-seq",
        ];
        self.types.extend(more);
        self
    }

    pub(super) fn consumes_nothing(mut self) -> Self {
        self.consumes = false;
        self
    }

    /// The schemas that the operation refers to.
    pub(super) fn schemas(&self) -> Vec<String> {
        self.body
            .iter()
            .map(|(_, schema, _)| schema.clone())
            .chain(self.answer.clone())
            .collect()
    }

    pub(super) fn render(self) -> Value {
        let mut out = Map::new();
        let mut set = |key: &str, value: Value| out.insert(key.to_owned(), value);
        set("operationId", self.id.clone().into());
        set("tags", json!([self.tag]));
        if let Some(kind) = &self.kind {
            set("x-kubernetes-group-version-kind", kind.clone());
            set("x-kubernetes-action", self.action.into());
        }
        let mut all = self.parameters.clone();
        match self.dialect {
            Dialect::V3 => {
                if let Some((types, schema, required)) = &self.body {
                    let content: Map<String, Value> = types
                        .iter()
                        .map(|t| ((*t).to_owned(), json!({"schema": v3_ref(schema)})))
                        .collect();
                    let mut body = json!({"content": content});
                    if *required {
                        body["required"] = true.into();
                    }
                    set("requestBody", body);
                }
            }
            Dialect::V2 => {
                let consumes = self.body.as_ref().map_or(vec!["*/*"], |(types, _, _)| types.clone());
                set("consumes", consumes.into());
                set("produces", self.types.as_slice().into());
                set("schemes", json!(["https"]));
                if let Some((_, schema, required)) = &self.body {
                    let mut body = json!({"name": "body", "in": "body", "schema": v2_ref(schema)});
                    if *required {
                        body["required"] = true.into();
                    }
                    all.push(body);
                }
            }
        }
        if !all.is_empty() {
            set("parameters", all.into());
        }
        set("responses", self.responses());
        Value::Object(out)
    }

    fn responses(&self) -> Value {
        let mut responses = Map::new();
        for code in self.codes {
            let mut response = json!({"description": match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            }});
            match self.dialect {
                Dialect::V3 => {
                    let schema = self.answer.as_deref().map_or_else(|| json!({"type": "string"}), v3_ref);
                    let content: Map<String, Value> = self
                        .types
                        .iter()
                        .map(|t| ((*t).to_owned(), json!({"schema": schema})))
                        .collect();
                    response["content"] = Value::Object(content);
                }
                Dialect::V2 => {
                    response["schema"] = self.answer.as_deref().map_or_else(|| json!({"type": "string"}), v2_ref);
                }
            }
            responses.insert((*code).to_owned(), response);
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        Value::Object(responses)
    }
}

fn v3_ref(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn v2_ref(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}
