//! Says what a long step is at: a line that changes on a terminal, nothing elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One step after the other.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Begins.
    pub(crate) fn start() -> Self {
        let bar = ProgressBar::with_draw_target(
            None,
            if std::io::stderr().is_terminal() {
                ProgressDrawTarget::stderr()
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Names the step that is under way.
    pub(crate) fn step(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Prints a line of the command's result.
pub(crate) fn say(line: &str) {
    // A reader that went away does not want the rest.
    let _ = writeln!(std::io::stdout(), "{line}");
}
