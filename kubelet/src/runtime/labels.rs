//! The labels and annotations by which a kubelet finds its own again. The names are upstream's, so that tools that read
//! them (crictl, log collectors) keep working.

/// Label: the container's name in the pod's spec.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Annotation: what of the container's spec must not change while it runs.
pub const HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container had been restarted when this one was made.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: the path of the termination message inside the container.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: the policy of the termination message.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the pod's termination grace period in seconds, for pods that are gone from the API.
pub const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
