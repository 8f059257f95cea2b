//! The lab: three nodes with a containerd each, and the stories of self-healing, seen by kubectl and by timonctl.
//!
//! `make test-lab` starts a lab with `--lab-timings`, runs these one after the other, and takes the lab down.

mod autoscaling;
mod cluster;
mod ctl;
mod faults;
mod manifests;
mod probes;
mod rollout;
mod storage;
mod workloads;
