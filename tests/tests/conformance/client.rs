//! A client that hides nothing: a request is a method, a path and a body; an answer is a status, headers and a body.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

use crate::watch::Watch;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A caller of the API.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) runtime: Arc<tokio::runtime::Runtime>,
    http: reqwest::Client,
    base: String,
    headers: Vec<(String, String)>,
}

/// What came back.
pub(crate) struct Answer {
    /// What was asked, for messages.
    pub(crate) asked: String,
    /// 200, 404, ...
    pub(crate) status: u16,
    /// As sent.
    pub(crate) headers: HeaderMap,
    /// As sent.
    pub(crate) text: String,
}

impl Answer {
    /// The body, which must be JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.text) {
            Ok(value) => value,
            Err(error) => panic!("{} answered {}: {error}: {}", self.asked, self.status, self.text),
        }
    }

    /// The body, if the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{} answered {}", self.asked, self.text);
        self.json()
    }

    /// Checks that the request was refused, and how; returns the Status' message.
    #[track_caller]
    pub(crate) fn refused(&self, code: u16, reason: &str) -> String {
        let status = self.expect(code);
        assert_eq!(status["kind"], "Status", "{}: {status}", self.asked);
        assert_eq!(status["reason"], reason, "{}: {status}", self.asked);
        status["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks that the request went well, and returns the body.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{} answered {} {}",
            self.asked,
            self.status,
            self.text
        );
        self.json()
    }
}

impl Api {
    /// Reads a kubeconfig with a client certificate, and reaches the server under this URL.
    pub(crate) fn new(kubeconfig: &Path, url: &str) -> Self {
        let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let config: Value = serde_saphyr::from_str(&text).expect("YAML");
        let decoded = |value: &Value| STANDARD.decode(value.as_str().expect("base64")).expect("base64");
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let mut identity = decoded(&user["client-certificate-data"]);
        identity.push(b'\n');
        identity.extend(decoded(&user["client-key-data"]));
        // Two libraries of the tests bring a provider of cryptography each, so that one has to be named.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .tls_certs_only([
                reqwest::Certificate::from_pem(&decoded(&cluster["certificate-authority-data"])).expect("a CA"),
            ])
            .identity(reqwest::Identity::from_pem(&identity).expect("a certificate"))
            .build()
            .expect("a client");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            runtime: Arc::new(runtime),
            http,
            base: url.to_owned(),
            headers: Vec::new(),
        }
    }

    /// The same caller, with a header on each request.
    pub(crate) fn with_header(&self, name: &str, value: &str) -> Self {
        let mut api = self.clone();
        api.headers.push((name.to_owned(), value.to_owned()));
        api
    }

    /// The same caller in another's name.
    pub(crate) fn impersonate(&self, user: &str) -> Self {
        self.with_header("Impersonate-User", user)
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = http::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    fn answer(&self, request: reqwest::RequestBuilder, asked: String) -> reqwest::Result<Answer> {
        self.runtime.block_on(async {
            let response = request.timeout(PATIENCE).send().await?;
            Ok(Answer {
                asked,
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                text: response.text().await?,
            })
        })
    }

    /// GET, or nothing where no answer comes.
    pub(crate) fn try_get(&self, path: &str) -> Option<Answer> {
        self.answer(self.request("GET", path), format!("GET {path}")).ok()
    }

    /// GET.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "application/json", String::new())
    }

    /// GET with an `Accept` header.
    #[track_caller]
    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.with_header(ACCEPT.as_str(), accept).get(path)
    }

    /// POST of JSON.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string())
    }

    /// PUT of JSON.
    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", body.to_string())
    }

    /// Any request.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, content: &str, body: String) -> Answer {
        let mut request = self.request(method, path);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, content).body(body);
        }
        let asked = format!("{method} {path}");
        match self.answer(request, asked.clone()) {
            Ok(answer) => answer,
            Err(error) => panic!("{asked}: {error}"),
        }
    }

    /// Opens a watch.
    #[track_caller]
    pub(crate) fn watch(&self, path: &str) -> Watch {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}watch=true");
        let opened = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, self.request("GET", &path).send()).await });
        let response = opened.expect("a watch opens soon").expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        Watch::new(self.clone(), path, response)
    }

    /// A resource in all namespaces, or of the cluster: `at("apps/v1", "deployments")`.
    pub(crate) fn at(&self, version: &str, plural: &str) -> Resource {
        let root = if version.contains('/') {
            format!("/apis/{version}")
        } else {
            format!("/api/{version}")
        };
        Resource {
            api: self.clone(),
            path: format!("{root}/{plural}"),
            root,
            plural: plural.to_owned(),
        }
    }

    /// A new namespace; pods may live in it at once.
    pub(crate) fn namespace(&self, name: &str) -> Value {
        self.at("v1", "namespaces").create(json!({"metadata": {"name": name}}))
    }
}

/// The objects of one resource, in one namespace or in all.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) api: Api,
    pub(crate) path: String,
    root: String,
    plural: String,
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

impl Resource {
    /// The same in a namespace.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self {
            path: format!("{}/namespaces/{namespace}/{}", self.root, self.plural),
            ..self.clone()
        }
    }

    /// An object's path, or a subresource's: `pods/web/status`.
    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Creates an object, whatever comes of it. Kind and version need not be given.
    #[track_caller]
    pub(crate) fn try_create(&self, object: &Value) -> Answer {
        self.api.post(&self.path, object)
    }

    /// Creates an object.
    #[track_caller]
    pub(crate) fn create(&self, object: Value) -> Value {
        self.try_create(&object).expect(201)
    }

    /// Reads an object.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Value {
        self.api.get(&self.path_of(name)).expect(200)
    }

    /// Whether the object is there.
    #[track_caller]
    pub(crate) fn has(&self, name: &str) -> bool {
        let answer = self.api.get(&self.path_of(name));
        assert!([200, 404].contains(&answer.status), "{}: {}", answer.asked, answer.text);
        answer.status == 200
    }

    /// Checks that the object is not there.
    #[track_caller]
    pub(crate) fn absent(&self, name: &str) {
        self.api.get(&self.path_of(name)).refused(404, "NotFound");
    }

    /// The list; the query is as it stands in a URL: `labelSelector=app%3Dweb`.
    #[track_caller]
    pub(crate) fn list(&self, query: &str) -> Value {
        self.api.get(&format!("{}?{query}", self.path)).expect(200)
    }

    /// The list's items.
    #[track_caller]
    pub(crate) fn items(&self, query: &str) -> Vec<Value> {
        self.list(query)["items"].as_array().cloned().expect("items")
    }

    /// The list's names, in order.
    #[track_caller]
    pub(crate) fn names(&self, query: &str) -> Vec<String> {
        self.items(query).iter().map(|item| name(item).to_owned()).collect()
    }

    /// The state that a list shows now, to watch from.
    #[track_caller]
    pub(crate) fn revision(&self) -> String {
        let list = self.list("limit=1");
        list["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_owned()
    }

    /// Replaces an object, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_update(&self, object: &Value) -> Answer {
        self.api.put(&self.path_of(name(object)), object)
    }

    /// Reads, changes and replaces an object or subresource (`web`, `web/status`), again where another was quicker, as clients do.
    #[track_caller]
    pub(crate) fn edit(&self, name: &str, change: impl Fn(&mut Value)) -> Value {
        let path = self.path_of(name);
        for _ in 0..20 {
            let mut object = self.api.get(&path).expect(200);
            change(&mut object);
            let answer = self.api.put(&path, &object);
            if answer.status != 409 {
                return answer.expect(200);
            }
        }
        panic!("{path} changes all the time");
    }

    /// Patches an object or subresource with a merge patch, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_patch(&self, name: &str, patch: &Value) -> Answer {
        let path = self.path_of(name);
        self.api
            .send("PATCH", &path, "application/merge-patch+json", patch.to_string())
    }

    /// Patches an object or subresource with a merge patch.
    #[track_caller]
    pub(crate) fn patch(&self, name: &str, patch: Value) -> Value {
        self.try_patch(name, &patch).expect(200)
    }

    /// Patches with a strategic merge patch.
    #[track_caller]
    pub(crate) fn strategic(&self, name: &str, patch: &Value) -> Value {
        let path = self.path_of(name);
        self.api
            .send(
                "PATCH",
                &path,
                "application/strategic-merge-patch+json",
                patch.to_string(),
            )
            .expect(200)
    }

    /// Deletes an object, with DeleteOptions.
    #[track_caller]
    pub(crate) fn delete_with(&self, name: &str, options: &Value) -> Value {
        let path = self.path_of(name);
        self.api
            .send("DELETE", &path, "application/json", options.to_string())
            .ok()
    }

    /// Deletes an object.
    #[track_caller]
    pub(crate) fn delete(&self, name: &str) -> Value {
        self.delete_with(name, &json!({}))
    }

    /// Deletes what a query selects.
    #[track_caller]
    pub(crate) fn delete_collection(&self, query: &str) -> Value {
        let path = format!("{}?{query}", self.path);
        self.api
            .send("DELETE", &path, "application/json", String::new())
            .expect(200)
    }

    /// Opens a watch.
    #[track_caller]
    pub(crate) fn watch(&self, query: &str) -> Watch {
        self.api.watch(&format!("{}?{query}", self.path))
    }

    /// Waits until a look at the object satisfies.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, name: &str, test: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let object = self.get(name);
            if test(&object) {
                Ok(object)
            } else {
                Err(object.to_string())
            }
        })
    }

    /// Waits until the object is gone.
    #[track_caller]
    pub(crate) fn until_absent(&self, name: &str) {
        eventually("the object is gone", || {
            if self.has(name) {
                Err(self.path_of(name))
            } else {
                Ok(())
            }
        });
    }
}

/// Waits until an attempt succeeds.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..600 {
        match attempt() {
            Ok(value) => return value,
            Err(why) => last = why,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not within 30 s; last seen: {last}");
}
