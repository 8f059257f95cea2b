use serde_json::{Value, json};

use super::*;

fn data() -> Value {
    json!({
        "kind": "List",
        "items": [
            {"kind": "None", "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "127.0.0.1"}},
             "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]}},
            {"kind": "None", "metadata": {"name": "127.0.0.2"},
             "status": {"capacity": {"cpu": "8"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.2"}, {"type": "another", "address": "127.0.0.3"}]}}],
        "users": [{"name": "myself", "user": {}}, {"name": "e2e", "user": {"username": "admin", "password": "secret"}}]})
}

#[track_caller]
fn check(template: &str, expected: &str) {
    assert_eq!(
        Template::parse(template).and_then(|t| t.render(&data())).as_deref(),
        Ok(expected),
        "{template}"
    );
}

#[test]
fn the_examples_of_kubectls_documentation_hold() {
    check("kind is {.kind}", "kind is List");
    check("{['kind']}", "List");
    check("{..name}", "127.0.0.1 127.0.0.2 myself e2e");
    check("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2");
    check("{.users[0].name}", "myself");
    check("{.users[-1:].name}", "e2e");
    check(
        "{.items[*]['metadata.name', 'status']['capacity']}",
        r#"{"cpu":"4"} {"cpu":"8"}"#,
    );
    check(r#"{.users[?(@.name=="e2e")].user.password}"#, "secret");
    check(
        r#"{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}"#,
        r#"[127.0.0.1, {"cpu":"4"}] [127.0.0.2, {"cpu":"8"}] "#,
    );
    check(r"{.items[0].metadata.labels.kubernetes\.io/hostname}", "127.0.0.1");
    check(
        "{.items[*].status.addresses[?(@.type=='another')].address}",
        "127.0.0.3",
    );
    check("{$.users[0:2].name}{\"\\n\"}", "myself e2e\n");
}

#[test]
fn ranges_nest_and_fields_that_are_missing_are_nothing() {
    check(
        r#"{range .items[*]}{.metadata.name}:{range .status.addresses[*]}{.address},{end}{"\n"}{end}"#,
        "127.0.0.1:127.0.0.1,\n127.0.0.2:127.0.0.2,127.0.0.3,\n",
    );
    check("{.nothing.here}", "");
    check("{@.kind}", "List");
    check("{.items[?(@.status.capacity.cpu>'4')].metadata.name}", "127.0.0.2");
}

#[test]
fn hostile_templates_are_errors_and_not_panics() {
    for bad in [
        "{",
        "{.a[",
        "{end}",
        "{range .a}",
        "{.a[?(@.b]}",
        "{.a[x:y]}",
        "{\"",
        "{.a['b}",
        "{.}}{",
        "{.a[::0]}",
    ] {
        let _ = Template::parse(bad).map(|t| t.render(&data()));
    }
    assert!(Template::parse(&"{range .a}".repeat(100)).is_err());
    assert!(Template::parse("{end}").is_err());
    assert_eq!(
        Template::parse("{.users[7]}").and_then(|t| t.render(&data())),
        Err(JsonPathError::OutOfBounds { index: 7, length: 2 })
    );
}
