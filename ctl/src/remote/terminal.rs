//! The user's terminal: raw while a session lasts, and its size.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::RESIZE;
use crate::error::Failure;

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Raw mode, left when dropped.
#[derive(Debug)]
pub(crate) struct Raw;

impl Raw {
    /// Puts the terminal into raw mode.
    pub(crate) fn enter() -> Result<Self, Failure> {
        crossterm::terminal::enable_raw_mode()
            .map_err(|error| Failure::usage(format!("cannot switch the terminal to raw mode: {error}")))?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

/// Completes with the exit code (128 + number) when a signal asks the program to end.
pub(super) async fn ended_by_signal() -> u8 {
    let all = [
        (SignalKind::terminate(), 128 + 15),
        (SignalKind::hangup(), 128 + 1),
        (SignalKind::interrupt(), 128 + 2),
        (SignalKind::quit(), 128 + 3),
    ];
    let waits = all.into_iter().map(|(kind, code)| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut signals) => signals.recv().await,
                Err(_) => std::future::pending().await,
            };
            code
        })
    });
    futures::future::select_all(waits).await.0
}

/// Sends the terminal's size, now and whenever it changes.
pub(super) async fn sizes(frames: mpsc::Sender<Vec<u8>>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        if let Ok((width, height)) = crossterm::terminal::size() {
            let size = serde_json::json!({"Width": width, "Height": height}).to_string();
            let frame = [&[RESIZE][..], size.as_bytes()].concat();
            if frames.send(frame).await.is_err() {
                return;
            }
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}
