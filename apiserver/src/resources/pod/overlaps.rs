//! Warns of volumes that put two files in one place, or a file where another wants a folder.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::value::{at, has, list, text};

/// Warns of overlapping paths inside of each volume of a pod spec.
pub(super) fn overlaps(spec: &Value, warnings: &mut Vec<String>) {
    for volume in list(spec, "volumes") {
        let name = text(volume, "name");
        for (field, label, own) in [
            ("configMap", "ConfigMap", Some("name")),
            ("secret", "Secret", Some("secretName")),
            ("downwardAPI", "DownwardAPI", None),
        ] {
            let source = at(volume, field);
            let label = own.map_or_else(|| label.to_owned(), |own| format!("{label} {:?}", text(source, own)));
            let message = format!("volume {name:?} ({label}): overlapping paths");
            check(paths(source), &message, warnings);
        }
        let mut all = BTreeSet::new();
        for source in list(at(volume, "projected"), "sources") {
            if source.as_object().is_none_or(serde_json::Map::is_empty) {
                warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
                continue;
            }
            let Some((label, files)) = projected(source) else {
                continue;
            };
            let message = format!("volume {name:?} (Projected {label}): overlapping paths");
            check(files.iter().copied(), &message, warnings);
            let before = std::mem::take(&mut all);
            let files: BTreeSet<&str> = files.into_iter().collect();
            // In order, so that the same thing is said each time.
            let mut both: Vec<&str> = files.iter().chain(&before).copied().collect();
            both.sort_unstable();
            check(both.into_iter(), &message, warnings);
            all = before;
            all.extend(files);
        }
    }
}

fn paths(source: &Value) -> impl Iterator<Item = &str> {
    list(source, "items").iter().map(|item| text(item, "path"))
}

fn projected(source: &Value) -> Option<(String, Vec<&str>)> {
    for (field, label) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        let part = at(source, field);
        if has(part, "items") {
            return Some((format!("{label} {:?}", text(part, "name")), paths(part).collect()));
        }
    }
    let (fields, token, bundle) = (
        at(source, "downwardAPI"),
        at(source, "serviceAccountToken"),
        at(source, "clusterTrustBundle"),
    );
    if has(fields, "items") {
        Some(("DownwardAPI".to_owned(), paths(fields).collect()))
    } else if !token.is_null() {
        Some(("ServiceAccountToken".to_owned(), vec![text(token, "path")]))
    } else if !bundle.is_null() {
        let field = if has(bundle, "name") { "name" } else { "signerName" };
        let label = format!("ClusterTrustBundle {:?}", text(bundle, field));
        Some((label, vec![text(bundle, "path")]))
    } else {
        None
    }
}

fn check<'a>(paths: impl Iterator<Item = &'a str>, message: &str, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for path in paths {
        let path = path.trim_end_matches('/');
        if let Some(other) = overlap(&seen, path) {
            warnings.push(format!("{message}: {path:?} with {other:?}"));
        }
        seen.insert(path);
    }
}

/// A path that begins with this one, or that this one begins with. As upstream, by letters and not by folders.
fn overlap<'a>(seen: &BTreeSet<&'a str>, path: &'a str) -> Option<&'a str> {
    if path.is_empty() {
        return None;
    }
    let longer = seen.range(path..).next().filter(|other| other.starts_with(path));
    let shorter = || {
        let ends = path.char_indices().skip(1).map(|(at, _)| at);
        ends.filter_map(|end| seen.get(&path[..end]).copied()).next()
    };
    longer.copied().or_else(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_do_not_stand_in_each_others_way() {
        let said = |volume: Value| {
            let mut warnings = Vec::new();
            overlaps(&json!({"volumes": [volume]}), &mut warnings);
            warnings
        };
        let items = |paths: &[&str]| -> Value { paths.iter().map(|path| json!({"path": path})).collect() };
        let map = |paths: &[&str]| json!({"name": "v", "configMap": {"name": "m", "items": items(paths)}});
        assert_eq!(said(map(&["a", "b/c", "b/d"])), Vec::<String>::new());
        assert_eq!(
            said(map(&["a/", "b", "a/b", "b"])),
            [
                "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"a/b\" with \"a\"",
                "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"b\" with \"b\"",
            ]
        );
        let projected = json!({"name": "v", "projected": {"sources": [
            {"configMap": {"name": "m", "items": items(&["token"])}}, {}, {"serviceAccountToken": {"path": "token"}}]}});
        assert_eq!(
            said(projected),
            [
                "volume \"v\" (Projected) has no sources provided",
                "volume \"v\" (Projected ServiceAccountToken): overlapping paths: \"token\" with \"token\"",
            ]
        );
    }
}
