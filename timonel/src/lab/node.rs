//! `timonel lab node`: what happens to machines.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use super::LabError;
use super::args::NodeCommand;
use super::cgroup;
use super::control;
use super::network;
use super::power;
use super::process::ProcRef;
use super::progress::{Progress, say};
use super::ready;
use super::state::{Home, Machine, Role, State};
use super::supervisor::Order;

/// Carries out a command on one machine.
pub(crate) fn run(command: NodeCommand) -> Result<(), LabError> {
    let home = Home::default();
    if let NodeCommand::Shell { name, command } = command {
        return shell(&home, &name, &command);
    }
    let _lock = home.lock()?;
    let mut state = home.require()?;
    match command {
        NodeCommand::Add { name } => add(&home, &mut state, &name)?,
        NodeCommand::Remove { name } => remove(&home, &mut state, &name)?,
        NodeCommand::Kill { name } => {
            power::off(&name, state.machine(&name)?)?;
            let machine = state.machine_mut(&name)?;
            (machine.process, machine.frozen) = (None, false);
            say(&format!("{name}: power is off"));
        }
        NodeCommand::Start { name } => {
            let switch = power::switch_on(&home, &state)?;
            state.switch = Some(switch);
            let process = power::on(&home, &state, switch, &name)?;
            state.machine_mut(&name)?.process = Some(process);
            say(&format!("{name}: booting"));
        }
        NodeCommand::Freeze { name } => freeze(&mut state, &name, true)?,
        NodeCommand::Thaw { name } => freeze(&mut state, &name, false)?,
        NodeCommand::Cut { name } => cut(&mut state, &name, true)?,
        NodeCommand::Join { name } => cut(&mut state, &name, false)?,
        NodeCommand::Restart { name, unit, crash } => {
            let order = Order::Restart {
                unit: unit_name(&unit),
                crash,
            };
            control::order(&name, running(&state, &name)?, &order)?;
            say(&format!("{name}: {unit} restarts"));
        }
        NodeCommand::Stop { name, unit } => {
            control::order(&name, running(&state, &name)?, &Order::Stop { unit: unit_name(&unit) })?;
            say(&format!("{name}: {unit} stops"));
        }
        NodeCommand::Resume { name, unit } => {
            control::order(&name, running(&state, &name)?, &Order::Start { unit: unit_name(&unit) })?;
            say(&format!("{name}: {unit} starts"));
        }
        NodeCommand::Shell { .. } => {}
    }
    home.save(&state)
}

/// The kubelet is part of the agent.
fn unit_name(wish: &str) -> String {
    if wish == "kubelet" {
        "agent".to_owned()
    } else {
        wish.to_owned()
    }
}

fn running(state: &State, name: &str) -> Result<ProcRef, LabError> {
    state
        .machine(name)?
        .running()
        .ok_or_else(|| LabError::PoweredOff { name: name.to_owned() })
}

fn add(home: &Home, state: &mut State, name: &str) -> Result<(), LabError> {
    if state.machines.contains_key(name) {
        return Err(LabError::MachineExists { name: name.to_owned() });
    }
    let label = name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.is_empty();
    if !label {
        let reason = "it must be a DNS label: a-z, 0-9 and inner hyphens".to_owned();
        return Err(LabError::BadName {
            name: name.to_owned(),
            reason,
        });
    }
    if state.machines.len() > 200 {
        return Err(LabError::BadName {
            name: name.to_owned(),
            reason: "the lab has no address left".to_owned(),
        });
    }
    let wish = name
        .strip_prefix("node-")
        .and_then(|n| n.parse::<u8>().ok())
        .map_or(11, |n| n.saturating_add(10));
    let host = state.free_host(wish.clamp(11, 250));
    let machine = Machine {
        role: Role::Node,
        host,
        process: None,
        cut: false,
        frozen: false,
    };
    state.machines.insert(name.to_owned(), machine);
    home.save(state)?;
    let switch = power::switch_on(home, state)?;
    state.switch = Some(switch);
    let process = power::on(home, state, switch, name)?;
    state.machine_mut(name)?.process = Some(process);
    home.save(state)?;
    let progress = Progress::start();
    ready::finish(home, state, &progress, Duration::from_secs(120))?;
    drop(progress);
    say(&format!("{name}: joined and Ready"));
    Ok(())
}

fn remove(home: &Home, state: &mut State, name: &str) -> Result<(), LabError> {
    let machine = state.machine(name)?.clone();
    if machine.role == Role::Server {
        return Err(LabError::RemoveServer);
    }
    power::off(name, &machine)?;
    if let Some(switch) = state.switch.filter(ProcRef::alive) {
        network::unplug(switch, machine.host)?;
    }
    ready::delete_node(home, name)?;
    let folder = home.machine(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(LabError::io("remove", &folder))?;
    }
    state.machines.remove(name);
    say(&format!("{name}: removed"));
    Ok(())
}

fn freeze(state: &mut State, name: &str, frozen: bool) -> Result<(), LabError> {
    running(state, name)?;
    cgroup::set_frozen(name, frozen)?;
    state.machine_mut(name)?.frozen = frozen;
    say(&format!(
        "{name}: {}",
        if frozen {
            "its clock stands still"
        } else {
            "its clock goes on"
        }
    ));
    Ok(())
}

fn cut(state: &mut State, name: &str, cut: bool) -> Result<(), LabError> {
    let machine = state.machine(name)?;
    if let (Some(switch), true) = (state.switch.filter(ProcRef::alive), machine.running().is_some()) {
        network::set_cut(switch, machine.host, cut)?;
    }
    state.machine_mut(name)?.cut = cut;
    say(&format!(
        "{name}: the network cable is {}",
        if cut { "out" } else { "in" }
    ));
    Ok(())
}

/// Replaces this process by a command inside the machine.
fn shell(home: &Home, name: &str, command: &[String]) -> Result<(), LabError> {
    let process = running(&home.require()?, name)?;
    let default = ["bash".to_owned()];
    let command = if command.is_empty() { &default[..] } else { command };
    let error = Command::new("nsenter")
        .args(["--all", "--target", &process.pid.to_string()])
        .args(command)
        .exec();
    Err(LabError::System {
        act: "run nsenter",
        source: error,
    })
}
