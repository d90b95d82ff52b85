//! Reader of a talosconfig, which returns one checked context.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::grpc::endpoint::Endpoint;
use crate::yaml::{self, YamlFlaw};
use backup_core::num::to_u64;
use backup_core::proxy::Proxy;
use backup_core::text;

/// Port of the Talos API.
const DEFAULT_PORT: u16 = 50_000;
/// Largest talosconfig. It has some kilobytes; a megabyte means a wrong file.
const MAX_BYTES: u64 = 1 << 20;

/// Error in a talosconfig, its certificate or its endpoints.
#[derive(Debug, thiserror::Error)]
pub enum TalosConfigError {
    /// None of the places has a file.
    #[error(
        "no talosconfig found (looked at {places}): name one with --talosconfig or TALOSCONFIG, or make one \
         with `talosctl config new --roles os:etcd:backup`"
    )]
    NotFound {
        /// Places, separated by commas.
        places: String,
    },
    /// The file cannot be read.
    #[error("read the talosconfig {file}")]
    Read {
        /// Path of the file.
        file: String,
        /// Cause of the failure.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a talosconfig. Contains no text of the parser, which may quote a secret.
    #[error(
        "the talosconfig {file} cannot be read as YAML with `context` and `contexts`: {place}; \
         compare it with the output of `talosctl config new`"
    )]
    Syntax {
        /// Path of the file.
        file: String,
        /// Line, column and field, as far as known.
        place: String,
    },
    /// The file is empty.
    #[error(
        "the talosconfig {file} is empty: an older tool may have created it; remove it or fill it \
         with `talosctl config merge`"
    )]
    Empty {
        /// Path of the file.
        file: String,
    },
    /// The requested context does not exist.
    #[error(
        "the talosconfig {file} has no context {context:?}, it has {known}: name one of these \
         with --context or in the field `context`"
    )]
    NoContext {
        /// Path of the file.
        file: String,
        /// Name of the requested context.
        context: String,
        /// Names of the existing contexts.
        known: String,
    },
    /// A field has an unusable value.
    #[error("the talosconfig {file}, context {context:?}, field `{field}`: {problem}")]
    Field {
        /// Path of the file.
        file: String,
        /// Name of the context.
        context: String,
        /// Name of the field.
        field: &'static str,
        /// Problem, and what to do.
        problem: String,
    },
}

fn not_read(path: &Path, source: std::io::Error) -> TalosConfigError {
    TalosConfigError::Read {
        file: path.display().to_string(),
        source,
    }
}

#[derive(Deserialize)]
struct RawTalosconfig {
    #[serde(default)]
    context: Option<String>,
    #[serde(default)]
    contexts: Option<BTreeMap<String, Option<RawContext>>>,
}

#[derive(Deserialize)]
struct RawContext {
    #[serde(default)]
    endpoints: Option<Vec<String>>,
    #[serde(default)]
    nodes: Option<Vec<String>>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    ca: Option<String>,
    #[serde(default)]
    crt: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    auth: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default, rename = "proxy-url")]
    proxy_url: Option<String>,
}

/// Context of a talosconfig, decoded, with its certificates still as PEM text.
///
/// Not `Debug`: it holds a private key.
pub(super) struct TalosContext {
    /// Path of the file that contains it, for messages.
    pub(super) file: String,
    /// Name of the context.
    pub(super) name: String,
    /// Endpoints to connect to; never empty.
    pub(super) endpoints: Vec<Endpoint>,
    /// Nodes that the run uses; may be empty.
    pub(super) nodes: Vec<String>,
    /// Nodes in the file, regardless of those that the run uses.
    pub(super) own_nodes: Vec<String>,
    /// Certificates of the accepted authorities.
    pub(super) ca: String,
    /// Certificate of the client.
    pub(super) crt: String,
    /// Private key of the client.
    pub(super) key: Zeroizing<String>,
    /// Name of the cluster, if set.
    pub(super) cluster: Option<String>,
    /// Proxy for its endpoints, if the context names one.
    pub(super) proxy: Option<Proxy>,
}

/// Values of a run that override those of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides<'a> {
    pub(super) context: Option<&'a str>,
    pub(super) endpoints: &'a [String],
    pub(super) nodes: &'a [String],
}

impl TalosContext {
    /// Reads the file at `path` and selects a context.
    pub(super) async fn load(
        path: &Path,
        overrides: &Overrides<'_>,
    ) -> Result<Self, TalosConfigError> {
        use tokio::io::AsyncReadExt as _;
        let read = |source| not_read(path, source);
        let mut bytes = Zeroizing::new(Vec::new());
        tokio::fs::File::open(path)
            .await
            .map_err(read)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(read)?;
        Self::of_file(path, &bytes, overrides)
    }

    /// Does the same as `load`, without an async runtime.
    pub(super) fn load_now(
        path: &Path,
        overrides: &Overrides<'_>,
    ) -> Result<Self, TalosConfigError> {
        use std::io::Read as _;
        let read = |source| not_read(path, source);
        let mut bytes = Zeroizing::new(Vec::new());
        std::fs::File::open(path)
            .map_err(read)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(read)?;
        Self::of_file(path, &bytes, overrides)
    }

    fn of_file(
        path: &Path,
        bytes: &[u8],
        overrides: &Overrides<'_>,
    ) -> Result<Self, TalosConfigError> {
        if to_u64(bytes.len()) > MAX_BYTES {
            return Err(not_read(path, std::io::Error::other("larger than 1 MiB")));
        }
        let text = text::decode(bytes).map_err(|e| not_read(path, e.into()))?;
        Self::parse(&path.display().to_string(), &text, overrides)
    }

    /// Selects a context of a talosconfig's text; `file` is its name in messages.
    pub(super) fn parse(
        file: &str,
        text: &str,
        overrides: &Overrides<'_>,
    ) -> Result<Self, TalosConfigError> {
        let file = file.to_owned();
        if text.trim().is_empty() {
            return Err(TalosConfigError::Empty { file });
        }
        let raw: RawTalosconfig = yaml::read(text).map_err(|flaw| TalosConfigError::Syntax {
            file: file.clone(),
            place: place_of(&flaw),
        })?;
        let mut contexts = raw.contexts.unwrap_or_default();
        let name = overrides
            .context
            .map(str::to_owned)
            .or(raw.context)
            .unwrap_or_default();
        let Some(Some(context)) = contexts.remove(&name) else {
            let known = contexts.into_keys().collect::<Vec<_>>();
            return Err(TalosConfigError::NoContext {
                file,
                context: name,
                known: if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                },
            });
        };
        let of_field = |field, problem: String| TalosConfigError::Field {
            file: file.clone(),
            context: name.clone(),
            field,
            problem,
        };

        let proxy = context.proxy_url.filter(|proxy| !proxy.trim().is_empty());
        let proxy = proxy.map(|proxy| Proxy::read("it", &proxy)).transpose();
        let proxy = proxy.map_err(|error| of_field("proxy-url", error.to_string()))?;
        let pem = |field, value: Option<String>| match value.map(Zeroizing::new) {
            Some(text) if !text.trim().is_empty() => decode(&text)
                .map(Some)
                .map_err(|problem| of_field(field, problem)),
            _ => Ok(None),
        };
        let ca = pem("ca", context.ca)?;
        let (crt, key) = match (pem("crt", context.crt)?, pem("key", context.key)?) {
            (Some(crt), Some(key)) => (crt, key),
            (Some(_), None) => {
                return Err(of_field(
                    "key",
                    "missing, while `crt` is there: both come from one `talosctl config new`"
                        .to_owned(),
                ));
            }
            (None, Some(_)) => {
                return Err(of_field(
                    "crt",
                    "missing, while `key` is there: both come from one `talosctl config new`"
                        .to_owned(),
                ));
            }
            (None, None) => {
                let problem = if context.auth.is_some() {
                    "missing: the context signs in by `auth` instead (Omni), which is not \
                     supported; use a client certificate"
                } else {
                    "missing: the API accepts no client without a certificate"
                };
                return Err(of_field(
                    "crt",
                    format!("{problem}: `talosctl config new --roles os:etcd:backup` makes one"),
                ));
            }
        };
        let Some(ca) = ca else {
            return Err(of_field(
                "ca",
                "missing: without it an impostor cannot be detected; it comes with `talosctl config new`"
                    .to_owned(),
            ));
        };

        let written = if overrides.endpoints.is_empty() {
            let mut written = context.endpoints.unwrap_or_default();
            written.extend(context.target);
            written
        } else {
            overrides.endpoints.to_vec()
        };
        let mut endpoints = Vec::new();
        for endpoint in written.iter().map(|text| text.trim()) {
            if !endpoint.is_empty() {
                let parsed = Endpoint::parse(endpoint, DEFAULT_PORT)
                    .map_err(|problem| of_field("endpoints", problem))?;
                if !endpoints.contains(&parsed) {
                    endpoints.push(parsed);
                }
            }
        }
        if endpoints.is_empty() {
            return Err(of_field(
                "endpoints",
                "empty: put in the addresses of control plane nodes (`talosctl config endpoint`)"
                    .to_owned(),
            ));
        }

        let own_nodes = context.nodes.unwrap_or_default();
        let nodes = if overrides.nodes.is_empty() {
            own_nodes.clone()
        } else {
            overrides.nodes.to_vec()
        };
        let mut checked: Vec<String> = Vec::new();
        for node in nodes.iter().map(|text| text.trim()) {
            if let Some(problem) = node_problem(node) {
                return Err(of_field("nodes", problem));
            }
            if !checked.iter().any(|known| known == node) {
                checked.push(node.to_owned());
            }
        }
        Ok(Self {
            endpoints,
            nodes: checked,
            own_nodes: own_nodes
                .iter()
                .map(|node| node.trim().to_owned())
                .filter(|node| node_problem(node).is_none())
                .collect(),
            ca: ca.as_str().to_owned(),
            crt: crt.as_str().to_owned(),
            key,
            cluster: context.cluster.filter(|cluster| !cluster.is_empty()),
            proxy,
            file,
            name,
        })
    }
}

/// Returns the reason why the server would refuse `node` as a target.
fn node_problem(node: &str) -> Option<String> {
    if node.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let plain = !node.is_empty()
        && node
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    (!plain).then(|| {
        format!("{node:?} is not a node: write an IP address or a name, without port or scheme")
    })
}

/// Decodes the PEM text inside standard base64, which YAML may have folded over lines.
fn decode(text: &str) -> Result<Zeroizing<String>, String> {
    let compact: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
    let bytes = Zeroizing::new(STANDARD.decode(compact.as_bytes()).map_err(|_| {
        "not standard base64: it must be the PEM text as one base64 string (`base64 -w0`)"
            .to_owned()
    })?);
    match std::str::from_utf8(&bytes) {
        Ok(pem) if pem.contains("-----BEGIN ") => Ok(Zeroizing::new(pem.to_owned())),
        _ => Err("does not hold a PEM text below its base64".to_owned()),
    }
}

/// Returns the words for a place in the file.
fn place_of(flaw: &YamlFlaw) -> String {
    let field = match flaw.field.as_str() {
        "." | "" => String::new(),
        field => format!(", field {field}"),
    };
    match flaw.at {
        Some((line, column)) => format!("line {line}, column {column}{field}"),
        None => format!("at an unknown line{field}"),
    }
}

#[cfg(test)]
mod tests;
