//! Templates of the runbook, and the filters that they use.

use std::sync::atomic::{AtomicU32, Ordering};

use backup_cli::human;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::document::{self, Document};
use super::shell::word;
use super::view::FactsView;

macro_rules! files {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("templates/", $name)))),+] };
}

/// Name and text of each template.
const TEMPLATES: &[(&str, &str)] = files![
    "runbook.md.jinja",
    "opening.md.jinja",
    "unknown.md.jinja",
    "preparation.md.jinja",
    "steps.md.jinja",
    "etcd.md.jinja",
    "trouble.md.jinja",
    "rescue.md.jinja",
    "losses.md.jinja",
];

/// Returns the document that a template makes of the facts.
pub(super) fn fill(name: &str, facts: &FactsView<'_>) -> Result<Document, Error> {
    let templates = templates()?;
    let text = templates
        .get_template(name)?
        .render(Value::from(Serde(facts)))?;
    Ok(Document::read(&text))
}

fn templates() -> Result<Environment<'static>, Error> {
    let mut syntax = SyntaxConfig::builder();
    syntax
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true);
    let mut templates = Environment::new();
    templates.set_syntax(syntax.build()?);
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_formatter(|out, _, value| {
        if value.is_none() || value.is_undefined() {
            let told = "a fact that is not known is written";
            return Err(Error::new(ErrorKind::UndefinedError, told));
        }
        Ok(out.write_str(&document::fact(&value.to_string()))?)
    });
    templates.add_filter("code", document::code);
    templates.add_filter("word", word);
    templates.add_filter("size", human::bytes);
    templates.add_filter("otherwise", otherwise);
    templates.add_filter("option", option);
    let steps = AtomicU32::new(1);
    templates.add_function("step", move || steps.fetch_add(1, Ordering::Relaxed));
    for (name, text) in TEMPLATES {
        templates.add_template(name, text)?;
    }
    Ok(templates)
}

/// Returns the fact, or another text if the fact is not known.
fn otherwise(fact: Value, other: Value) -> Value {
    if fact.is_none() { other } else { fact }
}

/// Returns a flag of a command with the fact as its word; nothing if the fact is not known.
fn option(fact: Option<String>, flag: &str) -> String {
    fact.map_or_else(String::new, |fact| format!(" {flag} {}", word(&fact)))
}

#[cfg(test)]
mod tests {
    use super::super::document::Form;
    use super::*;

    #[test]
    fn a_fact_that_is_missing_or_not_known_is_an_error() {
        let templates = templates().unwrap();
        let known = [("known", Some("a|b")), ("unknown", None)];
        let known: std::collections::BTreeMap<_, _> = known.into();
        let fill = |text: &str| templates.render_str(text, Value::from(Serde(&known)));
        for wrong in [
            "{{ nothing }}",
            "{% if nothing %}x{% endif %}",
            "{{ unknown }}",
            "{{ unknown | word }}",
            "{{ known if unknown }}",
            "{{ known.more }}",
            "{{ known | nothing }}",
        ] {
            assert!(fill(wrong).is_err(), "{wrong}");
        }
        for (text, filled) in [
            ("{{ known | word }}", "'a|b'"),
            (
                "{{ known | code }} {{ unknown | otherwise('-') }}",
                "`a|b` -",
            ),
            (
                "x{{ known | option('-f') }}{{ unknown | option('-g') }}",
                "x -f 'a|b'",
            ),
            (
                "{{ 2048 | size }} {{ step() }} {{ step() }}",
                "2.00 KiB 1 2",
            ),
        ] {
            let document = Document::read(&fill(text).unwrap());
            assert_eq!(document.written(Form::Text), format!("{filled}\n"));
        }
    }
}
