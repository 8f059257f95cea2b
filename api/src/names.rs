//! Name rules and their sentences (`k8s.io/apimachinery/pkg/util/validation`).
//!
//! Each function returns what is wrong, one sentence per broken rule, in upstream's words; empty means valid.

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

/// With `prefix`, a trailing dash is fine: the name is a `generateName`.
fn mask(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(stem) if prefix => format!("{stem}a"),
        _ => name.to_owned(),
    }
}

/// Checks an RFC 1123 subdomain.
pub fn subdomain(name: &str, prefix: bool) -> Vec<String> {
    let name = mask(name, prefix);
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push("must be no more than 253 bytes".to_owned());
    }
    if !name.split('.').all(is_label) {
        wrong.push(SUBDOMAIN.to_owned());
    }
    wrong
}

/// Checks an RFC 1123 label.
pub fn label(name: &str, prefix: bool) -> Vec<String> {
    let name = mask(name, prefix);
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label(&name) {
        wrong.push(LABEL.to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_are_refused_and_generate_names_may_end_in_a_dash() {
        assert_eq!(subdomain("nginx_pod", false), [SUBDOMAIN]);
        assert!(subdomain("web.example-1", false).is_empty());
        assert!(!subdomain("web-", false).is_empty());
        assert!(subdomain("web-", true).is_empty());
        assert!(!label("a.b", false).is_empty());
    }
}
