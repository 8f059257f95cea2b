//! `--validate`: everything that is wrong with a manifest, in one answer.

use http::Method;
use timonel_api::{decode, facts};

use crate::error::Failure;
use crate::manifests::Manifest;
use crate::session::{Call, Session, query};

/// What `--validate` takes.
pub(crate) const LEVELS: [&str; 6] = ["true", "strict", "warn", "false", "ignore", ""];

/// The `fieldValidation` that a level asks of the server.
pub(crate) fn field_validation(level: &str) -> &'static str {
    match level {
        "warn" => "Warn",
        "false" | "ignore" => "Ignore",
        _ => "Strict",
    }
}

/// Refuses a manifest with duplicate or unknown fields, and names what else the server would refuse in it.
///
/// The server gets JSON, in which a key cannot stand twice any more, so that duplicates are found here. The server stops at the
/// first kind of mistake that it meets; so that a reader gets all of them at once, it is asked for the rest with a dry run.
pub(crate) async fn manifest(
    session: &Session,
    manifest: &Manifest,
    collection: &str,
    level: &str,
) -> Result<(), Failure> {
    let (api_version, kind) = manifest.type_meta();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let unknown = facts::schema_for(group, version, kind)
        .map_or_else(Vec::new, |schema| decode::unknown_fields(schema, &manifest.object));
    let Some(message) = decode::strict_error(&unknown, &manifest.duplicates) else {
        return Ok(());
    };
    match field_validation(level) {
        "Ignore" => return Ok(()),
        "Warn" => {
            for message in decode::strict_messages(&unknown, &manifest.duplicates) {
                eprintln!("Warning: {message}");
            }
            return Ok(());
        }
        _ => {}
    }
    let said = format!(
        "error validating {:?}: {kind} in version {version:?} cannot be handled as a {kind}: {message}",
        manifest.source
    );
    let path = collection.to_owned() + &query(&[("dryRun", Some("All")), ("fieldValidation", Some("Ignore"))]);
    match session
        .json(Call::with_json(Method::POST, &path, &manifest.object))
        .await
    {
        Err(failure) if failure.reason() == "Invalid" => Err(Failure::Many(vec![Failure::usage(said), failure])),
        _ => Err(Failure::usage(said)),
    }
}
