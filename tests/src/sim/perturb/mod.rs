//! Exhaustive perturbation, after Sieve (OSDI'22): every write and every event of a scenario is hit in turn.
//!
//! ```text
//! reference: play the scenario, count every write of a component and every event that it is told, keep the end
//! for each:  play it again from the same seed, which comes to the same point in the same state;
//!            there the component dies before or after the write, or the event is hidden or late
//!            --> every invariant held on the way, and the end is the reference's (what is random by design taken out)
//! ```

mod normal;

pub use normal::normalised;

use std::sync::Arc;

use super::invariants::{self, Violation, orphans};
use super::link::Faults;
use super::script::{Script, Stage};
use super::simulate;
use super::tap::{Crash, Disturbance, Loss, Tap};
use super::world::{Component, World};

/// How a life ended.
#[derive(Debug)]
pub struct Life {
    /// The scenario's text, with what was really said.
    pub told: String,
    /// What is there in the end, normalised.
    pub end: Vec<String>,
    /// The writes that were counted.
    pub writes: Vec<String>,
    /// The events that were counted.
    pub events: Vec<String>,
}

/// Plays a scenario in a world of its own, with a tap on one component, and checks all invariants.
///
/// # Errors
/// What went wrong: on the stage, with an invariant, or with what is left in the end.
pub fn play(
    seed: u64,
    script: &Script,
    on: Component,
    tap: &Arc<Tap>,
    hit: Option<Disturbance>,
) -> Result<Life, Violation> {
    simulate(seed, async {
        let mut world = World::start(seed).await;
        world.set_tap(on, Arc::clone(tap));
        // A planted bug is there from the start: what was seen before it must be seen again.
        if let Some(bug) = tap.bug() {
            world.crash_component(on);
            world.start_component(on);
            let stale = std::time::Duration::from_secs(bug.stale);
            world.set_faults(
                on,
                Faults {
                    stale,
                    ..Faults::default()
                },
            );
        }
        world.pass(std::time::Duration::from_secs(2)).await;
        tap.arm(hit);
        let mut stage = Stage::new(&mut world, vec![(on, Arc::clone(tap))]);
        let played = script.play(&mut stage).await;
        // What is unsafe is worse, and tells more, than what never comes.
        invariants::always(&world).await?;
        let told = played?;
        let objects: Vec<_> = world.objects().await.into_iter().map(|(_, object)| object).collect();
        orphans::none(&objects)?;
        let (writes, events) = tap.counted();
        Ok(Life {
            told,
            end: normalised(&objects),
            writes,
            events,
        })
    })
}

/// All disturbances that a reference run offers.
pub fn points(reference: &Life) -> Vec<Disturbance> {
    let writes = (0..reference.writes.len())
        .flat_map(|number| [Crash::Before, Crash::After].map(|crash| Disturbance::Write(number, crash)));
    let events = (0..reference.events.len())
        .flat_map(|number| [Loss::Hidden, Loss::Late].map(|loss| Disturbance::Event(number, loss)));
    writes.chain(events).collect()
}

/// Plays a scenario with one disturbance, and compares its end with the reference's.
///
/// # Errors
/// What went wrong, or where the ends differ.
pub fn hit(seed: u64, script: &Script, on: Component, point: Disturbance, reference: &Life) -> Result<(), Violation> {
    let at = match point {
        Disturbance::Write(number, _) => reference.writes.get(number),
        Disturbance::Event(number, _) => reference.events.get(number),
    };
    let at = at.map_or("", String::as_str);
    let life = play(seed, script, on, &Tap::new(), Some(point));
    let ended = life.and_then(|life| same(&reference.end, &life.end));
    ended.map_err(|violation| format!("{on}: {point} ({at}): {violation}"))
}

/// Whether two ends are the same.
///
/// # Errors
/// What is only in one of them.
pub fn same(wanted: &[String], found: &[String]) -> Result<(), Violation> {
    let missing = only_in(wanted, found);
    let surplus = only_in(found, wanted);
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    let short = |lines: Vec<&String>| lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
    Err(format!(
        "another end:\n  missing:{}\n  surplus:{}",
        short(missing),
        short(surplus)
    ))
}

fn only_in<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    let mut those: Vec<&String> = those.iter().collect();
    let mut left = Vec::new();
    for this in these {
        match those.iter().position(|that| *that == this) {
            Some(at) => drop(those.swap_remove(at)),
            None => left.push(this),
        }
    }
    left
}
