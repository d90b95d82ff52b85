//! Screen of the show: numbered steps, commands, and their indented output.

use std::fmt::Write as _;

use anyhow::Result;
use e2e::run::{Command, Output};

/// Width to which text is folded, so that it reads well beside the indented output of the programs.
const WIDTH: usize = 88;
/// Largest number of lines of one program. More is a list, whose start is enough.
const LINES: usize = 160;

/// Screen that prints to standard output, as all of the show does.
pub(super) struct Screen {
    step: usize,
    steps: usize,
}

impl Screen {
    pub(super) fn new(steps: usize) -> Self {
        Self { step: 0, steps }
    }

    /// Prints the head of the show.
    pub(super) fn title(&self, title: &str, text: &str) -> Result<()> {
        let rule = "=".repeat(WIDTH);
        crate::print(&format!("{rule}\n{title}\n{rule}\n{}", folded(text)))
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, title: &str, text: &str) -> Result<()> {
        self.step += 1;
        let head = format!("[{}/{}] {title} ", self.step, self.steps);
        let rule = "-".repeat(WIDTH.saturating_sub(head.len()));
        crate::print(&format!("\n{head}{rule}\n{}", folded(text)))
    }

    /// Prints one line of what happens.
    pub(super) fn line(&self, text: &str) -> Result<()> {
        crate::print(&format!("  {text}"))
    }

    /// Runs a command and shows it with its output. It must end with 0.
    pub(super) async fn run(&self, command: &Command) -> Result<Output> {
        crate::print(&format!("\n$ {}", command.shown()))?;
        // Both streams become one, so that data and status come in the order in which they were written.
        let output = command.clone().after_sh("exec 2>&1").output().await?;
        crate::print(&indented(&output.stdout))?;
        output.ended_with(0)
    }

    /// Prints a fact that was checked and holds. A fact that does not hold ends the show with an error.
    pub(super) fn holds(&self, fact: bool, text: &str) -> Result<()> {
        anyhow::ensure!(fact, "this should be so, and is not: {text}");
        crate::print(&format!("  [ok] {text}"))
    }

    /// Prints the last screen.
    pub(super) fn end(&self, seen: &[String]) -> Result<()> {
        let rule = "=".repeat(WIDTH);
        let mut text = format!("\n{rule}\nWhat you saw\n{rule}\n");
        for line in seen {
            let folded = folded(line).replace('\n', "\n    ");
            writeln!(text, "  * {folded}")?;
        }
        text.push_str(
            "\nWhere to go next\n  \
             make lab                  the same lab, left running, with a kube-apiserver: play\n  \
             make test                 all tests on the same parts, faults included\n  \
             schedules/butler.yaml     the configuration file, every key explained\n  \
             FORMAT.md                 what lies in the bucket, and recovery with stock tools\n  \
             backupd --help, restore-cli --help",
        );
        crate::print(&text)
    }
}

/// Returns a part of a whole in per cent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Formats bytes for people.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

fn folded(text: &str) -> String {
    let mut folded = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        if length > 0 && length + 1 + word.len() > WIDTH {
            folded.push('\n');
            length = 0;
        } else if length > 0 {
            folded.push(' ');
            length += 1;
        }
        folded.push_str(word);
        length += word.len();
    }
    folded
}

/// Indents the output of a program, and cuts a long list.
pub(super) fn indented(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    let mut shown: Vec<_> = lines
        .iter()
        .take(LINES)
        .map(|line| format!("  {line}").trim_end().to_owned())
        .collect();
    if lines.len() > LINES {
        shown.push(format!("  ... and {} lines more", lines.len() - LINES));
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_folded_at_words() {
        let text = "word ".repeat(40);
        let folded = folded(&text);
        assert!(folded.lines().all(|line| line.len() <= WIDTH));
        assert_eq!(folded.split_whitespace().count(), 40);
        assert_eq!(percent(26, 1_000), "2.6 %");
        assert_eq!(percent(1, 0), "0.0 %");
    }
}
