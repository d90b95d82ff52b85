//! Wait for a condition, always with an upper limit.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// Interval between two checks. It is short, because most components are ready within a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `check` repeatedly until it returns `Ok`, at most for `limit`. Its last error is the cause of the
/// returned error.
///
/// # Errors
/// `limit` passed; `what` names the condition.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut check: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let end = Instant::now() + limit;
    loop {
        let outcome = tokio::time::timeout_at(end, check()).await;
        match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if Instant::now() + PAUSE >= end => {
                return Err(error)
                    .with_context(|| format!("{what} did not happen within {limit:?}"));
            }
            Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
            Err(late) => {
                return Err(late)
                    .with_context(|| format!("{what} did not happen within {limit:?}"));
            }
        }
    }
}
