//! From a pod's spec to what the runtime is asked for.
