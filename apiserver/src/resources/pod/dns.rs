//! Validation of how the processes of a pod look names up.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::ip;
use super::super::value::{at, list, text};

/// What the C library of most images bears.
const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_CHARACTERS: usize = 2048;

/// Checks `dnsConfig`. `path` leads to it.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let config = at(spec, "dnsConfig");
    let (servers, searches) = (list(config, "nameservers"), list(config, "searches"));
    if text(spec, "dnsPolicy") == "None" && config.is_null() {
        let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
        errors.push(FieldError::required(path, detail));
        return;
    }
    if text(spec, "dnsPolicy") == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&path.child("nameservers"), detail));
        return;
    }
    let (at_servers, at_searches) = (path.child("nameservers"), path.child("searches"));
    if servers.len() > NAMESERVERS {
        let detail = format!("must not have more than {NAMESERVERS} nameservers");
        errors.push(FieldError::invalid(&at_servers, servers.to_vec(), detail));
    }
    ip::listed(servers, &[], &at_servers, ip::address, errors);
    if searches.len() > SEARCHES {
        let detail = format!("must not have more than {SEARCHES} search paths");
        errors.push(FieldError::invalid(&at_searches, searches.to_vec(), detail));
    }
    let texts: Vec<&str> = searches.iter().filter_map(Value::as_str).collect();
    if texts.join(" ").len() > SEARCH_CHARACTERS {
        let detail =
            format!("must not have more than {SEARCH_CHARACTERS} characters (including spaces) in the search list");
        errors.push(FieldError::invalid(&at_searches, searches.to_vec(), detail));
    }
    for (index, search) in texts.iter().enumerate().filter(|(_, search)| **search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        // Since 1.34 an underscore may stand where a letter may.
        let plain = search.replace('_', "a");
        for sentence in names::subdomain(&plain, false) {
            errors.push(FieldError::invalid(&at_searches.index(index), search, sentence));
        }
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            let path = path.child("options").index(index);
            errors.push(FieldError::required(&path, "must not be empty"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_looked_up_as_far_as_a_c_library_can() {
        let said = |policy: &str, config: Value| {
            let mut errors = Vec::new();
            validate(
                &json!({"dnsPolicy": policy, "dnsConfig": config}),
                &Path::new("d"),
                &mut errors,
            );
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            said(
                "None",
                json!({"nameservers": ["10.0.0.1"], "searches": [".", "a.b.", "_tcp.c"]})
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            said("None", Value::Null),
            ["d: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]
        );
        assert_eq!(
            said("None", json!({"searches": ["a"]})),
            ["d.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"]
        );
        let many = said(
            "ClusterFirst",
            json!({"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "x"], "searches": vec!["a"; 33], "options": [{}]}),
        );
        let servers = r#"["1.1.1.1","1.1.1.2","1.1.1.3","x"]"#;
        assert_eq!(
            many[0],
            format!("d.nameservers: Invalid value: {servers}: must not have more than 3 nameservers")
        );
        assert_eq!(
            many[1],
            "d.nameservers[3]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        );
        assert!(many[2].ends_with("must not have more than 32 search paths"));
        assert_eq!(many[3..], ["d.options[0]: Required value: must not be empty"]);
        let long = said("ClusterFirst", json!({"searches": vec!["a".repeat(60); 34]}));
        assert!(long[1].ends_with("must not have more than 2048 characters (including spaces) in the search list"));
    }
}
