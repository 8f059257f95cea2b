use proptest::prelude::*;
use serde_json::{Value, json};

use super::strategic_merge;
use crate::facts::{Schema, schema_for};
use crate::patch::diff::{three_way_merge, three_way_strategic, two_way_merge, two_way_strategic};
use crate::patch::merge_patch;

fn pod() -> &'static Schema {
    schema_for("", "v1", "Pod").unwrap()
}

fn deployment() -> &'static Schema {
    schema_for("apps", "v1", "Deployment").unwrap()
}

#[track_caller]
fn check(target: Value, patch: Value, expected: Value) {
    assert_eq!(strategic_merge(pod(), &target, &patch), Ok(expected), "{patch}");
}

#[track_caller]
fn refused(target: Value, patch: Value, code: u16, words: &str) {
    let error = strategic_merge(pod(), &target, &patch).unwrap_err();
    assert!(
        error.code() == code && error.to_string().contains(words),
        "{} {error}",
        error.code()
    );
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn lists_merge_by_their_key() {
    check(
        containers(json!([{"name": "a", "image": "x", "tty": true}, {"name": "b", "image": "y"}])),
        containers(json!([{"name": "b", "image": "z"}, {"name": "c", "image": "w"}])),
        containers(
            json!([{"name": "a", "image": "x", "tty": true}, {"name": "b", "image": "z"}, {"name": "c", "image": "w"}]),
        ),
    );
    check(
        containers(json!([{"name": "a", "ports": [{"containerPort": 80}]}])),
        containers(json!([{"name": "a", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]}])),
        containers(json!([{"name": "a", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]}])),
    );
}

#[test]
fn lists_without_a_key_are_replaced_and_scalars_with_merge_add_up() {
    check(
        json!({"spec": {"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["x", "y"]}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]}}),
    );
    check(
        json!({"metadata": {"finalizers": ["x/a", "x/b"]}}),
        json!({"metadata": {"finalizers": ["x/c"], "$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
        json!({"metadata": {"finalizers": ["x/c", "x/b"]}}),
    );
}

#[test]
fn null_removes_and_unmatched_nulls_and_directives_vanish() {
    check(
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        json!({"metadata": {"labels": {"a": null, "c": null}, "annotations": {"x": null, "y": "1"}}}),
        json!({"metadata": {"labels": {"b": "2"}, "annotations": {"y": "1"}}}),
    );
    check(
        json!({}),
        containers(json!([{"name": "a", "$patch": "delete"}, {"name": "b", "tty": null}, {"$patch": "replace"}])),
        containers(json!([{"name": "b"}])),
    );
}

#[test]
fn directives_delete_and_replace() {
    let target = containers(json!([{"name": "a", "tty": true}, {"name": "b"}]));
    check(
        target.clone(),
        containers(json!([{"name": "a", "$patch": "delete"}])),
        containers(json!([{"name": "b"}])),
    );
    check(
        target.clone(),
        containers(json!([{"name": "c"}, {"$patch": "replace"}])),
        containers(json!([{"name": "c"}])),
    );
    refused(
        target,
        containers(json!([{"name": "a", "$patch": "merge"}])),
        422,
        "merging lists cannot yet be specified in the patch",
    );
    check(
        json!({"metadata": {"labels": {"a": "1"}}}),
        json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
        json!({"metadata": {"labels": {"b": "2"}}}),
    );
    check(
        json!({"metadata": {"labels": {"a": "1"}}}),
        json!({"metadata": {"labels": {"$patch": "delete"}}}),
        json!({"metadata": {"labels": {}}}),
    );
}

#[test]
fn retain_keys_clears_the_other_members_of_a_union() {
    let volume = |v: Value| json!({"spec": {"volumes": [v]}});
    check(
        volume(json!({"name": "v", "emptyDir": {}})),
        volume(json!({"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}})),
        volume(json!({"name": "v", "hostPath": {"path": "/x"}})),
    );
    refused(
        volume(json!({"name": "v", "emptyDir": {}})),
        volume(json!({"name": "v", "$retainKeys": ["name"], "hostPath": {"path": "/x"}})),
        400,
        "invalid patch format of retainKeys",
    );
}

#[test]
fn the_order_directive_sorts_and_keeps_what_only_the_server_has_in_its_place() {
    check(
        containers(json!([{"name": "server"}, {"name": "a"}, {"name": "b"}, {"name": "last"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "new"}],
            "containers": [{"name": "new"}]}}),
        containers(json!([{"name": "server"}, {"name": "b"}, {"name": "a"}, {"name": "new"}, {"name": "last"}])),
    );
    refused(
        containers(json!([{"name": "a"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}}),
        422,
        "doesn't match $setElementOrder list",
    );
}

#[test]
fn malformed_patches_are_named() {
    refused(
        containers(json!([{"name": "a"}])),
        containers(json!([{"image": "x"}])),
        422,
        "map: map[image:x] does not contain declared merge key: name",
    );
    refused(
        containers(json!([{"name": "a"}])),
        containers(json!([1])),
        422,
        "list element types are not identical",
    );
    refused(
        json!({}),
        json!({"$patch": "sing"}),
        422,
        "unknown patch type: sing in map: map[]",
    );
    refused(json!({}), json!([]), 400, "invalid JSON document");
    refused(
        json!({}),
        json!({"metadata": {"$deleteFromPrimitiveList": ["x"]}, "$deleteFromPrimitiveListx": 1}),
        400,
        "primitive list",
    );
}

#[test]
fn client_side_apply_deletes_what_was_applied_and_keeps_what_others_set() {
    let object = |containers: Value, replicas: Value| json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}}});
    let last = object(
        json!([{"name": "a", "image": "1"}, {"name": "gone", "image": "1"}]),
        json!(3),
    );
    let mut new = object(json!([{"name": "a", "image": "2"}]), json!(3));
    new["spec"].as_object_mut().unwrap().remove("replicas");
    let live = object(
        json!([{"name": "a", "image": "1", "tty": true}, {"name": "gone", "image": "1"}, {"name": "injected"}]),
        json!(5),
    );
    let patch = three_way_strategic(deployment(), &last, &new, &live).unwrap();
    assert_eq!(
        patch,
        json!({"spec": {"replicas": null, "template": {"spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "gone", "$patch": "delete"}]}}}})
    );
    let result = strategic_merge(deployment(), &live, &patch).unwrap();
    assert_eq!(
        result["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "image": "2", "tty": true}, {"name": "injected"}])
    );
    assert_eq!(
        three_way_merge(
            &json!({"a": {"b": 1}}),
            &json!({"a": {}}),
            &json!({"a": {"b": 1, "c": 2}})
        ),
        json!({"a": {"b": null}})
    );
}

#[test]
fn a_union_is_switched_by_retain_keys() {
    let with = |strategy: Value| json!({"spec": {"strategy": strategy}});
    let live = with(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}));
    let new = with(json!({"type": "Recreate"}));
    let patch = three_way_strategic(deployment(), &json!({}), &new, &live).unwrap();
    assert_eq!(patch, with(json!({"$retainKeys": ["type"], "type": "Recreate"})));
    assert_eq!(strategic_merge(deployment(), &live, &patch), Ok(new));
}

fn named<T: Strategy<Value = Value> + 'static>(
    names: &'static [&'static str],
    rest: T,
) -> impl Strategy<Value = Value> {
    (
        prop::sample::subsequence(names, 0..=names.len()).prop_shuffle(),
        prop::collection::vec(rest, names.len()),
    )
        .prop_map(|(names, rest)| {
            let items = names.into_iter().zip(rest).map(|(name, mut item)| {
                item["name"] = json!(name);
                item
            });
            Value::Array(items.collect())
        })
}

fn pods() -> impl Strategy<Value = Value> {
    let env = named(
        &["A", "B", "C"],
        prop_oneof![
            Just(json!({})),
            Just(json!({"value": "1"})),
            Just(json!({"value": "2"}))
        ],
    );
    let container = (
        env,
        prop_oneof![Just("x"), Just("y")],
        any::<bool>(),
        prop::collection::vec(0..3u8, 0..3),
    )
        .prop_map(|(env, image, tty, args)| {
            let args: Vec<String> = args.iter().map(u8::to_string).collect();
            json!({"env": env, "image": image, "tty": tty, "args": args})
        });
    let volume = prop_oneof![
        Just(json!({"emptyDir": {}})),
        Just(json!({"hostPath": {"path": "/x"}})),
        Just(json!({"secret": {"secretName": "s"}}))
    ];
    let labels = prop::collection::btree_map("[ab]", "[xy]", 0..3);
    let finalizers = prop::sample::subsequence(vec!["x/a", "x/b", "x/c"], 0..=3).prop_shuffle();
    (
        named(&["a", "b", "c"], container),
        named(&["v", "w"], volume),
        labels,
        finalizers,
    )
        .prop_map(|(containers, volumes, labels, finalizers)| {
            json!({"metadata": {"labels": labels, "finalizers": finalizers},
                "spec": {"containers": containers, "volumes": volumes}})
        })
}

proptest! {
    #[test]
    fn applying_the_difference_gives_the_target(original in pods(), modified in pods()) {
        let patch = two_way_strategic(pod(), &original, &modified).unwrap();
        prop_assert_eq!(&strategic_merge(pod(), &original, &patch).unwrap(), &modified);
        let patch = two_way_merge(&original, &modified);
        prop_assert_eq!(merge_patch(&original, &patch).unwrap(), modified);
    }

    #[test]
    fn applying_again_changes_nothing(last in pods(), modified in pods(), live in pods()) {
        let patch = three_way_strategic(pod(), &last, &modified, &live).unwrap();
        let result = strategic_merge(pod(), &live, &patch).unwrap();
        let again = three_way_strategic(pod(), &modified, &modified, &result).unwrap();
        prop_assert_eq!(&strategic_merge(pod(), &result, &again).unwrap(), &result);
    }
}
