//! Programs that know nothing of Timonel, unchanged, from where their users get them: each lists, creates, patches, watches and deletes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube_runtime::reflector::ObjectRef;
use kube_runtime::wait::{await_condition, conditions};
use kube_runtime::watcher::Event;
use kube_runtime::{WatchStreamExt, reflector, watcher};
use serde_json::json;
use timonel_tests::{node, python};

use crate::server::Server;

/// How long a client may take to see what happened.
const SEES: Duration = Duration::from_secs(20);

/// Runs a script of `clients/`, which prints `fine` at its end.
#[track_caller]
fn script(mut command: Command, name: &str, server: &Server) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/wire/clients")
        .join(name);
    let output = command
        .arg(file)
        .env("KUBECONFIG", server.kubeconfig())
        // kr8s caches what it discovers by host and port, and another server had this port before.
        .env("XDG_CACHE_HOME", server.kubeconfig().with_file_name("cache"))
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.trim_end().ends_with("fine"),
        "{name}: {}\n{said}{complaint}",
        output.status
    );
}

#[test]
fn the_official_python_client_works_unchanged() {
    script(python().command(&[]), "official.py", &Server::start());
}

#[test]
fn kr8s_works_unchanged() {
    script(python().command(&[]), "kr8s_client.py", &Server::start());
}

#[test]
fn the_official_javascript_client_works_unchanged() {
    let (node, modules) = node();
    let mut command = node.command(&[]);
    command.env("NODE_MODULES", modules);
    script(command, "node.mjs", &Server::start());
}

async fn client(server: &Server) -> kube::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("a configuration");
    kube::Client::try_from(config).expect("a client")
}

fn config_map(name: &str) -> ConfigMap {
    let value = json!({"metadata": {"name": name, "labels": {"app": "a"}}, "data": {"k": "v"}});
    serde_json::from_value(value).expect("a config map")
}

/// kube-rs' watcher in both of its ways to begin: list and watch, and one streaming list.
async fn watched(server: &Server, config: watcher::Config) -> Vec<String> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(server).await);
    maps.create(&PostParams::default(), &config_map("before"))
        .await
        .expect("created");
    let mut events = std::pin::pin!(watcher(maps.clone(), config.labels("app=a")).default_backoff());
    let mut seen = Vec::new();
    let name = |object: ConfigMap| object.metadata.name.unwrap_or_default();
    while let Ok(Some(event)) = tokio::time::timeout(SEES, events.next()).await {
        match event.expect("no error") {
            Event::Init => seen.push("init".to_owned()),
            Event::InitApply(object) => seen.push(format!("there is {}", name(object))),
            Event::InitDone => {
                seen.push("done".to_owned());
                maps.create(&PostParams::default(), &config_map("after"))
                    .await
                    .expect("created");
                let patch = Patch::Merge(json!({"data": {"k": "w"}}));
                maps.patch("after", &PatchParams::default(), &patch)
                    .await
                    .expect("patched");
                maps.delete("after", &DeleteParams::default()).await.expect("deleted");
            }
            Event::Apply(object) => seen.push(format!("applied {}", name(object))),
            Event::Delete(object) => {
                seen.push(format!("deleted {}", name(object)));
                break;
            }
        }
    }
    seen
}

#[tokio::test]
async fn the_watcher_of_kube_rs_sees_everything_once_however_it_begins() {
    let expected = [
        "init",
        "there is before",
        "done",
        "applied after",
        "applied after",
        "deleted after",
    ];
    let server = Server::start();
    assert_eq!(watched(&server, watcher::Config::default()).await, expected);
    let server = Server::start();
    assert_eq!(
        watched(&server, watcher::Config::default().page_size(1)).await,
        expected
    );
    let server = Server::start();
    assert_eq!(
        watched(&server, watcher::Config::default().streaming_lists()).await,
        expected
    );
}

#[tokio::test]
async fn the_reflector_of_kube_rs_holds_what_the_server_holds() {
    let server = Server::start();
    let client = client(&server).await;
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let (reader, writer) = reflector::store();
    let stream = watcher(deployments.clone(), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.metadata.managed_fields = None)
        .reflect(writer)
        .applied_objects();
    let following = tokio::spawn(stream.for_each(|_| std::future::ready(())));
    tokio::time::timeout(SEES, reader.wait_until_ready())
        .await
        .expect("in time")
        .expect("ready");
    let labels = json!({"app": "web"});
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    let apply = PatchParams::apply("kube-rs");
    deployments
        .patch("web", &apply, &Patch::Apply(&web))
        .await
        .expect("applied");
    let scaled = json!({"spec": {"replicas": 3}});
    let scale = deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(&scaled))
        .await
        .expect("scaled");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(3));
    let key = ObjectRef::new("web").within("default");
    let replicas = |object: Option<&Deployment>| object.and_then(|object| object.spec.as_ref()?.replicas);
    let three = await_condition(deployments.clone(), "web", |object: Option<&Deployment>| {
        replicas(object) == Some(3)
    });
    tokio::time::timeout(SEES, three).await.expect("in time").expect("seen");
    let until = |wanted: Option<i32>| {
        let (reader, key) = (reader.clone(), key.clone());
        async move {
            while replicas(reader.get(&key).as_deref()) != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(SEES, until(Some(3)))
        .await
        .expect("the reflector follows");
    let listed = deployments.list(&ListParams::default()).await.expect("listed");
    let uid = listed.items[0].metadata.uid.clone().expect("a uid");
    deployments
        .delete("web", &DeleteParams::default())
        .await
        .expect("deleted");
    let gone = await_condition(deployments, "web", conditions::is_deleted(&uid));
    tokio::time::timeout(SEES, gone).await.expect("in time").expect("seen");
    tokio::time::timeout(SEES, until(None))
        .await
        .expect("the reflector forgets");
    following.abort();
}
