//! The law of every planner: *apply a plan, observe again, and the next plan is empty.*
//!
//! Tests call [`settles`] with the planner and with a small model of what applying an action does to what is observed.

use std::fmt::Debug;

/// A planner that did not keep the law.
#[derive(Debug, thiserror::Error)]
#[error("after applying {applied}, the next plan is not empty: {next}")]
pub struct Unsettled {
    /// What was applied.
    pub applied: String,
    /// What was planned next.
    pub next: String,
}

/// Plans, applies, and plans again: the second plan must be empty.
///
/// # Errors
/// [`Unsettled`], with both plans, when it is not.
pub fn settles<O, A: Debug>(
    observed: &mut O,
    plan: impl Fn(&O) -> Vec<A>,
    apply: impl Fn(&mut O, &A),
) -> Result<(), Unsettled> {
    let actions = plan(observed);
    for action in &actions {
        apply(observed, action);
    }
    let next = plan(observed);
    if next.is_empty() {
        return Ok(());
    }
    Err(Unsettled {
        applied: format!("{actions:#?}"),
        next: format!("{next:#?}"),
    })
}

/// Like [`settles`], for planners that advance in steps on purpose (slow start, rolling update): after at most `rounds`
/// rounds the plan must be empty. Returns how many rounds it took.
///
/// # Errors
/// [`Unsettled`], with the last two plans, when it never is.
pub fn settles_within<O, A: Debug>(
    rounds: usize,
    observed: &mut O,
    plan: impl Fn(&O) -> Vec<A>,
    apply: impl Fn(&mut O, &A),
) -> Result<usize, Unsettled> {
    let mut applied = Vec::new();
    for round in 0..=rounds {
        let actions = plan(observed);
        if actions.is_empty() {
            return Ok(round);
        }
        if round == rounds {
            return Err(Unsettled {
                applied: format!("{applied:#?}"),
                next: format!("{actions:#?}"),
            });
        }
        for action in &actions {
            apply(observed, action);
        }
        applied = actions;
    }
    Ok(rounds)
}
