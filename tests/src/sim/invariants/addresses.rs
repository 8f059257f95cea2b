//! No service address and no node port is given out twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Violation;
use super::history::{Invariant, Moment, of, text};

/// See the module.
#[derive(Default)]
pub struct Addresses;

/// What a Service holds that nobody else may: its addresses and its node ports.
fn held(service: &Value) -> BTreeSet<String> {
    let ips = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    let ips = ips
        .filter_map(Value::as_str)
        .filter(|ip| *ip != "None")
        .map(str::to_owned);
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let ports = ports.filter_map(|port| Some(format!("{}/{}", port["protocol"].as_str()?, port["nodePort"].as_u64()?)));
    ips.chain(ports).collect()
}

impl Invariant for Addresses {
    fn says(&self) -> &'static str {
        "no service address is given out twice"
    }

    fn look(&mut self, moment: &Moment<'_>, there: &BTreeMap<String, Value>) -> Result<(), Violation> {
        let Some(service) = moment.now.filter(|_| moment.resource == "core/services") else {
            return Ok(());
        };
        let mine = held(service);
        for (_, other) in of(there, "core/services").filter(|(key, _)| *key != moment.key) {
            if let Some(twice) = held(other).intersection(&mine).next() {
                let (one, other) = (text(service, "/metadata/name"), text(other, "/metadata/name"));
                return Err(format!("{one} and {other} both have {twice}"));
            }
        }
        Ok(())
    }
}
