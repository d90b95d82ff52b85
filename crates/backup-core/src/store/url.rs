//! URLs of stores: `s3://BUCKET/PREFIX?…` and `file:///FOLDER`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

mod s3;
pub use s3::S3Url;

/// Location of a store. Contains no secrets: credentials come from elsewhere.
///
/// ```
/// use backup_core::store::url::StoreUrl;
/// assert!("s3://backups/prod?endpoint=https://s3.example.net".parse::<StoreUrl>().is_ok());
/// assert!("file:///srv/backups".parse::<StoreUrl>().is_ok());
/// assert!("s3://key:secret@backups".parse::<StoreUrl>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreUrl {
    /// Prefix of a bucket.
    S3(S3Url),
    /// Folder, by its absolute path.
    Folder(PathBuf),
}

/// Error for text that is not the URL of a store. Names the wrong part and the allowed form, and never
/// repeats a user name or password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store URL: {part} {problem}")]
pub struct ParseUrlError {
    part: String,
    problem: String,
}

impl ParseUrlError {
    fn new(part: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            problem: problem.into(),
        }
    }
}

/// Both forms, for messages.
const FORMS: &str = "want s3://BUCKET/PREFIX?endpoint=URL&region=R&path-style=true&ca=FILE or \
                     file:///FOLDER";

impl StoreUrl {
    /// Reports whether the two are the same place or one lies within the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folder(one), Self::Folder(two)) => one.starts_with(two) || two.starts_with(one),
            (Self::S3(one), Self::S3(two)) => {
                let within = |inner: &str, outer: &str| {
                    let rest = inner.strip_prefix(outer);
                    rest.is_some_and(|r| outer.is_empty() || r.is_empty() || r.starts_with('/'))
                };
                let place = |url: &S3Url| (url.bucket.clone(), url.endpoint.clone());
                place(one) == place(two)
                    && (within(&one.prefix, &two.prefix) || within(&two.prefix, &one.prefix))
            }
            _ => false,
        }
    }
}

impl FromStr for StoreUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // This check comes first, so that no later error can repeat the secret. Neither a bucket nor a folder
        // has an `@` there.
        let server = text.split_once("://").map_or("", |(_, rest)| rest);
        if server
            .split(['/', '?', '#'])
            .next()
            .unwrap_or("")
            .contains('@')
        {
            return Err(has_user("the URL"));
        }
        let url = Url::parse(text).map_err(|error| {
            ParseUrlError::new("the text", format!("is not a URL ({error}); {FORMS}"))
        })?;
        if url.fragment().is_some() {
            let problem = "is not allowed; write a `#` in a name as %23";
            return Err(ParseUrlError::new("the part after `#`", problem));
        }
        // The parser resolves these silently, which would change the location.
        let path = text.split(['?', '#']).next().unwrap_or(text);
        if path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
        {
            let problem = "has a `.` or `..`; give the whole path";
            return Err(ParseUrlError::new("the path", problem));
        }
        match url.scheme() {
            "s3" => S3Url::parse(&url).map(Self::S3),
            "file" => folder(&url).map(Self::Folder),
            scheme => Err(ParseUrlError::new(
                format!("the scheme `{scheme}`"),
                format!("is not known; {FORMS}"),
            )),
        }
    }
}

fn has_user(part: &str) -> ParseUrlError {
    ParseUrlError::new(
        part,
        "has a user name or password; take it out, and give credentials by the AWS variables or \
         files",
    )
}

fn folder(url: &Url) -> Result<PathBuf, ParseUrlError> {
    if url.query().is_some() {
        return Err(ParseUrlError::new(
            "the part after `?`",
            "is not allowed for a folder; want file:///FOLDER",
        ));
    }
    let path = url.to_file_path().map_err(|()| {
        ParseUrlError::new(
            "the folder",
            "must be an absolute path on this machine, with three slashes: file:///FOLDER",
        )
    })?;
    if path.parent().is_none() {
        return Err(ParseUrlError::new(
            "the folder",
            "is missing; want file:///FOLDER",
        ));
    }
    // Without a slash at its end, so that equal places compare equal.
    Ok(path.components().collect())
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3(s3) => s3.fmt(f),
            Self::Folder(path) => match Url::from_file_path(path) {
                Ok(url) => url.fmt(f),
                Err(()) => write!(f, "file://{}", path.display()),
            },
        }
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = ParseUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StoreUrl> for String {
    fn from(url: StoreUrl) -> Self {
        url.to_string()
    }
}

impl schemars::JsonSchema for StoreUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StoreUrl".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "s3://BUCKET/PREFIX?endpoint=URL&region=R&path-style=true&ca=FILE \
                            or file:///FOLDER",
            "pattern": "^(s3|file)://"
        })
    }
}

#[cfg(test)]
mod tests;
