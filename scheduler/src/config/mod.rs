//! `KubeSchedulerConfiguration` of `kubescheduler.config.k8s.io/v1`: read strictly, defaulted and checked as upstream.
//!
//! What this scheduler does not act on is refused by name, never ignored.

mod args;
mod extenders;
mod merge;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use timonel_api::field::{FieldError, Path};

use crate::extender::Settings;
use crate::profile::Profile;
use crate::queue::QueueConfig;
use read::{Errors, Object};

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// Why a configuration is no good.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot decode the scheduler's configuration: {0}")]
    Decode(String),
    /// It is something else.
    #[error("the scheduler's configuration must be {API_VERSION}, {KIND}, not {found}")]
    Kind {
        /// What it says it is.
        found: String,
    },
    /// It says what cannot be.
    #[error("the scheduler's configuration is invalid: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// Leader election as a configuration file gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Whether only the leader works; `None` where the file does not say.
    pub leader_elect: Option<bool>,
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
}

/// What a configuration file says.
#[derive(Clone, Debug)]
pub struct File {
    /// How pods are scheduled, by scheduler name.
    pub profiles: Vec<Arc<Profile>>,
    /// How long pods wait.
    pub queue: QueueConfig,
    /// Who leads.
    pub election: Election,
    /// Who is asked beside the plugins, of every profile's pods.
    pub extenders: Vec<Settings>,
}

impl File {
    /// Reads a configuration, YAML or JSON.
    ///
    /// # Errors
    /// Names everything that is wrong at once.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let decoded = timonel_api::decode::yaml(text).map_err(|error| ConfigError::Decode(error.to_string()))?;
        let mut errors = Errors::default();
        for twice in &decoded.duplicates {
            errors.0.push(format!("{twice} is there twice"));
        }
        let mut document = Object::new(Path::root(), decoded.value, &mut errors);
        let version = document.text("apiVersion", &mut errors).unwrap_or_default();
        let kind = document.text("kind", &mut errors).unwrap_or_default();
        if (version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            let found = format!("{version}, {kind}");
            return Err(ConfigError::Kind { found });
        }
        let file = Self::read(document, &mut errors);
        if errors.0.is_empty() {
            Ok(file)
        } else {
            Err(ConfigError::Invalid(errors.0))
        }
    }

    fn read(mut document: Object, errors: &mut Errors) -> Self {
        // One decision is made at a time and is quick enough for that: any number of threads is the same here.
        let parallelism = document.number("parallelism", errors).unwrap_or(16);
        if parallelism <= 0 {
            let detail = "should be an integer value greater than zero";
            errors.wrong(FieldError::invalid(&document.at("parallelism"), parallelism, detail));
        }
        let percentage = percentage(&mut document, errors);
        let queue = queue(&mut document, errors);
        // They come last among what is wrong, as upstream, but profiles are made with them in mind.
        let mut beside = Errors::default();
        let extenders = extenders::read(&mut document, &mut beside);
        let profiles = profiles(&mut document, percentage.unwrap_or(0), &extenders, errors);
        let election = election(&mut document, errors);
        connection(&mut document, errors);
        document.refuse("percentageOfPlacementsToScore", "pod groups are not scheduled", errors);
        document.refuse(
            "delayCacheUntilActive",
            "caches are always filled while waiting to lead",
            errors,
        );
        for name in ["enableProfiling", "enableContentionProfiling"] {
            if document.flag(name, errors) == Some(true) {
                errors.wrong(FieldError::forbidden(
                    &document.at(name),
                    "this scheduler serves no profiles of itself",
                ));
            }
        }
        errors.0.append(&mut beside.0);
        document.finish(errors);
        Self {
            extenders: extenders.settings,
            profiles,
            queue,
            election,
        }
    }
}

fn percentage(object: &mut Object, errors: &mut Errors) -> Option<usize> {
    let given = object.number("percentageOfNodesToScore", errors)?;
    if !(0..=100).contains(&given) {
        let path = object.at("percentageOfNodesToScore");
        errors.wrong(FieldError::invalid(&path, given, "not in valid range [0-100]"));
    }
    usize::try_from(given).ok()
}

fn queue(document: &mut Object, errors: &mut Errors) -> QueueConfig {
    let initial = document.number("podInitialBackoffSeconds", errors).unwrap_or(1);
    let max = document.number("podMaxBackoffSeconds", errors).unwrap_or(10);
    if initial <= 0 {
        let path = document.at("podInitialBackoffSeconds");
        errors.wrong(FieldError::invalid(&path, initial, "must be greater than 0"));
    }
    if max < initial {
        let path = document.at("podMaxBackoffSeconds");
        let detail = "must be greater than or equal to PodInitialBackoffSeconds";
        errors.wrong(FieldError::invalid(&path, max, detail));
    }
    let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
    QueueConfig {
        initial_backoff: seconds(initial),
        max_backoff: seconds(max),
    }
}

fn profiles(
    document: &mut Object,
    percentage: usize,
    extenders: &extenders::Extenders,
    errors: &mut Errors,
) -> Vec<Arc<Profile>> {
    let choose = |one: &Settings| !one.filter_verb.is_empty() || !one.prioritize_verb.is_empty();
    let extended = extenders.settings.iter().any(choose);
    let mut given = document.objects("profiles", errors);
    if given.is_empty() {
        given.push(Object::new(
            document.at("profiles").index(0),
            serde_json::Value::Null,
            errors,
        ));
    }
    let alone = given.len() == 1;
    let mut profiles: Vec<Arc<Profile>> = Vec::new();
    for mut object in given {
        let path = object.at("schedulerName");
        let name = object.text("schedulerName", errors);
        let name = name.or_else(|| alone.then(|| "default-scheduler".to_owned()));
        let name = name.unwrap_or_default();
        if name.is_empty() {
            errors.wrong(FieldError::required(&path, ""));
        } else if profiles.iter().any(|profile| profile.scheduler_name == name) {
            errors.wrong(FieldError::duplicate(&path, name.clone()));
        }
        let own = self::percentage(&mut object, errors);
        object.refuse("percentageOfPlacementsToScore", "pod groups are not scheduled", errors);
        let mut args = args::read(&mut object, errors);
        args.fit.ignored_resources.extend(extenders.ignored.iter().cloned());
        let mut profile = merge::read(&mut object, &name, &args, errors);
        profile.percentage_of_nodes_to_score = own.unwrap_or(percentage);
        profile.extended = extended;
        object.finish(errors);
        profiles.push(Arc::new(profile));
    }
    profiles
}

fn election(document: &mut Object, errors: &mut Errors) -> Election {
    let mut election = Election {
        leader_elect: None,
        namespace: "kube-system".to_owned(),
        name: "kube-scheduler".to_owned(),
    };
    let Some(mut object) = document.object("leaderElection", errors) else {
        return election;
    };
    election.leader_elect = object.flag("leaderElect", errors);
    if let Some(lock) = object.text("resourceLock", errors)
        && lock != "leases"
    {
        let path = object.at("resourceLock");
        errors.wrong(FieldError::invalid(
            &path,
            lock,
            "resourceLock value must be \"leases\"",
        ));
    }
    if let Some(namespace) = object.text("resourceNamespace", errors) {
        election.namespace = namespace;
    }
    if let Some(name) = object.text("resourceName", errors) {
        election.name = name;
    }
    for (name, fixed) in [
        ("leaseDuration", "15s"),
        ("renewDeadline", "10s"),
        ("retryPeriod", "2s"),
    ] {
        let given = object.text(name, errors);
        if given.is_some_and(|given| given != fixed && given != "0s") {
            errors.wrong(FieldError::forbidden(
                &object.at(name),
                format!("is always {fixed} here"),
            ));
        }
    }
    object.finish(errors);
    election
}

fn connection(document: &mut Object, errors: &mut Errors) {
    let Some(mut object) = document.object("clientConnection", errors) else {
        return;
    };
    object.refuse("kubeconfig", "give --kubeconfig", errors);
    for name in ["acceptContentTypes", "contentType", "qps", "burst"] {
        object.refuse(name, "the client speaks JSON and is not slowed down", errors);
    }
    object.finish(errors);
}
