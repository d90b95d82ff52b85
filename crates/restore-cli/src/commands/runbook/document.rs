//! Document of headings, sentences, tables and commands, as Markdown or for a terminal.

use backup_cli::clean;
use clap::ValueEnum;

/// Width to which text for a terminal is folded.
const WIDTH: usize = 80;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Form {
    /// For a viewer or a printer.
    #[default]
    Markdown,
    /// For a terminal.
    Text,
}

#[derive(Debug)]
enum Block {
    Heading(u8, String),
    Text(String),
    Items(Vec<String>),
    Table(Vec<String>, Vec<Vec<String>>),
    Commands(&'static str, Vec<String>),
}

/// Document; see the module. Control characters never get into its text: a name from a store can neither end
/// a block of commands nor begin one.
#[derive(Debug, Default)]
pub(super) struct Document {
    blocks: Vec<Block>,
    steps: u32,
}

impl Document {
    pub(super) fn title(&mut self, text: &str) {
        self.blocks.push(Block::Heading(1, text.to_owned()));
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.blocks.push(Block::Heading(2, text.to_owned()));
    }

    pub(super) fn part(&mut self, text: &str) {
        self.blocks.push(Block::Heading(3, text.to_owned()));
    }

    /// Adds the heading of the next step.
    pub(super) fn step(&mut self, text: &str) {
        self.steps = self.steps.saturating_add(1);
        self.heading(&format!("Step {}: {text}", self.steps));
    }

    pub(super) fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    /// Adds a list; adds nothing if there are no items.
    pub(super) fn items<S: Into<String>>(&mut self, items: impl IntoIterator<Item = S>) {
        let items: Vec<String> = items.into_iter().map(Into::into).collect();
        if !items.is_empty() {
            self.blocks.push(Block::Items(items));
        }
    }

    pub(super) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let head = head.iter().map(ToString::to_string).collect();
        let rows = rows.into_iter().map(Vec::from).collect();
        self.blocks.push(Block::Table(head, rows));
    }

    /// Adds commands of the restore itself: all of these, in their order, are the restore.
    pub(super) fn run<S: Into<String>>(&mut self, lines: impl IntoIterator<Item = S>) {
        self.commands("sh", lines);
    }

    /// Adds commands to run only when the text around them asks for them.
    pub(super) fn aside<S: Into<String>>(&mut self, lines: impl IntoIterator<Item = S>) {
        self.commands("bash", lines);
    }

    fn commands<S: Into<String>>(
        &mut self,
        kind: &'static str,
        lines: impl IntoIterator<Item = S>,
    ) {
        let lines = lines.into_iter().map(Into::into).collect();
        self.blocks.push(Block::Commands(kind, lines));
    }

    /// Returns the whole text, with a line feed at its end.
    pub(super) fn written(&self, form: Form) -> String {
        let blocks = self.blocks.iter().map(|block| match form {
            Form::Markdown => markdown(block),
            Form::Text => text(block),
        });
        let mut whole = blocks.collect::<Vec<_>>().join("\n\n");
        whole.push('\n');
        whole
    }
}

/// Formats a name as code, to be read letter by letter.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

fn printable(text: &str) -> String {
    clean::line(text).into_owned()
}

fn markdown(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => {
            let marks = "#".repeat(usize::from(*level));
            format!("{marks} {}", prose(text))
        }
        Block::Text(text) => prose(text),
        Block::Items(items) => {
            let items = items.iter().map(|item| format!("- {}", prose(item)));
            items.collect::<Vec<_>>().join("\n")
        }
        Block::Table(head, rows) => {
            let row = |cells: &[String]| {
                let cells = cells.iter().map(|cell| prose(cell).replace('|', "\\|"));
                format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
            };
            let rule = vec!["---".to_owned(); head.len()];
            let lines = [row(head), row(&rule)];
            let rows = rows.iter().map(|cells| row(cells));
            lines.into_iter().chain(rows).collect::<Vec<_>>().join("\n")
        }
        Block::Commands(kind, lines) => {
            let lines = lines.iter().map(|line| printable(line));
            format!("```{kind}\n{}\n```", lines.collect::<Vec<_>>().join("\n"))
        }
    }
}

/// Escapes a sentence so that Markdown interprets only code between backticks.
fn prose(text: &str) -> String {
    let mut code = false;
    let mut safe = String::new();
    for c in printable(text).chars() {
        match c {
            '`' => code = !code,
            '<' | '*' | '[' if !code => safe.push('\\'),
            _ => {}
        }
        safe.push(c);
    }
    safe
}

fn text(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => {
            let text = printable(text);
            let line = match level {
                1 => "=",
                2 => "-",
                _ => return text,
            };
            format!("{text}\n{}", line.repeat(text.chars().count()))
        }
        Block::Text(text) => folded(text, "", ""),
        Block::Items(items) => {
            let items = items.iter().map(|item| folded(item, "- ", "  "));
            items.collect::<Vec<_>>().join("\n")
        }
        Block::Table(head, rows) => aligned(head, rows),
        Block::Commands(_, lines) => {
            let lines = lines.iter().map(|line| format!("    {}", printable(line)));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Folds text at spaces; a word that is too long stays whole, because people copy it.
fn folded(text: &str, first: &str, rest: &str) -> String {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in printable(text).split_whitespace() {
        let wide = line.chars().count() + 1 + word.chars().count();
        if !empty && wide > WIDTH {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines.join("\n")
}

fn aligned(head: &[String], rows: &[Vec<String>]) -> String {
    let all: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.iter().map(Vec::as_slice))
        .map(|cells| cells.iter().map(|cell| printable(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|cells| cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let lines = all.iter().map(|cells| {
        let cells = cells
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<0$}", width(column)));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_store_leaves_its_place() {
        let mut document = Document::default();
        let hostile = "x\n```\n```sh\nrm -rf /\n```\n| <b> **y**";
        document.heading(hostile);
        document.text(hostile);
        document.items([hostile]);
        document.table(["A", "B"], [[hostile.to_owned(), "b".to_owned()]]);
        document.run([format!("echo {hostile}")]);
        for form in [Form::Markdown, Form::Text] {
            let written = document.written(form);
            let starts = |with: &str| written.lines().filter(|l| l.starts_with(with)).count();
            assert_eq!(starts("rm"), 0, "{written}");
            let fences = if form == Form::Markdown { 2 } else { 0 };
            assert_eq!(starts("```"), fences, "{written}");
        }
    }

    #[test]
    fn sentences_are_folded_and_long_words_stay_whole() {
        let long = "y".repeat(100);
        let text = folded(&format!("{} {long} z", "word ".repeat(20)), "- ", "  ");
        assert!(text.lines().any(|line| line.trim() == long), "{text}");
        let others = text.lines().filter(|line| line.trim() != long);
        assert!(others.clone().count() >= 3, "{text}");
        others.for_each(|line| assert!(line.chars().count() <= WIDTH, "{line}"));
    }
}
