//! What the tests of the whole house share: driving the real binaries, and waiting for conditions instead of for the clock.
//!
//! ```text
//! tests/lab/       three nodes on real containerd, driven by kubectl and timonctl     (make test-lab)
//! tests/wire.rs    the real server binary on a free port, driven by kubectl and timonctl
//! tests/conformance/   one test per entry of upstream's conformance catalogue that needs no node (docs/conformance.md)
//! tests/hostile/   input that means harm, against the real server
//! tests/simulation.rs   every component in one process on a paused clock, with faults and a seed
//! ```

pub mod binaries;
pub mod eventually;
pub mod sim;

pub use binaries::{Tool, kubectl, node, python, timonctl, timonel};
pub use eventually::eventually;
