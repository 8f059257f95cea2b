//! Compares a store with the simplest model of a history: a list of whole states, one per revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use timonel_api::Revision;
use timonel_store::{Guard, Op, Range, Store, StoreError, Txn};

use crate::Subject;

#[derive(Clone, Debug)]
enum Step {
    Commit {
        guard: Option<(u8, GuardKind)>,
        ops: Vec<(u8, Option<u8>)>,
    },
    Compact(u8),
    Range {
        prefix: u8,
        limit: u8,
        back: u8,
    },
    Get {
        key: u8,
        back: u8,
    },
    Watch {
        back: u8,
        wide: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum GuardKind {
    Absent,
    Exists,
    AtNewest,
    AtStale,
}

/// key -> (value, create, modified, version)
type State = BTreeMap<String, (u8, u64, u64, u64)>;

struct Model {
    /// The state at each revision, from revision 1.
    states: Vec<State>,
    oldest: u64,
}

fn key(number: u8) -> String {
    format!("/{}/{}", number % 3, number % 8)
}

fn step() -> impl Strategy<Value = Step> {
    let guard = prop_oneof![
        Just(GuardKind::Absent),
        Just(GuardKind::Exists),
        Just(GuardKind::AtNewest),
        Just(GuardKind::AtStale)
    ];
    let ops = prop::collection::vec((0..24u8, prop::option::weighted(0.7, any::<u8>())), 0..4);
    prop_oneof![
        8 => (prop::option::weighted(0.4, (0..24u8, guard)), ops).prop_map(|(guard, ops)| Step::Commit { guard, ops }),
        1 => (0..6u8).prop_map(Step::Compact),
        2 => (0..4u8, 0..5u8, 0..8u8).prop_map(|(prefix, limit, back)| Step::Range { prefix, limit, back }),
        2 => (0..24u8, 0..8u8).prop_map(|(key, back)| Step::Get { key, back }),
        1 => (0..8u8, any::<bool>()).prop_map(|(back, wide)| Step::Watch { back, wide }),
    ]
}

impl Model {
    fn current(&self) -> u64 {
        self.states.len() as u64
    }

    fn state(&self, revision: u64) -> &State {
        &self.states[usize::try_from(revision - 1).unwrap()]
    }

    fn newest(&self) -> &State {
        self.state(self.current())
    }

    fn commit(&mut self, txn: &Txn) -> Result<u64, &'static str> {
        let mut names: Vec<_> = txn.ops.iter().map(op_key).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("invalid");
        }
        let holds = txn.guards.iter().all(|guard| {
            let there = self.newest().get(guard.key());
            match guard {
                Guard::Absent(_) => there.is_none(),
                Guard::Exists(_) => there.is_some(),
                Guard::At(_, revision) => there.is_some_and(|there| there.2 == revision.0),
            }
        });
        if !holds {
            return Err("conflict");
        }
        let (mut state, revision, mut changed) = (self.newest().clone(), self.current() + 1, false);
        for op in &txn.ops {
            match op {
                Op::Put(key, value) => {
                    let (create, version) = state.get(key).map_or((revision, 1), |old| (old.1, old.3 + 1));
                    state.insert(key.clone(), (value[0], create, revision, version));
                    changed = true;
                }
                Op::Delete(key) => changed |= state.remove(key).is_some(),
            }
        }
        if changed {
            self.states.push(state);
        }
        Ok(self.current())
    }
}

fn op_key(op: &Op) -> &str {
    match op {
        Op::Put(key, _) | Op::Delete(key) => key,
    }
}

fn transaction(model: &Model, guard: Option<(u8, GuardKind)>, ops: &[(u8, Option<u8>)]) -> Txn {
    let guards = guard.map(|(number, kind)| {
        let key = key(number);
        let newest = model.newest().get(&key).map_or(0, |there| there.2);
        match kind {
            GuardKind::Absent => Guard::Absent(key),
            GuardKind::Exists => Guard::Exists(key),
            GuardKind::AtNewest => Guard::At(key, Revision(newest)),
            GuardKind::AtStale => Guard::At(key, Revision(newest.saturating_sub(1))),
        }
    });
    let ops = ops.iter().map(|(number, value)| match value {
        Some(value) => Op::Put(key(*number), Bytes::from(vec![*value])),
        None => Op::Delete(key(*number)),
    });
    Txn {
        guards: guards.into_iter().collect(),
        ops: ops.collect(),
    }
}

/// Runs random histories against a store.
pub(crate) fn check(open: fn(bool) -> Subject) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = prop::collection::vec(step(), 1..60);
    runner
        .run(&steps, |steps| {
            let subject = open(false);
            let result = runtime.block_on(run(subject.store.as_ref(), &steps));
            runtime.block_on(subject.store.close());
            result
        })
        .unwrap();
}

async fn run(store: &dyn Store, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model {
        states: vec![State::new()],
        oldest: 1,
    };
    for step in steps {
        match step {
            Step::Commit { guard, ops } => {
                let txn = transaction(&model, *guard, ops);
                let got = match store.commit(txn.clone()).await {
                    Ok(revision) => Ok(revision.0),
                    Err(StoreError::Conflict { .. }) => Err("conflict"),
                    Err(StoreError::Invalid { .. }) => Err("invalid"),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                };
                prop_assert_eq!(got, model.commit(&txn));
            }
            Step::Compact(back) => {
                let revision = model.current().saturating_sub(u64::from(*back)).max(1);
                store
                    .compact(Revision(revision))
                    .await
                    .map_err(|error| TestCaseError::fail(error.to_string()))?;
                model.oldest = model.oldest.max(revision);
            }
            Step::Range { prefix, limit, back } => {
                let at = model.current().saturating_sub(u64::from(*back)).max(1);
                let prefix = if *prefix == 3 {
                    String::new()
                } else {
                    format!("/{prefix}/")
                };
                let limit = (*limit > 0).then_some(usize::from(*limit));
                let range = Range {
                    prefix: prefix.clone(),
                    after: None,
                    limit,
                    at: Some(Revision(at)),
                };
                compare_range(store.range(range).await, &model, at, &prefix, limit)?;
            }
            Step::Get { key: number, back } => {
                let at = model.current().saturating_sub(u64::from(*back)).max(1);
                let got = store.get(&key(*number), Some(Revision(at))).await;
                if at < model.oldest {
                    prop_assert!(matches!(got, Err(StoreError::Compacted { .. })), "not compacted");
                } else {
                    let got = got.map_err(|error| TestCaseError::fail(error.to_string()))?;
                    let got = got.map(|e| (e.value[0], e.create_revision.0, e.mod_revision.0, e.version));
                    prop_assert_eq!(got, model.state(at).get(&key(*number)).copied());
                }
            }
            Step::Watch { back, wide } => {
                let after = model.current().saturating_sub(u64::from(*back)).max(model.oldest);
                compare_watch(store, &model, after, if *wide { "" } else { "/1/" }).await?;
            }
        }
        prop_assert_eq!(store.current_revision().0, model.current());
        prop_assert_eq!(store.oldest_revision().0, model.oldest);
    }
    Ok(())
}

fn compare_range(
    got: Result<timonel_store::Page, StoreError>,
    model: &Model,
    at: u64,
    prefix: &str,
    limit: Option<usize>,
) -> Result<(), TestCaseError> {
    if at < model.oldest {
        prop_assert!(matches!(got, Err(StoreError::Compacted { .. })), "not compacted");
        return Ok(());
    }
    let got = got.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let all: Vec<_> = model
        .state(at)
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .collect();
    let shown = all.len().min(limit.unwrap_or(usize::MAX));
    prop_assert_eq!(got.remaining, (all.len() - shown) as u64);
    let entries: Vec<_> = got
        .entries
        .iter()
        .map(|e| {
            (
                e.key.to_string(),
                (e.value[0], e.create_revision.0, e.mod_revision.0, e.version),
            )
        })
        .collect();
    let expected: Vec<_> = all[..shown]
        .iter()
        .map(|(key, value)| ((*key).clone(), **value))
        .collect();
    prop_assert_eq!(entries, expected);
    Ok(())
}

/// Replays a watch over the state that it started from and expects every state after it.
async fn compare_watch(store: &dyn Store, model: &Model, after: u64, prefix: &str) -> Result<(), TestCaseError> {
    let mut watch = store
        .watch(prefix, Revision(after))
        .await
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let matching = |state: &State| -> State {
        state
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), *value))
            .collect()
    };
    let (mut state, mut seen) = (matching(model.state(after)), after);
    while let Some(item) = watch.next().now_or_never().flatten() {
        let item = item.map_err(|error| TestCaseError::fail(error.to_string()))?;
        for between in seen + 1..item.revision.0 {
            prop_assert_eq!(
                &state,
                &matching(model.state(between)),
                "a change at {} was skipped",
                between
            );
        }
        for event in item.events {
            prop_assert_eq!(event.revision, item.revision);
            let old = match event.entry {
                Some(e) => state.insert(
                    e.key.to_string(),
                    (e.value[0], e.create_revision.0, e.mod_revision.0, e.version),
                ),
                None => state.remove(&*event.key),
            };
            prop_assert_eq!(
                event.previous.map(|e| (e.value[0], e.mod_revision.0)),
                old.map(|old| (old.0, old.2))
            );
        }
        seen = item.revision.0;
        prop_assert_eq!(&state, &matching(model.state(seen)));
    }
    prop_assert_eq!(&state, &matching(model.newest()));
    Ok(())
}
