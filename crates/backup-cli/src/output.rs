//! Output of a command: one report, as a table for people or as JSON or YAML for programs.

use std::fmt::Debug;

use serde::Serialize;

use crate::clean;

mod page;
pub use page::Page;

/// The form that data on stdout has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Text for people.
    #[default]
    Table,
    /// One JSON document; its fields stay.
    Json,
    /// The same document as YAML.
    Yaml,
}

/// Data of one command. Its fields are a contract with the programs that read them.
pub trait Report: Debug + Serialize {
    /// Version that goes up when a field is removed or changes its meaning; new fields do not count.
    const VERSION: u32 = 1;

    /// Writes the form for people.
    fn page(&self, page: &mut Page);
}

/// Error for a report that cannot be written in the requested form.
#[derive(Debug, thiserror::Error)]
#[error("write the report as {form}")]
pub struct RenderError {
    form: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

#[derive(Serialize)]
struct VersionedReport<'a, R> {
    version: u32,
    #[serde(flatten)]
    report: &'a R,
}

/// Renders `report`, with a line feed at its end. Tables are at most `width` columns wide if `width` is
/// given.
///
/// # Errors
/// Fails when the serializer refuses the report.
pub fn render<R: Report>(
    report: &R,
    format: Format,
    width: Option<u16>,
) -> Result<String, RenderError> {
    let versioned = VersionedReport {
        version: R::VERSION,
        report,
    };
    match format {
        Format::Table => {
            let mut page = Page::new(width);
            report.page(&mut page);
            Ok(page.into_text())
        }
        Format::Json => {
            let text = serde_json::to_string_pretty(&versioned).map_err(json_error)?;
            let mut text = clean::json(&text).into_owned();
            text.push('\n');
            Ok(text)
        }
        Format::Yaml => {
            let text = serde_saphyr::to_string(&versioned).map_err(|e| RenderError {
                form: "YAML",
                source: e.to_string().into(),
            })?;
            clean::yaml(text, &versioned).map_err(json_error)
        }
    }
}

fn json_error(error: serde_json::Error) -> RenderError {
    RenderError {
        form: "JSON",
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize)]
    struct Fleet {
        name: String,
        ships: Vec<Ship>,
        flagship: Option<String>,
    }

    #[derive(Debug, Serialize)]
    struct Ship {
        name: String,
        #[serde(rename = "sizeBytes")]
        size: u64,
    }

    impl Report for Fleet {
        fn page(&self, page: &mut Page) {
            page.fields([("Name", self.name.clone()), ("Flagship", "none".to_owned())]);
            page.heading("Ships");
            let rows = self
                .ships
                .iter()
                .map(|s| [s.name.clone(), s.size.to_string()]);
            page.table(["SHIP", "SIZE"], rows);
        }
    }

    fn fleet() -> Fleet {
        let ship = |name: &str, size| Ship {
            name: name.to_owned(),
            size,
        };
        Fleet {
            // Sequences that a stored name may contain to steer a terminal.
            name: "north\u{1b}[2J: #1 \u{9b}1A gr\u{202e}nepo".to_owned(),
            ships: vec![ship("a", 1), ship("bigger", 1 << 40)],
            flagship: None,
        }
    }

    #[test]
    fn tables_are_plain_and_escape_what_could_steer_a_terminal() {
        insta::assert_snapshot!(render(&fleet(), Format::Table, None).unwrap());
    }

    #[test]
    fn names_are_never_folded_and_sentences_are() {
        let mut page = Page::new(Some(95));
        let name = "packs/".to_owned() + &"0".repeat(30);
        let long = "a sentence that goes on and on".to_owned();
        page.table(
            ["OBJECT", "CAUSE", "REMEDY"],
            [[name.clone(), long.clone(), long]],
        );
        let text = page.into_text();
        assert!(text.lines().any(|line| line.starts_with(&name)), "{text}");
        assert!(text.lines().all(|line| line.len() <= 95), "{text}");
        assert!(text.lines().count() > 2, "{text}");
        let mut page = Page::new(Some(0));
        page.fields([("Name", "value".to_owned())]);
        assert_eq!(page.into_text(), "Name:  value\n");
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = render(&fleet(), Format::Json, None).unwrap();
        insta::assert_snapshot!(json);
        let yaml = render(&fleet(), Format::Yaml, None).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let yaml: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(yaml, json);
    }
}
