"""kr8s: https://pypi.org/project/kr8s/"""

import threading

import kr8s
from kr8s.objects import ConfigMap, Deployment, Pod, ServiceAccount

api = kr8s.api()
assert api.version()["gitVersion"].startswith("v1.36")
assert any(resource["kind"] == "Deployment" for resource in api.api_resources())

seen, begun = [], threading.Event()


def look():
    begun.set()
    for kind, config_map in kr8s.watch("configmaps", namespace="default"):
        if config_map.name == "one":
            seen.append(kind)
        if kind == "DELETED":
            return


looker = threading.Thread(target=look, daemon=True)
looker.start()
assert begun.wait(10)

one = ConfigMap({"metadata": {"name": "one", "namespace": "default"}, "data": {"a": "1"}})
one.create()
assert one.exists()
assert [found.name for found in kr8s.get("configmaps", namespace="default")] == ["one"]
one.patch({"data": {"b": "2"}})
assert one.data == {"a": "1", "b": "2"}, one.data
one.label({"app": "one"})
assert [found.name for found in kr8s.get("configmaps", namespace="default", label_selector={"app": "one"})] == ["one"]
one.annotate({"note": "seen"})
one.delete()
one.wait("delete", timeout=10)
assert not one.exists()
looker.join(20)
# The watch may have begun after the first of them; it has seen the end, and nothing twice.
assert seen[-1] == "DELETED" and seen.count("ADDED") <= 1 and seen.count("DELETED") == 1, seen
assert set(seen) <= {"ADDED", "MODIFIED", "DELETED"}, seen

template = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
}
web = Deployment(
    {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
)
web.create()
# `scale` of kr8s waits for the replicas to be there, which nobody makes here.
web.patch({"spec": {"replicas": 4}}, subresource="scale")
web.refresh()
assert web.replicas == 4, web.replicas
web.delete()

# No controller runs here that would make it.
ServiceAccount({"metadata": {"name": "default", "namespace": "default"}}).create()
pod = Pod({"metadata": {"name": "p", "namespace": "default"}, "spec": template["spec"]})
pod.create()
assert pod.raw["status"]["phase"] == "Pending" and not pod.ready()
pod.delete()

try:
    ConfigMap.get("nothing", namespace="default")
    raise AssertionError("there is none")
except kr8s.NotFoundError:
    pass
print("fine")
