//! Every planted bug is caught by the scenario that its list names. `tests/scenarios/planted.md` says by what;
//! `UPDATE_EXPECT=1 cargo test ... bugs -- --test-threads=1` rewrites it.

use std::path::PathBuf;

use timonel_tests::sim::perturb;
use timonel_tests::sim::planted::{self, Bug};
use timonel_tests::sim::script::Script;
use timonel_tests::sim::tap::Tap;

use crate::scenarios::{SEED, text};

/// What catches a bug: an invariant, a step that never comes about, or a story that is another.
fn caught(bug: &'static Bug) -> Option<String> {
    let text = text(bug.scenario);
    let script = Script::parse(&text);
    let life = match perturb::play(SEED, &script, bug.component, &Tap::with_bug(bug), None) {
        Ok(life) => life,
        // Revisions and states are other ones whenever a component changes.
        Err(violation) => {
            let line = violation.lines().next().unwrap_or_default();
            let stable = line.split(": at revision").next().unwrap_or_default();
            let stable = stable.split(": not within").next().unwrap_or_default();
            return Some(stable.to_owned());
        }
    };
    (text.trim_end() != life.told.trim_end()).then(|| "the story".to_owned())
}

fn table() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/planted.md")
}

/// Writes a row down in the place of the one of the same bug.
fn note(row: &str) {
    let written = std::fs::read_to_string(table()).unwrap_or_default();
    let name = |row: &str| row.split('|').nth(1).map(str::to_owned);
    let mut lines: Vec<&str> = written.lines().collect();
    match lines.iter().position(|line| name(line) == name(row)) {
        Some(at) => lines[at] = row,
        None => lines.push(row),
    }
    std::fs::write(table(), lines.join("\n") + "\n").expect("the table can be written");
}

fn catch(part: usize) {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let (mut missed, mut otherwise) = (Vec::new(), Vec::new());
    for bug in planted::bugs().skip(part).step_by(PARTS) {
        let Some(by) = caught(bug) else {
            missed.push(bug.name);
            continue;
        };
        let row = format!("| {} | {} | {} |", bug.name, bug.scenario, by.replace('|', "/"));
        if update {
            note(&row);
        } else if !std::fs::read_to_string(table()).expect("the table").contains(&row) {
            otherwise.push(row);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:#?}");
    assert!(
        otherwise.is_empty(),
        "caught otherwise than planted.md says: {otherwise:#?}"
    );
}

const PARTS: usize = 4;

#[test]
fn every_planted_bug_is_caught_1_of_4() {
    assert!(planted::bugs().count() >= 20, "at least twenty are planted");
    catch(0);
}

#[test]
fn every_planted_bug_is_caught_2_of_4() {
    catch(1);
}

#[test]
fn every_planted_bug_is_caught_3_of_4() {
    catch(2);
}

#[test]
fn every_planted_bug_is_caught_4_of_4() {
    catch(3);
}
