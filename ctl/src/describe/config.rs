//! Namespaces and what they hold: config maps, secrets, accounts, quotas, limits.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::Related;
use super::page::Page;
use super::values::{list, quantities, some, text, text_map, time};

fn header(page: &mut Page, object: &Value) {
    page.field(0, "Name", text(object, "/metadata/name"));
    page.field(0, "Namespace", text(object, "/metadata/namespace"));
    page.labels("", "Labels", &object["metadata"]["labels"]);
    page.annotations("", &object["metadata"]["annotations"]);
}

pub(super) fn namespace(page: &mut Page, namespace: &Value, related: &Related) {
    page.field(0, "Name", text(namespace, "/metadata/name"));
    page.labels("", "Labels", &namespace["metadata"]["labels"]);
    page.annotations("", &namespace["metadata"]["annotations"]);
    page.field(0, "Status", text(namespace, "/status/phase"));
    let conditions = list(namespace, "/status/conditions");
    if !conditions.is_empty() {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        page.line(1, "----\t------\t------------------\t------\t-------");
        for condition in conditions {
            let cells = [
                text(condition, "/type").to_owned(),
                text(condition, "/status").to_owned(),
                time(condition, "/lastTransitionTime"),
                text(condition, "/reason").to_owned(),
                text(condition, "/message").to_owned(),
            ];
            page.line(1, cells.join("\t"));
        }
    }
    page.line(0, "");
    if related.quotas.is_empty() {
        page.line(0, "No resource quota.");
    } else {
        page.line(0, "Resource Quotas");
        for quota in &related.quotas {
            page.field(1, "Name", text(quota, "/metadata/name"));
            quota_scopes(page, quota, 1, "* ");
            page.line(1, "Resource\tUsed\tHard");
            page.line(1, "--------\t---\t---");
            quota_rows(page, quota, 1);
        }
    }
    page.line(0, "");
    if related.limit_ranges.is_empty() {
        page.line(0, "No LimitRange resource.");
        return;
    }
    page.line(0, "Resource Limits");
    page.line(0, format_args!(" {LIMIT_TITLES}"));
    page.line(0, format_args!(" {LIMIT_RULES}"));
    for range in &related.limit_ranges {
        limits(page, range, " ");
    }
}

fn quota_scopes(page: &mut Page, quota: &Value, level: usize, bullet: &str) {
    let mut scopes: Vec<&str> = list(quota, "/spec/scopes").iter().filter_map(Value::as_str).collect();
    if scopes.is_empty() {
        return;
    }
    scopes.sort_unstable();
    page.field(level, "Scopes", scopes.join(", "));
    for scope in scopes {
        let help = match scope {
            "Terminating" => {
                "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being actively terminated by the system."
            }
            "NotTerminating" => {
                "Matches all pods that do not have an active deadline. These pods usually include long running pods whose container command is not expected to terminate."
            }
            "BestEffort" => {
                "Matches all pods that do not have resource requirements set. These pods have a best effort quality of service."
            }
            "NotBestEffort" => {
                "Matches all pods that have at least one resource requirement set. These pods have a burstable or guaranteed quality of service."
            }
            _ => continue,
        };
        page.line(level, format_args!("{bullet}{help}"));
    }
}

fn quota_rows(page: &mut Page, quota: &Value, level: usize) {
    for (resource, hard) in quantities(&quota["status"]["hard"]) {
        let used = &quota["status"]["used"][&resource];
        let used = some(used, "").unwrap_or_else(|| "0".to_owned());
        page.line(level, format_args!("{resource}\t{used}\t{hard}"));
    }
}

pub(super) fn quota(page: &mut Page, quota: &Value) {
    page.field(0, "Name", text(quota, "/metadata/name"));
    page.field(0, "Namespace", text(quota, "/metadata/namespace"));
    quota_scopes(page, quota, 0, " * ");
    page.line(0, "Resource\tUsed\tHard");
    page.line(0, "--------\t----\t----");
    quota_rows(page, quota, 0);
}

const LIMIT_TITLES: &str = "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio";
const LIMIT_RULES: &str = "----\t--------\t---\t---\t---------------\t-------------\t-----------------------";

pub(super) fn limit_range(page: &mut Page, range: &Value) {
    page.field(0, "Name", text(range, "/metadata/name"));
    page.field(0, "Namespace", text(range, "/metadata/namespace"));
    page.line(0, LIMIT_TITLES);
    page.line(0, LIMIT_RULES);
    limits(page, range, "");
}

fn limits(page: &mut Page, range: &Value, prefix: &str) {
    const FIELDS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    for item in list(range, "/spec/limits") {
        let resources: BTreeSet<&String> = FIELDS
            .iter()
            .filter_map(|field| item[field].as_object())
            .flat_map(serde_json::Map::keys)
            .collect();
        for resource in resources {
            let amounts: Vec<String> = FIELDS
                .iter()
                .map(|field| some(&item[field][resource.as_str()], "").unwrap_or_else(|| "-".to_owned()))
                .collect();
            page.line(
                0,
                format_args!("{prefix}{}\t{resource}\t{}", text(item, "/type"), amounts.join("\t")),
            );
        }
    }
}

pub(super) fn config_map(page: &mut Page, object: &Value) {
    header(page, object);
    page.put("\nData\n====\n");
    for (key, value) in text_map(&object["data"]) {
        page.put(format_args!("{key}:\n----\n{value}\n\n"));
    }
    page.put("\nBinaryData\n====\n");
    for (key, value) in text_map(&object["binaryData"]) {
        page.line(0, format_args!("{key}: {} bytes", decoded(value).len()));
    }
    page.line(0, "");
}

fn decoded(value: &str) -> Vec<u8> {
    BASE64.decode(value).unwrap_or_default()
}

pub(super) fn secret(page: &mut Page, secret: &Value) {
    header(page, secret);
    let kind = text(secret, "/type");
    page.put(format_args!("\nType:\t{kind}\n\nData\n====\n"));
    for (key, value) in text_map(&secret["data"]) {
        let bytes = decoded(value);
        if key == "token" && kind == "kubernetes.io/service-account-token" {
            page.field(0, key, String::from_utf8_lossy(&bytes));
        } else {
            page.field(0, key, format_args!("{} bytes", bytes.len()));
        }
    }
}

pub(super) fn service_account(page: &mut Page, account: &Value) {
    header(page, account);
    const TITLE: &str = "Image pull secrets:";
    let secrets = list(account, "/imagePullSecrets");
    if secrets.is_empty() {
        page.line(0, format_args!("{TITLE}\t<none>"));
    }
    for (index, secret) in secrets.iter().enumerate() {
        let title = if index == 0 {
            TITLE.to_owned()
        } else {
            " ".repeat(TITLE.len())
        };
        page.line(0, format_args!("{title}\t{}", text(secret, "/name")));
    }
}
