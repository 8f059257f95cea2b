//! Why the planner chose what it chose.

use std::fmt;

use jiff::Timestamp;

/// A typed reason for one choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The volumes of the pod are not all there yet.
    VolumesPending,
    /// Volumes failed; tried again later.
    VolumesFailed {
        /// What went wrong.
        message: String,
        /// When to try again.
        retry_at: Timestamp,
    },
    /// The pod has no sandbox yet.
    NoSandbox,
    /// The sandbox ended or lost its network.
    SandboxLost {
        /// Which.
        sandbox: String,
    },
    /// The sandbox could not be made; tried again later.
    SandboxFailed {
        /// When to try again.
        retry_at: Timestamp,
    },
    /// A container has never run in this sandbox.
    NeverStarted {
        /// Which.
        container: String,
    },
    /// A container ended and its policy wants it back.
    Exited {
        /// Which.
        container: String,
        /// How it ended.
        exit_code: i32,
    },
    /// A container's image is not known to be there.
    ImageNeeded {
        /// Which.
        container: String,
        /// Its image.
        image: String,
    },
    /// A container waits because it ended too often.
    CrashLoop {
        /// Which.
        container: String,
        /// Until when.
        until: Timestamp,
    },
    /// A pull failed and is tried again later.
    PullBackOff {
        /// Which container.
        container: String,
        /// Until when.
        until: Timestamp,
    },
    /// A start failed and is tried again later.
    StartFailed {
        /// Which container.
        container: String,
        /// Until when.
        until: Timestamp,
    },
    /// A liveness or startup probe says that the container is not well.
    ProbeFailed {
        /// Which container.
        container: String,
        /// Which probe.
        probe: &'static str,
    },
    /// The container's spec changed in a way that a running container cannot follow.
    SpecChanged {
        /// Which container.
        container: String,
    },
    /// An init container has not finished.
    InitializingBy {
        /// Which.
        container: String,
    },
    /// The pod is being deleted.
    Deleted,
    /// The pod is gone from the API.
    Gone,
    /// The pod ran longer than its deadline.
    DeadlineExceeded,
    /// All containers ended for good.
    Completed,
    /// The pod's last word has been heard; the API may forget it.
    Reported,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VolumesPending => write!(f, "its volumes are not set up"),
            Self::VolumesFailed { message, retry_at } => write!(f, "volumes failed ({message}), again at {retry_at}"),
            Self::NoSandbox => write!(f, "it has no sandbox"),
            Self::SandboxLost { sandbox } => write!(f, "sandbox {sandbox} is lost"),
            Self::SandboxFailed { retry_at } => write!(f, "the sandbox could not be made, again at {retry_at}"),
            Self::NeverStarted { container } => write!(f, "{container} has not run yet"),
            Self::Exited { container, exit_code } => write!(f, "{container} ended with {exit_code}"),
            Self::ImageNeeded { container, image } => write!(f, "{container} needs image {image}"),
            Self::CrashLoop { container, until } => write!(f, "{container} ends too often, waits until {until}"),
            Self::PullBackOff { container, until } => write!(f, "the image of {container} failed, waits until {until}"),
            Self::StartFailed { container, until } => write!(f, "{container} failed to start, waits until {until}"),
            Self::ProbeFailed { container, probe } => write!(f, "{container} failed its {probe} probe"),
            Self::SpecChanged { container } => write!(f, "the spec of {container} changed"),
            Self::InitializingBy { container } => write!(f, "init container {container} has not finished"),
            Self::Deleted => write!(f, "the pod is being deleted"),
            Self::Gone => write!(f, "the pod is gone from the API"),
            Self::DeadlineExceeded => write!(f, "the pod ran longer than activeDeadlineSeconds"),
            Self::Completed => write!(f, "all containers ended for good"),
            Self::Reported => write!(f, "everything ended and that has been reported"),
        }
    }
}
