//! Text page for people: headings, fields and tables without borders, safe to show.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table};

use crate::clean;

/// Smallest width of a folded column. Narrower sentences are not readable.
const FOLDED: u16 = 24;

/// Text of one report.
///
/// Cells and values may come from stored data. They pass through [`clean`], so that no stored name steers the
/// terminal.
#[derive(Debug)]
pub struct Page {
    text: String,
    width: Option<u16>,
}

impl Page {
    /// Makes an empty page; tables are fitted to `width` columns where possible.
    #[must_use]
    pub fn new(width: Option<u16>) -> Self {
        Self {
            text: String::new(),
            width,
        }
    }

    /// Writes one line.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(&clean::line(line));
        self.text.push('\n');
    }

    /// Writes a heading, with an empty line above unless it is the first.
    pub fn heading(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(title);
    }

    /// Writes names and values, one pair a line, values aligned. A value of several lines stays aligned.
    pub fn fields<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, String)>) {
        let mut table = self.plain();
        for (name, value) in fields {
            table.add_row(vec![format!("{name}:"), cell(&value)]);
        }
        self.fit(&mut table, 1);
        self.push(&table);
    }

    /// Writes a table with `columns` as its header.
    pub fn table<const N: usize>(
        &mut self,
        columns: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let mut table = self.plain();
        table.set_header(columns.to_vec());
        for row in rows {
            table.add_row(row.iter().map(|value| cell(value)).collect::<Vec<_>>());
        }
        // Names come first and are copied by people; sentences come last and may be folded.
        self.fit(&mut table, N.saturating_sub(2));
        self.push(&table);
    }

    fn plain(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING).force_no_tty();
        table
    }

    /// Folds all but the first `whole` columns if the table then fits and stays readable.
    fn fit(&self, table: &mut Table, whole: usize) {
        let Some(width) = self.width else {
            return;
        };
        // A column has a space on both sides.
        let widths = table.column_max_content_widths();
        let wide = |widths: &mut dyn Iterator<Item = u16>| {
            widths.fold(0_u16, |sum, w| sum.saturating_add(w).saturating_add(2))
        };
        let folded = widths.iter().skip(whole).map(|w| FOLDED.min(*w));
        let least = wide(&mut widths.iter().take(whole).copied().chain(folded));
        if least > width {
            return;
        }
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        for column in table.column_iter_mut().take(whole) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    fn push(&mut self, table: &Table) {
        for line in table.lines() {
            // Without borders every line begins with the padding of its first column.
            let line = line.strip_prefix(' ').unwrap_or(&line);
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Cleans a value, which may have several lines.
fn cell(text: &str) -> String {
    text.lines().map(clean::line).collect::<Vec<_>>().join("\n")
}
