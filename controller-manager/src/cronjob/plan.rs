//! Decides what to do about one CronJob.
//!
//! A Job's name says for which time it was started. So the name is the lock that keeps a time from being served twice, and the status
//! can be made up from the Jobs after a crash between the creation of a Job and the note of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use timonel_api::cron::{self, Schedule};
use timonel_client::runner::Plan;

use super::history;
use super::times::Clockwork;
use crate::owner;

/// The annotation that tells for which time a Job was started.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A CronJob and the Jobs that it controls.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) cron: Arc<CronJob>,
    pub(crate) jobs: Vec<Arc<Job>>,
    /// Uids of active Jobs of which the server itself says that they are gone.
    pub(crate) gone: BTreeSet<String>,
    /// What people have been told since it last changed.
    pub(crate) told: BTreeSet<Say>,
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Say {
    UnexpectedJob { job: String },
    Completed { job: String, how: &'static str },
    Missing { job: String },
    UnknownTimeZone { zone: String },
    Unparseable { schedule: String, error: String },
    Invalid { schedule: String, error: String },
    TooManyMissed,
    MissedSchedule { at: Timestamp },
    AlreadyActive { at: Timestamp },
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Say something, once.
    Tell(Say),
    /// Write the status, then say what it means.
    SetStatus { status: Box<CronJobStatus>, say: Vec<Say> },
    /// Delete a Job and what it controls.
    Delete(Arc<Job>),
    /// Start a Job.
    Create(Box<Job>),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    StatusChanged,
    TimeHasCome { at: Timestamp },
    Replaced { job: String },
    HistoryIsFull { job: String },
    WorthKnowing,
}

/// How a finished Job ended.
pub(super) fn outcome(job: &Job) -> Option<&'static str> {
    let list = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let finished = |kind| list.is_some_and(|list| timonel_api::conditions::is_true(list, kind));
    ["Complete", "Failed"].into_iter().find(|kind| finished(kind))
}

/// The time for which a Job of this CronJob was started.
fn started_for(cron: &CronJob, job: &Job) -> Option<Timestamp> {
    let (name, prefix) = (owner::name(&job.metadata), owner::name(&cron.metadata));
    let minutes: i64 = name.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok()?;
    let ours = job
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(SCHEDULED));
    Timestamp::from_second(minutes.checked_mul(60)?).ok().filter(|_| ours)
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let cron = &*observed.cron;
    let spec = &cron.spec;
    let mut status = cron.status.clone().unwrap_or_default();
    let mut say = Vec::new();
    take_stock(&mut plan, observed, &mut status, &mut say);
    let mut start = None;
    if cron.metadata.deletion_timestamp.is_none() {
        start = is_time(&mut plan, observed, spec, &status, now);
    }
    let replaced: Vec<Arc<Job>> = match start {
        Some(_) if spec.concurrency_policy.as_deref() == Some("Replace") => {
            let active: BTreeSet<String> = status
                .active
                .take()
                .unwrap_or_default()
                .into_iter()
                .filter_map(|job| job.uid)
                .collect();
            observed
                .jobs
                .iter()
                .filter(|job| active.contains(owner::uid(&job.metadata)))
                .cloned()
                .collect()
        }
        _ => Vec::new(),
    };
    if cron.status.clone().unwrap_or_default() != status {
        plan.act(
            Action::SetStatus {
                status: Box::new(status),
                say,
            },
            Because::StatusChanged,
        );
    }
    for job in replaced {
        let because = Because::Replaced {
            job: owner::name(&job.metadata).to_owned(),
        };
        plan.act(Action::Delete(job), because);
    }
    for job in history::surplus(spec, &observed.jobs) {
        let because = Because::HistoryIsFull {
            job: owner::name(&job.metadata).to_owned(),
        };
        plan.act(Action::Delete(job), because);
    }
    if let Some((at, zone)) = start {
        plan.act(
            Action::Create(Box::new(new_job(cron, spec, at, &zone))),
            Because::TimeHasCome { at },
        );
    }
    plan
}

fn tell(plan: &mut Plan<Action, Because>, observed: &Observed, what: Say) {
    if !observed.told.contains(&what) {
        plan.act(Action::Tell(what), Because::WorthKnowing);
    }
}

/// Brings the status in line with the Jobs that there are.
fn take_stock(plan: &mut Plan<Action, Because>, observed: &Observed, status: &mut CronJobStatus, say: &mut Vec<Say>) {
    let mut active = status.active.take().unwrap_or_default();
    let before = status.last_schedule_time.as_ref().map(|time| time.0);
    for job in &observed.jobs {
        let (uid, name) = (owner::uid(&job.metadata), || owner::name(&job.metadata).to_owned());
        let listed = active.iter().position(|other| other.uid.as_deref() == Some(uid));
        let time = started_for(&observed.cron, job);
        let is_new = time.is_some() && time > before;
        match (listed, outcome(job)) {
            (Some(at), Some(how)) => {
                active.remove(at);
                say.push(Say::Completed { job: name(), how });
            }
            (None, Some(how)) if is_new => say.push(Say::Completed { job: name(), how }),
            (None, None) if time.is_some() && job.metadata.deletion_timestamp.is_none() => active.push(reference(job)),
            (None, None) if time.is_none() => tell(plan, observed, Say::UnexpectedJob { job: name() }),
            _ => {}
        }
        if is_new {
            status.last_schedule_time = status.last_schedule_time.take().max(time.map(Time));
        }
        let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
        if outcome(job) == Some("Complete") {
            status.last_successful_time = status.last_successful_time.take().max(completed);
        }
    }
    active.retain(|job| {
        let is_gone = job.uid.as_ref().is_some_and(|uid| observed.gone.contains(uid));
        if is_gone {
            say.push(Say::Missing {
                job: job.name.clone().unwrap_or_default(),
            });
        }
        !is_gone
    });
    status.active = (!active.is_empty()).then_some(active);
}

fn reference(job: &Job) -> ObjectReference {
    timonel_client::events::reference_to(job)
}

/// Whether a Job is to be started now, and for which time; otherwise says when to look again.
fn is_time(
    plan: &mut Plan<Action, Because>,
    observed: &Observed,
    spec: &CronJobSpec,
    status: &CronJobStatus,
    now: Timestamp,
) -> Option<(Timestamp, TimeZone)> {
    let cron = &*observed.cron;
    let zone = match spec.time_zone.as_deref() {
        // The control plane's own time zone: ours is always UTC.
        None => TimeZone::UTC,
        Some(name) => {
            let found = cron::zone(name);
            if found.is_none() {
                tell(plan, observed, Say::UnknownTimeZone { zone: name.to_owned() });
            }
            found?
        }
    };
    if spec.suspend == Some(true) {
        return None;
    }
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => {
            tell(
                plan,
                observed,
                Say::Unparseable {
                    schedule: spec.schedule.clone(),
                    error,
                },
            );
            return None;
        }
    };
    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    let clockwork = Clockwork::of(cron, schedule, zone.clone(), last, now);
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    let missed = match clockwork.missed(deadline, now) {
        Ok(missed) => missed,
        Err(error) => {
            tell(
                plan,
                observed,
                Say::Invalid {
                    schedule: spec.schedule.clone(),
                    error: error.to_owned(),
                },
            );
            return None;
        }
    };
    if let Some(wait) = clockwork.wait(now) {
        plan.look_again(wait);
    }
    let at = missed.latest?;
    if missed.many() {
        tell(plan, observed, Say::TooManyMissed);
    }
    if deadline.is_some_and(|deadline| now.duration_since(at) > deadline) {
        tell(plan, observed, Say::MissedSchedule { at });
        return None;
    }
    let active = status.active.as_deref().unwrap_or_default();
    let name = job_name(cron, at);
    if last >= Some(at) || active.iter().any(|job| job.name.as_deref() == Some(name.as_str())) {
        return None;
    }
    if spec.concurrency_policy.as_deref() == Some("Forbid") && !active.is_empty() {
        tell(plan, observed, Say::AlreadyActive { at });
        return None;
    }
    Some((at, zone))
}

fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", owner::name(&cron.metadata), at.as_second().div_euclid(60))
}

fn new_job(cron: &CronJob, spec: &CronJobSpec, at: Timestamp, zone: &TimeZone) -> Job {
    let given = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = given.annotations.unwrap_or_default();
    let local = at.to_zoned(zone.clone());
    let format = if local.offset().is_zero() {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S%:z"
    };
    annotations.insert(SCHEDULED.to_owned(), local.strftime(format).to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron, at)),
            namespace: cron.metadata.namespace.clone(),
            labels: given.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}
