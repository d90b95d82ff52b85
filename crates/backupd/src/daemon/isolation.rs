//! Isolation of work in separate tasks: a panic, in our code or in a library, costs that work alone.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// Message for a panic. The panic's own message may contain anything, and is already on standard error.
pub(crate) const LOST: &str =
    "this program has a fault (a panic, printed on standard error); please report it";
/// Pause before work that panicked is started again.
pub(crate) const PAUSE: Duration = Duration::from_secs(30);

/// Runs `work` in a task of its own, which ends when the future is dropped. After a panic, `lost` converts
/// the message into the result.
pub(crate) fn isolate<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    lost: impl FnOnce(String) -> T + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
    Box::pin(async move {
        match task.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(panicked = error.is_panic(), "{LOST}");
                lost(LOST.to_owned())
            }
        }
    })
}

/// Runs the work that `begin` returns to its end. After a panic it pauses and runs the work again, until the
/// stop.
pub(crate) async fn repeat<F>(
    what: &'static str,
    pause: Duration,
    stop: CancellationToken,
    begin: impl Fn() -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let work = begin();
        let done = async move {
            work.await;
            true
        };
        if isolate(done, |_| false).await {
            return;
        }
        tracing::error!(what, "it starts again in {} s", pause.as_secs());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Panics, as a library does that does not check its input.
    fn broken(really: bool) -> u32 {
        assert!(!really, "on purpose");
        7
    }

    #[tokio::test]
    async fn a_panic_is_a_result_like_any_other() {
        assert_eq!(isolate(async { Ok(broken(false)) }, Err).await, Ok(7));
        let lost = isolate(async { Ok(broken(true)) }, Err).await.unwrap_err();
        assert_eq!(lost, LOST);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_ends() {
        let began = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&began);
        let work = async move {
            seen.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            std::future::pending::<()>().await;
        };
        let work = isolate(work, |_| ());
        tokio::task::yield_now().await;
        drop(work);
        tokio::time::timeout(Duration::from_secs(30), async {
            while Arc::strong_count(&began) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert_eq!(began.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_goes_on_for_ever_is_begun_again() {
        let tries = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&tries);
        repeat(
            "a test",
            Duration::ZERO,
            CancellationToken::new(),
            move || {
                let counted = Arc::clone(&counted);
                async move {
                    broken(counted.fetch_add(1, Ordering::SeqCst) < 2);
                }
            },
        )
        .await;
        assert_eq!(tries.load(Ordering::SeqCst), 3);
    }
}
