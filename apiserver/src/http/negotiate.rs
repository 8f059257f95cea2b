//! Which form an answer takes.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::error::ApiError;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// What an object is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    Table,
    Metadata,
    MetadataList,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) format: Format,
    pub(super) shape: Shape,
}

/// Picks the first media type of the `Accept` header that can be served. Protobuf cannot: clients that also take JSON get JSON.
pub(super) fn accepted(headers: &HeaderMap) -> Result<Accepted, ApiError> {
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        for clause in value.to_str().unwrap_or_default().split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if media.is_empty() {
                continue;
            }
            any = true;
            let (mut kind, mut group) = ("", "");
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("as", value)) => kind = value,
                    Some(("g", value)) => group = value,
                    _ => {}
                }
            }
            let format = match media {
                "application/json" | "*/*" | "application/*" | "text/json" => Format::Json,
                "application/yaml" | "text/yaml" | "application/x-yaml" => Format::Yaml,
                _ => continue,
            };
            let shape = match (kind, group) {
                ("", _) => Shape::Whole,
                ("Table", "meta.k8s.io") => Shape::Table,
                ("PartialObjectMetadata", "meta.k8s.io") => Shape::Metadata,
                ("PartialObjectMetadataList", "meta.k8s.io") => Shape::MetadataList,
                _ => continue,
            };
            return Ok(Accepted { format, shape });
        }
    }
    if any {
        return Err(ApiError::not_acceptable());
    }
    Ok(Accepted {
        format: Format::Json,
        shape: Shape::Whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectls_accept_header_asks_for_a_table_and_protobuf_falls_back_to_json() {
        let accept = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, text.parse().unwrap());
            accepted(&headers).map(|a| (a.format, a.shape))
        };
        assert_eq!(
            accept(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
            ),
            Ok((Format::Json, Shape::Table))
        );
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf,application/json"),
            Ok((Format::Json, Shape::Whole))
        );
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf"),
            Err(ApiError::not_acceptable())
        );
        assert_eq!(accept("application/yaml"), Ok((Format::Yaml, Shape::Whole)));
    }
}
