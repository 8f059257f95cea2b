//! Certificate signing requests: what somebody asks for, who decides and what was issued.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::prelude::FromDer;

use super::cells::{age, human_duration, name};
use super::strategy::{Column, Context, Strategy};
use super::value::{at, each, ensure, has, int, list, remove, set, text, within};

/// What may be asked of a certificate.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const SHORTEST: i64 = 600;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// The domain's, the path's and the whole name's.
const SIGNER_MAX: usize = 571;

/// `certificatesigningrequests.certificates.k8s.io`.
pub(super) struct CertificateSigningRequests;

impl Strategy for CertificateSigningRequests {
    fn has_generation(&self) -> bool {
        false
    }

    /// People and nodes name their requests as they like.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        // Who asks is what the server knows, never what the request says.
        let user = context.user;
        if let Some(spec) = ensure(object, "spec") {
            set(spec, "username", user.username.as_str());
            set(spec, "groups", json!(user.groups));
            for field in ["uid", "extra"] {
                remove(spec, field);
            }
            if !user.uid.is_empty() {
                set(spec, "uid", user.uid.as_str());
            }
            if !user.extra.is_empty() {
                set(spec, "extra", json!(user.extra));
            }
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        let spec = at(old, "spec").clone();
        set(new, "spec", spec);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value, context: &Context<'_>) {
        let now = crate::registry::meta_time(context.now);
        let before = list(at(old, "status"), "conditions");
        within(new, "status", |status| {
            each(status, "conditions", |condition| {
                if !has(condition, "lastUpdateTime") {
                    set(condition, "lastUpdateTime", now.as_str());
                }
                if has(condition, "lastTransitionTime") {
                    return;
                }
                let same = |other: &&Value| ["type", "status"].iter().all(|f| at(other, f) == at(condition, f));
                let since = before.iter().find(same).map(|other| text(other, "lastTransitionTime"));
                let since = since.filter(|since| !since.is_empty()).unwrap_or(&now).to_owned();
                set(condition, "lastTransitionTime", since);
            });
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        request(object, &Value::Null)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        update(new, old, Allowed::default())
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let allowed = Allowed {
            certificate: true,
            ..Allowed::default()
        };
        update(new, old, allowed)
    }

    fn validate_part_update(&self, part: &str, new: &Value, old: &Value) -> Vec<FieldError> {
        let allowed = Allowed {
            approval: part == "approval",
            ..Allowed::default()
        };
        update(new, old, allowed)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", text(at(object, "spec"), "signerName").to_owned())]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Age"),
            Column::new("SignerName"),
            Column::new("Requestor"),
            Column::new("RequestedDuration"),
            Column::new("Condition"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let mut words: Vec<&str> = DECISIONS
            .into_iter()
            .filter(|kind| !of_type(status, kind).is_empty())
            .collect();
        if words.is_empty() {
            words.push("Pending");
        }
        if !text(status, "certificate").is_empty() {
            words.push("Issued");
        }
        vec![
            name(object),
            age(object, now),
            json!(text(spec, "signerName")),
            json!(text(spec, "username")),
            json!(int(spec, "expirationSeconds").map_or_else(|| "<none>".to_owned(), human_duration)),
            json!(words.join(",")),
        ]
    }
}

/// Conditions that are never taken back, and never false.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];

/// What the door that an update came through lets it do.
#[derive(Clone, Copy, Default)]
struct Allowed {
    approval: bool,
    certificate: bool,
}

fn of_type<'a>(status: &'a Value, kind: &str) -> Vec<&'a Value> {
    let conditions = list(status, "conditions").iter();
    conditions.filter(|condition| text(condition, "type") == kind).collect()
}

/// Checks a request whole. What was wrong with the `old` one before is let be.
fn request(object: &Value, old: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let before = at(old, "spec");
    let given = text(spec, "request");
    if let Err(reason) = check_request(given) {
        errors.push(FieldError::invalid(&path.child("request"), given, reason));
    }
    let (usages, at_usages) = (list(spec, "usages"), path.child("usages"));
    if usages.is_empty() {
        errors.push(FieldError::required(&at_usages, ""));
    }
    let known = |usage: &Value| USAGES.iter().any(|known| usage == known);
    let mut seen = BTreeSet::new();
    let (spare_unknown, spare_twice) = (
        !list(before, "usages").iter().all(known),
        has_twice(list(before, "usages").iter().filter_map(Value::as_str)),
    );
    for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !known(usage)) {
        if !spare_unknown {
            errors.push(FieldError::not_supported(
                &at_usages.index(index),
                usage.clone(),
                &USAGES,
            ));
        }
    }
    for (index, usage) in usages.iter().filter_map(Value::as_str).enumerate() {
        if !seen.insert(usage) && !spare_twice {
            errors.push(FieldError::duplicate(&at_usages.index(index), usage));
        }
    }
    let (signer, at_signer) = (text(spec, "signerName"), path.child("signerName"));
    if signer == LEGACY_SIGNER && text(before, "signerName") != LEGACY_SIGNER {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(&at_signer, signer, detail));
    } else {
        signer_name(signer, &at_signer, &mut errors);
    }
    if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < SHORTEST) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
    conditions(at(object, "status"), at(old, "status"), &mut errors);
    let (certificate, stored) = (
        text(at(object, "status"), "certificate"),
        text(at(old, "status"), "certificate"),
    );
    if certificate != stored
        && check_certificate(stored).is_ok()
        && let Err(reason) = check_certificate(certificate)
    {
        let path = Path::new("status").child("certificate");
        errors.push(FieldError::invalid(&path, "<certificate data>", reason));
    }
    errors
}

fn has_twice<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = BTreeSet::new();
    names.any(|name| !seen.insert(name))
}

/// Checks the domain and the path of a signer's name.
fn signer_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let (domain, rest) = match name.split_once('/') {
        _ if name.is_empty() => {
            errors.push(FieldError::required(path, ""));
            return;
        }
        Some((domain, rest)) if !rest.contains('/') => (domain, rest),
        _ => {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(FieldError::invalid(path, name, detail));
            return;
        }
    };
    let mut labels = |segment: &str, check: fn(&str, bool) -> Vec<String>| {
        let wrong = segment.split('.').map(|label| (label, check(label, false)));
        // The further labels would say the same again.
        if let Some((label, sentences)) = wrong.into_iter().find(|(_, sentences)| !sentences.is_empty()) {
            for sentence in sentences {
                let detail = format!("validating label {label:?}: {sentence}");
                errors.push(FieldError::invalid(path, segment, detail));
            }
        }
    };
    if domain.len() <= names::SUBDOMAIN_MAX {
        labels(domain, names::label);
    }
    labels(rest, names::subdomain);
    if domain.len() > names::SUBDOMAIN_MAX {
        errors.push(FieldError::too_long(path, names::SUBDOMAIN_MAX));
    }
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, detail));
    }
    if name.len() > SIGNER_MAX {
        errors.push(FieldError::too_long(path, SIGNER_MAX));
    }
}

fn conditions(status: &Value, before: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("status").child("conditions");
    let types = list(before, "conditions")
        .iter()
        .map(|condition| text(condition, "type"));
    let spare_empty = types.clone().any(str::is_empty);
    let spare_twice = has_twice(types);
    let spare_both = ["Approved", "Denied"]
        .iter()
        .all(|kind| !of_type(before, kind).is_empty());
    let mut seen = BTreeSet::new();
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let path = path.index(index);
        let kind = text(condition, "type");
        if kind.is_empty() && !spare_empty {
            errors.push(FieldError::required(&path.child("type"), ""));
        }
        let statuses: &[&str] = if DECISIONS.contains(&kind) {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        super::common::one_of(condition, "status", statuses, &path, errors);
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !spare_both && !other.is_empty() && seen.contains(other) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("type"), kind, detail));
        }
        if !seen.insert(kind) && !spare_twice {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
    }
}

fn update(new: &Value, old: &Value, allowed: Allowed) -> Vec<FieldError> {
    let mut errors = request(new, old);
    let (status, before) = (at(new, "status"), at(old, "status"));
    let path = Path::new("status");
    let mut refuse = |field: &str, detail: String| errors.push(FieldError::forbidden(&path.child(field), detail));
    for kind in DECISIONS {
        if of_type(status, kind).len() < of_type(before, kind).len() {
            let detail = format!("updates may not remove a condition of type {kind:?}");
            refuse("conditions", detail);
        }
    }
    for kind in ["Approved", "Denied"].into_iter().filter(|_| !allowed.approval) {
        let (now, then) = (of_type(status, kind), of_type(before, kind));
        if now.len() > then.len() {
            refuse(
                "conditions",
                format!("updates may not add a condition of type {kind:?}"),
            );
        } else if now.len() == then.len() && now != then {
            refuse(
                "conditions",
                format!("updates may not modify a condition of type {kind:?}"),
            );
        }
    }
    let (certificate, stored) = (text(status, "certificate"), text(before, "certificate"));
    if certificate != stored {
        if !allowed.certificate {
            refuse("certificate", "updates may not set certificate content".to_owned());
        } else if !stored.is_empty() {
            let detail = "updates may not modify existing certificate content";
            refuse("certificate", detail.to_owned());
        }
    }
    errors
}

/// Reads a request as far as its signature, which must be made with the key that it is for.
fn check_request(base64: &str) -> Result<(), String> {
    const TYPE: &str = "PEM block type must be CERTIFICATE REQUEST";
    let text = STANDARD.decode(base64).unwrap_or_default();
    let (_, block) = parse_x509_pem(&text).map_err(|_| TYPE.to_owned())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(TYPE.to_owned());
    }
    let parsed = X509CertificationRequest::from_der(&block.contents);
    let (_, request) = parsed.map_err(|error| format!("x509: malformed certificate request: {error}"))?;
    let signed = request.verify_signature();
    signed.map_err(|error| format!("x509: the request's signature does not verify: {error}"))
}

/// Checks that there is nothing but certificates.
fn check_certificate(base64: &str) -> Result<(), String> {
    if base64.is_empty() {
        return Ok(());
    }
    let text = STANDARD.decode(base64).unwrap_or_default();
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&text).map_while(Result::ok) {
        if block.label != "CERTIFICATE" {
            return Err(format!(
                "only CERTIFICATE PEM blocks are allowed, found {:?}",
                block.label
            ));
        }
        let parsed = block.parse_x509();
        parsed.map_err(|error| format!("x509: malformed certificate: {error}"))?;
        blocks += 1;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn made() -> (Value, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["e2e.example.com".to_owned()]).unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let spec = json!({"request": STANDARD.encode(pem), "signerName": "example.com/e2e", "usages": ["client auth"]});
        (json!({"spec": spec}), STANDARD.encode(certificate))
    }

    fn with(object: &Value, status: Value) -> Value {
        let mut object = object.clone();
        object["status"] = status;
        object
    }

    #[test]
    fn a_request_is_signed_by_who_asks() {
        let (good, _) = made();
        assert_eq!(CertificateSigningRequests.validate(&good), []);
        let bad = json!({"spec": {"request": "", "usages": ["client auth", "client auth", "fun"], "signerName": "kubernetes.io/legacy-unknown", "expirationSeconds": 60}});
        let words = said(&CertificateSigningRequests.validate(&bad));
        assert_eq!(
            words[0],
            "spec.request: Invalid value: \"\": PEM block type must be CERTIFICATE REQUEST"
        );
        assert!(
            words[1]
                .starts_with("spec.usages[2]: Unsupported value: \"fun\": supported values: \"any\", \"cert sign\"")
        );
        assert_eq!(
            words[2..],
            [
                "spec.usages[1]: Duplicate value: \"client auth\"",
                "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
                "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 600 seconds (10 minutes)",
            ]
        );
        // One byte of the signature is another's.
        let mut forged = STANDARD.decode(text(&good["spec"], "request")).unwrap();
        let block = parse_x509_pem(&forged).unwrap().1;
        let mut der = block.contents;
        *der.last_mut().unwrap() ^= 1;
        let body = STANDARD.encode(&der);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        forged = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            lines.join("\n")
        )
        .into_bytes();
        let mut object = good;
        object["spec"]["request"] = json!(STANDARD.encode(forged));
        assert!(said(&CertificateSigningRequests.validate(&object))[0].contains("x509: "));
    }

    #[test]
    fn signers_have_a_domain_and_a_name() {
        let words = |name: &str| {
            let mut errors = Vec::new();
            signer_name(name, &Path::new("s"), &mut errors);
            said(&errors)
        };
        assert_eq!(words("example.com/a.b"), Vec::<String>::new());
        assert_eq!(words(""), ["s: Required value"]);
        let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        assert_eq!(words("a"), [format!("s: Invalid value: \"a\": {form}")]);
        assert_eq!(words("a.b/c/d"), [format!("s: Invalid value: \"a.b/c/d\": {form}")]);
        assert_eq!(
            words("a/b"),
            ["s: Invalid value: \"a\": should be a domain with at least two segments separated by dots"]
        );
        assert!(
            words("a.B/c")[0]
                .starts_with("s: Invalid value: \"a.B\": validating label \"B\": a lowercase RFC 1123 label")
        );
    }

    #[test]
    fn who_approves_does_not_sign_and_nobody_takes_back() {
        let requests = CertificateSigningRequests;
        let (asked, certificate) = made();
        let condition = |kind: &str, message: &str| json!({"type": kind, "status": "True", "message": message});
        let approved = with(&asked, json!({"conditions": [condition("Approved", "yes")]}));
        assert_eq!(requests.validate_part_update("approval", &approved, &asked), []);
        assert_eq!(
            said(&requests.validate_status_update(&approved, &asked)),
            ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
        );
        let issued = with(
            &asked,
            json!({"conditions": [condition("Approved", "yes")], "certificate": certificate}),
        );
        assert_eq!(requests.validate_status_update(&issued, &approved), []);
        assert_eq!(
            said(&requests.validate_part_update("approval", &issued, &approved)),
            ["status.certificate: Forbidden: updates may not set certificate content"]
        );
        let other = with(
            &asked,
            json!({"conditions": [condition("Approved", "no")], "certificate": STANDARD.encode("x")}),
        );
        assert_eq!(
            said(&requests.validate_status_update(&other, &issued)),
            [
                "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block",
                "status.conditions: Forbidden: updates may not modify a condition of type \"Approved\"",
                "status.certificate: Forbidden: updates may not modify existing certificate content",
            ]
        );
        let both =
            json!([condition("Approved", ""), condition("Denied", ""), {"type": "Denied", "status": "False"}, {}]);
        assert_eq!(
            said(&requests.validate_part_update("approval", &with(&asked, json!({"conditions": both})), &asked)),
            [
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
                "status.conditions[2].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions[2].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
                "status.conditions[2].type: Duplicate value: \"Denied\"",
                "status.conditions[3].type: Required value",
                "status.conditions[3].status: Required value",
            ]
        );
        assert_eq!(
            said(&requests.validate_part_update("approval", &asked, &approved)),
            ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
        );
    }
}
