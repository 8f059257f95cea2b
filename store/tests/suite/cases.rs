//! The cases. Each gets a fresh store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use timonel_api::Revision;
use timonel_store::{Entry, Guard, Op, Range, Store, StoreError, Txn, Watch, WatchItem};

type S = Arc<dyn Store>;

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))
}

fn delete(key: &str) -> Op {
    Op::Delete(key.to_owned())
}

fn txn(guards: Vec<Guard>, ops: Vec<Op>) -> Txn {
    Txn { guards, ops }
}

async fn write(store: &S, op: Op) -> Revision {
    store.commit(txn(vec![], vec![op])).await.unwrap()
}

fn all(prefix: &str) -> Range {
    Range {
        prefix: prefix.to_owned(),
        ..Range::default()
    }
}

async fn keys(store: &S, at: Option<u64>) -> Vec<String> {
    let page = store
        .range(Range {
            at: at.map(Revision),
            ..all("")
        })
        .await
        .unwrap();
    page.entries
        .iter()
        .map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)))
        .collect()
}

async fn next(watch: &mut Watch) -> Result<WatchItem, StoreError> {
    tokio::time::timeout(Duration::from_secs(10), watch.next())
        .await
        .expect("the watch is silent")
        .expect("it ended")
}

async fn next_event(watch: &mut Watch) -> WatchItem {
    loop {
        let item = next(watch).await.unwrap();
        if !item.events.is_empty() {
            return item;
        }
    }
}

fn value(entry: Option<&Entry>) -> Option<&str> {
    entry.map(|entry| std::str::from_utf8(&entry.value).unwrap())
}

pub(crate) async fn an_empty_store_is_at_revision_one(store: S) {
    assert_eq!(store.current_revision(), Revision(1));
    assert_eq!(store.get("/a", None).await, Ok(None));
    let page = store.range(all("")).await.unwrap();
    assert_eq!((page.revision, page.entries.len(), page.remaining), (Revision(1), 0, 0));
}

pub(crate) async fn every_commit_gets_the_next_revision(store: S) {
    for expected in 2..20 {
        assert_eq!(write(&store, put("/a", "x")).await, Revision(expected));
        assert_eq!(store.current_revision(), Revision(expected));
    }
}

pub(crate) async fn a_commit_that_changes_nothing_returns_the_present_revision(store: S) {
    write(&store, put("/a", "x")).await;
    assert_eq!(write(&store, delete("/absent")).await, Revision(2));
    assert_eq!(store.commit(Txn::default()).await, Ok(Revision(2)));
    assert_eq!(
        store.commit(txn(vec![Guard::Exists("/a".to_owned())], vec![])).await,
        Ok(Revision(2))
    );
}

pub(crate) async fn a_key_counts_its_lives_and_writes(store: S) {
    write(&store, put("/a", "1")).await;
    write(&store, put("/a", "2")).await;
    let entry = store.get("/a", None).await.unwrap().unwrap();
    assert_eq!(
        (entry.create_revision, entry.mod_revision, entry.version),
        (Revision(2), Revision(3), 2)
    );
    write(&store, delete("/a")).await;
    assert_eq!(store.get("/a", None).await, Ok(None));
    write(&store, put("/a", "3")).await;
    let entry = store.get("/a", None).await.unwrap().unwrap();
    assert_eq!(
        (entry.create_revision, entry.mod_revision, entry.version),
        (Revision(5), Revision(5), 1)
    );
}

pub(crate) async fn guards_hold_or_nothing_happens(store: S) {
    let created = store
        .commit(txn(vec![Guard::Absent("/a".to_owned())], vec![put("/a", "1")]))
        .await
        .unwrap();
    let again = store
        .commit(txn(
            vec![Guard::Absent("/a".to_owned())],
            vec![put("/a", "2"), put("/b", "2")],
        ))
        .await;
    let Err(StoreError::Conflict {
        key,
        actual: Some(actual),
    }) = again
    else {
        panic!("{again:?}")
    };
    assert_eq!((key.as_str(), value(Some(&actual))), ("/a", Some("1")));
    let updated = store
        .commit(txn(vec![Guard::At("/a".to_owned(), created)], vec![put("/a", "2")]))
        .await
        .unwrap();
    let stale = store
        .commit(txn(vec![Guard::At("/a".to_owned(), created)], vec![delete("/a")]))
        .await;
    let Err(StoreError::Conflict {
        actual: Some(actual), ..
    }) = stale
    else {
        panic!("{stale:?}")
    };
    assert_eq!(actual.mod_revision, updated);
    let absent = store
        .commit(txn(vec![Guard::Exists("/b".to_owned())], vec![put("/b", "2")]))
        .await;
    assert_eq!(
        absent,
        Err(StoreError::Conflict {
            key: "/b".to_owned(),
            actual: None
        })
    );
    assert_eq!(keys(&store, None).await, ["/a=2"]);
    assert_eq!(store.current_revision(), updated);
}

pub(crate) async fn a_transaction_that_names_a_key_twice_is_invalid(store: S) {
    for ops in [
        vec![put("/a", "1"), delete("/a")],
        vec![put("", "1")],
        vec![put(&"k".repeat(5000), "1")],
    ] {
        assert!(matches!(
            store.commit(txn(vec![], ops)).await,
            Err(StoreError::Invalid { .. })
        ));
    }
    assert_eq!(store.current_revision(), Revision(1));
}

pub(crate) async fn lists_in_byte_order_in_pages_of_one_revision(store: S) {
    for name in ["/p/c", "/p/a", "/q/z", "/p/b", "/p", "/p/é"] {
        write(&store, put(name, name)).await;
    }
    let first = store
        .range(Range {
            limit: Some(2),
            ..all("/p/")
        })
        .await
        .unwrap();
    let names = |entries: &[Entry]| entries.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (names(&first.entries), first.remaining),
        (vec!["/p/a".to_owned(), "/p/b".to_owned()], 2)
    );
    write(&store, delete("/p/c")).await;
    write(&store, put("/p/bb", "new")).await;
    let after = Some("/p/b".to_owned());
    let second = store
        .range(Range {
            after,
            limit: Some(2),
            at: Some(first.revision),
            ..all("/p/")
        })
        .await
        .unwrap();
    assert_eq!(
        (names(&second.entries), second.remaining),
        (vec!["/p/c".to_owned(), "/p/é".to_owned()], 0)
    );
    assert_eq!(second.revision, first.revision);
    assert_eq!(names(&store.range(all("/q")).await.unwrap().entries), ["/q/z"]);
}

pub(crate) async fn reads_the_past_and_refuses_the_future(store: S) {
    write(&store, put("/a", "1")).await;
    write(&store, put("/a", "2")).await;
    write(&store, delete("/a")).await;
    assert_eq!(
        value(store.get("/a", Some(Revision(2))).await.unwrap().as_ref()),
        Some("1")
    );
    assert_eq!(keys(&store, Some(3)).await, ["/a=2"]);
    assert_eq!(keys(&store, Some(4)).await, [""; 0]);
    let future = Err(StoreError::Future {
        asked: Revision(5),
        current: Revision(4),
    });
    assert_eq!(store.get("/a", Some(Revision(5))).await, future);
    assert!(store.watch("", Revision(5)).await.is_err());
}

pub(crate) async fn compaction_forgets_the_past_and_keeps_the_state(store: S) {
    for (key, text) in [("/a", "1"), ("/b", "1"), ("/a", "2"), ("/c", "1")] {
        write(&store, put(key, text)).await;
    }
    write(&store, delete("/b")).await;
    write(&store, put("/a", "3")).await;
    store.compact(Revision(6)).await.unwrap();
    assert_eq!(store.oldest_revision(), Revision(6));
    assert_eq!(keys(&store, Some(6)).await, ["/a=2", "/c=1"]);
    assert_eq!(keys(&store, None).await, ["/a=3", "/c=1"]);
    let compacted = Err(StoreError::Compacted {
        asked: Revision(5),
        oldest: Revision(6),
    });
    assert_eq!(store.get("/a", Some(Revision(5))).await, compacted);
    store.compact(Revision(3)).await.unwrap();
    assert_eq!(store.oldest_revision(), Revision(6));
    assert!(matches!(
        store.compact(Revision(99)).await,
        Err(StoreError::Future { .. })
    ));
    assert_eq!(write(&store, put("/b", "2")).await, Revision(8));
    assert_eq!(store.get("/b", None).await.unwrap().unwrap().version, 1);
}

pub(crate) async fn a_watch_sees_each_transaction_whole_with_what_it_replaced(store: S) {
    let mut watch = store.watch("/p/", Revision(1)).await.unwrap();
    store
        .commit(txn(vec![], vec![put("/p/a", "1"), put("/q/a", "1"), put("/p/b", "1")]))
        .await
        .unwrap();
    let item = next_event(&mut watch).await;
    assert_eq!((item.revision, item.events.len()), (Revision(2), 2));
    store
        .commit(txn(vec![], vec![delete("/p/a"), put("/p/b", "2")]))
        .await
        .unwrap();
    let item = next_event(&mut watch).await;
    let seen: Vec<_> = item
        .events
        .iter()
        .map(|event| (&*event.key, value(event.entry.as_ref()), value(event.previous.as_ref())))
        .collect();
    assert_eq!(seen, [("/p/a", None, Some("1")), ("/p/b", Some("2"), Some("1"))]);
    // The past tells the same as the present did.
    let mut again = store.watch("/p/", Revision(2)).await.unwrap();
    assert_eq!(next_event(&mut again).await, item);
}

pub(crate) async fn a_watch_resumes_from_history_without_gap_or_duplicate(store: S) {
    for count in 0..300 {
        write(&store, put(&format!("/p/{}", count % 7), &count.to_string())).await;
    }
    for after in [1, 2, 128, 129, 130, 257, 300, 301] {
        let mut watch = store.watch("/p/", Revision(after)).await.unwrap();
        for expected in after + 1..=301 {
            assert_eq!(next_event(&mut watch).await.revision, Revision(expected));
        }
    }
    let mut watch = store.watch("/p/", Revision(300)).await.unwrap();
    assert_eq!(next_event(&mut watch).await.revision, Revision(301));
    write(&store, put("/q/x", "other")).await;
    write(&store, put("/p/0", "live")).await;
    assert_eq!(next_event(&mut watch).await.revision, Revision(303));
}

pub(crate) async fn a_watch_that_meets_writers_has_no_gap_or_duplicate(store: S) {
    const WRITES: u64 = 400;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for count in 0..WRITES {
                write(&store, put(&format!("/p/{}", count % 5), "x")).await;
            }
        })
    };
    let mut watches = tokio::task::JoinSet::new();
    for start in 0..8 {
        let store = Arc::clone(&store);
        watches.spawn(async move {
            while store.current_revision() < Revision(1 + start * 40) {
                tokio::task::yield_now().await;
            }
            let after = Revision(1 + start * 20);
            let mut watch = store.watch("/p/", after).await.unwrap();
            let mut expected = after.next();
            while expected <= Revision(WRITES + 1) {
                let item = next(&mut watch).await.unwrap();
                if item.events.is_empty() {
                    assert!(
                        item.revision < expected,
                        "progress to {} before {expected}",
                        item.revision
                    );
                    continue;
                }
                assert_eq!(item.revision, expected);
                expected = expected.next();
            }
        });
    }
    writer.await.unwrap();
    while let Some(done) = watches.join_next().await {
        done.unwrap();
    }
}

pub(crate) async fn a_watch_from_before_the_history_is_refused(store: S) {
    for _ in 0..5 {
        write(&store, put("/a", "x")).await;
    }
    store.compact(Revision(4)).await.unwrap();
    let refused = store.watch("", Revision(3)).await.map(drop);
    assert_eq!(
        refused,
        Err(StoreError::Compacted {
            asked: Revision(3),
            oldest: Revision(4)
        })
    );
    let mut watch = store.watch("", Revision(4)).await.unwrap();
    let item = next_event(&mut watch).await;
    assert_eq!(item.revision, Revision(5));
    assert_eq!(item.events[0].previous.as_ref().unwrap().mod_revision, Revision(4));
}

pub(crate) async fn a_quiet_watch_says_how_far_it_is(store: S) {
    let mut watch = store.watch("/p/", Revision(1)).await.unwrap();
    let (revision, item) = tokio::join!(write(&store, put("/q/a", "x")), next(&mut watch));
    let item = item.unwrap();
    assert_eq!((item.revision, item.events.len()), (revision, 0));
    store.request_progress();
    assert_eq!(
        next(&mut watch).await.unwrap(),
        WatchItem {
            revision,
            events: vec![]
        }
    );
}

pub(crate) async fn a_slow_watcher_is_ended_with_lagged_on_a_small_buffer(store: S) {
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    write(&store, put("/a", "0")).await;
    assert_eq!(next_event(&mut watch).await.revision, Revision(2));
    // Now it is live; nobody reads for a while.
    let mut last = Revision(2);
    tokio::select! {
        biased;
        _ = watch.next() => panic!("nothing was written"),
        () = tokio::task::yield_now() => {}
    }
    for _ in 0..20 {
        write(&store, put("/a", "x")).await;
    }
    let error = loop {
        match next(&mut watch).await {
            Ok(item) => {
                assert_eq!(item.revision, last.next());
                last = item.revision;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, StoreError::Lagged { at: last });
    assert!(last < Revision(12), "it was given {last}, more than its buffer holds");
    assert!(watch.next().await.is_none());
    // Whoever resumes where it ended misses nothing.
    let mut again = store.watch("", last).await.unwrap();
    for expected in last.0 + 1..=22 {
        assert_eq!(next_event(&mut again).await.revision, Revision(expected));
    }
}

pub(crate) async fn only_one_of_many_writers_wins_a_guard(store: S) {
    write(&store, put("/counter", "0")).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut done = 0;
            while done < 5 {
                let entry = store.get("/counter", None).await.unwrap().unwrap();
                let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                let guard = Guard::At("/counter".to_owned(), entry.mod_revision);
                match store
                    .commit(txn(vec![guard], vec![put("/counter", &(count + 1).to_string())]))
                    .await
                {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict { actual, .. }) => {
                        assert!(actual.unwrap().mod_revision > entry.mod_revision);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(keys(&store, None).await, ["/counter=80"]);
    assert_eq!(store.current_revision(), Revision(82));
}

pub(crate) async fn a_closed_store_refuses_and_ends_watches(store: S) {
    write(&store, put("/a", "x")).await;
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    next_event(&mut watch).await;
    store.request_progress();
    next(&mut watch).await.unwrap();
    store.close().await;
    assert_eq!(next(&mut watch).await, Err(StoreError::Closed));
    assert!(watch.next().await.is_none());
    assert_eq!(
        store.commit(txn(vec![], vec![put("/b", "x")])).await,
        Err(StoreError::Closed)
    );
    assert_eq!(store.get("/a", None).await, Err(StoreError::Closed));
}

pub(crate) async fn large_values_come_back_whole(store: S) {
    for len in [0, 1, 3780, 3836, 3837, 4096, 7680, 100_000, 3_000_000] {
        let text: Bytes = (0..len).map(|at: u32| (at % 251) as u8).collect();
        let key = format!("/large/{len}");
        store
            .commit(txn(vec![], vec![Op::Put(key.clone(), text.clone())]))
            .await
            .unwrap();
        assert_eq!(store.get(&key, None).await.unwrap().unwrap().value, text, "{len} bytes");
    }
    let huge = Op::Put("/huge".to_owned(), Bytes::from(vec![0; timonel_store::MAX_VALUE + 1]));
    assert!(matches!(
        store.commit(txn(vec![], vec![huge])).await,
        Err(StoreError::Invalid { .. })
    ));
}
