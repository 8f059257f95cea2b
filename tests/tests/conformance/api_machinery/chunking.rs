//! Lists in chunks.

use serde_json::{Value, json};

use crate::client::Resource;
use crate::server::Server;

const MANY: usize = 40;

fn templates(server: &Server) -> Resource {
    let templates = server.at("v1", "podtemplates").within("default");
    for number in 0..MANY {
        templates.create(json!({
            "metadata": {"name": format!("template-{number:04}")},
            "template": {"metadata": {"labels": {"n": number.to_string()}},
                "spec": {"containers": [{"name": "c", "image": "test/v1"}]}},
        }));
    }
    templates
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items").iter();
    items
        .map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn token(list: &Value) -> String {
    list["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

/// Reads the pages that follow a token, and returns their names; all must show one state, and say how many remain.
fn follow(templates: &Resource, token_of_first: &str, limit: usize, mut seen: usize) -> (Vec<String>, String) {
    let (mut next, mut found, mut revision) = (token_of_first.to_owned(), Vec::new(), String::new());
    while !next.is_empty() {
        let page = templates.list(&format!("limit={limit}&continue={next}"));
        let on_page = names(&page);
        assert!(on_page.len() <= limit);
        seen += on_page.len();
        let remaining = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
        assert_eq!(usize::try_from(remaining).expect("small"), MANY - seen);
        found.extend(on_page);
        next = token(&page);
        let at = page["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_owned();
        assert!(revision.is_empty() || revision == at, "pages show one state");
        revision = at;
    }
    (found, revision)
}

/// API Chunking, server should return chunks of results for list calls
#[test]
fn api_chunking_server_should_return_chunks_of_results_for_list_calls() {
    let server = Server::alone();
    let templates = templates(&server);
    let first = templates.list("limit=17");
    assert_eq!(names(&first).len(), 17);
    assert_eq!(first["metadata"]["remainingItemCount"], MANY - 17);
    // What happens in between does not show in the pages of an older list.
    templates.delete("template-0039");
    templates.create(json!({"metadata": {"name": "template-0020b"},
        "template": {"spec": {"containers": [{"name": "c", "image": "test/v1"}]}}}));
    let (rest, revision) = follow(&templates, &token(&first), 9, 17);
    assert_eq!(first["metadata"]["resourceVersion"], revision);
    let all: Vec<String> = names(&first).into_iter().chain(rest).collect();
    let expected: Vec<String> = (0..MANY).map(|n| format!("template-{n:04}")).collect();
    assert_eq!(all, expected);
    let whole = templates.list("");
    assert_eq!(names(&whole).len(), MANY);
    assert_eq!(token(&whole), "");
    assert!(whole["metadata"]["remainingItemCount"].is_null());
}

/// API Chunking, server should support continue listing from the last key even if the original version has been compacted away
#[test]
fn api_chunking_server_should_support_continue_listing_after_compaction() {
    let server = Server::forgetful();
    let templates = templates(&server);
    let first = templates.list("limit=17");
    assert_eq!(names(&first).len(), 17);
    let old = token(&first);
    // Much is written until nothing remembers that state any more. The server says where to go on in the newest one.
    let filling = "x".repeat(30 << 10);
    let second = format!("{}?limit=9&continue={old}", templates.path);
    let mut writes = 0;
    let expired = loop {
        let answer = server.get(&second);
        if answer.status != 200 {
            answer.refused(410, "Expired");
            break answer.json();
        }
        assert!(writes < 3000, "the token is good for ever");
        for _ in 0..50 {
            writes += 1;
            templates.patch(
                "template-0000",
                json!({"metadata": {"annotations": {"n": format!("{writes}{filling}")}}}),
            );
        }
    };
    let inconsistent = token(&expired);
    assert!(!inconsistent.is_empty(), "{expired}");
    let message = expired["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("The provided continue parameter is too old to display a consistent list result."),
        "{expired}"
    );
    let (rest, _) = follow(&templates, &inconsistent, 9, 17);
    let expected: Vec<String> = (17..MANY).map(|n| format!("template-{n:04}")).collect();
    assert_eq!(rest, expected);
    let page = templates.list(&format!("limit=9&continue={inconsistent}"));
    assert_ne!(
        page["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
}
