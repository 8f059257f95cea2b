//! Validation of what a pod and its containers are allowed to do: `securityContext`.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::any_of;
use super::super::value::{at, flag, has, int, list, text};
use super::super::volumes::paths::descending;
use super::{sysctls, windows};

/// Who a process may be.
const IDS: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;

/// The longest path that Linux takes, less its end.
const PATH_MAX: usize = 4095;

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// Checks the number of a user or group.
pub(super) fn id(number: i64, path: &Path, errors: &mut Vec<FieldError>) {
    for sentence in names::in_range(number, *IDS.start(), *IDS.end()) {
        errors.push(FieldError::invalid(path, number, sentence));
    }
}

fn ids(context: &Value, fields: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    for field in fields {
        if let Some(number) = int(context, field) {
            id(number, &path.child(field), errors);
        }
    }
}

/// Checks a pod's `securityContext`.
pub(super) fn of_pod(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (context, path) = (at(spec, "securityContext"), path.child("securityContext"));
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], &path, errors);
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        id(
            group.as_i64().unwrap_or(0),
            &path.child("supplementalGroups").index(index),
            errors,
        );
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    sysctls::validate(spec, &path, errors);
    any_of(
        context,
        "fsGroupChangePolicy",
        &["Always", "OnRootMismatch"],
        &path,
        errors,
    );
    profiles(context, &path, errors);
    any_of(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path, errors);
    any_of(
        context,
        "seLinuxChangePolicy",
        &["MountOption", "Recursive"],
        &path,
        errors,
    );
}

/// Checks a container's `securityContext`.
pub(super) fn of_container(context: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    ids(context, &["runAsUser", "runAsGroup"], path, errors);
    any_of(context, "procMount", &["Default", "Unmasked"], path, errors);
    let own_users = has(spec, "hostUsers") && !flag(spec, "hostUsers");
    if text(context, "procMount") == "Unmasked" && !own_users {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(&path.child("procMount"), "Unmasked", detail));
    }
    seccomp(at(context, "seccompProfile"), &path.child("seccompProfile"), errors);
    if has(context, "allowPrivilegeEscalation") && !flag(context, "allowPrivilegeEscalation") {
        let admin = list(at(context, "capabilities"), "add")
            .iter()
            .filter(|capability| *capability == "CAP_SYS_ADMIN");
        let privileged = flag(context, "privileged").then_some("`privileged` to true");
        for what in privileged
            .into_iter()
            .chain(admin.map(|_| "`capabilities.Add` CAP_SYS_ADMIN"))
        {
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            errors.push(FieldError::invalid(path, context.clone(), detail));
        }
    }
    windows::options(at(context, "windowsOptions"), &path.child("windowsOptions"), errors);
    app_armor(at(context, "appArmorProfile"), &path.child("appArmorProfile"), errors);
}

fn profiles(context: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    seccomp(at(context, "seccompProfile"), &path.child("seccompProfile"), errors);
    windows::options(at(context, "windowsOptions"), &path.child("windowsOptions"), errors);
    app_armor(at(context, "appArmorProfile"), &path.child("appArmorProfile"), errors);
}

fn profile_type(profile: &Value, required: &str, path: &Path, errors: &mut Vec<FieldError>) {
    match text(profile, "type") {
        "" => errors.push(FieldError::required(&path.child("type"), required)),
        kind if PROFILE_TYPES.contains(&kind) => {}
        other => errors.push(FieldError::not_supported(&path.child("type"), other, &PROFILE_TYPES)),
    }
}

fn seccomp(profile: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if profile.is_null() {
        return;
    }
    profile_type(profile, "type is required when seccompProfile is set", path, errors);
    let (path, local) = (path.child("localhostProfile"), text(profile, "type") == "Localhost");
    match (local, has(profile, "localhostProfile")) {
        (true, true) => descending(text(profile, "localhostProfile"), &path, errors),
        (true, false) => {
            let detail = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(&path, detail));
        }
        (false, true) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(&path, profile.clone(), detail));
        }
        (false, false) => {}
    }
}

fn app_armor(profile: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const REQUIRED: &str = "must be set when AppArmor type is Localhost";
    if profile.is_null() {
        return;
    }
    let (name, at_name) = (text(profile, "localhostProfile"), path.child("localhostProfile"));
    match text(profile, "type") {
        "Localhost" => {
            if name.trim() != name {
                let detail = "must not be padded with whitespace";
                errors.push(FieldError::invalid(&at_name, name, detail));
            } else if name.is_empty() {
                errors.push(FieldError::required(&at_name, REQUIRED));
            }
            if name.len() > PATH_MAX {
                errors.push(FieldError::too_long(&at_name, PATH_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" if has(profile, "localhostProfile") => {
            let detail = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(&at_name, name, detail));
        }
        _ => profile_type(profile, "type is required when appArmorProfile is set", path, errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pods_rights_obey_every_rule() {
        let pod = |spec: Value| {
            let mut errors = Vec::new();
            of_pod(&spec, &Path::new("s"), &mut errors);
            words(&errors)
        };
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"securityContext": {"fsGroup": 1, "fsGroupChangePolicy": "Always", "supplementalGroupsPolicy": "Strict", "seLinuxChangePolicy": "Recursive", "seccompProfile": {"type": "Localhost", "localhostProfile": "a/b"}}}),
                &[],
            ),
            (
                json!({"securityContext": {"fsGroup": -1, "runAsUser": 2_147_483_648_i64, "supplementalGroups": [1, -2]}}),
                &[
                    "s.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                    "s.securityContext.runAsUser: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
                    "s.securityContext.supplementalGroups[1]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
                ],
            ),
            (
                json!({"hostPID": true, "shareProcessNamespace": true}),
                &[
                    "s.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
                ],
            ),
            (
                json!({"securityContext": {"fsGroupChangePolicy": "a", "supplementalGroupsPolicy": "b", "seLinuxChangePolicy": "c"}}),
                &[
                    "s.securityContext.fsGroupChangePolicy: Unsupported value: \"a\": supported values: \"Always\", \"OnRootMismatch\"",
                    "s.securityContext.supplementalGroupsPolicy: Unsupported value: \"b\": supported values: \"Merge\", \"Strict\"",
                    "s.securityContext.seLinuxChangePolicy: Unsupported value: \"c\": supported values: \"MountOption\", \"Recursive\"",
                ],
            ),
            (
                json!({"hostNetwork": true, "hostIPC": true, "securityContext": {"sysctls": [{"name": "net/core/somaxconn"}, {"name": "kernel.sem"}, {"name": "A"}, {"name": ""}, {"name": "kernel.sem"}]}}),
                &[
                    "s.securityContext.sysctls[0].name: Invalid value: \"net/core/somaxconn\": may not be specified when 'hostNetwork' is true",
                    "s.securityContext.sysctls[1].name: Invalid value: \"kernel.sem\": may not be specified when 'hostIPC' is true",
                    "s.securityContext.sysctls[2].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
                    "s.securityContext.sysctls[3].name: Required value",
                    "s.securityContext.sysctls[4].name: Duplicate value: \"kernel.sem\"",
                    "s.securityContext.sysctls[4].name: Invalid value: \"kernel.sem\": may not be specified when 'hostIPC' is true",
                ],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(pod(spec.clone()), *expected, "{spec}");
        }
    }

    #[test]
    fn a_containers_rights_obey_every_rule() {
        let container = |context: Value, spec: Value| {
            let mut errors = Vec::new();
            of_container(&context, &spec, &Path::new("c"), &mut errors);
            words(&errors)
        };
        assert_eq!(
            container(json!({"procMount": "Unmasked"}), json!({"hostUsers": false})),
            Vec::<String>::new()
        );
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"procMount": "Unmasked"}),
                &["c.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"],
            ),
            (
                json!({"procMount": "Half", "runAsGroup": -1}),
                &[
                    "c.runAsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                    "c.procMount: Unsupported value: \"Half\": supported values: \"Default\", \"Unmasked\"",
                ],
            ),
            (
                json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}, "privileged": true}),
                &[
                    "c: Invalid value: {\"allowPrivilegeEscalation\":false,\"capabilities\":{\"add\":[\"CAP_SYS_ADMIN\"]},\"privileged\":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
                    "c: Invalid value: {\"allowPrivilegeEscalation\":false,\"capabilities\":{\"add\":[\"CAP_SYS_ADMIN\"]},\"privileged\":true}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
                ],
            ),
            (
                json!({"seccompProfile": {}, "appArmorProfile": {}}),
                &[
                    "c.seccompProfile.type: Required value: type is required when seccompProfile is set",
                    "c.appArmorProfile.type: Required value: type is required when appArmorProfile is set",
                ],
            ),
            (
                json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "/a/.."}, "appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}}),
                &[
                    "c.seccompProfile.localhostProfile: Invalid value: \"/a/..\": must be a relative path",
                    "c.seccompProfile.localhostProfile: Invalid value: \"/a/..\": must not contain '..'",
                    "c.appArmorProfile.localhostProfile: Invalid value: \" a\": must not be padded with whitespace",
                ],
            ),
            (
                json!({"seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "Localhost"}}),
                &[
                    "c.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                    "c.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost",
                ],
            ),
            (
                json!({"seccompProfile": {"type": "X", "localhostProfile": "a"}, "appArmorProfile": {"type": "Unconfined", "localhostProfile": "a"}}),
                &[
                    "c.seccompProfile.type: Unsupported value: \"X\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
                    "c.seccompProfile.localhostProfile: Invalid value: {\"localhostProfile\":\"a\",\"type\":\"X\"}: can only be set when seccomp type is Localhost",
                    "c.appArmorProfile.localhostProfile: Invalid value: \"a\": can only be set when AppArmor type is Localhost",
                ],
            ),
        ];
        for (context, expected) in cases {
            assert_eq!(container(context.clone(), json!({})), *expected, "{context}");
        }
    }
}
