//! Resource quotas, as objects. Who counts them is `admission`; `quota_usage` is about what a controller writes down.

use serde_json::{Value, json};

use crate::server::Server;

fn quota(name: &str, cpu: &str, memory: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"suite": "quota"}}, "spec": {"hard": {"cpu": cpu, "memory": memory}}})
}

/// ResourceQuota, apply changes to a ResourceQuota status
#[test]
fn resourcequota_apply_changes_to_a_resourcequota_status() {
    let server = Server::alone();
    let quotas = server.at("v1", "resourcequotas").within("default");
    quotas.create(quota("e2e", "500m", "500Mi"));
    let hard = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let updated = quotas.edit("e2e/status", |object| object["status"]["hard"] = hard("500m", "500Mi"));
    assert_eq!(updated["status"]["hard"], updated["spec"]["hard"]);
    assert_eq!(quotas.get("e2e")["status"]["hard"], hard("500m", "500Mi"));
    let patched = quotas.patch("e2e", json!({"spec": {"hard": hard("1", "1Gi")}}));
    assert_eq!(patched["spec"]["hard"], hard("1", "1Gi"));
    let patched = quotas.patch("e2e/status", json!({"status": {"hard": hard("1", "1Gi")}}));
    assert_eq!(patched["status"]["hard"], patched["spec"]["hard"]);
    let read = quotas.get("e2e/status");
    assert_eq!(read["status"]["hard"], read["spec"]["hard"]);
    // A patch of the status that speaks of the spec, too, changes the status only.
    let again = json!({"spec": {"hard": hard("4", "4Gi")}, "status": {"hard": hard("2", "2Gi")}});
    let repatched = quotas.patch("e2e/status", again);
    assert_eq!(repatched["status"]["hard"], hard("2", "2Gi"));
    assert_eq!(quotas.get("e2e")["spec"]["hard"], hard("1", "1Gi"));
}

/// ResourceQuota, update and delete
#[test]
fn resourcequota_update_and_delete() {
    let server = Server::alone();
    let quotas = server.at("v1", "resourcequotas").within("default");
    let made = quotas.create(quota("test-quota", "1", "500Mi"));
    assert_eq!(made["spec"]["hard"], json!({"cpu": "1", "memory": "500Mi"}));
    quotas.edit("test-quota", |object| {
        object["spec"]["hard"] = json!({"cpu": "2", "memory": "1Gi"})
    });
    assert_eq!(
        quotas.get("test-quota")["spec"]["hard"],
        json!({"cpu": "2", "memory": "1Gi"})
    );
    quotas.delete("test-quota");
    quotas.absent("test-quota");
}

/// ResourceQuota, manage lifecycle of a ResourceQuota
#[test]
fn resourcequota_manage_lifecycle_of_a_resourcequota() {
    let server = Server::alone();
    let everywhere = server.at("v1", "resourcequotas");
    let quotas = everywhere.within("default");
    quotas.create(quota("e2e-quota", "500m", "500Mi"));
    assert_eq!(everywhere.names("labelSelector=suite%3Dquota"), ["e2e-quota"]);
    let patch = json!({"metadata": {"labels": {"e2e-quota": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}});
    quotas.strategic("e2e-quota", &patch);
    let seen = quotas.get("e2e-quota");
    assert_eq!(seen["metadata"]["labels"]["e2e-quota"], "patched");
    assert_eq!(seen["spec"]["hard"], json!({"cpu": "500m", "memory": "750Mi"}));
    quotas.create(quota("other", "1", "1Gi"));
    quotas.delete_collection("labelSelector=e2e-quota%3Dpatched");
    assert_eq!(everywhere.names(""), ["other"]);
}
