//! Watch on the tries of one request, and rules for the failures worth another try.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use jiff::Timestamp;

/// Counter of the tries of one request.
#[derive(Debug, Clone, Default)]
pub(super) struct TryCounter(Arc<TryCounts>);

#[derive(Debug, Default)]
struct TryCounts {
    made: AtomicU32,
    unsure: AtomicBool,
    date: Mutex<Option<Timestamp>>,
}

impl TryCounter {
    /// Returns the number of tries so far.
    pub(super) fn tries(&self) -> u32 {
        self.0.made.load(Ordering::Relaxed)
    }

    /// Reports whether a try failed in a way that leaves open whether the server did the work.
    pub(super) fn unsure(&self) -> bool {
        self.0.unsure.load(Ordering::Relaxed)
    }

    /// Returns the server's time in the newest answer.
    pub(super) fn date(&self) -> Option<Timestamp> {
        *self.0.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for TryCounter {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // No answer, or a gateway's answer after it got none.
        if context
            .response()
            .is_none_or(|response| response.status().is_server_error())
        {
            self.0.unsure.store(true, Ordering::Relaxed);
        }
        let date = context.response().and_then(|response| {
            let text = response.headers().get("date")?;
            jiff::fmt::rfc2822::parse(text)
                .ok()
                .map(|zoned| zoned.timestamp())
        });
        if date.is_some() {
            *self.0.date.lock().unwrap_or_else(PoisonError::into_inner) = date;
        }
        Ok(())
    }
}

/// Classifier that adds retries missing from the SDK's own rules.
#[derive(Debug)]
pub(super) struct RetryClassifier;

impl ClassifyRetry for RetryClassifier {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        // 409: another conditional put of the same key is in progress. 408, 429: retry later.
        let later = context
            .response()
            .is_some_and(|response| matches!(response.status().as_u16(), 408 | 409 | 429));
        if later {
            return RetryAction::transient_error();
        }
        // The SDK takes an untrusted certificate for a network fault. It will not be trusted in two minutes
        // either.
        let connecting = context
            .output_or_error()
            .and_then(Result::err)
            .and_then(|error| error.as_connector_error());
        match connecting {
            Some(error) if untrusted(error).is_some() => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "AlsoRetry"
    }
}

/// Returns the TLS error in the chain of `error` that no retry can fix, if there is one.
pub(super) fn untrusted<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    find(error).filter(|error| {
        matches!(
            error,
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidMessage(_)
                | rustls::Error::PeerIncompatible(_)
        )
    })
}

/// Returns the first error of type `T` in the chain of `error`. Looks inside I/O errors too, whose own
/// `source` skips the wrapped error.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
