//! The paths of a group version: which operations there are under which address.

use serde_json::{Map, Value, json};
use timonel_api::facts;
use timonel_api::resources::{self, ResourceInfo, SubresourceInfo};

use super::operations::{Operation, names, parameters, path_parameter};

/// A group and a version that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupVersion {
    /// Empty for the core group.
    pub group: &'static str,
    /// `v1`
    pub version: &'static str,
}

/// v2 and v3 spell bodies and responses differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl GroupVersion {
    /// Everything that is served.
    pub fn all() -> Vec<GroupVersion> {
        let mut all: Vec<GroupVersion> = Vec::new();
        for resource in resources::all() {
            let version = GroupVersion {
                group: resource.group,
                version: resource.version,
            };
            if !all.contains(&version) {
                all.push(version);
            }
        }
        all
    }

    /// `api/v1`, `apis/apps/v1`
    pub fn path(&self) -> String {
        match self.group {
            "" => format!("api/{}", self.version),
            group => format!("apis/{group}/{}", self.version),
        }
    }

    pub(super) fn from_path(path: &str) -> Option<GroupVersion> {
        Self::all().into_iter().find(|version| version.path() == path)
    }

    /// `core_v1`, `rbacAuthorization_v1`
    pub(super) fn tag(&self) -> String {
        let (first, rest) = self.words();
        format!("{first}{rest}_{}", self.version)
    }

    /// `CoreV1`, `RbacAuthorizationV1`
    pub(super) fn operation_part(&self) -> String {
        let (first, rest) = self.words();
        format!("{}{rest}{}", capital(&first), capital(self.version))
    }

    fn words(&self) -> (String, String) {
        let group = if self.group.is_empty() {
            "core"
        } else {
            self.group.trim_end_matches(".k8s.io")
        };
        let mut words = group.split('.');
        (
            words.next().unwrap_or_default().to_owned(),
            words.map(capital).collect(),
        )
    }
}

/// Upper-cases the first letter.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}

/// Builds the paths, and names the schemas that they need.
pub(super) fn build(version: &GroupVersion, dialect: Dialect) -> (Map<String, Value>, Vec<String>) {
    let mut paths = Paths {
        version: *version,
        dialect,
        map: Map::new(),
        roots: Vec::new(),
    };
    paths.root(names::API_RESOURCE_LIST);
    let listing = Operation::new(&paths, format!("get{}APIResources", version.operation_part()), None, "")
        .answers(&["200"], names::API_RESOURCE_LIST)
        .consumes_nothing();
    paths.put("/", "get", listing);
    for resource in resources::all()
        .iter()
        .filter(|r| r.group == version.group && r.version == version.version)
    {
        paths.resource(resource);
    }
    (paths.map, paths.roots)
}

pub(super) struct Paths {
    pub(super) version: GroupVersion,
    pub(super) dialect: Dialect,
    map: Map<String, Value>,
    roots: Vec<String>,
}

impl Paths {
    fn root(&mut self, name: &str) {
        if !self.roots.iter().any(|root| root == name) {
            self.roots.push(name.to_owned());
        }
    }

    fn put(&mut self, path: &str, method: &str, operation: Operation) {
        for name in operation.schemas() {
            self.root(&name);
        }
        let operation = operation.render();
        let path = format!("/{}{path}", self.version.path());
        let item = self.map.entry(path).or_insert_with(|| json!({}));
        item[method] = operation;
    }

    fn common(&mut self, path: &str, parameters: Vec<Value>) {
        let path = format!("/{}{path}", self.version.path());
        if let Some(item) = self.map.get_mut(&path) {
            let mut parameters = parameters;
            parameters.sort_by_key(|p| (p["name"].to_string(), p["in"].to_string()));
            item["parameters"] = parameters.into();
        }
    }

    fn operation(&self, verb: &str, subject: &str, kind: (&str, &str, &str), action: &'static str) -> Operation {
        let id = format!("{verb}{}{subject}", self.version.operation_part());
        Operation::new(self, id, Some(kind), action)
    }

    fn resource(&mut self, resource: &ResourceInfo) {
        let kind = (resource.group, resource.version, resource.kind);
        let Some(schema) = facts::schema_for(kind.0, kind.1, kind.2).map(|s| s.name.to_owned()) else {
            return;
        };
        let list = format!("{schema}List");
        let scope = if resource.namespaced { "Namespaced" } else { "" };
        let subject = format!("{scope}{}", resource.kind);
        let prefix = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let collection = format!("{prefix}/{}", resource.plural);
        let item = format!("{collection}/{{name}}");
        let namespace = || resource.namespaced.then(|| path_parameter("namespace", self.dialect));
        let at_collection: Vec<Value> = namespace()
            .into_iter()
            .chain(parameters(&["pretty"], self.dialect))
            .collect();
        let mut at_item = at_collection.clone();
        at_item.push(path_parameter("name", self.dialect));
        let has = |verb: &str| resource.has_verb(verb);

        if has("list") {
            let op = self
                .operation("list", &subject, kind, "list")
                .answers(&["200"], &list)
                .streams();
            let op = if has("create") { op.with(names::LIST) } else { op };
            self.put(&collection, "get", op);
        }
        if has("create") {
            let op = self.operation("create", &subject, kind, "post");
            let op = op.body(&schema, true).answers(&["200", "201", "202"], &schema);
            // What is only created has its options among the path's parameters.
            let alone = !has("list");
            self.put(&collection, "post", if alone { op } else { op.with(names::WRITE) });
        }
        if has("deletecollection") {
            let op = self.operation("delete", &format!("Collection{subject}"), kind, "deletecollection");
            let op = op.with(names::DELETE_COLLECTION).body(names::DELETE_OPTIONS, false);
            self.put(&collection, "delete", op.answers(&["200"], names::STATUS));
        }
        let only = self.only_operation(&collection);
        self.common(&collection, hoisted(&only, at_collection, self.dialect));
        if has("get") {
            let op = self.operation("read", &subject, kind, "get").answers(&["200"], &schema);
            self.put(&item, "get", op);
        }
        self.writes(&item, &subject, kind, &schema, resource.verbs);
        if has("delete") {
            let op = self.operation("delete", &subject, kind, "delete");
            let op = op.with(names::DELETE).body(names::DELETE_OPTIONS, false);
            // These few answer with the object that they have deleted.
            let answer = match resource.plural {
                "pods"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "replicationcontrollers"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
                    if resource.group.is_empty() && !matches!(resource.plural, "replicationcontrollers") =>
                {
                    schema.as_str()
                }
                "csidrivers"
                | "csinodes"
                | "storageclasses"
                | "volumeattachments"
                | "volumeattributesclasses"
                | "deviceclasses"
                | "resourceclaims"
                | "resourceclaimtemplates"
                | "resourceslices" => schema.as_str(),
                _ => names::STATUS,
            };
            self.put(&item, "delete", op.answers(&["200", "202"], answer));
        }
        self.common(&item, at_item.clone());
        for sub in resource.subresources {
            self.subresource(resource, sub, &format!("{item}/{}", sub.name), &subject, &at_item);
        }
        if resource.namespaced && has("list") {
            let op = self.operation("list", &format!("{}ForAllNamespaces", resource.kind), kind, "list");
            let path = format!("/{}", resource.plural);
            self.put(&path, "get", op.answers(&["200"], &list).streams());
            let mut all = parameters(names::LIST, self.dialect);
            all.extend(parameters(&["pretty"], self.dialect));
            self.common(&path, all);
        }
        if has("watch") {
            self.watches(resource, kind, &subject);
        }
    }

    fn only_operation(&self, path: &str) -> Vec<String> {
        let item = self
            .map
            .get(&format!("/{}{path}", self.version.path()))
            .and_then(Value::as_object);
        item.map(|item| item.keys().cloned().collect()).unwrap_or_default()
    }

    fn writes(&mut self, path: &str, subject: &str, kind: (&str, &str, &str), schema: &str, verbs: &[&str]) {
        if verbs.contains(&"update") {
            let op = self
                .operation("replace", subject, kind, "put")
                .with(names::WRITE)
                .body(schema, true);
            self.put(path, "put", op.answers(&["200", "201"], schema));
        }
        if verbs.contains(&"patch") {
            let op = self
                .operation("patch", subject, kind, "patch")
                .with(names::PATCH)
                .patch_body();
            self.put(path, "patch", op.answers(&["200", "201"], schema));
        }
    }

    fn subresource(
        &mut self,
        resource: &ResourceInfo,
        sub: &SubresourceInfo,
        path: &str,
        subject: &str,
        at_item: &[Value],
    ) {
        let kind = (sub.group, sub.version, sub.kind);
        let subject = format!("{subject}{}", operation_word(sub.name));
        if let Some(options) = names::connect(sub.name) {
            let methods: &[&str] = if sub.name == "proxy" {
                &["delete", "get", "head", "options", "patch", "post", "put"]
            } else {
                &["get", "post"]
            };
            let mut common = at_item.to_vec();
            common.retain(|p| p["name"] != "pretty");
            common.extend(parameters(options, self.dialect));
            let variants: &[(&str, &str)] = if sub.name == "proxy" {
                &[("", ""), ("/{path}", "WithPath")]
            } else {
                &[("", "")]
            };
            for (suffix, word) in variants {
                let path = format!("{path}{suffix}");
                for method in methods {
                    let id = format!("{}{subject}{word}", capital(method));
                    let id = format!("connect{}{id}", self.version.operation_part());
                    self.put(
                        &path,
                        method,
                        Operation::new(self, id, Some(kind), "connect").answers_text(&["*/*"]),
                    );
                }
                let mut common = common.clone();
                if !suffix.is_empty() {
                    common.push(path_parameter("path", self.dialect));
                }
                self.common(&path, common);
            }
            return;
        }
        if sub.name == "log" {
            let kind = (resource.group, resource.version, resource.kind);
            let op = self
                .operation("read", &subject, kind, "get")
                .answers_text(names::LOG_TYPES);
            self.put(path, "get", op);
            let mut common = at_item.to_vec();
            common.extend(parameters(names::LOG, self.dialect));
            self.common(path, common);
            return;
        }
        let Some(schema) = facts::schema_for(sub.group, sub.version, sub.kind).map(|s| s.name.to_owned()) else {
            return;
        };
        if sub.verbs.contains(&"get") {
            let op = self.operation("read", &subject, kind, "get").answers(&["200"], &schema);
            self.put(path, "get", op);
        }
        if sub.verbs.contains(&"create") {
            let op = self.operation("create", &subject, kind, "post").body(&schema, true);
            self.put(path, "post", op.answers(&["200", "201", "202"], &schema));
        }
        if sub.verbs == ["update"] {
            let op = self.operation("replace", &subject, kind, "put").body(&schema, true);
            self.put(path, "put", op.answers(&["200", "201"], &schema));
        } else {
            self.writes(path, &subject, kind, &schema, sub.verbs);
        }
        let only = self.only_operation(path);
        self.common(path, hoisted(&only, at_item.to_vec(), self.dialect));
    }

    fn watches(&mut self, resource: &ResourceInfo, kind: (&str, &str, &str), subject: &str) {
        let mut common = parameters(names::LIST, self.dialect);
        common.extend(parameters(&["pretty"], self.dialect));
        let put = |paths: &mut Self, path: String, subject: &str, action, more: Vec<Value>| {
            let op = paths
                .operation("watch", subject, kind, action)
                .answers(&["200"], names::WATCH_EVENT)
                .streams();
            paths.put(&path, "get", op);
            paths.common(&path, common.iter().cloned().chain(more).collect());
        };
        let plural = resource.plural;
        let dialect = self.dialect;
        let named = || path_parameter("name", dialect);
        if resource.namespaced {
            let within = || path_parameter("namespace", dialect);
            let all = format!("{}ListForAllNamespaces", resource.kind);
            put(self, format!("/watch/{plural}"), &all, "watchlist", vec![]);
            let path = format!("/watch/namespaces/{{namespace}}/{plural}");
            put(
                self,
                path.clone(),
                &format!("{subject}List"),
                "watchlist",
                vec![within()],
            );
            put(
                self,
                format!("{path}/{{name}}"),
                subject,
                "watch",
                vec![within(), named()],
            );
        } else {
            put(
                self,
                format!("/watch/{plural}"),
                &format!("{subject}List"),
                "watchlist",
                vec![],
            );
            put(
                self,
                format!("/watch/{plural}/{{name}}"),
                subject,
                "watch",
                vec![named()],
            );
        }
    }
}

/// Where a path has one operation, upstream's generator moves that operation's parameters up to the path.
fn hoisted(methods: &[String], mut common: Vec<Value>, dialect: Dialect) -> Vec<Value> {
    match methods {
        [only] if only == "post" || only == "put" => common.extend(parameters(names::WRITE, dialect)),
        [only] if only == "get" => common.extend(parameters(names::LIST, dialect)),
        _ => {}
    }
    common
}

/// `status` -> `Status`, `portforward` -> `Portforward`
fn operation_word(subresource: &str) -> String {
    capital(subresource)
}
