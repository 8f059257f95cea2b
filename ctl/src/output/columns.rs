//! `-o custom-columns=NAME:.metadata.name,...`

use std::io::Write;

use serde_json::Value;

use super::table::Layout;
use crate::error::Failure;

/// A columns file has the headers on its first line and the paths on its second.
pub(super) fn from_file(text: &str) -> String {
    let mut lines = text.lines();
    let headers = lines.next().unwrap_or("").split_whitespace();
    let paths = lines.next().unwrap_or("").split_whitespace();
    headers
        .zip(paths)
        .map(|(header, path)| format!("{header}:{path}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// Prints a row for each object.
pub(super) fn print(out: &mut impl Write, spec: &str, objects: &[&Value]) -> Result<(), Failure> {
    let mut headers = Vec::new();
    let mut templates = Vec::new();
    for column in split(spec) {
        let Some((header, path)) = column.split_once(':') else {
            return Err(Failure::usage(format!(
                "unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"
            )));
        };
        let template = super::relaxed(path).map_err(Failure::usage)?;
        headers.push(header.to_owned());
        templates.push(
            timonel_api::jsonpath::Template::parse(&template)
                .map_err(|error| Failure::usage(format!("error parsing jsonpath {template}, {error}")))?,
        );
    }
    let mut rows = vec![headers];
    for object in objects {
        rows.push(
            templates
                .iter()
                .map(|template| match template.render(object) {
                    Ok(text) if !text.is_empty() => text.replace(' ', ","),
                    _ => "<none>".to_owned(),
                })
                .collect(),
        );
    }
    Layout::default().write(out, &rows)?;
    Ok(())
}

/// Splits at commas outside of brackets and quotes.
fn split(spec: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0_u32, String::new());
    for c in spec.chars() {
        match c {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts
}
