//! Tells the program from what it is built: the commit, its date, whether files differed from it, the compiler.
//!
//! Packagers who build without a repository may say it by `TIMONEL_GIT_COMMIT` and `SOURCE_DATE_EPOCH`. Whether files differ is what
//! was seen when the commit last changed: a build of later edits may call itself clean and not be, and is not slowed down by the question.

use std::env;
use std::process::Command;

fn main() {
    for name in ["TIMONEL_GIT_COMMIT", "SOURCE_DATE_EPOCH", "RUSTC"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let given = env::var("TIMONEL_GIT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let found = output("git", &["rev-parse", "HEAD"]);
    let tree = match (&given, &found) {
        (Some(_), _) | (None, None) => "archive",
        (None, Some(_)) => match output("git", &["status", "--porcelain", "--untracked-files=no"]) {
            Some(changes) if changes.is_empty() => "clean",
            _ => "dirty",
        },
    };
    let date = ["--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd"];
    let date = output("git", &["log", "-1", date[0], date[1]]);
    let compiler = output(
        &env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()),
        &["--version"],
    );
    let commit = given.or(found).unwrap_or_default();
    println!("cargo:rustc-env=TIMONEL_COMMIT={commit}");
    println!("cargo:rustc-env=TIMONEL_TREE_STATE={tree}");
    println!(
        "cargo:rustc-env=TIMONEL_DATE={}",
        env::var("SOURCE_DATE_EPOCH").ok().or(date).unwrap_or_default()
    );
    println!(
        "cargo:rustc-env=TIMONEL_COMPILER={}",
        compiler.unwrap_or_else(|| "rustc".to_owned())
    );
}

/// What a command prints, where it runs well.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
