//! Promises about listings.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;

use super::{BoxError, CheckResult, ensure, key, keys, put, sample};
use crate::store::{Page, Store};

pub(super) async fn of_nothing(store: Arc<dyn Store>) -> CheckResult {
    for prefix in ["", "packs/", "pa"] {
        let page = store.list(prefix, None).await?;
        ensure!(page == Page::default(), "it lists {page:?}");
    }
    Ok(())
}

pub(super) async fn in_order(store: Arc<dyn Store>) -> CheckResult {
    // `-` and `.` come before `/`; digits and letters come after it. A store in files that lists folder by
    // folder gets this wrong.
    let expected = [
        "a-b", "a-b-c/d", "a.b", "a/0", "a/b", "a/b.c", "a0", "ab/c", "b/c/d/e", "b/c0",
    ];
    for name in expected.iter().rev() {
        put(&*store, name, &sample(name, 10)).await?;
    }
    let listed = keys(&*store, "").await?;
    ensure!(listed == expected, "it lists {listed:?}");
    Ok(())
}

pub(super) async fn by_prefix(store: Arc<dyn Store>) -> CheckResult {
    let all = ["index/1", "packs/00/1", "packs/01/1", "packs/01/2", "pages"];
    for name in all {
        put(&*store, name, &sample(name, 10)).await?;
    }
    for prefix in [
        "",
        "p",
        "pa",
        "packs",
        "packs/",
        "packs/0",
        "packs/01",
        "packs/01/",
        "packs/01/2",
        "q",
        "packs/01/2/",
        "index/",
        "i",
    ] {
        let expected: Vec<_> = all
            .into_iter()
            .filter(|name| name.starts_with(prefix))
            .collect();
        let listed = keys(&*store, prefix).await?;
        ensure!(listed == expected, "`{prefix}` lists {listed:?}");
    }
    Ok(())
}

pub(super) async fn in_pages(store: Arc<dyn Store>) -> CheckResult {
    let mut expected: Vec<String> = (0..1_100).map(|n| format!("packs/{n:04}")).collect();
    expected.extend((0..5).map(|n| format!("points/{n}")));
    // Several at once, because one after the other takes long over a network.
    stream::iter(&expected)
        .map(|name| {
            let store = Arc::clone(&store);
            async move { put(&*store, name, &sample(name, 1)).await }
        })
        .buffer_unordered(16)
        .try_collect::<()>()
        .await?;
    let listed = keys(&*store, "").await?;
    ensure!(
        listed == expected,
        "{} of {} keys, or in another order",
        listed.len(),
        expected.len()
    );
    let packs = keys(&*store, "packs/").await?;
    ensure!(packs.len() == 1_100, "{} packs", packs.len());
    more_than_one_page(&*store).await
}

pub(super) async fn with_times(store: Arc<dyn Store>) -> CheckResult {
    // A clock with whole seconds is up to one second behind.
    const COARSE: SignedDuration = SignedDuration::from_secs(2);
    let before = store.date().await?.ok_or("it tells no time")?;
    put(&*store, "packs/1", &sample("times", 10)).await?;
    let after = store.date().await?.ok_or("it tells no time any more")?;
    let page = store.list("", None).await?;
    let listed = page.objects.first().and_then(|info| info.modified);
    let head = store.head(&key("packs/1")?).await?.modified;
    for (call, time) in [("listing", listed), ("head", head)] {
        let time = time.ok_or_else(|| format!("the {call} does not tell when it was put"))?;
        ensure!(
            before.checked_sub(COARSE)? <= time && time <= after.checked_add(COARSE)?,
            "the {call} says that it was put at {time}, between {before} and {after}"
        );
    }
    Ok(())
}

/// Checks that there is more than one page: a store that returns all keys at once would never test paging.
async fn more_than_one_page(store: &dyn Store) -> Result<(), BoxError> {
    let first = store.list("", None).await?;
    ensure!(first.next.is_some(), "all keys came in one page");
    Ok(())
}
