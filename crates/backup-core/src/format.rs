//! Stored format, version 1, as in FORMAT.md: keys, packs, indexes, recipes, manifests, the owner marker. Pure
//! functions of bytes; no store, no clock.

use crate::num::to_u64;

pub mod export;
mod finding;
pub mod gaps;
pub mod index;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod owner_marker;
pub mod pack;
pub mod recipe;
pub mod varint;

/// Error for stored bytes that do not follow the format; names the defect.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Part of an object is invalid.
    #[error("this {object} is damaged: {what}")]
    Damaged {
        /// The kind of object, such as `recipe`.
        object: &'static str,
        /// The defect.
        what: String,
    },
    /// A newer tool wrote it.
    #[error(
        "this {object} has format version {found}, and this tool reads up to version {VERSION}; \
         use a newer restore-cli"
    )]
    TooNew {
        /// The kind of object.
        object: &'static str,
        /// Its version.
        found: u64,
    },
    /// A manifest or owner marker is not valid JSON of the expected form.
    #[error("this {object} is not readable at `{path}`")]
    Json {
        /// The kind of object.
        object: &'static str,
        /// Position in the document.
        path: String,
        /// Error of the parser.
        source: serde_json::Error,
    },
    /// Compression or decompression failed.
    #[error("cannot compress or decompress a {object}")]
    Zstd {
        /// The kind of object.
        object: &'static str,
        /// Error of the library.
        source: std::io::Error,
    },
}

impl FormatError {
    pub(crate) fn damaged(object: &'static str, what: impl Into<String>) -> Self {
        Self::Damaged {
            object,
            what: what.into(),
        }
    }
}

/// Version of the format that this library writes, and the newest that it reads.
pub const VERSION: u64 = 1;

/// Decompresses all of `bytes`, to at most `limit` bytes.
pub fn decompress(
    object: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<Vec<u8>, FormatError> {
    use std::io::Read as _;
    let failed = |source| FormatError::Zstd { object, source };
    let most = to_u64(limit).saturating_add(1);
    let mut plain = Vec::new();
    zstd::Decoder::with_buffer(bytes)
        .and_then(|d| d.take(most).read_to_end(&mut plain))
        .map_err(failed)?;
    if plain.len() > limit {
        return Err(FormatError::damaged(
            object,
            format!("it unpacks to more than {limit} bytes"),
        ));
    }
    Ok(plain)
}

/// Parses `bytes` as JSON of a known version; the error contains the position.
pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(
    object: &'static str,
    bytes: &[u8],
) -> Result<T, FormatError> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u64,
    }
    let json = |path: String, source| FormatError::Json {
        object,
        path,
        source,
    };
    let head: Version = serde_json::from_slice(bytes).map_err(|e| json("version".to_owned(), e))?;
    if head.version > VERSION {
        return Err(FormatError::TooNew {
            object,
            found: head.version,
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|e| json(e.path().to_string(), e.into_inner()))
}
