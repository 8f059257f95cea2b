//! A Service's cluster addresses and IP families: `clusterIP` and `clusterIPs` say the same, and neither changes once it is set.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::super::common::{any_of, wrong};
use super::super::super::ip;
use super::super::super::value::{at, has, list, remove, set, text};
use super::is_headless;

/// The policies by which a Service gets addresses of one family or of two.
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const CHANGED: &str = "may not change once set";

fn is_ipv6(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6())
}

/// Checks `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`, which a Service without addresses has been asked for before.
pub(crate) fn cluster_ips(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let path = Path::new("spec");
    let (ips, at_ips) = (list(spec, "clusterIPs"), path.child("clusterIPs"));
    let first = text(spec, "clusterIP");
    match (first.is_empty(), ips.first()) {
        (false, None) => errors.push(FieldError::required(&at_ips, "")),
        (false, Some(ip)) if ip != first => {
            errors.push(FieldError::invalid(
                &at_ips,
                ips.to_vec(),
                "first value must match `clusterIP`",
            ));
        }
        (true, Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(&at_ips, ips.to_vec(), detail));
        }
        _ => {}
    }
    families(spec, &path, errors);
    let mut readable = true;
    for (index, ip) in ips.iter().enumerate() {
        let text = ip.as_str().unwrap_or("");
        if index == 0 && text == "None" {
            if ips.len() > 1 {
                readable = false;
                let detail = "'None' must be the first and only value";
                errors.push(FieldError::invalid(&at_ips, ips.to_vec(), detail));
            }
            continue;
        }
        let sentences = ip::address(text);
        if !sentences.is_empty() && !list(old, "clusterIPs").contains(ip) {
            readable = false;
            wrong(&at_ips.index(index), text, sentences, errors);
        }
    }
    if ips.len() > 2 {
        errors.push(FieldError::invalid(
            &at_ips,
            ips.to_vec(),
            "may only hold up to 2 values",
        ));
    }
    if readable {
        two_families(spec, ips, &at_ips, errors);
    }
}

fn families(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (path_families, mut seen) = (path.child("ipFamilies"), BTreeSet::new());
    for (index, family) in list(spec, "ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        let path = path_families.index(index);
        if !["IPv4", "IPv6"].contains(&family) {
            errors.push(FieldError::not_supported(&path, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(family) {
            errors.push(FieldError::duplicate(&path, family));
        }
    }
    any_of(spec, "ipFamilyPolicy", &POLICIES, path, errors);
}

fn two_families(spec: &Value, ips: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    let texts: Vec<&str> = ips.iter().filter_map(Value::as_str).collect();
    let sixes = texts.iter().filter(|text| is_ipv6(text)).count();
    if texts.len() > 1 && !(texts.len() == 2 && sixes == 1) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, ips.to_vec(), detail));
    }
    if is_headless(spec) {
        return;
    }
    for (index, (text, family)) in texts.iter().zip(list(spec, "ipFamilies")).enumerate() {
        let expected = match family.as_str() {
            Some("IPv4") if is_ipv6(text) => "IPv4",
            Some("IPv6") if !is_ipv6(text) => "IPv6",
            _ => continue,
        };
        let detail = format!("expected an {expected} value as indicated by `ipFamilies[{index}]`");
        errors.push(FieldError::invalid(&path.index(index), *text, detail));
    }
}

/// Brings `clusterIP` and `clusterIPs` together, where a client knows only one of them or changes one.
pub(super) fn normalise(new: &mut Value, old: Option<&Value>) {
    let single = text(new, "clusterIP").to_owned();
    let Some(old) = old else {
        if !single.is_empty() && list(new, "clusterIPs").is_empty() {
            set(new, "clusterIPs", json!([single]));
        }
        return;
    };
    let had = text(old, "clusterIP");
    if !list(old, "clusterIPs").is_empty() && list(new, "clusterIPs").is_empty() && had == single {
        set(new, "clusterIPs", at(old, "clusterIPs").clone());
    }
    if had == single || list(old, "clusterIPs") != list(new, "clusterIPs") {
        return;
    }
    if !had.is_empty() && single.is_empty() {
        remove(new, "clusterIPs");
    } else {
        set(new, "clusterIPs", json!([single]));
    }
}

/// Checks that addresses and families stay: a second one may come and go, the first does not change.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if [new, old].iter().any(|spec| text(spec, "type") == "ExternalName") {
        return;
    }
    let headless = (is_headless(new), is_headless(old));
    if headless != (true, true) {
        stays(new, old, "clusterIPs", "clusterIP", errors);
    }
    if headless == (false, false) {
        stays(new, old, "ipFamilies", "ipFamily", errors);
    }
}

fn stays(new: &Value, old: &Value, field: &str, one: &str, errors: &mut Vec<FieldError>) {
    let path = Path::new("spec").child(field);
    let (now, before) = (list(new, field), list(old, field));
    let shown = at(new, field).clone();
    if now.len() == before.len() {
        for index in (0..now.len()).filter(|index| now[*index] != before[*index]) {
            // Upstream counts addresses and always names the first family.
            let index = if one == "clusterIP" { index } else { 0 };
            errors.push(FieldError::invalid(&path.index(index), shown.clone(), CHANGED));
        }
        return;
    }
    if now.len() < before.len() && now.is_empty() {
        let detail = format!("primary {one} can not be unset");
        errors.push(FieldError::invalid(&path.index(0), shown.clone(), detail));
    }
    if let (Some(now), Some(before)) = (now.first(), before.first())
        && now != before
    {
        errors.push(FieldError::invalid(&path.index(0), shown, CHANGED));
    }
    if now.len() < before.len() && now.len() == 1 && text(new, "ipFamilyPolicy") != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        let value = if has(new, "ipFamilyPolicy") {
            at(new, "ipFamilyPolicy").clone()
        } else {
            Value::Null
        };
        errors.push(FieldError::invalid(
            &Path::new("spec").child("ipFamilyPolicy"),
            value,
            detail,
        ));
    }
}
