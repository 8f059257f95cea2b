//! What must hold for the source itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

/// Which crates of ours each crate may build on (development dependencies aside).
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let component = vec!["timonel-api", "timonel-client"];
    let mut allowed = BTreeMap::from([
        ("api", vec![]),
        ("store", vec!["timonel-api"]),
        ("client", vec!["timonel-api"]),
        ("apiserver", vec!["timonel-api", "timonel-store", "timonel-client"]),
    ]);
    for name in ["scheduler", "controller-manager", "kubelet", "proxy", "dns", "ctl"] {
        allowed.insert(name, component.clone());
    }
    allowed
}

#[test]
fn dependencies_between_crates_point_one_way() {
    for (folder, allowed) in allowed() {
        let manifest = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest
            .split("[dependencies]")
            .nth(1)
            .and_then(|rest| rest.split("\n[").next())
            .unwrap_or("");
        let ours: BTreeSet<&str> = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|name| name.starts_with("timon"))
            .collect();
        let surplus: Vec<&&str> = ours.iter().filter(|name| !allowed.contains(*name)).collect();
        assert!(surplus.is_empty(), "{folder} must not depend on {surplus:?}");
    }
}

/// Packages with their features, as cargo unites them for these.
fn features(packages: &[&str], edges: &str) -> BTreeSet<String> {
    let mut tree = std::process::Command::new(env!("CARGO"));
    tree.current_dir(workspace()).args([
        "tree",
        "--offline",
        "--prefix",
        "none",
        "--format",
        "{p} {f}",
        "--edges",
        edges,
    ]);
    for package in packages {
        tree.args(["--package", package]);
    }
    let output = tree.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout);
    lines
        .lines()
        .map(|line| line.trim_end_matches(" (*)").trim_end().to_owned())
        .collect()
}

#[test]
fn the_tests_want_no_features_for_which_the_programs_are_built_again() {
    let programs = features(&["timonel", "timonctl"], "normal,build");
    let all = features(&["timonel", "timonctl", "timonel-tests"], "all");
    let again: Vec<&String> = programs.difference(&all).collect();
    assert!(
        again.is_empty() && !programs.is_empty(),
        "built once for the programs and once for the tests: {again:#?}"
    );
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && !["target", ".git", ".venv"].iter().any(|skipped| name == *skipped) {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn planners_have_no_clock_no_io_and_no_logging() {
    let mut all = Vec::new();
    sources(&workspace(), &mut all);
    // What `timonctl plan` does is a command, no planner.
    let commands = workspace().join("ctl");
    let planners: Vec<&PathBuf> = all
        .iter()
        .filter(|path| path.ends_with("plan.rs") || path.ends_with("decide.rs"))
        .filter(|path| !path.starts_with(&commands))
        .collect();
    assert!(planners.len() > 8, "the planners are where they should be");
    let banned = [
        "async fn",
        ".await",
        "tracing::",
        "info!(",
        "warn!(",
        "Timestamp::now",
        "Instant::now",
        "std::fs",
        "tokio::",
    ];
    let mut wrong = Vec::new();
    for path in planners {
        let text = std::fs::read_to_string(path).expect("readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        wrong.extend(
            code.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .filter(|line| banned.iter().any(|word| line.contains(word)))
                .map(|line| format!("{}: {}", path.display(), line.trim())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_document_that_is_linked_is_there() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(workspace().join(document)).expect("the document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") {
                assert!(
                    workspace().join(link).exists(),
                    "{document} links {link}, which is not there"
                );
            }
        }
        for mention in text
            .split_whitespace()
            .filter(|word| word.starts_with("docs/howto/") && word.ends_with(".md"))
        {
            assert!(
                workspace().join(mention).exists(),
                "{document} mentions {mention}, which is not there"
            );
        }
    }
}
