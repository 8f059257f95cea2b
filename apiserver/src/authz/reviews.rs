//! The access reviews: questions to the authorizer as API objects that are created and answered, never stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::{Attributes, Authorizer};
use crate::error::ApiError;
use crate::identity::UserInfo;

const GROUP: &str = "authorization.k8s.io";

/// Answers a `subjectaccessreviews`, `selfsubjectaccessreviews`, `localsubjectaccessreviews` or `selfsubjectrulesreviews`: returns the
/// object with its status. `namespace` is the request's.
pub fn review(
    authorizer: &Authorizer,
    resource: &str,
    namespace: &str,
    user: &UserInfo,
    mut object: Value,
) -> Result<Value, ApiError> {
    let status = match resource {
        "selfsubjectrulesreviews" => rules(authorizer, user, &object)?,
        "selfsubjectaccessreviews" => access(authorizer, "SelfSubjectAccessReview", user, &object)?,
        "subjectaccessreviews" => {
            let subject = subject("SubjectAccessReview", &object)?;
            access(authorizer, "SubjectAccessReview", &subject, &object)?
        }
        "localsubjectaccessreviews" => {
            let subject = subject("LocalSubjectAccessReview", &object)?;
            if object["spec"]["nonResourceAttributes"].is_object() {
                let path = Path::new("spec").child("nonResourceAttributes");
                return Err(invalid(
                    "LocalSubjectAccessReview",
                    FieldError::forbidden(&path, "disallowed on this kind of request"),
                ));
            }
            let asked = text(&object["spec"]["resourceAttributes"]["namespace"]);
            if asked != namespace {
                return Err(ApiError::bad_request(format!(
                    "spec.resourceAttributes.namespace must match namespace: {namespace}"
                )));
            }
            access(authorizer, "LocalSubjectAccessReview", &subject, &object)?
        }
        _ => return Err(ApiError::not_implemented(format!("{resource}.{GROUP}"))),
    };
    object["status"] = status;
    Ok(object)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn invalid(kind: &str, error: FieldError) -> ApiError {
    ApiError::invalid(format!("{kind}.{GROUP}"), "", vec![error])
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn subject(kind: &str, object: &Value) -> Result<UserInfo, ApiError> {
    let spec = &object["spec"];
    let user = UserInfo {
        username: text(&spec["user"]).to_owned(),
        uid: text(&spec["uid"]).to_owned(),
        groups: strings(&spec["groups"]),
        extra: match spec["extra"].as_object() {
            Some(extra) => extra
                .iter()
                .map(|(key, values)| (key.clone(), strings(values)))
                .collect(),
            None => BTreeMap::new(),
        },
    };
    if user.username.is_empty() && user.groups.is_empty() {
        let error = FieldError::invalid(
            &Path::new("spec").child("user"),
            "",
            "at least one of user or group must be specified",
        );
        return Err(invalid(kind, error));
    }
    Ok(user)
}

fn access(authorizer: &Authorizer, kind: &str, user: &UserInfo, object: &Value) -> Result<Value, ApiError> {
    let (on_resource, on_path) = (
        &object["spec"]["resourceAttributes"],
        &object["spec"]["nonResourceAttributes"],
    );
    let problem = match (on_resource.is_object(), on_path.is_object()) {
        (true, true) => Some("cannot be specified in combination with resourceAttributes"),
        (false, false) => Some("exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        _ => None,
    };
    if let Some(problem) = problem {
        let (path, shown) = if on_path.is_object() {
            (Path::new("spec").child("nonResourceAttributes"), on_path)
        } else {
            (Path::new("spec").child("resourceAttributes"), on_resource)
        };
        return Err(invalid(kind, FieldError::invalid(&path, shown.clone(), problem)));
    }
    let decision = if on_resource.is_object() {
        let selector = field_selector(&on_resource["fieldSelector"]);
        authorizer.authorize(&Attributes {
            user,
            verb: text(&on_resource["verb"]),
            namespace: text(&on_resource["namespace"]),
            api_group: text(&on_resource["group"]),
            api_version: text(&on_resource["version"]),
            resource: text(&on_resource["resource"]),
            subresource: text(&on_resource["subresource"]),
            name: text(&on_resource["name"]),
            field_selector: &selector,
            path: "",
            resource_request: true,
        })
    } else {
        authorizer.authorize(&Attributes::path(user, text(&on_path["verb"]), text(&on_path["path"])))
    };
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}

/// A review's field selector as a request would spell it; only equalities matter to the authorizers.
fn field_selector(selector: &Value) -> String {
    if let Some(raw) = selector["rawSelector"].as_str() {
        return raw.to_owned();
    }
    let requirements = selector["requirements"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let terms = requirements.iter().filter_map(|requirement| {
        let values = strings(&requirement["values"]);
        match (text(&requirement["operator"]), values.as_slice()) {
            ("In", [one]) => Some(format!("{}={one}", text(&requirement["key"]))),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

fn rules(authorizer: &Authorizer, user: &UserInfo, object: &Value) -> Result<Value, ApiError> {
    let namespace = text(&object["spec"]["namespace"]);
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (mut on_resources, mut on_paths) = (Vec::new(), Vec::new());
    let mut sort_in = |rule: &super::Rule| {
        if rule.resources.is_empty() {
            on_paths.push(rule.to_json());
        } else {
            on_resources.push(rule.to_json());
        }
    };
    if user.is_in("system:masters") {
        for rule in super::escalation::everything() {
            sort_in(&rule);
        }
    }
    let missing = authorizer.rbac.visit(user, namespace, &mut |_, _, rule| {
        sort_in(rule);
        false
    });
    let mut problems = missing;
    let is_node = super::node_name(user).is_some();
    if is_node {
        problems.push("node authorizer does not support user rule resolution".to_owned());
    }
    let mut status = json!({
        "resourceRules": on_resources,
        "nonResourceRules": on_paths,
        "incomplete": !problems.is_empty(),
    });
    if !problems.is_empty() {
        status["evaluationError"] = problems.join(", ").into();
    }
    Ok(status)
}
