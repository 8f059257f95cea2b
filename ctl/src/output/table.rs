//! Tables as kubectl lays them out: columns three spaces apart, headers in capitals.

use std::io::{self, Write};

use serde_json::Value;

/// Lays rows out in columns. Widths only grow, so that the rows of a watch stay in line.
#[derive(Debug)]
pub(crate) struct Layout {
    widths: Vec<usize>,
    min_width: usize,
    padding: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            widths: Vec::new(),
            min_width: MIN_WIDTH,
            padding: PADDING,
        }
    }
}

/// kubectl's tabwriter: cells at least six wide, three spaces of padding.
const MIN_WIDTH: usize = 6;
const PADDING: usize = 3;

impl Layout {
    /// The layout of `rollout history` and `describe`: two spaces between columns.
    pub(crate) fn compact() -> Self {
        Self {
            widths: Vec::new(),
            min_width: 0,
            padding: 2,
        }
    }

    /// Writes rows; the last cell of a row is not padded.
    pub(crate) fn write(&mut self, out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
        for row in rows {
            if self.widths.len() < row.len() {
                self.widths.resize(row.len(), self.min_width);
            }
            for (width, cell) in self.widths.iter_mut().zip(row).take(row.len().saturating_sub(1)) {
                *width = (*width).max(cell.chars().count() + self.padding);
            }
        }
        for row in rows {
            let mut line = String::new();
            for (index, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if index + 1 < row.len() {
                    let pad = self.widths[index].saturating_sub(cell.chars().count());
                    line.extend(std::iter::repeat_n(' ', pad));
                }
            }
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// What to show of a server-side table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) wide: bool,
    pub(crate) namespace: bool,
    pub(crate) labels: bool,
    pub(crate) label_columns: Vec<String>,
    /// `pod/` before each name, where several types are listed.
    pub(crate) prefix: Option<String>,
    /// `EVENT` column of `--output-watch-events`.
    pub(crate) event: Option<String>,
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(['\n', '\r'], " "),
        Value::Null => "<none>".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

impl Shown {
    fn columns(&self, table: &Value) -> Vec<usize> {
        let definitions = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
        let shown = |definition: &Value| self.wide || definition["priority"].as_i64().unwrap_or(0) == 0;
        definitions
            .iter()
            .enumerate()
            .filter(|(_, d)| shown(d))
            .map(|(index, _)| index)
            .collect()
    }

    /// The header row.
    pub(crate) fn header(&self, table: &Value) -> Vec<String> {
        let mut header = Vec::new();
        header.extend(self.event.as_ref().map(|_| "EVENT".to_owned()));
        if self.namespace {
            header.push("NAMESPACE".to_owned());
        }
        header.extend(
            self.columns(table)
                .into_iter()
                .map(|index| text(&table["columnDefinitions"][index]["name"]).to_uppercase()),
        );
        header.extend(
            self.label_columns
                .iter()
                .map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()),
        );
        if self.labels {
            header.push("LABELS".to_owned());
        }
        header
    }

    /// The rows.
    pub(crate) fn rows(&self, table: &Value) -> Vec<Vec<String>> {
        let columns = self.columns(table);
        let rows = table["rows"].as_array().map_or(&[][..], Vec::as_slice);
        rows.iter().map(|row| self.row(table, &columns, row)).collect()
    }

    fn row(&self, table: &Value, columns: &[usize], row: &Value) -> Vec<String> {
        let metadata = &row["object"]["metadata"];
        let mut cells = Vec::new();
        cells.extend(self.event.clone());
        if self.namespace {
            cells.push(metadata["namespace"].as_str().unwrap_or("").to_owned());
        }
        for &index in columns {
            let cell = text(&row["cells"][index]);
            let is_name = table["columnDefinitions"][index]["format"] == "name";
            cells.push(match &self.prefix {
                Some(prefix) if is_name => format!("{prefix}/{cell}"),
                _ => cell,
            });
        }
        let labels = &metadata["labels"];
        cells.extend(
            self.label_columns
                .iter()
                .map(|label| labels[label.as_str()].as_str().unwrap_or("").to_owned()),
        );
        if self.labels {
            cells.push(all_labels(labels));
        }
        cells
    }
}

/// `a=b,c=d`, or `<none>`.
pub(crate) fn all_labels(labels: &Value) -> String {
    let mut pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    pairs.sort();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_stand_three_spaces_apart_and_wide_ones_wait_to_be_asked_for() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "format": "name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["hello-1", "1/1", "10.0.0.1"], "object": {"metadata": {"namespace": "demo"}}}]});
        let mut out = Vec::new();
        let shown = Shown {
            namespace: true,
            ..Shown::default()
        };
        let mut rows = vec![shown.header(&table)];
        rows.extend(shown.rows(&table));
        Layout::default().write(&mut out, &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAMESPACE   NAME      READY\ndemo        hello-1   1/1\n"
        );
    }
}
