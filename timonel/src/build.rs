//! From what this program was built, as `build.rs` has found it.

use jiff::Timestamp;
use timonel_apiserver::BuildInfo;

/// For `/version`.
pub(crate) fn info() -> BuildInfo {
    // A moment in seconds, where the build was told one.
    let date = env!("TIMONEL_DATE");
    let date = match date.parse().map(Timestamp::from_second) {
        Ok(Ok(moment)) => moment.to_string(),
        _ => date.to_owned(),
    };
    let unknown = BuildInfo::default();
    BuildInfo {
        commit: env!("TIMONEL_COMMIT").to_owned(),
        tree_state: env!("TIMONEL_TREE_STATE").to_owned(),
        date: if date.is_empty() { unknown.date } else { date },
        compiler: env!("TIMONEL_COMPILER").to_owned(),
    }
}

/// For `timonel version`.
pub(crate) fn line() -> String {
    let info = info();
    let version = env!("CARGO_PKG_VERSION");
    match info.commit.get(..12) {
        Some(commit) => format!("timonel {version} ({commit}, {}, {})", info.tree_state, info.date),
        None => format!("timonel {version}"),
    }
}
