//! `timonel lab down`: leaves nothing behind.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::LabError;
use super::cgroup;
use super::power;
use super::progress::{Progress, say};
use super::state::Home;

/// Takes the lab down. Does what is left to do where an earlier attempt stopped half-way.
pub(crate) fn down(keep_disks: bool) -> Result<(), LabError> {
    let home = Home::default();
    let lock = home.lock()?;
    let Some(mut state) = home.load()? else {
        drop(lock);
        let _ = fs::remove_file(home.path().join("lock"));
        let _ = fs::remove_dir(home.path());
        say("No lab is up.");
        return Ok(());
    };
    let progress = Progress::start();
    // The kernel takes its time to take a namespace down; all at once is as fast as one.
    let results: Vec<Result<(), LabError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = state
            .machines
            .iter()
            .map(|(name, machine)| scope.spawn(move || power::off(name, machine)))
            .collect();
        progress.step(format!("powering {} machines off", threads.len()));
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    results.into_iter().collect::<Result<(), LabError>>()?;
    if let Some(switch) = state.switch {
        switch.signal(Signal::SIGKILL).map_err(|errno| LabError::System {
            act: "kill the switch",
            source: errno.into(),
        })?;
        if !switch.wait_gone(Duration::from_secs(10)) {
            return Err(LabError::Deadline {
                what: "the switch to die".to_owned(),
            });
        }
    }
    for name in state.machines.keys() {
        cgroup::remove(name)?;
    }
    if keep_disks {
        state.switch = None;
        for machine in state.machines.values_mut() {
            (machine.process, machine.cut, machine.frozen) = (None, false, false);
        }
        home.save(&state)?;
        drop(progress);
        say(&format!("The lab is off; its disks are in {}.", home.path().display()));
        return Ok(());
    }
    progress.step("removing the disks");
    fs::remove_dir_all(home.path()).map_err(LabError::io("remove", home.path()))?;
    // Ours where the lab made it, and another's where it is not empty.
    let _ = home.path().parent().map(fs::remove_dir);
    drop(progress);
    say("The lab is gone.");
    Ok(())
}
