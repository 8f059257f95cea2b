//! What a container or a volume may read of its own pod: `metadata.labels['app']`, `limits.cpu`.

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::value::{at, text};

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A variable of a container.
    Variable,
    /// A file in a volume, which has to say of which container.
    File,
}

const VARIABLES: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const FILES: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Fields that have a name, though not everybody may read them.
const OTHERS: [&str; 4] = ["spec.host", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// `metadata.labels['app']` is the path `metadata.labels` and the key `app`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (path, key) = path.strip_suffix("']")?.split_once("['")?;
    (!path.is_empty()).then_some((path, key))
}

/// Checks an `ObjectFieldSelector`.
pub(crate) fn object_field(selector: &Value, user: Use, path: &Path, errors: &mut Vec<FieldError>) {
    let (version, field) = (text(selector, "apiVersion"), text(selector, "fieldPath"));
    let at_field = path.child("fieldPath");
    if version.is_empty() {
        errors.push(FieldError::required(&path.child("apiVersion"), ""));
        return;
    }
    if field.is_empty() {
        errors.push(FieldError::required(&at_field, ""));
        return;
    }
    let known = |field: &str| VARIABLES.contains(&field) || FILES.contains(&field) || OTHERS.contains(&field);
    let problem = match subscript(field) {
        _ if version != "v1" => format!("unsupported pod version: {version}"),
        Some(("metadata.annotations", key)) => {
            let lower = key.to_lowercase();
            return wrong(path, &lower, names::qualified_name(&lower), errors);
        }
        Some(("metadata.labels", key)) => return wrong(path, key, names::qualified_name(key), errors),
        Some(_) => format!("field label does not support subscript: {field}"),
        None if !known(field) => format!("field label not supported: {field}"),
        None => {
            let allowed: &[&str] = match user {
                Use::Variable => &VARIABLES,
                Use::File => &FILES,
            };
            let field = if field == "spec.host" { "spec.nodeName" } else { field };
            if !allowed.contains(&field) {
                errors.push(FieldError::not_supported(&at_field, field, allowed));
            }
            return;
        }
    };
    let detail = format!("error converting fieldPath: {problem}");
    errors.push(FieldError::invalid(&at_field, field, detail));
}

/// Checks a `ResourceFieldSelector`.
pub(crate) fn resource_field(selector: &Value, user: Use, path: &Path, errors: &mut Vec<FieldError>) {
    let resource = text(selector, "resource");
    let pages = ["requests.hugepages-", "limits.hugepages-"]
        .iter()
        .any(|prefix| resource.starts_with(prefix));
    if user == Use::File && text(selector, "containerName").is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !pages {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    divisor(selector, resource, pages, &path.child("divisor"), errors);
}

fn divisor(selector: &Value, resource: &str, pages: bool, path: &Path, errors: &mut Vec<FieldError>) {
    const UNITS: [&str; 13] = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let written = at(selector, "divisor");
    let written = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
    let Ok(divisor) = Quantity::parse(&written) else {
        return;
    };
    if divisor.is_zero() {
        return;
    }
    let divisor = divisor.to_string();
    let (allowed, noun): (&[&str], _) = match resource.split_once('.').map(|(_, noun)| noun) {
        Some("cpu") => (&["1m", "1"], "cpu"),
        Some("memory") => (&UNITS, "memory"),
        Some("ephemeral-storage") => (&UNITS, "local ephemeral storage"),
        _ if pages => (&UNITS, "hugepages"),
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        let values = if noun == "cpu" {
            "1m and 1".to_owned()
        } else {
            UNITS.join(", ")
        };
        let detail = format!("only divisor's values {values} are supported with the {noun} resource");
        errors.push(FieldError::invalid(path, resource, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_tells_its_containers_what_upstream_lets_it() {
        let said = |selector: Value, user| {
            let mut errors = Vec::new();
            object_field(&selector, user, &Path::new("f"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let field = |path: &str| json!({"apiVersion": "v1", "fieldPath": path});
        for good in ["metadata.name", "metadata.labels['a/b']", "spec.host", "status.podIPs"] {
            assert_eq!(said(field(good), Use::Variable), Vec::<String>::new(), "{good}");
        }
        assert_eq!(said(json!({}), Use::File), ["f.apiVersion: Required value"]);
        assert_eq!(said(field(""), Use::File), ["f.fieldPath: Required value"]);
        assert_eq!(
            said(field("spec.x"), Use::File),
            ["f.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field label not supported: spec.x"]
        );
        assert_eq!(
            said(field("metadata.name['a']"), Use::File),
            [
                "f.fieldPath: Invalid value: \"metadata.name['a']\": error converting fieldPath: field label does not support subscript: metadata.name['a']"
            ]
        );
        assert!(
            said(field("status.phase"), Use::Variable)[0]
                .starts_with("f.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\"")
        );
        assert!(said(field("spec.nodeName"), Use::File)[0].contains("Unsupported value"));
    }

    #[test]
    fn amounts_are_divided_by_whole_units() {
        let said = |selector: Value, user| {
            let mut errors = Vec::new();
            resource_field(&selector, user, &Path::new("r"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            said(json!({"resource": "limits.cpu", "divisor": "1m"}), Use::Variable),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!({"resource": "limits.cpu"}), Use::File),
            ["r.containerName: Required value"]
        );
        assert_eq!(
            said(json!({"resource": "limits.cpu", "divisor": "2"}), Use::Variable),
            [
                "r.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource"
            ]
        );
        assert!(
            said(json!({"resource": "limits.gpu"}), Use::Variable)[0].contains("Unsupported value: \"limits.gpu\"")
        );
    }
}
