//! Document of headings, sentences, tables and commands, as Markdown or for a terminal.

use std::iter::Peekable;
use std::str::Lines;

use backup_cli::clean;
use clap::ValueEnum;

/// Width to which text for a terminal is folded.
const WIDTH: usize = 80;
/// Character at the start of every fact in the text that is read, so that none is taken for markup. Facts
/// themselves have no such character.
const FACT: char = '\u{2}';
/// Character that stands for a bar in a fact, so that none ends a cell.
const BAR: char = '\u{3}';

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
    Heading(usize, String),
    Text(String),
    Items(Vec<String>),
    Table(Vec<Vec<String>>),
    Commands(String, Vec<String>),
}

/// Document; see the module. Control characters never get into its text: a name from a store can neither end
/// a block of commands nor begin one.
#[derive(Debug)]
pub(super) struct Document {
    blocks: Vec<Block>,
}

impl Document {
    /// Reads the blocks of a text in which each fact is written with [`fact`].
    pub(super) fn read(text: &str) -> Self {
        let mut lines = text.lines().peekable();
        let mut blocks = Vec::new();
        while let Some(line) = lines.next() {
            if !line.trim().is_empty() {
                blocks.push(block(line, &mut lines));
            }
        }
        Self { blocks }
    }

    /// Returns the items of all lists.
    pub(super) fn items(self) -> Vec<String> {
        let items = self.blocks.into_iter().filter_map(|block| match block {
            Block::Items(items) => Some(items),
            _ => None,
        });
        items.flatten().collect()
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

/// Writes a fact into a text that is read as a document. It stays within its line, cell or word.
pub(super) fn fact(text: &str) -> String {
    format!("{FACT}{}", clean::line(text).replace('|', &BAR.to_string()))
}

/// Returns the text with its facts as they were given.
fn plain(text: &str) -> String {
    text.replace(FACT, "").replace(BAR, "|")
}

/// Formats a name as code, to be read letter by letter.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

/// Reads the block that begins with `line`.
fn block(line: &str, lines: &mut Peekable<Lines<'_>>) -> Block {
    if let Some(kind) = line.strip_prefix("```") {
        let commands = lines.take_while(|line| *line != "```").map(plain);
        return Block::Commands(kind.to_owned(), commands.collect());
    }
    if line.starts_with('#') {
        let title = line.trim_start_matches('#');
        let level = line.len().saturating_sub(title.len());
        return Block::Heading(level, plain(title.trim_start()));
    }
    if line.starts_with('|') {
        let mut rows = vec![cells(line)];
        // The rule below the head.
        lines.next();
        while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
            rows.push(cells(row));
        }
        return Block::Table(rows);
    }
    if let Some(first) = line.strip_prefix("- ") {
        let mut items = vec![joined(first, lines)];
        while let Some(item) = lines.next_if(|line| line.starts_with("- ")) {
            items.push(joined(item.trim_start_matches("- "), lines));
        }
        return Block::Items(items);
    }
    Block::Text(joined(line, lines))
}

/// Joins a line with those that continue its sentence.
fn joined(first: &str, lines: &mut Peekable<Lines<'_>>) -> String {
    let begins = |line: &str| {
        ["```", "#", "|", "- "]
            .iter()
            .any(|mark| line.starts_with(mark))
    };
    let mut text = first.to_owned();
    while let Some(line) = lines.next_if(|line| !line.trim().is_empty() && !begins(line)) {
        text.push(' ');
        text.push_str(line.trim_start());
    }
    plain(&text)
}

/// Returns the cells of the row of a table.
fn cells(row: &str) -> Vec<String> {
    let row = row.strip_prefix("| ").unwrap_or(row);
    let row = row.strip_suffix(" |").unwrap_or(row);
    row.split(" | ").map(plain).collect()
}

fn markdown(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => format!("{} {}", "#".repeat(*level), prose(text)),
        Block::Text(text) => prose(text),
        Block::Items(items) => {
            let items = items.iter().map(|item| format!("- {}", prose(item)));
            items.collect::<Vec<_>>().join("\n")
        }
        Block::Table(rows) => {
            let row = |cells: &Vec<String>| {
                let cells = cells.iter().map(|cell| prose(cell).replace('|', "\\|"));
                format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
            };
            let mut lines: Vec<String> = rows.iter().map(row).collect();
            let columns = rows.first().map_or(0, Vec::len);
            lines.insert(1, row(&vec!["---".to_owned(); columns]));
            lines.join("\n")
        }
        Block::Commands(kind, lines) => format!("```{kind}\n{}\n```", lines.join("\n")),
    }
}

/// Escapes a sentence so that Markdown interprets only code between backticks.
fn prose(text: &str) -> String {
    let mut code = false;
    let mut safe = String::new();
    for c in text.chars() {
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
            let line = match level {
                1 => "=",
                2 => "-",
                _ => return text.clone(),
            };
            format!("{text}\n{}", line.repeat(text.chars().count()))
        }
        Block::Text(text) => folded(text, "", ""),
        Block::Items(items) => {
            let items = items.iter().map(|item| folded(item, "- ", "  "));
            items.collect::<Vec<_>>().join("\n")
        }
        Block::Table(rows) => aligned(rows),
        Block::Commands(_, lines) => {
            let lines = lines.iter().map(|line| format!("    {line}"));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Folds text at spaces; a word that is too long stays whole, because people copy it.
fn folded(text: &str, first: &str, rest: &str) -> String {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
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

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|cells| cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let lines = rows.iter().map(|cells| {
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

    /// Returns a text with the fact in each kind of block.
    fn everywhere(told: &str) -> String {
        let told = fact(told);
        format!(
            "## {told}\n\nA {told}\n{told}\n\n- {told}\n  {told}\n\n| A | B |\n| --- | --- |\n\
             | {told} | b |\n\n```sh\necho {told}\n{told}\n```\n"
        )
    }

    #[test]
    fn nothing_from_a_store_leaves_its_place() {
        let hostile = "x\n```\n```sh\nrm -rf /\n```\n| <b> **y**";
        for form in [Form::Markdown, Form::Text] {
            let written = Document::read(&everywhere(hostile)).written(form);
            let starts = |with: &str| written.lines().filter(|l| l.starts_with(with)).count();
            assert_eq!(starts("rm"), 0, "{written}");
            let fences = if form == Form::Markdown { 2 } else { 0 };
            assert_eq!(starts("```"), fences, "{written}");
        }
    }

    #[test]
    fn no_fact_is_taken_for_markup() {
        for told in [
            "```",
            "```sh\nx",
            "# x",
            "| a | b |",
            "- x",
            "\u{2}- x\u{3}",
            "",
            " ",
        ] {
            let document = Document::read(&everywhere(told));
            let [
                _,
                _,
                Block::Items(items),
                Block::Table(rows),
                Block::Commands(_, commands),
            ] = &document.blocks[..]
            else {
                panic!("{document:?}");
            };
            let counts = (items.len(), rows.len(), rows[1].len(), commands.len());
            assert_eq!(counts, (1, 2, 2, 2), "{document:?}");
            assert!(!document.written(Form::Markdown).contains([FACT, BAR]));
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

    #[test]
    fn lines_of_a_template_become_blocks() {
        let text = "# A\nb\nc\n## D\n- e\n  f\n- g\n\nh\n| I | J |\n| --- | --- |\n| k |  |\n```sh\n\n  l\n```\nm";
        let document = Document::read(text);
        let markdown = "# A\n\nb c\n\n## D\n\n- e f\n- g\n\nh\n\n| I | J |\n| --- | --- |\n| k |  |\n\n\
                        ```sh\n\n  l\n```\n\nm\n";
        assert_eq!(document.written(Form::Markdown), markdown);
        assert_eq!(document.items(), ["e f", "g"]);
    }
}
