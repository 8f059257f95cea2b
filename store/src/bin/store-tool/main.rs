//! A tool for stores that nobody has open: check, restore, shrink; and for whoever doubts them: bench, and a writer to be killed.

mod bench;
mod deed;
mod write;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use timonel_store::engine::RedbRecords;
use timonel_store::{Engine, snapshot};

const USAGE: &str = "usage: store-tool check DIR
       store-tool restore SNAPSHOT DIR redb|sled
       store-tool shrink DIR
       store-tool bench DIR [SECONDS]
       store-tool write DIR redb|sled SEED";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Prints a line. A reader that has gone is no reason to panic.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            let _ = writeln!(std::io::stderr().lock(), "store-tool: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<(), Failure> {
    match args {
        ["check", dir] => {
            let report = snapshot::check(Path::new(dir))?;
            say(&format!("{report:#?}"));
            if report.damaged.is_empty() {
                Ok(())
            } else {
                Err("there are damaged records".into())
            }
        }
        ["restore", file, dir, engine] => {
            let revision = snapshot::restore(Path::new(file), Path::new(dir), engine.parse::<Engine>()?)?;
            say(&format!("restored; the store starts at revision {revision}"));
            Ok(())
        }
        ["shrink", dir] => {
            let file = Path::new(dir).join("history.redb");
            if !file.exists() {
                return Err("only redb files can be shrunk".into());
            }
            let before = std::fs::metadata(&file)?.len();
            RedbRecords::open(&file, 64 * 1024 * 1024)?.shrink()?;
            say(&format!("{before} -> {} bytes", std::fs::metadata(&file)?.len()));
            Ok(())
        }
        ["bench", dir, rest @ ..] => {
            let seconds = rest.first().map_or(Ok(3), |seconds| seconds.parse())?;
            runtime()?.block_on(bench::run(Path::new(dir), std::time::Duration::from_secs(seconds)))
        }
        ["write", dir, engine, seed] => runtime()?.block_on(write::run(Path::new(dir), engine.parse()?, seed.parse()?)),
        _ => Err(USAGE.into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
