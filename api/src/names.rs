//! Name rules and their sentences (`k8s.io/apimachinery/pkg/util/validation`).
//!
//! Each function returns what is wrong, one sentence per broken rule, in upstream's words; empty means valid.

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const STRICT_ENV: &str = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')";
const RELAXED_ENV: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const HTTP_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
const EMPTY: &str = "must be non-empty";

/// The longest RFC 1123 or RFC 1035 label, label value and name part of a qualified name.
pub const LABEL_MAX: usize = 63;
/// The longest RFC 1123 subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
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
    if name.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if !is_subdomain(&name) {
        wrong.push(SUBDOMAIN.to_owned());
    }
    wrong
}

/// Checks an RFC 1123 label.
pub fn label(name: &str, prefix: bool) -> Vec<String> {
    let name = mask(name, prefix);
    let mut wrong = Vec::new();
    if name.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(&name) {
        wrong.push(LABEL.to_owned());
    }
    wrong
}

/// Checks an RFC 1035 label: an RFC 1123 label that starts with a letter. Names of Services follow it.
pub fn label_1035(name: &str, prefix: bool) -> Vec<String> {
    let name = mask(name, prefix);
    let mut wrong = Vec::new();
    if name.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !(is_label(&name) && name.starts_with(|c: char| c.is_ascii_lowercase())) {
        wrong.push(LABEL_1035.to_owned());
    }
    wrong
}

/// Checks a subdomain with a leading `*.`, as a host of an Ingress may have.
pub fn wildcard_subdomain(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if !name.strip_prefix("*.").is_some_and(is_subdomain) {
        wrong.push(WILDCARD.to_owned());
    }
    wrong
}

/// Checks a name that is one segment of a URL path: RBAC's objects have such names.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// Checks a qualified name: `name` or `example.com/name`. Label keys, annotation keys, finalizers and resource names are such.
pub fn qualified_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut parts = name.split('/');
    let local = match (parts.next(), parts.next(), parts.next()) {
        (Some(local), None, _) => local,
        (Some(prefix), Some(local), None) => {
            if prefix.is_empty() {
                wrong.push(format!("prefix part {EMPTY}"));
            } else {
                wrong.extend(subdomain(prefix, false).into_iter().map(|s| format!("prefix part {s}")));
            }
            local
        }
        _ => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if local.is_empty() {
        wrong.push(format!("name part {EMPTY}"));
    } else if local.len() > LABEL_MAX {
        wrong.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_qualified(local) {
        wrong.push(format!("name part {QUALIFIED}"));
    }
    wrong
}

/// Checks the value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !value.is_empty() && !is_qualified(value) {
        wrong.push(LABEL_VALUE.to_owned());
    }
    wrong
}

/// Checks a port number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

/// Checks that a number lies between two bounds, both inclusive.
pub fn in_range(value: i64, min: i64, max: i64) -> Vec<String> {
    if (min..=max).contains(&value) {
        Vec::new()
    } else {
        vec![format!("must be between {min} and {max}, inclusive")]
    }
}

/// Checks the name of a port (an IANA service name).
pub fn port_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push(too_long(15));
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(allowed) {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// Checks the name of an environment variable as 1.36 does: any printable ASCII but `=`.
pub fn env_var_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.is_empty() {
        wrong.push(format!("environment variable name {EMPTY}"));
    }
    if name.bytes().any(|b| !(b' '..=b'~').contains(&b) || b == b'=') {
        wrong.push(RELAXED_ENV.to_owned());
    }
    wrong
}

/// Checks the name of an environment variable by the older, stricter rule: keys of ConfigMaps and Secrets that are taken whole.
pub fn strict_env_var_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(allowed) {
        wrong.push(STRICT_ENV.to_owned());
    }
    wrong.extend(dot_dot(name));
    wrong
}

/// Checks a key of a ConfigMap or Secret.
pub fn config_map_key(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if key.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        wrong.push(CONFIG_KEY.to_owned());
    }
    wrong.extend(dot_dot(key));
    wrong
}

fn dot_dot(text: &str) -> Option<String> {
    match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// Checks a C identifier.
pub fn c_identifier(name: &str) -> Vec<String> {
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if start && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Vec::new()
    } else {
        vec![C_IDENTIFIER.to_owned()]
    }
}

/// Checks the name of an HTTP header.
pub fn http_header_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Vec::new()
    } else {
        vec![HTTP_HEADER.to_owned()]
    }
}

/// Checks a percentage such as `25%`.
pub fn percent(text: &str) -> Vec<String> {
    match text.strip_suffix('%') {
        Some(number) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => Vec::new(),
        _ => vec![PERCENT.to_owned()],
    }
}

/// Checks an IP address of either family. As upstream's stricter rule of late: no leading zeros, no IPv4-mapped IPv6.
pub fn ip(text: &str) -> Vec<String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// Checks a domain name of at least two segments, as names of ingress classes' controllers and of pod readiness gates have before their slash.
pub fn fully_qualified_domain_name(name: &str) -> Vec<String> {
    let stem = name.strip_suffix('.').unwrap_or(name);
    if stem.is_empty() {
        return vec![EMPTY.to_owned()];
    }
    let wrong = subdomain(stem, false);
    if !wrong.is_empty() {
        return wrong;
    }
    let parts = stem.split('.');
    if parts.clone().count() < 2 {
        return vec!["should be a domain with at least two segments separated by dots".to_owned()];
    }
    parts.flat_map(|part| label(part, false)).collect()
}

/// Checks `example.com/path`: a domain, a slash and a path of URL characters.
pub fn domain_prefixed_path(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![EMPTY.to_owned()];
    }
    let Some((host, path)) = text.split_once('/') else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()];
    };
    if host.is_empty() || path.is_empty() {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()];
    }
    let mut wrong: Vec<String> = subdomain(host, false)
        .into_iter()
        .map(|s| format!("prefix part {s}"))
        .collect();
    if !path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/%:-._~!$&'()*+,;=".contains(&b))
    {
        wrong.push("Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')".to_owned());
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
        assert!(!label_1035("1a", false).is_empty() && label_1035("a1", false).is_empty());
    }

    #[test]
    fn qualified_names_say_which_part_is_wrong() {
        for good in ["app", "a.b_c-D", "example.com/MyName", "1"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(
            qualified_name("x/"),
            [
                "name part must be non-empty".to_owned(),
                format!("name part {QUALIFIED}")
            ]
        );
        assert_eq!(qualified_name("A.com/x"), [format!("prefix part {SUBDOMAIN}")]);
        assert!(qualified_name("a/b/c")[0].starts_with("a qualified name must consist"));
        assert_eq!(
            qualified_name(&"a".repeat(64)),
            ["name part must be no more than 63 bytes"]
        );
        assert_eq!(qualified_name("-a"), [format!("name part {QUALIFIED}")]);
    }

    #[test]
    fn the_smaller_rules_hold() {
        assert!(label_value("").is_empty() && label_value("a_B.c").is_empty());
        assert_eq!(label_value("a b"), [LABEL_VALUE]);
        assert_eq!(port_name("a--b"), ["must not contain consecutive hyphens"]);
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert!(env_var_name("MY VAR:x").is_empty() && !env_var_name("a=b").is_empty());
        assert_eq!(config_map_key(".."), ["must not be '..'"]);
        assert_eq!(config_map_key("..a"), ["must not start with '..'"]);
        assert!(config_map_key("nginx.conf").is_empty());
        assert!(percent("25%").is_empty() && !percent("%").is_empty());
        assert_eq!(
            path_segment("a/b%", false),
            ["may not contain '/'", "may not contain '%'"]
        );
        assert!(!ip("1.2.3").is_empty() && ip("::1").is_empty());
        assert!(!wildcard_subdomain("*").is_empty() && wildcard_subdomain("*.a.b").is_empty());
    }
}
