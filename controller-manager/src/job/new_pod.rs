//! A Job's pods, as they are created.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::facts::{INDEX, INDEX_FAILURES, INDEX_IGNORED, TRACKING};
use super::plan::NewPod;
use crate::owner;

/// The variable that tells a container its index.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// The API server adds five characters to a generated name, and 63 is all there is.
const GENERATED: usize = 58;

/// Makes a pod; the API server makes up the rest of its name.
pub(super) fn build(job: &Job, new: &NewPod) -> Pod {
    let name = owner::name(&job.metadata);
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let given = template.metadata.unwrap_or_default();
    let mut finalizers = given.finalizers.unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    let mut pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: job.metadata.namespace.clone(),
            labels: given.labels,
            annotations: given.annotations,
            finalizers: Some(finalizers),
            owner_references: Some(vec![owner::controller_reference(job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    let Some(index) = new.index else { return pod };
    let tail = format!("-{index}-");
    let head: String = name.chars().take(GENERATED - tail.len()).collect();
    pod.metadata.generate_name = Some(head + &tail);
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(INDEX.to_owned(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if let Some((counted, ignored)) = new.failures {
        annotations.insert(INDEX_FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(INDEX_IGNORED.to_owned(), ignored.to_string());
        }
    }
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(format!("{name}-{index}"));
        let containers = spec.containers.iter_mut();
        containers
            .chain(spec.init_containers.iter_mut().flatten())
            .for_each(tell_index);
    }
    pod
}

fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector {
        api_version: None,
        field_path: format!("metadata.labels['{INDEX}']"),
    };
    variables.push(EnvVar {
        name: VARIABLE.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(field),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_knows_its_index_in_every_way_that_upstream_tells_it() {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": "crunch", "namespace": "demo", "uid": "j"},
            "spec": {"template": {"metadata": {"labels": {"job-name": "crunch"}}, "spec": {"containers": [{"name": "c"}]}}},
        }))
        .unwrap();
        let pod = build(
            &job,
            &NewPod {
                index: Some(3),
                failures: Some((1, 2)),
            },
        );
        expect![[r#"
            {
              "apiVersion": "v1",
              "kind": "Pod",
              "metadata": {
                "annotations": {
                  "batch.kubernetes.io/job-completion-index": "3",
                  "batch.kubernetes.io/job-index-failure-count": "1",
                  "batch.kubernetes.io/job-index-ignored-failure-count": "2"
                },
                "finalizers": [
                  "batch.kubernetes.io/job-tracking"
                ],
                "generateName": "crunch-3-",
                "labels": {
                  "batch.kubernetes.io/job-completion-index": "3",
                  "job-name": "crunch"
                },
                "namespace": "demo",
                "ownerReferences": [
                  {
                    "apiVersion": "batch/v1",
                    "blockOwnerDeletion": true,
                    "controller": true,
                    "kind": "Job",
                    "name": "crunch",
                    "uid": "j"
                  }
                ]
              },
              "spec": {
                "containers": [
                  {
                    "env": [
                      {
                        "name": "JOB_COMPLETION_INDEX",
                        "valueFrom": {
                          "fieldRef": {
                            "fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"
                          }
                        }
                      }
                    ],
                    "name": "c"
                  }
                ],
                "hostname": "crunch-3"
              }
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&pod).unwrap());
    }
}
