//! What upstream checks of Services, rule by rule.

use serde_json::{Value, json};

use super::*;

fn said(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// A good Service with other things in its spec; null takes a field away.
fn service(change: Value) -> Value {
    let mut object = json!({"metadata": {"name": "web"}, "spec": {
        "type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}});
    for (field, value) in change.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object["spec"]
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    object
}

fn balancer(change: Value) -> Value {
    let mut object = service(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster",
        "allocateLoadBalancerNodePorts": true}));
    for (field, value) in change.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object["spec"]
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    object
}

#[test]
fn every_rule_of_a_service_has_upstreams_words() {
    let external = json!({"type": "ExternalName", "externalName": "a.b.", "clusterIP": null, "clusterIPs": null,
        "ipFamilies": null, "ipFamilyPolicy": null, "internalTrafficPolicy": null, "ports": null});
    let of_external = |change: Value| {
        let mut all = external.clone();
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        service(all)
    };
    let port = |change: Value| {
        let mut port = json!({"port": 80, "protocol": "TCP", "targetPort": 80});
        port.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        service(json!({"ports": [port]}))
    };
    let only_balancer = "may only be used when `type` is 'LoadBalancer'";
    let table: Vec<(Value, Vec<String>)> = vec![
        (service(json!({})), vec![]),
        (balancer(json!({})), vec![]),
        (service(external.clone()), vec![]),
        (service(json!({"ports": null})), vec!["spec.ports: Required value".into()]),
        (service(json!({"ports": null, "clusterIP": "None", "clusterIPs": ["None"]})), vec![]),
        (
            balancer(json!({"clusterIP": "None", "clusterIPs": ["None"]})),
            vec!["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services".into()],
        ),
        (
            of_external(json!({"clusterIPs": ["10.0.0.1"], "ipFamilyPolicy": "SingleStack", "externalName": null})),
            vec![
                "spec.clusterIPs: Forbidden: may not be set for ExternalName services".into(),
                "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services".into(),
                "spec.externalName: Required value".into(),
            ],
        ),
        (
            service(json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 80, "protocol": "TCP", "targetPort": "80", "name": "a"}]})),
            vec![
                "spec.ports[0].name: Required value".into(),
                "spec.ports[1].targetPort: Invalid value: \"80\": must contain at least one letter (a-z)".into(),
                "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}".into(),
            ],
        ),
        (
            port(json!({"port": 0, "protocol": "X", "targetPort": 70000, "nodePort": 30000, "appProtocol": "a/b/c"})),
            vec![
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive".into(),
                "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"".into(),
                "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive".into(),
                "spec.ports[0].appProtocol: Invalid value: \"a/b/c\": a qualified name must consist of".into(),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'".into(),
            ],
        ),
        (
            service(json!({"sessionAffinity": "Cookie"})),
            vec!["spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\"".into()],
        ),
        (
            service(json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}})),
            vec!["spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None".into()],
        ),
        (
            service(json!({"sessionAffinity": "ClientIP"})),
            vec!["spec.sessionAffinityConfig: Required value: when session affinity type is ClientIP".into()],
        ),
        (
            service(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}})),
            vec!["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400".into()],
        ),
        (
            service(json!({"clusterIPs": ["10.0.0.2"]})),
            vec!["spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`".into()],
        ),
        (
            service(json!({"clusterIP": null})),
            vec!["spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified".into()],
        ),
        (
            service(json!({"clusterIP": "None", "clusterIPs": ["None", "10.0.0.1"]})),
            vec!["spec.clusterIPs: Invalid value: [\"None\",\"10.0.0.1\"]: 'None' must be the first and only value".into()],
        ),
        (
            service(json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "fd00::2", "10.0.0.1"]})),
            vec![
                "spec.clusterIPs: Invalid value: [\"fd00::1\",\"fd00::2\",\"10.0.0.1\"]: may only hold up to 2 values".into(),
                "spec.clusterIPs: Invalid value: [\"fd00::1\",\"fd00::2\",\"10.0.0.1\"]: may specify no more than one IP for each IP family".into(),
                "spec.clusterIPs[0]: Invalid value: \"fd00::1\": expected an IPv4 value as indicated by `ipFamilies[0]`".into(),
            ],
        ),
        (
            service(json!({"clusterIP": "10.0.0.01", "clusterIPs": ["10.0.0.01"]})),
            vec!["spec.clusterIPs[0]: Invalid value: \"10.0.0.01\": must not have leading 0s".into()],
        ),
        (
            service(json!({"ipFamilies": ["IPv5", "IPv5"], "ipFamilyPolicy": "Many"})),
            vec![
                "spec.ipFamilies[0]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"".into(),
                "spec.ipFamilies[1]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"".into(),
                "spec.ipFamilies[1]: Duplicate value: \"IPv5\"".into(),
                "spec.ipFamilyPolicy: Unsupported value: \"Many\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"".into(),
            ],
        ),
        (
            service(json!({"externalIPs": ["127.0.0.1", "x"], "externalTrafficPolicy": "Cluster"})),
            vec![
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)".into(),
                "spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into(),
            ],
        ),
        (
            service(json!({"loadBalancerSourceRanges": ["10.0.0.0/8"], "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a",
                "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000})),
            vec![
                format!("spec.LoadBalancerSourceRanges: Forbidden: {only_balancer}"),
                format!("spec.allocateLoadBalancerNodePorts: Forbidden: {only_balancer}"),
                format!("spec.loadBalancerClass: Forbidden: {only_balancer}"),
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services".into(),
                "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'".into(),
            ],
        ),
        (
            balancer(json!({"loadBalancerSourceRanges": [" 10.0.0.0/8 ", "10.1.1.1/8"], "allocateLoadBalancerNodePorts": null,
                "externalTrafficPolicy": "Local"})),
            vec![
                "spec.LoadBalancerSourceRanges[1]: Invalid value: \"10.1.1.1/8\": must not have bits set beyond the prefix length".into(),
                "allocateLoadBalancerNodePorts: Required value".into(),
                "spec.healthCheckNodePort: Required value".into(),
            ],
        ),
        (
            service(json!({"internalTrafficPolicy": "Near", "trafficDistribution": "Far"})),
            vec![
                "spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"".into(),
                "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"".into(),
            ],
        ),
    ];
    for (object, expected) in table {
        let words = said(&Services.validate(&object));
        assert_eq!(words.len(), expected.len(), "{object}: {words:#?}");
        for (word, expected) in words.iter().zip(&expected) {
            assert!(word.starts_with(expected.as_str()), "{word}\nis not\n{expected}");
        }
    }
}

#[test]
fn what_was_given_out_does_not_change() {
    let words = |new: &Value, old: &Value| said(&Services.validate_update(new, old));
    let old = service(json!({}));
    let moved = service(json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}));
    assert_eq!(
        words(&moved, &old),
        ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]
    );
    let class = |class: &str| balancer(json!({"loadBalancerClass": class}));
    assert_eq!(
        words(&class("a"), &class("b")),
        ["spec.loadBalancerClass: Invalid value: \"a\": may not change once set"]
    );
    let checked = |port: i64| balancer(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": port}));
    assert_eq!(
        words(&checked(30001), &checked(30000)),
        ["spec.healthCheckNodePort: Forbidden: field is immutable"]
    );
    let sloppy = service(json!({"externalIPs": ["010.0.0.1"], "externalTrafficPolicy": "Cluster"}));
    assert_eq!(words(&sloppy, &sloppy), Vec::<String>::new(), "what was there may stay");
    assert_eq!(words(&sloppy, &old).len(), 1);
}

#[test]
fn a_service_of_another_type_loses_what_only_the_old_one_had() {
    let context_user = crate::identity::UserInfo::new("u", &[]);
    let context = Context {
        now: Timestamp::UNIX_EPOCH,
        user: &context_user,
    };
    let old = balancer(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
        "ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30002}]}));
    let mut new = old.clone();
    new["spec"]["type"] = json!("ClusterIP");
    Services.prepare_update(&mut new, &old, &context);
    for field in [
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "allocateLoadBalancerNodePorts",
    ] {
        assert!(new["spec"].get(field).is_none(), "{field} is still there");
    }
    assert!(new["spec"]["ports"][0].get("nodePort").is_none());
    assert_eq!(Services.validate_update(&new, &old), []);
    let mut away = old.clone();
    away["spec"]["type"] = json!("ExternalName");
    away["spec"]["externalName"] = json!("a.b");
    Services.prepare_update(&mut away, &old, &context);
    assert!(away["spec"].get("clusterIPs").is_none() && away["spec"].get("ipFamilies").is_none());
    assert_eq!(Services.validate_update(&away, &old), []);
    // A manifest that knows nothing of what was given out.
    let mut again = balancer(
        json!({"externalTrafficPolicy": "Local", "clusterIP": null, "clusterIPs": null,
        "ports": [{"name": "a", "port": 81, "protocol": "TCP", "targetPort": 80}]}),
    );
    Services.prepare_update(&mut again, &old, &context);
    assert_eq!(again["spec"]["clusterIPs"], json!(["10.0.0.1"]));
    assert_eq!(again["spec"]["ports"][0]["nodePort"], 30002);
    assert_eq!(again["spec"]["healthCheckNodePort"], 30001);
}

#[test]
fn only_load_balancers_show_where_they_are() {
    let shown = |object: Value, status: Value| {
        let mut new = object;
        new["status"] = json!({"loadBalancer": {"ingress": status}});
        said(&Services.validate_status_update(&new, &Value::Null))
    };
    assert_eq!(
        shown(service(json!({})), json!([{"ip": "1.2.3.4"}])),
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
    );
    let points = json!([{"ip": "1.2.3.4", "ipMode": "VIP"}, {"ip": "x", "ipMode": "Q"}, {"hostname": "1.2.3.4", "ipMode": "VIP"}, {"ip": "1.1.1.1"}]);
    assert_eq!(
        shown(balancer(json!({})), points),
        [
            "status.loadBalancer.ingress[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.loadBalancer.ingress[1].ipMode: Unsupported value: \"Q\": supported values: \"Proxy\", \"VIP\"",
            "status.loadBalancer.ingress[2].ipMode: Forbidden: may not be specified when `ip` is not set",
            "status.loadBalancer.ingress[2].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
            "status.loadBalancer.ingress[3].ipMode: Required value: must be specified when `ip` is set",
        ]
    );
}
