//! Validation of claims: which devices somebody asks for, and what he was given.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::common::{immutable, one_of, wrong};
use super::super::conditions::conditions;
use super::super::node_selector::node_selector;
use super::super::value::{at, has, int, list, text};
use super::parts::{self, MANY, fits, unique};

const ALTERNATIVES: usize = 8;
const RESERVED: usize = 256;
const CONDITIONS: usize = 8;
const ADDRESSES: usize = 16;

/// The requests of a claim by name, each with its alternatives.
type Requests<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn requests(spec: &Value) -> Requests<'_> {
    let all = list(at(spec, "devices"), "requests").iter();
    all.map(|request| {
        let alternatives = list(request, "firstAvailable").iter().map(|sub| text(sub, "name"));
        (text(request, "name"), alternatives.collect())
    })
    .collect()
}

/// Checks a `ResourceClaimSpec`.
pub(super) fn spec(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (devices, path, known) = (at(spec, "devices"), path.child("devices"), requests(spec));
    let (all, at_requests) = (list(devices, "requests"), path.child("requests"));
    if fits(all, MANY, &at_requests, errors) {
        for (index, one) in all.iter().enumerate() {
            request(one, &at_requests.index(index), errors);
        }
        unique(all.iter().map(|one| text(one, "name")), &at_requests, errors);
    }
    let (all, at_constraints) = (list(devices, "constraints"), path.child("constraints"));
    if fits(all, MANY, &at_constraints, errors) {
        for (index, one) in all.iter().enumerate() {
            constraint(one, &known, &at_constraints.index(index), errors);
        }
    }
    let (all, at_config) = (list(devices, "config"), path.child("config"));
    if fits(all, MANY, &at_config, errors) {
        for (index, config) in all.iter().enumerate() {
            let path = at_config.index(index);
            references(config, &known, &path, errors);
            parts::configuration(config, false, &path, errors);
        }
    }
}

fn request(request: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    parts::label(request, "name", path, errors);
    let alternatives = list(request, "firstAvailable");
    match (!alternatives.is_empty(), has(request, "exactly")) {
        (false, false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path, detail));
        }
        (true, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        (false, true) => demand(at(request, "exactly"), &path.child("exactly"), errors),
        (true, false) => {
            let path = path.child("firstAvailable");
            if fits(alternatives, ALTERNATIVES, &path, errors) {
                for (index, one) in alternatives.iter().enumerate() {
                    parts::label(one, "name", &path.index(index), errors);
                    demand(one, &path.index(index), errors);
                }
                unique(alternatives.iter().map(|one| text(one, "name")), &path, errors);
            }
        }
    }
}

/// What exact requests and alternatives have in common.
fn demand(demand: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (class, at_class) = (text(demand, "deviceClassName"), path.child("deviceClassName"));
    if class.is_empty() {
        errors.push(FieldError::required(&at_class, ""));
    } else {
        wrong(&at_class, class, timonel_api::names::subdomain(class, false), errors);
    }
    parts::selectors(demand, false, path, errors);
    let count = int(demand, "count").unwrap_or(0);
    match text(demand, "allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&path.child("count"), count, detail));
        }
        "ExactCount" if count <= 0 => {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(&path.child("count"), count, detail));
        }
        "All" | "ExactCount" => {}
        other => errors.push(FieldError::not_supported(
            &path.child("allocationMode"),
            other,
            &["All", "ExactCount"],
        )),
    }
    parts::tolerations(demand, path, errors);
}

fn constraint(constraint: &Value, known: &Requests<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    references(constraint, known, path, errors);
    let given = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find(|field| has(constraint, field));
    match given {
        Some(field) => parts::fully_qualified(text(constraint, field), &path.child(field), errors),
        None => errors.push(FieldError::required(
            path,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        )),
    }
}

/// Checks the list of requests that something is about.
fn references(object: &Value, known: &Requests<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let (all, path) = (list(object, "requests"), path.child("requests"));
    if fits(all, MANY, &path, errors) {
        for (index, name) in all.iter().filter_map(Value::as_str).enumerate() {
            reference(name, known, &path.index(index), errors);
        }
        unique(all.iter().filter_map(Value::as_str), &path, errors);
    }
}

fn reference(name: &str, known: &Requests<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    const UNKNOWN: &str =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let segments: Vec<&str> = name.split('/').collect();
    if let [request, rest @ ..] = segments.as_slice()
        && rest.len() < 2
    {
        for segment in &segments {
            wrong(path, segment, timonel_api::names::label(segment, false), errors);
        }
        let found = known.get(request);
        if found.is_some_and(|alternatives| rest.iter().all(|name| alternatives.contains(name))) {
            return;
        }
    }
    errors.push(FieldError::invalid(path, name, UNKNOWN));
}

/// The device that a result or a status is about, as upstream prints it.
fn device_id(device: &Value) -> String {
    let mut id = ["driver", "pool", "device"].map(|field| text(device, field)).join("/");
    if has(device, "shareID") {
        id = format!("{id}/{}", text(device, "shareID"));
    }
    id
}

/// Checks an update of a `ResourceClaimStatus`.
pub(super) fn status(new: &Value, old: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("status"), Vec::new());
    let terminating = has(at(new, "metadata"), "deletionTimestamp");
    let known = requests(at(new, "spec"));
    let (status, before) = (at(new, "status"), at(old, "status"));
    let (reserved, at_reserved) = (list(status, "reservedFor"), path.child("reservedFor"));
    if fits(reserved, RESERVED, &at_reserved, &mut errors) {
        for (index, consumer) in reserved.iter().enumerate() {
            for field in ["resource", "name", "uid"] {
                if text(consumer, field).is_empty() {
                    errors.push(FieldError::required(&at_reserved.index(index).child(field), ""));
                }
            }
        }
        unique(
            reserved.iter().map(|consumer| text(consumer, "uid")),
            &at_reserved,
            &mut errors,
        );
    }
    let allocation = at(status, "allocation");
    let results = list(at(allocation, "devices"), "results");
    let allocated: BTreeSet<String> = results.iter().map(device_id).collect();
    let mut seen = BTreeSet::new();
    for (index, device) in list(status, "devices").iter().enumerate() {
        let path = path.child("devices").index(index);
        let id = device_id(device);
        device_status(device, &path, &mut errors);
        let mut refuse = |mut error: FieldError| {
            error.value = Some(id.clone());
            errors.push(error);
        };
        if !allocated.contains(&id) {
            refuse(FieldError::invalid(
                &path,
                "",
                "must be an allocated device in the claim",
            ));
        }
        if seen.contains(&id) {
            refuse(FieldError::duplicate(&path, ""));
        }
        seen.insert(id);
    }
    if !reserved.is_empty() && allocation.is_null() {
        let detail = "may not be specified when `allocated` is not set";
        errors.push(FieldError::forbidden(&at_reserved, detail));
    } else if terminating && reserved.iter().any(|one| !list(before, "reservedFor").contains(one)) {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(FieldError::forbidden(&at_reserved, detail));
    }
    if has(before, "allocation") && !allocation.is_null() {
        immutable(status, before, "allocation", &path, &mut errors);
    } else if !allocation.is_null() {
        self::allocation(allocation, &known, &path.child("allocation"), &mut errors);
    }
    errors
}

fn device_status(device: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    parts::driver(text(device, "driver"), &path.child("driver"), errors);
    parts::pool(text(device, "pool"), &path.child("pool"), errors);
    parts::label(device, "device", path, errors);
    if has(device, "shareID") {
        parts::uid(text(device, "shareID"), &path.child("shareID"), errors);
    }
    fits(
        list(device, "conditions"),
        CONDITIONS,
        &path.child("conditions"),
        errors,
    );
    conditions(device, path, errors);
    if has(device, "data") {
        parts::raw(at(device, "data"), false, &path.child("data"), errors);
    }
    let (network, path) = (at(device, "networkData"), path.child("networkData"));
    for (field, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if text(network, field).len() > max {
            errors.push(FieldError::too_long(&path.child(field), max));
        }
    }
    let (ips, path) = (list(network, "ips"), path.child("ips"));
    if fits(ips, ADDRESSES, &path, errors) {
        for (index, ip) in ips.iter().filter_map(Value::as_str).enumerate() {
            interface_address(ip, &path.index(index), errors);
        }
        unique(ips.iter().filter_map(Value::as_str), &path, errors);
    }
}

/// Checks an address with the length of its prefix, in the one form that it has.
fn interface_address(text: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let Ok(net) = text.parse::<ipnet::IpNet>() else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        errors.push(FieldError::invalid(path, text, detail));
        return;
    };
    if net.to_string() != text {
        let detail = format!("must be in canonical form (\"{net}\")");
        errors.push(FieldError::invalid(path, text, detail));
    }
}

fn allocation(allocation: &Value, known: &Requests<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let (devices, at_devices) = (at(allocation, "devices"), path.child("devices"));
    let (results, at_results) = (list(devices, "results"), at_devices.child("results"));
    if fits(results, MANY, &at_results, errors) {
        for (index, result) in results.iter().enumerate() {
            let path = at_results.index(index);
            reference(text(result, "request"), known, &path.child("request"), errors);
            parts::driver(text(result, "driver"), &path.child("driver"), errors);
            parts::pool(text(result, "pool"), &path.child("pool"), errors);
            parts::label(result, "device", &path, errors);
            parts::binding_conditions(result, &path, errors);
            parts::tolerations(result, &path, errors);
            if has(result, "shareID") {
                parts::uid(text(result, "shareID"), &path.child("shareID"), errors);
            }
        }
    }
    let (configs, at_configs) = (list(devices, "config"), at_devices.child("config"));
    if fits(configs, 2 * MANY, &at_configs, errors) {
        for (index, config) in configs.iter().enumerate() {
            let path = at_configs.index(index);
            one_of(config, "source", &["FromClaim", "FromClass"], &path, errors);
            references(config, known, &path, errors);
            parts::configuration(config, false, &path, errors);
        }
    }
    if has(allocation, "nodeSelector") {
        let path = path.child("nodeSelector");
        node_selector(at(allocation, "nodeSelector"), &path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn of(devices: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        spec(&json!({"devices": devices}), &Path::new("spec"), &mut errors);
        said(&errors)
    }

    #[test]
    fn a_claim_asks_for_devices_of_a_class() {
        let exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
        let sub = json!({"name": "small", "deviceClassName": "gpu", "allocationMode": "All"});
        let good = json!({
            "requests": [{"name": "a", "exactly": exactly}, {"name": "b", "firstAvailable": [sub]}],
            "constraints": [{"requests": ["a", "b/small"], "matchAttribute": "example.com/model"}],
            "config": [{"requests": ["b"], "opaque": {"driver": "example.com", "parameters": {}}}],
        });
        assert_eq!(of(&good), Vec::<String>::new());
        let bad = json!({
            "requests": [
                {"name": "a", "exactly": exactly, "firstAvailable": [sub]}, {"name": "a"},
                {"name": "c", "exactly": {"allocationMode": "All", "count": 2, "selectors": [{}, {"cel": {"expression": "x".repeat(10_241)}}],
                    "tolerations": [{"operator": "Exists", "value": "v"}, {"effect": "Explode"}]}},
                {"name": "d", "exactly": {"deviceClassName": "x", "allocationMode": "ExactCount", "count": 0}},
                {"name": "e", "exactly": {"deviceClassName": "x", "allocationMode": "Some"}}],
            "constraints": [{"requests": ["a", "z", "c/x", "a/b/c", "a"]}],
            "config": [{}, {"opaque": {"driver": "", "parameters": 5}}],
        });
        let missing =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let at = "spec.devices.requests";
        assert_eq!(
            of(&bad),
            [
                format!("{at}[0]: Invalid value: \"null\": exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"),
                format!("{at}[1]: Required value: exactly one of `exactly` or `firstAvailable` is required"),
                format!("{at}[2].exactly.deviceClassName: Required value"),
                format!("{at}[2].exactly.selectors[0].cel: Required value"),
                format!("{at}[2].exactly.selectors[1].cel.expression: Too long: may not be more than 10240 bytes"),
                format!("{at}[2].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'"),
                format!("{at}[2].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`"),
                format!("{at}[2].exactly.tolerations[1].operator: Required value"),
                format!("{at}[2].exactly.tolerations[1].effect: Unsupported value: \"Explode\": supported values: \"NoExecute\", \"NoSchedule\", \"None\""),
                format!("{at}[3].exactly.count: Invalid value: 0: must be greater than zero"),
                format!("{at}[4].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\""),
                format!("{at}[1]: Duplicate value: \"a\""),
                format!("spec.devices.constraints[0].requests[1]: Invalid value: \"z\": {missing}"),
                format!("spec.devices.constraints[0].requests[2]: Invalid value: \"c/x\": {missing}"),
                format!("spec.devices.constraints[0].requests[3]: Invalid value: \"a/b/c\": {missing}"),
                "spec.devices.constraints[0].requests[4]: Duplicate value: \"a\"".to_owned(),
                "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set".to_owned(),
                "spec.devices.config[0].opaque: Required value".to_owned(),
                "spec.devices.config[1].opaque.driver: Required value".to_owned(),
                "spec.devices.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object".to_owned(),
            ]
        );
        let many = vec![json!({"name": "a"}); 33];
        assert_eq!(
            of(&json!({"requests": many})),
            [format!("{at}: Too many: 33: must have at most 32 items")]
        );
    }

    #[test]
    fn a_claim_is_reserved_once_it_is_allocated() {
        let spec = json!({"devices": {"requests": [{"name": "a"}]}});
        let result = json!({"request": "a", "driver": "d.io", "pool": "p", "device": "x"});
        let allocation = json!({"devices": {"results": [result]}});
        let pod = json!({"resource": "pods", "name": "p", "uid": "1"});
        let claim = |status: Value| json!({"metadata": {}, "spec": spec, "status": status});
        let allocated = claim(json!({"allocation": allocation, "reservedFor": [pod]}));
        assert_eq!(status(&allocated, &claim(json!({}))), []);
        assert_eq!(
            said(&status(
                &claim(json!({"reservedFor": [pod, {"uid": "1"}]})),
                &claim(json!({}))
            )),
            [
                "status.reservedFor[1].resource: Required value",
                "status.reservedFor[1].name: Required value",
                "status.reservedFor[1]: Duplicate value: \"1\"",
                "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            ]
        );
        let mut terminating = allocated.clone();
        terminating["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let before = claim(json!({"allocation": allocation}));
        assert_eq!(
            said(&status(&terminating, &before)),
            [
                "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            ]
        );
        let mut other = allocated;
        other["status"]["allocation"]["devices"]["results"][0]["device"] = json!("y");
        other["status"]["devices"] = json!([{"driver": "d.io", "pool": "p", "device": "x", "networkData": {"ips": ["10.0.0.1/24", "nonsense"]}}]);
        let said = said(&status(&other, &before));
        assert!(said[0].starts_with(
            "status.devices[0].networkData.ips[1]: Invalid value: \"nonsense\": must be a valid address in CIDR form"
        ));
        assert_eq!(
            said[1],
            "status.devices[0]: Invalid value: d.io/p/x: must be an allocated device in the claim"
        );
        assert!(said[2].ends_with("field is immutable"));
    }
}
