//! Planted bugs: what a component with a bug would see wrongly, or do wrongly, put on by the tap on its link.
//!
//! Nobody outside can tell a component that decides wrongly from one that decides rightly on what it saw wrongly, or from one whose
//! right request is changed on its way. So the components need no switches: the lies are told here. [`bugs`] lists them, each with
//! the scenario that is meant to catch it.

mod controllers;
mod scheduler;

use http::Method;
use serde_json::Value;

use super::world::Component;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its body, if it has one in JSON.
    pub body: Value,
}

impl Deed {
    /// Whether it writes an object of a resource, or a subresource of one.
    fn is(&self, method: &Method, ending: &str) -> bool {
        let path = &self.path;
        self.method == *method
            && match ending.strip_prefix("*/") {
                Some(subresource) => path.ends_with(&format!("/{subresource}")),
                None => path.contains(&format!("/{ending}")),
            }
    }

    /// Turns it into one that changes nothing.
    fn undo(&mut self) {
        self.method = Method::GET;
        self.body = Value::Null;
    }
}

/// A bug.
pub struct Bug {
    /// What somebody would have got wrong.
    pub name: &'static str,
    /// In which component.
    pub component: Component,
    /// The scenario that is meant to catch it.
    pub scenario: &'static str,
    /// Changes a watch event, or an object of a list, before the component sees it.
    pub sees: fn(&str, &mut Value),
    /// Changes a request.
    pub does: fn(&mut Deed),
    /// Changes the answer to a write.
    pub hears: fn(&Method, &str, &mut Value),
    /// How stale the component's caches are, in seconds: some bugs need that to show.
    pub stale: u64,
}

impl Bug {
    const fn new(name: &'static str, component: Component, scenario: &'static str) -> Self {
        Self {
            name,
            component,
            scenario,
            sees: |_, _| {},
            does: |_| {},
            hears: |_, _, _| {},
            stale: 0,
        }
    }

    const fn sees(mut self, sees: fn(&str, &mut Value)) -> Self {
        self.sees = sees;
        self
    }

    const fn does(mut self, does: fn(&mut Deed)) -> Self {
        self.does = does;
        self
    }

    const fn hears(mut self, hears: fn(&Method, &str, &mut Value)) -> Self {
        self.hears = hears;
        self
    }

    const fn stale(mut self, seconds: u64) -> Self {
        self.stale = seconds;
        self
    }
}

/// All planted bugs.
pub fn bugs() -> impl Iterator<Item = &'static Bug> {
    controllers::BUGS.iter().chain(scheduler::BUGS)
}
