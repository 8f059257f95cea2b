//! Which families of addresses a Service has. This cluster gives out IPv4 addresses only; a headless Service without a selector
//! may say that it has both, for its endpoints are somebody else's.
//!
//! Rules: upstream's `initIPFamilyFields` (pkg/registry/core/service/storage).

use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::Target;
use crate::error::ApiError;
use crate::resources::{cluster_ips, is_headless};

fn list(spec: &Value, field: &str) -> Vec<Value> {
    spec[field].as_array().cloned().unwrap_or_default()
}

/// Completes `ipFamilies` and `ipFamilyPolicy`.
///
/// *Errors:* they contradict each other, or want what this cluster has not.
pub(super) fn settle(target: &Target, new: &mut Value, old: Option<&Value>) -> Result<(), ApiError> {
    let (spec, old) = (&mut new["spec"], old.map(|old| &old["spec"]));
    if !spec.is_object() || spec["type"] == "ExternalName" {
        return Ok(());
    }
    let refuse = |errors: Vec<FieldError>| match errors.is_empty() {
        true => Ok(()),
        false => Err(ApiError::invalid(target.qualified_kind(), target.name.as_str(), errors)),
    };
    let no_selector = spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    let open = is_headless(spec) && no_selector;
    if spec["ipFamilyPolicy"].is_null() {
        let before = old.map(|old| old["ipFamilyPolicy"].clone()).filter(|p| !p.is_null());
        let usual = if open { "RequireDualStack" } else { "SingleStack" };
        spec["ipFamilyPolicy"] = before.unwrap_or_else(|| json!(usual));
    }
    let mut errors = Vec::new();
    cluster_ips(spec, old.unwrap_or(&Value::Null), &mut errors);
    refuse(errors)?;
    refuse(agree(spec, old))?;
    if open {
        let mut families = list(spec, "ipFamilies");
        if families.is_empty() {
            families.push(json!("IPv4"));
        }
        if families.len() < 2 && spec["ipFamilyPolicy"] != "SingleStack" {
            let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
            families.push(json!(other));
        }
        spec["ipFamilies"] = families.into();
        return Ok(());
    }
    refuse(configured(spec))?;
    if list(spec, "ipFamilies").is_empty() {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    Ok(())
}

/// Brings policy, families and addresses together, and says where they contradict each other.
fn agree(spec: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("spec"), Vec::new());
    let at_policy = path.child("ipFamilyPolicy");
    let policy = spec["ipFamilyPolicy"].clone();
    let single = policy == "SingleStack";
    for (field, one, many) in [
        (
            "clusterIPs",
            "secondary cluster IP",
            "multiple cluster IPs are specified",
        ),
        (
            "ipFamilies",
            "secondary IP family",
            "multiple IP families are specified",
        ),
    ] {
        let now = list(spec, field);
        if let Some(before) = old.map(|old| list(old, field)) {
            if single && before == now && now.len() > 1 {
                spec[field] = json!([now[0]]);
            } else if !single && before.len() == 2 && now.len() == 1 {
                let detail = format!("must be 'SingleStack' to release the {one}");
                errors.push(FieldError::invalid(&at_policy, policy.clone(), detail));
            }
        }
        if single && list(spec, field).len() == 2 {
            let detail = format!("must be 'RequireDualStack' or 'PreferDualStack' when {many}");
            errors.push(FieldError::invalid(&at_policy, policy.clone(), detail));
        }
    }
    let ips = list(spec, "clusterIPs");
    for (index, ip) in ips.iter().filter_map(Value::as_str).enumerate() {
        if ip == "None" || index < list(spec, "ipFamilies").len() {
            continue;
        }
        if ip.contains(':') {
            let path = path.child("clusterIPs").index(index);
            errors.push(FieldError::invalid(
                &path,
                ips.clone(),
                "IPv6 is not configured on this cluster",
            ));
        } else {
            let mut families = list(spec, "ipFamilies");
            families.push(json!("IPv4"));
            spec["ipFamilies"] = families.into();
        }
    }
    errors
}

/// Says what this cluster has not.
fn configured(spec: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("spec"), Vec::new());
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(
            &path.child("ipFamilyPolicy"),
            "RequireDualStack",
            detail,
        ));
    }
    for (index, family) in list(spec, "ipFamilies").into_iter().enumerate() {
        if family != "IPv4" {
            let path = path.child("ipFamilies").index(index);
            errors.push(FieldError::invalid(&path, family, "not configured on this cluster"));
        }
    }
    errors
}
