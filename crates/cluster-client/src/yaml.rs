//! Reader of YAML files, whose errors name a place and quote nothing: the files hold keys.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_saphyr::DuplicateKeyPolicy;

/// Maximum number of aliases. Such files have hardly any, and each may repeat the longest text of the file.
const MAX_ALIASES: usize = 64;
/// Maximum number of values that aliases repeat.
const MAX_REPLAYED: usize = 10_000;

/// Place at which a file cannot be read. Omits the parser's message, which may quote the text there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlFlaw {
    /// Line and column, if known.
    pub(crate) at: Option<(u64, u64)>,
    /// Path of the field; `.` for the whole file.
    pub(crate) field: String,
}

/// Reads a file of one document. A field that `T` does not have may be there twice, as in kubectl.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlFlaw> {
    read_with(text, DuplicateKeyPolicy::PassThrough).or_else(|flaw| match flaw.at {
        Some(_) => Err(flaw),
        // A field of `T` that is there twice: only this policy knows where.
        None => read_with(text, DuplicateKeyPolicy::Error),
    })
}

fn read_with<T: DeserializeOwned>(
    text: &str,
    duplicate_keys: DuplicateKeyPolicy,
) -> Result<T, YamlFlaw> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: duplicate_keys,
        budget: serde_saphyr::budget! {
            max_aliases: MAX_ALIASES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
        },
    };
    let mut field = ".".to_owned();
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
        let mut track = serde_path_to_error::Track::new();
        T::deserialize(serde_path_to_error::Deserializer::new(reader, &mut track))
            .inspect_err(|_| field = track.path().to_string())
    });
    read.map_err(|error| YamlFlaw {
        at: error.location().map(|at| (at.line(), at.column())),
        field,
    })
}

/// Deserializes a value that may be left blank, which stands for its default.
pub(crate) fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::IgnoredAny;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Fields {
        name: String,
        #[serde(deserialize_with = "or_default")]
        names: Vec<String>,
        more: BTreeMap<String, u8>,
    }

    #[test]
    fn a_flaw_is_named_by_its_place() {
        let flaw = |text| read::<Fields>(text).unwrap_err();
        let told = flaw("name: a\nmore:\n  b: SECRET\n");
        assert_eq!(told.at, Some((3, 6)));
        assert_eq!(told.field, "more.b");
        assert!(!format!("{told:?}").contains("SECRET"));
        assert_eq!(flaw("SECRET").field, ".");
        assert!(flaw("a: 'SECRET\n").at.is_some());
        assert!(flaw("name: a\n---\nname: b\n").at.is_some());
    }

    #[test]
    fn a_field_that_is_read_is_there_once() {
        let twice = read::<Fields>("name: a\nname: b\n").unwrap_err();
        assert_eq!(twice.at.unwrap().0, 2);
        let odd = read::<Fields>("name: a\nodd: 1\nodd: 2\n").unwrap();
        assert_eq!(odd.name, "a");
    }

    #[test]
    fn a_blank_field_is_the_default_and_a_text_is_a_text() {
        for blank in ["names:", "names: null", "names: ~", "names: []", ""] {
            assert_eq!(
                read::<Fields>(blank).unwrap(),
                Fields::default(),
                "{blank:?}"
            );
        }
        for (written, read_as) in [
            ("010", "010"),
            ("yes", "yes"),
            ("1e3", "1e3"),
            ("'null'", "null"),
        ] {
            let fields: Fields = read(&format!("name: {written}\n")).unwrap();
            assert_eq!(fields.name, read_as);
        }
    }

    #[test]
    fn anchors_are_followed_and_bombs_are_not() {
        let fields: Fields = read("name: &n a\nnames: [*n, *n]\n").unwrap();
        assert_eq!(fields.names, ["a", "a"]);
        let many = format!("name: &n a\nnames: [{}]\n", "*n, ".repeat(MAX_ALIASES + 1));
        assert!(read::<Fields>(&many).is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..6_usize {
            let all = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{all}]\n"));
        }
        assert!(read::<IgnoredAny>(&bomb).is_err());
        let deep = "[".repeat(100_000);
        assert!(read::<IgnoredAny>(&deep).is_err());
    }
}
