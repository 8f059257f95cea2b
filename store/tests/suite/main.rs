//! One suite for every store: whatever it is built on, it keeps the words of the `Store` trait.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod cases;
mod model;

use std::sync::Arc;

use tempfile::TempDir;
use timonel_store::{EmbeddedConfig, EmbeddedStore, Engine, MemoryStore, Store};

/// A store under test; its folder goes with it.
struct Subject {
    store: Arc<dyn Store>,
    _dir: Option<TempDir>,
}

/// A watcher buffer that a test can fill.
const SMALL_BUFFER: usize = 4;

fn memory(small_buffer: bool) -> Subject {
    let store = if small_buffer {
        MemoryStore::with_watch_buffer(SMALL_BUFFER)
    } else {
        MemoryStore::new()
    };
    Subject {
        store: Arc::new(store),
        _dir: None,
    }
}

fn embedded(engine: Engine, small_buffer: bool) -> Subject {
    let dir = TempDir::new().unwrap();
    let mut config = EmbeddedConfig::at(dir.path().join("store")).engine(engine);
    if small_buffer {
        config.watch_buffer = SMALL_BUFFER;
    }
    Subject {
        store: Arc::new(EmbeddedStore::open(config).unwrap()),
        _dir: Some(dir),
    }
}

macro_rules! suite {
    ($($case:ident),* $(,)?) => {
        suite!(@store memory, memory, [$($case),*]);
        suite!(@store redb, |small| embedded(Engine::Redb, small), [$($case),*]);
        suite!(@store sled, |small| embedded(Engine::Sled, small), [$($case),*]);
    };
    (@store $name:ident, $open:expr, [$($case:ident),*]) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let open: fn(bool) -> Subject = $open;
                    let subject = open(stringify!($case).ends_with("small_buffer"));
                    cases::$case(Arc::clone(&subject.store)).await;
                    subject.store.close().await;
                }
            )*

            #[test]
            fn agrees_with_the_model() {
                model::check($open);
            }
        }
    };
}

suite![
    an_empty_store_is_at_revision_one,
    every_commit_gets_the_next_revision,
    a_commit_that_changes_nothing_returns_the_present_revision,
    a_key_counts_its_lives_and_writes,
    guards_hold_or_nothing_happens,
    a_transaction_that_names_a_key_twice_is_invalid,
    lists_in_byte_order_in_pages_of_one_revision,
    reads_the_past_and_refuses_the_future,
    compaction_forgets_the_past_and_keeps_the_state,
    a_watch_sees_each_transaction_whole_with_what_it_replaced,
    a_watch_resumes_from_history_without_gap_or_duplicate,
    a_watch_that_meets_writers_has_no_gap_or_duplicate,
    a_watch_from_before_the_history_is_refused,
    a_quiet_watch_says_how_far_it_is,
    a_slow_watcher_is_ended_with_lagged_on_a_small_buffer,
    only_one_of_many_writers_wins_a_guard,
    a_closed_store_refuses_and_ends_watches,
    large_values_come_back_whole,
];
