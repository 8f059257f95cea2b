//! The scenarios of `tests/scenarios`: each is played, must tell what its text says, and must stay at rest afterwards.
//!
//! `UPDATE_EXPECT=1` rewrites what is expected. `SCENARIO=quota` plays one.

use std::path::PathBuf;

use timonel_tests::sim::Component;
use timonel_tests::sim::perturb;
use timonel_tests::sim::script::Script;
use timonel_tests::sim::tap::Tap;

/// The seed that scenarios are told with.
pub(crate) const SEED: u64 = 1;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Names of all scenarios, in order, or of the one that is asked for.
pub(crate) fn names() -> Vec<String> {
    let only = std::env::var("SCENARIO").ok();
    let files = std::fs::read_dir(folder()).expect("the scenarios");
    let mut names: Vec<String> = files
        .flatten()
        .filter_map(|file| file.file_name().to_str()?.strip_suffix(".txt").map(str::to_owned))
        .filter(|name| only.as_ref().is_none_or(|only| only == name))
        .collect();
    names.sort();
    names
}

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.txt"))).expect("readable")
}

/// Plays the scenarios of one of the parts; returns what was wrong.
fn told(part: usize, of: usize) -> Vec<String> {
    let names = names().into_iter().enumerate();
    let mut wrong = Vec::new();
    for (_, name) in names.filter(|(number, _)| number % of == part) {
        let text = text(&name);
        let life = perturb::play(SEED, &Script::parse(&text), Component::Controllers, &Tap::new(), None);
        match life {
            Ok(life) if life.told == text => {}
            Ok(life) if std::env::var_os("UPDATE_EXPECT").is_some() => {
                std::fs::write(folder().join(format!("{name}.txt")), life.told).expect("writable");
            }
            Ok(life) => {
                let mut lines = text.lines().zip(life.told.lines()).enumerate();
                let (line, (wanted, found)) = lines.find(|(_, (a, b))| a != b).unwrap_or((0, ("", "")));
                wrong.push(format!("{name}.txt:{}: expected {wanted:?}, found {found:?}", line + 1));
            }
            Err(violation) => wrong.push(format!("{name}: {violation}")),
        }
    }
    wrong
}

macro_rules! parts {
    ($($name:ident $part:literal)*) => {
        $(#[test]
        fn $name() {
            let wrong = told($part, 4);
            assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        })*
    };
}

parts! {
    scenarios_tell_what_their_text_says_1_of_4 0
    scenarios_tell_what_their_text_says_2_of_4 1
    scenarios_tell_what_their_text_says_3_of_4 2
    scenarios_tell_what_their_text_says_4_of_4 3
}
