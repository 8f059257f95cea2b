//! Options from the query and from `DeleteOptions` bodies.

use std::time::Duration;

use serde_json::Value;
use timonel_api::{FieldError, Path, duration};

use super::request::{Query, RequestInfo};
use crate::error::ApiError;
use crate::registry::{DeleteOptions, FieldValidation, ListOptions, Propagation, VersionMatch, WriteOptions};

/// Nobody watches for longer than a year; beyond some number of seconds clocks overflow.
const LONGEST: u64 = 365 * 24 * 3600;

fn invalid(kind: &str, error: FieldError) -> ApiError {
    ApiError::invalid(format!("{kind}.meta.k8s.io"), "", vec![error])
}

fn dry_run(values: &[String], kind: &str) -> Result<bool, ApiError> {
    if values.iter().any(|value| value != "All") {
        return Err(invalid(
            kind,
            FieldError::not_supported(&Path::new("dryRun"), values.to_vec(), &["All"]),
        ));
    }
    Ok(!values.is_empty())
}

fn propagation(text: &str) -> Result<Option<Propagation>, ApiError> {
    Ok(Some(match text {
        "" => return Ok(None),
        "Orphan" => Propagation::Orphan,
        "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        other => {
            let supported = &["Foreground", "Background", "Orphan"];
            let error = FieldError::not_supported(&Path::new("propagationPolicy"), other, supported);
            return Err(invalid("DeleteOptions", error));
        }
    }))
}

fn number(query: &Query, name: &str) -> Result<Option<i64>, ApiError> {
    match query.get(name) {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
    }
}

/// How long the client wants to wait: the `timeout` parameter.
pub(super) fn timeout(info: &RequestInfo) -> Result<Option<Duration>, ApiError> {
    match info.query.get("timeout") {
        "" => Ok(None),
        text => parse_duration(text)
            .map(Some)
            .map_err(|error| ApiError::bad_request(format!("invalid timeout specified in the request URL - {error}"))),
    }
}

/// A text that is no duration, in Go's words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("time: invalid duration {0:?}")]
pub struct InvalidDuration(String);

/// Reads Go's notation of durations: `1m30s`, `1.5h`, `250ms`. What lies in the past is no time at all.
///
/// *Errors:* what is none, or longer than anybody means.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    duration::parse(text).ok_or_else(|| InvalidDuration(text.to_owned()))
}

pub(super) fn list(info: &RequestInfo) -> Result<ListOptions, ApiError> {
    let query = &info.query;
    let version_match = match query.get("resourceVersionMatch") {
        "" => None,
        "Exact" => Some(VersionMatch::Exact),
        "NotOlderThan" => Some(VersionMatch::NotOlderThan),
        other => {
            let supported = &["Exact", "NotOlderThan", ""];
            let error = FieldError::not_supported(&Path::new("resourceVersionMatch"), other, supported);
            return Err(invalid("ListOptions", error));
        }
    };
    let positive = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    Ok(ListOptions {
        labels: query.get("labelSelector").to_owned(),
        fields: query.get("fieldSelector").to_owned(),
        limit: positive(number(query, "limit")?)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or_default(),
        continue_token: query.get("continue").to_owned(),
        resource_version: query.get("resourceVersion").to_owned(),
        version_match,
        bookmarks: query.flag("allowWatchBookmarks"),
        initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
        timeout: positive(number(query, "timeoutSeconds")?).map(|n| Duration::from_secs(n.min(LONGEST))),
    })
}

pub(super) fn write(info: &RequestInfo, kind: &str) -> Result<WriteOptions, ApiError> {
    let query = &info.query;
    let manager = query.get("fieldManager");
    if manager.chars().count() > 128 {
        return Err(invalid(kind, FieldError::too_long(&Path::new("fieldManager"), 128)));
    }
    Ok(WriteOptions {
        dry_run: dry_run(query.all("dryRun"), kind)?,
        manager: manager.to_owned(),
        validation: match query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = &["Ignore", "Strict", "Warn"];
                let error = FieldError::not_supported(&Path::new("fieldValidation"), other, supported);
                return Err(invalid(kind, error));
            }
        },
        force: query.flag("force"),
    })
}

/// The body's options where there is a body, else the query's.
pub(super) fn delete(info: &RequestInfo, body: &Value) -> Result<DeleteOptions, ApiError> {
    let query = &info.query;
    if body.is_null() {
        let orphan = (query.has("orphanDependents")).then(|| query.flag("orphanDependents"));
        return Ok(DeleteOptions {
            dry_run: dry_run(query.all("dryRun"), "DeleteOptions")?,
            grace: number(query, "gracePeriodSeconds")?,
            propagation: propagation(query.get("propagationPolicy"))?.or(orphan.map(orphaning)),
            ..DeleteOptions::default()
        });
    }
    delete_options(body)
}

/// Reads a `DeleteOptions` object; null is the default.
pub(crate) fn delete_options(body: &Value) -> Result<DeleteOptions, ApiError> {
    if !matches!(body["kind"].as_str(), None | Some("" | "DeleteOptions")) {
        return Err(ApiError::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: {}",
            body["kind"].as_str().unwrap_or_default()
        )));
    }
    let values: Vec<String> = body["dryRun"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut options = DeleteOptions {
        dry_run: dry_run(&values, "DeleteOptions")?,
        grace: body["gracePeriodSeconds"].as_i64(),
        propagation: propagation(body["propagationPolicy"].as_str().unwrap_or_default())?
            .or(body["orphanDependents"].as_bool().map(orphaning)),
        ..DeleteOptions::default()
    };
    options.preconditions.uid = text(&body["preconditions"]["uid"]);
    options.preconditions.resource_version = text(&body["preconditions"]["resourceVersion"]);
    Ok(options)
}

fn orphaning(orphan: bool) -> Propagation {
    if orphan {
        Propagation::Orphan
    } else {
        Propagation::Background
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("10s", Some(Duration::from_secs(10))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("250ms", Some(Duration::from_millis(250))),
            ("0", Some(Duration::ZERO)),
            ("-5s", Some(Duration::ZERO)),
            ("5", None),
            ("s", None),
            ("", None),
            ("1y", None),
            ("1e9s", None),
            ("3000000h", None),
            ("99999999999999999999999h", None),
            ("..s", None),
        ] {
            assert_eq!(duration::parse(text), expected, "{text:?}");
        }
    }
}
