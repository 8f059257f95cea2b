use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The object of kubectl's documentation.
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

/// The bookshop of upstream's tests.
fn shop() -> Value {
    json!({
        "Name": "jsonpath",
        "Book": [
            {"Category": "reference", "Author": "Nigel Rees", "Title": "Sayings of the Centurey", "Price": 8.95},
            {"Category": "fiction", "Author": "Evelyn Waugh", "Title": "Sword of Honour", "Price": 12.99}],
        "Bicycle": [{"Color": "red", "Price": 19.95, "IsNew": true}, {"Color": "green", "Price": 20.01, "IsNew": false}],
        "Labels": {"engieer": 10, "web/html": 15, "k8s-app": 20},
        "Employees": {"jason": "manager", "dan": "clerk"}})
}

#[track_caller]
fn on(object: &Value, template: &str, expected: &str) {
    let rendered = Template::parse(template).and_then(|template| template.render(object));
    assert_eq!(rendered.as_deref(), Ok(expected), "{template}");
}

#[track_caller]
fn check(template: &str, expected: &str) {
    on(&data(), template, expected);
}

#[track_caller]
fn shopping(template: &str, expected: &str) {
    on(&shop(), template, expected);
}

#[track_caller]
fn refused(template: &str, message: &str) {
    let rendered = Template::parse(template).and_then(|template| template.render(&shop()));
    assert_eq!(
        rendered.map_err(|error| error.to_string()),
        Err(message.to_owned()),
        "{template}"
    );
}

#[test]
fn the_examples_of_kubectls_documentation_hold() {
    check("kind is {.kind}", "kind is List");
    check("{.kind}", "List");
    check("{['kind']}", "List");
    check("{..name}", "127.0.0.1 127.0.0.2 myself e2e");
    check("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2");
    check("{.users[0].name}", "myself");
    check("{.users[-1:].name}", "e2e");
    check(
        "{.items[*]['metadata.name', 'status.capacity']}",
        r#"127.0.0.1 127.0.0.2 {"cpu":"4"} {"cpu":"8"}"#,
    );
    check(r#"{.users[?(@.name=="e2e")].user.password}"#, "secret");
    check(
        r#"{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}"#,
        r#"[127.0.0.1, {"cpu":"4"}] [127.0.0.2, {"cpu":"8"}] "#,
    );
    check(
        r#"{range .items[*]}{.metadata.name}{"\t"}{end}"#,
        "127.0.0.1\t127.0.0.2\t",
    );
    check(r"{.items[0].metadata.labels.kubernetes\.io/hostname}", "127.0.0.1");
    check(
        "{.items[*].status.addresses[?(@.type=='another')].address}",
        "127.0.0.3",
    );
    check("{$.users[0:2].name}{\"\\n\"}", "myself e2e\n");
}

#[test]
fn upstreams_own_cases_hold() {
    shopping("hello jsonpath", "hello jsonpath");
    shopping("hello {.Name}", "hello jsonpath");
    shopping(r#"{"{"}{"}"}"#, "{}");
    shopping(r#"{'\''}{"\""}{'a"b'}"#, "'\"a\"b");
    shopping("{.Book[*].Title}", "Sayings of the Centurey Sword of Honour");
    shopping("{.Book[-2].Author}", "Nigel Rees");
    shopping("{.Book[::2].Author}", "Nigel Rees");
    shopping("{.Book[0:0].Author}", "");
    shopping("{.Bicycle[0:2].Color}", "red green");
    shopping("{.Bicycle['Color']}", "");
    shopping("{..Color}", "red green");
    shopping("{.Book[?(@.Price<10)].Title}", "Sayings of the Centurey");
    shopping("{.Book[?(@.Price>=12.99)].Price}", "12.99");
    shopping("{.Bicycle[?(@.IsNew==true)].Color}", "red");
    shopping("{.Bicycle[?(@.IsNew!=true)].Color}", "green");
    shopping("{.Bicycle[?(@.Color)].Price}", "19.95 20.01");
    shopping("{.Bicycle[?(@.Price=='red')].Color}", "");
    shopping("{.Labels.web/html}", "15");
    shopping("{.Labels['k8s-app']}", "20");
    shopping("{.Labels.k8s-app}", "20");
    shopping("{.Employees.*}", "clerk manager");
    shopping("{.hello}", "");
    shopping("{.Name .hello}{ .Name }", "jsonpath");
    shopping("{.Name[?(@)]}", "jsonpath");
    shopping(
        r#"{.Book[?(@.Author=="(")].Title}{.Book[?(@.Title=='Sword of Honour')].Author}"#,
        "Evelyn Waugh",
    );
    shopping("{true}{1}{-2.5}", "true1-2.5");
    on(
        &json!({"a": {"z": "<&>", "b": 1}}),
        "{.a}",
        r#"{"b":1,"z":"\u003c\u0026\u003e"}"#,
    );
}

#[test]
fn ranges_nest_and_fields_that_are_missing_are_nothing() {
    check(
        r#"{range .items[*]}{.metadata.name}:{range .status.addresses[*]}{.address},{end}{"\n"}{end}{.kind}"#,
        "127.0.0.1:127.0.0.1,\n127.0.0.2:127.0.0.2,127.0.0.3,\nList",
    );
    check("{.nothing.here}", "");
    check("{@.kind}", "List");
    check("{.items[?(@.status.capacity.cpu>'4')].metadata.name}", "127.0.0.2");
    check("{range .users[*]}{.name} ", "myself e2e ");
    let nothing: [&Value; 0] = [];
    assert_eq!(Template::parse("{.x}").unwrap().find(&data()).unwrap(), nothing);
    assert_eq!(
        Template::parse("x{.kind}").unwrap().find(&data()).unwrap(),
        [&json!("List")]
    );
}

#[test]
fn what_is_wrong_is_said_in_upstreams_words() {
    refused("{", "unclosed action");
    refused("{.Book[", "unterminated array");
    refused("{.Book[?(@.Price]}", "unterminated filter");
    refused("{.Book[?(@.Price)}", "unclosed array expect ]");
    refused("{\"", "unterminated quoted string");
    refused("{\"\\q\"}", "unquote string \"\\q\" error invalid syntax");
    refused("{end}", "not in range, nothing to end");
    refused("{hello}", "unrecognized identifier hello");
    refused("{.Book[0}", "unterminated array");
    refused("{.Book[x]}", "invalid array index x");
    refused("{.Book[1:2:3:4]}", "invalid array index 1:2:3:4");
    refused("{.Book[7]}", "array index out of bounds: index 7, length 2");
    refused("{.Book[-3]}", "array index out of bounds: index -1, length 2");
    refused("{.Book[1:0]}", "starting index 1 is greater than ending index 0");
    refused("{.Book[::0]}", "step must be > 0");
    refused("{.Name[0]}", "string is not array or slice");
    refused("{.Book[?(@.*=='x')]}", "can only compare one element at a time");
    refused("{.Book[?(@.Price=!1)]}", "unrecognized filter operator =!");
    refused("{....Price}", "invalid multiple recursive descent");
    refused("{*}", "unrecognized character in action: U+002A '*'");
    refused("{1.2.3}", "cannot parse number 1.2.3");
    assert_eq!(Template::parse(&"{range .a}".repeat(100)), Err(JsonPathError::TooDeep));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_template_panics(template in "[{}\\[\\]().?@*$,:'\"\\\\=<>! a-c0-9äß-]{0,40}") {
        let _ = Template::parse(&template).map(|template| template.render(&data()));
    }

    #[test]
    fn no_action_panics(action in "(\\.[a-z]+|\\[[-0-9:,*']*\\]|\\[\\?\\([@.a-z=<']*\\)\\]|\\.\\.|range |end|\"\\PC*\"){0,5}") {
        let _ = Template::parse(&format!("{{{action}}}")).map(|template| template.render(&shop()));
    }
}
