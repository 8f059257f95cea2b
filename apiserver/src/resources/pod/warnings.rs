//! What is allowed in a pod and most likely not meant, as upstream's `pkg/api/pod/warnings.go` tells it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{Path, names};

use super::super::value::{at, entries, has, int, list, text};
use super::super::warnings::{ip, node_label, node_selector_term};

/// Warnings for a pod.
pub(super) fn pod(pod: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let wrong = names::label(text(at(pod, "metadata"), "name"), false);
    if !wrong.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
    warnings.extend(template(pod, &Path::root()));
    warnings
}

/// Warnings for a pod template at `path`.
pub(crate) fn template(template: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let (metadata, spec) = (at(template, "metadata"), at(template, "spec"));
    let (at_metadata, at_spec) = (path.child("metadata"), path.child("spec"));
    node_labels(spec, &at_spec, &mut warnings);
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = at_spec.child("topologySpreadConstraints").index(index);
        let key = text(constraint, "topologyKey");
        if let Some(words) = node_label(key) {
            warnings.push(format!("{}: {key} is {words}", path.child("topologyKey")));
        }
        no_selector(constraint, &path, &mut warnings);
    }
    annotations(metadata, &at_metadata, &mut warnings);
    volumes(spec, &at_spec.child("volumes"), &mut warnings);
    super::overlaps::overlaps(spec, &mut warnings);
    token_paths(spec, &at_spec.child("volumes"), &mut warnings);
    repeated(spec, "hostAliases", "ip", &at_spec, &mut warnings);
    repeated(spec, "imagePullSecrets", "name", &at_spec, &mut warnings);
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            let path = at_spec.child("imagePullSecrets").index(index).child("name");
            warnings.push(format!("{path}: invalid empty name \"\""));
        }
    }
    addresses(spec, &at_spec, &mut warnings);
    fractions(at(spec, "overhead"), &at_spec.child("overhead"), &mut warnings);
    profiles(metadata, spec, &at_metadata.child("annotations"), &mut warnings);
    for (container, path) in containers(spec, &at_spec) {
        let resources = at(container, "resources");
        for kind in ["limits", "requests"] {
            let path = path.child("resources").child(kind);
            fractions(at(resources, kind), &path, &mut warnings);
        }
        hidden_variables(container, &path, &mut warnings);
    }
    ports(spec, &at_spec, &mut warnings);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let path = at_spec.child("terminationGracePeriodSeconds");
        warnings.push(format!(
            "{path}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    pod_affinity(at(spec, "affinity"), &at_spec.child("affinity"), &mut warnings);
    warnings
}

/// Warns of what a claim asks for and no volume can have.
pub(crate) fn claim_spec(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for kind in ["requests", "limits"] {
        let path = path.child("resources").child(kind);
        fraction(at(at(spec, "resources"), kind), "storage", &path, &mut warnings);
    }
    warnings
}

/// The containers of all three kinds, and where they stand.
fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| {
            let path = path.child(field);
            let all = list(spec, field).iter().enumerate();
            all.map(move |(index, container)| (container, path.index(index)))
        })
        .collect()
}

fn node_labels(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some(words) = node_label(key) {
            warnings.push(format!("{}: {words}", path.child("nodeSelector").key(key)));
        }
    }
    let (affinity, path) = (
        at(at(spec, "affinity"), "nodeAffinity"),
        path.child("affinity").child("nodeAffinity"),
    );
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = list(at(affinity, required), "nodeSelectorTerms");
    for (index, term) in terms.iter().enumerate() {
        let path = path.child(required).child("nodeSelectorTerms").index(index);
        node_selector_term(term, &path, warnings);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (index, term) in list(affinity, preferred).iter().enumerate() {
        let path = path.child(preferred).index(index).child("preference");
        node_selector_term(at(term, "preference"), &path, warnings);
    }
}

fn no_selector(term: &Value, path: &Path, warnings: &mut Vec<String>) {
    if !has(term, "labelSelector") {
        warnings.push(format!(
            "{}: a null labelSelector results in matching no pod",
            path.child("labelSelector")
        ));
    }
}

fn annotations(metadata: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (key, words) in [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/unsafe-sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
    ] {
        if at(metadata, "annotations").get(key).is_some() {
            warnings.push(format!("{}: {words}", path.child("annotations").key(key)));
        }
    }
}

/// Volume types that nothing serves any more.
const GONE: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn volumes(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(index);
        volume_source(volume, &path, warnings);
        let claim = at(at(volume, "ephemeral"), "volumeClaimTemplate");
        let path = path.child("ephemeral").child("volumeClaimTemplate").child("spec");
        warnings.extend(claim_spec(at(claim, "spec"), &path));
    }
}

/// Warns of volume types that nothing serves any more, in a pod's volume or in a persistent volume's spec.
pub(crate) fn volume_source(source: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (kind, words) in GONE {
        if has(source, kind) {
            // Upstream writes this one in its own capitals.
            let shown = if kind == "storageos" { "storageOS" } else { kind };
            warnings.push(format!("{}: {words}", path.child(shown)));
        }
    }
}

/// Files that would take the place of a projected service-account token.
fn token_paths(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let sources = || {
        let volumes = list(spec, "volumes").iter().enumerate();
        volumes.flat_map(|(index, volume)| {
            let sources = list(at(volume, "projected"), "sources").iter();
            sources.map(move |source| (index, source))
        })
    };
    let tokens: BTreeSet<&str> = sources()
        .filter(|(_, source)| has(source, "serviceAccountToken"))
        .map(|(_, source)| text(at(source, "serviceAccountToken"), "path"))
        .collect();
    for (index, source) in sources() {
        let path = path.index(index).child("projected").child("sources");
        let mut say = |path: &Path, file: &str| {
            if tokens.contains(file) {
                warnings.push(format!(
                    "{path}: has duplicated path with ServiceAccountToken \"{file}\""
                ));
            }
        };
        for (kind, shown) in [
            ("configMap", "configMap"),
            ("secret", "secrets"),
            ("downwardAPI", "downwardAPI"),
        ] {
            for (index, item) in list(at(source, kind), "items").iter().enumerate() {
                say(&path.child(shown).index(index), text(item, "path"));
            }
        }
        let bundle = at(source, "clusterTrustBundle");
        if !bundle.is_null() {
            say(&path.child("ClusterTrustBundle"), text(bundle, "path"));
        }
    }
}

fn repeated(spec: &Value, field: &str, key: &str, path: &Path, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in list(spec, field).iter().enumerate() {
        let value = text(item, key);
        if !seen.insert(value) {
            let path = path.child(field).index(index).child(key);
            warnings.push(format!("{path}: duplicate {key} \"{value}\""));
        }
    }
}

fn addresses(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(index).child("ip");
        warnings.extend(ip(text(alias, "ip"), &path));
    }
    let servers = list(at(spec, "dnsConfig"), "nameservers");
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("dnsConfig").child("nameservers").index(index);
        warnings.extend(ip(server, &path));
    }
}

fn fractions(amounts: &Value, path: &Path, warnings: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage"] {
        fraction(amounts, resource, path, warnings);
    }
}

/// There is no part of a byte.
fn fraction(amounts: &Value, resource: &str, path: &Path, warnings: &mut Vec<String>) {
    let Ok(amount) = Quantity::parse(text(amounts, resource)) else {
        return;
    };
    if amount.millis() % 1000 != 0 {
        let path = path.key(resource);
        warnings.push(format!(
            "{path}: fractional byte value \"{amount}\" is invalid, must be an integer"
        ));
    }
}

/// Annotations whose fields are not set.
fn profiles(metadata: &Value, spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let given = at(metadata, "annotations");
    let own = at(spec, "securityContext");
    let mut say = |key: String, words: &str| {
        if given.get(&key).is_some() {
            warnings.push(format!("{}: {words}", path.key(&key)));
        }
    };
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if !has(own, "seccompProfile") {
        say("seccomp.security.alpha.kubernetes.io/pod".to_owned(), seccomp);
    }
    for (container, _) in containers(spec, path) {
        let (context, name) = (at(container, "securityContext"), text(container, "name"));
        if !has(context, "seccompProfile") {
            say(
                format!("container.seccomp.security.alpha.kubernetes.io/{name}"),
                seccomp,
            );
        }
        if !has(own, "appArmorProfile") && !has(context, "appArmorProfile") {
            let words = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            say(format!("container.apparmor.security.beta.kubernetes.io/{name}"), words);
        }
    }
}

/// A variable that is set again without being built on: apply merges by name and would lose the first.
fn hidden_variables(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        let reference = format!("$({name})");
        let builds_on_it = !has(variable, "valueFrom") && value.contains(&reference) && value != reference;
        if !seen.insert(name) && !builds_on_it {
            let path = path.child("env").index(index);
            warnings.push(format!(
                "{path}: hides previous definition of \"{name}\", which may be dropped when using apply"
            ));
        }
    }
}

fn ports(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut all: BTreeMap<(i64, &str), Vec<(Path, &Value)>> = BTreeMap::new();
    for (container, path) in containers(spec, path) {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let path = path.child("ports").index(index);
            let (number, protocol) = (int(port, "containerPort").unwrap_or(0), text(port, "protocol"));
            let (host, host_ip) = (int(port, "hostPort").unwrap_or(0), text(port, "hostIP"));
            if !host_ip.is_empty() && host == 0 {
                warnings.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{host_ip}}}",
                    text(port, "name")
                ));
            }
            let others = all.entry((number, protocol)).or_default();
            for (place, other) in &*others {
                let (its_host, its_ip) = (int(other, "hostPort").unwrap_or(0), text(other, "hostIP"));
                let kind = if (host, host_ip) == (its_host, its_ip) {
                    "duplicate"
                } else if host == 0 || its_host == 0 {
                    "overlapping"
                } else if host == its_host && host_ip.is_empty() != its_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{path}: {kind} port definition with {place}"));
            }
            others.push((path, port));
        }
    }
}

fn pod_affinity(affinity: &Value, path: &Path, warnings: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (terms, path) = (at(affinity, kind), path.child(kind));
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in list(terms, required).iter().enumerate() {
            no_selector(term, &path.child(required).index(index), warnings);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in list(terms, preferred).iter().enumerate() {
            let path = path.child(preferred).index(index).child("podAffinityTerm");
            no_selector(at(term, "podAffinityTerm"), &path, warnings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_clean_pod_gets_no_warnings() {
        let clean = json!({
            "metadata": {"name": "a"},
            "spec": {
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "containers": [{
                    "name": "c", "env": [{"name": "A", "value": "a"}, {"name": "A", "value": "$(A)b"}],
                    "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}],
                    "resources": {"limits": {"memory": "1Gi", "cpu": "100m"}},
                }],
            },
        });
        assert_eq!(pod(&clean), Vec::<String>::new());
    }

    #[test]
    fn warnings_are_told_in_upstreams_words() {
        let odd = json!({
            "metadata": {"name": "a.b", "annotations": {
                "scheduler.alpha.kubernetes.io/critical-pod": "", "container.seccomp.security.alpha.kubernetes.io/c": "x",
            }},
            "spec": {
                "nodeSelector": {"beta.kubernetes.io/os": "linux"},
                "terminationGracePeriodSeconds": -1,
                "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
                "hostAliases": [{"ip": "010.0.0.1"}, {"ip": "010.0.0.1"}],
                "imagePullSecrets": [{"name": ""}],
                "volumes": [{"name": "g", "gitRepo": {}}],
                "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {}}]}},
                "containers": [{
                    "name": "c", "env": [{"name": "A", "value": "a"}, {"name": "A", "value": "b"}],
                    "ports": [
                        {"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"},
                        {"containerPort": 81, "protocol": "TCP", "hostPort": 1},
                        {"containerPort": 81, "protocol": "TCP", "hostPort": 1, "hostIP": "10.0.0.1"},
                    ],
                    "resources": {"limits": {"memory": "100m"}},
                }],
            },
        });
        let odd_ip = "non-standard IP address \"010.0.0.1\" will be considered invalid in a future Kubernetes release: use \"10.0.0.1\"";
        let said = pod(&odd);
        assert!(said[0].starts_with("metadata.name: this is used in the Pod's hostname, which can result in"));
        assert_eq!(
            said[1..],
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.hostAliases[1].ip: duplicate ip \"010.0.0.1\"",
                "spec.imagePullSecrets[0].name: invalid empty name \"\"",
                &format!("spec.hostAliases[0].ip: {odd_ip}"),
                &format!("spec.hostAliases[1].ip: {odd_ip}"),
                "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].ports[3]: dangerously ambiguous port definition with spec.containers[0].ports[2]",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
            ]
        );
        let in_a_template = template(
            &json!({"spec": {"nodeSelector": {"beta.kubernetes.io/arch": ""}}}),
            &Path::new("spec").child("template"),
        );
        assert_eq!(
            in_a_template,
            [
                "spec.template.spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use \"kubernetes.io/arch\" instead"
            ]
        );
    }
}
