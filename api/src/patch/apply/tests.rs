use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::facts::{Schema, schema_for};

fn schema(group: &str, kind: &str) -> &'static Schema {
    schema_for(group, "v1", kind).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// An object of a kind, and what was done to it.
struct Story {
    schema: &'static Schema,
    api_version: &'static str,
    object: Option<Value>,
    second: i64,
}

impl Story {
    fn deployment() -> Self {
        Self {
            schema: schema("apps", "Deployment"),
            api_version: "apps/v1",
            object: None,
            second: 0,
        }
    }

    fn core(kind: &'static str) -> Self {
        Self {
            schema: schema("", kind),
            api_version: "v1",
            object: None,
            second: 0,
        }
    }

    fn whole(&self, mut part: Value) -> Value {
        part["apiVersion"] = json!(self.api_version);
        part["kind"] = json!(self.schema.kinds[0].kind);
        part["metadata"]["name"] = json!("a");
        part["metadata"]["namespace"] = json!("default");
        part
    }

    fn try_apply(&mut self, manager: &str, force: bool, part: Value) -> Result<(), ApplyError> {
        self.second += 1;
        let applied = self.whole(part);
        let live = self.object.as_ref();
        let now = at(self.second);
        self.object = Some(apply(
            self.schema,
            live,
            &applied,
            manager,
            force,
            self.api_version,
            "",
            now,
        )?);
        Ok(())
    }

    #[track_caller]
    fn apply(&mut self, manager: &str, part: Value) -> &mut Self {
        self.try_apply(manager, false, part).unwrap();
        self
    }

    fn write(&mut self, manager: &str, subresource: &str, change: impl FnOnce(&mut Value)) -> &mut Self {
        self.second += 1;
        let mut new = self.object.clone().unwrap_or_else(|| self.whole(json!({})));
        change(&mut new);
        let live = self.object.as_ref();
        let now = at(self.second);
        update_managed_fields(
            self.schema,
            live,
            &mut new,
            manager,
            "Update",
            subresource,
            self.api_version,
            now,
        );
        self.object = Some(new);
        self
    }

    fn get(&self, pointer: &str) -> Value {
        self.object
            .as_ref()
            .unwrap()
            .pointer(pointer)
            .cloned()
            .unwrap_or(Value::Null)
    }

    fn entries(&self) -> Vec<Value> {
        self.get("/metadata/managedFields")
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    #[track_caller]
    fn fields(&self, manager: &str) -> Value {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry["manager"] == manager);
        entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }

    fn managers(&self) -> Vec<String> {
        self.entries()
            .iter()
            .map(|e| {
                format!(
                    "{}/{}",
                    e["manager"].as_str().unwrap(),
                    e["operation"].as_str().unwrap()
                )
            })
            .collect()
    }
}

fn replicas(count: i64) -> Value {
    json!({"spec": {"replicas": count}})
}

#[test]
fn a_conflict_names_owner_and_field_as_upstream_does() {
    let mut story = Story::deployment();
    story.write("kubectl-client-side-apply", "", |d| {
        d["spec"] = json!({"replicas": 1, "paused": true})
    });
    let error = story.try_apply("me", false, replicas(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let error = story
        .try_apply("me", false, json!({"spec": {"replicas": 2, "paused": false}}))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.paused\n- .spec.replicas"
    );
    story.try_apply("me", true, replicas(2)).unwrap();
    assert_eq!(story.get("/spec"), json!({"replicas": 2, "paused": true}));
    assert_eq!(story.fields("me"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(
        story.fields("kubectl-client-side-apply"),
        json!({"f:spec": {"f:paused": {}}})
    );
    // What another applier owns is named without a version.
    let error = story.try_apply("you", false, replicas(3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas"
    );
}

#[test]
fn the_same_value_is_owned_by_both_and_stays_until_both_let_go() {
    let mut story = Story::deployment();
    story
        .apply("a", replicas(3))
        .apply("b", replicas(3))
        .apply("a", json!({"spec": {"paused": true}}));
    assert_eq!(story.get("/spec"), json!({"replicas": 3, "paused": true}));
    story.apply("b", json!({}));
    assert_eq!(story.get("/spec"), json!({"paused": true}));
    assert_eq!(story.managers(), ["a/Apply"]);
}

#[test]
fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let mut story = Story::core("ConfigMap");
    story.apply("a", json!({"data": {"x": "1", "y": "2"}}));
    story.write("editor", "", |map| map["data"]["y"] = json!("3"));
    assert_eq!(story.fields("a"), json!({"f:data": {"f:x": {}}}));
    assert_eq!(story.fields("editor"), json!({"f:data": {"f:y": {}}}));
    story.apply("a", json!({}));
    assert_eq!(story.get("/data"), json!({"y": "3"}));
    let mut story = Story::core("ConfigMap");
    story
        .apply("a", json!({"data": {"x": "1"}, "immutable": false}))
        .apply("a", json!({"immutable": false}));
    assert_eq!(story.get("/data"), Value::Null);
}

#[test]
fn unowned_neighbours_such_as_defaults_survive_removal() {
    let mut story = Story::deployment();
    story.apply("a", json!({"spec": {"strategy": {"type": "Recreate"}, "replicas": 1}}));
    let object = story.object.as_mut().unwrap();
    object["spec"]["revisionHistoryLimit"] = json!(10);
    story.apply("a", replicas(1));
    assert_eq!(story.get("/spec"), json!({"replicas": 1, "revisionHistoryLimit": 10}));
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn ports_are_told_apart_by_their_protocol_and_its_default() {
    let mut story = Story::core("Pod");
    story.apply(
        "a",
        pod(json!([{"name": "dns", "ports": [
        {"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]}])),
    );
    assert_eq!(
        story.fields("a"),
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"dns\"}": {".": {}, "f:name": {}, "f:ports": {
            "k:{\"containerPort\":53,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}},
            "k:{\"containerPort\":53,\"protocol\":\"UDP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}}}}}})
    );
    story.object.as_mut().unwrap()["spec"]["containers"][0]["ports"][0]["protocol"] = json!("TCP");
    story.apply(
        "b",
        pod(json!([{"name": "dns", "ports": [{"containerPort": 53, "name": "tcp"}]}])),
    );
    assert_eq!(
        story.get("/spec/containers/0/ports"),
        json!([{"containerPort": 53, "protocol": "TCP", "name": "tcp"}, {"containerPort": 53, "protocol": "UDP"}])
    );
    story.apply("a", pod(json!([{"name": "dns", "ports": [{"containerPort": 53}]}])));
    assert_eq!(
        story.get("/spec/containers/0/ports"),
        json!([{"containerPort": 53, "protocol": "TCP", "name": "tcp"}])
    );
}

#[test]
fn containers_of_several_appliers_live_side_by_side_in_order() {
    let mut story = Story::core("Pod");
    let named = |names: &[&str]| pod(names.iter().map(|name| json!({"name": name})).collect());
    let order = |story: &Story| -> Vec<String> {
        let list = story.get("/spec/containers").as_array().cloned().unwrap_or_default();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    story
        .apply("a", named(&["1", "2", "3"]))
        .apply("b", named(&["x", "3", "y"]));
    assert_eq!(order(&story), ["1", "2", "x", "3", "y"]);
    story.apply("a", named(&["3", "1"]));
    assert_eq!(order(&story), ["x", "3", "y", "1"]);
    story.apply("a", named(&[]));
    assert_eq!(order(&story), ["x", "3", "y"]);
}

#[test]
fn sets_atomic_values_and_owner_references_follow_the_facts() {
    let mut story = Story::core("Pod");
    story.apply("a", json!({"metadata": {"finalizers": ["x/a", "x/b"]}, "spec": {"nodeSelector": {"k": "v"}, "tolerations": [{"key": "t"}]}}));
    assert_eq!(
        story.fields("a"),
        json!({"f:metadata": {"f:finalizers": {"v:\"x/a\"": {}, "v:\"x/b\"": {}}}, "f:spec": {"f:nodeSelector": {}, "f:tolerations": {}}})
    );
    story.apply("b", json!({"metadata": {"finalizers": ["x/c", "x/a"]}}));
    assert_eq!(story.get("/metadata/finalizers"), json!(["x/c", "x/a", "x/b"]));
    story.apply("a", json!({}));
    assert_eq!(story.get("/metadata/finalizers"), json!(["x/c", "x/a"]));
    assert_eq!(story.get("/spec"), Value::Null);
    let error = story
        .apply("a", json!({"spec": {"nodeSelector": {"k": "v"}}}))
        .try_apply("b", false, json!({"spec": {"nodeSelector": {"k": "v", "l": "w"}}}));
    assert_eq!(
        error.unwrap_err().to_string(),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.nodeSelector"
    );
}

#[test]
fn an_update_takes_ownership_of_what_it_changes_and_times_move_only_then() {
    let mut story = Story::deployment();
    story.write("kubectl-create", "", |d| {
        d["spec"] = json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}]}}});
    });
    assert_eq!(
        story.fields("kubectl-create"),
        json!({"f:spec": {"f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:containers": {
                "k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}}}}})
    );
    let before = story.entries();
    story.write("nobody", "", |_| {});
    assert_eq!(story.entries(), before);
    story.write("kubectl-scale", "scale", |d| d["spec"]["replicas"] = json!(2));
    let scale = story
        .entries()
        .into_iter()
        .find(|e| e["manager"] == "kubectl-scale")
        .unwrap();
    assert_eq!(scale["subresource"], "scale");
    assert_eq!(scale["time"], "2026-01-01T00:00:03Z");
    assert_eq!(scale["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let create = story
        .entries()
        .into_iter()
        .find(|e| e["manager"] == "kubectl-create")
        .unwrap();
    assert_eq!(create["time"], "2026-01-01T00:00:01Z");
    assert!(create["fieldsV1"]["f:spec"].get("f:replicas").is_none());
    let error = story.try_apply("me", false, replicas(5)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-scale\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn status_is_owned_only_through_its_subresource() {
    let mut story = Story::deployment();
    story.write("kubectl-create", "", |d| {
        d["spec"] = json!({"replicas": 1});
        d["status"] = json!({"replicas": 7});
    });
    assert_eq!(story.fields("kubectl-create"), json!({"f:spec": {"f:replicas": {}}}));
    story.write("kube-controller-manager", "status", |d| {
        d["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]});
        d["spec"]["replicas"] = json!(9);
    });
    assert_eq!(
        story.fields("kube-controller-manager"),
        json!({"f:status": {"f:replicas": {}, "f:conditions": {".": {}, "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}}}})
    );
}

#[test]
fn reset_and_untracked_objects_stay_without_owners() {
    let mut story = Story::core("ConfigMap");
    story.write("a", "", |map| map["data"] = json!({"x": "1"}));
    story.write("a", "", |map| map["metadata"]["managedFields"] = json!([{}]));
    assert!(story.entries().is_empty());
    story.write("a", "", |map| map["data"]["x"] = json!("2"));
    assert!(story.entries().is_empty());
    story.try_apply("b", false, json!({"data": {"x": "3"}})).unwrap_err();
    story.apply("b", json!({"data": {"x": "2"}}));
    assert_eq!(story.managers(), ["b/Apply", "before-first-apply/Update"]);
    assert_eq!(
        story.fields("before-first-apply"),
        json!({"f:data": {".": {}, "f:x": {}}})
    );
}

#[test]
fn the_oldest_update_managers_are_thrown_together() {
    let mut story = Story::core("ConfigMap");
    for at in 0..13 {
        story.write(&format!("m{at:02}"), "", |map| {
            map["data"][format!("k{at}")] = json!("v")
        });
    }
    assert_eq!(story.entries().len(), 10);
    assert_eq!(
        story.fields("ancient-changes"),
        json!({"f:data": {".": {}, "f:k0": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}}})
    );
}

#[test]
fn applying_again_changes_nothing_at_all() {
    let mut story = Story::deployment();
    let part = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1, "template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}}});
    story.apply("a", part.clone());
    let before = story.object.clone();
    story.apply("a", part);
    assert_eq!(story.object, before);
    assert_eq!(
        story.fields("a"),
        json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {
            "f:volumes": {"k:{\"name\":\"v\"}": {".": {}, "f:name": {}, "f:emptyDir": {}}}}}}})
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_client_side() {
    let mut story = Story::deployment();
    let last = story
        .whole(json!({"spec": {"replicas": 1, "paused": true}}))
        .to_string();
    story.write("kubectl-client-side-apply", "", |d| {
        d["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
        d["spec"] = json!({"replicas": 1, "paused": true, "minReadySeconds": 1});
    });
    story
        .try_apply("other", false, json!({"spec": {"replicas": 2}}))
        .unwrap_err();
    let error = story
        .try_apply("kubectl", false, json!({"spec": {"replicas": 2, "minReadySeconds": 2}}))
        .unwrap_err();
    assert!(
        error.to_string().ends_with("using apps/v1: .spec.minReadySeconds"),
        "{error}"
    );
    story.apply("kubectl", json!({"spec": {"replicas": 2}}));
    let annotation = story.get("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration");
    let annotation: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    assert_eq!(annotation["spec"], json!({"replicas": 2}));
}

#[test]
fn what_does_not_fit_the_facts_is_refused_in_upstreams_words() {
    let mut story = Story::deployment();
    for (part, message) in [
        (
            json!({"spec": {"foo": 1}}),
            "failed to create typed patch object (default/a; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema",
        ),
        (
            json!({"spec": {"replicas": "x"}}),
            ".spec.replicas: expected numeric (int or float), got \"x\"",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}, {"name": "", "image": "y"}]}}}}),
            "duplicate entries for key [name=\"\"]",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {"name": "x"}}}}}),
            ".spec.template.spec.containers: expected list, got",
        ),
        (
            json!({"metadata": {"managedFields": []}}),
            "metadata.managedFields must be nil",
        ),
    ] {
        let error = story.try_apply("a", false, part).unwrap_err();
        assert!(
            matches!(&error, ApplyError::Invalid(text) if text.contains(message)),
            "{error}"
        );
    }
    let applied = json!({"apiVersion": "apps/v2", "kind": "Deployment"});
    let error = apply(
        schema("apps", "Deployment"),
        None,
        &applied,
        "a",
        false,
        "apps/v1",
        "",
        at(0),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Incorrect version specified in apply patch. Specified patch version: apps/v2, expected: apps/v1"
    );
}

#[test]
fn null_and_empty_values_are_no_values() {
    let mut story = Story::deployment();
    story.apply(
        "a",
        json!({"spec": {"replicas": 1, "paused": true, "template": {"metadata": {"labels": {"a": "b"}}}}}),
    );
    story.apply(
        "a",
        json!({"spec": {"replicas": null, "paused": true, "template": {"metadata": {"labels": null}}}}),
    );
    assert_eq!(story.get("/spec/replicas"), Value::Null);
    assert_eq!(story.get("/spec/paused"), json!(true));
}

fn config() -> impl Strategy<Value = Value> {
    let container = (
        prop::sample::select(vec!["a", "b", "c"]),
        prop::option::of("[xy]"),
        prop::collection::btree_map("[pq]", "[1-3]", 0..3),
    );
    let containers = prop::collection::vec(container, 0..3).prop_map(|list| {
        let mut seen = std::collections::BTreeSet::new();
        let items = list
            .into_iter()
            .filter(|(name, ..)| seen.insert(*name))
            .map(|(name, image, env)| {
                let env: Vec<Value> = env.into_iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
                let mut container = json!({"name": name});
                if let Some(image) = image {
                    container["image"] = json!(image);
                }
                if !env.is_empty() {
                    container["env"] = json!(env);
                }
                container
            });
        items.collect::<Vec<Value>>()
    });
    let labels = prop::collection::btree_map("[ab]", "[1-3]", 0..3);
    (labels, prop::option::of(0..3i64), containers).prop_map(|(labels, grace, containers)| {
        let mut part = json!({});
        if !labels.is_empty() {
            part["metadata"] = json!({"labels": labels});
        }
        if let Some(grace) = grace {
            part["spec"]["terminationGracePeriodSeconds"] = json!(grace);
        }
        if !containers.is_empty() {
            part["spec"]["containers"] = json!(containers);
        }
        part
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applies_are_idempotent_and_leave_nothing_behind(steps in prop::collection::vec((0..3usize, config()), 1..8)) {
        let mut story = Story::core("Pod");
        let managers = ["one", "two", "three"];
        for (who, part) in &steps {
            story.try_apply(managers[*who], true, part.clone()).unwrap();
            // Whoever applies gets what it asked for.
            let fields = typed::fields_of(&story.whole(part.clone()), Atom::Struct(story.schema));
            let has = typed::fields_of(story.object.as_ref().unwrap(), Atom::Struct(story.schema));
            prop_assert_eq!(fields.intersection(&has), fields);
            let before = story.object.clone();
            story.try_apply(managers[*who], false, part.clone()).unwrap();
            prop_assert_eq!(&story.object, &before);
        }
        // Once nobody wants anything, nothing is left.
        for who in managers {
            story.try_apply(who, true, json!({})).unwrap();
        }
        let expected = story.whole(json!({}));
        prop_assert_eq!(story.object.unwrap(), expected);
    }

    #[test]
    fn an_update_owns_exactly_what_it_changed(old in config(), new in config()) {
        let mut story = Story::core("Pod");
        let (old, new) = (story.whole(old), story.whole(new));
        story.write("a", "", |pod| *pod = old.clone());
        let before = story.fields("a");
        story.write("b", "", |pod| {
            *pod = new.clone();
        });
        if old == new {
            prop_assert_eq!(story.fields("a"), before.clone());
            prop_assert_eq!(story.fields("b"), Value::Null);
        }
        // Everything there has an owner, unless ownership was not tracked to begin with.
        let object = story.object.as_ref().unwrap();
        let owned = Managed::of(object).union();
        let mut unowned = typed::fields_of(object, Atom::Struct(story.schema));
        unowned.cut_fields(&["metadata", "managedFields"]);
        strip(&mut unowned);
        unowned.subtract(&owned);
        prop_assert!(before.is_null() || unowned.is_empty(), "{:?}", unowned.paths());
    }

    #[test]
    fn hostile_managed_fields_do_no_harm(text in "\\PC{0,20}", value in "\\PC{0,10}") {
        let live = json!({"metadata": {"managedFields": [{"manager": text, "operation": "Update", "fieldsV1": {text.clone(): {value: {}}}}]}});
        let applied = json!({"apiVersion": "v1", "kind": "Pod"});
        let _ = apply(schema("", "Pod"), Some(&live), &applied, "a", false, "v1", "", at(0));
    }
}
