//! The wire: the real server binary on a free port, driven by the real kubectl and by timonctl. No nodes, no controllers.

mod admission;
mod clients;
mod controllers;
mod durability;
mod kubectl;
mod objects;
mod scheduler;
mod security;
mod server;
mod surface;
mod top;
