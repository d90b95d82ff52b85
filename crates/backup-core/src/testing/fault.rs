//! Store that fails on purpose, and counts its calls.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::digest::Digest;
use crate::store::{CreateOutcome, Key, ObjectInfo, Page, Probe, Store, StoreError};

mod plan;
pub use plan::{CallCounts, CallFilter, StoreCall};

use plan::FaultPlan;

/// Kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is carried out, and then reported as [`StoreError::Unavailable`].
    LostReply,
    /// The call returns [`StoreError::Unavailable`], and does nothing.
    Unavailable,
    /// The call returns [`StoreError::Forbidden`], and does nothing.
    Forbidden,
    /// The call returns [`StoreError::NoSpace`], and does nothing.
    NoSpace,
    /// The call waits for this long and is then carried out.
    Slow(Duration),
    /// A bit in the middle of a get's result is flipped; other calls succeed.
    Corrupt,
    /// Neither this call nor any later one ever returns, and none is carried out: the program was killed
    /// before the call. The test drops the futures that wait for them.
    StopBefore,
    /// Like `StopBefore`, but this call is carried out: the program was killed before it got the result.
    StopAfter,
}

/// Wrapper for any store; without faults it only counts.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    plan: Mutex<FaultPlan>,
    stopped: watch::Sender<bool>,
}

impl FaultStore {
    /// Wraps `inner`, without faults.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
            stopped: watch::Sender::new(false),
        }
    }

    /// Applies `fault` to the calls of `when`. If several faults match a call, the first one added applies.
    pub fn on(&self, when: CallFilter, fault: Fault) {
        self.plan().add(when, fault);
    }

    /// Removes all faults. A stopped store stays stopped.
    pub fn clear(&self) {
        self.plan().clear();
    }

    /// Returns the calls so far, including those that failed on purpose.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        self.plan().counts()
    }

    /// Waits until a call was stopped.
    pub async fn stopped(&self) {
        // This fails only without a sender, and `self` has one.
        drop(self.stopped.subscribe().wait_for(|stopped| *stopped).await);
    }

    fn plan(&self) -> MutexGuard<'_, FaultPlan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and applies the fault that comes before it.
    async fn before(
        &self,
        call: StoreCall,
        at: &str,
        bytes: usize,
    ) -> Result<Option<Fault>, StoreError> {
        if *self.stopped.borrow() {
            std::future::pending::<()>().await;
        }
        let fault = self.plan().count(call, at, bytes);
        let operation = || format!("{call:?} {at}");
        let store = self.describe();
        match fault {
            Some(Fault::Unavailable) => Err(self.unavailable(call, at)),
            Some(Fault::Forbidden) => Err(StoreError::Forbidden {
                store,
                operation: operation(),
                source: "a fault on purpose".into(),
            }),
            Some(Fault::NoSpace) => Err(StoreError::NoSpace {
                store,
                operation: operation(),
            }),
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
            Some(Fault::StopBefore) => {
                self.stop().await;
                Ok(None)
            }
            fault => Ok(fault),
        }
    }

    /// Applies the fault that comes after a call.
    async fn after<T>(
        &self,
        call: StoreCall,
        at: &str,
        fault: Option<Fault>,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match fault {
            Some(Fault::LostReply) => Err(self.unavailable(call, at)),
            Some(Fault::StopAfter) => {
                self.stop().await;
                result
            }
            _ => result,
        }
    }

    async fn stop(&self) {
        self.stopped.send_replace(true);
        std::future::pending::<()>().await;
    }

    fn unavailable(&self, call: StoreCall, at: &str) -> StoreError {
        StoreError::Unavailable {
            store: self.describe(),
            operation: format!("{call:?} {at}"),
            tries: 1,
            source: "a fault on purpose".into(),
        }
    }

    /// Counts the bytes of a get, and corrupts them if that is its fault.
    fn brought(&self, fault: Option<Fault>, bytes: Bytes) -> Bytes {
        self.plan().brought(bytes.len());
        if fault != Some(Fault::Corrupt) {
            return bytes;
        }
        let mut bytes = Vec::from(bytes);
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        bytes.into()
    }
}

#[async_trait]
impl Store for FaultStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn create(
        &self,
        key: &Key,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<CreateOutcome, StoreError> {
        let (call, at) = (StoreCall::Create, key.as_str());
        let fault = self.before(call, at, bytes.len()).await?;
        let result = self.inner.create(key, bytes, digest).await;
        self.after(call, at, fault, result).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let (call, at) = (StoreCall::Get, key.as_str());
        let fault = self.before(call, at, 0).await?;
        let result = self.inner.get(key).await;
        let result = result.map(|bytes| self.brought(fault, bytes));
        self.after(call, at, fault, result).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (call, at) = (StoreCall::GetRange, key.as_str());
        let fault = self.before(call, at, 0).await?;
        let result = self.inner.get_range(key, range).await;
        let result = result.map(|bytes| self.brought(fault, bytes));
        self.after(call, at, fault, result).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let (call, at) = (StoreCall::Head, key.as_str());
        let fault = self.before(call, at, 0).await?;
        let result = self.inner.head(key).await;
        self.after(call, at, fault, result).await
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, StoreError> {
        let fault = self.before(StoreCall::List, prefix, 0).await?;
        let result = self.inner.list(prefix, from).await;
        self.after(StoreCall::List, prefix, fault, result).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let (call, at) = (StoreCall::Delete, key.as_str());
        let fault = self.before(call, at, 0).await?;
        let result = self.inner.delete(key).await;
        self.after(call, at, fault, result).await
    }

    async fn probe(&self) -> Result<Probe, StoreError> {
        let fault = self.before(StoreCall::Probe, "", 0).await?;
        let result = self.inner.probe().await;
        self.after(StoreCall::Probe, "", fault, result).await
    }

    async fn date(&self) -> Result<Option<jiff::Timestamp>, StoreError> {
        self.inner.date().await
    }
}

#[cfg(test)]
mod tests;
