"""The official Python client: https://pypi.org/project/kubernetes/"""

import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps, auth = client.CoreV1Api(), client.AppsV1Api(), client.AuthorizationV1Api()
assert client.VersionApi().get_code().git_version.startswith("v1.36")

# Typed objects: create, read, list, patch, replace, scale, delete.
labels = {"app": "web"}
made = apps.create_namespaced_deployment(
    "default",
    client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web", labels=labels),
        spec=client.V1DeploymentSpec(
            replicas=2,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[client.V1Container(name="web", image="web:1")]),
            ),
        ),
    ),
)
assert made.spec.strategy.rolling_update.max_surge == "25%", made.spec.strategy
assert [d.metadata.name for d in apps.list_deployment_for_all_namespaces(label_selector="app=web").items] == ["web"]
image = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}}
patched = apps.patch_namespaced_deployment("web", "default", image)
assert patched.spec.template.spec.containers[0].image == "web:2" and patched.metadata.generation == 2
scale = apps.read_namespaced_deployment_scale("web", "default")
scale.spec.replicas = 5
assert apps.replace_namespaced_deployment_scale("web", "default", scale).spec.replicas == 5
apps.delete_namespaced_deployment("web", "default", propagation_policy="Background")

# A watch that sees what happens after its list.
seen, begun = [], threading.Event()


def look():
    listed = core.list_namespaced_config_map("default")
    begun.set()
    stream = watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map,
        "default",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=20,
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            stream.stop()


looker = threading.Thread(target=look)
looker.start()
assert begun.wait(10)
config_map = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one"), data={"a": "1"})
core.create_namespaced_config_map("default", config_map)
core.patch_namespaced_config_map("one", "default", [{"op": "add", "path": "/data/b", "value": "2"}])
read = core.read_namespaced_config_map("one", "default")
assert read.data == {"a": "1", "b": "2"}, read.data
read.data["c"] = "3"
core.replace_namespaced_config_map("one", "default", read)
core.delete_namespaced_config_map("one", "default")
looker.join(20)
assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("MODIFIED", "one"), ("DELETED", "one")], seen

# Errors carry a Status.
try:
    core.read_namespaced_config_map("one", "default")
    raise AssertionError("it was deleted")
except ApiException as error:
    assert error.status == 404 and 'configmaps \\"one\\" not found' in error.body, error
try:
    core.replace_namespaced_config_map("one", "default", read)
    raise AssertionError("it was deleted")
except ApiException as error:
    assert error.status in (404, 409), error

# Pages.
for number in range(7):
    core.create_namespaced_secret("default", client.V1Secret(metadata=client.V1ObjectMeta(name=f"s{number}")))
names, token = [], None
while True:
    page = core.list_namespaced_secret("default", limit=3, _continue=token)
    names += [secret.metadata.name for secret in page.items]
    token = page.metadata._continue
    if not token:
        break
assert names == [f"s{number}" for number in range(7)], names
core.delete_collection_namespaced_secret("default")
assert core.list_namespaced_secret("default").items == []

# Reviews, and the client that reads discovery.
review = client.V1SelfSubjectAccessReview(
    spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(namespace="default", verb="create", resource="pods")
    )
)
assert auth.create_self_subject_access_review(review).status.allowed
any_client = dynamic.DynamicClient(client.ApiClient())
cron_jobs = any_client.resources.get(api_version="batch/v1", kind="CronJob")
body = {
    "metadata": {"name": "tick"},
    "spec": {
        "schedule": "* * * * *",
        "jobTemplate": {
            "spec": {
                "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "tick", "image": "tick:1"}]},
                }
            }
        },
    },
}
cron_jobs.create(body=body, namespace="default")
applied = cron_jobs.server_side_apply(
    body={"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": {"suspend": True}},
    name="tick",
    namespace="default",
    field_manager="python",
    force_conflicts=True,
)
assert applied.spec.suspend is True
cron_jobs.delete(name="tick", namespace="default")
print("fine")
