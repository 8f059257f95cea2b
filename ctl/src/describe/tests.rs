//! Pages from fixed objects. Each was compared with the real kubectl 1.36 on the same object.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

#[track_caller]
fn check(group: &str, object: &Value, related: &Related, expected: &Expect) {
    let kind = object["kind"].as_str().unwrap();
    expected.assert_eq(&describe(group, kind, object, related));
}

fn at(now: &str) -> Related {
    Related {
        now: now.parse().unwrap(),
        ..Related::default()
    }
}

#[test]
fn a_pod_shows_its_containers_volumes_and_events() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "web-1", "namespace": "demo", "labels": {"app": "web", "a": "b"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": true}]},
        "spec": {"nodeName": "node-1", "serviceAccountName": "default", "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "containers": [{"name": "main", "image": "demo:1", "command": ["sh", "-c", "sleep 1"],
                "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}],
                "env": [{"name": "A", "value": "1"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "k"}}}],
                "resources": {"requests": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "volumeMounts": [{"name": "e", "mountPath": "/e"}]}],
            "volumes": [{"name": "e", "emptyDir": {}}]},
        "status": {"phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}], "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{"name": "main", "containerID": "containerd://x", "imageID": "y", "ready": false, "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {}}]}});
    let events = vec![
        json!({"type": "Warning", "reason": "BackOff", "message": "Back-off restarting\n", "count": 5,
        "firstTimestamp": "2026-11-21T12:00:00Z", "lastTimestamp": "2026-11-21T12:04:00Z", "source": {"component": "kubelet"},
        "involvedObject": {"fieldPath": "spec.containers{main}"}}),
    ];
    let related = Related {
        events: Some(events),
        ..at("2026-11-21T12:05:00Z")
    };
    check(
        "",
        &pod,
        &related,
        &expect![[r#"
        Name:             web-1
        Namespace:        demo
        Service Account:  default
        Node:             node-1/10.0.0.1
        Labels:           a=b
                          app=web
        Annotations:      <none>
        Status:           Running
        IP:               10.1.0.1
        IPs:
          IP:           10.1.0.1
        Controlled By:  ReplicaSet/web
        Containers:
          main:
            Container ID:  containerd://x
            Image:         demo:1
            Image ID:      y
            Port:          80/TCP (http)
            Host Port:     0/TCP (http)
            Command:
              sh
              -c
              sleep 1
            State:          Waiting
              Reason:       CrashLoopBackOff
            Ready:          False
            Restart Count:  4
            Requests:
              cpu:     100m
            Liveness:  http-get http://:80/healthz delay=0s timeout=1s period=10s successThreshold=1 failureThreshold=3
            Environment:
              A:  1
              S:  <set to the key 'k' in secret 'sec'>  Optional: false
            Mounts:
              /e from e (rw)
        Conditions:
          Type    Status
          Ready   False 
        Volumes:
          e:
            Type:        EmptyDir (a temporary directory that shares a pod's lifetime)
            Medium:      
            SizeLimit:   <unset>
        QoS Class:       Burstable
        Node-Selectors:  <none>
        Tolerations:     k:NoExecute op=Exists for 300s
        Events:
          Type     Reason   Age               From     Message
          ----     ------   ----              ----     -------
          Warning  BackOff  60s (x5 over 5m)  kubelet  spec.containers{main}: Back-off restarting
    "#]],
    );
}

#[test]
fn a_service_names_three_endpoints_and_counts_the_rest() {
    let service = json!({"kind": "Service", "metadata": {"name": "web", "namespace": "demo"}, "spec": {"selector": {"app": "web"}, "type": "ClusterIP",
        "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"], "sessionAffinity": "None",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]}});
    let endpoints: Vec<Value> = (1..6)
        .map(|i| json!({"addresses": [format!("10.1.0.{i}")], "conditions": {"ready": i != 2}}))
        .collect();
    let related = Related {
        slices: vec![json!({"ports": [{"name": "", "port": 8080}], "endpoints": endpoints})],
        events: Some(Vec::new()),
        ..Related::default()
    };
    check(
        "",
        &service,
        &related,
        &expect![[r#"
        Name:              web
        Namespace:         demo
        Labels:            <none>
        Annotations:       <none>
        Selector:          app=web
        Type:              ClusterIP
        IP Families:       IPv4
        IP:                10.96.0.5
        IPs:               10.96.0.5
        Port:              <unset>  80/TCP
        TargetPort:        8080/TCP
        Endpoints:         10.1.0.1:8080,10.1.0.3:8080,10.1.0.4:8080 + 1 more...
        Session Affinity:  None
        Events:            <none>
    "#]],
    );
}

#[test]
fn rules_stand_in_the_order_of_their_verbs() {
    let role = json!({"kind": "Role", "metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["watch"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["x"], "verbs": ["get"]}]});
    check(
        "rbac.authorization.k8s.io",
        &role,
        &Related::default(),
        &expect![[r#"
        Name:         r
        Labels:       <none>
        Annotations:  <none>
        PolicyRule:
          Resources         Non-Resource URLs  Resource Names  Verbs
          ---------         -----------------  --------------  -----
          pods              []                 []              [get list watch]
          pods/log          []                 []              [get list]
          deployments.apps  []                 [x]             [get]
    "#]],
    );
}

#[test]
fn a_kind_without_a_page_of_its_own_shows_all_fields() {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "node-1", "namespace": "kube-node-lease", "uid": "u"},
        "spec": {"holderIdentity": "node-1", "leaseDurationSeconds": 40}});
    check(
        "coordination.k8s.io",
        &lease,
        &Related::default(),
        &expect![[r#"
        Name:         node-1
        Namespace:    kube-node-lease
        Labels:       <none>
        Annotations:  <none>
        API Version:  coordination.k8s.io/v1
        Kind:         Lease
        Metadata:
          UID:  u
        Spec:
          Holder Identity:         node-1
          Lease Duration Seconds:  40
    "#]],
    );
}
