//! Holds three things together: upstream's catalogue, the table in `docs/conformance.md`, and the tests of this suite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

/// An entry as the catalogue and the table name it: release, group and testname. A few testnames stand for two entries.
type Entry = (String, String, String);

const VERDICTS: [&str; 4] = ["covered", "needs nodes", "later issue", "not met"];

struct Row {
    entry: Entry,
    verdict: String,
    note: String,
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(workspace().join("docs/conformance.md")).expect("the table");
    let lines = text.lines().filter(|line| line.contains(" | sig-"));
    lines
        .map(|line| {
            let cells: Vec<String> = line.trim_matches('|').split(" | ").map(plain).collect();
            let [release, group, name, verdict, note] =
                cells.try_into().unwrap_or_else(|_| panic!("five cells: {line}"));
            Row {
                entry: (release, group, name),
                verdict,
                note,
            }
        })
        .collect()
}

fn counted<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

/// The testnames that stand above the tests of this suite.
fn tested() -> Vec<String> {
    let mut folders = vec![workspace().join("tests/tests/conformance")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                let lines: Vec<&str> = text.lines().collect();
                let pairs = lines.windows(2).filter(|pair| pair[1].trim() == "#[test]");
                found.extend(pairs.filter_map(|pair| pair[0].trim().strip_prefix("/// ")).map(plain));
            }
        }
    }
    found
}

#[test]
fn every_covered_row_has_its_test_and_every_test_its_row() {
    let covered = counted(
        rows()
            .into_iter()
            .filter(|row| row.verdict == "covered")
            .map(|row| row.entry.2),
    );
    assert_eq!(covered, counted(tested().into_iter()));
}

#[test]
fn every_verdict_is_one_of_four_and_all_but_covered_say_why() {
    for row in rows() {
        assert!(
            VERDICTS.contains(&row.verdict.as_str()),
            "{:?}: {}",
            row.entry,
            row.verdict
        );
        assert!(
            row.verdict == "covered" || !row.note.is_empty(),
            "{:?} says not why",
            row.entry
        );
    }
}

#[test]
fn the_tables_sums_are_right() {
    let text = std::fs::read_to_string(workspace().join("docs/conformance.md")).expect("the table");
    let sums = counted(rows().into_iter().map(|row| row.verdict));
    for (verdict, sum) in sums {
        assert!(text.contains(&format!("- **{verdict}**: {sum}")), "{verdict} are {sum}");
    }
}

#[test]
fn every_entry_of_the_catalogue_has_its_row() {
    let catalogue = workspace().join("../shared/reference/kubernetes-1.36/conformance.yaml");
    let rows = rows();
    assert_eq!(rows.len(), 446);
    let Ok(text) = std::fs::read_to_string(&catalogue) else {
        eprintln!(
            "{} is not here; the table was compared with it where it is",
            catalogue.display()
        );
        return;
    };
    let entries: Vec<serde_json::Value> = serde_saphyr::from_str(&text).expect("YAML");
    let wanted = entries.iter().map(|entry| {
        let of = |field: &str| plain(entry[field].as_str().unwrap_or_default());
        let group = of("codename");
        let group = group
            .trim_start_matches('[')
            .split(']')
            .next()
            .unwrap_or_default()
            .to_owned();
        (of("release"), group, of("testname"))
    });
    assert_eq!(counted(rows.into_iter().map(|row| row.entry)), counted(wanted));
}
