//! Classification of S3's error answers and of missing answers.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use super::repair::NotS3Error;
use super::tries::{TryCounter, find, untrusted};
use crate::store::{Key, StoreError};

/// Failed request with its classification.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) meaning: FailureKind,
    tries: u32,
    source: Box<dyn Error + Send + Sync>,
}

/// Meaning of a failure for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    NoSuchKey,
    NoSuchBucket,
    /// Not found, but object or bucket is unknown: answers to HEAD have no body.
    Missing,
    /// Access denied, or an answer to HEAD without a reason.
    Denied,
    /// An object lock forbids it.
    Retained,
    /// The object must be restored from an archive before it is read.
    Archived,
    /// There are no credentials, or their source returned none.
    NoCredentials,
    /// The credentials themselves are wrong.
    BadCredentials,
    Exists,
    BeyondTheEnd,
    Damaged,
    NoSpace,
    NotImplemented,
    /// No answer, or a request to retry later.
    Later,
    /// The answer began well, and its body broke off.
    BrokenOff,
    Other,
}

/// Message from the store.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct StoreMessage(String);

/// Error for a put that uses a feature unknown to the store.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store does not support create-if-absent (a put with If-None-Match: *), without which a restore \
     point could be overwritten; use another store, or a newer version of this one"
)]
struct UnknownCondition(#[source] Box<dyn Error + Send + Sync>);

/// Error for an untrusted TLS connection, with the remedy.
#[derive(Debug, thiserror::Error)]
#[error(
    "no trusted TLS connection; if the store has its own CA, name its file in the store's URL \
     with ca=FILE, and if it speaks no TLS, begin the endpoint with http://"
)]
struct UntrustedConnection(#[source] rustls::Error);

/// Error for a certificate that our TLS never accepts, trusted or not.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error(
        "no trusted TLS connection: the store uses the certificate of an authority as its own (self-signed, \
         with CA:TRUE), which this program's TLS does not accept even if ca= names it; make a certificate \
         for the store with `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE` and name that \
         with ca=, or use one that an authority signed, and name the authority"
    )]
    Authority,
    #[error(
        "no trusted TLS connection: the store's certificate has a version, a key or a signature that this \
         program's TLS does not support, for example a key on the curve P-521; make one with P-256, P-384, \
         Ed25519 or RSA of 2048 bits or more"
    )]
    Unknown(#[source] rustls::Error),
}

impl CertificateError {
    fn of(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(why) = error else {
            return None;
        };
        // Error for which the verifier has no variant.
        let told = match why {
            rustls::CertificateError::Other(other) => other.to_string(),
            other => format!("{other:?}"),
        };
        if told.contains("CaUsedAsEndEntity") {
            Some(Self::Authority)
        } else if ["UnsupportedSignatureAlgorithm", "UnsupportedCertVersion"]
            .iter()
            .any(|known| told.contains(known))
        {
            Some(Self::Unknown(error.clone()))
        } else {
            None
        }
    }
}

impl Failure {
    /// Creates a failure that was found here and not reported by the SDK.
    pub(super) fn new(
        meaning: FailureKind,
        watch: &TryCounter,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            meaning,
            tries: watch.tries(),
            source: source.into(),
        }
    }

    /// Classifies an error of the SDK.
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>, watch: &TryCounter) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if let Some(other) = find::<NotS3Error>(&error) {
            return Self::new(FailureKind::Other, watch, other.clone());
        }
        if let Some(tls) = untrusted(&error) {
            return match CertificateError::of(tls) {
                Some(odd) => Self::new(FailureKind::Other, watch, odd),
                None => Self::new(FailureKind::Other, watch, UntrustedConnection(tls.clone())),
            };
        }
        if let Some(missing) = find::<CredentialsError>(&error) {
            // The outer errors only repeat that there are no credentials.
            let mut last: &(dyn Error + 'static) = missing;
            while let Some(below) = last.source() {
                last = below;
            }
            return Self::new(
                FailureKind::NoCredentials,
                watch,
                StoreMessage(last.to_string()),
            );
        }
        let Some(response) = error.raw_response() else {
            let meaning = match &error {
                SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => FailureKind::Later,
                _ => FailureKind::Other,
            };
            return Self::new(meaning, watch, without_head(error));
        };
        let status = response.status().as_u16();
        let code = error.code().unwrap_or_default();
        let meaning = match error.message() {
            // Codes differ between stores, and AWS returns only "denied".
            Some(message) if (400..500).contains(&status) && is_locked(message) => {
                FailureKind::Retained
            }
            _ => meaning(status, code),
        };
        // An answer that is not from S3, such as a proxy's page, has no code; its source explains it.
        if matches!(error, SdkError::ResponseError(_)) {
            return Self::new(meaning, watch, without_head(error));
        }
        let mut said = format!("the store said {status}");
        for (before, part) in [(" ", error.code()), (": ", error.message())] {
            if let Some(part) = part {
                said.push_str(before);
                said.push_str(part);
            }
        }
        if let Some(id) = error.request_id() {
            said.push_str(&format!(" (request {id})"));
        }
        said.push_str(hint(status, code));
        Self::new(meaning, watch, StoreMessage(said))
    }

    /// Returns the failure of a create, whose condition the store may not support.
    pub(super) fn of_create(self) -> Self {
        match self.meaning {
            FailureKind::NotImplemented => Self {
                source: Box::new(UnknownCondition(self.source)),
                ..self
            },
            _ => self,
        }
    }

    /// Reports whether fresh credentials may help.
    pub(super) fn refused(&self) -> bool {
        matches!(
            self.meaning,
            FailureKind::Denied | FailureKind::BadCredentials | FailureKind::NoCredentials
        )
    }

    /// Returns the error for callers: `verb` on `key`, or on the whole store.
    pub(super) fn error(self, store: &str, verb: &str, key: Option<&Key>) -> StoreError {
        let store = store.to_owned();
        let operation = match key {
            Some(key) => format!("{verb} {key}"),
            None => verb.to_owned(),
        };
        let source = self.source;
        match (self.meaning, key) {
            (FailureKind::NoSuchKey | FailureKind::Missing, Some(key)) => StoreError::NotFound {
                store,
                key: key.clone(),
            },
            (FailureKind::Retained, Some(key)) => StoreError::Retained {
                store,
                key: key.clone(),
                source,
            },
            (FailureKind::NoSuchBucket, _) => StoreError::NoBucket { store },
            (FailureKind::Denied, _) => StoreError::Forbidden {
                store,
                operation,
                source,
            },
            (FailureKind::BadCredentials, _) => StoreError::Credentials {
                store,
                operation,
                source,
            },
            (FailureKind::NoCredentials, _) => StoreError::NoCredentials {
                store,
                operation,
                source,
            },
            (FailureKind::Damaged, Some(key)) => StoreError::Checksum {
                store,
                key: key.clone(),
            },
            (FailureKind::NoSpace, _) => StoreError::NoSpace { store, operation },
            (FailureKind::Later | FailureKind::BrokenOff, _) => StoreError::Unavailable {
                store,
                operation,
                tries: self.tries,
                source,
            },
            _ => StoreError::Other {
                store,
                operation,
                source,
            },
        }
    }
}

/// Returns the source of an SDK error, whose own text says no more than "dispatch failure".
fn without_head<E>(error: SdkError<E, HttpResponse>) -> Box<dyn Error + Send + Sync>
where
    E: Error + Send + Sync + 'static,
{
    error.into_source().unwrap_or_else(Into::into)
}

/// Classifies status and code. Codes come first: stores agree on them more than on the status.
fn meaning(status: u16, code: &str) -> FailureKind {
    match code {
        "NoSuchKey" => FailureKind::NoSuchKey,
        "NoSuchBucket" => FailureKind::NoSuchBucket,
        "InvalidObjectState" => FailureKind::Archived,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "TokenRefreshRequired"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidSecurity"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => FailureKind::BadCredentials,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
            FailureKind::Damaged
        }
        "QuotaExceeded"
        | "NoSpaceLeftOnDevice"
        | "InsufficientStorage"
        | "StorageFull"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded" => FailureKind::NoSpace,
        "NotImplemented" => FailureKind::NotImplemented,
        _ => match status {
            401 | 403 => FailureKind::Denied,
            404 => FailureKind::Missing,
            408 | 409 | 429 => FailureKind::Later,
            412 => FailureKind::Exists,
            416 => FailureKind::BeyondTheEnd,
            501 => FailureKind::NotImplemented,
            507 => FailureKind::NoSpace,
            500.. => FailureKind::Later,
            _ => FailureKind::Other,
        },
    }
}

/// Reports whether the message is about an object lock: AWS says `object lock`; MinIO, Ceph and versitygw say
/// `WORM`.
fn is_locked(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("object lock") || message.contains("worm protected")
}

/// Returns a remedy for answers that leave people guessing.
fn hint(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (301 | 307 | 308, _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => {
            "; the bucket is in another region or behind another endpoint: correct region= or \
             endpoint= in the store's URL"
        }
        (_, "RequestTimeTooSkewed") => "; set this machine's clock",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_before_the_status() {
        assert_eq!(meaning(403, "QuotaExceeded"), FailureKind::NoSpace);
        assert_eq!(
            meaning(403, "SignatureDoesNotMatch"),
            FailureKind::BadCredentials
        );
        assert_eq!(meaning(400, "ExpiredToken"), FailureKind::BadCredentials);
        assert_eq!(meaning(403, "AccessDenied"), FailureKind::Denied);
        assert_eq!(meaning(403, "InvalidObjectState"), FailureKind::Archived);
        assert_eq!(meaning(403, ""), FailureKind::Denied);
        assert_eq!(meaning(404, "NoSuchBucket"), FailureKind::NoSuchBucket);
        assert_eq!(meaning(404, ""), FailureKind::Missing);
        assert_eq!(meaning(503, "SlowDown"), FailureKind::Later);
        assert_eq!(meaning(507, ""), FailureKind::NoSpace);
        assert_eq!(meaning(301, "PermanentRedirect"), FailureKind::Other);
    }

    #[test]
    fn a_lock_is_told_from_a_missing_right() {
        for locked in [
            "Access Denied because object protected by object lock.",
            "Object is WORM protected and cannot be overwritten",
        ] {
            assert!(is_locked(locked), "{locked}");
        }
        assert!(!is_locked("Access Denied"));
    }
}
