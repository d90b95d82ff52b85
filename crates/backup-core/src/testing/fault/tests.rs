//! Tests that faults apply to the selected calls, and to no others.

use super::*;
use crate::store::memory::MemoryStore;

fn store() -> FaultStore {
    FaultStore::new(Arc::new(MemoryStore::new()))
}

async fn put(store: &FaultStore, key: &str) -> Result<CreateOutcome, StoreError> {
    let bytes = Bytes::from_static(b"twelve bytes");
    let digest = Digest::of(&bytes);
    store.create(&key.parse().unwrap(), bytes, digest).await
}

#[tokio::test]
async fn a_lost_reply_leaves_the_object() {
    let store = store();
    store.on(
        CallFilter::call(StoreCall::Create).times(1),
        Fault::LostReply,
    );
    let error = put(&store, "a").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(put(&store, "a").await.unwrap(), CreateOutcome::Existed);
}

#[tokio::test]
async fn a_delete_fails_or_is_done_without_a_reply() {
    let store = store();
    put(&store, "a").await.unwrap();
    store.on(
        CallFilter::call(StoreCall::Delete).times(1),
        Fault::Unavailable,
    );
    store.on(
        CallFilter::call(StoreCall::Delete).times(1),
        Fault::LostReply,
    );
    let key = "a".parse().unwrap();
    for left in [true, false] {
        let error = store.delete(&key).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(store.head(&key).await.is_ok(), left);
    }
    store.delete(&key).await.unwrap();
    assert_eq!(store.counts().deletes, 3);
}

#[tokio::test]
async fn unavailable_leaves_nothing_and_counts() {
    let store = store();
    store.on(
        CallFilter::call(StoreCall::Create)
            .under("packs/")
            .from(2)
            .times(1),
        Fault::Unavailable,
    );
    put(&store, "packs/1").await.unwrap();
    put(&store, "index/1").await.unwrap();
    put(&store, "packs/2").await.unwrap_err();
    assert_eq!(put(&store, "packs/2").await.unwrap(), CreateOutcome::New);
    let counts = store.counts();
    assert_eq!((counts.creates, counts.put_bytes), (4, 48));
    assert_eq!(counts.calls(), 4);
}

#[tokio::test]
async fn errors_are_of_the_kind_asked_for() {
    let store = store();
    store.on(CallFilter::any().times(1), Fault::Forbidden);
    store.on(CallFilter::any().times(1), Fault::NoSpace);
    let error = store.list("", None).await.unwrap_err();
    assert!(matches!(error, StoreError::Forbidden { .. }), "{error}");
    let error = put(&store, "a").await.unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    put(&store, "a").await.unwrap();
}

#[tokio::test]
async fn gets_are_corrupted_in_one_bit() {
    let store = store();
    put(&store, "a").await.unwrap();
    store.on(CallFilter::any().times(1), Fault::Corrupt);
    let key = "a".parse().unwrap();
    assert_eq!(&store.get(&key).await.unwrap()[..], b"twelve\x21bytes");
    assert_eq!(&store.get(&key).await.unwrap()[..], b"twelve bytes");
    assert_eq!(store.counts().got_bytes, 24);
}

#[tokio::test]
async fn slow_calls_are_carried_out() {
    let store = store();
    let pause = Duration::from_millis(20);
    let began = tokio::time::Instant::now();
    store.on(CallFilter::any(), Fault::Slow(pause));
    assert_eq!(put(&store, "a").await.unwrap(), CreateOutcome::New);
    assert!(began.elapsed() >= pause);
}

#[tokio::test]
async fn a_stopped_store_never_answers_again() {
    for (fault, left) in [(Fault::StopBefore, 1), (Fault::StopAfter, 2)] {
        let inner = Arc::new(MemoryStore::new());
        let store = Arc::new(FaultStore::new(Arc::<MemoryStore>::clone(&inner)));
        store.on(CallFilter::any().from(2), fault);
        let run = async {
            for key in ["a", "b", "c"] {
                put(&store, key).await.unwrap();
            }
        };
        tokio::select! {
            () = run => panic!("the run went on"),
            () = store.stopped() => {}
        }
        store.clear();
        let again = futures::FutureExt::now_or_never(put(&store, "d"));
        assert!(again.is_none(), "it answers again");
        let page = inner.list("", None).await.unwrap();
        assert_eq!(page.objects.len(), left);
    }
}
