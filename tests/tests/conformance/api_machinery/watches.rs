//! Watches: from where, of what, in which order.

use serde_json::{Value, json};

use crate::client::Resource;
use crate::server::Server;
use crate::watch::Watch;

fn maps(server: &Server) -> Resource {
    server.at("v1", "configmaps").within("default")
}

fn map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"watch-this-configmap": label}}})
}

fn mutate(maps: &Resource, name: &str, value: usize) -> Value {
    maps.patch(name, json!({"data": {"mutation": value.to_string()}}))
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().expect("a version")
}

fn mutation(object: &Value) -> &str {
    object["data"]["mutation"].as_str().unwrap_or_default()
}

/// watch-configmaps-with-multiple-watchers
#[test]
fn watch_configmaps_with_multiple_watchers() {
    let server = Server::alone();
    let maps = maps(&server);
    let from = maps.revision();
    let open = |selector: &str| -> Watch { maps.watch(&format!("labelSelector={selector}&resourceVersion={from}")) };
    let mut a = open("watch-this-configmap%3Da");
    let mut b = open("watch-this-configmap%3Db");
    let mut both = open("watch-this-configmap%20in%20(a,b)");
    let seen = |watchers: [&mut Watch; 2], kind: &str, name: &str| {
        for watcher in watchers {
            watcher.expect(kind, name);
        }
    };
    maps.create(map("a", "a"));
    seen([&mut a, &mut both], "ADDED", "a");
    for value in 1..3 {
        mutate(&maps, "a", value);
        for watcher in [&mut a, &mut both] {
            assert_eq!(mutation(&watcher.expect("MODIFIED", "a")), value.to_string());
        }
    }
    maps.delete("a");
    seen([&mut a, &mut both], "DELETED", "a");
    maps.create(map("b", "b"));
    seen([&mut b, &mut both], "ADDED", "b");
    maps.delete("b");
    seen([&mut b, &mut both], "DELETED", "b");
    maps.create(map("c", "c"));
    for watcher in [&mut a, &mut b, &mut both] {
        watcher.quiet();
    }
}

/// watch-configmaps-from-resource-version
#[test]
fn watch_configmaps_from_resource_version() {
    let server = Server::alone();
    let maps = maps(&server);
    maps.create(map("seen", "from"));
    let first = mutate(&maps, "seen", 1);
    mutate(&maps, "seen", 2);
    maps.delete("seen");
    let mut watch = maps.watch(&format!(
        "labelSelector=watch-this-configmap%3Dfrom&resourceVersion={}",
        version(&first)
    ));
    assert_eq!(mutation(&watch.expect("MODIFIED", "seen")), "2");
    assert_eq!(mutation(&watch.expect("DELETED", "seen")), "2");
    watch.quiet();
}

/// watch-configmaps-closed-and-restarted
#[test]
fn watch_configmaps_closed_and_restarted() {
    let server = Server::alone();
    let maps = maps(&server);
    let mut watch = maps.watch(&format!("resourceVersion={}", maps.revision()));
    maps.create(map("kept", "restart"));
    mutate(&maps, "kept", 1);
    watch.expect("ADDED", "kept");
    let last = watch.expect("MODIFIED", "kept");
    drop(watch);
    mutate(&maps, "kept", 2);
    maps.delete("kept");
    let mut watch = maps.watch(&format!("resourceVersion={}", version(&last)));
    assert_eq!(mutation(&watch.expect("MODIFIED", "kept")), "2");
    watch.expect("DELETED", "kept");
    watch.quiet();
}

/// watch-configmaps-label-changed
#[test]
fn watch_configmaps_label_changed() {
    let server = Server::alone();
    let maps = maps(&server);
    let selector = "labelSelector=watch-this-configmap%3Dyes";
    let mut watch = maps.watch(&format!("{selector}&resourceVersion={}", maps.revision()));
    let label = |value: &str| {
        drop(maps.patch(
            "labelled",
            json!({"metadata": {"labels": {"watch-this-configmap": value}}}),
        ))
    };
    maps.create(map("labelled", "yes"));
    mutate(&maps, "labelled", 1);
    label("no");
    watch.expect("ADDED", "labelled");
    watch.expect("MODIFIED", "labelled");
    watch.expect("DELETED", "labelled");
    mutate(&maps, "labelled", 2);
    watch.quiet();
    label("yes");
    assert_eq!(mutation(&watch.expect("ADDED", "labelled")), "2");
    mutate(&maps, "labelled", 3);
    maps.delete("labelled");
    watch.expect("MODIFIED", "labelled");
    watch.expect("DELETED", "labelled");
}

/// watch-consistency
#[test]
fn watch_consistency() {
    let server = Server::alone();
    let maps = maps(&server);
    let from = maps.revision();
    let writer = {
        let maps = maps.clone();
        std::thread::spawn(move || {
            for round in 0..40_usize {
                let name = format!("cm-{}", round % 5);
                match (maps.has(&name), round % 3) {
                    (false, _) => drop(maps.create(map(&name, "many"))),
                    (true, 0) => drop(maps.delete(&name)),
                    (true, _) => drop(mutate(&maps, &name, round)),
                }
            }
        })
    };
    let mut first = maps.watch(&format!("resourceVersion={from}"));
    let mut further: Vec<Watch> = Vec::new();
    let mut versions = Vec::new();
    for _ in 0..30 {
        let event = first.next();
        for watch in &mut further {
            assert_eq!(watch.next().version(), event.version(), "all watches tell one order");
        }
        further.push(maps.watch(&format!("resourceVersion={}", event.version())));
        versions.push(event.version().parse::<u64>().expect("a number"));
    }
    writer.join().expect("the writer ends well");
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
}
