//! CronJobs.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, containers_and_images, name, selector, since};
use super::super::common::{not_negative, one_of};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, flag, has, list, text, within};
use super::job;

/// `cronjobs.batch`.
pub(crate) struct CronJobs;

impl Strategy for CronJobs {
    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default_text(spec, "concurrencyPolicy", "Allow");
            default(spec, "suspend", false);
            default(spec, "successfulJobsHistoryLimit", 3);
            default(spec, "failedJobsHistoryLimit", 1);
            within(spec, "jobTemplate", |template| {
                within(template, "spec", job::default_spec)
            });
        });
    }

    fn template(&self) -> &'static [&'static str] {
        &["spec", "jobTemplate", "spec", "template"]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        let mut wrong = timonel_api::names::subdomain(name, prefix);
        // The Job's name gets 11 characters more, and 63 is all that a label holds.
        if name.len() > 52 {
            wrong.push("must be no more than 52 characters".to_owned());
        }
        wrong
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let schedule = text(spec, "schedule");
        if schedule.is_empty() {
            errors.push(FieldError::required(&path.child("schedule"), ""));
        } else if schedule.contains("TZ") {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(FieldError::invalid(&path.child("schedule"), schedule, detail));
        } else if let Err(detail) = check_schedule(schedule) {
            errors.push(FieldError::invalid(&path.child("schedule"), schedule, detail));
        }
        if has(spec, "timeZone") {
            let zone = text(spec, "timeZone");
            let detail = match zone {
                "" => Some("timeZone must be nil or non-empty string".to_owned()),
                _ if zone.eq_ignore_ascii_case("Local") => Some(
                    "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned(),
                ),
                _ if jiff::tz::TimeZone::get(zone).is_err() => Some(format!("unknown time zone {zone}")),
                _ => None,
            };
            errors.extend(detail.map(|detail| FieldError::invalid(&path.child("timeZone"), zone, detail)));
        }
        one_of(
            spec,
            "concurrencyPolicy",
            &["Allow", "Forbid", "Replace"],
            &path,
            &mut errors,
        );
        let numbers = [
            "startingDeadlineSeconds",
            "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit",
        ];
        not_negative(spec, &numbers, &path, &mut errors);
        errors.extend(job::validate_spec(
            at(at(spec, "jobTemplate"), "spec"),
            &path.child("jobTemplate").child("spec"),
        ));
        let (job, path) = (
            at(at(spec, "jobTemplate"), "spec"),
            path.child("jobTemplate").child("spec"),
        );
        if has(job, "selector") {
            let detail = "`selector` will be auto-generated";
            errors.push(FieldError::invalid(
                &path.child("selector"),
                at(job, "selector").clone(),
                detail,
            ));
        }
        if flag(job, "manualSelector") {
            let path = path.child("manualSelector");
            errors.push(FieldError::not_supported(&path, true, &["nil", "false"]));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Schedule"),
            Column::new("Timezone"),
            Column::new("Suspend"),
            Column::integer("Active"),
            Column::new("Last Schedule"),
            Column::new("Age"),
            Column::wide("Containers"),
            Column::wide("Images"),
            Column::wide("Selector"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let last = at(status, "lastScheduleTime");
        let zone = text(spec, "timeZone");
        let suspend = if flag(spec, "suspend") { "True" } else { "False" };
        let job = at(at(spec, "jobTemplate"), "spec");
        let mut row = vec![
            name(object),
            json!(text(spec, "schedule")),
            json!(if zone.is_empty() { "<none>" } else { zone }),
            json!(suspend),
            json!(list(status, "active").len()),
            json!(if last.is_null() {
                "<none>".to_owned()
            } else {
                since(last, now)
            }),
            age(object, now),
        ];
        row.extend(containers_and_images(at(job, "template")));
        row.push(json!(selector(at(job, "selector"))));
        row
    }
}

/// Checks the form of a schedule: a descriptor, or five fields of numbers, names, ranges, lists and steps.
fn check_schedule(schedule: &str) -> Result<(), String> {
    if let Some(every) = schedule.strip_prefix("@every ") {
        return if every.ends_with(['s', 'm', 'h']) {
            Ok(())
        } else {
            Err(format!("failed to parse duration {every}"))
        };
    }
    if schedule.starts_with('@') {
        let known = [
            "@yearly",
            "@annually",
            "@monthly",
            "@weekly",
            "@daily",
            "@midnight",
            "@hourly",
        ];
        return if known.contains(&schedule) {
            Ok(())
        } else {
            Err(format!("unrecognized descriptor: {schedule}"))
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: {fields:?}", fields.len()));
    }
    const BOUNDS: [(u32, u32, &[&str]); 5] = [
        (0, 59, &[]),
        (0, 23, &[]),
        (1, 31, &[]),
        (
            1,
            12,
            &[
                "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
            ],
        ),
        (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ];
    for (field, (low, high, names)) in fields.iter().zip(BOUNDS) {
        for part in field.split(',') {
            let (range, step) = part
                .split_once('/')
                .map_or((part, None), |(range, step)| (range, Some(step)));
            if step.is_some_and(|step| step.parse::<u32>().is_ok_and(|n| n == 0) || step.parse::<u32>().is_err()) {
                return Err(format!("step of range should be a positive number: {part}"));
            }
            if range == "*" || range == "?" {
                continue;
            }
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| {
                let named = names
                    .iter()
                    .position(|name| text.eq_ignore_ascii_case(name))
                    .and_then(|at| u32::try_from(at).ok());
                named.map_or_else(
                    || {
                        text.parse::<u32>()
                            .map_err(|_| format!("failed to parse int from {text}: invalid syntax"))
                    },
                    |at| Ok(at + low),
                )
            };
            let (first, last) = (number(first)?, number(last)?);
            if first < low {
                return Err(format!("beginning of range ({first}) below minimum ({low}): {part}"));
            }
            if last > high {
                return Err(format!("end of range ({last}) above maximum ({high}): {part}"));
            }
            if first > last {
                return Err(format!(
                    "beginning of range ({first}) beyond end of range ({last}): {part}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_checked_field_by_field() {
        for good in [
            "*/5 * * * *",
            "0 0 1 jan mon-fri",
            "5/15 1,2,3 * * *",
            "@hourly",
            "@every 1h30m",
        ] {
            assert_eq!(check_schedule(good), Ok(()), "{good}");
        }
        for bad in [
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "@sometimes",
            "5-1 * * * *",
            "x * * * *",
        ] {
            assert!(check_schedule(bad).is_err(), "{bad}");
        }
    }
}
