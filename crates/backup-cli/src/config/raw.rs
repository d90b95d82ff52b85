//! Configuration file as written: every key is known, no value is checked yet.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, Spanned};

use super::problem::{Origin, Problem};

/// Text with its line and column.
pub(super) type Text = Spanned<String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawConfig {
    pub(super) cluster: Option<Text>,
    pub(super) store: Option<Text>,
    pub(super) talos: Option<RawTalos>,
    pub(super) kubernetes: Option<RawKubernetes>,
    pub(super) encryption: Option<Spanned<NoneOr<RawEncryption>>>,
    pub(super) signing: Option<RawSigning>,
    pub(super) reading: Option<RawReading>,
    pub(super) runs: Option<RawRuns>,
    pub(super) components: Option<RawComponents>,
    pub(super) git_mirror: Option<RawGitMirror>,
    pub(super) leftovers: Option<RawLeftovers>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawTalos {
    pub(super) config: Option<Text>,
    pub(super) context: Option<Text>,
    pub(super) nodes: Option<Vec<Text>>,
    pub(super) idle_timeout: Option<Text>,
    pub(super) deadline: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawKubernetes {
    pub(super) kubeconfig: Option<Text>,
    pub(super) context: Option<Text>,
    pub(super) timeout: Option<Text>,
    pub(super) keep_kubeconfigs: Option<Vec<Text>>,
    pub(super) include_namespaces: Option<Vec<Text>>,
    pub(super) exclude_namespaces: Option<Vec<Text>>,
    pub(super) include_resources: Option<Vec<Text>>,
    pub(super) exclude_resources: Option<Vec<Text>>,
    pub(super) selector: Option<Text>,
    pub(super) include_cluster_resources: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawEncryption {
    pub(super) recipients: Vec<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSigning {
    pub(super) key: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawReading {
    pub(super) identities: Option<Vec<Text>>,
    pub(super) trust: Option<Spanned<NoneOr<Vec<Text>>>>,
}

/// Components of the file. There is one field for each component, so that a misspelt name is an unknown key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawComponents {
    pub(super) etcd: Option<RawComponent>,
    pub(super) machine_config: Option<RawComponent>,
    pub(super) crds: Option<RawComponent>,
    pub(super) resources: Option<RawComponent>,
    pub(super) sealed_secrets: Option<RawComponent>,
    pub(super) kubeconfigs: Option<RawComponent>,
    pub(super) secrets: Option<RawComponent>,
    pub(super) datastores: Option<RawComponent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawComponent {
    pub(super) cron: Option<Text>,
    pub(super) time_zone: Option<Text>,
    pub(super) jitter: Option<Text>,
    pub(super) catch_up: Option<bool>,
    pub(super) paused: Option<bool>,
    pub(super) on_change: Option<Spanned<bool>>,
}

/// Settings for the runs of all components.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawRuns {
    pub(super) time_zone: Option<Text>,
    pub(super) jitter: Option<Text>,
    pub(super) catch_up: Option<bool>,
    pub(super) paused: Option<bool>,
    pub(super) deadline: Option<Text>,
    pub(super) on_change: Option<RawOnChange>,
}

/// Gathering of changes before a run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawOnChange {
    pub(super) quiet: Option<Text>,
    pub(super) longest: Option<Text>,
}

/// Git mirror of definitions and custom resources.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawGitMirror {
    pub(super) repository: Text,
    pub(super) folder: Text,
    pub(super) branch: Option<Text>,
    pub(super) path: Option<Text>,
    pub(super) user: Option<Text>,
    pub(super) token_file: Option<Text>,
    pub(super) ssh_key: Option<Text>,
    pub(super) known_hosts: Option<Text>,
    pub(super) ca_file: Option<Text>,
}

/// Removal of objects that a run put into the store but did not commit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLeftovers {
    pub(super) grace: Text,
}

/// Value that may stand in place of `none`.
pub(super) trait NoneAlternative {
    /// Allowed values in words, including `none`.
    const WANTED: &'static str;
}

impl NoneAlternative for RawEncryption {
    const WANTED: &'static str = "want `none`, or the key `recipients` with a list of public keys";
}

impl NoneAlternative for Vec<Text> {
    const WANTED: &'static str = "want `none`, or a list of minisign public keys or `.pub` files";
}

/// The word `none`, or a list or map.
#[derive(Debug)]
pub(super) enum NoneOr<T> {
    /// The word `none`.
    None,
    /// Any other value.
    Some(T),
}

impl<'de, T: Deserialize<'de> + NoneAlternative> Deserialize<'de> for NoneOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoneOrVisitor(PhantomData))
    }
}

struct NoneOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + NoneAlternative> Visitor<'de> for NoneOrVisitor<T> {
    type Value = NoneOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WANTED)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(E::custom(T::WANTED))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == "none" {
            return Ok(NoneOr::None);
        }
        // The text is left out: it may be a key that somebody put in the wrong place.
        Err(E::custom(T::WANTED))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(list)).map(NoneOr::Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(NoneOr::Some)
    }
}

/// Reads the text of a configuration file; `path` is for messages.
pub(super) fn parse(path: &Path, text: &str) -> Result<RawConfig, Problem> {
    let mut field = String::new();
    // Errors contain no excerpts of the file: an excerpt would show a secret that stands nearby.
    let options = serde_saphyr::options! { with_snippet: false };
    let raw = serde_saphyr::with_deserializer_from_str_with_options(text, options, |d| {
        let mut track = serde_path_to_error::Track::new();
        RawConfig::deserialize(serde_path_to_error::Deserializer::new(d, &mut track))
            .inspect_err(|_| field = field_of(&track.path()))
    });
    raw.map_err(|error| {
        let at = error.location();
        let origin = Origin::File {
            path: path.to_owned(),
            line: at.map_or(1, |l| l.line()),
            column: at.map_or(1, |l| l.column()),
            field,
        };
        Problem::new(origin, words(&error))
    })
}

/// Returns the keys down to the value, without the steps that the spans add.
fn field_of(path: &serde_path_to_error::Path) -> String {
    let text = path.to_string().replace(".value", "");
    if text == "." || text == "?" {
        String::new()
    } else {
        text
    }
}

/// Describes the error in the words of the file instead of those of the parser.
fn words(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            let known = expected.iter().map(|key| format!("`{key}`"));
            let known = known.collect::<Vec<_>>().join(", ");
            format!("there is no key `{field}` here; known keys: {known}")
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is here twice; keep one")
        }
        Error::InvalidScalar { ty: "boolean", .. } => "want `true` or `false`".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a second document begins here; the file holds one, so remove the `---`".to_owned()
        }
        Error::Unexpected { expected, .. } => match *expected {
            "string scalar" => "want a text, not a list or a map".to_owned(),
            "sequence start" => "want a list, as in `[a, b]`".to_owned(),
            "mapping start" => "want keys with values, as in `key: value`".to_owned(),
            other => format!("want {other}"),
        },
        other => {
            let text = other.to_string();
            // The message already contains the position.
            text.split(" at line ").next().unwrap_or(&text).to_owned()
        }
    }
}
