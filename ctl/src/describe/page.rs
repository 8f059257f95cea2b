//! Text with tabs, aligned as Go's tabwriter does it (padding of two spaces).
//!
//! A column is a run of adjacent lines that have a cell there; its width is the widest cell's. The last cell of a line
//! is no cell of a column.

use std::fmt::Display;

use super::values::text_map;
use serde_json::Value;

/// Spaces after the widest cell.
const PADDING: usize = 2;
/// Annotations longer than this stand on lines of their own, cut off.
const LONG: usize = 140;
/// Annotations that only a program reads.
const HIDDEN: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];

/// A page in the making.
#[derive(Debug, Default)]
pub(crate) struct Page {
    raw: String,
    done: String,
}

impl Page {
    /// Adds a line, two spaces deep for each level.
    pub(crate) fn line(&mut self, level: usize, text: impl Display) {
        self.put(format_args!("{}{text}\n", "  ".repeat(level)));
    }

    /// Adds `Title:<tab>value`.
    pub(crate) fn field(&mut self, level: usize, title: &str, value: impl Display) {
        self.line(level, format_args!("{title}:\t{value}"));
    }

    /// Adds text as it is.
    pub(crate) fn put(&mut self, text: impl Display) {
        self.raw.push_str(&text.to_string());
    }

    /// Adds a title and values, each after the first on a line of its own.
    pub(crate) fn several(&mut self, indent: &str, title: &str, values: &[String]) {
        match values.split_first() {
            None => self.put(format_args!("{indent}{title}:\t<none>\n")),
            Some((first, rest)) => {
                self.put(format_args!("{indent}{title}:\t{first}\n"));
                for value in rest {
                    self.put(format_args!("{indent}\t{value}\n"));
                }
            }
        }
    }

    /// Adds a map as `key=value` lines.
    pub(crate) fn labels(&mut self, indent: &str, title: &str, labels: &Value) {
        let lines: Vec<String> = text_map(labels)
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        self.several(indent, title, &lines);
    }

    /// Adds annotations, long ones below their key and cut off.
    pub(crate) fn annotations(&mut self, indent: &str, annotations: &Value) {
        let mut lines = Vec::new();
        for (key, value) in text_map(annotations) {
            if HIDDEN.contains(&key) {
                continue;
            }
            let value = value.strip_suffix('\n').unwrap_or(value);
            if value.len() + key.len() + 2 > LONG || value.contains('\n') {
                lines.push(format!("{key}:"));
                lines.extend(value.split('\n').map(|line| format!("  {}", shorten(line, LONG - 2))));
            } else {
                lines.push(format!("{key}: {value}"));
            }
        }
        match lines.split_first() {
            None => self.put(format_args!("{indent}Annotations:\t<none>\n")),
            Some((first, rest)) => {
                self.put(format_args!("{indent}Annotations:\t{first}\n"));
                for line in rest {
                    self.put(format_args!("\t{line}\n"));
                }
            }
        }
    }

    /// Aligns what stands so far; columns after this start anew.
    pub(crate) fn flush(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        self.done.push_str(&align(&raw));
    }

    /// Returns the aligned page.
    pub(crate) fn finish(mut self) -> String {
        self.flush();
        self.done
    }
}

fn shorten(text: &str, length: usize) -> String {
    if text.len() <= length {
        return text.to_owned();
    }
    let end = (0..=length).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// Replaces tabs by as many spaces as make columns.
fn align(raw: &str) -> String {
    let lines: Vec<Vec<&str>> = raw.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut at = 0;
        while at < lines.len() {
            if widths[at].len() <= column {
                at += 1;
                continue;
            }
            let end = (at..lines.len())
                .find(|&i| widths[i].len() <= column)
                .unwrap_or(lines.len());
            let widest = (at..end).map(|i| lines[i][column].chars().count()).max().unwrap_or(0);
            for width in &mut widths[at..end] {
                width[column] = widest + PADDING;
            }
            at = end;
        }
    }
    let mut out = String::with_capacity(raw.len() * 2);
    for (index, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(column) {
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_ends_where_a_line_has_no_cell() {
        let text = align("a:\tb\nlonger:\tc\nno tabs\nx:\ty\tz\n\tw\n");
        assert_eq!(text, "a:       b\nlonger:  c\nno tabs\nx:  y  z\n    w\n");
    }
}
