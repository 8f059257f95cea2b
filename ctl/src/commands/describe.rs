//! `describe`: everything about objects, with what belongs to them and their events.

use clap::Args;
use serde_json::{Value, json};
use timonel_client::{Clock, SystemClock};

use crate::args::{Files, Selectors};
use crate::describe::{self, Related};
use crate::error::Failure;
use crate::manifests;
use crate::resolve::{self, Resource, Target};
use crate::session::{Session, encode, query};

/// `describe`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct Describe {
    /// TYPE, TYPE NAME... (a prefix of the name will do) or TYPE/NAME...
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Whether to show events, too
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    show_events: bool,
    /// How many objects to ask for at a time
    #[arg(long, default_value_t = 500)]
    chunk_size: u64,
}

impl Describe {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut targets = Vec::new();
        if self.files.filename.is_empty() {
            if self.targets.is_empty() {
                return Err(Failure::usage(
                    "You must specify the type of resource to describe. Use \"timonctl api-resources\" for a complete list of supported resources.",
                ));
            }
            targets = resolve::targets(session, &self.targets).await?;
        } else {
            for manifest in manifests::read(&self.files.filename, self.files.recursive)? {
                let (api_version, kind) = manifest.type_meta();
                let resource = resolve::by_kind(session, api_version, kind).await?;
                targets.push(Target {
                    resource,
                    name: Some(manifest.name().to_owned()),
                });
            }
        }
        let (mut failures, mut first) = (Vec::new(), true);
        for target in &targets {
            match self.objects(session, target).await {
                Ok(objects) => {
                    for object in objects {
                        let related = gather(session, &target.resource, &object, self.show_events).await?;
                        let page = describe::describe(&target.resource.group, &target.resource.kind, &object, &related);
                        if !std::mem::take(&mut first) {
                            print!("\n\n");
                        }
                        print!("{page}");
                    }
                }
                Err(failure) => failures.push(failure),
            }
        }
        if first && failures.is_empty() {
            let place = if self.all_namespaces || !targets.iter().any(|target| target.resource.namespaced) {
                "No resources found".to_owned()
            } else {
                format!("No resources found in {} namespace.", session.namespace)
            };
            eprintln!("{place}");
        }
        Failure::all(failures)
    }

    async fn objects(&self, session: &Session, target: &Target) -> Result<Vec<Value>, Failure> {
        let Some(name) = &target.name else {
            let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
            let path = session.collection(&target.resource, namespace)
                + &query(&[
                    ("labelSelector", self.selectors.selector.as_deref()),
                    ("fieldSelector", self.selectors.field_selector.as_deref()),
                    ("limit", Some(&self.chunk_size.to_string())),
                ]);
            return all(session, &path, &target.resource).await;
        };
        match session.get(&session.object(&target.resource, name)).await {
            Ok(object) => Ok(vec![object]),
            // As kubectl: what is no name may be the beginning of some.
            Err(failure) if failure.reason() == "NotFound" => {
                let collection = session.collection(&target.resource, Some(&session.namespace));
                let mut found = all(session, &collection, &target.resource).await?;
                found.retain(|object| object["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(name)));
                if found.is_empty() { Err(failure) } else { Ok(found) }
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Reads a list, chunk by chunk, and gives its items their type.
async fn all(session: &Session, path: &str, resource: &Resource) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut next = path.to_owned();
    loop {
        let mut answer = session.get(&next).await?;
        for mut item in answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            if item["kind"].is_null() {
                item["apiVersion"] = json!(resource.api_version());
                item["kind"] = json!(resource.kind);
            }
            items.push(item);
        }
        match answer["metadata"]["continue"].as_str() {
            Some(token) if !token.is_empty() => {
                let sign = if path.contains('?') { '&' } else { '?' };
                next = format!("{path}{sign}continue={}", encode(token));
            }
            _ => return Ok(items),
        }
    }
}

async fn items(session: &Session, path: &str) -> Result<Vec<Value>, Failure> {
    let untyped = Resource::default();
    all(session, path, &untyped).await
}

/// Reads what a page shows besides the object.
async fn gather(session: &Session, resource: &Resource, object: &Value, events: bool) -> Result<Related, Failure> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let (name, namespace, uid) = (
        text("/metadata/name"),
        text("/metadata/namespace"),
        text("/metadata/uid"),
    );
    let mut related = Related {
        now: SystemClock.now(),
        ..Related::default()
    };
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") | ("", "ReplicationController") => {
            let path = pods + &query(&[("labelSelector", Some(&selector_of(object)))]);
            related.pods = Some(items(session, &path).await?);
        }
        ("apps", "Deployment") => {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets")
                + &query(&[("labelSelector", Some(&selector_of(object)))]);
            related.replica_sets = items(session, &path).await.unwrap_or_default();
        }
        ("", "Node") => {
            let fields = format!("spec.nodeName={name},status.phase!=Succeeded,status.phase!=Failed");
            let path = "/api/v1/pods".to_owned() + &query(&[("fieldSelector", Some(&fields))]);
            related.pods = match items(session, &path).await {
                Err(failure) if failure.reason() == "Forbidden" => None,
                found => Some(found?),
            };
            let path = format!(
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}",
                encode(name)
            );
            let lease = session.get(&path).await;
            related.lease = Some(lease.map_err(|failure| match &failure {
                Failure::Server { status, .. } => status["message"].as_str().unwrap_or("unknown").to_owned(),
                other => other.to_string(),
            }));
        }
        ("", "PersistentVolumeClaim") => {
            let mut users = items(session, &pods).await?;
            users.retain(|pod| {
                let volumes = pod["spec"]["volumes"].as_array();
                volumes.is_some_and(|all| all.iter().any(|v| v["persistentVolumeClaim"]["claimName"] == name))
            });
            related.pods = Some(users);
        }
        ("", "Service") => {
            let label = format!("kubernetes.io/service-name={name}");
            let path = slices + &query(&[("labelSelector", Some(&label))]);
            related.slices = items(session, &path).await.unwrap_or_default();
        }
        ("networking.k8s.io", "Ingress") => {
            related.slices = items(session, &slices).await.unwrap_or_default();
            let services = format!("/api/v1/namespaces/{namespace}/services");
            related.services = items(session, &services).await.unwrap_or_default();
        }
        ("", "Namespace") => {
            related.quotas = items(session, &format!("/api/v1/namespaces/{name}/resourcequotas")).await?;
            related.limit_ranges = items(session, &format!("/api/v1/namespaces/{name}/limitranges")).await?;
        }
        _ => {}
    }
    if events {
        related.events = search_events(session, resource, name, namespace, uid).await;
    }
    Ok(related)
}

/// The events of an object; none where they may not be seen.
async fn search_events(
    session: &Session,
    resource: &Resource,
    name: &str,
    namespace: &str,
    uid: &str,
) -> Option<Vec<Value>> {
    let place = if resource.namespaced {
        format!("/namespaces/{namespace}")
    } else {
        String::new()
    };
    let find = async |kind: &str, uid: &str| {
        let mut fields = format!("involvedObject.name={name}");
        for (field, value) in [
            ("involvedObject.namespace", namespace),
            ("involvedObject.kind", kind),
            ("involvedObject.uid", uid),
        ] {
            if !value.is_empty() {
                fields += &format!(",{field}={value}");
            }
        }
        items(
            session,
            &format!("/api/v1{place}/events{}", query(&[("fieldSelector", Some(&fields))])),
        )
        .await
    };
    // Pods' events may say no kind; a node's may carry its name for a uid.
    let kind = if resource.kind == "Pod" {
        ""
    } else {
        resource.kind.as_str()
    };
    let mut found = find(kind, uid).await.ok()?;
    if resource.kind == "Node" && uid != name {
        found.extend(find(kind, name).await.unwrap_or_default());
    }
    Some(found)
}

fn selector_of(object: &Value) -> String {
    let selector = &object["spec"]["selector"];
    let typed = if selector["matchLabels"].is_object() || selector["matchExpressions"].is_array() {
        serde_json::from_value(selector.clone()).ok()
    } else {
        serde_json::from_value(json!({ "matchLabels": selector })).ok()
    };
    typed
        .and_then(|typed| timonel_api::selector::LabelSelector::from_typed(&typed).ok())
        .map_or_else(String::new, |selector| selector.to_string())
}
