//! Validation of what is particular to Windows, and of what each operating system does not know.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::value::{at, flag, has, list, text};
use super::visit;

/// The most that the text of a GMSA credential may hold.
const CREDENTIAL_KIB: usize = 64;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

/// Checks `windowsOptions`.
pub(super) fn options(options: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if has(options, "gmsaCredentialSpecName") {
        let name = text(options, "gmsaCredentialSpecName");
        wrong(
            &path.child("gmsaCredentialSpecName"),
            name,
            names::subdomain(name, false),
            errors,
        );
    }
    if has(options, "gmsaCredentialSpec") {
        let (text, path) = (text(options, "gmsaCredentialSpec"), path.child("gmsaCredentialSpec"));
        let detail = match text.len() {
            0 => "gmsaCredentialSpec cannot be an empty string".to_owned(),
            size if size > CREDENTIAL_KIB * 1024 => {
                format!("gmsaCredentialSpec size must be under {CREDENTIAL_KIB} KiB")
            }
            _ => String::new(),
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid(&path, text, detail));
        }
    }
    if has(options, "runAsUserName") {
        let name = text(options, "runAsUserName");
        for detail in user_name(name) {
            let detail = format!("runAsUserName{detail}");
            errors.push(FieldError::invalid(&path.child("runAsUserName"), name, detail));
        }
    }
}

/// What is wrong with `DOMAIN\user`, said after the field's name.
fn user_name(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [""] => return vec![" cannot be an empty string".to_owned()],
        _ if name.bytes().any(|byte| byte.is_ascii_control()) => {
            return vec![" cannot contain control characters".to_owned()];
        }
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec![" cannot contain more than one backslash".to_owned()],
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_MAX) {
        wrong.push(format!("'s Domain length must be under {DOMAIN_MAX} characters"));
    }
    if domain.is_some_and(|domain| !is_netbios(domain) && !is_dns(domain)) {
        wrong.push("'s Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong.push("'s User cannot be empty".to_owned());
    } else if user.len() > USER_MAX {
        wrong.push(format!("'s User length must not be longer than {USER_MAX} characters"));
    }
    if !user.is_empty() && user.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        wrong.push("'s User cannot contain only periods or spaces".to_owned());
    }
    if user.contains([
        '"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']',
    ]) {
        wrong.push(r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned());
    }
    wrong
}

fn is_netbios(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}

/// Checks that either all containers are processes of the host or none, and that they use its network.
pub(super) fn host_process(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let wish = |object: &Value| {
        let options = at(at(object, "securityContext"), "windowsOptions");
        at(options, "hostProcess").as_bool()
    };
    let (of_pod, mut all, mut on_host) = (wish(spec), 0, 0);
    visit(spec, path, |container, path| {
        let own = wish(container);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let path = ["securityContext", "windowsOptions", "hostProcess"]
                .iter()
                .fold(path.clone(), |path, field| path.child(field));
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(FieldError::invalid(&path, own, detail));
        }
        all += 1;
        on_host += usize::from(own.or(of_pod) == Some(true));
    });
    if on_host == 0 {
        return;
    }
    if on_host != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", detail));
    }
    if !flag(spec, "hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&path.child("hostNetwork"), false, detail));
    }
}

/// What only Linux knows of a pod, in upstream's order: the field, and whether it stands in `securityContext`.
const LINUX_POD: [(&str, bool); 15] = [
    ("appArmorProfile", true),
    ("seLinuxOptions", true),
    ("hostUsers", false),
    ("hostPID", false),
    ("hostIPC", false),
    ("seccompProfile", true),
    ("fsGroup", true),
    ("fsGroupChangePolicy", true),
    ("sysctls", true),
    ("shareProcessNamespace", false),
    ("runAsUser", true),
    ("runAsGroup", true),
    ("supplementalGroups", true),
    ("supplementalGroupsPolicy", true),
    ("seLinuxChangePolicy", true),
];

/// What only Linux knows of a container's `securityContext`.
const LINUX_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Checks `os`, and that nothing is set that it does not know.
pub(super) fn os(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !has(spec, "os") {
        return;
    }
    match text(at(spec, "os"), "name") {
        "" => errors.push(FieldError::required(&path.child("os").child("name"), "cannot be empty")),
        "linux" => no_windows_options(spec, path, errors),
        "windows" => nothing_of_linux(spec, path, errors),
        other => errors.push(FieldError::not_supported(
            &path.child("os"),
            other,
            &["linux", "windows"],
        )),
    }
}

fn no_windows_options(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut check = |object: &Value, path: &Path| {
        if has(at(object, "securityContext"), "windowsOptions") {
            let path = path.child("securityContext").child("windowsOptions");
            errors.push(FieldError::forbidden(
                &path,
                "windows options cannot be set for a linux pod",
            ));
        }
    };
    check(spec, path);
    visit(spec, path, check);
}

fn nothing_of_linux(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const DETAIL: &str = "cannot be set for a windows pod";
    let context = at(spec, "securityContext");
    for (field, inside) in LINUX_POD {
        let set = match (field, inside) {
            ("sysctls", _) => !list(context, field).is_empty(),
            // False is what is not set.
            ("hostPID" | "hostIPC", _) => flag(spec, field),
            (_, true) => has(context, field),
            (_, false) => has(spec, field),
        };
        if set {
            let place = if inside {
                path.child("securityContext")
            } else {
                path.clone()
            };
            errors.push(FieldError::forbidden(&place.child(field), DETAIL));
        }
    }
    visit(spec, path, |container, path| {
        let context = at(container, "securityContext");
        for field in LINUX_CONTAINER.iter().filter(|field| has(context, field)) {
            let path = path.child("securityContext").child(field);
            errors.push(FieldError::forbidden(&path, DETAIL));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(check: fn(&Value, &Path, &mut Vec<FieldError>), object: Value) -> Vec<String> {
        let mut errors = Vec::new();
        check(&object, &Path::new("s"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_windows_user_has_a_name_and_perhaps_a_domain() {
        let cases: &[(&str, &[&str])] = &[
            ("user", &[]),
            ("NT AUTHORITY\\local service", &[]),
            ("", &["runAsUserName cannot be an empty string"]),
            ("a\tb", &["runAsUserName cannot contain control characters"]),
            ("a\\b\\c", &["runAsUserName cannot contain more than one backslash"]),
            (
                ".a\\b",
                &["runAsUserName's Domain doesn't match the NetBios nor the DNS format"],
            ),
            ("a\\", &["runAsUserName's User cannot be empty"]),
            (". .", &["runAsUserName's User cannot contain only periods or spaces"]),
            (
                "a@b",
                &["runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"],
            ),
        ];
        for (name, expected) in cases {
            let expected: Vec<String> = expected
                .iter()
                .map(|detail| format!("s.runAsUserName: Invalid value: {name:?}: {detail}"))
                .collect();
            assert_eq!(said(options, json!({"runAsUserName": name})), expected);
        }
        assert_eq!(
            said(options, json!({"gmsaCredentialSpec": ""})),
            ["s.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string"]
        );
        assert!(
            said(options, json!({"gmsaCredentialSpecName": "A"}))[0].starts_with("s.gmsaCredentialSpecName: Invalid")
        );
        let name = "u".repeat(105);
        assert!(said(options, json!({"runAsUserName": name}))[0].ends_with("must not be longer than 104 characters"));
    }

    #[test]
    fn processes_of_the_host_are_so_all_together() {
        let host = |on: bool| json!({"windowsOptions": {"hostProcess": on}});
        assert_eq!(
            said(
                host_process,
                json!({"hostNetwork": true, "securityContext": host(true), "containers": [{"name": "a"}]})
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            said(
                host_process,
                json!({"securityContext": host(true), "containers": [{"securityContext": host(false)}, {}]})
            ),
            [
                "s.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
                "s: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
                "s.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            ]
        );
    }

    #[test]
    fn each_system_refuses_what_it_does_not_know() {
        assert_eq!(
            said(os, json!({"os": {}})),
            ["s.os.name: Required value: cannot be empty"]
        );
        assert_eq!(
            said(os, json!({"os": {"name": "plan9"}})),
            ["s.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""]
        );
        assert_eq!(
            said(
                os,
                json!({"os": {"name": "linux"}, "initContainers": [{"securityContext": {"windowsOptions": {}}}]})
            ),
            [
                "s.initContainers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"
            ]
        );
        let mut spec = json!({"os": {"name": "windows"}, "hostUsers": true, "hostPID": true, "hostIPC": true, "shareProcessNamespace": false,
            "containers": [{"securityContext": {}}], "securityContext": {"sysctls": [{}]}});
        for (field, _) in LINUX_POD
            .iter()
            .filter(|(field, inside)| *inside && *field != "sysctls")
        {
            spec["securityContext"][field] = json!({});
        }
        for field in LINUX_CONTAINER {
            spec["containers"][0]["securityContext"][field] = json!({});
        }
        let all = said(os, spec);
        assert_eq!(all.len(), LINUX_POD.len() + LINUX_CONTAINER.len());
        assert_eq!(
            all[0],
            "s.securityContext.appArmorProfile: Forbidden: cannot be set for a windows pod"
        );
        assert_eq!(all[2], "s.hostUsers: Forbidden: cannot be set for a windows pod");
        assert_eq!(
            all[24],
            "s.containers[0].securityContext.runAsGroup: Forbidden: cannot be set for a windows pod"
        );
    }
}
