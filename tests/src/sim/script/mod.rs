//! Scenarios as text that reads as documentation, and runs.
//!
//! ```text
//! # prose
//! apply
//!   kind: Deployment        indented lines belong to the command above: a manifest in YAML
//! settle                    waits until nobody writes any more
//! show pods status.phase
//! ----
//! web-7d4b9-* Running (x3)  what is expected; UPDATE_EXPECT=1 rewrites it
//! ```
//!
//! A block is a few commands, and what they say together below `----`, up to an empty line. [`act`] lists the commands.

mod act;
mod show;

pub use act::Stage;

use std::fmt::Write as _;
use std::time::Duration;

use super::invariants::Violation;

/// One command with the lines that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The words of its line.
    pub words: Vec<String>,
    /// The indented lines below it.
    pub body: String,
}

/// Commands, and what is expected of them.
#[derive(Clone, Debug, Default)]
struct Block {
    /// The text of it as it stands in the file, comments included.
    source: String,
    commands: Vec<Command>,
    expected: String,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Script {
    blocks: Vec<Block>,
}

impl Script {
    /// Reads a scenario.
    pub fn parse(text: &str) -> Self {
        let mut blocks = vec![Block::default()];
        let mut expecting = false;
        for line in text.lines() {
            let Some(block) = blocks.last_mut() else { break };
            if line.is_empty() {
                if !block.source.is_empty() {
                    blocks.push(Block::default());
                }
                expecting = false;
            } else if line == "----" {
                expecting = true;
            } else if expecting {
                block.expected.push_str(line);
                block.expected.push('\n');
            } else {
                block.read(line);
            }
        }
        blocks.retain(|block| !block.source.is_empty());
        Self { blocks }
    }

    /// Plays the scenario on a stage. Returns the text as it should be, which is the text that was read if all came as expected.
    ///
    /// # Errors
    /// What went wrong, and at which command.
    pub async fn play(&self, stage: &mut Stage<'_>) -> Result<String, Violation> {
        let mut told = String::new();
        for block in &self.blocks {
            told.push_str(&block.source);
            let mut said = String::new();
            for command in &block.commands {
                let line = command.words.join(" ");
                let heard = stage
                    .act(command)
                    .await
                    .map_err(|violation| format!("{line}: {violation}"))?;
                said.push_str(&heard);
            }
            if !said.is_empty() {
                let _ = writeln!(told, "----\n{}", said.trim_end());
            }
            told.push('\n');
        }
        Ok(told.trim_end().to_owned() + "\n")
    }
}

impl Block {
    fn read(&mut self, line: &str) {
        self.source.push_str(line);
        self.source.push('\n');
        if line.starts_with('#') {
            return;
        }
        if line.starts_with(' ')
            && let Some(command) = self.commands.last_mut()
        {
            command.body.push_str(line);
            command.body.push('\n');
            return;
        }
        self.commands.push(Command {
            words: line.split_whitespace().map(str::to_owned).collect(),
            body: String::new(),
        });
    }
}

/// Reads `40s`, `3m`, `1m30s`.
fn duration(text: &str) -> Result<Duration, Violation> {
    let (mut total, mut number) = (0, 0);
    for character in text.chars() {
        match character {
            's' => total += std::mem::take(&mut number),
            'm' => total += std::mem::take(&mut number) * 60,
            digit => {
                let digit = digit.to_digit(10).ok_or_else(|| format!("{text:?} is no duration"))?;
                number = number * 10 + u64::from(digit);
            }
        }
    }
    Ok(Duration::from_secs(total))
}
