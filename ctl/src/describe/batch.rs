//! Jobs and cron jobs.

use serde_json::Value;

use super::page::Page;
use super::pod::template;
use super::values::{
    controller, human_duration, is_true, list, number, or_none, or_unset, selector, some, text, time, timestamp,
};

/// Where a list of completed indexes is cut off.
const LONG_INDEXES: usize = 50;

fn metadata(page: &mut Page, object: &Value) {
    page.labels("", "Labels", &object["metadata"]["labels"]);
    page.annotations("", &object["metadata"]["annotations"]);
}

pub(super) fn job(page: &mut Page, job: &Value) {
    page.field(0, "Name", text(job, "/metadata/name"));
    page.field(0, "Namespace", text(job, "/metadata/namespace"));
    page.field(0, "Selector", selector(&job["spec"]["selector"]));
    metadata(page, job);
    if let Some(controller) = controller(job) {
        page.field(0, "Controlled By", controller);
    }
    let optional = |page: &mut Page, title: &str, pointer: &str| {
        if let Some(value) = some(job, pointer) {
            page.field(0, title, value);
        }
    };
    optional(page, "Parallelism", "/spec/parallelism");
    page.field(0, "Completions", or_unset(job, "/spec/completions"));
    optional(page, "Completion Mode", "/spec/completionMode");
    optional(page, "Suspend", "/spec/suspend");
    optional(page, "Backoff Limit", "/spec/backoffLimit");
    optional(page, "TTL Seconds After Finished", "/spec/ttlSecondsAfterFinished");
    for (title, pointer) in [
        ("Start Time", "/status/startTime"),
        ("Completed At", "/status/completionTime"),
    ] {
        if some(job, pointer).is_some() {
            page.field(0, title, time(job, pointer));
        }
    }
    if let (Some(start), Some(end)) = (
        timestamp(job, "/status/startTime"),
        timestamp(job, "/status/completionTime"),
    ) {
        page.field(0, "Duration", human_duration(end.as_second() - start.as_second()));
    }
    if let Some(seconds) = some(job, "/spec/activeDeadlineSeconds") {
        page.field(0, "Active Deadline Seconds", format_args!("{seconds}s"));
    }
    let ready = some(job, "/status/ready").map_or_else(String::new, |ready| format!(" ({ready} Ready)"));
    page.field(
        0,
        "Pods Statuses",
        format_args!(
            "{} Active{ready} / {} Succeeded / {} Failed",
            number(job, "/status/active"),
            number(job, "/status/succeeded"),
            number(job, "/status/failed")
        ),
    );
    if job["spec"]["completionMode"] == "Indexed" {
        let indexes = text(job, "/status/completedIndexes");
        page.field(0, "Completed Indexes", or_none(&shorten(indexes)));
    }
    template(page, &job["spec"]["template"]);
}

fn shorten(indexes: &str) -> String {
    let comma = indexes.get(LONG_INDEXES..).and_then(|rest| rest.find(','));
    match comma {
        Some(at) => format!("{}...", &indexes[..=LONG_INDEXES + at]),
        None => indexes.to_owned(),
    }
}

pub(super) fn cron_job(page: &mut Page, object: &Value) {
    page.field(0, "Name", text(object, "/metadata/name"));
    page.field(0, "Namespace", text(object, "/metadata/namespace"));
    metadata(page, object);
    page.field(0, "Schedule", text(object, "/spec/schedule"));
    page.field(0, "Concurrency Policy", text(object, "/spec/concurrencyPolicy"));
    let suspend = if object["spec"]["suspend"].is_null() {
        "<unset>"
    } else if is_true(object, "/spec/suspend") {
        "True"
    } else {
        "False"
    };
    page.field(0, "Suspend", suspend);
    page.field(0, "Time Zone", or_unset(object, "/spec/timeZone"));
    page.field(
        0,
        "Successful Job History Limit",
        or_unset(object, "/spec/successfulJobsHistoryLimit"),
    );
    page.field(
        0,
        "Failed Job History Limit",
        or_unset(object, "/spec/failedJobsHistoryLimit"),
    );
    let deadline = some(object, "/spec/startingDeadlineSeconds");
    page.field(
        0,
        "Starting Deadline Seconds",
        deadline.map_or_else(|| "<unset>".to_owned(), |seconds| format!("{seconds}s")),
    );
    let spec = &object["spec"]["jobTemplate"]["spec"];
    let selects = spec["selector"].is_object().then(|| selector(&spec["selector"]));
    page.field(0, "Selector", selects.as_deref().unwrap_or("<unset>"));
    page.field(0, "Parallelism", or_unset(spec, "/parallelism"));
    page.field(0, "Completions", or_unset(spec, "/completions"));
    if let Some(seconds) = some(spec, "/activeDeadlineSeconds") {
        page.field(0, "Active Deadline Seconds", format_args!("{seconds}s"));
    }
    template(page, &spec["template"]);
    if some(object, "/status/lastScheduleTime").is_some() {
        page.field(0, "Last Schedule Time", time(object, "/status/lastScheduleTime"));
    } else {
        page.field(0, "Last Schedule Time", "<unset>");
    }
    let active: Vec<&str> = list(object, "/status/active")
        .iter()
        .map(|job| text(job, "/name"))
        .collect();
    page.field(0, "Active Jobs", or_none(&active.join(", ")));
}
