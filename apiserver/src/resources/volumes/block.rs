//! Disks that are reached over a network as blocks: iSCSI and Fibre Channel.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::value::{flag, has, int, list, text};
use super::sources::{Within, secret};
use super::{is_set, required};

/// `iqn.2001-04.com.example:disk`, `eui.02004567A425678D`, `naa.52004567BA64678D`.
fn is_initiator(name: &str) -> bool {
    let hex = |digits: &str, lengths: &[usize]| {
        lengths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if let Some(digits) = name.strip_prefix("eui.") {
        return hex(digits, &[16]);
    }
    if let Some(digits) = name.strip_prefix("naa.") {
        return hex(digits, &[16, 32]);
    }
    // iqn.YYYY-MM.REVERSED-DOMAIN[:ANYTHING], the domain of at least two parts.
    let Some((date, rest)) = name.strip_prefix("iqn.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    let dated = date
        .split_once('-')
        .is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let (domain, unique) = rest
        .split_once(':')
        .map_or((rest, "x"), |(domain, unique)| (domain, unique));
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    dated && !unique.is_empty() && domain.split('.').all(part)
}

fn initiator(name: &str, unknown: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if !["iqn", "eui", "naa"].iter().any(|start| name.starts_with(start)) {
        errors.push(FieldError::invalid(path, name, unknown));
    } else if !is_initiator(name) {
        errors.push(FieldError::invalid(path, name, "must be valid format"));
    }
}

/// Checks an iSCSI disk. Its name and its portal together have to fit where the kernel keeps them.
pub(super) fn iscsi(source: &Value, place: Within<'_>, parent: &Path, path: &Path, errors: &mut Vec<FieldError>) {
    let long = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
    let portal = text(source, "targetPortal");
    let too_long = |name: &str| has(source, "initiatorName") && name.len() + 1 + portal.len() > 64;
    required(source, &["targetPortal"], path, errors);
    if let Within::Volume(name) = place
        && too_long(name)
    {
        errors.push(FieldError::invalid(&path.child("targetportal"), portal, long));
    }
    let unknown = match place {
        Within::Pod(_) => "must be valid format starting with iqn, eui, or naa",
        Within::Volume(_) => "must be valid format",
    };
    if is_set(source, "iqn") {
        initiator(text(source, "iqn"), unknown, &path.child("iqn"), errors);
    } else {
        required(source, &["iqn"], path, errors);
    }
    if let Some(lun) = int(source, "lun").filter(|lun| !(0..=255).contains(lun)) {
        let detail = names::in_range(lun, 0, 255).join("");
        errors.push(FieldError::invalid(&path.child("lun"), lun, detail));
    }
    if (flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession")) && !has(source, "secretRef") {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if matches!(place, Within::Volume(_)) {
        secret(source, false, path, errors);
    }
    if has(source, "initiatorName") {
        let name = text(source, "initiatorName");
        initiator(name, unknown, &path.child("initiatorname"), errors);
    }
    if let Within::Pod(name) = place
        && too_long(name)
    {
        errors.push(FieldError::invalid(&parent.child("name"), name, long));
    }
}

/// Checks a Fibre Channel disk.
pub(super) fn fibre_channel(source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (targets, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let at_targets = path.child("targetWWNs");
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => errors.push(FieldError::required(
            &at_targets,
            "must specify either targetWWNs or wwids, but not both",
        )),
        (false, false) => errors.push(FieldError::invalid(
            &at_targets,
            targets.to_vec(),
            "targetWWNs and wwids can not be specified simultaneously",
        )),
        _ => {}
    }
    if !targets.is_empty() {
        match int(source, "lun") {
            None => errors.push(FieldError::required(
                &path.child("lun"),
                "lun is required if targetWWNs is specified",
            )),
            Some(0..=255) => {}
            Some(lun) => {
                let detail = names::in_range(lun, 0, 255).join("");
                errors.push(FieldError::invalid(&path.child("lun"), lun, detail));
            }
        }
    }
}
