//! Bugs of the controllers.

use http::Method;
use serde_json::{Value, json};

use super::{Bug, Deed};
use crate::sim::world::Component;

const fn bug(name: &'static str, scenario: &'static str) -> Bug {
    Bug::new(name, Component::Controllers, scenario)
}

/// Changes the spec of the objects of a resource, where it has one.
fn spec(path: &str, resource: &str, event: &mut Value, change: impl FnOnce(&mut Value)) {
    if path.ends_with(resource) && event["object"]["spec"].is_object() {
        change(&mut event["object"]["spec"]);
    }
}

fn pod(path: &str, event: &mut Value, change: impl FnOnce(&mut Value)) {
    if path.ends_with("/pods") && event["object"].is_object() {
        change(event);
    }
}

/// A share, rounded up where it should have been rounded down.
fn rounded_up(spec: &mut Value) {
    let replicas = spec["replicas"].as_u64().unwrap_or(1);
    let share = &mut spec["strategy"]["rollingUpdate"]["maxUnavailable"];
    let percent = share
        .as_str()
        .and_then(|share| share.trim_end_matches('%').parse::<u64>().ok());
    if let Some(percent) = percent {
        *share = json!((percent * replicas).div_ceil(100));
    }
}

fn counts_one_more(deed: &mut Deed, resource: &str, field: &str) {
    let count = deed.body["status"][field].as_u64().filter(|number| *number > 0);
    if let Some(number) = count.filter(|_| deed.path.contains(resource)) {
        deed.body["status"][field] = json!(number + 1);
    }
}

fn forget_revision(method: &Method, path: &str, answer: &mut Value, resource: &str) {
    if *method == Method::POST
        && path.ends_with(resource)
        && let Some(metadata) = answer["metadata"].as_object_mut()
    {
        metadata.remove("resourceVersion");
    }
}

pub(super) static BUGS: &[Bug] = &[
    bug("a Deployment ignores maxSurge", "rolling-update").sees(|path, event| {
        spec(path, "/deployments", event, |spec| {
            spec["strategy"]["rollingUpdate"]["maxSurge"] = json!("100%")
        });
    }),
    bug("a Deployment ignores maxUnavailable", "rolling-update").sees(|path, event| {
        spec(path, "/deployments", event, |spec| {
            spec["strategy"]["rollingUpdate"]["maxUnavailable"] = json!("100%");
        });
    }),
    bug("a share of what may be unavailable is rounded up", "percentages").sees(|path, event| {
        spec(path, "/deployments", event, rounded_up);
    }),
    bug("pods count as ready when they start", "rolling-update").sees(|path, event| {
        pod(path, event, |event| {
            let conditions = event["object"]["status"]["conditions"].as_array_mut();
            for condition in conditions.into_iter().flatten() {
                condition["status"] = json!("True");
            }
        });
    }),
    bug("pods that are being deleted count as available", "node-loss").sees(|path, event| {
        pod(path, event, |event| {
            if let Some(metadata) = event["object"]["metadata"].as_object_mut() {
                metadata.remove("deletionTimestamp");
            }
        });
    }),
    bug("a ReplicaSet does not wait to read its own writes", "scale")
        .hears(|method, path, answer| forget_revision(method, path, answer, "/pods"))
        .stale(3),
    bug("a Deployment goes on though it is paused", "pause").sees(|path, event| {
        spec(path, "/deployments", event, |spec| spec["paused"] = json!(false));
    }),
    bug("a Deployment keeps one old ReplicaSet too many", "rollback").sees(|path, event| {
        spec(path, "/deployments", event, |spec| {
            let limit = spec["revisionHistoryLimit"].as_u64().unwrap_or(10);
            spec["revisionHistoryLimit"] = json!(limit + 1);
        });
    }),
    bug("Recreate lets old and new pods overlap", "recreate").sees(|path, event| {
        spec(path, "/deployments", event, |spec| {
            spec["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        });
    }),
    bug(
        "a pod of an identity is made before the old one is gone",
        "statefulset-update",
    )
    .does(|deed| {
        if deed.is(&Method::DELETE, "pods/db-") {
            deed.body["gracePeriodSeconds"] = json!(0);
        }
    }),
    bug("a StatefulSet ignores its partition", "statefulset-update").sees(|path, event| {
        spec(path, "/statefulsets", event, |spec| {
            spec["updateStrategy"]["rollingUpdate"]["partition"] = json!(0);
        });
    }),
    bug("a StatefulSet starts its pods all at once", "statefulset-update").sees(|path, event| {
        spec(path, "/statefulsets", event, |spec| {
            spec["podManagementPolicy"] = json!("Parallel")
        });
    }),
    bug(
        "a DaemonSet makes a pod again that its cache does not show yet",
        "daemonset-update",
    )
    .hears(|method, path, answer| forget_revision(method, path, answer, "/pods"))
    .stale(3),
    bug("a DaemonSet forgets that daemons tolerate cordons", "daemonset-update").does(|deed| {
        if deed.is(&Method::POST, "pods") {
            deed.body["spec"]["tolerations"] = json!([]);
        }
    }),
    bug("a Job counts an index twice", "job-indexed").does(|deed| counts_one_more(deed, "/jobs/", "succeeded")),
    bug("a Job loses the finalizer of its pods", "job-with-failures").does(|deed| {
        if deed.is(&Method::POST, "pods")
            && let Some(metadata) = deed.body["metadata"].as_object_mut()
        {
            metadata.remove("finalizers");
        }
    }),
    bug("a Job knows no back-off limit", "job-with-failures").sees(|path, event| {
        spec(path, "/jobs", event, |spec| {
            if spec["backoffLimit"].is_u64() {
                spec["backoffLimit"] = json!(5);
            }
        });
    }),
    bug("a suspended Job runs", "job-indexed").sees(|path, event| {
        spec(path, "/jobs", event, |spec| spec["suspend"] = json!(false));
    }),
    bug("a CronJob keeps one Job too many", "cronjob").sees(|path, event| {
        spec(path, "/cronjobs", event, |spec| {
            let limit = spec["successfulJobsHistoryLimit"].as_u64().unwrap_or(3);
            spec["successfulJobsHistoryLimit"] = json!(limit + 1);
        });
    }),
    bug("a CronJob starts a Job beside one that it must not run with", "cronjob").sees(|path, event| {
        spec(path, "/cronjobs", event, |spec| {
            spec["concurrencyPolicy"] = json!("Allow")
        });
    }),
    bug("EndpointSlices list pods as ready that are not", "endpoints").does(|deed| {
        if deed.path.contains("/endpointslices") && deed.body["endpoints"].is_array() {
            let endpoints = deed.body["endpoints"].as_array_mut();
            for endpoint in endpoints.into_iter().flatten() {
                endpoint["conditions"]["ready"] = json!(true);
            }
        }
    }),
    bug("what a deleted pod used is not given back to the quota", "quota").does(|deed| {
        let hard = deed.body["status"]["hard"]["pods"].clone();
        if deed.path.contains("/resourcequotas/") && hard.is_string() {
            deed.body["status"]["used"]["pods"] = hard;
        }
    }),
    bug(
        "the garbage collector forgets the pods of what was deleted",
        "cascade-deletion",
    )
    .does(|deed| {
        if deed.is(&Method::DELETE, "pods/") {
            deed.undo();
        }
    }),
    bug("the garbage collector deletes what was to be orphaned", "orphans").does(|deed| {
        if deed.is(&Method::PATCH, "replicasets/") && deed.body.pointer("/metadata/ownerReferences").is_some() {
            deed.method = Method::DELETE;
            deed.body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        }
    }),
    bug(
        "a budget allows more disruptions than it has pods to spare",
        "drain-with-budget",
    )
    .does(|deed| {
        if deed.path.contains("/poddisruptionbudgets/") && deed.body["status"].is_object() {
            deed.body["status"]["disruptionsAllowed"] = json!(5);
        }
    }),
    bug("the binder gives a volume to two claims", "claim-binding").sees(|path, event| {
        spec(path, "/persistentvolumes", event, |spec| {
            if let Some(spec) = spec.as_object_mut() {
                spec.remove("claimRef");
            }
        });
        if path.ends_with("/persistentvolumes") {
            event["object"]["status"]["phase"] = json!("Available");
        }
    }),
    bug("pods of a lost node are not evicted", "node-loss").does(|deed| {
        if deed.is(&Method::DELETE, "pods/") {
            deed.undo();
        }
    }),
    bug("a node that is silent is believed to be well", "node-loss").does(|deed| {
        if deed.path.contains("/nodes/") {
            deed.undo();
        }
    }),
    bug("what is in a namespace outlives its deletion", "namespace-deletion").does(|deed| {
        if deed.is(&Method::DELETE, "namespaces/closing/") {
            deed.undo();
        }
    }),
];
