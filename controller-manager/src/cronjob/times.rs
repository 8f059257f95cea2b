//! Which of a schedule's times was missed last, and when the next one comes.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;
use timonel_api::cron::Schedule;

/// A little later than the schedule says, so that a clock that is behind does not make the time look as if it had not come.
const PADDING: SignedDuration = SignedDuration::from_millis(100);
/// From so many missed times on, people are told.
const MANY: i64 = 100;

/// What was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missed {
    /// The last time at which a Job should have been started.
    pub(super) latest: Option<Timestamp>,
    /// How many there were, roughly.
    pub(super) times: i64,
}

impl Missed {
    pub(super) fn many(self) -> bool {
        self.times > MANY
    }
}

/// A schedule, in its time zone, and the CronJob's own times.
#[derive(Clone, Debug)]
pub(super) struct Clockwork {
    pub(super) schedule: Schedule,
    pub(super) zone: TimeZone,
    /// When a Job was started last, or else when the CronJob was created.
    pub(super) last: Timestamp,
}

impl Clockwork {
    pub(super) fn of(
        cron: &CronJob,
        schedule: Schedule,
        zone: TimeZone,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let created = cron.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let last = last.or(created).unwrap_or(now);
        Self { schedule, zone, last }
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, &self.zone)
    }

    /// What was missed until now; with a deadline, nothing from before it.
    ///
    /// # Errors
    /// When the schedule names no times.
    pub(super) fn missed(&self, deadline: Option<SignedDuration>, now: Timestamp) -> Result<Missed, &'static str> {
        const NEVER: &str = "time difference between two schedules is less than 1 second";
        let floor = deadline.and_then(|deadline| now.checked_sub(deadline).ok());
        let from = floor.map_or(self.last, |floor| floor.max(self.last));
        let Some(first) = self.next(from) else {
            return Err(NEVER);
        };
        if now < first {
            return Ok(Missed::default());
        }
        let Some(second) = self.next(first) else {
            return Ok(Missed {
                latest: Some(first),
                times: 1,
            });
        };
        if now < second {
            return Ok(Missed {
                latest: Some(first),
                times: 1,
            });
        }
        // Roughly, by the first pause: to go through all the times of years would take too long.
        let pause = second.duration_since(first).as_secs().max(1);
        let times = now.duration_since(first).as_secs() / pause + 1;
        let near = first.checked_add(SignedDuration::from_secs((times - 2).saturating_mul(pause)));
        let (mut latest, mut time) = (None, near.ok().and_then(|near| self.next(near)));
        while let Some(at) = time.filter(|at| *at <= now) {
            latest = Some(at);
            time = self.next(at);
        }
        Ok(Missed { latest, times })
    }

    /// How long until the next time.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let from = match self.missed(None, now) {
            Err(_) => now,
            Ok(Missed {
                latest: Some(latest), ..
            }) => latest,
            Ok(Missed { times: 0, .. }) => self.last,
            Ok(_) => now,
        };
        let next = self.next(from)?.checked_add(PADDING).ok()?;
        Some(Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO))
    }
}
