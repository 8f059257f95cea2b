//! IPAddresses and ServiceCIDRs.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::{immutable, reference, wrong};
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, ensure, has, list, set, text};

/// `ipaddresses.networking.k8s.io`.
pub(crate) struct IpAddresses;

impl Strategy for IpAddresses {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        match name.parse::<IpAddr>() {
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
            Ok(address) if address.to_string() != name => vec!["must be a canonical format IP address".to_owned()],
            Ok(_) => Vec::new(),
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, mut errors) = (Path::new("spec").child("parentRef"), Vec::new());
        let parent = at(at(object, "spec"), "parentRef");
        if parent.is_null() {
            errors.push(FieldError::required(&path, ""));
            return errors;
        }
        let group = text(parent, "group");
        if !group.is_empty() {
            wrong(&path.child("group"), group, names::subdomain(group, false), &mut errors);
        }
        reference(parent, "resource", &path, &mut errors);
        reference(parent, "name", &path, &mut errors);
        let namespace = text(parent, "namespace");
        if !namespace.is_empty() {
            let sentences = names::path_segment(namespace, false);
            wrong(&path.child("namespace"), namespace, sentences, &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        let path = Path::new("spec");
        immutable(at(new, "spec"), at(old, "spec"), "parentRef", &path, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("ParentRef")];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let parent = at(at(object, "spec"), "parentRef");
        let parts = ["resource", "namespace", "name"].map(|field| text(parent, field));
        vec![
            name(object),
            json!(
                parts
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("/")
            ),
        ]
    }
}

/// `servicecidrs.networking.k8s.io`.
pub(crate) struct ServiceCidrs;

/// Keeps a ServiceCIDR while addresses of it are in use.
pub(crate) const SERVICE_CIDR_FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// Whether addresses may be taken from a ServiceCIDR. One that nobody has judged yet is ready, as upstream has it.
pub(crate) fn is_ready_service_cidr(object: &Value) -> bool {
    let conditions = list(at(object, "status"), "conditions");
    let judged = conditions.iter().find(|condition| text(condition, "type") == "Ready");
    !has(at(object, "metadata"), "deletionTimestamp") && judged.is_none_or(|ready| text(ready, "status") == "True")
}

/// Gives a ServiceCIDR its finalizer and its first condition. Upstream's controller does it a moment after creation.
pub(crate) fn adopt_service_cidr(object: &mut Value, now: Timestamp) {
    let default = text(at(object, "metadata"), "name") == "kubernetes";
    if let Some(metadata) = ensure(object, "metadata") {
        let mut finalizers = list(metadata, "finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == SERVICE_CIDR_FINALIZER) {
            finalizers.push(json!(SERVICE_CIDR_FINALIZER));
            set(metadata, "finalizers", finalizers);
        }
    }
    let message = match default {
        true => "Kubernetes default Service CIDR is ready",
        false => "Kubernetes Service CIDR is ready",
    };
    if let Some(status) = ensure(object, "status")
        && list(status, "conditions").is_empty()
    {
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "", "message": message,
            "lastTransitionTime": crate::registry::meta_time(now),
        });
        set(status, "conditions", json!([ready]));
    }
}

impl Strategy for ServiceCidrs {
    fn has_generation(&self) -> bool {
        false
    }

    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        adopt_service_cidr(object, context.now);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, mut errors) = (Path::new("spec").child("cidrs"), Vec::new());
        let cidrs = list(at(object, "spec"), "cidrs");
        let texts: Vec<&str> = cidrs.iter().filter_map(Value::as_str).collect();
        let parsed: Vec<Option<IpNet>> = texts.iter().map(|text| text.parse().ok()).collect();
        let refuse = |detail: &str| FieldError::invalid(&path, cidrs.to_vec(), detail);
        match parsed[..] {
            [] => errors.push(FieldError::required(&path, "at least one CIDR required")),
            [Some(first), Some(second)] if first.addr().is_ipv4() == second.addr().is_ipv4() => errors.push(refuse(
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            )),
            [_, _, _, ..] => errors.push(refuse("may only hold up to 2 values")),
            _ => {}
        }
        for (index, (text, parsed)) in texts.iter().zip(parsed).enumerate() {
            let path = path.index(index);
            let refuse = |detail: String| FieldError::invalid(&path, *text, detail);
            match parsed {
                None => errors.push(refuse(
                    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned(),
                )),
                Some(net) if net.addr() != net.network() => {
                    errors.push(refuse("must not have bits set beyond the prefix length".to_owned()));
                }
                Some(net) if net.to_string() != *text => {
                    errors.push(refuse(format!("must be in canonical form (\"{net}\")")));
                }
                Some(_) => {}
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        let (path, new, old) = (Path::new("spec"), at(new, "spec"), at(old, "spec"));
        // A range may get a second one of the other family; nothing else changes.
        let (now, before) = (list(new, "cidrs"), list(old, "cidrs"));
        if !(before.len() == 1 && now.len() == 2 && now.first() == before.first()) {
            immutable(new, old, "cidrs", &path, &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("CIDRs"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cidrs: Vec<&str> = list(at(object, "spec"), "cidrs")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        vec![name(object), json!(cidrs.join(",")), age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_are_written_in_one_way_and_do_not_change() {
        let range = |cidrs: &[&str]| json!({"spec": {"cidrs": cidrs}});
        let wrong = |cidrs: &[&str]| said(&ServiceCidrs.validate(&range(cidrs)));
        assert_eq!(wrong(&["10.0.0.0/24", "fd00::/64"]), Vec::<String>::new());
        assert_eq!(wrong(&[]), ["spec.cidrs: Required value: at least one CIDR required"]);
        assert_eq!(
            wrong(&["10.0.0.1/24"]),
            ["spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length"]
        );
        assert!(wrong(&["10.0.0.0/24", "10.1.0.0/24"])[0].contains("no more than one IP for each IP family"));
        let changed = |now: &[&str]| said(&ServiceCidrs.validate_update(&range(now), &range(&["10.0.0.0/24"])));
        assert_eq!(changed(&["10.0.0.0/24", "fd00::/64"]), Vec::<String>::new());
        assert_eq!(
            changed(&["10.0.0.0/25"]),
            ["spec.cidrs: Invalid value: [\"10.0.0.0/25\"]: field is immutable"]
        );
    }

    #[test]
    fn an_address_is_named_after_itself() {
        assert_eq!(IpAddresses.validate_name("10.0.0.1", false), Vec::<String>::new());
        assert_eq!(
            IpAddresses.validate_name("2001:DB8::1", false),
            ["must be a canonical format IP address"]
        );
        assert!(!IpAddresses.validate_name("web", false).is_empty());
        assert_eq!(
            said(&IpAddresses.validate(&json!({"spec": {"parentRef": {"name": "a"}}}))),
            ["spec.parentRef.resource: Required value"]
        );
    }
}
