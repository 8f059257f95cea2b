//! `timonel lab status`: the machines and their units.

use super::LabError;
use super::control;
use super::process::ProcRef;
use super::progress::say;
use super::state::{Home, Machine, Role};
use super::supervisor::{Order, UnitStatus};

/// How a machine is, in a word.
fn power_word(machine: &Machine) -> &'static str {
    match (machine.running(), machine.frozen, machine.cut) {
        (None, _, _) => "off",
        (_, true, _) => "frozen",
        (_, _, true) => "cut",
        _ => "on",
    }
}

/// Prints the status.
pub(crate) fn print(json: bool) -> Result<(), LabError> {
    let home = Home::default();
    let Some(state) = home.load()? else {
        say(if json { "null" } else { "No lab is up." });
        return Ok(());
    };
    let units = |name: &str, machine: &Machine| -> Vec<UnitStatus> {
        let Some(process) = machine.running().filter(|_| !machine.frozen) else {
            return Vec::new();
        };
        control::order(name, process, &Order::Status)
            .map(|reply| reply.units)
            .unwrap_or_default()
    };
    if json {
        let machines: Vec<_> = state
            .machines
            .iter()
            .map(|(name, machine)| {
                serde_json::json!({
                    "name": name,
                    "role": machine.role,
                    "state": power_word(machine),
                    "address": machine.address(),
                    "pid": machine.running().map(|p| p.pid),
                    "units": units(name, machine),
                })
            })
            .collect();
        let all = serde_json::json!({
            "server": format!("https://127.0.0.1:{}", state.api_port),
            "kubeconfig": home.kubeconfig(),
            "labTimings": state.lab_timings,
            "storeEngine": state.store_engine,
            "switch": state.switch.filter(ProcRef::alive).map(|p| p.pid),
            "machines": machines,
        });
        say(&all.to_string());
        return Ok(());
    }
    let switch = if state.switch.is_some_and(|s| s.alive()) {
        "on"
    } else {
        "off"
    };
    say(&format!(
        "API     https://127.0.0.1:{}   kubeconfig {}",
        state.api_port,
        home.kubeconfig().display()
    ));
    say(&format!(
        "switch  {switch}   store {}   timings {}",
        state.store_engine,
        if state.lab_timings { "lab" } else { "upstream" }
    ));
    for (name, machine) in &state.machines {
        let role = if machine.role == Role::Server { "server" } else { "node" };
        let pid = machine.running().map_or("-".to_owned(), |p| p.pid.to_string());
        say(&format!(
            "{name:<10} {:<8} {role:<7} {:<13} pid {pid}",
            power_word(machine),
            machine.address()
        ));
        for unit in units(name, machine) {
            let how = match (unit.pid, unit.done) {
                (Some(pid), _) => format!("running, pid {pid}"),
                (None, true) => "done".to_owned(),
                (None, false) => format!(
                    "not running{}",
                    unit.last_end.map(|end| format!(" ({end})")).unwrap_or_default()
                ),
            };
            say(&format!("  {:<10} {how}, {} restarts", unit.name, unit.restarts));
        }
    }
    Ok(())
}
